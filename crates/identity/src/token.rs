//! Access tokens: JWTs of type `at+jwt` (RFC 9068), minutes long, bound to endpoints.

use crate::{base64url, jose::Thumbprint, keyring::Ring};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, errors::ErrorKind};
use portreeve_core::{
    hash::Hash,
    names::{Name, RunId, TaskId},
    proof::Binding,
    time::Millis,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

/// How long a token lives: at most five minutes, so that a lost one is soon worth nothing
pub const LIFETIME_MS: i64 = 5 * 60 * 1000;
/// What a token is (RFC 9068, 2.1)
const TYPE: &str = "at+jwt";
/// How far ahead of us the clock of an issuer may be
pub(crate) const SKEW_MS: i64 = 5_000;
/// Bytes of a token at most
const BYTES_MAX: usize = 4096;
/// Tokens whose signature was checked already, at most
const CACHE_MAX: usize = 100_000;

/// What a token says; the claims of RFC 9068 and the task
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: BTreeSet<String>,
    sub: String,
    client_id: String,
    jti: String,
    iat: i64,
    exp: i64,
    run: RunId,
    /// What its holder has to hold besides (RFC 7800, 3)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
    #[serde(rename = "https://portreeve.dev/claims/task")]
    task: TaskClaim,
}

/// RFC 9449, 6.1; RFC 8705, 3.1
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Confirmation {
    #[serde(rename = "jkt")]
    Dpop(Thumbprint),
    #[serde(rename = "x5t#S256")]
    Certificate(Thumbprint),
}

impl Confirmation {
    fn of(binding: Binding) -> Self {
        match binding {
            Binding::Dpop(key) => Self::Dpop(Thumbprint::from(key)),
            Binding::Certificate(digest) => Self::Certificate(Thumbprint::from(digest)),
        }
    }

    fn binding(self) -> Binding {
        match self {
            Self::Dpop(key) => Binding::Dpop(key.hash()),
            Self::Certificate(digest) => Binding::Certificate(digest.hash()),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct TaskClaim {
    id: TaskId,
    purpose: Name,
}

/// What a token is minted for
#[derive(Clone, Debug)]
pub struct Subject {
    /// The run that it names
    pub run: RunId,
    /// The task of that run
    pub task: TaskId,
    /// Its purpose
    pub purpose: Name,
    /// The agent
    pub agent: Name,
    /// On whose behalf
    pub user: Option<Name>,
    /// The endpoints that it is good for
    pub audience: BTreeSet<String>,
    /// What its holder has to hold besides
    pub binding: Option<Binding>,
    /// When what it was given for is over, if that is known
    pub until: Option<Millis>,
}

/// A minted token and when it ends
#[derive(Clone, Debug)]
pub struct Token {
    /// The token itself
    pub text: String,
    /// When it is over
    pub expires: Millis,
    /// Seconds from when it was minted until then
    pub lasts_s: i64,
    /// What it is bound to
    pub binding: Option<Binding>,
}

/// What a good token says
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Good {
    /// The run that it names
    pub run: RunId,
    /// When it is over
    pub until: Millis,
    /// What its holder has to show besides
    pub binding: Option<Binding>,
}

/// Why a token is not good; every one of them is answered with 401
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It cannot be read as a token
    #[error("the token is malformed")]
    Malformed,
    /// It is of another type or signed with another algorithm
    #[error("the token is of another type or algorithm")]
    Kind,
    /// The signature does not fit
    #[error("the token's signature is not ours")]
    Signature,
    /// Somebody else issued it
    #[error("the token was issued by somebody else")]
    Issuer,
    /// It is meant for another endpoint
    #[error("the token is not meant for this endpoint")]
    Audience,
    /// Its holder does not show the key that it is bound to
    #[error("the token is bound to a key or certificate that was not shown")]
    Binding,
    /// Its time is over, or has not come
    #[error("the token's time is over or has not come")]
    Time,
}

/// The header of a token (RFC 7515, 4.1)
#[derive(Serialize)]
struct Header<'a> {
    typ: &'static str,
    alg: &'static str,
    kid: &'a str,
}

/// Mints tokens, and checks those that come back
#[derive(Debug)]
pub struct Issuer {
    name: String,
    ring: Arc<Ring>,
    validation: Validation,
    // Held only for a look-up or an insertion, never across anything slow.
    checked: Mutex<HashMap<Hash, Checked>>,
}

#[derive(Clone, Debug)]
struct Checked {
    key: Arc<str>,
    run: RunId,
    binding: Option<Binding>,
    audience: BTreeSet<String>,
    from: Millis,
    until: Millis,
}

impl Issuer {
    /// An issuer of this name, with these keys
    #[must_use]
    pub fn new(name: String, ring: Arc<Ring>) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&name]);
        validation.set_required_spec_claims(&["iss", "aud", "exp"]);
        // Audience and time are checked on every request, also for tokens from the cache.
        validation.validate_aud = false;
        validation.validate_exp = false;
        Self { name, ring, validation, checked: Mutex::default() }
    }

    /// A token for `subject`; `None` if it could not be signed
    #[must_use]
    pub fn mint(&self, subject: &Subject, jti: String, now: Millis) -> Option<Token> {
        let expires = subject.until.unwrap_or(Millis(i64::MAX)).min(now.plus(LIFETIME_MS));
        let agent = subject.agent.to_string();
        let claims = Claims {
            iss: self.name.clone(),
            aud: subject.audience.clone(),
            sub: subject.user.as_ref().map_or_else(|| agent.clone(), |user| format!("user:{user}")),
            client_id: agent,
            jti,
            iat: now.0.div_euclid(1000),
            exp: expires.0.div_euclid(1000),
            run: subject.run,
            cnf: subject.binding.map(Confirmation::of),
            task: TaskClaim { id: subject.task, purpose: subject.purpose.clone() },
        };
        let keys = self.ring.keys();
        let header = Header { typ: TYPE, alg: "EdDSA", kid: keys.name() };
        let part = |json: serde_json::Result<Vec<u8>>| json.ok().map(|json| base64url::encode(&json));
        let mut text = format!("{}.{}", part(serde_json::to_vec(&header))?, part(serde_json::to_vec(&claims))?);
        let signature = keys.current().sign(text.as_bytes()).ok()?;
        text.push('.');
        text.push_str(&base64url::encode(&signature));
        let expires = Millis(claims.exp.saturating_mul(1000));
        Some(Token { text, expires, lasts_s: claims.exp - claims.iat, binding: subject.binding })
    }

    /// What a good token names
    ///
    /// # Errors
    /// [`Invalid`]: the token is not good for `audience` at `now`.
    pub fn check(&self, token: &str, audience: &str, now: Millis) -> Result<Good, Invalid> {
        if token.len() > BYTES_MAX {
            return Err(Invalid::Malformed);
        }
        let hash = Hash::of(token.as_bytes());
        let known = self.checked.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned();
        let checked = match known {
            Some(checked) => checked,
            None => self.verify(token, hash, now)?,
        };
        // A key may have stopped to count since the token came first.
        if self.ring.keys().fitting(&checked.key, now).is_none() {
            return Err(Invalid::Signature);
        }
        if now < checked.from || checked.until <= now {
            return Err(Invalid::Time);
        }
        if !checked.audience.contains(audience) {
            return Err(Invalid::Audience);
        }
        Ok(Good { run: checked.run, until: checked.until, binding: checked.binding })
    }

    fn verify(&self, token: &str, hash: Hash, now: Millis) -> Result<Checked, Invalid> {
        let wrong = |error: jsonwebtoken::errors::Error| match error.kind() {
            ErrorKind::InvalidSignature => Invalid::Signature,
            ErrorKind::InvalidIssuer => Invalid::Issuer,
            ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => Invalid::Kind,
            _ => Invalid::Malformed,
        };
        let header = jsonwebtoken::decode_header(token).map_err(wrong)?;
        // The header only says which of our keys to look at, never what with.
        let named = header.kid.filter(|_| header.alg == Algorithm::EdDSA).ok_or(Invalid::Kind)?;
        let key = self.ring.keys().fitting(&named, now).ok_or(Invalid::Signature)?;
        let decoding = DecodingKey::from_ed_der(key.as_bytes());
        let data = jsonwebtoken::decode::<Claims>(token, &decoding, &self.validation).map_err(wrong)?;
        if data.header.typ.as_deref() != Some(TYPE) {
            return Err(Invalid::Kind);
        }
        let claims = data.claims;
        let checked = Checked {
            key: named.into(),
            run: claims.run,
            binding: claims.cnf.map(Confirmation::binding),
            audience: claims.aud,
            from: Millis(claims.iat.saturating_mul(1000).saturating_sub(SKEW_MS)),
            until: Millis(claims.exp.saturating_mul(1000)),
        };
        // A token that we did not mint so long would be one that we did not mint.
        if checked.until.since(checked.from) > LIFETIME_MS + SKEW_MS + 1000 {
            return Err(Invalid::Time);
        }
        let mut cache = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHE_MAX {
            cache.retain(|_, checked| now < checked.until);
        }
        if cache.len() < CACHE_MAX && now < checked.until {
            cache.insert(hash, checked.clone());
        }
        Ok(checked)
    }
}

/// The bearer token of an `Authorization` header (RFC 6750, 2.1); the scheme's case does not matter
#[must_use]
pub fn bearer(header: &str) -> Option<&str> {
    presented(header, "bearer")
}

/// The token of an `Authorization` header that comes with a proof of possession (RFC 9449, 7.1)
#[must_use]
pub fn possessed(header: &str) -> Option<&str> {
    presented(header, "dpop")
}

fn presented<'a>(header: &'a str, wanted: &str) -> Option<&'a str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim_matches(' ');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    (scheme.eq_ignore_ascii_case(wanted) && !token.is_empty() && token.bytes().all(plain)).then_some(token)
}

#[cfg(test)]
mod tests;
