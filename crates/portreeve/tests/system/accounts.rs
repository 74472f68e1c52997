//! Accounts that people connect at a real server, and what tasks on their behalf do with them.

use crate::support::{
    place::{PROGRAM, Place, Running, Serve, Task},
    provider::RealProvider,
    until,
    upstream::{Received, Upstream, Wire},
};
use serde_json::{Value, json};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// A folder whose connector `cal` is called with the account of whoever a task is for; this account is that of the user
fn house(provider: &RealProvider, cal: &Upstream, revocation: &str) -> Place {
    let place = Place::with(&[("cal", cal)], "", "");
    let source = format!(
        "owner = \"tests\"\n[account]\nissuer = \"{}\"\nprivate = true\nclient_id = \"calendar\"\nsecret = \"calendar\"\n\
         resource = \"https://orders.example\"\nrevocation = \"{revocation}\"\nask = [\"openid\", \"offline_access\"]\n\
         [account.read]\nscope = [\"orders.read\"]\n[account.write]\nscope = [\"orders.read\", \"orders.write\"]\n",
        provider.name
    );
    place.write("policy/credentials/calendar.toml", &source);
    let put = "headers = { Authorization = \"Bearer {token}\" }";
    place.connector("cal", cal, &format!("\n[credentials]\nsource = \"calendar\"\n{put}\n"));
    let work = place.read("policy/purposes/work.toml");
    place.write(
        "policy/purposes/work.toml",
        &work.replace("users = \"none\"", &format!("users = [\"{}\"]", user(&place))),
    );
    place
}

/// Whose account it is that runs the tests
fn user(place: &Place) -> String {
    let users = fs::read_dir(place.path().join("policy/users")).unwrap();
    let names = users.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
    names.collect::<Vec<_>>().pop().unwrap()
}

fn serve(place: &Place, provider: &RealProvider) -> Serve {
    let serve = Serve::start(place).unwrap_or_else(|ran| panic!("{ran:?}"));
    let back = format!("http://localhost:{}/accounts/return", serve.address.port());
    provider.control("register", &[("uri", &back)]);
    serve
}

/// The same after a crash, where browsers come back to
fn again(place: &Place, serve: Serve) -> Serve {
    let address = serve.address.to_string();
    serve.kill();
    Serve::start_at(place, &address, |_| ()).unwrap_or_else(|ran| panic!("{ran:?}"))
}

/// Connects the account, as a person at a terminal and in a browser does; what the command said at its end
fn connect(place: &Place, provider: &RealProvider) -> (i32, String) {
    let arguments = ["-c", "exec \"$0\" \"$@\" 2>&1", PROGRAM, "account", "connect", "calendar"];
    let mut running = Running::talking(place.command("sh", &arguments));
    let url = loop {
        let line = running.lines.next().expect("the address is shown");
        if let Some(url) = line.strip_prefix("open ") {
            break url.to_owned();
        }
    };
    let back = provider.control("visit", &[("url", &url)]);
    running.say(&back);
    let mut said = String::new();
    while let Some(line) = running.lines.next() {
        said.push_str(&line);
        said.push('\n');
    }
    (running.end(), said)
}

fn leases(serve: &Serve) -> Vec<Value> {
    serve.admin("GET", "/v1/leases", &Value::Null).1["leases"].as_array().unwrap().clone()
}

fn refreshes(provider: &RealProvider) -> Vec<String> {
    serde_json::from_str(&provider.control("refreshes", &[])).unwrap()
}

fn tokens(cal: &Upstream) -> Vec<String> {
    let calls = cal.received().into_iter().filter(|received| received.method == "tools/call");
    let token = |header: &str| header.strip_prefix("Bearer ").unwrap().to_owned();
    calls.map(|received| token(received.header("authorization").unwrap())).collect()
}

fn whys(place: &Place) -> String {
    place.run(&["audit", "tail", "-n", "1000"]).good().out
}

#[test]
fn a_task_works_with_the_account_of_whom_it_is_for_over_restarts_until_that_is_broken_or_disconnected() {
    let test = "a_task_works_with_the_account_of_whom_it_is_for_over_restarts_until_that_is_broken_or_disconnected";
    let Some(provider) = RealProvider::start(test) else { return };
    let cal = Upstream::http(&["act"], |_: &Received, _: &mut Wire| false);
    let place = house(&provider, &cal, "expiry only");
    let running = serve(&place, &provider);
    let user = user(&place);
    place.run_with(&["secret", "set", "calendar"], "calendar-of-the-test").good();
    // Without an account there is nothing to work with, and the operator sees why.
    let accepted = place.run(&["connector", "accept", "cal", "--yes"]);
    assert_ne!(accepted.code, 0, "{accepted:?}");
    assert!(whys(&place).contains("has connected no account"), "{}", whys(&place));
    assert!(cal.received().is_empty());
    let (code, said) = connect(&place, &provider);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("calendar: the account of {user} is connected")), "{said}");
    place.run(&["connector", "accept", "cal", "--yes"]).good();
    let task = running.open("work");
    assert_eq!(task.word("cal", "act", "v"), "ok");
    let told = provider.lets_in(tokens(&cal).last().unwrap()).unwrap();
    assert_eq!((&told["accountId"], &told["scope"]), (&json!("a-1"), &json!("orders.read orders.write")));

    // Many at once: each gets a token of its own, and none asks with what another one has used already.
    let tasks: Vec<Task> = (0..6).map(|_| running.open("work")).collect();
    let calling = tasks.iter().cloned().map(|task| std::thread::spawn(move || task.word("cal", "act", "v")));
    let words: Vec<String> = calling.collect::<Vec<_>>().into_iter().map(|calling| calling.join().unwrap()).collect();
    assert!(words.iter().all(|word| word == "ok"), "{words:?}");
    let mut seen = tokens(&cal);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 7, "a token for each task");

    // Nothing of it lies anywhere, and it goes on after a start.
    for token in seen.iter().chain(&refreshes(&provider)) {
        for file in [place.data().join("log.db"), place.data().join("log.db-wal"), place.path().join("serve.log")] {
            let bytes = fs::read(&file).unwrap_or_default();
            assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()), "{}", file.display());
        }
        for file in fs::read_dir(place.data().join("vault")).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()));
        }
    }
    let running = again(&place, running);
    let task = running.open("work");
    assert_eq!(task.word("cal", "act", "v"), "ok");

    // Somebody who found one that was used already tries it: the server takes all of it back, and that is told.
    let old = refreshes(&provider).into_iter().next().unwrap();
    assert!(provider.control("steal", &[("token", &old)]).contains("invalid_grant"));
    let task = running.open("work");
    assert_eq!(task.word("cal", "act", "v"), "credential_unavailable");
    let listed = place.run(&["--json", "account", "list"]).good().json();
    assert_eq!(listed["accounts"][0]["user"], user.as_str());
    assert!(listed["accounts"][0]["broken"].as_str().unwrap().contains("invalid_grant"), "{listed}");
    assert!(whys(&place).contains("portreeve account connect calendar"));
    let (code, said) = connect(&place, &provider);
    assert_eq!(code, 0, "{said}");
    assert_eq!(task.word("cal", "act", "v"), "ok");

    // Disconnected, it is nothing any more, here and there.
    let latest = refreshes(&provider).pop().unwrap();
    let gone = place.run(&["--json", "account", "disconnect", "calendar"]).good().json();
    assert_eq!(gone["taken_back"], true, "{gone}");
    assert!(provider.control("steal", &[("token", &latest)]).contains("invalid_grant"));
    assert_eq!(task.word("cal", "act", "v"), "credential_unavailable", "who had a token of it calls with it no more");
    assert_eq!(running.open("work").word("cal", "act", "v"), "credential_unavailable");
    assert_eq!(place.run(&["--json", "account", "list"]).good().json()["accounts"], json!([]));
    let again = place.run(&["--json", "account", "disconnect", "calendar"]);
    assert!(again.code != 0 && again.out.contains("account_unknown"), "{again:?}");
    let noted: Vec<Value> = place
        .record()
        .events("noted")
        .filter_map(|(_, noted)| Some(noted.get("account")?["connected"].clone()))
        .collect();
    assert_eq!(noted, [json!(true), json!(true), json!(false)]);
}

#[test]
fn a_crash_after_a_token_was_used_loses_no_account() {
    let Some(provider) = RealProvider::start("a_crash_after_a_token_was_used_loses_no_account") else { return };
    // The first call that arrives ends Portreeve, without a word.
    let ends = Arc::new(AtomicU32::new(0));
    let pid = Arc::clone(&ends);
    let cal = Upstream::http(&["act"], move |received: &Received, _: &mut Wire| {
        let pid = pid.swap(0, Ordering::SeqCst);
        if received.method.is_empty() || pid == 0 {
            return false;
        }
        crate::support::process::Watched::of(pid).unwrap().signal(rustix::process::Signal::KILL);
        true
    });
    let place = house(&provider, &cal, "expiry only");
    let running = serve(&place, &provider);
    place.run_with(&["secret", "set", "calendar"], "calendar-of-the-test").good();
    assert_eq!(connect(&place, &provider).0, 0);
    place.run(&["connector", "accept", "cal", "--yes"]).good();
    let before = refreshes(&provider).len();
    let task = running.open("work");
    ends.store(running.pid(), Ordering::SeqCst);
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "act", "arguments": { "value": "v" } } });
    assert!(task.try_post("cal", message.to_string().as_bytes()).is_none());
    assert!(refreshes(&provider).len() > before, "the token was exchanged for another one");
    let running = again(&place, running);
    let task = running.rejoin(&task);
    assert_eq!(task.word("cal", "act", "v"), "ok", "{}", whys(&place));
    until("what was before is left or over", || {
        leases(&running).iter().all(|lease| lease["state"] != "being taken back")
    });
}

#[test]
fn a_server_that_takes_all_of_an_account_back_with_one_token_is_not_said_to_take_back_one() {
    let test = "a_server_that_takes_all_of_an_account_back_with_one_token_is_not_said_to_take_back_one";
    let Some(provider) = RealProvider::start(test) else { return };
    let cal = Upstream::http(&["act"], |_: &Received, _: &mut Wire| false);
    let place = house(&provider, &cal, "immediate");
    let _running = serve(&place, &provider);
    place.run_with(&["secret", "set", "calendar"], "calendar-of-the-test").good();
    let (code, said) = connect(&place, &provider);
    assert!(code != 0 && said.contains("the whole account"), "{said}");
    assert_eq!(place.run(&["--json", "account", "list"]).good().json()["accounts"], json!([]));
}
