//! What is asked at the one door: calls, openings, children, stops, changes, and reports of what was seen.

use crate::{
    event::{Actor, ChosenBy, End, How, NewKey, News, Signed, To},
    hash::Hash,
    log::Head,
    names::{EffectId, GrantId, HoldId, MemoryId, Name, RunId, TaskId, Tool, ToolName},
    node::{Node, Why},
    offer::Identity,
    outside::Answer,
    pattern::Source,
    policy::{Deed, Usage},
    proof::Proven,
    reason::Reason,
    time::Millis,
    value::Value,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// The time, as far as it can be believed
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// From a clock that nobody can set, anchored to the wall clock at start
    pub steady: Millis,
    /// What the wall clock says
    pub wall: Millis,
}

impl Clock {
    /// A clock that agrees with itself
    #[must_use]
    pub fn at(ms: i64) -> Self {
        Self { steady: Millis(ms), wall: Millis(ms) }
    }
}

/// A request at the door
#[derive(Clone, Debug)]
pub enum Request {
    /// May this call happen, and if so, let it
    Call(Call),
    /// Would this call be permitted; admits nothing
    Ask(Call),
    /// May this task be opened
    Open(Open),
    /// May this connector's child process be started
    Start(Start),
    /// May a credential be issued for a task
    Lease(Box<Lease>),
    /// A credential could not be taken back yet
    Resisted(Resisted),
    /// A secret of the vault is another one
    Secret(SecretChange),
    /// Somebody's account was connected or disconnected
    Account(AccountChange),
    /// May it be asked how a call stands that goes on at its connector
    Poll(Poll),
    /// Stop a node
    Stop(Stop),
    /// Halt a node, or let it go on
    Pause(Pause),
    /// The agent of a task proves itself again
    Prove(Prove),
    /// The record of another gateway was brought
    Ship(Ship),
    /// Change the registry
    Change(Change),
    /// Say yes to something beforehand
    Grant(Grant),
    /// Say yes or no to what waits
    Answer(Box<Answering>),
    /// Open a class for a while
    Elevate(Elevate),
    /// May somebody do what needs a role; what they do follows elsewhere
    Role(Doing),
    /// Close the review of an emergency
    Review(Review),
    /// Tell a receiver of a question
    Notify(Notify),
    /// A person signed in, or may with a link
    SignedIn(SignedIn),
    /// A person's passkey was registered or removed
    Passkey(PasskeyChange),
    /// An effect has ended
    Settle(Settle),
    /// Something was seen
    Saw(Saw),
    /// A server was asked what it offers, outside of any task
    Probed(Probed),
    /// A process got an identity from the Workload API of our own
    Issued(Issued),
    /// Somebody showed a proof that somebody else holds
    Copied(Copied),
    /// A run was told what there is at a connector
    Looked(Looked),
    /// A request was refused before it could be judged
    Refused(Refusal),
}

/// A tool call
#[derive(Clone, Debug)]
pub struct Call {
    /// The id that the effect will have
    pub effect: EffectId,
    /// The run that the token names
    pub run: RunId,
    /// What is called
    pub tool: Tool,
    /// With which arguments
    pub arguments: BTreeMap<String, Value>,
    /// How the arguments fit which definition
    pub fit: Fit,
    /// What outside decision points have said so far
    pub answers: Vec<Answer>,
    /// The leg that it goes on with, which was answered with a question; whoever asks has checked that this state was
    /// given to this run for these very arguments
    pub continues: Option<EffectId>,
    /// What was read before it, so that it can be put back
    pub before: Option<Read>,
    /// The lease that the connection was made with on which it would leave
    pub lease: Option<EffectId>,
}

/// What was read before a call
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The effect that read it; nothing if it could not be read, so that there is no undo
    pub effect: Option<EffectId>,
    /// The fields that undoing needs, by path
    pub values: BTreeMap<String, Value>,
}

/// How arguments fit the input schema of a definition
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The definition that they were held against; the zero hash if none is known
    pub pin: Hash,
    /// What does not fit, in the validator's words
    pub error: Option<String>,
}

/// The opening of a task
#[derive(Clone, Debug)]
pub struct Open {
    /// The id that the task will have
    pub task: TaskId,
    /// The run that will work on it
    pub run: RunId,
    /// What it may remember from
    pub memory: MemoryId,
    /// Who opens it
    pub by: Actor,
    /// Who will work
    pub agent: Name,
    /// On whose behalf
    pub user: Option<Name>,
    /// Under which purpose
    pub purpose: Name,
    /// With which values; a run can only pass on values that it was given as good as they were
    pub parameters: BTreeMap<Name, (Value, ChosenBy)>,
    /// What for
    pub objective: Option<String>,
    /// The task that delegates it
    pub parent: Option<TaskId>,
    /// What it takes back; then it may do nothing else
    pub undoes: Option<Undo>,
    /// How the agent proved itself
    pub proven: Option<Proven>,
}

/// What a task takes back
#[derive(Clone, Debug)]
pub struct Undo {
    /// Whose calls
    pub of: TaskId,
    /// The call that each step takes back, and what it calls, in the order in which they may be made
    pub steps: Vec<(EffectId, Tool, BTreeMap<String, Value>)>,
}

/// The start of a child process for a task
#[derive(Clone, Debug)]
pub struct Start {
    /// The id that the effect will have
    pub effect: EffectId,
    /// For which run
    pub run: RunId,
    /// Of which connector
    pub connector: Name,
    /// The lease that it is given
    pub lease: Option<EffectId>,
}

/// A credential for a task
#[derive(Clone, Debug)]
pub struct Lease {
    /// The id that the effect will have
    pub effect: EffectId,
    /// For which connector
    pub connector: Name,
    /// What needs it
    pub needs: Needs,
}

/// What needs a credential
#[derive(Clone, Debug)]
pub enum Needs {
    /// This call
    Call(Box<Call>),
    /// This look at how a call stands
    Poll(Poll),
    /// A run that looks at what there is
    Look(RunId),
    /// A person who looks at what a server offers, outside of any task
    Probe(Actor),
}

/// Somebody's account was connected for a source of credentials, or disconnected
#[derive(Clone, Debug)]
pub struct AccountChange {
    /// Who did it
    pub by: Actor,
    /// For which source
    pub source: Name,
    /// Whose account
    pub user: Name,
    /// Whether it is there now
    pub connected: bool,
}

/// A secret was put into the vault, exchanged or taken out
#[derive(Clone, Debug)]
pub struct SecretChange {
    /// Who did it
    pub by: Actor,
    /// Which
    pub name: Name,
    /// Its version; nothing if it is not there any more
    pub version: Option<u32>,
}

/// A credential could not be taken back yet
#[derive(Clone, Debug)]
pub struct Resisted {
    /// Which
    pub lease: EffectId,
    /// How often it was tried
    pub tries: u32,
    /// What the back end said, or that it said nothing
    pub why: String,
}

/// A look at how a call stands that goes on at its connector, or a word to it
#[derive(Clone, Debug)]
pub struct Poll {
    /// The id that the effect will have
    pub effect: EffectId,
    /// For which run
    pub run: RunId,
    /// The call
    pub of: EffectId,
    /// The method that asks for it
    pub method: String,
    /// The lease that the connection was made with on which it would leave
    pub lease: Option<EffectId>,
}

/// A run was told what there is at a connector
#[derive(Clone, Debug)]
pub struct Looked {
    /// Which run
    pub run: RunId,
    /// Which connector
    pub connector: Name,
    /// With which method
    pub method: String,
    /// How many items it was shown
    pub shown: u32,
    /// How many it was not
    pub hidden: u32,
}

/// The end of a node
#[derive(Clone, Debug)]
pub struct Stop {
    /// Which
    pub node: Node,
    /// Why
    pub why: Why,
    /// Who stops it
    pub by: Actor,
    /// Since when, if it was over before it is recorded
    pub at: Option<Millis>,
}

/// A node is to be halted, or to go on
#[derive(Clone, Debug)]
pub struct Pause {
    /// Which
    pub node: Node,
    /// Whether it is halted, or goes on
    pub halts: bool,
    /// Who
    pub by: Actor,
    /// Why
    pub why: String,
}

/// The agent of a task proves itself again
#[derive(Clone, Debug)]
pub struct Prove {
    /// The task
    pub task: TaskId,
    /// Which agent
    pub agent: Name,
    /// What was shown
    pub proven: Proven,
}

/// The record of another gateway was brought
#[derive(Clone, Debug)]
pub struct Ship {
    /// By whom
    pub agent: Name,
    /// What was shown
    pub proven: Proven,
    /// Which record
    pub log: Hash,
    /// The end that its key has signed
    pub head: Head,
    /// Whether it contradicts what was taken before
    pub forked: bool,
}

/// A yes of a person, given beforehand
#[derive(Clone, Debug)]
pub struct Grant {
    /// The id that it will have
    pub grant: GrantId,
    /// Who gives it
    pub by: Actor,
    /// Who answers for it, as the record will say it: `user:NAME` or `account:NAME`
    pub owner: String,
    /// To what
    pub to: To,
    /// Why, in a sentence
    pub why: String,
    /// When it is over at the latest
    pub until: Millis,
}

/// What a person says to a question
#[derive(Clone, Debug)]
pub struct Answering {
    /// Which question
    pub hold: HoldId,
    /// The digest of what they were shown
    pub binding: Hash,
    /// Who, and how they are known
    pub by: Actor,
    /// Yes or no
    pub yes: bool,
    /// Why, in their words; a no has to say it
    pub why: String,
    /// The id that the grant will have, if it is a yes
    pub grant: GrantId,
    /// The proof of it
    pub signed: Signed,
}

/// The opening of a class for a while
#[derive(Clone, Debug)]
pub struct Elevate {
    /// The id that it will have, as a grant or as a question
    pub grant: GrantId,
    /// Who asks: a run for its own task, or a person
    pub by: Actor,
    /// In which task
    pub task: TaskId,
    /// For these tools and variants, all of one class
    pub uses: Vec<Usage>,
    /// With exactly these values
    pub values: BTreeMap<String, Value>,
    /// How often
    pub times: u32,
    /// For how long, in milliseconds
    pub lasts_ms: i64,
    /// Why
    pub why: String,
}

/// Something that a person is about to do
#[derive(Clone, Debug)]
pub struct Doing {
    /// Who
    pub by: Actor,
    /// What
    pub deed: Deed,
    /// About what, as the record says it if it is refused
    pub about: String,
}

/// The end of a review
#[derive(Clone, Debug)]
pub struct Review {
    /// Of which task
    pub task: TaskId,
    /// Who
    pub by: Actor,
    /// What they say of it
    pub why: String,
}

/// A message to a receiver
#[derive(Clone, Debug)]
pub struct Notify {
    /// The id that the effect will have
    pub effect: EffectId,
    /// What they are told
    pub news: News,
    /// Of which question
    pub hold: HoldId,
    /// Who is told
    pub receiver: Name,
}

/// A person signed in
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// By whom
    pub by: Actor,
    /// Who
    pub user: Name,
    /// How; nothing if it is only a link that they may use
    pub how: Option<How>,
    /// What their issuer says of them
    pub claimed: Claimed,
}

/// What an issuer says of somebody, as far as the policy asks for it
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// The groups that they are in, as it calls them
    pub groups: BTreeSet<String>,
    /// What else, by what the policy calls it
    pub attributes: BTreeMap<String, Value>,
}

/// A passkey of a person was registered or removed
#[derive(Clone, Debug)]
pub struct PasskeyChange {
    /// By whom
    pub by: Actor,
    /// Whose
    pub user: Name,
    /// Which credential, in base64url
    pub credential: String,
    /// Its public key, as answers carry it
    pub public_key: String,
    /// Whether it counts from now on
    pub added: bool,
}

/// A change of the registry
#[derive(Clone, Debug)]
pub struct Change {
    /// Who changes it
    pub by: Actor,
    /// What
    pub what: ChangeWhat,
}

/// What is changed
#[derive(Clone, Debug)]
pub enum ChangeWhat {
    /// Another version of the policy becomes current
    Bundle {
        /// The version
        bundle: Arc<crate::policy::Bundle>,
        /// Its files, as they will be read again
        blob: Vec<u8>,
    },
    /// A version of the policy that was current before is current again
    Back {
        /// The version, as it was read back from the log
        bundle: Arc<crate::policy::Bundle>,
    },
    /// The definitions of a connector's tools are accepted
    Pins {
        /// Which connector
        connector: Name,
        /// The definitions, exactly as the connector wrote them, by tool and digest
        definitions: BTreeMap<ToolName, (Hash, Vec<u8>)>,
        /// Who the connector was
        identity: Identity,
    },
    /// Another key of this data folder signs
    Key(NewKey),
}

impl fmt::Display for ChangeWhat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle { bundle, .. } => write!(f, "apply policy:{}", bundle.digest.short()),
            Self::Back { bundle } => write!(f, "roll back to policy:{}", bundle.digest.short()),
            Self::Pins { connector, .. } => write!(f, "accept connector:{connector}"),
            Self::Key(new) => write!(f, "exchange key:{}", new.of),
        }
    }
}

/// An effect has ended
#[derive(Clone, Debug)]
pub struct Settle {
    /// Which
    pub effect: EffectId,
    /// How
    pub end: End,
    /// The canonical digest of the answer, to be committed to under a salt
    pub result: Option<Hash>,
    /// Values of the fields of the answer that the permit asked for
    pub returned: BTreeMap<Source, Vec<Value>>,
}

impl Settle {
    /// An end without an answer to commit to
    #[must_use]
    pub fn new(effect: EffectId, end: End) -> Self {
        Self { effect, end, result: None, returned: BTreeMap::new() }
    }
}

/// A connector was asked what it offers
#[derive(Clone, Debug)]
pub struct Saw {
    /// Which connector
    pub connector: Name,
    /// Digests by tool; `None`: it was not asked, only who it is was seen
    pub tools: Option<BTreeMap<ToolName, Hash>>,
    /// Who it was
    pub identity: Identity,
}

/// A server was asked what it offers, outside of any task
#[derive(Clone, Debug)]
pub struct Probed {
    /// Its command or address
    pub reach: String,
    /// How many tools it offers
    pub tools: usize,
}

/// A process got an identity from the Workload API of our own
#[derive(Clone, Debug)]
pub struct Issued {
    /// The agent that it is
    pub agent: Name,
    /// The SPIFFE ID
    pub id: String,
    /// Whether it is a token; otherwise a certificate
    pub token: bool,
    /// The certificate's serial number, or the token's `jti`
    pub serial: String,
    /// Until when it counts
    pub until: Millis,
    /// The process
    pub process: u32,
    /// Its account
    pub account: u32,
}

/// Somebody showed a proof that somebody else holds, and was refused
#[derive(Clone, Debug)]
pub struct Copied {
    /// Whose proof it is
    pub agent: Name,
    /// What was shown, and from where
    pub proven: Proven,
    /// From where it was shown first
    pub holder: String,
}

/// A request that never came to a judgement
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The run that the token names
    pub run: RunId,
    /// What was asked for
    pub what: String,
    /// Why not
    pub reason: Reason,
}
