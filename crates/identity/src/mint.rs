//! Tokens that we sign for servers of others: who works, on whose behalf, for which task.
//!
//! They are signed by a key of their own, with which nothing is checked here, and none is made for an audience that is
//! ours: what a server was given lets nobody in where agents come in. Times are arguments; they live for minutes at most.

use crate::{base64url, keyring::Keys, keyring::Ring, secret};
use portreeve_core::{judge::Whom, names::Name, names::TaskId, time::Millis};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// How long one lives at most, in milliseconds
pub const LIFETIME_MS: i64 = 5 * 60 * 1_000;
/// Who asks where no agent works: somebody looks at what a server offers
const OURSELVES: &str = "portreeve";

/// What a token is
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An access token (RFC 9068)
    AccessToken,
    /// A transaction token (draft-ietf-oauth-transaction-tokens, with `act` as draft-araut-oauth-transaction-tokens-for-agents)
    Transaction,
    /// What says who works on whose behalf, for a token to be exchanged for it (RFC 8693, 2.1)
    Subject,
    /// The same of who works alone: the actor (RFC 8693, 2.1)
    Actor,
    /// An assertion as a grant (RFC 7523, 2.1)
    Assertion,
    /// An identity assertion as a grant (draft-ietf-oauth-identity-assertion-authz-grant)
    IdJag,
}

/// What a token says
#[derive(Clone, Copy, Debug)]
pub struct Says<'a> {
    /// Whom it is meant for, and nobody else
    pub audience: &'a str,
    /// Whom it is about
    pub whom: &'a Whom,
    /// For which task
    pub task: TaskId,
    /// What it may be used for, separated by spaces; empty: it does not say
    pub scope: &'a str,
    /// What the task is narrowed to
    pub narrowed: &'a BTreeMap<Name, String>,
    /// The client that it is given to
    pub client_id: Option<&'a str>,
    /// The server that it is about in the end (RFC 8707)
    pub resource: Option<&'a str>,
    /// Its id
    pub id: &'a str,
    /// When it is over at the latest
    pub until: Millis,
}

/// A token, and when it is over
#[derive(Clone, Debug)]
pub struct Minted {
    /// The token itself
    pub text: String,
    /// When it is over
    pub expires: Millis,
}

/// Why there is no token
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMinted {
    /// It would be one for ourselves
    #[error("its audience is this Portreeve: what a server is given is never good here")]
    Ours,
    /// There is no time left for it
    #[error("less than a second is left for it")]
    Over,
    /// The key does not sign
    #[error("the key `upstream` does not sign")]
    Unsigned,
}

/// Signs tokens for servers of others
#[derive(Clone, Debug)]
pub struct Minter {
    name: String,
    /// Where we are reached, without a slash at the end
    ours: Vec<String>,
    ring: Arc<Ring>,
}

impl Minter {
    /// Under this name, which is an address of ours; and never for what is below one of these
    #[must_use]
    pub fn new(name: String, ours: Vec<String>, ring: Arc<Ring>) -> Self {
        Self { name, ours, ring }
    }

    /// A token
    ///
    /// # Errors
    /// [`NotMinted`]
    pub fn mint(&self, form: Form, says: &Says<'_>, now: Millis) -> Result<Minted, NotMinted> {
        let ours = |base: &String| says.audience.strip_prefix(base.as_str()).is_some_and(is_below);
        if self.ours.iter().chain([&self.name]).any(ours) {
            return Err(NotMinted::Ours);
        }
        let issued = now.0.div_euclid(1_000);
        let ends = says.until.min(now.plus(LIFETIME_MS)).0.div_euclid(1_000);
        if ends <= issued {
            return Err(NotMinted::Over);
        }
        let mut claims = self.claims(form, says);
        claims.insert("iat".to_owned(), issued.into());
        claims.insert("exp".to_owned(), ends.into());
        let typ = match form {
            Form::AccessToken => "at+jwt",
            Form::Transaction => "txntoken+jwt",
            Form::IdJag => "oauth-id-jag+jwt",
            Form::Subject | Form::Actor | Form::Assertion => "JWT",
        };
        let text = signed(&self.ring.keys(), typ, &Value::Object(claims)).ok_or(NotMinted::Unsigned)?;
        Ok(Minted { text, expires: Millis(ends.saturating_mul(1_000)) })
    }

    /// What shows an authorization server that we are its client (`private_key_jwt`); nothing if it could not be signed
    #[must_use]
    pub fn client(&self, client_id: &str, issuer: &str, now: Millis) -> Option<String> {
        crate::oidc::client::assertion(&self.ring.keys(), client_id, issuer, now)
    }

    fn claims(&self, form: Form, says: &Says<'_>) -> Map<String, Value> {
        let whom = says.whom;
        let agent = whom.agent.as_ref().map_or(OURSELVES, Name::as_str);
        let (sub, act) = match form {
            Form::Actor => (agent.to_owned(), None),
            _ => delegation(whom, agent),
        };
        // Of a transaction the agent is told in any case, also where it works on its own.
        let act = act.or_else(|| (form == Form::Transaction).then(|| json!({ "sub": agent })));
        let mut claims = Map::new();
        let mut say = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
        say("iss", json!(self.name));
        say("aud", json!(says.audience));
        say("sub", json!(sub));
        // Of two that go in one request each counts once.
        let id = if form == Form::Actor { format!("{}.actor", says.id) } else { says.id.to_owned() };
        say("jti", json!(id));
        say("txn", json!(says.task));
        if let Some(act) = act {
            say("act", act);
        }
        if !says.scope.is_empty() {
            say("scope", json!(says.scope));
        }
        if let Some(resource) = says.resource {
            say("resource", json!(resource));
        }
        match form {
            Form::AccessToken => say("client_id", json!(agent)),
            Form::Transaction => say("req_wl", json!(self.name)),
            Form::IdJag => say("client_id", json!(says.client_id)),
            Form::Subject | Form::Actor | Form::Assertion => {}
        }
        if form == Form::Transaction {
            let narrowed = says.narrowed.iter().map(|(name, value)| (name.to_string(), json!(value)));
            let purpose = whom.purpose.as_ref().map(|purpose| ("purpose".to_owned(), json!(purpose)));
            say("tctx", Value::Object(narrowed.chain(purpose).collect()));
        } else if let Some(purpose) = &whom.purpose {
            say(TASK, json!({ "id": says.task, "purpose": purpose }));
        }
        claims
    }
}

/// The task, as tokens of runs say it, too
const TASK: &str = "https://portreeve.dev/claims/task";

/// Whether what stands after one of our addresses is below it
fn is_below(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(['/', '?', '#'])
}

/// Whom a token is about, and who acts for them: the one at work outermost, those that it has the task from nested in it
/// (RFC 8693, 4.1)
fn delegation(whom: &Whom, agent: &str) -> (String, Option<Value>) {
    let mut actors: Vec<&str> = std::iter::once(agent).chain(whom.above.iter().map(Name::as_str)).collect();
    let sub = match &whom.user {
        Some(user) => format!("user:{user}"),
        // Whoever began it is whom all of it is for.
        None => actors.pop().unwrap_or(OURSELVES).to_owned(),
    };
    if whom.agent.is_none() {
        return (sub, whom.user.as_ref().map(|_| json!({ "sub": OURSELVES })));
    }
    let act = actors.into_iter().rev().fold(None, |inner: Option<Value>, actor| {
        Some(match inner {
            Some(inner) => json!({ "sub": actor, "act": inner }),
            None => json!({ "sub": actor }),
        })
    });
    (sub, act)
}

/// A token of this type with these claims; nothing if it could not be signed
pub(crate) fn signed(keys: &Keys, typ: &str, claims: &Value) -> Option<String> {
    let header = json!({ "typ": typ, "alg": "EdDSA", "kid": keys.name() });
    let part = |json: &Value| base64url::encode(json.to_string().as_bytes());
    let message = format!("{}.{}", part(&header), part(claims));
    let signature = keys.current().sign(message.as_bytes()).ok()?;
    Some(format!("{message}.{}", base64url::encode(&signature)))
}

/// A text that is used once; nothing if there is no randomness
#[must_use]
pub fn nonce() -> Option<String> {
    secret::draw::<16>()
}

#[cfg(test)]
mod tests;
