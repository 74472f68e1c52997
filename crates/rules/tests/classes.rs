//! Whatever is asked for, granted, called and waited for: nothing is done in a class that was not open for it, no
//! elevation is used more often than it says, and no yes counts twice or for anything else.
//!
//! The policy is made at random, and so is what happens; what was opened is kept here in a way of its own, from the
//! texts of the policy and the answers alone.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use portreeve_core::{
    policy::Class,
    reason::{Verdict, Word},
    value::Value,
};
use portreeve_rules::{Files, Loaded, NOON, Opening, Opens, Stage, compile};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

/// A tool or a variant, and its class as the connector's file below says it
const USES: [(&str, Class); 5] = [
    ("c.look", Class::Read),
    ("c.put", Class::Write),
    ("c.run", Class::Execute),
    ("c.wipe", Class::Escalate),
    ("c.put#big", Class::Escalate),
];
const CLASSES: [(&str, Class); 4] =
    [("read", Class::Read), ("write", Class::Write), ("execute", Class::Execute), ("escalate", Class::Escalate)];
const PEOPLE: [&str; 3] = ["ann", "ben", "cem"];

/// What the random policy says
#[derive(Clone, Debug)]
struct Policy {
    tier: usize,
    standing: BTreeSet<usize>,
    /// By class: calls and milliseconds without a person
    alone: BTreeMap<usize, (u32, i64)>,
    /// How many people open more
    more: Option<u8>,
    /// How many people agree to a call of more than 50
    ask: u8,
}

impl Policy {
    fn text(&self) -> Files {
        let standing: Vec<String> = self.standing.iter().map(|at| format!("\"{}\"", CLASSES[*at].0)).collect();
        let mut elevate = String::new();
        for (class, (times, within)) in &self.alone {
            let tools: Vec<String> =
                USES.iter().filter(|(_, is)| *is == CLASSES[*class].1).map(|(name, _)| format!("\"{name}\"")).collect();
            elevate += &format!(
                "{} = {{ tools = [{}], times = {times}, within = \"{within}ms\" }}\n",
                CLASSES[*class].0,
                tools.join(", ")
            );
        }
        if let Some(people) = self.more {
            elevate += &format!("ask = {{ who = \"leads\", people = {people} }}\n");
        }
        if !elevate.is_empty() {
            elevate.insert_str(0, "[elevate]\n");
        }
        let tier = ["low", "standard", "high"][self.tier];
        let person =
            |name: &str| (format!("users/{name}.toml"), format!("accounts = [\"{name}\"]\ngroups = [\"leads\"]\n"));
        let mut files = vec![
            ("agents/bot.toml".to_owned(), "owner = \"o@example.com\"\n".to_owned()),
            (
                "connectors/c.toml".to_owned(),
                format!(
                    "command = [\"c\"]\ntier = \"{tier}\"\n[tools.look]\nclass = \"read\"\n[tools.put]\nclass = \"write\"\n\
                     [[tools.put.variants]]\nname = \"big\"\nclass = \"escalate\"\nwhere = {{ n = {{ at_least = 100 }} }}\n\
                     [tools.run]\nclass = \"execute\"\n[tools.wipe]\nclass = \"escalate\"\n"
                ),
            ),
            (
                "purposes/p.toml".to_owned(),
                format!(
                    "about = \"a\"\nowner = \"o\"\n[open]\nagents = [\"bot\"]\nusers = \"none\"\n\
                     [task]\nexpires_after = \"1d\"\nstanding = [{}]\n{elevate}\
                     [[allow]]\nname = \"all\"\nuse = [\"c.look\", \"c.put\", \"c.put#big\", \"c.run\", \"c.wipe\"]\n\
                     where = {{ n = {{ at_most = 200 }} }}\n\
                     ask = {{ who = \"leads\", people = {}, within = \"5m\", when = {{ n = {{ at_least = 50 }} }} }}\n",
                    standing.join(", "),
                    self.ask
                ),
            ),
        ];
        files.extend(PEOPLE.map(person));
        files.into_iter().collect()
    }

    fn stands(&self, class: Class) -> bool {
        let stands = |class| self.standing.iter().any(|at| CLASSES[*at].1 == class);
        stands(class) || (self.tier == 0 && class == Class::Write && stands(Class::Read))
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// People who answer from now on, as bits
    People(usize),
    Elevate {
        uses: BTreeSet<usize>,
        times: u32,
        lasts_ms: i64,
        value: Option<i64>,
    },
    Call {
        tool: usize,
        n: i64,
    },
    Wait(i64),
}

fn policy() -> impl Strategy<Value = Policy> {
    let alone = prop::collection::btree_map(0..3usize, (1..8u32, 100_000..600_000i64), 0..4);
    let standing = prop::collection::btree_set(0..4usize, 0..3);
    (0..3usize, standing, alone, prop::option::of(1..4u8), 1..4u8)
        .prop_map(|(tier, standing, alone, more, ask)| Policy { tier, standing, alone, more, ask })
}

fn step() -> impl Strategy<Value = Step> {
    let uses = prop_oneof![
        4 => prop::collection::btree_set(0..USES.len(), 1..=1),
        1 => prop::collection::btree_set(0..USES.len(), 2..=2),
    ];
    let value = prop::option::of(prop::sample::select(vec![1, 60, 150]));
    prop_oneof![
        2 => (0..8usize).prop_map(Step::People),
        4 => (uses, 1..4u32, 1_000..300_000i64, value)
            .prop_map(|(uses, times, lasts_ms, value)| Step::Elevate { uses, times, lasts_ms, value }),
        8 => (0..4usize, prop::sample::select(vec![1, 60, 150])).prop_map(|(tool, n)| Step::Call { tool, n }),
        2 => (1..100_000i64).prop_map(Step::Wait),
    ]
}

/// A class that was opened, as it is kept here
#[derive(Debug)]
struct Open {
    class: Class,
    uses: BTreeSet<usize>,
    value: Option<i64>,
    times: u32,
    left: u32,
    until: i64,
}

fn number(n: i64) -> Value {
    Value::Number(n.into())
}

/// The class of a call, and the use that an elevation of it has to name
fn use_of(tool: usize, n: i64) -> (usize, Class) {
    let at = if tool == 1 && n >= 100 { 4 } else { tool };
    (at, USES[at].1)
}

/// What happens in one task; how often something was permitted in a class that did not stand, and after a yes
fn play(policy: &Policy, loaded: &Loaded, steps: &[Step]) -> Result<(u32, u32), TestCaseError> {
    let mut stage = Stage::new(loaded, NOON);
    // Everybody is known from the start; who is there changes.
    stage.people(&PEOPLE.map(|name| name.parse().unwrap()));
    let opening = Opening {
        purpose: "p".parse().unwrap(),
        agent: None,
        user: portreeve_rules::For::Nobody,
        parameters: BTreeMap::new(),
    };
    stage.open(&opening, &[]).unwrap();
    stage.people(&[]);
    let (mut there, mut now, mut open) = (0usize, 0i64, Vec::<Open>::new());
    let mut alone_used: BTreeMap<Class, u32> = BTreeMap::new();
    let (mut elevated, mut agreed) = (0, 0);
    let mut done: BTreeMap<(usize, i64), i64> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Wait(ms) => {
                now += ms;
                stage.wait(*ms);
            }
            Step::People(bits) => {
                there = bits.count_ones() as usize;
                let people: Vec<_> = PEOPLE.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0).collect();
                stage.people(&people.iter().map(|(_, name)| name.parse().unwrap()).collect::<Vec<_>>());
            }
            Step::Elevate { uses, times, lasts_ms, value } => {
                let classes: BTreeSet<Class> = uses.iter().map(|at| USES[*at].1).collect();
                let opens = Opens {
                    uses: uses.iter().map(|at| USES[*at].0.parse().unwrap()).collect(),
                    values: value.iter().map(|n| ("n".to_owned(), number(*n))).collect(),
                    times: *times,
                    lasts_ms: *lasts_ms,
                };
                let Ok((class, alone)) = stage.elevate(&opens) else { continue };
                prop_assert_eq!(&classes, &BTreeSet::from([class]), "no grant of one class opens another");
                prop_assert!(!policy.stands(class));
                // Whoever repeats a request for what is open and unused is told so, and opens nothing more.
                let same = |one: &Open| {
                    (one.class, &one.uses, one.value, one.times) == (class, uses, *value, *times)
                        && one.left == one.times
                        && one.until > now
                };
                if alone && open.iter().any(same) {
                    continue;
                }
                if alone {
                    let at = CLASSES.iter().position(|(_, is)| *is == class).unwrap();
                    let (most, within) = policy.alone.get(&at).copied().unwrap_or_default();
                    let used = alone_used.entry(class).or_default();
                    *used += times;
                    prop_assert!(*used <= most && *lasts_ms <= within, "{class} was opened without a person");
                    prop_assert!(class != Class::Escalate && (policy.tier < 2 || class != Class::Execute));
                } else {
                    // The people of an open question may have answered before: a bound is that somebody can.
                    prop_assert!(policy.more.is_some(), "nobody can open {class}");
                }
                let until = now + lasts_ms;
                open.push(Open { class, uses: uses.clone(), value: *value, times: *times, left: *times, until });
            }
            Step::Call { tool, n } => {
                let (at, class) = use_of(*tool, *n);
                let call = stage.call(&USES[*tool].0.parse().unwrap(), &BTreeMap::from([("n".to_owned(), number(*n))]));
                let alone = stage.judge(&call);
                let judgement = stage.agreed(&call);
                let mut covering: Vec<&mut Open> = open
                    .iter_mut()
                    .filter(|open| {
                        let values = open.value.is_none_or(|value| value == *n);
                        open.class == class && open.uses.contains(&at) && values && open.left > 0 && open.until > now
                    })
                    .collect();
                covering.sort_by_key(|open| open.until);
                let is_open = policy.stands(class) || !covering.is_empty();
                let closed = judgement.reasons.iter().any(|reason| reason.word == Word::ClassNotOpen);
                if judgement.verdict() != Verdict::Permit {
                    prop_assert!(!closed || !is_open, "{class} is open, and {tool} {n} is refused for it");
                    continue;
                }
                prop_assert!(is_open, "{class} was never opened for {} {n}: {open:?}", USES[*tool].0);
                if !policy.stands(class) {
                    // Which of several that end together is used makes no difference later: they are counted together.
                    covering.first_mut().unwrap().left -= 1;
                    elevated += 1;
                }
                let admission = judgement.admission.clone().unwrap();
                if *n >= 50 {
                    prop_assert!(admission.hold.is_some());
                    if alone.verdict() != Verdict::Permit {
                        agreed += 1;
                    }
                    let before = done.insert((*tool, *n), now);
                    prop_assert!(before.is_none_or(|before| now - before >= 600_000), "one yes was used twice");
                }
                stage.happen(&call, &admission, true, 2, &BTreeMap::new());
                if *n >= 50 {
                    let again = stage.call(&call.tool, &call.arguments);
                    prop_assert!(stage.agreed(&again).admission.is_none(), "a repeat is told the outcome");
                }
            }
        }
        prop_assert!(there <= PEOPLE.len());
    }
    Ok((elevated, agreed))
}

/// `PORTREEVE_CASES` asks for more by hand
#[test]
fn no_class_is_ever_used_that_was_not_opened_for_it() {
    let cases = std::env::var("PORTREEVE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let (elevated, agreed) = (Cell::new(0u32), Cell::new(0u32));
    TestRunner::new(config)
        .run(&(policy(), prop::collection::vec(step(), 1..60)), |(policy, steps)| {
            let Ok(loaded) = compile(&policy.text()) else {
                // A tier that never opens something without a person.
                prop_assert!(policy.tier == 2 && policy.alone.contains_key(&2), "{:?}", compile(&policy.text()));
                return Ok(());
            };
            let (more, yes) = play(&policy, &loaded, &steps)?;
            elevated.set(elevated.get() + more);
            agreed.set(agreed.get() + yes);
            Ok(())
        })
        .unwrap();
    assert!(elevated.get() > cases / 10 && agreed.get() > cases / 10, "{elevated:?} elevated, {agreed:?} agreed");
}

/// Removing any one yes from a quorum refuses the call
#[test]
fn every_yes_of_a_quorum_is_needed() {
    for people in 1..=3u8 {
        let policy = Policy { tier: 1, standing: [0, 1].into(), alone: BTreeMap::new(), more: None, ask: people };
        let loaded = compile(&policy.text()).unwrap();
        for bits in 0..8usize {
            let mut stage = Stage::new(&loaded, NOON);
            let there: Vec<_> =
                (0..3).filter(|at| bits & (1 << at) != 0).map(|at| PEOPLE[at].parse().unwrap()).collect();
            stage.people(&there);
            let opening = Opening {
                purpose: "p".parse().unwrap(),
                agent: None,
                user: portreeve_rules::For::Nobody,
                parameters: BTreeMap::new(),
            };
            stage.open(&opening, &[]).unwrap();
            let call = stage.call(&"c.put".parse().unwrap(), &BTreeMap::from([("n".to_owned(), number(60))]));
            let enough = there.len() >= usize::from(people);
            let verdict = stage.agreed(&call).verdict();
            assert_eq!(verdict, if enough { Verdict::Permit } else { Verdict::Hold }, "{people} of {there:?}");
        }
    }
}
