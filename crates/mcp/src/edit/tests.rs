use super::*;
use crate::message::Message;
use portreeve_core::json::Limits;

fn edited(text: &str, edits: impl FnOnce(&mut Edit<'_, '_>)) -> String {
    let message = Message::read_answer(text.as_bytes(), &Limits::DEFAULT).unwrap();
    let mut edit = Edit::new(text.as_bytes(), &message);
    edits(&mut edit);
    String::from_utf8(edit.done()).unwrap()
}

#[test]
fn without_edits_every_byte_stays() {
    let text = " {\"jsonrpc\" : \"2.0\",\"id\":\t\"x\\u0031\" ,\"method\":\"a\",\"params\": {} ,\"future\":1.50}\n";
    assert_eq!(edited(text, |_| {}), text);
    assert_eq!(edited(text, |edit| edit.remove(&["params", "_meta", "x"])), text);
    assert_eq!(edited(text, |edit| edit.id("42")), text.replace("\"x\\u0031\"", "42"));
}

#[test]
fn members_are_replaced_added_and_removed_where_they_stand() {
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{ "a" : 1 , "b":2,"c": 3 }}"#;
    let params = |edits: fn(&mut Edit<'_, '_>)| {
        let all = edited(text, edits);
        all.split_once("\"params\":").unwrap().1.strip_suffix('}').unwrap().to_owned()
    };
    assert_eq!(params(|edit| edit.remove(&["params", "a"])), r#"{ "b":2,"c": 3 }"#);
    assert_eq!(params(|edit| edit.remove(&["params", "b"])), r#"{ "a" : 1,"c": 3 }"#);
    assert_eq!(params(|edit| edit.remove(&["params", "c"])), r#"{ "a" : 1 , "b":2 }"#);
    assert_eq!(params(|edit| ["a", "b", "c"].iter().for_each(|key| edit.remove(&["params", key]))), "{ }");
    assert_eq!(params(|edit| edit.set(&["params", "b"], "[]")), r#"{ "a" : 1 , "b":[],"c": 3 }"#);
    assert_eq!(params(|edit| edit.set(&["params", "d\""], "4")), r#"{ "a" : 1 , "b":2,"c": 3,"d\"":4 }"#);
    assert_eq!(params(|edit| edit.set(&["params", "m", "n"], "4")), r#"{ "a" : 1 , "b":2,"c": 3,"m":{"n":4} }"#);
    // What is no object on the way becomes one; a removal makes nothing.
    assert_eq!(params(|edit| edit.set(&["params", "a", "n"], "4")), r#"{ "a" : {"n":4} , "b":2,"c": 3 }"#);
    assert_eq!(params(|edit| edit.remove(&["params", "a", "n"])), r#"{ "a" : 1 , "b":2,"c": 3 }"#);
}

#[test]
fn the_later_edit_wins() {
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#;
    let with = |params: &str| text.replace("\"m\"}", &format!("\"m\",\"params\":{params}}}"));
    let set = |edits: fn(&mut Edit<'_, '_>)| edited(text, edits);
    assert_eq!(set(|edit| [edit.set(&["params"], "1"), edit.set(&["params"], "2")].into_iter().collect()), with("2"));
    assert_eq!(set(|edit| [edit.set(&["params", "a"], "1"), edit.remove(&["params"])].into_iter().collect()), text);
    let inside = |edit: &mut Edit<'_, '_>| {
        edit.set(&["params"], "{\"b\":2}");
        edit.set(&["params", "a"], "1");
    };
    assert_eq!(set(inside), with("{\"a\":1}"));
}

#[test]
fn a_key_written_with_escapes_is_the_same_key() {
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"m","p\u0061rams":{"\u005fmeta":{"b":1,"a":2}}}"#;
    let expected = r#"{"jsonrpc":"2.0","id":1,"method":"m","p\u0061rams":{"\u005fmeta":{"a":2,"c":3}}}"#;
    let edits = |edit: &mut Edit<'_, '_>| {
        edit.remove(&["params", "_meta", "b"]);
        edit.set(&["params", "_meta", "c"], "3");
    };
    assert_eq!(edited(text, edits), expected);
}

mod property {
    use super::*;
    use portreeve_core::{json::scan_distinct, value::Value};
    use proptest::{collection::vec, prelude::*};

    /// JSON with whitespace, escapes and numbers that nobody would write again in the same way
    fn text() -> impl Strategy<Value = String> {
        let blank = prop_oneof![Just(""), Just(" "), Just("\n\t")];
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("1.50e0".to_owned()),
            Just("\"\\u0061\\/\u{e9}\"".to_owned()),
            Just("[ ]".to_owned()),
            Just("{ }".to_owned()),
            Just("true".to_owned()),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            let member = ("[a-d]", inner.clone(), blank.clone(), blank.clone());
            prop_oneof![
                vec((inner, blank.clone()), 0..4).prop_map(|items| {
                    let items: Vec<_> = items.into_iter().map(|(item, blank)| format!("{blank}{item}")).collect();
                    format!("[{}]", items.join(","))
                }),
                vec(member, 0..4).prop_map(|members| {
                    let mut seen = std::collections::BTreeSet::new();
                    let members = members.into_iter().filter(|(key, ..)| seen.insert(key.clone()));
                    let members: Vec<_> =
                        members.map(|(key, value, one, two)| format!("{one}\"{key}\"{two}:{value}{one}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    fn path() -> impl Strategy<Value = Vec<String>> {
        vec("[a-e]", 1..4)
    }

    /// What an edit means, on a value
    fn apply(value: &mut Value, path: &[String], to: Option<&Value>) {
        let (Some((key, rest)), Value::Object(members)) = (path.split_first(), &mut *value) else { return };
        match (rest, to) {
            ([], Some(to)) => {
                members.insert(key.clone(), to.clone());
            }
            ([], None) => {
                members.remove(key);
            }
            (_, to) => {
                let object = matches!(members.get(key), Some(Value::Object(_)));
                if !object && to.is_none() {
                    return;
                }
                if !object {
                    members.insert(key.clone(), Value::Object(std::collections::BTreeMap::new()));
                }
                apply(members.get_mut(key).unwrap(), rest, to);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        #[test]
        fn an_edit_means_what_it_says_and_makes_no_member_twice(
            text in text().prop_map(|inner| format!(" {{\"a\":{inner} , \"b\" : 1}} ")),
            edits in vec((path(), any::<bool>()), 1..4),
        ) {
            // Two edits of one place, or one within the other, are what `the_later_edit_wins` is about.
            let overlap = |one: &[String], two: &[String]| one.iter().zip(two).all(|(one, two)| one == two);
            prop_assume!(edits.iter().enumerate().all(|(index, (one, _))| {
                edits.iter().take(index).all(|(two, _)| !overlap(one, two))
            }));
            let read = scan_distinct(text.as_bytes(), &Limits::DEFAULT).unwrap();
            let mut expected = read.to_value().unwrap();
            let mut edit = Edit::of(text.as_bytes(), &read);
            let new: Value = "{\"new\":true}".parse().unwrap();
            for (path, set) in &edits {
                let path_of: Vec<&str> = path.iter().map(String::as_str).collect();
                if *set { edit.set(&path_of, "{\"new\":true}") } else { edit.remove(&path_of) }
                apply(&mut expected, path, set.then_some(&new));
            }
            let done = edit.done();
            let read = scan_distinct(&done, &Limits::DEFAULT);
            prop_assert!(read.is_ok(), "{:?} became {:?}", text, String::from_utf8_lossy(&done));
            prop_assert_eq!(read.unwrap().to_value().unwrap(), expected);
        }

        #[test]
        fn what_is_not_edited_stays_byte_for_byte(inner in text(), other in text()) {
            let text = format!("\n{{ \"kept\" : {inner} ,\"x\":{other}, \"also\":\t{other} }}\n");
            let read = scan_distinct(text.as_bytes(), &Limits::DEFAULT).unwrap();
            let mut edit = Edit::of(text.as_bytes(), &read);
            edit.set(&["x"], "0");
            let expected = format!("\n{{ \"kept\" : {inner} ,\"x\":0, \"also\":\t{other} }}\n");
            prop_assert_eq!(String::from_utf8(edit.done()).unwrap(), expected);
            let mut edit = Edit::of(text.as_bytes(), &read);
            edit.remove(&["x"]);
            // The blank before the removed member's comma goes with it.
            let expected = format!("\n{{ \"kept\" : {inner}, \"also\":\t{other} }}\n");
            prop_assert_eq!(String::from_utf8(edit.done()).unwrap(), expected);
        }
    }
}
