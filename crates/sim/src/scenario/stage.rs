//! Where a scenario is played, and what is seen there.

use super::Opening;
use portreeve_core::{reason::Reason, value::Value};
use serde::Serialize;
use std::collections::BTreeMap;

/// Somewhere to play a scenario
///
/// Tasks go by the names that the scenario gives them.
pub trait Stage {
    /// Opens a task
    fn open(&mut self, name: &str, opening: &Opening) -> Saw;

    /// Lists the tools of a connector as the task's agent sees them
    fn list(&mut self, task: &str, connector: &str) -> Saw;

    /// Calls a tool as the task's agent
    fn call(&mut self, task: &str, tool: &str, arguments: &BTreeMap<String, Value>) -> Saw;

    /// Answers the question that was put last, as this user
    fn answer(&mut self, by: &str, yes: bool, why: &str) -> Saw;

    /// Takes back what a task did
    fn undo(&mut self, task: &str) -> Saw;

    /// Stops a task
    fn stop(&mut self, task: &str) -> Saw;

    /// Looks which credentials of a task its servers know
    fn keys(&mut self, task: &str) -> Saw;

    /// Verifies the record
    fn verify(&mut self) -> Saw {
        Saw::Unsupported
    }

    /// Changes the record from outside
    fn tamper(&mut self) -> Saw {
        Saw::Unsupported
    }
}

/// What is seen of a step
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Saw {
    /// The task is open
    Open,
    /// These tools, in order
    Listed(Vec<String>),
    /// The connector did it
    Ok,
    /// The connector says that it failed, in these words
    Failed(String),
    /// No such tool; the same answer for a hidden one
    UnknownTool,
    /// People are asked
    Held(Asked),
    /// The task is stopped
    Stopped,
    /// What could be taken back is
    Undone(Vec<TakenBack>),
    /// Servers know credentials of these classes, or none
    Keys(Vec<String>),
    /// It may not happen
    Refused(Refusal),
    /// Something else, in one word: `verified`, `tampered`
    Said(String),
    /// This stage cannot do that
    Unsupported,
}

/// Why something may not happen, as the agent is told
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The reason's stable word
    pub word: String,
    /// What is wrong, in a sentence
    pub says: String,
    /// What to do about it
    pub remedy: String,
}

/// A question to people
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// What they type
    pub code: String,
    /// The groups that are asked
    pub who: Vec<String>,
}

/// What became of something that a task did
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TakenBack {
    /// What was called
    pub tool: String,
    /// The call that took it back, or nothing
    pub by: Option<String>,
    /// Why nothing did
    pub why: Option<String>,
}

impl Saw {
    /// A refusal for these reasons, of which the first is told
    #[must_use]
    pub fn refused(reasons: &[Reason]) -> Self {
        reasons.first().map_or(Self::Unsupported, |reason| {
            Self::Refused(Refusal {
                word: reason.word.to_string(),
                says: reason.to_string(),
                remedy: reason.word.remedy().to_owned(),
            })
        })
    }

    /// The word that a scenario expects
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Open => "open",
            Self::Listed(_) => "listed",
            Self::Ok => "ok",
            Self::Failed(_) => "failed",
            Self::UnknownTool => "unknown_tool",
            Self::Held(_) => "held",
            Self::Stopped => "stopped",
            Self::Undone(_) => "undone",
            Self::Keys(classes) if classes.is_empty() => "none",
            Self::Keys(_) => "live",
            Self::Refused(refusal) => &refusal.word,
            Self::Said(word) => word,
            Self::Unsupported => "unsupported",
        }
    }
}
