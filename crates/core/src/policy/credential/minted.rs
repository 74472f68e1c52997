//! Tokens that Portreeve signs itself.

use super::{Revocation, Says};
use crate::{names::Name, policy::Class};
use std::collections::{BTreeMap, BTreeSet};

/// Tokens that Portreeve signs itself, for a server that can check them
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minted {
    /// Whom they are for, and nobody else: the server, or its trust domain
    pub audience: String,
    /// What they are
    pub format: MintedFormat,
    /// The scopes of each class, which may name what the task narrows it to
    pub scopes: BTreeMap<Class, Vec<String>>,
}

/// What a token is that Portreeve signs
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MintedFormat {
    /// An access token (RFC 9068)
    AccessToken,
    /// A transaction token (draft-ietf-oauth-transaction-tokens)
    Transaction,
}

impl Says for Minted {
    fn kind(&self) -> &'static str {
        "minted"
    }

    fn classes(&self) -> BTreeSet<Class> {
        self.scopes.keys().copied().collect()
    }

    fn revocation(&self) -> Revocation {
        Revocation::ExpiryOnly
    }

    fn fields(&self) -> Option<&'static [&'static str]> {
        Some(&["token"])
    }

    fn secrets(&self) -> Vec<&Name> {
        Vec::new()
    }
}
