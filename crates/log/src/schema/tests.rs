use super::*;
use crate::{Options, Sqlite, contract};
use portreeve_core::log::{Log as _, Space};
use rusqlite::params;
use std::{fs, os::unix::fs::PermissionsExt as _};

const OPTIONS: Options = Options { bytes_max: None, reserve_bytes: 0 };

fn log_of(groups: u64) -> tempfile::TempDir {
    let root = crate::scratch();
    let mut log = Sqlite::open(root.path(), OPTIONS).unwrap();
    for _ in 0..groups {
        let next = contract::group(log.head(), &"x".repeat(3000));
        log.append(log.head(), &next, Space::Ordinary).unwrap();
    }
    root
}

fn sql(root: &tempfile::TempDir, sql: &str) {
    Connection::open(root.path().join(FILE)).unwrap().execute_batch(sql).unwrap();
}

fn refused(root: &tempfile::TempDir) -> Open {
    Sqlite::open(root.path(), OPTIONS).unwrap_err()
}

#[test]
fn is_made_as_designed() {
    let root = log_of(1);
    let log = Sqlite::open(root.path(), OPTIONS).unwrap();
    let db = Connection::open(root.path().join(FILE)).unwrap();
    for (pragma, value) in
        [("journal_mode", "wal"), ("application_id", "1347703382"), ("user_version", "1"), ("page_size", "4096")]
    {
        let found: String =
            db.query_row(&format!("SELECT CAST({pragma} AS TEXT) FROM pragma_{pragma}"), [], |row| row.get(0)).unwrap();
        assert_eq!(found, value, "{pragma}");
    }
    assert!(db.execute("INSERT INTO groups VALUES (9, 'text', x'00')", []).is_err(), "tables are strict");
    for entry in fs::read_dir(root.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
    drop((db, log));
    assert!(!root.path().join("log.db-wal").exists(), "a clean close leaves one file");
}

#[test]
fn writer_is_durable_and_never_checkpoints_in_a_commit() {
    let root = log_of(0);
    let db = writer(&root.path().join(FILE)).unwrap();
    for (pragma, value) in [("synchronous", 2), ("wal_autocheckpoint", 0), ("secure_delete", 1)] {
        assert_eq!(number(&db, pragma).unwrap(), value, "{pragma}");
    }
}

#[test]
fn settling_commits_and_changes_nothing() {
    let root = log_of(1);
    let path = root.path().join(FILE);
    let (db, other) = (writer(&path).unwrap(), writer(&path).unwrap());
    let seen = number(&other, "data_version").unwrap();
    let (_, before, _) = checkpoint(&other, Checkpoint::Passive).unwrap();
    settle(&db).unwrap();
    assert_ne!(number(&other, "data_version").unwrap(), seen, "another connection sees a commit");
    let (_, after, _) = checkpoint(&other, Checkpoint::Passive).unwrap();
    assert_eq!(after.max(1), if before == 0 { 1 } else { after }, "one frame stands in the file");
    recognise(&db).unwrap();
}

#[test]
fn refuses_the_database_of_another_program() {
    let root = log_of(0);
    sql(&root, "PRAGMA application_id = 77");
    assert!(matches!(refused(&root), Open::Foreign { id: 77 }));
    let root = crate::scratch();
    sql(&root, "CREATE TABLE notes (text)");
    assert!(matches!(refused(&root), Open::Foreign { id: 0 }));
    assert!(matches!(crate::Reader::open(root.path()), Err(Open::Foreign { id: 0 })));
}

#[test]
fn refuses_a_newer_schema() {
    let root = log_of(1);
    sql(&root, "PRAGMA user_version = 2");
    assert!(matches!(refused(&root), Open::Newer { found: 2, known: 1 }));
}

#[test]
fn refuses_what_is_no_database() {
    let root = crate::scratch();
    fs::write(root.path().join(FILE), "not a database, and long enough to be looked at".repeat(200)).unwrap();
    assert!(matches!(refused(&root), Open::Damaged { .. }));
}

#[test]
fn refuses_a_truncated_database() {
    let root = log_of(50);
    let path = root.path().join(FILE);
    let whole = fs::metadata(&path).unwrap().len();
    for left in [whole / 2, 8192, 4096, 100] {
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(left).unwrap();
        assert!(matches!(refused(&root), Open::Damaged { .. }), "{left} of {whole} bytes");
    }
}

#[test]
fn names_what_is_missing_or_broken_at_the_end() {
    for (change, n) in [("DELETE FROM groups WHERE n = 1", 1), ("DELETE FROM groups WHERE n = 4", 4)] {
        let root = log_of(5);
        sql(&root, change);
        assert!(matches!(refused(&root), Open::Missing { n: found } if found == n), "{change}");
    }
    for (change, n) in [
        ("UPDATE groups SET body = CAST(replace(CAST(body AS TEXT), 'xx', 'xy') AS BLOB) WHERE n = 5", 5),
        ("UPDATE groups SET hash = zeroblob(32) WHERE n = 5", 5),
        ("UPDATE groups SET hash = zeroblob(32) WHERE n = 4", 4),
        ("UPDATE groups SET n = 6 WHERE n = 5; INSERT INTO groups SELECT 5, hash, body FROM groups WHERE n = 4", 6),
    ] {
        let root = log_of(5);
        sql(&root, change);
        let error = refused(&root);
        assert!(matches!(&error, Open::Broken { n: found, .. } if *found == n), "{change}: {error}");
    }
}

#[test]
fn recognises_a_log_whose_last_row_alone_is_left_as_older() {
    let root = log_of(3);
    sql(&root, "DELETE FROM groups WHERE n = 3");
    let log = Sqlite::open(root.path(), OPTIONS).unwrap();
    assert_eq!(log.head().n, 2, "a cut tail agrees with itself: only an outside checkpoint tells");
}

#[test]
fn goes_on_where_its_making_was_cut_off() {
    let root = crate::scratch();
    sql(&root, "PRAGMA journal_mode = WAL");
    let log = Sqlite::open(root.path(), OPTIONS).unwrap();
    assert_eq!(log.head().n, 0);
    drop(log);
    let root = crate::scratch();
    let db = Connection::open(root.path().join(FILE)).unwrap();
    db.execute_batch("PRAGMA journal_mode = WAL; BEGIN; CREATE TABLE groups (n)").unwrap();
    drop(db);
    Sqlite::open(root.path(), OPTIONS).unwrap();
}

#[test]
fn rows_that_are_no_groups_are_refused() {
    let root = log_of(1);
    let db = Connection::open(root.path().join(FILE)).unwrap();
    db.execute("INSERT INTO groups VALUES (?1, ?2, ?3)", params![2, [1u8, 2], b"{}"]).unwrap();
    drop(db);
    assert!(Sqlite::open(root.path(), OPTIONS).is_err());
}
