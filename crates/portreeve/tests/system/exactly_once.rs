//! One yes, many clients that repeat the call, and `kill -9` at every step between the yes and the outcome: never two
//! effects, and no outcome that is not known to be one.
//!
//! `PORTREEVE_ROUNDS` says how many rounds, `PORTREEVE_SEED` where the randomness begins.

mod clients;

use crate::{
    approvals::{handed_over, people},
    crash::{Random, setting},
    support::{
        PATIENCE,
        http::{Response, request, try_exchange},
        place::{Place, Serve, Task},
        reader::recounted,
        record::{Call, Record},
        until,
        upstream::{DONE, Gate, Received, Upstream, Wire},
    },
};
use clients::{Client, Told, is_over};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

/// Rounds unless the environment says otherwise: each moment three times and more
const ROUNDS: u64 = 21;
/// How often a client calls before it waits for the next life
const ATTEMPTS: usize = 4;

/// When the gateway is killed
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// While the yes is said
    Saying,
    /// While the connector is made ready after the yes
    Preparing,
    /// While the connector has the call, and does not answer
    Held,
    /// Just after the connector has answered
    Answered,
    /// While nothing can be sent, because the connector is gone
    Gone,
    /// After it is on the record that nothing was sent
    GivenBack,
    /// Any time after the yes
    Any,
}

const MOMENTS: [Moment; 7] =
    [Moment::Saying, Moment::Preparing, Moment::Held, Moment::Answered, Moment::Gone, Moment::GivenBack, Moment::Any];

/// What the connectors do with the call of the round
#[derive(Clone, Default)]
struct Plan {
    /// The method that is not answered before the gate opens
    holds: Arc<Mutex<&'static str>>,
    gate: Gate,
    /// Told of each answer
    answered: Arc<Mutex<Option<mpsc::Sender<()>>>>,
}

impl Plan {
    fn plays(&self, received: &Received, wire: &mut Wire) -> bool {
        let is_act = received.method == "tools/call" && received.tool == "act";
        let held = *self.holds.lock().unwrap();
        if !held.is_empty() && received.method == held && (is_act || held != "tools/call") {
            self.gate.wait();
        }
        if !is_act {
            return false;
        }
        if received.value.ends_with("slow") {
            thread::park_timeout(Duration::from_millis(8));
        }
        let is_bad = received.value.ends_with("bad");
        wire.answer(if is_bad { r#"{"content":[],"isError":true}"# } else { DONE });
        if let Some(answered) = &*self.answered.lock().unwrap() {
            let _ = answered.send(());
        }
        true
    }

    /// Holds whatever asks for this method from now on
    fn hold(&self, method: &'static str) {
        self.gate.shut();
        *self.holds.lock().unwrap() = method;
    }

    /// Holds nothing any more
    fn release(&self) {
        *self.holds.lock().unwrap() = "";
        self.gate.open();
    }

    fn answers(&self) -> mpsc::Receiver<()> {
        let (answered, answers) = mpsc::channel();
        *self.answered.lock().unwrap() = Some(answered);
        answers
    }
}

/// One question, its yes, and what everybody was told
#[derive(Debug)]
struct Asked {
    moment: Moment,
    value: String,
    hold: String,
    /// How it stood after the restart
    stood: String,
    /// What was told before the kill; nothing where the connection broke
    before: Vec<Option<String>>,
    /// What each client was told in the end
    after: Vec<String>,
}

struct World {
    place: Place,
    shop: Upstream,
    mail: Upstream,
    plan: Plan,
    config: String,
    random: Random,
}

#[test]
fn one_yes_is_one_effect_whenever_the_gateway_is_killed() {
    let seed = setting("PORTREEVE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let rounds = setting("PORTREEVE_ROUNDS").unwrap_or(ROUNDS);
    println!("PORTREEVE_SEED={seed}");
    let began = Instant::now();
    let mut world = World::new(Random(seed));
    world.waits();
    let mut serve = world.place.serve(&["shop", "mail"]);
    let mut asked = Vec::new();
    for round in 0..rounds {
        let moment = MOMENTS[usize::try_from(round).unwrap() % MOMENTS.len()];
        let (next, one) = world.round(round, moment, serve);
        asked.push(one);
        serve = next;
    }
    serve.terminate();
    world.shop.quiet();
    world.mail.quiet();
    let ledger: Vec<Received> = world.shop.calls().into_iter().chain(world.mail.calls()).collect();
    let ledger: Vec<Received> = ledger.into_iter().filter(|received| received.tool == "act").collect();
    let ends = hold(&world.place.record(), &ledger, &asked);
    for (moment, ends) in &ends {
        println!("{moment:?}: {ends:?}");
    }
    let unknown: usize = ends.values().filter_map(|ends| ends.get("unknown")).sum();
    let told: usize = asked.iter().map(|asked| asked.before.len() + asked.after.len()).sum();
    println!(
        "{rounds} rounds, {told} calls of clients, {} in the ledgers, {unknown} unknown, {} s",
        ledger.len(),
        began.elapsed().as_secs()
    );
    if let Some(read) = recounted(&world.place.data()) {
        assert_eq!(read["holds"].as_object().map(|holds| holds.len() as u64), Some(rounds), "{read:#}");
    }
}

impl World {
    fn new(random: Random) -> Self {
        let plan = Plan::default();
        let script = || {
            let plan = plan.clone();
            move |received: &Received, wire: &mut Wire| plan.plays(received, wire)
        };
        let (shop, mail) = (Upstream::http(&["act", "free"], script()), Upstream::stdio(&["act", "free"], script()));
        let place = Place::with(&[("shop", &shop), ("mail", &mail)], "", "");
        people(&place);
        let purpose = place.read("policy/purposes/work.toml");
        let asks = |text: &str, entry: &str| {
            text.replace(
                &format!("name = \"{entry}\"\n"),
                &format!("name = \"{entry}\"\nask = {{ who = \"leads\" }}\n"),
            )
        };
        place.write("policy/purposes/work.toml", &asks(&asks(&purpose, "shop-act"), "mail-act"));
        let config = place.read(".portreeve/portreeve.toml");
        Self { place, shop, mail, plan, config, random }
    }

    /// Says how long a request waits for people in the next life: long, or not at all
    fn waits(&mut self) {
        let wait = ["0s", "30s"][self.below(2)];
        self.place.write(".portreeve/portreeve.toml", &format!("{}\n[holds]\nwait = \"{wait}\"\n", self.config));
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap()
    }

    /// Not a wait for anything: the moment is to be a random one
    fn pause(&mut self, below_us: u64) {
        thread::park_timeout(Duration::from_micros(self.random.below(below_us)));
    }

    fn round(&mut self, round: u64, moment: Moment, serve: Serve) -> (Serve, Asked) {
        let is_gone = matches!(moment, Moment::Gone | Moment::GivenBack);
        let connector = if is_gone { "shop" } else { ["shop", "mail"][self.below(2)] };
        let value = format!("{round}-{}", ["good", "bad", "slow"][self.below(3)]);
        let task = serve.open("work");
        // Whoever opened it does not answer for it.
        handed_over(&self.place);
        let clients = Client::of_each_kind(&task, connector);
        // What is not made ready before the yes, is made ready after it.
        let is_ready = is_gone || (moment != Moment::Preparing && self.below(2) == 0);
        if is_ready {
            clients.iter().for_each(Client::warm);
        }

        let (said, (reports, reported)) = (Gate::default(), mpsc::channel());
        let calling = clients.into_iter().map(|client| calls(client, value.clone(), said.clone(), reports.clone()));
        let calling: Vec<_> = calling.collect();
        drop(reports);
        let question = question(&self.place);
        let code = question["code"].as_str().unwrap();
        let calls = self.kill(serve, moment, (connector, &task), code, &said, (calling, reported));

        let (mut clients, mut before) = (Vec::new(), Vec::new());
        for (client, told) in calls {
            clients.push(client);
            before.extend(told);
        }
        self.waits();
        let serve = Serve::start(&self.place)
            .unwrap_or_else(|ran| panic!("{moment:?}, round {round}: it does not start again: {ran:?}"));
        serve.settled();
        self.place.run(&["audit", "verify"]).good();
        let (_, shown) = serve.admin("GET", &format!("/v1/holds/{code}"), &Value::Null);
        let stood = shown["state"].as_str().unwrap_or_else(|| panic!("{shown}")).to_owned();
        if stood == "open" {
            assert_eq!(moment, Moment::Saying, "what was answered is on the record: {shown}");
            assert!(approve(&self.place, code, false), "round {round}");
        }

        let task = serve.rejoin(&task);
        let repeating = clients.into_iter().map(|mut client| {
            client.rejoins(&task, self.random.below(2) == 0);
            let value = value.clone();
            thread::spawn(move || client.repeats(&value))
        });
        let repeating: Vec<_> = repeating.collect();
        let after = repeating.into_iter().map(|repeats| repeats.join().unwrap()).collect();
        serve.stop(&task.id);
        serve.settled();
        let hold = question["hold"].as_str().unwrap().to_owned();
        (serve, Asked { moment, value, hold, stood, before, after })
    }

    /// Has somebody say yes, and kills the gateway at the moment; what the clients were told until then
    fn kill(
        &mut self,
        serve: Serve,
        moment: Moment,
        (connector, task): (&str, &Task),
        code: &str,
        said: &Gate,
        (calling, reported): (Vec<thread::JoinHandle<Told>>, mpsc::Receiver<String>),
    ) -> Vec<Told> {
        let by_command = self.below(3) == 0;
        let is_shop = connector == "shop";
        let of = |world: &Self, method: &str| if is_shop { world.shop.count(method) } else { world.mail.count(method) };
        let (plan, answers) = (self.plan.clone(), self.plan.answers());
        let method = match (moment, is_shop) {
            // Which era the shop is of is remembered from its first call.
            (Moment::Preparing, true) => ["initialize", "tools/list"][self.below(2)],
            (Moment::Preparing, false) => ["server/discover", "initialize", "tools/list"][self.below(3)],
            (Moment::Held, _) => "tools/call",
            _ => "",
        };
        plan.hold(method);
        let arrived = of(self, method);
        if matches!(moment, Moment::Gone | Moment::GivenBack) {
            self.shop.leave();
        }
        if moment == Moment::Saying {
            let within = if by_command { 150_000 } else { 6_000 };
            let pause = Duration::from_micros(self.random.below(within));
            let place = &self.place;
            said.open();
            thread::scope(|scope| {
                scope.spawn(move || approve(place, code, by_command));
                thread::park_timeout(pause);
                serve.kill();
            });
        } else {
            assert!(approve(&self.place, code, by_command), "{moment:?}");
            said.open();
            let upstream = if is_shop { &self.shop } else { &self.mail };
            match moment {
                Moment::Preparing | Moment::Held => upstream.wait_for_count(method, arrived + 1),
                Moment::Answered => answers.recv_timeout(PATIENCE).expect("nothing is answered"),
                Moment::Gone => {
                    let tells = || reported.recv_timeout(PATIENCE).expect("nobody is told that nothing was sent");
                    while tells() != "withheld" {}
                }
                Moment::GivenBack => {
                    until("everybody was told", || calling.iter().all(thread::JoinHandle::is_finished));
                    serve.calls_settled(task);
                }
                Moment::Any => self.pause(40_000),
                Moment::Saying => {}
            }
            match moment {
                Moment::Preparing | Moment::Answered => self.pause(2_500),
                Moment::Held => self.pause(1_000),
                Moment::Gone => self.pause(25_000),
                _ => {}
            }
            serve.kill();
        }
        plan.release();
        let calls = calling.into_iter().map(|calls| calls.join().unwrap()).collect();
        if matches!(moment, Moment::Gone | Moment::GivenBack) {
            self.shop.come_back();
        }
        calls
    }
}

/// Calls until there is an outcome, though not for ever; goes on after the first call only once the yes was said
fn calls(mut client: Client, value: String, said: Gate, reports: mpsc::Sender<String>) -> thread::JoinHandle<Told> {
    thread::spawn(move || {
        let mut told = Vec::new();
        for attempt in 0..ATTEMPTS {
            if attempt == 1 {
                said.wait();
            }
            let word = client.goes_on(&value, attempt > 0);
            if let Some(word) = &word {
                let _ = reports.send(word.clone());
            }
            let goes_on = word.as_ref().is_some_and(|word| !is_over(word));
            told.push(word);
            if !goes_on {
                break;
            }
        }
        (client, told)
    })
}

/// The one question that is open
fn question(place: &Place) -> Value {
    let holds = || admin(place, "GET", "/v1/holds", &Value::Null).unwrap().json()["holds"].clone();
    until("somebody is asked", || holds().as_array().is_some_and(|holds| holds.len() == 1));
    holds()[0].clone()
}

/// Says yes as whoever runs the tests; whether that was taken
fn approve(place: &Place, code: &str, by_command: bool) -> bool {
    if by_command {
        return place.run(&["approve", code, "--yes", "--why", "looked at it"]).code == 0;
    }
    let Some(shown) = admin(place, "GET", &format!("/v1/holds/{code}"), &Value::Null) else { return false };
    let yes = json!({ "yes": true, "why": "looked at it", "binding": shown.json()["binding"] });
    admin(place, "POST", &format!("/v1/holds/{code}/answer"), &yes).is_some_and(|answer| answer.status == 200)
}

/// Asks the administration, which may be killed meanwhile
fn admin(place: &Place, method: &str, path: &str, body: &Value) -> Option<Response> {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [("host", "portreeve"), ("content-type", "application/json")];
    let stream = UnixStream::connect(place.data().join("admin.sock")).ok()?;
    try_exchange(stream, &request(method, path, &headers, text.as_bytes()))
}

/// How often calls ended how, by the moment of the kill
type Ends = BTreeMap<Moment, BTreeMap<String, usize>>;

fn hold(record: &Record, ledger: &[Received], asked: &[Asked]) -> Ends {
    let calls = record.calls();
    let (mut made, mut unsent): (HashMap<&str, Vec<&Call>>, HashMap<&str, usize>) = (HashMap::new(), HashMap::new());
    for call in calls.values().filter(|call| call.tool.ends_with(".act")) {
        assert_eq!(call.ends.len(), 1, "settled once: {call:?}");
        match call.ends[0].as_str() {
            "not_sent" => *unsent.entry(&call.value).or_default() += 1,
            _ => made.entry(&call.value).or_default().push(call),
        }
    }
    for received in ledger {
        assert!(made.contains_key(received.value.as_str()), "it happened, and has no record: {received:?}");
    }
    // Nobody was asked about anything twice, nor said anything twice.
    let holds: Vec<&str> = record.events("held").map(|(_, held)| held["hold"].as_str().unwrap()).collect();
    assert_eq!(holds, asked.iter().map(|asked| asked.hold.as_str()).collect::<Vec<_>>());
    let granted = record.events("granted").map(|(_, granted)| granted["to"]["approval"]["hold"].as_str().unwrap());
    assert_eq!(granted.collect::<Vec<_>>(), holds);

    let mut ends = Ends::new();
    for asked in asked {
        let happened = ledger.iter().filter(|received| received.value == asked.value).count();
        let calls = made.get(asked.value.as_str()).map(Vec::as_slice).unwrap_or_default();
        assert!(calls.len() == 1 && happened <= 1, "one yes, one effect: {happened} {calls:?} {asked:?}");
        let (end, unsent) = (calls[0].ends[0].as_str(), unsent.get(asked.value.as_str()).copied().unwrap_or_default());
        assert!(happened == 1 || end == "unknown", "it never happened: {end} {asked:?}");
        asked.stood_right((end, unsent, happened));
        asked.told_right((end, unsent));
        *ends.entry(asked.moment).or_default().entry(end.to_owned()).or_default() += 1;
        *ends.entry(asked.moment).or_default().entry("not_sent".to_owned()).or_default() += unsent;
    }
    ends
}

impl Asked {
    /// What each moment leaves behind
    fn stood_right(&self, (end, unsent, happened): (&str, usize, usize)) {
        let allowed: &[&str] = match self.moment {
            Moment::Saying => &["open", "approved", "done", "unknown"],
            Moment::Any => &["approved", "done", "unknown"],
            // Nothing is reserved while something slow happens.
            Moment::Preparing | Moment::GivenBack => &["approved"],
            Moment::Held => &["unknown"],
            Moment::Answered => &["done", "unknown"],
            Moment::Gone => &["approved", "unknown"],
        };
        assert!(allowed.contains(&self.stood.as_str()), "{self:?}");
        // What was spent stays so; what was not is used by a repeat, whose outcome is known.
        match self.stood.as_str() {
            "unknown" => assert_eq!(end, "unknown", "{self:?}"),
            _ => assert!(matches!(end, "ok" | "failed") && happened == 1, "{end}: {self:?}"),
        }
        match self.moment {
            Moment::Held => assert_eq!(happened, 1, "{self:?}"),
            Moment::GivenBack => assert!(unsent >= 1, "{self:?}"),
            Moment::Gone => assert!(unsent >= 1 || self.stood == "unknown", "{self:?}"),
            _ => {}
        }
    }

    fn told_right(&self, (end, unsent): (&str, usize)) {
        // The settlement may be lost with the crash; what was told before is true all the same.
        for word in self.before.iter().flatten() {
            let fits = match word.as_str() {
                "ok" => matches!(end, "ok" | "unknown") && !self.value.ends_with("bad"),
                "failed" => matches!(end, "failed" | "unknown") && self.value.ends_with("bad"),
                "withheld" => unsent >= 1 || end == "unknown",
                "done_already" => end != "not_sent",
                "approval_needed" | "call_under_way" | "working" | "connector_unreachable" => true,
                _ => false,
            };
            assert!(fits, "{word}: {end} {self:?}");
        }
        for word in &self.after {
            let fits = match word.as_str() {
                "outcome_unknown" => end == "unknown",
                "done_already" => matches!(end, "ok" | "failed"),
                word => word == end,
            };
            assert!(fits, "{word}: {end} {self:?}");
        }
    }
}
