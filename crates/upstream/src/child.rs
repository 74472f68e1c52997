//! A connector as a child process that speaks MCP on its standard streams.
//!
//! One child serves one task. It is started through the [keeper](crate::keeper), in a process group of its
//! own, with an environment that holds nothing of ours, and it ends with what it was started for.

use crate::{
    clock::SteadyClock,
    given::{Files, Given},
    http::Failure,
    identity::{self, Identity, Mismatch},
    keeper::{Stat, descendants, machine_boot},
    latch::{Pass, Withdrawal},
    line::{Beginning, PIECES_MAX, beginning},
    link::Back,
    patience::Patience,
    room::{ANSWER_BYTES_MAX, Answer, Caller, Room, WHOLE_BYTES_MAX},
};
use bytes::Bytes;
use command_fds::{CommandFdExt as _, FdMapping};
use portreeve_core::{event::Process, hash::Hash};
use portreeve_mcp::{can::Can, version::Version};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::{collections::BTreeMap, io, os::fd::OwnedFd, path::PathBuf, process::Stdio, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStdin, Command},
    sync::{mpsc, oneshot, watch},
};

/// How to start a child
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The program that keeps it, called with `__keeper`
    pub keeper: PathBuf,
    /// Program and arguments
    pub command: Vec<String>,
    /// Environment beside the few variables that every child gets
    pub env: BTreeMap<String, String>,
    /// Where it runs
    pub folder: PathBuf,
    /// The digest that the program must have, if it was accepted with one
    pub expected: Option<Hash>,
    /// What it is given and nobody else is to read
    pub given: Given,
}

/// Why a program cannot be started
#[derive(Debug, thiserror::Error)]
pub enum NoProgram {
    /// It is not there, or cannot be read
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is another one than was accepted
    #[error("{0}")]
    Identity(#[source] Mismatch),
}

impl Launch {
    /// Who would be started: reads the program's file, unless it was read before
    ///
    /// # Errors
    /// [`NoProgram`]
    pub async fn identity(&self) -> Result<Identity, NoProgram> {
        let (command, env, folder) = (self.command.clone(), self.env.clone(), self.folder.clone());
        let digest = tokio::task::spawn_blocking(move || identity::executable(&command, &env, &folder)).await;
        let seen = Identity::Executable(digest.map_err(io::Error::other)??);
        identity::check(self.expected.map(Identity::Executable).as_ref(), seen).map_err(NoProgram::Identity)
    }
}

/// A running child
#[derive(Debug)]
pub struct Child {
    process: Process,
    identity: Identity,
    out: mpsc::Sender<Out>,
    room: Arc<Room>,
    ended: watch::Receiver<bool>,
    end: watch::Sender<bool>,
}

#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) line: Vec<u8>,
    pub(crate) pass: Option<Pass>,
    pub(crate) sent: oneshot::Sender<Result<(), Failure>>,
}

impl Out {
    /// A line whose fate nobody waits for
    pub(crate) fn plain(line: Vec<u8>) -> Self {
        Self { line, pass: None, sent: oneshot::channel().0 }
    }
}

/// The number of the first file in memory in the child: above those that shells and their scripts take
const FIRST_FILE: i32 = 100;
/// Messages that may wait for a child to read
const OUT_MAX: usize = 64;
/// Bytes that are read from a child at once
const READ_BYTES: usize = 64 << 10;
/// How long a child gets to end by itself once its standard input is closed
const GRACE: Duration = Duration::from_millis(500);
/// How long the keeper gets after that
const KEEPER_GRACE: Duration = Duration::from_secs(3);
/// Bytes of a child's standard error that are kept for the log, a line
const STDERR_LINE_MAX: u64 = 4096;
/// Variables of our environment that a child may need to run at all
const ENVIRONMENT: [&str; 7] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"];

impl Child {
    /// Starts a child whose [identity](Launch::identity) was looked at
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(launch: &Launch, identity: Identity, clock: SteadyClock) -> io::Result<Arc<Self>> {
        let files = Files::new(launch.given.files.keys())?;
        let handed = files.handed()?;
        // They are whole before anybody can read them.
        files.fill(&launch.given)?;
        Self::start_with(launch, handed, identity, clock)
    }

    /// The same, with files that are empty until they are [filled](Files::fill)
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_blank(launch: &Launch, identity: Identity, clock: SteadyClock) -> io::Result<(Arc<Self>, Files)> {
        let files = Files::new(launch.given.files.keys())?;
        let child = Self::start_with(launch, files.handed()?, identity, clock)?;
        Ok((child, files))
    }

    fn start_with(
        launch: &Launch,
        files: Vec<(String, OwnedFd)>,
        identity: Identity,
        clock: SteadyClock,
    ) -> io::Result<Arc<Self>> {
        let ours = ENVIRONMENT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let mut keeper = Command::new(&launch.keeper);
        keeper
            .args(["__keeper", "--parent", &std::process::id().to_string(), "--"])
            .args(&launch.command)
            .env_clear()
            .envs(ours)
            .envs(&launch.env)
            .envs(launch.given.env.iter().map(|(name, value)| (name, value.as_str())))
            .current_dir(&launch.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut mapped = Vec::new();
        for (at, (name, file)) in files.into_iter().enumerate() {
            let child_fd = FIRST_FILE + i32::try_from(at).unwrap_or_default();
            keeper.env(name, format!("/proc/self/fd/{child_fd}"));
            mapped.push(FdMapping { parent_fd: file, child_fd });
        }
        keeper.fd_mappings(mapped).map_err(io::Error::other)?;
        let mut keeper = keeper.spawn()?;
        let gone = || io::Error::other("the child was gone at once");
        let pid = keeper.id().ok_or_else(gone)?;
        let start = i32::try_from(pid).ok().and_then(Stat::read).ok_or_else(gone)?.start;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (keeper.stdin.take(), keeper.stdout.take(), keeper.stderr.take())
        else {
            return Err(gone());
        };
        let (out, messages) = mpsc::channel(OUT_MAX);
        let (ended_sender, ended) = watch::channel(false);
        let (end, end_wanted) = watch::channel(false);
        let room = Room::new(Version::LATEST_LEGACY, Can::NONE);
        let process = Process { pid, start, machine_boot: machine_boot() };

        tokio::spawn(write(stdin, messages, clock, end_wanted.clone()));
        tokio::spawn(read(stdout, Arc::clone(&room), Back::Child(out.clone()), end.clone()));
        tokio::spawn(listen(stderr, launch.command.first().cloned().unwrap_or_default()));
        tokio::spawn(watch_over(keeper, process.clone(), Arc::clone(&room), end_wanted, ended_sender));
        Ok(Arc::new(Self { process, identity, out, room, ended, end }))
    }

    /// The process that keeps it
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What was started
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity.clone()
    }

    pub(crate) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    pub(crate) fn back(&self) -> Back {
        Back::Child(self.out.clone())
    }

    /// Whether it is gone
    #[must_use]
    pub fn is_gone(&self) -> bool {
        *self.ended.borrow() || *self.end.borrow()
    }

    /// Sends a message that wants no answer
    pub(crate) async fn tell(&self, line: Vec<u8>) {
        // A child that is gone needs no telling.
        let _ = self.out.send(Out::plain(line)).await;
    }

    /// Sends a request and waits for its answer
    ///
    /// # Errors
    /// [`Failure`]
    pub(crate) async fn ask(
        &self,
        id: u64,
        line: Vec<u8>,
        pass: Option<Pass>,
        mut caller: Caller,
    ) -> Result<Answer, Failure> {
        let (answer_sender, answer) = oneshot::channel();
        let gone = || Failure::NotSent("the server's process is gone".to_owned());
        caller.answer = Some(answer_sender);
        let patience = Arc::clone(&caller.patience);
        let _entered = self.room.enter(id, caller).ok_or_else(gone)?;
        let (sent_sender, sent) = oneshot::channel();
        let withdrawal = pass.as_ref().map(Pass::withdrawal);
        // Whoever stops waiting has not begun to send what is still waiting to be written.
        let _unsent = Unsent(withdrawal.clone());
        let exchange = async {
            self.out.send(Out { line, pass, sent: sent_sender }).await.map_err(|_| gone())?;
            sent.await.map_err(|_| Failure::Lost("the server's process ended".to_owned()))??;
            answer.await.map_err(|_| Failure::Lost("the server's process ended".to_owned()))
        };
        match patience.limit(exchange).await {
            Some(outcome) => outcome,
            None => {
                let why = "no answer in time".to_owned();
                // What has not begun to leave never will.
                let unsent = withdrawal.is_some_and(|withdrawal| withdrawal.withdraw());
                Err(if unsent { Failure::NotSent(why) } else { Failure::Lost(why) })
            }
        }
    }

    /// Sends a request whose answers are news, and returns once it has left
    ///
    /// # Errors
    /// [`Failure`]
    pub(crate) async fn send(&self, line: Vec<u8>, pass: Option<Pass>, patience: &Patience) -> Result<(), Failure> {
        Back::Child(self.out.clone()).pass(line, pass, patience).await
    }

    /// Returns once it is gone, by itself or because it was ended
    pub async fn gone(&self) {
        let mut ended = self.ended.clone();
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Ends it and everything that it started, and returns once that is so
    pub async fn end(&self) {
        let _ = self.end.send(true);
        self.gone().await;
    }
}

/// Takes a message back, unless it has begun to leave
struct Unsent(Option<Withdrawal>);

impl Drop for Unsent {
    fn drop(&mut self) {
        let _ = self.0.take().is_some_and(|withdrawal| withdrawal.withdraw());
    }
}

/// Writes one message after the other; a message that has begun is written to its end
async fn write(
    mut stdin: ChildStdin,
    mut messages: mpsc::Receiver<Out>,
    clock: SteadyClock,
    mut end: watch::Receiver<bool>,
) {
    loop {
        let out = tokio::select! {
            () = wanted(&mut end) => return,
            out = messages.recv() => match out { Some(out) => out, None => return },
        };
        let inside = match out.pass.as_ref().map(|pass| pass.enter(clock.now())).transpose() {
            Ok(inside) => inside,
            Err(closed) => {
                let _ = out.sent.send(Err(Failure::NotSent(closed.to_string())));
                continue;
            }
        };
        // The framing is a line, so a line feed inside a message becomes a blank: both are white space there.
        let mut line: Vec<u8> =
            out.line.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect();
        line.push(b'\n');
        let written = stdin.write_all(&line).await;
        drop(inside);
        let failed = written.is_err();
        let _ = out.sent.send(written.map_err(|error| Failure::Lost(format!("the server stopped reading: {error}"))));
        if failed {
            return;
        }
    }
}

async fn read(stdout: impl AsyncRead + Unpin, room: Arc<Room>, back: Back, end: watch::Sender<bool>) {
    let mut reader = BufReader::with_capacity(READ_BYTES, stdout);
    let mut line = Line::Begun(Vec::new());
    while let Ok(bytes) = reader.fill_buf().await {
        if bytes.is_empty() {
            break;
        }
        let feed = bytes.iter().position(|byte| *byte == b'\n');
        let part = bytes.get(..feed.unwrap_or(bytes.len())).unwrap_or_default();
        let read = part.len() + usize::from(feed.is_some());
        line = line.more(part, &room).await;
        reader.consume(read);
        if feed.is_some() {
            line = line.end(&room, &back).await;
        }
        // A server that floods is ended rather than half understood.
        if matches!(line, Line::Flood) {
            break;
        }
    }
    // Whoever reads a long answer learns that it broke.
    drop(line);
    let _ = end.send(true);
}

/// A line that is being read
enum Line {
    /// So far
    Begun(Vec<u8>),
    /// Too much of it to be news, and not yet too much to be an answer that is wanted as a whole
    Long(Vec<u8>),
    /// A long answer, passed on while it arrives
    Passed(mpsc::Sender<Option<Bytes>>),
    /// Nobody wants to know
    Skipped,
    /// It has no end
    Flood,
}

impl Line {
    async fn more(self, part: &[u8], room: &Room) -> Self {
        match self {
            Self::Begun(mut line) => {
                line.extend_from_slice(part);
                if line.len() <= WHOLE_BYTES_MAX {
                    return Self::Begun(line);
                }
                let Beginning::Answer(id) = beginning(&line) else { return Self::Long(line) };
                let (pieces, rest) = mpsc::channel(PIECES_MAX);
                match room.answered_long(id, line, rest) {
                    Ok(()) => Self::Passed(pieces),
                    Err(line) => Self::Long(line),
                }
            }
            Self::Long(mut line) => {
                line.extend_from_slice(part);
                if line.len() > ANSWER_BYTES_MAX { Self::Flood } else { Self::Long(line) }
            }
            Self::Passed(pieces) => {
                let taken = part.is_empty() || pieces.send(Some(Bytes::copy_from_slice(part))).await.is_ok();
                if taken { Self::Passed(pieces) } else { Self::Skipped }
            }
            line @ (Self::Skipped | Self::Flood) => line,
        }
    }

    async fn end(self, room: &Room, back: &Back) -> Self {
        match self {
            Self::Begun(mut line) | Self::Long(mut line) => {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                room.take(&line, None, back);
                line.clear();
                line.shrink_to(READ_BYTES);
                Self::Begun(line)
            }
            Self::Passed(pieces) => {
                // Who does not wait for the end has no need of it.
                let _ = pieces.send(None).await;
                Self::Begun(Vec::new())
            }
            Self::Skipped => Self::Begun(Vec::new()),
            Self::Flood => Self::Flood,
        }
    }
}

async fn listen(stderr: impl AsyncRead + Unpin, program: String) {
    let mut lines = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut lines).take(STDERR_LINE_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => tracing::debug!(%program, "{}", String::from_utf8_lossy(&line).trim_end()),
        }
    }
}

/// Waits for the end of the keeper, or brings it about
async fn watch_over(
    mut keeper: tokio::process::Child,
    process: Process,
    room: Arc<Room>,
    mut end: watch::Receiver<bool>,
    ended: watch::Sender<bool>,
) {
    tokio::select! {
        _ = keeper.wait() => {}
        () = wanted(&mut end) => {
            // Its standard input is closed now.
            if tokio::time::timeout(GRACE, keeper.wait()).await.is_err() {
                signal(&process, Signal::TERM);
                if tokio::time::timeout(KEEPER_GRACE, keeper.wait()).await.is_err() {
                    kill_all(&process);
                    let _ = keeper.wait().await;
                }
            }
        }
    }
    // A keeper that was killed itself could not look after what is below it.
    kill_group(&process);
    room.close("the server's process ended");
    let _ = ended.send(true);
}

/// Ends a process that an earlier life of ours started, and says whether it is gone
///
/// Never by pid alone: the start time and the machine's boot must be those that were recorded.
pub async fn end_recorded(process: &Process) -> bool {
    if !is_alive(process) {
        return true;
    }
    signal(process, Signal::TERM);
    for wait_ms in [5, 20, 100, 400, 1000, 1500] {
        if !is_alive(process) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
    kill_all(process);
    kill_group(process);
    for wait_ms in [1, 5, 20, 100] {
        if !is_alive(process) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
    !is_alive(process)
}

/// Returns once the end is wanted, or nobody is left who could want it
async fn wanted(end: &mut watch::Receiver<bool>) {
    let _ = end.wait_for(|end| *end).await;
}

fn pid(process: &Process) -> Option<Pid> {
    i32::try_from(process.pid).ok().and_then(Pid::from_raw)
}

/// Whether the machine has not been booted since this was recorded
#[must_use]
pub fn machine_boot_is(recorded: &str) -> bool {
    machine_boot() == recorded
}

/// Whether the very process that was recorded still runs
#[must_use]
pub fn is_alive(process: &Process) -> bool {
    let stat = i32::try_from(process.pid).ok().and_then(Stat::read);
    process.machine_boot == machine_boot()
        && stat.is_some_and(|stat| stat.start == process.start && !matches!(stat.state, 'Z' | 'X'))
}

fn signal(process: &Process, which: Signal) {
    if let Some(pid) = pid(process).filter(|_| is_alive(process)) {
        let _ = kill_process(pid, which);
    }
}

fn kill_all(process: &Process) {
    if !is_alive(process) {
        return;
    }
    for below in pid(process).map(|pid| descendants(pid.as_raw_nonzero().get())).unwrap_or_default() {
        if let Some(pid) = Pid::from_raw(below) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    signal(process, Signal::KILL);
}

/// Kills what is left of the process group that the keeper led
///
/// Only for a keeper that was seen alive just now: while a group has members its number is given to nobody else.
fn kill_group(process: &Process) {
    if let Some(pid) = pid(process) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}
