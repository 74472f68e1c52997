use super::*;

fn read(text: &str) -> Result<Shape<'_>, Error> {
    Message::read(text.as_bytes(), &Limits::DEFAULT).map(|message| message.shape().clone())
}

#[test]
fn item_26_one_message_is_one_thing() {
    assert!(
        matches!(read(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#), Ok(Shape::Request { id, .. }) if id.raw() == "1")
    );
    assert!(
        matches!(read(r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#), Ok(Shape::Request { id, .. }) if id.raw() == "\"a\"")
    );
    assert!(matches!(read(r#"{"jsonrpc":"2.0","method":"ping","x":1}"#), Ok(Shape::Notification { .. })));
    assert!(matches!(read(r#"{"jsonrpc":"2.0","id":-7,"result":{}}"#), Ok(Shape::Response { error: false, .. })));
    assert!(matches!(read(r#"{"jsonrpc":"2.0","error":{}}"#), Ok(Shape::Response { id: None, error: true })));
    assert!(matches!(read(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#), Ok(Shape::Response { id: None, error: true })));
}

#[test]
fn item_4_and_26_hostile_messages_are_refused_with_the_code_of_json_rpc() {
    for (text, code) in [
        ("", -32700),
        ("{", -32700),
        ("\u{feff}{}", -32700),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600),
        (r#"{"id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.1","id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1e3,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","m\u0065thod":"b"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","Method":"b"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"Method":"b"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","params\u0000":{}}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","param\u017f":{}}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a"} x"#, -32700),
    ] {
        assert_eq!(read(text).map_err(|error| error.code()), Err(code), "{text}");
    }
}
