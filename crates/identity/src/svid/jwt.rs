//! JWT-SVIDs.

use super::{Bundles, Invalid, SpiffeId, Svid};
use crate::jose::{Algorithm, Audience, Brings, Invalid as NotGood, Signed, Want};
use portreeve_core::time::Millis;
use std::time::Duration;

/// The specification's, as far as they are supported (2.1): no EdDSA
const ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
/// How long one may live: whoever has it, is the workload
const LIFETIME_MAX: Duration = Duration::from_secs(60 * 60);
/// How far ahead of ours the clock of the trust domain may be
const SKEW: Duration = Duration::from_secs(30);
/// Bytes of a SPIFFE ID at most
const SUBJECT_MAX: usize = 2_048;

/// The workload that a token says it is of, if its subject is a SPIFFE ID; believed by nobody, for choosing a bundle
///
/// # Errors
/// [`NotGood`]: it cannot be read as a token.
pub fn claimed(token: &str) -> Result<Option<SpiffeId>, NotGood> {
    let claims = Signed::read(token, Brings::Nothing)?.unverified()?;
    Ok(claims.get("sub").and_then(|sub| sub.as_str()?.parse().ok()))
}

/// What a JWT-SVID shows
///
/// # Errors
/// [`Invalid`]
pub fn jwt(token: &str, bundles: &Bundles, audience: Audience<'_>, now: Millis) -> Result<Svid, Invalid> {
    let signed = Signed::read(token, Brings::Nothing)?;
    signed.only(&["alg", "kid", "typ"])?;
    if !ALGORITHMS.contains(&signed.algorithm()) {
        return Err(NotGood::AlgorithmNotAllowed.into());
    }
    if !signed.is_named() {
        return Err(NotGood::KeyUnnamed.into());
    }
    // Only for choosing the bundle; what is signed says the same.
    let claimed = signed.unverified()?;
    let id: SpiffeId = match claimed.get("sub") {
        None => return Err(NotGood::SubjectMissing.into()),
        Some(sub) => sub.as_str().and_then(|sub| sub.parse().ok()).ok_or(Invalid::Id)?,
    };
    if !id.is_workload() {
        return Err(Invalid::Id);
    }
    let bundle = bundles.get(id.domain()).ok_or(Invalid::Domain)?;
    if bundle.keys().is_empty() {
        return Err(Invalid::BundleEmpty);
    }
    let want = Want {
        algorithms: ALGORITHMS,
        types: &["JWT", "JOSE", ""],
        issuer: None,
        audience,
        lifetime_max: LIFETIME_MAX,
        skew: SKEW,
    };
    let claims = signed.verify(bundle.keys(), &want, SUBJECT_MAX, now)?;
    let until = claims.exp()?.ok_or(NotGood::ExpiryMissing)?;
    Ok(Svid { id, thumbprint: *claims.key(), until, claims: Some(claims), serial: None })
}
