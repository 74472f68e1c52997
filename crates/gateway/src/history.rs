//! Every version of the policy that was ever in force, as the record tells it.

use portreeve_core::{
    event::{Actor, Changed, Event, Form, decode},
    hash::Hash,
    log::{Head, Read},
    time::Millis,
};
use portreeve_log::Reader;
use serde::Serialize;
use std::{fs, path::Path};

/// A version of the policy came into force
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The group of the record
    pub n: u64,
    /// When
    pub time: Millis,
    /// By whom
    pub by: Actor,
    /// Which version
    pub bundle: Hash,
    /// Whether somebody went back to it; otherwise it was the directory
    pub back: bool,
}

/// Groups that are read at a time
const GROUPS: usize = 256;
/// What stands in every group with a change, so that the others need not be taken apart
const CHANGED: &[u8] = b"\"changed\"";

/// Reads the record of a data folder for changes of the policy, the oldest first
///
/// # Errors
/// [`Read`]: there is no record, or it is broken.
pub fn history(data: &Path) -> Result<Vec<Applied>, Read> {
    let reader = Reader::open(data).map_err(|error| Read::Storage(error.to_string()))?;
    let mut history = Vec::new();
    let mut head = Head::default();
    loop {
        let groups = reader.groups(head.n, GROUPS)?;
        if groups.is_empty() {
            return Ok(history);
        }
        for group in groups {
            if group.body.windows(CHANGED.len()).any(|window| window == CHANGED) {
                let broken = |error: Form| Read::Broken { n: group.n, why: error.to_string() };
                for record in decode(head, &group).map_err(broken)? {
                    let (bundle, back) = match record.event {
                        Event::Changed(Changed::Bundle { digest, .. }) => (digest, false),
                        Event::Changed(Changed::Back { digest, .. }) => (digest, true),
                        _ => continue,
                    };
                    history.push(Applied { n: group.n, time: record.time, by: record.actor, bundle, back });
                }
            }
            head = group.head();
        }
    }
}

/// How the policy directory stands to the policy in force
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Directory {
    /// The digest of its files; `None` if they cannot be read
    pub digest: Option<Hash>,
    /// Whether something else is in force than it says
    pub differs: bool,
    /// Whether that is because somebody went back to an earlier version
    pub went_back: bool,
}

impl Directory {
    /// Compares the directory with what is in force, and with what it was when it was put into force last
    #[must_use]
    pub fn compare(policy: &Path, in_force: Option<Hash>, applied: Option<Hash>) -> Self {
        let digest = fs::metadata(policy).ok().and_then(|_| portreeve_rules::Files::read(policy).ok());
        let digest = digest.map(|files| files.digest());
        Self { digest, differs: digest.is_none() || digest != in_force, went_back: in_force != applied }
    }
}
