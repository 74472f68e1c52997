use super::*;
use crate::{bundle::facts, files::Files};
use portreeve_core::{
    hash::Hash,
    names::TaskId,
    policy::{Quorum, Resource, User},
    proof::{Binding, Proof, Proven, Way},
    rules::Link,
    time::Millis,
    value::Value,
};
use proptest::{collection::vec, prelude::*, sample::select};

/// Rules of a policy about which nothing else is known
fn rules(text: &str) -> CedarRules {
    let (rules, findings) = rules_of(&[], text);
    assert!(findings.iter().all(|finding| !finding.is_error()), "{findings:?}\n{text}");
    rules
}

/// The same without holding them against the schema
fn unchecked(policy: &[(&str, &str)], text: &str) -> CedarRules {
    let files: Files = policy.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let facts = facts(&files.sorted().unwrap(), &mut Vec::new());
    let model = Arc::new(Model::new(&facts, &BTreeSet::new()));
    let file = File { path: "rules/r.cedar", text, folder: Folder::Rules, name: "r".parse().unwrap() };
    let rules = rule::rules(&file, &facts, &model, &mut BTreeMap::new(), &mut Vec::new());
    CedarRules::new(rules, model, Types::new().unwrap())
}

/// Rules of a policy with these files
fn rules_of(policy: &[(&str, &str)], text: &str) -> (CedarRules, Vec<Finding>) {
    let own = [("rules/r.cedar", text)];
    let files = policy.iter().chain(&own);
    let files: Files = files.map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let mut findings = Vec::new();
    let sorted = files.sorted().unwrap();
    let facts = facts(&sorted, &mut findings);
    let rules =
        CedarRules::read(&sorted, &facts, Arc::new(Model::new(&facts, &BTreeSet::new())), &mut findings).unwrap();
    rules.validate(&sorted, &mut findings);
    (rules, findings)
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
    target: Option<Resource>,
    environment: Option<&'static str>,
    matches: Vec<(&'static str, bool)>,
    proven: Option<Proven>,
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
            target: None,
            environment: None,
            matches: Vec::new(),
            proven: None,
        }
    }
}

impl Asked {
    fn of(&self, rules: &CedarRules) -> BTreeSet<Reason> {
        let mut reasons = Vec::new();
        self.ask(|question| {
            reasons = rules.judge(question);
            assert_eq!(reasons, rules.judge(question), "kept slices change nothing");
        });
        reasons.into_iter().collect()
    }

    fn ask(&self, with: impl FnOnce(&Question<'_>)) {
        let Ok(Value::Object(arguments)) = self.arguments.parse::<Value>() else { panic!("{self:?}") };
        let variants: Vec<Name> = self.variants.iter().map(|name| name.parse().unwrap()).collect();
        let user: Option<Name> = self.user.map(|user| user.parse().unwrap());
        let alice = User {
            accounts: BTreeSet::new(),
            passkeys: BTreeSet::new(),
            groups: BTreeSet::from(["support-l2".parse().unwrap()]),
            roles: BTreeSet::new(),
            sign_in: None,
            attributes: BTreeMap::from([("refund_limit".to_owned(), Value::Number("50".parse().unwrap()))]),
        };
        let names: Vec<(Name, bool)> =
            self.matches.iter().map(|(name, holds)| (name.parse().unwrap(), *holds)).collect();
        let matches = names.iter().map(|(name, holds)| (name, *holds)).collect();
        let question = Question {
            agent: &self.agent.parse().unwrap(),
            user: user.as_ref(),
            purpose: &"refund-order".parse().unwrap(),
            task: TaskId(7),
            tool: &self.tool.parse().unwrap(),
            variants: &variants.iter().collect::<Vec<_>>(),
            class: self.class,
            arguments: &arguments,
            person: user.as_ref().map(|_| &alice),
            groups: &[],
            above: &[Link { agent: &"boss".parse().unwrap(), purpose: &"plan".parse().unwrap() }],
            matches: &matches,
            target: self.target.as_ref(),
            environment: self.environment,
            // Noon of Monday, 5 January 2026.
            proven: self.proven.as_ref(),
            now: Millis(1_767_614_400_000),
        };
        with(&question);
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
        "context.user == User::\"alice\" && context.user is User",
        "context.user in Group::\"support-l2\" && !(context.user in Group::\"leads\")",
        "!(context has environment)",
        "context.chain.depth == 1 && context.chain.agents.contains(Agent::\"boss\") && context.chain.purposes == [\"plan\"]",
        "context.class == \"write\"",
        "context.proof.how == \"account\" && context.proof.bound == \"none\" && !(context.proof has issuer)",
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
fn a_rule_may_demand_that_tokens_are_bound() {
    let demands = rules("forbid (principal, action, resource) when { context.proof.bound == \"none\" };");
    let of = |proven: &Option<Proven>| Asked { proven: proven.clone(), ..Asked::default() }.words(&demands);
    let bearer = Proof { way: Way::Spiffe("spiffe://example.org/bot".to_owned()), replicas: false, attest: None };
    let bearer = bearer.imagined(Millis(i64::MAX));
    let bound = Proven { binding: Some(Binding::Dpop(Hash::of(b"key"))), ..bearer.clone() };
    assert_eq!(of(&None), [Word::RuleForbids]);
    assert_eq!(of(&Some(bearer.clone())), [Word::RuleForbids]);
    assert_eq!(of(&Some(bound)), []);

    let who = rules(
        "forbid (principal, action, resource)
         unless { context.proof has subject && context.proof.subject == \"spiffe://example.org/bot\" };",
    );
    assert_eq!(Asked { proven: Some(bearer), ..Asked::default() }.words(&who), []);
    assert_eq!(Asked::default().words(&who), [Word::RuleForbids]);
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
        Reason::asking("rule:r#2", &Quorum::one_of("leads".parse().unwrap())),
        Reason::new(Word::RuleFailed, "rule:r#3").with("why", "`context.input.missing` is not there"),
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

/// A policy with targets, matchers, toolsets and accepted definitions
pub(super) const POLICY: [(&str, &str); 5] = [
    (
        "connectors/shop.toml",
        "command = [\"shop-server\"]\n\
         [toolsets]\n\"orders.read\" = [\"look\"]\norders = [\":orders.read\", \"refund#a\"]\n\
         [tools.look]\nclass = \"read\"\narguments = { x = \"selector\" }\n\
         [tools.refund]\nclass = \"write\"\n\
         arguments = { x = \"quantity\", n = \"quantity\", id = \"selector\", shop = \"selector\", y = \"control\", tags = \"content\", odd = \"content\" }\n\
         target = { type = \"Order\", id = [\"shop\", \"id\"], in = [{ type = \"Shop\", id = [\"shop\"] }] }\n\
         matchers = { small = { x = { at_most = 20 } } }\n\
         [[tools.refund.variants]]\nname = \"a\"\nclass = \"read\"\nwhere = { n = 1 }\n\
         [[tools.refund.variants]]\nname = \"b\"\nclass = \"escalate\"\nwhere = { n = 2 }\n",
    ),
    (
        "connectors/mail.toml",
        "command = [\"mail-server\"]\n[tools.send]\nclass = \"write\"\n[tools.look]\nclass = \"read\"\n",
    ),
    (
        "pins/shop.json",
        r#"[{"name":"look","inputSchema":{"type":"object","properties":{"x":{"type":"string"}}}},
        {"name":"refund","inputSchema":{"type":"object","properties":{
            "x":{"type":"number"},"n":{"type":"integer"},"id":{"type":"string"},"shop":{"type":"string"},
            "y":{"type":"object","properties":{"z":{"type":"boolean"}}},
            "tags":{"type":"array","items":{"type":"number"}},"odd":{"type":["string","integer"]}
        },"required":["id","shop"]}}]"#,
    ),
    ("users/alice.toml", "accounts = [\"alice\"]\ngroups = [\"support-l2\"]\n[attributes]\nrefund_limit = 50\n"),
    ("agents/bot.toml", "owner = \"a@example.com\"\n"),
];

fn typed(text: &str) -> CedarRules {
    let (rules, findings) = rules_of(&POLICY, text);
    let errors: Vec<_> = findings.iter().filter(|finding| finding.is_error()).collect();
    assert!(errors.is_empty(), "{errors:?}\n{text}");
    rules
}

fn order(id: &str) -> Option<Resource> {
    let shop = Resource { kind: "Shop".to_owned(), id: "berlin".to_owned(), within: Vec::new() };
    Some(Resource { kind: "Order".to_owned(), id: format!("berlin/{id}"), within: vec![shop] })
}

/// A refund of order 7 in Berlin
fn refund(arguments: &str) -> Asked {
    let arguments = format!("{{\"id\":\"7\",\"shop\":\"berlin\"{arguments}}}");
    Asked {
        arguments,
        target: order("7"),
        matches: vec![("small", true)],
        environment: Some("staging"),
        ..Asked::default()
    }
}

#[test]
fn a_number_is_a_decimal_and_an_integer_is_not() {
    use Word::{RuleFailed, RuleForbids};
    for (arguments, condition, expected) in [
        (r#","x":5"#, "context.input has x && context.input.x == decimal(\"5.0\")", Some(RuleForbids)),
        (r#","x":5.5"#, "context.input has x && context.input.x.greaterThan(decimal(\"5.0\"))", Some(RuleForbids)),
        (r#","x":5e2"#, "context.input has x && context.input.x.greaterThan(decimal(\"5.0\"))", Some(RuleForbids)),
        (r#","x":-5"#, "context.input has x && context.input.x.greaterThan(decimal(\"-5.1\"))", Some(RuleForbids)),
        (r#","x":1e30"#, "context.input has x && context.input.x.greaterThan(decimal(\"5.0\"))", Some(RuleFailed)),
        (r#","x":0.00001"#, "context.input has x && context.input.x.lessThan(decimal(\"5.0\"))", Some(RuleFailed)),
        (r#","x":1e-7"#, "context.unreadable.contains(\"x\")", Some(RuleForbids)),
        (r#","x":null"#, "context.unreadable.contains(\"x\")", Some(RuleForbids)),
        (r#","x":null"#, "context.input has x && context.input.x.lessThan(decimal(\"5.0\"))", Some(RuleFailed)),
        (r#","n":5"#, "context.input has n && context.input.n > 4", Some(RuleForbids)),
        (r#","n":5.0"#, "context.input has n && context.input.n == 5", Some(RuleForbids)),
        (r#","n":1e30"#, "context.input has n && context.input.n > 4", Some(RuleFailed)),
        (
            r#","tags":[1,2.5]"#,
            "context.input has tags && context.input.tags.contains(decimal(\"1.0\"))",
            Some(RuleForbids),
        ),
        (r#","y":{"z":true}"#, "context.input has y && context.input.y has z && context.input.y.z", Some(RuleForbids)),
        (r#","odd":"text""#, "context.input has odd", Some(RuleForbids)),
        (r#","odd":"text""#, "context.unreadable.contains(\"odd\")", Some(RuleForbids)),
        (r#","odd":"text""#, "!(context.input has x)", Some(RuleForbids)),
        ("", "context.input has odd", None),
    ] {
        let rules =
            typed(&format!("forbid (principal, action == Action::\"shop.refund\", resource) when {{ {condition} }};"));
        assert_eq!(refund(arguments).words(&rules).first().copied(), expected, "{arguments} {condition}");
    }
}

#[test]
fn what_a_call_is_about() {
    for rule in [
        "forbid (principal, action, resource == Order::\"berlin/7\");",
        "forbid (principal, action, resource in Shop::\"berlin\");",
        "forbid (principal, action, resource is Order in Shop::\"berlin\");",
        "forbid (principal, action, resource in Tool::\"shop.refund\");",
        "forbid (principal, action, resource in Connector::\"shop\");",
        "forbid (principal, action, resource) when { resource in Shop::\"berlin\" };",
        "forbid (principal, action, resource) when { context has environment && context.environment == \"staging\" };",
        "forbid (principal, action == Action::\"shop.refund\", resource) when { context.match.small };",
        "forbid (principal, action == Action::\"shop.refund\", resource) when { context has user && context.user in Group::\"support-l2\" };",
        "forbid (principal, action == Action::\"shop.refund\", resource) \
         when { context has user && context.user.refund_limit == decimal(\"50.0\") };",
    ] {
        assert_eq!(refund("").words(&typed(rule)), [Word::RuleForbids], "{rule}");
    }
    for rule in [
        "forbid (principal, action, resource == Order::\"berlin/8\");",
        "forbid (principal, action, resource in Shop::\"paris\");",
        "forbid (principal, action, resource is Tool);",
        "forbid (principal, action == Action::\"shop.refund\", resource) when { !context.match.small };",
    ] {
        assert_eq!(refund("").words(&typed(rule)), [], "{rule}");
    }
    // What is unclear is missing, and the rule that looks at it fails.
    let unclear = Asked { matches: Vec::new(), ..refund("") };
    for sign in ["", "!"] {
        let rules = typed(&format!(
            "forbid (principal, action == Action::\"shop.refund\", resource) when {{ {sign}context.match.small }};"
        ));
        let reason = Reason::new(Word::RuleFailed, "rule:r#1").with("why", "`context.match.small` is not there");
        assert_eq!(unclear.of(&rules), BTreeSet::from([reason]));
    }
}

#[test]
fn toolsets_are_groups_of_actions() {
    let of = |set: &str, asked: &Asked| {
        !asked
            .of(&typed(&format!("forbid (principal, action in Action::\"toolset:shop:{set}\", resource);")))
            .is_empty()
    };
    let look = Asked { tool: "shop.look", class: Class::Read, ..Asked::default() };
    assert!(of("orders.read", &look) && of("orders", &look), "a set in a set");
    let variant = Asked { variants: vec!["a"], ..refund(r#","n":1"#) };
    assert!(of("orders", &variant) && !of("orders.read", &variant));
    assert!(!of("orders", &refund("")), "only a variant of it is a member");
}

#[test]
fn a_failure_says_why_without_values() {
    let why = |condition: &str, arguments: &str| {
        let rules = rules(&format!("forbid (principal, action, resource) when {{ {condition} }};"));
        let reasons = Asked { arguments: arguments.to_owned(), ..Asked::default() }.of(&rules);
        let reason = reasons.into_iter().next().unwrap();
        assert_eq!(reason.word, Word::RuleFailed);
        let why = reason.about.get("why").unwrap().clone();
        assert!(!why.contains("4711"), "{why}");
        why
    };
    assert_eq!(why("context.input.x > 1", "{}"), "`context.input.x` is not there");
    assert_eq!(why("context.input.x > 1", r#"{"x":"4711"}"#), "`context.input.x`: expected long, got string");
    assert_eq!(why("context.input.x > 1", r#"{"x":47.11}"#), "`context.input.x`: expected long, got decimal");
    assert_eq!(
        why("context.input.x > 1", r#"{"x":4711e40}"#),
        "`context.input.x`: expected long, got (entity of type `Unreadable`)"
    );
    assert_eq!(
        why("context.input.x.y == 1", r#"{"x":4711e40}"#),
        "`context.input.x.y` looks into something of which nothing is known"
    );
    assert_eq!(
        why("decimal(context.input.x) == decimal(\"1.0\")", r#"{"x":"4711x"}"#),
        "`decimal(context.input.x)` is nothing that `decimal` can read"
    );
    assert_eq!(
        why("context.input.x * 9223372036854775807 > 1", r#"{"x":4711}"#),
        "`context.input.x * 9223372036854775807` becomes too large"
    );
    assert_eq!(why("context.user.missing", "{}"), "`context.user.missing` is not there");
    let long = format!("context.input.{} > 1", "x".repeat(200));
    assert!(why(&long, "{}").chars().count() < 120);
}

#[test]
fn a_user_of_whom_nothing_is_known_fails_rules_about_users() {
    let rules = rules("forbid (principal, action, resource) when { context.user in Group::\"interns\" };");
    let user: Name = "zoe".parse().unwrap();
    let question = Question {
        agent: &"bot".parse().unwrap(),
        user: Some(&user),
        person: None,
        groups: &[],
        purpose: &"p".parse().unwrap(),
        task: TaskId(1),
        above: &[],
        tool: &"shop.look".parse().unwrap(),
        variants: &[],
        class: Class::Read,
        arguments: &BTreeMap::new(),
        matches: &BTreeMap::new(),
        target: None,
        environment: None,
        proven: None,
        now: Millis(0),
    };
    assert_eq!(rules.judge(&question).first().map(|reason| reason.word), Some(Word::RuleFailed));
}

#[test]
fn a_tool_is_hidden_only_in_all_its_variants() {
    let hides = |rules: &str| typed(rules).hides(&"shop.refund".parse().unwrap(), Class::Write);
    for rules in [
        "forbid (principal, action in Action::\"shop.refund\", resource);",
        "forbid (principal, action in Action::\"connector:shop\", resource is Order);",
        "forbid (principal, action, resource in Tool::\"shop.refund\");",
        "forbid (principal, action in [Action::\"class:read\", Action::\"class:write\", Action::\"class:escalate\"], resource);",
        "forbid (principal, action in [Action::\"class:write\", Action::\"class:escalate\"], resource);\n\
         forbid (principal, action in Action::\"toolset:shop:orders\", resource);",
    ] {
        assert!(hides(rules), "{rules}");
    }
    for rules in [
        // A trial, which only reads, is left.
        "forbid (principal, action in Action::\"class:write\", resource);",
        "forbid (principal, action in [Action::\"class:write\", Action::\"class:escalate\"], resource);",
        "forbid (principal, action in Action::\"toolset:shop:orders\", resource);",
        "forbid (principal, action, resource == Tool::\"shop.refund\");",
        "forbid (principal, action, resource == Order::\"berlin/7\");",
        "forbid (principal, action, resource is Tool);",
    ] {
        assert!(!hides(rules), "{rules}");
    }
    assert!(
        typed("forbid (principal, action in Action::\"toolset:shop:orders\", resource);")
            .hides(&"shop.look".parse().unwrap(), Class::Read)
    );
}

/// What ordinary Cedar tools make of the schema that is printed
fn printed(model: &Model) -> (cedar_policy::Schema, String) {
    let text = schema::schema(model, schema::Part::WHOLE);
    let (schema, warnings) = cedar_policy::Schema::from_cedarschema_str(&text).unwrap();
    assert_eq!(warnings.map(|warning| warning.to_string()).collect::<Vec<_>>(), Vec::<String>::new());
    (schema, text)
}

#[test]
fn questions_are_of_the_types_that_the_schema_says() {
    let rules =
        typed("forbid (principal, action, resource) when { context has user && context.user in Group::\"x\" };");
    let (schema, text) = printed(&rules.model);
    for (arguments, variants) in [
        ("", vec![]),
        (r#","x":5,"n":5,"tags":[1,2.5],"y":{"z":true},"odd":5"#, vec![]),
        (r#","x":5.25,"y":{},"odd":"a""#, vec!["a", "b"]),
    ] {
        let asked = Asked { variants, ..refund(arguments) };
        asked.ask(|question| {
            let slice = rules.slice(question).unwrap();
            let input = rules.model.tools.get(question.tool).unwrap().input.as_ref();
            let (resource, entities) = rules.entities(&slice, question).unwrap();
            for action in &slice.actions {
                let context = context::context(question, input, &rules.types).unwrap();
                let principal = uid(&rules.types.agent, question.agent.as_str());
                let request = Request::new(principal, action.clone(), resource.clone(), context, Some(&schema));
                request.unwrap_or_else(|error| panic!("{error} {asked:?}\n{text}"));
            }
            // Actions stand in the schema; at run time the tool has the class of the call.
            let others = entities
                .unwrap()
                .iter()
                .filter(|entity| entity.uid().type_name().to_string() != "Action")
                .cloned()
                .collect::<Vec<_>>();
            Entities::from_entities(others, Some(&schema)).unwrap();
        });
    }
}

#[test]
fn the_whole_schema_accepts_what_its_parts_accept() {
    let good = "forbid (principal, action in Action::\"toolset:shop:orders\", resource) when { context has user };\n\
        forbid (principal, action == Action::\"shop.refund#b\", resource in Shop::\"x\") when { context.match.small };\n\
        @ask(\"support-l2\") forbid (principal, action, resource) when { context.chain.depth > 0 };\n";
    let rules = typed(good);
    let (schema, _) = printed(&rules.model);
    let validator = cedar_policy::Validator::new(schema);
    let result = validator.validate(&good.parse().unwrap(), cedar_policy::ValidationMode::Strict);
    assert!(result.validation_passed_without_warnings(), "{result}");
    let bad = "forbid (principal, action == Action::\"shop.refund\", resource) when { context.input.x > 1 };";
    let (_, findings) = rules_of(&POLICY, bad);
    assert!(findings.iter().any(Finding::is_error));
    assert!(!validator.validate(&bad.parse().unwrap(), cedar_policy::ValidationMode::Strict).validation_passed());
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
        prop::bool::ANY,
        select(&TOOLS[..]),
        select(variants.to_vec()),
        select(classes.to_vec()),
        select(arguments.to_vec()),
    )
        .prop_map(|(agent, user, clear, tool, variants, class, arguments)| Asked {
            agent,
            user: user.then_some("alice"),
            tool,
            variants,
            class,
            arguments: arguments.to_owned(),
            target: order("7").filter(|_| tool == "shop.refund"),
            matches: if clear { vec![("small", user)] } else { Vec::new() },
            environment: user.then_some("staging"),
            proven: None,
        })
}

fn rule() -> impl Strategy<Value = String> {
    let action = prop_oneof![
        Just(String::new()),
        (select(&TOOLS[..]), select(&["", "#a", "#b"][..]))
            .prop_map(|(tool, variant)| format!(" == Action::\"{tool}{variant}\"")),
        select(
            &[
                "connector:shop",
                "connector:mail",
                "class:read",
                "class:write",
                "class:escalate",
                "shop.refund",
                "toolset:shop:orders",
                "toolset:shop:orders.read"
            ][..]
        )
        .prop_map(|group| format!(" in Action::\"{group}\"")),
        vec(select(&["connector:mail", "class:read", "shop.refund#a", "mail.look"][..]), 0..3).prop_map(|groups| {
            let groups: Vec<_> = groups.iter().map(|group| format!("Action::\"{group}\"")).collect();
            format!(" in [{}]", groups.join(", "))
        }),
    ];
    let principal = select(&["", " == Agent::\"bot\"", " is Agent"][..]);
    let resource = select(
        &[
            "",
            " == Tool::\"shop.look\"",
            " in Connector::\"mail\"",
            " is Tool",
            " == Order::\"berlin/7\"",
            " in Shop::\"berlin\"",
            " is Order",
        ][..],
    );
    let condition = select(
        &[
            "",
            " when { context.input has x }",
            " unless { context has user }",
            " when { context.input.x > 0 }",
            " when { context.match.small }",
            " unless { context.user in Group::\"support-l2\" }",
            " when { context.environment == \"staging\" && context.chain.depth > 0 }",
            " unless { resource in Shop::\"berlin\" }",
            " when { action in Action::\"shop.refund\" }",
            " when { action == Action::\"mail.look\" || context.input.y.z }",
        ][..],
    );
    let ask = select(&["", "@ask(\"leads\") "][..]);
    (ask, principal, action, resource, condition).prop_map(|(ask, principal, action, resource, condition)| {
        format!("{ask}forbid (principal{principal}, action{action}, resource{resource}){condition};\n")
    })
}

/// Rules of the typed policy, also those that a check would refuse
fn any(text: &str) -> CedarRules {
    unchecked(&POLICY, text)
}

/// The same rules with every one of them shown to Cedar
fn unsliced(text: &str) -> CedarRules {
    let mut all = any(text);
    all.by_action.clear();
    all.any = (0..all.rules.len()).collect();
    all
}

proptest! {
    #[test]
    fn slicing_changes_nothing(rules_text in vec(rule(), 0..12), questions in vec(asked(), 1..8)) {
        let text = rules_text.concat();
        let (sliced, whole) = (any(&text), unsliced(&text));
        for asked in questions {
            prop_assert_eq!(asked.of(&sliced), asked.of(&whole));
        }
    }

    #[test]
    fn a_rule_only_adds_reasons(before in vec(rule(), 0..8), added in rule(), questions in vec(asked(), 1..8)) {
        let (few, more) = (any(&before.concat()), any(&(before.concat() + &added)));
        for asked in questions {
            prop_assert!(asked.of(&few).is_subset(&asked.of(&more)));
            let tool: Tool = asked.tool.parse().unwrap();
            prop_assert!(!few.hides(&tool, asked.class) || more.hides(&tool, asked.class));
        }
    }

    #[test]
    fn what_is_hidden_is_refused(text in vec(rule(), 0..8), asked in asked()) {
        let rules = any(&text.concat());
        // The class is that of the variants, as the core has it.
        let subject = rules.model.tools.get(&asked.tool.parse().unwrap()).unwrap();
        let variants: Vec<_> = asked.variants.iter().copied().filter(|name| subject.variants.contains_key(*name)).collect();
        let class = variants.iter().filter_map(|name| subject.variants.get(*name)).max().copied();
        let asked = Asked { class: class.unwrap_or(subject.class), variants, ..asked };
        if rules.hides(&asked.tool.parse().unwrap(), subject.class) {
            prop_assert!(asked.words(&rules).contains(&Word::RuleForbids));
        }
    }
}
