//! Assertions (7.2): somebody used a passkey, for one challenge.

use super::{
    RelyingParty, Wrong,
    client::{self, Kind},
    cose::PublicKey,
    data::AuthenticatorData,
};
use crate::base64url;
use portreeve_core::{event, hash::Hash};

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The site
    pub party: RelyingParty,
    /// The id of the key
    pub credential: Vec<u8>,
    /// The key, as registered: a COSE key
    pub public_key: Vec<u8>,
    /// `authenticatorData`
    pub authenticator_data: Vec<u8>,
    /// `clientDataJSON`, byte for byte
    pub client_data: Vec<u8>,
    /// What the key signed: both
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

    /// As it is recorded with an answer
    #[must_use]
    pub fn record(&self) -> event::Assertion {
        event::Assertion {
            credential: base64url::encode(&self.credential),
            public_key: base64url::encode(&self.public_key),
            authenticator_data: base64url::encode(&self.authenticator_data),
            client_data: base64url::encode(&self.client_data),
            signature: base64url::encode(&self.signature),
        }
    }

    /// Reads what was recorded; the site is the one that the passkey and the browser name
    ///
    /// A passkey only ever names the site that it was made for, so the site follows from whose key it is.
    ///
    /// # Errors
    /// [`Wrong::Form`], or [`Wrong::Party`]: the passkey and the browser name different sites.
    pub fn of_record(record: &event::Assertion) -> Result<Self, Wrong> {
        let read = |text: &str| base64url::decode(text).ok_or(Wrong::Form("record"));
        let (authenticator_data, client_data) = (read(&record.authenticator_data)?, read(&record.client_data)?);
        let hash = AuthenticatorData::parse(&authenticator_data)?.party;
        let party = RelyingParty::named(&client::origin(&client_data)?, hash).ok_or(Wrong::Party)?;
        let (credential, public_key) = (read(&record.credential)?, read(&record.public_key)?);
        Ok(Self { party, credential, public_key, authenticator_data, client_data, signature: read(&record.signature)? })
    }
}
