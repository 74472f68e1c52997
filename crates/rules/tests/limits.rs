//! Policies that are large, or try to be: read in time, or refused with a clear word.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use portreeve_rules::{Files, Finding, compile, load};
use std::{
    fs,
    time::{Duration, Instant},
};

const SHOP: &str = "command = [\"s\"]\n[tools.look]\nclass = \"read\"\narguments = { id = \"selector\" }\n";

fn purpose(extra: &str) -> String {
    format!(
        "about = \"Look\"\nowner = \"a@example.com\"\nopen = {{ agents = [\"bot\"], users = \"none\" }}\n\
         task = {{ expires_after = \"1h\", standing = [\"read\"] }}\n[[allow]]\nname = \"look\"\nuse = [\"shop.look\"]\n{extra}"
    )
}

fn files(more: impl IntoIterator<Item = (String, String)>) -> Files {
    let facts = [("agents/bot.toml", "owner = \"a@example.com\"\n"), ("connectors/shop.toml", SHOP)];
    facts.map(|(path, text)| (path.to_owned(), text.to_owned())).into_iter().chain(more).collect()
}

fn said(files: &Files) -> String {
    let findings = compile(files).map_or_else(|findings| findings, |loaded| loaded.warnings);
    findings.iter().map(|finding: &Finding| format!("{finding}\n")).collect()
}

#[test]
fn ten_thousand_purposes_are_read() {
    let files = files((0..10_000).map(|n| (format!("purposes/p{n}.toml"), purpose(""))));
    let start = Instant::now();
    let loaded = compile(&files).unwrap();
    assert_eq!(loaded.bundle.purposes.len(), 10_000);
    // About a second as it is shipped; this is a build without optimisation on a busy machine.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn more_than_a_policy_may_have_is_refused_on_the_way() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("purposes")).unwrap();
    let big = format!("# {}\n{}", "x".repeat(1 << 19), purpose(""));
    for n in 0..20 {
        fs::write(dir.path().join(format!("purposes/p{n}.toml")), &big).unwrap();
    }
    let findings = load(dir.path()).unwrap_err();
    let text: String = findings.iter().map(ToString::to_string).collect();
    assert!(text.contains("a policy has at most") && text.contains("split it over several data folders"), "{text}");
    assert!(findings.len() < 5, "told once, not once for each file: {text}");
}

#[test]
fn a_pattern_that_would_blow_up_is_refused_or_cheap() {
    for pattern in ["(a{1000}){1000}", "((((a{50}){50}){50}){50})", "[\\\\w]{100000}"] {
        let text = purpose("where = { id = \"{p}\" }\n[parameters]\n")
            + &format!("p = {{ type = \"string\", pattern = \"{pattern}\" }}\n");
        let said = said(&files([("purposes/x.toml".to_owned(), text)]));
        assert!(said.contains("not a regular expression") && said.contains("purposes/x.toml:10:"), "{said}");
    }
    // A glob is matched in time proportional to text and pattern, whatever it says.
    let glob = format!("{}b", "*a".repeat(400));
    let value = "a".repeat(4_000);
    let case = format!(
        "where = {{ id = {{ glob = \"{glob}\" }} }}\n[[case]]\ncall = {{ tool = \"shop.look\", args = {{ id = \"{value}\" }} }}\n\
         expect = \"argument_outside_task\"\n"
    );
    let start = Instant::now();
    match compile(&files([("purposes/x.toml".to_owned(), purpose(&case))])) {
        Ok(loaded) => assert!(loaded.run_cases().is_empty()),
        Err(findings) => assert!(findings.iter().any(|finding| finding.to_string().contains("glob"))),
    }
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn a_purpose_that_can_never_be_opened_is_told() {
    let text =
        purpose("where = { id = { at_most = \"{n}\" } }\n[parameters]\nn = { type = \"decimal\", min = 5, max = 4 }\n");
    let said = said(&files([("purposes/x.toml".to_owned(), text)]));
    assert!(said.contains("purposes/x.toml:10:") && said.contains("no number is at least 5 and at most 4"), "{said}");
}

#[test]
fn tricks_of_toml_are_told() {
    for (extra, expected) in [
        ("times = 1\ntimes = 2\n", "duplicate key"),
        ("\"times\" = 1\ntimes = 2\n", "duplicate key"),
        ("where.id = \"a\"\nwhere = { id = \"b\" }\n", "duplicate key"),
        ("times = 0x01\n\"ti\\u006des\" = 2\n", "duplicate key"),
        ("where = { \"i\\u0064\" = \"a\", id = \"b\" }\n", "duplicate key"),
        ("times = 1.0\n", "expected a whole number"),
        ("times = 99999999999999999999\n", ""),
        ("where = { \"\" = \"a\" }\n", "no path to a field"),
        ("where = { \"id\u{200b}\" = \"a\" }\n", ""),
    ] {
        let said = said(&files([("purposes/x.toml".to_owned(), purpose(extra))]));
        assert!(said.contains(expected), "{extra:?}: {said}");
    }
}
