//! A minimal and fast MCP server: one tool, `echo`, and a count of its calls.
//!
//! It speaks both eras, so that either can be measured. `GET /count` tells how many calls arrived,
//! which shows that no proxy answers by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::header::HeaderValue;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::envelope::Envelope;
use crate::print;
use crate::serve::{self, Answer, BODY_BYTES_MAX, Lifetime};

/// Options of `upstream`
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Whether `server/discover` is answered (modern) or unknown (legacy)
    #[arg(long, value_enum, default_value_t = Era::Legacy)]
    era: Era,
    #[command(flatten)]
    lifetime: Lifetime,
}

/// The two ways MCP over HTTP is spoken
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Era {
    /// `initialize` and a session
    Legacy,
    /// 2026-07-28: stateless
    Modern,
}

/// Serves until the end of its lifetime
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    options.lifetime.watch();
    let era = options.era;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async move {
        let (listener, address) = serve::bind().await?;
        print::line(&format!("listening {address}"));
        let calls = Arc::new(AtomicU64::new(0));
        serve::serve(listener, move |request| answer(request, era, Arc::clone(&calls))).await
    })
}

async fn answer(request: Request<Incoming>, era: Era, calls: Arc<AtomicU64>) -> Answer {
    if request.method() == Method::GET && request.uri().path() == "/count" {
        return serve::json(StatusCode::OK, calls.load(Ordering::Relaxed).to_string());
    }
    if request.method() != Method::POST {
        return serve::empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => speak(&body.to_bytes(), era, &calls),
        Err(_too_long_or_cut) => serve::empty(StatusCode::PAYLOAD_TOO_LARGE),
    }
}

fn speak(body: &Bytes, era: Era, calls: &AtomicU64) -> Answer {
    let Ok(envelope) = Envelope::parse(body) else {
        return serve::rpc_error(StatusCode::BAD_REQUEST, "null", -32700, "not a JSON-RPC request");
    };
    let id = envelope.id_text();
    match envelope.method.as_ref() {
        "tools/call" => {
            calls.fetch_add(1, Ordering::Relaxed);
            echo(&envelope)
        }
        "tools/list" => result(id, TOOLS),
        "initialize" => initialize(&envelope),
        "server/discover" if era == Era::Modern => result(id, DISCOVERED),
        "ping" => result(id, "{}"),
        method if method.starts_with("notifications/") => serve::empty(StatusCode::ACCEPTED),
        _ if era == Era::Modern => serve::rpc_error(StatusCode::NOT_FOUND, id, -32601, "unknown method"),
        _ => serve::rpc_error(StatusCode::OK, id, -32601, "unknown method"),
    }
}

fn echo(envelope: &Envelope<'_>) -> Answer {
    let id = envelope.id_text();
    let text = envelope
        .tool_call()
        .ok()
        .filter(|call| call.name == "echo")
        .and_then(|call| call.arguments)
        .and_then(|arguments| serde_json::from_str::<EchoArguments<'_>>(arguments.get()).ok())
        .map(|arguments| arguments.text.get())
        .filter(|text| text.starts_with('"'));
    match text {
        // `text` is the JSON string of the request, quotes and escapes included.
        Some(text) => {
            result(id, &format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":{text}}}]}}"#))
        }
        None => serve::rpc_error(StatusCode::OK, id, -32602, "echo wants id and text"),
    }
}

fn initialize(envelope: &Envelope<'_>) -> Answer {
    let asked: Option<Initialize<'_>> = envelope.params.and_then(|params| serde_json::from_str(params.get()).ok());
    let version = asked.map_or("\"2025-11-25\"", |params| params.protocol_version.get());
    let mut answer = result(
        envelope.id_text(),
        &format!(
            r#"{{"protocolVersion":{version},"capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"echo","version":"1"}}}}"#
        ),
    );
    answer.headers_mut().insert("mcp-session-id", HeaderValue::from_static("bench-session"));
    answer
}

fn result(id: &str, result: &str) -> Answer {
    serve::json(StatusCode::OK, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
}

#[derive(Deserialize)]
struct EchoArguments<'a> {
    #[serde(borrow)]
    text: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialize<'a> {
    #[serde(borrow)]
    protocol_version: &'a RawValue,
}

const TOOLS: &str = r#"{"resultType":"complete","ttlMs":60000,"cacheScope":"private","tools":[{"name":"echo","description":"Gives the text back","inputSchema":{"type":"object","properties":{"id":{"type":"string"},"text":{"type":"string"}},"required":["id","text"],"additionalProperties":false}}]}"#;

const DISCOVERED: &str = r#"{"resultType":"complete","ttlMs":60000,"cacheScope":"private","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"echo","version":"1"}}}"#;

#[cfg(test)]
mod tests;
