//! What the record says of a task, for whoever takes back what it did.

use portreeve_core::{
    engine::Bundles as _,
    event::{End, Event, Record},
    hash::Hash,
    log::Read,
    names::{EffectId, TaskId},
    policy::Bundle,
};
use portreeve_log::{Index, Most, Open, Reader, Subject};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

/// Everything that bears on what a task did: its records and those of the tasks around it, in the order of the log
#[derive(Debug, Default)]
pub(super) struct Past {
    /// The records
    pub(super) records: Vec<Record>,
    /// The versions of the policy that they name, as far as these can be read
    pub(super) bundles: BTreeMap<Hash, Arc<Bundle>>,
}

impl Past {
    /// Reads it, on a thread that is there for waiting
    ///
    /// # Errors
    /// Why the record cannot be read.
    pub(super) async fn of(data: PathBuf, task: TaskId) -> Result<Self, String> {
        let read = tokio::task::spawn_blocking(move || read(data, task)).await;
        read.map_err(|error| error.to_string())?
    }
}

/// How an effect ended, and whether it was admitted at all
///
/// # Errors
/// Why the record cannot be read.
pub(super) async fn end_of(data: PathBuf, effect: EffectId) -> Result<(bool, Option<End>), String> {
    let read = move || {
        let mut index = Index::open(&data).map_err(opened)?;
        let found = index.records_of(Subject::Effect(effect), Most::ALL).map_err(broken)?;
        let mut admitted = false;
        let mut end = None;
        for placed in found.records {
            match placed.record.event {
                Event::Admitted(found) if found.effect == effect => admitted = true,
                Event::Settled(settled) if settled.effect == effect => end = Some(settled.end),
                _ => {}
            }
        }
        Ok((admitted, end))
    };
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|error| error.to_string())?
}

fn read(data: PathBuf, task: TaskId) -> Result<Past, String> {
    let mut index = Index::open(&data).map_err(opened)?;
    let mut placed: BTreeMap<(u64, usize), Record> = BTreeMap::new();
    let (mut known, mut left) = (BTreeSet::new(), BTreeSet::from([task]));
    // The task, what is above and below it, and what took something of these back.
    while let Some(of) = left.pop_first() {
        if !known.insert(of) {
            continue;
        }
        for found in index.records_of(Subject::Task(of), Most::ALL).map_err(broken)?.records {
            if let Event::Began(began) = &found.record.event {
                left.extend([Some(began.task), began.parent].into_iter().flatten());
            }
            placed.insert((found.group, found.index), found.record);
        }
    }
    let log = Reader::open(&data).map_err(opened)?;
    let records: Vec<Record> = placed.into_values().collect();
    let named = records.iter().flat_map(|record| match &record.event {
        Event::Began(began) => Some(began.bundle),
        Event::Admitted(admitted) => Some(admitted.bundle),
        _ => None,
    });
    let named: BTreeSet<Hash> = named.collect();
    let bundle = |digest: Hash| {
        let blob = log.blob(digest).ok()??;
        Some((digest, portreeve_rules::Reader.read(digest, &blob).ok()?))
    };
    let bundles = named.into_iter().filter_map(bundle).collect();
    Ok(Past { records, bundles })
}

fn opened(error: Open) -> String {
    error.to_string()
}

fn broken(error: Read) -> String {
    error.to_string()
}
