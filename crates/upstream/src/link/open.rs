//! Opening a link: which era the connector is of, and the handshake where there is one.
//!
//! The first message is always `server/discover` (2026-07-28, Versioning): it never does anything, whoever gets it. A
//! call sent blindly could be done by a legacy server, and once more after the handshake.

use super::{Carrier, Hearing, Inner, Link, Offer, READY, Session, Sessions, Unready, listen, not_heard};
use crate::{
    child::Child,
    http::{Failure, Gate, Http, Trouble},
    patience::Patience,
    room::{Answer, Caller, Room, limits},
};
use http::StatusCode;
use portreeve_mcp::{
    can::Can,
    client::{self, Discovered, Hello},
    version::{Era, Version},
};
use std::{pin::pin, sync::Arc, time::Duration};

/// How long the answer to the first message may take: some legacy servers leave what they do not know without any
const PROBE: Duration = if cfg!(test) { Duration::from_millis(1_500) } else { Duration::from_secs(10) };
/// The ids of the messages before a link is ready
const PROBE_ID: u64 = 0;
const INITIALIZE_ID: u64 = 1;

impl Link {
    /// Opens a link with an HTTP connector, for a client that can do `can`
    ///
    /// How the connector speaks is remembered with its address, and found out anew when that fails.
    ///
    /// # Errors
    /// [`Unready`]
    pub async fn over_http(http: Arc<Http>, can: Can) -> Result<(Self, Offer), Unready> {
        if http.known().is_some_and(|version| version.era() == Era::Legacy) {
            match Self::legacy(&http, can).await {
                Err(unready) if !is_final(&unready) => http.learn(None),
                opened => return opened,
            }
        }
        let opened = match discover(&http, can).await? {
            Some(hello) => Self::modern(&http, can, hello).await,
            None => Self::legacy(&http, can).await,
        };
        http.learn(opened.as_ref().ok().map(|(link, _)| link.version()));
        opened
    }

    async fn modern(http: &Arc<Http>, can: Can, hello: Hello) -> Result<(Self, Offer), Unready> {
        let session = Arc::new(Session { id: None, version: Some(hello.version) });
        let room = Room::new(hello.version, can);
        let carrier = Carrier::Http { http: Arc::clone(http), sessions: Sessions::new(session) };
        Self::new(carrier, hello, can, room).ready().await
    }

    async fn legacy(http: &Arc<Http>, can: Can) -> Result<(Self, Offer), Unready> {
        let room = Room::new(Version::LATEST_LEGACY, can);
        let (hello, session) = initialize(http, can, &room).await?;
        room.settle(hello.version, can);
        let carrier = Carrier::Http { http: Arc::clone(http), sessions: Sessions::new(session) };
        let link = Self::new(carrier, hello, can, room);
        let inner = Arc::clone(&link.inner);
        let Inner { carrier: Carrier::Http { http, sessions }, room, hello, .. } = &*inner else {
            return Err(not_heard("it is no HTTP connector".to_owned()));
        };
        tokio::join!(link.ready(), listen::unsolicited(http, sessions, room, hello, can)).0
    }

    /// Opens a link with a child, for a client that can do `can`
    ///
    /// # Errors
    /// [`Unready`]; the child is gone then.
    pub async fn over_child(child: Arc<Child>, can: Can) -> Result<(Self, Offer), Unready> {
        match Self::shake_hands(&child, can).await {
            Ok(ready) => Ok(ready),
            Err(unready) => {
                child.end().await;
                Err(unready)
            }
        }
    }

    async fn shake_hands(child: &Arc<Child>, can: Can) -> Result<(Self, Offer), Unready> {
        let discover = client::discover(PROBE_ID, can);
        let initialize = client::initialize(INITIALIZE_ID, Version::LATEST_LEGACY, can);
        let mut probe = pin!(child.ask(PROBE_ID, discover, None, nobody(READY)));
        let (hello, silent) = match tokio::time::timeout(PROBE, &mut probe).await {
            Ok(answer) => (of_probe(child, answer)?, false),
            Err(_) => (None, true),
        };
        let hello = match hello {
            Some(hello) => hello,
            None => {
                let mut shaken = pin!(child.ask(INITIALIZE_ID, initialize, None, nobody(READY)));
                let answer = tokio::select! {
                    biased;
                    // A modern server that took its time to start.
                    late = &mut probe, if silent => match of_probe(child, late)? {
                        Some(hello) => Err(hello),
                        None => Ok(shaken.await),
                    },
                    answer = &mut shaken => Ok(answer),
                };
                match answer {
                    Err(hello) => hello,
                    Ok(answer) => {
                        let answer = answer.and_then(Answer::whole).map_err(Unready::Failure)?;
                        let hello = client::read_initialize(&answer, &limits()).map_err(Unready::Answer)?;
                        child.tell(client::initialized()).await;
                        hello
                    }
                }
            }
        };
        child.room().settle(hello.version, can);
        Self::new(Carrier::Child(Arc::clone(child)), hello, can, Arc::clone(child.room())).ready().await
    }

    async fn ready(self) -> Result<(Self, Offer), Unready> {
        let offer = self.offer().await?;
        Ok((self, offer))
    }
}

/// What a child says to the modern era; nothing if it is of the other one
///
/// Any error and silence mean the legacy era (2026-07-28, stdio); a process that is gone does not.
fn of_probe(child: &Child, answer: Result<Answer, Failure>) -> Result<Option<Hello>, Unready> {
    match answer.and_then(Answer::whole) {
        Ok(answer) => understood(client::read_discover(&answer, &limits())),
        Err(Failure::Lost(_)) if !child.is_gone() => Ok(None),
        Err(failure) => Err(Unready::Failure(failure)),
    }
}

/// Nobody is asked or told anything on the way of what is no call
pub(super) fn nobody(within: Duration) -> Caller {
    Caller { answer: None, long: false, events: None, patience: Patience::new(within) }
}

/// Whether trying the other era is no use
fn is_final(unready: &Unready) -> bool {
    match unready {
        Unready::Address(_) | Unready::Identity(_) | Unready::Endless | Unready::Twice(_) => true,
        Unready::Status(status) => is_no_era(*status),
        Unready::Failure(_) | Unready::Answer(_) => false,
    }
}

/// Whether a status says nothing of the era: who asks is not let in, or nobody is at home
fn is_no_era(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    ) || status.is_redirection()
}

/// What a connector says to the modern era; nothing if it is of the other one
async fn discover(http: &Arc<Http>, can: Can) -> Result<Option<Hello>, Unready> {
    let first = probe(http, can).await?;
    let same = |version: &String| version == Version::LATEST.as_str();
    match first {
        // It refuses the version that it names: the specification wants that tried, and once is enough.
        Ok(Discovered::Versions(versions)) if versions.iter().any(same) => understood(probe(http, can).await?),
        first => understood(first),
    }
}

/// Asks a connector for what it is of the modern era; silence is the other one
async fn probe(http: &Arc<Http>, can: Can) -> Result<Result<Discovered, client::Answer>, Unready> {
    let session = Arc::new(Session { id: None, version: Some(Version::LATEST) });
    let (room, gate) = (Room::new(Version::LATEST, can), Gate::new(None, http.clock()));
    let hearing = Hearing { http, session: &session, room: &room, id: PROBE_ID, whole: true };
    let probe = hearing.post(client::discover(PROBE_ID, can), &[], &gate);
    let posted = match tokio::time::timeout(PROBE, probe).await {
        Ok(Ok(posted)) => posted,
        Ok(Err(Trouble::Identity(mismatch))) => return Err(Unready::Identity(mismatch)),
        Ok(Err(Trouble::Other(why))) => return Err(not_heard(why)),
        Err(_) => return Ok(Ok(Discovered::Legacy)),
    };
    if is_no_era(posted.status) {
        return Err(Unready::Status(posted.status));
    }
    let answer = posted.heard.whole().map_err(not_heard)?;
    Ok(client::read_discover(&answer, &limits()))
}

fn understood(discovered: Result<Discovered, client::Answer>) -> Result<Option<Hello>, Unready> {
    match discovered.map_err(Unready::Answer)? {
        Discovered::Modern(hello) => Ok(Some(hello)),
        Discovered::Legacy => Ok(None),
        Discovered::Versions(versions) => {
            // It answers as the modern era does, and may still speak a version of the other one.
            let legacy = |version: &Version| version.era() == Era::Legacy;
            if versions.iter().any(|version| Version::read(version).as_ref().is_some_and(legacy)) {
                return Ok(None);
            }
            let versions: String = versions.join(", ").chars().take(80).collect();
            Err(Unready::Answer(client::Answer::Version(versions)))
        }
    }
}

/// Opens a session of the legacy era
pub(super) async fn initialize(http: &Arc<Http>, can: Can, room: &Arc<Room>) -> Result<(Hello, Arc<Session>), Unready> {
    let before = Arc::new(Session { id: None, version: None });
    let gate = Gate::new(None, http.clock());
    let hearing = Hearing { http, session: &before, room, id: INITIALIZE_ID, whole: true };
    let message = client::initialize(INITIALIZE_ID, Version::LATEST_LEGACY, can);
    let posted = tokio::time::timeout(READY, hearing.post(message, &[], &gate)).await;
    let posted = posted.unwrap_or_else(|_| Err("no answer in time".to_owned().into()))?;
    if !posted.status.is_success() {
        return Err(Unready::Status(posted.status));
    }
    let answer = posted.heard.whole().map_err(not_heard)?;
    let hello = client::read_initialize(&answer, &limits()).map_err(Unready::Answer)?;
    let session = Arc::new(Session { id: posted.session, version: Some(hello.version) });
    let gate = Gate::new(None, http.clock());
    let told = tokio::time::timeout(READY, session.post(http, client::initialized(), &[], &gate)).await;
    let told = told.unwrap_or_else(|_| Err("no answer in time".to_owned().into()))?;
    if !told.status.is_success() {
        return Err(Unready::Status(told.status));
    }
    told.done();
    Ok((hello, session))
}
