//! The matcher against what Cedar says of the export: the same answer wherever both can speak.
//!
//! `PORTREEVE_DIFFERENTIAL_CASES=20000` runs more of it.

use super::super::{Types, context, kind::Kind, uid};
use crate::{
    bundle::{Loaded, compile},
    case::Case,
    files::Files,
};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, PolicySet, Request, RestrictedExpression, Schema, ValidationMode,
    Validator,
};
use portreeve_core::{
    names::{Name, TaskId, Tool},
    path::{FieldPath, uncovered},
    pattern::{Match, Scope},
    policy::{Entry, Profile, Variant},
    rules::Question,
    time::Millis,
    value::Value,
};
use proptest::{collection::vec, prelude::*, sample::select};
use std::collections::{BTreeMap, BTreeSet};

const FACTS: [(&str, &str); 6] = [
    ("agents/bot.toml", "owner = \"a@example.com\"\n"),
    ("agents/cat.toml", "owner = \"a@example.com\"\n"),
    ("users/lea.toml", "accounts = [\"lea\"]\ngroups = [\"leads\"]\n"),
    (
        "connectors/shop.toml",
        "command = [\"shop-server\"]\n\
         [tools.put]\nclass = \"write\"\nlabel = \"internal\"\n\
         arguments = { s = \"selector\", t = \"selector\", n = \"quantity\", x = \"quantity\", b = \"control\", o = \"control\", l = \"control\", c = \"content\" }\n\
         [[tools.put.variants]]\nname = \"a\"\nclass = \"read\"\nwhere = { n = 1 }\n\
         [[tools.put.variants]]\nname = \"b\"\nclass = \"escalate\"\nwhere = { b = true }\n\
         [tools.wide]\nclass = \"read\"\nlabel = \"secret\"\narguments = { s = \"selector\", \"o.a\" = \"content\", o = \"control\" }\n",
    ),
    ("connectors/web.toml", "command = [\"web-server\"]\n[tools.wild]\nclass = \"read\"\nlabel = \"public\"\n"),
    (
        "pins/shop.json",
        r#"[{"name":"put","inputSchema":{"type":"object","additionalProperties":false,"properties":{
            "s":{"type":"string"},"t":{"type":["string","null"]},"n":{"type":"integer"},"x":{"type":"number"},
            "b":{"type":"boolean"},"l":{"type":"array","items":{"type":"string"}},"c":{"type":"string"},
            "o":{"type":["object","null"],"properties":{"a":{"type":"string"},"m":{"type":"number"}}}}}},
        {"name":"wide","inputSchema":{"type":"object","properties":{
            "s":{"type":"string"},"o":{"type":["object","null"],"properties":{"a":{"type":"string"}}}}}}]"#,
    ),
];

fn load(purpose: &str) -> Loaded {
    let files = FACTS.iter().copied().chain([("purposes/p.toml", purpose)]);
    let files: Files = files.map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
    compile(&files).unwrap_or_else(|findings| {
        let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
        panic!("{}\n{purpose}", told.join("\n"))
    })
}

/// The export, held against its own schema
struct Held {
    policies: PolicySet,
    schema: Schema,
    natives: BTreeMap<Tool, BTreeSet<String>>,
    text: String,
}

fn held(loaded: &Loaded) -> Held {
    let exported = loaded.cedar(None).unwrap();
    let (schema, warnings) = Schema::from_cedarschema_str(&exported.schema).unwrap();
    assert_eq!(warnings.count(), 0, "{}", exported.schema);
    let policies: PolicySet =
        exported.policies.parse().unwrap_or_else(|error| panic!("{error}\n{}", exported.policies));
    let result = Validator::new(schema.clone()).validate(&policies, ValidationMode::Strict);
    assert!(result.validation_passed(), "{result}\n{}\n{}", exported.policies, exported.schema);
    let mut natives: BTreeMap<Tool, BTreeSet<String>> = BTreeMap::new();
    for policy in policies.policies() {
        let action = policy.to_json().unwrap()["action"]["entity"]["id"].as_str().unwrap().to_owned();
        let text = policy.to_cedar().unwrap();
        let names =
            text.split("context.match_native[\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
        natives.entry(action.parse().unwrap()).or_default().extend(names);
    }
    Held { policies, schema, natives, text: exported.policies }
}

/// A call, and the task that it is made in
struct Given<'a> {
    tool: &'a Tool,
    arguments: &'a BTreeMap<String, Value>,
    parameters: &'a BTreeMap<Name, Value>,
    done: &'a [Name],
}

/// What the matcher says of the things that Cedar cannot
fn native(name: &str, loaded: &Loaded, given: &Given<'_>) -> bool {
    let name = name.strip_prefix("p.").unwrap();
    let purpose = &loaded.bundle.purposes[&"p".parse::<Name>().unwrap()];
    let profile = loaded.bundle.profile(given.tool).unwrap();
    if name.starts_with("task.") {
        return true;
    }
    let (entry, what) = name.split_once('.').unwrap();
    let entry = purpose.entries().iter().find(|known| known.name.as_str() == entry).unwrap();
    let returned = BTreeMap::new();
    let scope = Scope::task(given.parameters, &returned);
    let holds = |path: &FieldPath| entry.arguments[path].holds(&path.select(given.arguments), scope);
    match what.split_once('.') {
        Some(("where", path)) => holds(&path.parse().unwrap()),
        None if what == "where" => entry.arguments.keys().all(holds) && closed(entry, profile, given),
        None if what == "closed" => closed(entry, profile, given),
        None if what == "times" => !given.done.contains(&entry.name),
        None if what == "after" => given.done.contains(entry.after.as_ref().unwrap()),
        None if what == "ask" => {
            let variants = profile.fits(given.arguments).unwrap_or_default();
            let matches = entry.covers(given.tool, &variants)
                && entry.arguments.keys().all(holds)
                && closed(entry, profile, given);
            let when = &entry.ask.as_ref().unwrap().when;
            let clear_no = |(path, pattern): (&FieldPath, &portreeve_core::pattern::Pattern)| {
                let reached = path.select(given.arguments);
                reached.values.iter().any(Option::is_some) && pattern.picks(&reached, scope) == Match::No
            };
            !matches || when.iter().any(clear_no)
        }
        _ => panic!("{name}"),
    }
}

fn closed(entry: &Entry, profile: &Profile, given: &Given<'_>) -> bool {
    uncovered(given.arguments, entry.arguments.keys().chain(profile.free())).is_empty()
}

impl Held {
    /// Whether Cedar permits the call, and whether it could read all of it; `lie`: one answer that is withheld
    fn permits(&self, loaded: &Loaded, given: &Given<'_>, lie: Option<usize>) -> (bool, bool) {
        let types = Types::new().unwrap();
        let profile = loaded.bundle.profile(given.tool).unwrap();
        let fitting = profile.fits(given.arguments);
        let readable = fitting.is_ok();
        let fitting: Vec<&Variant> = fitting.unwrap_or_default();
        let class = profile.class_of(&fitting);
        let (agent, user): (Name, Name) = ("bot".parse().unwrap(), "lea".parse().unwrap());
        let question = Question {
            agent: &agent,
            user: Some(&user),
            person: loaded.bundle.users.get(&user),
            groups: &[],
            purpose: &"p".parse().unwrap(),
            task: TaskId(1),
            above: &[],
            tool: given.tool,
            variants: &fitting.iter().map(|variant| &variant.name).collect::<Vec<_>>(),
            class,
            arguments: given.arguments,
            matches: &BTreeMap::new(),
            target: None,
            environment: None,
            proven: None,
            now: Millis(0),
        };
        let subject = loaded.model().tools.get(given.tool);
        let input = subject.and_then(|subject| subject.input.as_ref());
        let mut pairs: BTreeMap<String, RestrictedExpression> =
            context::pairs(&question, input, &types).unwrap().into_iter().collect();
        let parameter = |(name, value): (&Name, &Value)| {
            let kind = if matches!(value, Value::Number(_)) { Some(Kind::Decimal) } else { None };
            (name.to_string(), context::expression(value, kind.as_ref(), &types, &mut true).unwrap())
        };
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let record = |pairs: Vec<(String, RestrictedExpression)>| RestrictedExpression::new_record(pairs).unwrap();
        let task = [
            ("id".to_owned(), text("task_1")),
            ("purpose".to_owned(), text("p")),
            ("parameters".to_owned(), record(given.parameters.iter().map(parameter).collect())),
        ];
        pairs.insert("task".to_owned(), record(task.into()));
        let names = self.natives.get(given.tool).into_iter().flatten().enumerate();
        let natives = names.map(|(index, name)| {
            let holds = lie != Some(index) && native(name, loaded, given);
            (name.clone(), RestrictedExpression::new_bool(holds))
        });
        pairs.insert("match_native".to_owned(), record(natives.collect()));
        let variants = fitting.iter().map(|variant| text(variant.name.as_str()));
        pairs.insert("variants".to_owned(), RestrictedExpression::new_set(variants));
        let context = Context::from_pairs(pairs).unwrap();
        let action = uid(&types.action, &given.tool.to_string());
        let resource = uid(&types.tool, &given.tool.to_string());
        let ask = |schema| {
            let principal = uid(&types.agent, "bot");
            Request::new(principal, action.clone(), resource.clone(), context.clone(), schema).map_err(Box::new)
        };
        // Where everything is of the type that the schema says, both can speak.
        let readable = readable && (input.is_none() || ask(Some(&self.schema)).is_ok());
        let person = loaded.bundle.users.get(&user).unwrap();
        let entities =
            context::user(&"lea".parse().unwrap(), (person, &[]), &loaded.model().attributes, &types).unwrap();
        let entities = Entities::from_entities(entities, None).unwrap();
        let response = Authorizer::new().is_authorized(&ask(None).unwrap(), &self.policies, &entities);
        (response.decision() == Decision::Allow, readable)
    }
}

/// Conditions on text, as TOML
fn text() -> impl Strategy<Value = String> {
    let often = select(&["\"k1\"", "\"{p}\"", "{ any = true }", "{ glob = \"k*\" }"][..]).prop_map(ToOwned::to_owned);
    let all = select(
        &[
            "\"k1\"",
            "\"k*2\"",
            "\"{p}\"",
            "{ in = [\"k1\", \"{p}\", 5] }",
            "{ prefix = \"src/\" }",
            "{ prefix = \"{p}\" }",
            "{ glob = \"src/*.rs\" }",
            "{ glob = \"**\" }",
            "{ glob = \"k*\" }",
            "{ glob = \"k1\" }",
            "{ under = \"src\" }",
            "{ absent = true }",
            "{ any = true }",
            "{ max_bytes = 2 }",
            "\"{q}\"",
            "5",
            "{ at_most = 5 }",
            "{ prefix = \"k\", glob = \"*1\" }",
            "\"a\\\"b\\\\\"",
            "{ prefix = \"a\\\"\" }",
        ][..],
    )
    .prop_map(ToOwned::to_owned);
    prop_oneof![often, all]
}

/// Conditions on numbers
fn number() -> impl Strategy<Value = String> {
    let often =
        select(&["1", "{ at_most = 5 }", "{ at_least = 1 }", "{ at_most = \"{q}\" }"][..]).prop_map(ToOwned::to_owned);
    let all = select(
        &[
            "1",
            "5",
            "5.5",
            "1.0",
            "0.00001",
            "{ in = [1, 2.5, \"{q}\"] }",
            "{ at_most = 5 }",
            "{ at_most = 5.5 }",
            "{ at_least = 2 }",
            "{ at_most = \"{q}\" }",
            "{ at_least = \"{q}\" }",
            "\"{q}\"",
            "{ absent = true }",
            "{ any = true }",
            "{ at_least = 1, at_most = 5 }",
            "\"k1\"",
            "{ at_most = 0.00001 }",
            "{ at_most = 1e30 }",
        ][..],
    )
    .prop_map(ToOwned::to_owned);
    prop_oneof![often, all]
}

fn entry() -> impl Strategy<Value = (String, String)> {
    let uses = select(
        &[
            "\"shop.put\"",
            "\"shop.put\", \"shop.put#a\"",
            "\"shop.put#a\", \"shop.put#b\"",
            "\"shop.wide\"",
            "\"web.wild\"",
            "\"shop.put\", \"shop.put#a\", \"shop.put#b\", \"shop.wide\", \"web.wild\"",
        ][..],
    );
    let path = prop_oneof![
        (select(&["s", "t", "c", "o.a", "\"l[*]\""][..]), text()),
        (select(&["n", "x", "o.m"][..]), number()),
        (
            Just("b"),
            select(&["true", "false", "{ any = true }", "\"{r}\"", "{ absent = true }"][..])
                .prop_map(ToOwned::to_owned)
        ),
        (
            select(&["o", "l", "s", "n", "x", "b"][..]),
            select(&["{ any = true }", "{ absent = true }"][..]).prop_map(ToOwned::to_owned)
        ),
    ];
    let path = path.prop_map(|(path, pattern)| {
        (if path.contains('.') { format!("\"{path}\"") } else { path.to_owned() }, pattern)
    });
    let more = select(
        &[
            "",
            "",
            "",
            "times = 1\n",
            "ask = { who = \"leads\", when = { x = { at_least = 2 } } }\n",
            "after = \"e0\"\n",
        ][..],
    );
    (uses, vec(path, 0..4), more).prop_map(|(uses, paths, more)| {
        let paths: BTreeMap<String, String> = paths.into_iter().collect();
        // One place has one condition.
        let nested = paths.contains_key("o");
        let paths = paths.iter().filter(|(path, _)| {
            !(nested && path.starts_with("\"o.") || path.contains("[*]") && paths.contains_key("l"))
        });
        let paths: Vec<String> = paths.map(|(path, pattern)| format!("{path} = {pattern}")).collect();
        (format!("use = [{uses}]\nwhere = {{ {} }}\n", paths.join(", ")), more.to_owned())
    })
}

fn purpose() -> impl Strategy<Value = String> {
    let standing = select(&["\"read\", \"write\", \"escalate\"", "\"read\", \"write\"", "\"read\""][..]);
    let ceiling = select(&["", "", "ceiling = \"internal\"\n", "calls = 9\n"][..]);
    let open = select(&["users = [\"lea\"]", "users = { group = \"leads\" }"][..]);
    let agents = select(&["\"bot\"", "\"bot\", \"cat\""][..]);
    (standing, ceiling, open, agents, vec(entry(), 1..4)).prop_map(|(standing, ceiling, open, agents, entries)| {
        let mut text = format!(
            "about = \"a\"\nowner = \"a@example.com\"\n[open]\nagents = [{agents}]\n{open}\n\
             [task]\nexpires_after = \"15m\"\nstanding = [{standing}]\n{ceiling}\
             [parameters]\np = {{ type = \"string\" }}\nq = {{ type = \"decimal\" }}\nr = {{ type = \"bool\" }}\n"
        );
        for (index, (entry, more)) in entries.iter().enumerate() {
            let more = if index == 0 && more.starts_with("after") { "" } else { more };
            text.push_str(&format!("[[allow]]\nname = \"e{index}\"\n{entry}{more}"));
        }
        text
    })
}

fn arguments() -> impl Strategy<Value = BTreeMap<String, Value>> {
    const TEXTS: [&str; 12] = [
        "\"k1\"",
        "\"k*2\"",
        "\"kx2\"",
        "\"src/a.rs\"",
        "\"src/b/a.rs\"",
        "\"src/../a.rs\"",
        "\"src\"",
        "\"\"",
        "\"a\\\"b\\\\\"",
        "\"dev\"",
        "\"k1\\n\"",
        "null",
    ];
    const NUMBERS: [&str; 9] = ["1", "1.0", "5", "5.5", "2", "6", "-1", "0.00001", "1e30"];
    const WHOLE: [&str; 5] = ["1", "2", "5", "6", "-3"];
    let objects = ["{}", "{\"a\":\"k1\"}", "{\"a\":\"dev\",\"m\":5}", "{\"m\":5.5}", "null"];
    let arrays = ["[]", "[\"k1\"]", "[\"k1\",\"src/a.rs\"]", "[\"dev\"]"];
    let pick = |name: &'static str, from: Vec<&'static str>| (Just(name), select(from));
    let often = prop_oneof![
        pick("s", vec!["\"k1\""]),
        pick("c", vec!["\"k1\""]),
        pick("n", vec!["2", "5"]),
        pick("x", vec!["1", "5", "4.5"]),
        pick("o", vec!["{\"a\":\"k1\",\"m\":1}"]),
    ];
    let all = prop_oneof![
        pick("s", TEXTS[..11].to_vec()),
        pick("t", TEXTS.to_vec()),
        pick("c", TEXTS[..11].to_vec()),
        pick("n", WHOLE.to_vec()),
        pick("x", NUMBERS.to_vec()),
        pick("b", vec!["true", "false"]),
        pick("o", objects.to_vec()),
        pick("l", arrays.to_vec()),
        pick("z", vec!["1"]),
    ];
    vec(prop_oneof![often, all], 0..4)
        .prop_map(|given| given.into_iter().map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect())
}

fn cases() -> u32 {
    std::env::var("PORTREEVE_DIFFERENTIAL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(96)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn cedar_and_the_matcher_agree(
        purpose in purpose(),
        calls in vec((select(&["shop.put", "shop.put", "shop.wide", "web.wild"][..]), arguments(), prop::bool::ANY, 0_usize..12), 24),
        p in select(&["k1", "src/", "dev"][..]),
        q in select(&["1", "5", "5.5", "0.00001"][..]),
        r in prop::bool::ANY,
    ) {
        let loaded = load(&purpose);
        let held = held(&loaded);
        let name = |text: &str| text.parse::<Name>().unwrap();
        let parameters = BTreeMap::from([
            (name("p"), Value::String(p.to_owned())),
            (name("q"), Value::Number(q.parse().unwrap())),
            (name("r"), Value::Bool(r)),
        ]);
        for (tool, arguments, done, lie) in calls {
            // Arguments that do not fit their schema are refused before anything else looks at them.
            let mut arguments = arguments;
            match tool {
                "shop.put" => drop(arguments.remove("z")),
                "shop.wide" => arguments.retain(|name, _| ["s", "o", "z"].contains(&name.as_str())),
                _ => {}
            }
            let tool: Tool = tool.parse().unwrap();
            let done = if done { vec![name("e0")] } else { Vec::new() };
            let given = Given { tool: &tool, arguments: &arguments, parameters: &parameters, done: &done };
            let reasons = Case::reasons(&loaded, (&name("p"), &tool), &arguments, (&parameters, &done));
            let about = || format!("{tool} {arguments:?} {parameters:?} done {done:?}: {reasons:?}\n{purpose}\n{}", held.text);
            let (permitted, readable) = held.permits(&loaded, &given, None);
            prop_assert!(!permitted || reasons.is_empty(), "Cedar permits more: {}", about());
            let fits = q != "0.00001";
            prop_assert!(permitted || !readable || !fits || !reasons.is_empty(), "Cedar permits less: {}", about());
            let (permitted, _) = held.permits(&loaded, &given, Some(lie));
            prop_assert!(!permitted || reasons.is_empty(), "a withheld answer permits more: {}", about());
        }
    }
}

#[test]
fn both_answers_are_reached() {
    let loaded = load(
        "about = \"a\"\nowner = \"a@example.com\"\n[open]\nagents = [\"bot\"]\nusers = [\"lea\"]\n\
         [task]\nexpires_after = \"15m\"\nstanding = [\"write\"]\n\
         [parameters]\np = { type = \"string\" }\nq = { type = \"decimal\" }\n\
         [[allow]]\nname = \"e\"\nuse = [\"shop.put\"]\nwhere = { s = \"{p}\", x = { at_most = \"{q}\" } }\n",
    );
    let held = held(&loaded);
    let parameters = BTreeMap::from([
        ("p".parse().unwrap(), Value::String("k1".to_owned())),
        ("q".parse().unwrap(), Value::Number("5".parse().unwrap())),
    ]);
    let ask = |arguments: &str| {
        let Ok(Value::Object(arguments)) = arguments.parse::<Value>() else { panic!("{arguments}") };
        let given =
            Given { tool: &"shop.put".parse().unwrap(), arguments: &arguments, parameters: &parameters, done: &[] };
        held.permits(&loaded, &given, None)
    };
    assert_eq!(ask(r#"{"s":"k1","x":5}"#), (true, true));
    assert_eq!(ask(r#"{"s":"k1","x":4.5,"c":"free"}"#), (true, true));
    assert_eq!(ask(r#"{"s":"k1","x":5.5}"#), (false, true));
    assert_eq!(ask(r#"{"s":"k2","x":5}"#), (false, true));
    assert_eq!(ask(r#"{"s":"k1"}"#), (false, true));
    assert_eq!(ask(r#"{"s":"k1","x":5,"t":"more"}"#), (false, true));
    assert_eq!(ask(r#"{"s":"k1","x":1e-7}"#), (false, false));
}

#[test]
fn what_is_exported() {
    let loaded = load(
        "about = \"Put one\"\nowner = \"a@example.com\"\n[open]\nagents = [\"bot\", \"cat\"]\nusers = { group = \"leads\" }\n\
         [task]\nexpires_after = \"15m\"\nstanding = [\"read\", \"write\"]\ncalls = 3\n\
         [parameters]\np = { type = \"string\" }\nq = { type = \"decimal\" }\n\
         [[allow]]\nname = \"e\"\nuse = [\"shop.put\", \"shop.put#a\"]\ntimes = 2\n\
         where = { s = \"{p}\", t = { prefix = \"src/\" }, x = { at_most = \"{q}\" }, n = { in = [1, 2] }, b = false, o = { absent = true } }\n",
    );
    let exported = loaded.cedar(Some(&"p".parse().unwrap())).unwrap();
    let (_, policies) = exported.policies.split_once("// p: ").unwrap();
    assert_eq!(policies, EXPORTED);
    assert!(exported.schema.contains("parameters: { p?: String, q?: decimal }"), "{}", exported.schema);
    assert!(
        exported.schema.contains(
            "match_native: { \"p.e.times\": Bool, \"p.e.where.t\": Bool, \"p.task.calls\": Bool, \"p.task.open\": Bool }"
        ),
        "{}",
        exported.schema
    );
    assert_eq!(loaded.cedar(Some(&"none".parse().unwrap())), None);
}

const EXPORTED: &str = r#"Put one

// match_native["p.e.times"]: fewer than 2 uses of the step are spent
// match_native["p.e.where.t"]: t is text that begins with "src/"
// match_native["p.task.calls"]: the task has calls left
// match_native["p.task.open"]: the task was opened as `[open]` says, and is neither over nor idle
@id("p.e.shop.put")
permit (
  principal,
  action == Action::"shop.put",
  resource
)
when {
  context.task.purpose == "p" &&
  [Agent::"bot", Agent::"cat"].contains(principal) &&
  context has user && context.user in Group::"leads" &&
  ["read", "write"].contains(context.class) &&
  ["a"].containsAll(context.variants) &&
  context.input has b &&
  context.input.b == false &&
  context.input has n &&
  (context.input.n == 1 || context.input.n == 2) &&
  !(context.input has o) &&
  context.input has s &&
  (context.task.parameters has p && context.input.s == context.task.parameters.p) &&
  context.input has t &&
  context.input.t like "src/*" &&
  context.input has x &&
  (context.task.parameters has q && context.input.x.lessThanOrEqual(context.task.parameters.q)) &&
  !(context.input has l) &&
  context.match_native["p.e.times"] &&
  context.match_native["p.e.where.t"] &&
  context.match_native["p.task.calls"] &&
  context.match_native["p.task.open"]
};
"#;
