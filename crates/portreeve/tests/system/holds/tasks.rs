//! Way 1: a call that waits is an MCP task, which goes on by itself once enough have agreed.

use super::house::{House, answers, echo};
use crate::{
    checklist::agent::Agent,
    support::{place::word, until},
};
use serde_json::{Value, json};

const TASKS: &str = "io.modelcontextprotocol/tasks";

fn able(house: &House) -> Agent {
    let mut can = json!({ "elicitation": { "url": {} } });
    can["extensions"][TASKS] = json!({});
    Agent { can, ..house.modern() }
}

/// The id of the task that a call became, and the code of its question
#[track_caller]
fn begun(answer: &Value) -> (String, String) {
    let result = &answer["result"];
    assert_eq!((&result["resultType"], &result["status"]), (&json!("task"), &json!("working")), "{answer}");
    assert!(result["ttlMs"].as_i64().unwrap() > 0 && result["pollIntervalMs"].as_i64().unwrap() > 0);
    let message = result["statusMessage"].as_str().unwrap();
    let code = message.strip_prefix("waiting for ").unwrap().split(':').next().unwrap().to_owned();
    assert!(message.ends_with(&format!("/approvals/{code}")), "{message}");
    (result["taskId"].as_str().unwrap().to_owned(), code)
}

fn get(agent: &Agent, id: &str) -> Value {
    agent.ask("tasks/get", json!({ "taskId": id }))
}

/// The task once it is over
#[track_caller]
fn ended(agent: &Agent, id: &str) -> Value {
    let is_over = || get(agent, id)["result"]["status"] != "working";
    until("the task is over", is_over);
    get(agent, id)["result"].clone()
}

#[test]
fn a_call_goes_on_by_itself_once_it_is_approved_and_its_result_is_fetched() {
    // It waits for nobody inside the request.
    let house = House::new("60s");
    let agent = able(&house);
    let hello = agent.ask("server/discover", json!({}));
    assert!(hello["result"]["capabilities"]["extensions"][TASKS].is_object(), "{hello}");
    let (id, code) = begun(&agent.call("act", "v"));
    let shown = get(&agent, &id);
    assert_eq!((&shown["result"]["status"], &shown["result"]["taskId"]), (&json!("working"), &json!(id)));
    assert_eq!(shown["result"]["resultType"], "complete");
    // The same call again is the same question, and no second task goes on.
    let (other, same) = begun(&agent.call("act", "v"));
    assert_eq!(same, code);
    house.approves("lea", &code);
    // Nobody polls, and it goes on.
    house.shop.wait_for_calls(1);
    for id in [&id, &other] {
        let over = ended(&agent, id);
        assert_eq!(over["status"], "completed", "{over}");
        assert_eq!(over["result"]["content"][0]["text"], "done v", "{over}");
        assert_eq!(over["result"]["resultType"], "complete", "{over}");
    }
    // And a plain repeat gets the same.
    assert_eq!(agent.call("act", "v")["result"]["content"][0]["text"], "done v");
    assert_eq!(house.made(), ["v"]);
}

#[test]
fn a_no_ends_the_task_and_so_does_its_agent() {
    let house = House::new("60s");
    let agent = able(&house);
    let (id, code) = begun(&agent.call("act", "v"));
    house.answers("lea", &code, false);
    let over = ended(&agent, &id);
    assert_eq!(over["status"], "completed", "{over}");
    assert_eq!(over["result"]["_meta"]["dev.portreeve/refusal"]["word"], "approval_declined", "{over}");

    let (id, code) = begun(&agent.call("act", "w"));
    let cancelled = agent.ask("tasks/cancel", json!({ "taskId": id }));
    assert_eq!(cancelled["result"]["resultType"], "complete", "{cancelled}");
    assert_eq!(ended(&agent, &id)["status"], "cancelled");
    house.approves("lea", &code);
    let record = house.place.record();
    assert_eq!(record.events("granted").count(), 0, "what was taken back is answered by nobody");
    assert_eq!(record.events("held").count(), 2, "and nobody is asked anew");
    assert_eq!(house.made(), Vec::<String>::new());
}

#[test]
fn the_id_is_good_for_its_own_run_and_endpoint_and_as_long_as_the_task_lives() {
    let house = House::new("60s");
    let agent = able(&house);
    let (id, code) = begun(&agent.call("act", "v"));
    let unknown = get(&agent, "never given");
    assert_eq!(unknown["error"]["code"], -32602);
    let other = Agent { task: house.serve.open("work"), ..agent.clone() };
    let elsewhere = Agent { path: "/mcp".to_owned(), ..agent.clone() };
    for (agent, id) in [(&other, id.as_str()), (&elsewhere, &id), (&agent, &format!("{id}A"))] {
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            let answer = agent.ask(method, json!({ "taskId": id, "inputResponses": {} }));
            assert_eq!(answer["error"], unknown["error"], "{method}");
        }
    }
    // A client that did not say that it can follow tasks is told so.
    let unable = Agent { can: json!({}), ..agent.clone() };
    let params = json!({ "taskId": id });
    assert_eq!(unable.post(&unable.message(1, "tasks/get", params)).json()["error"]["code"], -32021);
    house.serve.stop(&house.task.id);
    let over = get(&agent, &id);
    assert_eq!(over["error"]["data"]["dev.portreeve/refusal"]["word"], "task_over", "{over}");
    house.approves("lea", &code);
    assert_eq!(house.made(), Vec::<String>::new());
}

#[test]
fn it_outlives_a_restart_at_every_step() {
    let House { mut serve, task, place, shop } = House::new("60s");
    let agent = Agent { can: json!({ "extensions": { TASKS: {} } }), ..Agent::modern(&task, "shop") };
    let (id, code) = begun(&agent.call("act", "v"));
    let again = |old| {
        crate::support::place::Serve::kill(old);
        let serve = place.serve(&[]);
        let agent = Agent { task: serve.rejoin(&task), ..agent.clone() };
        (serve, agent)
    };
    // Before anybody answered.
    let agent_now;
    (serve, agent_now) = again(serve);
    let shown = get(&agent_now, &id);
    assert_eq!(shown["result"]["status"], "working", "{shown}");
    answers(&place, &serve, "lea", &code, true);
    // It goes on from the record.
    let over = ended(&agent_now, &id);
    assert_eq!(
        (&over["status"], &over["result"]["content"][0]["text"]),
        (&json!("completed"), &json!("done v")),
        "{over}"
    );
    assert_eq!(over["result"]["resultType"], "complete", "{over}");
    serve.settled();
    // Once it was done, its content is gone, and never a second effect.
    let (serve, agent_now) = again(serve);
    let over = ended(&agent_now, &id);
    assert_eq!(over["result"]["_meta"]["dev.portreeve/refusal"]["word"], "done_already", "{over}");
    assert_eq!(shop.values(), ["v"]);
    drop(serve);
}

#[test]
fn what_nobody_answers_in_time_is_over_and_asked_again_by_no_look() {
    let house = House::with("60s", &House::purpose("ask = { who = \"leads\", within = \"1s\" }"), echo);
    let agent = able(&house);
    let (id, _) = begun(&agent.call("act", "v"));
    let over = ended(&agent, &id);
    assert_eq!(over["status"], "completed", "{over}");
    assert!(over["result"]["content"][0]["text"].as_str().unwrap().contains("in time"), "{over}");
    drop(get(&agent, &id));
    let House { serve, task, place, shop } = house;
    serve.kill();
    let serve = place.serve(&[]);
    let agent = Agent { task: serve.rejoin(&task), ..agent };
    assert_eq!(get(&agent, &id)["result"]["status"], "completed");
    assert_eq!(place.record().events("held").count(), 1);
    assert_eq!(shop.values(), Vec::<String>::new());
    // Whoever waits inside the request hears it too, and that a repeat asks anew.
    let told = Agent::modern(&agent.task, "shop").call("act", "w");
    assert_eq!(word(&told), "approval_needed", "{told}");
    assert!(super::house::text(&told).contains("ask anew"), "{told}");
}

#[test]
fn a_task_that_ended_with_nothing_sent_begins_anew_while_its_question_is_open() {
    let house = House::new("60s");
    let agent = able(&house);
    // What goes on by itself can do nothing for a server, and has its own connection: this one.
    assert_eq!(house.modern().word("free", "w"), "ok");
    let (id, code) = begun(&agent.call("act", "v"));
    house.shop.leave();
    house.approves("lea", &code);
    let over = json!({ "result": ended(&agent, &id)["result"] });
    assert_eq!(word(&over), "withheld", "{over}");
    house.serve.settled();
    house.shop.come_back();
    // The yes is there again, and counts no more once its giver has left.
    house.place.write("policy/users/lea.toml", "accounts = [\"lea\"]\ngroups = [\"others\"]\n");
    house.place.run(&["policy", "apply"]).good();
    let (id, same) = begun(&agent.call("act", "v"));
    assert_eq!(same, code);
    assert_eq!(get(&agent, &id)["result"]["status"], "working", "people are asked");
    house.approves("sam", &code);
    assert_eq!(ended(&agent, &id)["result"]["content"][0]["text"], "done v");
    assert_eq!(house.made(), ["w", "v"]);
}
