//! A door over a small policy, and histories of requests to put through it.

use portreeve_core::{
    engine::{Bundles, Engine, Reply, Snapshots},
    event::{Actor, ChosenBy, End, To},
    hash::Hash,
    names::{BootId, EffectId, GrantId, MemoryId, Name, RunId, TaskId, Tool},
    node::{Node, Why},
    offer::Identity,
    path::FieldPath,
    pattern::{Operand, Pattern},
    policy::{
        Agent, Bundle, Bytes, Class, Connector, Entry, Kind, Limits, OnHold, Opening, Parameter, Profile, Purpose,
        Reach, Roles, Serves, Tier, Usage, Users,
    },
    reason::{Reason, Word},
    request::{Call, Change, ChangeWhat, Clock, Fit, Grant, Open, Poll, Request, Settle, Stop},
    rules::{Question, Rules},
    state::State,
    time::Millis,
    value::Value,
};
use portreeve_sim::disk::Disk;
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

/// What is asked for; ids come from a handful, so that they are used again
#[derive(Clone, Debug)]
pub(crate) enum Want {
    /// Open a task for a run, below the task of another one
    Open {
        task: u8,
        run: u8,
        parent: Option<(u8, u8)>,
    },
    Call(Called),
    /// Settle the effect of the call so many calls ago
    Settle {
        ago: u8,
        ok: Option<bool>,
    },
    /// The same, answered with a question
    Pending {
        ago: u8,
    },
    /// The same, and nobody knows
    Unknown {
        ago: u8,
    },
    /// A leg that goes on with an effect
    GoOn {
        call: Called,
        of: u64,
    },
    /// A look at how an effect stands
    Poll {
        run: u8,
        of: u64,
    },
    Stop(u8),
    StopAgent,
    Policy,
    /// A version of the policy without the agent
    WithoutAgent,
    /// Calls outside of the envelope are let through for so many milliseconds
    Observe {
        on: Node,
        ms: i64,
    },
    EndGrant(u64),
    Pass(u16),
}

/// A call of one of three tools
#[derive(Clone, Debug)]
pub(crate) struct Called {
    run: u8,
    tool: usize,
    arguments: BTreeMap<String, Value>,
}

impl Called {
    /// A call without arguments
    pub(crate) fn plain(run: u8, tool: usize) -> Self {
        Self { run, tool, arguments: BTreeMap::new() }
    }

    /// A call with one argument
    pub(crate) fn with(run: u8, tool: usize, name: &str, value: &str) -> Self {
        Self { run, tool, arguments: BTreeMap::from([(name.to_owned(), value.parse().unwrap())]) }
    }

    pub(crate) fn request(self, effect: EffectId) -> Call {
        let tool = tool(self.tool);
        let fit = Fit { pin: Hash::of(tool.to_string().as_bytes()), error: None };
        Call {
            effect,
            run: RunId(u64::from(self.run)),
            tool,
            arguments: self.arguments,
            fit,
            answers: Vec::new(),
            continues: None,
            before: None,
            lease: None,
        }
    }
}

fn tool(index: usize) -> Tool {
    TOOLS[index % TOOLS.len()].parse().unwrap()
}

const TOOLS: [&str; 3] = ["shop.look", "shop.refund", "mail.send"];

pub(crate) struct Door {
    pub(crate) engine: Engine<Disk, Only, Only>,
    pub(crate) disk: Disk,
    pub(crate) now: i64,
    bundle: Arc<Bundle>,
    effects: u64,
    grants: u64,
}

impl Door {
    /// A door with this policy, and one open task (1) of run 1
    pub(crate) fn new(bundle: Arc<Bundle>) -> Self {
        let disk = Disk::default();
        let only = Only(Arc::clone(&bundle));
        let engine = Engine::boot(disk.clone(), only.clone(), only, BootId(1), "test", Clock::at(START)).unwrap();
        let mut door = Self { engine, disk, now: START, bundle, effects: 0, grants: 0 };
        door.ask(Want::Policy);
        for connector in ["shop", "mail"] {
            let tools = (0..TOOLS.len()).map(tool).filter(|tool| tool.connector.as_str() == connector);
            let definitions =
                tools.map(|tool| (tool.name.clone(), (Hash::of(tool.to_string().as_bytes()), Vec::new()))).collect();
            let what =
                ChangeWhat::Pins { connector: connector.parse().unwrap(), definitions, identity: Identity::Plain };
            door.turn(Request::Change(Change { by: OWNER, what }));
        }
        door.ask(Want::Open { task: 1, run: 1, parent: None });
        door
    }

    pub(crate) fn play(&mut self, wants: &[Want]) -> Vec<(Want, Reply)> {
        wants.iter().filter_map(|want| Some((want.clone(), self.ask(want.clone())?))).collect()
    }

    fn ask(&mut self, want: Want) -> Option<Reply> {
        let request = self.request(want)?;
        self.turn(request)
    }

    /// Puts everything through the door in one turn, and so into one group
    pub(crate) fn at_once(&mut self, wants: Vec<Want>) -> Vec<Reply> {
        let requests = wants.into_iter().filter_map(|want| self.request(want)).collect();
        self.now += 1;
        self.engine.turn(requests, Clock::at(self.now), [7; 32])
    }

    fn request(&mut self, want: Want) -> Option<Request> {
        Some(match want {
            Want::Pass(ms) => {
                self.now += i64::from(ms);
                return None;
            }
            Want::Open { task, run, parent } => {
                let by = parent.map_or(OWNER, |(run, _)| Actor::Run(RunId(u64::from(run))));
                let value =
                    |name: &str, value: &str| (name.parse().unwrap(), (value.parse().unwrap(), ChosenBy::Parameter));
                Request::Open(Open {
                    task: TaskId(u64::from(task)),
                    run: RunId(u64::from(run)),
                    memory: MemoryId(1),
                    by,
                    agent: name("bot"),
                    user: None,
                    purpose: name("work"),
                    parameters: BTreeMap::from([value("p", "2")]),
                    objective: None,
                    parent: parent.map(|(_, task)| TaskId(u64::from(task))),
                    undoes: None,
                    proven: None,
                })
            }
            Want::Call(called) => {
                self.effects += 1;
                Request::Call(called.request(EffectId(self.effects)))
            }
            Want::Settle { ago, ok } => {
                let effect = EffectId(self.effects.saturating_sub(u64::from(ago)));
                let end = match ok {
                    Some(ok) => End::Done { ok, bytes: 1, result: None, returned: BTreeMap::new(), process: None },
                    None => End::NotSent { why: "test".to_owned() },
                };
                Request::Settle(Settle { result: Some(Hash::of(b"answer")), ..Settle::new(effect, end) })
            }
            Want::Pending { ago } => {
                let effect = EffectId(self.effects.saturating_sub(u64::from(ago)));
                Request::Settle(Settle::new(effect, End::Pending { bytes: 1, result: None }))
            }
            Want::Unknown { ago } => {
                let effect = EffectId(self.effects.saturating_sub(u64::from(ago)));
                Request::Settle(Settle::new(effect, End::Unknown { why: "test".to_owned() }))
            }
            Want::GoOn { call, of } => {
                self.effects += 1;
                Request::Call(Call { continues: Some(EffectId(of)), ..call.request(EffectId(self.effects)) })
            }
            Want::Poll { run, of } => {
                self.effects += 1;
                let (effect, run) = (EffectId(self.effects), RunId(u64::from(run)));
                Request::Poll(Poll { effect, run, of: EffectId(of), method: "tasks/get".to_owned(), lease: None })
            }
            Want::Stop(task) => stop(Node::Task(TaskId(u64::from(task)))),
            Want::StopAgent => stop(Node::Agent(name("bot"))),
            Want::Observe { on, ms } => {
                self.grants += 1;
                Request::Grant(Grant {
                    grant: GrantId(self.grants),
                    by: OWNER,
                    owner: "account:test".to_owned(),
                    to: To::Observe { on },
                    why: "to see".to_owned(),
                    until: Millis(self.now + ms),
                })
            }
            Want::EndGrant(id) => stop(Node::Grant(GrantId(id))),
            Want::Policy => applied(Arc::clone(&self.bundle)),
            Want::WithoutAgent => {
                let agents = BTreeMap::new();
                let bundle = Arc::into_inner(bundle(&[], &[])).unwrap();
                applied(Arc::new(Bundle { agents, digest: Hash::of(b"without"), ..bundle }))
            }
        })
    }

    pub(crate) fn turn(&mut self, request: Request) -> Option<Reply> {
        self.now += 1;
        let seed = Hash::of(&self.now.to_be_bytes()).0;
        self.engine.turn(vec![request], Clock::at(self.now), seed).pop()
    }
}

fn applied(bundle: Arc<Bundle>) -> Request {
    Request::Change(Change { by: OWNER, what: ChangeWhat::Bundle { bundle, blob: Vec::new() } })
}

fn stop(node: Node) -> Request {
    Request::Stop(Stop { node, why: Why::Killed, by: OWNER, at: None })
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

const OWNER: Actor = Actor::Owner { user: None };
const START: i64 = 1_800_000_000_000;

/// A policy with these entries and the rules of these numbers; its digest does not tell them apart
pub(crate) fn bundle(entries: &[Entry], rules: &[usize]) -> Arc<Bundle> {
    let bytes = Bytes { arguments: Some(90), results: Some(6) };
    limited(entries, rules, Some(9), bytes)
}

/// A policy with these entries that bounds neither calls nor bytes
pub(crate) fn unbounded(entries: &[Entry]) -> Arc<Bundle> {
    limited(entries, &[], None, Bytes::default())
}

fn limited(entries: &[Entry], rules: &[usize], calls: Option<u32>, bytes: Bytes) -> Arc<Bundle> {
    let connector = |connector: &str| {
        let tools = (0..TOOLS.len()).map(tool).filter(|tool| tool.connector.as_str() == connector);
        let profile = Profile::new(Class::Read);
        let tools = tools.map(|tool| (tool.name, profile.clone())).collect();
        let reach = Reach::Http { url: "http://test".to_owned(), spiffe: None, svid: false };
        let toolsets = BTreeMap::new();
        let tier = Tier::default();
        (
            name(connector),
            Connector {
                reach,
                ahead: 0,
                timeout_ms: 1_000,
                tools,
                toolsets,
                environment: None,
                tier,
                credentials: None,
            },
        )
    };
    let purpose = Purpose::new(
        ("work".to_owned(), "test".to_owned(), None),
        Opening { agents: [name("bot")].into(), users: Users::None, bounds: BTreeMap::new(), ask: None },
        Limits {
            expires_after_ms: 60_000,
            idle_after_ms: Some(20_000),
            standing: [Class::Read].into(),
            calls,
            ceiling: None,
            bytes,
            on_hold: OnHold::Deny,
            credentials: Serves::Task,
        },
        BTreeMap::from([(name("p"), Parameter { kind: Kind::Decimal { min: None, max: None }, default: None })]),
        entries.to_vec(),
    );
    Arc::new(Bundle {
        digest: Hash::of(b"policy"),
        agents: [(name("bot"), Agent::of("test".to_owned()))].into(),
        users: BTreeMap::new(),
        connectors: [connector("shop"), connector("mail")].into(),
        purposes: [(name("work"), purpose)].into(),
        rules: Arc::new(Forbids(rules.to_vec())),
        points: Vec::new(),
        receivers: BTreeMap::new(),
        roles: Roles::default(),
        sources: BTreeMap::new(),
        issuers: BTreeMap::new(),
    })
}

/// Rule n forbids tool n to calls with a first argument
#[derive(Debug)]
struct Forbids(Vec<usize>);

impl Rules for Forbids {
    fn judge(&self, question: &Question<'_>) -> Vec<Reason> {
        let binds = |rule: &&usize| tool(**rule) == *question.tool && question.arguments.contains_key("a");
        self.0.iter().filter(binds).map(|rule| Reason::new(Word::RuleForbids, rule)).collect()
    }

    fn hides(&self, _: &Tool, _: Class) -> bool {
        false
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Only(Arc<Bundle>);

impl Bundles for Only {
    fn read(&self, _: Hash, _: &[u8]) -> Result<Arc<Bundle>, String> {
        Ok(Arc::clone(&self.0))
    }
}

impl Snapshots for Only {
    fn newest(&self) -> Option<State> {
        None
    }
}

/// An entry that lets every call of a tool without arguments through
pub(crate) fn entry(at: usize) -> Entry {
    let uses = vec![Usage { tool: tool(at), variant: None }];
    Entry { name: name("e0"), uses, arguments: BTreeMap::new(), times: None, after: None, ask: None, undo: None }
}

/// One to four entries; the later ones may come after the first
pub(crate) fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let entry = (0..TOOLS.len(), prop::option::of(pattern()), prop::option::of(pattern()), prop::option::of(1..3u32));
    let entry = (entry, any::<bool>());
    prop::collection::vec(entry, 1..5).prop_map(|entries| {
        let entry = |(index, ((at, a, b, times), after)): (usize, (_, bool))| Entry {
            name: name(&format!("e{index}")),
            uses: vec![Usage { tool: tool(at), variant: None }],
            arguments: [("a", a), ("b", b)]
                .into_iter()
                .filter_map(|(name, pattern)| Some((FieldPath::name(name), pattern?)))
                .collect(),
            times,
            after: (after && index > 0).then(|| name("e0")),
            ask: None,
            undo: None,
        };
        entries.into_iter().enumerate().map(entry).collect()
    })
}

pub(crate) fn pattern() -> impl Strategy<Value = Pattern> {
    let operand = prop_oneof![
        value().prop_map(Operand::Literal),
        Just(Operand::Parameter(name("p"))),
        Just(Operand::Parameter(name("none")))
    ];
    prop_oneof![
        3 => Just(Pattern::Any),
        1 => Just(Pattern::Absent),
        2 => operand.clone().prop_map(Pattern::Is),
        1 => prop::collection::vec(operand.clone(), 0..3).prop_map(Pattern::In),
        2 => operand.clone().prop_map(Pattern::AtMost),
        1 => operand.clone().prop_map(Pattern::AtLeast),
        1 => operand.clone().prop_map(Pattern::Prefix),
        1 => Just(Pattern::Glob("x/*".to_owned())),
        1 => operand.clone().prop_map(Pattern::Under),
        1 => operand.prop_map(Pattern::Path),
        1 => (0..4u64).prop_map(Pattern::MaxBytes),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop::sample::select(vec!["1", "2", "3", "\"x\"", "\"x/y\"", "\"*\"", "null", "true", "[1]"])
        .prop_map(|text| text.parse().unwrap())
}

pub(crate) fn call() -> impl Strategy<Value = Called> {
    let arguments =
        prop::collection::btree_map(prop::sample::select(vec!["a".to_owned(), "b".to_owned()]), value(), 0..3);
    (1..4u8, 0..TOOLS.len(), arguments).prop_map(|(run, tool, arguments)| Called { run, tool, arguments })
}

pub(crate) fn history() -> impl Strategy<Value = Vec<Want>> {
    let parent = prop::option::of((1..4u8, 1..4u8));
    let want = prop_oneof![
        8 => call().prop_map(Want::Call),
        4 => (0..3u8, prop::option::of(any::<bool>())).prop_map(|(ago, ok)| Want::Settle { ago, ok }),
        1 => (0..3u8).prop_map(|ago| Want::Pending { ago }),
        1 => (call(), 1..12u64).prop_map(|(call, of)| Want::GoOn { call, of }),
        1 => (1..4u8, 1..12u64).prop_map(|(run, of)| Want::Poll { run, of }),
        3 => (1..4u8, 1..4u8, parent).prop_map(|(task, run, parent)| Want::Open { task, run, parent }),
        1 => (1..4u8).prop_map(Want::Stop),
        1 => Just(Want::Policy),
        1 => (0..9_000u16).prop_map(Want::Pass),
    ];
    // A stopped agent ends the story, so it comes late if at all.
    (prop::collection::vec(want, 0..30), any::<bool>()).prop_map(|(mut wants, stop)| {
        if stop && wants.len() > 20 {
            wants.insert(20, Want::StopAgent);
        }
        wants
    })
}
