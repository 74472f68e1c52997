//! What the pages stand on: the office of the gateway, or a world made for tests.

use portreeve_core::{
    event::How,
    hash::Hash,
    names::{HoldId, Name, TaskId},
    node::Node,
    request::Claimed,
    time::Millis,
};
use portreeve_gateway::{
    failure::Failure,
    office::{
        Answering, Office, Person,
        view::{HoldView, Reflex, ReviewView, TaskRow, TaskView},
    },
    sign_in::SignIns,
};
use portreeve_identity::{
    link::Links,
    passkey::{Passkey, Passkeys, RelyingParty},
};
use std::{fmt, pin::Pin, sync::Arc};
use tokio::sync::watch;

/// An answer that takes a while
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Problem>> + Send + 'a>>;

/// Everything that the pages ask for, and everything that people can do on them
///
/// Whether somebody may is decided behind it, each time anew; the pages only say what it says.
pub trait Desk: fmt::Debug + Send + Sync + 'static {
    /// The time, by the clock of the record
    fn now(&self) -> Millis;
    /// Where people reach the pages: scheme, host and port
    fn base(&self) -> &str;
    /// The one-time links that are open
    fn links(&self) -> &Links;
    /// The passkeys of everybody
    fn passkeys(&self) -> &Arc<Passkeys>;
    /// The site that passkeys are for; nothing where no browser would use one
    fn party(&self) -> Option<&RelyingParty>;
    /// Where people sign in elsewhere
    fn sign_ins(&self) -> Option<&SignIns>;
    /// What a user of the policy may do now; a problem if there is none, or it was stopped
    fn person(&self, user: Name, how: How) -> Answer<'_, Person>;
    /// Puts on the record that somebody signed in; a problem if they cannot be
    fn signed_in(&self, user: Name, how: How, claimed: Claimed) -> Answer<'_, ()>;
    /// Puts on the record that somebody has a passkey from now on, or no longer has it
    fn passkey_changed<'a>(&'a self, who: &'a Person, passkey: &'a Passkey, added: bool) -> Answer<'a, ()>;
    /// Open questions; with `all`, also those that are answered and still remembered
    fn holds<'a>(&'a self, who: &'a Person, all: bool) -> Answer<'a, Vec<HoldView>>;
    /// How many open questions wait for somebody's yes
    fn waiting<'a>(&'a self, who: &'a Person) -> Answer<'a, usize>;
    /// One question, by its id or its code
    fn hold<'a>(&'a self, who: &'a Person, named: &'a str) -> Answer<'a, HoldView>;
    /// What a passkey signs for an answer at a time: the digest of the statement, word for word
    fn challenge(&self, who: &Person, of: (HoldId, Hash), said: (bool, &str), at: Millis) -> Hash;
    /// A yes or a no
    fn answer<'a>(&'a self, who: &'a Person, answer: Answering) -> Answer<'a, HoldView>;
    /// Tasks that are remembered
    fn tasks<'a>(&'a self, who: &'a Person) -> Answer<'a, Vec<TaskRow>>;
    /// One task
    fn task<'a>(&'a self, who: &'a Person, task: TaskId) -> Answer<'a, TaskView>;
    /// Stops a task
    fn stop<'a>(&'a self, who: &'a Person, task: TaskId) -> Answer<'a, ()>;
    /// Reviews that are open
    fn reviews<'a>(&'a self, who: &'a Person) -> Answer<'a, Vec<ReviewView>>;
    /// Closes one
    fn review<'a>(&'a self, who: &'a Person, task: TaskId, why: String) -> Answer<'a, ()>;
    /// How approvals go
    fn reflex<'a>(&'a self, who: &'a Person) -> Answer<'a, Reflex>;
    /// The number of the newest group of the record, each time that there is one
    fn changes(&self) -> watch::Receiver<u64>;
}

impl Desk for Office {
    fn now(&self) -> Millis {
        self.now()
    }

    fn base(&self) -> &str {
        self.base()
    }

    fn links(&self) -> &Links {
        self.links()
    }

    fn passkeys(&self) -> &Arc<Passkeys> {
        self.passkeys()
    }

    fn party(&self) -> Option<&RelyingParty> {
        self.party()
    }

    fn sign_ins(&self) -> Option<&SignIns> {
        Some(self.sign_ins())
    }

    fn person(&self, user: Name, how: How) -> Answer<'_, Person> {
        said(self.person(user, how))
    }

    fn signed_in(&self, user: Name, how: How, claimed: Claimed) -> Answer<'_, ()> {
        said(self.signed_in(user, how, claimed))
    }

    fn passkey_changed<'a>(&'a self, who: &'a Person, passkey: &'a Passkey, added: bool) -> Answer<'a, ()> {
        said(self.passkey_changed(who, passkey, added))
    }

    fn holds<'a>(&'a self, who: &'a Person, all: bool) -> Answer<'a, Vec<HoldView>> {
        said(self.holds(who, all))
    }

    fn waiting<'a>(&'a self, who: &'a Person) -> Answer<'a, usize> {
        said(self.waiting(who))
    }

    fn hold<'a>(&'a self, who: &'a Person, named: &'a str) -> Answer<'a, HoldView> {
        said(self.hold(who, named))
    }

    fn challenge(&self, who: &Person, of: (HoldId, Hash), said: (bool, &str), at: Millis) -> Hash {
        self.statement(who, of, said, at).digest()
    }

    fn answer<'a>(&'a self, who: &'a Person, answer: Answering) -> Answer<'a, HoldView> {
        said(self.answer(who, answer))
    }

    fn tasks<'a>(&'a self, who: &'a Person) -> Answer<'a, Vec<TaskRow>> {
        said(self.tasks(who))
    }

    fn task<'a>(&'a self, who: &'a Person, task: TaskId) -> Answer<'a, TaskView> {
        said(self.task(who, task))
    }

    fn stop<'a>(&'a self, who: &'a Person, task: TaskId) -> Answer<'a, ()> {
        // How far it got stands on the task's page.
        said(async move { self.stop(who, Node::Task(task)).await.map(drop) })
    }

    fn reviews<'a>(&'a self, who: &'a Person) -> Answer<'a, Vec<ReviewView>> {
        said(self.reviews(who))
    }

    fn review<'a>(&'a self, who: &'a Person, task: TaskId, why: String) -> Answer<'a, ()> {
        said(self.review(who, task, why))
    }

    fn reflex<'a>(&'a self, who: &'a Person) -> Answer<'a, Reflex> {
        said(self.reflex(who))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes()
    }
}

fn said<'a, T>(answer: impl Future<Output = Result<T, Failure>> + Send + 'a) -> Answer<'a, T> {
    Box::pin(async move { answer.await.map_err(Problem::from) })
}

/// Why something did not work, for a person
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status of the response
    pub status: u16,
    /// One word of a closed list
    pub word: String,
    /// What happened
    pub message: String,
    /// What to do about it
    pub remedy: String,
}

impl Problem {
    /// A problem of the pages' own
    #[must_use]
    pub fn new(status: u16, word: &str, message: impl Into<String>, remedy: &str) -> Self {
        Self { status, word: word.to_owned(), message: message.into(), remedy: remedy.to_owned() }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::new(failure.status().as_u16(), failure.word(), failure.message(), failure.remedy())
    }
}
