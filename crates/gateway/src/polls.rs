//! MCP tasks: what a tool that works on answers with, followed by polling (extension `io.modelcontextprotocol/tasks`).
//!
//! The id of such a task is a handle that whoever has it could use. What a client gets is sealed, and bound to its run,
//! the connector and the call; each poll is judged anew.

use crate::{
    asks::{Asks, Bound, Put, end_of},
    client::Client,
    door::Door,
    endpoint::At,
    fate::Fate,
    links::{Linked, Links, Unready},
    outlet::Last,
    settings::{TTL_MS_MAX, answer_limits},
    under_way::{UnderWay, unless},
};
use portreeve_core::{
    engine::Reply,
    event::End,
    json::Json,
    judge::Wants,
    names::EffectId,
    policy::Class,
    reason::{Reason, Word},
    request::{Needs, Poll, Request, Settle},
};
use portreeve_identity::seal::Sealer;
use portreeve_mcp::{
    asked::Refused,
    can::Can,
    edit::{Edit, quoted},
    message::Message,
    method::Method,
    outcome::{self, Outcome, Status},
    params::TaskUse,
    reply,
    translate::ToClient,
};
use portreeve_upstream::{
    clock::SteadyClock,
    http::Failure,
    latch::Latches,
    link::{Called, Sending},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;

/// Follows MCP tasks
#[derive(Debug)]
pub struct Polls {
    door: Door,
    latches: Arc<Latches>,
    links: Arc<Links>,
    asks: Arc<Asks>,
    under_way: Arc<UnderWay>,
    sealer: Arc<Sealer>,
    clock: SteadyClock,
    /// What the connectors of running tasks asked; held only for a look-up
    questions: Mutex<HashMap<EffectId, BTreeMap<String, Put>>>,
}

/// What stands in the id of an MCP task as its client knows it
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handle {
    of: Bound,
    /// The id that its connector gave it
    task: String,
}

/// What handles are sealed for
pub const HANDLE: &str = "task";
const LONG: &str = "its answer is too long";
/// How long a poll may take
const WITHIN: Duration = Duration::from_secs(60);
/// Tasks whose questions are remembered
const QUESTIONS_MAX: usize = 4_096;

impl Handle {
    /// The handle of the task that a call became
    #[must_use]
    pub fn new(of: Bound, task: String) -> Self {
        Self { of, task }
    }
}

impl Polls {
    /// Nothing is followed yet
    #[must_use]
    pub fn new(
        (door, latches): (Door, Arc<Latches>),
        links: Arc<Links>,
        (asks, under_way): (Arc<Asks>, Arc<UnderWay>),
        sealer: Arc<Sealer>,
        clock: SteadyClock,
    ) -> Self {
        Self { door, latches, links, asks, under_way, sealer, clock, questions: Mutex::default() }
    }

    /// The handle that a client holds, if it is its own
    #[must_use]
    pub fn open(&self, client: &Client, at: &At, task: &str) -> Option<(Bound, String)> {
        let handle: Handle = serde_json::from_slice(&self.sealer.open(HANDLE, task)?).ok()?;
        (handle.of.run == client.run && handle.of.at == at.to_string()).then_some((handle.of, handle.task))
    }

    /// Leave to follow a task by this method
    ///
    /// # Errors
    /// Why not.
    pub async fn admit(
        &self,
        of: &Bound,
        method: Method,
        (effect, lease): (EffectId, Option<EffectId>),
    ) -> Result<portreeve_core::engine::Permit, Vec<Reason>> {
        let poll = Poll { effect, run: of.run, of: of.effect, method: method.as_str().to_owned(), lease };
        match self.door.submit(Request::Poll(poll)).await {
            Reply::Permit(permit) => Ok(permit),
            Reply::Refused(reasons) => Err(reasons),
            _ => Err(vec![Reason::new(Word::RecordUnavailable, "record")]),
        }
    }

    /// Answers `tasks/get`, `tasks/update` and `tasks/cancel`
    pub async fn request(&self, client: &Arc<Client>, at: &At, method: Method, message: &Message<'_>, id: &str) {
        let last = match self.answer(client, at, method, message, id).await {
            Ok(last) | Err(last) => last,
        };
        client.answer(|_| last).await;
    }

    async fn answer(
        &self,
        client: &Arc<Client>,
        at: &At,
        method: Method,
        message: &Message<'_>,
        id: &str,
    ) -> Result<Last, Last> {
        let (era, params) = (client.era(), message.params());
        if !client.can.has(Can::TASKS) {
            let refused = Refused::lacks(Can::TASKS);
            return Err(Last::with(refused.status, reply::refused_early(Some(id), &refused)));
        }
        let used = TaskUse::read(method, params);
        let used = used.map_err(|wrong| Last::ok(reply::error(Some(id), -32_602, wrong, None)))?;
        let sealed = used.task;
        let Some((of, own)) = self.open(client, at, sealed) else { return Err(Last::ok(reply::unknown_task(id))) };
        let refused = |reasons: Vec<Reason>| Last::ok(reply::refused(id, &reasons));
        let fate = |fate: Fate| Last::ok(fate.told(id, method, era));
        let answers = self.answers(&of, used.responses);
        // Asked before anything is made ready for a run that may be over.
        let (run, connector, clock) = (of.run, of.connector.clone(), self.clock.read());
        let life = self.door.ask(move |engine| engine.listed(run, &connector, clock).map(drop)).await;
        life.unwrap_or_else(|| Err(vec![Reason::new(Word::RecordUnavailable, "record")])).map_err(refused)?;
        if method == Method::UpdateTask && answers.is_empty() {
            // Answers that nobody asked for are left out, and nothing is left to send; who asked is heard by polls.
            return Ok(Last::ok(reply::result(id, era, &json!({}))));
        }
        let (run, pending) = (of.run, of.effect);
        let unavailable =
            |why: String| refused(vec![Reason::new(Word::RecordUnavailable, "randomness").with("why", why)]);
        let effect = EffectId(crate::tasks::draw().map_err(unavailable)?);
        let connector = of.connector.clone();
        let wants = self.door.ask(move |engine| {
            let state = engine.state();
            let task = state.task_of(run)?;
            let class = state.task(task)?.pending(pending)?.class;
            Some(Wants::new(state, engine.shelf(), (task, &connector, class), effect))
        });
        let wants = wants.await.flatten().unwrap_or(Wants { class: Class::Read, only: None });
        let mut alone = self.links.alone(run);
        alone.wants(wants.only);
        let needs = Needs::Poll(Poll { effect, run, of: of.effect, method: method.as_str().to_owned(), lease: None });
        let prepared = self.links.prepare(run, (&of.connector, client.can), (wants, needs)).await;
        let Linked { link, lease } = match prepared {
            Ok(linked) => linked,
            Err(Unready::Refused(reasons)) => return Err(refused(reasons)),
            Err(Unready::Unreachable(why)) => return Err(fate(Fate::Unreachable(why))),
        };
        // Words of our own: of the client's message, only its task and its answers to what was asked are judged.
        let bytes = {
            let responses: BTreeMap<_, _> =
                answers.iter().map(|(key, _, answer)| (key.clone(), answer.clone())).collect();
            let answers = match method {
                Method::UpdateTask => format!(",\"inputResponses\":{}", crate::call::object(&responses)),
                _ => String::new(),
            };
            let meta = params.and_then(|params| params.get("_meta")).map_or("{}", Json::raw);
            let (name, task) = (method.as_str(), quoted(&own));
            let params = format!("{{\"taskId\":{task}{answers},\"_meta\":{meta}}}");
            format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{name}\",\"params\":{params}}}").into_bytes()
        };
        let Ok(sent) = Message::read(&bytes, &answer_limits()) else {
            return Err(fate(Fate::Rejected("it is too long".to_owned())));
        };
        let put: Vec<(Put, String)> = answers.into_iter().map(|(_, put, answer)| (put, answer)).collect();
        let permit = self.admit(&of, method, (effect, lease)).await.map_err(refused)?;
        let (permits, leaving) = match self.asks.admit_all(of.run, &of.connector, &put).await {
            Ok(admitted) => admitted,
            Err(reasons) => {
                let end = End::NotSent { why: "an answer that it carries was refused".to_owned() };
                self.door.later(Request::Settle(Settle::new(permit.effect(), end)));
                return Err(refused(reasons));
            }
        };
        let answer_max = permit.answer_max();
        let sending = Sending {
            bytes: &bytes,
            message: &sent,
            method,
            from: client.version,
            name: None,
            state: None,
            trace: None,
            log_level: client.log_level,
            mirrored: &[],
            whole: true,
            bytes_max: 0,
        };
        let (events, hears) = mpsc::channel(1);
        drop(hears);
        let pass = self.latches.pass_all(permit, permits);
        let (withdrawal, mut watched) = (pass.withdrawal(), self.under_way.watch(effect));
        let outcome = unless(watched.cancelled_or_gone(client), link.send(sending, pass, WITHIN, events), &withdrawal);
        let outcome = outcome.await;
        let ridden = end_of(outcome.as_ref().map(|_| ()));
        leaving.into_iter().for_each(|one| self.asks.settle(one, ridden.clone()));
        let settle = |end: End| self.door.later(Request::Settle(Settle::new(effect, end)));
        let called = match outcome {
            Ok(Called::Whole(called)) => called,
            // It was asked for as a whole.
            Ok(Called::Long(_)) => {
                settle(End::Unknown { why: LONG.to_owned() });
                return Err(fate(Fate::Unknown(LONG.to_owned())));
            }
            Err(failure) => {
                settle(match &failure {
                    // The task is as it was.
                    Failure::Rejected(_) => End::Pending { bytes: 0, result: None },
                    Failure::NotSent(_) | Failure::Lost(_) => end_of(Err(&failure)),
                });
                return Err(fate(failure.into()));
            }
        };
        let over = match &called.outcome {
            Outcome::Task { status, .. } => status.is_final(),
            // Whoever does not know the task knows it no longer.
            Outcome::Error { .. } => method == Method::GetTask,
            _ => false,
        };
        let bytes = called.bytes;
        let end = if over {
            End::Done {
                ok: matches!(called.outcome, Outcome::Task { status: Status::Completed { failed: false }, .. }),
                bytes,
                result: None,
                returned: BTreeMap::new(),
                process: None,
            }
        } else {
            End::Pending { bytes, result: None }
        };
        settle(end);
        if over {
            self.questions.lock().unwrap_or_else(PoisonError::into_inner).remove(&of.effect);
        }
        if let Some(most) = answer_max.filter(|most| bytes > *most) {
            return Err(fate(Fate::Withheld { bytes, most }));
        }
        if let Outcome::Task { questions, .. } = &called.outcome {
            self.asked(&of, questions).await.map_err(refused)?;
        }
        let (from, version) = (link.version(), client.version);
        let to = ToClient { id, from, version, method, state: None, ttl_ms_max: TTL_MS_MAX };
        Ok(Last::ok(with_task(called.into_reply(&to), sealed)))
    }

    /// The client's answers to what was asked, with the questions
    fn answers(&self, of: &Bound, responses: Option<&Json<'_>>) -> Vec<(String, Put, String)> {
        let questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(questions) = questions.get(&of.effect) else { return Vec::new() };
        let responses = responses.and_then(Json::as_object);
        let answer = |member: &portreeve_core::json::Member<'_>| {
            let put = questions.get(member.key.as_ref())?.clone();
            Some((member.key.to_string(), put, member.value.raw().to_owned()))
        };
        responses.unwrap_or_default().iter().filter_map(answer).collect()
    }

    /// Judges what a task asks, and remembers it for the answer
    async fn asked(&self, of: &Bound, questions: &[outcome::Question]) -> Result<(), Vec<Reason>> {
        for question in questions {
            self.asks.may(of.run, &of.connector, question.method, &question.params).await?;
        }
        let mut known = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= QUESTIONS_MAX && !known.contains_key(&of.effect) {
            // The one that was there longest is not known; any other is as good.
            let one = known.keys().next().copied();
            one.and_then(|one| known.remove(&one));
        }
        known.insert(of.effect, Put::all(questions));
        Ok(())
    }
}

/// The answer that began a task: its questions are told by polls, where they are judged
#[must_use]
pub fn begun(answer: &[u8], sealed: &str) -> Vec<u8> {
    let Ok(message) = Message::read_answer(answer, &answer_limits()) else { return answer.to_vec() };
    let mut edit = Edit::new(answer, &message);
    edit.set(&["result", "taskId"], &quoted(sealed));
    edit.remove(&["result", "inputRequests"]);
    edit.done()
}

/// The answer, with the id of a task as its client knows it
fn with_task(answer: Vec<u8>, sealed: &str) -> Vec<u8> {
    let Ok(message) = Message::read_answer(&answer, &answer_limits()) else { return answer };
    if message.result().and_then(|result| result.get("taskId")).is_none() {
        return answer;
    }
    let mut edit = Edit::new(&answer, &message);
    edit.set(&["result", "taskId"], &quoted(sealed));
    edit.done()
}
