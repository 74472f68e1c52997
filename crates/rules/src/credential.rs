//! `credentials/*.toml`: where credentials come from that live as long as a task; `[credentials]` of connectors: how they
//! are put in.

use crate::{
    address::is_guarded,
    document::{Cell, Document, Table},
    facts::{OWNER, same_name},
    files::File,
    purpose::end_of_day,
    words::suggest,
};
use portreeve_core::{
    hash::Hash,
    names::Name,
    policy::{
        BackEnd, Class, CommandBackEnd, CredentialSource, Credentials, Postgres, Reach, Revocation, StaticSecret,
        Template,
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// Where credentials come from; `None`: there is such a file, but it is broken
pub(crate) type Sources = BTreeMap<Name, Option<CredentialSource>>;

const CLASSES: [(&str, Class); 4] =
    [("read", Class::Read), ("write", Class::Write), ("execute", Class::Execute), ("escalate", Class::Escalate)];
const GRANTS: &str = "[\"USAGE ON SCHEMA shop\", \"SELECT ON ALL TABLES IN SCHEMA shop\"]";
const TTL_MS_MAX: i64 = 24 * 60 * 60 * 1_000;
/// Connections that one role may have at once, unless its file says otherwise
const CONNECTIONS: u32 = 8;
/// Grants of one class
const GRANTS_MAX: usize = 64;

/// Reads a file of `credentials/`
pub(crate) fn source<'t>(doc: &Document<'t>, mut table: Table<'_, 't>, file: &File<'_>) -> Option<CredentialSource> {
    same_name(&mut table, doc, file);
    let owner = table.need("owner", OWNER).and_then(|cell| doc.line(cell, OWNER));
    let ttl = table.take("ttl").map_or(Some(None), |cell| doc.duration(cell, TTL_MS_MAX, "ttl = \"15m\"").map(Some));
    let scope = table.take("scope").map_or(Some(BTreeMap::new()), |cell| scope(doc, cell));
    let probe = table.take("probe").map_or(Some(BTreeMap::new()), |cell| probe(doc, cell, scope.as_ref()));
    let kinds =
        [("static", table.take("static")), ("command", table.take("command")), ("postgres", table.take("postgres"))];
    let given: Vec<_> = kinds.into_iter().filter_map(|(kind, cell)| Some((kind, cell?))).collect();
    let back_end = match given.as_slice() {
        [("static", cell)] => fixed(doc, cell).map(BackEnd::Static),
        [("command", cell)] => command(doc, cell).map(BackEnd::Command),
        [("postgres", cell)] => postgres(doc, cell, scope.as_ref()).map(BackEnd::Postgres),
        _ => {
            let message = "expected exactly one of `[postgres]`, `[command]` and `[static]`";
            doc.error(table.span(), message, "say which system issues the credentials");
            None
        }
    };
    table.finish();
    let digest = Hash::of(file.text.as_bytes());
    let (owner, back_end, ttl_ms) = (owner?, back_end?, ttl?);
    let source = CredentialSource { owner, back_end, ttl_ms, scope: scope?, probe: probe?, digest };
    if source.is_standing() && (source.ttl_ms.is_some() || !source.scope.is_empty()) {
        let message =
            "a secret of the vault is the same for every task: it has no time of its own, and nothing narrows it";
        doc.error(&(0..0), message, "take `ttl` and `scope` out");
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
            doc.error(
                &span,
                format!("nothing is narrowed by `{}`", name.escape_debug()),
                "add it to `[scope]`, or take it out",
            );
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

fn secret(doc: &Document<'_>, cell: &Cell<'_>) -> Option<Name> {
    doc.parsed(cell, "the name of a secret of the vault: \"orders-db-admin\"")
}

fn fixed(doc: &Document<'_>, cell: &Cell<'_>) -> Option<StaticSecret> {
    let mut table = doc.table(cell, "[static]", "secret = \"payments-key\"")?;
    let secret = table.need("secret", "\"payments-key\"").and_then(|cell| secret(doc, cell));
    let classes = classes(doc, &mut table);
    let rotate_by = table.take("rotate_by").map_or(Some(None), |cell| end_of_day(doc, cell).map(Some));
    if rotate_by == Some(None) {
        let message = "a standing secret that nobody has to exchange";
        doc.warn(&cell.span(), message, "say when its owner exchanges it: rotate_by = 2027-06-30");
    }
    table.finish();
    Some(StaticSecret { secret: secret?, classes: classes?, rotate_by: rotate_by? })
}

fn command(doc: &Document<'_>, cell: &Cell<'_>) -> Option<CommandBackEnd> {
    const RUN: &str = "[\"/usr/local/bin/issue-credentials\"]";
    const REVOCATION: &str = "\"immediate\", \"30s\" for soon after, \"expiry only\" or \"gateway only\"";
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
    let secret = table.take("secret").map_or(Some(None), |cell| secret(doc, cell).map(Some));
    let classes = classes(doc, &mut table);
    let revocation = table.need("revocation", REVOCATION).and_then(|cell| match doc.text(cell, REVOCATION)? {
        "immediate" => Some(Revocation::Immediate),
        "expiry only" => Some(Revocation::ExpiryOnly),
        "gateway only" => Some(Revocation::GatewayOnly),
        _ => doc.duration(cell, TTL_MS_MAX, REVOCATION).map(|within_ms| Revocation::Eventual { within_ms }),
    });
    table.finish();
    Some(CommandBackEnd { command: run?, secret: secret?, classes: classes?, revocation: revocation? })
}

fn postgres(doc: &Document<'_>, cell: &Cell<'_>, scope: Option<&BTreeMap<Name, Name>>) -> Option<Postgres> {
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
    let admin = table.need("admin", "\"orders-db-admin\"").and_then(|cell| secret(doc, cell));
    let connections = table.take("connections").map_or(Some(CONNECTIONS), |cell| doc.count(cell, "connections = 4"));
    let (mut grants, mut whole) = (BTreeMap::new(), true);
    let classes = CLASSES.map(|(word, class)| (class, table.take(word)));
    for (class, cell) in classes.into_iter().filter_map(|(class, cell)| Some((class, cell?))) {
        match doc.table(cell, "a class", "grant = [...]").and_then(|table| granted(doc, table, class, scope)) {
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

/// What a role of a class is granted
fn granted(
    doc: &Document<'_>,
    mut table: Table<'_, '_>,
    class: Class,
    scope: Option<&BTreeMap<Name, Name>>,
) -> Option<Vec<String>> {
    let cell = table.need("grant", GRANTS)?;
    table.finish();
    let items = doc.array(cell, GRANTS)?;
    if items.is_empty() || items.len() > GRANTS_MAX {
        doc.error(&cell.span(), format!("expected 1 to {GRANTS_MAX} grants"), format!("for example: grant = {GRANTS}"));
        return None;
    }
    let one = |item: &Cell<'_>| {
        let text = doc.line(item, GRANTS)?;
        let wrong = |message: &str, remedy: &str| doc.error(&item.span(), message, remedy);
        let upper = text.to_ascii_uppercase();
        let words: Vec<&str> = upper.split(|c: char| !c.is_ascii_alphabetic()).collect();
        let template = match Template::read(&text) {
            Ok(template) => template,
            Err(error) => {
                wrong(&error.to_string(), "a name of `[scope]` in braces stands for its value");
                return None;
            }
        };
        let unknown = template.fields().find(|field| {
            scope.is_some_and(|scope| !field.parse::<Name>().is_ok_and(|field| scope.contains_key(&field)))
        });
        if let Some(field) = unknown {
            wrong(
                &format!("nothing says what `{{{field}}}` is"),
                &format!("add it to `[scope]`: {field} = \"PARAMETER\""),
            );
            return None;
        }
        if text.contains([';', '\'', '\\']) || text.contains("--") || text.contains("/*") {
            wrong("a grant is what stands between GRANT and TO, and nothing else", &format!("for example: {GRANTS}"));
            return None;
        }
        if let Some(word) = words.iter().find(|word| {
            matches!(**word, "OPTION" | "SUPERUSER" | "ALL") && {
                // `ALL TABLES IN SCHEMA` names tables, `ALL ON` and `ALL PRIVILEGES` give everything.
                **word != "ALL" || upper.starts_with("ALL ON") || upper.starts_with("ALL PRIVILEGES")
            }
        }) {
            wrong(&format!("`{word}` gives more than a class"), "name what the class needs");
            return None;
        }
        let privileges = upper.split(" ON ").next().unwrap_or_default();
        let changes = |word: &str| matches!(word, "INSERT" | "UPDATE" | "DELETE" | "TRUNCATE" | "CREATE" | "TRIGGER");
        let privileges: Vec<&str> = privileges.split(|c: char| !c.is_ascii_alphabetic()).collect();
        if let Some(word) =
            privileges.iter().find(|word| changes(word)).filter(|_| class == Class::Read && upper.contains(" ON "))
        {
            wrong(&format!("`{word}` lets a role of the class read change something"), "grant it to the class write");
            return None;
        }
        Some(text)
    };
    let grants: Vec<Option<String>> = items.iter().map(one).collect();
    grants.into_iter().collect()
}

/// Reads `[credentials]` of a connector
pub(crate) fn credentials(
    doc: &Document<'_>,
    cell: &Cell<'_>,
    reach: Option<&Reach>,
    sources: &Sources,
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
    let fields = from.and_then(|from| from.back_end.fields());
    let mut read = |key: &'static str| {
        table
            .take(key)
            .map_or(Some((None, BTreeMap::new())), |cell| Some((Some(cell.span()), templates(doc, cell, fields)?)))
    };
    let (headers, query, env, files) = (read("headers"), read("query"), read("env"), read("files"));
    table.finish();
    let ((headers_at, headers), (query_at, query)) = (headers?, query?);
    let ((env_at, env), (files_at, files)) = (env?, files?);
    let misplaced = match reach? {
        Reach::Stdio { .. } => headers_at.or(query_at).map(|at| (at, "a process gets `env` or `files`")),
        Reach::Http { url, .. } => {
            if !is_guarded(url) {
                doc.error(&cell.span(), "credentials would be sent in the clear", "use an https:// address");
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
        doc.error(
            &cell.span(),
            message,
            "for example: env = { DATABASE_URI = \"postgresql://{user}:{password}@{host}/{database}\" }",
        );
        return None;
    }
    let reserved = headers.keys().find(|name| !is_header(name));
    if let Some(name) = reserved {
        let message = format!("`{}` is no header for a credential", name.escape_debug());
        doc.error(&cell.span(), message, "for example: headers = { Authorization = \"Bearer {secret}\" }");
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
    let config = Hash::of(put.fold(format!("{source} {}\n", from.digest), |text, line| text + &line).as_bytes());
    Some(Credentials { source, config, headers, query, env, files })
}

fn templates(
    doc: &Document<'_>,
    cell: &Cell<'_>,
    fields: Option<&'static [&'static str]>,
) -> Option<BTreeMap<String, Template>> {
    const EXAMPLE: &str = "Authorization = \"Bearer {secret}\"";
    let mut table = doc.table(cell, "where a credential is put", EXAMPLE)?;
    let (mut put, mut whole) = (BTreeMap::new(), true);
    for (name, span, cell) in table.rest() {
        let good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"=\"'".contains(&byte));
        if !good {
            doc.error(&span, "not a name that a credential is put under", format!("for example: {EXAMPLE}"));
            whole = false;
        }
        let template = doc.text(cell, EXAMPLE).and_then(|text| match Template::read(text) {
            Ok(template) => Some(template),
            Err(error) => {
                doc.error(&cell.span(), error.to_string(), format!("for example: {EXAMPLE}"));
                None
            }
        });
        let Some(template) = template else {
            whole = false;
            continue;
        };
        if template.fields().next().is_none() {
            doc.error(
                &cell.span(),
                "nothing of a credential stands here",
                "a secret is no part of a policy: put it in the vault with `portreeve secret set`",
            );
            whole = false;
        }
        let unknown = fields.and_then(|known| template.fields().find(|field| !known.contains(field)).zip(fields));
        if let Some((field, known)) = unknown {
            doc.error(
                &cell.span(),
                format!("its credentials have no `{field}`"),
                format!("they have {}", known.join(", ")),
            );
            whole = false;
        }
        put.insert(name.to_owned(), template);
    }
    whole.then_some(put)
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
    lower.bytes().all(token)
        && !OURS.contains(&lower.as_str())
        && !lower.starts_with("content-")
        && !lower.starts_with("mcp-")
        && !lower.starts_with("proxy-")
}
