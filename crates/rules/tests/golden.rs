//! Policies and what is said of them, one file each: the policy's files, then the findings.
//!
//! `UPDATE=1` writes what is said now.

use portreeve_rules::{Files, Finding, compile};
use std::{fs, path::Path};

#[test]
fn findings_are_as_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut wrong = Vec::new();
    for path in &paths {
        let text = fs::read_to_string(path).unwrap();
        let (policy, expected) = text.split_once(FINDINGS).unwrap_or((&text, ""));
        let found = say(&files(policy));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(path, format!("{policy}{FINDINGS}{found}")).unwrap();
        } else if found != expected {
            wrong.push(format!("--- {}\n{found}", path.display()));
        }
    }
    assert!(paths.len() > 20, "the golden files are gone");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const FINDINGS: &str = "== findings ==\n";

/// The facts that most policies here need, unless they bring their own
const FACTS: [(&str, &str); 4] = [
    ("agents/support-bot.toml", "owner = \"support@example.com\"\n"),
    (
        "users/alice.toml",
        "accounts = [\"alice\"]\ngroups = [\"support-l2\", \"payments-leads\"]\n[attributes]\nrefund_limit = 150.5\n",
    ),
    (
        "connectors/shop.toml",
        "command = [\"shop-server\"]\n\
         [tools.get_order]\nclass = \"read\"\narguments = { page = \"paging\" }\n\
         [tools.refund]\nclass = \"write\"\narguments = { note = \"content\", amount = \"quantity\" }\n\
         [tools.actions]\nclass = \"write\"\n\
         [[tools.actions.variants]]\nname = \"purge\"\nclass = \"escalate\"\nwhere = { method = \"purge\" }\n",
    ),
    ("agents/night-bot.toml", "owner = \"support@example.com\"\n"),
];

fn files(policy: &str) -> Files {
    let mut files: Vec<(String, String)> = FACTS.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
    for line in policy.split_inclusive('\n') {
        match line.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --\n")) {
            Some(path) => files.push((path.to_owned(), String::new())),
            None => files.last_mut().into_iter().for_each(|(_, text)| text.push_str(line)),
        }
    }
    files.into_iter().collect()
}

fn say(files: &Files) -> String {
    let (mut findings, verdict) = match compile(files) {
        Ok(loaded) => {
            let cases = loaded.run_cases();
            let verdict = if cases.is_empty() { "taken\n" } else { "taken, cases fail\n" };
            ([loaded.warnings, cases].concat(), verdict)
        }
        Err(findings) => {
            assert!(findings.iter().any(Finding::is_error));
            (findings, "refused\n")
        }
    };
    let mut text: String = findings.drain(..).map(|finding| format!("{finding}\n")).collect();
    text.push_str(verdict);
    text
}
