use super::*;
use http::{HeaderName, HeaderValue};
use portreeve_core::json::{Limits, scan};

const META: &str =
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

fn headers(all: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in all {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    map
}

fn ask(all: &[(&str, &str)], body: &str) -> Result<Spoken, (u16, i64)> {
    let message = Message::read(body.as_bytes(), &Limits::DEFAULT).unwrap();
    spoken(&headers(all), &message).map_err(|refused| (refused.status.as_u16(), refused.code))
}

fn call(params: &str) -> String {
    let comma = if params.is_empty() { "" } else { "," };
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{params}{comma}"_meta":{{{META}}}}}}}"#)
}

const VERSION: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
const CALL: (&str, &str) = ("mcp-method", "tools/call");
const MISMATCH: Result<(), (u16, i64)> = Err((400, -32_020));

fn modern(all: &[(&str, &str)], body: &str) -> Result<(), (u16, i64)> {
    ask(all, body).map(|spoken| assert!(matches!(spoken, Spoken::Modern(_)), "{body}"))
}

#[test]
fn item_10_and_14_headers_and_body_have_to_say_the_same() {
    let body = call(r#""name":"foo""#);
    assert_eq!(modern(&[VERSION, CALL, ("Mcp-Name", "foo")], &body), Ok(()));
    assert_eq!(modern(&[VERSION, ("MCP-METHOD", "tools/call"), ("MCP-NAME", "foo")], &body), Ok(()));
    assert_eq!(modern(&[VERSION, CALL, ("mcp-name", " foo ")], &body), Ok(()));
    assert_eq!(modern(&[VERSION, CALL, ("mcp-name", "=?base64?Zm9v?=")], &body), Ok(()));
    for wrong in [
        &[VERSION, ("mcp-method", "TOOLS/CALL"), ("mcp-name", "foo")][..],
        &[VERSION, ("mcp-method", "tools/list"), ("mcp-name", "foo")],
        &[VERSION, ("mcp-method", "=?base64?dG9vbHMvY2FsbA==?="), ("mcp-name", "foo")],
        &[VERSION, CALL, ("mcp-name", "bar")],
        &[VERSION, CALL, ("mcp-name", "FOO")],
        &[VERSION, CALL, ("mcp-name", "=?base64?Zm9v")],
        &[VERSION, CALL, ("mcp-name", "=?base64?Zm9?=")],
        &[VERSION, CALL, ("mcp-name", "=?base64?Zm9!?=")],
        &[VERSION, CALL, ("mcp-name", "föo")],
        // Missing.
        &[CALL, ("mcp-name", "foo")],
        &[VERSION, ("mcp-name", "foo")],
        &[VERSION, CALL],
        // Another version than the body's.
        &[("mcp-protocol-version", "2025-11-25"), CALL, ("mcp-name", "foo")],
        &[("mcp-protocol-version", "2099-01-01"), CALL, ("mcp-name", "foo")],
        &[("mcp-protocol-version", "=?base64?MjAyNi0wNy0yOA==?="), CALL, ("mcp-name", "foo")],
        // Twice, also where both say the same.
        &[VERSION, VERSION, CALL, ("mcp-name", "foo")],
        &[VERSION, CALL, CALL, ("mcp-name", "foo")],
        &[VERSION, CALL, ("mcp-name", "foo"), ("Mcp-Name", "foo")],
    ] {
        assert_eq!(modern(wrong, &body), MISMATCH, "{wrong:?}");
    }
}

#[test]
fn item_13_names_are_needed_where_the_method_has_one() {
    let with = |method: &str, params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}"_meta":{{{META}}}}}}}"#)
    };
    let uri = with("resources/read", r#""uri":"file:///a b","#);
    let read = ("mcp-method", "resources/read");
    assert_eq!(modern(&[VERSION, read, ("mcp-name", "file:///a b")], &uri), Ok(()));
    assert_eq!(modern(&[VERSION, read], &uri), MISMATCH);
    let task = with("tasks/get", r#""taskId":"t","#);
    assert_eq!(modern(&[VERSION, ("mcp-method", "tasks/get")], &task), MISMATCH);
    assert_eq!(modern(&[VERSION, ("mcp-method", "tasks/get"), ("mcp-name", "t")], &task), Ok(()));
    // A name where the body has none is a name that the body does not say.
    let list = with("tools/list", "");
    assert_eq!(modern(&[VERSION, ("mcp-method", "tools/list")], &list), Ok(()));
    assert_eq!(modern(&[VERSION, ("mcp-method", "tools/list"), ("mcp-name", "x")], &list), MISMATCH);
    assert_eq!(modern(&[VERSION, read, ("mcp-name", "x")], &with("resources/read", "")), MISMATCH);
    // The name may be of another type in the body; then no header repeats it.
    assert_eq!(modern(&[VERSION, CALL, ("mcp-name", "1")], &with("tools/call", r#""name":1,"#)), MISMATCH);
    let followed = with("resources/subscribe", r#""uri":"a:b","#);
    assert_eq!(modern(&[VERSION, ("mcp-method", "resources/subscribe"), ("mcp-name", "a:b")], &followed), Ok(()));
    assert_eq!(modern(&[VERSION, ("mcp-method", "resources/subscribe"), ("mcp-name", "a:c")], &followed), MISMATCH);
    // Unknown methods are refused as such, later.
    assert_eq!(modern(&[VERSION, ("mcp-method", "x/y"), ("mcp-name", "z")], &with("x/y", "")), Ok(()));
}

#[test]
fn item_11_and_22_versions_and_what_a_request_has_to_say() {
    let body = |meta: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{meta}}}}}"#);
    let list = ("mcp-method", "tools/list");
    let future =
        r#"{"io.modelcontextprotocol/protocolVersion":"2099-01-01","io.modelcontextprotocol/clientCapabilities":{}}"#;
    let header = ("mcp-protocol-version", "2099-01-01");
    assert_eq!(ask(&[header, list], &body(future)), Err((400, -32_022)));
    let message = body(future);
    let message = Message::read(message.as_bytes(), &Limits::DEFAULT).unwrap();
    let refused = spoken(&headers(&[header, list]), &message).unwrap_err();
    assert_eq!(
        refused.data.unwrap(),
        json!({ "supported": ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"], "requested": "2099-01-01" })
    );
    // A version that has sessions is not spoken without one.
    let old =
        r#"{"io.modelcontextprotocol/protocolVersion":"2025-11-25","io.modelcontextprotocol/clientCapabilities":{}}"#;
    assert_eq!(ask(&[("mcp-protocol-version", "2025-11-25"), list], &body(old)), Err((400, -32_022)));
    for meta in [
        "{}",
        r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#,
        r#"{"io.modelcontextprotocol/clientCapabilities":{}}"#,
        r#"{"io.modelcontextprotocol/protocolVersion":1,"io.modelcontextprotocol/clientCapabilities":{}}"#,
        r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}"#,
        r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","Io.modelcontextprotocol/clientCapabilities":{}}"#,
        "[]",
    ] {
        assert_eq!(ask(&[VERSION, list], &body(meta)), Err((400, -32_602)), "{meta}");
    }
    let discover = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#;
    assert_eq!(ask(&[], discover), Err((400, -32_602)));
}

#[test]
fn item_23_and_29_what_the_client_can_do_and_wants_to_hear_is_in_each_request() {
    let body = |level: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{
            "io.modelcontextprotocol/protocolVersion":"2026-07-28",
            "io.modelcontextprotocol/clientCapabilities":{{"elicitation":{{}}}},
            "io.modelcontextprotocol/logLevel":{level}}}}}}}"#
        )
    };
    let list = ("mcp-method", "tools/list");
    let Ok(Spoken::Modern(modern)) = ask(&[VERSION, list], &body("\"warning\"")) else { panic!() };
    assert_eq!(modern, Modern { version: Version::July2026, can: Can::FORM, log_level: Some(Level::Warning) });
    assert_eq!(ask(&[VERSION, list], &body("\"loud\"")), Err((400, -32_602)));
    let lacks = Refused::lacks(Can::ROOTS);
    assert_eq!((lacks.status.as_u16(), lacks.code), (400, -32_021));
    assert_eq!(lacks.data.unwrap(), json!({ "requiredCapabilities": { "roots": {} } }));
}

#[test]
fn item_4_and_101_notifications_and_responses() {
    let told = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(modern(&[VERSION], told), Ok(()));
    assert_eq!(modern(&[VERSION, ("mcp-method", "notifications/cancelled")], told), Ok(()));
    assert_eq!(ask(&[VERSION, CALL], told), Err((400, -32_020)));
    assert_eq!(ask(&[], told), Ok(Spoken::Legacy(None)));
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    assert_eq!(ask(&[VERSION], answer), Err((400, -32_600)));
    assert_eq!(ask(&[("mcp-protocol-version", "2025-11-25")], answer), Ok(Spoken::Legacy(Some(Version::November2025))));
}

#[test]
fn item_90_the_legacy_era_has_its_version_in_the_header_or_nowhere() {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#;
    assert_eq!(ask(&[], body), Ok(Spoken::Legacy(None)));
    assert_eq!(ask(&[("mcp-protocol-version", "2025-06-18")], body), Ok(Spoken::Legacy(Some(Version::June2025))));
    assert_eq!(ask(&[("mcp-protocol-version", "1999-01-01")], body), Err((400, -32_022)));
    assert_eq!(ask(&[("mcp-protocol-version", "\u{e9}")], body), Err((400, -32_020)));
    // Item 18: nobody in front of us may have been shown another message, whatever the era.
    assert_eq!(ask(&[("mcp-method", "tools/list")], body), Err((400, -32_020)));
    assert_eq!(ask(&[("mcp-name", "b")], body), Err((400, -32_020)));
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2026-07-28"}}"#;
    assert_eq!(ask(&[VERSION], initialize), Ok(Spoken::Legacy(None)));
}

#[test]
fn item_98_headers_that_are_too_long_or_too_many_are_refused_before_they_are_read() {
    let body = call(r#""name":"foo""#);
    let long = "x".repeat(HEADER_BYTES_MAX + 1);
    assert_eq!(modern(&[VERSION, CALL, ("mcp-name", &long)], &body), Err((431, -32_600)));
    let many: Vec<String> = (0..=PARAM_HEADERS_MAX).map(|index| format!("mcp-param-{index}")).collect();
    let mut all = vec![VERSION, CALL, ("mcp-name", "foo")];
    all.extend(many.iter().map(|name| (name.as_str(), "1")));
    assert_eq!(modern(&all, &body), Err((431, -32_600)));
}

#[test]
fn item_16_17_and_99_headers_of_arguments() {
    let schema = r#"{"properties":{"s":{"type":"string","x-mcp-header":"S"},"i":{"type":"integer","x-mcp-header":"I"},
        "b":{"type":"boolean","x-mcp-header":"B"},"o":{"properties":{"d":{"type":"string","x-mcp-header":"D"}}}}}"#;
    let schema = scan(schema.as_bytes(), &Limits::DEFAULT).unwrap();
    let mirrored = crate::mirror::mirrored(&schema).unwrap();
    let check = |all: &[(&str, &str)], arguments: &str| {
        let arguments = scan(arguments.as_bytes(), &Limits::DEFAULT).unwrap();
        let refused = check_params(&headers(all), Some(&arguments), &mirrored);
        refused.map_err(|refused| (refused.status.as_u16(), refused.code))
    };
    for (all, arguments) in [
        (&[][..], "{}"),
        (&[], r#"{"s":null,"o":{}}"#),
        (&[("mcp-param-s", "us west 1")], r#"{"s":"us west 1"}"#),
        (&[("MCP-PARAM-S", "=?base64?IHVzLXdlc3Qx?=")], r#"{"s":" us-west1"}"#),
        (&[("mcp-param-s", "")], r#"{"s":""}"#),
        (&[("mcp-param-i", "42")], r#"{"i":42.0}"#),
        (&[("mcp-param-i", "42.0")], r#"{"i":42}"#),
        (&[("mcp-param-i", "-7")], r#"{"i":-7}"#),
        (&[("mcp-param-b", "true")], r#"{"b":true}"#),
        (&[("mcp-param-d", "x")], r#"{"o":{"d":"x"}}"#),
        // Not of this tool: nothing to do with us.
        (&[("mcp-param-other", "\u{e9}"), ("mcp-param-other", "2")], "{}"),
    ] {
        assert_eq!(check(all, arguments), Ok(()), "{all:?} {arguments}");
    }
    for (all, arguments) in [
        (&[][..], r#"{"s":"x"}"#),
        (&[("mcp-param-s", "x")], "{}"),
        (&[("mcp-param-s", "null")], r#"{"s":null}"#),
        (&[("mcp-param-s", "X")], r#"{"s":"x"}"#),
        (&[("mcp-param-s", "x"), ("mcp-param-s", "x")], r#"{"s":"x"}"#),
        (&[("mcp-param-s", "=?base64?eA?=")], r#"{"s":"x"}"#),
        (&[("mcp-param-s", "1")], r#"{"s":1.5}"#),
        (&[("mcp-param-i", "43")], r#"{"i":42}"#),
        (&[("mcp-param-i", "+42")], r#"{"i":42}"#),
        (&[("mcp-param-i", "42")], r#"{"i":"43"}"#),
        (&[("mcp-param-b", "True")], r#"{"b":true}"#),
        (&[("mcp-param-d", "{}")], r#"{"o":{"d":{}}}"#),
        (&[("mcp-param-d", "x")], r#"{"o":"x"}"#),
    ] {
        assert_eq!(check(all, arguments), Err((400, -32_020)), "{all:?} {arguments}");
    }
}

#[test]
fn item_12_an_unknown_method_has_a_status_of_its_own_in_the_modern_era() {
    let of = |era: Era| {
        let refused = Refused::method_not_found(era);
        (refused.status.as_u16(), refused.code)
    };
    assert_eq!(of(Era::Modern), (404, -32_601));
    assert_eq!(of(Era::Legacy), (200, -32_601));
    // What one era has and the other has not is unknown there.
    for (method, modern, legacy) in [
        (Method::Initialize, false, true),
        (Method::Ping, false, true),
        (Method::SetLevel, false, true),
        (Method::Subscribe, false, true),
        (Method::Unsubscribe, false, true),
        (Method::Discover, true, false),
        (Method::Listen, true, false),
        (Method::GetTask, true, false),
        (Method::CallTool, true, true),
        (Method::Elicit, false, false),
    ] {
        assert_eq!((method.from_client(Era::Modern), method.from_client(Era::Legacy)), (modern, legacy), "{method:?}");
    }
}
