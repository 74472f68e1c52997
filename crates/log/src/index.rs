//! Where in the log something stands: a cache beside it, for whoever shows a task without reading all of it.
//!
//! Nobody who writes the log knows of it. Whoever asks brings it up to the end of the log first. It remembers the
//! head up to which it has read; a log that does not have that head is another one, and everything is read anew.
//! Nothing has to believe it: what it points at is read from the log, and verification never looks here.

mod file;
mod subjects;

pub use subjects::{Subject, Subjects, subjects};

use crate::{Open, Reader, open::chain, rows};
use file::File;
use portreeve_core::{
    event::{Record, decode},
    hash::Hash,
    log::{Group, Head, Read},
    names::TaskId,
};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};
use std::{collections::BTreeMap, fmt, path::Path};

/// The index of the log in a data folder
///
/// It may be open any number of times, in several processes, beside the writer of the log.
pub struct Index {
    log: Reader,
    file: File,
}

/// How much of what is found is wanted at most, the newest first
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Records
    pub records: usize,
    /// Bytes of the groups in which they stand; one group is always read
    pub bytes: usize,
}

impl Most {
    /// All of it
    pub const ALL: Self = Self { records: usize::MAX, bytes: usize::MAX };
}

/// A record and where it stands
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The number of its group
    pub group: u64,
    /// Its place in the group, from 0
    pub index: usize,
    /// The record, with the openings that are still there
    pub record: Record,
}

/// Records in the order of the log
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// The records; the last ones, if there are more than were wanted
    pub records: Vec<Placed>,
    /// Whether there are earlier ones
    pub cut: bool,
}

impl Index {
    /// Opens the index of the log in `folder`, or makes an empty one
    ///
    /// A file that is damaged or of another version is made anew; where none can be kept, a private one serves.
    ///
    /// # Errors
    /// [`Open`]: there is no log that can be read.
    pub fn open(folder: &Path) -> Result<Self, Open> {
        Ok(Self { log: Reader::open(folder)?, file: File::open(folder.join(FILE))? })
    }

    /// Reads the next part of the log, and says whether that was the end of it
    ///
    /// A part is at most 4,096 groups. Whoever serves others does this beforehand, part by part; every question
    /// does it by itself.
    ///
    /// # Errors
    /// [`Read`]: the log, or there is no room for an index anywhere.
    pub fn catch_up(&mut self) -> Result<bool, Read> {
        let end = self.log.head()?;
        self.attempt(|db, log| advance(db, log, end))
    }

    /// The groups that are about `subject`, in order: the last `most` of them, and whether there are earlier ones
    ///
    /// # Errors
    /// [`Read`]: the log, or there is no room for an index anywhere.
    pub fn groups_of(&mut self, subject: Subject, most: usize) -> Result<(Vec<u64>, bool), Read> {
        // What comes while this is read is not waited for.
        let end = self.log.head()?;
        self.attempt(|db, log| {
            loop {
                while !advance(db, log, end)? {}
                let view = db.unchecked_transaction()?;
                // Unless another process emptied it just now.
                if head(&view)?.n >= end.n {
                    return Ok(groups_of(&view, subject, most)?);
                }
            }
        })
    }

    /// The records that are about `subject`, in order
    ///
    /// # Errors
    /// [`Read`]: the log, or there is no room for an index anywhere.
    pub fn records_of(&mut self, subject: Subject, most: Most) -> Result<Records, Read> {
        // Each group holds a record at least.
        let (groups, cut) = self.groups_of(subject, most.records)?;
        let mut found = Records { records: Vec::new(), cut };
        let mut bytes = 0usize;
        for n in groups.into_iter().rev() {
            if found.records.len() >= most.records || bytes >= most.bytes {
                found.cut = true;
                break;
            }
            let (before, group) =
                self.log.group(n)?.ok_or_else(|| Read::Broken { n, why: "the group is missing".to_owned() })?;
            bytes = bytes.saturating_add(group.body.len()).saturating_add(group.openings.len());
            let records = read(before, &group)?.into_iter().enumerate();
            for (index, record) in records.rev() {
                if self.is_about(n, &record, subject)? {
                    found.records.push(Placed { group: n, index, record });
                }
            }
        }
        if found.records.len() > most.records {
            found.records.truncate(most.records);
            found.cut = true;
        }
        found.records.reverse();
        Ok(found)
    }

    /// The task that a run, an effect or the like belongs to, as far as the log has been read
    ///
    /// # Errors
    /// [`Read`]: there is no room for an index anywhere.
    pub fn task_of(&mut self, subject: Subject) -> Result<Option<TaskId>, Read> {
        self.attempt(|db, _| Ok(task_of(db, subject, head(db)?.n)?))
    }

    /// Whether `record` is about `subject`, by itself or because it belongs to that task
    fn is_about(&mut self, n: u64, record: &Record, subject: Subject) -> Result<bool, Read> {
        let of = subjects(record);
        if of.about.contains(&subject) {
            return Ok(true);
        }
        let Subject::Task(task) = subject else { return Ok(false) };
        self.attempt(|db, _| Ok(belongs(&of, |subject| task_of(db, subject, n))? == Some(task)))
    }

    /// Does `work`; if the index fails, once more with an emptied one, and at last with a private one
    fn attempt<T>(&mut self, work: impl Fn(&Connection, &Reader) -> Result<T, Fault>) -> Result<T, Read> {
        loop {
            match work(self.file.db(), &self.log) {
                Ok(done) => return Ok(done),
                Err(Fault::Log(error)) => return Err(error),
                Err(Fault::Index(error)) => {
                    self.file.renew(error).map_err(|error| Read::Storage(chain(&error)))?;
                }
            }
        }
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").finish_non_exhaustive()
    }
}

enum Fault {
    Log(Read),
    Index(rusqlite::Error),
}

impl From<Read> for Fault {
    fn from(error: Read) -> Self {
        Self::Log(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Index(error)
    }
}

/// Adds up to a segment of groups, and says whether the index has reached `end`
fn advance(db: &Connection, log: &Reader, end: Head) -> Result<bool, Fault> {
    if head(db)? == end {
        return Ok(true);
    }
    let index = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    // Another process may have been here meanwhile.
    let mut at = head(&index)?;
    if !is_on(log, at)? {
        index.execute_batch("DELETE FROM places")?;
        at = Head::default();
    }
    let stop = end.n.min(segment(at.n.saturating_add(1)).saturating_add(1).saturating_mul(SEGMENT));
    let mut additions = Additions { index: &index, places: BTreeMap::new() };
    while at.n < stop && additions.places.len() < ADDITIONS {
        let count = usize::try_from(stop.saturating_sub(at.n)).unwrap_or(GROUPS).min(GROUPS);
        let groups = log.bodies(at.n, count)?;
        if groups.is_empty() {
            let n = at.n.saturating_add(1);
            return Err(Read::Broken { n, why: "the group is missing".to_owned() }.into());
        }
        for group in groups {
            for record in read(at, &group)? {
                additions.add(group.n, &record)?;
            }
            at = group.head();
        }
    }
    additions.write()?;
    index.prepare_cached("UPDATE head SET n = ?1, hash = ?2")?.execute((rows::key(at.n), at.hash.0))?;
    index.commit()?;
    Ok(at.n >= end.n)
}

/// Whether the log has, or had at its beginning, this head
fn is_on(log: &Reader, head: Head) -> Result<bool, Read> {
    let Some(before) = head.n.checked_sub(1) else { return Ok(true) };
    Ok(log.bodies(before, 1)?.first().is_some_and(|group| group.head() == head))
}

/// What the groups of one transaction add
struct Additions<'a> {
    index: &'a Connection,
    /// By segment, kind, id and group, which is the order in which they are kept
    places: BTreeMap<(u64, (i64, i64), u64), Option<TaskId>>,
}

impl Additions<'_> {
    fn add(&mut self, n: u64, record: &Record) -> rusqlite::Result<()> {
        let of = subjects(record);
        let task = belongs(&of, |subject| self.task_of(n, subject))?;
        for subject in of.about.iter().copied().chain(task.map(Subject::Task)) {
            let born = task.filter(|_| of.born.contains(&subject));
            let place = self.places.entry((segment(n), subject.key(), n)).or_default();
            *place = place.or(born);
        }
        Ok(())
    }

    fn task_of(&self, n: u64, subject: Subject) -> rusqlite::Result<Option<TaskId>> {
        let key = subject.key();
        let mut here = self.places.range((segment(n), key, 0)..=(segment(n), key, n));
        if let Some(task) = here.find_map(|(_, task)| *task) {
            return Ok(Some(task));
        }
        task_of(self.index, subject, n)
    }

    fn write(self) -> rusqlite::Result<()> {
        let mut insert =
            self.index.prepare_cached("INSERT INTO places (segment, kind, id, n, task) VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for ((segment, (kind, id), n), task) in self.places {
            insert.execute((rows::key(segment), kind, id, rows::key(n), task.map(|task| task.0.cast_signed())))?;
        }
        Ok(())
    }
}

/// The task that a record belongs to
fn belongs(
    of: &Subjects,
    mut task_of: impl FnMut(Subject) -> rusqlite::Result<Option<TaskId>>,
) -> rusqlite::Result<Option<TaskId>> {
    if of.task.is_some() {
        return Ok(of.task);
    }
    for subject in &of.about {
        let task = if let Subject::Task(task) = subject { Some(*task) } else { task_of(*subject)? };
        if task.is_some() {
            return Ok(task);
        }
    }
    Ok(None)
}

fn head(db: &Connection) -> rusqlite::Result<Head> {
    db.prepare_cached("SELECT n, hash FROM head")?
        .query_row([], |row| Ok(Head { n: rows::number(row, 0)?, hash: Hash(row.get(1)?) }))
}

/// The task of `subject`, as group `n` or one before it said
fn task_of(db: &Connection, subject: Subject, n: u64) -> rusqlite::Result<Option<TaskId>> {
    let (kind, id) = subject.key();
    let mut first = db.prepare_cached(
        "SELECT task FROM places \
         WHERE segment = ?1 AND kind = ?2 AND id = ?3 AND n <= ?4 AND task IS NOT NULL LIMIT 1",
    )?;
    for segment in (0..=segment(n)).rev() {
        let task: Option<i64> =
            first.query_row((rows::key(segment), kind, id, rows::key(n)), |row| row.get(0)).optional()?;
        if let Some(task) = task {
            return Ok(Some(TaskId(task.cast_unsigned())));
        }
    }
    Ok(None)
}

fn groups_of(db: &Connection, subject: Subject, most: usize) -> rusqlite::Result<(Vec<u64>, bool)> {
    let (kind, id) = subject.key();
    let mut groups = Vec::new();
    let mut last = db
        .prepare_cached("SELECT n FROM places WHERE segment = ?1 AND kind = ?2 AND id = ?3 ORDER BY n DESC LIMIT ?4")?;
    for segment in (0..=segment(head(db)?.n)).rev() {
        // One more, to know whether there are earlier ones.
        let more = most.saturating_add(1).saturating_sub(groups.len());
        if more == 0 {
            break;
        }
        let more = i64::try_from(more).unwrap_or(i64::MAX);
        for n in last.query_map((rows::key(segment), kind, id, more), |row| rows::number(row, 0))? {
            groups.push(n?);
        }
    }
    let cut = groups.len() > most;
    groups.truncate(most);
    groups.reverse();
    Ok((groups, cut))
}

fn read(before: Head, group: &Group) -> Result<Vec<Record>, Read> {
    decode(before, group).map_err(|error| Read::Broken { n: group.n, why: chain(&error) })
}

/// The segment of a group
fn segment(n: u64) -> u64 {
    n.saturating_sub(1) / SEGMENT
}

/// Name of the index in the data folder
const FILE: &str = "index.db";
/// Groups of a segment, and of a transaction at most: few enough that others wait for less than a second, and so
/// many that a question looks into few segments
const SEGMENT: u64 = if cfg!(test) { 4 } else { 4096 };
/// Groups that are read at a time, so that the writer can empty its write-ahead file
const GROUPS: usize = 256;
/// Additions after which a transaction ends, so that memory is bounded
const ADDITIONS: usize = if cfg!(test) { 24 } else { 65_536 };

#[cfg(test)]
mod tests;
