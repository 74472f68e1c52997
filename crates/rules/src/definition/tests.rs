use super::*;

fn definition(schema: &str) -> Result<Definition, Refused> {
    Definition::read(format!(r#"{{"name":"t","inputSchema":{schema}}}"#).as_bytes())
}

fn fit(schema: &str, arguments: &str) -> Option<String> {
    Validator::new(&definition(schema).unwrap()).unwrap().fit(&arguments.parse().unwrap())
}

#[test]
fn reads_what_the_server_says() {
    let text = r#"{"name":"shop/refund","title":"x","inputSchema":{"type":"object","properties":{"id":{},"a.b":{}}},
        "annotations":{"readOnlyHint":false,"destructiveHint":"yes"}}"#;
    let definition = Definition::read(text.as_bytes()).unwrap();
    assert_eq!(definition.name.as_str(), "shop/refund");
    assert_eq!(definition.schema().names().into_iter().collect::<Vec<_>>(), ["a.b", "id"]);
    assert_eq!(definition.hints, Hints { read_only: Some(false), destructive: None, open_world: None });
    assert_eq!(definition.digest, text.parse::<Value>().unwrap().digest());
    let respelt = text.replace("\"title\":\"x\",", "").replacen('{', "{ \"title\": \"\\u0078\",", 1);
    assert_eq!(Definition::read(respelt.as_bytes()).unwrap().digest, definition.digest);
}

#[test]
fn refuses_what_cannot_be_held_against() {
    let deep = |levels: usize| format!("{{\"type\":\"object\",\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(definition(&deep(SCHEMA_DEPTH_MAX - 1)).is_ok());
    assert!(matches!(definition(&deep(SCHEMA_DEPTH_MAX)), Err(Refused::Deep)));
    let long = format!(r#"{{"type":"object","description":"{}"}}"#, "x".repeat(SCHEMA_BYTES_MAX));
    assert!(matches!(definition(&long), Err(Refused::Large)));
    for remote in ["https://example.com/s.json", "other.json", "file:///etc/passwd", ""] {
        for key in ["$ref", "$dynamicRef"] {
            let schema = format!(r#"{{"type":"object","properties":{{"a":{{"{key}":"{remote}"}}}}}}"#);
            assert!(matches!(definition(&schema), Err(Refused::Remote)), "{remote}");
        }
    }
    assert!(matches!(definition("true"), Err(Refused::NoSchema)));
    assert!(matches!(definition(r#"{"type":"string"}"#), Err(Refused::NoSchema)));
    assert!(matches!(Definition::read(br#"{"inputSchema":{"type":"object"}}"#), Err(Refused::Name)));
    assert!(matches!(Definition::read(br#"{"name":"a","name":"b"}"#), Err(Refused::Json(_))));
    for broken in [
        r#"{"type":"object","properties":3}"#,
        r#"{"type":"object","properties":{"a":{"pattern":"("}}}"#,
        r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/missing"}}}"##,
        r#"{"type":"object","$schema":"https://example.com/mine"}"#,
        r#"{"type":"object","properties":{"a":{"pattern":"(?:\\w{100}){100000}"}}}"#,
    ] {
        let error = Validator::new(&definition(broken).unwrap());
        assert!(matches!(error, Err(Refused::Schema(_))), "{broken}");
    }
}

#[test]
fn arguments_fit_or_not() {
    let schema = r##"{"type":"object","required":["id"],"additionalProperties":false,"$defs":{"n":{"type":"integer"}},
        "properties":{"id":{"type":"string","pattern":"^(?!secret)[a-z]+$"},"n":{"$ref":"#/$defs/n"},"max":{"maximum":100}}}"##;
    assert_eq!(fit(schema, r#"{"id":"abc","n":3}"#), None);
    assert_eq!(fit(schema, r#"{"id":"abc","n":3.0}"#), None);
    assert_eq!(fit(schema, "{}").as_deref(), Some("the arguments: \"id\" is a required property"));
    assert_eq!(fit(schema, r#"{"id":3}"#).as_deref(), Some("/id: value is not of type \"string\""));
    assert!(fit(schema, r#"{"id":"secretx"}"#).is_some_and(|text| !text.contains("secretx")));
    assert!(fit(schema, r#"{"id":"a","other":1}"#).is_some());
    assert!(fit(schema, r#"{"id":"a","max":1e300}"#).is_some());
    assert!(fit(schema, r#"{"id":"a","max":1e400}"#).is_some());
    assert!(fit(schema, "[]").is_some());
}

/// Matching this takes twice as long for each letter
#[test]
fn a_pattern_that_gives_up_never_fits() {
    let slow = r#"{"type":"object","properties":{"a":{"pattern":"^(a)(?:\\1|\\1)+$"}}}"#;
    let not_slow = r#"{"type":"object","not":{"properties":{"a":{"pattern":"^(a)(?:\\1|\\1)+$"}}}}"#;
    let value = |letters: usize| format!(r#"{{"a":"{}b"}}"#, "a".repeat(letters));
    assert!(fit(slow, &value(5)).is_some());
    assert_eq!(fit(not_slow, &value(5)), None);
    assert!(fit(slow, &value(60)).is_some());
    assert!(fit(not_slow, &value(60)).is_some());
}

#[test]
fn validators_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Validator>();
    shared::<Definition>();
}

#[test]
fn words_are_bounded() {
    let schema = r#"{"type":"object","additionalProperties":false}"#;
    let text = fit(schema, &format!("{{\"{}\":1}}", "x\\u0007".repeat(500))).unwrap();
    assert!(text.chars().count() <= 301 && !text.contains('\u{7}'));
}

#[test]
fn an_object_of_which_no_member_is_listed_can_have_any() {
    let text = r#"{"type":"object","properties":{
        "inputs":{"type":"object","properties":{}},
        "closed":{"type":"object","properties":{},"additionalProperties":false},
        "listed":{"type":"object","properties":{"a":{}}}}}"#;
    let open = definition(text).unwrap();
    let at = |path: &str| open.schema().at(&path.parse().unwrap()).is_some();
    assert!(at("inputs.environment") && at("listed.a"));
    assert!(!at("closed.x") && !at("listed.b") && !at("other"));
    let none = definition(r#"{"type":"object","properties":{}}"#).unwrap();
    assert!(none.schema().at(&"x".parse().unwrap()).is_none(), "a tool without arguments has none");
}
