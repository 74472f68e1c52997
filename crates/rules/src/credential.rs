//! `credentials/*.toml`: where credentials come from that live as long as a task.

mod aws;
mod command;
mod fixed;
mod github;
mod google;
mod grant;
mod kubernetes;
mod mariadb;
mod minted;
mod nats;
mod oauth;
mod openbao;
mod postgres;
mod put;
mod redis;
mod scopes;
mod shared;
mod ssh;

pub(crate) use put::credentials;

use crate::{
    document::{Cell, Document, Table},
    facts::{OWNER, same_name},
    files::File,
};
use portreeve_core::{
    hash::Hash,
    names::Name,
    policy::{BackEnd, Connector, CredentialSource},
};
use std::collections::BTreeMap;

/// Where credentials come from; `None`: there is such a file, but it is broken
pub(crate) type Sources = BTreeMap<Name, Option<CredentialSource>>;

/// Connectors that were read already; `None`: it is broken
pub(crate) type Before = BTreeMap<Name, Option<Connector>>;

/// What a back end's part of a file is read with
struct Around<'a> {
    /// `[scope]`, unless it is broken
    scope: Option<&'a BTreeMap<Name, Name>>,
    /// The sources that were read before
    others: &'a Sources,
}

/// Reads what one kind of back end needs to know
type Read = fn(&Document<'_>, &Cell<'_>, &Around<'_>) -> Option<BackEnd>;

/// The kinds of back ends, as their tables are called
const KINDS: [(&str, Read); 15] = [
    ("static", fixed::read),
    ("command", command::read),
    ("postgres", postgres::read),
    ("minted", minted::read),
    ("oauth", oauth::read),
    ("account", oauth::account),
    ("mariadb", mariadb::read),
    ("redis", redis::read),
    ("nats", nats::read),
    ("openbao", openbao::read),
    ("kubernetes", kubernetes::read),
    ("github", github::read),
    ("aws", aws::read),
    ("google", google::read),
    ("ssh", ssh::read),
];

const TTL_MS_MAX: i64 = 24 * 60 * 60 * 1_000;

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
    let given = KINDS.map(|(kind, read)| (table.take(kind), read));
    let given: Vec<_> = given.into_iter().filter_map(|(cell, read)| Some((cell?, read))).collect();
    let back_end = match given.as_slice() {
        [(cell, read)] => read(doc, cell, &Around { scope: scope.as_ref(), others }),
        _ => {
            let at = given.get(1).map_or_else(|| table.span().clone(), |(cell, _)| cell.span());
            let message = "expected exactly one table of a system that issues credentials, such as `[postgres]`";
            doc.error(&at, message, "docs/credentials.md has them all; give each system a file of its own");
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
    if let Some((ttl, at)) = ttl_ms.zip(ttl_at).filter(|(ttl, _)| *ttl < source.back_end.says().shortest_ms()) {
        let says = source.back_end.says();
        let message = format!(
            "{} issues for no less than {} s, and this is {} s",
            says.kind(),
            says.shortest_ms() / 1_000,
            ttl / 1_000
        );
        doc.error(&at.span(), message, format!("for example: ttl = \"{}s\"", says.shortest_ms() / 1_000));
    }
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
