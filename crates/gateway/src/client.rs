//! The client's end of one request: who asks, how it speaks, and where it is told things.
//!
//! A client of the era with a session is asked things on the stream of its request; one of the era without it
//! is told `input_required`, and comes back with a new request that takes the old one's place here.

use crate::{
    outlet::{Last, Outlet},
    session::{Answered, Session},
    settings::answer_limits,
};
use portreeve_core::{names::RunId, time::Millis};
use portreeve_mcp::{
    can::Can,
    message::Message,
    outcome::{self, Question},
    params::Level,
    reply::people,
    translate,
    version::{Era, Version},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// The client's end of one request
#[derive(Debug)]
pub struct Client {
    /// The run that its token names
    pub run: RunId,
    /// When that token is over
    pub until: Millis,
    /// The version that it speaks in this request
    pub version: Version,
    /// What it can do for a server
    pub can: Can,
    /// Its session, in the era that has them
    pub session: Option<Arc<Session>>,
    /// The level from which on it wants log messages
    pub log_level: Option<Level>,
    /// Whether nobody listens: the call goes on by itself
    away: bool,
    // Held only to take it out or to put another one in.
    waits: Mutex<Option<Waits>>,
    resumed: Notify,
}

/// A request that waits for its answer
#[derive(Debug)]
pub struct Waits {
    /// Its id, as it was written
    pub id: String,
    /// The token, as it was written, with which its progress is followed
    pub progress: Option<String>,
    /// Where it is answered
    pub outlet: Outlet,
}

/// Who asks, and how: what is known before the request is read
#[derive(Clone, Debug)]
pub struct Speaker {
    /// The run that the token names
    pub run: RunId,
    /// When the token is over
    pub until: Millis,
    /// The version of this request
    pub version: Version,
    /// What the client can do for a server
    pub can: Can,
    /// Its session, in the era that has them
    pub session: Option<Arc<Session>>,
    /// The level from which on it wants log messages
    pub log_level: Option<Level>,
}

/// How long an answer waits for a client that was asked something and has not come back
pub const HELD_MAX: Duration = Duration::from_secs(600);

impl Client {
    /// The end of one request
    #[must_use]
    pub fn new(speaker: Speaker, waits: Waits) -> Arc<Self> {
        let Speaker { run, until, version, can, session, log_level } = speaker;
        // Whoever takes no stream can be asked nothing on it.
        let can = if version.era() == Era::Legacy && !waits.outlet.streams() { Can::NONE } else { can };
        let waits = Mutex::new(Some(waits));
        Arc::new(Self { run, until, version, can, session, log_level, away: false, waits, resumed: Notify::new() })
    }

    /// The end of a call that goes on by itself: nobody hears what is told on the way, or can be asked anything
    #[must_use]
    pub fn away(run: RunId, until: Millis, version: Version) -> Arc<Self> {
        let (waits, resumed) = (Mutex::default(), Notify::new());
        let (can, session, log_level) = (Can::NONE, None, None);
        Arc::new(Self { run, until, version, can, session, log_level, away: true, waits, resumed })
    }

    /// Whether nobody listens
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.away
    }

    /// Tells whoever follows the progress of its request what it waits for; dropped where there is no room
    pub fn waits_for(&self, count: u32, what: &str) {
        let waits = self.waits();
        if let Some((waits, token)) = waits.as_ref().and_then(|waits| Some((waits, waits.progress.as_ref()?))) {
            // Far below whatever the connector counts by later, since progress only ever rises.
            let told = people::progress(token, f64::from(count) / 1_000_000.0, what);
            let _ = waits.outlet.try_tell(told);
        }
    }

    /// How it is spoken to
    #[must_use]
    pub fn era(&self) -> Era {
        self.version.era()
    }

    /// Answers the request that waits now; one that was answered by a question has to come back first
    pub async fn answer(&self, answer: impl FnOnce(&str) -> Last) {
        let waits = tokio::time::timeout(HELD_MAX, async {
            loop {
                let resumed = self.resumed.notified();
                if let Some(waits) = self.take() {
                    return waits;
                }
                resumed.await;
            }
        });
        if let Ok(waits) = waits.await {
            waits.outlet.last(answer(&waits.id)).await;
        }
    }

    /// Another request takes the place of the one that was answered by a question
    ///
    /// What waited there already, and is not going to be answered, is handed back.
    #[must_use]
    pub fn resume(&self, waits: Waits) -> Option<Waits> {
        let before = self.waits().replace(waits);
        self.resumed.notify_waiters();
        before
    }

    /// Takes the waiting request out, to be answered elsewhere
    #[must_use]
    pub fn take(&self) -> Option<Waits> {
        self.waits().take()
    }

    /// Returns once the client has hung up; never where that means nothing
    pub async fn gone(&self) {
        if self.era() == Era::Legacy {
            return std::future::pending().await;
        }
        loop {
            let resumed = self.resumed.notified();
            let Some(outlet) = self.outlet() else {
                resumed.await;
                continue;
            };
            outlet.closed().await;
            // Not if it was answered by a question meanwhile, nor if another request has taken its place since.
            if self.outlet().is_some_and(|outlet| outlet.is_closed()) {
                return;
            }
        }
    }

    /// Passes on what a connector tells on the way
    pub async fn told(&self, notification: &[u8]) {
        let Some((outlet, progress)) =
            self.waits().as_ref().map(|waits| (waits.outlet.clone(), waits.progress.clone()))
        else {
            return;
        };
        let Ok(message) = Message::read_answer(notification, &answer_limits()) else { return };
        // What is logged is told to whoever asked for it (2026-07-28, Logging); clients with sessions ask their server.
        let wanted = match (translate::logged_level(&message), self.log_level, self.era()) {
            (Some(level), Some(from), _) => level >= from,
            (Some(_), None, Era::Modern) => false,
            _ => true,
        };
        if wanted
            && let Some(told) = translate::notification(notification, &message, self.era(), progress.as_deref(), None)
        {
            // A client that does not read keeps its connector waiting, not our memory.
            outlet.tell(told).await;
        }
    }

    /// Asks a client with a session something on the stream of this request; nothing if there is no answer
    pub async fn ask(&self, question: &Question) -> Option<Answered> {
        let (session, outlet) = (self.session.as_ref()?, self.outlet()?);
        let mut asked = session.question()?;
        if !outlet.tell(outcome::ask(asked.number, question, self.version)).await {
            return None;
        }
        tokio::time::timeout(HELD_MAX, asked.answer()).await.ok()?
    }

    fn outlet(&self) -> Option<Outlet> {
        self.waits().as_ref().map(|waits| waits.outlet.clone())
    }

    fn waits(&self) -> std::sync::MutexGuard<'_, Option<Waits>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outlet::Outs;
    use std::pin::pin;

    fn waits() -> (Waits, Outs) {
        let (outlet, outs) = Outlet::new(true);
        (Waits { id: "1".to_owned(), progress: None, outlet }, outs)
    }

    #[tokio::test]
    async fn a_client_that_has_come_back_already_has_not_hung_up() {
        let speaker = Speaker {
            run: RunId(1),
            until: Millis(i64::MAX),
            version: Version::July2026,
            can: Can::NONE,
            session: None,
            log_level: None,
        };
        let (first, answered) = waits();
        let client = Client::new(speaker, first);
        let mut gone = pin!(client.gone());
        assert!(now(gone.as_mut()).await.is_none());
        // It is asked something, and is back before anybody looks at what it left.
        drop(client.take());
        drop(answered);
        let (second, listens) = waits();
        drop(client.resume(second));
        assert!(now(gone.as_mut()).await.is_none());
        drop(listens);
        gone.await;
    }

    /// What a future has now
    async fn now<F: Future + Unpin>(future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = std::future::ready(()) => None,
        }
    }
}
