//! Opening tasks, minting their tokens, and the private sockets of those that a process was started for.

use crate::{
    catalogue::Catalogue,
    door::Door,
    fence::{Fence, Peer},
    modes::observing_task,
};
use portreeve_core::{
    engine::Reply,
    event::{Actor, ChosenBy},
    hash::Hash,
    judge::Ticket,
    names::{MemoryId, Name, RunId, TaskId},
    node::{Node, Why},
    proof::Proven,
    reason::{Reason, Sort, Word},
    request::{Open, Prove, Request, Stop},
    time::Millis,
    value::Value,
};
use portreeve_identity::token::{Issuer, Subject, Token};
use portreeve_upstream::clock::SteadyClock;
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::{Notify, broadcast};

/// The tasks that were opened through this process
#[derive(Debug)]
pub struct Tasks {
    door: Door,
    issuer: Arc<Issuer>,
    catalogue: Arc<Catalogue>,
    clock: SteadyClock,
    bases: Vec<String>,
    fence: Arc<Fence>,
    unused: Notify,
    endings: broadcast::Sender<RunId>,
}

/// Endings that a listener may lag behind
const ENDINGS_MAX: usize = 4_096;

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
    /// A token of the person on whose behalf an agent opens it, meant for us
    pub on_behalf_of: Option<String>,
    /// Whether the task is for the process that asks, and ends with it
    #[serde(default)]
    pub exec: bool,
    /// What that process is about to start
    pub program: Option<Starting>,
}

/// A command that is about to be run
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Starting {
    /// The command
    pub command: Vec<String>,
    /// Where it is run
    pub folder: std::path::PathBuf,
    /// Where programs are looked for
    pub path: Option<String>,
}

/// Who opens a task
#[derive(Clone, Debug)]
pub enum Opener {
    /// The owner of the data folder
    Owner {
        /// The user of the policy whose account it is
        user: Option<Name>,
        /// What its agent has been seen to be: the program that is started
        proven: Option<Proven>,
    },
    /// An agent, for itself
    Agent {
        /// Which
        agent: Name,
        /// What it has shown
        proven: Proven,
        /// Whose token is in that, if the agent works on somebody's behalf
        user: Option<Name>,
    },
}

/// What became of an opening
#[derive(Clone, Debug)]
pub enum Opening {
    /// The task is open
    Open(Opened),
    /// People are asked first: the same opening, repeated after they agreed, opens it
    Held(Ticket),
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
    /// Tasks whose endpoints are below each of `bases`
    #[must_use]
    pub fn new(
        door: Door,
        issuer: Arc<Issuer>,
        catalogue: Arc<Catalogue>,
        clock: SteadyClock,
        bases: Vec<String>,
        fence: Arc<Fence>,
    ) -> Arc<Self> {
        Arc::new(Self {
            door,
            issuer,
            catalogue,
            clock,
            bases,
            fence,
            unused: Notify::new(),
            endings: broadcast::channel(ENDINGS_MAX).0,
        })
    }

    /// Opens a task for whoever owns the data folder, or for an agent that has proven itself
    ///
    /// # Errors
    /// Why it may not be opened.
    pub async fn open(&self, opener: Opener, ask: OpenTask) -> Result<Opening, Vec<Reason>> {
        let unavailable = |why: String| vec![Reason::new(Word::RecordUnavailable, "randomness").with("why", why)];
        let (by, agent, user, proven) = match opener {
            Opener::Owner { user, proven } => {
                let agent = self.agent_of(&ask)?;
                // Whoever opens it does so, also where it runs on nobody's behalf: they do not answer its questions.
                let by = Actor::Owner { user: user.clone() };
                let user = if self.runs_without_user(&ask.purpose) { None } else { user };
                (by, agent, user, proven)
            }
            // An agent opens tasks for itself only; on whose behalf, a token of theirs says.
            Opener::Agent { agent, proven, user } => {
                if let Some(other) = ask.agent.filter(|other| *other != agent) {
                    return Err(vec![Reason::new(Word::ProofWrong, Node::Agent(other)).with("shown", &agent)]);
                }
                (Actor::Agent(agent.clone()), agent, user, Some(proven))
            }
        };
        let (task, run) = (TaskId(draw().map_err(unavailable)?), RunId(draw().map_err(unavailable)?));
        // A run that we start afresh begins a memory; any other joins that of its agent and user.
        let memory =
            if ask.exec { MemoryId(draw().map_err(unavailable)?) } else { shared_memory(&agent, user.as_ref()) };
        let chosen = if matches!(by, Actor::Agent(_)) { ChosenBy::Model } else { ChosenBy::Parameter };
        let parameters = ask.parameters.into_iter().map(|(name, value)| (name, (value, chosen))).collect();
        let open = Open {
            task,
            run,
            memory,
            by,
            agent: agent.clone(),
            user,
            purpose: ask.purpose,
            parameters,
            objective: ask.objective,
            parent: None,
            undoes: None,
            proven,
        };
        match self.door.submit(Request::Open(open)).await {
            Reply::Opened(expires) => Ok(Opening::Open(Opened { task, run, agent, expires })),
            Reply::Held(ticket) => Ok(Opening::Held(ticket)),
            Reply::Refused(reasons) => Err(reasons),
            _ => Err(unavailable("the door gave another answer".to_owned())),
        }
    }

    /// The agent of a task proves itself again, so that the task goes on
    ///
    /// # Errors
    /// Why it does not.
    pub async fn prove(&self, task: TaskId, agent: Name, proven: Proven) -> Result<(), Vec<Reason>> {
        match self.door.submit(Request::Prove(Prove { task, agent, proven })).await {
            Reply::Recorded => Ok(()),
            Reply::Refused(reasons) => Err(reasons),
            _ => Err(vec![Reason::new(Word::RecordUnavailable, task)]),
        }
    }

    /// A token for a task, and the endpoints below `base` that it is good for; it is good for the same below the others
    ///
    /// # Errors
    /// Why there is none: the task is over.
    pub async fn token(&self, task: TaskId, base: &str) -> Result<(Token, BTreeMap<Name, String>), Vec<Reason>> {
        let now = self.clock.now();
        let found = self.door.ask(move |engine| {
            let state = engine.state();
            let reasons = state.life(task, now);
            if !reasons.is_empty() {
                return Err(reasons);
            }
            let observing = observing_task(state, task, now);
            state.task(task).cloned().map(|task| (task, observing)).ok_or(reasons)
        });
        let unknown = || vec![Reason::new(Word::TaskUnknown, task)];
        let (found, observing) = found.await.ok_or_else(unknown)??;
        let view = self.catalogue.view();
        let purpose = view.bundle.as_ref().and_then(|bundle| bundle.purposes.get(&found.purpose));
        let mut connectors: BTreeSet<&Name> =
            purpose.iter().flat_map(|purpose| purpose.tools()).map(|tool| &tool.connector).collect();
        // Where a token may be shown; each call there is judged all the same, also once the grant is over.
        for observed in &observing {
            let all = view.bundle.iter().flat_map(|bundle| bundle.connectors.keys());
            connectors.extend(all.filter(|name| match &observed.on {
                Node::Connector(only) => only == *name,
                _ => true,
            }));
        }
        let endpoint = |base: &str, name: &Name| format!("{base}/mcp/{name}");
        let audience = self.bases.iter().flat_map(|base| {
            let each = connectors.iter().map(move |name| endpoint(base, name));
            each.chain([format!("{base}/mcp")])
        });
        let subject = Subject {
            run: found.run,
            task,
            purpose: found.purpose.clone(),
            agent: found.agent.clone(),
            user: found.user.clone(),
            binding: found.proven.as_ref().and_then(|proven| proven.binding),
            until: found.proven.as_ref().map(|proven| proven.until),
            audience: audience.collect(),
        };
        let jti = draw().map(|id| format!("{id:016x}")).map_err(|_| unknown())?;
        let token = self.issuer.mint(&subject, jti, now).ok_or_else(unknown)?;
        Ok((token, connectors.iter().map(|name| ((*name).clone(), endpoint(base, name))).collect()))
    }

    /// Binds a run to a process: what is below it may use the run's task, and its end ends the task
    ///
    /// # Errors
    /// The process cannot be watched, and then the task must not go on.
    pub fn bind(self: &Arc<Self>, run: RunId, process: Peer) -> std::io::Result<()> {
        let pid = Pid::from_raw(process.pid).ok_or(std::io::ErrorKind::InvalidInput)?;
        let watched = pidfd_open(pid, PidfdFlags::empty())?;
        if !process.is_there() {
            return Err(std::io::Error::other("the process is gone already"));
        }
        self.fence.add_root(run, process);
        let (gone, is_gone) = tokio::sync::oneshot::channel();
        // A thread of its own: readiness of a process is not among the things that the runtime watches safely.
        std::thread::Builder::new().name("watch".to_owned()).stack_size(64 * 1024).spawn(move || {
            let mut watched = [PollFd::new(&watched, PollFlags::IN)];
            while poll(&mut watched, None).is_err() {}
            let _ = gone.send(());
        })?;
        let tasks = Arc::clone(self);
        tokio::spawn(async move {
            if is_gone.await.is_ok() {
                tasks.lost(run).await;
                tasks.fence.remove_root(run);
                tasks.unused.notify_waiters();
            }
        });
        Ok(())
    }

    /// Ends the task of a run whose process is gone; not before that is on the record
    pub async fn lost(&self, run: RunId) {
        loop {
            let stop = Stop { node: Node::Run(run), why: Why::Gone, by: Actor::System, at: None };
            match self.door.stop(stop).await.0 {
                Reply::Refused(reasons) if reasons.iter().any(|reason| reason.sort() == Sort::Later) => {
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
                _ => return,
            }
        }
    }

    /// The runs whose tasks end from now on
    #[must_use]
    pub fn endings(&self) -> broadcast::Receiver<RunId> {
        self.endings.subscribe()
    }

    /// A run's task is over
    pub fn ended(&self, run: RunId) {
        let _ = self.endings.send(run);
    }

    /// Returns once no process but this one is left that a task was opened for
    pub async fn unused(&self) {
        loop {
            let changed = self.unused.notified();
            if !self.fence.has_other_roots() {
                return;
            }
            changed.await;
        }
    }

    /// The agent that an opening is for: the one that it names, or the only one that its purpose is open to
    ///
    /// # Errors
    /// There is no such purpose, or it is open to several.
    pub fn agent_of(&self, ask: &OpenTask) -> Result<Name, Vec<Reason>> {
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
}

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
