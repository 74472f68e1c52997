//! What it costs that callers prove who they are: opening a task, renewing its token, a call whose token was seen before,
//! was never seen, or needs a proof of possession beside it; a connection on which both sides show a certificate; with one
//! agent, and with ten thousand.
//!
//! All on one connection, one request after the other, in alternating rounds. The bar stands in the same table: the same
//! call without Portreeve, and what one signature costs.

mod handshake;
mod keys;
pub(crate) mod place;

use std::path::PathBuf;

use anyhow::Context as _;
use aws_lc_rs::signature::{ED25519, KeyPair as _, UnparsedPublicKey};
use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;

use self::handshake::Certificates;
use self::keys::Key;
use self::place::{Place, Upstream};
use crate::clock::now_ns;
use crate::load::tenth_us;
use crate::print;

/// Options of `who`
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
    /// How many agents the policy has, each with a key of its own
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10_000], value_parser = clap::value_parser!(u32).range(1..=15_000))]
    agents: Vec<u32>,
    /// Requests of each kind
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..=5_000))]
    requests: u32,
    /// Core of Portreeve
    #[arg(long, default_value_t = 0)]
    proxy_core: usize,
    /// Core of upstream and load
    #[arg(long, default_value_t = 1)]
    load_core: usize,
}

/// One figure
#[derive(Debug, Serialize)]
struct Figure {
    what: &'static str,
    agents: u32,
    p50_us: f64,
    p99_us: f64,
}

/// Measures, prints a table, writes the JSON
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    crate::process::pin(options.load_core)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut figures = vec![signature()?];
    for agents in &options.agents {
        figures.extend(runtime.block_on(measure(options, *agents))?);
    }
    figures.extend(runtime.block_on(connections(options))?);
    print::line("| what | agents | p50 µs | p99 µs |\n|---|---|---|---|");
    for figure in &figures {
        let agents = if figure.agents == 0 { String::new() } else { figure.agents.to_string() };
        print::line(&format!("| {} | {agents} | {:.1} | {:.1} |", figure.what, figure.p50_us, figure.p99_us));
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&figures)?)
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// The floor of every token that comes for the first time
fn signature() -> anyhow::Result<Figure> {
    let key = Key::generate()?;
    let (message, mut spent) = ([0xa5_u8; 512], Spent::new()?);
    let signature = key.pair().sign(&message);
    let public = UnparsedPublicKey::new(&ED25519, key.pair().public_key().as_ref().to_vec());
    for _ in 0..5_000 {
        spent.time(|| public.verify(&message, signature.as_ref()).map_err(|_unspecified| anyhow::anyhow!("wrong")))?;
    }
    Ok(spent.figure("floor: one Ed25519 verification", 0))
}

/// Connections on which both sides show a certificate
async fn connections(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let (upstream, certificates) = (Upstream::raise(options.load_core)?, Certificates::make()?);
    let place = Place::open(options, 1, &upstream, Some(&certificates)).await?;
    let mut all = [Spent::new()?, Spent::new()?, Spent::new()?];
    handshake::measure(place.addresses()?, &certificates, options, &mut all)?;
    place.close()?;
    let names = [
        "floor: a connection with a certificate on either side, TLS alone",
        "a connection to Portreeve without TLS",
        "a connection to Portreeve with a certificate on either side",
    ];
    Ok(all.iter().zip(names).map(|(spent, what)| spent.figure(what, 0)).collect())
}

async fn measure(options: &Options, agents: u32) -> anyhow::Result<Vec<Figure>> {
    let upstream = Upstream::raise(options.load_core)?;
    let mut place = Place::open(options, agents, &upstream, None).await?;
    let mut direct = upstream.connect().await?;
    let mut all = Vec::new();
    for _ in NAMES {
        all.push(Spent::new()?);
    }
    let [floor, opening, renewing, ending, warm, cold, bound] = all.as_mut_slice() else {
        anyhow::bail!("as many figures as names")
    };

    // Opened and ended one by one: how many an agent may have open is bounded.
    for _ in 0..options.requests {
        let task = opening.wait(place.open_task(false)).await?;
        ending.wait(place.end(&task.id)).await?;
    }
    let mut bearer = place.open_task(false).await?;
    let with_key = place.open_task(true).await?;
    let mut tokens = Vec::new();
    for _ in 0..options.requests {
        let token = renewing.wait(place.renew(&bearer.id)).await?;
        tokens.push(token);
    }
    bearer.token = tokens.first().context("no token")?.clone();
    // In turn, so that what else the machine does falls on all of them.
    for token in tokens.iter().skip(1) {
        floor.wait(direct.call(None, None)).await?;
        warm.wait(place.call(&bearer.token, None)).await?;
        cold.wait(place.call(token, None)).await?;
        let proof = place.possession(&with_key.token)?;
        bound.wait(place.call(&with_key.token, Some(&proof))).await?;
    }
    place.close()?;
    Ok(all.iter().zip(NAMES).map(|(spent, what)| spent.figure(what, agents)).collect())
}

const NAMES: [&str; 7] = [
    "the same call without Portreeve",
    "a task opened (`private_key_jwt`)",
    "a token renewed (`private_key_jwt`)",
    "a task ended (`private_key_jwt`)",
    "a call, its token seen before",
    "a call, its token never seen",
    "a call with a proof of possession (DPoP)",
];

/// How long something took, each time
#[derive(Debug)]
pub(crate) struct Spent(Histogram<u64>);

impl Spent {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new(3).context("histogram")?))
    }

    fn time(&mut self, once: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let began_ns = now_ns();
        once()?;
        self.0.record(now_ns() - began_ns).context("record")
    }

    pub(crate) async fn wait<T>(&mut self, once: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let began_ns = now_ns();
        let done = once.await?;
        self.0.record(now_ns() - began_ns).context("record")?;
        Ok(done)
    }

    /// Microseconds at a quantile
    pub(crate) fn at(&self, quantile: f64) -> f64 {
        tenth_us(self.0.value_at_quantile(quantile))
    }

    fn figure(&self, what: &'static str, agents: u32) -> Figure {
        Figure { what, agents, p50_us: self.at(0.5), p99_us: self.at(0.99) }
    }
}
