//! The door's thread: the one writer of the log.
//!
//! Whatever has gathered while a group was being made durable becomes the next group, so many calls share one
//! sync of the disk. Stops go first. Settlements and sightings ride with whatever comes next, or after a
//! short while.

use crate::{
    bells::{Bell, Bells},
    snapshots::{EVERY, Store},
};
use portreeve_core::{
    due::Owed,
    engine::{Engine, Reply},
    event::{End, Process},
    names::{EffectId, HoldId, RunId, TaskId},
    node::{Node, Why},
    reason::{Reason, Word},
    request::{Request, Settle, Stop},
};
use portreeve_log::Sqlite;
use portreeve_rules::Reader;
use portreeve_upstream::{
    clock::SteadyClock,
    latch::{Closing, Latches},
};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot, watch};

/// The engine over the parts that are used here
pub type TheEngine = Engine<Sqlite, Reader, Store>;

/// The way to the door
#[derive(Clone, Debug)]
pub struct Door {
    shared: Arc<Shared>,
    latches: Arc<Latches>,
    turns: watch::Receiver<u64>,
    questions: watch::Receiver<u64>,
    heads: watch::Receiver<u64>,
    /// Nothing is ever sent here; it closes with the thread
    alive: watch::Receiver<()>,
}

/// Something that the shell owes because of what was recorded
#[derive(Debug)]
pub enum Notice {
    /// Stop waiting for a call
    Cancel(EffectId),
    /// End a child process
    Reap {
        /// The effect that started it
        effect: EffectId,
        /// The process, if it was recorded
        process: Option<Process>,
        /// Why
        why: Why,
    },
    /// A credential has to be taken back
    Withdraw {
        /// The effect that it is
        effect: EffectId,
    },
    /// Something that is neither a task nor a run was stopped
    Stopped(Node),
    /// A run's task is over
    Ended(Option<TaskId>, RunId),
}

struct Shared {
    // Held only to put something in or take it out.
    queue: Mutex<Queue>,
    bell: Condvar,
    /// Those who wait for questions to people
    bells: Arc<Bells>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

#[derive(Default)]
struct Queue {
    urgent: VecDeque<Item>,
    ordinary: VecDeque<Item>,
    later: VecDeque<Item>,
    later_since: Option<Instant>,
    questions: Vec<Question>,
    look_again: bool,
    closing: bool,
}

struct Item {
    request: Request,
    reply: Option<oneshot::Sender<Reply>>,
}

type Question = Box<dyn FnOnce(&TheEngine) + Send>;

/// Requests judged in one turn at most, so that a stop never waits for long
const TURN_MAX: usize = 256;
/// Requests that may wait
const WAITING_MAX: usize = 16_384;
/// How long nothing is tried again after something could not be recorded
const STUCK: Duration = Duration::from_millis(200);
/// How long a settlement waits for company
const LATER: Duration = Duration::from_millis(20);

impl Door {
    /// Starts the door's thread over an engine
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn open(
        engine: TheEngine,
        clock: SteadyClock,
        latches: Arc<Latches>,
        notices: mpsc::UnboundedSender<Notice>,
        snapshots: std::sync::mpsc::Sender<()>,
    ) -> std::io::Result<(Self, JoinHandle<TheEngine>)> {
        let shared = Arc::new(Shared { queue: Mutex::default(), bell: Condvar::new(), bells: Arc::default() });
        let (turned, turns) = watch::channel(0);
        let (asked, questions) = watch::channel(engine.state().hold_changes());
        let (grown, heads) = watch::channel(engine.state().head().n);
        let (living, alive) = watch::channel(());
        let kept = engine.state().head().n;
        let keeper = Keeper {
            engine,
            clock,
            latches: Arc::clone(&latches),
            notices,
            turned,
            asked,
            bells: Arc::clone(&shared.bells),
            grown,
            snapshots,
            kept,
            again: VecDeque::new(),
        };
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("door".to_owned()).spawn(move || {
                let _living = living;
                let _shut = Shut(&shared);
                keeper.run(&shared)
            })?
        };
        Ok((Self { shared, latches, turns, questions, heads, alive }, thread))
    }

    /// Puts a request to the door and waits until the answer is durable
    pub async fn submit(&self, request: Request) -> Reply {
        let (reply, answer) = oneshot::channel();
        let urgent = matches!(request, Request::Stop(_));
        self.put(|queue| {
            let lane = if urgent { &mut queue.urgent } else { &mut queue.ordinary };
            // What finds no place is told so at once: its sender is dropped.
            if !queue.closing && (urgent || lane.len() < WAITING_MAX) {
                lane.push_back(Item { request, reply: Some(reply) });
            }
        });
        answer.await.unwrap_or_else(|_| Reply::Refused(vec![Reason::new(Word::RecordUnavailable, "record")]))
    }

    /// Stops a node: closes its latch first, then has the stop recorded
    pub async fn stop(&self, stop: Stop) -> (Reply, Closing) {
        let closing = self.latches.close(&stop.node);
        (self.submit(Request::Stop(stop)).await, closing)
    }

    /// Has something recorded with the next group, without waiting for it
    pub fn later(&self, request: Request) {
        self.put(|queue| {
            if !queue.closing {
                queue.later_since.get_or_insert_with(Instant::now);
                queue.later.push_back(Item { request, reply: None });
            }
        });
    }

    /// Asks what is true between two turns
    pub async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&TheEngine) -> T + Send + 'static) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.put(|queue| {
            if !queue.closing {
                queue.questions.push(Box::new(move |engine| {
                    let _ = reply.send(question(engine));
                }));
            }
        });
        answer.await.ok()
    }

    /// Asks again after each turn until nothing is left, at most for `within`; returns what is left
    pub async fn until_none<T: Send + 'static>(
        &self,
        within: Duration,
        left: impl Fn(&TheEngine) -> Vec<T> + Clone + Send + 'static,
    ) -> Option<Vec<T>> {
        let mut turns = self.turns.clone();
        let until = tokio::time::Instant::now() + within;
        loop {
            turns.mark_unchanged();
            let asked = left.clone();
            let found = self.ask(move |engine| asked(engine)).await?;
            if found.is_empty() {
                return Some(found);
            }
            match tokio::time::timeout_at(until, turns.changed()).await {
                Ok(Ok(())) => {}
                _ => return Some(found),
            }
        }
    }

    /// Told whenever something about a question to people has changed, or the policy has
    #[must_use]
    pub fn questions(&self) -> watch::Receiver<u64> {
        self.questions.clone()
    }

    /// Rings whenever something about one question to people has changed, or may have with what it stands on
    #[must_use]
    pub fn question(&self, hold: HoldId) -> Bell {
        self.shared.bells.hang(hold)
    }

    /// The number of the record's newest group, each time that there is one
    #[must_use]
    pub fn heads(&self) -> watch::Receiver<u64> {
        self.heads.clone()
    }

    /// Returns once nothing is judged any more; costs a turn nothing
    pub async fn shut(&self) {
        let mut alive = self.alive.clone();
        while alive.changed().await.is_ok() {}
    }

    /// Looks again at what is owed
    pub fn look_again(&self) {
        self.put(|queue| queue.look_again = true);
    }

    /// Lets the thread finish what is waiting, and end
    pub fn close(&self) {
        self.put(|queue| queue.closing = true);
    }

    fn put(&self, change: impl FnOnce(&mut Queue)) {
        change(&mut self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.bell.notify_one();
    }
}

/// Tells everybody who waits, when the thread ends for whatever reason, that nothing is judged any more
struct Shut<'a>(&'a Shared);

impl Drop for Shut<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        *queue = Queue { closing: true, ..Queue::default() };
        self.0.bells.silence();
    }
}

/// What has gathered for a turn
struct Gathered {
    items: VecDeque<Item>,
    questions: Vec<Question>,
    look_again: bool,
    closing: bool,
}

/// The thread's own part
struct Keeper {
    engine: TheEngine,
    clock: SteadyClock,
    latches: Arc<Latches>,
    notices: mpsc::UnboundedSender<Notice>,
    turned: watch::Sender<u64>,
    /// Changes of questions to people, as the state counts them
    asked: watch::Sender<u64>,
    bells: Arc<Bells>,
    /// The newest group of the record
    grown: watch::Sender<u64>,
    snapshots: std::sync::mpsc::Sender<()>,
    /// The group at which a snapshot was asked for last
    kept: u64,
    /// Settlements that could not be recorded yet
    again: VecDeque<Item>,
}

impl Keeper {
    fn run(mut self, shared: &Shared) -> TheEngine {
        let mut owed = self.owed();
        // While what is owed cannot be recorded, it is tried again only now and then.
        let mut stuck: Option<Instant> = None;
        loop {
            let mut gathered = self.gather(shared, owed.is_empty() && self.again.is_empty(), stuck);
            let retry = stuck.is_none_or(|since| since.elapsed() >= STUCK);
            let wakes = retry && self.engine.wake().is_some_and(|wake| wake <= self.clock.now());
            if wakes {
                owed = self.owed();
            }
            if retry {
                let owed = owed.drain(..).map(|request| Item { request, reply: None });
                for item in self.again.drain(..).chain(owed) {
                    gathered.items.push_front(item);
                }
            }
            let was_in_doubt = self.engine.in_doubt();
            let looks = gathered.look_again || gathered.items.iter().any(|item| self.matters(&item.request));
            if !gathered.items.is_empty() || wakes || (was_in_doubt && retry) {
                let recorded = self.turn(gathered.items);
                let still = wakes && self.engine.wake().is_some_and(|wake| wake <= self.clock.now());
                stuck = (!recorded || still || self.engine.in_doubt()).then(Instant::now);
            }
            for question in gathered.questions {
                question(&self.engine);
            }
            if looks || wakes || was_in_doubt {
                owed = self.owed();
            }
            if gathered.closing && (owed.is_empty() || stuck.is_some()) {
                let mut seed = [0; 32];
                if getrandom::fill(&mut seed).is_ok() {
                    self.engine.finish(self.clock.read(), seed);
                }
                return self.engine;
            }
        }
    }

    fn gather(&self, shared: &Shared, nothing_owed: bool, stuck: Option<Instant>) -> Gathered {
        let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let later = queue.later_since.map(|since| LATER.saturating_sub(since.elapsed()));
            let ready = !queue.urgent.is_empty() || !queue.ordinary.is_empty() || !queue.questions.is_empty();
            let own = match stuck {
                Some(since) => Some(STUCK.saturating_sub(since.elapsed())),
                None if !nothing_owed => Some(Duration::ZERO),
                None => {
                    let wake = self.engine.wake().map(|wake| wake.since(self.clock.now()).max(0).unsigned_abs());
                    wake.map(Duration::from_millis)
                }
            };
            let wait = later.into_iter().chain(own).min();
            if ready || queue.look_again || queue.closing || wait == Some(Duration::ZERO) {
                break;
            }
            queue = match wait {
                Some(wait) => shared.bell.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => shared.bell.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
        let mut items = std::mem::take(&mut queue.urgent);
        // Settlements come before new calls, so that a step that has succeeded counts.
        items.append(&mut queue.later);
        queue.later_since = None;
        let ordinary = queue.ordinary.len().min(TURN_MAX);
        items.extend(queue.ordinary.drain(..ordinary));
        Gathered {
            items,
            questions: std::mem::take(&mut queue.questions),
            look_again: std::mem::take(&mut queue.look_again),
            closing: queue.closing && queue.ordinary.is_empty(),
        }
    }

    /// One turn; false if something was not recorded because nothing can be
    fn turn(&mut self, items: VecDeque<Item>) -> bool {
        let mut seed = [0; 32];
        if getrandom::fill(&mut seed).is_err() {
            // Without randomness nothing can be committed to: every sender is dropped, and told so.
            return false;
        }
        let (requests, replies): (Vec<Request>, Vec<_>) =
            items.into_iter().map(|item| (item.request, item.reply)).unzip();
        // How an effect ended is known only here: it is kept until it is on the record.
        let settles: Vec<Option<Request>> = requests.iter().map(kept).collect();
        let ended: Vec<Option<Notice>> = requests.iter().map(|request| self.ends(request)).collect();
        let changes = requests.iter().any(|request| matches!(request, Request::Change(_)));
        let stops = requests.iter().any(stops_more);
        let seen = self.engine.state().hold_changes();
        let before = if changes { self.engine.state().registry_nodes() } else { BTreeMap::new() };
        let answers = self.engine.turn(requests, self.clock.read(), seed);
        if changes {
            self.follow(&before);
        }
        for (notice, answer) in ended.into_iter().zip(&answers) {
            if let (Some(notice), Reply::Recorded) = (notice, answer) {
                let _ = self.notices.send(notice);
            }
        }
        let mut recorded = true;
        for ((reply, answer), settle) in replies.into_iter().zip(answers).zip(settles) {
            if is_unrecorded(&answer) {
                recorded = false;
                self.again.extend(settle.map(|request| Item { request, reply: None }));
            }
            if let Some(reply) = reply {
                let _ = reply.send(answer);
            }
        }
        self.turned.send_modify(|turn| *turn += 1);
        if changes || stops {
            self.bells.ring_all();
        } else {
            self.bells.ring(self.engine.state().holds_since(seen).map(|(id, _)| id));
        }
        let asked = self.engine.state().hold_changes();
        self.asked.send_if_modified(|known| std::mem::replace(known, asked) != asked || changes);
        let head = self.engine.state().head().n;
        self.grown.send_if_modified(|grown| std::mem::replace(grown, head) != head);
        if head >= self.kept + EVERY {
            self.kept = head;
            let _ = self.snapshots.send(());
        }
        recorded
    }

    /// Lets the latches follow a change of the registry: what is gone is closed, what has begun anew is opened
    fn follow(&self, before: &BTreeMap<Node, bool>) {
        let after = self.engine.state().registry_nodes();
        for (node, lived) in before {
            match (lived, after.get(node).copied().unwrap_or(false)) {
                (true, false) => drop(self.latches.close(node)),
                (false, true) => self.latches.forget(node),
                _ => {}
            }
        }
        for node in after.iter().filter(|(node, lives)| **lives && !before.contains_key(*node)).map(|(node, _)| node) {
            self.latches.forget(node);
        }
    }

    /// Whether something may be owed because of a request
    fn matters(&self, request: &Request) -> bool {
        match request {
            Request::Stop(_) | Request::Change(_) | Request::Pause(_) => true,
            Request::Settle(Settle { effect, end, .. }) => {
                let child_started = matches!(end, End::Done { process: Some(_), .. });
                child_started || self.engine.state().is_waited_for(*effect, self.clock.now())
            }
            _ => false,
        }
    }

    /// What has to be told once a stop is recorded; its latch is closed before
    fn ends(&self, request: &Request) -> Option<Notice> {
        let Request::Stop(stop) = request else { return None };
        drop(self.latches.close(&stop.node));
        match stop.node {
            Node::Task(id) => self.engine.state().task(id).map(|task| Notice::Ended(Some(id), task.run)),
            Node::Run(run) => Some(Notice::Ended(self.engine.state().task_of(run), run)),
            Node::Child(_) | Node::Lease(_) => None,
            ref node => Some(Notice::Stopped(node.clone())),
        }
    }

    /// What is to be recorded next; what is to be done is sent to those who do it
    fn owed(&self) -> Vec<Request> {
        let mut requests = Vec::new();
        for owed in self.engine.due(self.clock.read()) {
            match owed {
                Owed::Record(request) => requests.push(request),
                Owed::Cancel(effect) => {
                    let _ = self.notices.send(Notice::Cancel(effect));
                }
                Owed::Withdraw { effect, .. } => {
                    let _ = self.notices.send(Notice::Withdraw { effect });
                }
                Owed::Reap { effect, process, why } => {
                    let _ = self.notices.send(Notice::Reap { effect, process, why });
                }
            }
        }
        requests
    }
}

/// A settlement, to be tried again if it cannot be recorded
fn kept(request: &Request) -> Option<Request> {
    matches!(request, Request::Settle(_)).then(|| request.clone())
}

/// Whether an answer says that nothing can be recorded now
fn is_unrecorded(answer: &Reply) -> bool {
    let words = [Word::RecordUnavailable, Word::RecordFull];
    matches!(answer, Reply::Refused(reasons) if reasons.iter().any(|reason| words.contains(&reason.word)))
}

/// Whether a request stops something on which questions may depend that are not about it
fn stops_more(request: &Request) -> bool {
    matches!(request, Request::Stop(stop) if !matches!(stop.node, Node::Hold(_) | Node::Child(_) | Node::Lease(_)))
}
