//! What a run is shown of a connector: discovery, which is no use.

use super::{
    Shelf,
    call::{chain, live_pin, versions},
    now,
};
use crate::{
    hash::Hash,
    names::{Name, RunId, TaskId, Tool, ToolName},
    operation::Operation,
    path::FieldPath,
    pattern::{Conditions, Match, Scope},
    policy::{Bundle, Class, Entry, Purpose, Variant},
    reason::{Reason, Word},
    request::Clock,
    state::{State, Task},
    time::Millis,
    value::Value,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What of a connector the task of a run could use
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Its tools, with the digests of their definitions
    pub tools: Vec<(ToolName, Hash)>,
    /// What else can be done there
    pub operations: BTreeSet<Operation>,
}

/// What of a connector the task of `run` could use
///
/// Order, counts, classes, budgets and questions never hide anything; a rule that forbids it outright does.
///
/// # Errors
/// Why the task may not act at all.
pub fn listed(state: &State, shelf: &Shelf, run: RunId, connector: &Name, clock: Clock) -> Result<Listed, Vec<Reason>> {
    let Sight { task_id, task, current, now } = sight(state, shelf, run, connector, clock)?;
    let all = Operation::ALL.map(|operation| Tool { connector: connector.clone(), name: operation.into() });
    let observed = state.observer(task, connector, now).is_some();
    let mut named: Option<BTreeSet<&Tool>> = None;
    for (_, link_task) in chain(state, task_id, task) {
        for bundle in versions(shelf, link_task.bundle, current) {
            let visible =
                |tool: &&Tool| tool.connector == *connector && bundle.is_some_and(|bundle| shows(bundle, tool));
            let purpose = bundle.and_then(|bundle| bundle.purposes.get(&link_task.purpose));
            let uses = purpose.into_iter().flat_map(Purpose::tools);
            // Under a grant the others are there too, but for those whose class no grant opens.
            let opened =
                |tool: &&Tool| bundle.zip(purpose).is_some_and(|(bundle, purpose)| opens(bundle, purpose, tool));
            let others = state.pins.keys().chain(&all).filter(|_| observed).filter(opened);
            let here: BTreeSet<&Tool> = uses.chain(others).filter(visible).collect();
            named = Some(match named {
                None => here,
                Some(before) => before.intersection(&here).copied().collect(),
            });
        }
    }
    let live = named.into_iter().flatten().filter(|tool| live_pin(state, tool).is_none());
    let mut listed = Listed::default();
    for tool in live {
        match (tool.operation(), state.pins.get(tool)) {
            (Some(operation), _) => drop(listed.operations.insert(operation)),
            (None, Some(pin)) => listed.tools.push((tool.name.clone(), pin.accepted)),
            (None, None) => {}
        }
    }
    Ok(listed)
}

/// Whether the task of `run` could use a tool or operation with arguments of which only these are known, one answer for
/// each candidate
///
/// What is said of arguments that a candidate does not have, order, counts, classes, budgets and questions hide
/// nothing.
///
/// # Errors
/// Why the task may not act at all.
pub fn visible(
    state: &State,
    shelf: &Shelf,
    run: RunId,
    tool: &Tool,
    candidates: &[BTreeMap<String, Value>],
    clock: Clock,
) -> Result<Vec<bool>, Vec<Reason>> {
    let Sight { task_id, task, current, now } = sight(state, shelf, run, &tool.connector, clock)?;
    let observed = state.observer(task, &tool.connector, now).is_some();
    let live = live_pin(state, tool).is_none();
    let mut shown = vec![live; candidates.len()];
    for (_, link_task) in chain(state, task_id, task).filter(|_| live) {
        for bundle in versions(shelf, link_task.bundle, current) {
            let purpose = bundle.and_then(|bundle| bundle.purposes.get(&link_task.purpose));
            let Some((bundle, purpose)) = bundle.zip(purpose).filter(|(bundle, _)| shows(bundle, tool)) else {
                return Ok(vec![false; candidates.len()]);
            };
            let lifted = observed && opens(bundle, purpose, tool);
            for (shown, known) in shown.iter_mut().zip(candidates).filter(|_| !lifted) {
                *shown = *shown && lets(bundle, purpose, link_task, tool, known);
            }
        }
    }
    Ok(shown)
}

/// The task of a run that looks, if it may look at all
struct Sight<'s> {
    task_id: TaskId,
    task: &'s Task,
    current: &'s Arc<Bundle>,
    now: Millis,
}

fn sight<'s>(
    state: &'s State,
    shelf: &'s Shelf,
    run: RunId,
    connector: &Name,
    clock: Clock,
) -> Result<Sight<'s>, Vec<Reason>> {
    let (now, clock_reason) = now(state, clock);
    let task_id = state.task_of(run).ok_or_else(|| vec![Reason::new(Word::TaskUnknown, run)])?;
    let mut reasons = BTreeSet::from_iter(clock_reason);
    reasons.extend(state.life(task_id, now));
    reasons.extend(state.connector_life(connector));
    if !reasons.is_empty() {
        return Err(reasons.into_iter().collect());
    }
    let found = state.task(task_id).zip(shelf.current(state));
    let (task, current) = found.ok_or_else(|| vec![Reason::new(Word::PolicyUnavailable, "policy")])?;
    Ok(Sight { task_id, task, current, now })
}

/// Whether a version knows where it is, and no rule hides it
fn shows(bundle: &Arc<Bundle>, tool: &Tool) -> bool {
    bundle.profile(tool).is_some_and(|profile| !bundle.rules.hides(tool, profile.class))
}

/// Whether a grant could let it through
fn opens(bundle: &Bundle, purpose: &Purpose, tool: &Tool) -> bool {
    let class = bundle.profile(tool).map_or(Class::Escalate, |profile| profile.class);
    class != Class::Escalate || purpose.limits.standing.contains(&class)
}

/// Whether an entry lets these arguments through, whatever the others are
fn lets(bundle: &Bundle, purpose: &Purpose, task: &Task, tool: &Tool, known: &BTreeMap<String, Value>) -> bool {
    let Some(profile) = bundle.profile(tool) else { return false };
    let scope = Scope::task(&task.values, &task.returned);
    let is_known = |path: &FieldPath| path.root().is_some_and(|root| known.contains_key(root));
    let holds = |entry: &Entry| {
        let asked = entry.arguments.iter().filter(|(path, _)| is_known(path));
        asked.into_iter().all(|(path, pattern)| pattern.holds(&path.select(known), scope))
            && crate::path::uncovered(known, entry.arguments.keys().chain(profile.free())).is_empty()
    };
    let fits = |conditions: &Conditions| fit(conditions, known, &is_known);
    let claimed = profile.variants.iter().any(|variant| fits(&variant.matches) == Match::Yes);
    let named = |name: &Name| {
        let variant: Option<&Variant> = profile.variants.iter().find(|variant| variant.name == *name);
        variant.is_some_and(|variant| fits(&variant.matches) != Match::No)
    };
    let covers = |entry: &Entry| {
        let uses = entry.uses.iter().filter(|usage| usage.tool == *tool);
        uses.into_iter().any(|usage| usage.variant.as_ref().map_or(!claimed, named))
    };
    purpose.entries_of(tool).any(|entry| covers(entry) && holds(entry))
}

/// Whether conditions hold, as far as the arguments are known: what is not known leaves it open
fn fit(conditions: &Conditions, known: &BTreeMap<String, Value>, is_known: &impl Fn(&FieldPath) -> bool) -> Match {
    let mut all = Match::Yes;
    for (path, pattern) in conditions {
        let one = if is_known(path) { pattern.picks(&path.select(known), Scope::NONE) } else { Match::Unclear };
        match one {
            Match::No => return Match::No,
            Match::Unclear => all = Match::Unclear,
            Match::Yes => {}
        }
    }
    all
}
