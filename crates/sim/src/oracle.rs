//! What must be true, counted naively over the durable record and the upstream's ledger.
//!
//! Reads the record as plain JSON and keeps every event; shares no code with the core's fold, matcher or
//! clock. Slow on purpose: what can be counted again is not kept.

mod facts;
mod people;
mod recount;

use crate::{disk::Disk, library::Library};
use facts::{Effect, Grant, Kind, Task};
use people::{Elevation, Hold};
use portreeve_core::{
    engine::PERMIT_MS,
    names::{EffectId, TaskId},
    node::Node,
    time::Millis,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A violated invariant and what happened
pub(crate) type Found = (&'static str, String);

/// The independent reader
#[derive(Debug)]
pub(crate) struct Oracle {
    library: Library,
    groups: u64,
    /// Records read so far: the place of each in the one order
    seq: u64,
    time: i64,
    tasks: BTreeMap<String, Task>,
    effects: BTreeMap<String, Effect>,
    grants: BTreeMap<String, Grant>,
    holds: BTreeMap<String, Hold>,
    elevations: BTreeMap<String, Elevation>,
    /// Every yes: to which question, whose
    approvals: BTreeMap<String, (String, String)>,
    /// The digest of the current policy
    bundle: String,
    /// The digests of all that were ever current
    applied: BTreeSet<String>,
    /// Since when each node is there without having been stopped; `None`: stopped
    standing: BTreeMap<String, Option<u64>>,
    /// Who each connector was when it was accepted, and when it was seen last
    met: BTreeMap<String, (String, String)>,
    /// Nodes of the current policy
    nodes: BTreeSet<String>,
    /// Stops that this life of the process was asked for
    asked: Vec<String>,
    /// Stops that were acknowledged, and where they stand on the record
    acknowledged: Vec<(String, u64)>,
    stops: BTreeMap<String, u64>,
    arrived: BTreeSet<String>,
    /// What outside decision points really said, by effect, point and question
    said: BTreeMap<(String, String, String), bool>,
    pub(crate) found: Vec<Found>,
}

impl Oracle {
    pub(crate) fn new(library: Library) -> Self {
        Self {
            library,
            groups: 0,
            seq: 0,
            time: 0,
            tasks: BTreeMap::new(),
            effects: BTreeMap::new(),
            grants: BTreeMap::new(),
            holds: BTreeMap::new(),
            elevations: BTreeMap::new(),
            approvals: BTreeMap::new(),
            bundle: String::new(),
            applied: BTreeSet::new(),
            standing: BTreeMap::new(),
            met: BTreeMap::new(),
            nodes: BTreeSet::new(),
            asked: Vec::new(),
            acknowledged: Vec::new(),
            stops: BTreeMap::new(),
            arrived: BTreeSet::new(),
            said: BTreeMap::new(),
            found: Vec::new(),
        }
    }

    fn violated(&mut self, invariant: &'static str, what: String) {
        self.found.push((invariant, what));
    }

    /// Whether a version of the policy was ever current
    pub(crate) fn was_current(&self, digest: &str) -> bool {
        self.applied.contains(digest)
    }

    /// The time of the last durable record
    pub(crate) fn time(&self) -> Millis {
        Millis(self.time)
    }

    /// Reads what has become durable since
    pub(crate) fn sync(&mut self, disk: &Disk) {
        for group in disk.durable(self.groups) {
            self.groups += 1;
            let openings = facts::openings(&group.openings);
            for (index, line) in group.body.split(|byte| *byte == b'\n').skip(1).enumerate() {
                self.seq += 1;
                match serde_json::from_slice::<Value>(line) {
                    Ok(record) => self.read(&record, openings.get(&index)),
                    Err(error) => self.violated("I13", format!("a record is no JSON: {error}")),
                }
            }
        }
    }

    /// A new life of the process knows of no earlier request to stop
    pub(crate) fn restarted(&mut self) {
        self.asked.clear();
    }

    /// An outside decision point was asked about an effect
    pub(crate) fn consulted(&mut self, effect: EffectId, (point, question): (&str, String), permits: bool) {
        self.said.insert((effect.to_string(), point.to_owned(), question), permits);
    }

    pub(crate) fn stop_asked(&mut self, node: &Node) {
        self.asked.push(node.to_string());
    }

    pub(crate) fn stop_acknowledged(&mut self, node: &Node) {
        let node = node.to_string();
        match self.stops.get(&node) {
            Some(seq) => self.acknowledged.push((node, *seq)),
            None => {
                self.acknowledged.push((node.clone(), self.seq));
                self.violated("I2", format!("the stop of {node} was acknowledged and is not on the record"));
            }
        }
    }

    /// The door gave leave
    pub(crate) fn permitted(&mut self, effect: EffectId, clock: (Millis, Millis), readable: bool) {
        let known = self.effects.get(&effect.to_string());
        if known.is_none_or(|known| known.settled.is_some()) {
            self.violated("I6", format!("{effect} was permitted without a durable admission"));
        }
        if clock.0.since(clock.1).abs() > 60_000 {
            self.violated("I6", format!("{effect} was permitted while the clocks disagree"));
        }
        if self.time - clock.0.0 > 5_000 {
            self.violated("I6", format!("{effect} was permitted while the clock is behind the record"));
        }
        if !readable {
            self.violated("I6", format!("{effect} was permitted although no policy can be read"));
        }
    }

    /// The door says that a task is open
    pub(crate) fn opened(&mut self, task: TaskId, by_run: bool) {
        let Some(known) = self.tasks.get(&task.to_string()) else {
            return self.violated("I6", format!("{task} was opened without a durable record"));
        };
        if by_run && known.by_run.is_none() {
            self.violated("I11", format!("{task} was asked for by a run and is recorded as somebody else's"));
        }
    }

    /// The door says that the end of an effect is on the record
    pub(crate) fn settled(&mut self, effect: EffectId) {
        let open = |known: &Effect| known.settled.is_none() && known.stopped.is_none();
        if self.effects.get(&effect.to_string()).is_some_and(open) {
            self.violated("I6", format!("{effect} was said to be settled and is not"));
        }
    }

    /// An effect happens now: bytes leave, or a process starts
    pub(crate) fn left(&mut self, effect: EffectId, what: &str, at: Millis) {
        let id = effect.to_string();
        if !self.arrived.insert(id.clone()) {
            self.violated("I12", format!("{id} was sent twice"));
        }
        let Some(effect) = self.effects.get(&id).cloned() else {
            return self.violated("I1", format!("{id} was sent without a durable admission"));
        };
        let admitted = match &effect.kind {
            Kind::Call { tool, .. } | Kind::Poll { tool, .. } => tool.clone(),
            Kind::Child { connector } => format!("child:{connector}"),
        };
        if admitted != what {
            self.violated("I1", format!("{id} was sent as {what} and admitted as {admitted}"));
        }
        if effect.settled.is_some() {
            self.violated("I2", format!("{id} was sent after it was settled"));
        }
        let late = at.0 - (effect.now + PERMIT_MS);
        if late >= 0 {
            self.violated("I2", format!("{id} was sent {late} ms after its permit was void"));
        }
        for link in self.chain(&effect.task) {
            if let Some(over) = self.tasks.get(&link).filter(|task| task.expires <= at.0) {
                let text = format!("{id} was sent after {link} had expired at {}", over.expires);
                self.violated("I2", text);
            }
        }
        if let Some(grant) = effect.grant().and_then(|id| self.grants.get(id)).filter(|grant| grant.until <= at.0) {
            let text = format!("{id} was sent after its grant had expired at {}", grant.until);
            self.violated("I4", text);
        }
        for (grant, _) in &effect.becauses {
            let elevation = self.elevations.get(grant).map(|open| open.until);
            // What goes on with a call that was agreed to in time may take longer.
            let hold = self.approvals.get(grant).and_then(|(hold, _)| self.holds.get(hold));
            let hold = hold.map(|hold| hold.until).filter(|_| effect.is_first());
            if elevation.or(hold).is_some_and(|until| until <= at.0) {
                self.violated("I4", format!("{id} was sent after {grant} had expired"));
            }
        }
        let rests_on = self.rests_on(&effect);
        let over = effect.grant().filter(|grant| self.acknowledged.iter().any(|(node, _)| node == grant));
        if let Some(grant) = over.map(str::to_owned) {
            self.violated("I4", format!("{id} was sent after the end of {grant} was acknowledged"));
        }
        let asked = self.asked.iter().find(|node| rests_on.contains(*node)).cloned();
        if let Some(node) = asked {
            self.violated("I14", format!("{id} was sent after the stop of {node} had been asked for"));
        }
        let recorded =
            self.acknowledged.iter().find(|(node, seq)| rests_on.contains(node) && effect.seq <= *seq).cloned();
        if let Some((node, _)) = recorded {
            self.violated("I2", format!("{id} was sent after the stop of {node} was acknowledged"));
        }
    }

    /// Every node that an effect rests on
    fn rests_on(&self, effect: &Effect) -> BTreeSet<String> {
        let mut nodes = BTreeSet::from(["all".to_owned(), format!("connector:{}", effect.connector())]);
        for link in self.chain(&effect.task) {
            if let Some(task) = self.tasks.get(&link) {
                nodes.extend(task.nodes());
                nodes.insert(task.run.clone());
            }
            nodes.insert(link);
        }
        nodes.extend(effect.grant().map(str::to_owned));
        for (grant, _) in &effect.becauses {
            nodes.extend(self.elevations.contains_key(grant).then(|| grant.clone()));
            nodes.extend(self.approvals.get(grant).map(|(_, user)| format!("user:{user}")));
        }
        nodes
    }

    /// A task and those above it
    fn chain(&self, task: &str) -> Vec<String> {
        let parent = |task: &String| self.tasks.get(task).and_then(|task| task.parent.clone());
        std::iter::successors(Some(task.to_owned()), parent).take(16).collect()
    }

    /// What is not settled although everything has come to rest
    pub(crate) fn unsettled(&self) -> Vec<Found> {
        let open = self.effects.iter().filter(|(_, effect)| match effect.kind {
            Kind::Call { .. } | Kind::Poll { .. } => effect.settled.is_none(),
            Kind::Child { .. } => effect.stopped.is_none() && self.over(&effect.task) && !effect.never_started(),
        });
        open.map(|(id, effect)| ("I5", format!("{id} ({:?}) was never settled", effect.kind))).collect()
    }

    /// Whether a task or one above it is over on the record
    pub(crate) fn over(&self, task: &str) -> bool {
        self.chain(task).iter().any(|link| self.tasks.get(link).is_none_or(|task| task.ended.is_some()))
    }

    /// Whether what an effect was admitted for is over: its task, or the connector as it was then
    pub(crate) fn outlived(&self, effect: EffectId) -> bool {
        self.effects.get(&effect.to_string()).is_none_or(|effect| {
            let connector = self.standing.get(&format!("connector:{}", effect.connector())).copied().flatten();
            let ended = effect.grant().and_then(|id| self.grants.get(id)).is_some_and(|grant| grant.ended.is_some());
            ended || self.over(&effect.task) || connector.is_none_or(|since| since > effect.seq)
        })
    }

    /// Tasks that are not over although their time has passed
    pub(crate) fn overdue(&self, now: Millis) -> Vec<Found> {
        let live = self.tasks.iter().filter(|(_, task)| task.ended.is_none());
        let passed = live.filter_map(|(id, task)| {
            let orphan = self.over(id).then_some("below a task that is over");
            Some((id, self.passed(id, task, now.0).or(orphan)?))
        });
        let grants = self.grants.iter().filter(|(_, grant)| grant.ended.is_none() && grant.until <= now.0);
        let lingering = self.lingering(now.0).into_iter();
        let lingering = lingering.map(|id| ("I5", format!("{id} lives on although it is expired")));
        let passed = passed.map(|(id, why)| ("I5", format!("{id} lives on although it is {why}"))).chain(lingering);
        passed.chain(grants.map(|(id, _)| ("I5", format!("{id} lives on although it is expired")))).collect()
    }

    /// What the ledger says about counts and about what never happened
    pub(crate) fn ledger(&self, arrivals: &BTreeMap<EffectId, (u32, bool)>) -> Vec<Found> {
        let mut found = Vec::new();
        let done: BTreeSet<String> =
            arrivals.iter().filter(|(_, (_, done))| *done).map(|(id, _)| id.to_string()).collect();
        for (id, effect) in &self.effects {
            if effect.is_leg() && effect.succeeded() && !done.contains(id) {
                found.push(("I13", format!("{id} is recorded as a success and was never carried out")));
            }
        }
        let mut uses: BTreeMap<(String, String), u32> = BTreeMap::new();
        for (id, (count, _)) in arrivals {
            let Some(effect) = self.effects.get(&id.to_string()) else { continue };
            if effect.settled.as_ref().is_some_and(|settled| settled.end == "not_sent") {
                found.push(("I12", format!("{id} was settled as not sent and arrived")));
            }
            // A grant lets calls go beyond their counts; the others may not.
            for (link, steps) in effect.counted.iter().filter(|_| effect.because.is_none()) {
                *uses.entry((link.clone(), String::new())).or_default() += count * u32::from(effect.is_first());
                for step in steps {
                    *uses.entry((link.clone(), step.clone())).or_default() += count;
                }
            }
        }
        for ((link, step), used) in uses {
            let Some(task) = self.tasks.get(&link) else { continue };
            let Some(spec) = self.library.version(&task.bundle).and_then(|version| version.purpose(&task.purpose))
            else {
                continue;
            };
            let limit = match step.as_str() {
                "" => spec.calls,
                // Where entries overlap, one of them may be used beyond its count as long as another has room.
                _ if task.purpose == "support" => None,
                name => spec.steps.iter().find(|step| step.name == name).and_then(|step| step.times),
            };
            if limit.is_some_and(|limit| used > limit) {
                found.push(("I12", format!("{link} used step {step:?} {used} times, at most {limit:?}")));
            }
        }
        found
    }
}
