//! GitHub: tokens of an installation of a GitHub App.

use super::{Revocation, Says, Template};
use crate::{names::Name, policy::Class};
use std::collections::{BTreeMap, BTreeSet};

/// An installation of a GitHub App
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitHub {
    /// The address of the API
    pub api: String,
    /// The client id or the id of the app
    pub app: String,
    /// The secret of the vault that is the app's private key, as PEM
    pub key: Name,
    /// Which installation
    pub installation: u64,
    /// Names of the repositories that tokens are for, without their owner
    pub repositories: Vec<Template>,
    /// What a token of each class may do: levels by the name of a permission
    pub permissions: BTreeMap<Class, BTreeMap<String, GitHubLevel>>,
}

/// How much of a permission is given
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GitHubLevel {
    /// Looking
    Read,
    /// Changing
    Write,
    /// Changing who may do what
    Admin,
}

impl GitHubLevel {
    /// As GitHub writes it
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// Every token is issued for an hour
const HOUR_MS: i64 = 3_600_000;

impl GitHub {
    /// Milliseconds that every token lives, unless it is taken back
    #[must_use]
    pub fn lives_ms() -> i64 {
        HOUR_MS
    }
}

impl Says for GitHub {
    fn kind(&self) -> &'static str {
        "github"
    }

    fn classes(&self) -> BTreeSet<Class> {
        self.permissions.keys().copied().collect()
    }

    fn revocation(&self) -> Revocation {
        Revocation::Immediate
    }

    fn fields(&self) -> Option<&'static [&'static str]> {
        Some(&["token"])
    }

    fn secrets(&self) -> Vec<&Name> {
        vec![&self.key]
    }
}
