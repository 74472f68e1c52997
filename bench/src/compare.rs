//! The comparison: all subjects in alternating rounds of one run, on one machine.
//!
//! The proxy under test has one core, the upstream and the load share another, so what saturates
//! first can be named. Absolute figures move from machine to machine and from minute to minute;
//! ratios inside one run are what counts, hence the rounds and their medians.

pub(crate) mod children;
pub(crate) mod figures;
pub(crate) mod round;
pub(crate) mod subject;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;

use self::figures::Figures;
use self::round::{Bench, Turn};
use self::subject::{Stage, Subject};
use crate::load::Form;
use crate::print;
use crate::process;
use crate::upstream::Era;

/// Options of `compare`
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Folder for journals and other data, on the disk to be measured
    #[arg(long)]
    dir: PathBuf,
    /// Where the result goes as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Date for the machine's line
    #[arg(long, default_value = "undated")]
    date: String,
    /// The subjects, in the order of the first round
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Direct, Kind::Nginx, Kind::Yardstick, Kind::Portreeve])]
    subjects: Vec<Kind>,
    /// Shell command that starts Portreeve: it gets the upstream's URL as its last argument, prints
    /// one line of JSON (`url`, `pid`, `headers`, `renew`) and lives until its standard input closes
    #[arg(long)]
    portreeve_cmd: Option<String>,
    /// nginx; left out with a remark if it is not there
    #[arg(long, default_value = "/usr/sbin/nginx")]
    nginx: PathBuf,
    /// Rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Calls per second of the open loop
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    open_rate: u32,
    /// Connections of the open loop
    #[arg(long, default_value_t = 8)]
    open_connections: u32,
    /// Seconds of the open loop
    #[arg(long, default_value_t = 4)]
    open_seconds: u32,
    /// Connections of the closed loop
    #[arg(long, default_value_t = 32)]
    closed_connections: u32,
    /// Seconds of the closed loop
    #[arg(long, default_value_t = 3)]
    closed_seconds: u32,
    /// Give each call another `id` argument
    #[arg(long)]
    unique: bool,
    /// What the agent's requests look like
    #[arg(long, value_enum, default_value_t = Form::Modern)]
    form: Form,
    /// Which era the upstream speaks
    #[arg(long, value_enum, default_value_t = Era::Legacy)]
    upstream_era: Era,
    /// Niceness of the yardstick's journal thread
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    journal_nice: i32,
    /// Core of the proxy under test
    #[arg(long, default_value_t = 0)]
    proxy_core: usize,
    /// Core of the upstream and the load
    #[arg(long, default_value_t = 1)]
    load_core: usize,
}

/// What can be measured
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// No proxy
    Direct,
    /// A plain reverse proxy: no decision, no record
    Nginx,
    /// The bare durable proxy
    Yardstick,
    /// What `--portreeve-cmd` starts
    Portreeve,
}

impl Kind {
    /// The word for it in tables
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Yardstick => "yardstick",
            Self::Portreeve => "portreeve",
        }
    }
}

/// The whole result, as it goes to `--json`
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    settings: Settings,
    subjects: Vec<Measured>,
}

/// Where it was measured
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    pub(crate) date: String,
}

/// How it was measured
#[derive(Debug, Serialize)]
pub(crate) struct Settings {
    pub(crate) rounds: u32,
    pub(crate) open_rate: u32,
    pub(crate) open_connections: u32,
    pub(crate) open_seconds: u32,
    pub(crate) closed_connections: u32,
    pub(crate) closed_seconds: u32,
    pub(crate) journal_nice: i32,
    pub(crate) proxy_core: usize,
    pub(crate) load_core: usize,
}

/// One subject's rounds and what they come to
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) kind: Kind,
    pub(crate) figures: Figures,
    pub(crate) turns: Vec<Turn>,
}

/// Runs all rounds, prints the table, writes the JSON
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let machine = Machine::at((options.proxy_core, options.load_core), &options.dir, &options.date)?;
    let settings = settings(options);
    let folder = tempfile::tempdir_in(&options.dir).context("make a folder for the run")?;
    let stage = Stage::raise(options, folder.path())?;
    let mut subjects = stage.subjects(options)?;
    let bench = Bench::new(options, &stage)?;
    let mut turns: Vec<Vec<Turn>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        // Each round starts with another subject, so that none always follows the same one.
        for place in 0..subjects.len() {
            let number = (place + usize::try_from(round)?) % subjects.len();
            if let (Some(subject), Some(turns)) = (subjects.get_mut(number), turns.get_mut(number)) {
                let turn = bench.turn(subject).with_context(|| format!("round {round} of {}", subject.kind.word()))?;
                print::note(&format!("round {} of {}: {}", round + 1, options.rounds, turn.line(subject.kind.word())));
                turns.push(turn);
            }
        }
    }
    let report = Report { machine, settings, subjects: measured(&subjects, turns)? };
    print::line(&table::markdown(&report.machine, &report.settings, &report.subjects));
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(&report)?).with_context(|| format!("write {}", path.display()))?;
    }
    let errors: u64 = report.subjects.iter().map(|subject| subject.figures.errors).sum();
    if errors > 0 {
        bail!("{errors} calls failed: the figures do not count");
    }
    Ok(())
}

fn measured(subjects: &[Subject], turns: Vec<Vec<Turn>>) -> anyhow::Result<Vec<Measured>> {
    let kinds: Vec<Kind> = subjects.iter().map(|subject| subject.kind).collect();
    let direct = kinds.iter().position(|kind| *kind == Kind::Direct);
    let direct = direct.and_then(|at| turns.get(at)).cloned().context("`direct` is always measured")?;
    Ok(kinds
        .into_iter()
        .zip(turns)
        .map(|(kind, turns)| Measured { kind, figures: Figures::of(&turns, &direct), turns })
        .collect())
}

impl Machine {
    /// This machine, if the proxy and the load can have a core each
    pub(crate) fn at((proxy_core, load_core): (usize, usize), dir: &Path, date: &str) -> anyhow::Result<Self> {
        let cores = process::cores();
        if proxy_core == load_core || cores < 2 {
            bail!("the proxy and the load need a core each; this machine has {cores}");
        }
        Ok(Self { cores, kernel: process::kernel(), file_system: process::file_system(dir)?, date: date.to_owned() })
    }
}

fn settings(options: &Options) -> Settings {
    Settings {
        rounds: options.rounds,
        open_rate: options.open_rate,
        open_connections: options.open_connections,
        open_seconds: options.open_seconds,
        closed_connections: options.closed_connections,
        closed_seconds: options.closed_seconds,
        journal_nice: options.journal_nice,
        proxy_core: options.proxy_core,
        load_core: options.load_core,
    }
}
