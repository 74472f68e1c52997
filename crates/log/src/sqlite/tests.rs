use super::*;
use crate::{
    Fault, Reader,
    contract::{self, Harness},
    verify::verify,
};
use rusqlite::ffi;
use std::{fs, os::unix::fs::FileExt as _};

mod durability;
mod full_disk;

const ROOMY: Options = Options { bytes_max: None, reserve_bytes: 0 };

struct Engine {
    root: tempfile::TempDir,
    options: Options,
    log: Option<Sqlite>,
}

impl Engine {
    fn new(options: Options) -> Self {
        let root = crate::scratch();
        let log = Some(Sqlite::open(root.path(), options).unwrap());
        Self { root, options, log }
    }
}

impl Harness for Engine {
    fn log(&mut self) -> &mut dyn Log {
        self.log.as_mut().unwrap()
    }

    fn reopen(&mut self) {
        self.log = None;
        self.log = Some(Sqlite::open(self.root.path(), self.options).unwrap());
    }

    fn inject(&mut self, fault: Fault) {
        let at = match fault {
            Fault::UnknownLost => Step::Staged,
            Fault::UnknownLanded => Step::Committed,
            Fault::Full | Fault::Conflict => panic!("met by other means"),
        };
        self.log.as_mut().unwrap().hook = Some(fail_once(at, ffi::SQLITE_IOERR_FSYNC));
    }
}

fn fail_once(at: Step, code: i32) -> Hook {
    let mut armed = true;
    Box::new(move |step| {
        if step == at && std::mem::take(&mut armed) {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        }
        Ok(())
    })
}

fn next(log: &Sqlite) -> Group {
    contract::group(log.head(), &"x".repeat(500))
}

fn append(log: &mut Sqlite, space: Space) -> Result<Head, Append> {
    log.append(log.head(), &next(log), space)
}

#[test]
fn keeps_the_contract() {
    contract::all(&mut |options| Box::new(Engine::new(options)));
}

#[test]
fn is_full_only_when_nothing_was_written() {
    let root = crate::scratch();
    let mut log = Sqlite::open(root.path(), ROOMY).unwrap();
    append(&mut log, Space::Ordinary).unwrap();
    log.hook = Some(fail_once(Step::Staged, ffi::SQLITE_FULL));
    assert_eq!(append(&mut log, Space::Ordinary), Err(Append::Full), "rolled back");
    assert_eq!(append(&mut log, Space::Ordinary).unwrap().n, 2, "goes on without recovery");
    log.hook = Some(fail_once(Step::Committed, ffi::SQLITE_FULL));
    assert!(matches!(append(&mut log, Space::Ordinary), Err(Append::Unknown(_))), "it stands there");
    assert_eq!(log.recover().unwrap().n, 3);
    log.hook = Some(fail_once(Step::Staged, ffi::SQLITE_IOERR_WRITE));
    assert!(matches!(append(&mut log, Space::Ordinary), Err(Append::Unknown(_))), "proves nothing");
    assert_eq!(log.recover().unwrap().n, 3);
}

#[test]
fn the_reserve_is_released_for_a_stop_and_taken_back() {
    let options = Options { reserve_bytes: 100_000, ..ROOMY };
    for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE] {
        let root = crate::scratch();
        let mut log = Sqlite::open(root.path(), options).unwrap();
        let reserve = || fs::metadata(root.path().join("reserve")).unwrap().len();
        log.hook = Some(fail_once(Step::Staged, code));
        assert_eq!(append(&mut log, Space::Reserve).unwrap().n, 1, "tried once more");
        assert_eq!(reserve(), 0);
        append(&mut log, Space::Reserve).unwrap();
        assert_eq!(reserve(), 0);
        append(&mut log, Space::Ordinary).unwrap();
        assert_eq!(reserve(), 100_000, "there was room");
    }
}

#[test]
fn a_stop_that_landed_is_not_written_twice() {
    let root = crate::scratch();
    let mut log = Sqlite::open(root.path(), Options { reserve_bytes: 100_000, ..ROOMY }).unwrap();
    log.hook = Some(fail_once(Step::Committed, ffi::SQLITE_FULL));
    assert_eq!(append(&mut log, Space::Reserve).unwrap().n, 1);
    assert_eq!(append(&mut log, Space::Reserve).unwrap().n, 2);
    assert_eq!(log.read(0, 10).unwrap().len(), 2);
}

#[test]
fn a_stop_is_tried_only_once_more() {
    let root = crate::scratch();
    let mut log = Sqlite::open(root.path(), Options { reserve_bytes: 100_000, ..ROOMY }).unwrap();
    let tries = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = std::sync::Arc::clone(&tries);
    log.hook = Some(Box::new(move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None))
    }));
    assert_eq!(append(&mut log, Space::Reserve), Err(Append::Full));
    assert_eq!(tries.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[test]
fn a_conflicting_row_is_doubt_not_success() {
    let root = crate::scratch();
    let mut log = Sqlite::open(root.path(), ROOMY).unwrap();
    append(&mut log, Space::Ordinary).unwrap();
    let other = Connection::open(root.path().join(schema::FILE)).unwrap();
    let intruder = next(&log);
    other.execute("INSERT INTO groups VALUES (2, ?1, ?2)", (intruder.hash().0, &intruder.body)).unwrap();
    assert!(matches!(append(&mut log, Space::Ordinary), Err(Append::Unknown(_))));
    assert_eq!(log.recover().unwrap(), intruder.head(), "whatever stands there");
}

/// What a failed fsync leaves: frames of a whole group in the file, and an index that does not count them
#[test]
fn what_recovery_answers_outlives_a_crash() {
    let root = crate::scratch();
    let mut log = Sqlite::open(root.path(), ROOMY).unwrap();
    let first = append(&mut log, Space::Ordinary).unwrap();
    let index = root.path().join("log.db-shm");
    let before = fs::read(&index).unwrap();
    log.hook = Some(fail_once(Step::Committed, ffi::SQLITE_IOERR_FSYNC));
    assert!(matches!(append(&mut log, Space::Ordinary), Err(Append::Unknown(_))));
    fs::OpenOptions::new().write(true).open(&index).unwrap().write_all_at(&before, 0).unwrap();

    let crashed = || {
        let copy = crate::scratch();
        for file in [schema::FILE, "log.db-wal"] {
            fs::copy(root.path().join(file), copy.path().join(file)).unwrap();
        }
        Sqlite::open(copy.path(), ROOMY).unwrap().head()
    };
    assert_eq!(crashed().n, 2, "a crash would bring the frames back");
    assert_eq!(log.recover().unwrap(), first);
    assert_eq!(crashed(), first, "and cannot any more");
    append(&mut log, Space::Ordinary).unwrap();
    assert_eq!(crashed(), log.head());
}

#[test]
fn recovery_refuses_a_broken_end() {
    let root = crate::scratch();
    let mut log = Sqlite::open(root.path(), ROOMY).unwrap();
    append(&mut log, Space::Ordinary).unwrap();
    let other = Connection::open(root.path().join(schema::FILE)).unwrap();
    other.execute_batch("UPDATE groups SET body = x'7b7d'").unwrap();
    assert!(matches!(log.recover(), Err(Read::Broken { n: 1, .. })));
    assert!(matches!(append(&mut log, Space::Ordinary), Err(Append::Unknown(_))), "stays in doubt");
    assert!(log.read(0, 1).is_err());
}

#[test]
fn erased_pages_count_as_room() {
    let options = Options { bytes_max: Some(400_000), reserve_bytes: 50_000 };
    let root = crate::scratch();
    let mut log = Sqlite::open(root.path(), options).unwrap();
    loop {
        let mut next = next(&log);
        next.openings = vec![b'x'; 20_000];
        if log.append(log.head(), &next, Space::Ordinary).is_err() {
            break;
        }
    }
    let db = Connection::open(root.path().join(schema::FILE)).unwrap();
    db.execute_batch("DELETE FROM openings").unwrap();
    append(&mut log, Space::Ordinary).unwrap();
    assert!(fs::metadata(root.path().join(schema::FILE)).unwrap().len() <= 400_000);
}

const QUICK: Tuning = Tuning { passive_bytes: 64 << 10, restart_bytes: 512 << 10 };

fn wal(root: &tempfile::TempDir) -> u64 {
    fs::metadata(root.path().join("log.db-wal")).map_or(0, |file| file.len())
}

#[test]
fn the_checkpointer_bounds_the_write_ahead_file() {
    let root = crate::scratch();
    let mut log = Sqlite::tuned(root.path(), ROOMY, QUICK).unwrap();
    let mut largest = 0;
    for _ in 0..5_000 {
        append(&mut log, Space::Ordinary).unwrap();
        largest = largest.max(wal(&root));
    }
    let rounds = log.rest();
    assert!(rounds > 5, "{rounds} rounds");
    // The bound, and what the thread may be behind by in its estimate.
    assert!(largest <= 2 * QUICK.restart_bytes, "{largest} bytes");
    assert_eq!(verify(&Reader::open(root.path()).unwrap()).unwrap().groups, 5_000);
}

#[test]
fn between_bursts_the_file_starts_again() {
    let root = crate::scratch();
    let mut log = Sqlite::tuned(root.path(), ROOMY, QUICK).unwrap();
    for _ in 0..500 {
        append(&mut log, Space::Ordinary).unwrap();
        log.rest();
    }
    let bytes = wal(&root);
    assert!(bytes <= 3 * QUICK.passive_bytes, "{bytes} bytes");
}

#[test]
fn a_reader_in_the_way_stops_no_append() {
    let root = crate::scratch();
    let mut log = Sqlite::tuned(root.path(), ROOMY, QUICK).unwrap();
    append(&mut log, Space::Ordinary).unwrap();
    let reader = Connection::open(root.path().join(schema::FILE)).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(rows::head(&reader).unwrap().n, 1);
    for _ in 0..500 {
        append(&mut log, Space::Ordinary).unwrap();
    }
    assert!(wal(&root) > QUICK.restart_bytes, "the reader pins the file");
    assert_eq!(rows::head(&reader).unwrap().n, 1);
    reader.execute_batch("COMMIT").unwrap();
    // The writer tries again when the file has grown by the bound once more.
    let pinned = wal(&root);
    for _ in 0..1_000 {
        append(&mut log, Space::Ordinary).unwrap();
        log.rest();
    }
    assert!(wal(&root) <= pinned + 2 * QUICK.restart_bytes, "{} then {}", pinned, wal(&root));
}

#[test]
fn a_paused_checkpointer_leaves_the_released_blocks_alone() {
    let root = crate::scratch();
    let mut log = Sqlite::tuned(root.path(), ROOMY, QUICK).unwrap();
    log.checkpointer.pause(true);
    let size = || fs::metadata(root.path().join(schema::FILE)).unwrap().len();
    let before = (size(), log.rest());
    log.reserve = Reserve::open(root.path().join("reserve"), 1 << 60);
    assert_eq!(append(&mut log, Space::Ordinary), Err(Append::Full), "no room for the reserve");
    for _ in 0..300 {
        append(&mut log, Space::Reserve).unwrap();
    }
    assert_eq!((size(), log.rest()), before);
}
