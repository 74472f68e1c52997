//! Classes that are open for a while in a task, and reviews of what was done in an emergency.

use super::{State, Task};
use crate::{
    event::{Began, Elevation, Granted},
    names::{GrantId, HoldId, Name, TaskId, Tool},
    node::Node,
    policy::{Class, Tier, Usage},
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
    /// What it rests on beside its task: everybody who gave it
    rests_on: Vec<(Node, u64)>,
}

/// A task of an emergency that nobody has reviewed yet
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Its purpose
    pub purpose: Name,
    /// Who worked
    pub agent: Name,
    /// On whose behalf
    pub user: Option<Name>,
    /// Who opened it
    pub opener: Option<Name>,
    /// The question by which it was opened
    pub hold: Option<HoldId>,
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

impl Task {
    /// Whoever gave an elevation of the task
    pub(crate) fn givers(&self, grant: GrantId) -> impl Iterator<Item = Node> + '_ {
        let open = self.elevations.get(&grant).into_iter();
        open.flat_map(|open| &open.rests_on).map(|(node, _)| node.clone())
    }
}

impl State {
    /// The elevation under which a call may use a class that does not stand: of several, the one that ends first
    ///
    /// `begun`: it is a leg of a call that was counted before, and goes on under nothing but what that began under, as
    /// long as it is there; that it was used up meanwhile does not matter.
    pub(crate) fn elevation(
        &self,
        task: &Task,
        (tool, variants, class, tier): (&Tool, &[&Name], Class, Tier),
        arguments: &BTreeMap<String, Value>,
        (begun, now): (Option<&BTreeSet<GrantId>>, Millis),
    ) -> Option<(GrantId, Millis)> {
        let fits = |id: &GrantId, open: &Open| {
            // What was opened without a person does not outlive a stricter tier.
            let alone = open.owner.starts_with("purpose:") && tier.needs_person(class);
            !alone
                && begun.map_or(open.left > 0, |begun| begun.contains(id))
                && open.covers(tool, variants, class, arguments)
                && self.elevation_lives(open, now)
        };
        let fitting = task.elevations.iter().filter(|(id, open)| fits(id, open));
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
                && open.rests_on.iter().all(|(node, generation)| self.gone(node, *generation).is_none())
        };
        task.elevations.values().filter(same).map(|open| open.until).max()
    }

    /// The elevations of a task that count at `now`
    pub fn elevations(&self, task: TaskId, now: Millis) -> impl Iterator<Item = (GrantId, &Open)> {
        let all = self.tasks.get(&task).into_iter().flat_map(|task| &task.elevations);
        all.filter(move |(_, open)| open.left > 0 && self.elevation_lives(open, now)).map(|(id, open)| (*id, open))
    }

    /// Until when an elevation counts, and who gave it; nothing if it does not count at `now`
    pub(crate) fn standing_elevation(&self, grant: GrantId, now: Millis) -> Option<(Millis, Vec<Node>)> {
        let task = self.tasks.get(self.elevated.get(&grant)?)?;
        let open = task.elevations.get(&grant).filter(|open| self.elevation_lives(open, now))?;
        Some((open.until, task.givers(grant).collect()))
    }

    fn elevation_lives(&self, open: &Open, now: Millis) -> bool {
        let gone = |(node, generation): &(Node, u64)| self.gone(node, *generation).is_some();
        open.until > now && !open.rests_on.iter().any(gone)
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
        let rests_on = self.givers(granted);
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

    /// Everybody whose yes an elevation follows from: who gave it, and who agreed to it
    fn givers(&self, granted: &Granted) -> Vec<(Node, u64)> {
        let owner = granted.owner.parse::<Node>().ok().filter(|node| matches!(node, Node::User(_)));
        let hold = granted.hold.and_then(|hold| self.holds.get(&hold));
        let agreed = hold.into_iter().flat_map(|hold| hold.agreed().filter(|user| self.has_answered(hold, user)));
        let nodes = agreed.cloned().map(Node::User).chain(owner).collect::<BTreeSet<_>>();
        let generation = |node: &Node| self.registry.get(node).map_or(0, |standing| standing.generation);
        nodes.into_iter().map(|node| (node.clone(), generation(&node))).collect()
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
        let approvers = |hold| {
            let hold = self.holds.get(&hold);
            hold.into_iter().flat_map(super::Hold::agreed).cloned().collect::<BTreeSet<_>>()
        };
        // Those who own what works there do not review it either, whoever owns it by then.
        let own = began.hold.and_then(|hold| self.holds.get(&hold)).map(|hold| hold.held.own.clone());
        let own = own.unwrap_or_default();
        let review = Review {
            purpose: began.purpose.clone(),
            agent: began.agent.clone(),
            user: began.user.clone(),
            opener: opener.cloned(),
            hold: began.hold,
            approvers: began.hold.map(approvers).unwrap_or_default().into_iter().chain(own).collect(),
            group: group.clone(),
            opened: time,
            calls: None,
        };
        self.reviews.insert(began.task, review);
    }
}
