//! One JSON-RPC message, read strictly once, with its own bytes kept.

use portreeve_core::json::{self, Json, Kind, Limits};

/// A message and where its parts stand in the bytes that it came in
#[derive(Debug)]
pub struct Message<'a> {
    root: Json<'a>,
    shape: Shape<'a>,
}

/// What a message is
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape<'a> {
    /// It wants an answer
    Request {
        /// Its id
        id: Id<'a>,
        /// What it asks for
        method: String,
    },
    /// It wants none
    Notification {
        /// What it tells
        method: String,
    },
    /// It is an answer
    Response {
        /// Of which request; `None` for an error that answers nothing in particular
        id: Option<Id<'a>>,
        /// Whether it is an error
        error: bool,
    },
}

/// An id as it was written: a string or an integer
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id<'a> {
    raw: &'a str,
}

impl<'a> Id<'a> {
    /// The id as it stands in the message
    #[must_use]
    pub fn raw(&self) -> &'a str {
        self.raw
    }
}

/// Why bytes are no message, with the code that JSON-RPC wants
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// They are no JSON, or JSON that two parsers could read differently
    #[error("{0}")]
    Json(#[source] json::Error),
    /// They are JSON, but no single message of JSON-RPC 2.0
    #[error("{0}")]
    Envelope(&'static str),
}

impl Error {
    /// The error code of JSON-RPC 2.0, section 5.1
    #[must_use]
    pub fn code(&self) -> i64 {
        match self {
            Self::Json(
                json::Error::DuplicateKey { .. }
                | json::Error::ConfusableKey { .. }
                | json::Error::LoneSurrogate { .. },
            )
            | Self::Envelope(_) => -32600,
            Self::Json(_) => -32700,
        }
    }
}

/// Members that mean something in an envelope
pub(crate) const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

impl<'a> Message<'a> {
    /// Reads exactly one message
    ///
    /// # Errors
    /// [`Error`]: a batch, no JSON-RPC 2.0, a null or fractional id, members that only look like the protocol's.
    pub fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, Error> {
        Self::of(json::scan(bytes, limits).map_err(Error::Json)?)
    }

    /// Reads exactly one message of a connector, whose data may have members that look alike
    ///
    /// # Errors
    /// As [`Message::read`]; the envelope itself is read as strictly.
    pub fn read_answer(bytes: &'a [u8], limits: &Limits) -> Result<Self, Error> {
        Self::of(json::scan_distinct(bytes, limits).map_err(Error::Json)?)
    }

    fn of(root: Json<'a>) -> Result<Self, Error> {
        if root.as_array().is_some() {
            return Err(Error::Envelope("a batch is several messages; send each of them alone"));
        }
        let members = root.as_object().ok_or(Error::Envelope("a message is an object"))?;
        if members.iter().any(|member| json::confusable_with(&member.key, &ENVELOPE).is_some()) {
            return Err(Error::Envelope("a member only looks like one of the protocol"));
        }
        if root.get("jsonrpc").and_then(Json::as_str) != Some("2.0") {
            return Err(Error::Envelope("jsonrpc must be \"2.0\""));
        }
        let id = root.get("id").map(read_id).transpose()?;
        let method = match root.get("method") {
            None => None,
            Some(method) => Some(method.as_str().ok_or(Error::Envelope("method must be a string"))?.to_owned()),
        };
        let (result, error) = (root.get("result").is_some(), root.get("error").is_some());
        let shape = match (id, method, result, error) {
            (Some(Some(id)), Some(method), false, false) => Shape::Request { id, method },
            (Some(None), Some(_), false, false) => return Err(Error::Envelope("the id of a request is never null")),
            (None, Some(method), false, false) => Shape::Notification { method },
            (Some(Some(id)), None, true, false) => Shape::Response { id: Some(id), error: false },
            (id, None, false, true) => Shape::Response { id: id.flatten(), error: true },
            _ => return Err(Error::Envelope("neither a request, a notification nor a response")),
        };
        Ok(Self { root, shape })
    }

    /// The whole message
    #[must_use]
    pub fn root(&self) -> &Json<'a> {
        &self.root
    }

    /// What it is
    #[must_use]
    pub fn shape(&self) -> &Shape<'a> {
        &self.shape
    }

    /// Its parameters
    #[must_use]
    pub fn params(&self) -> Option<&Json<'a>> {
        self.root.get("params")
    }

    /// Its result
    #[must_use]
    pub fn result(&self) -> Option<&Json<'a>> {
        self.root.get("result")
    }

    /// Its error
    #[must_use]
    pub fn error(&self) -> Option<&Json<'a>> {
        self.root.get("error")
    }
}

/// `None` inside: the id is null
fn read_id<'a>(id: &Json<'a>) -> Result<Option<Id<'a>>, Error> {
    match id.kind() {
        Kind::Null => Ok(None),
        Kind::String(text) if text.len() <= ID_BYTES_MAX => Ok(Some(Id { raw: id.raw() })),
        Kind::Number(text) if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') && text.len() <= 20 => {
            Ok(Some(Id { raw: id.raw() }))
        }
        _ => Err(Error::Envelope("an id is a short string or an integer")),
    }
}

/// Bytes of a string id at most
const ID_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests;
