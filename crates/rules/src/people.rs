//! Who is asked, as policy files write it: a group, how many of it, how they sign in, how long they have.

mod sign_in;

pub(crate) use sign_in::{shared, sign_in, sign_ins};

use crate::{
    document::{Cell, Document, Table},
    facts::Facts,
    words::suggest,
};
use portreeve_core::{
    names::Name,
    policy::{PersonRole, Quorum},
};

/// An example of who is asked
pub(crate) const WHO: &str = "ask = { who = \"payments-leads\", people = 2 }";
/// How long a question may stand
pub(crate) const WITHIN: &str = "within = \"30m\"";

/// Reads `who`, `people`, `passkey` and `within` out of a table
pub(crate) fn quorum<'t>(doc: &Document<'t>, table: &mut Table<'_, 't>, facts: &Facts) -> Option<Quorum> {
    let named = table.need("who", "\"payments-leads\"");
    let who = named.and_then(|cell| Some((doc.parsed::<Name>(cell, "\"payments-leads\"")?, cell)));
    let people = table.take("people").map_or(Some(1), |cell| people(doc, cell));
    let passkey = table.take("passkey").map_or(Some(false), |cell| doc.truth(cell, "passkey = true"));
    let within =
        table.take("within").map_or(Some(Quorum::WITHIN_MS), |cell| doc.duration(cell, Quorum::WITHIN_MS_MAX, WITHIN));
    table.refused("acr", "write `passkey = true`; `acr` in `[people]` of an issuer holds for every sign-in there");
    let (who, cell) = who?;
    let quorum = Quorum { who, people: people?, passkey: passkey?, within_ms: within? };
    match unanswerable(facts, &quorum.who, quorum.people) {
        Some((message, remedy, true)) => doc.error(&cell.span(), message, remedy),
        Some((message, remedy, false)) => doc.warn(&cell.span(), message, remedy),
        None => {}
    }
    Some(quorum)
}

fn people(doc: &Document<'_>, cell: &Cell<'_>) -> Option<u8> {
    let count = doc.count(cell, "people = 2")?;
    let people = people_of(count);
    if people.is_none() {
        let message = format!("at most {} people can be asked for", Quorum::PEOPLE_MAX);
        doc.error(&cell.span(), message, "for example: people = 2");
    }
    people
}

/// How many people a number stands for
pub(crate) fn people_of(count: u32) -> Option<u8> {
    u8::try_from(count).ok().filter(|people| (1..=Quorum::PEOPLE_MAX).contains(people))
}

/// Why so many of a group could never agree, what to do about it, and whether that is an error
///
/// A group in which nobody is yet is a warning, as everywhere.
pub(crate) fn unanswerable(facts: &Facts, who: &Name, people: u8) -> Option<(String, String, bool)> {
    if !facts.is_group(who) && people == 1 {
        let remedy = format!("add it to a user: `groups = [\"{who}\"]`; {}", suggest(who.as_str(), facts.groups()));
        return Some((format!("nobody is in the group `{who}`"), remedy, false));
    }
    let able = facts.with_role(who, PersonRole::Approver);
    if able >= usize::from(people) {
        return None;
    }
    let message = match able {
        0 => format!("nobody in the group `{who}` may answer, and {people} would have to agree"),
        able => format!("only {able} of the group `{who}` may answer, and {people} would have to agree"),
    };
    let remedy =
        format!("add people to it, each a file in `users/` with `groups = [\"{who}\"]` and the role `approver`");
    Some((message, remedy, true))
}
