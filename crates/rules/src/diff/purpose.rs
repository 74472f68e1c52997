//! What tasks may do.

use super::{Changes, Verdict, facts::list, people, sides};
use portreeve_core::{
    names::Name,
    path::{FieldPath, Step},
    pattern::{Conditions, Pattern},
    policy::{Ask, Bundle, Entry, Limits, OnHold, Parameter, Purpose, Serves, Users},
};
use std::collections::BTreeMap;

pub(super) fn compare(old: &Bundle, new: &Bundle, changes: &mut Changes) {
    for (name, before, after) in sides(&old.purposes, &new.purposes) {
        let place = format!("purpose {name}");
        match (before, after) {
            (Some(_), None) => changes.push(&place, Verdict::Narrower, "it is gone"),
            (None, Some(_)) => changes.push(&place, Verdict::Wider, "it is new"),
            (Some(before), Some(after)) => purpose(&place, (old, before), (new, after), changes),
            (None, None) => {}
        }
    }
}

fn purpose(
    place: &str,
    (old_bundle, old): (&Bundle, &Purpose),
    (bundle, new): (&Bundle, &Purpose),
    changes: &mut Changes,
) {
    opening(place, old, new, changes);
    people::opening(place, old, new, changes);
    people::elevate(place, old.elevate.as_ref(), new.elevate.as_ref(), changes);
    limits(place, &old.limits, &new.limits, changes);
    parameters(place, old, new, changes);
    let by_name = |purpose: &Purpose| -> BTreeMap<Name, Entry> {
        purpose.entries().iter().map(|entry| (entry.name.clone(), entry.clone())).collect()
    };
    let (before, after) = (by_name(old), by_name(new));
    for (name, one, other) in sides(&before, &after) {
        let place = format!("{place}, step {name}");
        match (one, other) {
            (Some(_), None) => changes.push(&place, Verdict::Narrower, "it is gone"),
            (None, Some(entry)) => added(&place, entry, old, &new.parameters, changes),
            (Some(one), Some(other)) => {
                let compared = Compared { place: &place, old_bundle, bundle, parameters: &new.parameters };
                compared.entry(one, other, changes);
            }
            (None, None) => {}
        }
    }
    questions(place, &before, &after, &old.parameters, changes);
}

fn opening(place: &str, old: &Purpose, new: &Purpose, changes: &mut Changes) {
    for agent in new.open.agents.difference(&old.open.agents) {
        changes.push(place, Verdict::Wider, format!("the agent {agent} may work on it now"));
    }
    for agent in old.open.agents.difference(&new.open.agents) {
        changes.push(place, Verdict::Narrower, format!("the agent {agent} may no longer work on it"));
    }
    match (&old.open.users, &new.open.users) {
        (old, new) if old == new => {}
        (Users::Named(before), Users::Named(after)) if after.is_subset(before) => {
            changes.push(place, Verdict::Narrower, format!("only for {} now", list(after.iter())));
        }
        (_, Users::Named(after)) => changes.push(place, Verdict::Wider, format!("for {} now", list(after.iter()))),
        (_, Users::Group(group)) => changes.push(place, Verdict::Wider, format!("for the group {group} now")),
        (_, Users::None) => changes.push(place, Verdict::Wider, "for runs without a user now"),
    }
    let least = old.review_by.zip(new.review_by);
    if old.review_by != new.review_by {
        let earlier = old.review_by.is_none() || least.is_some_and(|(old, new)| new < old);
        let verdict = if earlier { Verdict::Narrower } else { Verdict::Wider };
        changes.push(place, verdict, if earlier { "its review is due earlier" } else { "its review is due later" });
    }
    for (name, before, after) in sides(&old.open.bounds, &new.open.bounds) {
        let place = format!("{place}, parameter {name}");
        match (before, after) {
            (Some(before), Some(after)) => pattern(&place, before, after, &new.parameters, changes),
            (Some(before), None) => {
                changes.push(&place, Verdict::Wider, format!("it need not be {} any more", before.in_words(None)));
            }
            (None, Some(after)) => {
                changes.push(&place, Verdict::Narrower, format!("it has to be {} now", after.in_words(None)));
            }
            (None, None) => {}
        }
    }
}

/// Two bounds of which none is no bound
pub(super) fn at_most<T: PartialOrd + ToString + Copy>(
    place: &str,
    what: &str,
    (old, new): (Option<T>, Option<T>),
    changes: &mut Changes,
) {
    let show = |bound: Option<T>| bound.map_or_else(|| "unbounded".to_owned(), |bound| bound.to_string());
    let verdict = match (old, new) {
        (old, new) if old == new => return,
        (None, Some(_)) => Verdict::Narrower,
        (Some(old), Some(new)) if new < old => Verdict::Narrower,
        _ => Verdict::Wider,
    };
    changes.push(place, verdict, format!("{what}: {}, was {}", show(new), show(old)));
}

fn limits(place: &str, old: &Limits, new: &Limits, changes: &mut Changes) {
    at_most(place, "milliseconds that a task lives", (Some(old.expires_after_ms), Some(new.expires_after_ms)), changes);
    at_most(place, "milliseconds without a call", (old.idle_after_ms, new.idle_after_ms), changes);
    at_most(place, "calls", (old.calls, new.calls), changes);
    at_most(place, "bytes of arguments", (old.bytes.arguments, new.bytes.arguments), changes);
    at_most(place, "bytes of results", (old.bytes.results, new.bytes.results), changes);
    at_most(place, "confidentiality of results", (old.ceiling, new.ceiling), changes);
    for class in new.standing.difference(&old.standing) {
        changes.push(place, Verdict::Wider, format!("the class {class} stands now"));
    }
    for class in old.standing.difference(&new.standing) {
        changes.push(place, Verdict::Narrower, format!("the class {class} no longer stands"));
    }
    match (old.on_hold, new.on_hold) {
        (OnHold::Deny, OnHold::Ask) => changes.push(place, Verdict::Wider, "people are asked now, and may say yes"),
        (OnHold::Ask, OnHold::Deny) => changes.push(place, Verdict::Narrower, "nobody is asked any more"),
        _ => {}
    }
    match (old.credentials, new.credentials) {
        (Serves::Call, Serves::Task) => {
            changes.push(place, Verdict::Wider, "a credential serves all calls of its task now")
        }
        (Serves::Task, Serves::Call) => changes.push(place, Verdict::Narrower, "a credential serves one call now"),
        _ => {}
    }
}

fn parameters(place: &str, old: &Purpose, new: &Purpose, changes: &mut Changes) {
    for (name, before, after) in sides(&old.parameters, &new.parameters) {
        let place = format!("{place}, parameter {name}");
        match (before, after) {
            (Some(before), Some(after)) => {
                match (before.kind.covers(&after.kind), after.kind.covers(&before.kind)) {
                    (true, true) => {}
                    (true, false) => changes.push(&place, Verdict::Narrower, "fewer values are taken"),
                    (false, true) => changes.push(&place, Verdict::Wider, "more values are taken"),
                    (false, false) => changes.push(&place, Verdict::Unclear, "other values are taken"),
                }
                if before.default != after.default {
                    changes.push(&place, Verdict::Same, "its default is another one; it could always be given");
                }
            }
            (Some(_), None) => changes.push(&place, Verdict::Same, "it is not asked for any more"),
            (None, Some(_)) => changes.push(&place, Verdict::Same, "it has to be given now"),
            (None, None) => {}
        }
    }
}

/// A step that nothing bounded before lets nothing new through
fn added(place: &str, entry: &Entry, old: &Purpose, parameters: &BTreeMap<Name, Parameter>, changes: &mut Changes) {
    let within = |known: &&Entry| {
        let unbounded = known.times.is_none() && known.after.is_none();
        let uses = entry.uses.iter().all(|usage| known.uses.contains(usage));
        // The very same arguments: what a profile leaves free is free for both.
        let same = known.arguments.keys().eq(entry.arguments.keys())
            && known.arguments.iter().all(|(path, pattern)| {
                entry.arguments.get(path).is_some_and(|other| pattern.covers(other, parameters))
            });
        unbounded && uses && same
    };
    match old.entries().iter().find(within) {
        Some(known) => changes.push(place, Verdict::Narrower, format!("it is new, and within the step {}", known.name)),
        None => changes.push(place, Verdict::Wider, format!("it is new: {}", list(entry.uses.iter()))),
    }
}

fn pattern(place: &str, old: &Pattern, new: &Pattern, parameters: &BTreeMap<Name, Parameter>, changes: &mut Changes) {
    if old == new {
        return;
    }
    let what = format!("{}, was {}", new.in_words(None), old.in_words(None));
    let verdict = match (old.covers(new, parameters), new.covers(old, parameters)) {
        (true, true) => Verdict::Same,
        (true, false) => Verdict::Narrower,
        (false, true) => Verdict::Wider,
        (false, false) => Verdict::Unclear,
    };
    changes.push(place, verdict, what);
}

/// Two versions of one step
struct Compared<'a> {
    place: &'a str,
    old_bundle: &'a Bundle,
    bundle: &'a Bundle,
    parameters: &'a BTreeMap<Name, Parameter>,
}

impl Compared<'_> {
    fn entry(&self, old: &Entry, new: &Entry, changes: &mut Changes) {
        for usage in new.uses.iter().filter(|usage| !old.uses.contains(usage)) {
            changes.push(self.place, Verdict::Wider, format!("{usage} may be used now"));
        }
        for usage in old.uses.iter().filter(|usage| !new.uses.contains(usage)) {
            changes.push(self.place, Verdict::Narrower, format!("{usage} may no longer be used"));
        }
        for (path, before) in &old.arguments {
            match new.arguments.get(path) {
                Some(after) => pattern(&format!("{}, {path}", self.place), before, after, self.parameters, changes),
                None => self.unnamed(path, before, new, changes),
            }
        }
        for (path, after) in new.arguments.iter().filter(|(path, _)| !old.arguments.contains_key(*path)) {
            self.named(path, after, old, changes);
        }
        at_most(self.place, "times", (old.times, new.times), changes);
        match (&old.after, &new.after) {
            (old, new) if old == new => {}
            (None, Some(first)) => changes.push(self.place, Verdict::Narrower, format!("only after {first} now")),
            (Some(first), None) => changes.push(self.place, Verdict::Wider, format!("no longer after {first}")),
            (Some(old), Some(new)) => {
                changes.push(self.place, Verdict::Unclear, format!("after {new}, was after {old}"));
            }
            (None, None) => {}
        }
        question(self.place, old.ask.as_ref(), new.ask.as_ref(), changes);
        people::undo(self.place, old.undo.as_ref(), new.undo.as_ref(), changes);
    }

    /// An argument that is not named any more has to be absent, unless the profile leaves it free
    fn unnamed(&self, path: &FieldPath, before: &Pattern, new: &Entry, changes: &mut Changes) {
        let open = self.named_or_free(path, new, self.bundle);
        let what = format!("{path} need not be {} any more", before.in_words(None));
        let verdict = match before {
            Pattern::Any => Verdict::Narrower,
            Pattern::Absent if !open => Verdict::Narrower,
            _ => Verdict::Wider,
        };
        changes.push(self.place, verdict, what);
    }

    /// An argument that was not named had to be absent, unless the profile left it free
    fn named(&self, path: &FieldPath, after: &Pattern, old: &Entry, changes: &mut Changes) {
        let what = format!("{path} may be {} now", after.in_words(None));
        let was_open = self.covered(path, old, self.old_bundle);
        let verdict = if was_open || *after == Pattern::Absent { Verdict::Narrower } else { Verdict::Wider };
        changes.push(self.place, verdict, what);
    }

    /// Whether some path that is named or free has to do with `path`
    fn named_or_free(&self, path: &FieldPath, entry: &Entry, bundle: &Bundle) -> bool {
        let related = |other: &FieldPath| starts(other.steps(), path.steps()) || starts(path.steps(), other.steps());
        entry.arguments.keys().any(related) || self.free(entry, bundle, |frees| frees.iter().any(related))
    }

    /// Whether all that `path` leads to was named or free for every tool of the step
    fn covered(&self, path: &FieldPath, entry: &Entry, bundle: &Bundle) -> bool {
        let above = |other: &FieldPath| starts(path.steps(), other.steps());
        entry.arguments.keys().any(above) || !self.free(entry, bundle, |frees| !frees.iter().any(above))
    }

    /// Whether `holds` for the free arguments of some tool of the step
    #[expect(clippy::unused_self, reason = "belongs to the comparison")]
    fn free(&self, entry: &Entry, bundle: &Bundle, holds: impl Fn(&[FieldPath]) -> bool) -> bool {
        entry.uses.iter().any(|usage| {
            let frees: Vec<FieldPath> =
                bundle.profile(&usage.tool).into_iter().flat_map(|profile| profile.free().cloned()).collect();
            holds(&frees)
        })
    }
}

fn starts(long: &[Step], short: &[Step]) -> bool {
    long.starts_with(short)
}

fn question(place: &str, old: Option<&Ask>, new: Option<&Ask>, changes: &mut Changes) {
    match (old, new) {
        (old, new) if old == new => {}
        (None, Some(ask)) => changes.push(place, Verdict::Narrower, format!("{} have to agree now", ask.quorum.who)),
        (Some(ask), None) => changes.push(place, Verdict::Wider, format!("{} need not agree any more", ask.quorum.who)),
        (Some(before), Some(after)) => {
            people::quorum(place, &before.quorum, &after.quorum, changes);
            if before.when != after.when && asks_as_often(before, after) {
                changes.push(place, Verdict::Narrower, format!("{} are asked more often", after.quorum.who));
            } else if before.when != after.when {
                let what = format!("{} are asked less often, or otherwise", before.quorum.who);
                changes.push(place, Verdict::Wider, what);
            }
        }
        (None, None) => {}
    }
}

/// Fewer conditions ask more often
fn asks_as_often(old: &Ask, new: &Ask) -> bool {
    new.when.iter().all(|(path, pattern)| old.when.get(path) == Some(pattern))
}

/// A step that asked also asked about what other steps let through: its question must not go with it
fn questions(
    place: &str,
    old: &BTreeMap<Name, Entry>,
    new: &BTreeMap<Name, Entry>,
    parameters: &BTreeMap<Name, Parameter>,
    changes: &mut Changes,
) {
    for (name, asking) in old.iter().filter(|(_, entry)| entry.ask.is_some()) {
        let still = new.get(name).is_some_and(|now| {
            let uses = asking.uses.iter().all(|usage| now.uses.contains(usage));
            uses && matches_as_much(&asking.arguments, &now.arguments, parameters)
        });
        let others = new.iter().filter(|(other, entry)| *other != name && overlaps(asking, entry));
        for (other, _) in others.filter(|_| !still) {
            let what = format!("the question of the step {name} may no longer cover what {other} lets through");
            changes.push(place, Verdict::Unclear, what);
        }
    }
}

/// Whether the new conditions match all that the old ones matched
fn matches_as_much(old: &Conditions, new: &Conditions, parameters: &BTreeMap<Name, Parameter>) -> bool {
    old.keys().eq(new.keys())
        && new.iter().all(|(path, pattern)| old.get(path).is_some_and(|before| pattern.covers(before, parameters)))
}

/// Whether some call may match both
fn overlaps(one: &Entry, other: &Entry) -> bool {
    let tools = one.uses.iter().any(|usage| other.uses.iter().any(|its| its.tool == usage.tool));
    let apart = one
        .arguments
        .iter()
        .any(|(path, pattern)| !has_each(path) && other.arguments.get(path).is_some_and(|its| pattern.excludes(its)));
    tools && !apart
}

/// An empty array is inside of every pattern
fn has_each(path: &FieldPath) -> bool {
    path.steps().contains(&Step::Each)
}
