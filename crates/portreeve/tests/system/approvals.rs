//! What people are asked and what they answer: on the command line, at the socket, by signed messages.

use crate::support::{
    http::{Response, exchange, request},
    place::{PROGRAM, Place, Ran, Serve, Task},
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
    sync::{Arc, Mutex},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

/// The user whom `init` made of the account that runs the tests; in every list before those of [`people`]
fn me(place: &Place) -> String {
    let users = std::fs::read_dir(place.path().join("policy/users")).unwrap();
    let mut names = users.map(|user| user.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
    names.find(|name| !name.starts_with("zz-")).unwrap()
}

/// Three leads and somebody else, all of them with the account that runs the tests, so that `--as` names them
fn people(place: &Place) {
    let own = place.read(&format!("policy/users/{}.toml", me(place)));
    let account = own.lines().find(|line| line.starts_with("accounts")).unwrap().to_owned();
    for (name, groups, roles) in [
        ("zz-sam", "\"leads\"", "\"approver\""),
        ("zz-tom", "\"leads\"", "\"approver\""),
        ("zz-uma", "\"leads\", \"auditors\"", "\"approver\", \"auditor\""),
        ("zz-vic", "\"staff\"", "\"approver\""),
        ("zz-aud", "\"auditors\"", "\"auditor\""),
    ] {
        place.write(
            &format!("policy/users/{name}.toml"),
            &format!("{account}\ngroups = [{groups}]\nroles = [{roles}]\n"),
        );
    }
    // Whose own it is may not answer, whatever else they are.
    let own = own.replace("groups = [\"staff\"]", "groups = [\"staff\", \"leads\"]");
    place.write(&format!("policy/users/{}.toml", me(place)), &own);
}

/// A shop whose only tool people have to agree to
fn asked(ask: &str) -> (Upstream, Place) {
    let shop = Upstream::http(&["refund"], |_, _| false);
    let place = Place::with(&[("shop", &shop)], "", &format!("ask = {ask}\n"));
    people(&place);
    (shop, place)
}

/// A purpose whose openings people have to agree to
fn opened(ask: &str, break_glass: bool) -> (Upstream, Place) {
    let shop = Upstream::http(&["refund"], |_, _| false);
    let place = Place::with(&[("shop", &shop)], "", "");
    people(&place);
    write_opening(&place, ask, break_glass);
    (shop, place)
}

fn write_opening(place: &Place, ask: &str, break_glass: bool) {
    let text = place.read("policy/purposes/work.toml");
    let (head, rest) = text.split_once("[task]").unwrap();
    let head = head.split("[open]").next().unwrap();
    let open = if break_glass {
        format!("[open]\nagents = [\"assistant\"]\nusers = \"staff\"\n\n[break_glass]\n{ask}\n\n")
    } else {
        format!("[open]\nagents = [\"assistant\"]\nusers = \"staff\"\nask = {ask}\n\n")
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

fn approve(place: &Place, code: &str, by: &str) -> Ran {
    place.run(&["approve", code, "--yes", "--as", by, "--why", "looked at it"])
}

fn deny(place: &Place, code: &str, by: &str) -> Ran {
    place.run(&["deny", code, "--as", by, "--why", "not today"])
}

#[track_caller]
fn refused(ran: &Ran, exit: i32, word: &str) {
    assert_eq!(ran.code, exit, "{ran:?}");
    assert!(ran.err.contains(&format!("error[{word}]")), "{ran:?}");
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
    let (shop, place) = asked(ONE);
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    let calling = call(&task, "ord_1");
    let hold = open_hold(&serve);
    let code = code(&hold);
    let listed = place.run(&["approvals"]).good();
    assert!(listed.out.contains(&code) && listed.out.contains("somebody of leads"), "{listed:?}");
    let shown = place.run(&["approvals", &code.to_ascii_lowercase(), "--as", "zz-sam"]).good();
    for part in ["assistant for nobody", "would call shop.refund (write)", "value = ord_1 (chosen by: model)"] {
        assert!(shown.out.contains(part), "{part}: {shown:?}");
    }
    assert!(shown.out.contains("cannot be undone") && !shown.out.contains("not by you"), "{shown:?}");
    assert!(shop.values().is_empty(), "nothing leaves before somebody agreed");

    // Nobody says yes without having been shown it.
    refused(&place.run(&["approve", &code, "--as", "zz-sam"]), 2, "usage");
    let said = approve(&place, &code, "zz-sam").good();
    assert!(said.out.contains("would call shop.refund"), "{said:?}");
    assert_eq!(came(&task, calling, "ord_1"), "ok");
    assert_eq!(shop.values(), ["ord_1"]);
    // Said once more, it is told what came of it and nothing happens.
    task.word("shop", "refund", "ord_1");
    assert_eq!(shop.values(), ["ord_1"]);
    let granted: Vec<Value> = place.record().events("granted").map(|(_, granted)| granted.clone()).collect();
    assert_eq!(granted.len(), 1, "{granted:?}");
    assert_eq!((&granted[0]["owner"], &granted[0]["signed"]["how"]), (&json!("user:zz-sam"), &json!("socket")));
    refused(&place.run(&["approvals", "0000-0000"]), 3, "hold_unknown");
}

#[test]
fn a_no_says_why_and_ends_it() {
    let (shop, place) = asked(ONE);
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    let calling = call(&task, "ord_1");
    let code = code(&open_hold(&serve));
    assert_eq!(place.run(&["deny", &code, "--as", "zz-sam"]).code, 2, "a no has to say why");
    deny(&place, &code, "zz-sam").good();
    assert_eq!(came(&task, calling, "ord_1"), "approval_declined");
    refused(&approve(&place, &code, "zz-tom"), 8, "hold_over");
    assert!(shop.values().is_empty());
    let declined = holds(&serve, "?all=true");
    assert_eq!((&declined[0]["state"], &declined[0]["answers"][0]["why"]), (&json!("declined"), &json!("not today")));
    let status = place.json(&["status"]);
    assert_eq!((&status["approvals"]["asked"], &status["approvals"]["declined"]), (&json!(1), &json!(1)), "{status}");
}

#[test]
fn two_of_a_group_open_a_task_and_nobody_else_does() {
    let (_shop, place) = opened(TWO, false);
    let serve = place.serve(&["shop"]);
    let code = waiting(&place, &serve);
    let me = me(&place);
    refused(&approve(&place, &code, "zz-vic"), 4, "not_approver");
    refused(&approve(&place, &code, &me), 4, "own_call");
    refused(&approve(&place, &code, "nobody"), 4, "not_yours");
    refused(&place.run(&["approve", &code, "--yes"]), 4, "own_call");
    approve(&place, &code, "zz-sam").good();
    refused(&approve(&place, &code, "zz-sam"), 8, "answered_already");
    refused(&deny(&place, &code, "zz-sam"), 8, "answered_already");
    refused(&open(&place), 5, "approval_needed");
    assert_eq!(holds(&serve, "").len(), 1, "it is still the same question");
    let second = approve(&place, &code, "zz-tom").good();
    assert!(second.out.contains(&format!("{code}: approved")), "{second:?}");
    let task = open(&place).good().json()["task"].clone();
    assert!(task.as_str().unwrap().starts_with("task_"));
    // It was used: the next opening is a question of its own.
    refused(&open(&place), 5, "approval_needed");
    assert_ne!(self::code(&open_hold(&serve)), code);
}

#[test]
fn whoever_waits_goes_on_at_the_yes_and_is_told_of_a_no() {
    let (_shop, place) = opened(ONE, false);
    let serve = place.serve(&["shop"]);
    thread::scope(|scope| {
        let waits = scope.spawn(|| place.run(&["--json", "task", "open", "--purpose", "work"]));
        approve(&place, &code(&open_hold(&serve)), "zz-sam").good();
        let opened = waits.join().unwrap().good();
        assert!(opened.err.contains("portreeve approve"), "{opened:?}");
        let waits = scope.spawn(|| place.run(&["exec", "--purpose", "work", "--", "true"]));
        deny(&place, &code(&open_hold(&serve)), "zz-sam").good();
        refused(&waits.join().unwrap(), 4, "approval_declined");
        let waits = scope.spawn(|| place.run(&["exec", "--purpose", "work", "--objective", "x", "--", "true"]));
        approve(&place, &code(&open_hold(&serve)), "zz-tom").good();
        waits.join().unwrap().good();
    });
}

#[test]
fn what_was_not_answered_in_time_is_over() {
    let (_shop, place) = opened("{ who = \"leads\", within = \"1s\" }", false);
    let serve = place.serve(&["shop"]);
    let code = waiting(&place, &serve);
    until("its time has passed", || holds(&serve, "").is_empty());
    refused(&approve(&place, &code, "zz-sam"), 8, "hold_over");
}

#[test]
fn a_yes_counts_only_as_long_as_whoever_gave_it_may() {
    let (_shop, place) = opened(TWO, false);
    let serve = place.serve(&["shop"]);
    let code = waiting(&place, &serve);
    approve(&place, &code, "zz-sam").good();
    std::fs::remove_file(place.path().join("policy/users/zz-sam.toml")).unwrap();
    place.run(&["policy", "apply"]).good();
    approve(&place, &code, "zz-tom").good();
    refused(&open(&place), 5, "approval_needed");
    let hold = open_hold(&serve);
    assert_eq!(hold["questions"][0]["so_far"], 1, "{hold}");
    let counts: Vec<&Value> = hold["answers"].as_array().unwrap().iter().map(|answer| &answer["counts"]).collect();
    assert_eq!(counts, [&json!(false), &json!(true)]);
    approve(&place, &code, "zz-uma").good();
    open(&place).good();
}

#[test]
fn a_policy_that_asks_for_more_meanwhile_is_heard() {
    let (_shop, place) = opened(ONE, false);
    let serve = place.serve(&["shop"]);
    let code = waiting(&place, &serve);
    approve(&place, &code, "zz-sam").good();
    write_opening(&place, TWO, false);
    place.run(&["policy", "apply"]).good();
    refused(&open(&place), 5, "approval_needed");
    // Another group is another question: no answer to the first one counts.
    write_opening(&place, "{ who = \"auditors\" }", false);
    let uma = place.read("policy/users/zz-uma.toml");
    place.write("policy/users/zz-uma.toml", &uma);
    place.run(&["policy", "apply"]).good();
    refused(&open(&place), 5, "approval_needed");
    let asked: Vec<Value> = holds(&serve, "").iter().map(|hold| hold["questions"][0]["who"].clone()).collect();
    assert!(asked.contains(&json!("auditors")), "{asked:?}");
    assert!(holds(&serve, "?all=true").len() >= 2 || asked == [json!("auditors")]);
}

#[test]
fn of_two_who_answer_at_once_each_counts_once() {
    let (_shop, place) = opened(TWO, false);
    let serve = place.serve(&["shop"]);
    for _ in 0..8 {
        refused(&open(&place), 5, "approval_needed");
        let hold = open_hold(&serve);
        let path = format!("/v1/holds/{}/answer", hold["hold"].as_str().unwrap());
        let say = |by: &str| serve.admin("POST", &path, &json!({ "yes": true, "binding": hold["binding"], "as": by }));
        let (sam, again, tom) = thread::scope(|scope| {
            let all = [scope.spawn(|| say("zz-sam")), scope.spawn(|| say("zz-sam")), scope.spawn(|| say("zz-tom"))];
            let [sam, again, tom] = all.map(|one| one.join().unwrap().0);
            (sam, again, tom)
        });
        let mut sams = [sam, again];
        sams.sort_unstable();
        assert_eq!((sams, tom), ([200, 409], 200));
        open(&place).good();
        // A yes to something else than what was shown counts for nothing.
        let (status, stale) =
            serve.admin("POST", &path, &json!({ "yes": true, "binding": "0".repeat(64), "as": "zz-uma" }));
        assert_eq!(status, 409, "{stale}");
    }
}

#[test]
fn questions_and_answers_survive_a_restart() {
    let (_shop, place) = opened(TWO, false);
    let serve = place.serve(&["shop"]);
    let code = waiting(&place, &serve);
    approve(&place, &code, "zz-sam").good();
    serve.kill();
    let serve = place.serve(&[]);
    assert_eq!(self::code(&open_hold(&serve)), code);
    refused(&approve(&place, &code, "zz-sam"), 8, "answered_already");
    approve(&place, &code, "zz-tom").good();
    serve.terminate();
    let serve = place.serve(&[]);
    open(&place).good();
    assert!(holds(&serve, "").is_empty());
}

#[test]
fn what_runs_below_exec_answers_nothing() {
    let (_shop, place) = opened(ONE, false);
    let shop = Upstream::http(&["refund"], |_, _| false);
    place.connector("till", &shop, "");
    place.purpose("free", &[("till", &shop)], "", "");
    let serve = place.serve(&["shop", "till"]);
    let code = waiting(&place, &serve);
    let data = place.data();
    let script = format!(
        "'{PROGRAM}' --data '{0}' approve {code} --yes --as zz-sam; '{PROGRAM}' --data '{0}' console; exit 0",
        data.display()
    );
    let ran = place.run(&["exec", "--purpose", "free", "--", "sh", "-c", &script]).good();
    assert_eq!(ran.err.matches("error[not_yours]").count(), 2, "{ran:?}");
    assert_eq!(open_hold(&serve)["answers"], json!([]));
}

#[test]
fn a_yes_that_needs_a_passkey_is_none_without_it() {
    let (_shop, place) = opened("{ who = \"leads\", passkey = true }", false);
    let serve = place.serve(&["shop"]);
    let code = waiting(&place, &serve);
    let ran = approve(&place, &code, "zz-sam");
    refused(&ran, 4, "step_up_needed");
    assert!(ran.err.contains(&format!("/approvals/{code}")), "{ran:?}");
    let hold = open_hold(&serve);
    let path = format!("/v1/holds/{code}/answer");
    let (status, answer) =
        serve.admin("POST", &path, &json!({ "yes": true, "binding": hold["binding"], "as": "zz-sam" }));
    assert_eq!((status, &answer["error"]["word"]), (403, &json!("step_up_needed")), "{answer}");
    // A no needs less than a yes.
    deny(&place, &code, "zz-sam").good();
}

#[test]
fn an_emergency_takes_two_and_is_reviewed_by_a_third() {
    let (_shop, place) = opened("who = \"leads\"\npeople = 2\nreview = \"auditors\"", true);
    let serve = place.serve(&["shop"]);
    assert_eq!(place.run(&["doctor"]).code, 0);
    let code = waiting(&place, &serve);
    let shown = place.run(&["approvals", &code]).good();
    assert!(shown.out.contains("EMERGENCY"), "{shown:?}");
    approve(&place, &code, "zz-uma").good();
    let task = open(&place).good().json()["task"].as_str().unwrap().to_owned();
    let show = place.run(&["task", "show", &task]).good();
    assert!(show.err.contains("EMERGENCY"), "{show:?}");
    let doctor = place.run(&["doctor"]);
    assert!(doctor.code == 1 && doctor.out.contains(&format!("portreeve review {task}")), "{doctor:?}");
    let review = |by: &str| place.run(&["review", &task, "--as", by, "--why", "read all of it"]);
    refused(&review("zz-aud"), 3, "review_unknown");
    place.run(&["task", "stop", &task]).good();
    let listed = place.run(&["reviews"]).good();
    assert!(listed.out.contains(&task) && listed.out.contains("zz-uma"), "{listed:?}");
    refused(&review("zz-uma"), 4, "own_call");
    refused(&review("zz-sam"), 4, "not_approver");
    review("zz-aud").good();
    refused(&review("zz-aud"), 3, "review_unknown");
    assert_eq!(place.run(&["doctor"]).code, 0);
    assert!(place.run(&["status"]).good().out.contains("approvals"));
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

fn receiver(place: &Place, name: &str, url: &str, key: Option<&SigningKey>) {
    let answers = key.map_or_else(String::new, |key| {
        let key = webhook::public_text(&key.public_key());
        format!("answer_key = \"{key}\"\n[people]\n\"U1\" = \"zz-sam\"\n\"U2\" = \"zz-tom\"\n\"U3\" = \"zz-vic\"\n")
    });
    place.write(&format!("policy/receivers/{name}.toml"), &format!("url = \"{url}\"\nwho = [\"leads\"]\n{answers}"));
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
    let (_shop, place) = opened(ONE, false);
    let chat = Chat::new("204 No Content");
    // Takes connections later: its port is kept, and nobody is there.
    let down = TcpListener::bind("127.0.0.1:0").unwrap();
    let down_at = down.local_addr().unwrap();
    drop(down);
    receiver(&place, "chat", &format!("http://{}/in", chat.address), None);
    receiver(&place, "down", &format!("http://{down_at}/in"), None);
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
    approve(&place, &code, "zz-sam").good();
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
    let (_shop, place) = opened(TWO, false);
    let (key, forger) = (SigningKey::make().unwrap(), SigningKey::make().unwrap());
    let chat = Chat::new("200 OK");
    receiver(&place, "chat", &format!("http://{}/in", chat.address), Some(&key));
    let serve = place.serve(&["shop"]);
    let code = waiting(&place, &serve);
    let hold = open_hold(&serve);
    let body = |person: &str, yes: bool| {
        json!({ "hold": code, "binding": hold["binding"], "yes": yes, "why": "said in the chat", "person": person })
            .to_string()
    };
    let signed = |key: &SigningKey, id: &str, body: &str| webhook::sign(key, id, now(), body.as_bytes()).unwrap();
    let word = |response: &Response| response.json()["error"]["word"].as_str().unwrap_or_default().to_owned();
    let yes = body("U1", true);
    let forged = hook(&serve, "chat", &signed(&forger, "m0", &yes), &yes);
    assert_eq!((forged.status, word(&forged).as_str()), (401, "signature_wrong"));
    let altered = hook(&serve, "chat", &signed(&key, "m0", &yes), &body("U2", true));
    assert_eq!((altered.status, word(&altered).as_str()), (401, "signature_wrong"));
    let old = webhook::sign(&key, "m0", now().plus(-10 * 60 * 1_000), yes.as_bytes()).unwrap();
    assert_eq!(hook(&serve, "chat", &old, &yes).status, 401);
    let elsewhere = hook(&serve, "other", &signed(&key, "m0", &yes), &yes);
    assert_eq!((elsewhere.status, word(&elsewhere).as_str()), (404, "receiver_unknown"));
    let nobody = body("U9", true);
    assert_eq!(word(&hook(&serve, "chat", &signed(&key, "m1", &nobody), &nobody)), "user_unknown");
    let vic = body("U3", true);
    assert_eq!(word(&hook(&serve, "chat", &signed(&key, "m2", &vic), &vic)), "hold_unknown", "not theirs to see");

    let message = signed(&key, "m3", &yes);
    let first = hook(&serve, "chat", &message, &yes);
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.json()["answers"][0]["how"], "webhook");
    // The same message, and the same answer in another one: the same result.
    for headers in [message.clone(), signed(&key, "m4", &yes)] {
        let again = hook(&serve, "chat", &headers, &yes);
        assert_eq!((again.status, again.json()["answers"].as_array().unwrap().len()), (200, 1), "{again:?}");
    }
    let no = body("U1", false);
    let other = hook(&serve, "chat", &signed(&key, "m3", &no), &no);
    assert_eq!((other.status, word(&other).as_str()), (409, "replayed"));
    let changed = hook(&serve, "chat", &signed(&key, "m5", &no), &no);
    assert_eq!((changed.status, word(&changed).as_str()), (409, "answered_already"));
    let tom = body("U2", true);
    assert_eq!(hook(&serve, "chat", &signed(&key, "m6", &tom), &tom).json()["state"], "approved");
    open(&place).good();
    let granted = place.record().events("granted").count();
    assert_eq!(granted, 2);
}
