//! Text to begin with: what `portreeve init` and `portreeve connector add` write.

mod adopt;

pub use adopt::{Adopted, adopt};

use crate::definition::{Definition, Hints, Schema};
use portreeve_core::{
    names::Name,
    path::FieldPath,
    policy::{Class, Role},
};
use std::fmt::Write as _;

/// The group that the first user is in, and for which the first purposes are open
const GROUP: &str = "staff";
/// The agent that the first purposes are for
const AGENT: &str = "assistant";

/// What the tools of a new connector are, as `[tools]` of its file, and a purpose that only looks; the
/// second is `None` if no tool says that it only looks
///
/// The classes are the server's own hints. They stand in the file for the operator to confirm: whoever
/// accepts the text says that they are right.
#[must_use]
pub fn starter(connector: &Name, definitions: &[Definition]) -> (String, Option<String>) {
    let named = || definitions.iter().filter(|definition| definition.name.is_tool());
    let reads: Vec<&Definition> = named().filter(|tool| propose(tool.hints).0 == Class::Read).collect();
    (tools(named()), purpose(connector, &reads))
}

fn tools<'d>(definitions: impl Iterator<Item = &'d Definition>) -> String {
    let mut text = String::from(
        "# The classes below are what the server says of itself. Keeping a line confirms it; what nobody\n\
         # has classified is `escalate`. Arguments are closed: a purpose names those that may be given, unless\n\
         # their role is `content` or `paging`.\n",
    );
    for definition in definitions {
        let (class, why) = propose(definition.hints);
        let name = key(definition.name.as_str());
        let _ = writeln!(text, "\n[tools.{name}]\nclass = \"{class}\" # {why}");
        let schema = definition.schema();
        let named = schema.names().into_iter().filter(|name| is_path(name));
        let role = |name: &str| {
            let role = schema.member(name).map_or(Role::Selector, |schema| role(name, &schema));
            format!("{} = \"{role}\"", key(name))
        };
        let roles: Vec<String> = named.map(role).collect();
        if !roles.is_empty() {
            let _ = writeln!(text, "arguments = {{ {} }}", roles.join(", "));
        }
    }
    text
}

/// Whether an argument of this name can be named: it is read as a path of one step
fn is_path(name: &str) -> bool {
    name.parse::<FieldPath>().is_ok_and(|path| path == FieldPath::name(name))
}

/// What an argument may be, by its name and type: closed, whatever it is
fn role(name: &str, schema: &Schema<'_>) -> Role {
    const PLACES: [&str; 14] = [
        "path",
        "file",
        "dir",
        "folder",
        "url",
        "uri",
        "host",
        "to",
        "cc",
        "bcc",
        "email",
        "recipient",
        "channel",
        "command",
    ];
    let types = schema.types();
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_ascii_lowercase);
    if words.into_iter().any(|word| PLACES.contains(&word.as_str())) {
        Role::Destination
    } else if types.contains("boolean") {
        Role::Control
    } else if types.contains("number") || types.contains("integer") {
        Role::Quantity
    } else {
        Role::Selector
    }
}

/// The class that a server's hints come to, and why
fn propose(hints: Hints) -> (Class, &'static str) {
    match (hints.read_only, hints.destructive) {
        (Some(true), Some(true)) => (Class::Escalate, "the server says both read-only and destructive: find out"),
        (Some(true), _) => (Class::Read, "the server says read-only"),
        (Some(false), Some(false)) => (Class::Write, "the server says that it changes things and destroys nothing"),
        (_, Some(true)) => (Class::Escalate, "the server says destructive"),
        (None | Some(false), _) => (Class::Escalate, "the server does not say that it destroys nothing"),
    }
}

fn purpose(connector: &Name, reads: &[&Definition]) -> Option<String> {
    if reads.is_empty() {
        return None;
    }
    let mut text = format!(
        "name = \"{}\"\n\
         about = \"Look at {connector}, change nothing\"\n\
         owner = \"{GROUP}\"\n\n\
         [open]\n\
         agents = [\"{AGENT}\"]\n\
         users = {{ group = \"{GROUP}\" }}\n\n\
         [task]\n\
         expires_after = \"1h\"\n\
         idle_after = \"15m\"\n\
         standing = [\"read\"]\n\
         on_hold = \"deny\"\n\n\
         # `any` admits every value. Narrow what matters: a literal, \"{{parameter}}\", {{ in = [...] }},\n\
         # {{ prefix = \"docs/\" }}, {{ glob = \"docs/**\" }}, {{ at_most = 20 }}, {{ absent = true }}.\n",
        purpose_name(connector),
    );
    let mut steps = Vec::new();
    for tool in reads {
        let step = unique(name_from(tool.name.as_str()), &steps);
        let usage = string(&format!("{connector}.{}", tool.name));
        let _ = write!(text, "\n[[allow]]\nname = \"{step}\"\nuse = [{usage}]\n");
        steps.push(step);
        let schema = tool.schema();
        let (named, unnamed): (Vec<_>, Vec<_>) = schema.names().into_iter().partition(|name| is_path(name));
        if !named.is_empty() {
            let any = |argument: &&str| format!("{} = {{ any = true }}", key(argument));
            let _ = writeln!(text, "where = {{ {} }}", named.iter().map(any).collect::<Vec<_>>().join(", "));
        }
        for argument in unnamed {
            let _ = writeln!(text, "# {} cannot be named, so it has to be left out", string(argument));
        }
    }
    Some(text)
}

/// The name of the purpose that only looks; a long name is cut so that it stays one
fn purpose_name(connector: &Name) -> String {
    format!("read-{connector}").chars().take(64).collect()
}

/// The first files of a policy, by their path, for the account that asks for them
#[must_use]
pub fn init(account: &str) -> Vec<(String, String)> {
    let user = name_from(account);
    vec![
        (
            "README.md".to_owned(),
            "# Policy\n\n\
             What agents may do here. Changes take effect with `portreeve policy apply`; `portreeve policy check`\n\
             says what is wrong and runs the `[[case]]`s.\n\n\
             - `agents/` who works: one file for each agent, with an owner\n\
             - `users/` on whose behalf: accounts, groups, limits\n\
             - `connectors/` what there is to reach, and what its tools are\n\
             - `purposes/` what a task may do: the only way to allow\n\
             - `rules/` Cedar that refuses: the only way to take something away from every purpose\n"
                .to_owned(),
        ),
        (
            format!("agents/{AGENT}.toml"),
            format!("# Whoever answers for this agent.\nowner = {}\nabout = \"Works at this desk\"\n", string(account)),
        ),
        (
            format!("users/{user}.toml"),
            format!(
                "# A person, known by the account that runs the command.\naccounts = [{}]\ngroups = [\"{GROUP}\"]\n",
                string(account)
            ),
        ),
    ]
}

/// A name as near to `text` as names come
fn name_from(text: &str) -> String {
    let plain =
        |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c.to_ascii_lowercase() } else { '-' };
    let name: String = text.chars().map(plain).skip_while(|c| !c.is_ascii_alphanumeric()).take(60).collect();
    if name.is_empty() { "someone".to_owned() } else { name }
}

fn unique(name: String, taken: &[String]) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or(name)
}

/// A key of TOML, quoted if it has to be
fn key(text: &str) -> String {
    let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if bare { text.to_owned() } else { string(text) }
}

/// A string of TOML, which escapes as JSON does
fn string(text: &str) -> String {
    let text = portreeve_core::value::Value::String(text.to_owned()).canonical();
    // The one control character that JSON leaves as it is.
    text.replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests;
