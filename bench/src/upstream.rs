//! A minimal and fast MCP server: `echo`, `large`, and a count of their calls.
//!
//! It speaks both eras, so that either can be measured. `GET /count` tells how many calls arrived,
//! which shows that no proxy answers by itself.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::envelope::{Envelope, ToolCall};
use crate::print;
use crate::serve::{self, Answer, BODY_BYTES_MAX, Lifetime, Pieces};

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
            call(&envelope, era)
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

fn call(envelope: &Envelope<'_>, era: Era) -> Answer {
    let Ok(call) = envelope.tool_call() else {
        return serve::rpc_error(StatusCode::OK, envelope.id_text(), -32602, "a call of no tool");
    };
    match call.name.as_ref() {
        "echo" => echo(envelope.id_text(), &call, era),
        "large" => large(envelope.id_text(), &call, era),
        _ => serve::rpc_error(StatusCode::OK, envelope.id_text(), -32602, "unknown tool"),
    }
}

/// What a result has to say of its type
fn result_type(era: Era) -> &'static str {
    match era {
        Era::Modern => r#""resultType":"complete","#,
        Era::Legacy => "",
    }
}

fn echo(id: &str, call: &ToolCall<'_>, era: Era) -> Answer {
    let text = call
        .arguments
        .and_then(|arguments| serde_json::from_str::<EchoArguments<'_>>(arguments.get()).ok())
        .map(|arguments| arguments.text.get())
        .filter(|text| text.starts_with('"'));
    match text {
        // `text` is the JSON string of the request, quotes and escapes included.
        Some(text) => {
            let kind = result_type(era);
            result(id, &format!(r#"{{{kind}"content":[{{"type":"text","text":{text}}}]}}"#))
        }
        None => serve::rpc_error(StatusCode::OK, id, -32602, "echo wants id and text"),
    }
}

/// One text of so many bytes, made of pieces that all share one memory
fn large(id: &str, call: &ToolCall<'_>, era: Era) -> Answer {
    let wanted = call.arguments.and_then(|arguments| serde_json::from_str::<LargeArguments>(arguments.get()).ok());
    let Some(wanted) = wanted.filter(|wanted| wanted.bytes <= LARGE_BYTES_MAX) else {
        return serve::rpc_error(StatusCode::OK, id, -32602, "large wants bytes, at most 268435456, and events");
    };
    let (begin, end) = if wanted.events { ("data: ", "\n\n") } else { ("", "") };
    let kind = result_type(era);
    let head = format!(r#"{begin}{{"jsonrpc":"2.0","id":{id},"result":{{{kind}"content":[{{"type":"text","text":""#);
    let mut pieces = VecDeque::from([Bytes::from(head)]);
    // Whole lines, so that no escape is cut.
    let mut left = wanted.bytes - wanted.bytes % LINE.len();
    while left > 0 {
        let piece = lines().slice(..left.min(LINES_BYTES));
        left -= piece.len();
        pieces.push_back(piece);
    }
    pieces.push_back(Bytes::from(format!(r#""}}]}}}}{end}"#)));
    let mut answer = Response::new(Pieces::many(pieces, !wanted.events));
    let kind = if wanted.events { "text/event-stream" } else { "application/json" };
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Lines of a log, as they stand in a string of JSON
fn lines() -> &'static Bytes {
    static LINES: OnceLock<Bytes> = OnceLock::new();
    LINES.get_or_init(|| Bytes::from(LINE.repeat(LINES_BYTES / LINE.len())))
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
struct LargeArguments {
    /// How long the text is as it stands in the JSON
    bytes: usize,
    /// Whether the answer is a stream of events
    #[serde(default)]
    events: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialize<'a> {
    #[serde(borrow)]
    protocol_version: &'a RawValue,
}

/// 64 bytes
const LINE: &str = r"2026-11-20T15:04:05Z INFO order 4711 \u2192 shipped to harbour\n";
const LINES_BYTES: usize = 64 * 1024;
const LARGE_BYTES_MAX: usize = 256 * 1024 * 1024;

const TOOLS: &str = r#"{"resultType":"complete","ttlMs":60000,"cacheScope":"private","tools":[{"name":"echo","description":"Gives the text back","inputSchema":{"type":"object","properties":{"id":{"type":"string"},"text":{"type":"string"}},"required":["id","text"],"additionalProperties":false}},{"name":"large","description":"Gives a long text","inputSchema":{"type":"object","properties":{"id":{"type":"string"},"bytes":{"type":"integer"},"events":{"type":"boolean"}},"required":["id","bytes"],"additionalProperties":false}}]}"#;

const DISCOVERED: &str = r#"{"resultType":"complete","ttlMs":60000,"cacheScope":"private","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"echo","version":"1"}}}"#;

#[cfg(test)]
mod tests;
