//! Seals: what is handed out to a client and taken back only as it was.
//!
//! A seal says that we wrote something, not that whoever brings it may do anything: what is sealed names the
//! run that it was made for, and that is compared with the token's.

use crate::key::SigningKey;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hmac,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Seals and opens, with a key of its own that follows from the signing key
#[derive(Debug)]
pub struct Sealer {
    key: RandomizedNonceKey,
}

impl Sealer {
    /// A sealer whose seals end with the signing key; nothing if the system cannot encrypt
    #[must_use]
    pub fn new(key: &SigningKey) -> Option<Self> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, key.pkcs8());
        let derived = hmac::sign(&root, b"portreeve seal 1");
        RandomizedNonceKey::new(&AES_256_GCM, derived.as_ref()).ok().map(|key| Self { key })
    }

    /// `content`, unreadable and unchangeable, for one kind of use; nothing if it could not be encrypted
    ///
    /// The text is of `A-Z a-z 0-9 - _`, so it may stand in headers and URLs.
    #[must_use]
    pub fn seal(&self, kind: &str, content: &[u8]) -> Option<String> {
        let mut sealed = content.to_vec();
        let nonce = self.key.seal_in_place_append_tag(Aad::from(kind), &mut sealed).ok()?;
        Some(URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &sealed].concat()))
    }

    /// The content of what was sealed for this use; nothing if it is not ours, or was changed
    #[must_use]
    pub fn open(&self, kind: &str, text: &str) -> Option<Vec<u8>> {
        let mut sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let mut content = sealed.split_off(NONCE_LEN.min(sealed.len()));
        let nonce = Nonce::try_assume_unique_for_key(&sealed).ok()?;
        let opened = self.key.open_in_place(nonce, Aad::from(kind), &mut content).ok()?.len();
        content.truncate(opened);
        Some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
