//! The keys to the demo's shop: which are good, and what each is good for
//!
//! A stand-in for the roles of a database, so that the demo needs none. The keeper (`keeper`) issues keys and takes them
//! back; the shop holds every operation against the ledger, at the moment of the operation. So a key is of no use from the
//! instant at which it is taken out, also to a process that was started with it.

mod keeper;

use portreeve_core::{hash::Hash, policy::Class};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub(super) use self::keeper::answer;

/// Every key that is good: a folder with a file for each, by its name
#[derive(Debug, Clone)]
pub(super) struct Ledger(PathBuf);

/// What the ledger knows of a key; not the key itself
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    class: Class,
    /// The order that it is for, or [`EVERY`]
    order: String,
    /// Whose it is
    task: String,
    /// Until when it is good, in milliseconds since 1970
    until: i64,
    /// The digest of the key
    digest: Hash,
}

/// What somebody does in the shop
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Look,
    /// Money moves
    Change,
    /// The whole customer list leaves
    Export,
}

/// How a key stands at one moment
#[derive(Debug)]
pub(super) struct Pass(Option<Entry>);

impl Ledger {
    /// The ledger in this folder, which is made with the first key
    pub(super) fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The classes of a task's keys that are good, sorted
    pub(super) fn of_task(&self, task: &str) -> io::Result<Vec<Class>> {
        let entries = self.names("")?.into_iter().filter_map(|name| self.entry(&name));
        let mut classes: Vec<Class> = entries.filter(|entry| entry.task == task).map(|entry| entry.class).collect();
        classes.sort();
        Ok(classes)
    }

    /// How this key stands now
    pub(super) fn pass(&self, key: Option<&str>) -> Result<Pass, String> {
        let key = key.ok_or("The shop wants a key.")?;
        let entry = key.split_once('.').and_then(|(name, _)| self.entry(name));
        let good = |entry: &Entry| entry.digest == Hash::of(key.as_bytes()) && now() < entry.until;
        entry.filter(good).map(|entry| Pass(Some(entry))).ok_or_else(|| "The shop knows no such key.".to_owned())
    }

    fn file(&self, name: &str) -> io::Result<PathBuf> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let good = !name.is_empty() && name.bytes().all(plain);
        good.then(|| self.0.join(name)).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    fn entry(&self, name: &str) -> Option<Entry> {
        serde_json::from_slice(&fs::read(self.file(name).ok()?).ok()?).ok()
    }

    fn put(&self, name: &str, entry: &Entry) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        fs::write(self.file(name)?, serde_json::to_vec(entry)?)
    }

    /// Takes a key out; one that is not there is out already
    fn take_out(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.file(name)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn names(&self, prefix: &str) -> io::Result<Vec<String>> {
        let files = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            files => files?,
        };
        let names = files.map(|file| file.map(|file| file.file_name().to_string_lossy().into_owned()));
        let of_prefix = |name: &io::Result<String>| name.as_ref().map_or(true, |name| name.starts_with(prefix));
        names.filter(of_prefix).collect()
    }
}

impl Pass {
    /// For a shop that wants no keys
    pub(super) fn everything() -> Self {
        Self(None)
    }

    /// Whether this may be done to this order; without one, to all of them
    pub(super) fn may(&self, deed: Deed, order: Option<&str>) -> Result<(), String> {
        self.is_for(deed)?;
        let of = self.0.as_ref().map_or(EVERY, |entry| &entry.order);
        if of == EVERY || order == Some(of) { Ok(()) } else { Err(format!("This key is for {of} only.")) }
    }

    /// Whether this may be done to some order
    pub(super) fn is_for(&self, deed: Deed) -> Result<(), String> {
        let Some(Entry { class, .. }) = &self.0 else { return Ok(()) };
        let can = match class {
            Class::Read => deed == Deed::Look,
            Class::Write => matches!(deed, Deed::Look | Deed::Change),
            Class::Escalate => matches!(deed, Deed::Look | Deed::Export),
            Class::Execute => false,
        };
        if can { Ok(()) } else { Err(format!("A key for `{class}` cannot do this.")) }
    }
}

/// Milliseconds since 1970
fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What the demo's policy calls the ledger
pub(super) const LEDGER: &str = "shop-keys";
/// In the place of an order: all of them
const EVERY: &str = "all";

#[cfg(test)]
mod tests;
