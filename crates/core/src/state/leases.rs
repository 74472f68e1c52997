//! Credentials that were issued for tasks, until they are known to be of no use.

use super::{Open, OpenWhat, State};
use crate::{
    event::{Admitted, End, LeaseEnd, LeaseFacts},
    hash::Hash,
    names::{EffectId, Name, TaskId},
    node::Why,
    policy::{Class, Revocation},
    time::Millis,
};
use serde::{Deserialize, Serialize};

/// What a credential of a task is for: a connector, a class, and one call alone, if it is for no other
pub type LeaseKey = (Name, Class, Option<EffectId>);

/// A credential that was admitted and is not known to be of no use
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenLease {
    /// Of which class
    pub class: Class,
    /// From which source
    pub source: Name,
    /// The digest of what the policy said of that
    pub config: Hash,
    /// The version of the policy that says how it is taken back
    pub bundle: Hash,
    /// What taking it back achieves
    pub revocation: Revocation,
    /// From then on nothing is begun with it, and it is taken back
    pub until: Millis,
    /// From then on another one is issued for calls that come: this one would not last for them
    pub fresh_until: Millis,
    /// Until when what it rests on lets it live
    pub bound: Millis,
    /// When it was admitted
    pub since: Millis,
    /// The one call that may go with it; nothing if every call of its task, connector and class may
    pub only: Option<EffectId>,
    /// Whether that call has begun: no other one does
    pub used: bool,
    /// Whether its back end has issued it
    pub issued: bool,
    /// Until when the back end itself takes it, as far as that is known
    pub usable_until: Option<Millis>,
    /// What the back end calls it, if that is another name than ours
    pub handle: Option<String>,
    /// Nothing is begun with it any more
    pub over: Option<Why>,
    /// It cannot be taken back, and passes by itself
    pub left: bool,
    /// Calls under way with it
    pub under: u32,
}

/// How a lease stands
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leased {
    /// It can be used
    Live,
    /// It is only now being issued
    Coming,
    /// Nothing is begun with it any more, and calls that were begun with it go on
    Closing,
    /// It has to be taken back
    Owed(Why),
    /// It cannot be taken back: its time has to pass
    Left(Millis),
}

impl State {
    /// The lease that a task has for this, issued under this configuration, if a call can begin with it
    #[must_use]
    pub fn lease(&self, task: TaskId, key: &LeaseKey, config: Hash, now: Millis) -> Option<EffectId> {
        let id = *self.tasks.get(&task)?.leases.get(key)?;
        let open = self.effects.get(&id)?;
        let OpenWhat::Lease(lease) = &open.what else { return None };
        let good = lease.config == config && now < lease.fresh_until;
        (good && self.leased(open, lease, now) == Leased::Live).then_some(id)
    }

    /// A lease that is not known to be of no use, with the task that it is for
    #[must_use]
    pub fn open_lease(&self, id: EffectId) -> Option<(&Open, &OpenLease)> {
        let open = self.effects.get(&id)?;
        match &open.what {
            OpenWhat::Lease(lease) => Some((open, lease)),
            _ => None,
        }
    }

    /// How a lease stands at `now`
    #[must_use]
    pub fn leased(&self, open: &Open, lease: &OpenLease, now: Millis) -> Leased {
        if lease.left {
            return Leased::Left(lease.usable_until.unwrap_or(Millis(i64::MAX)));
        }
        if open.boot != self.boot {
            return Leased::Owed(Why::Restarted);
        }
        if let Some(Why::Killed) = lease.over {
            return Leased::Owed(Why::Killed);
        }
        if !self.stands_on(open, now) {
            return Leased::Owed(Why::Ended);
        }
        let lowered = || open.elevated.iter().any(|grant| self.standing_elevation(*grant, now).is_none());
        let spent = lease.only.is_some() && lease.used && lease.under == 0;
        let passed = lease.over.or((now >= lease.until).then_some(Why::Expired)).or(spent.then_some(Why::Ended));
        match passed.or_else(|| lowered().then_some(Why::Ended)) {
            Some(_) if lease.under > 0 => Leased::Closing,
            Some(why) => Leased::Owed(why),
            None if lease.issued => Leased::Live,
            None => Leased::Coming,
        }
    }

    /// Whether a lease may be owed once this effect has ended, as it only waits for that
    #[must_use]
    pub fn is_waited_for(&self, effect: EffectId, now: Millis) -> bool {
        let lease = self.effects.get(&effect).and_then(|open| self.open_lease(open.lease?));
        lease.is_some_and(|(open, lease)| lease.only.is_some() || self.leased(open, lease, now) != Leased::Live)
    }

    /// Whether what goes with a lease may go on: what was begun with it does when its time has passed, and ends when
    /// somebody ends it
    pub(super) fn goes_with(&self, lease: Option<EffectId>, now: Millis) -> bool {
        lease.is_none_or(|id| {
            self.open_lease(id).is_some_and(|(open, lease)| match self.leased(open, lease, now) {
                // A process serves the calls that were begun with it.
                Leased::Live | Leased::Coming | Leased::Closing => true,
                Leased::Owed(_) | Leased::Left(_) => false,
            })
        })
    }

    /// An admitted lease; the one before it for the same is not used any more
    pub(super) fn leasing(&mut self, admitted: &Admitted, facts: &LeaseFacts) -> OpenWhat {
        let key = (facts.connector.clone(), facts.class, facts.only);
        let task = admitted.task.and_then(|task| self.tasks.get_mut(&task));
        let before = task.and_then(|task| {
            task.leased = task.leased.saturating_add(1);
            task.leases.insert(key, admitted.effect)
        });
        if let Some(before) = before {
            self.end_lease(before, Why::Ended);
        }
        self.lease_deadlines.insert((facts.until, admitted.effect));
        OpenWhat::Lease(Box::new(OpenLease {
            class: facts.class,
            source: facts.source.clone(),
            config: facts.config,
            bundle: admitted.bundle,
            revocation: facts.revocation,
            until: facts.until,
            fresh_until: fresh_until(admitted.now, facts.until, (facts.bound, facts.only)),
            bound: facts.bound,
            since: admitted.now,
            only: facts.only,
            used: false,
            issued: false,
            usable_until: None,
            handle: None,
            over: None,
            left: false,
            under: 0,
        }))
    }

    /// What is known of a lease now; whether that is all there is to know
    pub(super) fn lease_settled(&mut self, id: EffectId, end: &End) -> bool {
        let Some(Open { what: OpenWhat::Lease(lease), task, .. }) = self.effects.get_mut(&id) else { return false };
        match end {
            End::Lease(LeaseEnd::Issued { until, handle }) => {
                lease.issued = true;
                lease.usable_until = *until;
                lease.handle.clone_from(handle);
                // One that ends earlier than was asked for counts no longer than that.
                let (before, after) = (lease.until, until.map_or(lease.until, |until| lease.until.min(until)));
                lease.until = after;
                lease.fresh_until = fresh_until(lease.since, after, (lease.bound, lease.only));
                if self.lease_deadlines.remove(&(before, id)) {
                    self.lease_deadlines.insert((after, id));
                }
                return false;
            }
            // It may be there: it stays owed until it is known not to be.
            End::Unknown { .. } => {
                self.end_lease(id, Why::Gone);
                return false;
            }
            End::Lease(LeaseEnd::Left { until }) => {
                // The one call that it was for is over: it stands in the way of no other one.
                let first = !std::mem::replace(&mut lease.left, true) && lease.only.is_some();
                let task = task.filter(|_| first).and_then(|task| self.tasks.get_mut(&task));
                task.into_iter().for_each(|task| task.leased = task.leased.saturating_sub(1));
                let passing = [Some(lease.until), lease.usable_until.replace(*until)];
                for at in passing.into_iter().flatten() {
                    self.lease_deadlines.remove(&(at, id));
                }
                self.lease_deadlines.insert((*until, id));
                return false;
            }
            End::NotSent { .. } | End::Lease(LeaseEnd::Withdrawn { .. }) => {}
            // Neither says anything of a credential.
            End::Done { .. } | End::Pending { .. } => return false,
        }
        let passing = [Some(lease.until), lease.usable_until];
        let counted = !(lease.left && lease.only.is_some());
        let task = task.and_then(|task| self.tasks.get_mut(&task));
        if let Some(task) = task {
            task.leased = task.leased.saturating_sub(u32::from(counted));
            task.leases.retain(|_, of| *of != id);
        }
        for at in passing.into_iter().flatten() {
            self.lease_deadlines.remove(&(at, id));
        }
        true
    }

    /// A call goes with a lease, or does so no longer
    pub(super) fn under_lease(&mut self, lease: Option<EffectId>, begins: bool) {
        if let Some(Open { what: OpenWhat::Lease(lease), .. }) = lease.and_then(|id| self.effects.get_mut(&id)) {
            lease.under = if begins { lease.under.saturating_add(1) } else { lease.under.saturating_sub(1) };
            lease.used |= begins;
        }
    }

    /// Somebody, or something, ended a lease: it is owed from now on
    pub(super) fn end_lease(&mut self, id: EffectId, why: Why) {
        let Some(Open { what: OpenWhat::Lease(lease), .. }) = self.effects.get_mut(&id) else { return };
        if lease.over.is_none() || why == Why::Killed {
            lease.over = Some(why);
        }
        if !lease.left {
            self.lease_deadlines.remove(&(lease.until, id));
        }
    }
}

/// Until when calls begin with a credential of this time: where another one could last until `bound`, not with one that
/// is about to end
#[must_use]
pub fn fresh_until(since: Millis, until: Millis, (bound, only): (Millis, Option<EffectId>)) -> Millis {
    // After the one call that it is for nobody needs it.
    if until >= bound || only.is_some() {
        return until;
    }
    let reserve = (until.since(since) / RESERVE_SHARE).clamp(0, RESERVE_MS_MAX);
    Millis(until.0 - reserve)
}

/// Of a credential's time, the part at its end in which calls that come get another one
const RESERVE_SHARE: i64 = 4;
/// That part at most, in milliseconds
const RESERVE_MS_MAX: i64 = 30_000;
