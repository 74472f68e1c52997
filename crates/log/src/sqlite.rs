//! The durable engine: one SQLite database, written by this process alone.

use crate::{
    Open, Options,
    checkpointer::{Checkpointer, Tuning},
    folder::Folder,
    header,
    open::{chain, unreadable},
    reserve::Reserve,
    rows,
    schema::{self, Checkpoint},
};
use portreeve_core::{
    hash::Hash,
    log::{Append, Group, Head, Log, Read, Space},
};
use rusqlite::{Connection, ErrorCode, ffi};
use std::{fmt, path::Path};

/// The log of a data folder
///
/// Reads leave [`Group::blobs`] empty; [`Log::blob`] fetches them by digest.
pub struct Sqlite {
    /// Dropped, never reused, once it has failed: `None` means that the last append is in doubt
    writer: Option<Connection>,
    head: Head,
    options: Options,
    reserve: Reserve,
    checkpointer: Checkpointer,
    // INVARIANT: last, so that the lock outlives every connection.
    folder: Folder,
    #[cfg(test)]
    pub(crate) hook: Option<Hook>,
}

impl Sqlite {
    /// Opens the log in `folder`, or makes it, and holds the folder until dropped
    ///
    /// # Errors
    /// [`Open`]
    pub fn open(folder: &Path, options: Options) -> Result<Self, Open> {
        Self::tuned(folder, options, Tuning::USUAL)
    }

    pub(crate) fn tuned(folder: &Path, options: Options, tuning: Tuning) -> Result<Self, Open> {
        let folder = Folder::hold(folder)?;
        let path = folder.touch(schema::FILE)?;
        let mut reserve = Reserve::open(folder.join("reserve"), options.reserve_bytes);
        let writer = settled(&path, &mut reserve)?;
        let head = schema::end(&writer)?;
        // What a process before this one left in the write-ahead file is believed from here on. Copied, it
        // is durable even if that process died of a failed fsync and only the page cache still has it.
        if reserve.is_held() {
            let _copied = schema::checkpoint(&writer, Checkpoint::Truncate);
        }
        let checkpointer = Checkpointer::start(schema::writer(&path)?, tuning)?;
        let log = Self {
            writer: Some(writer),
            head,
            options,
            reserve,
            checkpointer,
            folder,
            #[cfg(test)]
            hook: None,
        };
        log.pace();
        Ok(log)
    }

    /// One attempt. Only an `Ok` and [`Miss::Limit`] leave a connection that is used again without a look
    fn write(&mut self, group: &Group, space: Space) -> Result<Head, Miss> {
        let Some(writer) = &self.writer else {
            return Err(Miss::Doubt(IN_DOUBT.to_owned()));
        };
        self.checkpointer.relieve(writer);
        let steps = Steps {
            writer,
            limit: self.options.limit(space),
            #[cfg(test)]
            hook: self.hook.as_mut(),
        };
        let failure = match steps.commit(group) {
            Ok(()) => {
                self.head = group.head();
                self.checkpointer.grown(estimate(group));
                return Ok(self.head);
            }
            Err(failure) => failure,
        };
        let unwritten = rolled_back(writer) && rows::head(writer).ok() == Some(self.head);
        Err(match failure {
            Failure::Limit if unwritten => Miss::Limit,
            Failure::Sqlite(error) if no_room(&error) => Miss::NoRoom {
                // Other errors of a write are met when a quota is used up; they prove nothing.
                unwritten: unwritten && error.sqlite_error_code() == Some(ErrorCode::DiskFull),
                why: chain(&error),
            },
            Failure::Limit => Miss::Doubt("the size limit was met and the transaction did not end".to_owned()),
            Failure::Sqlite(error) => Miss::Doubt(chain(&error)),
        })
    }

    /// The disk was full and the reserve is released: asks a fresh connection, and tries once more only if
    /// that one says that nothing was written
    fn again(&mut self, expected: Head, group: &Group) -> Result<Head, Append> {
        match self.recover() {
            Ok(head) if head == expected => self.write(group, Space::Reserve).map_err(|miss| self.answer(miss)),
            Ok(head) if head == group.head() => Ok(head),
            Ok(head) => Err(Append::Conflict(head)),
            Err(error) => {
                self.writer = None;
                Err(Append::Unknown(error.to_string()))
            }
        }
    }

    fn answer(&mut self, miss: Miss) -> Append {
        match miss {
            Miss::Limit | Miss::NoRoom { unwritten: true, .. } => Append::Full,
            Miss::NoRoom { why, .. } | Miss::Doubt(why) => {
                self.writer = None;
                Append::Unknown(why)
            }
        }
    }

    fn reopen(&mut self) -> Result<Head, Open> {
        self.writer = None;
        let writer = settled(&self.folder.join(schema::FILE), &mut self.reserve)?;
        self.head = schema::end(&writer)?;
        self.writer = Some(writer);
        Ok(self.head)
    }

    /// A checkpoint makes the database grow before it frees anything: without the reserve it would take
    /// the very blocks that were released for stops
    fn pace(&self) {
        self.checkpointer.pause(!self.reserve.is_held());
    }

    fn db(&self) -> Result<&Connection, Read> {
        self.writer.as_ref().ok_or_else(|| Read::Storage(IN_DOUBT.to_owned()))
    }

    /// Waits until no checkpoint is due, and says how many there have been
    #[cfg(test)]
    pub(crate) fn rest(&self) -> u64 {
        self.checkpointer.rest()
    }
}

impl Log for Sqlite {
    fn head(&self) -> Head {
        self.head
    }

    fn append(&mut self, expected: Head, group: &Group, space: Space) -> Result<Head, Append> {
        if self.writer.is_none() {
            return Err(Append::Unknown(IN_DOUBT.to_owned()));
        }
        if expected != self.head || header::follows(group, self.head).is_err() {
            return Err(Append::Conflict(self.head));
        }
        if space == Space::Ordinary && !self.reserve.refill() {
            return Err(Append::Full);
        }
        self.pace();
        let written = match self.write(group, space) {
            Err(Miss::NoRoom { .. }) if space == Space::Reserve && self.reserve.release() => {
                self.again(expected, group)
            }
            written => written.map_err(|miss| self.answer(miss)),
        };
        self.pace();
        written
    }

    fn recover(&mut self) -> Result<Head, Read> {
        let head = self.reopen();
        self.pace();
        Ok(head?)
    }

    fn read(&self, after: u64, count: usize) -> Result<Vec<Group>, Read> {
        let mut groups = Vec::new();
        rows::each(self.db()?, after, count, |stored| {
            groups.push(stored.group);
            Ok(())
        })
        .map_err(|error| unreadable(&error, after))?;
        Ok(groups)
    }

    fn blob(&self, digest: Hash) -> Result<Option<Vec<u8>>, Read> {
        rows::blob(self.db()?, digest)
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.checkpointer.stop();
        // What cannot be copied now stays in the write-ahead file for the next start.
        if let Some(writer) = &self.writer
            && self.reserve.is_held()
        {
            let _copied = schema::checkpoint(writer, Checkpoint::Truncate);
        }
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite")
            .field("folder", &self.folder)
            .field("head", &self.head)
            .field("in_doubt", &self.writer.is_none())
            .finish_non_exhaustive()
    }
}

/// Why one attempt did not succeed
enum Miss {
    /// The size limit; nothing was written
    Limit,
    /// The disk
    NoRoom { unwritten: bool, why: String },
    /// Anything else
    Doubt(String),
}

enum Failure {
    Limit,
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// The statements of one group
struct Steps<'a> {
    writer: &'a Connection,
    limit: Option<u64>,
    #[cfg(test)]
    hook: Option<&'a mut Hook>,
}

impl Steps<'_> {
    fn commit(mut self, group: &Group) -> Result<(), Failure> {
        self.run("BEGIN IMMEDIATE")?;
        self.writer.prepare_cached("INSERT INTO groups (n, hash, body) VALUES (?1, ?2, ?3)")?.execute((
            rows::key(group.n),
            group.hash().0,
            &group.body,
        ))?;
        if !group.openings.is_empty() {
            self.writer
                .prepare_cached("INSERT INTO openings (n, body) VALUES (?1, ?2)")?
                .execute((rows::key(group.n), &group.openings))?;
        }
        for (digest, body) in &group.blobs {
            debug_assert_eq!(*digest, Hash::of(body), "a blob travels under its own digest");
            self.writer
                .prepare_cached("INSERT INTO blobs (digest, body) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
                .execute((digest.0, body))?;
        }
        // Asked inside the transaction rather than set as `max_page_count`: that limit cannot be lowered
        // below the present size, and its error could not be told from that of a full disk.
        if let Some(limit) = self.limit
            && self.used()? > limit
        {
            return Err(Failure::Limit);
        }
        self.pass(Step::Staged)?;
        self.run("COMMIT")?;
        self.pass(Step::Committed)?;
        Ok(())
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.writer.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// Bytes of the pages that are in use, this transaction included
    fn used(&self) -> rusqlite::Result<u64> {
        let count = |sql| self.writer.prepare_cached(sql)?.query_row([], |row| rows::number(row, 0));
        let used = count("PRAGMA page_count")?.saturating_sub(count("PRAGMA freelist_count")?);
        Ok(used.saturating_mul(schema::PAGE))
    }

    #[cfg(test)]
    fn pass(&mut self, step: Step) -> rusqlite::Result<()> {
        self.hook.as_mut().map_or(Ok(()), |hook| hook(step))
    }

    #[cfg(not(test))]
    fn pass(&mut self, _step: Step) -> rusqlite::Result<()> {
        Ok(())
    }
}

/// Where a test may let an append fail
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All statements are executed, nothing is committed
    Staged,
    /// The commit has succeeded
    Committed,
}

#[cfg(test)]
pub(crate) type Hook = Box<dyn FnMut(Step) -> rusqlite::Result<()> + Send>;

/// A writer for which what it reads is what stays; gives up the reserve if there is no room even for that
fn settled(path: &Path, reserve: &mut Reserve) -> Result<Connection, Open> {
    let open = || {
        let writer = schema::writer(path)?;
        schema::settle(&writer)?;
        Ok(writer)
    };
    match open() {
        Err(Open::Storage { source }) if no_room(&source) && reserve.release() => open(),
        opened => opened,
    }
}

fn rolled_back(db: &Connection) -> bool {
    db.is_autocommit() || db.execute_batch("ROLLBACK").is_ok()
}

/// Whether freeing blocks may help: a full disk, a quota, an index that could not grow
fn no_room(error: &rusqlite::Error) -> bool {
    let extended = error.sqlite_error().map(|inner| inner.extended_code);
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
        || matches!(extended, Some(ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE))
}

/// About how much a group adds to the write-ahead file: each commit writes whole pages
fn estimate(group: &Group) -> u64 {
    let pages = |bytes: &[u8]| (bytes.len() as u64).div_ceil(schema::PAGE);
    let blobs: u64 = group.blobs.iter().map(|(_, body)| pages(body).saturating_add(2)).sum();
    let pages = pages(&group.body).saturating_add(pages(&group.openings)).saturating_add(blobs);
    pages.saturating_add(1).saturating_mul(schema::FRAME)
}

const IN_DOUBT: &str = "an earlier append is in doubt; recover first";

#[cfg(test)]
mod tests;
