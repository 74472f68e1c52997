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
        /// Where its bundle comes from
        bundle: BundleSource,
    },
}

/// Where the bundle of a trust domain comes from
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleSource {
    /// Its bundle endpoint, which has a certificate as websites have it (SPIFFE Federation, 5.2.1, `https_web`)
    Web(String),
    /// Its bundle endpoint, which shows an X.509-SVID (SPIFFE Federation, 5.2.2, `https_spiffe`)
    Spiffe {
        /// Where it is
        url: String,
        /// Whose SVID it has to show
        id: String,
        /// The bundle by which that is checked the first time, if no other trust domain's is: a document as endpoints serve it
        bootstrap: Option<String>,
    },
    /// The Workload API of the machine on which Portreeve runs
    WorkloadApi,
}
