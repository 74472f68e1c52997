//! `portreeve explain`

use crate::{
    failure::{Failure, exit},
    output,
};
use portreeve_core::reason::Word;
use serde_json::{Value, json};

pub(crate) fn run(word: Option<&str>, as_json: bool) -> Result<u8, Failure> {
    let words = match word {
        None => Word::ALL.to_vec(),
        Some(text) => vec![text.parse().map_err(|_| {
            Failure::new(exit::NOT_FOUND, "word_unknown", format!("{:?} is no reason word.", output::plain(text)))
                .fix("List them with `portreeve explain`.")
        })?],
    };
    let described: Vec<Value> = words
        .iter()
        .map(|word| json!({ "word": word, "sort": word.sort(), "says": word.says(), "remedy": word.remedy() }))
        .collect();
    match (as_json, word, words.as_slice(), described.as_slice()) {
        (true, Some(_), _, [only]) => output::json(only),
        (true, ..) => output::json(&json!({ "words": described })),
        (false, Some(_), [word], _) => {
            output::line(&format!("{word} ({})", word.sort()));
            output::line(&format!("  {}", word.says()));
            output::line(&format!("  fix: {}", word.remedy()));
        }
        _ => {
            let rows: Vec<Vec<String>> = words
                .iter()
                .map(|word| vec![word.to_string(), word.sort().to_string(), word.says().to_owned()])
                .collect();
            output::table(&["WORD", "SORT", "MEANS"], &rows);
        }
    }
    Ok(0)
}
