//! What is asked at the one door: calls, openings, children, stops, changes, and reports of what was seen.

use crate::{
    event::{Actor, ChosenBy, End, To},
    hash::Hash,
    names::{EffectId, GrantId, MemoryId, Name, RunId, TaskId, Tool, ToolName},
    node::{Node, Why},
    offer::Identity,
    outside::Answer,
    pattern::Source,
    reason::Reason,
    time::Millis,
    value::Value,
};
use std::{collections::BTreeMap, sync::Arc};

/// The time, as far as it can be believed
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// From a clock that nobody can set, anchored to the wall clock at start
    pub steady: Millis,
    /// What the wall clock says
    pub wall: Millis,
}

impl Clock {
    /// A clock that agrees with itself
    #[must_use]
    pub fn at(ms: i64) -> Self {
        Self { steady: Millis(ms), wall: Millis(ms) }
    }
}

/// A request at the door
#[derive(Clone, Debug)]
pub enum Request {
    /// May this call happen, and if so, let it
    Call(Call),
    /// Would this call be permitted; admits nothing
    Ask(Call),
    /// May this task be opened
    Open(Open),
    /// May this connector's child process be started
    Start(Start),
    /// May it be asked how a call stands that goes on at its connector
    Poll(Poll),
    /// Stop a node
    Stop(Stop),
    /// Change the registry
    Change(Change),
    /// Say yes to something beforehand
    Grant(Grant),
    /// An effect has ended
    Settle(Settle),
    /// Something was seen
    Saw(Saw),
    /// A server was asked what it offers, outside of any task
    Probed(Probed),
    /// A run was told what there is at a connector
    Looked(Looked),
    /// A request was refused before it could be judged
    Refused(Refusal),
}

/// A tool call
#[derive(Clone, Debug)]
pub struct Call {
    /// The id that the effect will have
    pub effect: EffectId,
    /// The run that the token names
    pub run: RunId,
    /// What is called
    pub tool: Tool,
    /// With which arguments
    pub arguments: BTreeMap<String, Value>,
    /// How the arguments fit which definition
    pub fit: Fit,
    /// What outside decision points have said so far
    pub answers: Vec<Answer>,
    /// The leg that it goes on with, which was answered with a question; whoever asks has checked that this state was
    /// given to this run for these very arguments
    pub continues: Option<EffectId>,
}

/// How arguments fit the input schema of a definition
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The definition that they were held against; the zero hash if none is known
    pub pin: Hash,
    /// What does not fit, in the validator's words
    pub error: Option<String>,
}

/// The opening of a task
#[derive(Clone, Debug)]
pub struct Open {
    /// The id that the task will have
    pub task: TaskId,
    /// The run that will work on it
    pub run: RunId,
    /// What it may remember from
    pub memory: MemoryId,
    /// Who opens it
    pub by: Actor,
    /// Who will work
    pub agent: Name,
    /// On whose behalf
    pub user: Option<Name>,
    /// Under which purpose
    pub purpose: Name,
    /// With which values; a run can only pass on values that it was given as good as they were
    pub parameters: BTreeMap<Name, (Value, ChosenBy)>,
    /// What for
    pub objective: Option<String>,
    /// The task that delegates it
    pub parent: Option<TaskId>,
}

/// The start of a child process for a task
#[derive(Clone, Debug)]
pub struct Start {
    /// The id that the effect will have
    pub effect: EffectId,
    /// For which run
    pub run: RunId,
    /// Of which connector
    pub connector: Name,
}

/// A look at how a call stands that goes on at its connector, or a word to it
#[derive(Clone, Debug)]
pub struct Poll {
    /// The id that the effect will have
    pub effect: EffectId,
    /// For which run
    pub run: RunId,
    /// The call
    pub of: EffectId,
    /// The method that asks for it
    pub method: String,
}

/// A run was told what there is at a connector
#[derive(Clone, Debug)]
pub struct Looked {
    /// Which run
    pub run: RunId,
    /// Which connector
    pub connector: Name,
    /// With which method
    pub method: String,
    /// How many items it was shown
    pub shown: u32,
    /// How many it was not
    pub hidden: u32,
}

/// The end of a node
#[derive(Clone, Debug)]
pub struct Stop {
    /// Which
    pub node: Node,
    /// Why
    pub why: Why,
    /// Who stops it
    pub by: Actor,
    /// Since when, if it was over before it is recorded
    pub at: Option<Millis>,
}

/// A yes of a person, given beforehand
#[derive(Clone, Debug)]
pub struct Grant {
    /// The id that it will have
    pub grant: GrantId,
    /// Who gives it
    pub by: Actor,
    /// Who answers for it, as the record will say it: `user:NAME` or `account:NAME`
    pub owner: String,
    /// To what
    pub to: To,
    /// Why, in a sentence
    pub why: String,
    /// When it is over at the latest
    pub until: Millis,
}

/// A change of the registry
#[derive(Clone, Debug)]
pub struct Change {
    /// Who changes it
    pub by: Actor,
    /// What
    pub what: ChangeWhat,
}

/// What is changed
#[derive(Clone, Debug)]
pub enum ChangeWhat {
    /// Another version of the policy becomes current
    Bundle {
        /// The version
        bundle: Arc<crate::policy::Bundle>,
        /// Its files, as they will be read again
        blob: Vec<u8>,
    },
    /// A version of the policy that was current before is current again
    Back {
        /// The version, as it was read back from the log
        bundle: Arc<crate::policy::Bundle>,
    },
    /// The definitions of a connector's tools are accepted
    Pins {
        /// Which connector
        connector: Name,
        /// The definitions, exactly as the connector wrote them, by tool and digest
        definitions: BTreeMap<ToolName, (Hash, Vec<u8>)>,
        /// Who the connector was
        identity: Identity,
    },
}

/// An effect has ended
#[derive(Clone, Debug)]
pub struct Settle {
    /// Which
    pub effect: EffectId,
    /// How
    pub end: End,
    /// The canonical digest of the answer, to be committed to under a salt
    pub result: Option<Hash>,
    /// Values of the fields of the answer that the permit asked for
    pub returned: BTreeMap<Source, Vec<Value>>,
}

impl Settle {
    /// An end without an answer to commit to
    #[must_use]
    pub fn new(effect: EffectId, end: End) -> Self {
        Self { effect, end, result: None, returned: BTreeMap::new() }
    }
}

/// A connector was asked what it offers
#[derive(Clone, Debug)]
pub struct Saw {
    /// Which connector
    pub connector: Name,
    /// Digests by tool; `None`: it was not asked, only who it is was seen
    pub tools: Option<BTreeMap<ToolName, Hash>>,
    /// Who it was
    pub identity: Identity,
}

/// A server was asked what it offers, outside of any task
#[derive(Clone, Debug)]
pub struct Probed {
    /// Its command or address
    pub reach: String,
    /// How many tools it offers
    pub tools: usize,
}

/// A request that never came to a judgement
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The run that the token names
    pub run: RunId,
    /// What was asked for
    pub what: String,
    /// Why not
    pub reason: Reason,
}
