//! People: who they are, what they may do, and how they are asked.

use super::PersonRole;
use crate::{event::How, hash::Hash, names::Name, node::Node, pattern::Conditions, value::Value};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A person, known by the accounts that speak at the socket and by how they sign in
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Unix account names
    pub accounts: BTreeSet<String>,
    /// Groups of which the person is a member
    pub groups: BTreeSet<Name>,
    /// Passkeys that are theirs whoever had them registered, by the digests of their public keys
    pub passkeys: BTreeSet<Hash>,
    /// What the person may do beside working through agents
    pub roles: BTreeSet<PersonRole>,
    /// What `[open]` may compare parameters with
    pub attributes: BTreeMap<String, Value>,
    /// Who they are where they sign in
    pub sign_in: Option<SignIn>,
}

/// Who somebody is at an issuer: what stays theirs, whatever they are called there
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignIn {
    /// The issuer, as the policy calls it
    pub issuer: Name,
    /// Their `sub`
    pub sub: String,
}

impl User {
    /// Whether this is who answers for something, as its `owner` says: the person's name, or the attribute `email`
    #[must_use]
    pub fn is_owner(&self, name: &Name, owner: &str) -> bool {
        let email = self.attributes.get("email").and_then(Value::as_str);
        owner == name.as_str() || email.is_some_and(|email| email.eq_ignore_ascii_case(owner))
    }

    /// Whether this is who somebody is that was known so: what an issuer said of one `sub` says nothing of another
    #[must_use]
    pub fn is_known_by(&self, how: &How) -> bool {
        match how {
            How::Oidc { issuer, subject } => {
                self.sign_in.as_ref().is_some_and(|of| of.issuer == *issuer && of.sub == *subject)
            }
            _ => true,
        }
    }

    /// Whose hand it was, by what the policy says of the passkeys of `name`, who this is
    #[must_use]
    pub fn hand(&self, name: &Name, how: &How) -> String {
        match how {
            How::HandedPasskey { fingerprint, .. } if self.passkeys.contains(fingerprint) => {
                Node::User(name.clone()).to_string()
            }
            how => how.hand(name),
        }
    }
}

/// Who has to agree: so many distinct members of a group
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Quorum {
    /// The group whose members are asked
    pub who: Name,
    /// How many of them
    pub people: u8,
    /// Whether a yes needs a passkey, used for this very answer
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub passkey: bool,
    /// How long the question stands, in milliseconds
    pub within_ms: i64,
}

impl Quorum {
    /// How long a question stands where nothing is said, in milliseconds
    pub const WITHIN_MS: i64 = 15 * 60 * 1_000;
    /// How long a question may stand at most, in milliseconds
    pub const WITHIN_MS_MAX: i64 = 24 * 60 * 60 * 1_000;
    /// How many people can be asked for at most
    pub const PEOPLE_MAX: u8 = 9;

    /// Anybody of a group
    #[must_use]
    pub fn one_of(who: Name) -> Self {
        Self { who, people: 1, passkey: false, within_ms: Self::WITHIN_MS }
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.people {
            1 => write!(f, "somebody of {}", self.who)?,
            people => write!(f, "{people} people of {}", self.who)?,
        }
        f.write_str(if self.passkey { " with a passkey" } else { "" })
    }
}

/// A question to people about a call
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who has to agree
    pub quorum: Quorum,
    /// Only when these arguments match; empty means always
    pub when: Conditions,
}

/// A place where questions are told, such as a chat, and from where they may be answered
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Where messages are sent: https, or http on this machine
    pub url: String,
    /// Groups whose questions are told there
    pub who: BTreeSet<Name>,
    /// The key with which answers from there are signed (Standard Webhooks, `whpk_...`); without it, none are taken
    pub answer_key: Option<String>,
    /// Who the people there are, by their names there
    pub people: BTreeMap<String, Name>,
    /// Whether the yeses of several people from there count for one question; otherwise they are one
    pub several: bool,
}
