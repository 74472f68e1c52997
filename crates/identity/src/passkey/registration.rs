//! Registrations (7.1): somebody made a passkey for this site.

use super::{
    Algorithm, RelyingParty, Wrong,
    cbor::{self, Item},
    client::{self, Kind},
    cose::PublicKey,
    data::AuthenticatorData,
};
use portreeve_core::hash::Hash;

/// What a browser answers to `navigator.credentials.create()`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// `attestationObject`
    pub attestation_object: Vec<u8>,
    /// `clientDataJSON`, byte for byte
    pub client_data: Vec<u8>,
}

/// A key as its authenticator made it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its id
    pub credential: Vec<u8>,
    /// The key: a COSE key
    pub public_key: Vec<u8>,
    /// How it signs
    pub algorithm: Algorithm,
    /// How often it signed, or 0 where nobody counts
    pub counter: u32,
    /// Whether it may be copied to other devices of its owner
    pub synced: bool,
}

/// Bytes of an attestation object at most
const OBJECT_MAX: usize = 64 << 10;

impl Registration {
    /// The challenge that the browser says it was given, to find out which one it was; nothing is shown by it
    #[must_use]
    pub fn challenge(&self) -> Option<Vec<u8>> {
        client::challenge(&self.client_data)
    }

    /// The key that was made for exactly this challenge, on this site, with its user there and verified
    ///
    /// Whether it is known already is for the caller to find out (7.1, step 26).
    ///
    /// # Errors
    /// [`Wrong`]: no such key was made.
    pub fn verify(&self, party: &RelyingParty, challenge: &[u8]) -> Result<Registered, Wrong> {
        const FORM: Wrong = Wrong::Form("attestation object");
        client::check(&self.client_data, Kind::Create, challenge, party)?;
        if self.attestation_object.len() > OBJECT_MAX {
            return Err(FORM);
        }
        let object = cbor::whole(&self.attestation_object).ok_or(FORM)?;
        let format = object.get("fmt").and_then(Item::text).ok_or(FORM)?;
        let bytes = object.get("authData").and_then(Item::bytes).ok_or(FORM)?;
        let attestation = object.get("attStmt").filter(|item| item.map().is_some()).ok_or(FORM)?;
        let data = AuthenticatorData::parse(bytes)?;
        data.check(party)?;
        let attested = data.attested.as_ref().ok_or(Wrong::Form("authenticator data"))?;
        let key = PublicKey::parse(attested.public_key)?;
        match format {
            // 8.7
            "none" if attestation.map().is_some_and(<[_]>::is_empty) => {}
            // 8.2, without certificates: browsers let it pass although no attestation was asked for (5.1.3).
            "packed" if attestation.get("x5c").is_none() => {
                if attestation.get("alg").and_then(Item::int) != Some(key.algorithm().number()) {
                    return Err(Wrong::Algorithm);
                }
                let signature = attestation.get("sig").and_then(Item::bytes).ok_or(FORM)?;
                key.verify(&[bytes, &Hash::of(&self.client_data).0].concat(), signature)?;
            }
            other => return Err(Wrong::Attestation(other.chars().take(40).collect())),
        }
        Ok(Registered {
            credential: attested.id.to_vec(),
            public_key: attested.public_key.to_vec(),
            algorithm: key.algorithm(),
            counter: data.counter,
            synced: data.synced(),
        })
    }
}
