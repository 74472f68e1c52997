//! Credentials that live as long as a task: what is issued is taken back, whoever dies when, and no agent ever sees one.

use crate::support::{
    front::Front,
    place::{PROGRAM, Place, Serve, Task},
    tls::{Authority, pem},
    until,
    upstream::{Gate, Received, Upstream, Wire},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::Write as _,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::Path,
    sync::atomic::Ordering,
};

fn good(_: &Received, _: &mut Wire) -> bool {
    false
}

const SECRET: &str = "sk-live-0123456789-never-shown";

/// A back end: a program that keeps a ledger of what it issued and not taken back, in the folder of the test
///
/// Files tell it what to do: `refuses`, `breaks` (ends without an answer), `hangs` (until the file is gone; `late`: before
/// anything is issued), `stays` (takes nothing back), `lingers` (takes its time).
const BACK_END: &str = r#"#!/usr/bin/env python3
import atexit, json, os, sys, time
home = os.environ["HOME"]
ask = json.load(sys.stdin)
there = lambda name: os.path.exists(os.path.join(home, name))
running = os.path.join(home, "running-" + ask["do"])
os.makedirs(running, exist_ok=True)
own = os.path.join(running, str(os.getpid()))
open(own, "w").close()
atexit.register(os.remove, own)
with open(os.path.join(home, "at-once"), "a") as at_once:
    at_once.write(str(len(os.listdir(running))) + "\n")
if there("lingers"):
    time.sleep(0.3)
ledger = os.path.join(home, "ledger")
os.makedirs(ledger, exist_ok=True)
def say(answer):
    print(json.dumps(answer))
    sys.exit(0)
with open(os.path.join(home, "asked"), "a") as asked:
    asked.write(ask["do"] + " " + ask.get("name", "") + "\n")
assert ask["v"] == 1
if ask["do"] == "issue":
    if there("refuses"):
        say({"refused": {"why": "not today"}})
    while there("late"):
        time.sleep(0.01)
    with open(os.path.join(ledger, ask["name"]), "w") as kept:
        json.dump(ask, kept)
    if there("breaks"):
        sys.exit(1)
    while there("hangs"):
        time.sleep(0.01)
    say({"issued": {"fields": {"token": "tok-" + ask["name"]}, "keep": "back-" + ask["name"], "until": ask["until"]}})
elif ask["do"] == "withdraw":
    if there("stays"):
        say({"refused": {"why": "not now"}})
    if ask["keep"] is not None:
        assert ask["keep"] == "back-" + ask["name"]
    path = os.path.join(ledger, ask["name"])
    if os.path.exists(path):
        os.remove(path)
    say({"withdrawn": {"evidence": {"refused": {"says": "401"}}}})
elif ask["do"] == "sweep":
    say({"names": [name for name in os.listdir(ledger) if name.startswith(ask["prefix"])]})
else:
    say({"ok": {}})
"#;

/// A house whose connector `shop` gets its credentials from a source
fn house(upstream: &Upstream, source: &str, put: &str) -> Place {
    let place = Place::with(&[("shop", upstream)], "", "");
    place.write("policy/credentials/shop-key.toml", source);
    place.connector("shop", upstream, &format!("\n[credentials]\nsource = \"shop-key\"\n{put}\n"));
    place
}

pub(crate) fn with_program(upstream: &Upstream) -> Place {
    let put = "headers = { Authorization = \"Bearer {token}\" }";
    let place = house(upstream, "", put);
    place.write("back-end", BACK_END);
    let program = place.path().join("back-end");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let source = format!(
        "owner = \"tests\"\n[command]\nrun = [{:?}]\nclasses = [\"read\", \"write\"]\nrevocation = \"immediate\"\n",
        program.display()
    );
    place.write("policy/credentials/shop-key.toml", &source);
    place
}

pub(crate) fn ledger(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.path().join("ledger"));
    let names = entries.into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

fn leases(serve: &Serve) -> Vec<Value> {
    serve.admin("GET", "/v1/leases", &Value::Null).1["leases"].as_array().unwrap().clone()
}

/// How the leases of the record ended, one line for each: issued or not, then how it is known
fn ends(place: &Place) -> Vec<(String, Vec<String>)> {
    let record = place.record();
    let leases = record.events("admitted").filter(|(_, admitted)| admitted["what"].get("lease").is_some());
    let leases = leases.map(|(_, admitted)| admitted["effect"].as_str().unwrap().to_owned());
    let ends = |lease: String| {
        let ends = record.events("settled").filter(|(_, settled)| settled["effect"] == lease.as_str());
        let ends = ends.map(|(_, settled)| settled["end"].get("lease").unwrap_or(&settled["end"]));
        let ends = ends.map(|end| end.as_object().unwrap().keys().next().unwrap().clone()).collect();
        (lease, ends)
    };
    leases.map(ends).collect()
}

/// Every file below a folder in which this text stands
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(holding(&path, text));
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap();
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

fn authorization(upstream: &Upstream) -> Vec<Option<String>> {
    upstream.received().iter().map(|received| received.header("authorization").map(str::to_owned)).collect()
}

#[test]
fn a_secret_of_the_vault_is_put_in_at_the_edge_and_lies_nowhere() {
    let shop = Upstream::http(&["act"], good);
    let source =
        "owner = \"tests\"\n[static]\nsecret = \"shop\"\nclasses = [\"read\", \"write\"]\nrotate_by = 2099-01-01\n";
    let place =
        house(&shop, source, "headers = { Authorization = \"Bearer {secret}\" }\nquery = { key = \"{secret}\" }");
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    // Without its secret it is not there, and nothing is sent.
    let refused = place.run(&["connector", "accept", "shop", "--yes"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(shop.received().is_empty(), "nothing is sent without a credential");
    let set = place.run_with(&["--json", "secret", "set", "shop"], &format!("{SECRET}\n")).good();
    assert_eq!(set.json()["version"], 1);
    place.run(&["connector", "accept", "shop", "--yes"]).good();
    until("what looked is over", || leases(&serve).is_empty());
    let task = serve.open("work");
    assert_eq!(task.word("shop", "act", "v"), "ok");
    let bearer = format!("Bearer {SECRET}");
    assert!(authorization(&shop).iter().all(|sent| sent.as_deref() == Some(&bearer)), "every message carries it");
    assert!(shop.received().iter().all(|received| received.line.contains(&format!("?key={SECRET}"))));
    let [lease] = leases(&serve).try_into().unwrap();
    assert_eq!((lease["class"].as_str(), lease["state"].as_str()), (Some("write"), Some("live")));
    assert_eq!(lease["revocation"], "gateway only");
    let listed = place.run(&["secret", "list"]).good();
    assert!(listed.out.contains("standing, owner tests"), "{listed:?}");
    serve.stop(&task.id);
    until("the lease is over", || leases(&serve).is_empty());
    assert_eq!(task.word("shop", "act", "v"), "task_over");
    serve.terminate();
    assert_eq!(holding(place.path(), SECRET), Vec::<String>::new(), "it stands in no file");
}

#[test]
fn another_master_key_opens_what_the_vault_has() {
    let shop = Upstream::http(&["act"], good);
    let source =
        "owner = \"tests\"\n[static]\nsecret = \"shop\"\nclasses = [\"read\", \"write\"]\nrotate_by = 2099-01-01\n";
    let place = house(&shop, source, "headers = { Authorization = \"Bearer {secret}\" }");
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    place.run_with(&["secret", "set", "shop"], SECRET).good();
    place.run(&["connector", "accept", "shop", "--yes"]).good();
    place.run(&["key", "rotate", "master", "--now"]).good();
    assert_eq!(serve.open("work").word("shop", "act", "v"), "ok", "the one before opens nothing any more");
    serve.terminate();
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    assert_eq!(serve.open("work").word("shop", "act", "v"), "ok");
    let shown = place.run(&["connector", "show", "shop"]).good();
    assert!(shown.out.contains("from shop-key (static, A STANDING SECRET; tests)"), "{shown:?}");
    assert!(shown.out.contains("taken back: gateway only"), "{shown:?}");
    let doctor = || place.run(&["doctor"]).out;
    assert!(doctor().contains("nothing in the policy looks like a secret"), "{}", doctor());
    place.write("policy/credentials/shop-key.toml", &source.replace("2099", "2001"));
    place.write("policy/connectors/told.toml", "command = [\"told\"]\nenv = { API_TOKEN = \"hunter2\" }\n");
    fs::set_permissions(place.data().join("vault/shop.secret"), fs::Permissions::from_mode(0o644)).unwrap();
    let doctor = doctor();
    for what in
        ["env.API_TOKEN in connectors/told.toml", "should have been exchanged by 2001-01-02", "vault/shop.secret"]
    {
        assert!(doctor.contains(what), "{what}: {doctor}");
    }
    drop(serve);
}

#[test]
fn a_master_key_that_is_given_up_at_once_takes_no_secret_with_it_whenever_it_is_killed() {
    let shop = Upstream::http(&["act"], good);
    let source = "owner = \"tests\"\n[static]\nsecret = \"shop\"\nclasses = [\"read\", \"write\"]\n";
    let place = house(&shop, source, "headers = { Authorization = \"Bearer {secret}\" }");
    let mut serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    place.run_with(&["secret", "set", "shop"], SECRET).good();
    place.run(&["connector", "accept", "shop", "--yes"]).good();
    for round in 0..20_usize {
        let (begun, rotating) = crate::keys::rotating(&place, "master", true);
        until("a rotation has begun", || begun.load(Ordering::SeqCst) > round % 3 + 1);
        for _ in 0..round * 4_000 {
            std::hint::spin_loop();
        }
        serve.kill();
        rotating.join().unwrap();
        serve = Serve::start(&place).unwrap_or_else(|ran| panic!("round {round}: it does not start again: {ran:?}"));
        assert_eq!(serve.open("work").word("shop", "act", "v"), "ok", "round {round}");
    }
}

#[test]
fn the_same_secret_under_two_names_is_refused_or_flagged() {
    let place = Place::new();
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    place.run_with(&["secret", "set", "one"], SECRET).good();
    let twice = place.run_with(&["--json", "secret", "set", "two"], SECRET);
    assert!(twice.code != 0 && twice.json()["error"]["word"] == "secret_twice", "{twice:?}");
    place.run_with(&["secret", "set", "two", "--legacy"], SECRET).good();
    let listed = place.run(&["secret", "list"]).good();
    assert!(listed.out.contains("the same as one") && !listed.out.contains(SECRET), "{listed:?}");
    place.run(&["secret", "remove", "two"]).good();
    let gone = place.run(&["secret", "remove", "two"]);
    assert!(gone.code != 0 && gone.err.contains("secret_unknown"), "{gone:?}");
    drop(serve);
}

#[test]
fn a_credential_lives_as_long_as_its_task_and_is_the_tasks_own() {
    let shop = Upstream::http(&["act"], good);
    let place = with_program(&shop);
    let serve = place.serve(&["shop"]);
    until("what looked is taken back", || ledger(&place).is_empty() && leases(&serve).is_empty());
    let (one, other) = (serve.open("work"), serve.open("work"));
    assert_eq!(one.word("shop", "act", "1"), "ok");
    assert_eq!(one.word("shop", "act", "2"), "ok");
    assert_eq!(ledger(&place).len(), 1, "one for the task, whatever it calls");
    assert_eq!(other.word("shop", "act", "3"), "ok");
    let names = ledger(&place);
    assert_eq!(names.len(), 2, "another task has another one");
    let used: Vec<String> = shop.calls().iter().map(|call| call.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(used[0], used[1]);
    assert_ne!(used[1], used[2]);
    serve.stop(&one.id);
    until("only the other's is left", || ledger(&place).len() == 1 && leases(&serve).len() == 1);
    assert_eq!(other.word("shop", "act", "4"), "ok", "and is as good as before");
    // A credential alone can be taken back: the next call gets another one.
    let [lease] = leases(&serve).try_into().unwrap();
    place.run(&["kill", lease["node"].as_str().unwrap()]).good();
    until("it is taken back", || ledger(&place).is_empty());
    assert_eq!(other.word("shop", "act", "5"), "ok");
    assert_eq!(ledger(&place).len(), 1);
    place.run(&["task", "stop", &other.id]).good();
    until("nothing is left", || ledger(&place).is_empty() && leases(&serve).is_empty());
    let counted = serve.admin("GET", "/v1/leases", &Value::Null).1["counted"].clone();
    assert_eq!((&counted["issued"], &counted["withdrawn"], &counted["verified"]), (&json!(5), &json!(5), &json!(5)));
    let ends = ends(&place);
    assert!(ends.iter().all(|(_, ends)| *ends == ["issued", "withdrawn"]), "{ends:?}");
    assert_eq!(ends.len(), 5, "one that showed, one that accepted, and three of tasks");
    assert_eq!(fs::read_dir(place.data().join("vault")).unwrap().count(), 1, "what took them back is forgotten");
}

#[test]
fn whatever_a_back_end_does_nothing_is_left_behind() {
    let shop = Upstream::http(&["act"], good);
    let place = with_program(&shop);
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    place.write("refuses", "");
    assert_eq!(task.word("shop", "act", "v"), "credential_unavailable");
    fs::remove_file(place.path().join("refuses")).unwrap();
    // It made one and did not say so.
    place.write("breaks", "");
    assert_eq!(task.word("shop", "act", "v"), "credential_unavailable");
    until("it is taken back by its name", || ledger(&place).is_empty());
    fs::remove_file(place.path().join("breaks")).unwrap();
    assert!(shop.calls().is_empty(), "nothing was called without a credential");
    // The task ends while one is being issued: the late answer is taken back, and never used.
    place.write("hangs", "");
    let calling = {
        let task = task.clone();
        std::thread::spawn(move || task.word("shop", "act", "v"))
    };
    until("it is being issued", || !ledger(&place).is_empty());
    serve.stop(&task.id);
    assert_eq!(calling.join().unwrap(), "task_over");
    fs::remove_file(place.path().join("hangs")).unwrap();
    until("the late one is taken back", || ledger(&place).is_empty() && leases(&serve).is_empty());
    assert!(shop.calls().is_empty());
    // It does not take back: that is told, and tried again.
    let task = serve.open("work");
    assert_eq!(task.word("shop", "act", "v"), "ok");
    place.write("stays", "");
    serve.stop(&task.id);
    let tail = || place.run(&["audit", "tail", "-n", "1000"]).good().out;
    until("it is told", || tail().contains("is not taken back yet (tried 1x): not now"));
    assert_eq!(leases(&serve)[0]["state"], "being taken back");
    fs::remove_file(place.path().join("stays")).unwrap();
    until("it is taken back then", || ledger(&place).is_empty() && leases(&serve).is_empty());
}

fn killed_at(place: &Place, serve: Serve, what: &str, task: &Task) -> Serve {
    let task = task.clone();
    place.write(what, "");
    let calling = std::thread::spawn(move || task.try_post("shop", call().as_bytes()));
    until("one is issued", || !ledger(place).is_empty());
    serve.kill();
    drop(calling.join());
    fs::remove_file(place.path().join(what)).unwrap();
    Serve::start(place).unwrap_or_else(|ran| panic!("{ran:?}"))
}

fn call() -> String {
    let params = json!({ "name": "act", "arguments": { "value": "v" } });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string()
}

#[test]
fn what_a_crash_leaves_behind_is_taken_back_by_its_name() {
    let shop = Upstream::http(&["act"], good);
    let place = with_program(&shop);
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    // While it is being issued: nobody knows of it but the back end.
    let serve = killed_at(&place, serve, "hangs", &task);
    until("the orphan is taken back", || ledger(&place).is_empty() && leases(&serve).is_empty());
    // In the middle of the task's life: the task goes on with another one.
    let task = serve.rejoin(&task);
    assert_eq!(task.word("shop", "act", "v"), "ok");
    let before = ledger(&place);
    serve.kill();
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    until("the one before is taken back", || ledger(&place).is_empty() && leases(&serve).is_empty());
    let task = serve.rejoin(&task);
    assert_eq!(task.word("shop", "act", "v"), "ok");
    assert_ne!(ledger(&place), before);
    // While it is being taken back.
    place.write("stays", "");
    serve.stop(&task.id);
    serve.kill();
    fs::remove_file(place.path().join("stays")).unwrap();
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    until("it is taken back in the next life", || ledger(&place).is_empty() && leases(&serve).is_empty());
    let ends = ends(&place);
    assert!(ends.iter().all(|(_, ends)| ends.last().is_some_and(|end| end == "withdrawn")), "{ends:?}");
}

#[test]
fn what_is_issued_after_its_asker_died_is_taken_back_too() {
    let shop = Upstream::http(&["act"], good);
    let place = with_program(&shop);
    let serve = place.serve(&["shop"]);
    until("what looked is taken back", || ledger(&place).is_empty() && leases(&serve).is_empty());
    let task = serve.open("work");
    place.write("asked", "");
    place.write("late", "");
    let calling = {
        let task = task.clone();
        std::thread::spawn(move || task.try_post("shop", call().as_bytes()))
    };
    until("one is asked for", || place.read("asked").contains("issue"));
    serve.kill();
    drop(calling.join());
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    let tail = || place.run(&["audit", "tail", "-n", "1000"]).good().out;
    until("it is not believed to be gone", || tail().contains("still runs"));
    assert!(ledger(&place).is_empty() && leases(&serve).len() == 1);
    fs::remove_file(place.path().join("late")).unwrap();
    until("it is taken back once it is known", || leases(&serve).is_empty());
    assert_eq!(ledger(&place), Vec::<String>::new());
    assert_eq!(fs::read_dir(place.data().join("vault")).unwrap().count(), 1, "nothing is kept of it");
}

#[test]
fn what_the_policy_does_not_speak_of_any_more_ends_without_another_call() {
    let shop = Upstream::http(&["act"], good);
    let place = with_program(&shop);
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    assert_eq!(task.word("shop", "act", "v"), "ok");
    let [first] = ledger(&place).try_into().unwrap();
    let source = place.read("policy/credentials/shop-key.toml");
    place.write("policy/credentials/shop-key.toml", &format!("ttl = \"10m\"\n{source}"));
    place.run(&["policy", "apply"]).good();
    until("it is taken back", || ledger(&place).is_empty() && leases(&serve).is_empty());
    assert_eq!(task.word("shop", "act", "v"), "ok", "the next call gets one as it is said now");
    assert_ne!(ledger(&place), [first]);
}

#[test]
fn a_secret_that_is_exchanged_is_put_in_by_tasks_that_run() {
    let shop = Upstream::http(&["act"], good);
    let source =
        "owner = \"tests\"\n[static]\nsecret = \"shop\"\nclasses = [\"read\", \"write\"]\nrotate_by = 2099-01-01\n";
    let place = house(&shop, source, "headers = { Authorization = \"Bearer {secret}\" }");
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    place.run_with(&["secret", "set", "shop"], SECRET).good();
    place.run(&["connector", "accept", "shop", "--yes"]).good();
    let task = serve.open("work");
    assert_eq!(task.word("shop", "act", "v"), "ok");
    place.run_with(&["secret", "set", "shop"], "sk-live-the-next-one").good();
    assert_eq!(task.word("shop", "act", "v"), "ok");
    let used: Vec<_> = shop.calls().iter().map(|call| call.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(used, [format!("Bearer {SECRET}"), "Bearer sk-live-the-next-one".to_owned()]);
    place.run(&["secret", "remove", "shop"]).good();
    assert_eq!(task.word("shop", "act", "v"), "credential_unavailable", "what is taken out is used no more");
}

#[test]
fn a_process_gets_its_credential_by_its_environment_or_a_file_that_only_it_has() {
    let before = "echo \"env=$SHOP_TOKEN file=$(cat $SHOP_FILE)\" >> $HOME/seen";
    let shop = Upstream::stdio_with(&["act"], before, "kill $(jobs -p)", good);
    let place = with_program(&shop);
    let put = "env = { SHOP_TOKEN = \"{token}\" }\nfiles = { SHOP_FILE = \"token={token}\" }";
    place.connector("shop", &shop, &format!("\n[credentials]\nsource = \"shop-key\"\n{put}\n"));
    let serve = place.serve(&["shop"]);
    until("what looked is taken back", || leases(&serve).is_empty());
    fs::remove_file(place.path().join("seen")).unwrap();
    let task = serve.open("work");
    assert_eq!(task.word("shop", "act", "v"), "ok");
    let [name] = ledger(&place).try_into().unwrap();
    assert_eq!(place.read("seen").trim(), format!("env=tok-{name} file=token=tok-{name}"));
    // With the credential goes the process that holds it.
    let children = shop.children().pop().unwrap();
    for pid in [serve.pid(), children[0]] {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let words: Vec<&str> = core.split_whitespace().collect();
        assert_eq!(words[4..6], ["1", "1"], "a crash would dump what is in memory: {core}");
    }
    let watched = crate::support::process::Watched::of(children[0]).unwrap();
    let [lease] = leases(&serve).try_into().unwrap();
    place.run(&["kill", lease["node"].as_str().unwrap()]).good();
    assert!(watched.ends(), "the process outlives its credential");
    until("it is taken back", || ledger(&place).is_empty());
    assert_eq!(task.word("shop", "act", "v"), "ok", "the next call gets another process and another credential");
}

#[test]
fn a_back_end_is_asked_for_a_few_at_once_however_many_want_one_or_end() {
    let shop = Upstream::http(&["act"], good);
    let place = with_program(&shop);
    let serve = place.serve(&["shop"]);
    until("what looked is taken back", || leases(&serve).is_empty());
    place.write("lingers", "");
    let tasks: Vec<Task> = (0..24).map(|_| serve.open("work")).collect();
    let calling: Vec<_> = tasks
        .iter()
        .map(|task| {
            let task = task.clone();
            std::thread::spawn(move || task.word("shop", "act", "v"))
        })
        .collect();
    assert!(calling.into_iter().all(|call| call.join().unwrap() == "ok"));
    assert_eq!(ledger(&place).len(), 24);
    place.run(&["kill", "all"]).good();
    until("all are taken back", || ledger(&place).is_empty() && leases(&serve).is_empty());
    let most = place.read("at-once").lines().filter_map(|line| line.parse::<u32>().ok()).max();
    assert!((2..=8).contains(&most.unwrap()), "{most:?}");
    let counted = serve.admin("GET", "/v1/leases", &Value::Null).1["counted"].clone();
    assert_eq!((counted["resisted"].as_u64(), counted["failed"].as_u64()), (Some(0), Some(0)), "{counted}");
}

/// Holds back the call with the value `slow` until it is let go on
fn until_opened(gate: &Gate) -> impl Fn(&Received, &mut Wire) -> bool + Send + Sync + 'static {
    let gate = gate.clone();
    move |received, _| {
        if received.value == "slow" {
            gate.wait();
        }
        false
    }
}

#[test]
fn each_call_has_a_credential_of_its_own_where_the_purpose_says_so() {
    let gate = Gate::default();
    for shop in [Upstream::http(&["act"], until_opened(&gate)), Upstream::stdio(&["act"], until_opened(&gate))] {
        gate.shut();
        let http = shop.reach().starts_with("url");
        let place = with_program(&shop);
        if !http {
            place.connector(
                "shop",
                &shop,
                "\n[credentials]\nsource = \"shop-key\"\nenv = { SHOP_TOKEN = \"{token}\" }\n",
            );
        }
        place.purpose("work", &[("shop", &shop)], "credentials = \"call\"", "");
        let serve = place.serve(&["shop"]);
        until("what looked is taken back", || leases(&serve).is_empty());
        let task = serve.open("work");
        let slow = {
            let task = task.clone();
            std::thread::spawn(move || task.word("shop", "act", "slow"))
        };
        until("it is under way", || shop.values().contains(&"slow".to_owned()));
        let [first] = ledger(&place).try_into().unwrap();
        // Others come and go meanwhile, many at once, and each leaves nothing behind.
        let others: Vec<_> = (0..6)
            .map(|value| {
                let task = task.clone();
                std::thread::spawn(move || task.word("shop", "act", &value.to_string()))
            })
            .collect();
        for other in others {
            assert_eq!(other.join().unwrap(), "ok");
        }
        until("only the slow one's is left", || ledger(&place) == [first.clone()] && leases(&serve).len() == 1);
        gate.open();
        assert_eq!(slow.join().unwrap(), "ok", "nobody took its connection away");
        until("nothing is left, and the task lives", || ledger(&place).is_empty() && leases(&serve).is_empty());
        if http {
            let mut used: Vec<_> =
                shop.calls().iter().map(|call| call.header("authorization").unwrap().to_owned()).collect();
            used.sort();
            used.dedup();
            assert_eq!(used.len(), 7, "each had another one");
        }
    }
}

#[test]
fn one_that_is_about_to_end_is_replaced_and_what_was_begun_with_it_goes_on() {
    let gate = Gate::default();
    for shop in [Upstream::http(&["act"], until_opened(&gate)), Upstream::stdio(&["act"], until_opened(&gate))] {
        gate.shut();
        let place = with_program(&shop);
        let source = place.read("policy/credentials/shop-key.toml");
        place.write("policy/credentials/shop-key.toml", &format!("ttl = \"3s\"\n{source}"));
        if !shop.reach().starts_with("url") {
            place.connector(
                "shop",
                &shop,
                "\n[credentials]\nsource = \"shop-key\"\nenv = { SHOP_TOKEN = \"{token}\" }\n",
            );
        }
        let serve = place.serve(&["shop"]);
        until("what looked is taken back", || leases(&serve).is_empty());
        let task = serve.open("work");
        let slow = {
            let task = task.clone();
            std::thread::spawn(move || task.word("shop", "act", "slow"))
        };
        until("it is under way", || shop.values().contains(&"slow".to_owned()));
        let [first] = ledger(&place).try_into().unwrap();
        until("a call gets the next one", || {
            assert_eq!(task.word("shop", "act", "v"), "ok", "no call falls between two");
            ledger(&place).len() == 2
        });
        until("its time has passed", || leases(&serve).iter().any(|lease| lease["state"] == "over, a call goes on"));
        assert!(ledger(&place).contains(&first), "not while something begun with it goes on");
        gate.open();
        assert_eq!(slow.join().unwrap(), "ok", "nobody took its connection away");
        until("it is taken back then", || !ledger(&place).contains(&first));
        // A server that is left with its credential is none that keeps dying.
        for _ in 0..6 {
            let before = ledger(&place);
            until("the next one", || {
                assert_eq!(task.word("shop", "act", "v"), "ok");
                ledger(&place).iter().any(|lease| !before.contains(lease))
            });
        }
    }
}

#[test]
fn one_that_ends_while_a_call_goes_on_with_it_keeps_no_other_call_waiting() {
    let gate = Gate::default();
    let shop = Upstream::http(&["act"], until_opened(&gate));
    let source =
        "owner = \"tests\"\n[static]\nsecret = \"shop\"\nclasses = [\"read\", \"write\"]\nrotate_by = 2099-01-01\n";
    let place = house(&shop, source, "headers = { Authorization = \"Bearer {secret}\" }");
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    place.run_with(&["secret", "set", "shop"], SECRET).good();
    place.run(&["connector", "accept", "shop", "--yes"]).good();
    let task = serve.open("work");
    let slow = {
        let task = task.clone();
        std::thread::spawn(move || task.word("shop", "act", "slow"))
    };
    until("it is under way", || shop.values().contains(&"slow".to_owned()));
    place.run_with(&["secret", "set", "shop"], "sk-live-the-next-one").good();
    assert_eq!(task.word("shop", "act", "v"), "ok");
    assert_eq!(shop.calls().last().unwrap().header("authorization"), Some("Bearer sk-live-the-next-one"));
    gate.open();
    assert_eq!(slow.join().unwrap(), "ok", "nobody took its connection away");
}

#[test]
fn what_was_issued_for_a_call_that_never_left_is_taken_back() {
    let shop = Upstream::http(&["act"], good);
    let place = with_program(&shop);
    place.purpose("work", &[("shop", &shop)], "credentials = \"call\"", "");
    let serve = place.serve(&["shop"]);
    until("what looked is taken back", || leases(&serve).is_empty());
    let task = serve.open("work");
    shop.close_door();
    assert_eq!(task.word("shop", "act", "v"), "connector_unreachable");
    until("nobody has anything of it", || ledger(&place).is_empty() && leases(&serve).is_empty());
    shop.open_door();
    // Whoever goes away while it is being issued has nothing issued for them either.
    place.write("hangs", "");
    let asked = place.read("asked").matches("issue").count();
    let message = call();
    let mut stream = std::net::TcpStream::connect(serve.address).unwrap();
    let headers = [("host", serve.address.to_string()), ("authorization", format!("Bearer {}", task.token))];
    let head: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let kinds = "content-type: application/json\r\naccept: application/json, text/event-stream\r\n";
    let text = format!("POST /mcp/shop HTTP/1.1\r\n{head}{kinds}content-length: {}\r\n\r\n{message}", message.len());
    stream.write_all(text.as_bytes()).unwrap();
    until("it is asked for", || place.read("asked").matches("issue").count() > asked);
    drop(stream);
    fs::remove_file(place.path().join("hangs")).unwrap();
    until("nobody has anything of it", || ledger(&place).is_empty() && leases(&serve).is_empty());
}

#[test]
fn a_credential_goes_in_messages_and_in_tls_where_a_server_wants_it_there() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let shop = Upstream::http(&["act"], good);
    let server = shop.url().split('/').nth(2).unwrap().parse().unwrap();
    let front = Front::of(server, &authority.server(), &[clients.der()]);
    let place = Place::with(&[("shop", &shop)], "", "");
    let source = |secret: &str| {
        format!(
            "owner = \"tests\"\n[static]\nsecret = \"{secret}\"\nclasses = [\"read\", \"write\"]\nrotate_by = 2099-01-01\n"
        )
    };
    place.write("policy/credentials/shop-key.toml", &source("shop"));
    let put =
        "body = { \"/params/_meta/com.example~1key\" = \"Key {secret}\", \"/params/arguments/key\" = \"{secret}\" }";
    place.connector("shop", &shop, &format!("\n[credentials]\nsource = \"shop-key\"\n{put}\n"));
    place.write("servers.pem", &pem("CERTIFICATE", &authority.der()));
    let trusts = |command: &mut std::process::Command| {
        command.env("SSL_CERT_FILE", place.path().join("servers.pem"));
    };
    let serve = Serve::start_as(&place, trusts).unwrap_or_else(|ran| panic!("{ran:?}"));
    place.run_with(&["secret", "set", "shop"], SECRET).good();
    place.run(&["connector", "accept", "shop", "--yes"]).good();
    let task = serve.open("work");
    // What the agent writes in its place does not arrive.
    let answer = task.call("shop", "act", &json!({ "value": "v" }));
    assert!(answer.get("result").is_some(), "{answer}");
    let [call] = shop.calls().try_into().unwrap_or_else(|calls: Vec<_>| panic!("{}", calls.len()));
    let call = call.json();
    assert_eq!(call["params"]["_meta"]["com.example/key"], format!("Key {SECRET}"));
    assert_eq!(call["params"]["arguments"], json!({ "value": "v", "key": SECRET }));
    let asked: Vec<Value> = shop.received().iter().map(Received::json).collect();
    let listed = asked.iter().find(|asked| asked["method"] == "tools/list").unwrap();
    assert_eq!(listed["params"]["_meta"]["com.example/key"], format!("Key {SECRET}"));
    assert!(listed["params"].get("arguments").is_none());
    assert_eq!(holding(&place.data(), SECRET), Vec::<String>::new(), "put in after all that is kept");

    // In TLS: with the certificate it is let in, without it is not.
    let (chain, key) = clients.svid("spiffe://example.org/gateway").pem();
    place.write("policy/credentials/pair.toml", &source("pair"));
    let text = place.read("policy/connectors/shop.toml");
    let secure = |put: &str| {
        text.replace(&shop.reach(), &format!("url = \"{}\"\n", front.url("/mcp")))
            .replace("source = \"shop-key\"", "source = \"pair\"")
            .replace(text.lines().find(|line| line.starts_with("body")).unwrap(), put)
    };
    place.run_with(&["secret", "set", "pair"], format!("{chain}{key}").trim()).good();
    place.write("policy/connectors/shop.toml", &secure("query = { pair = \"{secret}\" }"));
    place.run(&["policy", "apply"]).good();
    let shown = place.json(&["connector", "show", "shop"]);
    assert!(shown["unreachable"].is_string(), "{shown}");
    place.write("policy/connectors/shop.toml", &secure("certificate = { chain = \"{secret}\", key = \"{secret}\" }"));
    place.run(&["policy", "apply"]).good();
    place.run(&["connector", "accept", "shop", "--yes"]).good();
    assert_eq!(serve.open("work").word("shop", "act", "w"), "ok");
    assert!(front.clients().iter().flatten().next().is_some(), "it was shown");
}

/// Whether a text stands anywhere in what a process has in memory
fn has_in_memory(pid: u32, text: &str) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    maps.lines().any(|line| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // What the kernel itself put there cannot be read, and holds nothing of anybody.
        rest.starts_with('r')
            && memory.read_exact_at(&mut bytes, from).is_ok()
            && bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn no_agent_has_a_credential_in_its_memory() {
    let shop = Upstream::http(&["act"], good);
    let place = with_program(&shop);
    let serve = place.serve(&["shop"]);
    until("what looked is taken back", || leases(&serve).is_empty());
    let params = json!({ "name": "act", "arguments": { "value": "what-the-agent-says" } });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let agent = format!(
        "coproc B {{ exec '{PROGRAM}' bridge shop; }}\necho '{call}' >&${{B[1]}}\nread -r answer <&${{B[0]}}\n\
         echo \"$answer\" > answer\necho $$ $B_PID > pids.new\nmv pids.new pids\n\
         while [ ! -e done ]; do sleep 0.02; done\n"
    );
    place.write("agent.sh", &agent);
    let mut command = place.command(PROGRAM, &["exec", "--purpose", "work", "--", "bash", "agent.sh"]);
    let mut exec = command.spawn().unwrap();
    until("the agent has its answer", || place.path().join("pids").exists());
    assert!(place.read("answer").contains("\"result\""), "{}", place.read("answer"));
    let [lease] = ledger(&place).try_into().unwrap();
    let mut pids: Vec<u32> = place.read("pids").split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    pids.push(exec.id());
    assert!(pids[..2].iter().all(|pid| has_in_memory(*pid, "what-the-agent-says")), "they are looked through");
    for pid in pids {
        assert!(!has_in_memory(pid, &format!("tok-{lease}")), "process {pid} has the credential");
    }
    assert!(has_in_memory(serve.pid(), &format!("tok-{lease}")), "whoever puts it in has it");
    place.write("done", "");
    exec.wait().unwrap();
    until("nothing is left", || ledger(&place).is_empty());
}
