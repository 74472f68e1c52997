//! Seals: what is handed out to a client and taken back only as it was.
//!
//! A seal says that we wrote something, not that whoever brings it may do anything: what is sealed names the
//! run that it was made for, and that is compared with the token's.

use crate::{key::SigningKey, keyring::Keys};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hmac,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_core::time::Millis;
use std::sync::{PoisonError, RwLock};
use zeroize::Zeroizing;

/// Seals and opens, with keys of its own that follow from master keys
#[derive(Debug)]
pub struct Sealer {
    // The current one first; the others only open. Held while something is sealed or opened, which takes microseconds.
    keys: RwLock<Vec<RandomizedNonceKey>>,
}

impl Sealer {
    /// A sealer whose seals end with this master key; nothing if the system cannot encrypt
    #[must_use]
    pub fn new(key: &SigningKey) -> Option<Self> {
        Some(Self { keys: RwLock::new(vec![derived(key)?]) })
    }

    /// From now on seals with the current one of these master keys, and opens with all that count now
    ///
    /// `false` if one of them does not sign, and so nothing follows from it: then all stays as it was.
    #[must_use]
    pub fn turn(&self, keys: &Keys, now: Millis) -> bool {
        let Some(keys) = keys.secrets(now).map(|key| derived(key)).collect::<Option<Vec<_>>>() else { return false };
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        true
    }

    /// `content`, unreadable and unchangeable, for one kind of use; nothing if it could not be encrypted
    ///
    /// The text is of `A-Z a-z 0-9 - _`, so it may stand in headers and URLs.
    #[must_use]
    pub fn seal(&self, kind: &str, content: &[u8]) -> Option<String> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut sealed = content.to_vec();
        let nonce = keys.first()?.seal_in_place_append_tag(Aad::from(kind), &mut sealed).ok()?;
        Some(URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &sealed].concat()))
    }

    /// The content of what was sealed for this use; nothing if it is not ours, or was changed
    #[must_use]
    pub fn open(&self, kind: &str, text: &str) -> Option<Vec<u8>> {
        let mut nonce = URL_SAFE_NO_PAD.decode(text).ok()?;
        let sealed = nonce.split_off(NONCE_LEN.min(nonce.len()));
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().find_map(|key| {
            let nonce = Nonce::try_assume_unique_for_key(&nonce).ok()?;
            let mut content = sealed.clone();
            let opened = key.open_in_place(nonce, Aad::from(kind), &mut content).ok()?.len();
            content.truncate(opened);
            Some(content)
        })
    }
}

/// The key that follows from a master key; the same from wherever that one signs
///
/// Ed25519 signs the same text the same way each time, and nobody else can. The master key signs no text but this one
/// and those that vouch for its follower, which begin otherwise.
fn derived(key: &SigningKey) -> Option<RandomizedNonceKey> {
    let root = Zeroizing::new(key.sign(b"portreeve seal 1").ok()?);
    let root = hmac::Key::new(hmac::HMAC_SHA256, &root);
    RandomizedNonceKey::new(&AES_256_GCM, hmac::sign(&root, b"portreeve seal 1").as_ref()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_key_opens_until_its_time_is_over_and_never_seals() {
        let (first, second) = (SigningKey::make().unwrap(), SigningKey::make().unwrap());
        let sealer = Sealer::new(&first).unwrap();
        let before = sealer.seal("state", b"before").unwrap();
        let keys = Keys::one(first).turned(second.into(), Millis(100));
        assert!(sealer.turn(&keys, Millis(99)));
        let after = sealer.seal("state", b"after").unwrap();
        assert_eq!(sealer.open("state", &before).as_deref(), Some(b"before".as_slice()));
        assert_eq!(sealer.open("state", &after).as_deref(), Some(b"after".as_slice()));
        assert!(sealer.turn(&keys, Millis(100)));
        assert_eq!(sealer.open("state", &before), None);
        assert_eq!(sealer.open("state", &after).as_deref(), Some(b"after".as_slice()));
    }

    #[test]
    fn only_what_was_sealed_is_opened_and_only_for_its_use() {
        let sealer = Sealer::new(&SigningKey::make().unwrap()).unwrap();
        let sealed = sealer.seal("state", b"{\"a\":1}").unwrap();
        assert_eq!(sealer.open("state", &sealed).as_deref(), Some(b"{\"a\":1}".as_slice()));
        assert!(!sealed.contains("eyJh"), "nobody reads what is in it");
        assert_ne!(Some(&sealed), sealer.seal("state", b"{\"a\":1}").as_ref(), "nor sees that it is the same");
        assert_eq!(sealer.open("cursor", &sealed), None);
        assert_eq!(Sealer::new(&SigningKey::make().unwrap()).unwrap().open("state", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(sealer.open("state", &changed), None, "{at}");
        }
        for broken in ["", ".", "a", "AAAA", "AAAAAAAAAAAAAAAA"] {
            assert_eq!(sealer.open("state", broken), None, "{broken}");
        }
    }
}
