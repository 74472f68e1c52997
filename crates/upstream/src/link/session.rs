//! The session with a legacy HTTP connector; with a modern one there is none.

use super::FAREWELL;
use crate::http::{Exchange, Gate, Http, SESSION, Trouble, VERSION};
use http::{HeaderName, HeaderValue, Method};
use portreeve_mcp::{
    message::Message,
    mirror::Mirrored,
    outgoing,
    version::{Era, Version},
};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::AbortHandle;

/// What goes along with every message
#[derive(Debug)]
pub(crate) struct Session {
    /// The server's own name for it, if it gave one
    pub(crate) id: Option<HeaderValue>,
    /// The version that was agreed on; nothing before that
    pub(crate) version: Option<Version>,
}

impl Session {
    /// Posts a message with the headers that belong to it
    pub(crate) async fn post(
        &self,
        http: &Arc<Http>,
        message: Vec<u8>,
        mirrored: &[Mirrored],
        gate: &Arc<Gate>,
    ) -> Result<Exchange, Trouble> {
        let mut headers = self.headers();
        if let Some(version) = self.version.filter(|version| version.era() == Era::Modern) {
            let limits = crate::room::limits();
            let read = Message::read_answer(&message, &limits).map_err(|error| error.to_string())?;
            headers = outgoing::headers(&read, version, mirrored);
        }
        http.begin(Method::POST, headers, message, gate).await
    }

    /// The headers of the session itself
    pub(crate) fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        // 2025-03-26 does not know the header.
        let version = self.version.filter(|version| version.era() == Era::Legacy && *version != Version::March2025);
        let version = version.map(|version| (VERSION, HeaderValue::from_static(version.as_str())));
        let id = self.id.clone().map(|id| (SESSION, id));
        version.into_iter().chain(id).collect()
    }

    /// Tells the server that it is over
    pub(crate) async fn delete(&self, http: &Arc<Http>) {
        let gate = Gate::new(None, http.clock());
        let deleted = tokio::time::timeout(FAREWELL, http.begin(Method::DELETE, self.headers(), Vec::new(), &gate));
        // 405 is as good an answer as any: the session ends when the server forgets it.
        if let Ok(Ok(exchange)) = deleted.await {
            exchange.done();
        }
    }
}

/// The session of a link, and the stream on which the server says what nobody asked for
#[derive(Debug)]
pub(crate) struct Sessions {
    // Each held only for a look-up.
    now: Mutex<Arc<Session>>,
    stream: Mutex<Option<(Arc<Session>, AbortHandle)>>,
    /// One at a time opens the next one; held across awaits on purpose
    pub(crate) renewing: tokio::sync::Mutex<()>,
}

impl Sessions {
    pub(crate) fn new(session: Arc<Session>) -> Self {
        Self { now: Mutex::new(session), stream: Mutex::default(), renewing: tokio::sync::Mutex::default() }
    }

    pub(crate) fn now(&self) -> Arc<Session> {
        Arc::clone(&self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace(&self, session: &Arc<Session>) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(session);
    }

    /// Keeps a stream that is read; the one before ends
    pub(crate) fn keep(&self, stream: Option<(Arc<Session>, AbortHandle)>) {
        let before = std::mem::replace(&mut *self.stream.lock().unwrap_or_else(PoisonError::into_inner), stream);
        if let Some((_, before)) = before {
            before.abort();
        }
    }

    /// Whether a stream of this session was opened, be it that the server has none
    pub(crate) fn is_streaming_of(&self, session: &Arc<Session>) -> bool {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.as_ref().is_some_and(|(of, _)| Arc::ptr_eq(of, session))
    }

    /// Ends the stream, and returns the session that has to be deleted, once
    pub(crate) fn end(&self) -> Option<Arc<Session>> {
        self.keep(None);
        let over = Arc::new(Session { id: None, version: None });
        let last = std::mem::replace(&mut *self.now.lock().unwrap_or_else(PoisonError::into_inner), over);
        last.id.is_some().then_some(last)
    }
}
