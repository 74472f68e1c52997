//! `[command]`: a program that issues credentials.

use super::{
    Around,
    shared::{REVOCATION, classes, revocation, secret},
};
use crate::document::{Cell, Document};
use portreeve_core::policy::{BackEnd, CommandBackEnd};

pub(super) fn read(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<BackEnd> {
    const RUN: &str = "[\"/usr/local/bin/issue-credentials\"]";
    let mut table = doc.table(cell, "[command]", "run = [\"/usr/local/bin/issue-credentials\"]")?;
    let run = table.need("run", RUN).and_then(|cell| {
        let parts: Vec<String> = doc.list(cell, RUN)?;
        let good =
            parts.first().is_some_and(|program| !program.is_empty()) && !parts.iter().any(|part| part.contains('\0'));
        if !good {
            doc.error(&cell.span(), "the command names no program", format!("for example: run = {RUN}"));
        }
        good.then_some(parts)
    });
    let secret = table.take("secret").map_or(Some(None), |cell| secret(doc, cell, around).map(Some));
    let classes = classes(doc, &mut table);
    let revocation = table.need("revocation", REVOCATION).and_then(|cell| revocation(doc, cell));
    table.finish();
    let (command, secret, classes, revocation) = (run?, secret?, classes?, revocation?);
    Some(BackEnd::Command(CommandBackEnd { command, secret, classes, revocation }))
}
