//! The port `Log`: one ordered, durable, tamper-evident sequence of groups.
//!
//! A group is one atomic record of many events. Its body names the hash of the group before it, so the
//! hash of the last group commits to all of them. Openings (salt and value of what the body only commits
//! to) and blobs (bundles, tool definitions) travel beside the body and are not hashed: erasing them
//! leaves the chain whole.

use crate::hash::Hash;
use std::fmt::Debug;

/// The end of a log: number and hash of its last group; number 0 and the zero hash when it is empty
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of the last group, counted from 1
    pub n: u64,
    /// [`Group::hash`] of that group
    pub hash: Hash,
}

/// One atomic record of many events
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its number, one more than the group before it
    pub n: u64,
    /// JSON lines, a header and then one line per event; the header names `n` and the previous hash
    pub body: Vec<u8>,
    /// JSON lines: what the body's commitments stand for; empty when there are none
    pub openings: Vec<u8>,
    /// Content that the body names by digest; storing the same digest twice is one blob
    pub blobs: Vec<(Hash, Vec<u8>)>,
}

impl Group {
    /// The hash that the next group names: SHA-256 over the body
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(&self.body)
    }

    /// The head of a log that ends with this group
    #[must_use]
    pub fn head(&self) -> Head {
        Head { n: self.n, hash: self.hash() }
    }
}

/// Whether an append may use the space that is kept back for stops and settlements
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Anything: refused as [`Append::Full`] while only the reserve is left
    Ordinary,
    /// Stops and settlements: may use the reserve
    Reserve,
}

/// Why a group was not, or perhaps not, appended
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Append {
    /// The log does not end where the caller believed; nothing was written
    #[error("the log ends at group {}, not where the writer believed", .0.n)]
    Conflict(Head),
    /// No space is left for a group of this kind; nothing was written
    #[error("no space is left for the record")]
    Full,
    /// The group may or may not be durable. The caller forgets its memory and folds again; nothing of
    /// the group may leave before that
    #[error("it is not known whether the group was recorded: {0}")]
    Unknown(String),
}

/// Why the log could not be read
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Read {
    /// The storage failed
    #[error("the log could not be read: {0}")]
    Storage(String),
    /// A group is missing, out of order or does not name its predecessor
    #[error("the log is broken at group {n}: {why}")]
    Broken {
        /// Number of the first group that is wrong
        n: u64,
        /// What is wrong with it
        why: String,
    },
}

/// An ordered, durable sequence of groups with one writer
pub trait Log: Debug {
    /// Where the log ends, as this writer knows it
    fn head(&self) -> Head;

    /// Appends `group` if the log ends at `expected`, and returns only once it is durable
    ///
    /// # Errors
    /// [`Append`]: only [`Append::Unknown`] leaves the end of the log in doubt; then [`Log::recover`] must
    /// succeed before the next append.
    fn append(&mut self, expected: Head, group: &Group, space: Space) -> Result<Head, Append>;

    /// Finds out where the log really ends, after [`Append::Unknown`]; never repeats a write
    ///
    /// # Errors
    /// [`Read`] while the storage does not answer.
    fn recover(&mut self) -> Result<Head, Read>;

    /// Up to `count` groups that follow group `after`, in order; fewer only at the end
    ///
    /// # Errors
    /// [`Read::Storage`]; the chain itself is checked by whoever folds.
    fn read(&self, after: u64, count: usize) -> Result<Vec<Group>, Read>;

    /// A blob that some group carried
    ///
    /// # Errors
    /// [`Read::Storage`]
    fn blob(&self, digest: Hash) -> Result<Option<Vec<u8>>, Read>;
}
