//! Redis and Valkey.

use super::{Revocation, Says};
use crate::{names::Name, policy::Class};
use std::collections::{BTreeMap, BTreeSet};

/// A Redis server
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// Its name or address
    pub host: String,
    /// Its port
    pub port: u16,
    /// Whether the connection has to be encrypted and the server's certificate to fit its name
    pub tls: bool,
    /// The secret of the vault with which Portreeve signs in: `USER:PASSWORD`
    pub admin: Name,
    /// The rules of the user of each class, with names of the scope in patterns
    pub rules: BTreeMap<Class, Vec<String>>,
}

impl Says for Redis {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn classes(&self) -> BTreeSet<Class> {
        self.rules.keys().copied().collect()
    }

    fn revocation(&self) -> Revocation {
        Revocation::Immediate
    }

    fn fields(&self) -> Option<&'static [&'static str]> {
        Some(&["user", "password", "host", "port"])
    }

    fn secrets(&self) -> Vec<&Name> {
        vec![&self.admin]
    }
}
