//! Other processes: killed at any moment, or kept out. The test binary starts itself as the other one.

use super::*;
use crate::Open;
use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
};

const FOLDER: &str = "PORTREEVE_LOG_TEST_FOLDER";
const SMALL: Tuning = Tuning { passive_bytes: 32 << 10, restart_bytes: 128 << 10 };

/// Runs a test of this file in a process of its own
fn start(test: &str, folder: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("sqlite::tests::durability::{test}"), "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
}

/// In a child: appends until killed, and names each head once it is acknowledged
#[test]
fn child_appends() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let mut log = Sqlite::tuned(Path::new(&folder), ROOMY, SMALL).unwrap();
    say(&format!("\nopen {}", log.head().n));
    loop {
        let mut group = next(&log);
        group.openings = vec![];
        group.blobs = vec![(group.hash(), group.body.clone())];
        let head = log.append(log.head(), &group, Space::Ordinary).unwrap();
        say(&format!("ack {} {}", head.n, head.hash));
    }
}

/// In a child: tries to open a folder that is held
#[test]
fn child_opens() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    match Sqlite::open(Path::new(&folder), ROOMY) {
        Err(Open::Held { pid: Some(pid) }) => say(&format!("\nheld {pid}")),
        other => say(&format!("\nother {other:?}")),
    }
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let root = crate::scratch();
    let mut acknowledged: Vec<(u64, String)> = vec![];
    let mut draw = 12_345_u32;
    for round in 0..20 {
        let mut child = start("child_appends", root.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        draw = draw.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let acks = 1 + (draw >> 16) % 150;
        let mut seen = 0;
        let mut take = |line: String, seen: &mut u32| {
            if let Some((n, hash)) = line.strip_prefix("ack ").and_then(|rest| rest.split_once(' ')) {
                acknowledged.push((n.parse().unwrap(), hash.to_owned()));
                *seen += 1;
            }
        };
        while seen < acks {
            take(lines.next().unwrap(), &mut seen);
        }
        child.kill().unwrap();
        // What it could still say before it died was acknowledged as well.
        lines.for_each(|line| take(line, &mut seen));
        child.wait().unwrap();

        let reader = Reader::open(root.path()).unwrap();
        let verified = verify(&reader).unwrap();
        let last = acknowledged.last().unwrap().0;
        assert!(
            verified.groups == last || verified.groups == last + 1,
            "round {round}: {verified:?}, {last} acknowledged"
        );
        for (n, hash) in &acknowledged {
            let found = reader.groups(n - 1, 1).unwrap();
            assert_eq!((found[0].n, found[0].hash().to_string()), (*n, hash.clone()), "round {round}");
            assert!(reader.blob(found[0].hash()).unwrap().is_some());
        }
    }
    let log = Sqlite::open(root.path(), ROOMY).unwrap();
    assert!(log.head().n >= acknowledged.len() as u64);
}

#[test]
fn two_processes_on_one_folder() {
    let root = crate::scratch();
    let mut log = Sqlite::open(root.path(), ROOMY).unwrap();
    append(&mut log, Space::Ordinary).unwrap();
    let child = start("child_opens", root.path()).wait_with_output().unwrap();
    let said = String::from_utf8(child.stdout).unwrap();
    assert!(said.contains(&format!("\nheld {}\n", std::process::id())), "{said}");
    append(&mut log, Space::Ordinary).unwrap();
}

#[test]
fn a_lock_dies_with_its_process() {
    let root = crate::scratch();
    let mut child = start("child_appends", root.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("ack 3 ")));
    let held = Sqlite::open(root.path(), ROOMY).unwrap_err();
    assert!(matches!(held, Open::Held { pid } if pid == Some(child.id())), "{held}");
    assert!(Reader::open(root.path()).unwrap().head().unwrap().n >= 3, "readers are let in");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(Sqlite::open(root.path(), ROOMY).unwrap().head().n >= 3);
}
