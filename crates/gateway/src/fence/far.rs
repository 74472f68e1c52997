//! Who is at the far end of a connection over TCP.
//!
//! A browser gives its cookies for `localhost` to every port of it, so also to a server that an agent started. What
//! comes with a good cookie may therefore still be an agent's: the fence is asked about the process that has the
//! socket. Other accounts, containers and machines cannot be seen from here; they are walls by themselves.

use super::{Fence, Peer};
use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    sync::{Mutex, Semaphore},
};

/// How long it is remembered who has a socket
const SEEN_FOR: Duration = Duration::from_secs(5);
/// Searches for the owner of a socket at once
const SEARCHES_MAX: usize = 4;
/// Lines of the kernel's list of connections that are read at most
const LINES_MAX: usize = 1 << 20;

static SEARCHES: Semaphore = Semaphore::const_new(SEARCHES_MAX);

/// The far end of one connection
#[derive(Debug)]
pub struct Far {
    ends: Option<(SocketAddr, SocketAddr)>,
    // Held while somebody looks; requests of one connection come one after the other anyway.
    found: Mutex<Option<(Instant, Holders)>>,
}

/// Who has the far end
#[derive(Clone, Debug, PartialEq, Eq)]
enum Holders {
    /// Somebody on another machine
    Away,
    /// Processes of this one; if nobody is seen to have it, those that could and cannot be looked into
    Here(Vec<Peer>),
    /// It was somebody on this machine, who is not there any more
    Gone,
}

impl Far {
    /// The far end of this connection
    #[must_use]
    pub fn of(stream: &TcpStream) -> Arc<Self> {
        let ends = stream.peer_addr().ok().zip(stream.local_addr().ok());
        Arc::new(Self { ends, found: Mutex::default() })
    }

    /// Whether nobody at the far end is below an agent or a connector
    ///
    /// Asked for each request: whoever was outside when they connected may be an agent now.
    pub async fn is_outside(&self, fence: &Fence) -> bool {
        let Some((peer, near)) = self.ends else { return false };
        let mut found = self.found.lock().await;
        let known = found.as_ref().filter(|(at, holders)| *holders == Holders::Away || at.elapsed() < SEEN_FOR);
        if known.is_some_and(|(_, holders)| holders.are_outside(fence)) {
            return true;
        }
        let Ok(_place) = SEARCHES.acquire().await else { return false };
        // A process that starts another one has a copy of itself for a moment, with all of its connections, and the kernel's
        // lists are no snapshots. Whoever belongs to an agent is found at every look.
        for _ in 0..LOOKS_MAX {
            let search = tokio::task::spawn_blocking(move || Holders::find(plain(peer), plain(near)));
            let holders = search.await.unwrap_or(Holders::Gone);
            let outside = holders.are_outside(fence);
            *found = Some((Instant::now(), holders));
            if outside {
                return true;
            }
        }
        false
    }
}

/// How often it is looked who somebody is before they are taken to be inside, or gone
const LOOKS_MAX: usize = 5;

impl Holders {
    fn are_outside(&self, fence: &Fence) -> bool {
        match self {
            Self::Away => true,
            Self::Here(peers) => !peers.is_empty() && peers.iter().all(|peer| fence.is_owner(*peer)),
            // A request without anybody who waits for its answer: nobody's who works at a browser.
            Self::Gone => false,
        }
    }

    /// Searches the machine; waits for the file system
    fn find(peer: SocketAddr, near: SocketAddr) -> Self {
        let row = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|list| row_of(Path::new(list), peer, near));
        let Some((inode, uid)) = row else {
            let is_here = peer.ip().is_loopback() || peer.ip() == near.ip();
            return if is_here { Self::Gone } else { Self::Away };
        };
        if inode == 0 {
            return Self::Gone;
        }
        let (name, pids) = (format!("socket:[{inode}]"), pids());
        let has = |pid: &i32| has(&format!("/proc/{pid}/fd"), &name);
        let mut having: Vec<i32> = pids.iter().copied().filter(|pid| has(pid) == Some(true)).collect();
        if having.is_empty() {
            // A thread may have files of its own.
            let any = |pid: &i32| {
                numbers(&format!("/proc/{pid}/task"))
                    .iter()
                    .any(|thread| self::has(&format!("/proc/{pid}/task/{thread}/fd"), &name) == Some(true))
            };
            having = pids.iter().copied().filter(any).collect();
        }
        if having.is_empty() {
            having = pids.into_iter().filter(|pid| has(pid).is_none() && is_of(*pid, uid)).collect();
        }
        Self::Here(having.into_iter().filter_map(Peer::of).collect())
    }
}

/// An address as it is compared: IPv4 in IPv6 is IPv4
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Inode and account of the socket with these ends, from `/proc/net/tcp` or `tcp6` (proc(5))
fn row_of(list: &Path, mine: SocketAddr, other: SocketAddr) -> Option<(u64, u32)> {
    let lines = BufReader::new(File::open(list).ok()?).lines().take(LINES_MAX).map_while(Result::ok);
    lines.skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (local, remote) = (address(fields.nth(1)?)?, address(fields.next()?)?);
        if (plain(local), plain(remote)) != (mine, other) {
            return None;
        }
        let uid = fields.nth(4)?.parse().ok()?;
        Some((fields.nth(1)?.parse().ok()?, uid))
    })
}

/// `0100007F:1CFC`: words of 32 bits as the processor has them in memory, and the port
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn pids() -> Vec<i32> {
    numbers("/proc")
}

fn numbers(folder: &str) -> Vec<i32> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Whether one of the files in this folder is the socket; nothing if the folder may not be looked into
fn has(folder: &str, socket: &str) -> Option<bool> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return None,
        Err(_) => return Some(false),
    };
    let is_it = |path: &Path| std::fs::read_link(path).is_ok_and(|to| to.as_os_str().as_bytes() == socket.as_bytes());
    Some(entries.filter_map(Result::ok).any(|entry| is_it(&entry.path())))
}

/// Whether a process is this account's, in any way in which a process can be somebody's
fn is_of(pid: i32, uid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.is_some_and(|line| line.split_ascii_whitespace().any(|one| one.parse() == Ok(uid)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_core::names::RunId;
    use std::process::{Child, Command, Stdio};
    use tokio::net::TcpListener;

    fn here() -> Peer {
        Peer::of(i32::try_from(std::process::id()).unwrap()).unwrap()
    }

    /// A process that connects and then does what it is told
    fn connects(port: u16, then: &str) -> Child {
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; {then}");
        Command::new("bash").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let four = format!("{}:1CFC", word([127, 0, 0, 1]));
        assert_eq!(address(&four), Some("127.0.0.1:7420".parse().unwrap()));
        let six = format!("{0}{0}{0}{1}:0050", word([0; 4]), word([0, 0, 0, 1]));
        assert_eq!(address(&six), Some("[::1]:80".parse().unwrap()));
        let mapped = format!("{0}{0}{1}{2}:0050", word([0; 4]), word([0, 0, 255, 255]), word([10, 0, 0, 1]));
        assert_eq!(address(&mapped).map(plain), Some("10.0.0.1:80".parse().unwrap()));
        for bad in ["", ":", "0100007F", "0100007F:", "0100007:1CFC", "ä100007F:1CFC"] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn who_has_the_other_end_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, fence) = (listener.local_addr().unwrap(), Fence::default());
        let ours = TcpStream::connect(address).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let far = Far::of(&stream);
        assert_eq!(Holders::find(ours.local_addr().unwrap(), address), Holders::Here(vec![here()]));
        assert!(far.is_outside(&fence).await);
        // As if this very process had been started by an agent.
        let above = crate::fence::above(here()).unwrap();
        fence.add_root(RunId(1), above[0]);
        assert!(!far.is_outside(&fence).await, "known from before, and an agent now");

        let mut child = connects(address.port(), "cat");
        let (stream, peer) = listener.accept().await.unwrap();
        let Holders::Here(holders) = Holders::find(peer, address) else { panic!("nobody has it") };
        let pid = i32::try_from(child.id()).unwrap();
        assert!(holders.iter().any(|holder| holder.pid == pid), "{holders:?}");
        assert!(!Far::of(&stream).is_outside(&Fence::default()).await, "below the process that serves");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn who_is_gone_is_not_outside() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut child = connects(address.port(), "exit");
        let (stream, _) = listener.accept().await.unwrap();
        child.wait().unwrap();
        assert!(!Far::of(&stream).is_outside(&Fence::default()).await);
    }
}
