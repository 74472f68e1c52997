//! What waits for people: may it, has it been answered, and who may answer.

use super::{
    Shelf,
    call::{Used, chain},
    now,
};
use crate::{
    event::{Actor, Held, HeldWhat, How, Outcome, Question},
    hash::Hash,
    names::{EffectId, HoldId, Name, TaskId},
    node::{Node, Why},
    policy::{Bundle, PersonRole, Quorum},
    reason::{Reason, Word},
    request::{Answering, Clock, Review},
    state::{AGAIN_MS, Hold, Phase, REMEMBERED_MS, State, Task, hand_of, owners},
    time::Millis,
    value::Value,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What whoever asked is told of a question that waits
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The question
    pub hold: HoldId,
    /// What is asked of whom
    pub questions: Vec<Question>,
    /// When it lapses
    pub until: Millis,
}

/// What became of a question that was used
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// The question
    pub hold: HoldId,
    /// Where it stands: used, done or unknown
    pub phase: Phase,
}

/// A question that has to be put, or was put already
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// What whoever asks is told
    pub ticket: Ticket,
    /// The reasons that ask
    pub reasons: Vec<Reason>,
    /// What has to be recorded first; nothing if it was put already
    pub new: Option<Asking>,
}

/// A question to be put, but for what is asked about
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// People who may not answer because it is their own
    pub own: Vec<Name>,
    /// The agents above, nearest first
    pub chain: Vec<Name>,
    /// The digest of everything that is shown
    pub binding: Hash,
    /// The time that was judged with
    pub now: Millis,
}

/// A question's answers, as far as they count
pub(super) enum Answers {
    /// Enough: the grants that are used, with the question that each counts towards
    Enough(Vec<Used>),
    /// Not yet
    Open,
}

/// Open questions of one task
const OPEN_PER_TASK_MAX: u32 = 8;
/// Questions of one task in its life
const PER_TASK_MAX: u32 = 64;
/// Open questions in a data folder
const OPEN_MAX: usize = 1_024;
/// Bytes of canonical JSON that a person can be shown
pub const SHOWN_BYTES_MAX: u64 = 64 << 10;
/// Bytes of the reason of an answer
pub const WHY_BYTES_MAX: usize = 1_000;

/// Why a task may not put another question
///
/// What waits in a task waits in those above it too.
pub(super) fn room(state: &State, task: Option<TaskId>) -> Option<Reason> {
    let reason = |limit: usize, of| Reason::new(Word::TooManyHolds, of).with("limit", limit);
    if state.hold_deadlines.len() >= OPEN_MAX {
        return Some(reason(OPEN_MAX, Node::Tenant.to_string()));
    }
    let (id, task) = task.and_then(|id| Some((id, state.task(id)?)))?;
    let full = |task: &Task| {
        if task.waiting >= OPEN_PER_TASK_MAX {
            return Some(reason(OPEN_PER_TASK_MAX as usize, "task".to_owned()));
        }
        (task.asked >= PER_TASK_MAX).then(|| reason(PER_TASK_MAX as usize, "task".to_owned()))
    };
    chain(state, id, task).find_map(|(_, task)| full(task))
}

/// Those whose own a task is, and its parents: the users, who opened them, who owns the agents
pub(super) fn own<'a>(bundle: &Bundle, line: impl Iterator<Item = &'a Task>) -> Vec<Name> {
    let mut own = BTreeSet::new();
    for task in line {
        own.extend(task.user.iter().chain(&task.opener).cloned());
        own.extend(owners(bundle, &task.agent));
    }
    own.into_iter().collect()
}

/// The questions that reasons ask, each once
pub(super) fn questions<'a>(reasons: impl IntoIterator<Item = &'a Reason>) -> Vec<Question> {
    reasons.into_iter().filter_map(Reason::question).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether all that is asked now was asked then, and is answered
///
/// A yes counts only towards what was shown: the same reasons of the same sources, which ask the same of the same
/// people.
pub(super) fn answers(
    state: &State,
    bundle: &Bundle,
    hold: &Hold,
    (reasons, now): (&BTreeSet<Reason>, Millis),
) -> Answers {
    let mut used = Vec::new();
    for reason in reasons {
        let Some(question) = reason.question() else { return Answers::Open };
        if !hold.held.questions.contains(&question) {
            return Answers::Open;
        }
        let counting = state.counting(bundle, (hold, &question), now);
        // Nobody is never enough, whatever a policy says.
        let people = usize::from(question.quorum.people.max(1));
        if counting.len() < people {
            return Answers::Open;
        }
        let counting = counting.into_iter().take(people);
        used.extend(counting.map(|counting| Used {
            grant: counting.grant,
            reason: reason.clone(),
            until: hold.held.until.min(counting.until),
            rests_on: vec![Node::User(counting.user.clone())],
        }));
    }
    Answers::Enough(used)
}

/// What a repeat of something that was asked about is told, unless it is a question of its own
pub(super) fn again(id: HoldId, hold: &Hold, now: Millis) -> Option<Result<Again, Reason>> {
    match hold.phase {
        // In a task as long as it lives; an opening as long as an ended task is remembered.
        Phase::Declined { at } if hold.held.task.is_none() && now.since(at) >= REMEMBERED_MS => None,
        Phase::Declined { .. } => {
            let why = hold.answers.values().find(|answered| answered.grant.is_none());
            let why = why.and_then(|answered| answered.why.clone()).unwrap_or_default();
            Some(Err(Reason::new(Word::ApprovalDeclined, id).with("why", why)))
        }
        Phase::Used { .. } => Some(Ok(Again { hold: id, phase: hold.phase })),
        Phase::Done { at, .. } | Phase::Unknown { at, .. } => {
            (now.since(at) < AGAIN_MS).then_some(Ok(Again { hold: id, phase: hold.phase }))
        }
        Phase::Open | Phase::Over { .. } => None,
    }
}

/// The digest of everything that those who answer are shown
///
/// RFC 8785 with exact numbers, so that anybody can make it anew from the record.
pub(super) fn binding(members: impl IntoIterator<Item = (&'static str, Value)>) -> Hash {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()).digest()
}

/// Text, as a member of a binding
pub(super) fn text(text: impl ToString) -> Value {
    Value::String(text.to_string())
}

/// A list of texts, as a member of a binding
pub(super) fn texts<T: ToString>(list: impl IntoIterator<Item = T>) -> Value {
    Value::Array(list.into_iter().map(text).collect())
}

/// Questions, as a member of a binding
pub(super) fn asked(questions: &[Question]) -> Value {
    let question = |question: &Question| {
        let step = question.step.clone().map_or(Value::Null, Value::String);
        let Quorum { who, people, passkey, within_ms } = &question.quorum;
        let members = [
            ("source", text(&question.source)),
            ("step", step),
            ("who", text(who)),
            ("people", text(people)),
            ("passkey", Value::Bool(*passkey)),
            ("within_ms", text(within_ms)),
        ];
        Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    Value::Array(questions.iter().map(question).collect())
}

/// The unmet reasons why somebody may not answer a question so
///
/// They may answer what they are asked about, as long as it waits, and it is what they were shown. A no needs less
/// than a yes: anybody who is asked can say it, whatever they signed in with.
#[must_use]
pub fn judge_answer(state: &State, shelf: &Shelf, answer: &Answering, clock: Clock) -> Vec<Reason> {
    let (now, clock_reason) = now(state, clock);
    let mut reasons = Vec::from_iter(clock_reason);
    let Some(hold) = state.hold(answer.hold) else {
        reasons.push(Reason::new(Word::HoldUnknown, answer.hold));
        return reasons;
    };
    if hold.held.binding != answer.binding {
        reasons.push(Reason::new(Word::HoldChanged, answer.hold));
    }
    // A passkey counts only if it was used for this very answer.
    let how = match &answer.by {
        Actor::Person { user, how: How::Passkey } if answer.signed.is_stepped_up() => {
            state.how_signed(user, &answer.signed)
        }
        Actor::Person { how: How::Passkey, .. } => How::Link,
        Actor::Person { how: How::HandedPasskey { by, .. }, .. } => How::Handed { by: by.clone() },
        Actor::Person { how, .. } => how.clone(),
        _ => How::Socket,
    };
    reasons.extend(may_answer(state, shelf, answer.hold, answer.by.user(), (answer.yes, &how), now));
    let why = answer.why.trim();
    if answer.why.len() > WHY_BYTES_MAX || (!answer.yes && why.is_empty()) {
        reasons.push(Reason::new(Word::AnswerUnbounded, answer.hold));
    }
    reasons.sort();
    reasons.dedup();
    reasons
}

/// Why a person may not answer a question, known as they are now
#[must_use]
pub fn may_answer(
    state: &State,
    shelf: &Shelf,
    id: HoldId,
    user: Option<&Name>,
    (yes, how): (bool, &How),
    now: Millis,
) -> Vec<Reason> {
    let Some(hold) = state.hold(id) else { return vec![Reason::new(Word::HoldUnknown, id)] };
    let mut reasons = Vec::new();
    if !hold.is_open(now) || hold.held.task.is_some_and(|task| !state.life(task, now).is_empty()) {
        reasons.push(Reason::new(Word::HoldOver, id));
    }
    let Some(bundle) = shelf.current(state) else {
        reasons.push(Reason::new(Word::PolicyUnavailable, "policy"));
        return reasons;
    };
    let Some((name, user)) = user.and_then(|name| Some((name, bundle.users.get(name)?))) else {
        reasons.push(Reason::new(Word::NotApprover, id));
        return reasons;
    };
    reasons.extend(stopped(state, name));
    let asked =
        || hold.held.questions.iter().filter(|question| state.is_approver(bundle, name, &question.quorum.who, now));
    if asked().next().is_none() {
        let groups: BTreeSet<&str> = hold.held.questions.iter().map(|question| question.quorum.who.as_str()).collect();
        let groups: Vec<_> = groups.into_iter().collect();
        reasons.push(Reason::new(Word::NotApprover, id).with("asked", groups.join(", ")));
    }
    if !user.is_known_by(how) {
        reasons.push(Reason::new(Word::UserUnknown, Node::User(name.clone())).with("how", how));
    }
    let own = state.own(bundle, &hold.held);
    let hand = hand_of(bundle, name, how);
    if own.contains(name) || (yes && state.is_own_hand(&own, hold, &hand)) {
        reasons.push(Reason::new(Word::OwnCall, id));
    }
    if state.has_answered(hold, name) || (yes && state.has_lent(bundle, hold, &hand)) {
        reasons.push(Reason::new(Word::AnsweredAlready, id));
    }
    if let Some(receiver) = how.receiver().filter(|_| yes)
        && asked().all(|question| is_spoken_for(state, bundle, (hold, question), (name, receiver), now))
        && asked().next().is_some()
    {
        reasons.push(Reason::new(Word::AnsweredAlready, id).with("receiver", receiver));
    }
    if yes && !how.is_passkey() && asked().any(|question| question.quorum.passkey) {
        reasons.push(Reason::new(Word::StepUpNeeded, id));
    }
    reasons
}

/// Whether a receiver has said yes to a question already for somebody else, and counts once
fn is_spoken_for(
    state: &State,
    bundle: &Bundle,
    (hold, question): (&Hold, &Question),
    (name, receiver): (&Name, &Name),
    now: Millis,
) -> bool {
    let several = bundle.receivers.get(receiver).is_some_and(|receiver| receiver.several);
    let through = |user: &Name| hold.answers.get(user).is_some_and(|said| said.how.receiver() == Some(receiver));
    let counting = state.counting(bundle, (hold, question), now);
    !several && counting.iter().any(|counting| counting.user != name && through(counting.user))
}

/// Why a person may do nothing at the moment, whatever the policy lets them do
pub(super) fn stopped(state: &State, user: &Name) -> Option<Reason> {
    let node = Node::User(user.clone());
    let why = state.registry.get(&node).map_or(Some(Why::Ended), |standing| standing.over)?;
    Some(Reason::new(Word::UserStopped, node).with("why", why))
}

/// Why a person may not close a review
#[must_use]
pub fn judge_review(state: &State, shelf: &Shelf, review: &Review, clock: Clock) -> Vec<Reason> {
    let now = now(state, clock).0;
    let how = match &review.by {
        Actor::Person { how, .. } => how,
        _ => &How::Socket,
    };
    let mut reasons = may_review(state, shelf, review.task, (review.by.user(), how), now);
    if review.why.trim().is_empty() || review.why.len() > WHY_BYTES_MAX {
        reasons.push(Reason::new(Word::AnswerUnbounded, review.task));
    }
    reasons
}

/// Why somebody may not close the review of a task: it has to be over, and looked at by another one
#[must_use]
pub fn may_review(
    state: &State,
    shelf: &Shelf,
    task: TaskId,
    (user, how): (Option<&Name>, &How),
    now: Millis,
) -> Vec<Reason> {
    let open = state.reviews().find(|(id, _)| *id == task);
    let Some((_, open)) = open.filter(|(id, _)| state.task(*id).is_none()) else {
        return vec![Reason::new(Word::ReviewUnknown, task)];
    };
    let bundle = shelf.current(state);
    let person = user.and_then(|name| Some((name, bundle?.users.get(name)?)));
    let Some((name, person)) = person else { return vec![Reason::new(Word::NotApprover, task)] };
    let mut reasons = Vec::from_iter(stopped(state, name));
    let asked = bundle.is_some_and(|bundle| state.member(bundle, name, &open.group, now).is_some());
    let audits = bundle.is_some_and(|bundle| state.has_role(bundle, name, PersonRole::Auditor, now).is_some());
    if !asked || !person.is_known_by(how) || !audits {
        reasons.push(Reason::new(Word::NotApprover, task).with("asked", &open.group));
    }
    let own = || open.opener.iter().chain(&open.user).chain(&open.approvers);
    // A link that one of them had made for another is theirs.
    let hand = person.hand(name, how);
    let lent = own().any(|own| Node::User(own.clone()).to_string() == hand)
        || (open.opener.is_none() && !hand.starts_with("user:"));
    if own().any(|own| own == name) || lent || bundle.is_some_and(|bundle| owners(bundle, &open.agent).contains(name)) {
        reasons.push(Reason::new(Word::OwnCall, task));
    }
    reasons
}

/// A question that has to be put, with the digest of what is shown
pub(super) fn ask(
    state: &State,
    (hold, task): (HoldId, Option<TaskId>),
    (questions, reasons): (Vec<Question>, Vec<Reason>),
    shown: impl FnOnce(Millis) -> BTreeMap<&'static str, Value>,
    (own, chain): (Vec<Name>, Vec<Name>),
    now: Millis,
) -> Result<Holding, Vec<Reason>> {
    if let Some(reason) = room(state, task) {
        return Err(vec![reason]);
    }
    let task = task.and_then(|id| state.task(id));
    let within = questions.iter().map(|question| question.quorum.within_ms).min().unwrap_or_default();
    let until = now.plus(within).min(task.map_or(Millis(i64::MAX), |task| task.expires));
    let hold = free(state, hold);
    let binding = bound(state, (hold, until), &questions, shown(until));
    let ticket = Ticket { hold, questions, until };
    Ok(Holding { ticket, reasons, new: Some(Asking { own, chain, binding, now }) })
}

/// The number of a new question: whoever asks anew has another one
fn free(state: &State, hold: HoldId) -> HoldId {
    let mut hold = hold;
    while state.hold(hold).is_some() {
        let [a, b, c, d, e, f, g, h, ..] = Hash::of_parts(&[b"another hold", &hold.0.to_be_bytes()]).0;
        hold = HoldId(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
    }
    hold
}

/// The digest of what is shown of a question
pub(super) fn bound(
    state: &State,
    (hold, until): (HoldId, Millis),
    questions: &[Question],
    shown: BTreeMap<&'static str, Value>,
) -> Hash {
    let always = [
        ("tenant", text(state.origin())),
        ("hold", text(hold)),
        ("until", text(until.0)),
        ("questions", asked(questions)),
    ];
    binding(shown.into_iter().chain(always))
}

/// Identical calls of a task that people agreed to before, the earliest first
pub(super) fn earlier(state: &State, task: TaskId, key: Hash) -> Vec<(EffectId, Outcome)> {
    let Some((_, hold)) = state.hold_of(task, key) else { return Vec::new() };
    let mut earlier = match &hold.held.what {
        HeldWhat::Call(call) => call.earlier.clone(),
        HeldWhat::Elevation(_) | HeldWhat::Opening(_) => Vec::new(),
    };
    match hold.phase {
        Phase::Done { effect, ok: true, .. } => earlier.push((effect, Outcome::Done)),
        Phase::Done { effect, ok: false, .. } => earlier.push((effect, Outcome::Failed)),
        Phase::Unknown { effect, .. } => earlier.push((effect, Outcome::Unknown)),
        Phase::Open | Phase::Declined { .. } | Phase::Used { .. } | Phase::Over { .. } => {}
    }
    earlier
}

/// Earlier calls, as a member of a binding
pub(super) fn earlier_in_words(earlier: &[(EffectId, Outcome)]) -> Value {
    let word = |outcome: Outcome| match outcome {
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::Unknown => "unknown",
    };
    texts(earlier.iter().map(|(effect, outcome)| format!("{effect} {}", word(*outcome))))
}

/// What waits already, in the words of whoever repeats it
pub(super) fn waits(hold: &Held, reasons: Vec<Reason>) -> Holding {
    let ticket = Ticket { hold: hold.hold, questions: hold.questions.clone(), until: hold.until };
    Holding { ticket, reasons, new: None }
}
