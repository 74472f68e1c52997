//! What the pages stand on: the office of the gateway, or a world made for tests.

use portreeve_core::{
    event::How,
    hash::Hash,
    names::{HoldId, Name, TaskId},
    policy::PersonRole as Role,
    time::Millis,
};
use portreeve_gateway::office::view::{HoldView, Reflex, ReviewView, TaskRow, TaskView};
use std::{collections::BTreeSet, fmt, pin::Pin};
use tokio::sync::watch;

/// An answer that takes a while
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Problem>> + Send + 'a>>;

/// Everything that the pages ask for, and everything that people can do on them
///
/// Whether somebody may is decided behind it, each time anew; the pages only say what it says.
pub trait Desk: fmt::Debug + Send + Sync + 'static {
    /// The time, by the clock of the record
    fn now(&self) -> Millis;
    /// What a user of the policy may do now; a problem if there is none, or it was stopped
    fn person(&self, user: Name, how: How) -> Answer<'_, Person>;
    /// Open questions; with `all`, also those that are answered and still remembered
    fn holds<'a>(&'a self, who: &'a Person, all: bool) -> Answer<'a, Vec<HoldView>>;
    /// One question, by its id or its code
    fn hold<'a>(&'a self, who: &'a Person, named: &'a str) -> Answer<'a, HoldView>;
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

/// Who is signed in
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user of the policy
    pub user: Name,
    /// How they are known
    pub how: How,
    /// What they may do, by the policy in force
    pub roles: BTreeSet<Role>,
}

/// An answer to a question
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answering {
    /// The question
    pub hold: HoldId,
    /// The digest of what the person was shown
    pub binding: Hash,
    /// Yes or no
    pub yes: bool,
    /// Why, in their words
    pub why: String,
    /// How long they had it in front of them, in milliseconds, if that was measured
    pub read_ms: Option<u64>,
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
