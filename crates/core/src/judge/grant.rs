//! May this grant be given, and which one lets a call through that is outside of the envelope?

use super::{Shelf, may, now};
use crate::{
    event::{Actor, To},
    names::{GrantId, Name},
    node::Node,
    policy::{Class, Deed},
    reason::{Reason, Word},
    request::{Clock, Grant},
    state::{State, Task},
    time::Millis,
};
use std::collections::BTreeSet;

/// How long a grant may last, in milliseconds: seven days
pub const GRANT_MS_MAX: i64 = 7 * 24 * 60 * 60 * 1_000;
/// Grants that may be live at once, so that looking through them costs nothing
const GRANTS_MAX: usize = 64;
/// Bytes of the sentence that says why
const WHY_BYTES_MAX: usize = 1_000;

/// The unmet reasons why a grant may not be given
///
/// A run is no principal of it: a grant never comes through the run that it serves.
#[must_use]
pub fn judge_grant(state: &State, shelf: &Shelf, grant: &Grant, clock: Clock) -> Vec<Reason> {
    let (now, clock_reason) = now(state, clock);
    let mut reasons = BTreeSet::from_iter(clock_reason);
    // Only observe mode is given so; what answers a question or opens a class has ways of its own.
    let To::Observe { on } = &grant.to else {
        return vec![Reason::new(Word::NotYours, Node::Grant(grant.grant))];
    };
    if grant.by == Actor::System {
        reasons.insert(Reason::new(Word::NotYours, Node::Grant(grant.grant)));
    }
    reasons.extend(may(state, shelf, &grant.by, Deed::Observe, on, now));
    let standing = |node: &Node| state.registry.get(node).map(|standing| standing.over.map(|why| why.to_string()));
    let mut lives = |word, node: &Node| {
        if let Some(why) = standing(node).unwrap_or_else(|| Some("not in the policy".to_owned())) {
            reasons.insert(Reason::new(word, node).with("why", why));
        }
    };
    lives(Word::TenantStopped, &Node::Tenant);
    match on {
        Node::Tenant => {}
        Node::Purpose(_) => lives(Word::PurposeStopped, on),
        Node::Connector(_) => lives(Word::ConnectorStopped, on),
        _ => drop(reasons.insert(Reason::new(Word::GrantUnbounded, on).with("on", "all, a purpose or a connector"))),
    }
    let source = Node::Grant(grant.grant);
    let lasts = grant.until.since(now);
    if !(1..=GRANT_MS_MAX).contains(&lasts) {
        reasons.insert(Reason::new(Word::GrantUnbounded, &source).with("until", grant.until).with("limit", "7 days"));
    }
    if grant.why.trim().is_empty() || grant.why.len() > WHY_BYTES_MAX {
        let limit = format!("a sentence of at most {WHY_BYTES_MAX} bytes");
        reasons.insert(Reason::new(Word::GrantUnbounded, &source).with("why", limit));
    }
    if state.grants.contains_key(&grant.grant) || state.grants.len() >= GRANTS_MAX {
        reasons.insert(Reason::new(Word::TooManyGrants, Node::Tenant).with("limit", GRANTS_MAX));
    }
    reasons.into_iter().collect()
}

/// What would have refused a call, and the grant that lets it through all the same
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The grant
    pub grant: GrantId,
    /// When the grant is over
    pub until: Millis,
    /// What would have refused
    pub reasons: Vec<Reason>,
}

/// Takes out of `reasons` what only says that a call is outside of the envelope, if a grant lets that through
///
/// What is left refuses as ever.
pub(super) fn lift(
    state: &State,
    task: &Task,
    (connector, class): (&Name, Class),
    reasons: &mut BTreeSet<Reason>,
    now: Millis,
) -> Option<Observed> {
    // What takes something back makes just the recorded calls.
    if task.undoes.is_some() {
        return None;
    }
    let is_closed = |reason: &Reason| reason.word == Word::ClassNotOpen;
    // No grant opens what is privileged; and what stays closed stays hidden.
    if reasons.is_empty() || (class == Class::Escalate && reasons.iter().any(is_closed)) {
        return None;
    }
    // Only the purpose's own word is lifted: a tool that a rule hides, or that nobody accepted, stays hidden.
    let envelope = format!("purpose:{}", task.purpose);
    let is_lifted = |reason: &Reason| reason.word.is_outside_envelope() && reason.source == envelope;
    let (grant, found) = state.observer(task, connector, now)?;
    let lifted: Vec<Reason> = reasons.iter().filter(|reason| is_lifted(reason)).cloned().collect();
    reasons.retain(|reason| !is_lifted(reason));
    (!lifted.is_empty()).then_some(Observed { grant, until: found.until, reasons: lifted })
}
