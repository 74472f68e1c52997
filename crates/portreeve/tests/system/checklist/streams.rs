//! What agents are told without asking each time.

use super::{
    agent::{Agent, Talk},
    shop::{House, TOOLS, act, event},
};
use crate::support::upstream::tool;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portreeve_identity::key::SigningKey;
use serde_json::{Value, json};
use std::{fs, io::Write as _};

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

fn filter() -> Value {
    json!({ "notifications": {
        "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
        "resourceSubscriptions": ["file:///shop/open/a", "file:///shop/closed/a"]
    } })
}

/// A modern agent that listens, after it was told to what
fn listening(house: &House, agent: &Agent) -> Talk {
    let talk = agent.talk("subscriptions/listen", filter());
    let acknowledged = talk.next().unwrap();
    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged", "{acknowledged}");
    assert_eq!(acknowledged["params"]["_meta"][SUBSCRIPTION], 1);
    let honoured = &acknowledged["params"]["notifications"];
    assert_eq!(honoured["resourceSubscriptions"], json!(["file:///shop/open/a"]), "what may be followed: {honoured}");
    assert_eq!(honoured["toolsListChanged"], true);
    assert!(house.shop.received().iter().all(|one| !one.json().to_string().contains("closed/a")));
    talk
}

/// How a subscription ends that was taken down
fn taken_down(talk: &Talk) {
    let messages = talk.rest();
    let [cancelled, over] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(
        (&cancelled["method"], &cancelled["params"]["requestId"]),
        (&json!("notifications/cancelled"), &json!(1))
    );
    assert_eq!((&over["id"], &over["result"]["resultType"]), (&json!(1), &json!("complete")));
    assert_eq!(over["result"]["_meta"][SUBSCRIPTION], 1);
}

/// The connector tells that a resource was updated, on the stream where it is followed
fn updated(house: &House, modern: bool, uri: &str) {
    let mut params = json!({ "uri": uri });
    let (begun, mut stream) = if modern {
        house.open.begun_by(|one| one.json()["params"]["notifications"]["resourceSubscriptions"].is_array())
    } else {
        let follows = house.shop.received().into_iter().rfind(|one| one.method == "resources/subscribe").unwrap();
        let session = follows.header("mcp-session-id").unwrap().to_owned();
        house.open.begun_by(|one| one.method.is_empty() && one.header("mcp-session-id") == Some(&session))
    };
    if modern {
        params["_meta"][SUBSCRIPTION] = begun.json()["id"].clone();
    }
    let told = json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params });
    stream.write_all(event(&told).as_bytes()).unwrap();
}

#[test]
fn item_30_a_subscription_is_acknowledged_first_and_tells_only_what_was_asked_for() {
    for modern in [true, false] {
        let house = House::new(modern);
        let agent = Agent::modern(&house.task, "shop");
        let talk = listening(&house, &agent);
        updated(&house, modern, "file:///shop/closed/a");
        updated(&house, modern, "file:///shop/open/a");
        let told = talk.next().unwrap();
        assert_eq!(told["params"]["uri"], "file:///shop/open/a", "{told}");
        assert_eq!(told["params"]["_meta"][SUBSCRIPTION], 1, "{told}");
        drop(talk);
        house.serve.settled();
        let calls = house.place.record().calls();
        let followed: Vec<&str> = calls.values().map(|call| call.tool.as_str()).collect();
        assert_eq!(followed, ["shop.resources/subscribe"]);
    }
}

#[test]
fn item_30_resources_of_a_modern_connector_are_followed_under_the_agents_own_id() {
    let house = House::new(true);
    let agent = Agent::modern(&house.task, "shop");
    let only = json!({ "notifications": { "resourceSubscriptions": ["file:///shop/open/a"] } });
    let talk = agent.talk("subscriptions/listen", only);
    assert_eq!(talk.next().unwrap()["params"]["notifications"]["resourceSubscriptions"][0], "file:///shop/open/a");
    updated(&house, true, "file:///shop/open/a");
    let told = talk.next().unwrap();
    assert_eq!(
        (&told["params"]["uri"], &told["params"]["_meta"][SUBSCRIPTION]),
        (&json!("file:///shop/open/a"), &json!(1))
    );
    // Whoever hangs up follows nothing any more.
    drop(talk);
    house.open.closed("subscriptions/listen");
}

#[test]
fn item_31_a_subscription_is_taken_down_with_its_task() {
    for modern in [true, false] {
        let house = House::new(modern);
        let talk = listening(&house, &Agent::modern(&house.task, "shop"));
        house.serve.stop(&house.task.id);
        taken_down(&talk);
    }
}

#[test]
fn item_31_a_subscription_is_taken_down_with_its_token() {
    let house = House::new(true);
    let key = fs::read(house.place.data().join("keys/token.key")).unwrap();
    let payload = house.task.token.split('.').nth(1).unwrap();
    let mut claims: Value = serde_json::from_slice(&BASE64.decode(payload).unwrap()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    claims["exp"] = json!(now + 3);
    let kid = SigningKey::read(&key).unwrap().public_key().thumbprint();
    let header = Header { typ: Some("at+jwt".to_owned()), kid: Some(kid), ..Header::new(Algorithm::EdDSA) };
    let short = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(&key)).unwrap();
    let mut task = house.task.clone();
    task.token = short;
    let talk = listening(&house, &Agent::modern(&task, "shop"));
    taken_down(&talk);
    // The task goes on.
    assert_eq!(Agent::modern(&house.task, "shop").word("tell", "v"), "ok");
}

#[test]
fn item_30_and_39_an_agent_that_listens_is_told_when_its_list_changes() {
    let house = House::new(true);
    let modern = Agent::modern(&house.task, "shop").talk("subscriptions/listen", filter());
    modern.next().unwrap();
    let legacy = Agent::legacy(&house.task, "shop", json!({}));
    let stream = legacy.stream();
    while stream.line().is_some_and(|line| !line.is_empty()) {}
    let mut tools: Vec<Value> = TOOLS.into_iter().map(tool).collect();
    tools[1]["description"] = json!("Does it more slowly");
    tools[0] = act();
    house.shop.offer(tools);
    house.place.run(&["connector", "accept", "shop", "--yes"]).good();
    let told = modern.next().unwrap();
    assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    assert_eq!(told["params"]["_meta"][SUBSCRIPTION], 1);
    let told = stream.next().unwrap();
    assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    assert!(told.get("id").is_none() && told["params"]["_meta"].get(SUBSCRIPTION).is_none(), "{told}");
    // The stream ends with the session, and with the task.
    let ended = legacy.send("DELETE", &legacy.headers(&Value::Null), b"");
    assert_eq!(ended.status, 204);
    assert_eq!(stream.next(), None);
    house.serve.stop(&house.task.id);
    taken_down(&modern);
}

#[test]
fn item_91_a_session_follows_resources_on_its_stream() {
    for modern in [true, false] {
        let house = House::new(modern);
        let agent = Agent::legacy(&house.task, "shop", json!({}));
        let stream = agent.stream();
        assert_eq!(stream.line().as_deref(), Some("HTTP/1.1 200 OK"));
        while stream.line().is_some_and(|line| !line.is_empty()) {}
        let refused = agent.ask("resources/subscribe", json!({ "uri": "file:///shop/closed/a" }));
        assert!(refused["error"]["code"].is_i64(), "{refused}");
        let followed = agent.ask("resources/subscribe", json!({ "uri": "file:///shop/open/a" }));
        assert_eq!(followed["result"], json!({}), "{followed}");
        updated(&house, modern, "file:///shop/open/a");
        let told = stream.next().unwrap();
        assert_eq!(told["method"], "notifications/resources/updated", "{modern}: {told}");
        assert_eq!(told["params"]["uri"], "file:///shop/open/a", "{modern}: {told}");
        assert!(told["params"]["_meta"].get(SUBSCRIPTION).is_none(), "{modern}: {told}");
        // Another session hears nothing of it.
        let other = Agent::legacy(&house.task, "shop", json!({}));
        let silent = other.stream();
        assert_eq!(silent.line().as_deref(), Some("HTTP/1.1 200 OK"));
        let unfollowed = agent.ask("resources/unsubscribe", json!({ "uri": "file:///shop/open/a" }));
        assert_eq!(unfollowed["result"], json!({}));
        house.serve.stop(&house.task.id);
        assert_eq!(silent.rest(), Vec::<Value>::new());
        assert_eq!(stream.rest(), Vec::<Value>::new());
    }
}
