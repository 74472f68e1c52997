//! Purposes: the ceiling of a task, and the only way to allow.

use crate::{
    decimal::Decimal,
    names::{Invalid, Name, Tool},
    pattern::{Conditions, Pattern, Source},
    policy::{Ask, Class, Label, Quorum, Restored, Undo, Variant},
    time::Millis,
    value::Value,
};
use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

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
    /// How classes that do not stand can be opened for a while; `None`: not at all
    pub elevate: Option<Elevate>,
    /// It is for emergencies
    pub break_glass: Option<BreakGlass>,
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
        for (entry, undo) in entries.iter().filter_map(|entry| Some((entry, entry.undo.as_ref()?))) {
            let results = undo.arguments.values().filter_map(|value| match value {
                Restored::Result(field) => Some(Source { step: entry.name.clone(), field: field.clone() }),
                _ => None,
            });
            wanted.entry(entry.name.clone()).or_default().extend(results);
        }
        let (elevate, break_glass) = (None, None);
        Self { about, owner, review_by, open, limits, parameters, elevate, break_glass, entries, by_tool, wanted }
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
    /// Who has to agree to each opening
    pub ask: Option<Quorum>,
}

/// How classes that do not stand can be opened for a while
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elevate {
    /// What needs no person, by class
    pub alone: BTreeMap<Class, Alone>,
    /// Who is asked for the rest; without it, nobody grants more
    pub ask: Option<Quorum>,
}

impl Elevate {
    /// Whether some way there is opens a class for these uses: without a person, or by asking one
    #[must_use]
    pub fn can_open(&self, class: Class, uses: &[Usage]) -> bool {
        let alone = |alone: &Alone| uses.iter().all(|usage| alone.uses.contains(usage));
        self.ask.is_some() || self.alone.get(&class).is_some_and(alone)
    }
}

/// What an agent opens by asking for it, without a person
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alone {
    /// For these tools and variants
    pub uses: Vec<Usage>,
    /// Calls in all, over the task's life
    pub times: u32,
    /// For how long at most, in milliseconds
    pub within_ms: i64,
}

/// A purpose for emergencies: opened by several people, short, loud, and reviewed afterwards
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlass {
    /// The group whose members review each of its tasks
    pub review: Name,
}

impl BreakGlass {
    /// How long its tasks may live at most, in milliseconds
    pub const LASTS_MS_MAX: i64 = 60 * 60 * 1_000;
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
    /// How long a credential serves
    pub credentials: Serves,
}

/// How long a credential serves that was issued for a call
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serves {
    /// All calls of its task, connector and class
    #[default]
    Task,
    /// The call that it was issued for, and none after it
    Call,
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usage {
    /// The tool
    pub tool: Tool,
    /// The variant; without it, what no variant claims
    pub variant: Option<Name>,
}

impl Serialize for Usage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl FromStr for Usage {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (tool, variant) = match text.split_once('#') {
            Some((tool, variant)) => (tool, Some(variant.parse()?)),
            None => (text, None),
        };
        Ok(Self { tool: tool.parse()?, variant })
    }
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
