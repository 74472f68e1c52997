//! The scopes of each class of tokens.

use super::{Around, shared::by_class_as};
use crate::document::{Cell, Document, Table};
use portreeve_core::{
    names::Name,
    policy::{Class, Template},
};
use std::collections::BTreeMap;

/// Scopes of one class
const SCOPES_MAX: usize = 64;
/// Words that say of a scope that it changes something
const CHANGES: [&str; 9] = ["write", "create", "update", "delete", "modify", "manage", "admin", "readwrite", "full"];
/// Words that say of a scope that it reads what the others name
const READS: [&str; 5] = ["read", "readonly", "view", "list", "get"];

/// `[KIND.CLASS]` with `scope`, for each class; what names a part of `[scope]` only where the back end knows the task before
pub(super) fn scopes(
    doc: &Document<'_>,
    table: &mut Table<'_, '_>,
    kind: &str,
    around: &Around<'_>,
    templates: bool,
) -> Option<BTreeMap<Class, Vec<String>>> {
    let (none, example) = (BTreeMap::new(), example(templates));
    let scope = if templates { around.scope } else { Some(&none) };
    by_class_as("a class of tokens", doc, table, (kind, &example), |mut table, class| {
        let cell = table.need("scope", "[\"orders.read\"]");
        table.finish();
        let cell = cell?;
        let items = doc.array(cell, &example)?;
        if items.is_empty() || items.len() > SCOPES_MAX {
            let message = format!("expected 1 to {SCOPES_MAX} scopes");
            doc.error(&cell.span(), message, format!("for example: {example}"));
            return None;
        }
        let all: Vec<_> = items.iter().map(|item| one(doc, item, class, (scope, templates))).collect();
        all.into_iter().collect()
    })
}

fn example(templates: bool) -> String {
    let scopes = if templates { "[\"orders.read\", \"tenant:{tenant}\"]" } else { "[\"orders.read\"]" };
    format!("scope = {scopes}")
}

/// Plain scopes, whatever their class
pub(super) fn plain(doc: &Document<'_>, cell: &Cell<'_>, example: &str) -> Option<Vec<String>> {
    let items = doc.array(cell, example)?;
    let none = BTreeMap::new();
    let all: Vec<_> = items.iter().map(|item| one(doc, item, Class::Escalate, (Some(&none), false))).collect();
    all.into_iter().collect()
}

fn one(
    doc: &Document<'_>,
    item: &Cell<'_>,
    class: Class,
    (scope, templates): (Option<&BTreeMap<Name, Name>>, bool),
) -> Option<String> {
    let text = doc.line(item, &example(templates))?;
    let wrong = |message: String, remedy: &str| {
        doc.error(&item.span(), message, remedy);
        None
    };
    let template = match Template::read(&text) {
        Ok(template) => template,
        Err(error) => return wrong(error.to_string(), "a name of `[scope]` in braces stands for its value"),
    };
    let known =
        |field: &str| scope.is_none_or(|scope| field.parse::<Name>().is_ok_and(|field| scope.contains_key(&field)));
    if let Some(field) = template.fields().find(|field| !known(field)) {
        let message = format!("nothing says what `{{{field}}}` is");
        if !templates {
            return wrong(message, "people agree to scopes before there is a task: name them without braces");
        }
        return wrong(message, &format!("add it to `[scope]`: {field} = \"PARAMETER\""));
    }
    // RFC 6749, 3.3.
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
        return wrong(
            "a scope has no spaces, quotes or backslashes".to_owned(),
            &format!("for example: {}", example(templates)),
        );
    }
    let words = || text.split(|c: char| !c.is_ascii_alphanumeric());
    let is = |all: &'static [&'static str]| move |word: &&str| all.iter().any(|one| word.eq_ignore_ascii_case(one));
    if let Some(word) =
        words().find(is(&CHANGES)).filter(|_| class == Class::Read && !words().any(|word| is(&READS)(&word)))
    {
        let message = format!("`{word}` lets a token of the class read change something");
        return wrong(message, "give it to the class write");
    }
    Some(text)
}
