//! `portreeve policy test|explain|replay|diff|schema`: the tools of those who write policy.
//!
//! All of them work on a directory alone; what is about the record reads it beside whoever serves it.

mod diff;
mod explain;
mod record;
mod replay;
mod test;

use crate::{
    cli::Cli,
    failure::{Failure, exit},
    output, place,
};
use clap::{Args, Subcommand};
use portreeve_core::{names::Name, time::Millis};
use portreeve_rules::{Loaded, SCHEMAS};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(crate) enum Author {
    /// Run the cases of a policy directory, and say what they leave untried
    Test {
        /// Which [default: the one of this data folder]
        folder: Option<PathBuf>,
        /// Only the cases of this purpose
        #[arg(long)]
        purpose: Option<Name>,
        /// Fail if an entry, a variant or a rule is touched by no case
        #[arg(long)]
        coverage_required: bool,
    },
    /// Say why a call is permitted or refused, layer by layer
    Explain(Explain),
    /// Judge recorded or written-down calls once more, also under another policy
    Replay(Replay),
    /// Say what a policy permits more or less than another one
    Diff(Diff),
    /// Print the JSON Schema of a kind of TOML file, for editors
    Schema {
        /// agent, user, connector, profile, purpose or point; without one, their names
        kind: Option<String>,
    },
}

/// Two versions of a policy
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// A policy directory, or the digest of a version in the record
    pub(crate) old: String,
    /// The same
    pub(crate) new: String,
    /// Also judge the recorded calls under the new one
    #[arg(long)]
    pub(crate) from_log: bool,
    /// Also judge the calls of a file of traces under both
    #[arg(long, value_name = "FILE")]
    pub(crate) traces: Option<PathBuf>,
}

/// A call, and the task that it is judged in
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// `TOOL NAME=VALUE...`, a JSON object, @FILE with one, or the id of a recorded call or task; then,
    /// optionally, the policy directory
    #[arg(required = true, value_name = "CALL")]
    pub(crate) call: Vec<String>,
    /// The purpose; may be left out where only one names the tool
    #[arg(long)]
    pub(crate) purpose: Option<Name>,
    /// The agent [default: the first that may open the purpose]
    #[arg(long)]
    pub(crate) agent: Option<Name>,
    /// The user, or `none` [default: the first that may open the purpose]
    #[arg(long)]
    pub(crate) user: Option<Name>,
    /// A parameter of the purpose
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub(crate) parameters: Vec<String>,
    /// A step that has succeeded
    #[arg(long = "done", value_name = "STEP")]
    pub(crate) done: Vec<Name>,
    /// Values that a step returned, as `look.items[*].id=["a"]`
    #[arg(long = "returned", value_name = "FIELD=VALUES")]
    pub(crate) returned: Vec<String>,
    /// When, as 2026-01-05T12:00:00Z [default: noon of that Monday]
    #[arg(long)]
    pub(crate) time: Option<String>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub(crate) struct Replay {
    /// The calls in the record of this data folder
    #[arg(long, group = "source")]
    pub(crate) from_log: bool,
    /// The calls in a file of traces, one task on each line
    #[arg(long, value_name = "FILE", group = "source")]
    pub(crate) traces: Option<PathBuf>,
    /// From this group of the record on
    #[arg(long, value_name = "N", requires = "from_log", default_value_t = 0)]
    pub(crate) since: u64,
    /// Under this policy directory
    #[arg(long, value_name = "DIR")]
    pub(crate) against: Option<PathBuf>,
    /// Write the recorded tasks as traces into this file
    #[arg(long, value_name = "FILE", requires = "from_log")]
    pub(crate) write: Option<PathBuf>,
}

pub(crate) fn run(cli: &Cli, author: &Author) -> Result<u8, Failure> {
    match author {
        Author::Test { folder, purpose, coverage_required } => {
            test::run(&folder_of(cli, folder.as_deref())?, purpose.as_ref(), *coverage_required, cli.json)
        }
        Author::Explain(explain) => explain::run(cli, explain),
        Author::Replay(replay) => replay::run(cli, replay),
        Author::Diff(wanted) => diff::run(cli, wanted),
        Author::Schema { kind } => schema(kind.as_deref()),
    }
}

fn schema(kind: Option<&str>) -> Result<u8, Failure> {
    let Some(kind) = kind else {
        SCHEMAS.iter().for_each(|(kind, _)| output::line(kind));
        return Ok(0);
    };
    let found = SCHEMAS.iter().find(|(known, _)| *known == kind);
    let (_, text) = found.ok_or_else(|| {
        Failure::new(exit::NOT_FOUND, "kind_unknown", format!("{:?} is no kind of file.", output::plain(kind)))
            .fix("List them with `portreeve policy schema`.")
    })?;
    output::line(text.trim_end());
    Ok(0)
}

/// The policy directory that is named, or that of the data folder
pub(crate) fn folder_of(cli: &Cli, given: Option<&Path>) -> Result<PathBuf, Failure> {
    match given {
        Some(folder) => place::absolute(folder),
        None => Ok(place::settings(&place::data(cli)?)?.policy),
    }
}

/// Reads a policy directory that has to be whole
pub(crate) fn load(folder: &Path) -> Result<Loaded, Failure> {
    portreeve_rules::load(folder).map_err(|findings| {
        Failure::new(exit::FAILURE, "policy_broken", "The policy has errors.")
            .more(findings.iter().filter(|finding| finding.is_error()).map(ToString::to_string))
            .fix("Mend them, and see `portreeve policy check`.")
    })
}

/// The time, for what depends on the day
pub(crate) fn today() -> Millis {
    Millis(jiff::Timestamp::now().as_millisecond())
}

fn usage(what: impl Into<String>, fix: &str) -> Failure {
    Failure::new(2, "usage", what).fix(fix)
}
