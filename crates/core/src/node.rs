//! Everything that lives, by name: what can be stopped, and what other things rest on.

use crate::names::{EffectId, GrantId, HoldId, Invalid, Name, RunId, TaskId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{borrow::Cow, fmt, str::FromStr};

/// A node: something that is live, or over with the reason why
///
/// What rests on a node is no wider than it, and refused in the moment it is over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// The whole data folder
    Tenant,
    /// An agent of the registry
    Agent(Name),
    /// A user of the registry
    User(Name),
    /// A connector of the registry
    Connector(Name),
    /// A purpose, in all its versions
    Purpose(Name),
    /// One run of an agent
    Run(RunId),
    /// One task
    Task(TaskId),
    /// A child process that was started for a task
    Child(EffectId),
    /// A credential that was issued for a task
    Lease(EffectId),
    /// A recorded yes of a person
    Grant(GrantId),
    /// A question that waits for people
    Hold(HoldId),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant => f.write_str("all"),
            Self::Agent(name) => write!(f, "agent:{name}"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Connector(name) => write!(f, "connector:{name}"),
            Self::Purpose(name) => write!(f, "purpose:{name}"),
            Self::Run(id) => id.fmt(f),
            Self::Task(id) => id.fmt(f),
            Self::Child(id) => write!(f, "child:{id}"),
            Self::Lease(id) => write!(f, "lease:{id}"),
            Self::Grant(id) => id.fmt(f),
            Self::Hold(id) => id.fmt(f),
        }
    }
}

impl FromStr for Node {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.split_once(':') {
            None if text == "all" => Ok(Self::Tenant),
            None if text.starts_with("run_") => text.parse().map(Self::Run),
            None if text.starts_with("grant_") => text.parse().map(Self::Grant),
            None if text.starts_with("hold_") => text.parse().map(Self::Hold),
            None => text.parse().map(Self::Task),
            Some(("agent", name)) => name.parse().map(Self::Agent),
            Some(("user", name)) => name.parse().map(Self::User),
            Some(("connector", name)) => name.parse().map(Self::Connector),
            Some(("purpose", name)) => name.parse().map(Self::Purpose),
            Some(("child", id)) => id.parse().map(Self::Child),
            Some(("lease", id)) => id.parse().map(Self::Lease),
            // No id has a colon, so this says what was expected.
            Some(_) => text.parse().map(Self::Task),
        }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Why a node is over
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its work is done: whoever opened it ended it
    Ended,
    /// Its time has passed
    Expired,
    /// Nothing was admitted for too long
    Idle,
    /// The process that it was opened for is gone
    Gone,
    /// A person stopped it
    Killed,
    /// The process that holds the data folder ended, and what it held ended with it
    Restarted,
    /// The agent has not proven itself again in time
    Unproven,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Idle => "idle",
            Self::Gone => "gone",
            Self::Killed => "killed",
            Self::Restarted => "restarted",
            Self::Unproven => "unproven",
        })
    }
}
