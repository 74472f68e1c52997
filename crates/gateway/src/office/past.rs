//! What the record says of a task: its beginning, what happened in it, the calls that it made.

use super::view::StepView;
use portreeve_core::{
    event::{Admitted, Began, CallFacts, End, Event, LeaseEnd, Record, What, call_key, decode},
    hash::Hash,
    log::Read,
    names::{EffectId, TaskId, Tool},
    time::Millis,
    value::Value,
};
use portreeve_log::{Index, Most, Placed, Reader, Subject};
use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// The way to what the record says
#[derive(Clone)]
pub(super) struct Past {
    data: PathBuf,
    // Held while somebody reads; others wait, on threads that are there for waiting.
    index: Arc<Mutex<Option<Index>>>,
}

impl fmt::Debug for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Past").field("data", &self.data).finish_non_exhaustive()
    }
}

/// What happened in a task
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    /// How it began
    pub(super) began: Option<(Millis, Box<Began>)>,
    /// What happened in it, the latest last
    pub(super) records: Vec<Placed>,
    /// Whether there was more before
    pub(super) cut: bool,
}

/// A call that a task made, with all its legs
#[derive(Clone, Debug)]
pub(super) struct Made {
    /// As people see it
    pub(super) view: StepView,
    /// What was called
    pub(super) tool: Tool,
    /// With which arguments; nothing where the record keeps no value
    pub(super) arguments: BTreeMap<String, Option<Value>>,
    /// What a repeat is known by, if the record keeps all of it
    pub(super) key: Option<Hash>,
}

/// Bytes of the record that are read for one view
const READ_BYTES: usize = 8 << 20;
/// Characters of a call's arguments on one line
const LINE_CHARS: usize = 240;

impl Past {
    pub(super) fn new(data: PathBuf) -> Self {
        Self { data, index: Arc::default() }
    }

    pub(super) fn data(&self) -> &std::path::Path {
        &self.data
    }

    /// The last `records` records of a task, and how it began
    ///
    /// # Errors
    /// Why the record cannot be read.
    pub(super) async fn story(&self, task: TaskId, records: usize) -> Result<Story, String> {
        let past = self.clone();
        let read = tokio::task::spawn_blocking(move || past.read(task, records)).await;
        read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    fn read(&self, task: TaskId, records: usize) -> Result<Story, Read> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if index.is_none() {
            *index = Some(Index::open(&self.data).map_err(|error| Read::Storage(error.to_string()))?);
        }
        let Some(index) = index.as_mut() else { return Ok(Story::default()) };
        let found = index.records_of(Subject::Task(task), Most { records, bytes: READ_BYTES })?;
        let mut story = Story { began: None, records: found.records, cut: found.cut };
        let of = |record: &Record| match &record.event {
            Event::Began(began) if began.task == task => Some((record.time, began.clone())),
            _ => None,
        };
        story.began = story.records.iter().find_map(|placed| of(&placed.record));
        if story.began.is_none() {
            let first = index.groups_of(Subject::Task(task), usize::MAX)?.0.first().copied();
            let reader = Reader::open(&self.data).map_err(|error| Read::Storage(error.to_string()))?;
            if let Some((before, group)) = first.map(|n| reader.group(n)).transpose()?.flatten() {
                let broken = |error: portreeve_core::event::Form| Read::Broken { n: group.n, why: error.to_string() };
                story.began = decode(before, &group).map_err(broken)?.iter().find_map(of);
            }
        }
        Ok(story)
    }
}

impl Story {
    /// The calls that were made, in order; legs of one call are one
    pub(super) fn calls(&self) -> Vec<Made> {
        let mut calls: Vec<Made> = Vec::new();
        // Of each leg, which call it belongs to.
        let mut legs: BTreeMap<EffectId, usize> = BTreeMap::new();
        for Placed { record, .. } in &self.records {
            match &record.event {
                Event::Admitted(admitted) => match &admitted.what {
                    What::Call(facts) => {
                        let first = facts.continues.and_then(|of| legs.get(&of).copied());
                        let at = first.unwrap_or(calls.len());
                        match first.and_then(|at| calls.get_mut(at)) {
                            Some(made) => made.view.end = "open".to_owned(),
                            None => calls.push(made(record.time, admitted, facts)),
                        }
                        legs.insert(admitted.effect, at);
                    }
                    What::Poll(poll) => {
                        if let Some(at) = legs.get(&poll.of).copied() {
                            legs.insert(admitted.effect, at);
                        }
                    }
                    What::Child { .. } | What::Lease(_) | What::Notice { .. } => {}
                },
                Event::Settled(settled) => {
                    if let Some(made) = legs.get(&settled.effect).and_then(|at| calls.get_mut(*at)) {
                        made.view.end = end(&settled.end).to_owned();
                    }
                }
                _ => {}
            }
        }
        calls
    }
}

/// How an effect ended, in a word
pub(super) fn end(end: &End) -> &'static str {
    match end {
        End::NotSent { .. } => "not_sent",
        End::Done { ok: true, .. } => "ok",
        End::Done { ok: false, .. } => "failed",
        End::Pending { .. } => "pending",
        End::Lease(LeaseEnd::Issued { .. }) => "issued",
        End::Lease(LeaseEnd::Withdrawn { .. }) => "withdrawn",
        End::Lease(LeaseEnd::Left { .. }) => "left",
        End::Unknown { .. } => "unknown",
    }
}

fn made(at: Millis, admitted: &Admitted, facts: &CallFacts) -> Made {
    let arguments: BTreeMap<String, Option<Value>> =
        facts.arguments.iter().map(|(name, given)| (name.clone(), given.value.value())).collect();
    let all: Option<BTreeMap<String, Value>> =
        arguments.iter().map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
    let key = all.map(|all| call_key(&facts.tool, &Value::canonical_object(&all)));
    let view = StepView {
        effect: admitted.effect,
        at,
        tool: facts.tool.to_string(),
        class: facts.class,
        end: "open".to_owned(),
        arguments: line(&arguments),
    };
    Made { view, tool: facts.tool.clone(), arguments, key }
}

/// Arguments on one line, cut where it is too long for one
fn line(arguments: &BTreeMap<String, Option<Value>>) -> String {
    let text = |value: &Option<Value>| value.as_ref().map_or_else(|| "(not kept)".to_owned(), Value::canonical);
    let parts = arguments.iter().map(|(name, value)| format!("{name}={}", text(value)));
    let line = parts.collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LINE_CHARS {
        return line;
    }
    line.chars().take(LINE_CHARS).chain(['…']).collect()
}
