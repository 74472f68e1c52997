//! The steps of a call that touch the world.

use super::{Answer, Gateway, Item, Todo, Who, is_stdio};
use crate::{options::Sabotage, versions::TIMEOUT_MS, world::Env};
use portreeve_core::{
    engine::Permit,
    event::End,
    judge::Ticket,
    life::{Answer as Told, Do, Happened},
    names::{EffectId, Name, Tool},
    node::Node,
    request::{Read, Request, Settle, Start},
};
use std::collections::BTreeMap;

impl Gateway {
    /// Does the next step of one call
    pub(crate) fn perform(&mut self, id: u64, env: &mut Env) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let Some(todo) = flight.todo.pop_front() else { return };
        let (run, tool, effect) = (flight.run, flight.tool.clone(), flight.life.effect());
        env.trace(|| format!("{effect} ({tool}): {}", in_words(&todo)));
        match todo {
            Todo::Step(Do::Ask(call)) => {
                self.queue.push_back(Item { who: Who::Flight(id), request: Request::Ask(call) })
            }
            Todo::Step(Do::Admit(call)) => {
                if env.sabotage(Sabotage::ForwardBeforeDurable) {
                    env.deliver(effect, tool);
                }
                self.queue.push_back(Item { who: Who::Flight(id), request: Request::Call(call) });
            }
            Todo::Step(Do::Consult(askings)) => {
                let answers = askings.iter().map(|asking| env.consult(effect, asking)).collect();
                self.happened(id, Happened::Heard(answers));
            }
            Todo::Step(Do::Prepare(_)) => {
                let task = self.engine.state().task_of(run);
                let ready = task.is_some_and(|task| self.children.contains_key(&(task, tool.connector.clone())));
                if is_stdio(&tool.connector) && !ready {
                    let connector = tool.connector.clone();
                    let start = Start { effect: EffectId(env.id()), run, connector: connector.clone(), lease: None };
                    self.queue.push_back(Item { who: Who::Start(id, connector), request: Request::Start(start) });
                } else if env.fails(10) {
                    self.happened(id, Happened::NotPrepared("no connection".to_owned()));
                } else {
                    self.happened(id, Happened::Prepared(None));
                }
            }
            Todo::Step(Do::Read(_)) => self.happened(id, Happened::WasRead(Read::default())),
            Todo::Step(Do::Wait(ticket)) => self.wait(id, ticket, env),
            Todo::Step(Do::Forward(permit)) => self.forward(id, &permit, tool, env),
            Todo::Step(Do::Settle(settle)) => self.settle(settle),
            Todo::Step(Do::Reply(answer)) => {
                if let Some(flight) = self.flights.remove(&id)
                    && match answer {
                        Told::Held(_) => true,
                        Told::Again(_) => env.random.chance(50),
                        _ => false,
                    }
                {
                    env.tell(flight.life.call().clone());
                }
            }
            Todo::Spawn(permit, connector) => self.spawn(id, &permit, connector, env),
        }
    }

    /// Waits for people: as long as whoever asked does, or until something about the question has changed
    fn wait(&mut self, id: u64, ticket: Ticket, env: &mut Env) {
        let (now, said) = (env.clock().steady, self.said(ticket.hold));
        env.held(ticket.hold);
        let Some(flight) = self.flights.get_mut(&id) else { return };
        match flight.waits {
            Some((_, before)) if before != said => {
                flight.waits = None;
                self.happened(id, Happened::Changed);
            }
            Some((until, _)) if until <= now => {
                flight.waits = None;
                self.happened(id, Happened::Waited);
            }
            _ => {
                flight.waits.get_or_insert((now.plus(1 + env.random.millis(6_000)), said));
                flight.todo.push_front(Todo::Step(Do::Wait(ticket)));
            }
        }
    }

    pub(super) fn settle(&mut self, settle: Settle) {
        self.queue.push_back(Item { who: Who::Settle(settle.effect), request: Request::Settle(settle) });
    }

    /// Checks latch and deadline in the step that writes the first byte
    fn may_leave(&self, permit: &Permit, env: &Env) -> Result<(), &'static str> {
        let now = env.clock().steady;
        let through = if env.sabotage(Sabotage::IgnoreLatch) {
            true
        } else if env.sabotage(Sabotage::IgnoreGrants) {
            let others = permit.rests_on().iter().filter(|node| !matches!(node, Node::Grant(_)));
            others.clone().all(|node| self.latches.is_open(node, now))
        } else if env.sabotage(Sabotage::ForgetAncestors) {
            let near = |node: &&Node| !matches!(node, Node::Task(task) if *task != permit.task());
            permit.rests_on().iter().filter(near).all(|node| self.latches.is_open(node, now))
        } else {
            self.latches.let_through(permit, now) && self.latches.is_open(&Node::Child(permit.effect()), now)
        };
        if !through {
            return Err("a latch is closed");
        }
        if permit.deadline() <= now && !env.sabotage(Sabotage::IgnoreDeadline) {
            return Err("the permit is void");
        }
        Ok(())
    }

    fn forward(&mut self, id: u64, permit: &Permit, tool: Tool, env: &mut Env) {
        if let Err(why) = self.may_leave(permit, env) {
            return self.happened(id, Happened::NotSent(why.to_owned()));
        }
        let child = self.children.get(&(permit.task(), tool.connector.clone()));
        let connected = !is_stdio(&tool.connector) || child.is_some_and(|child| env.host.is_alive(*child));
        if !connected || env.fails(4) {
            return self.happened(id, Happened::NotSent("no connection".to_owned()));
        }
        let effect = permit.effect();
        let (after, happened) = env.deliver(effect, tool.clone());
        if env.sabotage(Sabotage::ReusePermit) {
            env.deliver(effect, tool);
        }
        let at = env.clock().steady.plus(after.min(TIMEOUT_MS));
        self.answers.push(Answer { at, flight: id, effect, happened });
    }

    /// Asks how a call stands; the answer is there at once
    pub(super) fn ask_after(&mut self, permit: &Permit, tool: Tool, env: &mut Env) {
        let effect = permit.effect();
        let end = match self.may_leave(permit, env) {
            Err(why) => End::NotSent { why: why.to_owned() },
            Ok(()) => match env.deliver(effect, tool).1 {
                Happened::Answered { ok, bytes, returned: _, .. } => {
                    End::Done { ok, bytes, result: None, returned: BTreeMap::new(), process: None }
                }
                Happened::Pending { bytes, .. } => End::Pending { bytes, result: None },
                _ => End::Unknown { why: "no answer".to_owned() },
            },
        };
        self.settle(Settle::new(effect, end));
    }

    /// Starts a child process; what became of the start may stay unknown
    fn spawn(&mut self, id: u64, permit: &Permit, connector: Name, env: &mut Env) {
        let effect = permit.effect();
        let settle = |end| Settle::new(effect, end);
        let refused = self.may_leave(permit, env).err().or(env.fails(8).then_some("no such program"));
        if let Some(why) = refused {
            self.settle(settle(End::NotSent { why: why.to_owned() }));
            return self.happened(id, Happened::NotPrepared(why.to_owned()));
        }
        let now = env.clock().steady;
        env.oracle.left(effect, &format!("child:{connector}"), now);
        let stubborn = if env.fails(30) { 2 } else { 0 };
        let process = env.host.spawn(effect, connector.clone(), stubborn);
        if env.fails(10) {
            self.settle(settle(End::Unknown { why: "the start was not confirmed".to_owned() }));
            return self.happened(id, Happened::NotPrepared("the start was not confirmed".to_owned()));
        }
        self.children.insert((permit.task(), connector), effect);
        self.settle(settle(End::Done {
            ok: true,
            bytes: 0,
            result: None,
            returned: BTreeMap::new(),
            process: Some(process),
        }));
        self.happened(id, Happened::Prepared(None));
    }
}

fn in_words(todo: &Todo) -> String {
    match todo {
        Todo::Step(Do::Ask(_)) => "ask".to_owned(),
        Todo::Step(Do::Admit(_)) => "admit".to_owned(),
        Todo::Step(Do::Consult(askings)) => {
            let names: Vec<&str> = askings.iter().map(|asking| asking.point.name.as_str()).collect();
            format!("consult {}", names.join(" "))
        }
        Todo::Step(Do::Prepare(wants)) => format!("prepare for {}", wants.class),
        Todo::Step(Do::Read(reading)) => format!("read {}", reading.tool),
        Todo::Step(Do::Wait(ticket)) => format!("wait for {}", ticket.hold),
        Todo::Step(Do::Forward(permit)) => format!("forward by {}", permit.deadline()),
        Todo::Step(Do::Settle(settle)) => format!("settle {:?}", settle.end),
        Todo::Step(Do::Reply(answer)) => format!("reply {answer:?}"),
        Todo::Spawn(permit, _) => format!("spawn as {}", permit.effect()),
    }
}
