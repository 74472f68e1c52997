//! Sessions with legacy connectors over HTTP, and streams that are taken up again.

use super::support::*;
use crate::latch::{Latches, Pass};
use portreeve_core::node::Node;
use portreeve_mcp::{can::Can, version::Version};
use serde_json::json;
use tokio::sync::mpsc;

#[tokio::test]
async fn item_89_the_session_goes_along_with_everything_and_is_deleted_at_the_end() {
    let (mut server, http) = Server::new().await;
    let script = async {
        server.next("POST", "server/discover").await.status(400, "");
        let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} }, "serverInfo": {} });
        let got = server.next("POST", "initialize").await;
        assert_eq!(got.header("mcp-session-id"), None);
        let answer = json!({ "jsonrpc": "2.0", "id": got.body["id"], "result": hello }).to_string();
        got.answer(200, &[("Mcp-Session-Id", "s-1")], &answer);
        for method in ["notifications/initialized", "tools/list"] {
            let got = server.next("POST", method).await;
            assert_eq!(got.header("mcp-session-id"), Some("s-1"));
            assert_eq!(got.header("mcp-protocol-version"), Some("2025-11-25"));
            if method == "tools/list" {
                got.result(json!({ "tools": [] }));
            } else {
                got.status(202, "");
            }
        }
    };
    let link = opened(&http, Can::NONE, script).await;
    let script = async {
        let got = server.next("POST", "tools/call").await;
        assert_eq!(got.header("mcp-session-id"), Some("s-1"));
        assert_eq!(got.header("mcp-method"), None, "no header of the other era");
        got.result(json!({}));
    };
    Request::call(json!({})).answered(&link, script).await;
    drop(link);
    let got = server.next("DELETE", "").await;
    assert_eq!(got.header("mcp-session-id"), Some("s-1"));
    assert_eq!(got.header("mcp-protocol-version"), Some("2025-11-25"));
    got.status(405, "");
}

#[tokio::test]
async fn item_89_ending_a_link_deletes_its_session_once() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_legacy("2025-06-18", Some("s"), json!({}))).await;
    let script = async { server.next("DELETE", "").await.status(204, "") };
    tokio::join!(link.end(), script);
    assert!(link.is_over());
    drop(link);
    tokio::task::yield_now().await;
    assert_eq!(server.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn item_89_a_session_that_is_gone_is_opened_anew_and_the_call_sent_again_once() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_legacy("2025-11-25", Some("s-1"), json!({}))).await;
    let script = async {
        let first = server.next("POST", "tools/call").await;
        let body = first.raw.clone();
        first.status(404, "");
        server.initialize("2025-11-25", Some("s-2"), &json!({})).await;
        let second = server.next("POST", "tools/call").await;
        assert_eq!(second.raw, body);
        assert_eq!(second.header("mcp-session-id"), Some("s-2"));
        second.result(json!({ "content": [] }));
    };
    let (whole, ()) = Request::call(json!({ "n": 1 })).answered(&link, script).await;
    assert!(whole.is_good());
    assert!(link.take_changed(), "what it offers may be something else by now");
    // It does not help: the call is refused, and not tried a third time.
    let script = async {
        server.next("POST", "tools/call").await.status(404, "");
        server.initialize("2025-11-25", Some("s-3"), &json!({})).await;
        server.next("POST", "tools/call").await.status(404, "");
    };
    let (called, ()) = Request::call(json!({ "n": 2 })).with(&link, script).await;
    rejected(called);
    assert!(link.is_over());
    assert_eq!(server.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn item_89_what_was_stopped_meanwhile_is_not_sent_again() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_legacy("2025-11-25", Some("s-1"), json!({}))).await;
    let latches = Latches::default();
    let pass = Pass::resting_on(&latches, &[Node::Tenant]);
    let withdrawal = pass.withdrawal();
    let (events, _kept) = mpsc::channel(1);
    let script = async {
        server.next("POST", "tools/call").await.status(404, "");
        let initialize = server.next("POST", "initialize").await;
        let _closing = latches.close(&Node::Tenant);
        let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {} });
        initialize.result(hello);
        server.next("POST", "notifications/initialized").await.status(202, "");
    };
    let request = Request::call(json!({}));
    let (called, ()) = tokio::join!(request.through(&link, pass, events), script);
    let why = rejected(called);
    assert!(why.contains("stopped"), "{why}");
    assert!(!withdrawal.withdraw(), "who asks whether something left is told that it did");
    assert_eq!(server.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn item_89_another_server_in_its_place_gets_no_call_of_the_session_before() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_legacy("2025-11-25", Some("s-1"), json!({}))).await;
    let script = async {
        server.next("POST", "tools/call").await.status(404, "");
        server.initialize("2025-06-18", Some("s-2"), &json!({})).await;
    };
    let (called, ()) = Request::call(json!({})).with(&link, script).await;
    rejected(called);
    assert!(link.is_over());
}

#[tokio::test]
async fn item_89_a_look_opens_an_expired_session_anew() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_legacy("2025-11-25", Some("s-1"), json!({}))).await;
    let script = async {
        server.next("POST", "resources/list").await.status(404, "");
        server.initialize("2025-11-25", Some("s-2"), &json!({})).await;
        let got = server.next("POST", "resources/list").await;
        assert_eq!(got.body["params"]["cursor"], "c");
        got.result(json!({ "resources": [] }));
    };
    let look = link.look(portreeve_mcp::method::Method::ListResources, Some("c"), PATIENCE);
    let (answer, ()) = tokio::join!(look, script);
    assert!(String::from_utf8(answer.unwrap()).unwrap().contains("resources"));
}

#[tokio::test]
async fn a_modern_404_is_no_session_that_is_gone() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_modern(json!([]))).await;
    let script = async { server.message().await.error(404, -32601, json!({})) };
    let (whole, ()) = Request::call(json!({})).answered(&link, script).await;
    assert!(!whole.is_good() && !link.is_over());
    let script = async { server.message().await.status(404, "nobody") };
    let (called, ()) = Request::call(json!({})).with(&link, script).await;
    rejected(called);
    assert!(link.is_over());
    assert_eq!(server.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn item_91_a_stream_that_ends_before_the_answer_is_taken_up_after_its_last_event() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_legacy("2025-11-25", Some("s-1"), json!({}))).await;
    let script = async {
        let mut events = server.next("POST", "tools/call").await.events().await;
        events.raw(b"id: e-1\nretry: 1\ndata:\n\n").await;
        let id = events.id.clone();
        // Half an event is none: the stream is taken up before it.
        events.raw(b"id: e-2\ndata: {\"jsonr").await;
        drop(events);
        let got = server.next("GET", "").await;
        assert_eq!(got.header("last-event-id"), Some("e-1"));
        assert_eq!(got.header("mcp-session-id"), Some("s-1"));
        assert_eq!(got.header("accept"), Some("text/event-stream"));
        let mut events = got.events().await;
        events.raw(b"id: e-3\ndata:\n\n").await;
        events.end().await;
        let got = server.next("GET", "").await;
        assert_eq!(got.header("last-event-id"), Some("e-3"), "polled, as the server wants it");
        let mut events = got.events().await;
        events.event(json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [] } })).await;
        events.end().await;
    };
    let (whole, ()) = Request::call(json!({})).answered(&link, script).await;
    assert!(whole.is_good());
    assert_eq!(server.rest(), Vec::<String>::new(), "the call itself was sent once");
}

#[tokio::test]
async fn item_91_without_an_id_or_a_stream_to_take_up_the_call_is_lost() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_legacy("2025-11-25", None, json!({}))).await;
    let script = async { drop(server.next("POST", "tools/call").await.events().await) };
    let (called, ()) = Request::call(json!({})).with(&link, script).await;
    lost(called);
    let script = async {
        let mut events = server.next("POST", "tools/call").await.events().await;
        events.raw(b"id: 1\nretry: 1\ndata:\n\n").await;
        events.end().await;
        server.next("GET", "").await.status(405, "");
    };
    let (called, ()) = Request::call(json!({})).with(&link, script).await;
    lost(called);
    let script = async {
        let mut events = server.next("POST", "tools/call").await.events().await;
        events.raw(b"id: 1\nretry: 1\ndata:\n\n").await;
        events.end().await;
        for _ in 0..3 {
            server.next("GET", "").await.status(500, "");
        }
    };
    let (called, ()) = Request::call(json!({})).with(&link, script).await;
    lost(called);
    let calls = server.rest().into_iter().filter(|got| got.contains("tools/call")).count();
    assert_eq!(calls, 0);
}

#[tokio::test]
async fn item_92_batches_are_read_of_the_one_version_that_has_them() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_legacy("2025-03-26", None, json!({}))).await;
    assert_eq!(link.version(), Version::March2025);
    let batch = |id: &serde_json::Value| {
        let told = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info" } });
        json!([told, { "jsonrpc": "2.0", "id": id, "result": { "content": [] } }])
    };
    for streamed in [false, true] {
        let script = async {
            let got = server.next("POST", "tools/call").await;
            assert_eq!(got.header("mcp-protocol-version"), None, "it does not know the header");
            if streamed {
                let mut events = got.events().await;
                events.event(batch(&events.id.clone())).await;
                events.end().await;
            } else {
                let text = batch(&got.body["id"]).to_string();
                got.answer(200, &[], &text);
            }
        };
        let (whole, ()) = Request::call(json!({})).answered(&link, script).await;
        assert!(whole.is_good());
    }
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_legacy("2025-06-18", None, json!({}))).await;
    let script = async {
        let got = server.next("POST", "tools/call").await;
        let text = batch(&got.body["id"]).to_string();
        got.answer(200, &[], &text);
    };
    let (called, ()) = Request::call(json!({})).with(&link, script).await;
    lost(called);
}
