//! Checks the chain from its first group to its last, and every opening that is still there.
//!
//! What it proves is that the log agrees with itself, and with a checkpoint that somebody else kept; an
//! owner of the folder can rewrite everything after the newest such checkpoint. It needs no key and no
//! snapshot.

use crate::{
    Reader,
    header::{self, lines},
};
use portreeve_core::{
    hash::Hash,
    log::{Group, Head, Read},
};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A log that agrees with itself
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Groups in it
    pub groups: u64,
    /// Events in all groups
    pub events: u64,
    /// Where it ends
    pub head: Head,
}

/// Checks the whole log
///
/// # Errors
/// [`Read::Broken`] names the first group that is wrong.
pub fn verify(log: &Reader) -> Result<Verified, Read> {
    check(log, Chain::default())
}

/// Checks the whole log, and that it continues the one that ended at `checkpoint`
///
/// # Errors
/// [`Read::Broken`] names the first group that is wrong or missing.
pub fn verify_against(log: &Reader, checkpoint: Head) -> Result<Verified, Read> {
    check(log, Chain::through(checkpoint))
}

/// The check itself, group by group, for logs of any engine
#[derive(Clone, Copy, Debug, Default)]
pub struct Chain {
    head: Head,
    events: u64,
    checkpoint: Head,
}

impl Chain {
    /// A chain that must pass through `checkpoint`
    #[must_use]
    pub fn through(checkpoint: Head) -> Self {
        Self { checkpoint, ..Self::default() }
    }

    /// A chain that goes on after `head`, which was checked before
    #[must_use]
    pub fn after(head: Head) -> Self {
        Self { head, ..Self::default() }
    }

    /// Where it ends so far
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Adds the next group
    ///
    /// # Errors
    /// [`Read::Broken`]: it is not the next one, or an opening is not what it commits to.
    pub fn add(&mut self, group: &Group) -> Result<(), Read> {
        let n = self.head.n.saturating_add(1);
        let broken = |why: String| Read::Broken { n, why };
        if group.n != n {
            return Err(broken(format!("it is missing; group {} stands there", group.n)));
        }
        header::follows(group, self.head).map_err(broken)?;
        let head = group.head();
        if n == self.checkpoint.n && head != self.checkpoint {
            return Err(broken(format!(
                "the checkpoint names {}, the log has {}",
                self.checkpoint.hash.short(),
                head.hash.short()
            )));
        }
        openings(group).map_err(broken)?;
        self.head = head;
        self.events = self.events.saturating_add((lines(&group.body).count() as u64).saturating_sub(1));
        Ok(())
    }

    /// The chain ends here
    ///
    /// # Errors
    /// [`Read::Broken`]: the checkpoint lies beyond the end.
    pub fn end(self) -> Result<Verified, Read> {
        let Self { head, events, checkpoint } = self;
        if head.n < checkpoint.n {
            let why = format!("it is missing; the checkpoint names group {}", checkpoint.n);
            return Err(Read::Broken { n: head.n.saturating_add(1), why });
        }
        if checkpoint.n == 0 && checkpoint != Head::default() {
            return Err(Read::Broken { n: 0, why: "a checkpoint of an empty log names no group".to_owned() });
        }
        Ok(Verified { groups: head.n, events, head })
    }
}

fn check(log: &Reader, mut chain: Chain) -> Result<Verified, Read> {
    loop {
        let before = chain.head.n;
        // In batches: one long read would keep the writer from emptying its write-ahead file.
        log.each(before, BATCH, |group| chain.add(&group))?;
        if chain.head.n == before {
            break;
        }
    }
    if let Some(n) = log.orphan()? {
        return Err(Read::Broken { n, why: "it is missing; its openings are there".to_owned() });
    }
    if let Some(digest) = log.damaged_blob()? {
        let why = format!("what it or a group before it kept under the digest {} was changed", digest.short());
        return Err(Read::Broken { n: chain.head.n, why });
    }
    chain.end()
}

/// Whether each opening opens a commitment in the event that it names
fn openings(group: &Group) -> Result<(), String> {
    for line in lines(&group.openings).filter(|line| !line.is_empty()) {
        let opening: Opening =
            serde_json::from_slice(line).map_err(|error| format!("an opening cannot be read: {error}"))?;
        let Opening { i, field, .. } = &opening;
        let at = i.checked_add(1).ok_or_else(|| format!("an opening names event {i}"))?;
        let event =
            lines(&group.body).nth(at).ok_or_else(|| format!("an opening names event {i}, which is not there"))?;
        let event: Value =
            serde_json::from_slice(event).map_err(|error| format!("event {i} cannot be read: {error}"))?;
        let commitment = opening
            .commitment()
            .ok_or_else(|| format!("the opening of {field} in event {i} has no salt of 16 bytes"))?;
        if !contains(&event, &commitment) {
            return Err(format!("the opening of {field} in event {i} is not what the event commits to"));
        }
    }
    Ok(())
}

/// What stands beside a group for each commitment in it
#[derive(Deserialize)]
struct Opening {
    i: usize,
    field: String,
    salt: String,
    value: String,
}

impl Opening {
    /// The text that the event holds in place of the value. A salt of fixed length leaves one way to split
    /// the two parts.
    fn commitment(&self) -> Option<String> {
        let digits: Vec<u8> = self
            .salt
            .bytes()
            .map(|digit| char::from(digit).to_digit(16))
            .map(|digit| u8::try_from(digit?).ok())
            .collect::<Option<_>>()?;
        if digits.len() != 32 {
            return None;
        }
        let salt: Vec<u8> = digits
            .chunks_exact(2)
            .filter_map(|pair| if let [high, low] = pair { Some(high << 4 | low) } else { None })
            .collect();
        let digest = Sha256::new().chain_update(salt).chain_update(&self.value).finalize();
        Some(format!("sha256:{}", Hash(digest.into())))
    }
}

fn contains(event: &Value, text: &str) -> bool {
    match event {
        Value::String(value) => value == text,
        Value::Array(values) => values.iter().any(|value| contains(value, text)),
        Value::Object(members) => members.values().any(|value| contains(value, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

const BATCH: usize = 256;

#[cfg(test)]
mod tests;
