//! What came of calls that were made with a yes, for whoever repeats them: never a second effect, the same answer.
//!
//! Plain, in memory only, for as long as a repeat is told of it at all; what is gone is gone, and the record has the
//! digest.

use bytes::Bytes;
use portreeve_core::{hash::Hash, names::EffectId, state::AGAIN_MS};
use portreeve_mcp::version::Version;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// The outcomes that are kept
#[derive(Debug, Default)]
pub struct Outcomes {
    // Held only to put something in or take it out.
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    effects: HashMap<EffectId, watch::Sender<Progress>>,
    /// What has ended, the oldest first, with its length
    ended: VecDeque<(Instant, EffectId, usize)>,
    bytes: usize,
}

/// How far a call has come that was made with a yes
#[derive(Clone, Debug)]
pub enum Progress {
    /// It is under way
    UnderWay,
    /// It has ended
    Over(Arc<Kept>),
}

/// How a call was answered
#[derive(Debug)]
pub struct Kept {
    /// The answer as its client got it, if it is kept
    pub answer: Option<Bytes>,
    /// The version that this is written in
    pub version: Version,
    /// SHA-256 of what the connector answered
    pub digest: Hash,
}

/// A call that is being made with a yes; if this is dropped before it was answered, nothing is kept of it
#[derive(Debug)]
pub struct Keeping {
    outcomes: Arc<Outcomes>,
    effect: EffectId,
}

/// For how long an outcome is kept
const AGE_MAX: Duration = Duration::from_millis(AGAIN_MS.unsigned_abs());
/// Bytes of one outcome that are kept; of longer ones the digest is
const ONE_BYTES_MAX: usize = 64 << 10;
/// Bytes that are kept of all of them
const ALL_BYTES_MAX: usize = 16 << 20;
/// Outcomes of which anything is kept
const ALL_MAX: usize = 16_384;

impl Outcomes {
    /// A call begins to be made
    #[must_use]
    pub fn begin(self: &Arc<Self>, effect: EffectId) -> Keeping {
        self.all().effects.insert(effect, watch::Sender::new(Progress::UnderWay));
        Keeping { outcomes: Arc::clone(self), effect }
    }

    /// How far a call has come; nothing if nothing is known of it here
    #[must_use]
    pub fn of(&self, effect: EffectId) -> Option<watch::Receiver<Progress>> {
        let mut all = self.all();
        all.tidy(Instant::now());
        all.effects.get(&effect).map(watch::Sender::subscribe)
    }

    fn all(&self) -> std::sync::MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    fn tidy(&mut self, now: Instant) {
        while let Some((ended, effect, bytes)) = self.ended.front().copied() {
            let is_old = now.saturating_duration_since(ended) >= AGE_MAX;
            if !is_old && self.bytes <= ALL_BYTES_MAX && self.ended.len() <= ALL_MAX {
                return;
            }
            self.ended.pop_front();
            self.bytes = self.bytes.saturating_sub(bytes);
            self.effects.remove(&effect);
        }
    }
}

impl Keeping {
    /// The call was answered so
    pub fn answered(self, answer: &Bytes, version: Version, digest: Hash) {
        let kept = (answer.len() <= ONE_BYTES_MAX).then(|| answer.clone());
        let bytes = kept.as_ref().map_or(0, Bytes::len);
        let over = Progress::Over(Arc::new(Kept { answer: kept, version, digest }));
        let mut all = self.outcomes.all();
        if let Some(sender) = all.effects.get(&self.effect) {
            sender.send_replace(over);
            let now = Instant::now();
            all.ended.push_back((now, self.effect, bytes));
            all.bytes = all.bytes.saturating_add(bytes);
            all.tidy(now);
        }
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        let mut all = self.outcomes.all();
        let is_open =
            all.effects.get(&self.effect).is_some_and(|sender| matches!(*sender.borrow(), Progress::UnderWay));
        if is_open {
            // Whoever waits for it sees the channel close.
            all.effects.remove(&self.effect);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(outcomes: &Outcomes, effect: u64) -> Option<Option<Bytes>> {
        let receiver = outcomes.of(EffectId(effect))?;
        match &*receiver.borrow() {
            Progress::UnderWay => panic!("it is under way"),
            Progress::Over(kept) => Some(kept.answer.clone()),
        }
    }

    #[test]
    fn an_answer_is_kept_until_it_is_too_old_or_too_much() {
        let outcomes = Arc::new(Outcomes::default());
        let keep = |effect, answer: &Bytes| {
            outcomes.begin(EffectId(effect)).answered(answer, Version::LATEST, Hash::of(answer))
        };
        keep(1, &Bytes::from_static(b"{}"));
        assert_eq!(kept(&outcomes, 1), Some(Some(Bytes::from_static(b"{}"))));
        keep(2, &Bytes::from(vec![b' '; ONE_BYTES_MAX + 1]));
        assert_eq!(kept(&outcomes, 2), Some(None), "only that it was, and its digest");
        assert_eq!(kept(&outcomes, 3), None);
        let long = Bytes::from(vec![b' '; ONE_BYTES_MAX]);
        for effect in 10..10 + (ALL_BYTES_MAX / ONE_BYTES_MAX) as u64 {
            keep(effect, &long);
        }
        assert_eq!(kept(&outcomes, 1), None, "the oldest goes first");
        assert!(outcomes.all().bytes <= ALL_BYTES_MAX);
        outcomes.all().tidy(Instant::now() + AGE_MAX);
        assert!(outcomes.all().effects.is_empty() && outcomes.all().bytes == 0);
    }

    #[test]
    fn whoever_waits_for_a_call_that_was_given_up_hears_so() {
        let outcomes = Arc::new(Outcomes::default());
        let keeping = outcomes.begin(EffectId(1));
        let waits = outcomes.of(EffectId(1)).unwrap();
        assert!(matches!(*waits.borrow(), Progress::UnderWay));
        drop(keeping);
        assert!(waits.has_changed().is_err(), "closed");
        assert!(outcomes.of(EffectId(1)).is_none());
    }
}
