//! Secrets that a browser carries: drawn here, and kept only as digests.
//!
//! Whoever reads our memory or a core dump later cannot use what is in it. Looking one up by its digest also
//! takes no longer for a good guess than for a bad one: who can choose the guess cannot choose the digest.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_core::hash::Hash;

/// `N` random bytes; nothing if the system has none to give
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

/// A new secret of `N` bytes as base64url text; nothing if the system has no randomness to give
pub(crate) fn draw<const N: usize>() -> Option<String> {
    random::<N>().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
}

/// What is kept of a secret of `N` bytes; nothing if the text cannot be one
pub(crate) fn digest<const N: usize>(text: &str) -> Option<Hash> {
    // Four digits for three bytes; longer ones are not even decoded.
    if text.len() != (N * 4).div_ceil(3) {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(Hash::of(&bytes))
}

/// No secret could be drawn
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDrawn {
    /// The system gave no randomness
    #[error("the system gave no randomness; try again")]
    Randomness,
    /// There are too many already
    #[error("too many are open at once; wait until some have run out")]
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_one_text_and_one_digest() {
        let secret = draw::<16>().unwrap();
        assert_eq!(secret.len(), 22);
        assert_eq!(draw::<32>().unwrap().len(), 43);
        assert_ne!(draw::<16>(), Some(secret.clone()));
        assert!(digest::<16>(&secret).is_some());
        assert_eq!(digest::<32>(&secret), None);
        // The last digit holds four bits too many: only one of its forms is read.
        let mut other = secret.clone();
        other.pop();
        let read = (b'A'..=b'z').filter(|last| digest::<16>(&format!("{other}{}", char::from(*last))).is_some());
        assert_eq!(read.count(), 4);
        for bad in ["", "AAAAAAAAAAAAAAAAAAAAA ", "AAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAA+/"] {
            assert_eq!(digest::<16>(bad), None, "{bad}");
        }
    }
}
