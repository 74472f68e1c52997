//! News for open pages: that something happened, never what. The page then asks for itself anew.

use crate::{
    Console,
    desk::Problem,
    guard::{self, Visitor},
    pages::Refusal,
};
use axum::{
    extract::State,
    response::sse::{Event, Sse},
};
use futures_util::stream::{self, Stream};
use http::HeaderMap;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep, timeout},
};

/// A stream of `changed`, whose id is the position of the record
pub(crate) async fn stream(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let permit = Arc::clone(&console.streams).try_acquire_owned().map_err(|_| {
        let message = "Too many pages are open at once.";
        visitor.refuse()(Problem::new(503, "too_many", message, "Close some; pages work without news, too."))
    })?;
    // Where the page stands that asks; the first event tells a new one where the record is.
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let changes = console.desk.changes();
    let until = Instant::now() + LIFETIME;
    let news = News { console, cookie: visitor.cookie, changes, told: seen, until, _permit: permit };
    Ok(Sse::new(stream::unfold(news, |mut news| async move {
        let event = news.next().await?;
        Some((Ok(event), news))
    })))
}

struct News {
    console: Arc<Console>,
    cookie: String,
    changes: watch::Receiver<u64>,
    /// The position that was told last
    told: Option<u64>,
    until: Instant,
    _permit: OwnedSemaphorePermit,
}

impl News {
    /// The next event; nothing once the session or the time of the stream is over
    async fn next(&mut self) -> Option<Event> {
        if self.told.is_some() {
            // Many changes at once are one piece of news.
            sleep(PAUSE).await;
        }
        // A page that only listens does not keep its session alive.
        let session = self.console.sessions.peek(&self.cookie, self.console.desk.now())?;
        guard::person(&self.console, session.bearer, session.how.how()).await.ok().flatten()?;
        if Instant::now() >= self.until {
            return None;
        }
        let position = *self.changes.borrow_and_update();
        if self.told == Some(position) {
            match timeout(HEARTBEAT, self.changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(Event::default().comment("")),
            }
        }
        let position = *self.changes.borrow_and_update();
        self.told = Some(position);
        Some(Event::default().event("changed").id(position.to_string()).data(position.to_string()).retry(RETRY))
    }
}

/// Streams of all visitors at once
pub(crate) const STREAMS_MAX: usize = 256;
/// After this a browser connects anew
const LIFETIME: Duration = Duration::from_secs(600);
/// A sign of life, so that nobody in between takes the stream for dead
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The least time between two events
const PAUSE: Duration = Duration::from_millis(200);
/// When a browser tries again
const RETRY: Duration = Duration::from_secs(2);
