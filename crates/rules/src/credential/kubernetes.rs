//! `[kubernetes]`: tokens of service accounts.

use super::{
    Around,
    shared::{address, by_class, narrowed, path, secret},
};
use crate::document::{Cell, Document};
use portreeve_core::policy::{BackEnd, ClusterSignIn, Kubernetes};

const URL: &str = "url = \"https://10.96.0.1:443\"";
const NAMESPACE: &str = "namespace = \"agents\"";
const ACCOUNT: &str = "service_account = \"orders-reader\"";
const AUDIENCES: &str = "audiences = [\"https://kubernetes.default.svc\"]";
const TOKEN: &str = "token_file = \"/var/run/secrets/kubernetes.io/serviceaccount/token\"";
/// Audiences of a token
const AUDIENCES_MAX: usize = 8;
/// Characters of a name (RFC 1123), which a service account may have more of than a namespace
const LABEL_MAX: usize = 63;

pub(super) fn read(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<BackEnd> {
    let mut table = doc.table(cell, "[kubernetes]", URL)?;
    let url = table.need("url", "\"https://10.96.0.1:443\"").and_then(|cell| address(doc, cell, URL));
    let ca = table.take("ca").map_or(Some(None), |cell| path(doc, cell, "ca = \"/etc/cluster/ca.crt\"").map(Some));
    let namespace = table.need("namespace", "\"agents\"").and_then(|cell| {
        let text = doc.line(cell, NAMESPACE)?;
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.len() > LABEL_MAX || !text.chars().all(good) || text.starts_with('-') || text.ends_with('-') {
            doc.error(&cell.span(), "this is no name of a namespace", format!("for example: {NAMESPACE}"));
            return None;
        }
        Some(text)
    });
    let sign_in = match (table.take("token_file"), table.take("token")) {
        (Some(cell), None) => path(doc, cell, TOKEN).map(ClusterSignIn::File),
        (None, Some(cell)) => secret(doc, cell, around).map(ClusterSignIn::Secret),
        (one, _) => {
            let at = one.map_or_else(|| table.span().clone(), Cell::span);
            let message = "expected exactly one of `token_file`, `token`: how Portreeve signs in";
            doc.error(&at, message, format!("for example: {TOKEN}"));
            None
        }
    };
    let audiences = table.take("audiences").map_or(Some(Vec::new()), |cell| {
        let items = doc.array(cell, AUDIENCES)?;
        let audiences: Option<Vec<String>> = items.iter().map(|item| doc.line(item, AUDIENCES)).collect();
        if items.is_empty() || items.len() > AUDIENCES_MAX {
            let remedy = format!("for example: {AUDIENCES}; without it, tokens are for the API server itself");
            doc.error(&cell.span(), format!("expected 1 to {AUDIENCES_MAX} audiences"), remedy);
            return None;
        }
        audiences
    });
    let accounts = by_class(doc, &mut table, ("kubernetes", ACCOUNT), |mut table, _| {
        let cell = table.need("service_account", "\"orders-reader\"");
        table.finish();
        let cell = cell?;
        let text = doc.line(cell, ACCOUNT)?;
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.{}_".contains(c);
        let template = narrowed(doc, cell, &text, around.scope)?;
        // `_` stands in names of `[scope]` alone, and what those stand for is looked at when it is filled in.
        if !text.chars().all(good) || (template.fields().next().is_none() && text.contains('_')) {
            doc.error(&cell.span(), "this is no name of a service account", format!("for example: {ACCOUNT}"));
            return None;
        }
        Some(template)
    });
    table.finish();
    let (url, ca, namespace, sign_in) = (url?, ca?, namespace?, sign_in?);
    Some(BackEnd::Kubernetes(Kubernetes { url, ca, namespace, sign_in, audiences: audiences?, accounts: accounts? }))
}
