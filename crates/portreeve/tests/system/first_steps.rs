//! What a newcomer does, and what every command says and answers with.

use crate::support::{
    place::{PROGRAM, Place, Running, Serve, finish, word},
    upstream::Upstream,
};
use serde_json::{Value, json};
use std::{fs, path::Path};

fn files(place: &Place) -> Vec<String> {
    fn below(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                below(&entry.path(), found);
            } else {
                found.push(entry.path().display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    below(&place.path().join("policy"), &mut found);
    found.sort();
    found
}

fn add_shop(place: &Place) {
    let ran = place.run(&["connector", "add", "shop", "--yes", "--", PROGRAM, "__demo-server", "shop"]).good();
    assert!(ran.out.contains("accepted 6 definitions of shop"), "{ran:?}");
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

fn call(tool: &str, arguments: &Value) -> String {
    let params = json!({ "name": tool, "arguments": arguments });
    json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params }).to_string()
}

#[test]
fn three_commands_lead_to_ones_own_server() {
    let place = Place::bare();
    let ran = place.run(&["init"]).good();
    assert!(ran.out.contains("made") && ran.err.contains("next: portreeve connector add"), "{ran:?}");
    add_shop(&place);
    let mail = Running::start(place.command(PROGRAM, &["__demo-server", "mail"]));
    let listening = mail.lines.next().unwrap();
    let url = format!("http://{}/mcp", listening.strip_prefix("listening ").unwrap());
    place.run(&["connector", "add", "mail", &url, "--yes"]).good();
    assert_eq!(place.run(&["policy", "check"]).good().out.trim(), "ok: 0 errors, 0 warnings, 0 cases");

    let order = call("get_order", &json!({ "id": "ord_1001" }));
    let refund = call("refund", &json!({ "id": "ord_1001", "amount": 1 }));
    let script = format!("printf '%s\\n' '{LIST}' '{order}' '{refund}' | '{PROGRAM}' bridge shop");
    let ran = place.run(&["exec", "--purpose", "read-shop", "--", "bash", "-c", &script]).good();
    let mut answers: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    answers.sort_by_key(|answer| answer["id"].as_u64());
    assert_eq!(answers.len(), 3, "{ran:?}");
    assert_eq!(answers[0]["result"]["tools"].as_array().unwrap().len(), 2, "{}", answers[0]);
    let words: Vec<String> = answers[1..].iter().map(word).collect();
    assert!(words.contains(&"ok".to_owned()) && words.contains(&"-32602".to_owned()), "{words:?}");

    let read = call("read_message", &json!({ "id": "msg_1" }));
    let script = format!("echo '{read}' | '{PROGRAM}' bridge mail");
    let ran = place.run(&["exec", "--purpose", "read-mail", "--", "bash", "-c", &script]).good();
    assert_eq!(word(&serde_json::from_str(&ran.out).unwrap()), "ok");

    // All of it is on the record, which is whole, and holds what was asked for.
    let tail = place.run(&["audit", "tail", "-n", "100"]).good();
    for text in ["booted", "changed    policy", "began", "shop.get_order [read] id=\"ord_1001\"", "refused", "stopped"]
    {
        assert!(tail.out.contains(text), "{text}: {}", tail.out);
    }
    let verified = place.json(&["audit", "verify"]);
    let checkpoint = verified["checkpoint"].as_str().unwrap();
    place.run(&["audit", "verify", "--checkpoint", checkpoint]).good();
    let (n, _) = checkpoint.split_once(':').unwrap();
    let other = format!("{n}:{}", "0".repeat(64));
    assert_eq!(place.run(&["audit", "verify", "--checkpoint", &other]).code, 6);
    assert_eq!(place.run(&["audit", "verify", "--checkpoint", "what"]).code, 2);
}

#[test]
fn nothing_is_accepted_without_somebody_who_accepts_it() {
    let place = Place::new();
    let before = files(&place);
    for json in [&["--json"][..], &[]] {
        let command = [json, &["connector", "add", "shop", "--", PROGRAM, "__demo-server", "shop"]].concat();
        let ran = place.run(&command);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(format!("{}{}", ran.out, ran.err).contains("not_accepted"), "{ran:?}");
        // Nor does a pipe that says yes make a person.
        assert_eq!(place.run_with(&command, "y\ny\n").code, 1);
        assert_eq!(files(&place), before);
    }
    assert!(place.record().events("changed").all(|(_, changed)| changed.get("pins").is_none()));
}

#[test]
fn a_connector_that_does_not_come_up_leaves_nothing_behind() {
    let place = Place::new();
    let before = files(&place);
    for command in [
        &["connector", "add", "shop", "--yes", "--", "/no/such/program"][..],
        &["connector", "add", "shop", "--yes", "--", "true"],
        &["connector", "add", "shop", "--yes", "--", "cat"],
        &["connector", "add", "shop", "http://127.0.0.1:1/mcp", "--yes"],
    ] {
        let ran = place.run(command);
        assert_eq!(ran.code, 7, "{command:?}: {ran:?}");
        assert_eq!(files(&place), before, "{command:?}");
    }
    for command in [
        &["connector", "add", "shop", "--yes"][..],
        &["connector", "add", "shop", "http://127.0.0.1:1/mcp", "--yes", "--", "true"],
        &["connector", "add", "No Name", "--yes", "--", "true"],
    ] {
        assert_eq!(place.run(command).code, 2, "{command:?}");
    }
    // Two tools of one name are no offer.
    let twice = Upstream::http(&["act", "act"], |_, _| false);
    assert_eq!(place.run(&["connector", "add", "shop", &twice.url(), "--yes"]).code, 7);
    assert_eq!(files(&place), before);

    add_shop(&place);
    let ran = place.run(&["connector", "add", "shop", "--yes", "--", PROGRAM, "__demo-server", "shop"]);
    assert_eq!(ran.code, 8, "{ran:?}");
}

#[test]
fn init_overwrites_nothing() {
    let place = Place::bare();
    place.write("policy/README.md", "mine\n");
    place.run(&["init"]).good();
    assert_eq!(place.read("policy/README.md"), "mine\n");
    let ran = place.run(&["init"]);
    assert_eq!(ran.code, 8, "{ran:?}");
    assert!(ran.err.contains("exists"), "{ran:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(place.data()).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    place.run(&["init", "elsewhere"]).good();
    assert!(place.path().join("elsewhere/.portreeve").is_dir());
}

#[test]
fn a_broken_policy_is_refused_and_the_old_one_stays() {
    let place = Place::new();
    add_shop(&place);
    let serve = place.serve(&[]);
    let in_force = place.json(&["status"])["bundle"].clone();
    let task = serve.open_with(&json!({ "purpose": "read-shop" }));
    let good = place.read("policy/purposes/read-shop.toml");
    let nothing = good.split("\n[[allow]]").next().unwrap().to_owned();
    for (text, finding) in [
        (good.replace("shop.get_order", "shop.no_such#variant"), "variant"),
        (good.replace("standing", "sitting"), "sitting"),
        (format!("{good}\nsurprise = true\n"), "surprise"),
        (good.replace("about", "abut"), "abut"),
        (nothing, "the purpose allows nothing"),
        (format!("{good}\n[elevate]\nwrite = {{ tools = [\"shop.refund\"], times = 1 }}\n"), "within"),
        (format!("{good}\n[flow]\nmode = \"strict\"\n"), "flow"),
        ("this is no TOML".to_owned(), "read-shop.toml"),
    ] {
        place.write("policy/purposes/read-shop.toml", &text);
        let ran = place.run(&["policy", "check"]);
        assert_eq!(ran.code, 6, "{text}: {ran:?}");
        assert!(ran.out.contains(finding) && ran.out.contains("not ok"), "{finding}: {ran:?}");
        let ran = place.run(&["--json", "policy", "check"]);
        let shown = ran.json();
        assert!(ran.code == 6 && shown["errors"].as_u64() > Some(0), "{shown}");
        let ran = place.run(&["policy", "apply"]);
        assert!(ran.code == 1 && ran.err.contains("policy_broken") && ran.err.contains(finding), "{finding}: {ran:?}");
        assert_eq!(place.json(&["status"])["bundle"], in_force);
        assert_eq!(word(&task.call("shop", "get_order", &json!({ "id": "ord_1001" }))), "ok");
    }
    assert_eq!(place.run(&["policy", "show"]).code, 1);

    // A directory that is broken at a start leaves the earlier policy in force, and says so.
    serve.terminate();
    let serve = place.serve(&[]);
    assert_eq!(place.json(&["status"])["bundle"], in_force);
    assert!(place.read("serve.log").contains("read-shop.toml"), "{}", place.read("serve.log"));
    let task = serve.rejoin(&task);
    assert_eq!(word(&task.call("shop", "get_order", &json!({ "id": "ord_1001" }))), "ok");
    serve.terminate();

    // Without an earlier one nothing is served.
    let fresh = Place::new();
    fresh.write("policy/purposes/broken.toml", "this is no TOML");
    let Err(refused) = Serve::start(&fresh) else { panic!("served without a policy") };
    assert!(refused.code == 1 && refused.err.contains("policy_broken"), "{refused:?}");
    assert_eq!(fresh.run(&["exec", "--purpose", "any", "--", "true"]).code, 1);
}

#[test]
fn a_policy_narrows_running_tasks_and_never_widens_them() {
    let shop = Upstream::http(&["act", "other"], |_, _| false);
    let place = Place::with(&[("shop", &shop)], "", "");
    let wide = place.read("policy/purposes/work.toml");
    let (narrow, _) = wide.split_once("\n[[allow]]\nname = \"shop-other\"").unwrap();
    let serve = place.serve(&["shop"]);
    let before = serve.open("work");
    assert_eq!(before.word("shop", "other", "a"), "ok");
    place.write("policy/purposes/work.toml", narrow);
    place.run(&["policy", "apply"]).good();
    assert_eq!(before.word("shop", "other", "b"), "-32602", "narrowed");
    let between = serve.open("work");
    place.write("policy/purposes/work.toml", &wide);
    place.run(&["policy", "apply"]).good();
    assert_eq!(between.word("shop", "other", "c"), "-32602", "never widened");
    assert_eq!(before.word("shop", "other", "d"), "ok", "as wide as it was opened, and no wider");
    assert_eq!(serve.open("work").word("shop", "other", "e"), "ok");
    // A purpose that is gone takes its tasks along.
    fs::remove_file(place.path().join("policy/purposes/work.toml")).unwrap();
    place.run(&["policy", "apply"]).good();
    assert_eq!(before.word("shop", "act", "f"), "purpose_stopped");
    assert_eq!(shop.values(), ["a", "d", "e"]);
}

#[test]
fn a_tool_that_a_rule_forbids_outright_is_not_there() {
    let shop = Upstream::http(&["act", "other"], |_, _| false);
    let place = Place::with(&[("shop", &shop)], "", "");
    place.write(
        "policy/rules/no.cedar",
        "@id(\"never\")\nforbid (principal, action == Action::\"shop.other\", resource);\n",
    );
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    let listed = task.ask("shop", "tools/list", &json!({}));
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(task.word("shop", "other", "v"), "-32602", "hidden and unknown give the same answer");
    assert_eq!(task.word("shop", "act", "v"), "ok");
}

#[test]
fn tasks_are_opened_listed_shown_and_stopped() {
    let place = Place::new();
    add_shop(&place);
    let opening = ["--purpose", "read-shop", "--objective", "look around"];
    assert_eq!(place.run(&[&["task", "open"], &opening[..]].concat()).code, 7, "nobody serves");
    let serve = place.serve(&[]);

    let ran = place.run(&[&["task", "open"], &opening[..]].concat()).good();
    let config = ran.json();
    let arguments = config["mcpServers"]["shop"]["args"].as_array().unwrap();
    let id = arguments[3].as_str().unwrap().to_owned();
    assert_eq!((&arguments[0], &arguments[1], &arguments[2]), (&json!("bridge"), &json!("shop"), &json!("--task")));
    assert!(!ran.out.contains("eyJ"), "no token where none was asked for");
    let opened = place.json(&[&["task", "open"], &opening[..]].concat());
    assert!(opened["token"].is_null() && opened["mcp_config"].is_object(), "{opened}");
    let token = place.run(&[&["task", "open", "--token"], &opening[..]].concat()).good().out;
    assert_eq!(token.trim().split('.').count(), 3, "{token}");

    // The configuration that was printed works as it stands.
    let bridge: Vec<&str> = arguments.iter().map(|argument| argument.as_str().unwrap()).collect();
    assert_eq!(config["mcpServers"]["shop"]["command"], PROGRAM);
    let look = call("get_order", &json!({ "id": "ord_1" }));
    let ran = place.run_with(&bridge, &format!("{LIST}\n{look}\n")).good();
    assert!(ran.out.contains("get_order") && ran.out.lines().count() == 2, "{ran:?}");

    let table = place.run(&["task", "list"]).good().out;
    assert!(table.lines().count() == 4 && table.contains(&id) && table.starts_with("TASK"), "{table}");
    assert_eq!(place.json(&["task", "list"])["tasks"].as_array().unwrap().len(), 3);
    let shown = place.json(&["task", "show", &id]);
    assert_eq!(
        (&shown["state"], &shown["purpose"], &shown["agent"]),
        (&json!("live"), &json!("read-shop"), &json!("assistant"))
    );
    assert!(place.run(&["task", "show", &id]).good().out.contains("purpose   read-shop"));
    assert_eq!(place.run(&["task", "token", &id]).good().out.trim().split('.').count(), 3);
    assert!(place.json(&["task", "token", &id])["token_expires"].is_u64());

    let ran = place.run(&["task", "stop", &id]).good();
    for line in ["recorded after", "settled  after", "cleared  after"] {
        assert!(ran.out.contains(line), "{ran:?}");
    }
    assert_eq!(place.run(&["task", "stop", &id]).code, 4, "it is over already");
    assert_eq!(place.run(&["task", "token", &id]).code, 4);
    assert_eq!(place.run(&["task", "show", &id]).code, 3);
    assert_eq!(place.run(&["task", "show", "task_0000000000001"]).code, 3);
    assert_eq!(place.run(&["task", "show", "nonsense"]).code, 2);
    assert_eq!(place.run(&["task", "token"]).code, 3, "no task is around this process");
    assert_eq!(place.run(&["bridge", "shop"]).code, 3);
    assert!(place.run(&["audit", "show", &id]).good().out.contains("killed"));
    let shown = place.run(&["audit", "show", &id]).good().out;
    let effect = shown.split_whitespace().find(|word| word.starts_with("fx_")).unwrap();
    assert!(shown.contains(&format!("settled    {effect} ")), "the end of what a task did is part of it: {shown}");
    let shown = place.run(&["audit", "show", effect]).good().out;
    assert!(shown.contains("admitted") && shown.contains("settled") && !shown.contains("began"), "{shown}");
    let boot = place.run(&["audit", "tail", "-n", "100"]).good().out;
    let boot = boot.split_whitespace().find(|word| word.starts_with("boot_")).unwrap();
    assert!(place.run(&["audit", "show", boot]).good().out.contains("booted"), "what is not indexed is looked for");
    for unknown in ["task_0000000000001", "fx_0000000000001", "boot_0000000000001", "_", "task_"] {
        assert_eq!(place.run(&["audit", "show", unknown]).code, 3, "{unknown}");
    }

    let ran = place.run_with(&bridge, &format!("{LIST}\n")).good();
    assert!(ran.out.contains("task_over"), "{ran:?}");
    drop(serve);
}

#[test]
fn an_opening_that_the_policy_refuses_is_refused() {
    let shop = Upstream::http(&["act"], |_, _| false);
    let place = Place::with(&[("shop", &shop)], "", "");
    place.write(
        "policy/purposes/narrow.toml",
        "about = \"One order\"\nowner = \"tests\"\n[open]\nagents = [\"assistant\"]\nusers = \"none\"\n\
         [task]\nexpires_after = \"1h\"\nstanding = [\"write\"]\n\
         [parameters]\norder = { type = \"string\", pattern = \"ord_[0-9]+\" }\nlimit = { type = \"decimal\", max = 20 }\n\
         [[allow]]\nname = \"act\"\nuse = [\"shop.act\"]\nwhere = { value = \"{order}\", amount = { at_most = \"{limit}\" } }\n",
    );
    place.write("policy/agents/other.toml", "owner = \"tests\"\n");
    let serve = place.serve(&["shop"]);
    for (arguments, word) in [
        (&["--purpose", "no-such"][..], "purpose_unknown"),
        (&["--purpose", "work", "--agent", "nobody"], "agent_unknown"),
        (&["--purpose", "work", "--agent", "other"], "purpose_not_open"),
        (&["--purpose", "work", "--param", "x=1"], "parameter_unknown"),
        (&["--purpose", "narrow", "--param", "order=ord_1"], "parameter_missing"),
        (&["--purpose", "narrow", "--param", "order=ord_1", "--param", "limit=20.01"], "parameter_outside_purpose"),
        (&["--purpose", "narrow", "--param", "order=ord_1x", "--param", "limit=1"], "parameter_outside_purpose"),
        (&["--purpose", "narrow", "--param", "order=xord_1", "--param", "limit=1"], "parameter_outside_purpose"),
        (&["--purpose", "narrow", "--param", "order=ord_1\n", "--param", "limit=1"], "parameter_outside_purpose"),
        (&["--purpose", "narrow", "--param", "order=ord_1", "--param", "limit=1e1000"], "parameter_outside_purpose"),
    ] {
        for command in [&["task", "open"][..], &["exec"]] {
            let tail: &[&str] = if command == ["exec"] { &["--", "touch", "was-run"] } else { &[] };
            let ran = place.run(&[command, arguments, tail].concat());
            assert_eq!(ran.code, 4, "{arguments:?}: {ran:?}");
            assert!(ran.err.contains(&format!("error[{word}]")), "{word}: {ran:?}");
            let ran = place.run(&[&["--json"], command, arguments, tail].concat());
            assert_eq!(ran.json()["error"]["word"], word, "{ran:?}");
        }
    }
    assert!(!place.path().join("was-run").exists());
    for arguments in [&["--param", "order"][..], &["--param", "order=1", "--param", "order=2"], &["--agent", "A B"]] {
        assert_eq!(place.run(&[&["task", "open", "--purpose", "narrow"], arguments].concat()).code, 2, "{arguments:?}");
    }

    let good = ["--purpose", "narrow", "--param", "order=ord_7", "--param", "limit=19.90"];
    let opened = place.json(&[&["task", "open", "--token"], &good[..]].concat());
    let task = crate::support::place::Task {
        id: opened["task"].as_str().unwrap().to_owned(),
        run: opened["run"].as_str().unwrap().to_owned(),
        token: opened["token"].as_str().unwrap().to_owned(),
        address: serve.address,
    };
    for (arguments, expected) in [
        (r#"{"value":"ord_7","amount":19.900}"#, "ok"),
        (r#"{"value":"ord_7","amount":199e-1}"#, "ok"),
        (r#"{"value":"ord_7","amount":19.9000000000000000000001}"#, "argument_outside_task"),
        (r#"{"value":"ord_7","amount":"1"}"#, "argument_outside_task"),
        (r#"{"value":"ord_7","amount":null}"#, "argument_outside_task"),
        (r#"{"value":"ord_7"}"#, "argument_outside_task"),
        (r#"{"value":"ord_70","amount":1}"#, "argument_outside_task"),
        (r#"{"value":["ord_7"],"amount":1}"#, "argument_outside_task"),
        (r#"{"value":"ord_7","amount":1,"note":"x"}"#, "argument_not_named"),
    ] {
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"act","arguments":{arguments}}}}}"#
        );
        assert_eq!(word(&task.post("shop", message.as_bytes()).json()), expected, "{arguments}");
    }
    assert_eq!(shop.calls().len(), 2);
    let record = place.record();
    assert!(record.refusals().contains(&"purpose_not_open".to_owned()));
}

#[test]
fn an_agent_that_is_killed_by_name_opens_nothing_more() {
    let place = Place::new();
    add_shop(&place);
    let serve = place.serve(&[]);
    let task = serve.open_with(&json!({ "purpose": "read-shop" }));
    let ran = place.run(&["kill", "agent:assistant"]).good();
    assert!(ran.out.contains("recorded after"), "{ran:?}");
    assert_eq!(word(&task.call("shop", "get_order", &json!({ "id": "ord_1001" }))), "agent_stopped");
    let ran = place.run(&["task", "open", "--purpose", "read-shop"]);
    assert!(ran.code == 4 && ran.err.contains("agent_stopped"), "{ran:?}");
    // Out of the policy and in again: a new generation, and the old tasks stay over.
    let file = place.read("policy/agents/assistant.toml");
    let purpose = place.read("policy/purposes/read-shop.toml");
    fs::remove_file(place.path().join("policy/agents/assistant.toml")).unwrap();
    fs::remove_file(place.path().join("policy/purposes/read-shop.toml")).unwrap();
    place.run(&["policy", "apply"]).good();
    place.write("policy/agents/assistant.toml", &file);
    place.write("policy/purposes/read-shop.toml", &purpose);
    place.run(&["policy", "apply"]).good();
    let again = serve.open_with(&json!({ "purpose": "read-shop" }));
    assert_eq!(word(&again.call("shop", "get_order", &json!({ "id": "ord_1001" }))), "ok");
    assert_ne!(word(&task.call("shop", "get_order", &json!({ "id": "ord_1001" }))), "ok");
}

#[test]
fn every_command_answers_with_json_and_its_exit_code() {
    let place = Place::new();
    // Nobody serves, and nothing is there yet.
    for (command, code) in [
        (&["status"][..], 7),
        (&["task", "list"], 7),
        (&["kill", "all"], 7),
        (&["policy", "apply"], 7),
        (&["audit", "tail"], 3),
        (&["explain", "no_such_word"], 3),
        (&["policy", "show", "no-such"], 3),
        (&["policy", "show", "--cedar", "no-such"], 3),
        (&["connector", "show", "no-such"], 3),
        (&["init"], 8),
    ] {
        let ran = place.run(&[&["--json"], command].concat());
        assert_eq!(ran.code, code, "{command:?}: {ran:?}");
        assert!(ran.json()["error"]["word"].is_string(), "{command:?}: {ran:?}");
        let ran = place.run(command);
        assert!(ran.code == code && ran.err.starts_with("error["), "{command:?}: {ran:?}");
    }
    place.json(&["connector", "add", "shop", "--yes", "--", PROGRAM, "__demo-server", "shop"]);
    let serve = place.serve(&[]);
    let task = serve.open_with(&json!({ "purpose": "read-shop" }));
    let commands: Vec<Vec<&str>> = vec![
        vec!["status"],
        vec!["task", "list"],
        vec!["task", "show", &task.id],
        vec!["task", "token", &task.id],
        vec!["task", "open", "--purpose", "read-shop"],
        vec!["connector", "list"],
        vec!["connector", "show", "shop"],
        vec!["connector", "accept", "shop", "--yes"],
        vec!["policy", "check"],
        vec!["policy", "show"],
        vec!["policy", "show", "read-shop"],
        vec!["policy", "show", "--schema"],
        vec!["policy", "show", "--cedar", "read-shop"],
        vec!["policy", "apply"],
        vec!["audit", "verify"],
        vec!["explain"],
        vec!["explain", "task_over"],
        vec!["task", "stop", &task.id],
        vec!["kill", "connector:shop"],
    ];
    for command in &commands {
        assert!(place.json(command).is_object(), "{command:?}");
    }
    for command in commands.iter().filter(|command| !matches!(command[0], "kill") && !command.contains(&"stop")) {
        let ran = place.run(command);
        assert!(ran.code == 0 || command.contains(&task.id.as_str()), "{command:?}: {ran:?}");
    }
    let tail = place.run(&["--json", "audit", "tail", "-n", "3"]).good().out;
    assert_eq!(tail.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count(), 3);
    let show = place.run(&["--json", "audit", "show", &task.id]).good().out;
    assert!(show.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()) && show.contains(&task.id));

    // `exec` passes the agent's own code on, and says its own apart.
    for (agent, code) in [("exit 0", 0), ("exit 42", 42), ("kill -TERM $$", 143)] {
        place.run(&["policy", "apply"]).good();
        let ran = place.run(&["exec", "--purpose", "read-shop", "--", "bash", "-c", agent]);
        assert_eq!(ran.code, code, "{ran:?}");
    }
    assert_eq!(place.run(&["exec", "--purpose", "read-shop", "--", "/no/such/program"]).code, 127);
    assert_eq!(place.run(&["exec", "--purpose", "read-shop", "--", "/etc/passwd"]).code, 126);
    assert_eq!(place.run(&["exec", "--purpose", "read-shop"]).code, 2);
    assert_eq!(place.run(&["no-such-command"]).code, 2);
    let help = place.run(&["--help"]).good().out.split_whitespace().collect::<Vec<_>>().join(" ");
    for code in
        ["0 ok", "1 failure", "2 usage", "3 not found", "4 refused", "6 verification", "7 cannot reach", "8 conflict"]
    {
        assert!(help.contains(code), "{code}: {help}");
    }
    assert!(place.run(&["--version"]).good().out.starts_with("portreeve "));
}

#[test]
fn every_word_of_a_refusal_can_be_explained() {
    let place = Place::bare();
    let words = place.json(&["explain"]);
    let words = words["words"].as_array().unwrap();
    assert!(words.len() > 30);
    for word in words {
        let name = word["word"].as_str().unwrap();
        let shown = place.run(&["explain", name]).good().out;
        assert!(shown.starts_with(name) && shown.contains("fix: "), "{shown}");
        assert!(!word["says"].as_str().unwrap().is_empty() && !word["remedy"].as_str().unwrap().is_empty());
    }
}

#[test]
fn the_data_folder_is_found_from_below_and_named_from_anywhere() {
    let place = Place::new();
    fs::create_dir_all(place.path().join("deep/down")).unwrap();
    let from = |folder: &Path, more: &[(&str, &str)], arguments: &[&str]| {
        let mut command = place.command(PROGRAM, arguments);
        command.current_dir(folder).envs(more.iter().copied());
        finish(command, "")
    };
    assert_eq!(from(&place.path().join("deep/down"), &[], &["policy", "check"]).code, 0);
    let elsewhere = Place::bare();
    assert_eq!(from(elsewhere.path(), &[], &["policy", "check"]).code, 3);
    let data = place.data().display().to_string();
    assert_eq!(from(elsewhere.path(), &[("PORTREEVE_DATA", &data)], &["policy", "check"]).code, 0);
    assert_eq!(from(elsewhere.path(), &[], &["--data", &data, "policy", "check"]).code, 0);
    // A folder that others can enter is not served.
    fs::set_permissions(place.data(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let Err(refused) = Serve::start(&place) else { panic!("served though others can enter") };
    assert!(refused.code == 1 && refused.err.contains("chmod 700"), "{refused:?}");
    // A key that others can read is not used.
    fs::set_permissions(place.data(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    place.serve(&[]).terminate();
    let key = place.data().join("keys/token.key");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let Err(refused) = Serve::start(&place) else { panic!("served with an open key") };
    assert!(refused.code == 1 && refused.err.contains("600"), "{refused:?}");
    place.write(".portreeve/portreeve.toml", "policy = \"../policy\"\nsurprise = 1\n");
    let ran = place.run(&["policy", "check"]);
    assert!(ran.code == 1 && ran.err.contains("config_broken"), "{ran:?}");
}
