//! What a connector shows of itself: who it is, and what it offers.

use crate::{
    hash::Hash,
    names::{Invalid, ToolName},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

/// Who a connector is, as far as that can be seen; written `tls:HEX`, `spiffe://…`, `executable:HEX` or `plain`
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// The SHA-256 of its TLS public key
    Tls(Hash),
    /// The SPIFFE ID that its TLS server has shown an X.509-SVID of; its keys come and go
    Spiffe(String),
    /// The SHA-256 of the program that is started
    Executable(Hash),
    /// Nothing tells it from another one
    #[default]
    Plain,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(key) => write!(f, "tls:{key}"),
            Self::Spiffe(id) => f.write_str(id),
            Self::Executable(digest) => write!(f, "executable:{digest}"),
            Self::Plain => f.write_str("plain"),
        }
    }
}

impl FromStr for Identity {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("identity", text, "tls:HEX, spiffe://…, executable:HEX or plain");
        match text.split_once(':') {
            Some(("tls", key)) => key.parse().map(Self::Tls).map_err(|_| invalid()),
            Some(("executable", digest)) => digest.parse().map(Self::Executable).map_err(|_| invalid()),
            Some(("spiffe", rest)) if rest.len() > 2 && rest.starts_with("//") => Ok(Self::Spiffe(text.to_owned())),
            None if text == "plain" => Ok(Self::Plain),
            _ => Err(invalid()),
        }
    }
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The digest of a whole offer: who the connector is, and the digest of everything that it offers
///
/// What is accepted is named by it, so that nothing else is accepted than what somebody looked at.
#[must_use]
pub fn digest(items: &BTreeMap<ToolName, Hash>, identity: &Identity) -> Hash {
    // No name holds a line break or a space.
    let lines = items.iter().map(|(name, digest)| format!("{name} {digest}\n"));
    Hash::of(lines.fold(format!("offer {identity}\n"), |text, line| text + &line).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_as_it_is_written() {
        let hash = Hash::of(b"key");
        let workload = Identity::Spiffe("spiffe://example.org/shop".to_owned());
        for identity in [Identity::Tls(hash), workload, Identity::Executable(hash), Identity::Plain] {
            assert_eq!(identity.to_string().parse(), Ok(identity));
        }
        for bad in ["", "tls", "tls:x", "plain:", "other:00", "spiffe:", "spiffe://"] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_offer_is_another_one_if_anything_in_it_is() {
        let items = |pairs: &[(&str, &[u8])]| -> BTreeMap<ToolName, Hash> {
            pairs.iter().map(|(name, text)| (name.parse().unwrap(), Hash::of(text))).collect()
        };
        let one = items(&[("a", b"1"), ("b", b"2")]);
        let offers = [
            digest(&one, &Identity::Plain),
            digest(&one, &Identity::Tls(Hash::of(b"key"))),
            digest(&one, &Identity::Spiffe("spiffe://example.org/shop".to_owned())),
            digest(&items(&[("a", b"1"), ("b", b"3")]), &Identity::Plain),
            digest(&items(&[("a", b"1")]), &Identity::Plain),
            digest(&items(&[("a", b"1"), ("c", b"2")]), &Identity::Plain),
        ];
        assert_eq!(offers.iter().collect::<std::collections::BTreeSet<_>>().len(), offers.len());
    }
}
