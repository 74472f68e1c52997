//! Pinning of processes to cores, and readings of `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Options of `pinned`
#[derive(Debug, Args)]
pub(crate) struct Pinned {
    /// The core to run on
    #[arg(long)]
    core: usize,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true)]
    command: Vec<String>,
}

/// Becomes the command, on one core, ended by the kernel when the parent ends
pub(crate) fn run_pinned(options: &Pinned) -> anyhow::Result<()> {
    pin(options.core)?;
    set_parent_process_death_signal(Some(Signal::TERM)).context("ask for the parent's death signal")?;
    let (program, arguments) = options.command.split_first().context("no command")?;
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("start {program}"))
}

/// Keeps the calling thread, and all that it starts later, on one core
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    if core >= CpuSet::MAX_CPU {
        bail!("there is no core {core}");
    }
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("run on core {core}"))
}

/// CPU time of a process, all its threads, and its living descendants
pub(crate) fn cpu_us(pid: u32) -> anyhow::Result<u64> {
    let tick_us = 1_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let mut ticks = 0;
    for member in family(pid)? {
        // A descendant may end between the listing and the reading.
        if let Ok(stat) = Stat::read(member) {
            ticks += stat.ticks;
        } else if member == pid {
            bail!("process {pid} has ended");
        }
    }
    Ok(ticks * tick_us)
}

/// Resident memory of a process and its living descendants, in KiB
pub(crate) fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    Ok(family(pid)?.into_iter().filter_map(|member| status_kib(member, "VmRSS:")).sum())
}

/// The most memory that a process alone was resident with so far, in KiB
pub(crate) fn peak_kib(pid: u32) -> anyhow::Result<u64> {
    status_kib(pid, "VmHWM:").with_context(|| format!("process {pid} has ended"))
}

/// Has the peak begin anew; false where the kernel does not, and then it is that since the start
pub(crate) fn forget_peak(pid: u32) -> bool {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok()
}

fn status_kib(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Lets this process have so many files open, if the system does
pub(crate) fn raise_open_files(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = limit.maximum.map_or(wanted, |most| most.min(wanted));
        // What cannot be opened says so itself.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limit });
    }
}

/// Microseconds that a core did not idle since the machine started
pub(crate) fn core_busy_us(core: usize) -> anyhow::Result<u64> {
    let tick_us = 1_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let name = format!("cpu{core}");
    let line = stat
        .lines()
        .find(|line| line.split_whitespace().next() == Some(name.as_str()))
        .with_context(|| format!("there is no core {core}"))?;
    // user nice system idle iowait irq softirq steal; the guest columns are part of user and nice
    let busy: u64 = line
        .split_whitespace()
        .skip(1)
        .take(8)
        .enumerate()
        .filter(|(column, _)| !matches!(column, 3 | 4))
        .filter_map(|(_, ticks)| ticks.parse::<u64>().ok())
        .sum();
    Ok(busy * tick_us)
}

/// Cores of the machine, whatever this process may use of them
pub(crate) fn cores() -> usize {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count()
}

/// The kernel's release
pub(crate) fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(|_| "unknown".into(), |text| text.trim().into())
}

/// The type of the file system that holds `path`
pub(crate) fn file_system(path: &Path) -> anyhow::Result<String> {
    let path = path.canonicalize().with_context(|| format!("find {}", path.display()))?;
    let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(point, _)| path.starts_with(point))
        .max_by_key(|(point, _)| point.len())
        .map(|(_, kind)| kind.to_owned())
        .ok_or_else(|| anyhow!("no mount holds {}", path.display()))
}

/// A process and its living descendants
fn family(pid: u32) -> anyhow::Result<BTreeSet<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").context("list /proc")? {
        let name = entry.context("list /proc")?.file_name();
        if let Some(other) = name.to_str().and_then(|name| name.parse::<u32>().ok())
            && let Ok(stat) = Stat::read(other)
        {
            parents.push((other, stat.parent));
        }
    }
    let mut family = BTreeSet::from([pid]);
    loop {
        let before = family.len();
        for (child, parent) in &parents {
            if family.contains(parent) {
                family.insert(*child);
            }
        }
        if family.len() == before {
            return Ok(family);
        }
    }
}

/// The fields of `/proc/PID/stat` that matter here
#[derive(Debug)]
struct Stat {
    parent: u32,
    /// User and system time of all threads, ended ones included
    ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> anyhow::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).context("read stat")?;
        Self::parse(&text).with_context(|| format!("odd stat of process {pid}"))
    }

    fn parse(text: &str) -> Option<Self> {
        // The name in parentheses may hold blanks and parentheses of its own.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let parent = fields.get(1)?.parse().ok()?;
        let user: u64 = fields.get(11)?.parse().ok()?;
        let system: u64 = fields.get(12)?.parse().ok()?;
        Some(Self { parent, ticks: user + system })
    }
}

#[cfg(test)]
mod tests {
    use super::{Stat, core_busy_us, cores, cpu_us, forget_peak, peak_kib, resident_kib};

    #[test]
    fn reads_stat_past_an_odd_name() {
        let text = "42 (a) b) S 7 42 42 0 -1 4194304 100 0 0 0 11 22 0 0 20 0 1 0 5 6 7";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.parent, stat.ticks), (7, 33));
        assert!(Stat::parse("42 (a").is_none());
    }

    #[test]
    fn reads_itself_and_refuses_the_dead() {
        let own = std::process::id();
        assert!(resident_kib(own).unwrap() > 0);
        assert!(peak_kib(own).unwrap() >= resident_kib(own).unwrap() / 2);
        assert!(peak_kib(u32::MAX).is_err() && !forget_peak(u32::MAX));
        cpu_us(own).unwrap();
        assert!(cpu_us(u32::MAX).is_err());
        assert!(cores() >= 1);
        core_busy_us(0).unwrap();
        assert!(core_busy_us(100_000).is_err());
    }
}
