use super::*;

const LIMITS: Limits = Limits::DEFAULT;

#[test]
fn modern_requests_say_everything_themselves_and_legacy_ones_nothing() {
    let modern = Says { version: Version::July2026, can: Can::ROOTS };
    let legacy = Says { version: Version::June2025, can: Can::ROOTS };
    for (bytes, method) in [
        (modern.list(3, Method::ListTools, Some("")), "tools/list"),
        (modern.listen(3, &ListenFilter { tools: true, ..ListenFilter::default() }), "subscriptions/listen"),
        (modern.task(3, Method::GetTask, "t"), "tasks/get"),
        (discover(3, Can::ROOTS), "server/discover"),
    ] {
        let message = Message::read(&bytes, &LIMITS).unwrap();
        let headers = crate::outgoing::headers(&message, Version::July2026, &[]).into_iter().collect();
        let spoken = crate::asked::spoken(&headers, &message).unwrap();
        let crate::asked::Spoken::Modern(spoken) = spoken else { panic!("{method}") };
        assert_eq!((spoken.version, spoken.can), (Version::July2026, Can::ROOTS));
        assert_eq!(message.root().get("method").unwrap().as_str(), Some(method));
    }
    assert_eq!(
        String::from_utf8(legacy.list(3, Method::ListPrompts, None)).unwrap(),
        r#"{"jsonrpc":"2.0","id":3,"method":"prompts/list","params":{}}"#
    );
    assert_eq!(
        String::from_utf8(legacy.subscribe(3, Method::Subscribe, "a:b")).unwrap(),
        r#"{"jsonrpc":"2.0","id":3,"method":"resources/subscribe","params":{"uri":"a:b"}}"#
    );
    assert_eq!(
        String::from_utf8(cancelled(3, "a\"b")).unwrap(),
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3,"reason":"a\"b"}}"#
    );
    assert!(Message::read(&initialize(1, Version::June2025, Can::ALL), &LIMITS).is_ok());
    assert!(Message::read(&initialized(), &LIMITS).is_ok());
}

#[test]
fn any_answer_that_no_modern_server_gives_means_the_legacy_era() {
    let read = |text: &str| read_discover(text.as_bytes(), &LIMITS);
    for legacy in [
        "",
        "<html>",
        r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"m"}}"#,
        r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32602,"message":"m"}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: Server not initialized"}}"#,
        r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32022,"message":"m"}}"#,
        r#"{"jsonrpc":"2.0","id":0,"result":{}}"#,
    ] {
        assert_eq!(read(legacy), Ok(Discovered::Legacy), "{legacy}");
    }
    let unsupported =
        r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32022,"message":"m","data":{"supported":["2099-01-01"]}}}"#;
    assert_eq!(read(unsupported), Ok(Discovered::Versions(vec!["2099-01-01".into()])));
    assert!(read(r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32021,"message":"m"}}"#).is_err());
    let found = r#"{"jsonrpc":"2.0","id":0,"result":{"resultType":"complete","supportedVersions":["2026-07-28","2025-11-25"],
        "capabilities":{"tools":{ }},"instructions":"i","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"n","version":"1"}}}}"#;
    let hello = Hello {
        version: Version::July2026,
        name: "n".into(),
        capabilities: r#"{"tools":{ }}"#.into(),
        instructions: Some("i".into()),
    };
    assert_eq!(read(found), Ok(Discovered::Modern(hello.clone())));
    assert!(hello.offers("tools") && !hello.offers("prompts"));
    assert_eq!(
        read(&found.replace("2026-07-28", "2099-01-01")),
        Ok(Discovered::Versions(vec!["2099-01-01".into(), "2025-11-25".into()]))
    );
    assert_eq!(read(&found.replace(r#""capabilities":{"tools":{ }},"#, "")), Err(Answer::Lacks("capabilities")));
}

#[test]
fn item_88_a_server_of_the_handshake_speaks_a_version_that_has_one() {
    let answer = |version: &str| {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":0,"result":{{"protocolVersion":"{version}","capabilities":{{}},"serverInfo":{{"name":"n"}}}}}}"#
        );
        read_initialize(text.as_bytes(), &LIMITS).map(|hello| hello.version)
    };
    assert_eq!(answer("2025-03-26"), Ok(Version::March2025));
    assert_eq!(answer("2024-11-05"), Err(Answer::Version("2024-11-05".into())));
    assert_eq!(answer("2026-07-28"), Err(Answer::Version("2026-07-28".into())));
}

#[test]
fn item_40_lists_are_read_page_by_page_each_item_as_it_was_written() {
    let page = |method: Method, result: &str| {
        read_list(method, format!(r#"{{"jsonrpc":"2.0","id":0,"result":{result}}}"#).as_bytes(), &LIMITS)
    };
    let tools = page(Method::ListTools, r#"{"tools":[{"name":"a", "x":1.0}],"nextCursor":""}"#).unwrap();
    assert_eq!(tools, Page { items: vec![("a".into(), r#"{"name":"a", "x":1.0}"#.into())], next: Some(String::new()) });
    let templates = page(Method::ListTemplates, r#"{"resourceTemplates":[{"uriTemplate":"a:{b}"}]}"#).unwrap();
    assert_eq!(templates.items[0].0, "a:{b}");
    assert_eq!(
        page(Method::ListResources, r#"{"resources":[{"name":"a"}]}"#),
        Err(Answer::Lacks("the name of an item"))
    );
    assert_eq!(page(Method::ListPrompts, "{}"), Err(Answer::Lacks("prompts")));
}
