//! Wakes those who wait for one question to people when just that one has changed.

use portreeve_core::names::HoldId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// A bell for each question that somebody waits for
#[derive(Debug, Default)]
pub(crate) struct Bells {
    // Held only for a look-up.
    hung: Mutex<Hung>,
}

#[derive(Debug, Default)]
struct Hung {
    bells: HashMap<HoldId, watch::Sender<()>>,
    /// Nothing rings any more
    silent: bool,
}

/// What rings when a question has changed; whoever waits no longer takes it down by dropping it
#[derive(Debug)]
pub struct Bell {
    bells: Arc<Bells>,
    hold: HoldId,
    rope: Option<watch::Receiver<()>>,
}

impl Bells {
    /// A bell for one question
    pub(crate) fn hang(self: &Arc<Self>, hold: HoldId) -> Bell {
        let mut hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        let rope = (!hung.silent).then(|| {
            let bell = hung.bells.entry(hold).or_insert_with(|| watch::channel(()).0);
            bell.subscribe()
        });
        Bell { bells: Arc::clone(self), hold, rope }
    }

    /// These have changed; costs what has changed, however many wait for others
    pub(crate) fn ring(&self, changed: impl IntoIterator<Item = HoldId>) {
        let hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        for hold in changed {
            if let Some(bell) = hung.bells.get(&hold) {
                bell.send_replace(());
            }
        }
    }

    /// Something has changed on which any of them may depend
    pub(crate) fn ring_all(&self) {
        let hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        hung.bells.values().for_each(|bell| bell.send_replace(()));
    }

    /// Tells everybody that nothing rings any more
    pub(crate) fn silence(&self) {
        let mut hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        *hung = Hung { bells: HashMap::new(), silent: true };
    }
}

impl Bell {
    /// Forgets what rang until now, before the question is looked at
    pub fn mark_unchanged(&mut self) {
        if let Some(rope) = &mut self.rope {
            rope.mark_unchanged();
        }
    }

    /// Returns once it has rung since then; false: it never will again
    pub async fn changed(&mut self) -> bool {
        match &mut self.rope {
            Some(rope) => rope.changed().await.is_ok(),
            None => false,
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        let mut hung = self.bells.hung.lock().unwrap_or_else(PoisonError::into_inner);
        // Let go of before it is counted who still holds one.
        drop(self.rope.take());
        if hung.bells.get(&self.hold).is_some_and(|bell| bell.receiver_count() == 0) {
            hung.bells.remove(&self.hold);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::Future as _,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    fn rings(bell: &mut Bell) -> Option<bool> {
        match pin!(bell.changed()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(changed) => Some(changed),
            Poll::Pending => None,
        }
    }

    #[test]
    fn only_those_wake_whose_question_has_changed() {
        let bells = Arc::<Bells>::default();
        let [mut one, mut same, mut other] = [1, 1, 2].map(|id| bells.hang(HoldId(id)));
        bells.ring([HoldId(1), HoldId(3)]);
        assert_eq!((rings(&mut one), rings(&mut same), rings(&mut other)), (Some(true), Some(true), None));
        assert_eq!(rings(&mut one), None, "once");
        bells.ring([HoldId(1)]);
        one.mark_unchanged();
        assert_eq!(rings(&mut one), None, "seen already");
        bells.ring_all();
        assert_eq!((rings(&mut one), rings(&mut other)), (Some(true), Some(true)));
        drop((one, same));
        assert_eq!(bells.hung.lock().unwrap().bells.len(), 1, "nobody waits for it any more");
        bells.silence();
        assert_eq!(rings(&mut other), Some(false));
        assert_eq!(rings(&mut bells.hang(HoldId(2))), Some(false));
    }
}
