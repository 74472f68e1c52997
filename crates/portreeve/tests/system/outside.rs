//! Outside decision points: four kinds under one suite of cases, and points that do not behave.

use crate::{
    interop::interop,
    support::{
        PATIENCE,
        place::{Place, Running, Serve, Task},
        until,
        upstream::{Received, Upstream, Wire},
    },
};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

fn good(_: &Received, _: &mut Wire) -> bool {
    false
}

/// A decision point that does what a test tells it
struct Point {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Point {
    /// Answers each question, given as its path and body, with what `answer` writes
    fn new(answer: impl Fn(&str, &Value, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, ledger) = (Arc::new(answer), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, ledger) = (Arc::clone(&answer), Arc::clone(&ledger));
                thread::spawn(move || one(stream, &*answer, &ledger));
            }
        });
        Self { address, asked }
    }

    /// Answers every question with this status and body
    fn saying(status: &'static str, body: impl Into<String>) -> Self {
        let body = body.into();
        Self::new(move |_, _, stream| respond(stream, status, &body))
    }

    fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().unwrap().clone()
    }
}

fn one(
    mut stream: TcpStream,
    answer: &(dyn Fn(&str, &Value, &mut TcpStream) + Send + Sync),
    ledger: &Mutex<Vec<(String, Value)>>,
) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let Some(path) = lines.first().and_then(|line| line.strip_prefix("POST ")?.split(' ').next()) else { return };
    let length = lines.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    ledger.lock().unwrap().push((path.to_owned(), body.clone()));
    answer(path, &body, &mut stream);
}

fn respond(stream: &mut TcpStream, status: &str, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())));
}

/// What a test has: Portreeve over one tool, and a task that may use it with any value
struct House {
    place: Place,
    serve: Serve,
    upstream: Upstream,
    task: Task,
}

impl House {
    /// With these files in the folder `extra/` of the policy
    fn with(files: &[(&str, &str)]) -> Self {
        let upstream = Upstream::http(&["act", "look"], good);
        let place = Place::with(&[("shop", &upstream)], "", "");
        for (path, text) in files {
            place.write(&format!("policy/extra/{path}"), text);
        }
        place.run(&["policy", "check"]).good();
        let serve = place.serve(&["shop"]);
        let task = serve.open("work");
        Self { place, serve, upstream, task }
    }

    fn word(&self, value: &str) -> String {
        self.task.word("shop", "act", value)
    }

    /// The refusal as the agent gets it
    fn refusal(&self, value: &str) -> Value {
        let answer = self.task.call("shop", "act", &json!({ "value": value }));
        answer.pointer("/result/_meta/dev.portreeve~1refusal").cloned().unwrap_or(answer)
    }
}

fn opa_toml(address: SocketAddr, more: &str) -> String {
    format!("kind = \"opa\"\nurl = \"http://{address}/v1/data/limits/answer\"\ntimeout = \"5s\"\n{more}")
}

const REGO: &str = "package limits\n\n\
    default answer := {\"allow\": false, \"reason\": \"larger than 50\"}\n\n\
    answer := true if to_number(input.arguments.value) <= 50\n\n\
    answer := \"perhaps\" if input.arguments.value == \"broken\"\n";

/// The cases that every kind of point has to decide alike: a value, and what comes of the call
const CASES: [(&str, &str); 4] = [("20", "ok"), ("50", "ok"), ("51", "outside_refuses"), ("500", "outside_refuses")];

#[track_caller]
fn decides(kind: &str, house: &House) {
    for (value, expected) in CASES {
        assert_eq!(house.word(value), expected, "{kind}: {value}");
    }
    // What was refused never arrived, and nothing else was held back.
    assert_eq!(house.upstream.values(), ["20", "50"], "{kind}");
    let record = house.place.record();
    assert_eq!(
        record.refusals().iter().filter(|word| *word == "outside_refuses").count(),
        1,
        "{kind}: one, and counted"
    );
}

#[test]
fn every_kind_of_point_decides_the_same_cases() {
    let cedar = "permit (principal, action, resource) when { [\"20\", \"50\"].contains(context.input.value) };";
    decides("cedar", &House::with(&[("c.toml", "kind = \"cedar\"\n"), ("c/policy.cedar", cedar)]));

    let rego = "kind = \"rego\"\nquery = \"data.limits.answer\"\n";
    let house = House::with(&[("r.toml", rego), ("r/limits.rego", REGO)]);
    decides("rego", &house);
    assert_eq!(house.refusal("51")["about"]["because"], "larger than 50");

    let amount = |value: &Value| value.as_str().and_then(|text| text.parse::<i64>().ok()).unwrap_or(i64::MAX);
    let opa = Point::new(move |_, body, stream| {
        let allow = amount(&body["input"]["arguments"]["value"]) <= 50;
        respond(stream, "200 OK", &json!({ "result": { "allow": allow, "reasons": ["larger than 50"] } }).to_string());
    });
    let house = House::with(&[("o.toml", &opa_toml(opa.address, "sends = \"arguments\"\n"))]);
    decides("opa", &house);
    assert_eq!(house.refusal("51")["about"]["because"], "larger than 50");

    let pdp = Point::new(move |path, body, stream| {
        let allow = path == "/access/v1/evaluation" && amount(&body["context"]["arguments"]["value"]) <= 50;
        respond(stream, "200 OK", &json!({ "decision": allow, "context": { "reason": "larger than 50" } }).to_string());
    });
    let toml = format!(
        "kind = \"authzen\"\nurl = \"http://{}/access/v1/evaluation\"\ntimeout = \"5s\"\nsends = \"arguments\"\n",
        pdp.address
    );
    let house = House::with(&[("a.toml", &toml)]);
    decides("authzen", &house);
    assert_eq!(house.refusal("51")["about"]["because"], "larger than 50");
    let (_, asked) = pdp.asked().swap_remove(0);
    assert_eq!(asked["subject"], json!({ "type": "agent", "id": "assistant" }));
    assert_eq!(asked["action"]["name"], "tools/call");
    assert_eq!(asked["resource"]["id"], "shop.act");
}

#[test]
fn a_point_that_does_not_behave_is_a_reason() {
    let elsewhere = Point::saying("200 OK", "{\"result\":true}");
    let redirect = format!("307 Temporary Redirect\r\nlocation: http://{}/v1/data/limits/answer", elsewhere.address);
    let redirect: &'static str = redirect.leak();
    let huge = format!("{{\"result\":true,\"padding\":\"{}\"}}", "x".repeat(1 << 20));
    for (what, point, expected) in [
        ("undefined", Point::saying("200 OK", "{}"), "outside_refuses"),
        ("no", Point::saying("200 OK", "{\"result\":false}"), "outside_refuses"),
        ("not JSON", Point::saying("200 OK", "yes"), "outside_failed"),
        ("two answers", Point::saying("200 OK", "{\"result\":false,\"result\":true}"), "outside_failed"),
        ("an error", Point::saying("500 Internal Server Error", "{\"result\":true}"), "outside_failed"),
        ("not found", Point::saying("404 Not Found", "{\"result\":true}"), "outside_failed"),
        ("a redirect", Point::saying(redirect, "{\"result\":true}"), "outside_failed"),
        ("huge", Point::saying("200 OK", huge), "outside_failed"),
        ("hangs up", Point::new(|_, _, _| {}), "outside_silent"),
        (
            "breaks off",
            Point::new(|_, _, stream| {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"result\":true}"))
            }),
            "outside_failed",
        ),
        ("no HTTP", Point::new(|_, _, stream| drop(stream.write_all(b"{\"result\":true}\r\n\r\n"))), "outside_failed"),
    ] {
        let house = House::with(&[("o.toml", &opa_toml(point.address, ""))]);
        assert_eq!(house.word("1"), expected, "{what}");
        assert_eq!(house.refusal("1")["about"]["point"], "o", "{what}");
        assert_eq!(house.upstream.values(), [""; 0], "{what}");
    }
    assert_eq!(elsewhere.asked(), [], "a redirect is not followed");
}

#[test]
fn a_point_that_is_slow_or_gone_is_silent() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let slow = Point::new(move |_, _, stream| {
        let _ = held.lock().unwrap().recv_timeout(PATIENCE);
        respond(stream, "200 OK", "{\"result\":true}");
    });
    let toml = opa_toml(slow.address, "").replace("5s", "50ms");
    let house = House::with(&[("o.toml", &toml)]);
    assert_eq!(house.word("1"), "outside_silent");
    drop(hold);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let house = House::with(&[("o.toml", &opa_toml(gone, ""))]);
    assert_eq!(house.word("1"), "outside_silent");
    assert_eq!(house.upstream.values(), [""; 0]);
}

#[test]
fn whole_arguments_leave_only_after_they_are_on_the_record() {
    // The point reads the record before it answers: what it was told has to stand there already.
    let data: Arc<Mutex<Option<std::path::PathBuf>>> = Arc::default();
    let (seen, folder) = (Arc::new(Mutex::new(Vec::new())), Arc::clone(&data));
    let saw = Arc::clone(&seen);
    let point = Point::new(move |_, _, stream| {
        let place = folder.lock().unwrap().clone().unwrap();
        let tail = std::process::Command::new(crate::support::place::PROGRAM)
            .args(["--json", "audit", "tail", "-n", "1000000"])
            .current_dir(&place)
            .output()
            .unwrap();
        saw.lock().unwrap().push(String::from_utf8_lossy(&tail.stdout).into_owned());
        respond(stream, "200 OK", "{\"result\":true}");
    });
    let house = House::with(&[("o.toml", &opa_toml(point.address, "sends = \"arguments\"\n"))]);
    *data.lock().unwrap() = Some(house.place.path().to_owned());
    assert_eq!(house.word("secret-value"), "ok");
    assert_eq!(point.asked()[0].1["input"]["arguments"]["value"], "secret-value");
    let record = crate::support::record::Record::read(&seen.lock().unwrap()[0]);
    let noted: Vec<_> = record.events("noted").filter_map(|(_, noted)| noted.get("consulted")).cloned().collect();
    assert_eq!(noted.len(), 1, "{record:?}");
    assert_eq!(noted[0]["points"][0]["point"], "o");
    assert_eq!(record.calls().len(), 0, "and the call is not admitted yet");
    let after = house.place.record();
    let effect = after.call("secret-value").effect;
    assert_eq!(noted[0]["effect"], effect.as_str());
}

#[test]
fn digests_leave_by_default_and_the_answer_stands_in_the_record() {
    let point = Point::saying("200 OK", "{\"result\":true}");
    let house = House::with(&[("o.toml", &opa_toml(point.address, "use = [\"shop.act\"]\n"))]);
    assert_eq!(house.word("secret-value"), "ok");
    assert_eq!(house.task.word("shop", "look", "other"), "ok");
    let asked = point.asked();
    assert_eq!(asked.len(), 1, "only about what it covers: {asked:?}");
    let (path, body) = &asked[0];
    assert_eq!(path, "/v1/data/limits/answer");
    assert!(!body.to_string().contains("secret-value"), "{body}");
    assert!(body["input"]["digests"]["value"].as_str().unwrap().starts_with("sha256:"), "{body}");
    let record = house.place.record();
    let heard = |value: &str| {
        let call = record.call(value);
        record.lines[call.at]["record"]["event"]["admitted"]["inputs"]["outside"].clone()
    };
    assert_eq!(heard("secret-value")[0]["point"], "o");
    assert!(heard("secret-value")[0]["question"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(heard("other"), Value::Null);
    let consulted = record.events("noted").filter(|(_, noted)| noted.get("consulted").is_some());
    assert_eq!(consulted.count(), 0, "digests need no record of their own");
}

#[test]
fn an_answer_is_used_again_only_for_the_same_question_and_only_where_the_policy_says_so() {
    let point = Point::saying("200 OK", "{\"result\":true}");
    let house = House::with(&[("o.toml", &opa_toml(point.address, ""))]);
    for _ in 0..3 {
        assert_eq!(house.word("a"), "ok");
    }
    assert_eq!(point.asked().len(), 3);

    let point = Point::saying("200 OK", "{\"result\":true}");
    let house = House::with(&[("o.toml", &opa_toml(point.address, "reuse = \"60s\"\n"))]);
    for value in ["a", "a", "b", "a"] {
        assert_eq!(house.word(value), "ok");
    }
    assert_eq!(point.asked().len(), 2);
    let record = house.place.record();
    let reused =
        record.events("admitted").filter(|(_, admitted)| admitted["inputs"]["outside"][0].get("reused").is_some());
    assert_eq!(reused.count(), 2);
    // Another version of the policy asks anew.
    house.place.write("policy/extra/o.toml", &opa_toml(point.address, "reuse = \"50s\"\n"));
    house.place.run(&["policy", "apply"]).good();
    assert_eq!(house.word("a"), "ok");
    assert_eq!(point.asked().len(), 3);
}

#[test]
fn a_point_adds_only_reasons_and_is_asked_last() {
    let point = Point::saying("200 OK", "{\"result\":true}");
    let house = House::with(&[("o.toml", &opa_toml(point.address, ""))]);
    house.place.write(
        "policy/rules/no.cedar",
        "forbid (principal, action, resource) when { context.input has value && context.input.value == \"no\" };",
    );
    house.place.run(&["policy", "apply"]).good();
    assert_eq!(house.word("no"), "rule_forbids");
    assert_eq!(point.asked(), [], "nobody is asked about what is refused anyway");
    assert_eq!(house.word("yes"), "ok");
}

#[test]
fn a_running_task_is_held_to_the_points_of_both_versions() {
    let (yes, no) = (Point::saying("200 OK", "{\"result\":true}"), Point::saying("200 OK", "{\"result\":false}"));
    let house = House::with(&[("o.toml", &opa_toml(yes.address, ""))]);
    assert_eq!(house.word("a"), "ok");
    house.place.write("policy/extra/o.toml", &opa_toml(no.address, ""));
    house.place.run(&["policy", "apply"]).good();
    assert_eq!(house.word("a"), "outside_refuses");
    // A point that is gone from the policy still binds the task that was opened under it.
    let fresh = house.serve.open("work");
    std::fs::remove_file(house.place.path().join("policy/extra/o.toml")).unwrap();
    house.place.run(&["policy", "apply"]).good();
    assert_eq!(fresh.word("shop", "act", "a"), "outside_refuses");
    assert_eq!(house.serve.open("work").word("shop", "act", "a"), "ok");
}

/// A real OPA that serves one policy, and where
fn opa(place: &Place, program: &std::path::Path, policy: &str) -> (Running, SocketAddr) {
    place.write("opa/limits.rego", policy);
    // It says nowhere which port the system gave it, so a free one is chosen beforehand.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let at = address.to_string();
    let arguments =
        ["run", "--server", "--addr", &at, "--log-level", "error", "--disable-telemetry", "opa/limits.rego"];
    let running = Running::start(place.command(&program.display().to_string(), &arguments));
    until("OPA listens", || TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok());
    (running, address)
}

#[test]
fn a_real_opa_decides_and_its_end_is_silence() {
    let Some(folder) = interop("a_real_opa_decides_and_its_end_is_silence", &["opa/opa"]) else { return };
    let elsewhere = Place::bare();
    let (running, address) = opa(&elsewhere, &folder.join("opa/opa"), REGO);
    let house = House::with(&[("o.toml", &opa_toml(address, "sends = \"arguments\"\n"))]);
    decides("a real OPA", &house);
    assert_eq!(house.refusal("51")["about"]["because"], "larger than 50");
    // A rule that OPA cannot evaluate without a conflict, and one that does not exist.
    assert_eq!(house.word("broken"), "outside_failed");
    let missing = opa_toml(address, "sends = \"arguments\"\n").replace("limits/answer", "limits/missing");
    house.place.write("policy/extra/o.toml", &missing);
    house.place.run(&["policy", "apply"]).good();
    assert_eq!(house.serve.open("work").word("shop", "act", "20"), "outside_refuses");
    house.place.write("policy/extra/o.toml", &opa_toml(address, "sends = \"arguments\"\n"));
    house.place.run(&["policy", "apply"]).good();
    let task = house.serve.open("work");
    assert_eq!(task.word("shop", "act", "20"), "ok");
    drop(running);
    assert_eq!(task.word("shop", "act", "20"), "outside_silent");
}
