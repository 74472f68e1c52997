//! Connectors behind child processes.

use super::support::*;
use crate::{
    event::{Event, News},
    latch::{Latches, Pass},
    link::{Called, Link, Unready},
};
use portreeve_core::node::Node;
use portreeve_mcp::{
    can::Can,
    method::{Method, Notice},
    params::ListenFilter,
    translate::ToClient,
    version::Version,
};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;

async fn open_child<T>(process: &mut Process, can: Can, script: impl AsyncFnOnce(&mut Process) -> T) -> Link {
    let child = Arc::clone(&process.child);
    let both = async { tokio::join!(Link::over_child(child, can), script(process)) };
    tokio::time::timeout(PATIENCE, both).await.unwrap().0.unwrap().0
}

async fn legacy(can: Can) -> (Process, Link) {
    let mut process = Process::new().await;
    let link = open_child(&mut process, can, async |process: &mut Process| {
        process.open_legacy("2025-06-18", json!({ "resources": { "subscribe": true } })).await;
    })
    .await;
    (process, link)
}

async fn modern(can: Can) -> (Process, Link) {
    let mut process = Process::new().await;
    let link = open_child(&mut process, can, async |process: &mut Process| {
        let probe = process.next().await;
        process.result(&probe, discovered()).await;
        let list = process.next().await;
        assert_eq!(list["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        process.result(&list, json!({ "tools": [] })).await;
    })
    .await;
    (process, link)
}

#[tokio::test]
async fn item_83_any_error_and_silence_mean_the_legacy_era() {
    for code in [Some(-32601), Some(-32602), Some(-32000), Some(1), None] {
        let mut process = Process::new().await;
        let link = open_child(&mut process, Can::FORM, async |process: &mut Process| {
            let probe = process.next().await;
            assert_eq!(probe["method"], "server/discover");
            if let Some(code) = code {
                process.error(&probe, code).await;
            }
            let initialize = process.next().await;
            assert_eq!(initialize["params"]["capabilities"], json!({ "elicitation": { "form": {} } }));
            let hello = json!({ "protocolVersion": "2025-03-26", "capabilities": {}, "serverInfo": {} });
            process.result(&initialize, hello).await;
            assert_eq!(process.next().await["method"], "notifications/initialized");
        })
        .await;
        assert_eq!(link.version(), Version::March2025);
        link.end().await;
        assert!(process.child.is_gone());
    }
}

#[tokio::test]
async fn item_83_a_modern_server_that_takes_its_time_to_start_is_modern() {
    let mut process = Process::new().await;
    let link = open_child(&mut process, Can::NONE, async |process: &mut Process| {
        let probe = process.next().await;
        let initialize = process.next().await;
        assert_eq!(initialize["method"], "initialize", "it was silent for too long");
        process.result(&probe, discovered()).await;
        process.error(&initialize, -32601).await;
        let list = process.next().await;
        process.result(&list, json!({ "tools": [] })).await;
    })
    .await;
    assert_eq!(link.version(), Version::July2026);
    process.child.end().await;
}

#[tokio::test]
async fn item_83_a_modern_server_is_one_and_its_version_error_too() {
    let (process, link) = modern(Can::NONE).await;
    assert_eq!(link.version(), Version::July2026);
    process.child.end().await;
    let mut process = Process::new().await;
    let child = Arc::clone(&process.child);
    let script = async {
        let probe = process.next().await;
        let error = json!({ "code": -32022, "message": "no", "data": { "supported": ["2027-01-01"] } });
        process.say(json!({ "jsonrpc": "2.0", "id": probe["id"], "error": error })).await;
    };
    let (ready, ()) = tokio::join!(Link::over_child(child, Can::NONE), script);
    assert!(matches!(&ready, Err(Unready::Answer(_))), "{ready:?}");
    assert!(process.child.is_gone(), "what cannot be used is ended");
}

#[tokio::test]
async fn item_83_noise_is_dropped_and_answers_find_their_calls() {
    let (mut process, link) = modern(Can::NONE).await;
    let (one, two) = (Request::call(json!({ "n": 1 })), Request::call(json!({ "n": 2 })));
    let script = async {
        let first = process.next().await;
        let second = process.next().await;
        process.say(json!("hello")).await;
        process.say(json!({ "jsonrpc": "2.0", "id": 99, "result": {} })).await;
        for call in [second, first] {
            process.result(&call, json!({ "structuredContent": call["params"]["arguments"] })).await;
        }
    };
    let (events, _kept) = mpsc::channel(1);
    let (first, second, ()) =
        tokio::join!(one.through(&link, pass(), events.clone()), two.through(&link, pass(), events), script);
    for (called, n) in [(first, 1), (second, 2)] {
        let Ok(Called::Whole(whole)) = called else { panic!("{called:?}") };
        let message: Value = serde_json::from_slice(whole.message()).unwrap();
        assert_eq!(message["result"]["structuredContent"]["n"], n);
    }
    process.child.end().await;
}

#[tokio::test]
async fn item_9_dropping_a_call_cancels_it_in_either_era() {
    for era in ["modern", "legacy"] {
        let (mut process, link) = if era == "modern" { modern(Can::NONE).await } else { legacy(Can::NONE).await };
        let (events, _kept) = mpsc::channel(1);
        let request = Request::call(json!({}));
        let call = tokio::select! {
            called = request.through(&link, pass(), events) => panic!("{called:?}"),
            call = process.next() => call,
        };
        let told = process.next().await;
        assert_eq!((&told["method"], &told["params"]["requestId"]), (&json!("notifications/cancelled"), &call["id"]));
        process.child.end().await;
    }
}

#[tokio::test]
async fn nothing_is_written_through_a_latch_that_is_closed() {
    let (mut process, link) = modern(Can::NONE).await;
    let latches = Latches::default();
    let closed = Pass::resting_on(&latches, &[Node::Tenant]);
    let _closing = latches.close(&Node::Tenant);
    let (events, _kept) = mpsc::channel(1);
    not_sent(Request::call(json!({})).through(&link, closed, events).await);
    let script = async {
        let call = process.next().await;
        assert_eq!(call["params"]["arguments"], json!({ "next": 1 }), "the first thing that it hears of");
        process.result(&call, json!({})).await;
    };
    Request::call(json!({ "next": 1 })).answered(&link, script).await;
    process.child.end().await;
}

#[tokio::test]
async fn a_call_whose_process_ends_is_lost_and_harms_no_other() {
    let (mut process, link) = modern(Can::NONE).await;
    let (mut other, other_link) = modern(Can::NONE).await;
    let child = Arc::clone(&process.child);
    let script = async {
        process.next().await;
        child.end().await;
    };
    let (called, ()) = Request::call(json!({})).with(&link, script).await;
    lost(called);
    assert!(link.is_over());
    not_sent(Request::call(json!({})).with(&link, async {}).await.0);
    let script = async {
        let call = other.next().await;
        other.result(&call, json!({})).await;
    };
    Request::call(json!({})).answered(&other_link, script).await;
    other.child.end().await;
}

#[tokio::test]
async fn item_92_a_legacy_question_belongs_to_the_latest_call_and_its_answer_is_a_line() {
    let (mut process, link) = legacy(Can::ROOTS).await;
    let question = |id: u64, method: &str| json!({ "jsonrpc": "2.0", "id": id, "method": method });
    // None under way.
    process.say(question(1, "roots/list")).await;
    let refusal = process.next().await;
    assert_eq!((&refusal["id"], &refusal["error"]["code"]), (&json!(1), &json!(-32601)));
    process.say(question(2, "ping")).await;
    assert_eq!(process.next().await, json!({ "jsonrpc": "2.0", "id": 2, "result": {} }));
    let (events, mut first) = mpsc::channel(4);
    let (later, mut second) = mpsc::channel(4);
    let (one, two) = (Request::call(json!({ "n": 1 })), Request::call(json!({ "n": 2 })));
    let client = async {
        let Some(Event::Asks(ask)) = second.recv().await else { panic!("nothing was asked") };
        ask.answer(Ok("{\"roots\":[\n]}".to_owned()), Some(pass())).await.unwrap();
    };
    let script = async {
        let calls = [process.next().await, process.next().await];
        process.say(question(3, "roots/list")).await;
        assert_eq!(process.next().await, json!({ "jsonrpc": "2.0", "id": 3, "result": { "roots": [] } }));
        process.say(question(4, "sampling/createMessage")).await;
        assert_eq!(process.next().await["error"]["code"], -32601);
        let progress = json!({ "progressToken": calls[0]["id"], "progress": 0.5 });
        process.say(json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": progress })).await;
        for call in calls {
            process.result(&call, json!({})).await;
        }
    };
    let (one, two, (), ()) =
        tokio::join!(one.through(&link, pass(), events), two.through(&link, pass(), later), client, script);
    one.unwrap();
    two.unwrap();
    assert!(
        matches!(first.recv().await, Some(Event::Told(told)) if told.windows(19).any(|part| part == b"\"progressToken\":2}}" || part == b"\"progressToken\":2,\""))
    );
    assert!(first.recv().await.is_none());
    process.child.end().await;
}

#[tokio::test]
async fn item_83_a_modern_server_never_gets_an_answer() {
    let (mut process, link) = modern(Can::ROOTS).await;
    let script = async {
        let call = process.next().await;
        process.say(json!({ "jsonrpc": "2.0", "id": 1, "method": "roots/list" })).await;
        process.say(json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" })).await;
        process.result(&call, json!({})).await;
        call
    };
    Request::call(json!({})).answered(&link, script).await;
    let script = async {
        let next = process.next().await;
        assert_eq!(next["method"], "tools/call", "nothing was said between the calls");
        process.result(&next, json!({})).await;
    };
    Request::call(json!({})).answered(&link, script).await;
    process.child.end().await;
}

async fn listens<T>(
    link: &Link,
    filter: ListenFilter,
    script: impl Future<Output = T>,
) -> (crate::link::Listening, mpsc::Receiver<News>, T) {
    let (sender, news) = mpsc::channel(4);
    let (listening, told) = tokio::join!(link.listen(filter, Some(pass()), sender), script);
    (listening.unwrap(), news, told)
}

#[tokio::test]
async fn item_30_listening_to_a_modern_child_is_cancelled_when_nobody_listens_any_more() {
    let (mut process, link) = modern(Can::NONE).await;
    let script = async {
        let listen = process.next().await;
        assert_eq!(listen["method"], "subscriptions/listen");
        let meta = json!({ "io.modelcontextprotocol/subscriptionId": listen["id"] });
        let params = json!({ "notifications": { "toolsListChanged": true }, "_meta": meta });
        let method = "notifications/subscriptions/acknowledged";
        process.say(json!({ "jsonrpc": "2.0", "method": method, "params": params })).await;
        let changed = "notifications/tools/list_changed";
        process.say(json!({ "jsonrpc": "2.0", "method": changed, "params": { "_meta": meta } })).await;
        listen["id"].clone()
    };
    let filter = ListenFilter { tools: true, ..ListenFilter::default() };
    let (listening, mut news, id) = listens(&link, filter, script).await;
    assert!(listening.honoured.tools);
    assert_eq!(news.recv().await.unwrap().what, Notice::Tools);
    assert!(link.take_changed());
    drop(listening);
    let told = process.next().await;
    assert_eq!((&told["method"], &told["params"]["requestId"]), (&json!("notifications/cancelled"), &id));
    process.child.end().await;
}

#[tokio::test]
async fn a_legacy_child_is_subscribed_to_and_unsubscribed_from() {
    let (mut process, link) = legacy(Can::NONE).await;
    let filter = ListenFilter { uris: vec!["a".to_owned()], ..ListenFilter::default() };
    let script = async {
        let subscribe = process.next().await;
        assert_eq!((&subscribe["method"], &subscribe["params"]["uri"]), (&json!("resources/subscribe"), &json!("a")));
        process.result(&subscribe, json!({})).await;
        let params = json!({ "uri": "a" });
        process.say(json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params })).await;
    };
    let (listening, mut news, ()) = listens(&link, filter, script).await;
    assert_eq!(news.recv().await.unwrap().of.as_deref(), Some("a"));
    drop(listening);
    assert_eq!(process.next().await["method"], "resources/unsubscribe");
    process.child.end().await;
}

#[tokio::test]
async fn a_long_answer_of_a_child_is_passed_on_while_it_arrives_if_it_says_early_whose_it_is() {
    let (mut process, link) = modern(Can::NONE).await;
    let text = "y".repeat(3 << 20);
    let to = ToClient {
        id: "\"mine\"",
        from: Version::July2026,
        version: Version::LATEST_LEGACY,
        method: Method::CallTool,
        state: None,
        ttl_ms_max: 0,
    };
    let script = async {
        let call = process.next().await;
        let begun = format!("{{\"id\":{},\"jsonrpc\":\"2.0\",\"result\":{{\"x\":\"{text}", call["id"]);
        process.raw(begun.as_bytes()).await;
    };
    let (called, ()) = Request::call(json!({})).with(&link, script).await;
    let Called::Long(long) = called.unwrap() else { panic!("it is whole") };
    let (mut passage, ending) = long.begin(&to);
    let client = async {
        let mut all = Vec::new();
        while let Some(piece) = passage.next().await {
            all.extend_from_slice(&piece.unwrap());
        }
        all
    };
    let (all, ()) = tokio::join!(client, process.raw(b"\"}}\n"));
    let all: Value = serde_json::from_slice(&all).unwrap();
    assert_eq!((&all["id"], all["result"]["x"].as_str().unwrap().len()), (&json!("mine"), 3 << 20));
    assert!(!ending.wait().await.unwrap().failed);
    // Whose it is stands at its end, or it is wanted as a whole: then all of it is waited for.
    for (request, early) in
        [(Request::call(json!({})), false), (Request { whole: true, ..Request::call(json!({})) }, true)]
    {
        let script = async {
            let call = process.next().await;
            let id = &call["id"];
            let answer = if early {
                format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"x\":\"{text}\"}}}}\n")
            } else {
                format!("{{\"result\":{{\"x\":\"{text}\"}},\"jsonrpc\":\"2.0\",\"id\":{id}}}\r\n")
            };
            process.raw(answer.as_bytes()).await;
        };
        let (whole, ()) = request.answered(&link, script).await;
        assert_eq!(whole.bytes, (3 << 20) + 8);
    }
    // Nobody reads it any more: it is cancelled, skipped, and the next call is answered.
    let script = async {
        let call = process.next().await;
        process.raw(format!("{{\"id\":{},\"result\":{{\"x\":\"{text}", call["id"]).as_bytes()).await;
    };
    let (called, ()) = Request::call(json!({})).with(&link, script).await;
    drop(called);
    assert_eq!(process.next().await["method"], "notifications/cancelled");
    process.raw(b"yy\"}}\n").await;
    let script = async {
        let call = process.next().await;
        process.result(&call, json!({})).await;
    };
    Request::call(json!({})).answered(&link, script).await;
    // The process ends within its answer.
    let script = async {
        let call = process.next().await;
        process.raw(format!("{{\"id\":{},\"result\":{{\"x\":\"{text}", call["id"]).as_bytes()).await;
    };
    let (called, ()) = Request::call(json!({})).with(&link, script).await;
    let Called::Long(long) = called.unwrap() else { panic!("it is whole") };
    let (mut passage, ending) = long.begin(&to);
    let client = async { while let Some(Ok(_)) = passage.next().await {} };
    tokio::join!(client, process.child.end());
    ending.wait().await.unwrap_err();
}

#[tokio::test]
async fn a_child_that_floods_is_ended() {
    let (mut process, link) = modern(Can::NONE).await;
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..17 {
        process.raw(&piece).await;
    }
    process.child.gone().await;
    assert!(link.is_over());
}
