//! Moves the write-ahead file into the database, off the path of a commit.

use crate::{
    Open,
    schema::{self, Checkpoint},
};
use rusqlite::Connection;
use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{Builder, JoinHandle},
    time::Duration,
};

/// When the write-ahead file is moved
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    /// Bytes written after which the thread copies what it can, waiting for nobody
    pub(crate) passive_bytes: u64,
    /// Bytes of the file from which the writer, between two appends, makes it start again
    pub(crate) restart_bytes: u64,
}

impl Tuning {
    pub(crate) const USUAL: Self = Self { passive_bytes: 32 << 20, restart_bytes: 128 << 20 };
}

/// A thread with a connection of its own
///
/// Its connection stays open while a doubtful writer is dropped. SQLite's index of the write-ahead file,
/// which counts only what an fsync has covered, lives as long as some connection does: so the next writer
/// learns what is durable, not what the page cache holds.
pub(crate) struct Checkpointer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    tuning: Tuning,
}

struct Shared {
    state: Mutex<State>,
    poked: Condvar,
    #[cfg(test)]
    rested: Condvar,
    passive_bytes: u64,
}

#[derive(Default)]
struct State {
    /// Bytes written since the last round began, by estimate
    pending: u64,
    /// Bytes in the file when it was last measured; it may have started again since
    file: u64,
    /// Bytes that the file grows past its bound before the writer tries again: a reader was in the way
    patience: u64,
    running: bool,
    paused: bool,
    stop: bool,
    #[cfg(test)]
    rounds: u64,
}

impl Checkpointer {
    pub(crate) fn start(db: Connection, tuning: Tuning) -> Result<Self, Open> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            poked: Condvar::new(),
            #[cfg(test)]
            rested: Condvar::new(),
            passive_bytes: tuning.passive_bytes,
        });
        let of_thread = Arc::clone(&shared);
        let thread = Builder::new()
            .name("log-checkpoint".to_owned())
            .spawn(move || run(&of_thread, &db))
            .map_err(|source| Open::Thread { source })?;
        Ok(Self { shared, thread: Some(thread), tuning })
    }

    /// The writer has committed about this many bytes
    pub(crate) fn grown(&self, bytes: u64) {
        let mut state = self.shared.lock();
        state.pending = state.pending.saturating_add(bytes);
        if state.due(self.shared.passive_bytes) {
            self.shared.poked.notify_one();
        }
    }

    /// Stops copying, or goes on with it
    pub(crate) fn pause(&self, paused: bool) {
        self.shared.lock().paused = paused;
    }

    /// Ends the thread and its connection
    pub(crate) fn stop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.poked.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }

    /// Makes the file start again if it has outgrown its bound: the thread alone cannot while appends
    /// never pause
    pub(crate) fn relieve(&self, writer: &Connection) {
        let mut state = self.shared.lock();
        let bound = self.tuning.restart_bytes.saturating_add(state.patience);
        if state.running || state.paused || state.file.saturating_add(state.pending) < bound {
            return;
        }
        // The lock is held throughout, so the thread cannot begin a round in between; a reader in the
        // way is not waited for.
        let _set = writer.busy_timeout(Duration::ZERO);
        let done = schema::checkpoint(writer, Checkpoint::Restart);
        let _set = writer.busy_timeout(schema::BUSY);
        match done {
            Ok((false, frames, copied)) if frames == copied => {
                state.file = 0;
                state.pending = 0;
                state.patience = 0;
            }
            _ => state.patience = state.patience.saturating_add(self.tuning.restart_bytes),
        }
    }

    /// Waits until nothing is due, and says how many rounds there have been
    #[cfg(test)]
    pub(crate) fn rest(&self) -> u64 {
        let due = |state: &mut State| state.running || state.due(self.shared.passive_bytes);
        self.shared.rested.wait_while(self.shared.lock(), due).unwrap().rounds
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Checkpointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpointer").field("tuning", &self.tuning).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn due(&self, passive_bytes: u64) -> bool {
        !self.paused && self.pending >= passive_bytes
    }
}

fn run(shared: &Shared, db: &Connection) {
    let mut state = shared.lock();
    loop {
        let idle = |state: &mut State| !state.stop && !state.due(shared.passive_bytes);
        state = shared.poked.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        if state.stop {
            return;
        }
        state.pending = 0;
        state.running = true;
        drop(state);
        let done = schema::checkpoint(db, Checkpoint::Passive);
        state = shared.lock();
        state.running = false;
        // A failure leaves the frames where they are: the next round copies them again, in full.
        if let Ok((_, frames, _)) = done {
            state.file = frames.saturating_mul(schema::FRAME);
        }
        #[cfg(test)]
        {
            state.rounds += 1;
            shared.rested.notify_all();
        }
    }
}
