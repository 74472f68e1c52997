//! What is sent and what counts as an answer.

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::Form;

/// What the calls of one connection have in common
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) form: Form,
    pub(crate) tool: &'a str,
    pub(crate) payload_bytes: usize,
    /// Absent: every call says `item-0`
    pub(crate) ids: Option<Ids>,
    /// `NAME:VALUE`
    pub(crate) headers: &'a [String],
}

/// The numbers that one connection puts into `item-N`, apart from those of the others
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    pub(crate) first: u64,
    pub(crate) step: u64,
}

/// Makes the requests of one connection
#[derive(Debug)]
pub(crate) struct Script {
    form: Form,
    headers: HeaderMap,
    /// From the end of the JSON-RPC id to the start of the item's number
    middle: String,
    /// From the end of the item's number on
    tail: String,
    calls: u64,
    ids: Option<Ids>,
}

impl Script {
    /// Prepares all that does not change from call to call
    pub(crate) fn new(plan: &Plan<'_>) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        headers.insert("mcp-protocol-version", HeaderValue::from_static(version(plan.form)));
        if plan.form == Form::Modern {
            headers.insert("mcp-method", HeaderValue::from_static("tools/call"));
            headers.insert("mcp-name", HeaderValue::from_str(plan.tool).context("odd tool name")?);
        }
        for header in plan.headers {
            let (name, value) = header.split_once(':').with_context(|| format!("{header:?} is not NAME:VALUE"))?;
            let name: HeaderName = name.trim().parse().with_context(|| format!("odd header name {name:?}"))?;
            headers.insert(name, HeaderValue::from_str(value.trim()).context("odd header value")?);
        }
        let meta = match plan.form {
            Form::Modern => META,
            Form::Legacy => "",
        };
        let tool = serde_json::to_string(plan.tool)?;
        let text: String = ALPHABET.chars().cycle().take(plan.payload_bytes).collect();
        Ok(Self {
            form: plan.form,
            headers,
            middle: format!(r#","method":"tools/call","params":{{{meta}"name":{tool},"arguments":{{"id":"item-"#),
            tail: format!(r#"","text":"{text}"}}}}}}"#),
            calls: 0,
            ids: plan.ids,
        })
    }

    /// The body of the next call
    pub(crate) fn next_body(&mut self) -> Bytes {
        let number = self.calls;
        self.calls += 1;
        let item = self.ids.map_or(0, |ids| ids.first + number * ids.step);
        Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{number}{}{item}{}"#, self.middle, self.tail))
    }

    /// How MCP is spoken
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// The headers of every call
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Adds the session that a legacy server gave
    pub(crate) fn join_session(&mut self, session: HeaderValue) {
        self.headers.insert("mcp-session-id", session);
    }
}

/// Whether a body is the result of a call that was made: not a refusal, not a tool's error
pub(crate) fn is_result(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else {
        return false;
    };
    text.contains(r#""result""#) && !text.contains(r#""isError":true"#) && !text.contains(r#""isError": true"#)
}

/// The protocol version of a form
fn version(form: Form) -> &'static str {
    match form {
        Form::Modern => "2026-07-28",
        Form::Legacy => "2025-11-25",
    }
}

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"}},"#;
const ALPHABET: &str = "the quick brown fox jumps over the lazy dog, ";

/// Opens a legacy session
pub(crate) const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;

/// Ends the opening of a legacy session
pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{Form, Ids, Plan, Script, is_result};

    fn plan(form: Form, ids: Option<Ids>) -> Plan<'static> {
        Plan { form, tool: "echo", payload_bytes: 256, ids, headers: &[] }
    }

    #[test]
    fn bodies_are_json_and_ids_unique_on_request() {
        let mut script = Script::new(&plan(Form::Modern, Some(Ids { first: 3, step: 8 }))).unwrap();
        script.next_body();
        let body: Value = serde_json::from_slice(&script.next_body()).unwrap();
        assert_eq!(body["id"], 1);
        assert_eq!(body["params"]["arguments"]["id"], "item-11");
        assert_eq!(body["params"]["arguments"]["text"].as_str().unwrap().len(), 256);
        assert_eq!(body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        let mut plain = Script::new(&plan(Form::Legacy, None)).unwrap();
        plain.next_body();
        let body: Value = serde_json::from_slice(&plain.next_body()).unwrap();
        assert_eq!(body["params"]["arguments"]["id"], "item-0");
        assert!(body["params"]["_meta"].is_null());
        assert!(plain.headers().get("mcp-name").is_none());
    }

    #[test]
    fn given_headers_win_and_odd_ones_are_refused() {
        let headers = ["authorization: Bearer a:b".to_owned()];
        let script = Script::new(&Plan { headers: &headers, ..plan(Form::Modern, None) }).unwrap();
        assert_eq!(script.headers()["authorization"], "Bearer a:b");
        let odd = ["no colon".to_owned()];
        assert!(Script::new(&Plan { headers: &odd, ..plan(Form::Modern, None) }).is_err());
    }

    #[test]
    fn refusals_are_no_results() {
        assert!(is_result(br#"{"id":1,"result":{"content":[]}}"#));
        assert!(!is_result(br#"{"id":1,"result":{"isError":true,"content":[]}}"#));
        assert!(!is_result(br#"{"id":1,"error":{"code":1}}"#));
        assert!(!is_result(b"\xff"));
    }
}
