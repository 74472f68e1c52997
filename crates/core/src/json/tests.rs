use super::*;
use proptest::prelude::*;

mod differential;
mod keys;

type Tested = Result<(), Box<dyn std::error::Error>>;

fn read(text: &str) -> Result<Json<'_>, Error> {
    scan(text.as_bytes(), &Limits::DEFAULT)
}

fn refusal(input: &[u8]) -> Option<Error> {
    scan(input, &Limits::DEFAULT).err()
}

#[test]
fn syntax() {
    let cases = [
        ("", 0),
        (" ", 1),
        ("{", 1),
        ("[", 1),
        ("]", 0),
        ("[1", 2),
        ("[1,", 3),
        ("[1,]", 3),
        ("[,1]", 1),
        ("[1 2]", 3),
        ("[1}", 2),
        ("{]", 1),
        ("{\"a\"", 4),
        ("{\"a\":", 5),
        ("{\"a\":}", 5),
        ("{\"a\" 1}", 5),
        ("{\"a\":1,}", 7),
        ("{a:1}", 1),
        ("{'a':1}", 1),
        ("{1:1}", 1),
        ("{\"a\":1 \"b\":2}", 7),
        ("{,}", 1),
        ("\"", 1),
        ("\"a", 2),
        ("\"\\", 2),
        ("\"\\x\"", 2),
        ("\"\\u\"", 3),
        ("\"\\u12\"", 5),
        ("\"\\u12g4\"", 5),
        ("\"\\u+123\"", 3),
        ("\"\\U0041\"", 2),
        ("\"a\nb\"", 2),
        ("\"\0\"", 1),
        ("\"\t\"", 1),
        ("\"0123456789abcdef\u{1f}\"", 17),
        ("'a'", 0),
        ("01", 1),
        ("-01", 2),
        ("00", 1),
        ("+1", 0),
        ("-", 1),
        ("- 1", 1),
        (".5", 0),
        ("1.", 2),
        ("1.e5", 2),
        ("1e", 2),
        ("1e+", 3),
        ("-a", 1),
        ("NaN", 0),
        ("-NaN", 1),
        ("Infinity", 0),
        ("-Infinity", 1),
        ("tru", 3),
        ("True", 0),
        ("nul", 3),
        ("nil", 1),
        ("undefined", 0),
        ("// x\n1", 0),
        ("/**/1", 0),
        ("[1,/**/2]", 3),
        ("\u{a0}1", 0),
        ("\u{b}1", 0),
        ("\u{c}1", 0),
        ("\u{2028}1", 0),
        ("\0", 0),
        ("[\u{feff}1]", 1),
        ("\"\\ud800\\u12\"", 11),
    ];
    for (text, offset) in cases {
        assert_eq!(refusal(text.as_bytes()), Some(Error::Syntax { offset }), "{text:?}");
    }
}

#[test]
fn trailing_data() {
    let cases = [
        ("1 2", 2),
        ("{}{}", 2),
        ("{}\n{}", 3),
        ("[]]", 2),
        ("{},", 2),
        ("null\0", 4),
        ("1x", 1),
        ("0x10", 1),
        ("1_0", 1),
        ("1.5.5", 3),
        ("1e5e5", 3),
        ("\"a\"\"b\"", 3),
        ("{} //", 3),
        ("{}\u{feff}", 2),
        ("truefalse", 4),
        ("0-1", 1),
    ];
    for (text, offset) in cases {
        assert_eq!(refusal(text.as_bytes()), Some(Error::Trailing { offset }), "{text:?}");
    }
    assert!(read(" \t\r\n{} \t\r\n").is_ok());
}

#[test]
fn encodings() {
    let utf8 = |offset| Some(Error::Utf8 { offset });
    let cases: [(&[u8], _); 10] = [
        (b"\xef\xbb\xbf{}", Some(Error::ByteOrderMark { offset: 0 })),
        (b"\xef\xbb\xbf", Some(Error::ByteOrderMark { offset: 0 })),
        (b"\xff\xfe{\0}\0", utf8(0)),
        (b"{\"a\":\"\xff\"}", utf8(6)),
        (b"\"\xc0\x80\"", utf8(1)),
        (b"\"\xed\xa0\x80\"", utf8(1)),
        (b"\"\xf4\x90\x80\x80\"", utf8(1)),
        (b"\"\xe2\x82", utf8(1)),
        (b"{} \x80", utf8(3)),
        (b"{\0}\0", Some(Error::Syntax { offset: 1 })),
    ];
    for (input, expected) in cases {
        assert_eq!(refusal(input), expected, "{input:?}");
    }
}

#[test]
fn surrogates() -> Tested {
    let cases = [
        (r#""\ud800""#, 1),
        (r#""\udc00""#, 1),
        (r#""x\uDBFF""#, 2),
        (r#""\ud800x""#, 1),
        (r#""\ud800\n""#, 1),
        (r#""\ud800\ud800""#, 1),
        (r#""\udc00\ud800""#, 1),
        (r#""\ud800\u0041""#, 1),
        (r#"{"\udfff":1}"#, 2),
        (r#""\ud83d\ude00\ud83d""#, 13),
    ];
    for (text, offset) in cases {
        assert_eq!(refusal(text.as_bytes()), Some(Error::LoneSurrogate { offset }), "{text}");
    }
    assert_eq!(read(r#""\ud83d\uDE00\ud800\udc00\udbff\udfff""#)?.as_str(), Some("😀\u{10000}\u{10ffff}"));
    Ok(())
}

#[test]
fn limits_are_met_exactly() {
    let limits = Limits { bytes_max: 12, depth_max: 2, nodes_max: 4 };
    let refusal = |text: &str| scan(text.as_bytes(), &limits).err();
    assert_eq!(refusal("\"0123456789\""), None);
    assert_eq!(refusal("\"0123456789\" "), Some(Error::TooLarge { offset: 12 }));
    assert_eq!(refusal("[[1],[2]]"), Some(Error::TooManyNodes { offset: 6 }));
    assert_eq!(refusal("[[1],2]"), None);
    assert_eq!(refusal("{\"a\":{}}"), None);
    assert_eq!(refusal("[[[]]]"), Some(Error::TooDeep { offset: 2 }));
    assert_eq!(refusal("{\"a\":[{}]}"), Some(Error::TooDeep { offset: 6 }));
    assert_eq!(refusal("[[],[]]"), None);
    let none = Limits { bytes_max: 0, depth_max: 0, nodes_max: 0 };
    assert_eq!(scan(b"1", &none).err(), Some(Error::TooLarge { offset: 0 }));
    assert_eq!(scan(b"1", &Limits { bytes_max: 1, ..none }).err(), Some(Error::TooManyNodes { offset: 0 }));
    assert_eq!(scan(b"[]", &Limits { depth_max: 0, ..limits }).err(), Some(Error::TooDeep { offset: 0 }));
}

#[test]
fn default_limits() {
    let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(refusal(deep(64).as_bytes()), None);
    assert_eq!(refusal(deep(65).as_bytes()), Some(Error::TooDeep { offset: 64 }));
    let wide = |items: usize| format!("[{}0]", "0,".repeat(items - 1));
    assert_eq!(refusal(wide(199_999).as_bytes()), None);
    assert!(matches!(refusal(wide(200_000).as_bytes()), Some(Error::TooManyNodes { .. })));
    let long = format!("\"{}\"", "x".repeat(4 << 20));
    assert_eq!(refusal(long.as_bytes()), Some(Error::TooLarge { offset: 4 << 20 }));
}

#[test]
fn no_depth_overflows_the_stack() {
    let unbounded = Limits { bytes_max: usize::MAX, depth_max: usize::MAX, nodes_max: usize::MAX };
    for unit in ["[", "{\"a\":", "[{\"a\":"] {
        let text = unit.repeat(100_000);
        assert!(matches!(refusal(text.as_bytes()), Some(Error::TooDeep { .. })));
        assert!(matches!(scan(text.as_bytes(), &unbounded), Err(Error::TooDeep { .. })));
    }
    let deepest = format!("{}{}", "[".repeat(512), "]".repeat(512));
    let value = scan(deepest.as_bytes(), &unbounded).and_then(|json| json.to_value());
    assert_eq!(value.map(|value| value.canonical()), Ok(deepest));
}

#[test]
fn numbers_beyond_the_bounds_scan_and_do_not_convert() -> Tested {
    for text in ["1e99999", "[1e-99999]", "{\"a\":1e999999999999999999999}"] {
        let json = read(text)?;
        let offset = text.find('1').unwrap_or_default();
        assert_eq!(json.to_value(), Err(Error::Number { offset }), "{text}");
        assert_eq!(text.parse::<Value>(), Err(Error::Number { offset }));
    }
    assert_eq!(read("-0.0e-0")?.as_number(), Some("-0.0e-0"));
    Ok(())
}

#[test]
fn escapes() -> Tested {
    let json = read(r#""\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC\u0000é€😀""#)?;
    assert_eq!(json.as_str(), Some("\"\\/\u{8}\u{c}\n\r\tAé€\0é€😀"));
    Ok(())
}

#[test]
fn special_bytes_are_found_at_any_place() {
    let bytes = b"\0\x01\x1f !\"#[\\]a\x7f\x80\x9f\xa0\xa2\xdc\xff";
    for byte in bytes.iter().copied() {
        let special = byte < 0x20 || byte == b'"' || byte == b'\\';
        for length in 1..20 {
            for at in 0..length {
                // What follows may be special too, also right behind a byte that nearly was.
                for filler in [b'a', b'!', b'#', b'\\', b'\0', 0x80, 0xff] {
                    let mut text = vec![b'a'; at];
                    text.push(byte);
                    text.resize(length, filler);
                    let expected = text.iter().position(|b| matches!(b, 0..=0x1f | b'"' | b'\\'));
                    assert_eq!(special_at(&text), expected, "{text:?}");
                    assert!(!special || expected == Some(at));
                }
            }
        }
    }
}

#[test]
fn strings_are_borrowed_unless_escaped() -> Tested {
    let json = read(r#"{"plain é":"value","\u0065scaped":"a\nb"}"#)?;
    let borrowed = json.as_object().unwrap_or_default().iter().map(|member| {
        let value = matches!(member.value.kind(), Kind::String(Cow::Borrowed(_)));
        (matches!(member.key, Cow::Borrowed(_)), value)
    });
    assert_eq!(borrowed.collect::<Vec<_>>(), [(true, true), (false, false)]);
    Ok(())
}

#[test]
fn accessors() -> Tested {
    let text = r#" {"a": [1, "x", true, null], "b": {"c": -2.50}} "#;
    let json = read(text)?;
    assert_eq!(json.span(), 1..text.len() - 1);
    assert_eq!(json.raw(), text.trim());
    let items = json.get("a").and_then(Json::as_array).unwrap_or_default();
    assert_eq!(items.first().and_then(Json::as_number), Some("1"));
    assert_eq!(items.get(1).and_then(Json::as_str), Some("x"));
    assert_eq!(items.get(2).and_then(Json::as_bool), Some(true));
    assert_eq!(items.get(3).map(Json::is_null), Some(true));
    let number = json.get("b").and_then(|b| b.get("c"));
    assert_eq!(number.map(Json::raw), Some("-2.50"));
    assert_eq!(number.and_then(|number| text.get(number.span())), Some("-2.50"));
    let offsets = json.as_object().unwrap_or_default().iter().map(Member::key_offset);
    assert_eq!(offsets.collect::<Vec<_>>(), [2, 29]);
    assert!(json.get("c").is_none() && json.as_str().is_none() && json.as_array().is_none());
    assert!(json.as_bool().is_none() && json.as_number().is_none() && !json.is_null());
    assert!(items.first().is_some_and(|number| number.get("a").is_none()));
    Ok(())
}

#[test]
fn errors_know_their_place_and_repeat_nothing() {
    let error = refusal(b"{\"secret\":1,\"secret\":2}").map(|error| (error.offset(), error.to_string()));
    assert_eq!(error, Some((12, "duplicate key at byte 12".into())));
}
