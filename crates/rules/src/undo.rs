//! The call that takes another one back, as a profile or a purpose writes it.

use crate::{
    definition::Definition,
    document::{Cell, Document},
    pattern::Placeholders,
    words::suggest,
};
use portreeve_core::{
    names::{Name, Tool},
    path::FieldPath,
    policy::{Before, Class, Profile, Restored, Undo},
};
use std::collections::BTreeMap;

/// What a value of an undoing call may be put together from
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Everything; whether something is read before the call
    After {
        /// Whether there is a `before`
        reads: bool,
    },
    /// What is known before the call
    Before,
}

/// Reads `{ tool = ..., args = { ... }, before = { tool = ..., args = { ... } } }`
///
/// `tool` reads a name, and only purposes have placeholders.
pub(crate) fn undo<'t>(
    doc: &Document<'t>,
    cell: &Cell<'t>,
    tool: impl Fn(&Cell<'t>) -> Option<Tool>,
    placeholders: Option<&Placeholders>,
) -> Option<Undo> {
    const EXAMPLE: &str = "undo = { tool = \"shop.cancel_refund\", args = { refund = \"{result.id}\" } }";
    const BEFORE: &str = "before = { tool = \"files.read_file\", args = { path = \"{args.path}\" } }";
    let mut table = doc.table(cell, "`undo`", EXAMPLE)?;
    let named = table.need("tool", "\"shop.cancel_refund\"").and_then(&tool);
    let first = table.take("before");
    let known = Known::After { reads: first.is_some() };
    let arguments =
        table.take("args").map_or(Some(BTreeMap::new()), |cell| arguments(doc, cell, (placeholders, known)));
    let before = first.map_or(Some(None), |cell| {
        let mut table = doc.table(cell, "`before`", BEFORE)?;
        let tool = table.need("tool", "\"files.read_file\"").and_then(&tool);
        let arguments = table
            .take("args")
            .map_or(Some(BTreeMap::new()), |cell| self::arguments(doc, cell, (placeholders, Known::Before)));
        table.finish();
        Some(Some(Before { tool: tool?, arguments: arguments? }))
    });
    table.finish();
    let (tool, arguments, before) = (named?, arguments?, before?);
    if let Some(cell) = first
        && !arguments.values().any(|value| matches!(value, Restored::Before(_)))
    {
        let remedy = "use a field of it: `args = { content = \"{before.content}\" }`, or take `before` out";
        doc.warn(&cell.span(), "nothing of what is read before is put back", remedy);
    }
    Some(Undo { tool, arguments, before })
}

fn arguments<'t>(
    doc: &Document<'t>,
    cell: &Cell<'t>,
    of: (Option<&Placeholders>, Known),
) -> Option<BTreeMap<String, Restored>> {
    let mut table = doc.table(cell, "`args`", "args = { refund = \"{result.id}\" }")?;
    let argument = |(name, _, cell): (&str, _, _)| Some((name.to_owned(), restored(doc, cell, of)?));
    let arguments: Vec<_> = table.rest().map(argument).collect();
    arguments.into_iter().collect()
}

fn restored(
    doc: &Document<'_>,
    cell: &Cell<'_>,
    (placeholders, known): (Option<&Placeholders>, Known),
) -> Option<Restored> {
    let value = doc.value(cell)?;
    let inner = value.as_str().and_then(|text| text.strip_prefix('{')).and_then(|text| text.strip_suffix('}'));
    let Some(inner) = inner else { return Some(Restored::Literal(value)) };
    let path = |text: &str| {
        text.parse::<FieldPath>()
            .map_err(|error| doc.error(&cell.span(), error.to_string(), "for example: \"{result.id}\""))
            .ok()
    };
    if let Some(field) = inner.strip_prefix("args.") {
        return path(field).map(Restored::Argument);
    }
    match (inner.strip_prefix("result."), inner.strip_prefix("before."), known) {
        (Some(field), _, Known::After { .. }) => return path(field).map(Restored::Result),
        (_, Some(field), Known::After { reads: true }) => return path(field).map(Restored::Before),
        (_, Some(_), Known::After { reads: false }) => {
            let remedy = "say what is read: before = { tool = \"files.read_file\", args = { path = \"{args.path}\" } }";
            doc.error(&cell.span(), "nothing is read before this call", remedy);
            return None;
        }
        (Some(_), _, Known::Before) | (_, Some(_), Known::Before) => {
            let message = format!("`{{{}}}` is not known before the call", inner.escape_debug());
            doc.error(&cell.span(), message, "use \"{args.NAME}\", a parameter, or a value");
            return None;
        }
        (None, None, _) => {}
    }
    let declared = || placeholders.into_iter().flat_map(|known| known.parameters.keys());
    let Some(name) = declared().find(|name| name.as_str() == inner) else {
        let message = format!("`{{{}}}` stands for nothing here", inner.escape_debug());
        let of_call = match known {
            Known::After { reads: true } => "\"{result.FIELD}\", \"{before.FIELD}\", \"{args.NAME}\"",
            Known::After { reads: false } => "\"{result.FIELD}\", \"{args.NAME}\"",
            Known::Before => "\"{args.NAME}\"",
        };
        let remedy = match placeholders {
            None => of_call.to_owned(),
            Some(_) => format!("{of_call}, or a parameter; {}", suggest(inner, declared().map(Name::as_str))),
        };
        doc.error(&cell.span(), message, remedy);
        return None;
    };
    if let Some(placeholders) = placeholders {
        placeholders.used.borrow_mut().insert(name.clone());
    }
    Some(Restored::Parameter(name.clone()))
}

/// What of an undo does not fit the definitions of the call that it takes back, of its own call, and of what is read
/// before: each with what to do about it
pub(crate) fn unfit<'d>(
    undo: &Undo,
    undone: Option<&Definition>,
    of: impl Fn(&Tool) -> Option<&'d Definition>,
) -> Vec<(String, String)> {
    let mut unfit = given(&undo.arguments, of(&undo.tool));
    let read = undo.before.as_ref().and_then(|before| of(&before.tool));
    unfit.extend(undo.before.iter().flat_map(|before| given(&before.arguments, read)));
    for restored in undo.arguments.values() {
        let (field, definition) = match restored {
            Restored::Result(field) => (field, undone),
            Restored::Before(field) => (field, read),
            Restored::Literal(_) | Restored::Parameter(_) | Restored::Argument(_) => continue,
        };
        let Some(definition) = definition else { continue };
        if let Some(results) = definition.results().filter(|results| results.at(field).is_none()) {
            let near = field.root().map(|root| suggest(root, results.names())).unwrap_or_default();
            unfit.push((format!("the results of `{}` have no `{field}`", definition.name), near));
        }
    }
    unfit
}

/// Arguments that do not fit the call that they are for
fn given(arguments: &BTreeMap<String, Restored>, by: Option<&Definition>) -> Vec<(String, String)> {
    let Some(by) = by else { return Vec::new() };
    let schema = by.schema();
    let unknown = arguments.keys().filter(|name| schema.member(name).is_none());
    let unknown = unknown
        .map(|name| (format!("`{}` takes no `{}`", by.name, name.escape_debug()), suggest(name, schema.names())));
    let missing = schema.names().into_iter().filter(|name| schema.requires(name) && !arguments.contains_key(*name));
    let missing = missing
        .map(|name| (format!("`{}` requires `{}`", by.name, name.escape_debug()), "add it to `args`".to_owned()));
    unknown.chain(missing).collect()
}

/// Whether every call of a tool only looks
pub(crate) fn looks(profile: &Profile) -> bool {
    profile.class == Class::Read && profile.variants.iter().all(|variant| variant.class == Class::Read)
}

/// Why a tool cannot be what is read before a call, and what to do about it
pub(crate) fn no_look(tool: &impl std::fmt::Display) -> (String, &'static str) {
    let message = format!("`{tool}` does more than look, so it cannot be what is read before a call");
    (message, "name a tool of class `read`, all of whose variants are `read`")
}
