//! Which era a connector is of, and what it offers.

use super::support::*;
use crate::{
    http::Failure,
    link::{Link, Unready},
};
use portreeve_mcp::{can::Can, version::Version};
use serde_json::{Value, json};
use std::sync::Arc;

#[tokio::test]
async fn item_48_the_first_message_is_a_probe_that_does_nothing() {
    let (mut server, http) = Server::new().await;
    let script = async {
        let probe = server.message().await;
        assert_eq!(probe.body["method"], "server/discover");
        let meta = &probe.body["params"]["_meta"];
        assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({ "elicitation": { "form": {} } }));
        assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "portreeve");
        assert_eq!(probe.header("mcp-protocol-version"), Some("2026-07-28"));
        assert_eq!(probe.header("mcp-method"), Some("server/discover"));
        assert_eq!(probe.header("accept"), Some("application/json, text/event-stream"));
        assert_eq!(probe.header("mcp-session-id"), None);
        probe.result(discovered());
        let list = server.message().await;
        assert_eq!(list.header("mcp-method"), Some("tools/list"));
        assert_eq!(list.body["params"]["_meta"], *meta_of(&list.body));
        list.result(json!({ "tools": [{ "name": "act", "inputSchema": {}, "x": 1.0 }] }));
    };
    let (ready, ()) = open(&http, Can::FORM, script).await;
    let (link, offer) = ready.unwrap();
    assert_eq!(link.version(), Version::July2026);
    assert_eq!(link.hello().name, "new");
    assert_eq!(offer.items["act"], json!({ "name": "act", "inputSchema": {}, "x": 1.0 }).to_string());
    assert_eq!(http.known(), Some(Version::July2026));
}

fn meta_of(body: &Value) -> &Value {
    let meta = &body["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    meta
}

/// What servers of the legacy era were seen to answer to a request before `initialize`
#[tokio::test]
async fn item_88_whatever_no_modern_server_answers_means_initialize() {
    let answers: [(u16, &str); 7] = [
        (400, r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID"},"id":null}"#),
        (200, r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"Method not found"}}"#),
        (200, r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32602,"message":"Invalid request parameters"}}"#),
        (400, "Bad Request"),
        (404, ""),
        (405, ""),
        (500, "unexpected"),
    ];
    for (status, text) in answers {
        let (mut server, http) = Server::new().await;
        let script = async {
            server.next("POST", "server/discover").await.status(status, text);
            let got = server.next("POST", "initialize").await;
            assert_eq!(got.body["params"]["protocolVersion"], "2025-11-25");
            assert_eq!(got.body["params"]["capabilities"], json!({ "roots": {} }));
            assert_eq!(got.header("mcp-protocol-version"), None, "nothing is agreed on yet");
            assert_eq!(got.header("mcp-method"), None);
            let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": { "name": "o" } });
            got.result(hello);
            let told = server.next("POST", "notifications/initialized").await;
            assert_eq!(told.header("mcp-protocol-version"), Some("2025-06-18"));
            told.status(202, "");
        };
        let (ready, ()) = open(&http, Can::ROOTS, script).await;
        let (link, offer) = ready.unwrap();
        assert_eq!((link.version(), offer.items.len()), (Version::June2025, 0), "{status} {text}");
        assert_eq!(http.known(), Some(Version::June2025));
    }
}

#[tokio::test]
async fn item_88_a_version_that_is_not_spoken_here_is_none() {
    let (mut server, http) = Server::new().await;
    let script = async {
        server.next("POST", "server/discover").await.status(400, "");
        let hello = json!({ "protocolVersion": "2024-11-05", "capabilities": {}, "serverInfo": {} });
        server.next("POST", "initialize").await.result(hello);
    };
    let (ready, ()) = open(&http, Can::NONE, script).await;
    assert!(matches!(&ready, Err(Unready::Answer(_))), "{ready:?}");
}

#[tokio::test]
async fn item_88_a_server_that_leaves_the_probe_without_an_answer_is_asked_to_initialize() {
    let (mut server, http) = Server::new().await;
    let script = async {
        let unanswered = server.next("POST", "server/discover").await;
        server.initialize("2025-03-26", None, &json!({})).await;
        unanswered.closed().await;
    };
    let link = opened(&http, Can::NONE, script).await;
    assert_eq!(link.version(), Version::March2025);
}

#[tokio::test]
async fn who_is_not_let_in_has_not_seen_a_legacy_server() {
    for status in [401, 403, 503] {
        let (mut server, http) = Server::new().await;
        let script = async { server.next("POST", "server/discover").await.status(status, "no") };
        let (ready, ()) = open(&http, Can::NONE, script).await;
        assert!(matches!(&ready, Err(Unready::Status(seen)) if seen.as_u16() == status), "{ready:?}");
        assert_eq!(server.rest(), Vec::<String>::new(), "nothing else was tried");
    }
}

#[tokio::test]
async fn item_11_a_modern_server_says_which_versions_it_speaks() {
    // Only newer ones: there is nothing to speak with it.
    let (mut server, http) = Server::new().await;
    let script = async {
        let data = json!({ "supported": ["2027-01-01"], "requested": "2026-07-28" });
        server.next("POST", "server/discover").await.error(400, -32022, data);
    };
    let (ready, ()) = open(&http, Can::NONE, script).await;
    assert!(matches!(&ready, Err(Unready::Answer(_))), "{ready:?}");
    assert_eq!(server.rest(), Vec::<String>::new());
    // The very one that it was asked in: it is asked once more.
    for again in [true, false] {
        let (mut server, http) = Server::new().await;
        let data = || json!({ "supported": ["2026-07-28"], "requested": "2026-07-28" });
        let script = async {
            server.next("POST", "server/discover").await.error(400, -32022, data());
            if again {
                server.next("POST", "server/discover").await.error(400, -32022, data());
            } else {
                server.open_modern(json!([])).await;
            }
        };
        let (ready, ()) = open(&http, Can::NONE, script).await;
        assert_eq!(ready.is_err(), again, "{ready:?}");
        assert_eq!(server.rest(), Vec::<String>::new());
    }
    // An older one as well: it may be asked to initialize.
    let (mut server, http) = Server::new().await;
    let script = async {
        let data = json!({ "supported": ["2027-01-01", "2025-11-25"], "requested": "2026-07-28" });
        server.next("POST", "server/discover").await.error(400, -32022, data);
        server.initialize("2025-11-25", None, &json!({})).await;
    };
    let link = opened(&http, Can::NONE, script).await;
    assert_eq!(link.version(), Version::November2025);
    // What it lacks of the client is no question of eras.
    let (mut server, http) = Server::new().await;
    let script = async { server.next("POST", "server/discover").await.error(400, -32021, json!({})) };
    let (ready, ()) = open(&http, Can::NONE, script).await;
    assert!(matches!(&ready, Err(Unready::Answer(_))), "{ready:?}");
}

#[tokio::test]
async fn the_era_is_remembered_with_the_address_and_probed_anew_when_it_fails() {
    let (mut server, http) = Server::new().await;
    let _first = opened(&http, Can::NONE, server.open_legacy("2025-11-25", None, json!({}))).await;
    // Remembered: no probe.
    let _second = opened(&http, Can::NONE, server.initialize("2025-11-25", None, &json!({}))).await;
    assert_eq!(server.rest(), Vec::<String>::new());
    // The server was replaced by a modern one.
    let script = async {
        server.next("POST", "initialize").await.error(404, -32601, json!({}));
        server.open_modern(json!([])).await;
    };
    let third = opened(&http, Can::NONE, script).await;
    assert_eq!(third.version(), Version::July2026);
    // And by a legacy one again.
    let fourth = opened(&http, Can::NONE, server.open_legacy("2025-03-26", None, json!({}))).await;
    assert_eq!(fourth.version(), Version::March2025);
}

#[tokio::test]
async fn nobody_at_home_is_no_era() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    drop(listener);
    let http = Arc::new(crate::http::Http::new(&url, crate::clock::SteadyClock::start()).unwrap());
    let ready = Link::over_http(http, Can::NONE).await;
    assert!(matches!(&ready, Err(Unready::Failure(Failure::Lost(_) | Failure::NotSent(_)))), "{ready:?}");
}

#[tokio::test]
async fn item_40_the_empty_cursor_is_one_and_every_page_is_asked_for() {
    let (mut server, http) = Server::new().await;
    let tool = |name: &str| json!({ "name": name, "inputSchema": {} });
    let script = async {
        server.message().await.result(discovered());
        let first = server.message().await;
        assert_eq!(first.body["params"].get("cursor"), None);
        first.result(json!({ "tools": [tool("a")], "nextCursor": "" }));
        let second = server.message().await;
        assert_eq!(second.body["params"]["cursor"], "");
        second.result(json!({ "tools": [tool("b")], "nextCursor": "x" }));
        let third = server.message().await;
        assert_eq!(third.body["params"]["cursor"], "x");
        third.result(json!({ "tools": [], "nextCursor": null }));
    };
    let (ready, ()) = open(&http, Can::NONE, script).await;
    assert_eq!(ready.unwrap().1.items.into_keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test]
async fn item_40_a_list_without_end_is_given_up() {
    let (mut server, http) = Server::new().await;
    let script = async {
        server.message().await.result(discovered());
        for page in 0..256 {
            let tools = json!([{ "name": format!("t{page}"), "inputSchema": {} }]);
            server.message().await.result(json!({ "tools": tools, "nextCursor": "again" }));
        }
    };
    let (ready, ()) = open(&http, Can::NONE, script).await;
    assert!(matches!(&ready, Err(Unready::Endless)), "{ready:?}");
    let (mut server, http) = Server::new().await;
    let twice = json!([{ "name": "a" }, { "name": "a" }]);
    let (ready, ()) = open(&http, Can::NONE, server.open_modern(twice)).await;
    assert!(matches!(&ready, Err(Unready::Twice(name)) if name == "a"), "{ready:?}");
}

#[tokio::test]
async fn item_71_tools_whose_headers_cannot_be_sent_are_left_out_over_http() {
    let tool = |name: &str, kind: &str, header: &str| {
        let property = json!({ "type": kind, "x-mcp-header": header });
        json!({ "name": name, "inputSchema": { "type": "object", "properties": { "a": property } } })
    };
    let tools = json!([
        tool("good", "string", "Region"),
        tool("empty", "string", ""),
        tool("no-token", "string", "a b"),
        tool("number", "number", "N"),
        { "name": "resources/read", "inputSchema": {} },
    ]);
    let (mut server, http) = Server::new().await;
    let (link, ()) = open(&http, Can::NONE, server.open_modern(tools.clone())).await;
    assert_eq!(link.unwrap().1.items.into_keys().collect::<Vec<_>>(), ["good"]);
    // No headers on standard streams; only the name that passes for a method is left out.
    let mut process = Process::new().await;
    let child = Arc::clone(&process.child);
    let script = async {
        let probe = process.next().await;
        process.result(&probe, discovered()).await;
        let list = process.next().await;
        process.result(&list, json!({ "tools": tools })).await;
    };
    let (ready, ()) = tokio::join!(Link::over_child(child, Can::NONE), script);
    assert_eq!(ready.unwrap().1.items.into_keys().collect::<Vec<_>>(), ["empty", "good", "no-token", "number"]);
    process.child.end().await;
}

#[tokio::test]
async fn prompts_and_instructions_are_offered_under_names_of_methods() {
    let (mut server, http) = Server::new().await;
    let script = async {
        let mut hello = discovered();
        hello["capabilities"] = json!({ "prompts": {} });
        hello["instructions"] = json!("Say \"please\".");
        server.message().await.result(hello);
        let list = server.message().await;
        assert_eq!(list.body["method"], "prompts/list");
        list.result(json!({ "prompts": [{ "name": "greet", "x": [1, 2.0] }] }));
    };
    let (ready, ()) = open(&http, Can::NONE, script).await;
    let items = ready.unwrap().1.items;
    assert_eq!(items.keys().collect::<Vec<_>>(), ["prompts/get", "server/discover"]);
    let prompts: Value = serde_json::from_str(&items["prompts/get"]).unwrap();
    assert_eq!(prompts["prompts"]["greet"], json!({ "name": "greet", "x": [1, 2.0] }));
    assert_eq!(prompts["inputSchema"]["required"], json!(["name"]));
    let discover: Value = serde_json::from_str(&items["server/discover"]).unwrap();
    assert_eq!(discover["description"], "Say \"please\".");
}

#[tokio::test]
async fn a_connector_without_tools_is_not_asked_for_any() {
    let (mut server, http) = Server::new().await;
    let script = async {
        let mut hello = discovered();
        hello["capabilities"] = json!({ "resources": {} });
        server.message().await.result(hello);
    };
    let (ready, ()) = open(&http, Can::NONE, script).await;
    assert!(ready.unwrap().1.items.is_empty());
    assert_eq!(server.rest(), Vec::<String>::new());
}
