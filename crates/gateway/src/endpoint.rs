//! The endpoints of agents: `/mcp/<connector>`, names unchanged, and `/mcp`, all connectors of the task.
//!
//! The token is the binding. Nothing is taken from the connection, a session or an earlier request.

use crate::{
    dispatch::{Arrived, Dispatch},
    outlet::{Outlet, Reply, empty, json},
    session::{Session, Sessions},
    settings::{BODY_SECS_MAX, REQUEST_BYTES_MAX},
    site::Line,
    streams::Streams,
    under_way::UnderWay,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming as Body;
use portreeve_core::{names::Name, proof::Binding};
use portreeve_identity::{
    dpop,
    jose::Thumbprint,
    once::Once,
    token::{Good, Invalid, Issuer, bearer, possessed},
};
use portreeve_mcp::version::Version;
use portreeve_upstream::{
    clock::SteadyClock,
    http::{SESSION, VERSION},
};
use std::{fmt, sync::Arc, time::Duration};

/// The endpoints of one process
#[derive(Debug)]
pub struct Endpoints {
    dispatch: Arc<Dispatch>,
    under_way: Arc<UnderWay>,
    sessions: Arc<Sessions>,
    streams: Arc<Streams>,
    issuer: Arc<Issuer>,
    clock: SteadyClock,
    /// Proofs of possession that were shown
    once: Once,
}

/// How a request reached us
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Over TCP, where a browser on this machine could send it too
    Tcp,
    /// Over a socket whose peers were checked
    Socket,
}

/// Which endpoint
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// That of one connector: names are as it spells them
    One(Name),
    /// That of all of them: names are `connector__name`
    All,
}

impl At {
    fn of(path: &str) -> Option<Self> {
        if path == "/mcp" {
            return Some(Self::All);
        }
        path.strip_prefix("/mcp/")?.parse().ok().map(Self::One)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(connector) => write!(f, "/mcp/{connector}"),
            Self::All => f.write_str("/mcp"),
        }
    }
}

impl Endpoints {
    /// No endpoint was asked for anything yet
    #[must_use]
    pub fn new(
        dispatch: Arc<Dispatch>,
        (under_way, sessions, streams): (Arc<UnderWay>, Arc<Sessions>, Arc<Streams>),
        issuer: Arc<Issuer>,
        clock: SteadyClock,
    ) -> Self {
        Self { dispatch, under_way, sessions, streams, issuer, clock, once: Once::new(PROOFS_MAX) }
    }

    /// Whether a path is that of an endpoint
    #[must_use]
    pub fn serves(path: &str) -> bool {
        path == "/mcp" || path.starts_with("/mcp/")
    }

    /// Answers one request, which came over this connection
    pub async fn answer(&self, request: Request<Body>, via: Via, line: &Line) -> Reply {
        let (head, body) = request.into_parts();
        let Some(at) = At::of(head.uri.path()) else { return empty(StatusCode::NOT_FOUND) };
        if via == Via::Tcp
            && let Err(status) = line.site.same_origin(&head.headers)
        {
            return empty(status);
        }
        let good = match self.authenticate(&head, &at, line) {
            Ok(good) => good,
            Err(refusal) => return *refusal,
        };
        match head.method {
            Method::POST => self.post(at, good, via, head.headers, body).await,
            Method::GET => self.get(&at, good, &head.headers).await,
            Method::DELETE => self.delete(&at, good, &head.headers),
            _ => not_allowed(),
        }
    }

    async fn post(&self, at: At, good: Good, via: Via, headers: HeaderMap, body: Body) -> Reply {
        let accepts = match acceptable(&headers) {
            Ok(accepts) => accepts,
            Err(status) => return empty(status),
        };
        // Taken before the body is read: one run cannot hold more memory than its places.
        let Some(place) = self.under_way.place(good.run) else { return empty(StatusCode::TOO_MANY_REQUESTS) };
        let body = Limited::new(body, REQUEST_BYTES_MAX).collect();
        let body = match tokio::time::timeout(Duration::from_secs(BODY_SECS_MAX), body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return empty(StatusCode::PAYLOAD_TOO_LARGE);
            }
            Ok(Err(_)) => return empty(StatusCode::BAD_REQUEST),
            Err(_) => return empty(StatusCode::REQUEST_TIMEOUT),
        };
        let session = match self.session(&at, good, &headers) {
            Ok(session) => session,
            Err(status) => return json(status, unknown_session()),
        };
        let (outlet, outs) = Outlet::new(accepts.streams);
        if !accepts.json {
            outlet.begin().await;
        }
        let arrived = Arrived { at, good, via, headers, session, body };
        let dispatch = Arc::clone(&self.dispatch);
        // In a task of its own: whoever hangs up does not leave a call half done.
        tokio::spawn(async move { dispatch.message(arrived, outlet, place).await });
        outs.reply(accepts.streams).await
    }

    /// A stream for what a client with a session did not ask for (2025-11-25, Listening for Messages)
    async fn get(&self, at: &At, good: Good, headers: &HeaderMap) -> Reply {
        if !accepts(headers).any(|range| matches!(range.as_str(), "text/event-stream" | "text/*" | "*/*")) {
            return empty(StatusCode::NOT_ACCEPTABLE);
        }
        match self.session(at, good, headers) {
            // A task that is over has nothing to say.
            Ok(Some(_)) if self.dispatch.lists.greet(good.run, at).await.is_err() => {
                json(StatusCode::NOT_FOUND, unknown_session())
            }
            Ok(Some(session)) => self.streams.unasked(good, at, &session),
            // In the era without sessions there is no such stream.
            Ok(None) => not_allowed(),
            Err(status) => json(status, unknown_session()),
        }
    }

    fn delete(&self, at: &At, good: Good, headers: &HeaderMap) -> Reply {
        match self.session(at, good, headers) {
            Ok(Some(session)) => {
                session.cut();
                self.streams.forget(&session);
                self.sessions.end(good.run, &session);
                empty(StatusCode::NO_CONTENT)
            }
            Ok(None) => not_allowed(),
            Err(status) => json(status, unknown_session()),
        }
    }

    /// The session that a request names; 404 tells its client to begin another one
    fn session(&self, at: &At, good: Good, headers: &HeaderMap) -> Result<Option<Arc<Session>>, StatusCode> {
        // A request of the era without sessions has none, whatever it carries.
        if modern(headers) {
            return Ok(None);
        }
        let mut named = headers.get_all(SESSION).iter();
        let Some(first) = named.next() else { return Ok(None) };
        let id = first.to_str().map_err(|_| StatusCode::BAD_REQUEST)?;
        if named.next().is_some() {
            return Err(StatusCode::BAD_REQUEST);
        }
        self.sessions.find(good.run, &at.to_string(), id).map(Some).ok_or(StatusCode::NOT_FOUND)
    }

    fn authenticate(&self, head: &Parts, at: &At, line: &Line) -> Result<Good, Box<Reply>> {
        let Parts { method, headers, uri, .. } = head;
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
        let header = header.to_str().map_err(|_| unauthorised(Invalid::Malformed))?;
        let audience = format!("{}{at}", line.site.base);
        let now = self.clock.now();
        let Some(token) = possessed(header) else {
            let token = bearer(header).ok_or_else(|| unauthorised(Invalid::Malformed))?;
            let good = self.issuer.check(token, &audience, now).map_err(unauthorised)?;
            let held = match good.binding {
                None => true,
                // RFC 8705, 3: the very certificate, on this very connection.
                Some(Binding::Certificate(digest)) => line.shown.as_ref().is_some_and(|shown| shown.is(digest, now)),
                // RFC 9449, 7.2: a bound token that is shown without its key is nobody's.
                Some(Binding::Dpop(_)) => false,
            };
            return if held { Ok(good) } else { Err(unauthorised(Invalid::Binding)) };
        };
        let good = self.issuer.check(token, &audience, now).map_err(unauthorised)?;
        let Some(Binding::Dpop(key)) = good.binding else { return Err(unauthorised(Invalid::Binding)) };
        let mut proofs = headers.get_all("dpop").iter();
        let proof = proofs.next().filter(|_| proofs.next().is_none()).and_then(|proof| proof.to_str().ok());
        let bound_to = Thumbprint::from(key);
        let request = dpop::Request {
            method: method.as_str(),
            url: &audience,
            token: Some(token),
            bound_to: Some(&bound_to),
            nonce: None,
        };
        match proof.map(|proof| dpop::verify(proof, &request, &self.once, now)) {
            Some(Ok(_)) => Ok(good),
            Some(Err(invalid)) => Err(Box::new(possession(&invalid.to_string()))),
            None => Err(Box::new(possession("expected exactly one proof of possession in `DPoP`"))),
        }
    }
}

/// What a client takes for an answer
struct Accepts {
    json: bool,
    streams: bool,
}

fn acceptable(headers: &HeaderMap) -> Result<Accepts, StatusCode> {
    let media = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    };
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let kind = kinds.next().map(media);
    if kind.as_deref() != Some("application/json") || kinds.next().is_some() {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    if !headers.contains_key(header::ACCEPT) {
        return Ok(Accepts { json: true, streams: false });
    }
    let ranges: Vec<String> = accepts(headers).collect();
    let takes = |wanted: &[&str]| ranges.iter().any(|range| wanted.contains(&range.as_str()));
    let json = takes(&["application/json", "application/*", "*/*"]);
    let streams = takes(&["text/event-stream", "text/*", "*/*"]);
    if json || streams { Ok(Accepts { json, streams }) } else { Err(StatusCode::NOT_ACCEPTABLE) }
}

fn accepts(headers: &HeaderMap) -> impl Iterator<Item = String> + '_ {
    let values = headers.get_all(header::ACCEPT).iter();
    let ranges = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    ranges.map(|range| range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Whether the header says that the request is of the era without sessions
#[must_use]
pub fn modern(headers: &HeaderMap) -> bool {
    let version = headers.get(VERSION).and_then(|version| version.to_str().ok()).and_then(Version::read);
    version.is_some_and(|version| version.era() == portreeve_mcp::version::Era::Modern)
}

fn not_allowed() -> Reply {
    let mut reply = empty(StatusCode::METHOD_NOT_ALLOWED);
    reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    reply
}

fn unknown_session() -> Vec<u8> {
    portreeve_mcp::reply::error(None, -32_600, "This session is over, or was never here. Begin another one.", None)
}

/// The proof of possession is not good (RFC 9449, 7.1)
fn possession(description: &str) -> Reply {
    let mut reply = empty(StatusCode::UNAUTHORIZED);
    let value = format!("DPoP error=\"invalid_dpop_proof\", error_description=\"{description}\"");
    if let Ok(value) = HeaderValue::from_str(&value) {
        reply.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    reply
}

/// Proofs of possession that are remembered: those of a minute
const PROOFS_MAX: usize = 500_000;

fn challenge(status: StatusCode, error: &str, description: &str) -> Reply {
    let mut reply = empty(status);
    let value = format!("Bearer error=\"{error}\", error_description=\"{description}\"");
    if let Ok(value) = HeaderValue::from_str(&value) {
        reply.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    reply
}
