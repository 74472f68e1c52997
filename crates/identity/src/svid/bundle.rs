//! What vouches for the workloads of a trust domain.

use super::{TrustDomain, der};
use crate::jose::{Keys, NotKeys, keys};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_core::{time::Millis, value::Value};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use std::{collections::BTreeMap, time::Duration};
use webpki::anchor_from_trusted_cert;

/// Certificates of a bundle at most
const ROOTS_MAX: usize = 64;
/// Bytes of certificates in DER at most
const BYTES_MAX: usize = 256 << 10;

/// The bundle of one trust domain
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    domain: TrustDomain,
    roots: Vec<Root>,
    keys: Keys,
    sequence: Option<u64>,
    refresh: Option<Duration>,
}

/// A certificate that a trust domain vouches with
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) anchor: TrustAnchor<'static>,
    from: Millis,
    until: Millis,
}

/// Why a document is no bundle
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotABundle {
    /// It is no set of keys
    #[error(transparent)]
    Keys(#[from] NotKeys),
    /// A certificate in it cannot be read, or is none of an authority
    #[error("a certificate of the bundle is not that of an authority (CA, keyCertSign)")]
    Certificate,
    /// There are too many
    #[error("the bundle has more than 64 certificates, or more than 256 KiB of them")]
    TooMany,
}

impl Bundle {
    /// A bundle with nothing in it
    #[must_use]
    pub fn new(domain: TrustDomain) -> Self {
        Self { domain, roots: Vec::new(), keys: Keys::default(), sequence: None, refresh: None }
    }

    /// The bundle in a document as bundle endpoints serve it; of whom it is, does not stand there
    ///
    /// # Errors
    /// [`NotABundle`]
    pub fn read(domain: TrustDomain, bytes: &[u8]) -> Result<Self, NotABundle> {
        let document = keys::document(bytes)?;
        let all = keys::list(&document)?;
        let is_for = |key: &&Value, purpose: &str| key.get("use").and_then(Value::as_str) == Some(purpose);
        let mut bundle = Self::new(domain);
        for key in all.iter().filter(|key| is_for(key, "x509-svid")) {
            // Those without a certificate are ignored, and of several the first counts (X.509-SVID, 6.2).
            let Some(Value::Array(chain)) = key.get("x5c") else { continue };
            let Some(first) = chain.first() else { continue };
            let der = first.as_str().and_then(|text| STANDARD.decode(text).ok()).ok_or(NotABundle::Certificate)?;
            bundle.add_root(&der)?;
        }
        bundle.keys = Keys::of_members(all.iter().filter(|key| is_for(key, "jwt-svid")), &["jwt-svid"]);
        let number = |name: &str| match document.get(name) {
            Some(Value::Number(number)) => number.to_u64(),
            _ => None,
        };
        bundle.sequence = number("spiffe_sequence");
        bundle.refresh = number("spiffe_refresh_hint").map(Duration::from_secs);
        Ok(bundle)
    }

    /// With these certificates in place of those that it has: a concatenation in DER, as the Workload API sends it
    ///
    /// # Errors
    /// [`NotABundle`]
    pub fn with_roots(mut self, der: &[u8]) -> Result<Self, NotABundle> {
        if der.len() > BYTES_MAX {
            return Err(NotABundle::TooMany);
        }
        self.roots.clear();
        for root in der::split(der).ok_or(NotABundle::Certificate)? {
            self.add_root(root)?;
        }
        Ok(self)
    }

    /// With these keys in place of those that it has: a JWK Set, as the Workload API sends it
    ///
    /// # Errors
    /// [`NotABundle`]
    pub fn with_keys(mut self, set: &[u8]) -> Result<Self, NotABundle> {
        let document = keys::document(set)?;
        self.keys = Keys::of_members(keys::list(&document)?, &["jwt-svid"]);
        Ok(self)
    }

    fn add_root(&mut self, der: &[u8]) -> Result<(), NotABundle> {
        let facts = der::read(der).ok_or(NotABundle::Certificate)?;
        if !facts.authority || !facts.usage.is_some_and(der::Usage::certifies) {
            return Err(NotABundle::Certificate);
        }
        if self.roots.len() >= ROOTS_MAX {
            return Err(NotABundle::TooMany);
        }
        let certificate = CertificateDer::from(der);
        let anchor = anchor_from_trusted_cert(&certificate).map_err(|_| NotABundle::Certificate)?.to_owned();
        self.roots.push(Root { anchor, from: facts.from, until: facts.until });
        Ok(())
    }

    /// Whose it is
    #[must_use]
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// Its number, which grows with each change
    #[must_use]
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// How long it may be used before it is fetched anew
    #[must_use]
    pub fn refresh(&self) -> Option<Duration> {
        self.refresh
    }

    /// Until when the last of its certificates is good; nothing if it has none
    #[must_use]
    pub fn until(&self) -> Option<Millis> {
        self.roots.iter().map(|root| root.until).max()
    }

    /// The keys of JWT-SVIDs
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) fn has_roots(&self) -> bool {
        !self.roots.is_empty()
    }

    /// Those of its certificates that are good now
    pub(super) fn anchors(&self, now: Millis) -> Vec<TrustAnchor<'static>> {
        let good = |root: &&Root| root.from <= now && now <= root.until;
        self.roots.iter().filter(good).map(|root| root.anchor.clone()).collect()
    }
}

/// The bundles of all trust domains that are trusted
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundles(BTreeMap<TrustDomain, Bundle>);

impl Bundles {
    /// The bundle of this trust domain
    #[must_use]
    pub fn get(&self, domain: &TrustDomain) -> Option<&Bundle> {
        self.0.get(domain)
    }

    /// Trusts what this bundle vouches for, in its own trust domain, in place of what was trusted there
    pub fn put(&mut self, bundle: Bundle) {
        self.0.insert(bundle.domain.clone(), bundle);
    }

    /// Trusts nothing of this trust domain any more
    pub fn withdraw(&mut self, domain: &TrustDomain) {
        self.0.remove(domain);
    }

    /// All of them
    pub fn iter(&self) -> impl Iterator<Item = &Bundle> {
        self.0.values()
    }
}

impl FromIterator<Bundle> for Bundles {
    fn from_iter<I: IntoIterator<Item = Bundle>>(bundles: I) -> Self {
        Self(bundles.into_iter().map(|bundle| (bundle.domain.clone(), bundle)).collect())
    }
}
