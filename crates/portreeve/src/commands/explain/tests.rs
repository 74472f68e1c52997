use super::*;
use std::{collections::BTreeSet, fs, path::PathBuf};

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reasons"))
}

/// The head of a page, as the table of words gives it
fn head(entry: &Entry) -> String {
    let interop = entry.interop.map_or("none: it was permitted".to_owned(), |interop| format!("`{interop}`"));
    let to_person = entry.to_person.map_or_else(
        || {
            // Outcomes have no sentence of their own in the table: the page's stands.
            let page = entry.page().unwrap();
            let line = page.lines().find_map(|line| line.strip_prefix("| to the person | ")).unwrap();
            line.trim_end_matches(" |").to_owned()
        },
        str::to_owned,
    );
    let Entry { word, sort, says, remedy, .. } = entry;
    format!(
        "# {word}\n\n| | |\n|---|---|\n| sort | {sort} |\n| to the agent | {says} |\n| to the person | {to_person} |\n\
         | remedy | {remedy} |\n| Mission-Bound Authorization | {interop} |\n"
    )
}

#[test]
fn every_word_has_a_page_whose_head_agrees_with_the_table() {
    let update = std::env::var_os("UPDATE").is_some();
    for entry in entries() {
        let page = entry.page().unwrap_or_else(|| panic!("{} has no page: see pages.rs", entry.word));
        let (_, body) = page.split_once("\n## ").unwrap_or_else(|| panic!("{} has no sections", entry.word));
        let expected = format!("{}\n## {body}", head(&entry));
        if update {
            fs::write(folder().join(format!("{}.md", entry.word)), &expected).unwrap();
        } else {
            assert_eq!(page, expected, "{}: UPDATE=1 writes the head anew", entry.word);
        }
        for section in ["What it means", "How it looks", "Why it happens", "What to do", "Related"] {
            assert!(page.contains(&format!("\n## {section}\n")), "{} lacks {section:?}", entry.word);
        }
    }
}

#[test]
fn what_a_page_shows_is_what_is_said() {
    for word in Word::ALL {
        let entry = entries().into_iter().find(|entry| entry.word == word.as_str()).unwrap();
        let shown = entry.page().unwrap().split("```").nth(1).unwrap_or_else(|| panic!("{word} shows nothing"));
        assert!(shown.contains(word.says()) && shown.contains(word.remedy()), "{word} shows something else: {shown}");
        let agent = format!("\n{word}: ");
        let person = format!("\nerror[{word}]: ");
        assert!(shown.contains(&agent) || shown.contains(&person), "{word}: {shown}");
    }
}

#[test]
fn no_page_is_without_a_word_and_every_link_leads_to_one() {
    let words: BTreeSet<String> = entries().iter().map(|entry| format!("{}.md", entry.word)).collect();
    let files: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    assert_eq!(words, files);
    let index = fs::read_to_string(folder().join("README.md")).unwrap();
    for entry in entries() {
        let row = format!("| [{0}]({0}.md) | {1} | {2} |", entry.word, entry.sort, entry.says);
        assert!(index.contains(&row), "docs/reasons/README.md lacks: {row}");
        let related = entry.page().unwrap().rsplit("## Related").next().unwrap();
        let links: Vec<&str> = related.split("](").skip(1).filter_map(|link| link.split(')').next()).collect();
        assert!(!links.is_empty() && links.iter().all(|link| words.contains(*link)), "{}: {links:?}", entry.word);
    }
}

#[test]
fn the_twelve_reasons_of_the_drafts_are_covered() {
    let twelve = [
        "out_of_authority",
        "step_up_required",
        "action_approval_required",
        "stale_state",
        "mission_inactive",
        "credential_invalid",
        "parameter_violation",
        "resource_policy",
        "quota_exceeded",
        "capability_drift",
        "unsupported_authorization_type",
        "constraint_unsupported",
    ];
    let used: BTreeSet<&str> = Word::ALL.iter().map(|word| word.interop()).collect();
    assert_eq!(used, BTreeSet::from(twelve));
}

/// The first reason is what the agent is told: it must not be told to try again while something else stands
#[test]
fn what_time_removes_comes_last() {
    let first_later = Word::ALL.iter().position(|word| word.sort() == portreeve_core::reason::Sort::Later).unwrap();
    for word in &Word::ALL[first_later..] {
        assert_eq!(word.sort(), portreeve_core::reason::Sort::Later, "{word}");
    }
    // Questions to people come after everything that no person can answer for this call.
    let order = |word: Word| Word::ALL.iter().position(|known| *known == word).unwrap();
    for before in [
        Word::TaskOver,
        Word::CallsSpent,
        Word::ToolOutsidePurpose,
        Word::ArgumentOutsideTask,
        Word::RuleForbids,
        Word::ClassNotOpen,
        Word::CountSpent,
    ] {
        assert!(order(before) < order(Word::ApprovalNeeded), "{before}");
    }
    // A hidden tool and one that does not exist must look the same, so nothing about the tool comes before.
    for after in [Word::DefinitionChanged, Word::ArgumentsInvalid, Word::RuleForbids, Word::ClassNotOpen] {
        assert!(order(Word::ToolOutsidePurpose) < order(after), "{after}");
    }
}
