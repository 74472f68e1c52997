use super::*;
use serde_json::{Value as Json, json};

const NAME: &str = "ptr_9f0c21d4_00000000075bcd15";

fn ledger() -> (tempfile::TempDir, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::at(&folder.path().join(LEDGER));
    (folder, ledger)
}

fn ask(ledger: &Ledger, question: &Json) -> Json {
    answer(ledger, question.to_string().as_bytes()).unwrap()
}

fn issue(ledger: &Ledger, class: &str, order: &str, until: i64) -> String {
    let question = json!({
        "v": 1, "do": "issue", "name": NAME, "class": class, "scope": { "order": order }, "until": until,
        "task": "task_1",
    });
    ask(ledger, &question)["issued"]["fields"]["key"].as_str().unwrap().to_owned()
}

#[test]
fn a_key_is_for_its_class_and_its_order() {
    let (_folder, ledger) = ledger();
    for (class, order, can) in [
        ("read", "ord_1", [true, false, false, false, false]),
        ("write", "ord_1", [true, true, false, false, false]),
        ("escalate", "all", [true, false, true, true, false]),
        ("escalate", "ord_1", [true, false, false, false, false]),
    ] {
        let pass = ledger.pass(Some(&issue(&ledger, class, order, i64::MAX))).unwrap();
        let tried = [
            (Deed::Look, Some("ord_1")),
            (Deed::Change, Some("ord_1")),
            (Deed::Look, Some("ord_2")),
            (Deed::Export, None),
            (Deed::Change, Some("ord_2")),
        ];
        assert_eq!(tried.map(|(deed, order)| pass.may(deed, order).is_ok()), can, "{class} {order}");
    }
}

#[test]
fn a_key_is_good_until_it_is_taken_out_or_its_time_has_passed() {
    let (_folder, ledger) = ledger();
    let sweep = json!({ "v": 1, "do": "sweep", "prefix": "ptr_9f0c21d4_" });
    assert_eq!(ask(&ledger, &json!({ "v": 1, "do": "check" })), json!({ "ok": {} }));
    assert_eq!(ask(&ledger, &sweep), json!({ "names": [] }));
    let passed = issue(&ledger, "read", "ord_1", 1);
    assert!(ledger.pass(Some(&passed)).is_err());
    let key = issue(&ledger, "read", "ord_1", i64::MAX);
    assert!(ledger.pass(Some(&key)).is_ok());
    for wrong in [None, Some(""), Some(NAME), Some("ptr_9f0c21d4_00000000075bcd15."), Some("../x."), Some(&*passed)] {
        assert!(ledger.pass(wrong).is_err(), "{wrong:?}");
    }
    assert_eq!(ask(&ledger, &sweep), json!({ "names": [NAME] }));
    assert_eq!(ask(&ledger, &json!({ "v": 1, "do": "sweep", "prefix": "ptr_other" })), json!({ "names": [] }));
    assert_eq!((ledger.of_task("task_1").unwrap(), ledger.of_task("task_2").unwrap()), (vec![Class::Read], vec![]));
    let kept = fs::read_to_string(ledger.file(NAME).unwrap()).unwrap();
    assert!(!kept.contains(key.split_once('.').unwrap().1), "whoever reads the ledger has no key: {kept}");
    for _ in 0..2 {
        let done = ask(&ledger, &json!({ "v": 1, "do": "withdraw", "name": NAME, "handle": null, "keep": null }));
        assert!(done["withdrawn"]["evidence"]["absent"].is_object(), "{done}");
        assert!(ledger.pass(Some(&key)).is_err());
        assert!(ledger.of_task("task_1").unwrap().is_empty());
    }
    for odd in [&b"{}"[..], br#"{"do":"withdraw","name":"../x"}"#, br#"{"do":"dance"}"#] {
        assert!(answer(&ledger, odd).is_err());
    }
}
