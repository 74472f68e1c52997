//! What the protocol costs: translation between the eras, results that are long, streams on which nothing happens.
//!
//! One `portreeve serve` stands in front of two copies of the bench's upstream, one of each era. Nothing here fails
//! because a machine is slow: figures are printed, and only what is wrong ends with an error.

mod exchange;
mod large;
mod place;
mod streams;
mod table;
mod translation;

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::compare::Machine;
use crate::print;
use crate::process;

/// Options of `wire`
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
    /// Date for the machine's line
    #[arg(long, default_value = "undated")]
    date: String,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [What::Translation, What::Large, What::Streams])]
    parts: Vec<What>,
    /// Rounds of translation, and of long results
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Calls per second of the open loop
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    open_rate: u32,
    /// Connections of the open loop
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=32))]
    open_connections: u32,
    /// Seconds of the open loop
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=600))]
    open_seconds: u32,
    /// Connections of the closed loop; one task has 32 sessions at most
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=32))]
    closed_connections: u32,
    /// Seconds of the closed loop
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    closed_seconds: u32,
    /// Bytes of the long results
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 50_000_000], value_parser = clap::value_parser!(u32).range(1..=250_000_000))]
    bytes: Vec<u32>,
    /// Idle streams of each kind
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_500))]
    streams: u32,
    /// How long they idle while CPU time is taken; a comment says every 15 seconds that a stream lives
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=600))]
    idle_seconds: u32,
    /// Core of Portreeve
    #[arg(long, default_value_t = 0)]
    proxy_core: usize,
    /// Core of upstream and load
    #[arg(long, default_value_t = 1)]
    load_core: usize,
}

/// A part of the measurement
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Calls in the four combinations of eras
    Translation,
    /// Long results
    Large,
    /// Idle streams
    Streams,
}

/// The whole result, as it goes to `--json`
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    /// What was measured, as compiled: figures of a build without optimisation are no figures
    build: &'static str,
    rounds: u32,
    translation: Vec<translation::Measured>,
    large: Vec<large::Measured>,
    streams: Vec<streams::Measured>,
}

/// Measures, prints tables, writes the JSON
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let machine = Machine::at((options.proxy_core, options.load_core), &options.dir, &options.date)?;
    process::raise_open_files(OPEN_FILES);
    // What is started later is pinned for itself.
    process::pin(options.load_core)?;
    let has = |what| options.parts.contains(&what);
    let report = Report {
        machine,
        build: if cfg!(debug_assertions) { "debug" } else { "release" },
        rounds: options.rounds,
        translation: if has(What::Translation) { translation::measure(options)? } else { Vec::new() },
        large: if has(What::Large) { large::measure(options)? } else { Vec::new() },
        streams: if has(What::Streams) { streams::measure(options)? } else { Vec::new() },
    };
    print::line(&table::markdown(&report));
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_vec_pretty(&report)?).with_context(|| format!("write {}", path.display()))?;
    }
    let errors: u64 = report.translation.iter().map(|measured| measured.figures.errors).sum();
    anyhow::ensure!(errors == 0, "{errors} calls failed: the figures do not count");
    let open: usize = report.streams.iter().map(|measured| measured.left_open).sum();
    anyhow::ensure!(open == 0, "{open} streams went on after their task was stopped");
    Ok(())
}

/// The middle of some values, the upper one of two
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Enough for the streams, beside what else there is
const OPEN_FILES: u64 = 8_192;
