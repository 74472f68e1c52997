//! The secrets of the vault at the socket: they go in, and never come out.

use super::{Admin, Answer, Failure, Shared, Who};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use portreeve_core::{
    engine::Reply,
    names::{EffectId, Name},
    node::Node,
    policy::{BackEnd, CredentialSource, Deed},
    request::{Request, SecretChange},
    state::{Leased, Open, OpenLease},
};
use portreeve_credentials::{secret::Secret, vault};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Longest time that the secret before is still tried, in milliseconds
const OVERLAP_MS_MAX: i64 = 7 * 24 * 60 * 60 * 1000;

/// Every secret by name, with what it is for
pub(super) async fn list(State(admin): Shared, who: Who) -> Answer {
    who.may(&admin, Deed::Inspect, "secrets").await?;
    let (vault, now) = (Arc::clone(admin.leases.vault()), admin.clock.now());
    let listed = apart(move || vault.list(now)).await?;
    let bundle = admin.catalogue.view().bundle.clone();
    let used = |name: &Name| -> Vec<String> {
        let sources = bundle.iter().flat_map(|bundle| &bundle.sources);
        let uses = sources.filter(|(_, source)| source.back_end.says().secrets().contains(&name));
        uses.map(|(source, _)| source.to_string()).collect()
    };
    let standing = |name: &Name| {
        let mut sources = bundle.iter().flat_map(|bundle| bundle.sources.values());
        sources.find_map(|source| match &source.back_end {
            BackEnd::Static(of) if of.secret == *name => {
                Some(json!({ "owner": source.owner, "rotate_by": of.rotate_by }))
            }
            _ => None,
        })
    };
    let view = |one: &vault::Listed| {
        json!({
            "name": one.name, "version": one.version, "made": one.made, "before_until": one.before_until,
            "twin": one.twin, "used": one.used, "sources": used(&one.name), "standing": standing(&one.name),
        })
    };
    Ok(Json(json!({ "secrets": listed.iter().map(view).collect::<Vec<_>>() })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Set {
    value: Secret,
    /// Milliseconds for which the one before it is still tried
    #[serde(default)]
    overlap_ms: i64,
    /// Whether the same may be there under another name
    #[serde(default)]
    twin: bool,
}

/// Puts a secret into the vault, or another one in its place
pub(super) async fn set(State(admin): Shared, who: Who, Path(name): Path<String>, Json(ask): Json<Set>) -> Answer {
    let name: Name = Failure::parsed(&name)?;
    who.may(&admin, Deed::Secrets, format!("secret:{name}")).await?;
    if !(0..=OVERLAP_MS_MAX).contains(&ask.overlap_ms) {
        return Err(Failure::malformed("the secret before is still tried for seven days at most"));
    }
    let (vault, now) = (Arc::clone(admin.leases.vault()), admin.clock.now());
    let overlap = (ask.overlap_ms > 0).then(|| now.plus(ask.overlap_ms));
    let of = name.clone();
    let listed = apart(move || vault.set(&of, &ask.value, (now, overlap), ask.twin)).await?;
    record(&admin, &who, name.clone(), Some(listed.version)).await?;
    admin.leases.exchanged(&name).await;
    Ok(Json(json!(listed)))
}

/// Takes a secret out of the vault
pub(super) async fn remove(State(admin): Shared, who: Who, Path(name): Path<String>) -> Answer {
    let name: Name = Failure::parsed(&name)?;
    who.may(&admin, Deed::Secrets, format!("secret:{name}")).await?;
    let (vault, of) = (Arc::clone(admin.leases.vault()), name.clone());
    if !apart(move || vault.remove(&of)).await? {
        return Err(failure(vault::Error::Missing(name)));
    }
    record(&admin, &who, name.clone(), None).await?;
    admin.leases.exchanged(&name).await;
    Ok(Json(json!({ "name": name, "removed": true })))
}

async fn record(admin: &Admin, who: &Who, name: Name, version: Option<u32>) -> Result<(), Failure> {
    let change = SecretChange { by: who.by.clone(), name, version };
    match admin.door.submit(Request::Secret(change)).await {
        Reply::Recorded => Ok(()),
        Reply::Refused(reasons) => Err(Failure::refused(&reasons)),
        _ => Err(Failure::unavailable()),
    }
}

/// Files are read and written where nobody waits for the network
async fn apart<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, vault::Error> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(act).await.map_err(|_| Failure::unavailable())?.map_err(failure)
}

fn failure(error: vault::Error) -> Failure {
    let (status, word, remedy) = match &error {
        vault::Error::Missing(_) => (StatusCode::NOT_FOUND, "secret_unknown", "List them: `portreeve secret list`."),
        vault::Error::Twice(_) => (
            StatusCode::CONFLICT,
            "secret_twice",
            "Have another one made for this use; for what cannot be changed yet: --legacy, which is shown wherever it is.",
        ),
        vault::Error::Form => (StatusCode::BAD_REQUEST, "malformed", "Give just the secret, without a line break."),
        vault::Error::Full => {
            (StatusCode::CONFLICT, "vault_full", "Take out what no source uses: `portreeve secret list`.")
        }
        vault::Error::Sealed(_) => (
            StatusCode::CONFLICT,
            "secret_sealed",
            "Bring back the master key that it was sealed with, or set the secret anew.",
        ),
        vault::Error::File(_) | vault::Error::System => {
            (StatusCode::INTERNAL_SERVER_ERROR, "vault_unavailable", "Look at the folder `vault` of the data folder.")
        }
    };
    Failure::new(status, word, format!("{error}."), remedy)
}

/// Sources of credentials, whether each can be reached, and what taking back achieves
pub(super) async fn sources(State(admin): Shared, who: Who) -> Answer {
    who.may(&admin, Deed::Inspect, "credentials").await?;
    let Some(bundle) = admin.catalogue.view().bundle.clone() else { return Ok(Json(json!({ "sources": [] }))) };
    let mut all: Vec<Value> = Vec::new();
    for (name, source) in &bundle.sources {
        let connectors = bundle.connectors.iter();
        let used = connectors.filter(|(_, of)| of.credentials.as_ref().is_some_and(|of| of.source == *name));
        let checked = portreeve_credentials::open(name, &source.back_end, admin.leases.means()).check().await;
        let connectors: Vec<_> = used.map(|(connector, _)| connector).collect();
        all.push(described(
            source,
            [
                ("name", json!(name)),
                ("ttl_ms", json!(source.ttl_ms)),
                ("connectors", json!(connectors)),
                ("error", json!(checked.err())),
            ],
        ));
    }
    Ok(Json(json!({ "sources": all })))
}

/// Where a connector's credentials come from, and what taking them back achieves; nothing if it wants none
pub(super) fn of(admin: &Admin, connector: &Name) -> Value {
    let bundle = admin.catalogue.view().bundle.clone();
    let found = bundle.as_ref().and_then(|bundle| {
        let wanted = bundle.connectors.get(connector)?.credentials.as_ref()?;
        Some((&wanted.source, bundle.sources.get(&wanted.source)?))
    });
    found.map_or(Value::Null, |(name, source)| described(source, [("source", json!(name))]))
}

/// What a source is, wherever it is shown, with what else is said of it there
fn described<const MORE: usize>(source: &CredentialSource, more: [(&str, Value); MORE]) -> Value {
    let own = [
        ("kind", json!(source.back_end.says().kind())),
        ("owner", json!(source.owner)),
        ("classes", json!(source.classes())),
        ("revocation", json!(source.revocation().to_string())),
        ("standing", json!(source.is_standing())),
    ];
    own.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Credentials that are not known to be of no use
pub(super) async fn leases(State(admin): Shared, who: Who) -> Answer {
    who.may(&admin, Deed::Tasks, "leases").await?;
    let now = admin.clock.now();
    let asked = admin.door.ask(move |engine| {
        let state = engine.state();
        let found = state.effects().filter_map(|(id, _)| Some((id, state.open_lease(id)?)));
        let view = |(id, (open, lease)): (EffectId, (&Open, &OpenLease))| {
            let stands = state.leased(open, lease, now);
            json!({
                "lease": id, "node": Node::Lease(id), "task": open.task,
                "connector": open.connector, "class": lease.class, "source": lease.source,
                "state": in_words(stands), "until": lease.until, "usable_until": lease.usable_until,
                "revocation": lease.revocation.to_string(), "calls": lease.under, "handle": lease.handle,
            })
        };
        found.map(view).collect::<Vec<_>>()
    });
    let leases = asked.await.ok_or_else(Failure::unavailable)?;
    Ok(Json(json!({ "leases": leases, "counted": admin.leases.counted() })))
}

fn in_words(stands: Leased) -> &'static str {
    match stands {
        Leased::Live => "live",
        Leased::Coming => "being issued",
        Leased::Closing => "over, a call goes on",
        Leased::Owed(_) => "being taken back",
        Leased::Left(_) => "cannot be taken back",
    }
}
