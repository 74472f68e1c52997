//! Passkeys: Web Authentication Level 3 (<https://www.w3.org/TR/webauthn-3/>) as its relying party.
//!
//! The challenge is an argument, not a random number that is drawn and kept here. For a sign-in it is drawn
//! by [`Challenges`]; for an answer it is the SHA-256 of the statement ([`crate::answer`]), so that what the passkey
//! signs is a yes to exactly that statement. A [`Proof`] holds all that somebody needs to see this later, with
//! nothing but the statement.
//!
//! | section | what | where |
//! |---|---|---|
//! | 5.1, 5.4, 5.5 | what the browser is asked for, and what it answers, as JSON | `options`, `response` |
//! | 5.8.1 | client data | `client` |
//! | 5.8.5, 6.5.1 | public keys: ES256, EdDSA, RS256 | `cose` |
//! | 6.1 | authenticator data | `data` |
//! | 7.1 | registration; attestation `none`, and `packed` where it is signed by the key itself (8.2, 8.7) | `registration` |
//! | 7.2 | assertions; always with user verification | `assertion` |
//!
//! [`Passkeys`] keeps them: whose they are, and what they have counted.
//!
//! Written here on the cryptography that the workspace has anyway. Of the crates for it one needs OpenSSL
//! (`webauthn-rs`); the others are young, bring a second cryptography or understand one algorithm only, and all draw
//! and keep their challenges themselves, so that neither a challenge of the caller's nor a check from a record is
//! what they were made for.

mod assertion;
mod cbor;
mod challenge;
mod client;
mod cose;
mod data;
mod options;
mod party;
mod registration;
mod response;
mod store;

pub use assertion::{Assertion, Proof, Used};
pub use challenge::{CHALLENGE_MS, CHALLENGES_MAX, Challenges, Purpose};
pub use cose::Algorithm;
pub use party::{NoParty, RelyingParty};
pub use registration::{Registered, Registration};
pub use response::RESPONSE_MAX;
pub use store::{Checked, Error, KEYS_MAX, LABEL_MAX, Made, PEOPLE_MAX, Passkey, Passkeys, Refused};

/// Why a browser's response counts for nothing
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// A part of it cannot be read
    #[error("the passkey's {0} cannot be read")]
    Form(&'static str),
    /// It is the response to another kind of request
    #[error("the response is one to another kind of request")]
    Kind,
    /// It was made for another challenge: for another statement, or another sign-in
    #[error("the response was made for something else")]
    Challenge,
    /// It was made on another site
    #[error("the response was made on {0:?}")]
    Origin(String),
    /// It was made in a frame of another site
    #[error("the response was made inside of another site")]
    Framed,
    /// The passkey belongs to another site
    #[error("the passkey belongs to another site")]
    Party,
    /// Nobody touched the authenticator
    #[error("nobody was present at the passkey")]
    NotPresent,
    /// The authenticator did not make sure who touched it
    #[error("the passkey did not verify its user; set a PIN or a fingerprint on it")]
    NotVerified,
    /// What it says of its backup contradicts itself, or what it said before
    #[error("what the passkey says of its backup does not fit")]
    Backup,
    /// The key is of a kind that was not asked for
    #[error("the passkey's key is of another kind than ES256, EdDSA or RS256")]
    Algorithm,
    /// The attestation is of a kind that was not asked for
    #[error("the passkey attests in the format {0:?}, which was not asked for")]
    Attestation(String),
    /// The signature does not fit
    #[error("the passkey's signature does not fit")]
    Signature,
}

#[cfg(test)]
pub(crate) mod authenticator;
#[cfg(test)]
mod tests;
