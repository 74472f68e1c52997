//! Who is there: runs by their tokens, people by links, sessions and passkeys, agents by what their platform gives
//! them; and what they signed.
//!
//! * [`token`]: a token names a run. It is the binding: nothing is taken from the connection, a session id, an
//!   argument or an earlier request. It is good for its endpoints only, and for minutes only.
//! * [`link`], [`browser`], [`passkey`]: how a person comes in, stays, and shows that it is still them; [`oidc`] by what
//!   their issuer says.
//! * [`answer`]: what a person said to exactly one question, so that somebody else can check it later, without us.
//! * [`attest`]: what a data folder says of records, its own and those that it took.
//! * [`webhook`]: messages between servers, signed.
//! * [`jose`], [`svid`]: tokens and certificates of others, read strictly and verified. [`workload`] says what a
//!   platform's token means, [`assertion`] and [`dpop`] are an agent's own key, [`discovery`] what an issuer says of
//!   itself, [`once`] what counts once.
//! * [`mint`]: tokens of ours for servers of others, which say who works on whose behalf.
//! * [`key`], [`keyring`], [`seal`]: what all of it rests on.
//!
//! Nothing here reads a clock: the time is an argument.
//!
//! Architecture Invariant: whether a run or a person may act is not decided here but at admission. A good token of
//! a stopped run is still a good token, so that the end can be said.

pub mod answer;
pub mod assertion;
pub mod attest;
pub mod authority;
mod base64url;
pub mod browser;
pub mod discovery;
pub mod dpop;
pub mod jose;
pub mod key;
pub mod keyring;
pub mod link;
pub mod mint;
pub mod oidc;
pub mod once;
pub mod passkey;
pub mod seal;
mod secret;
pub mod svid;
#[cfg(test)]
mod table;
pub mod token;
pub mod webhook;
pub mod workload;

pub use secret::NotDrawn;

use portreeve_core::names::Name;

/// One bearer of a user's name: who gets a name that somebody else had before is somebody else
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bearer {
    /// The name
    pub user: Name,
    /// Since which change of the policy they have it
    pub generation: u64,
}
