//! The life of one call, as steps without I/O.
//!
//! The shell does what a step says and reports what happened; it makes no choices of its own. The gateway
//! and the simulation run the same steps.

use crate::{
    engine::Permit,
    event::End,
    hash::Hash,
    judge::{Again, Reading, Ticket, Wants},
    names::EffectId,
    outside::{self, Answer as Answered, Asking},
    pattern::Source,
    reason::{Reason, Word},
    request::{Call, Read, Settle},
    value::Value,
};
use std::collections::BTreeMap;

/// Where a call stands
#[derive(Debug)]
pub struct Life {
    call: Call,
    phase: Phase,
    /// What the agent is told if nobody answers while it waits
    ticket: Option<Ticket>,
    /// How often outside decision points were asked
    rounds: u8,
    /// How often what must exist first was made
    made: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asking,
    /// Outside decision points are being asked, on the way to one of these
    Consulting(Towards),
    /// What is there before the call is being read, on the way to one of these
    Reading(Towards),
    /// People are being asked
    Waiting,
    Preparing,
    Admitting,
    Forwarding,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Towards {
    Asking,
    Admitting,
}

/// What the shell has to do next
#[derive(Debug)]
pub enum Do {
    /// Ask the door whether the call would be permitted; nothing is reserved meanwhile
    Ask(Call),
    /// Ask outside decision points, all at once, none for longer than its time
    Consult(Vec<Asking>),
    /// Make what must exist first for a call of this class: a lease, a session, a child process
    Prepare(Wants),
    /// Have the call admitted
    Admit(Call),
    /// Send what was judged, if the latch lets it through
    Forward(Permit),
    /// Record how the effect ended; the reply does not wait for that
    Settle(Settle),
    /// Read what is there before the call, so that it can be put back
    Read(Reading),
    /// Wait for people, as long as whoever asked waits
    Wait(Ticket),
    /// Tell the agent
    Reply(Answer),
}

/// What happened
#[derive(Debug)]
pub enum Happened {
    /// The door would permit the call, on such a connection
    Clear(Wants),
    /// Nothing is against it so far; these points have to be asked first
    Consult(Vec<Asking>),
    /// They have answered, or not
    Heard(Vec<Answered>),
    /// Nothing is against it so far; this has to be read first
    Read(Reading),
    /// It was read, or could not be
    WasRead(Read),
    /// People are asked, or have not all answered
    Held(Ticket),
    /// Something about the question has changed: it is judged anew
    Changed,
    /// Whoever asked waits no longer
    Waited,
    /// People agreed to it, and it was used already
    Again(Again),
    /// Everything that must exist first exists, and was made with this lease
    Prepared(Option<EffectId>),
    /// It could not be made
    NotPrepared(String),
    /// The call is admitted, durably
    Admitted(Permit),
    /// The door refuses it
    Refused(Vec<Reason>),
    /// No byte left: the latch was closed, the deadline had passed, the connection failed before
    NotSent(String),
    /// The connector answered
    Answered {
        /// Whether it says that the call succeeded
        ok: bool,
        /// Length of the answer
        bytes: u64,
        /// SHA-256 of the answer
        digest: Hash,
        /// Values of the fields that the permit asked for
        returned: BTreeMap<Source, Vec<Value>>,
    },
    /// The connector answered, and is not finished: it asks something, or goes on by itself
    Pending {
        /// Length of the answer
        bytes: u64,
        /// SHA-256 of the answer
        digest: Hash,
    },
    /// Bytes may have left, and no answer came
    Lost(String),
}

/// What the agent is told
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What the connector answered
    Result,
    /// Why not
    Refusal(Vec<Reason>),
    /// People are asked
    Held(Ticket),
    /// It was done with this yes already; what came of it
    Again(Again),
    /// The connector could not be made ready; nothing was sent
    Unreachable(String),
    /// Whether it happened is not known; it must not be repeated blindly
    Unknown(String),
}

impl Life {
    /// A call that has just been read; `prepared` if everything that it needs exists already
    #[must_use]
    pub fn start(call: Call, prepared: bool) -> (Self, Do) {
        let (phase, step) =
            if prepared { (Phase::Admitting, Do::Admit(call.clone())) } else { (Phase::Asking, Do::Ask(call.clone())) };
        (Self { call, phase, rounds: 0, made: 0, ticket: None }, step)
    }

    /// The effect that the call will be
    #[must_use]
    pub fn effect(&self) -> EffectId {
        self.call.effect
    }

    /// What to do after `happened`, in order; nothing once the agent has been told
    pub fn next(&mut self, happened: Happened) -> Vec<Do> {
        let refusal = |reasons| vec![Do::Reply(Answer::Refusal(reasons))];
        let (phase, steps) = match (self.phase, happened) {
            (Phase::Asking | Phase::Admitting, Happened::Clear(wants)) => self.prepare(wants),
            (Phase::Asking, Happened::Consult(askings)) => self.consult(askings, Towards::Asking),
            (Phase::Admitting, Happened::Consult(askings)) => self.consult(askings, Towards::Admitting),
            (Phase::Consulting(towards), Happened::Heard(answers)) => {
                self.call.answers.extend(answers);
                self.towards(towards)
            }
            (Phase::Asking, Happened::Read(reading)) => (Phase::Reading(Towards::Asking), vec![Do::Read(reading)]),
            (Phase::Admitting, Happened::Read(reading)) => {
                (Phase::Reading(Towards::Admitting), vec![Do::Read(reading)])
            }
            (Phase::Reading(towards), Happened::WasRead(read)) => {
                self.call.before = Some(read);
                self.towards(towards)
            }
            (Phase::Asking | Phase::Admitting, Happened::Held(ticket)) => {
                self.ticket = Some(ticket.clone());
                (Phase::Waiting, vec![Do::Wait(ticket)])
            }
            // What was read before is read anew: it may be another value by now.
            (Phase::Waiting, Happened::Changed) => {
                (self.call.before, self.rounds) = (None, 0);
                self.towards(Towards::Asking)
            }
            (Phase::Waiting, Happened::Waited) => {
                let held = self.ticket.take().map(|ticket| Do::Reply(Answer::Held(ticket)));
                (Phase::Over, held.into_iter().collect())
            }
            (Phase::Waiting, Happened::NotPrepared(why)) => (Phase::Over, vec![Do::Reply(Answer::Unreachable(why))]),
            (Phase::Asking | Phase::Admitting, Happened::Again(again)) => {
                (Phase::Over, vec![Do::Reply(Answer::Again(again))])
            }
            (Phase::Preparing, Happened::Prepared(lease)) => {
                self.call.lease = lease;
                self.towards(Towards::Admitting)
            }
            (Phase::Preparing | Phase::Consulting(_) | Phase::Reading(_), Happened::NotPrepared(why)) => {
                (Phase::Over, vec![Do::Reply(Answer::Unreachable(why))])
            }
            (Phase::Admitting, Happened::Admitted(permit)) => (Phase::Forwarding, vec![Do::Forward(permit)]),
            (
                Phase::Asking | Phase::Consulting(_) | Phase::Reading(_) | Phase::Preparing | Phase::Admitting,
                Happened::Refused(reasons),
            ) => (Phase::Over, refusal(reasons)),
            (Phase::Forwarding, Happened::NotSent(why)) => {
                let reason = Reason::new(Word::Withheld, &self.call.tool).with("why", &why);
                let reply = Do::Reply(Answer::Refusal(vec![reason]));
                (Phase::Over, vec![self.settle(End::NotSent { why }), reply])
            }
            (Phase::Forwarding, Happened::Answered { ok, bytes, digest, returned }) => {
                let end = End::Done { ok, bytes, result: None, returned: BTreeMap::new(), process: None };
                let settle = Settle { effect: self.call.effect, end, result: Some(digest), returned };
                (Phase::Over, vec![Do::Settle(settle), Do::Reply(Answer::Result)])
            }
            (Phase::Forwarding, Happened::Pending { bytes, digest }) => {
                let end = End::Pending { bytes, result: None };
                let settle = Settle { effect: self.call.effect, end, result: Some(digest), returned: BTreeMap::new() };
                (Phase::Over, vec![Do::Settle(settle), Do::Reply(Answer::Result)])
            }
            (Phase::Forwarding, Happened::Lost(why)) => {
                let settle = self.settle(End::Unknown { why: why.clone() });
                (Phase::Over, vec![settle, Do::Reply(Answer::Unknown(why))])
            }
            // Whatever else is reported changes nothing: never a second effect, never a second answer.
            (phase, _) => (phase, Vec::new()),
        };
        self.phase = phase;
        steps
    }

    fn towards(&self, towards: Towards) -> (Phase, Vec<Do>) {
        let call = self.call.clone();
        match towards {
            Towards::Asking => (Phase::Asking, vec![Do::Ask(call)]),
            Towards::Admitting => (Phase::Admitting, vec![Do::Admit(call)]),
        }
    }

    /// What was made may be over, or be for another class by now; but a call does not go round for ever
    fn prepare(&mut self, wants: Wants) -> (Phase, Vec<Do>) {
        self.made += 1;
        if self.made <= ROUNDS_MAX {
            return (Phase::Preparing, vec![Do::Prepare(wants)]);
        }
        let reason = Reason::new(Word::CredentialUnavailable, &self.call.tool);
        (
            Phase::Over,
            vec![Do::Reply(Answer::Refusal(vec![reason.with("because", "it was over before it could be used")]))],
        )
    }

    /// Answers may have grown too old, or the policy may have changed, while something else was prepared; but a call
    /// does not go round for ever
    fn consult(&mut self, askings: Vec<Asking>, towards: Towards) -> (Phase, Vec<Do>) {
        self.rounds += 1;
        if self.rounds <= ROUNDS_MAX {
            return (Phase::Consulting(towards), vec![Do::Consult(askings)]);
        }
        let reason = |asking: &Asking| {
            let reason = Reason::new(Word::OutsideSilent, outside::source(&asking.point.name));
            let reason = reason.with("point", &asking.point.name);
            reason.with("because", "its answers were too old before they could be used")
        };
        (Phase::Over, vec![Do::Reply(Answer::Refusal(askings.iter().map(reason).collect()))])
    }

    /// The call as it stands, with what it has heard
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.call
    }

    fn settle(&self, end: End) -> Do {
        Do::Settle(Settle::new(self.call.effect, end))
    }
}

/// How often the outside decision points of one call are asked, and how often what it needs is made
const ROUNDS_MAX: u8 = 3;
