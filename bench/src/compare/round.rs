//! One subject's turn in one round: an open loop for latency, a closed loop for cost.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum as _;
use serde::Serialize;

use super::Options;
use super::children::{Running, Start, own_command};
use super::subject::{Stage, Subject};
use crate::load::{Summary, as_f64};
use crate::process;

/// Makes turns
#[derive(Debug)]
pub(crate) struct Bench {
    /// What the requests look like, as `load --form` has it
    pub(crate) form: String,
    pub(crate) unique: bool,
    pub(crate) open: Loop,
    pub(crate) closed: Loop,
    pub(crate) proxy_core: usize,
    pub(crate) load_core: usize,
    pub(crate) upstream_pid: u32,
    pub(crate) upstream_address: String,
}

/// One kind of load
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loop {
    /// Calls per second; a closed loop without
    pub(crate) rate: Option<u32>,
    pub(crate) connections: u32,
    pub(crate) seconds: u32,
}

/// What one turn came to
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Turn {
    pub(crate) open: Summary,
    pub(crate) closed: Summary,
    pub(crate) open_usage: Usage,
    pub(crate) closed_usage: Usage,
    /// Resident before the first call of the run
    pub(crate) idle_kib: u64,
    /// Resident after the closed loop
    pub(crate) resident_kib: u64,
    /// Calls that the upstream saw more or fewer than were answered
    pub(crate) unaccounted: u64,
}

impl Turn {
    /// Microseconds of the proxy's CPU per call in the closed loop
    pub(crate) fn cpu_us_per_call(&self) -> f64 {
        as_f64(self.closed_usage.proxy_us) / as_f64(self.closed.calls_total.max(1))
    }

    /// Calls without a result, and calls that do not add up
    pub(crate) fn errors(&self) -> u64 {
        self.open.errors + self.closed.errors + self.unaccounted
    }

    /// A line for whoever watches
    pub(crate) fn line(&self, word: &str) -> String {
        let error = self.open.first_error.as_ref().or(self.closed.first_error.as_ref());
        format!(
            "{word:<9} p50 {:>6.1} µs, p99 {:>7.1} µs, {:>6.0} calls/s, {:>5.1} µs CPU per call; other work in the open loop {:.0} % / {:.0} %{}",
            self.open.p50_us,
            self.open.p99_us,
            self.closed.per_second,
            self.cpu_us_per_call(),
            self.open_usage.foreign_on_proxy_core() * 100.0,
            self.open_usage.foreign_on_load_core() * 100.0,
            error.map_or_else(String::new, |error| format!("; {} ERRORS: {error}", self.errors())),
        )
    }
}

/// What ran on the two cores during one loop
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Usage {
    /// CPU time of the proxy, 0 for `direct`
    pub(crate) proxy_us: u64,
    /// CPU time of the upstream and the load
    pub(crate) load_us: u64,
    /// All that ran on the proxy's core, kernel threads and other programs included
    pub(crate) proxy_core_us: u64,
    /// All that ran on the load's core
    pub(crate) load_core_us: u64,
    pub(crate) wall_us: u64,
}

impl Usage {
    fn between(before: &Meters, after: &Meters, load: &Summary) -> Self {
        Self {
            proxy_us: after.proxy_us - before.proxy_us,
            load_us: after.upstream_us - before.upstream_us + load.cpu_us,
            proxy_core_us: after.proxy_core_us.saturating_sub(before.proxy_core_us),
            load_core_us: after.load_core_us.saturating_sub(before.load_core_us),
            wall_us: load.wall_us.max(1),
        }
    }

    /// The proxy's share of its core
    pub(crate) fn proxy_share(&self) -> f64 {
        self.share(self.proxy_us)
    }

    /// The share of upstream and load of theirs
    pub(crate) fn load_share(&self) -> f64 {
        self.share(self.load_us)
    }

    /// What else ran on the proxy's core: kernel threads and other programs
    pub(crate) fn foreign_on_proxy_core(&self) -> f64 {
        self.share(self.proxy_core_us.saturating_sub(self.proxy_us))
    }

    /// What else ran on the load's core
    pub(crate) fn foreign_on_load_core(&self) -> f64 {
        self.share(self.load_core_us.saturating_sub(self.load_us))
    }

    fn share(&self, busy_us: u64) -> f64 {
        as_f64(busy_us) / as_f64(self.wall_us)
    }
}

impl Bench {
    /// Takes from the options what all turns have in common
    pub(crate) fn new(options: &Options, stage: &Stage) -> anyhow::Result<Self> {
        Ok(Self {
            form: options.form.to_possible_value().context("no such form")?.get_name().to_owned(),
            unique: options.unique,
            open: Loop {
                rate: Some(options.open_rate),
                connections: options.open_connections,
                seconds: options.open_seconds,
            },
            closed: Loop { rate: None, connections: options.closed_connections, seconds: options.closed_seconds },
            proxy_core: options.proxy_core,
            load_core: options.load_core,
            upstream_pid: stage.upstream_pid(),
            upstream_address: stage.upstream_address().to_owned(),
        })
    }

    /// Gives one subject its turn
    pub(crate) fn turn(&self, subject: &mut Subject) -> anyhow::Result<Turn> {
        let seen_before = self.calls_seen()?;
        let start = self.meters(subject)?;
        let open = self.load(subject, self.open).context("open loop")?;
        let middle = self.meters(subject)?;
        let closed = self.load(subject, self.closed).context("closed loop")?;
        let end = self.meters(subject)?;
        let seen = self.calls_seen()? - seen_before;
        Ok(Turn {
            open_usage: Usage::between(&start, &middle, &open),
            closed_usage: Usage::between(&middle, &end, &closed),
            idle_kib: subject.idle_kib,
            resident_kib: subject.pid.map_or(Ok(0), process::resident_kib)?,
            unaccounted: seen.abs_diff(open.calls_total + closed.calls_total),
            open,
            closed,
        })
    }

    fn load(&self, subject: &mut Subject, kind: Loop) -> anyhow::Result<Summary> {
        let mut command = own_command(["load", "--form", &self.form, "--url", &subject.url])?;
        command.push(format!("--connections={}", kind.connections).into());
        command.push(format!("--seconds={}", kind.seconds).into());
        if let Some(rate) = kind.rate {
            command.push(format!("--rate={rate}").into());
        }
        if self.unique {
            command.push("--unique".into());
        }
        for header in subject.headers()? {
            command.push(format!("--header={header}").into());
        }
        let running = Running::start(&Start { what: "the load", core: self.load_core, command })?;
        let line = running.first_line(Duration::from_secs(u64::from(kind.seconds)) + LOAD_OVERRUN_MAX)?;
        serde_json::from_str(&line).with_context(|| format!("odd summary: {line}"))
    }

    fn meters(&self, subject: &Subject) -> anyhow::Result<Meters> {
        Ok(Meters {
            proxy_us: subject.pid.map_or(Ok(0), process::cpu_us)?,
            upstream_us: process::cpu_us(self.upstream_pid)?,
            proxy_core_us: process::core_busy_us(self.proxy_core)?,
            load_core_us: process::core_busy_us(self.load_core)?,
        })
    }

    /// How many calls reached the upstream so far
    fn calls_seen(&self) -> anyhow::Result<u64> {
        let mut stream = TcpStream::connect(&self.upstream_address).context("reach the upstream")?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET /count HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("ask the upstream for its count")?;
        let (_, count) = answer.split_once("\r\n\r\n").context("odd answer to /count")?;
        count.trim().parse().with_context(|| format!("odd count: {count}"))
    }
}

/// Readings before and after a loop
#[derive(Debug)]
struct Meters {
    proxy_us: u64,
    upstream_us: u64,
    proxy_core_us: u64,
    load_core_us: u64,
}

const LOAD_OVERRUN_MAX: Duration = Duration::from_secs(40);
