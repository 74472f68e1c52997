//! Official clients, as they are, go through a call that waits for people in each way that they speak.
//!
//! Which of them speaks which way stands in docs/protocol.md.

use super::house::House;
use crate::{
    interop::{Client, interop, refusal},
    support::place::Running,
};
use serde_json::{Value, json};

const ALL: &[Client] = &[
    Client::TypeScript,
    Client::TypeScript2(MODERN),
    Client::TypeScript2("legacy"),
    Client::Python1,
    Client::Python2,
    Client::Python2Legacy,
    Client::Go(MODERN),
    Client::Go("legacy"),
    Client::Java,
];
/// Those that bring a page's call back with its state
const BRING_BACK: &[Client] = &[Client::TypeScript2(MODERN), Client::Python2];
/// Those that are sent to a page by an error, and told once somebody has answered there
const ARE_TOLD: &[Client] =
    &[Client::TypeScript, Client::TypeScript2("legacy"), Client::Python1, Client::Python2Legacy];
/// Those that follow MCP tasks of 2026-07-28
const FOLLOW: &[Client] = &[Client::TypeScript2(MODERN), Client::Python2];
const MODERN: &str = "2026-07-28";
/// What the TypeScript SDK needs to follow tasks
const EXT_TASKS: &str = "node/node_modules/@modelcontextprotocol/ext-tasks/dist/client/index.js";

/// A client at work in a house of its own
struct Led {
    what: String,
    house: House,
    running: Running,
}

impl Led {
    /// Starts it, with what it says that it can, and goes on until its first step
    fn start(test: &str, client: Client, can: &str, wait: &str, steps: &Value) -> Option<Self> {
        let what = format!("{test} ({client:?})");
        let more = (can == "tasks" && matches!(client, Client::TypeScript2(_))).then_some(EXT_TASKS);
        let needs: Vec<&str> = [client.needs()].into_iter().chain(more).collect();
        let interop = interop(&what, &needs)?;
        let house = House::new(wait);
        let url = format!("http://{}/mcp/shop", house.serve.address);
        let mut command = client.at(&house.place, &interop, steps, &url, &house.task.token);
        command.env("PORTREEVE_CLIENT_CAN", can);
        let led = Self { what, house, running: Running::talking(command) };
        led.next("connected");
        led.next("tools");
        Some(led)
    }

    fn line(&self) -> Value {
        let line = self.running.lines.next().unwrap_or_else(|| panic!("{} ended", self.what));
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{}: {line}", self.what))
    }

    /// The next line, which is of this kind and no failure
    #[track_caller]
    fn next(&self, kind: &str) -> Value {
        let line = self.line();
        assert!(line.get(kind).is_some() && line.get("error").is_none(), "{}: {line} instead of {kind}", self.what);
        line
    }

    /// The code of the question, at the end of the address of its page
    fn code(&self, opens: &Value) -> String {
        let url = opens["opens"].as_str().unwrap_or_else(|| panic!("{}: {opens}", self.what));
        let page = format!("http://localhost:{}/approvals/", self.house.serve.address.port());
        url.strip_prefix(&page).unwrap_or_else(|| panic!("{}: {url}", self.what)).to_owned()
    }

    /// The call went through, a repeat of it gets the same, and it was made once
    #[track_caller]
    fn through(self) {
        let (made, again) = (self.next("call"), self.next("call"));
        assert_eq!((&made["text"], &made["isError"]), (&json!("done v"), &json!(false)), "{}: {made}", self.what);
        assert_eq!(again, made, "{}", self.what);
        assert_eq!(self.ends(1), ["v"]);
    }

    /// It was declined, for whoever repeats it, too
    #[track_caller]
    fn declined(self) {
        for _ in 0..2 {
            let told = self.next("call");
            assert_eq!(refusal(&told), "approval_declined", "{}: {told}", self.what);
        }
        assert_eq!(self.ends(1), Vec::<String>::new());
    }

    /// Waits for its end; the calls that were made, after so many questions
    #[track_caller]
    fn ends(self, questions: usize) -> Vec<String> {
        let what = self.what;
        assert_eq!(self.running.end(), 0, "{what}");
        self.house.serve.settled();
        let (record, made) = (self.house.place.record(), self.house.made());
        assert_eq!(record.events("held").count(), questions, "{what}");
        let ended = record.calls().values().filter(|call| call.tool == "shop.act" && call.ends == ["ok"]).count();
        assert_eq!(ended, made.len(), "{what}");
        made
    }
}

fn act() -> Value {
    json!({ "name": "act", "arguments": { "value": "v" } })
}

#[test]
fn every_client_goes_on_inside_its_request_the_moment_that_somebody_agrees() {
    let test = "every_client_goes_on_inside_its_request_the_moment_that_somebody_agrees";
    for client in ALL {
        // Able to open a page or not: nobody is sent anywhere as long as the request waits.
        let steps = json!([act(), act()]);
        let Some(led) = Led::start(test, *client, "url", "50s", &steps) else { continue };
        led.house.approves("lea", &led.house.asked());
        led.through();
    }
}

#[test]
fn every_client_is_told_in_words_what_waits_and_a_repeat_of_its_own_goes_on() {
    let test = "every_client_is_told_in_words_what_waits_and_a_repeat_of_its_own_goes_on";
    for client in ALL {
        let steps = json!([act(), { "pause": "answer" }, act(), act()]);
        let Some(mut led) = Led::start(test, *client, "words", "0s", &steps) else { continue };
        let told = led.next("call");
        assert_eq!((&told["isError"], refusal(&told)), (&json!(true), "approval_needed"), "{}: {told}", led.what);
        let code = told["meta"]["portreeve/hold"]["code"].as_str().unwrap_or_else(|| panic!("{}: {told}", led.what));
        let text = told["text"].as_str().unwrap();
        assert!(text.contains(code) && text.ends_with("Repeat exactly this call to go on."), "{}: {text}", led.what);
        led.next("pause");
        led.house.approves("lea", code);
        led.running.go_on();
        led.through();
    }
}

#[test]
fn a_client_of_2026_brings_its_call_back_from_the_page_with_the_sealed_state() {
    let test = "a_client_of_2026_brings_its_call_back_from_the_page_with_the_sealed_state";
    let mut waits = act();
    waits["waits"] = json!(true);
    for (client, yes) in BRING_BACK.iter().flat_map(|client| [(client, true), (client, false)]) {
        let Some(mut led) = Led::start(test, *client, "url", "0s", &json!([waits, act()])) else { continue };
        let code = led.code(&led.next("opens"));
        led.house.answers("lea", &code, yes);
        led.running.go_on();
        if yes { led.through() } else { led.declined() }
    }
}

#[test]
fn what_a_client_of_2026_says_of_the_page_by_itself_counts_for_nothing() {
    let test = "what_a_client_of_2026_says_of_the_page_by_itself_counts_for_nothing";
    for client in BRING_BACK {
        let steps = json!([act(), { "pause": "answer" }, act(), act()]);
        let Some(mut led) = Led::start(test, *client, "url", "0s", &steps) else { continue };
        // Both SDKs accept and call again, until they have had enough of it.
        let first = led.next("opens");
        let mut rounds = 1;
        let given_up = loop {
            let line = led.line();
            if line.get("opens").is_none() {
                break line;
            }
            assert_eq!(line, first, "{}", led.what);
            rounds += 1;
        };
        assert!(rounds > 1, "{}: {given_up}", led.what);
        assert!(given_up["call"] == "act" && given_up["error"].is_object(), "{}: {given_up}", led.what);
        assert_eq!(led.next("pause")["pause"], "answer");
        assert_eq!(led.house.made(), Vec::<String>::new(), "{}", led.what);
        assert_eq!(led.house.place.record().events("granted").count(), 0, "{}", led.what);
        // It is still the one question, and a person's yes goes to it.
        led.house.approves("lea", &led.code(&first));
        led.running.go_on();
        led.through();
    }
}

#[test]
fn a_client_of_2025_is_told_when_its_page_was_answered_and_calls_again() {
    let test = "a_client_of_2025_is_told_when_its_page_was_answered_and_calls_again";
    let mut waits = act();
    waits["waits"] = json!(true);
    for client in ARE_TOLD {
        for yes in [true, false] {
            let Some(led) = Led::start(test, *client, "url", "0s", &json!([waits, act()])) else { continue };
            let code = led.code(&led.next("opens"));
            led.house.answers("lea", &code, yes);
            assert_eq!(led.next("answered")["answered"], json!(code), "{}", led.what);
            if yes { led.through() } else { led.declined() }
        }
        // Calling again before anybody has answered is told the same.
        let Some(led) = Led::start(test, *client, "url", "0s", &json!([act(), act()])) else { continue };
        let (first, again) = (led.line(), led.line());
        assert_eq!((&first["error"]["code"], &first), (&json!(-32042), &again), "{}: {first}", led.what);
        assert_eq!(led.ends(1), Vec::<String>::new());
    }
}

#[test]
fn a_client_that_follows_tasks_gets_what_came_of_the_call_as_the_result_of_its_task() {
    let test = "a_client_that_follows_tasks_gets_what_came_of_the_call_as_the_result_of_its_task";
    for (client, yes) in FOLLOW.iter().flat_map(|client| [(client, true), (client, false)]) {
        let Some(led) = Led::start(test, *client, "tasks", "50s", &json!([act(), act()])) else { continue };
        let begun = led.next("task");
        let code = led.house.asked();
        assert_eq!(begun["task"], "working", "{}: {begun}", led.what);
        assert!(begun["message"].as_str().unwrap().ends_with(&format!("/approvals/{code}")), "{}: {begun}", led.what);
        led.house.answers("lea", &code, yes);
        assert_eq!(led.next("task")["task"], "completed", "{}", led.what);
        if yes { led.through() } else { led.declined() }
    }
}
