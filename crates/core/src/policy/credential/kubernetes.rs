//! Kubernetes: tokens of service accounts, each bound to a Secret that stands for the lease.

use super::{Revocation, Says, Template};
use crate::{names::Name, policy::Class};
use std::collections::{BTreeMap, BTreeSet};

/// The API server of a cluster
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// Its address
    pub url: String,
    /// A file with the certificates of who vouches for it, if that is not who this machine believes
    pub ca: Option<String>,
    /// The namespace of the service accounts, in which the Secrets of leases are made
    pub namespace: String,
    /// How Portreeve signs in
    pub sign_in: ClusterSignIn,
    /// For whom tokens are; none: for the API server itself
    pub audiences: Vec<String>,
    /// The service account of each class
    pub accounts: BTreeMap<Class, Template>,
}

/// How Portreeve signs in to a cluster
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterSignIn {
    /// With a token that lies in a file, and is read anew each time
    File(String),
    /// With a token that is a secret of the vault
    Secret(Name),
}

/// A token lives for so long at least (TokenRequest, `expirationSeconds`)
const SHORTEST_MS: i64 = 600_000;
/// An API server may take a token for so long after it was shown it
const REMEMBERED_MS: i64 = 10_000;

impl Says for Kubernetes {
    fn kind(&self) -> &'static str {
        "kubernetes"
    }

    fn classes(&self) -> BTreeSet<Class> {
        self.accounts.keys().copied().collect()
    }

    fn revocation(&self) -> Revocation {
        Revocation::Eventual { within_ms: REMEMBERED_MS }
    }

    fn fields(&self) -> Option<&'static [&'static str]> {
        Some(&["token", "server", "namespace", "ca"])
    }

    fn secrets(&self) -> Vec<&Name> {
        match &self.sign_in {
            ClusterSignIn::File(_) => Vec::new(),
            ClusterSignIn::Secret(secret) => vec![secret],
        }
    }

    fn shortest_ms(&self) -> i64 {
        SHORTEST_MS
    }
}
