//! What connectors ask of agents: judged before they are put, and when the answers leave; sealed on the way.

use super::{agent::Agent, shop::House};
use crate::support::place::word;
use serde_json::{Value, json};

fn accept(name: &str) -> Value {
    json!({ "who": { "action": "accept", "content": { "name": name } } })
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

/// The answer under the key that the question has with this connector
fn under(asked: &Value, answer: &Value) -> Value {
    let key = asked["result"]["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    json!({ key: answer["who"] })
}

#[test]
fn item_50_51_and_92_every_agent_is_asked_in_its_own_way_by_every_connector() {
    for modern_connector in [true, false] {
        let house = House::new(modern_connector);
        for modern_agent in [true, false] {
            let what = format!("agent {modern_agent}, connector {modern_connector}");
            let agent = Agent::asked(modern_agent, &house.task, "shop");
            let params = json!({ "name": "ask", "arguments": { "value": what } });
            let done = if modern_agent {
                let asked = agent.ask("tools/call", params);
                assert_eq!(asked["result"]["resultType"], "input_required", "{what}: {asked}");
                let questions = asked["result"]["inputRequests"].as_object().unwrap();
                let question = questions.values().next().unwrap();
                assert_eq!(question["method"], "elicitation/create", "{what}: {asked}");
                assert_eq!(question["params"]["message"], "Who are you?");
                assert!(!asked.to_string().contains("the server's own"), "sealed: {asked}");
                agent.again("ask", &what, &asked, under(&asked, &accept("Lea")))
            } else {
                let talk = agent.talk("tools/call", params);
                let question = talk.next().unwrap();
                assert_eq!(question["method"], "elicitation/create", "{what}: {question}");
                assert_eq!(question["params"]["message"], "Who are you?", "{question}");
                let taken = agent.answer(&question, accept("Lea")["who"].clone());
                assert_eq!((taken.status, taken.body.len()), (202, 0), "{what}");
                // An answer counts once.
                assert_eq!(agent.answer(&question, accept("Eve")["who"].clone()).status, 400);
                talk.next().unwrap_or_else(|| panic!("{what}: no answer"))
            };
            assert_eq!(text(&done), "\"the server's own\" \"Lea\"", "{what}: {done}");
        }
        house.serve.settled();
        let calls = house.place.record().calls();
        let answers = calls.values().filter(|call| call.tool == "shop.elicitation/create");
        assert_eq!(answers.map(|call| call.ends.join(" ")).collect::<Vec<_>>(), ["ok", "ok"], "an effect of its own");
    }
}

#[test]
fn item_52_and_53_what_an_agent_brings_back_is_of_this_call_or_of_none() {
    let house = House::new(true);
    let agent = Agent::asked(true, &house.task, "shop");
    let asked = agent.call("ask", "v");
    let state = asked["result"]["requestState"].as_str().unwrap().to_owned();
    let with = |state: &str| {
        let mut asked = asked.clone();
        asked["result"]["requestState"] = json!(state);
        asked
    };
    let answers = accept("Lea");
    let mut wrong = Vec::new();
    for at in [0, state.len() / 2, state.len() - 1] {
        let mut changed = state.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        wrong.push(agent.again("ask", "v", &with(&String::from_utf8(changed).unwrap()), answers.clone()));
    }
    wrong.push(agent.again("ask", "v", &with("the server's own"), answers.clone()));
    wrong.push(agent.again("ask", "v", &with(""), answers.clone()));
    wrong.push(agent.again("ask", "other arguments", &asked, answers.clone()));
    wrong.push(agent.again("act", "v", &asked, answers.clone()));
    wrong.push(agent.again("once", "v", &asked, answers.clone()));
    let other = Agent { task: house.serve.open("work"), ..agent.clone() };
    wrong.push(other.again("ask", "v", &asked, answers.clone()));
    for answer in wrong {
        assert!(answer["error"]["code"].is_i64(), "{answer}");
    }
    let calls = |house: &House| house.shop.calls().len();
    assert_eq!(calls(&house), 1, "nothing of it has left");
    // Also what is no answer to the question, or no answer at all.
    let none = agent.again("ask", "v", &asked, json!({ "who": { "action": "perhaps" } }));
    assert_eq!(none["error"]["code"], -32602, "{none}");
    assert_eq!(calls(&house), 1);

    assert_eq!(text(&agent.again("ask", "v", &asked, answers.clone())), "\"the server's own\" \"Lea\"");
    assert_eq!(calls(&house), 2);
    let call = house.shop.calls().pop().unwrap().json();
    assert_eq!(call["params"]["requestState"], "the server's own");
    assert_eq!(call["params"]["inputResponses"], answers);
    // It was used up.
    let again = agent.again("ask", "v", &asked, answers);
    assert_eq!(word(&again), "continuation_unknown", "{again}");
    assert_eq!(calls(&house), 2);
}

#[test]
fn item_54_missing_answers_are_asked_for_again_and_unknown_ones_left_out() {
    for modern in [true, false] {
        let house = House::new(modern);
        let agent = Agent::asked(true, &house.task, "shop");
        let asked = agent.call("ask", "v");
        let again = agent.again("ask", "v", &asked, json!({ "unheard-of": { "action": "accept" } }));
        assert_eq!(again["result"]["resultType"], "input_required", "{modern}: {again}");
        let mut answers = under(&again, &accept("Lea"));
        answers["unheard-of"] = json!({ "action": "accept" });
        let done = agent.again("ask", "v", &again, answers);
        assert_eq!(text(&done), "\"the server's own\" \"Lea\"", "{modern}: {done}");
        assert!(house.shop.received().iter().all(|one| !one.json().to_string().contains("unheard-of")));
    }
}

#[test]
fn item_53_an_answer_that_the_purpose_does_not_allow_never_leaves() {
    for modern in [true, false] {
        let house = House::new(modern);
        let agent = Agent::asked(true, &house.task, "shop");
        let asked = agent.call("ask", "v");
        let iban = json!({ "who": { "action": "accept", "content": { "name": "Lea", "iban": "SECRET" } } });
        let refused = agent.again("ask", "v", &asked, under(&asked, &iban));
        if modern {
            assert_eq!(word(&refused), "argument_outside_task", "{refused}");
            // The call still waits for an answer that may leave.
            let done = agent.again("ask", "v", &asked, accept("Lea"));
            assert_eq!(text(&done), "\"the server's own\" \"Lea\"");
        } else {
            assert_eq!(text(&refused), "\"the server's own\" null nothing", "its connector is told no: {refused}");
        }
        let all: Vec<String> = house.shop.received().iter().map(|one| one.json().to_string()).collect();
        assert!(!all.iter().any(|one| one.contains("SECRET")), "{all:?}");
        house.serve.settled();
        assert!(house.place.record().refusals().contains(&"argument_outside_task".to_owned()));
    }
}

#[test]
fn item_53_a_question_that_the_purpose_does_not_allow_never_reaches_the_agent() {
    for modern_connector in [true, false] {
        let house = House::new(modern_connector);
        for modern_agent in [true, false] {
            for pries in ["roots", "address"] {
                let what = format!("agent {modern_agent}, connector {modern_connector}, {pries}");
                let agent = Agent::asked(modern_agent, &house.task, "shop");
                let params = json!({ "name": "pry", "arguments": { "value": pries } });
                let messages = agent.talk("tools/call", params).rest();
                assert_eq!(messages.len(), 1, "{what}: {messages:?}");
                assert_ne!(messages[0]["result"]["resultType"], "input_required", "{what}");
                match (modern_connector, pries) {
                    (false, _) => assert_eq!(text(&messages[0]), "\"the server's own\" null nothing", "{what}"),
                    // It was told that nobody has roots, and asked all the same.
                    (true, "roots") => assert_eq!(word(&messages[0]), "outcome_unknown", "{what}: {messages:?}"),
                    (true, _) => assert_eq!(word(&messages[0]), "argument_not_named", "{what}: {messages:?}"),
                }
            }
        }
        for received in house.shop.received() {
            let told = received.json();
            let meta = &told["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
            let told = if told["method"] == "initialize" { &told["params"]["capabilities"] } else { meta };
            assert!(told.get("roots").is_none() && told.get("sampling").is_none(), "what may not be asked: {told}");
        }
        house.serve.settled();
        assert!(house.place.record().refusals().contains(&"argument_not_named".to_owned()), "it is on the record");
    }
}

#[test]
fn item_53_a_call_of_several_legs_counts_once() {
    for modern in [true, false] {
        let house = House::new(modern);
        let agent = Agent::asked(true, &house.task, "shop");
        let asked = agent.call("once", "v");
        let done = agent.again("once", "v", &asked, under(&asked, &accept("Lea")));
        assert_eq!(text(&done), "\"the server's own\" \"Lea\"", "{modern}: {done}");
        assert_eq!(agent.word("once", "w"), "count_spent");
        let entries = house.place.record().calls().into_values().filter(|call| call.tool == "shop.once");
        let entries: Vec<usize> = entries.map(|call| call.entries.len()).collect();
        assert!(!entries.is_empty(), "{entries:?}");
    }
}

#[test]
fn item_50_and_74_an_agent_is_asked_nothing_that_it_did_not_offer() {
    for modern_connector in [true, false] {
        let house = House::new(modern_connector);
        for agent in [Agent::modern(&house.task, "shop"), Agent::legacy(&house.task, "shop", json!({}))] {
            let messages = agent.talk("tools/call", json!({ "name": "ask", "arguments": { "value": "v" } })).rest();
            assert_eq!(messages.len(), 1, "{messages:?}");
            assert_ne!(messages[0]["result"]["resultType"], "input_required");
            assert!(messages[0].get("method").is_none(), "{messages:?}");
        }
    }
}

#[test]
fn item_56_a_held_call_is_resumed_by_its_own_run_and_ends_with_its_task() {
    let house = House::new(false);
    let agent = Agent::asked(true, &house.task, "shop");
    let asked = agent.call("ask", "v");
    let answers = under(&asked, &accept("Lea"));
    let other = Agent { task: house.serve.open("work"), ..agent.clone() };
    let wrong = other.again("ask", "v", &asked, answers.clone());
    assert_eq!(wrong["error"]["code"], -32602, "{wrong}");
    assert!(house.open.is_read("tools/call"), "the connector still waits");
    house.serve.stop(&house.task.id);
    let over = agent.again("ask", "v", &asked, answers);
    // However the end of the call, the stop and the request meet: the answer does not leave.
    let ended = ["task_over", "continuation_unknown", "outcome_unknown", "ok", "failed"];
    assert!(ended.contains(&word(&over).as_str()), "{over}");
    assert_eq!(house.shop.received().iter().filter(|one| one.json()["result"].is_object()).count(), 0);
}
