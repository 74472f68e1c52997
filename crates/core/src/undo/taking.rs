//! How far the tasks that take something back have come.

use super::Not;
use crate::{
    event::{Admitted, Began, End, Event, Record, UndoStep, Undoing, What},
    names::{EffectId, RunId, TaskId},
    node::{Node, Why},
    state::Undoes,
};
use std::collections::BTreeMap;

/// A task that takes back what another one did
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taking {
    /// The task
    pub task: TaskId,
    /// Its run
    pub run: RunId,
    /// Whose calls it takes back
    pub of: TaskId,
    /// What it calls, in this order
    pub steps: Vec<TakingStep>,
    /// Why it was ended, if that is on the record
    pub over: Option<Why>,
}

/// One undoing call
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakingStep {
    /// The call, as it was recorded when the task began
    pub step: UndoStep,
    /// The last effect that it was, if it was admitted
    pub effect: Option<EffectId>,
    /// How far it has come
    pub stood: Stood,
}

/// How far an undoing call has come
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stood {
    /// It has not left
    Waiting,
    /// It is under way
    Open,
    /// It was done
    Done,
    /// The connector said that it failed
    Failed,
    /// Whether it happened is not known
    Unknown,
}

/// The tasks in `records` that take something back, in the order in which they began
#[must_use]
pub fn takings<'r>(records: impl IntoIterator<Item = &'r Record>) -> Vec<Taking> {
    let mut takings: Vec<Taking> = Vec::new();
    let mut effects: BTreeMap<EffectId, (TaskId, usize)> = BTreeMap::new();
    for record in records {
        match &record.event {
            Event::Began(began) => takings.extend(Taking::begun(began)),
            Event::Admitted(admitted) => {
                let Some((task, at)) = place_of(admitted) else { continue };
                let Some(step) = step(&mut takings, (task, at)) else { continue };
                (step.effect, step.stood) = (Some(admitted.effect), Stood::Open);
                effects.insert(admitted.effect, (task, at));
            }
            Event::Settled(settled) => {
                let place = effects.get(&settled.effect);
                let Some(step) = place.and_then(|place| step(&mut takings, *place)) else { continue };
                step.stood = match &settled.end {
                    End::NotSent { .. } => Stood::Waiting,
                    End::Done { ok: true, .. } => Stood::Done,
                    End::Done { ok: false, .. } => Stood::Failed,
                    // Nobody is there who could answer what it asks, or wait for what it began.
                    End::Pending { .. } | End::Lease(_) | End::Unknown { .. } => Stood::Unknown,
                };
            }
            Event::Stopped(stopped) => {
                let is_over = |taking: &&mut Taking| {
                    stopped.node == Node::Task(taking.task) || stopped.node == Node::Run(taking.run)
                };
                if let Some(taking) = takings.iter_mut().find(is_over) {
                    taking.over.get_or_insert(stopped.why);
                }
            }
            _ => {}
        }
    }
    takings
}

/// The step of which task, by its place, that a call is
fn place_of(admitted: &Admitted) -> Option<(TaskId, usize)> {
    let (What::Call(facts), Some(task)) = (&admitted.what, admitted.task) else { return None };
    let charge = facts.charges.iter().find(|charge| charge.task == task)?;
    Some((task, charge.entries.iter().find_map(Undoes::place)?))
}

fn step(takings: &mut [Taking], (task, at): (TaskId, usize)) -> Option<&mut TakingStep> {
    takings.iter_mut().find(|taking| taking.task == task)?.steps.get_mut(at)
}

impl Taking {
    fn begun(began: &Began) -> Option<Self> {
        let Undoing { of, steps } = began.undoes.as_ref()?;
        let step = |step: &UndoStep| TakingStep { step: step.clone(), effect: None, stood: Stood::Waiting };
        Some(Self { task: began.task, run: began.run, of: *of, steps: steps.iter().map(step).collect(), over: None })
    }

    /// Whether all of it is done
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.steps.iter().all(|step| step.stood == Stood::Done)
    }

    /// The first step that is not done
    #[must_use]
    pub fn next(&self) -> Option<&TakingStep> {
        self.steps.iter().find(|step| step.stood != Stood::Done)
    }

    /// Says of each call that it takes back how far that has come; what came to nothing says nothing
    pub(super) fn note(&self, lives: bool, taken: &mut BTreeMap<EffectId, Not>) {
        let by = self.task;
        for TakingStep { step, stood, .. } in &self.steps {
            let not = match stood {
                Stood::Done => Not::Undone { by },
                Stood::Unknown => Not::Doubtful { by },
                Stood::Open | Stood::Waiting if lives => Not::Undoing { by },
                // It was under way when its task ended, and nobody saw its end yet.
                Stood::Open => Not::Doubtful { by },
                Stood::Waiting | Stood::Failed => continue,
            };
            let known = taken.entry(step.of).or_insert_with(|| not.clone());
            // What is done stays done; what somebody does after a doubt settles it.
            if !matches!(known, Not::Undone { .. }) {
                *known = not;
            }
        }
    }
}
