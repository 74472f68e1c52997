//! Agents that are known by their program: `exec` starts that one and no other, and only through it is anybody let in.

use crate::support::{
    place::{PROGRAM, Place, Ran, Serve, word},
    upstream::Upstream,
};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt as _};

fn script(place: &Place, name: &str, text: &str) -> String {
    let path = place.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// A script that makes one call, and then does something else and makes it again
fn agent(value: &str, then: &str) -> String {
    let params = json!({ "name": "act", "arguments": { "value": value } });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    format!("#!/bin/bash\necho '{call}' | '{PROGRAM}' bridge shop\n{then}\n")
}

fn house(upstream: &Upstream, first: &str) -> (Place, Serve, String) {
    let place = Place::with(&[("shop", upstream)], "", "");
    let path = script(&place, "agent.sh", first);
    let purpose = place.read("policy/purposes/work.toml").replace("\"assistant\"", "\"bot\"");
    place.write("policy/purposes/work.toml", &purpose);
    place.run(&["agent", "add", "bot", "--owner", "tests", "--program", "agent.sh", "--yes"]).good();
    let serve = place.serve(&["shop"]);
    (place, serve, path)
}

fn exec(place: &Place, command: &[&str]) -> Ran {
    place.run(&[&["exec", "--purpose", "work", "--agent", "bot", "--"], command].concat())
}

fn answer(ran: &Ran) -> String {
    ran.out
        .lines()
        .next()
        .and_then(|line| serde_json::from_str::<Value>(line).ok())
        .map_or_else(String::new, |line| word(&line))
}

#[test]
fn an_agent_is_the_program_that_its_file_names_and_no_other() {
    let upstream = Upstream::http(&["act"], |_, _| false);
    let (place, _serve, path) = house(&upstream, &agent("a", ""));
    assert!(place.read("policy/agents/bot.toml").contains("program = \"sha256:"));
    let shown = place.run(&["agent", "show", "bot"]).good();
    assert!(shown.out.contains("program"), "{shown:?}");

    assert_eq!(answer(&exec(&place, &[&path])), "ok");
    assert_eq!(answer(&exec(&place, &["bash", "agent.sh"])), "ok", "the same interpreter with the same script");
    assert_eq!(upstream.calls().len(), 2);
    let record = place.run(&["--json", "audit", "tail", "-n", "100"]).good().out;
    let began = record.lines().find(|line| line.contains("\"began\"")).unwrap();
    assert!(began.contains("\"program\"") && began.contains("agent.sh") && began.contains("process:"), "{began}");

    // Another program, another script, what does not say what it runs, and no program at all.
    let other = script(&place, "other.sh", &agent("b", ""));
    for command in [&["true"][..], &[&other], &["bash", "other.sh"]] {
        let ran = exec(&place, command);
        assert!(ran.err.contains("proof_wrong"), "{command:?}: {ran:?}");
    }
    for command in [&["bash", "-c", "true"][..], &["env", &path], &["bash", "-x", &path], &["/no/such/program"]] {
        let ran = exec(&place, command);
        assert!(ran.err.contains("program_unclear"), "{command:?}: {ran:?}");
    }
    let opened = place.run(&["task", "open", "--purpose", "work", "--agent", "bot"]);
    assert!(opened.err.contains("proof_wrong"), "{opened:?}");
    // A byte more, and it is another one.
    fs::write(&path, agent("c", "true")).unwrap();
    let ran = exec(&place, &[&path]);
    assert!(ran.err.contains("proof_wrong"), "{ran:?}");
    assert_eq!(upstream.calls().len(), 2, "none of them has done anything");
    let record = place.run(&["--json", "audit", "tail", "-n", "100"]).good().out;
    assert!(record.lines().any(|line| line.contains("refused") && line.contains("proof_wrong")), "{record}");
}

#[test]
fn an_agent_that_becomes_another_program_gets_nothing_more() {
    let upstream = Upstream::http(&["act"], |_, _| false);
    // The script that is known ends by becoming another one, in the same process.
    let (place, _serve, path) = house(&upstream, &agent("a", "exec \"$(dirname \"$0\")/other.sh\""));
    script(&place, "other.sh", &agent("b", ""));
    let ran = exec(&place, &[&path]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert_eq!(answer(&ran), "ok");
    assert!(lines[1].contains("proof_wrong"), "{ran:?}");
    assert_eq!(upstream.values(), ["a"]);
    let record = place.run(&["--json", "audit", "tail", "-n", "100"]).good().out;
    assert!(record.lines().any(|line| line.contains("refused") && line.contains("agent:bot")), "{record}");
}

#[test]
fn the_owner_gets_no_token_of_what_runs_and_a_changed_file_counts_at_once() {
    let upstream = Upstream::http(&["act"], |_, _| false);
    // It waits for a file between its two calls.
    let wait = "while [ ! -e go ]; do sleep 0.05; done\n";
    let second = agent("b", "").replacen("#!/bin/bash\n", "", 1);
    let (place, serve, path) = house(&upstream, &agent("a", &format!("{wait}{second}")));
    std::thread::scope(|scope| {
        let running = scope.spawn(|| exec(&place, &[&path]));
        upstream.wait_for_calls(1);
        let (status, tasks) = serve.admin("GET", "/v1/tasks", &Value::Null);
        assert_eq!(status, 200);
        let task = tasks["tasks"][0]["task"].as_str().unwrap().to_owned();
        let (status, refused) = serve.admin("POST", &format!("/v1/tasks/{task}/token"), &json!({}));
        assert_eq!((status, refused["error"]["word"].as_str()), (403, Some("proof_wrong")), "{refused}");
        // From now on the agent is known by another program.
        let digest = "0".repeat(64);
        place
            .write("policy/agents/bot.toml", &format!("owner = \"tests\"\n[[proof]]\nprogram = \"sha256:{digest}\"\n"));
        place.run(&["policy", "apply"]).good();
        place.write("go", "");
        let ran = running.join().unwrap();
        assert!(ran.out.lines().nth(1).unwrap().contains("proof_wrong"), "{ran:?}");
    });
    assert_eq!(upstream.values(), ["a"]);
}
