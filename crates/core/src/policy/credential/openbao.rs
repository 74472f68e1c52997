//! OpenBao, and HashiCorp Vault with the same API: a token for each lease, with which a secrets engine is asked.

use super::{Revocation, Says, Template};
use crate::{names::Name, policy::Class};
use std::collections::{BTreeMap, BTreeSet};

/// An OpenBao server
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenBao {
    /// Its address, without a path
    pub url: String,
    /// A file with the certificates of who vouches for it, if that is not who this machine believes
    pub ca: Option<String>,
    /// The namespace that everything is asked in
    pub namespace: Option<String>,
    /// How Portreeve signs in
    pub sign_in: BaoSignIn,
    /// The role of the token store under which tokens of leases are made
    pub token_role: String,
    /// What taking one back achieves, which is up to the secrets engine behind the paths
    pub revocation: Revocation,
    /// What is asked for each class
    pub asks: BTreeMap<Class, BaoAsk>,
}

/// How Portreeve signs in to OpenBao
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaoSignIn {
    /// With a token of a workload identity, which lies in a file and is read anew each time
    Jwt {
        /// Where the auth method is mounted
        mount: String,
        /// The role of the auth method
        role: String,
        /// The file
        file: String,
    },
    /// With a secret of the form `ROLE_ID:SECRET_ID`
    AppRole {
        /// Where the auth method is mounted
        mount: String,
        /// Which secret of the vault
        secret: Name,
    },
    /// With a token that is a secret of the vault
    Token(Name),
}

/// What is asked of a secrets engine
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaoAsk {
    /// What is read, such as `database/creds/orders-reader`
    pub path: Template,
    /// What the token that reads it may do there: the server's policies
    pub policies: BTreeSet<String>,
    /// Parameters, with which it is written instead of read; none: it is read
    pub with: BTreeMap<String, Template>,
    /// The answer comes wrapped, and may be opened once within these milliseconds
    pub wrap_ms: Option<i64>,
}

impl Says for OpenBao {
    fn kind(&self) -> &'static str {
        "openbao"
    }

    fn classes(&self) -> BTreeSet<Class> {
        self.asks.keys().copied().collect()
    }

    fn revocation(&self) -> Revocation {
        self.revocation
    }

    fn fields(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn secrets(&self) -> Vec<&Name> {
        match &self.sign_in {
            BaoSignIn::Jwt { .. } => Vec::new(),
            BaoSignIn::AppRole { secret, .. } | BaoSignIn::Token(secret) => vec![secret],
        }
    }
}
