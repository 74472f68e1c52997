//! One-time sign-in links: what the owner of the data folder hands to a person.
//!
//! A link says who somebody is, once, and soon not any more. Scanners in mail programs and chats open links:
//! so looking at one ([`Links::peek`]) does not use it up, only the button on its page does ([`Links::take`]).

use crate::{
    Bearer,
    secret::{self, NotDrawn},
};
use portreeve_core::{hash::Hash, names::Name, time::Millis};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How long a link lives unless said otherwise, in milliseconds
pub const LIFETIME_MS: i64 = 5 * 60 * 1000;
/// How long a link lives at most, in milliseconds
pub const LIFETIME_MAX_MS: i64 = 60 * 60 * 1000;
/// Links of all users at once
pub const LINKS_MAX: usize = 1024;
/// Links of one user at once; a further one takes the place of the oldest
pub const LINKS_OF_USER_MAX: usize = 8;

/// Bytes of a link's token
const TOKEN_BYTES: usize = 16;

/// The links that are open, in memory only
#[derive(Debug, Default)]
pub struct Links {
    // By the digest of the token. Held only for a look-up or a change: two takers of one link are one after the other.
    open: Mutex<BTreeMap<Hash, Link>>,
}

/// What a link says of whoever uses it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invited {
    /// Whom it signs in
    pub bearer: Bearer,
    /// Who had it made for them, and could have used it instead: `user:NAME` or `account:NAME`; nobody but they
    /// themselves if it is nothing
    pub by: Option<String>,
}

#[derive(Clone, Debug)]
struct Link {
    invited: Invited,
    issued: Millis,
    until: Millis,
}

impl Link {
    /// A clock that went back before the link was made is no reason to let it live longer
    fn lives(&self, now: Millis) -> bool {
        self.issued <= now && now < self.until
    }
}

impl Links {
    /// A new token (128 bits, base64url) that signs somebody in once within `for_ms` milliseconds
    ///
    /// A time outside of 1 ms to [`LIFETIME_MAX_MS`] is brought into it.
    ///
    /// # Errors
    /// [`NotDrawn`]: there is no randomness, or too many links are open.
    pub fn issue(&self, invited: Invited, for_ms: i64, now: Millis) -> Result<String, NotDrawn> {
        let token = secret::draw::<TOKEN_BYTES>().ok_or(NotDrawn::Randomness)?;
        let hash = secret::digest::<TOKEN_BYTES>(&token).ok_or(NotDrawn::Randomness)?;
        let mut open = self.open();
        open.retain(|_, link| link.lives(now));
        let of_user = || open.iter().filter(|(_, link)| link.invited.bearer.user == invited.bearer.user);
        if of_user().count() >= LINKS_OF_USER_MAX {
            let oldest = of_user().min_by_key(|(_, link)| link.issued).map(|(hash, _)| *hash);
            oldest.and_then(|oldest| open.remove(&oldest));
        }
        if open.len() >= LINKS_MAX {
            return Err(NotDrawn::Full);
        }
        let until = now.plus(for_ms.clamp(1, LIFETIME_MAX_MS));
        open.insert(hash, Link { invited, issued: now, until });
        Ok(token)
    }

    /// Whom the link would sign in; it stays as it is
    #[must_use]
    pub fn peek(&self, token: &str, now: Millis) -> Option<Invited> {
        let hash = secret::digest::<TOKEN_BYTES>(token)?;
        self.open().get(&hash).filter(|link| link.lives(now)).map(|link| link.invited.clone())
    }

    /// Whom the link signs in; it is used up, for everybody else who has it too
    #[must_use]
    pub fn take(&self, token: &str, now: Millis) -> Option<Invited> {
        let hash = secret::digest::<TOKEN_BYTES>(token)?;
        self.open().remove(&hash).filter(|link| link.lives(now)).map(|link| link.invited)
    }

    /// Ends all links of a user
    pub fn end_all(&self, user: &Name) {
        self.open().retain(|_, link| link.invited.bearer.user != *user);
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<Hash, Link>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Barrier};

    const NOW: Millis = Millis(1_800_000_000_000);

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn of(user: &str) -> Invited {
        Invited { bearer: Bearer { user: name(user), generation: 1 }, by: Some("user:kim".to_owned()) }
    }

    #[test]
    fn a_link_signs_in_once() {
        let links = Links::default();
        let token = links.issue(of("ann"), LIFETIME_MS, NOW).unwrap();
        let other = links.issue(of("ben"), LIFETIME_MS, NOW).unwrap();
        assert_eq!(links.peek(&token, NOW), Some(of("ann")));
        assert_eq!(links.peek(&token, NOW), Some(of("ann")), "looking does not use it up");
        assert_eq!(links.take(&token, NOW), Some(of("ann")));
        assert_eq!((links.take(&token, NOW), links.peek(&token, NOW)), (None, None));
        assert_eq!(links.take(&other, NOW), Some(of("ben")));
        assert!(!format!("{links:?}").contains(&token));
    }

    #[test]
    fn of_two_takers_one_gets_it() {
        let links = Arc::new(Links::default());
        for _ in 0..200 {
            let token = links.issue(of("ann"), LIFETIME_MS, NOW).unwrap();
            let barrier = Arc::new(Barrier::new(2));
            let takers = [(); 2].map(|()| {
                let (links, barrier, token) = (Arc::clone(&links), Arc::clone(&barrier), token.clone());
                std::thread::spawn(move || {
                    barrier.wait();
                    links.take(&token, NOW)
                })
            });
            let got = takers.map(|taker| taker.join().unwrap());
            assert_eq!(got.iter().flatten().count(), 1);
        }
    }

    #[test]
    fn a_link_runs_out_and_taking_it_late_does_not_keep_it() {
        let links = Links::default();
        let token = links.issue(of("ann"), LIFETIME_MS, NOW).unwrap();
        assert!(links.peek(&token, NOW.plus(LIFETIME_MS - 1)).is_some());
        assert_eq!(links.peek(&token, NOW.plus(LIFETIME_MS)), None);
        assert_eq!(links.peek(&token, NOW.plus(-1)), None, "nor does it live before it was made");
        assert_eq!(links.take(&token, NOW.plus(LIFETIME_MS)), None);
        assert_eq!(links.take(&token, NOW), None);
        let long = links.issue(of("ann"), i64::MAX, NOW).unwrap();
        assert_eq!(links.peek(&long, NOW.plus(LIFETIME_MAX_MS)), None);
    }

    #[test]
    fn their_number_is_bounded() {
        let links = Links::default();
        let first = links.issue(of("ann"), LIFETIME_MS, NOW).unwrap();
        for at in 1..=LINKS_OF_USER_MAX as i64 {
            links.issue(of("ann"), LIFETIME_MS, NOW.plus(at)).unwrap();
        }
        assert_eq!(links.peek(&first, NOW.plus(1)), None, "the oldest went");
        assert_eq!(links.open().len(), LINKS_OF_USER_MAX);
        for at in 0..LINKS_MAX - LINKS_OF_USER_MAX {
            links.issue(of(&format!("u{at}")), LIFETIME_MS, NOW.plus(100)).unwrap();
        }
        assert_eq!(links.issue(of("zoe"), LIFETIME_MS, NOW.plus(100)), Err(NotDrawn::Full));
        assert!(links.issue(of("zoe"), LIFETIME_MS, NOW.plus(LIFETIME_MS + 100)).is_ok(), "old ones make room");
        assert_eq!(links.open().len(), 1);
    }

    #[test]
    fn nothing_else_is_a_link() {
        let links = Links::default();
        let token = links.issue(of("ann"), LIFETIME_MS, NOW).unwrap();
        let hash = secret::digest::<TOKEN_BYTES>(&token).unwrap().to_string();
        for bad in ["", "AAAAAAAAAAAAAAAAAAAAAA", token.get(..21).unwrap(), &format!("{token}A"), &hash] {
            assert_eq!(links.take(bad, NOW), None, "{bad}");
        }
        links.end_all(&name("ben"));
        assert!(links.peek(&token, NOW).is_some());
        links.end_all(&name("ann"));
        assert_eq!(links.take(&token, NOW), None);
    }
}
