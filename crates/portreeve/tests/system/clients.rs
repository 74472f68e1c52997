//! The helpers that are shipped in `clients/`: a task for each run of an agent, in Python and TypeScript, and in LangGraph.

use crate::{
    agents::{House, PURPOSE},
    approvals::people,
    interop::{interop, told},
    support::{
        Lines,
        issuer::{Issuer, Signer, now},
        place::{Place, finish},
        upstream::Upstream,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::{Command, Stdio},
};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/helpers");
const SDK: &str = "node/node_modules/@modelcontextprotocol/sdk/package.json";
/// A Python with the package `cryptography`
const WITH_KEYS: &str = "venv1/bin/python";
const LANGGRAPH: &str = "venv-langgraph/bin/python";
const EVERYTHING: &str = "node/node_modules/@modelcontextprotocol/server-everything/dist/index.js";

/// The helpers, and what each needs of the folder of foreign programs
const HELPERS: [(&str, &str, &str); 2] = [("python", "venv1/bin/python", "run.py"), ("typescript", SDK, "run.mjs")];

fn helper(house: &House, folder: &std::path::Path, (_, needs, script): (&str, &str, &str), run: &Value) -> Command {
    let program = if needs == SDK { "node".to_owned() } else { folder.join(needs).display().to_string() };
    let mut command = house.place.command(&program, &[&format!("{SCRIPTS}/{script}"), &run.to_string()]);
    command.env("PORTREEVE_INTEROP", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A folder whose agent `bot` shows the token of a service account, which lies in a file
fn cluster() -> (House, Issuer, Signer, PathBuf) {
    let key = Signer::new("cluster");
    let issuer = Issuer::with(&[&key]);
    let file = format!("issuer = \"{}\"\nkind = \"kubernetes\"\nprivate = true\n", issuer.name);
    let proof = format!("issuer = \"cluster\"\nclaims = {{ sub = \"{ACCOUNT}\" }}");
    let house = House::of(&proof, &[("policy/issuers/cluster.toml", file)]);
    let path = house.place.path().join("token");
    house.place.write("token", &service_account(&house, &issuer, &key, "t1"));
    (house, issuer, key, path)
}

const ACCOUNT: &str = "system:serviceaccount:agents:bot";

fn service_account(house: &House, issuer: &Issuer, key: &Signer, id: &str) -> String {
    key.token(
        "JWT",
        &json!({ "iss": issuer.name, "sub": ACCOUNT, "aud": house.base(), "iat": now(), "exp": now() + 600, "jti": id }),
    )
}

/// The lines of a run that went through: two calls, of which one is refused
#[track_caller]
fn went_through(house: &House, lines: &[Value], what: &str) {
    let find = |name: &str| lines.iter().find(|line| !line[name].is_null()).unwrap_or(&Value::Null);
    assert_eq!(find("opened")["agent"], "bot", "{what}: {lines:?}");
    let calls: Vec<&Value> = lines.iter().filter(|line| line["call"].is_string()).collect();
    assert_eq!(calls[0]["word"], "ok", "{what}: {lines:?}");
    assert_ne!(calls[1]["word"], "ok", "{what}: {lines:?}");
    let outcome = find("outcome");
    assert_eq!(outcome["outcome"], json!({ "allowed": 1, "refused": 1, "asked": 0 }), "{what}: {lines:?}");
    assert_eq!(outcome["refusals"][0][0], calls[1]["word"], "{what}");
    assert_eq!(find("ended")["ended"], "ended", "{what}: {lines:?}");
    assert_eq!(find("afterwards")["afterwards"], "task_over", "{what}: {lines:?}");
    let tasks = house.place.json(&["task", "list"]);
    assert!(tasks["tasks"].as_array().unwrap().iter().all(|task| task["state"] == "over"), "{what}: {tasks}");
}

fn calls() -> Value {
    json!([["shop", "act", { "value": "a" }], ["shop", "act", { "value": "a", "more": true }]])
}

#[test]
fn the_helpers_give_a_run_a_task_that_goes_on_and_ends_with_it() {
    let (house, _issuer, _key, file) = cluster();
    for helper_of in HELPERS {
        let test = format!("the_helpers_give_a_run_a_task_that_goes_on_and_ends_with_it ({})", helper_of.0);
        let Some(folder) = interop(&test, &[helper_of.1]) else { continue };
        for aside in [false, true] {
            let run = json!({ "url": house.base(), "purpose": "work", "file": file, "renews": true, "aside": aside,
                "calls": calls() });
            let lines = told(helper(&house, &folder, helper_of, &run));
            went_through(&house, &lines, helper_of.0);
            assert!(lines.contains(&json!({ "renewed": true })), "{lines:?}");
        }
    }
    let noted = house.place.run(&["--json", "audit", "tail", "-n", "1000"]).good().out;
    assert!(!noted.contains("eyJ"), "no token is on the record");
}

/// The key of RFC 8037, A.1: as PEM, and as a policy names it
fn key_of_the_standard() -> (String, &'static str) {
    let der = "302e020100300506032b6570042204209d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let der: Vec<u8> =
        (0..der.len()).step_by(2).map(|at| u8::from_str_radix(der.get(at..at + 2).unwrap(), 16).unwrap()).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
    (pem, "key = { kty = \"OKP\", crv = \"Ed25519\", x = \"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\" }")
}

#[test]
fn the_helpers_sign_for_an_agent_and_bind_its_tokens() {
    let (pem, proof) = key_of_the_standard();
    let house = House::of(proof, &[]);
    house.place.write("bot.pem", &pem);
    for helper_of in HELPERS {
        let test = format!("the_helpers_sign_for_an_agent_and_bind_its_tokens ({})", helper_of.0);
        let Some(folder) = interop(&test, &[helper_of.1]) else { continue };
        for dpop in [false, true] {
            let run = json!({ "url": house.base(), "purpose": "work", "key": "bot.pem", "agent": "bot", "dpop": dpop,
                "calls": calls() });
            went_through(&house, &told(helper(&house, &folder, helper_of, &run)), helper_of.0);
        }
    }
}

#[test]
fn the_helpers_say_in_words_what_does_not_work() {
    let (house, ..) = cluster();
    let (pem, _) = key_of_the_standard();
    house.place.write("bot.pem", &pem);
    for helper_of in HELPERS {
        let test = format!("the_helpers_say_in_words_what_does_not_work ({})", helper_of.0);
        let Some(folder) = interop(&test, &[helper_of.1]) else { continue };
        let error = |change: Value| {
            let mut run = json!({ "url": house.base(), "purpose": "work", "file": "token" });
            run.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let line = told(helper(&house, &folder, helper_of, &run)).pop().unwrap();
            (
                line["error"].as_str().unwrap_or_default().to_owned(),
                line["word"].as_str().unwrap_or_default().to_owned(),
            )
        };
        let said = |kind: &str, word: &str| (kind.to_owned(), word.to_owned());
        assert_eq!(error(json!({ "purpose": "nothing" })), said("Refused", "purpose_unknown"));
        assert_eq!(
            error(json!({ "file": null, "key": "bot.pem", "agent": "bot" })),
            said("NotProven", "issuer_unknown")
        );
        assert_eq!(error(json!({ "file": "missing" })), said("PortreeveError", "no_token_source"));
        assert_eq!(error(json!({ "url": "http://127.0.0.1:9" })), said("Unreachable", "unreachable"));
        assert_eq!(error(json!({ "url": "http://portreeve.example.com" })), said("PortreeveError", "plain_http"));
    }
}

#[test]
fn the_helpers_wait_for_people_and_not_for_ever() {
    let (place, shop) = (Place::new(), Upstream::http(&["act"], |_, _| false));
    place.connector("shop", &shop, "");
    people(&place);
    let (pem, proof) = key_of_the_standard();
    place.write("bot.pem", &pem);
    place.write("policy/agents/bot.toml", &format!("owner = \"tests\"\n\n[[proof]]\n{proof}\n"));
    let asks = PURPOSE.replace(", \"other\"", "").replace("\"none\"\n", "\"none\"\nask = { who = \"leads\" }\n");
    place.write("policy/purposes/work.toml", &asks);
    let serve = place.serve(&["shop"]);
    let house = House { place, serve, shop };
    for helper_of in HELPERS {
        let test = format!("the_helpers_wait_for_people_and_not_for_ever ({})", helper_of.0);
        let Some(folder) = interop(&test, &[helper_of.1]) else { continue };
        let run = |wait: u32| {
            json!({ "url": house.base(), "purpose": "work", "key": "bot.pem", "agent": "bot", "wait": wait,
                "calls": calls() })
        };
        let held = told(helper(&house, &folder, helper_of, &run(0))).pop().unwrap();
        assert_eq!((&held["error"], &held["word"], &held["status"]), (&json!("Held"), &json!("held"), &json!(202)));
        let code = held["code"].as_str().unwrap().to_owned();

        let mut waiting =
            helper(&house, &folder, helper_of, &run(50)).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let said = Lines::of(waiting.stdout.take().unwrap());
        house.place.run(&["approve", &code, "--yes"]).good();
        let lines: Vec<Value> =
            std::iter::from_fn(|| said.next()).map(|line| serde_json::from_str(&line).unwrap()).collect();
        assert!(waiting.wait().unwrap().success());
        went_through(&house, &lines, helper_of.0);
    }
}

#[test]
fn a_langgraph_agent_has_one_task_for_each_run() {
    let needs = [LANGGRAPH, EVERYTHING];
    let Some(folder) = interop("a_langgraph_agent_has_one_task_for_each_run", &needs) else { return };
    let (house, ..) = cluster();
    let program = folder.join(EVERYTHING).display().to_string();
    house.place.run(&["connector", "add", "everything", "--yes", "--", "node", &program, "stdio"]).good();
    let more = "\n[[allow]]\nname = \"echo\"\nuse = [\"everything.echo\"]\ntimes = 1\nwhere = { message = { any = true } }\n\
        \n[[allow]]\nname = \"sum\"\nuse = [\"everything.get-sum\"]\nwhere = { a = 2, b = { at_most = 10 } }\n";
    house.place.write("policy/purposes/work.toml", &format!("{PURPOSE}{more}"));
    house.place.run(&["policy", "apply"]).good();
    let script = json!([
        { "name": "echo", "args": { "message": "hello" } },
        { "name": "get-sum", "args": { "a": 2, "b": 3 } },
        { "name": "get-sum", "args": { "a": 2, "b": 300 } },
        { "name": "echo", "args": { "message": "once too often" } },
        { "name": "act", "args": { "value": "x" } }
    ]);
    let given = json!({ "url": house.base(), "purpose": "work", "file": "token", "script": script, "runs": 2 });
    let program = folder.join(LANGGRAPH).display().to_string();
    let agent = format!("{SCRIPTS}/langgraph_agent.py");
    let mut command = house.place.command(&program, &[&agent, &given.to_string()]);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("LANGSMITH_TRACING", "false");
    let runs = told(command);
    assert_eq!(runs.len(), 2);
    for run in &runs {
        assert_eq!(run["tools"], json!(["act", "echo", "get-sum"]), "{run}");
        let heard = |at: usize| run["heard"][at]["text"].as_str().unwrap();
        assert!(heard(0).contains("Echo: hello") && heard(1).contains('5'), "{run}");
        // The agent is told why, and goes on: nothing is a surprise to its graph.
        assert!(heard(2).contains("argument_outside_task"), "{run}");
        assert!(heard(3).contains("count_spent"), "a new run, and not a new call, begins to count anew: {run}");
        assert_eq!((&run["heard"][4]["status"], &run["last"]), (&json!("success"), &json!("done")), "{run}");
        let outcome = &run["outcome"];
        assert_eq!(outcome["calls"], json!({ "allowed": 3, "refused": 2, "asked": 0 }), "{run}");
        assert_eq!((&outcome["over"], &outcome["ends"]), (&json!("ended"), &json!({ "ok": 3 })), "{run}");
    }
    let tasks: BTreeSet<&str> = runs.iter().map(|run| run["task"].as_str().unwrap()).collect();
    assert_eq!(tasks.len(), 2, "one task for each run");
    assert_eq!(house.shop.calls().len(), 2);
}

/// The tests that each helper has for itself, against recorded answers
#[test]
fn the_helpers_pass_their_own_tests() {
    let clients = concat!(env!("CARGO_MANIFEST_DIR"), "/../../clients");
    let place = Place::bare();
    let own = [
        ("python", WITH_KEYS, vec!["-m", "unittest", "discover", "-s", "tests"]),
        ("typescript", SDK, vec!["--test", "test/client.test.mjs"]),
    ];
    for (name, needs, arguments) in own {
        let Some(folder) = interop(&format!("the_helpers_pass_their_own_tests ({name})"), &[needs]) else { continue };
        let program = if needs == SDK { "node".to_owned() } else { folder.join(needs).display().to_string() };
        let mut command = place.command(&program, &arguments);
        command.current_dir(format!("{clients}/{name}")).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", "src");
        let ran = finish(command, "");
        assert_eq!(ran.code, 0, "{name}: {ran:?}");
    }
}
