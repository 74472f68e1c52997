//! Policies and servers that scenarios name.
//!
//! The policy stands here as data until the room `rules` reads the same from files.

use portreeve_core::{
    decimal::Decimal,
    hash::Hash,
    names::{Name, Tool},
    pattern::{Operand, Pattern},
    policy::{
        Agent, Bundle, Class, Connector, Entry, Kind, Limits, Opening, Parameter, Profile, Purpose, Reach, Role, Usage,
        User, Users,
    },
    rules::NoRules,
    value::Value,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A policy, and servers that answer at once
#[derive(Clone, Debug)]
pub struct World {
    /// The policy
    pub bundle: Arc<Bundle>,
    /// Every tool that the servers offer
    pub tools: Vec<Tool>,
    /// Whether a call succeeds
    pub answers: fn(&Tool, &BTreeMap<String, Value>) -> bool,
}

/// The world of this name
#[must_use]
pub fn world(name: &str) -> Option<World> {
    match name {
        "refund" => refund(),
        _ => None,
    }
}

/// A shop with orders and a mailbox
fn refund() -> Option<World> {
    let tools = ["shop.get_order", "shop.list_orders", "shop.refund", "shop.export_customers", "mail.send"];
    let bundle = Bundle {
        digest: Hash::of(b"refund"),
        agents: names(&["support-bot", "report-bot"])?
            .into_iter()
            .map(|name| (name, Agent { owner: "payments@example.com".to_owned() }))
            .collect(),
        users: BTreeMap::from([("lea".parse().ok()?, lea()?)]),
        connectors: BTreeMap::from([
            connector("shop", &[("get_order", Class::Read), ("list_orders", Class::Read), ("refund", Class::Write)])?,
            connector("mail", &[("send", Class::Write)])?,
        ]),
        purposes: BTreeMap::from([
            ("refund-order".parse().ok()?, refund_order()?),
            ("monthly-report".parse().ok()?, monthly_report()?),
        ]),
        rules: Arc::new(NoRules),
    };
    let tools = tools.iter().map(|tool| tool.parse().ok()).collect::<Option<_>>()?;
    Some(World { bundle: Arc::new(bundle), tools, answers })
}

/// Orders that are known are found; nothing above 1,000 is refunded
fn answers(tool: &Tool, arguments: &BTreeMap<String, Value>) -> bool {
    match tool.name.as_str() {
        "get_order" | "refund" => {
            arguments.get("id").and_then(Value::as_str).is_some_and(|id| ["ord_1001", "ord_1002"].contains(&id))
        }
        _ => true,
    }
}

fn lea() -> Option<User> {
    Some(User {
        accounts: BTreeSet::from(["lea".to_owned()]),
        groups: BTreeSet::from(["support-l2".parse().ok()?]),
        attributes: BTreeMap::from([("refund_limit".to_owned(), "50".parse().ok()?)]),
    })
}

fn connector(name: &str, tools: &[(&str, Class)]) -> Option<(Name, Connector)> {
    let roles = [("subject", Role::Content), ("body", Role::Content), ("to", Role::Destination)];
    let arguments: BTreeMap<_, _> = roles.map(|(name, role)| (name.to_owned(), role)).into();
    let profile = |class| Profile { class, variants: Vec::new(), arguments: arguments.clone() };
    let tools = tools.iter().map(|(tool, class)| Some((tool.parse().ok()?, profile(*class))));
    let reach = Reach::Http { url: format!("http://{name}.test/mcp") };
    Some((name.parse().ok()?, Connector { reach, timeout_ms: 30_000, tools: tools.collect::<Option<_>>()? }))
}

/// Look at one order, refund it once, and tell the customer
fn refund_order() -> Option<Purpose> {
    let parameter = |name: &str| name.parse().ok().map(Operand::Parameter);
    let same = |name: &str| parameter(name).map(Pattern::Is);
    let entries = vec![
        entry("look", "shop.get_order", [("id", same("order")?)], (None, None))?,
        entry(
            "refund",
            "shop.refund",
            [("id", same("order")?), ("amount", Pattern::AtMost(parameter("limit")?))],
            (Some(1), Some("look")),
        )?,
        entry("tell", "mail.send", [("to", same("customer")?)], (Some(1), Some("refund")))?,
    ];
    let pattern = regex::Regex::new(r"^(?:ord_[a-z0-9]+)$").ok()?;
    let parameters = [
        ("order", Kind::Text { pattern: Some(pattern), bytes_max: 64 }),
        ("limit", Kind::Decimal { min: None, max: Decimal::parse("200") }),
        ("customer", Kind::Text { pattern: None, bytes_max: 254 }),
    ];
    Some(Purpose::new(
        ("Check one order and refund it".to_owned(), "payments@example.com".to_owned(), None),
        Opening {
            agents: names(&["support-bot"])?.into_iter().collect(),
            users: Users::Group("support-l2".parse().ok()?),
            bounds: BTreeMap::from([(
                "limit".parse().ok()?,
                Pattern::AtMost(Operand::Attribute("refund_limit".to_owned())),
            )]),
        },
        limits(Some(20)),
        parameters
            .into_iter()
            .map(|(name, kind)| Some((name.parse().ok()?, Parameter { kind, default: None })))
            .collect::<Option<_>>()?,
        entries,
    ))
}

/// What only the reporting agent may do, and for nobody in particular
fn monthly_report() -> Option<Purpose> {
    Some(Purpose::new(
        ("Export the customers for the monthly report".to_owned(), "finance@example.com".to_owned(), None),
        Opening { agents: names(&["report-bot"])?.into_iter().collect(), users: Users::None, bounds: BTreeMap::new() },
        limits(None),
        BTreeMap::new(),
        vec![entry("export", "shop.export_customers", [], (None, None))?],
    ))
}

fn limits(calls: Option<u32>) -> Limits {
    Limits {
        expires_after_ms: 15 * 60_000,
        idle_after_ms: Some(3 * 60_000),
        standing: BTreeSet::from([Class::Read, Class::Write]),
        calls,
    }
}

fn entry<const N: usize>(
    name: &str,
    tool: &str,
    arguments: [(&str, Pattern); N],
    (times, after): (Option<u32>, Option<&str>),
) -> Option<Entry> {
    Some(Entry {
        name: name.parse().ok()?,
        uses: vec![Usage { tool: tool.parse().ok()?, variant: None }],
        arguments: arguments.map(|(name, pattern)| (name.to_owned(), pattern)).into(),
        times,
        after: after.and_then(|after| after.parse().ok()),
        ask: None,
    })
}

fn names(names: &[&str]) -> Option<Vec<Name>> {
    names.iter().map(|name| name.parse().ok()).collect()
}
