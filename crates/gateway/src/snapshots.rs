//! Snapshots of the state, so that a start need not fold the whole log.
//!
//! They are made by a reader of the log that folds by itself, off the path of every call.

use portreeve_core::{event::decode, log::Read, state::State};
use portreeve_log::{Reader, Snapshots};
use std::{path::Path, sync::mpsc, thread::JoinHandle};

/// The form of snapshots; another one is ignored
const VERSION: &str = concat!("state-1-", env!("CARGO_PKG_VERSION"));
/// Groups after which another snapshot is worth its while
pub const EVERY: u64 = 50_000;
/// Groups that are folded at a time
const FOLD_GROUPS: usize = 512;

/// The snapshots of a data folder
#[derive(Debug)]
pub struct Store(Snapshots);

impl Store {
    /// Of this data folder
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self(Snapshots::new(data))
    }

    /// Keeps a state
    pub fn keep(&self, state: &State) {
        let stored = serde_json::to_vec(state).map_err(std::io::Error::other);
        if let Err(error) = stored.and_then(|bytes| self.0.store(state.head(), VERSION, &bytes)) {
            tracing::warn!(%error, "no snapshot could be kept; the next start folds more of the log");
        }
    }
}

impl portreeve_core::engine::Snapshots for Store {
    fn newest(&self) -> Option<State> {
        let (head, bytes) = self.0.newest(VERSION)?;
        let state: State = serde_json::from_slice(&bytes).ok()?;
        (state.head() == head).then_some(state)
    }
}

/// Folds the log beside the door and keeps a snapshot, each time that it is told to
///
/// # Errors
/// The thread could not be started.
pub fn follow(data: &Path, told: mpsc::Receiver<()>) -> std::io::Result<JoinHandle<()>> {
    let data = data.to_owned();
    std::thread::Builder::new().name("snapshots".to_owned()).spawn(move || {
        let store = Store::of(&data);
        while told.recv().is_ok() {
            match fold(&data, &store) {
                Ok(state) => store.keep(&state),
                Err(error) => tracing::warn!(%error, "no snapshot could be made"),
            }
        }
    })
}

fn fold(data: &Path, store: &Store) -> Result<State, Read> {
    use portreeve_core::engine::Snapshots as _;
    let reader = Reader::open(data).map_err(|error| Read::Storage(error.to_string()))?;
    let mut state = store.newest().unwrap_or_default();
    loop {
        let groups = reader.groups(state.head().n, FOLD_GROUPS)?;
        if groups.is_empty() {
            return Ok(state);
        }
        for group in groups {
            let broken = |error: portreeve_core::event::Form| Read::Broken { n: group.n, why: error.to_string() };
            for record in decode(state.head(), &group).map_err(broken)? {
                state.apply(&record);
            }
            state.closed(group.head());
        }
    }
}
