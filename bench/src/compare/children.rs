//! Child processes that never outlive the comparison.
//!
//! Each is its own process group, pinned to a core by the `pinned` subcommand, which also asks the
//! kernel to end it with its parent. Dropping the handle ends the group.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// A running child
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    what: String,
    lines: mpsc::Receiver<String>,
}

/// What to start and where
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// The word for it in errors
    pub(crate) what: &'a str,
    pub(crate) core: usize,
    pub(crate) command: Vec<OsString>,
}

impl Running {
    /// Starts a command on one core, with a standard input that closes when the handle is dropped
    pub(crate) fn start(start: &Start<'_>) -> anyhow::Result<Self> {
        let mut child = Command::new(own_program()?)
            .args(["pinned", "--core"])
            .arg(start.core.to_string())
            .arg("--")
            .args(&start.command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", start.what))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (sender, lines) = mpsc::sync_channel(1);
        // Reads on after the first line, so that a talkative child never blocks.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.try_send(line);
            }
        });
        Ok(Self { child, what: start.what.to_owned(), lines })
    }

    /// The first line that the child prints
    pub(crate) fn first_line(&self, wait_max: Duration) -> anyhow::Result<String> {
        match self.lines.recv_timeout(wait_max) {
            Ok(line) => Ok(line),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("{} printed nothing in {wait_max:?}", self.what)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                bail!("{} ended without a line", self.what)
            }
        }
    }

    /// The process that was started; `pinned` becomes its command, so the id stays
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it ended within `wait`
    fn ended_within(&mut self, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        loop {
            // An error means that there is nothing to wait for.
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, signal: Signal) {
        // INVARIANT: only called while the child is not reaped, so the group is still ours.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if self.ended_within(STDIN_GRACE) {
            return;
        }
        self.signal(Signal::TERM);
        if self.ended_within(TERM_GRACE) {
            return;
        }
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// This very program, to start a part of itself
pub(crate) fn own_program() -> anyhow::Result<OsString> {
    Ok(std::env::current_exe().context("find this program")?.into_os_string())
}

/// A command line of this program
pub(crate) fn own_command<I, S>(arguments: I) -> anyhow::Result<Vec<OsString>>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = vec![own_program()?];
    command.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
    Ok(command)
}

const STDIN_GRACE: Duration = Duration::from_millis(1_500);
const TERM_GRACE: Duration = Duration::from_millis(1_500);
