//! TOML values as the patterns of the core.

use crate::{
    document::{Cell, Document},
    words::suggest,
};
use portreeve_core::{
    names::Name,
    path::FieldPath,
    pattern::{Conditions, Operand, Pattern, Source},
    policy::{Kind, Parameter},
    value::Value,
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};
use toml::de::DeValue;

/// What placeholders may stand for at some place of the policy
#[derive(Debug)]
pub(crate) enum Scope<'a> {
    /// Facts about a connector: no task, so no placeholders
    Facts,
    /// The entries of a purpose
    Entry(&'a Placeholders),
    /// The table `[open]`: also the user's attributes
    Open(&'a Placeholders),
}

/// What a purpose declares, and what of it is used
#[derive(Debug, Default)]
pub(crate) struct Placeholders {
    /// Parameters by name; `None` if a declaration is broken
    pub(crate) parameters: BTreeMap<Name, Option<Parameter>>,
    pub(crate) used: RefCell<BTreeSet<Name>>,
    pub(crate) attributes: RefCell<Vec<(String, Range<usize>)>>,
    /// Fields of results that `from` names, and where
    pub(crate) sources: RefCell<Vec<(Source, Range<usize>)>>,
}

/// Reads a table of paths to arguments and the patterns that they must fit
pub(crate) fn conditions<'t>(doc: &Document<'t>, cell: &Cell<'t>, scope: &Scope<'_>) -> Option<Conditions> {
    let mut table = doc.table(cell, "this table", "where = { id = \"{order}\" }")?;
    let mut patterns = Conditions::new();
    let mut whole = true;
    for (name, span, cell) in table.rest() {
        let path = argument(doc, name, &span);
        match path.zip(pattern(doc, cell, scope)) {
            Some((path, pattern)) => drop(patterns.insert(path, pattern)),
            None => whole = false,
        }
    }
    whole.then_some(patterns)
}

/// Reads the path to an argument, or into one
pub(crate) fn argument(doc: &Document<'_>, name: &str, span: &Range<usize>) -> Option<FieldPath> {
    const REMEDY: &str = "for example: id, files[*].path, options.force";
    let path = name.parse::<FieldPath>().map_err(|error| doc.error(span, error.to_string(), REMEDY)).ok()?;
    if path.root().is_none() {
        doc.error(span, "a path to an argument begins with its name", REMEDY);
        return None;
    }
    Some(path)
}

/// Reads one pattern
pub(crate) fn pattern<'t>(doc: &Document<'t>, cell: &Cell<'t>, scope: &Scope<'_>) -> Option<Pattern> {
    match cell.get_ref() {
        DeValue::Table(_) => operators(doc, cell, scope),
        DeValue::Array(_) => {
            let remedy = "one of several values: `{ in = [...] }`; exactly this list: `{ is = [...] }`";
            doc.error(&cell.span(), "a bare list is no pattern", remedy);
            None
        }
        _ => operand(doc, cell, scope).map(Pattern::Is),
    }
}

fn operators<'t>(doc: &Document<'t>, cell: &Cell<'t>, scope: &Scope<'_>) -> Option<Pattern> {
    let mut table = doc.table(cell, "a pattern", "{ at_most = 20 }")?;
    let mut patterns = Vec::new();
    for (name, span, cell) in table.rest() {
        let pattern = match name {
            "is" => operand(doc, cell, scope).map(Pattern::Is),
            "in" => choices(doc, cell, scope),
            "prefix" => text(doc, cell, scope).map(Pattern::Prefix),
            "glob" => glob(doc, cell),
            "under" => text(doc, cell, scope).map(Pattern::Under),
            "path" => text(doc, cell, scope).map(Pattern::Path),
            "url" => text(doc, cell, scope).map(Pattern::Url),
            "email" => text(doc, cell, scope).map(Pattern::Email),
            "at_most" => number(doc, cell, scope).map(Pattern::AtMost),
            "at_least" => number(doc, cell, scope).map(Pattern::AtLeast),
            "max_bytes" => doc.count(cell, "max_bytes = 2000").map(|most| Pattern::MaxBytes(u64::from(most))),
            "from" => from(doc, cell, scope),
            "absent" => truth(doc, cell, name).then_some(Pattern::Absent),
            "any" => truth(doc, cell, name).then_some(Pattern::Any),
            "sql" => {
                doc.later(&span, name);
                None
            }
            unknown => {
                let message = format!("a pattern knows no `{}`", unknown.escape_debug());
                let remedy = format!(
                    "{}\n  = a table is a set of operators; exactly this table: `{{ is = {{...}} }}`",
                    suggest(unknown, OPERATORS.iter().copied())
                );
                doc.error(&span, message, remedy);
                None
            }
        };
        patterns.push(pattern.filter(|pattern| readable(doc, cell, name, pattern)));
    }
    if patterns.is_empty() {
        let remedy = "anything: `{ any = true }`; left out: `{ absent = true }`";
        doc.error(&cell.span(), "an empty table is no pattern", remedy);
        return None;
    }
    let mut patterns = patterns.into_iter().collect::<Option<Vec<_>>>()?;
    if patterns.len() == 1 { patterns.pop() } else { Some(Pattern::All(patterns)) }
}

pub(crate) const OPERATORS: [&str; 14] = [
    "is",
    "in",
    "prefix",
    "glob",
    "under",
    "path",
    "url",
    "email",
    "at_most",
    "at_least",
    "max_bytes",
    "from",
    "absent",
    "any",
];

fn text<'t>(doc: &Document<'t>, cell: &Cell<'t>, scope: &Scope<'_>) -> Option<Operand> {
    operand(doc, cell, scope).filter(|operand| fits(doc, cell, operand, scope, Wanted::Text))
}

fn number<'t>(doc: &Document<'t>, cell: &Cell<'t>, scope: &Scope<'_>) -> Option<Operand> {
    operand(doc, cell, scope).filter(|operand| fits(doc, cell, operand, scope, Wanted::Number))
}

/// A shape is written out: a value that somebody gives must not bring its own `*`
fn glob(doc: &Document<'_>, cell: &Cell<'_>) -> Option<Pattern> {
    let shape = doc.text(cell, "{ glob = \"docs/*.md\" }")?;
    if let Some(inner) = placeholder_in(shape) {
        let remedy = format!("`{{ prefix = \"{{{inner}}}\" }}` and `{{ under = \"{{{inner}}}\" }}` take placeholders");
        doc.error(&cell.span(), "a glob takes no placeholders", remedy);
        return None;
    }
    if shape.len() > GLOB_BYTES_MAX {
        doc.error(&cell.span(), format!("a glob of more than {GLOB_BYTES_MAX} bytes"), "use `prefix` or `under`");
        return None;
    }
    Some(Pattern::Glob(shape.to_owned()))
}

/// Matching takes time in proportion to the lengths of both
const GLOB_BYTES_MAX: usize = 256;

fn from(doc: &Document<'_>, cell: &Cell<'_>, scope: &Scope<'_>) -> Option<Pattern> {
    const EXAMPLE: &str = "from = \"look.items[*].id\"";
    let Scope::Entry(placeholders) = scope else {
        doc.error(&cell.span(), "`from` needs a task with earlier steps", "it belongs under `where` of an `[[allow]]`");
        return None;
    };
    let source: Source = doc.parsed(cell, EXAMPLE)?;
    placeholders.sources.borrow_mut().push((source.clone(), cell.span()));
    Some(Pattern::From(source))
}

/// Whether the operand is of a form that this operator could ever match
fn readable(doc: &Document<'_>, cell: &Cell<'_>, name: &str, pattern: &Pattern) -> bool {
    if pattern.is_readable() {
        return true;
    }
    let (what, remedy) = match pattern {
        Pattern::Url(_) => (
            "an address that is read one way only",
            "scheme, host and path, such as https://*.example.com/docs/; `?*` at its end admits any query",
        ),
        Pattern::Email(_) => ("a mail address", "kim@example.org, or *@example.org for everybody there"),
        _ => (
            "a path that is read one way only",
            "no `..`, `~`, backslashes or escapes, such as src/parser or /srv/data",
        ),
    };
    doc.error(&cell.span(), format!("`{name}` needs {what}"), format!("for example: {remedy}"));
    false
}

fn choices<'t>(doc: &Document<'t>, cell: &Cell<'t>, scope: &Scope<'_>) -> Option<Pattern> {
    let items = doc.array(cell, "in = [\"eu\", \"us\"]")?;
    if items.is_empty() {
        doc.error(&cell.span(), "an empty list matches nothing", "name at least one value, or `{ absent = true }`");
        return None;
    }
    let operands: Vec<_> = items.iter().map(|item| operand(doc, item, scope)).collect();
    operands.into_iter().collect::<Option<_>>().map(Pattern::In)
}

fn truth(doc: &Document<'_>, cell: &Cell<'_>, name: &str) -> bool {
    let truth = cell.get_ref().as_bool() == Some(true);
    if !truth {
        doc.error(&cell.span(), format!("`{name}` can only be true"), format!("`{name} = true`, or leave it out"));
    }
    truth
}

fn operand<'t>(doc: &Document<'t>, cell: &Cell<'t>, scope: &Scope<'_>) -> Option<Operand> {
    let value = doc.value(cell)?;
    let Some(text) = value.as_str() else {
        return literal(doc, cell, &value).then_some(Operand::Literal(value));
    };
    if let (Scope::Open(placeholders), Some(name)) = (scope, text.strip_prefix("user.")) {
        placeholders.attributes.borrow_mut().push((name.to_owned(), cell.span()));
        return Some(Operand::Attribute(name.to_owned()));
    }
    let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).filter(|name| is_word(name)) else {
        return literal(doc, cell, &value).then_some(Operand::Literal(value));
    };
    let placeholders = match scope {
        Scope::Facts => {
            doc.error(&cell.span(), "a connector's facts know no parameters", "write the value itself");
            return None;
        }
        Scope::Entry(placeholders) | Scope::Open(placeholders) => placeholders,
    };
    let Some((declared, _)) = placeholders.parameters.get_key_value(name) else {
        let known = placeholders.parameters.keys().map(Name::as_str);
        let remedy = format!("declare it: `[parameters]` {name} = {{ type = \"string\" }}; {}", suggest(name, known));
        doc.error(&cell.span(), format!("no parameter is called `{name}`"), remedy);
        return None;
    };
    placeholders.used.borrow_mut().insert(declared.clone());
    Some(Operand::Parameter(declared.clone()))
}

/// Whether a written value holds nothing that looks like a placeholder and would not be one
fn literal(doc: &Document<'_>, cell: &Cell<'_>, value: &Value) -> bool {
    match value {
        Value::String(text) => {
            let Some(inner) = placeholder_in(text) else { return true };
            let message = format!("`{{{inner}}}` would be taken literally here");
            let remedy =
                format!("a placeholder is a whole operand, as in `\"{{{inner}}}\"`; it is never put into text");
            doc.error(&cell.span(), message, remedy);
            false
        }
        Value::Array(items) => items.iter().all(|item| literal(doc, cell, item)),
        Value::Object(members) => members.values().all(|member| literal(doc, cell, member)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

fn placeholder_in(text: &str) -> Option<&str> {
    let after = text.split('{').skip(1);
    after.filter_map(|rest| rest.split_once('}')).map(|(inner, _)| inner).find(|inner| is_word(inner))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Text,
    Number,
}

/// Whether an operator could ever match with this operand
fn fits(doc: &Document<'_>, cell: &Cell<'_>, operand: &Operand, scope: &Scope<'_>, wanted: Wanted) -> bool {
    let fits = match (operand, scope) {
        (Operand::Literal(Value::String(_)), _) => wanted == Wanted::Text,
        (Operand::Literal(Value::Number(_)), _) => wanted == Wanted::Number,
        (Operand::Literal(_), _) => false,
        (Operand::Parameter(name), Scope::Entry(placeholders) | Scope::Open(placeholders)) => {
            match placeholders.parameters.get(name).and_then(Option::as_ref).map(|parameter| &parameter.kind) {
                Some(Kind::Text { .. }) => wanted == Wanted::Text,
                Some(Kind::Decimal { .. }) => wanted == Wanted::Number,
                Some(Kind::Bool) => false,
                Some(Kind::Choice(_)) | None => true,
            }
        }
        (Operand::Parameter(_) | Operand::Attribute(_), _) => true,
    };
    if !fits {
        let (what, example) = match wanted {
            Wanted::Text => ("text", "{ prefix = \"src/\" }"),
            Wanted::Number => ("numbers", "{ at_most = 20.50 }"),
        };
        doc.error(&cell.span(), format!("this operator compares {what}"), format!("for example: {example}"));
    }
    fits
}

#[cfg(test)]
mod tests;
