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
use std::{collections::BTreeMap, ops::Range};

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
    let (body, certificate) = (read("body"), table.take("certificate"));
    let certificate = certificate.map_or(Some(None), |cell| shown(doc, cell, reach, fields).map(Some));
    table.finish();
    let ((headers_at, headers), (query_at, query)) = (headers?, query?);
    let ((env_at, env), (files_at, files), (body_at, body)) = (env?, files?, body?);
    let certificate_at = certificate.as_ref().and_then(|of| of.as_ref().map(|(at, _)| at.clone()));
    let certificate = certificate?.map(|(_, certificate)| certificate);
    let misplaced = match reach? {
        Reach::Stdio { .. } => {
            let at = headers_at.or(query_at).or(body_at).or(certificate_at);
            at.map(|at| (at, "a process gets `env` or `files`"))
        }
        Reach::Http { url, .. } => {
            if !is_guarded(url) {
                let message = "credentials would be sent in the clear";
                doc.error(&cell.span(), message, "use an https:// address; http:// is for this machine only");
                return None;
            }
            env_at.or(files_at).map(|at| (at, "a server behind a url gets `headers`, `query`, `body` or `certificate`"))
        }
    };
    if let Some((at, remedy)) = misplaced {
        doc.error(&at, "there is nowhere to put this", remedy);
        return None;
    }
    let anywhere = [&headers, &query, &body, &env, &files].iter().any(|of| !of.is_empty());
    if !anywhere && certificate.is_none() {
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
    let pair = certificate
        .as_ref()
        .map(|(chain, key)| BTreeMap::from([("chain".to_owned(), chain.clone()), ("key".to_owned(), key.clone())]));
    let pair = pair.unwrap_or_default();
    let put = [
        ("headers", &headers),
        ("query", &query),
        ("body", &body),
        ("certificate", &pair),
        ("env", &env),
        ("files", &files),
    ];
    let put = put
        .iter()
        .flat_map(|(kind, of)| of.iter().map(move |(name, text)| format!("{kind} {name}={}\n", text.as_str())));
    // Whom it is shown to is part of it: what was issued for one server is never sent to another.
    let shown_to = format!("{source} {} {}\n", from.digest, reach?);
    let config = Hash::of(put.fold(shown_to, |text, line| text + &line).as_bytes());
    Some(Credentials { source, config, headers, query, body, certificate, env, files })
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

/// `certificate = { chain = "{certificate}", key = "{private_key}" }`: what is shown where TLS asks for it
fn shown(
    doc: &Document<'_>,
    cell: &Cell<'_>,
    reach: Option<&Reach>,
    fields: Option<&'static [&'static str]>,
) -> Option<(Range<usize>, (Template, Template))> {
    const EXAMPLE: &str = "{ chain = \"{certificate}\", key = \"{private_key}\" }";
    let mut table = doc.table(cell, "`certificate`", &format!("certificate = {EXAMPLE}"))?;
    let mut one = |key: &'static str, example: &'static str| {
        table.need(key, example).and_then(|cell| template(doc, cell, &format!("{key} = {example}"), fields))
    };
    let (chain, key) = (one("chain", "\"{certificate}\""), one("key", "\"{private_key}\""));
    table.finish();
    if let Some(Reach::Http { url, spiffe, svid }) = reach {
        let trouble = match () {
            () if !url.starts_with("https://") => {
                Some(("a certificate is shown in TLS only", "use an https:// address"))
            }
            () if *svid || spiffe.is_some() => {
                Some(("`spiffe` and `svid` say already what is shown", "take `certificate` out, or those"))
            }
            () => None,
        };
        if let Some((message, remedy)) = trouble {
            doc.error(&cell.span(), message, remedy);
            return None;
        }
    }
    Some((cell.span(), (chain?, key?)))
}

/// A template with at least one field that the credential has
fn template(
    doc: &Document<'_>,
    cell: &Cell<'_>,
    example: &str,
    fields: Option<&'static [&'static str]>,
) -> Option<Template> {
    let template = match Template::read(doc.text(cell, example)?) {
        Ok(template) => template,
        Err(error) => {
            doc.error(&cell.span(), error.to_string(), format!("for example: {example}"));
            return None;
        }
    };
    if template.fields().next().is_none() {
        let remedy = "a secret is no part of a policy: put it into the vault with `portreeve secret set NAME`, and write {FIELD} \
            here; what is no secret stands in `[env]` or in the address";
        doc.error(&cell.span(), "no field of a credential stands here", remedy);
        return None;
    }
    let unknown = fields.and_then(|known| template.fields().find(|field| !known.contains(field)).zip(fields));
    if let Some((field, known)) = unknown {
        let message = format!("the credentials of its source have no `{field}`");
        doc.error(&cell.span(), message, format!("they have {}", known.join(", ")));
        return None;
    }
    Some(template)
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
            "body" => (is_place(name), "\"/params/_meta/com.example~1key\" = \"{secret}\""),
            _ => (is_variable(name), "API_TOKEN = \"{secret}\""),
        };
        if !good {
            let what = match kind {
                "headers" => "header",
                "query" => "member of a query",
                "body" => "place in a message",
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
        let Some(template) = template(doc, cell, example, fields) else {
            whole = false;
            continue;
        };
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

/// Whether a credential may stand at this place of a message: in what the server is told beside the call, or in an argument
fn is_place(pointer: &str) -> bool {
    let inside = ["/params/_meta/", "/params/arguments/"].iter().find_map(|place| pointer.strip_prefix(place));
    // RFC 6901, 3: `~` stands before 0 and 1 only.
    let good =
        |part: &str| !part.is_empty() && part.replace("~0", "").replace("~1", "").bytes().all(|byte| byte != b'~');
    inside.is_some_and(|inside| inside.split('/').all(good))
}
