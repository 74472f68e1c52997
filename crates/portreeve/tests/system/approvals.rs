//! What people are asked and what they answer: on the command line, at the socket, by signed messages.

use crate::support::{
    http::{Response, exchange, request},
    place::{PROGRAM, Place, Ran, Serve, Task},
    reader::recounted,
    until,
    upstream::Upstream,
};
use portreeve_identity::{
    key::SigningKey,
    webhook::{self, Headers, Key},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

/// The user whom `init` made of the account that runs the tests; in every list before those of [`people`]
pub(crate) fn me(place: &Place) -> String {
    let users = std::fs::read_dir(place.path().join("policy/users")).unwrap();
    let mut names = users.map(|user| user.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
    names.find(|name| !name.starts_with("zz-")).unwrap()
}

/// People who answer by way of a desk that signs for them, as one account is one person
pub(crate) struct Desk {
    key: SigningKey,
    messages: AtomicU64,
}

impl Desk {
    /// What somebody says of a question as it is shown now; status and word
    fn says(&self, serve: &Serve, code: &str, person: &str, yes: bool) -> (u16, String) {
        let (status, hold) = serve.admin("GET", &format!("/v1/holds/{code}"), &Value::Null);
        assert_eq!(status, 200, "{hold}");
        self.says_of(serve, &hold, person, yes)
    }

    /// What somebody says of a question as it was shown; status and word
    fn says_of(&self, serve: &Serve, hold: &Value, person: &str, yes: bool) -> (u16, String) {
        let id = format!("m{}", self.messages.fetch_add(1, Ordering::Relaxed));
        let body = json!({
            "hold": hold["hold"], "binding": hold["binding"], "yes": yes, "why": "not today", "person": person,
        });
        let body = body.to_string();
        let headers = webhook::sign(&self.key, &id, now(), body.as_bytes()).unwrap();
        let answer = hook(serve, "desk", &headers, &body);
        (answer.status, word(&answer))
    }

    #[track_caller]
    fn yes(&self, serve: &Serve, code: &str, person: &str) {
        assert_eq!(self.says(serve, code, person, true), (200, String::new()));
    }

    #[track_caller]
    fn refuses(&self, serve: &Serve, code: &str, person: &str, status: u16, word: &str) {
        assert_eq!(self.says(serve, code, person, true), (status, word.to_owned()));
    }
}

fn word(response: &Response) -> String {
    response.json()["error"]["word"].as_str().unwrap_or_default().to_owned()
}

/// Three leads and some others; the account that runs the tests is a lead too
pub(crate) fn people(place: &Place) -> Desk {
    let users = [
        ("zz-sam", "\"leads\"", "\"approver\""),
        ("zz-tom", "\"leads\"", "\"approver\""),
        ("zz-uma", "\"leads\", \"auditors\"", "\"approver\", \"auditor\""),
        ("zz-vic", "\"staff\"", "\"approver\", \"auditor\""),
    ];
    for (name, groups, roles) in users {
        place.write(
            &format!("policy/users/{name}.toml"),
            &format!("accounts = [\"{name}\"]\ngroups = [{groups}]\nroles = [{roles}]\n"),
        );
    }
    let me = me(place);
    let own = place.read(&format!("policy/users/{me}.toml"));
    let own = own.replace("groups = [\"staff\"]", "groups = [\"staff\", \"leads\", \"auditors\"]");
    let own = format!("{own}\nroles = [\"approver\", \"auditor\"]\n");
    place.write(&format!("policy/users/{me}.toml"), &own);
    // Somebody else's agent.
    place.write("policy/agents/assistant.toml", "owner = \"somebody@example.com\"\nabout = \"Works for the tests\"\n");
    let key = SigningKey::make().unwrap();
    let names = users.map(|(name, ..)| format!("\"{name}\" = \"{name}\"\n")).concat();
    let public = webhook::public_text(&key.public_key());
    place.write(
        "policy/receivers/desk.toml",
        &format!("url = \"http://127.0.0.1:9/\"\nwho = [\"staff\"]\nanswer_key = \"{public}\"\nseveral = true\n[people]\n{names}\"me\" = \"{me}\"\n"),
    );
    Desk { key, messages: AtomicU64::new(0) }
}

/// A shop whose only tool people have to agree to
fn asked(ask: &str) -> (Upstream, Place, Desk) {
    let shop = Upstream::http(&["refund"], |_, _| false);
    let place = Place::with(&[("shop", &shop)], "", &format!("ask = {ask}\n"));
    let desk = people(&place);
    (shop, place, desk)
}

/// A purpose whose openings people have to agree to
fn opened(ask: &str, break_glass: bool) -> (Upstream, Place, Desk) {
    let shop = Upstream::http(&["refund"], |_, _| false);
    let place = Place::with(&[("shop", &shop)], "", "");
    let desk = people(&place);
    write_opening(&place, ask, break_glass);
    (shop, place, desk)
}

fn write_opening(place: &Place, ask: &str, break_glass: bool) {
    let text = place.read("policy/purposes/work.toml");
    let (head, rest) = text.split_once("[task]").unwrap();
    let head = head.split("[open]").next().unwrap();
    let open = if break_glass {
        format!("[open]\nagents = [\"assistant\"]\nusers = {{ group = \"staff\" }}\n\n[break_glass]\n{ask}\n\n")
    } else {
        format!("[open]\nagents = [\"assistant\"]\nusers = {{ group = \"staff\" }}\nask = {ask}\n\n")
    };
    place.write("policy/purposes/work.toml", &format!("{head}{open}[task]{rest}"));
}

/// Calls the tool in a thread of its own: it may wait for people
fn call(task: &Task, value: &str) -> thread::JoinHandle<String> {
    let (task, value) = (task.clone(), value.to_owned());
    thread::spawn(move || task.word("shop", "refund", &value))
}

/// What came of a call in the end: whoever was told to repeat it, repeats it
fn came(task: &Task, call: thread::JoinHandle<String>, value: &str) -> String {
    match call.join().unwrap().as_str() {
        "approval_needed" => task.word("shop", "refund", value),
        came => came.to_owned(),
    }
}

/// The account that runs the tests becomes another lead's, and the next time the first one's again: whoever opened a
/// task does not answer its questions
pub(crate) fn handed_over(place: &Place) {
    let paths = [me(place), WIM.to_owned()].map(|user| format!("policy/users/{user}.toml"));
    if !place.path().join(&paths[1]).exists() {
        place.write(&paths[1], "accounts = [\"elsewhere\"]\ngroups = [\"leads\"]\n");
    }
    let texts = paths.each_ref().map(|path| place.read(path));
    let accounts = texts.each_ref().map(|text| text.lines().find(|line| line.starts_with("accounts")).unwrap());
    place.write(&paths[0], &texts[0].replace(accounts[0], accounts[1]));
    place.write(&paths[1], &texts[1].replace(accounts[1], accounts[0]));
    place.run(&["policy", "apply"]).good();
}

const WIM: &str = "zz-wim";

/// The one question that is open
fn open_hold(serve: &Serve) -> Value {
    until("somebody is asked", || holds(serve, "").len() == 1);
    holds(serve, "").remove(0)
}

fn holds(serve: &Serve, query: &str) -> Vec<Value> {
    let (status, answer) = serve.admin("GET", &format!("/v1/holds{query}"), &Value::Null);
    assert_eq!(status, 200, "{answer}");
    answer["holds"].as_array().unwrap().clone()
}

fn code(hold: &Value) -> String {
    hold["code"].as_str().unwrap().to_owned()
}

/// A yes of whoever runs the tests, on the command line
fn approve(place: &Place, code: &str) -> Ran {
    place.run(&["approve", code, "--yes", "--why", "looked at it"])
}

#[track_caller]
fn refused(ran: &Ran, exit: i32, word: &str) {
    assert_eq!(ran.code, exit, "{ran:?}");
    let told = |text: &str| text.contains(&format!("error[{word}]"));
    assert!(told(&ran.err) || ran.out.contains(&format!("\"word\": \"{word}\"")), "{ran:?}");
}

fn open(place: &Place) -> Ran {
    place.run(&["--json", "task", "open", "--purpose", "work", "--no-wait"])
}

/// The code of the question about an opening
#[track_caller]
fn waiting(place: &Place, serve: &Serve) -> String {
    refused(&open(place), 5, "approval_needed");
    code(&open_hold(serve))
}

const ONE: &str = "{ who = \"leads\" }";
const TWO: &str = "{ who = \"leads\", people = 2 }";

#[test]
fn a_yes_on_the_command_line_lets_exactly_one_call_through() {
    let (shop, place, desk) = asked(ONE);
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    let calling = call(&task, "ord_1");
    let hold = open_hold(&serve);
    let code = code(&hold);
    let listed = place.run(&["approvals"]).good();
    assert!(listed.out.contains(&code) && listed.out.contains("somebody of leads"), "{listed:?}");
    let shown = place.run(&["approvals", &code.to_ascii_lowercase()]).good();
    for part in ["assistant for nobody", "would call shop.refund (write)", "value = ord_1 (chosen by: model)"] {
        assert!(shown.out.contains(part), "{part}: {shown:?}");
    }
    assert!(shown.out.contains("cannot be undone") && shown.out.contains("not by you"), "{shown:?}");
    assert!(shop.values().is_empty(), "nothing leaves before somebody agreed");

    // Nobody says yes without having been shown it, nor for somebody else.
    refused(&place.run(&["approve", &code]), 2, "usage");
    refused(&place.run(&["approve", &code, "--yes", "--as", "zz-sam"]), 4, "not_yours");
    // Also where a task runs on nobody's behalf, it is the own one of whoever opened it.
    refused(&approve(&place, &code), 4, "own_call");
    desk.refuses(&serve, &code, "me", 403, "own_call");
    handed_over(&place);
    let said = approve(&place, &code).good();
    assert!(said.out.contains("would call shop.refund"), "{said:?}");
    assert_eq!(came(&task, calling, "ord_1"), "ok");
    assert_eq!(shop.values(), ["ord_1"]);
    // Said once more, it is told what came of it and nothing happens.
    task.word("shop", "refund", "ord_1");
    assert_eq!(shop.values(), ["ord_1"]);
    desk.refuses(&serve, &code, "zz-tom", 409, "hold_over");
    let granted: Vec<Value> = place.record().events("granted").map(|(_, granted)| granted.clone()).collect();
    assert_eq!(granted.len(), 1, "{granted:?}");
    let owner = format!("user:{WIM}");
    assert_eq!((&granted[0]["owner"], &granted[0]["signed"]["how"]), (&json!(owner), &json!("socket")));
    refused(&place.run(&["approvals", "0000-0000"]), 3, "hold_unknown");
    drop(recounted(&place.data()));
}

#[test]
fn a_no_says_why_and_ends_it() {
    let (shop, place, desk) = asked(ONE);
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    let calling = call(&task, "ord_1");
    let code = code(&open_hold(&serve));
    handed_over(&place);
    assert_eq!(place.run(&["deny", &code]).code, 2, "a no has to say why");
    place.run(&["deny", &code, "--why", "not today"]).good();
    assert_eq!(came(&task, calling, "ord_1"), "approval_declined");
    desk.refuses(&serve, &code, "zz-tom", 409, "hold_over");
    assert!(shop.values().is_empty());
    let declined = holds(&serve, "?all=true");
    assert_eq!((&declined[0]["state"], &declined[0]["answers"][0]["why"]), (&json!("declined"), &json!("not today")));
    let status = place.json(&["status"]);
    assert_eq!((&status["approvals"]["asked"], &status["approvals"]["declined"]), (&json!(1), &json!(1)), "{status}");
    drop(recounted(&place.data()));
}

#[test]
fn two_of_a_group_open_a_task_and_nobody_else_does() {
    let (_shop, place, desk) = opened(TWO, false);
    let serve = place.serve(&["shop"]);
    let code = waiting(&place, &serve);
    desk.refuses(&serve, &code, "zz-vic", 403, "not_approver");
    desk.refuses(&serve, &code, "nobody", 403, "user_unknown");
    desk.refuses(&serve, &code, "me", 403, "own_call");
    refused(&approve(&place, &code), 4, "own_call");
    desk.yes(&serve, &code, "zz-sam");
    assert_eq!(desk.says(&serve, &code, "zz-sam", false), (409, "answered_already".to_owned()));
    refused(&open(&place), 5, "approval_needed");
    assert_eq!(holds(&serve, "").len(), 1, "it is still the same question");
    desk.yes(&serve, &code, "zz-tom");
    assert_eq!(open_hold(&serve)["state"], "approved");
    let task = open(&place).good().json()["task"].clone();
    assert!(task.as_str().unwrap().starts_with("task_"));
    // It was used: the next opening is a question of its own.
    refused(&open(&place), 5, "approval_needed");
    assert_ne!(self::code(&open_hold(&serve)), code);
    drop(recounted(&place.data()));
}

#[test]
fn whoever_waits_goes_on_at_the_yes_and_is_told_of_a_no() {
    let (_shop, place, desk) = opened(ONE, false);
    let serve = place.serve(&["shop"]);
    thread::scope(|scope| {
        let waits = scope.spawn(|| place.run(&["--json", "task", "open", "--purpose", "work"]));
        desk.yes(&serve, &code(&open_hold(&serve)), "zz-sam");
        let opened = waits.join().unwrap().good();
        assert!(opened.err.contains("portreeve approve"), "{opened:?}");
        let waits = scope.spawn(|| place.run(&["exec", "--purpose", "work", "--", "true"]));
        assert_eq!(desk.says(&serve, &code(&open_hold(&serve)), "zz-sam", false).0, 200);
        refused(&waits.join().unwrap(), 4, "approval_declined");
        let waits = scope.spawn(|| place.run(&["exec", "--purpose", "work", "--objective", "x", "--", "true"]));
        desk.yes(&serve, &code(&open_hold(&serve)), "zz-tom");
        waits.join().unwrap().good();
    });
    drop(recounted(&place.data()));
}

#[test]
fn what_was_not_answered_in_time_is_over() {
    let (_shop, place, desk) = opened("{ who = \"leads\", within = \"1s\" }", false);
    let serve = place.serve(&["shop"]);
    let code = waiting(&place, &serve);
    until("its time has passed", || holds(&serve, "").is_empty());
    desk.refuses(&serve, &code, "zz-sam", 409, "hold_over");
    drop(recounted(&place.data()));
}

#[test]
fn a_yes_counts_only_as_long_as_whoever_gave_it_may() {
    let (shop, place, desk) = asked(TWO);
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    let calling = call(&task, "ord_1");
    let code = code(&open_hold(&serve));
    desk.yes(&serve, &code, "zz-sam");
    // Still a user, and no lead any more.
    place.write("policy/users/zz-sam.toml", "accounts = [\"zz-sam\"]\ngroups = [\"staff\"]\n");
    place.run(&["policy", "apply"]).good();
    desk.yes(&serve, &code, "zz-tom");
    let hold = open_hold(&serve);
    assert_eq!((&hold["state"], &hold["questions"][0]["so_far"]), (&json!("open"), &json!(1)), "{hold}");
    let counts: Vec<&Value> = hold["answers"].as_array().unwrap().iter().map(|answer| &answer["counts"]).collect();
    assert_eq!(counts, [&json!(false), &json!(true)]);
    assert!(shop.values().is_empty());
    desk.yes(&serve, &code, "zz-uma");
    assert_eq!(came(&task, calling, "ord_1"), "ok");
    assert_eq!(shop.values(), ["ord_1"]);
    drop(recounted(&place.data()));
}

#[test]
fn a_policy_that_asks_for_more_meanwhile_is_heard() {
    let (_shop, place, desk) = opened(ONE, false);
    let serve = place.serve(&["shop"]);
    let code = waiting(&place, &serve);
    desk.yes(&serve, &code, "zz-sam");
    write_opening(&place, TWO, false);
    place.run(&["policy", "apply"]).good();
    refused(&open(&place), 5, "approval_needed");
    // Another group is another question: no answer to the first one counts.
    write_opening(&place, "{ who = \"auditors\" }", false);
    place.run(&["policy", "apply"]).good();
    refused(&open(&place), 5, "approval_needed");
    let other = open_hold(&serve);
    assert_eq!((&other["questions"][0]["who"], &other["answers"]), (&json!("auditors"), &json!([])), "{other}");
    drop(recounted(&place.data()));
}

#[test]
fn of_two_who_answer_at_once_each_counts_once() {
    let (_shop, place, desk) = opened(TWO, false);
    let serve = place.serve(&["shop"]);
    {
        refused(&open(&place), 5, "approval_needed");
        let hold = open_hold(&serve);
        thread::scope(|scope| {
            let yes = |by: &'static str| scope.spawn(|| desk.says_of(&serve, &hold, by, true).0);
            let no = scope.spawn(|| desk.says_of(&serve, &hold, "zz-uma", true).0);
            let all = [yes("zz-sam"), yes("zz-sam"), yes("zz-tom"), no];
            // Said twice is the same answer; a third one does no harm.
            assert_eq!(all.map(|one| one.join().unwrap()), [200; 4]);
        });
        let answers = open_hold(&serve)["answers"].as_array().unwrap().len();
        assert_eq!(answers, 3);
        open(&place).good();
        // A yes to something else than what was shown counts for nothing.
        refused(&open(&place), 5, "approval_needed");
        let mut other = open_hold(&serve);
        other["binding"] = hold["binding"].clone();
        assert_eq!(desk.says_of(&serve, &other, "zz-sam", true), (409, "hold_changed".to_owned()));
        assert_eq!(desk.says(&serve, &code(&other), "zz-sam", false).0, 200);
        refused(&open(&place), 4, "approval_declined");
    }
    drop(recounted(&place.data()));
}

#[test]
fn questions_and_answers_survive_a_restart() {
    let (_shop, place, desk) = opened(TWO, false);
    let serve = place.serve(&["shop"]);
    let code = waiting(&place, &serve);
    desk.yes(&serve, &code, "zz-sam");
    serve.kill();
    let serve = place.serve(&[]);
    assert_eq!(self::code(&open_hold(&serve)), code);
    assert_eq!(desk.says(&serve, &code, "zz-sam", false), (409, "answered_already".to_owned()));
    desk.yes(&serve, &code, "zz-tom");
    serve.terminate();
    let serve = place.serve(&[]);
    open(&place).good();
    assert!(holds(&serve, "").is_empty());
    drop(recounted(&place.data()));
}

#[test]
fn what_runs_below_exec_answers_nothing() {
    let (shop, place, desk) = asked(ONE);
    let till = Upstream::http(&["pay"], |_, _| false);
    place.connector("till", &till, "");
    place.purpose("free", &[("till", &till)], "", "");
    let serve = place.serve(&["shop", "till"]);
    let task = serve.open("work");
    let calling = call(&task, "ord_1");
    let code = code(&open_hold(&serve));
    let data = place.data();
    let script = format!(
        "'{PROGRAM}' --data '{0}' approve {code} --yes; '{PROGRAM}' --data '{0}' console; exit 0",
        data.display()
    );
    let ran = place.run(&["exec", "--purpose", "free", "--", "sh", "-c", &script]).good();
    assert_eq!(ran.err.matches("error[not_yours]").count(), 2, "{ran:?}");
    assert_eq!(open_hold(&serve)["answers"], json!([]));
    assert_eq!(desk.says(&serve, &code, "zz-tom", false).0, 200);
    assert_eq!(came(&task, calling, "ord_1"), "approval_declined");
    assert!(shop.values().is_empty());
    drop(recounted(&place.data()));
}

#[test]
fn a_yes_that_needs_a_passkey_is_none_without_it() {
    let (shop, place, desk) = asked("{ who = \"leads\", passkey = true }");
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    let calling = call(&task, "ord_1");
    let code = code(&open_hold(&serve));
    handed_over(&place);
    let ran = approve(&place, &code);
    refused(&ran, 4, "step_up_needed");
    assert!(ran.err.contains(&format!("/approvals/{code}")), "{ran:?}");
    let hold = open_hold(&serve);
    let (status, answer) =
        serve.admin("POST", &format!("/v1/holds/{code}/answer"), &json!({ "yes": true, "binding": hold["binding"] }));
    assert_eq!((status, &answer["error"]["word"]), (403, &json!("step_up_needed")), "{answer}");
    desk.refuses(&serve, &code, "zz-sam", 403, "step_up_needed");
    // A no needs less than a yes.
    place.run(&["deny", &code, "--why", "not today"]).good();
    assert_eq!(came(&task, calling, "ord_1"), "approval_declined");
    assert!(shop.values().is_empty());
    drop(recounted(&place.data()));
}

#[test]
fn an_emergency_takes_two_and_is_reviewed_by_a_third() {
    let (_shop, place, desk) = opened("who = \"leads\"\npeople = 2\nreview = \"auditors\"", true);
    let serve = place.serve(&["shop"]);
    assert_eq!(place.run(&["doctor"]).code, 0);
    let code = waiting(&place, &serve);
    let shown = place.run(&["approvals", &code]).good();
    assert!(shown.out.contains("EMERGENCY") && shown.out.contains("not by you"), "{shown:?}");
    desk.yes(&serve, &code, "zz-uma");
    let task = open(&place).good().json()["task"].as_str().unwrap().to_owned();
    let show = place.run(&["task", "show", &task]).good();
    assert!(show.err.contains("EMERGENCY"), "{show:?}");
    let doctor = place.run(&["doctor"]);
    assert!(doctor.code == 1 && doctor.out.contains(&format!("portreeve review {task}")), "{doctor:?}");
    let review = || place.run(&["review", &task, "--why", "read all of it"]);
    refused(&review(), 3, "review_unknown");
    place.run(&["task", "stop", &task]).good();
    let listed = place.run(&["reviews"]).good();
    assert!(listed.out.contains(&task) && listed.out.contains("zz-uma"), "{listed:?}");
    refused(&review(), 4, "own_call");
    // The account becomes somebody else's, who had nothing to do with it.
    let me = me(&place);
    let own = place.read(&format!("policy/users/{me}.toml"));
    let account = own.lines().find(|line| line.starts_with("accounts")).unwrap().to_owned();
    place.write(&format!("policy/users/{me}.toml"), &own.replace(&account, "accounts = [\"elsewhere\"]"));
    place.write("policy/users/zz-vic.toml", &format!("{account}\ngroups = [\"auditors\"]\nroles = [\"auditor\"]\n"));
    place.run(&["policy", "apply"]).good();
    review().good();
    refused(&review(), 3, "review_unknown");
    assert_eq!(place.run(&["doctor"]).code, 0);
    assert!(place.run(&["status"]).good().out.contains("approvals"));
    drop(recounted(&place.data()));
}

#[test]
fn a_link_is_printed_at_the_start_and_on_demand() {
    let place = Place::new();
    let serve = place.serve(&[]);
    until("the console is named", || place.read("serve.log").contains("sign in as "));
    let link = place.json(&["console"]);
    let port = serve.address.port();
    assert!(link["link"].as_str().unwrap().starts_with(&format!("http://localhost:{port}/sign-in/")), "{link}");
    refused(&place.run(&["console", "--for", "nobody"]), 4, "user_unknown");
    let made = place.record().events("noted").filter(|(_, noted)| noted.get("signed_in").is_some()).count();
    assert_eq!(made, 2, "each link is on the record");
}

/// A chat that takes messages, and answers as it is told
struct Chat {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<(Headers, String)>>>,
}

impl Chat {
    fn at(listener: TcpListener, status: &'static str) -> Self {
        let (address, taken) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<_>>>::default());
        let into = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if let Some(message) = stream.ok().and_then(|stream| take(stream, status)) {
                    into.lock().unwrap().push(message);
                }
            }
        });
        Self { address, taken }
    }

    fn new(status: &'static str) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").unwrap(), status)
    }

    /// The messages of a kind
    fn told(&self, kind: &str) -> Vec<(Headers, Value)> {
        let taken = self.taken.lock().unwrap();
        let read =
            |(headers, body): &(Headers, String)| (headers.clone(), serde_json::from_str::<Value>(body).unwrap());
        taken.iter().map(read).filter(|(_, message)| message["type"] == kind).collect()
    }
}

fn take(stream: TcpStream, status: &str) -> Option<(Headers, String)> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut headers, mut length) =
        (String::new(), Headers { id: String::new(), timestamp: String::new(), signature: String::new() }, 0);
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 || line == "\r\n" {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim().to_owned();
        match name.to_ascii_lowercase().as_str() {
            webhook::ID => headers.id = value,
            webhook::TIMESTAMP => headers.timestamp = value,
            webhook::SIGNATURE => headers.signature = value,
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut stream = reader.into_inner();
    stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes()).ok()?;
    Some((headers, String::from_utf8(body).ok()?))
}

/// A receiver vouches for several people, but is one hand as long as the policy does not say otherwise
#[test]
fn one_receiver_is_no_quorum() {
    let (_shop, place, desk) = opened(TWO, false);
    let text = place.read("policy/receivers/desk.toml");
    place.write("policy/receivers/desk.toml", &text.replace("several = true\n", ""));
    let serve = place.serve(&["shop"]);
    let code = waiting(&place, &serve);
    desk.yes(&serve, &code, "zz-sam");
    desk.refuses(&serve, &code, "zz-tom", 409, "answered_already");
    refused(&open(&place), 5, "approval_needed");
    place.write("policy/receivers/desk.toml", &text);
    place.run(&["policy", "apply"]).good();
    // The opening was asked about under another policy, so it is asked about anew.
    let code = waiting(&place, &serve);
    desk.yes(&serve, &code, "zz-sam");
    desk.yes(&serve, &code, "zz-tom");
    open(&place).good();
}

/// Of an emergency the reviewers are told too, with its review and a link to its task
#[test]
fn an_emergency_is_told_after_a_restart_to_who_was_not_there() {
    let (_shop, place, desk) = opened("who = \"leads\"\npeople = 2\nreview = \"auditors\"", true);
    let down = TcpListener::bind("127.0.0.1:0").unwrap();
    let down_at = down.local_addr().unwrap();
    drop(down);
    place.write("policy/receivers/watch.toml", &format!("url = \"http://{down_at}/in\"\nwho = [\"auditors\"]\n"));
    let serve = place.serve(&["shop"]);
    let code = waiting(&place, &serve);
    desk.yes(&serve, &code, "zz-sam");
    let task = open(&place).good().json()["task"].as_str().unwrap().to_owned();
    serve.terminate();
    let watch = Chat::at(TcpListener::bind(down_at).unwrap(), "200 OK");
    let serve = place.serve(&[]);
    until("they are told", || watch.told("task.emergency").len() == 1);
    let (_, message) = watch.told("task.emergency").remove(0);
    assert_eq!(message["data"]["review"]["task"], json!(task));
    assert_eq!(message["data"]["hold"]["code"], json!(code));
    assert!(message["data"]["link"].as_str().unwrap().ends_with(&format!("/tasks/{task}")), "{message}");
    serve.settled();
    serve.terminate();
    let serve = place.serve(&[]);
    place.run(&["task", "stop", &task]).good();
    serve.settled();
    assert_eq!(watch.told("task.emergency").len(), 1, "who has taken it is not told again");
}

fn receiver(place: &Place, name: &str, url: &str) {
    place.write(&format!("policy/receivers/{name}.toml"), &format!("url = \"{url}\"\nwho = [\"leads\"]\n"));
}

fn now() -> portreeve_core::time::Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    portreeve_core::time::Millis(i64::try_from(since.as_millis()).unwrap())
}

fn hook(serve: &Serve, name: &str, headers: &Headers, body: &str) -> Response {
    // As it comes through a proxy of somebody's own.
    let headers = [
        ("host", "portreeve.example.com"),
        ("content-type", "application/json"),
        (webhook::ID, headers.id.as_str()),
        (webhook::TIMESTAMP, &headers.timestamp),
        (webhook::SIGNATURE, &headers.signature),
    ];
    let stream = TcpStream::connect(serve.address).unwrap();
    exchange(stream, &request("POST", &format!("/hooks/{name}"), &headers, body.as_bytes()))
}

#[test]
fn receivers_are_told_of_questions_each_by_itself() {
    let (_shop, place, desk) = opened(ONE, false);
    let chat = Chat::new("204 No Content");
    // Takes connections later: its port is kept, and nobody is there.
    let down = TcpListener::bind("127.0.0.1:0").unwrap();
    let down_at = down.local_addr().unwrap();
    drop(down);
    receiver(&place, "chat", &format!("http://{}/in", chat.address));
    receiver(&place, "down", &format!("http://{down_at}/in"));
    let serve = place.serve(&["shop"]);
    let code = waiting(&place, &serve);
    until("the chat is told", || chat.told("hold.asked").len() == 1);
    let (headers, message) = chat.told("hold.asked").remove(0);
    let key = serve.admin("GET", "/v1/status", &Value::Null).1["webhook_key"].as_str().unwrap().to_owned();
    let taken = chat.taken.lock().unwrap()[0].1.clone();
    webhook::verify(&[Key::parse(&key).unwrap()], &headers, taken.as_bytes(), now()).unwrap();
    assert_eq!(message["data"]["hold"]["code"], json!(code));
    assert!(message["data"]["link"].as_str().unwrap().ends_with(&format!("/approvals/{code}")), "{message}");
    // It is told once it is there; the id is the same at each try.
    let late = Chat::at(TcpListener::bind(down_at).unwrap(), "200 OK");
    until("the other one is told", || late.told("hold.asked").len() == 1);
    desk.yes(&serve, &code, "zz-sam");
    until("both are told what became of it", || {
        chat.told("hold.answered").len() == 1 && late.told("hold.answered").len() == 1
    });
    serve.settled();
    serve.terminate();
    let serve = place.serve(&[]);
    open(&place).good();
    serve.settled();
    assert_eq!((chat.told("hold.asked").len(), late.told("hold.asked").len()), (1, 1), "not again after a restart");
    let told =
        place.record().events("admitted").filter(|(_, admitted)| admitted["what"].get("notice").is_some()).count();
    assert!(told >= 5, "each try is an effect: {told}");
}

#[test]
fn a_receiver_answers_once_however_often_it_says_so() {
    let (_shop, place, desk) = opened(TWO, false);
    let (key, forger) = (&desk.key, SigningKey::make().unwrap());
    let serve = place.serve(&["shop"]);
    let code = waiting(&place, &serve);
    let hold = open_hold(&serve);
    let body = |person: &str, yes: bool| {
        json!({ "hold": code, "binding": hold["binding"], "yes": yes, "why": "said in the chat", "person": person })
            .to_string()
    };
    let signed = |key: &SigningKey, id: &str, body: &str| webhook::sign(key, id, now(), body.as_bytes()).unwrap();
    let said = |headers: &Headers, body: &str| {
        let answer = hook(&serve, "desk", headers, body);
        (answer.status, word(&answer))
    };
    let is = |status: u16, word: &str| (status, word.to_owned());
    let yes = body("zz-sam", true);
    assert_eq!(said(&signed(&forger, "a", &yes), &yes), is(401, "signature_wrong"));
    assert_eq!(said(&signed(key, "a", &yes), &body("zz-tom", true)), is(401, "signature_wrong"));
    let old = webhook::sign(key, "a", now().plus(-10 * 60 * 1_000), yes.as_bytes()).unwrap();
    assert_eq!(said(&old, &yes), is(401, "signature_wrong"));
    let elsewhere = hook(&serve, "other", &signed(key, "a", &yes), &yes);
    assert_eq!((elsewhere.status, word(&elsewhere).as_str()), (404, "receiver_unknown"));
    let nothing = "{}";
    assert_eq!(said(&signed(key, "b", nothing), nothing), is(400, "malformed"));

    let message = signed(key, "c", &yes);
    let first = hook(&serve, "desk", &message, &yes);
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.json()["answers"][0]["how"], "webhook");
    // The same message, and the same answer in another one: the same result.
    for headers in [message, signed(key, "d", &yes)] {
        let again = hook(&serve, "desk", &headers, &yes);
        assert_eq!((again.status, again.json()["answers"].as_array().unwrap().len()), (200, 1), "{again:?}");
    }
    let no = body("zz-sam", false);
    assert_eq!(said(&signed(key, "c", &no), &no), is(409, "replayed"));
    assert_eq!(said(&signed(key, "e", &no), &no), is(409, "answered_already"));
    let tom = body("zz-tom", true);
    assert_eq!(hook(&serve, "desk", &signed(key, "f", &tom), &tom).json()["state"], "approved");
    open(&place).good();
    assert_eq!(place.record().events("granted").count(), 2);
    drop(recounted(&place.data()));
}
