//! What a bundle of policy says, as data: who there is, what there is to reach, and what a task may do.
//!
//! Plain data without behaviour beyond looking things up; reading files is the business of the room `rules`.

use crate::{
    decimal::Decimal,
    hash::Hash,
    names::{Name, Tool, ToolName},
    node::Node,
    outside::Point,
    pattern::{Pattern, Scope},
    rules::Rules,
    time::Millis,
    value::Value,
};
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// One version of the policy, named by its digest
#[derive(Debug)]
pub struct Bundle {
    /// SHA-256 over all of its files
    pub digest: Hash,
    /// Agents by name
    pub agents: BTreeMap<Name, Agent>,
    /// Users by name
    pub users: BTreeMap<Name, User>,
    /// Connectors by name
    pub connectors: BTreeMap<Name, Connector>,
    /// Purposes by name
    pub purposes: BTreeMap<Name, Purpose>,
    /// What refuses or asks
    pub rules: Arc<dyn Rules>,
    /// Decision points that are asked over the network
    pub points: Vec<Arc<Point>>,
}

impl Bundle {
    /// Every node that stands in this bundle
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<Node> {
        let agents = self.agents.keys().cloned().map(Node::Agent);
        let users = self.users.keys().cloned().map(Node::User);
        let connectors = self.connectors.keys().cloned().map(Node::Connector);
        agents.chain(users).chain(connectors).chain(self.purposes.keys().cloned().map(Node::Purpose)).collect()
    }

    /// What the bundle says of a tool; a tool without a profile is `escalate` and closed
    #[must_use]
    pub fn profile(&self, tool: &Tool) -> Option<&Profile> {
        self.connectors.get(&tool.connector).map(|connector| connector.tools.get(&tool.name).unwrap_or(&UNCLASSIFIED))
    }
}

static UNCLASSIFIED: Profile = Profile { class: Class::Escalate, variants: Vec::new(), arguments: BTreeMap::new() };

/// A non-human workload with an owner
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Who answers for it
    pub owner: String,
}

/// A person, known by the account that speaks at the socket
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Unix account names
    pub accounts: BTreeSet<String>,
    /// Groups of which the person is a member
    pub groups: BTreeSet<Name>,
    /// What `[open]` may compare parameters with
    pub attributes: BTreeMap<String, Value>,
}

/// An upstream MCP server: how to reach it and what its tools are
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connector {
    /// How to reach it
    pub reach: Reach,
    /// Milliseconds that one of its calls may take
    pub timeout_ms: i64,
    /// Profiles of its tools
    pub tools: BTreeMap<ToolName, Profile>,
}

/// How to reach a connector
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// A child process that speaks MCP on its standard input and output
    Stdio {
        /// Program and arguments
        command: Vec<String>,
        /// Environment beside the few variables that every child gets
        env: BTreeMap<String, String>,
    },
    /// A Streamable HTTP endpoint
    Http {
        /// Its address
        url: String,
    },
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio { command, .. } => f.write_str(&command.join(" ")),
            Self::Http { url } => f.write_str(url),
        }
    }
}

/// The four separate paths; no grant, lease or token of one opens another
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Looks
    Read,
    /// Changes data
    Write,
    /// Runs something
    Execute,
    /// Privileged: secrets, privileges, policy, bulk export, destroying evidence; also what nobody classified
    Escalate,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Execute => "execute",
            Self::Escalate => "escalate",
        })
    }
}

/// Facts about a tool
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The class of what no variant claims
    pub class: Class,
    /// Kinds of use of this tool that differ in class
    pub variants: Vec<Variant>,
    /// What its arguments are
    pub arguments: BTreeMap<String, Role>,
}

impl Profile {
    /// The variants that a call with these arguments fits
    #[must_use]
    pub fn fits(&self, arguments: &BTreeMap<String, Value>) -> Vec<&Variant> {
        let nothing = (BTreeMap::new(), BTreeMap::new());
        let scope = Scope { parameters: &nothing.0, attributes: &nothing.1 };
        let fits = |variant: &&Variant| {
            variant.matches.iter().all(|(name, pattern)| pattern.matches(arguments.get(name), scope))
        };
        self.variants.iter().filter(fits).collect()
    }

    /// The class of a call that fits `variants`: the strictest of them
    #[must_use]
    pub fn class_of(&self, variants: &[&Variant]) -> Class {
        variants.iter().map(|variant| variant.class).max().unwrap_or(self.class)
    }

    /// Whether an argument may be given although the purpose does not name it
    #[must_use]
    pub fn is_free(&self, argument: &str) -> bool {
        matches!(self.arguments.get(argument), Some(Role::Content | Role::Paging))
    }
}

/// A kind of use of a tool, told by its arguments
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its name, written `tool#name`
    pub name: Name,
    /// Which arguments make a call fit it
    pub matches: BTreeMap<String, Pattern>,
    /// Its class
    pub class: Class,
}

/// What an argument is to a call
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Where something goes: recipient, account, host, command, path
    Destination,
    /// Which record it is about
    Selector,
    /// How much
    Quantity,
    /// Free content
    Content,
    /// Which part of a long answer
    Paging,
}

/// What a task may do: the ceiling, and the only way to allow
#[derive(Debug)]
pub struct Purpose {
    /// One line for people
    pub about: String,
    /// Who answers for it
    pub owner: String,
    /// After this no new task opens it
    pub review_by: Option<Millis>,
    /// Who may start it, for whom, with which values
    pub open: Opening,
    /// How long and how much
    pub limits: Limits,
    /// What has to be said when it is opened
    pub parameters: BTreeMap<Name, Parameter>,
    entries: Vec<Entry>,
    by_tool: BTreeMap<Tool, Vec<usize>>,
}

impl Purpose {
    /// A purpose with these entries
    #[must_use]
    pub fn new(
        (about, owner, review_by): (String, String, Option<Millis>),
        open: Opening,
        limits: Limits,
        parameters: BTreeMap<Name, Parameter>,
        entries: Vec<Entry>,
    ) -> Self {
        let mut by_tool: BTreeMap<Tool, Vec<usize>> = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            for usage in &entry.uses {
                let indices = by_tool.entry(usage.tool.clone()).or_default();
                if indices.last() != Some(&index) {
                    indices.push(index);
                }
            }
        }
        Self { about, owner, review_by, open, limits, parameters, entries, by_tool }
    }

    /// What it allows, in the order of the file
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries that name `tool` or a variant of it; does not grow with the other entries
    pub fn entries_of(&self, tool: &Tool) -> impl Iterator<Item = &Entry> {
        self.by_tool.get(tool).into_iter().flatten().filter_map(|index| self.entries.get(*index))
    }

    /// The tools that some entry names
    pub fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.by_tool.keys()
    }
}

/// Who may open a purpose
#[derive(Clone, Debug)]
pub struct Opening {
    /// Agents that may work on it
    pub agents: BTreeSet<Name>,
    /// On whose behalf
    pub users: Users,
    /// Bounds of the parameters beside their own
    pub bounds: BTreeMap<Name, Pattern>,
}

/// On whose behalf a purpose may be opened
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Users {
    /// Nobody's: runs without a user
    None,
    /// A member of this group
    Group(Name),
    /// One of these users
    Named(BTreeSet<Name>),
}

/// How long a task lives and how much it may do
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Milliseconds from its opening
    pub expires_after_ms: i64,
    /// Milliseconds without an admitted or open call
    pub idle_after_ms: Option<i64>,
    /// Classes that stand for the task's life
    pub standing: BTreeSet<Class>,
    /// Calls in all
    pub calls: Option<u32>,
}

/// Something that has to be said when a purpose is opened
#[derive(Clone, Debug)]
pub struct Parameter {
    /// What kind of value it is
    pub kind: Kind,
    /// The value if none is given
    pub default: Option<Value>,
}

/// The type of a parameter
#[derive(Clone, Debug)]
pub enum Kind {
    /// Text, wholly matched by the pattern if there is one
    Text {
        /// Already anchored
        pattern: Option<Regex>,
        /// Bytes at most
        bytes_max: usize,
    },
    /// An exact decimal number
    Decimal {
        /// Smallest value
        min: Option<Decimal>,
        /// Greatest value
        max: Option<Decimal>,
    },
    /// True or false
    Bool,
    /// One of these values
    Choice(Vec<Value>),
}

impl Kind {
    /// Reads a given value as this kind, or says in words what it should have been
    ///
    /// Text is read as a number or truth value where one is wanted, because command lines have only text.
    ///
    /// # Errors
    /// What was expected, for the one who opens.
    pub fn read(&self, given: &Value) -> Result<Value, String> {
        match self {
            Self::Text { pattern, bytes_max } => match given {
                Value::String(text) if text.len() > *bytes_max => Err(format!("text of at most {bytes_max} bytes")),
                Value::String(text) if text.chars().any(char::is_control) => {
                    Err("text without control characters".to_owned())
                }
                Value::String(text) if pattern.as_ref().is_none_or(|pattern| pattern.is_match(text)) => {
                    Ok(given.clone())
                }
                Value::String(_) => Err(format!("text of the form {}", pattern.as_ref().map_or("", Regex::as_str))),
                _ => Err("text".to_owned()),
            },
            Self::Decimal { min, max } => {
                let number = match given {
                    Value::Number(number) => Some(number.clone()),
                    Value::String(text) => Decimal::parse(text),
                    _ => None,
                };
                let expected = || match (min, max) {
                    (Some(min), Some(max)) => format!("a number from {min} to {max}"),
                    (Some(min), None) => format!("a number of at least {min}"),
                    (None, Some(max)) => format!("a number of at most {max}"),
                    (None, None) => "a number".to_owned(),
                };
                number
                    .filter(|number| min.as_ref().is_none_or(|min| number >= min))
                    .filter(|number| max.as_ref().is_none_or(|max| number <= max))
                    .map(Value::Number)
                    .ok_or_else(expected)
            }
            Self::Bool => match given {
                Value::Bool(_) => Ok(given.clone()),
                Value::String(text) if text == "true" => Ok(Value::Bool(true)),
                Value::String(text) if text == "false" => Ok(Value::Bool(false)),
                _ => Err("true or false".to_owned()),
            },
            Self::Choice(values) => {
                let same = |value: &&Value| {
                    *value == given
                        || matches!((value, given), (Value::Number(number), Value::String(text))
                            if Decimal::parse(text).as_ref() == Some(number))
                };
                let expected = || {
                    let values: Vec<_> = values.iter().map(Value::canonical).collect();
                    format!("one of {}", values.join(", "))
                };
                values.iter().find(same).cloned().ok_or_else(expected)
            }
        }
    }
}

/// One thing that a purpose allows
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name: a step that others can come after
    pub name: Name,
    /// Tools and variants that it covers
    pub uses: Vec<Usage>,
    /// Which arguments a call must have
    pub arguments: BTreeMap<String, Pattern>,
    /// Permits and unknown outcomes at most
    pub times: Option<u32>,
    /// A step that must have succeeded first
    pub after: Option<Name>,
    /// Who has to agree
    pub ask: Option<Ask>,
}

/// A tool, or one variant of it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The tool
    pub tool: Tool,
    /// The variant; without it, what no variant claims
    pub variant: Option<Name>,
}

impl Entry {
    /// Whether the entry covers a call of `tool` that fits `variants`: all of them
    #[must_use]
    pub fn covers(&self, tool: &Tool, variants: &[&Variant]) -> bool {
        let names = |variant: Option<&Name>| {
            self.uses.iter().any(|usage| usage.tool == *tool && usage.variant.as_ref() == variant)
        };
        if variants.is_empty() { names(None) } else { variants.iter().all(|variant| names(Some(&variant.name))) }
    }
}

/// A question to people
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The group whose members are asked
    pub who: Name,
    /// Only when these arguments match; empty means always
    pub when: BTreeMap<String, Pattern>,
}
