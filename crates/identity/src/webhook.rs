//! Standard Webhooks 1.0.0 (<https://www.standardwebhooks.com>): messages between servers, signed.
//!
//! What is signed is `{id}.{timestamp}.{body}` ("Signature scheme"), with Ed25519 (`v1a`), so that a receiver
//! cannot write what it can check. Messages signed with a shared secret (`v1`, HMAC-SHA256) are understood too,
//! for senders that have nothing better.
//!
//! The body is signed as it is: hand over the bytes of the request, never a text that was written anew.

use crate::{
    key::{PublicKey, SigningKey},
    keyring::Keys,
};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_core::{hash::Hash, time::Millis};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
};

/// The header of a message's id
pub const ID: &str = "webhook-id";
/// The header of the time of sending, in seconds since 1970
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header of the signatures
pub const SIGNATURE: &str = "webhook-signature";

/// How far the time of sending may be away from ours, in milliseconds and both ways
pub const TOLERANCE_MS: i64 = 5 * 60 * 1000;
/// Characters of an id at most
pub const ID_MAX: usize = 128;
/// Signatures of one message that are looked at; more are refused
pub const SIGNATURES_MAX: usize = 16;
/// Messages of the last minutes whose ids are remembered
pub const SEEN_MAX: usize = 10_000;

const SECRET_KEY: &str = "whsk_";
const PUBLIC_KEY: &str = "whpk_";
const SHARED: &str = "whsec_";

/// The three headers of a message
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// [`ID`]: the same each time the message is sent
    pub id: String,
    /// [`TIMESTAMP`]
    pub timestamp: String,
    /// [`SIGNATURE`]: signatures with a space between them
    pub signature: String,
}

/// What a sender's messages are checked with
#[derive(Clone, PartialEq, Eq)]
pub enum Key {
    /// `whpk_…`: Ed25519, signatures `v1a`
    Public(PublicKey),
    /// `whsec_…`: HMAC-SHA256, signatures `v1`
    Shared(Vec<u8>),
}

/// Why a message counts for nothing
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// No such id is given out: an id with a dot could be read in two ways
    #[error("the message's id is none: expected 1 to 128 visible ASCII characters without a dot")]
    Id,
    /// The time is no number of seconds
    #[error("the message's timestamp is no number of seconds since 1970")]
    Timestamp,
    /// It was sent too long ago, or will be
    #[error("the message was not sent within the last five minutes; check both clocks")]
    Time,
    /// The header holds too many
    #[error("the message has more than 16 signatures")]
    TooMany,
    /// None of the signatures was made with one of the keys
    #[error("no signature of the message fits; check the key, and that the body arrives unchanged")]
    Signature,
}

/// The text is no key
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no key for webhooks: expected whpk_ and 32 bytes, whsk_ and 32 or 64, or whsec_ and 24 to 64, in base64"
)]
pub struct NoKey;

/// The headers of a message from us; nothing if no message can have this id, or the key does not sign
///
/// A message that is sent again keeps its id and gets another time.
#[must_use]
pub fn sign(key: &SigningKey, id: &str, now: Millis, body: &[u8]) -> Option<Headers> {
    sign_with(std::iter::once(key), id, now, body)
}

/// The same with the signatures of every key that counts now, so that receivers can go from one to the next
#[must_use]
pub fn sign_by(keys: &Keys, id: &str, now: Millis, body: &[u8]) -> Option<Headers> {
    sign_with(keys.secrets(now).map(AsRef::as_ref).take(SIGNATURES_MAX), id, now, body)
}

fn sign_with<'a>(keys: impl Iterator<Item = &'a SigningKey>, id: &str, now: Millis, body: &[u8]) -> Option<Headers> {
    let seconds = u64::try_from(now.0.div_euclid(1000)).ok()?;
    let timestamp = seconds.to_string();
    if !is_id(id) {
        return None;
    }
    let message = signed(id, &timestamp, body);
    let signature = |key: &SigningKey| Some(format!("v1a,{}", STANDARD.encode(key.sign(&message).ok()?)));
    let signatures = keys.map(signature).collect::<Option<Vec<_>>>()?;
    Some(Headers { id: id.to_owned(), timestamp, signature: signatures.join(" ") })
}

/// Holds a message against the keys of its sender, of which one has to fit
///
/// Several keys are for the time in which a sender goes from one to the next. Whether the message came before
/// is not looked at here but by [`Seen`].
///
/// # Errors
/// [`Wrong`]: the message counts for nothing.
pub fn verify(keys: &[Key], headers: &Headers, body: &[u8], now: Millis) -> Result<(), Wrong> {
    if !is_id(&headers.id) {
        return Err(Wrong::Id);
    }
    let sent = seconds(&headers.timestamp).ok_or(Wrong::Timestamp)?;
    if now.since(sent).saturating_abs() > TOLERANCE_MS {
        return Err(Wrong::Time);
    }
    let message = signed(&headers.id, &headers.timestamp, body);
    let signatures: Vec<&str> = headers.signature.split(' ').take(SIGNATURES_MAX + 1).collect();
    if signatures.len() > SIGNATURES_MAX {
        return Err(Wrong::TooMany);
    }
    // A signature counts only for the kind of key that its version is for.
    let fits = signatures.iter().filter_map(|signature| signature.split_once(',')).any(|(version, signature)| {
        STANDARD
            .decode(signature)
            .is_ok_and(|signature| keys.iter().any(|key| key.version() == version && key.fits(&message, &signature)))
    });
    if fits { Ok(()) } else { Err(Wrong::Signature) }
}

impl Key {
    /// Reads `whpk_…` or `whsec_…`
    ///
    /// # Errors
    /// [`NoKey`]
    pub fn parse(text: &str) -> Result<Self, NoKey> {
        if let Some(key) = text.strip_prefix(PUBLIC_KEY) {
            let bytes = STANDARD.decode(key).map_err(|_| NoKey)?;
            return PublicKey::from_bytes(&bytes).map(Self::Public).ok_or(NoKey);
        }
        let secret = STANDARD.decode(text.strip_prefix(SHARED).ok_or(NoKey)?).map_err(|_| NoKey)?;
        if !(24..=64).contains(&secret.len()) {
            return Err(NoKey);
        }
        Ok(Self::Shared(secret))
    }

    fn version(&self) -> &'static str {
        match self {
            Self::Public(_) => "v1a",
            Self::Shared(_) => "v1",
        }
    }

    fn fits(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Public(key) => key.fits(message, signature),
            // Takes the same time wherever the two differ.
            Self::Shared(secret) => {
                hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), message, signature).is_ok()
            }
        }
    }
}

/// Says nothing of a shared secret
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public(key) => write!(f, "Public({})", public_text(key)),
            Self::Shared(_) => f.write_str("Shared(..)"),
        }
    }
}

/// A public key as receivers of webhooks want it: `whpk_…`
#[must_use]
pub fn public_text(key: &PublicKey) -> String {
    format!("{PUBLIC_KEY}{}", STANDARD.encode(key.as_bytes()))
}

/// Reads a secret key `whsk_…`: the seed, or the seed and the public key that follows from it
///
/// # Errors
/// [`NoKey`]
pub fn secret_key(text: &str) -> Result<SigningKey, NoKey> {
    let bytes = STANDARD.decode(text.strip_prefix(SECRET_KEY).ok_or(NoKey)?).map_err(|_| NoKey)?;
    let (seed, public) = bytes.split_at_checked(32).ok_or(NoKey)?;
    let key = SigningKey::from_seed(seed).ok_or(NoKey)?;
    if !public.is_empty() && public != key.public_key().as_bytes() {
        return Err(NoKey);
    }
    Ok(key)
}

/// The ids of messages that came before, so that one that was listened to and sent again counts once
#[derive(Debug, Default)]
pub struct Seen {
    // Until when each could be accepted. Held only for a look-up or an insertion.
    ids: Mutex<BTreeMap<Hash, Millis>>,
}

impl Seen {
    /// Whether this is the first message of `sender` with this id; only after [`verify`]
    ///
    /// While too many came within minutes none is the first.
    #[must_use]
    pub fn first(&self, sender: &str, headers: &Headers, now: Millis) -> bool {
        let hash = Hash::of_parts(&[sender.as_bytes(), headers.id.as_bytes()]);
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        // A message from the future of its sender is accepted for twice the tolerance.
        ids.retain(|_, until| now <= *until);
        if ids.len() >= SEEN_MAX || ids.contains_key(&hash) {
            return false;
        }
        ids.insert(hash, now.plus(2 * TOLERANCE_MS));
        true
    }
}

/// `{id}.{timestamp}.{body}`; can be split in one way only, since neither of the first two has a dot
fn signed(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

fn is_id(id: &str) -> bool {
    (1..=ID_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.')
}

/// A time in whole seconds, without sign, fraction or leading zero
fn seconds(text: &str) -> Option<Millis> {
    let digits = (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.parse::<i64>().ok()?.checked_mul(1000).map(Millis)
}

#[cfg(test)]
mod tests;
