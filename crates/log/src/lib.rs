//! The embedded log: one data folder, one SQLite database, one writing process.
//!
//! [`Sqlite`] is the durable engine behind the port [`portreeve_core::log::Log`], [`Memory`] its
//! deterministic twin; both pass the suite in [`contract`]. [`Reader`] reads beside a live writer,
//! [`verify`](verify::verify) checks the chain, [`Snapshots`] and [`Index`] are caches that nothing has to believe.
//! Start reading in `sqlite.rs`.
//!
//! Architecture Invariant: `append` answers `Ok` only after a successful fsync of the group; an fsync is
//! never repeated, a doubtful append is answered `Unknown` until [`Sqlite`] has asked the disk on a fresh
//! connection. Verification never looks at a snapshot or the index. This room knows the header of a body and what
//! an opening commits to, and nothing else about events, but for `index/subjects.rs`. No file of the database is opened except through
//! SQLite: closing any other descriptor would drop its POSIX locks.

mod checkpointer;
pub mod contract;
mod folder;
mod header;
mod index;
mod memory;
mod open;
mod reader;
mod reserve;
mod rows;
mod schema;
pub mod shipped;
mod snapshots;
mod sqlite;
pub mod verify;

pub use index::{Index, Most, Placed, Records, Subject, Subjects, subjects};
pub use memory::{Fault, Memory, Storage};
pub use open::{Open, Options};
pub use reader::Reader;
pub use snapshots::Snapshots;
pub use sqlite::Sqlite;
pub use verify::Verified;

/// A data folder for a test
#[cfg(test)]
fn scratch() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let private = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(private).tempdir().unwrap()
}
