//! The index's own file: made, recognised, and made anew in place when it is not what it should be.
//!
//! It is a cache, so whatever is wrong with it is no error: a damaged one is emptied in place (never removed, since
//! another process may have it open), and where there can be none, a private one serves until it is closed.

use super::subjects::VERSION;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags, config::DbConfig};
use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// A database for the index
pub(super) struct File {
    path: PathBuf,
    db: Connection,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Shared,
    /// Shared, and was emptied since it was opened
    Renewed,
    /// Known to this value alone, and gone with it
    Private,
}

impl File {
    /// The index at `path`, or a private one
    pub(super) fn open(path: PathBuf) -> rusqlite::Result<Self> {
        match shared(&path) {
            Ok(db) => Ok(Self { path, db, state: State::Shared }),
            Err(error) => {
                let mut file = Self { path, db: private()?, state: State::Private };
                file.replace(&error);
                Ok(file)
            }
        }
    }

    pub(super) fn db(&self) -> &Connection {
        &self.db
    }

    /// Goes on after `error` with an empty index; fails if there is nothing left to try
    pub(super) fn renew(&mut self, error: Error) -> rusqlite::Result<()> {
        let before = self.state;
        if before == State::Private {
            return Err(error);
        }
        // Closes the file: one's own connection can be in the way of emptying it.
        (self.db, self.state) = (private()?, State::Private);
        if before == State::Shared {
            self.replace(&error);
        }
        Ok(())
    }

    /// Empties the file, if that can help, and takes it instead of the private one
    fn replace(&mut self, error: &Error) {
        if is_spoilt(error)
            && let Ok(db) = emptied(&self.path)
        {
            (self.db, self.state) = (db, State::Renewed);
        }
    }
}

fn private() -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags("", FLAGS)?;
    prepare(&db)?;
    Ok(db)
}

fn shared(path: &Path) -> rusqlite::Result<Connection> {
    // For this account alone from its first byte on. Only a new file is opened here: closing the descriptor of
    // one that is in use would drop SQLite's locks on it.
    drop(OpenOptions::new().write(true).create_new(true).mode(0o600).open(path));
    let db = Connection::open_with_flags(path, FLAGS)?;
    db.busy_timeout(BUSY)?;
    prepare(&db)?;
    Ok(db)
}

/// Empties the file whatever is in it, as a transaction; fails if somebody else's connection is in the way
fn emptied(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, FLAGS)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, true)?;
    let emptied = db.execute_batch("VACUUM");
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, false)?;
    emptied?;
    db.busy_timeout(BUSY)?;
    prepare(&db)?;
    Ok(db)
}

/// Makes the tables if there are none of this version
fn prepare(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
    if !is_current(db)? {
        // With NORMAL a crash of the machine takes back the last additions as wholes and damages nothing.
        let _wal: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        db.execute_batch("BEGIN IMMEDIATE")?;
        let made = if is_current(db)? { Ok(()) } else { db.execute_batch(&tables()) };
        db.execute_batch(if made.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
        made?;
    }
    db.execute_batch("PRAGMA synchronous = NORMAL")
}

/// Whether the content is at fault, rather than the disk or another process
fn is_spoilt(error: &Error) -> bool {
    use ErrorCode::{ConstraintViolation, DatabaseCorrupt, NotADatabase, Unknown};
    match error {
        // Unknown: a table is not there.
        Error::SqliteFailure(error, _) | Error::SqlInputError { error, .. } => {
            matches!(error.code, ConstraintViolation | DatabaseCorrupt | NotADatabase | Unknown)
        }
        Error::InvalidColumnType(..) | Error::IntegralValueOutOfRange(..) | Error::FromSqlConversionFailure(..) => true,
        Error::QueryReturnedNoRows => true,
        _ => false,
    }
}

fn is_current(db: &Connection) -> rusqlite::Result<bool> {
    let number = |pragma| db.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let objects: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, objects) {
        (APPLICATION, _) => Ok(version == VERSION),
        (0, 0) => Ok(false),
        // Somebody else's: left alone.
        _ => Err(Error::InvalidQuery),
    }
}

/// `places`: in which group something stands, and the task that it belongs to, where that is first said. Groups
/// are taken together in segments, so that additions go behind what is there: ids are random, and inserting
/// them among all others would write most of the file again and again.
fn tables() -> String {
    format!(
        "DROP TABLE IF EXISTS places; DROP TABLE IF EXISTS head;
         CREATE TABLE places (segment INTEGER, kind INTEGER, id INTEGER, n INTEGER, task INTEGER,
                              PRIMARY KEY (segment, kind, id, n)) STRICT, WITHOUT ROWID;
         CREATE TABLE head (n INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
         INSERT INTO head VALUES (0, zeroblob(32));
         PRAGMA application_id = {APPLICATION};
         PRAGMA user_version = {VERSION};"
    )
}

const FLAGS: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_CREATE).union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
/// "PTRI" in the header of the database
const APPLICATION: i32 = 0x5054_5249;
/// How long one process waits for another one that catches up; a batch takes much less
const BUSY: Duration = Duration::from_secs(10);
