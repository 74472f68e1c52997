//! Policies and servers that scenarios name.

use portreeve_core::{
    names::{Name, TaskId, Tool},
    policy::{Bundle, Class},
    value::Value,
};
use portreeve_rules::Files;
use std::{collections::BTreeMap, sync::Arc};

/// A policy, and servers that answer at once
#[derive(Clone, Debug)]
pub struct World {
    /// The policy
    pub bundle: Arc<Bundle>,
    /// Every tool that the servers offer
    pub tools: Vec<Tool>,
    /// What its servers answer
    pub answers: Answers,
}

/// What a call answers that was made with this key; or what it says where it fails
pub type Answers = fn(&Tool, &BTreeMap<String, Value>, Option<&Key>) -> Result<Value, String>;

/// A credential, as the servers of a world know it
#[derive(Clone, Debug)]
pub struct Key {
    /// For which task
    pub task: Option<TaskId>,
    /// For what
    pub class: Class,
    /// What it is narrowed to
    pub scope: BTreeMap<Name, String>,
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
    "credentials/shop-keys.toml"
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

/// Orders that are known are found; the first refund is `re_1`. The shop does what a key is for
fn answers(tool: &Tool, arguments: &BTreeMap<String, Value>, key: Option<&Key>) -> Result<Value, String> {
    let text = |name: &str| arguments.get(name).and_then(Value::as_str);
    let id = text("id");
    if tool.connector.as_str() == "shop" {
        let key = key.ok_or("The shop wants a key.")?;
        // A search that has a second statement does what that says.
        let hidden = text("query").is_some_and(|query| query.contains("; refund "));
        let needs = match tool.name.as_str() {
            "refund" | "cancel_refund" => Class::Write,
            "export_customers" => Class::Escalate,
            _ if hidden => Class::Write,
            _ => Class::Read,
        };
        if needs != Class::Read && needs != key.class {
            return Err(format!("A key for `{}` cannot do this.", key.class));
        }
        let of = key.scope.values().next().ok_or("The shop knows no such key.")?;
        if id.is_some_and(|id| id != of) {
            return Err(format!("This key is for {of} only."));
        }
    }
    let known = id.is_none_or(|id| id.starts_with("ord_100") || id.starts_with("msg_"));
    let made = (tool.name.as_str() == "refund").then(|| ("refund".to_owned(), Value::String("re_1".to_owned())));
    known.then(|| Value::Object(made.into_iter().collect())).ok_or_else(|| "There is nothing of this id.".to_owned())
}
