//! What Portreeve says as a client to a connector, and how it reads the answers.

use crate::{
    can::Can,
    edit::quoted,
    message::Message,
    method::Method,
    params::{Level, ListenFilter, META_CAN, META_CLIENT, META_SERVER, META_VERSION},
    translate::client_info,
    version::{Era, Version},
};
use portreeve_core::json::{Json, Limits};
use serde_json::{Map, Value, json};

/// How Portreeve speaks to one connector for one client
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Says {
    /// In this version
    pub version: Version,
    /// As a client that can do this
    pub can: Can,
}

impl Says {
    /// A request; `params` is an object, and gets its `_meta` where the version wants one
    #[must_use]
    pub fn request(self, id: u64, method: Method, mut params: Map<String, Value>) -> Vec<u8> {
        if self.version.era() == Era::Modern {
            let meta = json!({
                META_VERSION: self.version.as_str(),
                META_CLIENT: client_info(),
                META_CAN: self.can.json(Era::Modern),
            });
            params.insert("_meta".to_owned(), meta);
        }
        let (method, params) = (method.as_str(), Value::from(params));
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}").into_bytes()
    }

    /// A request for one page of a list: tools, prompts, resources or templates
    #[must_use]
    pub fn list(self, id: u64, method: Method, cursor: Option<&str>) -> Vec<u8> {
        self.request(id, method, cursor.map(|cursor| ("cursor".to_owned(), cursor.into())).into_iter().collect())
    }

    /// `subscriptions/listen`, of the modern era
    #[must_use]
    pub fn listen(self, id: u64, filter: &ListenFilter) -> Vec<u8> {
        self.request(id, Method::Listen, one("notifications", filter.json()))
    }

    /// `resources/subscribe` or `resources/unsubscribe`, of the legacy era
    #[must_use]
    pub fn subscribe(self, id: u64, method: Method, uri: &str) -> Vec<u8> {
        self.request(id, method, one("uri", uri.into()))
    }

    /// `logging/setLevel`, of the legacy era
    #[must_use]
    pub fn set_level(self, id: u64, level: Level) -> Vec<u8> {
        self.request(id, Method::SetLevel, one("level", level.as_str().into()))
    }

    /// `tasks/get` or `tasks/cancel`, of the modern era
    #[must_use]
    pub fn task(self, id: u64, method: Method, task: &str) -> Vec<u8> {
        self.request(id, method, one("taskId", task.into()))
    }

    /// `ping`, of the legacy era
    #[must_use]
    pub fn ping(self, id: u64) -> Vec<u8> {
        self.request(id, Method::Ping, Map::new())
    }
}

fn one(key: &str, value: Value) -> Map<String, Value> {
    [(key.to_owned(), value)].into_iter().collect()
}

/// `server/discover`, by which it is found out how a connector speaks: it never does anything
/// (2026-07-28, Versioning, Backward Compatibility)
#[must_use]
pub fn discover(id: u64, can: Can) -> Vec<u8> {
    Says { version: Version::LATEST, can }.request(id, Method::Discover, Map::new())
}

/// The `initialize` request
#[must_use]
pub fn initialize(id: u64, version: Version, can: Can) -> Vec<u8> {
    let params = json!({
        "protocolVersion": version.as_str(),
        "capabilities": can.json(Era::Legacy),
        "clientInfo": client_info(),
    });
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"initialize\",\"params\":{params}}}").into_bytes()
}

/// The notification that ends the handshake
#[must_use]
pub fn initialized() -> Vec<u8> {
    br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_vec()
}

/// The notification that a request is no longer waited for
#[must_use]
pub fn cancelled(id: u64, reason: &str) -> Vec<u8> {
    let reason = quoted(reason);
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{id},\"reason\":{reason}}}}}"
    )
    .into_bytes()
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
    /// What it can do, an object, as it was written
    pub capabilities: String,
    /// What it wants a model to be told
    pub instructions: Option<String>,
}

impl Hello {
    /// Whether it says that it has this: `tools`, `prompts`, `resources`, `completions`, `logging`
    #[must_use]
    pub fn offers(&self, capability: &str) -> bool {
        let limits = Limits { bytes_max: self.capabilities.len(), ..Limits::DEFAULT };
        let capabilities = portreeve_core::json::scan_distinct(self.capabilities.as_bytes(), &limits);
        capabilities.is_ok_and(|all| all.get(capability).is_some_and(|one| one.as_object().is_some()))
    }
}

/// How a connector speaks, as far as its answer to [`discover`] tells
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovered {
    /// It is of the modern era
    Modern(Hello),
    /// It is of the modern era, and speaks only these versions
    Versions(Vec<String>),
    /// It does not know the request: the handshake of the legacy era is next
    Legacy,
}

/// Reads the answer to [`discover`]; an empty body is none
///
/// Any answer that no modern server gives means the legacy era, whatever its code (2026-07-28, Versioning). Whether
/// there was an answer at all, and its HTTP status, are for the caller: 401 and 403 mean no era.
///
/// # Errors
/// [`Answer`]: it is of the modern era and cannot be used.
pub fn read_discover(bytes: &[u8], limits: &Limits) -> Result<Discovered, Answer> {
    let Ok(message) = Message::read_answer(bytes, limits) else { return Ok(Discovered::Legacy) };
    if let Some(error) = message.error() {
        let code = error.get("code").and_then(Json::as_number);
        let supported = error.get("data").and_then(|data| data.get("supported")).and_then(Json::as_array);
        return match (code, supported) {
            (Some("-32022"), Some(supported)) => {
                Ok(Discovered::Versions(supported.iter().filter_map(Json::as_str).map(str::to_owned).collect()))
            }
            (Some("-32020" | "-32021"), _) => Err(error_of(error)),
            _ => Ok(Discovered::Legacy),
        };
    }
    let Some(result) = message.result() else { return Ok(Discovered::Legacy) };
    let Some(versions) = result.get("supportedVersions").and_then(Json::as_array) else {
        return Ok(Discovered::Legacy);
    };
    let versions: Vec<&str> = versions.iter().filter_map(Json::as_str).collect();
    let modern = |version: &Version| version.era() == Era::Modern && versions.contains(&version.as_str());
    let Some(version) = Version::ALL.into_iter().find(modern) else {
        return Ok(Discovered::Versions(versions.into_iter().map(str::to_owned).collect()));
    };
    let info = result.get("_meta").and_then(|meta| meta.get(META_SERVER));
    Ok(Discovered::Modern(hello(version, result, info)?))
}

fn hello(version: Version, result: &Json<'_>, info: Option<&Json<'_>>) -> Result<Hello, Answer> {
    let capabilities = result.get("capabilities").filter(|all| all.as_object().is_some());
    let name = info.and_then(|info| info.get("name")).and_then(Json::as_str).unwrap_or("unnamed");
    let instructions = result.get("instructions").and_then(Json::as_str);
    Ok(Hello {
        version,
        name: name.chars().take(80).collect(),
        capabilities: capabilities.ok_or(Answer::Lacks("capabilities"))?.raw().to_owned(),
        instructions: instructions.map(str::to_owned),
    })
}

/// Reads the answer to `initialize`
///
/// # Errors
/// [`Answer`]
pub fn read_initialize(bytes: &[u8], limits: &Limits) -> Result<Hello, Answer> {
    let message = Message::read_answer(bytes, limits).map_err(Answer::Message)?;
    let result = result_of(&message)?;
    let version = result.get("protocolVersion").and_then(Json::as_str).ok_or(Answer::Lacks("protocolVersion"))?;
    let known = Version::read(version).filter(|version| version.era() == Era::Legacy);
    let known = known.ok_or_else(|| Answer::Version(version.chars().take(40).collect()))?;
    hello(known, result, result.get("serverInfo"))
}

/// One page of a list: each definition exactly as it was written, by name
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Names and definitions; resources by `uri`, templates by `uriTemplate`
    pub items: Vec<(String, String)>,
    /// Where the next page begins; the empty cursor is one
    pub next: Option<String>,
}

/// Reads the answer to a list of this kind
///
/// # Errors
/// [`Answer`]
pub fn read_list(method: Method, bytes: &[u8], limits: &Limits) -> Result<Page, Answer> {
    let message = Message::read_answer(bytes, limits).map_err(Answer::Message)?;
    let result = result_of(&message)?;
    let (key, name) = listed(method).ok_or(Answer::Lacks("a list"))?;
    let items = result.get(key).and_then(Json::as_array).ok_or(Answer::Lacks(key))?;
    let items = items
        .iter()
        .map(|item| {
            let name = item.get(name).and_then(Json::as_str).ok_or(Answer::Lacks("the name of an item"))?;
            Ok((name.to_owned(), item.raw().to_owned()))
        })
        .collect::<Result<_, _>>()?;
    Ok(Page { items, next: result.get("nextCursor").and_then(Json::as_str).map(str::to_owned) })
}

/// Where the items of a list stand in its result, and what names each
#[must_use]
pub fn listed(method: Method) -> Option<(&'static str, &'static str)> {
    match method {
        Method::ListTools => Some(("tools", "name")),
        Method::ListPrompts => Some(("prompts", "name")),
        Method::ListResources => Some(("resources", "uri")),
        Method::ListTemplates => Some(("resourceTemplates", "uriTemplate")),
        _ => None,
    }
}

fn result_of<'m, 'a>(message: &'m Message<'a>) -> Result<&'m Json<'a>, Answer> {
    match message.error() {
        Some(error) => Err(error_of(error)),
        None => message.result().ok_or(Answer::Lacks("a result")),
    }
}

fn error_of(error: &Json<'_>) -> Answer {
    let text = error.get("message").and_then(Json::as_str).unwrap_or("without a message");
    Answer::Error(text.chars().take(200).collect())
}

#[cfg(test)]
mod tests;
