//! What credentials cost: issuing one at the first call of a task, calls that go with one, taking it back, many at once,
//! and memory; for each back end that is installed, beside what that back end itself takes for the same.
//!
//! Each figure of Portreeve is of the real program over HTTP; the floors are the same statements without it, on a connection
//! of their own each time, as Portreeve makes one.

mod back_end;
mod place;

use self::{
    back_end::{BackEnd, NAMES},
    place::Place,
};
use crate::{
    clock::now_ns,
    load::as_f64,
    print,
    who::{Spent, place::Upstream},
};
use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Options of `leases`
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The `portreeve` to measure
    #[arg(long)]
    portreeve: PathBuf,
    /// Folder for the data, on the disk to be measured
    #[arg(long)]
    dir: PathBuf,
    /// Where the result goes as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Tasks, one after the other, with each back end
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=2_000))]
    tasks: u32,
    /// Tasks at once, whose memory is compared
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(100..=5_000))]
    live: u32,
    /// Core of Portreeve
    #[arg(long, default_value_t = 0)]
    proxy_core: usize,
    /// Core of upstream and load
    #[arg(long, default_value_t = 1)]
    load_core: usize,
}

/// What one back end takes
#[derive(Debug, Default, Serialize)]
struct Row {
    back_end: &'static str,
    /// The first call of a task: judged, issued, connected, made
    first_p50_us: f64,
    first_p99_us: f64,
    /// The second
    warm_p50_us: f64,
    warm_p99_us: f64,
    /// From the stop of a task until its credential is known to be of no use
    back_p50_us: Option<f64>,
    back_p99_us: Option<f64>,
    /// The back end alone
    floor_issue_p50_us: Option<f64>,
    floor_back_p50_us: Option<f64>,
    /// First calls of many tasks, eight at a time
    leases_per_s: f64,
}

/// Everything that was measured
#[derive(Debug, Serialize)]
struct Measured {
    rows: Vec<Row>,
    /// Resident memory that a live credential adds to a task that made the same call
    bytes_per_lease: f64,
    live: u32,
}

/// Tasks that have their first call at once
const AT_ONCE: usize = 8;

/// Measures, prints a table, writes the JSON
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    crate::process::pin(options.load_core)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rows = Vec::new();
    for name in NAMES {
        match BackEnd::start(name, &options.dir)? {
            Some(back_end) => rows.push(runtime.block_on(measure(options, &back_end))?),
            None => print::line(&format!("SKIPPED: {name}: its programs are missing")),
        }
    }
    let bytes_per_lease = runtime.block_on(memory(options))?;
    let measured = Measured { rows, bytes_per_lease, live: options.live };
    table(&measured);
    if let Some(path) = &options.json {
        let text = serde_json::to_vec_pretty(&measured)?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn table(measured: &Measured) {
    let or = |figure: Option<f64>| figure.map_or_else(String::new, |figure| format!("{figure:.0}"));
    print::line(
        "| back end | first call p50/p99 µs | the next p50/p99 µs | taken back p50/p99 µs | alone: issue / take back p50 µs | leases/s |\n\
         |---|---|---|---|---|---|",
    );
    for row in &measured.rows {
        print::line(&format!(
            "| {} | {:.0} / {:.0} | {:.0} / {:.0} | {} / {} | {} / {} | {:.0} |",
            row.back_end,
            row.first_p50_us,
            row.first_p99_us,
            row.warm_p50_us,
            row.warm_p99_us,
            or(row.back_p50_us),
            or(row.back_p99_us),
            or(row.floor_issue_p50_us),
            or(row.floor_back_p50_us),
            row.leases_per_s,
        ));
    }
    print::line(&format!(
        "memory of a live credential, {} of them: {:.0} bytes",
        measured.live, measured.bytes_per_lease
    ));
}

async fn measure(options: &Options, back_end: &BackEnd) -> anyhow::Result<Row> {
    let upstream = Upstream::raise(options.load_core)?;
    let mut place = Place::open(options, &upstream, back_end).await?;
    let (mut first, mut warm, mut back) = (Spent::new()?, Spent::new()?, Spent::new()?);
    let (mut floor_issue, mut floor_back) = (Spent::new()?, Spent::new()?);
    let mut has_floor = true;
    // In turn, so that what else the machine does falls on all of them.
    for number in 0..options.tasks {
        let task = place.task().await?;
        first.wait(place.call(&task)).await?;
        warm.wait(place.call(&task)).await?;
        back.wait(place.gone(&task)).await?;
        if has_floor {
            has_floor = back_end.floor(number, &mut floor_issue, &mut floor_back).await?;
        }
    }
    let mut tasks = Vec::new();
    for _ in 0..options.tasks {
        tasks.push(place.task().await?);
    }
    let began_ns = now_ns();
    place.call_all(&tasks, AT_ONCE).await?;
    let seconds = as_f64(now_ns() - began_ns) / 1e9;
    place.close()?;
    let leased = back_end.issues();
    let floor = |spent: &Spent| (leased && has_floor).then(|| spent.at(0.5));
    Ok(Row {
        back_end: back_end.name(),
        first_p50_us: first.at(0.5),
        first_p99_us: first.at(0.99),
        warm_p50_us: warm.at(0.5),
        warm_p99_us: warm.at(0.99),
        back_p50_us: leased.then(|| back.at(0.5)),
        back_p99_us: leased.then(|| back.at(0.99)),
        floor_issue_p50_us: floor(&floor_issue),
        floor_back_p50_us: floor(&floor_back),
        leases_per_s: f64::from(options.tasks) / seconds,
    })
}

/// What a live credential adds to the memory of a task that made the same call
async fn memory(options: &Options) -> anyhow::Result<f64> {
    let mut grown = Vec::new();
    for name in ["none", "static"] {
        let back_end = BackEnd::start(name, &options.dir)?.context("needs no programs")?;
        let upstream = Upstream::raise(options.load_core)?;
        let mut place = Place::open(options, &upstream, &back_end).await?;
        // Caches are filled by the first ones.
        for live in [options.live / 4, options.live] {
            let mut tasks = Vec::new();
            for _ in 0..live {
                tasks.push(place.task().await?);
            }
            let before = place.resident_kib()?;
            place.call_all(&tasks, AT_ONCE).await?;
            grown.push(place.resident_kib()? - before);
        }
        place.close()?;
    }
    let [_, without, _, with] = grown.as_slice() else { anyhow::bail!("two places, measured twice") };
    Ok((with - without) * 1024.0 / f64::from(options.live))
}
