//! Sessions of clients of the era with `initialize`.
//!
//! A session carries no authority: the token does. It says how the client speaks and what it can do, and it is
//! where the answers to questions and unasked-for messages find their way. What it says is sealed into its id,
//! so that it is there again after a restart; what hangs on it is not.

use bytes::Bytes;
use portreeve_core::names::RunId;
use portreeve_identity::seal::Sealer;
use portreeve_mcp::{can::Can, params::Level, version::Version};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{mpsc, oneshot};

/// All sessions
#[derive(Debug)]
pub struct Sessions {
    sealer: Arc<Sealer>,
    // Held only for a look-up, never across an await.
    runs: Mutex<HashMap<RunId, OfRun>>,
}

#[derive(Debug, Default)]
struct OfRun {
    live: HashMap<String, Arc<Session>>,
    /// Ended by their clients; they do not come back
    ended: HashSet<u64>,
}

/// What stands in the id of a session
#[derive(Debug, Serialize, Deserialize)]
struct Sealed {
    run: RunId,
    /// The endpoint that it was made at
    at: String,
    version: String,
    can: u16,
    nonce: u64,
}

/// A session of one client
#[derive(Debug)]
pub struct Session {
    /// Its id
    pub id: String,
    /// The endpoint that it was made at
    at: String,
    /// The version that was agreed on
    pub version: Version,
    /// What the client can do for a server
    pub can: Can,
    nonce: u64,
    // Each held only to put something in or take it out.
    level: Mutex<Option<Level>>,
    streams: Mutex<Vec<mpsc::Sender<Bytes>>>,
    questions: Mutex<HashMap<u64, oneshot::Sender<Answered>>>,
    next: AtomicU64,
}

/// What a client answered to a question: the raw result, or its error
pub type Answered = Result<String, (i64, String)>;

/// Live sessions of one run; the oldest idea of a client is forgotten for a new one
const OF_RUN_MAX: usize = 32;
/// Sessions of one run that were ended and must not come back
const ENDED_MAX: usize = 4_096;
/// Streams of one session that wait for unasked-for messages
const STREAMS_MAX: usize = 4;
/// Questions of one session that wait for an answer
const QUESTIONS_MAX: usize = 64;
/// Unasked-for messages that may wait for a client to read
const WAITING_MAX: usize = 64;
const KIND: &str = "session";

impl Sessions {
    /// No sessions
    #[must_use]
    pub fn new(sealer: Arc<Sealer>) -> Self {
        Self { sealer, runs: Mutex::default() }
    }

    /// A new session; nothing if the system gives no randomness
    #[must_use]
    pub fn open(&self, run: RunId, at: &str, version: Version, can: Can) -> Option<Arc<Session>> {
        let nonce = crate::tasks::draw().ok()?;
        let sealed = Sealed { run, at: at.to_owned(), version: version.as_str().to_owned(), can: can.bits(), nonce };
        let id = self.sealer.seal(KIND, &serde_json::to_vec(&sealed).ok()?);
        let session = Arc::new(Session::new(id, at.to_owned(), (version, can), nonce));
        self.keep(run, &session);
        Some(session)
    }

    /// The session of this id, if it was made for this run at this endpoint and has not ended
    #[must_use]
    pub fn find(&self, run: RunId, at: &str, id: &str) -> Option<Arc<Session>> {
        if let Some(session) = self.runs().get(&run).and_then(|of_run| of_run.live.get(id)) {
            return (session.at == at).then(|| Arc::clone(session));
        }
        let sealed: Sealed = serde_json::from_slice(&self.sealer.open(KIND, id)?).ok()?;
        let ended = self.runs().get(&run).is_some_and(|of_run| of_run.ended.contains(&sealed.nonce));
        if sealed.run != run || sealed.at != at || ended {
            return None;
        }
        let version = Version::read(&sealed.version)?;
        let session =
            Arc::new(Session::new(id.to_owned(), sealed.at, (version, Can::from_bits(sealed.can)), sealed.nonce));
        self.keep(run, &session);
        Some(session)
    }

    /// The client ends its session
    pub fn end(&self, run: RunId, session: &Session) {
        let mut runs = self.runs();
        let of_run = runs.entry(run).or_default();
        of_run.live.remove(&session.id);
        if of_run.ended.len() < ENDED_MAX {
            of_run.ended.insert(session.nonce);
        }
    }

    /// Lets go of the sessions of a run that is over
    pub fn forget(&self, run: RunId) {
        let gone = self.runs().remove(&run);
        gone.into_iter().flat_map(|of_run| of_run.live.into_values()).for_each(|session| session.cut());
    }

    fn keep(&self, run: RunId, session: &Arc<Session>) {
        let mut runs = self.runs();
        let live = &mut runs.entry(run).or_default().live;
        if live.len() >= OF_RUN_MAX {
            // Whoever comes back with its id is known again by the seal.
            let idle = live.iter().find(|(_, session)| session.is_idle()).map(|(id, _)| id.clone());
            if let Some(id) = idle.or_else(|| live.keys().next().cloned()) {
                live.remove(&id);
            }
        }
        live.insert(session.id.clone(), Arc::clone(session));
    }

    fn runs(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, OfRun>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn new(id: String, at: String, (version, can): (Version, Can), nonce: u64) -> Self {
        Self {
            id,
            at,
            version,
            can,
            nonce,
            level: Mutex::default(),
            streams: Mutex::default(),
            questions: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    /// The level from which on the client wants log messages, if it has said so
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client wants log messages from this level on
    pub fn set_level(&self, level: Level) {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = Some(level);
    }

    /// A stream for unasked-for messages; nothing if it has as many as it may have
    #[must_use]
    pub fn stream(&self) -> Option<mpsc::Receiver<Bytes>> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| !stream.is_closed());
        if streams.len() >= STREAMS_MAX {
            return None;
        }
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        streams.push(sender);
        Some(receiver)
    }

    /// Tells the client something that it did not ask for, on one of its streams; what finds no room is dropped
    #[must_use]
    pub fn tell(&self, message: &Bytes) -> bool {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.iter().any(|stream| stream.try_send(message.clone()).is_ok())
    }

    /// Ends its streams
    pub fn cut(&self) {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A number for a question to the client, and where its answer will come; nothing if too many wait
    #[must_use]
    pub fn question(self: &Arc<Self>) -> Option<Asked> {
        let (answer, answered) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        if questions.len() >= QUESTIONS_MAX {
            return None;
        }
        questions.insert(number, answer);
        Some(Asked { session: Arc::clone(self), number, answered })
    }

    /// The client answers a question; false if it was not asked, or is not waited for any more
    #[must_use]
    pub fn answered(&self, number: u64, answer: Answered) -> bool {
        let waiting = self.questions.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        waiting.is_some_and(|waiting| waiting.send(answer).is_ok())
    }

    fn is_idle(&self) -> bool {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
            && self.questions.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// A question that a client was asked
#[derive(Debug)]
pub struct Asked {
    session: Arc<Session>,
    /// Its number: the id of the request to the client
    pub number: u64,
    answered: oneshot::Receiver<Answered>,
}

impl Asked {
    /// Waits for the answer; nothing if there will be none
    pub async fn answer(&mut self) -> Option<Answered> {
        (&mut self.answered).await.ok()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.session.questions.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}
