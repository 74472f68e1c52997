//! Listening: streams of news, subscriptions, and their ends.

use super::support::*;
use crate::{
    event::News,
    http::Failure,
    latch::{Latches, Pass},
    link::{Link, Listening},
};
use portreeve_core::node::Node;
use portreeve_mcp::{can::Can, method::Notice, params::ListenFilter};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;

fn filter(uris: &[&str]) -> ListenFilter {
    ListenFilter { tools: true, uris: uris.iter().map(|uri| (*uri).to_owned()).collect(), ..ListenFilter::default() }
}

fn told(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

fn tagged(id: &Value, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({ "io.modelcontextprotocol/subscriptionId": id });
    told(method, params)
}

async fn listen<T>(
    link: &Link,
    filter: ListenFilter,
    script: impl Future<Output = T>,
) -> (Result<Listening, Failure>, mpsc::Receiver<News>, T) {
    let (sender, news) = mpsc::channel(16);
    let both = async { tokio::join!(link.listen(filter, Some(pass()), sender), script) };
    let (listening, told) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    (listening, news, told)
}

async fn next(news: &mut mpsc::Receiver<News>) -> (Notice, Option<String>) {
    let news = tokio::time::timeout(PATIENCE, news.recv()).await.unwrap().unwrap();
    (news.what, news.of)
}

#[tokio::test]
async fn item_30_listening_to_a_modern_connector_is_a_stream_of_its_own() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_modern(json!([]))).await;
    let script = async {
        let got = server.message().await;
        assert_eq!(got.body["method"], "subscriptions/listen");
        assert_eq!(got.header("mcp-method"), Some("subscriptions/listen"));
        let wanted = json!({ "toolsListChanged": true, "resourceSubscriptions": ["file:///a", "file:///b"] });
        assert_eq!(got.body["params"]["notifications"], wanted);
        let mut events = got.events().await;
        let honoured = json!({ "notifications": { "resourceSubscriptions": ["file:///a"] } });
        let id = events.id.clone();
        events.event(tagged(&id, "notifications/subscriptions/acknowledged", honoured)).await;
        events
    };
    let (listening, mut news, mut events) = listen(&link, filter(&["file:///a", "file:///b"]), script).await;
    let listening = listening.unwrap();
    assert_eq!(listening.honoured.uris, ["file:///a"]);
    assert!(!listening.honoured.tools);
    let id = events.id.clone();
    let updated = |uri: &str| json!({ "uri": uri });
    events.event(told("notifications/resources/updated", updated("file:///a"))).await;
    events.event(tagged(&json!(99), "notifications/resources/updated", updated("file:///a"))).await;
    events.event(tagged(&id, "notifications/resources/updated", updated("file:///other"))).await;
    events.event(tagged(&id, "notifications/prompts/list_changed", json!({}))).await;
    events.event(tagged(&id, "notifications/message", json!({ "level": "info" }))).await;
    events.event(tagged(&id, "notifications/resources/updated", updated("file:///a"))).await;
    events.event(tagged(&id, "notifications/tools/list_changed", json!({}))).await;
    assert_eq!(next(&mut news).await, (Notice::Updated, Some("file:///a".to_owned())), "only what was asked for");
    assert_eq!(next(&mut news).await, (Notice::Tools, None));
    assert!(link.take_changed());
    // Nobody listens any more: the stream is closed, and nothing is said.
    drop(listening);
    events.closed().await;
    assert_eq!(server.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn item_31_a_connector_that_ends_it_is_heard() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_modern(json!([]))).await;
    for how in ["answered", "cancelled", "broken"] {
        let script = async {
            let mut events = server.message().await.events().await;
            let (id, filter) = (events.id.clone(), json!({ "notifications": {} }));
            events.event(tagged(&id, "notifications/subscriptions/acknowledged", filter)).await;
            match how {
                "answered" => events.result(json!({ "resultType": "complete" })).await,
                "cancelled" => events.event(told("notifications/cancelled", json!({ "requestId": id }))).await,
                _ => return drop(events),
            }
            events.end().await;
        };
        let (listening, mut news, ()) = listen(&link, filter(&[]), script).await;
        let mut listening = listening.unwrap();
        assert_ne!(tokio::time::timeout(PATIENCE, listening.ended()).await.unwrap(), "");
        assert_eq!(news.recv().await, None);
    }
}

#[tokio::test]
async fn item_53_listening_passes_the_latches_and_holds_none_of_them_open() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_modern(json!([]))).await;
    let latches = Latches::default();
    let open = Pass::resting_on(&latches, &[Node::Tenant]);
    let (sender, _news) = mpsc::channel(1);
    let script = async {
        let mut events = server.message().await.events().await;
        let (id, filter) = (events.id.clone(), json!({ "notifications": {} }));
        events.event(tagged(&id, "notifications/subscriptions/acknowledged", filter)).await;
        events
    };
    let (listening, _events) = tokio::join!(link.listen(filter(&[]), Some(open), sender.clone()), script);
    let _listening = listening.unwrap();
    let late = Pass::resting_on(&latches, &[Node::Tenant]);
    let closing = latches.close(&Node::Tenant);
    assert_eq!(closing.under_way(), 0, "what was sent has left, however long the stream stays open");
    let refused = link.listen(filter(&[]), Some(late), sender).await;
    assert!(matches!(refused, Err(Failure::NotSent(_))), "{refused:?}");
    assert_eq!(server.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn a_connector_that_refuses_to_be_listened_to_is_heard() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_modern(json!([]))).await;
    let script = async { server.message().await.error(404, -32601, json!({})) };
    let (listening, _, ()) = listen(&link, filter(&[]), script).await;
    assert!(matches!(&listening, Err(Failure::Rejected(why)) if why.contains("no")), "{listening:?}");
    let script = async {
        let mut events = server.message().await.events().await;
        events
            .event(json!({ "jsonrpc": "2.0", "id": events.id, "error": { "code": -32603, "message": "busy" } }))
            .await;
        events.end().await;
    };
    let (listening, _, ()) = listen(&link, filter(&[]), script).await;
    assert!(matches!(&listening, Err(Failure::Rejected(why)) if why.contains("busy")), "{listening:?}");
}

fn legacy_capabilities() -> Value {
    json!({ "resources": { "subscribe": true, "listChanged": true }, "logging": {} })
}

#[tokio::test]
async fn item_91_a_legacy_connector_is_told_of_each_resource_and_speaks_on_the_stream_of_the_session() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_legacy("2025-11-25", Some("s-1"), legacy_capabilities())).await;
    let stream = server.next("GET", "").await;
    assert_eq!(stream.header("mcp-session-id"), Some("s-1"));
    assert_eq!(stream.header("last-event-id"), None);
    let mut events = stream.events().await;
    let script = async {
        for uri in ["file:///a", "file:///b"] {
            let got = server.next("POST", "resources/subscribe").await;
            assert_eq!(got.body["params"]["uri"], uri);
            got.result(json!({}));
        }
    };
    let (listening, mut news, ()) = listen(&link, filter(&["file:///a", "file:///b"]), script).await;
    let listening = listening.unwrap();
    assert!(!listening.honoured.tools, "it has no tools");
    events.event(told("notifications/resources/updated", json!({ "uri": "file:///c" }))).await;
    events.event(told("notifications/resources/updated", json!({ "uri": "file:///a" }))).await;
    events.event(told("notifications/message", json!({ "level": "info", "data": "beside any call" }))).await;
    assert_eq!(next(&mut news).await, (Notice::Updated, Some("file:///a".to_owned())));
    assert_eq!(next(&mut news).await, (Notice::Logged, None));
    // Another one listens for the same resource: that one is not unsubscribed from.
    let script = async { server.next("POST", "resources/subscribe").await.result(json!({})) };
    let (other, _other_news, ()) = listen(&link, filter(&["file:///a"]), script).await;
    drop(listening);
    let got = server.next("POST", "resources/unsubscribe").await;
    assert_eq!(got.body["params"]["uri"], "file:///b");
    got.result(json!({}));
    drop(other);
    let got = server.next("POST", "resources/unsubscribe").await;
    assert_eq!(got.body["params"]["uri"], "file:///a");
    got.result(json!({}));
    // The stream ends with the link.
    drop(link);
    events.closed().await;
    server.next("DELETE", "").await.status(204, "");
}

#[tokio::test]
async fn a_legacy_connector_that_may_ask_is_called_only_once_it_can() {
    let (mut server, http) = Server::new().await;
    let mut opening = std::pin::pin!(Link::over_http(Arc::clone(&http), Can::FORM));
    let stream = async {
        server.open_legacy("2025-11-25", Some("s-1"), json!({})).await;
        server.next("GET", "").await
    };
    let got = tokio::select! {
        got = stream => got,
        _ = &mut opening => panic!("it is ready before anybody hears what it asks"),
    };
    let soon = Duration::from_millis(20);
    assert!(tokio::time::timeout(soon, &mut opening).await.is_err(), "nobody hears yet what it asks");
    let _events = got.events().await;
    opening.await.unwrap();
    // One that keeps the stream waiting keeps no call waiting.
    let (mut server, http) = Server::new().await;
    let script = async {
        server.open_legacy("2025-11-25", Some("s-1"), json!({})).await;
        server.next("GET", "").await
    };
    let (ready, _unanswered) = open(&http, Can::FORM, script).await;
    ready.unwrap();
}

#[tokio::test]
async fn item_91_the_stream_of_the_session_is_taken_up_again_a_few_times() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_legacy("2025-11-25", Some("s-1"), legacy_capabilities())).await;
    let (listening, mut news, ()) = listen(&link, filter(&[]), async {}).await;
    let mut listening = listening.unwrap();
    let mut events = server.next("GET", "").await.events().await;
    events.raw(b"id: 1\nretry: 1\ndata:\n\n").await;
    drop(events);
    let got = server.next("GET", "").await;
    assert_eq!(got.header("last-event-id"), Some("1"));
    let mut events = got.events().await;
    events.event(told("notifications/message", json!({}))).await;
    assert_eq!(next(&mut news).await, (Notice::Logged, None));
    drop(events);
    for _ in 0..5 {
        server.next("GET", "").await.status(502, "");
    }
    let why = tokio::time::timeout(PATIENCE, listening.ended()).await.unwrap();
    assert!(why.contains("keeps breaking"), "{why}");
}

#[tokio::test]
async fn item_91_a_legacy_connector_without_a_stream_is_none_the_worse_for_it() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_legacy("2025-06-18", None, legacy_capabilities())).await;
    server.next("GET", "").await.status(405, "");
    let script = async { server.next("POST", "resources/subscribe").await.result(json!({})) };
    let (listening, mut news, ()) = listen(&link, filter(&["a"]), script).await;
    let _listening = listening.unwrap();
    // What it says on the way of a call is news all the same.
    let script = async {
        let mut events = server.next("POST", "tools/call").await.events().await;
        events.event(told("notifications/resources/updated", json!({ "uri": "a" }))).await;
        events.result(json!({})).await;
        events.end().await;
    };
    Request::call(json!({})).answered(&link, script).await;
    assert_eq!(next(&mut news).await, (Notice::Updated, Some("a".to_owned())));
    assert!(!server.rest().iter().any(|got| got.starts_with("GET")));
}

#[tokio::test]
async fn what_a_legacy_connector_cannot_tell_is_not_asked_for() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_legacy("2025-11-25", None, json!({ "resources": {} }))).await;
    let (listening, _news, ()) = listen(&link, filter(&["a"]), async {}).await;
    assert_eq!(listening.unwrap().honoured, ListenFilter::default());
    assert!(!server.rest().iter().any(|got| got.starts_with("POST")));
}

#[tokio::test]
async fn a_resource_that_is_refused_ends_the_listening_and_those_before_are_unsubscribed_from() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_legacy("2025-11-25", None, legacy_capabilities())).await;
    let script = async {
        server.next("POST", "resources/subscribe").await.result(json!({}));
        server.next("POST", "resources/subscribe").await.error(200, -32602, json!({}));
        server.next("POST", "resources/unsubscribe").await.body["params"]["uri"].clone()
    };
    let (listening, _, uri) = listen(&link, filter(&["a", "b"]), script).await;
    assert!(matches!(&listening, Err(Failure::Rejected(_))), "{listening:?}");
    assert_eq!(uri, "a");
}

#[tokio::test]
async fn item_53_each_resource_passes_the_latches_and_the_first_one_counts_as_sent() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_legacy("2025-11-25", None, legacy_capabilities())).await;
    let latches = Latches::default();
    let pass = Pass::resting_on(&latches, &[Node::Tenant]);
    let withdrawal = pass.withdrawal();
    let (sender, _news) = mpsc::channel(1);
    let script = async {
        let first = server.next("POST", "resources/subscribe").await;
        let _closing = latches.close(&Node::Tenant);
        first.result(json!({}));
        server.next("POST", "resources/unsubscribe").await.result(json!({}));
    };
    let (listening, ()) = tokio::join!(link.listen(filter(&["a", "b"]), Some(pass), sender), script);
    assert!(matches!(&listening, Err(Failure::Lost(_))), "a part of it left: {listening:?}");
    assert!(!withdrawal.withdraw(), "something left");
    assert!(!server.rest().iter().any(|got| got.starts_with("POST")));
}

#[tokio::test]
async fn a_session_that_is_opened_anew_ends_what_listened_to_the_one_before() {
    let (mut server, http) = Server::new().await;
    let capabilities = legacy_capabilities();
    let link = opened(&http, Can::NONE, server.open_legacy("2025-11-25", Some("s-1"), capabilities.clone())).await;
    let (listening, _news, ()) = listen(&link, filter(&[]), async {}).await;
    let mut listening = listening.unwrap();
    let before = server.next("GET", "").await.events().await;
    let script = async {
        server.next("POST", "tools/call").await.status(404, "");
        server.initialize("2025-11-25", Some("s-2"), &capabilities).await;
        server.next("POST", "tools/call").await.result(json!({}));
    };
    Request::call(json!({})).answered(&link, script).await;
    let why = tokio::time::timeout(PATIENCE, listening.ended()).await.unwrap();
    assert!(why.contains("session"), "{why}");
    before.closed().await;
    let stream = server.next("GET", "").await;
    assert_eq!(stream.header("mcp-session-id"), Some("s-2"));
}

#[tokio::test]
async fn a_question_on_the_stream_of_the_session_belongs_to_the_call_under_way() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::ROOTS, server.open_legacy("2025-11-25", None, json!({}))).await;
    let mut stream = server.next("GET", "").await.events().await;
    let question = |id: u64| json!({ "jsonrpc": "2.0", "id": id, "method": "roots/list" });
    stream.event(question(1)).await;
    let refusal = server.next("POST", "").await;
    assert_eq!(refusal.body["error"]["code"], -32601, "no call is under way");
    refusal.status(202, "");
    let (events, mut heard) = mpsc::channel(4);
    let request = Request::call(json!({}));
    let client = async {
        let Some(crate::event::Event::Asks(ask)) = heard.recv().await else { panic!("nothing was asked") };
        ask.answer(Err((-1, "no".to_owned())), None).await.unwrap();
    };
    let script = async {
        let call = server.next("POST", "tools/call").await;
        stream.event(question(2)).await;
        let answer = server.next("POST", "").await;
        assert_eq!((&answer.body["id"], &answer.body["error"]["code"]), (&json!(2), &json!(-1)));
        answer.status(202, "");
        call.result(json!({}));
    };
    let (called, (), ()) = tokio::join!(request.through(&link, pass(), events), client, script);
    called.unwrap();
}
