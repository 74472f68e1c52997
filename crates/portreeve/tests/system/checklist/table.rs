//! The table in `docs/protocol.md` says the truth about where each rule is held.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The numbers of the rules
const NUMBERS: std::ops::RangeInclusive<u32> = 1..=101;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

/// The names of all tests of the workspace
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in ["crates", "xtask"] {
        sources(&Path::new(ROOT).join(folder), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) else { continue };
            let name = rest.split(['(', '<']).next().unwrap();
            names.insert(name.to_owned());
            is_test = false;
        }
    }
    names
}

/// The rows of the table: number, rule, where it is held
fn rows() -> Vec<(u32, String, String)> {
    let text = fs::read_to_string(Path::new(ROOT).join("docs/protocol.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split(" | ").map(str::trim).collect();
        let [number, rule, held] = cells[..] else { return None };
        Some((number.parse().ok()?, rule.to_owned(), held.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

/// Whether a name in a row could be that of a test, or of several by its beginning
fn is_test(name: &str) -> bool {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'*');
    letters && name.contains('_') && !name.starts_with('_')
}

#[test]
fn the_table_has_every_number_once_in_order() {
    let numbers: Vec<u32> = rows().iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, NUMBERS.collect::<Vec<_>>());
    for (number, rule, held) in rows() {
        assert!(!rule.is_empty() && !held.is_empty(), "{number}");
    }
}

#[test]
fn every_test_that_the_table_names_is_there() {
    let tests = tests();
    let mut named = BTreeSet::new();
    for (number, _, held) in rows() {
        let names: Vec<&str> = held.split('`').skip(1).step_by(2).filter(|name| is_test(name)).collect();
        for name in &names {
            // A group of tests is named by its beginning.
            let there = match name.strip_suffix('*') {
                Some(begin) => tests.iter().any(|test| test.starts_with(begin)),
                None => tests.contains(*name),
            };
            assert!(there, "{number}: there is no test {name}");
            named.insert((*name).to_owned());
        }
        let explained = ["open:", "not ours:", "otherwise:", "decided:"].iter().any(|word| held.contains(word));
        assert!(!names.is_empty() || explained, "{number} has neither a test nor a reason: {held}");
    }
    assert!(named.len() > 100, "{}", named.len());
}

#[test]
fn every_test_with_a_number_stands_in_its_row() {
    let rows = rows();
    for test in tests() {
        let Some(rest) = test.strip_prefix("item_") else { continue };
        let numbers: Vec<u32> = rest
            .split('_')
            .take_while(|word| *word == "and" || word.parse::<u32>().is_ok())
            .filter_map(|word| word.parse().ok())
            .collect();
        assert!(!numbers.is_empty(), "{test} has no number");
        for number in numbers {
            let (.., held) = rows.iter().find(|(known, ..)| *known == number).unwrap_or_else(|| panic!("{test}"));
            let named = held.split('`').skip(1).step_by(2).any(|name| match name.strip_suffix('*') {
                Some(begin) => test.starts_with(begin),
                None => test == name,
            });
            assert!(named, "{test} is not named in row {number}: {held}");
        }
    }
}
