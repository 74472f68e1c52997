//! What grows and what must not: judgements against tasks, purposes and rules; memory of idle tasks; start-up;
//! the time until a stop is settled.

mod judgement;
mod served;

use crate::print;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Options of `growth`
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The `portreeve` to measure
    #[arg(long)]
    portreeve: PathBuf,
    /// Folder for the data, on the disk to be measured
    #[arg(long)]
    dir: PathBuf,
    /// Open tasks for memory and stops
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..=190_000))]
    tasks: u32,
    /// Records in the log whose start is timed
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=5_000_000))]
    records: u32,
    /// Also write the figures as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One figure
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// What was measured
    what: String,
    /// At which size
    size: String,
    /// The figure itself
    value: f64,
    /// Its unit
    unit: &'static str,
    /// What it may be, if the bar says
    bar: Option<&'static str>,
}

impl Figure {
    fn new(what: &str, size: impl ToString, value: f64, unit: &'static str, bar: Option<&'static str>) -> Self {
        Self { what: what.to_owned(), size: size.to_string(), value, unit, bar }
    }
}

/// Measures and prints a markdown table
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut figures = judgement::measure()?;
    figures.extend(served::measure(&options.portreeve, &options.dir, options.tasks, options.records)?);
    print::line("| what | at | figure | bar |\n|---|---|---|---|");
    for figure in &figures {
        let bar = figure.bar.unwrap_or("");
        print::line(&format!("| {} | {} | {:.2} {} | {bar} |", figure.what, figure.size, figure.value, figure.unit));
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&figures)?)?;
    }
    Ok(())
}
