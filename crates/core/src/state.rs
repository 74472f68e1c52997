//! What is true now: a fold over the log.
//!
//! Memory may differ from the log only by refusing more. Ended tasks leave it; what stays of them for a
//! while is why they are over, so that the end can be said.

mod elevations;
mod grants;
mod groups;
mod holds;
mod keys;
mod leases;
mod legs;
mod proposals;
mod registry;
mod serial;

pub use elevations::{Open as Elevated, Review};
pub use grants::Grant;
pub use groups::Said;
pub use holds::{AGAIN_MS, Answered, Counting, Hold, Reader, Reflex};
pub(crate) use holds::{hand_of, owners};
pub use keys::{EarlierKey, Keys};
pub use leases::{LeaseKey, Leased, OpenLease, fresh_until};
pub use legs::{Leg, OpenCall, PENDING_MAX, Pending};
pub use proposals::Proposed;
pub use registry::{Met, Pin, Seen, Standing};

use crate::{
    commit::Committed,
    event::{
        Actor, Admitted, Began, Booted, Changed, Charge, ChosenBy, End, Event, KeyUse, Noted, Process, Record, Settled,
        Stopped, To, Undoing, What,
    },
    hash::Hash,
    log::Head,
    names::{BootId, EffectId, GrantId, HoldId, MemoryId, Name, RunId, TaskId, Tool},
    node::{Node, Why},
    pattern::Source,
    policy::Class,
    proof::Proven,
    reason::{Reason, Word},
    time::Millis,
    value::Value,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The fold over the log up to [`State::head`]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    #[serde(with = "serial::head")]
    pub(crate) head: Head,
    pub(crate) time: Millis,
    pub(crate) boot: Option<BootId>,
    pub(crate) bundle: Option<Hash>,
    /// Changes of the policy so far
    generation: u64,
    #[serde(with = "serial::pairs")]
    pub(crate) registry: BTreeMap<Node, Standing>,
    #[serde(with = "serial::pairs")]
    pub(crate) pins: BTreeMap<Tool, Pin>,
    /// Who the connectors are of which something was accepted
    met: BTreeMap<Name, Met>,
    #[serde(with = "serial::pairs")]
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    #[serde(with = "serial::pairs")]
    pub(crate) runs: BTreeMap<RunId, TaskId>,
    #[serde(with = "serial::pairs")]
    pub(crate) effects: BTreeMap<EffectId, Open>,
    /// When the time of each task passes
    pub(crate) deadlines: BTreeSet<(Millis, TaskId)>,
    /// Children of ended tasks, which are to end too
    pub(crate) orphans: BTreeSet<TaskId>,
    #[serde(with = "serial::pairs")]
    pub(crate) over: BTreeMap<TaskId, Over>,
    forget: BTreeSet<(Millis, TaskId)>,
    #[serde(with = "serial::pairs")]
    pub(crate) grants: BTreeMap<GrantId, Grant>,
    /// The policy directory when it was put into force last, by its digest
    directory: Option<Hash>,
    /// The first group of this log, by its hash: no other data folder has it
    origin: Hash,
    #[serde(with = "serial::pairs")]
    holds: BTreeMap<HoldId, Hold>,
    /// When each open question lapses
    pub(crate) hold_deadlines: BTreeSet<(Millis, HoldId)>,
    forget_holds: BTreeSet<(Millis, HoldId)>,
    /// Questions about openings, by what would be opened
    #[serde(with = "serial::pairs")]
    openings: BTreeMap<Hash, HoldId>,
    reflex: Reflex,
    /// How often a question was put, answered, used, settled or closed
    hold_changes: u64,
    /// The last change of each question
    #[serde(with = "serial::pairs")]
    changed_holds: BTreeMap<u64, HoldId>,
    /// The task of each elevation
    #[serde(with = "serial::pairs")]
    elevated: BTreeMap<GrantId, TaskId>,
    pub(crate) elevation_deadlines: BTreeSet<(Millis, GrantId)>,
    /// When the time of each lease passes
    #[serde(default)]
    pub(crate) lease_deadlines: BTreeSet<(Millis, EffectId)>,
    #[serde(with = "serial::pairs")]
    reviews: BTreeMap<TaskId, Review>,
    keys: BTreeMap<KeyUse, Keys>,
    /// Passkeys that were registered by way of a link that somebody else had made, and who that was
    #[serde(with = "serial::pairs")]
    handed: BTreeMap<(Name, String), String>,
    /// Versions of the policy that people want in force, the oldest first
    #[serde(default)]
    proposals: Vec<Proposed>,
    /// What issuers said of those who signed in there last
    #[serde(default)]
    said: BTreeMap<Name, Said>,
    /// When and how each agent has worked last
    #[serde(default)]
    seen: BTreeMap<Name, Seen>,
}

/// Where a question to people stands
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It waits, or enough have answered and nobody has used it yet
    Open,
    /// Somebody said no
    Declined {
        /// When
        at: Millis,
    },
    /// It is used up by what is under way; by this effect, if it is about a call
    Used {
        /// Which
        effect: Option<EffectId>,
    },
    /// What used it has happened
    Done {
        /// Which effect
        effect: EffectId,
        /// Whether the connector says that it succeeded
        ok: bool,
        /// When that was known
        at: Millis,
    },
    /// What used it may have happened
    Unknown {
        /// Which effect
        effect: EffectId,
        /// When that was known
        at: Millis,
    },
    /// Nobody answered in time, or what it rests on is over
    Over {
        /// Why
        why: Why,
        /// Since when
        at: Millis,
    },
}

/// A live task
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The run that works on it
    pub run: RunId,
    /// What it may remember from
    pub memory: MemoryId,
    /// Who works
    pub agent: Name,
    /// On whose behalf
    pub user: Option<Name>,
    /// Who opened it, if that was a user of the policy
    pub opener: Option<Name>,
    /// Under which purpose
    pub purpose: Name,
    /// In which version of the policy it was opened
    pub bundle: Hash,
    /// The task that delegated it
    pub parent: Option<TaskId>,
    /// Tasks above it
    pub depth: u8,
    /// The values that placeholders stand for; one whose opening was erased is missing, and what needs it refuses
    pub values: BTreeMap<Name, Value>,
    /// Who chose each parameter
    pub chosen: BTreeMap<Name, ChosenBy>,
    /// When it was opened
    pub opened: Millis,
    /// When it is over at the latest
    pub expires: Millis,
    /// Milliseconds without an admitted or open call after which it is over
    pub idle_ms: Option<i64>,
    /// When something was last admitted or settled
    pub active: Millis,
    /// Calls admitted in it and below, without those that were not sent
    pub calls: u32,
    /// Use of the entries of its purpose, in it and below
    pub steps: BTreeMap<Name, Step>,
    /// Bytes of the arguments of its calls, in it and below
    pub sent: u64,
    /// Bytes of their answers
    pub received: u64,
    /// Bytes held for answers that are not there yet
    pub held: u64,
    /// Digests of the values that its steps returned, as far as other steps need them
    #[serde(with = "serial::pairs")]
    pub returned: BTreeMap<Source, BTreeSet<Hash>>,
    /// Calls in it and below that are not settled
    pub open: u32,
    /// How often outside decision points were told arguments for it
    pub consulted: u32,
    /// Calls that were answered and are not finished, the oldest first
    pub pending: Vec<Pending>,
    /// What it was shown of each connector by each method, and how much it was not
    #[serde(with = "serial::pairs")]
    looked: BTreeMap<(Name, String), (u32, u32)>,
    /// Its questions that wait for people, in it and below; while one does, it is not idle
    pub waiting: u32,
    /// Questions that it put to people so far
    pub asked: u32,
    /// Its questions that are open or remembered
    pub questions: BTreeSet<HoldId>,
    /// The latest question about each call
    #[serde(with = "serial::pairs")]
    holds: BTreeMap<Hash, HoldId>,
    /// Classes that are open for a while
    #[serde(with = "serial::pairs")]
    pub elevations: BTreeMap<GrantId, Elevated>,
    /// Calls for which classes were opened without a person
    #[serde(with = "serial::pairs")]
    pub alone: BTreeMap<Class, u32>,
    /// It is for an emergency: everything that it does is recorded in full
    pub emergency: bool,
    /// What it takes back, if that is all it does
    pub undoes: Option<Undoes>,
    /// Its latest lease for each connector and class
    #[serde(with = "serial::pairs", default)]
    pub leases: BTreeMap<LeaseKey, EffectId>,
    /// Leases of it that are not known to be of no use
    #[serde(default)]
    pub leased: u32,
    /// How its agent has proven itself last
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Proven>,
    children: BTreeSet<TaskId>,
    generations: Vec<(Node, u64)>,
}

/// What a task takes back, and nothing else
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undoes {
    /// Whose calls
    pub of: TaskId,
    /// The digests of the calls that it may make, in their order
    pub steps: Vec<Hash>,
    /// The connectors that they go to
    pub connectors: BTreeSet<Name>,
}

impl Undoes {
    /// Whether `task` has not made all of the calls of this digest
    #[must_use]
    pub fn has_left(&self, task: &Task, key: Hash) -> bool {
        let same = self.steps.iter().enumerate().filter(|(_, step)| **step == key);
        let done = |entry: Name| task.steps.get(&entry).is_some_and(|step| step.used > 0);
        same.filter_map(|(at, _)| Self::entry(at)).any(|entry| !done(entry))
    }

    /// What the use of a step is counted as
    #[must_use]
    pub fn entry(step: usize) -> Option<Name> {
        format!("undo-{}", step + 1).parse().ok()
    }

    /// The step whose use is counted as this
    #[must_use]
    pub fn place(entry: &Name) -> Option<usize> {
        entry.as_str().strip_prefix("undo-")?.parse::<usize>().ok()?.checked_sub(1)
    }
}

/// How often an entry was used
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Permits, unknown outcomes too
    pub used: u32,
    /// Whether one of them was settled as a success
    pub succeeded: bool,
}

/// An effect that is admitted and not over
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The task that it is done for; a message about an opening has none
    pub task: Option<TaskId>,
    /// The connector that it goes to, if it goes to one
    pub connector: Option<Name>,
    /// Which bearer of the connector's name
    pub generation: u64,
    /// The life of our process that admitted it
    pub boot: Option<BootId>,
    /// The grant without which it would have been refused, as long as it is under way
    pub grant: Option<GrantId>,
    /// The elevations that it was begun under
    pub elevated: BTreeSet<GrantId>,
    /// Somebody ended one of them
    pub cut: bool,
    /// The lease that it goes with
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<EffectId>,
    /// What it is
    pub what: OpenWhat,
}

/// What an open effect is
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenWhat {
    /// A call, or a leg of one
    Call(OpenCall),
    /// A child process; known once its start is settled
    Child(Option<Process>),
    /// A credential; known once its issue is settled
    Lease(Box<OpenLease>),
    /// A message to a receiver that a question waits
    Notice {
        /// The question
        hold: HoldId,
        /// Who is told
        receiver: Name,
    },
}

/// What stays of an ended task
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    /// Why it is over
    pub why: Why,
    /// Since when
    pub at: Millis,
    /// The run that worked on it
    pub run: RunId,
}

/// Connectors times methods whose looks a task remembers
const LOOKED_MAX: usize = 1_024;
/// Returned values that a task remembers; further ones do not match
const RETURNED_MAX: usize = 4_096;
/// How long an ended task is remembered: longer than any token lives
pub const REMEMBERED_MS: i64 = 10 * 60 * 1000;

impl State {
    /// Where in the log this state stands
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// The time of the last record
    #[must_use]
    pub fn time(&self) -> Millis {
        self.time
    }

    /// The life of the process that wrote last
    #[must_use]
    pub fn boot(&self) -> Option<BootId> {
        self.boot
    }

    /// The digest of the current policy
    #[must_use]
    pub fn bundle(&self) -> Option<Hash> {
        self.bundle
    }

    /// The digest of the policy directory when it was put into force last
    ///
    /// Another one than [`bundle`](Self::bundle) if somebody went back to an earlier version since.
    #[must_use]
    pub fn directory(&self) -> Option<Hash> {
        self.directory
    }

    /// The digests of every version of the policy that something rests on
    #[must_use]
    pub fn bundles_in_use(&self) -> BTreeSet<Hash> {
        let leases = self.effects.values().filter_map(|open| match &open.what {
            OpenWhat::Lease(lease) => Some(lease.bundle),
            _ => None,
        });
        self.tasks.values().map(|task| task.bundle).chain(self.bundle).chain(leases).collect()
    }

    /// A live task; it may still be over by what it rests on, see [`State::life`]
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(&id)
    }

    /// The task of a run
    #[must_use]
    pub fn task_of(&self, run: RunId) -> Option<TaskId> {
        self.runs.get(&run).copied()
    }

    /// Tasks in the order of their ids, from `after` on
    pub fn tasks(&self) -> impl Iterator<Item = (TaskId, &Task)> {
        self.tasks.iter().map(|(id, task)| (*id, task))
    }

    /// Tasks that ended lately
    pub fn ended(&self) -> impl Iterator<Item = (TaskId, &Over)> {
        self.over.iter().map(|(id, over)| (*id, over))
    }

    /// Effects that are not over and rest on `node`
    #[must_use]
    pub fn resting_on(&self, node: &Node) -> Vec<EffectId> {
        let rests = |id: EffectId, open: &Open| match node {
            Node::Tenant => true,
            Node::Connector(name) => open.connector.as_ref() == Some(name),
            Node::Child(_) => false,
            Node::Lease(of) => *of == id || open.lease == Some(*of),
            Node::Grant(id) => open.grant == Some(*id) || open.elevated.contains(id),
            Node::Hold(id) => matches!(&open.what, OpenWhat::Notice { hold, .. } if hold == id),
            // The task itself may have left memory already.
            Node::Task(of) if Some(*of) == open.task => true,
            Node::Run(of) if open.task.is_some() && self.runs.get(of) == open.task.as_ref() => true,
            node => open.task.into_iter().flat_map(|task| self.lineage(task)).any(|(id, task)| match node {
                Node::Task(of) => *of == id,
                Node::Run(of) => task.run == *of,
                Node::Agent(of) => task.agent == *of,
                Node::User(of) => task.user.as_ref() == Some(of),
                Node::Purpose(of) => task.purpose == *of,
                _ => false,
            }),
        };
        self.effects.iter().filter(|(id, open)| rests(**id, open)).map(|(id, _)| *id).collect()
    }

    /// Whether a task is somebody's own: they opened it, or it runs on their behalf
    #[must_use]
    pub fn is_of(&self, id: TaskId, user: &Name) -> bool {
        self.tasks.get(&id).is_some_and(|task| [&task.user, &task.opener].into_iter().flatten().any(|of| of == user))
    }

    /// A task and those above it, as far as they are there
    fn lineage(&self, id: TaskId) -> impl Iterator<Item = (TaskId, &Task)> {
        let first = self.tasks.get(&id).map(|task| (id, task));
        std::iter::successors(first, |(_, task)| {
            let parent = task.parent?;
            Some((parent, self.tasks.get(&parent)?))
        })
    }

    /// Effects that are not over
    pub fn effects(&self) -> impl Iterator<Item = (EffectId, &Open)> {
        self.effects.iter().map(|(id, open)| (*id, open))
    }

    /// Why a task may not act at `now`; empty if everything that it rests on is live
    ///
    /// Whatever it rests on is over in the moment that it is stopped or its time has passed, recorded or not.
    #[must_use]
    pub fn life(&self, id: TaskId, now: Millis) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if let Some(Standing { over: Some(why), .. }) = self.registry.get(&Node::Tenant) {
            reasons.push(Reason::new(Word::TenantStopped, Node::Tenant).with("why", why));
        }
        let mut next = Some(id);
        while let Some(id) = next {
            let Some(task) = self.tasks.get(&id) else {
                let over = |over: &Over| Reason::new(Word::TaskOver, id).with("why", over.why);
                reasons.push(self.over.get(&id).map_or_else(|| Reason::new(Word::TaskUnknown, id), over));
                return reasons;
            };
            if let Some((why, _)) = task.passed(now) {
                reasons.push(Reason::new(Word::TaskOver, id).with("why", why));
            }
            for (node, generation) in &task.generations {
                if let Some(why) = self.gone(node, *generation) {
                    let word = match node {
                        // A change of policy is the way back for new tasks, not for those that were stopped.
                        Node::Tenant => {
                            reasons.push(Reason::new(Word::TaskOver, id).with("why", Why::Killed));
                            continue;
                        }
                        Node::Agent(_) => Word::AgentStopped,
                        Node::User(_) => Word::UserStopped,
                        _ => Word::PurposeStopped,
                    };
                    reasons.push(Reason::new(word, node).with("why", why));
                } else if let Some(since) = self.paused(node) {
                    reasons.push(Reason::new(Word::Paused, node).with("since", since));
                }
            }
            next = task.parent;
        }
        reasons
    }

    /// Whether everything that an effect rests on is live
    #[must_use]
    pub fn effect_lives(&self, open: &Open, now: Millis) -> bool {
        match &open.what {
            OpenWhat::Lease(lease) => !matches!(self.leased(open, lease, now), Leased::Owed(_) | Leased::Left(_)),
            _ => self.stands_on(open, now) && self.goes_with(open.lease, now),
        }
    }

    /// The same, but for leases
    fn stands_on(&self, open: &Open, now: Millis) -> bool {
        let connector = open.connector.clone().map(Node::Connector);
        !open.cut
            && open.task.is_none_or(|task| self.life(task, now).is_empty())
            && connector.is_none_or(|connector| self.gone(&connector, open.generation).is_none())
            && open.grant.is_none_or(|grant| self.grant_lives(grant, now))
    }

    /// Folds one record in
    ///
    /// Total: a record that does not fit changes nothing that could permit more.
    pub fn apply(&mut self, record: &Record) {
        self.time = self.time.max(record.time);
        self.forget(record.time);
        self.forget_old_holds(record.time);
        match &record.event {
            Event::Booted(booted) => self.booted(booted),
            Event::Began(began) => self.began(began, &record.actor, record.time),
            Event::Stopped(stopped) => self.stopped(stopped, record.time),
            Event::Paused(paused) => self.pause(&paused.node, Some(record.time)),
            Event::Resumed(paused) => self.pause(&paused.node, None),
            Event::Held(held) => self.held(held, record.time),
            Event::Granted(granted) => match &granted.to {
                To::Observe { on } => self.granted(granted, on, record.time),
                To::Approval { .. } => self.approved(granted, record.time),
                To::Elevation(elevation) => self.elevated(granted, elevation, record.time),
            },
            Event::Declined(declined) => self.declined(declined, record.time),
            Event::Admitted(admitted) => self.admitted(admitted, record.time),
            Event::Settled(settled) => self.settled(settled, record.time),
            Event::Changed(changed) => self.changed(changed, record.time),
            Event::Noted(Noted::Discovered { connector, tools, identity }) => {
                self.discovered(connector, tools.as_ref(), identity);
            }
            Event::Noted(Noted::Consulted { task, .. }) => {
                if let Some(task) = self.tasks.get_mut(task) {
                    task.consulted = task.consulted.saturating_add(1);
                }
            }
            Event::Noted(Noted::Looked { task, connector, method, shown, hidden }) => {
                if let Some(task) = self.tasks.get_mut(task) {
                    task.looked.insert((connector.clone(), method.clone()), (*shown, *hidden));
                }
            }
            Event::Noted(Noted::Proven { task, proven }) => self.proven(*task, proven, record.time),
            Event::Noted(Noted::Reviewed { task, .. }) => drop(self.reviews.remove(task)),
            Event::Noted(Noted::Passkey { user, credential, added, .. }) => {
                self.passkey(user, credential, (*added, &record.actor));
            }
            Event::Noted(Noted::Proposed { bundle, hand }) => self.propose(*bundle, &record.actor, hand, record.time),
            Event::Noted(Noted::SignedIn { user, how, groups, attributes }) => {
                self.signed_in(user, how.as_ref(), (groups, attributes), record.time);
            }
            Event::Refused(_)
            | Event::Noted(
                Noted::Probed { .. }
                | Noted::Copied { .. }
                | Noted::Shipped { .. }
                | Noted::Issued { .. }
                | Noted::Resisted { .. }
                | Noted::Secret { .. }
                | Noted::Account { .. },
            ) => {}
        }
    }

    /// Moves the head on, after all records of a group were applied
    pub fn closed(&mut self, head: Head) {
        if self.origin == Hash::default() {
            self.origin = head.hash;
        }
        self.head = head;
    }

    /// What no other data folder has
    #[must_use]
    pub fn origin(&self) -> Hash {
        self.origin
    }

    fn forget(&mut self, now: Millis) {
        while let Some((until, id)) = self.forget.first().copied().filter(|(until, _)| *until < now) {
            self.forget.remove(&(until, id));
            if let Some(over) = self.over.remove(&id) {
                self.runs.remove(&over.run);
            }
        }
    }

    fn booted(&mut self, booted: &Booted) {
        self.boot = Some(booted.boot);
    }

    fn began(&mut self, began: &Began, by: &Actor, time: Millis) {
        let depth = match began.parent {
            None => 0,
            Some(parent) => {
                let Some(parent) = self.tasks.get_mut(&parent) else { return };
                parent.children.insert(began.task);
                parent.depth.saturating_add(1)
            }
        };
        let nodes = [Some(Node::Agent(began.agent.clone())), Some(Node::Purpose(began.purpose.clone()))]
            .into_iter()
            .chain([began.user.clone().map(Node::User), Some(Node::Tenant)])
            .flatten();
        // Generation 0 never exists, so a task of an unknown node is over from the start.
        let generation = |node: &Node| self.registry.get(node).map_or(0, |standing| standing.generation);
        let task = Task {
            run: began.run,
            memory: began.memory,
            agent: began.agent.clone(),
            user: began.user.clone(),
            opener: by.user().cloned(),
            purpose: began.purpose.clone(),
            bundle: began.bundle,
            parent: began.parent,
            depth,
            values: began
                .parameters
                .iter()
                .filter_map(|(name, given)| Some((name.clone(), given.value.value()?)))
                .collect(),
            chosen: began.parameters.iter().map(|(name, given)| (name.clone(), given.by)).collect(),
            opened: time,
            expires: began.expires,
            idle_ms: began.idle_ms,
            active: time,
            calls: 0,
            steps: BTreeMap::new(),
            sent: 0,
            received: 0,
            held: 0,
            returned: BTreeMap::new(),
            open: 0,
            consulted: 0,
            pending: Vec::new(),
            looked: BTreeMap::new(),
            waiting: 0,
            asked: 0,
            questions: BTreeSet::new(),
            holds: BTreeMap::new(),
            elevations: BTreeMap::new(),
            alone: BTreeMap::new(),
            emergency: began.review.is_some(),
            undoes: began.undoes.as_ref().map(|Undoing { of, steps }| Undoes {
                of: *of,
                steps: steps.iter().map(|step| step.key).collect(),
                connectors: steps.iter().map(|step| step.tool.connector.clone()).collect(),
            }),
            leases: BTreeMap::new(),
            leased: 0,
            proven: began.proven.clone(),
            children: BTreeSet::new(),
            generations: nodes.map(|node| (node.clone(), generation(&node))).collect(),
        };
        self.see(&began.agent, began.proven.as_ref(), time);
        self.owe_review(began, by.user(), time);
        if let Some(hold) = began.hold {
            self.use_hold(hold, None, time);
        }
        self.deadlines.insert((task.deadline(), began.task));
        self.runs.insert(began.run, began.task);
        self.tasks.insert(began.task, task);
    }

    fn stopped(&mut self, stopped: &Stopped, time: Millis) {
        match &stopped.node {
            Node::Task(id) => self.end(*id, stopped, time),
            Node::Run(run) => {
                if let Some(id) = self.runs.get(run).copied() {
                    self.end(id, stopped, time);
                }
            }
            Node::Child(id) => {
                if self.effects.get(id).is_some_and(|open| matches!(open.what, OpenWhat::Child(_))) {
                    self.effects.remove(id);
                }
            }
            Node::Lease(id) => self.end_lease(*id, stopped.why),
            Node::Grant(id) => {
                if self.lower(*id) {
                    // What its time takes away was begun in time; what a person takes away ends.
                    let under = self.effects.values_mut().filter(|open| open.elevated.contains(id));
                    under.for_each(|open| open.cut |= stopped.why == Why::Killed);
                } else {
                    self.grants.remove(id);
                }
            }
            Node::Hold(id) => self.close(*id, Phase::Over { why: stopped.why, at: stopped.at }, time),
            Node::Tenant => {
                let unknown = Standing { generation: 0, over: None, paused: None };
                self.registry.entry(Node::Tenant).or_insert(unknown).over.get_or_insert(stopped.why);
            }
            node => {
                if let Some(standing) = self.registry.get_mut(node) {
                    standing.over.get_or_insert(stopped.why);
                }
            }
        }
    }

    fn proven(&mut self, id: TaskId, proven: &Proven, time: Millis) {
        if let Some(agent) = self.tasks.get(&id).map(|task| task.agent.clone()) {
            self.see(&agent, Some(proven), time);
        }
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let before = task.deadline();
        // Only what was begun with a proof goes on with one; and a later one takes no time away from an earlier.
        if let Some(last) = task.proven.as_mut() {
            let until = last.until.max(proven.until);
            *last = Proven { until, ..proven.clone() };
        }
        let after = task.deadline();
        self.deadlines.remove(&(before, id));
        self.deadlines.insert((after, id));
    }

    fn end(&mut self, id: TaskId, stopped: &Stopped, time: Millis) {
        self.orphans.remove(&id);
        let Some(task) = self.tasks.remove(&id) else { return };
        self.deadlines.remove(&(task.deadline(), id));
        self.lower_all(&task);
        self.end_holds(&task.questions, stopped.why, time);
        if let Some(review) = self.reviews.get_mut(&id) {
            review.calls = Some(task.calls);
        }
        self.orphans.extend(task.children.iter().filter(|child| self.tasks.contains_key(child)));
        if let Some(parent) = task.parent {
            if let Some(parent) = self.tasks.get_mut(&parent) {
                parent.children.remove(&id);
            }
            // Its calls and questions no longer reach its ancestors when they are settled.
            self.touch(parent, Millis(i64::MIN), |above| {
                above.open = above.open.saturating_sub(task.open);
                above.waiting = above.waiting.saturating_sub(task.waiting);
            });
        }
        self.over.insert(id, Over { why: stopped.why, at: stopped.at, run: task.run });
        self.forget.insert((time.plus(REMEMBERED_MS), id));
    }

    fn admitted(&mut self, admitted: &Admitted, time: Millis) {
        let (connector, what, calls) = match &admitted.what {
            What::Call(call) => {
                for charge in &call.charges {
                    self.charge(charge);
                }
                self.under_lease(call.lease, true);
                let leg = match (call.continues, admitted.task) {
                    (Some(of), Some(task)) => self.continued(task, of),
                    _ => Leg::First,
                };
                let (tool, charges, hold) = (call.tool.clone(), call.charges.clone(), admitted.hold);
                if let Some(hold) = hold {
                    self.use_hold(hold, Some(admitted.effect), time);
                }
                let open = OpenCall { tool, charges, leg, hold, class: call.class };
                (Some(call.tool.connector.clone()), OpenWhat::Call(open), 1)
            }
            What::Poll(poll) => {
                for charge in &poll.charges {
                    self.charge(charge);
                }
                self.under_lease(poll.lease, true);
                let (tool, charges, leg) = (poll.tool.clone(), poll.charges.clone(), Leg::Poll { of: poll.of });
                (
                    Some(poll.tool.connector.clone()),
                    OpenWhat::Call(OpenCall { tool, charges, leg, hold: None, class: poll.class }),
                    1,
                )
            }
            // A child that only waits keeps no task busy.
            What::Child { connector, .. } => (Some(connector.clone()), OpenWhat::Child(None), 0),
            What::Lease(facts) => (Some(facts.connector.clone()), self.leasing(admitted, facts), 0),
            What::Notice { hold, receiver, .. } => {
                (None, OpenWhat::Notice { hold: *hold, receiver: receiver.clone() }, 0)
            }
        };
        // A message about a question is no work of the task.
        if let Some(task) = admitted.task.filter(|_| !matches!(what, OpenWhat::Notice { .. })) {
            self.touch(task, admitted.now, |task| task.open = task.open.saturating_add(calls));
        }
        let node = connector.clone().map(Node::Connector);
        let generation = node.and_then(|node| self.registry.get(&node)).map_or(0, |standing| standing.generation);
        let grants = || admitted.because.iter().map(|because| because.grant);
        let grant = grants().find(|grant| self.grants.contains_key(grant));
        let elevated = grants().filter(|grant| self.elevated.contains_key(grant)).collect();
        let lease = match &admitted.what {
            What::Call(call) => call.lease,
            What::Poll(poll) => poll.lease,
            What::Child { lease, .. } => *lease,
            What::Lease(_) | What::Notice { .. } => None,
        };
        let open = Open {
            task: admitted.task,
            connector,
            generation,
            boot: self.boot,
            grant,
            elevated,
            cut: false,
            lease,
            what,
        };
        self.effects.insert(admitted.effect, open);
    }

    fn settled(&mut self, settled: &Settled, time: Millis) {
        if self.open_lease(settled.effect).is_some() {
            if self.lease_settled(settled.effect, &settled.end) {
                self.effects.remove(&settled.effect);
            }
            return;
        }
        let Some(open) = self.effects.get_mut(&settled.effect) else { return };
        let task = open.task;
        match (&mut open.what, &settled.end) {
            (OpenWhat::Child(process), End::Done { process: Some(started), .. }) => {
                // A child lives on after its start is settled, until it is stopped.
                *process = Some(started.clone());
                return;
            }
            // It may live: it stays owed until it has been looked for and is gone.
            (OpenWhat::Child(_), End::Unknown { .. }) => return,
            _ => {}
        }
        let Some(open) = self.effects.remove(&settled.effect) else { return };
        if matches!(open.what, OpenWhat::Call(_)) {
            self.under_lease(open.lease, false);
        }
        if let (OpenWhat::Call(call), Some(task)) = (open.what, task) {
            for charge in &call.charges {
                match &settled.end {
                    End::NotSent { .. } => self.give_back(charge),
                    End::Done { ok, bytes, returned, .. } => {
                        self.receive(charge, *bytes);
                        if *ok && self.finishes(task, &call.leg) {
                            self.succeed(charge, returned);
                        }
                    }
                    End::Pending { bytes, .. } => self.receive(charge, *bytes),
                    // No call ends so.
                    End::Lease(_) => {}
                    // What was held for its answer stays spent: the answer may have left the connector.
                    End::Unknown { .. } => self.receive(charge, charge.held.unwrap_or_default()),
                }
            }
            if let Some(hold) = call.hold {
                let is_first = matches!(call.leg, Leg::First);
                self.settle_hold(hold, settled.effect, (&settled.end, is_first), time);
            }
            self.next_leg(task, settled, (call, open.elevated), time);
            self.touch(task, time, |task| task.open = task.open.saturating_sub(1));
        }
    }

    fn changed(&mut self, changed: &Changed, time: Millis) {
        match changed {
            Changed::Bundle { digest, nodes } => {
                self.proposals.clear();
                self.directory = Some(*digest);
                self.take_bundle(*digest, nodes);
            }
            Changed::Back { digest, nodes } => {
                self.proposals.clear();
                self.take_bundle(*digest, nodes);
            }
            Changed::Pins { connector, accepted, identity, .. } => {
                self.met.insert(connector.clone(), Met { accepted: identity.clone(), seen: identity.clone() });
                self.pins.retain(|tool, _| tool.connector != *connector);
                for (name, definition) in accepted {
                    let tool = Tool { connector: connector.clone(), name: name.clone() };
                    let (accepted, blob) = (definition.digest, definition.blob);
                    self.pins.insert(tool, Pin { accepted, blob, seen: Some(accepted) });
                }
            }
            Changed::Key(new) => self.new_key(new, time),
        }
    }

    /// Charges a call at its worst
    fn charge(&mut self, charge: &Charge) {
        let Some(task) = self.tasks.get_mut(&charge.task) else { return };
        task.calls = task.calls.saturating_add(u32::from(charge.is_first()));
        task.sent = task.sent.saturating_add(charge.sent);
        task.held = task.held.saturating_add(charge.held.unwrap_or_default());
        for entry in charge.counted() {
            let step = task.steps.entry(entry.clone()).or_default();
            step.used = step.used.saturating_add(1);
        }
        for (_, open) in task.elevations.iter_mut().filter(|(grant, _)| charge.elevated.contains(*grant)) {
            open.left = open.left.saturating_sub(1);
        }
    }

    /// Takes a charge back: nothing of the call left
    fn give_back(&mut self, charge: &Charge) {
        let Some(task) = self.tasks.get_mut(&charge.task) else { return };
        task.calls = task.calls.saturating_sub(u32::from(charge.is_first()));
        task.sent = task.sent.saturating_sub(charge.sent);
        task.held = task.held.saturating_sub(charge.held.unwrap_or_default());
        for entry in charge.counted() {
            let step = task.steps.entry(entry.clone()).or_default();
            step.used = step.used.saturating_sub(1);
        }
        for (_, open) in task.elevations.iter_mut().filter(|(grant, _)| charge.elevated.contains(*grant)) {
            open.left = open.left.saturating_add(1).min(open.times);
        }
    }

    /// What was held for an answer is not held any more, and the answer's own length counts
    fn receive(&mut self, charge: &Charge, bytes: u64) {
        let Some(task) = self.tasks.get_mut(&charge.task) else { return };
        task.held = task.held.saturating_sub(charge.held.unwrap_or_default());
        task.received = task.received.saturating_add(bytes);
    }

    fn succeed(&mut self, charge: &Charge, returned: &BTreeMap<Source, Committed>) {
        let Some(task) = self.tasks.get_mut(&charge.task) else { return };
        for entry in &charge.entries {
            task.steps.entry(entry.clone()).or_default().succeeded = true;
        }
        let mut known: usize = task.returned.values().map(BTreeSet::len).sum();
        let of_step = returned.iter().filter(|(source, _)| charge.entries.contains(&source.step));
        for (source, values) in of_step {
            // A value whose opening was erased vouches for nothing.
            let Some(Value::Array(values)) = values.value() else { continue };
            for value in values {
                if known < RETURNED_MAX {
                    known += usize::from(task.returned.entry(source.clone()).or_default().insert(value.digest()));
                }
            }
        }
    }

    /// Changes a task and its ancestors' idleness with it
    fn touch(&mut self, id: TaskId, time: Millis, change: impl Fn(&mut Task)) {
        let mut next = Some(id);
        while let Some(id) = next {
            let Some(task) = self.tasks.get_mut(&id) else { return };
            let before = task.deadline();
            change(task);
            task.active = task.active.max(time);
            let after = task.deadline();
            if before != after {
                self.deadlines.remove(&(before, id));
                self.deadlines.insert((after, id));
            }
            next = task.parent;
        }
    }
}

impl Task {
    /// A call of it that was answered and is not finished: it can go on
    #[must_use]
    pub fn goes_on(&self, of: EffectId) -> Option<&Pending> {
        self.pending(of).filter(|pending| !pending.over)
    }

    /// A call of it that was answered before it was finished, and can be looked at
    #[must_use]
    pub fn pending(&self, of: EffectId) -> Option<&Pending> {
        self.pending.iter().find(|pending| pending.effect == of)
    }

    /// Whether the record says already that a look showed so much; a look beyond those that are kept is not said
    #[must_use]
    pub fn has_looked(&self, connector: &Name, method: &str, counts: (u32, u32)) -> bool {
        match self.looked.get(&(connector.clone(), method.to_owned())) {
            Some(known) => *known == counts,
            None => self.looked.len() >= LOOKED_MAX,
        }
    }

    /// When its time passes if nothing happens
    #[must_use]
    pub fn deadline(&self) -> Millis {
        let idle = self.idle_ms.filter(|_| self.open == 0 && self.waiting == 0).map(|idle| self.active.plus(idle));
        let proven = self.proven.as_ref().map(|proven| proven.until);
        [idle, proven].into_iter().flatten().fold(self.expires, Millis::min)
    }

    /// Why and since when its time has passed, at `now`
    #[must_use]
    pub fn passed(&self, now: Millis) -> Option<(Why, Millis)> {
        let deadline = self.deadline();
        let unproven = self.proven.as_ref().is_some_and(|proven| proven.until == deadline);
        let why = match deadline {
            at if at == self.expires => Why::Expired,
            _ if unproven => Why::Unproven,
            _ => Why::Idle,
        };
        (deadline <= now).then_some((why, deadline))
    }
}
