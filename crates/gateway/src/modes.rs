//! Observe mode as people see it: which grants are live, and what each of them touches.

use portreeve_core::{
    names::{GrantId, TaskId},
    node::Node,
    state::{Grant, State},
    time::Millis,
};
use serde::Serialize;

/// A live grant that lets calls outside of the envelope through
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Observing {
    /// Its name
    pub grant: GrantId,
    /// Of which tasks or to where: `all`, a purpose or a connector
    pub on: Node,
    /// Who answers for it
    pub owner: String,
    /// Why; `None` if that was erased from the record
    pub why: Option<String>,
    /// When it was given
    pub given: Millis,
    /// When it is over at the latest
    pub until: Millis,
}

impl Observing {
    pub(crate) fn of(grant: GrantId, found: &Grant) -> Self {
        Self {
            grant,
            on: found.on.clone(),
            owner: found.owner.clone(),
            why: found.why.clone(),
            given: found.given,
            until: found.until,
        }
    }
}

/// Every live grant
#[must_use]
pub fn observing(state: &State, now: Millis) -> Vec<Observing> {
    let live = state.grants().filter(|(id, _)| state.grant_lives(*id, now));
    live.map(|(id, grant)| Observing::of(id, grant)).collect()
}

/// The live grants that touch a task
#[must_use]
pub fn observing_task(state: &State, task: TaskId, now: Millis) -> Vec<Observing> {
    state.observing(task, now).into_iter().map(|(id, grant)| Observing::of(id, grant)).collect()
}
