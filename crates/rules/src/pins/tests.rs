use super::*;
use crate::{Files, compile};

const ODD: &str = r#"{"title":"\u00e9 \ud83d\ude00","name":"b","inputSchema":{"type":"object","properties":{"n":
    {"maximum":1e300,"minimum":0.1000000000000000055511151231257827,"multipleOf":1.0,"enum":[[],{},[1,[2]]]}}},"x":[]}"#;
const PLAIN: &str = r#"{"name":"a","inputSchema":{"type":"object"}}"#;

fn definition(raw: &str) -> Definition {
    Definition::read(raw.as_bytes()).unwrap()
}

fn file(text: &str) -> Result<Pins, Vec<Finding>> {
    let files: Files = [
        ("connectors/shop.toml".to_owned(), "command = [\"x\"]\n".to_owned()),
        ("pins/shop.json".to_owned(), text.to_owned()),
    ]
    .into_iter()
    .collect();
    Ok(compile(&files)?.pins.get("shop").cloned().unwrap_or_default())
}

#[test]
fn what_is_written_is_what_was_accepted() {
    let text = pinned([ODD, PLAIN]).unwrap();
    let read = file(&text).unwrap();
    assert_eq!(read.keys().map(ToolName::as_str).collect::<Vec<_>>(), ["a", "b"]);
    for raw in [ODD, PLAIN] {
        let definition = definition(raw);
        assert_eq!(read[&definition.name], definition, "{text}");
    }
    assert_eq!(pinned([PLAIN, ODD]).unwrap(), text, "one text for one set");
    assert!(text.starts_with("[\n  {\n    \"inputSchema\": {\n      \"type\": \"object\"\n    },\n"), "{text}");
    assert_eq!(pinned([]).unwrap(), "[]\n");
    assert!(pinned(["{}"]).is_err());
}

#[test]
fn hostile_files_are_refused() {
    let deep = format!("[{{\"name\":\"a\",\"inputSchema\":{}}}]", "{\"x\":".repeat(100_000));
    let wide = format!("[{}]", "1,".repeat(500_000));
    let nested = format!(
        "[{{\"name\":\"a\",\"inputSchema\":{{\"type\":\"object\",\"x\":{}1{}}}}}]",
        "[".repeat(40),
        "]".repeat(40)
    );
    for (text, told) in [
        (deep.as_str(), "nested too deep"),
        (&wide, "too many JSON values"),
        (&nested, "nested deeper than"),
        ("\u{feff}[]", "byte order mark"),
        ("[{\"name\":\"a\",\"name\":\"a\"}]", "duplicate key"),
        ("[] []", "data after"),
        ("null", "expected an array"),
    ] {
        let findings = file(text).unwrap_err();
        assert!(findings[0].message.contains(told), "{told}: {}", findings[0]);
        assert_eq!(findings[0].place.file, "pins/shop.json");
    }
}

#[test]
fn a_file_that_is_not_what_was_accepted_is_told() {
    let name: Name = "shop".parse().unwrap();
    let pins = file(&pinned([ODD, PLAIN]).unwrap()).unwrap();
    let told = |accepted: &[(&str, &str)]| {
        let accepted = accepted.iter().map(|(tool, raw)| (tool.parse().unwrap(), definition(raw).digest)).collect();
        drift(&name, &pins, &accepted).map(|finding| (finding.is_error(), finding.message))
    };
    assert_eq!(told(&[("a", PLAIN), ("b", ODD)]), None);
    assert_eq!(told(&[]), Some((false, "nothing of it is accepted here yet".to_owned())));
    let message = "not what was accepted: the file differs in `b`; it has beyond it `a`; it lacks `c`";
    assert_eq!(told(&[("b", PLAIN), ("c", PLAIN)]), Some((true, message.to_owned())));
    assert_eq!(drift(&name, &Pins::new(), &BTreeMap::new()), None);
}
