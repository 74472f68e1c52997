use super::*;
use portreeve_core::{names::TaskId, time::Millis, value::Value};
use proptest::{collection::vec, prelude::*, sample::select};

fn rules(text: &str) -> CedarRules {
    let file = File { path: "rules/r.cedar", text, folder: Folder::Rules, name: "r".parse().unwrap() };
    let mut findings = Vec::new();
    let rules = CedarRules::read(&[file], &Facts::default(), &mut findings).unwrap();
    assert!(findings.iter().all(|finding| !finding.is_error()), "{findings:?}\n{text}");
    rules
}

/// A call as tests write it
#[derive(Clone, Debug)]
struct Asked {
    agent: &'static str,
    user: Option<&'static str>,
    tool: &'static str,
    variants: Vec<&'static str>,
    class: Class,
    arguments: String,
}

impl Default for Asked {
    fn default() -> Self {
        let arguments = "{}".to_owned();
        Self {
            agent: "bot",
            user: Some("alice"),
            tool: "shop.refund",
            variants: Vec::new(),
            class: Class::Write,
            arguments,
        }
    }
}

impl Asked {
    fn of(&self, rules: &CedarRules) -> BTreeSet<Reason> {
        let Ok(Value::Object(arguments)) = self.arguments.parse::<Value>() else { panic!("{self:?}") };
        let variants: Vec<Name> = self.variants.iter().map(|name| name.parse().unwrap()).collect();
        let user: Option<Name> = self.user.map(|user| user.parse().unwrap());
        let question = Question {
            agent: &self.agent.parse().unwrap(),
            user: user.as_ref(),
            purpose: &"refund-order".parse().unwrap(),
            task: TaskId(7),
            tool: &self.tool.parse().unwrap(),
            variants: &variants.iter().collect::<Vec<_>>(),
            class: self.class,
            arguments: &arguments,
            person: None,
            above: &[],
            matches: &BTreeMap::new(),
            target: None,
            environment: None,
            // Noon of Monday, 5 January 2026.
            now: Millis(1_767_614_400_000),
        };
        let once = rules.judge(&question);
        assert_eq!(once, rules.judge(&question), "kept slices change nothing");
        once.into_iter().collect()
    }

    fn words(&self, rules: &CedarRules) -> Vec<Word> {
        self.of(rules).iter().map(|reason| reason.word).collect()
    }
}

fn when(condition: &str, arguments: &str) -> Option<Word> {
    let rules = rules(&format!("forbid (principal, action, resource) when {{ {condition} }};"));
    Asked { arguments: arguments.to_owned(), ..Asked::default() }.words(&rules).first().copied()
}

#[test]
fn numbers_as_cedar_sees_them() {
    use Word::{RuleFailed, RuleForbids};
    for (value, condition, expected) in [
        ("20", "context.input.x == 20", Some(RuleForbids)),
        ("20.0", "context.input.x == 20", Some(RuleForbids)),
        ("2e1", "context.input.x > 19", Some(RuleForbids)),
        ("9223372036854775807", "context.input.x == 9223372036854775807", Some(RuleForbids)),
        ("20.5", "context.input.x == decimal(\"20.5\")", Some(RuleForbids)),
        ("20.1234", "context.input.x.lessThan(decimal(\"20.1235\"))", Some(RuleForbids)),
        ("-922337203685477.5808", "context.input.x.lessThan(decimal(\"0.0\"))", Some(RuleForbids)),
        // What Cedar cannot hold is there, equals nothing, and cannot be compared.
        ("922337203685477.5808", "context.input.x.greaterThan(decimal(\"1.0\"))", Some(RuleFailed)),
        ("20.12345", "context.input.x.greaterThan(decimal(\"1.0\"))", Some(RuleFailed)),
        ("1e30", "context.input has x && context.input.x > 100", Some(RuleFailed)),
        ("9223372036854775808", "context.input.x > 100", Some(RuleFailed)),
        ("0.0000001", "context.input.x == decimal(\"0.0\")", None),
        ("1e30", "context.unreadable.contains(\"x\")", Some(RuleForbids)),
        ("null", "context.unreadable == [\"x\"]", Some(RuleForbids)),
        ("null", "context.input.x == \"a\"", None),
        ("null", "context.input.x like \"*\"", Some(RuleFailed)),
        ("20.5", "context.input.x > 20", Some(RuleFailed)),
        ("\"500\"", "context.input.x > 20", Some(RuleFailed)),
        ("3", "context.unreadable.isEmpty()", Some(RuleForbids)),
    ] {
        assert_eq!(when(condition, &format!("{{\"x\":{value}}}")), expected, "{value} {condition}");
    }
}

#[test]
fn structures_keep_what_cannot_be_read() {
    use Word::RuleForbids;
    for (value, condition, expected) in [
        ("[\"a\",\"b\"]", "context.input.x.contains(\"b\")", Some(RuleForbids)),
        ("{\"a\":{\"b\":true}}", "context.input.x.a.b", Some(RuleForbids)),
        // Were null left out, these would be equal, and the rule would let them pass.
        ("[\"a\",null]", "!([\"a\"].containsAll(context.input.x))", Some(RuleForbids)),
        ("{\"a\":1,\"b\":null}", "!(context.input.x == {\"a\": 1})", Some(RuleForbids)),
        ("[{\"a\":null}]", "context.unreadable.contains(\"x\")", Some(RuleForbids)),
        ("[]", "context.input.x.isEmpty()", Some(RuleForbids)),
    ] {
        assert_eq!(when(condition, &format!("{{\"x\":{value}}}")), expected, "{value} {condition}");
    }
}

#[test]
fn arguments_as_deep_as_a_message_may_be() {
    let deep = format!("{{\"x\":{}null{}}}", "[{\"y\":".repeat(31), "}]".repeat(31));
    assert_eq!(when("context.input has x && context.unreadable.contains(\"x\")", &deep), Some(Word::RuleForbids));
}

#[test]
fn the_context() {
    for condition in [
        "context.task.purpose == \"refund-order\" && context.task.id == \"task_0000000000007\"",
        "context.user == \"alice\"",
        "context.class == \"write\"",
        "context.time.hour == 12 && context.time.weekday == 1 && context.time.ms == 1767614400000",
        "principal == Agent::\"bot\" && principal is Agent",
        "action in Action::\"class:write\" && action in Action::\"connector:shop\"",
        "resource == Tool::\"shop.refund\" && resource in Connector::\"shop\"",
    ] {
        assert_eq!(when(condition, "{}"), Some(Word::RuleForbids), "{condition}");
    }
    let rules = rules("forbid (principal, action, resource) unless { context has user };");
    assert_eq!(Asked { user: None, ..Asked::default() }.words(&rules), [Word::RuleForbids]);
    assert_eq!(Asked::default().words(&rules), []);
}

#[test]
fn a_reason_says_where_it_comes_from() {
    let rules = rules(
        "@id(\"large\") @reason(\"made by people\") forbid (principal, action, resource);
         @ask(\"leads\") forbid (principal, action, resource);
         forbid (principal, action, resource) when { context.input.missing };",
    );
    let expected = BTreeSet::from([
        Reason::new(Word::RuleForbids, "rule:large").with("because", "made by people"),
        Reason::new(Word::ApprovalNeeded, "rule:r#2").with("who", "leads"),
        Reason::new(Word::RuleFailed, "rule:r#3"),
    ]);
    assert_eq!(Asked::default().of(&rules), expected);
}

#[test]
fn a_rule_about_a_tool_holds_for_its_variants() {
    let of = |scope: &str, variants: &[&'static str], class| {
        let rules = rules(&format!("forbid (principal, action {scope}, resource);"));
        let asked = Asked { variants: variants.to_vec(), class, ..Asked::default() };
        !asked.of(&rules).is_empty()
    };
    for variants in [&[][..], &["purge"], &["purge", "dry"]] {
        assert!(of("== Action::\"shop.refund\"", variants, Class::Write));
        assert!(of("in Action::\"shop.refund\"", variants, Class::Write));
        assert!(of("in [Action::\"connector:shop\"]", variants, Class::Write));
        assert!(of("in Action::\"class:write\"", variants, Class::Write));
        assert!(!of("in Action::\"class:read\"", variants, Class::Write));
        assert_eq!(of("== Action::\"shop.refund#dry\"", variants, Class::Write), variants.contains(&"dry"));
    }
    assert!(of("in Action::\"class:escalate\"", &["purge"], Class::Escalate));
}

#[test]
fn only_an_outright_rule_hides() {
    let hides = |rule: &str| rules(rule).hides(&"shop.refund".parse().unwrap(), Class::Write);
    for rule in [
        "forbid (principal, action, resource);",
        "forbid (principal is Agent, action == Action::\"shop.refund\", resource);",
        "forbid (principal, action in [Action::\"class:write\"], resource in Connector::\"shop\");",
        "forbid (principal, action in Action::\"connector:shop\", resource is Tool in Connector::\"shop\");",
        "forbid (principal, action, resource == Tool::\"shop.refund\");",
    ] {
        assert!(hides(rule), "{rule}");
        assert!(!Asked::default().of(&rules(rule)).is_empty(), "{rule}");
    }
    for rule in [
        "",
        "@ask(\"leads\") forbid (principal, action, resource);",
        "forbid (principal, action, resource) when { true };",
        "forbid (principal == Agent::\"bot\", action, resource);",
        "forbid (principal, action in Action::\"class:read\", resource);",
        "forbid (principal, action, resource in Connector::\"other\");",
        "forbid (principal, action, resource is Connector);",
    ] {
        assert!(!hides(rule), "{rule}");
    }
}

#[test]
fn slices_are_bounded() {
    let rules = rules("forbid (principal, action == Action::\"shop.t1\", resource);");
    for number in 0..=SLICES_MAX {
        let tool: Tool = format!("shop.t{number}").parse().unwrap();
        let slice = Slice::new(&rules, &(tool.clone(), Class::Read, Vec::new())).unwrap();
        assert_eq!(slice.policies.is_empty(), number != 1);
        rules.slices.write().unwrap().insert((tool, Class::Read, Vec::new()), Arc::new(slice));
    }
    assert_eq!(Asked { tool: "shop.other", ..Asked::default() }.words(&rules), []);
    assert_eq!(rules.slices.read().unwrap().len(), 1);
}

const TOOLS: [&str; 4] = ["shop.refund", "shop.look", "mail.send", "mail.look"];

fn asked() -> impl Strategy<Value = Asked> {
    let classes = [Class::Read, Class::Write, Class::Execute, Class::Escalate];
    let arguments = [
        "{}",
        "{\"x\":1}",
        "{\"x\":1.5}",
        "{\"x\":null}",
        "{\"x\":[1,\"a\",1e40]}",
        "{\"x\":\"a\",\"y\":{\"z\":true}}",
    ];
    let variants = [vec![], vec!["a"], vec!["b"], vec!["a", "b"]];
    (
        select(&["bot", "night"][..]),
        prop::bool::ANY,
        select(&TOOLS[..]),
        select(variants.to_vec()),
        select(classes.to_vec()),
        select(arguments.to_vec()),
    )
        .prop_map(|(agent, user, tool, variants, class, arguments)| Asked {
            agent,
            user: user.then_some("alice"),
            tool,
            variants,
            class,
            arguments: arguments.to_owned(),
        })
}

fn rule() -> impl Strategy<Value = String> {
    let action = prop_oneof![
        Just(String::new()),
        (select(&TOOLS[..]), select(&["", "#a", "#b"][..]))
            .prop_map(|(tool, variant)| format!(" == Action::\"{tool}{variant}\"")),
        select(&["connector:shop", "connector:mail", "class:read", "class:write", "class:escalate", "shop.refund"][..])
            .prop_map(|group| format!(" in Action::\"{group}\"")),
        vec(select(&["connector:mail", "class:read", "shop.refund#a", "mail.look"][..]), 0..3).prop_map(|groups| {
            let groups: Vec<_> = groups.iter().map(|group| format!("Action::\"{group}\"")).collect();
            format!(" in [{}]", groups.join(", "))
        }),
    ];
    let principal = select(&["", " == Agent::\"bot\"", " is Agent"][..]);
    let resource = select(&["", " == Tool::\"shop.look\"", " in Connector::\"mail\"", " is Tool"][..]);
    let condition = select(
        &[
            "",
            " when { context.input has x }",
            " unless { context has user }",
            " when { context.input.x > 0 }",
            " when { action in Action::\"shop.refund\" }",
            " when { action == Action::\"mail.look\" || context.input.y.z }",
        ][..],
    );
    let ask = select(&["", "@ask(\"leads\") "][..]);
    (ask, principal, action, resource, condition).prop_map(|(ask, principal, action, resource, condition)| {
        format!("{ask}forbid (principal{principal}, action{action}, resource{resource}){condition};\n")
    })
}

/// The same rules with every one of them shown to Cedar
fn unsliced(text: &str) -> CedarRules {
    let mut all = rules(text);
    all.by_action.clear();
    all.any = (0..all.rules.len()).collect();
    all
}

proptest! {
    #[test]
    fn slicing_changes_nothing(rules_text in vec(rule(), 0..12), questions in vec(asked(), 1..8)) {
        let text = rules_text.concat();
        let (sliced, whole) = (rules(&text), unsliced(&text));
        for asked in questions {
            prop_assert_eq!(asked.of(&sliced), asked.of(&whole));
        }
    }

    #[test]
    fn a_rule_only_adds_reasons(before in vec(rule(), 0..8), added in rule(), questions in vec(asked(), 1..8)) {
        let (few, more) = (rules(&before.concat()), rules(&(before.concat() + &added)));
        for asked in questions {
            prop_assert!(asked.of(&few).is_subset(&asked.of(&more)));
            let tool: Tool = asked.tool.parse().unwrap();
            prop_assert!(!few.hides(&tool, asked.class) || more.hides(&tool, asked.class));
        }
    }

    #[test]
    fn what_is_hidden_is_refused(text in vec(rule(), 0..8), asked in asked()) {
        let rules = rules(&text.concat());
        if rules.hides(&asked.tool.parse().unwrap(), asked.class) {
            prop_assert!(asked.words(&rules).contains(&Word::RuleForbids));
        }
    }
}
