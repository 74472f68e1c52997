//! The legs of calls: what was answered and is not finished, and what goes on with it.

use super::{OpenWhat, State};
use crate::time::Millis;
use crate::{
    event::{Charge, End, Settled},
    names::{EffectId, GrantId, HoldId, Name, TaskId, Tool},
    policy::Class,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A call under way, or a leg of one
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCall {
    /// What is called
    pub tool: Tool,
    /// What it is charged to
    pub charges: Vec<Charge>,
    /// Which leg it is
    pub leg: Leg,
    /// The question to people that its call uses up
    pub hold: Option<HoldId>,
    /// Of which class it is
    pub class: Class,
}

/// Which leg of a call an effect is
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leg {
    /// The first
    First,
    /// It goes on with this, which is used up; if nothing of the leg was sent, it is there again
    Continues(Option<Pending>),
    /// It asks how this one stands
    Poll {
        /// The call
        of: EffectId,
    },
}

/// A call that was answered and is not finished
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Its last leg that was no poll
    pub effect: EffectId,
    /// What is called
    pub tool: Tool,
    /// The entries that it was charged for, by task
    #[serde(with = "super::serial::pairs")]
    pub paid: BTreeMap<TaskId, BTreeSet<Name>>,
    /// The elevations that it was begun under
    #[serde(default)]
    pub elevated: BTreeSet<GrantId>,
    /// Whether a poll has seen its end: then it can be looked at, and not go on
    #[serde(default)]
    pub over: bool,
    /// The question to people that it uses up
    #[serde(default)]
    pub hold: Option<HoldId>,
    /// Of which class it is
    pub class: Class,
}

/// Calls of one task that may be answered and not finished; beyond that the oldest is forgotten, and cannot go on
/// or be looked at; those that are over first
pub const PENDING_MAX: usize = 64;

impl State {
    /// Uses up what a leg goes on with
    pub(super) fn continued(&mut self, task: TaskId, of: EffectId) -> Leg {
        Leg::Continues(self.take_pending(task, of))
    }

    fn take_pending(&mut self, task: TaskId, of: EffectId) -> Option<Pending> {
        let pending = &mut self.tasks.get_mut(&task)?.pending;
        let at = pending.iter().position(|pending| pending.effect == of)?;
        Some(pending.remove(at))
    }

    /// Whether the end of a leg is that of its call: a poll of what is over already finishes nothing
    pub(super) fn finishes(&self, task: TaskId, leg: &Leg) -> bool {
        match leg {
            Leg::First | Leg::Continues(_) => true,
            Leg::Poll { of } => self.tasks.get(&task).is_some_and(|task| task.goes_on(*of).is_some()),
        }
    }

    /// What can go on after a leg has ended
    pub(super) fn next_leg(
        &mut self,
        task: TaskId,
        settled: &Settled,
        (call, elevated): (OpenCall, BTreeSet<GrantId>),
        time: Millis,
    ) {
        match (&settled.end, call.leg) {
            (End::Pending { .. }, Leg::First | Leg::Continues(_)) => {
                let paid = call.charges.into_iter().map(|charge| {
                    let earlier = charge.paid.into_iter().flatten();
                    (charge.task, charge.entries.into_iter().chain(earlier).collect())
                });
                let pending = Pending {
                    effect: settled.effect,
                    tool: call.tool,
                    paid: paid.collect(),
                    elevated,
                    over: false,
                    hold: call.hold,
                    class: call.class,
                };
                self.put_pending(task, pending);
            }
            // Nothing of it left, so what it would have gone on with is as it was.
            (End::NotSent { .. }, Leg::Continues(Some(pending))) => {
                if let Some(hold) = pending.hold {
                    self.went_back(hold, (settled.effect, pending.effect));
                }
                self.put_pending(task, pending);
            }
            (End::Done { ok, .. }, Leg::Poll { of }) => self.finish(task, of, *ok, time),
            _ => {}
        }
    }

    /// A call is over, and so cannot go on, though it can be looked at: also not where a leg that goes on with it turns
    /// out not to have been sent
    fn finish(&mut self, task: TaskId, of: EffectId, ok: bool, time: Millis) {
        let pending = self.tasks.get_mut(&task).and_then(|task| task.pending.iter_mut().find(|one| one.effect == of));
        if let Some(pending) = pending {
            // Its answer may be asked for again (extension for tasks, `ttlMs`).
            pending.over = true;
            if let Some(hold) = pending.hold {
                let end = End::Done { ok, bytes: 0, result: None, returned: BTreeMap::new(), process: None };
                self.settle_hold(hold, of, (&end, false), time);
            }
            return;
        }
        for open in self.effects.values_mut().filter(|open| open.task == Some(task)) {
            if let OpenWhat::Call(OpenCall { leg: Leg::Continues(before), .. }) = &mut open.what
                && before.as_ref().is_some_and(|before| before.effect == of)
            {
                *before = None;
            }
        }
    }

    fn put_pending(&mut self, task: TaskId, pending: Pending) {
        let Some(task) = self.tasks.get_mut(&task) else { return };
        if task.pending.len() >= PENDING_MAX {
            // What can only be looked at makes room for what can go on.
            let least = task.pending.iter().position(|pending| pending.over).unwrap_or_default();
            task.pending.remove(least);
        }
        task.pending.push(pending);
    }
}
