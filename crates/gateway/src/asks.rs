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
use portreeve_upstream::{event::Ask, http::Failure, latch::Latches};
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

/// An answer that was admitted, and has to be settled
#[derive(Debug)]
#[must_use = "what was admitted has to be settled"]
pub struct Leaving {
    effect: EffectId,
}

impl Put {
    /// A question, as it is put
    #[must_use]
    pub fn of(question: &Question) -> Self {
        Self { method: question.method.as_str().to_owned(), params: question.params.clone() }
    }

    /// Questions, as they are put, by key
    #[must_use]
    pub fn all(questions: &[Question]) -> BTreeMap<String, Self> {
        questions.iter().map(|question| (question.key.clone(), Self::of(question))).collect()
    }
}

/// Whether a client's result answers a question of this kind
#[must_use]
pub fn is_answer(method: Method, answer: &str) -> bool {
    let json = scan(answer.as_bytes(), &Limits::DEFAULT).ok();
    json.is_some_and(|json| outcome::check_answer(method, &json).is_ok())
}

/// How an effect without an answer of its own ended
#[must_use]
pub fn end_of(sent: Result<(), &Failure>) -> End {
    match sent {
        Ok(()) => done(true),
        Err(Failure::NotSent(why)) => End::NotSent { why: why.clone() },
        Err(Failure::Rejected(_)) => done(false),
        Err(Failure::Lost(why)) => End::Unknown { why: why.clone() },
    }
}

/// An end that nothing came back with
#[must_use]
pub fn done(ok: bool) -> End {
    End::Done { ok, bytes: 0, result: None, returned: BTreeMap::new(), process: None }
}

fn not_permitted(reasons: &[Reason]) -> (i64, String) {
    let why = reasons.first().map_or_else(String::new, |reason| reason.word.to_string());
    (reply::REFUSED, format!("refused by policy: {why}"))
}

/// A decision point had no answer, however often it was asked
fn silent(call: &Call) -> Vec<Reason> {
    vec![Reason::new(Word::OutsideSilent, &call.tool)]
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
        let sealed = self.sealer.seal(KIND, &serde_json::to_vec(brought).ok()?)?;
        (sealed.len() <= STATE_BYTES_MAX).then_some(sealed)
    }

    /// A connector asks something while it works on a call; its answer is given here
    pub async fn asked(self: Arc<Self>, mut ask: Ask, of: Bound, client: Arc<Client>) {
        let (method, params) = (ask.method, ask.params.clone());
        if let Err(reasons) = self.may(of.run, &of.connector, method, &params).await {
            self.refused(&of, method, &reasons);
            let _ = ask.answer(Err(not_permitted(&reasons)), None).await;
            return;
        }
        let question = Question { key: String::new(), method, params };
        let put = async {
            match client.era() {
                Era::Legacy => client.ask(&question).await,
                Era::Modern => self.hold(&of, &client, Put::of(&question)).await,
            }
        };
        let answered = tokio::select! {
            answered = put => answered,
            () = ask.withdrawn() => return,
        };
        match answered {
            Some(Ok(result)) if !is_answer(method, &result) => {
                let why = "the client's answer is none to this question".to_owned();
                let _ = ask.answer(Err((-32_603, why)), None).await;
            }
            None => {
                let _ = ask.answer(Err((-32_603, "the client gave no answer".to_owned())), None).await;
            }
            // Its text is the client's; the code says enough.
            Some(Err((code, _))) => {
                let _ = ask.answer(Err((code, "the client answered with an error".to_owned())), None).await;
            }
            Some(Ok(result)) => {
                // In a task of its own: what is admitted is settled, also if the call is over before.
                let asks = Arc::clone(&self);
                tokio::spawn(async move { asks.leave(ask, of, result).await });
            }
        }
    }

    /// Lets an answer leave for a connector that waits for it
    async fn leave(&self, ask: Ask, of: Bound, result: String) {
        let (method, params) = (ask.method, ask.params.clone());
        match self.admit(of.run, &of.connector, method, &params, Some(&result)).await {
            Ok((permit, leaving)) => {
                let pass = self.latches.pass(permit);
                let sent = ask.answer(Ok(result), Some(pass)).await;
                self.settle(leaving, end_of(sent.as_ref().copied()));
            }
            Err(reasons) => {
                self.refused(&of, method, &reasons);
                let _ = ask.answer(Err(not_permitted(&reasons)), None).await;
            }
        }
    }

    /// Whether a connector may ask the client this, or the client use what has no message of its own
    ///
    /// # Errors
    /// Why not.
    pub async fn may(&self, run: RunId, connector: &Name, method: Method, params: &str) -> Result<(), Vec<Reason>> {
        let mut call = self.call(run, connector, method, params, None)?;
        match self.judged(&mut call, Request::Ask).await? {
            Reply::Prepare(_) => Ok(()),
            _ => Err(silent(&call)),
        }
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
        let call = self.call(run, connector, method, params, answer)?;
        self.begun(call).await
    }

    /// Leave for something that the client began with a message of another kind, on a connection made with this lease
    ///
    /// # Errors
    /// Why it may not.
    pub async fn begin(
        &self,
        run: RunId,
        connector: &Name,
        (method, params): (Method, &str),
        lease: Option<EffectId>,
    ) -> Result<(Permit, Leaving), Vec<Reason>> {
        let call = self.call(run, connector, method, params, None)?;
        self.begun(Call { lease, ..call }).await
    }

    async fn begun(&self, mut call: Call) -> Result<(Permit, Leaving), Vec<Reason>> {
        match self.judged(&mut call, Request::Call).await? {
            Reply::Permit(permit) => Ok((permit, Leaving { effect: call.effect })),
            _ => Err(silent(&call)),
        }
    }

    /// What the door says, once everybody outside who has to be asked before was asked
    async fn judged(&self, call: &mut Call, request: fn(Call) -> Request) -> Result<Reply, Vec<Reason>> {
        for _ in 0..ROUNDS_MAX {
            match self.door.submit(request(call.clone())).await {
                Reply::Consult(askings) => call.answers.extend(self.points.ask(call.effect, askings).await),
                Reply::Refused(reasons) => return Err(reasons),
                reply => return Ok(reply),
            }
        }
        Err(silent(call))
    }

    /// Leave for all the answers that ride on one message
    ///
    /// # Errors
    /// Why one of them may not leave; then none does.
    pub async fn admit_all(
        &self,
        run: RunId,
        connector: &Name,
        answers: impl IntoIterator<Item = &(Put, String)>,
    ) -> Result<(Vec<Permit>, Vec<Leaving>), Vec<Reason>> {
        let (mut permits, mut leaving) = (Vec::new(), Vec::new());
        for (put, answer) in answers {
            let admitted = match Method::read(&put.method) {
                Some(method) => self.admit(run, connector, method, &put.params, Some(answer)).await,
                None => Err(vec![Reason::new(Word::MethodNotEnforced, connector)]),
            };
            match admitted {
                Ok((permit, one)) => {
                    permits.push(permit);
                    leaving.push(one);
                }
                Err(reasons) => {
                    let why = "another answer of the same message was refused".to_owned();
                    leaving.into_iter().for_each(|one| self.settle(one, End::NotSent { why: why.clone() }));
                    return Err(reasons);
                }
            }
        }
        Ok((permits, leaving))
    }

    /// Records how the leaving of an answer ended
    pub fn settle(&self, leaving: Leaving, end: End) {
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
        if let Some(Waits { id, outlet, .. }) = held.client.resume(waits) {
            let text =
                reply::error(Some(&id), -32_600, "another request with the same requestState took its place", None);
            outlet.last(Last::ok(text)).await;
        }
        {
            let mut waiting = held.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, answer) in answers {
                if let Some(open) = waiting.questions.remove(&key) {
                    let _ = open.answer.send(Ok(answer));
                }
            }
            // What was not answered is asked again, unless nobody wants to know it any more.
            waiting.questions.retain(|_, open| !open.answer.is_closed());
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
            waiting.questions.retain(|_, open| !open.answer.is_closed());
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
            drop(held.client.resume(waits));
            return;
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
        Ok(Call { effect, run, tool, arguments, fit, answers: Vec::new(), continues: None, before: None, lease: None })
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
