//! May this call happen?

use super::{
    Shelf,
    envelope::{Share, asked, envelope},
    facts::{Facts, Said, Unread},
    grant::{Observed, lift},
    hold::{self, Again, Answers, Holding, SHOWN_BYTES_MAX, text, texts},
    lease, now,
};
use crate::{
    event::{Charge, ChosenBy, HeldWhat, Outcome, call_key},
    hash::Hash,
    names::{EffectId, GrantId, HoldId, Name, TaskId, Tool},
    node::Node,
    operation::{ANSWER, Operation},
    outside::{self, Answer, Asking, Point, Sends},
    path::FieldPath,
    pattern::Source,
    policy::{Before, Bundle, Class, Label, OnHold, Purpose, Quorum, Restored, Tier, Undo},
    reason::{Reason, Sort, Word},
    request::{Call, Clock, Start},
    rules::Link,
    state::{Hold, Leased, State, Task},
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
    /// What would have refused or held it, and the grants that are used for it
    pub used: Vec<Used>,
    /// The question to people that it uses up
    pub hold: Option<HoldId>,
    /// The lease that it goes with
    pub lease: Option<EffectId>,
    /// A question about it that waits and is not asked any more: it is over once the call happens
    pub moot: Option<HoldId>,
    /// What it is, as far as people would be shown
    pub seen: Seen,
}

/// What people are shown of a call beside its arguments
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it is about, as rules name it
    pub target: Option<String>,
    /// How confidential its results may be
    pub label: Label,
    /// What takes it back, as the policy writes it; nothing does where that could not be prepared
    pub undo: Option<String>,
    /// The digest of tool and arguments; known only where people were asked
    pub key: Hash,
    /// Identical calls that people agreed to before; known only where people were asked
    pub earlier: Vec<(EffectId, Outcome)>,
}

/// A grant that is used for a call
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// The grant
    pub grant: GrantId,
    /// What it takes out
    pub reason: Reason,
    /// When it is over; nothing is begun with it from then on
    pub until: Millis,
    /// The nodes whose latches have to be open with it: the grant, and whoever gave it
    pub rests_on: Vec<Node>,
}

/// What has to be read before a call, so that it can be put back
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// With which tool
    pub tool: Tool,
    /// With which arguments
    pub arguments: BTreeMap<String, Value>,
    /// The fields that undoing needs
    pub fields: BTreeSet<FieldPath>,
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
    /// This has to be read, so that it can be put back, and then it is judged again
    Read(Reading),
    /// It needs a connection made with a lease of its class, and then it is judged again
    Prepare(Box<Admission>),
    /// People are asked, or have not all answered
    Hold(Box<Held>),
    /// People agreed to it, and it was done: never a second time
    Again(Again),
}

/// A call that waits for people
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The question
    pub holding: Holding,
    /// What admitting it would mean
    pub admission: Admission,
}

/// The unmet reasons why `call` may not happen; none: what admitting it means, or whom to ask before that
///
/// # Errors
/// The reasons, sorted so that the most useful one comes first.
pub fn judge_call(state: &State, shelf: &Shelf, call: &Call, clock: Clock) -> Result<Judged, Vec<Reason>> {
    Ok(match judge_leg(state, shelf, (call, false), clock)? {
        // An answer to a question of a server leaves as part of what is answered.
        Judged::Admit(admission) if !call.tool.operation().is_some_and(Operation::is_question) => {
            goes(state, shelf, call, admission)
        }
        judged => judged,
    })
}

/// What may be admitted needs the connection that its class wants
fn goes(state: &State, shelf: &Shelf, call: &Call, mut admission: Admission) -> Judged {
    let of = (admission.task, &call.tool.connector, admission.class);
    match lease::goes_with(state, shelf, of, (call.effect, call.lease), admission.now) {
        Ok(lease) => {
            admission.lease = lease;
            Judged::Admit(admission)
        }
        Err(_) => Judged::Prepare(Box::new(admission)),
    }
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
    // What was done with a yes is told to whoever repeats it, as long as the task lives, whatever else is true now.
    if let Some(again) = repeated(state, task_id, call, now).filter(|_| reasons.is_empty()) {
        return again.map(Judged::Again).map_err(|reason| vec![reason]);
    }
    reasons.extend(state.connector_life(&call.tool.connector));
    let (Some(task), Some(current)) = (state.task(task_id), shelf.current(state)) else {
        if state.task(task_id).is_some() {
            reasons.insert(Reason::new(Word::PolicyUnavailable, "policy"));
        }
        return Err(reasons.into_iter().collect());
    };
    let operation = call.tool.operation();
    // A question belongs to a call that is open: what has a place may be answered.
    if task.open >= OPEN_MAX && !operation.is_some_and(Operation::is_question) {
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
    let mut tier = Tier::Low;
    let (mut used, mut target, mut label, mut undo) = (Vec::new(), None, Label::Public, None);
    let links: Vec<(TaskId, &Task)> = chain(state, task_id, task).collect();
    let line: Vec<Link<'_>> =
        links.iter().map(|(_, task)| Link { agent: &task.agent, purpose: &task.purpose }).collect();
    let sent = Value::canonical_object(&call.arguments).len() as u64;
    for (depth, (link, link_task)) in links.iter().enumerate() {
        let paid = earlier.map(|pending| pending.paid.get(link).cloned().unwrap_or_default());
        let mut share = Share::new(sent, paid, earlier.map(|pending| &pending.elevated));
        share.silent = operation.is_some_and(Operation::is_silent);
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
            reasons.extend(envelope((state, bundle), link_task, &facts, (&mut share, now)));
            // Hidden and unknown give the same answer.
            if bundle.rules.hides(&call.tool, facts.profile.class) {
                reasons.insert(Reason::new(Word::ToolOutsidePurpose, "rules").with("tool", &call.tool));
            }
            // A rule about an ancestor binds what the ancestor delegated.
            let above = line.get(depth + 1..).unwrap_or_default();
            let said = Said::of(state, bundle, link_task, now);
            let told = bundle.rules.judge(&facts.question((*link, link_task), (above, &said), now));
            let purpose = bundle.purposes.get(&link_task.purpose);
            // Who takes something back is a person, and waits for another one.
            let on_hold = purpose.filter(|_| link_task.undoes.is_none()).map(|purpose| purpose.limits.on_hold);
            let on_hold = on_hold.unwrap_or_default();
            reasons.extend(told.into_iter().map(|reason| asked(reason, on_hold)));
            let covers = |point: &&Arc<Point>| point.covers.cover(&call.tool, &facts.variants, facts.class);
            let points: Vec<_> = bundle.points.iter().filter(covers).cloned().collect();
            tier = tier.max(facts.tier);
            label = label.max(facts.profile.confidentiality());
            if *link == task_id {
                undo = undo.or(share.undo);
                target = target.or_else(|| facts.target.as_ref().map(ToString::to_string));
                class = class.max(facts.class);
                variants.extend(facts.variants.iter().map(|name| (*name).clone()));
                digested.extend(facts.profile.digested.iter().filter_map(FieldPath::root).map(ToOwned::to_owned));
            }
            if !points.is_empty() {
                covering.push((bundle, facts, points));
            }
        }
        wanted.extend(share.wanted.iter().cloned());
        used.extend(share.elevated.iter().map(|(grant, (reason, until))| Used {
            grant: *grant,
            reason: reason.clone(),
            until: *until,
            rests_on: std::iter::once(Node::Grant(*grant)).chain(link_task.givers(*grant)).collect(),
        }));
        charges.push(share.charge(*link));
    }
    let observed = lift(state, task, (&call.tool.connector, class), &mut reasons, now);
    if reasons.iter().any(|reason| reason.sort() != Sort::Ask) {
        return Err(reasons.into_iter().collect());
    }
    let asks = asks(reasons, tier);
    // An answer to a question of a server is no call that a person could be asked about.
    if !asks.is_empty() && operation.is_some_and(Operation::is_question) {
        return Err(asks.into_iter().map(|reason| asked(reason, OnHold::Deny)).collect());
    }
    // The question is about the call in its task, whichever version or ancestor has it asked: the same question
    // of several is one.
    let above = line.get(1..).unwrap_or_default();
    let askings = covering.iter().flat_map(|(bundle, facts, points)| {
        let said = Said::of(state, bundle, task, now);
        let question = facts.question((task_id, task), (above, &said), now);
        let asking = |point: &Arc<Point>| Asking::new(point, &question, current.digest);
        points.iter().map(asking).collect::<Vec<_>>()
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
    // Nothing of an emergency is kept out of the record, nor of what it delegated.
    if links.iter().any(|(_, task)| task.emergency) {
        digested.clear();
    }
    let before = undo.and_then(|undo| undo.before.as_ref());
    if let Some(before) = before.filter(|_| call.before.is_none() && call.continues.is_none())
        && let Some(reading) = reading(before, undo, call, task)
    {
        return Ok(Judged::Read(reading));
    }
    let unread = before.is_some() && call.before.as_ref().is_none_or(|read| read.effect.is_none());
    // Only people are shown it.
    let undo = undo.filter(|_| !unread && !asks.is_empty()).map(ToString::to_string);
    let mut admission = Admission {
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
        used,
        hold: None,
        lease: None,
        moot: None,
        seen: Seen { target, label, undo, key: Hash::default(), earlier: Vec::new() },
    };
    if asks.is_empty() {
        // The legs of a call that people agreed to are that call.
        let same = |id: &HoldId| {
            let key = || call_key(&call.tool, &Value::canonical_object(&call.arguments));
            state.hold(*id).is_some_and(|hold| hold.key() == Some(key()))
        };
        admission.hold = earlier.and_then(|pending| pending.hold).filter(same);
        // What happens without its question needs no answer any more, also if it is asked again one day.
        if !task.questions.is_empty() && call.continues.is_none() {
            let key = call_key(&call.tool, &Value::canonical_object(&call.arguments));
            admission.moot = state.hold_of(task_id, key).filter(|(_, hold)| hold.is_open(now)).map(|(id, _)| id);
        }
        return Ok(Judged::Admit(admission));
    }
    let tasks: Vec<&Task> = links.iter().map(|(_, task)| *task).collect();
    people(state, (call, current), (task_id, &tasks), asks, admission)
}

/// What asks people, with what a connector of the highest tier wants of them
fn asks(reasons: BTreeSet<Reason>, tier: Tier) -> BTreeSet<Reason> {
    let strict = |reason: Reason| match reason.ask.as_deref() {
        Some(quorum) if tier == Tier::High && !quorum.passkey => {
            let quorum = Quorum { passkey: true, ..quorum.clone() };
            Reason { ask: Some(Box::new(quorum)), ..reason }.with("sign_in", "passkey")
        }
        _ => reason,
    };
    reasons.into_iter().map(strict).collect()
}

/// Whether people have agreed to exactly this call; if not, what they are asked
fn people(
    state: &State,
    (call, current): (&Call, &Arc<Bundle>),
    (task_id, line): (TaskId, &[&Task]),
    asks: BTreeSet<Reason>,
    mut admission: Admission,
) -> Result<Judged, Vec<Reason>> {
    let now = admission.now;
    let arguments = Value::canonical_object(&call.arguments);
    if arguments.len() as u64 > SHOWN_BYTES_MAX {
        return Err(vec![Reason::new(Word::TooLongToShow, &call.tool).with("limit", SHOWN_BYTES_MAX)]);
    }
    if let Some(unseen) = call.arguments.keys().find(|name| admission.digested.contains(*name)) {
        return Err(vec![Reason::new(Word::ArgumentNotShown, &call.tool).with("argument", unseen)]);
    }
    admission.seen.key = call_key(&call.tool, &arguments);
    admission.seen.earlier = hold::earlier(state, task_id, admission.seen.key);
    let questions = hold::questions(&asks);
    let identity = state.met(&call.tool.connector).map(|met| met.accepted.to_string()).unwrap_or_default();
    let shown = {
        let (seen, task) = (&admission.seen, line.first());
        let name = |name: Option<&Name>| name.map_or(Value::Null, text);
        let before = call.before.as_ref().map(|read| read.values.clone()).filter(|values| !values.is_empty());
        BTreeMap::from([
            ("kind", text("call")),
            ("task", text(task_id)),
            ("agent", name(task.map(|task| &task.agent))),
            ("user", name(task.and_then(|task| task.user.as_ref()))),
            ("purpose", name(task.map(|task| &task.purpose))),
            ("chain", texts(line.iter().skip(1).map(|task| &task.agent))),
            ("connector", text(identity)),
            ("tool", text(&call.tool)),
            ("variants", texts(&admission.variants)),
            ("pin", text(call.fit.pin)),
            ("class", text(admission.class)),
            ("arguments", text(&arguments)),
            ("target", seen.target.clone().map_or(Value::Null, Value::String)),
            ("label", text(seen.label)),
            ("undo", seen.undo.clone().map_or(Value::Null, Value::String)),
            ("before", before.map_or(Value::Null, Value::Object)),
            ("earlier", hold::earlier_in_words(&seen.earlier)),
        ])
    };
    // A leg of a call that was agreed to needs its yes still to count.
    let continued = line.first().zip(call.continues).and_then(|(task, of)| task.goes_on(of)?.hold);
    let known = match continued {
        // What goes on is what was agreed to, and nothing else.
        Some(id) => match state.hold(id).filter(|hold| is_no_more(hold, &admission)) {
            Some(hold) => Some((id, hold)),
            None => return Err(vec![Reason::new(Word::ContinuationUnknown, id).with("tool", &call.tool)]),
        },
        None => state.hold_of(task_id, admission.seen.key).filter(|(_, hold)| hold.is_open(now)),
    };
    let same = |(id, hold): &(HoldId, &Hold)| {
        continued.is_some()
            || hold::bound(state, (*id, hold.held.until), &questions, shown.clone()) == hold.held.binding
    };
    if let Some((id, hold)) = known.filter(same) {
        if let Answers::Enough(mut grants) = hold::answers(state, current, hold, (&asks, now)) {
            // A yes is used in time; what was begun with it may take longer.
            let begun = continued.is_some();
            grants.iter_mut().filter(|_| begun).for_each(|grant| grant.until = Millis(i64::MAX));
            admission.used.extend(grants);
            admission.hold = Some(id);
            return Ok(Judged::Admit(admission));
        }
        if continued.is_none() {
            let holding = hold::waits(&hold.held, asks.into_iter().collect());
            return Ok(Judged::Hold(Box::new(Held { holding, admission })));
        }
        // Who agreed has left since: what went on with it does not.
        return Err(asks.into_iter().map(|reason| asked(reason, OnHold::Deny)).collect());
    }
    let own = hold::own(current, line.iter().copied());
    let above = line.iter().skip(1).map(|task| task.agent.clone()).collect();
    let hold_id = HoldId(call.effect.0);
    let holding = hold::ask(
        state,
        (hold_id, Some(task_id)),
        (questions, asks.into_iter().collect()),
        |_| shown,
        (own, above),
        now,
    )?;
    Ok(Judged::Hold(Box::new(Held { holding, admission })))
}

/// Whether what goes on with an agreed call is that call, and nothing of it has become graver since
fn is_no_more(hold: &Hold, admission: &Admission) -> bool {
    match &hold.held.what {
        HeldWhat::Call(call) => {
            call.key == admission.seen.key
                && admission.class <= call.class
                && admission.seen.label <= call.label
                && admission.variants.iter().all(|variant| call.variants.contains(variant))
        }
        HeldWhat::Elevation(_) | HeldWhat::Opening(_) => false,
    }
}

/// What a call is told that repeats one that people were asked about, unless it is a question of its own
fn repeated(state: &State, task_id: TaskId, call: &Call, now: Millis) -> Option<Result<Again, Reason>> {
    state.task(task_id).filter(|task| !task.questions.is_empty() && call.continues.is_none())?;
    let key = call_key(&call.tool, &Value::canonical_object(&call.arguments));
    let (id, hold) = state.hold_of(task_id, key)?;
    // A task that takes back the same thing twice makes the same call twice.
    let task = state.task(task_id)?;
    let left = task.undoes.as_ref().is_some_and(|undoes| undoes.has_left(task, key));
    hold::again(id, hold, now).filter(|again| again.is_err() || !left)
}

/// What has to be read before a call; nothing if the arguments for that are not there
fn reading(before: &Before, undo: Option<&Undo>, call: &Call, task: &Task) -> Option<Reading> {
    let argument = |value: &Restored| match value {
        Restored::Literal(value) => Some(value.clone()),
        Restored::Parameter(name) => task.values.get(name).cloned(),
        Restored::Argument(path) => match path.select(&call.arguments).values.as_slice() {
            [Some(value)] => Some((*value).clone()),
            _ => None,
        },
        Restored::Result(_) | Restored::Before(_) => None,
    };
    let arguments = before.arguments.iter().map(|(name, value)| Some((name.clone(), argument(value)?)));
    let fields = undo.into_iter().flat_map(|undo| undo.arguments.values()).filter_map(|value| match value {
        Restored::Before(path) => Some(path.clone()),
        _ => None,
    });
    Some(Reading { tool: before.tool.clone(), arguments: arguments.collect::<Option<_>>()?, fields: fields.collect() })
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
    // What it is given may have ended while the child was being made ready.
    let lease = start.lease.map(|lease| (lease, state.open_lease(lease)));
    if let Some((id, lease)) = lease
        && !lease.is_some_and(|(open, lease)| {
            open.task == Some(task_id)
                && open.connector.as_ref() == Some(&start.connector)
                && state.leased(open, lease, now) == Leased::Live
        })
    {
        reasons.insert(Reason::new(Word::CredentialUnavailable, Node::Lease(id)));
    }
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
            } else if !reaches(link_task, purpose, &start.connector) {
                reasons.insert(outside(Node::Purpose(link_task.purpose.clone())));
            }
        }
    }
    // What a child is started for is judged by itself, so its class does not matter here.
    let observed = lift(state, task, (&start.connector, Class::Read), &mut reasons, now);
    if reasons.is_empty() { Ok(Starting { task: task_id, now, observed }) } else { Err(reasons.into_iter().collect()) }
}

/// Whether a task may call anything at all of a connector
fn reaches(task: &Task, purpose: &Purpose, connector: &Name) -> bool {
    match &task.undoes {
        // Where something was done is not always where it is taken back.
        Some(undoes) => undoes.connectors.contains(connector),
        None => purpose.tools().any(|tool| tool.connector == *connector),
    }
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
    Some(reason.with("accepted", &met.accepted).with("seen", &met.seen))
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
