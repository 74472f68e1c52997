//! Accounts that people connect at authorization servers: begun and finished by themselves, and never anybody else's.

use super::{Admin, Answer, Failure, Shared, Who};
use crate::office::Person;
use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use portreeve_core::{
    engine::Reply,
    event::Actor,
    names::Name,
    policy::{Account, BackEnd, Deed},
    request::{AccountChange, Request},
};
use portreeve_credentials::account::{self, Back, Holder, Listed, NotConnected};
use serde::Deserialize;
use serde_json::json;

/// One's own accounts; to the account that owns the data folder, everybody's
pub(super) async fn list(State(admin): Shared, who: Who) -> Answer {
    let vault = std::sync::Arc::clone(admin.leases.vault());
    let all = tokio::task::spawn_blocking(move || account::list(&vault)).await.map_err(|_| Failure::unavailable())?;
    let all = all.map_err(|error| vault_failure(&error.to_string()))?;
    let own = |one: &&Listed| match &who.by {
        Actor::Person { user, .. } => one.user == *user,
        _ => true,
    };
    let shown: Vec<&Listed> = all.iter().filter(own).collect();
    Ok(Json(json!({ "accounts": shown })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begin {
    source: Name,
    #[serde(default)]
    user: Option<Name>,
}

/// Where the browser goes, and what the one who began it shows when they finish
pub(super) async fn begin(State(admin): Shared, who: Who, Json(ask): Json<Begin>) -> Answer {
    let person = who.person(&admin, ask.user).await?;
    let place = place(&admin, &ask.source)?;
    let means = admin.leases.means();
    let begun = means.accounts.begin((&ask.source, &place), &person.bearer(), &return_to(&admin), means).await;
    let begun = begun.map_err(|error| failure(&ask.source, &error))?;
    Ok(Json(json!({ "source": ask.source, "user": person.user, "url": begun.url, "ticket": begun.ticket })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Finish {
    source: Name,
    #[serde(default)]
    user: Option<Name>,
    ticket: String,
    /// The address at which the browser ended
    address: String,
}

/// The account is there from now on
pub(super) async fn finish(State(admin): Shared, who: Who, Json(ask): Json<Finish>) -> Answer {
    let person: Person = who.person(&admin, ask.user).await?;
    let place = place(&admin, &ask.source)?;
    let query = ask.address.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    let back =
        crate::sign_in::Back::of(query).ok_or_else(|| Failure::malformed("the address can be read in two ways"))?;
    let back = Back { code: back.code, state: back.state, iss: back.iss, error: back.error };
    let (means, bearer, return_to) = (admin.leases.means().clone(), person.bearer(), return_to(&admin));
    let (source, user) = (ask.source.clone(), person.user.clone());
    let by = Actor::Person { user: person.user.clone(), how: person.how };
    // Goes on to its end whoever stops waiting: what the server gave is kept, and on the record.
    let finishing = tokio::spawn(async move {
        let of = (&source, &place);
        let scope = means.accounts.finish(of, &bearer, (back, &ask.ticket), &return_to, &means).await;
        let scope = scope.map_err(|error| failure(&source, &error))?;
        changed(&admin, by, (&source, &user), true).await?;
        Ok::<_, Failure>(scope)
    });
    let scope = finishing.await.map_err(|_| Failure::unavailable())??;
    Ok(Json(json!({ "source": ask.source, "user": person.user, "scope": scope, "connected": true })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    #[serde(default)]
    user: Option<Name>,
}

/// Forgets an account, and has its server take it back
pub(super) async fn disconnect(
    State(admin): Shared,
    who: Who,
    Path(source): Path<String>,
    Query(whose): Query<Whose>,
) -> Answer {
    let source: Name = Failure::parsed(&source)?;
    let (user, by) = match (who.person(&admin, whose.user.clone()).await, whose.user) {
        (Ok(Person { user, how, .. }), _) => (user.clone(), Actor::Person { user, how }),
        // Somebody who left cannot do it themselves.
        (Err(_), Some(user)) => {
            who.may(&admin, Deed::Secrets, format!("account:{user}")).await?;
            (user, who.by.clone())
        }
        (Err(nobody), None) => return Err(nobody),
    };
    let (means, place) = (admin.leases.means().clone(), place(&admin, &source).ok());
    let holder = Holder { source: source.clone(), user: user.clone() };
    let done = tokio::spawn(async move {
        let done = account::disconnect(&holder, place.as_ref(), &means).await;
        let (there, taken_back) = done.map_err(|error| vault_failure(&error))?;
        if !there {
            let message = format!("{} has connected no account for {}.", holder.user, holder.source);
            let remedy = "List them: `portreeve account list`.";
            return Err(Failure::new(StatusCode::NOT_FOUND, "account_unknown", message, remedy));
        }
        changed(&admin, by, (&holder.source, &holder.user), false).await?;
        Ok(taken_back)
    });
    let taken_back = done.await.map_err(|_| Failure::unavailable())??;
    Ok(Json(json!({ "source": source, "user": user, "connected": false, "taken_back": taken_back })))
}

/// Where browsers come back to
fn return_to(admin: &Admin) -> String {
    format!("{}/accounts/return", admin.office.base())
}

fn place(admin: &Admin, source: &Name) -> Result<Account, Failure> {
    let bundle = admin.catalogue.view().bundle.clone();
    let found = bundle.as_ref().and_then(|bundle| match &bundle.sources.get(source)?.back_end {
        BackEnd::Account(of) => Some(of.clone()),
        _ => None,
    });
    found.ok_or_else(|| {
        let message = format!("The policy has no source {source} for which people connect accounts.");
        let remedy = "List the sources: `portreeve lease sources`; those of the kind `account` are meant.";
        Failure::new(StatusCode::NOT_FOUND, "source_unknown", message, remedy)
    })
}

/// What was had with the account before ends, and it is on the record who changed it
async fn changed(admin: &Admin, by: Actor, (source, user): (&Name, &Name), connected: bool) -> Result<(), Failure> {
    admin.leases.parted(source, user).await;
    let change = AccountChange { by, source: source.clone(), user: user.clone(), connected };
    match admin.door.submit(Request::Account(change)).await {
        Reply::Recorded => Ok(()),
        Reply::Refused(reasons) => Err(Failure::refused(&reasons)),
        _ => Err(Failure::unavailable()),
    }
}

fn failure(source: &Name, error: &NotConnected) -> Failure {
    let again = "Begin anew: `portreeve account connect`.";
    let (status, word, remedy) = match error {
        NotConnected::Drawn(_) => (StatusCode::SERVICE_UNAVAILABLE, "too_many", "Try again in a few minutes."),
        NotConnected::Server(_) => (
            StatusCode::BAD_GATEWAY,
            "account_server",
            "Whoever owns the source can mend it: see `portreeve lease sources` and docs/credentials/account.md.",
        ),
        NotConnected::NotBegun => (StatusCode::FORBIDDEN, "account_not_begun", again),
        NotConnected::Mixed => (StatusCode::FORBIDDEN, "account_mixed", again),
        NotConnected::Refused(_) => (StatusCode::FORBIDDEN, "account_refused", again),
        NotConnected::NoRefresh => (
            StatusCode::BAD_GATEWAY,
            "account_no_refresh",
            "Many servers give one for ask = [\"offline_access\"], to a client that may have it.",
        ),
        NotConnected::Vault(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "vault_unavailable", "Look at the folder `vault` of the data folder.")
        }
    };
    Failure::new(status, word, format!("No account was connected for {source}: {error}."), remedy)
}

fn vault_failure(why: &str) -> Failure {
    let remedy = "Look at the folder `vault` of the data folder.";
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "vault_unavailable", format!("{why}."), remedy)
}
