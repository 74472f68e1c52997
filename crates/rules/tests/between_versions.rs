//! A task passes the version of the policy that it was opened under and the current one: what is opened in it, and what
//! people agreed to, is held against both.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use portreeve_core::{
    commit::Committed,
    event::{
        Accepted, Actor, Admitted, Began, CallFacts, Changed, ChosenBy, Elevation, End, Event, Given, Granted, Held,
        HeldCall, HeldWhat, How, Inputs, Record, Settled, Signed, To, What,
    },
    hash::Hash,
    judge::{self, Admission, Elevating, Judged, Opening, Shelf, judge_answer, judge_call, judge_elevate, judge_open},
    names::{EffectId, GrantId, HoldId, MemoryId, Name, RunId, TaskId, Tool},
    node::Node,
    offer::Identity,
    reason::Word,
    request::{Answering, Call, Clock, Elevate, Fit, Open},
    state::State,
    time::Millis,
    value::Value,
};
use portreeve_rules::{Files, Loaded, compile};
use std::{collections::BTreeMap, sync::Arc};

const NOW: Millis = Millis(1_767_614_400_000);
const PIN: Hash = Hash([7; 32]);

/// A policy whose purpose has these lines after `[task]`, and whose agent somebody owns
fn policy(elevate: &str, ask: &str, owner: &str) -> Loaded {
    let person =
        |name: &str| (format!("users/{name}.toml"), format!("accounts = [\"{name}\"]\ngroups = [\"leads\"]\n"));
    let mut files = vec![
        ("agents/bot.toml".to_owned(), format!("owner = \"{owner}\"\n")),
        (
            "connectors/c.toml".to_owned(),
            "command = [\"c\"]\n[tools.look]\nclass = \"read\"\n[tools.put]\nclass = \"write\"\n".to_owned(),
        ),
        (
            "purposes/p.toml".to_owned(),
            format!(
                "about = \"a\"\nowner = \"o\"\n[open]\nagents = [\"bot\"]\nusers = \"none\"\n\
                 [task]\nexpires_after = \"1h\"\nstanding = [\"read\"]\n{elevate}\
                 [[allow]]\nname = \"all\"\nuse = [\"c.look\", \"c.put\"]\nwhere = {{ n = {{ any = true }} }}\n{ask}"
            ),
        ),
        (
            "purposes/glass.toml".to_owned(),
            "about = \"a\"\nowner = \"o\"\n[open]\nagents = [\"bot\"]\nusers = [\"zoe\"]\n\
             [task]\nexpires_after = \"1h\"\nstanding = [\"read\"]\n\
             [break_glass]\nwho = \"leads\"\npeople = 2\nreview = \"auditors\"\n\
             [[allow]]\nname = \"all\"\nuse = [\"c.look\"]\n"
                .to_owned(),
        ),
        (
            "users/zoe.toml".to_owned(),
            "accounts = [\"zoe\"]\ngroups = [\"auditors\"]\nroles = [\"auditor\"]\n".to_owned(),
        ),
    ];
    files.extend(["ann", "ben"].map(person));
    compile(&files.into_iter().collect::<Files>()).unwrap()
}

const ALONE: &str = "[elevate]\nwrite = { tools = [\"c.put\"], times = 2, within = \"5m\" }\n";
const ASKS: &str = "[elevate]\nask = { who = \"leads\" }\n";
const ASKS_TWO: &str = "[elevate]\nask = { who = \"leads\", people = 2 }\n";
const EACH: &str = "ask = { who = \"leads\" }\n";

struct World {
    state: State,
    shelf: Shelf,
}

impl World {
    fn new(first: &Loaded) -> Self {
        let mut world = Self { state: State::default(), shelf: Shelf(BTreeMap::new()) };
        world.put(first);
        let accepted = ["look", "put"].map(|name| (name.parse().unwrap(), Accepted { digest: PIN, blob: PIN })).into();
        world.apply(Event::Changed(Changed::Pins {
            connector: "c".parse().unwrap(),
            accepted,
            identity: Identity::Plain,
            offer: Hash::default(),
        }));
        world.apply(Event::Began(Box::new(Began {
            task: TaskId(1),
            run: RunId(1),
            memory: MemoryId(1),
            agent: "bot".parse().unwrap(),
            user: None,
            purpose: "p".parse().unwrap(),
            bundle: first.bundle.digest,
            parent: None,
            parameters: BTreeMap::new(),
            objective: None,
            expires: NOW.plus(3_600_000),
            idle_ms: None,
            hold: None,
            review: None,
            undoes: None,
            proven: None,
        })));
        world
    }

    fn put(&mut self, loaded: &Loaded) {
        let bundle = &loaded.bundle;
        self.shelf.0.insert(bundle.digest, Arc::clone(bundle));
        self.apply(Event::Changed(Changed::Bundle { digest: bundle.digest, nodes: bundle.nodes() }));
    }

    fn apply(&mut self, event: Event) {
        self.state.apply(&Record { time: NOW, actor: Actor::System, event });
    }

    fn elevate(&self, by: Actor) -> Result<Elevating, Vec<Word>> {
        judge_elevate(&self.state, &self.shelf, &request(by), Clock::at(NOW.0))
            .map_err(|reasons| reasons.iter().map(|reason| reason.word).collect())
    }

    /// Opens writing as the record would have it
    fn open(&mut self, owner: &str) {
        let to = To::Elevation(elevation());
        let (grant, owner, why) = (GrantId(90), owner.to_owned(), committed());
        let until = NOW.plus(60_000);
        self.apply(Event::Granted(Box::new(Granted { grant, to, owner, why, until, hold: None, signed: None })));
    }

    fn call(&self, tool: &str, n: i64) -> Call {
        Call {
            effect: EffectId(50),
            run: RunId(1),
            tool: tool.parse().unwrap(),
            arguments: BTreeMap::from([("n".to_owned(), Value::Number(n.into()))]),
            fit: Fit { pin: PIN, error: None },
            answers: Vec::new(),
            continues: None,
            before: None,
            lease: None,
        }
    }

    fn judge(&self, call: &Call) -> Result<Judged, Vec<Word>> {
        judge_call(&self.state, &self.shelf, call, Clock::at(NOW.0))
            .map_err(|reasons| reasons.iter().map(|reason| reason.word).collect())
    }

    fn words(&self, tool: &str) -> Vec<Word> {
        self.judge(&self.call(tool, 1)).err().unwrap_or_default()
    }

    fn says_yes(&self, hold: HoldId, user: &str) -> Vec<Word> {
        let answer = Answering {
            hold,
            binding: self.state.hold(hold).unwrap().held.binding,
            by: Actor::Person { user: user.parse().unwrap(), how: How::Link },
            yes: true,
            why: String::new(),
            grant: GrantId(91),
            signed: signed(),
        };
        let reasons = judge_answer(&self.state, &self.shelf, &answer, Clock::at(NOW.0));
        reasons.iter().map(|reason| reason.word).collect()
    }

    fn yes(&mut self, hold: HoldId, user: &str, grant: u64) {
        let binding = self.state.hold(hold).unwrap().held.binding;
        let owner = Node::User(user.parse().unwrap()).to_string();
        self.apply(Event::Granted(Box::new(Granted {
            grant: GrantId(grant),
            to: To::Approval { hold, binding },
            owner,
            why: committed(),
            until: NOW.plus(60_000),
            hold: Some(hold),
            signed: Some(signed()),
        })));
    }

    /// Puts the question of a held call, as the door would
    fn hold(&mut self, call: &Call) -> HoldId {
        let Ok(Judged::Hold(held)) = self.judge(call) else { panic!("{:?}", self.judge(call)) };
        let given = |(name, value): (&String, &Value)| {
            (name.clone(), Given { value: Committed::new(value, [0; 16]), by: ChosenBy::Model })
        };
        let what = HeldCall {
            tool: call.tool.clone(),
            variants: Vec::new(),
            class: held.admission.class,
            pin: call.fit.pin,
            arguments: call.arguments.iter().map(given).collect(),
            key: held.admission.seen.key,
            target: None,
            label: held.admission.seen.label,
            undo: None,
            before: BTreeMap::new(),
            earlier: Vec::new(),
        };
        self.ask(held.holding, HeldWhat::Call(Box::new(what)))
    }

    fn admit(&mut self, call: &Call, admission: &Admission) {
        let what = What::Call(CallFacts {
            agent: "bot".parse().unwrap(),
            user: None,
            purpose: "p".parse().unwrap(),
            tool: call.tool.clone(),
            variants: Vec::new(),
            class: admission.class,
            pin: call.fit.pin,
            arguments: BTreeMap::new(),
            charges: admission.charges.clone(),
            continues: None,
            before: None,
            lease: None,
        });
        self.apply(Event::Admitted(Box::new(Admitted {
            effect: call.effect,
            task: Some(TaskId(1)),
            bundle: admission.bundle,
            now: NOW,
            what,
            inputs: Inputs::default(),
            because: Vec::new(),
            hold: admission.hold,
        })));
    }

    fn ask(&mut self, holding: judge::Holding, what: HeldWhat) -> HoldId {
        let asking = holding.new.unwrap();
        let hold = holding.ticket.hold;
        self.apply(Event::Held(Box::new(Held {
            hold,
            task: Some(TaskId(1)),
            agent: "bot".parse().unwrap(),
            user: None,
            chain: asking.chain,
            purpose: "p".parse().unwrap(),
            bundle: Hash::default(),
            what,
            questions: holding.ticket.questions,
            own: asking.own,
            binding: asking.binding,
            until: holding.ticket.until,
        })));
        hold
    }
}

fn committed() -> Committed {
    Committed::new(&Value::String("because".to_owned()), [0; 16])
}

fn request(by: Actor) -> Elevate {
    Elevate {
        grant: GrantId(90),
        by,
        task: TaskId(1),
        uses: vec!["c.put".parse().unwrap()],
        values: BTreeMap::new(),
        times: 1,
        lasts_ms: 60_000,
        why: "because".to_owned(),
    }
}

fn elevation() -> Elevation {
    let Elevate { task, uses, times, lasts_ms, .. } = request(Actor::System);
    let class = portreeve_core::policy::Class::Write;
    Elevation { task, class, uses, values: BTreeMap::new(), times, lasts_ms, why: committed() }
}

fn signed() -> Signed {
    Signed {
        how: How::Link,
        at: NOW,
        read_ms: None,
        statement: Hash::default(),
        key: String::new(),
        signature: String::new(),
        passkey: None,
    }
}

#[test]
fn a_later_version_opens_nothing_that_the_first_one_does_not() {
    for first in ["", ASKS] {
        let (first_version, later) = (policy(first, "", "o@example.com"), policy(ALONE, "", "o@example.com"));
        let mut world = World::new(&first_version);
        world.put(&later);
        let elevated = world.elevate(Actor::Run(RunId(1)));
        match first {
            "" => assert_eq!(elevated, Err(vec![Word::ElevationRefused])),
            _ => assert!(matches!(elevated, Ok(Elevating::Held(..))), "{elevated:?}"),
        }
    }
    let mut world = World::new(&policy(ALONE, "", "o@example.com"));
    assert!(matches!(world.elevate(Actor::Run(RunId(1))), Ok(Elevating::Granted { .. })));
    world.put(&policy("", "", "o@example.com"));
    assert_eq!(world.elevate(Actor::Run(RunId(1))), Err(vec![Word::ElevationRefused]), "nor the other way round");
}

#[test]
fn what_no_version_would_open_any_more_is_closed_at_once() {
    let mut world = World::new(&policy(ALONE, "", "o@example.com"));
    assert_eq!(world.words("c.put"), [Word::ClassNotOpen]);
    world.open("purpose:p");
    assert_eq!(world.words("c.put"), []);
    world.put(&policy(ASKS, "", "o@example.com"));
    assert_eq!(world.words("c.put"), [], "somebody can still open it");
    world.put(&policy("", "", "o@example.com"));
    assert_eq!(world.words("c.put"), [Word::ClassNotOpen]);
}

#[test]
fn a_yes_counts_only_while_the_same_is_asked_of_the_same() {
    let mut world = World::new(&policy(ASKS, "", "o@example.com"));
    let Ok(Elevating::Held(_, holding)) = world.elevate(Actor::Run(RunId(1))) else { panic!("it asks") };
    let hold = world.ask(holding, HeldWhat::Elevation(elevation()));
    let granted = |world: &World| judge::granted_elevation(&world.state, &world.shelf, hold, NOW).is_some();
    assert!(!granted(&world));
    world.yes(hold, "ann", 92);
    assert!(granted(&world));
    world.put(&policy(ASKS_TWO, "", "o@example.com"));
    assert!(!granted(&world), "two have to agree now");
    world.put(&policy("", "", "o@example.com"));
    assert!(!granted(&world), "nobody opens it any more");
    world.put(&policy(ASKS, "", "ann"));
    assert!(!granted(&world), "ann owns the agent now");
    world.put(&policy(ASKS_TWO, "", "o@example.com"));
    world.yes(hold, "ben", 93);
    assert!(!granted(&world), "two are another question, however many have said yes to the old one");
    world.put(&policy(ASKS, "", "o@example.com"));
    assert!(granted(&world));
}

#[test]
fn who_has_become_the_owner_does_not_count_any_more() {
    let mut world = World::new(&policy("", EACH, "o@example.com"));
    let call = world.call("c.look", 1);
    let hold = world.hold(&call);
    assert_eq!(world.says_yes(hold, "ann"), []);
    world.yes(hold, "ann", 92);
    assert!(matches!(world.judge(&call), Ok(Judged::Admit(_))));
    world.put(&policy("", EACH, "ann"));
    assert!(matches!(world.judge(&call), Ok(Judged::Hold(_))));
    assert_eq!(world.says_yes(hold, "ben"), []);
    world.put(&policy("", EACH, "ben"));
    assert_eq!(world.says_yes(hold, "ben"), [Word::OwnCall]);
}

#[test]
fn other_arguments_are_another_question() {
    let mut world = World::new(&policy("", EACH, "o@example.com"));
    let hold = world.hold(&world.call("c.look", 1));
    world.yes(hold, "ann", 92);
    let other = Call { effect: EffectId(51), ..world.call("c.look", 2) };
    let Ok(Judged::Hold(held)) = world.judge(&other) else { panic!("it asks") };
    assert_ne!(held.holding.ticket.hold, hold);
    let tool: Tool = "c.look".parse().unwrap();
    assert_eq!(held.holding.ticket.hold, HoldId(51), "a question of its own about {tool}");
}

#[test]
fn what_goes_on_is_what_was_agreed_to() {
    let mut world = World::new(&policy("", EACH, "o@example.com"));
    let call = world.call("c.look", 1);
    let hold = world.hold(&call);
    world.yes(hold, "ann", 92);
    let Ok(Judged::Admit(admission)) = world.judge(&call) else { panic!("ann agreed") };
    assert_eq!(admission.hold, Some(hold));
    world.admit(&call, &admission);
    let end = End::Pending { bytes: 2, result: None };
    world.apply(Event::Settled(Settled { effect: call.effect, end }));
    let next = |n| Call { effect: EffectId(52), continues: Some(call.effect), ..world.call("c.look", n) };
    assert!(matches!(world.judge(&next(1)), Ok(Judged::Admit(_))), "{:?}", world.judge(&next(1)));
    assert_eq!(world.judge(&next(2)).map(drop), Err(vec![Word::ContinuationUnknown]));
}

#[test]
fn an_emergency_is_opened_by_one_of_those_who_may() {
    let world = World::new(&policy("", "", "o@example.com"));
    let open = |opener: &str| {
        let open = Open {
            task: TaskId(2),
            run: RunId(2),
            memory: MemoryId(2),
            by: Actor::Owner { user: Some(opener.parse().unwrap()) },
            agent: "bot".parse().unwrap(),
            user: Some("zoe".parse::<Name>().unwrap()),
            purpose: "glass".parse().unwrap(),
            parameters: BTreeMap::new(),
            objective: None,
            parent: None,
            undoes: None,
            proven: None,
        };
        judge_open(&world.state, &world.shelf, &open, Clock::at(NOW.0))
            .map_err(|reasons| reasons.iter().map(|reason| reason.word).collect::<Vec<_>>())
    };
    assert_eq!(open("zoe").map(drop), Err(vec![Word::NotApprover]));
    let Ok(Opening::Hold { holding, .. }) = open("ann") else { panic!("another one has to agree") };
    assert_eq!(holding.ticket.questions.iter().map(|question| question.quorum.people).collect::<Vec<_>>(), [1]);
    assert!(holding.new.unwrap().own.contains(&"ann".parse().unwrap()));
}
