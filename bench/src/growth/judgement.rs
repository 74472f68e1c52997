//! One judgement, in this process, with more and more around it.

use super::Figure;
use crate::clock::now_ns;
use anyhow::{Context as _, anyhow};
use hdrhistogram::Histogram;
use portreeve_core::{
    engine::{Engine, Reply, Snapshots},
    event::{Actor, ChosenBy},
    hash::Hash,
    judge,
    names::{BootId, EffectId, MemoryId, RunId, TaskId, Tool},
    offer::Identity,
    request::{Call, Change, ChangeWhat, Clock, Fit, Open, Request},
    state::State,
    value::Value,
};
use portreeve_log::{Memory, Options, Storage};
use portreeve_rules::{Files, Reader};
use std::{collections::BTreeMap, hint::black_box};

#[derive(Debug)]
struct NoSnapshots;

impl Snapshots for NoSnapshots {
    fn newest(&self) -> Option<State> {
        None
    }
}

type World = Engine<Memory, Reader, NoSnapshots>;

const NOW: Clock = Clock {
    steady: portreeve_core::time::Millis(1_800_000_000_000),
    wall: portreeve_core::time::Millis(1_800_000_000_000),
};
const OWNER: Actor = Actor::Owner { user: None };
const ROUNDS: u32 = 20_000;
const PIN: Hash = Hash([7; 32]);

/// Judgements with 10 to 100,000 tasks, and with 10 to 10,000 purposes and rules
pub(super) fn measure() -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for tasks in [10, 1_000, 100_000] {
        let world = world(10, 10, tasks)?;
        let (p50, p99) = judged(&world, tasks)?;
        figures.push(Figure::new("judgement, p50", format!("{tasks} tasks"), p50, "µs", Some("flat")));
        figures.push(Figure::new("judgement, p99", format!("{tasks} tasks"), p99, "µs", None));
    }
    for size in [10, 1_000, 10_000] {
        let files = policy(size, size).into_iter().collect();
        let at = || format!("{size} purposes and rules");
        let (load, check) = loaded(&files)?;
        figures.push(Figure::new("loading a policy", at(), load, "ms", None));
        figures.push(Figure::new("running its cases, one for each purpose", at(), check, "ms", None));
        let world = world(size, size, 100)?;
        let (p50, p99) = judged(&world, 100)?;
        figures.push(Figure::new("judgement, p50", format!("{size} purposes and rules"), p50, "µs", Some("flat")));
        figures.push(Figure::new("judgement, p99", format!("{size} purposes and rules"), p99, "µs", None));
    }
    Ok(figures)
}

/// Milliseconds to load a policy, and to run its cases: the best of three
fn loaded(files: &Files) -> anyhow::Result<(f64, f64)> {
    let mut best = (f64::MAX, f64::MAX);
    for _ in 0..3 {
        let begun = now_ns();
        let loaded = compile(files)?;
        let read = now_ns();
        let found = black_box(loaded.run_cases());
        anyhow::ensure!(
            found.is_empty(),
            "a case fails: {}",
            found.first().map(ToString::to_string).unwrap_or_default()
        );
        let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
        best = (best.0.min(ms(begun, read)), best.1.min(ms(read, now_ns())));
    }
    Ok(best)
}

fn compile(files: &Files) -> anyhow::Result<portreeve_rules::Loaded> {
    portreeve_rules::compile(files)
        .map_err(|findings| anyhow!("{}", findings.first().map(ToString::to_string).unwrap_or_default()))
}

/// A policy of so many purposes, each with a tool and a case of its own
pub(super) fn policy(purposes: u32, rules: u32) -> Vec<(String, String)> {
    let mut files = vec![("agents/bot.toml".to_owned(), "owner = \"o\"\n".to_owned())];
    let mut connector = "url = \"http://127.0.0.1:1/mcp\"\n".to_owned();
    let mut cedar = String::new();
    for at in 0..purposes {
        connector.push_str(&format!("[tools.t{at}]\nclass = \"read\"\n"));
        let purpose = format!(
            "name = \"p{at}\"\nabout = \"a\"\nowner = \"o\"\n[open]\nagents = [\"bot\"]\nusers = \"none\"\n[task]\n\
             expires_after = \"1h\"\nstanding = [\"read\"]\n[parameters]\nid = {{ type = \"string\" }}\n\
             limit = {{ type = \"decimal\" }}\n[[allow]]\nname = \"a\"\nuse = [\"c.t{at}\"]\n\
             where = {{ id = \"{{id}}\", amount = {{ at_most = \"{{limit}}\" }} }}\n[[case]]\n\
             given = {{ id = \"x\", limit = 5 }}\ncall = {{ tool = \"c.t{at}\", args = {{ id = \"x\", amount = 4 }} }}\n\
             expect = \"permit\"\n"
        );
        files.push((format!("purposes/p{at}.toml"), purpose));
    }
    for at in 0..rules {
        cedar.push_str(&format!(
            "forbid (principal, action == Action::\"c.t{at}\", resource) when {{ context.input.id == \"never\" }};\n"
        ));
    }
    files.push(("connectors/c.toml".to_owned(), connector));
    files.push(("rules/all.cedar".to_owned(), cedar));
    files
}

fn world(purposes: u32, rules: u32, tasks: u32) -> anyhow::Result<World> {
    let loaded = compile(&policy(purposes, rules).into_iter().collect())?;
    let log = Memory::over(Storage::new(Options { bytes_max: None, reserve_bytes: 0 }));
    let mut world = Engine::boot(log, Reader, NoSnapshots, BootId(1), "bench", NOW)?;
    let pins =
        (0..purposes).map(|at| Ok((format!("t{at}").parse()?, (PIN, Vec::new())))).collect::<anyhow::Result<_>>()?;
    let change = |what| Request::Change(Change { by: OWNER, what });
    let bundle = ChangeWhat::Bundle { bundle: loaded.bundle, blob: loaded.blob };
    let pins = ChangeWhat::Pins { connector: "c".parse()?, definitions: pins, identity: Identity::Plain };
    world.turn(vec![change(bundle), change(pins)], NOW, [1; 32]);
    let ids: Vec<u32> = (0..tasks).collect();
    for some in ids.chunks(1_000) {
        let opens = some.iter().map(|id| open(*id, purposes)).collect::<anyhow::Result<Vec<_>>>()?;
        for reply in world.turn(opens, NOW, [2; 32]) {
            anyhow::ensure!(matches!(reply, Reply::Opened(_)), "a task could not be opened: {reply:?}");
        }
    }
    Ok(world)
}

fn open(id: u32, purposes: u32) -> anyhow::Result<Request> {
    let parameters = [("id", format!("\"item-{id}\"")), ("limit", "50".to_owned())];
    let parameters = parameters
        .into_iter()
        .map(|(name, value)| Ok((name.parse()?, (value.parse::<Value>()?, ChosenBy::Parameter))))
        .collect::<anyhow::Result<_>>()?;
    Ok(Request::Open(Open {
        task: TaskId(u64::from(id)),
        run: RunId(u64::from(id)),
        memory: MemoryId(1),
        by: OWNER,
        agent: "bot".parse()?,
        user: None,
        purpose: format!("p{}", id % purposes).parse()?,
        parameters,
        objective: None,
        parent: None,
        undoes: None,
        proven: None,
    }))
}

fn judged(world: &World, tasks: u32) -> anyhow::Result<(f64, f64)> {
    let mut histogram = Histogram::<u64>::new(3)?;
    for round in 0..ROUNDS {
        let id = round.wrapping_mul(2_654_435_761) % tasks;
        let run = RunId(u64::from(id));
        let task = world.state().task_of(run).and_then(|task| world.state().task(task)).context("a task")?;
        let tool = Tool {
            connector: "c".parse()?,
            name: format!("t{}", task.purpose.as_str().trim_start_matches('p')).parse()?,
        };
        let arguments: BTreeMap<String, Value> =
            [("id".to_owned(), format!("\"item-{id}\"").parse()?), ("amount".to_owned(), "20".parse()?)].into();
        let call = Call {
            effect: EffectId(u64::from(round)),
            run,
            tool,
            arguments,
            fit: Fit { pin: PIN, error: None },
            answers: Vec::new(),
            continues: None,
            before: None,
            lease: None,
        };
        let begun = now_ns();
        let judgement = black_box(judge::judge_call(world.state(), world.shelf(), &call, NOW));
        histogram.record(now_ns().saturating_sub(begun).max(1))?;
        anyhow::ensure!(judgement.is_ok(), "refused: {judgement:?}");
    }
    let us = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    Ok((us(0.5), us(0.99)))
}
