//! MariaDB.

use super::{Revocation, Says};
use crate::{names::Name, policy::Class};
use std::collections::{BTreeMap, BTreeSet};

/// A MariaDB server
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MariaDb {
    /// Its name or address
    pub host: String,
    /// Its port
    pub port: u16,
    /// The database that connectors are told
    pub database: String,
    /// Whether the connection has to be encrypted and the server's certificate to fit its name
    pub tls: bool,
    /// The secret of the vault with which Portreeve signs in: `USER:PASSWORD`
    pub admin: Name,
    /// What a user of each class is granted: the part of `GRANT ... TO user` between the two words
    pub grants: BTreeMap<Class, Vec<String>>,
    /// Connections that one user may have at once
    pub connections: u16,
}

impl Says for MariaDb {
    fn kind(&self) -> &'static str {
        "mariadb"
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
