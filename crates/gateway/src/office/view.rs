//! What people are shown: the same on the console, the command line, the API and in messages.
//!
//! Plain data; every text in it may be an attacker's and is shown as text.

use portreeve_core::{
    hash::Hash,
    names::{EffectId, GrantId, HoldId, Name, RunId, TaskId},
    node::{Node, Why},
    policy::Class,
    reason::Reason,
    time::Millis,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A question put to people, with everything that they need to answer it
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldView {
    /// Its id
    pub hold: HoldId,
    /// What people type: `ABCD-EFGH`
    pub code: String,
    /// Where it stands
    pub state: HoldState,
    /// What it is about
    pub about: About,
    /// The digest that an answer repeats: of everything that is shown
    pub binding: Hash,
    /// The task that it belongs to; an opening has none yet
    pub task: Option<TaskId>,
    /// Who asks: the agent
    pub agent: Name,
    /// On whose behalf
    pub user: Option<Name>,
    /// The agents above it, nearest first
    pub chain: Vec<Name>,
    /// Under which purpose
    pub purpose: Name,
    /// One line about the purpose
    pub purpose_about: String,
    /// Parameters of the task, and who chose them
    pub parameters: Vec<Shown>,
    /// What the task is for, in the words of whoever opened it, if that was said
    pub objective: Option<Shown>,
    /// What the task has done so far, the latest last; at most the last 20, and none in a list
    pub steps: Vec<StepView>,
    /// What is asked, of whom
    pub questions: Vec<QuestionView>,
    /// Who said what
    pub answers: Vec<AnswerView>,
    /// Identical calls of the task that went before, whose outcome matters now
    pub earlier: Vec<StepView>,
    /// When it was asked
    pub asked: Millis,
    /// When it is over
    pub until: Millis,
    /// Why the one who looks may not answer; empty if they may
    pub not_by_you: Vec<Reason>,
    /// Whether the one who looks may say no, also once enough have said yes, as long as it was not used
    pub may_deny: bool,
    /// Whether the answer of the one who looks needs a passkey
    pub passkey: bool,
    /// Whether the one who looks may see everything that the task did
    pub timeline: bool,
}

/// Where a hold stands
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    /// People are asked
    Open,
    /// Enough have said yes; it was not used yet
    Approved,
    /// Somebody said no
    Declined,
    /// It was used: its call is under way
    Used,
    /// It was used, and the end is known
    Done,
    /// It was used, and nobody can know what happened
    Unknown,
    /// Nobody answered in time, or what it rests on is over
    Over,
}

/// A credential that would go with a call
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialView {
    /// The source that it comes from
    pub source: Name,
    /// What kind of back end that is
    pub kind: String,
    /// What taking it back achieves, in words
    pub revocation: String,
    /// Whether it is there before the task and after it
    pub standing: bool,
}

/// What a hold is about
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum About {
    /// A call
    Call {
        /// What would be called: `shop.refund`
        tool: String,
        /// One line about the tool from its accepted definition
        says: Option<String>,
        /// Variants that it fits
        variants: Vec<Name>,
        /// Its class
        class: Class,
        /// Its arguments
        arguments: Vec<Shown>,
        /// What it is about, as rules name it
        target: Option<String>,
        /// How confidential its results may be
        label: String,
        /// What takes it back, in words; `None`: nothing does
        undo: Option<String>,
        /// What changes, if that could be read before
        changes: Vec<Change>,
        /// What credential its server is shown, and what taking that back achieves; `None`: none
        credential: Option<CredentialView>,
    },
    /// The opening of a class for a while
    Elevation {
        /// The class
        class: Class,
        /// For these tools
        tools: Vec<String>,
        /// With exactly these values
        values: Vec<Shown>,
        /// How often
        times: u32,
        /// For how long, in milliseconds
        lasts_ms: i64,
        /// Why, in the agent's words
        why: Shown,
    },
    /// The opening of a task
    Opening {
        /// Who opens it
        opener: Option<Name>,
        /// Whether it is a break-glass purpose
        break_glass: bool,
        /// Milliseconds that the task would live
        lasts_ms: i64,
    },
}

/// A value as people see it
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its name or path
    pub name: String,
    /// Text as it is, anything else as canonical JSON, and in quotes text that could be taken for that; `None`: the
    /// record keeps no value
    pub value: Option<String>,
    /// Who chose it: `parameter`, `model`
    pub chosen_by: String,
    /// What stood there in the last call of this tool that was let through in this task, if it was something else
    pub changed: Option<String>,
}

/// A line of a difference
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `-` goes, `+` comes, ` ` stays
    pub mark: char,
    /// The line
    pub text: String,
}

/// A question and how far it is answered
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionView {
    /// Where it comes from: `purpose:refund-order`, `rule:night`
    pub source: String,
    /// The step of the purpose, if it is one's
    pub step: Option<Name>,
    /// The group whose members are asked
    pub who: Name,
    /// How many of them
    pub people: u8,
    /// How many have said yes so far and count
    pub so_far: u8,
    /// Whether a yes needs a passkey
    pub passkey: bool,
}

/// An answer
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerView {
    /// Whose
    pub user: Name,
    /// Yes or no
    pub yes: bool,
    /// Why, unless erased
    pub why: Option<String>,
    /// When
    pub at: Millis,
    /// How they signed in: `socket`, `link`, `passkey`, `webhook`
    pub how: String,
    /// Whether it still counts: its giver may have left
    pub counts: bool,
}

/// A call of a task
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    /// Its effect
    pub effect: EffectId,
    /// When it was admitted
    pub at: Millis,
    /// What was called
    pub tool: String,
    /// Its class
    pub class: Class,
    /// How it ended: `open`, `ok`, `failed`, `pending`, `not_sent`, `unknown`
    pub end: String,
    /// With which arguments, on one line
    pub arguments: String,
}

/// A task in a list
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRow {
    /// Its id
    pub task: TaskId,
    /// The run that works on it
    pub run: RunId,
    /// Who works
    pub agent: Name,
    /// On whose behalf
    pub user: Option<Name>,
    /// Under which purpose
    pub purpose: Name,
    /// When it was opened
    pub opened: Millis,
    /// When it is over if nothing happens
    pub over_at: Millis,
    /// Calls so far
    pub calls: u32,
    /// Calls under way
    pub open: u32,
    /// Holds that wait
    pub holds: u32,
    /// Why it may not act any more
    pub reasons: Vec<Reason>,
}

/// One task with everything that happened in it
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// What the list says of it; `None` once it has left memory
    pub row: Option<TaskRow>,
    /// Its id
    pub task: TaskId,
    /// Why it is over
    pub over: Option<Why>,
    /// Its parameters
    pub parameters: Vec<Shown>,
    /// What it is for
    pub objective: Option<Shown>,
    /// Classes that stand for its life
    pub standing: Vec<Class>,
    /// Elevations that are live
    pub elevations: Vec<ElevationView>,
    /// Grants under which calls outside of the purpose are let through
    pub observed: bool,
    /// What happened, in order
    pub timeline: Vec<Moment>,
    /// Whether the timeline was cut at the front
    pub cut: bool,
    /// The task that this one undoes
    pub undoes: Option<TaskId>,
}

/// A live elevation
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElevationView {
    /// Its id; `portreeve kill` ends it
    pub grant: GrantId,
    /// The class
    pub class: Class,
    /// For these tools
    pub tools: Vec<String>,
    /// With exactly these values
    pub values: Vec<Shown>,
    /// How often it may be used still
    pub left: u32,
    /// Until when
    pub until: Millis,
    /// Who answers for it: `user:NAME`, `purpose:NAME`
    pub owner: String,
}

/// Something that happened in a task
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// When
    pub at: Millis,
    /// Position in the record: group and index
    pub seq: (u64, u32),
    /// What kind: `began`, `held`, `granted`, `declined`, `refused`, `admitted`, `settled`, `stopped`, `noted`
    pub kind: String,
    /// By whom
    pub actor: String,
    /// One line
    pub title: String,
    /// The judgement's reasons or what let it through, and other details
    pub details: Vec<(String, String)>,
    /// The effect that it belongs to
    pub effect: Option<EffectId>,
    /// The hold that it belongs to
    pub hold: Option<HoldId>,
    /// Its class, for a call
    pub class: Option<Class>,
    /// `good`, `bad`, `waits`, `plain`
    pub tone: String,
}

/// A break-glass task whose review is open
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewView {
    /// The task
    pub task: TaskId,
    /// Its purpose
    pub purpose: Name,
    /// Who opened it
    pub opener: Option<Name>,
    /// Who approved the opening
    pub approvers: Vec<Name>,
    /// The group that reviews
    pub review: Name,
    /// When it was opened
    pub opened: Millis,
    /// Whether it still lives
    pub live: bool,
    /// Calls that were made
    pub calls: u32,
    /// Why the one who looks may not close it
    pub not_by_you: Vec<Reason>,
}

/// How far a stop got
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopView {
    /// What was stopped
    pub node: Node,
    /// Why
    pub why: Why,
    /// Microseconds until it was on the record: nothing of it is admitted any more
    pub recorded_us: u64,
    /// Until nothing that was admitted before can leave any more; `None`: not yet
    pub settled_us: Option<u64>,
    /// Until calls were cancelled, child processes dead and credentials taken back; `None`: not yet
    pub cleared_us: Option<u64>,
    /// What is still leaving
    pub not_settled: usize,
    /// Effects that are not over
    pub not_cleared: Option<Vec<EffectId>>,
}

/// How approvals go, so that they do not become a reflex
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reflex {
    /// Holds asked
    pub asked: u64,
    /// Answered with yes, all that were needed
    pub approved: u64,
    /// Answered with no
    pub declined: u64,
    /// Not answered in time
    pub lapsed: u64,
    /// By user: yeses, nos, and the median reading time in milliseconds
    pub people: BTreeMap<Name, Reader>,
}

/// How one person answers
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    /// Yeses
    pub yes: u64,
    /// Nos
    pub no: u64,
    /// Median of the reading times of the last 64 answers, if any was measured, in milliseconds
    pub read_ms: Option<u64>,
}
