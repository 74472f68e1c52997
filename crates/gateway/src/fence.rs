//! Which process is who: the owner, an agent below `exec`, or a connector's child.
//!
//! SAFETY(security): the fence fails closed. Whoever cannot be followed up to the first process of the machine
//! is nobody: no administrator, and in no run.

mod far;

pub use far::Far;

use portreeve_core::{event::Process, names::RunId};
use portreeve_upstream::{child::machine_boot_is, keeper::Stat};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

/// A process by its id and start time, which a reused id cannot imitate
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// Process id
    pub pid: i32,
    /// Start time in clock ticks since the machine booted
    pub start: u64,
}

impl Peer {
    /// The process of this id
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, start: Stat::read(pid)?.start })
    }

    /// The process that was recorded, if this is still the machine's same boot
    #[must_use]
    pub fn recorded(process: &Process) -> Option<Self> {
        let pid = i32::try_from(process.pid).ok()?;
        machine_boot_is(&process.machine_boot).then_some(Self { pid, start: process.start })
    }

    /// Whether it is still there
    #[must_use]
    pub fn is_there(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// The processes that tasks were opened for, and those that serve connectors
#[derive(Debug, Default)]
pub struct Fence {
    // Held only for a look-up.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    roots: HashMap<RunId, Peer>,
    connectors: HashSet<Peer>,
}

impl Fence {
    /// A task was opened for a process: what is below it is an agent, until it is gone
    pub fn add_root(&self, run: RunId, process: Peer) {
        self.known().roots.insert(run, process);
    }

    /// The process that a task was opened for is gone
    pub fn remove_root(&self, run: RunId) {
        self.known().roots.remove(&run);
    }

    /// Whether a task was opened for any process but this one, and it is still there
    #[must_use]
    pub fn has_other_roots(&self) -> bool {
        let ours = i32::try_from(std::process::id()).unwrap_or(-1);
        self.known().roots.values().any(|root| root.pid != ours)
    }

    /// A process keeps a connector's child
    pub fn add_connector(&self, process: &Process) {
        self.known().connectors.extend(Peer::recorded(process));
    }

    /// A connector's child is gone
    pub fn remove_connector(&self, process: &Process) {
        if let Some(process) = Peer::recorded(process) {
            self.known().connectors.remove(&process);
        }
    }

    /// Whether a process is the owner's: below no agent, no connector and not below ourselves
    #[must_use]
    pub fn is_owner(&self, peer: Peer) -> bool {
        let Some(above) = above(peer) else { return false };
        let known = self.known();
        let ours = i32::try_from(std::process::id()).unwrap_or(-1);
        !above.iter().any(|process| {
            process.pid == ours
                || known.connectors.contains(process)
                || known.roots.values().any(|root| root == process)
        })
    }

    /// Whether a process is below the one that a run was opened for, and no connector's
    #[must_use]
    pub fn is_of_run(&self, run: RunId, peer: Peer) -> bool {
        let Some(above) = above(peer) else { return false };
        let known = self.known();
        let is_connector = |process: &Peer| known.connectors.contains(process);
        known.roots.get(&run).is_some_and(|root| above.contains(root))
            && !is_connector(&peer)
            && !above.iter().any(is_connector)
    }

    /// The runs that a process is below, or that were opened for it; `None` for what serves a connector or cannot be followed
    #[must_use]
    pub fn runs_around(&self, peer: Peer) -> Option<Vec<RunId>> {
        let line: Vec<Peer> = std::iter::once(peer).chain(above(peer)?).collect();
        let known = self.known();
        if line.iter().any(|process| known.connectors.contains(process)) {
            return None;
        }
        let runs = known.roots.iter().filter(|(_, root)| line.contains(root)).map(|(run, _)| *run).collect::<Vec<_>>();
        // What we have started ourselves is no workload, unless it is an agent.
        let ours = i32::try_from(std::process::id()).unwrap_or(-1);
        let is_ours = runs.is_empty() && line.iter().any(|process| process.pid == ours);
        (!is_ours).then_some(runs)
    }

    /// The agent through which a process belongs to a run: what the keeper of the run has started
    ///
    /// The run's process starts a keeper, the keeper the agent; what else hangs below the keeper has left its agent.
    #[must_use]
    pub fn agent_of(&self, run: RunId, peer: Peer) -> Option<Peer> {
        let root = *self.known().roots.get(&run)?;
        let line: Vec<Peer> = std::iter::once(peer).chain(above(peer)?).collect();
        let at = line.iter().position(|process| *process == root)?;
        line.get(at.checked_sub(2)?).copied()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Processes above another one at most; more of them is nobody's honest need
const ABOVE_MAX: usize = 128;

/// Every process above `peer`, up to the first one; `None` if they cannot all be seen
fn above(peer: Peer) -> Option<Vec<Peer>> {
    if !peer.is_there() {
        return None;
    }
    let mut above = Vec::new();
    let mut next = Stat::read(peer.pid)?.parent;
    while next > 0 {
        if above.len() >= ABOVE_MAX {
            return None;
        }
        let stat = Stat::read(next)?;
        above.push(Peer { pid: next, start: stat.start });
        next = stat.parent;
    }
    // Still the same process now that all of them were read.
    peer.is_there().then_some(above)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn here() -> Peer {
        Peer::of(i32::try_from(std::process::id()).unwrap()).unwrap()
    }

    #[test]
    fn a_child_of_ours_is_no_owner_and_belongs_to_the_run_of_its_parent_only() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let peer = Peer::of(i32::try_from(child.id()).unwrap()).unwrap();
        let fence = Fence::default();
        assert!(!fence.is_owner(peer), "below the process that serves");
        assert!(fence.is_owner(here()));
        fence.add_root(RunId(1), here());
        assert!(fence.is_of_run(RunId(1), peer));
        assert!(!fence.is_of_run(RunId(2), peer));
        assert!(!fence.is_of_run(RunId(1), here()), "a process is not below itself");
        fence.known().connectors.insert(peer);
        assert!(!fence.is_of_run(RunId(1), peer), "a connector is no agent");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!fence.is_owner(peer) && !fence.is_of_run(RunId(1), peer), "who is gone is nobody");
    }

    #[test]
    fn who_cannot_be_followed_is_nobody() {
        let fence = Fence::default();
        assert!(!fence.is_owner(Peer { pid: 0, start: 0 }));
        assert!(!fence.is_owner(Peer { start: here().start + 1, ..here() }), "another process had this id");
    }
}
