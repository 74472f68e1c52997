//! What roles of a class are granted at a database.

use super::shared::narrowed;
use crate::document::{Cell, Document, Table};
use portreeve_core::{names::Name, policy::Class};
use std::collections::BTreeMap;

/// How grants look
pub(super) const GRANTS: &str = "[\"USAGE ON SCHEMA shop\", \"SELECT ON ALL TABLES IN SCHEMA shop\"]";
/// Grants of one class
const GRANTS_MAX: usize = 64;

/// What a role of a class is granted
pub(super) fn granted(
    doc: &Document<'_>,
    mut table: Table<'_, '_>,
    class: Class,
    scope: Option<&BTreeMap<Name, Name>>,
) -> Option<Vec<String>> {
    let cell = table.need("grant", GRANTS);
    table.finish();
    let cell = cell?;
    let items = doc.array(cell, GRANTS)?;
    if items.is_empty() || items.len() > GRANTS_MAX {
        doc.error(&cell.span(), format!("expected 1 to {GRANTS_MAX} grants"), format!("for example: grant = {GRANTS}"));
        return None;
    }
    let one = |item: &Cell<'_>| {
        let text = doc.line(item, GRANTS)?;
        let wrong = |message: &str, remedy: &str| doc.error(&item.span(), message, remedy);
        narrowed(doc, item, &text, scope)?;
        if text.contains([';', '\'', '\\']) || text.contains("--") || text.contains("/*") {
            wrong("a grant is what stands between GRANT and TO, and nothing else", &format!("for example: {GRANTS}"));
            return None;
        }
        if let Err((message, remedy)) = bounded(&text, class) {
            wrong(&message, remedy);
            return None;
        }
        Some(text)
    };
    let grants: Vec<Option<String>> = items.iter().map(one).collect();
    grants.into_iter().collect()
}

/// What grants of roles give that are there in every server: its own account, or changes without a word for them
const OWN_ACCOUNT: [&str; 3] = ["pg_execute_server_program", "pg_write_server_files", "pg_read_server_files"];
const CHANGING_ROLES: [&str; 5] =
    ["pg_write_all_data", "pg_maintain", "pg_signal_backend", "pg_create_subscription", "pg_database_owner"];
const CHANGES: [&str; 7] = ["INSERT", "UPDATE", "DELETE", "TRUNCATE", "CREATE", "TRIGGER", "MAINTAIN"];

/// Whether a grant gives no more than a class may have, as far as its own words say that; what is wrong with it, otherwise
fn bounded(grant: &str, class: Class) -> Result<(), (String, &'static str)> {
    // What stands in quotes is a name, whatever it says.
    let plain: Vec<&str> = grant.split('"').step_by(2).collect();
    let plain = plain.join(" ");
    let words = || plain.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let is = |word: &str, one: &[&str]| one.iter().any(|one| word.eq_ignore_ascii_case(one));
    if words().any(|word| is(word, &["TO"])) || grant.matches('"').count() % 2 == 1 {
        return Err(("a grant is what stands between GRANT and TO, and nothing else".to_owned(), "take the rest out"));
    }
    // `ALL TABLES IN SCHEMA` names tables, `ALL` at the beginning gives everything.
    let everything = words().next().filter(|word| is(word, &["ALL"]));
    let more = |word: &&str| is(word, &["OPTION", "SUPERUSER"]) || is(word, &OWN_ACCOUNT);
    if let Some(word) = everything.or_else(|| words().find(more)) {
        return Err((format!("`{word}` gives more than a class"), "name what the class needs"));
    }
    let on = words().any(|word| is(word, &["ON"]));
    let changes = |word: &&str| if on { is(word, &CHANGES) } else { is(word, &CHANGING_ROLES) };
    match words().take_while(|word| !is(word, &["ON"])).find(changes).filter(|_| class == Class::Read) {
        Some(word) => {
            let message = format!("`{word}` lets a role of the class read change something");
            Err((message, "grant it to the class write"))
        }
        None => Ok(()),
    }
}
