//! The first thing that anybody sees.

use crate::support::{
    place::{PROGRAM, Place, Ran, Running},
    process::{Watched, below},
    reader::recounted,
};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// What the demo prints, and what it is compared with; `UPDATE_EXPECT=1` writes it anew
const TRANSCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/golden/demo.txt");
const SCENARIO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/refund.toml");

#[test]
fn the_demo_holds_what_it_promises() {
    let place = Place::bare();
    let ran = place.run(&["demo", "--once"]).good();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(TRANSCRIPT, without_code(&ran.out)).unwrap();
    }
    // No id, no path and no time stands on standard output but the code of the question, which is another each time.
    assert_eq!(without_code(&ran.out), fs::read_to_string(TRANSCRIPT).unwrap());
    assert!(ran.err.contains("Everything is kept in") && ran.err.contains("Try next:"), "{ran:?}");

    // What it says to try next works, without anything being served.
    let tried: Vec<Vec<&str>> = ran
        .err
        .lines()
        .filter_map(|line| line.strip_prefix("  portreeve --data "))
        .map(|line| line.split(' ').collect())
        .collect();
    assert_eq!(tried.len(), 3, "{ran:?}");
    for words in tried {
        place.run(&[&["--data"], words.as_slice()].concat()).good();
    }
}

/// What was printed, with the code of the question made alike
fn without_code(out: &str) -> String {
    let line = |line: &str| match line.split_once(", code ") {
        Some((before, code)) if code.len() == 9 => format!("{before}, code XXXX-XXXX\n"),
        _ => format!("{line}\n"),
    };
    out.lines().map(line).collect()
}

fn played(place: &Place, arguments: &[&str]) -> (Ran, Value) {
    let ran = place.run(&[&["--json", "demo", "--once"], arguments].concat());
    let shown = ran.json();
    (ran, shown)
}

#[test]
fn the_demo_is_the_same_as_data() {
    let place = Place::bare();
    let (ran, shown) = played(&place, &[]);
    assert_eq!((ran.code, &shown["holds"]), (0, &json!(true)));
    let lines = shown["transcript"]["lines"].as_array().unwrap();
    assert!(lines.len() > 20 && lines.iter().all(|line| line["met"] == true), "{shown}");
    let steps = fs::read_to_string(SCENARIO).unwrap().matches("[[step]]").count();
    assert_eq!(lines.len(), steps);

    let folder = Path::new(shown["folder"].as_str().unwrap());
    assert_eq!(fs::read_dir(folder.join("shop-keys")).unwrap().count(), 0, "no key outlives the demo");

    let data = folder.join(".portreeve").display().to_string();
    let verified = place.json(&["--data", &data, "audit", "verify"]);
    assert_eq!(verified["ok"], true);
    if let Some(read) = recounted(Path::new(&data)) {
        let holds: Vec<&Value> = read["holds"].as_object().unwrap().values().collect();
        assert!(holds.len() == 1 && holds[0]["state"] == "done", "{read:#}");
    }
    let broken = Path::new(shown["folder"].as_str().unwrap()).join("tampered").display().to_string();
    assert_eq!(place.run(&["--data", &broken, "audit", "verify"]).code, 6);
}

#[test]
fn an_expectation_that_does_not_hold_is_a_failure() {
    let place = Place::bare();
    let text = fs::read_to_string(SCENARIO).unwrap();
    let hopes = text.replacen("expect = \"purpose_not_open\"", "expect = \"open\"", 1);
    assert_ne!(hopes, text);
    place.write("hopes.toml", &hopes);
    let ran = place.run(&["demo", "--once", "--scenario", "hopes.toml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("!! expected open") && ran.out.contains("NOT every expectation held"), "{ran:?}");
    let (ran, shown) = played(&place, &["--scenario", "hopes.toml"]);
    assert_eq!((ran.code, &shown["holds"]), (1, &json!(false)));
    assert_eq!(shown["transcript"]["lines"].as_array().unwrap().iter().filter(|line| line["met"] == false).count(), 1);

    place.write("broken.toml", "title = \"nothing\"\n[[step]]\nsay = \"?\"\n");
    let ran = place.run(&["demo", "--once", "--scenario", "broken.toml"]);
    assert!(ran.code == 1 && ran.err.contains("scenario_broken"), "{ran:?}");
    assert_eq!(place.run(&["demo", "--once", "--scenario", "absent.toml"]).code, 1);
}

#[test]
fn without_once_the_demo_goes_on_until_it_is_interrupted() {
    let place = Place::bare();
    let running = Running::start(place.command(PROGRAM, &["demo"]));
    while running.lines.next().expect("it ended") != "Every expectation held." {}
    let folder = fs::read_dir(place.path()).unwrap().next().unwrap().unwrap().path();
    let data = folder.join(".portreeve").display().to_string();
    crate::support::until("it serves on", || place.run(&["--data", &data, "status"]).code == 0);
    let tasks = place.json(&["--data", &data, "task", "list"]);
    assert!(tasks["tasks"].as_array().unwrap().iter().any(|task| task["state"] == "live"), "{tasks}");
    let demo = running.watched();
    let children: Vec<Watched> = below(demo.pid).into_iter().filter_map(Watched::of).collect();
    assert!(!children.is_empty(), "the second task's shop is still open");
    demo.signal(rustix::process::Signal::INT);
    assert_eq!(running.end(), 0);
    assert!(children.iter().all(Watched::is_over));
    assert_eq!(place.run(&["--data", &data, "status"]).code, 7);
}
