//! Any text as a purpose and as rules, beside facts that are whole
#![no_main]

use libfuzzer_sys::fuzz_target;
use portreeve_rules::{Files, Finding, compile};

fuzz_target!(|input: (&str, &str)| {
    let files: Files = [
        ("agents/bot.toml", "owner = \"a@example.com\"\n"),
        ("connectors/shop.toml", "command = [\"s\"]\n[tools.look]\nclass = \"read\"\n"),
        ("purposes/x.toml", input.0),
        ("rules/r.cedar", input.1),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into_iter()
    .collect();
    match compile(&files) {
        Ok(loaded) => drop(loaded.test(None)),
        Err(findings) => assert!(findings.iter().any(Finding::is_error)),
    }
});
