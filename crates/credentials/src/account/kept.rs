//! What is kept of an account.

use crate::{
    secret::Secret,
    vault::{Error, Vault},
};
use portreeve_core::{names::Name, policy::OauthClient, time::Millis};
use serde::{Deserialize, Serialize, Serializer};
use std::{collections::BTreeSet, fmt};

/// Whose account, and for which source
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// The source
    pub source: Name,
    /// The user
    pub user: Name,
}

/// An account, as people see it
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The source
    pub source: Name,
    /// Whose it is
    pub user: Name,
    /// The server that it is at
    pub issuer: Option<String>,
    /// What they agreed to
    pub scope: BTreeSet<String>,
    /// When it was connected
    pub connected: Option<Millis>,
    /// Why it cannot be used any more
    pub broken: Option<String>,
}

/// What is kept of an account, in the vault
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    v: u32,
    /// Since which change of the policy its user has the name
    pub(super) generation: u64,
    issuer: String,
    client_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    refresh: Option<Secret>,
    scope: BTreeSet<String>,
    connected: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    broken: Option<(Millis, String)>,
}

const VERSION: u32 = 1;

/// Written for the vault, which seals it, and for nobody else
fn exposed<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(Secret::expose).serialize(serializer)
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Listed {
    pub(super) fn of(holder: Holder, kept: Option<&Kept>) -> Self {
        let broken = match kept {
            None => Some("it cannot be opened with the master key of this data folder".to_owned()),
            Some(kept) => kept.broken().map(str::to_owned),
        };
        Self {
            source: holder.source,
            user: holder.user,
            issuer: kept.map(|kept| kept.issuer.clone()),
            scope: kept.map(|kept| kept.scope.clone()).unwrap_or_default(),
            connected: kept.map(|kept| kept.connected),
            broken,
        }
    }
}

impl Kept {
    pub(super) fn new(
        at: &OauthClient,
        generation: u64,
        (refresh, scope): (&Secret, BTreeSet<String>),
        connected: Millis,
    ) -> Self {
        let (issuer, client_id) = (at.issuer.clone(), at.client_id.clone());
        let refresh = Some(refresh.clone());
        Self { v: VERSION, generation, issuer, client_id, refresh, scope, connected, broken: None }
    }

    pub(super) fn read(vault: &Vault, holder: &Holder) -> Result<Option<Self>, Error> {
        let Some(text) = vault.account(&holder.source, &holder.user)? else { return Ok(None) };
        let kept: Option<Self> = serde_json::from_str(text.expose()).ok();
        let kept = kept.filter(|kept| kept.v == VERSION);
        kept.map(Some).ok_or_else(|| Error::Sealed(format!("account of {}", holder.user)))
    }

    pub(super) fn write(&self, vault: &Vault, holder: &Holder) -> Result<(), Error> {
        let text = serde_json::to_string(self).map_err(|_| Error::System)?;
        vault.keep_account(&holder.source, &holder.user, &Secret::new(text))
    }

    /// Whether it was connected at this server, as this client
    pub(super) fn is_of(&self, at: &OauthClient) -> bool {
        self.issuer == at.issuer && self.client_id == at.client_id
    }

    pub(super) fn refresh(&self) -> Option<Secret> {
        self.refresh.clone()
    }

    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_ref().map(|(_, why)| why.as_str())
    }

    /// The next token is had with this one
    pub(super) fn turn(&mut self, refresh: &Secret) {
        self.refresh = Some(refresh.clone());
    }

    /// It is of no use any more
    pub(super) fn breaks(&mut self, why: &str, now: Millis) {
        self.refresh = None;
        self.broken = Some((now, why.to_owned()));
    }
}
