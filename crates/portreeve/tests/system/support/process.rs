//! Processes, watched through the kernel's own handle, so that nobody has to ask again and again.

use super::PATIENCE;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    fs,
    time::{Duration, Instant},
};

/// A process that may end
#[derive(Debug)]
pub(crate) struct Watched {
    /// Its id
    pub(crate) pid: u32,
    handle: OwnedFd,
}

impl Watched {
    /// The process of this id, if there is one
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let handle = pidfd_open(Pid::from_raw(pid.cast_signed())?, PidfdFlags::empty()).ok()?;
        Some(Self { pid, handle })
    }

    /// Whether it ends within the usual time
    pub(crate) fn ends(&self) -> bool {
        self.ends_within(PATIENCE)
    }

    /// Whether it is over already
    pub(crate) fn is_over(&self) -> bool {
        self.ends_within(Duration::ZERO)
    }

    /// Whether it ends within this time
    pub(crate) fn ends_within(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        loop {
            let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).unwrap();
            // A signal to this process is no news of the other one.
            match poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&left)) {
                Err(rustix::io::Errno::INTR) => {}
                ready => return ready.unwrap() > 0,
            }
        }
    }

    /// Sends a signal; a process that is over takes none
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.handle, signal);
    }
}

/// Every process below this one
pub(crate) fn below(ancestor: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(of) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(1)?.parse().ok()
}
