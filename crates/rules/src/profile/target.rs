//! What a call is about, and where it takes effect, as a profile says it.

use super::Mention;
use crate::{
    document::{Cell, Document},
    pattern,
};
use portreeve_core::{
    names::Name,
    path::FieldPath,
    policy::{Environment, Target},
};

const EXAMPLE: &str =
    "target = { type = \"Repo\", id = [\"owner\", \"repo\"], in = [{ type = \"Org\", id = [\"owner\"] }] }";

pub(super) fn target(doc: &Document<'_>, cell: &Cell<'_>, depth: usize, mentions: &mut Vec<Mention>) -> Option<Target> {
    let mut table = doc.table(cell, "a target", EXAMPLE)?;
    let kind = table.need("type", "\"Repo\"").and_then(|cell| kind(doc, cell));
    let id = table.need("id", "[\"owner\", \"repo\"]").and_then(|cell| {
        let items = doc.array(cell, "id = [\"owner\", \"repo\"]")?;
        if items.is_empty() || items.len() > PARTS_MAX {
            let message = format!("a target is named by 1 to {PARTS_MAX} arguments");
            doc.error(&cell.span(), message, format!("for example: {EXAMPLE}"));
            return None;
        }
        let parts: Vec<_> = items.iter().map(|item| argument(doc, item, "the target", mentions)).collect();
        parts.into_iter().collect::<Option<Vec<_>>>()
    });
    let within = table.take("in").map_or(Some(Vec::new()), |cell| {
        if depth >= DEPTH_MAX {
            doc.error(
                &cell.span(),
                format!("targets more than {DEPTH_MAX} levels deep"),
                "name the ones that rules need",
            );
            return None;
        }
        let items = doc.array(cell, EXAMPLE)?;
        if items.len() > PARTS_MAX {
            doc.error(&cell.span(), format!("a target lies in at most {PARTS_MAX} others"), "");
        }
        let targets: Vec<_> = items.iter().map(|item| target(doc, item, depth + 1, mentions)).collect();
        targets.into_iter().collect::<Option<Vec<_>>>()
    });
    table.finish();
    Some(Target { kind: kind?, id: id?, within: within? })
}

/// Arguments in a name, and targets that one lies in
const PARTS_MAX: usize = 8;
const DEPTH_MAX: usize = 4;

/// Types that rules already have
/// Types that rules know already, and those of Cedar itself
const RESERVED: [&str; 15] = [
    "Agent",
    "User",
    "Group",
    "Action",
    "Tool",
    "Connector",
    "Unreadable",
    "Bool",
    "Boolean",
    "Entity",
    "Extension",
    "Long",
    "Record",
    "Set",
    "String",
];

fn kind(doc: &Document<'_>, cell: &Cell<'_>) -> Option<String> {
    let text = doc.text(cell, "type = \"Repo\"")?;
    let good = text.len() <= KIND_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !good {
        let message =
            format!("not the name of a type: a capital, then letters, digits and _, at most {KIND_BYTES_MAX}");
        doc.error(&cell.span(), message, "for example: type = \"Repo\"");
        return None;
    }
    if RESERVED.contains(&text) {
        let remedy = format!("for example: type = \"My{text}\"; reserved are {}", RESERVED.join(", "));
        doc.error(&cell.span(), format!("rules use the type `{text}` for something else"), remedy);
        return None;
    }
    Some(text.to_owned())
}

const KIND_BYTES_MAX: usize = 64;

pub(super) fn environment(doc: &Document<'_>, cell: &Cell<'_>, mentions: &mut Vec<Mention>) -> Option<Environment> {
    const EXAMPLE: &str = "environment = \"staging\", or environment = { argument = \"env\" }";
    if !cell.get_ref().is_table() {
        let name: Name = doc.parsed(cell, EXAMPLE)?;
        return Some(Environment::Fixed(name.to_string()));
    }
    let mut table = doc.table(cell, "`environment`", EXAMPLE)?;
    let path = table.need("argument", "\"env\"").and_then(|cell| argument(doc, cell, "the environment", mentions));
    table.finish();
    path.map(Environment::Argument)
}

fn argument(doc: &Document<'_>, cell: &Cell<'_>, what: &'static str, mentions: &mut Vec<Mention>) -> Option<FieldPath> {
    let text = doc.text(cell, "\"owner\"")?;
    let path = pattern::argument(doc, text, &cell.span())?;
    if path.to_string().contains("[*]") {
        let remedy = "name an argument that has one value";
        doc.error(&cell.span(), format!("`{path}` may have several values, and {what} is one"), remedy);
        return None;
    }
    mentions.push(Mention { path: path.clone(), span: cell.span(), what });
    Some(path)
}
