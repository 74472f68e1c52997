//! Ways 2 to 4: a page to open, or words; and what comes of repeating the call.

use super::house::{House, code, echo, hold, text};
use crate::{
    checklist::agent::Agent,
    support::{place::word, reader::recounted, until, upstream::DONE},
};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

#[test]
fn an_agent_of_either_era_is_told_what_waits_and_repeating_the_call_goes_on() {
    for modern in [true, false] {
        let house = House::new("0s");
        let agent = if modern { house.modern() } else { house.legacy() };
        let told = agent.call("act", "v");
        let (hold, code) = (hold(&told), code(&told));
        assert_eq!((&told["result"]["isError"], word(&told).as_str()), (&json!(true), "approval_needed"), "{told}");
        assert!(told["result"].get("structuredContent").is_none(), "{told}");
        let url = format!("http://localhost:{}/approvals/{code}", house.serve.address.port());
        assert_eq!((&hold["url"], &hold["who"]), (&json!(url), &json!(["leads"])));
        assert!(hold["until"].as_str().unwrap().ends_with('Z') && hold["hold"].as_str().unwrap().starts_with("hold_"));
        assert!(text(&told).contains(&code) && text(&told).contains(&url), "{told}");
        assert!(text(&told).ends_with("Repeat exactly this call to go on."), "{told}");

        // The same question, however often it is repeated; others have their own.
        assert_eq!(super::house::code(&agent.call("act", "v")), code);
        assert_ne!(super::house::code(&agent.call("act", "w")), code);
        assert_eq!(house.made(), Vec::<String>::new());
        // Somebody who is not asked says yes: nothing changes.
        house.approves("eve", &code);
        assert_eq!(super::house::code(&agent.call("act", "v")), code);
        house.approves("lea", &code);
        let done = agent.call("act", "v");
        assert_eq!(text(&done), "done v", "{done}");
        // Again: the same answer, and never a second effect.
        let again = agent.call("act", "v");
        assert_eq!(again["result"], done["result"]);
        assert_eq!(house.made(), ["v"]);
        house.serve.settled();
        let record = house.place.record();
        assert_eq!(record.call("v").ends, ["ok"]);
        assert_eq!(record.events("held").count(), 2);
    }
}

#[test]
fn whoever_waits_is_answered_the_moment_that_somebody_says_yes_or_no() {
    for (yes, expected) in [(true, "ok"), (false, "approval_declined")] {
        let house = House::new("60s");
        let agent = house.modern();
        let waits = {
            let agent = agent.clone();
            thread::spawn(move || {
                let params = json!({ "name": "act", "arguments": { "value": "v" }, "_meta": { "progressToken": "p" } });
                agent.talk("tools/call", params).rest()
            })
        };
        let code = house.asked();
        house.answers("lea", &code, yes);
        let told = waits.join().unwrap();
        let (last, on_the_way) = told.split_last().unwrap();
        assert_eq!(word(last), expected, "{told:?}");
        let waiting = on_the_way.iter().find(|one| one["method"] == "notifications/progress").unwrap();
        assert_eq!(waiting["params"]["progressToken"], "p");
        assert_eq!(waiting["params"]["message"], format!("waiting for {code}"));
        assert_eq!(house.made().len(), usize::from(yes));
        if !yes {
            assert!(last.to_string().contains("because"), "why, in the words of whoever said no: {last}");
            assert_eq!(agent.word("act", "v"), "approval_declined", "the same call is put to nobody again");
        }
    }
}

#[test]
fn two_of_two_have_to_agree_and_a_stop_ends_the_wait() {
    let house = House::with("60s", &House::purpose("ask = { who = \"leads\", people = 2 }"), echo);
    let agent = house.modern();
    let call = |value: &'static str| {
        let agent = agent.clone();
        thread::spawn(move || agent.call("act", value))
    };
    let waits = call("v");
    let code = house.asked();
    house.approves("lea", &code);
    house.approves("lea", &code);
    until("the first yes is recorded", || house.place.record().events("granted").count() == 1);
    assert!(!waits.is_finished());
    house.approves("sam", &code);
    assert_eq!(word(&waits.join().unwrap()), "ok");
    let waits = call("w");
    until("it is asked", || house.place.record().events("held").count() == 2);
    house.serve.stop(&house.task.id);
    assert_eq!(word(&waits.join().unwrap()), "task_over");
    assert_eq!(house.made(), ["v"]);
}

#[test]
fn identical_calls_at_once_are_one_effect_with_one_answer() {
    let goes_on = Arc::new(AtomicBool::new(false));
    let may_answer = Arc::clone(&goes_on);
    let house = House::with("60s", &House::purpose("ask = { who = \"leads\" }"), move |received, wire| {
        if received.tool == "act" {
            until("it may answer", || may_answer.load(Ordering::Relaxed));
        }
        echo(received, wire)
    });
    let agents = [house.modern(), house.legacy(), house.modern(), Agent::modern(&house.task, "")];
    let waits: Vec<_> = agents
        .into_iter()
        .map(|agent| {
            let tool = if agent.path == "/mcp" { "shop__act" } else { "act" };
            thread::spawn(move || agent.call(tool, "v"))
        })
        .collect();
    let code = house.asked();
    house.approves("lea", &code);
    house.shop.wait_for_calls(1);
    goes_on.store(true, Ordering::Relaxed);
    for answer in waits {
        assert_eq!(text(&answer.join().unwrap()), "done v");
    }
    assert_eq!(house.made(), ["v"]);
}

#[test]
fn what_failed_before_a_byte_left_gives_the_yes_back() {
    for (wait, restarts) in [("0s", false), ("60s", false), ("0s", true)] {
        let house = House::new(wait);
        let (agent, other) = (house.modern(), house.legacy());
        // The connection is ready, so that it is only the call itself that finds nobody.
        assert_eq!(agent.word("free", "w"), "ok");
        let first = {
            let agent = agent.clone();
            thread::spawn(move || agent.word("act", "v"))
        };
        let code = house.asked();
        house.shop.leave();
        house.approves("lea", &code);
        let first = first.join().unwrap();
        assert_eq!(first, if wait == "0s" { "approval_needed" } else { "withheld" });
        assert_eq!(other.word("act", "v"), "withheld");
        assert_eq!(other.word("act", "v"), "withheld", "as often as it is tried");
        house.serve.settled();
        let unsent = house.place.record().calls().into_values().filter(|call| call.value == "v");
        assert!(unsent.map(|call| call.ends).all(|ends| ends == ["not_sent"]));
        house.shop.come_back();

        let House { mut serve, mut task, place, shop } = house;
        if restarts {
            serve.kill();
            serve = place.serve(&[]);
            task = serve.rejoin(&task);
        }
        // No new question: the yes is still there, and is used once.
        for agent in [Agent::modern(&task, "shop"), Agent::legacy(&task, "shop", json!({}))] {
            assert_eq!(text(&agent.call("act", "v")), "done v");
        }
        assert_eq!(shop.values(), ["w", "v"]);
        serve.settled();
        let record = place.record();
        assert_eq!((record.events("held").count(), record.events("granted").count()), (1, 1));
        let made = record.calls().into_values().filter(|call| call.value == "v" && call.ends == ["ok"]);
        assert_eq!(made.count(), 1);
        drop(recounted(&place.data()));
    }
}

#[test]
fn a_connector_that_cannot_be_made_ready_uses_no_yes() {
    let house = House::new("0s");
    let agent = house.modern();
    let code = code(&agent.call("act", "v"));
    house.approves("lea", &code);
    house.shop.leave();
    assert_eq!(agent.word("act", "v"), "connector_unreachable");
    assert!(house.place.record().calls().is_empty(), "nothing is reserved while something is made ready");
    house.shop.come_back();
    assert_eq!(text(&agent.call("act", "v")), "done v");
    assert_eq!(house.made(), ["v"]);
    assert_eq!(house.place.record().events("held").count(), 1);
}

#[test]
fn what_may_have_happened_is_spent_and_said_so() {
    let broken = Arc::new(AtomicBool::new(true));
    let breaks = Arc::clone(&broken);
    let house = House::with("0s", &House::purpose("ask = { who = \"leads\" }"), move |received, wire| {
        if received.tool == "act" && breaks.load(Ordering::Relaxed) {
            wire.close();
            return true;
        }
        echo(received, wire)
    });
    let agent = house.modern();
    let asked = code(&agent.call("act", "v"));
    house.approves("lea", &asked);
    assert_eq!(word(&agent.call("act", "v")), "outcome_unknown");
    broken.store(false, Ordering::Relaxed);
    house.serve.settled();
    let told = agent.call("act", "v");
    assert_eq!(word(&told), "outcome_unknown", "{told}");
    assert!(text(&told).contains("was not made again"), "{told}");
    assert_eq!(house.made(), ["v"]);
}

#[test]
fn an_answer_that_is_not_kept_is_told_by_its_end_also_after_a_restart() {
    let long = DONE.replace("done", &"x".repeat(70 << 10));
    let house = House::with("0s", &House::purpose("ask = { who = \"leads\" }"), move |received, wire| {
        if received.tool == "act" {
            wire.answer(&long);
            return true;
        }
        false
    });
    let agent = house.modern();
    house.approves("lea", &code(&agent.call("act", "v")));
    assert_eq!(word(&agent.call("act", "v")), "ok");
    house.serve.settled();
    let again = agent.call("act", "v");
    assert_eq!(word(&again), "done_already", "{again}");
    let effect = house.place.record().call("v").effect;
    assert!(text(&again).contains(&effect) && text(&again).contains("succeeded"), "{again}");
    assert!(again["result"]["_meta"]["dev.portreeve/refusal"]["digest"].is_string());
    let House { serve, task, place, shop } = house;
    serve.kill();
    let serve = place.serve(&[]);
    let agent = Agent::modern(&serve.rejoin(&task), "shop");
    let again = agent.call("act", "v");
    assert_eq!(word(&again), "done_already", "{again}");
    assert!(text(&again).contains(&effect), "{again}");
    assert_eq!(shop.values(), ["v"]);
}

#[test]
fn a_restart_keeps_the_question_and_the_yes() {
    let House { serve, task, place, shop } = House::new("0s");
    let asked = code(&Agent::modern(&task, "shop").call("act", "v"));
    serve.kill();
    let serve = place.serve(&[]);
    let task = serve.rejoin(&task);
    assert_eq!(code(&Agent::modern(&task, "shop").call("act", "v")), asked);
    let house = House { serve, task, place, shop };
    house.approves("lea", &asked);
    let House { serve, task, place, shop } = house;
    serve.kill();
    let serve = place.serve(&[]);
    let agent = Agent::modern(&serve.rejoin(&task), "shop");
    assert_eq!(text(&agent.call("act", "v")), "done v");
    assert_eq!(shop.values(), ["v"]);
}

#[test]
fn a_page_to_open_in_2026_is_brought_back_with_a_sealed_state_and_no_answer_of_the_client_counts() {
    let house = House::new("0s");
    let agent = Agent::asked(true, &house.task, "shop");
    let asked = agent.call("act", "v");
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let requests = asked["result"]["inputRequests"].as_object().unwrap();
    let (key, question) = requests.iter().next().unwrap();
    assert_eq!((requests.len(), &question["method"]), (1, &json!("elicitation/create")));
    assert_eq!(question["params"]["mode"], "url");
    let url = format!("http://localhost:{}/approvals/{key}", house.serve.address.port());
    assert_eq!(question["params"]["url"], url);
    for action in ["accept", "decline", "cancel"] {
        let again = agent.again("act", "v", &asked, json!({ key: { "action": action } }));
        assert_eq!(again["result"]["inputRequests"], asked["result"]["inputRequests"], "{action}: {again}");
    }
    assert_eq!(house.made(), Vec::<String>::new());
    house.approves("lea", key);
    let done = agent.again("act", "v", &asked, json!({ key: { "action": "decline" } }));
    assert_eq!(text(&done), "done v", "{done}");
    // What came of it, however it is repeated.
    assert_eq!(agent.again("act", "v", &asked, json!({}))["result"], done["result"]);
    assert_eq!(agent.call("act", "v")["result"], done["result"]);
    assert_eq!(house.made(), ["v"]);
    let sent = house.shop.calls()[0].json();
    assert!(sent["params"].get("requestState").is_none() && sent["params"].get("inputResponses").is_none(), "{sent}");
}

#[test]
fn a_state_that_is_forged_foreign_or_for_something_else_is_refused_and_that_is_on_the_record() {
    let house = House::new("0s");
    let agent = Agent::asked(true, &house.task, "shop");
    let asked = agent.call("act", "v");
    let state = asked["result"]["requestState"].as_str().unwrap().to_owned();
    let key = asked["result"]["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    house.approves("lea", &key);
    let forged = json!({ "result": { "requestState": format!("{state}A") } });
    let foreign = Agent { task: house.serve.open("work"), ..agent.clone() };
    let elsewhere = Agent { path: "/mcp".to_owned(), ..agent.clone() };
    let refused = [
        agent.again("act", "v", &forged, json!({})),
        agent.again("act", "w", &asked, json!({})),
        agent.again("free", "v", &asked, json!({})),
        foreign.again("act", "v", &asked, json!({})),
        elsewhere.again("shop__act", "v", &asked, json!({})),
    ];
    for answer in &refused {
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert_eq!(answer["error"]["data"]["dev.portreeve/refusal"]["word"], "continuation_unknown", "{answer}");
    }
    assert_eq!(house.made(), Vec::<String>::new());
    until("they are on the record", || {
        let words = house.place.record().refusals();
        words.contains(&"continuation_unknown".to_owned())
    });
    // The state itself is as good as before.
    assert_eq!(text(&agent.again("act", "v", &asked, json!({}))), "done v");
}

#[test]
fn a_page_to_open_in_2025_comes_as_an_error_and_the_session_is_told_when_it_was_answered() {
    let house = House::new("0s");
    let agent = Agent::asked(false, &house.task, "shop");
    let stream = agent.stream();
    let asked = agent.call("act", "v");
    assert_eq!(asked["error"]["code"], -32042, "{asked}");
    let elicitation = &asked["error"]["data"]["elicitations"][0];
    assert_eq!(
        (&elicitation["mode"], asked["error"]["data"]["elicitations"].as_array().unwrap().len()),
        (&json!("url"), 1)
    );
    let code = elicitation["elicitationId"].as_str().unwrap();
    assert!(elicitation["url"].as_str().unwrap().ends_with(&format!("/approvals/{code}")), "{asked}");
    assert_eq!(agent.call("act", "v")["error"], asked["error"], "as long as nobody has answered");
    house.approves("lea", code);
    let told = std::iter::from_fn(|| stream.next()).find(|one| one["method"] == "notifications/elicitation/complete");
    assert_eq!(told.unwrap()["params"]["elicitationId"], code);
    assert_eq!(text(&agent.call("act", "v")), "done v");
    assert_eq!(house.made(), ["v"]);
}

#[test]
fn nobody_to_ask_is_said_at_once_with_a_link() {
    let purpose = House::purpose("ask = { who = \"leads\" }").replace("[task]\n", "[task]\non_hold = \"deny\"\n");
    let house = House::with("60s", &purpose, echo);
    let told = house.modern().call("act", "v");
    assert_eq!(word(&told), "nobody_to_ask", "{told}");
    let url = format!("http://localhost:{}/tasks/{}", house.serve.address.port(), house.task.id);
    assert_eq!(told["result"]["_meta"]["dev.portreeve/refusal"]["url"], url, "{told}");
    assert!(text(&told).contains(&url), "{told}");
}

#[test]
fn a_run_that_waits_leaves_room_for_its_other_calls() {
    let house = House::new("60s");
    let agent = house.modern();
    let waits: Vec<_> = (0..40)
        .map(|_| {
            let agent = agent.clone();
            thread::spawn(move || agent.call("act", "v"))
        })
        .collect();
    let code = house.asked();
    until("those beyond the bound are told at once", || waits.iter().filter(|one| one.is_finished()).count() >= 24);
    assert_eq!(word(&agent.call("free", "w")), "ok");
    house.approves("lea", &code);
    let words: Vec<String> = waits.into_iter().map(|one| word(&one.join().unwrap())).collect();
    assert_eq!(words.iter().filter(|word| *word == "ok").count(), 16, "{words:?}");
    assert_eq!(house.made(), ["w", "v"]);
}
