//! Processes of connectors that wait for a task to take them, so that no call waits until one is up.
//!
//! One that waits has no credential, was told nothing and belongs to no run. The run that takes it is the only one that ever
//! has it: it ends with that run like any other, and another waits instead. They are started only after the program was
//! let through for a run, which is when it is known that it is the accepted one.

use crate::{catalogue::Catalogue, fence::Fence};
use futures_util::future::join_all;
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
    catalogue: Arc<Catalogue>,
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
        if self.child.is_gone() {
            let program = self.launch.command.first();
            tracing::warn!(
                program,
                "a process that waited for a task has ended by itself: take `ahead` out if it always does"
            );
        }
        tokio::spawn(async move { self.child.end().await });
    }
}

impl Ahead {
    /// None waits yet
    #[must_use]
    pub(crate) fn new(clock: SteadyClock, catalogue: Arc<Catalogue>, fence: Arc<Fence>) -> Self {
        Self { clock, catalogue, fence, waiting: Mutex::default(), starting: tokio::sync::Mutex::default() }
    }

    /// A process that would be started just like this, with the credential in its files now
    ///
    /// # Errors
    /// One could not be given it, and is ended.
    pub(crate) fn take(
        &self,
        connector: &Name,
        launch: &Launch,
        identity: &Identity,
    ) -> Result<Option<Arc<Child>>, String> {
        let Some(blank) = blank(launch) else { return Ok(None) };
        loop {
            let Some(waiting) = self.waiting().get_mut(connector).and_then(Vec::pop) else { return Ok(None) };
            if !waiting.fits(&blank, identity) {
                waiting.leave();
                continue;
            }
            let Waiting { child, files, .. } = waiting;
            if let Err(error) = files.fill(&launch.given) {
                tokio::spawn(async move { child.end().await });
                return Err(format!("a process that waited cannot be given its credential: {error}"));
            }
            return Ok(Some(child));
        }
    }

    /// Starts as many as are to wait for the next runs; `launch` has nothing in its files
    pub(crate) async fn fill(&self, connector: &Name, (launch, identity): (&Launch, &Identity), count: u8) {
        let over = self.starting.lock().await;
        // As many as are missing now, and no more: one that does not live is not started again and again.
        for _ in self.fitting(connector, launch, identity)..usize::from(count) {
            if *over {
                return;
            }
            let (child, files) = match Child::start_blank(launch, identity.clone(), self.clock) {
                Ok(started) => started,
                Err(error) => {
                    tracing::warn!(%connector, %error, "no process could be started ahead");
                    return;
                }
            };
            // The program may have been exchanged since it was looked at.
            if launch.identity().await.ok().as_ref() != Some(identity) {
                child.end().await;
                return;
            }
            self.wait(connector, Waiting { launch: launch.clone(), child, files });
        }
        // So may the policy.
        self.keep(self.catalogue.view().bundle.as_deref());
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
        self.fence.add_connector(waiting.child.process());
        let (fence, child) = (Arc::clone(&self.fence), Arc::clone(&waiting.child));
        tokio::spawn(async move {
            child.gone().await;
            fence.remove_connector(child.process());
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
        self.leave(|name, one| !has_place(name, one));
    }

    /// Ends those of a connector that was stopped, or of all: what comes after that is served by what was started after it
    pub(crate) fn stopped(&self, connector: Option<&Name>) {
        self.leave(|name, _| connector.is_none_or(|connector| connector == name));
    }

    fn leave(&self, which: impl Fn(&Name, &Waiting) -> bool) {
        for (name, waiting) in self.waiting().iter_mut() {
            let (other, kept): (Vec<Waiting>, _) =
                std::mem::take(waiting).into_iter().partition(|one| which(name, one));
            *waiting = kept;
            other.into_iter().for_each(Waiting::leave);
        }
    }

    /// Ends all of them, and starts none any more
    pub(crate) async fn end_all(&self) {
        *self.starting.lock().await = true;
        let all: Vec<Waiting> = self.waiting().drain().flat_map(|(_, waiting)| waiting).collect();
        join_all(all.iter().map(|one| one.child.end())).await;
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<Name, Vec<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How it is started before anybody has a credential for it; not where that stands in its environment
pub(crate) fn blank(launch: &Launch) -> Option<Launch> {
    Some(Launch { given: launch.given.blank()?, ..launch.clone() })
}
