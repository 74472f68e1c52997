//! How much is asked of one back end at once, and that nothing is taken back twice at the same time.

use portreeve_core::names::{EffectId, Name, RunId};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// Credentials that one source is asked for at once, and as many that it is asked to take back
///
/// Many tasks may end in one moment. A back end that is asked for all of theirs at once refuses most of them, and everybody
/// else as well.
const AT_ONCE: usize = 8;
/// Of these, how many one run may ask for, and how many may be attempts after one in vain: neither takes all the turns
const AT_ONCE_ALIKE: usize = 4;
/// How long a call waits for its turn
const WAITS: Duration = Duration::from_secs(30);

/// Whose turn it is
#[derive(Debug, Default)]
pub(crate) struct Turns {
    // Each held only for a look-up, never across an await.
    sources: Mutex<HashMap<Name, Lanes>>,
    runs: Mutex<HashMap<(Name, RunId), Arc<Semaphore>>>,
    leases: Mutex<HashMap<EffectId, Arc<tokio::sync::Mutex<()>>>>,
}

/// Who wants something new does not wait for who gives something back, nor the other way round
#[derive(Clone, Debug)]
struct Lanes {
    issuing: Arc<Semaphore>,
    withdrawing: Arc<Semaphore>,
    again: Arc<Semaphore>,
}

/// A turn; it is over when this is dropped
#[derive(Debug)]
pub(crate) struct Turn {
    _among_all: OwnedSemaphorePermit,
    _among_alike: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// A turn to ask a source for a credential, for a run if it is for one; nothing if it does not come in time
    pub(crate) async fn to_issue(&self, source: &Name, run: Option<RunId>) -> Option<Turn> {
        let alike = run.map(|run| self.lane_of(source, run));
        let turn = take(self.lanes(source).issuing, alike);
        tokio::time::timeout(WAITS, turn).await.ok()?
    }

    /// A turn to have one taken back, for the first time or again
    pub(crate) async fn to_withdraw(&self, source: &Name, again: bool) -> Option<Turn> {
        let lanes = self.lanes(source);
        take(lanes.withdrawing, again.then_some(lanes.again)).await
    }

    fn lane_of(&self, source: &Name, run: RunId) -> Arc<Semaphore> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody but this has those that nobody waits for.
        runs.retain(|_, lane| Arc::strong_count(lane) > 1);
        Arc::clone(runs.entry((source.clone(), run)).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE_ALIKE))))
    }

    /// The turn to take this one back: whoever else does that now is waited for
    pub(crate) async fn with(&self, lease: EffectId) -> OwnedMutexGuard<()> {
        let one = Arc::clone(self.leases().entry(lease).or_default());
        one.lock_owned().await
    }

    /// It was taken back
    pub(crate) fn forget(&self, lease: EffectId) {
        self.leases().remove(&lease);
    }

    fn lanes(&self, source: &Name) -> Lanes {
        let lane = |turns| Arc::new(Semaphore::new(turns));
        let lanes = || Lanes { issuing: lane(AT_ONCE), withdrawing: lane(AT_ONCE), again: lane(AT_ONCE_ALIKE) };
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.entry(source.clone()).or_insert_with(lanes).clone()
    }

    fn leases(&self) -> std::sync::MutexGuard<'_, HashMap<EffectId, Arc<tokio::sync::Mutex<()>>>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn among those alike first, so that whoever waits for that takes none of the others
async fn take(all: Arc<Semaphore>, alike: Option<Arc<Semaphore>>) -> Option<Turn> {
    let among_alike = match alike {
        Some(alike) => Some(alike.acquire_owned().await.ok()?),
        None => None,
    };
    Some(Turn { _among_all: all.acquire_owned().await.ok()?, _among_alike: among_alike })
}
