//! An agent of either era, written by hand, that hears what it is told while it is told.

use crate::support::{
    Lines,
    http::{Response, exchange, request, try_exchange},
    place::{Task, word},
};
use serde_json::{Value, json};
use std::{
    io::Write as _,
    net::{Shutdown, TcpStream},
};

/// The version that a modern agent speaks
pub(crate) const MODERN: &str = "2026-07-28";
/// The version that an agent with a session speaks
pub(crate) const LEGACY: &str = "2025-11-25";

/// An agent that sends well-behaved requests to one endpoint
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) task: Task,
    pub(crate) path: String,
    /// What it can do for a server
    pub(crate) can: Value,
    /// Its session, in the era that has them
    pub(crate) session: Option<String>,
    pub(crate) modern: bool,
}

pub(crate) type Headers = Vec<(&'static str, String)>;

impl Agent {
    /// One of the era without sessions
    pub(crate) fn modern(task: &Task, connector: &str) -> Self {
        Self { task: task.clone(), path: path(connector), can: json!({}), session: None, modern: true }
    }

    /// One of the era with sessions, after the handshake
    #[track_caller]
    pub(crate) fn legacy(task: &Task, connector: &str, can: Value) -> Self {
        let mut agent = Self { task: task.clone(), path: path(connector), can, session: None, modern: false };
        let params = json!({
            "protocolVersion": LEGACY, "capabilities": agent.can, "clientInfo": { "name": "agent", "version": "1" }
        });
        let hello = agent.post(&agent.message(0, "initialize", params));
        assert_eq!(hello.status, 200, "{hello:?}");
        agent.session = hello.header("mcp-session-id").map(str::to_owned);
        assert!(agent.session.is_some(), "{hello:?}");
        let told = agent.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        assert_eq!((told.status, told.body.len()), (202, 0));
        agent
    }

    /// One of this era that can be asked to fill in forms and for its roots
    #[track_caller]
    pub(crate) fn asked(modern: bool, task: &Task, connector: &str) -> Self {
        let can = json!({ "elicitation": { "form": {}, "url": {} }, "roots": {}, "sampling": {} });
        if modern { Self { can, ..Self::modern(task, connector) } } else { Self::legacy(task, connector, can) }
    }

    /// A request with whatever every request of its era says
    pub(crate) fn message(&self, id: u64, method: &str, mut params: Value) -> Value {
        if self.modern {
            let meta = &mut params["_meta"];
            meta["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
            meta["io.modelcontextprotocol/clientCapabilities"] = self.can.clone();
            meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "agent", "version": "1" });
        }
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
    }

    /// The headers that belong to a message
    pub(crate) fn headers(&self, message: &Value) -> Headers {
        let mut headers = vec![
            ("host", self.task.address.to_string()),
            ("authorization", format!("Bearer {}", self.task.token)),
            ("content-type", "application/json".to_owned()),
            ("accept", "application/json, text/event-stream".to_owned()),
        ];
        headers.extend(self.session.iter().map(|session| ("mcp-session-id", session.clone())));
        if self.session.is_some() {
            headers.push(("mcp-protocol-version", LEGACY.to_owned()));
        }
        if self.modern {
            headers.push(("mcp-protocol-version", MODERN.to_owned()));
            let method = message["method"].as_str().unwrap_or_default();
            headers.push(("mcp-method", method.to_owned()));
            let name = match method {
                "resources/read" => &message["params"]["uri"],
                "tasks/get" | "tasks/update" | "tasks/cancel" => &message["params"]["taskId"],
                _ => &message["params"]["name"],
            };
            headers.extend(name.as_str().map(|name| ("mcp-name", name.to_owned())));
        }
        headers
    }

    /// Sends these headers and this body, and reads the answer to its end
    #[track_caller]
    pub(crate) fn send(&self, method: &str, headers: &Headers, body: &[u8]) -> Response {
        exchange(TcpStream::connect(self.task.address).unwrap(), &self.bytes(method, headers, body))
    }

    fn bytes(&self, method: &str, headers: &Headers, body: &[u8]) -> Vec<u8> {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        request(method, &self.path, &headers, body)
    }

    /// Sends a message, and reads the answer to its end
    #[track_caller]
    pub(crate) fn post(&self, message: &Value) -> Response {
        self.send("POST", &self.headers(message), message.to_string().as_bytes())
    }

    /// Asks for a method; the last message that is answered
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, params: Value) -> Value {
        self.post(&self.message(1, method, params)).json()
    }

    /// Asks for a method; the last message that is answered, `None` if the connection broke
    pub(crate) fn try_ask(&self, method: &str, params: Value) -> Option<Value> {
        let message = self.message(1, method, params);
        let bytes = self.bytes("POST", &self.headers(&message), message.to_string().as_bytes());
        try_exchange(TcpStream::connect(self.task.address).ok()?, &bytes).map(|response| response.json())
    }

    /// Calls a tool
    #[track_caller]
    pub(crate) fn call(&self, tool: &str, value: &str) -> Value {
        self.ask("tools/call", json!({ "name": tool, "arguments": { "value": value } }))
    }

    /// Calls a tool; what came of it in one word
    #[track_caller]
    pub(crate) fn word(&self, tool: &str, value: &str) -> String {
        word(&self.call(tool, value))
    }

    /// Calls a tool again with what an earlier answer wants back
    #[track_caller]
    pub(crate) fn again(&self, tool: &str, value: &str, asked: &Value, answers: Value) -> Value {
        let state = &asked["result"]["requestState"];
        assert!(state.is_string(), "{asked}");
        let arguments = json!({ "value": value });
        let params = json!({ "name": tool, "arguments": arguments, "requestState": state, "inputResponses": answers });
        self.post(&self.message(2, "tools/call", params)).json()
    }

    /// Asks for a method, and hears what is told on the way
    #[track_caller]
    pub(crate) fn talk(&self, method: &str, params: Value) -> Talk {
        let message = self.message(1, method, params);
        Talk::begin(&self.task, &self.bytes("POST", &self.headers(&message), message.to_string().as_bytes()))
    }

    /// Opens the stream of its session
    #[track_caller]
    pub(crate) fn stream(&self) -> Talk {
        Talk::begin(&self.task, &self.bytes("GET", &self.headers(&Value::Null), b""))
    }

    /// Answers a question that came on a stream
    #[track_caller]
    pub(crate) fn answer(&self, question: &Value, result: Value) -> Response {
        self.post(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": result }))
    }
}

fn path(connector: &str) -> String {
    if connector.is_empty() { "/mcp".to_owned() } else { format!("/mcp/{connector}") }
}

/// An answer while it comes about; dropping it hangs up
pub(crate) struct Talk {
    stream: TcpStream,
    lines: Lines,
}

impl Talk {
    #[track_caller]
    fn begin(task: &Task, bytes: &[u8]) -> Self {
        let mut stream = TcpStream::connect(task.address).unwrap();
        stream.write_all(bytes).unwrap();
        let lines = Lines::of(stream.try_clone().unwrap());
        Self { stream, lines }
    }

    /// The next message; `None` at the end
    pub(crate) fn next(&self) -> Option<Value> {
        loop {
            let line = self.lines.next()?;
            let text = line.strip_prefix("data:").unwrap_or(&line);
            if let Some(message) = serde_json::from_str::<Value>(text).ok().filter(Value::is_object) {
                return Some(message);
            }
        }
    }

    /// The next line, of the head or of anything else
    pub(crate) fn line(&self) -> Option<String> {
        self.lines.next()
    }

    /// All that is left
    pub(crate) fn rest(&self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        drop(self.stream.shutdown(Shutdown::Both));
    }
}
