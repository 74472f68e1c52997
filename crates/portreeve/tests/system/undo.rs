//! What a task did is taken back: planned from its record, played through the same gate, resumed after a crash.

use crate::support::{
    place::{PROGRAM, Place, Ran, Running, Serve, Task, word},
    upstream::{Gate, Received, Upstream, Wire},
};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// How the shop takes a cancellation
#[derive(Clone, Copy)]
enum Mood {
    Good,
    Fails,
    Breaks,
    Hangs,
    HangsLast,
    Deaf,
}

/// A shop that makes things and cancels them, and what mood it is in
struct Shop {
    upstream: Upstream,
    mood: Arc<AtomicU8>,
    gate: Arc<Gate>,
}

impl Shop {
    fn new() -> Self {
        let (mood, gate) = (Arc::new(AtomicU8::new(0)), Arc::new(Gate::default()));
        let (moods, held) = (Arc::clone(&mood), Arc::clone(&gate));
        let script = move |received: &Received, wire: &mut Wire| {
            if received.method != "tools/call" {
                if moods.load(Ordering::SeqCst) == 5 {
                    held.wait();
                }
                return false;
            }
            let made = json!({ "id": format!("id-{}", received.value) });
            let done = json!({ "content": [], "structuredContent": made }).to_string();
            match (received.tool.as_str(), moods.load(Ordering::SeqCst)) {
                ("cancel", 1) => {
                    wire.answer(r#"{"content":[{"type":"text","text":"it has left the house"}],"isError":true}"#)
                }
                ("cancel", 2) => wire.close(),
                ("cancel", mood) if mood == 3 || (mood == 4 && received.value == "id-a") => {
                    held.wait();
                    wire.answer(&done);
                }
                _ => wire.answer(&done),
            }
            true
        };
        Self { upstream: Upstream::http(&["make", "note", "cancel"], script), mood, gate }
    }

    fn is(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    /// What was cancelled, in order
    fn cancelled(&self) -> Vec<String> {
        let cancels = self.upstream.calls().into_iter().filter(|call| call.tool == "cancel");
        cancels.map(|call| call.value).collect()
    }

    fn place(&self) -> Place {
        let place = Place::new();
        let tools = "\n[tools.make]\nclass = \"write\"\nundo = { tool = \"cancel\", args = { value = \"{result.id}\" } }\n\
                     \n[tools.note]\nclass = \"write\"\n\n[tools.cancel]\nclass = \"execute\"\n";
        place.write("policy/connectors/shop.toml", &format!("{}{tools}", self.upstream.reach()));
        let purpose = "about = \"Make things\"\nowner = \"tests\"\n\n[open]\nagents = [\"assistant\"]\nusers = \"none\"\n\n\
                       [task]\nexpires_after = \"1h\"\nstanding = [\"read\", \"write\"]\n\n\
                       [[allow]]\nname = \"make\"\nuse = [\"shop.make\"]\nwhere = { value = { any = true } }\n\n\
                       [[allow]]\nname = \"note\"\nuse = [\"shop.note\"]\nwhere = { value = { any = true } }\n";
        place.write("policy/purposes/work.toml", purpose);
        place
    }
}

/// A task that made `a` and `b`, wrote a note between them, and is over
fn worked(serve: &Serve) -> Task {
    let task = serve.open("work");
    for (tool, value) in [("make", "a"), ("note", "n"), ("make", "b")] {
        assert_eq!(task.word("shop", tool, value), "ok");
    }
    serve.calls_settled(&task);
    serve.stop(&task.id);
    task
}

fn undo(place: &Place, task: &Task, more: &[&str]) -> Ran {
    place.run(&[&["task", "undo", &task.id], more].concat())
}

fn plan(place: &Place, task: &Task) -> Value {
    place.json(&["task", "undo", &task.id, "--plan"])
}

/// Each deed of a plan: its arguments' value, and the value that takes it back or the word for why nothing does
fn deeds(plan: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let deed = |deed: &Value| {
        let back = deed.pointer("/undo/arguments/value").or_else(|| deed.pointer("/why/word"));
        (text(&deed["arguments"]["value"]), text(back.unwrap()))
    };
    plan["deeds"].as_array().unwrap().iter().map(deed).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn what_was_done_is_taken_back_backwards_and_once() {
    let shop = Shop::new();
    let place = shop.place();
    let serve = place.serve(&["shop"]);
    let task = worked(&serve);
    let planned = plan(&place, &task);
    assert_eq!(deeds(&planned), pairs(&[("b", "id-b"), ("n", "undeclared"), ("a", "id-a")]));
    assert_eq!((&planned["calls"], &planned["live"], &planned["under_way"]), (&json!(2), &json!(false), &Value::Null));

    // Nobody is there to say yes.
    let asked = undo(&place, &task, &[]);
    assert!(asked.code == 1 && asked.err.contains("not_confirmed"), "{asked:?}");
    assert_eq!(shop.cancelled(), Vec::<String>::new());

    let done = undo(&place, &task, &["--yes"]).good();
    assert_eq!(shop.cancelled(), ["id-b", "id-a"]);
    assert!(done.out.contains("TAKEN BACK BY") && done.out.contains("the policy names no undo for it"), "{done:?}");
    assert!(done.out.contains("1. shop.cancel(value: \"id-b\") - done"), "{done:?}");
    assert!(done.err.contains("All of it is undone: 2 calls."), "{done:?}");

    let planned = plan(&place, &task);
    assert_eq!(deeds(&planned), pairs(&[("b", "undone"), ("n", "undeclared"), ("a", "undone")]));
    let again = undo(&place, &task, &["--yes"]);
    assert_eq!((again.code, shop.cancelled().len()), (1, 2), "the note is left: {again:?}");
    assert!(again.err.contains("Nothing of it can be undone; 1 is left."), "{again:?}");

    // A task of its own, of the same agent, which is over; who opened it is on the record.
    let record = place.record();
    let began: Vec<&Value> = record.events("began").map(|(_, began)| began).collect();
    assert_eq!(began.len(), 2);
    assert_eq!((&began[1]["undoes"]["of"], &began[1]["agent"]), (&json!(task.id), &began[0]["agent"]));
    let by = began[1]["task"].as_str().unwrap();
    assert_eq!(record.stops(by), ["ended"]);
    let shown = undo(&place, &Task { id: by.to_owned(), ..task.clone() }, &["--yes"]);
    assert!(shown.code == 8 && shown.err.contains("undo_impossible"), "{shown:?}");
    place.run(&["audit", "verify"]).good();
}

#[test]
fn what_fails_half_way_is_resumed() {
    let shop = Shop::new();
    let place = shop.place();
    let serve = place.serve(&["shop"]);
    let task = worked(&serve);
    shop.is(Mood::Fails);
    let stopped = undo(&place, &task, &["--yes"]);
    assert_eq!((stopped.code, shop.cancelled()), (1, vec!["id-b".to_owned()]), "nothing goes on behind it");
    assert!(stopped.out.contains("FAILED: it has left the house"), "{stopped:?}");
    assert_eq!(deeds(&plan(&place, &task)), pairs(&[("b", "id-b"), ("n", "undeclared"), ("a", "id-a")]));

    // One call is left out by name, and later taken back after all.
    let first = plan(&place, &task)["deeds"][0]["effect"].as_str().unwrap().to_owned();
    shop.is(Mood::Good);
    undo(&place, &task, &["--yes", "--skip", &first]).good();
    assert_eq!(deeds(&plan(&place, &task)), pairs(&[("b", "id-b"), ("n", "undeclared"), ("a", "undone")]));
    undo(&place, &task, &["--yes"]).good();
    assert_eq!(shop.cancelled(), ["id-b", "id-a", "id-b"]);
    let none = undo(&place, &task, &["--yes", "--skip", "fx_0000000000000"]);
    assert!(none.code == 3 && none.err.contains("effect_unknown"), "{none:?}");
}

#[test]
fn what_is_not_known_stops_it_until_somebody_says_to_go_on() {
    let shop = Shop::new();
    let place = shop.place();
    let serve = place.serve(&["shop"]);
    let task = worked(&serve);
    shop.is(Mood::Breaks);
    let stopped = undo(&place, &task, &["--yes"]);
    assert!(stopped.code == 1 && stopped.out.contains("NOT KNOWN whether it happened"), "{stopped:?}");
    assert_eq!(shop.cancelled(), ["id-b"]);
    shop.is(Mood::Good);
    let planned = plan(&place, &task);
    assert_eq!(deeds(&planned), pairs(&[("b", "doubtful"), ("n", "undeclared"), ("a", "id-a")]));
    let blocked = undo(&place, &task, &["--yes"]);
    assert!(blocked.code == 8 && blocked.err.contains("undo_doubtful"), "{blocked:?}");
    let doubtful = planned["deeds"][0]["effect"].as_str().unwrap();
    assert!(blocked.err.contains(doubtful) && stopped.err.contains(&format!("--skip {doubtful}")), "{stopped:?}");
    undo(&place, &task, &["--yes", "--skip", doubtful]).good();
    assert_eq!(shop.cancelled(), ["id-b", "id-a"], "never a second time");
}

#[test]
fn a_crash_in_the_middle_is_gone_on_from() {
    for first in [false, true] {
        let shop = Shop::new();
        let place = shop.place();
        let serve = place.serve(&["shop"]);
        let task = worked(&serve);
        // In the first call of the undo, or in the second while the first one is done and settled.
        shop.is(if first { Mood::Hangs } else { Mood::HangsLast });
        let running = Running::start(place.command(PROGRAM, &["task", "undo", &task.id, "--yes"]));
        shop.upstream.wait_for_calls(if first { 4 } else { 5 });
        serve.kill();
        running.end();
        shop.is(Mood::Good);
        shop.gate.open();
        let cancelled = shop.cancelled().len();

        let serve = place.serve(&[]);
        let under_way = plan(&place, &task)["under_way"].as_str().unwrap_or_default().to_owned();
        assert!(under_way.starts_with("task_"), "{under_way}");
        let (_, shown) = serve.admin("GET", &format!("/v1/tasks/{}", task.id), &Value::Null);
        let (status, stands) = serve.admin("GET", &format!("/v1/tasks/{under_way}/undo"), &Value::Null);
        assert_eq!((status, &stands["state"]), (200, &json!("interrupted")), "{shown} {stands}");
        let (_, shown) = serve.admin("GET", &format!("/v1/tasks/{under_way}"), &Value::Null);
        assert_eq!(shown["undoes"], task.id, "{shown}");

        // What was under way when it died is not known, and is never made again by us.
        let again = undo(&place, &task, &["--yes"]);
        assert_eq!(again.code, 1, "{again:?}");
        assert_eq!(shop.cancelled().len(), cancelled);
        let planned = plan(&place, &task);
        let (b, a) = if first { ("doubtful", "id-a") } else { ("undone", "doubtful") };
        assert_eq!(deeds(&planned), pairs(&[("b", b), ("n", "undeclared"), ("a", a)]));
    }
}

#[test]
fn a_crash_between_two_calls_costs_nothing() {
    let shop = Shop::new();
    let place = shop.place();
    let serve = place.serve(&["shop"]);
    let task = worked(&serve);
    // The task that undoes is open, and nothing has left when Portreeve dies.
    shop.is(Mood::Deaf);
    let running = Running::start(place.command(PROGRAM, &["task", "undo", &task.id, "--yes"]));
    crate::support::until("the undo is open", || plan(&place, &task)["under_way"].is_string());
    let first = plan(&place, &task)["under_way"].clone();
    serve.kill();
    running.end();
    shop.is(Mood::Good);
    shop.gate.open();
    let _serve = place.serve(&[]);
    assert!(shop.cancelled().is_empty());
    let again = undo(&place, &task, &["--yes"]).good();
    assert_eq!(shop.cancelled(), ["id-b", "id-a"], "{again:?}");
    assert!(again.err.contains(first.as_str().unwrap()), "the same task goes on: {again:?}");
    assert_eq!(place.record().events("began").count(), 2);
}

#[test]
fn two_at_once_are_one() {
    let shop = Shop::new();
    let place = shop.place();
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    for value in ["a", "b"] {
        assert_eq!(task.word("shop", "make", value), "ok");
    }
    serve.calls_settled(&task);
    serve.stop(&task.id);
    shop.is(Mood::Hangs);
    // Whoever comes first begins; the others go on with it, or find nothing left.
    let running: Vec<Running> =
        (0..3).map(|_| Running::start(place.command(PROGRAM, &["task", "undo", &task.id, "--yes"]))).collect();
    // Each has shown the whole plan before anything of it is done: the head, and a line for each call.
    for running in &running {
        (0..3).for_each(|_| assert!(running.lines.next().is_some()));
    }
    shop.upstream.wait_for_calls(3);
    shop.gate.open();
    assert!(running.into_iter().all(|running| running.end() == 0));
    assert_eq!(shop.cancelled(), ["id-b", "id-a"]);
    let planned = plan(&place, &task);
    let stale = json!({ "digest": planned["digest"], "skip": [] });
    let (status, answer) = serve.admin("POST", &format!("/v1/tasks/{}/undo", task.id), &stale);
    assert_eq!((status, &answer["error"]["word"]), (409, &json!("undo_impossible")), "{answer}");
}

#[test]
fn what_was_shown_is_what_is_done() {
    let shop = Shop::new();
    let place = shop.place();
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    assert_eq!(task.word("shop", "make", "a"), "ok");
    serve.calls_settled(&task);
    let planned = plan(&place, &task);
    assert_eq!(planned["live"], true);
    assert_eq!(task.word("shop", "make", "b"), "ok");
    serve.calls_settled(&task);
    let path = format!("/v1/tasks/{}/undo", task.id);
    let (status, answer) = serve.admin("POST", &path, &json!({ "digest": planned["digest"] }));
    assert_eq!((status, &answer["error"]["word"]), (409, &json!("plan_changed")), "{answer}");
    assert!(shop.cancelled().is_empty());
    let (status, answer) = serve.admin("POST", "/v1/tasks/task_0000000000000/undo", &json!({ "plan_only": true }));
    assert_eq!((status, &answer["error"]["word"]), (404, &json!("task_unknown")), "{answer}");
}

#[test]
fn no_agent_undoes_and_no_token_is_given_for_an_undo_that_could_do_more() {
    let shop = Shop::new();
    let place = shop.place();
    let serve = place.serve(&["shop"]);
    let task = worked(&serve);
    // From inside a task the administration does not answer.
    let script = format!("{PROGRAM} --data {} task undo {} --yes", place.data().display(), task.id);
    let inside = place.run(&["exec", "--purpose", "work", "--", "bash", "-c", &script]);
    assert_ne!(inside.code, 0, "{inside:?}");
    assert!(shop.cancelled().is_empty(), "{inside:?}");

    // Whoever gets hold of the token of an undo can call just what is left of it.
    shop.is(Mood::Hangs);
    let running = Running::start(place.command(PROGRAM, &["task", "undo", &task.id, "--yes"]));
    shop.upstream.wait_for_calls(4);
    let undoing = plan(&place, &task)["under_way"].as_str().unwrap().to_owned();
    let token = serve.rejoin(&Task { id: undoing, ..task.clone() });
    assert_eq!(token.word("shop", "make", "more"), "-32602");
    assert_eq!(token.word("shop", "cancel", "id-zz"), "-32602");
    assert_eq!(word(&token.call("shop", "cancel", &json!({ "value": "id-b" }))), "count_spent");
    shop.gate.open();
    assert_eq!(running.end(), 0);
    assert_eq!(shop.cancelled(), ["id-b", "id-a"]);
}
