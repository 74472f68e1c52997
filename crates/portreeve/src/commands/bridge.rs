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
use http::{Method, StatusCode};
use portreeve_core::{json::Limits, names::Name};
use portreeve_mcp::{
    message::{Message, Shape},
    reply,
};
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    task::JoinSet,
};

/// How long before its end a token is renewed
const RENEW_MS: i64 = 60_000;
/// Requests that are under way at once
const UNDER_WAY_MAX: usize = 64;

struct Joined {
    client: Client,
    connector: Name,
    token_path: String,
    // Held only to read or write it.
    token: Mutex<Option<(String, i64)>>,
    session: Mutex<Option<String>>,
    clock: portreeve_upstream::clock::SteadyClock,
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
        connector: bridge.connector.clone(),
        token_path,
        token: Mutex::default(),
        session: Mutex::default(),
        clock: portreeve_upstream::clock::SteadyClock::start(),
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut under_way = JoinSet::new();
    while let Some(line) = lines.next_line().await? {
        if line.trim().is_empty() {
            continue;
        }
        while under_way.len() >= UNDER_WAY_MAX {
            under_way.join_next().await;
        }
        while under_way.try_join_next().is_some() {}
        let joined = Arc::clone(&joined);
        under_way.spawn(async move {
            if let Some(answer) = joined.pass_on(line).await {
                output::raw(&answer);
            }
        });
    }
    // The client has gone; what it asked for last is still answered, if it reads on.
    while under_way.join_next().await.is_some() {}
    Ok(0)
}

impl Joined {
    async fn pass_on(&self, line: String) -> Option<Vec<u8>> {
        let (id, is_initialize) = wants_answer(&line);
        let answer = self.exchange(line, is_initialize).await;
        let id = id?;
        Some(match answer {
            // A line is the framing here, so a line feed inside an answer becomes a blank.
            Ok((status, body)) if status.is_success() && !body.is_empty() => {
                body.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
            }
            Ok((status, body)) => {
                let told: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let message = told.pointer("/error/message").and_then(Value::as_str).map(str::to_owned);
                let message = message.unwrap_or_else(|| format!("Portreeve answered with HTTP status {status}"));
                let code = told.pointer("/error/code").and_then(Value::as_i64).unwrap_or(reply::REFUSED);
                reply::error(Some(&id), code, &message, None)
            }
            Err(failure) => {
                let (word, what, _) = failure.parts();
                reply::error(Some(&id), reply::REFUSED, &format!("{word}: {what}"), None)
            }
        })
    }

    async fn exchange(&self, line: String, is_initialize: bool) -> Result<(StatusCode, bytes::Bytes), Failure> {
        let authorization = format!("Bearer {}", self.token().await?);
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut headers = vec![
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        if let Some(session) = &session {
            headers.push(("mcp-session-id", session));
        }
        if is_initialize {
            // Request ids of two clients of one run are told apart by a session of each.
            let own = format!("{:016x}", portreeve_gateway::tasks::draw().unwrap_or_default());
            *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(own);
        }
        let path = format!("/mcp/{}", self.connector);
        self.client.send(Method::POST, &path, &headers, line.into_bytes()).await
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

/// The id of a request, and whether it opens the handshake
fn wants_answer(line: &str) -> (Option<String>, bool) {
    match Message::read(line.as_bytes(), &Limits::DEFAULT) {
        Ok(message) => match message.shape() {
            Shape::Request { id, method } => (Some(id.raw().to_owned()), method == "initialize"),
            Shape::Notification { .. } | Shape::Response { .. } => (None, false),
        },
        // Whoever sent it is told so, without an id.
        Err(_) => (Some("null".to_owned()), false),
    }
}
