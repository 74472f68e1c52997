//! The keys of this data folder: which one signs now, and which ones before it are still good for something.
//!
//! Only public keys are known here. Every one that there ever was stays: what it signed is checked with it for ever, and
//! one that was given up is not taken up again.

use super::State;
use crate::{
    event::{KeyUse, NewKey},
    time::Millis,
};
use serde::{Deserialize, Serialize};

/// The keys of one use
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The public key of the one that signs, as it is written: `ed25519:…`
    pub current: String,
    /// Since when
    pub since: Millis,
    /// Those before it, the oldest first
    pub earlier: Vec<EarlierKey>,
}

/// A key that does not sign any more
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierKey {
    /// Its public key
    pub key: String,
    /// Since when it signed
    pub since: Millis,
    /// Until when what it signed, or sealed, is still taken
    pub until: Millis,
}

impl Keys {
    /// Whether this key was given up, so that it is not to sign again
    #[must_use]
    pub fn was(&self, key: &str) -> bool {
        self.earlier.iter().any(|earlier| earlier.key == key)
    }
}

impl State {
    /// The keys of a use; nothing before the first one is on the record
    #[must_use]
    pub fn keys(&self, of: KeyUse) -> Option<&Keys> {
        self.keys.get(&of)
    }

    /// Another key signs from now on
    pub(super) fn new_key(&mut self, new: &NewKey, time: Millis) {
        let first = || Keys { current: new.key.clone(), since: time, earlier: Vec::new() };
        let keys = self.keys.entry(new.of).or_insert_with(first);
        for earlier in &mut keys.earlier {
            earlier.until = earlier.until.min(new.until);
        }
        if keys.current != new.key {
            let before = std::mem::replace(&mut keys.current, new.key.clone());
            keys.earlier.push(EarlierKey { key: before, since: keys.since, until: new.until });
            keys.since = time;
        }
    }
}
