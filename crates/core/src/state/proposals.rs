//! Versions of the policy that people want in force, where one of them is not enough.

use super::State;
use crate::{event::Actor, hash::Hash, names::Name, node::Node, policy::Roles, time::Millis};
use serde::{Deserialize, Serialize};

/// Somebody wants a version of the policy in force
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    /// Which version
    pub digest: Hash,
    /// Who
    pub user: Name,
    /// Whose hand that was
    pub hand: String,
    /// Which bearer of the name
    pub generation: u64,
    /// When
    pub at: Millis,
}

impl Proposed {
    /// Whether it still counts
    #[must_use]
    pub fn counts_at(&self, now: Millis) -> bool {
        now < self.at.plus(Roles::PROPOSED_MS)
    }
}

/// So many are kept; the oldest goes first
const PROPOSED_MAX: usize = 256;

impl State {
    /// Who wants a version of the policy in force
    pub fn proposed(&self, digest: Hash) -> impl Iterator<Item = &Proposed> {
        self.proposals.iter().filter(move |proposed| proposed.digest == digest)
    }

    /// Everything that somebody wants in force and that still counts
    pub fn proposals(&self, now: Millis) -> impl Iterator<Item = &Proposed> {
        self.proposals.iter().filter(move |proposed| proposed.counts_at(now))
    }

    pub(super) fn propose(&mut self, digest: Hash, actor: &Actor, hand: &str, time: Millis) {
        let Some(user) = actor.user().cloned() else { return };
        let generation = self.generation(&Node::User(user.clone())).unwrap_or_default();
        // Whoever says it again says it now.
        self.proposals.retain(|known| (known.digest, &known.user) != (digest, &user) && known.counts_at(time));
        if self.proposals.len() >= PROPOSED_MAX {
            self.proposals.remove(0);
        }
        self.proposals.push(Proposed { digest, user, hand: hand.to_owned(), generation, at: time });
    }
}
