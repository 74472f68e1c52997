//! Sessions of the era with `initialize`: what they are good for, and how they end.

use super::{
    agent::{Agent, MODERN},
    shop::House,
};
use serde_json::{Value, json};

#[test]
fn item_89_a_session_ends_when_its_agent_says_so() {
    let house = House::new(true);
    let agent = Agent::legacy(&house.task, "shop", json!({}));
    let session = agent.session.clone().unwrap();
    assert!(session.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "{session}");
    assert!(session.len() > 40, "{session}");
    assert_ne!(Agent::legacy(&house.task, "shop", json!({})).session, agent.session);
    assert_eq!(agent.word("act", "v"), "ok");
    let ended = agent.send("DELETE", &agent.headers(&Value::Null), b"");
    assert_eq!((ended.status, ended.body.len()), (204, 0));
    for method in ["POST", "GET", "DELETE"] {
        let message = agent.message(1, "tools/list", json!({})).to_string();
        let response = agent.send(method, &agent.headers(&Value::Null), message.as_bytes());
        assert_eq!(response.status, 404, "{method}: {response:?}");
    }
    // It begins another one.
    assert_eq!(Agent::legacy(&house.task, "shop", json!({})).word("act", "w"), "ok");
    assert_eq!(house.shop.values(), ["v", "w"]);
}

#[test]
fn item_87_and_89_a_session_is_of_one_run_at_one_endpoint_and_no_authority() {
    let house = House::new(true);
    let agent = Agent::legacy(&house.task, "shop", json!({}));
    let session = agent.session.clone().unwrap();
    let other = Agent { task: house.serve.open("work"), ..agent.clone() };
    let elsewhere = Agent { path: "/mcp".to_owned(), ..agent.clone() };
    let more = format!("{session}A");
    let mut changed = session.clone();
    let last = if changed.pop() == Some('A') { 'B' } else { 'A' };
    changed.push(last);
    let forged = |id: &str| Agent { session: Some(id.to_owned()), ..agent.clone() };
    for (what, agent) in [
        ("of another run", other),
        ("of another endpoint", elsewhere),
        ("changed", forged(&changed)),
        ("longer", forged(&more)),
        ("never given", forged("session-of-shop")),
    ] {
        let response = agent.post(&agent.message(1, "tools/call", json!({ "name": "act", "arguments": {} })));
        assert_eq!(response.status, 404, "{what}: {response:?}");
    }
    // Without a token it is nothing.
    let mut headers = agent.headers(&Value::Null);
    headers.retain(|(name, _)| *name != "authorization");
    assert_eq!(agent.send("GET", &headers, b"").status, 401);
    assert_eq!(agent.send("DELETE", &headers, b"").status, 401);
    house.nothing_came_through();
    assert_eq!(agent.word("act", "v"), "ok");
}

#[test]
fn item_89_a_session_outlives_portreeve_unless_it_was_ended() {
    let house = House::new(true);
    let agent = Agent::legacy(&house.task, "shop", json!({ "elicitation": {} }));
    let House { serve, task, place, shop: _shop, .. } = house;
    serve.terminate();
    let serve = place.serve(&[]);
    let again = Agent { task: serve.rejoin(&task), ..agent };
    let listed = again.ask("tools/list", json!({}));
    assert!(listed["result"]["tools"].is_array(), "{listed}");
    // Also what its agent can do is known again.
    let talk = again.talk("tools/call", json!({ "name": "ask", "arguments": { "value": "v" } }));
    assert_eq!(talk.next().unwrap()["method"], "elicitation/create");
}

#[test]
fn item_88_and_90_a_session_speaks_the_version_that_it_agreed_on() {
    let house = House::new(true);
    let agent = Agent::legacy(&house.task, "shop", json!({}));
    let message = agent.message(1, "tools/list", json!({}));
    for (version, status) in [("2025-11-25", 200), ("2025-06-18", 400), ("2024-11-05", 400), ("never", 400)] {
        let mut headers = agent.headers(&message);
        headers.retain(|(name, _)| *name != "mcp-protocol-version");
        headers.push(("mcp-protocol-version", version.to_owned()));
        assert_eq!(agent.send("POST", &headers, message.to_string().as_bytes()).status, status, "{version}");
    }
    let mut headers = agent.headers(&message);
    headers.retain(|(name, _)| *name != "mcp-protocol-version");
    assert_eq!(agent.send("POST", &headers, message.to_string().as_bytes()).status, 200, "its session says it");
    headers.push(("mcp-protocol-version", MODERN.to_owned()));
    let response = agent.send("POST", &headers, message.to_string().as_bytes());
    assert_eq!(response.status, 400, "a modern request says it in its body too: {response:?}");
}

#[test]
fn item_93_the_session_with_the_connector_is_not_that_with_the_agent() {
    let house = House::new(false);
    let agent = Agent::legacy(&house.task, "shop", json!({}));
    let call = agent.message(1, "tools/call", json!({ "name": "act", "arguments": { "value": "v" } }));
    let response = agent.post(&call);
    let seen = format!("{:?} {}", response.headers, String::from_utf8_lossy(&response.body));
    assert!(!seen.contains("session-of-shop"), "{seen}");
    let received = house.shop.calls().pop().unwrap();
    assert!(received.header("mcp-session-id").unwrap().starts_with("session-of-shop"));
    // And the other way round.
    let session = agent.session.unwrap();
    assert!(house.shop.received().iter().all(|received| !format!("{:?}", received.headers).contains(&session)));
}
