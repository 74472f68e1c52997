use super::*;
use crate::{Files, compile};

fn loaded() -> Loaded {
    let files: Files = [
        ("agents/bot.toml", "owner = \"a@example.com\"\n"),
        ("users/kim.toml", "accounts = [\"kim\"]\n"),
        (
            "connectors/shop.toml",
            "command = [\"s\"]\n[tools.look]\nclass = \"read\"\n[tools.refund]\nclass = \"write\"\n",
        ),
        (
            "purposes/x.toml",
            "about = \"Look\"\nowner = \"a@example.com\"\nreview_by = 2026-01-01\n\
             open = { agents = [\"bot\"], users = [\"kim\"] }\n\
             task = { expires_after = \"1h\", standing = [\"read\", \"write\"] }\n\
             [[allow]]\nname = \"look\"\nuse = [\"shop.look\"]\n\
             [[allow]]\nname = \"refund\"\nafter = \"look\"\ntimes = 1\nuse = [\"shop.refund\"]\n\
             where = { id = { from = \"look.items[*].id\" } }\n",
        ),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into_iter()
    .collect();
    compile(&files).unwrap()
}

fn verdicts(line: &str) -> String {
    let trace = traces(line).unwrap().remove(0);
    let followed = trace.follow(&loaded());
    let said = |step: &Step| {
        let words: Vec<&str> = step.reasons.iter().map(|reason| reason.word.as_str()).collect();
        format!("{} {}", step.verdict, words.join(" ")).trim().to_owned()
    };
    followed.calls.iter().map(said).collect::<Vec<_>>().join("; ")
}

#[test]
fn what_one_call_returned_is_there_for_the_next() {
    let returned = r#"{"purpose":"x","calls":[
        {"tool":"shop.refund","arguments":{"id":"a"}},
        {"tool":"shop.look","returned":{"look.items[*].id":["a"]}},
        {"tool":"shop.refund","arguments":{"id":"b"}},
        {"tool":"shop.refund","arguments":{"id":"a"}},
        {"tool":"shop.refund","arguments":{"id":"a"}}]}"#
        .replace('\n', "");
    assert_eq!(
        verdicts(&returned),
        "deny argument_outside_task; permit; deny argument_outside_task; permit; deny count_spent"
    );
    let failed = returned.replace(r#""shop.look","#, r#""shop.look","ok":false,"#);
    assert!(
        verdicts(&failed)
            .ends_with("permit; deny argument_outside_task; deny argument_outside_task; deny argument_outside_task")
    );
}

#[test]
fn who_works_and_when_counts() {
    assert_eq!(verdicts(r#"{"purpose":"x","calls":[{"tool":"shop.look"}]}"#), "permit");
    assert_eq!(verdicts(r#"{"purpose":"x","user":null,"calls":[{"tool":"shop.look"}]}"#), "deny purpose_not_open");
    let overdue = r#"{"purpose":"x","time":"2026-01-02T00:00:00Z","calls":[{"tool":"shop.look"}]}"#;
    assert_eq!(verdicts(overdue), "deny purpose_overdue");
    assert_eq!(verdicts(r#"{"purpose":"nope","calls":[{"tool":"shop.look"}]}"#), "deny purpose_unknown");
    assert_eq!(
        verdicts(r#"{"purpose":"x","calls":[{"tool":"mail.look"}]}"#),
        "deny connector_stopped tool_outside_purpose"
    );
}

#[test]
fn are_written_as_they_are_read() {
    for line in [
        r#"{"purpose":"x","calls":[]}"#,
        r#"{"purpose":"x","agent":"bot","user":null,"time":"2026-01-05T12:00:00Z","parameters":{"n":100.10},"calls":[{"tool":"a.b","arguments":{"x":[1]},"ok":false,"bytes":3,"returned":{"look.id":["y"]}}]}"#,
    ] {
        let read = traces(line).unwrap();
        let written = serde_json::to_string(&read[0]).unwrap();
        assert_eq!(traces(&written).unwrap(), read);
    }
}

#[test]
fn a_line_that_is_none_is_named() {
    for (text, why) in [
        ("\n{\"purpose\":\"x\",\"calls\":[]}\n{", "line 3: "),
        ("{\"purpose\":\"x\",\"calls\":[],\"oops\":1}", "line 1: unknown field `oops`"),
        ("{\"purpose\":\"x\",\"purpose\":\"y\",\"calls\":[]}", "line 1: "),
        ("{\"purpose\":\"x\",\"time\":\"noon\",\"calls\":[]}", "line 1: `time` is no point in time"),
        ("{\"calls\":[]}", "line 1: missing field `purpose`"),
    ] {
        let error = traces(text).unwrap_err().to_string();
        assert!(error.starts_with(why), "{error}");
    }
}
