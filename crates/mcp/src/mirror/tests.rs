use super::*;
use portreeve_core::json::{Limits, scan};

fn read(schema: &str) -> Result<Vec<(String, String)>, String> {
    let schema = scan(schema.as_bytes(), &Limits::DEFAULT).unwrap();
    let found = mirrored(&schema)?;
    Ok(found.into_iter().map(|one| (one.header, one.path.join("."))).collect())
}

#[test]
fn item_71_and_100_annotations_on_the_chain_of_properties_are_found() {
    let schema = r#"{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},
        "deep":{"type":"object","properties":{"id":{"type":"integer","x-mcp-header":"Deep-Id"}}},
        "x-mcp-header":{"type":"boolean","x-mcp-header":"Flag"},
        "plain":{"type":"string","default":{"x-mcp-header":"data"},"enum":[{"x-mcp-header":"data"}]}}}"#;
    let found = read(schema).unwrap();
    let expected = [("Region", "region"), ("Deep-Id", "deep.id"), ("Flag", "x-mcp-header")];
    assert_eq!(found, expected.map(|(header, path)| (header.to_owned(), path.to_owned())));
    assert_eq!(read("{}").unwrap(), []);
    assert_eq!(read("true").unwrap(), []);
}

#[test]
fn item_71_an_invalid_annotation_makes_the_tool_invalid() {
    let property = |schema: &str| format!(r#"{{"properties":{{"a":{schema}}}}}"#);
    for schema in [
        property(r#"{"type":"string","x-mcp-header":""}"#),
        property(r#"{"type":"string","x-mcp-header":"a b"}"#),
        property(r#"{"type":"string","x-mcp-header":"a\r\nb"}"#),
        property(r#"{"type":"string","x-mcp-header":"ä"}"#),
        property(r#"{"type":"string","x-mcp-header":1}"#),
        property(r#"{"type":"number","x-mcp-header":"A"}"#),
        property(r#"{"type":"object","x-mcp-header":"A"}"#),
        property(r#"{"type":"array","x-mcp-header":"A"}"#),
        property(r#"{"type":["string","null"],"x-mcp-header":"A"}"#),
        property(r#"{"x-mcp-header":"A"}"#),
        property(r#"{"type":"array","items":{"type":"string","x-mcp-header":"A"}}"#),
        property(r#"{"oneOf":[{"type":"string","x-mcp-header":"A"}]}"#),
        property(r#"{"oneOf":[{"properties":{"b":{"type":"string","x-mcp-header":"A"}}}]}"#),
        property(r#"{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}"#),
        r#"{"type":"string","x-mcp-header":"A"}"#.to_owned(),
        r#"{"allOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}"#.to_owned(),
        r#"{"if":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}"#.to_owned(),
        r#"{"not":{"x-mcp-header":"A"}}"#.to_owned(),
        r##"{"$ref":"#/$defs/a","$defs":{"a":{"type":"string","x-mcp-header":"A"}}}"##.to_owned(),
        r#"{"additionalProperties":{"type":"string","x-mcp-header":"A"}}"#.to_owned(),
        r#"{"patternProperties":{"a":{"type":"string","x-mcp-header":"A"}}}"#.to_owned(),
        r#"{"unknown":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}"#.to_owned(),
    ] {
        assert!(read(&schema).is_err(), "{schema}");
    }
}
