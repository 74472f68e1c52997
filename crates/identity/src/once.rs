//! What may be shown once: ids of tokens, remembered as long as the tokens could be good.
//!
//! Kept in shards by when they end, so that forgetting is dropping whole shards, and bounded: when it is full, what
//! cannot be remembered is refused. Only digests are kept.

use portreeve_core::{hash::Hash, time::Millis};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, PoisonError},
};

/// How long the ends of one shard's tokens lie apart
const SHARD_MS: i64 = 16_000;

/// Remembers what was shown
#[derive(Debug)]
pub struct Once {
    capacity: usize,
    // Held only for look-ups in a few sets.
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    shards: BTreeMap<i64, HashSet<Hash>>,
    count: usize,
    // The clock may step back; what was forgotten stays over.
    latest: Option<Millis>,
}

/// Why it does not count
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOnce {
    /// It was shown before
    #[error("it was used before")]
    Again,
    /// It ended already
    #[error("its time is over")]
    Over,
    /// There is no room to remember it
    #[error("too many are used at once; try again in a minute")]
    Full,
}

impl Once {
    /// Remembers at most `capacity`
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, seen: Mutex::default() }
    }

    /// Takes what these parts name, if it is the first time; it is remembered while it is good, `until` included
    ///
    /// # Errors
    /// [`NotOnce`]
    pub fn take(&self, parts: &[&str], until: Millis, now: Millis) -> Result<(), NotOnce> {
        let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
        let hash = Hash::of_parts(&parts);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = seen.latest.map_or(now, |latest| latest.max(now));
        seen.latest = Some(now);
        seen.forget(shard(now));
        if until < now {
            return Err(NotOnce::Over);
        }
        // The same id may come with another end.
        if seen.shards.values().any(|shard| shard.contains(&hash)) {
            return Err(NotOnce::Again);
        }
        if seen.count >= self.capacity {
            return Err(NotOnce::Full);
        }
        seen.shards.entry(shard(until)).or_default().insert(hash);
        seen.count += 1;
        Ok(())
    }

    /// How many are remembered
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Whether none is
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Seen {
    fn forget(&mut self, before: i64) {
        let kept = self.shards.split_off(&before);
        self.count -= self.shards.values().map(HashSet::len).sum::<usize>();
        self.shards = kept;
    }
}

fn shard(at: Millis) -> i64 {
    at.0.div_euclid(SHARD_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_800_000_000_000);

    #[test]
    fn each_counts_once_while_it_is_good() {
        let once = Once::new(10);
        let until = NOW.plus(60_000);
        assert_eq!(once.take(&["key", "a"], until, NOW), Ok(()));
        assert_eq!(once.take(&["key", "a"], until, NOW), Err(NotOnce::Again));
        // With another end, too; and up to the last millisecond.
        assert_eq!(once.take(&["key", "a"], until.plus(40_000), NOW), Err(NotOnce::Again));
        assert_eq!(once.take(&["key", "a"], until.plus(40_000), until), Err(NotOnce::Again));
        // Parts do not run into each other.
        assert_eq!(once.take(&["keya", ""], until, NOW), Ok(()));
        assert_eq!(once.take(&["other", "a"], until, NOW), Ok(()));
        assert_eq!(once.len(), 3);
        assert_eq!(once.take(&["key", "a"], until, until.plus(1)), Err(NotOnce::Over));
    }

    #[test]
    fn what_is_over_is_forgotten_and_stays_over_when_the_clock_steps_back() {
        let once = Once::new(10);
        assert_eq!(once.take(&["a"], NOW.plus(1000), NOW), Ok(()));
        assert_eq!(once.take(&["b"], NOW.plus(200_000), NOW.plus(100_000)), Ok(()));
        assert_eq!(once.len(), 1);
        assert_eq!(once.take(&["a"], NOW.plus(1000), NOW), Err(NotOnce::Over));
    }

    #[test]
    fn nothing_is_taken_that_cannot_be_remembered() {
        let once = Once::new(2);
        assert_eq!(once.take(&["a"], NOW.plus(1000), NOW), Ok(()));
        assert_eq!(once.take(&["b"], NOW.plus(1000), NOW), Ok(()));
        assert_eq!(once.take(&["c"], NOW.plus(1000), NOW), Err(NotOnce::Full));
        assert_eq!(once.take(&["a"], NOW.plus(1000), NOW), Err(NotOnce::Again));
        assert_eq!(once.take(&["c"], NOW.plus(99_000), NOW.plus(90_000)), Ok(()));
        assert!(!once.is_empty());
    }
}
