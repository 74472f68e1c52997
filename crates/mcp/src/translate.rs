//! Between the eras: a client's request as its connector reads it, and the connector's answer as the client reads it.
//!
//! Both are the sender's own bytes with edits. Where both ends are of one era, hardly anything is edited.

use crate::{
    can::Can,
    edit::{Edit, quoted},
    message::{Message, Shape},
    method::{Method, Notice},
    outcome::code_for,
    params::{Level, META_CAN, META_CLIENT, META_LOG_LEVEL, META_SUBSCRIPTION, META_VERSION},
    version::{Era, Version},
};
use portreeve_core::{
    decimal::Decimal,
    json::{self, Json},
};
use serde_json::{Value, json};
use std::borrow::Cow;

/// How a request goes to a connector
#[derive(Clone, Copy, Debug)]
pub struct ToConnector<'c> {
    /// Its id there, which is its progress token too
    pub id: u64,
    /// The version that the connector speaks
    pub version: Version,
    /// The version that the client speaks
    pub from: Version,
    /// What the connector is told that the client can do
    pub can: Can,
    /// The connector's own name of the tool or prompt, if the client knows it by another one
    pub name: Option<&'c str>,
    /// The connector's own state, which the client brought back sealed
    pub state: Option<&'c str>,
    /// `traceparent` of our own span
    pub trace: Option<&'c str>,
    /// From which level on the client wants to be told what is logged, if it said so by `logging/setLevel`
    pub log_level: Option<Level>,
}

/// A client's request for a connector
///
/// * the id becomes ours, and so does a progress token;
/// * the state becomes the connector's own, `baggage` is removed, `traceparent` becomes ours;
/// * legacy to modern: `_meta` gets the version, our name and what the client can do;
/// * modern to legacy: the same members of `_meta`, `inputResponses` and `requestState` are removed;
/// * modern to modern: only what the client can do is narrowed to what is understood here.
#[must_use]
pub fn request(bytes: &[u8], message: &Message<'_>, to: &ToConnector<'_>) -> Vec<u8> {
    let mut edit = Edit::new(bytes, message);
    let method = match message.shape() {
        Shape::Request { method, .. } => Method::read(method),
        _ => None,
    };
    let meta = message.params().and_then(|params| params.get("_meta"));
    let has = |key: &str| meta.is_some_and(|meta| meta.get(key).is_some());
    edit.id(&to.id.to_string());
    if has("progressToken") {
        edit.set(&["params", "_meta", "progressToken"], &to.id.to_string());
    }
    edit.remove(&["params", "_meta", "baggage"]);
    match to.trace {
        Some(trace) => edit.set(&["params", "_meta", "traceparent"], &quoted(trace)),
        // One that is written as none should be is no trace.
        None => edit.remove(&["params", "_meta", "traceparent"]),
    }
    if let Some(name) = to.name
        && matches!(method, Some(Method::CallTool | Method::GetPrompt))
    {
        edit.set(&["params", "name"], &quoted(name));
    }
    let prompt = message.params().and_then(|params| params.get("ref")).and_then(|of| of.get("type"));
    if let (Some(name), Some(Method::Complete), Some("ref/prompt")) = (to.name, method, prompt.and_then(Json::as_str)) {
        edit.set(&["params", "ref", "name"], &quoted(name));
    }
    if method == Some(Method::CallTool) {
        edit.remove(&["params", "task"]);
    }
    if method.is_some_and(Method::may_ask) {
        match to.state {
            Some(state) if to.version.era() == Era::Modern => edit.set(&["params", "requestState"], &quoted(state)),
            _ => edit.remove(&["params", "requestState"]),
        }
        if to.version.era() == Era::Legacy {
            edit.remove(&["params", "inputResponses"]);
        }
    }
    match to.version.era() {
        Era::Modern => {
            let own = meta.filter(|_| to.from.era() == Era::Modern);
            if own.and_then(|meta| meta.get(META_VERSION)).and_then(Json::as_str) != Some(to.version.as_str()) {
                edit.set(&["params", "_meta", META_VERSION], &quoted(to.version.as_str()));
            }
            if !own.and_then(|meta| meta.get(META_CAN)).is_some_and(|can| to.can.is_all_of(can)) {
                edit.set(&["params", "_meta", META_CAN], &to.can.json(Era::Modern).to_string());
            }
            if to.from.era() == Era::Legacy {
                edit.set(&["params", "_meta", META_CLIENT], &client_info().to_string());
                match to.log_level {
                    Some(level) => edit.set(&["params", "_meta", META_LOG_LEVEL], &quoted(level.as_str())),
                    None => edit.remove(&["params", "_meta", META_LOG_LEVEL]),
                }
            }
        }
        Era::Legacy => {
            let ours = [META_VERSION, META_CLIENT, META_CAN, META_LOG_LEVEL];
            let only = |member: &json::Member<'_>| ours.contains(&&*member.key) || member.key == "baggage";
            let members = meta.and_then(Json::as_object).unwrap_or_default();
            // Not to leave an empty object where the client had to write one for its own era.
            if to.trace.is_none() && !members.is_empty() && members.iter().all(only) {
                edit.remove(&["params", "_meta"]);
            } else {
                ours.iter().for_each(|key| edit.remove(&["params", "_meta", key]));
            }
        }
    }
    edit.done()
}

/// What Portreeve calls itself
#[must_use]
pub fn client_info() -> Value {
    json!({ "name": "portreeve", "version": env!("CARGO_PKG_VERSION") })
}

/// How an answer goes to a client
#[derive(Clone, Copy, Debug)]
pub struct ToClient<'c> {
    /// Its id there, as the client wrote it
    pub id: &'c str,
    /// The version that the connector speaks
    pub from: Version,
    /// The version that the client speaks
    pub version: Version,
    /// What was asked
    pub method: Method,
    /// The state that the client is to bring back, sealed
    pub state: Option<&'c str>,
    /// For how many milliseconds a client may keep the answer at most
    pub ttl_ms_max: u64,
}

/// A connector's answer for a client
///
/// To modern clients every result has a `resultType`, and what may be kept says for how long, and for nobody else. To
/// legacy clients all members stay, since unknown ones are allowed there, but `structuredContent` that is no object.
#[must_use]
pub fn answer(bytes: &[u8], message: &Message<'_>, to: &ToClient<'_>) -> Vec<u8> {
    let mut edit = Edit::new(bytes, message);
    edit.id(to.id);
    if let Some(code) = message.error().and_then(|error| error.get("code")).and_then(Json::as_number)
        && let Ok(code) = code.parse()
        && code_for(code, to.version) != code
    {
        edit.set(&["error", "code"], &code_for(code, to.version).to_string());
    }
    let Some(result) = message.result() else { return edit.done() };
    if let Some(state) = to.state {
        edit.set(&["result", "requestState"], &quoted(state));
    }
    for (key, kind) in [("resultType", Member::Type), ("ttlMs", Member::Ttl), ("cacheScope", Member::Scope)] {
        let complete = result.get("resultType").is_none_or(|kind| kind.as_str() == Some("complete"));
        let value = result.get(key);
        if let Some(json) = kind.becomes(value.map(Json::raw), complete, to) {
            edit.set(&["result", key], &json);
        }
    }
    if drops_structured(result.get("structuredContent").map(Json::raw), to) {
        edit.remove(&["result", "structuredContent"]);
    }
    edit.done()
}

/// A member of a result that the eras do not have in common
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    Type,
    Ttl,
    Scope,
}

impl Member {
    /// What it becomes; `None`: it stays as it is, also absent
    pub(crate) fn becomes(self, value: Option<&str>, complete: bool, to: &ToClient<'_>) -> Option<String> {
        if to.version.era() == Era::Legacy {
            return None;
        }
        let cached = complete && to.method.is_cacheable();
        match self {
            Self::Type => value.is_none().then(|| quoted("complete")),
            Self::Ttl if cached => {
                let own = value.filter(|_| to.from.era() == Era::Modern);
                let own = own.and_then(Decimal::parse).and_then(|ttl| ttl.to_u64()).unwrap_or(0);
                let most = own.min(to.ttl_ms_max).to_string();
                (value != Some(&most)).then_some(most)
            }
            Self::Scope if cached => (value != Some("\"private\"")).then(|| quoted("private")),
            Self::Ttl | Self::Scope => None,
        }
    }
}

/// Legacy clients take only an object there (2025-11-25, Tools, Structured Content)
pub(crate) fn drops_structured(value: Option<&str>, to: &ToClient<'_>) -> bool {
    to.version.era() == Era::Legacy && value.is_some_and(|value| !value.starts_with('{'))
}

/// The definition of a tool for a client of this version: as it was accepted, but legacy clients refuse a whole list in
/// which one `outputSchema` is not that of an object
#[must_use]
pub fn definition(raw: &str, to: Version) -> Cow<'_, str> {
    if to.era() == Era::Modern {
        return Cow::Borrowed(raw);
    }
    let limits = json::Limits { bytes_max: raw.len(), ..json::Limits::DEFAULT };
    let Ok(tool) = json::scan_distinct(raw.as_bytes(), &limits) else { return Cow::Borrowed(raw) };
    let Some(schema) = tool.get("outputSchema") else { return Cow::Borrowed(raw) };
    if schema.get("type").and_then(Json::as_str) == Some("object") {
        return Cow::Borrowed(raw);
    }
    let mut edit = Edit::of(raw.as_bytes(), &tool);
    edit.remove(&["outputSchema"]);
    String::from_utf8(edit.done()).map_or(Cow::Borrowed(raw), Cow::Owned)
}

/// What a connector tells, for a client of this era; `None`: it is nothing for this client
///
/// `token` is the client's own progress token and `subscription` the id of its request to listen, both as the client
/// wrote them. On the way of a request a modern client is told only of that request, and on a subscription only what it
/// subscribed to; addresses that were opened are told in the legacy era alone. How a task is getting on is told by
/// nobody but `tasks/get`: there what the connector asks is judged before the client sees it.
#[must_use]
pub fn notification(
    bytes: &[u8],
    message: &Message<'_>,
    era: Era,
    token: Option<&str>,
    subscription: Option<&str>,
) -> Option<Vec<u8>> {
    let Shape::Notification { method } = message.shape() else { return None };
    let members = message.params().and_then(Json::as_object).unwrap_or_default();
    if members.iter().any(|member| json::confusable_with(&member.key, &TOLD).is_some()) {
        return None;
    }
    let mut edit = Edit::new(bytes, message);
    match (Notice::read(method)?, era, subscription) {
        (Notice::Progress, _, None) => edit.set(&["params", "progressToken"], token?),
        (Notice::Logged, _, None) | (Notice::UrlDone, Era::Legacy, None) => {}
        (Notice::Tools | Notice::Prompts | Notice::Resources | Notice::Updated, Era::Legacy, None)
        | (Notice::Tools | Notice::Prompts | Notice::Resources | Notice::Updated, Era::Modern, Some(_)) => {}
        _ => return None,
    }
    match subscription {
        Some(id) => edit.set(&["params", "_meta", META_SUBSCRIPTION], id),
        None => edit.remove(&["params", "_meta", META_SUBSCRIPTION]),
    }
    Some(edit.done())
}

/// Members by which a client decides what a notification is about
const TOLD: [&str; 6] = ["_meta", "progressToken", "uri", "level", "data", "elicitationId"];

/// How grave what `notifications/message` tells is
#[must_use]
pub fn logged_level(message: &Message<'_>) -> Option<Level> {
    Level::read(message.params()?.get("level")?.as_str()?)
}

#[cfg(test)]
mod tests;
