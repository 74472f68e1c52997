//! Long answers: passed on while they arrive, in bounded memory, to an end that is told.

use super::support::*;
use crate::link::{Called, Flowing, Link};
use portreeve_core::hash::Hash;
use portreeve_mcp::{can::Can, method::Method, translate::ToClient, version::Version};
use serde_json::{Value, json};
use std::time::Duration;

async fn modern() -> (Server, Link) {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_modern(json!([]))).await;
    (server, link)
}

fn to() -> ToClient<'static> {
    let (from, version) = (Version::July2026, Version::LATEST_LEGACY);
    ToClient { id: "\"mine\"", from, version, method: Method::CallTool, state: None, ttl_ms_max: 0 }
}

fn long(called: Called) -> Flowing {
    match called {
        Called::Long(long) => long,
        Called::Whole(whole) => panic!("{} bytes are whole", whole.bytes),
    }
}

/// An answer with so many bytes of text, cut into a beginning, which is more than 1 MiB, and a rest
fn answer(id: &Value, bytes: usize) -> (Vec<u8>, Vec<u8>, String) {
    let result = json!({ "content": [{ "type": "text", "text": "y".repeat(bytes) }] }).to_string();
    let mut text = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}").into_bytes();
    let rest = text.split_off((1 << 20) + 100);
    (text, rest, result)
}

#[tokio::test]
async fn a_long_answer_is_passed_on_while_it_arrives() {
    for streamed in [false, true] {
        let (mut server, link) = modern().await;
        let script = async {
            let got = server.message().await;
            let mut events = if streamed { got.events().await } else { got.json().await };
            let (begun, rest, result) = answer(&events.id, 3 << 20);
            if streamed {
                events.raw(b": first\n\ndata: ").await;
            }
            events.raw(&begun).await;
            (events, rest, result)
        };
        let (called, (mut events, rest, result)) = Request::call(json!({})).with(&link, script).await;
        let (mut passage, ending) = long(called.unwrap()).begin(&to());
        let client = async {
            let mut all = Vec::new();
            while let Some(piece) = passage.next().await {
                all.extend_from_slice(&piece.unwrap());
            }
            all
        };
        let script = async {
            for piece in rest.chunks(64 << 10) {
                events.raw(piece).await;
            }
            if streamed {
                events.raw(b"\n\n").await;
            }
            events.end().await;
        };
        let (all, ()) = tokio::join!(client, script);
        let all: Value = serde_json::from_slice(&all).unwrap();
        assert_eq!(all["id"], "mine");
        assert_eq!(all["result"]["content"][0]["text"].as_str().unwrap().len(), 3 << 20);
        let flowed = ending.wait().await.unwrap();
        assert_eq!((flowed.failed, flowed.bytes), (false, result.len() as u64));
        assert_eq!(flowed.digest, Hash::of(result.as_bytes()));
        // The connection is used again.
        Request::call(json!({})).answered(&link, async { server.message().await.result(json!({})) }).await;
        assert_eq!(server.rest(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_long_answer_is_whole_where_that_is_needed() {
    for streamed in [false, true] {
        let (mut server, link) = modern().await;
        let script = async {
            let got = server.message().await;
            let mut events = if streamed { got.events().await } else { got.json().await };
            let (begun, rest, result) = answer(&events.id, 3 << 20);
            let text = [begun, rest].concat();
            if streamed {
                events.raw(&[b"data: ", &text[..], b"\n\n"].concat()).await;
            } else {
                events.raw(&text).await;
            }
            events.end().await;
            result
        };
        let (whole, result) = Request { whole: true, ..Request::call(json!({})) }.answered(&link, script).await;
        assert_eq!((whole.bytes, whole.digest), (result.len() as u64, Hash::of(result.as_bytes())));
        // And still not without end.
        let script = async {
            let got = server.message().await;
            let mut events = if streamed { got.events().await } else { got.json().await };
            if streamed {
                events.raw(b"data: ").await;
            }
            let piece = vec![b' '; 1 << 20];
            for _ in 0..16 {
                events.raw(&piece).await;
            }
            events.raw(b"  ").await;
            events.closed().await;
        };
        let (called, ()) = Request { whole: true, ..Request::call(json!({})) }.with(&link, script).await;
        assert!(lost(called).contains("longer than the limit"));
    }
}

/// A long answer of which the first part is on its way
async fn begun(link: &Link, server: &mut Server, request: Request) -> (Flowing, Events, Vec<u8>) {
    let script = async {
        let mut events = server.message().await.events().await;
        let (begun, rest, _) = answer(&events.id, 3 << 20);
        events.raw(&[b"data: ", &begun[..]].concat()).await;
        (events, rest)
    };
    let (called, (events, rest)) = request.with(link, script).await;
    (long(called.unwrap()), events, rest)
}

async fn end_of(long: Flowing) -> (String, String) {
    let (mut passage, ending) = long.begin(&to());
    let broken = loop {
        match passage.next().await.expect("it has to break") {
            Ok(_) => {}
            Err(why) => break why,
        }
    };
    assert!(passage.next().await.is_none(), "nothing comes after that");
    (broken, ending.wait().await.unwrap_err())
}

#[tokio::test]
async fn a_long_answer_that_breaks_says_how() {
    let (mut server, link) = modern().await;
    let (long, events, _) = begun(&link, &mut server, Request::call(json!({}))).await;
    drop(events);
    let (broken, told) = end_of(long).await;
    assert_eq!(broken, told);
    // The stream ends as it should, and the answer is not whole.
    let (long, mut events, _) = begun(&link, &mut server, Request::call(json!({}))).await;
    events.raw(b"\n\n").await;
    events.end().await;
    let (broken, told) = end_of(long).await;
    assert_eq!(broken, told);
    // It falls silent.
    let silent = Request { within: Duration::from_secs(1), ..Request::call(json!({})) };
    let (long, events, _) = begun(&link, &mut server, silent).await;
    let (broken, _) = end_of(long).await;
    assert!(broken.contains("silent"), "{broken}");
    events.closed().await;
    // It is longer than may be.
    let bounded = Request { bytes_max: 2 << 20, ..Request::call(json!({})) };
    let (long, mut events, rest) = begun(&link, &mut server, bounded).await;
    let (broken, ()) = tokio::join!(end_of(long), async {
        events.raw(&rest).await;
        events.closed().await;
    });
    assert!(broken.0.contains("longer than the limit"), "{broken:?}");
}

#[tokio::test]
async fn a_client_that_goes_away_closes_the_connectors_stream() {
    let (mut server, link) = modern().await;
    let (long, events, _) = begun(&link, &mut server, Request::call(json!({}))).await;
    let (passage, ending) = long.begin(&to());
    drop(passage);
    assert!(ending.wait().await.unwrap_err().contains("did not read"));
    events.closed().await;
    // Dropped before it was begun, it is the same.
    let (long, events, _) = begun(&link, &mut server, Request::call(json!({}))).await;
    drop(long);
    events.closed().await;
    assert_eq!(server.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn a_legacy_connector_is_told_that_nobody_reads_on() {
    let (mut server, http) = Server::new().await;
    let link = opened(&http, Can::NONE, server.open_legacy("2025-11-25", None, json!({}))).await;
    let (long, events, _) = begun(&link, &mut server, Request::call(json!({}))).await;
    let id = events.id.clone();
    drop(long);
    let told = server.next("POST", "notifications/cancelled").await;
    assert_eq!(told.body["params"]["requestId"], id);
    told.status(202, "");
    events.closed().await;
}

#[tokio::test]
async fn no_more_is_read_than_the_client_takes() {
    let (mut server, link) = modern().await;
    let (long, mut events, _) = begun(&link, &mut server, Request::call(json!({}))).await;
    let (_passage, _ending) = long.begin(&to());
    // Nobody takes anything: the server can write no more than the buffers on the way hold.
    let piece = vec![b' '; 1 << 20];
    let written = async {
        for _ in 0..256 {
            events.raw(&piece).await;
        }
    };
    let written = tokio::time::timeout(Duration::from_millis(500), written).await;
    assert!(written.is_err(), "256 MiB were read that nobody wanted");
}
