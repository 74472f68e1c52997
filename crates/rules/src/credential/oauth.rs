//! `[oauth]` and `[account]`: tokens of an authorization server, for Portreeve itself or for people who connect their account.

use super::{
    Around, TTL_MS_MAX,
    scopes::{plain, scopes},
    shared::{path, secret},
};
use crate::{
    document::{Cell, Document, Table},
    issuer::address,
};
use portreeve_core::policy::{Account, BackEnd, ClientShows, Oauth, OauthClient, OauthGrant, Revocation};

const ISSUER: &str = "\"https://id.example.com\"";

/// `[oauth]`
pub(super) fn read(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<BackEnd> {
    let mut table = doc.table(cell, "[oauth]", "issuer = \"https://id.example.com\"")?;
    let at = client(doc, &mut table, ("oauth", true), around);
    let audience = table.take("audience").map(|cell| (cell, doc.line(cell, "audience = \"orders\"")));
    let said = audience.as_ref().and_then(|(_, audience)| audience.clone());
    let words = [("client-credentials", 0), ("token-exchange", 1), ("jwt-bearer", 2), ("id-jag", 3)];
    let grant_at = table.take("grant");
    let grant = grant_at.map_or(Some(0), |cell| doc.word(cell, &words)).map(|word| match word {
        1 => OauthGrant::TokenExchange { audience: said },
        2 => OauthGrant::JwtBearer,
        3 => OauthGrant::IdJag,
        _ => OauthGrant::ClientCredentials,
    });
    let span = table.span().clone();
    table.finish();
    if let (Some((cell, _)), Some(grant)) = (&audience, &grant)
        && !matches!(grant, OauthGrant::TokenExchange { .. })
    {
        let remedy = "name the server that the tokens are for by its address: resource = \"https://...\"";
        doc.error(&cell.span(), "only a token exchange names an audience", remedy);
        return None;
    }
    let (at, grant) = (at?, grant?);
    if at.shows == ClientShows::Nothing {
        let message = "nothing says how Portreeve shows that it is this client";
        doc.error(
            &span,
            message,
            "add secret = \"NAME\", a secret of the vault, or key = true, or jwt_file = \"/...\"",
        );
        return None;
    }
    Some(BackEnd::Oauth(Oauth { at, grant }))
}

/// `[account]`
pub(super) fn account(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<BackEnd> {
    const ASK: &str = "ask = [\"offline_access\"]";
    let mut table = doc.table(cell, "[account]", "issuer = \"https://id.example.com\"")?;
    let at = client(doc, &mut table, ("account", false), around);
    let ask = table.take("ask").map_or(Some(Vec::new()), |cell| plain(doc, cell, ASK));
    table.finish();
    Some(BackEnd::Account(Account { at: at?, ask: ask? }))
}

fn client(
    doc: &Document<'_>,
    table: &mut Table<'_, '_>,
    (kind, templates): (&str, bool),
    around: &Around<'_>,
) -> Option<OauthClient> {
    const REVOCATION: &str = "\"immediate\"; or a time such as \"30s\", \"expiry only\"";
    const JWT_FILE: &str = "jwt_file = \"/var/run/secrets/azure/tokens/azure-identity-token\"";
    const RESOURCE: &str = "\"https://orders.example.com\"";
    let issuer = table.need("issuer", ISSUER).and_then(|cell| address(doc, cell, "issuer", ISSUER));
    let client_id =
        table.need("client_id", "\"portreeve\"").and_then(|cell| doc.line(cell, "client_id = \"portreeve\""));
    let private = table.take("private").map_or(Some(false), |cell| doc.truth(cell, "private = true"));
    let key_at = table.take("key");
    let key = key_at.map_or(Some(false), |cell| doc.truth(cell, "key = true"));
    let secret_at = table.take("secret");
    let secret = secret_at.map_or(Some(None), |cell| secret(doc, cell, around).map(Some));
    let file_at = table.take("jwt_file");
    let file = file_at.map_or(Some(None), |cell| path(doc, cell, JWT_FILE).map(Some));
    let resource = table.take("resource").map_or(Some(None), |cell| address(doc, cell, "resource", RESOURCE).map(Some));
    let revocation = table.need("revocation", REVOCATION).and_then(|cell| {
        let shown = format!("revocation = {REVOCATION}");
        match doc.text(cell, &shown)? {
            "immediate" => Some(Revocation::Immediate),
            "expiry only" => Some(Revocation::ExpiryOnly),
            _ => doc.duration(cell, TTL_MS_MAX, &shown).map(|within_ms| Revocation::Eventual { within_ms }),
        }
    });
    let scopes = scopes(doc, table, kind, around, templates);
    let shown: Vec<_> = [secret_at, key_at.filter(|_| key == Some(true)), file_at].into_iter().flatten().collect();
    if let [cell, _, ..] = shown.as_slice() {
        doc.error(&cell.span(), "it shows either a secret, a key or a file", "take all but one of them out");
        return None;
    }
    let shows = match (secret?, key?, file?) {
        (Some(secret), ..) => ClientShows::Secret(secret),
        (None, _, Some(file)) => ClientShows::File(file),
        (None, true, None) => ClientShows::Key,
        (None, false, None) => ClientShows::Nothing,
    };
    let (issuer, client_id, resource, revocation) = (issuer?, client_id?, resource?, revocation?);
    let private = private?;
    Some(OauthClient { issuer, private, client_id, shows, resource, revocation, scopes: scopes? })
}
