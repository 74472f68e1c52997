//! What connectors ask of the client on the way: sampling, elicitation, roots.
//!
//! A question is judged before the client sees it, and its answer once more, as an effect of its own, before it
//! leaves for the connector. A client with a session is asked on the stream of its request. One without is told
//! `input_required` and comes back; what it brings back is sealed, and bound to the run, the call and its arguments.

use crate::{
    catalogue::Catalogue,
    client::{Client, Waits},
    door::Door,
    outlet::Last,
    points::Points,
    session::Answered,
    tasks::draw,
};
use portreeve_core::{
    engine::{Permit, Reply},
    event::End,
    hash::Hash,
    json::{Limits, scan},
    names::{EffectId, Name, RunId, Tool, ToolName},
    reason::{Reason, Word},
    request::{Call, Request, Settle},
    value::Value,
};
use portreeve_identity::seal::Sealer;
use portreeve_mcp::{
    method::Method,
    outcome::{self, Question},
    reply,
    version::Era,
};
use portreeve_upstream::{event::Ask, latch::Latches};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::oneshot;

/// Questions to clients
#[derive(Debug)]
pub struct Asks {
    door: Door,
    latches: Arc<Latches>,
    catalogue: Arc<Catalogue>,
    points: Arc<Points>,
    sealer: Arc<Sealer>,
    // Held only for a look-up, never across an await.
    held: Mutex<HashMap<EffectId, Arc<Held>>>,
}

/// What a client brings back to a call that asked it something
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Brought {
    /// Which call
    #[serde(flatten)]
    pub of: Bound,
    /// Whether the connector still waits for the answer
    pub held: bool,
    /// Whether the answers go to the connector; one of the era with sessions only wants to be called again
    pub leaves: bool,
    /// What was asked, by key
    pub questions: BTreeMap<String, Put>,
    /// What the connector itself wants back
    pub state: Option<String>,
}

/// The call that a question belongs to
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Its effect
    pub effect: EffectId,
    /// The run that made it
    pub run: RunId,
    /// Through which endpoint
    pub at: String,
    /// Of which connector
    pub connector: Name,
    /// What was called
    pub tool: ToolName,
    /// With which arguments
    pub arguments: Hash,
}

/// A question as it was put
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Put {
    /// Its method
    pub method: String,
    /// Its parameters, raw
    pub params: String,
}

/// A call whose connector waits while its client is away
#[derive(Debug)]
struct Held {
    of: Bound,
    client: Arc<Client>,
    // Held only to put something in or take it out.
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    questions: BTreeMap<String, Open>,
}

#[derive(Debug)]
struct Open {
    put: Put,
    answer: oneshot::Sender<Answered>,
    /// Whether the client was told of it
    told: bool,
}

/// An answer that was admitted: as long as this lives, it is not settled
#[derive(Debug)]
pub struct Leaving {
    effect: EffectId,
    bytes: u64,
}

impl Leaving {
    /// The effect that it is
    #[must_use]
    pub fn effect(&self) -> EffectId {
        self.effect
    }
}

const KIND: &str = "state";
/// Bytes of the state that a client is given at most
const STATE_BYTES_MAX: usize = 256 << 10;
/// Questions of one call that wait at once
const WAITING_MAX: usize = 16;
/// How often outside decision points are asked for one question
const ROUNDS_MAX: usize = 3;

impl Asks {
    /// Nobody is asked yet
    #[must_use]
    pub fn new(
        (door, latches): (Door, Arc<Latches>),
        catalogue: Arc<Catalogue>,
        points: Arc<Points>,
        sealer: Arc<Sealer>,
    ) -> Arc<Self> {
        Arc::new(Self { door, latches, catalogue, points, sealer, held: Mutex::default() })
    }

    /// What a client brought, if it is ours
    #[must_use]
    pub fn open(&self, state: &str) -> Option<Brought> {
        serde_json::from_slice(&self.sealer.open(KIND, state)?).ok()
    }

    /// What a client has to bring back; nothing if that would be too much
    #[must_use]
    pub fn seal(&self, brought: &Brought) -> Option<String> {
        let sealed = self.sealer.seal(KIND, &serde_json::to_vec(brought).ok()?);
        (sealed.len() <= STATE_BYTES_MAX).then_some(sealed)
    }

    /// A connector asks something while it works on a call; its answer is given here
    pub async fn asked(self: Arc<Self>, mut ask: Ask, of: Bound, client: Arc<Client>) {
        let (method, params) = (ask.method, ask.params.clone());
        let refused = |reasons: &[Reason]| {
            let why = reasons.first().map_or_else(String::new, |reason| reason.word.to_string());
            (reply::REFUSED, format!("refused by policy: {why}"))
        };
        if let Err(reasons) = self.may(of.run, &of.connector, method, &params).await {
            self.refused(&of, method, &reasons);
            let _ = ask.answer(Err(refused(&reasons)), None).await;
            return;
        }
        let put = async {
            match client.era() {
                Era::Legacy => client.ask(&Question { key: String::new(), method, params: params.clone() }).await,
                Era::Modern => {
                    let put = Put { method: method.as_str().to_owned(), params: params.clone() };
                    self.hold(&of, &client, put).await
                }
            }
        };
        let answered = tokio::select! {
            answered = put => answered,
            () = ask.withdrawn() => return,
        };
        let valid = |result: &String| {
            let json = scan(result.as_bytes(), &Limits::DEFAULT).ok();
            json.is_some_and(|json| outcome::check_answer(method, &json).is_ok())
        };
        if let Some(Ok(result)) = &answered
            && !valid(result)
        {
            let why = "the client's answer is none to this question".to_owned();
            let _ = ask.answer(Err((-32_603, why)), None).await;
            return;
        }
        match answered {
            None => {
                let _ = ask.answer(Err((-32_603, "the client gave no answer".to_owned())), None).await;
            }
            // Its text is the client's; the code says enough.
            Some(Err((code, _))) => {
                let _ = ask.answer(Err((code, "the client answered with an error".to_owned())), None).await;
            }
            Some(Ok(result)) => {
                // In a task of its own: a connector that has its answer may be done before this is settled.
                let leaving = tokio::spawn(async move {
                    match self.admit(of.run, &of.connector, method, &params, Some(&result)).await {
                        Ok((permit, leaving)) => {
                            let pass = self.latches.pass(permit);
                            let sent = ask.answer(Ok(result), Some(pass)).await;
                            self.settle(leaving, sent.map_err(|failure| failure.to_string()));
                        }
                        Err(reasons) => {
                            let _ = ask.answer(Err(refused(&reasons)), None).await;
                        }
                    }
                });
                let _ = leaving.await;
            }
        }
    }

    /// Whether a connector may ask the client this, or the client use what has no message of its own
    ///
    /// # Errors
    /// Why not.
    pub async fn may(&self, run: RunId, connector: &Name, method: Method, params: &str) -> Result<(), Vec<Reason>> {
        let mut call = self.call(run, connector, method, params, None)?;
        for _ in 0..ROUNDS_MAX {
            match self.door.submit(Request::Ask(call.clone())).await {
                Reply::Clear => return Ok(()),
                Reply::Consult(askings) => call.answers.extend(self.points.ask(call.effect, askings).await),
                Reply::Refused(reasons) => return Err(reasons),
                _ => break,
            }
        }
        Err(vec![Reason::new(Word::OutsideSilent, &call.tool)])
    }

    /// Leave for an answer to go to the connector
    ///
    /// # Errors
    /// Why it may not.
    pub async fn admit(
        &self,
        run: RunId,
        connector: &Name,
        method: Method,
        params: &str,
        answer: Option<&str>,
    ) -> Result<(Permit, Leaving), Vec<Reason>> {
        let mut call = self.call(run, connector, method, params, answer)?;
        for _ in 0..ROUNDS_MAX {
            match self.door.submit(Request::Call(call.clone())).await {
                Reply::Permit(permit) => {
                    return Ok((permit, Leaving { effect: call.effect, bytes: answer.map_or(0, str::len) as u64 }));
                }
                Reply::Consult(askings) => call.answers.extend(self.points.ask(call.effect, askings).await),
                Reply::Refused(reasons) => return Err(reasons),
                _ => break,
            }
        }
        Err(vec![Reason::new(Word::OutsideSilent, &call.tool)])
    }

    /// Leave for all the answers that ride on one message
    ///
    /// # Errors
    /// Why one of them may not leave; then none does.
    pub async fn admit_all(&self, of: &Bound, answers: &[(Put, String)]) -> Result<Vec<Leaving>, Vec<Reason>> {
        let mut leaving = Vec::new();
        for (put, answer) in answers {
            let admitted = match Method::read(&put.method) {
                Some(method) => self.admit(of.run, &of.connector, method, &put.params, Some(answer)).await,
                None => Err(vec![Reason::new(Word::MethodNotEnforced, &of.connector)]),
            };
            match admitted {
                // The message that they ride on rests on the same nodes.
                Ok((_permit, one)) => leaving.push(one),
                Err(reasons) => {
                    for one in leaving {
                        self.settle(one, Err("another answer of the same message was refused".to_owned()));
                    }
                    return Err(reasons);
                }
            }
        }
        Ok(leaving)
    }

    /// Records how the leaving of an answer ended
    pub fn settle(&self, leaving: Leaving, sent: Result<(), String>) {
        let end = match sent {
            Ok(()) => {
                End::Done { ok: true, bytes: leaving.bytes, result: None, returned: BTreeMap::new(), process: None }
            }
            Err(why) => End::NotSent { why },
        };
        self.door.later(Request::Settle(Settle::new(leaving.effect, end)));
    }

    /// Records that nobody can know whether an answer arrived
    pub fn settle_unknown(&self, leaving: &Leaving, why: &str) {
        let end = End::Unknown { why: why.to_owned() };
        self.door.later(Request::Settle(Settle::new(leaving.effect, end)));
    }

    /// A client comes back to a call whose connector waits; gives the request back if there is none
    ///
    /// # Errors
    /// The request: nothing waits for it any more.
    pub async fn resume(
        &self,
        brought: &Brought,
        answers: BTreeMap<String, String>,
        waits: Waits,
    ) -> Result<(), Waits> {
        let held = self.held().get(&brought.of.effect).cloned();
        let Some(held) = held.filter(|held| held.of == brought.of) else { return Err(waits) };
        held.client.resume(waits);
        {
            let mut waiting = held.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, answer) in answers {
                if let Some(open) = waiting.questions.remove(&key) {
                    let _ = open.answer.send(Ok(answer));
                }
            }
            // What was not answered is asked again.
            waiting.questions.values_mut().for_each(|open| open.told = false);
        }
        self.tell(&held).await;
        Ok(())
    }

    /// A call is over: whoever comes back to it finds nothing
    pub fn over(&self, effect: EffectId) {
        self.held().remove(&effect);
    }

    /// Tells the client what is asked, and waits until it comes back
    async fn hold(&self, of: &Bound, client: &Arc<Client>, put: Put) -> Option<Answered> {
        let held = {
            let mut held = self.held();
            let held = held.entry(of.effect).or_insert_with(|| {
                Arc::new(Held { of: of.clone(), client: Arc::clone(client), waiting: Mutex::default() })
            });
            Arc::clone(held)
        };
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = held.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.questions.len() >= WAITING_MAX {
                return None;
            }
            waiting.next += 1;
            let key = waiting.next.to_string();
            waiting.questions.insert(key, Open { put, answer, told: false });
        }
        self.tell(&held).await;
        tokio::time::timeout(crate::client::HELD_MAX, answered).await.ok()?.ok()
    }

    /// Tells the client what it has not been told, if it waits for something now
    async fn tell(&self, held: &Held) {
        let Some(waits) = held.client.take() else { return };
        let (questions, put): (Vec<Question>, BTreeMap<String, Put>) = {
            let mut waiting = held.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let untold = waiting.questions.iter_mut().filter(|(_, open)| !open.told);
            untold
                .filter_map(|(key, open)| {
                    open.told = true;
                    let method = Method::read(&open.put.method)?;
                    let question = Question { key: key.clone(), method, params: open.put.params.clone() };
                    Some((question, (key.clone(), open.put.clone())))
                })
                .unzip()
        };
        if questions.is_empty() {
            return held.client.resume(waits);
        }
        let brought = Brought { of: held.of.clone(), held: true, leaves: true, questions: put, state: None };
        let message = match self.seal(&brought) {
            Some(state) => outcome::input_required(&waits.id, &questions, Some(&state)),
            None => reply::error(Some(&waits.id), -32_603, "the question is longer than the limit", None),
        };
        waits.outlet.last(Last::ok(message)).await;
    }

    /// The call that a question, or its answer, is judged as
    fn call(
        &self,
        run: RunId,
        connector: &Name,
        method: Method,
        params: &str,
        answer: Option<&str>,
    ) -> Result<Call, Vec<Reason>> {
        let unavailable = |why: String| vec![Reason::new(Word::RecordUnavailable, "randomness").with("why", why)];
        let name: ToolName = method.as_str().parse().map_err(|_| unavailable("no name".to_owned()))?;
        let tool = Tool { connector: connector.clone(), name };
        let unreadable = || vec![Reason::new(Word::ArgumentOutsideTask, &tool).with("argument", "params")];
        let read = |text: &str| {
            let json = scan(text.as_bytes(), &Limits::DEFAULT).map_err(|_| unreadable())?;
            json.to_value().map_err(|_| unreadable())
        };
        let Value::Object(mut arguments) = read(params)? else { return Err(unreadable()) };
        arguments.remove("_meta");
        if let Some(answer) = answer {
            arguments.insert("answer".to_owned(), read(answer)?);
        }
        let fit = self.catalogue.view().fit(&tool, &Value::Object(arguments.clone()));
        let effect = EffectId(draw().map_err(unavailable)?);
        Ok(Call { effect, run, tool, arguments, fit, answers: Vec::new(), continues: None })
    }

    fn refused(&self, of: &Bound, method: Method, reasons: &[Reason]) {
        let Some(reason) = reasons.first().cloned() else { return };
        let what = format!("{}.{}", of.connector, method.as_str());
        let refusal = portreeve_core::request::Refusal { run: of.run, what, reason };
        self.door.later(Request::Refused(refusal));
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<EffectId, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
