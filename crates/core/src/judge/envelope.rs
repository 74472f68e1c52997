//! What a purpose lets through, and what that uses up.

use super::facts::Facts;
use crate::{
    event::Charge,
    names::{Name, TaskId},
    node::Node,
    operation::ANSWER,
    path::{FieldPath, uncovered},
    pattern::{Match, Scope, Source},
    policy::{Bundle, Entry, Limits, OnHold},
    reason::{Reason, Word},
    state::Task,
};
use std::collections::BTreeSet;

/// What a call uses up in one task, over the versions of its purpose
pub(super) struct Share {
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
    /// Whether nothing comes back, so that nothing has to be held for it
    pub(super) silent: bool,
}

impl Share {
    pub(super) fn new(sent: u64, paid: Option<BTreeSet<Name>>) -> Self {
        Self { entries: BTreeSet::new(), sent, held: None, wanted: BTreeSet::new(), paid, silent: false }
    }

    pub(super) fn charge(self, task: TaskId) -> Charge {
        Charge { task, entries: self.entries, sent: self.sent, held: self.held, paid: self.paid }
    }

    fn is_paid(&self, entry: &Name) -> bool {
        self.paid.as_ref().is_some_and(|paid| paid.contains(entry))
    }
}

/// The unmet reasons why the purpose of a task does not let the call through; none: its share says what it is charged
pub(super) fn envelope(bundle: &Bundle, task: &Task, facts: &Facts<'_>, share: &mut Share) -> Vec<Reason> {
    let tool = &facts.call.tool;
    let Some(purpose) = bundle.purposes.get(&task.purpose) else {
        return vec![Reason::new(Word::PurposeStopped, Node::Purpose(task.purpose.clone()))];
    };
    let source = || format!("purpose:{}", task.purpose);
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
    if !purpose.limits.standing.contains(&facts.class) {
        reasons.push(Reason::new(Word::ClassNotOpen, source()).with("class", facts.class));
    }
    let label = facts.profile.confidentiality();
    if let Some(ceiling) = purpose.limits.ceiling.filter(|ceiling| label > *ceiling) {
        reasons.push(Reason::new(Word::AboveCeiling, source()).with("ceiling", ceiling).with("results", label));
    }
    reasons.extend(limits(&purpose.limits, task, share, &source));
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
fn spent(matching: &[&Entry], task: &Task, share: &Share, source: &impl Fn() -> String) -> Vec<Reason> {
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
        let word = match on_hold {
            OnHold::Ask => Word::ApprovalNeeded,
            OnHold::Deny => Word::NobodyToAsk,
        };
        asks.then(|| Reason::new(word, source()).with("step", &entry.name).with("who", &ask.who))
    })
}

/// What the task as a whole has left
pub(super) fn limits(limits: &Limits, task: &Task, share: &mut Share, source: &impl Fn() -> String) -> Vec<Reason> {
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
