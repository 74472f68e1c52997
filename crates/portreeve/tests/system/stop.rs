//! A stop is recorded, settled and cleared; an end of time is one too.

use crate::support::{
    PATIENCE,
    http::{Bounded as _, request},
    place::{Place, Serve, Task, word},
    process::below,
    upstream::{DONE, Gate, Received, Upstream, Wire},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

fn good(_: &Received, _: &mut Wire) -> bool {
    false
}

/// Answers no call
fn silent(received: &Received, _: &mut Wire) -> bool {
    received.method == "tools/call"
}

fn message(tool: &str, value: &str) -> Vec<u8> {
    let params = json!({ "name": tool, "arguments": { "value": value } });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string().into_bytes()
}

/// Calls in a thread of its own
fn calling(task: &Task, value: &str) -> thread::JoinHandle<String> {
    let (task, value) = (task.clone(), value.to_owned());
    thread::spawn(move || task.word("shop", "act", &value))
}

/// Agents that call without end, and what each was told; values after the stop begin with `late`
struct Load {
    agents: Vec<thread::JoinHandle<Vec<(String, String)>>>,
    late: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    answered: mpsc::Receiver<()>,
}

impl Load {
    fn start(task: &Task, agents: usize) -> Self {
        let (late, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (answer, answered) = mpsc::channel();
        let agents = (0..agents)
            .map(|agent| {
                let (task, late, over, answer) = (task.clone(), Arc::clone(&late), Arc::clone(&over), answer.clone());
                thread::spawn(move || {
                    let mut told = Vec::new();
                    for number in 0.. {
                        if over.load(Ordering::SeqCst) {
                            break;
                        }
                        let when = if late.load(Ordering::SeqCst) { "late" } else { "early" };
                        let value = format!("{when}-{agent}-{number}");
                        told.push((value.clone(), word(&task.post("shop", &message("act", &value)).json())));
                        let _ = answer.send(());
                    }
                    told
                })
            })
            .collect();
        Self { agents, late, over, answered }
    }

    fn wait_for(&self, answers: usize) {
        for _ in 0..answers {
            self.answered.recv_timeout(PATIENCE).expect("no call is answered");
        }
    }

    /// The stop has returned: from now on every call is late
    fn late(&self) {
        self.late.store(true, Ordering::SeqCst);
        while self.answered.try_recv().is_ok() {}
    }

    fn end(self) -> Vec<(String, String)> {
        self.over.store(true, Ordering::SeqCst);
        self.agents.into_iter().flat_map(|agent| agent.join().unwrap()).collect()
    }
}

#[track_caller]
fn all_three(answer: &Value) {
    let at = |name: &str| answer[name].as_u64().unwrap_or_else(|| panic!("{name}: {answer}"));
    assert!(at("recorded_us") <= at("settled_us") && at("settled_us") <= at("cleared_us"), "{answer}");
    assert_eq!(answer["not_settled"], 0, "{answer}");
}

fn race(upstream: &Upstream, agents: usize) {
    let place = Place::with(&[("shop", upstream)], "", "");
    let serve = place.serve(&["shop"]);
    let (task, other) = (serve.open("work"), serve.open("work"));
    let load = Load::start(&task, agents);
    load.wait_for(50);
    let answer = serve.stop(&task.id);
    load.late();
    all_three(&answer);
    load.wait_for(agents * 5);
    let told = load.end();
    assert_eq!(other.word("shop", "act", "other"), "ok", "another task goes on");
    serve.terminate();
    upstream.quiet();

    let values: BTreeSet<String> = upstream.values().into_iter().collect();
    assert!(values.iter().all(|value| !value.starts_with("late")), "an effect after the stop had settled");
    let record = place.record();
    let (stopped, calls) = (record.stop_at(&task.id), record.calls());
    for call in calls.values().filter(|call| call.task == task.id) {
        assert!(call.at < stopped, "admitted after the stop: {call:?}");
        assert_eq!(call.ends.len(), 1, "{call:?}");
        if call.ends == ["ok"] {
            assert!(values.contains(&call.value), "it never happened: {call:?}");
        }
        if call.ends == ["not_sent"] {
            assert!(!values.contains(&call.value), "it was sent: {call:?}");
        }
    }
    for (value, word) in &told {
        let end = calls.values().find(|call| call.value == *value).map(|call| call.ends[0].as_str());
        match word.as_str() {
            "ok" => assert_eq!(end, Some("ok"), "{value}"),
            "task_over" => assert_eq!(end, None, "{value}"),
            "outcome_unknown" => assert_eq!(end, Some("unknown"), "{value}"),
            "withheld" => assert_eq!(end, Some("not_sent"), "{value}"),
            word => panic!("{value}: {word}, {end:?}"),
        }
    }
    assert!(told.iter().any(|(value, word)| value.starts_with("late") && word == "task_over"));
}

#[test]
fn nothing_arrives_over_http_after_a_stop_has_settled() {
    race(&Upstream::http(&["act"], good), 16);
}

#[test]
fn nothing_arrives_at_a_child_after_a_stop_has_settled() {
    race(&Upstream::stdio(&["act"], good), 16);
}

#[test]
fn calls_under_way_are_cancelled_and_spent() {
    for upstream in [Upstream::http(&["act"], silent), Upstream::stdio(&["act"], silent)] {
        let place = Place::with(&[("shop", &upstream)], "", "");
        let serve = place.serve(&["shop"]);
        let task = serve.open("work");
        let calls: Vec<_> = (0..8).map(|number| calling(&task, &format!("v{number}"))).collect();
        upstream.wait_for_calls(8);
        let answer = serve.stop(&task.id);
        all_three(&answer);
        for call in calls {
            assert_eq!(call.join().unwrap(), "outcome_unknown");
        }
        // Whoever was asked is told, or is gone with its connection or its process.
        assert!(below(serve.pid()).is_empty());
        let calls = place.record().calls();
        assert_eq!(calls.len(), 8);
        assert!(calls.values().all(|call| call.ends == ["unknown"]), "{calls:?}");
        assert_eq!(task.word("shop", "act", "late"), "task_over");
    }
}

/// Stops `node`, and says which of these go on
fn after_stop(node: &str) -> [(&'static str, String); 3] {
    let (shop, mail) = (Upstream::http(&["act"], good), Upstream::http(&["act"], good));
    let place = Place::with(&[("shop", &shop), ("mail", &mail)], "", "");
    place.purpose("other", &[("shop", &shop)], "", "");
    let serve = place.serve(&["shop", "mail"]);
    let (work, other) = (serve.open("work"), serve.open("other"));
    for task in [&work, &other] {
        assert_eq!(task.word("shop", "act", "before"), "ok");
    }
    let node = match node {
        "task" => work.id.clone(),
        "run" => work.run.clone(),
        node => node.to_owned(),
    };
    let answer = place.json(&["kill", &node]);
    all_three(&answer);
    assert_eq!((&answer["node"], &answer["why"]), (&json!(node), &json!("killed")), "{answer}");
    let words = [
        ("work at shop", work.word("shop", "act", "after")),
        ("work at mail", work.word("mail", "act", "after")),
        ("other at shop", other.word("shop", "act", "after")),
    ];
    assert_eq!(place.record().stops(&node), ["killed"]);
    // A stop outlives the process that took it.
    serve.terminate();
    let serve = place.serve(&[]);
    if words[2].1 == "ok" {
        assert_eq!(serve.rejoin(&other).word("shop", "act", "again"), "ok");
    } else {
        let (status, refused) = serve.admin("POST", "/v1/tasks", &json!({ "purpose": "other" }));
        let (_, fresh) = serve.admin("POST", &format!("/v1/tasks/{}/token", other.id), &Value::Null);
        let still = fresh["token"].is_string() && serve.rejoin(&other).word("shop", "act", "again") == words[2].1;
        assert!(still || fresh["error"]["word"] == words[2].1 || status == 403, "{refused} {fresh}");
    }
    words
}

#[test]
fn each_node_takes_what_rests_on_it_and_nothing_else() {
    for (node, words) in [
        ("task", ["task_over", "task_over", "ok"]),
        ("run", ["task_over", "task_over", "ok"]),
        ("purpose:work", ["purpose_stopped", "purpose_stopped", "ok"]),
        ("connector:shop", ["connector_stopped", "ok", "connector_stopped"]),
        ("connector:mail", ["ok", "connector_stopped", "ok"]),
        ("agent:assistant", ["agent_stopped", "agent_stopped", "agent_stopped"]),
        ("all", ["task_over", "task_over", "task_over"]),
    ] {
        let seen = after_stop(node);
        let seen: Vec<&str> = seen.iter().map(|(_, word)| word.as_str()).collect();
        assert_eq!(seen, words, "after the stop of {node}");
    }
}

/// Subscribes, and returns once the subscription is acknowledged
fn subscribed(task: &Task) -> TcpStream {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
    });
    let params = json!({ "notifications": { "toolsListChanged": true }, "_meta": meta });
    let listen = json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params });
    let (host, bearer) = (task.address.to_string(), format!("Bearer {}", task.token));
    let headers = [
        ("host", host.as_str()),
        ("authorization", &bearer),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "subscriptions/listen"),
    ];
    let mut stream = TcpStream::connect(task.address).unwrap();
    stream.bound(PATIENCE);
    stream.write_all(&request("POST", "/mcp/shop", &headers, listen.to_string().as_bytes())).unwrap();
    let (mut told, mut piece) = (Vec::new(), [0; 1024]);
    while !String::from_utf8_lossy(&told).contains("notifications/subscriptions/acknowledged") {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&told));
        told.extend_from_slice(&piece[..count]);
    }
    stream
}

#[test]
fn streams_end_with_whatever_their_task_rests_on() {
    let upstream = Upstream::http(&["act"], good);
    for node in ["", "purpose:work", "agent:assistant", "all"] {
        let place = Place::with(&[("shop", &upstream)], "", "");
        let serve = place.serve(&["shop"]);
        let task = serve.open("work");
        let mut stream = subscribed(&task);
        serve.stop(if node.is_empty() { &task.id } else { node });
        let (mut rest, mut piece, begun) = (Vec::new(), [0; 1024], Instant::now());
        loop {
            // It says that it lives every now and then.
            assert!(begun.elapsed() < PATIENCE, "it goes on after a stop of {node:?}");
            let count = stream.read(&mut piece).unwrap();
            if count == 0 {
                break;
            }
            rest.extend_from_slice(&piece[..count]);
        }
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(rest.contains("notifications/cancelled"), "{node:?}: {rest}");
    }
}

#[test]
fn a_stopped_connector_is_cleared_while_its_tasks_live() {
    let upstream = Upstream::stdio(&["act"], silent);
    let place = Place::with(&[("shop", &upstream)], "", "");
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    let call = calling(&task, "v");
    upstream.wait_for_calls(1);
    all_three(&serve.stop("connector:shop"));
    assert_eq!(call.join().unwrap(), "outcome_unknown");
    assert!(below(serve.pid()).is_empty());
    let (_, shown) = serve.admin("GET", &format!("/v1/tasks/{}", task.id), &Value::Null);
    assert_eq!(shown["state"], "live");
}

#[test]
fn what_is_over_or_unknown_cannot_be_stopped() {
    let upstream = Upstream::http(&["act"], good);
    let place = Place::with(&[("shop", &upstream)], "", "");
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    serve.stop(&task.id);
    for (node, word) in
        [(task.id.as_str(), "task_over"), ("task_0000000000001", "task_unknown"), ("agent:nobody", "task_unknown")]
    {
        let (status, answer) = serve.admin("POST", "/v1/stop", &json!({ "node": node }));
        assert_eq!((status, answer["error"]["word"].as_str()), (403, Some(word)), "{node}: {answer}");
    }
    assert_eq!(place.run(&["kill", "something"]).code, 2);
    assert_eq!(place.run(&["kill", "planet:earth"]).code, 2);
}

/// A task whose time is short, with a call under way when it passes
fn passes(limit: &str, upstream: &Upstream) -> (Place, Serve, Task) {
    let place = Place::with(&[("shop", upstream)], limit, "");
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    (place, serve, task)
}

#[test]
fn an_expired_task_is_over_by_itself() {
    let upstream = Upstream::stdio(&["act"], silent);
    let (place, serve, task) = passes("expires_after = \"1s\"", &upstream);
    // The call returns because the task's time has passed: nobody else ends it.
    assert_eq!(task.word("shop", "act", "v"), "outcome_unknown");
    assert_eq!(task.word("shop", "act", "late"), "task_over");
    serve.settled();
    assert!(below(serve.pid()).is_empty(), "its child is gone");
    let record = place.record();
    assert_eq!(record.stops(&task.id), ["expired"]);
    assert_eq!(record.call("v").ends, ["unknown"]);
    // It was over at its time, not when that was recorded.
    let began = record.events("began").next().unwrap().1["expires"].clone();
    let stopped = record.events("stopped").find(|(_, stopped)| stopped["node"] == task.id).unwrap().1;
    assert_eq!(stopped["at"], began);
}

#[test]
fn an_idle_task_is_over_by_itself() {
    let gate = Gate::default();
    let upstream = Upstream::stdio(&["act"], {
        let gate = gate.clone();
        move |received, wire| {
            if received.value == "slow" {
                gate.wait();
                wire.answer(DONE);
            }
            received.value == "slow"
        }
    });
    let (place, serve, task) = passes("idle_after = \"1s\"", &upstream);
    assert_eq!(task.word("shop", "act", "v"), "ok");
    // Its child goes with it, and only then is nobody connected any more.
    upstream.quiet();
    assert_eq!(task.word("shop", "act", "late"), "task_over");
    serve.settled();
    assert_eq!(place.record().stops(&task.id), ["idle"]);

    // A call under way is no idleness, however long it takes; refused calls are.
    let busy = serve.open("work");
    let slow = calling(&busy, "slow");
    upstream.wait_for_calls(2);
    let idle = serve.open("work");
    crate::support::until("the idle task is over", || {
        idle.word("shop", "no-such", "v") == "task_over" || {
            let (_, shown) = serve.admin("GET", &format!("/v1/tasks/{}", idle.id), &Value::Null);
            shown["state"] != "live"
        }
    });
    gate.open();
    assert_eq!(slow.join().unwrap(), "ok");
    assert_eq!(place.record().stops(&busy.id), Vec::<String>::new());
}

#[test]
fn an_expiry_that_nobody_saw_is_recorded_at_the_next_start() {
    let upstream = Upstream::http(&["act"], good);
    let (place, serve, task) = passes("expires_after = \"1s\"", &upstream);
    let began = place.record().events("began").next().unwrap().1["expires"].clone();
    serve.kill();
    crate::support::until("its time has passed", || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        now > u128::from(began.as_u64().unwrap())
    });
    let serve = place.serve(&[]);
    let (status, refused) = serve.admin("POST", &format!("/v1/tasks/{}/token", task.id), &Value::Null);
    assert_eq!((status, refused["error"]["word"].as_str()), (403, Some("task_over")), "{refused}");
    serve.terminate();
    let record = place.record();
    let stopped = record.events("stopped").find(|(_, stopped)| stopped["node"] == task.id).unwrap().1;
    assert_eq!((&stopped["why"], &stopped["at"]), (&json!("expired"), &began));
}

#[test]
fn a_client_cancels_its_own_call_and_no_others() {
    let upstream = Upstream::http(&["act"], silent);
    let place = Place::with(&[("shop", &upstream)], "", "");
    let serve = place.serve(&["shop"]);
    let (task, other) = (serve.open("work"), serve.open("work"));
    let (first, second) = (calling(&task, "first"), calling(&other, "second"));
    upstream.wait_for_calls(2);
    // Both calls have the id 1, each in its own run.
    let cancel = br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"enough"}}"#;
    assert_eq!(task.post("shop", cancel).status, 202);
    assert_eq!(first.join().unwrap(), "outcome_unknown");
    serve.stop(&other.id);
    assert_eq!(second.join().unwrap(), "outcome_unknown");
    let record = place.record();
    assert_eq!(
        (record.call("first").ends, record.call("second").ends),
        (vec!["unknown".to_owned()], vec!["unknown".to_owned()])
    );
    assert!(record.call("first").at < record.stop_at(&other.id));
}
