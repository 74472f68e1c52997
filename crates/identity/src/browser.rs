//! Sessions of browsers: who is signed in, how, and for how long.
//!
//! A session is named by a random cookie value of which only the digest is kept. It ends when it was idle for
//! too long, when it is too old, when its user signs out, and with the process. *What* a person may do is asked
//! of the policy each time: a session only says who it is.

use crate::{
    Bearer,
    secret::{self, NotDrawn},
};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_core::{event::How, hash::Hash, names::Name, time::Millis};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How long a session may be idle, in milliseconds
pub const IDLE_MS: i64 = 30 * 60 * 1000;
/// How long a session lives at most, in milliseconds
pub const LIFETIME_MS: i64 = 12 * 60 * 60 * 1000;
/// Sessions of all users at once
pub const SESSIONS_MAX: usize = 4096;
/// Sessions of one user at once; a further one takes the place of the one used longest ago
pub const SESSIONS_OF_USER_MAX: usize = 16;

/// Bytes of a cookie's value
const COOKIE_BYTES: usize = 32;

/// How long a passkey that was used in a session stands for its user being there, in milliseconds
pub const FRESH_MS: i64 = 5 * 60 * 1000;

/// How somebody signed in
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignedIn {
    /// By a one-time link
    Link {
        /// Who had it made for them, as in [`Invited`](crate::link::Invited)
        by: Option<String>,
    },
    /// With a passkey
    Passkey {
        /// Who else may hold it, as in [`Passkey`](crate::passkey::Passkey::by)
        by: Option<String>,
        /// The digest of its public key
        fingerprint: Hash,
    },
    /// At an issuer of the policy
    Issuer {
        /// Which
        issuer: Name,
        /// Their `sub` there
        subject: String,
    },
}

impl SignedIn {
    /// How somebody is known who signed in so
    #[must_use]
    pub fn how(&self) -> How {
        match self.clone() {
            Self::Link { by: None } => How::Link,
            Self::Link { by: Some(by) } => How::Handed { by },
            Self::Passkey { by: None, .. } => How::Passkey,
            Self::Passkey { by: Some(by), fingerprint } => How::HandedPasskey { by, fingerprint },
            Self::Issuer { issuer, subject } => How::Oidc { issuer, subject },
        }
    }
}

/// A session as it is at one moment
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who
    pub bearer: Bearer,
    /// How they signed in
    pub how: SignedIn,
    /// When a passkey was used last, at signing in or since
    pub passkey: Option<Millis>,
    /// When they signed in
    pub since: Millis,
    /// When it is over if nothing is done with it
    pub until: Millis,
    /// What every form of this session carries, for [`Sessions::check_csrf`]
    pub csrf: String,
}

impl Session {
    /// Whether its user has used a passkey in it within the last [`FRESH_MS`]
    #[must_use]
    pub fn is_fresh(&self, now: Millis) -> bool {
        self.passkey.is_some_and(|used| (0..FRESH_MS).contains(&now.since(used)))
    }
}

/// The sessions there are, in memory only: a restart signs everybody out
#[derive(Debug)]
pub struct Sessions {
    // Held only for a look-up or a change, never across anything slow.
    live: Mutex<BTreeMap<Hash, Kept>>,
    /// How long one may be idle, and how long it lives at most, in milliseconds
    lasts: (i64, i64),
    // Of this process: what it was derived from ends with it, like the sessions.
    forms: hmac::Key,
}

#[derive(Clone, Debug)]
struct Kept {
    bearer: Bearer,
    how: SignedIn,
    passkey: Option<Millis>,
    since: Millis,
    seen: Millis,
}

impl Kept {
    fn until(&self, (idle_ms, lifetime_ms): (i64, i64)) -> Millis {
        self.seen.plus(idle_ms).min(self.since.plus(lifetime_ms))
    }

    /// A clock that went back before the session began ends it
    fn lives(&self, lasts: (i64, i64), now: Millis) -> bool {
        self.since <= now && now < self.until(lasts)
    }
}

impl Sessions {
    /// No sessions yet
    ///
    /// # Errors
    /// [`NotDrawn::Randomness`]
    pub fn new() -> Result<Self, NotDrawn> {
        Self::lasting(IDLE_MS, LIFETIME_MS)
    }

    /// No sessions yet; each ends when it was idle for so many milliseconds, and after so many in all
    ///
    /// # Errors
    /// [`NotDrawn::Randomness`]
    pub fn lasting(idle_ms: i64, lifetime_ms: i64) -> Result<Self, NotDrawn> {
        let key = secret::random::<32>().ok_or(NotDrawn::Randomness)?;
        Ok(Self {
            live: Mutex::default(),
            lasts: (idle_ms, lifetime_ms),
            forms: hmac::Key::new(hmac::HMAC_SHA256, &key),
        })
    }

    /// Signs somebody in: the value of a new cookie (256 bits, base64url)
    ///
    /// The value is new each time, also for who has a session: one that somebody was given before signing in is
    /// worth nothing.
    ///
    /// # Errors
    /// [`NotDrawn`]: there is no randomness, or too many people are signed in.
    pub fn begin(&self, bearer: Bearer, how: SignedIn, now: Millis) -> Result<String, NotDrawn> {
        let cookie = secret::draw::<COOKIE_BYTES>().ok_or(NotDrawn::Randomness)?;
        let hash = secret::digest::<COOKIE_BYTES>(&cookie).ok_or(NotDrawn::Randomness)?;
        let mut live = self.live();
        live.retain(|_, kept| kept.lives(self.lasts, now));
        let of_user = || live.iter().filter(|(_, kept)| kept.bearer.user == bearer.user);
        if of_user().count() >= SESSIONS_OF_USER_MAX {
            let oldest = of_user().min_by_key(|(_, kept)| kept.seen).map(|(hash, _)| *hash);
            oldest.and_then(|oldest| live.remove(&oldest));
        }
        if live.len() >= SESSIONS_MAX {
            return Err(NotDrawn::Full);
        }
        let passkey = matches!(how, SignedIn::Passkey { .. }).then_some(now);
        live.insert(hash, Kept { bearer, how, passkey, since: now, seen: now });
        Ok(cookie)
    }

    /// The session of this cookie, which counts as used
    #[must_use]
    pub fn look(&self, cookie: &str, now: Millis) -> Option<Session> {
        let (hash, kept) = self.touch(cookie, now, |kept| kept.seen = kept.seen.max(now))?;
        Some(self.session(hash, kept))
    }

    /// The session of this cookie, without using it: for what a page asks for by itself, such as a stream of news
    #[must_use]
    pub fn peek(&self, cookie: &str, now: Millis) -> Option<Session> {
        let (hash, kept) = self.touch(cookie, now, |_| ())?;
        Some(self.session(hash, kept))
    }

    /// Notes that the user of this session has just used a passkey; whether there is such a session
    pub fn passkey_used(&self, cookie: &str, now: Millis) -> bool {
        self.touch(cookie, now, |kept| (kept.seen, kept.passkey) = (kept.seen.max(now), Some(now))).is_some()
    }

    /// Whether a form with this value came from a page of this session
    ///
    /// The comparison takes the same time wherever the two differ.
    #[must_use]
    pub fn check_csrf(&self, cookie: &str, csrf: &str, now: Millis) -> bool {
        let Some((hash, _)) = self.touch(cookie, now, |_| ()) else {
            return false;
        };
        // Base64 of 32 bytes.
        csrf.len() == 43
            && URL_SAFE_NO_PAD.decode(csrf).is_ok_and(|csrf| hmac::verify(&self.forms, &form_of(hash), &csrf).is_ok())
    }

    /// Signs this browser out; whose session it was
    pub fn end(&self, cookie: &str) -> Option<Name> {
        let hash = secret::digest::<COOKIE_BYTES>(cookie)?;
        self.live().remove(&hash).map(|kept| kept.bearer.user)
    }

    /// Signs somebody out everywhere; from how many sessions
    pub fn end_all(&self, bearer: &Bearer) -> usize {
        let mut live = self.live();
        let before = live.len();
        live.retain(|_, kept| kept.bearer != *bearer);
        before - live.len()
    }

    /// Changes the session of this cookie if it lives; one that does not is forgotten
    fn touch(&self, cookie: &str, now: Millis, change: impl FnOnce(&mut Kept)) -> Option<(Hash, Kept)> {
        let hash = secret::digest::<COOKIE_BYTES>(cookie)?;
        let mut live = self.live();
        let kept = live.get_mut(&hash)?;
        if !kept.lives(self.lasts, now) {
            live.remove(&hash);
            return None;
        }
        change(kept);
        Some((hash, kept.clone()))
    }

    fn session(&self, hash: Hash, kept: Kept) -> Session {
        let csrf = URL_SAFE_NO_PAD.encode(hmac::sign(&self.forms, &form_of(hash)).as_ref());
        let until = kept.until(self.lasts);
        Session { bearer: kept.bearer, how: kept.how, passkey: kept.passkey, since: kept.since, until, csrf }
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<Hash, Kept>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the value of a session's forms is derived from
fn form_of(session: Hash) -> Vec<u8> {
    [b"portreeve form 1".as_slice(), &session.0].concat()
}

#[cfg(test)]
mod tests;
