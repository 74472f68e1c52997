//! How people sign in: `[people]` of an issuer, and `sign_in` of a user.

use crate::{
    document::{Cell, Document},
    facts::{Facts, Issuers},
    finding::{Finding, Place},
    words::suggest,
};
use portreeve_core::{
    names::Name,
    policy::{Attribute, AttributeKind, Client, People, SignIn},
};
use std::collections::BTreeMap;

const SIGN_IN: &str = "sign_in = { issuer = \"company\", sub = \"248289761001\" }";
const CLIENT_ID: &str = "\"portreeve\"";
const SECRET: &str = "\"env:PORTREEVE_CLIENT_COMPANY\"";
const GROUP: &str = "group = { \"idp-leads\" = \"support-leads\" }";
/// How long ago somebody may have shown who they are at most, in milliseconds
const MAX_AGE_MS: i64 = 30 * 24 * 60 * 60 * 1_000;
/// Groups that one issuer may say
const GROUPS_MAX: usize = 256;
/// Bytes of a `sub` (OpenID Connect Core 1.0, 2)
const SUB_MAX: usize = 255;
/// How variables that hold a secret begin: no policy may name any other, and send it somewhere
const VARIABLE: &str = "PORTREEVE_CLIENT_";
/// How credentials that are one begin
const CREDENTIAL: &str = "portreeve-client-";

/// Reads `[people]` of an issuer
pub(crate) fn sign_ins<'t>(doc: &Document<'t>, cell: &Cell<'t>) -> Option<People> {
    let mut table = doc.table(cell, "[people]", "client_id = \"portreeve\"")?;
    let client_id = table.need("client_id", CLIENT_ID).and_then(|cell| doc.line(cell, CLIENT_ID));
    let client = match (table.take("secret"), table.take("key")) {
        (None, None) => Some(Client::Public),
        (Some(cell), None) => secret(doc, cell).map(Client::Secret),
        (None, Some(cell)) => {
            let is_key = doc.truth(cell, "key = true");
            is_key.map(|is_key| if is_key { Client::Key } else { Client::Public })
        }
        (Some(cell), Some(_)) => {
            doc.error(&cell.span(), "expected either `secret` or `key`", "take one of them out");
            None
        }
    };
    let scopes = table.take("scopes").map_or(Some(Vec::new()), |cell| {
        let scopes: Vec<String> = doc.list(cell, "scopes = [\"groups\"]")?;
        // RFC 6749, 3.3.
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        let good = scopes.iter().all(|scope| !scope.is_empty() && scope.len() <= 64 && scope.bytes().all(plain));
        if !good {
            doc.error(&cell.span(), "a scope is a word of at most 64 characters", "for example: scopes = [\"groups\"]");
        }
        good.then_some(scopes)
    });
    let groups = table.take("groups").map_or(Some("groups".to_owned()), |cell| doc.line(cell, "\"groups\""));
    let group = table.take("group").map_or(Some(BTreeMap::new()), |cell| {
        let mut table = doc.table(cell, "`group`", GROUP)?;
        let read: Vec<_> = table
            .rest()
            .map(|(value, _, cell)| Some((value.to_owned(), doc.parsed::<Name>(cell, "\"support-leads\"")?)))
            .collect();
        if read.len() > GROUPS_MAX {
            doc.error(&cell.span(), format!("an issuer may say {GROUPS_MAX} groups"), "take some out");
        }
        read.into_iter().collect::<Option<BTreeMap<_, _>>>()
    });
    let attributes = table.take("attributes").map_or(Some(BTreeMap::new()), |cell| attributes(doc, cell));
    let fresh = table
        .take("fresh")
        .map_or(Some(People::FRESH_MS), |cell| doc.duration(cell, People::FRESH_MS_MAX, "fresh = \"1h\""));
    let acr = table.take("acr").map_or(Some(None), |cell| doc.line(cell, "\"mfa\"").map(Some));
    let max_age =
        table.take("max_age").map_or(Some(None), |cell| doc.duration(cell, MAX_AGE_MS, "max_age = \"8h\"").map(Some));
    table.finish();
    Some(People {
        client_id: client_id?,
        client: client?,
        scopes: scopes?,
        groups: groups?,
        group: group?,
        attributes: attributes?,
        fresh_ms: fresh?,
        acr: acr?,
        max_age_ms: max_age?,
    })
}

/// What else an issuer says of somebody, which `[open]` and rules may look at
fn attributes(doc: &Document<'_>, cell: &Cell<'_>) -> Option<BTreeMap<String, Attribute>> {
    const EXAMPLE: &str = "refund_limit = { claim = \"refund_limit\", type = \"decimal\" }";
    const KINDS: [(&str, AttributeKind); 4] = [
        ("string", AttributeKind::Text),
        ("integer", AttributeKind::Integer),
        ("decimal", AttributeKind::Decimal),
        ("boolean", AttributeKind::Boolean),
    ];
    let mut table = doc.table(cell, "`[people.attributes]`", EXAMPLE)?;
    let read: Vec<Option<(String, Attribute)>> = table
        .rest()
        .map(|(name, span, cell)| {
            let mut inner = doc.table(cell, "an attribute", EXAMPLE)?;
            let claim = inner.need("claim", "\"refund_limit\"").and_then(|cell| doc.line(cell, "\"refund_limit\""));
            let kind = inner.need("type", "\"decimal\"").and_then(|cell| doc.word(cell, &KINDS));
            inner.finish();
            // Who owns an agent is told by it, and that is the policy's to say.
            if name == "email" || name.is_empty() {
                doc.error(
                    &span,
                    "an issuer does not say who answers for an agent",
                    "call it something else than `email`",
                );
                return None;
            }
            Some((name.to_owned(), Attribute { claim: claim?, kind: kind? }))
        })
        .collect();
    if read.len() > ATTRIBUTES_MAX {
        doc.error(&cell.span(), format!("an issuer may say {ATTRIBUTES_MAX} attributes"), "take some out");
    }
    read.into_iter().collect()
}

/// Attributes that one issuer may say
const ATTRIBUTES_MAX: usize = 64;

/// Where a secret comes from; never the secret itself
fn secret(doc: &Document<'_>, cell: &Cell<'_>) -> Option<String> {
    let text = doc.text(cell, SECRET)?;
    let of = |text: &str, prefix: &str, plain: fn(u8) -> bool| {
        text.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.len() <= 64 && rest.bytes().all(plain))
    };
    let variable = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let credential = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let good = match text.split_once(':') {
        Some(("env", name)) => of(name, VARIABLE, variable),
        Some(("credential", name)) => of(name, CREDENTIAL, credential),
        _ => false,
    };
    if !good {
        // What stands there may be the secret, so it is not told; the place shows it to whoever has the file.
        let message = "expected where the secret is, not the secret";
        let remedy = format!("write \"env:{VARIABLE}NAME\" or \"credential:{CREDENTIAL}NAME\"");
        doc.error(&cell.span(), message, remedy);
    }
    good.then(|| text.to_owned())
}

/// Reads `sign_in` of a user
pub(crate) fn sign_in<'t>(doc: &Document<'t>, cell: &Cell<'t>, issuers: &Issuers) -> Option<SignIn> {
    let mut table = doc.table(cell, "`sign_in`", SIGN_IN)?;
    let issuer = table.need("issuer", "\"company\"").and_then(|cell| {
        let issuer: Name = doc.parsed(cell, "\"company\"")?;
        let people = issuers.iter().filter(|(_, of)| of.as_ref().is_none_or(|of| of.people.is_some()));
        let names: Vec<&str> = people.map(|(name, _)| name.as_str()).collect();
        if !names.contains(&issuer.as_str()) {
            let message = format!("nobody signs in at `{issuer}`: there is no such file in `issuers/` with `[people]`");
            doc.error(&cell.span(), message, suggest(issuer.as_str(), names));
            return None;
        }
        Some(issuer)
    });
    let sub = table.need("sub", "\"248289761001\"").and_then(|cell| {
        let text = doc.text(cell, "\"248289761001\"")?;
        let good = (1..=SUB_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        if !good {
            let message = format!("a `sub` has 1 to {SUB_MAX} bytes");
            doc.error(&cell.span(), message, format!("for example: {SIGN_IN}"));
        }
        good.then(|| text.to_owned())
    });
    table.finish();
    Some(SignIn { issuer: issuer?, sub: sub? })
}

/// Whoever an issuer names is one person
pub(crate) fn shared(facts: &Facts, findings: &mut Vec<Finding>) {
    let mut owners: BTreeMap<&SignIn, &Name> = BTreeMap::new();
    for (name, user) in &facts.users {
        let Some(sign_in) = user.as_ref().and_then(|user| user.sign_in.as_ref()) else { continue };
        if let Some(other) = owners.insert(sign_in, name) {
            let message = format!("the user `{other}` signs in at `{}` with the same `sub`", sign_in.issuer);
            let place = Place::file(format!("users/{name}.toml"));
            findings.push(Finding::error(place, message, "a `sub` is one person: take it out of one of the files"));
        }
    }
}
