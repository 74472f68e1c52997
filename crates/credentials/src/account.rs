//! Accounts that people connected at an authorization server: a task on somebody's behalf works with a token of theirs.
//!
//! What the next token is had with (the refresh token) lies in the vault, bound to the person and the source, and leaves it
//! for that server alone. One is asked for at a time: whatever replaces it is durable before the token that came with it is
//! used. A server that takes it no more, as where somebody else has used it, ends the account until it is connected anew.

mod connecting;
mod kept;

pub use connecting::{Back, Begun, NotConnected};
pub use kept::{Holder, Listed};

use crate::{
    means::Means,
    oauth::server::{Client, Granted, Refused, kept as to_keep},
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn},
    vault::Vault,
};
use async_trait::async_trait;
use kept::Kept;
use portreeve_core::{names::Name, policy::Account as Place};
use portreeve_identity::{Bearer, discovery::Server};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// The accounts of everybody, while they are used
#[derive(Default)]
pub struct Accounts {
    /// Held by whoever asks for a token with one of them, until what came of it is durable
    turns: Mutex<HashMap<Holder, Arc<tokio::sync::Mutex<()>>>>,
    connecting: connecting::Connecting,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}

impl Accounts {
    /// Waits until nobody else does something with this account
    async fn turn(&self, holder: &Holder) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(holder.clone()).or_default())
        };
        turn.lock_owned().await
    }
}

/// Every account that somebody connected, by source and user
///
/// # Errors
/// The vault cannot be read.
pub fn list(vault: &Vault) -> Result<Vec<Listed>, crate::vault::Error> {
    let mut all = Vec::new();
    for (source, user) in vault.accounts()? {
        let holder = Holder { source, user };
        // One that nobody can open is there all the same.
        let kept = Kept::read(vault, &holder).ok().flatten();
        all.push(Listed::of(holder, kept.as_ref()));
    }
    Ok(all)
}

/// Forgets an account; whether there was one, and whether its server has taken it back
///
/// # Errors
/// The vault cannot be changed: then nothing was.
pub async fn disconnect(holder: &Holder, place: Option<&Place>, means: &Means) -> Result<(bool, bool), String> {
    let _turn = means.accounts.turn(holder).await;
    let kept = Kept::read(&means.vault, holder);
    let there = !matches!(kept, Ok(None));
    means.vault.forget_account(&holder.source, &holder.user).map_err(|error| error.to_string())?;
    let (Ok(Some(kept)), Some(place)) = (kept, place) else { return Ok((there, false)) };
    let client = Client { at: &place.at, means };
    // Never to another server than the one that gave it.
    if !kept.is_of(&place.at) {
        return Ok((there, false));
    }
    let Some(refresh) = kept.refresh() else { return Ok((there, false)) };
    let taken = match client.server().await {
        Ok(server) => client.revoke(&server, &refresh, "refresh_token").await.unwrap_or(false),
        Err(_) => false,
    };
    Ok((there, taken))
}

/// Tokens of people who connected their account
#[derive(Debug)]
pub struct Account {
    name: Name,
    of: Place,
    means: Means,
}

impl Account {
    /// Of the source of this name
    #[must_use]
    pub fn new(name: Name, of: Place, means: Means) -> Self {
        Self { name, of, means }
    }

    fn client(&self) -> Client<'_> {
        Client { at: &self.of.at, means: &self.means }
    }

    /// The account of whoever the credential is for
    fn kept(&self, holder: &Holder, generation: u64) -> Result<Kept, String> {
        let again = format!("they connect it with `portreeve account connect {}`", self.name);
        let kept = Kept::read(&self.means.vault, holder).map_err(|error| error.to_string())?;
        let user = &holder.user;
        let kept = kept.ok_or_else(|| format!("{user} has connected no account; {again}"))?;
        if kept.generation != generation {
            return Err(format!("the account was connected by somebody else who was called {user}; {again}"));
        }
        if !kept.is_of(&self.of.at) {
            return Err(format!("the account of {user} is one at another server, or of another client; {again}"));
        }
        match kept.broken() {
            Some(why) => Err(format!("the account of {user} is broken: {why}; {again}")),
            None => Ok(kept),
        }
    }

    /// Asks for a token; whatever the next one is had with then is durable
    async fn refresh(
        &self,
        server: &Server,
        (holder, mut kept): (&Holder, Kept),
        scope: &[String],
    ) -> Result<Granted, NotIssued> {
        let refresh =
            kept.refresh().ok_or_else(|| NotIssued::Refused("the account has no refresh token".to_owned()))?;
        // What cannot be written now could not be kept afterwards either, when the server has given another one.
        let writable = kept.write(&self.means.vault, holder);
        writable.map_err(|error| NotIssued::Refused(format!("the account cannot be kept: {error}")))?;
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.expose())];
        match self.client().token(server, &form, scope).await {
            Ok(granted) => {
                if let Some(next) = granted.refresh.as_ref().filter(|next| **next != refresh) {
                    kept.turn(next);
                    let durable = kept.write(&self.means.vault, holder);
                    durable.map_err(|error| NotIssued::Unknown(format!("the account cannot be kept: {error}")))?;
                }
                Ok(granted)
            }
            Err(Refused::Error(error)) if error == "invalid_grant" => {
                let why =
                    "its server takes it no more (invalid_grant): it was taken back there, or somebody else used it";
                kept.breaks(why, self.means.clock.now());
                kept.write(&self.means.vault, holder).map_err(|error| NotIssued::Refused(error.to_string()))?;
                Err(NotIssued::Refused(format!(
                    "the account of {} is broken: {why}; they connect it anew with `portreeve account connect {}`",
                    holder.user, self.name
                )))
            }
            Err(refused) => Err(refused.into()),
        }
    }
}

#[async_trait]
impl Source for Account {
    async fn issue(&self, wanted: &Wanted) -> Result<Issued, NotIssued> {
        let refused = NotIssued::Refused;
        let scope = self.of.at.scopes.get(&wanted.class);
        let scope = scope.ok_or_else(|| refused("nothing is asked for this class".to_owned()))?;
        let user = wanted.whom.user.clone();
        let user =
            user.ok_or_else(|| refused("the task is on nobody's behalf, so it has nobody's account".to_owned()))?;
        let holder = Holder { source: self.name.clone(), user };
        let client = self.client();
        let server = client.server().await.map_err(refused)?;
        client.able(&server).map_err(refused)?;
        let granted = {
            let _turn = self.means.accounts.turn(&holder).await;
            let kept = self.kept(&holder, wanted.whom.generation).map_err(refused)?;
            self.refresh(&server, (&holder, kept), scope).await?
        };
        let keep = to_keep(&granted, false);
        if let Some(why) = client.keeps(&server, &granted).await {
            self.means.vault.keep(&wanted.name, &keep).map_err(|error| NotIssued::Unknown(error.to_string()))?;
            return Err(NotIssued::Unknown(why));
        }
        let fields = BTreeMap::from([("token".to_owned(), granted.access)]);
        Ok(Issued { fields, handle: None, until: granted.until, keep: Some(keep) })
    }

    async fn withdraw(&self, held: &Held) -> Result<Withdrawn, String> {
        // A server may take the whole account back with one token of it (RFC 7009, 2.1): only where the policy says otherwise.
        self.client().withdraw(held, false).await
    }

    async fn sweep(&self, _: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    async fn check(&self) -> Result<(), String> {
        self.client().check().await
    }
}

/// Who holds an account of this source
#[must_use]
pub fn holder(source: &Name, bearer: &Bearer) -> Holder {
    Holder { source: source.clone(), user: bearer.user.clone() }
}
