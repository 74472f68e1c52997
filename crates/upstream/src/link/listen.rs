//! Listening for what a connector tells of itself: lists that changed, resources that were updated.
//!
//! A modern connector has a stream for each who listens (`subscriptions/listen`). A legacy one has a stream for the
//! session, and is told of each resource separately.

use super::{
    Back, Carrier, FAREWELL, Hello, Inner, Link, READY, Session, Sessions, failed,
    hear::{RETRY, RETRY_MAX, RETRY_MIN},
    open::nobody,
    send::Way,
};
use crate::{
    event::News,
    http::{Exchange, Failure, Gate, Http, LAST_EVENT},
    latch::Pass,
    patience::Patience,
    pieces::{Piece, Pieces},
    room::{ANSWER_BYTES_MAX, Listener, Listens, Room, WHOLE_BYTES_MAX, parts, refusal},
};
use http::{HeaderValue, Method as Verb, StatusCode};
use portreeve_core::json::{self, Json};
use portreeve_mcp::{
    can::Can,
    client,
    method::Method,
    params::ListenFilter,
    version::{Era, Version},
};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

/// Somebody listens; dropping it tells the connector that it is over
#[derive(Debug)]
pub struct Listening {
    /// What of it the connector will tell
    pub honoured: ListenFilter,
    ended: oneshot::Receiver<String>,
    // Dropped before `_until`, which asks whether anybody else listens.
    _listens: Listens,
    _until: Until,
}

impl Listening {
    /// Returns once nothing more will come, and says why; then it has to be asked for again
    pub async fn ended(&mut self) -> String {
        (&mut self.ended).await.unwrap_or_else(|_| "the connection was ended".to_owned())
    }
}

/// How a connector is told that nobody listens any more
#[derive(Debug)]
enum Until {
    /// The stream is closed, which says it
    Stream(AbortHandle),
    /// The request is cancelled
    Cancelled(Back, u64),
    /// Each resource is unsubscribed from, unless somebody else listens for it
    Unsubscribed(Arc<Inner>, Vec<String>),
}

impl Drop for Until {
    fn drop(&mut self) {
        match self {
            Self::Stream(stream) => stream.abort(),
            Self::Cancelled(back, id) => back.say(client::cancelled(*id, "nobody listens any more")),
            Self::Unsubscribed(inner, uris) => {
                let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
                let (inner, uris) = (Arc::clone(inner), std::mem::take(uris));
                if inner.is_over() || uris.is_empty() {
                    return;
                }
                runtime.spawn(async move {
                    for uri in uris.iter().filter(|uri| !inner.room.is_wanted(uri)) {
                        let id = inner.id();
                        let message = inner.says().subscribe(id, Method::Unsubscribe, uri);
                        if inner.plain(id, message, FAREWELL).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    }
}

impl Link {
    /// Listens for what `filter` names until what is returned is dropped
    ///
    /// A modern connector is asked once; a legacy one is asked for each resource, and for nothing else. That lists
    /// changed is discovery and needs no pass; a resource is followed only with one.
    ///
    /// # Errors
    /// [`Failure`]: whether anything was sent.
    pub async fn listen(
        &self,
        filter: ListenFilter,
        pass: Option<Pass>,
        news: mpsc::Sender<News>,
    ) -> Result<Listening, Failure> {
        if pass.is_none() && !(filter.uris.is_empty() && filter.tasks.is_empty()) {
            return Err(Failure::NotSent("nothing permits to follow it".to_owned()));
        }
        let inner = &self.inner;
        let id = inner.id();
        let (acknowledged, honoured) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let modern = inner.era() == Era::Modern;
        let filter = if modern { filter } else { within(filter, &inner.hello) };
        let acknowledged = modern.then_some(acknowledged);
        let listener = Listener { filter: filter.clone(), news, acknowledged, ended: Some(end) };
        let gone = || Failure::NotSent("the connection to the server was ended".to_owned());
        let listens = inner.room.listen(id, listener).ok_or_else(gone)?;
        let until = match &inner.carrier {
            Carrier::Http { http, sessions } if modern => inner.stream(http, sessions, id, &filter, pass).await?,
            Carrier::Child(child) if modern => {
                child.send(inner.says().listen(id, &filter), pass, &Patience::new(READY)).await?;
                Until::Cancelled(inner.back(), id)
            }
            carrier => {
                if let Carrier::Http { http, sessions } = carrier {
                    drop(unsolicited_for(http, sessions, &inner.room));
                }
                let mut until = Until::Unsubscribed(Arc::clone(inner), Vec::new());
                // Who holds the withdrawal of the first one is told truly whether anything left.
                let mut pass = pass;
                for uri in &filter.uris {
                    let Some(now) = pass.take() else { break };
                    pass = Some(now.again());
                    let subscribed = inner.subscribe(uri, now).await;
                    let Until::Unsubscribed(_, before) = &mut until else { break };
                    subscribed.map_err(|failure| match failure {
                        // Of what was permitted as one, a part has left.
                        Failure::NotSent(why) if !before.is_empty() => Failure::Lost(why),
                        failure => failure,
                    })?;
                    before.push(uri.clone());
                }
                return Ok(Listening { honoured: filter, ended, _listens: listens, _until: until });
            }
        };
        let mut listening = Listening { honoured: filter, ended, _listens: listens, _until: until };
        match tokio::time::timeout(READY, honoured).await {
            Ok(Ok(honoured)) => listening.honoured = honoured,
            Ok(Err(_)) => return Err(Failure::Rejected(listening.ended().await)),
            Err(_) => return Err(Failure::Lost("the server did not acknowledge it in time".to_owned())),
        }
        Ok(listening)
    }
}

impl Inner {
    /// Opens the stream of one who listens to a modern connector
    async fn stream(
        &self,
        http: &Arc<Http>,
        sessions: &Sessions,
        id: u64,
        filter: &ListenFilter,
        pass: Option<Pass>,
    ) -> Result<Until, Failure> {
        let gate = Gate::new(pass, http.clock());
        let session = sessions.now();
        let posted = session.post(http, self.says().listen(id, filter), &[], &gate);
        let posted = tokio::time::timeout(READY, posted).await;
        let posted = posted.unwrap_or_else(|_| Err("no answer in time".to_owned().into()));
        let exchange = posted.map_err(|trouble| failed(&gate, trouble.to_string()))?;
        if !exchange.status.is_success() || !exchange.is_stream() {
            let status = exchange.status;
            let why = exchange.whole(WHOLE_BYTES_MAX).await.ok().and_then(|answer| refusal(&answer));
            let why = format!("HTTP status {status}, {}", why.unwrap_or_default());
            return Err(if status.is_server_error() { Failure::Lost(why) } else { Failure::Rejected(why) });
        }
        // The stream may stay open for days; what was sent has left.
        gate.leave();
        let (room, back) = (Arc::clone(&self.room), self.back());
        let reading = tokio::spawn(async move {
            let mut stream = Events::new(Version::LATEST);
            let why = stream.read(exchange, &room, &back).await;
            room.end_listener(id, &why);
        });
        Ok(Until::Stream(reading.abort_handle()))
    }

    async fn subscribe(&self, uri: &str, pass: Pass) -> Result<(), Failure> {
        let id = self.id();
        let body = self.says().subscribe(id, Method::Subscribe, uri);
        let answer = match &self.carrier {
            Carrier::Child(child) => child.ask(id, body, Some(pass), nobody(READY)).await?.whole()?,
            Carrier::Http { http, sessions } => {
                let way = Way { http, sessions, id, body, mirrored: &[], whole: true };
                self.call(way, pass, nobody(READY)).await?.whole().map_err(Failure::Lost)?
            }
        };
        refusal(&answer).map_or(Ok(()), |why| Err(Failure::Rejected(why)))
    }
}

/// What of it a legacy connector tells
fn within(filter: ListenFilter, hello: &Hello) -> ListenFilter {
    let tells = |of: &str, what: &str| tells(hello, of, what);
    ListenFilter {
        tools: filter.tools && tells("tools", "listChanged"),
        prompts: filter.prompts && tells("prompts", "listChanged"),
        resources: filter.resources && tells("resources", "listChanged"),
        uris: if tells("resources", "subscribe") { filter.uris } else { Vec::new() },
        tasks: Vec::new(),
    }
}

fn tells(hello: &Hello, of: &str, what: &str) -> bool {
    let limits = json::Limits { bytes_max: hello.capabilities.len(), ..json::Limits::DEFAULT };
    let Ok(capabilities) = json::scan_distinct(hello.capabilities.as_bytes(), &limits) else { return false };
    capabilities.get(of).and_then(|of| of.get(what)).and_then(Json::as_bool) == Some(true)
}

/// How long a stream on which questions may come gets to open before anything is called
const OPENS: Duration = Duration::from_millis(250);

/// Reads what a legacy connector says unasked, if it has said that there may be anything
///
/// Returns once that stream is open, where questions may come on it: servers ask there, too, and throw away what they would ask
/// a client that does not listen yet. One that takes its time is not waited for.
pub(super) async fn unsolicited(http: &Arc<Http>, sessions: &Sessions, room: &Arc<Room>, hello: &Hello, can: Can) {
    let lists = ["tools", "prompts", "resources"].iter().any(|of| tells(hello, of, "listChanged"));
    if lists || can != Can::NONE || tells(hello, "resources", "subscribe") || hello.offers("logging") {
        let opening = unsolicited_for(http, sessions, room);
        if can != Can::NONE {
            let _ = tokio::time::timeout(OPENS, opening).await;
        }
    }
}

/// What is returned is over once the stream is open, or will not be soon
fn unsolicited_for(http: &Arc<Http>, sessions: &Sessions, room: &Arc<Room>) -> oneshot::Receiver<Infallible> {
    let (opening, opened) = oneshot::channel();
    let session = sessions.now();
    if !sessions.is_streaming_of(&session) {
        let (http, room, of) = (Arc::clone(http), Arc::clone(room), Arc::clone(&session));
        let reading = tokio::spawn(async move { read_unsolicited(&http, &of, &room, opening).await });
        sessions.keep(Some((session, reading.abort_handle())));
    }
    opened
}

/// How often in a row opening the stream may fail
const FAILED_MAX: u32 = 5;

async fn read_unsolicited(
    http: &Arc<Http>,
    session: &Arc<Session>,
    room: &Arc<Room>,
    opening: oneshot::Sender<Infallible>,
) {
    let mut opening = Some(opening);
    let back = Back::Http { http: Arc::clone(http), session: Arc::clone(session) };
    let mut events = Events::new(session.version.unwrap_or(Version::LATEST_LEGACY));
    let mut failed = 0;
    loop {
        let mut headers = session.headers();
        let last = events.last.as_deref().and_then(|last| HeaderValue::from_str(last).ok());
        headers.extend(last.map(|last| (LAST_EVENT, last)));
        let gate = Gate::new(None, http.clock());
        let began = http.begin(Verb::GET, headers, Vec::new(), &gate).await;
        drop(opening.take());
        match began {
            Ok(exchange) if exchange.status == StatusCode::OK && exchange.is_stream() => {
                let before = events.count;
                events.read(exchange, room, &back).await;
                failed = if events.count > before { 0 } else { failed + 1 };
            }
            // It has no such stream (405), or the session is over.
            Ok(exchange) if !exchange.status.is_server_error() => return,
            Ok(_) | Err(_) => failed += 1,
        }
        if failed >= FAILED_MAX {
            room.end_listeners("the connector's stream keeps breaking");
            return;
        }
        tokio::time::sleep(events.retry.saturating_mul(1 << failed).min(RETRY_MAX)).await;
    }
}

/// A stream of events that is no answer
struct Events {
    version: Version,
    last: Option<String>,
    retry: Duration,
    /// How many there were
    count: u64,
}

impl Events {
    fn new(version: Version) -> Self {
        Self { version, last: None, retry: RETRY, count: 0 }
    }

    /// Gives every event to the room, and returns why there are no more
    async fn read(&mut self, mut exchange: Exchange, room: &Arc<Room>, back: &Back) -> String {
        let (mut pieces, mut event) = (Pieces::default(), Vec::new());
        loop {
            let data = match exchange.next().await {
                Ok(Some(data)) => data,
                Ok(None) => return "the connector closed the stream".to_owned(),
                Err(why) => return why,
            };
            for piece in pieces.push(&data) {
                match piece {
                    // What is too long to be news is cut, and so no message.
                    Piece::Data(data) if event.len() + data.len() <= ANSWER_BYTES_MAX => event.extend_from_slice(&data),
                    Piece::Data(_) => {}
                    Piece::End => {
                        self.count += 1;
                        for part in parts(&event, Some(self.version)) {
                            room.take(part, None, back);
                        }
                        event.clear();
                    }
                    Piece::Id(id) => self.last = Some(id).filter(|id| !id.is_empty()),
                    Piece::Retry(wait) => self.retry = Duration::from_millis(wait).clamp(RETRY_MIN, RETRY_MAX),
                }
            }
        }
    }
}
