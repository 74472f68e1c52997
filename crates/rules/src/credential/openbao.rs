//! `[openbao]`: tokens at OpenBao or HashiCorp Vault, and what they read.

use super::{
    Around,
    shared::{address, by_class, narrowed, path, revocation, secret},
};
use crate::document::{Cell, Document, Table};
use portreeve_core::policy::{BackEnd, BaoAsk, BaoSignIn, OpenBao, Revocation};
use std::collections::{BTreeMap, BTreeSet};

const URL: &str = "url = \"https://bao.example.com:8200\"";
const PATH: &str = "path = \"database/creds/orders-reader\"";
const POLICIES: &str = "policies = [\"orders-reader\"]";
/// Policies of one class, and parameters
const POLICIES_MAX: usize = 16;
const WITH_MAX: usize = 16;
/// An answer is opened as soon as it comes: what could be opened for longer serves somebody else
const WRAP_MS_MAX: i64 = 300_000;

pub(super) fn read(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<BackEnd> {
    let mut table = doc.table(cell, "[openbao]", URL)?;
    let url = table.need("url", "\"https://bao.example.com:8200\"").and_then(|cell| address(doc, cell, URL));
    let ca = table.take("ca").map_or(Some(None), |cell| path(doc, cell, "ca = \"/etc/bao/ca.pem\"").map(Some));
    let namespace = table.take("namespace");
    let namespace = namespace.map_or(Some(None), |cell| inside(doc, cell, "namespace = \"teams/data\"").map(Some));
    let sign_in = sign_in(doc, &mut table, around);
    let token_role = table.need("token_role", "\"portreeve\"").and_then(|cell| {
        let role = inside(doc, cell, "token_role = \"portreeve\"")?;
        if role.contains('/') {
            doc.error(&cell.span(), "there is no such role", "for example: token_role = \"portreeve\"");
            return None;
        }
        Some(role)
    });
    let revocation = table.take("revocation").map_or(Some(Revocation::Immediate), |cell| {
        let revocation = revocation(doc, cell)?;
        if revocation == Revocation::GatewayOnly {
            let remedy = "for example: revocation = \"expiry only\"";
            doc.error(&cell.span(), "what is issued for a lease is known outside of Portreeve", remedy);
            return None;
        }
        Some(revocation)
    });
    let example = format!("{PATH}, {POLICIES}");
    let asks = by_class(doc, &mut table, ("openbao", &example), |table, _| ask(doc, table, around));
    table.finish();
    let (url, ca, namespace, sign_in, token_role) = (url?, ca?, namespace?, sign_in?, token_role?);
    let (revocation, asks) = (revocation?, asks?);
    Some(BackEnd::OpenBao(OpenBao { url, ca, namespace, sign_in, token_role, revocation, asks }))
}

fn sign_in(doc: &Document<'_>, table: &mut Table<'_, '_>, around: &Around<'_>) -> Option<BaoSignIn> {
    const JWT: &str = "jwt_file = \"/run/secrets/tokens/bao\"";
    let (mount, role) = (table.take("mount"), table.take("role"));
    let (jwt, app_role, token) = (table.take("jwt_file"), table.take("approle"), table.take("token"));
    let mounted =
        |usual: &str| mount.map_or_else(|| Some(usual.to_owned()), |cell| inside(doc, cell, "mount = \"jwt\""));
    let needless = |cell: Option<&Cell<'_>>, what: &str| {
        if let Some(cell) = cell {
            doc.error(&cell.span(), format!("`{what}` says nothing here"), "take it out");
        }
        cell.is_none().then_some(())
    };
    match (jwt, app_role, token) {
        (Some(file), None, None) => {
            let file = path(doc, file, JWT);
            let Some(role) = role else {
                doc.error(table.span(), "[openbao] has no `role`", "for example: role = \"portreeve\"");
                return None;
            };
            let role = doc.line(role, "role = \"portreeve\"");
            Some(BaoSignIn::Jwt { mount: mounted("jwt")?, role: role?, file: file? })
        }
        (None, Some(cell), None) => {
            needless(role, "role")?;
            Some(BaoSignIn::AppRole { mount: mounted("approle")?, secret: secret(doc, cell, around)? })
        }
        (None, None, Some(cell)) => {
            needless(role, "role").and(needless(mount, "mount"))?;
            Some(BaoSignIn::Token(secret(doc, cell, around)?))
        }
        (first, second, _) => {
            let at = first.or(second).map_or_else(|| table.span().clone(), Cell::span);
            let message = "expected exactly one of `jwt_file`, `approle`, `token`: how Portreeve signs in";
            doc.error(&at, message, format!("for example: {JWT}"));
            None
        }
    }
}

fn ask(doc: &Document<'_>, mut table: Table<'_, '_>, around: &Around<'_>) -> Option<BaoAsk> {
    let path = table.need("path", "\"database/creds/orders-reader\"").and_then(|cell| {
        let text = doc.line(cell, PATH)?;
        let template = narrowed(doc, cell, &text, around.scope)?;
        // What is filled in is looked at when it is: a value is one part of a path.
        let good = |c: char| c.is_ascii_alphanumeric() || "-_./@{}".contains(c);
        let parts = || text.split('/');
        let wrong = !text.chars().all(good) || parts().any(|part| part.is_empty() || part == "." || part == "..");
        let own = parts().next().is_some_and(|mount| ["sys", "auth", "identity", "cubbyhole"].contains(&mount));
        if wrong || own || parts().count() < 2 {
            doc.error(&cell.span(), "this is no path of a secrets engine", format!("for example: {PATH}"));
            return None;
        }
        Some(template)
    });
    let policies = table.need("policies", "[\"orders-reader\"]").and_then(|cell| {
        let items = doc.array(cell, POLICIES)?;
        let policies: Option<BTreeSet<String>> = items.iter().map(|item| doc.line(item, POLICIES)).collect();
        let policies = policies?;
        if policies.is_empty() || policies.len() > POLICIES_MAX {
            let message = format!("expected 1 to {POLICIES_MAX} policies of the server");
            doc.error(&cell.span(), message, format!("for example: {POLICIES}"));
            return None;
        }
        if policies.contains("root") {
            doc.error(&cell.span(), "`root` gives more than a class", "name a policy that reads the path alone");
            return None;
        }
        Some(policies)
    });
    let with = table.take("with").map_or(Some(BTreeMap::new()), |cell| {
        const EXAMPLE: &str = "with = { kubernetes_namespace = \"{namespace}\" }";
        let mut table = doc.table(cell, "`with`", EXAMPLE)?;
        let (mut with, mut whole) = (BTreeMap::new(), true);
        for (name, _, cell) in table.rest() {
            match doc.line(cell, EXAMPLE).and_then(|text| narrowed(doc, cell, &text, around.scope)) {
                Some(template) => drop(with.insert(name.to_owned(), template)),
                None => whole = false,
            }
        }
        if with.len() > WITH_MAX {
            doc.error(&cell.span(), format!("expected at most {WITH_MAX} parameters"), "take some out");
            whole = false;
        }
        whole.then_some(with)
    });
    let wrap_ms =
        table.take("wrap").map_or(Some(None), |cell| doc.duration(cell, WRAP_MS_MAX, "wrap = \"30s\"").map(Some));
    table.finish();
    Some(BaoAsk { path: path?, policies: policies?, with: with?, wrap_ms: wrap_ms? })
}

/// A path inside of the server: a mount, a namespace
fn inside(doc: &Document<'_>, cell: &Cell<'_>, example: &str) -> Option<String> {
    let text = doc.line(cell, example)?;
    let good = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !text.chars().all(good) || text.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
        doc.error(&cell.span(), "this is no path inside of the server", format!("for example: {example}"));
        return None;
    }
    Some(text)
}
