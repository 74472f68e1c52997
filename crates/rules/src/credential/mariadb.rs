//! `[mariadb]`: users at a MariaDB server.

use super::{
    Around,
    grant::{MARIADB, granted},
    shared::{by_class, host, secret, tls},
};
use crate::document::{Cell, Document};
use portreeve_core::policy::{BackEnd, MariaDb};

/// Connections that one user may have at once, unless its file says otherwise
const CONNECTIONS: u32 = 8;

pub(super) fn read(doc: &Document<'_>, cell: &Cell<'_>, around: &Around<'_>) -> Option<BackEnd> {
    let mut table = doc.table(cell, "[mariadb]", "host = \"db.example.com\"")?;
    let (host, port) = host(doc, &mut table, 3_306);
    let database = table.need("database", "\"orders\"").and_then(|cell| doc.line(cell, "database = \"orders\""));
    let tls = tls(doc, &mut table, host.as_deref());
    let admin = table.need("admin", "\"orders-db-admin\"").and_then(|cell| secret(doc, cell, around));
    let connections = table.take("connections").map_or(Some(CONNECTIONS), |cell| doc.count(cell, "connections = 4"));
    let example = format!("grant = {}", MARIADB.example);
    let grants = by_class(doc, &mut table, ("mariadb", &example), |table, class| {
        granted(doc, table, (class, &MARIADB), around.scope)
    });
    table.finish();
    let connections = u16::try_from(connections?).unwrap_or(u16::MAX);
    let (host, port, database, tls, admin) = (host?, port?, database?, tls?, admin?);
    Some(BackEnd::MariaDb(MariaDb { host, port, database, tls, admin, grants: grants?, connections }))
}
