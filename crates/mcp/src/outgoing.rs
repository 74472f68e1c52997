//! The headers of a message that is about to be sent to a connector, built from that message.
//!
//! They are never taken over from the agent: what is sent may have another name, another version, other arguments.

use crate::{
    header,
    message::{Message, Shape},
    method::Method,
    mirror::Mirrored,
    version::{Era, Version},
};
use http::{HeaderName, HeaderValue};
use portreeve_core::{
    decimal::Decimal,
    json::{Json, Kind},
};

/// The headers that a connector of this version wants beside `Content-Type`, `Accept` and the session
/// (2026-07-28, Streamable HTTP, Request Metadata)
///
/// Values that no header can hold are left out; they can only be names longer than a header may be.
#[must_use]
pub fn headers(message: &Message<'_>, version: Version, mirrored: &[Mirrored]) -> Vec<(HeaderName, HeaderValue)> {
    let mut all = Vec::new();
    let mut put = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            all.push((name, value));
        }
    };
    if version != Version::March2025 {
        put(header::VERSION, version.as_str());
    }
    let (Shape::Request { method, .. } | Shape::Notification { method }) = message.shape() else { return all };
    if version.era() == Era::Legacy {
        return all;
    }
    put(header::METHOD, method);
    let Some(method) = Method::read(method) else { return all };
    let member = |key: &str| message.params().and_then(|params| params.get(key));
    if let Some(name) = method.named_by().and_then(member).and_then(Json::as_str) {
        put(header::NAME, &header::encode(name));
    }
    if method == Method::CallTool {
        for one in mirrored {
            if let Some(text) = one.value(member("arguments")).and_then(text) {
                put(&one.name(), &header::encode(&text));
            }
        }
    }
    all
}

/// A value of a type that headers may repeat, as a text
pub(crate) fn text(value: &Json<'_>) -> Option<String> {
    match value.kind() {
        Kind::String(text) => Some(text.to_string()),
        Kind::Bool(truth) => Some(truth.to_string()),
        // `42.0` is an integer of JSON Schema, and written as one.
        Kind::Number(text) => {
            Some(Decimal::parse(text).map_or_else(|| (*text).to_owned(), |number| number.to_string()))
        }
        Kind::Null | Kind::Array(_) | Kind::Object(_) => None,
    }
}

#[cfg(test)]
mod tests;
