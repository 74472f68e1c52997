//! Sets of public keys (RFC 7517, 5).

use super::{Algorithm, Invalid, Jwk, Thumbprint, jwk};
use portreeve_core::{
    json::{Limits, scan},
    value::Value,
};
use std::collections::BTreeMap;

/// Bytes of a set at most
const BYTES_MAX: usize = 256 << 10;
/// Keys of a set at most
const KEYS_MAX: usize = 100;
/// Keys that are tried for a token that names none
const TRIED_MAX: usize = 8;

/// The public keys of one issuer
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: Option<String>,
    // What cannot be used is kept by its name: whoever uses it is told why.
    key: Result<Jwk, Invalid>,
}

/// Why a document is no set of keys
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKeys {
    /// It is no strict JSON
    #[error("the keys are not JSON that is read in one way only")]
    Json,
    /// It has no list of keys
    #[error("the keys are not a JWK Set: an object with a list named keys (RFC 7517)")]
    Form,
    /// There are too many
    #[error("there are more than 100 keys")]
    TooMany,
}

impl Keys {
    /// The keys of a JWK Set
    ///
    /// Keys of unknown kinds are no error (RFC 7517, 5); a token that names one is told what is wrong with it.
    ///
    /// # Errors
    /// [`NotKeys`]: it is no such set.
    pub fn read(bytes: &[u8]) -> Result<Self, NotKeys> {
        let set = document(bytes)?;
        Ok(Self::of_members(list(&set)?, &["sig"]))
    }

    /// Only these keys, without names
    #[must_use]
    pub fn of(keys: impl IntoIterator<Item = Jwk>) -> Self {
        Self(keys.into_iter().map(|key| Entry { name: None, key: Ok(key) }).collect())
    }

    /// Keys that are for one of `uses` if they say for what they are
    pub(crate) fn of_members<'v>(keys: impl IntoIterator<Item = &'v Value>, uses: &[&str]) -> Self {
        let entry = |key: &Value| {
            let members = key.as_object()?;
            let (name, wrong) = match jwk::name(members.get("kid")) {
                Ok(name) => (name, None),
                Err(wrong) => (None, Some(wrong)),
            };
            let key = wrong.map_or_else(|| Jwk::of(members, uses), Err);
            Some(Entry { name, key })
        };
        Self(keys.into_iter().filter_map(entry).collect())
    }

    /// The thumbprints of those that can be used
    pub fn thumbprints(&self) -> impl Iterator<Item = &Thumbprint> {
        self.0.iter().filter_map(|entry| entry.key.as_ref().ok()).map(Jwk::thumbprint)
    }

    /// Whether none of them can be used
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.thumbprints().next().is_none()
    }

    /// The key that signed `message`; a name that the token has is that of the key
    pub(super) fn signer(
        &self,
        message: &[u8],
        signature: &str,
        algorithm: Algorithm,
        name: Option<&str>,
    ) -> Result<&Jwk, Invalid> {
        // Names say nothing where no key has one.
        let name = name.filter(|_| self.0.iter().any(|entry| entry.name.is_some()));
        let Some(name) = name else {
            let fits = |entry: &&Entry| entry.key.as_ref().is_ok_and(|key| key.fits(algorithm));
            let candidates: Vec<_> = self.0.iter().filter(fits).take(TRIED_MAX + 1).collect();
            if candidates.len() > TRIED_MAX {
                return Err(Invalid::KeyAmbiguous);
            }
            let mut keys = candidates.iter().filter_map(|entry| entry.key.as_ref().ok());
            // Whether it is forged or the keys have changed cannot be told apart here.
            return keys.find(|key| key.verify(message, signature, algorithm).is_ok()).ok_or(Invalid::KeyUnknown);
        };
        let named = self.0.iter().filter(|entry| entry.name.as_deref() == Some(name));
        let named: Vec<_> = named.map(|entry| &entry.key).collect();
        let mut fitting = named.iter().filter_map(|key| key.as_ref().ok()).filter(|key| key.fits(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => key.verify(message, signature, algorithm).map(|()| key),
            (Some(_), Some(_)) => Err(Invalid::KeyAmbiguous),
            (None, _) => Err(match named.first() {
                None => Invalid::KeyUnknown,
                Some(Ok(_)) => Invalid::AlgorithmKey,
                Some(Err(wrong)) => *wrong,
            }),
        }
    }
}

/// The object that a document of keys is
pub(crate) fn document(bytes: &[u8]) -> Result<BTreeMap<String, Value>, NotKeys> {
    let limits = Limits { bytes_max: BYTES_MAX, depth_max: 8, nodes_max: 10_000 };
    let json = scan(bytes, &limits).map_err(|_| NotKeys::Json)?;
    match json.to_value().map_err(|_| NotKeys::Json)? {
        Value::Object(members) => Ok(members),
        _ => Err(NotKeys::Form),
    }
}

/// The list of keys of such an object
pub(crate) fn list(document: &BTreeMap<String, Value>) -> Result<&[Value], NotKeys> {
    match document.get("keys") {
        Some(Value::Array(keys)) if keys.len() > KEYS_MAX => Err(NotKeys::TooMany),
        Some(Value::Array(keys)) if keys.iter().all(|key| key.as_object().is_some()) => Ok(keys),
        _ => Err(NotKeys::Form),
    }
}
