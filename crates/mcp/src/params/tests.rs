use super::*;
use portreeve_core::json::{Limits, scan};

fn with<T>(text: &str, read: impl FnOnce(Option<&Json<'_>>) -> T) -> T {
    read(Some(&scan(text.as_bytes(), &Limits::DEFAULT).unwrap()))
}

#[test]
fn the_parameters_of_what_may_be_asked_about() {
    let read = |method: Method, text: &str| {
        with(text, |params| {
            Use::read(method, params).map(|used| {
                let raw = |json: Option<&Json<'_>>| json.map(|json| json.raw().to_owned());
                (used.name.to_owned(), raw(used.arguments), raw(used.responses), used.state.map(str::to_owned))
            })
        })
    };
    let ok = |name: &str| Ok((name.to_owned(), None, None, None));
    assert_eq!(read(Method::CallTool, r#"{"name":"a"}"#), ok("a"));
    assert_eq!(read(Method::GetPrompt, r#"{"name":"a"}"#), ok("a"));
    assert_eq!(read(Method::ReadResource, r#"{"uri":"a:b","arguments":1}"#), ok("a:b"));
    let all = r#"{"name":"a","arguments":{"x":1},"inputResponses":{"k":{"action":"accept"}},"requestState":"s"}"#;
    let expected = (
        "a".to_owned(),
        Some(r#"{"x":1}"#.to_owned()),
        Some(r#"{"k":{"action":"accept"}}"#.to_owned()),
        Some("s".to_owned()),
    );
    assert_eq!(read(Method::CallTool, all), Ok(expected));
    for wrong in [
        "{}",
        "[]",
        r#"{"name":1}"#,
        r#"{"Name":"a"}"#,
        r#"{"name":"a","arguments":null}"#,
        r#"{"name":"a","arguments":[]}"#,
        r#"{"name":"a","Arguments":{}}"#,
        r#"{"name":"a","inputResponses":[]}"#,
        r#"{"name":"a","inputResponses":{"k":1}}"#,
        r#"{"name":"a","InputResponses":{}}"#,
        r#"{"name":"a","requestState":{}}"#,
        r#"{"name":"a","requestState\u0000":"s"}"#,
        r#"{"name":"a","_meta":1}"#,
        r#"{"name":"a","_meta":{"ProgressToken":1}}"#,
        r#"{"name":"a","_meta":{"io.modelcontextprotocol/ClientInfo":{}}}"#,
    ] {
        assert!(read(Method::CallTool, wrong).is_err(), "{wrong}");
    }
    assert!(Use::read(Method::CallTool, None).is_err());
    assert!(with(r#"{"name":"a","task":{}}"#, |params| Use::read(Method::CallTool, params).unwrap().as_task));
}

#[test]
fn the_parameters_of_the_other_methods() {
    let of = |text: &str| with(text, |params| Completion::read(params).map(|read| format!("{:?}", read.of)));
    let argument = r#""argument":{"name":"n","value":"v"}"#;
    assert_eq!(of(&format!(r#"{{"ref":{{"type":"ref/prompt","name":"p"}},{argument}}}"#)), Ok("Prompt(\"p\")".into()));
    assert_eq!(
        of(&format!(r#"{{"ref":{{"type":"ref/resource","uri":"u"}},{argument}}}"#)),
        Ok("Resource(\"u\")".into())
    );
    assert!(of(&format!(r#"{{"ref":{{"type":"ref/other","uri":"u"}},{argument}}}"#)).is_err());
    assert!(of(&format!(r#"{{"ref":{{"type":"ref/prompt","Name":"p"}},{argument}}}"#)).is_err());
    assert!(of(r#"{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"n","value":1}}"#).is_err());
    assert!(of(r#"{"ref":{"type":"ref/prompt","name":"p"}}"#).is_err());

    assert_eq!(with(r#"{"uri":"a:b"}"#, |params| uri(params).map(str::to_owned)), Ok("a:b".into()));
    assert!(with(r#"{"uri":["a:b"]}"#, |params| uri(params).is_err()));

    assert_eq!(cursor(None), Ok(None));
    assert!(with(r#"{"cursor":1}"#, |params| cursor(params).is_err()));

    assert_eq!(with(r#"{"level":"notice"}"#, level), Ok(Level::Notice));
    assert!(with(r#"{"level":"NOTICE"}"#, level).is_err());
    assert!(Level::Debug < Level::Emergency);

    let task = |method: Method, text: &str| {
        with(text, |params| TaskUse::read(method, params).map(|read| read.task.to_owned()))
    };
    assert_eq!(task(Method::GetTask, r#"{"taskId":"t"}"#), Ok("t".into()));
    assert!(task(Method::GetTask, r#"{"taskid":"t"}"#).is_err());
    assert!(task(Method::UpdateTask, r#"{"taskId":"t"}"#).is_err());
    assert_eq!(task(Method::UpdateTask, r#"{"taskId":"t","inputResponses":{}}"#), Ok("t".into()));

    let start = with(r#"{"protocolVersion":"2025-06-18","capabilities":{"roots":{}}}"#, |params| {
        initialize(params).map(|start| (start.version.to_owned(), start.can))
    });
    assert_eq!(start, Ok(("2025-06-18".into(), crate::can::Can::ROOTS)));
    assert!(with("{}", |params| initialize(params).is_err()));

    let token = |text: &str| with(text, |params| progress_token(params).map(|token| token.map(str::to_owned)));
    assert_eq!(token("{}"), Ok(None));
    assert_eq!(token(r#"{"_meta":{"progressToken":"a"}}"#), Ok(Some("\"a\"".into())));
    assert_eq!(token(r#"{"_meta":{"progressToken":7}}"#), Ok(Some("7".into())));
    assert!(token(r#"{"_meta":{"progressToken":null}}"#).is_err());
    assert!(token(&format!(r#"{{"_meta":{{"progressToken":"{}"}}}}"#, "x".repeat(300))).is_err());
}

#[test]
fn item_40_the_empty_cursor_is_one() {
    assert_eq!(
        with(r#"{"cursor":""}"#, |params| cursor(params).map(|cursor| cursor.map(str::to_owned))),
        Ok(Some(String::new()))
    );
}

#[test]
fn item_30_what_a_client_listens_for() {
    let read = |text: &str| with(text, ListenFilter::read);
    let all = r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":false,"resourceSubscriptions":["a:b"],"taskIds":["t"]}}"#;
    let filter =
        ListenFilter { tools: true, uris: vec!["a:b".into()], tasks: vec!["t".into()], ..ListenFilter::default() };
    assert_eq!(read(all), Ok(filter.clone()));
    let said = filter.json();
    assert_eq!(
        said,
        serde_json::json!({ "toolsListChanged": true, "resourceSubscriptions": ["a:b"], "taskIds": ["t"] })
    );
    assert_eq!(read(&format!("{{\"notifications\":{said}}}")), Ok(filter));
    assert_eq!(read(r#"{"notifications":{}}"#), Ok(ListenFilter::default()));
    for wrong in [
        "{}",
        r#"{"notifications":[]}"#,
        r#"{"notifications":{"toolsListChanged":"true"}}"#,
        r#"{"notifications":{"ToolsListChanged":true}}"#,
        r#"{"notifications":{"resourceSubscriptions":"a:b"}}"#,
        r#"{"notifications":{"resourceSubscriptions":[1]}}"#,
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
    let many = format!("{{\"notifications\":{{\"taskIds\":[{}]}}}}", vec!["\"t\""; 257].join(","));
    assert!(read(&many).is_err());
}
