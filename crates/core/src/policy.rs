//! What a bundle of policy says, as data: who there is, what there is to reach, and what a task may do.
//!
//! Plain data without behaviour beyond looking things up; reading files is the business of the room `rules`.

use crate::{
    decimal::Decimal,
    hash::Hash,
    names::{Invalid, Name, Tool, ToolName},
    node::Node,
    outside::Point,
    path::FieldPath,
    pattern::{Conditions, Match, Pattern, Source, picks},
    rules::Rules,
    time::Millis,
    value::Value,
};
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
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

static UNCLASSIFIED: Profile = Profile::new(Class::Escalate);

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
    /// Named groups of its tools, with those of the groups in them
    pub toolsets: BTreeMap<Toolset, BTreeSet<Member>>,
    /// Where its calls take effect, unless a profile says otherwise
    pub environment: Option<String>,
}

/// The name of a group of tools of one connector: names with dots between them, such as `issues.read`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Toolset(String);

/// A tool in a group of one connector, or one variant of it
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The tool
    pub tool: ToolName,
    /// The variant; without it, what no variant claims
    pub variant: Option<Name>,
}

impl Toolset {
    /// The name as it is written
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Toolset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Toolset {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        text.split('.').try_for_each(|part| part.parse::<Name>().map(drop))?;
        Ok(Self(text.to_owned()))
    }
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
    pub arguments: BTreeMap<FieldPath, Role>,
    /// Named tests of its arguments, for rules to look at
    pub matchers: BTreeMap<Name, Conditions>,
    /// What a call of it is about
    pub target: Option<Target>,
    /// Where a call of it takes effect
    pub environment: Option<Environment>,
    /// How far fields of its results can be trusted; [`Trust::Free`] where nothing is said
    pub results: BTreeMap<FieldPath, Trust>,
    /// How confidential its results may be; nobody said so: as confidential as anything
    pub label: Option<Label>,
    /// Whether doing it twice is doing it once
    pub idempotent: bool,
    /// What takes it back
    pub undo: Option<Undo>,
    /// Arguments of which the record keeps no value, only the commitment
    pub digested: BTreeSet<FieldPath>,
}

impl Profile {
    /// A tool of which only the class is known
    #[must_use]
    pub const fn new(class: Class) -> Self {
        Self {
            class,
            variants: Vec::new(),
            arguments: BTreeMap::new(),
            matchers: BTreeMap::new(),
            target: None,
            environment: None,
            results: BTreeMap::new(),
            label: None,
            idempotent: false,
            undo: None,
            digested: BTreeSet::new(),
        }
    }

    /// The variants that a call with these arguments fits
    ///
    /// # Errors
    /// The variant of which that cannot be told: its class may be the stricter one.
    pub fn fits(&self, arguments: &BTreeMap<String, Value>) -> Result<Vec<&Variant>, &Name> {
        let mut fitting = Vec::new();
        for variant in &self.variants {
            match picks(&variant.matches, arguments) {
                Match::Yes => fitting.push(variant),
                Match::No => {}
                Match::Unclear => return Err(&variant.name),
            }
        }
        Ok(fitting)
    }

    /// The class of a call that fits `variants`: the strictest of them
    #[must_use]
    pub fn class_of(&self, variants: &[&Variant]) -> Class {
        variants.iter().map(|variant| variant.class).max().unwrap_or(self.class)
    }

    /// Arguments that may be given although the purpose does not name them
    pub fn free(&self) -> impl Iterator<Item = &FieldPath> + Clone {
        self.arguments.iter().filter(|(_, role)| role.is_free()).map(|(path, _)| path)
    }

    /// How confidential its results are taken to be
    #[must_use]
    pub fn confidentiality(&self) -> Label {
        self.label.unwrap_or(Label::Secret)
    }
}

/// A kind of use of a tool, told by its arguments
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its name, written `tool#name`
    pub name: Name,
    /// Which arguments make a call fit it
    pub matches: Conditions,
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
    /// Which part or form of a long answer
    Paging,
    /// How it is done: by force, as a trial
    Control,
}

impl Role {
    /// Whether an argument may be given although the purpose does not name it
    #[must_use]
    pub fn is_free(self) -> bool {
        matches!(self, Self::Content | Self::Paging)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Destination => "destination",
            Self::Selector => "selector",
            Self::Quantity => "quantity",
            Self::Content => "content",
            Self::Paging => "paging",
            Self::Control => "control",
        })
    }
}

/// How far a field of a result can be trusted
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Nobody but the connector or the user can write it
    Trusted,
    /// Typed facts that others choose: a sender, a title, a file name
    Attested,
    /// Text
    Free,
}

/// How confidential data is
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// Everybody may know it
    Public,
    /// Everybody in the house may know it
    Internal,
    /// Some may know it
    Confidential,
    /// Almost nobody may know it
    Secret,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
            Self::Secret => "secret",
        })
    }
}

/// How the thing that a call is about is named by its arguments
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its type, as rules write it: `Repo`
    pub kind: String,
    /// The arguments that name it, joined by `/`
    pub id: Vec<FieldPath>,
    /// What it is part of
    pub within: Vec<Self>,
}

/// The thing that one call is about
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// Its type
    pub kind: String,
    /// Its name
    pub id: String,
    /// What it is part of
    pub within: Vec<Self>,
}

impl Target {
    /// The thing that a call with these arguments is about; `None` if they do not tell
    ///
    /// Only the last part of a name may hold `/`, so that two things never have the same name.
    #[must_use]
    pub fn of(&self, arguments: &BTreeMap<String, Value>) -> Option<Resource> {
        let mut id = String::new();
        for (index, path) in self.id.iter().enumerate() {
            let part = one_text(path, arguments)?;
            if part.is_empty() || (part.contains('/') && index + 1 < self.id.len()) {
                return None;
            }
            if index > 0 {
                id.push('/');
            }
            id.push_str(&part);
        }
        let within = self.within.iter().map(|target| target.of(arguments)).collect::<Option<_>>()?;
        Some(Resource { kind: self.kind.clone(), id, within })
    }
}

/// Where a call takes effect
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Always there
    Fixed(String),
    /// Where this argument says
    Argument(FieldPath),
}

impl Environment {
    /// Where a call with these arguments takes effect; `None` if they do not tell
    #[must_use]
    pub fn of(&self, arguments: &BTreeMap<String, Value>) -> Option<String> {
        match self {
            Self::Fixed(name) => Some(name.clone()),
            Self::Argument(path) => one_text(path, arguments).filter(|text| !text.is_empty()),
        }
    }
}

/// The one text or whole number that a path leads to
fn one_text(path: &FieldPath, arguments: &BTreeMap<String, Value>) -> Option<String> {
    let reached = path.select(arguments);
    match reached.values.as_slice() {
        [Some(Value::String(text))] if !reached.broken && !text.chars().any(char::is_control) => Some(text.clone()),
        [Some(Value::Number(number))] if !reached.broken => number.to_i64().map(|number| number.to_string()),
        _ => None,
    }
}

/// The call that takes another one back; a person opens it as a task of its own
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// The tool
    pub tool: Tool,
    /// Its arguments
    pub arguments: BTreeMap<String, Restored>,
}

/// An argument of an undoing call
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// Always this
    Literal(Value),
    /// The task's parameter
    Parameter(Name),
    /// An argument of the call that is undone, written `"{args.id}"`
    Argument(FieldPath),
    /// A field of its result, written `"{result.id}"`
    Result(FieldPath),
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(value) => value.fmt(f),
            Self::Parameter(name) => write!(f, "\"{{{name}}}\""),
            Self::Argument(path) => write!(f, "\"{{args.{path}}}\""),
            Self::Result(path) => write!(f, "\"{{result.{path}}}\""),
        }
    }
}

impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.tool)?;
        for (index, (name, value)) in self.arguments.iter().enumerate() {
            write!(f, "{}{name} = {value}", if index == 0 { "" } else { ", " })?;
        }
        f.write_str(")")
    }
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
    /// Fields of the results of each step that later steps need
    wanted: BTreeMap<Name, BTreeSet<Source>>,
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
        let mut wanted: BTreeMap<Name, BTreeSet<Source>> = BTreeMap::new();
        let questions = entries.iter().filter_map(|entry| entry.ask.as_ref()).flat_map(|ask| ask.when.values());
        let patterns = entries.iter().flat_map(|entry| entry.arguments.values()).chain(questions);
        for source in patterns.flat_map(Pattern::sources) {
            wanted.entry(source.step.clone()).or_default().insert(source.clone());
        }
        Self { about, owner, review_by, open, limits, parameters, entries, by_tool, wanted }
    }

    /// The fields of the results of a step that other steps need
    pub fn wanted_of(&self, step: &Name) -> impl Iterator<Item = &Source> {
        self.wanted.get(step).into_iter().flatten()
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
    /// How confidential the results of its calls may be at most
    pub ceiling: Option<Label>,
    /// Bytes that may go each way in all
    pub bytes: Bytes,
    /// What a question to people does
    pub on_hold: OnHold,
}

/// Bytes, counted as canonical JSON on the way out and as they were written on the way back
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Of arguments
    pub arguments: Option<u64>,
    /// Of results
    pub results: Option<u64>,
}

/// What a question to people does to a call that needs one
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnHold {
    /// They are asked
    #[default]
    Ask,
    /// The call is refused: nobody is there to wait
    Deny,
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
    pub arguments: Conditions,
    /// Permits and unknown outcomes at most
    pub times: Option<u32>,
    /// A step that must have succeeded first
    pub after: Option<Name>,
    /// Who has to agree
    pub ask: Option<Ask>,
    /// What takes it back; without it, what the tool's profile says
    pub undo: Option<Undo>,
}

/// A tool, or one variant of it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The tool
    pub tool: Tool,
    /// The variant; without it, what no variant claims
    pub variant: Option<Name>,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variant {
            Some(variant) => write!(f, "{}#{variant}", self.tool),
            None => self.tool.fmt(f),
        }
    }
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
    pub when: Conditions,
}
