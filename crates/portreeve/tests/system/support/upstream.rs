//! An MCP server that does what a test tells it, over HTTP or behind a child process, and keeps its own ledger.
//!
//! Both are played by threads of the test: the child process is a relay of a few lines of shell that connects
//! to them, so that its ledger survives whatever is done to Portreeve and to the child.

use super::PATIENCE;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// What a test wants to happen with a message; false: what a good server does
pub(crate) type Script = dyn Fn(&Received, &mut Wire) -> bool + Send + Sync;

/// The server and its ledger
pub(crate) struct Upstream {
    shared: Arc<Shared>,
    address: SocketAddr,
    relay: Option<String>,
    door: TcpListener,
}

struct Shared {
    script: Box<Script>,
    http: bool,
    // Held only to read or change it.
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    tools: Vec<Value>,
    received: Vec<Received>,
    peers: HashSet<SocketAddr>,
    streams: Vec<TcpStream>,
    open: usize,
    children: Vec<Vec<u32>>,
    sessions: usize,
    door_closed: bool,
    at_the_door: bool,
    away: bool,
    over: bool,
}

impl State {
    fn count(&self, method: &str) -> usize {
        self.received.iter().filter(|received| received.method == method).count()
    }
}

/// A message as it arrived
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// What it asks for; empty for anything that is no message
    pub(crate) method: String,
    /// The tool of a call
    pub(crate) tool: String,
    /// The argument `value` of a call
    pub(crate) value: String,
    /// Its own bytes
    pub(crate) message: Vec<u8>,
    /// The HTTP headers that it came with, names in lower case
    pub(crate) headers: Vec<(String, String)>,
    /// The first line of the HTTP request
    pub(crate) line: String,
}

impl Received {
    /// The message as JSON
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.message).unwrap_or(Value::Null)
    }

    /// The first header of this name
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A listener at a port that was asked for by its number: only such a one is kept while nobody listens there
fn listener() -> TcpListener {
    loop {
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        if let Ok(listener) = TcpListener::bind(free) {
            return listener;
        }
    }
}

/// A definition that takes anything
pub(crate) fn tool(name: &str) -> Value {
    json!({ "name": name, "description": "Does something", "inputSchema": { "type": "object" } })
}

impl Upstream {
    /// A server over HTTP with these tools
    pub(crate) fn http(tools: &[&str], script: impl Fn(&Received, &mut Wire) -> bool + Send + Sync + 'static) -> Self {
        Self::start(tools, Box::new(script), None)
    }

    /// A server behind a child process with these tools
    pub(crate) fn stdio(tools: &[&str], script: impl Fn(&Received, &mut Wire) -> bool + Send + Sync + 'static) -> Self {
        Self::stdio_with(tools, "", "kill $(jobs -p)", script)
    }

    /// A server behind a child process that does `before` when it starts and `after` once either side is closed
    ///
    /// Ids of processes that `before` puts into `$others` are told by [`Upstream::children`].
    pub(crate) fn stdio_with(
        tools: &[&str],
        before: &str,
        after: &str,
        script: impl Fn(&Received, &mut Wire) -> bool + Send + Sync + 'static,
    ) -> Self {
        let relay = format!(
            "exec 3<>/dev/tcp/127.0.0.1/PORT 4<&0\n{before}\necho \"$$ $others\" >&3\n\
             cat <&3 &\ncat <&4 >&3 &\nexec 4<&-\nwait -n\n{after}\n"
        );
        Self::start(tools, Box::new(script), Some(relay))
    }

    fn start(tools: &[&str], script: Box<Script>, relay: Option<String>) -> Self {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let relay = relay.map(|relay| relay.replace("PORT", &address.port().to_string()));
        let state = State { tools: tools.iter().map(|name| tool(name)).collect(), ..State::default() };
        let (state, bell) = (Mutex::new(state), Condvar::new());
        let shared = Arc::new(Shared { script, http: relay.is_none(), state, bell });
        let accepting = Arc::clone(&shared);
        let door = listener.try_clone().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&accepting);
                let mut state = shared.state();
                state.at_the_door = state.door_closed;
                shared.bell.notify_all();
                let waits = |state: &mut State| (state.door_closed || state.away) && !state.over;
                drop(shared.bell.wait_timeout_while(state, PATIENCE, waits));
                if shared.state().over {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let Ok(peer) = stream.peer_addr() else { continue };
                let is_in = shared.change(|state| {
                    // Who was let in just before it left finds nobody.
                    if state.away {
                        return false;
                    }
                    state.open += 1;
                    state.streams.extend(stream.try_clone());
                    state.peers.insert(peer);
                    true
                });
                if !is_in {
                    continue;
                }
                thread::spawn(move || {
                    let _open = Open(Arc::clone(&shared));
                    if shared.http { serve_http(&shared, &stream) } else { serve_lines(&shared, &stream) }
                });
            }
        });
        Self { shared, address, relay, door }
    }

    /// The first lines of a connector's file
    pub(crate) fn reach(&self) -> String {
        match &self.relay {
            None => format!("url = \"{}\"\n", self.url()),
            Some(relay) => format!("command = {}\n", json!(["bash", "-c", relay])),
        }
    }

    /// Its address
    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// The names of its tools
    pub(crate) fn tools(&self) -> Vec<String> {
        self.shared.state().tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Changes what it offers
    pub(crate) fn offer(&self, tools: Vec<Value>) {
        self.shared.change(|state| state.tools = tools);
    }

    /// Everything that has arrived
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.state().received.clone()
    }

    /// The calls that have arrived
    pub(crate) fn calls(&self) -> Vec<Received> {
        self.received().into_iter().filter(|received| received.method == "tools/call").collect()
    }

    /// The values of the calls that have arrived
    pub(crate) fn values(&self) -> Vec<String> {
        self.calls().into_iter().map(|received| received.value).collect()
    }

    /// The processes of every child that was started: itself, then those that it told of
    pub(crate) fn children(&self) -> Vec<Vec<u32>> {
        self.shared.state().children.clone()
    }

    /// How many messages of this method have arrived
    pub(crate) fn count(&self, method: &str) -> usize {
        self.shared.state().count(method)
    }

    /// Waits until this many calls have arrived
    #[track_caller]
    pub(crate) fn wait_for_calls(&self, count: usize) {
        self.wait_for_count("tools/call", count);
    }

    /// Waits until this many messages of a method have arrived
    #[track_caller]
    pub(crate) fn wait_for_count(&self, method: &str, count: usize) {
        self.wait(&format!("{count} of {method} have arrived"), |state| (state.count(method) >= count).then_some(()));
    }

    /// Waits until nobody is connected, and all that they sent is in the ledger
    #[track_caller]
    pub(crate) fn quiet(&self) {
        // Connections are taken in their order: once this one is, all before it are.
        let last = TcpStream::connect(self.address).unwrap();
        let peer = last.local_addr().unwrap();
        self.wait("everybody was let in", |state| state.peers.contains(&peer).then_some(()));
        drop(last);
        self.wait("everybody has left", |state| (state.open == 0).then_some(()));
    }

    /// Lets nobody in until [`Upstream::open_door`]: whoever knocks waits for the system's answer
    pub(crate) fn close_door(&self) {
        self.shared.change(|state| state.door_closed = true);
        rustix::net::listen(&self.door, 0).unwrap();
        let knock = || TcpStream::connect_timeout(&self.address, Duration::from_millis(200));
        // The first one is let in as far as the door; once the queue behind him is full, the system answers nobody.
        drop(knock());
        self.wait("somebody waits at the door", |state| state.at_the_door.then_some(()));
        while knock().is_ok() {}
    }

    /// Lets everybody in again
    pub(crate) fn open_door(&self) {
        self.shared.change(|state| state.door_closed = false);
    }

    /// Is gone until [`Upstream::come_back`]: all connections are closed, and whoever wants a new one is refused
    pub(crate) fn leave(&self) {
        self.shared.change(|state| {
            state.away = true;
            for stream in state.streams.drain(..) {
                drop(stream.shutdown(std::net::Shutdown::Both));
            }
        });
        rustix::net::shutdown(&self.door, rustix::net::Shutdown::Both).unwrap();
    }

    /// Is there again, at the same address
    pub(crate) fn come_back(&self) {
        rustix::net::listen(&self.door, 128).unwrap();
        self.shared.change(|state| state.away = false);
    }

    #[track_caller]
    fn wait<T>(&self, what: &str, found: impl Fn(&State) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.state();
        loop {
            if let Some(found) = found(&state) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let seen = || state.received.iter().map(|one| (&*one.method, &*one.value)).collect::<Vec<_>>();
            assert!(!left.is_zero(), "waited too long until {what}: {:?}", seen());
            state = self.shared.bell.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.over = true;
            for stream in &state.streams {
                drop(stream.shutdown(std::net::Shutdown::Both));
            }
        });
        // This wakes the thread that lets in, whether or not anybody could still knock.
        let _ = rustix::net::shutdown(&self.door, rustix::net::Shutdown::Both);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that failed with it in hand has said why already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.bell.notify_all();
        changed
    }
}

/// A connection that is counted
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.change(|state| state.open -= 1);
    }
}

fn serve_http(shared: &Arc<Shared>, stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    while let Some((line, headers, body)) = read_request(&mut reader) {
        let mut wire = Wire::new(stream, true, &body);
        take(shared, &mut wire, line, headers, body);
        if wire.closed {
            drop(stream.shutdown(std::net::Shutdown::Both));
            return;
        }
    }
}

type Head = Vec<(String, String)>;

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<(String, Head, Vec<u8>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers: Head = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, length)| length.parse());
    let mut body = vec![0; length.unwrap_or(Ok(0)).ok()?];
    reader.read_exact(&mut body).ok()?;
    Some((lines.first()?.clone(), headers, body))
}

fn serve_lines(shared: &Arc<Shared>, stream: &TcpStream) {
    let mut lines = BufReader::new(stream).split(b'\n');
    let Some(Ok(hello)) = lines.next() else { return };
    let hello = String::from_utf8_lossy(&hello).into_owned();
    let pids = hello.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    shared.change(|state| state.children.push(pids));
    for line in lines {
        let Ok(line) = line else { return };
        let mut wire = Wire::new(stream, false, &line);
        let shared = Arc::clone(shared);
        // A call that hangs does not keep the next one from being read.
        let taken = thread::spawn(move || take(&shared, &mut wire, String::new(), Vec::new(), line));
        drop(taken);
    }
}

fn take(shared: &Arc<Shared>, wire: &mut Wire, line: String, headers: Head, message: Vec<u8>) {
    let json: Value = serde_json::from_slice(&message).unwrap_or(Value::Null);
    let text = |pointer: &str| json.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (method, tool, value) = (text("/method"), text("/params/name"), text("/params/arguments/value"));
    let received = Received { method, tool, value, message, headers, line };
    shared.change(|state| state.received.push(received.clone()));
    if (shared.script)(&received, wire) {
        return;
    }
    match received.method.as_str() {
        // It has no stream for a session, and ends none.
        "" if received.line.starts_with("GET ") || received.line.starts_with("DELETE ") => {
            wire.respond("405 Method Not Allowed", "text/plain", b"");
        }
        "initialize" => {
            let version = json.pointer("/params/protocolVersion").cloned().unwrap_or_default();
            wire.session = Some(shared.change(|state| {
                state.sessions += 1;
                format!("session-{}", state.sessions)
            }));
            let info = json!({ "name": "upstream", "version": "1" });
            wire.answer(
                &json!({ "protocolVersion": version, "capabilities": { "tools": {} }, "serverInfo": info }).to_string(),
            );
        }
        "tools/list" => {
            let tools = shared.state().tools.clone();
            wire.answer(&json!({ "tools": tools }).to_string());
        }
        "tools/call" => wire.answer(DONE),
        // It is of the era that begins with `initialize`.
        "server/discover" => {
            let error = format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{{\"code\":-32601,\"message\":\"Method not found\"}}}}",
                wire.id
            );
            wire.message(error.as_bytes());
        }
        _ => wire.nothing(),
    }
}

/// What a good server answers to a call
pub(crate) const DONE: &str = r#"{"content":[{"type":"text","text":"done"}]}"#;

/// The way back to Portreeve
pub(crate) struct Wire {
    stream: TcpStream,
    http: bool,
    /// The session that goes along with a response
    pub(crate) session: Option<String>,
    closed: bool,
    /// The id of the message, as JSON
    pub(crate) id: String,
}

impl Wire {
    fn new(stream: &TcpStream, http: bool, message: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(message).unwrap_or(Value::Null);
        let stream = stream.try_clone().unwrap();
        Self { stream, http, session: None, closed: false, id: json["id"].to_string() }
    }

    /// Answers with this result
    pub(crate) fn answer(&mut self, result: &str) {
        self.message(format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{result}}}", self.id).as_bytes());
    }

    /// Answers with this message
    pub(crate) fn message(&mut self, message: &[u8]) {
        if self.http {
            self.respond("200 OK", "application/json", message);
        } else {
            self.raw(&[message, b"\n"].concat());
        }
    }

    /// Answers with this HTTP response
    pub(crate) fn respond(&mut self, status: &str, kind: &str, body: &[u8]) {
        let session = self.session.iter().map(|session| format!("mcp-session-id: {session}\r\n")).collect::<String>();
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{session}content-length: {}\r\n\r\n", body.len());
        self.raw(&[head.as_bytes(), body].concat());
    }

    /// Begins a stream of events that has no end of its own
    pub(crate) fn stream(&mut self) {
        self.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n");
    }

    fn nothing(&mut self) {
        if self.http {
            self.raw(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
        }
    }

    /// Writes these bytes; false once nobody reads them any more
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Writes these bytes until nobody reads them any more, and says how many were taken
    pub(crate) fn flood(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while self.raw(bytes) {
            taken += bytes.len();
            assert!(taken < FLOOD_MAX, "Portreeve reads without end");
        }
        taken
    }

    /// Another handle of the connection, for what is said later
    pub(crate) fn twin(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// Closes the connection
    pub(crate) fn close(&mut self) {
        drop(self.stream.shutdown(std::net::Shutdown::Both));
        self.closed = true;
    }
}

/// What no reader in its right mind takes
const FLOOD_MAX: usize = 1 << 30;

/// Something that many wait for
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everybody through from now on
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Holds back whoever comes from now on
    pub(crate) fn shut(&self) {
        *self.0.0.lock().unwrap() = false;
    }

    /// Waits, though not for ever
    pub(crate) fn wait(&self) {
        let closed = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(closed, PATIENCE, |open| !*open).unwrap());
    }
}
