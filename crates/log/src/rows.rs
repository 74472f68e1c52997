//! The statements that read, shared by the writer and by readers.

use portreeve_core::{
    hash::Hash,
    log::{Group, Head, Read},
};
use rusqlite::{Connection, OptionalExtension as _, Row};

/// A stored group, and the hash that stands beside it
pub(crate) struct Stored {
    pub(crate) group: Group,
    pub(crate) hash: Vec<u8>,
}

impl Stored {
    /// The group, if it is what the hash beside it says
    pub(crate) fn proven(self) -> Result<Group, String> {
        if self.group.hash().0.as_slice() == self.hash.as_slice() {
            Ok(self.group)
        } else {
            Err("its body does not have the hash beside it".to_owned())
        }
    }
}

/// Where the log ends, as its last row says
pub(crate) fn head(db: &Connection) -> rusqlite::Result<Head> {
    let row = db
        .prepare_cached("SELECT n, hash FROM groups ORDER BY n DESC LIMIT 1")?
        .query_row([], |row| Ok(Head { n: number(row, 0)?, hash: Hash(row.get(1)?) }))
        .optional()?;
    Ok(row.unwrap_or_default())
}

/// Number of the first group, if there is one
pub(crate) fn first(db: &Connection) -> rusqlite::Result<Option<u64>> {
    db.query_row("SELECT min(n) FROM groups", [], optional_number)
}

/// The hash beside group `n`, if there is such a group
pub(crate) fn hash(db: &Connection, n: u64) -> rusqlite::Result<Option<Hash>> {
    db.prepare_cached("SELECT hash FROM groups WHERE n = ?1")?
        .query_row([key(n)], |row| Ok(Hash(row.get(0)?)))
        .optional()
}

/// Hands on up to `count` groups after group `after`, in order, until `each` fails
pub(crate) fn each<E: From<rusqlite::Error>>(
    db: &Connection,
    after: u64,
    count: usize,
    each: impl FnMut(Stored) -> Result<(), E>,
) -> Result<(), E> {
    const WHOLE: &str = "SELECT g.n, g.hash, g.body, o.body FROM groups g LEFT JOIN openings o ON o.n = g.n \
                         WHERE g.n > ?1 ORDER BY g.n LIMIT ?2";
    walk(db, WHOLE, after, count, each)
}

/// The same without openings
pub(crate) fn each_body<E: From<rusqlite::Error>>(
    db: &Connection,
    after: u64,
    count: usize,
    each: impl FnMut(Stored) -> Result<(), E>,
) -> Result<(), E> {
    const BODY: &str = "SELECT n, hash, body, NULL FROM groups WHERE n > ?1 ORDER BY n LIMIT ?2";
    walk(db, BODY, after, count, each)
}

fn walk<E: From<rusqlite::Error>>(
    db: &Connection,
    sql: &str,
    after: u64,
    count: usize,
    mut each: impl FnMut(Stored) -> Result<(), E>,
) -> Result<(), E> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query((key(after), i64::try_from(count).unwrap_or(i64::MAX)))?;
    while let Some(row) = rows.next()? {
        each(stored(row)?)?;
    }
    Ok(())
}

/// Number of an opening whose group is not there
pub(crate) fn orphan(db: &Connection) -> rusqlite::Result<Option<u64>> {
    db.query_row("SELECT min(n) FROM openings WHERE n NOT IN (SELECT n FROM groups)", [], optional_number)
}

/// The content with this digest; an error if it has another one
pub(crate) fn blob(db: &Connection, digest: Hash) -> Result<Option<Vec<u8>>, Read> {
    let failed = |error: rusqlite::Error| Read::Storage(crate::open::chain(&error));
    let body: Option<Vec<u8>> = db
        .prepare_cached("SELECT body FROM blobs WHERE digest = ?1")
        .and_then(|mut statement| statement.query_row([digest.0], |row| row.get(0)).optional())
        .map_err(failed)?;
    match body {
        Some(body) if Hash::of(&body) != digest => {
            Err(Read::Storage(format!("the content of digest {} is damaged", digest.short())))
        }
        body => Ok(body),
    }
}

/// A blob whose content is not what its digest says
pub(crate) fn damaged_blob(db: &Connection) -> rusqlite::Result<Option<Hash>> {
    let mut statement = db.prepare("SELECT digest, body FROM blobs")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (digest, body): ([u8; 32], Vec<u8>) = (row.get(0)?, row.get(1)?);
        if Hash::of(&body) != Hash(digest) {
            return Ok(Some(Hash(digest)));
        }
    }
    Ok(None)
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let openings: Option<Vec<u8>> = row.get(3)?;
    let group =
        Group { n: number(row, 0)?, body: row.get(2)?, openings: openings.unwrap_or_default(), blobs: Vec::new() };
    Ok(Stored { group, hash: row.get(1)? })
}

/// A number as SQLite keeps it; no log reaches the largest
pub(crate) fn key(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A column that is never negative
pub(crate) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let n: i64 = row.get(column)?;
    u64::try_from(n).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, n))
}

fn optional_number(row: &Row<'_>) -> rusqlite::Result<Option<u64>> {
    let n: Option<i64> = row.get(0)?;
    n.map(|_| number(row, 0)).transpose()
}
