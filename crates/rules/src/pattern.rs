//! TOML values as the patterns of the core.

use crate::{
    document::{Cell, Document},
    words::suggest,
};
use portreeve_core::{
    names::Name,
    pattern::{Operand, Pattern},
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
}

/// Reads a table of arguments and the patterns that they must fit
pub(crate) fn arguments<'t>(
    doc: &Document<'t>,
    cell: &Cell<'t>,
    scope: &Scope<'_>,
) -> Option<BTreeMap<String, Pattern>> {
    let mut table = doc.table(cell, "this table", "where = { id = \"{order}\" }")?;
    let mut patterns = BTreeMap::new();
    let mut whole = true;
    for (name, span, cell) in table.rest() {
        whole &= is_argument(doc, name, &span);
        match pattern(doc, cell, scope) {
            Some(pattern) => {
                patterns.insert(name.to_owned(), pattern);
            }
            None => whole = false,
        }
    }
    whole.then_some(patterns)
}

/// Whether the name is one of an argument, not a path into one
pub(crate) fn is_argument(doc: &Document<'_>, name: &str, span: &Range<usize>) -> bool {
    let path = name.contains(['.', '[', ']']);
    if path {
        doc.later(span, "paths into arguments");
    }
    !path
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
            "prefix" => {
                operand(doc, cell, scope).filter(|text| fits(doc, cell, text, scope, Wanted::Text)).map(Pattern::Prefix)
            }
            "glob" => {
                operand(doc, cell, scope).filter(|text| fits(doc, cell, text, scope, Wanted::Text)).map(Pattern::Glob)
            }
            "at_most" => operand(doc, cell, scope)
                .filter(|bound| fits(doc, cell, bound, scope, Wanted::Number))
                .map(Pattern::AtMost),
            "at_least" => operand(doc, cell, scope)
                .filter(|bound| fits(doc, cell, bound, scope, Wanted::Number))
                .map(Pattern::AtLeast),
            "absent" => truth(doc, cell, name).then_some(Pattern::Absent),
            "any" => truth(doc, cell, name).then_some(Pattern::Any),
            later if LATER.contains(&later) => {
                doc.later(&span, later);
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
        patterns.push(pattern);
    }
    if patterns.is_empty() {
        let remedy = "anything: `{ any = true }`; left out: `{ absent = true }`";
        doc.error(&cell.span(), "an empty table is no pattern", remedy);
        return None;
    }
    let mut patterns = patterns.into_iter().collect::<Option<Vec<_>>>()?;
    if patterns.len() == 1 { patterns.pop() } else { Some(Pattern::All(patterns)) }
}

const OPERATORS: [&str; 8] = ["is", "in", "prefix", "glob", "at_most", "at_least", "absent", "any"];
/// Operators of the later language
const LATER: [&str; 7] = ["under", "max_bytes", "from", "path", "url", "email", "sql"];

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
