//! What Portreeve says as a client to a connector, and how it reads the answers.

use crate::{message::Message, version::Version};
use portreeve_core::json::{Json, Limits};
use serde_json::json;

/// The `initialize` request
#[must_use]
pub fn initialize(id: u64) -> Vec<u8> {
    let params = json!({
        "protocolVersion": Version::LATEST_LEGACY.as_str(),
        "capabilities": {},
        "clientInfo": { "name": "portreeve", "version": env!("CARGO_PKG_VERSION") },
    });
    request(id, "initialize", &params)
}

/// The notification that ends the handshake
#[must_use]
pub fn initialized() -> Vec<u8> {
    br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_vec()
}

/// The `tools/list` request, from a cursor on
#[must_use]
pub fn list_tools(id: u64, cursor: Option<&str>) -> Vec<u8> {
    let params = cursor.map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor }));
    request(id, "tools/list", &params)
}

/// The notification that a request is no longer waited for
#[must_use]
pub fn cancelled(id: u64, reason: &str) -> Vec<u8> {
    let params = json!({ "requestId": id, "reason": reason });
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{params}}}").into_bytes()
}

fn request(id: u64, method: &str, params: &serde_json::Value) -> Vec<u8> {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}").into_bytes()
}

/// Why an answer of a connector cannot be used
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Answer {
    /// It is no message of the protocol
    #[error("the server sent no valid message: {0}")]
    Message(#[source] crate::message::Error),
    /// It is an error
    #[error("the server answered with an error: {0}")]
    Error(String),
    /// It does not have the form of the protocol
    #[error("the server's answer lacks {0}")]
    Lacks(&'static str),
    /// It speaks no version that is spoken here
    #[error("the server speaks version {0:?}, which is not spoken here")]
    Version(String),
}

/// What a server says of itself
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version to speak with it
    pub version: Version,
    /// Its name, for people only
    pub name: String,
    /// Whether it has tools
    pub tools: bool,
}

/// Reads the answer to `initialize`
///
/// # Errors
/// [`Answer`]
pub fn read_initialize(bytes: &[u8], limits: &Limits) -> Result<Hello, Answer> {
    let message = Message::read_answer(bytes, limits).map_err(Answer::Message)?;
    let result = result_of(&message)?;
    let version = result.get("protocolVersion").and_then(Json::as_str).ok_or(Answer::Lacks("protocolVersion"))?;
    let name = result.get("serverInfo").and_then(|info| info.get("name")).and_then(Json::as_str);
    Ok(Hello {
        version: Version::read(version).ok_or_else(|| Answer::Version(version.chars().take(40).collect()))?,
        name: name.unwrap_or("unnamed").chars().take(80).collect(),
        tools: result.get("capabilities").and_then(|capabilities| capabilities.get("tools")).is_some(),
    })
}

/// One page of a server's tools: each definition exactly as it was written, by name
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Names and definitions
    pub tools: Vec<(String, String)>,
    /// Where the next page begins
    pub next: Option<String>,
}

/// Reads the answer to `tools/list`
///
/// # Errors
/// [`Answer`]
pub fn read_tools(bytes: &[u8], limits: &Limits) -> Result<Page, Answer> {
    let message = Message::read_answer(bytes, limits).map_err(Answer::Message)?;
    let result = result_of(&message)?;
    let tools = result.get("tools").and_then(Json::as_array).ok_or(Answer::Lacks("tools"))?;
    let tools = tools
        .iter()
        .map(|tool| {
            let name = tool.get("name").and_then(Json::as_str).ok_or(Answer::Lacks("a tool's name"))?;
            Ok((name.to_owned(), tool.raw().to_owned()))
        })
        .collect::<Result<_, _>>()?;
    Ok(Page { tools, next: result.get("nextCursor").and_then(Json::as_str).map(str::to_owned) })
}

fn result_of<'m, 'a>(message: &'m Message<'a>) -> Result<&'m Json<'a>, Answer> {
    if let Some(error) = message.error() {
        let text = error.get("message").and_then(Json::as_str).unwrap_or("without a message");
        return Err(Answer::Error(text.chars().take(200).collect()));
    }
    message.result().ok_or(Answer::Lacks("a result"))
}
