//! A connector whose tools a profile already describes.

use super::{is_path, key, purpose, role, string};
use crate::{bundle::compile, definition::Definition, finding::Finding, pins::pinned};
use portreeve_core::{
    names::{Name, ToolName},
    operation::Operation,
    policy::{Class, Connector, Role},
};
use std::{collections::BTreeMap, fmt::Write as _};

/// What is written for a connector that takes a profile over
#[derive(Clone, Debug)]
pub struct Adopted {
    /// The rest of its file: the line that names the profile, and what the profile leaves open
    pub text: String,
    /// A purpose that only looks
    pub purpose: Option<String>,
    /// The classes of what the server offers
    pub classes: BTreeMap<ToolName, Class>,
    /// Where the server is not the one that the profile was written from
    pub notes: Vec<String>,
}

/// Lays a profile under a new connector; arguments that the profile does not know stay closed
///
/// # Errors
/// What is wrong with the profile, or what it says that the server's definitions cannot have.
pub fn adopt(
    connector: &Name,
    (name, profile): (&Name, &str),
    definitions: &BTreeMap<String, Definition>,
    raw: &[&str],
) -> Result<Adopted, Vec<Finding>> {
    let line = format!("profile = {}\n", string(name.as_str()));
    let read = |text: &str, pins: Option<String>| -> Result<Connector, Vec<Finding>> {
        let mut files = vec![
            (format!("connectors/{connector}.toml"), format!("command = [\"server\"]\n{text}")),
            (format!("profiles/{name}.toml"), profile.to_owned()),
        ];
        files.extend(pins.map(|pins| (format!("pins/{connector}.json"), pins)));
        let loaded = compile(&files.into_iter().collect())?;
        Ok(loaded.bundle.connectors.get(connector).cloned()).and_then(|found| found.ok_or_else(Vec::new))
    };
    let known = read(&line, None)?;
    let mut text = line;
    let mut notes = Vec::new();
    for definition in definitions.values().filter(|definition| definition.name.is_tool()) {
        let tool = &definition.name;
        let Some(profile) = known.tools.get(tool) else {
            notes.push(format!("{tool} is not in the profile: nobody can use it before its class is said"));
            continue;
        };
        let schema = definition.schema();
        let covered = |argument: &str| profile.arguments.keys().any(|path| path.root() == Some(argument));
        let forgotten = schema.names().into_iter().filter(|argument| is_path(argument) && !covered(argument));
        let roles: Vec<(&str, Role)> = forgotten
            .map(|argument| {
                (argument, schema.member(argument).map_or(Role::Selector, |schema| role(argument, &schema)))
            })
            .collect();
        if roles.is_empty() {
            continue;
        }
        let names: Vec<&str> = roles.iter().map(|(argument, _)| *argument).collect();
        notes.push(format!("{tool} takes {}, which the profile does not know: closed", names.join(", ")));
        let roles: Vec<String> =
            roles.iter().map(|(argument, role)| format!("{} = \"{role}\"", key(argument))).collect();
        let _ = write!(
            text,
            "\n# New since the profile was written; closed, so that a purpose has to name it.\n\
             [tools.{}]\narguments = {{ {} }}\n",
            key(tool.as_str()),
            roles.join(", ")
        );
    }
    let is_pinned = |tool: &ToolName| tool.operation().is_none_or(Operation::is_pinned);
    let is_gone = |tool: &ToolName| is_pinned(tool) && !definitions.contains_key(tool.as_str());
    let gone: Vec<&str> = known.tools.keys().filter(|tool| is_gone(tool)).map(ToolName::as_str).collect();
    if !gone.is_empty() {
        notes.push(format!("the server does not offer {}", gone.join(", ")));
    }
    let pins = pinned(raw.iter().copied()).unwrap_or_default();
    let effective = read(&text, Some(pins))?;
    let class = |tool: &ToolName| effective.profile(tool).class;
    let tools = || definitions.values().filter(|definition| definition.name.is_tool());
    let classes: BTreeMap<ToolName, Class> =
        tools().map(|definition| (definition.name.clone(), class(&definition.name))).collect();
    let reads: Vec<&Definition> =
        tools().filter(|definition| classes.get(&definition.name) == Some(&Class::Read)).collect();
    Ok(Adopted { text, purpose: purpose(connector, &reads), classes, notes })
}
