//! What goes wrong.

use super::World;
use crate::{
    disk::Fault,
    options::{Crash, Sabotage},
};
use portreeve_core::{
    event::{Actor, Event, Record, Stopped},
    node::{Node, Why},
};

impl World {
    /// One mishap, if they happen in this run
    pub(super) fn mishap(&mut self) {
        if self.env.calm {
            return;
        }
        match self.env.random.below(20) {
            0..2 => self.crash(Crash::Between),
            2 => self.crash(Crash::Landed),
            3 => self.crash(Crash::Lost),
            4..6 => self.arm(Fault::UnknownLanded),
            6..8 => self.arm(Fault::UnknownLost),
            8 => self.arm(Fault::Full),
            9 => self.another_writer(),
            10 => {
                self.env.trace(|| "the disk is full".to_owned());
                self.env.disk.fill();
            }
            12 => {
                let reads = 1 + u32::from(self.env.random.chance(50));
                self.env.trace(|| format!("{reads} reads will fail"));
                self.env.disk.hide(reads);
                self.arm(Fault::UnknownLanded);
            }
            11 | 13..15 => self.env.disk.heal(),
            15 => self.wall_clock_jumps(),
            16 => self.env.wall = self.env.anchor,
            17 => self.discovery(),
            18 => self.child_dies(),
            _ => self.keep_snapshot(),
        }
    }

    fn arm(&mut self, fault: Fault) {
        self.env.trace(|| format!("the disk will fail: {fault:?}"));
        self.env.disk.arm(fault);
    }

    /// A stop gets onto the record by another hand, just before our next group
    fn another_writer(&mut self) {
        let Some(known) = self.env.random.pick(&self.env.known).cloned() else { return };
        let time = self.env.oracle.time();
        let stopped = Stopped { node: Node::Task(known.task), why: Why::Killed, at: time };
        let actor = Actor::Owner { user: None };
        self.arm(Fault::Conflict(Box::new(Record { time, actor, event: Event::Stopped(stopped) })));
    }

    fn wall_clock_jumps(&mut self) {
        let jump = self.env.random.pick(&[-90_000, -20_000, 20_000, 90_000, 600_000, -600_000]).copied();
        self.env.wall += jump.unwrap_or_default();
        self.env.trace(|| format!("the wall clock jumps by {jump:?}"));
    }

    fn child_dies(&mut self) {
        let Some(effect) = self.env.host.alive().next().map(|(effect, _)| effect) else { return };
        self.env.trace(|| format!("child {effect} dies"));
        for _ in 0..4 {
            self.env.host.kill(effect, None);
        }
        if let Some(gateway) = &mut self.gateway {
            gateway.stop(Node::Child(effect), Why::Gone, Actor::System, &mut self.env);
        }
    }

    /// Keeps a snapshot of a state that is durable
    pub(super) fn keep_snapshot(&mut self) {
        let durable = u64::try_from(self.env.disk.durable(0).len()).unwrap_or_default();
        if let Some(gateway) = &self.gateway
            && gateway.engine.state().head().n == durable
        {
            if self.env.sabotage(Sabotage::KeepPending) {
                self.env.cache.keep_pending(gateway.engine.state());
            } else {
                self.env.cache.keep(gateway.engine.state());
            }
            if self.env.sabotage(Sabotage::LongerGrants) {
                self.env.cache.prolong_grants();
            }
            if let Some(sabotage) = self.env.options.sabotage.filter(|sabotage| sabotage.is_in_snapshots()) {
                self.env.cache.tamper(sabotage);
            }
        }
    }
}
