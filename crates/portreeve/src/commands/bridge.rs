//! `portreeve bridge`: MCP on standard input and output for clients that start their servers as processes.
//!
//! It joins the task of the `exec` around it through a private socket, so no token lies in a file.

use crate::{
    cli::{Bridge, Cli},
    client::Client,
    commands,
    failure::{Failure, exit},
    output, place,
};
use http::{Method, StatusCode, header};
use http_body_util::BodyExt as _;
use portreeve_core::json::{Json, Limits};
use portreeve_gateway::settings::{ANSWER_BYTES_MAX, answer_limits};
use portreeve_mcp::{
    header::{SESSION, VERSION},
    message::{Message, Shape},
    params::META_VERSION,
    reply, sse,
};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    task::{AbortHandle, JoinSet},
};

/// How long before its end a token is renewed
const RENEW_MS: i64 = 60_000;
/// Requests that are under way at once
const UNDER_WAY_MAX: usize = 64;
/// How long to wait before a stream that broke is opened again
const AGAIN: Duration = Duration::from_secs(2);

struct Joined {
    client: Client,
    path: String,
    token_path: String,
    // Each held only to read or write it.
    token: Mutex<Option<(String, i64)>>,
    session: Mutex<Option<Session>>,
    requests: Mutex<HashMap<String, AbortHandle>>,
    clock: portreeve_upstream::clock::SteadyClock,
}

/// The session of a client of the era that has them
#[derive(Clone)]
struct Session {
    id: String,
    version: String,
}

/// What a line of the client is
enum Line {
    /// It wants an answer under this id
    Request { id: String, initialize: bool, modern: Option<String> },
    /// It takes a request of the era without sessions back
    Cancels(String),
    /// It wants no answer
    Other,
    /// It is no message
    Broken,
}

pub(crate) async fn run(cli: &Cli, bridge: &Bridge) -> Result<u8, Failure> {
    let (client, token_path) = match (bridge.task, std::env::var_os("PORTREEVE_SOCKET")) {
        (Some(task), _) => (Client::of(&place::data(cli)?).await?, format!("/v1/tasks/{task}/token")),
        (None, Some(socket)) => (Client::over(socket.into()), "/v1/token".to_owned()),
        (None, None) => {
            return Err(Failure::new(exit::NOT_FOUND, "no_task", "There is no task here to join.")
                .fix("Run the client below `portreeve exec`, or name a task with --task."));
        }
    };
    let joined = Arc::new(Joined {
        client,
        path: bridge.connector.as_ref().map_or_else(|| "/mcp".to_owned(), |connector| format!("/mcp/{connector}")),
        token_path,
        token: Mutex::default(),
        session: Mutex::default(),
        requests: Mutex::default(),
        clock: portreeve_upstream::clock::SteadyClock::start(),
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let (mut under_way, mut listening) = (JoinSet::new(), JoinSet::new());
    while let Some(line) = lines.next_line().await? {
        if line.trim().is_empty() {
            continue;
        }
        while under_way.len() >= UNDER_WAY_MAX {
            under_way.join_next().await;
        }
        while under_way.try_join_next().is_some() {}
        let what = Line::read(&line);
        match &what {
            // Nothing else is said before the handshake is over.
            Line::Request { initialize: true, .. } => {
                joined.pass_on(line, &what).await;
                listening.abort_all();
                listening.spawn(Arc::clone(&joined).listen());
            }
            Line::Request { id, .. } => {
                let (id, passing) = (id.clone(), Arc::clone(&joined));
                let request = under_way.spawn(async move { passing.pass_on(line, &what).await });
                joined.requests().insert(id, request);
            }
            Line::Cancels(id) if joined.session().is_none() => {
                // In the era without sessions hanging up is the cancellation.
                if let Some(request) = joined.requests().remove(id) {
                    request.abort();
                }
            }
            // In order: an answer to a question, or a cancellation, belongs to what came before it.
            _ => joined.pass_on(line, &what).await,
        }
    }
    // The client has gone; what it asked for last is still answered, if it reads on.
    while under_way.join_next().await.is_some() {}
    Ok(0)
}

impl Joined {
    async fn pass_on(&self, line: String, what: &Line) {
        let failed = match self.exchange(line, what).await {
            Ok(()) => None,
            Err(failure) => {
                let (word, what, _) = failure.parts();
                Some((reply::REFUSED, format!("{word}: {what}")))
            }
        };
        match (what, failed) {
            (Line::Request { id, .. }, failed) => {
                self.requests().remove(id);
                if let Some((code, message)) = failed {
                    output::raw(&reply::error(Some(id), code, &message, None));
                }
            }
            // Whoever sent it is told so, without an id.
            (Line::Broken, Some((code, message))) => output::raw(&reply::error(None, code, &message, None)),
            _ => {}
        }
    }

    /// Sends one line, and writes out whatever comes back while it comes
    async fn exchange(&self, line: String, what: &Line) -> Result<(), Failure> {
        let authorization = format!("Bearer {}", self.token().await?);
        let session = self.session();
        let mut headers = vec![
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        match (what, &session) {
            (Line::Request { modern: Some(version), .. }, _) => headers.push((VERSION, version)),
            (Line::Request { initialize: true, .. }, _) | (_, None) => {}
            (_, Some(session)) => {
                headers.push((SESSION, &session.id));
                headers.push((VERSION, &session.version));
            }
        }
        let (response, _connection) = self.client.open(Method::POST, &self.path, &headers, line.into_bytes()).await?;
        let told = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (status, begun) = (response.status(), told(SESSION));
        let streamed = told(header::CONTENT_TYPE.as_str()).is_some_and(|kind| kind.starts_with("text/event-stream"));
        if streamed {
            return write_out(response.into_body()).await;
        }
        let body = response.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
        if let (Line::Request { initialize: true, .. }, Some(id)) = (what, begun) {
            let version = version_in(&body).unwrap_or_default();
            *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(Session { id, version });
        }
        match what {
            Line::Request { id, .. } => output::raw(&one_line(answer(id, status, &body))),
            Line::Broken if !body.is_empty() => output::raw(&one_line(body.to_vec())),
            _ => {}
        }
        Ok(())
    }

    /// Writes out what the client did not ask for, as long as there is a session
    async fn listen(self: Arc<Self>) {
        let Some(session) = self.session() else { return };
        loop {
            let Ok(token) = self.token().await else { return };
            let authorization = format!("Bearer {token}");
            let headers = [
                ("authorization", authorization.as_str()),
                ("accept", "text/event-stream"),
                (SESSION, session.id.as_str()),
                (VERSION, session.version.as_str()),
            ];
            if let Ok((response, _connection)) = self.client.open(Method::GET, &self.path, &headers, Vec::new()).await {
                if !response.status().is_success() {
                    return;
                }
                let _ = write_out(response.into_body()).await;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn token(&self) -> Result<String, Failure> {
        let now = self.clock.now().0;
        let known = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((token, expires)) = &known
            && now < expires - RENEW_MS
        {
            return Ok(token.clone());
        }
        match self.client.ask(Method::POST, &self.token_path, None).await {
            Ok(answer) => {
                let token = commands::text(&answer, "token")?.to_owned();
                let expires = answer.get("token_expires").and_then(Value::as_i64).unwrap_or_default();
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some((token.clone(), expires));
                Ok(token)
            }
            // The task is over: the last token still lives for a while, so that the end can be said.
            Err(failure) => match known {
                Some((token, expires)) if now < expires => Ok(token),
                _ => Err(failure),
            },
        }
    }
}

impl Joined {
    fn session(&self) -> Option<Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn requests(&self) -> std::sync::MutexGuard<'_, HashMap<String, AbortHandle>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn read(line: &str) -> Self {
        let Ok(message) = Message::read(line.as_bytes(), &Limits::DEFAULT) else { return Self::Broken };
        match message.shape() {
            Shape::Request { id, method } => {
                let meta = message.params().and_then(|params| params.get("_meta"));
                let modern = meta.and_then(|meta| meta.get(META_VERSION)).and_then(Json::as_str).map(str::to_owned);
                Self::Request { id: id.raw().to_owned(), initialize: method == "initialize", modern }
            }
            Shape::Notification { method } if method == "notifications/cancelled" => {
                let id = message.params().and_then(|params| params.get("requestId"));
                id.map_or(Self::Other, |id| Self::Cancels(id.raw().to_owned()))
            }
            Shape::Notification { .. } | Shape::Response { .. } => Self::Other,
        }
    }
}

/// Writes out each message of a stream as a line
async fn write_out(mut body: hyper::body::Incoming) -> Result<(), Failure> {
    let mut events = sse::Reader::new(ANSWER_BYTES_MAX);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
        let complete =
            events.push(&data).map_err(|error| Failure::new(exit::FAILURE, "too_long", error.to_string()))?;
        for message in complete.into_iter().filter(|message| !message.is_empty()) {
            output::raw(&one_line(message));
        }
    }
    Ok(())
}

fn broken(error: &hyper::Error) -> Failure {
    Failure::new(exit::UNREACHABLE, "not_served", error.to_string()).fix("See whether `portreeve serve` still runs.")
}

/// The answer to a request, whatever the status says
fn answer(id: &str, status: StatusCode, body: &[u8]) -> Vec<u8> {
    if Message::read_answer(body, &answer_limits())
        .is_ok_and(|message| matches!(message.shape(), Shape::Response { id: Some(_), .. }))
    {
        return body.to_vec();
    }
    let told: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let message = told.pointer("/error/message").and_then(Value::as_str).map(str::to_owned);
    let message = message.unwrap_or_else(|| format!("Portreeve answered with HTTP status {status}"));
    let code = told.pointer("/error/code").and_then(Value::as_i64).unwrap_or(reply::REFUSED);
    reply::error(Some(id), code, &message, None)
}

fn version_in(body: &[u8]) -> Option<String> {
    let told: Value = serde_json::from_slice(body).ok()?;
    told.pointer("/result/protocolVersion").and_then(Value::as_str).map(str::to_owned)
}

/// A line is the framing here, so a line feed inside a message becomes a blank
fn one_line(message: Vec<u8>) -> Vec<u8> {
    message.into_iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }).collect()
}
