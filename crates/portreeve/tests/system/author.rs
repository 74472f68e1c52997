//! The tools of those who write policy, on directories and on the record.

use crate::support::{place::Place, upstream::Upstream};
use serde_json::Value;
use std::{fs, path::Path};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn the_record_is_judged_once_more() {
    let upstream = Upstream::http(&["act"], |_, _| false);
    let place = Place::with(&[("shop", &upstream)], "", "");
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    assert_eq!(task.word("shop", "act", "a"), "ok");
    assert_eq!(task.word("shop", "act", "b"), "ok");
    serve.calls_settled(&task);

    let ran = place.run(&["policy", "replay", "--from-log", "--write", "traces.jsonl"]).good();
    assert!(ran.out.contains("2 calls in 1 tasks; 2 judged once more, as the record says"), "{ran:?}");

    let narrow = place.path().join("narrow");
    copy(&place.path().join("policy"), &narrow);
    let purpose = place.read("narrow/purposes/work.toml");
    place.write("narrow/purposes/work.toml", &purpose.replace("value = { any = true }", "value = \"a\""));
    let ran = place.run(&["policy", "replay", "--from-log", "--against", "narrow"]).good();
    assert!(ran.out.contains("1 tasks open, 1 calls are permitted"), "{ran:?}");
    assert!(ran.out.contains("1x shop.act would be refused") && ran.out.contains("argument_outside_task"), "{ran:?}");

    // What was written down is judged alike.
    let ran = place.run(&["policy", "replay", "--traces", "traces.jsonl"]).good();
    assert!(ran.out.contains("1 tasks: 2 calls permitted, 0 asked about, 0 refused"), "{ran:?}");
    let ran = place.run(&["policy", "replay", "--traces", "traces.jsonl", "--against", "narrow"]).good();
    assert!(ran.out.contains("1 calls permitted, 0 asked about, 1 refused (argument_outside_task 1x)"), "{ran:?}");

    let ran = place.run(&["policy", "diff", "policy", "narrow", "--from-log", "--traces", "traces.jsonl"]).good();
    assert!(ran.out.contains("all in all: narrower"), "{ran:?}");
    assert!(ran.out.contains("2 traced calls, 1 judged otherwise") && ran.out.contains("permit -> deny"), "{ran:?}");
    // A version of the record goes by its digest.
    let digest = place.json(&["status"])["bundle"].as_str().unwrap().to_owned();
    let ran = place.run(&["policy", "diff", &digest, "policy"]).good();
    assert!(ran.out.contains("all in all: same"), "{ran:?}");

    // A recorded call is explained with the policy that it was judged with, and with the directory.
    let tail = place.run(&["--json", "audit", "tail", "-n", "100"]).good();
    let effects: Vec<String> = tail
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["record"]["event"]["admitted"]["what"]["call"].is_object())
        .map(|line| line["record"]["event"]["admitted"]["effect"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(effects.len(), 2, "{tail:?}");
    let ran = place.run(&["policy", "explain", &effects[1], "narrow"]).good();
    assert!(
        ran.out.contains("PERMITTED") && ran.out.contains("REFUSED") && ran.out.contains("wanted: \"a\""),
        "{ran:?}"
    );
    let ran = place.run(&["policy", "explain", &task.id, "narrow"]).good();
    assert_eq!(ran.out.matches("with the policy that the record names").count(), 2, "{ran:?}");
    let ran = place.run(&["policy", "explain", "fx_0000000000000"]);
    assert!(ran.code == 3 && ran.err.contains("not_found"), "{ran:?}");
}

const SHOP: [(&str, &str); 3] = [
    ("p/agents/bot.toml", "owner = \"a@example.com\"\n"),
    (
        "p/connectors/shop.toml",
        "command = [\"s\"]\n[tools.look]\nclass = \"read\"\narguments = { id = \"selector\" }\n[tools.act]\nclass = \"write\"\n",
    ),
    (
        "p/purposes/x.toml",
        "about = \"Look\"\nowner = \"a@example.com\"\nopen = { agents = [\"bot\"], users = \"none\" }\n\
         task = { expires_after = \"1h\", standing = [\"read\", \"write\"] }\nparameters = { id = { type = \"string\" } }\n\
         [[allow]]\nname = \"look\"\nuse = [\"shop.look\"]\nwhere = { id = \"{id}\" }\n\
         [[allow]]\nname = \"act\"\nafter = \"look\"\nuse = [\"shop.act\"]\n\
         [[case]]\nname = \"may look\"\ngiven = { id = \"1\" }\ncall = { tool = \"shop.look\", args = { id = \"1\" } }\nexpect = \"permit\"\n",
    ),
];

/// Everything about a directory alone: no data folder, nobody who serves
#[test]
fn a_directory_is_enough() {
    let place = Place::bare();
    for (path, text) in SHOP {
        place.write(path, text);
    }
    let ran = place.run(&["policy", "test", "p"]).good();
    assert!(ran.out.contains("ok    x/may look  shop.look id=\"1\"  ->  permit"), "{ran:?}");
    assert!(ran.out.contains("purposes/x.toml:11:8: no case is permitted by the entry `x/act`"), "{ran:?}");
    assert!(ran.out.contains("ok: 1 cases, 0 failed; tried: 1 of 2 entries"), "{ran:?}");
    let ran = place.run(&["policy", "test", "p", "--coverage-required"]);
    assert!(ran.code == 6 && ran.out.contains("not ok"), "{ran:?}");
    assert_eq!(place.json(&["policy", "test", "p"])["coverage"]["gaps"][0]["line"], 11);

    let ran = place.run(&["policy", "explain", "shop.look", "id=2", "p", "--param", "id=1"]).good();
    assert!(ran.out.contains("REFUSED  shop.look id=2") && ran.out.contains("NO  id  2  wanted: \"1\""), "{ran:?}");
    let call = r#"{"tool":"shop.act","purpose":"x","parameters":{"id":"1"}}"#;
    assert!(place.run(&["policy", "explain", call, "p"]).good().out.contains("`look` has not succeeded"));
    let ran = place.run(&["policy", "explain", call, "p", "--done", "look"]).good();
    assert!(ran.out.starts_with("PERMITTED"), "{ran:?}");
    let ran = place.run(&["policy", "explain", call, "p", "--done", "lok"]);
    assert!(ran.code == 2 && ran.err.contains("x has no step `lok`"), "{ran:?}");
    let ran = place.run(&["policy", "explain", "shop.act", "p", "--user", "kim"]).good();
    assert!(ran.out.contains("user_unknown") && ran.out.contains("cannot be opened"), "{ran:?}");
    place.write("bad.jsonl", "{\"purpose\":\"x\"}\n");
    let ran = place.run(&["policy", "replay", "--traces", "bad.jsonl", "--against", "p"]);
    assert!(ran.code == 2 && ran.err.contains("line 1") && ran.err.contains("calls"), "{ran:?}");

    // A case that fails: `test` says which, `check` that there is one.
    let (path, text) = SHOP[2];
    place.write(path, &text.replace("expect = \"permit\"", "expect = [\"class_not_open\"]"));
    let ran = place.run(&["policy", "test", "p"]);
    assert!(ran.code == 6 && ran.out.contains("FAIL  x/may look") && ran.out.contains("gives a permit"), "{ran:?}");
    let ran = place.run(&["policy", "check", "p"]);
    assert!(ran.code == 6 && ran.out.contains("1 cases fail: see `portreeve policy test`"), "{ran:?}");
}
