//! `[command]`: a program that issues credentials.

use super::{
    Around, TTL_MS_MAX,
    shared::{classes, secret},
};
use crate::document::{Cell, Document};
use portreeve_core::policy::{BackEnd, CommandBackEnd, Revocation};

pub(super) fn read(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<BackEnd> {
    const RUN: &str = "[\"/usr/local/bin/issue-credentials\"]";
    const REVOCATION: &str = "\"immediate\"; or a time such as \"30s\", \"expiry only\", \"gateway only\"";
    const SHOWN: &str = "revocation = \"immediate\"; or a time such as \"30s\", \"expiry only\", \"gateway only\"";
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
    let revocation = table.need("revocation", REVOCATION).and_then(|cell| match doc.text(cell, SHOWN)? {
        "immediate" => Some(Revocation::Immediate),
        "expiry only" => Some(Revocation::ExpiryOnly),
        "gateway only" => Some(Revocation::GatewayOnly),
        _ => doc.duration(cell, TTL_MS_MAX, SHOWN).map(|within_ms| Revocation::Eventual { within_ms }),
    });
    table.finish();
    let (command, secret, classes, revocation) = (run?, secret?, classes?, revocation?);
    Some(BackEnd::Command(CommandBackEnd { command, secret, classes, revocation }))
}
