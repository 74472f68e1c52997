//! Who or what a record is about: the one place of this room that knows events.

use portreeve_core::{
    event::{Actor, Event, Noted, Record, To, What},
    names::{EffectId, GrantId, HoldId, Invalid, RunId, TaskId},
    node::Node,
};
use std::{fmt, str::FromStr};

/// Something that records are found by
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    // In the order in which they are asked for the task of a record: who caused it comes last.
    /// A task: what happened in it, and the tasks that it delegated
    Task(TaskId),
    /// An effect: its admission and end, and what goes on with it
    Effect(EffectId),
    /// A grant: itself, its end, and what rested on it
    Grant(GrantId),
    /// A question to people: itself, what was answered, and what used it
    Hold(HoldId),
    /// A run: what it caused
    Run(RunId),
}

/// What [`subjects`] finds in a record
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subjects {
    /// Everything that the record is about
    pub about: Vec<Subject>,
    /// The task that it belongs to, if the record itself says; otherwise it is that of what it is about
    pub task: Option<TaskId>,
    /// What belongs to that task from here on, so that later records need not say it
    pub born: Vec<Subject>,
}

/// Who or what `record` is about
///
/// Whoever adds an event extends this function, and raises [`VERSION`].
#[must_use]
pub fn subjects(record: &Record) -> Subjects {
    let mut found = match &record.event {
        Event::Began(began) => Subjects {
            about: began.parent.map(Subject::Task).into_iter().collect(),
            task: Some(began.task),
            born: vec![Subject::Run(began.run)],
        }
        .with(began.hold.map(Subject::Hold))
        .with(began.undoes.as_ref().map(|undoing| Subject::Task(undoing.of))),
        Event::Held(held) => Subjects {
            about: vec![Subject::Hold(held.hold)],
            task: held.task,
            born: held.task.map(|_| Subject::Hold(held.hold)).into_iter().collect(),
        },
        Event::Declined(declined) => Subjects { about: vec![Subject::Hold(declined.hold)], ..Subjects::default() },
        Event::Stopped(stopped) => Subjects { about: node(&stopped.node).into_iter().collect(), ..Subjects::default() },
        Event::Granted(granted) => match &granted.to {
            To::Elevation(elevation) => Subjects {
                task: Some(elevation.task),
                born: vec![Subject::Grant(granted.grant)],
                ..Subjects::default()
            },
            To::Observe { .. } | To::Approval { .. } => {
                Subjects { about: vec![Subject::Grant(granted.grant)], ..Subjects::default() }
            }
        }
        .with(granted.hold.map(Subject::Hold)),
        Event::Refused(refused) => Subjects { task: refused.task, ..Subjects::default() },
        Event::Admitted(admitted) => {
            let because = admitted.because.iter().map(|because| Subject::Grant(because.grant));
            let before = match &admitted.what {
                What::Call(call) => call.continues,
                What::Poll(poll) => Some(poll.of),
                What::Child { lease, .. } => *lease,
                What::Lease(_) | What::Notice { .. } => None,
            };
            let told = match &admitted.what {
                What::Notice { hold, .. } => Some(*hold),
                What::Call(_) | What::Poll(_) | What::Child { .. } | What::Lease(_) => None,
            };
            let reused = admitted.inputs.outside.iter().filter_map(|heard| heard.reused);
            Subjects {
                about: because.chain(before.into_iter().chain(reused).map(Subject::Effect)).collect(),
                task: admitted.task,
                born: vec![Subject::Effect(admitted.effect)],
            }
            .with(admitted.hold.or(told).map(Subject::Hold))
        }
        Event::Settled(settled) => Subjects { about: vec![Subject::Effect(settled.effect)], ..Subjects::default() },
        Event::Noted(Noted::Resisted { lease, .. }) => {
            Subjects { about: vec![Subject::Effect(*lease)], ..Subjects::default() }
        }
        Event::Noted(Noted::Consulted { effect, task, .. }) => {
            Subjects { task: Some(*task), born: vec![Subject::Effect(*effect)], ..Subjects::default() }
        }
        Event::Paused(paused) | Event::Resumed(paused) => {
            Subjects { about: node(&paused.node).into_iter().collect(), ..Subjects::default() }
        }
        Event::Noted(Noted::Looked { task, .. } | Noted::Reviewed { task, .. } | Noted::Proven { task, .. }) => {
            Subjects { task: Some(*task), ..Subjects::default() }
        }
        Event::Booted(_)
        | Event::Changed(_)
        | Event::Noted(
            Noted::Discovered { .. }
            | Noted::Probed { .. }
            | Noted::Copied { .. }
            | Noted::SignedIn { .. }
            | Noted::Proposed { .. }
            | Noted::Passkey { .. }
            | Noted::Shipped { .. }
            | Noted::Issued { .. }
            | Noted::Secret { .. }
            | Noted::Account { .. },
        ) => Subjects::default(),
    };
    found.about.extend(found.born.iter().copied());
    found.about.extend(found.task.map(Subject::Task));
    if let Actor::Run(run) = record.actor {
        found.about.push(Subject::Run(run));
    }
    found.about.sort_unstable();
    found.about.dedup();
    found
}

/// Of [`subjects`], and of how its answers are kept; an index of another version is made anew
pub(super) const VERSION: i32 = 5;

fn node(node: &Node) -> Option<Subject> {
    match node {
        Node::Task(task) => Some(Subject::Task(*task)),
        Node::Run(run) => Some(Subject::Run(*run)),
        Node::Child(effect) | Node::Lease(effect) => Some(Subject::Effect(*effect)),
        Node::Grant(grant) => Some(Subject::Grant(*grant)),
        Node::Hold(hold) => Some(Subject::Hold(*hold)),
        Node::Tenant | Node::Agent(_) | Node::User(_) | Node::Connector(_) | Node::Purpose(_) => None,
    }
}

impl Subjects {
    /// The same, also about this
    fn with(mut self, more: Option<Subject>) -> Self {
        self.about.extend(more);
        self
    }
}

impl Subject {
    /// Its kind and id as SQLite keeps them
    pub(super) fn key(self) -> (i64, i64) {
        match self {
            Self::Task(id) => (1, id.0.cast_signed()),
            Self::Effect(id) => (2, id.0.cast_signed()),
            Self::Grant(id) => (3, id.0.cast_signed()),
            Self::Run(id) => (4, id.0.cast_signed()),
            Self::Hold(id) => (5, id.0.cast_signed()),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(id) => id.fmt(f),
            Self::Effect(id) => id.fmt(f),
            Self::Grant(id) => id.fmt(f),
            Self::Run(id) => id.fmt(f),
            Self::Hold(id) => id.fmt(f),
        }
    }
}

impl FromStr for Subject {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.split_once('_') {
            Some(("run", _)) => text.parse().map(Self::Run),
            Some(("fx", _)) => text.parse().map(Self::Effect),
            Some(("grant", _)) => text.parse().map(Self::Grant),
            Some(("hold", _)) => text.parse().map(Self::Hold),
            _ => text.parse().map(Self::Task),
        }
    }
}
