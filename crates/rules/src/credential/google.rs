//! `[google]`: tokens of service accounts.

use super::{
    Around,
    shared::{address, by_class, narrowed, path},
};
use crate::document::{Cell, Document, Table};
use portreeve_core::policy::{BackEnd, Class, Google, GoogleAccount, GoogleBucket, Template};

const AUDIENCE: &str =
    "\"//iam.googleapis.com/projects/123456789/locations/global/workloadIdentityPools/agents/providers/house\"";
const JWT_FILE: &str = "\"/var/run/secrets/tokens/google\"";
const ACCOUNT: &str = "\"orders-reader@shop.iam.gserviceaccount.com\"";
const SCOPES: &str = "[\"https://www.googleapis.com/auth/devstorage.read_only\"]";
const BOUNDARY: &str =
    "boundary = [{ bucket = \"orders\", prefix = \"{tenant}/\", roles = [\"roles/storage.objectViewer\"] }]";
/// How all scopes of Google's APIs begin
const SCOPE: &str = "https://www.googleapis.com/auth/";
const SCOPES_MAX: usize = 16;
/// Rules of a boundary, and roles of each
const BUCKETS_MAX: usize = 10;
const ROLES_MAX: usize = 8;
/// Words that say of a scope that it changes something
const CHANGES: [&str; 11] =
    ["write", "full", "control", "admin", "manage", "modify", "insert", "compose", "send", "create", "edit"];
/// Words that say of a role that it changes something
const WRITES: [&str; 6] = ["admin", "creator", "writer", "owner", "user", "editor"];

pub(super) fn read(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<BackEnd> {
    let mut table = doc.table(cell, "[google]", "audience = \"//iam.googleapis.com/projects/...\"")?;
    let audience = table.need("audience", AUDIENCE).and_then(|cell| audience(doc, cell));
    let jwt_file = table.need("jwt_file", JWT_FILE);
    let jwt_file = jwt_file.and_then(|cell| path(doc, cell, &format!("jwt_file = {JWT_FILE}")));
    let mut at = |key: &'static str| {
        let usual = format!("https://{key}.googleapis.com");
        match table.take(key) {
            Some(cell) => address(doc, cell, &format!("{key} = \"{usual}\"")),
            None => Some(usual),
        }
    };
    let (sts, iamcredentials) = (at("sts"), at("iamcredentials"));
    let example = format!("service_account = {ACCOUNT}, scopes = {SCOPES}");
    let accounts = by_class(doc, &mut table, ("google", &example), |table, class| account(doc, table, class, around));
    table.finish();
    let (audience, jwt_file, sts, iamcredentials) = (audience?, jwt_file?, sts?, iamcredentials?);
    Some(BackEnd::Google(Google { audience, jwt_file, sts, iamcredentials, accounts: accounts? }))
}

/// The full resource name of a provider of a workload identity pool
fn audience(doc: &Document<'_>, cell: &Cell<'_>) -> Option<String> {
    let text = doc.line(cell, &format!("audience = {AUDIENCE}"))?;
    let id = |part: &str| {
        let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        !part.is_empty() && part.bytes().all(good)
    };
    let parts: Vec<&str> = text.split('/').collect();
    let good = matches!(parts.as_slice(), ["", "", "iam.googleapis.com", "projects", number, "locations", "global",
        "workloadIdentityPools", pool, "providers", provider]
        if !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()) && id(pool) && id(provider));
    if !good {
        let message =
            "this is no full resource name of a provider of a workload identity pool, with the project's number";
        doc.error(&cell.span(), message, format!("for example: audience = {AUDIENCE}"));
    }
    good.then_some(text)
}

fn account(doc: &Document<'_>, mut table: Table<'_, '_>, class: Class, around: &Around<'_>) -> Option<GoogleAccount> {
    let email = table.need("service_account", ACCOUNT).and_then(|cell| email(doc, cell, around));
    let scopes = table.need("scopes", SCOPES).and_then(|cell| scopes(doc, cell, class));
    let boundary = table.take("boundary").map_or(Some(Vec::new()), |cell| {
        let items = several(doc, cell, (BUCKETS_MAX, "buckets"), BOUNDARY)?;
        let all: Vec<_> = items.iter().map(|item| bucket(doc, item, class, around)).collect();
        all.into_iter().collect()
    });
    table.finish();
    Some(GoogleAccount { email: email?, scopes: scopes?, boundary: boundary? })
}

fn email(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<Template> {
    let example = format!("service_account = {ACCOUNT}");
    let text = doc.line(cell, &example)?;
    let template = narrowed(doc, cell, &text, around.scope)?;
    let domain = text.split_once('@').map_or("", |(_, domain)| domain);
    // What a name stands for is looked at when it is filled in; so is how long all of it is.
    let good = !domain.contains(['{', '}'])
        && template.fill(|_| Some("tenant")).is_ok_and(|text| GoogleAccount::is_email(&text));
    if !good {
        let message = "this is no address of a service account that somebody made: 6 to 30 letters, digits and `-`, and its project";
        doc.error(&cell.span(), message, format!("for example: {example}; {{NAME}} may stand before the @"));
    }
    good.then_some(template)
}

fn scopes(doc: &Document<'_>, cell: &Cell<'_>, class: Class) -> Option<Vec<String>> {
    let example = format!("scopes = {SCOPES}");
    let items = several(doc, cell, (SCOPES_MAX, "scopes"), &example)?;
    let one = |item: &Cell<'_>| {
        let text = doc.line(item, &example)?;
        let name = text.strip_prefix(SCOPE).unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_./".contains(&c)) {
            doc.error(&item.span(), "this is no scope of an API of Google", format!("for example: {example}"));
            return None;
        }
        let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        let reads = words.contains(&"readonly") || (words.contains(&"read") && words.contains(&"only"));
        if let Some(word) = words.iter().find(|word| CHANGES.contains(word)).filter(|_| class == Class::Read && !reads)
        {
            let message = format!("`{word}` lets a token of the class read change something");
            doc.error(&item.span(), message, "give it to the class write");
            return None;
        }
        Some(text)
    };
    let all: Vec<_> = items.iter().map(one).collect();
    all.into_iter().collect()
}

fn bucket(doc: &Document<'_>, cell: &Cell<'_>, class: Class, around: &Around<'_>) -> Option<GoogleBucket> {
    let mut table = doc.table(cell, "a bucket", BOUNDARY)?;
    let bucket = table.need("bucket", "\"orders\"");
    let prefix = table.take("prefix");
    let roles = table.need("roles", "[\"roles/storage.objectViewer\"]");
    table.finish();
    let bucket = bucket.and_then(|cell| {
        let text = doc.line(cell, BOUNDARY)?;
        let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_.{}".contains(&c);
        if !text.bytes().all(good) {
            doc.error(&cell.span(), "this is no name of a bucket", format!("for example: {BOUNDARY}"));
            return None;
        }
        narrowed(doc, cell, &text, around.scope)
    });
    let prefix = prefix.map_or(Some(None), |cell| {
        let text = doc.line(cell, BOUNDARY)?;
        let good = |c: u8| c.is_ascii_alphanumeric() || b"-_.=@+/{}".contains(&c);
        // Without its end, `eu` would be the beginning of `eu-42`, too.
        if !text.ends_with('/') || text.starts_with('/') || !text.bytes().all(good) {
            let message = "expected how names of objects begin, up to a `/`: letters, digits and `-_.=@+/`";
            doc.error(&cell.span(), message, format!("for example: {BOUNDARY}"));
            return None;
        }
        narrowed(doc, cell, &text, around.scope).map(Some)
    });
    let roles = roles.and_then(|cell| {
        let items = several(doc, cell, (ROLES_MAX, "roles"), BOUNDARY)?;
        let all: Vec<_> = items.iter().map(|item| role(doc, item, class)).collect();
        all.into_iter().collect()
    });
    Some(GoogleBucket { bucket: bucket?, prefix: prefix?, roles: roles? })
}

fn role(doc: &Document<'_>, cell: &Cell<'_>, class: Class) -> Option<String> {
    let text = doc.line(cell, BOUNDARY)?;
    let name = text.rsplit('/').next().unwrap_or_default();
    let good = |c: u8| c.is_ascii_alphanumeric() || b"-_./".contains(&c);
    if !(text.starts_with("roles/") || text.contains("/roles/")) || name.is_empty() || !text.bytes().all(good) {
        doc.error(&cell.span(), "this is no name of a role", format!("for example: {BOUNDARY}"));
        return None;
    }
    let lower = name.to_ascii_lowercase();
    if class == Class::Read && text.starts_with("roles/") && WRITES.iter().any(|word| lower.ends_with(word)) {
        let message = format!("`{name}` lets a token of the class read change something");
        doc.error(&cell.span(), message, "give it to the class write");
        return None;
    }
    Some(text)
}

/// A list of at least one and at most so many
fn several<'d, 't>(
    doc: &'d Document<'t>,
    cell: &'d Cell<'t>,
    (most, what): (usize, &str),
    example: &str,
) -> Option<&'d [Cell<'t>]> {
    let items = doc.array(cell, example)?;
    if items.is_empty() || items.len() > most {
        doc.error(&cell.span(), format!("expected 1 to {most} {what}"), format!("for example: {example}"));
        return None;
    }
    Some(items)
}
