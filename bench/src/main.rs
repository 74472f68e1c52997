//! Measures Portreeve: the load, the upstream, the bar to compare with, and the comparison.
//!
//! Everything stays on loopback, is bounded in count and time, and ends by itself.
//! Architecture Invariant: the comparison knows nothing of Portreeve but the one line of JSON that
//! `compare --portreeve-cmd` reads; only `growth` and `index` look inside, and `wire` speaks to
//! the administrator. Start reading at `compare.rs`; the bar is `yardstick.rs`.

mod clock;
mod compare;
mod envelope;
mod floors;
mod growth;
mod index;
mod leases;
mod load;
mod print;
mod process;
mod serve;
mod served;
mod target;
mod upstream;
mod who;
mod wire;
mod yardstick;

use clap::{Parser, Subcommand};

/// Measures Portreeve against no proxy, nginx and a bare durable proxy
#[derive(Debug, Parser)]
#[command(name = "portreeve-bench", version)]
struct Command {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Run all subjects in alternating rounds and print a table
    Compare(compare::Options),
    /// Make calls and print their latencies as JSON
    Load(load::Options),
    /// Serve one MCP tool, `echo`
    Upstream(upstream::Options),
    /// Serve the bare durable proxy
    Yardstick(yardstick::Options),
    /// Measure what the disk and the cryptography cost
    Floors(floors::Options),
    /// Measure what must not grow: judgements, memory, start-up, stops
    Growth(growth::Options),
    /// Measure what it takes to find a task in a long log
    Index(index::Options),
    /// Measure the protocol: translation, long results, idle streams
    Wire(wire::Options),
    /// Measure what it costs that callers prove who they are
    Who(who::Options),
    /// Measure credentials: issuing, taking back, calls that go with one, memory
    Leases(leases::Options),
    /// Become another command on one core, and end with the parent
    Pinned(process::Pinned),
}

fn main() -> anyhow::Result<()> {
    match Command::parse().part {
        Part::Compare(options) => compare::run(&options),
        Part::Load(options) => load::run(&options),
        Part::Upstream(options) => upstream::run(&options),
        Part::Yardstick(options) => yardstick::run(&options),
        Part::Floors(options) => floors::run(&options),
        Part::Growth(options) => growth::run(&options),
        Part::Index(options) => index::run(&options),
        Part::Wire(options) => wire::run(&options),
        Part::Who(options) => who::run(&options),
        Part::Leases(options) => leases::run(&options),
        Part::Pinned(options) => process::run_pinned(&options),
    }
}
