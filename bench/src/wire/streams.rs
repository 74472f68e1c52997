//! Streams on which nothing happens: what one costs, and how soon a stop ends them all.
//!
//! A task has places for 128 requests and 32 sessions with 4 streams each, so the streams belong to several tasks.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Options;
use super::exchange::{Ask, Exchange};
use super::place::{Place, Task, Upstreams, version};
use crate::clock::now_ns;
use crate::load::as_f64;
use crate::target::Target;
use crate::upstream::Era;
use crate::{print, process};

/// One kind of stream
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) kind: Kind,
    pub(crate) streams: usize,
    pub(crate) tasks: usize,
    /// Resident with the tasks, each having been used once
    pub(crate) before_kib: u64,
    /// Resident with the streams, at the end of the idle time
    pub(crate) after_kib: u64,
    pub(crate) idle_seconds: u32,
    /// CPU time while idle
    pub(crate) idle_cpu_ms: f64,
    /// Comments and other pieces that came while idle, of all streams
    pub(crate) idle_pieces: u64,
    /// From the request for a stop of one task to the end of its last stream
    pub(crate) one_stop_ms: f64,
    /// Streams of that task
    pub(crate) one_stop_streams: usize,
    /// From the first request of a stop of each other task to the end of the last stream
    pub(crate) all_stops_ms: f64,
    /// Streams that were open ten seconds after that
    pub(crate) left_open: usize,
}

impl Measured {
    /// Memory of one stream, its connection and its share of a session included
    pub(crate) fn kib_each(&self) -> f64 {
        (as_f64(self.after_kib) - as_f64(self.before_kib)) / as_f64(self.streams.max(1) as u64)
    }
}

/// Kinds of streams
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// GET streams of sessions
    Sessions,
    /// `subscriptions/listen`
    Subscriptions,
}

impl Kind {
    /// The word for it in tables
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Sessions => "GET streams of sessions, 2025-11-25",
            Self::Subscriptions => "`subscriptions/listen`, 2026-07-28",
        }
    }

    fn era(self) -> Era {
        match self {
            Self::Sessions => Era::Legacy,
            Self::Subscriptions => Era::Modern,
        }
    }
}

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Measured>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let upstreams = Upstreams::raise(options.load_core)?;
    let mut measured = Vec::new();
    for kind in [Kind::Sessions, Kind::Subscriptions] {
        let one = runtime.block_on(one(options, &upstreams, kind)).with_context(|| kind.word().to_owned())?;
        print::note(&format!(
            "{} {}: {:.1} KiB each, {:.0} ms of CPU in {} s, all ended {:.1} ms after a stop, {} left open",
            one.streams,
            kind.word(),
            one.kib_each(),
            one.idle_cpu_ms,
            one.idle_seconds,
            one.all_stops_ms,
            one.left_open,
        ));
        measured.push(one);
    }
    Ok(measured)
}

/// What a stream's reader has to say
enum News {
    Piece,
    /// A stream ended at this time
    Ended(u64),
}

async fn one(options: &Options, upstreams: &Upstreams, kind: Kind) -> anyhow::Result<Measured> {
    let place = Place::open(options, upstreams).await?;
    let wanted = usize::try_from(options.streams)?;
    let mut tasks = Vec::new();
    for _ in 0..wanted.div_ceil(OF_TASK_MAX) {
        let task = place.task().await?;
        call(&task, kind).await.context("a call before")?;
        tasks.push(task);
    }
    let pid = place.served.pid();
    let before_kib = process::resident_kib(pid)?;
    let (sender, mut news) = mpsc::unbounded_channel();
    let mut readers = JoinSet::new();
    let mut of_task = vec![0_usize; tasks.len()];
    for ((number, task), count) in tasks.iter().enumerate().zip(&mut of_task) {
        // Evenly, the first ones taking what is over.
        *count = wanted / tasks.len() + usize::from(number < wanted % tasks.len());
        for mut stream in open(task, kind, *count).await? {
            let sender = sender.clone();
            readers.spawn(async move {
                while let Ok(Some(_)) = stream.next().await {
                    let _ = sender.send(News::Piece);
                }
                let _ = sender.send(News::Ended(now_ns()));
            });
        }
    }
    // Whoever ended early was never idle.
    tokio::time::sleep(SETTLE).await;
    let mut ended = 0;
    while let Ok(told) = news.try_recv() {
        ended += usize::from(matches!(told, News::Ended(..)));
    }
    anyhow::ensure!(ended == 0, "{ended} streams ended by themselves");
    let began = process::cpu_us(pid)?;
    tokio::time::sleep(Duration::from_secs(u64::from(options.idle_seconds))).await;
    let idle_cpu_ms = as_f64(process::cpu_us(pid)? - began) / 1_000.0;
    let after_kib = process::resident_kib(pid)?;
    let mut idle_pieces = 0;
    while let Ok(told) = news.try_recv() {
        anyhow::ensure!(matches!(told, News::Piece), "a stream ended by itself");
        idle_pieces += 1;
    }

    let (one, others) = tasks.split_first().context("no task")?;
    let one_stop_streams = of_task.first().copied().unwrap_or_default();
    let (one_stop_ms, left) = stopped(&place, std::slice::from_ref(one), &mut news, one_stop_streams).await?;
    let (all_stops_ms, left_of_others) = stopped(&place, others, &mut news, wanted - one_stop_streams).await?;
    Ok(Measured {
        kind,
        streams: wanted,
        tasks: tasks.len(),
        before_kib,
        after_kib,
        idle_seconds: options.idle_seconds,
        idle_cpu_ms,
        idle_pieces,
        one_stop_ms,
        one_stop_streams,
        all_stops_ms,
        left_open: left + left_of_others,
    })
}

/// Stops tasks at once; milliseconds until the last of so many streams ended, and how many did not
async fn stopped(
    place: &Place,
    tasks: &[Task],
    news: &mut mpsc::UnboundedReceiver<News>,
    streams: usize,
) -> anyhow::Result<(f64, usize)> {
    let began_ns = now_ns();
    let stops = async {
        for task in tasks {
            place.stop(&task.id).await?;
        }
        anyhow::Ok(())
    };
    let (mut left, mut last_ns) = (streams, began_ns);
    let ends = async {
        while left > 0 {
            match news.recv().await {
                Some(News::Ended(at_ns)) => (left, last_ns) = (left - 1, last_ns.max(at_ns)),
                Some(News::Piece) => {}
                None => break,
            }
        }
    };
    let (stopped, _late) = tokio::join!(stops, timeout(ENDS_MAX, ends));
    stopped.context("stop")?;
    Ok((as_f64(last_ns - began_ns) / 1e6, left))
}

/// Makes the link to the connector, as the first call of each task does
async fn call(task: &Task, kind: Kind) -> anyhow::Result<()> {
    let params = json!({ "name": "echo", "arguments": { "id": "item-1", "text": "x" }, "_meta": meta(kind) });
    let ask = message(task, kind, "tools/call", &params)?.with("mcp-name", "echo")?;
    let (_, body) = Exchange::begin(&target(task, kind)?, ask).await?.whole().await?;
    let body = String::from_utf8_lossy(&body);
    anyhow::ensure!(body.contains("\"result\"") && !body.contains("\"isError\":true"), "no result: {body}");
    Ok(())
}

/// Opens streams of one task, and waits until each has begun
async fn open(task: &Task, kind: Kind, count: usize) -> anyhow::Result<Vec<Exchange>> {
    let target = target(task, kind)?;
    let mut streams = Vec::new();
    let mut session = None;
    for number in 0..count {
        let ask = match kind {
            Kind::Sessions => {
                if number % OF_SESSION_MAX == 0 {
                    session = Some(initialize(task, &target).await.context("initialize")?);
                }
                let session = session.as_deref().context("no session")?;
                Ask::listen()
                    .with("mcp-protocol-version", version(kind.era()))?
                    .with("mcp-session-id", session)?
                    .bearing(&task.bearer())?
            }
            Kind::Subscriptions => {
                let params = json!({ "notifications": { "toolsListChanged": true }, "_meta": meta(kind) });
                message(task, kind, "subscriptions/listen", &params)?
            }
        };
        let mut stream =
            timeout(BEGIN_MAX, Exchange::begin(&target, ask)).await.context("a stream did not begin")??;
        let first: Option<Bytes> = timeout(BEGIN_MAX, stream.next()).await.context("nothing on a stream")??;
        first.context("a stream ended at once")?;
        streams.push(stream);
    }
    Ok(streams)
}

async fn initialize(task: &Task, target: &Target) -> anyhow::Result<String> {
    let ask = Ask::post(crate::load::INITIALIZE.to_owned(), false).bearing(&task.bearer())?;
    let (headers, _) = Exchange::begin(target, ask).await?.whole().await?;
    let session = headers.get("mcp-session-id").context("no session")?.to_str()?.to_owned();
    let ask = Ask::post(crate::load::INITIALIZED.to_owned(), false)
        .with("mcp-protocol-version", version(Era::Legacy))?
        .with("mcp-session-id", &session)?
        .bearing(&task.bearer())?;
    Exchange::begin(target, ask).await?.whole().await?;
    Ok(session)
}

fn message(task: &Task, kind: Kind, method: &str, params: &serde_json::Value) -> anyhow::Result<Ask> {
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }).to_string();
    let ask = Ask::post(body, false).with("mcp-protocol-version", version(kind.era()))?.bearing(&task.bearer())?;
    ask.with("mcp-method", method)
}

fn meta(kind: Kind) -> serde_json::Value {
    match kind {
        Kind::Sessions => json!({}),
        Kind::Subscriptions => json!({
            "io.modelcontextprotocol/protocolVersion": version(kind.era()),
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "bench", "version": "1" },
        }),
    }
}

fn target(task: &Task, kind: Kind) -> anyhow::Result<Target> {
    Target::parse(&task.url(kind.era())?.parse()?)
}

/// Streams of one task, below each of its limits
const OF_TASK_MAX: usize = 125;
/// Streams that a session may have
const OF_SESSION_MAX: usize = 4;
const BEGIN_MAX: Duration = Duration::from_secs(10);
/// How long what happens at the beginning may take to be over
const SETTLE: Duration = Duration::from_secs(1);
const ENDS_MAX: Duration = Duration::from_secs(10);
