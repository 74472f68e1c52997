//! What happened: the events of the log and how they are written.
//!
//! Events are JSON that an auditor can read. Values that people or agents wrote stand as
//! [`Committed`]; everything else is plain.

mod hold;
mod lease;

pub use hold::{
    Assertion, Declined, Elevation, Held, HeldCall, HeldOpening, HeldWhat, How, Outcome, Question, Signed, UndoStep,
    Undoing, WasBefore, call_key,
};
pub use lease::{Evidence, LeaseEnd, LeaseFacts};

use crate::{
    commit::{Committed, OpeningLine},
    hash::Hash,
    log::{Group, Head},
    names::{BootId, EffectId, GrantId, HoldId, MemoryId, Name, RunId, TaskId, Tool, ToolName},
    node::{Node, Why},
    offer::Identity,
    pattern::Source,
    policy::Class,
    proof::Proven,
    reason::Word,
    time::Millis,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One line of a group: when, by whom, what
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it was recorded; never before the record in front of it
    pub time: Millis,
    /// Who caused it
    pub actor: Actor,
    /// What happened
    pub event: Event,
}

/// Who causes events
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// Portreeve itself: expiry, recovery
    System,
    /// The account that owns the data folder, at the socket
    Owner {
        /// Its name in the policy, if it has one
        user: Option<Name>,
    },
    /// A person of the policy who is signed in
    Person {
        /// Who
        user: Name,
        /// How they are known
        how: How,
    },
    /// A run of an agent
    Run(RunId),
    /// An agent that has proven itself
    Agent(Name),
}

impl Actor {
    /// The user of the policy who acts, if it is one
    #[must_use]
    pub fn user(&self) -> Option<&Name> {
        match self {
            Self::Owner { user } => user.as_ref(),
            Self::Person { user, .. } => Some(user),
            Self::System | Self::Run(_) | Self::Agent(_) => None,
        }
    }
}

/// What happened
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A process took the data folder
    Booted(Booted),
    /// A run and its task began
    Began(Box<Began>),
    /// A node is over
    Stopped(Stopped),
    /// A node of the registry is halted: nothing that rests on it is admitted until it goes on
    Paused(Paused),
    /// A node that was halted goes on
    Resumed(Paused),
    /// Something waits for people
    Held(Box<Held>),
    /// A person said yes
    Granted(Box<Granted>),
    /// A person said no
    Declined(Box<Declined>),
    /// Requests were refused; several alike are one event
    Refused(Refused),
    /// An effect may happen from now on, and is charged at its worst
    Admitted(Box<Admitted>),
    /// The end of an effect is known
    Settled(Settled),
    /// The registry changed
    Changed(Changed),
    /// Something was seen
    Noted(Noted),
}

/// A process took the data folder
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booted {
    /// This life of the process
    pub boot: BootId,
    /// The version of Portreeve
    pub version: String,
    /// The life before it
    pub after: Option<BootId>,
}

/// A run and its task began
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Began {
    /// The task
    pub task: TaskId,
    /// The run that works on it
    pub run: RunId,
    /// What it may remember from
    pub memory: MemoryId,
    /// Who works
    pub agent: Name,
    /// On whose behalf
    pub user: Option<Name>,
    /// Under which purpose
    pub purpose: Name,
    /// In which version
    pub bundle: Hash,
    /// The task that delegated it
    pub parent: Option<TaskId>,
    /// With which values
    pub parameters: BTreeMap<Name, Given>,
    /// What for, in the words of whoever opened it
    pub objective: Option<Given>,
    /// When it is over at the latest
    pub expires: Millis,
    /// Milliseconds without a call after which it is over
    pub idle_ms: Option<i64>,
    /// The question without whose answer it would not have been opened
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldId>,
    /// It is for an emergency, and this group has to review it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Name>,
    /// What it takes back; then it may do nothing else
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<Undoing>,
    /// How the agent proved itself; the task lives no longer than that counts
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Proven>,
}

/// A value and who chose it
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// The value
    pub value: Committed,
    /// Who chose it
    pub by: ChosenBy,
}

/// Who chose a value, best first
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChosenBy {
    /// A person or an authenticated caller that is no agent
    Parameter,
    /// An agent, or nobody knows
    Model,
}

/// A node is over
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Which
    pub node: Node,
    /// Why
    pub why: Why,
    /// Since when; an expiry is recorded after it happened
    pub at: Millis,
}

/// A node is halted, or goes on
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Which
    pub node: Node,
    /// Why, in the words of whoever did it
    pub why: Committed,
}

/// A person said yes to something beforehand
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// Its name; a node, which is stopped when its time has passed or somebody ends it
    pub grant: GrantId,
    /// To what
    pub to: To,
    /// Who answers for it: a user of the policy as `user:NAME`, or an account as `account:NAME`
    pub owner: String,
    /// Why, in the owner's words
    pub why: Committed,
    /// When it is over at the latest
    pub until: Millis,
    /// The question that it answers, or whose answers it follows from
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldId>,
    /// How somebody answered
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
}

/// What a grant counts towards
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// Calls outside of the envelope
    Observe {
        /// Of which tasks or to where: `all`, a purpose or a connector
        on: Node,
    },
    /// Exactly what a hold asks for
    Approval {
        /// The hold
        hold: HoldId,
        /// The digest of everything that was shown
        binding: Hash,
    },
    /// Calls of a class that does not stand
    Elevation(Elevation),
}

/// What would have refused or held an effect, and the grant that counts towards it
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Because {
    /// The grant
    pub grant: GrantId,
    /// The words of the reasons, each once
    pub words: BTreeSet<Word>,
    /// The reasons in full, which may quote arguments
    pub reasons: Committed,
}

/// Requests were refused
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// In which task, if one was known
    pub task: Option<TaskId>,
    /// What was asked for: a tool, a purpose
    pub what: String,
    /// Why, each word once
    pub words: BTreeSet<Word>,
    /// How often since the last such event
    pub count: u64,
    /// The first one's reasons in full, which may quote arguments
    pub reasons: Committed,
}

/// An effect may happen from now on
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// Its id
    pub effect: EffectId,
    /// The task that it is done for; a message about an opening has none
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// The version of the policy that was current
    pub bundle: Hash,
    /// The time that was judged with
    pub now: Millis,
    /// What it is
    pub what: What,
    /// What was judged with beside the log and the policy
    #[serde(default, skip_serializing_if = "Inputs::is_empty")]
    pub inputs: Inputs,
    /// What would have refused or held it, and the grants that took that out
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<Because>,
    /// The question to people that it uses up
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldId>,
}

/// What a judgement took from elsewhere than the log and the policy
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// Answers of outside decision points; of an admitted effect, all of them permit
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<Heard>,
}

impl Inputs {
    /// Whether there was nothing
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.outside.is_empty()
    }
}

/// An outside decision point that was asked and permits
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Which
    pub point: Name,
    /// The digest of the question; it could confirm guesses of arguments, so it is committed to like them
    pub question: Committed,
    /// When it was asked
    pub at: Millis,
    /// The earlier call for which it was asked, if that was another one
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused: Option<EffectId>,
}

/// What an effect is
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A tool call
    Call(CallFacts),
    /// The start of a connector's child process
    Child {
        /// Of which connector
        connector: Name,
        /// The lease that it is given
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease: Option<EffectId>,
    },
    /// A credential for the task, issued by a back end
    Lease(Box<LeaseFacts>),
    /// A look at how a call stands that goes on at its connector, or a word to it
    Poll(PollFacts),
    /// A message to a receiver about a question
    Notice {
        /// The question
        hold: HoldId,
        /// Who is told
        receiver: Name,
        /// What of it
        #[serde(default, skip_serializing_if = "News::is_asked")]
        news: News,
    },
}

/// What a receiver is told of a question
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// That it waits
    #[default]
    Asked,
    /// That it does not wait any more
    Answered,
    /// That it opened a task for an emergency
    Emergency,
}

impl News {
    fn is_asked(&self) -> bool {
        *self == Self::Asked
    }
}

/// The facts of an admitted poll
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollFacts {
    /// The call, which has been answered and is not finished
    pub of: EffectId,
    /// The method that asks for it
    pub method: String,
    /// What was called
    pub tool: Tool,
    /// What is held for its answer in this task and every ancestor; the call itself was charged before
    pub charges: Vec<Charge>,
    /// Of which class the call is
    pub class: Class,
    /// The lease that it goes with
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<EffectId>,
}

/// The facts of an admitted call
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallFacts {
    /// Who acts
    pub agent: Name,
    /// On whose behalf
    pub user: Option<Name>,
    /// Under which purpose
    pub purpose: Name,
    /// What is called
    pub tool: Tool,
    /// Which of its variants the call fits
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<Name>,
    /// Of which class it is
    pub class: Class,
    /// The accepted definition
    pub pin: Hash,
    /// With which arguments
    pub arguments: BTreeMap<String, Given>,
    /// What it is charged to: this task and every ancestor
    pub charges: Vec<Charge>,
    /// The leg that this one goes on with, which was answered with a question
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<EffectId>,
    /// What was read before it, so that it can be put back
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<WasBefore>,
    /// The lease that it goes with
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<EffectId>,
}

/// What a call uses up in one task
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The task
    pub task: TaskId,
    /// Every entry that matches
    pub entries: BTreeSet<Name>,
    /// Bytes of its arguments as canonical JSON
    #[serde(default)]
    pub sent: u64,
    /// Bytes of its answer that are held for it until it is settled, if a budget bounds them
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<u64>,
    /// Entries that earlier legs of the call were charged for, which are not counted again, and neither is the call;
    /// `None`: it is the first leg
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid: Option<BTreeSet<Name>>,
    /// Elevations of which it uses up one call each
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub elevated: BTreeSet<GrantId>,
}

impl Charge {
    /// Whether it counts among the calls of its task
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.paid.is_none()
    }

    /// The entries whose count it uses up
    pub fn counted(&self) -> impl Iterator<Item = &Name> {
        self.entries.iter().filter(|entry| self.paid.as_ref().is_none_or(|paid| !paid.contains(*entry)))
    }
}

/// The end of an effect is known
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Which
    pub effect: EffectId,
    /// How it ended
    pub end: End,
}

/// How an effect ended
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// No byte of it left: its use returns
    NotSent {
        /// What kept it
        why: String,
    },
    /// It happened
    Done {
        /// Whether the connector says that it succeeded
        ok: bool,
        /// Length of the answer
        bytes: u64,
        /// SHA-256 of the answer under a salt
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Committed>,
        /// Values of the fields that later steps need
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        returned: BTreeMap<Source, Committed>,
        /// The process that was started
        #[serde(default, skip_serializing_if = "Option::is_none")]
        process: Option<Process>,
    },
    /// It was answered, and is not finished: spent, and may be continued once
    Pending {
        /// Length of the answer
        bytes: u64,
        /// SHA-256 of the answer under a salt
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Committed>,
    },
    /// What became of a credential, which neither succeeds nor fails
    Lease(LeaseEnd),
    /// Nobody can know: spent, and never repeated by us
    Unknown {
        /// What kept the answer
        why: String,
    },
}

/// A child process in a way that a reused pid cannot imitate
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id
    pub pid: u32,
    /// Start time in clock ticks since the machine booted
    pub start: u64,
    /// The machine's boot id
    pub machine_boot: String,
}

/// The registry changed
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// Another version of the policy is current
    Bundle {
        /// Its digest; the content is a blob of the group
        digest: Hash,
        /// Every node that stands in it
        nodes: BTreeSet<Node>,
    },
    /// An earlier version of the policy is current again, whatever the directory says
    Back {
        /// Its digest; the content is a blob of an earlier group
        digest: Hash,
        /// Every node that stands in it
        nodes: BTreeSet<Node>,
    },
    /// Definitions of a connector's tools were accepted, and those not listed are accepted no longer
    Pins {
        /// Which connector
        connector: Name,
        /// What was accepted, by tool
        accepted: BTreeMap<ToolName, Accepted>,
        /// Who the connector was
        identity: Identity,
        /// The digest of all of it, which whoever accepted it was shown
        offer: Hash,
    },
    /// Another key of this data folder signs from now on
    Key(NewKey),
}

/// What a key of a data folder is for
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyUse {
    /// It signs the tokens of runs
    Token,
    /// It signs what people answered
    Answer,
    /// It signs messages to receivers
    Webhook,
    /// What is sealed follows from it
    Master,
    /// It signs tokens for servers of others, and what shows them that it is us
    Upstream,
}

impl KeyUse {
    /// All of them
    pub const ALL: [Self; 5] = [Self::Token, Self::Answer, Self::Webhook, Self::Master, Self::Upstream];

    /// Its name, in files, commands and the record
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Answer => "answer",
            Self::Webhook => "webhook",
            Self::Master => "master",
            Self::Upstream => "upstream",
        }
    }
}

impl std::fmt::Display for KeyUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no such key
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no key {0:?}: expected token, answer, webhook, master or upstream")]
pub struct NoKeyUse(String);

impl std::str::FromStr for KeyUse {
    type Err = NoKeyUse;

    fn from_str(text: &str) -> Result<Self, NoKeyUse> {
        Self::ALL.into_iter().find(|of| of.as_str() == text).ok_or_else(|| NoKeyUse(text.to_owned()))
    }
}

/// A key takes over from the one before it
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    /// For what
    #[serde(rename = "use")]
    pub of: KeyUse,
    /// Its public key
    pub key: String,
    /// Where it comes from
    pub source: String,
    /// The public key before it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Until when what the earlier ones signed or sealed is still taken
    pub until: Millis,
    /// What the key before signed of this change, so that whoever knew that one can follow
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vouched: Option<String>,
}

/// An accepted definition
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The digest of its canonical form, which is what it is compared by
    pub digest: Hash,
    /// The blob that holds it exactly as the connector wrote it
    pub blob: Hash,
}

/// Something was seen
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noted {
    /// A connector was looked at, and is or offers something else than the last time
    Discovered {
        /// Which connector
        connector: Name,
        /// Digests by tool; nothing if only who it is was seen
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tools: Option<BTreeMap<ToolName, Hash>>,
        /// Who it was
        identity: Identity,
    },
    /// Outside decision points are about to be told the arguments of a call
    Consulted {
        /// The effect that the call will be if it is admitted
        effect: EffectId,
        /// The task that it is done for
        task: TaskId,
        /// What is called
        tool: Tool,
        /// Which points
        points: Vec<Told>,
    },
    /// A run asked what there is at a connector: discovery, which is no use
    Looked {
        /// Its task
        task: TaskId,
        /// Which connector
        connector: Name,
        /// With which method
        method: String,
        /// How many items it was shown
        shown: u32,
        /// How many it was not
        hidden: u32,
    },
    /// A server was started or called to ask what it offers, outside of any task
    Probed {
        /// Its command or address
        reach: String,
        /// How many tools it offers
        tools: usize,
    },
    /// Somebody showed a proof that somebody else holds, and got nothing for it: told once for each proof
    Copied {
        /// Whose proof it is
        agent: Name,
        /// What was shown, and from where
        proven: Box<Proven>,
        /// From where it was shown first
        holder: String,
    },
    /// A credential could not be taken back yet; told the first time, and then ever more rarely
    Resisted {
        /// The lease
        lease: EffectId,
        /// How often it was tried
        tries: u32,
        /// What the back end said, or that it said nothing
        why: String,
        /// Until when it may still be usable, if it has an end
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Millis>,
    },
    /// A secret was put into the vault, exchanged or taken out; nothing of it is recorded
    Secret {
        /// Its name
        name: Name,
        /// How often it was exchanged, from 1; nothing if it is not there any more
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
    },
    /// Somebody's account was connected for a source of credentials, or disconnected; nothing of it is recorded
    Account {
        /// The source
        source: Name,
        /// Whose account
        user: Name,
        /// Whether it is there now
        connected: bool,
    },
    /// A person signed in, or a link to sign in was made for them
    SignedIn {
        /// Who
        user: Name,
        /// How; nothing if it is only a link that they may use
        #[serde(default, skip_serializing_if = "Option::is_none")]
        how: Option<How>,
        /// The groups that their issuer says they are in, as it calls them, as far as the policy names them
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        groups: BTreeSet<String>,
        /// What else their issuer says of them, as far as the policy asks for it
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        attributes: BTreeMap<String, Committed>,
    },
    /// Somebody wants a version of the policy in force, where others have to want it too
    Proposed {
        /// Which version
        bundle: Hash,
        /// Whose hand it was, `user:NAME` or `account:NAME`
        hand: String,
    },
    /// A person's passkey was registered or removed, so that an auditor knows whose signatures count
    Passkey {
        /// Whose
        user: Name,
        /// Which credential, in base64url
        credential: String,
        /// Its public key, as answers carry it
        public_key: String,
        /// Whether it counts from now on, or does not count any more
        added: bool,
    },
    /// The agent of a task proved itself again, so that the task goes on
    Proven {
        /// The task
        task: TaskId,
        /// What was shown
        proven: Box<Proven>,
    },
    /// A process got an identity from the Workload API of our own
    Issued {
        /// The agent that it is
        agent: Name,
        /// The SPIFFE ID
        id: String,
        /// Whether it is a token; otherwise a certificate
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        token: bool,
        /// The certificate's serial number, or the token's `jti`
        serial: String,
        /// Until when it counts
        until: Millis,
        /// The process
        process: u32,
        /// Its account
        account: u32,
    },
    /// The record of another gateway was brought, and taken up to here; or it contradicts what was taken of it before
    Shipped {
        /// Who brought it
        shipper: Name,
        /// Which record: the hash of the group that first names its answer key
        log: Hash,
        /// The number of the last group, which its key has signed
        n: u64,
        /// The hash of that group
        hash: Hash,
        /// Whether it contradicts what was taken before, so that nothing of it was taken
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        forked: bool,
        /// What the shipper showed
        proven: Box<Proven>,
    },
    /// Somebody looked at what was done in an emergency, and answers for that
    Reviewed {
        /// The task
        task: TaskId,
        /// Who
        by: Name,
        /// What they say of it
        why: Committed,
    },
}

impl Record {
    /// The commitments in the record, by field
    pub fn committed(&mut self) -> Vec<(String, &mut Committed)> {
        match &mut self.event {
            Event::Began(began) => {
                let Began { parameters, objective, undoes, .. } = &mut **began;
                let steps = undoes.iter_mut().flat_map(|undoing| &mut undoing.steps).enumerate();
                let steps = steps.map(|(index, step)| (format!("undoes.{index}"), &mut step.arguments));
                opening(parameters, objective).chain(steps).collect()
            }
            Event::Held(held) => held.committed(),
            Event::Declined(declined) => vec![("why".to_owned(), &mut declined.why)],
            Event::Noted(Noted::Reviewed { why, .. })
            | Event::Paused(Paused { why, .. })
            | Event::Resumed(Paused { why, .. }) => {
                vec![("why".to_owned(), why)]
            }
            Event::Admitted(admitted) => {
                let Admitted { what, inputs, because, .. } = &mut **admitted;
                let (given, before, scope) = match what {
                    What::Call(call) => (Some(&mut call.arguments), call.before.as_mut(), None),
                    What::Lease(lease) => (None, None, Some(&mut lease.scope)),
                    What::Child { .. } | What::Poll(_) | What::Notice { .. } => (None, None, None),
                };
                let scope = scope.into_iter().flatten().map(|(name, value)| (format!("scope.{name}"), value));
                let given = given.into_iter().flat_map(arguments);
                let before = before.into_iter().flat_map(|before| &mut before.values);
                let before = before.map(|(name, value)| (format!("before.{name}"), value));
                let outside = inputs.outside.iter_mut().enumerate();
                let outside = outside.map(|(index, heard)| (format!("outside.{index}"), &mut heard.question));
                let because = because.iter_mut().enumerate();
                let because = because.map(|(index, because)| (format!("because.{index}"), &mut because.reasons));
                given.chain(before).chain(scope).chain(outside).chain(because).collect()
            }
            Event::Noted(Noted::SignedIn { attributes, .. }) => {
                attributes.iter_mut().map(|(name, value)| (format!("attributes.{name}"), value)).collect()
            }
            Event::Noted(Noted::Consulted { points, .. }) => {
                let points = points.iter_mut().enumerate();
                points.map(|(index, told)| (format!("points.{index}"), &mut told.question)).collect()
            }
            Event::Granted(granted) => {
                let Granted { why, to, .. } = &mut **granted;
                let elevation = match to {
                    To::Elevation(elevation) => Some(elevation),
                    To::Observe { .. } | To::Approval { .. } => None,
                };
                let elevation = elevation.into_iter().flat_map(elevated);
                std::iter::once(("why".to_owned(), why)).chain(elevation).collect()
            }
            Event::Refused(refused) => vec![("reasons".to_owned(), &mut refused.reasons)],
            Event::Settled(Settled { end: End::Done { result, returned, .. }, .. }) => {
                let result = result.iter_mut().map(|result| ("result".to_owned(), result));
                let returned = returned.iter_mut().map(|(source, values)| (format!("returned.{source}"), values));
                result.chain(returned).collect()
            }
            Event::Settled(Settled { end: End::Pending { result: Some(result), .. }, .. }) => {
                vec![("result".to_owned(), result)]
            }
            _ => Vec::new(),
        }
    }
}

impl Held {
    /// The commitments in it, by field
    pub(crate) fn committed(&mut self) -> Vec<Field<'_>> {
        match &mut self.what {
            HeldWhat::Call(call) => {
                let before = call.before.iter_mut().map(|(name, value)| (format!("before.{name}"), value));
                arguments(&mut call.arguments).chain(before).collect()
            }
            HeldWhat::Elevation(elevation) => elevated(elevation).collect(),
            HeldWhat::Opening(HeldOpening { parameters, objective, .. }) => opening(parameters, objective).collect(),
        }
    }
}

pub(crate) type Field<'a> = (String, &'a mut Committed);

fn arguments(given: &mut BTreeMap<String, Given>) -> impl Iterator<Item = Field<'_>> {
    given.iter_mut().map(|(name, given)| (format!("arguments.{name}"), &mut given.value))
}

fn opening<'a>(
    parameters: &'a mut BTreeMap<Name, Given>,
    objective: &'a mut Option<Given>,
) -> impl Iterator<Item = Field<'a>> {
    let parameters = parameters.iter_mut().map(|(name, given)| (format!("parameters.{name}"), &mut given.value));
    parameters.chain(objective.iter_mut().map(|given| ("objective".to_owned(), &mut given.value)))
}

fn elevated(elevation: &mut Elevation) -> impl Iterator<Item = Field<'_>> {
    let values = elevation.values.iter_mut().map(|(name, value)| (format!("values.{name}"), value));
    values.chain([("asked".to_owned(), &mut elevation.why)])
}

/// An outside decision point that is told the arguments of a call
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Which
    pub point: Name,
    /// The digest of the question, which covers what it is told
    pub question: Committed,
}

/// The first line of a group's body
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    v: u32,
    n: u64,
    prev: Hash,
}

/// The version of the form of groups and events
pub const FORMAT: u32 = 1;

/// A group could not be written or read
#[derive(Debug, thiserror::Error)]
pub enum Form {
    /// It is no JSON of the expected form
    #[error("line {line} is not a record of this version")]
    Line {
        /// Counted from 1
        line: usize,
        /// What the reader said
        #[source]
        source: serde_json::Error,
    },
    /// It is of another version
    #[error("the group is of form {0}, this version reads form {FORMAT}")]
    Version(u32),
    /// It does not say where it stands, or says something else
    #[error("the group does not follow the one before it")]
    Order,
}

/// Writes `records` as the group that follows `head`
///
/// # Errors
/// [`Form::Line`] if a record cannot be written as JSON, which no record of this version does.
pub fn encode(head: Head, records: &mut [Record], blobs: Vec<(Hash, Vec<u8>)>) -> Result<Group, Form> {
    let line = |line: usize| move |source| Form::Line { line, source };
    let n = head.n + 1;
    let mut body = serde_json::to_vec(&Header { v: FORMAT, n, prev: head.hash }).map_err(line(1))?;
    let mut openings = Vec::new();
    for (i, record) in records.iter_mut().enumerate() {
        body.push(b'\n');
        serde_json::to_writer(&mut body, record).map_err(line(i + 2))?;
        for (field, committed) in record.committed() {
            if let Some(opening) = OpeningLine::new(i, field, committed) {
                serde_json::to_writer(&mut openings, &opening).map_err(line(i + 2))?;
                openings.push(b'\n');
            }
        }
    }
    Ok(Group { n, body, openings, blobs })
}

/// Reads the group that follows `head`, with its openings put back
///
/// # Errors
/// [`Form`]: the group is broken, foreign or out of order.
pub fn decode(head: Head, group: &Group) -> Result<Vec<Record>, Form> {
    let mut lines = group.body.split(|byte| *byte == b'\n').enumerate();
    let line = |line: usize| move |source| Form::Line { line: line + 1, source };
    let (_, first) = lines.next().ok_or(Form::Order)?;
    let header: Header = serde_json::from_slice(first).map_err(line(0))?;
    if header.v != FORMAT {
        return Err(Form::Version(header.v));
    }
    if header.n != head.n + 1 || header.n != group.n || header.prev != head.hash {
        return Err(Form::Order);
    }
    let mut records =
        lines.map(|(at, text)| serde_json::from_slice(text).map_err(line(at))).collect::<Result<Vec<Record>, _>>()?;
    let mut openings: BTreeMap<usize, Vec<OpeningLine>> = BTreeMap::new();
    for text in group.openings.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
        // An opening that cannot be read is as good as erased: whatever needs it refuses.
        if let Ok(opening) = serde_json::from_slice::<OpeningLine>(text) {
            openings.entry(opening.i).or_default().push(opening);
        }
    }
    for (i, lines) in openings {
        let Some(record) = records.get_mut(i) else { continue };
        let mut fields: BTreeMap<String, &mut Committed> = record.committed().into_iter().collect();
        for line in lines {
            if let Some(committed) = fields.get_mut(&line.field) {
                committed.open(line.opening());
            }
        }
    }
    Ok(records)
}
