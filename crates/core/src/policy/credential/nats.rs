//! NATS, with users that are told apart by signed claims.

use super::{Revocation, Says};
use crate::{names::Name, policy::Class};
use std::collections::{BTreeMap, BTreeSet};

/// An account of a NATS system
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nats {
    /// The name or address of a server
    pub host: String,
    /// Its port
    pub port: u16,
    /// Whether the connection has to be encrypted and the server's certificate to fit its name
    pub tls: bool,
    /// The account's public key
    pub account: String,
    /// The secret of the vault that users are signed with: the seed of a signing key of the account
    pub signing: Name,
    /// With what users are revoked before their time
    pub revoking: Option<Revoking>,
    /// What a user of each class may do
    pub subjects: BTreeMap<Class, Subjects>,
}

/// With what users of a NATS account are revoked
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoking {
    /// The secret of the vault that the account is signed with: the seed of a key of the operator
    pub operator: Name,
    /// The secret of the vault that the system account is entered with: a `.creds` file
    pub system: Name,
}

/// What somebody may do at a NATS account, with names of the scope in subjects
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subjects {
    /// Where to publish
    pub publish: Vec<String>,
    /// To what to subscribe
    pub subscribe: Vec<String>,
}

impl Says for Nats {
    fn kind(&self) -> &'static str {
        "nats"
    }

    fn classes(&self) -> BTreeSet<Class> {
        self.subjects.keys().copied().collect()
    }

    fn revocation(&self) -> Revocation {
        if self.revoking.is_some() { Revocation::Immediate } else { Revocation::ExpiryOnly }
    }

    fn fields(&self) -> Option<&'static [&'static str]> {
        Some(&["creds", "jwt", "seed", "inbox", "host", "port"])
    }

    fn secrets(&self) -> Vec<&Name> {
        let revoking = self.revoking.iter().flat_map(|of| [&of.operator, &of.system]);
        [&self.signing].into_iter().chain(revoking).collect()
    }
}
