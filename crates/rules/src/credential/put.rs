//! `[credentials]` of connectors: how credentials are put in.

use super::{Before, Sources};
use crate::{
    address::is_guarded,
    document::{Cell, Document},
    words::suggest,
};
use portreeve_core::{
    hash::Hash,
    names::Name,
    policy::{Class, Connector, CredentialSource, Credentials, Reach, Template},
};
use std::collections::BTreeMap;

/// Reads `[credentials]` of a connector; `before` are the connectors that were read before it
pub(crate) fn credentials(
    doc: &Document<'_>,
    cell: &Cell<'_>,
    reach: Option<&Reach>,
    (sources, before): (&Sources, &Before),
) -> Option<Credentials> {
    const EXAMPLE: &str = "source = \"orders-db\"";
    let mut table = doc.table(cell, "[credentials]", EXAMPLE)?;
    let named = table.need("source", "\"orders-db\"");
    let source: Option<Name> = named.and_then(|cell| doc.parsed(cell, EXAMPLE));
    let from = source.as_ref().and_then(|source| {
        let known = sources.get(source);
        if let (None, Some(cell)) = (known, named) {
            let near = suggest(source.as_str(), sources.keys().map(Name::as_str));
            let remedy = format!("add `credentials/{source}.toml`; {near}");
            doc.error(&cell.span(), format!("no source of credentials is called `{source}`"), remedy);
        }
        known
    });
    let from = from.and_then(Option::as_ref);
    if let (Some(source), Some(from), Some(at)) = (&source, from, named) {
        usable(doc, at, (source, from), before)?;
    }
    let fields = from.and_then(|from| from.back_end.says().fields());
    let mut read = |key: &'static str| {
        table.take(key).map_or(Some((None, BTreeMap::new())), |cell| {
            Some((Some(cell.span()), templates(doc, (cell, key), fields)?))
        })
    };
    let (headers, query, env, files) = (read("headers"), read("query"), read("env"), read("files"));
    table.finish();
    let ((headers_at, headers), (query_at, query)) = (headers?, query?);
    let ((env_at, env), (files_at, files)) = (env?, files?);
    let misplaced = match reach? {
        Reach::Stdio { .. } => headers_at.or(query_at).map(|at| (at, "a process gets `env` or `files`")),
        Reach::Http { url, .. } => {
            if !is_guarded(url) {
                let message = "credentials would be sent in the clear";
                doc.error(&cell.span(), message, "use an https:// address; http:// is for this machine only");
                return None;
            }
            env_at.or(files_at).map(|at| (at, "a server behind a url gets `headers` or `query`"))
        }
    };
    if let Some((at, remedy)) = misplaced {
        doc.error(&at, "there is nowhere to put this", remedy);
        return None;
    }
    if headers.is_empty() && query.is_empty() && env.is_empty() && files.is_empty() {
        let message = "nothing says where the credential is put";
        let example = match reach? {
            Reach::Stdio { .. } => "env = { DATABASE_URI = \"postgresql://{user}:{password}@{host}/{database}\" }",
            Reach::Http { .. } => "headers = { Authorization = \"Bearer {secret}\" }",
        };
        doc.error(&cell.span(), message, format!("for example: {example}"));
        return None;
    }
    if let Some(name) = env.keys().find(|name| files.contains_key(*name)) {
        doc.error(&cell.span(), format!("`env` and `files` both set `{name}`"), "take one of them out");
        return None;
    }
    let set = match reach? {
        Reach::Stdio { env: plain, .. } => env.keys().chain(files.keys()).find(|name| plain.contains_key(*name)),
        Reach::Http { .. } => None,
    };
    if let Some(name) = set {
        doc.error(&cell.span(), format!("`[env]` sets `{name}` as well"), "take one of them out");
        return None;
    }
    let (source, from) = (source?, from?);
    let put = [("headers", &headers), ("query", &query), ("env", &env), ("files", &files)];
    let put = put
        .iter()
        .flat_map(|(kind, of)| of.iter().map(move |(name, text)| format!("{kind} {name}={}\n", text.as_str())));
    // Whom it is shown to is part of it: what was issued for one server is never sent to another.
    let shown_to = format!("{source} {} {}\n", from.digest, reach?);
    let config = Hash::of(put.fold(shown_to, |text, line| text + &line).as_bytes());
    Some(Credentials { source, config, headers, query, env, files })
}

/// Whether a source can give a connector what it wants
fn usable(doc: &Document<'_>, at: &Cell<'_>, (name, from): (&Name, &CredentialSource), before: &Before) -> Option<()> {
    if !from.classes().contains(&Class::Read) {
        let message = format!("`{name}` issues nothing for the class read, with which a server is looked at");
        doc.error(&at.span(), message, format!("let `credentials/{name}.toml` issue for read as well"));
        return None;
    }
    let uses = |of: &Option<Connector>| {
        of.as_ref().and_then(|of| of.credentials.as_ref()).is_some_and(|of| of.source == *name)
    };
    if let Some((holder, _)) = before.iter().find(|(_, of)| from.is_standing() && uses(of)) {
        let message =
            format!("the connector `{holder}` has the standing secret of `{name}` already: a secret has one holder");
        let remedy = "have another secret made for this connector, with a source of its own";
        doc.error(&at.span(), message, remedy);
        return None;
    }
    Some(())
}

fn templates(
    doc: &Document<'_>,
    (cell, kind): (&Cell<'_>, &str),
    fields: Option<&'static [&'static str]>,
) -> Option<BTreeMap<String, Template>> {
    const EXAMPLE: &str = "Authorization = \"Bearer {secret}\"";
    let mut table = doc.table(cell, "where a credential is put", EXAMPLE)?;
    let (mut put, mut whole) = (BTreeMap::new(), true);
    for (name, span, cell) in table.rest() {
        let (good, example) = match kind {
            "headers" => (is_header(name), EXAMPLE),
            "query" => (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()), "key = \"{secret}\""),
            _ => (is_variable(name), "API_TOKEN = \"{secret}\""),
        };
        if !good {
            let what = match kind {
                "headers" => "header",
                "query" => "member of a query",
                _ => "variable",
            };
            let message = format!("`{}` is no {what} for a credential", name.escape_debug());
            doc.error(&span, message, format!("for example: {example}"));
            whole = false;
        }
        if kind == "headers" && put.keys().any(|other: &String| other.eq_ignore_ascii_case(name)) {
            doc.error(&span, format!("the header `{}` stands here twice", name.escape_debug()), "take one of them out");
            whole = false;
        }
        let template = doc.text(cell, example).and_then(|text| match Template::read(text) {
            Ok(template) => Some(template),
            Err(error) => {
                doc.error(&cell.span(), error.to_string(), format!("for example: {example}"));
                None
            }
        });
        let Some(template) = template else {
            whole = false;
            continue;
        };
        if template.fields().next().is_none() {
            let remedy = "a secret is no part of a policy: put it into the vault with `portreeve secret set NAME`, and write {FIELD} \
                here; what is no secret stands in `[env]` or in the address";
            doc.error(&cell.span(), "no field of a credential stands here", remedy);
            whole = false;
        }
        let unknown = fields.and_then(|known| template.fields().find(|field| !known.contains(field)).zip(fields));
        if let Some((field, known)) = unknown {
            doc.error(
                &cell.span(),
                format!("the credentials of its source have no `{field}`"),
                format!("they have {}", known.join(", ")),
            );
            whole = false;
        }
        put.insert(name.to_owned(), template);
    }
    whole.then_some(put)
}

/// Whether a process can have it in its environment, and every shell can read it there
fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a header may carry a credential: not one that says how the message itself is to be read
fn is_header(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    const OURS: [&str; 10] = [
        "host",
        "accept",
        "connection",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "last-event-id",
        "traceparent",
    ];
    !lower.is_empty()
        && lower.bytes().all(token)
        && !OURS.contains(&lower.as_str())
        && !lower.starts_with("content-")
        && !lower.starts_with("mcp-")
        && !lower.starts_with("proxy-")
}
