//! How long an answer is waited for.
//!
//! A sign of progress starts the wait anew, and still there is an end to it. While a question of the connector is
//! open, its call waits for people, and the time stands still; people have a time of their own.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, task::coop::unconstrained, time::Instant};

/// The time of one call
#[derive(Debug)]
pub(crate) struct Patience {
    // Held only to read or change it.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// How long it may be quiet
    silence: Duration,
    /// Of these it has been quiet
    quiet: Duration,
    /// How long it may take, whatever progress it tells
    left: Duration,
    /// How long questions may still be open
    asking: Duration,
    /// Questions that are open
    open: usize,
    /// Up to when all this was counted
    since: Instant,
}

/// How many times as long a call may take that tells progress
pub(crate) const PROGRESS_TIMES: u32 = 10;
/// How long the questions of one call may be open, in all
pub(crate) const QUESTIONS: Duration = Duration::from_secs(600);

impl Patience {
    pub(crate) fn new(within: Duration) -> Arc<Self> {
        let state = State {
            silence: within,
            quiet: Duration::ZERO,
            left: within.saturating_mul(PROGRESS_TIMES),
            asking: QUESTIONS,
            open: 0,
            since: Instant::now(),
        };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// There was a sign of progress
    pub(crate) fn progress(&self) {
        self.change(|state| state.quiet = Duration::ZERO);
    }

    /// A question is open until what is returned is dropped
    pub(crate) fn question(self: &Arc<Self>) -> Open {
        self.change(|state| state.open += 1);
        Open { patience: Arc::clone(self) }
    }

    /// What `work` comes to; nothing if the time is over before
    pub(crate) async fn limit<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            // A connector that never stops talking uses up what this task may do before it has to yield, time after
            // time, and the clock would never get its turn.
            () = unconstrained(self.over()) => None,
        }
    }

    async fn over(&self) {
        loop {
            let changed = self.changed.notified();
            let until = self.change_quietly(|state| state.since + state.waits());
            tokio::select! {
                () = tokio::time::sleep_until(until) => {
                    if self.change_quietly(|state| state.waits().is_zero()) {
                        return;
                    }
                }
                () = changed => {}
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.change_quietly(change);
        self.changed.notify_waiters();
    }

    fn change_quietly<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.count(Instant::now());
        change(&mut state)
    }
}

impl State {
    fn count(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        self.since = now;
        if self.open > 0 {
            self.asking = self.asking.saturating_sub(passed);
        } else {
            self.quiet = self.quiet.saturating_add(passed);
            self.left = self.left.saturating_sub(passed);
        }
    }

    fn waits(&self) -> Duration {
        if self.open > 0 { self.asking } else { self.silence.saturating_sub(self.quiet).min(self.left) }
    }
}

/// A question that is open
#[derive(Debug)]
pub(crate) struct Open {
    patience: Arc<Patience>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.patience.change(|state| state.open = state.open.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn item_33_progress_starts_the_wait_anew_and_still_it_ends() {
        let patience = Patience::new(2 * SECOND);
        let begun = Instant::now();
        let progress = async {
            loop {
                tokio::time::sleep(SECOND).await;
                patience.progress();
            }
        };
        assert_eq!(patience.limit::<()>(progress).await, None);
        assert_eq!(begun.elapsed().as_secs(), 20, "ten times as long, and no longer");
        let patience = Patience::new(2 * SECOND);
        let begun = Instant::now();
        assert_eq!(patience.limit(std::future::pending::<()>()).await, None);
        assert_eq!(begun.elapsed().as_secs(), 2);
    }

    #[tokio::test]
    async fn the_time_of_a_connector_that_never_stops_talking_is_over_too() {
        let talks = async {
            loop {
                tokio::task::consume_budget().await;
            }
        };
        let patience = Patience::new(Duration::from_millis(20));
        let limited = tokio::time::timeout(30 * SECOND, patience.limit::<()>(talks)).await;
        assert_eq!(limited, Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_stands_still_while_a_question_is_open_and_not_for_ever() {
        let patience = Patience::new(2 * SECOND);
        let begun = Instant::now();
        let asked = async {
            tokio::time::sleep(SECOND).await;
            let open = patience.question();
            tokio::time::sleep(100 * SECOND).await;
            drop(open);
            std::future::pending::<()>().await;
        };
        assert_eq!(patience.limit(asked).await, None);
        assert_eq!(begun.elapsed().as_secs(), 102);
        let patience = Patience::new(2 * SECOND);
        let begun = Instant::now();
        let _open = patience.question();
        assert_eq!(patience.limit(std::future::pending::<()>()).await, None);
        assert_eq!(begun.elapsed(), QUESTIONS);
    }
}
