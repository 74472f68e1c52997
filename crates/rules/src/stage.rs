//! A task that nobody serves: opened under a version of the policy, with steps behind it, for the real judge.
//!
//! Cases, explanations and traces are judged here. The state is folded from events as the door writes them, so
//! nothing is judged in another way than in service.

mod people;

pub use people::Opens;

use crate::{Loaded, fits::Fits, operation};
use portreeve_core::{
    commit::Committed,
    event::{
        Accepted, Actor, Admitted, Began, CallFacts, Changed, Charge, ChosenBy, End, Event, Given, Inputs, Record,
        Settled, What,
    },
    hash::Hash,
    judge::{self, Admission, Judged, Shelf, judge_call, judge_open},
    names::{EffectId, HoldId, MemoryId, Name, RunId, TaskId, Tool, ToolName},
    node::Node,
    offer::Identity,
    operation::Operation,
    outside::{Answer, Said},
    pattern::Source,
    policy::{Bundle, Class, PersonRole, Purpose, User, Users},
    reason::{Reason, Verdict, Word, verdict},
    request::{Call, Clock, Fit, Open, Read},
    state::State,
    time::Millis,
    value::Value,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How a task is opened for a judgement
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Under which purpose
    pub purpose: Name,
    /// Who works; the first agent of the purpose if nobody is named
    pub agent: Option<Name>,
    /// On whose behalf
    pub user: For,
    /// With which values
    pub parameters: BTreeMap<Name, Value>,
}

/// On whose behalf a task is opened for a judgement
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum For {
    /// The first user that the purpose is open to, if it is for users at all
    #[default]
    Anybody,
    /// Nobody
    Nobody,
    /// This user
    User(Name),
}

/// How often a judgement wants to know more: outside decision points, then what is there before
const ROUNDS_MAX: usize = 4;

/// What the judge says of one call
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Every unmet reason, the most useful one first
    pub reasons: Vec<Reason>,
    /// What admitting it means, if nothing is unmet
    pub admission: Option<Admission>,
    /// Outside decision points on the network that would be asked; here each counts as a yes
    pub unasked: Vec<Name>,
    /// The question that would be put to people, and what it would be admitted as
    pub held: Option<Box<judge::Held>>,
}

impl Judgement {
    /// Judges a call in a state
    ///
    /// Nobody is asked here, and nothing is read: what outside decision points would say counts as a yes, and what
    /// would be read before as there.
    #[must_use]
    pub fn of(state: &State, shelf: &Shelf, call: &Call, clock: Clock) -> Self {
        let (mut call, mut unasked) = (call.clone(), BTreeSet::new());
        let at = judge::now(state, clock).0;
        for _ in 0..ROUNDS_MAX {
            match judge_call(state, shelf, &call, clock) {
                Ok(Judged::Prepare(admission)) => {
                    // A credential would be issued for it, and a connection made with that.
                    let unasked = unasked.into_iter().collect();
                    return Self { reasons: Vec::new(), admission: Some(*admission), unasked, held: None };
                }
                Ok(Judged::Admit(admission)) => {
                    let unasked = unasked.into_iter().collect();
                    return Self { reasons: Vec::new(), admission: Some(admission), unasked, held: None };
                }
                Ok(Judged::Consult(askings)) => {
                    unasked.extend(askings.iter().map(|asking| asking.point.name.clone()));
                    call.answers.extend(askings.iter().map(|asking| Answer {
                        point: asking.point.name.clone(),
                        question: asking.question,
                        effect: call.effect,
                        at,
                        said: Said::Permit,
                    }));
                }
                Ok(Judged::Read(_)) => {
                    call.before = Some(Read { effect: Some(call.effect), values: BTreeMap::new() });
                }
                Ok(Judged::Hold(held)) => {
                    let reasons = held.holding.reasons.clone();
                    return Self { held: Some(held), ..Self::refused(reasons) };
                }
                Ok(Judged::Again(_)) => break,
                Err(reasons) => return Self::refused(reasons),
            }
        }
        Self::refused(Vec::new())
    }

    pub(crate) fn refused(reasons: Vec<Reason>) -> Self {
        Self { reasons, admission: None, unasked: Vec::new(), held: None }
    }

    /// What follows
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        // No reason and no admission is no permit: there was nothing to judge.
        if self.reasons.is_empty() && self.admission.is_none() { Verdict::Deny } else { verdict(&self.reasons) }
    }
}

/// A task, and what it is judged with
#[derive(Debug)]
pub struct Stage<'p> {
    state: State,
    shelf: Shelf,
    bundle: Arc<Bundle>,
    /// Accepted definitions, for the connectors of which the policy holds them
    fits: &'p Fits,
    clock: Clock,
    accepted: BTreeMap<Name, BTreeMap<ToolName, Accepted>>,
    effects: u64,
    /// People who answer what is asked
    people: Vec<Name>,
}

impl<'p> Stage<'p> {
    /// Nothing but a version of the policy in force, at a time
    #[must_use]
    pub fn new(loaded: &'p Loaded, now: Millis) -> Self {
        let bundle = &loaded.bundle;
        let mut stage = Self {
            fits: &loaded.fits,
            state: State::default(),
            shelf: Shelf(BTreeMap::from([(bundle.digest, Arc::clone(bundle))])),
            bundle: Arc::clone(bundle),
            clock: Clock::at(now.0),
            accepted: BTreeMap::new(),
            effects: 0,
            people: Vec::new(),
        };
        stage.registers(BTreeSet::new());
        stage
    }

    /// Puts the policy in force with these nodes and the connectors: whoever else is in it makes no difference here
    fn registers(&mut self, mut nodes: BTreeSet<Node>) {
        nodes.extend(self.bundle.connectors.keys().cloned().map(Node::Connector));
        nodes.extend(self.people.iter().cloned().map(Node::User));
        self.apply(Event::Changed(Changed::Bundle { digest: self.bundle.digest, nodes }));
    }

    /// The state as it is now
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The versions of the policy that are judged with
    #[must_use]
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// The time that is judged with
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Opens the task; the opening is taken all the same if its only reasons are `excused`
    ///
    /// # Errors
    /// Why the task may not be opened.
    pub fn open(&mut self, opening: &Opening, excused: &[Word]) -> Result<(), Vec<Reason>> {
        let bundle = Arc::clone(&self.bundle);
        let purpose = bundle.purposes.get(&opening.purpose);
        let Some(agent) =
            opening.agent.clone().or_else(|| purpose.and_then(|purpose| purpose.open.agents.first().cloned()))
        else {
            return Err(vec![Reason::new(Word::PurposeUnknown, format!("purpose:{}", opening.purpose))]);
        };
        let user = match &opening.user {
            For::User(user) => Some(user.clone()),
            For::Nobody => None,
            For::Anybody => purpose.and_then(|purpose| first_user(&bundle, purpose)),
        };
        let who = [Node::Agent(agent.clone()), Node::Purpose(opening.purpose.clone())];
        self.registers(who.into_iter().chain(user.clone().map(Node::User)).collect());
        let given = |(name, value): (&Name, &Value)| (name.clone(), (value.clone(), ChosenBy::Parameter));
        // What is asked is what a task may do, not whether its agent has shown who it is.
        let proof = bundle.agents.get(&agent).and_then(|agent| agent.proofs.first());
        let proven = proof.map(|proof| proof.imagined(Millis(i64::MAX)));
        let open = Open {
            task: TASK,
            run: RUN,
            memory: MemoryId(1),
            by: Actor::Owner { user: purpose.and_then(|purpose| opener(&bundle, purpose)) },
            agent,
            user,
            purpose: opening.purpose.clone(),
            parameters: opening.parameters.iter().map(given).collect(),
            objective: None,
            parent: None,
            undoes: None,
            proven,
        };
        let mut unmet = judge_open(&self.state, &self.shelf, &open, self.clock).err().unwrap_or_default();
        unmet.retain(|reason| !excused.contains(&reason.word));
        let Some(purpose) = purpose.filter(|_| unmet.is_empty()) else { return Err(unmet) };
        let began = self.began(&open, purpose, &opening.parameters);
        self.apply(Event::Began(Box::new(began)));
        Ok(())
    }

    fn began(&self, open: &Open, purpose: &Purpose, given: &BTreeMap<Name, Value>) -> Began {
        let parameter = |(name, parameter): (&Name, &portreeve_core::policy::Parameter)| {
            let value = parameter.kind.read(given.get(name).or(parameter.default.as_ref())?).ok()?;
            Some((name.clone(), Given { value: Committed::new(&value, SALT), by: ChosenBy::Parameter }))
        };
        Began {
            task: TASK,
            run: RUN,
            memory: open.memory,
            agent: open.agent.clone(),
            user: open.user.clone(),
            purpose: open.purpose.clone(),
            bundle: self.bundle.digest,
            parent: None,
            parameters: purpose.parameters.iter().filter_map(parameter).collect(),
            objective: None,
            expires: self.clock.steady.plus(purpose.limits.expires_after_ms),
            idle_ms: None,
            hold: None,
            review: purpose.break_glass.as_ref().map(|glass| glass.review.clone()),
            undoes: None,
            proven: open.proven.clone(),
        }
    }

    /// A step of the purpose that was used once, succeeded, and returned these values
    pub fn succeed(&mut self, step: &Name, returned: &BTreeMap<Source, Vec<Value>>) {
        let Some(task) = self.state.task(TASK) else { return };
        let uses = self.bundle.purposes.get(&task.purpose).into_iter().flat_map(Purpose::entries);
        let tool = uses.filter(|entry| entry.name == *step).flat_map(|entry| &entry.uses).next();
        let Some(tool) = tool.map(|usage| usage.tool.clone()) else { return };
        let charge = Charge {
            task: TASK,
            entries: BTreeSet::from([step.clone()]),
            sent: 0,
            held: None,
            paid: None,
            elevated: BTreeSet::new(),
        };
        self.admit((&tool, &BTreeMap::new()), Class::Read, Vec::new(), vec![charge], None);
        self.settle(true, 0, returned);
    }

    /// The call of a tool as it would be put to the door
    ///
    /// Its arguments are held against the definition in `pins/`. Where the policy holds none of a connector, a
    /// tool of any name is taken to be accepted, with any arguments.
    pub fn call(&mut self, tool: &Tool, arguments: &BTreeMap<String, Value>) -> Call {
        self.accept(tool);
        let error = self.fits.error(tool, arguments);
        let operation = tool.operation().filter(|operation| !operation.is_pinned());
        let pin = operation.map_or(PIN, |operation| operation::definition(operation).digest);
        Call {
            // Each call would have an effect of its own, and so would a question about it.
            effect: EffectId(u64::MAX - self.next()),
            run: RUN,
            tool: tool.clone(),
            arguments: arguments.clone(),
            fit: Fit { pin, error },
            answers: Vec::new(),
            continues: None,
            before: None,
            lease: None,
        }
    }

    /// Lets time pass
    pub fn wait(&mut self, ms: i64) {
        self.clock = Clock::at(self.clock.steady.plus(ms).0);
    }

    fn next(&mut self) -> u64 {
        self.effects += 1;
        self.effects
    }

    /// Somebody has accepted what the policy holds of a tool
    fn accept(&mut self, tool: &Tool) {
        let accepted = self.accepted.entry(tool.connector.clone()).or_default();
        let is_pinned = tool.operation().is_none_or(Operation::is_pinned);
        if is_pinned && !self.fits.is_gone(tool) {
            accepted.insert(tool.name.clone(), Accepted { digest: PIN, blob: PIN });
        }
        let accepted = accepted.clone();
        let (identity, offer) = (Identity::Plain, Hash::default());
        self.apply(Event::Changed(Changed::Pins { connector: tool.connector.clone(), accepted, identity, offer }));
    }

    /// Judges a call
    #[must_use]
    pub fn judge(&self, call: &Call) -> Judgement {
        Judgement::of(&self.state, &self.shelf, call, self.clock)
    }

    /// Lets a call happen that was permitted, and ends it
    pub fn happen(
        &mut self,
        call: &Call,
        admission: &Admission,
        ok: bool,
        bytes: u64,
        returned: &BTreeMap<Source, Vec<Value>>,
    ) {
        let Admission { class, variants, charges, hold, .. } = admission.clone();
        self.admit((&call.tool, &call.arguments), class, variants, charges, hold);
        self.settle(ok, bytes, returned);
    }

    fn admit(
        &mut self,
        (tool, arguments): (&Tool, &BTreeMap<String, Value>),
        class: Class,
        variants: Vec<Name>,
        charges: Vec<Charge>,
        hold: Option<HoldId>,
    ) {
        let Some(task) = self.state.task(TASK) else { return };
        let given = |(name, value): (&String, &Value)| {
            (name.clone(), Given { value: Committed::new(value, SALT), by: ChosenBy::Model })
        };
        let facts = CallFacts {
            agent: task.agent.clone(),
            user: task.user.clone(),
            purpose: task.purpose.clone(),
            tool: tool.clone(),
            variants,
            class,
            pin: PIN,
            arguments: arguments.iter().map(given).collect(),
            charges,
            continues: None,
            before: None,
            lease: None,
        };
        self.effects += 1;
        let effect = EffectId(self.effects);
        let admitted = Admitted {
            effect,
            task: Some(TASK),
            bundle: self.bundle.digest,
            now: self.clock.steady,
            what: What::Call(facts),
            inputs: Inputs::default(),
            because: Vec::new(),
            hold,
        };
        self.apply(Event::Admitted(Box::new(admitted)));
    }

    fn settle(&mut self, ok: bool, bytes: u64, returned: &BTreeMap<Source, Vec<Value>>) {
        let returned = returned
            .iter()
            .map(|(source, values)| (source.clone(), Committed::new(&Value::Array(values.clone()), SALT)))
            .collect();
        let end = End::Done { ok, bytes, result: None, returned, process: None };
        self.apply(Event::Settled(Settled { effect: EffectId(self.effects), end }));
    }

    fn apply(&mut self, event: Event) {
        self.state.apply(&Record { time: self.clock.steady, actor: Actor::System, event });
    }
}

/// Somebody who may open a purpose that several people have to agree to
fn opener(bundle: &Bundle, purpose: &Purpose) -> Option<Name> {
    let quorum = purpose.open.ask.as_ref()?;
    let may = |user: &User| user.groups.contains(&quorum.who) && user.roles.contains(&PersonRole::Approver);
    bundle.users.iter().find(|(_, user)| may(user)).map(|(name, _)| name.clone())
}

/// The first user that a purpose is open to
fn first_user(bundle: &Bundle, purpose: &Purpose) -> Option<Name> {
    match &purpose.open.users {
        Users::None => None,
        Users::Group(group) => {
            bundle.users.iter().find(|(_, user)| user.groups.contains(group)).map(|(name, _)| name.clone())
        }
        Users::Named(names) => names.first().cloned(),
    }
}

/// Noon of Monday, 5 January 2026 in UTC: what says no time gives the same answer on every day
pub const NOON: Millis = Millis(1_767_614_400_000);
const TASK: TaskId = TaskId(1);
const RUN: RunId = RunId(1);
const PIN: Hash = Hash([0; 32]);
/// Nothing here is kept, so nothing has to be hidden
const SALT: [u8; 16] = [0; 16];
