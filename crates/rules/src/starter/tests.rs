use super::*;
use crate::{Files, compile};

fn definition(name: &str, annotations: &str) -> Definition {
    let schema = r#"{"type":"object","properties":{"id":{},"odd key \"q\"":{},"a.b":{}}}"#;
    let text = format!(r#"{{"name":"{name}","inputSchema":{schema},"annotations":{annotations}}}"#);
    Definition::read(text.as_bytes()).unwrap()
}

#[test]
fn what_is_written_is_a_policy() {
    let connector: Name = "shop".parse().unwrap();
    let definitions = [
        definition("get", r#"{"readOnlyHint":true}"#),
        definition("Get", r#"{"readOnlyHint":true,"destructiveHint":false}"#),
        definition("files/read\\\"x", r#"{"readOnlyHint":true}"#),
        definition("both", r#"{"readOnlyHint":true,"destructiveHint":true}"#),
        definition("put", r#"{"readOnlyHint":false,"destructiveHint":false}"#),
        definition("drop", r#"{"destructiveHint":true}"#),
        definition("silent", "{}"),
    ];
    let (tools, purpose) = starter(&connector, &definitions);
    let mut files = init("Alice.Smith");
    files.retain(|(path, _)| path != "README.md");
    files.push(("connectors/shop.toml".to_owned(), format!("command = [\"x\"]\n\n{tools}")));
    files.push(("purposes/read-shop.toml".to_owned(), purpose.unwrap()));
    let loaded = compile(&files.into_iter().collect::<Files>()).unwrap();
    assert_eq!(loaded.warnings, []);
    let classes: Vec<_> = loaded.bundle.connectors["shop"]
        .tools
        .iter()
        .map(|(name, profile)| format!("{name} {}", profile.class))
        .collect();
    assert_eq!(
        classes,
        [
            "Get read",
            "both escalate",
            "drop escalate",
            "files/read\"x read",
            "get read",
            "put write",
            "silent escalate"
        ]
    );
    let steps: Vec<_> = loaded.bundle.purposes["read-shop"].entries().iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(steps, ["get", "get-2", "files-read-x"]);
    assert!(loaded.bundle.users["alice-smith"].accounts.contains("Alice.Smith"));
}

#[test]
fn nothing_to_read_is_no_purpose() {
    let connector: Name = "shop".parse().unwrap();
    let (_, purpose) = starter(&connector, &[definition("silent", "{}")]);
    assert_eq!(purpose, None);
}

#[test]
fn any_account_has_a_name() {
    for account in ["alice", "DOMAIN\\alice", "-", "", "ümlaut", "a\"b\u{7f}", &"x".repeat(200)] {
        let files = init(account).into_iter().filter(|(path, _)| path != "README.md").collect::<Files>();
        let compiled = compile(&files);
        assert_eq!(compiled.is_ok(), !account.is_empty() && !account.contains('\u{7f}'), "{account} {compiled:?}");
    }
}
