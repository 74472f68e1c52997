//! `[minted]`: tokens that Portreeve signs itself.

use super::{Around, scopes::scopes};
use crate::document::{Cell, Document};
use portreeve_core::policy::{BackEnd, Minted, MintedFormat};

const FORMATS: [(&str, MintedFormat); 2] =
    [("at+jwt", MintedFormat::AccessToken), ("txn-token", MintedFormat::Transaction)];

pub(super) fn read(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<BackEnd> {
    const AUDIENCE: &str = "\"https://shop.example.com\"";
    let mut table = doc.table(cell, "[minted]", "audience = \"https://shop.example.com\"")?;
    let audience = table.need("audience", AUDIENCE).and_then(|cell| {
        let text = doc.line(cell, AUDIENCE)?;
        let good = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !good {
            let message = "expected the name of the server that the tokens are for, as it knows itself";
            doc.error(&cell.span(), message, format!("for example: audience = {AUDIENCE}"));
        }
        good.then_some(text)
    });
    let format = table.take("format").map_or(Some(MintedFormat::AccessToken), |cell| doc.word(cell, &FORMATS));
    let scopes = scopes(doc, &mut table, "minted", around, true);
    table.finish();
    Some(BackEnd::Minted(Minted { audience: audience?, format: format?, scopes: scopes? }))
}
