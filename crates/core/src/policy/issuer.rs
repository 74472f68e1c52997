//! Who vouches for identities: OpenID Connect issuers and SPIFFE trust domains.

use super::IssuerKind;
use crate::{names::Name, value::Value};
use std::collections::BTreeMap;

/// Who vouches for identities
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// For whom, and how that is checked
    pub vouches: Vouches,
    /// Whether its addresses may be on this machine or in a private network
    pub private: bool,
    /// How people sign in there, if they do
    pub people: Option<People>,
}

impl Issuer {
    /// Whether it vouches for the workloads of this trust domain
    #[must_use]
    pub fn is_of(&self, domain: &str) -> bool {
        matches!(&self.vouches, Vouches::TrustDomain { name, .. } if name == domain)
    }
}

/// How people sign in at an issuer (OpenID Connect Core 1.0)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct People {
    /// What we are called there
    pub client_id: String,
    /// How we show there that we are this client
    pub client: Client,
    /// What is asked for beside `openid`
    pub scopes: Vec<String>,
    /// The claim of its ID tokens that lists groups
    pub groups: String,
    /// Which of our groups each value of it means
    pub group: BTreeMap<String, Name>,
    /// What else it says of somebody, by what we call it
    pub attributes: BTreeMap<String, Attribute>,
    /// How long the groups and attributes of one sign-in count, in milliseconds
    pub fresh_ms: i64,
    /// What `acr` of its ID tokens has to be
    pub acr: Option<String>,
    /// How long ago they may have shown there who they are, in milliseconds
    pub max_age_ms: Option<i64>,
}

/// Something that an issuer says of somebody
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The claim of its ID tokens, by path
    pub claim: String,
    /// What it has to be; anything else counts as not said
    pub kind: AttributeKind,
}

/// What an attribute is
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeKind {
    /// A text
    Text,
    /// A whole number
    Integer,
    /// A number, compared exactly
    Decimal,
    /// True or false
    Boolean,
}

impl AttributeKind {
    /// Whether a value is one
    #[must_use]
    pub fn is(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text, Value::String(text)) => text.len() <= ATTRIBUTE_BYTES_MAX,
            (Self::Integer, Value::Number(number)) => number.to_i64().is_some(),
            (Self::Decimal, Value::Number(_)) | (Self::Boolean, Value::Bool(_)) => true,
            _ => false,
        }
    }
}

/// Bytes of a text that an issuer says
const ATTRIBUTE_BYTES_MAX: usize = 1_024;

impl People {
    /// How long groups count where nothing is said, in milliseconds
    pub const FRESH_MS: i64 = 60 * 60 * 1_000;
    /// How long they may count at most, in milliseconds
    pub const FRESH_MS_MAX: i64 = 24 * 60 * 60 * 1_000;
}

/// How a client of an issuer shows that it is that client
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Client {
    /// Not at all: a public client, which PKCE protects
    Public,
    /// By a secret, and where that comes from: `env:NAME`, `credential:NAME`
    Secret(String),
    /// By a key of ours (`private_key_jwt`)
    Key,
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
        /// By what that is checked as long as nothing was fetched; nothing: it is of another trust domain, whose issuer's
        /// file says what vouches for it
        bootstrap: Option<Bootstrap>,
    },
    /// The Workload API of the machine on which Portreeve runs
    WorkloadApi,
    /// This Portreeve itself, whose Workload API issues the identities of the trust domain
    Own,
}

/// What a trust domain's bundle is, as long as its bundle endpoint has not said it
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// What the Workload API says of that trust domain
    WorkloadApi,
    /// This document, as endpoints serve it
    Document(String),
}
