//! What stands in the registry: agents, users, connectors and purposes, halted or over; pins, and who connectors are.

use super::State;
use crate::{
    hash::Hash,
    names::{Name, ToolName},
    node::{Node, Why},
    offer::Identity,
    proof::{How, Proven},
    reason::{Reason, Word},
    time::Millis,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A node of the registry; a name that is used again is a new generation
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Counted in changes of the policy
    pub generation: u64,
    /// Why it is over, if it is
    pub over: Option<Why>,
    /// Since when it is halted, if it is
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Millis>,
}

/// When and how an agent has worked last
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When
    pub at: Millis,
    /// How it proved itself; nothing if somebody opened its task for it
    pub how: Option<How>,
    /// From where it came, if it proved itself
    pub from: Option<String>,
}

/// Who a connector was when it was accepted, and when it was seen last
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    /// Then
    pub accepted: Identity,
    /// Now
    pub seen: Identity,
}

/// The accepted definition of a tool, and the one that was seen last
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The definition that was accepted, by the digest of its canonical form
    pub accepted: Hash,
    /// The blob that holds it as the connector wrote it
    pub blob: Hash,
    /// The definition that the connector showed last; `None` if it no longer offers the tool
    pub seen: Option<Hash>,
}

impl State {
    /// Every node of the registry, and whether it is live
    #[must_use]
    pub fn registry_nodes(&self) -> BTreeMap<Node, bool> {
        self.registry.iter().map(|(node, standing)| (node.clone(), standing.over.is_none())).collect()
    }

    /// Since which change of the policy a node of the registry is there; a name that is used again has another one
    #[must_use]
    pub fn generation(&self, node: &Node) -> Option<u64> {
        self.registry.get(node).map(|standing| standing.generation)
    }

    /// Whether a node of the registry is there and was not stopped
    #[must_use]
    pub fn stands(&self, node: &Node) -> bool {
        self.registry.get(node).is_some_and(|standing| standing.over.is_none())
    }

    /// Why a node of the registry is over, if it is
    #[must_use]
    pub fn ended_why(&self, node: &Node) -> Option<Why> {
        self.registry.get(node).and_then(|standing| standing.over)
    }

    /// Since when a node of the registry is halted, if it is
    #[must_use]
    pub fn paused(&self, node: &Node) -> Option<Millis> {
        self.registry.get(node).and_then(|standing| standing.paused)
    }

    /// When and how an agent has worked last
    #[must_use]
    pub fn seen(&self, agent: &Name) -> Option<&Seen> {
        self.seen.get(agent)
    }

    /// Who a connector is, if something of it was accepted
    #[must_use]
    pub fn met(&self, connector: &Name) -> Option<&Met> {
        self.met.get(connector)
    }

    /// The pins of a connector
    pub fn pins_of(&self, connector: &Name) -> impl Iterator<Item = (&ToolName, &Pin)> {
        let connector = connector.clone();
        self.pins.iter().filter(move |(tool, _)| tool.connector == connector).map(|(tool, pin)| (&tool.name, pin))
    }

    /// Why a connector may not be used
    #[must_use]
    pub fn connector_life(&self, connector: &Name) -> Option<Reason> {
        let node = Node::Connector(connector.clone());
        let why = match self.registry.get(&node) {
            Some(Standing { over: None, paused: Some(since), .. }) => {
                return Some(Reason::new(Word::Paused, node).with("since", since));
            }
            Some(standing) => standing.over?.to_string(),
            None => "not in the policy".to_owned(),
        };
        Some(Reason::new(Word::ConnectorStopped, node).with("why", why))
    }

    pub(crate) fn gone(&self, node: &Node, generation: u64) -> Option<String> {
        match self.registry.get(node) {
            Some(standing) if standing.generation == generation => standing.over.map(|why| why.to_string()),
            _ => Some("taken out of the policy".to_owned()),
        }
    }

    pub(super) fn pause(&mut self, node: &Node, since: Option<Millis>) {
        if let Some(standing) = self.registry.get_mut(node) {
            standing.paused = since;
        }
    }

    pub(super) fn see(&mut self, agent: &Name, proven: Option<&Proven>, at: Millis) {
        let (how, from) = (proven.map(|proven| proven.how), proven.map(|proven| proven.from.clone()));
        self.seen.insert(agent.clone(), Seen { at, how, from });
    }

    pub(super) fn take_bundle(&mut self, digest: Hash, nodes: &BTreeSet<Node>) {
        self.bundle = Some(digest);
        self.generation = self.generation.saturating_add(1);
        // A change of policy is the way back from a stop of everything.
        let tenant_lives = |standing: &Standing| standing.over.is_none();
        self.registry.retain(|node, standing| match node {
            Node::Tenant => tenant_lives(standing),
            node => nodes.contains(node),
        });
        let generation = self.generation;
        self.seen.retain(|agent, _| nodes.contains(&Node::Agent(agent.clone())));
        for node in nodes.iter().chain([&Node::Tenant]) {
            self.registry.entry(node.clone()).or_insert(Standing { generation, over: None, paused: None });
        }
    }

    pub(super) fn discovered(
        &mut self,
        connector: &Name,
        tools: Option<&BTreeMap<ToolName, Hash>>,
        identity: &Identity,
    ) {
        if let Some(met) = self.met.get_mut(connector) {
            met.seen = identity.clone();
        }
        let Some(tools) = tools else { return };
        for (tool, pin) in self.pins.iter_mut().filter(|(tool, _)| tool.connector == *connector) {
            pin.seen = tools.get(&tool.name).copied();
        }
    }
}
