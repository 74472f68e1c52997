//! What has changed between what was accepted of a connector and what it offers now, for the person who accepts it.
//!
//! Nothing that differs from what was accepted is ever called before somebody accepts it, whatever is said here. What
//! is told apart is only what has to be read with care, and what does not:
//!
//! * A schema that admits less, words that differ in case, spaces and punctuation only, and what is gone are
//!   *harmless*: whoever accepts them lets an agent do nothing and read nothing that it could not before.
//! * Everything else is not. New words can be instructions to the agent, and no program tells which are.
//!
//! SAFETY(security): all of this is a stranger's text. Whatever cannot be seen is written out.

mod relation;
mod text;

pub(crate) use text::folded;
pub use text::{Line, Sign, visible};

use portreeve_core::{
    names::ToolName,
    operation::{INSTRUCTIONS, Operation},
    value::Value,
};
use relation::{Relation, relation, without_words};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// One thing that differs
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What it is about: a tool, `prompts/get`, or `server/discover`
    pub item: String,
    /// Which prompt, where it is about one
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What has changed
    pub what: What,
    /// Whether accepting it gives an agent nothing new to do or to read
    pub harmless: bool,
    /// The difference, line by line; each begins with where in the definition it is
    pub lines: Vec<Line>,
}

/// What has changed, the worst first
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Characters that nobody sees, or that pass for others
    Invisible,
    /// It cannot be read, and so never be called
    Unreadable,
    /// What the server tells every agent
    Instructions,
    /// Something is offered that was not
    New,
    /// Arguments are admitted that were not
    SchemaWider,
    /// Other arguments are admitted
    SchemaOther,
    /// Words: descriptions and titles
    Wording,
    /// What the server says of what its tool does
    Hints {
        /// Whether it says that it is less dangerous than before
        safer: bool,
    },
    /// The form of the results
    Output,
    /// Anything else
    Meta,
    /// Fewer arguments are admitted
    SchemaNarrower,
    /// Something is not offered any more
    Gone,
}

impl What {
    /// What it means, in a few words
    #[must_use]
    pub fn says(self) -> &'static str {
        match self {
            Self::Invisible => "characters that nobody sees, or that pass for others",
            Self::Unreadable => "cannot be read, so it cannot be accepted",
            Self::Instructions => "what the server tells every agent",
            Self::New => "new",
            Self::SchemaWider => "takes arguments that it did not take",
            Self::SchemaOther => "takes other arguments",
            Self::Wording => "says other words",
            Self::Hints { safer: true } => "says that it is less dangerous than before",
            Self::Hints { safer: false } => "says that it is more dangerous than before",
            Self::Output => "returns something else",
            Self::Meta => "other facts about it",
            Self::SchemaNarrower => "takes fewer arguments than before",
            Self::Gone => "is not offered any more",
        }
    }
}

/// What differs between two offers, each by the names of its items and as the server wrote them; the worst first
#[must_use]
pub fn changes(accepted: &BTreeMap<ToolName, String>, offered: &BTreeMap<ToolName, String>) -> Vec<Change> {
    let names: BTreeSet<&ToolName> = accepted.keys().chain(offered.keys()).collect();
    let mut changes = Vec::new();
    for name in names {
        let [old, new] = [accepted, offered].map(|offer| offer.get(name));
        if old != new {
            let mut found = Found { item: name.as_str(), prompt: None, changes: &mut changes };
            item(&mut found, old.map(String::as_str), new.map(String::as_str));
        }
    }
    changes.sort_by(|one, two| (one.harmless, one.what, &one.item).cmp(&(two.harmless, two.what, &two.item)));
    changes
}

fn item(found: &mut Found<'_>, old: Option<&str>, new: Option<&str>) {
    let read = |text: &str| text.parse::<Value>().ok();
    let Some(raw) = new else {
        return found.push(What::Gone, true, Vec::new());
    };
    let Some(new) = read(raw) else {
        return found.push(What::Unreadable, false, vec![Line::new(Sign::Plus, "", raw)]);
    };
    let none = Value::Object(BTreeMap::new());
    let known = old.and_then(read);
    let old = known.as_ref().unwrap_or(&none);
    if *old == new {
        // Another spelling of the same.
        return;
    }
    let told = found.changes.len();
    found.hidden(old, &new);
    match (found.item, &known) {
        (INSTRUCTIONS, _) => instructions(found, old, &new),
        (name, _) if name == Operation::GetPrompt.as_str() => prompts(found, old, &new),
        (_, None) => found.push(What::New, false, text::difference(&none, &new)),
        (_, Some(_)) => tool(found, old, &new),
    }
    // Whatever differs is told, also what nobody thought of: an empty list where there was none.
    if found.changes.len() == told {
        match known {
            Some(_) => found.push(What::Meta, false, text::difference(old, &new)),
            // A made item in which there is nothing yet.
            None => found.push(What::New, true, Vec::new()),
        }
    }
}

/// What the server tells every agent, and what it says of itself beside that
fn instructions(found: &mut Found<'_>, old: &Value, new: &Value) {
    found.worded(What::Instructions, &member(old, "description"), &member(new, "description"));
    let rest = |item: &Value| {
        let mut members = item.as_object().cloned().unwrap_or_default();
        members.retain(|name, _| !matches!(name.as_str(), "description" | "name" | "inputSchema"));
        Value::Object(members)
    };
    let lines = text::difference(&rest(old), &rest(new));
    if !lines.is_empty() {
        found.push(What::Meta, false, lines);
    }
}

fn tool(found: &mut Found<'_>, old: &Value, new: &Value) {
    let names: BTreeSet<&String> =
        [old, new].into_iter().filter_map(Value::as_object).flat_map(BTreeMap::keys).collect();
    let mut rest = (BTreeMap::new(), BTreeMap::new());
    for name in names {
        let [before, after] = [old, new].map(|value| value.get(name).cloned().unwrap_or(Value::Null));
        if before == after {
            continue;
        }
        let at = |value: &Value| Value::Object(BTreeMap::from([(name.clone(), value.clone())]));
        let (before, after) = (at(&before), at(&after));
        match name.as_str() {
            "description" | "title" => found.worded(What::Wording, &before, &after),
            "annotations" => hints(found, &before, &after),
            "inputSchema" => schema(found, &before, &after, |relation| match relation {
                Relation::Narrower => What::SchemaNarrower,
                Relation::Wider => What::SchemaWider,
                Relation::Same | Relation::Other => What::SchemaOther,
            }),
            "outputSchema" => schema(found, &before, &after, |_| What::Output),
            _ => {
                rest.0.insert(name.clone(), before.get(name).cloned().unwrap_or(Value::Null));
                rest.1.insert(name.clone(), after.get(name).cloned().unwrap_or(Value::Null));
            }
        }
    }
    let (before, after) = (Value::Object(rest.0), Value::Object(rest.1));
    if before != after {
        found.push(What::Meta, false, text::difference(&before, &after));
    }
}

/// A schema, and the words in it
fn schema(found: &mut Found<'_>, old: &Value, new: &Value, what: impl Fn(Relation) -> What) {
    let name = old.as_object().and_then(|members| members.keys().next()).map_or("", String::as_str);
    let bare = |value: &Value| value.get(name).map(without_words).unwrap_or(Value::Null);
    let relation = relation(&bare(old), &bare(new));
    if relation != Relation::Same {
        let at = |value: &Value| Value::Object(BTreeMap::from([(name.to_owned(), bare(value))]));
        found.push(what(relation), relation == Relation::Narrower, text::difference(&at(old), &at(new)));
    }
    let (before, after) = (text::words_in(old), text::words_in(new));
    // The words of what is not there any more are gone with it.
    let kept = |path: &&String| before.contains_key(*path) && after.contains_key(*path);
    let said = |words: &BTreeMap<String, String>, all: bool| -> String {
        let paths = words.keys().filter(|path| all || kept(path));
        paths.filter_map(|path| words.get(path)).map(|text| format!("{text} ")).collect()
    };
    let lines = text::lines(&before, &after);
    if !lines.is_empty() {
        let harmless = text::same_words(&said(&before, false), &said(&after, true));
        found.push(What::Wording, harmless, lines);
    }
}

/// What the server says of what its tool does; never harmless, as somebody may have relied on it
fn hints(found: &mut Found<'_>, old: &Value, new: &Value) {
    // What the specification takes for said if nothing is.
    const HINTS: [(&str, bool, bool); 4] = [
        ("readOnlyHint", false, true),
        ("destructiveHint", true, false),
        ("idempotentHint", false, true),
        ("openWorldHint", true, false),
    ];
    let of = |value: &Value, name: &str| value.get("annotations").and_then(|hints| hints.get(name)).cloned();
    let said = |value: &Value, (name, unsaid, _): (&str, bool, bool)| match of(value, name) {
        Some(Value::Bool(said)) => said,
        _ => unsaid,
    };
    let safer = HINTS.iter().any(|hint| said(old, *hint) != said(new, *hint) && said(new, *hint) == hint.2);
    let title = |value: &Value| {
        let title = of(value, "title").map(|title| BTreeMap::from([("title".to_owned(), title)]));
        Value::Object(BTreeMap::from([("annotations".to_owned(), Value::Object(title.unwrap_or_default()))]))
    };
    let untitled = |value: &Value| {
        let mut hints = value.get("annotations").and_then(Value::as_object).cloned().unwrap_or_default();
        hints.remove("title");
        Value::Object(BTreeMap::from([("annotations".to_owned(), Value::Object(hints))]))
    };
    if title(old) != title(new) {
        found.worded(What::Wording, &title(old), &title(new));
    }
    if untitled(old) != untitled(new) {
        found.push(What::Hints { safer }, false, text::difference(&untitled(old), &untitled(new)));
    }
}

/// Each prompt by itself
fn prompts(found: &mut Found<'_>, old: &Value, new: &Value) {
    let none = BTreeMap::new();
    let [before, after] = [old, new].map(|item| item.get("prompts").and_then(Value::as_object).unwrap_or(&none));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let mut found = Found { item: found.item, prompt: Some(name), changes: &mut *found.changes };
        match (before.get(name), after.get(name)) {
            (Some(old), Some(new)) if old == new => {}
            (Some(_), None) => found.push(What::Gone, true, Vec::new()),
            (None, Some(new)) => found.push(What::New, false, text::difference(&Value::Null, new)),
            (Some(old), Some(new)) => {
                let (words, rest) = (prompt_words(old, new), prompt_rest(old, new));
                if words.0 != words.1 {
                    found.worded(What::Wording, &words.0, &words.1);
                }
                if rest.0 != rest.1 {
                    found.push(What::SchemaOther, false, text::difference(&rest.0, &rest.1));
                }
            }
            (None, None) => {}
        }
    }
    let rest = |item: &Value| {
        let mut members = item.as_object().cloned().unwrap_or_default();
        members.remove("prompts");
        Value::Object(members)
    };
    if old.as_object().is_some_and(|members| !members.is_empty()) && rest(old) != rest(new) {
        found.push(What::Meta, false, text::difference(&rest(old), &rest(new)));
    }
}

fn prompt_words(old: &Value, new: &Value) -> (Value, Value) {
    let only = |prompt: &Value| {
        let members = prompt.as_object().into_iter().flatten();
        let words = members.filter(|(name, _)| matches!(name.as_str(), "description" | "title"));
        Value::Object(words.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    (only(old), only(new))
}

fn prompt_rest(old: &Value, new: &Value) -> (Value, Value) {
    let rest = |prompt: &Value| {
        let mut members = prompt.as_object().cloned().unwrap_or_default();
        members.retain(|name, _| !matches!(name.as_str(), "description" | "title"));
        Value::Object(members)
    };
    (rest(old), rest(new))
}

/// An object with one member of another one, if that has it
fn member(value: &Value, name: &str) -> Value {
    let found = value.get(name).map(|member| (name.to_owned(), member.clone()));
    Value::Object(found.into_iter().collect())
}

/// What was found so far, and what it is about
struct Found<'f> {
    item: &'f str,
    prompt: Option<&'f str>,
    changes: &'f mut Vec<Change>,
}

impl Found<'_> {
    fn push(&mut self, what: What, harmless: bool, lines: Vec<Line>) {
        let prompt = self.prompt.map(visible);
        self.changes.push(Change { item: visible(self.item), prompt, what, harmless, lines });
    }

    /// Texts of which only the words count
    fn worded(&mut self, what: What, old: &Value, new: &Value) {
        let lines = text::difference(old, new);
        let said = |value: &Value| text::leaves(value).into_values().map(|text| text + " ").collect::<String>();
        let says_nothing = said(old).trim().is_empty() && said(new).trim().is_empty();
        if !lines.is_empty() && !says_nothing {
            let alike = text::leaves(old).into_keys().eq(text::leaves(new).into_keys());
            self.push(what, alike && text::same_words(&said(old), &said(new)), lines);
        }
    }

    /// Characters in new texts that nobody sees, or that pass for others
    fn hidden(&mut self, old: &Value, new: &Value) {
        let known = text::leaves(old);
        let new = text::leaves(new).into_iter().filter(|(path, text)| known.get(path) != Some(text));
        let lines: Vec<Line> = new
            .filter(|(path, text)| text::is_hidden(path) || text::is_hidden(text))
            .map(|(path, text)| Line::new(Sign::Plus, &path, &text))
            .collect();
        if !lines.is_empty() {
            self.push(What::Invisible, false, lines);
        }
    }
}

/// Everything that a definition says in words
pub(crate) fn said(definition: &Value) -> String {
    text::words_in(definition).into_values().map(|text| text + "\n").collect()
}

#[cfg(test)]
mod tests;
