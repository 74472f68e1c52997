//! What purposes can say, through the whole program: values from earlier answers, paths into arguments, bytes,
//! ceilings, and arguments of which no value is kept.

use crate::support::{
    place::{Place, Serve, Task, word},
    upstream::{Received, Upstream, Wire},
};
use serde_json::{Value, json};
use std::fs;

/// A mailbox: two messages, and drafts of any text
fn mailbox() -> Upstream {
    let script = |received: &Received, wire: &mut Wire| match received.tool.as_str() {
        "list" => {
            wire.answer(r#"{"content":[],"structuredContent":{"messages":[{"id":"m-1"},{"id":"m-2"}]}}"#);
            true
        }
        // An older server: the same as text.
        "find" => {
            wire.answer(r#"{"content":[{"type":"text","text":"{\"messages\":[{\"id\":\"m-9\"}]}"}]}"#);
            true
        }
        "fails" => {
            wire.answer(r#"{"isError":true,"content":[],"structuredContent":{"messages":[{"id":"m-3"}]}}"#);
            true
        }
        "read" => {
            let text = "x".repeat(received.value.len() * 100);
            wire.answer(&format!(r#"{{"content":[{{"type":"text","text":"{text}"}}]}}"#));
            true
        }
        _ => false,
    };
    Upstream::http(&["list", "find", "fails", "read", "save", "vault"], script)
}

const PROFILES: &str = r#"
[tools.list]
class = "read"
label = "internal"
results = { "messages[*].id" = "trusted" }
[tools.find]
class = "read"
label = "internal"
results = { "messages[*].id" = "trusted" }
[tools.fails]
class = "read"
label = "internal"
results = { "messages[*].id" = "trusted" }
[tools.read]
class = "read"
label = "internal"
[tools.save]
class = "write"
label = "internal"
arguments = { "files[*].path" = "destination", "files[*].text" = "content" }
recording = { "files[*].text" = "digest" }
[tools.vault]
class = "read"
label = "secret"
"#;

const PURPOSE: &str = r#"
about = "Read listed mail, and save drafts"
owner = "tests"
[open]
agents = ["assistant"]
users = "none"
[task]
expires_after = "1h"
standing = ["read", "write"]
ceiling = "confidential"
max_bytes = { arguments = 400, results = 1400 }
[[allow]]
name = "list"
use = ["mail.list", "mail.find", "mail.fails"]
[[allow]]
name = "read"
use = ["mail.read"]
where = { value = { from = "list.messages[*].id" } }
[[allow]]
name = "save"
use = ["mail.save"]
where = { "files[*].path" = { under = "drafts" } }
[[allow]]
name = "vault"
use = ["mail.vault"]
"#;

struct House {
    place: Place,
    serve: Serve,
    task: Task,
    mail: Upstream,
}

impl House {
    fn new() -> Self {
        let mail = mailbox();
        let place = Place::new();
        place.write("policy/connectors/mail.toml", &format!("{}{PROFILES}", mail.reach()));
        place.write("policy/purposes/post.toml", PURPOSE);
        let serve = place.serve(&["mail"]);
        let task = serve.open("post");
        Self { place, serve, task, mail }
    }

    fn word(&self, tool: &str, arguments: &Value) -> String {
        word(&self.task.call("mail", tool, arguments))
    }
}

#[test]
fn a_value_comes_from_an_earlier_answer_of_the_same_task() {
    let house = House::new();
    let read = |id: &str| house.word("read", &json!({ "value": id }));
    assert_eq!(read("m-1"), "argument_outside_task", "nothing was listed yet");
    assert_eq!(house.word("fails", &json!({})), "failed");
    assert_eq!(house.word("list", &json!({})), "ok");
    assert_eq!(read("m-3"), "argument_outside_task", "what a failure says vouches for nothing");
    assert_eq!(read("m-1"), "ok");
    assert_eq!(read("m-9"), "argument_outside_task");
    assert_eq!(house.word("find", &json!({})), "ok");
    assert_eq!(read("m-9"), "ok", "a result that is only text of JSON is read as that");
    let other = house.serve.open("post");
    assert_eq!(word(&other.call("mail", "read", &json!({ "value": "m-1" }))), "argument_outside_task");
    // What was learnt is on the record: another life of the process knows it.
    house.serve.calls_settled(&house.task);
    house.serve.kill();
    let serve = Serve::start(&house.place).unwrap_or_else(|ran| panic!("{ran:?}"));
    let task = serve.rejoin(&house.task);
    assert_eq!(word(&task.call("mail", "read", &json!({ "value": "m-2" }))), "ok");
    assert_eq!(word(&task.call("mail", "read", &json!({ "value": "m-3" }))), "argument_outside_task");
}

#[test]
fn arguments_are_closed_also_inside() {
    let house = House::new();
    let save = |files: Value| house.word("save", &json!({ "files": files }));
    assert_eq!(save(json!([{ "path": "drafts/a", "text": "hello" }, { "path": "./drafts//b" }])), "ok");
    assert_eq!(save(json!([])), "ok");
    assert_eq!(save(json!([{ "path": "drafts/a" }, { "path": "drafts/../a" }])), "argument_outside_task");
    assert_eq!(save(json!([{ "path": "drafts/a", "mode": 7 }])), "argument_not_named");
    assert_eq!(save(json!("drafts/a")), "argument_outside_task");
    assert_eq!(house.word("save", &json!({})), "argument_outside_task");
    assert_eq!(house.mail.calls().len(), 2);
    // The record commits to the text and does not keep it: not in a line, an opening or the database.
    house.serve.settled();
    house.serve.terminate();
    let kept: Vec<_> = fs::read_dir(house.place.data().join("log"))
        .map_or_else(|_| vec![fs::read_dir(house.place.data()).unwrap()], |folder| vec![folder]);
    let files = kept.into_iter().flatten().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let mut searched = 0;
    for file in files {
        let bytes = fs::read(&file).unwrap();
        searched += bytes.len();
        assert!(!bytes.windows(5).any(|window| window == b"hello"), "{}", file.display());
    }
    assert!(searched > 1000, "no record was found to look through");
}

#[test]
fn bytes_are_bounded_both_ways() {
    let house = House::new();
    assert_eq!(house.word("list", &json!({})), "ok");
    let read = |id: &str| house.task.call("mail", "read", &json!({ "value": id }));
    for _ in 0..3 {
        assert_eq!(word(&read("m-1")), "ok");
    }
    // The fourth answer would be too much: it happened, and is not handed on.
    let withheld = read("m-2");
    assert_eq!(word(&withheld), "answer_withheld", "{withheld}");
    assert!(!withheld.to_string().contains("xxx"));
    assert_eq!(word(&read("m-2")), "bytes_spent");
    assert_eq!(house.mail.calls().len(), 5);
    let task = house.serve.open("post");
    let long = json!({ "files": [{ "path": "drafts/a", "text": "y".repeat(400) }] });
    assert_eq!(word(&task.call("mail", "save", &long)), "bytes_spent");
}

#[test]
fn results_above_the_ceiling_are_not_asked_for() {
    let house = House::new();
    assert_eq!(house.word("vault", &json!({})), "above_ceiling");
    assert_eq!(house.mail.calls().len(), 0);
}
