//! The first line of a body: which group this is, and what it follows.

use portreeve_core::{
    hash::Hash,
    log::{Group, Head},
};
use serde::Deserialize;

/// Whether `group` is the one that comes after `head`
///
/// Asked before each write and again at each verification, so that a mistake on one side is found by the
/// other.
pub(crate) fn follows(group: &Group, head: Head) -> Result<(), String> {
    let line = lines(&group.body).next().unwrap_or_default();
    let header: Header = serde_json::from_slice(line).map_err(|error| format!("its header cannot be read: {error}"))?;
    if header.v != VERSION {
        return Err(format!("it has version {}, this program knows {VERSION}", header.v));
    }
    if header.n != group.n {
        return Err(format!("its header says group {}", header.n));
    }
    if Some(group.n) != head.n.checked_add(1) {
        return Err(format!("it stands after group {}", head.n));
    }
    if header.prev != head.hash {
        return Err(format!("it names {} as its predecessor, which is {}", header.prev.short(), head.hash.short()));
    }
    Ok(())
}

/// The lines of a body; the last one may end with a line feed or not
pub(crate) fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.strip_suffix(b"\n").unwrap_or(body).split(|byte| *byte == b'\n')
}

#[derive(Deserialize)]
struct Header {
    v: u64,
    n: u64,
    prev: Hash,
}

const VERSION: u64 = 1;
