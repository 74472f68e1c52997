//! What names a key wherever it goes (RFC 7638).

use crate::base64url;
use portreeve_core::hash::Hash;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr};

/// The SHA-256 thumbprint of a public key, or of a certificate; written as base64url
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Of a key with these required members, which come in the order of their names (RFC 7638, 3.3)
    pub(crate) fn of_members(members: &[(&str, &str)]) -> Self {
        // All values are base64url or names of curves: nothing needs an escape.
        let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
        Self(Hash::of(format!("{{{}}}", members.join(",")).as_bytes()).0)
    }

    /// The digest itself, as records have it
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash(self.0)
    }

    /// Of a certificate in DER, as `x5t#S256` (RFC 8705, 3.1)
    #[must_use]
    pub fn of_certificate(der: &[u8]) -> Self {
        Self(Hash::of(der).0)
    }
}

impl From<Hash> for Thumbprint {
    fn from(hash: Hash) -> Self {
        Self(hash.0)
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url::encode(&self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no thumbprint
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the SHA-256 thumbprint of a key: 43 characters of base64url")]
pub struct NotAThumbprint;

impl FromStr for Thumbprint {
    type Err = NotAThumbprint;

    fn from_str(text: &str) -> Result<Self, NotAThumbprint> {
        let bytes = base64url::decode(text).ok_or(NotAThumbprint)?;
        bytes.try_into().map(Self).map_err(|_| NotAThumbprint)
    }
}

impl Serialize for Thumbprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Thumbprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
