//! May a class be opened for a while?

use super::{
    Shelf,
    call::{chain, live_pin, versions},
    envelope::asked,
    hold::{Answers, Holding, answers, ask, own, questions, text, texts, waits},
    may, now,
};
use crate::{
    event::{Actor, Elevation, HeldWhat},
    names::{HoldId, Name, TaskId},
    node::Node,
    policy::{Bundle, Class, Deed, Purpose, Quorum, Tier, Usage},
    reason::{Reason, Word},
    request::{Clock, Elevate},
    state::{Hold, Phase, State, Task},
    time::Millis,
    value::Value,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What opening a class means, once no reason is left
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elevating {
    /// It is opened
    Granted {
        /// Which class
        class: Class,
        /// Who answers for it: the purpose, or whoever opened it
        owner: String,
        /// Until when
        until: Millis,
        /// The time that was judged with
        now: Millis,
    },
    /// People have agreed to it
    Agreed(HoldId, Box<Agreed>),
    /// People are asked
    Held(Class, Holding),
    /// Exactly this is open until then, and was not used yet: whoever repeats a request is told so
    Stands(Class, Millis),
}

/// Calls that one elevation is for at most
const TIMES_MAX: u32 = 1_000;
/// How long one elevation lasts at most, in milliseconds
const LASTS_MS_MAX: i64 = 24 * 60 * 60 * 1_000;
/// Elevations of one task at once
const PER_TASK_MAX: usize = 32;
/// Tools of one elevation
const USES_MAX: usize = 32;
/// Bytes of the sentence that says why, and of all values
const TEXT_BYTES_MAX: usize = 4 << 10;

/// The unmet reasons why a class may not be opened for a while; none: whether it is, or who is asked first
///
/// Only what the purpose names can be opened: the ceiling stays where it is. More than that is another purpose.
///
/// # Errors
/// The reasons, sorted.
pub fn judge_elevate(state: &State, shelf: &Shelf, elevate: &Elevate, clock: Clock) -> Result<Elevating, Vec<Reason>> {
    let (now, clock_reason) = now(state, clock);
    let mut reasons = BTreeSet::from_iter(clock_reason);
    reasons.extend(match &elevate.by {
        Actor::Run(run) if state.task_of(*run) == Some(elevate.task) => None,
        by => may(state, shelf, by, Deed::Elevate, elevate.task, now),
    });
    let terms = match terms(state, shelf, elevate, now) {
        Ok(terms) if reasons.is_empty() => terms,
        Ok(_) => return Err(reasons.into_iter().collect()),
        Err(unmet) => return Err(reasons.into_iter().chain(unmet).collect::<BTreeSet<_>>().into_iter().collect()),
    };
    let Terms { class, task, current, asks } = terms;
    // An agent repeats its request to hear what came of it; that is no new question.
    if matches!(elevate.by, Actor::Run(_)) {
        if let Some(until) = state.unused_elevation(task, elevate, class, now) {
            return Ok(Elevating::Stands(class, until));
        }
        if let Some((id, _)) = same(state, task, elevate, class).find(|(_, hold)| is_declined(hold)) {
            return Err(vec![Reason::new(Word::ApprovalDeclined, id)]);
        }
    }
    let granted = |owner: String| {
        let until = now.plus(elevate.lasts_ms).min(task.expires);
        Ok(Elevating::Granted { class, owner, until, now })
    };
    if asks.is_empty() {
        return granted(format!("purpose:{}", task.purpose));
    }
    if asks.iter().any(|reason| reason.word == Word::NobodyToAsk) {
        return Err(asks.into_iter().collect());
    }
    held(state, shelf, (elevate, class), (task, current), (asks, now))
}

/// What opening a class stands on
struct Terms<'a> {
    class: Class,
    task: &'a Task,
    current: &'a Arc<Bundle>,
    /// Whom the versions of the purpose have asked; nobody, if all of them open it without a person
    asks: BTreeSet<Reason>,
}

/// What every version of the policy says that opening a class needs: a later one never widens a running task
fn terms<'a>(state: &'a State, shelf: &'a Shelf, elevate: &Elevate, now: Millis) -> Result<Terms<'a>, Vec<Reason>> {
    let mut reasons = BTreeSet::from_iter(state.life(elevate.task, now));
    let (Some(task), Some(current)) = (state.task(elevate.task), shelf.current(state)) else {
        if state.task(elevate.task).is_some() {
            reasons.insert(Reason::new(Word::PolicyUnavailable, "policy"));
        }
        return Err(reasons.into_iter().collect());
    };
    let source = format!("purpose:{}", task.purpose);
    let refused = |about: &'static str, what: String| Reason::new(Word::ElevationRefused, &source).with(about, what);
    bounds(elevate, task, &refused, &mut reasons);
    let class = class_of(state, shelf, (elevate, task), current, &refused, &mut reasons);
    let Some(class) = class else {
        if reasons.is_empty() {
            reasons.insert(refused("tools", "the purpose does not name them".to_owned()));
        }
        return Err(reasons.into_iter().collect());
    };
    let bundles: Vec<_> = versions(shelf, task.bundle, current).collect();
    let tiers = bundles.iter().flatten().flat_map(|bundle| {
        let connectors = elevate.uses.iter().filter_map(|usage| bundle.connectors.get(&usage.tool.connector));
        connectors.map(|connector| connector.tier)
    });
    let tier = tiers.max().unwrap_or_default();
    let mut asks = BTreeSet::new();
    for bundle in bundles {
        let Some(purpose) = bundle.and_then(|bundle| bundle.purposes.get(&task.purpose)) else {
            reasons.insert(Reason::new(Word::PolicyUnavailable, elevate.task));
            continue;
        };
        if tier.stands(class, &purpose.limits.standing) {
            continue;
        }
        let Some(opens) = &purpose.elevate else {
            reasons.insert(refused("because", "the purpose has no `[elevate]`".to_owned()));
            continue;
        };
        if stands_alone(opens.alone.get(&class), elevate, task, class) && !tier.needs_person(class) {
            continue;
        }
        let Some(quorum) = &opens.ask else {
            let because = "it is more than the purpose opens without a person, and it names nobody who could open more";
            reasons.insert(refused("because", because.to_owned()));
            continue;
        };
        let quorum = Quorum { passkey: quorum.passkey || tier == Tier::High, ..quorum.clone() };
        let reason = Reason::asking(&source, &quorum).with("step", format!("elevate {class}"));
        asks.insert(asked(reason, purpose.limits.on_hold));
    }
    if reasons.is_empty() { Ok(Terms { class, task, current, asks }) } else { Err(reasons.into_iter().collect()) }
}

/// An elevation that enough people have agreed to
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// What is opened
    pub elevation: Elevation,
    /// Until when; it runs from now on
    pub until: Millis,
    /// Whose yes came last, of those that count
    pub by: Option<Name>,
}

/// The elevation that a question asks for, once enough have said yes; everything is judged as it is now
#[must_use]
pub fn granted_elevation(state: &State, shelf: &Shelf, id: HoldId, now: Millis) -> Option<Agreed> {
    let hold = state.hold(id).filter(|hold| hold.is_open(now))?;
    let HeldWhat::Elevation(elevation) = &hold.held.what else { return None };
    let elevate = Elevate {
        grant: id.into(),
        by: Actor::System,
        task: elevation.task,
        uses: elevation.uses.clone(),
        values: opened(elevation)?,
        times: elevation.times,
        lasts_ms: elevation.lasts_ms,
        why: elevation.why.value()?.as_str()?.to_owned(),
    };
    let Terms { class, task, current, asks } = terms(state, shelf, &elevate, now).ok()?;
    // What was agreed to is what was shown; where the policy asks something else now, it is another question.
    if questions(&asks) != hold.held.questions {
        return None;
    }
    let Answers::Enough(used) = answers(state, current, hold, (&asks, now)) else { return None };
    let counts = |user: &&Name| used.iter().any(|used| used.rests_on.contains(&Node::User((*user).clone())));
    let last = |user: &&Name| hold.answers.get(*user).map(|answered| answered.at);
    let by = hold.agreed().filter(counts).max_by_key(last).or_else(|| hold.agreed().max_by_key(last));
    let until = now.plus(elevation.lasts_ms).min(task.expires);
    (class == elevation.class).then(|| Agreed { elevation: elevation.clone(), until, by: by.cloned() })
}

/// The values of an elevation, unless one of them was erased
fn opened(elevation: &Elevation) -> Option<BTreeMap<String, Value>> {
    elevation.values.iter().map(|(name, value)| Some((name.clone(), value.value()?))).collect()
}

/// An agent that asks again for what waits already is told so, or has it if enough have agreed by now
fn held(
    state: &State,
    shelf: &Shelf,
    (elevate, class): (&Elevate, Class),
    (task, current): (&Task, &Arc<Bundle>),
    (asks, now): (BTreeSet<Reason>, Millis),
) -> Result<Elevating, Vec<Reason>> {
    let questions = questions(&asks);
    let reasons: Vec<Reason> = asks.into_iter().collect();
    let waits_for = |hold: &Hold| hold.is_open(now) && hold.held.questions == questions;
    if let Some((_, hold)) = same(state, task, elevate, class).find(|(_, hold)| waits_for(hold)) {
        if let Some(agreed) = granted_elevation(state, shelf, hold.held.hold, now) {
            return Ok(Elevating::Agreed(hold.held.hold, Box::new(agreed)));
        }
        return Ok(Elevating::Held(class, waits(&hold.held, reasons)));
    }
    let line: Vec<&Task> = chain(state, elevate.task, task).map(|(_, task)| task).collect();
    let above = line.iter().skip(1).map(|task| task.agent.clone()).collect();
    let own = own(current, line.iter().copied());
    let shown = |_| {
        let user = task.user.as_ref().map_or(Value::Null, text);
        BTreeMap::from([
            ("kind", text("elevation")),
            ("task", text(elevate.task)),
            ("agent", text(&task.agent)),
            ("user", user),
            ("purpose", text(&task.purpose)),
            ("class", text(class)),
            ("tools", texts(&elevate.uses)),
            ("values", Value::Object(elevate.values.clone())),
            ("times", text(elevate.times)),
            ("lasts_ms", text(elevate.lasts_ms)),
            ("why", text(&elevate.why)),
        ])
    };
    let hold = (HoldId(elevate.grant.0), Some(elevate.task));
    ask(state, hold, (questions, reasons), shown, (own, above), now).map(|holding| Elevating::Held(class, holding))
}

/// The questions of a task about just this opening
fn same<'s>(
    state: &'s State,
    task: &'s Task,
    elevate: &'s Elevate,
    class: Class,
) -> impl Iterator<Item = (HoldId, &'s Hold)> {
    task.questions.iter().filter_map(move |id| {
        let hold = state.hold(*id)?;
        let HeldWhat::Elevation(asked) = &hold.held.what else { return None };
        let same = (asked.class, &asked.uses, asked.times, asked.lasts_ms, opened(asked)?)
            == (class, &elevate.uses, elevate.times, elevate.lasts_ms, elevate.values.clone());
        same.then_some((*id, hold))
    })
}

fn is_declined(hold: &Hold) -> bool {
    matches!(hold.phase, Phase::Declined { .. })
}

fn bounds(
    elevate: &Elevate,
    task: &Task,
    refused: &impl Fn(&'static str, String) -> Reason,
    reasons: &mut BTreeSet<Reason>,
) {
    let bytes = elevate.why.len() + Value::canonical_object(&elevate.values).len();
    if elevate.why.trim().is_empty() || bytes > TEXT_BYTES_MAX {
        reasons.insert(refused("why", format!("a sentence, with its values at most {TEXT_BYTES_MAX} bytes")));
    }
    if !(1..=TIMES_MAX).contains(&elevate.times) {
        reasons.insert(refused("times", format!("1 to {TIMES_MAX}")));
    }
    if !(1..=LASTS_MS_MAX).contains(&elevate.lasts_ms) {
        reasons.insert(refused("lasts", "at most a day".to_owned()));
    }
    if elevate.uses.is_empty() || elevate.uses.len() > USES_MAX {
        reasons.insert(refused("tools", format!("1 to {USES_MAX} of them")));
    }
    if task.elevations.len() >= PER_TASK_MAX {
        reasons.insert(Reason::new(Word::TooManyGrants, "task").with("limit", PER_TASK_MAX));
    }
}

/// The one class of all the tools: as strict as any version of the policy of the task or of one above it says
fn class_of(
    state: &State,
    shelf: &Shelf,
    (elevate, task): (&Elevate, &Task),
    current: &Arc<Bundle>,
    refused: &impl Fn(&'static str, String) -> Reason,
    reasons: &mut BTreeSet<Reason>,
) -> Option<Class> {
    let mut classes = BTreeSet::new();
    let links: Vec<(TaskId, &Task)> = chain(state, elevate.task, task).collect();
    for usage in &elevate.uses {
        reasons.extend(state.connector_life(&usage.tool.connector));
        reasons.extend(live_pin(state, &usage.tool));
        for (link, link_task) in &links {
            for bundle in versions(shelf, link_task.bundle, current) {
                let purpose = bundle.and_then(|bundle| Some((bundle, bundle.purposes.get(&link_task.purpose)?)));
                let Some((bundle, purpose)) = purpose else {
                    reasons.insert(Reason::new(Word::PolicyUnavailable, link));
                    continue;
                };
                match class_in(bundle, purpose, usage) {
                    Some(class) => drop(classes.insert(class)),
                    None => drop(reasons.insert(refused("tools", format!("the purpose does not name {usage}")))),
                }
            }
        }
    }
    if classes.len() > 1 {
        reasons.insert(refused("tools", "all of one class: no grant of one class opens another".to_owned()));
    }
    let class = classes.pop_last()?;
    let stands = |bundle: &Arc<Bundle>| {
        let purpose = bundle.purposes.get(&task.purpose)?;
        let tiers = elevate.uses.iter().filter_map(|usage| bundle.connectors.get(&usage.tool.connector));
        let tier = tiers.map(|connector| connector.tier).max().unwrap_or_default();
        Some(tier.stands(class, &purpose.limits.standing))
    };
    if versions(shelf, task.bundle, current).all(|bundle| bundle.and_then(stands) == Some(true)) {
        reasons.insert(refused("class", format!("{class} is open already")));
    }
    Some(class)
}

/// The class of a tool or variant that an entry of the purpose names
fn class_in(bundle: &Bundle, purpose: &Purpose, usage: &Usage) -> Option<Class> {
    let mut named = purpose.entries_of(&usage.tool).flat_map(|entry| &entry.uses);
    if !named.any(|known| known == usage) {
        return None;
    }
    let profile = bundle.profile(&usage.tool)?;
    match &usage.variant {
        None => Some(profile.class),
        Some(name) => profile.variants.iter().find(|variant| variant.name == *name).map(|variant| variant.class),
    }
}

/// Whether the purpose opens it without a person
fn stands_alone(alone: Option<&crate::policy::Alone>, elevate: &Elevate, task: &Task, class: Class) -> bool {
    alone.is_some_and(|alone| {
        let used = task.alone.get(&class).copied().unwrap_or_default();
        elevate.uses.iter().all(|usage| alone.uses.contains(usage))
            && used.saturating_add(elevate.times) <= alone.times
            && elevate.lasts_ms <= alone.within_ms
    })
}
