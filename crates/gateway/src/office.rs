//! Where people work: what waits for them, what they answer, what they stop.
//!
//! The console, the command line, the API and messages all stand on it, so that they show the same thing. Whether
//! somebody may answer is judged at the door, each time anew; here it only shows, and what is said is signed.

mod holds;
pub mod outcome;
mod past;
mod tasks;
pub mod view;

use crate::{
    catalogue::Catalogue,
    door::{Door, TheEngine},
    failure::Failure,
    sign_in::SignIns,
    tasks::draw,
};
use axum::http::StatusCode;
use past::Past;
use portreeve_core::{
    engine::Reply,
    event::{Actor, How, Question, Signed},
    hash::Hash,
    judge::{may_answer, may_review, may_stop},
    names::{GrantId, HoldId, Name, TaskId},
    node::{Node, Why},
    policy::{Bundle, Deed, PersonRole},
    reason::{Reason, Word},
    request::{self, Claimed, Doing, Request, Review, Stop},
    state::{Hold, State},
    time::Millis,
};
use portreeve_identity::{
    Bearer,
    answer::{self as said, Statement},
    attest::{self, Attested, Checkpoint},
    key::PublicKey,
    keyring::Ring,
    link::{Invited, LIFETIME_MS, Links},
    passkey::{Assertion, Checked, Passkey, Passkeys, RelyingParty},
};
use portreeve_log::Reader as LogReader;
use portreeve_upstream::clock::SteadyClock;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{RwLock, watch};
use view::{HoldState, HoldView, Reader, Reflex, ReviewView, StopView, TaskRow, TaskView};

/// What people do, whichever way they come in
pub struct Office {
    door: Door,
    catalogue: Arc<Catalogue>,
    clock: SteadyClock,
    ring: Arc<Ring>,
    /// Held for reading from before an answer is signed until it is recorded
    answering: Arc<RwLock<()>>,
    links: Arc<Links>,
    passkeys: Arc<Passkeys>,
    sign_ins: Arc<SignIns>,
    /// The site that passkeys are for; none where no browser would use one
    party: Option<RelyingParty>,
    past: Past,
    tenant: Name,
    base: String,
}

/// Who is there
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user of the policy
    pub user: Name,
    /// Since which change of the policy they bear the name
    pub generation: u64,
    /// How they are known
    pub how: How,
    /// What they may do, by the policy in force
    pub roles: BTreeSet<PersonRole>,
}

impl Person {
    /// Whether a role of theirs lets them do something; whether it does when they do it is judged then
    #[must_use]
    pub fn may(&self, deed: Deed) -> bool {
        deed.roles().iter().any(|role| self.roles.contains(role))
    }

    /// Who bears the name, so that nobody is taken for them who had it before
    #[must_use]
    pub fn bearer(&self) -> Bearer {
        Bearer { user: self.user.clone(), generation: self.generation }
    }
}

/// An answer to a question
#[derive(Clone, Debug)]
pub struct Answering {
    /// Which question
    pub hold: HoldId,
    /// The digest of what was shown
    pub binding: Hash,
    /// Yes or no
    pub yes: bool,
    /// Why; a no has to say it
    pub why: String,
    /// How long they had it in front of them, in milliseconds, if that was measured
    pub read_ms: Option<u64>,
    /// What their passkey signed, if it was used for this very answer
    pub passkey: Option<PasskeyUse>,
}

/// A passkey was used for a statement
#[derive(Clone, Debug)]
pub struct PasskeyUse {
    /// The time that stands in the statement
    pub at: Millis,
    /// What the browser answered
    pub assertion: Assertion,
}

/// Who looks: somebody of the policy, or the owner of the data folder, who sees everything
#[derive(Clone, Debug)]
pub(crate) struct Eyes {
    pub(crate) user: Option<Name>,
    pub(crate) how: How,
    everything: bool,
}

impl Eyes {
    /// The owner of the data folder, at the socket
    pub(crate) fn owner(user: Option<Name>) -> Self {
        Self { user, how: How::Socket, everything: true }
    }

    /// Whether a role, or the account, lets them see what is everybody's
    pub(crate) fn sees_everything(&self) -> bool {
        self.everything
    }

    /// Whether the review of an emergency is theirs to see: all, or one that they are part of
    fn sees_review(
        &self,
        (state, bundle): (&State, Option<&Bundle>),
        review: &portreeve_core::state::Review,
        now: Millis,
    ) -> bool {
        let Some(user) = self.user.as_ref().filter(|_| !self.everything) else { return self.everything };
        bundle.is_some_and(|bundle| state.member(bundle, user, &review.group, now).is_some())
            || review.opener.as_ref() == Some(user)
            || review.user.as_ref() == Some(user)
            || review.approvers.contains(user)
    }

    /// Whether a question is theirs to see: their own, or one that they are asked
    fn sees(&self, state: &State, bundle: Option<&Bundle>, hold: &Hold, now: Millis) -> bool {
        let Some(user) = self.user.as_ref().filter(|_| !self.everything) else { return self.everything };
        let held = &hold.held;
        let asked = || {
            let asks =
                |question: &Question| bundle.is_some_and(|of| state.is_approver(of, user, &question.quorum.who, now));
            held.questions.iter().any(asks)
        };
        let task = held.task.and_then(|task| state.task(task));
        held.user.as_ref() == Some(user)
            || held.own.contains(user)
            || hold.answers.contains_key(user)
            || task.is_some_and(|task| task.opener.as_ref() == Some(user))
            || asked()
    }

    /// Whether what a task has done so far is shown to them with a question: as long as they need it to answer
    fn sees_steps(&self, state: &State, hold: &Hold, now: Millis) -> bool {
        let Some(user) = self.user.as_ref().filter(|_| !self.everything) else { return self.everything };
        let held = &hold.held;
        let task = held.task.and_then(|task| state.task(task));
        hold.is_open(now)
            || hold.answers.contains_key(user)
            || held.user.as_ref() == Some(user)
            || task.is_some_and(|task| task.opener.as_ref() == Some(user))
    }

    /// Whether all that a task did is theirs to see; whoever is only asked about a call of it sees it with the question
    pub(crate) fn sees_task(&self, state: &State, bundle: Option<&Bundle>, id: TaskId, now: Millis) -> bool {
        let Some(user) = self.user.as_ref().filter(|_| !self.everything) else { return self.everything };
        let Some(task) = state.task(id) else { return false };
        task.user.as_ref() == Some(user)
            || task.opener.as_ref() == Some(user)
            || state.reviews().any(|(of, review)| {
                of == id && bundle.is_some_and(|of| state.member(of, user, &review.group, now).is_some())
            })
    }
}

impl From<&Person> for Eyes {
    fn from(person: &Person) -> Self {
        Self { user: Some(person.user.clone()), how: person.how.clone(), everything: person.may(Deed::Tasks) }
    }
}

/// Records of a task that are read for one question
const RECORDS_OF_HOLD: usize = 400;
/// Records of a task that are shown in its timeline
const RECORDS_OF_TASK: usize = 1_000;
/// Questions in one list at most
const HOLDS_SHOWN_MAX: usize = 2_000;
/// Tasks in one list at most
const TASKS_SHOWN_MAX: usize = 2_000;
/// How long a stop waits for what is under way
const SETTLE: Duration = Duration::from_secs(5);
/// How long it waits for calls to be cancelled and children to be dead
const CLEAR: Duration = Duration::from_secs(8);
/// How far the time in a statement that a passkey signed may be away from now, in milliseconds
const SIGNED_MS_MAX: i64 = 5 * 60 * 1_000;

impl Office {
    /// The office of a data folder, whose answers are signed with the current key of `ring`
    ///
    /// Nothing if the door has ended already.
    pub(crate) async fn open(
        door: Door,
        catalogue: Arc<Catalogue>,
        clock: SteadyClock,
        (ring, answering, passkeys): (Arc<Ring>, Arc<RwLock<()>>, Passkeys),
        sign_ins: Arc<SignIns>,
        (data, base): (PathBuf, String),
    ) -> Option<Arc<Self>> {
        let origin = door.ask(|engine| engine.state().origin()).await?;
        let tenant = origin.to_string().parse().ok()?;
        let (links, past, passkeys) = (Arc::<Links>::default(), Past::new(data), Arc::new(passkeys));
        let party = RelyingParty::of_origin(&base).ok();
        Some(Arc::new(Self {
            door,
            catalogue,
            clock,
            ring,
            answering,
            links,
            passkeys,
            sign_ins,
            party,
            past,
            tenant,
            base,
        }))
    }

    /// The time, by the clock of the record
    #[must_use]
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// The data folder
    pub(crate) fn data(&self) -> &std::path::Path {
        self.past.data()
    }

    /// Signs what this data folder says of a record
    ///
    /// # Errors
    /// The answer key does not sign.
    pub(crate) async fn attest<S: attest::Statement>(&self, statement: &S) -> Result<Attested, Failure> {
        // Not while the key is exchanged: what is signed has to be by the one that the record names then.
        let _answering = self.answering.read().await;
        Attested::sign(statement, self.ring.keys().current()).map_err(|why| {
            let message = format!("It could not be signed: {why}.");
            let remedy = "See `portreeve key list` for where the answer key comes from, and try again.";
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "key_unusable", message, remedy)
        })
    }

    /// Signs how far our own record reaches, for whoever is about to take it: up to group `n`, or to its end
    ///
    /// # Errors
    /// There is no such group, or the answer key does not sign.
    pub(crate) async fn checkpoint(&self, to: String, n: Option<u64>) -> Result<Attested, Failure> {
        let data = self.data().to_owned();
        let found = tokio::task::spawn_blocking(move || {
            let log = LogReader::open(&data).map_err(|error| error.to_string())?;
            let head = match n {
                None => Some(log.head().map_err(|error| error.to_string())?),
                Some(n) => log.group(n).map_err(|error| error.to_string())?.map(|(_, group)| group.head()),
            };
            let origin = portreeve_log::shipped::origin(&log).map_err(|error| error.to_string())?;
            Ok::<_, String>(head.zip(origin))
        });
        let found = found.await.map_err(|_| Failure::unavailable())?.map_err(unreadable)?;
        let (head, log) = found.ok_or_else(|| Failure::malformed("the record has no such group"))?;
        self.attest(&Checkpoint { log, n: head.n, hash: head.hash, to, at: self.now() }).await
    }

    /// Where people and agents reach it
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// What the answers of this data folder are checked with
    #[must_use]
    pub fn answer_key(&self) -> PublicKey {
        self.ring.keys().current().public_key()
    }

    /// The one-time links that are open
    #[must_use]
    pub fn links(&self) -> &Arc<Links> {
        &self.links
    }

    /// The passkeys of everybody
    #[must_use]
    pub fn passkeys(&self) -> &Arc<Passkeys> {
        &self.passkeys
    }

    /// Where people sign in elsewhere
    #[must_use]
    pub fn sign_ins(&self) -> &SignIns {
        &self.sign_ins
    }

    /// The groups that somebody is in now, and until when that is known of those that an issuer said
    ///
    /// # Errors
    /// Nothing can be said any more.
    pub async fn groups(&self, who: &Person) -> Result<Vec<(Name, Option<Millis>)>, Failure> {
        let (user, now) = (who.user.clone(), self.now());
        let found = self.door.ask(move |engine| {
            let state = engine.state();
            let Some(bundle) = engine.shelf().current(state) else { return BTreeMap::new() };
            let own = bundle.users.get(&user).into_iter().flat_map(|of| &of.groups).map(|group| (group.clone(), None));
            let said = state.provided(bundle, &user, now).map(|(group, until)| (group.clone(), Some(until)));
            // What the file says needs nobody to say it again.
            said.chain(own).collect::<BTreeMap<_, _>>()
        });
        Ok(found.await.ok_or_else(Failure::unavailable)?.into_iter().collect())
    }

    /// The site that passkeys are for; nothing where no browser would use one
    #[must_use]
    pub fn party(&self) -> Option<&RelyingParty> {
        self.party.as_ref()
    }

    /// The page of a question
    #[must_use]
    pub fn link_of(&self, hold: HoldId) -> String {
        format!("{}/approvals/{}", self.base, hold.code())
    }

    /// The record's newest group, each time that there is one
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.door.heads()
    }

    /// What a user of the policy may do now
    ///
    /// # Errors
    /// There is no such user, or they were stopped.
    pub async fn person(&self, user: Name, how: How) -> Result<Person, Failure> {
        let now = self.now();
        let found = self.door.ask(move |engine| {
            let (state, node) = (engine.state(), Node::User(user.clone()));
            let bundle = engine.shelf().current(state);
            let known = bundle.and_then(|bundle| bundle.users.get(&user));
            // A passkey that the policy says is theirs is theirs, whoever had them let in.
            let how = match how {
                How::HandedPasskey { fingerprint, .. }
                    if known.is_some_and(|known| known.passkeys.contains(&fingerprint)) =>
                {
                    How::Passkey
                }
                how => how,
            };
            // Somebody else there is somebody else here.
            let known = known.filter(|known| known.is_known_by(&how));
            let roles = known.and_then(|_| Some(state.roles(bundle?, &user, now)));
            let (lives, generation) = (state.stands(&node), state.generation(&node).unwrap_or_default());
            match roles {
                Some(roles) if lives => Ok(Person { user, generation, how, roles }),
                Some(_) => Err(vec![Reason::new(Word::UserStopped, node)]),
                None => Err(vec![Reason::new(Word::UserUnknown, node)]),
            }
        });
        found.await.ok_or_else(Failure::unavailable)?.map_err(|reasons| Failure::refused(&reasons))
    }

    /// Questions that are open; with `all`, also those that are remembered
    ///
    /// What only the record knows of them is left out: steps, earlier calls and objective.
    ///
    /// # Errors
    /// Nothing can be said any more.
    pub async fn holds(&self, who: &Person, all: bool) -> Result<Vec<HoldView>, Failure> {
        self.holds_seen(who.into(), all).await
    }

    pub(crate) async fn holds_seen(&self, eyes: Eyes, all: bool) -> Result<Vec<HoldView>, Failure> {
        let now = self.now();
        let found = self.door.ask(move |engine| {
            let state = engine.state();
            let bundle = engine.shelf().current(state).map(AsRef::as_ref);
            let holds: Vec<_> = if all { state.holds().collect() } else { state.open_holds().collect() };
            let seen =
                holds.into_iter().filter(|(_, hold)| (all || hold.is_open(now)) && eyes.sees(state, bundle, hold, now));
            let mut views: Vec<HoldView> =
                seen.take(HOLDS_SHOWN_MAX).map(|(id, hold)| holds::hold_view(engine, id, hold, &eyes, now)).collect();
            views.sort_by_key(|view| (view.asked, view.hold));
            views
        });
        found.await.ok_or_else(Failure::unavailable)
    }

    /// One question, by its id or its code, with everything that is shown of it
    ///
    /// # Errors
    /// There is none that they may see, or the record cannot be read.
    pub async fn hold(&self, who: &Person, named: &str) -> Result<HoldView, Failure> {
        self.hold_seen(who.into(), named).await
    }

    /// How many open questions wait for somebody's yes, without making their views
    ///
    /// # Errors
    /// Nothing can be said any more.
    pub async fn waiting(&self, who: &Person) -> Result<usize, Failure> {
        let (now, user, how) = (self.now(), who.user.clone(), who.how.clone());
        let found = self.door.ask(move |engine| {
            let (state, shelf) = (engine.state(), engine.shelf());
            let Some(bundle) = shelf.current(state) else { return 0 };
            let is_asked = |hold: &Hold| {
                hold.held.questions.iter().any(|question| state.is_approver(bundle, &user, &question.quorum.who, now))
            };
            let open = state.open_holds().filter(|(_, hold)| hold.is_open(now) && is_asked(hold));
            // Who can sign in better may still answer.
            let may = |id| {
                let reasons = may_answer(state, shelf, id, Some(&user), (true, &how), now);
                reasons.iter().all(|reason| reason.word == Word::StepUpNeeded)
            };
            open.filter(|(id, _)| may(*id)).count()
        });
        found.await.ok_or_else(Failure::unavailable)
    }

    pub(crate) async fn hold_seen(&self, eyes: Eyes, named: &str) -> Result<HoldView, Failure> {
        let (now, meant) = (self.now(), named.to_owned());
        let found = self.door.ask(move |engine| {
            let state = engine.state();
            let bundle = engine.shelf().current(state).map(AsRef::as_ref);
            let of = |(id, hold): &(HoldId, &Hold)| id.is_meant(&meant) && eyes.sees(state, bundle, hold, now);
            // Codes are short: of two that are the same, the one that is still open is meant.
            let mut found: Vec<_> = state.holds().filter(of).collect();
            found.sort_by_key(|(_, hold)| (!hold.is_open(now), std::cmp::Reverse(hold.asked)));
            let (id, hold) = found.first().copied()?;
            let steps = eyes.sees_steps(state, hold, now);
            Some((holds::hold_view(engine, id, hold, &eyes, now), hold.clone(), steps))
        });
        let (mut view, hold, steps) = found.await.ok_or_else(Failure::unavailable)?.ok_or_else(|| unknown(named))?;
        let story = match view.task.filter(|_| steps) {
            Some(task) => self.past.story(task, RECORDS_OF_HOLD).await.map_err(unreadable)?,
            None => past::Story::default(),
        };
        holds::with_story(&mut view, &hold, &story, &self.catalogue.view());
        Ok(view)
    }

    /// One question as nobody in particular sees it
    pub(crate) async fn whole(&self, hold: HoldId) -> Result<HoldView, Failure> {
        let mut view = self.hold_seen(Eyes::owner(None), &hold.to_string()).await?;
        view.not_by_you.clear();
        Ok(view)
    }

    /// What somebody would say with their passkey to a question at a time, word for word; its SHA-256 is the challenge
    #[must_use]
    pub fn statement(
        &self,
        who: &Person,
        (hold, binding): (HoldId, Hash),
        (yes, why): (bool, &str),
        at: Millis,
    ) -> Statement {
        self.said((&who.user, How::Passkey), (hold, binding), (yes, why), at)
    }

    fn said(
        &self,
        (user, how): (&Name, How),
        (hold, binding): (HoldId, Hash),
        (yes, why): (bool, &str),
        at: Millis,
    ) -> Statement {
        let (tenant, user, why) = (self.tenant.clone(), user.clone(), why.trim().to_owned());
        Statement { tenant, hold, binding, user, yes, how, why, at }
    }

    /// A yes or a no: signed, judged, recorded; then the question as it stands
    ///
    /// # Errors
    /// Why it does not count: nothing of it is kept then.
    pub async fn answer(&self, who: &Person, answer: Answering) -> Result<HoldView, Failure> {
        let answering = self.answering.read().await;
        let signed = self.sign(who, &answer).await?;
        let no_id = |why| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", why, "Try again.");
        let (hold, yes) = (answer.hold, answer.yes);
        let request = request::Answering {
            hold,
            binding: answer.binding,
            by: Actor::Person { user: who.user.clone(), how: signed.how.clone() },
            yes,
            why: answer.why,
            grant: GrantId(draw().map_err(no_id)?),
            signed,
        };
        match self.door.submit(Request::Answer(Box::new(request))).await {
            Reply::Recorded => {}
            Reply::Refused(reasons) => return Err(Failure::refused(&reasons)),
            _ => return Err(Failure::unavailable()),
        }
        drop(answering);
        tracing::info!(hold = %hold, user = %who.user, yes, "a question was answered");
        // Whoever has answered may see what became of it, whatever they see otherwise.
        self.hold(who, &hold.to_string()).await
    }

    async fn sign(&self, who: &Person, answer: &Answering) -> Result<Signed, Failure> {
        let now = self.now();
        let at = answer.passkey.as_ref().map_or(now, |used| used.at);
        if now.since(at).abs() > SIGNED_MS_MAX {
            return Err(wrong("it was used too long ago"));
        }
        let how = said_by(&who.how, answer.passkey.is_some());
        let statement = self.said((&who.user, how), (answer.hold, answer.binding), (answer.yes, &answer.why), at);
        let proof = match &answer.passkey {
            Some(used) => Some(self.check(who, answer.hold, &statement, used.assertion.clone()).await?.proof),
            None => None,
        };
        let read_ms = answer.read_ms.map(|read| u32::try_from(read).unwrap_or(u32::MAX));
        let signed = said::sign(self.ring.keys().current(), &statement, proof.as_ref(), read_ms);
        signed.map_err(|error| match error {
            said::Wrong::Unsigned(why) => Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "key_unusable",
                format!("The answer could not be signed: {why}."),
                "See `portreeve key list` for where the answer key comes from, and try again.",
            ),
            error => wrong(&error.to_string()),
        })
    }

    /// Whether a passkey of theirs signed the statement, one that they had before the question was put
    ///
    /// Whoever holds somebody's session could otherwise make the passkey that a question asks for.
    async fn check(
        &self,
        who: &Person,
        hold: HoldId,
        statement: &Statement,
        assertion: Assertion,
    ) -> Result<Checked, Failure> {
        let asked = self.door.ask(move |engine| engine.state().hold(hold).map(|hold| hold.asked));
        let asked = asked.await.ok_or_else(Failure::unavailable)?.ok_or_else(|| unknown(&hold.to_string()))?;
        let party = self.party.clone().ok_or_else(|| wrong(&format!("{} has no passkeys", self.base)))?;
        let (passkeys, bearer, now) = (Arc::clone(&self.passkeys), who.bearer(), self.now());
        let challenge = statement.digest().0;
        // What it has counted is written before it counts: that waits for the disk.
        let check = move || passkeys.check(&party, Some(&bearer), &challenge, assertion, now);
        let checked = tokio::task::spawn_blocking(check).await.map_err(|_| Failure::unavailable())?;
        let checked = checked.map_err(|refused| wrong(&refused.to_string()))?;
        if checked.created > asked {
            let message = "This passkey was registered after the question was put, so it does not count for it.";
            let remedy =
                "Use one that you had before, or have somebody else answer; it counts for what is asked later.";
            return Err(Failure::new(StatusCode::FORBIDDEN, "step_up_needed", message, remedy));
        }
        Ok(checked)
    }

    /// Tasks that live
    ///
    /// # Errors
    /// Nothing can be said any more.
    pub async fn tasks(&self, who: &Person) -> Result<Vec<TaskRow>, Failure> {
        let (now, eyes) = (self.now(), Eyes::from(who));
        let found = self.door.ask(move |engine| {
            let state = engine.state();
            let bundle = engine.shelf().current(state).map(AsRef::as_ref);
            let seen = state.tasks().filter(|(id, _)| eyes.sees_task(state, bundle, *id, now)).take(TASKS_SHOWN_MAX);
            let mut rows: Vec<TaskRow> = seen.map(|(id, task)| tasks::row(engine, id, task, now)).collect();
            rows.sort_by_key(|row| std::cmp::Reverse((row.opened, row.task)));
            rows
        });
        found.await.ok_or_else(Failure::unavailable)
    }

    /// One task, with what happened in it
    ///
    /// # Errors
    /// There is none that they may see, or the record cannot be read.
    pub async fn task(&self, who: &Person, task: TaskId) -> Result<TaskView, Failure> {
        self.task_seen(who.into(), task).await
    }

    pub(crate) async fn task_seen(&self, eyes: Eyes, task: TaskId) -> Result<TaskView, Failure> {
        let now = self.now();
        let found = self.door.ask(move |engine| {
            let state = engine.state();
            let bundle = engine.shelf().current(state).map(AsRef::as_ref);
            // A task that has left memory is history: for those who read everything.
            eyes.sees_task(state, bundle, task, now).then(|| tasks::task_view(engine, task, now))
        });
        let missing = || Failure::missing(&[Reason::new(Word::TaskUnknown, task)]);
        let mut view = found.await.ok_or_else(Failure::unavailable)?.ok_or_else(missing)?;
        let story = self.past.story(task, RECORDS_OF_TASK).await.map_err(unreadable)?;
        if !tasks::with_story(&mut view, &story) {
            return Err(missing());
        }
        Ok(view)
    }

    /// Stops a node: recorded, then settled, then cleared
    ///
    /// # Errors
    /// They may not, or there is nothing to stop.
    pub async fn stop(&self, who: &Person, node: Node) -> Result<StopView, Failure> {
        let by = Actor::Person { user: who.user.clone(), how: who.how.clone() };
        self.stop_by(by, node, Why::Killed).await
    }

    pub(crate) async fn stop_by(&self, by: Actor, node: Node, why: Why) -> Result<StopView, Failure> {
        let begun = Instant::now();
        // The latch closes before anything is judged, so only whoever may stop gets that far.
        if let Actor::Person { .. } = by {
            let (asked, about, now) = (by.clone(), node.clone(), self.now());
            let may = move |engine: &TheEngine| may_stop(engine.state(), engine.shelf(), &asked, &about, now).is_none();
            if !self.door.ask(may).await.ok_or_else(Failure::unavailable)? {
                // Judged once more, so that it is on the record.
                self.may(by.clone(), Deed::Stop, node.to_string()).await?;
            }
        }
        let (reply, closing) = self.door.stop(Stop { node: node.clone(), why, by, at: None }).await;
        let micros = |since: Instant| u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        match reply {
            Reply::Recorded => {}
            Reply::Refused(reasons) => return Err(Failure::refused(&reasons)),
            _ => return Err(Failure::unavailable()),
        }
        if let Node::User(user) = &node {
            self.links.end_all(user);
        }
        let recorded_us = micros(begun);
        let settled = tokio::time::timeout(SETTLE, closing.settled()).await.is_ok();
        let settled_us = settled.then(|| micros(begun));
        let resting = node.clone();
        // What the task's own record no longer names, its effects still do.
        let left = self.door.until_none(CLEAR, move |engine| engine.state().resting_on(&resting)).await;
        let cleared = left.as_ref().is_some_and(Vec::is_empty);
        let (cleared_us, not_settled) = (cleared.then(|| micros(begun)), closing.under_way());
        Ok(StopView { node, why, recorded_us, settled_us, cleared_us, not_settled, not_cleared: left })
    }

    /// Whether somebody may do what needs a role; who may not is on the record
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn may(&self, by: Actor, deed: Deed, about: String) -> Result<(), Failure> {
        match self.door.submit(Request::Role(Doing { by, deed, about })).await {
            Reply::Clear => Ok(()),
            Reply::Refused(reasons) => Err(Failure::refused(&reasons)),
            _ => Err(Failure::unavailable()),
        }
    }

    /// Tasks of emergencies that nobody has reviewed yet, as far as they are theirs to see: also those that a group of
    /// theirs reviews
    ///
    /// # Errors
    /// Nothing can be said any more.
    pub async fn reviews(&self, who: &Person) -> Result<Vec<ReviewView>, Failure> {
        self.reviews_seen(who.into()).await
    }

    pub(crate) async fn reviews_seen(&self, eyes: Eyes) -> Result<Vec<ReviewView>, Failure> {
        let now = self.now();
        self.door.ask(move |engine| tasks::reviews(engine, &eyes, now)).await.ok_or_else(Failure::unavailable)
    }

    /// Closes a review
    ///
    /// # Errors
    /// They may not, or there is none.
    pub async fn review(&self, who: &Person, task: TaskId, why: String) -> Result<(), Failure> {
        let by = Actor::Person { user: who.user.clone(), how: who.how.clone() };
        match self.door.submit(Request::Review(Review { task, by, why })).await {
            Reply::Recorded => Ok(()),
            Reply::Refused(reasons) => Err(Failure::refused(&reasons)),
            _ => Err(Failure::unavailable()),
        }
    }

    /// Whether somebody may close a review, in reasons why not
    pub async fn may_review(&self, who: &Person, task: TaskId) -> Option<Vec<Reason>> {
        let (Person { user, how, .. }, now) = (who.clone(), self.now());
        let may = move |engine: &TheEngine| may_review(engine.state(), engine.shelf(), task, (Some(&user), &how), now);
        self.door.ask(may).await
    }

    /// How approvals go: of everybody for those who read everything, else of oneself
    ///
    /// # Errors
    /// Nothing can be said any more.
    pub async fn reflex(&self, who: &Person) -> Result<Reflex, Failure> {
        self.reflex_seen(who.into()).await
    }

    pub(crate) async fn reflex_seen(&self, eyes: Eyes) -> Result<Reflex, Failure> {
        let found = self.door.ask(move |engine| {
            let reflex = engine.state().reflex();
            let seen = reflex.people.iter().filter(|(user, _)| eyes.everything || eyes.user.as_ref() == Some(*user));
            let reader = |reader: &portreeve_core::state::Reader| Reader {
                yes: reader.yes,
                no: reader.no,
                read_ms: reader.median_ms().map(u64::from),
            };
            Reflex {
                asked: reflex.asked,
                approved: reflex.approved,
                declined: reflex.declined,
                lapsed: reflex.lapsed,
                people: seen.map(|(user, said)| (user.clone(), reader(said))).collect::<BTreeMap<_, _>>(),
            }
        });
        found.await.ok_or_else(Failure::unavailable)
    }

    /// A one-time link that signs somebody in, on the record before anybody has it
    ///
    /// `hand` is who has it made for them, `user:NAME` or `account:NAME`; nothing if they do so themselves. It stands
    /// in everything that is done with the link.
    ///
    /// # Errors
    /// There is no such user, or too many links are open.
    pub async fn link(&self, by: Actor, user: Name, hand: Option<String>) -> Result<String, Failure> {
        let person = self.person(user.clone(), How::Link).await?;
        let claimed = Claimed::default();
        self.note_sign_in(request::SignedIn { by, user, how: None, claimed }).await?;
        let invited = Invited { bearer: person.bearer(), by: hand };
        let token = self.links.issue(invited, LIFETIME_MS, self.now()).map_err(|error| {
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string(), "Use a link that is open.")
        })?;
        Ok(format!("{}/sign-in/{token}", self.base))
    }

    /// Puts on the record that somebody signed in, with what their issuer says of them
    ///
    /// # Errors
    /// It could not be recorded, and then they are not.
    pub async fn signed_in(&self, user: Name, how: How, claimed: Claimed) -> Result<(), Failure> {
        let by = Actor::Person { user: user.clone(), how: how.clone() };
        self.note_sign_in(request::SignedIn { by, user, how: Some(how), claimed }).await
    }

    /// Puts on the record that somebody has a passkey from now on, or no longer has it
    ///
    /// # Errors
    /// It could not be recorded.
    pub async fn passkey_changed(&self, who: &Person, passkey: &Passkey, added: bool) -> Result<(), Failure> {
        let by = Actor::Person { user: who.user.clone(), how: who.how.clone() };
        let (user, credential, public_key) = (who.user.clone(), passkey.id(), passkey.key());
        let change = request::PasskeyChange { by, user, credential, public_key, added };
        match self.door.submit(Request::Passkey(change)).await {
            Reply::Recorded => Ok(()),
            Reply::Refused(reasons) => Err(Failure::refused(&reasons)),
            _ => Err(Failure::unavailable()),
        }
    }

    async fn note_sign_in(&self, signed_in: request::SignedIn) -> Result<(), Failure> {
        match self.door.submit(Request::SignedIn(signed_in)).await {
            Reply::Recorded => Ok(()),
            Reply::Refused(reasons) => Err(Failure::refused(&reasons)),
            _ => Err(Failure::unavailable()),
        }
    }

    /// Where a question stands, each time that it has changed, until it is not open any more or `within` has passed
    pub(crate) async fn wait(&self, hold: HoldId, within: Duration) -> Option<HoldState> {
        let until = tokio::time::Instant::now() + within;
        let mut changes = self.door.question(hold);
        loop {
            changes.mark_unchanged();
            let now = self.now();
            let state = self.door.ask(move |engine| {
                let (state, shelf) = (engine.state(), engine.shelf());
                Some(holds::stands(state, shelf.current(state).map(AsRef::as_ref), state.hold(hold)?, now))
            });
            let state = state.await??;
            if state != HoldState::Open {
                return Some(state);
            }
            match tokio::time::timeout_at(until, changes.changed()).await {
                Ok(true) => {}
                _ => return Some(state),
            }
        }
    }

    /// The review of the emergency that began with a question, as nobody in particular sees it, while it is open
    pub(crate) async fn emergency(&self, hold: HoldId) -> Result<Option<ReviewView>, Failure> {
        let found = self.door.ask(move |engine| tasks::emergency(engine, hold));
        Ok(found.await.ok_or_else(Failure::unavailable)?.map(|view| ReviewView { not_by_you: Vec::new(), ..view }))
    }

    /// The page of a task
    #[must_use]
    pub(crate) fn page_of(&self, task: TaskId) -> String {
        format!("{}/tasks/{task}", self.base)
    }
}

impl fmt::Debug for Office {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Office").field("tenant", &self.tenant).field("base", &self.base).finish_non_exhaustive()
    }
}

/// How an answer is known to be somebody's: a passkey with which they only signed in does not sign what they say
fn said_by(how: &How, passkey: bool) -> How {
    match how {
        _ if passkey => How::Passkey,
        How::Passkey => How::Link,
        How::HandedPasskey { by, .. } => How::Handed { by: by.clone() },
        how => how.clone(),
    }
}

fn wrong(why: &str) -> Failure {
    let message = format!("The passkey does not say this: {why}.");
    Failure::new(StatusCode::FORBIDDEN, "step_up_needed", message, "Open the question anew and use it there.")
}

fn unknown(named: &str) -> Failure {
    Failure::missing(&[Reason::new(Word::HoldUnknown, named.chars().take(64).collect::<String>())])
}

fn unreadable(why: String) -> Failure {
    let remedy = "Check it: `portreeve audit verify`.";
    Failure::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "log_unusable",
        format!("The record cannot be read: {why}."),
        remedy,
    )
}
