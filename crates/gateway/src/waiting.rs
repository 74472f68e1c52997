//! Waits for people, for as long as whoever asked waits; woken by the door, never by asking again and again.

use crate::{client::Client, door::Door};
use portreeve_core::{
    hash::Hash,
    life::Happened,
    names::{HoldId, RunId},
    node::Why,
    state::Phase,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// Those who wait for people
#[derive(Debug)]
pub struct Waiting {
    door: Door,
    // Held only to count.
    per_run: Arc<PerRun>,
}

type PerRun = Mutex<HashMap<RunId, usize>>;

/// How long a call waits for people, and what it has seen of its question
#[derive(Debug)]
pub struct Patience {
    until: Option<Instant>,
    seen: Option<(HoldId, Standing)>,
    /// Whether the question was over without an answer
    pub lapsed: bool,
}

/// What of a question can change while it waits
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    answers: usize,
    bundle: Option<Hash>,
}

enum Look {
    /// It waits
    Waits(Standing),
    /// Nobody answered in time, or somebody took it away
    Lapsed,
    /// It was used or declined, or its task is over
    Moved,
}

/// Requests of one run that wait for people at once: the rest are told at once that they are asked
const OF_RUN_MAX: usize = 16;
/// How often a client that follows its progress is told that it waits
const TELL: Duration = Duration::from_secs(15);

impl Patience {
    /// None: nobody waits
    #[must_use]
    pub fn none() -> Self {
        Self { until: None, seen: None, lapsed: false }
    }

    /// For so long
    #[must_use]
    pub fn of(wait: Duration) -> Self {
        Self { until: (!wait.is_zero()).then(|| Instant::now() + wait), ..Self::none() }
    }

    /// When it ends, if there is any
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether what is seen now could be judged in another way than what was judged last
    fn is_news(&mut self, hold: HoldId, now: Standing) -> bool {
        match self.seen.replace((hold, now)) {
            Some((known, before)) if known == hold => before != now,
            // An answer may have come between the judgement and this first look.
            _ => now.answers > 0,
        }
    }
}

impl Waiting {
    /// Nobody waits
    #[must_use]
    pub fn new(door: Door) -> Self {
        Self { door, per_run: Arc::default() }
    }

    /// Returns once something about a question has changed, or whoever asked has no patience any more
    ///
    /// A client that follows its progress is told now and then that it waits.
    pub async fn wait(&self, hold: HoldId, patience: &mut Patience, client: &Client) -> Happened {
        let (Some(until), Some(_place)) = (patience.until, self.place(client)) else { return Happened::Waited };
        let mut changes = self.door.question(hold);
        let mut tell = interval(TELL);
        tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = 0;
        loop {
            changes.mark_unchanged();
            match self.look(hold).await {
                Look::Moved => return Happened::Changed,
                Look::Lapsed => {
                    patience.lapsed = true;
                    return Happened::Waited;
                }
                Look::Waits(now) if patience.is_news(hold, now) => return Happened::Changed,
                Look::Waits(_) => {}
            }
            loop {
                tokio::select! {
                    changed = changes.changed() => match changed {
                        true => break,
                        false => return Happened::Waited,
                    },
                    () = sleep_until(until) => return Happened::Waited,
                    _ = tell.tick() => {
                        client.waits_for(told, &format!("waiting for {}", hold.code()));
                        told += 1;
                    }
                }
            }
        }
    }

    async fn look(&self, id: HoldId) -> Look {
        let look = self.door.ask(move |engine| {
            let state = engine.state();
            let Some(hold) = state.hold(id) else { return Look::Moved };
            let lives = hold.held.task.is_none_or(|task| state.task(task).is_some());
            match hold.phase {
                Phase::Open => Look::Waits(Standing { answers: hold.answers.len(), bundle: state.bundle() }),
                Phase::Over { why: Why::Expired | Why::Killed, .. } if lives => Look::Lapsed,
                _ => Look::Moved,
            }
        });
        look.await.unwrap_or(Look::Moved)
    }

    /// A place among those of a run that wait; whoever nobody waits for needs none
    #[must_use]
    pub fn place(&self, client: &Client) -> Option<WaitPlace> {
        if client.is_away() {
            return Some(WaitPlace(None));
        }
        let mut all = self.per_run.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(client.run).or_default();
        (*count < OF_RUN_MAX).then(|| {
            *count += 1;
            WaitPlace(Some((Arc::clone(&self.per_run), client.run)))
        })
    }
}

/// A request that is counted among those that wait; leaving is dropping this
#[derive(Debug)]
pub struct WaitPlace(Option<(Arc<PerRun>, RunId)>);

impl Drop for WaitPlace {
    fn drop(&mut self) {
        let Some((all, run)) = &self.0 else { return };
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(run) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_judged_already_is_no_news_and_what_may_not_have_been_is() {
        let (a, b) = (HoldId(1), HoldId(2));
        let at = |answers| Standing { answers, bundle: None };
        let mut patience = Patience::of(Duration::from_secs(1));
        assert!(!patience.is_news(a, at(0)), "just put");
        assert!(!patience.is_news(a, at(0)));
        assert!(patience.is_news(a, at(1)), "an answer came");
        assert!(!patience.is_news(a, at(1)), "it was not enough, and is judged once");
        assert!(patience.is_news(a, Standing { answers: 1, bundle: Some(Hash::of(b"other")) }));
        assert!(!patience.is_news(b, at(0)), "another question");
        let mut late = Patience::of(Duration::from_secs(1));
        assert!(late.is_news(b, at(1)), "it may have come before the first look");
        assert!(!late.is_news(b, at(1)));
        assert_eq!(Patience::of(Duration::ZERO).until(), None);
    }
}
