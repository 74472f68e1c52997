//! What files of several back ends have in common.

use super::{Around, TTL_MS_MAX};
use crate::{
    address::is_guarded,
    document::{Cell, Document, Table},
};
use portreeve_core::{
    names::Name,
    policy::{Class, Revocation, Template},
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const CLASSES: [(&str, Class); 4] =
    [("read", Class::Read), ("write", Class::Write), ("execute", Class::Execute), ("escalate", Class::Escalate)];

/// `classes = [...]`: for which classes it issues
pub(super) fn classes(doc: &Document<'_>, table: &mut Table<'_, '_>) -> Option<BTreeSet<Class>> {
    const EXAMPLE: &str = "[\"read\"]";
    let cell = table.need("classes", EXAMPLE)?;
    let items = doc.array(cell, EXAMPLE)?;
    let classes: Option<BTreeSet<Class>> = items.iter().map(|item| doc.word(item, &CLASSES)).collect();
    if items.is_empty() {
        doc.error(&cell.span(), "it issues for no class", format!("for example: classes = {EXAMPLE}"));
        return None;
    }
    classes
}

/// `[KIND.CLASS]` for each class that it issues for, read by `one`
pub(super) fn by_class<'c, T>(
    doc: &Document<'_>,
    table: &mut Table<'c, '_>,
    (kind, example): (&str, &str),
    one: impl FnMut(Table<'_, '_>, Class) -> Option<T>,
) -> Option<BTreeMap<Class, T>> {
    by_class_as("a class", doc, table, (kind, example), one)
}

/// The same, where a class is of another form
pub(super) fn by_class_as<'c, T>(
    what: &'static str,
    doc: &Document<'_>,
    table: &mut Table<'c, '_>,
    (kind, example): (&str, &str),
    mut one: impl FnMut(Table<'_, '_>, Class) -> Option<T>,
) -> Option<BTreeMap<Class, T>> {
    let (mut found, mut whole) = (BTreeMap::new(), true);
    let cells = CLASSES.map(|(word, class)| (class, table.take(word)));
    for (class, cell) in cells.into_iter().filter_map(|(class, cell)| Some((class, cell?))) {
        match doc.table(cell, what, example).and_then(|table| one(table, class)) {
            Some(of) => drop(found.insert(class, of)),
            None => whole = false,
        }
    }
    if found.is_empty() && whole {
        doc.error(table.span(), "it issues for no class", format!("for example: [{kind}.read] with {example}"));
        whole = false;
    }
    whole.then_some(found)
}

/// The name of a secret of the vault, which one source alone needs: whoever holds it can be told, and cut off
pub(super) fn secret(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<Name> {
    let secret: Name = doc.parsed(cell, "secret = \"orders-db-admin\", the name of a secret of the vault")?;
    let holder = around
        .others
        .iter()
        .find(|(_, other)| other.as_ref().is_some_and(|other| other.back_end.says().secrets().contains(&&secret)));
    if let Some((holder, _)) = holder {
        let message = format!("the source `{holder}` has the secret `{secret}` already: a secret has one holder");
        doc.error(
            &cell.span(),
            message,
            "have another one made for this source, and put it into the vault under a name of its own",
        );
        return None;
    }
    Some(secret)
}

/// `host` and `port`
pub(super) fn host(doc: &Document<'_>, table: &mut Table<'_, '_>, usual: u16) -> (Option<String>, Option<u16>) {
    let host = table.need("host", "\"db.example.com\"").and_then(|cell| {
        let text = doc.line(cell, "host = \"db.example.com\"")?;
        let good = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte));
        if !good {
            doc.error(
                &cell.span(),
                "expected a name or an address, without a port",
                "for example: host = \"db.example.com\"",
            );
        }
        good.then_some(text)
    });
    let port = table.take("port").map_or(Some(usual), |cell| {
        let example = format!("port = {usual}");
        let port = doc.count(cell, &example)?;
        let small = u16::try_from(port).ok();
        if small.is_none() {
            doc.error(&cell.span(), "there is no such port", format!("for example: {example}"));
        }
        small
    });
    (host, port)
}

/// `tls`, true unless it is said otherwise, which only a server on this machine may say
pub(super) fn tls(doc: &Document<'_>, table: &mut Table<'_, '_>, host: Option<&str>) -> Option<bool> {
    let Some(cell) = table.take("tls") else { return Some(true) };
    let tls = doc.truth(cell, "tls = true")?;
    let local = host.is_none_or(|host| matches!(host, "localhost" | "127.0.0.1" | "::1"));
    if !tls && !local {
        doc.error(
            &cell.span(),
            "its passwords would be sent in the clear",
            "take `tls = false` out: it is for this machine only",
        );
    }
    Some(tls)
}

/// How `revocation` looks
pub(super) const REVOCATION: &str = "\"immediate\"; or a time such as \"30s\", \"expiry only\", \"gateway only\"";

/// `revocation`: what taking one back achieves, where only who runs the back end knows that
pub(super) fn revocation(doc: &Document<'_>, cell: &Cell<'_>) -> Option<Revocation> {
    let example = format!("revocation = {REVOCATION}");
    match doc.text(cell, &example)? {
        "immediate" => Some(Revocation::Immediate),
        "expiry only" => Some(Revocation::ExpiryOnly),
        "gateway only" => Some(Revocation::GatewayOnly),
        _ => doc.duration(cell, TTL_MS_MAX, &example).map(|within_ms| Revocation::Eventual { within_ms }),
    }
}

/// A text with names of `[scope]` in braces, each of which stands for its value
pub(super) fn narrowed(
    doc: &Document<'_>,
    cell: &Cell<'_>,
    text: &str,
    scope: Option<&BTreeMap<Name, Name>>,
) -> Option<Template> {
    let template = match Template::read(text) {
        Ok(template) => template,
        Err(error) => {
            doc.error(&cell.span(), error.to_string(), "a name of `[scope]` in braces stands for its value");
            return None;
        }
    };
    let unknown = template
        .fields()
        .find(|field| scope.is_some_and(|scope| !field.parse::<Name>().is_ok_and(|field| scope.contains_key(&field))));
    if let Some(field) = unknown {
        let remedy = format!("add it to `[scope]`: {field} = \"PARAMETER\"");
        doc.error(&cell.span(), format!("nothing says what `{{{field}}}` is"), remedy);
        return None;
    }
    Some(template)
}

/// The address of an API, without a slash at its end: https, or http on this machine
pub(super) fn address(doc: &Document<'_>, cell: &Cell<'_>, example: &str) -> Option<String> {
    let text = doc.line(cell, example)?;
    if !is_guarded(&text) || text.contains('?') {
        let message = "expected an https:// address without a query; http:// is for this machine only";
        doc.error(&cell.span(), message, format!("for example: {example}"));
        return None;
    }
    Some(text.trim_end_matches('/').to_owned())
}

/// A file of this machine, by its whole path
pub(super) fn path(doc: &Document<'_>, cell: &Cell<'_>, example: &str) -> Option<String> {
    let text = doc.line(cell, example)?;
    if !text.starts_with('/') {
        doc.error(&cell.span(), "expected the whole path of a file", format!("for example: {example}"));
        return None;
    }
    Some(text)
}
