//! A connector as a child process that speaks MCP on its standard streams.
//!
//! One child serves one task. It is started through the [keeper](crate::keeper), in a process group of its
//! own, with an environment that holds nothing of ours, and it ends with what it was started for.

use crate::{
    clock::SteadyClock,
    http::{ANSWER_BYTES_MAX, Failure},
    keeper::{Stat, descendants, machine_boot},
    latch::Pass,
};
use portreeve_core::{event::Process, json::Limits};
use portreeve_mcp::message::{Message, Shape};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStdin, Command},
    sync::{mpsc, oneshot, watch},
};

/// How to start a child
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program that keeps it, called with `__keeper`
    pub keeper: PathBuf,
    /// Program and arguments
    pub command: Vec<String>,
    /// Environment beside the few variables that every child gets
    pub env: BTreeMap<String, String>,
    /// Where it runs
    pub folder: PathBuf,
}

/// A running child
#[derive(Debug)]
pub struct Child {
    process: Process,
    out: mpsc::Sender<Out>,
    pending: Arc<Pending>,
    changed: Arc<AtomicBool>,
    ended: watch::Receiver<bool>,
    end: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Pending {
    // Held only for a look-up. `None` once the child will answer nothing any more.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Vec<u8>>>>>,
}

#[derive(Debug)]
struct Out {
    line: Vec<u8>,
    pass: Option<Pass>,
    sent: oneshot::Sender<Result<(), Failure>>,
}

/// Messages that may wait for a child to read
const OUT_MAX: usize = 64;
/// How long a child gets to end by itself once its standard input is closed
const GRACE: Duration = Duration::from_millis(500);
/// How long the keeper gets after that
const KEEPER_GRACE: Duration = Duration::from_secs(3);
/// Bytes of a child's standard error that are kept for the log, a line
const STDERR_LINE_MAX: u64 = 4096;
/// Variables of our environment that a child may need to run at all
const ENVIRONMENT: [&str; 7] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"];

impl Child {
    /// Starts a child
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(launch: &Launch, clock: SteadyClock) -> io::Result<Arc<Self>> {
        let ours = ENVIRONMENT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let mut keeper = Command::new(&launch.keeper)
            .args(["__keeper", "--parent", &std::process::id().to_string(), "--"])
            .args(&launch.command)
            .env_clear()
            .envs(ours)
            .envs(&launch.env)
            .current_dir(&launch.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
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
        let pending = Arc::new(Pending { waiting: Mutex::new(Some(HashMap::new())) });
        let changed = Arc::new(AtomicBool::new(false));
        let process = Process { pid, start, machine_boot: machine_boot() };

        tokio::spawn(write(stdin, messages, clock, end_wanted.clone()));
        tokio::spawn(read(stdout, Arc::clone(&pending), Arc::clone(&changed), out.clone(), end.clone()));
        tokio::spawn(listen(stderr, launch.command.first().cloned().unwrap_or_default()));
        tokio::spawn(watch_over(keeper, process.clone(), Arc::clone(&pending), end_wanted, ended_sender));
        Ok(Arc::new(Self { process, out, pending, changed, ended, end }))
    }

    /// The process that keeps it
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Whether it said, since this was last asked, that its tools changed
    pub fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }

    /// Whether it is gone
    #[must_use]
    pub fn is_gone(&self) -> bool {
        *self.ended.borrow() || *self.end.borrow()
    }

    /// Sends a message that wants no answer
    pub async fn tell(&self, line: Vec<u8>) {
        let (sent, _) = oneshot::channel();
        // A child that is gone needs no telling.
        let _ = self.out.send(Out { line, pass: None, sent }).await;
    }

    /// Sends a request and waits for its answer
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn ask(&self, id: u64, line: Vec<u8>, pass: Option<Pass>, within: Duration) -> Result<Vec<u8>, Failure> {
        let (answer_sender, answer) = oneshot::channel();
        let gone = || Failure::NotSent("the server's process is gone".to_owned());
        match self.pending.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(waiting) => waiting.insert(id, answer_sender),
            None => return Err(gone()),
        };
        // Whoever stops waiting is forgotten, so that a late answer goes nowhere.
        let _forget = Forget { pending: &self.pending, id };
        let (sent_sender, sent) = oneshot::channel();
        let withdrawal = pass.as_ref().map(Pass::withdrawal);
        let exchange = async {
            self.out.send(Out { line, pass, sent: sent_sender }).await.map_err(|_| gone())?;
            sent.await.map_err(|_| Failure::Lost("the server's process ended".to_owned()))??;
            answer.await.map_err(|_| Failure::Lost("the server's process ended".to_owned()))
        };
        match tokio::time::timeout(within, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let why = format!("no answer within {} s", within.as_secs());
                // What has not begun to leave never will.
                let unsent = withdrawal.is_some_and(|withdrawal| withdrawal.withdraw());
                Err(if unsent { Failure::NotSent(why) } else { Failure::Lost(why) })
            }
        }
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

struct Forget<'a> {
    pending: &'a Pending,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.pending.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            waiting.remove(&self.id);
        }
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

async fn read(
    stdout: impl AsyncRead + Unpin,
    pending: Arc<Pending>,
    changed: Arc<AtomicBool>,
    out: mpsc::Sender<Out>,
    end: watch::Sender<bool>,
) {
    let limits = Limits { bytes_max: ANSWER_BYTES_MAX, ..Limits::DEFAULT };
    let mut lines = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut lines).take(ANSWER_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line).await;
        match read {
            Ok(0) | Err(_) => break,
            // A server that floods is ended rather than half understood.
            Ok(_) if line.last() != Some(&b'\n') && line.len() > ANSWER_BYTES_MAX => break,
            Ok(_) => {}
        }
        while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            line.pop();
        }
        // What is no message is noise that the protocol forbids; it is dropped.
        let Ok(message) = Message::read_answer(&line, &limits) else { continue };
        match message.shape() {
            Shape::Response { id: Some(id), .. } => {
                let Ok(id) = id.raw().parse::<u64>() else { continue };
                let mut waiting = pending.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(answer) = waiting.as_mut().and_then(|waiting| waiting.remove(&id)) {
                    let _ = answer.send(line.clone());
                }
            }
            Shape::Request { id, method } => {
                let answer = match method.as_str() {
                    "ping" => portreeve_mcp::reply::result_text(id.raw(), "{}"),
                    _ => portreeve_mcp::reply::error(Some(id.raw()), -32601, "Method not found", None),
                };
                let (sent, _) = oneshot::channel();
                let _ = out.try_send(Out { line: answer, pass: None, sent });
            }
            Shape::Notification { method } if method == "notifications/tools/list_changed" => {
                changed.store(true, Ordering::Relaxed);
            }
            Shape::Notification { .. } | Shape::Response { id: None, .. } => {}
        }
    }
    let _ = end.send(true);
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
    pending: Arc<Pending>,
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
    pending.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
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
