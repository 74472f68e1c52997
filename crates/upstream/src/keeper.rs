//! The keeper: a small process between Portreeve and a child, so that nothing is orphaned, whoever dies first.
//!
//! It starts the command, hands it its own standard streams, and outlives only the command. When the process
//! that started the keeper dies, the kernel tells it, and it ends everything below it. As the reaper of its
//! descendants it also finds those that detached themselves.

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, getppid, kill_process, set_child_subreaper, set_parent_process_death_signal, wait,
};
use std::{
    ffi::OsString,
    fs, io,
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitStatus},
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// How long a command and what it started get to end by themselves
const GRACE: Duration = Duration::from_millis(1_500);

/// Whether the keeper stays in the foreground of a terminal
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// A child of a connector: a process group of its own
    Detached,
    /// An agent that a person started: the terminal's signals reach it
    Shared,
}

/// Starts `command`, waits for its end, and leaves nothing behind
///
/// # Errors
/// The command could not be started, or the kernel refused to say when the parent dies.
pub async fn run(command: Vec<OsString>, terminal: Terminal, parent: u32) -> io::Result<ExitStatus> {
    let mut asked_to_end = signal(SignalKind::terminate())?;
    // The terminal sends these to the command as well; whether to end is the command's choice.
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    adopt()?;
    set_parent_process_death_signal(Some(Signal::TERM))?;
    if getppid().map_or(0, |parent| parent.as_raw_nonzero().get()) != i32::try_from(parent).unwrap_or(-1) {
        return Err(io::Error::other("the process that started this is gone already"));
    }
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut child = tokio::process::Command::from(Command::new(program)).args(arguments).spawn()?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            _ = asked_to_end.recv() => {
                end_descendants().await;
                break child.wait().await.unwrap_or_else(|_| ExitStatus::from_raw(15));
            }
            _ = hung_up.recv(), if terminal == Terminal::Shared => {}
            _ = interrupted.recv() => {}
        }
    };
    end_descendants().await;
    Ok(status)
}

/// Makes this process the parent of every descendant whose own parent ends
///
/// # Errors
/// The kernel refuses.
pub fn adopt() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Asks everything below this process to end, and ends what does not
pub async fn end_descendants() {
    if signal_descendants(Signal::TERM) == 0 {
        return;
    }
    let waited = tokio::time::timeout(GRACE, async {
        while left() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    if waited.await.is_err() {
        while signal_descendants(Signal::KILL) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// How many processes are below this one
fn left() -> usize {
    reap();
    descendants(getpid().as_raw_nonzero().get()).len()
}

/// Signals every process below this one, and says how many there were
fn signal_descendants(which: Signal) -> usize {
    reap();
    let below = descendants(getpid().as_raw_nonzero().get());
    for pid in below.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        // Gone already is as good as ended.
        let _ = kill_process(pid, which);
    }
    below.len()
}

/// Takes leave of descendants that ended after their own parents
fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

/// Every process below `ancestor`, by the parents that the kernel shows
#[must_use]
pub fn descendants(ancestor: i32) -> Vec<i32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let all: Vec<(i32, i32)> = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Stat::read(pid).filter(|stat| stat.state != 'Z').map(|stat| (pid, stat.parent)))
        .collect();
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(all.iter().filter(|(pid, of)| *of == parent && *pid != ancestor).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// What the kernel says of a process
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its state, one letter
    pub state: char,
    /// Its parent
    pub parent: i32,
    /// When it started, in clock ticks since the machine booted
    pub start: u64,
}

impl Stat {
    /// Reads `/proc/PID/stat` (proc(5)); `None` if there is no such process
    #[must_use]
    pub fn read(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may itself hold spaces and parentheses.
        let (_, after_name) = text.rsplit_once(')')?;
        let mut fields = after_name.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let start = fields.nth(17)?.parse().ok()?;
        Some(Self { state, parent, start })
    }
}

/// The id of this boot of the machine
#[must_use]
pub fn machine_boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
