//! What it takes to find a task in a long log, with the index beside it and without.

use crate::{clock::now_ns, print};
use anyhow::{Context as _, ensure};
use clap::Args;
use portreeve_core::{
    commit::{Committed, Salts},
    event::{
        Actor, Admitted, Began, CallFacts, Charge, ChosenBy, End, Event, Given, Inputs, Record, Settled, What, decode,
        encode,
    },
    hash::Hash,
    log::{Head, Log as _, Space},
    names::{EffectId, MemoryId, RunId, TaskId},
    policy::Class,
    time::Millis,
    value::Value,
};
use portreeve_log::{Index, Most, Reader, Sqlite, Subject};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    path::PathBuf,
};

/// Options of `index`
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Folder for the data, on the disk to be measured
    #[arg(long)]
    dir: PathBuf,
    /// Records in the log
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    records: u64,
    /// Calls that are recorded together
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    together: u64,
}

/// Calls of each task
const CALLS: u64 = 100;

/// Measures and prints a markdown table
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(&options.dir).context("make a folder for the log")?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
    let (calls, records) = fill(folder.path(), options)?;
    let size = |name: &str| fs::metadata(folder.path().join(name)).map_or(0.0, |file| file.len() as f64 / 1_048_576.0);

    let mut rows = Vec::new();
    let (scanned, ms) = timed(|| scan(folder.path()))?;
    ensure!(scanned == records, "the log has {scanned} records, not {records}");
    rows.push(("reading all of it, decoded", ms));
    let mut longest = 0.0_f64;
    let (mut index, ms) = timed(|| {
        let mut index = Index::open(folder.path())?;
        loop {
            let (done, ms) = timed(|| Ok(index.catch_up()?))?;
            longest = longest.max(ms);
            if done {
                return Ok(index);
            }
        }
    })?;
    rows.push(("making the index", ms));
    print::line(&format!("the longest part of making the index: {longest:.1} ms"));
    for (what, call) in [("the first", 0), ("one in the middle", calls / 2), ("the last", calls - 1)] {
        let task = Subject::Task(TaskId(id(TASK, call / CALLS)));
        let (_, ms) = timed(|| Ok(index.groups_of(task, usize::MAX)?))?;
        print::line(&format!("{what} task, groups: {ms:.2} ms"));
        let (found, ms) = timed(|| Ok(index.records_of(task, Most::ALL)?))?;
        print::line(&format!("{what} task, its {} records: {ms:.2} ms", found.records.len()));
        let (found, ms) = timed(|| Ok(index.records_of(Subject::Effect(EffectId(id(EFFECT, call))), Most::ALL)?))?;
        print::line(&format!("{what} effect, its {} records: {ms:.2} ms", found.records.len()));
    }
    drop(index);
    print::line(&format!("{records} records: log {:.0} MiB, index {:.0} MiB", size("log.db"), size("index.db")));
    for (what, ms) in rows {
        print::line(&format!("{what}: {ms:.1} ms, {:.2} µs a record", ms * 1000.0 / records as f64));
    }
    Ok(())
}

/// A log as load makes it: a call's end stands in the group after its admission
fn fill(folder: &Path, options: &Options) -> anyhow::Result<(u64, u64)> {
    let mut log = Sqlite::open(folder, portreeve_log::Options { bytes_max: None, reserve_bytes: 0 })?;
    let mut salts = Salts::new([5; 32]);
    let (mut calls, mut written) = (0, 0);
    while written < options.records {
        let mut records = Vec::new();
        for call in calls - options.together.min(calls)..calls {
            let end = End::Done { ok: true, bytes: 300, result: None, returned: BTreeMap::new(), process: None };
            records.push(by(Actor::System, Event::Settled(Settled { effect: EffectId(id(EFFECT, call)), end })));
        }
        for call in calls..calls + options.together {
            let (task, run) = (TaskId(id(TASK, call / CALLS)), RunId(id(RUN, call / CALLS)));
            if call % CALLS == 0 {
                records.push(by(Actor::Owner { user: None }, began(task, run)?));
            }
            records.push(by(Actor::Run(run), admitted(call, task, &mut salts)?));
        }
        calls += options.together;
        written += records.len() as u64;
        let group = encode(log.head(), &mut records, Vec::new())?;
        log.append(log.head(), &group, Space::Ordinary)?;
    }
    Ok((calls, written))
}

fn by(actor: Actor, event: Event) -> Record {
    Record { time: Millis(1_800_000_000_000), actor, event }
}

fn began(task: TaskId, run: RunId) -> anyhow::Result<Event> {
    Ok(Event::Began(Box::new(Began {
        task,
        run,
        memory: MemoryId(run.0),
        agent: "support-bot".parse()?,
        user: None,
        purpose: "refund-order".parse()?,
        bundle: Hash::default(),
        parent: None,
        parameters: BTreeMap::new(),
        objective: None,
        expires: Millis(1_900_000_000_000),
        idle_ms: None,
        hold: None,
        review: None,
        undoes: None,
        proven: None,
    })))
}

fn admitted(call: u64, task: TaskId, salts: &mut Salts) -> anyhow::Result<Event> {
    let mut given = |name: &str, text: &str| {
        let value = Committed::new(&Value::String(text.to_owned()), salts.draw());
        (name.to_owned(), Given { value, by: ChosenBy::Model })
    };
    let arguments =
        [given("id", "ord_1"), given("amount", "12.50"), given("note", "as agreed on the telephone")].into();
    let entries = ["refund".parse()?].into();
    Ok(Event::Admitted(Box::new(Admitted {
        effect: EffectId(id(EFFECT, call)),
        task: Some(task),
        bundle: Hash::default(),
        now: Millis(1_800_000_000_000),
        what: What::Call(CallFacts {
            agent: "support-bot".parse()?,
            user: None,
            purpose: "refund-order".parse()?,
            tool: "shop.refund".parse()?,
            variants: Vec::new(),
            class: Class::Write,
            pin: Hash::default(),
            arguments,
            charges: vec![Charge { task, entries, sent: 60, held: None, paid: None, elevated: BTreeSet::new() }],
            continues: None,
            lease: None,
            before: None,
        }),
        inputs: Inputs::default(),
        because: Vec::new(),
        hold: None,
    })))
}

/// As random as a real one, and always the same
fn id(kind: u8, n: u64) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = Hash::of_parts(&[&[kind], &n.to_be_bytes()]).0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

const TASK: u8 = 1;
const RUN: u8 = 2;
const EFFECT: u8 = 3;

/// Reads and decodes every record, as who looks for something without the index has to
fn scan(folder: &Path) -> anyhow::Result<u64> {
    let reader = Reader::open(folder)?;
    let mut head = Head::default();
    let mut records = 0;
    loop {
        let groups = reader.groups(head.n, 256)?;
        if groups.is_empty() {
            return Ok(records);
        }
        for group in groups {
            records += decode(head, &group)?.len() as u64;
            head = group.head();
        }
    }
}

/// What was done, and the milliseconds that it took
fn timed<T>(what: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, f64)> {
    let begun = now_ns();
    let done = what()?;
    Ok((done, now_ns().saturating_sub(begun) as f64 / 1e6))
}
