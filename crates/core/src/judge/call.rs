//! May this call happen?

use super::{
    Shelf,
    envelope::{Share, envelope},
    facts::{Facts, Unread},
    grant::{Observed, lift},
    now,
};
use crate::{
    event::{Charge, ChosenBy},
    hash::Hash,
    names::{Name, TaskId, Tool},
    node::Node,
    operation::{ANSWER, Operation},
    outside::{self, Answer, Asking, Point, Sends},
    path::FieldPath,
    pattern::Source,
    policy::{Bundle, Class, OnHold},
    reason::{Reason, Word},
    request::{Call, Clock, Start},
    rules::Link,
    state::{State, Task},
    time::Millis,
    value::Value,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What a call is, and what it is charged to, once no reason is left
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The task that it is done for
    pub task: TaskId,
    /// The current version of the policy
    pub bundle: Hash,
    /// The strictest class that a version of the policy gives it
    pub class: Class,
    /// The variants that it fits
    pub variants: Vec<Name>,
    /// The task and every ancestor
    pub charges: Vec<Charge>,
    /// The time that was judged with
    pub now: Millis,
    /// Who chose each argument, as far as that is known
    pub chosen_by: BTreeMap<String, ChosenBy>,
    /// The answers of outside decision points that it was judged with; all of them permit
    pub heard: Vec<Answer>,
    /// Fields of the result that later steps need
    pub wanted: BTreeSet<Source>,
    /// Arguments of which the record keeps no value
    pub digested: BTreeSet<String>,
    /// What would have refused it, if a grant lets it through
    pub observed: Option<Observed>,
}

/// What the start of a child is, once no reason is left
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Starting {
    /// The task that it is done for
    pub task: TaskId,
    /// The time that was judged with
    pub now: Millis,
    /// What would have refused it, if a grant lets it through
    pub observed: Option<Observed>,
}

impl Admission {
    /// Bytes of the answer that the agent may be given; `None`: no budget bounds them
    #[must_use]
    pub fn answer_max(&self) -> Option<u64> {
        // Nothing is left, and a grant lets the call through all the same: then its answer too.
        let lifted = |left: &u64| *left == 0 && self.observed.is_some();
        self.charges.iter().filter_map(|charge| charge.held).min().filter(|left| !lifted(left))
    }
}

/// What is left to do for a call against which there is no reason
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "looked at once and taken apart; a box would cost each call more")]
pub enum Judged {
    /// Nothing: it may be admitted
    Admit(Admission),
    /// These outside decision points have to be asked, and then it is judged again
    Consult(Vec<Asking>),
}

/// The unmet reasons why `call` may not happen; none: what admitting it means, or whom to ask before that
///
/// # Errors
/// The reasons, sorted so that the most useful one comes first.
pub fn judge_call(state: &State, shelf: &Shelf, call: &Call, clock: Clock) -> Result<Judged, Vec<Reason>> {
    judge_leg(state, shelf, (call, false), clock)
}

/// As [`judge_call`], before anything is admitted: a question of the server may have no answer yet, and what is said of
/// the answer is looked at when there is one
///
/// # Errors
/// The reasons, sorted so that the most useful one comes first.
pub fn judge_question(state: &State, shelf: &Shelf, call: &Call, clock: Clock) -> Result<Judged, Vec<Reason>> {
    let question = call.tool.operation().is_some_and(Operation::is_question);
    judge_leg(state, shelf, (call, question && !call.arguments.contains_key(ANSWER)), clock)
}

fn judge_leg(
    state: &State,
    shelf: &Shelf,
    (call, unanswered): (&Call, bool),
    clock: Clock,
) -> Result<Judged, Vec<Reason>> {
    let (now, clock_reason) = now(state, clock);
    let mut reasons = BTreeSet::from_iter(clock_reason);
    let Some(task_id) = state.task_of(call.run) else {
        reasons.insert(Reason::new(Word::TaskUnknown, call.run));
        return Err(reasons.into_iter().collect());
    };
    reasons.extend(state.life(task_id, now));
    reasons.extend(state.connector_life(&call.tool.connector));
    let (Some(task), Some(current)) = (state.task(task_id), shelf.current(state)) else {
        if state.task(task_id).is_some() {
            reasons.insert(Reason::new(Word::PolicyUnavailable, "policy"));
        }
        return Err(reasons.into_iter().collect());
    };
    if task.open >= OPEN_MAX {
        reasons.insert(Reason::new(Word::TooManyOpen, task_id).with("limit", OPEN_MAX));
    }
    reasons.extend(pin(state, call));
    let continued = call.continues.map(|of| (of, task.goes_on(of).filter(|pending| pending.tool == call.tool)));
    if let Some((of, None)) = continued {
        reasons.insert(Reason::new(Word::ContinuationUnknown, of).with("tool", &call.tool));
    }
    let earlier = continued.and_then(|(_, pending)| pending);
    if let Some(error) = &call.fit.error {
        reasons.insert(Reason::new(Word::ArgumentsInvalid, &call.tool).with("schema", error));
    }

    let mut class = Class::Read;
    let mut variants = BTreeSet::new();
    let mut charges = Vec::new();
    let mut wanted = BTreeSet::new();
    let mut covering = Vec::new();
    let mut digested = BTreeSet::new();
    let links: Vec<(TaskId, &Task)> = chain(state, task_id, task).collect();
    let line: Vec<Link<'_>> =
        links.iter().map(|(_, task)| Link { agent: &task.agent, purpose: &task.purpose }).collect();
    let sent = Value::canonical_object(&call.arguments).len() as u64;
    for (depth, (link, link_task)) in links.iter().enumerate() {
        let paid = earlier.map(|pending| pending.paid.get(link).cloned().unwrap_or_default());
        let mut share = Share::new(sent, paid);
        for bundle in versions(shelf, link_task.bundle, current) {
            let Some(bundle) = bundle else {
                reasons.insert(Reason::new(Word::PolicyUnavailable, link));
                continue;
            };
            let facts = match Facts::of(bundle, call, unanswered) {
                Ok(facts) => facts,
                Err(Unread::Connector) => {
                    // A version that does not know the connector allows nothing there, however wide a later one is;
                    // nor can its rules be asked, so no grant lifts this.
                    let source = Node::Connector(call.tool.connector.clone());
                    reasons.insert(Reason::new(Word::ToolOutsidePurpose, source).with("tool", &call.tool));
                    continue;
                }
                Err(Unread::Unclear(unclear)) => {
                    reasons.extend(unclear);
                    continue;
                }
            };
            reasons.extend(envelope(bundle, link_task, &facts, &mut share));
            // Hidden and unknown give the same answer.
            if bundle.rules.hides(&call.tool, facts.profile.class) {
                reasons.insert(Reason::new(Word::ToolOutsidePurpose, "rules").with("tool", &call.tool));
            }
            // A rule about an ancestor binds what the ancestor delegated.
            let above = line.get(depth + 1..).unwrap_or_default();
            let told = bundle.rules.judge(&facts.question(bundle, (*link, link_task), above, now));
            let purpose = bundle.purposes.get(&link_task.purpose);
            let on_hold = purpose.map(|purpose| purpose.limits.on_hold).unwrap_or_default();
            reasons.extend(told.into_iter().map(|reason| asked(reason, on_hold)));
            let covers = |point: &&Arc<Point>| point.covers.cover(&call.tool, &facts.variants, facts.class);
            let points: Vec<_> = bundle.points.iter().filter(covers).cloned().collect();
            if *link == task_id {
                class = class.max(facts.class);
                variants.extend(facts.variants.iter().map(|name| (*name).clone()));
                digested.extend(facts.profile.digested.iter().filter_map(FieldPath::root).map(ToOwned::to_owned));
            }
            if !points.is_empty() {
                covering.push((bundle, facts, points));
            }
        }
        wanted.extend(share.wanted.iter().cloned());
        charges.push(share.charge(*link));
    }
    let observed = lift(state, task, (&call.tool.connector, class), &mut reasons, now);
    if !reasons.is_empty() {
        return Err(reasons.into_iter().collect());
    }
    // The question is about the call in its task, whichever version or ancestor has it asked: the same question
    // of several is one.
    let above = line.get(1..).unwrap_or_default();
    let askings = covering.iter().flat_map(|(bundle, facts, points)| {
        let question = facts.question(bundle, (task_id, task), above, now);
        points.iter().map(move |point| Asking::new(point, &question, current.digest))
    });
    let askings: BTreeMap<_, _> =
        askings.map(|asking| ((asking.point.name.clone(), asking.question), asking)).collect();
    let weighed = outside::weigh(askings.into_values().collect(), call.effect, &call.answers, now);
    if !weighed.reasons.is_empty() {
        return Err(weighed.reasons);
    }
    let whole = |asking: &Asking| asking.point.sends == Sends::Arguments;
    if let Some(asking) = weighed.unanswered.iter().find(|asking| whole(asking))
        && task.consulted >= task.calls.saturating_add(CONSULTED_IN_VAIN_MAX)
    {
        let reason = Reason::new(Word::OutsideRefuses, outside::source(&asking.point.name));
        let because = "too many questions of this task came to nothing";
        return Err(vec![reason.with("limit", CONSULTED_IN_VAIN_MAX).with("because", because)]);
    }
    if !weighed.unanswered.is_empty() {
        return Ok(Judged::Consult(weighed.unanswered));
    }
    Ok(Judged::Admit(Admission {
        task: task_id,
        bundle: current.digest,
        class,
        variants: variants.into_iter().collect(),
        charges,
        now,
        chosen_by: chosen_by(task, &call.arguments),
        heard: weighed.heard,
        observed,
        wanted,
        digested,
    }))
}

/// A rule's question where nobody waits for an answer
fn asked(mut reason: Reason, on_hold: OnHold) -> Reason {
    if reason.word == Word::ApprovalNeeded && on_hold == OnHold::Deny {
        reason.word = Word::NobodyToAsk;
    }
    reason
}

/// Questions with whole arguments that a task may have asked without a call that followed: each is a record of its
/// own, as refusals are not
const CONSULTED_IN_VAIN_MAX: u32 = 1_000;
/// Calls of one run that may be under way at once
pub(super) const OPEN_MAX: u32 = 64;

/// The unmet reasons why a connector's child may not be started for a task
///
/// # Errors
/// The reasons, sorted.
pub fn judge_start(state: &State, shelf: &Shelf, start: &Start, clock: Clock) -> Result<Starting, Vec<Reason>> {
    let (now, clock_reason) = now(state, clock);
    let mut reasons = BTreeSet::from_iter(clock_reason);
    let Some(task_id) = state.task_of(start.run) else {
        return Err(vec![Reason::new(Word::TaskUnknown, start.run)]);
    };
    reasons.extend(state.life(task_id, now));
    reasons.extend(state.connector_life(&start.connector));
    reasons.extend(changed_connector(state, &start.connector));
    let (Some(task), Some(current)) = (state.task(task_id), shelf.current(state)) else {
        reasons.insert(Reason::new(Word::PolicyUnavailable, "policy"));
        return Err(reasons.into_iter().collect());
    };
    for (link, link_task) in chain(state, task_id, task) {
        for bundle in versions(shelf, link_task.bundle, current) {
            let Some(bundle) = bundle else {
                reasons.insert(Reason::new(Word::PolicyUnavailable, link));
                continue;
            };
            let Some(purpose) = bundle.purposes.get(&link_task.purpose) else {
                reasons.insert(Reason::new(Word::PurposeStopped, Node::Purpose(link_task.purpose.clone())));
                continue;
            };
            let outside = |source| Reason::new(Word::ToolOutsidePurpose, source).with("connector", &start.connector);
            if !bundle.connectors.contains_key(&start.connector) {
                reasons.insert(outside(Node::Connector(start.connector.clone())));
            } else if !purpose.tools().any(|tool| tool.connector == start.connector) {
                reasons.insert(outside(Node::Purpose(link_task.purpose.clone())));
            }
        }
    }
    // What a child is started for is judged by itself, so its class does not matter here.
    let observed = lift(state, task, (&start.connector, Class::Read), &mut reasons, now);
    if reasons.is_empty() { Ok(Starting { task: task_id, now, observed }) } else { Err(reasons.into_iter().collect()) }
}

/// The task and its ancestors
pub(super) fn chain<'a>(state: &'a State, id: TaskId, task: &'a Task) -> impl Iterator<Item = (TaskId, &'a Task)> {
    std::iter::successors(Some((id, task)), |(_, task)| {
        let parent = task.parent?;
        Some((parent, state.task(parent)?))
    })
}

/// The version that a task was opened under and the current one: policy narrows running tasks, never widens them
pub(super) fn versions<'a>(
    shelf: &'a Shelf,
    pinned: Hash,
    current: &'a Arc<Bundle>,
) -> impl Iterator<Item = Option<&'a Arc<Bundle>>> {
    let pinned = (pinned != current.digest).then(|| shelf.get(pinned));
    std::iter::once(Some(current)).chain(pinned)
}

fn pin(state: &State, call: &Call) -> Option<Reason> {
    let unmet = live_pin(state, &call.tool);
    if unmet.is_some() {
        return unmet;
    }
    match state.pins.get(&call.tool).filter(|_| is_pinned(&call.tool)) {
        // Held against another definition than the accepted one is no better than a changed one.
        Some(pin) if call.fit.pin != pin.accepted => Some(Reason::new(Word::DefinitionChanged, &call.tool)),
        None if call.fit.pin == Hash::default() => {
            let schema = "its arguments were held against no definition";
            Some(Reason::new(Word::ArgumentsInvalid, &call.tool).with("schema", schema))
        }
        _ => None,
    }
}

/// Why a server or what it says of a tool is not what was accepted
pub(super) fn live_pin(state: &State, tool: &Tool) -> Option<Reason> {
    let outside = || Reason::new(Word::ToolOutsidePurpose, "pins").with("tool", tool);
    if let Some(changed) = changed_connector(state, &tool.connector) {
        return Some(changed);
    }
    if !is_pinned(tool) {
        // What the protocol defines is done only where somebody accepted the server at all.
        return state.met(&tool.connector).is_none().then(outside);
    }
    let callable = tool.operation().is_some() || tool.name.is_tool();
    let Some(pin) = state.pins.get(tool).filter(|_| callable) else {
        return Some(outside());
    };
    match pin.seen {
        None => Some(Reason::new(Word::DefinitionMissing, tool)),
        Some(seen) if seen != pin.accepted => Some(Reason::new(Word::DefinitionChanged, tool)),
        Some(_) => None,
    }
}

/// Why a server is not the one that was accepted
fn changed_connector(state: &State, connector: &Name) -> Option<Reason> {
    let met = state.met(connector).filter(|met| met.accepted != met.seen)?;
    let reason = Reason::new(Word::ConnectorChanged, Node::Connector(connector.clone()));
    Some(reason.with("accepted", met.accepted).with("seen", met.seen))
}

fn is_pinned(tool: &Tool) -> bool {
    tool.operation().is_none_or(Operation::is_pinned)
}

/// An argument that equals a parameter was chosen by whoever chose that; anything else by the agent
fn chosen_by(task: &Task, arguments: &BTreeMap<String, Value>) -> BTreeMap<String, ChosenBy> {
    let best = |value: &Value| {
        let same = task.values.iter().filter(|(_, known)| *known == value);
        same.filter_map(|(name, _)| task.chosen.get(name).copied()).min().unwrap_or(ChosenBy::Model)
    };
    arguments.iter().map(|(name, value)| (name.clone(), best(value))).collect()
}
