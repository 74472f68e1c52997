use super::*;
use portreeve_core::json::Limits;
use proptest::prelude::*;

const NEW: Version = Version::July2026;
const OLD: Version = Version::November2025;

fn connector(from: Version, version: Version) -> ToConnector<'static> {
    ToConnector { id: 7, version, from, can: Can::FORM, name: None, state: None, trace: None, log_level: None }
}

fn sent(text: &str, to: &ToConnector<'_>) -> String {
    let message = Message::read(text.as_bytes(), &Limits::DEFAULT).unwrap();
    String::from_utf8(request(text.as_bytes(), &message, to)).unwrap()
}

fn client(from: Version, version: Version, method: Method) -> ToClient<'static> {
    ToClient { id: "\"c\"", from, version, method, state: None, ttl_ms_max: 1_000 }
}

fn told(text: &str, to: &ToClient<'_>) -> String {
    let message = Message::read_answer(text.as_bytes(), &Limits::DEFAULT).unwrap();
    String::from_utf8(answer(text.as_bytes(), &message, to)).unwrap()
}

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"x","version":"1"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}}}"#;

#[test]
fn within_an_era_only_the_id_and_the_token_change() {
    let legacy = r#"{ "jsonrpc":"2.0", "id":"a","method":"tools/call","params":{"name":"n","arguments":{"x":1.50},"future":[ ],"_meta":{"progressToken":"p","com.example/x":1}}}"#;
    let expected = legacy.replace("\"id\":\"a\"", "\"id\":7").replace("\"progressToken\":\"p\"", "\"progressToken\":7");
    assert_eq!(sent(legacy, &connector(OLD, OLD)), expected);
    assert_eq!(sent(legacy, &connector(Version::March2025, OLD)), expected);
    let modern = legacy.replace("\"com.example/x\":1", META);
    let expected = expected.replace("\"com.example/x\":1", META);
    assert_eq!(sent(&modern, &connector(NEW, NEW)), expected);
}

#[test]
fn item_94_and_96_translation_to_the_modern_era_adds_what_every_request_says() {
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"n","task":{"ttl":1},"inputResponses":{"k":{}},"_meta":{"com.example/x":1,"baggage":"b=1"}}}"#;
    let to =
        ToConnector { log_level: Some(Level::Error), name: Some("own"), trace: Some("00-t"), ..connector(OLD, NEW) };
    assert_eq!(
        sent(text, &to),
        format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"own","inputResponses":{{"k":{{}}}},"_meta":{{"com.example/x":1,"traceparent":"00-t","io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{"elicitation":{{"form":{{}}}}}},"io.modelcontextprotocol/clientInfo":{},"io.modelcontextprotocol/logLevel":"error"}}}}}}"#,
            client_info()
        )
    );
    let bare = sent(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, &connector(OLD, NEW));
    let read = Message::read(bare.as_bytes(), &Limits::DEFAULT).unwrap();
    let meta = read.params().unwrap().get("_meta").unwrap();
    assert_eq!(meta.get(META_VERSION).unwrap().as_str(), Some("2026-07-28"));
    assert!(meta.get(META_LOG_LEVEL).is_none());
}

#[test]
fn translation_to_the_legacy_era_leaves_out_what_only_the_modern_one_has() {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"n","inputResponses":{{}},"requestState":"s","_meta":{{{META},"io.modelcontextprotocol/logLevel":"info","com.example/x":1}}}}}}"#
    );
    let plain = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"n","_meta":{"com.example/x":1}}}"#;
    assert_eq!(sent(&text, &connector(NEW, OLD)), plain);
    let only =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"n","_meta":{{{META}}}}}}}"#);
    let bare = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"n"}}"#;
    assert_eq!(sent(&only, &connector(NEW, OLD)), bare);
    // A state is never sent to a server that gave none.
    assert_eq!(sent(&only, &ToConnector { state: Some("s"), ..connector(NEW, OLD) }), bare);
}

#[test]
fn item_51_the_connectors_own_state_takes_the_place_of_the_sealed_one() {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{{"name":"n","requestState":"sealed","_meta":{{{META}}}}}}}"#
    );
    let own = sent(&text, &ToConnector { state: Some("o\"wn"), ..connector(NEW, NEW) });
    assert_eq!(own, text.replace("\"id\":1", "\"id\":7").replace("\"sealed\"", r#""o\"wn""#));
    assert_eq!(
        sent(&text, &connector(NEW, NEW)),
        text.replace("\"id\":1", "\"id\":7").replace(r#""requestState":"sealed","#, "")
    );
}

#[test]
fn a_connector_is_not_told_of_abilities_that_are_not_understood_here() {
    let capabilities = r#"{"elicitation":{"form":{}},"extensions":{"com.example/x":{}}}"#;
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{capabilities}}}}}}}"#
    );
    let expected = text.replace(capabilities, r#"{"elicitation":{"form":{}}}"#).replace("\"id\":1", "\"id\":7");
    assert_eq!(sent(&text, &connector(NEW, NEW)), expected);
    assert_eq!(
        sent(&text, &ToConnector { can: Can::NONE, ..connector(NEW, NEW) }),
        text.replace(capabilities, "{}").replace("\"id\":1", "\"id\":7")
    );
}

#[test]
fn item_28_and_37_a_modern_client_is_told_what_a_result_is_and_how_long_it_holds() {
    let of = |result: &str, to: &ToClient<'_>| {
        let all = told(&format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#), to);
        all.strip_prefix(r#"{"jsonrpc":"2.0","id":"c","result":"#).unwrap().strip_suffix('}').unwrap().to_owned()
    };
    let call = client(OLD, NEW, Method::CallTool);
    assert_eq!(of(r#"{"content":[], "x":1.0}"#, &call), r#"{"content":[], "x":1.0,"resultType":"complete"}"#);
    assert_eq!(of(r#"{"resultType":"complete"}"#, &call), r#"{"resultType":"complete"}"#);
    let read = client(OLD, NEW, Method::ReadResource);
    let private = r#""resultType":"complete","ttlMs":0,"cacheScope":"private""#;
    assert_eq!(of("{}", &read), format!("{{{private}}}"));
    // What a legacy server says of caching means nothing.
    assert_eq!(
        of(r#"{"ttlMs":5,"cacheScope":"public"}"#, &read),
        r#"{"ttlMs":0,"cacheScope":"private","resultType":"complete"}"#
    );
    let read = client(NEW, NEW, Method::ReadResource);
    let kept = r#"{"resultType":"complete","ttlMs":5,"cacheScope":"private"}"#;
    assert_eq!(of(kept, &read), kept);
    assert_eq!(of(&kept.replace("private", "public"), &read), kept);
    for (ttl, most) in [("5000", "1000"), ("-1", "0"), ("1.5", "0"), ("\"5\"", "0"), ("null", "0"), ("1e3", "1000")] {
        assert_eq!(of(&kept.replace(":5,", &format!(":{ttl},")), &read), kept.replace(":5,", &format!(":{most},")));
    }
    // Item 38: a question carries no hints.
    let asks = r#"{"resultType":"input_required","requestState":"s"}"#;
    assert_eq!(of(asks, &read), asks);
    assert_eq!(of(asks, &ToClient { state: Some("sealed"), ..read }), asks.replace("\"s\"", "\"sealed\""));
    // Legacy clients keep what they do not know; but structured content that is no object breaks them.
    let legacy = client(NEW, OLD, Method::CallTool);
    assert_eq!(of(kept, &legacy), kept);
    assert_eq!(
        of(r#"{"structuredContent":{"a":1},"content":[]}"#, &legacy),
        r#"{"structuredContent":{"a":1},"content":[]}"#
    );
    assert_eq!(of(r#"{"structuredContent":[1],"content":[]}"#, &legacy), r#"{"content":[]}"#);
    assert_eq!(
        of(r#"{"structuredContent":[1]}"#, &client(NEW, NEW, Method::CallTool)),
        r#"{"structuredContent":[1],"resultType":"complete"}"#
    );
}

#[test]
fn item_27_codes_of_errors_are_those_of_the_clients_era() {
    let text = r#"{"jsonrpc":"2.0","id":7,"error":{"code": -32002,"message":"m","data":{"uri":"a:b"},"more":1}}"#;
    let code = |to: &ToClient<'_>| told(text, to);
    assert_eq!(
        code(&client(OLD, NEW, Method::ReadResource)),
        text.replace("-32002", "-32602").replace("\"id\":7", "\"id\":\"c\"")
    );
    assert_eq!(code(&client(OLD, OLD, Method::ReadResource)), text.replace("\"id\":7", "\"id\":\"c\""));
}

#[test]
fn definitions_go_to_legacy_clients_without_an_output_that_they_would_refuse() {
    let odd = r#"{"name":"a","outputSchema":{"type":"array"}, "x":1}"#;
    assert_eq!(definition(odd, OLD), r#"{"name":"a", "x":1}"#);
    assert_eq!(definition(odd, NEW), odd);
    for kept in [r#"{"name":"a","outputSchema":{"type":"object"}}"#, r#"{"name":"a"}"#, "no json"] {
        assert_eq!(definition(kept, OLD), kept);
    }
}

#[test]
fn item_30_and_32_what_is_told_on_the_way() {
    let of = |text: &str, era: Era, token: Option<&str>, subscription: Option<&str>| {
        let message = Message::read_answer(text.as_bytes(), &Limits::DEFAULT).unwrap();
        notification(text.as_bytes(), &message, era, token, subscription).map(|told| String::from_utf8(told).unwrap())
    };
    let (modern, legacy) = (Era::Modern, Era::Legacy);
    let progress =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1.0, "x":1}}"#;
    assert_eq!(of(progress, modern, Some("\"p\""), None).unwrap(), progress.replace(":7,", ":\"p\","));
    assert_eq!(of(progress, legacy, None, None), None);
    assert_eq!(of(&progress.replace("\"x\":1", "\"ProgressToken\":9"), modern, Some("1"), None), None);
    assert_eq!(of(progress, modern, Some("1"), Some("2")), None);
    let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b","_meta":{"io.modelcontextprotocol/subscriptionId":3}}}"#;
    assert_eq!(of(updated, modern, None, Some("\"s\"")).unwrap(), updated.replace(":3}", ":\"s\"}"));
    assert_eq!(
        of(updated, legacy, None, None).unwrap(),
        updated.replace(r#""io.modelcontextprotocol/subscriptionId":3"#, "")
    );
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    assert_eq!(of(changed, legacy, None, None).unwrap(), changed);
    // A modern client subscribes to such news, and gets them nowhere else.
    assert_eq!(of(changed, modern, None, None), None);
    let named = |method: &str| changed.replace("notifications/tools/list_changed", method);
    for (method, in_legacy, in_modern, subscribed) in [
        ("notifications/message", true, true, false),
        ("notifications/elicitation/complete", true, false, false),
        ("notifications/resources/list_changed", true, false, true),
        ("notifications/tasks", false, false, false),
        ("notifications/cancelled", false, false, false),
        ("notifications/initialized", false, false, false),
        ("notifications/roots/list_changed", false, false, false),
        ("notifications/subscriptions/acknowledged", false, false, false),
        ("notifications/x", false, false, false),
    ] {
        assert_eq!(of(&named(method), legacy, None, None).is_some(), in_legacy, "{method}");
        assert_eq!(of(&named(method), modern, None, None).is_some(), in_modern, "{method}");
        assert_eq!(of(&named(method), modern, None, Some("1")).is_some(), subscribed, "{method}");
    }
    assert_eq!(of(r#"{"jsonrpc":"2.0","id":1,"method":"notifications/tools/list_changed"}"#, legacy, None, None), None);
    let logged = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1}}"#;
    let message = Message::read_answer(logged.as_bytes(), &Limits::DEFAULT).unwrap();
    assert_eq!(logged_level(&message), Some(Level::Error));
}

#[test]
fn a_connector_knows_a_prompt_by_its_own_name_in_completions_too() {
    let text = |kind: &str, name: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"completion/complete","params":{{"ref":{{"type":"{kind}","name":"{name}","x":1}},"argument":{{"name":"a","value":"b"}}}}}}"#
        )
    };
    let to = ToConnector { name: Some("own"), ..connector(OLD, OLD) };
    assert_eq!(sent(&text("ref/prompt", "shop.n"), &to), text("ref/prompt", "own"));
    assert_eq!(sent(&text("ref/resource", "shop.n"), &to), text("ref/resource", "shop.n"));
}

fn members() -> impl Strategy<Value = String> {
    let value =
        prop::sample::select(vec!["1", "1.50", "-0", "\"\\u00e9\"", "null", "[ 1 ,{}]", "{\"a\":{\"b\":[]}}", "1e400"]);
    prop::collection::btree_map("x[a-z]{0,3}", value, 0..5).prop_map(|members| {
        let members: Vec<_> = members.into_iter().map(|(key, value)| format!("\"{key}\" : {value}")).collect();
        members.join(" ,")
    })
}

/// The members of an object by key, each as it was written
fn written(json: Option<&Json<'_>>) -> Vec<(String, String)> {
    let members = json.and_then(Json::as_object).unwrap_or_default();
    members.iter().map(|member| (member.key.to_string(), member.value.raw().to_owned())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn item_96_a_request_through_the_other_era_and_back_keeps_every_unknown_member(
        params in members(), meta in members(), arguments in members(),
    ) {
        let comma = if params.is_empty() { "" } else { "," };
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"n","arguments":{{{arguments}}},{params}{comma}"_meta":{{{meta}}}}},"future":{{}}}}"#
        );
        let there = sent(&text, &connector(OLD, NEW));
        let back = sent(&there, &connector(NEW, OLD));
        let read = |text: &str| {
            let message = Message::read(text.as_bytes(), &Limits::DEFAULT).unwrap();
            let params = message.params();
            let inner = |key: &str| written(params.and_then(|params| params.get(key)));
            let outer: Vec<_> = written(params).into_iter().filter(|(key, _)| key != "_meta").collect();
            (outer, inner("_meta"), inner("arguments"), written(Some(message.root())).into_iter().map(|(key, _)| key).collect::<Vec<_>>())
        };
        prop_assert_eq!(read(&back), read(&text));
        // An era has no word of the other one.
        prop_assert!(!back.contains("io.modelcontextprotocol"));
    }

    #[test]
    fn an_answer_through_the_other_era_keeps_every_unknown_member(
        result in members(), from in prop::sample::select(Version::ALL.to_vec()), version in prop::sample::select(Version::ALL.to_vec()),
    ) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{{result}}}, "future":1.0}}"#);
        let told = told(&text, &client(from, version, Method::ReadResource));
        let read = |text: &str| {
            let message = Message::read_answer(text.as_bytes(), &Limits::DEFAULT).unwrap();
            let ours = |(key, _): &(String, String)| !["resultType", "ttlMs", "cacheScope"].contains(&key.as_str());
            written(message.result()).into_iter().filter(ours).collect::<Vec<_>>()
        };
        prop_assert_eq!(read(&told), read(&text));
    }
}
