//! The shell as the gateway will be: a queue before the door, calls as step machines, latches, the loop over
//! what is owed. All of it is gone after a crash.

mod effects;
mod replies;

use crate::{
    disk::Disk,
    latch::Latches,
    library::{Cache, Library},
    options::Sabotage,
    world::Env,
};
use portreeve_core::{
    due::Owed,
    engine::{Engine, Permit},
    event::Actor,
    life::{Do, Happened, Life},
    names::{BootId, EffectId, GrantId, HoldId, Name, RunId, TaskId, Tool},
    node::{Node, Why},
    request::{Answering, Call, Elevate, Poll, Request, Start, Stop},
    state::{Hold, Phase},
    time::Millis,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One life of the process
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) engine: Engine<Disk, Library, Cache>,
    latches: Latches,
    flights: BTreeMap<u64, Flight>,
    queue: VecDeque<Item>,
    answers: Vec<Answer>,
    /// Children that this life started and that it may use
    children: BTreeMap<(TaskId, Name), EffectId>,
    nodes: BTreeSet<Node>,
    tenant_stopped: bool,
    /// Whether the policy came in during this life, so that nothing has to be read back
    fresh_policy: bool,
}

/// One call on its way
#[derive(Debug)]
struct Flight {
    life: Life,
    todo: VecDeque<Todo>,
    run: RunId,
    tool: Tool,
    /// Until when whoever asked waits for people, and what they had said by then
    waits: Option<(Millis, Said)>,
}

/// Where a question stands: who has answered, and what became of it
type Said = Option<(usize, Phase)>;

/// One step of a flight: the scheduler may do anything between two of them
#[derive(Debug)]
enum Todo {
    Step(Do),
    Spawn(Permit, Name),
}

/// Something in the queue, and who waits for the reply
#[derive(Debug)]
struct Item {
    who: Who,
    request: Request,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Flight(u64),
    Start(u64, Name),
    Settle(EffectId),
    Poll(Tool),
    Stop(Node),
    /// Listed anew by `due` if it fails
    Owed,
    OwedStop(Node),
    Open {
        task: TaskId,
        by_run: bool,
    },
    Change(BTreeSet<Node>),
    /// A person answers, or a class is wanted
    Answer(HoldId),
    Elevate(GrantId),
    /// Wanted a child, and wants it no longer
    Idle(EffectId),
    Nobody,
}

/// What will be heard of a call
#[derive(Debug)]
struct Answer {
    at: Millis,
    flight: u64,
    effect: EffectId,
    happened: Happened,
}

impl Gateway {
    /// Takes up the log; `None` if that fails
    pub(crate) fn boot(env: &mut Env) -> Option<Self> {
        let id = BootId(env.id());
        let engine =
            Engine::boot(env.disk.clone(), env.library.clone(), env.cache.clone(), id, "sim", env.clock()).ok()?;
        let nodes = env.library.nodes(engine.state().bundle());
        Some(Self {
            engine,
            latches: Latches::default(),
            flights: BTreeMap::new(),
            queue: VecDeque::new(),
            answers: Vec::new(),
            children: BTreeMap::new(),
            nodes,
            tenant_stopped: false,
            fresh_policy: false,
        })
    }

    /// Takes a call from an agent
    pub(crate) fn call(&mut self, call: Call, env: &mut Env) {
        let task = self.engine.state().task_of(call.run);
        let key = task.map(|task| (task, call.tool.connector.clone()));
        let prepared = match key {
            Some(key) if is_stdio(&key.1) => self.children.contains_key(&key),
            _ => env.random.chance(80),
        };
        let (run, tool) = (call.run, call.tool.clone());
        let (life, step) = Life::start(call, prepared);
        let flight = Flight { life, todo: VecDeque::from([Todo::Step(step)]), run, tool, waits: None };
        self.flights.insert(env.id(), flight);
    }

    /// Puts the opening of a task into the queue
    pub(crate) fn open(&mut self, task: TaskId, by_run: bool, request: Request) {
        self.queue.push_back(Item { who: Who::Open { task, by_run }, request });
    }

    /// Asks for a child that is not needed any more once it may start
    pub(crate) fn start(&mut self, start: Start) {
        self.queue.push_back(Item { who: Who::Idle(start.effect), request: Request::Start(start) });
    }

    /// A question, as people are shown it
    pub(crate) fn question(&self, hold: HoldId) -> Option<&Hold> {
        self.engine.state().hold(hold)
    }

    /// Questions that wait
    pub(crate) fn open_questions(&self) -> Vec<HoldId> {
        self.engine.state().open_holds().map(|(id, _)| id).collect()
    }

    /// Puts what a person says into the queue
    pub(crate) fn answer(&mut self, answer: Answering) {
        self.queue.push_back(Item { who: Who::Answer(answer.hold), request: Request::Answer(Box::new(answer)) });
    }

    /// Puts the wish for a class into the queue
    pub(crate) fn elevate(&mut self, elevate: Elevate) {
        self.queue.push_back(Item { who: Who::Elevate(elevate.grant), request: Request::Elevate(elevate) });
    }

    /// Asks how a call stands that goes on at its connector
    pub(crate) fn poll(&mut self, poll: Poll, tool: Tool) {
        self.queue.push_back(Item { who: Who::Poll(tool), request: Request::Poll(poll) });
    }

    /// Puts something into the queue whose reply nobody waits for
    pub(crate) fn note(&mut self, request: Request) {
        self.queue.push_back(Item { who: Who::Nobody, request });
    }

    /// Puts a change of the registry into the queue; what it takes out cannot send from now on
    pub(crate) fn change(&mut self, nodes: BTreeSet<Node>, request: Request, env: &mut Env) {
        if !nodes.is_empty() {
            for node in self.nodes.difference(&nodes) {
                self.latches.close(node.clone());
                env.oracle.stop_asked(node);
            }
        }
        self.queue.push_back(Item { who: Who::Change(nodes), request });
    }

    /// Stops a node: in memory first, recorded second, acknowledged last
    pub(crate) fn stop(&mut self, node: Node, why: Why, by: Actor, env: &mut Env) {
        if env.sabotage(Sabotage::EarlyAcknowledgement) {
            env.oracle.stop_acknowledged(&node);
        }
        let request = Request::Stop(Stop { node: node.clone(), why, by, at: None });
        self.close(&node, env);
        self.queue.push_back(Item { who: Who::Stop(node), request });
    }

    fn close(&mut self, node: &Node, env: &mut Env) {
        if matches!(node, Node::Child(_)) {
            return;
        }
        if !env.sabotage(Sabotage::LateLatch) {
            self.latches.close(node.clone());
        }
        env.oracle.stop_asked(node);
    }

    /// Whether the door wants a turn although nobody asks for anything
    pub(crate) fn wakes(&self, env: &Env) -> bool {
        self.queue.is_empty() && self.engine.wake().is_some_and(|wake| wake <= env.clock().steady)
    }

    /// Calls that have something to do
    pub(crate) fn ready(&self, now: Millis) -> Vec<u64> {
        let ready = |flight: &Flight| match flight.todo.front() {
            Some(Todo::Step(Do::Wait(ticket))) => {
                flight.waits.is_none_or(|(until, said)| until <= now || said != self.said(ticket.hold))
            }
            next => next.is_some(),
        };
        self.flights.iter().filter(|(_, flight)| ready(flight)).map(|(id, _)| *id).collect()
    }

    /// Where a question stands
    fn said(&self, hold: HoldId) -> Said {
        self.engine.state().hold(hold).map(|hold| (hold.answers.len(), hold.phase))
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// When the next answer comes
    pub(crate) fn next_answer(&self) -> Option<Millis> {
        let waits = self.flights.values().filter_map(|flight| Some(flight.waits?.0));
        self.answers.iter().map(|answer| answer.at).chain(waits).min()
    }

    /// Effects that this life still waits for
    pub(crate) fn waits_for(&self) -> usize {
        self.answers.len() + self.flights.values().filter(|flight| !flight.todo.is_empty()).count()
    }

    /// Hears one answer whose time has come
    pub(crate) fn hear(&mut self, env: &mut Env) -> bool {
        let now = env.clock().steady;
        let Some(index) = self.answers.iter().position(|answer| answer.at <= now) else { return false };
        let answer = self.answers.remove(index);
        env.trace(|| format!("{} heard of: {:?}", answer.effect, answer.happened));
        let mut happened = answer.happened;
        if let (Happened::Pending { .. }, Some(flight)) = (&happened, self.flights.get(&answer.flight)) {
            env.asked(flight.life.call().clone());
        }
        if let Happened::Lost(why) = &happened {
            if env.sabotage(Sabotage::NotSentAfterBytes) {
                happened = Happened::NotSent(why.clone());
            } else if env.sabotage(Sabotage::RepeatUnknown) {
                let tool = self.flights.get(&answer.flight).map(|flight| flight.tool.clone());
                if let Some(tool) = tool {
                    env.deliver(answer.effect, tool);
                }
            }
        }
        self.happened(answer.flight, happened);
        true
    }

    fn happened(&mut self, id: u64, happened: Happened) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let steps = flight.life.next(happened);
        flight.todo.extend(steps.into_iter().map(Todo::Step));
    }

    /// Does what is owed now; whether there was anything
    pub(crate) fn due(&mut self, env: &mut Env) -> bool {
        if self.queue.iter().any(|item| matches!(item.who, Who::Owed | Who::OwedStop(_))) {
            return false;
        }
        let mut acted = false;
        for owed in self.engine.due(env.clock()) {
            if env.sabotage(Sabotage::SkipRecovery) && is_recovery(&owed) {
                continue;
            }
            acted |= self.owe(owed, env);
        }
        acted
    }

    fn owe(&mut self, owed: Owed, env: &mut Env) -> bool {
        env.trace(|| format!("owed: {owed:?}"));
        match owed {
            Owed::Record(request) => {
                let who = match &request {
                    Request::Stop(stop) => {
                        self.close(&stop.node, env);
                        Who::OwedStop(stop.node.clone())
                    }
                    _ => Who::Owed,
                };
                self.queue.push_back(Item { who, request });
                true
            }
            Owed::Cancel(effect) => {
                let Some(index) = self.answers.iter().position(|answer| answer.effect == effect) else { return false };
                let answer = self.answers.remove(index);
                self.happened(answer.flight, Happened::Lost("cancelled".to_owned()));
                true
            }
            // No connector of this world wants credentials.
            Owed::Withdraw { .. } => false,
            Owed::Reap { effect, process, why } => {
                if env.sabotage(Sabotage::NoReap) {
                    return false;
                }
                // A start that has not happened yet must not happen after it was looked for.
                self.latches.close(Node::Child(effect));
                let gone = env.sabotage(Sabotage::ReapUnverified) || env.host.kill(effect, process.as_ref());
                if gone {
                    let node = Node::Child(effect);
                    let stop = Stop { node: node.clone(), why, by: Actor::System, at: None };
                    self.queue.push_back(Item { who: Who::OwedStop(node), request: Request::Stop(stop) });
                }
                true
            }
        }
    }
}

fn is_recovery(owed: &Owed) -> bool {
    matches!(owed, Owed::Record(Request::Settle(_)) | Owed::Reap { why: Why::Restarted, .. })
}

/// Whether a connector is a child process of each task
pub(crate) fn is_stdio(connector: &Name) -> bool {
    connector.as_str() == "files"
}
