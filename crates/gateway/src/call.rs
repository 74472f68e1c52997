//! The way of one call: does what each step of its [`Life`] says, and reports what happened.
//!
//! A call runs in a task of its own, so that an agent that hangs up does not leave it half done; only a
//! cancellation, a stop or its time ends it early.

use crate::{
    catalogue::Catalogue,
    door::Door,
    links::{Links, Unready},
};
use bytes::Bytes;
use portreeve_core::{
    engine::{Permit, Reply},
    hash::Hash,
    life::{Answer, Do, Happened, Life},
    names::{EffectId, RunId, Tool},
    reason::{Reason, Word},
    request::{Call, Request},
};
use portreeve_mcp::{message::Id, reply};
use portreeve_upstream::{http::Failure, latch::Latches, link::Called};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::oneshot;

/// Everything that calls need
#[derive(Debug)]
pub struct Calls {
    door: Door,
    latches: Arc<Latches>,
    links: Arc<Links>,
    catalogue: Arc<Catalogue>,
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

/// What came of sending a call
struct Sent {
    happened: Happened,
    /// What the agent gets instead of a text of ours
    reply: Option<Vec<u8>>,
}

impl Calls {
    /// No calls yet
    #[must_use]
    pub fn new(door: Door, latches: Arc<Latches>, links: Arc<Links>, catalogue: Arc<Catalogue>) -> Arc<Self> {
        Arc::new(Self { door, latches, links, catalogue, under_way: Mutex::default() })
    }

    /// Takes a call all the way, and returns what the agent is told
    pub async fn run(self: &Arc<Self>, incoming: Incoming, per_run_max: usize) -> Vec<u8> {
        let id = incoming.id.raw.clone();
        let run = incoming.call.run;
        let Some(entered) = self.enter(&incoming, per_run_max) else {
            let reason = Reason::new(Word::TooManyOpen, run).with("limit", per_run_max);
            return reply::refused_call(&id, &[reason]);
        };
        let calls = Arc::clone(self);
        let way = tokio::spawn(async move { calls.steps(incoming, entered).await });
        way.await.unwrap_or_else(|_| reply::unknown_outcome(&id, "Portreeve failed on the way"))
    }

    async fn steps(self: Arc<Self>, incoming: Incoming, mut entered: Entered) -> Vec<u8> {
        let Incoming { call, message, id, .. } = incoming;
        let (run, tool) = (call.run, call.tool.clone());
        let prepared = self.links.ready(run, &tool.connector).is_some();
        let (mut life, first) = Life::start(call, prepared);
        let mut steps = VecDeque::from([first]);
        let mut answered = None;
        while let Some(step) = steps.pop_front() {
            let happened = match step {
                Do::Ask(call) => self.asked(Request::Ask(call)).await,
                Do::Admit(call) => self.asked(Request::Call(call)).await,
                Do::Prepare => match self.links.prepare(run, &tool.connector).await {
                    Ok(()) => Happened::Prepared,
                    Err(Unready::Refused(reasons)) => Happened::Refused(reasons),
                    Err(Unready::Unreachable(why)) => Happened::NotPrepared(why),
                },
                Do::Forward(permit) => {
                    let sent = self.forward(&permit, &tool, &message, &id, &mut entered.cancelled).await;
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
        reply::unknown_outcome(&id.raw, "Portreeve lost the call")
    }

    async fn asked(&self, request: Request) -> Happened {
        match self.door.submit(request).await {
            Reply::Permit(permit) => Happened::Admitted(permit),
            Reply::Clear => Happened::Clear,
            Reply::Refused(reasons) => Happened::Refused(reasons),
            Reply::Recorded | Reply::Opened(_) => {
                Happened::Refused(vec![Reason::new(Word::RecordUnavailable, "record")])
            }
        }
    }

    async fn forward(
        &self,
        permit: &Permit,
        tool: &Tool,
        message: &[u8],
        id: &OwnId,
        cancelled: &mut oneshot::Receiver<String>,
    ) -> Sent {
        let none = |happened| Sent { happened, reply: None };
        let Some(link) = self.links.ready(permit.run(), &tool.connector) else {
            return none(Happened::NotSent("the connection to the server was lost; try again".to_owned()));
        };
        let pass = self.latches.pass(permit);
        let withdrawal = pass.withdrawal();
        let within = Duration::from_millis(self.catalogue.view().timeout_ms(&tool.connector).max(1).unsigned_abs());
        let outcome = tokio::select! {
            biased;
            outcome = link.call(message, id.span.clone(), pass, within) => outcome,
            why = cancelled => {
                let why = why.unwrap_or_else(|_| "Portreeve is ending".to_owned());
                // Dropping the call above has closed its connection; what had not begun never will.
                if withdrawal.withdraw() { Err(Failure::NotSent(why)) } else { Err(Failure::Lost(why)) }
            }
        };
        match outcome {
            Ok(called) => {
                let Called { ok, bytes, digest, .. } = called;
                Sent { happened: Happened::Answered { ok, bytes, digest }, reply: Some(called.into_reply(&id.raw)) }
            }
            Err(Failure::NotSent(why)) => none(Happened::NotSent(why)),
            Err(Failure::Rejected(why)) => Sent {
                happened: Happened::Answered { ok: false, bytes: 0, digest: Hash::of(b"") },
                reply: Some(reply::unreachable(&id.raw, &why)),
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

    /// How many calls are under way
    #[must_use]
    pub fn count(&self) -> usize {
        self.under_way().cancels.len()
    }

    fn enter(self: &Arc<Self>, incoming: &Incoming, per_run_max: usize) -> Option<Entered> {
        let (cancel, cancelled) = oneshot::channel();
        let effect = incoming.call.effect;
        let mut under_way = self.under_way();
        let count = under_way.per_run.entry(incoming.call.run).or_default();
        if *count >= per_run_max {
            return None;
        }
        *count += 1;
        under_way.cancels.insert(effect, cancel);
        // An id that is used twice at once names the first call.
        under_way.by_request.entry(incoming.key.clone()).or_insert(effect);
        Some(Entered { calls: Arc::clone(self), effect, key: incoming.key.clone(), cancelled })
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
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut under_way = self.calls.under_way();
        under_way.cancels.remove(&self.effect);
        if under_way.by_request.get(&self.key) == Some(&self.effect) {
            under_way.by_request.remove(&self.key);
        }
        if let Some(count) = under_way.per_run.get_mut(&self.key.0) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                under_way.per_run.remove(&self.key.0);
            }
        }
    }
}

/// The answer as a message
fn told(id: &str, tool: &str, answer: Answer, answered: Option<Vec<u8>>) -> Vec<u8> {
    match answer {
        Answer::Result => answered.unwrap_or_else(|| reply::unknown_outcome(id, "the answer was lost")),
        // Hidden and unknown give the same answer.
        Answer::Refusal(reasons) if reasons.first().is_some_and(|reason| reason.word == Word::ToolOutsidePurpose) => {
            reply::unknown_tool(id, tool)
        }
        Answer::Refusal(reasons) => reply::refused_call(id, &reasons),
        Answer::Unreachable(why) => reply::unreachable(id, &why),
        Answer::Unknown(why) => reply::unknown_outcome(id, &why),
    }
}
