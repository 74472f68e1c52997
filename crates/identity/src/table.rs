//! The table of what is refused, in `docs/identity.md`, made by the tests that show it

use crate::{assertion, dpop, jose, jose::tests::Row, oidc, svid, workload};
use std::{fmt::Write as _, fs};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/identity.md");

fn section(document: &str, name: &str, content: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = document.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    format!("{before}{begin}\n{content}\n{end}{after}")
}

fn refused(rows: Vec<Row>) -> String {
    let mut table = "| What comes | Word | What is said |\n|---|---|---|\n".to_owned();
    for row in rows {
        writeln!(table, "| {} | `{}` | {} |", row.case, row.word, row.text).unwrap();
    }
    table
}

fn claims() -> String {
    let mut table = "| Kind | A rule names one of | It may also name |\n|---|---|---|\n".to_owned();
    let code = |claims: &[&str]| claims.iter().map(|claim| format!("`{claim}`")).collect::<Vec<_>>();
    for kind in workload::Kind::ALL {
        let anchors: Vec<_> = kind.anchors().iter().map(|all| code(all).join(" with ")).collect();
        let known: Vec<_> = kind.anchors().iter().flat_map(|all| all.iter()).collect();
        let others: Vec<_> = kind.claims().iter().filter(|claim| !known.contains(claim)).copied().collect();
        let others = if kind == workload::Kind::Oidc {
            "all others but times, ids of tokens, names, addresses and what people choose".to_owned()
        } else {
            code(&others).join(", ")
        };
        writeln!(table, "| `{kind}` | {} | {others} |", anchors.join(", ")).unwrap();
    }
    table
}

#[test]
fn the_documentation_says_what_the_tests_show() {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let mut made = document.clone();
    for (name, content) in [
        ("table: claims", claims()),
        ("table: tokens", refused(jose::tests::rows())),
        ("table: assertions", refused(assertion::tests::rows())),
        ("table: dpop", refused(dpop::tests::rows())),
        ("table: workloads", refused(workload::tests::rows())),
        ("table: people", refused(oidc::tests::rows())),
        ("table: spiffe", refused(svid::tests::rows())),
    ] {
        made = section(&made, name, &content);
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(DOCUMENT, &made).unwrap();
    }
    assert!(made == fs::read_to_string(DOCUMENT).unwrap(), "run again with UPDATE=1");
}
