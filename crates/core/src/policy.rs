//! What a bundle of policy says, as data: who there is, what there is to reach, and what a task may do.
//!
//! Plain data without behaviour beyond looking things up; reading files is the business of the room `rules`.

mod connector;
mod person;
mod profile;
mod purpose;

pub use connector::{Class, Connector, Member, Reach, Tier, Toolset};
pub use person::{Ask, PersonRole, Quorum, Receiver, User};
pub use profile::{Before, Environment, Label, Profile, Resource, Restored, Role, Target, Trust, Undo, Variant};
pub use purpose::{
    Alone, BreakGlass, Bytes, Elevate, Entry, Kind, Limits, OnHold, Opening, Parameter, Purpose, Usage, Users,
};

use crate::{
    hash::Hash,
    names::{Name, Tool, ToolName},
    node::Node,
    operation::Operation,
    outside::Point,
    rules::Rules,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// One version of the policy, named by its digest
#[derive(Debug)]
pub struct Bundle {
    /// SHA-256 over all of its files
    pub digest: Hash,
    /// Agents by name
    pub agents: BTreeMap<Name, Agent>,
    /// Users by name
    pub users: BTreeMap<Name, User>,
    /// Connectors by name
    pub connectors: BTreeMap<Name, Connector>,
    /// Purposes by name
    pub purposes: BTreeMap<Name, Purpose>,
    /// What refuses or asks
    pub rules: Arc<dyn Rules>,
    /// Decision points that are asked over the network
    pub points: Vec<Arc<Point>>,
    /// Where questions to people are told, by name
    pub receivers: BTreeMap<Name, Receiver>,
}

impl Bundle {
    /// Every node that stands in this bundle
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<Node> {
        let agents = self.agents.keys().cloned().map(Node::Agent);
        let users = self.users.keys().cloned().map(Node::User);
        let connectors = self.connectors.keys().cloned().map(Node::Connector);
        agents.chain(users).chain(connectors).chain(self.purposes.keys().cloned().map(Node::Purpose)).collect()
    }

    /// What the bundle says of a tool or an operation; `None`: it does not know the connector
    #[must_use]
    pub fn profile(&self, tool: &Tool) -> Option<&Profile> {
        self.connectors.get(&tool.connector).map(|connector| connector.profile(&tool.name))
    }
}

static UNCLASSIFIED: Profile = Profile::new(Class::Escalate);

impl Connector {
    /// What is said of a tool: without a profile it is `escalate` and closed; an operation is what it is by itself
    #[must_use]
    pub fn profile(&self, tool: &ToolName) -> &Profile {
        let known = self.tools.get(tool);
        known.or_else(|| tool.operation().map(Operation::profile)).unwrap_or(&UNCLASSIFIED)
    }
}

/// A non-human workload with an owner
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Who answers for it
    pub owner: String,
}
