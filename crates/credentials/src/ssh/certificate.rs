//! A certificate of a user, as OpenSSH defines it (PROTOCOL.certkeys).
//!
//! It is written here and not by `ssh-key`, whose builder verifies what it signed with cryptography of its own.

use super::{key::Authority, wire::Wire};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_core::policy::SshRights;

/// What a certificate says
#[derive(Debug)]
pub(super) struct Certificate<'a> {
    /// The number by which it is revoked
    pub(super) serial: u64,
    /// What a host writes into its log
    pub(super) name: &'a str,
    /// As whom it is let in; never nobody, which would be everybody
    pub(super) principals: &'a [String],
    /// What it is good for
    pub(super) rights: &'a SshRights,
    /// The second from which it counts
    pub(super) from: u64,
    /// The first second in which it does not count any more
    pub(super) until: u64,
}

const KIND: &[u8] = b"ssh-ed25519-cert-v01@openssh.com";
/// SSH_CERT_TYPE_USER
const USER: u32 = 1;

impl Certificate<'_> {
    /// The one line of `-cert.pub` for this public key; nothing if it cannot be signed
    pub(super) fn line(&self, public: &[u8; 32], authority: &Authority) -> Option<String> {
        let mut nonce = [0_u8; 32];
        getrandom::fill(&mut nonce).ok()?;
        let principals = self.principals.iter().fold(Wire::default(), |wire, one| wire.text(one.as_bytes()));
        let unsigned = Wire::default()
            .text(KIND)
            .text(&nonce)
            .text(public)
            .number(self.serial)
            .word(USER)
            .text(self.name.as_bytes())
            .text(&principals.bytes())
            .number(self.from)
            .number(self.until)
            .text(&self.critical())
            .text(&self.extensions())
            .text(b"")
            .text(&authority.public)
            .bytes();
        let signature = Wire::default().text(&authority.sign(&unsigned)?).bytes();
        let whole = STANDARD.encode([unsigned, signature].concat());
        Some(format!("{} {whole} {}", std::str::from_utf8(KIND).ok()?, self.name))
    }

    /// What a host has to enforce, or else not let it in; in the order of their names
    fn critical(&self) -> Vec<u8> {
        let addresses = Some(self.rights.source_address.join(",")).filter(|addresses| !addresses.is_empty());
        let options = [("force-command", self.rights.force_command.clone()), ("source-address", addresses)];
        let add = |wire: Wire, (name, value): (&str, String)| {
            wire.text(name.as_bytes()).text(&Wire::default().text(value.as_bytes()).bytes())
        };
        options.into_iter().filter_map(|(name, value)| Some((name, value?))).fold(Wire::default(), add).bytes()
    }

    /// What it may beside running something; in the order of their names
    fn extensions(&self) -> Vec<u8> {
        let add = |wire: Wire, one: &portreeve_core::policy::SshExtension| wire.text(one.word().as_bytes()).text(b"");
        self.rights.extensions.iter().fold(Wire::default(), add).bytes()
    }
}
