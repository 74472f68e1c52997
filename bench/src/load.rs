//! The load: closed loop (each connection sends as soon as it is answered) or open loop (calls
//! start on a fixed schedule, and latency counts from the intended start, so that a stalled proxy
//! cannot hide behind calls that were never sent).

mod call;
mod closed;
mod connection;
mod open;
mod tally;

use std::time::Duration;

use clap::{Args, ValueEnum};
use http::Uri;

use self::call::Script;
pub(crate) use self::call::{INITIALIZE, INITIALIZED};
use self::connection::Connection;
pub(crate) use self::tally::{Summary, as_f64, tenth_us};
use crate::clock::{NS_PER_SEC, now_ns};
use crate::print;
use crate::process;
use crate::target::Target;

/// Options of `load`
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The MCP endpoint, on loopback
    #[arg(long)]
    url: Uri,
    /// Calls per second of an open loop; closed loop if absent
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Keep-alive connections, one call in flight on each
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    connections: u32,
    /// Seconds that are measured
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Milliseconds before, that are not measured
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    warmup_ms: u32,
    /// A header of each request, `NAME:VALUE`; may be repeated
    #[arg(long = "header")]
    headers: Vec<String>,
    /// What the requests look like
    #[arg(long, value_enum, default_value_t = Form::Modern)]
    form: Form,
    /// The tool that is called
    #[arg(long, default_value = "echo")]
    tool: String,
    /// Bytes of the text argument
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    payload_bytes: u32,
    /// Give each call another `id` argument: `item-0`, `item-1`, …
    #[arg(long)]
    unique: bool,
}

/// How MCP is spoken
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// 2026-07-28: stateless, `_meta` in the parameters and `Mcp-*` headers
    Modern,
    /// 2025-11-25: `initialize` on each connection, then its session
    Legacy,
}

/// Runs one loop and prints its summary as a line of JSON
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let summary = measure(options)?;
    print::line(&serde_json::to_string(&summary)?);
    Ok(())
}

fn measure(options: &Options) -> anyhow::Result<Summary> {
    let began_ns = now_ns();
    let connections = connections(options)?;
    let length = Length {
        warmup_ns: u64::from(options.warmup_ms) * 1_000_000,
        measured_ns: u64::from(options.seconds) * NS_PER_SEC,
    };
    let total = match options.rate {
        Some(rate) => open::run(connections, length, rate)?,
        None => closed::run(connections, length)?,
    };
    Ok(total.summary(&tally::Frame {
        form: if options.rate.is_some() { "open" } else { "closed" },
        seconds: options.seconds,
        wall_us: (now_ns() - began_ns) / 1_000,
        cpu_us: process::cpu_us(std::process::id())?,
    }))
}

fn connections(options: &Options) -> anyhow::Result<Vec<Connection>> {
    let target = Target::parse(&options.url)?;
    let step = u64::from(options.connections);
    (0..step)
        .map(|first| {
            let script = Script::new(&call::Plan {
                form: options.form,
                tool: &options.tool,
                payload_bytes: usize::try_from(options.payload_bytes)?,
                ids: options.unique.then_some(call::Ids { first, step }),
                headers: &options.headers,
            })?;
            Ok(Connection::new(target.clone(), script))
        })
        .collect()
}

/// How long calls are made
#[derive(Debug, Clone, Copy)]
struct Length {
    warmup_ns: u64,
    measured_ns: u64,
}

/// When calls are made and which of them count
#[derive(Debug, Clone, Copy)]
struct Window {
    begin_ns: u64,
    measured_ns: u64,
    end_ns: u64,
}

impl Window {
    fn starting_now(length: Length) -> Self {
        let begin_ns = now_ns() + 1_000_000;
        let measured_ns = begin_ns + length.warmup_ns;
        Self { begin_ns, measured_ns, end_ns: measured_ns + length.measured_ns }
    }
}

/// A call without an answer for this long is an error
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
