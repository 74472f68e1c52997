//! How an agent hears of a call that waits for people, in whichever way it can.
//!
//! What its own client answers counts for nothing: it only brings the call back, and that is judged anew.

use crate::{
    asks::Bound,
    client::Client,
    door::Door,
    elevating::name_at,
    outcomes::Outcomes,
    outlet::Last,
    session::Session,
    using::Back,
    waiting::{Patience, Waiting},
};
use bytes::Bytes;
use portreeve_core::{
    judge::Ticket,
    names::{HoldId, RunId, TaskId},
    reason::{Reason, Word},
    state::Phase,
    time::Millis,
};
use portreeve_identity::seal::Sealer;
use portreeve_mcp::{
    can::Can,
    method::Method,
    outcome::{self, Question},
    reply::{
        Hint,
        people::{Pending, answered},
    },
    version::{Era, Version},
};
use portreeve_upstream::clock::SteadyClock;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

/// What agents are told of questions to people
#[derive(Debug)]
pub struct Holds {
    /// Those who wait
    pub waiting: Waiting,
    /// What came of those that were used
    pub outcomes: Arc<Outcomes>,
    door: Door,
    sealer: Arc<Sealer>,
    clock: SteadyClock,
    /// Where people answer, without a slash at its end
    console: String,
    /// How long a request waits
    wait: Duration,
    /// Sessions that are told when a question is answered; held only for a look-up
    told: Arc<Mutex<HashSet<(String, HoldId)>>>,
}

/// What a client brings back to a call that waited for people
#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    /// Which call
    of: Bound,
    /// The question
    hold: HoldId,
    /// When this is over
    until: Millis,
    /// What it had brought back already from a question of its connector
    brought: Option<Back>,
}

/// What was brought back, and is good
#[derive(Debug)]
pub struct Returned {
    /// What it had brought back before
    pub brought: Option<Back>,
}

/// Makes the answer for the request of this id
pub type Telling = Box<dyn FnOnce(&str) -> Last + Send>;

const KIND: &str = "hold";
/// Bytes of a state at most: it goes through the client, and back in a request
const STATE_BYTES_MAX: usize = 256 << 10;
/// Sessions that are told of questions at once
const TOLD_MAX: usize = 4_096;

impl Holds {
    /// Nobody waits yet
    #[must_use]
    pub fn new(door: Door, sealer: Arc<Sealer>, clock: SteadyClock, console: String, wait: Duration) -> Arc<Self> {
        let (waiting, outcomes) = (Waiting::new(door.clone()), Arc::default());
        Arc::new(Self { waiting, outcomes, door, sealer, clock, console, wait, told: Arc::default() })
    }

    /// What time it is
    #[must_use]
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// How long a request waits for people
    #[must_use]
    pub fn patience(&self) -> Patience {
        Patience::of(self.wait)
    }

    /// A question in the words of whoever waits for it
    #[must_use]
    pub fn pending(&self, ticket: &Ticket, what: &'static str, lapsed: bool) -> Pending {
        let code = ticket.hold.code();
        let mut who: Vec<String> = ticket.questions.iter().map(|question| question.quorum.who.to_string()).collect();
        who.sort();
        who.dedup();
        Pending {
            hold: ticket.hold.to_string(),
            url: format!("{}/approvals/{code}", self.console),
            code,
            until: ticket.until.rfc3339(),
            who,
            lapsed,
            what,
        }
    }

    /// Tells a client that people are asked, in the way that it can follow
    #[must_use]
    pub fn tell(
        &self,
        client: &Client,
        method: Method,
        (ticket, pending): (&Ticket, Pending),
        of: Bound,
        brought: Option<&Back>,
    ) -> Telling {
        let era = client.era();
        let opens = client.can.has(Can::URL) && !pending.lapsed;
        let question = || Question { key: pending.code.clone(), method: Method::Elicit, params: pending.elicitation() };
        if opens && era == Era::Modern && method.may_ask() {
            let state = State { of, hold: ticket.hold, until: ticket.until, brought: brought.cloned() };
            if let Some(state) = self.seal(&state) {
                let question = question();
                return Box::new(move |id| Last::ok(outcome::input_required(id, &[question], Some(&state))));
            }
        }
        if opens && client.version == Version::November2025 && method.may_ask() {
            let question = question();
            if let Some(session) = &client.session {
                self.tells_when_answered(session, ticket.hold, pending.code.clone());
            }
            return Box::new(move |id| Last::ok(outcome::urls_required(id, &[question])));
        }
        match method {
            Method::CallTool => Box::new(move |id| Last::ok(pending.told(id, era))),
            _ => Box::new(move |id| Last::ok(pending.error(id))),
        }
    }

    /// What a client brought back, if it is of this kind
    ///
    /// # Errors
    /// It belongs to something else, or is too old.
    pub fn open(&self, state: &str, is_of: impl FnOnce(&Bound) -> bool) -> Option<Result<Returned, &'static str>> {
        let state: State = serde_json::from_slice(&self.sealer.open(KIND, state)?).ok()?;
        Some(if !is_of(&state.of) {
            Err("this requestState belongs to another call")
        } else if state.until <= self.clock.now() {
            Err("what this requestState waited for is over; call again without it")
        } else {
            Ok(Returned { brought: state.brought })
        })
    }

    /// What there is to say of a refusal beside its reasons
    pub async fn hint(&self, run: RunId, at: &str, reasons: &[Reason]) -> Hint {
        let (mut class, mut nobody) = (false, false);
        for reason in reasons {
            class |= reason.word == Word::ClassNotOpen;
            nobody |= reason.word == Word::NobodyToAsk;
        }
        if !class && !nobody {
            return Hint::default();
        }
        let (task, elevates) = self.task_of(run).await;
        Hint {
            elevation: (class && elevates).then(|| name_at(at).to_owned()),
            page: task.filter(|_| nobody).map(|task| format!("{}/tasks/{task}", self.console)),
        }
    }

    /// The task of a run, and whether its purpose opens classes for a while
    pub async fn task_of(&self, run: RunId) -> (Option<TaskId>, bool) {
        let found = self.door.ask(move |engine| {
            let state = engine.state();
            let task = state.task_of(run);
            let purpose = task.and_then(|task| state.task(task)).map(|task| &task.purpose);
            let purpose = purpose.and_then(|purpose| engine.shelf().current(state)?.purposes.get(purpose));
            (task, purpose.is_some_and(|purpose| purpose.elevate.is_some()))
        });
        found.await.unwrap_or_default()
    }

    fn seal(&self, state: &State) -> Option<String> {
        let sealed = self.sealer.seal(KIND, &serde_json::to_vec(state).ok()?)?;
        (sealed.len() <= STATE_BYTES_MAX).then_some(sealed)
    }

    /// Tells a session, if it has a stream then, that a page that it was sent to needs no answer any more
    fn tells_when_answered(&self, session: &Arc<Session>, hold: HoldId, elicitation: String) {
        let key = (session.id.clone(), hold);
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() >= TOLD_MAX || !told.insert(key.clone()) {
                return;
            }
        }
        let (door, told, session) = (self.door.clone(), Arc::clone(&self.told), Arc::downgrade(session));
        tokio::spawn(async move {
            let is_answered = closed(&door, hold).await;
            told.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            if is_answered && let Some(session) = Weak::upgrade(&session) {
                let _ = session.tell(&Bytes::from(answered(&elicitation)));
            }
        });
    }
}

/// Returns once nobody has to answer a question any more, and says whether that is because people did
async fn closed(door: &Door, id: HoldId) -> bool {
    let mut changes = door.question(id);
    loop {
        changes.mark_unchanged();
        let look = door.ask(move |engine| {
            let state = engine.state();
            let Some(hold) = state.hold(id) else { return Some(false) };
            if hold.phase != Phase::Open {
                return Some(!matches!(hold.phase, Phase::Over { .. }));
            }
            let bundle = engine.shelf().current(state)?;
            let enough = |question| {
                let counting = state.counting(bundle, (hold, question), state.time()).len();
                counting >= usize::from(question.quorum.people)
            };
            let all = hold.held.questions.iter().all(enough);
            Some(all).filter(|all| *all)
        });
        match look.await {
            None => return false,
            Some(Some(answered)) => return answered,
            Some(None) => {}
        }
        if !changes.changed().await {
            return false;
        }
    }
}
