//! Proof that whoever sends a request has a key (DPoP, RFC 9449).
//!
//! A proof is signed for one request by the key that it brings along, and counts once. It says nothing about who has
//! the key; that a token is bound to it ([`Request::bound_to`]) does.

mod url;

use crate::{
    base64url,
    jose::{ALGORITHMS, Brings, Claims, Invalid as NotGood, Signed, Thumbprint},
    once::{NotOnce, Once},
};
use portreeve_core::{hash::Hash, time::Millis};

/// How old a proof may be
pub const AGE_MAX_MS: i64 = 60_000;
/// How far ahead of ours the clock of its sender may be
pub const SKEW_MS: i64 = 5_000;

/// The request that a proof came with
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its method
    pub method: &'a str,
    /// Its address as the sender knows it; query and fragment do not matter
    pub url: &'a str,
    /// The access token beside the proof: at a resource always, at the token endpoint never
    pub token: Option<&'a str>,
    /// The key that the access token, or whatever else is shown, is bound to
    pub bound_to: Option<&'a Thumbprint>,
    /// The nonce that the proof has to repeat
    pub nonce: Option<&'a str>,
}

/// Why a proof is not good; all of them are `invalid_dpop_proof`, except [`Invalid::Nonce`], which is `use_dpop_nonce`
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is no good token
    #[error(transparent)]
    Token(#[from] NotGood),
    /// Another method
    #[error("the proof is for another method (htm)")]
    Method,
    /// Another address
    #[error("the proof is for another address (htu)")]
    Url,
    /// Too old
    #[error("the proof is older than a minute (iat); make one for each request")]
    Old,
    /// Another access token
    #[error("the proof is not for the access token beside it (ath)")]
    AccessToken,
    /// Another key
    #[error("the proof is by another key than the one that the token is bound to")]
    Key,
    /// No nonce, or another
    #[error("the proof has to repeat the nonce of the answer's DPoP-Nonce header")]
    Nonce,
    /// Used before
    #[error("the proof was used before (jti); make one for each request")]
    Again,
    /// There is no room to remember it
    #[error("too many proofs at once; try again in a minute")]
    Full,
}

impl Invalid {
    /// The word that stands for it in records and answers
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Token(invalid) => invalid.word(),
            Self::Method => "htm_wrong",
            Self::Url => "htu_wrong",
            Self::Old => "iat_old",
            Self::AccessToken => "ath_wrong",
            Self::Key => "not_the_bound_key",
            Self::Nonce => "nonce_needed",
            Self::Again => "jti_again",
            Self::Full => "too_many",
        }
    }
}

/// A proof that is good for its request, unless it was shown before
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    key: Thumbprint,
    jti: String,
    until: Millis,
}

impl Proof {
    /// The key that signed it
    #[must_use]
    pub fn key(&self) -> &Thumbprint {
        &self.key
    }

    /// Lets it count, if this is the first time
    ///
    /// # Errors
    /// [`Invalid`]
    pub fn take(&self, once: &Once, now: Millis) -> Result<(), Invalid> {
        once.take(&["dpop", &self.key.to_string(), &self.jti], self.until, now).map_err(|error| match error {
            NotOnce::Again => Invalid::Again,
            NotOnce::Over => Invalid::Old,
            NotOnce::Full => Invalid::Full,
        })
    }
}

/// The key that signed the proof, if it is one for exactly this request, shown for the first time
///
/// Anybody can make a key, and with it as many proofs as there is room to remember. Where the proof alone is all that
/// was looked at so far, as at the token endpoint, [`read`] it, see who it is, and only then let it count.
///
/// # Errors
/// [`Invalid`]
pub fn verify(proof: &str, request: &Request<'_>, once: &Once, now: Millis) -> Result<Thumbprint, Invalid> {
    let proof = read(proof, request, now)?;
    proof.take(once, now)?;
    Ok(proof.key)
}

/// The proof, if it is one for exactly this request
///
/// # Errors
/// [`Invalid`]
pub fn read(proof: &str, request: &Request<'_>, now: Millis) -> Result<Proof, Invalid> {
    let signed = Signed::read(proof, Brings::Key)?;
    signed.is_of(&["dpop+jwt"])?;
    let claims = signed.signed_by_brought(ALGORITHMS)?;
    let text = |name: &str| claims.text(name);
    if text("htm") != Some(request.method) {
        return Err(Invalid::Method);
    }
    if !text("htu").is_some_and(|said| url::same(said, request.url)) {
        return Err(Invalid::Url);
    }
    let until = fresh(&claims, now)?;
    if request.token.is_some_and(|token| text("ath") != Some(&base64url::encode(&Hash::of(token.as_bytes()).0))) {
        return Err(Invalid::AccessToken);
    }
    if request.bound_to.is_some_and(|key| key != claims.key()) {
        return Err(Invalid::Key);
    }
    if request.nonce.is_some_and(|nonce| text("nonce") != Some(nonce)) {
        return Err(Invalid::Nonce);
    }
    Ok(Proof { key: *claims.key(), jti: claims.jti()?.to_owned(), until })
}

/// Until when the proof is good
fn fresh(claims: &Claims, now: Millis) -> Result<Millis, Invalid> {
    let issued = claims.iat()?.ok_or(NotGood::TimeForm)?;
    if issued > now.plus(SKEW_MS) || claims.nbf()?.is_some_and(|from| from > now.plus(SKEW_MS)) {
        return Err(NotGood::Future.into());
    }
    if claims.exp()?.is_some_and(|expires| expires <= now) {
        return Err(NotGood::Expired.into());
    }
    let until = issued.plus(AGE_MAX_MS);
    if until < now { Err(Invalid::Old) } else { Ok(until) }
}

#[cfg(test)]
pub(crate) mod tests;
