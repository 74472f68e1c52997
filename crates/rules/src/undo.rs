//! The call that takes another one back, as a profile or a purpose writes it.

use crate::{
    document::{Cell, Document},
    pattern::Placeholders,
    words::suggest,
};
use portreeve_core::{
    names::{Name, Tool},
    path::FieldPath,
    policy::{Restored, Undo},
};
use std::collections::BTreeMap;

/// Reads `{ tool = ..., args = { ... } }`; `tool` reads the name, and only purposes have placeholders
pub(crate) fn undo<'t>(
    doc: &Document<'t>,
    cell: &Cell<'t>,
    tool: impl FnOnce(&Cell<'t>) -> Option<Tool>,
    placeholders: Option<&Placeholders>,
) -> Option<Undo> {
    const EXAMPLE: &str = "undo = { tool = \"shop.cancel_refund\", args = { refund = \"{result.id}\" } }";
    let mut table = doc.table(cell, "`undo`", EXAMPLE)?;
    let tool = table.need("tool", "\"shop.cancel_refund\"").and_then(tool);
    let arguments = table.take("args").map_or(Some(BTreeMap::new()), |cell| {
        let mut table = doc.table(cell, "`args`", "args = { refund = \"{result.id}\" }")?;
        let argument = |(name, _, cell): (&str, _, _)| Some((name.to_owned(), restored(doc, cell, placeholders)?));
        let arguments: Vec<_> = table.rest().map(argument).collect();
        arguments.into_iter().collect::<Option<_>>()
    });
    table.finish();
    Some(Undo { tool: tool?, arguments: arguments?, before: None })
}

fn restored(doc: &Document<'_>, cell: &Cell<'_>, placeholders: Option<&Placeholders>) -> Option<Restored> {
    let value = doc.value(cell)?;
    let inner = value.as_str().and_then(|text| text.strip_prefix('{')).and_then(|text| text.strip_suffix('}'));
    let Some(inner) = inner else { return Some(Restored::Literal(value)) };
    let path = |text: &str| {
        text.parse::<FieldPath>()
            .map_err(|error| doc.error(&cell.span(), error.to_string(), "for example: \"{result.id}\""))
            .ok()
    };
    if let Some(field) = inner.strip_prefix("result.") {
        return path(field).map(Restored::Result);
    }
    if let Some(field) = inner.strip_prefix("args.") {
        return path(field).map(Restored::Argument);
    }
    let known = || placeholders.into_iter().flat_map(|known| known.parameters.keys());
    let Some(name) = known().find(|name| name.as_str() == inner) else {
        let message = format!("`{{{}}}` stands for nothing here", inner.escape_debug());
        let remedy = match placeholders {
            None => "\"{result.FIELD}\" or \"{args.NAME}\"".to_owned(),
            Some(_) => format!(
                "\"{{result.FIELD}}\", \"{{args.NAME}}\", or a parameter; {}",
                suggest(inner, known().map(Name::as_str))
            ),
        };
        doc.error(&cell.span(), message, remedy);
        return None;
    };
    if let Some(placeholders) = placeholders {
        placeholders.used.borrow_mut().insert(name.clone());
    }
    Some(Restored::Parameter(name.clone()))
}
