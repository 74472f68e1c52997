//! The way of one call: does what each step of its [`Life`] says, and reports what happened.
//!
//! A call runs in a task of its own, so that an agent that hangs up does not leave it half done; only a
//! cancellation, a stop or its time ends it early.

use crate::{
    catalogue::Catalogue,
    door::Door,
    links::{Links, Unready},
    points::Points,
    settings::REQUESTS_PER_RUN_MAX,
};
use bytes::Bytes;
use portreeve_core::{
    engine::{Permit, Reply},
    hash::Hash,
    json::Limits,
    life::{Answer, Do, Happened, Life},
    names::{EffectId, RunId, Tool},
    outside::Asking,
    reason::{Reason, Word},
    request::{Call, Request},
};
use portreeve_mcp::{
    message::{Id, Message},
    method::Method,
    reply,
    translate::ToClient,
    version::{Era, Version},
};
use portreeve_upstream::{
    http::Failure,
    latch::{Latches, Pass},
    link::{Called, Link, STREAM_BYTES_MAX, Sending, Whole},
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

/// Everything that calls need
#[derive(Debug)]
pub struct Calls {
    door: Door,
    latches: Arc<Latches>,
    links: Arc<Links>,
    catalogue: Arc<Catalogue>,
    points: Arc<Points>,
    /// How many stops there were
    stops: watch::Sender<u64>,
    // Held only for a look-up, never across an await.
    under_way: Mutex<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    cancels: HashMap<EffectId, oneshot::Sender<String>>,
    by_request: HashMap<RequestKey, EffectId>,
    per_run: HashMap<RunId, usize>,
}

/// How a client names one of its requests: run, the session that it was told, id
pub type RequestKey = (RunId, Option<String>, String);

/// A call as it came in
#[derive(Debug)]
pub struct Incoming {
    /// What is asked
    pub call: Call,
    /// The client's message
    pub message: Bytes,
    /// Its id there
    pub id: OwnId,
    /// How the client would cancel it
    pub key: RequestKey,
}

/// An id and its place in the client's message
#[derive(Clone, Debug)]
pub struct OwnId {
    /// As it was written
    pub raw: String,
    /// Where it stands
    pub span: std::ops::Range<usize>,
}

impl From<&Id<'_>> for OwnId {
    fn from(id: &Id<'_>) -> Self {
        Self { raw: id.raw().to_owned(), span: id.span() }
    }
}

fn cancelled(why: Result<String, oneshot::error::RecvError>) -> String {
    why.unwrap_or_else(|_| "Portreeve is ending".to_owned())
}

/// What came of sending a call
struct Sent {
    happened: Happened,
    /// What the agent gets instead of a text of ours
    reply: Option<Vec<u8>>,
}

impl Calls {
    /// No calls yet
    #[must_use]
    pub fn new(
        door: Door,
        latches: Arc<Latches>,
        links: Arc<Links>,
        catalogue: Arc<Catalogue>,
        points: Arc<Points>,
    ) -> Arc<Self> {
        let stops = watch::Sender::new(0);
        Arc::new(Self { door, latches, links, catalogue, points, stops, under_way: Mutex::default() })
    }

    /// A place for one request of a run; none if it has as many as it may have
    #[must_use]
    pub fn place(self: &Arc<Self>, run: RunId) -> Option<Place> {
        let mut under_way = self.under_way();
        let count = under_way.per_run.entry(run).or_default();
        (*count < REQUESTS_PER_RUN_MAX).then(|| {
            *count += 1;
            Place { calls: Arc::clone(self), run }
        })
    }

    /// Takes a call all the way, and returns what the agent is told
    pub async fn run(self: &Arc<Self>, incoming: Incoming, place: Place) -> Vec<u8> {
        let id = incoming.id.raw.clone();
        let entered = self.enter(&incoming, place);
        let calls = Arc::clone(self);
        let way = tokio::spawn(async move { calls.steps(incoming, entered).await });
        way.await.unwrap_or_else(|_| reply::unknown_outcome(&id, Era::Legacy, "Portreeve failed on the way"))
    }

    async fn steps(self: Arc<Self>, incoming: Incoming, mut entered: Entered) -> Vec<u8> {
        let Incoming { call, message, id, .. } = incoming;
        let tool = call.tool.clone();
        let mut link = self.links.ready(call.run, &tool.connector);
        let (mut life, first) = Life::start(call, link.is_some());
        let mut steps = VecDeque::from([first]);
        let mut answered = None;
        while let Some(step) = steps.pop_front() {
            let happened = match step {
                Do::Ask(call) => self.asked(Request::Ask(call)).await,
                Do::Consult(askings) => self.consult(life.effect(), askings, &mut entered.cancelled).await,
                Do::Admit(call) => self.asked(Request::Call(call)).await,
                Do::Prepare => {
                    let (ready, happened) = self.prepare(life.call(), &mut entered.cancelled).await;
                    link = ready;
                    happened
                }
                Do::Forward(permit) => {
                    let sent = self.forward(permit, link.take(), &tool, (&message, &id), &mut entered.cancelled).await;
                    answered = sent.reply;
                    sent.happened
                }
                Do::Settle(settle) => {
                    self.door.later(Request::Settle(settle));
                    continue;
                }
                Do::Reply(answer) => return told(&id.raw, tool.name.as_str(), answer, answered),
            };
            steps.extend(life.next(happened));
        }
        reply::unknown_outcome(&id.raw, Era::Legacy, "Portreeve lost the call")
    }

    async fn asked(&self, request: Request) -> Happened {
        match self.door.submit(request).await {
            Reply::Permit(permit) => Happened::Admitted(permit),
            Reply::Clear => Happened::Clear,
            Reply::Consult(askings) => Happened::Consult(askings),
            Reply::Refused(reasons) => Happened::Refused(reasons),
            Reply::Recorded | Reply::Opened(_) => {
                Happened::Refused(vec![Reason::new(Word::RecordUnavailable, "record")])
            }
        }
    }

    /// Asks outside decision points, for no longer than the client waits
    async fn consult(
        &self,
        effect: EffectId,
        askings: Vec<Asking>,
        cancel: &mut oneshot::Receiver<String>,
    ) -> Happened {
        tokio::select! {
            answers = self.points.ask(effect, askings) => Happened::Heard(answers),
            why = cancel => Happened::NotPrepared(cancelled(why)),
        }
    }

    /// Has the link made ready, and waits for it no longer than the client does and the call would be permitted
    async fn prepare(&self, call: &Call, cancel: &mut oneshot::Receiver<String>) -> (Option<Arc<Link>>, Happened) {
        let (links, run, of) = (Arc::clone(&self.links), call.run, call.tool.connector.clone());
        let mut stops = self.stops.subscribe();
        // In a task of its own: what has begun to be made is finished, or reaped, whoever waits for it.
        let mut preparing = tokio::spawn(async move { links.prepare(run, &of).await });
        loop {
            tokio::select! {
                prepared = &mut preparing => return match prepared {
                    Ok(Ok(link)) => (Some(link), Happened::Prepared),
                    Ok(Err(Unready::Refused(reasons))) => (None, Happened::Refused(reasons)),
                    // Perhaps its child was ended because the call is permitted no longer: then that is the answer.
                    Ok(Err(Unready::Unreachable(why))) => match self.asked(Request::Ask(call.clone())).await {
                        refused @ Happened::Refused(_) => (None, refused),
                        _ => (None, Happened::NotPrepared(why)),
                    },
                    Err(_) => (None, Happened::NotPrepared("Portreeve failed on the way".to_owned())),
                },
                _ = stops.changed() => {
                    if let Happened::Refused(reasons) = self.asked(Request::Ask(call.clone())).await {
                        return (None, Happened::Refused(reasons));
                    }
                }
                why = &mut *cancel => return (None, Happened::NotPrepared(cancelled(why))),
            }
        }
    }

    /// Something was stopped: what is being prepared looks whether it still may go on
    pub fn look_again(&self) {
        self.stops.send_modify(|stops| *stops += 1);
    }

    async fn forward(
        &self,
        permit: Permit,
        link: Option<Arc<Link>>,
        tool: &Tool,
        (message, id): (&[u8], &OwnId),
        cancel: &mut oneshot::Receiver<String>,
    ) -> Sent {
        let none = |happened| Sent { happened, reply: None };
        let Some(link) = link else {
            return none(Happened::NotSent("the connection to the server was lost; try again".to_owned()));
        };
        // Cancelled while it was being admitted: then it is not sent at all.
        if let Ok(why) = cancel.try_recv() {
            return none(Happened::NotSent(why));
        }
        let (wanted, answer_max) = (permit.wanted().to_vec(), permit.answer_max());
        let pass = self.latches.pass(permit);
        let withdrawal = pass.withdrawal();
        let within = Duration::from_millis(self.catalogue.view().timeout_ms(&tool.connector).max(1).unsigned_abs());
        let outcome = tokio::select! {
            biased;
            outcome = send(&link, message, pass, within) => outcome,
            why = cancel => {
                let why = cancelled(why);
                // Dropping the call above has closed its connection; what had not begun never will.
                if withdrawal.withdraw() { Err(Failure::NotSent(why)) } else { Err(Failure::Lost(why)) }
            }
        };
        match outcome {
            Ok(called) => {
                let (ok, bytes, digest) = (called.is_good(), called.bytes, called.digest);
                // What the agent does not get vouches for nothing either.
                let (returned, reply) = match answer_max.filter(|most| bytes > *most) {
                    Some(most) => (BTreeMap::new(), reply::withheld(&id.raw, Era::Legacy, bytes, most)),
                    None => {
                        let to = ToClient {
                            id: &id.raw,
                            from: link.version(),
                            version: Version::LATEST_LEGACY,
                            method: Method::CallTool,
                            state: None,
                            ttl_ms_max: 0,
                        };
                        (called.returned(&wanted), called.into_reply(&to))
                    }
                };
                Sent { happened: Happened::Answered { ok, bytes, digest, returned }, reply: Some(reply) }
            }
            Err(Failure::NotSent(why)) => none(Happened::NotSent(why)),
            Err(Failure::Rejected(why)) => Sent {
                happened: Happened::Answered { ok: false, bytes: 0, digest: Hash::of(b""), returned: BTreeMap::new() },
                reply: Some(reply::rejected(&id.raw, Era::Legacy, &why)),
            },
            Err(Failure::Lost(why)) => none(Happened::Lost(why)),
        }
    }

    /// Stops waiting for a call
    pub fn cancel(&self, effect: EffectId, why: &str) {
        if let Some(cancel) = self.under_way().cancels.remove(&effect) {
            let _ = cancel.send(why.to_owned());
        }
    }

    /// Stops waiting for the call that a client names by its request
    pub fn cancel_request(&self, key: &RequestKey) {
        let effect = self.under_way().by_request.get(key).copied();
        if let Some(effect) = effect {
            self.cancel(effect, "the client cancelled it");
        }
    }

    /// Stops waiting for all calls, and returns once they are settled, or after `within`
    pub async fn end(&self, within: Duration) {
        let effects: Vec<EffectId> = self.under_way().cancels.keys().copied().collect();
        for effect in effects {
            self.cancel(effect, "Portreeve is ending");
        }
        let none_left = async {
            while !self.under_way().by_request.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(within, none_left).await;
    }

    fn enter(self: &Arc<Self>, incoming: &Incoming, place: Place) -> Entered {
        let (cancel, cancelled) = oneshot::channel();
        let effect = incoming.call.effect;
        let mut under_way = self.under_way();
        under_way.cancels.insert(effect, cancel);
        // An id that is used twice at once names the first call.
        under_way.by_request.entry(incoming.key.clone()).or_insert(effect);
        Entered { calls: Arc::clone(self), effect, key: incoming.key.clone(), cancelled, _place: place }
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is counted; leaving is dropping this
struct Entered {
    calls: Arc<Calls>,
    effect: EffectId,
    key: RequestKey,
    cancelled: oneshot::Receiver<String>,
    _place: Place,
}

/// A request of a run that is in the house; leaving is dropping this
#[derive(Debug)]
pub struct Place {
    calls: Arc<Calls>,
    run: RunId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.calls.under_way();
        if let Some(count) = under_way.per_run.get_mut(&self.run) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                under_way.per_run.remove(&self.run);
            }
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut under_way = self.calls.under_way();
        under_way.cancels.remove(&self.effect);
        if under_way.by_request.get(&self.key) == Some(&self.effect) {
            under_way.by_request.remove(&self.key);
        }
    }
}

/// Sends a call of a client of the legacy era that cannot be asked or told anything
async fn send(link: &Link, message: &[u8], pass: Pass, within: Duration) -> Result<Whole, Failure> {
    let read = Message::read(message, &Limits::DEFAULT).map_err(|error| Failure::NotSent(error.to_string()))?;
    let sending = Sending {
        bytes: message,
        message: &read,
        method: Method::CallTool,
        from: Version::LATEST_LEGACY,
        name: None,
        state: None,
        trace: None,
        log_level: None,
        mirrored: &[],
        whole: true,
        bytes_max: STREAM_BYTES_MAX,
    };
    let (events, _) = mpsc::channel(1);
    match link.send(sending, pass, within, events).await? {
        Called::Whole(whole) => Ok(whole),
        Called::Long(_) => Err(Failure::Lost("the answer is too long".to_owned())),
    }
}

/// The answer as a message
fn told(id: &str, tool: &str, answer: Answer, answered: Option<Vec<u8>>) -> Vec<u8> {
    match answer {
        Answer::Result => answered.unwrap_or_else(|| reply::unknown_outcome(id, Era::Legacy, "the answer was lost")),
        // Hidden and unknown give the same answer.
        Answer::Refusal(reasons) if reasons.first().is_some_and(|reason| reason.word == Word::ToolOutsidePurpose) => {
            reply::unknown_tool(id, tool)
        }
        // Nor does what else is wrong with it tell them apart.
        Answer::Refusal(reasons) => {
            let told: Vec<Reason> =
                reasons.into_iter().take_while(|reason| reason.word != Word::ToolOutsidePurpose).collect();
            reply::refused_call(id, Era::Legacy, &told)
        }
        Answer::Unreachable(why) => reply::unreachable(id, Era::Legacy, &why),
        Answer::Unknown(why) => reply::unknown_outcome(id, Era::Legacy, &why),
    }
}
