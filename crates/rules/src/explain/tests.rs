//! One file for each explanation: the policy's name, the call, then the text. `UPDATE=1` writes what is said now.

use super::*;
use crate::{Files, For, NOON, Opening, Places, Stage, compile};
use portreeve_core::{names::Name, value::Value};
use std::{fs, path::Path};

const POLICY: [(&str, &str); 5] = [
    ("agents/support-bot.toml", "owner = \"support@example.com\"\n"),
    (
        "users/alice.toml",
        "accounts = [\"alice\"]\ngroups = [\"support-l2\", \"payments-leads\"]\n[attributes]\nrefund_limit = 150.5\n",
    ),
    (
        "connectors/shop.toml",
        "command = [\"shop-server\"]\n\
         [tools.get_order]\nclass = \"read\"\narguments = { id = \"selector\", page = \"paging\" }\n\
         [tools.refund]\nclass = \"write\"\narguments = { id = \"selector\", note = \"content\", amount = \"quantity\" }\n\
         [[tools.refund.variants]]\nname = \"large\"\nclass = \"escalate\"\nwhere = { amount = { at_least = 1000 } }\n",
    ),
    (
        "rules/night.cedar",
        "@id(\"not-at-night\")\n@reason(\"Refunds are for office hours.\")\n\
         forbid (principal, action == Action::\"shop.refund\", resource) when { context.time.hour < 6 };\n\
         @id(\"leads-see-large\")\n@ask(\"payments-leads\")\n\
         forbid (principal, action == Action::\"shop.refund\", resource)\n\
         when { context.input has note && context.input.note == \"goodwill\" };\n",
    ),
    (
        "purposes/refund-order.toml",
        "about = \"Check one order and refund it\"\nowner = \"payments@example.com\"\n\
         [open]\nagents = [\"support-bot\"]\nusers = { group = \"support-l2\" }\n\
         [task]\nexpires_after = \"15m\"\nstanding = [\"read\", \"write\"]\ncalls = 40\non_hold = \"ask\"\n\
         [parameters]\norder = { type = \"string\" }\nlimit = { type = \"decimal\", max = 200, default = 100.10 }\n\
         [[allow]]\nname = \"look\"\nuse = [\"shop.get_order\"]\nwhere = { id = \"{order}\" }\n\
         [[allow]]\nname = \"refund\"\nafter = \"look\"\nuse = [\"shop.refund\"]\ntimes = 1\n\
         where = { id = \"{order}\", amount = { at_most = \"{limit}\" } }\n\
         ask = { who = \"payments-leads\", when = { amount = { at_least = 50 } } }\n",
    ),
];

struct Told {
    name: &'static str,
    call: &'static str,
    arguments: &'static str,
    done: &'static [&'static str],
    hour: i64,
}

const TOLD: [Told; 7] = [
    Told { name: "permit", call: "shop.get_order", arguments: r#"{"id":"ord_1","page":2}"#, done: &[], hour: 12 },
    Told {
        name: "outside",
        call: "shop.refund",
        arguments: r#"{"id":"ord_2","amount":500}"#,
        done: &["look"],
        hour: 12,
    },
    Told { name: "order", call: "shop.refund", arguments: r#"{"id":"ord_1","amount":5}"#, done: &[], hour: 12 },
    Told {
        name: "ask",
        call: "shop.refund",
        arguments: r#"{"id":"ord_1","amount":60,"note":"goodwill"}"#,
        done: &["look"],
        hour: 12,
    },
    Told { name: "rule", call: "shop.refund", arguments: r#"{"id":"ord_1","amount":5}"#, done: &["look"], hour: 3 },
    Told {
        name: "unclear",
        call: "shop.refund",
        arguments: r#"{"id":"ord_1","amount":"5"}"#,
        done: &["look"],
        hour: 12,
    },
    Told {
        name: "variant",
        call: "shop.refund",
        arguments: r#"{"id":"ord_1","amount":5000,"force":true}"#,
        done: &["look"],
        hour: 12,
    },
];

fn explain(told: &Told) -> Explanation {
    let files: Files = POLICY.map(|(path, text)| (path.to_owned(), text.to_owned())).into_iter().collect();
    let loaded = compile(&files).unwrap_or_else(|findings| panic!("{findings:?}"));
    let mut stage = Stage::new(&loaded, NOON.plus((told.hour - 12) * 3_600_000));
    let opening = Opening {
        purpose: "refund-order".parse().unwrap(),
        agent: None,
        user: For::Anybody,
        parameters: BTreeMap::from([("order".parse::<Name>().unwrap(), Value::String("ord_1".to_owned()))]),
    };
    stage.open(&opening, &[]).unwrap();
    for step in told.done {
        stage.succeed(&step.parse().unwrap(), &BTreeMap::new());
    }
    let Value::Object(arguments) = told.arguments.parse().unwrap() else { panic!("no object") };
    let call = stage.call(&told.call.parse().unwrap(), &arguments);
    let places = BTreeMap::from([(loaded.bundle.digest, Places::of(&files))]);
    Explanation::of(Position {
        state: stage.state(),
        shelf: stage.shelf(),
        call: &call,
        clock: stage.clock(),
        places: &places,
    })
}

#[test]
fn read_as_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain");
    let mut wrong = Vec::new();
    for told in &TOLD {
        let text = explain(told).to_string();
        let path = dir.join(format!("{}.txt", told.name));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(path, text).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != text {
            wrong.push(format!("--- {}\n{text}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_stands_in_the_way_is_marked() {
    for told in &TOLD {
        let explanation = explain(told);
        let stands = |line: &Line| matches!(line.mark, Mark::No | Mark::Unclear | Mark::Ask);
        let marked = explanation.layers.iter().flat_map(|layer| &layer.lines).any(stands);
        assert_eq!(marked, explanation.verdict != Verdict::Permit, "{explanation}");
        assert_eq!(explanation.changes.is_empty(), explanation.verdict == Verdict::Permit, "{explanation}");
    }
}

#[test]
fn the_grants_that_let_a_call_through_are_named() {
    let purpose = "about = \"a\"\nowner = \"o\"\n[open]\nagents = [\"support-bot\"]\nusers = \"none\"\n\
         [task]\nexpires_after = \"15m\"\nstanding = [\"read\"]\n\
         [elevate]\nwrite = { tools = [\"shop.refund\"], times = 1, within = \"5m\" }\n\
         [[allow]]\nname = \"refund\"\nuse = [\"shop.refund\"]\nwhere = { id = \"a\" }\nask = { who = \"payments-leads\" }\n";
    let mut files = POLICY.map(|(path, text)| (path.to_owned(), text.to_owned()));
    files[4].1 = purpose.to_owned();
    let files: Files = files.into_iter().collect();
    let loaded = compile(&files).unwrap_or_else(|findings| panic!("{findings:?}"));
    let mut stage = Stage::new(&loaded, NOON);
    stage.people(&["alice".parse().unwrap()]);
    let opening = Opening {
        purpose: "refund-order".parse().unwrap(),
        agent: None,
        user: For::Nobody,
        parameters: BTreeMap::new(),
    };
    stage.open(&opening, &[]).unwrap();
    let told = |stage: &Stage<'_>, call: &Call| {
        let places = BTreeMap::new();
        let (state, shelf, clock) = (stage.state(), stage.shelf(), stage.clock());
        Explanation::of(Position { state, shelf, call, clock, places: &places }).to_string()
    };
    let call = stage
        .call(&"shop.refund".parse().unwrap(), &BTreeMap::from([("id".to_owned(), Value::String("a".to_owned()))]));
    let closed = told(&stage, &call);
    assert!(closed.contains("asking opens shop.refund without a person, once"), "{closed}");
    let opens =
        crate::Opens { uses: vec!["shop.refund".parse().unwrap()], values: BTreeMap::new(), times: 1, lasts_ms: 1_000 };
    stage.elevate(&opens).unwrap();
    assert!(told(&stage, &call).starts_with("ASKS PEOPLE"));
    assert_eq!(stage.agreed(&call).verdict(), Verdict::Permit);
    let text = told(&stage, &call);
    assert!(text.contains("elevated  by grant_"), "{text}");
    for word in ["class_not_open", "approval_needed"] {
        let line = text.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{word}: {text}"));
        assert!(line.starts_with("  lifted by the grant grant_"), "{line}");
    }
}
