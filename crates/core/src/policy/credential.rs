//! Credentials for connectors: where they come from, and how they are put in.

mod aws;
mod back_end;
mod github;
mod google;
mod kubernetes;
mod mariadb;
mod minted;
mod nats;
mod oauth;
mod openbao;
mod redis;
mod ssh;
mod template;

pub use aws::{Aws, AwsAllow, AwsRole};
pub use back_end::{BackEnd, CommandBackEnd, Postgres, Says, StaticSecret};
pub use github::{GitHub, GitHubLevel};
pub use google::{Google, GoogleAccount, GoogleBucket};
pub use kubernetes::{ClusterSignIn, Kubernetes};
pub use mariadb::MariaDb;
pub use minted::{Minted, MintedFormat};
pub use nats::{Nats, Revoking, Subjects};
pub use oauth::{Account, ClientShows, Oauth, OauthClient, OauthGrant};
pub use openbao::{BaoAsk, BaoSignIn, OpenBao};
pub use redis::Redis;
pub use ssh::{Ssh, SshExtension, SshList, SshRights};
pub use template::Template;

use super::Class;
use crate::{hash::Hash, names::Name};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Where credentials come from that live as long as a task
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSource {
    /// Who answers for it
    pub owner: String,
    /// The system that issues and withdraws them
    pub back_end: BackEnd,
    /// Milliseconds that one lives at most, if that is less than its task
    pub ttl_ms: Option<i64>,
    /// By what they are narrowed: names that grants use, and the parameter of the task that gives each its value
    pub scope: BTreeMap<Name, Name>,
    /// What stands for those where somebody looks at what a server offers, outside of any task
    pub probe: BTreeMap<Name, String>,
    /// The digest of what its file says: leases that were issued under another one are not used
    pub digest: Hash,
}

impl CredentialSource {
    /// The classes that it issues for
    #[must_use]
    pub fn classes(&self) -> BTreeSet<Class> {
        self.back_end.says().classes()
    }

    /// What taking one of its credentials back achieves
    #[must_use]
    pub fn revocation(&self) -> Revocation {
        self.back_end.says().revocation()
    }

    /// Whether what it gives is there before the task and after it
    #[must_use]
    pub fn is_standing(&self) -> bool {
        self.back_end.says().is_standing()
    }
}

/// What taking a credential back achieves
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// It is of no use from that moment on, nor is what was opened with it
    Immediate,
    /// It is of no use soon after
    Eventual {
        /// Milliseconds after which that is so
        within_ms: i64,
    },
    /// Nothing: it is usable until its own time has passed
    ExpiryOnly,
    /// Nothing at the back end; but it never leaves Portreeve
    GatewayOnly,
}

impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Immediate => f.write_str("immediate"),
            Self::Eventual { within_ms } => write!(f, "eventual (within {} s)", within_ms.div_euclid(1_000).max(1)),
            Self::ExpiryOnly => f.write_str("expiry only"),
            Self::GatewayOnly => f.write_str("gateway only"),
        }
    }
}

/// The credentials of a connector
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Where they come from
    pub source: Name,
    /// The digest of all that the policy says of the source, and of how its credentials are put in
    pub config: Hash,
    /// Headers of every request, by name
    pub headers: BTreeMap<String, Template>,
    /// Members of the address's query, by name
    pub query: BTreeMap<String, Template>,
    /// Members of every message that it is sent, by their place: a JSON Pointer (RFC 6901) below `/params`
    pub body: BTreeMap<String, Template>,
    /// The certificate that is shown to it, and its key, both as PEM
    pub certificate: Option<(Template, Template)>,
    /// Variables of the environment of its process, by name
    pub env: BTreeMap<String, Template>,
    /// Files that its process can read, by the variable that holds their path
    pub files: BTreeMap<String, Template>,
}
