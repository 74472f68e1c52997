//! What a purpose lets through, and what that uses up.

use super::facts::Facts;
use crate::{
    event::{Charge, call_key},
    names::{GrantId, Name, TaskId},
    node::Node,
    operation::ANSWER,
    path::{FieldPath, uncovered},
    pattern::{Match, Scope, Source},
    policy::{Bundle, Bytes, Entry, Limits, OnHold, Restored, Undo, Usage},
    reason::{Reason, Word},
    state::{State, Task, Undoes},
    time::Millis,
    value::Value,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a call uses up in one task, over the versions of its purpose
pub(super) struct Share<'b> {
    /// Every entry that matches
    pub(super) entries: BTreeSet<Name>,
    /// Bytes of its arguments
    pub(super) sent: u64,
    /// Bytes of its answer that are held for it, if a budget bounds them
    pub(super) held: Option<u64>,
    /// Fields of its result that later steps need
    pub(super) wanted: BTreeSet<Source>,
    /// Entries that earlier legs of the call were charged for; `None`: it is the first
    pub(super) paid: Option<BTreeSet<Name>>,
    /// Elevations that the legs before were begun under; `None`: it is the first
    pub(super) begun: Option<&'b BTreeSet<GrantId>>,
    /// Whether nothing comes back, so that nothing has to be held for it
    pub(super) silent: bool,
    /// Elevations that it uses up one call of
    pub(super) elevated: BTreeMap<GrantId, (Reason, Millis)>,
    /// What takes it back
    pub(super) undo: Option<&'b Undo>,
}

impl<'b> Share<'b> {
    pub(super) fn new(sent: u64, paid: Option<BTreeSet<Name>>, begun: Option<&'b BTreeSet<GrantId>>) -> Self {
        let (elevated, wanted) = (BTreeMap::new(), BTreeSet::new());
        Self { entries: BTreeSet::new(), sent, held: None, wanted, paid, begun, silent: false, elevated, undo: None }
    }

    pub(super) fn charge(self, task: TaskId) -> Charge {
        // A later leg of a call is of the same count.
        let elevated = if self.paid.is_none() { self.elevated.into_keys().collect() } else { BTreeSet::new() };
        Charge { task, entries: self.entries, sent: self.sent, held: self.held, paid: self.paid, elevated }
    }

    fn is_paid(&self, entry: &Name) -> bool {
        self.paid.as_ref().is_some_and(|paid| paid.contains(entry))
    }
}

/// The unmet reasons why the purpose of a task does not let the call through; none: its share says what it is charged
pub(super) fn envelope<'b>(
    (state, bundle): (&State, &'b Bundle),
    task: &Task,
    facts: &Facts<'b>,
    (share, now): (&mut Share<'b>, Millis),
) -> Vec<Reason> {
    let tool = &facts.call.tool;
    let Some(purpose) = bundle.purposes.get(&task.purpose) else {
        return vec![Reason::new(Word::PurposeStopped, Node::Purpose(task.purpose.clone()))];
    };
    let source = || format!("purpose:{}", task.purpose);
    if let Some(undoes) = &task.undoes {
        // Its calls are written down, so their number and length are bounded already; what comes back is not.
        let bytes = Bytes { arguments: None, ..purpose.limits.bytes };
        let bounds = Limits { calls: None, bytes, ..purpose.limits.clone() };
        let mut reasons = undoing(undoes, task, facts, share, &source);
        reasons.extend(limits(&bounds, task, share, &source));
        return reasons;
    }
    let covering: Vec<&Entry> = purpose.entries_of(tool).filter(|entry| entry.covers(tool, &facts.matching)).collect();
    let scope = Scope::task(&task.values, &task.returned);
    let mut reasons = Vec::new();
    if covering.is_empty() {
        reasons.push(Reason::new(Word::ToolOutsidePurpose, source()).with("tool", tool));
    }
    let mut closest: Option<Vec<Reason>> = None;
    let mut matching = Vec::new();
    for entry in covering {
        let unmet = arguments(entry, facts, scope, &source);
        if unmet.is_empty() {
            matching.push(entry);
        } else if closest.as_ref().is_none_or(|closest| unmet.len() < closest.len()) {
            closest = Some(unmet);
        }
    }
    if matching.is_empty() {
        reasons.extend(closest.into_iter().flatten());
    } else {
        reasons.extend(spent(&matching, task, share, &source));
        reasons.extend(questions(&matching, facts, scope, purpose.limits.on_hold, &source));
    }
    // Also for a tool that the purpose does not name: a grant that lifts the one does not lift the others.
    if !facts.tier.stands(facts.class, &purpose.limits.standing) {
        let closed = Reason::new(Word::ClassNotOpen, source()).with("class", facts.class);
        let call = (tool, facts.variants.as_slice(), facts.class, facts.tier);
        let open = state.elevation(task, call, &facts.call.arguments, (share.begun, now));
        // What a version of the policy does not let anybody open stays closed under it, whoever opened it before.
        let usage = |variant: Option<&Name>| Usage { tool: tool.clone(), variant: variant.cloned() };
        let mut uses: Vec<Usage> = facts.variants.iter().map(|variant| usage(Some(variant))).collect();
        if uses.is_empty() {
            uses.push(usage(None));
        }
        let opens = purpose.elevate.as_ref().is_some_and(|elevate| elevate.can_open(facts.class, &uses));
        match open.filter(|_| opens) {
            Some((grant, until)) => drop(share.elevated.insert(grant, (closed, until))),
            None => reasons.push(closed),
        }
    }
    let label = facts.profile.confidentiality();
    if let Some(ceiling) = purpose.limits.ceiling.filter(|ceiling| label > *ceiling) {
        reasons.push(Reason::new(Word::AboveCeiling, source()).with("ceiling", ceiling).with("results", label));
    }
    reasons.extend(limits(&purpose.limits, task, share, &source));
    let undo = matching.iter().find_map(|entry| entry.undo.as_ref()).or(facts.profile.undo.as_ref());
    // The current version comes first, and says how it is undone; an earlier one only if that does not.
    share.undo = share.undo.or(undo);
    let results = undo.into_iter().flat_map(|undo| undo.arguments.values()).filter_map(|value| match value {
        Restored::Result(field) => Some(field),
        _ => None,
    });
    for field in results {
        let sources = matching.iter().map(|entry| Source { step: entry.name.clone(), field: field.clone() });
        share.wanted.extend(sources);
    }
    for entry in matching {
        share.wanted.extend(purpose.wanted_of(&entry.name).cloned());
        share.entries.insert(entry.name.clone());
    }
    reasons
}

/// Arguments are closed by default: each is named by the entry, or free by the profile, or must be absent
fn arguments(entry: &Entry, facts: &Facts<'_>, scope: Scope<'_>, source: &impl Fn() -> String) -> Vec<Reason> {
    let given = &facts.call.arguments;
    // Before a question is put to the client there is no answer to look at.
    let unanswered = |path: &FieldPath| facts.unanswered && path.root() == Some(ANSWER);
    let outside = entry
        .arguments
        .iter()
        .filter(|(path, pattern)| !unanswered(path) && !pattern.holds(&path.select(given), scope));
    let outside = outside.map(|(path, pattern)| {
        Reason::new(Word::ArgumentOutsideTask, source())
            .with("step", &entry.name)
            .with("argument", path)
            .with("expected", pattern.in_words(Some(scope)))
    });
    let unnamed = uncovered(given, entry.arguments.keys().chain(facts.profile.free())).into_iter();
    let unnamed = unnamed
        .map(|path| Reason::new(Word::ArgumentNotNamed, source()).with("step", &entry.name).with("argument", path));
    outside.chain(unnamed).collect()
}

/// One of the matching entries must have order and count left; what an earlier leg was charged for is there already
fn spent(matching: &[&Entry], task: &Task, share: &Share<'_>, source: &impl Fn() -> String) -> Vec<Reason> {
    if matching.iter().any(|entry| share.is_paid(&entry.name)) {
        return Vec::new();
    }
    let step = |name: &Name| task.steps.get(name).copied().unwrap_or_default();
    let mut reasons = Vec::new();
    for entry in matching {
        if let Some(before) = entry.after.as_ref().filter(|before| !step(before).succeeded) {
            reasons.push(Reason::new(Word::OutOfOrder, source()).with("step", &entry.name).with("first", before));
        } else if let Some(times) = entry.times.filter(|times| step(&entry.name).used >= *times) {
            reasons.push(Reason::new(Word::CountSpent, source()).with("step", &entry.name).with("limit", times));
        } else {
            return Vec::new();
        }
    }
    reasons
}

/// Every matching entry's question must be met, so an easier entry never hides a stricter one
fn questions<'a>(
    matching: &'a [&Entry],
    facts: &'a Facts<'_>,
    scope: Scope<'a>,
    on_hold: OnHold,
    source: &'a impl Fn() -> String,
) -> impl Iterator<Item = Reason> + 'a {
    matching.iter().filter_map(move |entry| {
        let ask = entry.ask.as_ref()?;
        // Only a clear no spares the question: not an argument that is not there, nor one that is unclear.
        let asks = ask.when.iter().all(|(path, pattern)| {
            let reached = path.select(&facts.call.arguments);
            let absent = reached.values.iter().all(Option::is_none);
            absent || pattern.picks(&reached, scope) != Match::No
        });
        asks.then(|| asked(Reason::asking(source(), &ask.quorum).with("step", &entry.name), on_hold))
    })
}

/// A question where nobody waits for an answer
pub(super) fn asked(reason: Reason, on_hold: OnHold) -> Reason {
    match (reason.word, on_hold) {
        (Word::ApprovalNeeded, OnHold::Deny) => Reason { word: Word::NobodyToAsk, ask: None, ..reason },
        _ => reason,
    }
}

/// A task that takes something back makes just the recorded calls, each once, in their order
fn undoing(
    undoes: &Undoes,
    task: &Task,
    facts: &Facts<'_>,
    share: &mut Share<'_>,
    source: &impl Fn() -> String,
) -> Vec<Reason> {
    let tool = &facts.call.tool;
    let key = call_key(tool, &Value::canonical_object(&facts.call.arguments));
    let done = |entry: &Name| task.steps.get(entry).is_some_and(|step| step.used > 0);
    let steps = undoes.steps.iter().enumerate();
    let mut steps = steps.filter_map(|(at, step)| Some((Undoes::entry(at)?, *step)));
    let same: Vec<Name> = steps.clone().filter(|(_, step)| *step == key).map(|(entry, _)| entry).collect();
    if same.is_empty() {
        return vec![Reason::new(Word::ToolOutsidePurpose, source()).with("tool", tool).with("undoes", undoes.of)];
    }
    let Some(entry) = same.iter().find(|entry| share.is_paid(entry) || !done(entry)) else {
        return vec![Reason::new(Word::CountSpent, source()).with("step", tool).with("limit", same.len())];
    };
    let first = steps.find(|(entry, _)| !done(entry)).map(|(entry, _)| entry);
    if let Some(first) = first.filter(|first| first != entry && !share.is_paid(entry)) {
        return vec![Reason::new(Word::OutOfOrder, source()).with("step", entry).with("first", first)];
    }
    // The next one follows what the last one did, not what it may do.
    if task.open > 0 && share.paid.is_none() {
        return vec![Reason::new(Word::TooManyOpen, source()).with("step", entry).with("limit", 1)];
    }
    share.entries.insert(entry.clone());
    Vec::new()
}

/// What the task as a whole has left
pub(super) fn limits(limits: &Limits, task: &Task, share: &mut Share<'_>, source: &impl Fn() -> String) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if let Some(calls) = limits.calls.filter(|calls| share.paid.is_none() && task.calls >= *calls) {
        reasons.push(Reason::new(Word::CallsSpent, source()).with("limit", calls));
    }
    if let Some(most) = limits.bytes.arguments.filter(|most| task.sent.saturating_add(share.sent) > *most) {
        let reason = Reason::new(Word::BytesSpent, source()).with("limit", most).with("used", task.sent);
        reasons.push(reason.with("what", "arguments"));
    }
    if let Some(most) = limits.bytes.results.filter(|_| !share.silent) {
        let left = most.saturating_sub(task.received.saturating_add(task.held));
        share.held = Some(share.held.map_or(left, |held| held.min(left)));
        if left == 0 {
            let word = if task.received < most { Word::BytesHeld } else { Word::BytesSpent };
            reasons.push(Reason::new(word, source()).with("limit", most).with("what", "results"));
        }
    }
    reasons
}
