use super::*;
use crate::policy::{Kind, Parameter};
use proptest::prelude::*;

fn scope_with<T>(parameters: &[(&str, &str)], check: impl FnOnce(Scope<'_>) -> T) -> T {
    let parameters = parameters.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    check(Scope { parameters: &parameters, ..Scope::NONE })
}

fn literal(text: &str) -> Operand {
    Operand::Literal(text.parse().unwrap())
}

/// A string operand
fn s(text: &str) -> Operand {
    Operand::Literal(Value::String(text.to_owned()))
}

/// Values as JSON, strings where they are no JSON
fn value(text: &str) -> Value {
    text.parse().unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// Pattern; values that match, that do not, and that are unclear
type Row = (Pattern, Vec<&'static str>, Vec<&'static str>, Vec<&'static str>);

fn table() -> Vec<Row> {
    vec![
        (Pattern::Is(s("a")), vec!["a", "\"\\u0061\""], vec!["A", "a ", "null", "[\"a\"]", "1"], vec![]),
        (
            Pattern::Is(literal("1")),
            vec!["1", "1.0", "10e-1"],
            vec!["\"1\"", "true", "1.0000000000000000000001"],
            vec![],
        ),
        (Pattern::Is(literal("null")), vec!["null"], vec!["\"\"", "0", "false"], vec![]),
        (Pattern::In(vec![literal("1"), s("b")]), vec!["1", "b"], vec!["2", "\"1\""], vec![]),
        (
            Pattern::Prefix(s("src/")),
            vec!["src/", "src/a/b.rs", "src/a..b"],
            vec!["src", "lib/a"],
            vec![
                "src/../etc",
                "src/%2e%2E/etc",
                "src/a\\..\\b",
                "\"src/\\u0000\"",
                "src/..",
                "src/a%2f..",
                "1",
                "null",
            ],
        ),
        (
            Pattern::Glob("src/*.rs".to_owned()),
            vec!["src/a.rs", "src/.rs"],
            vec!["src/a/b.rs", "src/a.rsx", "xsrc/a.rs"],
            vec!["src/../a.rs", "7"],
        ),
        (Pattern::Glob("**/x".to_owned()), vec!["a/b/x", "/x"], vec!["x", "a/xy"], vec![]),
        (
            Pattern::Under(s("src/parser")),
            vec!["src/parser", "src/parser/", "src/parser/a.rs", "./src//parser/./x", "src/parser/a b:c"],
            vec!["src", "src/parsers/a.rs", "/src/parser/a.rs", "SRC/parser/a", "other"],
            vec![
                "src/parser/../x",
                "~/src/parser",
                "file:src/parser",
                "src\\parser",
                "src/parser/%2E%2e/x",
                "",
                "1",
                "null",
            ],
        ),
        (
            Pattern::Under(s(".")),
            vec!["a", "./a/b", "."],
            vec!["/a"],
            vec!["..", "a/../../b", "C:/x", "file:///etc/passwd"],
        ),
        (Pattern::Under(s("/srv")), vec!["/srv", "/srv/a", "//srv//a"], vec!["srv/a", "/srvx", "/"], vec!["/srv/.."]),
        (Pattern::Path(s("a/b")), vec!["a/b", "a//b/", "./a/b"], vec!["a/b/c", "a", "/a/b", "A/b"], vec!["a/c/../b"]),
        (
            Pattern::Url(s("https://example.com/docs/")),
            vec![
                "https://example.com/docs",
                "https://example.com/docs/a/b",
                "HTTPS://EXAMPLE.com:443/docs/",
                "https://ｅxample.com/docs/x",
            ],
            vec![
                "http://example.com/docs/",
                "https://example.com/docsearch",
                "https://example.com.evil.org/docs/",
                "https://a.example.com/docs/",
                "https://example.com:8443/docs/",
                "https://example.com/docs/?q=1",
                "https://exаmple.com/docs/",
            ],
            vec![
                "https://user@example.com/docs/",
                "https://evil.org\\@example.com/docs/",
                "https://example.com/docs/../admin",
                "https://example.com/docs/%2e%2e/admin",
                "https://example.com/docs/a%2f..",
                "https://example.com/docs/#x",
                "https://exam\tple.com/docs/",
                "https:example.com/docs/",
                "/docs/",
                "",
                "1",
            ],
        ),
        (
            Pattern::Url(s("https://*.example.com/?*")),
            vec!["https://a.example.com/", "https://a.b.example.com/x?q=1", "https://a.example.com"],
            vec!["https://example.com/", "https://evilexample.com/", "https://example.com.evil.org/"],
            vec![],
        ),
        (
            Pattern::Url(s("http://127.0.0.1:8080/")),
            vec!["http://0x7f.1:8080/a"],
            vec!["http://localhost:8080/"],
            vec![],
        ),
        (
            Pattern::Url(s("https://bücher.example/")),
            vec!["https://xn--bcher-kva.example/a", "https://BÜCHER.example/"],
            vec![],
            vec![],
        ),
        (
            Pattern::Email(s("*@example.org")),
            vec!["kim@example.org", "a.b+c@EXAMPLE.org"],
            vec!["kim@example.com", "kim@sub.example.org", "kim@example.org.evil.com"],
            vec![
                "Kim <kim@example.org>",
                "kim@example.org,eve@evil.com",
                "eve@evil.com\nkim@example.org",
                "\"a@evil\"@example.org",
                "kim@[127.0.0.1]",
                "@example.org",
                "kim",
                ".kim@example.org",
                "kim@example.org.",
                "ⓚim@example.org",
                "1",
            ],
        ),
        (Pattern::Email(s("*@*.example.org")), vec!["a@b.example.org"], vec!["a@example.org"], vec![]),
        (
            Pattern::Email(s("kim@example.org")),
            vec!["kim@Example.ORG"],
            vec!["Kim@example.org", "kin@example.org"],
            vec![],
        ),
        (
            Pattern::AtMost(literal("50")),
            vec!["50", "49.99", "-1", "5e1"],
            vec!["50.01", "5e2"],
            vec!["\"50\"", "null"],
        ),
        (Pattern::AtLeast(literal("0.1")), vec!["0.1", "1e-1", "9007199254740993"], vec!["0.09", "-1"], vec!["\"1\""]),
        (
            Pattern::MaxBytes(3),
            vec!["abc", "é", "12", "[]", "\"\""],
            vec!["abcd", "éé", "true", "null", "[1,2]"],
            vec![],
        ),
        (Pattern::Absent, vec![], vec!["null", "\"\"", "0"], vec![]),
        (Pattern::Any, vec!["null", "{}", "[1]"], vec![], vec![]),
        (
            Pattern::All(vec![Pattern::AtLeast(literal("1")), Pattern::AtMost(literal("3"))]),
            vec!["1", "2", "3"],
            vec!["0", "4"],
            vec!["\"2\""],
        ),
        (
            Pattern::All(vec![Pattern::Under(s("a")), Pattern::MaxBytes(4)]),
            vec!["a/b"],
            vec!["b", "a/bcd", "a/../../long"],
            vec!["a/.."],
        ),
    ]
}

#[test]
fn every_operator_has_one_meaning() {
    for (pattern, yes, no, unclear) in table() {
        for (expected, texts) in [(Match::Yes, yes), (Match::No, no), (Match::Unclear, unclear)] {
            for text in texts {
                assert_eq!(pattern.test(Some(&value(text)), Scope::NONE), expected, "{pattern:?} and {text:?}");
            }
        }
    }
}

#[test]
fn absent_matches_only_what_says_so() {
    for (pattern, ..) in table() {
        let expected = if matches!(pattern, Pattern::Absent | Pattern::Any) { Match::Yes } else { Match::No };
        assert_eq!(pattern.test(None, Scope::NONE), expected, "{pattern:?}");
    }
}

#[test]
fn a_placeholder_is_a_value_of_its_type() {
    scope_with(&[("order", "\"ord_1\""), ("limit", "50"), ("all", "\"*@example.org\"")], |scope| {
        let parameter = |name: &str| Operand::Parameter(name.parse().unwrap());
        let test = |pattern: &Pattern, text: &str| pattern.test(Some(&value(text)), scope);
        assert_eq!(test(&Pattern::Is(parameter("order")), "ord_1"), Match::Yes);
        assert_eq!(test(&Pattern::Is(parameter("order")), "ord_1 "), Match::No);
        assert_eq!(test(&Pattern::AtMost(parameter("limit")), "50"), Match::Yes);
        assert_eq!(test(&Pattern::AtMost(parameter("limit")), "\"50\""), Match::Unclear);
        assert_ne!(test(&Pattern::Is(parameter("nobody")), "null"), Match::Yes, "nothing is matched by nothing");
        assert_eq!(Pattern::AtMost(parameter("limit")).in_words(Some(scope)), "a number of at most 50");
        // A value never widens a pattern: its star is a character.
        assert_eq!(test(&Pattern::Email(parameter("all")), "kim@example.org"), Match::No);
        assert_eq!(test(&Pattern::Email(parameter("all")), "*@example.org"), Match::Yes);
    });
}

#[test]
fn a_value_comes_from_a_step_that_returned_it() {
    let source: Source = "look.items[*].id".parse().unwrap();
    let returned = BTreeMap::from([(source.clone(), BTreeSet::from([value("7").digest()]))]);
    let scope = Scope { returned: &returned, ..Scope::NONE };
    let from = Pattern::From(source);
    assert_eq!(from.test(Some(&value("7.0")), scope), Match::Yes);
    assert_eq!(from.test(Some(&value("\"7\"")), scope), Match::No);
    assert_eq!(from.test(Some(&value("7")), Scope::NONE), Match::No);
    for text in ["look.items[*].id", "look[*].id", "a.b"] {
        assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
    }
    for text in ["look", "look.", ".id", "Look.id", "look.a..b"] {
        assert_eq!(text.parse::<Source>(), Err(NoSource), "{text}");
    }
}

#[test]
fn some_of_several_is_unclear_for_a_variant_and_outside_for_an_entry() {
    let root = |text: &str| match value(text) {
        Value::Object(members) => members,
        _ => panic!("no object"),
    };
    let path: FieldPath = "files[*].path".parse().unwrap();
    let pattern = Pattern::Under(s("src"));
    for (text, holds, picks) in [
        (r#"{"files":[{"path":"src/a"},{"path":"src/b"}]}"#, true, Match::Yes),
        (r#"{"files":[{"path":"src/a"},{"path":"etc/b"}]}"#, false, Match::Unclear),
        (r#"{"files":[{"path":"etc/a"}]}"#, false, Match::No),
        (r#"{"files":[{"path":"src/../a"}]}"#, false, Match::Unclear),
        (r#"{"files":[{"path":"src/a"},{}]}"#, false, Match::Unclear),
        (r#"{"files":[]}"#, true, Match::No),
        (r#"{"files":"src/a"}"#, false, Match::Unclear),
        ("{}", false, Match::No),
    ] {
        let root = root(text);
        assert_eq!(pattern.holds(&path.select(&root), Scope::NONE), holds, "{text}");
        assert_eq!(pattern.picks(&path.select(&root), Scope::NONE), picks, "{text}");
    }
}

#[test]
fn a_glob_that_could_blow_up_does_not() {
    let pattern = "*a".repeat(200);
    assert!(!glob(&"a".repeat(199), &pattern));
    assert!(glob(&"a".repeat(4000), &pattern));
}

fn some_value() -> impl Strategy<Value = Value> {
    let texts: Vec<&str> = table().into_iter().flat_map(|(_, yes, no, unclear)| [yes, no, unclear].concat()).collect();
    prop_oneof![
        4 => prop::sample::select(texts).prop_map(value),
        1 => "[a-c./*~%2e@:\\\\]{0,8}".prop_map(Value::String),
        1 => (-3..60i64).prop_map(|n| value(&n.to_string())),
    ]
}

fn some_operand(texts: &'static [&'static str]) -> impl Strategy<Value = Operand> {
    prop_oneof![
        6 => prop::sample::select(texts).prop_map(s),
        1 => Just(Operand::Parameter("p".parse().unwrap())),
    ]
}

fn some_bound() -> impl Strategy<Value = Operand> {
    prop_oneof![
        4 => (0..5i64).prop_map(|n| literal(&n.to_string())),
        1 => Just(Operand::Parameter("n".parse().unwrap())),
    ]
}

pub(crate) fn some_pattern() -> impl Strategy<Value = Pattern> {
    const PATHS: &[&str] = &["src", "src/", "src/parser", ".", "/srv", "a", "a/b", "src/p"];
    const URLS: &[&str] = &[
        "https://example.com/docs/",
        "https://example.com/",
        "https://*.example.com/",
        "https://*.example.com/?*",
        "https://a.example.com/x?*",
        "https://*.b.example.com/",
        "http://127.0.0.1:8080/",
    ];
    const MAILS: &[&str] = &["*@example.org", "kim@example.org", "*@*.example.org", "*@b.example.org"];
    let one = prop_oneof![
        2 => some_value().prop_map(|value| Pattern::Is(Operand::Literal(value))),
        1 => some_bound().prop_map(Pattern::Is),
        1 => prop::collection::vec(some_value().prop_map(Operand::Literal), 0..4).prop_map(Pattern::In),
        1 => some_operand(PATHS).prop_map(Pattern::Prefix),
        1 => prop::sample::select(vec!["src/*", "src/**", "**", "src/*.rs", "a*"]).prop_map(|g| Pattern::Glob(g.to_owned())),
        2 => some_operand(PATHS).prop_map(Pattern::Under),
        1 => some_operand(PATHS).prop_map(Pattern::Path),
        2 => some_operand(URLS).prop_map(Pattern::Url),
        2 => some_operand(MAILS).prop_map(Pattern::Email),
        2 => some_bound().prop_map(Pattern::AtMost),
        2 => some_bound().prop_map(Pattern::AtLeast),
        1 => (0..5u64).prop_map(Pattern::MaxBytes),
        1 => Just(Pattern::Absent),
        1 => Just(Pattern::Any),
    ];
    prop_oneof![4 => one.clone(), 1 => prop::collection::vec(one, 1..3).prop_map(Pattern::All)]
}

fn declared() -> BTreeMap<Name, Parameter> {
    let number = Kind::Decimal { min: Decimal::parse("1"), max: Decimal::parse("3") };
    let text = Kind::Text { pattern: None, bytes_max: 4 };
    [("n", number), ("p", text)].map(|(name, kind)| (name.parse().unwrap(), Parameter { kind, default: None })).into()
}

/// Cases of a property; `PROPTEST_CASES` asks for more of them by hand
fn cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.saturating_mul(8), failure_persistence: None, ..usual }
}

proptest! {
    #![proptest_config(cases())]

    /// What `covers` says is a proof
    #[test]
    fn what_is_covered_is_matched(
        wide in some_pattern(),
        narrow in some_pattern(),
        given in prop::option::of(some_value()),
        n in 1..4i64,
        p in prop::sample::select(vec!["src", "a/b", "kim", "p"]),
    ) {
        let parameters = [("n".parse().unwrap(), value(&n.to_string())), ("p".parse().unwrap(), value(p))].into();
        let scope = Scope { parameters: &parameters, ..Scope::NONE };
        let [in_wide, in_narrow] = [&wide, &narrow].map(|pattern| pattern.test(given.as_ref(), scope) == Match::Yes);
        if wide.covers(&narrow, &declared()) {
            prop_assert!(in_wide || !in_narrow, "{wide:?} should cover {narrow:?}: {given:?}");
        }
        if wide.excludes(&narrow) {
            prop_assert!(!(in_wide && in_narrow), "{wide:?} should exclude {narrow:?}: {given:?}");
        }
    }

    #[test]
    fn every_pattern_covers_itself(pattern in some_pattern()) {
        prop_assert!(pattern.covers(&pattern, &declared()));
    }
}
