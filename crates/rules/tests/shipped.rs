//! What ships in `policies`: the profiles against the definitions they were written from, and the example.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on fails")]

use portreeve_core::names::{Name, ToolName};
use portreeve_rules::{Coverage, Files, Loaded, check, compile, load, pinned};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies")
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// Names of the files of a folder, without what follows the dot
fn names(folder: &Path) -> BTreeSet<String> {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    fs::read_dir(folder).unwrap().map(|entry| stem(entry.unwrap().path())).collect()
}

/// The smallest policy with a connector that has this profile and these definitions
fn with(profile: &str, pins: &str) -> Files {
    [
        ("connectors/server.toml".to_owned(), "command = [\"server\"]\nprofile = \"shipped\"\n".to_owned()),
        ("profiles/shipped.toml".to_owned(), profile.to_owned()),
        ("pins/server.json".to_owned(), pins.to_owned()),
    ]
    .into_iter()
    .collect()
}

fn loaded(name: &str) -> Loaded {
    let (profile, pins) =
        (policies().join(format!("profiles/{name}.toml")), policies().join(format!("pins/{name}.json")));
    match compile(&with(&read(profile), &read(pins))) {
        Ok(loaded) => loaded,
        Err(findings) => panic!("{name}: {}", said(&findings)),
    }
}

fn said(findings: &[portreeve_rules::Finding]) -> String {
    findings.iter().map(|finding| format!("\n{finding}")).collect()
}

fn tools(loaded: &Loaded) -> BTreeSet<String> {
    let server = "server".parse::<Name>().unwrap();
    loaded.bundle.connectors[&server].tools.keys().filter(|name| name.is_tool()).map(ToolName::to_string).collect()
}

/// Everything that was accepted, by its name
fn accepted(pins: &str) -> BTreeMap<String, serde_json::Value> {
    let pins: Vec<serde_json::Value> = serde_json::from_str(pins).unwrap();
    pins.into_iter().map(|tool| (tool["name"].as_str().unwrap().to_owned(), tool)).collect()
}

/// Definitions of tools by their names; prompts and what a server says of itself have no class
fn defined(pins: &str) -> BTreeMap<String, serde_json::Value> {
    let mut tools = accepted(pins);
    tools.retain(|name, _| !["prompts/get", "server/discover"].contains(&name.as_str()));
    tools
}

#[test]
fn profiles_fit_the_definitions_they_were_written_from() {
    let profiles = names(&policies().join("profiles"));
    assert_eq!(profiles, names(&policies().join("pins")), "each profile has its definitions, and they have it");
    for name in ["filesystem", "git", "fetch", "sqlite", "memory", "time", "everything", "github", "postgres"] {
        assert!(profiles.contains(name), "the profile of {name} is gone");
    }
    for name in &profiles {
        let loaded = loaded(name);
        assert!(loaded.warnings.is_empty(), "{name}:{}", said(&loaded.warnings));
        let pins = defined(&read(policies().join(format!("pins/{name}.json"))));
        assert_eq!(tools(&loaded), pins.into_keys().collect(), "{name}: every tool has a profile, and no other");
    }
}

/// As `portreeve connector accept` writes them, so that a newer version of a server shows as few lines
///
/// `UPDATE=1` writes them so.
#[test]
fn definitions_are_kept_in_one_form() {
    for folder in ["pins", "examples/pins"] {
        for name in names(&policies().join(folder)) {
            let path = policies().join(format!("{folder}/{name}.json"));
            let text = read(&path);
            let raw: Vec<String> = accepted(&text).values().map(ToString::to_string).collect();
            let written = pinned(raw.iter().map(String::as_str)).unwrap();
            if std::env::var_os("UPDATE").is_some() {
                fs::write(&path, written).unwrap();
            } else {
                assert!(text == written, "{}: UPDATE=1 writes it as it should be", path.display());
            }
        }
    }
}

#[test]
fn an_argument_that_a_profile_forgot_would_be_found() {
    let profile = read(policies().join("profiles/fetch.toml"));
    let pins = read(policies().join("pins/fetch.json"));
    let forgotten = profile.replace(", raw = \"paging\"", "");
    assert_ne!(forgotten, profile);
    let findings = compile(&with(&forgotten, &pins)).unwrap_err();
    assert!(said(&findings).contains("takes `raw`"), "{}", said(&findings));
}

#[test]
fn every_class_that_a_server_calls_changing_is_at_least_write() {
    for name in names(&policies().join("pins")) {
        let loaded = loaded(&name);
        let server = "server".parse::<Name>().unwrap();
        for (tool, definition) in defined(&read(policies().join(format!("pins/{name}.json")))) {
            let hints = &definition["annotations"];
            let changes = hints["readOnlyHint"] == false || hints["destructiveHint"] == true;
            let class = loaded.bundle.connectors[&server].tools[&tool.parse::<ToolName>().unwrap()].class;
            assert!(!changes || class > portreeve_core::policy::Class::Read, "{name}.{tool}");
        }
    }
}

#[test]
fn the_example_is_whole() {
    let dir = policies().join("examples");
    let checked = check(&dir, portreeve_rules::NOON);
    assert!(checked.findings.is_empty(), "{}", said(&checked.findings));
    assert_eq!(checked.failed, 0, "see `portreeve policy test policies/examples`");
    assert!(checked.cases >= 50, "{} cases", checked.cases);
    let loaded = load(&dir).unwrap();
    let tested = loaded.test(None);
    let untried: Vec<String> =
        tested.coverage.gaps.iter().map(|gap| format!("{}: {}", gap.place, gap.says())).collect();
    assert!(untried.is_empty(), "{}", untried.join("\n"));
    let Coverage { entries, variants, elevations, rules, .. } = tested.coverage;
    let of = |(covered, all): (usize, usize)| format!("{covered} of {all}");
    let line = format!(
        "ok: {} cases, 0 failed; tried: {} entries, {} variants, {} elevations, {} rules",
        tested.cases.len(),
        of(entries),
        of(variants),
        of(elevations),
        of(rules)
    );
    let page = read(policies().join("../docs/first-policies.md"));
    assert!(page.contains(&line), "docs/first-policies.md should say: {line}");
    let purposes: Vec<_> = loaded.bundle.purposes.keys().map(Name::as_str).collect();
    assert_eq!(
        purposes,
        ["answer-ticket", "deploy-to-staging", "fix-github-issue", "merge-pull-request", "staging-is-down"]
    );
}

/// An operator's copy says more in one way only: how sensitive results are
#[test]
fn the_example_uses_the_shipped_profiles() {
    for name in names(&policies().join("examples/profiles")) {
        let shipped = read(policies().join(format!("profiles/{name}.toml")));
        let copy = read(policies().join(format!("examples/profiles/{name}.toml")));
        let mut shipped = shipped.lines().peekable();
        for line in copy.lines() {
            if shipped.peek() == Some(&line) {
                shipped.next();
            } else {
                assert!(line.starts_with("label = "), "{name}: {line:?} is not in the shipped profile");
            }
        }
        assert_eq!(shipped.next(), None, "{name}: the copy has lost this");
    }
}

/// A connector that starts fewer tools than its server has pins just these, each as it is shipped
#[test]
fn the_example_pins_what_is_shipped() {
    for (connector, shipped) in [("github", "github"), ("deploys", "github"), ("support-db", "postgres")] {
        let all = defined(&read(policies().join(format!("pins/{shipped}.json"))));
        let own = defined(&read(policies().join(format!("examples/pins/{connector}.json"))));
        assert!(!own.is_empty());
        for (tool, definition) in &own {
            assert_eq!(all.get(tool), Some(definition), "{connector}.{tool}");
        }
    }
}

/// What the walkthrough quotes of the example stands there
#[test]
fn the_walkthrough_quotes_the_example() {
    let bare = |line: &str| line.split("  #").next().unwrap_or_default().trim().to_owned();
    let mut lines = BTreeSet::new();
    for folder in ["agents", "users", "connectors", "profiles", "purposes", "rules"] {
        for entry in fs::read_dir(policies().join("examples").join(folder)).unwrap() {
            lines.extend(read(entry.unwrap().path()).lines().map(bare));
        }
    }
    let text = read(policies().join("../docs/first-policies.md"));
    let mut quoted = 0;
    for block in text.split("```").skip(1).step_by(2) {
        let Some(block) = block.strip_prefix("toml\n").or_else(|| block.strip_prefix("cedar\n")) else { continue };
        // A command is broken into several lines for the page.
        let mut within = false;
        for line in block.lines().map(bare).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            within = (within || line.starts_with("command = [")) && !line.ends_with(']');
            if !within && !line.ends_with("\"]") {
                assert!(lines.contains(&line), "the example has no line {line:?}");
                quoted += 1;
            }
        }
    }
    assert!(quoted > 80, "{quoted}");
}
