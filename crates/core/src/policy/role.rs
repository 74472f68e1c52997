//! Roles of people, and what each of them lets somebody do: one table, which the judgement goes by and the docs show.

use super::Bundle;
use crate::{hash::Hash, names::Name};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// What a person may do; the five are kept apart: none includes another
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonRole {
    /// Answers questions put to a group of theirs
    Approver,
    /// Stops what lives, opens classes for a while, undoes tasks
    Operator,
    /// Reads everything, and closes reviews
    Auditor,
    /// Changes the policy
    Author,
    /// Says who there is, exchanges keys, lets observe mode begin
    Owner,
}

impl PersonRole {
    /// Every role
    pub const ALL: [Self; 5] = [Self::Approver, Self::Operator, Self::Auditor, Self::Author, Self::Owner];

    /// As policy files write it
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approver => "approver",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Author => "author",
            Self::Owner => "owner",
        }
    }

    /// What somebody with it is there for, in a sentence
    #[must_use]
    pub fn says(self) -> &'static str {
        match self {
            Self::Approver => "answers questions put to a group of theirs",
            Self::Operator => "stops what lives, opens classes for a while, undoes tasks",
            Self::Auditor => "reads everything, and closes reviews",
            Self::Author => "changes the policy",
            Self::Owner => "says who there is, exchanges keys, lets observe mode begin",
        }
    }
}

impl fmt::Display for PersonRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! deeds {
    ($($(#[doc = $doc:literal])* $variant:ident $word:literal [$($role:ident)+] $says:literal;)*) => {
        /// Something that a person does beside working through agents, and that needs a role
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Deed {$(
            #[doc = $says]
            $variant,
        )*}

        impl Deed {
            /// Every deed
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable word
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {$(Self::$variant => $word),*}
            }

            /// Each of these roles lets somebody do it, and no other one does
            #[must_use]
            pub fn roles(self) -> &'static [PersonRole] {
                match self {$(Self::$variant => &[$(PersonRole::$role),+]),*}
            }

            /// What it is, in a sentence
            #[must_use]
            pub fn says(self) -> &'static str {
                match self {$(Self::$variant => $says),*}
            }
        }
    };
}

// Who may do what. What somebody may do with what is their own, such as ending a task that they opened, needs no role.
deeds! {
    Answer "answer" [Approver] "Say yes or no to a question put to a group of theirs";
    Inspect "inspect" [Operator Auditor Author Owner] "See what is in force: policy, agents, connectors, modes, keys";
    Tasks "tasks" [Operator Auditor] "See everybody's tasks, what was done in them, questions and how they are answered";
    Review "review" [Auditor] "Close the review of an emergency, in the group that reviews";
    Stop "stop" [Operator] "Stop a task, a run, an agent, a user, a connector, a purpose, a grant, everything";
    Pause "pause" [Operator] "Halt an agent, a user, a connector, a purpose, and let it go on";
    Elevate "elevate" [Operator] "Have a class opened in a task for a while";
    Undo "undo" [Operator] "Take back what a task did";
    Apply "apply" [Author] "Put a version of the policy into force, or go back to one";
    Register "register" [Author Owner] "Put one into force that differs in agents, users and issuers only";
    Accept "accept" [Author] "Look at what a server offers, and accept its definitions";
    Observe "observe" [Owner] "Let calls outside of the envelope through for a while";
    Keys "keys" [Owner] "Exchange a key";
    Secrets "secrets" [Owner] "Put secrets into the vault, exchange them and take them out";
    Invite "invite" [Owner] "Have a link made with which somebody else signs in";
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no such deed
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is nothing called {0:?} that a role lets somebody do")]
pub struct NoDeed(String);

impl FromStr for Deed {
    type Err = NoDeed;

    fn from_str(text: &str) -> Result<Self, NoDeed> {
        Self::ALL.iter().copied().find(|deed| deed.as_str() == text).ok_or_else(|| NoDeed(text.to_owned()))
    }
}

/// What the policy says of roles beside the files of its users
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// The roles of everybody who is in a group, by the group
    ///
    /// Whoever is in it by their own file has them in [`User::roles`](super::User::roles) already.
    pub groups: BTreeMap<Name, BTreeSet<PersonRole>>,
    /// How many people have to put the very same version of the policy into force before it is; none is one
    pub people: u8,
    /// The digest of everything but agents, users and issuers; without it, everything may differ
    pub rest: Option<Hash>,
}

impl Roles {
    /// How many people may be asked for
    pub const PEOPLE_MAX: u8 = 5;
    /// How long it counts that somebody wants a version in force, in milliseconds
    pub const PROPOSED_MS: i64 = 24 * 60 * 60 * 1_000;
}

impl Bundle {
    /// What changing to `next` is
    #[must_use]
    pub fn deed_of(&self, next: &Self) -> Deed {
        let same = self.roles.rest.is_some() && self.roles.rest == next.roles.rest;
        if same { Deed::Register } else { Deed::Apply }
    }

    /// Whether `user` could do more by `next`: another role, another group, another account or attribute
    ///
    /// What somebody could only do as another user of the policy is not seen here, nor what groups bring that no file
    /// puts them in.
    #[must_use]
    pub fn raises(&self, user: &Name, next: &Self) -> bool {
        let (Some(before), Some(after)) = (self.users.get(user), next.users.get(user)) else {
            // Somebody who is gone has nothing more; somebody new could do nothing before.
            return next.users.contains_key(user);
        };
        let is_more = !after.roles.is_subset(&before.roles)
            || !after.groups.is_subset(&before.groups)
            || after.attributes != before.attributes;
        // What makes them somebody else from now on: an account of theirs, or who they are where they sign in.
        let lent = |(name, other): (&Name, &super::User)| {
            let account = other.accounts.iter().any(|account| before.accounts.contains(account));
            name != user && (account || (other.sign_in.is_some() && other.sign_in == before.sign_in))
        };
        is_more || next.users.iter().any(lent)
    }
}

#[cfg(test)]
mod tests;
