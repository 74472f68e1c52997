//! Which room may depend on which, and what some may never reach
//!
//! Dependencies point one way, down to `core`; nobody depends on `portreeve`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{bail, ensure};

use crate::shell;

/// One crate of the workspace
struct Room {
    name: &'static str,
    /// Crates of the workspace that it may depend on
    uses: &'static [&'static str],
    /// Crates of the workspace that its tests may use besides
    tests_use: &'static [&'static str],
    /// Crates that it may not reach, not even through others
    never: &'static [&'static str],
}

const CORE: &str = "portreeve-core";
const RULES: &str = "portreeve-rules";
const LOG: &str = "portreeve-log";
const MCP: &str = "portreeve-mcp";
const IDENTITY: &str = "portreeve-identity";
const CREDENTIALS: &str = "portreeve-credentials";
const UPSTREAM: &str = "portreeve-upstream";
const GATEWAY: &str = "portreeve-gateway";
const CONSOLE: &str = "portreeve-console";
const SIM: &str = "portreeve-sim";

/// The walls of the house
const ROOMS: &[Room] = &[
    Room {
        name: CORE,
        uses: &[],
        tests_use: &[],
        // No I/O, no clock, no randomness; Cedar stands behind a port.
        never: &[
            "tokio",
            "mio",
            "hyper",
            "axum",
            "rusqlite",
            "cedar-policy",
            "cedar-policy-core",
            "jiff",
            "chrono",
            "getrandom",
            "rand",
            "rustix",
            "tempfile",
        ],
    },
    Room { name: RULES, uses: &[CORE], tests_use: &[], never: &["tokio", "hyper", "rusqlite"] },
    Room { name: LOG, uses: &[CORE], tests_use: &[], never: &["tokio", "hyper", "cedar-policy"] },
    Room { name: MCP, uses: &[CORE], tests_use: &[], never: &["tokio", "hyper", "rusqlite", "cedar-policy"] },
    Room { name: IDENTITY, uses: &[CORE], tests_use: &[], never: &["rusqlite", "cedar-policy"] },
    Room { name: UPSTREAM, uses: &[CORE, MCP], tests_use: &[], never: &["rusqlite", "cedar-policy"] },
    Room { name: CREDENTIALS, uses: &[CORE, IDENTITY, UPSTREAM], tests_use: &[], never: &["rusqlite", "cedar-policy"] },
    Room {
        name: GATEWAY,
        uses: &[CORE, RULES, LOG, MCP, IDENTITY, CREDENTIALS, UPSTREAM],
        tests_use: &[SIM],
        // The official SDK's model of a message loses what it does not know.
        never: &["rmcp"],
    },
    // Pages over what the gateway's office says; it opens no log, no connection and no policy of its own.
    Room { name: CONSOLE, uses: &[CORE, IDENTITY, GATEWAY], tests_use: &[], never: &["rmcp"] },
    Room { name: SIM, uses: &[CORE, RULES], tests_use: &[LOG, IDENTITY], never: &["tokio", "hyper"] },
    Room {
        name: "portreeve",
        uses: &[CORE, RULES, LOG, MCP, IDENTITY, CREDENTIALS, UPSTREAM, GATEWAY, CONSOLE, SIM],
        tests_use: &[],
        never: &[],
    },
    // It measures the binary from outside, and single judgements and long logs by calling them.
    Room { name: "portreeve-bench", uses: &[CORE, RULES, LOG], tests_use: &[], never: &["rmcp"] },
    Room { name: "xtask", uses: &[], tests_use: &[], never: &["serde", "tokio"] },
];

/// Fails with a list if a wall is broken
pub(crate) fn check() -> anyhow::Result<()> {
    println!("rooms: {} crates against their allowed dependencies", ROOMS.len());
    let uses = tree(&["--workspace", "--depth", "1", "--edges", "normal,build"])?;
    let tests_use = tree(&["--workspace", "--depth", "1", "--edges", "dev"])?;
    let mut broken = broken(&edges(&uses), &edges(&tests_use));
    for room in ROOMS.iter().filter(|room| !room.never.is_empty()) {
        let reached = tree(&["--package", room.name, "--edges", "normal,build"])?;
        let reached = names(&reached);
        for never in room.never.iter().filter(|never| reached.contains(**never)) {
            broken.push(format!("{} reaches {never} (see: cargo tree -p {} -i {never})", room.name, room.name));
        }
    }
    if !broken.is_empty() {
        bail!("{}", broken.join("; "));
    }
    Ok(())
}

/// `cargo tree`: the same resolution as `cargo metadata`, as text
fn tree(arguments: &[&str]) -> anyhow::Result<String> {
    let mut all = vec!["tree", "--prefix", "depth", "--format", " {p}", "--no-dedupe"];
    all.extend(arguments);
    let text = shell::output(&mut shell::cargo(&all))?;
    ensure!(!text.trim().is_empty(), "cargo tree says nothing");
    Ok(text)
}

/// Depth and name of each line, which reads `DEPTH NAME vVERSION …`
fn lines(tree: &str) -> impl Iterator<Item = (usize, &str)> {
    tree.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?))
    })
}

/// All names of a tree
fn names(tree: &str) -> BTreeSet<&str> {
    lines(tree).map(|(_, name)| name).collect()
}

/// Direct dependencies by the crate that has them
fn edges(tree: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut edges = BTreeMap::<&str, BTreeSet<&str>>::new();
    let mut from = "";
    for (depth, name) in lines(tree) {
        if depth == 0 {
            from = name;
            edges.entry(name).or_default();
        } else {
            edges.entry(from).or_default().insert(name);
        }
    }
    edges
}

fn broken(uses: &BTreeMap<&str, BTreeSet<&str>>, tests_use: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let mut broken = Vec::new();
    for (name, dependencies) in uses {
        let Some(room) = ROOMS.iter().find(|room| room.name == *name) else {
            broken.push(format!("{name} is not in the table of rooms (xtask/src/rooms.rs)"));
            continue;
        };
        let inside = |name: &&&str| uses.contains_key(**name);
        for other in dependencies.iter().filter(inside).filter(|other| !room.uses.contains(other)) {
            broken.push(format!("{name} may not depend on {other}"));
        }
        let may_test = |other: &&&str| room.uses.contains(*other) || room.tests_use.contains(*other);
        for other in tests_use.get(name).into_iter().flatten().filter(inside).filter(|other| !may_test(other)) {
            broken.push(format!("the tests of {name} may not use {other}"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_wall_is_named() {
        let uses = edges(
            "0 portreeve-core v0.1.0 (/w/core)\n1 serde v1.0.0\n1 portreeve-log v0.1.0 (/w/log)\n\
             0 portreeve-log v0.1.0 (/w/log)\n1 portreeve-core v0.1.0 (/w/core)\n\n0 attic v0.1.0 (/w/attic)\n",
        );
        let tests_use = edges("0 portreeve-log v0.1.0 (/w/log)\n1 attic v0.1.0 (/w/attic)\n1 tempfile v3.0.0\n");
        assert_eq!(
            broken(&uses, &tests_use),
            [
                "attic is not in the table of rooms (xtask/src/rooms.rs)",
                "portreeve-core may not depend on portreeve-log",
                "the tests of portreeve-log may not use attic",
            ]
        );
    }

    #[test]
    fn the_table_points_down() {
        for (place, room) in ROOMS.iter().enumerate() {
            for other in room.uses {
                let below = ROOMS.iter().position(|candidate| candidate.name == *other).unwrap();
                assert!(below < place, "{} stands above {other}", room.name);
                assert_ne!(*other, "portreeve");
            }
        }
    }
}
