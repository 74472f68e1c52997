//! What people have said yes to beforehand.

use super::{State, Task};
use crate::{
    event::Granted,
    names::{GrantId, Name, TaskId},
    node::{Node, Why},
    time::Millis,
};
use serde::{Deserialize, Serialize};

/// A grant that is not over on the record; its time may have passed, see [`State::grant_lives`]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Calls of which tasks or to where: `all`, a purpose or a connector
    pub on: Node,
    /// Who answers for it
    pub owner: String,
    /// Why, unless that was erased
    pub why: Option<String>,
    /// When it was given
    pub given: Millis,
    /// When it is over at the latest
    pub until: Millis,
    /// What it is no wider than: what it is about, its owner, everything
    rests_on: Vec<(Node, u64)>,
}

impl Grant {
    /// Whether it lets calls of `task` to `connector` be observed; to any connector, if none is named
    ///
    /// Never those of a child: what was delegated stays what it was delegated for.
    fn observes(&self, task: &Task, connector: Option<&Name>) -> bool {
        task.parent.is_none()
            && match &self.on {
                Node::Tenant => true,
                Node::Purpose(purpose) => task.purpose == *purpose,
                Node::Connector(name) => connector.is_none_or(|connector| connector == name),
                _ => false,
            }
    }
}

impl State {
    /// Grants that are not over on the record
    pub fn grants(&self) -> impl Iterator<Item = (GrantId, &Grant)> {
        self.grants.iter().map(|(id, grant)| (*id, grant))
    }

    /// Whether a grant counts at `now`; it is over at its last instant, recorded or not
    #[must_use]
    pub fn grant_lives(&self, id: GrantId, now: Millis) -> bool {
        self.grants.get(&id).is_some_and(|grant| self.grant_passed(grant, now).is_none())
    }

    /// Why and since when a grant is over although that is not recorded
    pub(crate) fn grant_passed(&self, grant: &Grant, now: Millis) -> Option<(Why, Option<Millis>)> {
        if grant.until <= now {
            return Some((Why::Expired, Some(grant.until)));
        }
        let gone = grant.rests_on.iter().any(|(node, generation)| self.gone(node, *generation).is_some());
        gone.then_some((Why::Ended, None))
    }

    /// Live grants under which calls of a task are observed, the one that ends first in front
    #[must_use]
    pub fn observing(&self, task: TaskId, now: Millis) -> Vec<(GrantId, &Grant)> {
        self.task(task).map(|task| self.observers(task, None, now)).unwrap_or_default()
    }

    /// The grant under which calls of a task to a connector are observed: of several, the one that ends first
    pub(crate) fn observer(&self, task: &Task, connector: &Name, now: Millis) -> Option<(GrantId, &Grant)> {
        self.observers(task, Some(connector), now).into_iter().next()
    }

    fn observers(&self, task: &Task, connector: Option<&Name>, now: Millis) -> Vec<(GrantId, &Grant)> {
        let fits = |grant: &Grant| grant.observes(task, connector) && self.grant_passed(grant, now).is_none();
        let mut fitting: Vec<_> = self.grants().filter(|(_, grant)| fits(grant)).collect();
        fitting.sort_by_key(|(id, grant)| (grant.until, *id));
        fitting
    }

    pub(super) fn granted(&mut self, granted: &Granted, on: &Node, time: Millis) {
        let owner = granted.owner.parse().ok().filter(|node| matches!(node, Node::User(_)));
        let nodes = [Some(on.clone()), Some(Node::Tenant), owner].into_iter().flatten();
        // Generation 0 never exists, so a grant about an unknown node is over from the start.
        let generation = |node: &Node| self.registry.get(node).map_or(0, |standing| standing.generation);
        let why = granted.why.value().and_then(|value| match value {
            crate::value::Value::String(text) => Some(text),
            _ => None,
        });
        let grant = Grant {
            on: on.clone(),
            owner: granted.owner.clone(),
            why,
            given: time,
            until: granted.until,
            rests_on: nodes.map(|node| (node.clone(), generation(&node))).collect(),
        };
        self.grants.insert(granted.grant, grant);
    }
}
