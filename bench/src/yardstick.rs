//! The bare durable proxy: the bar that Portreeve is measured by.
//!
//! It does what any durable gateway cannot do without (parse the envelope, look the method and the
//! tool up in a static list, make a record durable, forward, record the outcome) and nothing else:
//! no token, no purposes, no pins, no scan. One thread serves, one writes the journal.

mod forward;
mod journal;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::json;
use serde_json::value::RawValue;

use self::forward::Forwarder;
use self::journal::Journal;
use crate::envelope::Envelope;
use crate::print;
use crate::serve::{self, Answer, BODY_BYTES_MAX, Lifetime};

/// Options of `yardstick`
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The MCP endpoint to forward to, on loopback
    #[arg(long)]
    upstream: Uri,
    /// Folder for the journal, on the disk to be measured
    #[arg(long)]
    dir: PathBuf,
    /// Size of the journal, written once at the start and reused in a circle
    #[arg(long, default_value_t = 256)]
    journal_mib: u64,
    /// Niceness of the journal thread (below 0 needs the right to raise it; 0 leaves it)
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    journal_nice: i32,
    /// What to print once it listens
    #[arg(long, value_enum, default_value_t = Announce::Line)]
    announce: Announce,
    #[command(flatten)]
    lifetime: Lifetime,
}

/// How a server says where it listens
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Announce {
    /// `listening ADDRESS`
    Line,
    /// The JSON line that `compare --portreeve-cmd` expects, so that the yardstick can stand in
    Json,
}

/// Serves until the end of its lifetime
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    options.lifetime.watch();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let journal = Journal::open(&options.dir, options.journal_mib, options.journal_nice)?;
        let proxy =
            Arc::new(Proxy { journal, forwarder: Forwarder::new(&options.upstream)?, sequence: AtomicU64::new(0) });
        let (listener, address) = serve::bind().await?;
        print::line(&match options.announce {
            Announce::Line => format!("listening {address}"),
            Announce::Json => json!({
                "url": format!("http://{address}/mcp/echo"),
                "pid": std::process::id(),
                "headers": {"authorization": "Bearer stand-in"},
                "renew": null,
            })
            .to_string(),
        });
        serve::serve(listener, move |request| {
            let proxy = Arc::clone(&proxy);
            async move { proxy.answer(request).await }
        })
        .await
    })
}

struct Proxy {
    journal: Journal,
    forwarder: Forwarder,
    sequence: AtomicU64,
}

impl Proxy {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if request.method() != Method::POST {
            return serve::empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
            return serve::empty(StatusCode::PAYLOAD_TOO_LARGE);
        };
        let body = body.to_bytes();
        let asked = match Asked::parse(&body) {
            Ok(asked) => asked,
            Err(refusal) => {
                return serve::rpc_error(refusal.status, refusal.id, refusal.code, refusal.message);
            }
        };
        let Asked::Call { id, tool, arguments } = asked else {
            return self.forward(&head.headers, body).await;
        };
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let record = call_record(sequence, id, tool, arguments);
        // INVARIANT: nothing is forwarded before its record is durable.
        if self.journal.append_durably(&record).await.is_err() {
            return serve::rpc_error(StatusCode::SERVICE_UNAVAILABLE, id, -32603, "the journal failed");
        }
        let answer = self.forward(&head.headers, body.clone()).await;
        self.journal.append_lazily(&outcome_record(sequence, answer.status()));
        answer
    }

    async fn forward(&self, headers: &HeaderMap, body: Bytes) -> Answer {
        match self.forwarder.post(selected(headers, &PASSED_UP), body).await {
            Ok((status, headers, body)) => {
                let mut answer = Response::new(serve::Pieces::one(body));
                *answer.status_mut() = status;
                *answer.headers_mut() = selected(&headers, &PASSED_DOWN);
                answer
            }
            Err(_failure) => serve::rpc_error(StatusCode::BAD_GATEWAY, "null", -32603, "the upstream failed"),
        }
    }
}

/// A request that the static list allows
enum Asked<'a> {
    Call { id: &'a str, tool: &'a str, arguments: Option<&'a RawValue> },
    Other,
}

/// Why a request is not forwarded
#[derive(Debug, PartialEq, Eq)]
struct Refusal<'a> {
    status: StatusCode,
    id: &'a str,
    code: i32,
    message: &'static str,
}

impl<'a> Asked<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, Refusal<'a>> {
        let refusal = |status, id, code, message| Refusal { status, id, code, message };
        let Ok(envelope) = Envelope::parse(body) else {
            return Err(refusal(StatusCode::BAD_REQUEST, "null", -32700, "not a JSON-RPC request"));
        };
        let id = envelope.id_text();
        if !METHODS.contains(&envelope.method.as_ref()) {
            return Err(refusal(StatusCode::FORBIDDEN, id, -32001, "the method is not allowed"));
        }
        if envelope.method != "tools/call" {
            return Ok(Self::Other);
        }
        let Ok(call) = envelope.tool_call() else {
            return Err(refusal(StatusCode::BAD_REQUEST, id, -32602, "odd parameters"));
        };
        match TOOLS.iter().find(|tool| **tool == call.name) {
            Some(tool) => Ok(Self::Call { id, tool, arguments: call.arguments }),
            None => Err(refusal(StatusCode::FORBIDDEN, id, -32001, "the tool is not allowed")),
        }
    }
}

/// The record of a call before it is made: the arguments if they fit, then padding to one size
fn call_record(sequence: u64, id: &str, tool: &str, arguments: Option<&RawValue>) -> Vec<u8> {
    let arguments = arguments.map_or("null", RawValue::get);
    let arguments = if arguments.len() <= ARGUMENT_BYTES_MAX { arguments } else { "\"too long\"" };
    let id = if id.len() <= ID_BYTES_MAX { id } else { "\"too long\"" };
    let mut record = Vec::with_capacity(RECORD_BYTES);
    // Writing to memory cannot fail.
    let _ = write!(
        record,
        r#"{{"sequence":{sequence},"at_us":{},"kind":"call","tool":"{tool}","id":{id},"arguments":{arguments},"pad":""#,
        unix_us()
    );
    record.resize(RECORD_BYTES.saturating_sub(3).max(record.len()), b'.');
    record.extend_from_slice(b"\"}\n");
    record
}

/// The record of how a call ended
fn outcome_record(sequence: u64, status: StatusCode) -> Vec<u8> {
    format!("{{\"sequence\":{sequence},\"at_us\":{},\"kind\":\"outcome\",\"status\":{}}}\n", unix_us(), status.as_u16())
        .into_bytes()
}

fn unix_us() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros())
}

fn selected(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    names.iter().filter_map(|name| headers.get(name).map(|value| (name.clone(), value.clone()))).collect()
}

const METHODS: [&str; 5] = ["tools/call", "tools/list", "initialize", "notifications/initialized", "server/discover"];
const TOOLS: [&str; 4] = ["list", "read", "write", "echo"];

const PASSED_UP: [HeaderName; 6] = [
    CONTENT_TYPE,
    ACCEPT,
    HeaderName::from_static("mcp-session-id"),
    HeaderName::from_static("mcp-protocol-version"),
    HeaderName::from_static("mcp-method"),
    HeaderName::from_static("mcp-name"),
];
const PASSED_DOWN: [HeaderName; 2] = [CONTENT_TYPE, HeaderName::from_static("mcp-session-id")];

const RECORD_BYTES: usize = 512;
const ARGUMENT_BYTES_MAX: usize = 320;
const ID_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests;
