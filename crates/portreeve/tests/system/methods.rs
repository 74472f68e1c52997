//! Official clients of every kind use every method, with the fixture behind Portreeve in either era.

use crate::interop::{Client, interop, refusal, told};
use crate::support::{
    fixture::{self, Fixture},
    place::{Place, Running, Serve, Task},
    until,
};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Portreeve with the fixture of both eras: connectors `legacy` and `modern`
pub(crate) struct Both {
    pub(crate) interop: PathBuf,
    pub(crate) place: Place,
    pub(crate) serve: Serve,
    /// Each with a task that may use all of it; but no large text
    pub(crate) tasks: Vec<(&'static str, Task)>,
    _fixtures: Vec<Fixture>,
}

impl Both {
    pub(crate) fn new(interop: PathBuf) -> Self {
        let place = Place::new();
        let serve = place.serve(&[]);
        let mut fixtures = Vec::new();
        let mut tasks = Vec::new();
        for era in ["legacy", "modern"] {
            let fixture = Fixture::start(&interop, era, &place);
            place.run(&["connector", "add", era, &fixture.url, "--yes"]).good();
            fixture::allow_everything(&place, era);
            let purpose = format!("policy/purposes/{era}.toml");
            let narrow = place.read(&purpose).replace("\"bytes\" = { any = true }", "\"bytes\" = { at_most = 10 }");
            place.write(&purpose, &narrow);
            place.run(&["policy", "apply"]).good();
            tasks.push((era, serve.open(era)));
            fixtures.push(fixture);
        }
        Self { interop, place, serve, tasks, _fixtures: fixtures }
    }

    fn url(&self, connector: &str) -> String {
        format!("http://{}/mcp/{connector}", self.serve.address)
    }
}

fn steps() -> Value {
    let call = |name: &str, arguments: Value| json!({ "name": name, "arguments": arguments });
    json!([
        { "resources": true },
        { "read": "test://static-text" },
        { "read": "test://template/7/data" },
        { "prompts": true },
        { "prompt": "test_prompt_with_arguments", "arguments": { "arg1": "a", "arg2": "b" } },
        { "complete": "par", "of": "test_prompt_with_arguments", "argument": "arg1" },
        { "level": "info" },
        { "name": "test_tool_with_progress", "arguments": {}, "progress": 3 },
        { "name": "test_tool_with_logging", "arguments": {}, "logs": 3 },
        call("test_sampling", json!({ "prompt": "What is the capital of France?" })),
        call("test_elicitation", json!({ "message": "Who are you?" })),
        call("test_input_required_result_list_roots", json!({})),
        call("test_input_required_result_multi_round", json!({})),
        { "prompt": "test_input_required_result_prompt" },
        call("test_error_handling", json!({})),
        call("test_large_text", json!({ "bytes": 3 })),
        call("test_large_text", json!({ "bytes": 300 })),
        { "read": "test://nothing" }
    ])
}

/// What every client has to see, whatever the eras
#[track_caller]
fn hold(what: &str, lines: &[Value]) {
    let mut lines = lines.iter();
    let mut next = |member: &str| {
        let line = lines.next().unwrap_or_else(|| panic!("{what}: nothing instead of {member}"));
        assert!(line.get(member).is_some() && line.get("error").is_none(), "{what}: {line} instead of {member}");
        line.clone()
    };
    next("connected");
    let tools = next("tools");
    assert!(tools["tools"].as_array().unwrap().len() > 30, "{what}: {tools}");
    let resources = next("resources");
    let uris = json!(["test://static-text", "test://static-binary", "test://watched-resource"]);
    assert_eq!((&resources["resources"], &resources["templates"]), (&uris, &json!(["test://template/{id}/data"])));
    assert_eq!(next("read")["text"], "This is the content of the static text resource.");
    assert!(next("read")["text"].as_str().unwrap().contains("\"id\":\"7\""));
    assert_eq!(next("prompts")["prompts"].as_array().unwrap().len(), 5);
    assert_eq!(next("prompt")["text"], "Prompt with arguments: arg1='a', arg2='b'");
    assert_eq!(next("complete")["values"], json!(["paris", "park", "party"]));
    next("level");
    let progress = next("call");
    assert_eq!(
        (&progress["text"], in_order(what, &progress["progress"])),
        (&json!("Done"), json!([0, 50, 100])),
        "{what}"
    );
    let logs = json!(["Tool execution started", "Tool processing data", "Tool execution completed"]);
    let logging = next("call");
    assert_eq!(in_order(what, &logging["logs"]), in_order(what, &logs), "{what}: {logging}");
    assert_eq!(next("call")["text"], "LLM response: Paris", "{what}");
    let elicited = next("call");
    assert!(elicited["text"].as_str().unwrap().contains("some username"), "{what}: {elicited}");
    assert_eq!(next("call")["text"], r#"["file:///work"]"#, "{what}");
    assert_eq!(next("call")["text"], "some name likes some color", "{what}");
    assert_eq!(next("prompt")["text"], "The context is some context.", "{what}");
    let failed = next("call");
    assert_eq!((&failed["isError"], refusal(&failed)), (&json!(true), ""), "{what}: {failed}");
    assert_eq!(next("call")["text"], "xxx", "{what}");
    let refused = next("call");
    assert_eq!((&refused["isError"], refusal(&refused)), (&json!(true), "argument_outside_task"), "{what}: {refused}");
    let nothing = lines.next().unwrap();
    assert!(nothing["error"]["code"].is_i64(), "{what}: {nothing}");
    assert_eq!(lines.next_back().unwrap(), &json!({ "closed": true }));
}

/// What was told on the way; the Java SDK hands each notification to a thread of its own, so there the order is nobody's
fn in_order(what: &str, told: &Value) -> Value {
    let mut told = told.as_array().cloned().unwrap_or_default();
    if what.starts_with("Java") {
        told.sort_by_key(|one| (one.as_i64(), one.to_string()));
    }
    told.into()
}

fn all_methods(test: &str, client: Client) {
    let Some(interop) = interop(test, &[client.needs(), fixture::NEEDS]) else { return };
    let both = Both::new(interop);
    for (connector, task) in &both.tasks {
        let what = format!("{client:?} with the {connector} connector");
        let command = client.at(&both.place, &both.interop, &steps(), &both.url(connector), &task.token);
        hold(&what, &told(command));
        if ![Client::Python1, Client::Java].contains(&client) {
            // The first Python SDK and the Java SDK have no way to cancel a request.
            cancels(&both, client, connector, task);
        }
    }
    both.serve.terminate();
    both.place.run(&["audit", "verify"]).good();
}

/// A call that the client cancels is cancelled at the server
fn cancels(both: &Both, client: Client, connector: &str, task: &Task) {
    let before = cancelled(connector, task);
    let steps = json!([{ "name": "test_slow", "arguments": { "seconds": 60 }, "cancel": true }]);
    let mut running =
        Running::talking(client.at(&both.place, &both.interop, &steps, &both.url(connector), &task.token));
    let started = json!({ "started": "test_slow" });
    while serde_json::from_str::<Value>(&running.lines.next().expect("the client ended")).unwrap() != started {}
    let tool = format!("{connector}.test_slow");
    until("it is admitted", || {
        both.place.record().calls().values().any(|call| call.tool == tool && call.ends.is_empty())
    });
    running.go_on();
    until("the server was told", || cancelled(connector, task) > before);
    running.end();
}

fn cancelled(connector: &str, task: &Task) -> u32 {
    let answer = task.call(connector, "test_cancelled", &json!({}));
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

#[test]
fn the_first_typescript_sdk_uses_every_method() {
    all_methods("the_first_typescript_sdk_uses_every_method", Client::TypeScript);
}

#[test]
fn the_second_typescript_sdk_uses_every_method() {
    all_methods("the_second_typescript_sdk_uses_every_method", Client::TypeScript2("2026-07-28"));
}

#[test]
fn the_second_typescript_sdk_uses_every_method_as_an_older_client() {
    all_methods("the_second_typescript_sdk_uses_every_method_as_an_older_client", Client::TypeScript2("legacy"));
}

#[test]
fn the_second_python_sdk_uses_every_method() {
    all_methods("the_second_python_sdk_uses_every_method", Client::Python2);
}

#[test]
fn the_second_python_sdk_uses_every_method_as_an_older_client() {
    all_methods("the_second_python_sdk_uses_every_method_as_an_older_client", Client::Python2Legacy);
}

#[test]
fn the_first_python_sdk_uses_every_method() {
    all_methods("the_first_python_sdk_uses_every_method", Client::Python1);
}

#[test]
fn the_go_sdk_uses_every_method() {
    all_methods("the_go_sdk_uses_every_method", Client::Go("2026-07-28"));
}

#[test]
fn the_go_sdk_uses_every_method_as_an_older_client() {
    all_methods("the_go_sdk_uses_every_method_as_an_older_client", Client::Go("legacy"));
}

#[test]
fn the_java_sdk_uses_every_method() {
    all_methods("the_java_sdk_uses_every_method", Client::Java);
}
