//! Calls over HTTP: what is sent, what is understood, and what is lost.

use super::support::*;
use crate::{
    event::Event,
    http::Failure,
    latch::{Latches, Pass},
    link::{Called, Link},
};
use portreeve_core::{hash::Hash, node::Node};
use portreeve_mcp::{can::Can, mirror::Mirrored, outcome::Outcome, version::Version};
use serde_json::json;
use tokio::sync::mpsc;

async fn modern(can: Can) -> (Server, Link) {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, can, server.open_modern(json!([]))).await;
    (server, link)
}

async fn legacy(can: Can) -> (Server, Link) {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, can, server.open_legacy("2025-11-25", None, json!({}))).await;
    (server, link)
}

#[tokio::test]
async fn item_69_headers_are_built_from_the_body_that_is_sent() {
    let (mut server, link) = modern(Can::NONE).await;
    let mirrored = vec![
        Mirrored { header: "Region".to_owned(), path: vec!["where".to_owned()] },
        Mirrored { header: "Count".to_owned(), path: vec!["n".to_owned()] },
        Mirrored { header: "Absent".to_owned(), path: vec!["absent".to_owned()] },
    ];
    let arguments = json!({ "where": "west", "n": 42 });
    let request = Request { name: Some("real"), mirrored, ..Request::call(arguments.clone()) };
    let script = async {
        let got = server.message().await;
        assert_eq!(got.body["params"]["name"], "real", "the endpoint renamed it");
        assert_eq!(got.header("mcp-name"), Some("real"));
        assert_eq!(got.header("mcp-method"), Some("tools/call"));
        assert_eq!(got.header("mcp-protocol-version"), Some("2026-07-28"));
        assert_eq!(got.header("mcp-param-region"), Some("west"));
        assert_eq!(got.header("mcp-param-count"), Some("42"));
        let known = ["accept", "content-length", "content-type", "host", "mcp-method", "mcp-name", "mcp-param-count"];
        let known = [&known[..], &["mcp-param-region", "mcp-protocol-version"]].concat();
        assert_eq!(got.headers.keys().collect::<Vec<_>>(), known);
        assert_eq!(got.body["params"]["arguments"], arguments);
        assert_eq!(got.body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        assert_ne!(got.body["id"], "mine");
        got.result(json!({ "resultType": "complete", "content": [] }));
    };
    let (whole, ()) = request.answered(&link, script).await;
    assert!(whole.is_good() && !whole.stale);
    // As the script wrote it, whatever the order of members is there.
    let written = json!({ "resultType": "complete", "content": [] }).to_string();
    assert_eq!(whole.digest, Hash::of(written.as_bytes()));
}

#[tokio::test]
async fn item_70_what_no_header_can_hold_is_encoded() {
    let (mut server, link) = modern(Can::NONE).await;
    for (uri, header) in [
        ("file:///a", "file:///a"),
        (" x", "=?base64?IHg=?="),
        ("file:///ä", "=?base64?ZmlsZTovLy/DpA==?="),
        ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        ("a\nb", "=?base64?YQpi?="),
    ] {
        let script = async {
            let got = server.message().await;
            assert_eq!(got.header("mcp-name"), Some(header));
            got.result(json!({ "contents": [] }));
        };
        Request::new("resources/read", json!({ "uri": uri })).answered(&link, script).await;
    }
}

#[tokio::test]
async fn item_72_a_header_mismatch_says_that_the_catalogue_is_old_and_nothing_is_sent_again() {
    let (mut server, link) = modern(Can::NONE).await;
    let script = async { server.message().await.error(400, -32020, json!({})) };
    assert!(!link.take_changed());
    let (whole, ()) = Request::call(json!({})).answered(&link, script).await;
    assert!(whole.stale);
    assert_eq!(whole.outcome, Outcome::Error { code: -32020 });
    assert!(link.take_changed(), "it has to be asked anew what it offers");
    assert_eq!(server.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn item_11_a_connector_that_speaks_another_version_by_now_is_probed_anew() {
    let (mut server, link) = modern(Can::NONE).await;
    let script = async { server.message().await.error(400, -32022, json!({ "supported": ["2025-11-25"] })) };
    let (whole, ()) = Request::call(json!({})).answered(&link, script).await;
    assert_eq!(whole.outcome, Outcome::Error { code: -32022 });
    assert!(link.is_over());
}

#[tokio::test]
async fn item_73_a_stream_that_breaks_is_lost_and_nothing_is_sent_again() {
    let (mut server, link) = modern(Can::NONE).await;
    let script = async {
        let mut events = server.message().await.events().await;
        events.raw(b"id: 7\ndata: \n\n").await;
        events.event(json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": {} })).await;
        drop(events);
    };
    let (called, ()) = Request::call(json!({})).with(&link, script).await;
    lost(called);
    assert_eq!(server.rest(), Vec::<String>::new(), "a modern stream is never taken up again");
}

#[tokio::test]
async fn item_74_an_answer_that_the_protocol_does_not_have_is_lost() {
    let (mut server, link) = modern(Can::NONE).await;
    for result in [
        json!({ "resultType": "surprise" }),
        json!({ "resultType": 1 }),
        json!({ "resultType": "task", "taskId": "t", "status": "working" }),
        json!({ "resultType": "input_required", "inputRequests": { "a": { "method": "roots/list" } } }),
    ] {
        let script = async { server.message().await.result(result.clone()) };
        let (called, ()) = Request::call(json!({})).with(&link, script).await;
        lost(called);
    }
    let script = async { server.message().await.result(json!({ "content": [], "isError": true })) };
    let (whole, ()) = Request::call(json!({})).answered(&link, script).await;
    assert_eq!(whole.outcome, Outcome::Complete { failed: true }, "no resultType means the end");
}

#[tokio::test]
async fn item_50_questions_and_tasks_are_outcomes_for_a_client_that_can_do_them() {
    let (mut server, link) = modern(Can::ROOTS.and(Can::TASKS)).await;
    let script = async {
        let asked = json!({ "a": { "method": "roots/list" } });
        let result = json!({ "resultType": "input_required", "inputRequests": asked, "requestState": "s" });
        server.message().await.result(result);
    };
    let (whole, ()) = Request::call(json!({})).answered(&link, script).await;
    let Outcome::Asks { questions, state } = &whole.outcome else { panic!("{whole:?}") };
    assert_eq!((questions.len(), state.as_deref()), (1, Some("s")));
    let script = async {
        let result = json!({
            "resultType": "task", "taskId": "t", "status": "working", "createdAt": "x", "lastUpdatedAt": "x",
            "ttlMs": null,
        });
        server.message().await.result(result);
    };
    let (whole, ()) = Request::call(json!({})).answered(&link, script).await;
    assert!(matches!(&whole.outcome, Outcome::Task { task, .. } if task == "t"), "{whole:?}");
    let script = async {
        let got = server.message().await;
        assert_eq!(got.header("mcp-name"), Some("t"));
        got.result(json!({ "resultType": "complete" }));
    };
    let request = Request { from: Version::July2026, ..Request::new("tasks/cancel", json!({ "taskId": "t" })) };
    request.answered(&link, script).await;
}

#[tokio::test]
async fn what_a_version_does_not_have_is_not_sent() {
    let (mut server, link) = modern(Can::NONE).await;
    let subscribe = Request::new("resources/subscribe", json!({ "uri": "a" }));
    not_sent(subscribe.with(&link, async {}).await.0);
    assert_eq!(server.rest(), Vec::<String>::new());
    let (mut server, link) = legacy(Can::NONE).await;
    not_sent(Request::new("tasks/get", json!({ "taskId": "a" })).with(&link, async {}).await.0);
    assert_eq!(server.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn item_9_dropping_a_modern_call_closes_its_stream_and_says_nothing_else() {
    let (mut server, link) = modern(Can::NONE).await;
    let request = Request::call(json!({}));
    let (events, _kept) = mpsc::channel(1);
    let got = tokio::select! {
        called = request.through(&link, pass(), events) => panic!("{called:?}"),
        got = server.message() => got,
    };
    got.closed().await;
    drop(link);
    assert_eq!(server.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn item_9_dropping_a_legacy_call_tells_the_server() {
    let (mut server, link) = legacy(Can::NONE).await;
    let request = Request::call(json!({}));
    let (events, _kept) = mpsc::channel(1);
    let got = tokio::select! {
        called = request.through(&link, pass(), events) => panic!("{called:?}"),
        got = server.message() => got,
    };
    let told = server.next("POST", "notifications/cancelled").await;
    assert_eq!(told.body["params"]["requestId"], got.body["id"]);
    told.status(202, "");
    got.closed().await;
}

#[tokio::test]
async fn item_33_a_call_that_takes_too_long_is_cancelled_and_lost() {
    let (mut server, link) = legacy(Can::NONE).await;
    let request = Request { within: std::time::Duration::from_millis(500), ..Request::call(json!({})) };
    let script = async { server.next("POST", "tools/call").await };
    let (called, got) = request.with(&link, script).await;
    assert_eq!(lost(called), "no answer in time");
    server.next("POST", "notifications/cancelled").await.status(202, "");
    got.closed().await;
}

#[tokio::test]
async fn nothing_leaves_through_a_latch_that_is_closed() {
    let (mut server, link) = modern(Can::NONE).await;
    let latches = Latches::default();
    let closed = Pass::resting_on(&latches, &[Node::Tenant]);
    let closing = latches.close(&Node::Tenant);
    let (events, _kept) = mpsc::channel(1);
    not_sent(Request::call(json!({})).through(&link, closed, events.clone()).await);
    let withdrawn = pass();
    assert!(withdrawn.withdrawal().withdraw());
    not_sent(Request::call(json!({})).through(&link, withdrawn, events).await);
    assert_eq!(closing.under_way(), 0);
    // The server sees the next call, and nothing of those before.
    let script = async {
        let got = server.message().await;
        assert_eq!(got.body["params"]["arguments"], json!({ "next": 1 }));
        got.result(json!({}));
    };
    Request::call(json!({ "next": 1 })).answered(&link, script).await;
    assert_eq!(server.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn a_status_says_whether_the_server_did_anything() {
    let (mut server, link) = legacy(Can::NONE).await;
    for (status, text, fate) in [
        (401, "", "rejected"),
        (403, "no", "rejected"),
        (413, "", "rejected"),
        (431, "", "rejected"),
        (429, "", "rejected"),
        (400, "who are you?", "lost"),
        (400, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"bad"}}"#, "rejected"),
        (500, "", "lost"),
        (302, "", "lost"),
        (202, "", "lost"),
        (200, "", "lost"),
        (200, "{}", "lost"),
        (200, r#"{"jsonrpc":"2.0","id":99,"result":{}}"#, "lost"),
        (200, r#"{"jsonrpc":"2.0","id":2,"result":{},"result":{}}"#, "lost"),
    ] {
        let script = async { server.next("POST", "tools/call").await.status(status, text) };
        let (called, ()) = Request::call(json!({})).with(&link, script).await;
        match fate {
            "lost" => drop(lost(called)),
            _ => drop(rejected(called)),
        }
        assert!(!link.is_over());
    }
    let script = async { server.next("POST", "tools/call").await.error(400, -32602, json!({})) };
    let (whole, ()) = Request::call(json!({})).answered(&link, script).await;
    assert_eq!(whole.outcome, Outcome::Error { code: -32602 });
}

#[tokio::test]
async fn item_94_baggage_never_passes_and_the_trace_is_ours() {
    let (mut server, link) = modern(Can::NONE).await;
    let meta = json!({ "baggage": "k=secret", "own/key": 1 });
    let script = async {
        let got = server.message().await;
        assert!(!String::from_utf8(got.raw.clone()).unwrap().contains("secret"));
        assert_eq!(got.body["params"]["_meta"]["own/key"], 1, "what is not known is kept");
        got.result(json!({}));
    };
    Request::new("tools/call", json!({ "name": "act", "_meta": meta })).answered(&link, script).await;
}

/// The questions and what was told while a call was under way
async fn events_of(link: &Link, request: &Request, script: impl Future<Output = ()>) -> (Vec<Event>, Called) {
    let (events, mut heard) = mpsc::channel(64);
    let (called, ()) = tokio::join!(request.through(link, pass(), events), script);
    let mut all = Vec::new();
    while let Ok(event) = heard.try_recv() {
        all.push(event);
    }
    (all, called.unwrap())
}

#[tokio::test]
async fn item_7_what_is_told_on_the_way_is_passed_on() {
    let (mut server, link) = modern(Can::NONE).await;
    let told = |method: &str, params| json!({ "jsonrpc": "2.0", "method": method, "params": params });
    let script = async {
        let mut events = server.message().await.events().await;
        let own = events.id.clone();
        events.raw(b": keep-alive\n\n").await;
        events.event(told("notifications/progress", json!({ "progressToken": own, "progress": 1 }))).await;
        events.event(told("notifications/progress", json!({ "progressToken": 99, "progress": 1 }))).await;
        events.event(told("notifications/message", json!({ "level": "info", "data": 1 }))).await;
        events.event(told("notifications/invented", json!({}))).await;
        // A modern server never asks; what it asks all the same is dropped.
        events.event(json!({ "jsonrpc": "2.0", "id": 1, "method": "roots/list" })).await;
        events.result(json!({ "content": [] })).await;
        events.end().await;
    };
    let (events, called) = events_of(&link, &Request::call(json!({})), script).await;
    let text = |event: &Event| match event {
        Event::Told(told) => String::from_utf8(told.clone()).unwrap(),
        Event::Asks(ask) => panic!("{ask:?}"),
    };
    let texts: Vec<String> = events.iter().map(text).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].contains("notifications/progress") && texts[1].contains("notifications/message"));
    assert!(matches!(called, Called::Whole(whole) if whole.is_good()));
    assert_eq!(server.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn item_92_a_legacy_question_is_asked_while_the_call_goes_on_and_its_answer_is_posted() {
    let (mut server, http) = Server::new().await;
    let can = Can::ROOTS;
    let link = opened(&http, can, server.open_legacy("2025-11-25", Some("s-1"), json!({}))).await;
    let (events, mut heard) = mpsc::channel(64);
    let request = Request::call(json!({}));
    let client = async {
        let Some(Event::Asks(ask)) = heard.recv().await else { panic!("nothing was asked") };
        assert_eq!((ask.method.as_str(), ask.params.as_str()), ("roots/list", r#"{"x":1}"#));
        ask.answer(Ok(r#"{"roots":[]}"#.to_owned()), Some(pass())).await.unwrap();
    };
    let script = async {
        let mut events = server.next("POST", "tools/call").await.events().await;
        events.event(json!({ "jsonrpc": "2.0", "id": "q-1", "method": "roots/list", "params": { "x": 1 } })).await;
        let answer = server.next("POST", "").await;
        assert_eq!(answer.body, json!({ "jsonrpc": "2.0", "id": "q-1", "result": { "roots": [] } }));
        assert_eq!(answer.header("mcp-session-id"), Some("s-1"));
        assert_eq!(answer.header("mcp-protocol-version"), Some("2025-11-25"));
        answer.status(202, "");
        events.result(json!({ "content": [] })).await;
        events.end().await;
    };
    let (called, (), ()) = tokio::join!(request.through(&link, pass(), events), client, script);
    assert!(matches!(called.unwrap(), Called::Whole(whole) if whole.is_good()));
}

#[tokio::test]
async fn an_answer_that_may_not_leave_does_not() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::ROOTS, server.open_legacy("2025-11-25", None, json!({}))).await;
    let (events, mut heard) = mpsc::channel(64);
    let request = Request::call(json!({}));
    let client = async {
        let Some(Event::Asks(ask)) = heard.recv().await else { panic!("nothing was asked") };
        let latches = Latches::default();
        let closed = Pass::resting_on(&latches, &[Node::Tenant]);
        let _closing = latches.close(&Node::Tenant);
        let answered = ask.answer(Ok("{}".to_owned()), Some(closed)).await;
        assert!(matches!(answered, Err(Failure::NotSent(_))), "{answered:?}");
    };
    let script = async {
        let mut events = server.next("POST", "tools/call").await.events().await;
        events.event(json!({ "jsonrpc": "2.0", "id": 1, "method": "roots/list" })).await;
        events
    };
    let all = async {
        let ((), mut events) = tokio::join!(client, script);
        events.result(json!({})).await;
        events.end().await;
    };
    let (called, ()) = tokio::join!(request.through(&link, pass(), events), all);
    called.unwrap();
    assert_eq!(server.rest().iter().filter(|got| got.starts_with("POST")).count(), 0);
}

#[tokio::test]
async fn item_50_what_the_client_cannot_do_is_answered_with_method_not_found() {
    let (mut server, link) = legacy(Can::FORM).await;
    let form = json!({ "message": "m", "requestedSchema": { "type": "object", "properties": {} } });
    let script = async {
        let mut events = server.next("POST", "tools/call").await.events().await;
        let asked = [
            json!({ "id": 1, "method": "roots/list" }),
            json!({ "id": 2, "method": "elicitation/create", "params": { "mode": "url", "url": "https://x.test" } }),
            json!({ "id": 3, "method": "sampling/createMessage", "params": {} }),
            json!({ "id": 4, "method": "tools/call", "params": {} }),
            json!({ "id": 5, "method": "invented" }),
        ];
        for mut question in asked {
            question["jsonrpc"] = json!("2.0");
            events.event(question.clone()).await;
            let refusal = server.next("POST", "").await;
            assert_eq!((&refusal.body["id"], &refusal.body["error"]["code"]), (&question["id"], &json!(-32601)));
            refusal.status(202, "");
        }
        events.event(json!({ "jsonrpc": "2.0", "id": "p", "method": "ping" })).await;
        let pong = server.next("POST", "").await;
        assert_eq!(pong.body, json!({ "jsonrpc": "2.0", "id": "p", "result": {} }));
        pong.status(202, "");
        // A question that nobody reads is declined with an error.
        events.event(json!({ "jsonrpc": "2.0", "id": 6, "method": "elicitation/create", "params": form })).await;
        events.result(json!({})).await;
        events.end().await;
    };
    let (asked, _) = events_of(&link, &Request::call(json!({})), script).await;
    assert_eq!(asked.len(), 1);
    drop(asked);
    let refusal = server.next("POST", "").await;
    assert_eq!((&refusal.body["id"], &refusal.body["error"]["code"]), (&json!(6), &json!(-32603)));
    refusal.status(202, "");
}

#[tokio::test]
async fn a_question_that_the_connector_cancels_is_withdrawn() {
    let (mut server, link) = legacy(Can::ROOTS).await;
    let (events, mut heard) = mpsc::channel(64);
    let client = async {
        let Some(Event::Asks(mut ask)) = heard.recv().await else { panic!("nothing was asked") };
        ask.withdrawn().await;
    };
    let script = async {
        let mut events = server.next("POST", "tools/call").await.events().await;
        events.event(json!({ "jsonrpc": "2.0", "id": 1, "method": "roots/list" })).await;
        let cancelled = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
        events.event(cancelled).await;
        events.result(json!({})).await;
        events.end().await;
    };
    let request = Request::call(json!({}));
    let (called, (), ()) = tokio::join!(request.through(&link, pass(), events), client, script);
    called.unwrap();
    assert_eq!(server.rest(), ["GET null"], "no answer was sent to it");
}
