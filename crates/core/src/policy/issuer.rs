//! Who vouches for identities: OpenID Connect issuers and SPIFFE trust domains.

use super::IssuerKind;

/// Who vouches for identities
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// For whom, and how that is checked
    pub vouches: Vouches,
    /// Whether its addresses may be on this machine or in a private network
    pub private: bool,
}

/// For whom somebody vouches, and how that is checked
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vouches {
    /// An issuer of signed tokens (OpenID Connect Core 1.0)
    Oidc {
        /// The `iss` of its tokens, exactly
        issuer: String,
        /// What its claims mean
        kind: IssuerKind,
        /// What the `aud` of its tokens has to be; nothing: the address of this Portreeve
        audience: Option<String>,
        /// Where its keys are; nothing: where its discovery document says
        keys: Option<String>,
        /// The algorithms that count, as RFC 7518 names them; none: those that are good in general
        algorithms: Vec<String>,
    },
    /// A trust domain (SPIFFE Trust Domain and Bundle 1.0)
    TrustDomain {
        /// Its name
        name: String,
        /// Where its bundle is served (SPIFFE Federation, `https_web`)
        bundle: String,
    },
}
