//! One flag per node: closed in memory before a stop is recorded, and never an input of a judgement.

use portreeve_core::{engine::PERMIT_MS, engine::Permit, node::Node, time::Millis};
use std::collections::BTreeMap;

/// The latches of one life of the process
#[derive(Debug, Default)]
pub(crate) struct Latches {
    /// Closed until then; `None`: for good
    closed: BTreeMap<Node, Option<Millis>>,
}

impl Latches {
    pub(crate) fn close(&mut self, node: Node) {
        self.closed.insert(node, None);
    }

    /// The name is used again: no permit of its former bearer is good any more once this long has passed
    pub(crate) fn open_again(&mut self, node: &Node, now: Millis) {
        if let Some(until) = self.closed.get_mut(node) {
            *until = Some(now.plus(PERMIT_MS));
        }
    }

    pub(crate) fn is_open(&self, node: &Node, now: Millis) -> bool {
        self.closed.get(node).is_none_or(|until| until.is_some_and(|until| until <= now))
    }

    /// Whether everything that a permit rests on is open
    pub(crate) fn let_through(&self, permit: &Permit, now: Millis) -> bool {
        permit.rests_on().iter().all(|node| self.is_open(node, now))
    }
}
