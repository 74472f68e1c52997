//! Opening tasks, minting their tokens, and the private sockets of those that a process was started for.

use crate::{catalogue::Catalogue, door::Door};
use portreeve_core::{
    engine::Reply,
    event::{Actor, ChosenBy},
    hash::Hash,
    names::{MemoryId, Name, RunId, TaskId},
    node::{Node, Why},
    reason::{Reason, Word},
    request::{Open, Request, Stop},
    time::Millis,
    value::Value,
};
use portreeve_identity::token::{Issuer, Subject, Token};
use portreeve_upstream::{clock::SteadyClock, keeper::Stat};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::task::AbortHandle;

/// The tasks that were opened through this process
#[derive(Debug)]
pub struct Tasks {
    door: Door,
    issuer: Arc<Issuer>,
    catalogue: Arc<Catalogue>,
    clock: SteadyClock,
    base: String,
    // Held only for a look-up.
    roots: Mutex<HashMap<RunId, Root>>,
}

/// The process that a task was opened for: what is below it is the agent
#[derive(Debug)]
struct Root {
    process: Peer,
    socket: Option<AbortHandle>,
}

/// A process by its id and start time
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id
    pub pid: i32,
    /// Start time in clock ticks since the machine booted
    pub start: u64,
}

/// What is asked when a task is opened at the socket
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenTask {
    /// The purpose
    pub purpose: Name,
    /// Who will work; may be left out where the purpose is open to one agent only
    pub agent: Option<Name>,
    /// The values of its parameters
    #[serde(default)]
    pub parameters: BTreeMap<Name, Value>,
    /// What for
    pub objective: Option<String>,
    /// Whether the task is for the process that asks, and ends with it
    #[serde(default)]
    pub exec: bool,
}

/// An opened task
#[derive(Clone, Debug)]
pub struct Opened {
    /// The task
    pub task: TaskId,
    /// Its run
    pub run: RunId,
    /// Who works
    pub agent: Name,
    /// When it is over at the latest
    pub expires: Millis,
}

impl Tasks {
    /// Tasks whose endpoints are below `base`
    #[must_use]
    pub fn new(
        door: Door,
        issuer: Arc<Issuer>,
        catalogue: Arc<Catalogue>,
        clock: SteadyClock,
        base: String,
    ) -> Arc<Self> {
        Arc::new(Self { door, issuer, catalogue, clock, base, roots: Mutex::default() })
    }

    /// Opens a task for whoever owns the data folder
    ///
    /// # Errors
    /// Why it may not be opened.
    pub async fn open(&self, user: Option<Name>, ask: OpenTask) -> Result<Opened, Vec<Reason>> {
        let unavailable = |why: String| vec![Reason::new(Word::RecordUnavailable, "randomness").with("why", why)];
        let agent = self.agent_of(&ask)?;
        let user = if self.runs_without_user(&ask.purpose) { None } else { user };
        let (task, run) = (TaskId(draw().map_err(unavailable)?), RunId(draw().map_err(unavailable)?));
        // A run that we start afresh begins a memory; any other joins that of its agent and user.
        let memory =
            if ask.exec { MemoryId(draw().map_err(unavailable)?) } else { shared_memory(&agent, user.as_ref()) };
        let parameters = ask.parameters.into_iter().map(|(name, value)| (name, (value, ChosenBy::Parameter))).collect();
        let open = Open {
            task,
            run,
            memory,
            by: Actor::Owner { user: user.clone() },
            agent: agent.clone(),
            user,
            purpose: ask.purpose,
            parameters,
            objective: ask.objective,
            parent: None,
        };
        match self.door.submit(Request::Open(open)).await {
            Reply::Opened(expires) => Ok(Opened { task, run, agent, expires }),
            Reply::Refused(reasons) => Err(reasons),
            _ => Err(unavailable("the door gave another answer".to_owned())),
        }
    }

    /// A token for a task, and the endpoints that it is good for
    ///
    /// # Errors
    /// Why there is none: the task is over.
    pub async fn token(&self, task: TaskId) -> Result<(Token, BTreeMap<Name, String>), Vec<Reason>> {
        let now = self.clock.now();
        let found = self.door.ask(move |engine| {
            let state = engine.state();
            let reasons = state.life(task, now);
            if reasons.is_empty() { state.task(task).cloned().ok_or(reasons) } else { Err(reasons) }
        });
        let unknown = || vec![Reason::new(Word::TaskUnknown, task)];
        let found = found.await.ok_or_else(unknown)??;
        let view = self.catalogue.view();
        let purpose = view.bundle.as_ref().and_then(|bundle| bundle.purposes.get(&found.purpose));
        let connectors: BTreeSet<&Name> =
            purpose.iter().flat_map(|purpose| purpose.tools()).map(|tool| &tool.connector).collect();
        let endpoints: BTreeMap<Name, String> =
            connectors.into_iter().map(|name| (name.clone(), format!("{}/mcp/{name}", self.base))).collect();
        let subject = Subject {
            run: found.run,
            task,
            purpose: found.purpose.clone(),
            agent: found.agent.clone(),
            user: found.user.clone(),
            audience: endpoints.values().cloned().collect(),
        };
        let jti = draw().map(|id| format!("{id:016x}")).map_err(|_| unknown())?;
        let token = self.issuer.mint(&subject, jti, now).ok_or_else(unknown)?;
        Ok((token, endpoints))
    }

    /// Binds a task to a process: what is below it may use the task, and its end ends the task
    ///
    /// # Errors
    /// The process cannot be watched, and then the task must not go on.
    pub fn bind(self: &Arc<Self>, run: RunId, process: Peer) -> std::io::Result<()> {
        let pid = Pid::from_raw(process.pid).ok_or(std::io::ErrorKind::InvalidInput)?;
        let watched = pidfd_open(pid, PidfdFlags::empty())?;
        if Peer::of(process.pid) != Some(process) {
            return Err(std::io::Error::other("the process is gone already"));
        }
        self.roots().insert(run, Root { process, socket: None });
        let (gone, is_gone) = tokio::sync::oneshot::channel();
        // A thread of its own: readiness of a process is not among the things that the runtime watches safely.
        std::thread::Builder::new().name("watch".to_owned()).stack_size(64 * 1024).spawn(move || {
            let mut watched = [PollFd::new(&watched, PollFlags::IN)];
            while poll(&mut watched, None).is_err() {}
            let _ = gone.send(());
        })?;
        let door = self.door.clone();
        tokio::spawn(async move {
            if is_gone.await.is_ok() {
                door.stop(Stop { node: Node::Run(run), why: Why::Gone, by: Actor::System, at: None }).await;
            }
        });
        Ok(())
    }

    /// Notes who listens at the private socket of a run, so that it ends with the run
    pub fn listening(&self, run: RunId, socket: AbortHandle) {
        if let Some(root) = self.roots().get_mut(&run) {
            root.socket = Some(socket);
        }
    }

    /// Whether a peer is below the process that a run was opened for
    #[must_use]
    pub fn is_of_run(&self, run: RunId, peer: i32) -> bool {
        let root = self.roots().get(&run).map(|root| root.process);
        root.is_some_and(|root| is_below(peer, root))
    }

    /// Whether a peer is below any process that a task was opened for: an agent, and no administrator
    #[must_use]
    pub fn is_agent(&self, peer: i32) -> bool {
        let roots: Vec<Peer> = self.roots().values().map(|root| root.process).collect();
        roots.into_iter().any(|root| is_below(peer, root))
    }

    /// Lets go of a run that is over; its socket goes on for a while, so that the end can be said
    pub fn ended(self: &Arc<Self>, run: RunId) {
        let tasks = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(AFTERLIFE).await;
            if let Some(socket) = tasks.roots().remove(&run).and_then(|root| root.socket) {
                socket.abort();
            }
        });
    }

    fn agent_of(&self, ask: &OpenTask) -> Result<Name, Vec<Reason>> {
        if let Some(agent) = &ask.agent {
            return Ok(agent.clone());
        }
        let view = self.catalogue.view();
        let purpose = view.bundle.as_ref().and_then(|bundle| bundle.purposes.get(&ask.purpose));
        let source = Node::Purpose(ask.purpose.clone());
        let purpose = purpose.ok_or_else(|| vec![Reason::new(Word::PurposeUnknown, &source)])?;
        let mut agents = purpose.open.agents.iter();
        match (agents.next(), agents.next()) {
            (Some(agent), None) => Ok(agent.clone()),
            _ => Err(vec![Reason::new(Word::AgentUnknown, &source).with("agent", "say which one")]),
        }
    }

    fn runs_without_user(&self, purpose: &Name) -> bool {
        let view = self.catalogue.view();
        let purpose = view.bundle.as_ref().and_then(|bundle| bundle.purposes.get(purpose));
        purpose.is_some_and(|purpose| purpose.open.users == portreeve_core::policy::Users::None)
    }

    fn roots(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Root>> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the private socket of an ended run still answers: as long as its last token lives
const AFTERLIFE: std::time::Duration = std::time::Duration::from_secs(300);

impl Peer {
    /// The process of this id
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, start: Stat::read(pid)?.start })
    }
}

/// Whether a process descends from another one; a process does not descend from itself
fn is_below(peer: i32, root: Peer) -> bool {
    let parents = std::iter::successors(Stat::read(peer), |stat| Stat::read(stat.parent));
    parents.take(ANCESTORS_MAX).any(|stat| Peer::of(stat.parent) == Some(root))
}

const ANCESTORS_MAX: usize = 256;

fn shared_memory(agent: &Name, user: Option<&Name>) -> MemoryId {
    let user = user.map_or("", Name::as_str);
    let Hash(hash) = Hash::of_parts(&[b"memory", agent.as_str().as_bytes(), user.as_bytes()]);
    let mut id = [0; 8];
    id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    MemoryId(u64::from_be_bytes(id))
}

/// A fresh random id
///
/// # Errors
/// The system gives no randomness.
pub fn draw() -> Result<u64, String> {
    getrandom::u64().map_err(|error| format!("the system gives no randomness: {error}"))
}
