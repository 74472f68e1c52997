//! The answer to one HTTP request while it comes about: one JSON text, or a stream of events.
//!
//! Which of the two is chosen when there is something to say: a client that is told nothing on the way gets
//! plain JSON, one that is gets a stream (2026-07-28, Streamable HTTP, Receiving Messages).

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use portreeve_mcp::sse;
use portreeve_upstream::link::Passage;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval_at, timeout},
};

/// The body of an answer
pub type Body = UnsyncBoxBody<Bytes, io::Error>;
/// An answer
pub type Reply = Response<Body>;

/// Where a request is answered: messages on the way, and one last one
#[derive(Clone, Debug)]
pub struct Outlet {
    sender: mpsc::Sender<Out>,
    /// Whether the client takes a stream of events
    streams: bool,
}

/// The other end of an [`Outlet`]
#[derive(Debug)]
pub struct Outs(mpsc::Receiver<Out>);

#[derive(Debug)]
enum Out {
    /// A message on the way
    Told(Bytes),
    /// Nothing on the way, but the stream shall begin
    Begun,
    /// The last message
    Last(Last),
}

/// The last that a request is told
#[derive(Debug)]
pub struct Last {
    /// The HTTP status, if the answer is not a stream by then
    pub status: StatusCode,
    /// Headers beside those of every answer
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The message; nothing where there is none
    pub message: Message,
}

/// A message to a client
#[derive(Debug)]
pub enum Message {
    /// No body
    None,
    /// As a whole
    Whole(Bytes),
    /// While it arrives, after the part that has; a broken one breaks the connection
    ///
    /// Boxed, because every request has room for many messages.
    Flowing(Bytes, Box<Passage>),
}

impl Last {
    /// A message with the status 200
    #[must_use]
    pub fn ok(message: impl Into<Bytes>) -> Self {
        Self::with(StatusCode::OK, message)
    }

    /// A message with another status
    #[must_use]
    pub fn with(status: StatusCode, message: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), message: Message::Whole(message.into()) }
    }

    /// A status and nothing else
    #[must_use]
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), message: Message::None }
    }
}

/// How long nothing is said before a comment says that the stream still lives
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Messages that may wait for a client to read; what comes then waits with its connector
const WAITING_MAX: usize = 64;

impl Outlet {
    /// An outlet for a client, and where it comes out
    #[must_use]
    pub fn new(streams: bool) -> (Self, Outs) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self { sender, streams }, Outs(receiver))
    }

    /// Whether messages on the way reach the client
    #[must_use]
    pub fn streams(&self) -> bool {
        self.streams
    }

    /// Tells something on the way; false if nobody listens
    pub async fn tell(&self, message: impl Into<Bytes>) -> bool {
        self.streams && self.sender.send(Out::Told(message.into())).await.is_ok()
    }

    /// Tells something on the way if there is room at once: what is not worth waiting for
    #[must_use]
    pub fn try_tell(&self, message: impl Into<Bytes>) -> bool {
        self.streams && self.sender.try_send(Out::Told(message.into())).is_ok()
    }

    /// Begins the stream although there is nothing to tell yet
    pub async fn begin(&self) {
        let _ = self.sender.send(Out::Begun).await;
    }

    /// Tells the last
    pub async fn last(self, last: Last) {
        let _ = self.sender.send(Out::Last(last)).await;
    }

    /// Whether nobody listens any more
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Returns once nobody listens any more
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

impl Outs {
    /// The answer, as a stream from the beginning
    #[must_use]
    pub fn stream(self) -> Reply {
        events(self.0, None)
    }

    /// The answer, as soon as it is known what it is
    pub async fn reply(mut self, streams: bool) -> Reply {
        let first = loop {
            match timeout(KEEP_ALIVE, self.0.recv()).await {
                Ok(first) => break first,
                // Whoever waits for long is shown that the connection lives.
                Err(_) if streams => break Some(Out::Begun),
                Err(_) => {}
            }
        };
        match first {
            Some(Out::Last(last)) => plain(last),
            Some(Out::Told(message)) => events(self.0, Some(message)),
            Some(Out::Begun) => events(self.0, None),
            // Whatever was to answer is gone.
            None => empty(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

/// An answer without a body
#[must_use]
pub fn empty(status: StatusCode) -> Reply {
    plain(Last::empty(status))
}

/// An answer with a message
#[must_use]
pub fn json(status: StatusCode, message: impl Into<Bytes>) -> Reply {
    plain(Last::with(status, message))
}

fn plain(last: Last) -> Reply {
    let (body, has_body) = match last.message {
        Message::None => (whole(Bytes::new()), false),
        Message::Whole(message) => (whole(message), true),
        Message::Flowing(first, flow) => (Flowing::new(first, flow).boxed_unsync(), true),
    };
    let mut reply = Response::new(body);
    *reply.status_mut() = last.status;
    let headers = reply.headers_mut();
    if has_body {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.extend(last.headers);
    reply
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn events(outs: mpsc::Receiver<Out>, first: Option<Bytes>) -> Reply {
    let mut keep_alive = interval_at(tokio::time::Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Something is said at once, so that whoever is in between passes the head on.
    let first = first.map_or_else(|| Bytes::from(sse::comment("")), |message| sse::event(&message).into());
    let body = Events { outs, ready: Some(first), flow: None, keep_alive, over: false };
    let mut reply = Response::new(body.boxed_unsync());
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    reply
}

/// A long message while it arrives: the piece that is waited for, with what it is read from
struct Flowing(Pin<Box<dyn Future<Output = Piece> + Send>>);

/// A piece of a long message, and where the next one comes from
type Piece = (Box<Passage>, Option<Result<Bytes, String>>);

impl Flowing {
    fn new(first: Bytes, passage: Box<Passage>) -> Self {
        Self(Box::pin(async move { (passage, Some(Ok(first))) }))
    }

    fn after(mut passage: Box<Passage>) -> Self {
        Self(Box::pin(async move {
            let piece = passage.next().await;
            (passage, piece)
        }))
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match self.0.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready((passage, piece)) => {
                *self = Self::after(passage);
                Poll::Ready(piece.map(|piece| piece.map_err(io::Error::other)))
            }
        }
    }
}

impl http_body::Body for Flowing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.poll_piece(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// A stream of events
struct Events {
    outs: mpsc::Receiver<Out>,
    ready: Option<Bytes>,
    /// The last message, while it arrives
    flow: Option<Flowing>,
    keep_alive: Interval,
    over: bool,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = |bytes: Bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        if let Some(ready) = self.ready.take() {
            return frame(ready);
        }
        if self.over {
            return Poll::Ready(None);
        }
        if let Some(flow) = &mut self.flow {
            return match flow.poll_piece(context) {
                // A line feed between tokens would end the line of the event; a blank is white space as well.
                Poll::Ready(Some(Ok(piece))) => frame(sse::one_line(&piece).into()),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => {
                    self.over = true;
                    frame(Bytes::from_static(b"\n\n"))
                }
                Poll::Pending => Poll::Pending,
            };
        }
        match self.outs.poll_recv(context) {
            Poll::Ready(Some(Out::Told(message))) => {
                self.keep_alive.reset();
                frame(sse::event(&message).into())
            }
            Poll::Ready(Some(Out::Begun)) => frame(Bytes::from(sse::comment(""))),
            Poll::Ready(Some(Out::Last(last))) => match last.message {
                Message::Whole(message) => {
                    self.over = true;
                    frame(sse::event(&message).into())
                }
                Message::Flowing(first, flow) => {
                    self.flow = Some(Flowing::new(first, flow));
                    frame(Bytes::from_static(b"data: "))
                }
                Message::None => Poll::Ready(None),
            },
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match self.keep_alive.poll_tick(context) {
                Poll::Ready(_) => frame(Bytes::from(sse::comment(""))),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}
