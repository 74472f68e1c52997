//! The parameters of every request that a client sends, read once and strictly.
//!
//! Each reader refuses members that another parser could take for one that means something here.

use crate::{message::Message, method::Method};
use portreeve_core::json::{self, Json};

/// What is wrong with parameters, fit for the client (error -32602)
pub type Wrong = &'static str;

/// The parameters of `tools/call`, `prompts/get` and `resources/read`: what may be asked back, and may be tried again
#[derive(Clone, Copy, Debug)]
pub struct Use<'m, 'a> {
    /// The name of the tool or the prompt, or the URI of the resource
    pub name: &'m str,
    /// The arguments of a tool or a prompt, an object; absent means none
    pub arguments: Option<&'m Json<'a>>,
    /// The client's answers to what the server asked back, an object
    pub responses: Option<&'m Json<'a>>,
    /// What the client was given to bring back
    pub state: Option<&'m str>,
    /// Whether the client asks for a task in the manner of 2025-11-25, which is not part of any newer version
    pub as_task: bool,
}

/// Members that mean something in parameters
const KNOWN: [&str; 17] = [
    "_meta",
    "arguments",
    "argument",
    "capabilities",
    "clientInfo",
    "context",
    "cursor",
    "inputResponses",
    "level",
    "name",
    "notifications",
    "protocolVersion",
    "ref",
    "requestState",
    "task",
    "taskId",
    "uri",
];

/// Members that mean something in `_meta` of a request
pub(crate) const KNOWN_META: [&str; 8] =
    ["progressToken", "traceparent", "tracestate", "baggage", META_VERSION, META_CLIENT, META_CAN, META_LOG_LEVEL];

/// Where a modern request has its version
pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Where a modern request has the client's name
pub const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
/// Where a modern request has the client's capabilities
pub const META_CAN: &str = "io.modelcontextprotocol/clientCapabilities";
/// Where a modern request has the level from which on the client wants to be told what is logged
pub const META_LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// Where a message of a subscription has the id of the request that opened it
pub const META_SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// Where a result has the server's name
pub const META_SERVER: &str = "io.modelcontextprotocol/serverInfo";

/// The members of `params`, none of which only looks like one of the protocol
pub(crate) fn strict<'m, 'a>(params: Option<&'m Json<'a>>) -> Result<Option<&'m Json<'a>>, Wrong> {
    let Some(params) = params else { return Ok(None) };
    let members = params.as_object().ok_or("params must be an object")?;
    if members.iter().any(|member| json::confusable_with(&member.key, &KNOWN).is_some()) {
        return Err("a member of params only looks like one of the protocol");
    }
    if let Some(meta) = params.get("_meta") {
        let members = meta.as_object().ok_or("params._meta must be an object")?;
        if members.iter().any(|member| json::confusable_with(&member.key, &KNOWN_META).is_some()) {
            return Err("a member of params._meta only looks like one of the protocol");
        }
    }
    Ok(Some(params))
}

fn needed<'m, 'a>(params: Option<&'m Json<'a>>) -> Result<&'m Json<'a>, Wrong> {
    strict(params)?.ok_or("the method needs params")
}

fn object<'m, 'a>(params: &'m Json<'a>, key: &str, wrong: Wrong) -> Result<Option<&'m Json<'a>>, Wrong> {
    let member = params.get(key);
    if member.is_some_and(|member| member.as_object().is_none()) { Err(wrong) } else { Ok(member) }
}

fn text<'m>(params: &'m Json<'_>, key: &str, wrong: Wrong) -> Result<&'m str, Wrong> {
    params.get(key).and_then(Json::as_str).ok_or(wrong)
}

impl<'m, 'a> Use<'m, 'a> {
    /// Reads the parameters of a method that [`may_ask`](Method::may_ask)
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(method: Method, params: Option<&'m Json<'a>>) -> Result<Self, Wrong> {
        let params = needed(params)?;
        let name = match method {
            Method::ReadResource => text(params, "uri", "params.uri must be a string")?,
            _ => text(params, "name", "params.name must be a string")?,
        };
        let arguments = match method {
            Method::ReadResource => None,
            _ => object(params, "arguments", "params.arguments must be an object")?,
        };
        let responses = object(params, "inputResponses", "params.inputResponses must be an object")?;
        if responses.and_then(Json::as_object).is_some_and(|all| all.iter().any(|one| one.value.as_object().is_none()))
        {
            return Err("every member of params.inputResponses must be an object");
        }
        let state = match params.get("requestState") {
            None => None,
            Some(state) => Some(state.as_str().ok_or("params.requestState must be a string")?),
        };
        Ok(Self { name, arguments, responses, state, as_task: params.get("task").is_some() })
    }
}

/// What `completion/complete` completes
#[derive(Clone, Copy, Debug)]
pub struct Completion<'m, 'a> {
    /// Of which prompt or template
    pub of: Reference<'m>,
    /// The whole `ref`
    pub reference: &'m Json<'a>,
    /// Its `argument`, an object with `name` and `value`
    pub argument: &'m Json<'a>,
    /// Its `context`, an object
    pub context: Option<&'m Json<'a>>,
}

/// What a completion is for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'m> {
    /// An argument of this prompt
    Prompt(&'m str),
    /// A variable of this template of resources, or this resource
    Resource(&'m str),
}

impl<'m, 'a> Completion<'m, 'a> {
    /// Reads the parameters
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(params: Option<&'m Json<'a>>) -> Result<Self, Wrong> {
        let params = needed(params)?;
        let reference = object(params, "ref", "params.ref must be an object")?.ok_or("params.ref is missing")?;
        let members = reference.as_object().unwrap_or_default();
        if members.iter().any(|member| json::confusable_with(&member.key, &["type", "name", "uri"]).is_some()) {
            return Err("a member of params.ref only looks like one of the protocol");
        }
        let of = match text(reference, "type", "params.ref.type must be a string")? {
            "ref/prompt" => Reference::Prompt(text(reference, "name", "params.ref.name must be a string")?),
            "ref/resource" => Reference::Resource(text(reference, "uri", "params.ref.uri must be a string")?),
            _ => return Err("params.ref.type must be ref/prompt or ref/resource"),
        };
        let wrong = "params.argument must have a name and a value, both strings";
        let argument = object(params, "argument", wrong)?.ok_or(wrong)?;
        text(argument, "name", wrong)?;
        text(argument, "value", wrong)?;
        let context = object(params, "context", "params.context must be an object")?;
        Ok(Self { of, reference, argument, context })
    }
}

/// The `uri` of `resources/subscribe` and `resources/unsubscribe`
///
/// # Errors
/// What is wrong with the parameters.
pub fn uri<'m>(params: Option<&'m Json<'_>>) -> Result<&'m str, Wrong> {
    text(needed(params)?, "uri", "params.uri must be a string")
}

/// The `cursor` of a list; the empty one is one (2026-07-28, Pagination)
///
/// # Errors
/// What is wrong with the parameters.
pub fn cursor<'m>(params: Option<&'m Json<'_>>) -> Result<Option<&'m str>, Wrong> {
    match strict(params)?.and_then(|params| params.get("cursor")) {
        None => Ok(None),
        Some(cursor) => Ok(Some(cursor.as_str().ok_or("params.cursor must be a string")?)),
    }
}

/// The `level` of `logging/setLevel`
///
/// # Errors
/// What is wrong with the parameters.
pub fn level(params: Option<&Json<'_>>) -> Result<Level, Wrong> {
    let level = text(needed(params)?, "level", "params.level must be a string")?;
    Level::read(level).ok_or(NO_LEVEL)
}

pub(crate) const NO_LEVEL: Wrong =
    "the level must be one of debug, info, notice, warning, error, critical, alert, emergency";

/// How grave what is logged is (RFC 5424)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// `debug`
    Debug,
    /// `info`
    Info,
    /// `notice`
    Notice,
    /// `warning`
    Warning,
    /// `error`
    Error,
    /// `critical`
    Critical,
    /// `alert`
    Alert,
    /// `emergency`
    Emergency,
}

impl Level {
    /// All of them, the least grave first
    pub const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// As it stands in messages
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }

    /// The level of this name
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// What a client wants to be told of
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenFilter {
    /// That the list of tools changed
    pub tools: bool,
    /// That the list of prompts changed
    pub prompts: bool,
    /// That the list of resources changed
    pub resources: bool,
    /// That one of these resources changed
    pub uris: Vec<String>,
    /// How these tasks are getting on (extension)
    pub tasks: Vec<String>,
}

/// URIs and tasks of one subscription at most
pub const SUBSCRIBED_MAX: usize = 256;

impl ListenFilter {
    /// Reads the parameters of `subscriptions/listen`
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(params: Option<&Json<'_>>) -> Result<Self, Wrong> {
        const FILTER: [&str; 5] =
            ["toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions", "taskIds"];
        let missing = "params.notifications must be an object";
        let filter = object(needed(params)?, "notifications", missing)?.ok_or(missing)?;
        let members = filter.as_object().unwrap_or_default();
        if members.iter().any(|member| json::confusable_with(&member.key, &FILTER).is_some()) {
            return Err("a member of params.notifications only looks like one of the protocol");
        }
        let flag = |key: &str| match filter.get(key) {
            None => Ok(false),
            Some(flag) => flag.as_bool().ok_or("the list notifications are wanted by true or false"),
        };
        let texts = |key: &str| -> Result<Vec<String>, Wrong> {
            let wrong = "resourceSubscriptions and taskIds must be arrays of strings";
            let Some(texts) = filter.get(key) else { return Ok(Vec::new()) };
            let texts = texts.as_array().ok_or(wrong)?;
            if texts.len() > SUBSCRIBED_MAX {
                return Err("too many resources or tasks in one subscription; at most 256");
            }
            texts.iter().map(|text| text.as_str().map(str::to_owned).ok_or(wrong)).collect()
        };
        Ok(Self {
            tools: flag("toolsListChanged")?,
            prompts: flag("promptsListChanged")?,
            resources: flag("resourcesListChanged")?,
            uris: texts("resourceSubscriptions")?,
            tasks: texts("taskIds")?,
        })
    }

    /// As `params.notifications` says it; what is not wanted is absent
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let mut all = serde_json::Map::new();
        let flags = [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ];
        for (key, _) in flags.iter().filter(|(_, wanted)| *wanted) {
            all.insert((*key).to_owned(), true.into());
        }
        for (key, texts) in [("resourceSubscriptions", &self.uris), ("taskIds", &self.tasks)] {
            if !texts.is_empty() {
                all.insert(key.to_owned(), texts.as_slice().into());
            }
        }
        all.into()
    }
}

/// The parameters of `tasks/get`, `tasks/update` and `tasks/cancel`
#[derive(Clone, Copy, Debug)]
pub struct TaskUse<'m, 'a> {
    /// Which task
    pub task: &'m str,
    /// The client's answers to what the server asked, an object; of `tasks/update`
    pub responses: Option<&'m Json<'a>>,
}

impl<'m, 'a> TaskUse<'m, 'a> {
    /// Reads the parameters
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(method: Method, params: Option<&'m Json<'a>>) -> Result<Self, Wrong> {
        let params = needed(params)?;
        let task = text(params, "taskId", "params.taskId must be a string")?;
        let responses = object(params, "inputResponses", "params.inputResponses must be an object")?;
        if responses.and_then(Json::as_object).is_some_and(|all| all.iter().any(|one| one.value.as_object().is_none()))
        {
            return Err("every member of params.inputResponses must be an object");
        }
        if method == Method::UpdateTask && responses.is_none() {
            return Err("params.inputResponses is missing");
        }
        Ok(Self { task, responses })
    }
}

/// What the parameters of `initialize` say
#[derive(Clone, Copy, Debug)]
pub struct Initialize<'m> {
    /// The version that the client wants
    pub version: &'m str,
    /// What it can do
    pub can: crate::can::Can,
}

/// Reads the parameters of `initialize`
///
/// # Errors
/// What is wrong with them.
pub fn initialize<'m>(params: Option<&'m Json<'_>>) -> Result<Initialize<'m>, Wrong> {
    let params = needed(params)?;
    let version = text(params, "protocolVersion", "params.protocolVersion must be a string")?;
    let capabilities = object(params, "capabilities", "params.capabilities must be an object")?;
    Ok(Initialize { version, can: capabilities.map(crate::can::Can::read).unwrap_or_default() })
}

/// The token under which the client wants to hear of progress, as it was written: a string or an integer
///
/// # Errors
/// What is wrong with it.
pub fn progress_token<'m>(params: Option<&'m Json<'_>>) -> Result<Option<&'m str>, Wrong> {
    let token = params.and_then(|params| params.get("_meta")).and_then(|meta| meta.get("progressToken"));
    match token {
        None => Ok(None),
        Some(token) if is_token(token) => Ok(Some(token.raw())),
        Some(_) => Err("params._meta.progressToken must be a string or a number"),
    }
}

pub(crate) fn is_token(token: &Json<'_>) -> bool {
    token.raw().len() <= TOKEN_BYTES_MAX && (token.as_str().is_some() || token.as_number().is_some())
}

/// Bytes of a progress token at most
const TOKEN_BYTES_MAX: usize = 256;

/// The id, as it was written, of the request that `notifications/cancelled` is about
#[must_use]
pub fn cancelled<'m>(message: &'m Message<'_>) -> Option<&'m str> {
    let id = message.params()?.get("requestId")?;
    is_token(id).then(|| id.raw())
}

#[cfg(test)]
mod tests;
