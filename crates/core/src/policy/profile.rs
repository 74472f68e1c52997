//! Profiles: what a tool is, what its arguments are, and what a call of it is about.

use crate::{
    names::{Name, Tool},
    path::FieldPath,
    pattern::{Conditions, Match, picks},
    policy::Class,
    value::Value,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

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

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{:?}", self.kind, self.id)?;
        self.within.iter().try_for_each(|above| write!(f, " in {above}"))
    }
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
    /// What is read before the change, so that it can be put back
    pub before: Option<Before>,
}

/// A call that is made before a change, to know what was there
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// The tool
    pub tool: Tool,
    /// Its arguments; never results, and nothing that was read before
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
    /// A field of what was read before it, written `"{before.content}"`
    Before(FieldPath),
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(value) => value.fmt(f),
            Self::Parameter(name) => write!(f, "\"{{{name}}}\""),
            Self::Argument(path) => write!(f, "\"{{args.{path}}}\""),
            Self::Result(path) => write!(f, "\"{{result.{path}}}\""),
            Self::Before(path) => write!(f, "\"{{before.{path}}}\""),
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
