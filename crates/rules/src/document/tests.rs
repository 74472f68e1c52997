use super::*;

fn read(text: &str) -> Result<Value, String> {
    let text = format!("x = {text}");
    let doc = Document::new("x.toml", &text);
    let value = doc.parse().and_then(|root| doc.value(root.get_ref().get("x")?));
    value.ok_or_else(|| doc.findings().iter().map(ToString::to_string).collect())
}

#[test]
fn numbers_keep_their_digits() {
    let canonical = |text| read(text).map(|value| value.canonical());
    for (text, expected) in [
        ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
        ("100.10", "100.1"),
        ("+1_000.5e+2", "100050"),
        ("0xff", "255"),
        ("9_223_372_036_854_775_807", "9223372036854775807"),
        ("123456789012345678901234567890", "1.2345678901234567890123456789e+29"),
        ("-0.0", "0"),
        ("{ a = [1, true, \"x\"] }", "{\"a\":[1,true,\"x\"]}"),
    ] {
        assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
    }
    for text in ["inf", "nan", "1e5000", "2020-01-01", "0xffffffffffffffffffffffffffffffffff"] {
        assert!(canonical(text).is_err(), "{text}");
    }
}

#[test]
fn durations() {
    for (text, expected) in [("15m", 900_000), ("3m", 180_000), ("30s", 30_000), ("2h", 7_200_000), ("1d", 86_400_000)]
    {
        assert_eq!(duration_ms(text), Some(expected), "{text}");
    }
    for text in ["", "m", "0s", "-1s", "+1s", "1", "1.5h", "1w", "99999999999999999d", "1 m", "1ü"] {
        assert_eq!(duration_ms(text), None, "{text}");
    }
}

#[test]
fn a_place_is_counted_in_characters() {
    let shown = read("\"ä\u{7}ö\" + ").unwrap_err();
    assert!(shown.starts_with("error: x.toml:1:11: "), "{shown}");
    assert!(!shown.contains('\u{7}'), "{shown:?}");
}
