//! What a client can do for a server.

use crate::{method::Method, version::Era};
use portreeve_core::json::Json;
use serde_json::{Map, Value, json};

/// The extension for tasks (SEP-2663)
pub const TASKS: &str = "io.modelcontextprotocol/tasks";
/// The extension for user interfaces, MCP Apps (SEP-1865)
pub const UI: &str = "io.modelcontextprotocol/ui";

/// What a client can do for a server: a set, small enough to be part of a key
///
/// Only what is understood here is in it. Any other capability is not told to a connector, since what it would
/// send because of it could not be judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Can(u16);

impl Can {
    /// Nothing
    pub const NONE: Self = Self(0);
    /// Ask its user to fill in a form
    pub const FORM: Self = Self(1);
    /// Ask its user to open an address
    pub const URL: Self = Self(1 << 1);
    /// Ask its model
    pub const SAMPLE: Self = Self(1 << 2);
    /// Ask its model, which may use tools
    pub const SAMPLE_TOOLS: Self = Self(1 << 3);
    /// Ask its model, which is given what servers told before
    pub const SAMPLE_CONTEXT: Self = Self(1 << 4);
    /// Tell its folders
    pub const ROOTS: Self = Self(1 << 5);
    /// Tell that its folders changed; of the legacy era
    pub const ROOTS_CHANGED: Self = Self(1 << 6);
    /// Take a task for an answer; of the modern era
    pub const TASKS: Self = Self(1 << 7);
    /// Show user interfaces
    pub const UI: Self = Self(1 << 8);
    /// All of it
    pub const ALL: Self = Self((1 << 9) - 1);

    /// Reads `capabilities` of `initialize` or `io.modelcontextprotocol/clientCapabilities` of `_meta`
    ///
    /// `elicitation: {}` means forms only (2026-07-28, Elicitation, Capabilities).
    #[must_use]
    pub fn read(capabilities: &Json<'_>) -> Self {
        let object = |of: Option<&Json<'_>>, key: &str| of.and_then(|of| of.get(key)).is_some_and(is_object);
        let all = Some(capabilities);
        let mut can = Self::NONE;
        let mut put = |what: Self, there: bool| {
            if there {
                can = can.and(what);
            }
        };
        let elicitation = capabilities.get("elicitation").filter(|elicitation| is_object(elicitation));
        let modes = elicitation.is_some_and(|modes| modes.get("form").is_some() || modes.get("url").is_some());
        put(Self::FORM, elicitation.is_some() && (!modes || object(elicitation, "form")));
        put(Self::URL, object(elicitation, "url"));
        let sampling = capabilities.get("sampling").filter(|sampling| is_object(sampling));
        put(Self::SAMPLE, sampling.is_some());
        put(Self::SAMPLE_TOOLS, object(sampling, "tools"));
        put(Self::SAMPLE_CONTEXT, object(sampling, "context"));
        let roots = capabilities.get("roots").filter(|roots| is_object(roots));
        put(Self::ROOTS, roots.is_some());
        put(
            Self::ROOTS_CHANGED,
            roots.and_then(|roots| roots.get("listChanged")).and_then(Json::as_bool) == Some(true),
        );
        let extensions = all.and_then(|all| all.get("extensions"));
        put(Self::TASKS, object(extensions, TASKS));
        put(Self::UI, object(extensions, UI));
        can
    }

    /// As a client of this era says it
    #[must_use]
    pub fn json(self, era: Era) -> Value {
        let mut all = Map::new();
        let part = |members: &[(&str, Self)]| -> Value {
            let members = members.iter().filter(|(_, what)| self.has(*what));
            members.map(|(name, _)| ((*name).to_owned(), json!({}))).collect::<Map<_, _>>().into()
        };
        if self.has(Self::FORM) || self.has(Self::URL) {
            all.insert("elicitation".to_owned(), part(&[("form", Self::FORM), ("url", Self::URL)]));
        }
        if self.has(Self::SAMPLE) {
            let sampling = part(&[("tools", Self::SAMPLE_TOOLS), ("context", Self::SAMPLE_CONTEXT)]);
            all.insert("sampling".to_owned(), sampling);
        }
        if self.has(Self::ROOTS) {
            let changed = era == Era::Legacy && self.has(Self::ROOTS_CHANGED);
            all.insert("roots".to_owned(), if changed { json!({ "listChanged": true }) } else { json!({}) });
        }
        let mut extensions = Map::new();
        if era == Era::Modern && self.has(Self::TASKS) {
            extensions.insert(TASKS.to_owned(), json!({}));
        }
        if self.has(Self::UI) {
            extensions.insert(UI.to_owned(), json!({ "mimeTypes": ["text/html;profile=mcp-app"] }));
        }
        if !extensions.is_empty() {
            all.insert("extensions".to_owned(), extensions.into());
        }
        all.into()
    }

    /// Whether these capabilities say exactly this, with no word that is not understood here
    #[must_use]
    pub fn is_all_of(self, capabilities: &Json<'_>) -> bool {
        const KNOWN: [(&str, &[&str]); 4] = [
            ("elicitation", &["form", "url"]),
            ("sampling", &["tools", "context"]),
            ("roots", &["listChanged"]),
            ("extensions", &[TASKS, UI]),
        ];
        let known = |member: &portreeve_core::json::Member<'_>| {
            let inner = KNOWN.iter().find(|(key, _)| *key == member.key).map(|(_, inner)| *inner);
            let members = member.value.as_object();
            inner.zip(members).is_some_and(|(inner, members)| members.iter().all(|one| inner.contains(&&*one.key)))
        };
        Self::read(capabilities) == self && capabilities.as_object().is_some_and(|members| members.iter().all(known))
    }

    /// Whether a server may ask this of the client (2026-07-28, Multi Round-Trip Requests, Server Requirements)
    #[must_use]
    pub fn allows(self, method: Method, params: Option<&Json<'_>>) -> bool {
        self.lacks(method, params).is_none()
    }

    /// What the client would have to be able to do besides, for a server to ask this of it
    ///
    /// `None`: nothing. [`Can::NONE`] inside: no client could, since it is no question.
    #[must_use]
    pub fn lacks(self, method: Method, params: Option<&Json<'_>>) -> Option<Self> {
        let member = |key: &str| params.and_then(|params| params.get(key));
        let needs = match method {
            Method::Elicit => match member("mode").map(Json::as_str) {
                None | Some(Some("form")) => Self::FORM,
                Some(Some("url")) => Self::URL,
                Some(_) => return Some(Self::NONE),
            },
            Method::Sample => {
                let tools = member("tools").is_some() || member("toolChoice").is_some();
                let context = member("includeContext").is_some_and(|context| context.as_str() != Some("none"));
                let tools = if tools { Self::SAMPLE_TOOLS } else { Self::NONE };
                let context = if context { Self::SAMPLE_CONTEXT } else { Self::NONE };
                Self::SAMPLE.and(tools).and(context)
            }
            Method::ListRoots => Self::ROOTS,
            _ => return Some(Self::NONE),
        };
        if self.has(needs) { None } else { Some(Self(needs.0 & !self.0)) }
    }

    /// Both
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Only what is in both
    #[must_use]
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of `other` is in it
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// As a number, for a seal or a key
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// From [`bits`](Self::bits); bits that mean nothing are left out
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & Self::ALL.0)
    }
}

fn is_object(json: &Json<'_>) -> bool {
    json.as_object().is_some()
}

#[cfg(test)]
mod tests;
