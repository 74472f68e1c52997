//! Sending a call, and what becomes of it.

use super::{
    Back, Called, Carrier, Flowing, Heard, Hearing, Inner, Link, Session, Sessions, Unready, Whole, failed,
    hear::Posted,
};
use crate::{
    event::Event,
    http::{Failure, Gate, Http},
    latch::{Pass, Withdrawal},
    patience::Patience,
    room::{Caller, limits, refusal},
};
use http::StatusCode;
use portreeve_mcp::{
    asked::UNSUPPORTED_VERSION,
    client,
    message::{Message, Shape},
    method::Method,
    mirror::Mirrored,
    outcome::Outcome,
    params::Level,
    translate::{self, ToConnector},
    version::{Era, Version},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::mpsc;

/// A request of a client on its way to a connector
#[derive(Clone, Copy, Debug)]
pub struct Sending<'a> {
    /// The client's own bytes
    pub bytes: &'a [u8],
    /// The same, read
    pub message: &'a Message<'a>,
    /// What it asks for
    pub method: Method,
    /// The version that the client speaks
    pub from: Version,
    /// The connector's own name of the tool or prompt, if the client knows it by another one
    pub name: Option<&'a str>,
    /// The connector's own state, unsealed
    pub state: Option<&'a str>,
    /// `traceparent` of our own span
    pub trace: Option<&'a str>,
    /// From which level on the client wants to be told what is logged
    pub log_level: Option<Level>,
    /// The arguments that are repeated in headers
    pub mirrored: &'a [Mirrored],
    /// Whether the answer is needed as a whole, however long; beyond 16 MiB it is lost then
    pub whole: bool,
    /// Bytes of an answer that is passed on while it arrives, at most
    pub bytes_max: u64,
}

/// What the way of a call is
pub(super) struct Way<'w> {
    pub(super) http: &'w Arc<Http>,
    pub(super) sessions: &'w Sessions,
    pub(super) id: u64,
    pub(super) body: Vec<u8>,
    pub(super) mirrored: &'w [Mirrored],
    pub(super) whole: bool,
}

impl Link {
    /// Sends a request through its pass, and returns once its answer is here or, if it is a long one, arriving
    ///
    /// What the connector says on the way goes to `events`; what has no room there is dropped. `within` is how long it
    /// may be silent; progress starts that anew, ten times at most. Dropping the future cancels the call.
    ///
    /// A session that expired is opened anew, and the message sent again, once and only if the server answered with
    /// 404 for the session, which says that it did nothing.
    ///
    /// # Errors
    /// [`Failure`]: whether anything was sent.
    pub async fn send(
        &self,
        sending: Sending<'_>,
        pass: Pass,
        within: Duration,
        events: mpsc::Sender<Event>,
    ) -> Result<Called, Failure> {
        let inner = &self.inner;
        let version = inner.hello.version;
        if !sending.method.from_client(version.era()) {
            let (method, version) = (sending.method.as_str(), version.as_str());
            return Err(Failure::NotSent(format!("the server speaks {version}, which has no {method}")));
        }
        let id = inner.id();
        let to = ToConnector {
            id,
            version,
            from: sending.from,
            can: inner.can,
            name: sending.name,
            state: sending.state,
            trace: sending.trace,
            log_level: sending.log_level,
        };
        let body = translate::request(sending.bytes, sending.message, &to);
        let (long, patience) = (!sending.whole, Patience::new(within));
        let caller = Caller { answer: None, long, events: Some(events), patience };
        let mut under_way = UnderWay { inner: Arc::clone(inner), id, withdrawal: pass.withdrawal(), answered: false };
        let heard = match &inner.carrier {
            Carrier::Child(child) => child.ask(id, body, Some(pass), caller).await.map(Heard::from),
            Carrier::Http { http, sessions } => {
                let Sending { mirrored, whole, .. } = sending;
                inner.call(Way { http, sessions, id, body, mirrored, whole }, pass, caller).await
            }
        };
        under_way.answered = matches!(heard, Ok(Heard::Whole(_)) | Err(Failure::NotSent(_) | Failure::Rejected(_)));
        match heard? {
            Heard::Whole(message) => {
                let whole = Whole::read(message, id, version, sending.method, inner.can)?;
                inner.learn(&whole);
                Ok(Called::Whole(whole))
            }
            Heard::Long(source) => {
                let (own, silence, bytes_max) = (id, within, sending.bytes_max);
                Ok(Called::Long(Flowing { source, own, under_way, silence, bytes_max }))
            }
        }
    }
}

impl Inner {
    pub(super) async fn call(&self, way: Way<'_>, pass: Pass, caller: Caller) -> Result<Heard, Failure> {
        let gate = Gate::new(Some(pass), way.http.clock());
        let patience = Arc::clone(&caller.patience);
        let Some(_entered) = self.room.enter(way.id, caller) else {
            return Err(Failure::NotSent("the connection to the server was ended".to_owned()));
        };
        let sent = patience.limit(self.post(&way, &gate)).await;
        sent.unwrap_or_else(|| Err(failed(&gate, "no answer in time".to_owned())))
    }

    async fn post(&self, way: &Way<'_>, gate: &Arc<Gate>) -> Result<Heard, Failure> {
        let session = way.sessions.now();
        let posted = self.once(way, &session, gate).await?;
        if posted.status != StatusCode::NOT_FOUND || session.id.is_none() {
            return self.accept(posted);
        }
        // Terminated (2025-11-25, Session Management): the server says that it did nothing.
        let rejected = |why: String| Failure::Rejected(format!("it ended the session; {why}"));
        let renewed = self.renew(way.http, way.sessions, &session).await;
        let renewed = renewed.map_err(|unready: Unready| rejected(format!("no other one was opened: {unready}")))?;
        match self.once(way, &renewed, &gate.again()).await {
            Ok(posted) if posted.status == StatusCode::NOT_FOUND => {
                self.over.store(true, Ordering::Relaxed);
                Err(rejected("it knows the next one no better".to_owned()))
            }
            Ok(posted) => self.accept(posted),
            Err(Failure::NotSent(why)) => Err(rejected(why)),
            Err(failure) => Err(failure),
        }
    }

    async fn once(&self, way: &Way<'_>, session: &Arc<Session>, gate: &Arc<Gate>) -> Result<Posted, Failure> {
        let hearing = Hearing { http: way.http, session, room: &self.room, id: way.id, whole: way.whole };
        let posted = hearing.post(way.body.clone(), way.mirrored, gate).await;
        posted.map_err(|trouble| failed(gate, trouble.to_string()))
    }

    /// What an HTTP status means for a call
    fn accept(&self, posted: Posted) -> Result<Heard, Failure> {
        let Posted { status, heard, .. } = posted;
        let message = match heard {
            Heard::Long(source) => return Ok(Heard::Long(source)),
            Heard::Whole(message) if status.is_success() && !message.is_empty() => return Ok(Heard::Whole(message)),
            Heard::Whole(message) => message,
        };
        if status.is_client_error() {
            // An error that says whose it is, is the answer; one that does not was made before the request was read.
            match answers(&message) {
                Some(true) => return Ok(Heard::Whole(message)),
                Some(false) => {
                    let why = refusal(&message).unwrap_or_default();
                    return Err(Failure::Rejected(format!("HTTP status {status}, {why}")));
                }
                None => {}
            }
        }
        match status {
            StatusCode::NOT_FOUND => {
                // Perhaps it speaks otherwise by now; the next call finds out.
                self.over.store(true, Ordering::Relaxed);
                Err(Failure::Rejected("it is not there any more; the next call looks for it anew".to_owned()))
            }
            // These say by their definition that the request was not acted upon (RFC 9110, 15.5).
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Err(Failure::Rejected(format!("HTTP status {status}"))),
            status => Err(Failure::Lost(format!("the server answered with HTTP status {status}"))),
        }
    }

    /// What an answer says of the connector itself
    fn learn(&self, answer: &Whole) {
        if answer.stale {
            self.room.mark_changed();
        }
        if let (Outcome::Error { code: UNSUPPORTED_VERSION }, Carrier::Http { http, .. }) =
            (&answer.outcome, &self.carrier)
        {
            http.learn(None);
            self.over.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether these bytes are an answer, and if so whether it says to which request
pub(super) fn answers(bytes: &[u8]) -> Option<bool> {
    match Message::read_answer(bytes, &limits()).ok()?.shape() {
        Shape::Response { id, .. } => Some(id.is_some()),
        Shape::Request { .. } | Shape::Notification { .. } => None,
    }
}

/// A call that is waited for; if the waiting ends before an answer, the connector is told
#[derive(Debug)]
pub(super) struct UnderWay {
    inner: Arc<Inner>,
    id: u64,
    withdrawal: Withdrawal,
    pub(super) answered: bool,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // What has not begun to leave never will, and wants no telling.
        if self.answered || self.withdrawal.withdraw() || self.inner.is_over() {
            return;
        }
        let back = self.inner.back();
        match back {
            // Its stream is closed, which says the same (2026-07-28, Streamable HTTP, Cancellation).
            Back::Http { .. } if self.inner.era() == Era::Modern => {}
            Back::Http { .. } | Back::Child(_) => back.say(client::cancelled(self.id, "no longer waited for")),
        }
    }
}
