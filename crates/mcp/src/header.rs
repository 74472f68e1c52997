//! Values of the headers that repeat parts of a message (2026-07-28, Streamable HTTP, Value Encoding).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::HeaderValue;

/// The header of the protocol's version
pub const VERSION: &str = "mcp-protocol-version";
/// The header that repeats the method
pub const METHOD: &str = "mcp-method";
/// The header that repeats a name or a URI
pub const NAME: &str = "mcp-name";
/// What headers begin with that repeat an argument
pub const PARAM: &str = "mcp-param-";
/// The header of the session, in the legacy era
pub const SESSION: &str = "mcp-session-id";

const PREFIX: &str = "=?base64?";
const SUFFIX: &str = "?=";

/// How a text stands in a header: as it is where that is safe, otherwise in Base64
#[must_use]
pub fn encode(text: &str) -> String {
    let safe = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let padded = text.starts_with(' ') || text.ends_with(' ');
    let like_encoded = text.starts_with(PREFIX) && text.ends_with(SUFFIX);
    let plain = safe && !padded && !like_encoded;
    if plain { text.to_owned() } else { format!("{PREFIX}{}{SUFFIX}", BASE64_STANDARD.encode(text)) }
}

/// What a header's value says, without the whitespace around it; `None` if it is invalid
///
/// Base64 is taken only in its one canonical form, so that two readers cannot decode it differently.
#[must_use]
pub fn decode(value: &HeaderValue) -> Option<String> {
    let text = plain(value)?;
    let Some(rest) = text.strip_prefix(PREFIX).filter(|_| text.ends_with(SUFFIX)) else {
        return Some(text.to_owned());
    };
    // The markers may not share the question mark: `=?base64?=` is neither a text nor an encoded one.
    let bytes = BASE64_STANDARD.decode(rest.strip_suffix(SUFFIX)?).ok()?;
    String::from_utf8(bytes).ok()
}

/// A header's value as it stands, without the whitespace around it; `None` if it has bytes that no value may have
#[must_use]
pub fn plain(value: &HeaderValue) -> Option<&str> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    let text = text.trim_matches([' ', '\t']);
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte) || byte == b'\t').then_some(text)
}

#[cfg(test)]
mod tests;
