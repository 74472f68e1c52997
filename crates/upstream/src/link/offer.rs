//! What a connector offers, as whole as it can be asked for.

use super::{Carrier, Hello, Inner, Link, READY, Unready};
use portreeve_core::json;
use portreeve_mcp::{
    can::{TASKS, UI},
    client,
    method::Method,
    mirror::mirrored,
};
use serde_json::{Map, Value, json, value::RawValue};
use std::collections::BTreeMap;

/// What a connector offers
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What it says of itself
    pub hello: Hello,
    /// Each definition by name: tools as they were written, and, only where the connector has them, two made ones:
    /// `prompts/get` with the definitions of its prompts, and `server/discover` with what it tells a model
    pub items: BTreeMap<String, String>,
}

/// Tools, and prompts, of a connector at most
pub(super) const ITEMS_MAX: usize = 4_096;
/// Pages of a list at most
const PAGES_MAX: usize = 256;

impl Link {
    /// Asks what the connector offers, all pages of it
    ///
    /// # Errors
    /// [`Unready`]
    pub async fn offer(&self) -> Result<Offer, Unready> {
        self.inner.offer().await
    }
}

impl Inner {
    async fn offer(&self) -> Result<Offer, Unready> {
        let hello = self.hello.clone();
        let mut items = BTreeMap::new();
        let over_http = matches!(self.carrier, Carrier::Http { .. });
        if hello.offers("tools") {
            let tools = self.list(Method::ListTools).await?;
            items.extend(tools.into_iter().filter(|(name, definition)| is_sound(name, definition, over_http)));
        }
        if hello.offers("prompts") {
            let prompts = self.list(Method::ListPrompts).await?;
            items.insert(Method::GetPrompt.as_str().to_owned(), prompts_get(&prompts)?);
        }
        items.extend(discover(&hello).map(|made| (Method::Discover.as_str().to_owned(), made)));
        Ok(Offer { hello, items })
    }

    async fn list(&self, method: Method) -> Result<BTreeMap<String, String>, Unready> {
        let mut all = BTreeMap::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let id = self.id();
            let message = self.plain(id, self.says().list(id, method, cursor.as_deref()), READY).await?;
            let page = client::read_list(method, &message, &crate::room::limits()).map_err(Unready::Answer)?;
            for (name, definition) in page.items {
                if all.len() >= ITEMS_MAX {
                    return Err(Unready::Endless);
                }
                if all.insert(name.clone(), definition).is_some() {
                    return Err(Unready::Twice(name));
                }
            }
            // The empty cursor is one like any other.
            cursor = page.next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
        Err(Unready::Endless)
    }
}

/// Whether a tool can be offered: it must not pass for something else, and its headers must be such that they can be sent
fn is_sound(name: &str, definition: &str, over_http: bool) -> bool {
    if Method::read(name).is_some() {
        tracing::warn!(%name, "a tool has the name of a method and is left out");
        return false;
    }
    if !over_http {
        return true;
    }
    let limits = json::Limits { bytes_max: definition.len(), ..json::Limits::DEFAULT };
    let Ok(read) = json::scan_distinct(definition.as_bytes(), &limits) else { return false };
    match read.get("inputSchema").map(mirrored) {
        Some(Err(why)) => {
            tracing::warn!(%name, %why, "a tool wants headers that cannot be sent and is left out");
            false
        }
        Some(Ok(_)) | None => true,
    }
}

/// The made definition of what a server says of itself, where it says something: how it wants to be used, and which
/// extensions it has
fn discover(hello: &Hello) -> Option<String> {
    let limits = json::Limits { bytes_max: hello.capabilities.len(), ..json::Limits::DEFAULT };
    let capabilities = json::scan_distinct(hello.capabilities.as_bytes(), &limits).ok();
    let known = |id: &&str| {
        let extensions = capabilities.as_ref().and_then(|capabilities| capabilities.get("extensions"));
        extensions.is_some_and(|extensions| extensions.get(id).is_some())
    };
    let extensions: Map<String, Value> =
        [TASKS, UI].iter().filter(|id| known(id)).map(|id| ((*id).to_owned(), json!({}))).collect();
    if hello.instructions.is_none() && extensions.is_empty() {
        return None;
    }
    let mut made = json!({
        "name": Method::Discover.as_str(),
        "description": hello.instructions.as_deref().unwrap_or_default(),
        "inputSchema": { "type": "object" },
    });
    if let Some(made) = made.as_object_mut().filter(|_| !extensions.is_empty()) {
        made.insert("extensions".to_owned(), extensions.into());
    }
    Some(made.to_string())
}

/// The made definition under which prompts are accepted and called
fn prompts_get(prompts: &BTreeMap<String, String>) -> Result<String, Unready> {
    let lacks = |_| Unready::Answer(client::Answer::Lacks("prompts that can be read"));
    let mut raw = BTreeMap::new();
    for (name, definition) in prompts {
        raw.insert(name, RawValue::from_string(definition.clone()).map_err(lacks)?);
    }
    let name = Method::GetPrompt.as_str();
    let schema: Map<String, Value> = [
        ("type".to_owned(), json!("object")),
        ("properties".to_owned(), json!({ "name": { "type": "string" }, "arguments": { "type": "object" } })),
        ("required".to_owned(), json!(["name"])),
    ]
    .into_iter()
    .collect();
    let prompts = serde_json::to_string(&raw).map_err(lacks)?;
    let schema = Value::from(schema);
    Ok(format!("{{\"name\":\"{name}\",\"inputSchema\":{schema},\"prompts\":{prompts}}}"))
}
