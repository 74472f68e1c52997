//! Latches: a flag and a count per node.
//!
//! The sender counts itself in, checks flags and deadline in the poll that hands over the first byte, and
//! counts itself out when nothing of it can leave any more. A stop closes the latch of one node and waits for
//! the count. A latch only ever stops bytes; it is never read by a judgement, or replay would fail.

use portreeve_core::{engine::Permit, node::Node, time::Millis};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
};
use tokio::sync::Notify;

/// The latches of all nodes that anything was sent for
#[derive(Debug, Default)]
pub struct Latches {
    // Held only for a look-up, never across an await.
    nodes: Mutex<HashMap<Node, Arc<Latch>>>,
}

#[derive(Debug, Default)]
struct Latch {
    closed: AtomicBool,
    inside: AtomicUsize,
    left: Notify,
}

/// Why nothing may leave
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// Something that it rests on was stopped
    #[error("{0} was stopped before anything was sent")]
    Stopped(Node),
    /// The permit is too old
    #[error("it took too long before anything was sent")]
    Late,
    /// It was taken back, or used before
    #[error("it was taken back before anything was sent")]
    Withdrawn,
}

impl Latches {
    /// What a permitted effect has to pass
    #[must_use]
    pub fn pass(&self, permit: Permit) -> Pass {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let latches = permit.rests_on().iter().map(|node| {
            if let Some(latch) = nodes.get(node) {
                return (node.clone(), Arc::clone(latch));
            }
            let latch = Arc::clone(nodes.entry(node.clone()).or_default());
            (node.clone(), latch)
        });
        Pass { latches: latches.collect(), deadline: permit.deadline(), state: Arc::default() }
    }

    /// What several permitted effects have to pass that leave in one message: the latches of all, the first deadline
    #[must_use]
    pub fn pass_all(&self, permit: Permit, others: impl IntoIterator<Item = Permit>) -> Pass {
        let mut pass = self.pass(permit);
        for other in others.into_iter().map(|other| self.pass(other)) {
            pass.deadline = pass.deadline.min(other.deadline);
            let known: Vec<Node> = pass.latches.iter().map(|(node, _)| node.clone()).collect();
            pass.latches.extend(other.latches.into_iter().filter(|(node, _)| !known.contains(node)));
        }
        pass
    }

    /// Closes the latch of a node: nothing that rests on it begins to leave from now on
    pub fn close(&self, node: &Node) -> Closing {
        let latch = self.latch(node);
        latch.closed.store(true, Ordering::SeqCst);
        Closing { latch }
    }

    /// Gives nodes whose names have begun a new life a new latch
    ///
    /// What was permitted in the old life keeps the closed one.
    pub fn renew(&self, lives: impl Fn(&Node) -> bool) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|node, latch| !(latch.closed.load(Ordering::SeqCst) && lives(node)));
    }

    /// Forgets a node that never lives again, once every permit from its life is void
    pub fn forget(&self, node: &Node) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.remove(node);
    }

    fn latch(&self, node: &Node) -> Arc<Latch> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(nodes.entry(node.clone()).or_default())
    }
}

/// A latch that was closed, and what is still inside
#[derive(Clone, Debug)]
pub struct Closing {
    latch: Arc<Latch>,
}

impl Closing {
    /// Returns once nothing that began to leave before the latch was closed can leave any more
    pub async fn settled(&self) {
        loop {
            let left = self.latch.left.notified();
            if self.under_way() == 0 {
                return;
            }
            left.await;
        }
    }

    /// How much is still under way
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.latch.inside.load(Ordering::SeqCst)
    }
}

/// What one permitted effect has to pass before its first byte
#[derive(Debug)]
pub struct Pass {
    latches: Vec<(Node, Arc<Latch>)>,
    deadline: Millis,
    state: Arc<AtomicU8>,
}

const WAITING: u8 = 0;
const PASSED: u8 = 1;
const WITHDRAWN: u8 = 2;

/// The way to take a pass back while nothing has left through it
#[derive(Clone, Debug)]
pub struct Withdrawal {
    state: Arc<AtomicU8>,
}

impl Withdrawal {
    /// Takes the pass back; true if nothing left through it and nothing ever will
    #[must_use]
    pub fn withdraw(&self) -> bool {
        let before = self.state.compare_exchange(WAITING, WITHDRAWN, Ordering::SeqCst, Ordering::SeqCst);
        before != Err(PASSED)
    }
}

impl Pass {
    /// Counts in and checks; what is returned counts out when it is dropped
    ///
    /// # Errors
    /// [`Closed`]: nothing may leave, and nothing has.
    pub fn enter(&self, now: Millis) -> Result<Inside, Closed> {
        let inside = Inside { latches: self.latches.iter().map(|(_, latch)| Arc::clone(latch)).collect() };
        // Counted in before the flags are read: a stop that sets a flag and sees no count has seen us not begin.
        for latch in &inside.latches {
            latch.inside.fetch_add(1, Ordering::SeqCst);
        }
        if let Some((node, _)) = self.latches.iter().find(|(_, latch)| latch.closed.load(Ordering::SeqCst)) {
            return Err(Closed::Stopped(node.clone()));
        }
        if now >= self.deadline {
            return Err(Closed::Late);
        }
        match self.state.compare_exchange(WAITING, PASSED, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Ok(inside),
            Err(_) => Err(Closed::Withdrawn),
        }
    }

    /// A pass that rests on these nodes, for tests of what goes through it
    #[cfg(test)]
    pub(crate) fn resting_on(latches: &Latches, nodes: &[Node]) -> Self {
        let latches = nodes.iter().map(|node| (node.clone(), latches.latch(node))).collect();
        Self { latches, deadline: Millis(i64::MAX), state: Arc::default() }
    }

    /// A pass for the same message once more: the same latches and deadline, checked again
    ///
    /// Only for a message of which the server said that it did nothing with it. Who holds the
    /// [`withdrawal`](Self::withdrawal) of the first one is told that something left.
    #[must_use]
    pub(crate) fn again(&self) -> Self {
        Self { latches: self.latches.clone(), deadline: self.deadline, state: Arc::default() }
    }

    /// The way to take it back
    #[must_use]
    pub fn withdrawal(&self) -> Withdrawal {
        Withdrawal { state: Arc::clone(&self.state) }
    }
}

/// Something is under way; counts out when dropped
#[derive(Debug)]
pub struct Inside {
    latches: Vec<Arc<Latch>>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        for latch in &self.latches {
            if latch.inside.fetch_sub(1, Ordering::SeqCst) == 1 {
                latch.left.notify_waiters();
            }
        }
    }
}
