//! Values that the record only commits to.
//!
//! A personal field or an argument stands in the record as the salted hash of its canonical text. Salt and
//! text, the *opening*, lie beside the record: erasing them leaves every hash whole, and nobody can
//! confirm a guess without the salt.

use crate::{hash::Hash, value::Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};
use std::{borrow::Cow, sync::Arc};

/// A value of which the record holds only a salted hash
///
/// Serialises as `"sha256:<hex>"`; the opening travels apart, see [`Group::openings`](crate::log::Group).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    digest: Hash,
    opening: Option<Opening>,
}

/// What a commitment stands for
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    salt: [u8; 16],
    /// Canonical JSON text
    text: Arc<str>,
}

impl Committed {
    /// Commits to `value`
    #[must_use]
    pub fn new(value: &Value, salt: [u8; 16]) -> Self {
        let text: Arc<str> = value.canonical().into();
        Self { digest: digest(&salt, &text), opening: Some(Opening { salt, text }) }
    }

    /// The same without its opening: nobody can tell any more what it stands for, not even we
    #[must_use]
    pub fn sealed_off(self) -> Self {
        Self { opening: None, ..self }
    }

    /// The value, unless its opening was erased
    #[must_use]
    pub fn value(&self) -> Option<Value> {
        self.opening.as_ref().and_then(|opening| Value::from_canonical(&opening.text).ok())
    }

    /// The salted hash that the record holds
    #[must_use]
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// Puts an opening back, if it is the one that was committed to
    pub fn open(&mut self, opening: Opening) {
        if digest(&opening.salt, &opening.text) == self.digest {
            self.opening = Some(opening);
        }
    }

    /// The opening, if it is known
    #[must_use]
    pub fn opening(&self) -> Option<&Opening> {
        self.opening.as_ref()
    }
}

fn digest(salt: &[u8; 16], text: &str) -> Hash {
    Hash(Sha256::new().chain_update(salt).chain_update(text.as_bytes()).finalize().into())
}

impl Serialize for Committed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("sha256:{}", self.digest))
    }
}

impl<'de> Deserialize<'de> for Committed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let hex = text.strip_prefix("sha256:").ok_or_else(|| D::Error::custom("expected sha256:<hex>"))?;
        Ok(Self { digest: hex.parse().map_err(D::Error::custom)?, opening: None })
    }
}

/// One line of a group's openings: which event, which field, and what it stands for
#[derive(Debug, Serialize, Deserialize)]
pub struct OpeningLine {
    /// Index of the event in its group, from 0
    pub i: usize,
    /// Name of the field within that event
    pub field: String,
    #[serde(with = "salt_hex")]
    salt: [u8; 16],
    value: Arc<str>,
}

impl OpeningLine {
    /// The line for field `field` of event `i`; `None` when the opening is not known
    #[must_use]
    pub fn new(i: usize, field: String, committed: &Committed) -> Option<Self> {
        let opening = committed.opening()?;
        Some(Self { i, field, salt: opening.salt, value: Arc::clone(&opening.text) })
    }

    /// The opening that the line holds
    #[must_use]
    pub fn opening(self) -> Opening {
        Opening { salt: self.salt, text: self.value }
    }
}

/// Salts for one group, all different, from one secret seed that is not kept
#[derive(Debug)]
pub struct Salts {
    seed: [u8; 32],
    drawn: u64,
}

impl Salts {
    /// Salts that only the holder of `seed` could have computed
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    /// The next salt
    pub fn draw(&mut self) -> [u8; 16] {
        self.drawn += 1;
        let full = Hash::of_parts(&[&self.seed, &self.drawn.to_be_bytes()]).0;
        let mut salt = [0; 16];
        salt.iter_mut().zip(full).for_each(|(to, from)| *to = from);
        salt
    }
}

mod salt_hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(salt: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:032x}", u128::from_be_bytes(*salt)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() != 32 {
            return Err(D::Error::custom("expected 32 hexadecimal digits"));
        }
        u128::from_str_radix(&text, 16).map(u128::to_be_bytes).map_err(D::Error::custom)
    }
}
