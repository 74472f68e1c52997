//! Observe mode, and the ways of a policy: applied when it is green, and back again.

use crate::support::{
    place::{Place, Serve, Task},
    process::Watched,
    until,
    upstream::Upstream,
};
use serde_json::{Value, json};
use std::fs;

/// A shop with four tools of which the purpose names one, once, with one value; `close` escalates
fn shop() -> (Upstream, Place) {
    let upstream = Upstream::http(&["act", "other", "hidden", "close"], |_, _| false);
    let place = Place::new();
    let file = format!(
        "{}\n[tools.act]\nclass = \"write\"\n[tools.other]\nclass = \"write\"\n[tools.hidden]\nclass = \"write\"\n\
         [tools.close]\nclass = \"escalate\"\n",
        upstream.reach()
    );
    place.write("policy/connectors/shop.toml", &file);
    place.write("policy/purposes/work.toml", &purpose("v"));
    (upstream, place)
}

fn purpose(value: &str) -> String {
    format!(
        "about = \"Acts once\"\nowner = \"tests\"\n\n[open]\nagents = [\"assistant\"]\nusers = \"none\"\n\n\
         [task]\nexpires_after = \"1h\"\nstanding = [\"write\"]\n\n\
         [[allow]]\nname = \"act\"\nuse = [\"shop.act\"]\nwhere = {{ value = \"{value}\" }}\ntimes = 1\n\n\
         [[case]]\ncall = {{ tool = \"shop.act\", args = {{ value = \"{value}\" }} }}\nexpect = \"permit\"\n"
    )
}

fn listed(task: &Task) -> Vec<String> {
    let answer = task.ask("shop", "tools/list", &json!({}));
    let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn observe(place: &Place, lasts: &str, on: &[&str]) -> String {
    let command = [&["policy", "observe", "--for", lasts, "--why", "to see what it needs"], on].concat();
    place.json(&command)["grant"].as_str().unwrap().to_owned()
}

fn digits(digest: &str, count: usize) -> String {
    digest.chars().take(count).collect()
}

fn said_at_start(place: &Place) -> String {
    fs::read_to_string(place.path().join("serve.log")).unwrap()
}

#[test]
fn observe_mode_lets_through_what_is_outside_and_marks_it() {
    let (upstream, place) = shop();
    place.write("policy/rules/never.cedar", "@id(\"never\")\nforbid (principal, action == Action::\"shop.other\", resource) when { context.input has value && context.input.value == \"bad\" };\n");
    place.write(
        "policy/rules/hidden.cedar",
        "@id(\"hidden\")\nforbid (principal, action == Action::\"shop.hidden\", resource);\n",
    );
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    assert_eq!(listed(&task), ["act"]);
    assert_eq!(task.word("shop", "other", "a"), "-32602");
    assert_eq!(task.word("shop", "act", "wrong"), "argument_outside_task");

    let ran =
        place.run(&["policy", "observe", "--purpose", "work", "--for", "2h", "--why", "to see what it needs"]).good();
    assert!(ran.err.contains("OBSERVE MODE (purpose:work) until 2") && ran.err.contains("let through"), "{ran:?}");
    let grant = ran.out.split(':').next().unwrap().to_owned();
    assert!(grant.starts_with("grant_"), "{ran:?}");
    for command in [&["status"][..], &["task", "show", &task.id], &["task", "open", "--purpose", "work"]] {
        let ran = place.run(command).good();
        assert!(ran.err.contains("OBSERVE MODE"), "{command:?}: {ran:?}");
    }
    assert_eq!(place.json(&["task", "show", &task.id])["observe"][0]["grant"], json!(grant));
    let modes = place.run(&["policy", "modes"]).good();
    assert!(modes.out.contains(&grant) && modes.out.contains("to see what it needs"), "{modes:?}");
    // An agent learns nothing of it, and cannot ask for it.
    let script = format!(
        "'{0}' --json status; '{0}' policy observe --all --for 1h --why because",
        crate::support::place::PROGRAM
    );
    let ran = place.run(&["exec", "--purpose", "work", "--", "bash", "-c", &script]);
    assert!(ran.code != 0 && !ran.out.contains("grant_") && ran.err.contains("OBSERVE MODE"), "{ran:?}");

    // What the purpose does not name is there, and so are other values and more of them.
    assert_eq!(listed(&task), ["act", "other"]);
    assert_eq!(task.word("shop", "other", "a"), "ok");
    assert_eq!(task.word("shop", "act", "wrong"), "ok");
    assert_eq!(task.word("shop", "act", "v"), "ok");
    assert_eq!(task.word("shop", "act", "v"), "ok");
    // What a rule forbids, what is privileged, and what does not fit the schema stays refused.
    assert_eq!(task.word("shop", "other", "bad"), "rule_forbids");
    assert_eq!(task.word("shop", "close", "a"), "-32602");
    assert_eq!(task.word("shop", "hidden", "a"), "-32602");
    serve.calls_settled(&task);
    assert_eq!(upstream.values(), ["a", "wrong", "v", "v"]);

    let record = place.record();
    let because: Vec<Value> = record.events("admitted").map(|(_, admitted)| admitted["because"][0].clone()).collect();
    let words: Vec<Value> = because.iter().map(|because| because["words"].clone()).collect();
    assert_eq!(
        words,
        [json!(["tool_outside_purpose"]), json!(["argument_outside_task"]), Value::Null, json!(["count_spent"])]
    );
    assert!(because.iter().all(|because| because.is_null() || because["grant"] == json!(grant)), "{because:?}");
    // Each is charged to the entries that it fits all the same.
    let charged: Vec<Vec<String>> = {
        let mut calls: Vec<_> = record.calls().into_values().collect();
        calls.sort_by_key(|call| call.at);
        calls.into_iter().map(|call| call.entries).collect()
    };
    assert_eq!(charged, [vec![], vec![], vec!["act".to_owned()], vec!["act".to_owned()]]);
    for command in [&["audit", "tail", "-n", "100"][..], &["audit", "show", &grant]] {
        let shown = place.run(command).good();
        let marked = format!("OBSERVED by {grant}, else refused: tool_outside_purpose");
        assert!(shown.out.contains(&marked) && shown.out.contains("observe purpose:work until"), "{shown:?}");
    }

    // Over at once, in what is recorded and in what is said.
    let ran = place.run(&["policy", "enforce", "--purpose", "work"]).good();
    assert!(ran.out.contains(&grant) && ran.out.contains("recorded"), "{ran:?}");
    assert_eq!(listed(&task), ["act"]);
    assert_eq!(task.word("shop", "other", "a"), "-32602");
    assert_eq!(task.word("shop", "act", "v"), "count_spent");
    assert!(!place.run(&["status"]).good().err.contains("OBSERVE"));
    assert!(place.run(&["policy", "modes"]).good().out.contains("enforce"));
    assert_eq!(place.record().stops(&grant), ["killed"]);
    let again = place.run(&["policy", "enforce", &grant]);
    assert!(again.code == 3 && again.err.contains("grant_unknown"), "{again:?}");
}

#[test]
fn a_grant_ends_by_itself_and_outlives_a_restart() {
    let (_upstream, place) = shop();
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    let short = observe(&place, "1s", &["--all"]);
    assert_eq!(task.word("shop", "other", "a"), "ok");
    until("the grant is over", || task.word("shop", "other", "a") == "-32602");
    until("that is on the record", || place.record().stops(&short) == ["expired"]);

    let long = observe(&place, "1h", &["--connector", "shop"]);
    serve.kill();
    let serve = Serve::start(&place).unwrap();
    assert!(said_at_start(&place).contains("OBSERVE MODE (connector:shop)"), "{}", said_at_start(&place));
    let task = serve.rejoin(&task);
    assert_eq!(task.word("shop", "other", "b"), "ok");
    // A connector that is taken out takes its grants along.
    serve.stop("connector:shop");
    until("the grant is over", || place.record().stops(&long) == ["ended"]);
}

#[test]
fn a_grant_is_bounded() {
    let (_upstream, place) = shop();
    let _serve = place.serve(&[]);
    for (command, code, word) in [
        (&["--all", "--for", "8d", "--why", "x"][..], 4, "grant_unbounded"),
        (&["--all", "--for", "1h", "--why", " "], 4, "grant_unbounded"),
        (&["--purpose", "nothing", "--for", "1h", "--why", "x"], 4, "purpose_stopped"),
        (&["--connector", "nothing", "--for", "1h", "--why", "x"], 4, "connector_stopped"),
        (&["--all", "--for", "soon", "--why", "x"], 2, "usage"),
        (&["--for", "1h", "--why", "x"], 2, "--purpose"),
        (&["--all", "--purpose", "work", "--for", "1h", "--why", "x"], 2, "cannot be used"),
        (&["--all", "--for", "1h"], 2, "--why"),
    ] {
        let ran = place.run(&[&["policy", "observe"], command].concat());
        assert!(ran.code == code && ran.err.contains(word), "{command:?}: {ran:?}");
    }
    assert_eq!(place.run(&["policy", "enforce"]).code, 2);
    let (one, two) = (observe(&place, "1h", &["--purpose", "work"]), observe(&place, "7d", &["--all"]));
    let ran = place.run(&["policy", "enforce", &one]).good();
    // What else is let through is said.
    assert!(ran.err.contains("OBSERVE MODE (all)"), "{ran:?}");
    place.run(&["policy", "enforce", "--all"]).good();
    assert_eq!(place.record().stops(&two), ["killed"]);
}

#[test]
fn only_a_green_policy_is_applied() {
    let (_upstream, place) = shop();
    let _serve = place.serve(&["shop"]);
    let before = place.json(&["status"])["bundle"].clone();
    let red = purpose("v").replace("expect = \"permit\"", "expect = \"count_spent\"");
    place.write("policy/purposes/work.toml", &red);
    let ran = place.run(&["policy", "apply"]);
    assert!(ran.code == 1 && ran.err.contains("cases_failed") && ran.err.contains("1 of 1 cases"), "{ran:?}");
    assert!(ran.err.contains("work.toml") && ran.err.contains("expected to give count_spent"), "{ran:?}");
    assert_eq!(place.json(&["status"])["bundle"], before);
    let status = place.run(&["status"]).good();
    assert!(status.err.contains("POLICY DIFFERS") && status.err.contains("changed and not applied"), "{status:?}");
    place.write("policy/purposes/work.toml", &purpose("w"));
    let ran = place.run(&["policy", "apply"]).good();
    assert!(ran.out.contains("1 cases passed") && ran.err.contains("policy rollback"), "{ran:?}");
    assert!(!place.run(&["status"]).good().err.contains("DIFFERS"));
}

#[test]
fn a_start_puts_no_red_policy_into_force() {
    let (_upstream, place) = shop();
    place.serve(&[]).terminate();
    let red = purpose("v").replace("expect = \"permit\"", "expect = \"count_spent\"");
    place.write("policy/purposes/work.toml", &red);
    let _serve = place.serve(&[]);
    let said = said_at_start(&place);
    assert!(said.contains("expected to give count_spent") && said.contains("POLICY DIFFERS"), "{said}");
    assert_eq!(place.json(&["policy", "history"])["history"].as_array().unwrap().len(), 1);
}

#[test]
fn back_to_an_earlier_version_and_not_forth_by_a_restart() {
    let (_upstream, place) = shop();
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    let first = place.json(&["status"])["bundle"].as_str().unwrap().to_owned();
    place.write("policy/purposes/work.toml", &purpose("w"));
    place.run(&["policy", "apply"]).good();
    let second = place.json(&["status"])["bundle"].as_str().unwrap().to_owned();
    // A running task has to pass both versions, and does at once.
    assert_eq!(task.word("shop", "act", "v"), "argument_outside_task");

    for (digest, code, word) in
        [("00000000", 3, "bundle_unknown"), (&digits(&first, 7), 1, "at least 8"), ("zzzzzzzz", 1, "at least 8")]
    {
        let ran = place.run(&["policy", "rollback", digest]);
        assert!(ran.code == code && ran.err.contains(word), "{digest}: {ran:?}");
    }
    let ran = place.run(&["policy", "rollback", &digits(&first, 8)]).good();
    assert!(ran.out.contains(&first) && ran.err.contains("POLICY DIFFERS"), "{ran:?}");
    assert!(ran.err.contains("went back"), "{ran:?}");
    assert_eq!(task.word("shop", "act", "v"), "ok");

    // A restart does not undo it, and says what is the case; nor does adding a connector.
    for _ in 0..2 {
        let said = place.run(&["status"]).good().err;
        assert!(said.contains("POLICY DIFFERS") && said.contains("went back"), "{said}");
    }
    serve.terminate();
    let serve = Serve::start(&place).unwrap();
    assert_eq!(place.json(&["status"])["bundle"], json!(first));
    assert!(said_at_start(&place).contains("POLICY DIFFERS"), "{}", said_at_start(&place));
    let other = Upstream::http(&["act"], |_, _| false);
    let ran = place.run(&["connector", "add", "other", &other.url(), "--yes"]);
    assert!(ran.code == 8 && ran.err.contains("rolled_back"), "{ran:?}");

    let history = place.json(&["policy", "history"]);
    let rows: Vec<(&str, bool)> = history["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["bundle"].as_str().unwrap(), row["back"].as_bool().unwrap()))
        .collect();
    // The one before is from before the definitions of the shop were accepted and written down.
    let before = rows.len() - 3;
    assert_eq!(rows[before..], [(first.as_str(), false), (second.as_str(), false), (first.as_str(), true)]);
    let shown = place.run(&["policy", "history"]).good();
    assert!(shown.out.contains("rollback  in force") && shown.out.contains(&digits(&second, 16)), "{shown:?}");
    let tail = place.run(&["audit", "tail", "-n", "100"]).good();
    assert!(tail.out.contains("changed    policy back to"), "{tail:?}");

    // A directory that was changed since is put into force by a start, as ever; and back again by hand.
    serve.terminate();
    place.write("policy/purposes/work.toml", &purpose("x"));
    let serve = Serve::start(&place).unwrap();
    let third = place.json(&["status"])["bundle"].as_str().unwrap().to_owned();
    assert!(third != first && third != second && !said_at_start(&place).contains("DIFFERS"));
    place.run(&["policy", "rollback", &second]).good();
    place.run(&["policy", "rollback", &second]).good();
    place.run(&["policy", "apply"]).good();
    assert_eq!(place.json(&["status"])["bundle"], json!(third));
    assert!(!place.run(&["status"]).good().err.contains("DIFFERS"));
    // Going back to what is in force changes nothing.
    assert_eq!(place.json(&["policy", "history"])["history"].as_array().unwrap().len(), before + 6);
    serve.terminate();
    // The history is in the record: nobody has to serve it.
    assert_eq!(place.json(&["policy", "history"])["history"].as_array().unwrap().len(), before + 6);
    place.run(&["audit", "verify"]).good();
}

#[test]
fn a_child_that_only_a_grant_allows_ends_with_it() {
    let (shop, files) = (Upstream::http(&["act"], |_, _| false), Upstream::stdio(&["read"], |_, _| false));
    let place = Place::with(&[("shop", &shop)], "", "");
    place.connector("files", &files, "");
    let serve = place.serve(&["shop", "files"]);
    let task = serve.open("work");
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }).to_string();
    assert_eq!(task.post("files", message.as_bytes()).status, 401, "the token is for the purpose's connectors");

    let grant = observe(&place, "1h", &["--connector", "files"]);
    let before = files.children().len();
    let task = serve.rejoin(&task);
    assert_eq!(task.word("files", "read", "a"), "ok");
    let child = Watched::of(files.children().pop().unwrap()[0]).unwrap();
    assert_eq!(files.children().len(), before + 1);
    let starts: Vec<Value> = place
        .record()
        .events("admitted")
        .filter(|(_, admitted)| admitted["what"].get("child").is_some())
        .map(|(_, admitted)| admitted["because"][0].clone())
        .collect();
    assert_eq!(starts.len(), 1);
    assert_eq!(starts[0]["grant"], json!(grant));

    // The command returns once the child is dead; what the purpose allows goes on.
    let ran = place.run(&["policy", "enforce", "--connector", "files"]).good();
    assert!(ran.out.contains("cleared  after"), "{ran:?}");
    assert!(child.is_over(), "{ran:?}");
    assert_eq!(task.word("files", "read", "b"), "-32602");
    assert_eq!(task.word("shop", "act", "c"), "ok");
    assert_eq!(files.values(), ["a"]);
}
