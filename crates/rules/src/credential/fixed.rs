//! `[static]`: a secret of the vault, the same for every task.

use super::{
    Around,
    shared::{classes, secret},
};
use crate::{
    document::{Cell, Document},
    purpose::end_of_day,
};
use portreeve_core::policy::{BackEnd, StaticSecret};

pub(super) fn read(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<BackEnd> {
    let mut table = doc.table(cell, "[static]", "secret = \"payments-key\"")?;
    let secret = table.need("secret", "\"payments-key\"").and_then(|cell| secret(doc, cell, around));
    let classes = classes(doc, &mut table);
    let rotate_by = table.take("rotate_by").map_or(Some(None), |cell| end_of_day(doc, cell).map(Some));
    if rotate_by == Some(None) {
        let message = "a standing secret that nobody has to exchange at any time";
        doc.warn(&cell.span(), message, "say until when its owner exchanges it: rotate_by = 2027-06-30");
    }
    table.finish();
    Some(BackEnd::Static(StaticSecret { secret: secret?, classes: classes?, rotate_by: rotate_by? }))
}
