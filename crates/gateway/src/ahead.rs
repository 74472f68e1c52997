//! Processes of connectors that wait for a task to take them, so that no call waits until one is up.
//!
//! One that waits has no credential, was told nothing and belongs to no run. The run that takes it is the only one that ever
//! has it: it ends with that run like any other, and another waits instead. They are started only after the program was
//! let through for a run, which is when it is known that it is the accepted one.

use crate::fence::{Fence, Peer};
use portreeve_core::{
    names::Name,
    offer::Identity,
    policy::{Bundle, Reach},
};
use portreeve_upstream::{
    child::{Child, Launch},
    clock::SteadyClock,
    given::Files,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Processes that wait, by connector
#[derive(Debug)]
pub(crate) struct Ahead {
    clock: SteadyClock,
    fence: Arc<Fence>,
    // Held only for a look-up, never across an await.
    waiting: Mutex<HashMap<Name, Vec<Waiting>>>,
    // One at a time starts some; held across awaits on purpose. Says whether that is over.
    starting: tokio::sync::Mutex<bool>,
}

#[derive(Debug)]
struct Waiting {
    /// How it was started, with nothing in its files
    launch: Launch,
    child: Arc<Child>,
    files: Files,
}

impl Waiting {
    fn fits(&self, launch: &Launch, identity: &Identity) -> bool {
        self.launch == *launch && self.child.identity() == *identity && !self.child.is_gone()
    }

    /// Ends it, without waiting for that
    fn leave(self) {
        tokio::spawn(async move { self.child.end().await });
    }
}

impl Ahead {
    /// None waits yet
    #[must_use]
    pub(crate) fn new(clock: SteadyClock, fence: Arc<Fence>) -> Self {
        Self { clock, fence, waiting: Mutex::default(), starting: tokio::sync::Mutex::default() }
    }

    /// A process that would be started just like this, with the credential in its files now
    #[must_use]
    pub(crate) fn take(&self, connector: &Name, launch: &Launch, identity: &Identity) -> Option<Arc<Child>> {
        let blank = blank(launch)?;
        loop {
            let waiting = self.waiting().get_mut(connector)?.pop()?;
            if !waiting.fits(&blank, identity) {
                waiting.leave();
                continue;
            }
            let Waiting { child, files, .. } = waiting;
            match files.fill(&launch.given) {
                Ok(()) => return Some(child),
                Err(error) => {
                    tracing::warn!(%connector, %error, "a process that waited cannot be given its credential");
                    tokio::spawn(async move { child.end().await });
                }
            }
        }
    }

    /// Starts as many as are to wait for the next runs
    pub(crate) async fn fill(&self, connector: &Name, (launch, identity): (&Launch, &Identity), count: u8) {
        let Some(launch) = blank(launch) else { return };
        let over = self.starting.lock().await;
        while !*over && self.fitting(connector, &launch, identity) < usize::from(count) {
            match Child::start_blank(&launch, identity.clone(), self.clock) {
                Ok((child, files)) => self.wait(connector, Waiting { launch: launch.clone(), child, files }),
                Err(error) => {
                    tracing::warn!(%connector, %error, "no process could be started ahead");
                    return;
                }
            }
        }
    }

    /// How many wait that fit; those that do not are ended
    fn fitting(&self, connector: &Name, launch: &Launch, identity: &Identity) -> usize {
        let mut all = self.waiting();
        let waiting = all.entry(connector.clone()).or_default();
        let (fit, other) = std::mem::take(waiting).into_iter().partition(|one: &Waiting| one.fits(launch, identity));
        *waiting = fit;
        other.into_iter().for_each(Waiting::leave);
        waiting.len()
    }

    fn wait(&self, connector: &Name, waiting: Waiting) {
        // A call from below it is none of the owner's, from its first moment on.
        let process = Peer::recorded(waiting.child.process());
        process.into_iter().for_each(|process| self.fence.add_connector(process));
        let (fence, child) = (Arc::clone(&self.fence), Arc::clone(&waiting.child));
        tokio::spawn(async move {
            child.gone().await;
            process.into_iter().for_each(|process| fence.remove_connector(process));
        });
        self.waiting().entry(connector.clone()).or_default().push(waiting);
    }

    /// Ends those that a policy has no place for
    pub(crate) fn keep(&self, bundle: Option<&Bundle>) {
        let has_place = |name: &Name, one: &Waiting| {
            let connector = bundle.and_then(|bundle| bundle.connectors.get(name));
            let same = |reach: &Reach| match reach {
                Reach::Stdio { command, env } => *command == one.launch.command && *env == one.launch.env,
                Reach::Http { .. } => false,
            };
            connector.is_some_and(|connector| connector.ahead > 0 && same(&connector.reach))
        };
        for (name, waiting) in self.waiting().iter_mut() {
            let (kept, other) = std::mem::take(waiting).into_iter().partition(|one| has_place(name, one));
            *waiting = kept;
            Vec::into_iter(other).for_each(Waiting::leave);
        }
    }

    /// Ends all of them, and starts none any more
    pub(crate) async fn end_all(&self) {
        *self.starting.lock().await = true;
        let all: Vec<Waiting> = self.waiting().drain().flat_map(|(_, waiting)| waiting).collect();
        for one in all {
            one.child.end().await;
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<Name, Vec<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How it is started before anybody has a credential for it; not where that stands in its environment
fn blank(launch: &Launch) -> Option<Launch> {
    Some(Launch { given: launch.given.blank()?, ..launch.clone() })
}
