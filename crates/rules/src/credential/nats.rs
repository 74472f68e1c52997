//! `[nats]`: users of an account of a NATS system.

use super::{
    Around,
    shared::{by_class, host, secret, tls},
};
use crate::document::{Cell, Document, Table};
use portreeve_core::{
    names::Name,
    policy::{BackEnd, Class, Nats, Revoking, Subjects, Template},
};
use std::collections::BTreeMap;

/// How subjects look
const SUBJECTS: &str = "[\"orders.{tenant}.>\"]";
/// Subjects of one list
const SUBJECTS_MAX: usize = 64;
/// Letters of an account's public key
const ACCOUNT_LETTERS: usize = 56;

pub(super) fn read(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<BackEnd> {
    const ACCOUNT: &str = "account = \"AD6S…\", the account's public key";
    let mut table = doc.table(cell, "[nats]", "host = \"nats.example.com\"")?;
    let (host, port) = host(doc, &mut table, 4_222);
    let tls = tls(doc, &mut table, host.as_deref());
    let account = table.need("account", "\"AD6S…\"").and_then(|cell| {
        let text = doc.line(cell, ACCOUNT)?;
        let good = text.starts_with('A')
            && text.len() == ACCOUNT_LETTERS
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte));
        if !good {
            doc.error(&cell.span(), "that is no public key of an account", format!("for example: {ACCOUNT}"));
        }
        good.then_some(text)
    });
    let signing = table.need("signing", "\"orders-signing\"").and_then(|cell| secret(doc, cell, around));
    let (operator_at, system_at) = (table.take("operator"), table.take("system"));
    let operator = operator_at.map_or(Some(None), |cell| secret(doc, cell, around).map(Some));
    let system = system_at.map_or(Some(None), |cell| secret(doc, cell, around).map(Some));
    if let [Some(one), None] | [None, Some(one)] = [operator_at, system_at] {
        let remedy = "name both `operator` and `system`, or neither: then a user counts until it expires";
        doc.error(&one.span(), "revoking needs a key of the operator and a user of the system account", remedy);
    }
    let example = format!("subscribe = {SUBJECTS}");
    let one = |table: Table<'_, '_>, class| subjects(doc, table, class, around.scope);
    let subjects = by_class(doc, &mut table, ("nats", &example), one);
    table.finish();
    let (host, port, tls, account, signing) = (host?, port?, tls?, account?, signing?);
    let revoking = operator?.zip(system?).map(|(operator, system)| Revoking { operator, system });
    Some(BackEnd::Nats(Nats { host, port, tls, account, signing, revoking, subjects: subjects? }))
}

/// What a user of a class may do
fn subjects(
    doc: &Document<'_>,
    mut table: Table<'_, '_>,
    class: Class,
    scope: Option<&BTreeMap<Name, Name>>,
) -> Option<Subjects> {
    let mut list = |key: &'static str, publishes: bool| {
        let Some(cell) = table.take(key) else { return Some(Vec::new()) };
        let items = doc.array(cell, SUBJECTS)?;
        if items.len() > SUBJECTS_MAX {
            doc.error(&cell.span(), format!("more than {SUBJECTS_MAX} subjects"), "a pattern can stand for several");
            return None;
        }
        let one = |item: &Cell<'_>| {
            let text = doc.line(item, SUBJECTS)?;
            match bounded(&text, (class, publishes), scope) {
                Ok(()) => Some(text),
                Err((message, remedy)) => {
                    doc.error(&item.span(), message, remedy);
                    None
                }
            }
        };
        items.iter().map(one).collect::<Vec<_>>().into_iter().collect::<Option<Vec<String>>>()
    };
    let (publish, subscribe) = (list("publish", true), list("subscribe", false));
    let at = table.span().clone();
    table.finish();
    let (publish, subscribe) = (publish?, subscribe?);
    if publish.is_empty() && subscribe.is_empty() {
        doc.error(&at, "a class has neither `publish` nor `subscribe`", format!("for example: subscribe = {SUBJECTS}"));
        return None;
    }
    Some(Subjects { publish, subscribe })
}

/// Whether a subject gives no more than a class may have, as far as its own words say that; what is wrong with it, otherwise
fn bounded(
    subject: &str,
    (class, publishes): (Class, bool),
    scope: Option<&BTreeMap<Name, Name>>,
) -> Result<(), (String, String)> {
    let template = Template::read(subject)
        .map_err(|error| (error.to_string(), "a name of `[scope]` in braces stands for its value".to_owned()))?;
    let unknown = template
        .fields()
        .find(|field| scope.is_some_and(|scope| !field.parse::<Name>().is_ok_and(|field| scope.contains_key(&field))));
    if let Some(field) = unknown {
        let remedy = format!("add it to `[scope]`: {field} = \"PARAMETER\"");
        return Err((format!("nothing says what `{{{field}}}` is"), remedy));
    }
    let parts: Vec<&str> = subject.split('.').collect();
    let last = parts.len().saturating_sub(1);
    let good = |(at, part): (usize, &&str)| {
        let plain =
            !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control() || "*>".contains(c));
        plain || *part == "*" || (*part == ">" && at == last)
    };
    if !parts.iter().enumerate().all(good) {
        let message = format!("`{}` is no subject", subject.escape_debug());
        return Err((message, format!("parts with dots between them, `*` for one and `>` for the rest: {SUBJECTS}")));
    }
    let first = parts.first().copied().unwrap_or_default();
    if matches!(first, "*" | ">") {
        let message = format!("`{subject}` gives every subject of the account, with those of its streams");
        return Err((message, "begin with a word of your own".to_owned()));
    }
    if first == "$SYS" {
        return Err((format!("`{subject}` reaches the servers themselves"), "name subjects of your own".to_owned()));
    }
    let writes = publishes
        && match parts.as_slice() {
            ["$KV" | "$O", ..] => true,
            ["$JS", "API", "STREAM", "INFO" | "NAMES" | "LIST", ..] | ["$JS", "API", "STREAM", "MSG", "GET", ..] => {
                false
            }
            // Making a consumer keeps messages or takes them away, and so does saying that one was dealt with.
            ["$JS", "API", "CONSUMER", "INFO" | "NAMES" | "LIST", ..]
            | ["$JS", "API", "CONSUMER", "MSG", "NEXT", ..]
            | ["$JS", "API", "DIRECT" | "INFO", ..] => false,
            ["$JS", ..] => true,
            _ => false,
        };
    if writes && class == Class::Read {
        let message = format!("publishing to `{subject}` lets a user of the class read change something");
        return Err((message, "give it to the class write".to_owned()));
    }
    Ok(())
}
