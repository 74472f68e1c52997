//! The port `Rules`: what refuses or asks, and never allows.

use crate::{
    names::{Name, TaskId, Tool},
    policy::Class,
    reason::Reason,
    time::Millis,
    value::Value,
};
use std::{collections::BTreeMap, fmt::Debug};

/// Everything that a rule can look at
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who acts
    pub agent: &'a Name,
    /// On whose behalf
    pub user: Option<&'a Name>,
    /// Under which purpose
    pub purpose: &'a Name,
    /// In which task
    pub task: TaskId,
    /// The tasks above it, the nearest first
    pub chain: &'a [Link<'a>],
    /// What is called
    pub tool: &'a Tool,
    /// Which of its variants the call fits
    pub variants: &'a [&'a Name],
    /// Of which class it is
    pub class: Class,
    /// With which arguments
    pub arguments: &'a BTreeMap<String, Value>,
    /// When
    pub now: Millis,
}

/// A task that another one was delegated from
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// Which
    pub task: TaskId,
    /// Who works on it
    pub agent: &'a Name,
    /// Under which purpose
    pub purpose: &'a Name,
}

/// A set of rules that can only add reasons
pub trait Rules: Debug + Send + Sync {
    /// The reasons that the rules add; a rule that cannot be evaluated adds one
    ///
    /// The cost depends on the rules about this tool, not on the others.
    fn judge(&self, question: &Question<'_>) -> Vec<Reason>;

    /// Whether some rule forbids the tool outright: to everyone, with any arguments, at any time
    fn hides(&self, tool: &Tool, class: Class) -> bool;
}

/// No rules at all
#[derive(Clone, Copy, Debug)]
pub struct NoRules;

impl Rules for NoRules {
    fn judge(&self, _: &Question<'_>) -> Vec<Reason> {
        Vec::new()
    }

    fn hides(&self, _: &Tool, _: Class) -> bool {
        false
    }
}
