//! A connector over Streamable HTTP.
//!
//! A call owns its connection: the future that sends also drives the socket, so dropping it closes the
//! socket at once, and nothing of a cancelled call can be flushed later. Idle connections are kept for the
//! next call. Redirects are never followed, and nothing that the agent sent as a header is passed on.

mod dial;
mod gate;
mod put;
mod terms;

pub(crate) use dial::{NoConnection, Seen, dial, over};
pub use dial::{authorities, public, trusting};
pub(crate) use gate::{Gate, GateState};
pub use put::Put;
pub use terms::{Asked, Terms, Tls};

use crate::{
    clock::SteadyClock,
    identity::{Identity, Mismatch},
};
use bytes::Bytes;
use dial::Stream;
use gate::Gated;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1::{Connection, SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use portreeve_core::{hash::Hash, time::Millis};
use portreeve_mcp::version::Version;
use std::{
    fmt,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

/// A Streamable HTTP endpoint and the idle connections to it
#[derive(Debug)]
pub struct Http {
    uri: Uri,
    host: HeaderValue,
    clock: SteadyClock,
    expected: Option<Identity>,
    tls: Option<Arc<dyn Tls>>,
    put: Put,
    // Each held only for a look-up.
    idle: Mutex<Vec<Idle>>,
    seen: Mutex<Option<Identity>>,
    known: Mutex<Option<Version>>,
}

/// Why there is no answer
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No byte of the message left
    #[error("nothing was sent: {0}")]
    NotSent(String),
    /// It arrived, and the server refused it without doing anything
    #[error("the server refused it: {0}")]
    Rejected(String),
    /// It may have arrived
    #[error("no answer came: {0}")]
    Lost(String),
}

/// Why an address cannot be a connector
#[derive(Debug, thiserror::Error)]
pub enum Address {
    /// It is no http or https URL
    #[error("{0} is no http:// or https:// URL without user, password and fragment")]
    Form(String),
}

/// Why an exchange came to nothing
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// Somebody else is there; nothing was sent
    #[error("{0}")]
    Identity(#[source] Mismatch),
    /// Anything else
    #[error("{0}")]
    Other(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Other(why)
    }
}

type Io = TokioIo<Pin<Box<dyn Stream>>>;

/// The socket of a connection, which has to be polled for anything to move
struct Driver {
    connection: Connection<Io, Gated>,
    over: bool,
    /// On which terms it was made, and until when it counts
    terms: Option<Arc<Terms>>,
    until: Option<Millis>,
}

impl Driver {
    /// Whether a connection that is made now would be no other one
    fn counts(&self, terms: Option<&Arc<Terms>>, now: Millis) -> bool {
        same(self.terms.as_ref(), terms) && self.until.is_none_or(|until| now < until)
    }
}

fn same(one: Option<&Arc<Terms>>, other: Option<&Arc<Terms>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.over {
            self.over = Pin::new(&mut self.connection).poll(context).is_ready();
        }
        if self.over { Poll::Ready(()) } else { Poll::Pending }
    }
}

struct Idle {
    sender: SendRequest<Gated>,
    driver: Driver,
    since: i64,
}

impl fmt::Debug for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Idle")
    }
}

impl Http {
    /// An endpoint
    ///
    /// # Errors
    /// [`Address`]
    pub fn new(url: &str, clock: SteadyClock) -> Result<Self, Address> {
        let form = || Address::Form(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| form())?;
        let authority = uri.authority().ok_or_else(form)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || authority.as_str().contains('@') || url.contains('#')
        {
            return Err(form());
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| form())?;
        let (idle, seen, known) = (Mutex::default(), Mutex::default(), Mutex::default());
        let put = Put::default();
        Ok(Self { uri, host, clock, expected: None, tls: None, put, idle, seen, known })
    }

    /// The same, where only a server that holds this key is spoken to: SHA-256 of its `SubjectPublicKeyInfo`
    #[must_use]
    pub fn pinned(self, key: Hash) -> Self {
        Self { expected: Some(Identity::Tls(key)), ..self }
    }

    /// The same endpoint for one credential, with connections of its own: what was authenticated once is nobody else's
    #[must_use]
    pub fn with(&self, put: Put) -> Self {
        let known = self.known();
        let (idle, seen, known) = (Mutex::default(), Mutex::new(self.identity()), Mutex::new(known));
        let (uri, host) = (self.uri.clone(), self.host.clone());
        let tls = put.shown.clone().or_else(|| self.tls.clone());
        Self { uri, host, clock: self.clock, expected: self.expected.clone(), tls, put, idle, seen, known }
    }

    /// The same, where TLS is spoken on these terms
    #[must_use]
    pub fn on(self, tls: Arc<dyn Tls>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Who was there when it was last connected to; nothing as long as it never was
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which version it was last found to speak
    pub(crate) fn known(&self) -> Option<Version> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn learn(&self, version: Option<Version>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = version;
    }

    pub(crate) fn clock(&self) -> SteadyClock {
        self.clock
    }

    /// Sends a request through its gate, and returns once the answer begins
    pub(crate) async fn begin(
        self: &Arc<Self>,
        method: Method,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Vec<u8>,
        gate: &Arc<Gate>,
    ) -> Result<Exchange, Trouble> {
        let (mut sender, mut driver) = self.connection().await?;
        let body = if method == Method::POST { self.put.message(body) } else { body };
        // A server may answer before it has read a long message; what it has not read must not leave later.
        let keep = body.len() <= KEEP_BYTES_MAX;
        let request = self.request(method, headers, body, gate).map_err(|error| error.to_string())?;
        let response = {
            let answer = async { sender.send_request(request).await.map_err(|error| cause(&error)) };
            drive(answer, &mut driver).await?
        };
        let (parts, body) = response.into_parts();
        let connection = Some((sender, driver));
        let (http, gate) = (Arc::clone(self), Arc::clone(gate));
        Ok(Exchange { status: parts.status, headers: parts.headers, body, connection, keep, http, _gate: gate })
    }

    fn request(
        &self,
        method: Method,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Vec<u8>,
        gate: &Arc<Gate>,
    ) -> Result<Request<Gated>, http::Error> {
        let mut path = self.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        if !self.put.query.is_empty() {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(&self.put.query);
        }
        let accept = if method == Method::GET { "text/event-stream" } else { "application/json, text/event-stream" };
        let posted = method == Method::POST;
        let mut request =
            Request::builder().method(method).uri(path).header(header::HOST, &self.host).header(header::ACCEPT, accept);
        if posted {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers.into_iter().chain(self.put.headers.iter().cloned()) {
            request = request.header(name, value);
        }
        request.body(Gated::new(body, gate))
    }

    async fn connection(&self) -> Result<(SendRequest<Gated>, Driver), Trouble> {
        let mut terms = self.terms(None).await?;
        let now = self.clock.now();
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut idle) = idle else { break };
            if now.0.saturating_sub(idle.since) > IDLE_MS_MAX || !idle.driver.counts(terms.as_ref(), now) {
                continue;
            }
            // One poll tells whether the server has closed it meanwhile.
            let closed = poll_fn(|context| Poll::Ready(Pin::new(&mut idle.driver).poll(context).is_ready())).await;
            if !closed && idle.sender.is_ready() {
                return Ok((idle.sender, idle.driver));
            }
        }
        let mut dialled = self.dial(terms.as_ref()).await;
        if let Err(NoConnection::Refused(_)) = dialled {
            // Who vouches for it may have changed since the terms were made.
            let again = self.terms(terms.as_ref()).await?;
            if !same(again.as_ref(), terms.as_ref()) {
                dialled = self.dial(again.as_ref()).await;
                terms = again;
            }
        }
        let (stream, Seen { identity, until }) = dialled.map_err(|error| match error {
            NoConnection::Identity(mismatch) => Trouble::Identity(mismatch),
            other => Trouble::Other(other.to_string()),
        })?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(identity);
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| Trouble::Other(error.to_string()))?;
        Ok((sender, Driver { connection, over: false, terms, until }))
    }

    async fn terms(&self, refused: Option<&Arc<Terms>>) -> Result<Option<Arc<Terms>>, Trouble> {
        match &self.tls {
            Some(tls) => Ok(Some(tls.terms(refused).await?)),
            None => Ok(None),
        }
    }

    async fn dial(&self, terms: Option<&Arc<Terms>>) -> Result<(Pin<Box<dyn Stream>>, Seen), NoConnection> {
        let terms = terms.map(Arc::as_ref);
        let dialled = tokio::time::timeout(CONNECT, dial(&self.uri, terms, self.expected.as_ref())).await;
        dialled.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    }

    fn keep(&self, sender: SendRequest<Gated>, driver: Driver) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(Idle { sender, driver, since: self.clock.now().0 });
        }
    }
}

/// An answer that has begun; dropping it closes the connection
pub(crate) struct Exchange {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    connection: Option<(SendRequest<Gated>, Driver)>,
    /// Whether the whole message has left, so that the connection can be used again
    pub(crate) keep: bool,
    http: Arc<Http>,
    _gate: Arc<Gate>,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Exchange {
    /// Whether the answer is a stream of events
    pub(crate) fn is_stream(&self) -> bool {
        let kind = self.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
    }

    /// The next bytes of the answer; nothing at its end
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        let Some((_, driver)) = &mut self.connection else { return Ok(None) };
        loop {
            let body = &mut self.body;
            let frame = async { body.frame().await.transpose().map_err(|error| cause(&error)) };
            match drive(frame, driver).await? {
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                None => {
                    self.free();
                    return Ok(None);
                }
            }
        }
    }

    /// All of an answer that is no stream of events
    pub(crate) async fn whole(mut self, bytes_max: usize) -> Result<Vec<u8>, String> {
        let mut all = Vec::new();
        while let Some(data) = self.next().await? {
            if all.len() + data.len() > bytes_max {
                return Err("the answer is longer than the limit".to_owned());
            }
            all.extend_from_slice(&data);
        }
        Ok(all)
    }

    /// What was wanted of it is here: waits for its end, so that its connection can be used again
    pub(crate) fn done(mut self) {
        if !self.keep || self.connection.is_none() {
            return;
        }
        if self.body.is_end_stream() {
            self.free();
            return;
        }
        tokio::spawn(async move {
            let ended = async { while let Ok(Some(_)) = self.next().await {} };
            let _ = tokio::time::timeout(DRAIN, ended).await;
        });
    }

    fn free(&mut self) {
        if let Some((sender, driver)) = self.connection.take().filter(|(_, driver)| self.keep && !driver.over) {
            self.http.keep(sender, driver);
        }
    }
}

/// Idle connections that are kept
const IDLE_MAX: usize = 64;
/// How long one is kept: shorter than the five seconds after which common servers close theirs
const IDLE_MS_MAX: i64 = 4_000;
/// How long connecting may take
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of a message after which its connection is kept: what a socket takes at once
const KEEP_BYTES_MAX: usize = 64 * 1024;
/// How long the end of a stream may take after its answer
const DRAIN: Duration = Duration::from_secs(1);

/// The header that carries a session
pub const SESSION: HeaderName = HeaderName::from_static(portreeve_mcp::header::SESSION);
/// The header that carries the protocol version
pub const VERSION: HeaderName = HeaderName::from_static(portreeve_mcp::header::VERSION);
/// The header that says after which event a stream is taken up again
pub const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// Polls `work` and the socket that it waits for, in one task
pub(crate) async fn drive<T>(
    work: impl Future<Output = Result<T, String>>,
    driver: &mut (impl Future + Unpin),
) -> Result<T, String> {
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        let closed = Pin::new(&mut *driver).poll(context).is_ready();
        // What the socket just brought may be all that was missing.
        match work.as_mut().poll(context) {
            Poll::Pending if closed => Poll::Ready(Err("the server closed the connection".to_owned())),
            polled => polled,
        }
    })
    .await
}

/// A whole body; nothing if it is longer than `bytes_max`
pub(crate) async fn bounded(mut body: Incoming, bytes_max: usize) -> Result<Option<Vec<u8>>, String> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| cause(&error))?.into_data() else { continue };
        if whole.len() + data.len() > bytes_max {
            return Ok(None);
        }
        whole.extend_from_slice(&data);
    }
    Ok(Some(whole))
}

pub(crate) fn cause(error: &hyper::Error) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}")
}
