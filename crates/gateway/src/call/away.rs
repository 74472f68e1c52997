//! A call that waits for people as an MCP task (extension `io.modelcontextprotocol/tasks`): its client polls, and the call
//! goes on by itself once enough have agreed.
//!
//! The id that the client gets says which question it is, sealed and bound to its run. All else is on the record, so the
//! task outlives a restart: whoever polls then has the call go on from what was recorded of it.

use super::{Calls, Leg, Legged, Walk};
use crate::{
    asks::Bound,
    client::Client,
    door::Door,
    endpoint::At,
    held::Telling,
    outlet::{self, Last},
    settings::answer_limits,
    using::{Back, Using},
    waiting::Patience,
};
use portreeve_core::{
    engine::Reply,
    event::{Actor, HeldWhat},
    json::Json,
    judge::Ticket,
    names::{EffectId, HoldId, RunId, Tool},
    node::{Node, Why},
    reason::{Reason, Word},
    request::{Call, Request, Stop},
    state::{AGAIN_MS, Phase},
    time::Millis,
    value::Value,
};
use portreeve_identity::seal::Sealer;
use portreeve_mcp::{
    edit::quoted,
    message::Message,
    method::Method,
    params::TaskUse,
    reply,
    version::{Era, Version},
};
use portreeve_upstream::clock::SteadyClock;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// MCP tasks of calls that wait for people
#[derive(Debug)]
pub struct Away {
    calls: Arc<Calls>,
    door: Door,
    sealer: Arc<Sealer>,
    clock: SteadyClock,
}

/// Calls that go on by themselves, by the question that they began with
#[derive(Debug, Default)]
pub(super) struct Goings {
    // Held only to put something in or take it out.
    all: Mutex<HashMap<HoldId, One>>,
}

#[derive(Debug)]
struct One {
    effect: EffectId,
    ended: Option<EndedAt>,
}

type EndedAt = (Millis, Arc<Ended>);

/// How a call ended
#[derive(Debug)]
enum Ended {
    /// With this result, as it is written
    Result(String),
    /// With this error, as it is written
    Error(String),
}

/// What stands in the id of such a task
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Handle {
    of: Bound,
    hold: HoldId,
    /// When it was begun
    at: Millis,
}

/// All that a call needs to go on by itself
struct Owned {
    bytes: Vec<u8>,
    method: Method,
    call: Call,
    at: String,
    renamed: Option<String>,
    called: String,
    brought: Option<Back>,
    trace: Option<String>,
    version: Version,
    until: Millis,
}

const KIND: &str = "waiting";
/// Why a call ends that its client wants no longer
pub(super) const CANCELLED: &str = "the client cancelled it";
/// How often a client is asked to poll, in milliseconds
const POLL_MS: i64 = 1_000;
/// For how long a result is there to be fetched
const FETCHED: Duration = Duration::from_millis(AGAIN_MS.unsigned_abs());
/// Bytes of results that wait to be fetched
const ALL_BYTES_MAX: usize = 64 << 20;
/// How long a call may wait beyond its question: until that has lapsed on the record
const SLACK: Duration = Duration::from_secs(60);

impl Ended {
    fn read(answer: &[u8]) -> Self {
        let lost = || Self::Error(json!({ "code": -32_603, "message": "the answer was lost" }).to_string());
        let Ok(message) = Message::read_answer(answer, &answer_limits()) else { return lost() };
        match (message.result(), message.error()) {
            (Some(result), _) => Self::Result(result.raw().to_owned()),
            (None, Some(error)) => Self::Error(error.raw().to_owned()),
            (None, None) => lost(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Result(text) | Self::Error(text) => text.len(),
        }
    }
}

impl Goings {
    /// Begins with a call; false if it goes on already
    ///
    /// One that has ended while its question stayed open, as nothing was sent, begins anew with whoever calls again.
    fn begin(&self, hold: HoldId, effect: EffectId) -> bool {
        let mut all = self.all();
        let goes_on = all.get(&hold).is_some_and(|one| one.ended.is_none());
        if !goes_on {
            all.insert(hold, One { effect, ended: None });
        }
        !goes_on
    }

    fn end(&self, hold: HoldId, at: Millis, ended: Ended) {
        let mut all = self.all();
        let mut bytes = ended.bytes();
        if let Some(one) = all.get_mut(&hold) {
            one.ended = Some((at, Arc::new(ended)));
        }
        // The record still says what became of those for which there is no room.
        let mut done: Vec<(Millis, HoldId, usize)> = all
            .iter()
            .filter(|(id, _)| **id != hold)
            .filter_map(|(id, one)| one.ended.as_ref().map(|(at, ended)| (*at, *id, ended.bytes())))
            .collect();
        done.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
        for (_, id, more) in done {
            bytes = bytes.saturating_add(more);
            if bytes > ALL_BYTES_MAX {
                all.remove(&id);
            }
        }
    }

    fn forget(&self, hold: HoldId, effect: EffectId) {
        let mut all = self.all();
        if all.get(&hold).is_some_and(|one| one.effect == effect) {
            all.remove(&hold);
        }
    }

    /// The effect, and its end if it has one; nothing if nothing goes on
    fn of(&self, hold: HoldId) -> Option<(EffectId, Option<EndedAt>)> {
        self.all().get(&hold).map(|one| (one.effect, one.ended.clone()))
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<HoldId, One>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a client can follow a call as an MCP task
#[must_use]
pub fn can_follow(client: &Client, method: Method) -> bool {
    let can = client.can.has(portreeve_mcp::can::Can::TASKS);
    client.era() == Era::Modern && method == Method::CallTool && can && !client.is_away()
}

impl Calls {
    /// Lets a call wait by itself, and tells its client how to follow it; nothing if it cannot be sealed
    pub(super) fn goes_away(
        self: &Arc<Self>,
        ticket: &Ticket,
        using: &Using<'_>,
        leg: &Call,
        client: &Client,
    ) -> Option<Legged> {
        let now = self.holds.now();
        let handle = Handle { of: using.bound(leg.effect), hold: ticket.hold, at: now };
        let id = self.sealer.seal(KIND, &serde_json::to_vec(&handle).ok()?)?;
        // An effect of its own: what the request that leads to it was waited for under ends with that request.
        let effect = EffectId(crate::tasks::draw().ok()?);
        let owned = Owned {
            bytes: using.bytes.to_vec(),
            method: using.method,
            call: Call { effect, ..leg.clone() },
            at: using.at.clone(),
            renamed: using.renamed.clone(),
            called: using.called.clone(),
            brought: using.brought.clone(),
            trace: using.trace.clone(),
            version: client.version,
            until: client.until,
        };
        if self.going.begin(ticket.hold, effect) {
            tokio::spawn(Arc::clone(self).go_on(owned, ticket.hold, ticket.until));
        }
        let pending = self.holds.pending(ticket, "call", false);
        let state = Standing { created: now, updated: now, until: ticket.until, status: "working" };
        let task = state.task(&id, Some(&pending.status()), "");
        Some(Legged::Told(Box::new(move |request| {
            Last::ok(reply::result_text(request, &format!("{{\"resultType\":\"task\",{task}}}")))
        })))
    }

    /// Takes a call all the way by itself, and keeps what came of it
    // Not an `async fn`: a call may lead to one that goes on by itself.
    fn go_on(self: Arc<Self>, owned: Owned, hold: HoldId, until: Millis) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let effect = owned.call.effect;
            let ended = Ended::read(&self.walked(owned, until).await);
            self.going.end(hold, self.holds.now(), ended);
            tokio::time::sleep(FETCHED).await;
            self.going.forget(hold, effect);
        })
    }

    async fn walked(self: &Arc<Self>, owned: Owned, until: Millis) -> Vec<u8> {
        let lost = |why: &str| reply::error(Some("1"), -32_603, why, None);
        let Ok(message) = Message::read(&owned.bytes, &answer_limits()) else { return lost("it cannot be read") };
        let effect = owned.call.effect;
        let using = Using {
            method: owned.method,
            bytes: &owned.bytes,
            message: &message,
            call: owned.call,
            at: owned.at,
            key: (RunId::default(), "away".to_owned(), effect.to_string()),
            renamed: owned.renamed,
            called: owned.called,
            brought: owned.brought,
            trace: owned.trace,
        };
        let client = Client::away(using.call.run, owned.until, owned.version);
        let mut entered = self.under_way.enter(&using, None, Arc::clone(&self.asks));
        let left = Duration::from_millis(until.since(self.holds.now()).max(0).unsigned_abs());
        let mut walk = Walk { patience: Patience::of(left + SLACK), nested: false };
        let state = using.brought.as_ref().and_then(|(brought, _)| brought.state.clone());
        let leg = Leg { call: using.call.clone(), state, answers: using.answers() };
        match self.leg(&using, leg, &client, &mut entered, &mut walk).await {
            Legged::Told(answer) => match answer("1").message {
                outlet::Message::Whole(answer) => answer.to_vec(),
                _ => lost("the answer was lost"),
            },
            // It was told of no abilities, so it has nothing to ask.
            Legged::Asks(_) => lost("the server asked something, and nobody was there to answer"),
            Legged::Passed => lost("the answer was lost"),
        }
    }
}

/// How a task stands, in the words of the extension
struct Standing {
    created: Millis,
    updated: Millis,
    until: Millis,
    status: &'static str,
}

impl Standing {
    /// The members of a task
    fn task(&self, id: &str, message: Option<&str>, more: &str) -> String {
        let ttl = self.until.plus(AGAIN_MS).since(self.created).max(0);
        let message = message.map_or_else(String::new, |text| format!(",\"statusMessage\":{}", quoted(text)));
        let (created, updated) = (self.created.rfc3339(), self.updated.max(self.created).rfc3339());
        format!(
            "\"taskId\":{},\"status\":\"{}\"{message},\"createdAt\":\"{created}\",\"lastUpdatedAt\":\"{updated}\",\
             \"ttlMs\":{ttl},\"pollIntervalMs\":{POLL_MS}{more}",
            quoted(id),
            self.status
        )
    }
}

/// What is recorded of the question behind a task
struct Recorded {
    asked: Millis,
    until: Millis,
    phase: Phase,
    ticket: Ticket,
    /// The tool and its arguments, if all of them are kept; an elevation has none
    call: Option<(Tool, Option<BTreeMap<String, Value>>)>,
}

impl Away {
    /// Follows the calls that go on by themselves
    #[must_use]
    pub fn new(calls: Arc<Calls>, door: Door, sealer: Arc<Sealer>, clock: SteadyClock) -> Self {
        Self { calls, door, sealer, clock }
    }

    /// Answers `tasks/get`, `tasks/update` and `tasks/cancel` of such a task; nothing if it is none
    pub async fn answer(
        &self,
        client: &Client,
        at: &At,
        method: Method,
        message: &Message<'_>,
        id: &str,
    ) -> Option<Last> {
        if !client.can.has(portreeve_mcp::can::Can::TASKS) {
            return None;
        }
        let sealed = TaskUse::read(method, message.params()).ok()?.task;
        let handle: Handle = serde_json::from_slice(&self.sealer.open(KIND, sealed)?).ok()?;
        if handle.of.run != client.run || handle.of.at != at.to_string() {
            return Some(Last::ok(reply::unknown_task(id)));
        }
        let (run, clock) = (client.run, self.clock.read());
        let life = self.door.ask(move |engine| {
            let state = engine.state();
            let unknown = || vec![Reason::new(Word::TaskUnknown, run)];
            let task = state.task_of(run).ok_or_else(unknown)?;
            let reasons = state.life(task, portreeve_core::judge::now(state, clock).0);
            if reasons.is_empty() { Ok(()) } else { Err(reasons) }
        });
        if let Some(Err(reasons)) = life.await {
            return Some(Last::ok(reply::refused(id, &reasons)));
        }
        Some(match method {
            Method::GetTask => {
                let meta = message.params().and_then(|params| params.get("_meta")).map_or("{}", Json::raw);
                self.get(client, (at, meta), &handle, (sealed, id)).await
            }
            Method::CancelTask => {
                self.cancel(&handle).await;
                Last::ok(reply::result(id, client.era(), &json!({})))
            }
            // Nothing was asked that this client could answer.
            _ => Last::ok(reply::result(id, client.era(), &json!({}))),
        })
    }

    async fn get(&self, client: &Client, (at, meta): (&At, &str), handle: &Handle, (sealed, id): (&str, &str)) -> Last {
        let Some(recorded) = self.recorded(handle.hold).await else { return Last::ok(reply::unknown_task(id)) };
        let mut going = self.calls.going.of(handle.hold);
        let now = self.clock.now();
        // Nobody is asked a second time because somebody looks: only what is open, or remembered, is judged again.
        let resumes = going.is_none()
            && match recorded.phase {
                Phase::Open => recorded.until > now,
                Phase::Used { effect: Some(_) } | Phase::Declined { .. } => true,
                Phase::Done { at, .. } | Phase::Unknown { at, .. } if now.since(at) < AGAIN_MS - POLL_MS => true,
                Phase::Done { .. } | Phase::Unknown { .. } => return Last::ok(reply::unknown_task(id)),
                Phase::Over { .. } | Phase::Used { effect: None } => false,
            };
        if resumes && self.resume(client, (at, meta), handle, &recorded) {
            going = self.calls.going.of(handle.hold);
        }
        let mut standing =
            Standing { created: handle.at, updated: recorded.asked, until: recorded.until, status: "working" };
        let lapsed = matches!(recorded.phase, Phase::Over { .. });
        let pending = self.calls.holds.pending(&recorded.ticket, recorded.what(), lapsed);
        let (status, more) = match (going.and_then(|(_, ended)| ended), recorded.phase) {
            (_, Phase::Over { why: Why::Ended, at }) => {
                (standing.status, standing.updated) = ("cancelled", at);
                (Some(format!("{} was taken back", pending.code)), String::new())
            }
            (Some((at, ended)), _) => {
                standing.updated = at;
                let (status, more) = match &*ended {
                    Ended::Result(result) => ("completed", format!(",\"result\":{result}")),
                    Ended::Error(error) => ("failed", format!(",\"error\":{error}")),
                };
                standing.status = status;
                (None, more)
            }
            (None, phase) => match self.without_call(&recorded, phase) {
                Some((status, at, more)) => {
                    (standing.status, standing.updated) = (status, at.unwrap_or(now));
                    (Some(pending.status()), more)
                }
                None => (Some(pending.status()), String::new()),
            },
        };
        let task = standing.task(sealed, status.as_deref(), &more);
        Last::ok(reply::result_text(id, &format!("{{\"resultType\":\"complete\",{task}}}")))
    }

    /// How a task stands of which nothing goes on here
    fn without_call(&self, recorded: &Recorded, phase: Phase) -> Option<(&'static str, Option<Millis>, String)> {
        let text = |text: &str, failed: bool| {
            let mut result = json!({ "resultType": "complete", "content": [{ "type": "text", "text": text }] });
            if let (true, Some(members)) = (failed, result.as_object_mut()) {
                members.insert("isError".to_owned(), true.into());
            }
            format!(",\"result\":{result}")
        };
        let code = recorded.ticket.hold.code();
        match phase {
            Phase::Over { at, .. } => {
                let lapsed = format!(
                    "approval_needed: Nobody answered {code} in time. Nothing was done. Repeat exactly this call to ask anew."
                );
                Some(("completed", Some(at), text(&lapsed, true)))
            }
            Phase::Used { effect: None } => Some(("completed", None, text(crate::elevating::OPENED, false))),
            Phase::Declined { at } if recorded.call.is_none() => {
                let declined = format!("approval_declined: {code} was declined. Do not ask for it again.");
                Some(("completed", Some(at), text(&declined, true)))
            }
            _ if matches!(recorded.call, Some((_, None))) => {
                let lost = "Portreeve was started anew, and its record keeps no value of an argument of this call. Repeat \
                            exactly this call to go on.";
                Some(("completed", None, text(lost, true)))
            }
            _ => None,
        }
    }

    /// Has a call go on of which nothing goes on in this life of the process; false if it cannot
    fn resume(&self, client: &Client, (at, meta): (&At, &str), handle: &Handle, recorded: &Recorded) -> bool {
        let Some((tool, Some(arguments))) = &recorded.call else { return false };
        let Ok(effect) = crate::tasks::draw().map(EffectId) else { return false };
        let fit = self.calls.catalogue.view().fit(tool, &Value::Object(arguments.clone()));
        let owned = Owned {
            bytes: super::before::message(tool, arguments, Some(meta)),
            method: Method::CallTool,
            call: Call {
                effect,
                run: client.run,
                tool: tool.clone(),
                arguments: arguments.clone(),
                fit,
                answers: Vec::new(),
                continues: None,
                before: None,
                lease: None,
            },
            at: at.to_string(),
            renamed: None,
            called: tool.name.to_string(),
            brought: None,
            trace: None,
            version: client.version,
            until: client.until,
        };
        if self.calls.going.begin(handle.hold, effect) {
            tokio::spawn(Arc::clone(&self.calls).go_on(owned, handle.hold, recorded.until));
        }
        true
    }

    /// The agent wants it no longer: nobody is asked any more, and what has begun is called off
    async fn cancel(&self, handle: &Handle) {
        // First, so that what waits does not ask anew once its question is over.
        if let Some((effect, None)) = self.calls.going.of(handle.hold) {
            self.calls.under_way.cancel(effect, CANCELLED);
        }
        let by = Actor::Run(handle.of.run);
        let stop = Stop { node: Node::Hold(handle.hold), why: Why::Ended, by, at: None };
        let withdrawn = matches!(self.door.submit(Request::Stop(stop)).await, Reply::Recorded);
        tracing::debug!(hold = %handle.hold, withdrawn, "an agent cancelled what waited");
    }

    async fn recorded(&self, id: HoldId) -> Option<Recorded> {
        let recorded = self.door.ask(move |engine| {
            let hold = engine.state().hold(id)?;
            let held = &hold.held;
            let call = match &held.what {
                HeldWhat::Call(call) => {
                    let value = |(name, given): (&String, &portreeve_core::event::Given)| {
                        Some((name.clone(), given.value.value()?))
                    };
                    Some((call.tool.clone(), call.arguments.iter().map(value).collect::<Option<_>>()))
                }
                HeldWhat::Elevation(_) | HeldWhat::Opening(_) => None,
            };
            let ticket = Ticket { hold: id, questions: held.questions.clone(), until: held.until };
            Some(Recorded { asked: hold.asked, until: held.until, phase: hold.phase, ticket, call })
        });
        recorded.await.flatten()
    }

    /// Lets an elevation wait as a task: nothing goes on but what people do
    #[must_use]
    pub fn elevation(&self, ticket: &Ticket, of: Bound) -> Option<Telling> {
        let now = self.clock.now();
        let handle = Handle { of, hold: ticket.hold, at: now };
        let id = self.sealer.seal(KIND, &serde_json::to_vec(&handle).ok()?)?;
        let pending = self.calls.holds.pending(ticket, "elevation", false);
        let state = Standing { created: now, updated: now, until: ticket.until, status: "working" };
        let task = state.task(&id, Some(&pending.status()), "");
        Some(Box::new(move |request| {
            Last::ok(reply::result_text(request, &format!("{{\"resultType\":\"task\",{task}}}")))
        }))
    }
}

impl Recorded {
    fn what(&self) -> &'static str {
        if self.call.is_some() { "call" } else { "elevation" }
    }
}
