//! Who is calling: tokens that name a run, and the key that signs them.
//!
//! A token is the binding: nothing is taken from the connection, a session id, an argument or an earlier
//! request. It is good for its endpoints only, and for minutes only.
//!
//! Architecture Invariant: whether a run may still act is not decided here but at admission. A good token of
//! a stopped run is still a good token, so that the end can be said.

pub mod key;
pub mod seal;
pub mod token;
