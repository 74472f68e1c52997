//! Challenges that nobody chose: for signing in, and for registering a passkey. Each counts once.

use crate::secret::{self, NotDrawn};
use portreeve_core::{names::Name, time::Millis};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// How long there is time to answer a challenge, in milliseconds
pub const CHALLENGE_MS: i64 = 5 * 60 * 1000;
/// Challenges at once; a further one takes the place of the oldest of its kind
pub const CHALLENGES_MAX: usize = 1024;

/// What a challenge is for
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Somebody wants to sign in; who, is not known yet
    SignIn,
    /// This user, who is signed in, registers a passkey
    Register(Name),
    /// This user, who is signed in, shows that they are there
    Confirm(Name),
}

/// The challenges that nobody has answered yet, in memory only
#[derive(Debug, Default)]
pub struct Challenges {
    // Held only for a look-up or a change: two answers to one challenge are one after the other.
    open: Mutex<BTreeMap<[u8; 32], Open>>,
}

#[derive(Debug)]
struct Open {
    purpose: Purpose,
    drawn: Millis,
}

impl Open {
    fn lives(&self, now: Millis) -> bool {
        (0..CHALLENGE_MS).contains(&now.since(self.drawn))
    }
}

impl Challenges {
    /// A new challenge for this
    ///
    /// Everybody can ask for one to sign in with, so these never take the place of others.
    ///
    /// # Errors
    /// [`NotDrawn`]: there is no randomness, or there is no room.
    pub fn draw(&self, purpose: Purpose, now: Millis) -> Result<[u8; 32], NotDrawn> {
        let challenge = secret::random::<32>().ok_or(NotDrawn::Randomness)?;
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, open| open.lives(now));
        let alike = || all.iter().filter(|(_, open)| open.purpose == purpose);
        // Users register a passkey once in a while: the ones of one user cannot fill the table either.
        let at_most = if purpose == Purpose::SignIn { CHALLENGES_MAX / 2 } else { 8 };
        if alike().count() >= at_most {
            let oldest = alike().min_by_key(|(_, open)| open.drawn).map(|(challenge, _)| *challenge);
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        if all.len() >= CHALLENGES_MAX {
            return Err(NotDrawn::Full);
        }
        all.insert(challenge, Open { purpose, drawn: now });
        Ok(challenge)
    }

    /// Whether this challenge was drawn for this and is still open; it is not any more
    #[must_use]
    pub fn take(&self, challenge: &[u8], purpose: &Purpose, now: Millis) -> bool {
        let Ok(challenge) = <[u8; 32]>::try_from(challenge) else {
            return false;
        };
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&challenge);
        open.is_some_and(|open| open.lives(now) && open.purpose == *purpose)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_800_000_000_000);

    #[test]
    fn a_challenge_counts_once_for_its_purpose_and_for_minutes() {
        let challenges = Challenges::default();
        let ann = Purpose::Register("ann".parse().unwrap());
        let ben = Purpose::Register("ben".parse().unwrap());
        let draw = |purpose: &Purpose| challenges.draw(purpose.clone(), NOW).unwrap();
        let challenge = draw(&ann);
        assert!(challenges.take(&challenge, &ann, NOW.plus(CHALLENGE_MS - 1)));
        assert!(!challenges.take(&challenge, &ann, NOW));
        for (purpose, now) in
            [(&Purpose::SignIn, NOW), (&ben, NOW), (&ann, NOW.plus(CHALLENGE_MS)), (&ann, NOW.plus(-1))]
        {
            assert!(!challenges.take(&draw(&ann), purpose, now));
        }
        assert!(!challenges.take(&[0; 32], &ann, NOW) && !challenges.take(&[], &ann, NOW));
        assert_ne!(draw(&ann), draw(&ann));
    }

    #[test]
    fn strangers_cannot_push_out_who_is_signed_in() {
        let challenges = Challenges::default();
        let ann = Purpose::Register("ann".parse().unwrap());
        let hers = challenges.draw(ann.clone(), NOW).unwrap();
        let first = challenges.draw(Purpose::SignIn, NOW).unwrap();
        for _ in 0..CHALLENGES_MAX {
            challenges.draw(Purpose::SignIn, NOW.plus(1)).unwrap();
        }
        assert!(!challenges.take(&first, &Purpose::SignIn, NOW.plus(1)));
        assert!(challenges.take(&hers, &ann, NOW.plus(1)));
        assert!(challenges.open.lock().unwrap().len() <= CHALLENGES_MAX);
    }
}
