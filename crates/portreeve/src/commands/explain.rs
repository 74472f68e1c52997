//! `portreeve explain`

use crate::{
    failure::{Failure, exit},
    output,
};
use portreeve_core::reason::Word;
use portreeve_mcp::reply::OUTCOMES;
use serde_json::{Value, json};

/// One word, as it is explained
struct Entry {
    word: &'static str,
    sort: String,
    says: &'static str,
    remedy: &'static str,
}

fn entries() -> Vec<Entry> {
    let reasons = Word::ALL.iter().map(|word| Entry {
        word: word.as_str(),
        sort: word.sort().to_string(),
        says: word.says(),
        remedy: word.remedy(),
    });
    let outcomes = OUTCOMES.iter().map(|(word, says, remedy)| Entry { word, sort: "outcome".to_owned(), says, remedy });
    reasons.chain(outcomes).collect()
}

fn as_json(entry: &Entry) -> Value {
    json!({ "word": entry.word, "sort": entry.sort, "says": entry.says, "remedy": entry.remedy })
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
    } else {
        output::line(&format!("{} ({})", entry.word, entry.sort));
        output::line(&format!("  {}", entry.says));
        output::line(&format!("  fix: {}", entry.remedy));
    }
    Ok(0)
}
