//! Readers of the record that share no code with Portreeve.

use serde_json::{Value, json};
use std::{fs, io::Write as _, path::Path, process::Command};

const APPROVALS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/readers/approvals.py");

/// Has a second reader count again who agreed to what in a data folder, and fails the test if it finds anything wrong
///
/// What it read; `None` where there is no Python.
#[track_caller]
pub(crate) fn recounted(data: &Path) -> Option<Value> {
    // Nothing is written beside the sources.
    let Ok(ran) = Command::new("python3").args(["-B", APPROVALS]).arg(data).output() else {
        println!("SKIPPED: recounting approvals: there is no python3");
        if let Some(folder) = std::env::var_os("PORTREEVE_INTEROP") {
            let list = fs::OpenOptions::new().append(true).create(true).open(Path::new(&folder).join("skipped"));
            drop(list.and_then(|mut list| writeln!(list, "recounting approvals: there is no python3")));
        }
        return None;
    };
    let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(errors.is_empty(), "{:?}: {errors}", ran.status);
    let read: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((ran.status.code(), &read["findings"]), (Some(0), &json!([])), "{read:#}");
    Some(read)
}
