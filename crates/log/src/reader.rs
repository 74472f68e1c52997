//! Reading beside a live writer, from this process or another one.

use crate::{
    Open, folder,
    open::unreadable,
    rows::{self, Stored},
    schema,
};
use portreeve_core::{
    hash::Hash,
    log::{Group, Head, Read},
};
use rusqlite::Connection;
use std::{fmt, path::Path};

/// A view of the log in a data folder that never writes to it
///
/// Each call sees what was durable when it began. It needs write access to the folder all the same: SQLite
/// shares its index of the write-ahead file with the writer.
pub struct Reader {
    db: Connection,
}

impl Reader {
    /// Opens the log in `folder`, whether or not a writer holds it
    ///
    /// # Errors
    /// [`Open`]: nothing is made or repaired.
    pub fn open(folder: &Path) -> Result<Self, Open> {
        let path = folder.join(schema::FILE);
        if !path.is_file() {
            return Err(Open::Empty { path: folder.to_owned() });
        }
        folder::local(folder)?;
        Ok(Self { db: schema::reader(&path)? })
    }

    /// Where the log ends now
    ///
    /// # Errors
    /// [`Read`]
    pub fn head(&self) -> Result<Head, Read> {
        rows::head(&self.db).map_err(|error| unreadable(&error, 0))
    }

    /// Up to `count` groups that follow group `after`, in order, with their openings and without blobs
    ///
    /// # Errors
    /// [`Read`]: also when a group is not what the hash beside it says.
    pub fn groups(&self, after: u64, count: usize) -> Result<Vec<Group>, Read> {
        let mut groups = Vec::new();
        self.each(after, count, |group| {
            groups.push(group);
            Ok(())
        })?;
        Ok(groups)
    }

    /// Group `n` with its openings and without blobs, and where the log ended before it; `None` if there is no such group
    ///
    /// # Errors
    /// [`Read`]: also when the group is not what the hash beside it says.
    pub fn group(&self, n: u64) -> Result<Option<(Head, Group)>, Read> {
        let Some(before) = n.checked_sub(1) else { return Ok(None) };
        let Some(group) = self.groups(before, 1)?.pop().filter(|group| group.n == n) else { return Ok(None) };
        let hash = match before {
            0 => Hash::default(),
            before => rows::hash(&self.db, before)
                .map_err(|error| unreadable(&error, before))?
                .ok_or_else(|| Read::Broken { n: before, why: "the group is missing".to_owned() })?,
        };
        Ok(Some((Head { n: before, hash }, group)))
    }

    /// A blob that some group carried
    ///
    /// # Errors
    /// [`Read::Storage`]: also when the content does not have this digest.
    pub fn blob(&self, digest: Hash) -> Result<Option<Vec<u8>>, Read> {
        rows::blob(&self.db, digest)
    }

    /// Writes a consistent copy of the log, whole and alone, into `folder`, whether or not a writer is at work
    ///
    /// # Errors
    /// [`Read::Storage`]: also when there is a log in `folder` already.
    pub fn copy_to(&self, folder: &Path) -> Result<(), Read> {
        let path = folder.join(schema::FILE);
        let target = path.to_str().ok_or_else(|| Read::Storage("the folder's path is not UTF-8".to_owned()))?;
        self.db.execute("VACUUM INTO ?1", [target]).map(drop).map_err(|error| unreadable(&error, 0))
    }

    pub(crate) fn each(
        &self,
        after: u64,
        count: usize,
        mut each: impl FnMut(Group) -> Result<(), Read>,
    ) -> Result<(), Read> {
        let mut last = after;
        rows::each(&self.db, after, count, |stored| each(proven(stored, &mut last)?).map_err(Stop::At))
            .map_err(|stop| stop.read(last))
    }

    /// Like [`Reader::groups`], without openings
    pub(crate) fn bodies(&self, after: u64, count: usize) -> Result<Vec<Group>, Read> {
        let mut groups = Vec::new();
        let mut last = after;
        rows::each_body(&self.db, after, count, |stored| {
            groups.push(proven(stored, &mut last)?);
            Ok(())
        })
        .map_err(|stop: Stop| stop.read(last))?;
        Ok(groups)
    }

    pub(crate) fn damaged_blob(&self) -> Result<Option<Hash>, Read> {
        rows::damaged_blob(&self.db).map_err(|error| unreadable(&error, 0))
    }

    pub(crate) fn orphan(&self) -> Result<Option<u64>, Read> {
        rows::orphan(&self.db).map_err(|error| unreadable(&error, 0))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

fn proven(stored: Stored, last: &mut u64) -> Result<Group, Stop> {
    let n = stored.group.n;
    *last = n;
    stored.proven().map_err(|why| Stop::At(Read::Broken { n, why }))
}

enum Stop {
    At(Read),
    Sqlite(rusqlite::Error),
}

impl Stop {
    fn read(self, last: u64) -> Read {
        match self {
            Self::At(error) => error,
            Self::Sqlite(error) => unreadable(&error, last),
        }
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

#[cfg(test)]
mod tests;
