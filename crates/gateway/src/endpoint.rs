//! The endpoints of agents: `/mcp/<connector>`, Streamable HTTP of the eras with `initialize`.
//!
//! The token is the binding. No session is kept: the `Mcp-Session-Id` that a client is told only keeps the
//! request ids of two clients of one run apart.

use crate::{
    call::{Calls, Incoming, OwnId, Place},
    catalogue::Catalogue,
    door::Door,
    settings::{BODY_SECS_MAX, REQUEST_BYTES_MAX},
    tasks::draw,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming as Body;
use portreeve_core::{
    json::{Json, Limits},
    names::{EffectId, Name, RunId, Tool, ToolName},
    reason::{Reason, Word},
    request::{Call, Refusal, Request as Asking},
    value::Value,
};
use portreeve_identity::token::{Invalid, Issuer, bearer};
use portreeve_mcp::{
    message::{Id, Message, Shape, ToolCall},
    reply,
    version::{Era, Version},
};
use portreeve_upstream::{
    clock::SteadyClock,
    http::{SESSION, VERSION},
};
use serde_json::json;
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

/// The endpoints of one process
#[derive(Debug)]
pub struct Endpoints {
    door: Door,
    calls: Arc<Calls>,
    catalogue: Arc<Catalogue>,
    issuer: Arc<Issuer>,
    clock: SteadyClock,
    address: SocketAddr,
}

/// How a request reached us
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Over TCP, where a browser on this machine could send it too
    Tcp,
    /// Over a socket whose peers were checked
    Socket,
}

type Reply = Response<Full<Bytes>>;

/// What a message asks for
enum Asked {
    /// Nothing that has an answer
    Nothing(StatusCode),
    /// Something that is answered already
    Answered(Vec<u8>),
    /// The handshake, in this version
    Initialize(OwnId, String),
    /// A tool call
    Call(OwnId, Call),
    /// Another method
    Other(OwnId, String),
}

impl Endpoints {
    /// Endpoints at this address
    #[must_use]
    pub fn new(
        door: Door,
        calls: Arc<Calls>,
        catalogue: Arc<Catalogue>,
        issuer: Arc<Issuer>,
        clock: SteadyClock,
        address: SocketAddr,
    ) -> Self {
        Self { door, calls, catalogue, issuer, clock, address }
    }

    /// The address of a connector's endpoint, which is also its audience
    #[must_use]
    pub fn url(&self, connector: &Name) -> String {
        format!("http://{}/mcp/{connector}", self.address)
    }

    /// Answers one request
    pub async fn answer(&self, request: Request<Body>, via: Via) -> Reply {
        let (head, body) = request.into_parts();
        let connector = match head.uri.path().strip_prefix("/mcp/").map(str::parse::<Name>) {
            Some(Ok(connector)) => connector,
            _ => return empty(StatusCode::NOT_FOUND),
        };
        if via == Via::Tcp
            && let Err(status) = self.same_origin(&head.headers)
        {
            return empty(status);
        }
        let run = match self.authenticate(&head.headers, &head.uri, &connector) {
            Ok(run) => run,
            Err(refusal) => return *refusal,
        };
        if head.method != Method::POST {
            let mut reply = empty(StatusCode::METHOD_NOT_ALLOWED);
            reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return reply;
        }
        if let Err(status) = acceptable(&head.headers) {
            return empty(status);
        }
        // Taken before the body is read: one run cannot hold more memory than its places.
        let Some(place) = self.calls.place(run) else { return empty(StatusCode::TOO_MANY_REQUESTS) };
        let body = Limited::new(body, REQUEST_BYTES_MAX).collect();
        let body = match tokio::time::timeout(Duration::from_secs(BODY_SECS_MAX), body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return empty(StatusCode::PAYLOAD_TOO_LARGE);
            }
            Ok(Err(_)) => return empty(StatusCode::BAD_REQUEST),
            Err(_) => return empty(StatusCode::REQUEST_TIMEOUT),
        };
        let session = head.headers.get(SESSION).and_then(|session| session.to_str().ok()).map(str::to_owned);
        self.message(run, connector, session, body, place).await
    }

    async fn message(&self, run: RunId, connector: Name, session: Option<String>, body: Bytes, place: Place) -> Reply {
        let limits = Limits { bytes_max: REQUEST_BYTES_MAX, ..Limits::DEFAULT };
        let asked = match Message::read(&body, &limits) {
            Ok(message) => self.asked(run, &connector, session.as_deref(), &message),
            Err(error) => {
                let text = reply::error(None, error.code(), &error.to_string(), None);
                return json_reply(StatusCode::BAD_REQUEST, text);
            }
        };
        let text = match asked {
            Asked::Nothing(status) => return empty(status),
            Asked::Answered(text) => text,
            Asked::Initialize(id, version) => return self.initialize(&id.raw, &connector, &version),
            Asked::Call(id, call) => {
                let key = (run, session, id.raw.clone());
                self.calls.run(Incoming { call, message: body, id, key }, place).await
            }
            Asked::Other(id, method) => self.other(run, &connector, &id.raw, &method).await,
        };
        json_reply(StatusCode::OK, text)
    }

    fn asked(&self, run: RunId, connector: &Name, session: Option<&str>, message: &Message<'_>) -> Asked {
        match message.shape() {
            Shape::Notification { method } => {
                if method == "notifications/cancelled"
                    && let Some(id) = cancelled_id(message)
                {
                    self.calls.cancel_request(&(run, session.map(str::to_owned), id));
                }
                Asked::Nothing(StatusCode::ACCEPTED)
            }
            // We ask clients nothing, so there is nothing to answer.
            Shape::Response { .. } => Asked::Nothing(StatusCode::BAD_REQUEST),
            Shape::Request { id, method } => match method.as_str() {
                "initialize" => Asked::Initialize(id.into(), wanted_version(message)),
                "tools/call" => match self.call(run, connector, message, id) {
                    Ok(call) => Asked::Call(id.into(), call),
                    Err(text) => Asked::Answered(text),
                },
                _ => Asked::Other(id.into(), method.clone()),
            },
        }
    }

    /// Reads a call; what cannot be one is answered by the protocol's own error
    fn call(&self, run: RunId, connector: &Name, message: &Message<'_>, id: &Id<'_>) -> Result<Call, Vec<u8>> {
        let invalid = |text: &str| reply::error(Some(id.raw()), -32602, text, None);
        let call = ToolCall::read(message.params()).map_err(invalid)?;
        let Ok(name) = call.name.parse::<ToolName>() else { return Err(reply::unknown_tool(id.raw(), call.name)) };
        let tool = Tool { connector: connector.clone(), name };
        let arguments = match call.arguments.map(Json::to_value).transpose() {
            Ok(arguments) => arguments.unwrap_or_else(|| Value::Object(BTreeMap::new())),
            Err(error) => return Err(invalid(&error.to_string())),
        };
        let fit = self.catalogue.view().fit(&tool, &arguments);
        let arguments = match arguments {
            Value::Object(arguments) => arguments,
            _ => return Err(invalid("params.arguments must be an object")),
        };
        if call.as_task {
            let reason = Reason::new(Word::MethodNotEnforced, &tool).with("field", "params.task");
            self.refused(run, tool.to_string(), &reason);
            return Err(reply::refused_call(id.raw(), Era::Legacy, &[reason]));
        }
        let effect = draw().map_err(|why| reply::unreachable(id.raw(), Era::Legacy, &why))?;
        Ok(Call { effect: EffectId(effect), run, tool, arguments, fit, answers: Vec::new(), continues: None })
    }

    fn initialize(&self, id: &str, connector: &Name, wanted: &str) -> Reply {
        let result = json!({
            "protocolVersion": Version::negotiate(wanted).as_str(),
            "capabilities": { "tools": {} },
            "serverInfo": {
                "name": format!("portreeve/{connector}"),
                "title": format!("{connector} through Portreeve"),
                "version": env!("CARGO_PKG_VERSION"),
            },
            "instructions": INSTRUCTIONS,
        });
        let mut answer = json_reply(StatusCode::OK, reply::result(id, Era::Legacy, &result));
        if let Ok(session) = draw().map(|id| HeaderValue::from_str(&format!("{id:016x}")))
            && let Ok(session) = session
        {
            answer.headers_mut().insert(SESSION, session);
        }
        answer
    }

    async fn other(&self, run: RunId, connector: &Name, id: &str, method: &str) -> Vec<u8> {
        match method {
            "ping" => reply::result_text(id, "{}"),
            "tools/list" => self.list(run, connector, id).await,
            known if NOT_ENFORCED.contains(&known) => {
                let reason = Reason::new(Word::MethodNotEnforced, connector).with("method", known);
                self.refused(run, format!("{connector}/{known}"), &reason);
                reply::refused(id, &[reason])
            }
            _ => reply::error(Some(id), -32601, "Method not found", None),
        }
    }

    /// Has a refusal recorded that never came to a judgement
    fn refused(&self, run: RunId, what: String, reason: &Reason) {
        self.door.later(Asking::Refused(Refusal { run, what, reason: reason.clone() }));
    }

    /// Private to this task: the tools that it could use, each exactly as its server wrote it
    async fn list(&self, run: RunId, connector: &Name, id: &str) -> Vec<u8> {
        let (of, clock) = (connector.clone(), self.clock.read());
        let listed = self.door.ask(move |engine| engine.listed(run, &of, clock)).await;
        match listed {
            Some(Ok(listed)) => {
                let view = self.catalogue.view();
                let definitions: Vec<&str> = view.raw(connector, &listed.tools).collect();
                reply::result_text(id, &format!("{{\"tools\":[{}]}}", definitions.join(",")))
            }
            Some(Err(reasons)) => reply::refused(id, &reasons),
            None => reply::refused(id, &[Reason::new(Word::RecordUnavailable, "record")]),
        }
    }

    fn authenticate(&self, headers: &HeaderMap, uri: &Uri, connector: &Name) -> Result<RunId, Box<Reply>> {
        // RFC 6750, 2: one way to present a token, and never the query string.
        let mut presented = headers.get_all(header::AUTHORIZATION).iter();
        let header = presented.next();
        let in_query = uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("access_token=")));
        if presented.next().is_some() || (in_query && header.is_some()) {
            let description = "a token is presented in one way only";
            return Err(Box::new(challenge(StatusCode::BAD_REQUEST, "invalid_request", description)));
        }
        let unauthorised =
            |invalid: Invalid| Box::new(challenge(StatusCode::UNAUTHORIZED, "invalid_token", &invalid.to_string()));
        let Some(header) = header else {
            let mut reply = empty(StatusCode::UNAUTHORIZED);
            reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return Err(Box::new(reply));
        };
        let token = header.to_str().ok().and_then(bearer).ok_or_else(|| unauthorised(Invalid::Malformed))?;
        self.issuer.check(token, &self.url(connector), self.clock.now()).map_err(unauthorised)
    }

    /// A page that a browser shows must not reach us, whatever name it gave our address
    fn same_origin(&self, headers: &HeaderMap) -> Result<(), StatusCode> {
        let ours = |authority: &str| {
            let port = self.address.port();
            let host = authority.strip_suffix(&format!(":{port}")).unwrap_or(authority);
            host.eq_ignore_ascii_case("localhost") || host.trim_matches(['[', ']']) == self.address.ip().to_string()
        };
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok()).ok_or(StatusCode::BAD_REQUEST)?;
        if hosts.next().is_some() {
            return Err(StatusCode::BAD_REQUEST);
        }
        if !ours(host) {
            return Err(StatusCode::FORBIDDEN);
        }
        for origin in headers.get_all(header::ORIGIN) {
            let authority = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
            if !authority.is_some_and(ours) {
                return Err(StatusCode::FORBIDDEN);
            }
        }
        Ok(())
    }
}

/// What a model is told about the gateway
const INSTRUCTIONS: &str = "Every call is checked against the task that you work on. Only the tools that the \
     task may use are listed. A refused call says why and what to do instead; do not repeat it unchanged.";

/// Methods of the protocol that carry data and that this version cannot judge yet
const NOT_ENFORCED: [&str; 14] = [
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "tasks/list",
    "tasks/get",
    "tasks/result",
    "tasks/cancel",
    "server/discover",
];

fn acceptable(headers: &HeaderMap) -> Result<(), StatusCode> {
    let media = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    };
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let kind = kinds.next().map(media);
    if kind.as_deref() != Some("application/json") || kinds.next().is_some() {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let mut versions = headers.get_all(VERSION).iter();
    let known = versions.next().is_none_or(|version| version.to_str().is_ok_and(|text| Version::read(text).is_some()));
    if !known || versions.next().is_some() {
        return Err(StatusCode::BAD_REQUEST);
    }
    let accepts =
        headers.get_all(header::ACCEPT).iter().flat_map(|value| value.to_str().unwrap_or_default().split(','));
    let mut accepts =
        accepts.map(|range| range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()).peekable();
    let any = accepts.peek().is_none();
    if any || accepts.any(|range| matches!(range.as_str(), "application/json" | "application/*" | "*/*")) {
        Ok(())
    } else {
        Err(StatusCode::NOT_ACCEPTABLE)
    }
}

fn cancelled_id(message: &Message<'_>) -> Option<String> {
    Some(message.params()?.get("requestId")?.raw().to_owned())
}

fn wanted_version(message: &Message<'_>) -> String {
    let version = message.params().and_then(|params| params.get("protocolVersion")).and_then(Json::as_str);
    version.unwrap_or_default().to_owned()
}

fn challenge(status: StatusCode, error: &str, description: &str) -> Reply {
    let mut reply = empty(status);
    let value = format!("Bearer error=\"{error}\", error_description=\"{description}\"");
    if let Ok(value) = HeaderValue::from_str(&value) {
        reply.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    reply
}

fn json_reply(status: StatusCode, text: Vec<u8>) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(text)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// An answer without a body
#[must_use]
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = status;
    reply
}
