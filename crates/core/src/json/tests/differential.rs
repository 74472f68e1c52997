//! The scan against `serde_json`, an independent parser: it accepts no more and reads the same.

use super::*;
use proptest::sample::Index;
use serde_json::Value as Serde;
use std::collections::BTreeMap;

fn tree() -> impl Strategy<Value = Serde> {
    let leaf = prop_oneof![
        Just(Serde::Null),
        any::<bool>().prop_map(Serde::from),
        any::<i64>().prop_map(Serde::from),
        any::<u64>().prop_map(Serde::from),
        any::<f64>().prop_map(Serde::from),
        (-1e6..1e6).prop_map(Serde::from),
        any::<String>().prop_map(Serde::from),
        "[a-z \"\\\\/\n\u{0}é😀]{0,40}".prop_map(Serde::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        let key = prop_oneof!["[a-zA-Z_]{1,8}", any::<String>()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Serde::from),
            prop::collection::vec((key, inner), 0..20).prop_map(|members| {
                // One member per skeleton: these keys no parser takes for each other.
                let by_skeleton: BTreeMap<_, _> =
                    members.into_iter().map(|member| (skeleton(&member.0).into_owned(), member)).collect();
                Serde::Object(by_skeleton.into_values().collect())
            }),
        ]
    })
}

/// Whether both parsers read the same; `serde_json` rounds to the last bit but one or so
fn same(json: &Json<'_>, serde: &Serde) -> bool {
    match (json.kind(), serde) {
        (Kind::Null, Serde::Null) => true,
        (Kind::Bool(left), Serde::Bool(right)) => left == right,
        (Kind::Number(text), Serde::Number(number)) if !number.is_f64() => *text == number.to_string(),
        (Kind::Number(text), Serde::Number(number)) => {
            let (left, right) = (text.parse().unwrap_or(f64::NAN), number.as_f64().unwrap_or(f64::NAN));
            left == right || (left - right).abs() <= f64::max(left.abs() * 1e-15, 1e-323)
        }
        (Kind::String(left), Serde::String(right)) => left == right,
        (Kind::Array(left), Serde::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Kind::Object(left), Serde::Object(right)) => {
            let found = |member: &Member<'_>| right.get(&*member.key).is_some_and(|right| same(&member.value, right));
            left.len() == right.len() && left.iter().all(found)
        }
        _ => false,
    }
}

fn has_number_beyond_doubles(json: &Json<'_>) -> bool {
    let infinite = |text: &str| text.parse::<f64>().is_ok_and(f64::is_infinite);
    json.as_number().is_some_and(infinite)
        || json.as_array().unwrap_or_default().iter().any(has_number_beyond_doubles)
        || json.as_object().unwrap_or_default().iter().any(|member| has_number_beyond_doubles(&member.value))
}

/// The two parsers agree on `input`, but for what we refuse on purpose and for numbers beyond doubles
fn agree(input: &[u8]) -> Result<(), TestCaseError> {
    let serde = serde_json::from_slice::<Serde>(input);
    match (scan(input, &Limits::DEFAULT), serde) {
        (Ok(json), Ok(serde)) => prop_assert!(same(&json, &serde), "read otherwise"),
        (Ok(json), Err(error)) => {
            prop_assert!(has_number_beyond_doubles(&json), "accepted, but: {}", error)
        }
        (Err(error), Ok(_)) => {
            let stricter =
                matches!(error, Error::DuplicateKey { .. } | Error::ConfusableKey { .. } | Error::TooDeep { .. });
            prop_assert!(stricter, "refused, though valid: {}", error);
        }
        (Err(_), Err(_)) => {}
    }
    Ok(())
}

fn spans_are_slices(json: &Json<'_>, input: &[u8]) -> Result<(), TestCaseError> {
    prop_assert_eq!(input.get(json.span()), Some(json.raw().as_bytes()));
    prop_assert_eq!(json.raw().trim(), json.raw());
    let again = scan(json.raw().as_bytes(), &Limits::DEFAULT)?;
    prop_assert_eq!(again.to_value(), json.to_value());
    for item in json.as_array().unwrap_or_default() {
        spans_are_slices(item, input)?;
    }
    for member in json.as_object().unwrap_or_default() {
        prop_assert_eq!(input.get(member.key_offset()), Some(&b'"'));
        spans_are_slices(&member.value, input)?;
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Edit {
    Insert(Index, Vec<u8>),
    Remove(Index),
    Repeat(Index, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let snippets: Vec<&[u8]> = vec![
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b",",
        b":",
        b"\\",
        b"\\u",
        b"\\u0000",
        b"\\ud83d",
        b"\\ude00",
        b"0",
        b"1",
        b"-",
        b"+",
        b".",
        b"e",
        b"E9",
        b" ",
        b"\n",
        b"\t",
        b"\0",
        b"\x1f",
        b"\x7f",
        b"\x80",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"null",
        b"true",
        b"false",
        b"NaN",
        b"1e999",
        b"-0",
        b"\"a\":1,",
        b"/",
        b"'",
    ];
    prop_oneof![
        (any::<Index>(), prop::sample::select(snippets)).prop_map(|(at, bytes)| Edit::Insert(at, bytes.to_vec())),
        any::<Index>().prop_map(Edit::Remove),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Edit::Repeat(from, to)),
    ]
}

fn apply(edits: &[Edit], mut bytes: Vec<u8>) -> Vec<u8> {
    for edit in edits {
        let place = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
        match edit {
            Edit::Insert(at, snippet) => {
                let at = place(at, &bytes);
                bytes.splice(at..at, snippet.iter().copied());
            }
            Edit::Remove(at) => {
                let at = place(at, &bytes);
                bytes.drain(at..bytes.len().min(at + 1));
            }
            Edit::Repeat(from, to) => {
                let (from, to) = (place(from, &bytes), place(to, &bytes));
                let copy = bytes.get(from.min(to)..from.max(to)).unwrap_or_default().to_vec();
                bytes.splice(from..from, copy);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn accepts_and_round_trips_what_serde_writes(tree in tree()) {
        let (compact, pretty) = (serde_json::to_vec(&tree)?, serde_json::to_vec_pretty(&tree)?);
        for text in [compact, pretty] {
            let json = scan(&text, &Limits::DEFAULT)?;
            prop_assert!(same(&json, &tree));
            spans_are_slices(&json, &text)?;
            let value = json.to_value()?;
            prop_assert_eq!(&Value::from_canonical(&value.canonical())?, &value);
            let written = serde_json::to_vec(&value.to_serde())?;
            prop_assert_eq!(scan(&written, &Limits::DEFAULT)?.to_value()?, value);
        }
    }

    #[test]
    fn agrees_on_damaged_texts(tree in tree(), edits in prop::collection::vec(edit(), 1..4)) {
        agree(&apply(&edits, serde_json::to_vec(&tree)?))?;
    }

    #[test]
    fn agrees_on_token_soup(tokens in prop::collection::vec(edit(), 0..24)) {
        agree(&apply(&tokens, Vec::new()))?;
    }

    #[test]
    fn agrees_on_numbers(text in "[-+]?[0-9]{0,3}[.]?[0-9]{0,3}([eE][-+]?[0-9]{0,4})?") {
        agree(text.as_bytes())?;
        // What stands for itself as a number is one to `Decimal` as well, if it is within the bounds.
        if let Ok(json) = scan(text.as_bytes(), &Limits::DEFAULT) {
            let out_of_bounds = matches!(json.to_value(), Err(Error::Number { .. }));
            prop_assert_eq!(Decimal::parse(&text).is_none(), out_of_bounds);
        } else {
            prop_assert_eq!(Decimal::parse(&text), None);
        }
    }

    #[test]
    fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        agree(&bytes)?;
    }
}

/// Texts that are known to part parsers
#[test]
fn agrees_on_a_hostile_corpus() -> Result<(), TestCaseError> {
    let deep = "[".repeat(100_000);
    let corpus = [
        r#"{"name":"safe","n\u0061me":"evil"}"#,
        r#"{"a":1,"a":2}"#,
        "1e99999",
        "-1e99999",
        "1e-99999",
        "-0",
        "-0.0",
        "0.1e1",
        "1E400",
        "123456789012345678901234567890",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\\u0000\"",
        "\"\0\"",
        "\u{feff}{}",
        "{}\u{feff}",
        "[1,]",
        "[,]",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "// c\n{}",
        "/* c */{}",
        "#\n{}",
        "NaN",
        "Infinity",
        "nan",
        "+1",
        "01",
        "1.",
        ".1",
        "0x1F",
        "1_000",
        "\"\t\"",
        "\"\\x41\"",
        "\"\\\n\"",
        "{}{}",
        "{} x",
        "\u{85}{}",
        "\u{2028}{}",
        "[\u{a0}]",
        "",
        " ",
        "\"\u{7f}\"",
        "\"\u{2028}\"",
        "nulll",
        "[1 2]",
        "{\"a\"}",
        "\"\\uD83D\\uDE00\"",
        "\"\\ud83d\\u0041\"",
        "\"\\u{41}\"",
        "\"\\u00e\"",
        "True",
        "\"\u{10ffff}\"",
        &deep,
        r#"{"__proto__":1,"constructor":2}"#,
        r#"{"":{"":{"":null}}}"#,
        "[[[[[[[[[[1]]]]]]]]]]",
        "-",
        "--1",
        "1e",
        "1e+",
    ];
    for text in corpus {
        agree(text.as_bytes()).map_err(|error| TestCaseError::fail(format!("{text:.40}: {error}")))?;
    }
    for bytes in [&b"\"\xff\""[..], b"\"\xc0\xaf\"", b"\"\xed\xb0\x80\"", b"\xfe\xff\0{\0}", b"\x80"] {
        agree(bytes)?;
    }
    Ok(())
}
