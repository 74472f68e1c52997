//! Who waits for what on one link: calls for their answers, listeners for news.
//!
//! Every message of a connector that is no answer on a stream of its own comes through here. Nothing here waits: what
//! has no room in the queue of its call is dropped, or declined, so that one that does not read harms nobody else.

use crate::{
    event::{Ask, Event, News},
    http::Failure,
    line::Pieces,
    link::Back,
    patience::Patience,
};
use portreeve_core::json::{Json, Limits};
use portreeve_mcp::{
    asked::METHOD_NOT_FOUND,
    can::Can,
    message::{Message, Shape},
    method::{Method, Notice},
    outcome,
    params::{ListenFilter, META_SUBSCRIPTION},
    reply,
    version::{Era, Version},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{mpsc, oneshot};

/// Who waits for what
#[derive(Debug)]
pub(crate) struct Room {
    // Held only for a look-up, never across an await.
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    version: Version,
    can: Can,
    /// No answer will come any more
    over: bool,
    /// The lists of the connector are not what they were when it was last asked
    changed: bool,
    calls: BTreeMap<u64, Caller>,
    listeners: BTreeMap<u64, Listener>,
    /// Questions that are open, by the connector's own id
    asked: HashMap<String, oneshot::Sender<()>>,
}

/// Who waits for an answer
#[derive(Debug)]
pub(crate) struct Caller {
    /// Where the answer goes that comes on a common stream
    pub(crate) answer: Option<oneshot::Sender<Answer>>,
    /// Whether a long answer may be passed on while it arrives
    pub(crate) long: bool,
    /// Where everything else goes; nowhere for what is no call
    pub(crate) events: Option<mpsc::Sender<Event>>,
    pub(crate) patience: Arc<Patience>,
}

/// An answer that came on a common stream
#[derive(Debug)]
pub(crate) enum Answer {
    /// All of it
    Whole(Vec<u8>),
    /// The beginning of a long one, and the rest as it arrives
    Long(Vec<u8>, Pieces),
}

impl Answer {
    pub(crate) fn whole(self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Whole(answer) => Ok(answer),
            Self::Long(..) => Err(Failure::Lost("the answer is longer than the limit".to_owned())),
        }
    }
}

/// Who waits for news
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) filter: ListenFilter,
    pub(crate) news: mpsc::Sender<News>,
    /// Told when the connector has acknowledged it
    pub(crate) acknowledged: Option<oneshot::Sender<ListenFilter>>,
    /// Told when it is over, and why
    pub(crate) ended: Option<oneshot::Sender<String>>,
}

/// Questions of one link that may be open at once
const ASKED_MAX: usize = 64;

impl Room {
    pub(crate) fn new(version: Version, can: Can) -> Arc<Self> {
        let inside = Inside {
            version,
            can,
            over: false,
            changed: false,
            calls: BTreeMap::new(),
            listeners: BTreeMap::new(),
            asked: HashMap::new(),
        };
        Arc::new(Self { inside: Mutex::new(inside) })
    }

    /// How the connector speaks is known now
    pub(crate) fn settle(&self, version: Version, can: Can) {
        let mut inside = self.inside();
        (inside.version, inside.can) = (version, can);
    }

    /// Lets somebody wait until what is returned is dropped; nobody, if nothing comes any more
    pub(crate) fn enter(self: &Arc<Self>, id: u64, caller: Caller) -> Option<Entered> {
        let mut inside = self.inside();
        if inside.over {
            return None;
        }
        inside.calls.insert(id, caller);
        Some(Entered { room: Arc::clone(self), id })
    }

    /// Lets somebody listen until what is returned is dropped
    pub(crate) fn listen(self: &Arc<Self>, id: u64, listener: Listener) -> Option<Listens> {
        let mut inside = self.inside();
        if inside.over {
            return None;
        }
        inside.listeners.insert(id, listener);
        Some(Listens { room: Arc::clone(self), id })
    }

    /// Whether anybody listens for this resource
    pub(crate) fn is_wanted(&self, uri: &str) -> bool {
        self.inside().listeners.values().any(|listener| listener.filter.uris.iter().any(|wanted| wanted == uri))
    }

    /// Everybody who listens hears why nothing comes any more
    pub(crate) fn end_listeners(&self, why: &str) {
        for (_, listener) in std::mem::take(&mut self.inside().listeners) {
            listener.end(why);
        }
    }

    /// One who listens hears why nothing comes any more
    pub(crate) fn end_listener(&self, id: u64, why: &str) {
        let listener = self.inside().listeners.remove(&id);
        if let Some(listener) = listener {
            listener.end(why);
        }
    }

    /// Nothing comes any more
    pub(crate) fn close(&self, why: &str) {
        let mut inside = self.inside();
        inside.over = true;
        inside.calls.clear();
        inside.asked.clear();
        drop(inside);
        self.end_listeners(why);
    }

    pub(crate) fn take_changed(&self) -> bool {
        std::mem::take(&mut self.inside().changed)
    }

    pub(crate) fn mark_changed(&self) {
        self.inside().changed = true;
    }

    /// Takes a message that came on the stream of the call `of`, or on a common one
    pub(crate) fn take(&self, bytes: &[u8], of: Option<u64>, back: &Back) {
        let version = self.inside().version;
        for part in parts(bytes, Some(version)) {
            self.take_one(part, of, back);
        }
    }

    fn take_one(&self, bytes: &[u8], of: Option<u64>, back: &Back) {
        // What is no message is noise that the protocol forbids; it is dropped.
        let Ok(message) = Message::read_answer(bytes, &limits()) else { return };
        match message.shape() {
            Shape::Response { id: Some(id), .. } => {
                let Ok(id) = id.raw().parse::<u64>() else { return };
                self.answered(id, bytes);
            }
            Shape::Response { id: None, .. } => {}
            Shape::Request { id, method } => self.asked(id.raw(), method, &message, of, back),
            Shape::Notification { method } => match Notice::read(method) {
                Some(notice) => self.told(notice, &message, bytes, of),
                None => tracing::debug!(%method, "a connector told something that the protocol does not have"),
            },
        }
    }

    fn answered(&self, id: u64, bytes: &[u8]) {
        let mut inside = self.inside();
        if let Some(listener) = inside.listeners.remove(&id) {
            listener.end(&refusal(bytes).unwrap_or_else(|| "the connector ended it".to_owned()));
        }
        if let Some(answer) = inside.calls.get_mut(&id).and_then(|caller| caller.answer.take()) {
            let _ = answer.send(Answer::Whole(bytes.to_vec()));
        }
    }

    /// Gives a long answer to the call that waits for it; gives it back if there is none that wants it so
    pub(crate) fn answered_long(&self, id: u64, begun: Vec<u8>, rest: Pieces) -> Result<(), Vec<u8>> {
        let mut inside = self.inside();
        let caller = inside.calls.get_mut(&id).filter(|caller| caller.long);
        let Some(answer) = caller.and_then(|caller| caller.answer.take()) else { return Err(begun) };
        answer.send(Answer::Long(begun, rest)).map_err(|answer| match answer {
            Answer::Whole(begun) | Answer::Long(begun, _) => begun,
        })
    }

    fn asked(&self, id: &str, method: &str, message: &Message<'_>, of: Option<u64>, back: &Back) {
        let mut inside = self.inside();
        if inside.version.era() == Era::Modern {
            // A modern client never answers; a modern server never asks (2026-07-28, stdio and Streamable HTTP).
            tracing::warn!(%method, "a modern connector sent a request, which is dropped");
            return;
        }
        if method == Method::Ping.as_str() {
            return back.say(reply::result_text(id, "{}"));
        }
        let refuse = |why: &str| back.say(reply::error(Some(id), METHOD_NOT_FOUND, why, None));
        let Some(method) = Method::read(method).filter(|method| method.from_server()) else {
            return refuse("Method not found");
        };
        if let Err(why) = outcome::question(String::new(), method, message.params(), inside.can) {
            tracing::debug!(%why, "a connector asked what the client cannot be asked");
            return refuse("the client cannot do this");
        }
        inside.asked.retain(|_, open| !open.is_closed());
        let can = inside.asked.len() < ASKED_MAX && !inside.asked.contains_key(id);
        let Some((events, patience)) = inside.caller(of).filter(|_| can) else {
            return refuse("no call is under way that could be asked about");
        };
        let (withdraw, withdrawn) = oneshot::channel();
        let params = message.params().map_or("{}", Json::raw).to_owned();
        let ask = Ask {
            method,
            params,
            id: id.to_owned(),
            back: Some(back.clone()),
            withdrawn: Some(withdrawn),
            _open: patience.question(),
        };
        inside.asked.insert(id.to_owned(), withdraw);
        drop(inside);
        // A question that has no room is dropped here, and so declined.
        drop(events.try_send(Event::Asks(ask)));
    }

    fn told(&self, notice: Notice, message: &Message<'_>, bytes: &[u8], of: Option<u64>) {
        let member = |key: &str| message.params().and_then(|params| params.get(key));
        let number = |json: Option<&Json<'_>>| json.and_then(Json::as_number).and_then(|number| number.parse().ok());
        let subscription = member("_meta").and_then(|meta| meta.get(META_SUBSCRIPTION));
        let tagged: Option<u64> = number(subscription);
        let mut inside = self.inside();
        match notice {
            Notice::Initialized | Notice::Roots => {}
            Notice::Cancelled => {
                let Some(id) = member("requestId") else { return };
                if let Some(withdraw) = inside.asked.remove(id.raw()) {
                    let _ = withdraw.send(());
                }
                // The request to listen is ours; a modern server cancels it when it is about to end.
                if let Some(listener) = number(Some(id)).and_then(|id| inside.listeners.remove(&id)) {
                    listener.end("the connector ended it");
                }
            }
            Notice::Progress => {
                let Some(id) = number(member("progressToken")).filter(|id| of.is_none_or(|of| of == *id)) else {
                    return;
                };
                if let Some(caller) = inside.calls.get(&id) {
                    caller.patience.progress();
                    caller.tell(bytes);
                }
            }
            Notice::UrlDone => {
                for caller in inside.calls.values() {
                    caller.tell(bytes);
                }
            }
            Notice::Logged => match inside.latest(of) {
                Some(caller) => caller.tell(bytes),
                None if inside.version.era() == Era::Legacy => inside.spread(notice, None, bytes, None),
                None => {}
            },
            Notice::Acknowledged => {
                let listener = tagged.and_then(|id| inside.listeners.get_mut(&id));
                if let Some(acknowledged) = listener.and_then(|listener| listener.acknowledged.take()) {
                    let _ = acknowledged.send(ListenFilter::read(message.params()).unwrap_or_default());
                }
            }
            Notice::Tools | Notice::Prompts | Notice::Resources => {
                inside.changed |= notice != Notice::Resources;
                inside.spread(notice, None, bytes, tagged);
            }
            Notice::Updated => inside.spread(notice, member("uri").and_then(Json::as_str), bytes, tagged),
            Notice::Task => inside.spread(notice, member("taskId").and_then(Json::as_str), bytes, tagged),
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// The call that this belongs to: the one on whose stream it came, or else the latest that is under way
    fn latest(&self, of: Option<u64>) -> Option<&Caller> {
        match of {
            Some(id) => self.calls.get(&id),
            None => self.calls.values().rev().find(|caller| caller.events.is_some()),
        }
    }

    fn caller(&self, of: Option<u64>) -> Option<(mpsc::Sender<Event>, Arc<Patience>)> {
        let caller = self.latest(of)?;
        Some((caller.events.clone()?, Arc::clone(&caller.patience)))
    }

    /// Tells everybody who wants to know this; a modern connector says itself whom it means
    fn spread(&self, what: Notice, of: Option<&str>, raw: &[u8], tagged: Option<u64>) {
        let modern = self.version.era() == Era::Modern;
        for (id, listener) in &self.listeners {
            if (modern && tagged != Some(*id)) || !listener.wants(what, of) {
                continue;
            }
            let news = News { what, of: of.map(str::to_owned), raw: raw.to_vec() };
            if listener.news.try_send(news).is_err() {
                tracing::debug!("news of a connector is dropped, because who listens does not read");
            }
        }
    }
}

impl Caller {
    fn tell(&self, bytes: &[u8]) {
        if let Some(events) = &self.events {
            // Who does not read what is told on the way misses it, and the answer comes all the same.
            drop(events.try_send(Event::Told(bytes.to_vec())));
        }
    }
}

impl Listener {
    fn wants(&self, what: Notice, of: Option<&str>) -> bool {
        let named = |names: &[String]| of.is_some_and(|of| names.iter().any(|name| covers(name, of)));
        match what {
            Notice::Tools => self.filter.tools,
            Notice::Prompts => self.filter.prompts,
            Notice::Resources => self.filter.resources,
            Notice::Updated => named(&self.filter.uris),
            Notice::Task => of.is_some_and(|of| self.filter.tasks.iter().any(|task| task == of)),
            Notice::Logged => true,
            _ => false,
        }
    }

    fn end(mut self, why: &str) {
        if let Some(ended) = self.ended.take() {
            let _ = ended.send(why.to_owned());
        }
    }
}

/// A server may tell of a part of a resource that was subscribed to (2025-11-25, Resources, Subscriptions)
fn covers(subscribed: &str, updated: &str) -> bool {
    let rest = updated.strip_prefix(subscribed);
    rest.is_some_and(|rest| rest.is_empty() || subscribed.ends_with('/') || rest.starts_with(['/', '#', '?']))
}

/// What an error says; nothing if it is none
pub(crate) fn refusal(bytes: &[u8]) -> Option<String> {
    let message = Message::read_answer(bytes, &limits()).ok()?;
    let text = message.error()?.get("message").and_then(Json::as_str).unwrap_or("an error without a message");
    Some(text.chars().take(200).collect())
}

/// The messages in these bytes: one, but 2025-03-26 has batches
pub(crate) fn parts(bytes: &[u8], version: Option<Version>) -> Vec<&[u8]> {
    let is_array = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if !is_array || version.is_some_and(|version| version != Version::March2025) {
        return vec![bytes];
    }
    let read = portreeve_core::json::scan_distinct(bytes, &limits());
    let spans: Option<Vec<_>> =
        read.ok().and_then(|read| Some(read.as_array()?.iter().map(Json::span).collect::<Vec<_>>()));
    spans.unwrap_or_default().into_iter().filter_map(|span| bytes.get(span)).collect()
}

/// Bytes of an answer that are waited for before it is passed on while it arrives
pub(crate) const WHOLE_BYTES_MAX: usize = 1 << 20;
/// Bytes of an answer that is read as a whole at most
pub(crate) const ANSWER_BYTES_MAX: usize = 16 << 20;

pub(crate) fn limits() -> Limits {
    Limits { bytes_max: ANSWER_BYTES_MAX, ..Limits::DEFAULT }
}

/// Somebody waits
#[derive(Debug)]
pub(crate) struct Entered {
    room: Arc<Room>,
    id: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Whoever stops waiting is forgotten, so that a late answer goes nowhere.
        self.room.inside().calls.remove(&self.id);
    }
}

/// Somebody listens
#[derive(Debug)]
pub(crate) struct Listens {
    room: Arc<Room>,
    id: u64,
}

impl Drop for Listens {
    fn drop(&mut self) {
        self.room.inside().listeners.remove(&self.id);
    }
}
