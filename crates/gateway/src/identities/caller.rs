//! Who calls the Workload API: a process, held by the kernel's own handle on it, so that no other can take its number.

use crate::fence::Peer;
use nix::sys::socket::{getsockopt, sockopt::PeerPidfd};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::os::fd::OwnedFd;
use tokio::net::UnixStream;

/// A process that called
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) uid: u32,
    pub(super) process: Peer,
    handle: OwnedFd,
}

impl Caller {
    /// Who connected, as long as that process is there
    pub(super) fn of(stream: &UnixStream) -> Option<Self> {
        let peer = stream.peer_cred().ok()?;
        let pid = peer.pid()?;
        // Kernels before 6.5 do not hand it out; then it is opened by its number, which is right unless the process was
        // gone, and its number somebody else's, within this moment.
        let handle = getsockopt(stream, PeerPidfd).ok();
        let handle = handle.or_else(|| pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok())?;
        let this = Self { uid: peer.uid(), process: Peer::of(pid)?, handle };
        this.is_there().then_some(this)
    }

    /// Whether it has not ended; what was read of it before is its own then
    pub(super) fn is_there(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&now)) == Ok(0)
    }
}
