//! A record that is full, damaged, foreign or older than what is known of it.

use crate::support::{
    place::{Place, Ran, Serve, Task},
    upstream::{Received, Upstream, Wire},
};
use serde_json::{Value, json};
use std::{fs, path::Path, thread};

fn good(_: &Received, _: &mut Wire) -> bool {
    false
}

/// Room for the reserve and a few calls
fn limited(place: &Place, bytes_max: u64) {
    place.write(".portreeve/portreeve.toml", &format!("policy = \"../policy\"\n[log]\nbytes_max = {bytes_max}\n"));
}

const RESERVE: u64 = 16 << 20;

/// Calls with long values until the record is full; how many went through
fn fill(task: &Task) -> usize {
    for number in 0..1_000 {
        let value = format!("{number}-{}", "x".repeat(50_000));
        match task.word("shop", "act", &value).as_str() {
            "ok" => {}
            "record_full" => return number,
            word => panic!("{word}"),
        }
    }
    panic!("the record is never full");
}

#[test]
fn a_full_record_refuses_calls_but_no_stop() {
    let upstream = Upstream::http(&["act"], |received, _| received.value == "open");
    let place = Place::with(&[("shop", &upstream)], "", "");
    limited(&place, RESERVE + (600 << 10));
    let serve = place.serve(&["shop"]);
    let (task, other) = (serve.open("work"), serve.open("work"));
    // Under way while the record fills, and settled although it is full.
    let open = {
        let task = task.clone();
        thread::spawn(move || task.word("shop", "act", "open"))
    };
    upstream.wait_for_calls(1);
    let calls = fill(&task);
    assert!(calls > 2, "{calls}");
    assert_eq!(upstream.calls().len(), calls + 1, "what is refused is not sent");
    assert_eq!(other.word("shop", "act", "v"), "record_full");
    let (status, refused) = serve.admin("POST", "/v1/tasks", &json!({ "purpose": "work" }));
    assert_eq!((status, refused["error"]["word"].as_str()), (403, Some("record_full")), "{refused}");
    assert_eq!(place.run(&["policy", "apply"]).code, 4);

    let answer = serve.stop(&task.id);
    assert!(answer["recorded_us"].is_u64() && answer["cleared_us"].is_u64(), "{answer}");
    assert_eq!(open.join().unwrap(), "outcome_unknown");
    assert_ne!(task.word("shop", "act", "late"), "ok");
    serve.settled();
    let record = place.record();
    assert_eq!(record.stops(&task.id), ["killed"]);
    assert_eq!(record.call("open").ends, ["unknown"]);
    assert!(record.calls().values().all(|call| call.ends.len() == 1));
    place.run(&["audit", "verify"]).good();

    // A restart makes no room, but it starts, and stopping still works.
    serve.kill();
    let serve = place.serve(&[]);
    assert_eq!(serve.rejoin(&other).word("shop", "act", &"x".repeat(50_000)), "record_full");
    serve.stop("agent:assistant");
    serve.terminate();
    assert_eq!(place.record().stops("agent:assistant"), ["killed"]);

    // With more room, calls work again, under an agent that was not stopped.
    limited(&place, RESERVE + (4 << 20));
    place.write("policy/agents/second.toml", "owner = \"tests\"\n");
    let purpose = place.read("policy/purposes/work.toml").replace("[\"assistant\"]", "[\"second\"]");
    place.write("policy/purposes/work.toml", &purpose);
    let serve = place.serve(&[]);
    assert_eq!(serve.open("work").word("shop", "act", "again"), "ok");
    place.run(&["audit", "verify"]).good();
}

#[test]
fn a_flood_of_refusals_fills_nothing() {
    let upstream = Upstream::http(&["act"], good);
    let place = Place::with(&[("shop", &upstream)], "", "");
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    let before = place.record().lines.len();
    for number in 0..300 {
        assert_eq!(task.word("shop", &format!("no-such-{number}"), "v"), "-32602");
        assert_eq!(word_of(&task, number), "argument_not_named");
    }
    serve.terminate();
    let record = place.record();
    let counted: u64 = record.events("refused").map(|(_, refused)| refused["count"].as_u64().unwrap()).sum();
    assert!(record.lines.len() - before < 300, "{} records for 600 refusals", record.lines.len() - before);
    assert_eq!(counted, 600);
}

fn word_of(task: &Task, number: usize) -> String {
    crate::support::place::word(&task.call("shop", "act", &json!({ "value": "v", "extra": number })))
}

/// A place whose record holds some calls, and that nobody serves
fn kept() -> (Upstream, Place) {
    let upstream = Upstream::http(&["act"], good);
    let place = Place::with(&[("shop", &upstream)], "", "");
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    for number in 0..5 {
        assert_eq!(task.word("shop", "act", &format!("v{number}")), "ok");
    }
    serve.terminate();
    (upstream, place)
}

fn log(place: &Place) -> rusqlite::Connection {
    rusqlite::Connection::open(place.data().join("log.db")).unwrap()
}

#[track_caller]
fn refused(place: &Place) -> Ran {
    match Serve::start(place) {
        Ok(_) => panic!("it is served"),
        Err(ran) => {
            assert_eq!(ran.code, 1, "{ran:?}");
            assert!(ran.err.contains("error["), "{ran:?}");
            ran
        }
    }
}

#[test]
fn a_damaged_record_is_refused_with_the_place() {
    let (_upstream, place) = kept();
    let whole = fs::read(place.data().join("log.db")).unwrap();
    let restore = || {
        for leftover in ["log.db-wal", "log.db-shm"] {
            drop(fs::remove_file(place.data().join(leftover)));
        }
        fs::write(place.data().join("log.db"), &whole).unwrap();
    };
    let last: i64 = log(&place).query_row("SELECT max(n) FROM groups", [], |row| row.get(0)).unwrap();

    // The last group, changed: found at once, and named.
    log(&place)
        .execute(
            "UPDATE groups SET body = CAST(replace(CAST(body AS TEXT), 'settled', 'Settled') AS BLOB) WHERE n = ?1",
            [last],
        )
        .unwrap();
    let ran = refused(&place);
    assert!(ran.err.contains("log_unusable") && ran.err.contains(&format!("group {last}")), "{ran:?}");
    let ran = place.run(&["audit", "verify"]);
    assert!(ran.code == 6 && ran.err.contains(&last.to_string()), "{ran:?}");
    restore();

    // One before it, left out.
    log(&place).execute("DELETE FROM groups WHERE n = ?1", [last - 1]).unwrap();
    refused(&place);
    assert_eq!(place.run(&["audit", "verify"]).code, 6);
    restore();

    // One in the middle, changed: a start may begin at a snapshot, but verifying never does.
    let named = "SELECT min(n) FROM groups WHERE instr(CAST(body AS TEXT), 'assistant')";
    let middle: i64 = log(&place).query_row(named, [], |row| row.get(0)).unwrap();
    assert!(1 < middle && middle < last);
    log(&place)
        .execute(
            "UPDATE groups SET body = CAST(replace(CAST(body AS TEXT), 'assistant', 'assistent') AS BLOB) WHERE n = ?1",
            [middle],
        )
        .unwrap();
    let ran = place.run(&["audit", "verify"]);
    assert!(ran.code == 6 && ran.err.contains(&middle.to_string()), "{ran:?}");
    fs::remove_dir_all(place.data().join("snapshots")).unwrap();
    refused(&place);
    restore();

    // Two exchanged, an opening changed, all openings swapped.
    for change in [
        "UPDATE groups SET n = -1 WHERE n = 4; UPDATE groups SET n = 4 WHERE n = 5; UPDATE groups SET n = 5 WHERE n = -1",
        "UPDATE openings SET body = CAST(replace(CAST(body AS TEXT), 'v1', 'v9') AS BLOB)",
        "DELETE FROM groups WHERE n = 1",
    ] {
        log(&place).execute_batch(change).unwrap();
        assert_eq!(place.run(&["audit", "verify"]).code, 6, "{change}");
        restore();
    }

    // The tail, cut off: only a checkpoint from before can tell.
    let checkpoint = place.json(&["audit", "verify"])["checkpoint"].as_str().unwrap().to_owned();
    log(&place).execute_batch("DELETE FROM groups WHERE n > 6; DELETE FROM openings WHERE n > 6").unwrap();
    place.run(&["audit", "verify"]).good();
    assert_eq!(place.run(&["audit", "verify", "--checkpoint", &checkpoint]).code, 6);
    restore();

    // The file, not the record.
    let mut bytes = whole.clone();
    bytes.truncate(whole.len() / 2);
    fs::write(place.data().join("log.db"), &bytes).unwrap();
    refused(&place);
    fs::write(place.data().join("log.db"), b"this is no database, but it is long enough to be looked at").unwrap();
    assert!(refused(&place).err.contains("damaged"), "says that it is damaged");
    restore();
    place.run(&["audit", "verify", "--checkpoint", &checkpoint]).good();
    place.serve(&[]).terminate();
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let place = Place::new();
    let foreign = log(&place);
    foreign
        .execute_batch(
            "PRAGMA application_id = 7; CREATE TABLE bookmarks (url TEXT); INSERT INTO bookmarks VALUES ('x')",
        )
        .unwrap();
    drop(foreign);
    let before = fs::read(place.data().join("log.db")).unwrap();
    let ran = refused(&place);
    assert!(ran.err.contains("belongs to another program"), "{ran:?}");
    assert_eq!(place.run(&["audit", "verify"]).code, 3);
    assert_eq!(fs::read(place.data().join("log.db")).unwrap(), before);
}

#[test]
fn an_older_copy_of_the_folder_is_found_by_a_later_checkpoint() {
    let (_upstream, place) = kept();
    let copy = Place::bare();
    copy_folder(&place.data(), &copy.data());
    let serve = place.serve(&[]);
    serve.open("work");
    let later = place.json(&["audit", "verify"])["checkpoint"].as_str().unwrap().to_owned();
    serve.terminate();
    assert_eq!(copy.run(&["audit", "verify"]).code, 0, "it agrees with itself");
    let ran = copy.run(&["audit", "verify", "--checkpoint", &later]);
    assert!(ran.code == 6 && ran.err.contains("missing"), "{ran:?}");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            drop(fs::copy(entry.path(), target));
        }
    }
}

#[test]
fn values_stand_aside_and_can_be_taken_out_of_the_record() {
    let (_upstream, place) = kept();
    let bodies: Vec<u8> = {
        let log = log(&place);
        let mut groups = log.prepare("SELECT body FROM groups").unwrap();
        let bodies = groups.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
        bodies.flat_map(Result::unwrap).collect()
    };
    assert!(!String::from_utf8_lossy(&bodies).contains("\"v3\""), "no argument stands in the record itself");
    assert_eq!(place.record().call("v3").ends, ["ok"]);
    log(&place).execute("DELETE FROM openings", []).unwrap();
    place.run(&["audit", "verify"]).good();
    let calls = place.record().calls();
    assert!(calls.len() == 5 && calls.values().all(|call| call.value.is_empty()), "{calls:?}");
    assert!(place.run(&["audit", "tail"]).good().out.contains("(erased)"));
    // What needs the erased values refuses; nothing else does.
    let serve = place.serve(&[]);
    let (_, tasks) = serve.admin("GET", "/v1/tasks", &Value::Null);
    assert_eq!(tasks["tasks"].as_array().unwrap().len(), 1, "{tasks}");
}
