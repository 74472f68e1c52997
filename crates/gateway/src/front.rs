//! Where agents come in that nobody here has started: they prove who they are, and open tasks for themselves.
//!
//! `POST /v1/tasks` opens one, `POST /v1/tasks/{task}/token` proves it again and gives the next token, `DELETE
//! /v1/tasks/{task}` ends it, `GET /v1/tasks/{task}` says what came of it; `POST /v1/token` is the first of these as a token
//! exchange (RFC 8693), or with client credentials over TLS (RFC 8705). A proof is shown as `Authorization: Bearer`, the
//! exchange has it in its form; without one, the certificate of the connection is the proof. It names the agent: what the
//! body says of it only has to agree. Records of other gateways come in by [`ships`].

pub mod ships;

use crate::{
    door::Door,
    failure::Failure,
    listen::{SMALL_BYTES_MAX, small_body},
    office::{Office, outcome::Outcome},
    proving::{Evidence, NotProven, Proving, Shown},
    site::{Line, Sites},
    tasks::{OpenTask, Opened, Opener, Opening, Tasks},
};
use axum::{
    Json, Router,
    extract::{Extension, Path, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use portreeve_core::{
    engine::Reply,
    event::Actor,
    hash::Hash,
    names::{Name, TaskId},
    node::{Node, Why},
    proof::{Binding, Proven},
    reason::Word,
    request::{self, Stop},
    value::Value as Exact,
};
use portreeve_identity::token::{Token, bearer};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::Semaphore;

/// The grant of a token exchange (RFC 8693, 2.1)
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The grant of a client that shows only who it is (RFC 6749, 4.4)
const CREDENTIALS: &str = "client_credentials";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The kind of authorization details that asks for a task (RFC 9396, 2)
pub const DETAILS: &str = "portreeve_task";

/// Whether a path is one where agents come in
#[must_use]
pub fn serves(path: &str) -> bool {
    path == "/v1/token" || path == "/v1/tasks" || path.starts_with("/v1/tasks/") || path.starts_with("/v1/ships/")
}

/// Bytes of the body of a request to such a path, beyond those of other pages
#[must_use]
pub fn bytes_max(path: &str) -> Option<usize> {
    path.starts_with("/v1/ships/").then_some(ships::BYTES_MAX)
}

#[derive(Debug)]
struct Front {
    door: Door,
    tasks: Arc<Tasks>,
    proving: Arc<Proving>,
    office: Arc<Office>,
    /// Who may read the record at once
    reading: Semaphore,
    /// Who brings a record at once
    shipping: Semaphore,
    /// Who puts one away
    taking: tokio::sync::Mutex<()>,
    /// Records that contradict what was taken before, each told once
    forks: tokio::sync::Mutex<BTreeSet<(Name, Hash)>>,
    sites: Sites,
}

/// Agents that read at once what came of their tasks; others wait
const READING_MAX: usize = 4;
/// Parts of records that are in memory at once; others wait
const SHIPPING_MAX: usize = 4;

/// The routes where agents come in
pub(crate) fn router(
    door: Door,
    tasks: Arc<Tasks>,
    proving: Arc<Proving>,
    office: Arc<Office>,
    sites: Sites,
) -> Router {
    let reading = Semaphore::new(READING_MAX);
    let (taking, forks) = (tokio::sync::Mutex::default(), tokio::sync::Mutex::default());
    let shipping = Semaphore::new(SHIPPING_MAX);
    let front = Arc::new(Front { door, tasks, proving, office, reading, shipping, taking, forks, sites });
    Router::new()
        .route("/v1/tasks", post(open))
        .route("/v1/tasks/{task}", delete(end).get(outcome))
        .route("/v1/tasks/{task}/token", post(renew))
        .route("/v1/ships/{log}", get(ships::look).post(ships::take))
        .route("/v1/token", post(exchange))
        .with_state(front)
}

type Shared = State<Arc<Front>>;

async fn open(State(front): Shared, Extension(line): Extension<Line>, request: Request) -> Result<Response, Failure> {
    let (agent, proven, body) = front.proven(&line, request).await?;
    let ask: OpenTask = serde_json::from_slice(&body).map_err(|error| {
        let message = format!("This is no request for a task: {error}.");
        Failure::new(StatusCode::BAD_REQUEST, "malformed", message, "Send {\"purpose\": \"NAME\", \"parameters\": {}}.")
    })?;
    let (opened, token, endpoints) = match front.open(agent, proven, ask, &line).await? {
        Came::In(opened, token, endpoints) => (opened, token, endpoints),
        Came::Held(held) => return Ok((StatusCode::ACCEPTED, Json(json!({ "held": held }))).into_response()),
    };
    let mut answer = given(&token, &endpoints);
    if let Some(members) = answer.as_object_mut() {
        members.insert("task".to_owned(), json!(opened.task));
        members.insert("run".to_owned(), json!(opened.run));
        members.insert("agent".to_owned(), json!(opened.agent));
        members.insert("expires".to_owned(), json!(opened.expires));
    }
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

async fn renew(
    State(front): Shared,
    Extension(line): Extension<Line>,
    Path(task): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let task: TaskId = Failure::parsed(&task)?;
    let (agent, proven, _) = front.proven(&line, request).await?;
    front.tasks.prove(task, agent, proven).await.map_err(|reasons| Failure::refused(&reasons))?;
    let (token, endpoints) =
        front.tasks.token(task, &line.site.base).await.map_err(|reasons| Failure::refused(&reasons))?;
    Ok(Json(given(&token, &endpoints)).into_response())
}

async fn end(
    State(front): Shared,
    Extension(line): Extension<Line>,
    Path(task): Path<String>,
    request: Request,
) -> Result<StatusCode, Failure> {
    let task: TaskId = Failure::parsed(&task)?;
    let (agent, _, _) = front.proven(&line, request).await?;
    let own = agent.clone();
    let stop = Stop { node: Node::Task(task), why: Why::Ended, by: Actor::Agent(agent), at: None };
    match front.door.submit(request::Request::Stop(stop)).await {
        Reply::Recorded => Ok(StatusCode::NO_CONTENT),
        // What is over already has ended; once it has left memory, only the record knows whose it was.
        Reply::Refused(reasons) if reasons.iter().all(|reason| reason.word == Word::TaskOver) => {
            Ok(StatusCode::NO_CONTENT)
        }
        Reply::Refused(reasons) => {
            let _place = front.reading.acquire().await.map_err(|_| Failure::unavailable())?;
            match front.office.outcome(&own, task).await {
                Ok(outcome) if outcome.over.is_some() => Ok(StatusCode::NO_CONTENT),
                _ => Err(Failure::refused(&reasons)),
            }
        }
        _ => Err(Failure::unavailable()),
    }
}

/// What came of a task, while it lives and afterwards; reading proves nothing for the task
async fn outcome(
    State(front): Shared,
    Extension(line): Extension<Line>,
    Path(task): Path<String>,
    request: Request,
) -> Result<Json<Outcome>, Failure> {
    let task: TaskId = Failure::parsed(&task)?;
    let (agent, _, _) = front.proven(&line, request).await?;
    let _place = front.reading.acquire().await.map_err(|_| Failure::unavailable())?;
    front.office.outcome(&agent, task).await.map(Json)
}

#[derive(Deserialize)]
struct Exchange {
    grant_type: String,
    subject_token: Option<String>,
    subject_token_type: Option<String>,
    requested_token_type: Option<String>,
    authorization_details: Option<String>,
    actor_token: Option<String>,
    actor_token_type: Option<String>,
    resource: Option<String>,
    client_id: Option<String>,
}

impl Exchange {
    /// What the agent shows, which is a token or the certificate of the connection (RFC 8705, 2.1); and the token of the
    /// person on whose behalf it does, if it is the actor and not the subject (RFC 8693, 1.1)
    fn evidence<'a>(&'a self, line: &'a Line) -> Result<(Evidence<'a>, Option<String>), OAuth> {
        let invalid = |description: &str| (StatusCode::BAD_REQUEST, "invalid_request", description.to_owned());
        if self.actor_token.is_some() != self.actor_token_type.is_some() {
            return Err(invalid("actor_token and actor_token_type come together"));
        }
        match self.grant_type.as_str() {
            EXCHANGE if self.subject_token_type.as_deref() != Some(JWT) => {
                Err(invalid("subject_token_type has to be the one of a JWT"))
            }
            EXCHANGE if self.actor_token_type.as_deref().is_some_and(|kind| kind != JWT) => {
                Err(invalid("actor_token_type has to be the one of a JWT"))
            }
            EXCHANGE => {
                let subject = self.subject_token.as_deref().ok_or_else(|| invalid("subject_token is missing"))?;
                Ok(match self.actor_token.as_deref() {
                    Some(actor) => (Evidence::Token(actor), Some(subject.to_owned())),
                    None => (Evidence::Token(subject), None),
                })
            }
            CREDENTIALS if self.subject_token.is_some() || self.actor_token.is_some() => {
                Err(invalid("subject_token and actor_token belong to a token exchange"))
            }
            CREDENTIALS => {
                let missing = "the connection shows no certificate; over TLS with an X.509-SVID there is one";
                let shown = line.shown.as_deref().map(|shown| (Evidence::Certificate(shown), None));
                shown.ok_or_else(|| (StatusCode::UNAUTHORIZED, "invalid_client", missing.to_owned()))
            }
            _ => {
                let description = format!("only {EXCHANGE} and {CREDENTIALS} are supported");
                Err((StatusCode::BAD_REQUEST, "unsupported_grant_type", description))
            }
        }
    }
}

/// What of a task is asked for in authorization details
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Details {
    r#type: String,
    purpose: Name,
    #[serde(default)]
    parameters: BTreeMap<Name, Exact>,
    objective: Option<String>,
}

/// A token exchange in its simplest form: a workload's token becomes the token of a task
async fn exchange(State(front): Shared, Extension(line): Extension<Line>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    match front.exchange(&line, &head.headers, body).await {
        Ok(answer) => (StatusCode::OK, [no_store()], Json(answer)).into_response(),
        Err((status, error, description)) => {
            let body = json!({ "error": error, "error_description": description });
            (status, [no_store()], Json(body)).into_response()
        }
    }
}

/// RFC 6749, 5.1: no token is kept on the way
fn no_store() -> (header::HeaderName, HeaderValue) {
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

type OAuth = (StatusCode, &'static str, String);

/// What came of an opening
enum Came {
    In(Opened, Token, BTreeMap<Name, String>),
    Held(Value),
}

impl Front {
    /// Who shows this; that somebody shows what is not theirs is on the record
    async fn prove(&self, shown: Shown<'_>) -> Result<(Name, Proven), NotProven> {
        let proven = self.proving.prove(shown).await;
        if let Err(NotProven::Elsewhere(Some(copied))) = &proven {
            self.door.submit(request::Request::Copied((**copied).clone())).await;
        }
        proven
    }

    /// Who has proven itself with this request, and its body
    async fn proven(&self, line: &Line, request: Request) -> Result<(Name, Proven, Vec<u8>), Failure> {
        let (head, body) = request.into_parts();
        let (agent, proven) = self.shown(line, &head).await?;
        let body = small_body(body).await.ok_or_else(|| {
            let message = format!("A request has at most {SMALL_BYTES_MAX} bytes, which arrive within seconds.");
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "malformed", message, "Send less, and at once.")
        })?;
        Ok((agent, proven, body.to_vec()))
    }

    /// Who has proven itself with the head of this request
    async fn shown(&self, line: &Line, head: &Parts) -> Result<(Name, Proven), Failure> {
        let evidence = match (one(&head.headers, header::AUTHORIZATION.as_str()).and_then(bearer), &line.shown) {
            (Some(token), _) => Some(Evidence::Token(token)),
            // What the connection shows counts where nothing else is shown, and never beside something that is no token.
            (None, Some(shown)) if !head.headers.contains_key(header::AUTHORIZATION) => {
                Some(Evidence::Certificate(shown))
            }
            (None, _) => None,
        };
        let evidence = evidence.ok_or_else(|| {
            let message = "An agent shows who it is: one `Authorization: Bearer` with a token of its platform, or an \
                 X.509-SVID in the handshake of the connection.";
            let remedy = "`portreeve agent show NAME` says what it has to show; docs/identity.md has every way.";
            Failure::new(StatusCode::UNAUTHORIZED, "proof_missing", message, remedy)
        })?;
        let dpop = possession(&head.headers).map_err(|_| {
            Failure::new(StatusCode::UNAUTHORIZED, "invalid_dpop_proof", "There is more than one `DPoP`.", "Send one.")
        })?;
        let url = format!("{}{}", line.site.base, head.uri.path());
        let method: &Method = &head.method;
        let shown = Shown { evidence, dpop, request: (method.as_str(), &url), from: line.from };
        self.prove(shown).await.map_err(|not| refused(&not))
    }

    /// Whether this address means us
    fn is_us(&self, url: &str) -> bool {
        self.sites.bases().any(|base| url.trim_end_matches('/') == base)
    }

    async fn open(&self, agent: Name, mut proven: Proven, ask: OpenTask, line: &Line) -> Result<Came, Failure> {
        if ask.exec {
            return Err(Failure::malformed("`exec` is for processes on this machine"));
        }
        let user = match &ask.on_behalf_of {
            Some(token) => {
                let theirs = self.proving.behalf(token, (&agent, &proven)).await;
                let (user, behalf) = theirs.map_err(|not| not_theirs(&not))?;
                proven.behalf = Some(Box::new(behalf));
                Some(user)
            }
            None => None,
        };
        let opened = self.tasks.open(Opener::Agent { agent, proven, user }, ask).await;
        let opened = match opened.map_err(|reasons| Failure::refused(&reasons))? {
            Opening::Open(opened) => opened,
            Opening::Held(ticket) => {
                return Ok(Came::Held(
                    json!({ "hold": ticket.hold, "code": ticket.hold.code(), "until": ticket.until }),
                ));
            }
        };
        let given = self.tasks.token(opened.task, &line.site.base).await;
        let (token, endpoints) = given.map_err(|reasons| Failure::refused(&reasons))?;
        Ok(Came::In(opened, token, endpoints))
    }

    async fn exchange(&self, line: &Line, headers: &HeaderMap, body: axum::body::Body) -> Result<Value, OAuth> {
        let invalid = |description: &str| (StatusCode::BAD_REQUEST, "invalid_request", description.to_owned());
        let body = small_body(body).await.ok_or_else(|| invalid("the request is too long, or takes too long"))?;
        let form = form(headers, &body).ok_or_else(|| invalid("expected a form in which no member stands twice"))?;
        if form.requested_token_type.as_deref().is_some_and(|kind| kind != ACCESS_TOKEN) {
            return Err(invalid("requested_token_type: only access tokens are issued"));
        }
        let (evidence, on_behalf_of) = form.evidence(line)?;
        let details = form.authorization_details.as_deref().unwrap_or_default();
        let details: Vec<Details> = serde_json::from_str(details).unwrap_or_default();
        let wanted = || {
            let description = format!("expected one entry of type {DETAILS} with purpose and parameters");
            (StatusCode::BAD_REQUEST, "invalid_authorization_details", description)
        };
        let [details] = <[Details; 1]>::try_from(details).map_err(|_| wanted())?;
        if details.r#type != DETAILS {
            return Err(wanted());
        }
        let dpop = possession(headers)
            .map_err(|_| (StatusCode::BAD_REQUEST, "invalid_dpop_proof", "there is more than one DPoP".to_owned()))?;
        let url = format!("{}/v1/token", line.site.base);
        let shown = Shown { evidence, dpop, request: ("POST", &url), from: line.from };
        let (agent, proven) = self.prove(shown).await.map_err(|not| oauth(&not))?;
        if form.client_id.as_ref().is_some_and(|client| *client != proven.subject && client != agent.as_str()) {
            return Err((StatusCode::UNAUTHORIZED, "invalid_client", "client_id names somebody else".to_owned()));
        }
        let Details { purpose, parameters, objective, .. } = details;
        let ask = OpenTask { purpose, agent: None, parameters, objective, on_behalf_of, exec: false, program: None };
        let denied = |failure: Failure| {
            // RFC 8693, 2.2.2: a token that is not good makes the request invalid.
            let token = failure.status() == StatusCode::UNAUTHORIZED;
            let error = if token { "invalid_request" } else { "invalid_authorization_details" };
            (StatusCode::BAD_REQUEST, error, failure.message().to_owned())
        };
        match self.open(agent, proven, ask, line).await.map_err(denied)? {
            Came::Held(_) => {
                // RFC 6749 has no word for it; CIBA and the device flow do.
                Err((StatusCode::BAD_REQUEST, "authorization_pending", "people are asked first; ask again".to_owned()))
            }
            Came::In(opened, token, endpoints) => {
                if let Some(resource) = form.resource.filter(|one| !endpoints.values().any(|known| known == one)) {
                    let stop = Stop { node: Node::Task(opened.task), why: Why::Ended, by: Actor::System, at: None };
                    self.door.submit(request::Request::Stop(stop)).await;
                    let description = format!("{resource} is no endpoint of this task");
                    return Err((StatusCode::BAD_REQUEST, "invalid_target", description));
                }
                let mut answer = given(&token, &endpoints);
                if let Some(members) = answer.as_object_mut() {
                    members.insert("issued_token_type".to_owned(), json!(ACCESS_TOKEN));
                    members.insert("task".to_owned(), json!(opened.task));
                }
                Ok(answer)
            }
        }
    }
}

/// A token as RFC 6749, 5.1 has it, and where it is good
fn given(token: &Token, endpoints: &BTreeMap<Name, String>) -> Value {
    let kind = if matches!(token.binding, Some(Binding::Dpop(_))) { "DPoP" } else { "Bearer" };
    json!({
        "access_token": token.text,
        "token_type": kind,
        "expires_in": token.lasts_s,
        "endpoints": endpoints,
    })
}

/// The one value of a header
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
}

/// The proof of possession, if there is one and not more (RFC 9449, 4.3)
fn possession(headers: &HeaderMap) -> Result<Option<&str>, ()> {
    match headers.contains_key("dpop") {
        true => one(headers, "dpop").map(Some).ok_or(()),
        false => Ok(None),
    }
}

fn form(headers: &HeaderMap, body: &[u8]) -> Option<Exchange> {
    let kind = one(headers, header::CONTENT_TYPE.as_str())?.split(';').next()?.trim().to_ascii_lowercase();
    if kind != "application/x-www-form-urlencoded" {
        return None;
    }
    let mut members: BTreeMap<String, Value> = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        // RFC 6749, 3.2: no parameter stands twice.
        if members.insert(name.into_owned(), Value::String(value.into_owned())).is_some() {
            return None;
        }
    }
    serde_json::from_value(Value::Object(members.into_iter().collect())).ok()
}

fn refused(not: &NotProven) -> Failure {
    let status = match not {
        NotProven::Unreachable(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNAUTHORIZED,
    };
    let remedy =
        "`portreeve agent show NAME` says what the agent has to show; docs/identity.md says why what is refused.";
    Failure::new(status, not.word(), format!("{not}."), remedy)
}

/// The token of the person is not good
fn not_theirs(not: &NotProven) -> Failure {
    let status = match not {
        NotProven::Unreachable(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNAUTHORIZED,
    };
    let remedy = "Show a token that the person's issuer made for this Portreeve as its audience; docs/identity.md.";
    Failure::new(status, not.word(), format!("on_behalf_of: {not}."), remedy)
}

/// The same as OAuth says it (RFC 6749, 5.2; RFC 8693, 2.2.2; RFC 9449, 5)
fn oauth(not: &NotProven) -> OAuth {
    let (status, error) = match not {
        NotProven::Unreachable(_) => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
        NotProven::Possession(_) => (StatusCode::BAD_REQUEST, "invalid_dpop_proof"),
        NotProven::Nobody | NotProven::Several => (StatusCode::BAD_REQUEST, "unauthorized_client"),
        _ => (StatusCode::BAD_REQUEST, "invalid_request"),
    };
    (status, error, format!("{}: {not}", not.word()))
}
