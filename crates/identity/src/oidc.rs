//! What an issuer says of somebody who signs in there: an ID token, read strictly (OpenID Connect Core 1.0).
//!
//! [`verify`] says whose token it is and which groups it names. [`begun`] is what is under way in browsers, each of which
//! counts once. Nothing of a token stands in an error.

pub mod begun;
pub mod client;

use crate::{
    base64url,
    jose::{self, Algorithm, Audience, Claims, Invalid as NotGood, Keys, Want},
    workload::find,
};
use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use portreeve_core::{time::Millis, value::Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What `typ` of an ID token may be; access tokens and assertions are none
const TYPES: &[&str] = &["JWT", ""];
/// How long an ID token may live
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long ago it may have been issued: it comes at once, from the issuer itself
const AGE_MAX_MS: i64 = 5 * 60 * 1_000;
/// How far the clocks of the issuer and of ours may be apart
const SKEW_MS: i64 = 30 * 1_000;
/// Groups that one token may name
const GROUPS_MAX: usize = 1_000;

/// What an ID token has to be
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What it may be signed with
    pub algorithms: &'a [Algorithm],
    /// Who issues it
    pub issuer: &'a str,
    /// Who we are there
    pub client_id: &'a str,
    /// What was sent along when somebody was asked to sign in; nothing: nothing was
    pub nonce: Option<&'a str>,
    /// The access token that came with it
    pub access_token: Option<&'a str>,
    /// How long ago they may have shown who they are, in milliseconds
    pub max_age_ms: Option<i64>,
    /// How they have to have shown it
    pub acr: Option<&'a str>,
    /// Where its groups are, by path
    pub groups: &'a str,
    /// What else is asked for, by path
    pub claims: &'a [&'a str],
}

/// Who signed in
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Somebody {
    /// Their `sub`
    pub subject: String,
    /// The groups that the issuer says they are in, as it calls them
    pub groups: BTreeSet<String>,
    /// What else it says, of what was asked for, by path; what can be read in two ways it does not say
    pub claims: BTreeMap<String, Value>,
}

/// Why an ID token says nothing of anybody
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is no good token
    #[error(transparent)]
    Token(#[from] NotGood),
    /// It is meant for several and does not say who asked for it
    #[error("the ID token is meant for several and does not say who asked for it (azp)")]
    PartyMissing,
    /// Somebody else asked for it
    #[error("the ID token was asked for by somebody else (azp)")]
    PartyWrong,
    /// It does not repeat what was sent
    #[error("the ID token does not repeat what was sent along (nonce)")]
    NonceMissing,
    /// It repeats something else
    #[error("the ID token is not the answer to this sign-in (nonce)")]
    NonceWrong,
    /// Another access token came with it
    #[error("the ID token came with another access token (at_hash)")]
    AccessToken,
    /// It does not say when it was issued
    #[error("the ID token does not say when it was issued (iat)")]
    IssuedMissing,
    /// It was issued too long ago
    #[error("the ID token was issued too long ago (iat); compare the clocks")]
    Old,
    /// It does not say when they showed who they are
    #[error("the ID token does not say when they last showed who they are (auth_time)")]
    AuthMissing,
    /// They showed it too long ago
    #[error("they showed too long ago who they are (auth_time); sign in there anew")]
    AuthOld,
    /// They showed it in another way
    #[error("they did not sign in as the policy asks (acr)")]
    Acr,
    /// What should be groups is something else
    #[error("the claim that should list groups is no list of at most {GROUPS_MAX} texts")]
    Groups,
}

impl Invalid {
    /// The word that stands for it in answers
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Token(invalid) => invalid.word(),
            Self::PartyMissing => "azp_missing",
            Self::PartyWrong => "azp_wrong",
            Self::NonceMissing => "nonce_missing",
            Self::NonceWrong => "nonce_wrong",
            Self::AccessToken => "at_hash_wrong",
            Self::IssuedMissing => "iat_missing",
            Self::Old => "iat_old",
            Self::AuthMissing => "auth_time_missing",
            Self::AuthOld => "auth_time_old",
            Self::Acr => "acr_wrong",
            Self::Groups => "groups_form",
        }
    }
}

/// Who signed in, by a token that came from the issuer itself
///
/// # Errors
/// [`Invalid`]. [`NotGood::KeyUnknown`] may pass once the issuer's keys are fetched anew.
pub fn verify(token: &str, keys: &Keys, wanted: &Wanted<'_>, now: Millis) -> Result<Somebody, Invalid> {
    let want = Want {
        algorithms: wanted.algorithms,
        types: TYPES,
        issuer: Some(wanted.issuer),
        audience: Audience::Among(wanted.client_id),
        lifetime_max: LIFETIME_MAX,
        skew: Duration::from_millis(SKEW_MS.unsigned_abs()),
    };
    let claims = jose::verify(token, keys, &want, now)?;
    party(&claims, wanted.client_id)?;
    match (claims.get("nonce"), wanted.nonce) {
        (None, None) => {}
        (None, Some(_)) => return Err(Invalid::NonceMissing),
        // One that nobody sent belongs to another sign-in.
        (Some(said), sent) if said.as_str() == sent => {}
        (Some(_), _) => return Err(Invalid::NonceWrong),
    }
    access_token(token, &claims, wanted.access_token)?;
    times(&claims, wanted.max_age_ms, now)?;
    if wanted.acr.is_some_and(|acr| claims.text("acr") != Some(acr)) {
        return Err(Invalid::Acr);
    }
    let subject = claims.sub().ok_or(NotGood::SubjectMissing)?.to_owned();
    let said = wanted.claims.iter().filter_map(|path| {
        let value = find(claims.members(), path).ok().flatten()?;
        Some(((*path).to_owned(), value.clone()))
    });
    Ok(Somebody { subject, groups: groups(&claims, wanted.groups)?, claims: said.collect() })
}

/// OpenID Connect Core 1.0, 3.1.3.7 (3 to 5): who is meant beside us has to say who asked
fn party(claims: &Claims, client_id: &str) -> Result<(), Invalid> {
    match claims.get("azp") {
        Some(party) if party.as_str() == Some(client_id) => Ok(()),
        Some(_) => Err(Invalid::PartyWrong),
        None if claims.aud().len() == 1 => Ok(()),
        None => Err(Invalid::PartyMissing),
    }
}

/// OpenID Connect Core 1.0, 3.1.3.6: the left half of the digest that goes with the token's algorithm
fn access_token(token: &str, claims: &Claims, access: Option<&str>) -> Result<(), Invalid> {
    let Some(said) = claims.get("at_hash") else { return Ok(()) };
    let access = access.ok_or(Invalid::AccessToken)?;
    let kind = match jsonwebtoken::decode_header(token).map_err(|_| NotGood::HeaderForm)?.alg {
        Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 => &SHA256,
        Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => &SHA384,
        // Ed25519 has SHA-512 in it.
        _ => &SHA512,
    };
    let whole = digest(kind, access.as_bytes());
    let half = whole.as_ref().get(..whole.as_ref().len() / 2).unwrap_or_default();
    if said.as_str() == Some(base64url::encode(half).as_str()) { Ok(()) } else { Err(Invalid::AccessToken) }
}

fn times(claims: &Claims, max_age_ms: Option<i64>, now: Millis) -> Result<(), Invalid> {
    let issued = claims.iat()?.ok_or(Invalid::IssuedMissing)?;
    if now.since(issued) > AGE_MAX_MS {
        return Err(Invalid::Old);
    }
    let shown = claims.auth_time()?;
    if shown.is_some_and(|shown| shown > now.plus(SKEW_MS)) {
        return Err(NotGood::Future.into());
    }
    match (shown, max_age_ms) {
        (_, None) => Ok(()),
        (None, Some(_)) => Err(Invalid::AuthMissing),
        (Some(shown), Some(most)) if now.since(shown) > most.saturating_add(SKEW_MS) => Err(Invalid::AuthOld),
        (Some(_), Some(_)) => Ok(()),
    }
}

/// A claim that is not there names no groups; one that can be read in two ways is none
fn groups(claims: &Claims, path: &str) -> Result<BTreeSet<String>, Invalid> {
    match find(claims.members(), path).map_err(|_| Invalid::Groups)? {
        None | Some(Value::Null) => Ok(BTreeSet::new()),
        Some(Value::String(one)) => Ok(BTreeSet::from([one.clone()])),
        Some(Value::Array(many)) if many.len() <= GROUPS_MAX => {
            let many: Option<BTreeSet<String>> = many.iter().map(|one| one.as_str().map(str::to_owned)).collect();
            many.ok_or(Invalid::Groups)
        }
        Some(_) => Err(Invalid::Groups),
    }
}

#[cfg(test)]
pub(crate) mod tests;
