//! What a bundle of policy says, as data: who there is, what there is to reach, and what a task may do.
//!
//! Plain data without behaviour beyond looking things up; reading files is the business of the room `rules`.

mod connector;
mod credential;
mod issuer;
mod person;
mod profile;
mod purpose;
mod role;
mod trust;

pub use connector::{Class, Connector, Member, Reach, Tier, Toolset};
pub use credential::{
    Account, Aws, AwsAllow, AwsRole, BackEnd, BaoAsk, BaoSignIn, ClientShows, ClusterSignIn, CommandBackEnd,
    CredentialSource, Credentials, GitHub, GitHubLevel, Google, GoogleAccount, GoogleBucket, Kubernetes, MariaDb,
    Minted, MintedFormat, Nats, Oauth, OauthClient, OauthGrant, OpenBao, Postgres, Redis, Revocation, Revoking, Says,
    Ssh, SshExtension, SshList, SshRights, StaticSecret, Subjects, Template,
};
pub use issuer::{Attribute, AttributeKind, Bootstrap, BundleSource, Client, Issuer, People, Vouches};
pub use person::{Ask, Quorum, Receiver, SignIn, User};
pub use profile::{Before, Environment, Label, Profile, Resource, Restored, Role, Target, Trust, Undo, Variant};
pub use purpose::{
    Alone, BreakGlass, Bytes, Elevate, Entry, Kind, Limits, OnHold, Opening, Parameter, Purpose, Serves, Usage, Users,
};
pub use role::{Deed, NoDeed, PersonRole, Roles};
pub use trust::{IssuerKind, fits_rule, says_who};

use crate::{
    hash::Hash,
    names::{Name, Tool, ToolName},
    node::Node,
    operation::Operation,
    outside::Point,
    proof::{Proof, Proven},
    rules::Rules,
    time::Millis,
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
    /// Who vouches for identities, by name
    pub issuers: BTreeMap<Name, Issuer>,
    /// Connectors by name
    pub connectors: BTreeMap<Name, Connector>,
    /// Where credentials for connectors come from, by name
    pub sources: BTreeMap<Name, CredentialSource>,
    /// Purposes by name
    pub purposes: BTreeMap<Name, Purpose>,
    /// What refuses or asks
    pub rules: Arc<dyn Rules>,
    /// Decision points that are asked over the network
    pub points: Vec<Arc<Point>>,
    /// Where questions to people are told, by name
    pub receivers: BTreeMap<Name, Receiver>,
    /// Who has which role, beside what the files of users say
    pub roles: Roles,
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
    /// From then on it gets nothing, until its owner has looked at it again
    pub review_by: Option<Millis>,
    /// How it proves itself; without any, only the owner of the data folder opens its tasks
    pub proofs: Vec<Proof>,
    /// Whether it may bring the record of another gateway, to be kept beside ours
    pub ships: bool,
}

impl Agent {
    /// An agent that only the owner of the data folder vouches for
    #[must_use]
    pub fn of(owner: String) -> Self {
        Self { owner, review_by: None, proofs: Vec::new(), ships: false }
    }

    /// The way in which it has proven itself, if it has
    #[must_use]
    pub fn proof(&self, proven: &Proven) -> Option<&Proof> {
        self.proofs.iter().find(|proof| proof.way.fits(proven))
    }
}
