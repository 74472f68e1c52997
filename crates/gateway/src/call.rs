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
    fate::Fate,
    links::{Links, Unready},
    outlet::{Last, Message as Body},
    points::Points,
    polls::{HANDLE, Handle, with_task},
    settings::{REQUESTS_PER_RUN_MAX, TTL_MS_MAX, answer_limits},
    using::{Using, unknown},
};
use bytes::Bytes;
use http::StatusCode;
use portreeve_core::{
    engine::{Permit, Reply},
    hash::Hash,
    life::{Answer, Do, Happened, Life},
    names::{EffectId, RunId},
    outside::Asking,
    pattern::Source,
    reason::{Reason, Word},
    request::{Call, Request},
};
use portreeve_identity::seal::Sealer;
use portreeve_mcp::{
    asked,
    edit::Edit,
    message::Message,
    method::Method,
    outcome::{self, Outcome, Question},
    reply,
    translate::ToClient,
    version::{Era, Version},
};
use portreeve_upstream::{
    event::Event,
    http::Failure,
    latch::Latches,
    link::{Called, Flowing, Link, STREAM_BYTES_MAX, Sending, Whole},
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
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
    /// The client has been told already, while the answer arrived
    Passed,
    /// The connector wants to know something before it goes on
    Asks(Back),
}

/// What a connector wants to know
struct Back {
    /// The leg that it asked in
    effect: EffectId,
    questions: Vec<Question>,
    /// What it wants back
    state: Option<String>,
    /// How it speaks
    from: Version,
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
const EVENTS_MAX: usize = 64;

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
                    client.answer(|id| refused(method, era, id, &reasons)).await;
                    return;
                }
            };
            match self.leg(&using, leg, &client, &mut entered).await {
                Legged::Told(answer) => return client.answer(answer).await,
                Legged::Passed => return,
                Legged::Asks(back) => match self.asked_back(&using, &client, back).await {
                    Some((next, answers)) => (leg, put) = (next, answers),
                    None => return,
                },
            }
        }
        let (era, fate) = (client.era(), Fate::Rejected("it asked again and again".to_owned()));
        client.answer(|id| Last::ok(fate.told(id, method, era))).await;
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
        Back { effect, questions, state, from }: Back,
    ) -> Option<(Leg, Vec<(Put, String)>)> {
        let (method, era, bound) = (using.method, client.era(), &using.bound);
        for question in &questions {
            let may = self.asks.may(bound.run, &bound.connector, question.method, &question.params).await;
            if let Err(reasons) = may {
                client.answer(|id| refused(method, era, id, &reasons)).await;
                return None;
            }
        }
        let put = |question: &Question| {
            let put = Put { method: question.method.as_str().to_owned(), params: question.params.clone() };
            (question.key.clone(), put)
        };
        if era == Era::Modern {
            let of = Bound { effect, ..bound.clone() };
            let leaves = from.era() == Era::Modern;
            let brought = Brought { of, held: false, leaves, questions: questions.iter().map(put).collect(), state };
            let sealed = self.asks.seal(&brought);
            client
                .answer(|id| {
                    Last::ok(match sealed {
                        Some(state) => outcome::input_required(id, &questions, Some(&state)),
                        None => reply::error(Some(id), -32_603, "the question is longer than the limit", None),
                    })
                })
                .await;
            return None;
        }
        if from.era() == Era::Legacy {
            // The error that asks to open addresses is of the client's own era.
            client.answer(|id| Last::ok(outcome::urls_required(id, &questions))).await;
            return None;
        }
        let mut answers = BTreeMap::new();
        let mut answered = Vec::new();
        for question in &questions {
            let answer = match client.ask(question).await {
                Some(Ok(answer)) => answer,
                other => {
                    let why = match other {
                        Some(Err((code, _))) => format!("the client answered its question with error {code}"),
                        _ => "the client did not answer its question".to_owned(),
                    };
                    client.answer(|id| Last::ok(Fate::Rejected(why).told(id, method, era))).await;
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

    async fn leg(self: &Arc<Self>, using: &Using<'_>, leg: Leg, client: &Arc<Client>, entered: &mut Entered) -> Legged {
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
            Last::ok(Fate::Unknown("Portreeve lost the call".to_owned()).told(id, method, era))
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
        // Only answers that were asked for and judged leave with it.
        let edited = answering(using, responses);
        let read = edited.as_ref().and_then(|bytes| Message::read(bytes, &answer_limits()).ok());
        let (bytes, message) = match (&edited, &read) {
            (Some(bytes), Some(message)) => (bytes.as_slice(), message),
            _ => (using.bytes, using.message),
        };
        let sending = Sending {
            bytes,
            message,
            method: using.method,
            from: client.version,
            name: using.renamed.as_deref(),
            state,
            trace: trace.as_deref(),
            log_level: client.log_level,
            mirrored,
            whole: answer_max.is_some() || !wanted.is_empty(),
            bytes_max: STREAM_BYTES_MAX,
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
            Ok(Called::Whole(called)) => {
                self.called(called, using, client, (effect, &wanted, answer_max, link.version()))
            }
            Ok(Called::Long(flowing)) => self.flows(flowing, using.method, client, link.version()).await,
            Err(Failure::NotSent(why)) => none(Happened::NotSent(why)),
            Err(Failure::Rejected(why)) => {
                let (method, era) = (using.method, client.era());
                let told = move |id: &str| Last::ok(Fate::Rejected(why).told(id, method, era));
                Sent { happened: failed(0), legged: Some(Legged::Told(Box::new(told))) }
            }
            Err(Failure::Lost(why)) => none(Happened::Lost(why)),
        }
    }

    /// What an answer means for the effect, and for the client
    fn called(
        &self,
        called: Whole,
        using: &Using<'_>,
        client: &Arc<Client>,
        (effect, wanted, answer_max, from): (EffectId, &[Source], Option<u64>, Version),
    ) -> Sent {
        let (method, era, version) = (using.method, client.era(), client.version);
        let (bytes, digest) = (called.bytes, called.digest);
        // What the agent does not get vouches for nothing either.
        if let Some(most) = answer_max.filter(|most| bytes > *most) {
            let told = move |id: &str| Last::ok(Fate::Withheld { bytes, most }.told(id, method, era));
            let happened = Happened::Answered { ok: called.is_good(), bytes, digest, returned: BTreeMap::new() };
            return Sent { happened, legged: Some(Legged::Told(Box::new(told))) };
        }
        let happened = match &called.outcome {
            Outcome::Asks { questions, state } => {
                let back = Back { effect, questions: questions.clone(), state: state.clone(), from };
                return Sent { happened: Happened::Pending { bytes, digest }, legged: Some(Legged::Asks(back)) };
            }
            Outcome::Task { .. } => Happened::Pending { bytes, digest },
            _ => Happened::Answered { ok: called.is_good(), bytes, digest, returned: called.returned(wanted) },
        };
        let sealed = match &called.outcome {
            Outcome::Task { task, .. } => {
                let handle = Handle::new(&using.bound, effect, task.clone());
                serde_json::to_vec(&handle).ok().map(|handle| self.sealer.seal(HANDLE, &handle))
            }
            _ => None,
        };
        let status = status(&called.outcome, era);
        let told = move |id: &str| {
            let to = ToClient { id, from, version, method, state: None, ttl_ms_max: TTL_MS_MAX };
            let reply = called.into_reply(&to);
            Last::with(status, sealed.map_or_else(|| reply.clone(), |sealed| with_task(reply.clone(), &sealed)))
        };
        Sent { happened, legged: Some(Legged::Told(Box::new(told))) }
    }

    /// Passes a long answer on while it arrives; what it was is known at its end
    async fn flows(&self, flowing: Flowing, method: Method, client: &Arc<Client>, from: Version) -> Sent {
        let Some(waits) = client.take() else {
            return Sent { happened: Happened::Lost("nobody waits for its answer".to_owned()), legged: None };
        };
        let version = client.version;
        let to = ToClient { id: &waits.id, from, version, method, state: None, ttl_ms_max: TTL_MS_MAX };
        let (mut passage, ending) = flowing.begin(&to);
        let first = match passage.next().await {
            Some(Ok(first)) => first,
            broken => {
                // Nothing of it has left: the client can still be told in words.
                client.resume(waits);
                let why = broken.and_then(Result::err).unwrap_or_else(|| "the answer is empty".to_owned());
                return Sent { happened: Happened::Lost(why), legged: None };
            }
        };
        waits.outlet.last(Last { message: Body::Flowing(first, Box::new(passage)), ..Last::ok(Bytes::new()) }).await;
        let happened = match ending.wait().await {
            Ok(flowed) => Happened::Answered {
                ok: !flowed.failed,
                bytes: flowed.bytes,
                digest: flowed.digest,
                returned: BTreeMap::new(),
            },
            Err(why) => Happened::Lost(why),
        };
        Sent { happened, legged: Some(Legged::Passed) }
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

    /// Has an effect that is no call of a tool end early, as soon as what it rests on does
    #[must_use]
    pub fn watch(self: &Arc<Self>, effect: EffectId) -> Watched {
        let (cancel, cancelled) = watch::channel(None);
        self.under_way().cancels.insert(effect, cancel);
        Watched { calls: Arc::clone(self), effect, cancelled }
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
            cancelled = self.cancelled.wait_for(Option::is_some) => why(cancelled.ok().as_deref()),
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

/// An effect that is waited for; leaving is dropping this
#[derive(Debug)]
pub struct Watched {
    calls: Arc<Calls>,
    effect: EffectId,
    cancelled: watch::Receiver<Option<String>>,
}

impl Watched {
    /// Returns once it is not to be waited for any more, and says why
    pub async fn cancelled(&mut self) -> String {
        why(self.cancelled.wait_for(Option::is_some).await.ok().as_deref())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.calls.under_way().cancels.remove(&self.effect);
        self.calls.left.notify_waiters();
    }
}

fn why(cancelled: Option<&Option<String>>) -> String {
    cancelled.and_then(Clone::clone).unwrap_or_else(|| "Portreeve is ending".to_owned())
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
        // It broke off while the client read it.
        Answer::Unknown(_) if matches!(legged, Some(Legged::Passed)) => return Legged::Passed,
        Answer::Unreachable(why) => Fate::Unreachable(why),
        Answer::Unknown(why) => Fate::Unknown(why),
    };
    Legged::Told(Box::new(move |id| Last::ok(fate.told(id, method, era))))
}

/// A refusal, without what would tell a hidden tool from an unknown one
fn refusal(method: Method, era: Era, id: &str, reasons: Vec<Reason>) -> Last {
    let told: Vec<Reason> = reasons.into_iter().take_while(|reason| reason.word != Word::ToolOutsidePurpose).collect();
    refused(method, era, id, &told)
}

/// A refusal, with all that is to be said: of a question, or of its answer, there is nothing to hide
fn refused(method: Method, era: Era, id: &str, reasons: &[Reason]) -> Last {
    Last::ok(match method {
        Method::CallTool => reply::refused_call(id, era, reasons),
        _ => reply::refused(id, reasons),
    })
}

/// The client's message with just these answers; nothing if it has none, and none are sent
fn answering(using: &Using<'_>, responses: Option<&str>) -> Option<Vec<u8>> {
    let has = using.message.params().is_some_and(|params| params.get("inputResponses").is_some());
    if !has && responses.is_none() {
        return None;
    }
    let mut edit = Edit::new(using.bytes, using.message);
    match responses {
        Some(responses) => edit.set(&["params", "inputResponses"], responses),
        None => edit.remove(&["params", "inputResponses"]),
    }
    Some(edit.done())
}

/// The HTTP status of an answer (2026-07-28, Streamable HTTP, Protocol Version Header)
fn status(outcome: &Outcome, era: Era) -> StatusCode {
    match (outcome, era) {
        (Outcome::Error { code: -32_601 }, Era::Modern) => StatusCode::NOT_FOUND,
        (Outcome::Error { code: asked::MISSING_CAPABILITY }, Era::Modern) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
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
            Self::Passed => f.write_str("Passed"),
            Self::Asks(back) => write!(f, "Asks({})", back.effect),
        }
    }
}
