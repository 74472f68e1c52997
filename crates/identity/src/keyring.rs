//! The keys of a data folder: the one of each use that signs now, those before it, and where others check what it signs the one after it.
//!
//! The record says which key is the current one, with its public half ([`portreeve_core::state::Keys`]); the private ones
//! lie in files, or come from somewhere else ([`Source`]). A rotation makes the next key, has the change recorded, and only
//! then moves files. So whatever is interrupted goes on at the next start: [`Keeper::load`] finds either the key that the
//! record names, or the next one waiting to take its place.
//!
//! In the folder, `NAME.key` is the current key and `NAME.next.key` the one after it. Where earlier keys have to open or
//! sign for a while, they are kept as `NAME.THUMBPRINT.key` until their time is over. What lives longer than a master key is sealed
//! with the next one before the record names it; until it does, both open it.

use crate::{
    base64url,
    key::{
        Error, PublicKey, SigningKey, Unsigned,
        folder::Folder,
        source::{Given, Source},
    },
    token::{LIFETIME_MS, SKEW_MS},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_core::{
    event::{KeyUse, NewKey},
    state,
    time::Millis,
    value::Value,
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
};

/// How long messages to receivers carry the signature of the key before as well, and how long what was sealed under the
/// master key before is still opened, in milliseconds
pub const OVERLAP_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// How long what the key before signed or sealed is still taken
#[must_use]
pub fn overlap_ms(of: KeyUse) -> i64 {
    match of {
        KeyUse::Token | KeyUse::Upstream => LIFETIME_MS + SKEW_MS,
        // What was answered is checked with the key of its time, for ever; nothing new is signed with it.
        KeyUse::Answer => 0,
        KeyUse::Webhook | KeyUse::Master => OVERLAP_MS,
    }
}

/// The keys of one use, at one moment
#[derive(Clone, Debug)]
pub struct Keys {
    current: Arc<SigningKey>,
    name: String,
    next: Option<PublicKey>,
    earlier: Vec<Earlier>,
}

/// A key that something is still taken from
#[derive(Clone, Debug)]
pub struct Earlier {
    /// Its public half
    pub key: PublicKey,
    /// Its thumbprint
    pub name: String,
    /// Until when
    pub until: Millis,
    /// The key itself, where it has to sign or open
    pub secret: Option<Arc<SigningKey>>,
}

impl Keys {
    /// Only this one
    #[must_use]
    pub fn one(key: SigningKey) -> Self {
        Self { name: key.public_key().thumbprint(), current: Arc::new(key), next: None, earlier: Vec::new() }
    }

    /// The same, with another current key: the one before it counts until then, and none before that counts longer
    #[must_use]
    pub fn turned(&self, key: Arc<SigningKey>, until: Millis) -> Self {
        let before = Earlier {
            key: self.current.public_key(),
            name: self.name.clone(),
            until,
            secret: Some(Arc::clone(&self.current)),
        };
        let mut earlier = self.earlier.clone();
        earlier.push(before);
        earlier.iter_mut().for_each(|earlier| earlier.until = earlier.until.min(until));
        Self { name: key.public_key().thumbprint(), current: key, next: None, earlier }
    }

    /// The same, for who opens what was sealed: with this key as well, which is not the current one yet
    #[must_use]
    pub fn opening(&self, key: &Arc<SigningKey>) -> Self {
        let (public, secret) = (key.public_key(), Some(Arc::clone(key)));
        let other = Earlier { key: public, name: public.thumbprint(), until: Millis(i64::MAX), secret };
        let mut keys = self.clone();
        keys.earlier.push(other);
        keys
    }

    /// The key that signs
    #[must_use]
    pub fn current(&self) -> &Arc<SigningKey> {
        &self.current
    }

    /// Its thumbprint
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key that will sign after it, which is told beforehand
    #[must_use]
    pub fn next(&self) -> Option<PublicKey> {
        self.next
    }

    /// The same with this key after the current one
    #[must_use]
    pub fn with_next(self, next: Option<PublicKey>) -> Self {
        Self { next, ..self }
    }

    /// Those before it that still count
    pub fn earlier(&self, now: Millis) -> impl Iterator<Item = &Earlier> {
        self.earlier.iter().filter(move |earlier| now < earlier.until)
    }

    /// The public key of this thumbprint, if what it signed is taken now
    #[must_use]
    pub fn fitting(&self, name: &str, now: Millis) -> Option<PublicKey> {
        if self.name == name {
            return Some(self.current.public_key());
        }
        self.earlier(now).find(|earlier| earlier.name == name).map(|earlier| earlier.key)
    }

    /// All that can sign or open now, the current one first
    pub fn secrets(&self, now: Millis) -> impl Iterator<Item = &Arc<SigningKey>> {
        std::iter::once(&self.current).chain(self.earlier(now).filter_map(|earlier| earlier.secret.as_ref()))
    }

    /// When the next of the earlier ones stops to count
    #[must_use]
    pub fn ends(&self) -> Option<Millis> {
        self.earlier.iter().map(|earlier| earlier.until).min()
    }

    /// The same without those that do not count any more
    #[must_use]
    pub fn pruned(&self, now: Millis) -> Self {
        let earlier = self.earlier(now).cloned().collect();
        Self { earlier, ..self.clone() }
    }

    /// The public keys as a JWK Set (RFC 7517, 5; RFC 8037, 2), the next one among them
    #[must_use]
    pub fn jwks(&self, now: Millis) -> serde_json::Value {
        let all = [Some(self.current.public_key()), self.next].into_iter().flatten();
        let all = all.chain(self.earlier(now).map(|earlier| earlier.key));
        let jwk = |key: PublicKey| {
            json!({
                "kty": "OKP", "crv": "Ed25519", "x": base64url::encode(key.as_bytes()),
                "kid": key.thumbprint(), "use": "sig", "alg": "EdDSA",
            })
        };
        json!({ "keys": all.map(jwk).collect::<Vec<_>>() })
    }
}

/// The keys of one use, for everybody who signs and checks with them
#[derive(Debug)]
pub struct Ring(RwLock<Arc<Keys>>);

impl Ring {
    /// With these keys
    #[must_use]
    pub fn new(keys: Keys) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(keys))))
    }

    /// With one key, which is kept nowhere else
    #[must_use]
    pub fn of(key: SigningKey) -> Arc<Self> {
        Self::new(Keys::one(key))
    }

    /// The keys as they are now
    #[must_use]
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on, these
    pub fn turn(&self, keys: Keys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }
}

/// Where the keys of a data folder are kept
#[derive(Debug)]
pub struct Keeper {
    folder: Folder,
    given: Arc<Given>,
    sources: BTreeMap<KeyUse, Source>,
    before: BTreeMap<KeyUse, Source>,
    tenant: String,
}

/// Where keys come from, as somebody configured it; a use that is not named has a file
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The current keys
    pub current: BTreeMap<KeyUse, Source>,
    /// The keys before them, which vouch for them, sign beside them or open what they sealed
    pub earlier: BTreeMap<KeyUse, Source>,
}

impl Sources {
    /// The environment variables that they need
    #[must_use]
    pub fn variables(&self) -> BTreeSet<&str> {
        self.current.values().chain(self.earlier.values()).filter_map(Source::variable).collect()
    }
}

/// Keys that were found
#[derive(Debug)]
pub struct Loaded {
    /// The keys
    pub keys: Keys,
    /// What has to be recorded before they are used: the current key is another one than the record says
    pub change: Option<NewKey>,
}

/// The key that is about to take over
#[derive(Debug)]
pub struct Prepared {
    /// The key
    pub key: SigningKey,
    /// What has to be recorded
    pub change: NewKey,
}

/// Why a key is not exchanged
#[derive(Debug, thiserror::Error)]
pub enum NotRotated {
    /// It is not ours to make
    #[error("the {of} key comes from {from}, where Portreeve cannot put another one")]
    Elsewhere {
        /// Which
        of: KeyUse,
        /// Where it comes from
        from: String,
    },
    /// There is no next key
    #[error("the next {of} key could not be made")]
    Key {
        /// Which
        of: KeyUse,
        /// Why
        #[source]
        source: Error,
    },
}

impl Keeper {
    /// The keeper of a data folder's keys; `tenant` is what no other folder has
    #[must_use]
    pub fn new(folder: Folder, given: Arc<Given>, sources: Sources, tenant: String) -> Self {
        Self { folder, given, sources: sources.current, before: sources.earlier, tenant }
    }

    /// Where a key comes from
    #[must_use]
    pub fn source(&self, of: KeyUse) -> &Source {
        self.sources.get(&of).unwrap_or(&Source::File)
    }

    /// The keys of a use, `known` being what the record says of them
    ///
    /// A rotation that was interrupted after it had been recorded is finished; one that was not recorded has not been.
    ///
    /// # Errors
    /// [`Error`]: there is no key that may be used.
    pub fn load(&self, of: KeyUse, known: Option<&state::Keys>, now: Millis) -> Result<Loaded, Error> {
        let source = self.source(of);
        let recorded = known.map(|known| known.current.as_str());
        let current = match source {
            Source::File => self.load_file(of, recorded)?,
            source => self.given.load(source)?,
        };
        self.deterministic(of, &current)?;
        let public = current.public_key().to_string();
        let mut earlier = known.map(|known| known.earlier.clone()).unwrap_or_default();
        let mut change = None;
        if recorded != Some(public.as_str()) {
            if known.is_some_and(|known| known.was(&public)) {
                return Err(Error::GivenUp { name: of.as_str(), from: source.to_string(), key: public });
            }
            let until = now.plus(overlap_ms(of));
            if let Some(known) = known {
                let (key, since) = (known.current.clone(), known.since);
                earlier.iter_mut().for_each(|earlier| earlier.until = earlier.until.min(until));
                earlier.push(state::EarlierKey { key, since, until });
            }
            let vouched = recorded.and_then(|before| {
                let key = self.secret(of, before)?;
                vouch(&self.tenant, of, &key, &public).ok()
            });
            let (before, source) = (recorded.map(str::to_owned), source.to_string());
            change = Some(NewKey { of, key: public, source, before, until, vouched });
        }
        let counts = earlier.iter().filter(|earlier| now < earlier.until);
        let counts = counts.filter_map(|earlier| {
            let key: PublicKey = earlier.key.parse().ok()?;
            let secret = self.secret(of, &earlier.key).filter(|_| keeps_secret(of)).map(Arc::new);
            Some(Earlier { key, name: key.thumbprint(), until: earlier.until, secret })
        });
        let mut keys = Keys { earlier: counts.collect(), ..Keys::one(current) };
        keys.next = self.next(of)?;
        Ok(Loaded { keys, change })
    }

    fn load_file(&self, of: KeyUse, recorded: Option<&str>) -> Result<SigningKey, Error> {
        let current = self.folder.load(&file(of))?;
        let is_recorded = |key: &SigningKey| recorded == Some(key.public_key().to_string().as_str());
        if current.as_ref().is_some_and(is_recorded) {
            return current.ok_or(Error::Make);
        }
        // The record names the next key: the rotation was recorded, and did not come to move files.
        if let Some(next) = self.folder.load(&next_file(of))?.filter(is_recorded) {
            if current.is_some() {
                self.keep(of, &file(of))?;
            }
            self.folder.rename(&next_file(of), &file(of))?;
            return Ok(next);
        }
        match current {
            Some(current) => Ok(current),
            None => self.folder.make(&file(of)),
        }
    }

    /// The public half of the key after this one, made if there is none
    fn next(&self, of: KeyUse) -> Result<Option<PublicKey>, Error> {
        if !is_told(of) || *self.source(of) != Source::File {
            return Ok(None);
        }
        self.folder.load_or_make(&next_file(of)).map(|key| Some(key.public_key()))
    }

    /// An earlier key itself, wherever it may still be
    fn secret(&self, of: KeyUse, public: &str) -> Option<SigningKey> {
        let key: PublicKey = public.parse().ok()?;
        let kept = self.folder.load(&kept_file(of, &key.thumbprint())).ok().flatten();
        // Its place while it was the current one, if another source has been configured since.
        let left = || self.folder.load(&file(of)).ok().flatten();
        // Or before it got there.
        let next = || self.folder.load(&next_file(of)).ok().flatten();
        let given = || self.given.load(self.before.get(&of)?).ok();
        let is = |found: &SigningKey| found.public_key() == key;
        let found = kept.filter(is).or_else(|| left().filter(is)).or_else(|| next().filter(is));
        found.or_else(|| given().filter(is))
    }

    /// Keeps a file's key under the name of an earlier one, where earlier ones are needed
    fn keep(&self, of: KeyUse, in_file: &str) -> Result<(), Error> {
        if !keeps_secret(of) {
            return Ok(());
        }
        match self.folder.load(in_file)? {
            Some(key) => self.folder.link(in_file, &kept_file(of, &key.public_key().thumbprint())),
            None => Ok(()),
        }
    }

    /// Makes everything ready for another key; nothing has changed until [`recorded`](Self::recorded)
    ///
    /// # Errors
    /// [`NotRotated`]
    pub fn prepare(&self, of: KeyUse, keys: &Keys, until: Millis) -> Result<Prepared, NotRotated> {
        let failed = |source| NotRotated::Key { of, source };
        let source = self.source(of);
        if *source != Source::File {
            return Err(NotRotated::Elsewhere { of, from: source.to_string() });
        }
        let key = self.folder.load_or_make(&next_file(of)).map_err(failed)?;
        self.keep(of, &file(of)).map_err(failed)?;
        let public = key.public_key().to_string();
        let vouched = vouch(&self.tenant, of, keys.current(), &public).map_err(|source| {
            failed(Error::Unsigned { name: of.as_str(), from: self.source(of).to_string(), source })
        })?;
        let before = Some(keys.current().public_key().to_string());
        let change = NewKey { of, key: public, source: source.to_string(), before, until, vouched: Some(vouched) };
        Ok(Prepared { key, change })
    }

    /// The key that a change was prepared with which is not on the record: something may be sealed with it
    ///
    /// # Errors
    /// [`Error`]
    pub fn unrecorded(&self, of: KeyUse) -> Result<Option<Arc<SigningKey>>, Error> {
        Ok(self.folder.load(&next_file(of))?.map(Arc::new))
    }

    /// The change is on the record: moves the files, and makes the key after the new one
    ///
    /// # Errors
    /// [`Error`]: the next start tries it again.
    pub fn recorded(&self, of: KeyUse) -> Result<Option<PublicKey>, Error> {
        self.folder.rename(&next_file(of), &file(of))?;
        self.next(of)
    }

    /// Removes what is left of keys that do not count any more
    ///
    /// # Errors
    /// [`Error`]
    pub fn tidy(&self, of: KeyUse, keys: &Keys) -> Result<(), Error> {
        let is_file = *self.source(of) == Source::File;
        let mut wanted: Vec<String> = keys.earlier.iter().map(|earlier| kept_file(of, &earlier.name)).collect();
        if !is_file && keeps_secret(of) {
            // Their keys are earlier ones now that another source has been configured.
            self.keep(of, &file(of))?;
            self.keep(of, &next_file(of))?;
        }
        wanted.retain(|_| keeps_secret(of));
        if is_file {
            wanted.push(file(of));
            // One that is not on the record yet may have sealed something.
            wanted.extend((keys.next.is_some() || of == KeyUse::Master).then(|| next_file(of)));
        }
        for name in self.folder.names()? {
            let ours = name.strip_prefix(of.as_str()).is_some_and(|rest| rest.starts_with('.'));
            if ours && !wanted.contains(&name) {
                self.folder.remove(&name)?;
            }
        }
        Ok(())
    }

    /// What is sealed follows from what the master key signs, so it has to sign the same way each time
    fn deterministic(&self, of: KeyUse, key: &SigningKey) -> Result<(), Error> {
        if of != KeyUse::Master {
            return Ok(());
        }
        let from = self.source(of).to_string();
        let failed = |source| Error::Unsigned { name: of.as_str(), from: from.clone(), source };
        let once = key.sign(b"portreeve tries this key").map_err(failed)?;
        let again = key.sign(b"portreeve tries this key").map_err(failed)?;
        if once == again { Ok(()) } else { Err(failed(Unsigned("it signs in another way each time".to_owned()))) }
    }
}

/// The text with which a key vouches for the one after it (RFC 8785)
#[must_use]
pub fn vouching(tenant: &str, of: KeyUse, before: &str, key: &str) -> String {
    let text = |text: &str| Value::String(text.to_owned());
    let members = [
        ("v", Value::Number(VERSION.into())),
        ("tenant", text(tenant)),
        ("use", text(of.as_str())),
        ("before", text(before)),
        ("key", text(key)),
    ];
    Value::canonical_object(&members.map(|(key, value)| (key.to_owned(), value)).into())
}

/// What the key before signs of a change, in standard base64
///
/// # Errors
/// [`Unsigned`]
pub fn vouch(tenant: &str, of: KeyUse, before: &SigningKey, key: &str) -> Result<String, Unsigned> {
    let text = vouching(tenant, of, &before.public_key().to_string(), key);
    before.sign(text.as_bytes()).map(|signature| STANDARD.encode(signature))
}

/// Whether a change was vouched for by the key before it
#[must_use]
pub fn is_vouched(tenant: &str, change: &NewKey) -> bool {
    let fits = || {
        let before = change.before.as_ref()?;
        let signature = STANDARD.decode(change.vouched.as_ref()?).ok()?;
        let text = vouching(tenant, change.of, before, &change.key);
        Some(before.parse::<PublicKey>().ok()?.fits(text.as_bytes(), &signature))
    };
    fits().unwrap_or_default()
}

/// Of the text with which keys vouch
const VERSION: i64 = 1;

/// Whether others check with its public key what they are shown, so that they have to know it before it signs
fn is_told(of: KeyUse) -> bool {
    matches!(of, KeyUse::Token | KeyUse::Upstream)
}

/// Whether earlier keys of this use have something to do
fn keeps_secret(of: KeyUse) -> bool {
    matches!(of, KeyUse::Webhook | KeyUse::Master)
}

fn file(of: KeyUse) -> String {
    format!("{of}.key")
}

fn next_file(of: KeyUse) -> String {
    format!("{of}.next.key")
}

fn kept_file(of: KeyUse, thumbprint: &str) -> String {
    format!("{of}.{thumbprint}.key")
}

#[cfg(test)]
mod tests;
