//! What files of several back ends have in common.

use super::Around;
use crate::document::{Cell, Document, Table};
use portreeve_core::{names::Name, policy::Class};
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
