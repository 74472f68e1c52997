//! Refusals that are alike become one event, so that no agent fills the record with them.

use crate::{
    event::Actor,
    names::TaskId,
    reason::{Reason, Word},
    time::Millis,
};
use std::collections::{BTreeMap, BTreeSet};

/// Refusals that were counted but not recorded yet
#[derive(Debug, Default)]
pub(super) struct Refusals {
    kinds: BTreeMap<Kind, Pending>,
}

/// Refusals of one run or person, of one thing, for the same words
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    by: Actor,
    what: String,
    words: BTreeSet<Word>,
}

#[derive(Debug)]
struct Pending {
    task: Option<TaskId>,
    since: Millis,
    count: u64,
    reasons: Vec<Reason>,
}

/// Refusals to be recorded as one event
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) by: Actor,
    pub(super) task: Option<TaskId>,
    pub(super) what: String,
    pub(super) count: u64,
    pub(super) reasons: Vec<Reason>,
}

/// How long refusals that are alike are gathered
const GATHER_MS: i64 = 10_000;
/// Kinds of one run or person that are told apart; what is beyond is one kind
const KINDS_OF_ONE_MAX: usize = 32;
/// Kinds in all
const KINDS_MAX: usize = 4_096;

impl Refusals {
    /// Counts a refusal; the first of its kind is to be recorded at once
    pub(super) fn count(
        &mut self,
        by: &Actor,
        task: Option<TaskId>,
        what: String,
        reasons: &[Reason],
        now: Millis,
    ) -> Option<Counted> {
        let words: BTreeSet<Word> = reasons.iter().map(|reason| reason.word).collect();
        let mut kind = Kind { by: by.clone(), what, words };
        if !self.kinds.contains_key(&kind) {
            let first = Kind { by: by.clone(), what: String::new(), words: BTreeSet::new() };
            let of_one = self.kinds.range(first..).take_while(|(known, _)| known.by == *by).take(KINDS_OF_ONE_MAX);
            if of_one.count() >= KINDS_OF_ONE_MAX || self.kinds.len() >= KINDS_MAX {
                kind = Kind { by: by.clone(), what: "(others)".to_owned(), words: BTreeSet::new() };
            }
        }
        if let Some(pending) = self.kinds.get_mut(&kind) {
            pending.count = pending.count.saturating_add(1);
            if pending.reasons.is_empty() {
                pending.reasons = reasons.to_vec();
            }
            return None;
        }
        let counted = Counted { by: by.clone(), task, what: kind.what.clone(), count: 1, reasons: reasons.to_vec() };
        self.kinds.insert(kind, Pending { task, since: now, count: 0, reasons: Vec::new() });
        Some(counted)
    }

    /// What has been gathered for long enough
    pub(super) fn overdue(&mut self, now: Millis) -> Vec<Counted> {
        let due = |pending: &Pending| now.since(pending.since) >= GATHER_MS;
        let counted = self.kinds.iter_mut().filter(|(_, pending)| due(pending) && pending.count > 0);
        let counted = counted
            .map(|(kind, pending)| Counted {
                by: kind.by.clone(),
                task: pending.task,
                what: kind.what.clone(),
                count: std::mem::take(&mut pending.count),
                reasons: std::mem::take(&mut pending.reasons),
            })
            .collect();
        self.kinds.retain(|_, pending| !due(pending));
        counted
    }

    /// What of a task has been gathered and is not recorded yet: what, why, how often
    pub(super) fn gathered(&self, task: TaskId) -> Vec<(String, BTreeSet<Word>, u64)> {
        let of = self.kinds.iter().filter(|(_, pending)| pending.task == Some(task) && pending.count > 0);
        of.map(|(kind, pending)| (kind.what.clone(), kind.words.clone(), pending.count)).collect()
    }

    /// When something will have been gathered for long enough
    pub(super) fn wake(&self) -> Option<Millis> {
        self.kinds.values().map(|pending| pending.since.plus(GATHER_MS)).min()
    }
}
