use super::*;
use proptest::prelude::*;

type Tested = Result<(), Box<dyn std::error::Error>>;

/// RFC 8785, 3.2.2, but for the number that a double cannot hold
#[test]
fn rfc_8785_example() -> Tested {
    let value: Value = r#"{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"#
    .parse()?;
    let expected = concat!(
        r#"{"literals":[null,true,false],"numbers":[333333333.33333329,1e+30,4.5,0.002,1e-27],"#,
        r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
    );
    assert_eq!(value.canonical(), expected);
    assert_eq!(value.to_string(), expected);
    assert_eq!(value.digest(), Hash::of(expected.as_bytes()));
    Ok(())
}

/// RFC 8785, 3.2.3
#[test]
fn rfc_8785_key_order() -> Tested {
    let text = r#"{
      "\u20ac": "Euro Sign",
      "\r": "Carriage Return",
      "\ufb33": "Hebrew Letter Dalet With Dagesh",
      "1": "One",
      "\ud83d\ude00": "Emoji: Grinning Face",
      "\u0080": "Control",
      "\u00f6": "Latin Small Letter O With Diaeresis"
    }"#;
    let value: Value = serde_json::from_str(text)?;
    let canonical = value.canonical();
    let names = ["Carriage Return", "One", "Control", "Latin Small", "Euro Sign", "Emoji", "Hebrew"];
    let places: Vec<_> = names.iter().map(|name| canonical.find(name)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{canonical}");

    // Both keys of controls alone look like nothing, so from outside the two are refused.
    assert!(matches!(text.parse::<Value>(), Err(json::Error::ConfusableKey { .. })));
    Ok(())
}

#[test]
fn every_control_character_is_escaped_as_the_rfc_says() {
    let text: String = ('\0'..='\u{20}').chain(['"', '\\', '/', '\u{7f}', '\u{2028}', '😀']).collect();
    let expected = concat!(
        r#""\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f"#,
        r#"\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f "#,
        "\\\"\\\\/\u{7f}\u{2028}😀\""
    );
    assert_eq!(Value::String(text).canonical(), expected);
}

#[test]
fn numbers_never_pass_through_a_double() -> Tested {
    let text = r#"{"a":9007199254740993,"b":0.1000000000000000000001,"c":1e+400}"#;
    let value: Value = text.parse()?;
    assert_eq!(value.canonical(), text);
    let written = serde_json::to_string(&value)?;
    assert_eq!(written, text);
    assert_eq!(serde_json::from_str::<Value>(&written)?, value);
    assert_eq!(serde_json::from_slice::<Value>(written.as_bytes())?, value);
    assert_eq!(serde_json::from_reader::<_, Value>(written.as_bytes())?, value);
    Ok(())
}

#[test]
fn serde_inside_other_types() -> Tested {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Record {
        before: u8,
        value: Value,
        more: Vec<Value>,
        maybe: Option<Value>,
    }
    let number = |text: &str| Decimal::parse(text).map(Value::Number);
    let record = Record {
        before: 1,
        value: r#"{"x":[1.50]}"#.parse()?,
        more: number("1e30").into_iter().chain(number("-7")).collect(),
        maybe: Some(Value::Bool(true)),
    };
    let text = serde_json::to_string(&record)?;
    assert_eq!(text, r#"{"before":1,"value":{"x":[1.5]},"more":[1e+30,-7],"maybe":true}"#);
    assert_eq!(serde_json::from_str::<Record>(&text)?, record);
    assert_eq!(serde_json::from_value::<Record>(serde_json::to_value(&record)?)?, record);
    Ok(())
}

#[test]
fn serde_refuses_what_it_could_not_keep() {
    assert!(serde_json::from_str::<Value>(r#"{"a":1,"\u0061":2}"#).is_err());
    assert!(serde_json::from_str::<Value>("1e99999").is_err());
    assert!(serde_json::from_str::<Value>(r#""\ud800""#).is_err());
}

#[test]
fn from_canonical_takes_no_other_spelling() {
    let others = [
        "1.0",
        " 1",
        "1 ",
        "-0",
        "1e0",
        r#""\u0061""#,
        r#""\/""#,
        r#"{"b":1,"a":2}"#,
        r#"{"a": 1}"#,
        "[1,2 ]",
        r#""\u000A""#,
        r#""\u000F""#,
    ];
    for text in others {
        assert_eq!(Value::from_canonical(text), Err(Error::NotCanonical), "{text}");
    }
    let broken = Value::from_canonical("[1");
    assert_eq!(broken, Err(Error::Json(json::Error::Syntax { offset: 2 })));
}

#[test]
fn what_was_accepted_stays_readable_in_canonical_form() -> Tested {
    let limits = Limits { bytes_max: 4 << 20, ..Limits::DEFAULT };
    let text = format!("[{}1e20]", "1e20,".repeat(199_998));
    let value = json::scan(text.as_bytes(), &limits)?.to_value()?;
    let deep: Value = format!("{}{}", "[".repeat(64), "]".repeat(64)).parse()?;
    let wrapped = Value::Array(vec![value, deep]);
    assert_eq!(Value::from_canonical(&wrapped.canonical())?, wrapped);
    Ok(())
}

#[test]
fn to_serde_keeps_shape_and_integers() -> Tested {
    let value: Value =
        r#"{"i":[-9223372036854775808,18446744073709551615,1.0],"f":[0.5,1e20],"s":"x","n":null,"b":true}"#.parse()?;
    let expected = serde_json::json!({
        "i": [i64::MIN, u64::MAX, 1], "f": [0.5, 1e20], "s": "x", "n": null, "b": true
    });
    assert_eq!(value.to_serde(), expected);
    assert_eq!("1e4096".parse::<Value>()?.to_serde(), serde_json::json!(f64::MAX));
    Ok(())
}

#[test]
fn accessors() -> Tested {
    let value: Value = r#"{"name":"x","list":[]}"#.parse()?;
    assert_eq!(value.get("name").and_then(Value::as_str), Some("x"));
    assert_eq!(value.get("Name"), None);
    assert_eq!(value.as_str(), None);
    assert_eq!(value.get("list").and_then(|list| list.get("0")), None);
    Ok(())
}

fn decimal() -> impl Strategy<Value = Decimal> {
    let text = "-?(0|[1-9][0-9]{0,31})(\\.[0-9]{1,31})?([eE][+-]?[0-9]{1,3})?";
    text.prop_filter_map("within the bounds", |text| Decimal::parse(&text))
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        decimal().prop_map(Value::Number),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(Value::Object),
        ]
    })
}

/// So few values that two of them are often equal
fn small() -> impl Strategy<Value = Value> {
    let number = prop::sample::select(vec!["0", "-0", "1", "1.0", "10e-1", "1e21", "1000e18"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        number.prop_filter_map("a number", Decimal::parse).prop_map(Value::Number),
        "[a1]?".prop_map(Value::String),
    ];
    leaf.prop_recursive(2, 4, 2, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..2).prop_map(Value::Array),
            prop::collection::btree_map("[ab]", inner, 0..2).prop_map(Value::Object),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_is_a_fixed_point(value in value()) {
        let text = value.canonical();
        let again = Value::from_canonical(&text)?;
        prop_assert_eq!(again.canonical(), text);
        prop_assert_eq!(again.digest(), value.digest());
        prop_assert_eq!(again, value);
    }

    #[test]
    fn equal_exactly_if_the_texts_are(left in small(), right in small()) {
        prop_assert_eq!(left == right, left.canonical() == right.canonical());
        prop_assert_eq!(left == right, left.cmp(&right).is_eq());
    }

    #[test]
    fn serde_writes_the_canonical_text(value in value()) {
        let text = serde_json::to_string(&value)?;
        prop_assert_eq!(&text, &value.canonical());
        prop_assert_eq!(serde_json::from_str::<Value>(&text)?, value);
    }

    #[test]
    fn keys_are_in_utf16_order(keys in prop::collection::btree_set("[a\u{d7ff}\u{e000}\u{ffff}😀\u{10ffff}]{0,3}", 0..8)) {
        let members: BTreeMap<_, _> = keys.into_iter().map(|key| (key, Value::Null)).collect();
        let ordered = in_canonical_order(&members);
        let units: Vec<Vec<u16>> = ordered.iter().map(|(key, _)| key.encode_utf16().collect()).collect();
        prop_assert!(units.is_sorted());
    }
}
