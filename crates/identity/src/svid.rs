//! SPIFFE: what a workload's documents show, given the bundles of the trust domains that are trusted.
//!
//! A document counts only by the bundle of exactly the trust domain that its SPIFFE ID names. Bundles come from the
//! Workload API or from the addresses in issuer files, never from whoever shows a document.

mod bundle;
mod der;
mod id;
mod jwt;
mod x509;

pub use bundle::{Bundle, Bundles, NotABundle};
pub use id::{NotAnId, SpiffeId, TrustDomain};
pub use jwt::{claimed, jwt};
pub use x509::{lives, named, server, until, x509};

use crate::jose::{Claims, Invalid as NotGood, Thumbprint};
use portreeve_core::time::Millis;

/// What a document shows
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Svid {
    /// Who it is
    pub id: SpiffeId,
    /// The key that vouches for it (JWT), or the document itself (X.509, as `x5t#S256`)
    pub thumbprint: Thumbprint,
    /// From when on it is nothing, or one of the certificates shown with it
    pub until: Millis,
    /// What else a JWT-SVID says
    pub claims: Option<Claims>,
    /// The serial number of an X.509-SVID, in hexadecimal digits
    pub serial: Option<String>,
}

/// Declares the refusals, each with its stable word
macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $text:literal;)*) => {
        /// Why a document shows nothing; nothing of the document stands in it
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum Invalid {
            /// It is no good token
            #[error(transparent)]
            Token(#[from] NotGood),
            $($(#[$doc])* #[error($text)] $variant,)*
        }

        impl Invalid {
            /// The word that stands for it in records and answers
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    Self::Token(invalid) => invalid.word(),
                    $(Self::$variant => $word,)*
                }
            }

            /// All that are not about tokens, for tests and documentation
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
        }
    };
}

refusals! {
    /// The SPIFFE ID is none
    Id = "spiffe_id_form", "the document does not name a workload by a SPIFFE ID with a path";
    /// Another trust domain
    Domain = "trust_domain_unknown", "the document is of a trust domain that is not trusted here";
    /// No key or certificate of that kind in the bundle
    BundleEmpty = "bundle_empty", "the trust domain's bundle has nothing that could vouch for this kind of document";
    /// All of the bundle's certificates are over
    BundleExpired = "bundle_expired",
        "the certificates in the trust domain's bundle are over; it has to be fetched anew";
    /// No certificate
    ChainEmpty = "chain_empty", "there is no certificate";
    /// Too much
    ChainTooLong = "chain_too_long", "there are more than 8 certificates, or more than 64 KiB of them";
    /// A certificate cannot be read
    Certificate = "certificate_form", "a certificate is not one as RFC 5280 has it";
    /// No URI
    NoUri = "uri_missing", "the certificate names nobody by a URI (subject alternative name)";
    /// More than one URI
    ManyUris = "uri_many", "the certificate names more than one URI; an X.509-SVID has exactly one";
    /// A certificate authority
    IsAuthority = "leaf_is_ca", "the certificate is that of an authority, and those never authenticate";
    /// No key usage
    UsageMissing = "key_usage_missing", "the certificate does not say, as critical, what its key is for (key usage)";
    /// Another key usage
    Usage = "key_usage_wrong", "the certificate's key is not one for signatures only (key usage)";
    /// Another purpose
    Purpose = "purpose_wrong",
        "the certificate is not for the end of a connection that shows it, client or server (extended key usage)";
    /// Somebody else than who has to be there
    Other = "spiffe_id_other", "the certificate is another workload's than the one that has to be there";
    /// One of those in between is no authority, or another domain's
    Between = "intermediate_wrong",
        "a certificate in between is not that of an authority of the same trust domain (CA, keyCertSign, no path)";
    /// No way to a certificate of the bundle
    Path = "path_unknown", "no certificate of the trust domain's bundle vouches for it";
    /// A signature does not fit
    Signature = "chain_signature_wrong", "a signature in the chain is wrong, or by an algorithm that is not supported";
    /// Over
    Expired = "certificate_expired", "a certificate's time is over";
    /// Not yet
    NotYet = "certificate_not_yet", "a certificate's time has not come";
    /// Something else that RFC 5280 forbids
    Chain = "chain_wrong", "the chain of certificates is not one as RFC 5280 has it";
}

#[cfg(test)]
pub(crate) mod tests;
