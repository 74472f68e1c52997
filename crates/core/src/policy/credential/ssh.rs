//! SSH, with certificates of users that an authority of Portreeve's signs.

use super::{Revocation, Says, Template};
use crate::{names::Name, policy::Class};
use std::collections::{BTreeMap, BTreeSet};

/// An authority that hosts believe (`TrustedUserCAKeys`)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    /// The secret of the vault that certificates are signed with: a private key as OpenSSH writes it
    pub ca: Name,
    /// Where certificates are revoked before their time
    pub krl: Option<SshList>,
    /// What a certificate of each class is good for
    pub classes: BTreeMap<Class, SshRights>,
}

/// A list of revoked certificates that hosts look at (`RevokedKeys`)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshList {
    /// The file
    pub path: String,
    /// Milliseconds after which every host has it
    pub within_ms: i64,
}

/// What a certificate is good for
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshRights {
    /// As whom hosts let it in, with names of the scope
    pub principals: Vec<Template>,
    /// The only thing that is run, whatever was asked for
    pub force_command: Option<String>,
    /// From where it is taken; nothing: from everywhere
    pub source_address: Vec<String>,
    /// What it may beside running something
    pub extensions: BTreeSet<SshExtension>,
}

/// What a certificate may allow beside running something
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SshExtension {
    /// A display of the user's
    X11Forwarding,
    /// Keys of the user's agent
    AgentForwarding,
    /// Connections through the host
    PortForwarding,
    /// A terminal
    Pty,
    /// What the user's own file says (`~/.ssh/rc`)
    UserRc,
}

impl SshExtension {
    /// All of them, in the order in which a certificate names them
    pub const ALL: [Self; 5] =
        [Self::X11Forwarding, Self::AgentForwarding, Self::PortForwarding, Self::Pty, Self::UserRc];

    /// As a certificate says it
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::X11Forwarding => "permit-X11-forwarding",
            Self::AgentForwarding => "permit-agent-forwarding",
            Self::PortForwarding => "permit-port-forwarding",
            Self::Pty => "permit-pty",
            Self::UserRc => "permit-user-rc",
        }
    }
}

impl Says for Ssh {
    fn kind(&self) -> &'static str {
        "ssh"
    }

    fn classes(&self) -> BTreeSet<Class> {
        self.classes.keys().copied().collect()
    }

    fn revocation(&self) -> Revocation {
        self.krl.as_ref().map_or(Revocation::ExpiryOnly, |list| Revocation::Eventual { within_ms: list.within_ms })
    }

    fn fields(&self) -> Option<&'static [&'static str]> {
        Some(&["private_key", "certificate", "principals"])
    }

    fn secrets(&self) -> Vec<&Name> {
        vec![&self.ca]
    }
}
