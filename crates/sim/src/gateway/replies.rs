//! A turn of the door, and what follows from its replies.

use super::{Gateway, Item, Todo, Who};
use crate::{options::Sabotage, world::Env};
use portreeve_core::{
    engine::Reply,
    event::End,
    life::Happened,
    node::Node,
    reason::{Reason, Word},
    request::Settle,
};
use std::collections::BTreeSet;

impl Gateway {
    /// Puts the first `count` requests of the queue through the door; false if the process died in it
    pub(crate) fn turn(&mut self, count: usize, env: &mut Env) -> bool {
        let items: Vec<Item> = self.queue.drain(..count.min(self.queue.len())).collect();
        self.fresh_policy |= items.iter().any(|item| matches!(&item.who, Who::Change(nodes) if !nodes.is_empty()));
        let requests = items.iter().map(|item| item.request.clone()).collect();
        let clock = env.clock();
        let seed = env.random.bytes();
        let replies = self.engine.turn(requests, clock, seed);
        if env.disk.is_dead() {
            return false;
        }
        env.oracle.sync(&env.disk);
        if replies.len() != items.len() {
            env.violated("S1", format!("{} requests, {} replies", items.len(), replies.len()));
        }
        for (item, reply) in items.into_iter().zip(replies) {
            env.trace(|| format!("door: {:?} -> {}", item.who, in_words(&reply)));
            self.hears(item, reply, env);
        }
        true
    }

    fn hears(&mut self, item: Item, reply: Reply, env: &mut Env) {
        if let Reply::Permit(permit) = &reply {
            env.report.permits += 1;
            let readable = self.fresh_policy || !env.library.is_broken();
            let clock = env.true_clock();
            env.oracle.permitted(permit.effect(), (clock.steady, clock.wall), readable);
        }
        let lost = matches!(&reply, Reply::Refused(reasons) if is_of_the_record(reasons));
        match (item.who, reply) {
            (Who::Flight(id), Reply::Permit(permit)) => self.happened(id, Happened::Admitted(permit)),
            (Who::Flight(id), Reply::Prepare(wants)) => self.happened(id, Happened::Clear(wants)),
            (Who::Flight(id), Reply::Consult(askings)) => self.happened(id, Happened::Consult(askings)),
            (Who::Flight(id), Reply::Refused(reasons)) => {
                env.report.refusals += 1;
                // Most agents that are told that their task is over stop.
                let over = reasons.iter().any(|reason| matches!(reason.word, Word::TaskOver | Word::TaskUnknown));
                if let Some(run) = self.flights.get(&id).map(|flight| flight.run).filter(|_| over) {
                    env.known.retain(|known| known.run != run);
                }
                self.happened(id, Happened::Refused(reasons));
            }
            (Who::Flight(id), Reply::Held(ticket)) => {
                env.report.held += 1;
                self.happened(id, Happened::Held(ticket));
            }
            (Who::Flight(id), Reply::Again(again)) => self.happened(id, Happened::Again(again)),
            (Who::Answer(_), Reply::Recorded) => env.report.answers += 1,
            (Who::Elevate(grant), Reply::Elevated(_)) => env.grants.push(grant),
            (Who::Elevate(_), Reply::Held(ticket)) => env.held(ticket.hold),
            (Who::Answer(_) | Who::Elevate(_), Reply::Refused(_)) => env.report.refusals += 1,
            (Who::Start(id, connector), Reply::Permit(permit)) => {
                if let Some(flight) = self.flights.get_mut(&id) {
                    flight.todo.push_back(Todo::Spawn(permit, connector));
                }
            }
            (Who::Start(id, _), Reply::Refused(reasons)) => self.happened(id, Happened::Refused(reasons)),
            (Who::Idle(effect), Reply::Permit(_)) => {
                let end = End::NotSent { why: "not needed any more".to_owned() };
                self.settle(Settle::new(effect, end));
            }
            (Who::Poll(tool), Reply::Permit(permit)) => self.ask_after(&permit, tool, env),
            (Who::Poll(_), Reply::Refused(_)) => env.report.refusals += 1,
            (Who::Settle(effect), Reply::Recorded) => env.oracle.settled(effect),
            (Who::Stop(node) | Who::OwedStop(node), Reply::Recorded) => self.stopped(&node, env),
            (Who::Open { task, by_run }, Reply::Opened(_)) => {
                env.oracle.opened(task, by_run);
                env.opened(task);
            }
            (Who::Open { .. }, Reply::Refused(_)) => env.report.refusals += 1,
            (Who::Change(nodes), Reply::Recorded) => self.changed(nodes, env),
            (who @ (Who::Settle(_) | Who::Stop(_) | Who::Change(_)), Reply::Refused(_)) => {
                if lost {
                    if matches!(who, Who::Stop(_)) && env.stop_must_work() {
                        env.violated("I14", format!("{who:?} failed although only ordinary space was gone"));
                    }
                    self.queue.push_back(Item { who, request: item.request });
                }
            }
            (Who::Idle(_), Reply::Refused(_)) | (Who::Owed | Who::OwedStop(_) | Who::Nobody, _) => {}
            (who, reply) => env.violated("S1", format!("{who:?} was answered {}", in_words(&reply))),
        }
    }

    fn stopped(&mut self, node: &Node, env: &mut Env) {
        if env.sabotage(Sabotage::LateLatch) {
            self.latches.close(node.clone());
        }
        env.oracle.stop_acknowledged(node);
        self.tenant_stopped |= *node == Node::Tenant;
        if let Node::Child(effect) = node {
            self.children.retain(|_, child| child != effect);
            if env.host.is_alive(*effect) {
                env.violated("I5", format!("{effect} is recorded as gone and lives"));
            }
        }
    }

    fn changed(&mut self, nodes: BTreeSet<Node>, env: &mut Env) {
        if nodes.is_empty() {
            return;
        }
        let now = env.clock().steady;
        for node in nodes.difference(&self.nodes) {
            self.latches.open_again(node, now);
        }
        // The way back from a stop of everything; permits from before it are void by then.
        if std::mem::take(&mut self.tenant_stopped) {
            self.latches.open_again(&Node::Tenant, now);
        }
        self.nodes = nodes;
    }
}

fn is_of_the_record(reasons: &[Reason]) -> bool {
    reasons.iter().any(|reason| matches!(reason.word, Word::RecordFull | Word::RecordUnavailable))
}

fn in_words(reply: &Reply) -> String {
    match reply {
        Reply::Refused(reasons) => {
            reasons.iter().map(|reason| format!("{}@{}", reason.word, reason.source)).collect::<Vec<_>>().join(" ")
        }
        Reply::Permit(permit) => format!("permit {}", permit.effect()),
        Reply::Clear => "clear".to_owned(),
        Reply::Prepare(wants) => format!("clear for {}", wants.class),
        Reply::Leased(..) => "lease".to_owned(),
        Reply::Consult(askings) => format!("consult {} points", askings.len()),
        Reply::Read(reading) => format!("read {}", reading.tool),
        Reply::Held(ticket) => format!("held as {}", ticket.hold),
        Reply::Again(again) => format!("again: {:?}", again.phase),
        Reply::Elevated(until) => format!("elevated until {until}"),
        Reply::Recorded => "recorded".to_owned(),
        Reply::Opened(until) => format!("opened until {until}"),
        Reply::Proposed { have, of } => format!("proposed by {have} of {of}"),
    }
}
