//! `portreeve explain`

mod pages;

use crate::{
    failure::{Failure, exit},
    output,
};
use pages::PAGES;
use portreeve_core::reason::Word;
use portreeve_mcp::reply::OUTCOMES;
use serde_json::{Value, json};

/// One word, as it is explained
struct Entry {
    word: &'static str,
    sort: String,
    answerable: bool,
    says: &'static str,
    to_person: Option<&'static str>,
    remedy: &'static str,
    interop: Option<&'static str>,
}

impl Entry {
    fn page(&self) -> Option<&'static str> {
        PAGES.iter().find(|(word, _)| *word == self.word).map(|(_, page)| *page)
    }
}

fn entries() -> Vec<Entry> {
    let reasons = Word::ALL.iter().map(|word| Entry {
        word: word.as_str(),
        sort: word.sort().to_string(),
        answerable: word.sort().is_answerable(),
        says: word.says(),
        to_person: Some(word.to_person()),
        remedy: word.remedy(),
        interop: Some(word.interop()),
    });
    let outcomes = OUTCOMES.iter().map(|(word, says, remedy)| Entry {
        word,
        sort: "outcome".to_owned(),
        answerable: false,
        says,
        to_person: None,
        remedy,
        interop: None,
    });
    reasons.chain(outcomes).collect()
}

fn as_json(entry: &Entry) -> Value {
    json!({
        "word": entry.word,
        "sort": entry.sort,
        "answerable": entry.answerable,
        "says": entry.says,
        "to_person": entry.to_person,
        "remedy": entry.remedy,
        "mission_bound_authorization": entry.interop,
        "page": entry.page(),
    })
}

pub(crate) fn run(word: Option<&str>, json: bool) -> Result<u8, Failure> {
    let entries = entries();
    let Some(text) = word else {
        if json {
            output::json(&json!({ "words": entries.iter().map(as_json).collect::<Vec<_>>() }));
        } else {
            let row = |entry: &Entry| vec![entry.word.to_owned(), entry.sort.clone(), entry.says.to_owned()];
            output::table(&["WORD", "SORT", "MEANS"], &entries.iter().map(row).collect::<Vec<_>>());
        }
        return Ok(0);
    };
    let entry = entries.iter().find(|entry| entry.word == text).ok_or_else(|| {
        Failure::new(exit::NOT_FOUND, "word_unknown", format!("{:?} is no reason word.", output::plain(text)))
            .fix("List them with `portreeve explain`.")
    })?;
    if json {
        output::json(&as_json(entry));
        return Ok(0);
    }
    output::line(&format!("{} ({})", entry.word, entry.sort));
    output::line(&format!("  {}", entry.says));
    if let Some(to_person) = entry.to_person {
        output::line(&format!("  to you: {to_person}"));
    }
    output::line(&format!("  fix: {}", entry.remedy));
    // The head says the same again.
    let body = entry.page().and_then(|page| page.split_once("\n## ")).map(|(_, body)| body);
    if let Some(body) = body {
        output::line(&format!("\n## {}", body.trim_end()));
    }
    Ok(0)
}

#[cfg(test)]
mod tests;
