//! A long result, through Portreeve and direct: time, CPU, and the most memory that Portreeve had resident.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::json;

use super::exchange::{Ask, Exchange};
use super::place::{Place, Upstreams, version};
use super::{Options, median};
use crate::clock::now_ns;
use crate::load::as_f64;
use crate::target::Target;
use crate::upstream::Era;
use crate::{print, process};

/// One size in one form
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) bytes: u32,
    pub(crate) form: Form,
    /// Medians over the rounds, from the request to the last byte
    pub(crate) direct_ms: f64,
    pub(crate) through_ms: f64,
    /// From the request to the first byte of the body
    pub(crate) direct_first_ms: f64,
    pub(crate) through_first_ms: f64,
    /// CPU time of Portreeve for one result
    pub(crate) cpu_ms: f64,
    /// Resident before the first long result, one short call having been made
    pub(crate) before_kib: u64,
    /// The most that was resident during the first long result
    pub(crate) peak_kib: u64,
    /// The most until all rounds were over
    pub(crate) peak_of_all_kib: u64,
    /// Whether the peak began anew before the first long result; else it may be that of the start
    pub(crate) peak_began_anew: bool,
}

/// How a result comes and goes
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// One JSON text on both sides
    Json,
    /// A stream of events on both sides
    Events,
    /// As `Json`, and the client does not read for a second after the first 100 KiB
    JsonPaused,
}

impl Form {
    /// The word for it in tables
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Events => "SSE",
            Self::JsonPaused => "JSON, client pauses 1 s",
        }
    }
}

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Measured>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let upstreams = Upstreams::raise(options.load_core)?;
    let mut measured = Vec::new();
    for bytes in &options.bytes {
        for form in [Form::Json, Form::Events, Form::JsonPaused] {
            let one = runtime.block_on(one(options, &upstreams, *bytes, form));
            let one = one.with_context(|| format!("a result of {bytes} bytes as {}", form.word()))?;
            print::note(&format!(
                "{bytes} bytes as {}: {:.1} ms direct, {:.1} ms through, {:.1} MiB before, {:.1} MiB at most",
                form.word(),
                one.direct_ms,
                one.through_ms,
                as_f64(one.before_kib) / 1024.0,
                as_f64(one.peak_kib) / 1024.0,
            ));
            measured.push(one);
        }
    }
    Ok(measured)
}

async fn one(options: &Options, upstreams: &Upstreams, bytes: u32, form: Form) -> anyhow::Result<Measured> {
    // A process of its own for each, so that nothing is left of what was before.
    let place = Place::open(options, upstreams).await?;
    let task = place.task().await?;
    let direct = Target::parse(&upstreams.of(ERA).url().parse()?)?;
    let through = Target::parse(&task.url(ERA)?.parse()?)?;
    let events = form == Form::Events;
    let ask = |name: &str, arguments: serde_json::Value| {
        let params = json!({ "name": name, "arguments": arguments });
        let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params }).to_string();
        Ask::post(body, events).with("mcp-protocol-version", version(ERA))?.bearing(&task.bearer())
    };
    let long = || ask("large", json!({ "id": "item-1", "bytes": bytes, "events": events }));
    let pid = place.served.pid();
    read(&through, ask("echo", json!({ "id": "item-1", "text": "short" }))?, false).await?;
    let before_kib = process::resident_kib(pid)?;
    let peak_began_anew = process::forget_peak(pid);
    let pauses = form == Form::JsonPaused;
    let checked = |read: &Read| {
        let least = u64::from(bytes).saturating_sub(1_000);
        ensure!(read.is_result, "no result: {}", read.start);
        ensure!((least..least + 3_000).contains(&read.bytes), "{} bytes came", read.bytes);
        anyhow::Ok(())
    };
    let first = read(&through, long()?, pauses).await?;
    checked(&first)?;
    let peak_kib = process::peak_kib(pid)?;
    let (mut directs, mut throughs) = (Vec::new(), Vec::new());
    let mut cpu_us = 0;
    for _ in 0..options.rounds {
        directs.push(read(&direct, long()?, pauses).await?);
        let began = process::cpu_us(pid)?;
        throughs.push(read(&through, long()?, pauses).await?);
        cpu_us += process::cpu_us(pid)? - began;
    }
    directs.iter().chain(&throughs).try_for_each(checked)?;
    let over = |reads: &[Read], value: fn(&Read) -> f64| median(reads.iter().map(value).collect());
    Ok(Measured {
        bytes,
        form,
        direct_ms: over(&directs, |read| read.total_ms),
        through_ms: over(&throughs, |read| read.total_ms),
        direct_first_ms: over(&directs, |read| read.first_ms),
        through_first_ms: over(&throughs, |read| read.first_ms),
        cpu_ms: as_f64(cpu_us) / 1_000.0 / f64::from(options.rounds),
        before_kib,
        peak_kib,
        peak_of_all_kib: process::peak_kib(pid)?,
        peak_began_anew,
    })
}

/// A result that was read
#[derive(Debug)]
struct Read {
    first_ms: f64,
    total_ms: f64,
    bytes: u64,
    /// Whether it is whole, and the result of a call that was made
    is_result: bool,
    /// The beginning, for an error
    start: String,
}

async fn read(target: &Target, ask: Ask, pauses: bool) -> anyhow::Result<Read> {
    tokio::time::timeout(READ_MAX, read_on(target, ask, pauses)).await.context("the result took too long")?
}

async fn read_on(target: &Target, ask: Ask, pauses: bool) -> anyhow::Result<Read> {
    let began_ns = now_ns();
    let since = || as_f64(now_ns() - began_ns) / 1e6;
    let mut exchange = Exchange::begin(target, ask).await?;
    let (mut first_ms, mut bytes, mut pauses) = (None, 0, pauses);
    let (mut start, mut end) = (Vec::new(), Vec::new());
    while let Some(data) = exchange.next().await? {
        first_ms.get_or_insert_with(since);
        bytes += data.len() as u64;
        if start.len() < START_BYTES {
            start.extend_from_slice(data.get(..START_BYTES).unwrap_or(&data));
        }
        let kept = data.len().saturating_sub(END_BYTES);
        end.extend_from_slice(data.get(kept..).unwrap_or_default());
        end.drain(..end.len().saturating_sub(END_BYTES));
        if bytes > PAUSE_AFTER && std::mem::take(&mut pauses) {
            tokio::time::sleep(PAUSE).await;
        }
    }
    let total_ms = since();
    let (start, end) = (String::from_utf8_lossy(&start), String::from_utf8_lossy(&end));
    // The members of the envelope may come in any order.
    let is_result = (start.contains("\"result\"") || end.contains("\"result\""))
        && !start.contains("\"isError\":true")
        && !end.contains("\"isError\":true")
        && end.trim_end().ends_with('}');
    Ok(Read { first_ms: first_ms.unwrap_or(total_ms), total_ms, bytes, is_result, start: start.into_owned() })
}

/// The era on both sides
const ERA: Era = Era::Legacy;
const START_BYTES: usize = 300;
const END_BYTES: usize = 300;
const PAUSE_AFTER: u64 = 100 * 1024;
const PAUSE: Duration = Duration::from_secs(1);
const READ_MAX: Duration = Duration::from_secs(60);
