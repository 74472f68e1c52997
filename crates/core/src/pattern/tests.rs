use super::*;

fn scope_with<T>(parameters: &[(&str, &str)], check: impl FnOnce(Scope<'_>) -> T) -> T {
    let parameters = parameters.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    check(Scope { parameters: &parameters, attributes: &BTreeMap::new() })
}

fn literal(text: &str) -> Operand {
    Operand::Literal(text.parse().unwrap())
}

/// Pattern, values that match, values that do not
fn table() -> Vec<(Pattern, Vec<&'static str>, Vec<&'static str>)> {
    vec![
        (Pattern::Is(literal("\"a\"")), vec!["\"a\"", "\"\\u0061\""], vec!["\"A\"", "\"a \"", "null", "[\"a\"]", "1"]),
        (Pattern::Is(literal("1")), vec!["1", "1.0", "10e-1"], vec!["\"1\"", "true", "1.0000000000000000000001"]),
        (Pattern::Is(literal("null")), vec!["null"], vec!["\"\"", "0", "false"]),
        (Pattern::In(vec![literal("1"), literal("\"b\"")]), vec!["1", "\"b\""], vec!["2", "\"1\""]),
        (
            Pattern::Prefix(literal("\"src/\"")),
            vec!["\"src/\"", "\"src/a/b.rs\"", "\"src/a..b\""],
            vec![
                "\"src\"",
                "\"src/../etc\"",
                "\"src/%2e%2E/etc\"",
                "\"src/a\\\\..\\\\b\"",
                "\"src/\\u0000\"",
                "\"src/..\"",
                "\"src/a%2f..\"",
                "1",
            ],
        ),
        (
            Pattern::Glob(literal("\"src/*.rs\"")),
            vec!["\"src/a.rs\"", "\"src/.rs\""],
            vec!["\"src/a/b.rs\"", "\"src/a.rsx\"", "\"xsrc/a.rs\"", "\"src/../a.rs\""],
        ),
        (Pattern::Glob(literal("\"**/x\"")), vec!["\"a/b/x\"", "\"/x\""], vec!["\"x\"", "\"a/xy\""]),
        (Pattern::AtMost(literal("50")), vec!["50", "49.99", "-1", "5e1"], vec!["50.01", "\"50\"", "null", "5e2"]),
        (Pattern::AtLeast(literal("0.1")), vec!["0.1", "1e-1", "9007199254740993"], vec!["0.09", "-1", "\"1\""]),
        (Pattern::Absent, vec![], vec!["null", "\"\"", "0"]),
        (Pattern::Any, vec!["null", "{}", "[1]"], vec![]),
        (
            Pattern::All(vec![Pattern::AtLeast(literal("1")), Pattern::AtMost(literal("3"))]),
            vec!["1", "2", "3"],
            vec!["0", "4"],
        ),
    ]
}

#[test]
fn every_operator_has_one_meaning() {
    for (pattern, good, bad) in table() {
        scope_with(&[], |scope| {
            for text in good {
                assert!(pattern.matches(Some(&text.parse().unwrap()), scope), "{pattern:?} should match {text}");
            }
            for text in bad {
                assert!(!pattern.matches(Some(&text.parse().unwrap()), scope), "{pattern:?} should not match {text}");
            }
        });
    }
}

#[test]
fn absent_matches_only_what_says_so() {
    scope_with(&[], |scope| {
        for (pattern, _, _) in table() {
            assert_eq!(pattern.matches(None, scope), matches!(pattern, Pattern::Absent | Pattern::Any), "{pattern:?}");
        }
    });
}

#[test]
fn a_placeholder_is_a_value_of_its_type() {
    scope_with(&[("order", "\"ord_1\""), ("limit", "50")], |scope| {
        let order = Pattern::Is(Operand::Parameter("order".parse().unwrap()));
        let limit = Pattern::AtMost(Operand::Parameter("limit".parse().unwrap()));
        let unknown = Pattern::Is(Operand::Parameter("nobody".parse().unwrap()));
        assert!(order.matches(Some(&"\"ord_1\"".parse().unwrap()), scope));
        assert!(!order.matches(Some(&"\"ord_1 \"".parse().unwrap()), scope));
        assert!(limit.matches(Some(&"50".parse().unwrap()), scope));
        assert!(!limit.matches(Some(&"\"50\"".parse().unwrap()), scope));
        assert!(!unknown.matches(Some(&Value::Null), scope), "a placeholder for nothing matches nothing");
        assert_eq!(limit.in_words(Some(scope)), "a number of at most 50");
    });
}

#[test]
fn a_glob_that_could_blow_up_does_not() {
    let pattern = "*a".repeat(200);
    assert!(!glob(&"a".repeat(199), &pattern));
    assert!(glob(&"a".repeat(4000), &pattern));
}
