//! The record, read beside whoever writes it.

use crate::failure::{Failure, chain, exit};
use portreeve_core::{
    engine::Bundles as _,
    event::{Record, decode},
    hash::Hash,
    log::{Head, Read},
    policy::Bundle,
};
use portreeve_log::Reader;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::Path,
    sync::Arc,
};

/// The record of a data folder, and the versions of the policy in it
pub(super) struct Recorded {
    reader: Reader,
    versions: BTreeMap<Hash, Result<Arc<Bundle>, String>>,
}

/// Groups that are read at a time
const GROUPS: usize = 256;

impl Recorded {
    pub(super) fn open(data: &Path) -> Result<Self, Failure> {
        let reader =
            Reader::open(data).map_err(|error| Failure::new(exit::NOT_FOUND, "log_unusable", chain(&error)))?;
        Ok(Self { reader, versions: BTreeMap::new() })
    }

    /// The text of a version of the policy
    pub(super) fn blob(&self, digest: Hash) -> Result<Vec<u8>, String> {
        match self.reader.blob(digest) {
            Ok(Some(blob)) => Ok(blob),
            Ok(None) => Err("the record does not hold it".to_owned()),
            Err(error) => Err(chain(&error)),
        }
    }

    /// A version of the policy that the record names
    pub(super) fn version(&mut self, digest: Hash) -> Result<Arc<Bundle>, String> {
        if !self.versions.contains_key(&digest) {
            let read = self.blob(digest).and_then(|blob| portreeve_rules::Reader.read(digest, &blob));
            self.versions.insert(digest, read);
        }
        match self.versions.entry(digest) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(_) => Err("it was not read".to_owned()),
        }
    }

    /// Every record with its group, in order; `closed` after each group; until one of them says that it is enough
    pub(super) fn each(&mut self, mut take: impl FnMut(&mut Self, Step<'_>) -> bool) -> Result<(), Failure> {
        let mut head = Head::default();
        loop {
            let groups = self.reader.groups(head.n, GROUPS).map_err(|error| unreadable(&error))?;
            if groups.is_empty() {
                return Ok(());
            }
            for group in groups {
                let records = decode(head, &group)
                    .map_err(|error| unreadable(&Read::Broken { n: group.n, why: chain(&error) }))?;
                head = group.head();
                for record in &records {
                    if take(self, Step::Record(group.n, record)) {
                        return Ok(());
                    }
                }
                if take(self, Step::Closed(head)) {
                    return Ok(());
                }
            }
        }
    }
}

/// What is read next
pub(super) enum Step<'a> {
    /// A record of a group
    Record(u64, &'a Record),
    /// The end of a group
    Closed(Head),
}

fn unreadable(error: &Read) -> Failure {
    match error {
        Read::Broken { .. } => Failure::new(exit::UNVERIFIED, "record_broken", chain(error))
            .fix("See where with `portreeve audit verify`; restore the folder from a copy."),
        Read::Storage(_) => Failure::new(exit::FAILURE, "log_unusable", chain(error)),
    }
}
