//! What a data folder says about records, signed with its answer key: where its own stands, and what it took of another's.
//!
//! The text is signed as it is, with a line before it that says what kind of text it is. A statement of an answer begins
//! otherwise, so none of these can be taken for one of the others.

use crate::key::{PublicKey, SigningKey, Unsigned};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_core::{hash::Hash, log::Head, names::Name, time::Millis};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A statement, and who signed it
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attested {
    /// The text, in JSON
    pub statement: String,
    /// The key that signed it
    pub key: PublicKey,
    /// Its signature, in standard base64
    pub signature: String,
}

/// What can be said
pub trait Statement: Serialize + DeserializeOwned {
    /// The line before the text
    const KIND: &'static str;
}

/// A record reaches to here
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Which record: the hash of the group that first names its answer key
    pub log: Hash,
    /// The number of its last group
    pub n: u64,
    /// The hash of that group
    pub hash: Hash,
    /// For whom this was signed: the address that it is shipped to
    pub to: String,
    /// When
    pub at: Millis,
}

/// A record was taken, to here
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Which record
    pub log: Hash,
    /// The number of the last group that was taken
    pub n: u64,
    /// The hash of that group
    pub hash: Hash,
    /// Who brought it
    pub shipper: Name,
    /// Who took it: its address
    pub by: String,
    /// Where the taking stands in the record of whoever took it: that record's own end, as `N:HASH`
    pub recorded: String,
    /// When
    pub at: Millis,
}

impl Statement for Checkpoint {
    const KIND: &'static str = "portreeve-checkpoint-1\n";
}

impl Statement for Receipt {
    const KIND: &'static str = "portreeve-receipt-1\n";
}

impl Checkpoint {
    /// The end that it names
    #[must_use]
    pub fn head(&self) -> Head {
        Head { n: self.n, hash: self.hash }
    }
}

impl Attested {
    /// Signs a statement
    ///
    /// # Errors
    /// The key does not sign.
    pub fn sign<S: Statement>(statement: &S, key: &SigningKey) -> Result<Self, Unsigned> {
        let statement = serde_json::to_string(statement).map_err(|error| Unsigned(error.to_string()))?;
        let signature = STANDARD.encode(key.sign(&signed::<S>(&statement))?);
        Ok(Self { statement, key: key.public_key(), signature })
    }

    /// What it says, if it is of this kind and its key has signed it; whose key that is, others have to know
    #[must_use]
    pub fn read<S: Statement>(&self) -> Option<S> {
        let signature = STANDARD.decode(&self.signature).ok()?;
        let fits = self.key.fits(&signed::<S>(&self.statement), &signature);
        fits.then(|| serde_json::from_str(&self.statement).ok()).flatten()
    }
}

fn signed<S: Statement>(statement: &str) -> Vec<u8> {
    [S::KIND.as_bytes(), statement.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_of_its_kind_by_its_key_and_unchanged() {
        let key = SigningKey::make().unwrap();
        let says = Checkpoint { log: Hash([1; 32]), n: 7, hash: Hash([2; 32]), to: "https://us".into(), at: Millis(3) };
        let signed = Attested::sign(&says, &key).unwrap();
        assert_eq!(signed.read::<Checkpoint>(), Some(says.clone()));
        assert_eq!(signed.read::<Receipt>(), None);
        let other = Attested { key: SigningKey::make().unwrap().public_key(), ..signed.clone() };
        assert_eq!(other.read::<Checkpoint>(), None);
        let changed = Attested { statement: signed.statement.replace(":7,", ":8,"), ..signed.clone() };
        assert_eq!(changed.read::<Checkpoint>(), None);
        // Nothing else that the key signs is one of these: what an answer signs begins with a brace.
        let plain = STANDARD.encode(key.sign(signed.statement.as_bytes()).unwrap());
        assert_eq!(Attested { signature: plain, ..signed }.read::<Checkpoint>(), None);
    }
}
