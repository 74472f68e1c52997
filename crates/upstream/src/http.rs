//! A connector over Streamable HTTP.
//!
//! A call owns its connection: the future that sends also drives the socket, so dropping it closes the
//! socket at once, and nothing of a cancelled call can be flushed later. Idle connections are kept for the
//! next call. Redirects are never followed, and nothing that the agent sent as a header is passed on.

use crate::{
    clock::SteadyClock,
    latch::{Closed, Inside, Pass},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::{
    body::Incoming,
    client::conn::http1::{Connection, SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use portreeve_core::json::Limits;
use portreeve_mcp::{
    message::{Message, Shape},
    sse::Reader,
    version::Version,
};
use std::{
    fmt,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls};

/// A Streamable HTTP endpoint and the idle connections to it
#[derive(Debug)]
pub struct Http {
    uri: Uri,
    host: HeaderValue,
    // Held only to take a connection out or put one in.
    idle: Mutex<Vec<Idle>>,
    clock: SteadyClock,
}

/// What is sent along with a message
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// The server's session, if it gave one
    pub id: Option<HeaderValue>,
    /// The version that was agreed on
    pub version: Option<Version>,
}

/// What the server answered
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status
    pub status: StatusCode,
    /// The session that it gave
    pub session: Option<HeaderValue>,
    /// The message that answers the request; empty where the server had nothing to say
    pub message: Vec<u8>,
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

type Io = TokioIo<Pin<Box<dyn Stream>>>;
type Driver = Connection<Io, Gated>;

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

/// What bytes go through, encrypted or not
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

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
        Ok(Self { uri, host, idle: Mutex::default(), clock })
    }

    /// Sends a message that is no call: initialising, listing, cancelling
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn plain(
        self: &Arc<Self>,
        session: &Session,
        message: Vec<u8>,
        within: Duration,
    ) -> Result<Answer, Failure> {
        self.send(session, message, None, within).await
    }

    /// Sends a call through its pass
    ///
    /// # Errors
    /// [`Failure::NotSent`] only if no byte of the message was handed to the socket.
    pub async fn call(
        self: &Arc<Self>,
        session: &Session,
        message: Vec<u8>,
        pass: Pass,
        within: Duration,
    ) -> Result<Answer, Failure> {
        self.send(session, message, Some(pass), within).await
    }

    async fn send(
        self: &Arc<Self>,
        session: &Session,
        message: Vec<u8>,
        pass: Option<Pass>,
        within: Duration,
    ) -> Result<Answer, Failure> {
        let gate = Gate::new(pass, self.clock);
        let exchange = self.exchange(session, message, &gate);
        let outcome = match tokio::time::timeout(within, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {} s", within.as_secs())),
        };
        outcome.map_err(|why| match gate.state() {
            GateState::Waiting => Failure::NotSent(why),
            GateState::Refused(closed) => Failure::NotSent(closed.to_string()),
            GateState::Passed => Failure::Lost(why),
        })
    }

    async fn exchange(
        self: &Arc<Self>,
        session: &Session,
        message: Vec<u8>,
        gate: &Arc<Gate>,
    ) -> Result<Answer, String> {
        let (mut sender, mut driver) = self.connection().await.map_err(|error| error.to_string())?;
        let length = message.len();
        let request = self.request(session, message, gate).map_err(|error| error.to_string())?;
        let outcome = {
            let answer = async {
                let response = sender.send_request(request).await.map_err(|error| cause(&error))?;
                read(response).await
            };
            drive(answer, &mut driver).await
        };
        let (answer, rest) = outcome?;
        // A server may answer before it has read a long message; what it has not read must not leave later.
        if length > KEEP_BYTES_MAX {
            return Ok(answer);
        }
        match rest {
            None => self.keep(sender, driver),
            Some(rest) => self.drain(sender, driver, rest),
        }
        Ok(answer)
    }

    /// Waits for the end of a stream whose answer is here already, so that its connection can be used again
    fn drain(self: &Arc<Self>, sender: SendRequest<Gated>, mut driver: Driver, mut rest: Incoming) {
        let http = Arc::clone(self);
        tokio::spawn(async move {
            let ended = async {
                while let Some(frame) = rest.frame().await {
                    frame.map_err(|error| cause(&error))?;
                }
                Ok(())
            };
            let ended = tokio::time::timeout(DRAIN, drive(ended, &mut driver)).await;
            if matches!(ended, Ok(Ok(()))) {
                http.keep(sender, driver);
            }
        });
    }

    fn request(&self, session: &Session, message: Vec<u8>, gate: &Arc<Gate>) -> Result<Request<Gated>, http::Error> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream");
        if let Some(id) = &session.id {
            request = request.header(SESSION, id);
        }
        if let Some(version) = session.version {
            request = request.header(VERSION, version.as_str());
        }
        request.body(Gated { data: Some(message.into()), gate: Arc::clone(gate) })
    }

    async fn connection(&self) -> io::Result<(SendRequest<Gated>, Driver)> {
        let now = self.clock.now().0;
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut idle) = idle else { break };
            if now.saturating_sub(idle.since) > IDLE_MS_MAX {
                continue;
            }
            // One poll tells whether the server has closed it meanwhile.
            let closed = poll_fn(|context| Poll::Ready(Pin::new(&mut idle.driver).poll(context).is_ready())).await;
            if !closed && idle.sender.is_ready() {
                return Ok((idle.sender, idle.driver));
            }
        }
        let stream = tokio::time::timeout(CONNECT, dial(&self.uri)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        handshake(TokioIo::new(stream)).await.map_err(io::Error::other)
    }

    fn keep(&self, sender: SendRequest<Gated>, driver: Driver) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(Idle { sender, driver, since: self.clock.now().0 });
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
/// Bytes of an answer at most
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The header that carries a session
pub const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// The header that carries the protocol version
pub const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// A connection to the host of an address; the environment names no proxy that would be asked
pub(crate) async fn dial(uri: &Uri) -> io::Result<Pin<Box<dyn Stream>>> {
    let secure = uri.scheme_str() == Some("https");
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    if !secure {
        return Ok(Box::pin(stream));
    }
    let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::pin(tls()?.connect(name, stream).await?))
}

fn tls() -> io::Result<TlsConnector> {
    static CONFIG: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(TlsConnector::from(Arc::clone(config)));
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::clone(CONFIG.get_or_init(|| Arc::new(config)))))
}

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

/// The answer, and the rest of the stream if the answer was not its end
async fn read(response: http::Response<Incoming>) -> Result<(Answer, Option<Incoming>), String> {
    let (parts, mut body) = response.into_parts();
    let streamed = is_event_stream(&parts.headers);
    let mut events = Reader::new(ANSWER_BYTES_MAX);
    let mut message = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| cause(&error))?.into_data() else { continue };
        if streamed {
            let complete = events.push(&data).map_err(|error| error.to_string())?;
            // What the server asks or tells on the way is not passed on by this version.
            if let Some(answer) = complete.into_iter().find(|event| is_response(event)) {
                message = answer;
                break;
            }
        } else {
            if message.len() + data.len() > ANSWER_BYTES_MAX {
                return Err("the answer is longer than the limit".to_owned());
            }
            message.extend_from_slice(&data);
        }
    }
    let answer = Answer { status: parts.status, session: parts.headers.get(SESSION).cloned(), message };
    let rest = (streamed && !body.is_end_stream()).then_some(body);
    Ok((answer, rest))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

fn is_response(event: &[u8]) -> bool {
    // A server that offers to resume a stream begins it with an empty event (2025-11-25, Streamable HTTP).
    if event.is_empty() {
        return false;
    }
    let limits = Limits { bytes_max: ANSWER_BYTES_MAX, ..Limits::DEFAULT };
    match Message::read_answer(event, &limits) {
        Ok(message) => matches!(message.shape(), Shape::Response { .. }),
        // Whatever it is, it is all that the stream will say of this request.
        Err(_) => true,
    }
}

pub(crate) fn cause(error: &hyper::Error) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}")
}

/// A body that hands itself over only if its gate lets it through
#[derive(Debug)]
struct Gated {
    data: Option<Bytes>,
    gate: Arc<Gate>,
}

impl Body for Gated {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        let Some(data) = self.data.take() else { return Poll::Ready(None) };
        Poll::Ready(Some(self.gate.pass().map(|()| Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

/// The pass of one call, and how far it got
#[derive(Debug)]
struct Gate {
    pass: Option<Pass>,
    clock: SteadyClock,
    // Written once, in the poll that hands over the first byte.
    state: Mutex<(GateState, Option<Inside>)>,
}

#[derive(Clone, Debug)]
enum GateState {
    Waiting,
    Passed,
    Refused(Closed),
}

impl Gate {
    fn new(pass: Option<Pass>, clock: SteadyClock) -> Arc<Self> {
        Arc::new(Self { pass, clock, state: Mutex::new((GateState::Waiting, None)) })
    }

    fn pass(&self) -> Result<(), Closed> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match self.pass.as_ref().map(|pass| pass.enter(self.clock.now())).transpose() {
            Ok(inside) => {
                *state = (GateState::Passed, inside);
                Ok(())
            }
            Err(closed) => {
                *state = (GateState::Refused(closed.clone()), None);
                Err(closed)
            }
        }
    }

    fn state(&self) -> GateState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}
