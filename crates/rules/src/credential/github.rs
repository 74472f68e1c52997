//! `[github]`: tokens of an installation of a GitHub App.

use super::{
    Around,
    shared::{address, by_class, narrowed, secret},
};
use crate::document::{Cell, Document, Table};
use portreeve_core::policy::{BackEnd, Class, GitHub, GitHubLevel, Template};
use std::collections::BTreeMap;

const APP: &str = "app = \"Iv23liAbCdEfGhIjKlMn\"";
const REPOSITORIES: &str = "repositories = [\"{repository}\"]";
const PERMISSIONS: &str = "permissions = { contents = \"read\", issues = \"read\" }";
const LEVELS: [(&str, GitHubLevel); 3] =
    [("read", GitHubLevel::Read), ("write", GitHubLevel::Write), ("admin", GitHubLevel::Admin)];
/// Repositories of a token: what GitHub answers says much of each
const REPOSITORIES_MAX: usize = 16;
/// What may change who may do what, run what nobody looked at, or read the secrets of others, beyond any class but escalate
const ESCALATING: [&str; 6] =
    ["administration", "organization_administration", "members", "secrets", "organization_secrets", "workflows"];

pub(super) fn read(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<BackEnd> {
    const API: &str = "api = \"https://github.example.com/api/v3\"";
    let mut table = doc.table(cell, "[github]", APP)?;
    let usual = || Some("https://api.github.com".to_owned());
    let api = table.take("api").map_or_else(usual, |cell| address(doc, cell, API));
    let app = table.need("app", "\"Iv23liAbCdEfGhIjKlMn\"").and_then(|cell| doc.line(cell, APP));
    let key = table.need("key", "\"github-app-key\"").and_then(|cell| secret(doc, cell, around));
    let installation =
        table.need("installation", "12345678").and_then(|cell| doc.count(cell, "installation = 12345678"));
    let repositories =
        table.need("repositories", "[\"{repository}\"]").and_then(|cell| repositories(doc, cell, around));
    let permissions = by_class(doc, &mut table, ("github", PERMISSIONS), |table, class| permissions(doc, table, class));
    table.finish();
    let (api, app, key, installation) = (api?, app?, key?, u64::from(installation?));
    let (repositories, permissions) = (repositories?, permissions?);
    Some(BackEnd::GitHub(GitHub { api, app, key, installation, repositories, permissions }))
}

fn repositories(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<Vec<Template>> {
    let items = doc.array(cell, REPOSITORIES)?;
    if items.is_empty() || items.len() > REPOSITORIES_MAX {
        // None would be all that the app is installed for.
        let message = format!("expected 1 to {REPOSITORIES_MAX} repositories");
        doc.error(&cell.span(), message, format!("for example: {REPOSITORIES}"));
        return None;
    }
    let one = |item: &Cell<'_>| {
        let text = doc.line(item, REPOSITORIES)?;
        let template = narrowed(doc, item, &text, around.scope)?;
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.{}".contains(c);
        if !text.chars().all(good) {
            let remedy = format!("without its owner, whom the installation belongs to: {REPOSITORIES}");
            doc.error(&item.span(), "this is no name of a repository", remedy);
            return None;
        }
        Some(template)
    };
    let all: Vec<Option<Template>> = items.iter().map(one).collect();
    all.into_iter().collect()
}

fn permissions(doc: &Document<'_>, mut table: Table<'_, '_>, class: Class) -> Option<BTreeMap<String, GitHubLevel>> {
    let cell = table.need("permissions", "{ contents = \"read\" }");
    table.finish();
    let cell = cell?;
    let mut table = doc.table(cell, "`permissions`", PERMISSIONS)?;
    let (mut all, mut whole) = (BTreeMap::new(), true);
    for (name, span, cell) in table.rest() {
        let Some(level) = doc.word(cell, &LEVELS) else {
            whole = false;
            continue;
        };
        let wrong = if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            Some((format!("`{}` is no permission", name.escape_debug()), format!("for example: {PERMISSIONS}")))
        } else if class == Class::Read && level != GitHubLevel::Read {
            let message = format!("`{name} = \"{}\"` lets a token of the class read change something", level.word());
            Some((message, "give it to the class write".to_owned()))
        } else if class != Class::Escalate && level != GitHubLevel::Read && ESCALATING.contains(&name) {
            let message = format!("`{name} = \"{}\"` gives more than the class {class}", level.word());
            Some((message, "give it to the class escalate".to_owned()))
        } else {
            None
        };
        if let Some((message, remedy)) = wrong {
            doc.error(&span, message, remedy);
            whole = false;
        }
        all.insert(name.to_owned(), level);
    }
    if all.is_empty() && whole {
        // None would be all that the app may do.
        doc.error(&cell.span(), "expected at least one permission", format!("for example: {PERMISSIONS}"));
        whole = false;
    }
    whole.then_some(all)
}
