//! The console in a real browser: `tests/console`, over the sample world.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/console");
const CHROMIUM: &str = "/usr/bin/chromium";

/// Says where the test command looks that this test left itself out
fn skip(why: &str) {
    eprintln!("skipped: {why}");
    if let Some(folder) = std::env::var_os("PORTREEVE_INTEROP") {
        let list = OpenOptions::new().append(true).create(true).open(PathBuf::from(folder).join("skipped"));
        writeln!(list.unwrap(), "browser::people_can_use_every_page: {why}").unwrap();
    }
}

#[test]
fn people_can_use_every_page() {
    let Some(interop) = std::env::var_os("PORTREEVE_INTEROP").map(PathBuf::from) else {
        return skip("PORTREEVE_INTEROP is not set; see `cargo xtask setup`");
    };
    for package in ["playwright-core", "@axe-core/playwright"] {
        if !interop.join("node/node_modules").join(package).exists() {
            return skip(&format!("{package} is missing"));
        }
    }
    if !Path::new(CHROMIUM).exists() {
        return skip("there is no Chromium");
    }
    // Built together with this test: examples lie beside the folder of tests.
    let here = std::env::current_exe().unwrap();
    let sample = here.ancestors().nth(2).unwrap().join("examples/sample");
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=spec", TESTS]).env("PORTREEVE_CONSOLE_SAMPLE", sample);
    let out = node.env("CHROMIUM", CHROMIUM).stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{told}\n{}", String::from_utf8_lossy(&out.stderr));
    // A runner that found no test is content, too.
    assert!(told.contains("pass ") && !told.contains("pass 0"), "{told}");
}
