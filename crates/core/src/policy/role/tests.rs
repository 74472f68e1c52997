use super::*;
use std::{fmt::Write as _, fs};

/// The table of deeds, as `docs/roles.md` shows it
fn table() -> String {
    let mut text = String::from("| |");
    for role in PersonRole::ALL {
        write!(text, " `{role}` |").unwrap();
    }
    text.push_str(" what |\n|---|");
    text.push_str(&":-:|".repeat(PersonRole::ALL.len()));
    text.push_str("---|\n");
    for deed in Deed::ALL {
        write!(text, "| `{deed}` |").unwrap();
        for role in PersonRole::ALL {
            text.push_str(if deed.roles().contains(&role) { " yes |" } else { " |" });
        }
        writeln!(text, " {} |", deed.says()).unwrap();
    }
    text
}

#[test]
fn the_docs_have_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/roles.md");
    let doc = fs::read_to_string(path).unwrap();
    let (head, rest) = doc.split_once("<!-- deeds -->\n").unwrap();
    let (_, tail) = rest.split_once("<!-- /deeds -->").unwrap();
    let now = format!("{head}<!-- deeds -->\n{}<!-- /deeds -->{tail}", table());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, now).unwrap();
    } else {
        assert_eq!(doc, now, "UPDATE=1 cargo test -p portreeve-core the_docs_have_the_table");
    }
}

/// Every role is there for something, and nothing needs two of them at once
#[test]
fn every_role_opens_something_of_its_own() {
    for role in PersonRole::ALL {
        let own = Deed::ALL.iter().any(|deed| deed.roles() == [role]);
        assert!(own, "{role} opens nothing that no other role opens");
    }
    for deed in Deed::ALL {
        assert_eq!(deed.as_str().parse::<Deed>().unwrap(), *deed);
        assert!(!deed.roles().is_empty() && deed.roles().len() < PersonRole::ALL.len());
    }
    assert!("everything".parse::<Deed>().is_err());
}
