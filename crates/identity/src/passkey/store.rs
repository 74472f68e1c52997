//! Whose passkeys there are: one JSON file for each user, `people/NAME.json`.
//!
//! What stands in the files decides who can say yes: they are their owner's to write and nobody else's. Every change
//! is on disk before it counts. The calls that change something wait for the disk: not for the thread of a socket.

mod file;

use super::{Assertion, Proof, Registration, RelyingParty, Wrong, options};
use crate::{Bearer, base64url, secret};
use file::{Key, Person};
use portreeve_core::{hash::Hash, names::Name, time::Millis};
use std::{
    cmp::Ordering,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Passkeys of one user
pub const KEYS_MAX: usize = 16;
/// Users with passkeys
pub const PEOPLE_MAX: usize = 10_000;
/// Characters of a passkey's label
pub const LABEL_MAX: usize = 64;

/// The passkeys of everybody
#[derive(Debug)]
pub struct Passkeys {
    folder: PathBuf,
    // Held while a change is written, so that the files are never older than what somebody was told.
    people: Mutex<BTreeMap<Name, Person>>,
}

/// One passkey, as its owner sees it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passkey {
    /// Its id
    pub credential: Vec<u8>,
    /// The key: a COSE key
    pub public_key: Vec<u8>,
    /// What its owner calls it
    pub label: String,
    /// When it was registered
    pub created: Millis,
    /// When it was used last
    pub used: Option<Millis>,
    /// Whether it may be copied to other devices of its owner
    pub synced: bool,
    /// Who had the link made by way of which it was registered, if that was somebody else: they may hold it
    pub by: Option<String>,
}

/// The files cannot be used
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One cannot be read or written
    #[error("{path} cannot be used")]
    File {
        /// Which
        path: PathBuf,
        /// Why
        #[source]
        source: io::Error,
    },
    /// Somebody else can read or write it
    #[error("{path} is open to others (mode {mode:o}); set it to 600, a folder to 700, and look at what stands in it")]
    Open {
        /// Which
        path: PathBuf,
        /// Its permission bits
        mode: u32,
    },
    /// One is not what was written
    #[error("{path} is damaged: {what}; take the file from a backup, or remove it, and its user's passkeys with it")]
    Damaged {
        /// Which
        path: PathBuf,
        /// What is wrong with it
        what: String,
    },
    /// There are too many
    #[error("{path} holds passkeys of more than 10,000 users")]
    TooMany {
        /// The folder
        path: PathBuf,
    },
}

/// Why a passkey was not registered, or does not count
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The response does not hold
    #[error(transparent)]
    Wrong(#[from] Wrong),
    /// Nobody has this passkey, or somebody else than it is asked of
    #[error("this passkey is not registered for this user")]
    Unknown,
    /// The authenticator takes its user for somebody else
    #[error("the passkey is kept for another user")]
    UserHandle,
    /// It counted fewer signatures than before: there may be a copy of it
    #[error(
        "the passkey counts {seen} signatures where it had counted {stored}: there may be a copy of it; \
         if there is none, try again, otherwise remove it"
    )]
    Counter {
        /// The key's id
        credential: Vec<u8>,
        /// What it had counted
        stored: u32,
        /// What it says now
        seen: u32,
    },
    /// It is registered already, for this user or another
    #[error("this passkey is registered already")]
    Known,
    /// The user has too many
    #[error("there are 16 passkeys already; remove one first")]
    Full,
    /// No passkey can be called so
    #[error("a passkey's label is 1 to 64 characters without control characters")]
    Label,
    /// There is no randomness
    #[error("the system gave no randomness; try again")]
    Randomness,
    /// The change could not be written, so it does not count
    #[error(transparent)]
    Store(#[from] Error),
}

/// A passkey was used, by its owner, for the challenge
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whose it is; where nobody was expected, it is to be found out whether they still bear their name
    pub bearer: Bearer,
    /// What it is called
    pub label: String,
    /// When it was registered
    pub created: Millis,
    /// Who else may hold it, as in [`Passkey::by`]
    pub by: Option<String>,
    /// The digest of its public key
    pub fingerprint: Hash,
    /// What shows it to others, later
    pub proof: Proof,
}

/// A passkey that somebody has made, and that does not count yet
#[derive(Clone, Debug)]
pub struct Made {
    bearer: Bearer,
    key: Key,
}

impl Made {
    /// As its owner will see it
    #[must_use]
    pub fn passkey(&self) -> Passkey {
        self.key.shown()
    }
}

impl Passkeys {
    /// The passkeys in `folder`, which is made if there is none
    ///
    /// # Errors
    /// [`Error`]: one file that is damaged or open to others is reason enough.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let people = file::read_all(folder)?;
        Ok(Self { folder: folder.to_owned(), people: Mutex::new(people) })
    }

    /// A user's passkeys, the oldest first
    #[must_use]
    pub fn of(&self, bearer: &Bearer) -> Vec<Passkey> {
        known(&self.people(), bearer).map(|person| person.keys.iter().map(Key::shown).collect()).unwrap_or_default()
    }

    /// What to ask somebody's browser for, to make a passkey
    ///
    /// # Errors
    /// [`Refused::Full`], [`Refused::Randomness`]
    pub fn creation_options(
        &self,
        party: &RelyingParty,
        bearer: &Bearer,
        challenge: &[u8],
    ) -> Result<serde_json::Value, Refused> {
        let mut people = self.people();
        // Not written yet: whoever never finishes leaves nothing behind but this.
        let person = person(&mut people, bearer)?;
        let known: Vec<&[u8]> = person.keys.iter().map(|key| key.credential.as_slice()).collect();
        if known.len() >= KEYS_MAX {
            return Err(Refused::Full);
        }
        Ok(options::creation(party, bearer.user.as_str(), &person.handle, challenge, &known))
    }

    /// What to ask a browser for, so that a passkey signs the challenge: one of somebody's, or anybody's
    #[must_use]
    pub fn request_options(&self, party: &RelyingParty, of: Option<&Bearer>, challenge: &[u8]) -> serde_json::Value {
        let people = self.people();
        let keys = of.and_then(|of| known(&people, of)).map(|person| person.keys.as_slice()).unwrap_or_default();
        let keys: Vec<&[u8]> = keys.iter().map(|key| key.credential.as_slice()).collect();
        options::request(party, challenge, &keys)
    }

    /// The passkey that somebody made for exactly this challenge; it counts once it is [kept](Self::keep)
    ///
    /// `by` is who else may have made it: whoever had the link made with which they came in, or with which the passkey
    /// was registered with which they did.
    ///
    /// # Errors
    /// [`Refused`]: it is none that could count.
    pub fn made(
        &self,
        party: &RelyingParty,
        (bearer, by): (&Bearer, Option<&str>),
        (label, challenge): (&str, &[u8]),
        made: &Registration,
        now: Millis,
    ) -> Result<Made, Refused> {
        let label = label.trim();
        if label.is_empty() || label.chars().count() > LABEL_MAX || label.chars().any(char::is_control) {
            return Err(Refused::Label);
        }
        let registered = made.verify(party, challenge)?;
        let key = Key {
            credential: registered.credential,
            public_key: registered.public_key,
            label: label.to_owned(),
            created: now,
            used: None,
            counter: registered.counter,
            synced: registered.synced,
            by: by.map(ToOwned::to_owned),
        };
        let made = Made { bearer: bearer.clone(), key };
        with(&mut self.people(), &made)?;
        Ok(made)
    }

    /// Lets a passkey count from now on
    ///
    /// # Errors
    /// [`Refused`]: then there is no new passkey.
    pub fn keep(&self, made: &Made) -> Result<(), Refused> {
        let mut people = self.people();
        let person = with(&mut people, made)?;
        Ok(self.write(&mut people, &made.bearer.user, person)?)
    }

    /// Whose passkey signed exactly this challenge: one of `expected`'s, or where nobody is signed in yet, anybody's
    ///
    /// # Errors
    /// [`Refused`]: then nobody was found to have done it.
    pub fn check(
        &self,
        party: &RelyingParty,
        expected: Option<&Bearer>,
        challenge: &[u8],
        assertion: Assertion,
        now: Millis,
    ) -> Result<Checked, Refused> {
        let mut people = self.people();
        // 7.2, steps 5 and 6
        let owns = |(owner, person): &(&Name, &Person)| {
            let is_theirs = |of: &Bearer| of.user == **owner && of.generation == person.generation;
            expected.is_none_or(is_theirs) && person.key(&assertion.credential).is_some()
        };
        let (owner, known) = people.iter().find(owns).ok_or(Refused::Unknown)?;
        let (owner, mut changed) = (owner.clone(), known.clone());
        // Who is signed in may have a passkey that does not say whose it is; who is not has to be named by it.
        let named = match assertion.user_handle.as_deref() {
            Some(handle) => handle == changed.handle,
            None => expected.is_some(),
        };
        if !named {
            return Err(Refused::UserHandle);
        }
        let key = changed.key_mut(&assertion.credential).ok_or(Refused::Unknown)?;
        let proof = Proof {
            party: party.clone(),
            credential: assertion.credential,
            public_key: key.public_key.clone(),
            authenticator_data: assertion.authenticator_data,
            client_data: assertion.client_data,
            signature: assertion.signature,
        };
        let used = proof.used(challenge)?;
        // 7.2, step 19
        if used.synced != key.synced {
            return Err(Wrong::Backup.into());
        }
        // 7.2, step 22: those that count have to count on.
        if (used.counter != 0 || key.counter != 0) && used.counter <= key.counter {
            let (credential, stored) = (key.credential.clone(), key.counter);
            return Err(Refused::Counter { credential, stored, seen: used.counter });
        }
        (key.counter, key.used) = (used.counter, Some(now));
        let (label, created, by) = (key.label.clone(), key.created, key.by.clone());
        let fingerprint = key.shown().fingerprint();
        let bearer = Bearer { user: owner, generation: changed.generation };
        self.write(&mut people, &bearer.user, changed)?;
        Ok(Checked { bearer, label, created, by, fingerprint, proof })
    }

    /// Removes somebody's passkey; whether there was one
    ///
    /// # Errors
    /// [`Error`]: the change could not be written, so the passkey is still there.
    pub fn remove(&self, bearer: &Bearer, credential: &[u8]) -> Result<bool, Error> {
        let mut people = self.people();
        let Some(mut person) = known(&people, bearer).filter(|person| person.key(credential).is_some()).cloned() else {
            return Ok(false);
        };
        person.keys.retain(|key| key.credential != credential);
        self.write(&mut people, &bearer.user, person)?;
        Ok(true)
    }

    /// Writes what changed, and only then lets it count
    fn write(&self, people: &mut BTreeMap<Name, Person>, user: &Name, person: Person) -> Result<(), Error> {
        file::write(&self.folder, user, &person)?;
        people.insert(user.clone(), person);
        Ok(())
    }

    fn people(&self) -> MutexGuard<'_, BTreeMap<Name, Person>> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passkey {
    /// Its id as text, for a form or a command
    #[must_use]
    pub fn id(&self) -> String {
        base64url::encode(&self.credential)
    }

    /// Its key as text, as answers carry it
    #[must_use]
    pub fn key(&self) -> String {
        base64url::encode(&self.public_key)
    }

    /// The digest of that text, by which the policy can say whose it is
    #[must_use]
    pub fn fingerprint(&self) -> Hash {
        Hash::of(self.key().as_bytes())
    }
}

/// What is kept of somebody; what an earlier bearer of the name left behind is not theirs
fn known<'a>(people: &'a BTreeMap<Name, Person>, bearer: &Bearer) -> Option<&'a Person> {
    people.get(&bearer.user).filter(|person| person.generation == bearer.generation)
}

/// Somebody with or without passkeys, who has a handle that says nothing of them (14.6.1)
///
/// Whoever bears the name now takes the place of whoever had it before.
fn person<'a>(people: &'a mut BTreeMap<Name, Person>, bearer: &Bearer) -> Result<&'a mut Person, Refused> {
    let Bearer { user, generation } = bearer.clone();
    if people.len() >= PEOPLE_MAX && !people.contains_key(&user) {
        return Err(Refused::Full);
    }
    let handle = secret::random::<32>().ok_or(Refused::Randomness)?;
    let person = Person { generation, handle: handle.to_vec(), keys: Vec::new() };
    let kept = people.entry(user).or_insert_with(|| person.clone());
    match kept.generation.cmp(&generation) {
        Ordering::Equal => {}
        Ordering::Less => *kept = person,
        Ordering::Greater => return Err(Refused::Unknown),
    }
    Ok(kept)
}

/// Somebody with this passkey too
fn with(people: &mut BTreeMap<Name, Person>, made: &Made) -> Result<Person, Refused> {
    let mut person = person(people, &made.bearer)?.clone();
    // 7.1, step 26, also for the passkeys of others: the reason is told there.
    if people.values().any(|person| person.key(&made.key.credential).is_some()) {
        return Err(Refused::Known);
    }
    if person.keys.len() >= KEYS_MAX {
        return Err(Refused::Full);
    }
    person.keys.push(made.key.clone());
    Ok(person)
}

#[cfg(test)]
mod tests;
