//! The database file: how it is made, recognised and connected to.

use crate::{Open, header, rows};
use portreeve_core::log::Head;
use rusqlite::{Connection, OpenFlags};
use std::{path::Path, time::Duration};

/// Name of the database in the data folder
pub(crate) const FILE: &str = "log.db";

/// A connection that may write; makes the tables if the file is new
pub(crate) fn writer(path: &Path) -> Result<Connection, Open> {
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if is_new(&db)? {
        create(&db)?;
    }
    recognise(&db)?;
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Open::Folder {
            what: "keep a write-ahead log beside",
            path: path.to_owned(),
            source: std::io::ErrorKind::Unsupported.into(),
        });
    }
    // FULL puts every commit on disk before it is answered; a checkpoint never hides inside a commit;
    // what is erased is overwritten.
    db.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA secure_delete = ON; \
         PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;",
    )?;
    Ok(db)
}

/// A connection that only reads
pub(crate) fn reader(path: &Path) -> Result<Connection, Open> {
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    if is_new(&db)? {
        return Err(Open::Empty { path: path.to_owned() });
    }
    recognise(&db)?;
    Ok(db)
}

/// Where the log ends, after a check whose cost does not grow with the log: it starts with group 1, the
/// last group is what its hash says and names the one before it
pub(crate) fn end(db: &Connection) -> Result<Head, Open> {
    let head = rows::head(db)?;
    if head.n == 0 {
        return Ok(head);
    }
    if rows::first(db)? != Some(1) {
        return Err(Open::Missing { n: 1 });
    }
    let mut last = Head::default();
    rows::each(db, head.n.saturating_sub(2), 2, |stored| {
        let n = stored.group.n;
        let group = stored.proven().map_err(|why| Open::Broken { n, why })?;
        if n == head.n {
            if last.n.saturating_add(1) != n {
                return Err(Open::Missing { n: n.saturating_sub(1) });
            }
            header::follows(&group, last).map_err(|why| Open::Broken { n, why })?;
        }
        last = group.head();
        Ok(())
    })?;
    Ok(last)
}

/// Commits something that changes nothing, so that what is readable now is what stays
///
/// A commit that failed may have left frames in the write-ahead file that no connection counts, because
/// SQLite counts frames only after their fsync. A crash could bring them back. This commit is written
/// over them, and its fsync covers everything before it.
pub(crate) fn settle(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(&format!("PRAGMA user_version = {VERSION}"))
}

/// Copies the write-ahead file into the database: whether something stood in the way, frames in the
/// file, frames copied
pub(crate) fn checkpoint(db: &Connection, how: Checkpoint) -> rusqlite::Result<(bool, u64, u64)> {
    let sql = match how {
        Checkpoint::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Checkpoint::Restart => "PRAGMA wal_checkpoint(RESTART)",
        Checkpoint::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    db.query_row(sql, [], |row| Ok((row.get(0)?, count(row.get(1)?), count(row.get(2)?))))
}

/// How far a checkpoint goes
#[derive(Clone, Copy)]
pub(crate) enum Checkpoint {
    /// Copies what it can and waits for nobody
    Passive,
    /// Also makes the next commit start the file from its beginning
    Restart,
    /// Also empties the file
    Truncate,
}

fn connect(path: &Path, how: OpenFlags) -> Result<Connection, Open> {
    let db = Connection::open_with_flags(path, how | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY)?;
    db.execute_batch("PRAGMA trusted_schema = OFF;")?;
    Ok(db)
}

/// An empty file, or one in which an earlier start died before its tables were made
fn is_new(db: &Connection) -> rusqlite::Result<bool> {
    let objects: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(objects == 0 && number(db, "application_id")? == 0 && number(db, "user_version")? == 0)
}

fn create(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(&format!(
        "PRAGMA page_size = {PAGE}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         BEGIN IMMEDIATE;
         CREATE TABLE groups (n INTEGER PRIMARY KEY, hash BLOB NOT NULL, body BLOB NOT NULL) STRICT;
         CREATE TABLE openings (n INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
         CREATE TABLE blobs (digest BLOB PRIMARY KEY, body BLOB NOT NULL) STRICT;
         PRAGMA application_id = {APPLICATION};
         PRAGMA user_version = {VERSION};
         COMMIT;"
    ))
}

fn recognise(db: &Connection) -> Result<(), Open> {
    let id = number(db, "application_id")?;
    if id != APPLICATION {
        return Err(Open::Foreign { id });
    }
    let found = number(db, "user_version")?;
    if found > VERSION {
        return Err(Open::Newer { found, known: VERSION });
    }
    Ok(())
}

fn number(db: &Connection, pragma: &str) -> rusqlite::Result<i32> {
    db.pragma_query_value(None, pragma, |row| row.get(0))
}

/// Bytes of a page in the write-ahead file
pub(crate) const FRAME: u64 = PAGE + 24;
/// Bytes of a page of the database
pub(crate) const PAGE: u64 = 4096;
/// "PTRV" in the header of the database
const APPLICATION: i32 = 0x5054_5256;
const VERSION: i32 = 1;
/// How long a connection waits for another one: nobody here holds a lock for long
pub(crate) const BUSY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
