//! Texts that nobody prints, and that are wiped when they are not needed any more.

use serde::{Deserialize, Deserializer};
use std::{collections::BTreeMap, fmt};
use zeroize::Zeroizing;

/// A text that is never shown
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

/// The fields of one credential, by name
pub type Fields = BTreeMap<String, Secret>;

impl Secret {
    /// Keeps a text
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// A text of random letters and digits with at least 190 bits, which needs no quoting anywhere; nothing if the
    /// system has no randomness
    #[must_use]
    pub fn random() -> Option<Self> {
        let mut bytes = Zeroizing::new([0_u8; 48]);
        getrandom::fill(bytes.as_mut()).ok()?;
        const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        // 32 divides 256, so that no letter is likelier than another.
        let letter = |byte: &u8| ALPHABET.get(usize::from(byte % 32)).map(|letter| char::from(*letter));
        bytes.iter().map(letter).collect::<Option<String>>().map(Self::new)
    }

    /// The text, for the one place that it is for
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_and_no_two_are_alike() {
        let (one, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.expose().len(), 48);
        assert!(!format!("{one:?}").contains(one.expose()));
    }
}
