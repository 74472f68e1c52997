//! The port to a system that issues credentials.
//!
//! A back end is told the name of a lease before anything exists, and everything that it makes carries that name, so that
//! what a crash left behind is found and taken back. It never decides; it says what became of what it was asked for, and
//! where it cannot know, it says that.

use crate::{name::LeaseName, secret::Fields, secret::Secret};
use async_trait::async_trait;
use portreeve_core::{
    event::Evidence,
    judge::Whom,
    names::{Name, TaskId},
    policy::Class,
    time::Millis,
};
use std::{
    collections::BTreeMap,
    fmt::Debug,
    time::{SystemTime, UNIX_EPOCH},
};

/// What is asked for
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What it will be called
    pub name: LeaseName,
    /// For which class
    pub class: Class,
    /// What it is narrowed to
    pub scope: BTreeMap<Name, String>,
    /// Until when it is wanted; back ends may issue for longer, and never have to for less than they can
    pub until: Millis,
    /// For which task, for the back end's own record
    pub task: TaskId,
    /// Who works there, and on whose behalf
    pub whom: Whom,
}

/// A credential
#[derive(Clone, Debug)]
pub struct Issued {
    /// What it consists of
    pub fields: Fields,
    /// What the back end calls it, if that is another name than ours; no secret
    pub handle: Option<String>,
    /// Until when the back end takes it; nothing if it knows no end
    pub until: Option<Millis>,
    /// A secret without which it cannot be taken back
    pub keep: Option<Secret>,
}

/// What is known of a credential that has to be taken back
#[derive(Clone, Debug)]
pub struct Held {
    /// What it is called
    pub name: LeaseName,
    /// What the back end calls it
    pub handle: Option<String>,
    /// Until when the back end takes it
    pub until: Option<Millis>,
    /// The secret that it is taken back with
    pub keep: Option<Secret>,
    /// What it consists of, if that is still known: then it is tried once it was taken back
    pub fields: Option<Fields>,
}

/// Why there is no credential
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotIssued {
    /// Nothing was made
    #[error("{0}")]
    Refused(String),
    /// Something may have been made: it is taken back by its name
    #[error("{0}")]
    Unknown(String),
}

/// What came of taking a credential back
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// It is of no use any more, which was looked at
    Gone(Evidence),
    /// It cannot be taken back: its time has to pass
    Left(Millis),
}

/// This moment
pub(crate) fn now() -> Millis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Millis(i64::try_from(now).unwrap_or(i64::MAX))
}

/// A system that issues credentials
#[async_trait]
pub trait Source: Debug + Send + Sync {
    /// Issues a credential under its name
    ///
    /// # Errors
    /// [`NotIssued`]; only what is sure not to have made anything is [`NotIssued::Refused`].
    async fn issue(&self, wanted: &Wanted) -> Result<Issued, NotIssued>;

    /// Takes a credential back, also one that is not there, and makes sure of it
    ///
    /// # Errors
    /// What keeps it; it is tried again.
    async fn withdraw(&self, held: &Held) -> Result<Withdrawn, String>;

    /// The names of ours that the back end knows; nothing where it has no list
    ///
    /// # Errors
    /// What keeps it.
    async fn sweep(&self, prefix: &str) -> Result<Vec<String>, String>;

    /// Whether it can be reached and lets Portreeve in
    ///
    /// # Errors
    /// What keeps it.
    async fn check(&self) -> Result<(), String>;
}
