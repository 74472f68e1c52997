//! May a call that goes on at its connector be asked after?

use super::{
    Shelf,
    call::{OPEN_MAX, chain, live_pin, versions},
    envelope::{Share, limits},
    grant::{Observed, lift},
    lease::{self, Wants},
    now,
};
use crate::{
    event::Charge,
    names::{EffectId, TaskId, Tool},
    node::Node,
    pattern::Source,
    policy::Class,
    reason::{Reason, Word},
    request::{Clock, Poll},
    state::State,
    time::Millis,
};
use std::collections::BTreeSet;

/// What a poll is, once no reason is left
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polling {
    /// The task that it is done for
    pub task: TaskId,
    /// What was called
    pub tool: Tool,
    /// What is held for its answer
    pub charges: Vec<Charge>,
    /// Fields of the result that later steps need
    pub wanted: BTreeSet<Source>,
    /// Of which class the call is
    pub class: Class,
    /// The lease that it goes with; otherwise the connection that has to be made
    pub lease: Result<Option<EffectId>, Wants>,
    /// The time that was judged with
    pub now: Millis,
    /// What would have refused it, if a grant lets it through
    pub observed: Option<Observed>,
}

/// The unmet reasons why a call that was answered and is not finished may not be asked after
///
/// It was judged and charged when it was made. Since then things may have been stopped, definitions changed, purposes
/// narrowed: what would not be let through at all any more is not asked after either.
///
/// # Errors
/// The reasons, sorted.
pub fn judge_poll(state: &State, shelf: &Shelf, poll: &Poll, clock: Clock) -> Result<Polling, Vec<Reason>> {
    let (now, clock_reason) = now(state, clock);
    let mut reasons = BTreeSet::from_iter(clock_reason);
    let Some(task_id) = state.task_of(poll.run) else {
        reasons.insert(Reason::new(Word::TaskUnknown, poll.run));
        return Err(reasons.into_iter().collect());
    };
    reasons.extend(state.life(task_id, now));
    let (Some(task), Some(current)) = (state.task(task_id), shelf.current(state)) else {
        if state.task(task_id).is_some() {
            reasons.insert(Reason::new(Word::PolicyUnavailable, "policy"));
        }
        return Err(reasons.into_iter().collect());
    };
    let Some(pending) = task.pending(poll.of) else {
        reasons.insert(Reason::new(Word::ContinuationUnknown, poll.of).with("method", &poll.method));
        return Err(reasons.into_iter().collect());
    };
    let tool = &pending.tool;
    reasons.extend(state.connector_life(&tool.connector));
    reasons.extend(live_pin(state, tool));
    if task.open >= OPEN_MAX {
        reasons.insert(Reason::new(Word::TooManyOpen, task_id).with("limit", OPEN_MAX));
    }
    let mut charges = Vec::new();
    let mut wanted = BTreeSet::new();
    let mut class = Class::Read;
    for (link, link_task) in chain(state, task_id, task) {
        let paid = pending.paid.get(&link).cloned().unwrap_or_default();
        let mut share = Share::new(0, Some(paid.clone()), None);
        let source = || format!("purpose:{}", link_task.purpose);
        for bundle in versions(shelf, link_task.bundle, current) {
            let Some(bundle) = bundle else {
                reasons.insert(Reason::new(Word::PolicyUnavailable, link));
                continue;
            };
            let Some(profile) = bundle.profile(tool) else {
                let source = Node::Connector(tool.connector.clone());
                reasons.insert(Reason::new(Word::ToolOutsidePurpose, source).with("tool", tool));
                continue;
            };
            if bundle.rules.hides(tool, profile.class) {
                reasons.insert(Reason::new(Word::ToolOutsidePurpose, "rules").with("tool", tool));
            }
            // Which variant the call fitted is not known any more, so no grant opens what may have been privileged.
            let classes = profile.variants.iter().map(|variant| variant.class);
            class = class.max(classes.max().unwrap_or(profile.class)).max(profile.class);
            let Some(purpose) = bundle.purposes.get(&link_task.purpose) else {
                reasons.insert(Reason::new(Word::PurposeStopped, Node::Purpose(link_task.purpose.clone())));
                continue;
            };
            if purpose.entries_of(tool).next().is_none() {
                reasons.insert(Reason::new(Word::ToolOutsidePurpose, source()).with("tool", tool));
            }
            reasons.extend(limits(&purpose.limits, link_task, &mut share, &source));
            wanted.extend(paid.iter().flat_map(|step| purpose.wanted_of(step)).cloned());
        }
        share.entries = paid;
        charges.push(share.charge(link));
    }
    let observed = lift(state, task, (&tool.connector, class), &mut reasons, now);
    if !reasons.is_empty() {
        return Err(reasons.into_iter().collect());
    }
    let class = pending.class;
    let lease = lease::goes_with(state, shelf, (task_id, &tool.connector, class), (poll.effect, poll.lease), now);
    Ok(Polling { task: task_id, tool: tool.clone(), charges, wanted, class, lease, now, observed })
}
