//! A preallocated journal with group commit.
//!
//! Tasks add records to a queue; one thread takes the whole queue, writes it with one `pwrite` and
//! one `fdatasync`, and releases all who wait at once. While it syncs, the next group gathers: the
//! group grows with the load by itself, no timer decides. Records that nobody waits for ride along,
//! or go alone after `LAZY_WAIT`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::mem;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::setpriority_process;
use tokio::sync::{mpsc, oneshot};

use crate::print;

/// A journal that tasks append to
pub(crate) struct Journal {
    shared: Arc<Shared>,
}

/// The record did not become durable
#[derive(Debug)]
pub(crate) struct Failed;

impl Journal {
    /// Writes the whole file once, so that no later sync has to record new extents, and starts the
    /// journal's thread; must run inside a Tokio runtime
    pub(crate) fn open(dir: &Path, size_mib: u64, nice: i32) -> anyhow::Result<Self> {
        let path = dir.join("yardstick.journal");
        let size = size_mib.max(1) * MIB;
        let file = preallocated(&path, size).with_context(|| format!("prepare {}", path.display()))?;
        let shared = Arc::new(Shared::default());
        let (released, mut release) = mpsc::channel::<Vec<Waiter>>(1);
        let writer = Writer { file, size, offset: 0, shared: Arc::clone(&shared), released };
        std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run(nice))
            .context("start the journal's thread")?;
        // One message per group wakes the serving thread once; it then releases the waiters
        // without a system call each.
        tokio::spawn(async move {
            while let Some(waiters) = release.recv().await {
                for waiter in waiters {
                    // A client that went away waits no longer.
                    let _ = waiter.send(());
                }
            }
        });
        Ok(Self { shared })
    }

    /// Returns once the record is on disk
    pub(crate) async fn append_durably(&self, record: &[u8]) -> Result<(), Failed> {
        let (waiter, durable) = oneshot::channel();
        let wake = {
            let mut queue = self.shared.lock();
            if queue.failed {
                return Err(Failed);
            }
            queue.bytes.extend_from_slice(record);
            queue.waiters.push(waiter);
            mem::take(&mut queue.writer_sleeps)
        };
        if wake {
            self.shared.wake.notify_one();
        }
        // The writer drops the waiters of a group that failed.
        durable.await.map_err(|_dropped| Failed)
    }

    /// Leaves the record for the next group
    pub(crate) fn append_lazily(&self, record: &[u8]) {
        self.shared.lock().bytes.extend_from_slice(record);
    }
}

type Waiter = oneshot::Sender<()>;

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    waiters: Vec<Waiter>,
    /// Set by the writer before it sleeps, so that a wake-up costs a system call only then
    writer_sleeps: bool,
    /// Once true, no record is taken any more
    failed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a group; `bytes` comes in empty and leaves full
    fn next_group(&self, bytes: &mut Vec<u8>) -> Vec<Waiter> {
        let mut queue = self.lock();
        while queue.waiters.is_empty() {
            queue.writer_sleeps = true;
            let (woken, timeout) = self.wake.wait_timeout(queue, LAZY_WAIT).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.writer_sleeps = false;
            if timeout.timed_out() && !queue.bytes.is_empty() {
                break;
            }
        }
        mem::swap(&mut queue.bytes, bytes);
        mem::take(&mut queue.waiters)
    }
}

struct Writer {
    file: File,
    size: u64,
    offset: u64,
    shared: Arc<Shared>,
    released: mpsc::Sender<Vec<Waiter>>,
}

impl Writer {
    fn run(mut self, nice: i32) {
        if nice != 0
            && let Err(error) = setpriority_process(Some(rustix::thread::gettid()), nice)
        {
            print::note(&format!("the journal's thread keeps its priority: {error}"));
        }
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let waiters = self.shared.next_group(&mut bytes);
            if let Err(error) = self.write(&bytes) {
                print::note(&format!("the journal failed: {error}"));
                let mut queue = self.shared.lock();
                queue.failed = true;
                queue.waiters.clear();
                return;
            }
            if !waiters.is_empty() && self.released.blocking_send(waiters).is_err() {
                return;
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        // The circle stands for the next segment that a real log prepares ahead.
        if self.offset.saturating_add(length) > self.size {
            self.offset = 0;
        }
        self.file.write_all_at(bytes, self.offset)?;
        self.file.sync_data()?;
        self.offset = self.offset.saturating_add(length);
        Ok(())
    }
}

fn preallocated(path: &Path, size: u64) -> std::io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let zeros = vec![0_u8; 1024 * 1024];
    for _ in 0..size / MIB {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    Ok(file)
}

const MIB: u64 = 1024 * 1024;

/// The longest that a record which nobody waits for stays in memory
const LAZY_WAIT: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::Journal;

    #[tokio::test]
    async fn keeps_the_order_and_writes_lazy_records_too() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), 1, 0).unwrap();
        journal.append_durably(b"one\n").await.unwrap();
        journal.append_lazily(b"two\n");
        journal.append_durably(b"three\n").await.unwrap();
        let path = dir.path().join("yardstick.journal");
        let text = std::fs::read(&path).unwrap();
        assert!(text.starts_with(b"one\ntwo\nthree\n\0"));
        journal.append_lazily(b"four\n");
        for _ in 0..100 {
            if std::fs::read(&path).unwrap().starts_with(b"one\ntwo\nthree\nfour\n") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the lazy record was not written");
    }

    #[tokio::test]
    async fn many_appends_at_once_all_become_durable() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Arc::new(Journal::open(dir.path(), 1, 0).unwrap());
        // More than the file holds: it goes round.
        for _ in 0..50 {
            let mut appends = JoinSet::new();
            for _ in 0..64 {
                let journal = Arc::clone(&journal);
                appends.spawn(async move { journal.append_durably(&[b'x'; 512]).await });
            }
            for appended in appends.join_all().await {
                appended.unwrap();
            }
        }
    }
}
