//! What people are shown of an undo: the plan, and how far it has come.

use portreeve_core::{
    event::Question,
    hash::Hash,
    names::{EffectId, HoldId, TaskId, Tool},
    policy::Class,
    time::Millis,
    undo::{Back, Deed, Plan, Stood, Taking},
    value::Value,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What would take back what a task did
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanView {
    /// The task
    pub task: TaskId,
    /// Whether it still works
    pub live: bool,
    /// The undo of it that is under way
    pub under_way: Option<TaskId>,
    /// The digest of the undoing calls, by which what was shown is known again
    pub digest: Hash,
    /// How many calls would be made
    pub calls: usize,
    /// Everything that it changed, or may have, the last first
    pub deeds: Vec<DeedView>,
}

/// Something that a task changed, or may have
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeedView {
    /// The call
    pub effect: EffectId,
    /// The task that made it
    pub task: TaskId,
    /// When
    pub at: Millis,
    /// What was called
    pub tool: Tool,
    /// Of which class it was
    pub class: Class,
    /// With which arguments; `null` where the record keeps no value
    pub arguments: BTreeMap<String, Option<Value>>,
    /// The call that takes it back
    pub undo: Option<UndoCall>,
    /// Why nothing does
    pub why: Option<WhyNot>,
}

/// An undoing call
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoCall {
    /// The tool
    pub tool: Tool,
    /// Its arguments
    pub arguments: BTreeMap<String, Value>,
}

/// Why nothing takes a call back
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyNot {
    /// In one word
    pub word: String,
    /// In a sentence
    pub says: String,
}

/// How far an undo has come
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoView {
    /// The task that undoes
    pub task: TaskId,
    /// Whose calls it takes back
    pub of: TaskId,
    /// Where it stands
    pub state: UndoState,
    /// Grows with each change
    pub version: u64,
    /// Its calls, in their order
    pub steps: Vec<UndoStepView>,
}

/// Where an undo stands
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoState {
    /// It is being played
    Playing,
    /// All of it is done
    Done,
    /// It came to a call that was not done, and is over
    Stopped,
    /// Nobody plays it: Portreeve ended meanwhile. It goes on when it is asked for again
    Interrupted,
}

/// One undoing call and how far it has come
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoStepView {
    /// The call that it takes back
    pub effect: EffectId,
    /// The tool
    pub tool: Tool,
    /// Its arguments; nothing if they were erased
    pub arguments: Option<Value>,
    /// How far it has come
    pub state: StepState,
    /// What was said of it, if it was not done
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<WhyNot>,
    /// The question to people that it waits for
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Waits>,
}

/// A question that an undoing call waits for
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// The question
    pub hold: HoldId,
    /// What people type
    pub code: String,
    /// Who is asked for what
    pub questions: Vec<Question>,
    /// Until when
    pub until: Millis,
}

/// How far an undoing call has come
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It has not been tried
    Waiting,
    /// It is under way
    Open,
    /// People are asked
    Held,
    /// It was done
    Done,
    /// The server says that it failed
    Failed,
    /// Whether it happened is not known
    Unknown,
    /// It was not sent
    Refused,
}

impl PlanView {
    /// Whether nothing of the task is left as it made it
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.deeds.iter().any(|deed| deed.undo.is_some() || deed.is_left())
    }

    /// Whether it is not known of some call whether it was taken back
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        let doubtful = |deed: &DeedView| deed.why.as_ref().is_some_and(|why| why.word == DOUBTFUL);
        self.deeds.iter().any(doubtful)
    }

    pub(super) fn new(plan: &Plan, live: bool, under_way: Option<TaskId>) -> Self {
        let deeds: Vec<DeedView> = plan.deeds.iter().map(DeedView::new).collect();
        let calls = deeds.iter().filter(|deed| deed.undo.is_some()).count();
        Self { task: plan.of, live, under_way, digest: digest(plan), calls, deeds }
    }
}

/// The word of what may have been taken back
const DOUBTFUL: &str = "doubtful";

/// The digest of the undoing calls of a plan
pub(super) fn digest(plan: &Plan) -> Hash {
    let steps = plan
        .steps()
        .into_iter()
        .flat_map(|(of, tool, arguments)| [of.to_string(), tool.to_string(), Value::canonical_object(&arguments)]);
    let parts: Vec<String> = std::iter::once(plan.of.to_string()).chain(steps).collect();
    Hash::of_parts(&parts.iter().map(String::as_bytes).collect::<Vec<_>>())
}

impl DeedView {
    /// Whether it stays as it is although it changed something, or may have
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.why.as_ref().is_some_and(|why| !matches!(why.word.as_str(), "failed" | "undone" | "undoing"))
    }

    fn new(deed: &Deed) -> Self {
        let (undo, why) = match &deed.back {
            Back::Call { tool, arguments } => {
                (Some(UndoCall { tool: tool.clone(), arguments: arguments.clone() }), None)
            }
            Back::Not(not) => (None, Some(WhyNot { word: not.word().to_owned(), says: not.to_string() })),
        };
        Self {
            effect: deed.effect,
            task: deed.task,
            at: deed.at,
            tool: deed.tool.clone(),
            class: deed.class,
            arguments: deed.arguments.clone(),
            undo,
            why,
        }
    }
}

impl UndoView {
    /// What the record says of it
    pub(super) fn of(taking: &Taking, state: UndoState) -> Self {
        let step = |step: &portreeve_core::undo::TakingStep| UndoStepView {
            effect: step.step.of,
            tool: step.step.tool.clone(),
            arguments: step.step.arguments.value(),
            state: step.stood.into(),
            says: None,
            held: None,
        };
        let steps = taking.steps.iter().map(step).collect();
        Self { task: taking.task, of: taking.of, state, version: 0, steps }
    }
}

impl From<Stood> for StepState {
    fn from(stood: Stood) -> Self {
        match stood {
            Stood::Waiting => Self::Waiting,
            Stood::Open => Self::Open,
            Stood::Done => Self::Done,
            Stood::Failed => Self::Failed,
            Stood::Unknown => Self::Unknown,
        }
    }
}
