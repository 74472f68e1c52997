//! A long answer passed on while it arrives.

use crate::{
    message::{Message, Shape},
    outcome,
    translate::{self, ToClient},
    version::Version,
};
use portreeve_core::{
    hash::Hash,
    json::{Json, Limits},
};

/// An answer of a connector that is passed on while it arrives
#[derive(Debug)]
pub struct Flow {
    own: u64,
    id: String,
    from: Version,
    version: Version,
    method: crate::method::Method,
    ttl_ms_max: u64,
    limits: Limits,
    held: Vec<u8>,
}

/// The answer cannot be passed on further: it is no valid one
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It is no JSON, or JSON that two parsers could read differently
    #[error("the answer is no valid JSON at byte {0}")]
    Json(usize),
    /// It is no answer to the request
    #[error("the answer is {0}")]
    Message(&'static str),
    /// It is larger than the limits
    #[error("the answer is too large")]
    Limit,
}

/// What an answer was that has been passed on
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flowed {
    /// Whether the connector says that it did not succeed
    pub failed: bool,
    /// Length of the result or error as it arrived
    pub bytes: u64,
    /// SHA-256 of the result or error as it arrived
    pub digest: Hash,
}

impl Flow {
    /// The answer to the request of ours with the id `own`, on its way to a client; there is no state to bring back in it
    #[must_use]
    pub fn new(own: u64, to: &ToClient<'_>, limits: Limits) -> Self {
        Self {
            own,
            id: to.id.to_owned(),
            from: to.from,
            version: to.version,
            method: to.method,
            ttl_ms_max: to.ttl_ms_max,
            limits,
            held: Vec::new(),
        }
    }

    /// Takes the next bytes and appends to `out` what may leave
    ///
    /// # Errors
    /// [`Broken`]: nothing more may leave.
    pub fn push(&mut self, bytes: &[u8], _out: &mut Vec<u8>) -> Result<(), Broken> {
        self.held.extend_from_slice(bytes);
        if self.held.len() > self.limits.bytes_max { Err(Broken::Limit) } else { Ok(()) }
    }

    /// The answer is over
    ///
    /// # Errors
    /// [`Broken`]: it is not whole.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<Flowed, Broken> {
        let message =
            Message::read_answer(&self.held, &self.limits).map_err(|_| Broken::Message("no valid message"))?;
        let Shape::Response { id: Some(id), error } = message.shape() else {
            return Err(Broken::Message("no answer to the request"));
        };
        if id.raw().parse() != Ok(self.own) {
            return Err(Broken::Message("no answer to the request"));
        }
        let to = ToClient {
            id: &self.id,
            from: self.from,
            version: self.version,
            method: self.method,
            state: None,
            ttl_ms_max: self.ttl_ms_max,
        };
        out.extend_from_slice(&translate::answer(&self.held, &message, &to));
        let content = message.result().or(message.error()).map_or("", Json::raw).as_bytes();
        let failed = *error || message.result().is_some_and(outcome::failed);
        Ok(Flowed { failed, bytes: content.len() as u64, digest: Hash::of(content) })
    }
}
