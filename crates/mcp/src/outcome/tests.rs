use super::*;
use portreeve_core::json::{Limits, scan};

fn of(body: &str, from: Version, method: Method, can: Can) -> Result<Outcome, String> {
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,{body}}}"#);
    outcome(&Message::read_answer(text.as_bytes(), &Limits::DEFAULT).unwrap(), from, method, can)
}

const NEW: Version = Version::July2026;
const OLD: Version = Version::November2025;

fn question(key: &str, method: Method, params: &str) -> Question {
    Question { key: key.to_owned(), method, params: params.to_owned() }
}

#[test]
fn item_74_the_kind_of_a_result() {
    let call = |body: &str| of(body, NEW, Method::CallTool, Can::ALL);
    assert_eq!(call(r#""result":{}"#), Ok(Outcome::Complete { failed: false }));
    assert_eq!(call(r#""result":{"resultType":"complete","isError":true}"#), Ok(Outcome::Complete { failed: true }));
    assert_eq!(call(r#""error":{"code":-32602,"message":"m"}"#), Ok(Outcome::Error { code: -32_602 }));
    for wrong in [
        r#""result":{"resultType":"other"}"#,
        r#""result":{"resultType":"Complete"}"#,
        r#""result":{"resultType":1}"#,
        r#""result":{"ResultType":"complete"}"#,
        r#""result":{"inputrequests":{}}"#,
        r#""result":[]"#,
        r#""error":{"code":"-1"}"#,
        r#""error":{"code":1.5}"#,
        r#""error":1"#,
    ] {
        assert!(call(wrong).is_err(), "{wrong}");
    }
    // In the legacy era there is no such member, and a modern client must not be told one.
    assert!(
        of(r#""result":{"resultType":"input_required","requestState":"s"}"#, OLD, Method::CallTool, Can::ALL).is_err()
    );
}

#[test]
fn item_50_who_may_ask_what() {
    let asks = |inner: &str| format!(r#""result":{{"resultType":"input_required",{inner}}}"#);
    let form = r#""inputRequests":{"k":{"method":"elicitation/create","params":{"message":"m"}}}"#;
    let asked = Outcome::Asks { questions: vec![question("k", Method::Elicit, r#"{"message":"m"}"#)], state: None };
    for method in [Method::CallTool, Method::GetPrompt, Method::ReadResource] {
        assert_eq!(of(&asks(form), NEW, method, Can::FORM), Ok(asked.clone()));
    }
    assert!(of(&asks(form), NEW, Method::Complete, Can::FORM).is_err());
    assert!(of(&asks(form), NEW, Method::ListTools, Can::FORM).is_err());
    assert!(of(&asks(form), NEW, Method::CallTool, Can::URL).is_err());
    let state = of(&asks(r#""requestState":"s""#), NEW, Method::CallTool, Can::NONE);
    assert_eq!(state, Ok(Outcome::Asks { questions: vec![], state: Some("s".into()) }));
    let roots = of(
        &asks(r#""inputRequests":{"r":{"method":"roots/list"}},"requestState":"s""#),
        NEW,
        Method::CallTool,
        Can::ALL,
    );
    assert_eq!(
        roots,
        Ok(Outcome::Asks { questions: vec![question("r", Method::ListRoots, "{}")], state: Some("s".into()) })
    );
    for wrong in [
        r#""x":1"#,
        r#""requestState":1"#,
        r#""inputRequests":[]"#,
        r#""inputRequests":{"k":1}"#,
        r#""inputRequests":{"k":{"method":"tools/call"}}"#,
        r#""inputRequests":{"k":{"method":"ping"}}"#,
        r#""inputRequests":{"k":{"Method":"roots/list","method":"roots/list"}}"#,
        r#""inputRequests":{"k":{"method":"elicitation/create","params":[]}}"#,
        r#""inputRequests":{"k":{"method":"elicitation/create","params":{"Mode":"url","message":"m"}}}"#,
        r#""inputRequests":{"k":{"method":"elicitation/create","params":{"mode":"other"}}}"#,
    ] {
        assert!(of(&asks(wrong), NEW, Method::CallTool, Can::ALL).is_err(), "{wrong}");
    }
    let many: Vec<String> = (0..17).map(|index| format!(r#""{index}":{{"method":"roots/list"}}"#)).collect();
    assert!(of(&asks(&format!(r#""inputRequests":{{{}}}"#, many.join(","))), NEW, Method::CallTool, Can::ALL).is_err());
    let long = format!(r#""requestState":"{}""#, "s".repeat(STATE_BYTES_MAX + 1));
    assert!(of(&asks(&long), NEW, Method::CallTool, Can::ALL).is_err());
}

#[test]
fn item_27_addresses_that_a_legacy_server_wants_opened_are_questions() {
    let body = r#""error":{"code":-32042,"message":"m","data":{"elicitations":[
        {"mode":"url","url":"https://a.example","elicitationId":"e","message":"m"}]}}"#;
    let params = r#"{"mode":"url","url":"https://a.example","elicitationId":"e","message":"m"}"#;
    let asked = Outcome::Asks { questions: vec![question("url-0", Method::Elicit, params)], state: None };
    assert_eq!(of(body, OLD, Method::CallTool, Can::URL), Ok(asked));
    assert!(of(body, OLD, Method::CallTool, Can::FORM).is_err());
    assert_eq!(of(body, NEW, Method::CallTool, Can::URL), Ok(Outcome::Error { code: URLS_REQUIRED }));
    assert!(of(r#""error":{"code":-32042,"message":"m"}"#, OLD, Method::CallTool, Can::URL).is_err());
    assert!(of(&body.replace("\"url\",", "\"form\","), OLD, Method::CallTool, Can::ALL).is_err());
    assert_eq!(code_for(URLS_REQUIRED, NEW), -32_603);
    assert_eq!(code_for(-32_002, NEW), -32_602);
    assert_eq!(code_for(-32_002, OLD), -32_002);
    assert_eq!(code_for(-32_020, NEW), -32_603);
    assert_eq!(code_for(-32_021, NEW), -32_021);
    assert_eq!(code_for(-32_050, NEW), -32_603);
    assert_eq!(code_for(-32_001, NEW), -32_001);
    assert_eq!(code_for(7, NEW), 7);
}

#[test]
fn item_28_a_task_only_for_a_client_that_can_follow_it() {
    let task = r#""result":{"resultType":"task","taskId":"t","status":"working","ttlMs":null}"#;
    let working = Outcome::Task { task: "t".into(), status: Status::Working, questions: vec![] };
    assert_eq!(of(task, NEW, Method::CallTool, Can::TASKS), Ok(working));
    assert!(of(task, NEW, Method::CallTool, Can::FORM).is_err());
    assert!(of(task, NEW, Method::GetPrompt, Can::ALL).is_err());
    assert!(of(task, OLD, Method::CallTool, Can::ALL).is_err());
    let get = |inner: &str| {
        of(&format!(r#""result":{{"resultType":"complete","taskId":"t",{inner}}}"#), NEW, Method::GetTask, Can::ALL)
    };
    let status = |inner: &str| match get(inner).unwrap() {
        Outcome::Task { status, questions, .. } => (status, questions.len()),
        other => panic!("{other:?}"),
    };
    assert_eq!(status(r#""status":"completed","result":{"isError":true}"#), (Status::Completed { failed: true }, 0));
    assert_eq!(status(r#""status":"completed","result":{}"#), (Status::Completed { failed: false }, 0));
    assert_eq!(status(r#""status":"failed","error":{}"#), (Status::Failed, 0));
    let asks = r#""status":"input_required","inputRequests":{"k":{"method":"roots/list"}}"#;
    assert_eq!(status(asks), (Status::InputRequired, 1));
    assert!(get(r#""status":"other""#).is_err());
    assert!(of(r#""result":{"status":"working"}"#, NEW, Method::GetTask, Can::ALL).is_err());
    assert!(Status::Failed.is_final() && !Status::InputRequired.is_final());
}

#[test]
fn item_54_answers_are_taken_by_key_and_what_was_not_asked_is_left_out() {
    let read = |text: &str| {
        let json = scan(text.as_bytes(), &Limits::DEFAULT).unwrap();
        let asked = [("f", Method::Elicit), ("s", Method::Sample), ("r", Method::ListRoots)];
        answers(&json, &asked.map(|(key, method)| (key.to_owned(), method)))
    };
    let one = read(r#"{"f":{"action":"accept","content":{"a":1.0}},"other":{"x":1}}"#).unwrap();
    assert_eq!(one, [("f".to_owned(), r#"{"action":"accept","content":{"a":1.0}}"#.to_owned())].into());
    assert_eq!(read("{}").unwrap().len(), 0);
    let rest = r#"{"s":{"role":"assistant","content":{},"model":"m"},"r":{"roots":[{"uri":"file:///a"}]}}"#;
    assert_eq!(read(rest).unwrap().len(), 2);
    for wrong in [
        r#"{"f":{}}"#,
        r#"{"f":{"action":"Accept"}}"#,
        r#"{"f":{"action":"accept","content":[]}}"#,
        r#"{"f":{"action":"decline","Action":"accept"}}"#,
        r#"{"s":{"role":"assistant"}}"#,
        r#"{"r":{}}"#,
        r#"{"r":{"roots":[{}]}}"#,
    ] {
        let json = json::scan_distinct(wrong.as_bytes(), &Limits::DEFAULT).unwrap();
        let asked = [("f", Method::Elicit), ("s", Method::Sample), ("r", Method::ListRoots)];
        assert!(answers(&json, &asked.map(|(key, method)| (key.to_owned(), method))).is_err(), "{wrong}");
    }
}

#[test]
fn questions_are_put_in_the_words_of_each_era() {
    let questions = [
        question("a\"", Method::Elicit, r#"{"mode":"url","url":"https://a.example"}"#),
        question("b", Method::ListRoots, "{}"),
    ];
    let asked = String::from_utf8(input_required("\"x\"", &questions, Some("s"))).unwrap();
    assert_eq!(
        asked,
        r#"{"jsonrpc":"2.0","id":"x","result":{"resultType":"input_required","inputRequests":{"a\"":{"method":"elicitation/create","params":{"mode":"url","url":"https://a.example"}},"b":{"method":"roots/list","params":{}}},"requestState":"s"}}"#
    );
    let read =
        of(asked.split_once(r#""id":"x","#).unwrap().1.strip_suffix('}').unwrap(), NEW, Method::CallTool, Can::ALL);
    assert_eq!(read, Ok(Outcome::Asks { questions: questions.to_vec(), state: Some("s".into()) }));
    assert_eq!(
        String::from_utf8(ask(9, &questions[0], OLD)).unwrap(),
        r#"{"jsonrpc":"2.0","id":9,"method":"elicitation/create","params":{"mode":"url","url":"https://a.example","elicitationId":"a\""}}"#
    );
    let urls = urls_required("1", &questions[..1]);
    assert!(Message::read_answer(&urls, &Limits::DEFAULT).unwrap().error().is_some());
    assert_eq!(
        question("k", Method::Sample, r#"{"task":{"ttl":1}, "maxTokens":5}"#).params_for(NEW),
        r#"{"maxTokens":5}"#
    );
}
