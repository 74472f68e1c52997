//! What is owed right now, given what is true.
//!
//! Recovery after a crash, the end of a task, a kill, an expiry and a retry are the same loop over this list.

use crate::{
    event::{Actor, End, Evidence, LeaseEnd, Process},
    names::EffectId,
    node::{Node, Why},
    request::{Request, Settle, Stop},
    state::{Leased, OpenWhat, State},
    time::Millis,
};

/// Something that is owed
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "listed and taken apart at once; most of them are the large one")]
pub enum Owed {
    /// A record of what is true already: a time that has passed, an effect that nobody can know the end of
    Record(Request),
    /// A call under way whose task or connector is over: stop waiting for it
    Cancel(EffectId),
    /// A credential whose task is over, whose time has passed, or that an earlier life of ours left behind: take it back
    Withdraw {
        /// The effect that it is
        effect: EffectId,
        /// Why it has to go
        why: Why,
    },
    /// A child process whose task or connector is over, or that an earlier life of ours left behind
    Reap {
        /// The effect that started it
        effect: EffectId,
        /// The process, unless its start was never settled
        process: Option<Process>,
        /// Why it has to go
        why: Why,
    },
}

/// Lists what is owed at `now`; empty once everything that was stopped is cleared
///
/// The cost depends on what is open and what has passed, not on how many tasks live.
#[must_use]
pub fn due(state: &State, now: Millis) -> Vec<Owed> {
    let stop = |node, why, at| Owed::Record(Request::Stop(Stop { node, why, by: Actor::System, at }));
    let passed = state.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).filter_map(|(_, id)| {
        let (why, at) = state.task(*id)?.passed(now)?;
        Some(stop(Node::Task(*id), why, Some(at)))
    });
    let grants = state.grants.iter().filter_map(|(id, grant)| {
        let (why, at) = state.grant_passed(grant, now)?;
        Some(stop(Node::Grant(*id), why, at))
    });
    let elevations = state.elevation_deadlines.iter().take_while(|(until, _)| *until <= now);
    let elevations = elevations.map(|(until, id)| stop(Node::Grant(*id), Why::Expired, Some(*until)));
    let holds = state.hold_deadlines.iter().take_while(|(until, _)| *until <= now);
    let holds = holds.map(|(until, id)| stop(Node::Hold(*id), Why::Expired, Some(*until)));
    let orphans = state.orphans.iter().map(|id| stop(Node::Task(*id), Why::Ended, None));
    let effects = state.effects.iter().filter_map(|(id, open)| {
        if let OpenWhat::Lease(lease) = &open.what {
            if lease.over.is_none() && !lease.left && now >= lease.until {
                return Some(stop(Node::Lease(*id), Why::Expired, Some(lease.until)));
            }
            return match state.leased(open, lease, now) {
                Leased::Live | Leased::Coming | Leased::Closing => None,
                Leased::Owed(why) => Some(Owed::Withdraw { effect: *id, why }),
                Leased::Left(until) if now >= until => {
                    let end = End::Lease(LeaseEnd::Withdrawn { evidence: Evidence::Expired });
                    Some(Owed::Record(Request::Settle(Settle::new(*id, end))))
                }
                Leased::Left(_) => None,
            };
        }
        let stale = open.boot != state.boot;
        if !stale && state.effect_lives(open, now) {
            return None;
        }
        Some(match &open.what {
            OpenWhat::Call(_) | OpenWhat::Notice { .. } if stale => {
                let end = End::Unknown { why: "Portreeve ended before the answer came".to_owned() };
                Owed::Record(Request::Settle(Settle::new(*id, end)))
            }
            OpenWhat::Call(_) | OpenWhat::Notice { .. } => Owed::Cancel(*id),
            OpenWhat::Lease(_) => return None,
            OpenWhat::Child(process) => {
                let why = if stale { Why::Restarted } else { Why::Ended };
                Owed::Reap { effect: *id, process: process.clone(), why }
            }
        })
    });
    passed.chain(grants).chain(elevations).chain(holds).chain(orphans).chain(effects).collect()
}

/// When something will be owed that is not owed yet, if nothing happens before
#[must_use]
pub fn wake(state: &State) -> Option<Millis> {
    let tasks = state.deadlines.first().map(|(deadline, _)| *deadline);
    let elevations = state.elevation_deadlines.first().map(|(until, _)| *until);
    let holds = state.hold_deadlines.first().map(|(until, _)| *until);
    let leases = state.lease_deadlines.first().map(|(until, _)| *until);
    let passing = [tasks, elevations, holds, leases].into_iter().flatten();
    passing.chain(state.grants.values().map(|grant| grant.until)).min()
}
