//! MCP tasks: their ids are sealed, and each look at one is judged.

use super::{agent::Agent, shop::House};
use crate::support::{
    place::word,
    upstream::{Received, Wire},
};
use serde_json::{Value, json};

fn able(house: &House) -> Agent {
    let can = json!({ "extensions": { "io.modelcontextprotocol/tasks": {} }, "elicitation": { "form": {} } });
    Agent { can, ..Agent::modern(&house.task, "shop") }
}

/// A connector whose `job` becomes a task that asks something, and ends once it is answered or cancelled
fn plays(received: &Received, wire: &mut Wire) -> bool {
    let task = |status: &str| {
        json!({
            "taskId": "their own id", "status": status, "createdAt": "2026-11-20T00:00:00Z",
            "lastUpdatedAt": "2026-11-20T00:00:00Z", "ttlMs": 60_000, "pollIntervalMs": 10
        })
    };
    let (mut result, kind) = match (received.method.as_str(), received.tool.as_str()) {
        ("tools/call", "job") => (task("working"), "task"),
        ("tasks/get", _) => (task("input_required"), "complete"),
        ("tasks/update" | "tasks/cancel", _) => (json!({}), "complete"),
        _ => return false,
    };
    result["resultType"] = json!(kind);
    if received.method == "tasks/get" {
        let params = json!({
            "mode": "form", "message": "Who?", "requestedSchema": { "type": "object", "properties": {} }
        });
        result["inputRequests"] = json!({ "who": { "method": "elicitation/create", "params": params } });
    }
    wire.answer(&result.to_string());
    true
}

/// A task that was begun, by the id that its agent knows
fn begun(agent: &Agent) -> String {
    let begun = agent.call("job", "v");
    assert_eq!(begun["result"]["resultType"], "task", "{begun}");
    assert_eq!(begun["result"]["status"], "working");
    let id = begun["result"]["taskId"].as_str().unwrap().to_owned();
    assert_ne!(id, "their own id");
    id
}

fn get(agent: &Agent, id: &str) -> Value {
    agent.ask("tasks/get", json!({ "taskId": id }))
}

#[test]
fn item_87_the_id_of_an_mcp_task_is_good_for_its_own_run_and_endpoint() {
    let house = House::with(true, plays);
    let agent = able(&house);
    let id = begun(&agent);
    let shown = get(&agent, &id);
    assert_eq!((&shown["result"]["taskId"], &shown["result"]["status"]), (&json!(id), &json!("input_required")));
    assert_eq!(house.shop.count("tasks/get"), 1);
    let polled = house.shop.received().into_iter().find(|one| one.method == "tasks/get").unwrap();
    assert_eq!(polled.json()["params"]["taskId"], "their own id");
    assert_eq!(polled.header("mcp-name"), Some("their own id"), "item 69: made anew");

    let other = Agent { task: house.serve.open("work"), ..agent.clone() };
    let elsewhere = Agent { path: "/mcp".to_owned(), ..agent.clone() };
    let unknown = get(&agent, "never given");
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    for (agent, id) in [(&other, id.as_str()), (&elsewhere, &id), (&agent, "their own id"), (&agent, &format!("{id}A"))]
    {
        for method in ["tasks/get", "tasks/cancel"] {
            let answer = agent.ask(method, json!({ "taskId": id }));
            assert_eq!(answer["error"], unknown["error"], "{method}");
        }
    }
    assert_eq!((house.shop.count("tasks/get"), house.shop.count("tasks/cancel")), (1, 0));
}

#[test]
fn item_53_answers_to_an_mcp_task_are_judged_and_only_those_that_were_asked_for_leave() {
    let house = House::with(true, plays);
    let agent = able(&house);
    let id = begun(&agent);
    assert!(get(&agent, &id)["result"]["inputRequests"]["who"].is_object());
    let update = |answer: Value| agent.ask("tasks/update", json!({ "taskId": id, "inputResponses": answer }));
    let secret = json!({ "who": { "action": "accept", "content": { "iban": "SECRET" } } });
    let refused = update(secret);
    assert_eq!(refused["error"]["data"]["dev.portreeve/refusal"]["word"], "argument_outside_task", "{refused}");
    assert_eq!(house.shop.count("tasks/update"), 0);
    let good = json!({ "action": "accept", "content": { "name": "Lea" } });
    let taken = update(json!({ "who": good, "unheard-of": { "action": "accept" } }));
    assert_eq!(taken["result"]["resultType"], "complete", "{taken}");
    let left = house.shop.received().into_iter().find(|one| one.method == "tasks/update").unwrap();
    assert_eq!(left.json()["params"]["inputResponses"], json!({ "who": good }));
}

#[test]
fn item_53_an_mcp_task_is_followed_as_long_as_its_task_lives() {
    let house = House::with(true, plays);
    let agent = able(&house);
    let id = begun(&agent);
    assert_eq!(get(&agent, &id)["result"]["status"], "input_required");
    let cancelled = agent.ask("tasks/cancel", json!({ "taskId": id }));
    assert_eq!(cancelled["result"]["resultType"], "complete", "{cancelled}");
    house.serve.stop(&house.task.id);
    let polls = house.shop.count("tasks/get");
    let over = get(&agent, &id);
    assert_eq!(over["error"]["data"]["dev.portreeve/refusal"]["word"], "task_over", "{over}");
    assert_eq!(house.shop.count("tasks/get"), polls);
}

#[test]
fn item_53_an_mcp_task_is_not_followed_once_its_connector_was_stopped_or_changed() {
    let house = House::with(true, plays);
    let agent = able(&house);
    let id = begun(&agent);
    house.serve.stop("connector:shop");
    let polls = house.shop.count("tasks/get");
    let over = get(&agent, &id);
    assert!(over["error"]["data"]["dev.portreeve/refusal"]["word"].is_string(), "{over}");
    assert_eq!(house.shop.count("tasks/get"), polls);
}

#[test]
fn item_28_a_task_is_no_answer_to_an_agent_that_cannot_follow_it() {
    let house = House::with(true, plays);
    for agent in [Agent::modern(&house.task, "shop"), Agent::legacy(&house.task, "shop", json!({}))] {
        let answer = agent.call("job", "v");
        assert_ne!(answer["result"]["resultType"], "task", "{answer}");
        assert!(!answer.to_string().contains("their own id"), "{answer}");
        assert_eq!(word(&answer), "outcome_unknown", "{answer}");
    }
    // Nor does an agent get tasks in the manner of an earlier version.
    let agent = Agent::legacy(&house.task, "shop", json!({}));
    let params = json!({ "name": "act", "arguments": { "value": "v" }, "task": { "ttl": 1000 } });
    assert_eq!(word(&agent.ask("tools/call", params)), "method_not_enforced");
}
