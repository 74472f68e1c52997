use super::*;

fn read<T>(text: &str, read: impl for<'t> Fn(&Document<'t>, &Cell<'t>) -> Option<T>) -> Option<T> {
    let text = format!("x = {text}");
    let doc = Document::new("x.toml", &text);
    doc.parse().and_then(|root| read(&doc, root.get_ref().get("x")?))
}

#[test]
fn a_review_is_due_after_its_day() {
    assert_eq!(read("2027-03-01", end_of_day), Some(Millis(1_803_945_600_000)));
    assert_eq!(read("2024-02-29", end_of_day), Some(Millis(1_709_251_200_000)));
    for bad in ["2027-03-01T00:00:00Z", "12:00:00", "\"2027-03-01\"", "9999-12-31"] {
        assert_eq!(read(bad, end_of_day), None, "{bad}");
    }
}

#[test]
fn a_pattern_describes_the_whole_value() {
    let pattern = read("'a|bc'", anchored).unwrap();
    for (text, matches) in [("a", true), ("bc", true), ("abc", false), ("a\n", false), ("xa", false)] {
        assert_eq!(pattern.is_match(text), matches, "{text:?}");
    }
    let lines = read("'(?m)a$'", anchored).unwrap();
    assert!(lines.is_match("a") && !lines.is_match("a\nb"));
    for bad in ["'a)|(b'", "'(?x)a # '", "'('", "'(?:\\w{100}){100000}'", "3"] {
        assert!(read(bad, anchored).is_none(), "{bad}");
    }
}
