//! `cargo xtask test`: everything that a change has to pass

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::tally::Tally;
use crate::{rooms, setup, shell};

/// Runs all of it, prints the counts, and answers whether nothing failed
pub(crate) fn run() -> anyhow::Result<bool> {
    let start = Instant::now();
    let setup = setup::run()?;
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    let mut check = |name: &str, tally: &mut Tally, result: anyhow::Result<()>| {
        tally.add(&result);
        if let Err(error) = result {
            println!("FAILED {name}: {error:#}");
            failures.push(name.to_owned());
        }
    };

    check("format", &mut tally, shell::run(&mut shell::cargo(&["fmt", "--all", "--check"])));
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    check("clippy", &mut tally, shell::run(&mut shell::cargo(&clippy)));
    check("rooms", &mut tally, rooms::check());
    forget_skips(&setup.interop)?;
    let others = cargo_test(&setup.interop, &["--", "--skip", CONFORMANCE], &[], &mut tally);
    let conformance = conformance(&setup.interop, &[], &mut tally);
    for (name, result) in [("tests", others), ("conformance", conformance)] {
        if let Err(error) = result {
            println!("FAILED {name}: {error:#}");
            failures.push(name.to_owned());
        }
    }
    tell_skips(&setup.interop, &mut tally)?;

    for (part, why) in &setup.missing {
        println!("skipped: {part}: {why}");
        tally.skipped += 1;
    }
    if !failures.is_empty() {
        println!("failed: {}", failures.join(", "));
    }
    println!("everything took {} s", start.elapsed().as_secs());
    println!("{tally}");
    Ok(tally.failed == 0 && failures.is_empty())
}

/// Runs the official conformance suite alone, and writes its table into the documentation
pub(crate) fn conform() -> anyhow::Result<bool> {
    let setup = setup::run()?;
    let mut tally = Tally::default();
    forget_skips(&setup.interop)?;
    // What tests compare with is written anew where this is set.
    let result = conformance(&setup.interop, &[("UPDATE", "1")], &mut tally);
    tell_skips(&setup.interop, &mut tally)?;
    if let Err(error) = &result {
        println!("FAILED conformance: {error:#}");
    }
    println!("{tally}");
    Ok(tally.failed == 0 && result.is_ok())
}

/// Runs what is tried against programs of others, and nothing else
pub(crate) fn interop() -> anyhow::Result<bool> {
    let setup = setup::run()?;
    let mut tally = Tally::default();
    forget_skips(&setup.interop)?;
    let arguments = [&["--test", "system", "--"], COUNTERPARTS].concat();
    let result = cargo_test(&setup.interop, &arguments, &[], &mut tally);
    tell_skips(&setup.interop, &mut tally)?;
    if let Err(error) = &result {
        println!("FAILED interop: {error:#}");
    }
    println!("{tally}");
    Ok(tally.failed == 0 && result.is_ok())
}

/// The tests against programs of others
const COUNTERPARTS: &[&str] = &[
    "interop::",
    "clients::",
    "servers::",
    "conformance::",
    "outside::",
    "keys::",
    "spire::",
    "spiffe::",
    "people::",
    "ci::",
];

/// The tests that run the conformance suite
const CONFORMANCE: &str = "conformance::";

/// Runs them one after the other and with nothing beside them: the suite's checks wait for short times
fn conformance(interop: &Path, environment: &[(&str, &str)], tally: &mut Tally) -> anyhow::Result<()> {
    let arguments = ["--test", "system", "--", "--test-threads", "1", "--nocapture", CONFORMANCE];
    cargo_test(interop, &arguments, environment, tally)
}

/// Runs tests of the whole workspace, built as one, and counts them
fn cargo_test(
    interop: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let mut command = shell::cargo(&["test", "--workspace", "--no-fail-fast"]);
    command.args(arguments).envs(environment.iter().copied());
    command.env("PORTREEVE_INTEROP", interop).stdout(Stdio::piped());
    shell::show(&command);
    let mut child = command.spawn().context("could not start cargo test")?;
    let mut lines = BufReader::new(child.stdout.take().context("cargo test has no output")?);
    let (failed_before, mut line) = (tally.failed, Vec::new());
    while lines.read_until(b'\n', &mut line).context("could not read what cargo test says")? > 0 {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        tally.add_line(&text);
        line.clear();
    }
    let status = child.wait().context("cargo test did not end")?;
    if !status.success() {
        // A test program that does not build, or dies, has no result line.
        tally.failed = tally.failed.max(failed_before + 1);
        bail!("cargo test failed ({status})");
    }
    Ok(())
}

fn forget_skips(interop: &Path) -> anyhow::Result<()> {
    let skips = interop.join(SKIPS);
    fs::write(&skips, "").with_context(|| format!("could not write {}", skips.display()))
}

fn tell_skips(interop: &Path, tally: &mut Tally) -> anyhow::Result<()> {
    for skipped in fs::read_to_string(interop.join(SKIPS)).context("the list of skipped tests is gone")?.lines() {
        println!("skipped: {skipped}");
        tally.skip_passed();
    }
    Ok(())
}

/// Where a test that leaves itself out writes one line, `NAME: WHY`
///
/// The test harness knows no such outcome: to it, that test passed.
const SKIPS: &str = "skipped";
