//! `receivers/*.toml`: where questions are told, such as a chat, and from where they may be answered.

use crate::{
    address::is_guarded,
    document::{Cell, Document, Table},
    facts::{Facts, same_name},
    files::File,
    words::suggest,
};
use portreeve_core::{names::Name, policy::Receiver};
use std::collections::{BTreeMap, BTreeSet};

/// Reads a file of `receivers/`
pub(crate) fn receiver<'t>(
    doc: &Document<'t>,
    mut table: Table<'_, 't>,
    file: &File<'_>,
    facts: &Facts,
) -> Option<Receiver> {
    const WHO: &str = "[\"payments-leads\"]";
    same_name(&mut table, doc, file);
    let url = table.need("url", "\"https://chat.example.com/hooks/approvals\"").and_then(|cell| url(doc, cell));
    let who = table.need("who", WHO).and_then(|cell| {
        let groups: BTreeSet<Name> = doc.list(cell, WHO)?.into_iter().collect();
        if groups.is_empty() {
            doc.error(&cell.span(), "nothing is told there", format!("for example: who = {WHO}"));
        }
        for group in groups.iter().filter(|group| !facts.is_group(group)) {
            let near = suggest(group.as_str(), facts.groups());
            doc.warn(&cell.span(), format!("nobody is in the group `{group}`"), near);
        }
        Some(groups)
    });
    let answers = table.take("answer_key");
    let answer_key = answers.map_or(Some(None), |cell| key(doc, cell).map(Some));
    let several = table.take("several").map_or(Some(false), |cell| doc.truth(cell, "several = true"));
    let listed = table.take("people");
    let people = listed.map_or(Some(BTreeMap::new()), |cell| people(doc, cell, facts));
    table.finish();
    match (answers, listed) {
        (Some(cell), None) => {
            let remedy = "say who is who: [people] with \"U0123\" = \"lea\"";
            doc.error(&cell.span(), "answers from there would be nobody's", remedy);
        }
        (None, Some(cell)) => {
            let remedy = "add `answer_key = \"whpk_...\"`, with which they are signed there, or take `[people]` out";
            doc.warn(&cell.span(), "no answer is taken from there", remedy);
        }
        _ => {}
    }
    Some(Receiver { url: url?, who: who?, answer_key: answer_key?, people: people?, several: several? })
}

/// What a question says is not for everybody on the way
fn url(doc: &Document<'_>, cell: &Cell<'_>) -> Option<String> {
    const EXAMPLE: &str = "url = \"https://chat.example.com/hooks/approvals\"";
    let text = doc.text(cell, EXAMPLE)?;
    if !is_guarded(text) {
        let message = "expected an https:// address without a password, or http:// on this machine";
        doc.error(&cell.span(), message, format!("for example: {EXAMPLE}"));
        return None;
    }
    Some(text.to_owned())
}

/// A public key of Standard Webhooks: Ed25519, 32 bytes in base64
fn key(doc: &Document<'_>, cell: &Cell<'_>) -> Option<String> {
    const EXAMPLE: &str = "answer_key = \"whpk_...\"";
    let text = doc.text(cell, EXAMPLE)?;
    if text.starts_with("whsk_") || text.starts_with("whsec_") {
        let remedy = "take it out, make another pair of keys, and write the public one: `whpk_...`";
        doc.error(&cell.span(), "this is a secret key, and a policy is no place for it", remedy);
        return None;
    }
    let digits = text.strip_prefix("whpk_").unwrap_or_default();
    let body = digits.strip_suffix('=').unwrap_or(digits);
    // 32 bytes are 43 digits of base64, of which the last says four bits and two of nothing.
    let good = body.len() == KEY_DIGITS
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        && body.ends_with(|last: char| "AEIMQUYcgkosw048".contains(last));
    if !good {
        doc.error(
            &cell.span(),
            "expected `whpk_` and the 32 bytes of an Ed25519 key in base64",
            format!("for example: {EXAMPLE}"),
        );
    }
    good.then(|| text.to_owned())
}

const KEY_DIGITS: usize = 43;

fn people(doc: &Document<'_>, cell: &Cell<'_>, facts: &Facts) -> Option<BTreeMap<String, Name>> {
    let mut table = doc.table(cell, "[people]", "\"U0123\" = \"lea\"")?;
    let (mut people, mut whole) = (BTreeMap::new(), true);
    for (there, span, cell) in table.rest() {
        let name = doc.parsed::<Name>(cell, "\"U0123\" = \"lea\"");
        if let Some(name) = name.as_ref().filter(|name| !facts.users.contains_key(*name)) {
            let near = suggest(name.as_str(), facts.users.keys().map(Name::as_str));
            doc.error(&cell.span(), format!("no user is called `{name}`"), format!("add `users/{name}.toml`; {near}"));
        }
        if there.is_empty() || there.chars().any(char::is_control) {
            doc.error(&span, "expected the name of somebody there", "for example: \"U0123\" = \"lea\"");
            whole = false;
        }
        match name {
            Some(name) => drop(people.insert(there.to_owned(), name)),
            None => whole = false,
        }
    }
    whole.then_some(people)
}
