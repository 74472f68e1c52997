//! `credentials/*.toml`: where credentials come from that live as long as a task.

mod grant;
mod put;

pub(crate) use put::credentials;

use crate::{
    document::{Cell, Document, Table},
    facts::{OWNER, same_name},
    files::File,
    purpose::end_of_day,
};
use grant::{GRANTS, granted};
use portreeve_core::{
    hash::Hash,
    names::Name,
    policy::{BackEnd, Class, CommandBackEnd, Connector, CredentialSource, Postgres, Revocation, StaticSecret},
};
use std::collections::{BTreeMap, BTreeSet};

/// Where credentials come from; `None`: there is such a file, but it is broken
pub(crate) type Sources = BTreeMap<Name, Option<CredentialSource>>;

/// Connectors that were read already; `None`: it is broken
pub(crate) type Before = BTreeMap<Name, Option<Connector>>;

const CLASSES: [(&str, Class); 4] =
    [("read", Class::Read), ("write", Class::Write), ("execute", Class::Execute), ("escalate", Class::Escalate)];
const TTL_MS_MAX: i64 = 24 * 60 * 60 * 1_000;
/// Connections that one role may have at once, unless its file says otherwise
const CONNECTIONS: u32 = 8;

/// Reads a file of `credentials/`; `others` are the sources that were read before it
pub(crate) fn source<'t>(
    doc: &Document<'t>,
    mut table: Table<'_, 't>,
    file: &File<'_>,
    others: &Sources,
) -> Option<CredentialSource> {
    same_name(&mut table, doc, file);
    let owner = table.need("owner", OWNER).and_then(|cell| doc.line(cell, OWNER));
    let (ttl_at, scope_at) = (table.take("ttl"), table.take("scope"));
    let ttl = ttl_at.map_or(Some(None), |cell| doc.duration(cell, TTL_MS_MAX, "ttl = \"15m\"").map(Some));
    let scope = scope_at.map_or(Some(BTreeMap::new()), |cell| scope(doc, cell));
    let probe_at = table.take("probe");
    let probe = probe_at.map_or(Some(BTreeMap::new()), |cell| probe(doc, cell, scope.as_ref()));
    let kinds =
        [("static", table.take("static")), ("command", table.take("command")), ("postgres", table.take("postgres"))];
    let given: Vec<_> = kinds.into_iter().filter_map(|(kind, cell)| Some((kind, cell?))).collect();
    let back_end = match given.as_slice() {
        [("static", cell)] => fixed(doc, cell, others).map(BackEnd::Static),
        [("command", cell)] => command(doc, cell, others).map(BackEnd::Command),
        [("postgres", cell)] => postgres(doc, cell, scope.as_ref(), others).map(BackEnd::Postgres),
        _ => {
            let at = given.get(1).map_or_else(|| table.span().clone(), |(_, cell)| cell.span());
            let message = "expected exactly one of `[postgres]`, `[command]` and `[static]`";
            doc.error(&at, message, "say which system issues the credentials, and give each system a file of its own");
            None
        }
    };
    table.finish();
    let narrowed = scope_at.filter(|_| !matches!(back_end, Some(BackEnd::Static(_))));
    if let (Some(scope), Some(probe), Some(at)) = (&scope, &probe, narrowed)
        && let Some(name) = scope.keys().find(|name| !probe.contains_key(*name))
    {
        let message =
            format!("nothing stands for `{name}` where somebody looks at what a server offers, outside of any task");
        doc.warn(
            &at.span(),
            message,
            format!("add [probe] with {name} = \"...\"; a connector cannot be accepted without it"),
        );
    }
    let digest = Hash::of(file.text.as_bytes());
    let (owner, back_end, ttl_ms) = (owner?, back_end?, ttl?);
    let source = CredentialSource { owner, back_end, ttl_ms, scope: scope?, probe: probe?, digest };
    for (key, at) in [("ttl", ttl_at), ("[scope]", scope_at)] {
        if let Some(at) = at.filter(|_| source.is_standing()) {
            let message =
                "a secret of the vault is the same for every task: it has no time of its own, and nothing narrows it";
            doc.error(&at.span(), message, format!("take `{key}` out"));
        }
    }
    Some(source)
}

/// Names that grants use, and the parameters of tasks that they stand for
fn scope(doc: &Document<'_>, cell: &Cell<'_>) -> Option<BTreeMap<Name, Name>> {
    const EXAMPLE: &str = "schema = \"tenant\"";
    let mut table = doc.table(cell, "[scope]", EXAMPLE)?;
    let (mut scope, mut whole) = (BTreeMap::new(), true);
    for (name, span, cell) in table.rest() {
        let parameter = doc.parsed::<Name>(cell, EXAMPLE);
        match (name.parse::<Name>(), parameter) {
            (Ok(name), Some(parameter)) => drop(scope.insert(name, parameter)),
            (Err(error), _) => {
                doc.error(&span, error.to_string(), format!("for example: {EXAMPLE}"));
                whole = false;
            }
            (Ok(_), None) => whole = false,
        }
    }
    whole.then_some(scope)
}

/// What stands for them where somebody looks at what a server offers
fn probe(doc: &Document<'_>, cell: &Cell<'_>, scope: Option<&BTreeMap<Name, Name>>) -> Option<BTreeMap<Name, String>> {
    const EXAMPLE: &str = "schema = \"template\"";
    let mut table = doc.table(cell, "[probe]", EXAMPLE)?;
    let (mut probe, mut whole) = (BTreeMap::new(), true);
    for (name, span, cell) in table.rest() {
        let known = name.parse::<Name>().ok().filter(|name| scope.is_none_or(|scope| scope.contains_key(name)));
        if known.is_none() {
            let remedy = "add it to `[scope]`, or take it out";
            doc.error(&span, format!("nothing is narrowed by `{}`", name.escape_debug()), remedy);
        }
        match (known, doc.line(cell, EXAMPLE)) {
            (Some(name), Some(value)) => drop(probe.insert(name, value)),
            _ => whole = false,
        }
    }
    whole.then_some(probe)
}

fn classes(doc: &Document<'_>, table: &mut Table<'_, '_>) -> Option<BTreeSet<Class>> {
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

/// The name of a secret of the vault, which one source alone needs: whoever holds it can be told, and cut off
fn secret(doc: &Document<'_>, cell: &Cell<'_>, others: &Sources) -> Option<Name> {
    let secret: Name = doc.parsed(cell, "secret = \"orders-db-admin\", the name of a secret of the vault")?;
    let holder = others
        .iter()
        .find(|(_, other)| other.as_ref().is_some_and(|other| other.back_end.secrets().contains(&&secret)));
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

fn fixed(doc: &Document<'_>, cell: &Cell<'_>, others: &Sources) -> Option<StaticSecret> {
    let mut table = doc.table(cell, "[static]", "secret = \"payments-key\"")?;
    let secret = table.need("secret", "\"payments-key\"").and_then(|cell| secret(doc, cell, others));
    let classes = classes(doc, &mut table);
    let rotate_by = table.take("rotate_by").map_or(Some(None), |cell| end_of_day(doc, cell).map(Some));
    if rotate_by == Some(None) {
        let message = "a standing secret that nobody has to exchange at any time";
        doc.warn(&cell.span(), message, "say until when its owner exchanges it: rotate_by = 2027-06-30");
    }
    table.finish();
    Some(StaticSecret { secret: secret?, classes: classes?, rotate_by: rotate_by? })
}

fn command(doc: &Document<'_>, cell: &Cell<'_>, others: &Sources) -> Option<CommandBackEnd> {
    const RUN: &str = "[\"/usr/local/bin/issue-credentials\"]";
    const REVOCATION: &str = "\"immediate\"; or a time such as \"30s\", \"expiry only\", \"gateway only\"";
    const SHOWN: &str = "revocation = \"immediate\"; or a time such as \"30s\", \"expiry only\", \"gateway only\"";
    let mut table = doc.table(cell, "[command]", "run = [\"/usr/local/bin/issue-credentials\"]")?;
    let run = table.need("run", RUN).and_then(|cell| {
        let parts: Vec<String> = doc.list(cell, RUN)?;
        let good =
            parts.first().is_some_and(|program| !program.is_empty()) && !parts.iter().any(|part| part.contains('\0'));
        if !good {
            doc.error(&cell.span(), "the command names no program", format!("for example: run = {RUN}"));
        }
        good.then_some(parts)
    });
    let secret = table.take("secret").map_or(Some(None), |cell| secret(doc, cell, others).map(Some));
    let classes = classes(doc, &mut table);
    let revocation = table.need("revocation", REVOCATION).and_then(|cell| match doc.text(cell, SHOWN)? {
        "immediate" => Some(Revocation::Immediate),
        "expiry only" => Some(Revocation::ExpiryOnly),
        "gateway only" => Some(Revocation::GatewayOnly),
        _ => doc.duration(cell, TTL_MS_MAX, SHOWN).map(|within_ms| Revocation::Eventual { within_ms }),
    });
    table.finish();
    Some(CommandBackEnd { command: run?, secret: secret?, classes: classes?, revocation: revocation? })
}

fn postgres(
    doc: &Document<'_>,
    cell: &Cell<'_>,
    scope: Option<&BTreeMap<Name, Name>>,
    others: &Sources,
) -> Option<Postgres> {
    let mut table = doc.table(cell, "[postgres]", "host = \"db.example.com\"")?;
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
    let port = table.take("port").map_or(Some(5_432), |cell| {
        let port = doc.count(cell, "port = 5432")?;
        let small = u16::try_from(port).ok();
        if small.is_none() {
            doc.error(&cell.span(), "there is no such port", "for example: port = 5432");
        }
        small
    });
    let database = table.need("database", "\"orders\"").and_then(|cell| doc.line(cell, "database = \"orders\""));
    let tls = table.take("tls");
    let tls = tls.map_or(Some(true), |cell| {
        let tls = doc.truth(cell, "tls = true")?;
        let local = host.as_deref().is_none_or(|host| matches!(host, "localhost" | "127.0.0.1" | "::1"));
        if !tls && !local {
            doc.error(
                &cell.span(),
                "its passwords would be sent in the clear",
                "take `tls = false` out: it is for this machine only",
            );
        }
        Some(tls)
    });
    let admin = table.need("admin", "\"orders-db-admin\"").and_then(|cell| secret(doc, cell, others));
    let connections = table.take("connections").map_or(Some(CONNECTIONS), |cell| doc.count(cell, "connections = 4"));
    let (mut grants, mut whole) = (BTreeMap::new(), true);
    let classes = CLASSES.map(|(word, class)| (class, table.take(word)));
    for (class, cell) in classes.into_iter().filter_map(|(class, cell)| Some((class, cell?))) {
        let example = format!("grant = {GRANTS}");
        match doc.table(cell, "a class", &example).and_then(|table| granted(doc, table, class, scope)) {
            Some(of) => drop(grants.insert(class, of)),
            None => whole = false,
        }
    }
    if grants.is_empty() && whole {
        let remedy = format!("for example: [postgres.read] with grant = {GRANTS}");
        doc.error(table.span(), "it issues for no class", remedy);
        whole = false;
    }
    table.finish();
    let connections = u16::try_from(connections?).unwrap_or(u16::MAX);
    let (host, port, database, tls, admin) = (host?, port?, database?, tls?, admin?);
    whole.then_some(Postgres { host, port, database, tls, admin, grants, connections })
}
