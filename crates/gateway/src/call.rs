//! The way of one call: does what each step of its [`Life`] says, and reports what happened.
//!
//! A call of a client with a session goes on when that hangs up; only a cancellation, a stop or its time ends it
//! early. In the era without sessions hanging up is the cancellation. Where a connector answers with a question, the
//! leg is settled as pending, and the answer is a leg of its own.

use crate::{
    asks::{Asks, Bound, Brought, Leaving, Put},
    catalogue::Catalogue,
    client::{Client, Waits},
    door::Door,
    links::{Links, Unready},
    outlet::{Last, Message as Body},
    points::Points,
    polls::{HANDLE, Handle},
    settings::REQUESTS_PER_RUN_MAX,
    using::{Using, unknown},
};
use bytes::Bytes;
use portreeve_core::{
    engine::{Permit, Reply},
    hash::Hash,
    life::{Answer, Do, Happened, Life},
    names::{EffectId, RunId, Tool},
    outside::Asking,
    reason::{Reason, Word},
    request::{Call, Request},
};
use portreeve_identity::seal::Sealer;
use portreeve_mcp::{
    method::Method,
    reply::{self, Fate},
    translate::{Outcome, Question, ToClient},
    version::Era,
};
use portreeve_upstream::{
    http::Failure,
    latch::Latches,
    link::{Body as Answered, Called, Event, Link, Sending},
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

/// Everything that calls need
#[derive(Debug)]
pub struct Calls {
    door: Door,
    latches: Arc<Latches>,
    links: Arc<Links>,
    catalogue: Arc<Catalogue>,
    points: Arc<Points>,
    asks: Arc<Asks>,
    sealer: Arc<Sealer>,
    /// How many stops there were
    stops: watch::Sender<u64>,
    // Held only for a look-up, never across an await.
    under_way: Mutex<UnderWay>,
    /// Rung when a call leaves
    left: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct UnderWay {
    cancels: HashMap<EffectId, watch::Sender<Option<String>>>,
    by_request: HashMap<RequestKey, EffectId>,
    per_run: HashMap<RunId, usize>,
}

/// How a client names one of its requests: run, session, id
pub type RequestKey = (RunId, Option<String>, String);

/// One leg of a call: what is sent to the connector this time
struct Leg {
    call: Call,
    /// What the connector wants back
    state: Option<String>,
    /// The client's answers, as `inputResponses`
    responses: Option<String>,
    /// Answers that ride on it
    leaving: Vec<Leaving>,
}

/// How a leg ended
enum Legged {
    /// The client is told this, under the id of the request that waits then
    Told(Box<dyn FnOnce(&str) -> Last + Send>),
    /// The connector wants to know something before it goes on
    Asks(EffectId, Vec<Question>, Option<String>),
}

/// What came of sending a leg
struct Sent {
    happened: Happened,
    /// What the client gets instead of a text of ours
    legged: Option<Legged>,
}

/// How often one call may be asked something before it goes on
const LEGS_MAX: usize = 16;
/// Messages on the way that may wait
const EVENTS_MAX: usize = 16;

impl Calls {
    /// No calls yet
    #[must_use]
    pub fn new(
        (door, latches): (Door, Arc<Latches>),
        links: Arc<Links>,
        catalogue: Arc<Catalogue>,
        points: Arc<Points>,
        (asks, sealer): (Arc<Asks>, Arc<Sealer>),
    ) -> Arc<Self> {
        let stops = watch::Sender::new(0);
        let (under_way, left) = (Mutex::default(), tokio::sync::Notify::new());
        Arc::new(Self { door, latches, links, catalogue, points, asks, sealer, stops, under_way, left })
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

    /// Takes a call all the way, and answers its client
    pub async fn run(self: &Arc<Self>, using: Using<'_>, client: Arc<Client>, place: Place) {
        if let Some((brought, answers)) = using.brought.as_ref().filter(|(brought, _)| brought.held) {
            return self.resume(&using, brought, answers.clone(), &client).await;
        }
        let mut entered = self.enter(&using, place);
        let (method, tool) = (using.method, using.call.tool.clone());
        let answers = using.answers();
        let state = using.brought.as_ref().and_then(|(brought, _)| brought.state.clone());
        let responses = using.brought.as_ref().map(|(_, answers)| object(answers));
        let mut leg = Leg { call: using.call.clone(), state, responses, leaving: Vec::new() };
        let mut put = answers;
        for _ in 0..LEGS_MAX {
            leg.leaving = match self.asks.admit_all(&using.bound, &put).await {
                Ok(leaving) => leaving,
                Err(reasons) => {
                    let era = client.era();
                    client.answer(|id| refusal(method, era, id, reasons)).await;
                    return;
                }
            };
            match self.leg(&using, leg, &client, &mut entered).await {
                Legged::Told(answer) => return client.answer(answer).await,
                Legged::Asks(effect, questions, state) => {
                    match self.asked_back(&using, &client, effect, questions, state).await {
                        Some((next, answers)) => (leg, put) = (next, answers),
                        None => return,
                    }
                }
            }
        }
        let era = client.era();
        let fate = Fate::Rejected("it asked again and again".to_owned());
        client.answer(|id| Last::ok(reply::fate(id, method, era, &fate))).await;
        tracing::info!(%tool, "a connector asked again and again");
    }

    /// The client comes back to a call whose connector still waits
    async fn resume(
        &self,
        using: &Using<'_>,
        brought: &Brought,
        answers: BTreeMap<String, String>,
        client: &Arc<Client>,
    ) {
        let Some(waits) = client.take() else { return };
        if let Err(Waits { id, outlet, .. }) = self.asks.resume(brought, answers, waits).await {
            let reason = Reason::new(Word::ContinuationUnknown, &using.call.tool);
            outlet.last(refusal(using.method, client.era(), &id, vec![reason])).await;
        }
    }

    /// Puts a connector's questions to the client; what comes back is the next leg, if it comes back at once
    async fn asked_back(
        &self,
        using: &Using<'_>,
        client: &Arc<Client>,
        effect: EffectId,
        questions: Vec<Question>,
        state: Option<String>,
    ) -> Option<(Leg, Vec<(Put, String)>)> {
        let (method, era, bound) = (using.method, client.era(), &using.bound);
        for question in &questions {
            let may = self.asks.may(bound.run, &bound.connector, question.method, &question.params).await;
            if let Err(reasons) = may {
                client.answer(|id| refusal(method, era, id, reasons)).await;
                return None;
            }
        }
        let put = |question: &Question| {
            let put = Put { method: question.method.as_str().to_owned(), params: question.params.clone() };
            (question.key.clone(), put)
        };
        if era == Era::Modern {
            let of = Bound { effect, ..bound.clone() };
            let brought = Brought { of, held: false, questions: questions.iter().map(put).collect(), state };
            let sealed = self.asks.seal(&brought);
            client
                .answer(|id| {
                    Last::ok(match sealed {
                        Some(state) => portreeve_mcp::translate::input_required(id, &questions, Some(&state)),
                        None => reply::error(Some(id), -32_603, "the question is longer than the limit", None),
                    })
                })
                .await;
            return None;
        }
        let mut answers = BTreeMap::new();
        let mut answered = Vec::new();
        for question in &questions {
            let answer = match client.ask(question.method, &question.params).await {
                Some(Ok(answer)) => answer,
                other => {
                    let why = match other {
                        Some(Err((code, _))) => format!("the client answered its question with error {code}"),
                        _ => "the client did not answer its question".to_owned(),
                    };
                    client.answer(|id| Last::ok(reply::fate(id, method, era, &Fate::Unanswered(why)))).await;
                    return None;
                }
            };
            answered.push((put(question).1, answer.clone()));
            answers.insert(question.key.clone(), answer);
        }
        let next = match crate::tasks::draw() {
            Ok(next) => EffectId(next),
            Err(why) => {
                client.answer(|id| Last::ok(reply::error(Some(id), -32_603, &why, None))).await;
                return None;
            }
        };
        let call = Call { effect: next, continues: Some(effect), ..using.call.clone() };
        Some((Leg { call, state, responses: Some(object(&answers)), leaving: Vec::new() }, answered))
    }

    async fn leg(
        self: &Arc<Self>,
        using: &Using<'_>,
        leg: Leg,
        client: &Arc<Client>,
        entered: &mut Entered,
    ) -> Legged {
        let Leg { call, state, responses, leaving } = leg;
        if call.effect != entered.effect {
            entered.goes_on(call.effect);
        }
        let (tool, method, era) = (call.tool.clone(), using.method, client.era());
        let mut link = self.links.ready(call.run, &tool.connector, client.can);
        let (mut life, first) = Life::start(call, link.is_some());
        let mut steps = VecDeque::from([first]);
        let mut legged = None;
        let mut riding = Some(leaving);
        while let Some(step) = steps.pop_front() {
            let happened = match step {
                Do::Ask(call) => self.asked(Request::Ask(call)).await,
                Do::Consult(askings) => self.consult(life.effect(), askings, client, entered).await,
                Do::Admit(call) => self.asked(Request::Call(call)).await,
                Do::Prepare => {
                    let (ready, happened) = self.prepare(life.call(), client, entered).await;
                    link = ready;
                    happened
                }
                Do::Forward(permit) => {
                    let sent = (state.as_deref(), responses.as_deref());
                    let sent = self.forward(permit, link.take(), using, sent, client, entered).await;
                    legged = sent.legged;
                    sent.happened
                }
                Do::Settle(settle) => {
                    self.ridden(riding.take(), &settle.end);
                    self.door.later(Request::Settle(settle));
                    continue;
                }
                Do::Reply(answer) => {
                    let never = portreeve_core::event::End::NotSent { why: "the call was not sent".to_owned() };
                    self.ridden(riding.take(), &never);
                    return told(using, client, answer, legged);
                }
            };
            steps.extend(life.next(happened));
        }
        Legged::Told(Box::new(move |id| {
            Last::ok(reply::fate(id, method, era, &Fate::Unknown("Portreeve lost the call".to_owned())))
        }))
    }

    /// The answers that rode on a leg ended as it did
    fn ridden(&self, riding: Option<Vec<Leaving>>, end: &portreeve_core::event::End) {
        use portreeve_core::event::End;
        for leaving in riding.into_iter().flatten() {
            match end {
                End::NotSent { why } => self.asks.settle(leaving, Err(why.clone())),
                End::Unknown { why } => self.asks.settle_unknown(&leaving, why),
                End::Done { .. } | End::Pending { .. } => self.asks.settle(leaving, Ok(())),
            }
        }
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
        client: &Client,
        entered: &mut Entered,
    ) -> Happened {
        tokio::select! {
            answers = self.points.ask(effect, askings) => Happened::Heard(answers),
            why = entered.cancelled(client) => Happened::NotPrepared(why),
        }
    }

    /// Has the link made ready, and waits for it no longer than the client does and the call would be permitted
    async fn prepare(&self, call: &Call, client: &Client, entered: &mut Entered) -> (Option<Arc<Link>>, Happened) {
        let (links, run, of, can) = (Arc::clone(&self.links), call.run, call.tool.connector.clone(), client.can);
        let mut stops = self.stops.subscribe();
        // In a task of its own: what has begun to be made is finished, or reaped, whoever waits for it.
        let mut preparing = tokio::spawn(async move { links.prepare(run, &of, can).await });
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
                why = entered.cancelled(client) => return (None, Happened::NotPrepared(why)),
            }
        }
    }

    /// Something was stopped: what is being prepared looks whether it still may go on
    pub fn look_again(&self) {
        self.stops.send_modify(|stops| *stops += 1);
    }

    async fn forward(
        self: &Arc<Self>,
        permit: Permit,
        link: Option<Arc<Link>>,
        using: &Using<'_>,
        (state, responses): (Option<&str>, Option<&str>),
        client: &Arc<Client>,
        entered: &mut Entered,
    ) -> Sent {
        let none = |happened| Sent { happened, legged: None };
        let Some(link) = link else {
            return none(Happened::NotSent("the connection to the server was lost; try again".to_owned()));
        };
        // Cancelled while it was being admitted: then it is not sent at all.
        if let Some(why) = entered.was_cancelled() {
            return none(Happened::NotSent(why));
        }
        let effect = permit.effect();
        let (wanted, answer_max) = (permit.wanted().to_vec(), permit.answer_max());
        let pass = self.latches.pass(permit);
        let withdrawal = pass.withdrawal();
        let view = self.catalogue.view();
        let tool = &using.call.tool;
        let within = Duration::from_millis(view.timeout_ms(&tool.connector).max(1).unsigned_abs());
        let mirrored = view.definition(tool).map_or(&[][..], |definition| definition.mirrored.as_slice());
        let trace = using.trace.as_deref().and_then(child_span);
        let sending = Sending {
            message: using.message,
            method: using.method,
            from: client.version,
            name: using.renamed.as_deref(),
            state,
            responses,
            trace: trace.as_deref(),
            log_level: client.log_level,
            mirrored,
            whole: answer_max.is_some() || !wanted.is_empty(),
        };
        let (events, hears) = mpsc::channel(EVENTS_MAX);
        let of = Bound { effect, ..using.bound.clone() };
        let hearing = tokio::spawn(hear(hears, Arc::clone(&self.asks), of, Arc::clone(client)));
        let outcome = tokio::select! {
            biased;
            outcome = link.send(sending, pass, within, events) => outcome,
            why = entered.cancelled(client) => {
                // Dropping the call above has closed its connection; what had not begun never will.
                if withdrawal.withdraw() { Err(Failure::NotSent(why)) } else { Err(Failure::Lost(why)) }
            }
        };
        match &outcome {
            // What was told on the way comes before the end.
            Ok(_) => drop(tokio::time::timeout(TOLD, hearing).await),
            Err(_) => hearing.abort(),
        }
        self.asks.over(effect);
        match outcome {
            Ok(called) => self.called(called, using, client, (effect, &wanted, answer_max)).await,
            Err(Failure::NotSent(why)) => none(Happened::NotSent(why)),
            Err(Failure::Rejected(why)) => {
                let (method, era) = (using.method, client.era());
                let told = move |id: &str| Last::ok(reply::fate(id, method, era, &Fate::Rejected(why)));
                Sent { happened: failed(0), legged: Some(Legged::Told(Box::new(told))) }
            }
            Err(Failure::Lost(why)) => none(Happened::Lost(why)),
        }
    }

    /// What an answer means for the effect, and for the client
    async fn called(
        &self,
        called: Called,
        using: &Using<'_>,
        client: &Arc<Client>,
        (effect, wanted, answer_max): (EffectId, &[portreeve_core::pattern::Source], Option<u64>),
    ) -> Sent {
        let (method, era, version) = (using.method, client.era(), client.version);
        let (bytes, digest, from) = (called.bytes, called.digest, called.from);
        // What the agent does not get vouches for nothing either.
        if let Some(most) = answer_max.filter(|most| bytes > *most) {
            let ok = matches!(called.outcome, Outcome::Complete { failed: false });
            let told = move |id: &str| Last::ok(reply::fate(id, method, era, &Fate::Withheld { bytes, most }));
            let happened = Happened::Answered { ok, bytes, digest, returned: BTreeMap::new() };
            return Sent { happened, legged: Some(Legged::Told(Box::new(told))) };
        }
        match &called.outcome {
            Outcome::Asks { questions, state } => {
                let asks = Legged::Asks(effect, questions.clone(), state.clone());
                Sent { happened: Happened::Pending { bytes, digest }, legged: Some(asks) }
            }
            Outcome::Task { task, .. } => {
                let handle = Handle::new(&using.bound, effect, task.clone());
                let sealed = serde_json::to_vec(&handle).map(|handle| self.sealer.seal(HANDLE, &handle));
                let sealed = sealed.unwrap_or_default();
                let told = move |id: &str| {
                    let to = ToClient { id, from, version, method, state: None, task: Some(&sealed) };
                    Last::ok(called.into_whole(&to))
                };
                Sent { happened: Happened::Pending { bytes, digest }, legged: Some(Legged::Told(Box::new(told))) }
            }
            Outcome::Complete { failed } => {
                let (ok, returned) = (!failed, called.returned(wanted));
                self.complete(called, ok, returned, (method, client)).await
            }
            Outcome::Error { .. } => self.complete(called, false, BTreeMap::new(), (method, client)).await,
        }
    }

    /// Passes an answer on, as a whole or while it arrives
    async fn complete(
        &self,
        called: Called,
        ok: bool,
        returned: BTreeMap<portreeve_core::pattern::Source, Vec<portreeve_core::value::Value>>,
        (method, client): (Method, &Arc<Client>),
    ) -> Sent {
        let (bytes, digest, from, version) = (called.bytes, called.digest, called.from, client.version);
        if !called.flows() {
            let status = called.status(version);
            let told = move |id: &str| {
                let to = ToClient { id, from, version, method, state: None, task: None };
                Last::with(status, called.into_whole(&to))
            };
            let happened = Happened::Answered { ok, bytes, digest, returned };
            return Sent { happened, legged: Some(Legged::Told(Box::new(told))) };
        }
        // The client gets it while it arrives; what it was is known at its end.
        let Some(waits) = client.take() else {
            return Sent { happened: Happened::Lost("nobody waits for its answer".to_owned()), legged: None };
        };
        let to = ToClient { id: &waits.id, from, version, method, state: None, task: None };
        let Answered { pieces, end } = called.into_flow(&to);
        waits.outlet.last(Last { message: Body::Flowing(pieces), ..Last::ok(Bytes::new()) }).await;
        let happened = match end.await {
            Ok(Ok(flowed)) => Happened::Answered {
                ok: !flowed.failed,
                bytes: flowed.bytes,
                digest: flowed.digest,
                returned: BTreeMap::new(),
            },
            Ok(Err(why)) => Happened::Lost(why),
            Err(_) => Happened::Lost("the answer broke off".to_owned()),
        };
        Sent { happened, legged: Some(Legged::Told(Box::new(|_| Last::empty(http::StatusCode::OK)))) }
    }

    /// Stops waiting for a call
    pub fn cancel(&self, effect: EffectId, why: &str) {
        if let Some(cancel) = self.under_way().cancels.get(&effect) {
            cancel.send_replace(Some(why.to_owned()));
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
            loop {
                let left = self.left.notified();
                if self.under_way().cancels.is_empty() {
                    return;
                }
                left.await;
            }
        };
        let _ = tokio::time::timeout(within, none_left).await;
    }

    fn enter(self: &Arc<Self>, using: &Using<'_>, place: Place) -> Entered {
        let (cancel, cancelled) = watch::channel(None);
        let effect = using.call.effect;
        let mut under_way = self.under_way();
        under_way.cancels.insert(effect, cancel);
        // An id that is used twice at once names the first call.
        under_way.by_request.entry(using.key.clone()).or_insert(effect);
        Entered { calls: Arc::clone(self), effect, key: using.key.clone(), cancelled, _place: place }
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the last messages on the way may take after the answer came
const TOLD: Duration = Duration::from_secs(5);

/// Passes on what a connector tells and asks while it works on a call
async fn hear(mut hears: mpsc::Receiver<Event>, asks: Arc<Asks>, of: Bound, client: Arc<Client>) {
    // Ended with this task: a call that is over asks nothing any more.
    let mut questions = JoinSet::new();
    while let Some(event) = hears.recv().await {
        match event {
            Event::Told(notification) => client.told(&notification).await,
            Event::Asks(ask) => {
                questions.spawn(Arc::clone(&asks).asked(ask, of.clone(), Arc::clone(&client)));
                while questions.try_join_next().is_some() {}
            }
        }
    }
}

/// A call that is counted; leaving is dropping this
struct Entered {
    calls: Arc<Calls>,
    effect: EffectId,
    key: RequestKey,
    cancelled: watch::Receiver<Option<String>>,
    _place: Place,
}

impl Entered {
    /// A later leg of the same call: whoever cancels it cancels the call
    fn goes_on(&mut self, effect: EffectId) {
        let mut under_way = self.calls.under_way();
        if let Some(cancel) = under_way.cancels.remove(&self.effect) {
            under_way.cancels.insert(effect, cancel);
        }
        if let Some(named) = under_way.by_request.get_mut(&self.key).filter(|named| **named == self.effect) {
            *named = effect;
        }
        drop(under_way);
        self.effect = effect;
    }

    fn was_cancelled(&self) -> Option<String> {
        self.cancelled.borrow().clone()
    }

    /// Returns once the call is not waited for any more, and says why
    async fn cancelled(&mut self, client: &Client) -> String {
        tokio::select! {
            why = self.cancelled.wait_for(Option::is_some) => match why {
                Ok(why) => why.clone().unwrap_or_default(),
                Err(_) => "Portreeve is ending".to_owned(),
            },
            () = client.gone() => "the client hung up".to_owned(),
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
        drop(under_way);
        self.calls.asks.over(self.effect);
        self.calls.left.notify_waiters();
    }
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

/// The answer to a client
fn told(using: &Using<'_>, client: &Client, answer: Answer, legged: Option<Legged>) -> Legged {
    let (method, era, version) = (using.method, client.era(), client.version);
    let fate = match answer {
        Answer::Result => match legged {
            Some(legged) => return legged,
            None => Fate::Unknown("the answer was lost".to_owned()),
        },
        // Hidden and unknown give the same answer.
        Answer::Refusal(reasons) if reasons.first().is_some_and(|reason| reason.word == Word::ToolOutsidePurpose) => {
            let called = using.called.clone();
            return Legged::Told(Box::new(move |id| unknown(method, id, &called, version)));
        }
        Answer::Refusal(reasons) => return Legged::Told(Box::new(move |id| refusal(method, era, id, reasons))),
        Answer::Unreachable(why) => Fate::Unreachable(why),
        Answer::Unknown(why) => Fate::Unknown(why),
    };
    Legged::Told(Box::new(move |id| Last::ok(reply::fate(id, method, era, &fate))))
}

/// A refusal, without what would tell a hidden tool from an unknown one
fn refusal(method: Method, era: Era, id: &str, reasons: Vec<Reason>) -> Last {
    let told: Vec<Reason> = reasons.into_iter().take_while(|reason| reason.word != Word::ToolOutsidePurpose).collect();
    Last::ok(match method {
        Method::CallTool => reply::refused_call(id, era, &told),
        _ => reply::refused(id, &told),
    })
}

fn failed(bytes: u64) -> Happened {
    Happened::Answered { ok: false, bytes, digest: Hash::of(b""), returned: BTreeMap::new() }
}

/// Raw values by key, as one object
#[must_use]
pub fn object(members: &BTreeMap<String, String>) -> String {
    let members: Vec<String> =
        members.iter().map(|(key, value)| format!("{}:{value}", serde_json::Value::from(key.as_str()))).collect();
    format!("{{{}}}", members.join(","))
}

/// A span of our own below that of the client (W3C Trace Context, `traceparent`)
fn child_span(parent: &str) -> Option<String> {
    let mut parts = parent.split('-');
    let (version, trace, _span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let span = crate::tasks::draw().ok()?;
    Some(format!("{version}-{trace}-{span:016x}-{flags}"))
}

impl std::fmt::Debug for Legged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Told(_) => f.write_str("Told"),
            Self::Asks(effect, ..) => write!(f, "Asks({effect})"),
        }
    }
}
