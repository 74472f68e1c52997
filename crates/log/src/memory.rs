//! The log without a disk: the same port and the same answers, the same each time.

use crate::{Options, header};
use portreeve_core::{
    hash::Hash,
    log::{Append, Group, Head, Log, Read, Space},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What happens to a coming append
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No room, whatever the append may use
    Full,
    /// Answered `Unknown`, and recorded
    UnknownLanded,
    /// Answered `Unknown`, and not recorded
    UnknownLost,
    /// Answered `Conflict`, and not recorded
    Conflict,
}

/// What outlives a [`Memory`]: the durable groups, and the faults to come
///
/// A clone is another handle on the same storage, like a second descriptor; [`Storage::copy`] is another
/// disk. So a crash is: drop the `Memory`, make a new one over the storage.
#[derive(Clone, Debug)]
pub struct Storage {
    options: Options,
    disk: Arc<Mutex<Disk>>,
}

#[derive(Clone, Debug, Default)]
struct Disk {
    groups: Vec<Group>,
    blobs: BTreeMap<Hash, Vec<u8>>,
    used: u64,
    faults: VecDeque<Fault>,
}

impl Storage {
    /// An empty disk
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, disk: Arc::default() }
    }

    /// Another disk with the same content, as a backup has
    #[must_use]
    pub fn copy(&self) -> Self {
        let disk = self.disk().clone();
        Self { options: self.options, disk: Arc::new(Mutex::new(disk)) }
    }

    /// Lets one append fail; several faults meet as many appends, in this order
    pub fn inject(&self, fault: Fault) {
        self.disk().faults.push_back(fault);
    }

    /// Everything that is durable, without blobs
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        self.disk().groups.clone()
    }

    /// Takes everything after group `n` away, as an older copy of the folder would
    pub fn rewind(&self, n: u64) {
        self.disk().groups.retain(|group| group.n <= n);
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    fn head(&self) -> Head {
        self.groups.last().map(Group::head).unwrap_or_default()
    }

    fn record(&mut self, group: &Group, limit: Option<u64>) -> Result<(), Append> {
        let used = self.used.saturating_add(size(group));
        if limit.is_some_and(|limit| used > limit) {
            return Err(Append::Full);
        }
        self.used = used;
        for (digest, body) in &group.blobs {
            self.blobs.entry(*digest).or_insert_with(|| body.clone());
        }
        self.groups.push(Group { blobs: Vec::new(), ..group.clone() });
        Ok(())
    }
}

/// The deterministic twin of [`Sqlite`](crate::Sqlite)
#[derive(Debug)]
pub struct Memory {
    storage: Storage,
    head: Head,
    in_doubt: bool,
}

impl Memory {
    /// An empty log of its own
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self::over(Storage::new(options))
    }

    /// The log in `storage`, as a process finds it at its start
    #[must_use]
    pub fn over(storage: Storage) -> Self {
        let head = storage.disk().head();
        Self { storage, head, in_doubt: false }
    }

    /// A handle on what outlives this log
    #[must_use]
    pub fn storage(&self) -> Storage {
        self.storage.clone()
    }

    fn doubt(&mut self, why: &str) -> Append {
        self.in_doubt = true;
        Append::Unknown(why.to_owned())
    }
}

impl Log for Memory {
    fn head(&self) -> Head {
        self.head
    }

    fn append(&mut self, expected: Head, group: &Group, space: Space) -> Result<Head, Append> {
        if self.in_doubt {
            return Err(Append::Unknown("an earlier append is in doubt; recover first".to_owned()));
        }
        if expected != self.head || header::follows(group, self.head).is_err() {
            return Err(Append::Conflict(self.head));
        }
        let limit = self.storage.options.limit(space);
        let storage = self.storage.clone();
        let mut disk = storage.disk();
        if disk.head() != self.head {
            return Err(self.doubt("the storage has another end"));
        }
        match disk.faults.pop_front() {
            Some(Fault::Full) => return Err(Append::Full),
            Some(Fault::Conflict) => return Err(Append::Conflict(self.head)),
            Some(Fault::UnknownLost) => return Err(self.doubt("injected, and lost")),
            Some(Fault::UnknownLanded) => {
                disk.record(group, limit)?;
                return Err(self.doubt("injected, and landed"));
            }
            None => disk.record(group, limit)?,
        }
        self.head = group.head();
        Ok(self.head)
    }

    fn recover(&mut self) -> Result<Head, Read> {
        self.head = self.storage.disk().head();
        self.in_doubt = false;
        Ok(self.head)
    }

    fn read(&self, after: u64, count: usize) -> Result<Vec<Group>, Read> {
        if self.in_doubt {
            return Err(Read::Storage("an earlier append is in doubt; recover first".to_owned()));
        }
        Ok(self.storage.disk().groups.iter().filter(|group| group.n > after).take(count).cloned().collect())
    }

    fn blob(&self, digest: Hash) -> Result<Option<Vec<u8>>, Read> {
        if self.in_doubt {
            return Err(Read::Storage("an earlier append is in doubt; recover first".to_owned()));
        }
        Ok(self.storage.disk().blobs.get(&digest).cloned())
    }
}

fn size(group: &Group) -> u64 {
    let blobs: usize = group.blobs.iter().map(|(_, body)| body.len()).sum();
    (group.body.len() as u64).saturating_add(group.openings.len() as u64).saturating_add(blobs as u64)
}

#[cfg(test)]
mod tests;
