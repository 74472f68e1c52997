//! What is under way for whom: how it is counted, and how it is called off.

use crate::{asks::Asks, client::Client, settings::REQUESTS_PER_RUN_MAX, using::Using};
use portreeve_core::names::{EffectId, RunId};
use portreeve_upstream::{http::Failure, latch::Withdrawal};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// Requests and effects that are waited for
#[derive(Debug)]
pub struct UnderWay {
    // Held only for a look-up, never across an await.
    all: Mutex<All>,
    /// How many stops there were
    stops: watch::Sender<u64>,
    /// Rung when an effect is not waited for any more
    left: Notify,
}

#[derive(Debug, Default)]
struct All {
    cancels: HashMap<EffectId, watch::Sender<Option<String>>>,
    by_request: HashMap<RequestKey, EffectId>,
    per_run: HashMap<RunId, usize>,
}

/// How a client names one of its requests: run, session or endpoint, id
pub type RequestKey = (RunId, String, String);

/// Places beyond those for requests, so that what ends a wait always finds one
const RESERVE: usize = 16;

impl UnderWay {
    /// Nothing yet
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { all: Mutex::default(), stops: watch::Sender::new(0), left: Notify::new() })
    }

    /// A place for one request of a run; none if it has as many as it may have
    #[must_use]
    pub fn place(self: &Arc<Self>, run: RunId) -> Option<Place> {
        let mut all = self.all();
        let count = all.per_run.entry(run).or_default();
        (*count < REQUESTS_PER_RUN_MAX + RESERVE).then(|| {
            *count += 1;
            Place { under_way: Arc::clone(self), run }
        })
    }

    /// Whether a run has as many requests as it may have: what it has beyond that is for answers and cancellations
    #[must_use]
    pub fn is_full(&self, run: RunId) -> bool {
        self.all().per_run.get(&run).is_some_and(|count| *count > REQUESTS_PER_RUN_MAX)
    }

    /// Has an effect end early, as soon as what it rests on does
    #[must_use]
    pub fn watch(self: &Arc<Self>, effect: EffectId) -> Watched {
        let (cancel, cancelled) = watch::channel(None);
        self.all().cancels.insert(effect, cancel);
        Watched { under_way: Arc::clone(self), effect, cancelled }
    }

    /// A call begins; what goes on by itself takes no place of the run's requests
    #[must_use]
    pub fn enter(self: &Arc<Self>, using: &Using<'_>, place: Option<Place>, asks: Arc<Asks>) -> Entered {
        let (watched, key) = (self.watch(using.call.effect), using.key.clone());
        // An id that is used twice at once names the first call.
        self.all().by_request.entry(key.clone()).or_insert(watched.effect);
        Entered { watched, key, asks, _place: place }
    }

    /// Stops waiting for an effect
    pub fn cancel(&self, effect: EffectId, why: &str) {
        if let Some(cancel) = self.all().cancels.get(&effect) {
            cancel.send_replace(Some(why.to_owned()));
        }
    }

    /// Stops waiting for the call that a client names by its request
    pub fn cancel_request(&self, key: &RequestKey) {
        let effect = self.all().by_request.get(key).copied();
        if let Some(effect) = effect {
            self.cancel(effect, "the client cancelled it");
        }
    }

    /// Stops waiting for everything, and returns once nothing is under way, or after `within`
    pub async fn end(&self, within: Duration) {
        let effects: Vec<EffectId> = self.all().cancels.keys().copied().collect();
        for effect in effects {
            self.cancel(effect, ENDING);
        }
        let none_left = async {
            loop {
                let left = self.left.notified();
                if self.all().cancels.is_empty() {
                    return;
                }
                left.await;
            }
        };
        let _ = tokio::time::timeout(within, none_left).await;
    }

    /// Something was stopped: what is being prepared looks whether it still may go on
    pub fn look_again(&self) {
        self.stops.send_modify(|stops| *stops += 1);
    }

    /// Told whenever something was stopped
    #[must_use]
    pub fn stops(&self) -> watch::Receiver<u64> {
        self.stops.subscribe()
    }

    fn all(&self) -> std::sync::MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const ENDING: &str = "Portreeve is ending";

/// An effect that is waited for; leaving is dropping this
#[derive(Debug)]
pub struct Watched {
    under_way: Arc<UnderWay>,
    effect: EffectId,
    cancelled: watch::Receiver<Option<String>>,
}

impl Watched {
    /// Returns once it is not to be waited for any more, and says why
    pub async fn cancelled(&mut self) -> String {
        match self.cancelled.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => ENDING.to_owned(),
        }
    }

    /// As [`cancelled`](Self::cancelled), or once the client has hung up, where that means anything
    pub async fn cancelled_or_gone(&mut self, client: &Client) -> String {
        tokio::select! {
            why = self.cancelled() => why,
            () = client.gone() => "the client hung up".to_owned(),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.under_way.all().cancels.remove(&self.effect);
        self.under_way.left.notify_waiters();
    }
}

/// A call that is counted; leaving is dropping this
#[derive(Debug)]
pub struct Entered {
    watched: Watched,
    key: RequestKey,
    asks: Arc<Asks>,
    _place: Option<Place>,
}

impl Entered {
    /// The leg that is under way now: whoever cancels it cancels the call
    pub fn goes_on(&mut self, effect: EffectId) {
        let before = std::mem::replace(&mut self.watched.effect, effect);
        if before == effect {
            return;
        }
        let mut all = self.watched.under_way.all();
        if let Some(cancel) = all.cancels.remove(&before) {
            all.cancels.insert(effect, cancel);
        }
        if let Some(named) = all.by_request.get_mut(&self.key).filter(|named| **named == before) {
            *named = effect;
        }
        drop(all);
        self.asks.over(before);
    }

    /// Why it is not to be waited for any more, if that is so already
    #[must_use]
    pub fn was_cancelled(&self) -> Option<String> {
        self.watched.cancelled.borrow().clone()
    }

    /// Returns once the call is not waited for any more, and says why
    pub async fn cancelled(&mut self, client: &Client) -> String {
        self.watched.cancelled_or_gone(client).await
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let effect = self.watched.effect;
        let mut all = self.watched.under_way.all();
        if all.by_request.get(&self.key) == Some(&effect) {
            all.by_request.remove(&self.key);
        }
        drop(all);
        self.asks.over(effect);
    }
}

/// A request of a run that is in the house; leaving is dropping this
#[derive(Debug)]
pub struct Place {
    under_way: Arc<UnderWay>,
    run: RunId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.under_way.all();
        if let Some(count) = all.per_run.get_mut(&self.run) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.per_run.remove(&self.run);
            }
        }
    }
}

/// Waits for something that is being sent, unless it is called off
///
/// # Errors
/// [`Failure`]: what was called off before it began is not sent; dropping `sending` closes its connection, and what had
/// not begun never will.
pub async fn unless<T>(
    cancelled: impl Future<Output = String>,
    sending: impl Future<Output = Result<T, Failure>>,
    withdrawal: &Withdrawal,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        sent = sending => sent,
        why = cancelled => {
            if withdrawal.withdraw() { Err(Failure::NotSent(why)) } else { Err(Failure::Lost(why)) }
        }
    }
}
