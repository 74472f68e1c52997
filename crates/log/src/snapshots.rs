//! A cache of what a fold of the log came to.
//!
//! Nothing has to believe it: whoever uses one checks that its head is on the chain, and verification
//! never looks here. Whoever can write this folder could write the log as well.

use crate::folder::{create_private, sync};
use portreeve_core::{hash::Hash, log::Head};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The folder `snapshots` in a data folder
#[derive(Clone, Debug)]
pub struct Snapshots {
    path: PathBuf,
}

impl Snapshots {
    /// Names the folder; it is made by the first [`Snapshots::store`]
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join("snapshots") }
    }

    /// The newest snapshot that was taken by this `version` of the fold
    ///
    /// Files that are not what they claim are removed; those of another version are left alone. The caller
    /// must check that the head is on the chain.
    #[must_use]
    pub fn newest(&self, version: &str) -> Option<(Head, Vec<u8>)> {
        for (n, path) in self.files() {
            match load(&path) {
                Some((label, bytes)) if Some(label.head.n) == n => {
                    if label.version == version {
                        return Some((label.head.into(), bytes));
                    }
                }
                _ => {
                    let _gone = fs::remove_file(&path);
                }
            }
        }
        None
    }

    /// Keeps a snapshot, and the one before it
    ///
    /// # Errors
    /// The file could not be written: there is one snapshot less, and nothing else is lost.
    pub fn store(&self, head: Head, version: &str, bytes: &[u8]) -> io::Result<()> {
        create_private(&self.path)?;
        let temporary = self.path.join("new.part");
        let stored = write(&temporary, &Label::new(head, version, bytes), bytes)
            .and_then(|()| fs::rename(&temporary, self.path.join(name(head.n))))
            .and_then(|()| sync(&self.path));
        if stored.is_err() {
            let _gone = fs::remove_file(&temporary);
        }
        // What claims to be newer than the newest cannot be of this log.
        let (known, strange): (Vec<_>, Vec<_>) =
            self.files().into_iter().partition(|(n, _)| n.is_some_and(|n| n <= head.n));
        for (_, path) in strange.iter().chain(known.iter().skip(KEPT)) {
            let _gone = fs::remove_file(path);
        }
        stored
    }

    /// All files, the newest first, with the number that their name claims
    fn files(&self) -> Vec<(Option<u64>, PathBuf)> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let mut files: Vec<_> =
            entries.map(|entry| (number(&entry.file_name().to_string_lossy()), entry.path())).collect();
        files.sort();
        files.reverse();
        files
    }
}

/// The first line of a file
#[derive(Serialize, Deserialize)]
struct Label {
    version: String,
    head: Place,
    sum: Hash,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Place {
    n: u64,
    hash: Hash,
}

impl Label {
    fn new(head: Head, version: &str, bytes: &[u8]) -> Self {
        let sum = Hash::of_parts(&[version.as_bytes(), &head.n.to_be_bytes(), &head.hash.0, bytes]);
        Self { version: version.to_owned(), head: Place { n: head.n, hash: head.hash }, sum }
    }
}

impl From<Place> for Head {
    fn from(place: Place) -> Self {
        Self { n: place.n, hash: place.hash }
    }
}

fn write(path: &Path, label: &Label, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    serde_json::to_writer(&file, label)?;
    file.write_all(b"\n")?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn load(path: &Path) -> Option<(Label, Vec<u8>)> {
    let mut file = fs::read(path).ok()?;
    let end = file.iter().position(|byte| *byte == b'\n')?;
    let bytes = file.split_off(end.checked_add(1)?);
    let label: Label = serde_json::from_slice(&file).ok()?;
    let right = Label::new(label.head.into(), &label.version, &bytes).sum == label.sum;
    right.then_some((label, bytes))
}

fn name(n: u64) -> String {
    format!("{n:020}{SUFFIX}")
}

fn number(name: &str) -> Option<u64> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

const SUFFIX: &str = ".snapshot";
/// The newest, and one to fall back on
const KEPT: usize = 2;

#[cfg(test)]
mod tests;
