//! Traces: what tasks did, one JSON object on each line, judged in order by the real core.
//!
//! ```json
//! {"purpose":"refund-order","agent":"support-bot","user":"lea","time":"2026-01-05T12:00:00Z",
//!  "parameters":{"order":"ord_1"},
//!  "calls":[{"tool":"shop.get_order","arguments":{"id":"ord_1"},"ok":true,"returned":{"look.id":["ord_1"]}}]}
//! ```
//! Only `purpose` and `calls`, and of a call only `tool`, have to be there. `user` may be `null`: nobody. What a
//! call returned is written by step and field, as the operator `from` names it; the step is the one that lets
//! the call through. A call that is refused did not happen: nothing is charged, and the next one is judged.

use crate::{
    Loaded,
    case::{in_words, millis},
    stage::{For, Judgement, NOON, Opening, Stage},
};
use portreeve_core::{
    names::{Name, Tool},
    pattern::Source,
    reason::{Reason, Verdict, Word},
    value::Value,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What one task did
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Under which purpose
    pub purpose: Name,
    /// Who worked; the first agent of the purpose if nobody is named
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Name>,
    /// On whose behalf: a user, `null` for nobody, and if nothing is said the first that may
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub user: Option<Option<Name>>,
    /// When, as RFC 3339; noon of a Monday if nothing is said
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// With which values
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<Name, Value>,
    /// What it called, in order
    pub calls: Vec<Called>,
}

/// `null` is something that was said
fn said<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Name>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// One call of a trace
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Called {
    /// What was called
    pub tool: Tool,
    /// With which arguments
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, Value>,
    /// Whether it succeeded; it did if nothing is said
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub ok: bool,
    /// Length of the answer
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes: u64,
    /// Values of fields of its answer, by step and field
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub returned: BTreeMap<Source, Vec<Value>>,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

/// A line of a file of traces that cannot be read
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct BadLine {
    /// Counted from 1
    pub line: usize,
    /// What is wrong with it
    pub why: String,
}

/// Reads traces, one on each line; empty lines mean nothing
///
/// # Errors
/// The first line that is none.
pub fn traces(text: &str) -> Result<Vec<Trace>, BadLine> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let bad = |why: String| BadLine { line: index + 1, why };
            // Read as strictly as a message: two readers of a repeated key would not see the same call.
            let value: Value =
                line.trim().parse().map_err(|error: portreeve_core::json::Error| bad(error.to_string()))?;
            let trace: Trace = serde_json::from_str(&value.canonical()).map_err(|error| bad(error.to_string()))?;
            match trace.time.as_deref().map(millis) {
                Some(None) => Err(bad("`time` is no point in time such as 2026-01-05T12:00:00Z".to_owned())),
                _ => Ok(trace),
            }
        })
        .collect()
}

/// What the judge says of a trace
#[derive(Clone, Debug, Serialize)]
pub struct Followed {
    /// The purpose
    pub purpose: Name,
    /// Why the task cannot be opened, if it cannot
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub opening: Vec<Reason>,
    /// Each of its calls
    pub calls: Vec<Step>,
}

/// What the judge says of one call
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The call as a person writes it
    pub call: String,
    /// The tool
    pub tool: Tool,
    /// `permit`, `ask` or `deny`
    pub verdict: &'static str,
    /// Every unmet reason
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

impl Followed {
    /// Calls with a verdict
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        let word = crate::explain::word_of(verdict);
        self.calls.iter().filter(|call| call.verdict == word).count()
    }

    /// Every word that stands against a call or the opening
    #[must_use]
    pub fn words(&self) -> BTreeSet<Word> {
        let reasons = self.calls.iter().flat_map(|call| &call.reasons).chain(&self.opening);
        reasons.map(|reason| reason.word).collect()
    }
}

impl Trace {
    /// Judges its calls in order
    #[must_use]
    pub fn follow(&self, loaded: &Loaded) -> Followed {
        let now = self.time.as_deref().and_then(millis).unwrap_or(NOON);
        let mut stage = Stage::new(loaded, now);
        let user = match &self.user {
            None => For::Anybody,
            Some(None) => For::Nobody,
            Some(Some(user)) => For::User(user.clone()),
        };
        let opening = Opening {
            purpose: self.purpose.clone(),
            agent: self.agent.clone(),
            user,
            parameters: self.parameters.clone(),
        };
        // A trace that says no time is of no day, so no review is overdue on it.
        let excused: &[Word] = if self.time.is_some() { &[] } else { &[Word::PurposeOverdue] };
        let opening = stage.open(&opening, excused).err().unwrap_or_default();
        let step = |called: &Called| {
            let judgement = if opening.is_empty() {
                let call = stage.call(&called.tool, &called.arguments);
                let judgement = stage.judge(&call);
                if let Some(admission) = &judgement.admission {
                    stage.happen(&call, admission, called.ok, called.bytes, &called.returned);
                }
                judgement
            } else {
                Judgement::refused(opening.clone())
            };
            Step {
                call: in_words(&called.tool, &called.arguments),
                tool: called.tool.clone(),
                verdict: crate::explain::word_of(judgement.verdict()),
                reasons: judgement.reasons,
            }
        };
        let calls = self.calls.iter().map(step).collect();
        Followed { purpose: self.purpose.clone(), opening, calls }
    }
}

#[cfg(test)]
mod tests;
