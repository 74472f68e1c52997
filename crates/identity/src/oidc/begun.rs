//! Sign-ins that are under way: begun here, to be finished by the same browser, once, within minutes.
//!
//! What comes back from an issuer names the sign-in by `state`; the browser that began it has a cookie besides. Of both,
//! only digests are kept.

use crate::secret::{self, NotDrawn};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_core::{hash::Hash, names::Name, time::Millis};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
};

/// How long somebody has to sign in at their issuer, in milliseconds
pub const LIFETIME_MS: i64 = 10 * 60 * 1_000;
/// Sign-ins under way at once
pub const BEGUN_MAX: usize = 1_024;

/// Bytes of each of the secrets
const BYTES: usize = 32;

/// A new name for something that only whoever began it knows; nothing if there is no randomness
#[must_use]
pub fn name() -> Option<String> {
    secret::draw::<BYTES>()
}

/// The sign-ins under way, in memory only
#[derive(Debug, Default)]
pub struct Begun {
    // By the digest of `state`. Held only for a look-up or a change: of two that come back, one is first.
    open: Mutex<BTreeMap<Hash, Kept>>,
}

#[derive(Debug)]
struct Kept {
    issuer: Name,
    cookie: Hash,
    secrets: Secrets,
    since: Millis,
}

impl Kept {
    /// A clock that went back before it began ends it
    fn lives(&self, now: Millis) -> bool {
        (0..LIFETIME_MS).contains(&now.since(self.since))
    }
}

/// What only we and the issuer know of one sign-in
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// What its ID token has to repeat
    pub nonce: String,
    /// What shows that whoever began it finishes it (RFC 7636)
    pub verifier: String,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// What the issuer is told of the verifier beforehand (RFC 7636, 4.2: S256)
    #[must_use]
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, self.verifier.as_bytes()))
    }
}

/// A new sign-in
#[derive(Clone, Debug)]
pub struct Beginning {
    /// What the issuer gives back with its answer
    pub state: String,
    /// What the browser keeps meanwhile
    pub cookie: String,
    /// What goes to the issuer, in parts
    pub secrets: Secrets,
}

impl Begun {
    /// A new sign-in at an issuer
    ///
    /// Everybody can begin one, so none takes the place of another.
    ///
    /// # Errors
    /// [`NotDrawn`]: there is no randomness, or too many are under way.
    pub fn begin(&self, issuer: Name, now: Millis) -> Result<Beginning, NotDrawn> {
        let draw = || secret::draw::<BYTES>().ok_or(NotDrawn::Randomness);
        let (state, cookie) = (draw()?, draw()?);
        let secrets = Secrets { nonce: draw()?, verifier: draw()? };
        let hash = |text: &str| secret::digest::<BYTES>(text).ok_or(NotDrawn::Randomness);
        let kept = Kept { issuer, cookie: hash(&cookie)?, secrets: secrets.clone(), since: now };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, kept| kept.lives(now));
        if open.len() >= BEGUN_MAX {
            return Err(NotDrawn::Full);
        }
        open.insert(hash(&state)?, kept);
        Ok(Beginning { state, cookie, secrets })
    }

    /// What was begun at this issuer, by the browser with this cookie; nothing of it is open any more, whatever comes of it
    #[must_use]
    pub fn take(&self, state: &str, cookie: &str, issuer: &Name, now: Millis) -> Option<Secrets> {
        let state = secret::digest::<BYTES>(state)?;
        let kept = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&state)?;
        let same = secret::digest::<BYTES>(cookie)? == kept.cookie && kept.issuer == *issuer && kept.lives(now);
        same.then_some(kept.secrets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_800_000_000_000);

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_sign_in_is_finished_once_by_the_browser_that_began_it() {
        let begun = Begun::default();
        let begin = || begun.begin(name("company"), NOW).unwrap();
        let take = |of: &Beginning, cookie: &str, issuer: &str, now| begun.take(&of.state, cookie, &name(issuer), now);
        let first = begin();
        assert_eq!(take(&first, &first.cookie, "company", NOW), Some(first.secrets.clone()));
        assert_eq!(take(&first, &first.cookie, "company", NOW), None, "once");

        let (one, other) = (begin(), begin());
        assert_eq!(take(&one, &other.cookie, "company", NOW), None, "another browser");
        assert_eq!(take(&one, &one.cookie, "company", NOW), None, "and that was its one time");
        assert_eq!(take(&other, &other.cookie, "elsewhere", NOW), None, "another issuer");
        let late = begin();
        assert_eq!(take(&late, &late.cookie, "company", NOW.plus(LIFETIME_MS)), None, "too late");
        let early = begin();
        assert_eq!(take(&early, &early.cookie, "company", NOW.plus(-1)), None, "before it began");
        assert_eq!(begun.take("", "", &name("company"), NOW), None);
    }

    #[test]
    fn their_number_is_bounded() {
        let begun = Begun::default();
        let first = begun.begin(name("company"), NOW).unwrap();
        (1..BEGUN_MAX).for_each(|_| drop(begun.begin(name("company"), NOW).unwrap()));
        assert_eq!(begun.begin(name("company"), NOW).map(drop), Err(NotDrawn::Full));
        assert!(begun.take(&first.state, &first.cookie, &name("company"), NOW).is_some(), "nobody was pushed out");
        assert!(begun.begin(name("company"), NOW.plus(LIFETIME_MS)).is_ok(), "old ones make room");
    }

    #[test]
    fn the_challenge_is_that_of_the_verifier() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned();
        let secrets = Secrets { nonce: String::new(), verifier };
        assert_eq!(secrets.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
