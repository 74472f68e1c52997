//! Methods beside calls of tools: what of them a run is shown, and how questions of a server are judged.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use portreeve_core::{
    hash::Hash,
    judge::{self, Judged, judge_call, judge_question},
    names::RunId,
    operation::Operation,
    reason::Word,
    request::{Call, Fit},
    value::Value,
};
use portreeve_rules::{Loaded, NOON, Opening, Stage, compile, operation};
use std::collections::{BTreeMap, BTreeSet};

const POLICY: &[(&str, &str)] = &[
    ("agents/bot.toml", "owner = \"a@example.com\"\n"),
    (
        "connectors/files.toml",
        "command = [\"files-server\"]\n[tools.read]\nclass = \"read\"\n\
         [[tools.\"resources/read\".variants]]\nname = \"secret\"\nclass = \"escalate\"\n\
         where = { uri = { prefix = \"file:///srv/secret/\" } }\n",
    ),
    ("connectors/other.toml", "command = [\"other-server\"]\n[tools.read]\nclass = \"read\"\n"),
    (
        "purposes/look.toml",
        "about = \"Look\"\nowner = \"a@example.com\"\n\
         [open]\nagents = [\"bot\"]\nusers = \"none\"\n\
         [task]\nexpires_after = \"15m\"\nstanding = [\"read\", \"write\"]\n\
         [parameters]\nroot = { type = \"string\" }\n\
         [[allow]]\nname = \"resources\"\nuse = [\"files.resources/read\", \"files.resources/subscribe\"]\n\
         where = { uri = { prefix = \"{root}\" } }\ntimes = 1\n\
         [[allow]]\nname = \"prompt\"\nuse = [\"files.prompts/get\"]\n\
         where = { name = { in = [\"review\", \"explain\"] }, arguments = { any = true } }\n\
         [[allow]]\nname = \"form\"\nuse = [\"files.elicitation/create\"]\n\
         where = { \"answer.action\" = \"decline\", mode = { in = [\"form\"] } }\n\
         [[allow]]\nname = \"elsewhere\"\nuse = [\"other.resources/read\"]\nwhere = { uri = { any = true } }\n",
    ),
    ("rules/all.cedar", "forbid (principal, action == Action::\"files.resources/subscribe\", resource);\n"),
];

fn policy() -> Loaded {
    let files = POLICY.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    compile(&files.collect()).unwrap()
}

/// A task under the purpose, with the connector `files` accepted
fn at_work(loaded: &Loaded) -> Stage<'_> {
    let mut stage = Stage::new(loaded, NOON);
    let root = Value::String("file:///srv/".to_owned());
    let opening = Opening {
        purpose: "look".parse().unwrap(),
        agent: None,
        user: portreeve_rules::For::Anybody,
        parameters: BTreeMap::from([("root".parse().unwrap(), root)]),
    };
    stage.open(&opening, &[]).unwrap();
    stage.call(&"files.prompts/get".parse().unwrap(), &BTreeMap::new());
    stage
}

fn object(json: &str) -> BTreeMap<String, Value> {
    json.parse::<Value>().unwrap().as_object().unwrap().clone()
}

#[test]
fn operations_are_listed_where_the_purpose_names_them_and_no_rule_hides_them() {
    let loaded = policy();
    let stage = at_work(&loaded);
    let listed = |connector: &str| {
        judge::listed(stage.state(), stage.shelf(), RunId(1), &connector.parse().unwrap(), stage.clock()).unwrap()
    };
    let here = listed("files");
    assert!(here.tools.is_empty());
    assert_eq!(here.operations, BTreeSet::from([Operation::ReadResource, Operation::GetPrompt, Operation::Elicit]));
    // Nothing of it was ever accepted.
    assert_eq!(listed("other"), judge::Listed::default());
}

#[test]
fn what_is_known_of_the_arguments_says_what_is_shown() {
    let loaded = policy();
    let stage = at_work(&loaded);
    let visible = |tool: &str, candidates: &[&str]| {
        let candidates: Vec<_> = candidates.iter().map(|json| object(json)).collect();
        judge::visible(stage.state(), stage.shelf(), RunId(1), &tool.parse().unwrap(), &candidates, stage.clock())
            .unwrap()
    };
    let uris = [
        r#"{"uri":"file:///srv/a"}"#,
        r#"{"uri":"file:///etc/a"}"#,
        // The purpose does not name the stricter variant.
        r#"{"uri":"file:///srv/secret/a"}"#,
        "{}",
        r#"{"uri":"file:///srv/a","more":1}"#,
    ];
    assert_eq!(visible("files.resources/read", &uris), [true, false, false, true, false]);
    assert_eq!(visible("files.prompts/get", &[r#"{"name":"review"}"#, r#"{"name":"delete"}"#]), [true, false]);
    assert_eq!(visible("files.resources/subscribe", &uris), [false; 5], "a rule hides it");
    assert_eq!(visible("files.completion/complete", &["{}"]), [false], "the purpose does not name it");
    assert_eq!(visible("other.resources/read", &["{}"]), [false], "nobody accepted the server");
}

#[test]
fn what_is_visible_is_what_could_be_let_through() {
    let loaded = policy();
    let mut stage = at_work(&loaded);
    for uri in ["file:///srv/a", "file:///srv/secret/a", "file:///etc/a", "file:///srv/../etc/a", "x"] {
        let (tool, arguments) = ("files.resources/read".parse().unwrap(), object(&format!(r#"{{"uri":"{uri}"}}"#)));
        let call = stage.call(&tool, &arguments);
        let permitted = stage.judge(&call).reasons.is_empty();
        let shown = judge::visible(stage.state(), stage.shelf(), RunId(1), &tool, &[arguments], stage.clock()).unwrap();
        assert_eq!(shown, [permitted], "{uri}");
    }
}

#[test]
fn a_question_is_judged_without_its_answer_and_the_answer_when_it_is_there() {
    let loaded = policy();
    let mut stage = at_work(&loaded);
    let tool = "files.elicitation/create".parse().unwrap();
    let mut asked = |json: &str| stage.call(&tool, &object(json));
    let [question, other, declined, accepted] = [
        r#"{"mode":"form","message":"Name?"}"#,
        r#"{"mode":"url","message":"Go"}"#,
        r#"{"mode":"form","message":"Name?","answer":{"action":"decline"}}"#,
        r#"{"mode":"form","message":"Name?","answer":{"action":"accept"}}"#,
    ]
    .map(&mut asked);
    let judged = |call: &Call, admits: bool| {
        let judge = if admits { judge_call } else { judge_question };
        match judge(stage.state(), stage.shelf(), call, stage.clock()) {
            Ok(Judged::Admit(_)) => Vec::new(),
            Ok(Judged::Consult(_)) => vec![Word::OutsideSilent],
            Ok(other) => panic!("{other:?}"),
            Err(reasons) => reasons.iter().map(|reason| reason.word).collect(),
        }
    };
    assert_eq!(judged(&question, false), []);
    // An admission never looks past what is missing.
    assert_eq!(judged(&question, true), [Word::ArgumentOutsideTask]);
    assert_eq!(judged(&other, false), [Word::ArgumentOutsideTask]);
    for admits in [false, true] {
        assert_eq!(judged(&declined, admits), []);
        assert_eq!(judged(&accepted, admits), [Word::ArgumentOutsideTask]);
    }
}

#[test]
fn an_operation_is_held_against_what_defines_it() {
    let loaded = policy();
    let mut stage = at_work(&loaded);
    let call = stage.call(&"files.resources/read".parse().unwrap(), &object(r#"{"uri":"file:///srv/a"}"#));
    assert_eq!(call.fit.pin, operation::definition(Operation::ReadResource).digest);
    assert!(stage.judge(&call).reasons.is_empty());
    let unfit = Call { fit: Fit { pin: Hash::default(), error: None }, ..call.clone() };
    assert_eq!(
        stage.judge(&unfit).reasons.iter().map(|reason| reason.word).collect::<Vec<_>>(),
        [Word::ArgumentsInvalid]
    );
    let elsewhere = Call { tool: "other.resources/read".parse().unwrap(), ..call };
    let words: Vec<Word> = stage.judge(&elsewhere).reasons.iter().map(|reason| reason.word).collect();
    assert_eq!(words, [Word::ToolOutsidePurpose], "nothing of this connector was ever accepted");
}
