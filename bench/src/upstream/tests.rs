use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::{Era, speak};

async fn ask(body: &Value, era: Era, calls: &AtomicU64) -> (StatusCode, Value) {
    let answer = speak(&Bytes::from(body.to_string()), era, calls);
    let status = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

#[tokio::test]
async fn echoes_the_text_and_counts() {
    let calls = AtomicU64::new(0);
    let call = json!({"jsonrpc":"2.0","id":7,"method":"tools/call",
        "params":{"name":"echo","arguments":{"id":"item-1","text":"a \"b\" \\ é"}}});
    let (status, answer) = ask(&call, Era::Legacy, &calls).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["id"], 7);
    assert_eq!(answer["result"]["content"][0]["text"], "a \"b\" \\ é");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_long_text_is_valid_json_of_the_length_that_was_wanted() {
    let calls = AtomicU64::new(0);
    let call = |arguments: Value| json!({"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"large","arguments":arguments}});
    let answer = speak(&Bytes::from(call(json!({"id":"item-1","bytes":1_000_000})).to_string()), Era::Legacy, &calls);
    let told = http_body::Body::size_hint(answer.body()).exact();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(told, Some(bytes.len() as u64));
    assert!((1_000_000..1_000_200).contains(&bytes.len()), "{}", bytes.len());
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert_eq!(text.lines().count(), 1_000_000 / 64);
    assert!(text.lines().all(|line| line.ends_with("→ shipped to harbour")));

    let events = speak(&Bytes::from(call(json!({"bytes":640,"events":true})).to_string()), Era::Modern, &calls);
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let bytes = events.into_body().collect().await.unwrap().to_bytes();
    let event = bytes.strip_prefix(b"data: ").unwrap().strip_suffix(b"\n\n").unwrap();
    let answer: Value = serde_json::from_slice(event).unwrap();
    assert_eq!(answer["result"]["resultType"], "complete");
    let too_long = ask(&call(json!({"bytes":1_000_000_000})), Era::Legacy, &calls).await.1;
    assert_eq!(too_long["error"]["code"], -32602);
}

#[tokio::test]
async fn refuses_what_is_not_echo() {
    let calls = AtomicU64::new(0);
    for params in [json!({"name":"other","arguments":{"text":"x"}}), json!({"name":"echo","arguments":{"text":5}})] {
        let call = json!({"jsonrpc":"2.0","id":1,"method":"tools/call","params":params});
        let (_, answer) = ask(&call, Era::Legacy, &calls).await;
        assert_eq!(answer["error"]["code"], -32602);
    }
}

#[tokio::test]
async fn initialize_repeats_the_version_and_discover_is_modern_only() {
    let calls = AtomicU64::new(0);
    let hello = json!({"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18"}});
    let (_, answer) = ask(&hello, Era::Legacy, &calls).await;
    assert_eq!(answer["result"]["protocolVersion"], "2025-06-18");
    let discover = json!({"jsonrpc":"2.0","id":0,"method":"server/discover","params":{}});
    assert_eq!(ask(&discover, Era::Legacy, &calls).await.1["error"]["code"], -32601);
    assert_eq!(ask(&discover, Era::Modern, &calls).await.1["result"]["resultType"], "complete");
    let started = json!({"jsonrpc":"2.0","method":"notifications/initialized"});
    assert_eq!(ask(&started, Era::Legacy, &calls).await.0, StatusCode::ACCEPTED);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}
