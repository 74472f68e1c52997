//! A link: one run's own connection to one connector, ready to be called.
//!
//! Opening one initialises it and asks what the connector offers. That is discovery; no call needs to be
//! admitted for it, and it never does anything at the connector.

use crate::{
    child::Child,
    http::{Address, Answer, Failure, Http, Session},
    latch::Pass,
};
use http::StatusCode;
use portreeve_core::{
    hash::Hash,
    json::{Json, Limits},
    pattern::Source,
    value::Value,
};
use portreeve_mcp::{
    can::Can,
    client::{self, Says},
    message::{Message, Shape, with_id},
    method::Method,
    version::Version,
};
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// One run's connection to one connector
#[derive(Debug)]
pub struct Link {
    carrier: Carrier,
    next_id: AtomicU64,
    over: AtomicBool,
}

#[derive(Debug)]
enum Carrier {
    Http { http: Arc<Http>, session: Session },
    Child(Arc<Child>),
}

/// What a connector offers: each definition exactly as it was written, by name
pub type Offer = BTreeMap<String, String>;

/// Why a link is not ready
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// The address is none
    #[error("{0}")]
    Address(#[source] Address),
    /// No answer came
    #[error("{0}")]
    Failure(#[source] Failure),
    /// The answer cannot be used
    #[error("{0}")]
    Answer(#[source] client::Answer),
    /// It refuses
    #[error("it answered with HTTP status {0}")]
    Status(StatusCode),
    /// Its list of tools has no end
    #[error("its list of tools is longer than the limit of {TOOLS_MAX}")]
    Endless,
    /// Two of its tools have the same name
    #[error("it offers two tools with the name {0:?}")]
    Twice(String),
}

/// What a connector answered to a call
#[derive(Debug)]
pub struct Called {
    message: Vec<u8>,
    id: Range<usize>,
    /// Whether the connector says that it succeeded
    pub ok: bool,
    /// Length of the result or error
    pub bytes: u64,
    /// SHA-256 of the result or error, as it was written
    pub digest: Hash,
}

impl Called {
    /// The answer as the agent gets it: the connector's own bytes with the agent's id
    #[must_use]
    pub fn into_reply(self, id: &str) -> Vec<u8> {
        with_id(&self.message, self.id, id)
    }
}

impl Called {
    /// What the answer's structured result has in these fields; nothing where it has none
    ///
    /// A result without `structuredContent` whose only content is one text of JSON is read as that JSON.
    #[must_use]
    pub fn returned(&self, wanted: &[Source]) -> BTreeMap<Source, Vec<Value>> {
        if wanted.is_empty() || !self.ok {
            return BTreeMap::new();
        }
        let Some(content) = structured(&self.message) else { return BTreeMap::new() };
        let mut left = RETURNED_BYTES_MAX;
        let field = |source: &Source| {
            let reached = source.field.select_in(&content);
            let mut fits = |value: &&Value| {
                let bytes = value.canonical().len();
                let fits = bytes <= left;
                left = left.saturating_sub(bytes);
                fits
            };
            let values: Vec<Value> = reached.values.into_iter().flatten().take_while(&mut fits).cloned().collect();
            (source.clone(), values)
        };
        wanted.iter().map(field).filter(|(_, values)| !values.is_empty()).collect()
    }
}

/// Bytes of returned values that are kept of one answer; what is beyond vouches for nothing
const RETURNED_BYTES_MAX: usize = 64 << 10;

fn structured(message: &[u8]) -> Option<Value> {
    let read = Message::read_answer(message, &limits()).ok()?;
    let result = read.result()?;
    if let Some(content) = result.get("structuredContent") {
        return content.to_value().ok();
    }
    match result.get("content").and_then(Json::as_array)? {
        [only] => only.get("text").and_then(Json::as_str)?.parse().ok(),
        _ => None,
    }
}

/// How long the handshake and each page of the list may take; packages are fetched on a first start
const READY: Duration = Duration::from_secs(60);
/// Tools of a connector at most
const TOOLS_MAX: usize = 4_096;
/// Pages of the list at most
const PAGES_MAX: usize = 256;

impl Link {
    /// Opens a session with an HTTP connector
    ///
    /// # Errors
    /// [`Unready`]
    pub async fn over_http(http: Arc<Http>) -> Result<(Self, Offer), Unready> {
        let mut session = Session::default();
        let answer = http
            .plain(&session, client::initialize(0, Version::LATEST_LEGACY, Can::NONE), READY)
            .await
            .map_err(Unready::Failure)?;
        let hello = client::read_initialize(&good(&answer)?.message, &limits()).map_err(Unready::Answer)?;
        session.id = answer.session;
        session.version = Some(hello.version);
        http.plain(&session, client::initialized(), READY).await.map_err(Unready::Failure)?;
        let link = Self::new(Carrier::Http { http, session });
        let offer = if hello.offers("tools") { link.offer().await? } else { Offer::new() };
        Ok((link, offer))
    }

    /// Opens a session with a child
    ///
    /// # Errors
    /// [`Unready`]; the child is gone then.
    pub async fn over_child(child: Arc<Child>) -> Result<(Self, Offer), Unready> {
        match Self::shake_hands(&child).await {
            Ok(ready) => Ok(ready),
            Err(unready) => {
                child.end().await;
                Err(unready)
            }
        }
    }

    async fn shake_hands(child: &Arc<Child>) -> Result<(Self, Offer), Unready> {
        let answer = child
            .ask(0, client::initialize(0, Version::LATEST_LEGACY, Can::NONE), None, READY)
            .await
            .map_err(Unready::Failure)?;
        let hello = client::read_initialize(&answer, &limits()).map_err(Unready::Answer)?;
        child.tell(client::initialized()).await;
        let link = Self::new(Carrier::Child(Arc::clone(child)));
        let offer = if hello.offers("tools") { link.offer().await? } else { Offer::new() };
        Ok((link, offer))
    }

    fn new(carrier: Carrier) -> Self {
        Self { carrier, next_id: AtomicU64::new(1), over: AtomicBool::new(false) }
    }

    /// Asks what the connector offers, all pages of it
    ///
    /// # Errors
    /// [`Unready`]
    pub async fn offer(&self) -> Result<Offer, Unready> {
        let mut offer = Offer::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let id = self.id();
            let message = self
                .plain(
                    id,
                    Says { version: Version::LATEST_LEGACY, can: Can::NONE }.list(
                        id,
                        Method::ListTools,
                        cursor.as_deref(),
                    ),
                )
                .await?;
            let page = client::read_list(Method::ListTools, &message, &limits()).map_err(Unready::Answer)?;
            for (name, definition) in page.items {
                if offer.len() >= TOOLS_MAX {
                    return Err(Unready::Endless);
                }
                if offer.insert(name.clone(), definition).is_some() {
                    return Err(Unready::Twice(name));
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(offer);
            }
        }
        Err(Unready::Endless)
    }

    async fn plain(&self, id: u64, message: Vec<u8>) -> Result<Vec<u8>, Unready> {
        match &self.carrier {
            Carrier::Http { http, session } => {
                let answer = http.plain(session, message, READY).await.map_err(Unready::Failure)?;
                Ok(good(&answer)?.message.clone())
            }
            Carrier::Child(child) => child.ask(id, message, None, READY).await.map_err(Unready::Failure),
        }
    }

    /// Sends a call: the client's own bytes with only the id, which stands at `own`, exchanged
    ///
    /// # Errors
    /// [`Failure`]: whether anything was sent.
    pub async fn call(
        &self,
        message: &[u8],
        own: Range<usize>,
        pass: Pass,
        within: Duration,
    ) -> Result<Called, Failure> {
        let id = self.id();
        let mut under_way = UnderWay { link: self, id, answered: false };
        let sent = with_id(message, own, &id.to_string());
        let answer = match &self.carrier {
            Carrier::Http { http, session } => {
                let answer = http.call(session, sent, pass, within).await;
                let answer = answer.and_then(|answer| self.accept(answer));
                under_way.answered = !matches!(answer, Err(Failure::Lost(_)));
                answer?
            }
            Carrier::Child(child) => {
                let answer = child.ask(id, sent, Some(pass), within).await;
                under_way.answered = !matches!(answer, Err(Failure::Lost(_)));
                answer?
            }
        };
        drop(under_way);
        called(answer, id)
    }

    /// What an HTTP status means for a call
    fn accept(&self, answer: Answer) -> Result<Vec<u8>, Failure> {
        match answer.status {
            status if status.is_success() && !answer.message.is_empty() => Ok(answer.message),
            StatusCode::NOT_FOUND => {
                // The session is over; the next call opens another one.
                self.over.store(true, Ordering::Relaxed);
                Err(Failure::Rejected("it ended the session; the next call opens another one".to_owned()))
            }
            status if status.is_client_error() && is_message(&answer.message) => Ok(answer.message),
            // These say by their definition that the request was not acted upon (RFC 9110, 15.5).
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::TOO_MANY_REQUESTS => Err(Failure::Rejected(format!("HTTP status {}", answer.status))),
            status => Err(Failure::Lost(format!("the server answered with HTTP status {status}"))),
        }
    }

    /// Whether the link has to be opened anew
    #[must_use]
    pub fn is_over(&self) -> bool {
        let gone = match &self.carrier {
            Carrier::Http { .. } => false,
            Carrier::Child(child) => child.is_gone(),
        };
        gone || self.over.load(Ordering::Relaxed)
    }

    /// Whether the connector said, since this was last asked, that its tools changed
    #[must_use]
    pub fn take_changed(&self) -> bool {
        match &self.carrier {
            Carrier::Http { .. } => false,
            Carrier::Child(child) => child.take_changed(),
        }
    }

    /// Ends it, and returns once nothing of it is left
    pub async fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        if let Carrier::Child(child) = &self.carrier {
            child.end().await;
        }
    }

    fn id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }
}

/// A call that is waited for; if the waiting ends before an answer, the connector is told
struct UnderWay<'a> {
    link: &'a Link,
    id: u64,
    answered: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.answered || self.link.is_over() {
            return;
        }
        let message = client::cancelled(self.id, "no longer waited for");
        match &self.link.carrier {
            Carrier::Http { http, session } => {
                let (http, session) = (Arc::clone(http), session.clone());
                tokio::spawn(async move {
                    let _ = http.plain(&session, message, Duration::from_secs(5)).await;
                });
            }
            Carrier::Child(child) => {
                let child = Arc::clone(child);
                tokio::spawn(async move { child.tell(message).await });
            }
        }
    }
}

fn limits() -> Limits {
    Limits { bytes_max: crate::http::ANSWER_BYTES_MAX, ..Limits::DEFAULT }
}

fn good(answer: &Answer) -> Result<&Answer, Unready> {
    if answer.status.is_success() { Ok(answer) } else { Err(Unready::Status(answer.status)) }
}

fn is_message(bytes: &[u8]) -> bool {
    Message::read_answer(bytes, &limits()).is_ok()
}

fn called(message: Vec<u8>, id: u64) -> Result<Called, Failure> {
    let lost = |why: &str| Failure::Lost(why.to_owned());
    let (own, ok, bytes, digest) = {
        let read = Message::read_answer(&message, &limits())
            .map_err(|error| Failure::Lost(format!("the server's answer is no valid message: {error}")))?;
        let Shape::Response { id: Some(answered), error } = read.shape() else {
            return Err(lost("the server's answer answers nothing"));
        };
        if answered.raw().parse() != Ok(id) {
            return Err(lost("the server answered another request"));
        }
        let failed = read.result().and_then(|result| result.get("isError")).and_then(Json::as_bool);
        let content = read.result().or(read.error()).map_or("", Json::raw).as_bytes();
        (answered.span(), !error && failed != Some(true), content.len() as u64, Hash::of(content))
    };
    Ok(Called { message, id: own, ok, bytes, digest })
}
