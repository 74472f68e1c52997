//! X.509-SVIDs.

use super::{
    Bundles, Invalid, SpiffeId, Svid,
    der::{self, Facts},
};
use crate::jose::Thumbprint;
use portreeve_core::time::Millis;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use std::time::Duration;
use webpki::{EndEntityCert, Error, KeyUsage, aws_lc_rs as algorithms};

/// Certificates that somebody may show at most
const CHAIN_MAX: usize = 8;
/// Bytes of them at most
const BYTES_MAX: usize = 64 << 10;

/// What the signatures of a chain may be made with; nothing with SHA-1, and no P-521
const SIGNATURES: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// The workload that a certificate says it is of; believed by nobody, for choosing a bundle
///
/// # Errors
/// [`Invalid`]: it is none that a workload could have.
pub fn named<C: AsRef<[u8]>>(chain: &[C]) -> Result<SpiffeId, Invalid> {
    let own = chain.first().ok_or(Invalid::ChainEmpty)?;
    leaf(&der::read(own.as_ref()).ok_or(Invalid::Certificate)?)
}

/// Until when a certificate is good, this moment included; nothing if it is none
#[must_use]
pub fn until(der: &[u8]) -> Option<Millis> {
    der::read(der).map(|facts| facts.until)
}

/// From when on and until when a certificate is good, both moments included; nothing if it is none
#[must_use]
pub fn lives(der: &[u8]) -> Option<(Millis, Millis)> {
    der::read(der).map(|facts| (facts.from, facts.until))
}

/// What an X.509-SVID shows: `chain` is the certificates in DER that somebody showed, their own first
///
/// That they have the key of it, too, is for the handshake to show.
///
/// # Errors
/// [`Invalid`]
pub fn x509<C: AsRef<[u8]>>(chain: &[C], bundles: &Bundles, now: Millis) -> Result<Svid, Invalid> {
    checked(chain, None, bundles, now)
}

/// The same of a server, which has to be exactly this workload
///
/// # Errors
/// [`Invalid`]
pub fn server<C: AsRef<[u8]>>(chain: &[C], wanted: &SpiffeId, bundles: &Bundles, now: Millis) -> Result<Svid, Invalid> {
    checked(chain, Some(wanted), bundles, now)
}

/// What is shown by a server of which it is known who it has to be, or else by a client
fn checked<C: AsRef<[u8]>>(
    chain: &[C],
    wanted: Option<&SpiffeId>,
    bundles: &Bundles,
    now: Millis,
) -> Result<Svid, Invalid> {
    let bytes: usize = chain.iter().map(|one| one.as_ref().len()).sum();
    if chain.len() > CHAIN_MAX || bytes > BYTES_MAX {
        return Err(Invalid::ChainTooLong);
    }
    let (own, between) = chain.split_first().ok_or(Invalid::ChainEmpty)?;
    let facts = der::read(own.as_ref()).ok_or(Invalid::Certificate)?;
    let id = leaf(&facts)?;
    if wanted.is_some_and(|wanted| *wanted != id) {
        return Err(Invalid::Other);
    }
    let usage = if wanted.is_some() { KeyUsage::server_auth() } else { KeyUsage::client_auth() };
    let bundle = bundles.get(id.domain()).ok_or(Invalid::Domain)?;
    if !bundle.has_roots() {
        return Err(Invalid::BundleEmpty);
    }
    let mut until = facts.until;
    for one in between {
        let facts = der::read(one.as_ref()).ok_or(Invalid::Certificate)?;
        authority(&facts, &id)?;
        until = until.min(facts.until);
    }
    let anchors = bundle.anchors(now);
    if anchors.is_empty() {
        return Err(Invalid::BundleExpired);
    }
    let seconds = u64::try_from(now.0.div_euclid(1000)).map_err(|_| Invalid::NotYet)?;
    let own = CertificateDer::from(own.as_ref());
    let between: Vec<_> = between.iter().map(|one| CertificateDer::from(one.as_ref())).collect();
    let certificate = EndEntityCert::try_from(&own).map_err(|error| refused(&error))?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    certificate
        .verify_for_usage(SIGNATURES, &anchors, &between, time, usage, None, None)
        .map_err(|error| refused(&error))?;
    Ok(Svid { id, thumbprint: Thumbprint::of_certificate(&own), until, claims: None, serial: Some(facts.serial) })
}

/// Who a certificate names, if it is one that may authenticate (5.2)
fn leaf(facts: &Facts) -> Result<SpiffeId, Invalid> {
    let uri = match facts.uris.as_slice() {
        [] => return Err(Invalid::NoUri),
        [uri] => uri,
        _ => return Err(Invalid::ManyUris),
    };
    let usage = facts.usage.filter(|usage| usage.critical).ok_or(Invalid::UsageMissing)?;
    if facts.authority {
        return Err(Invalid::IsAuthority);
    }
    if usage.certifies() || usage.revokes() || !usage.signs() {
        return Err(Invalid::Usage);
    }
    uri.parse().ok().filter(SpiffeId::is_workload).ok_or(Invalid::Id)
}

/// Refuses a certificate in between that is not an authority's, or names another trust domain or a workload (3.2)
fn authority(facts: &Facts, id: &SpiffeId) -> Result<(), Invalid> {
    let certifies = facts.authority && facts.usage.is_some_and(|usage| usage.critical && usage.certifies());
    let own = match facts.uris.as_slice() {
        [] => true,
        // The specification's own example has a slash behind the trust domain.
        [uri] => {
            let named = uri.strip_suffix('/').unwrap_or(uri).parse::<SpiffeId>();
            named.is_ok_and(|named| !named.is_workload() && named.domain() == id.domain())
        }
        _ => false,
    };
    if certifies && own { Ok(()) } else { Err(Invalid::Between) }
}

fn refused(error: &Error) -> Invalid {
    match error {
        Error::CertExpired { .. } => Invalid::Expired,
        Error::CertNotValidYet { .. } => Invalid::NotYet,
        Error::CaUsedAsEndEntity => Invalid::IsAuthority,
        Error::UnknownIssuer => Invalid::Path,
        Error::InvalidSignatureForPublicKey
        | Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Invalid::Signature,
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => Invalid::Purpose,
        Error::BadDer | Error::BadDerTime | Error::TrailingData(_) => Invalid::Certificate,
        _ => Invalid::Chain,
    }
}
