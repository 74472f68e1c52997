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
    let tests = tests(&setup.interop, &mut tally);
    if let Err(error) = tests {
        println!("FAILED tests: {error:#}");
        failures.push("tests".to_owned());
    }

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

/// Runs the tests of the whole workspace, the ones of the whole system among them
fn tests(interop: &Path, tally: &mut Tally) -> anyhow::Result<()> {
    let skips = interop.join(SKIPS);
    fs::write(&skips, "").with_context(|| format!("could not write {}", skips.display()))?;

    let mut command = shell::cargo(&["test", "--workspace", "--no-fail-fast"]);
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

    for skipped in fs::read_to_string(&skips).context("the list of skipped tests is gone")?.lines() {
        println!("skipped: {skipped}");
        tally.skip_passed();
    }
    if !status.success() {
        // A test program that does not build, or dies, has no result line.
        tally.failed = tally.failed.max(failed_before + 1);
        bail!("cargo test failed ({status})");
    }
    Ok(())
}

/// Where a test that leaves itself out writes one line, `NAME: WHY`
///
/// The test harness knows no such outcome: to it, that test passed.
const SKIPS: &str = "skipped";
