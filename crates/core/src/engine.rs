//! The one door: judges in the order of the queue, records, and only then lets anything happen.
//!
//! A turn takes many requests, judges each against everything before it, and appends what follows as one
//! group. Memory runs ahead of the log only inside a turn; if the group does not become durable, memory is
//! forgotten and folded again, and nothing of the turn happens.

mod holds;
mod refusals;
mod requests;

use crate::{
    commit::Salts,
    due::{Owed, due, wake},
    event::{Actor, Booted, End, Event, Record, decode, encode},
    hash::Hash,
    judge::{self, Again, Leasing, Reading, Shelf, Ticket, Wants},
    log::{Append, Log, Read, Space},
    names::{BootId, EffectId, HoldId, Name, RunId, TaskId, Tool},
    node::{Node, Why},
    outside::Asking,
    pattern::Source,
    policy::Bundle,
    reason::{Reason, Word},
    request::{Clock, Request, Settle, Ship, Stop},
    state::State,
    time::Millis,
    value::Value,
};
use refusals::Refusals;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
};

/// Reads versions of the policy back from the log
pub trait Bundles: Debug {
    /// The version that `blob` holds
    ///
    /// # Errors
    /// Why it cannot be read; what rests on it is refused then.
    fn read(&self, digest: Hash, blob: &[u8]) -> Result<Arc<Bundle>, String>;
}

/// Where folding may begin, so that it need not begin at the start of the log
pub trait Snapshots: Debug {
    /// A state that was folded earlier, if one is at hand
    fn newest(&self) -> Option<State>;
}

/// The door over a log
#[derive(Debug)]
pub struct Engine<L, B, S> {
    log: L,
    bundles: B,
    snapshots: S,
    state: State,
    shelf: Shelf,
    refusals: Refusals,
    /// This life of the process
    boot: BootId,
    /// Admissions that may have landed although nobody was given the permit
    unclaimed: BTreeSet<EffectId>,
    /// Memory does not stand where the log does
    in_doubt: bool,
    /// The record failed at this time, and has not worked since
    failed_at: Option<Millis>,
    /// The disk was full at this time; asked again only after a while
    full_since: Option<Millis>,
}

/// Leave to do one admitted effect, once
///
/// Only the door makes one, and only after the admission is durable.
#[derive(Debug)]
#[must_use = "an admitted effect has to be done or settled as not sent"]
pub struct Permit {
    effect: EffectId,
    task: TaskId,
    run: RunId,
    rests_on: Vec<Node>,
    deadline: Millis,
    answer_max: Option<u64>,
    wanted: Vec<Source>,
    /// The question to people that is used up by it
    hold: Option<HoldId>,
    /// The lease that it goes with
    lease: Option<EffectId>,
}

impl Permit {
    /// The effect that is permitted
    #[must_use]
    pub fn effect(&self) -> EffectId {
        self.effect
    }

    /// The task that it is done for
    #[must_use]
    pub fn task(&self) -> TaskId {
        self.task
    }

    /// The run that asked
    #[must_use]
    pub fn run(&self) -> RunId {
        self.run
    }

    /// The nodes whose latches must be open when the first byte leaves
    #[must_use]
    pub fn rests_on(&self) -> &[Node] {
        &self.rests_on
    }

    /// The lease that it goes with: it leaves on a connection that was made with this one, and on no other
    #[must_use]
    pub fn lease(&self) -> Option<EffectId> {
        self.lease
    }

    /// The same leave, which also rests on a lease
    fn on(&mut self, lease: Option<EffectId>, state: &State) {
        let Some(id) = lease else { return };
        let until = state.open_lease(id).map_or(Millis(i64::MIN), |(_, lease)| lease.until);
        let grants = state.open_lease(id).map(|(open, _)| open.grant.iter().chain(&open.elevated));
        self.lease = lease;
        self.rests_on.push(Node::Lease(id));
        self.rests_on.extend(grants.into_iter().flatten().copied().map(Node::Grant));
        self.deadline = self.deadline.min(until);
    }

    /// The same leave, which rests on the grant without which it would have been refused, and ends with it
    fn under(mut self, observed: Option<&judge::Observed>) -> Self {
        if let Some(observed) = observed {
            self.rests_on.push(Node::Grant(observed.grant));
            self.deadline = self.deadline.min(observed.until);
        }
        self
    }

    /// The same leave, which also ends with each grant that is used for it, and with whoever gave it
    fn with(&mut self, used: &[judge::Used]) {
        for used in used {
            for node in &used.rests_on {
                if !self.rests_on.contains(node) {
                    self.rests_on.push(node.clone());
                }
            }
            self.deadline = self.deadline.min(used.until);
        }
    }

    /// Bytes of the answer that the agent may be given, if a budget bounds them
    #[must_use]
    pub fn answer_max(&self) -> Option<u64> {
        self.answer_max
    }

    /// Fields of the answer that later steps need, to be reported with its end
    #[must_use]
    pub fn wanted(&self) -> &[Source] {
        &self.wanted
    }

    /// The question to people that it uses up: what comes of it is told to whoever repeats it
    #[must_use]
    pub fn hold(&self) -> Option<HoldId> {
        self.hold
    }

    /// When it is void, on the steady clock
    #[must_use]
    pub fn deadline(&self) -> Millis {
        self.deadline
    }
}

/// How long a permit is good for: leases and connections are made before
pub const PERMIT_MS: i64 = 2_000;

/// What the door answers
#[derive(Debug)]
pub enum Reply {
    /// It may happen
    Permit(Permit),
    /// It would be permitted
    Clear,
    /// It would be permitted, on such a connection
    Prepare(Wants),
    /// The credential may be issued, as this
    Leased(Permit, Box<Leasing>),
    /// Nothing is against it so far; these outside decision points have to be asked first
    Consult(Vec<Asking>),
    /// Nothing is against it so far; this has to be read first, so that it can be put back
    Read(Reading),
    /// People are asked, or have not all answered
    Held(Ticket),
    /// People agreed to it, and it was used: never a second time
    Again(Again),
    /// A class is open until then
    Elevated(Millis),
    /// It is on the record
    Recorded,
    /// It is on the record that so many want it; so many have to before it is done
    Proposed {
        /// So many do
        have: u8,
        /// So many have to
        of: u8,
    },
    /// The task is open until then
    Opened(Millis),
    /// It may not happen
    Refused(Vec<Reason>),
}

/// Why a log cannot be taken up
#[derive(Debug, thiserror::Error)]
pub enum Boot {
    /// It cannot be read
    #[error("the log cannot be read")]
    Read(#[source] Read),
    /// The start could not be recorded
    #[error("the start could not be recorded")]
    Append(#[source] Append),
}

impl<L: Log, B: Bundles, S: Snapshots> Engine<L, B, S> {
    /// Folds the log and records the start of this life of the process
    ///
    /// # Errors
    /// [`Boot`]: the log is broken or cannot be written.
    pub fn boot(log: L, bundles: B, snapshots: S, boot: BootId, version: &str, clock: Clock) -> Result<Self, Boot> {
        let mut engine = Self {
            log,
            bundles,
            snapshots,
            state: State::default(),
            shelf: Shelf::default(),
            refusals: Refusals::default(),
            boot,
            unclaimed: BTreeSet::new(),
            in_doubt: false,
            failed_at: None,
            full_since: None,
        };
        engine.refold().map_err(Boot::Read)?;
        let booted = Booted { boot, version: version.to_owned(), after: engine.state.boot };
        let mut draft = Draft::new([0; 32]);
        engine.record(&mut draft, Actor::System, judge::now(&engine.state, clock).0, Event::Booted(booted));
        engine.append(&mut draft, Space::Reserve).map_err(Boot::Append)?;
        Ok(engine)
    }

    /// Whether memory does not stand where the log does; nothing is permitted until it does again
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// What is true now; nothing at all while in doubt
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Why an agent may not bring the record of another gateway; empty if it may
    #[must_use]
    pub fn may_ship(&self, ship: &Ship, now: Millis) -> Vec<Reason> {
        judge::judge_ship(&self.state, &self.shelf, ship, now)
    }

    /// Refusals of a task that are not on the record yet, as alike ones are recorded together: what, why, how often
    #[must_use]
    pub fn gathered(&self, task: TaskId) -> Vec<(String, BTreeSet<Word>, u64)> {
        self.refusals.gathered(task)
    }

    /// The versions of the policy in use
    #[must_use]
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// The log
    #[must_use]
    pub fn log(&self) -> &L {
        &self.log
    }

    /// What is owed at this time
    #[must_use]
    pub fn due(&self, clock: Clock) -> Vec<Owed> {
        let unclaimed = self.unclaimed.iter().filter(|effect| self.state.effects.contains_key(effect)).map(|effect| {
            let end = End::NotSent { why: "the record was in doubt, so no permit was given".to_owned() };
            Owed::Record(Request::Settle(Settle::new(*effect, end)))
        });
        let now = judge::now(&self.state, clock).0;
        unclaimed.chain(self.outdated()).chain(due(&self.state, now)).collect()
    }

    /// Credentials that the policy in force does not speak of like this: nothing is begun with them any more
    fn outdated(&self) -> impl Iterator<Item = Owed> {
        let current = self.shelf.current(&self.state);
        let outdated = self.state.effects().filter_map(move |(id, open)| {
            let (_, lease) = self.state.open_lease(id)?;
            let connector = current?.connectors.get(open.connector.as_ref()?);
            let config = connector.and_then(|connector| connector.credentials.as_ref()).map(|of| of.config);
            (lease.over.is_none() && !lease.left && config != Some(lease.config)).then_some(id)
        });
        outdated.map(|id| {
            let stop = Stop { node: Node::Lease(id), why: Why::Ended, by: Actor::System, at: None };
            Owed::Record(Request::Stop(stop))
        })
    }

    /// When something will be owed, or memory has to be folded again: put a turn through the door then, an
    /// empty one if there is nothing to ask
    #[must_use]
    pub fn wake(&self) -> Option<Millis> {
        let now = (self.in_doubt || !self.unclaimed.is_empty()).then_some(self.state.time);
        // Refusals are no reason to use the space kept back.
        let room = self.full_since.map_or(self.state.time, |since| since.plus(FULL_RETRY_MS));
        let refusals = self.refusals.wake().map(|wake| wake.max(room));
        let soonest = wake(&self.state).into_iter().chain(refusals).chain(now).min()?;
        Some(self.failed_at.map_or(soonest, |failed| soonest.max(failed.plus(FAILED_RETRY_MS))))
    }

    /// Judges and records `requests` in their order; returns one reply for each, once all of it is durable
    ///
    /// `seed` is fresh secret randomness: salts come from it, and it is kept nowhere.
    pub fn turn(&mut self, requests: Vec<Request>, clock: Clock, seed: [u8; 32]) -> Vec<Reply> {
        if self.in_doubt && self.refold().is_err() {
            self.failed_at = Some(clock.steady);
            return requests.iter().map(|_| unavailable(Word::RecordUnavailable)).collect();
        }
        // Another life has taken the folder: this one decides nothing any more.
        if self.state.boot != Some(self.boot) {
            return requests.iter().map(|_| unavailable(Word::RecordUnavailable)).collect();
        }
        let now = judge::now(&self.state, clock).0;
        let full = self.full_since.is_some_and(|since| now.since(since) < FULL_RETRY_MS);
        let mut draft = Draft::new(seed);
        // The space kept back is for stops and settlements.
        let overdue = if full { Vec::new() } else { self.refusals.overdue(now) };
        for refused in overdue {
            let by = refused.by.clone();
            let event = self.refused(&mut draft, refused);
            self.record(&mut draft, by, now, event);
        }
        let mut replies: Vec<Reply> = requests
            .iter()
            .map(|request| match request {
                request if full && !may_use_reserve(request) => unavailable(Word::RecordFull),
                request => self.judge(request, clock, &mut draft),
            })
            .collect();
        if draft.records.is_empty() {
            return replies;
        }
        let space = if full { Space::Reserve } else { Space::Ordinary };
        match self.append(&mut draft, space) {
            Ok(()) => {
                self.failed_at = None;
                self.claim();
                if space == Space::Ordinary {
                    self.full_since = None;
                }
                replies
            }
            Err(Append::Full) if space == Space::Ordinary => {
                self.full_since = Some(now);
                self.in_doubt = true;
                self.turn(requests, clock, seed)
            }
            Err(error) => {
                self.failed_at = Some(clock.steady);
                let word = if error == Append::Full { Word::RecordFull } else { Word::RecordUnavailable };
                let landed = draft.head.is_some_and(|head| self.log.recover().is_ok_and(|found| found == head));
                self.in_doubt = true;
                let folded = self.refold().is_ok();
                if !(landed && folded && self.state.head() == draft.head.unwrap_or_default()) {
                    self.unclaimed.extend(draft.admitted());
                    if folded {
                        self.claim();
                    }
                    replies.iter_mut().for_each(|reply| *reply = unavailable(word));
                }
                replies
            }
        }
    }

    /// Records what has been gathered so far, before the process ends
    ///
    /// Nothing rests on it: what cannot be recorded is lost, as it is by a crash.
    pub fn finish(&mut self, clock: Clock, seed: [u8; 32]) {
        if self.in_doubt || self.state.boot != Some(self.boot) {
            return;
        }
        let now = judge::now(&self.state, clock).0;
        let mut draft = Draft::new(seed);
        for refused in self.refusals.overdue(Millis(i64::MAX)) {
            let by = refused.by.clone();
            let event = self.refused(&mut draft, refused);
            self.record(&mut draft, by, now, event);
        }
        if !draft.records.is_empty() && self.append(&mut draft, Space::Ordinary).is_err() {
            self.in_doubt = true;
        }
    }

    /// What of a connector the task of a run could use
    ///
    /// # Errors
    /// Why the task may not act at all.
    pub fn listed(&self, run: RunId, connector: &Name, clock: Clock) -> Result<judge::Listed, Vec<Reason>> {
        if self.in_doubt {
            return Err(vec![Reason::new(Word::RecordUnavailable, "record")]);
        }
        judge::listed(&self.state, &self.shelf, run, connector, clock)
    }

    /// Whether the task of a run could use a tool or operation with arguments of which only these are known
    ///
    /// # Errors
    /// Why the task may not act at all.
    pub fn visible(
        &self,
        run: RunId,
        tool: &Tool,
        candidates: &[BTreeMap<String, Value>],
        clock: Clock,
    ) -> Result<Vec<bool>, Vec<Reason>> {
        if self.in_doubt {
            return Err(vec![Reason::new(Word::RecordUnavailable, "record")]);
        }
        judge::visible(&self.state, &self.shelf, run, tool, candidates, clock)
    }

    fn record(&mut self, draft: &mut Draft, actor: Actor, now: Millis, event: Event) {
        let record = Record { time: now.max(self.state.time), actor, event };
        self.state.apply(&record);
        draft.records.push(record);
    }

    fn append(&mut self, draft: &mut Draft, space: Space) -> Result<(), Append> {
        let expected = self.state.head();
        let blobs = std::mem::take(&mut draft.blobs);
        let group = encode(expected, &mut draft.records, blobs).map_err(|error| Append::Unknown(error.to_string()))?;
        draft.head = Some(group.head());
        let head = self.log.append(expected, &group, space)?;
        self.state.closed(head);
        Ok(())
    }

    /// Forgets memory and folds it again from the log
    fn refold(&mut self) -> Result<(), Read> {
        // INVARIANT: what did not become durable is gone at once, also while the log cannot be read. Otherwise
        // a snapshot of it would carry the head of the log, and permit for ever what was never recorded.
        self.in_doubt = true;
        self.state = State::default();
        let end = self.log.recover()?;
        let mut state = match self.snapshots.newest() {
            Some(state) if self.is_on_chain(state.head(), end)? => state,
            _ => State::default(),
        };
        while state.head() != end {
            let groups = self.log.read(state.head().n, FOLD_GROUPS)?;
            if groups.is_empty() {
                let why = "the log ends before its head".to_owned();
                return Err(Read::Broken { n: state.head().n + 1, why });
            }
            for group in groups {
                let broken = |error: crate::event::Form| Read::Broken { n: group.n, why: chain_of(&error) };
                for record in decode(state.head(), &group).map_err(broken)? {
                    state.apply(&record);
                }
                state.closed(group.head());
            }
        }
        self.state = state;
        self.shelve()?;
        self.claim();
        self.in_doubt = false;
        Ok(())
    }

    /// Forgets admissions that did not land, or are settled by now
    fn claim(&mut self) {
        self.unclaimed.retain(|effect| self.state.effects.contains_key(effect));
    }

    /// Whether `head` is a group of this very log; a snapshot of another one is as good as none
    fn is_on_chain(&self, head: crate::log::Head, end: crate::log::Head) -> Result<bool, Read> {
        if head.n == 0 || head.n > end.n {
            return Ok(false);
        }
        Ok(self.log.read(head.n - 1, 1)?.first().is_some_and(|group| group.head() == head))
    }

    /// Puts the versions of the policy that something rests on onto the shelf, and takes the others off
    fn shelve(&mut self) -> Result<(), Read> {
        let wanted = self.state.bundles_in_use();
        self.shelf.0.retain(|digest, _| wanted.contains(digest));
        for digest in wanted {
            if self.shelf.get(digest).is_some() {
                continue;
            }
            // A version that cannot be read any more is missing from the shelf: what rests on it is refused.
            if let Some(bundle) = self.log.blob(digest)?.and_then(|blob| self.bundles.read(digest, &blob).ok()) {
                self.shelf.0.insert(digest, bundle);
            }
        }
        Ok(())
    }
}

/// Groups that are read at a time while folding
const FOLD_GROUPS: usize = 512;
/// After a full disk, how long ordinary requests are refused without trying again
const FULL_RETRY_MS: i64 = 1_000;
/// After the record failed, how long nothing is tried that nobody asked for
const FAILED_RETRY_MS: i64 = 250;

fn may_use_reserve(request: &Request) -> bool {
    match request {
        Request::Stop(_) | Request::Settle(_) => true,
        // A no is a stop; and whoever signs in may want to stop something.
        Request::Answer(answer) => !answer.yes,
        Request::SignedIn(signed) => signed.how.is_some(),
        _ => false,
    }
}

fn unavailable(word: Word) -> Reply {
    Reply::Refused(vec![Reason::new(word, "record")])
}

fn chain_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// What a turn is about to record
#[derive(Debug)]
struct Draft {
    records: Vec<Record>,
    blobs: Vec<(Hash, Vec<u8>)>,
    salts: Salts,
    head: Option<crate::log::Head>,
}

impl Draft {
    fn new(seed: [u8; 32]) -> Self {
        Self { records: Vec::new(), blobs: Vec::new(), salts: Salts::new(seed), head: None }
    }

    fn admitted(&self) -> impl Iterator<Item = EffectId> {
        self.records.iter().filter_map(|record| match &record.event {
            Event::Admitted(admitted) => Some(admitted.effect),
            _ => None,
        })
    }
}
