//! The way of one call: does what each step of its [`Life`] says, and reports what happened.
//!
//! A call of a client with a session goes on when that hangs up; only a cancellation, a stop or its time ends it
//! early. In the era without sessions hanging up is the cancellation. Where a connector answers with a question, the
//! leg is settled as pending, and the answer is a leg of its own.

mod again;
pub mod away;
mod before;

use crate::{
    asks::{Asks, Bound, Brought, Leaving, Put, done, is_answer},
    catalogue::Catalogue,
    client::{Client, Waits},
    door::Door,
    fate::Fate,
    held::Holds,
    links::{Linked, Links, Unready},
    outcomes::Keeping,
    outlet::{Flow, Last, Message as Body},
    points::Points,
    polls::{HANDLE, Handle, begun},
    settings::{TTL_MS_MAX, answer_limits},
    trace,
    under_way::{Entered, Place, UnderWay, unless},
    using::{Using, unknown},
    waiting::Patience,
};
use away::{CANCELLED, Goings, can_follow};
use bytes::Bytes;
use http::StatusCode;
use portreeve_core::{
    engine::{Permit, Reply},
    event::End,
    hash::Hash,
    judge::Ticket,
    judge::Wants,
    life::{Answer, Do, Happened, Life},
    names::EffectId,
    outside::Asking,
    pattern::Source,
    reason::{Reason, Word},
    request::{Call, Needs, Read, Request},
};
use portreeve_identity::seal::Sealer;
use portreeve_mcp::{
    asked,
    can::Can,
    edit::Edit,
    message::Message,
    method::Method,
    outcome::{self, Outcome, Question},
    reply::{self, Hint},
    translate::ToClient,
    version::{Era, Version},
};
use portreeve_upstream::{
    event::Event,
    http::Failure,
    latch::Latches,
    link::{Called, Flowing, STREAM_BYTES_MAX, Sending, Whole},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
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
    under_way: Arc<UnderWay>,
    holds: Arc<Holds>,
    /// Calls that go on by themselves
    going: Goings,
}

/// One leg of a call: what is sent to the connector this time
struct Leg {
    call: Call,
    /// What the connector wants back
    state: Option<String>,
    /// The client's answers, each with its question, by key
    answers: BTreeMap<String, (Put, String)>,
}

/// How a leg is walked
#[derive(Debug)]
struct Walk {
    /// How long it waits for people
    patience: Patience,
    /// Whether it is part of another call: it asks nobody, and reads nothing before
    nested: bool,
}

impl Walk {
    fn nested() -> Self {
        Self { patience: Patience::none(), nested: true }
    }
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

impl Legged {
    /// The same, kept for whoever repeats the call
    fn kept(self, keeping: Keeping, version: Version, digest: Hash) -> Self {
        let Self::Told(answer) = self else { return self };
        Self::Told(Box::new(move |id| {
            let last = answer(id);
            if let Body::Whole(bytes) = &last.message {
                keeping.answered(bytes, version, digest);
            }
            last
        }))
    }
}

/// What a leg is sent with
struct Going<'g> {
    permit: Permit,
    /// Of the answers that ride on it
    permits: Vec<Permit>,
    state: Option<&'g str>,
    answers: &'g BTreeMap<String, (Put, String)>,
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

/// How long a long answer may take, however fast its client reads
const FLOW_MAX: Duration = Duration::from_secs(3600);
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
        (under_way, holds): (Arc<UnderWay>, Arc<Holds>),
    ) -> Arc<Self> {
        Arc::new(Self {
            door,
            latches,
            links,
            catalogue,
            points,
            asks,
            sealer,
            under_way,
            holds,
            going: Goings::default(),
        })
    }

    /// Takes a call all the way, and answers its client
    pub async fn run(self: &Arc<Self>, using: Using<'_>, client: Arc<Client>, place: Place) {
        if let Some((brought, answers)) = using.brought.as_ref().filter(|(brought, _)| brought.held) {
            return self.resume(&using, brought, answers.clone(), &client).await;
        }
        let mut entered = self.under_way.enter(&using, Some(place), Arc::clone(&self.asks));
        let mut walk = Walk { patience: self.holds.patience(), nested: false };
        let (method, tool) = (using.method, using.call.tool.clone());
        let state = using.brought.as_ref().and_then(|(brought, _)| brought.state.clone());
        let mut leg = Leg { call: using.call.clone(), state, answers: using.answers() };
        for _ in 0..LEGS_MAX {
            match self.leg(&using, leg, &client, &mut entered, &mut walk).await {
                Legged::Told(answer) => return client.answer(answer).await,
                Legged::Passed => return,
                Legged::Asks(back) => match self.asked_back(&using, &client, back, &mut entered).await {
                    Some(next) => leg = next,
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
            outlet.last(refusal(using.method, client.era(), &id, vec![reason], &Hint::default())).await;
        }
    }

    /// Puts a connector's questions to the client; what comes back is the next leg, if it comes back at once
    async fn asked_back(
        &self,
        using: &Using<'_>,
        client: &Arc<Client>,
        Back { effect, questions, state, from }: Back,
        entered: &mut Entered,
    ) -> Option<Leg> {
        let (method, era) = (using.method, client.era());
        let (run, connector) = (using.call.run, &using.call.tool.connector);
        for question in &questions {
            let may = self.asks.may(run, connector, question.method, &question.params).await;
            if let Err(reasons) = may {
                client.answer(|id| refused(method, era, id, &reasons)).await;
                return None;
            }
        }
        if era == Era::Modern {
            let (of, leaves) = (using.bound(effect), from.era() == Era::Modern);
            let brought = Brought { of, held: false, leaves, questions: Put::all(&questions), state };
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
        for question in &questions {
            let answer = tokio::select! {
                answer = client.ask(question) => match answer {
                    Some(Ok(answer)) if is_answer(question.method, &answer) => Ok(answer),
                    Some(Ok(_)) => Err("the client's answer is none to its question".to_owned()),
                    Some(Err((code, _))) => Err(format!("the client answered its question with error {code}")),
                    None => Err("the client did not answer its question".to_owned()),
                },
                why = entered.cancelled(client) => Err(why),
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(why) => {
                    client.answer(|id| Last::ok(Fate::Rejected(why).told(id, method, era))).await;
                    return None;
                }
            };
            answers.insert(question.key.clone(), (Put::of(question), answer));
        }
        let next = match crate::tasks::draw() {
            Ok(next) => EffectId(next),
            Err(why) => {
                client.answer(|id| Last::ok(reply::error(Some(id), -32_603, &why, None))).await;
                return None;
            }
        };
        let call = Call { effect: next, continues: Some(effect), ..using.call.clone() };
        Some(Leg { call, state, answers })
    }

    async fn leg(
        self: &Arc<Self>,
        using: &Using<'_>,
        leg: Leg,
        client: &Arc<Client>,
        entered: &mut Entered,
        walk: &mut Walk,
    ) -> Legged {
        let Leg { mut call, state, answers } = leg;
        entered.goes_on(call.effect);
        let (tool, method, era) = (call.tool.clone(), using.method, client.era());
        // Which class it is, the door says; where that is another one, a link is made for it.
        let class = self.catalogue.view().class(&tool);
        let mut link = self.links.ready(call.run, &tool.connector, client.can, class);
        call.lease = link.as_ref().and_then(|linked| linked.lease);
        let call_run = call.run;
        let (mut life, first) = Life::start(call, link.is_some());
        let mut steps = VecDeque::from([first]);
        let (mut legged, mut withheld, mut riding) = (None, None, Vec::new());
        let (mut keeping, mut kept) = (None, Hash::default());
        let mut alone = self.links.alone(call_run);
        while let Some(step) = steps.pop_front() {
            let happened = match step {
                Do::Ask(call) => self.asked(Request::Ask(call)).await,
                Do::Consult(askings) => self.consult(life.effect(), askings, client, entered).await,
                Do::Admit(call) => self.asked(Request::Call(call)).await,
                Do::Read(_) if walk.nested => Happened::WasRead(Read::default()),
                Do::Read(reading) => self.before(reading, using, client, entered).await,
                Do::Wait(ticket) if walk.nested => {
                    self.withdraw(&ticket).await;
                    Happened::Waited
                }
                Do::Wait(ticket) => {
                    if can_follow(client, method) {
                        let call = Call { before: None, answers: Vec::new(), ..life.call().clone() };
                        if let Some(legged) = self.goes_away(&ticket, using, &call, client) {
                            return legged;
                        }
                    }
                    tokio::select! {
                        biased;
                        why = entered.cancelled(client) => {
                            if why == CANCELLED {
                                self.withdraw(&ticket).await;
                            }
                            Happened::NotPrepared(why)
                        }
                        happened = self.holds.waiting.wait(ticket.hold, &mut walk.patience, client) => happened,
                    }
                }
                Do::Prepare(wants) => {
                    alone.wants(wants.only);
                    let (ready, happened) = self.prepare((life.call(), wants), client, entered).await;
                    link = ready;
                    happened
                }
                // The answers that ride on it are admitted now: nothing slow lies between that and their leaving.
                Do::Forward(permit) => {
                    match self.asks.admit_all(using.call.run, &tool.connector, answers.values()).await {
                        Ok((permits, leaving)) => {
                            riding = leaving;
                            let used = permit.hold().is_some();
                            keeping = used.then(|| self.holds.outcomes.begin(permit.effect()));
                            let sending = Going { permit, permits, state: state.as_deref(), answers: &answers };
                            let sent = self.forward(sending, link.take(), using, client, entered).await;
                            legged = sent.legged;
                            // Of what did not happen, or may not have, nothing is told again.
                            match &sent.happened {
                                Happened::Answered { digest, .. } => kept = *digest,
                                _ => keeping = None,
                            }
                            sent.happened
                        }
                        Err(reasons) => {
                            withheld = Some(reasons);
                            Happened::NotSent("an answer that it carries was refused".to_owned())
                        }
                    }
                }
                Do::Settle(settle) => {
                    self.ridden(std::mem::take(&mut riding), &settle.end);
                    self.door.later(Request::Settle(settle));
                    continue;
                }
                Do::Reply(Answer::Again(again)) => match self.again(again, method, client, entered, walk).await {
                    Some(legged) => return legged,
                    None => {
                        // It was not made after all.
                        let call = Call { before: None, answers: Vec::new(), ..life.call().clone() };
                        let first;
                        (life, first) = Life::start(call, false);
                        steps = VecDeque::from([first]);
                        continue;
                    }
                },
                Do::Reply(Answer::Held(ticket)) => return self.held(&ticket, using, client, walk),
                Do::Reply(answer) => {
                    let hint = match &answer {
                        Answer::Refusal(reasons) => self.holds.hint(using.call.run, &using.at, reasons).await,
                        _ => Hint::default(),
                    };
                    let legged = match withheld.take() {
                        Some(reasons) => Legged::Told(Box::new(move |id| refused(method, era, id, &reasons))),
                        None => told(using, client, answer, legged, hint),
                    };
                    return match keeping {
                        Some(keeping) => legged.kept(keeping, client.version, kept),
                        None => legged,
                    };
                }
            };
            steps.extend(life.next(happened));
        }
        Legged::Told(Box::new(move |id| {
            Last::ok(Fate::Unknown("Portreeve lost the call".to_owned()).told(id, method, era))
        }))
    }

    /// Tells a client that people are asked
    fn held(&self, ticket: &Ticket, using: &Using<'_>, client: &Client, walk: &Walk) -> Legged {
        let pending = self.holds.pending(ticket, "call", walk.patience.lapsed);
        let (of, brought) = (using.bound(using.call.effect), using.brought.as_ref());
        Legged::Told(self.holds.tell(client, using.method, (ticket, pending), of, brought))
    }

    /// The answers that rode on a leg ended as it did
    fn ridden(&self, riding: Vec<Leaving>, end: &End) {
        for leaving in riding {
            let end = match end {
                End::NotSent { .. } | End::Unknown { .. } => end.clone(),
                End::Done { .. } | End::Pending { .. } | End::Lease(_) => done(true),
            };
            self.asks.settle(leaving, end);
        }
    }

    async fn asked(&self, request: Request) -> Happened {
        match self.door.submit(request).await {
            Reply::Permit(permit) => Happened::Admitted(permit),
            Reply::Prepare(wants) => Happened::Clear(wants),
            Reply::Consult(askings) => Happened::Consult(askings),
            Reply::Refused(reasons) => Happened::Refused(reasons),
            Reply::Read(reading) => Happened::Read(reading),
            Reply::Held(ticket) => Happened::Held(ticket),
            Reply::Again(again) => Happened::Again(again),
            Reply::Clear
            | Reply::Leased(..)
            | Reply::Proposed { .. }
            | Reply::Recorded
            | Reply::Opened(_)
            | Reply::Elevated(_) => Happened::Refused(vec![Reason::new(Word::RecordUnavailable, "record")]),
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
    async fn prepare(
        &self,
        (call, wants): (&Call, Wants),
        client: &Client,
        entered: &mut Entered,
    ) -> (Option<Linked>, Happened) {
        let (links, run, of, can) = (Arc::clone(&self.links), call.run, call.tool.connector.clone(), client.can);
        let needs = Needs::Call(Box::new(call.clone()));
        let mut stops = self.under_way.stops();
        // In a task of its own: what has begun to be made is finished, or reaped, whoever waits for it.
        let mut preparing = tokio::spawn(async move { links.prepare(run, (&of, can), (wants, needs)).await });
        loop {
            tokio::select! {
                prepared = &mut preparing => return match prepared {
                    Ok(Ok(linked)) => {
                        let lease = linked.lease;
                        (Some(linked), Happened::Prepared(lease))
                    }
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

    async fn forward(
        self: &Arc<Self>,
        going: Going<'_>,
        link: Option<Linked>,
        using: &Using<'_>,
        client: &Arc<Client>,
        entered: &mut Entered,
    ) -> Sent {
        let none = |happened| Sent { happened, legged: None };
        // What was admitted with one credential leaves with no other one.
        let Some(Linked { link, .. }) = link.filter(|linked| linked.lease == going.permit.lease()) else {
            return none(Happened::NotSent("the connection to the server was lost; try again".to_owned()));
        };
        // Cancelled while it was being admitted: then it is not sent at all.
        if let Some(why) = entered.was_cancelled() {
            return none(Happened::NotSent(why));
        }
        let Going { permit, permits, state, answers } = going;
        if !answers.is_empty() && link.version().era() == Era::Legacy {
            return none(Happened::NotSent("the server is another one than that which asked".to_owned()));
        }
        let effect = permit.effect();
        let (wanted, answer_max) = (permit.wanted().to_vec(), permit.answer_max());
        let pass = self.latches.pass_all(permit, permits);
        let withdrawal = pass.withdrawal();
        let view = self.catalogue.view();
        let tool = &using.call.tool;
        let within = Duration::from_millis(view.timeout_ms(&tool.connector).max(1).unsigned_abs());
        let mirrored = view.definition(tool).map_or(&[][..], |definition| definition.mirrored.as_slice());
        let trace = using.trace.as_deref().and_then(trace::child);
        // Only answers that were asked for and judged leave with it.
        let edited = answering(using, answers);
        let read = edited.as_ref().map(|bytes| Message::read(bytes, &answer_limits()));
        let (bytes, message) = match (&edited, &read) {
            (Some(bytes), Some(Ok(message))) => (bytes.as_slice(), message),
            (None, None) => (using.bytes, using.message),
            _ => return none(Happened::NotSent("it is too large with its answers".to_owned())),
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
            // Nobody reads it while it arrives where nobody listens.
            whole: answer_max.is_some() || !wanted.is_empty() || client.is_away(),
            bytes_max: STREAM_BYTES_MAX,
        };
        let (events, hears) = mpsc::channel(EVENTS_MAX);
        // Who was told of nothing that the client can do asks nothing.
        let of = (link.can() != Can::NONE).then(|| using.bound(effect));
        let hearing = tokio::spawn(hear(hears, Arc::clone(&self.asks), of, Arc::clone(client)));
        let sent = link.send(sending, pass, within, events);
        let outcome = unless(entered.cancelled(client), sent, &withdrawal).await;
        match &outcome {
            // What was told on the way comes before the end.
            Ok(_) => {
                let abort = hearing.abort_handle();
                if tokio::time::timeout(TOLD, hearing).await.is_err() {
                    abort.abort();
                }
            }
            Err(_) => hearing.abort(),
        }
        match outcome {
            Ok(Called::Whole(called)) => {
                self.called(called, using, client, (effect, &wanted, answer_max, link.version()))
            }
            Ok(Called::Long(flowing)) => self.flows(flowing, using.method, client, link.version(), entered).await,
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
                let handle = Handle::new(using.bound(effect), task.clone());
                serde_json::to_vec(&handle).ok().and_then(|handle| self.sealer.seal(HANDLE, &handle))
            }
            _ => None,
        };
        let status = status(&called.outcome, era);
        let told = move |id: &str| {
            let to = ToClient { id, from, version, method, state: None, ttl_ms_max: TTL_MS_MAX };
            let reply = called.into_reply(&to);
            Last::with(
                status,
                match &sealed {
                    Some(sealed) => begun(&reply, sealed),
                    None => reply,
                },
            )
        };
        Sent { happened, legged: Some(Legged::Told(Box::new(told))) }
    }

    /// Passes a long answer on while it arrives; what it was is known at its end
    async fn flows(
        &self,
        flowing: Flowing,
        method: Method,
        client: &Arc<Client>,
        from: Version,
        entered: &mut Entered,
    ) -> Sent {
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
                drop(client.resume(waits));
                let why = broken.and_then(Result::err).unwrap_or_else(|| "the answer is empty".to_owned());
                return Sent { happened: Happened::Lost(why), legged: None };
            }
        };
        let (cut, when) = oneshot::channel();
        let flow = Box::new(Flow { first, passage, cut: when });
        waits.outlet.last(Last { message: Body::Flowing(flow), ..Last::ok(Bytes::new()) }).await;
        let ended = tokio::select! {
            ended = ending.wait() => ended,
            why = entered.cancelled(client) => Err(why),
            () = tokio::time::sleep(FLOW_MAX) => Err("it took too long".to_owned()),
        };
        // The rest of it, if there is any, is not passed on.
        drop(cut);
        let happened = match ended {
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
}

/// How long the last messages on the way may take after the answer came
const TOLD: Duration = Duration::from_secs(5);

/// Passes on what a connector tells and asks while it works on a call
async fn hear(mut hears: mpsc::Receiver<Event>, asks: Arc<Asks>, of: Option<Bound>, client: Arc<Client>) {
    // Ended with this task: a call that is over asks nothing any more.
    let mut questions = JoinSet::new();
    while let Some(event) = hears.recv().await {
        match event {
            Event::Told(notification) => client.told(&notification).await,
            Event::Asks(ask) => {
                // Without one it is dropped, which declines it.
                let Some(of) = of.clone() else { continue };
                questions.spawn(Arc::clone(&asks).asked(ask, of, Arc::clone(&client)));
                while questions.try_join_next().is_some() {}
            }
        }
    }
}

/// The answer to a client
fn told(using: &Using<'_>, client: &Client, answer: Answer, legged: Option<Legged>, hint: Hint) -> Legged {
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
        Answer::Refusal(reasons) => return Legged::Told(Box::new(move |id| refusal(method, era, id, reasons, &hint))),
        // Both are told where they come up.
        Answer::Held(_) | Answer::Again(_) => Fate::Unknown("Portreeve lost the call".to_owned()),
        // It broke off while the client read it.
        Answer::Unknown(_) if matches!(legged, Some(Legged::Passed)) => return Legged::Passed,
        Answer::Unreachable(why) => Fate::Unreachable(why),
        Answer::Unknown(why) => Fate::Unknown(why),
    };
    Legged::Told(Box::new(move |id| Last::ok(fate.told(id, method, era))))
}

/// A refusal, without what would tell a hidden tool from an unknown one
fn refusal(method: Method, era: Era, id: &str, reasons: Vec<Reason>, hint: &Hint) -> Last {
    let told: Vec<Reason> = reasons.into_iter().take_while(|reason| reason.word != Word::ToolOutsidePurpose).collect();
    Last::ok(match method {
        Method::CallTool => reply::refused_call_with(id, era, &told, hint),
        _ => reply::refused_with(id, &told, hint),
    })
}

/// A refusal, with all that is to be said: of a question, or of its answer, there is nothing to hide
fn refused(method: Method, era: Era, id: &str, reasons: &[Reason]) -> Last {
    Last::ok(match method {
        Method::CallTool => reply::refused_call(id, era, reasons),
        _ => reply::refused(id, reasons),
    })
}

/// The client's message with just these answers; nothing if it has none, and none are sent
fn answering(using: &Using<'_>, answers: &BTreeMap<String, (Put, String)>) -> Option<Vec<u8>> {
    let has = using.message.params().is_some_and(|params| params.get("inputResponses").is_some());
    if !has && answers.is_empty() {
        return None;
    }
    let mut edit = Edit::new(using.bytes, using.message);
    if answers.is_empty() {
        edit.remove(&["params", "inputResponses"]);
    } else {
        let raw = answers.iter().map(|(key, (_, answer))| (key.clone(), answer.clone())).collect();
        edit.set(&["params", "inputResponses"], &object(&raw));
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
