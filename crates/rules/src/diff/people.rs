//! Who is asked, what can be opened for a while, and where questions are told.

use super::{Changes, Verdict, facts::list, purpose::at_most, sides};
use portreeve_core::policy::{Elevate, Purpose, Quorum, Receiver, Roles, Undo, Usage};
use std::collections::BTreeSet;

/// Two versions of who has to agree to the same thing: more people, or harder to say yes, lets less through
pub(super) fn quorum(place: &str, old: &Quorum, new: &Quorum, changes: &mut Changes) {
    if old.who != new.who {
        changes.push(place, Verdict::Unclear, format!("{} have to agree, were {}", new.who, old.who));
    }
    if old.people != new.people {
        let verdict = if new.people > old.people { Verdict::Narrower } else { Verdict::Wider };
        changes.push(place, verdict, format!("{} people have to agree, were {}", new.people, old.people));
    }
    match (old.passkey, new.passkey) {
        (false, true) => changes.push(place, Verdict::Narrower, "a yes needs a passkey now"),
        (true, false) => changes.push(place, Verdict::Wider, "a yes needs no passkey any more"),
        _ => {}
    }
    if old.within_ms != new.within_ms {
        let verdict = if new.within_ms < old.within_ms { Verdict::Narrower } else { Verdict::Wider };
        let what = format!("a question stands for {} ms, was {}", new.within_ms, old.within_ms);
        changes.push(place, verdict, what);
    }
}

/// Who has to agree to an opening, and whether it is one for emergencies
pub(super) fn opening(place: &str, old: &Purpose, new: &Purpose, changes: &mut Changes) {
    match (&old.open.ask, &new.open.ask) {
        (None, Some(ask)) => changes.push(place, Verdict::Narrower, format!("{ask} have to agree to each opening now")),
        (Some(ask), None) => {
            changes.push(place, Verdict::Wider, format!("{ask} need not agree to an opening any more"));
        }
        (Some(before), Some(after)) => quorum(&format!("{place}, opening"), before, after, changes),
        (None, None) => {}
    }
    match (&old.break_glass, &new.break_glass) {
        (None, Some(glass)) => {
            let what = format!("it is for emergencies now, and {} review each of its tasks", glass.review);
            changes.push(place, Verdict::Narrower, what);
        }
        (Some(glass), None) => {
            changes.push(place, Verdict::Wider, format!("{} do not review its tasks any more", glass.review));
        }
        (Some(before), Some(after)) if before.review != after.review => {
            let what = format!("{} review its tasks, did {}", after.review, before.review);
            changes.push(place, Verdict::Unclear, what);
        }
        _ => {}
    }
}

/// What can be opened for a while, and by whom
pub(super) fn elevate(place: &str, old: Option<&Elevate>, new: Option<&Elevate>, changes: &mut Changes) {
    let none = Elevate::default();
    let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
    for (class, before, after) in sides(&old.alone, &new.alone) {
        let place = format!("{place}, elevate {class}");
        match (before, after) {
            (None, Some(alone)) => {
                let what = format!("{} can be opened without a person now", list(alone.uses.iter()));
                changes.push(&place, Verdict::Wider, what);
            }
            (Some(_), None) => changes.push(&place, Verdict::Narrower, "nothing is opened without a person any more"),
            (Some(before), Some(after)) => {
                let [uses, used] = [before, after].map(|alone| alone.uses.iter().collect::<BTreeSet<&Usage>>());
                for usage in used.difference(&uses) {
                    changes.push(&place, Verdict::Wider, format!("{usage} can be opened without a person now"));
                }
                for usage in uses.difference(&used) {
                    let what = format!("{usage} is no longer opened without a person");
                    changes.push(&place, Verdict::Narrower, what);
                }
                at_most(&place, "calls without a person", (Some(before.times), Some(after.times)), changes);
                let within = (Some(before.within_ms), Some(after.within_ms));
                at_most(&place, "milliseconds without a person", within, changes);
            }
            (None, None) => {}
        }
    }
    match (&old.ask, &new.ask) {
        (None, Some(ask)) => changes.push(place, Verdict::Wider, format!("{ask} can open other classes now")),
        (Some(ask), None) => {
            changes.push(place, Verdict::Narrower, format!("{ask} can no longer open other classes"));
        }
        (Some(before), Some(after)) => quorum(&format!("{place}, elevate"), before, after, changes),
        (None, None) => {}
    }
}

/// What takes a call back is a call that somebody may make
pub(super) fn undo(place: &str, old: Option<&Undo>, new: Option<&Undo>, changes: &mut Changes) {
    match (old, new) {
        (old, new) if old == new => {}
        (None, Some(undo)) => changes.push(place, Verdict::Wider, format!("{undo} takes it back now")),
        (Some(undo), None) => changes.push(place, Verdict::Narrower, format!("{undo} no longer takes it back")),
        (Some(old), Some(new)) if old.to_string() == new.to_string() => {
            changes.push(place, Verdict::Unclear, "what is read before it, to take it back, is another thing");
        }
        (Some(old), Some(new)) => changes.push(place, Verdict::Unclear, format!("{new} takes it back, did {old}")),
        (None, None) => {}
    }
}

/// The roles of groups, and how many have to want a change
pub(super) fn roles(old: &Roles, new: &Roles, changes: &mut Changes) {
    let none = BTreeSet::new();
    for (group, before, after) in sides(&old.groups, &new.groups) {
        let (place, before, after) = (format!("group {group}"), before.unwrap_or(&none), after.unwrap_or(&none));
        for role in after.difference(before) {
            changes.push(&place, Verdict::Wider, format!("whoever is in it is {role} now"));
        }
        for role in before.difference(after) {
            changes.push(&place, Verdict::Narrower, format!("whoever is in it is no longer {role}"));
        }
    }
    let (before, after) = (old.people.max(1), new.people.max(1));
    if before != after {
        let verdict = if after > before { Verdict::Narrower } else { Verdict::Wider };
        changes.push(
            "roles.toml",
            verdict,
            format!("{after} people have to want a change of the policy, were {before}"),
        );
    }
}

/// Where questions are told, and from where answers are taken
pub(super) fn receiver(place: &str, old: Option<&Receiver>, new: Option<&Receiver>, changes: &mut Changes) {
    match (old, new) {
        (None, Some(new)) => {
            let answers = if new.answer_key.is_some() { ", and answers are taken from there" } else { "" };
            let what = format!("questions to {} are told at {}{answers}", list(new.who.iter()), new.url);
            changes.push(place, Verdict::Wider, what);
        }
        (Some(_), None) => changes.push(place, Verdict::Narrower, "nothing is told there any more"),
        (Some(old), Some(new)) if old != new => {
            match (old.several, new.several) {
                (false, true) => changes.push(place, Verdict::Wider, "yeses of several people count from there now"),
                (true, false) => changes.push(place, Verdict::Narrower, "what comes from there is one yes now"),
                _ => {}
            }
            if *new != (Receiver { several: new.several, ..old.clone() }) {
                let what = "what is told there, or who answers from there, is another thing";
                changes.push(place, Verdict::Unclear, what);
            }
        }
        _ => {}
    }
}
