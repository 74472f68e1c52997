//! How much is asked of one back end at once, and that nothing is taken back twice at the same time.

use portreeve_core::names::{EffectId, Name};
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
/// How long a call waits for its turn
const WAITS: Duration = Duration::from_secs(30);

/// Whose turn it is
#[derive(Debug, Default)]
pub(crate) struct Turns {
    // Each held only for a look-up, never across an await.
    sources: Mutex<HashMap<Name, Lanes>>,
    leases: Mutex<HashMap<EffectId, Arc<tokio::sync::Mutex<()>>>>,
}

/// Who wants something new does not wait for who gives something back, nor the other way round
#[derive(Clone, Debug)]
struct Lanes {
    issuing: Arc<Semaphore>,
    withdrawing: Arc<Semaphore>,
}

impl Turns {
    /// A turn to ask a source for a credential; nothing if it does not come in time
    pub(crate) async fn to_issue(&self, source: &Name) -> Option<OwnedSemaphorePermit> {
        tokio::time::timeout(WAITS, self.lanes(source).issuing.acquire_owned()).await.ok()?.ok()
    }

    /// A turn to have one taken back
    pub(crate) async fn to_withdraw(&self, source: &Name) -> Option<OwnedSemaphorePermit> {
        self.lanes(source).withdrawing.acquire_owned().await.ok()
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
        let lane = || Arc::new(Semaphore::new(AT_ONCE));
        let lanes = || Lanes { issuing: lane(), withdrawing: lane() };
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.entry(source.clone()).or_insert_with(lanes).clone()
    }

    fn leases(&self) -> std::sync::MutexGuard<'_, HashMap<EffectId, Arc<tokio::sync::Mutex<()>>>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
