use super::*;
use crate::{Options, Sqlite, contract};
use portreeve_core::log::{Log as _, Space};
use std::fs;

const OPTIONS: Options = Options { bytes_max: None, reserve_bytes: 0 };

fn append(log: &mut Sqlite, blob: &[u8]) -> Group {
    let mut next = contract::group(log.head(), "event");
    next.openings = b"{\"opening\":1}\n".to_vec();
    next.blobs = vec![(Hash::of(blob), blob.to_vec())];
    log.append(log.head(), &next, Space::Ordinary).unwrap();
    Group { blobs: vec![], ..next }
}

#[test]
fn follows_a_live_writer() {
    let root = crate::scratch();
    let mut log = Sqlite::open(root.path(), OPTIONS).unwrap();
    let reader = Reader::open(root.path()).unwrap();
    assert_eq!(reader.head(), Ok(Head::default()));
    let mut groups = vec![];
    for i in 0..20u8 {
        groups.push(append(&mut log, &[i]));
        assert_eq!(reader.head().unwrap(), log.head());
        assert_eq!(reader.groups(0, 100).unwrap(), groups);
        assert_eq!(reader.blob(Hash::of(&[i])).unwrap(), Some(vec![i]));
    }
    assert_eq!(reader.groups(5, 3).unwrap(), &groups[5..8]);
}

#[test]
fn reads_after_a_clean_end_and_keeps_no_writer_out() {
    let root = crate::scratch();
    let mut log = Sqlite::open(root.path(), OPTIONS).unwrap();
    let group = append(&mut log, b"blob");
    drop(log);
    let reader = Reader::open(root.path()).unwrap();
    assert_eq!(reader.groups(0, 10).unwrap(), vec![group]);
    let mut log = Sqlite::open(root.path(), OPTIONS).unwrap();
    append(&mut log, b"blob");
    assert_eq!(reader.head().unwrap().n, 2);
    drop(log);
    assert_eq!(reader.head().unwrap().n, 2, "a writer that ends leaves readers alone");
}

#[test]
fn writes_nothing() {
    let root = crate::scratch();
    drop(Sqlite::open(root.path(), OPTIONS).unwrap());
    let reader = Reader::open(root.path()).unwrap();
    assert!(reader.db.execute("DELETE FROM groups", []).is_err());
}

#[test]
fn names_a_folder_without_a_log() {
    let root = crate::scratch();
    assert!(matches!(Reader::open(root.path()), Err(Open::Empty { .. })));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "and makes nothing");
    fs::write(root.path().join("log.db"), "").unwrap();
    assert!(matches!(Reader::open(root.path()), Err(Open::Empty { .. })));
}

#[test]
fn damaged_content_is_an_error() {
    let root = crate::scratch();
    let mut log = Sqlite::open(root.path(), OPTIONS).unwrap();
    append(&mut log, b"blob");
    let db = Connection::open(root.path().join("log.db")).unwrap();
    db.execute_batch("UPDATE blobs SET body = x'00'; UPDATE groups SET body = x'00'").unwrap();
    let reader = Reader::open(root.path()).unwrap();
    assert!(matches!(reader.blob(Hash::of(b"blob")), Err(Read::Storage(_))));
    assert!(matches!(reader.groups(0, 1), Err(Read::Broken { n: 1, .. })));
}
