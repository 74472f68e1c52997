//! The tool with which an agent asks for a class that does not stand.

use super::house::{House, code, echo, text};
use crate::{
    checklist::agent::Agent,
    support::{place::word, until},
};
use serde_json::{Value, json};
use std::thread;

/// Reads stand, writes have to be opened: `free` once without a person, the rest by one
fn house(wait: &str) -> House {
    let purpose = House::purpose("").replace(
        "standing = [\"read\", \"write\"]\n",
        "standing = [\"read\"]\n\n[elevate]\n\
            write = { tools = [\"shop.free\"], times = 1, within = \"5m\" }\nask = { who = \"leads\" }\n",
    );
    House::with(wait, &purpose, echo)
}

fn listed(agent: &Agent) -> Vec<String> {
    let tools = agent.ask("tools/list", json!({}));
    let tools = tools["result"]["tools"].as_array().unwrap_or_else(|| panic!("{tools}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn asks(agent: &Agent, arguments: &Value) -> Value {
    let name = if agent.path == "/mcp" { "portreeve__request_elevation" } else { "portreeve_request_elevation" };
    agent.ask("tools/call", json!({ "name": name, "arguments": arguments }))
}

#[test]
fn it_is_listed_where_a_purpose_opens_classes_and_nowhere_else() {
    let house = house("0s");
    for modern in [true, false] {
        for (path, name) in [("shop", "portreeve_request_elevation"), ("", "portreeve__request_elevation")] {
            let agent = match modern {
                true => Agent::modern(&house.task, path),
                false => Agent::legacy(&house.task, path, json!({})),
            };
            assert!(listed(&agent).contains(&name.to_owned()), "{modern} {path}");
            let act = if path.is_empty() { "shop__act" } else { "act" };
            let refused = agent.call(act, "v");
            assert_eq!(word(&refused), "class_not_open", "{refused}");
            assert!(text(&refused).contains(name), "{refused}");
        }
    }
    let plain = House::new("0s");
    let agent = plain.modern();
    assert_eq!(listed(&agent), ["act", "free", "slow"]);
    let refused = asks(&agent, &json!({ "tools": ["act"], "reason": "to see" }));
    assert_eq!(word(&refused), "elevation_refused", "{refused}");
    until("it is on the record", || plain.place.record().refusals().contains(&"elevation_refused".to_owned()));
}

#[test]
fn a_class_that_needs_no_person_is_open_at_once_for_exactly_that() {
    let house = house("0s");
    let agent = house.modern();
    let exactly =
        json!({ "tools": ["free"], "values": { "value": "v" }, "times": 1, "minutes": 1, "reason": "to see" });
    let opened = asks(&agent, &exactly);
    assert!(text(&opened).contains("It is open until"), "{opened}");
    assert_eq!(asks(&agent, &exactly)["result"], opened["result"], "repeated, it is the same");
    assert_eq!(agent.word("free", "w"), "class_not_open", "another value");
    assert_eq!(agent.word("act", "v"), "class_not_open", "another tool");
    assert_eq!(agent.word("free", "v"), "ok");
    assert_eq!(agent.word("free", "v"), "class_not_open", "once");
    assert_eq!(house.made(), ["v"]);
}

#[test]
fn more_than_that_is_asked_of_people_and_goes_on_in_every_way() {
    let house = house("0s");
    let wanted = |value: &str| json!({ "tools": ["act"], "values": { "value": value }, "reason": "to see" });
    // Words.
    let agent = house.legacy();
    let told = asks(&agent, &wanted("a"));
    assert_eq!(word(&told), "approval_needed", "{told}");
    let asked = code(&told);
    assert_eq!(code(&asks(&agent, &wanted("a"))), asked);
    house.approves("lea", &asked);
    assert!(text(&asks(&agent, &wanted("a"))).contains("It is open until"));
    assert_eq!(agent.word("act", "a"), "ok");
    // A page to open, and back.
    let agent = Agent::asked(true, &house.task, "shop");
    let told = asks(&agent, &wanted("b"));
    let key = told["result"]["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let mut params = json!({ "name": "portreeve_request_elevation", "arguments": wanted("b") });
    params["requestState"] = told["result"]["requestState"].clone();
    params["inputResponses"] = json!({ key.clone(): { "action": "accept" } });
    let again = agent.ask("tools/call", params.clone());
    assert_eq!(again["result"]["inputRequests"], told["result"]["inputRequests"], "{again}");
    let mut other = params.clone();
    other["arguments"] = wanted("c");
    assert_eq!(agent.ask("tools/call", other)["error"]["code"], -32602);
    house.approves("lea", &key);
    assert!(text(&agent.ask("tools/call", params)).contains("It is open until"));
    // A task.
    let agent = Agent { can: json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } }), ..house.modern() };
    let told = asks(&agent, &wanted("d"));
    assert_eq!(told["result"]["resultType"], "task", "{told}");
    let id = told["result"]["taskId"].clone();
    let get = || agent.ask("tasks/get", json!({ "taskId": id }))["result"].clone();
    assert_eq!(get()["status"], "working");
    let message = get()["statusMessage"].as_str().unwrap().to_owned();
    house.approves("lea", message.strip_prefix("waiting for ").unwrap().split(':').next().unwrap());
    assert_eq!(get()["status"], "completed");
    assert!(get()["result"]["content"][0]["text"].as_str().unwrap().contains("open now"), "{}", get());
    assert_eq!(agent.word("act", "d"), "ok");
    // A no.
    let agent = house.modern();
    house.answers("lea", &code(&asks(&agent, &wanted("e"))), false);
    assert_eq!(word(&asks(&agent, &wanted("e"))), "approval_declined");
    assert_eq!(house.made(), ["a", "d"]);
}

#[test]
fn whoever_waits_hears_of_it_at_once() {
    let house = house("60s");
    let agent = house.modern();
    let waits = thread::spawn(move || asks(&agent, &json!({ "tools": ["act"], "reason": "to see" })));
    house.approves("lea", &house.asked());
    assert!(text(&waits.join().unwrap()).contains("It is open until"));
}

#[test]
fn what_it_cannot_read_is_refused() {
    let house = house("0s");
    let agent = house.modern();
    for arguments in [
        json!({}),
        json!({ "tools": [], "reason": "r" }),
        json!({ "tools": ["act"] }),
        json!({ "tools": ["act"], "reason": " " }),
        json!({ "tools": "act", "reason": "r" }),
        json!({ "tools": ["nothing here"], "reason": "r" }),
        json!({ "tools": ["act"], "reason": "r", "times": 1.5 }),
        json!({ "tools": ["act"], "reason": "r", "minutes": -1 }),
        json!({ "tools": ["act"], "reason": "r", "values": [] }),
        json!({ "tools": ["act"], "reason": "r", "class": "escalate" }),
    ] {
        assert_eq!(word(&asks(&agent, &arguments)), "arguments_invalid", "{arguments}");
    }
    for arguments in [
        json!({ "tools": ["act"], "reason": "r", "times": 0 }),
        json!({ "tools": ["act"], "reason": "r", "minutes": 100_000 }),
        json!({ "tools": ["shop.nothing"], "reason": "r" }),
    ] {
        let refused = word(&asks(&agent, &arguments));
        assert!(["elevation_refused", "tool_outside_purpose"].contains(&refused.as_str()), "{arguments}: {refused}");
    }
    assert_eq!(house.place.record().events("granted").count(), 0);
}
