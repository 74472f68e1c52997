//! JSON Web Tokens of others: one strict reading, and every check that says whether one is good.
//!
//! Start at [`verify`]. What readers of JWTs disagree on is refused before anything is believed (RFC 8725 and its
//! successor): the caller says which algorithms, types, issuer and audience are wanted, the token only which of them it
//! is. A token never says where its key is; keys come from [`Keys`] that somebody trusted fetched.
//!
//! SAFETY(security): tokens and key sets are an attacker's until they are verified. Nothing of them stands in an error.

mod claims;
mod compact;
mod invalid;
mod jwk;
pub(crate) mod keys;
mod thumbprint;

pub use claims::Claims;
pub use invalid::Invalid;
pub use jsonwebtoken::Algorithm;
pub use jwk::Jwk;
pub use keys::{Keys, NotKeys};
pub use thumbprint::Thumbprint;

pub(crate) use compact::{Brings, Signed};

use portreeve_core::time::Millis;
use std::time::Duration;

/// What an issuer may sign with unless its file says otherwise: nothing that a public key could forge
pub const ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Bytes of a subject at most (OpenID Connect Core 1.0, 2)
const SUBJECT_MAX: usize = 255;

/// What a token has to be
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// What it may be signed with
    pub algorithms: &'a [Algorithm],
    /// What `typ` may be, in any letter case, with and without `application/`; an empty name: it may be absent
    pub types: &'a [&'a str],
    /// What `iss` has to be, to the byte; nothing: it is not looked at
    pub issuer: Option<&'a str>,
    /// Whom it has to be meant for
    pub audience: Audience<'a>,
    /// How long it may live, from `iat` (from now if there is none) to `exp`
    pub lifetime_max: Duration,
    /// How far ahead of ours the issuer's clock may be; it never makes a token live longer
    pub skew: Duration,
}

/// Whom a token has to be meant for, to the byte
#[derive(Clone, Copy, Debug)]
pub enum Audience<'a> {
    /// `aud` is this string, and no array
    Exactly(&'a str),
    /// `aud` is this string, or an array of only it
    Only(&'a str),
    /// `aud` is this string, or an array that contains it
    Among(&'a str),
}

/// What a good token says
///
/// # Errors
/// [`Invalid`]: the token is not what is wanted. [`Invalid::KeyUnknown`] may pass once its issuer's keys are fetched
/// anew.
pub fn verify(token: &str, keys: &Keys, want: &Want<'_>, now: Millis) -> Result<Claims, Invalid> {
    let signed = Signed::read(token, Brings::Nothing)?;
    signed.verify(keys, want, SUBJECT_MAX, now)
}

/// What the token says about its issuer, believed by nobody: for choosing whose keys to verify it with
///
/// # Errors
/// [`Invalid`]: the token cannot be good for anybody.
pub fn claimed_issuer(token: &str) -> Result<String, Invalid> {
    let claims = Signed::read(token, Brings::Nothing)?.unverified()?;
    claims.get("iss").and_then(|iss| iss.as_str()).map(str::to_owned).ok_or(Invalid::IssuerMissing)
}

/// The algorithm of this name, as `alg` and policy files write it
///
/// # Errors
/// [`Invalid`]: it is none that signs, or none that is supported here.
pub fn algorithm(name: &str) -> Result<Algorithm, Invalid> {
    Ok(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        // The second name is the fully specified one of RFC 9864.
        "EdDSA" | "Ed25519" => Algorithm::EdDSA,
        "HS256" | "HS384" | "HS512" => return Err(Invalid::AlgorithmSymmetric),
        _ if name.eq_ignore_ascii_case("none") => return Err(Invalid::AlgorithmNone),
        _ => return Err(Invalid::AlgorithmUnsupported),
    })
}

#[cfg(test)]
pub(crate) mod tests;
