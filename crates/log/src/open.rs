//! How a log is opened, and why it could not be.

use portreeve_core::log::{Read, Space};
use std::{io, path::PathBuf};

/// How much the log may grow
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Most bytes of the database, the reserve included; `None` leaves it to the disk. The write-ahead
    /// file comes on top (128 MiB at most, unless a reader holds it)
    pub bytes_max: Option<u64>,
    /// What is kept back for stops and settlements: of `bytes_max`, and as real blocks on the disk
    pub reserve_bytes: u64,
}

impl Options {
    /// What an append of this kind may fill, if there is a limit
    pub(crate) fn limit(self, space: Space) -> Option<u64> {
        match space {
            Space::Ordinary => self.bytes_max.map(|max| max.saturating_sub(self.reserve_bytes)),
            Space::Reserve => self.bytes_max,
        }
    }
}

/// Why a log could not be opened; each text says what to do
#[derive(Debug, thiserror::Error)]
pub enum Open {
    /// The folder or a file in it is out of reach
    #[error("cannot {what} {}: check that the path exists and belongs to this account", path.display())]
    Folder {
        /// What was tried
        what: &'static str,
        /// On what
        path: PathBuf,
        /// Why it failed
        #[source]
        source: io::Error,
    },
    /// Other accounts could read or change the log
    #[error("{} can be entered by other accounts (mode {mode:03o}): run `chmod 700 {}`", path.display(), path.display())]
    Exposed {
        /// The data folder
        path: PathBuf,
        /// Its permission bits
        mode: u32,
    },
    /// Locks and fsync mean nothing there
    #[error("{} is on {kind}, where neither locks nor fsync can be relied on: choose a folder on a local disk", path.display())]
    Network {
        /// The data folder
        path: PathBuf,
        /// The kind of file system
        kind: &'static str,
    },
    /// Another process has the folder
    #[error("the data folder is in use by {}: stop it, or choose another folder", holder(*pid))]
    Held {
        /// Its process id, when it could be read
        pid: Option<u32>,
    },
    /// No log has been made in this folder
    #[error("{} holds no log: start Portreeve on this folder first", path.display())]
    Empty {
        /// The data folder
        path: PathBuf,
    },
    /// The database belongs to another program
    #[error("log.db belongs to another program (application id {id:#x}): choose an empty folder")]
    Foreign {
        /// The application id in its header
        id: i32,
    },
    /// A later Portreeve wrote it
    #[error("the log has schema {found}, this program knows {known}: use the newer program")]
    Newer {
        /// Version in the file
        found: i32,
        /// Latest version known here
        known: i32,
    },
    /// The file is no database, or one that cannot be read
    #[error("log.db is damaged: keep it, restore a copy, then run `portreeve verify`")]
    Damaged {
        /// What SQLite says
        #[source]
        source: rusqlite::Error,
    },
    /// A group that must be there is not
    #[error("group {n} is missing from the log: keep the folder, restore a copy, then run `portreeve verify`")]
    Missing {
        /// Its number
        n: u64,
    },
    /// The last group is not what its hash says
    #[error("the log is broken at group {n} ({why}): keep the folder, restore a copy, then run `portreeve verify`")]
    Broken {
        /// Number of the wrong group
        n: u64,
        /// What is wrong with it
        why: String,
    },
    /// The disk or SQLite failed
    #[error("the log could not be opened: check the disk and its free space")]
    Storage {
        /// What SQLite says
        #[source]
        source: rusqlite::Error,
    },
    /// The system gave no thread for checkpointing
    #[error("the checkpointing thread could not be started: check the limits of this account")]
    Thread {
        /// Why not
        #[source]
        source: io::Error,
    },
}

impl From<rusqlite::Error> for Open {
    fn from(source: rusqlite::Error) -> Self {
        if damaged(&source) { Self::Damaged { source } } else { Self::Storage { source } }
    }
}

impl From<Open> for Read {
    fn from(error: Open) -> Self {
        match error {
            Open::Missing { n } => Self::Broken { n, why: "the group is missing".to_owned() },
            Open::Broken { n, why } => Self::Broken { n, why },
            other => Self::Storage(chain(&other)),
        }
    }
}

/// Whether the database itself is wrong, rather than out of reach
pub(crate) fn damaged(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// What a read error of SQLite means to a caller who reads from the group after `after`
pub(crate) fn unreadable(error: &rusqlite::Error, after: u64) -> Read {
    if damaged(error) {
        Read::Broken { n: after.saturating_add(1), why: chain(error) }
    } else {
        Read::Storage(chain(error))
    }
}

/// An error and its sources in one line, for ports whose errors are text
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = inner.source();
    }
    text
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
