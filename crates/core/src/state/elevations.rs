//! Classes that are open for a while in a task, and reviews of what was done in an emergency.

use super::{State, Task};
use crate::{
    event::{Began, Elevation, Granted},
    names::{GrantId, HoldId, Name, TaskId, Tool},
    node::Node,
    policy::{Class, Usage},
    request::Elevate,
    time::Millis,
    value::Value,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A class that is open for a while
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Which class
    pub class: Class,
    /// For these tools and variants
    pub uses: Vec<Usage>,
    /// With exactly these values
    pub values: BTreeMap<String, Value>,
    /// How often
    pub times: u32,
    /// How often still
    pub left: u32,
    /// Until when
    pub until: Millis,
    /// Who answers for it: `user:NAME`, `account:NAME` or `purpose:NAME`
    pub owner: String,
    /// What it rests on beside its task
    rests_on: Option<(Node, u64)>,
}

/// A task of an emergency that nobody has reviewed yet
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Its purpose
    pub purpose: Name,
    /// Who worked
    pub agent: Name,
    /// Who opened it
    pub opener: Option<Name>,
    /// Who agreed to its opening
    pub approvers: BTreeSet<Name>,
    /// The group that reviews it
    pub group: Name,
    /// When it was opened
    pub opened: Millis,
    /// Calls that it made; known once it is over
    pub calls: Option<u32>,
}

impl Open {
    /// Whether it opens calls of this kind, counts aside
    #[must_use]
    pub fn covers(&self, tool: &Tool, variants: &[&Name], class: Class, arguments: &BTreeMap<String, Value>) -> bool {
        let names = |variant: Option<&Name>| {
            self.uses.iter().any(|usage| usage.tool == *tool && usage.variant.as_ref() == variant)
        };
        self.class == class
            && if variants.is_empty() { names(None) } else { variants.iter().all(|variant| names(Some(variant))) }
            && self.values.iter().all(|(name, value)| arguments.get(name) == Some(value))
    }
}

impl State {
    /// The elevation under which a call may use a class that does not stand: of several, the one that ends first
    ///
    /// `paid`: it is a leg of a call that was counted before.
    pub(crate) fn elevation(
        &self,
        task: &Task,
        (tool, variants, class): (&Tool, &[&Name], Class),
        arguments: &BTreeMap<String, Value>,
        (paid, now): (bool, Millis),
    ) -> Option<(GrantId, Millis)> {
        let fits = |open: &Open| {
            open.until > now
                && (open.left > 0 || paid)
                && open.covers(tool, variants, class, arguments)
                && open.rests_on.as_ref().is_none_or(|(node, generation)| self.gone(node, *generation).is_none())
        };
        let fitting = task.elevations.iter().filter(|(_, open)| fits(open));
        fitting.map(|(id, open)| (open.until, *id)).min().map(|(until, id)| (id, until))
    }

    /// Until when exactly this is open, if it is and nothing has used it
    pub(crate) fn unused_elevation(&self, task: &Task, asked: &Elevate, class: Class, now: Millis) -> Option<Millis> {
        let same = |open: &&Open| {
            open.until > now
                && open.left == open.times
                && (open.class, open.times) == (class, asked.times)
                && open.uses == asked.uses
                && open.values == asked.values
                && open.rests_on.as_ref().is_none_or(|(node, generation)| self.gone(node, *generation).is_none())
        };
        task.elevations.values().filter(same).map(|open| open.until).max()
    }

    /// The elevations of a task that count at `now`
    pub fn elevations(&self, task: TaskId, now: Millis) -> impl Iterator<Item = (GrantId, &Open)> {
        let all = self.tasks.get(&task).into_iter().flat_map(|task| &task.elevations);
        all.filter(move |(_, open)| open.until > now && open.left > 0).map(|(id, open)| (*id, open))
    }

    /// Whether a grant is an elevation that nobody has ended on the record
    #[must_use]
    pub(crate) fn is_elevation(&self, grant: GrantId) -> bool {
        self.elevated.contains_key(&grant)
    }

    /// Tasks of emergencies that nobody has reviewed yet
    pub fn reviews(&self) -> impl Iterator<Item = (TaskId, &Review)> {
        self.reviews.iter().map(|(id, review)| (*id, review))
    }

    pub(super) fn elevated(&mut self, granted: &Granted, elevation: &Elevation, time: Millis) {
        let owner = granted.owner.parse::<Node>().ok().filter(|node| matches!(node, Node::User(_)));
        let rests_on = owner.map(|node| {
            let generation = self.registry.get(&node).map_or(0, |standing| standing.generation);
            (node, generation)
        });
        // A value whose opening was erased matches nothing, and so does what rests on it.
        let values: Option<BTreeMap<_, _>> =
            elevation.values.iter().map(|(name, value)| Some((name.clone(), value.value()?))).collect();
        if let Some(hold) = granted.hold {
            self.use_hold(hold, None, time);
        }
        let (Some(values), Some(task)) = (values, self.tasks.get_mut(&elevation.task)) else { return };
        if granted.owner.starts_with("purpose:") {
            let used = task.alone.entry(elevation.class).or_default();
            *used = used.saturating_add(elevation.times);
        }
        let open = Open {
            class: elevation.class,
            uses: elevation.uses.clone(),
            values,
            times: elevation.times,
            left: elevation.times,
            until: granted.until,
            owner: granted.owner.clone(),
            rests_on,
        };
        task.elevations.insert(granted.grant, open);
        self.elevated.insert(granted.grant, elevation.task);
        self.elevation_deadlines.insert((granted.until, granted.grant));
    }

    /// Takes an elevation away; says whether it was one
    pub(super) fn lower(&mut self, grant: GrantId) -> bool {
        let Some(task) = self.elevated.remove(&grant) else { return false };
        if let Some(open) = self.tasks.get_mut(&task).and_then(|task| task.elevations.remove(&grant)) {
            self.elevation_deadlines.remove(&(open.until, grant));
        }
        true
    }

    pub(super) fn lower_all(&mut self, task: &Task) {
        for (grant, open) in &task.elevations {
            self.elevated.remove(grant);
            self.elevation_deadlines.remove(&(open.until, *grant));
        }
    }

    pub(super) fn owe_review(&mut self, began: &Began, opener: Option<&Name>, time: Millis) {
        let Some(group) = &began.review else { return };
        let approvers = |hold: HoldId| {
            let answers = self.holds.get(&hold).into_iter().flat_map(|hold| &hold.answers);
            let yes = answers.filter(|(_, answered)| answered.grant.is_some());
            yes.map(|(user, _)| user.clone()).collect::<BTreeSet<_>>()
        };
        let review = Review {
            purpose: began.purpose.clone(),
            agent: began.agent.clone(),
            opener: opener.cloned(),
            approvers: began.hold.map(approvers).unwrap_or_default(),
            group: group.clone(),
            opened: time,
            calls: None,
        };
        self.reviews.insert(began.task, review);
    }
}
