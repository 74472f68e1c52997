//! May this happen? One pure function over the state, the policy, the request and the time.
//!
//! The answer is the set of unmet reasons. Purposes, ancestors, versions and rules compose by set union, so
//! adding a rule can only add reasons, and order never matters. "No purpose allows it" is itself a reason:
//! the empty set is earned.

mod call;
mod elevate;
mod envelope;
mod facts;
mod grant;
mod hold;
mod lease;
mod listed;
mod open;
mod poll;
mod role;

pub use call::{Admission, Held, Judged, Reading, Seen, Starting, Used, judge_call, judge_question, judge_start};
pub use elevate::{Agreed, Elevating, granted_elevation, judge_elevate};
pub use grant::{GRANT_MS_MAX, Observed, judge_grant};
pub use hold::{
    Again, Asking, Holding, SHOWN_BYTES_MAX, Ticket, WHY_BYTES_MAX, judge_answer, judge_review, may_answer, may_review,
};
pub use lease::{LEASES_MAX, Leasing, Wants, Whom, judge_lease};
pub use listed::{Listed, listed, visible};
pub use open::{Opened, Opening, judge_open};
pub use poll::{Polling, judge_poll};
pub use role::{Changing, judge_change, judge_sign_in, may};

use crate::{
    event::Actor,
    hash::Hash,
    node::Node,
    policy::{Bundle, Deed},
    proof::Proven,
    reason::{Reason, Word},
    request::{Clock, Pause, Prove, Ship, Stop},
    state::{OpenWhat, Phase, State},
    time::Millis,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The versions of the policy that something rests on, ready to judge with
///
/// A version that is missing here could not be read: what rests on it is refused.
#[derive(Clone, Debug, Default)]
pub struct Shelf(pub BTreeMap<Hash, Arc<Bundle>>);

impl Shelf {
    /// A version by its digest
    #[must_use]
    pub fn get(&self, digest: Hash) -> Option<&Arc<Bundle>> {
        self.0.get(&digest)
    }

    /// The current version
    #[must_use]
    pub fn current(&self, state: &State) -> Option<&Arc<Bundle>> {
        state.bundle.and_then(|digest| self.get(digest))
    }
}

/// The time to judge with, and what is wrong with the clock
///
/// Time never goes back behind the record, so that nothing that was over lives again.
#[must_use]
pub fn now(state: &State, clock: Clock) -> (Millis, Option<Reason>) {
    let now = clock.steady.max(state.time);
    let apart = clock.wall.since(clock.steady).abs();
    let behind = state.time.since(clock.steady);
    let reason = if apart > CLOCK_APART_MS_MAX {
        Some(Reason::new(Word::ClockUnreliable, "clock").with("apart_ms", apart))
    } else if behind > CLOCK_BEHIND_MS_MAX {
        Some(Reason::new(Word::ClockUnreliable, "clock").with("behind_record_ms", behind))
    } else {
        None
    };
    (now, reason)
}

/// How far the wall clock may drift from the steady one: a step, not a correction
const CLOCK_APART_MS_MAX: i64 = 60_000;
/// How far the clock may be behind the last record: more than a small correction between two starts
const CLOCK_BEHIND_MS_MAX: i64 = 5_000;

/// May this node be stopped? Judged by role and life alone, never by rules
#[must_use]
pub fn judge_stop(state: &State, shelf: &Shelf, stop: &Stop, clock: Clock) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if let Actor::Agent(agent) = &stop.by {
        // Whoever proves itself as the agent of a task may end it, and nothing else.
        let task = match &stop.node {
            Node::Task(id) => state.task(*id),
            _ => None,
        };
        if task.is_none_or(|task| task.agent != *agent || task.proven.is_none()) {
            reasons.push(Reason::new(Word::NotYours, &stop.node));
        }
    } else if !matches!(stop.by, Actor::Run(_)) {
        reasons.extend(may_stop(state, shelf, &stop.by, &stop.node, now(state, clock).0));
    }
    if let Actor::Run(run) = stop.by {
        let own = match stop.node {
            Node::Run(node) => node == run,
            Node::Task(task) => state.task_of(run) == Some(task),
            // Whoever put a question may take it back: that only takes away.
            Node::Hold(hold) => {
                state.task_of(run).is_some() && state.hold(hold).map(|hold| hold.held.task) == Some(state.task_of(run))
            }
            _ => false,
        };
        if !own {
            reasons.push(Reason::new(Word::NotYours, &stop.node));
        }
    }
    // For a child this records that it is gone, which only whoever has looked can say.
    if matches!(stop.node, Node::Child(_)) && stop.by != Actor::System {
        reasons.push(Reason::new(Word::NotYours, &stop.node));
    }
    let known = match &stop.node {
        Node::Tenant => true,
        Node::Task(id) => state.tasks.contains_key(id),
        Node::Run(run) => state.task_of(*run).is_some_and(|task| state.tasks.contains_key(&task)),
        Node::Child(id) => state.effects.get(id).is_some_and(|open| matches!(open.what, OpenWhat::Child(_))),
        Node::Lease(id) => state.open_lease(*id).is_some(),
        Node::Grant(id) => state.grants.contains_key(id) || state.is_elevation(*id),
        Node::Hold(id) => state.hold(*id).is_some_and(|hold| hold.phase == Phase::Open),
        node => state.registry.contains_key(node),
    };
    if !known {
        let ended = match &stop.node {
            Node::Task(id) => state.over.get(id),
            Node::Run(run) => state.task_of(*run).and_then(|task| state.over.get(&task)),
            _ => None,
        };
        let unknown = match stop.node {
            Node::Grant(_) => Word::GrantUnknown,
            Node::Hold(_) => Word::HoldOver,
            _ => Word::TaskUnknown,
        };
        reasons.push(ended.map_or_else(
            || Reason::new(unknown, &stop.node),
            |over| Reason::new(Word::TaskOver, &stop.node).with("why", over.why),
        ));
    }
    reasons
}

/// Why a person may not stop a node: operators stop everything, and everybody ends what is their own
#[must_use]
pub fn may_stop(state: &State, shelf: &Shelf, by: &Actor, node: &Node, now: Millis) -> Option<Reason> {
    let reason = may(state, shelf, by, Deed::Stop, node, now)?;
    let task = match node {
        Node::Task(id) => Some(*id),
        Node::Run(run) => state.task_of(*run),
        Node::Lease(id) => state.open_lease(*id).and_then(|(open, _)| open.task),
        _ => None,
    };
    let is_own = by.user().is_some_and(|user| match node {
        Node::Grant(id) => state.grants.get(id).is_some_and(|grant| grant.owner == format!("user:{user}")),
        _ => task.is_some_and(|task| state.is_of(task, user)),
    });
    (!is_own || reason.word != Word::RoleMissing).then_some(reason)
}

/// May this node be halted, or go on? By operators only, and only what stands in the policy
#[must_use]
pub fn judge_pause(state: &State, shelf: &Shelf, pause: &Pause, clock: Clock) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if pause.by == Actor::System {
        reasons.push(Reason::new(Word::NotYours, &pause.node));
    }
    reasons.extend(may(state, shelf, &pause.by, Deed::Pause, &pause.node, now(state, clock).0));
    let word = match &pause.node {
        Node::Agent(_) => Word::AgentUnknown,
        Node::User(_) => Word::UserUnknown,
        Node::Purpose(_) => Word::PurposeUnknown,
        Node::Connector(_) => Word::ConnectorStopped,
        _ => Word::TaskUnknown,
    };
    let halts = matches!(pause.node, Node::Agent(_) | Node::User(_) | Node::Purpose(_) | Node::Connector(_));
    if !halts || !state.stands(&pause.node) {
        reasons.push(Reason::new(word, &pause.node));
    }
    reasons
}

/// May the agent of this task go on with what it has shown now? Only the agent of a task that began with a proof
#[must_use]
pub fn judge_prove(state: &State, shelf: &Shelf, prove: &Prove, clock: Clock) -> Vec<Reason> {
    let (now, clock) = now(state, clock);
    let mut reasons = BTreeSet::from_iter(clock);
    reasons.extend(state.life(prove.task, now));
    let Some(task) = state.task(prove.task) else { return reasons.into_iter().collect() };
    if task.agent != prove.agent || task.proven.is_none() {
        reasons.insert(Reason::new(Word::NotYours, prove.task));
    }
    // Rules may rest on it, and tokens of before go on: what is bound stays bound, what is not is not taken for it.
    let (was, is) = (Proven::bound(task.proven.as_ref()), Proven::bound(Some(&prove.proven)));
    if was != is {
        let source = Node::Agent(prove.agent.clone());
        reasons.insert(Reason::new(Word::ProofWrong, &source).with("bound", is).with("wanted", was));
    }
    match shelf.current(state) {
        Some(bundle) => reasons.extend(open::shown(bundle, &prove.agent, Some(&prove.proven), now)),
        None => drop(reasons.insert(Reason::new(Word::PolicyUnavailable, "policy"))),
    }
    reasons.into_iter().collect()
}

/// May this agent bring the record of another gateway? Only one whose file says so, once it has shown who it is
#[must_use]
pub fn judge_ship(state: &State, shelf: &Shelf, ship: &Ship, now: Millis) -> Vec<Reason> {
    let node = Node::Agent(ship.agent.clone());
    let Some(bundle) = shelf.current(state) else { return vec![Reason::new(Word::PolicyUnavailable, "policy")] };
    let mut reasons = open::standing(state, Word::AgentStopped, &node);
    reasons.extend(open::shown(bundle, &ship.agent, Some(&ship.proven), now));
    if bundle.agents.get(&ship.agent).is_none_or(|agent| !agent.ships) {
        reasons.push(Reason::new(Word::NotYours, &node).with("ships", false));
    }
    reasons
}
