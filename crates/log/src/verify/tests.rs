use super::*;
use crate::{Options, Sqlite, contract};
use portreeve_core::log::{Log as _, Space};
use proptest::prelude::*;
use rusqlite::Connection;

const OPTIONS: Options = Options { bytes_max: None, reserve_bytes: 0 };
const SALT: &str = "000102030405060708090a0b0c0d0e0f";

fn commitment(value: &str) -> String {
    let salt: Vec<u8> = (0..16).collect();
    format!("sha256:{}", Hash::of(&[&salt, value.as_bytes()].concat()))
}

/// Each group has two events; the second holds a commitment
fn group(head: Head) -> Group {
    let mut group = contract::group(head, "plain");
    let value = format!("\"secret {}\"", group.n);
    group.body.extend(format!("{{\"event\":{{\"who\":[\"{}\"]}}}}\n", commitment(&value)).bytes());
    let opening = serde_json::json!({ "i": 1, "field": "who", "salt": SALT, "value": value });
    group.openings = format!("{opening}\n").into_bytes();
    group
}

fn log_of(count: u64) -> tempfile::TempDir {
    let root = crate::scratch();
    let mut log = Sqlite::open(root.path(), OPTIONS).unwrap();
    for _ in 0..count {
        log.append(log.head(), &group(log.head()), Space::Ordinary).unwrap();
    }
    root
}

fn changed(root: &tempfile::TempDir, sql: &str) -> Result<Verified, Read> {
    Connection::open(root.path().join("log.db")).unwrap().execute_batch(sql).unwrap();
    verify(&Reader::open(root.path()).unwrap())
}

#[test]
fn whole_log_beside_its_writer() {
    let root = log_of(600);
    let mut log = Sqlite::open(root.path(), OPTIONS).unwrap();
    let reader = Reader::open(root.path()).unwrap();
    let verified = verify(&reader).unwrap();
    assert_eq!(verified, Verified { groups: 600, events: 1200, head: log.head() });
    log.append(log.head(), &group(log.head()), Space::Ordinary).unwrap();
    assert_eq!(verify(&reader).unwrap().groups, 601);
    let empty = log_of(0);
    assert_eq!(changed(&empty, ""), Ok(Verified { groups: 0, events: 0, head: Head::default() }));
}

#[test]
fn names_the_first_wrong_group() {
    let text = "CAST(body AS TEXT)";
    for (sql, n) in [
        (format!("UPDATE groups SET body = CAST(replace({text}, 'plain', 'plein') AS BLOB) WHERE n IN (7, 9)"), 7),
        ("UPDATE groups SET hash = zeroblob(32) WHERE n = 4".to_owned(), 4),
        ("DELETE FROM groups WHERE n = 3".to_owned(), 3),
        ("DELETE FROM groups WHERE n = 1".to_owned(), 1),
        ("UPDATE groups SET n = -3 WHERE n = 3; UPDATE groups SET n = 3 WHERE n = 4; UPDATE groups SET n = 4 WHERE n = -3".to_owned(), 3),
        ("DELETE FROM groups WHERE n = 10".to_owned(), 10),
        ("UPDATE groups SET n = n + 1 WHERE n = 10".to_owned(), 10),
        ("INSERT INTO openings VALUES (12, x'7b7d')".to_owned(), 12),
    ] {
        match changed(&log_of(10), &sql) {
            Err(Read::Broken { n: found, why }) => assert_eq!(found, n, "{sql}: {why}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn a_rewritten_group_is_found_by_its_successor() {
    let root = log_of(5);
    let db = Connection::open(root.path().join("log.db")).unwrap();
    let body: Vec<u8> = db.query_row("SELECT body FROM groups WHERE n = 3", [], |row| row.get(0)).unwrap();
    let body = String::from_utf8(body).unwrap().replace("plain", "forged");
    let hash = Hash::of(body.as_bytes()).0;
    db.execute("UPDATE groups SET body = ?1, hash = ?2 WHERE n = 3", (body.as_bytes(), hash)).unwrap();
    assert!(matches!(changed(&root, ""), Err(Read::Broken { n: 4, .. })));
}

#[test]
fn a_damaged_page_is_a_broken_group() {
    let root = log_of(200);
    let db = Connection::open(root.path().join("log.db")).unwrap();
    let pages: i64 = db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    drop(db);
    let path = root.path().join("log.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let from = usize::try_from(pages / 2).unwrap() * 4096;
    bytes[from..from + 512].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    match verify(&Reader::open(root.path()).unwrap()) {
        Err(Read::Broken { n, .. }) => assert!((1..=200).contains(&n), "{n}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn checkpoints_bind_the_past() {
    let root = log_of(5);
    let reader = Reader::open(root.path()).unwrap();
    let at = |n: u64| reader.groups(n - 1, 1).unwrap()[0].head();
    for n in 1..=5 {
        assert_eq!(verify_against(&reader, at(n)).unwrap().groups, 5);
    }
    assert_eq!(verify_against(&reader, Head::default()).unwrap().groups, 5);
    let against = |n, hash| match verify_against(&reader, Head { n, hash }) {
        Err(Read::Broken { n, .. }) => n,
        other => panic!("{other:?}"),
    };
    assert_eq!(against(3, Hash::of(b"another past")), 3);
    assert_eq!(against(9, Hash::of(b"a future that was cut off")), 6);
    assert_eq!(against(0, Hash::of(b"nothing")), 0);
}

#[test]
fn openings_open_what_the_event_commits_to() {
    let opening = |i: i64, salt: &str, value: &str| {
        serde_json::json!({ "i": i, "field": "who", "salt": salt, "value": value }).to_string()
    };
    let first = group(Head::default());
    let value = "\"secret 1\"";
    let check = |openings: String| openings_of(&first, openings);
    check(String::new()).unwrap();
    check(opening(1, SALT, value)).unwrap();
    check(opening(1, SALT, value) + "\n" + &opening(1, SALT, value) + "\n").unwrap();
    for wrong in [
        opening(0, SALT, value),
        opening(2, SALT, value),
        opening(-1, SALT, value),
        opening(1, SALT, "\"secret 2\""),
        opening(1, SALT, "secret 1"),
        opening(1, "010102030405060708090a0b0c0d0e0f", value),
        opening(1, SALT.trim_start_matches("00"), value),
        opening(1, &SALT.replace('f', "g"), value),
        "not json".to_owned(),
    ] {
        assert!(matches!(check(wrong.clone()), Err(Read::Broken { n: 1, .. })), "{wrong}");
    }
}

#[test]
fn a_commitment_counts_only_as_a_whole_value() {
    let value = "\"v\"";
    let openings = serde_json::json!({ "i": 0, "field": "f", "salt": SALT, "value": value }).to_string();
    let with = |event: String| {
        let mut group = contract::group(Head::default(), "");
        let header = group.body.split_inclusive(|byte| *byte == b'\n').next().unwrap().to_vec();
        group.body = [header, event.into_bytes()].concat();
        openings_of(&group, openings.clone())
    };
    let commitment = commitment(value);
    with(serde_json::json!({ "a": [{ "b": commitment }] }).to_string()).unwrap();
    with(serde_json::json!({ "a": format!("{commitment} and more") }).to_string()).unwrap_err();
    with(serde_json::json!({ "a": format!("\"{commitment}\"") }).to_string()).unwrap_err();
    with(serde_json::json!({ commitment.clone(): 1 }).to_string()).unwrap_err();
}

fn openings_of(group: &Group, openings: String) -> Result<(), Read> {
    Chain::default().add(&Group { openings: openings.into_bytes(), ..group.clone() })
}

proptest! {
    #[test]
    fn any_change_of_a_byte_is_found(at in 0usize..5, byte in 0usize..400, flip in 1u8..=255) {
        let mut head = Head::default();
        let mut groups: Vec<Group> = (0..5).map(|_| {
            let next = group(head);
            head = next.head();
            next
        }).collect();
        let byte = byte % groups[at].body.len();
        groups[at].body[byte] ^= flip;
        let mut chain = Chain::through(head);
        let found = groups.iter().try_for_each(|group| chain.add(group)).and_then(|()| chain.end().map(drop));
        let near = matches!(found, Err(Read::Broken { n, .. }) if n == at as u64 + 1 || n == at as u64 + 2);
        prop_assert!(near, "{found:?}");
    }

    #[test]
    fn hostile_lines_never_panic(body: Vec<u8>, openings: Vec<u8>) {
        let _answer = Chain::default().add(&Group { n: 1, body, openings, blobs: vec![] });
    }
}
