//! Child processes: they outlive the process that started them.

use portreeve_core::{
    event::Process,
    names::{EffectId, Name},
};
use std::collections::BTreeMap;

/// The machine's process table, as far as it is ours
#[derive(Debug, Default)]
pub(crate) struct Host {
    children: BTreeMap<EffectId, Child>,
    next_pid: u32,
}

#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) connector: Name,
    pub(crate) process: Process,
    pub(crate) alive: bool,
    /// Signals that it survives
    stubborn: u32,
}

impl Host {
    /// Starts a process that carries the effect's id as its mark
    pub(crate) fn spawn(&mut self, effect: EffectId, connector: Name, stubborn: u32) -> Process {
        self.next_pid += 1;
        let process =
            Process { pid: self.next_pid, start: u64::from(self.next_pid) * 10, machine_boot: "machine".to_owned() };
        self.children.insert(effect, Child { connector, process: process.clone(), alive: true, stubborn });
        process
    }

    /// Kills the process with this mark; whether it is gone now
    pub(crate) fn kill(&mut self, effect: EffectId, process: Option<&Process>) -> bool {
        let Some(child) = self.children.get_mut(&effect) else { return true };
        if process.is_some_and(|known| *known != child.process) {
            // Never by pid alone: a process that is not the recorded one is not ours.
            return true;
        }
        if child.stubborn > 0 {
            child.stubborn -= 1;
        } else {
            child.alive = false;
        }
        !child.alive
    }

    pub(crate) fn is_alive(&self, effect: EffectId) -> bool {
        self.children.get(&effect).is_some_and(|child| child.alive)
    }

    pub(crate) fn alive(&self) -> impl Iterator<Item = (EffectId, &Child)> {
        self.children.iter().filter(|(_, child)| child.alive).map(|(id, child)| (*id, child))
    }
}
