//! An agent that has a key shows it by an assertion: `private_key_jwt` (RFC 7523 and its successor).
//!
//! It is signed by the agent's key, says its name as `iss` and `sub`, is meant for our issuer and nobody else, lives
//! for five minutes at most and counts once. An audience that is anything but our issuer is refused: an assertion that
//! another server could have asked for might be one that it passes on.

use crate::{
    jose::{ALGORITHMS, Audience, Claims, Invalid as NotGood, Jwk, Keys, Want, verify as verify_token},
    once::{NotOnce, Once},
};
use portreeve_core::time::Millis;
use std::time::Duration;

/// What `typ` may be; tokens of other kinds are never assertions
const TYPES: &[&str] = &["client-authentication+jwt", "JWT", ""];
/// How long an assertion may live
pub const LIFETIME_MAX: Duration = Duration::from_secs(5 * 60);
/// How far ahead of ours the agent's clock may be
const SKEW: Duration = Duration::from_secs(30);

/// Why an assertion is not good; every one of them is `invalid_client`
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is no good token
    #[error(transparent)]
    Token(#[from] NotGood),
    /// It is about somebody else than whom it is by
    #[error("the assertion's sub is not its iss, the agent's name")]
    Subject,
    /// It was used before
    #[error("the assertion was used before (jti); sign a new one for each request")]
    Again,
    /// There is no room to remember it
    #[error("too many assertions at once; try again in a minute")]
    Full,
}

impl Invalid {
    /// The word that stands for it in records and answers
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Token(invalid) => invalid.word(),
            Self::Subject => "sub_not_iss",
            Self::Again => "jti_again",
            Self::Full => "too_many",
        }
    }
}

/// What the assertion says, if the agent of this name, which has these keys, signed it for `issuer`, which is us
///
/// Whoever calls this takes the name from the assertion first ([`claimed_agent`]) and looks up the keys by it.
///
/// # Errors
/// [`Invalid`]
pub fn verify(
    assertion: &str,
    agent: &str,
    keys: impl IntoIterator<Item = Jwk>,
    issuer: &str,
    once: &Once,
    now: Millis,
) -> Result<Claims, Invalid> {
    let want = Want {
        algorithms: ALGORITHMS,
        types: TYPES,
        issuer: Some(agent),
        audience: Audience::Only(issuer),
        lifetime_max: LIFETIME_MAX,
        skew: SKEW,
    };
    let claims = verify_token(assertion, &Keys::of(keys), &want, now)?;
    if claims.sub() != Some(agent) {
        return Err(Invalid::Subject);
    }
    let jti = claims.jti()?;
    let until = claims.exp()?.ok_or(NotGood::ExpiryMissing)?;
    once.take(&["assertion", agent, jti], until, now).map_err(|error| match error {
        NotOnce::Again => Invalid::Again,
        NotOnce::Over => NotGood::Expired.into(),
        NotOnce::Full => Invalid::Full,
    })?;
    Ok(claims)
}

/// The agent that the assertion says it is of, believed by nobody: for looking up its keys
///
/// # Errors
/// [`Invalid`]
pub fn claimed_agent(assertion: &str) -> Result<String, Invalid> {
    Ok(crate::jose::claimed_issuer(assertion)?)
}

#[cfg(test)]
pub(crate) mod tests;
