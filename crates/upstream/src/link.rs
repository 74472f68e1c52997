//! A link: one run's own connection to one connector, ready to be called.
//!
//! Opening one finds out which era the connector is of, and asks what it offers. That is discovery; no call needs to be
//! admitted for it, and it never does anything at the connector.

mod called;
mod hear;
mod listen;
mod offer;
mod open;
mod send;
mod session;

pub use called::{Called, Ending, Flowing, Passage, STREAM_BYTES_MAX, Whole, fields};
pub use listen::Listening;
pub use offer::Offer;
pub use portreeve_mcp::client::Hello;
pub use send::Sending;

use crate::{
    child::{Child, NoProgram, Out},
    http::{Address, Failure, Gate, GateState, Http, Trouble},
    identity::{Identity, Mismatch},
    latch::Pass,
    patience::Patience,
    room::{Answer, Room},
};
use hear::{Heard, Hearing};
use http::StatusCode;
use portreeve_mcp::{
    can::Can,
    client::{self, Says},
    method::Method,
    version::{Era, Version},
};
use session::{Session, Sessions};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// One run's connection to one connector, for a client that can do certain things
///
/// Dropping it ends the session with the connector; a child lives on until it is ended.
#[derive(Debug)]
pub struct Link {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    carrier: Carrier,
    hello: Hello,
    can: Can,
    next_id: AtomicU64,
    over: AtomicBool,
    room: Arc<Room>,
}

#[derive(Debug)]
enum Carrier {
    Http { http: Arc<Http>, sessions: Sessions },
    Child(Arc<Child>),
}

/// Why a link is not ready
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// The address is none
    #[error("{0}")]
    Address(#[source] Address),
    /// The connector is not the one that was accepted; nothing was sent
    #[error("{0}")]
    Identity(#[source] Mismatch),
    /// No answer came
    #[error("{0}")]
    Failure(#[source] Failure),
    /// The answer cannot be used
    #[error("{0}")]
    Answer(#[source] client::Answer),
    /// It refuses
    #[error("it answered with HTTP status {0}")]
    Status(StatusCode),
    /// One of its lists has no end
    #[error("its list of tools or prompts is longer than the limit of {}", offer::ITEMS_MAX)]
    Endless,
    /// Two of its tools or prompts have the same name
    #[error("it offers the name {0:?} twice")]
    Twice(String),
}

impl From<Trouble> for Unready {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Identity(mismatch) => Self::Identity(mismatch),
            Trouble::Other(why) => Self::Failure(Failure::NotSent(why)),
        }
    }
}

impl From<NoProgram> for Unready {
    fn from(error: NoProgram) -> Self {
        match error {
            NoProgram::Identity(mismatch) => Self::Identity(mismatch),
            NoProgram::Io(error) => Self::Failure(Failure::NotSent(error.to_string())),
        }
    }
}

/// How long the handshake and each page of a list may take; packages are fetched on a first start
const READY: Duration = Duration::from_secs(60);
/// How long telling a connector that something is over may take
const FAREWELL: Duration = Duration::from_secs(5);

impl Link {
    fn new(carrier: Carrier, hello: Hello, can: Can, room: Arc<Room>) -> Self {
        let (next_id, over) = (AtomicU64::new(2), AtomicBool::new(false));
        Self { inner: Arc::new(Inner { carrier, hello, can, next_id, over, room }) }
    }

    /// What the connector says of itself
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.inner.hello
    }

    /// The version that is spoken with it
    #[must_use]
    pub fn version(&self) -> Version {
        self.inner.hello.version
    }

    /// What it was told that the client can do
    #[must_use]
    pub fn can(&self) -> Can {
        self.inner.can
    }

    /// Who the connector is
    #[must_use]
    pub fn identity(&self) -> Identity {
        match &self.inner.carrier {
            Carrier::Http { http, .. } => http.identity().unwrap_or(Identity::Plain),
            Carrier::Child(child) => child.identity(),
        }
    }

    /// Asks for a page of a list, or anything else that only looks: the raw answer
    ///
    /// # Errors
    /// [`Unready`]
    pub async fn look(&self, method: Method, cursor: Option<&str>, within: Duration) -> Result<Vec<u8>, Unready> {
        let id = self.inner.id();
        self.inner.plain(id, self.inner.says().list(id, method, cursor), within).await
    }

    /// Tells the connector something of the client that wants no answer, such as that its roots changed
    ///
    /// # Errors
    /// [`Failure`]: whether it was sent.
    pub async fn tell(&self, notification: Vec<u8>, pass: Pass) -> Result<(), Failure> {
        self.inner.back().answer(notification, Some(pass)).await
    }

    /// Whether the link has to be opened anew
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.inner.is_over()
    }

    /// Whether the connector said or showed, since this was last asked, that its lists changed
    #[must_use]
    pub fn take_changed(&self) -> bool {
        self.inner.room.take_changed()
    }

    /// Ends it, and returns once nothing of it is left
    pub async fn end(&self) {
        self.inner.over.store(true, Ordering::Relaxed);
        self.inner.room.close("the link was ended");
        match &self.inner.carrier {
            Carrier::Http { http, sessions } => {
                if let Some(session) = sessions.end() {
                    session.delete(http).await;
                }
            }
            Carrier::Child(child) => child.end().await,
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let Carrier::Http { http, sessions } = &self.inner.carrier else { return };
        if let (Some(session), Ok(runtime)) = (sessions.end(), tokio::runtime::Handle::try_current()) {
            let http = Arc::clone(http);
            runtime.spawn(async move { session.delete(&http).await });
        }
    }
}

impl Inner {
    fn id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn says(&self) -> Says {
        Says { version: self.hello.version, can: self.can }
    }

    fn era(&self) -> Era {
        self.hello.version.era()
    }

    fn is_over(&self) -> bool {
        let gone = match &self.carrier {
            Carrier::Http { .. } => false,
            Carrier::Child(child) => child.is_gone(),
        };
        gone || self.over.load(Ordering::Relaxed)
    }

    /// The way back to the connector
    fn back(&self) -> Back {
        match &self.carrier {
            Carrier::Http { http, sessions } => Back::Http { http: Arc::clone(http), session: sessions.now() },
            Carrier::Child(child) => child.back(),
        }
    }

    /// A request that is no call
    async fn plain(&self, id: u64, message: Vec<u8>, within: Duration) -> Result<Vec<u8>, Unready> {
        let (http, sessions) = match &self.carrier {
            Carrier::Child(child) => {
                let caller = open::nobody(within);
                let answer = child.ask(id, message, None, caller).await.and_then(Answer::whole);
                return answer.map_err(Unready::Failure);
            }
            Carrier::Http { http, sessions } => (http, sessions),
        };
        let mut session = sessions.now();
        let patience = Patience::new(within);
        let exchange = async {
            loop {
                let gate = Gate::new(None, http.clock());
                let hearing = Hearing { http, session: &session, room: &self.room, id, whole: true };
                let posted = hearing.post(message.clone(), &[], &gate).await?;
                match posted.status {
                    StatusCode::NOT_FOUND if session.id.is_some() => {
                        let renewed = self.renew(http, sessions, &session).await?;
                        if Arc::ptr_eq(&renewed, &session) {
                            return Err(Unready::Status(posted.status));
                        }
                        session = renewed;
                    }
                    status => {
                        let answer = posted.heard.whole().map_err(not_heard)?;
                        // An error that says whose it is, is an answer.
                        if status.is_success() || (status.is_client_error() && send::answers(&answer) == Some(true)) {
                            return Ok(answer);
                        }
                        return Err(Unready::Status(status));
                    }
                }
            }
        };
        patience.limit(exchange).await.unwrap_or_else(|| Err(not_heard("no answer in time".to_owned())))
    }

    /// The session after `old`, which the server does not know any more
    async fn renew(&self, http: &Arc<Http>, sessions: &Sessions, old: &Arc<Session>) -> Result<Arc<Session>, Unready> {
        let _renewing = sessions.renewing.lock().await;
        let now = sessions.now();
        if !Arc::ptr_eq(&now, old) {
            return Ok(now);
        }
        let opened = open::initialize(http, self.can, &self.room).await.and_then(|(hello, session)| {
            if hello.version == self.hello.version { Ok(session) } else { Err(Unready::Status(StatusCode::NOT_FOUND)) }
        });
        let Ok(session) = opened else {
            // It is another server by now; the next call opens everything anew.
            self.over.store(true, Ordering::Relaxed);
            return opened;
        };
        // What was subscribed to belonged to the session, and what it offers may have changed with it.
        self.room.end_listeners("the server ended the session");
        self.room.mark_changed();
        sessions.replace(&session);
        listen::unsolicited(http, sessions, &self.room, &self.hello, self.can).await;
        Ok(session)
    }
}

fn not_heard(why: String) -> Unready {
    Unready::Failure(Failure::Lost(why))
}

/// The way back to a connector for what it did not ask on a stream of its own
#[derive(Clone, Debug)]
pub(crate) enum Back {
    Http { http: Arc<Http>, session: Arc<Session> },
    Child(mpsc::Sender<Out>),
}

impl Back {
    /// Says something that nobody waits for, and that changes nothing
    pub(crate) fn say(&self, message: Vec<u8>) {
        match self {
            Self::Http { .. } => {
                let back = self.clone();
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(async move { back.answer(message, None).await });
                }
            }
            // A child that lets everything lie gets no more on top.
            Self::Child(out) => drop(out.try_send(Out::plain(message))),
        }
    }

    /// Sends an answer or a notification
    pub(crate) async fn answer(&self, message: Vec<u8>, pass: Option<Pass>) -> Result<(), Failure> {
        self.pass(message, pass, &Patience::new(FAREWELL)).await
    }

    pub(crate) async fn pass(&self, message: Vec<u8>, pass: Option<Pass>, patience: &Patience) -> Result<(), Failure> {
        match self {
            Self::Http { http, session } => {
                let gate = Gate::new(pass, http.clock());
                let posted = patience.limit(session.post(http, message, &[], &gate)).await;
                match posted.unwrap_or_else(|| Err("no answer in time".to_owned().into())) {
                    Ok(exchange) if exchange.status.is_success() => {
                        exchange.done();
                        Ok(())
                    }
                    Ok(exchange) => Err(Failure::Rejected(format!("HTTP status {}", exchange.status))),
                    Err(trouble) => Err(failed(&gate, trouble.to_string())),
                }
            }
            Self::Child(out) => {
                let gone = || Failure::NotSent("the server's process is gone".to_owned());
                let withdrawal = pass.as_ref().map(Pass::withdrawal);
                let (sent, written) = oneshot::channel();
                let exchange = async {
                    out.send(Out { line: message, pass, sent }).await.map_err(|_| gone())?;
                    written.await.map_err(|_| Failure::Lost("the server's process ended".to_owned()))?
                };
                patience.limit(exchange).await.unwrap_or_else(|| {
                    let why = "it was not read in time".to_owned();
                    let unsent = withdrawal.is_some_and(|withdrawal| withdrawal.withdraw());
                    Err(if unsent { Failure::NotSent(why) } else { Failure::Lost(why) })
                })
            }
        }
    }
}

/// What an exchange that came to nothing means for its message
fn failed(gate: &Gate, why: String) -> Failure {
    match gate.state() {
        GateState::Waiting => Failure::NotSent(why),
        GateState::Refused(closed) => Failure::NotSent(closed.to_string()),
        GateState::Passed => Failure::Lost(why),
    }
}
