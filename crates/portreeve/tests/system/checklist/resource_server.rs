//! What of OAuth binds a resource server: tokens, their audiences, and what never leaves with a call.

use super::{agent::Agent, shop::House};
use crate::support::{http::Response, place::word, upstream::Upstream};
use serde_json::{Value, json};

fn challenge(response: &Response) -> &str {
    response.header("www-authenticate").unwrap_or_default()
}

fn act(agent: &Agent) -> (Value, super::agent::Headers) {
    let message = agent.message(1, "tools/call", json!({ "name": "once", "arguments": { "value": "v" } }));
    let headers = agent.headers(&message);
    (message, headers)
}

/// A house, and a connector that its tasks may not use
fn two() -> (House, Upstream) {
    let house = House::new(true);
    let mail = Upstream::http(&["send"], |_, _| false);
    house.place.connector("mail", &mail, "");
    house.place.purpose("post", &[("mail", &mail)], "", "");
    house.place.run(&["policy", "apply"]).good();
    house.place.run(&["connector", "accept", "mail", "--yes"]).good();
    (house, mail)
}

#[test]
fn item_59_and_60_a_token_is_good_for_the_endpoints_of_its_task_only() {
    let (house, mail) = two();
    let post = house.serve.open("post");
    for (task, path, good) in [
        (&house.task, "/mcp/shop", true),
        (&house.task, "/mcp", true),
        (&house.task, "/mcp/mail", false),
        (&post, "/mcp/mail", true),
        (&post, "/mcp", true),
        (&post, "/mcp/shop", false),
        (&post, "/mcp/nothing", false),
    ] {
        for modern in [true, false] {
            let mut agent = Agent::modern(task, "");
            (agent.path, agent.modern) = (path.to_owned(), modern);
            let response = agent.post(&agent.message(1, "tools/list", json!({})));
            assert_eq!(response.status, if good { 200 } else { 401 }, "{path}: {response:?}");
            assert_eq!(challenge(&response).starts_with("Bearer error=\"invalid_token\""), !good, "{response:?}");
        }
    }
    // What another task may use is not there for this one at the endpoint of all.
    let agent = Agent::modern(&house.task, "");
    assert_eq!(agent.word("mail__send", "v"), "-32602");
    assert_eq!((mail.values(), house.shop.values()), (Vec::new(), Vec::new()));
}

#[test]
fn item_60_every_request_shows_its_token_in_the_header() {
    let house = House::new(true);
    let agent = Agent::modern(&house.task, "shop");
    let (message, good) = act(&agent);
    let body = message.to_string();
    let mut without = good.clone();
    without.retain(|(name, _)| *name != "authorization");
    let none = agent.send("POST", &without, body.as_bytes());
    assert_eq!((none.status, challenge(&none), none.body.len()), (401, "Bearer", 0));
    let query = Agent { path: format!("/mcp/shop?access_token={}", house.task.token), ..agent.clone() };
    assert_eq!(query.send("POST", &without, body.as_bytes()).status, 401);
    let both = query.send("POST", &good, body.as_bytes());
    assert_eq!(both.status, 400);
    assert!(challenge(&both).contains("invalid_request"), "item 64: {both:?}");
    // A session is none.
    let legacy = Agent::legacy(&house.task, "shop", json!({}));
    let mut headers = legacy.headers(&message);
    headers.retain(|(name, _)| *name != "authorization");
    assert_eq!(legacy.send("POST", &headers, body.as_bytes()).status, 401);
    house.nothing_came_through();
    // The challenge is one, complete, and promises nothing that is not there.
    for response in [none, both] {
        assert_eq!(response.headers.iter().filter(|(name, _)| name == "www-authenticate").count(), 1);
        assert!(!challenge(&response).contains("scope") && !challenge(&response).contains("resource_metadata"));
    }
}

#[test]
fn item_57_61_and_67_no_token_leaves_for_a_connector_or_the_record() {
    for modern in [true, false] {
        let house = House::new(modern);
        for agent in [Agent::modern(&house.task, "shop"), Agent::legacy(&house.task, "shop", json!({}))] {
            let (message, mut headers) = act(&agent);
            headers.push(("cookie", "session=cookie-secret".to_owned()));
            let answer = agent.send("POST", &headers, message.to_string().as_bytes());
            assert_eq!(answer.status, 200);
            agent.ask("resources/read", json!({ "uri": "file:///shop/open/a" }));
            agent.ask("resources/list", json!({}));
        }
        let received = house.shop.received();
        assert!(received.len() > 4);
        for one in received {
            let all = format!("{} {:?} {}", one.line, one.headers, String::from_utf8_lossy(&one.message));
            assert!(!all.contains(&house.task.token) && !all.contains("cookie-secret"), "{all}");
            assert_eq!(one.header("authorization"), None);
        }
        house.serve.stop(&house.task.id);
        let record = format!("{:?}", house.place.record().lines);
        let log = house.place.read("serve.log");
        for written in [record, log] {
            assert!(!written.contains(&house.task.token) && !written.contains("cookie-secret"));
        }
    }
}

#[test]
fn item_63_and_66_a_refusal_by_policy_is_no_challenge_for_more_scope() {
    let house = House::new(true);
    for agent in [Agent::modern(&house.task, "shop"), Agent::legacy(&house.task, "shop", json!({}))] {
        for (method, params) in [
            ("tools/call", json!({ "name": "hidden", "arguments": {} })),
            ("tools/call", json!({ "name": "slow", "arguments": { "unnamed": 1 } })),
            ("resources/read", json!({ "uri": "file:///shop/closed/a" })),
            ("prompts/get", json!({ "name": "secret" })),
        ] {
            let response = agent.post(&agent.message(1, method, params.clone()));
            assert_eq!((response.status, challenge(&response)), (200, ""), "{method} {params}: {response:?}");
            let answer = response.json();
            let code = answer["error"]["code"].as_i64();
            let reserved = code.is_some_and(|code| (-32099..=-32000).contains(&code) && code != -32002);
            assert!(!reserved && word(&answer) != "ok", "{answer}");
        }
    }
    // A task that is over is a refusal too, as long as the token is good.
    house.serve.stop(&house.task.id);
    let over = Agent::modern(&house.task, "shop").ask("tools/list", json!({}));
    assert_eq!(over["error"]["data"]["dev.portreeve/refusal"]["word"], "task_over", "{over}");
}
