//! Questions to people, and what they answer.

use super::Given;
use crate::{
    commit::Committed,
    hash::Hash,
    names::{EffectId, GrantId, HoldId, Name, TaskId, Tool},
    node::Node,
    policy::{Class, Label, Quorum, Usage},
    time::Millis,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Something waits for people
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its name; a node
    pub hold: HoldId,
    /// The task that it rests on; an opening has none yet
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// Who asks
    pub agent: Name,
    /// On whose behalf
    pub user: Option<Name>,
    /// The agents above it, nearest first
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Name>,
    /// Under which purpose
    pub purpose: Name,
    /// In which version of the policy
    pub bundle: Hash,
    /// What waits
    pub what: HeldWhat,
    /// What is asked of whom; all of it has to be met
    pub questions: Vec<Question>,
    /// People who may not answer because it is their own: the task's user, who opened it, who owns the agent
    pub own: Vec<Name>,
    /// The digest of everything that those who answer are shown
    pub binding: Hash,
    /// When it is over at the latest
    pub until: Millis,
}

/// What waits for people
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldWhat {
    /// A call
    Call(Box<HeldCall>),
    /// The opening of a class for a while
    Elevation(Elevation),
    /// The opening of a task
    Opening(HeldOpening),
}

/// A call that waits
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldCall {
    /// What would be called
    pub tool: Tool,
    /// Which of its variants the call fits
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<Name>,
    /// Of which class it is
    pub class: Class,
    /// The accepted definition
    pub pin: Hash,
    /// With which arguments
    pub arguments: BTreeMap<String, Given>,
    /// The digest of tool and arguments, by which a repeat is known
    pub key: Hash,
    /// What it is about, as rules name it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How confidential its results may be
    pub label: Label,
    /// What takes it back, as the policy writes it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// What was read before it, by the field that undoing it needs
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub before: BTreeMap<String, Committed>,
    /// Identical calls of the task that people agreed to before, the earliest first, and what became of them
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<(EffectId, Outcome)>,
}

/// What became of a call that people had agreed to
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It happened, and succeeded
    Done,
    /// It happened, and failed
    Failed,
    /// Nobody can know
    Unknown,
}

/// The opening of a class for a while
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elevation {
    /// In which task
    pub task: TaskId,
    /// Which class
    pub class: Class,
    /// For these tools and variants
    pub uses: Vec<Usage>,
    /// With exactly these values
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Committed>,
    /// How often
    pub times: u32,
    /// For how long, in milliseconds from the grant on
    pub lasts_ms: i64,
    /// Why, in the words of whoever asked
    pub why: Committed,
}

/// A task that waits to be opened
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOpening {
    /// Who opens it
    pub opener: Option<Name>,
    /// With which values
    pub parameters: BTreeMap<Name, Given>,
    /// What for
    pub objective: Option<Given>,
    /// Milliseconds that it would live
    pub lasts_ms: i64,
    /// Whether it is for an emergency
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// The digest by which a repeat is known
    pub key: Hash,
}

/// One reason that asks, and whom
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Question {
    /// Where it comes from: a purpose or a rule
    pub source: String,
    /// The step of the purpose, if it is one's
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Who has to agree
    #[serde(flatten)]
    pub quorum: Quorum,
}

/// Somebody said no
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declined {
    /// To what
    pub hold: HoldId,
    /// Who
    pub by: Name,
    /// Why, in their words
    pub why: Committed,
    /// How they answered
    pub signed: Signed,
}

/// How somebody answered, and the proof of it
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// How they were signed in
    pub how: How,
    /// When, by the clock of whoever took the answer
    pub at: Millis,
    /// How long they had it in front of them, in milliseconds, if that was measured
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_ms: Option<u32>,
    /// The digest of the statement that was signed: canonical JSON of what was answered, by whom, when
    pub statement: Hash,
    /// The key that signed it, as `ed25519:BASE64`
    pub key: String,
    /// The signature over the statement, in base64
    pub signature: String,
    /// The passkey's own signature over the same statement
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<Assertion>,
}

impl Signed {
    /// Whether a passkey was used for this very answer; that somebody signed in with one earlier is less
    #[must_use]
    pub fn is_stepped_up(&self) -> bool {
        self.how == How::Passkey && self.passkey.is_some()
    }
}

impl Assertion {
    /// The digest of the passkey's public key, as policy files name it
    #[must_use]
    pub fn fingerprint(&self) -> Hash {
        Hash::of(self.public_key.as_bytes())
    }
}

/// What a passkey signed (Web Authentication Level 3, 6.3.3), everything in base64url
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assertion {
    /// Which credential
    pub credential: String,
    /// Its public key, as it was registered (COSE)
    pub public_key: String,
    /// The authenticator's data
    pub authenticator_data: String,
    /// The client's data, whose challenge is the digest of the statement
    pub client_data: String,
    /// The signature
    pub signature: String,
}

/// How a person is known at the moment
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// By the account that speaks at the socket
    Socket,
    /// By a one-time link that they had made for themselves
    Link,
    /// By a one-time link that somebody else had made for them, who could have used it
    Handed {
        /// Who: `user:NAME` of the policy, or `account:NAME`
        by: String,
    },
    /// By a passkey
    Passkey,
    /// By a passkey that was registered by way of a link that somebody else had made, who may hold it
    HandedPasskey {
        /// Who, as for [`Handed`](Self::Handed)
        by: String,
        /// The digest of its public key, by which the policy can say whose it is all the same
        fingerprint: Hash,
    },
    /// By an issuer of the policy, where they signed in
    Oidc {
        /// Which
        issuer: Name,
        /// Who they are there
        subject: String,
    },
    /// By a receiver of messages, which signs for them
    Webhook {
        /// Which
        receiver: Name,
    },
}

impl How {
    /// Whose hand it was, as far as can be known: somebody who has a link made for another could use it themselves
    #[must_use]
    pub fn hand(&self, user: &Name) -> String {
        self.lender().map_or_else(|| Node::User(user.clone()).to_string(), ToOwned::to_owned)
    }

    /// Who else it may have been: whoever had the link made by which it all began
    #[must_use]
    pub fn lender(&self) -> Option<&str> {
        match self {
            Self::Handed { by } | Self::HandedPasskey { by, .. } => Some(by),
            Self::Socket | Self::Link | Self::Passkey | Self::Oidc { .. } | Self::Webhook { .. } => None,
        }
    }

    /// The receiver that vouches for who it was
    #[must_use]
    pub fn receiver(&self) -> Option<&Name> {
        match self {
            Self::Webhook { receiver } => Some(receiver),
            _ => None,
        }
    }

    /// Whether a passkey was used, whoever had it registered
    #[must_use]
    pub fn is_passkey(&self) -> bool {
        matches!(self, Self::Passkey | Self::HandedPasskey { .. })
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket => f.write_str("socket"),
            Self::Link => f.write_str("link"),
            Self::Handed { by } => write!(f, "link of {by}"),
            Self::Passkey => f.write_str("passkey"),
            Self::HandedPasskey { by, .. } => write!(f, "passkey by a link of {by}"),
            Self::Oidc { issuer, .. } => write!(f, "issuer {issuer}"),
            Self::Webhook { receiver } => write!(f, "webhook {receiver}"),
        }
    }
}

/// What was read before a call, so that it can be put back
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WasBefore {
    /// The effect that read it
    pub effect: EffectId,
    /// The fields that undoing needs; what is missing was not there
    pub values: BTreeMap<String, Committed>,
}

/// What a task takes back
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undoing {
    /// Whose calls
    pub of: TaskId,
    /// The undoing calls in the order in which they may be made, each once
    pub steps: Vec<UndoStep>,
}

/// One undoing call
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoStep {
    /// The call that it takes back
    pub of: EffectId,
    /// The tool
    pub tool: Tool,
    /// Its arguments, as one object
    pub arguments: Committed,
    /// The digest of tool and arguments
    pub key: Hash,
}

/// The digest of a tool and arguments, by which the same call is known again
#[must_use]
pub fn call_key(tool: &Tool, arguments: &str) -> Hash {
    Hash::of_parts(&[b"call", tool.to_string().as_bytes(), arguments.as_bytes()])
}

/// The grant that a hold for an elevation becomes has its number
impl From<HoldId> for GrantId {
    fn from(hold: HoldId) -> Self {
        Self(hold.0)
    }
}
