//! The official conformance suite against the fixture, directly and through Portreeve, and against Portreeve as a client.
//!
//! Its checks wait for short times, so `cargo xtask test` runs these tests alone, one after the other.

mod shim;
mod suite;

use crate::interop::interop;
use crate::support::{
    fixture::{self, Fixture},
    place::Place,
};
use serde_json::json;
use shim::Shim;
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    thread,
};
use suite::Findings;

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/conformance/baseline.txt");
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md");
const DRIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/typescript/driver.mjs");
const BEGIN: &str = "<!-- conformance: written by `cargo xtask conformance` -->\n";
const END: &str = "<!-- /conformance -->\n";

/// The sets that the suite has frozen, with the era of the client that it plays
const REQUIREMENTS: [(&str, &str); 2] = [("legacy", "2025-11-25"), ("modern", "2026-07-28")];

/// Everything that is needed, or a line that says what is missing
fn ready(test: &str) -> Option<PathBuf> {
    let needs: Vec<&str> = suite::NEEDS.iter().copied().chain([fixture::NEEDS]).collect();
    interop(test, &needs)
}

/// What is known and explained of this run: `RUN SCENARIO [STATUS CHECK]: REASON`, one line each
fn baseline(run: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(BASELINE).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no reason is given: {line}")).0)
        .filter_map(|line| Some(line.strip_prefix(run)?.trim().to_owned()))
        .collect()
}

fn directly(interop: &Path, requirements: &str, era: &str) -> Findings {
    let place = Place::bare();
    let fixture = Fixture::start(interop, era, &place);
    suite::run(interop, &place, &["server", "--url", &fixture.url, "--requirements", requirements], &[])
}

fn through(interop: &Path, requirements: &str, era: &str) -> Findings {
    let place = Place::new();
    let fixture = Fixture::start(interop, era, &place);
    let serve = place.serve(&[]);
    let task = fixture::open(&place, &serve, "fix", &fixture.url);
    let shim = Shim::start(serve.address, &task.token);
    let url = format!("http://{}/mcp/fix", shim.address);
    let found = suite::run(interop, &place, &["server", "--url", &url, "--requirements", requirements], &[]);
    keep(&place, &format!("{requirements}-{era}"));
    found
}

/// Keeps the suite's results and our log for somebody who looks for a mistake, below `PORTREEVE_KEEP`
fn keep(place: &Place, name: &str) {
    let Some(kept) = std::env::var_os("PORTREEVE_KEEP") else { return };
    let to = Path::new(&kept).join(name);
    drop(fs::remove_dir_all(&to));
    fs::create_dir_all(&to).unwrap();
    for name in ["results", "serve.log", "suite.log"] {
        drop(std::process::Command::new("cp").arg("-r").arg(place.path().join(name)).arg(&to).status());
    }
}

/// What was found that neither the fixture alone nor the baseline knows, and what the baseline knows in vain
fn compare(run: &str, found: &Findings, known: &BTreeSet<String>) -> Vec<String> {
    let baseline = baseline(run);
    let found = found.lines();
    // A line may explain a whole scenario.
    let explains = |known: &String, line: &String| line == known || line.starts_with(&format!("{known} "));
    let is_known = |line: &String| known.contains(line) || baseline.iter().any(|known| explains(known, line));
    let new = found.iter().filter(|line| !is_known(line));
    let stale = baseline.iter().filter(|known| !found.iter().any(|line| explains(known, line)));
    new.map(|line| format!("{run} {line}"))
        .chain(stale.map(|line| format!("in the baseline, but passes: {run} {line}")))
        .collect()
}

#[test]
fn the_fixture_passes_the_suite_through_portreeve_as_it_does_directly() {
    let Some(interop) = ready("the_fixture_passes_the_suite_through_portreeve_as_it_does_directly") else { return };
    let mut rows = String::new();
    let mut wrong = Vec::new();
    for (client, requirements) in REQUIREMENTS {
        let direct = directly(&interop, requirements, "both");
        wrong.extend(compare(&format!("{client} direct"), &direct, &BTreeSet::new()));
        let mut row = format!("| {client} | {requirements} | {direct} |");
        for connector in ["legacy", "modern"] {
            let found = through(&interop, requirements, connector);
            let run = format!("{client} {connector}");
            println!("{run}: {found}");
            wrong.extend(compare(&run, &found, &direct.lines()));
            let scenarios = |findings: &Findings| findings.0.keys().cloned().collect::<BTreeSet<_>>();
            if scenarios(&found) != scenarios(&direct) {
                wrong.push(format!("{run}: other scenarios ran than directly"));
            }
            row.push_str(&format!(" {found} |"));
        }
        rows.push_str(&format!("{row}\n"));
    }
    let table = format!(
        "| client | requirements | fixture directly | through Portreeve, legacy connector | modern connector |\n\
         |---|---|---|---|---|\n{rows}"
    );
    println!("{table}");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    document(&table);
}

/// Scenarios in which the suite plays the server, by the era of that server; authorization is not ours
const SERVERS: [(&str, &str, &[&str]); 2] = [
    (
        "legacy",
        "2025-11-25",
        &[
            "initialize",
            "tools_call",
            "elicitation-sep1034-client-defaults",
            "sse-retry",
            "json-schema-2020-12-preservation",
        ],
    ),
    (
        "modern",
        "2026-07-28",
        &[
            "tools_call",
            "request-metadata",
            "sep-2322-client-request-state",
            "http-standard-headers",
            "http-custom-headers",
            "http-invalid-tool-headers",
            "json-schema-ref-no-deref",
            "json-schema-2020-12-preservation",
        ],
    ),
];

#[test]
fn portreeve_passes_the_suite_as_a_client() {
    let Some(interop) = ready("portreeve_passes_the_suite_as_a_client") else { return };
    let mut wrong = Vec::new();
    for (connector, version, scenarios) in SERVERS {
        for client in ["legacy", "modern"] {
            let run = format!("{client} as-client {connector}");
            let mut all = Findings::default();
            for scenario in scenarios {
                let found = as_client(&interop, client, version, scenario);
                println!("{run} {scenario}: {found}");
                assert_eq!(found.0.len(), 1, "{run} {scenario}: {found:?}");
                all.0.extend(found.0);
            }
            println!("{run}: {all}");
            wrong.extend(compare(&run, &all, &BTreeSet::new()));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// One scenario; the suite starts a client that asks us for the way through Portreeve to the suite's server
fn as_client(interop: &Path, client: &str, version: &str, scenario: &str) -> Findings {
    let place = Place::new();
    let door = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = door.local_addr().unwrap().port().to_string();
    let driver = format!("{} {DRIVER}", interop.join(suite::NEEDS[0]).display());
    let environment = [
        ("PORTREEVE_INTEROP", interop.to_str().unwrap()),
        ("PORTREEVE_DOOR", &port),
        ("PORTREEVE_CLIENT_MODE", client),
    ];
    let arguments = ["client", "--command", &driver, "--scenario", scenario, "--spec-version", version];
    thread::scope(|scope| {
        let place = &place;
        let opening = scope.spawn(move || open_a_way(place, &door));
        let mut found = suite::run(interop, place, &arguments, &environment);
        // Nobody may have come.
        drop(TcpStream::connect(("127.0.0.1", port.parse::<u16>().unwrap())));
        if opening.join().is_err() {
            found.0.entry(scenario.to_owned()).or_default().insert("failure the-way-opens".to_owned());
        }
        keep(place, &format!("as-client-{client}-{version}-{scenario}"));
        found
    })
}

/// Portreeve in front of the server that the client at the door names, until that client leaves
fn open_a_way(place: &Place, door: &TcpListener) {
    let (stream, _) = door.accept().unwrap();
    let mut lines = BufReader::new(&stream).lines();
    let Some(Ok(url)) = lines.next() else { return };
    let serve = place.serve(&[]);
    let task = fixture::open(place, &serve, "fix", &url);
    let way = json!({ "url": format!("http://{}/mcp/fix", serve.address), "token": task.token });
    writeln!(&stream, "{way}").unwrap();
    drop(lines.next());
}

/// The table stands in the documentation as it is now
fn document(table: &str) {
    let text = fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the document has no place for the table");
    let (_, after) = rest.split_once(END).expect("the place has no end");
    let current = format!("{before}{BEGIN}{table}{END}{after}");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(DOCUMENT, &current).unwrap();
    } else {
        assert!(text == current, "docs/protocol.md is not current; `cargo xtask conformance` writes it\n{table}");
    }
}
