//! An overlay that is accepted never permits a call that the profile alone would refuse.
//!
//! Two things are outside of this: rules, which may say anything about a class or an environment, and purposes in
//! which a class stands without the ones below it.

use crate::bundle::{Loaded, compile};
use portreeve_core::{
    event::{Accepted, Actor, Began, Changed, Event, Record},
    hash::Hash,
    judge::{Shelf, judge_call},
    names::{EffectId, MemoryId, RunId, TaskId, Tool},
    offer::Identity,
    request::{Call, Clock, Fit},
    state::State,
    time::Millis,
    value::Value,
};
use proptest::{
    prelude::*,
    sample::{select, subsequence},
    test_runner::TestRunner,
};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

const CLASSES: [&str; 4] = ["read", "write", "execute", "escalate"];
const PATHS: [&str; 8] = ["a", "b", "n", "o", "\"o.x\"", "\"o.y\"", "l", "\"l[*].k\""];
const ROLES: [&str; 6] = ["destination", "selector", "quantity", "content", "paging", "control"];

fn role() -> impl Strategy<Value = &'static str> {
    select(&ROLES[..])
}

fn class() -> impl Strategy<Value = &'static str> {
    select(&CLASSES[..])
}

fn roles(most: usize) -> impl Strategy<Value = String> {
    subsequence(&PATHS[..], 0..=most).prop_flat_map(|paths| {
        let count = paths.len();
        prop::collection::vec(role(), count).prop_map(move |roles| {
            let roles: Vec<String> =
                paths.iter().zip(roles).map(|(path, role)| format!("{path} = \"{role}\"")).collect();
            format!("arguments = {{ {} }}\n", roles.join(", "))
        })
    })
}

fn condition() -> impl Strategy<Value = &'static str> {
    select(vec![
        "a = \"x\"",
        "a = { absent = true }",
        "a = { under = \"x\" }",
        "b = { in = [\"x\", \"y\"] }",
        "n = { at_least = 2 }",
        "n = { at_most = 1 }",
        "\"o.x\" = \"x\"",
        "\"l[*].k\" = \"x\"",
    ])
}

fn variants(names: &'static [&'static str]) -> impl Strategy<Value = (Vec<&'static str>, String)> {
    subsequence(names, 0..=names.len()).prop_flat_map(|names| {
        let count = names.len();
        prop::collection::vec((class(), condition()), count).prop_map(move |variants| {
            let mut text = String::new();
            for (name, (class, condition)) in names.iter().zip(variants) {
                let _ = write!(
                    text,
                    "[[tools.t.variants]]\nname = \"{name}\"\nclass = \"{class}\"\nwhere = {{ {condition} }}\n"
                );
            }
            (names.clone(), text)
        })
    })
}

fn maybe(lines: &[&'static str]) -> impl Strategy<Value = &'static str> + use<> {
    let mut lines = lines.to_vec();
    lines.extend(["", ""]);
    select(lines)
}

const FACTS: [&[&str]; 6] = [
    &["target = { type = \"File\", id = [\"a\"] }\n", "target = { type = \"File\", id = [\"a\", \"b\"] }\n"],
    &["environment = \"staging\"\n", "environment = { argument = \"b\" }\n"],
    &["label = \"public\"\n", "label = \"internal\"\n", "label = \"secret\"\n"],
    &["matchers = { m = { a = \"x\" } }\n"],
    &["results = { r = \"trusted\" }\n", "results = { r = \"free\" }\n"],
    &["idempotent = true\n", "idempotent = false\n"],
];

fn facts() -> impl Strategy<Value = String> {
    let [target, environment, label, matchers, results, idempotent] = FACTS.map(maybe);
    (target, environment, label, matchers, results, idempotent)
        .prop_map(|(a, b, c, d, e, f)| [a, b, c, d, e, f].concat())
}

/// The names of its variants, and the text
fn profile() -> impl Strategy<Value = (Vec<&'static str>, String)> {
    (class(), roles(6), facts(), variants(&["v", "w"])).prop_map(|(class, roles, facts, (names, variants))| {
        (names, format!("source = \"s\"\n[tools.t]\nclass = \"{class}\"\n{roles}{facts}{variants}"))
    })
}

fn overlay() -> impl Strategy<Value = String> {
    let class = prop_oneof![2 => Just(String::new()), 1 => class().prop_map(|class| format!("class = \"{class}\"\n"))];
    let facts = prop_oneof![2 => Just(String::new()), 1 => facts()];
    (class, roles(2), facts, variants(&["x", "y"]))
        .prop_map(|(class, roles, facts, (_, variants))| format!("[tools.t]\n{class}{roles}{facts}{variants}"))
}

/// Patterns of arguments, for a `where`
fn bounds() -> impl Strategy<Value = String> {
    let each = |path: &'static str, patterns: Vec<&'static str>| {
        select(patterns)
            .prop_map(move |pattern| if pattern.is_empty() { String::new() } else { format!("{path} = {pattern}, ") })
    };
    let any = "{ any = true }";
    (
        each("a", vec!["", any, any, "\"x\""]),
        each("b", vec!["", any, any]),
        each("n", vec!["", any, "{ at_most = 2 }"]),
        each("o", vec!["", any]),
        each("l", vec!["", any]),
    )
        .prop_map(|(a, b, n, o, l)| [a, b, n, o, l].concat().trim_end_matches(", ").to_owned())
}

/// Which variants each step names, its bounds, how many classes stand, and a ceiling
type Purpose = (Vec<(u8, String)>, usize, &'static str);

fn purpose() -> impl Strategy<Value = Purpose> {
    let steps = prop::collection::vec((1..8u8, bounds()), 1..3);
    (steps, 1..=4usize, select(vec!["", "", "ceiling = \"internal\"\n", "ceiling = \"confidential\"\n"]))
}

fn text((steps, standing, ceiling): &Purpose, variants: &[&str]) -> String {
    let mut text = format!(
        "about = \"x\"\nowner = \"x\"\n[open]\nagents = [\"bot\"]\nusers = \"none\"\n\
         [task]\nexpires_after = \"1h\"\nstanding = {:?}\n{ceiling}",
        &CLASSES[..*standing]
    );
    for (index, (uses, bounds)) in steps.iter().enumerate() {
        let named = variants.iter().map(|variant| format!("c.t#{variant}"));
        let named = std::iter::once("c.t".to_owned()).chain(named).enumerate();
        let uses: Vec<String> = named.filter(|(bit, _)| uses & (1 << bit) != 0).map(|(_, usage)| usage).collect();
        let uses = if uses.is_empty() { vec!["c.t".to_owned()] } else { uses };
        let _ = write!(text, "[[allow]]\nname = \"s{index}\"\nuse = {uses:?}\nwhere = {{ {bounds} }}\n");
    }
    text
}

fn value(values: &[&'static str]) -> impl Strategy<Value = Option<Value>> + use<> {
    let values: Vec<Option<Value>> = values.iter().map(|text| Some(text.parse().unwrap())).collect();
    prop_oneof![1 => Just(None), 2 => select(values)]
}

fn arguments() -> impl Strategy<Value = BTreeMap<String, Value>> {
    (
        value(&["\"x\"", "\"y\"", "\"x/y\"", "\"../x\"", "3", "null"]),
        value(&["\"x\"", "\"y\"", "7"]),
        value(&["1", "2", "\"2\""]),
        value(&["{\"x\":\"x\"}", "{\"x\":\"y\",\"y\":1}", "{}", "\"x\""]),
        value(&["[]", "[{\"k\":\"x\"}]", "[{\"k\":\"x\"},{\"k\":\"y\",\"j\":1}]"]),
    )
        .prop_map(|(a, b, n, o, l)| {
            let named = [("a", a), ("b", b), ("n", n), ("o", o), ("l", l)].into_iter();
            named.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
        })
}

fn load(profile: &str, overlay: &str, purpose: &str) -> Option<Loaded> {
    let files = [
        ("agents/bot.toml", "owner = \"x\"".to_owned()),
        ("connectors/c.toml", format!("command = [\"x\"]\nprofile = \"p\"\n{overlay}")),
        ("profiles/p.toml", profile.to_owned()),
        ("purposes/work.toml", purpose.to_owned()),
    ];
    compile(&files.into_iter().map(|(path, text)| (path.to_owned(), text)).collect()).ok()
}

const NOW: Millis = Millis(1_767_614_400_000);
const PIN: Hash = Hash([0; 32]);

fn permits(loaded: &Loaded, arguments: &BTreeMap<String, Value>) -> bool {
    let bundle = &loaded.bundle;
    let tool: Tool = "c.t".parse().unwrap();
    let mut state = State::default();
    let mut apply = |event| state.apply(&Record { time: NOW, actor: Actor::System, event });
    apply(Event::Changed(Changed::Bundle { digest: bundle.digest, nodes: bundle.nodes() }));
    let accepted = [(tool.name.clone(), Accepted { digest: PIN, blob: PIN })].into();
    apply(Event::Changed(Changed::Pins {
        connector: tool.connector.clone(),
        accepted,
        identity: Identity::Plain,
        offer: Hash::default(),
    }));
    apply(Event::Began(Box::new(Began {
        task: TaskId(1),
        run: RunId(1),
        memory: MemoryId(1),
        agent: "bot".parse().unwrap(),
        user: None,
        purpose: "work".parse().unwrap(),
        bundle: bundle.digest,
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
    let fit = Fit { pin: PIN, error: None };
    let call = Call {
        effect: EffectId(9),
        run: RunId(1),
        tool,
        arguments: arguments.clone(),
        fit,
        answers: Vec::new(),
        continues: None,
        before: None,
        lease: None,
    };
    let shelf = Shelf(BTreeMap::from([(bundle.digest, Arc::clone(bundle))]));
    judge_call(&state, &shelf, &call, Clock::at(NOW.0)).is_ok()
}

/// `PORTREEVE_CASES` asks for more by hand
#[test]
fn tightens() {
    let cases = std::env::var("PORTREEVE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1500);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let (accepted, permitted, refused) = (Cell::new(0u32), Cell::new(0u32), Cell::new(0u32));
    let calls = prop::collection::vec(arguments(), 24);
    TestRunner::new(config)
        .run(&(profile(), overlay(), purpose(), calls), |((names, profile), overlay, purpose, calls)| {
            let purpose = text(&purpose, &names);
            let (Some(base), Some(over)) = (load(&profile, "", &purpose), load(&profile, &overlay, &purpose)) else {
                return Ok(());
            };
            accepted.set(accepted.get() + 1);
            let calls: BTreeSet<_> = calls.into_iter().collect();
            for call in calls {
                let (alone, both) = (permits(&base, &call), permits(&over, &call));
                permitted.set(permitted.get() + u32::from(both));
                refused.set(refused.get() + u32::from(alone && !both));
                prop_assert!(alone || !both, "{call:?} is newly permitted\n{profile}\n--\n{overlay}\n--\n{purpose}");
            }
            Ok(())
        })
        .unwrap();
    let told = format!("{accepted:?} accepted, {permitted:?} permitted, {refused:?} newly refused");
    assert!(accepted.get() > cases / 20 && permitted.get() > cases / 20 && refused.get() > cases / 50, "{told}");
}
