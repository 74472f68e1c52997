//! Policies and servers that scenarios name.

use portreeve_core::{names::Tool, policy::Bundle, value::Value};
use portreeve_rules::Files;
use std::{collections::BTreeMap, sync::Arc};

/// A policy, and servers that answer at once
#[derive(Clone, Debug)]
pub struct World {
    /// The policy
    pub bundle: Arc<Bundle>,
    /// Every tool that the servers offer
    pub tools: Vec<Tool>,
    /// What a call answers; nothing if it fails
    pub answers: fn(&Tool, &BTreeMap<String, Value>) -> Option<Value>,
}

macro_rules! demo_policy {
    ($($path:literal)*) => {
        /// The files of the demo's policy; its connectors and its user are put in place by whoever plays it
        pub const DEMO_POLICY: &[(&str, &str)] =
            &[$(($path, include_str!(concat!("../../../../policies/demo/", $path)))),*];
    };
}

demo_policy! {
    "agents/report-bot.toml"
    "agents/support-bot.toml"
    "connectors/mail.toml"
    "connectors/shop.toml"
    "purposes/monthly-report.toml"
    "purposes/refund-order.toml"
    "rules/mail.cedar"
    "users/ben.toml"
    "users/lea.toml"
}

/// The world of this name
#[must_use]
pub fn world(name: &str) -> Option<World> {
    match name {
        "demo" => demo(),
        _ => None,
    }
}

/// A shop and a mail box
fn demo() -> Option<World> {
    let files = DEMO_POLICY.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    let bundle = portreeve_rules::compile(&files.collect::<Files>()).ok()?.bundle;
    let tools = bundle.connectors.iter().flat_map(|(connector, facts)| {
        facts.tools.keys().map(|name| Tool { connector: connector.clone(), name: name.clone() })
    });
    Some(World { tools: tools.collect(), bundle, answers })
}

/// Orders that are known are found; the first refund is `re_1`
fn answers(tool: &Tool, arguments: &BTreeMap<String, Value>) -> Option<Value> {
    let id = arguments.get("id").and_then(Value::as_str);
    let known = id.is_none_or(|id| id.starts_with("ord_100") || id.starts_with("msg_"));
    let made = (tool.name.as_str() == "refund").then(|| ("refund".to_owned(), Value::String("re_1".to_owned())));
    known.then(|| Value::Object(made.into_iter().collect()))
}
