//! The systems that issue credentials, and what each of them says of itself.

use super::{Account, Aws, GitHub, Google, Kubernetes, MariaDb, Minted, Nats, Oauth, OpenBao, Redis, Revocation, Ssh};
use crate::{names::Name, policy::Class, time::Millis};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

/// A system that issues credentials, and what it needs to know for that
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackEnd {
    /// A secret of the vault, the same for every task: the last resort
    Static(StaticSecret),
    /// A program that issues and withdraws, in the protocol of `docs/credentials.md`
    Command(CommandBackEnd),
    /// PostgreSQL: a role for each lease
    Postgres(Postgres),
    /// Tokens that Portreeve signs itself
    Minted(Minted),
    /// An authorization server that issues tokens to Portreeve
    Oauth(Oauth),
    /// An authorization server where people connect their accounts
    Account(Account),
    /// MariaDB: a user for each lease
    MariaDb(MariaDb),
    /// Redis or Valkey: an ACL user for each lease
    Redis(Redis),
    /// NATS: a user JWT for each lease
    Nats(Nats),
    /// OpenBao or HashiCorp Vault: a token for each lease
    OpenBao(OpenBao),
    /// Kubernetes: a token of a service account, bound to a Secret
    Kubernetes(Kubernetes),
    /// GitHub: a token of an installation of an app
    GitHub(GitHub),
    /// AWS: a session of a role, with a policy of its own
    Aws(Aws),
    /// Google Cloud: a token of a service account
    Google(Google),
    /// SSH: a certificate of a user for each lease
    Ssh(Ssh),
}

impl BackEnd {
    /// What it says of itself
    #[must_use]
    pub fn says(&self) -> &dyn Says {
        match self {
            Self::Static(of) => of,
            Self::Command(of) => of,
            Self::Postgres(of) => of,
            Self::Minted(of) => of,
            Self::Oauth(of) => of,
            Self::Account(of) => of,
            Self::MariaDb(of) => of,
            Self::Redis(of) => of,
            Self::Nats(of) => of,
            Self::OpenBao(of) => of,
            Self::Kubernetes(of) => of,
            Self::GitHub(of) => of,
            Self::Aws(of) => of,
            Self::Google(of) => of,
            Self::Ssh(of) => of,
        }
    }
}

/// What a back end says of itself, before anything is asked of it
pub trait Says: Debug {
    /// What kind it is, as its file says it
    fn kind(&self) -> &'static str;

    /// The classes that it issues for
    fn classes(&self) -> BTreeSet<Class>;

    /// What taking one of its credentials back achieves
    fn revocation(&self) -> Revocation;

    /// The fields of what it issues, which templates may name; `None`: any, as only the back end itself knows them
    fn fields(&self) -> Option<&'static [&'static str]>;

    /// The secrets of the vault that it needs
    fn secrets(&self) -> Vec<&Name>;

    /// Milliseconds for which it issues at least: for less than that it cannot
    fn shortest_ms(&self) -> i64 {
        0
    }

    /// Whether what it gives is there before the task and after it
    fn is_standing(&self) -> bool {
        false
    }
}

/// A secret that is put in as it is
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticSecret {
    /// Which secret of the vault
    pub secret: Name,
    /// For which classes it is put in; it cannot itself tell them apart
    pub classes: BTreeSet<Class>,
    /// When its owner has to exchange it
    pub rotate_by: Option<Millis>,
}

/// A program that issues credentials
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandBackEnd {
    /// Program and arguments
    pub command: Vec<String>,
    /// A secret of the vault that it is told
    pub secret: Option<Name>,
    /// The classes that it issues for
    pub classes: BTreeSet<Class>,
    /// What it says that taking one back achieves
    pub revocation: Revocation,
}

/// A PostgreSQL server
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postgres {
    /// Its name or address
    pub host: String,
    /// Its port
    pub port: u16,
    /// The database in which grants are made
    pub database: String,
    /// Whether the connection has to be encrypted and the server's certificate to fit its name
    pub tls: bool,
    /// The secret of the vault with which Portreeve signs in: `USER:PASSWORD`
    pub admin: Name,
    /// What a role of each class is granted: the part of `GRANT ... TO role` between the two words
    pub grants: BTreeMap<Class, Vec<String>>,
    /// Connections that one role may have at once
    pub connections: u16,
    /// The role that gets what a lease's role made; nothing: it goes with the lease
    pub keep_for: Option<String>,
}

impl Says for StaticSecret {
    fn kind(&self) -> &'static str {
        "static"
    }

    fn classes(&self) -> BTreeSet<Class> {
        self.classes.clone()
    }

    fn revocation(&self) -> Revocation {
        Revocation::GatewayOnly
    }

    fn fields(&self) -> Option<&'static [&'static str]> {
        Some(&["secret"])
    }

    fn secrets(&self) -> Vec<&Name> {
        vec![&self.secret]
    }

    fn is_standing(&self) -> bool {
        true
    }
}

impl Says for CommandBackEnd {
    fn kind(&self) -> &'static str {
        "command"
    }

    fn classes(&self) -> BTreeSet<Class> {
        self.classes.clone()
    }

    fn revocation(&self) -> Revocation {
        self.revocation
    }

    fn fields(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn secrets(&self) -> Vec<&Name> {
        self.secret.iter().collect()
    }
}

impl Says for Postgres {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn classes(&self) -> BTreeSet<Class> {
        self.grants.keys().copied().collect()
    }

    fn revocation(&self) -> Revocation {
        Revocation::Immediate
    }

    fn fields(&self) -> Option<&'static [&'static str]> {
        Some(&["user", "password", "host", "port", "database"])
    }

    fn secrets(&self) -> Vec<&Name> {
        vec![&self.admin]
    }
}
