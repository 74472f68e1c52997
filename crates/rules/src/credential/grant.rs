//! What roles of a class are granted at a database.

use super::shared::narrowed;
use crate::document::{Cell, Document, Table};
use portreeve_core::{names::Name, policy::Class};
use std::collections::BTreeMap;

/// How a database writes grants, and which of their words give what
pub(super) struct Dialect {
    /// How grants look
    pub(super) example: &'static str,
    /// What stands around names
    quote: char,
    /// What no grant has
    never: &'static [char],
    /// What gives more than any class has
    more: &'static [&'static str],
    /// What changes something
    changes: &'static [&'static str],
    /// Roles that are there in every server and change something; none: a grant names what it is on
    changing_roles: Option<&'static [&'static str]>,
}

/// PostgreSQL; three roles of it reach the server's own account
pub(super) const POSTGRES: Dialect = Dialect {
    example: "[\"USAGE ON SCHEMA shop\", \"SELECT ON ALL TABLES IN SCHEMA shop\"]",
    quote: '"',
    never: &[';', '\'', '\\'],
    more: &["OPTION", "SUPERUSER", "pg_execute_server_program", "pg_write_server_files", "pg_read_server_files"],
    changes: &["INSERT", "UPDATE", "DELETE", "TRUNCATE", "CREATE", "TRIGGER", "MAINTAIN"],
    changing_roles: Some(&[
        "pg_write_all_data",
        "pg_maintain",
        "pg_signal_backend",
        "pg_create_subscription",
        "pg_database_owner",
    ]),
};

/// MariaDB; what is granted on everything reaches the server itself
pub(super) const MARIADB: Dialect = Dialect {
    example: "[\"SELECT ON shop.*\"]",
    quote: '`',
    never: &[';', '\'', '"', '#'],
    more: &[
        "OPTION",
        "SUPER",
        "FILE",
        "PROCESS",
        "RELOAD",
        "SHUTDOWN",
        "ADMIN",
        "MONITOR",
        "REPLAY",
        "REPLICATION",
        "USER",
        "PROXY",
        "IDENTIFIED",
        "WITH",
        "REQUIRE",
    ],
    changes: &[
        "INSERT",
        "UPDATE",
        "DELETE",
        "CREATE",
        "DROP",
        "ALTER",
        "INDEX",
        "TRIGGER",
        "EVENT",
        "REFERENCES",
        "LOCK",
        "HISTORY",
    ],
    changing_roles: None,
};

/// Grants of one class
const GRANTS_MAX: usize = 64;

/// What a role of a class is granted
pub(super) fn granted(
    doc: &Document<'_>,
    mut table: Table<'_, '_>,
    (class, dialect): (Class, &Dialect),
    scope: Option<&BTreeMap<Name, Name>>,
) -> Option<Vec<String>> {
    let shown = dialect.example;
    let cell = table.need("grant", shown);
    table.finish();
    let cell = cell?;
    let items = doc.array(cell, shown)?;
    if items.is_empty() || items.len() > GRANTS_MAX {
        doc.error(&cell.span(), format!("expected 1 to {GRANTS_MAX} grants"), format!("for example: grant = {shown}"));
        return None;
    }
    let one = |item: &Cell<'_>| {
        let text = doc.line(item, shown)?;
        let wrong = |message: &str, remedy: &str| doc.error(&item.span(), message, remedy);
        narrowed(doc, item, &text, scope)?;
        if text.contains(dialect.never) || text.contains("--") || text.contains("/*") {
            wrong("a grant is what stands between GRANT and TO, and nothing else", &format!("for example: {shown}"));
            return None;
        }
        if let Err((message, remedy)) = bounded(&text, class, dialect) {
            wrong(&message, remedy);
            return None;
        }
        Some(text)
    };
    let grants: Vec<Option<String>> = items.iter().map(one).collect();
    grants.into_iter().collect()
}

/// Whether a grant gives no more than a class may have, as far as its own words say that; what is wrong with it, otherwise
fn bounded(grant: &str, class: Class, dialect: &Dialect) -> Result<(), (String, &'static str)> {
    // What stands in quotes is a name, whatever it says.
    let plain: Vec<&str> = grant.split(dialect.quote).step_by(2).collect();
    let plain = plain.join(" ");
    let words = || plain.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let is = |word: &str, one: &[&str]| one.iter().any(|one| word.eq_ignore_ascii_case(one));
    if words().any(|word| is(word, &["TO"])) || grant.matches(dialect.quote).count() % 2 == 1 {
        return Err(("a grant is what stands between GRANT and TO, and nothing else".to_owned(), "take the rest out"));
    }
    // `ALL TABLES IN SCHEMA` names tables, `ALL` at the beginning gives everything.
    let on = words().any(|word| is(word, &["ON"]));
    // What is granted without `ON` are roles, whose names are the same in quotes.
    let named: Vec<&str> = grant.split(dialect.quote).skip(1).step_by(2).filter(|_| !on).collect();
    if !on && dialect.changing_roles.is_some() && grant.contains('{') {
        let message = "a role is not what a task says it is".to_owned();
        return Err((message, "name the role, or say on what something is granted"));
    }
    let everything = words().next().filter(|word| is(word, &["ALL"]));
    let more = |word: &&str| is(word, dialect.more);
    if let Some(word) = everything.or_else(|| words().chain(named.iter().copied()).find(more)) {
        return Err((format!("`{word}` gives more than a class"), "name what the class needs"));
    }
    if dialect.changing_roles.is_none() {
        // `db.*` is all of a database; an asterisk without a dot before it is every database.
        let everywhere =
            plain.match_indices('*').any(|(at, _)| !plain.get(..at).is_some_and(|before| before.ends_with('.')));
        if !on || everywhere {
            let message = "a grant says on which database or table of it".to_owned();
            return Err((message, "what is granted on everything is more than a class"));
        }
    }
    let roles = dialect.changing_roles.unwrap_or_default();
    let changes = |word: &&str| is(word, if on { dialect.changes } else { roles });
    match words().take_while(|word| !is(word, &["ON"])).chain(named).find(changes).filter(|_| class == Class::Read) {
        Some(word) => {
            let message = format!("`{word}` lets a role of the class read change something");
            Err((message, "grant it to the class write"))
        }
        None => Ok(()),
    }
}
