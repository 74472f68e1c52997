//! The floors: what one durable append, one hash and one verification cost on this machine.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use aws_lc_rs::digest;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::clock::now_ns;
use crate::load::tenth_us;
use crate::print;
use crate::process;

/// Options of `floors`
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Folder for the file, on the disk to be measured
    #[arg(long)]
    dir: PathBuf,
    /// Durable appends of each size
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    appends: u32,
}

#[derive(Debug, Serialize)]
struct Floor {
    floor: String,
    p50_us: f64,
    p99_us: f64,
}

/// Measures and prints a markdown table, then the same as a line of JSON
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let dir = tempfile::tempdir_in(&options.dir).context("make a folder for the floors")?;
    let mut floors = Vec::new();
    for records in [1, 64] {
        let file = File::create_new(dir.path().join(format!("append-{records}"))).context("create")?;
        floors.push(append(options, records, &file, "growing")?);
        let path = dir.path().join(format!("preallocated-{records}"));
        let file = zeroed(&path, u64::from(options.appends) * block_bytes(records))?;
        floors.push(append(options, records, &file, "preallocated")?);
    }
    let kib = [0xa5_u8; 1024];
    floors.push(timed("SHA-256 of 1 KiB".into(), CPU_ROUNDS, |_| {
        black_box(digest::digest(&digest::SHA256, black_box(&kib)));
        Ok(())
    })?);
    floors.push(verification(&kib)?);
    print::line(&format!("{} on {}", process::kernel(), process::file_system(&options.dir)?));
    print::line("| floor | p50 µs | p99 µs |\n|---|---|---|");
    for floor in &floors {
        print::line(&format!("| {} | {:.1} | {:.1} |", floor.floor, floor.p50_us, floor.p99_us));
    }
    print::line(&serde_json::to_string(&floors)?);
    Ok(())
}

fn append(options: &Options, records: u64, file: &File, kind: &str) -> anyhow::Result<Floor> {
    let bytes = block_bytes(records);
    let block = vec![b'x'; usize::try_from(bytes)?];
    timed(format!("append {bytes} B + fdatasync, {kind} file"), options.appends, |turn| {
        file.write_all_at(&block, u64::from(turn) * bytes)?;
        file.sync_data()?;
        Ok(())
    })
}

fn verification(message: &[u8]) -> anyhow::Result<Floor> {
    let pair = Ed25519KeyPair::generate().map_err(|_unspecified| anyhow!("make a key"))?;
    let signature = pair.sign(message);
    let key = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref().to_vec());
    timed("Ed25519 verification".into(), CPU_ROUNDS, |_| {
        key.verify(message, signature.as_ref()).map_err(|_unspecified| anyhow!("the signature is wrong"))
    })
}

fn timed(floor: String, rounds: u32, mut once: impl FnMut(u32) -> anyhow::Result<()>) -> anyhow::Result<Floor> {
    let mut spent_ns: Histogram<u64> = Histogram::new(3).context("histogram")?;
    for round in 0..rounds {
        let start_ns = now_ns();
        once(round)?;
        spent_ns.record(now_ns() - start_ns).context("record")?;
    }
    Ok(Floor {
        floor,
        p50_us: tenth_us(spent_ns.value_at_quantile(0.5)),
        p99_us: tenth_us(spent_ns.value_at_quantile(0.99)),
    })
}

fn zeroed(path: &std::path::Path, bytes: u64) -> anyhow::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).context("create")?;
    let zeros = vec![0_u8; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let part = zeros.get(..usize::try_from(left)?.min(zeros.len())).unwrap_or(&zeros);
        file.write_all(part).context("preallocate")?;
        left -= u64::try_from(part.len())?;
    }
    file.sync_all().context("sync")?;
    Ok(file)
}

fn block_bytes(records: u64) -> u64 {
    records * 512
}

const CPU_ROUNDS: u32 = 20_000;
