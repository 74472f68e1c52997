//! `[postgres]`: roles at a PostgreSQL server.

use super::{
    Around,
    grant::{POSTGRES, granted},
    shared::{by_class, host, secret, tls},
};
use crate::document::{Cell, Document};
use portreeve_core::policy::{BackEnd, Postgres};

/// Connections that one role may have at once, unless its file says otherwise
const CONNECTIONS: u32 = 8;

pub(super) fn read(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<BackEnd> {
    let mut table = doc.table(cell, "[postgres]", "host = \"db.example.com\"")?;
    let (host, port) = host(doc, &mut table, 5_432);
    let database = table.need("database", "\"orders\"").and_then(|cell| doc.line(cell, "database = \"orders\""));
    let tls = tls(doc, &mut table, host.as_deref());
    let admin = table.need("admin", "\"orders-db-admin\"").and_then(|cell| secret(doc, cell, around));
    let connections = table.take("connections").map_or(Some(CONNECTIONS), |cell| doc.count(cell, "connections = 4"));
    let keep_for =
        table.take("keep_for").map_or(Some(None), |cell| doc.line(cell, "keep_for = \"orders_owner\"").map(Some));
    let example = format!("grant = {}", POSTGRES.example);
    let grants = by_class(doc, &mut table, ("postgres", &example), |table, class| {
        granted(doc, table, (class, &POSTGRES), around.scope)
    });
    table.finish();
    let connections = u16::try_from(connections?).unwrap_or(u16::MAX);
    let (host, port, database, tls, admin, keep_for) = (host?, port?, database?, tls?, admin?, keep_for?);
    let grants = grants?;
    Some(BackEnd::Postgres(Postgres { host, port, database, tls, admin, grants, connections, keep_for }))
}
