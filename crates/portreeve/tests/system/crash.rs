//! `kill -9` at random points under load, against a connector that keeps its own ledger.
//!
//! `PORTREEVE_ROUNDS` says how many rounds, `PORTREEVE_SEED` where the randomness begins.

use crate::support::{
    place::{Place, Serve, Task, word},
    record::Record,
    upstream::{Received, Upstream, Wire},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// Rounds unless the environment says otherwise
const ROUNDS: u64 = 25;
/// Agents at work at once, on each of two tasks
const AGENTS: usize = 4;
/// Calls of `few` that one task has, in all of its lives
const FEW: usize = 6;

/// Good enough to choose moments by (Steele, Lea, Flood: splitmix64)
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below this one
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A number from the environment
pub(crate) fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What an agent was told about its call
#[derive(Clone, Debug)]
struct Told {
    value: String,
    tool: &'static str,
    /// One word, or nothing if the connection broke
    word: Option<String>,
}

#[test]
fn a_crash_at_any_point_leaves_an_honest_record() {
    let seed = setting("PORTREEVE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let rounds = setting("PORTREEVE_ROUNDS").unwrap_or(ROUNDS);
    println!("PORTREEVE_SEED={seed}");
    let mut random = Random(seed);

    let (shop, mail) = (Upstream::http(&["act", "few"], answers), Upstream::stdio(&["act", "few"], answers));
    let place = Place::with(&[("shop", &shop), ("mail", &mail)], "", "");
    let purpose = place.read("policy/purposes/work.toml");
    let few = |text: &str, entry: &str| {
        text.replace(&format!("name = \"{entry}\"\n"), &format!("name = \"{entry}\"\ntimes = {FEW}\n"))
    };
    place.write("policy/purposes/work.toml", &few(&few(&purpose, "shop-few"), "mail-few"));

    let mut serve = place.serve(&["shop", "mail"]);
    let mut told = Vec::new();
    // One task lives through all rounds; each round has one of its own besides.
    let mut old = serve.open("work");
    let mut checkpoints = Vec::new();
    for round in 0..rounds {
        let tasks = [old.clone(), serve.open("work")];
        let load = Load::start(round, &tasks);
        let answers = 1 + random.below(60);
        let pause = Duration::from_micros(random.below(3_000));
        load.kill_after(serve, answers, pause, &mut told);

        let serving =
            Serve::start(&place).unwrap_or_else(|ran| panic!("round {round}: it does not start again: {ran:?}"));
        serving.settled();
        let verified = place.json(&["audit", "verify"]);
        checkpoints.push(verified["checkpoint"].as_str().unwrap().to_owned());
        if let [.., before, _] = checkpoints.as_slice() {
            place.run(&["audit", "verify", "--checkpoint", before]).good();
        }
        old = serving.rejoin(&old);
        serve = serving;
    }
    serve.terminate();
    shop.quiet();
    mail.quiet();
    for checkpoint in &checkpoints {
        place.run(&["audit", "verify", "--checkpoint", checkpoint]).good();
    }
    let ledger: Vec<Received> = shop.calls().into_iter().chain(mail.calls()).collect();
    hold(&place.record(), &ledger, &told);
    let answered = told.iter().filter(|told| told.word.is_some()).count();
    println!("{rounds} rounds, {} calls, {answered} answered, {} in the ledgers", told.len(), ledger.len());
}

/// A connector that takes its time now and then
fn answers(received: &Received, wire: &mut Wire) -> bool {
    if received.method == "tools/call" && received.value.ends_with('7') {
        thread::park_timeout(Duration::from_millis(5));
    }
    let failed = received.method == "tools/call" && received.value.ends_with('3');
    if failed {
        wire.answer(r#"{"content":[],"isError":true}"#);
    }
    failed
}

/// Agents that call as fast as they are answered
struct Load {
    agents: Vec<thread::JoinHandle<Vec<Told>>>,
    over: Arc<AtomicBool>,
    answered: mpsc::Receiver<()>,
}

impl Load {
    fn start(round: u64, tasks: &[Task]) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (answer, answered) = mpsc::channel();
        let agents = tasks.iter().flat_map(|task| (0..AGENTS).map(move |agent| (task.clone(), agent)));
        let agents = agents
            .map(|(task, agent)| {
                let (over, answer) = (Arc::clone(&over), answer.clone());
                thread::spawn(move || {
                    let mut told = Vec::new();
                    for number in 0_u64.. {
                        if over.load(Ordering::Relaxed) {
                            break;
                        }
                        let connector = if (number + agent as u64).is_multiple_of(2) { "shop" } else { "mail" };
                        let tool = if number % 5 == 1 { "few" } else { "act" };
                        let value = format!("{}-{round}-{agent}-{number}", task.id);
                        told.push(call(&task, connector, tool, value));
                        let _ = answer.send(());
                    }
                    told
                })
            })
            .collect();
        Self { agents, over, answered }
    }

    /// Kills the gateway once this many calls are answered, and gathers what the agents were told
    fn kill_after(self, serve: Serve, answers: u64, pause: Duration, told: &mut Vec<Told>) {
        for _ in 0..answers {
            self.answered.recv_timeout(crate::support::PATIENCE).expect("no call is answered");
        }
        // Not a wait for anything: the moment is to be a random one.
        thread::park_timeout(pause);
        self.over.store(true, Ordering::Relaxed);
        serve.kill();
        for agent in self.agents {
            told.extend(agent.join().unwrap());
        }
    }
}

fn call(task: &Task, connector: &str, tool: &'static str, value: String) -> Told {
    let params = json!({ "name": tool, "arguments": { "value": value } });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let answer = task.try_post(connector, message.to_string().as_bytes());
    let word = answer.map(|answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        word(&answer.json())
    });
    Told { value, tool, word }
}

fn hold(record: &Record, ledger: &[Received], told: &[Told]) {
    let calls = record.calls();
    let mut by_value = BTreeMap::new();
    for call in calls.values() {
        assert!(by_value.insert(call.value.as_str(), call).is_none(), "{} is admitted twice", call.value);
        assert_eq!(call.ends.len(), 1, "settled once, and honestly: {call:?}");
    }

    let mut seen: BTreeMap<&str, &Received> = BTreeMap::new();
    for received in ledger {
        assert!(seen.insert(&received.value, received).is_none(), "{} happened twice", received.value);
        let call = by_value.get(received.value.as_str()).unwrap_or_else(|| panic!("{} has no record", received.value));
        assert!(call.tool.ends_with(&received.tool), "{call:?} {received:?}");
        assert_ne!(call.ends, ["not_sent"], "it was sent: {call:?}");
    }
    for call in calls.values().filter(|call| call.ends == ["ok"] || call.ends == ["failed"]) {
        assert!(seen.contains_key(call.value.as_str()), "settled as done, but it never happened: {call:?}");
    }

    for told in told {
        let (call, happened) = (by_value.get(told.value.as_str()), seen.contains_key(told.value.as_str()));
        let end = call.map(|call| call.ends[0].as_str());
        match told.word.as_deref() {
            // The settlement may be lost with the crash; what is known of the call is not.
            Some("ok") => assert!(happened && matches!(end, Some("ok" | "unknown")), "{told:?} {call:?}"),
            Some("failed") => assert!(happened && matches!(end, Some("failed" | "unknown")), "{told:?} {call:?}"),
            Some("outcome_unknown") => assert_eq!(end, Some("unknown"), "{told:?} {call:?}"),
            Some("count_spent" | "record_unavailable" | "connector_unreachable") => {
                assert!(!happened && call.is_none(), "{told:?} {call:?}");
            }
            Some("withheld") => assert!(!happened && matches!(end, Some("not_sent" | "unknown")), "{told:?} {call:?}"),
            Some(word) => panic!("{word}: {told:?} {call:?}"),
            None => {}
        }
    }

    let mut used: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for call in calls.values().filter(|call| call.ends != ["not_sent"]) {
        for entry in call.entries.iter().filter(|entry| entry.ends_with("few")) {
            *used.entry((&call.task, entry)).or_default() += 1;
        }
    }
    assert!(used.values().all(|used| *used <= FEW), "{used:?}");
    assert!(used.values().any(|used| *used == FEW), "no task came to its limit: {used:?}");
    let limited = told.iter().filter(|told| told.tool == "few" && told.word.as_deref() == Some("count_spent"));
    assert!(limited.count() > 0);
}

#[test]
fn what_was_open_at_a_crash_is_spent_and_said_so() {
    let hangs = |received: &Received, _: &mut Wire| received.method == "tools/call";
    let upstream = Upstream::http(&["once"], hangs);
    let place = Place::with(&[("shop", &upstream)], "", "times = 1\n");
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    let open = {
        let task = task.clone();
        thread::spawn(move || call(&task, "shop", "once", "v".to_owned()))
    };
    upstream.wait_for_calls(1);
    serve.kill();
    assert_eq!(open.join().unwrap().word, None, "the agent was told nothing");

    let serve = place.serve(&[]);
    serve.settled();
    assert_eq!(place.record().call("v").ends, ["unknown"]);
    // Spent: neither we nor the agent can do it again.
    assert_eq!(serve.rejoin(&task).word("shop", "once", "w"), "count_spent");
    assert_eq!(upstream.values(), ["v"]);
    let (_, shown) = serve.admin("GET", &format!("/v1/tasks/{}", task.id), &Value::Null);
    assert_eq!((&shown["state"], &shown["steps"]["shop-once"]["used"]), (&json!("live"), &json!(1)), "{shown}");
}
