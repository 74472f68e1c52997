//! Servers that say what a test tells them.

use crate::{
    child::{Child, Launch},
    clock::SteadyClock,
    event::Event,
    given::Given,
    http::{Failure, Http},
    latch::{Latches, Pass},
    link::{Called, Link, Offer, STREAM_BYTES_MAX, Sending, Unready, Whole},
};
use portreeve_core::json::Limits;
use portreeve_mcp::{can::Can, message::Message, method::Method, mirror::Mirrored, version::Version};
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// How long a test waits for anything
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A server over HTTP
pub(super) struct Server {
    pub(super) address: SocketAddr,
    requests: mpsc::UnboundedReceiver<Got>,
    aside: Vec<Got>,
}

/// A request that a server got and has not answered
pub(super) struct Got {
    pub(super) verb: String,
    pub(super) headers: BTreeMap<String, String>,
    /// Of a message, else null
    pub(super) body: Value,
    pub(super) raw: Vec<u8>,
    stream: BufReader<TcpStream>,
    requests: mpsc::UnboundedSender<Got>,
}

impl Server {
    pub(super) async fn new() -> (Self, Arc<Http>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}/mcp");
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(read(BufReader::new(stream), sender.clone()));
            }
        });
        let http = Arc::new(Http::new(&url, SteadyClock::start()).unwrap());
        (Self { address, requests, aside: Vec::new() }, http)
    }

    /// The next request of this verb, and of this method if it is no empty text; others wait
    pub(super) async fn next(&mut self, verb: &str, method: &str) -> Got {
        let is = |got: &Got| got.verb == verb && (method.is_empty() || got.body["method"] == method);
        if let Some(place) = self.aside.iter().position(is) {
            return self.aside.remove(place);
        }
        let wait = async {
            loop {
                let got = self.requests.recv().await.unwrap();
                if is(&got) {
                    return got;
                }
                self.aside.push(got);
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no {verb} {method}"))
    }

    /// The next message, whatever it is
    pub(super) async fn message(&mut self) -> Got {
        self.next("POST", "").await
    }

    /// Everything that came and was not looked at
    pub(super) fn rest(&mut self) -> Vec<String> {
        while let Ok(got) = self.requests.try_recv() {
            self.aside.push(got);
        }
        self.aside.iter().map(|got| format!("{} {}", got.verb, got.body["method"])).collect()
    }

    /// Plays the opening of a modern link with these tools
    pub(super) async fn open_modern(&mut self, tools: Value) {
        self.message().await.result(discovered());
        self.message().await.result(json!({ "tools": tools, "ttlMs": 0, "cacheScope": "private" }));
    }

    /// Plays the opening of a legacy link with these capabilities
    pub(super) async fn open_legacy(&mut self, version: &str, session: Option<&str>, capabilities: Value) {
        self.next("POST", "server/discover").await.status(400, "no session");
        self.initialize(version, session, &capabilities).await;
        if capabilities.get("tools").is_some() {
            self.next("POST", "tools/list").await.result(json!({ "tools": [] }));
        }
    }

    pub(super) async fn initialize(&mut self, version: &str, session: Option<&str>, capabilities: &Value) {
        let hello = json!({
            "protocolVersion": version, "capabilities": capabilities, "serverInfo": { "name": "old", "version": "1" },
        });
        let headers: Vec<(&str, &str)> = session.map(|session| ("Mcp-Session-Id", session)).into_iter().collect();
        let got = self.next("POST", "initialize").await;
        let id = got.body["id"].clone();
        got.answer(200, &headers, &json!({ "jsonrpc": "2.0", "id": id, "result": hello }).to_string());
        self.next("POST", "notifications/initialized").await.status(202, "");
    }
}

pub(super) fn discovered() -> Value {
    json!({
        "resultType": "complete", "supportedVersions": ["2026-07-28"],
        "capabilities": { "tools": { "listChanged": true } }, "ttlMs": 0, "cacheScope": "private",
        "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "new", "version": "1" } },
    })
}

async fn read(mut stream: BufReader<TcpStream>, requests: mpsc::UnboundedSender<Got>) {
    let mut line = String::new();
    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
        return;
    }
    let verb = line.split(' ').next().unwrap().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let before = headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        assert_eq!(before, None, "{name} stands there twice");
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut raw = vec![0; length];
    if stream.read_exact(&mut raw).await.is_err() {
        return;
    }
    let body = serde_json::from_slice(&raw).unwrap_or_default();
    let got = Got { verb, headers, body, raw, stream, requests: requests.clone() };
    let _ = requests.send(got);
}

impl Got {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(super) fn result(self, result: Value) {
        let id = self.body["id"].clone();
        self.answer(200, &[], &json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string());
    }

    pub(super) fn error(self, status: u16, code: i64, data: Value) {
        let id = self.body["id"].clone();
        let error = json!({ "code": code, "message": "no", "data": data });
        self.answer(status, &[], &json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string());
    }

    pub(super) fn status(self, status: u16, text: &str) {
        self.answer(status, &[], text);
    }

    pub(super) fn answer(mut self, status: u16, headers: &[(&str, &str)], text: &str) {
        let kind = if text.starts_with(['{', '[']) { "application/json" } else { "text/plain" };
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = text.len();
        let answer =
            format!("HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n{headers}\r\n{text}");
        tokio::spawn(async move {
            if self.stream.write_all(answer.as_bytes()).await.is_ok() {
                read(self.stream, self.requests).await;
            }
        });
    }

    /// Begins to answer with a stream of events
    pub(super) async fn events(mut self) -> Events {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        self.stream.write_all(head.as_bytes()).await.unwrap();
        Events { id: self.body["id"].clone(), stream: self.stream, requests: self.requests }
    }

    /// Begins to answer with JSON of which no length is known
    pub(super) async fn json(mut self) -> Events {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        self.stream.write_all(head.as_bytes()).await.unwrap();
        Events { id: self.body["id"].clone(), stream: self.stream, requests: self.requests }
    }

    /// Returns once the other side has closed the connection
    pub(super) async fn closed(mut self) {
        closed(&mut self.stream).await;
    }
}

async fn closed(stream: &mut BufReader<TcpStream>) {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("nobody closes it");
    assert_eq!(rest, b"", "something else was sent: {read:?}");
}

/// An answer that is under way
pub(super) struct Events {
    pub(super) id: Value,
    stream: BufReader<TcpStream>,
    requests: mpsc::UnboundedSender<Got>,
}

impl Events {
    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.stream.write_all(&chunk).await.unwrap();
    }

    pub(super) async fn event(&mut self, message: Value) {
        self.raw(format!("data: {message}\n\n").as_bytes()).await;
    }

    pub(super) async fn result(&mut self, result: Value) {
        self.event(json!({ "jsonrpc": "2.0", "id": self.id, "result": result })).await;
    }

    /// Ends the answer as it should
    pub(super) async fn end(mut self) {
        self.stream.write_all(b"0\r\n\r\n").await.unwrap();
        tokio::spawn(read(self.stream, self.requests));
    }

    /// Returns once the other side has closed the connection
    pub(super) async fn closed(mut self) {
        closed(&mut self.stream).await;
    }
}

/// A server behind a child process: a relay that connects to the test
pub(super) struct Process {
    pub(super) child: Arc<Child>,
    lines: BufReader<TcpStream>,
    _folder: tempfile::TempDir,
}

impl Process {
    pub(super) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; cat <&3 & cat >&3");
        let (launch, folder) = launch(&["bash", "-c", &relay]);
        let identity = launch.identity().await.unwrap();
        let child = Child::start(&launch, identity, SteadyClock::start()).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        Self { child, lines: BufReader::new(stream), _folder: folder }
    }

    pub(super) async fn next(&mut self) -> Value {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.lines.read_line(&mut line)).await.expect("nothing was said");
        assert_ne!(read.unwrap(), 0, "it was ended");
        serde_json::from_str(&line).unwrap()
    }

    /// Says these bytes, unless nobody listens any more
    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.lines.write_all(bytes).await;
    }

    pub(super) async fn say(&mut self, message: Value) {
        self.lines.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    pub(super) async fn result(&mut self, to: &Value, result: Value) {
        self.say(json!({ "jsonrpc": "2.0", "id": to["id"], "result": result })).await;
    }

    pub(super) async fn error(&mut self, to: &Value, code: i64) {
        self.say(json!({ "jsonrpc": "2.0", "id": to["id"], "error": { "code": code, "message": "no" } })).await;
    }

    /// Plays the opening of a legacy link that offers nothing
    pub(super) async fn open_legacy(&mut self, version: &str, capabilities: Value) {
        let probe = self.next().await;
        assert_eq!(probe["method"], "server/discover");
        self.error(&probe, -32601).await;
        let initialize = self.next().await;
        assert_eq!(initialize["method"], "initialize");
        let hello = json!({ "protocolVersion": version, "capabilities": capabilities, "serverInfo": {} });
        self.result(&initialize, hello).await;
        assert_eq!(self.next().await["method"], "notifications/initialized");
    }
}

/// What starts a command with a keeper that only steps aside
pub(super) fn launch(command: &[&str]) -> (Launch, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let keeper: PathBuf = folder.path().join("keeper");
    std::fs::write(&keeper, "#!/bin/sh\nshift 4\nexec \"$@\"\n").unwrap();
    std::fs::set_permissions(&keeper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let launch = Launch {
        keeper,
        command: command.iter().map(|part| (*part).to_owned()).collect(),
        env: BTreeMap::new(),
        folder: folder.path().to_owned(),
        expected: None,
        given: Given::default(),
    };
    (launch, folder)
}

/// A pass that nothing closes
pub(super) fn pass() -> Pass {
    Pass::resting_on(&Latches::default(), &[])
}

/// Opens a link with a server that a script plays
pub(super) async fn open<T>(
    http: &Arc<Http>,
    can: Can,
    script: impl Future<Output = T>,
) -> (Result<(Link, Offer), Unready>, T) {
    let both = async { tokio::join!(Link::over_http(Arc::clone(http), can), script) };
    tokio::time::timeout(PATIENCE, both).await.expect("it is not opened in time")
}

pub(super) async fn opened<T>(server: &Arc<Http>, can: Can, script: impl Future<Output = T>) -> Link {
    open(server, can, script).await.0.unwrap().0
}

/// How a call is sent
#[derive(Clone)]
pub(super) struct Request {
    pub(super) text: String,
    pub(super) method: Method,
    pub(super) from: Version,
    pub(super) name: Option<&'static str>,
    pub(super) mirrored: Vec<Mirrored>,
    pub(super) whole: bool,
    pub(super) bytes_max: u64,
    pub(super) within: Duration,
}

impl Request {
    pub(super) fn new(method: &str, params: Value) -> Self {
        let text = json!({ "jsonrpc": "2.0", "id": "mine", "method": method, "params": params }).to_string();
        Self {
            text,
            method: Method::read(method).unwrap(),
            from: Version::LATEST_LEGACY,
            name: None,
            mirrored: Vec::new(),
            whole: false,
            bytes_max: STREAM_BYTES_MAX,
            within: PATIENCE,
        }
    }

    pub(super) fn call(arguments: Value) -> Self {
        Self::new("tools/call", json!({ "name": "act", "arguments": arguments }))
    }

    pub(super) async fn through(
        &self,
        link: &Link,
        pass: Pass,
        events: mpsc::Sender<Event>,
    ) -> Result<Called, Failure> {
        let message = Message::read(self.text.as_bytes(), &Limits::DEFAULT).unwrap();
        let sending = Sending {
            bytes: self.text.as_bytes(),
            message: &message,
            method: self.method,
            from: self.from,
            name: self.name,
            state: None,
            trace: None,
            log_level: None,
            mirrored: &self.mirrored,
            whole: self.whole,
            bytes_max: self.bytes_max,
        };
        let sent = link.send(sending, pass, self.within, events);
        tokio::time::timeout(2 * PATIENCE, sent).await.expect("the call hangs")
    }

    /// Sends it, and plays the server meanwhile
    pub(super) async fn with<T>(&self, link: &Link, script: impl Future<Output = T>) -> (Result<Called, Failure>, T) {
        let (events, _kept) = mpsc::channel(64);
        tokio::join!(self.through(link, pass(), events), script)
    }

    pub(super) async fn answered<T>(&self, link: &Link, script: impl Future<Output = T>) -> (Whole, T) {
        let (called, told) = self.with(link, script).await;
        match called.unwrap() {
            Called::Whole(whole) => (whole, told),
            Called::Long(long) => panic!("{long:?}"),
        }
    }
}

pub(super) fn lost(outcome: Result<Called, Failure>) -> String {
    match outcome {
        Err(Failure::Lost(why)) => why,
        other => panic!("{other:?}"),
    }
}

pub(super) fn rejected(outcome: Result<Called, Failure>) -> String {
    match outcome {
        Err(Failure::Rejected(why)) => why,
        other => panic!("{other:?}"),
    }
}

pub(super) fn not_sent(outcome: Result<Called, Failure>) -> String {
    match outcome {
        Err(Failure::NotSent(why)) => why,
        other => panic!("{other:?}"),
    }
}
