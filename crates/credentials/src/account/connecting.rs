//! Connecting an account: somebody agrees at the server, and comes back with a code (RFC 6749, 4.1, with RFC 7636).
//!
//! What was begun is finished by whoever began it, who has what they were given then: an address that leads somebody else to
//! agree connects nothing for whoever made it.

use super::{Accounts, holder, kept::Kept};
use crate::{means::Means, oauth::server::Client, source::NotIssued};
use portreeve_core::{hash::Hash, names::Name, policy::Account as Place};
use portreeve_identity::{
    Bearer, NotDrawn,
    oidc::begun::{self, Beginning},
};
use std::collections::BTreeSet;

/// What is being connected
pub(super) type Connecting = begun::Begun;

/// A connection that has begun
#[derive(Clone, Debug)]
pub struct Begun {
    /// Where the browser goes
    pub url: String,
    /// What whoever began it shows when they finish it; a secret
    pub ticket: String,
}

/// What a browser came back with
#[derive(Clone, Debug, Default)]
pub struct Back {
    /// What becomes tokens
    pub code: Option<String>,
    /// What it belongs to
    pub state: Option<String>,
    /// Which server answers (RFC 9207)
    pub iss: Option<String>,
    /// Why there is no code
    pub error: Option<String>,
}

/// Why no account was connected
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotConnected {
    /// Too many are being connected, or there is no randomness
    #[error(transparent)]
    Drawn(#[from] NotDrawn),
    /// The server cannot be asked, or is not what the policy says
    #[error("{0}")]
    Server(String),
    /// It was not begun by whoever finishes it, or is over
    #[error("this was not begun by you, or is over: it counts once, for ten minutes")]
    NotBegun,
    /// Another server answered
    #[error("what came back is not from the server where it began (iss)")]
    Mixed,
    /// The server did not agree
    #[error("the server gave nothing: {0}")]
    Refused(String),
    /// The server gave nothing to go on with
    #[error("the server gave no refresh token; see `ask` in docs/credentials/account.md")]
    NoRefresh,
    /// It cannot be kept
    #[error("the account cannot be kept: {0}")]
    Vault(String),
}

impl Accounts {
    /// Begins to connect somebody's account
    ///
    /// # Errors
    /// [`NotConnected`]
    pub async fn begin(
        &self,
        (source, place): (&Name, &Place),
        bearer: &Bearer,
        return_to: &str,
        means: &Means,
    ) -> Result<Begun, NotConnected> {
        let client = Client { at: &place.at, means };
        let server = client.server().await.map_err(NotConnected::Server)?;
        let lacks = || NotConnected::Server("the server has no authorization_endpoint".to_owned());
        let mut url = server.authorization.clone().ok_or_else(lacks)?;
        let slot = slot(source, bearer).ok_or(NotDrawn::Randomness)?;
        let Beginning { state, cookie, secrets } = self.connecting.begin(slot, means.clock.now())?;
        let scope: BTreeSet<&str> = place.at.scopes.values().flatten().chain(&place.ask).map(String::as_str).collect();
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", &place.at.client_id)
                .append_pair("redirect_uri", return_to)
                .append_pair("scope", &scope.into_iter().collect::<Vec<_>>().join(" "))
                .append_pair("state", &state)
                .append_pair("code_challenge", &secrets.challenge())
                .append_pair("code_challenge_method", "S256");
            if place.ask.iter().any(|scope| scope == "offline_access") {
                // Without it, servers of OpenID Connect pass over `offline_access` (Core 1.0, 11).
                query.append_pair("prompt", "consent");
            }
            if let Some(resource) = &place.at.resource {
                query.append_pair("resource", resource);
            }
        }
        Ok(Begun { url: url.into(), ticket: cookie })
    }

    /// Finishes it; what they agreed to
    ///
    /// # Errors
    /// [`NotConnected`]
    pub async fn finish(
        &self,
        (source, place): (&Name, &Place),
        bearer: &Bearer,
        (back, ticket): (Back, &str),
        return_to: &str,
        means: &Means,
    ) -> Result<BTreeSet<String>, NotConnected> {
        let slot = slot(source, bearer).ok_or(NotDrawn::Randomness)?;
        // Before anything else, so that it counts once whatever comes of it.
        let secrets =
            back.state.as_deref().and_then(|state| self.connecting.take(state, ticket, &slot, means.clock.now()));
        let secrets = secrets.ok_or(NotConnected::NotBegun)?;
        let client = Client { at: &place.at, means };
        let server = client.server().await.map_err(NotConnected::Server)?;
        match back.iss.as_deref() {
            Some(iss) if iss == place.at.issuer => {}
            None if !server.says_issuer => {}
            _ => return Err(NotConnected::Mixed),
        }
        if let Some(error) = back.error {
            let plain = (1..=40).contains(&error.len())
                && error.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            return Err(NotConnected::Refused(if plain { error } else { "something else".to_owned() }));
        }
        client.able(&server).map_err(NotConnected::Server)?;
        let code = back.code.ok_or_else(|| NotConnected::Refused("no code".to_owned()))?;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", return_to),
            ("code_verifier", secrets.verifier.as_str()),
        ];
        form.extend(place.at.resource.as_deref().map(|resource| ("resource", resource)));
        let granted = client.tokens(&server, &form, None).await;
        let granted = granted.map_err(|refused| NotConnected::Refused(NotIssued::from(refused).to_string()))?;
        let Some(refresh) = granted.refresh.as_ref() else {
            let _ = client.revoke(&server, &granted.access, "access_token").await;
            return Err(NotConnected::NoRefresh);
        };
        // This token is not used. Where one is taken back at the end of each task, it shows what else goes with it.
        if let Err(why) = client.goes_alone(&server, &granted.access, refresh).await {
            // What nobody will use is not left there.
            let _ = client.revoke(&server, refresh, "refresh_token").await;
            return Err(NotConnected::Server(why));
        }
        let holder = holder(source, bearer);
        let _turn = self.turn(&holder).await;
        let kept = Kept::new(&place.at, bearer.generation, (refresh, granted.scope.clone()), means.clock.now());
        kept.write(&means.vault, &holder).map_err(|error| NotConnected::Vault(error.to_string()))?;
        Ok(granted.scope)
    }
}

/// What is begun by one person for one source is finished by them for that
fn slot(source: &Name, bearer: &Bearer) -> Option<Name> {
    Hash::of(format!("{source}\n{}\n{}", bearer.user, bearer.generation).as_bytes()).to_string().parse().ok()
}
