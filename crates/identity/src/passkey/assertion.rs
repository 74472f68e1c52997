//! Assertions (7.2): somebody used a passkey, for one challenge.

use super::{
    RelyingParty, Wrong,
    client::{self, Kind},
    cose::PublicKey,
    data::AuthenticatorData,
};
use crate::base64url;
use portreeve_core::hash::Hash;
use serde::{Deserialize, Serialize};

/// What a browser answers to `navigator.credentials.get()`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// The id of the key
    pub credential: Vec<u8>,
    /// `authenticatorData`
    pub authenticator_data: Vec<u8>,
    /// `clientDataJSON`, byte for byte
    pub client_data: Vec<u8>,
    /// What the key signed: both
    pub signature: Vec<u8>,
    /// Whom the authenticator takes its user for
    pub user_handle: Option<Vec<u8>>,
}

/// All that is needed to see later that a passkey was used, for one challenge, on one site
///
/// Whose passkey it was does not follow from it: compare [`public_key`](Self::public_key).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The site
    pub party: RelyingParty,
    /// The id of the key
    #[serde(with = "base64url")]
    pub credential: Vec<u8>,
    /// The key, as registered: a COSE key
    #[serde(with = "base64url")]
    pub public_key: Vec<u8>,
    /// `authenticatorData`
    #[serde(with = "base64url")]
    pub authenticator_data: Vec<u8>,
    /// `clientDataJSON`, byte for byte
    #[serde(with = "base64url")]
    pub client_data: Vec<u8>,
    /// What the key signed: both
    #[serde(with = "base64url")]
    pub signature: Vec<u8>,
}

/// What an assertion that holds says beyond that
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// How often the key signed, or 0 where nobody counts
    pub counter: u32,
    /// Whether the key may be copied to other devices of its owner
    pub synced: bool,
}

impl Assertion {
    /// The challenge that the browser says it was given, to find out which one it was; nothing is shown by it
    #[must_use]
    pub fn challenge(&self) -> Option<Vec<u8>> {
        client::challenge(&self.client_data)
    }
}

impl Proof {
    /// Whether the key signed exactly this challenge, on this site, with its user there and verified
    ///
    /// Reads nothing but the proof: neither which keys there are nor how often they signed.
    ///
    /// # Errors
    /// [`Wrong`]: the proof shows no such thing.
    pub fn verify(&self, challenge: &[u8]) -> Result<(), Wrong> {
        self.used(challenge).map(|_| ())
    }

    /// As [`verify`](Self::verify), with what is to be compared with what is known of the key (7.2, steps 8 to 21)
    ///
    /// # Errors
    /// [`Wrong`]: the proof shows no such thing.
    pub fn used(&self, challenge: &[u8]) -> Result<Used, Wrong> {
        client::check(&self.client_data, Kind::Get, challenge, &self.party)?;
        let data = AuthenticatorData::parse(&self.authenticator_data)?;
        data.check(&self.party)?;
        // 6.1: keys are attested at registration only.
        if data.attested.is_some() {
            return Err(Wrong::Form("authenticator data"));
        }
        let message = [self.authenticator_data.as_slice(), &Hash::of(&self.client_data).0].concat();
        PublicKey::parse(&self.public_key)?.verify(&message, &self.signature)?;
        Ok(Used { counter: data.counter, synced: data.synced() })
    }

    /// The digest over all of it
    #[must_use]
    pub fn digest(&self) -> Hash {
        Hash::of_parts(&[
            b"portreeve passkey proof 1",
            self.party.id().as_bytes(),
            self.party.origin().as_bytes(),
            &self.credential,
            &self.public_key,
            &self.authenticator_data,
            &self.client_data,
            &self.signature,
        ])
    }
}
