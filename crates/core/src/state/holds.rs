//! What waits for people, and what they have said.

use super::{Phase, REMEMBERED_MS, State, serial};
use crate::{
    event::{Actor, Declined, End, Granted, Held, HeldWhat, How, Question, Signed, To},
    hash::Hash,
    names::{EffectId, GrantId, HoldId, Name, TaskId},
    node::{Node, Why},
    policy::Bundle,
    time::Millis,
    value::Value,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
};

/// A question to people
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What was asked
    #[serde(with = "serial::opened")]
    pub held: Held,
    /// When
    pub asked: Millis,
    /// Who said what; one answer each
    pub answers: BTreeMap<Name, Answered>,
    /// Where it stands
    pub phase: Phase,
    /// The change of all questions that was its last
    changed: u64,
}

/// What somebody said
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The grant, if it was a yes
    pub grant: Option<GrantId>,
    /// When
    pub at: Millis,
    /// How they were known
    pub how: How,
    /// Whether a passkey was used for this very answer
    pub passkey: bool,
    /// Why, unless that was erased
    pub why: Option<String>,
    /// Which bearer of the user's name
    generation: u64,
}

/// How approvals go, so that they do not become a reflex
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reflex {
    /// Questions put to people
    pub asked: u64,
    /// Used after enough had said yes
    pub approved: u64,
    /// Declined
    pub declined: u64,
    /// Not answered in time, or over with what they rested on
    pub lapsed: u64,
    /// By person
    pub people: BTreeMap<Name, Reader>,
}

/// How one person answers
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    /// How often they said yes
    pub yes: u64,
    /// How often they said no
    pub no: u64,
    /// How long they had the last questions in front of them, in milliseconds
    pub read_ms: VecDeque<u32>,
}

impl Reader {
    fn took(&mut self, signed: Option<&Signed>) {
        let Some(read_ms) = signed.and_then(|signed| signed.read_ms) else { return };
        self.read_ms.truncate(READS_MAX - 1);
        self.read_ms.push_front(read_ms);
    }

    /// The median of the last reading times, in milliseconds
    #[must_use]
    pub fn median_ms(&self) -> Option<u32> {
        let mut sorted: Vec<u32> = self.read_ms.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

/// Reading times of one person that are kept
const READS_MAX: usize = 64;
/// People whose answers are counted
const PEOPLE_MAX: usize = 10_000;
/// How long the outcome of a used question is told to whoever repeats it, in milliseconds
pub const AGAIN_MS: i64 = 10 * 60 * 1_000;

/// A yes that counts
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counting<'s> {
    /// Whose
    pub user: &'s Name,
    /// Its grant
    pub grant: GrantId,
    /// Until when they are known to be of the group that is asked
    pub until: Millis,
}

impl Hold {
    /// Whether it waits for people at `now`
    #[must_use]
    pub fn is_open(&self, now: Millis) -> bool {
        self.phase == Phase::Open && self.held.until > now
    }

    /// Those who said yes, whether or not that counts
    pub fn agreed(&self) -> impl Iterator<Item = &Name> {
        self.answers.iter().filter(|(_, answered)| answered.grant.is_some()).map(|(user, _)| user)
    }

    /// The digest by which a repeat is known, if it is a call or an opening
    #[must_use]
    pub fn key(&self) -> Option<Hash> {
        match &self.held.what {
            HeldWhat::Call(call) => Some(call.key),
            HeldWhat::Opening(opening) => Some(opening.key),
            HeldWhat::Elevation(_) => None,
        }
    }
}

impl State {
    /// A question, open or remembered
    #[must_use]
    pub fn hold(&self, id: HoldId) -> Option<&Hold> {
        self.holds.get(&id)
    }

    /// Every question that is open or remembered
    pub fn holds(&self) -> impl Iterator<Item = (HoldId, &Hold)> {
        self.holds.iter().map(|(id, hold)| (*id, hold))
    }

    /// Questions that nobody has finished answering, used or let lapse on the record
    pub fn open_holds(&self) -> impl Iterator<Item = (HoldId, &Hold)> {
        self.hold_deadlines.iter().filter_map(|(_, id)| Some((*id, self.holds.get(id)?)))
    }

    /// Counts every change of a question, so that whoever waits for one looks only when there is something to see
    #[must_use]
    pub fn hold_changes(&self) -> u64 {
        self.hold_changes
    }

    /// Questions that have changed since so many changes were counted, each once: whoever looked then has seen the rest
    pub fn holds_since(&self, seen: u64) -> impl Iterator<Item = (HoldId, &Hold)> {
        let after = (Bound::Excluded(seen), Bound::Unbounded);
        self.changed_holds.range(after).filter_map(|(_, id)| Some((*id, self.holds.get(id)?)))
    }

    fn hold_changed(&mut self, id: HoldId) {
        let Some(hold) = self.holds.get_mut(&id) else { return };
        self.hold_changes = self.hold_changes.saturating_add(1);
        self.changed_holds.remove(&hold.changed);
        hold.changed = self.hold_changes;
        self.changed_holds.insert(hold.changed, id);
    }

    /// How approvals go
    #[must_use]
    pub fn reflex(&self) -> &Reflex {
        &self.reflex
    }

    /// The question of a task about the same tool and arguments, the latest
    #[must_use]
    pub fn hold_of(&self, task: TaskId, key: Hash) -> Option<(HoldId, &Hold)> {
        let id = *self.tasks.get(&task)?.holds.get(&key)?;
        Some((id, self.holds.get(&id)?))
    }

    /// The question about the same opening, the latest
    #[must_use]
    pub fn opening_of(&self, key: Hash) -> Option<(HoldId, &Hold)> {
        let id = *self.openings.get(&key)?;
        Some((id, self.holds.get(&id)?))
    }

    /// How many openings wait for people because this person wants them; without one, because this agent does
    #[must_use]
    pub fn openings_of(&self, opener: Option<&Name>, agent: &Name, now: Millis) -> usize {
        let theirs = |hold: &Hold| match &hold.held.what {
            HeldWhat::Opening(opening) => {
                let same = opening.opener.as_ref() == opener && (opener.is_some() || hold.held.agent == *agent);
                hold.is_open(now) && same
            }
            HeldWhat::Call(_) | HeldWhat::Elevation(_) => false,
        };
        self.open_holds().filter(|(_, hold)| theirs(hold)).count()
    }

    /// People who may not answer a question because it is their own, as it was put and as things are now: the users of
    /// its task and of those above it, who opened them, who owns their agents
    #[must_use]
    pub fn own(&self, bundle: &Bundle, held: &Held) -> BTreeSet<Name> {
        let mut own = BTreeSet::from_iter(owners(bundle, &held.agent));
        own.extend(held.own.iter().chain(&held.user).cloned());
        for (_, task) in held.task.into_iter().flat_map(|task| self.lineage(task)) {
            own.extend(task.user.iter().chain(&task.opener).cloned());
            own.extend(owners(bundle, &task.agent));
        }
        own
    }

    /// Whether somebody has answered a question: the bearer of the name, not an earlier one
    #[must_use]
    pub fn has_answered(&self, hold: &Hold, user: &Name) -> bool {
        let stands = |answered: &Answered| self.gone(&Node::User(user.clone()), answered.generation).is_none();
        hold.answers.get(user).is_some_and(stands)
    }

    /// Whether an answer by a link that somebody else had made is that one's, and theirs is what is asked about
    #[must_use]
    pub fn is_own_hand(&self, own: &BTreeSet<Name>, hold: &Hold, hand: &str) -> bool {
        match hand.parse() {
            Ok(Node::User(user)) => own.contains(&user),
            // An account that is no user of the policy: whose own it is cannot be told where such a one opened it.
            _ => {
                let mut line = hold.held.task.into_iter().flat_map(|task| self.lineage(task));
                line.any(|(_, task)| task.opener.is_none())
            }
        }
    }

    /// Whether somebody has said yes with this hand already: in person, or by a link that they had made for another
    #[must_use]
    pub fn has_lent(&self, bundle: &Bundle, hold: &Hold, hand: &str) -> bool {
        hold.answers.iter().any(|(user, answered)| {
            answered.grant.is_some() && hand_of(bundle, user, &answered.how) == hand && self.has_answered(hold, user)
        })
    }

    /// How an answer was given, with whoever else may hold the passkey that signed it
    #[must_use]
    pub fn how_signed(&self, user: &Name, signed: &Signed) -> How {
        let used = signed.passkey.as_ref().filter(|_| signed.how.is_passkey());
        let lent = used.and_then(|used| {
            let by = self.handed.get(&(user.clone(), used.credential.clone()))?;
            Some(How::HandedPasskey { by: by.clone(), fingerprint: used.fingerprint() })
        });
        lent.unwrap_or_else(|| signed.how.clone())
    }

    /// A passkey carries the name that the session carries in which it was registered, as long as it is there
    pub(super) fn passkey(&mut self, user: &Name, credential: &str, (added, by): (bool, &Actor)) {
        let passkey = (user.clone(), credential.to_owned());
        let lender = match by {
            Actor::Person { how, .. } => how.lender(),
            _ => None,
        };
        match lender.filter(|_| added) {
            Some(lender) => drop(self.handed.insert(passkey, lender.to_owned())),
            None => drop(self.handed.remove(&passkey)),
        }
    }

    /// Those whose yes to a question counts now, with their grants
    ///
    /// Whoever has left the policy, the group or the role does not count any more, nor whose group an issuer said too
    /// long ago, nor who signs in as somebody else now, nor does an answer without the
    /// passkey that is wanted now, nor a new bearer of an old name, nor anybody whose own it is by now. What comes
    /// through one receiver is one yes, whoever it says that it is from, unless the policy lets it speak for several.
    #[must_use]
    pub fn counting<'s>(
        &'s self,
        bundle: &Bundle,
        (hold, question): (&'s Hold, &Question),
        now: Millis,
    ) -> Vec<Counting<'s>> {
        let own = self.own(bundle, &hold.held);
        let (mut hands, mut receivers) = (BTreeSet::new(), BTreeSet::new());
        let counts = |(user, answered): (&'s Name, &'s Answered)| {
            let grant = answered.grant?;
            let hand = hand_of(bundle, user, &answered.how);
            let signed = !question.quorum.passkey || answered.passkey;
            let may = signed
                && !own.contains(user)
                && !self.is_own_hand(&own, hold, &hand)
                && bundle.users.get(user).is_some_and(|of| of.is_known_by(&answered.how))
                && self.gone(&Node::User(user.clone()), answered.generation).is_none();
            let until = self.approver(bundle, user, &question.quorum.who, now).filter(|_| may)?;
            Some((hand, answered.how.receiver(), Counting { user, grant, until }))
        };
        let several = |receiver: &&Name| bundle.receivers.get(*receiver).is_some_and(|receiver| receiver.several);
        let counting = hold.answers.iter().filter_map(counts);
        // Whoever answers for two with links of their own is one person, and so is who holds a receiver's key.
        let counting = counting.filter_map(|(hand, receiver, counting)| {
            let receiver = receiver.filter(|receiver| !several(receiver));
            if hands.contains(&hand) || receiver.is_some_and(|receiver| receivers.contains(receiver)) {
                return None;
            }
            hands.insert(hand);
            receivers.extend(receiver);
            Some(counting)
        });
        counting.collect()
    }

    pub(super) fn held(&mut self, held: &Held, time: Millis) {
        if let Some(task) = held.task {
            let Some(of) = self.tasks.get(&task) else { return };
            let earlier = match &held.what {
                HeldWhat::Call(call) => of.holds.get(&call.key).copied(),
                HeldWhat::Elevation(_) | HeldWhat::Opening(_) => None,
            };
            // Another question about the same call takes its place.
            if let Some(earlier) = earlier {
                self.close(earlier, Phase::Over { why: Why::Ended, at: time }, time);
            }
            // Those above ask with it.
            self.touch(task, time, |of| of.asked = of.asked.saturating_add(1));
            if let Some(of) = self.tasks.get_mut(&task) {
                of.questions.insert(held.hold);
                if let HeldWhat::Call(call) = &held.what {
                    of.holds.insert(call.key, held.hold);
                }
            }
            self.wait(task, time, 1);
        } else if let HeldWhat::Opening(opening) = &held.what
            && let Some(earlier) = self.openings.insert(opening.key, held.hold)
        {
            self.close(earlier, Phase::Over { why: Why::Ended, at: time }, time);
        }
        self.reflex.asked = self.reflex.asked.saturating_add(1);
        self.hold_deadlines.insert((held.until, held.hold));
        let (answers, phase) = (BTreeMap::new(), Phase::Open);
        self.holds.insert(held.hold, Hold { held: held.clone(), asked: time, answers, phase, changed: 0 });
        self.hold_changed(held.hold);
    }

    pub(super) fn approved(&mut self, granted: &Granted, time: Millis) {
        let (To::Approval { hold, .. }, Ok(Node::User(user))) = (&granted.to, granted.owner.parse()) else { return };
        self.answered(*hold, &user, (Some(granted.grant), granted.signed.as_ref(), granted.why.value()), time);
    }

    pub(super) fn declined(&mut self, declined: &Declined, time: Millis) {
        self.answered(declined.hold, &declined.by, (None, Some(&declined.signed), declined.why.value()), time);
        self.reflex.declined = self.reflex.declined.saturating_add(1);
        self.close(declined.hold, Phase::Declined { at: time }, time);
    }

    fn answered(
        &mut self,
        id: HoldId,
        user: &Name,
        (grant, signed, why): (Option<GrantId>, Option<&Signed>, Option<Value>),
        time: Millis,
    ) {
        // Generation 0 never exists, so the answer of an unknown user counts for nothing.
        let generation = self.registry.get(&Node::User(user.clone())).map_or(0, |standing| standing.generation);
        // Whoever has answered in an emergency does not review it.
        let task = self.holds.get(&id).and_then(|hold| hold.held.task);
        let line: Vec<TaskId> = task.into_iter().flat_map(|task| self.lineage(task)).map(|(id, _)| id).collect();
        for (_, review) in self.reviews.iter_mut().filter(|(id, _)| line.contains(id)) {
            review.approvers.insert(user.clone());
        }
        let how = signed.map_or(How::Socket, |signed| self.how_signed(user, signed));
        let Some(hold) = self.holds.get_mut(&id) else { return };
        let passkey = signed.is_some_and(Signed::is_stepped_up);
        let why = why.and_then(|why| why.as_str().map(ToOwned::to_owned));
        hold.answers.insert(user.clone(), Answered { grant, at: time, how, passkey, why, generation });
        self.hold_changed(id);
        if self.reflex.people.contains_key(user) || self.reflex.people.len() < PEOPLE_MAX {
            let reader = self.reflex.people.entry(user.clone()).or_default();
            let said = if grant.is_some() { &mut reader.yes } else { &mut reader.no };
            *said = said.saturating_add(1);
            reader.took(signed);
        }
    }

    /// A question is used by an effect, a grant or an opening
    pub(super) fn use_hold(&mut self, id: HoldId, effect: Option<EffectId>, time: Millis) {
        if self.holds.get(&id).is_some_and(|hold| hold.phase == Phase::Open) {
            self.reflex.approved = self.reflex.approved.saturating_add(1);
        }
        self.close(id, Phase::Used { effect }, time);
    }

    /// The effect that used a question has ended
    pub(super) fn settle_hold(&mut self, id: HoldId, effect: EffectId, (end, is_first): (&End, bool), time: Millis) {
        let is_used = Phase::Used { effect: Some(effect) };
        if self.holds.get(&id).is_none_or(|hold| hold.phase != is_used) {
            return;
        }
        self.hold_changed(id);
        let Some(hold) = self.holds.get_mut(&id) else { return };
        match end {
            // Nothing left, so the use is there again, if its time has not passed.
            End::NotSent { .. } if is_first => {
                let (task, until) = (hold.held.task, hold.held.until);
                let gone = task.is_some_and(|task| !self.tasks.contains_key(&task));
                if until <= time || gone {
                    let why = if gone { Why::Ended } else { Why::Expired };
                    hold.phase = Phase::Over { why, at: until.min(time) };
                    return;
                }
                hold.phase = Phase::Open;
                self.reflex.approved = self.reflex.approved.saturating_sub(1);
                self.hold_deadlines.insert((until, id));
                if let Some(task) = task {
                    self.wait(task, time, 1);
                }
            }
            // A later leg did not leave: see `went_back`.
            End::NotSent { .. } | End::Pending { .. } | End::Lease(_) => {}
            End::Done { ok, .. } => hold.phase = Phase::Done { effect, ok: *ok, at: time },
            End::Unknown { .. } => hold.phase = Phase::Unknown { effect, at: time },
        }
    }

    /// A leg did not leave, so the one before it is the last again
    pub(super) fn went_back(&mut self, id: HoldId, (from, to): (EffectId, EffectId)) {
        if let Some(hold) = self.holds.get_mut(&id).filter(|hold| hold.phase == (Phase::Used { effect: Some(from) })) {
            hold.phase = Phase::Used { effect: Some(to) };
        }
    }

    /// Ends what was open about a question
    pub(super) fn close(&mut self, id: HoldId, phase: Phase, time: Millis) {
        let Some(hold) = self.holds.get_mut(&id) else { return };
        if !matches!(hold.phase, Phase::Open | Phase::Used { .. }) {
            return;
        }
        let was_open = hold.phase == Phase::Open;
        if matches!(phase, Phase::Over { .. }) && !was_open {
            return;
        }
        hold.phase = phase;
        let (task, until) = (hold.held.task, hold.held.until);
        self.hold_changed(id);
        if !was_open {
            return;
        }
        self.hold_deadlines.remove(&(until, id));
        match task {
            Some(task) => self.wait(task, time, -1),
            None => drop(self.forget_holds.insert((time.plus(REMEMBERED_MS), id))),
        }
        if matches!(phase, Phase::Over { .. }) {
            self.reflex.lapsed = self.reflex.lapsed.saturating_add(1);
        }
    }

    /// The questions of a task that is over are over too, and remembered for a while
    pub(super) fn end_holds(&mut self, held: &BTreeSet<HoldId>, why: Why, time: Millis) {
        for id in held {
            self.close(*id, Phase::Over { why, at: time }, time);
            self.forget_holds.insert((time.plus(REMEMBERED_MS), *id));
        }
    }

    pub(super) fn forget_old_holds(&mut self, now: Millis) {
        while let Some((until, id)) = self.forget_holds.first().copied().filter(|(until, _)| *until < now) {
            self.forget_holds.remove(&(until, id));
            let Some(hold) = self.holds.remove(&id) else { continue };
            self.hold_deadlines.remove(&(hold.held.until, id));
            self.changed_holds.remove(&hold.changed);
            if let Some(key) = hold.key().filter(|key| self.openings.get(key) == Some(&id)) {
                self.openings.remove(&key);
            }
        }
    }

    fn wait(&mut self, task: TaskId, time: Millis, more: i32) {
        self.touch(task, time, |task| task.waiting = task.waiting.saturating_add_signed(more));
    }
}

/// Whose hand an answer is, by the policy in force
pub(crate) fn hand_of(bundle: &Bundle, user: &Name, how: &How) -> String {
    bundle.users.get(user).map_or_else(|| how.hand(user), |of| of.hand(user, how))
}

/// The users who answer for an agent
pub(crate) fn owners(bundle: &Bundle, agent: &Name) -> Vec<Name> {
    let Some(agent) = bundle.agents.get(agent) else { return Vec::new() };
    let owns = bundle.users.iter().filter(|(name, user)| user.is_owner(name, &agent.owner));
    owns.map(|(name, _)| name.clone()).collect()
}
