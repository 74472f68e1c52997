//! How a client speaks in one request: its era, its version, what it can do, and whether its headers and its body
//! say the same.
//!
//! What is judged and sent on is always the body. Headers are only compared with it, so that nobody in front of this
//! server can have been shown another message than the one that is judged here.

use crate::{
    can::Can,
    header,
    message::{Message, Shape},
    method::Method,
    mirror::Mirrored,
    params::{self, Level, META_CAN, META_LOG_LEVEL, META_VERSION},
    version::{Era, Version},
};
use http::{HeaderMap, StatusCode};
use portreeve_core::{
    decimal::Decimal,
    json::{Json, Kind},
};
use serde_json::{Value, json};

/// A header says something else than the body (2026-07-28, Error Codes)
pub const HEADER_MISMATCH: i64 = -32_020;
/// The client would have to be able to do something that it did not say it can
pub const MISSING_CAPABILITY: i64 = -32_021;
/// The version is not spoken here
pub const UNSUPPORTED_VERSION: i64 = -32_022;
/// The message is none, or two
pub const INVALID_REQUEST: i64 = -32_600;
/// There is no such method
pub const METHOD_NOT_FOUND: i64 = -32_601;
/// The parameters are wrong
pub const INVALID_PARAMS: i64 = -32_602;
/// Something else went wrong
pub const INTERNAL: i64 = -32_603;

/// Why a request is refused before anything of it is judged
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The status of the HTTP answer
    pub status: StatusCode,
    /// The error's code
    pub code: i64,
    /// The error's message
    pub message: String,
    /// The error's data
    pub data: Option<Value>,
}

impl Refused {
    fn bad(code: i64, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message: message.into(), data: None }
    }

    fn mismatch(message: impl std::fmt::Display) -> Self {
        Self::bad(HEADER_MISMATCH, format!("Header mismatch: {message}"))
    }

    fn large(message: &str) -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self { status, ..Self::bad(INVALID_REQUEST, message) }
    }

    /// The method does not exist in this era (2026-07-28, Streamable HTTP, Protocol Version Header: with status 404)
    #[must_use]
    pub fn method_not_found(era: Era) -> Self {
        let status = if era == Era::Modern { StatusCode::NOT_FOUND } else { StatusCode::OK };
        Self { status, ..Self::bad(METHOD_NOT_FOUND, "Method not found") }
    }

    /// The version is not spoken here
    #[must_use]
    pub fn unsupported(requested: &str) -> Self {
        let requested: String = requested.chars().take(40).collect();
        let data = json!({ "supported": Version::ALL.map(Version::as_str), "requested": requested });
        Self { data: Some(data), ..Self::bad(UNSUPPORTED_VERSION, "Unsupported protocol version") }
    }

    /// The client would have to be able to do this
    #[must_use]
    pub fn lacks(can: Can) -> Self {
        let data = json!({ "requiredCapabilities": can.json(Era::Modern) });
        Self { data: Some(data), ..Self::bad(MISSING_CAPABILITY, "Missing required client capability") }
    }
}

/// How a client speaks
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// The request says everything itself
    Modern(Modern),
    /// In a session; with the version of the header, if there is one
    Legacy(Option<Version>),
}

impl Spoken {
    /// The era
    #[must_use]
    pub fn era(&self) -> Era {
        match self {
            Self::Modern(_) => Era::Modern,
            Self::Legacy(_) => Era::Legacy,
        }
    }
}

/// What a modern request says of its client
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modern {
    /// The version
    pub version: Version,
    /// What the client can do
    pub can: Can,
    /// From which level on it wants to be told what is logged; `None`: not at all
    pub log_level: Option<Level>,
}

/// Bytes of one header of the protocol at most, encoded
pub const HEADER_BYTES_MAX: usize = 16 << 10;
/// Headers of arguments at most
pub const PARAM_HEADERS_MAX: usize = 64;

/// Reads how a client speaks, and compares the headers of the protocol with the body
///
/// # Errors
/// [`Refused`]
pub fn spoken(headers: &HeaderMap, message: &Message<'_>) -> Result<Spoken, Refused> {
    bounded(headers)?;
    let version = single(headers, header::VERSION)?;
    let told = single(headers, header::METHOD)?;
    let (method, request) = match message.shape() {
        Shape::Request { method, .. } => (Some(method.as_str()), true),
        Shape::Notification { method } => (Some(method.as_str()), false),
        Shape::Response { .. } => (None, false),
    };
    if told.is_some() && told != method {
        return Err(Refused::mismatch("Mcp-Method is not the method of the body"));
    }
    let params = params::strict(message.params()).map_err(|wrong| Refused::bad(INVALID_PARAMS, wrong))?;
    compare_name(headers, method, params)?;
    let meta = params.and_then(|params| params.get("_meta"));
    let claimed = match meta.and_then(|meta| meta.get(META_VERSION)) {
        None => None,
        Some(claimed) => {
            let wrong = || Refused::bad(INVALID_PARAMS, format!("params._meta[\"{META_VERSION}\"] must be a string"));
            Some(claimed.as_str().ok_or_else(wrong)?)
        }
    };
    let known = version.and_then(Version::read);
    if claimed.is_none() && method == Some(Method::Initialize.as_str()) {
        // The handshake is of the legacy era, whatever version it asks for.
        return Ok(Spoken::Legacy(known.filter(|version| version.era() == Era::Legacy)));
    }
    let modern_header = known.is_some_and(|version| version.era() == Era::Modern);
    if claimed.is_none() && !modern_header {
        if let (Some(version), None) = (version, known) {
            return Err(Refused::unsupported(version));
        }
        // These two mean nothing in a session, so that whoever sends them speaks the modern way, and badly.
        let modern_only = method.and_then(Method::read).is_some_and(|m| matches!(m, Method::Discover | Method::Listen));
        if !(modern_only && request) {
            return Ok(Spoken::Legacy(known));
        }
    }
    if method.is_none() {
        return Err(Refused::bad(INVALID_REQUEST, "a client of this version sends no responses"));
    }
    if !request && claimed.is_none() {
        let version = known.unwrap_or(Version::LATEST);
        return Ok(Spoken::Modern(Modern { version, can: Can::NONE, log_level: None }));
    }
    let missing = |key: &str| Refused::bad(INVALID_PARAMS, format!("params._meta[\"{key}\"] is missing"));
    let claimed = claimed.ok_or_else(|| missing(META_VERSION))?;
    match version {
        None => return Err(Refused::mismatch("MCP-Protocol-Version is missing")),
        Some(version) if version != claimed => {
            return Err(Refused::mismatch("MCP-Protocol-Version is not the version of the body"));
        }
        Some(_) => {}
    }
    let version = Version::read(claimed).filter(|version| version.era() == Era::Modern);
    let version = version.ok_or_else(|| Refused::unsupported(claimed))?;
    if request && told.is_none() {
        return Err(Refused::mismatch("Mcp-Method is missing"));
    }
    let can = match meta.and_then(|meta| meta.get(META_CAN)) {
        None if request => return Err(missing(META_CAN)),
        None => Can::NONE,
        Some(can) if can.as_object().is_some() => Can::read(can),
        Some(_) => return Err(Refused::bad(INVALID_PARAMS, format!("params._meta[\"{META_CAN}\"] must be an object"))),
    };
    let log_level = match meta.and_then(|meta| meta.get(META_LOG_LEVEL)) {
        None => None,
        Some(level) => {
            let level = level.as_str().and_then(Level::read);
            Some(level.ok_or_else(|| Refused::bad(INVALID_PARAMS, params::NO_LEVEL))?)
        }
    };
    let named = method.and_then(Method::read).and_then(Method::named_by);
    if request && named.is_some() && !headers.contains_key(header::NAME) {
        return Err(Refused::mismatch("Mcp-Name is missing"));
    }
    Ok(Spoken::Modern(Modern { version, can, log_level }))
}

/// Where there is a name in a header, it must be the one of the body; encoded or not
fn compare_name(headers: &HeaderMap, method: Option<&str>, params: Option<&Json<'_>>) -> Result<(), Refused> {
    let Some(value) = one(headers, header::NAME)? else { return Ok(()) };
    // An unknown method is refused as one, whatever its headers say.
    let Some(method) = method.and_then(Method::read) else { return Ok(()) };
    let name = header::decode(value).ok_or_else(|| Refused::mismatch("Mcp-Name has invalid characters"))?;
    // Some SDKs repeat the URI of these as well, though only in an era that does not have them any more.
    let subscribes = matches!(method, Method::Subscribe | Method::Unsubscribe).then_some("uri");
    let body = method.named_by().or(subscribes).and_then(|key| params?.get(key)).and_then(Json::as_str);
    if body == Some(&name) { Ok(()) } else { Err(Refused::mismatch("Mcp-Name is not the name of the body")) }
}

/// Compares the headers that repeat arguments with the arguments (2026-07-28, Streamable HTTP, Server Behavior for
/// Custom Headers)
///
/// # Errors
/// [`Refused`]
pub fn check_params(headers: &HeaderMap, arguments: Option<&Json<'_>>, mirrored: &[Mirrored]) -> Result<(), Refused> {
    for one_of in mirrored {
        let name = one_of.name();
        match (one(headers, &name)?, one_of.value(arguments)) {
            (None, None) => {}
            (None, Some(_)) => return Err(Refused::mismatch(format_args!("{name} is missing"))),
            (Some(_), None) => {
                return Err(Refused::mismatch(format_args!("{name} repeats an argument that is not there")));
            }
            (Some(value), Some(argument)) => {
                let invalid = || Refused::mismatch(format_args!("{name} has invalid characters"));
                let text = header::decode(value).ok_or_else(invalid)?;
                if !same(&text, argument) {
                    return Err(Refused::mismatch(format_args!("{name} is not the argument of the body")));
                }
            }
        }
    }
    Ok(())
}

fn same(text: &str, argument: &Json<'_>) -> bool {
    match argument.kind() {
        Kind::String(argument) => *argument == *text,
        Kind::Bool(truth) => text == if *truth { "true" } else { "false" },
        Kind::Number(number) => {
            text == *number || (Decimal::parse(number).is_some_and(|n| Some(n) == Decimal::parse(text)))
        }
        Kind::Null | Kind::Array(_) | Kind::Object(_) => false,
    }
}

/// Looked at before anything is decoded
fn bounded(headers: &HeaderMap) -> Result<(), Refused> {
    let mut params = 0;
    for (name, value) in headers {
        let param = name.as_str().starts_with(header::PARAM);
        params += usize::from(param);
        let ours = param || matches!(name.as_str(), header::VERSION | header::METHOD | header::NAME);
        if ours && value.len() > HEADER_BYTES_MAX {
            return Err(Refused::large("a header of the protocol is longer than 16 KiB"));
        }
    }
    if params > PARAM_HEADERS_MAX {
        return Err(Refused::large("more than 64 Mcp-Param headers"));
    }
    Ok(())
}

/// The only header of this name
fn one<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h http::HeaderValue>, Refused> {
    let mut all = headers.get_all(name).iter();
    let first = all.next();
    if all.next().is_some() {
        return Err(Refused::mismatch(format_args!("{name} stands twice")));
    }
    Ok(first)
}

/// The only header of this name, as a text that is never encoded
fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Refused> {
    let invalid = || Refused::mismatch(format_args!("{name} has invalid characters"));
    one(headers, name)?.map(|value| header::plain(value).ok_or_else(invalid)).transpose()
}

#[cfg(test)]
mod tests;
