//! Running the official suite, and reading what it found.

use crate::support::place::Place;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// What of the folder of foreign programs the suite needs
pub(super) const NEEDS: &[&str] = &["node/newer-node", PROGRAM];
const PROGRAM: &str = "node/node_modules/@modelcontextprotocol/conformance/dist/index.js";

/// A run of all scenarios may take so long on a slow machine; what hangs is ended
const LIMIT: Duration = Duration::from_secs(300);

/// What was found in one scenario: checks that did not succeed, as `failure ID` or `warning ID`
pub(super) type Found = BTreeSet<String>;

/// What was found, by scenario
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Findings(pub(super) BTreeMap<String, Found>);

impl Findings {
    /// `SCENARIO CHECK` for everything that did not succeed
    pub(super) fn lines(&self) -> BTreeSet<String> {
        let of = |(scenario, found): (&String, &Found)| {
            found.iter().map(|check| format!("{scenario} {check}")).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let good = self.0.values().filter(|found| found.is_empty()).count();
        write!(f, "{good} of {}", self.0.len())
    }
}

/// Runs the suite with these arguments in the place, and reads its results
pub(super) fn run(interop: &Path, place: &Place, arguments: &[&str], environment: &[(&str, &str)]) -> Findings {
    let results = place.path().join("results");
    drop(fs::remove_dir_all(&results));
    let program = interop.join(PROGRAM);
    let mut all = vec![program.to_str().unwrap()];
    all.extend(arguments);
    all.extend(["--output-dir", results.to_str().unwrap()]);
    let mut command = place.command(interop.join(NEEDS[0]).to_str().unwrap(), &all);
    command.envs(environment.iter().copied());
    let said = place.path().join("suite.log");
    finish(&mut command, &said);
    let found = read(&results);
    assert!(!found.0.is_empty(), "{}", fs::read_to_string(said).unwrap_or_default());
    found
}

/// Its exit code says whether all is well, which is asked of its results here
fn finish(command: &mut Command, said: &Path) {
    let log = fs::File::create(said).unwrap();
    let mut child = command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn().unwrap();
    let watched = crate::support::process::Watched::of(child.id()).unwrap();
    if !watched.ends_within(LIMIT) {
        drop(child.kill());
    }
    drop(child.wait());
}

/// Every `checks.json` below the folder; folders are named `[server-]SCENARIO-TIME`
fn read(results: &Path) -> Findings {
    let mut findings = Findings::default();
    let mut folders: Vec<PathBuf> = vec![results.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("checks.json") {
                let checks: Vec<Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
                findings.0.entry(scenario(&path)).or_default().extend(checks.iter().filter_map(unsuccessful));
            }
        }
    }
    findings
}

fn scenario(path: &Path) -> String {
    let name = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let name = name.strip_prefix("server-").unwrap_or(name);
    let end = name.len() - "-2026-11-20T14-28-53-887Z".len();
    name.get(..end).unwrap().to_owned()
}

fn unsuccessful(check: &Value) -> Option<String> {
    let status = check["status"].as_str().unwrap().to_ascii_lowercase();
    let id = check["id"].as_str().unwrap();
    ["failure", "warning"].contains(&status.as_str()).then(|| format!("{status} {id}"))
}
