//! Keys that collide, or that some parser takes for a protocol key.

use super::*;

#[test]
fn duplicate_keys() {
    let cases = [
        (r#"{"a":1,"a":1}"#, 7),
        (r#"{"name":"safe","n\u0061me":"evil"}"#, 15),
        (r#"{"\u006e\u0061\u006D\u0065":"safe","name":"evil"}"#, 35),
        (r#"{"x":{"y":[{"a":1,"b":2,"a":3}]}}"#, 24),
        (r#"{"a":{"a":1},"a":2}"#, 13),
        (r#"{"":1,"":2}"#, 6),
        (r#"{"é":1,"\u00e9":2}"#, 8),
        (r#"{"😀":1,"\ud83d\ude00":2}"#, 10),
        (r#"{"a\/b":1,"a/b":2}"#, 10),
        (r#"{"\u0000":1,"\u0000":2}"#, 12),
        (r#"{"method":"a","params":{},"method":"b"}"#, 26),
    ];
    for (text, offset) in cases {
        assert_eq!(refusal(text.as_bytes()), Some(Error::DuplicateKey { offset }), "{text}");
    }
    assert_eq!(refusal(r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}"#.as_bytes()), None);
}

#[test]
fn confusable_keys() {
    let cases = [
        r#"{"name":1,"Name":2}"#,
        r#"{"NAME":1,"name":2}"#,
        r#"{"name":1,"name\u0000":2}"#,
        r#"{"name":1,"\u0000name":2}"#,
        r#"{"name":1,"na\u0007me":2}"#,
        r#"{"name":1,"name\u007f":2}"#,
        r#"{"name":1,"name\u0085":2}"#,
        r#"{"params":1,"paramſ":2}"#,
        r#"{"params":1,"param\u017f":2}"#,
        r#"{"token":1,"toKen":2}"#,
        r#"{"token":1,"to\u212aen":2}"#,
        r#"{"id":1,"ıd":2}"#,
        r#"{"id":1,"İD":2}"#,
        r#"{"name":1,"na\u200bme":2}"#,
        r#"{"name":1,"name\ufeff":2}"#,
        r#"{"name":1,"na\u00adme":2}"#,
        r#"{"name":1,"name\ufe0f":2}"#,
        r#"{"name":1,"name\udb40\udc41":2}"#,
        r#"{"name":1,"\uff4e\uff41\uff4d\uff45":2}"#,
        r#"{"name":1,"𝐧𝒂𝓶𝔢":2}"#,
        r#"{"name":1,"ⓝⓐⓜⓔ":2}"#,
        r#"{"file":1,"\ufb01le":2}"#,
        r#"{"h":1,"ℎ":2}"#,
        r#"{"v1":1,"v𝟏":2}"#,
        r#"{"straße":1,"STRASSE":2}"#,
        r#"{"ὀδυσσεύς":1,"ὈΔΥΣΣΕΎΣ":2}"#,
        r#"{"É":1,"é":2}"#,
        r#"{"":1,"\u0000":2}"#,
        r#"{"x":[{"a":1,"A":2}]}"#,
        r#"{"x":1,"X":{"a":1}}"#,
    ];
    for text in cases {
        assert!(matches!(refusal(text.as_bytes()), Some(Error::ConfusableKey { .. })), "{text}");
        // Our own text may hold them: the keys differ.
        assert!(scan_distinct(text.as_bytes(), &Limits::DEFAULT).is_ok(), "{text}");
    }
}

#[test]
fn different_keys() {
    let cases = [
        r#"{"name":1,"names":2,"nam":3,"title":4,"_meta":5,"_name":6}"#,
        r#"{"straße":1,"strase":2}"#,
        r#"{"α":1,"β":2,"名前":3,"名称":4}"#,
        r#"{"a b":1,"ab":2,"a-b":3,"a_b":4,"a.b":5}"#,
        r#"{"1":1,"10":2,"01":3}"#,
        r#"{"😀":1,"😁":2}"#,
    ];
    for text in cases {
        assert_eq!(refusal(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn the_first_collision_of_the_source_is_reported() {
    let few = r#"{"b":1,"a":2,"B":3,"a":4}"#;
    assert_eq!(refusal(few.as_bytes()), Some(Error::ConfusableKey { offset: 13 }));
    let filler: String = (0..30).map(|n| format!(",\"{n}\":0")).collect();
    let many = format!(r#"{{"b":1,"a":2,"B":3,"a":4,"b":5{filler}}}"#);
    assert_eq!(refusal(many.as_bytes()), Some(Error::ConfusableKey { offset: 13 }));
}

#[test]
fn collisions_are_found_at_any_size() {
    // Around the switch from pairs to sorting, and with the late key first, in the middle and last.
    for size in [2usize, 3, 15, 16, 17, 18, 40, 500] {
        for place in [1, size / 2, size - 1] {
            for (late, duplicate) in [("key0", true), ("KEY0", false), ("key0\u{200b}", false)] {
                let keys = (0..size).map(|n| if n == place { late.into() } else { format!("key{n}") });
                let members: Vec<_> = keys.map(|key| format!("\"{key}\":{{}}")).collect();
                let text = format!("{{{}}}", members.join(","));
                let error = refusal(text.as_bytes());
                let offset = text.rfind(&format!("\"{late}\"")).unwrap_or_default();
                let expected = if duplicate { Error::DuplicateKey { offset } } else { Error::ConfusableKey { offset } };
                assert_eq!(error, Some(expected), "{size} {place} {late}");
            }
        }
    }
}

#[test]
fn many_keys_are_not_quadratic() {
    // Comparing all pairs of so many keys would take minutes here.
    let members: Vec<_> = (0..90_000).map(|n| format!("\"k{n}\":0")).collect();
    let text = format!("{{{}}}", members.join(","));
    assert_eq!(refusal(text.as_bytes()), None);
    let members: Vec<_> = (0..60_000).map(|n| format!("\"é{n}\":0")).collect();
    let text = format!("{{{}}}", members.join(","));
    assert_eq!(refusal(text.as_bytes()), None);
}

#[test]
fn skeletons() {
    let cases = [
        ("name", "name"),
        ("inputResponses", "inputresponses"),
        ("paramſ", "params"),
        ("to\u{212a}en", "token"),
        ("ıd", "id"),
        ("İd", "id"),
        ("name\0", "name"),
        ("na\u{200d}me\u{7f}", "name"),
        ("\u{ff2e}\u{ff41}me", "name"),
        ("ΣΑΣ", "σασ"),
        ("σας", "σασ"),
        ("ẞß", "ssss"),
        ("\u{212b}", "å"),
        ("µ", "μ"),
        ("", ""),
        ("\0\u{feff}", ""),
    ];
    for (key, expected) in cases {
        assert_eq!(skeleton(key), expected, "{key:?}");
    }
    assert!(matches!(skeleton("name_1"), Cow::Borrowed("name_1")));
}

#[test]
fn skeletons_of_every_character_are_stable_under_case_and_repetition() {
    for c in '\0'..=char::MAX {
        let mut buffer = [0; 4];
        let of = |text: &str| skeleton(text).into_owned();
        let once = of(c.encode_utf8(&mut buffer));
        assert_eq!(of(&once), once, "{c:?}");
        assert_eq!(of(&c.to_uppercase().to_string()), once, "{c:?}");
        // The lower case of `İ` is two characters, of which simple folding makes one.
        if c != 'İ' {
            assert_eq!(of(&c.to_lowercase().to_string()), once, "{c:?}");
        }
    }
}

#[test]
fn confusable_with_protocol_keys() {
    let protocol = ["jsonrpc", "id", "method", "params", "name", "inputResponses", "_meta"];
    let cases = [
        ("Method", Some("method")),
        ("METHOD", Some("method")),
        ("paramſ", Some("params")),
        ("name\0", Some("name")),
        ("na\u{200b}me", Some("name")),
        ("İD", Some("id")),
        ("inputresponses", Some("inputResponses")),
        ("_Meta", Some("_meta")),
        ("_\u{ad}meta", Some("_meta")),
        ("method", None),
        ("inputResponses", None),
        ("methods", None),
        ("meta", None),
        ("", None),
        ("\0", None),
        ("名前", None),
    ];
    for (key, expected) in cases {
        assert_eq!(confusable_with(key, &protocol), expected, "{key:?}");
    }
    assert_eq!(confusable_with("CAFÉ", &["café"]), Some("café"));
    assert_eq!(confusable_with("x", &[]), None);
}

proptest! {
    #[test]
    fn skeleton_is_idempotent(key in any::<String>()) {
        let once = skeleton(&key).into_owned();
        prop_assert_eq!(skeleton(&once).into_owned(), once);
    }

    /// Pairs and sorting are two ways to one answer
    #[test]
    fn collisions_are_those_of_the_skeletons(keys in prop::collection::vec("[aAbBſsS\u{0}]{1,2}", 0..24)) {
        let object: Vec<_> = keys.iter().filter_map(|key| serde_json::to_string(key).ok()).collect();
        let text = format!("{{{}}}", object.iter().map(|key| format!("{key}:0")).collect::<Vec<_>>().join(","));
        let first = keys.iter().enumerate().find_map(|(index, later)| {
            let earlier = keys.iter().take(index).find(|key| skeleton(key) == skeleton(later))?;
            Some(earlier == later)
        });
        let found = refusal(text.as_bytes()).map(|error| matches!(error, Error::DuplicateKey { .. }));
        prop_assert_eq!(found, first);
    }
}
