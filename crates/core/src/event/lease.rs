//! Credentials that live as long as a task: how they are issued and taken back, as the record keeps it.

use crate::{
    commit::Committed,
    hash::Hash,
    names::{EffectId, Name},
    policy::{Class, Revocation},
    time::Millis,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The facts of an admitted lease
///
/// Its name at the back end follows from the effect and the record's origin, so that it is known before anything is
/// asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseFacts {
    /// For which connector
    pub connector: Name,
    /// Of which class
    pub class: Class,
    /// From which source of the policy
    pub source: Name,
    /// What kind of back end that is
    pub kind: String,
    /// The digest of what the policy says of the source and of how it is put in
    pub config: Hash,
    /// What taking it back will achieve
    pub revocation: Revocation,
    /// From then on nothing is begun with it, and it is taken back
    pub until: Millis,
    /// Until when what it rests on lets it live: where it is over before, a call may need another one
    pub bound: Millis,
    /// The one call that may go with it, if it is not every call of its task, connector and class
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<EffectId>,
    /// What it is narrowed to
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scope: BTreeMap<Name, Committed>,
}

/// What became of a credential
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseEnd {
    /// A credential was issued: it lives on, until it is taken back
    Issued {
        /// Until when the back end itself takes it; nothing if it knows no end
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Millis>,
        /// What it is called there, if that is another name than ours
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handle: Option<String>,
    },
    /// A credential is of no use any more, which was looked at
    Withdrawn {
        /// How that is known
        evidence: Evidence,
    },
    /// A credential cannot be taken back: nothing is done with it here, and it is usable elsewhere until then
    Left {
        /// When its own time passes
        until: Millis,
    },
}

/// How it is known that a credential is of no use any more
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// It was tried, and the back end refused it
    Refused {
        /// In the back end's words
        says: String,
    },
    /// The back end has nothing of its name, and nothing that was opened with it lives
    Absent {
        /// What was looked at
        says: String,
    },
    /// Its own time has passed
    Expired,
    /// It never left Portreeve
    Held,
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { says } => write!(f, "tried and refused: {says}"),
            Self::Absent { says } => write!(f, "not there any more: {says}"),
            Self::Expired => f.write_str("its time has passed"),
            Self::Held => f.write_str("it never left Portreeve"),
        }
    }
}
