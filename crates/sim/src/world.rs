//! The scheduler: what happens next, between any two steps of the gateway.

mod agents;
mod mishaps;
mod people;
mod script;

use crate::{
    disk::Disk,
    gateway::Gateway,
    host::Host,
    library::{Cache, Library},
    options::{Crash, Options, Sabotage},
    oracle::Oracle,
    random::Random,
    report::{Report, Violation},
    upstream::{Fate, Upstream},
    versions::TIMEOUT_MS,
};
use portreeve_core::{
    names::{EffectId, GrantId, HoldId, MemoryId, RunId, TaskId, Tool},
    outside::{Answer, Asking, Said},
    request::{Call, Clock},
    time::Millis,
};

/// Everything there is
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) env: Env,
    pub(crate) gateway: Option<Gateway>,
}

/// Everything that survives the process
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) random: Random,
    pub(crate) options: Options,
    pub(crate) disk: Disk,
    pub(crate) library: Library,
    pub(crate) cache: Cache,
    pub(crate) host: Host,
    pub(crate) upstream: Upstream,
    pub(crate) oracle: Oracle,
    pub(crate) report: Report,
    /// Tasks that agents know of
    pub(crate) known: Vec<Known>,
    /// Tasks that somebody asked for
    pub(crate) wanted: Vec<Known>,
    /// Grants that somebody asked for
    pub(crate) grants: Vec<GrantId>,
    /// Calls that were answered and are not finished, as their agents know them
    pub(crate) pending: Vec<Call>,
    /// Questions that somebody knows of
    pub(crate) questions: Vec<HoldId>,
    /// Calls that agents were told to repeat
    pub(crate) told: Vec<Call>,
    ids: u64,
    /// Real time that has passed
    real: i64,
    /// What the wall clock adds to it
    wall: i64,
    /// What the wall clock added when the process started
    anchor: i64,
    /// Nothing fails any more
    calm: bool,
}

/// A task as its agent knows it
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) task: TaskId,
    pub(crate) run: RunId,
    pub(crate) memory: MemoryId,
    pub(crate) parent: Option<TaskId>,
    pub(crate) order: String,
}

impl Env {
    fn new(seed: u64, options: Options) -> Self {
        let library = Library::new(options.sabotage);
        Self {
            random: Random::new(seed),
            options,
            disk: Disk::new(options.sabotage == Some(Sabotage::DiskLies)),
            oracle: Oracle::new(library.clone()),
            library,
            cache: Cache::default(),
            host: Host::default(),
            upstream: Upstream::default(),
            report: Report { seed, ..Report::default() },
            known: Vec::new(),
            wanted: Vec::new(),
            grants: Vec::new(),
            pending: Vec::new(),
            questions: Vec::new(),
            told: Vec::new(),
            ids: 0,
            real: 1_800_000_000_000,
            wall: 0,
            anchor: 0,
            calm: !options.faults,
        }
    }

    /// An id that was never drawn before
    pub(crate) fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// What the process takes for the time
    pub(crate) fn clock(&self) -> Clock {
        let mut clock = self.true_clock();
        if self.sabotage(Sabotage::TrustWallClock) {
            clock.steady = clock.wall;
        }
        clock
    }

    /// What its clocks really say
    pub(crate) fn true_clock(&self) -> Clock {
        Clock { steady: Millis(self.real + self.anchor), wall: Millis(self.real + self.wall) }
    }

    pub(crate) fn pass(&mut self, ms: i64) {
        self.real += ms.max(0);
    }

    pub(crate) fn sabotage(&self, sabotage: Sabotage) -> bool {
        self.options.sabotage == Some(sabotage)
    }

    /// Whether something that can fail fails now
    pub(crate) fn fails(&mut self, percent: u64) -> bool {
        !self.calm && self.random.chance(percent)
    }

    /// Whether a stop has every means to be recorded
    pub(crate) fn stop_must_work(&self) -> bool {
        self.disk.is_full() && !self.disk.was_disturbed()
    }

    pub(crate) fn violated(&mut self, invariant: &'static str, what: String) {
        let violation = Violation { invariant, what, step: self.report.steps };
        if self.options.trace {
            self.report.trace.push(format!("{:>5} !! {invariant} {}", self.report.steps, violation.what));
        }
        self.report.violations.push(violation);
    }

    pub(crate) fn trace(&mut self, line: impl FnOnce() -> String) {
        if self.options.trace {
            let clock = self.true_clock();
            self.report.trace.push(format!("{:>5} {} {}", self.report.steps, clock.steady.0 % 10_000_000, line()));
        }
    }

    /// Bytes of a call leave
    pub(crate) fn deliver(&mut self, effect: EffectId, tool: Tool) -> Fate {
        let at = self.true_clock().steady;
        self.oracle.sync(&self.disk);
        self.oracle.left(effect, &tool.to_string(), at);
        self.report.sent += 1;
        let legs = !self.options.scripted;
        self.upstream.receive(effect, TIMEOUT_MS, (&mut self.random, !self.calm), legs)
    }

    /// An outside decision point is asked; it may refuse, be silent, or talk nonsense
    pub(crate) fn consult(&mut self, effect: EffectId, asking: &Asking) -> Answer {
        let at = self.clock().steady;
        let said = match self.random.below(100) {
            0..80 => Said::Permit,
            80..90 => Said::Refuse(None),
            90..95 => Said::Silent("nothing came".to_owned()),
            _ => Said::Failed("no JSON".to_owned()),
        };
        let point = &asking.point.name;
        self.oracle.consulted(effect, (point.as_str(), asking.question.to_string()), said == Said::Permit);
        let said = if self.sabotage(Sabotage::IgnoreAnswers) { Said::Permit } else { said };
        Answer { point: point.clone(), question: asking.question, effect, at, said }
    }

    /// An agent hears that its call goes on
    pub(crate) fn asked(&mut self, call: Call) {
        self.pending.push(call);
        if self.pending.len() > KNOWN_MAX {
            self.pending.remove(0);
        }
    }

    /// Somebody hears of a question
    pub(crate) fn held(&mut self, hold: HoldId) {
        if !self.questions.contains(&hold) {
            self.questions.push(hold);
        }
        if self.questions.len() > KNOWN_MAX {
            self.questions.remove(0);
        }
    }

    /// An agent hears that repeating its call resumes it
    pub(crate) fn tell(&mut self, call: Call) {
        self.told.push(call);
        if self.told.len() > KNOWN_MAX {
            self.told.remove(0);
        }
    }

    /// An agent hears that its task is open
    pub(crate) fn opened(&mut self, task: TaskId) {
        self.known.extend(self.wanted.iter().find(|known| known.task == task).cloned());
        if self.known.len() > KNOWN_MAX {
            self.known.remove(0);
        }
    }
}

impl World {
    pub(crate) fn new(seed: u64, options: Options) -> Self {
        Self { env: Env::new(seed, options), gateway: None }
    }

    /// Plays the whole run
    pub(crate) fn play(mut self) -> Report {
        self.set_up();
        self.rest();
        if self.env.options.scripted {
            self.script();
        } else {
            while self.env.report.steps < self.env.options.steps {
                self.step();
                if self.env.report.steps % 128 == 127 && self.env.random.chance(70) {
                    self.rest();
                    self.check_at_rest();
                }
            }
        }
        self.rest();
        self.check_at_rest();
        self.env.pass(60 * 60 * 1_000);
        self.rest();
        self.check_at_rest();
        self.check_the_record();
        (self.env.report.approved, self.env.report.opened) = self.env.oracle.agreements();
        self.env.report.groups = u64::try_from(self.env.disk.durable(0).len()).unwrap_or_default();
        self.env.report
    }

    /// Counts a step, and crashes if it is the one to crash at
    pub(crate) fn tick(&mut self) {
        self.env.report.steps += 1;
        match self.env.options.crash {
            Some((step, crash)) if step == self.env.report.steps => self.crash(crash),
            _ => {}
        }
    }

    /// The process dies now, or in its next append
    pub(crate) fn crash(&mut self, crash: Crash) {
        use crate::disk::Fault;
        match crash {
            Crash::Between => self.die(),
            Crash::Landed => self.env.disk.arm(Fault::DiesLanded),
            Crash::Lost => self.env.disk.arm(Fault::DiesLost),
        }
    }

    fn die(&mut self) {
        self.env.trace(|| "CRASH".to_owned());
        self.env.report.crashes += 1;
        self.gateway = None;
        self.env.disk.restart();
        self.env.oracle.restarted();
        // The steady clock is anchored to the wall clock at start.
        self.env.anchor = self.env.wall;
        let broken = self.env.fails(5);
        self.env.library.set_broken(broken);
        if self.env.random.chance(50) {
            self.env.cache.forget();
        }
    }

    pub(crate) fn turn(&mut self, count: usize) {
        let Some(gateway) = &mut self.gateway else { return };
        if !gateway.turn(count, &mut self.env) {
            self.env.oracle.sync(&self.env.disk);
            self.die();
        }
        self.heed();
    }

    /// Boots a new life if there is none
    fn boot(&mut self) {
        self.gateway = Gateway::boot(&mut self.env);
        let up = self.gateway.is_some();
        self.env.trace(|| format!("boot: {up}"));
        if self.env.disk.is_dead() {
            self.env.oracle.sync(&self.env.disk);
            self.die();
        }
        self.heed();
    }

    /// Takes down what the oracle found
    fn heed(&mut self) {
        self.env.oracle.sync(&self.env.disk);
        for (invariant, what) in std::mem::take(&mut self.env.oracle.found) {
            self.env.violated(invariant, what);
        }
    }

    /// One random step
    fn step(&mut self) {
        self.tick();
        // Rare enough that it would not be met otherwise: something used between two snapshots, and then a crash.
        if self.env.options.sabotage.is_some_and(Sabotage::is_in_snapshots) {
            // What can be used up between two steps needs one of each; the others do not.
            if self.env.sabotage(Sabotage::KeepPending) || self.env.random.chance(60) {
                self.keep_snapshot();
            }
            if self.env.random.chance(3) {
                self.die();
            }
        }
        let Some(gateway) = &mut self.gateway else { return self.boot() };
        let ready = gateway.ready(self.env.clock().steady);
        let dice = self.env.random.below(100);
        match dice {
            0..36 if !ready.is_empty() => {
                if let Some(id) = self.env.random.pick(&ready).copied() {
                    gateway.perform(id, &mut self.env);
                }
            }
            36..62 if gateway.queued() > 0 => {
                let queued = u64::try_from(gateway.queued()).unwrap_or(1);
                let count = usize::try_from(1 + self.env.random.below(queued)).unwrap_or(1);
                self.turn(count);
            }
            62..70 if gateway.wakes(&self.env) => self.turn(0),
            62..70 => {
                gateway.due(&mut self.env);
            }
            70..75 => {
                if let Some(at) = gateway.next_answer() {
                    self.env.pass(at.since(self.env.clock().steady));
                    gateway.hear(&mut self.env);
                }
            }
            75..79 => self.let_time_pass(),
            79..86 => self.somebody_answers(),
            94..96 => self.someone_stops_something(),
            93 => self.someone_observes(),
            96 => self.policy_changes(),
            97.. => {
                if self.env.disk.is_full() && self.env.random.chance(60) {
                    self.env.disk.heal();
                }
                self.mishap();
            }
            _ => self.agent_acts(),
        }
        self.heed();
    }

    fn let_time_pass(&mut self) {
        let ms = match self.env.random.below(20) {
            0 => self.env.random.millis(30_000),
            1..4 => self.env.random.millis(4_000),
            _ => self.env.random.millis(200),
        };
        self.env.pass(ms);
    }

    /// Everything is well again, and everything that can happen happens
    pub(crate) fn rest(&mut self) {
        let calm = std::mem::replace(&mut self.env.calm, true);
        self.env.disk.heal();
        self.env.wall = self.env.anchor;
        self.env.trace(|| "rest".to_owned());
        let behind = self.env.oracle.time().since(self.env.clock().steady);
        // Long enough for the door to try again.
        self.env.pass(behind.max(1_500));
        for _ in 0..REST_STEPS_MAX {
            if !self.rest_step() {
                self.env.calm = calm;
                return;
            }
        }
        self.env.calm = calm;
        self.env.violated("I5", format!("nothing comes to rest within {REST_STEPS_MAX} steps"));
    }

    /// The next thing in a fixed order; false if nothing is left
    fn rest_step(&mut self) -> bool {
        let Some(gateway) = &mut self.gateway else {
            self.tick();
            self.boot();
            return true;
        };
        if let Some(id) = gateway.ready(self.env.clock().steady).first().copied() {
            gateway.perform(id, &mut self.env);
        } else if gateway.queued() > 0 {
            self.env.pass(40);
            self.turn(usize::MAX);
        } else if gateway.due(&mut self.env) {
            self.env.pass(1);
        } else if let Some(at) = gateway.next_answer() {
            self.env.pass(at.since(self.env.clock().steady));
            gateway.hear(&mut self.env);
        } else if gateway.wakes(&self.env) {
            self.turn(0);
        } else {
            return false;
        }
        self.heed();
        self.tick();
        true
    }
}

/// Tasks that agents work on at a time
const KNOWN_MAX: usize = 5;
/// More than any run needs to come to rest
const REST_STEPS_MAX: u32 = 5_000;
