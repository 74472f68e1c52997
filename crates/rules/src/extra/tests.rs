use crate::{Files, compile};
use portreeve_core::{
    names::{Name, TaskId},
    policy::{Bundle, Class},
    reason::{Reason, Word},
    rules::{Link, Question},
    time::Millis,
    value::Value,
};
use std::{collections::BTreeMap, sync::Arc};

const FACTS: [(&str, &str); 2] = [
    ("agents/bot.toml", "owner = \"x\""),
    (
        "connectors/shop.toml",
        "command = [\"shop\"]\n[tools.refund]\nclass = \"write\"\n[[tools.refund.variants]]\nname = \"full\"\nclass = \"escalate\"\nwhere = { all = true }\n[tools.look]\nclass = \"read\"\n",
    ),
];

fn bundle(files: &[(&str, &str)]) -> Result<Arc<Bundle>, Vec<String>> {
    let files: Files = FACTS.iter().chain(files).map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    match compile(&files) {
        Ok(loaded) => Ok(loaded.bundle),
        Err(findings) => {
            Err(findings.iter().map(|finding| format!("{}: {}", finding.place, finding.message)).collect())
        }
    }
}

#[derive(Clone, Copy)]
struct Asked<'a> {
    tool: &'a str,
    variants: &'a [&'a str],
    class: Class,
    arguments: &'a str,
}

const REFUND: Asked<'_> =
    Asked { tool: "shop.refund", variants: &[], class: Class::Write, arguments: "{\"amount\":50}" };

fn judge(bundle: &Bundle, asked: Asked<'_>) -> Vec<Reason> {
    let Ok(Value::Object(arguments)) = asked.arguments.parse::<Value>() else { panic!("{}", asked.arguments) };
    let variants: Vec<Name> = asked.variants.iter().map(|name| name.parse().unwrap()).collect();
    let (boss, wide): (Name, Name) = ("boss".parse().unwrap(), "wide".parse().unwrap());
    let question = Question {
        agent: &"bot".parse().unwrap(),
        user: Some(&"alice".parse().unwrap()),
        purpose: &"refund-order".parse().unwrap(),
        task: TaskId(7),
        above: &[Link { agent: &boss, purpose: &wide }],
        tool: &asked.tool.parse().unwrap(),
        variants: &variants.iter().collect::<Vec<_>>(),
        class: asked.class,
        arguments: &arguments,
        matches: &BTreeMap::new(),
        target: None,
        environment: None,
        person: None,
        groups: &[],
        proven: None,
        now: Millis(1_767_614_400_000),
    };
    let once = bundle.rules.judge(&question);
    assert_eq!(once, bundle.rules.judge(&question), "the same question gets the same answer");
    once
}

fn words(bundle: &Bundle, asked: Asked<'_>) -> Vec<Word> {
    judge(bundle, asked).iter().map(|reason| reason.word).collect()
}

fn rego(text: &str) -> Arc<Bundle> {
    let text = format!("package p\n{text}");
    bundle(&[("extra/r.toml", "kind = \"rego\"\nquery = \"data.p.answer\""), ("extra/r/p.rego", &text)]).unwrap()
}

#[test]
fn what_a_rule_of_rego_says() {
    for (text, expected) in [
        ("answer := true", None),
        ("answer := false", Some((Word::OutsideRefuses, None))),
        ("answer if input.arguments.amount < 100", None),
        (
            "answer if input.arguments.amount > 100",
            Some((Word::OutsideRefuses, Some("the rule is undefined for this call"))),
        ),
        ("answer := {\"allow\": true}", None),
        ("answer := {\"allow\": false, \"reason\": \"no\"}", Some((Word::OutsideRefuses, Some("no")))),
        ("answer := {\"allow\": false, \"reasons\": {\"b\", \"a\"}}", Some((Word::OutsideRefuses, Some("a; b")))),
        (
            "answer := {\"allow\": false, \"reason\": sprintf(\"%v of %s\", [input.arguments.amount, input.user])}",
            Some((Word::OutsideRefuses, Some("50 of alice"))),
        ),
        ("answer := {}", Some((Word::OutsideFailed, Some("the result has no `allow` that is true or false")))),
        (
            "answer := \"true\"",
            Some((Word::OutsideFailed, Some("the result is neither true, false nor an object with `allow`"))),
        ),
        (
            "answer := {\"allow\": \"yes\"}",
            Some((Word::OutsideFailed, Some("the result has no `allow` that is true or false"))),
        ),
        // Everything that a question holds is there.
        (
            "answer if {\n input.agent == \"bot\"\n input.purpose == \"refund-order\"\n input.task == \"task_0000000000007\"\n \
             input.chain[0].agent == \"boss\"\n input.tool == \"shop.refund\"\n input.connector == \"shop\"\n input.variants == []\n \
             input.class == \"write\"\n startswith(input.time, \"2026-01-05T12:00:00\")\n count(input.bundle) == 64\n}",
            None,
        ),
    ] {
        let reasons = judge(&rego(text), REFUND);
        let found = reasons.first().map(|reason| (reason.word, reason.about.get("because").map(String::as_str)));
        assert_eq!(found, expected, "{text}");
        assert!(reasons.iter().all(|reason| reason.source == "extra:r"), "{reasons:?}");
    }
}

#[test]
fn rego_is_bounded_by_counting() {
    let chain = |name: &str, from: &str, step: &str, n: usize| -> String {
        let lines = (0..n).map(|i| format!("{name}{} := {}\n", i + 1, step.replace("PREV", &format!("{name}{i}"))));
        format!("{name}0 := {from}\n{}", lines.collect::<String>())
    };
    let list = |name| chain(name, "[1]", "[PREV, PREV]", 40);
    for (what, text) in [
        ("loops", "n := [1,2,3,4,5,6,7,8,9,10]\nanswer if { some a in n; some b in n; some c in n; some d in n; some e in n; some f in n; a+b+c+d+e+f == 1000 }".to_owned()),
        ("sharing", format!("{}{}answer if x40 == y40", list("x"), list("y"))),
        ("sharing that is written out", format!("{}answer := x40", list("x"))),
        ("sharing that is printed", format!("{}answer := {{\"allow\": false, \"reason\": sprintf(\"%v\", [x40])}}", list("x"))),
        ("text", format!("{}answer if count(x40) > 0", chain("x", "\"aa\"", "concat(\"\", [PREV, PREV])", 40))),
        ("escapes", format!("{}answer if count(x60) > 0", chain("x", "\"\\\"\"", "json.marshal(PREV)", 60))),
        ("numbers", format!("{}answer if x40 > 0", chain("x", "1234567890123456789", "PREV * PREV", 40))),
        ("comprehensions", format!("{}answer if count(x40) > 0", chain("x", "[1]", "[PREV | some _ in [1, 2]]", 40))),
    ] {
        let reasons = judge(&rego(&text), REFUND);
        assert_eq!(reasons.iter().map(|reason| reason.word).collect::<Vec<_>>(), [Word::OutsideFailed], "{what}");
    }
    // What the agent sends is bounded too, and what is large and harmless is no harm.
    let large = format!("{{\"amount\":50,\"note\":\"{}\"}}", "x".repeat(100_000));
    let bundle = rego("answer if { count(input.arguments.note) == 100000; input.arguments.amount < 100 }");
    assert_eq!(words(&bundle, Asked { arguments: &large, ..REFUND }), []);
    let huge = format!("{{\"amount\":50,\"note\":\"{}\"}}", "x".repeat(300_000));
    assert_eq!(words(&bundle, Asked { arguments: &huge, ..REFUND }), [Word::OutsideFailed]);
    let many = format!("{{\"amount\":50,\"items\":[{}]}}", vec!["\"abc\""; 2_000].join(","));
    let bundle = rego("small(x) if count(x) < 10\nanswer if { every item in input.arguments.items { small(item) } }");
    assert_eq!(words(&bundle, Asked { arguments: &many, ..REFUND }), []);
}

#[test]
fn numbers_that_rego_would_round_are_refused() {
    let bundle = rego("answer if input.arguments.amount <= 100");
    for (amount, expected) in [
        ("100", None),
        ("99.99", None),
        ("100.00000000000000000001", Some(Word::OutsideFailed)),
        ("123456789012345678901234567890", Some(Word::OutsideFailed)),
        ("123456789012345678901", Some(Word::OutsideFailed)),
        ("100.01", Some(Word::OutsideRefuses)),
        ("1e-7", None),
    ] {
        let arguments = format!("{{\"amount\":{amount}}}");
        let found = words(&bundle, Asked { arguments: &arguments, ..REFUND });
        assert_eq!(found.first().copied(), expected, "{amount}");
    }
}

#[test]
fn long_whole_numbers_stay_whole() {
    let bundle = rego("answer if input.arguments.amount == 18446744073709551615");
    for (amount, expected) in [("18446744073709551615", None), ("18446744073709551614", Some(Word::OutsideRefuses))] {
        let arguments = format!("{{\"amount\":{amount}}}");
        assert_eq!(words(&bundle, Asked { arguments: &arguments, ..REFUND }).first().copied(), expected, "{amount}");
    }
}

#[test]
fn builtins_that_are_not_pure_or_not_bounded_are_errors() {
    for (call, name) in [
        ("rand.intn(\"a\", 5) > 0", "rand.intn"),
        ("count(numbers.range(1, 1000000000)) > 0", "numbers.range"),
        ("replace(\"aaaa\", \"\", \"bbbb\") == \"\"", "replace"),
        ("bits.lsh(1, 1000000000) > 0", "bits.lsh"),
        ("time.now_ns() > 0", "time.now_ns"),
        ("http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1/\"}).status_code == 200", "http.send"),
        ("uuid.rfc4122(\"a\") != \"\"", "uuid.rfc4122"),
        ("opa.runtime().env.HOME != \"\"", "opa.runtime"),
    ] {
        let text = format!("package p\nanswer if {call}\n");
        let found =
            bundle(&[("extra/r.toml", "kind = \"rego\"\nquery = \"data.p.answer\""), ("extra/r/p.rego", &text)]);
        let found = found.map(|_| ()).unwrap_err();
        assert!(found.iter().any(|message| message.contains(name)), "{call}: {found:?}");
        assert!(found.iter().all(|message| message.starts_with("extra/r/p.rego:2:")), "{call}: {found:?}");
    }
}

fn cedar(files: &[(&str, &str)]) -> Result<Arc<Bundle>, Vec<String>> {
    let files: Vec<(String, &str)> = files.iter().map(|(name, text)| (format!("extra/c/{name}"), *text)).collect();
    let toml = [("extra/c.toml", "kind = \"cedar\"")];
    let all: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).chain(toml).collect();
    bundle(&all)
}

#[test]
fn ordinary_cedar_denies_by_default() {
    use Word::{OutsideFailed, OutsideRefuses};
    let full =
        Asked { variants: &["full"], class: Class::Escalate, arguments: "{\"amount\":50,\"all\":true}", ..REFUND };
    for (text, asked, expected) in [
        ("permit (principal, action, resource);", REFUND, None),
        (
            "permit (principal == Agent::\"bot\", action == Action::\"shop.refund\", resource in Connector::\"shop\");",
            REFUND,
            None,
        ),
        ("permit (principal, action in Action::\"class:read\", resource);", REFUND, Some(OutsideRefuses)),
        ("permit (principal, action, resource) when { context.input.amount < 10 };", REFUND, Some(OutsideRefuses)),
        (
            "permit (principal, action, resource); forbid (principal, action, resource) when { context.input.amount > 10 };",
            REFUND,
            Some(OutsideRefuses),
        ),
        // A policy that cannot be evaluated is skipped by Cedar; here nothing is permitted beside it.
        (
            "permit (principal, action, resource); forbid (principal, action, resource) when { context.input.other > 10 };",
            REFUND,
            Some(OutsideFailed),
        ),
        // A call that fits a variant has to be allowed as both.
        ("permit (principal, action in Action::\"shop.refund\", resource);", full, None),
        ("permit (principal, action == Action::\"shop.refund\", resource);", full, Some(OutsideRefuses)),
        ("permit (principal, action == Action::\"shop.refund#full\", resource);", full, Some(OutsideRefuses)),
    ] {
        let bundle = cedar(&[("policy.cedar", text)]).unwrap();
        assert_eq!(words(&bundle, asked).first().copied(), expected, "{text}");
    }
    let told = cedar(&[("p.cedar", "@reason(\"Not on Mondays\")\nforbid (principal, action, resource);")]).unwrap();
    assert_eq!(judge(&told, REFUND)[0].about["because"], "Not on Mondays");
}

#[test]
fn cedar_with_entities_and_a_schema() {
    let entities = "[{\"uid\":{\"type\":\"Agent\",\"id\":\"bot\"},\"attrs\":{},\"parents\":[{\"type\":\"Team\",\"id\":\"pay\"}]},\
                    {\"uid\":{\"type\":\"Team\",\"id\":\"pay\"},\"attrs\":{},\"parents\":[]}]";
    let policy = "permit (principal in Team::\"pay\", action == Action::\"shop.refund\", resource);";
    let schema = "entity Team; entity Agent in [Team]; entity Tool;\n\
                  action \"shop.refund\" appliesTo { principal: [Agent], resource: [Tool], context: {} };";
    let files = [("policy.cedar", policy), ("entities.json", entities), ("schema.cedarschema", schema)];
    assert_eq!(words(&cedar(&files).unwrap(), REFUND), []);
    assert_eq!(words(&cedar(&files[..1]).unwrap(), REFUND), [Word::OutsideRefuses]);
    let wrong = [("policy.cedar", "permit (principal in Teem::\"pay\", action, resource);"), files[2]];
    let found = cedar(&wrong).map(|_| ()).unwrap_err();
    let named = |message: &String| message.starts_with("extra/c/policy.cedar: ") && message.contains("Teem");
    assert!(found.iter().any(named), "{found:?}");
    // What calls would also have in Cedar's world refuses; nothing of ours is replaced.
    let mine = "[{\"uid\":{\"type\":\"Tool\",\"id\":\"shop.refund\"},\"attrs\":{},\"parents\":[{\"type\":\"Team\",\"id\":\"pay\"}]}]";
    let bundle = cedar(&[("policy.cedar", "permit (principal, action, resource);"), ("entities.json", mine)]).unwrap();
    assert_eq!(words(&bundle, REFUND), [Word::OutsideFailed]);
}

#[test]
fn a_point_is_asked_about_what_it_covers() {
    for (uses, asked, expected) in [
        ("\"shop.refund\"", REFUND, 1),
        ("\"shop.look\"", REFUND, 0),
        ("\"shop.refund#full\"", REFUND, 0),
        ("\"shop.refund#full\"", Asked { variants: &["full"], ..REFUND }, 1),
        ("\"shop.refund\"", Asked { variants: &["full"], ..REFUND }, 1),
        ("\"class:write\"", REFUND, 1),
        ("\"class:read\"", REFUND, 0),
        ("\"connector:shop\"", REFUND, 1),
        ("\"class:read\", \"connector:shop\"", REFUND, 1),
    ] {
        let toml = format!("kind = \"rego\"\nquery = \"data.p.answer\"\nuse = [{uses}]");
        let files = [("extra/r.toml", toml.as_str()), ("extra/r/p.rego", "package p\nanswer := false")];
        assert_eq!(judge(&bundle(&files).unwrap(), asked).len(), expected, "{uses}");
    }
}

#[test]
fn a_point_never_adds_authority() {
    // Rules and points compose by union; a point that permits takes nothing away from a rule.
    let rule = ("rules/r.cedar", "forbid (principal, action, resource);");
    let permits = [
        ("extra/r.toml", "kind = \"rego\"\nquery = \"data.p.answer\""),
        ("extra/r/p.rego", "package p\nanswer := true"),
        rule,
    ];
    assert_eq!(words(&bundle(&permits).unwrap(), REFUND), [Word::RuleForbids]);
    let refuses = [permits[0], ("extra/r/p.rego", "package p\nanswer := false"), rule];
    assert_eq!(words(&bundle(&refuses).unwrap(), REFUND), [Word::RuleForbids, Word::OutsideRefuses]);
}

#[test]
fn data_stands_beside_the_policy() {
    let toml = ("extra/r.toml", "kind = \"rego\"\nquery = \"data.p.answer\"");
    let policy = ("extra/r/p.rego", "package p\nanswer if input.arguments.amount <= data.limits[input.agent]");
    let data = ("extra/r/limits.json", "{\"limits\":{\"bot\":50}}");
    assert_eq!(words(&bundle(&[toml, policy, data]).unwrap(), REFUND), []);
    assert_eq!(words(&bundle(&[toml, policy]).unwrap(), REFUND), [Word::OutsideRefuses]);
    for (text, expected) in [
        ("{\"limits\":{\"bot\":50,\"bot\":500}}", "extra/r/limits.json: "),
        (
            "{\"limits\":{\"bot\":0.1000000000000000000001}}",
            "extra/r/limits.json: a number in it is one that Rego would round",
        ),
        ("[1]", "extra/r/limits.json: expected an object"),
    ] {
        let found = bundle(&[toml, policy, ("extra/r/limits.json", text)]).map(|_| ()).unwrap_err();
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    }
    let twice =
        bundle(&[toml, policy, data, ("extra/r/more.json", "{\"limits\":{\"bot\":500}}")]).map(|_| ()).unwrap_err();
    assert!(twice[0].starts_with("extra/r/more.json: "), "{twice:?}");
}

#[test]
fn digests_name_nothing_and_bind_everything() {
    let digest = |task: u64, name: &str, value: &str| {
        portreeve_core::outside::argument_digest(TaskId(task), name, &value.parse().unwrap())
    };
    let all: BTreeMap<_, _> = [digest(7, "a", "1"), digest(8, "a", "1"), digest(7, "b", "1"), digest(7, "a", "\"1\"")]
        .into_iter()
        .map(|digest| (digest, ()))
        .collect();
    assert_eq!(all.len(), 4);
    assert_eq!(digest(7, "a", "1.0"), digest(7, "a", "1"));
}
