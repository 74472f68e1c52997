//! The port `Rules`: what refuses or asks, and never allows.

use crate::{
    names::{Name, TaskId, Tool},
    policy::{Class, Resource, User},
    proof::Proven,
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
    /// What this version of the policy says of the user
    pub person: Option<&'a User>,
    /// Groups that the user is in because an issuer said so lately, beside those that this version says
    pub groups: &'a [&'a Name],
    /// Under which purpose
    pub purpose: &'a Name,
    /// In which task
    pub task: TaskId,
    /// Who delegated the task, the nearest first
    pub above: &'a [Link<'a>],
    /// What is called
    pub tool: &'a Tool,
    /// Which of its variants the call fits
    pub variants: &'a [&'a Name],
    /// Of which class it is
    pub class: Class,
    /// With which arguments
    pub arguments: &'a BTreeMap<String, Value>,
    /// The matchers of the tool's profile whose answer is clear
    pub matches: &'a BTreeMap<&'a Name, bool>,
    /// What the call is about, if the profile can tell
    pub target: Option<&'a Resource>,
    /// Where it takes effect, if anything says so
    pub environment: Option<&'a str>,
    /// How the agent has proven itself; nothing if the account that serves vouches for it
    pub proven: Option<&'a Proven>,
    /// When
    pub now: Millis,
}

/// One task in a chain of delegations
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
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

    /// Every rule that was looked at for a question, for people who want to know why
    fn about(&self, _: &Question<'_>) -> Vec<Named> {
        Vec::new()
    }
}

/// A rule as people know it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What its reasons say that they come from
    pub source: String,
    /// Who is asked; without it the rule forbids
    pub ask: Option<Name>,
    /// What the agent is told
    pub because: Option<String>,
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
