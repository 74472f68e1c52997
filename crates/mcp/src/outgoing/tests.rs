use super::*;
use crate::{asked, header::decode};
use http::HeaderMap;
use portreeve_core::json::{Limits, scan};

fn made(body: &str, version: Version, schema: &str) -> HeaderMap {
    let message = Message::read(body.as_bytes(), &Limits::DEFAULT).unwrap();
    let schema = scan(schema.as_bytes(), &Limits::DEFAULT).unwrap();
    headers(&message, version, &crate::mirror::mirrored(&schema).unwrap()).into_iter().collect()
}

fn text(map: &HeaderMap, name: &str) -> Option<String> {
    map.get(name).map(|value| value.to_str().unwrap().to_owned())
}

#[test]
fn item_69_headers_are_built_from_the_body_that_is_sent() {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":" é","arguments":{"i":42.0,"s":"a\nb","n":null,"b":false,"o":{"d":"x"},"f":[1]}}}"#;
    let schema = r#"{"properties":{"i":{"type":"integer","x-mcp-header":"I"},"s":{"type":"string","x-mcp-header":"S"},
        "n":{"type":"string","x-mcp-header":"N"},"m":{"type":"string","x-mcp-header":"M"},"b":{"type":"boolean","x-mcp-header":"B"},
        "f":{"type":"string","x-mcp-header":"F"},"o":{"properties":{"d":{"type":"string","x-mcp-header":"D-d"}}}}}"#;
    let map = made(body, Version::July2026, schema);
    for (name, value) in [
        ("mcp-protocol-version", Some("2026-07-28")),
        ("mcp-method", Some("tools/call")),
        ("mcp-name", Some("=?base64?IMOp?=")),
        ("mcp-param-i", Some("42")),
        ("mcp-param-s", Some("=?base64?YQpi?=")),
        ("mcp-param-b", Some("false")),
        ("mcp-param-d-d", Some("x")),
        ("mcp-param-n", None),
        ("mcp-param-m", None),
        ("mcp-param-f", None),
    ] {
        assert_eq!(text(&map, name).as_deref(), value, "{name}");
    }
    assert_eq!(made(body, Version::November2025, schema).len(), 1);
    assert_eq!(made(body, Version::March2025, schema).len(), 0);
    let read = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b","name":"no"}}"#;
    assert_eq!(text(&made(read, Version::July2026, "{}"), "mcp-name").as_deref(), Some("a:b"));
    let poll = r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"t"}}"#;
    assert_eq!(text(&made(poll, Version::July2026, "{}"), "mcp-name").as_deref(), Some("t"));
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"name":"no"}}"#;
    assert_eq!(text(&made(list, Version::July2026, "{}"), "mcp-name"), None);
}

proptest::proptest! {
    #[test]
    fn what_is_sent_would_be_taken(name in "\\PC{0,12}", one in "\\PC{0,12}", number in proptest::prelude::any::<i64>()) {
        let (name_json, one_json) = (crate::edit::quoted(&name), crate::edit::quoted(&one));
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{name_json},"arguments":{{"s":{one_json},"i":{number}}},
            "_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        );
        let schema = r#"{"properties":{"i":{"type":"integer","x-mcp-header":"I"},"s":{"type":"string","x-mcp-header":"S"}}}"#;
        let map = made(&body, Version::July2026, schema);
        let message = Message::read(body.as_bytes(), &Limits::DEFAULT).unwrap();
        proptest::prop_assert!(asked::spoken(&map, &message).is_ok());
        let schema = scan(schema.as_bytes(), &Limits::DEFAULT).unwrap();
        let mirrored = crate::mirror::mirrored(&schema).unwrap();
        let arguments = message.params().and_then(|params| params.get("arguments"));
        proptest::prop_assert!(asked::check_params(&map, arguments, &mirrored).is_ok());
        proptest::prop_assert_eq!(map.get("mcp-name").and_then(decode), Some(name));
    }
}
