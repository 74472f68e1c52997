//! The Cedar schema of a policy: what rules may look at, and of which type it is.
//!
//! It is written as text, so that what people and other tools read is what rules are held against.

use super::{
    kind::{Kind, Shape, key, quoted},
    model::{Model, Subject, class_action, connector_action, variant_action},
};
use portreeve_core::{names::Tool, policy::Class};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// What a schema says beside what rules can look at: for policies that are exported
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// The parameters of tasks
    pub(crate) parameters: Shape,
    /// What only the matcher of this program can tell, by tool
    pub(crate) native: BTreeMap<Tool, BTreeSet<String>>,
    /// Tools about which nothing is known
    pub(crate) unknown: BTreeMap<Tool, Subject>,
}

/// Which part of a model a schema is about
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    /// Only these tools
    pub(crate) tools: Option<&'a BTreeSet<&'a Tool>>,
    /// Actions that must have a name in it, whether or not they belong to these tools
    pub(crate) actions: Option<&'a BTreeSet<String>>,
    pub(crate) extra: Option<&'a Extra>,
}

impl Part<'_> {
    /// Everything that rules can look at
    pub(crate) const WHOLE: Part<'static> = Part { tools: None, actions: None, extra: None };
}

/// The schema as Cedar writes it
pub(crate) fn schema(model: &Model, part: Part<'_>) -> String {
    let mut text = HEAD.to_owned();
    let parameters = part.extra.map(|extra| format!(", parameters: {}", extra.parameters)).unwrap_or_default();
    put(&mut text, format_args!("type task = {{ id: String, purpose: String{parameters} }};\n"));
    put(&mut text, format_args!("entity Agent;\nentity Group;\nentity User in [Group] {};\n", model.attributes));
    text.push_str("entity Connector;\nentity Tool in [Connector];\nentity Unreadable;\n");
    for (kind, parents) in &model.kinds {
        let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
        match parents.as_slice() {
            [] => put(&mut text, format_args!("entity {kind};\n")),
            parents => put(&mut text, format_args!("entity {kind} in [{}];\n", parents.join(", "))),
        }
    }
    let known = model.tools.iter();
    let known = known.filter(|(tool, subject)| part.tools.map_or(!subject.idle, |tools| tools.contains(tool)));
    let tools: Vec<(&Tool, &Subject)> = known.chain(part.extra.into_iter().flat_map(|extra| &extra.unknown)).collect();
    let mut named = BTreeSet::new();
    let mut actions = String::new();
    for (tool, subject) in &tools {
        action(&mut actions, tool, subject, part.extra, &mut named);
    }
    let classes = [Class::Read, Class::Write, Class::Execute, Class::Escalate].map(class_action);
    let mut groups = named;
    let own: BTreeSet<String> = tools
        .iter()
        .flat_map(|(tool, subject)| {
            let variants = subject.variants.keys().map(|variant| variant_action(tool, variant));
            variants.chain([tool.to_string()])
        })
        .collect();
    groups.extend(classes);
    groups.extend(part.actions.into_iter().flatten().cloned());
    text.push('\n');
    for group in groups.difference(&own) {
        put(&mut text, format_args!("action {};\n", quoted(group)));
    }
    text.push_str(&actions);
    text
}

const HEAD: &str = "\
// What rules can look at. Made from the policy: change that, not this.
type time = { ms: Long, hour: Long, weekday: Long };
type proof = { how: String, bound: String, issuer?: String, subject?: String };
type chain = { depth: Long, agents: Set<Agent>, purposes: Set<String> };
";

fn action(text: &mut String, tool: &Tool, subject: &Subject, extra: Option<&Extra>, groups: &mut BTreeSet<String>) {
    let mut own: BTreeSet<String> = subject.classes().into_iter().map(class_action).collect();
    own.insert(connector_action(tool));
    own.extend(subject.toolsets(None).map(ToOwned::to_owned));
    text.push('\n');
    if subject.input.is_none() {
        put(text, format_args!("// Nothing in pins/{}.json says which arguments it takes.\n", tool.connector));
    }
    let context = context(tool, subject, extra);
    declare(text, &tool.to_string(), &own, &context, subject);
    groups.extend(own);
    for (variant, class) in &subject.variants {
        let mut own: BTreeSet<String> = BTreeSet::from([tool.to_string(), class_action(*class)]);
        own.extend(subject.toolsets(Some(variant)).map(ToOwned::to_owned));
        declare(text, &variant_action(tool, variant), &own, &context, subject);
        groups.extend(own);
    }
}

fn declare(text: &mut String, name: &str, groups: &BTreeSet<String>, context: &str, subject: &Subject) {
    let groups: Vec<String> = groups.iter().map(|group| quoted(group)).collect();
    let (name, groups, resource) = (quoted(name), groups.join(", "), subject.resource());
    put(text, format_args!("action {name} in [{groups}] appliesTo {{\n"));
    put(text, format_args!("  principal: [Agent],\n  resource: [{resource}],\n  context: {context},\n}};\n"));
}

fn context(tool: &Tool, subject: &Subject, extra: Option<&Extra>) -> String {
    let mut text = "{\n    input: {".to_owned();
    let members = subject.input.as_ref().map(|shape| &shape.members);
    for (index, (name, member)) in members.into_iter().flatten().enumerate() {
        let sign = if member.required { "" } else { "?" };
        let start = if index == 0 { "\n" } else { "" };
        let why = if let Kind::Opaque(why) = member.kind { format!(" // {why}") } else { String::new() };
        put(&mut text, format_args!("{start}      {}{sign}: {},{why}\n", key(name), member.kind));
    }
    text.push_str(if members.is_none_or(BTreeMap::is_empty) { "},\n" } else { "    },\n" });
    put(&mut text, format_args!("    match: {},\n", booleans(subject.matchers.iter().map(|name| name.as_str()))));
    if let Some(extra) = extra {
        let native = extra.native.get(tool).into_iter().flatten().map(String::as_str);
        put(&mut text, format_args!("    match_native: {},\n    variants: Set<String>,\n", booleans(native)));
    }
    text.push_str(
        "    user?: User, environment?: String, class: String, unreadable: Set<String>,\n    \
         task: task, time: time, chain: chain, proof: proof,\n  }",
    );
    text
}

fn booleans<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<String> = names.map(|name| format!("{}: Bool", key(name))).collect();
    if names.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", names.join(", ")) }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a text never fails.
    let _ = text.write_fmt(arguments);
}
