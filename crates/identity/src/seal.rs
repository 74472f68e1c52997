//! Seals: what is handed out to a client and taken back only as it was.
//!
//! A seal says that we wrote something, not that whoever brings it may do anything: what is sealed names the
//! run that it was made for, and that is compared with the token's.

use crate::key::SigningKey;
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Seals and opens, with a key of its own that follows from the signing key
#[derive(Debug)]
pub struct Sealer {
    key: hmac::Key,
}

impl Sealer {
    /// A sealer whose seals end with the signing key
    #[must_use]
    pub fn new(key: &SigningKey) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, key.pkcs8());
        let derived = hmac::sign(&root, b"portreeve seal 1");
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()) }
    }

    /// `content`, readable but unchangeable, for one kind of use
    ///
    /// The text is of `A-Z a-z 0-9 - _ .`, so it may stand in headers and URLs.
    #[must_use]
    pub fn seal(&self, kind: &str, content: &[u8]) -> String {
        let tag = self.tag(kind, content);
        format!("{}.{}", URL_SAFE_NO_PAD.encode(content), URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }

    /// The content of what was sealed for this use; nothing if it is not ours, or was changed
    #[must_use]
    pub fn open(&self, kind: &str, text: &str) -> Option<Vec<u8>> {
        let (content, tag) = text.split_once('.')?;
        let (content, tag) = (URL_SAFE_NO_PAD.decode(content).ok()?, URL_SAFE_NO_PAD.decode(tag).ok()?);
        hmac::verify(&self.key, &covered(kind, &content), &tag).ok()?;
        Some(content)
    }

    fn tag(&self, kind: &str, content: &[u8]) -> hmac::Tag {
        hmac::sign(&self.key, &covered(kind, content))
    }
}

/// The kind is no part of the content, and no kind is the beginning of another one with content
fn covered(kind: &str, content: &[u8]) -> Vec<u8> {
    [kind.as_bytes(), b"\0", content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_is_opened_and_only_for_its_use() {
        let sealer = Sealer::new(&SigningKey::make().unwrap());
        let sealed = sealer.seal("state", b"{\"a\":1}");
        assert_eq!(sealer.open("state", &sealed).as_deref(), Some(b"{\"a\":1}".as_slice()));
        assert_eq!(sealer.open("cursor", &sealed), None);
        assert_eq!(Sealer::new(&SigningKey::make().unwrap()).open("state", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character of base64 may have bits that stand for nothing; those are refused too.
            assert_eq!(sealer.open("state", &changed), None, "{at}");
        }
        for broken in ["", ".", "a", "a.b.c", "=.="] {
            assert_eq!(sealer.open("state", broken), None);
        }
    }
}
