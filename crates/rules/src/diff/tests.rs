use super::*;
use crate::{
    bundle::compile,
    files::Files,
    stage::{For, NOON, Opening, Opens, Stage},
};
use portreeve_core::{names::Name, reason, value::Value};
use proptest::{prelude::*, test_runner::TestRunner};

/// A purpose that can be changed in every way that matters
#[derive(Clone, Debug)]
struct Spec {
    standing: usize,
    calls: usize,
    ceiling: usize,
    bytes: usize,
    limit: usize,
    order: usize,
    profile: usize,
    rule: usize,
    tier: usize,
    elevate: usize,
    steps: Vec<(usize, StepSpec)>,
}

#[derive(Clone, Debug)]
struct StepSpec {
    uses: usize,
    id: usize,
    amount: usize,
    path: usize,
    note: usize,
    times: usize,
    after: usize,
    ask: usize,
}

const STANDING: [&str; 3] = ["\"read\"", "\"read\", \"write\"", "\"read\", \"write\", \"escalate\""];
const CALLS: [&str; 3] = ["", "calls = 3", "calls = 1"];
const CEILING: [&str; 3] = ["", "ceiling = \"confidential\"", "ceiling = \"internal\""];
const BYTES: [&str; 3] = ["", "max_bytes = { arguments = 60 }", "max_bytes = { arguments = 30, results = 100 }"];
const LIMIT: [&str; 3] =
    ["{ type = \"decimal\", max = 100 }", "{ type = \"decimal\", max = 50 }", "{ type = \"decimal\" }"];
const ORDER: [&str; 3] =
    ["{ type = \"string\" }", "{ type = \"string\", max_bytes = 5 }", "{ type = \"choice\", in = [\"ord_1\"] }"];
const PROFILE: [&str; 5] = [
    "class = \"write\"\nlabel = \"internal\"\narguments = { note = \"content\", amount = \"quantity\" }",
    "class = \"write\"\nlabel = \"internal\"\narguments = { amount = \"quantity\" }",
    "class = \"escalate\"\nlabel = \"confidential\"\narguments = { note = \"content\" }",
    "class = \"read\"\narguments = { note = \"content\" }",
    "class = \"write\"\narguments = { \"files[*].text\" = \"content\", note = \"content\" }",
];
const RULE: [&str; 3] = [
    "",
    "@id(\"big\") forbid (principal, action, resource) when { context.input has note };",
    "@id(\"big\") forbid (principal, action == Action::\"shop.refund\", resource);",
];
const USES: [&str; 4] =
    ["\"shop.refund\"", "\"shop.get_order\"", "\"shop.get_order\", \"shop.refund\"", "\"shop.actions#purge\""];
const ID: [&str; 7] = [
    "",
    "id = \"{order}\"",
    "id = { any = true }",
    "id = { in = [\"ord_1\", \"ord_2\"] }",
    "id = \"ord_1\"",
    "id = { prefix = \"ord_\" }",
    "id = { absent = true }",
];
const AMOUNT: [&str; 6] = [
    "",
    "amount = { at_most = \"{limit}\" }",
    "amount = { at_most = 100 }",
    "amount = { at_most = 10, at_least = 1 }",
    "amount = { any = true }",
    "amount = 5",
];
const PATH: [&str; 5] = [
    "",
    "\"files[*].path\" = { under = \"src\" }",
    "\"files[*].path\" = { under = \"src/a\" }",
    "files = { any = true }",
    "\"files[*].text\" = { max_bytes = 3 }",
];
const NOTE: [&str; 4] =
    ["", "note = { max_bytes = 4 }", "note = { absent = true }", "note = { email = \"*@example.org\" }"];
const TIMES: [&str; 3] = ["", "times = 2", "times = 1"];
const TIER: [&str; 3] = ["low", "standard", "high"];
/// Lines without a person, of which tools are written later, and who opens more
const ELEVATE: [(&str, &str); 6] = [
    ("", ""),
    ("", "ask = { who = \"leads\" }"),
    ("", "ask = { who = \"leads\", people = 2, passkey = true }"),
    ("times = 2, within = \"5m\"", ""),
    ("times = 1, within = \"5m\"", "ask = { who = \"leads\" }"),
    ("times = 2, within = \"30s\"", "ask = { who = \"leads\", people = 2 }"),
];
const ASK: [&str; 6] = [
    "",
    "ask = { who = \"leads\" }",
    "ask = { who = \"leads\", people = 2 }",
    "ask = { who = \"leads\", passkey = true, within = \"5m\" }",
    "ask = { who = \"leads\", when = { amount = { at_least = 5 } } }",
    "ask = { who = \"leads\", when = { amount = { at_least = 5 }, id = \"ord_1\" } }",
];

fn step() -> impl Strategy<Value = StepSpec> {
    let first = (0..USES.len(), 0..ID.len(), 0..AMOUNT.len(), 0..PATH.len());
    let second = (0..NOTE.len(), 0..TIMES.len(), 0..3usize, 0..ASK.len() + 4);
    (first, second).prop_map(|((uses, id, amount, path), (note, times, after, ask))| {
        // Most steps ask nobody: a question is no permit unless enough agree.
        let ask = ask.saturating_sub(4);
        StepSpec { uses, id, amount, path, note, times, after, ask }
    })
}

fn spec() -> impl Strategy<Value = Spec> {
    let first = (0..STANDING.len() + 1, 0..CALLS.len(), 0..CEILING.len(), 0..BYTES.len());
    let second = (0..LIMIT.len(), 0..ORDER.len(), 0..PROFILE.len(), 0..RULE.len() + 2);
    let third = (0..TIER.len(), 0..ELEVATE.len());
    (first, second, third, prop::collection::vec(step(), 1..4)).prop_map(|(first, second, third, steps)| {
        let ((standing, calls, ceiling, bytes), (limit, order, profile, rule)) = (first, second);
        let steps = steps.into_iter().enumerate().collect();
        let (standing, rule, (tier, elevate)) = (standing.min(STANDING.len() - 1), rule.saturating_sub(2), third);
        Spec { standing, calls, ceiling, bytes, limit, order, profile, rule, tier, elevate, steps }
    })
}

/// Another version: a few fields of `spec` taken from `other`, perhaps a step more or less
fn changed(mut spec: Spec, other: Spec, dice: [u8; 4]) -> Spec {
    for die in dice {
        let at = usize::from(die) / 18;
        let steps = spec.steps.len();
        let from = other.steps[at % other.steps.len()].1.clone();
        let own = &mut spec.steps[at % steps].1;
        match die % 18 {
            0 => spec.standing = other.standing,
            1 => spec.calls = other.calls,
            2 => spec.ceiling = other.ceiling,
            3 => spec.bytes = other.bytes,
            4 => spec.limit = other.limit,
            5 => spec.order = other.order,
            6 => spec.profile = other.profile,
            7 => spec.rule = other.rule,
            8 => own.uses = from.uses,
            9 => own.id = from.id,
            10 => own.amount = from.amount,
            11 => own.path = from.path,
            12 => own.note = from.note,
            13 => (own.times, own.after) = (from.times, from.after),
            14 => own.ask = from.ask,
            15 => spec.tier = other.tier,
            16 => spec.elevate = other.elevate,
            _ if steps > 1 && at % 2 == 0 => drop(spec.steps.remove(at % steps)),
            _ => {
                let next = spec.steps.iter().map(|(name, _)| *name).max().unwrap_or_default() + 1;
                spec.steps.push((next, from));
            }
        }
    }
    spec
}

impl Spec {
    fn load(&self) -> Loaded {
        let mut purpose = format!(
            "about = \"Work\"\nowner = \"a@example.com\"\n[open]\nagents = [\"bot\"]\nusers = \"none\"\n[task]\n\
             expires_after = \"1h\"\nstanding = [{}]\n{}\n{}\n{}\n[parameters]\nlimit = {}\norder = {}\n",
            STANDING[self.standing],
            CALLS[self.calls],
            CEILING[self.ceiling],
            BYTES[self.bytes],
            LIMIT[self.limit],
            ORDER[self.order],
        );
        let mut before: Vec<usize> = Vec::new();
        for (name, step) in &self.steps {
            let after = match step.after {
                0 => String::new(),
                n => before.get(n - 1).map_or_else(String::new, |first| format!("after = \"s{first}\"")),
            };
            let parts = [ID[step.id], AMOUNT[step.amount], PATH[step.path], NOTE[step.note]];
            let wheres: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            purpose += &format!(
                "[[allow]]\nname = \"s{name}\"\nuse = [{}]\n{after}\n{}\n{}\n[allow.where]\n{}\n",
                USES[step.uses],
                TIMES[step.times],
                ASK[step.ask],
                wheres.join("\n")
            );
            before.push(*name);
        }
        let (alone, more) = ELEVATE[self.elevate];
        let named = |usage: &str| self.steps.iter().any(|(_, step)| USES[step.uses].contains(usage));
        let is_write = PROFILE[self.profile].starts_with("class = \"write\"");
        let tools = [("\"shop.refund\"", is_write), ("\"shop.actions#purge\"", true)];
        let tools: Vec<&str> =
            tools.into_iter().filter(|(usage, write)| *write && named(usage)).map(|(usage, _)| usage).collect();
        let alone = match tools.as_slice() {
            tools if !tools.is_empty() && !alone.is_empty() => {
                format!("write = {{ tools = [{}], {alone} }}\n", tools.join(", "))
            }
            _ => String::new(),
        };
        if !alone.is_empty() || !more.is_empty() {
            purpose += &format!("[elevate]\n{alone}{more}\n");
        }
        let connector = format!(
            "command = [\"shop\"]\ntier = \"{}\"\n[tools.get_order]\nclass = \"read\"\nlabel = \"internal\"\narguments = {{ note = \
             \"content\" }}\n[tools.refund]\n{}\n[tools.actions]\nclass = \"write\"\nlabel = \"internal\"\n\
             [[tools.actions.variants]]\nname = \"purge\"\nclass = \"write\"\nwhere = {{ id = \"ord_1\" }}\n",
            TIER[self.tier], PROFILE[self.profile]
        );
        let files = [
            ("agents/bot.toml", "owner = \"a@example.com\"\n".to_owned()),
            ("users/lea.toml", "accounts = [\"lea\"]\ngroups = [\"leads\"]\n".to_owned()),
            ("users/max.toml", "accounts = [\"max\"]\ngroups = [\"leads\"]\n".to_owned()),
            ("connectors/shop.toml", connector),
            ("purposes/work.toml", purpose),
            ("rules/all.cedar", RULE[self.rule].to_owned()),
        ];
        let files: Files = files.map(|(path, text)| (path.to_owned(), text)).into_iter().collect();
        compile(&files).unwrap_or_else(|found| panic!("{found:?}\n{self:?}"))
    }
}

/// A call at some point of a task
#[derive(Clone, Debug)]
struct Trial {
    tool: &'static str,
    arguments: Value,
    values: [&'static str; 2],
    done: Vec<usize>,
    /// What is opened before it, how often, for how many milliseconds
    opens: Option<(&'static str, u32, i64)>,
    /// How many say yes to what is asked
    people: usize,
}

/// What a trial is made of, once it is known which steps there are
type Dice = ([u8; 6], [u8; 4], Vec<usize>);

fn dice() -> impl Strategy<Value = Dice> {
    let done = prop::collection::vec(0..4usize, 0..4);
    (any::<[u8; 6]>(), any::<[u8; 4]>(), done)
}

/// Values that a pattern is likely to match, `None` for none, and others
fn likely(pattern: &str) -> &'static [Option<&'static str>] {
    match pattern {
        "" | "id = { absent = true }" | "note = { absent = true }" => &[None],
        text if text.starts_with("id") => &[Some("\"ord_1\""), Some("\"ord_1\""), Some("\"ord_2\"")],
        text if text.starts_with("amount") => &[Some("5"), Some("1"), Some("10"), Some("50"), Some("70"), Some("100")],
        text if text.contains("src") => {
            &[Some(r#"[{"path":"src/a/b"}]"#), Some(r#"[{"path":"src/b"}]"#), Some(r#"[{"path":"src/a","text":"x"}]"#)]
        }
        text if text.contains("text") => &[Some(r#"[{"text":"abc"}]"#), Some("[]")],
        text if text.starts_with("files") => &[Some("[1]"), Some(r#"[{"path":"lib"}]"#)],
        text if text.contains("email") => &[Some("\"kim@example.org\"")],
        _ => &[Some("\"abc\"")],
    }
}

const ODD: [Option<&str>; 8] = [
    None,
    Some("\"ord_33\""),
    Some("\"abc\""),
    Some("\"a longer note\""),
    Some("100.5"),
    Some("\"5\""),
    Some(r#"[{"path":"src/a"},{"path":"lib"}]"#),
    Some("null"),
];

impl Trial {
    /// A call that one of the steps of `spec` may let through
    fn of(spec: &Spec, (dice, odd, done): Dice) -> Self {
        let at = |index: usize, len: usize| usize::from(dice[index]) % len;
        let step = &spec.steps[at(0, spec.steps.len())].1;
        let patterns = [ID[step.id], AMOUNT[step.amount], PATH[step.path], NOTE[step.note]];
        let given = ["id", "amount", "files", "note"].into_iter().zip(patterns).enumerate();
        let given = given.filter_map(|(index, (name, pattern))| {
            let odd = odd[index];
            let text = match odd {
                0..40 => ODD[usize::from(odd) % ODD.len()],
                // Free content comes without being named.
                40..80 if name == "note" => Some("\"abc\""),
                _ => likely(pattern)[at(index + 1, likely(pattern).len())],
            };
            Some((name.to_owned(), text?.parse().ok()?))
        });
        let tool = match step.uses {
            0 => "shop.refund",
            1 => "shop.get_order",
            2 => ["shop.refund", "shop.get_order"][at(5, 2)],
            _ => "shop.actions",
        };
        let values = [["40", "70", "100", "1000"][at(4, 4)], ["\"ord_1\"", "\"ord_1\"", "\"ord_2\""][at(5, 3)]];
        let names: Vec<usize> = spec.steps.iter().map(|(name, _)| *name).collect();
        let done = done.into_iter().map(|index| names[index % names.len()]).collect();
        let times = 1 + u32::try_from(at(2, 2)).unwrap();
        let lasts = [20_000, 60_000][at(1, 2)];
        let opens = match tool {
            "shop.refund" => Some(("shop.refund", times, lasts)),
            "shop.actions" => Some(("shop.actions#purge", times, lasts)),
            _ => None,
        };
        Self { tool, arguments: Value::Object(given.collect()), values, done, opens, people: at(3, 3) }
    }
}

impl Trial {
    /// Whether the call is permitted; `None` if no task of these values could be open
    fn judge(&self, loaded: &Loaded) -> Option<bool> {
        let values = ["limit", "order"].into_iter().zip(self.values);
        let values = values.map(|(name, text)| (name.parse().unwrap(), text.parse().unwrap())).collect();
        let opening = Opening { purpose: "work".parse().unwrap(), agent: None, user: For::Nobody, parameters: values };
        let mut stage = Stage::new(loaded, NOON);
        let people: Vec<Name> =
            ["lea", "max"].into_iter().take(self.people).map(|name| name.parse().unwrap()).collect();
        stage.people(&people);
        stage.open(&opening, &[]).ok()?;
        for step in &self.done {
            stage.succeed(&format!("s{step}").parse().unwrap(), &BTreeMap::new());
        }
        let Value::Object(arguments) = &self.arguments else { return None };
        let call = stage.call(&self.tool.parse().unwrap(), arguments);
        if let Some((usage, times, lasts_ms)) = self.opens {
            let opens = Opens { uses: vec![usage.parse().unwrap()], values: BTreeMap::new(), times, lasts_ms };
            drop(stage.elevate(&opens));
        }
        Some(stage.agreed(&call).verdict() == reason::Verdict::Permit)
    }
}

/// If it says "narrower", no call is newly permitted
///
/// `PORTREEVE_CASES` asks for more pairs of policies by hand.
#[test]
fn narrower_is_a_proof() {
    let cases = std::env::var("PORTREEVE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let counts = std::cell::Cell::new((0u32, 0u32, 0u32));
    let pairs = (spec(), spec(), any::<[u8; 4]>(), 1..5usize, prop::collection::vec(dice(), 60));
    TestRunner::new(config)
        .run(&pairs, |(spec, other, mut dice, few, trials)| {
            let first = dice[0];
            dice.iter_mut().skip(few).for_each(|die| *die = first);
            let next = changed(spec.clone(), other, dice);
            let (old, new) = (spec.load(), next.load());
            let difference = diff(&old, &new);
            let (mut narrower, mut permitted, mut wider) = counts.get();
            narrower += u32::from(difference.verdict == Verdict::Narrower);
            for trial in trials {
                let trial = Trial::of(&next, trial);
                let (before, after) = (trial.judge(&old), trial.judge(&new));
                permitted += u32::from(after == Some(true));
                let newly = after == Some(true) && before != Some(true);
                wider += u32::from(newly);
                prop_assert!(
                    !newly || difference.verdict > Verdict::Narrower,
                    "{trial:?} is newly permitted\n{:#?}",
                    difference.changes
                );
            }
            counts.set((narrower, permitted, wider));
            Ok(())
        })
        .unwrap();
    let (narrower, permitted, wider) = counts.get();
    assert!(narrower > cases / 20, "only {narrower} of {cases} pairs were narrower: the test shows little");
    assert!(permitted > cases / 4 && wider > cases / 40, "only {permitted} calls were permitted, {wider} newly");
}

#[test]
fn a_version_is_the_same_as_itself() {
    let config = ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&spec(), |spec| {
            let loaded = spec.load();
            prop_assert_eq!(diff(&loaded, &loaded).changes, vec![]);
            Ok(())
        })
        .unwrap();
}

#[test]
fn another_way_to_be_an_agent_is_wider() {
    let with = |proofs: &str, review: &str| {
        let files = [
            ("issuers/house.toml", "trust_domain = \"example.org\"\nbundle = \"https://example.org/b\"\n".to_owned()),
            ("agents/bot.toml", format!("owner = \"a@example.com\"\n{review}{proofs}")),
        ];
        compile(&files.into_iter().map(|(path, text)| (path.to_owned(), text)).collect::<Files>()).unwrap()
    };
    let one = "[[proof]]\nspiffe = \"spiffe://example.org/a\"\n";
    let two = "[[proof]]\nspiffe = \"spiffe://example.org/b\"\n";
    let verdict = |old: &Loaded, new: &Loaded| diff(old, new).verdict;
    let (first, both) = (with(one, ""), with(&format!("{one}{two}"), ""));
    assert_eq!(verdict(&first, &both), Verdict::Wider);
    assert_eq!(verdict(&both, &first), Verdict::Narrower);
    assert_eq!(verdict(&first, &with(two, "")), Verdict::Wider);
    assert_eq!(verdict(&with("", ""), &first), Verdict::Wider);
    assert_eq!(verdict(&first, &with(one, "review_by = 2027-01-01\n")), Verdict::Narrower);
    assert_eq!(verdict(&with(one, "review_by = 2027-01-01\n"), &first), Verdict::Wider);
    assert_eq!(verdict(&first, &with(one, "ships = true\n")), Verdict::Wider);
    assert_eq!(verdict(&with(one, "ships = true\n"), &first), Verdict::Narrower);
}

#[test]
fn who_has_to_be_at_a_connector_is_looked_at_when_it_changes() {
    let with = |more: &str| {
        let files = [
            ("issuers/house.toml", "trust_domain = \"example.org\"\nbundle = \"https://example.org/b\"\n".to_owned()),
            ("connectors/shop.toml", format!("url = \"https://shop.example/mcp\"\n{more}")),
        ];
        compile(&files.into_iter().map(|(path, text)| (path.to_owned(), text)).collect::<Files>()).unwrap()
    };
    let (plain, shown) = (with(""), with("spiffe = \"spiffe://example.org/shop\"\n"));
    let found = diff(&plain, &shown);
    assert_eq!(found.verdict, Verdict::Unclear);
    assert!(found.changes.iter().any(|change| change.what.contains("as spiffe://example.org/shop")), "{found:?}");
    assert_eq!(diff(&shown, &with("spiffe = \"spiffe://example.org/other\"\n")).verdict, Verdict::Unclear);
    assert_eq!(diff(&plain, &with("svid = true\n")).verdict, Verdict::Unclear);
    assert_eq!(diff(&shown, &shown).changes, vec![]);
}
