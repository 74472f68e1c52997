//! What would take back what a task did, read from its record: which calls, backwards, with which arguments.
//!
//! Nothing is asked of anybody, and nothing is guessed: where a value was not recorded or the outcome of a call is not
//! known, the call has no undo, and the plan says so. The calls of a plan are those that a task with
//! [`undoes`](crate::request::Open::undoes) may make.

mod taking;

pub use taking::{Stood, Taking, TakingStep, takings};

use crate::{
    event::{Admitted, Began, CallFacts, End, Event, Record, WasBefore, What},
    hash::Hash,
    names::{EffectId, TaskId, Tool},
    operation::Operation,
    path::FieldPath,
    policy::{Bundle, Class, Entry, Restored, Undo},
    time::Millis,
    value::Value,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// What would take back what a task and the tasks below it did
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The task
    pub of: TaskId,
    /// Everything that it changed, or may have, the last first
    pub deeds: Vec<Deed>,
}

/// Something that a task changed, or may have
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// The call; of several legs, the first
    pub effect: EffectId,
    /// The task that made it
    pub task: TaskId,
    /// When
    pub at: Millis,
    /// What was called
    pub tool: Tool,
    /// Of which class it was
    pub class: Class,
    /// With which arguments; nothing where the record keeps no value
    pub arguments: BTreeMap<String, Option<Value>>,
    /// What takes it back
    pub back: Back,
}

/// What takes something back
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Back {
    /// This call
    Call {
        /// The tool
        tool: Tool,
        /// Its arguments
        arguments: BTreeMap<String, Value>,
    },
    /// Nothing, or nothing any more
    Not(Not),
}

/// Why nothing takes a call back
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Not {
    /// The connector said that it failed
    Failed,
    /// It is under way
    Open,
    /// It was answered by a question or a task of the connector, and its end is not known
    Unfinished,
    /// Whether it happened is not known
    Unknown,
    /// The policy names no undo for it
    Undeclared,
    /// The version of the policy under which it was made cannot be read
    Unreadable,
    /// A value that its undo needs is not on the record
    Unrecorded {
        /// As the policy writes it: `{result.id}`
        value: String,
    },
    /// This task took it back
    Undone {
        /// The undo
        by: TaskId,
    },
    /// This task is about to
    Undoing {
        /// The undo
        by: TaskId,
    },
    /// This task made the undoing call, and whether it happened is not known
    Doubtful {
        /// The undo
        by: TaskId,
    },
    /// Somebody said that it is to be left as it is
    Skipped,
}

impl Not {
    /// One word for it
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Open => "open",
            Self::Unfinished => "unfinished",
            Self::Unknown => "unknown",
            Self::Undeclared => "undeclared",
            Self::Unreadable => "unreadable",
            Self::Unrecorded { .. } => "unrecorded",
            Self::Undone { .. } => "undone",
            Self::Undoing { .. } => "undoing",
            Self::Doubtful { .. } => "doubtful",
            Self::Skipped => "skipped",
        }
    }
}

impl fmt::Display for Not {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed => f.write_str("it failed, so there is nothing to undo"),
            Self::Open => f.write_str("it is still under way"),
            Self::Unfinished => f.write_str("it was never seen to end; a person has to look"),
            Self::Unknown => f.write_str("whether it happened is not known; a person has to look"),
            Self::Undeclared => f.write_str("the policy names no undo for it"),
            Self::Unreadable => f.write_str("the policy that it was made under cannot be read"),
            Self::Unrecorded { value } => write!(f, "its undo needs {value}, which is not on the record"),
            Self::Undone { by } => write!(f, "undone by {by}"),
            Self::Undoing { by } => write!(f, "{by} is about to undo it"),
            Self::Doubtful { by } => write!(f, "whether {by} undid it is not known; a person has to look"),
            Self::Skipped => f.write_str("left as it is, as you said"),
        }
    }
}

impl Plan {
    /// What would take back what `of` did
    ///
    /// `records` are those of the task, of its ancestors, of the tasks below it and of the tasks that took something
    /// of all these back, in the order of the log; others do no harm. `bundle` reads a version of the policy, and
    /// `lives` says whether a task may still do something.
    #[must_use]
    pub fn read<'r>(
        of: TaskId,
        records: impl IntoIterator<Item = &'r Record> + Clone,
        bundle: impl Fn(Hash) -> Option<Arc<Bundle>>,
        lives: impl Fn(TaskId) -> bool,
    ) -> Self {
        let mut taken = BTreeMap::new();
        for taking in takings(records.clone()) {
            taking.note(lives(taking.task), &mut taken);
        }
        let done = Done::read(of, records);
        let deed = |(effect, call): (EffectId, &Call<'_>)| {
            let back = match taken.get(&effect).cloned().or_else(|| call.unsettled()) {
                Some(not) => Back::Not(not),
                None => done.back(call, &bundle),
            };
            let facts = call.facts;
            let arguments = facts.arguments.iter().map(|(name, given)| (name.clone(), given.value.value())).collect();
            let (tool, class) = (facts.tool.clone(), facts.class);
            Deed { effect, task: call.task, at: call.at, tool, class, arguments, back }
        };
        let deeds = done.order.iter().rev().filter_map(|effect| Some((*effect, done.calls.get(effect)?)));
        Self { of, deeds: deeds.filter(|(_, call)| call.changed()).map(deed).collect() }
    }

    /// Leaves these calls as they are
    ///
    /// # Errors
    /// The first that is none of this plan.
    pub fn skip(&mut self, effects: &BTreeSet<EffectId>) -> Result<(), EffectId> {
        for effect in effects {
            let deed = self.deeds.iter_mut().find(|deed| deed.effect == *effect).ok_or(*effect)?;
            if !matches!(deed.back, Back::Not(Not::Undone { .. })) {
                deed.back = Back::Not(Not::Skipped);
            }
        }
        Ok(())
    }

    /// The first call of which it is not known whether it was taken back: nothing goes on behind it unasked
    #[must_use]
    pub fn doubtful(&self) -> Option<&Deed> {
        self.deeds.iter().find(|deed| matches!(deed.back, Back::Not(Not::Doubtful { .. })))
    }

    /// The calls to make, in their order
    #[must_use]
    pub fn steps(&self) -> Vec<(EffectId, Tool, BTreeMap<String, Value>)> {
        let step = |deed: &Deed| match &deed.back {
            Back::Call { tool, arguments } => Some((deed.effect, tool.clone(), arguments.clone())),
            Back::Not(_) => None,
        };
        self.deeds.iter().filter_map(step).collect()
    }
}

/// What the record says of a task and those below it
#[derive(Default)]
struct Done<'r> {
    tasks: BTreeMap<TaskId, &'r Began>,
    /// First legs, in the order in which they were admitted
    order: Vec<EffectId>,
    calls: BTreeMap<EffectId, Call<'r>>,
}

/// A call, over all of its legs
struct Call<'r> {
    task: TaskId,
    at: Millis,
    bundle: Hash,
    facts: &'r CallFacts,
    /// What was read before it
    before: Option<&'r WasBefore>,
    /// Legs that are under way
    open: u32,
    /// How the last leg that left ended, or the look at it that saw it end
    end: Option<&'r End>,
}

/// What an effect is to the call that it belongs to
#[derive(Clone, Copy)]
enum Part {
    Leg(EffectId),
    Look(EffectId),
}

impl<'r> Done<'r> {
    fn read(of: TaskId, records: impl IntoIterator<Item = &'r Record>) -> Self {
        let mut done = Self::default();
        let mut parts = BTreeMap::new();
        for record in records {
            match &record.event {
                Event::Began(began) => {
                    let below = began.parent.is_some_and(|parent| done.tasks.contains_key(&parent));
                    if began.task == of || below {
                        done.tasks.insert(began.task, began);
                    }
                }
                Event::Admitted(admitted) => {
                    if let Some(part) = done.admitted(admitted, record.time, &parts) {
                        parts.insert(admitted.effect, part);
                    }
                }
                Event::Settled(settled) => {
                    let Some(part) = parts.get(&settled.effect) else { continue };
                    let (Part::Leg(first) | Part::Look(first)) = part;
                    let Some(call) = done.calls.get_mut(first) else { continue };
                    match part {
                        Part::Leg(_) => call.settled(&settled.end),
                        Part::Look(_) => call.seen(&settled.end),
                    }
                }
                _ => {}
            }
        }
        done
    }

    fn admitted(&mut self, admitted: &'r Admitted, at: Millis, parts: &BTreeMap<EffectId, Part>) -> Option<Part> {
        let task = admitted.task.filter(|task| self.tasks.contains_key(task))?;
        let first = |of: EffectId| match parts.get(&of) {
            Some(Part::Leg(first) | Part::Look(first)) => *first,
            None => of,
        };
        match &admitted.what {
            What::Call(facts) => {
                let before = facts.before.as_ref();
                let earlier = facts.continues.map(first);
                if let Some((of, call)) = earlier.and_then(|of| Some((of, self.calls.get_mut(&of)?))) {
                    (call.bundle, call.facts, call.open) = (admitted.bundle, facts, call.open + 1);
                    call.before = call.before.or(before);
                    return Some(Part::Leg(of));
                }
                let call = Call { task, at, bundle: admitted.bundle, facts, before, open: 1, end: None };
                self.order.push(admitted.effect);
                self.calls.insert(admitted.effect, call);
                Some(Part::Leg(admitted.effect))
            }
            What::Poll(poll) => Some(Part::Look(first(poll.of))),
            What::Child { .. } | What::Lease(_) | What::Notice { .. } => None,
        }
    }

    fn back(&self, call: &Call<'_>, bundle: &impl Fn(Hash) -> Option<Arc<Bundle>>) -> Back {
        let Some(began) = self.tasks.get(&call.task) else { return Back::Not(Not::Unreadable) };
        let charge = call.facts.charges.iter().find(|charge| charge.task == call.task);
        // As it was judged: the version that was current, then the one that its task was opened under.
        for version in [call.bundle, began.bundle] {
            let Some(bundle) = bundle(version) else { return Back::Not(Not::Unreadable) };
            let tool = &call.facts.tool;
            let purpose = bundle.purposes.get(&began.purpose);
            let entries = purpose.into_iter().flat_map(|purpose| purpose.entries_of(tool));
            let charged = |entry: &&Entry| charge.is_some_and(|charge| charge.entries.contains(&entry.name));
            let undo = entries.filter(charged).find_map(|entry| entry.undo.as_ref());
            let profile = || bundle.profile(tool).and_then(|profile| profile.undo.as_ref());
            if let Some(undo) = undo.or_else(profile) {
                return filled(undo, call, began).unwrap_or_else(Back::Not);
            }
        }
        Back::Not(Not::Undeclared)
    }
}

impl<'r> Call<'r> {
    /// Whether it changed something, or may have; what never left did not
    fn changed(&self) -> bool {
        let left = self.open > 0 || !matches!(self.end, Some(End::NotSent { .. }));
        // What a client answers is no deed of its own.
        let question = self.facts.tool.operation().is_some_and(Operation::is_question);
        left && self.facts.class >= Class::Write && !question
    }

    fn settled(&mut self, end: &'r End) {
        self.open = self.open.saturating_sub(1);
        // A leg that never left leaves the call where the one before it did.
        if self.end.is_none() || !matches!(end, End::NotSent { .. }) {
            self.end = Some(end);
        }
    }

    /// Somebody looked at how it stands; only a good end is one
    fn seen(&mut self, end: &'r End) {
        if matches!(end, End::Done { ok: true, .. }) {
            self.end = Some(end);
        }
    }

    /// Why there is nothing that could be undone by now
    fn unsettled(&self) -> Option<Not> {
        match self.end {
            _ if self.open > 0 => Some(Not::Open),
            Some(End::Done { ok: true, .. }) => None,
            Some(End::Done { ok: false, .. } | End::NotSent { .. }) => Some(Not::Failed),
            Some(End::Pending { .. } | End::Lease(_)) | None => Some(Not::Unfinished),
            Some(End::Unknown { .. }) => Some(Not::Unknown),
        }
    }

    /// Values of a field that it returned
    fn returned(&self, field: &FieldPath) -> Option<Value> {
        let Some(End::Done { returned, .. }) = self.end else { return None };
        let (_, values) = returned.iter().find(|(source, _)| source.field == *field)?;
        match values.value()? {
            Value::Array(values) => one(values),
            _ => None,
        }
    }
}

/// The undoing call with its arguments
fn filled(undo: &Undo, call: &Call<'_>, began: &Began) -> Result<Back, Not> {
    let given: BTreeMap<String, Value> =
        call.facts.arguments.iter().filter_map(|(name, given)| Some((name.clone(), given.value.value()?))).collect();
    let value = |restored: &Restored| match restored {
        Restored::Literal(value) => Some(value.clone()),
        Restored::Parameter(name) => began.parameters.get(name).and_then(|given| given.value.value()),
        Restored::Argument(path) => {
            let reached = path.select(&given);
            if reached.broken { None } else { one(reached.values.into_iter().flatten().cloned().collect()) }
        }
        Restored::Result(field) => call.returned(field),
        Restored::Before(field) => call.before?.values.get(&field.to_string())?.value(),
    };
    let argument = |(name, restored): (&String, &Restored)| match value(restored) {
        Some(value) => Ok((name.clone(), value)),
        None => Err(Not::Unrecorded { value: restored.to_string().trim_matches('"').to_owned() }),
    };
    let arguments = undo.arguments.iter().map(argument).collect::<Result<_, _>>()?;
    Ok(Back::Call { tool: undo.tool.clone(), arguments })
}

/// The one value, if it is one
fn one(values: Vec<Value>) -> Option<Value> {
    <[Value; 1]>::try_from(values).ok().map(|[value]| value).filter(|value| *value != Value::Null)
}
