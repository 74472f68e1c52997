//! A project with a data folder, and the commands that are run in it.

use super::{
    Lines,
    http::{Response, exchange, request},
    process::Watched,
    record::Record,
    upstream::Upstream,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::{net::UnixStream, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};
use tempfile::TempDir;

/// The program under test
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_portreeve");

/// A folder as a person has it: a policy, and a data folder beside it
pub(crate) struct Place {
    folder: TempDir,
}

/// What a command left behind
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code; 128 and more for a signal
    pub(crate) code: i32,
    /// Standard output
    pub(crate) out: String,
    /// Standard error
    pub(crate) err: String,
}

impl Ran {
    /// Standard output as one JSON document
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails the test unless the command succeeded
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

impl Place {
    /// A folder in which nothing has been made yet
    pub(crate) fn bare() -> Self {
        Self { folder: tempfile::Builder::new().prefix("ptr-").tempdir().unwrap() }
    }

    /// A folder after `portreeve init`
    pub(crate) fn new() -> Self {
        let place = Self::bare();
        place.run(&["init"]).good();
        place
    }

    /// A folder with this connector and a purpose `work` that may use its `tools` with any `value`
    ///
    /// `task` stands in the purpose's `[task]`, `allow` below each of its entries.
    pub(crate) fn with(connectors: &[(&str, &Upstream)], task: &str, allow: &str) -> Self {
        let place = Self::new();
        for (name, upstream) in connectors {
            place.connector(name, upstream, "");
        }
        place.purpose("work", connectors, task, allow);
        place
    }

    /// Writes the file of a connector
    pub(crate) fn connector(&self, name: &str, upstream: &Upstream, more: &str) {
        let classes: String =
            upstream.tools().iter().map(|tool| format!("\n[tools.{tool}]\nclass = \"write\"\n")).collect();
        self.write(&format!("policy/connectors/{name}.toml"), &format!("{}{more}{classes}", upstream.reach()));
    }

    /// Writes a purpose that may use every tool of these connectors
    pub(crate) fn purpose(&self, purpose: &str, connectors: &[(&str, &Upstream)], task: &str, allow: &str) {
        let entries: String = connectors
            .iter()
            .flat_map(|(name, upstream)| upstream.tools().into_iter().map(move |tool| (name, tool)))
            .map(|(name, tool)| {
                let step = format!("{name}-{}", tool.to_lowercase());
                format!("\n[[allow]]\nname = \"{step}\"\nuse = [\"{name}.{tool}\"]\nwhere = {{ value = {{ any = true }} }}\n{allow}")
            })
            .collect();
        let text = format!(
            "about = \"Whatever a test needs\"\nowner = \"tests\"\n\n\
             [open]\nagents = [\"assistant\"]\nusers = \"none\"\n\n\
             [task]\nexpires_after = \"1h\"\nstanding = [\"read\", \"write\"]\n{task}\n{entries}"
        );
        let text = if task.contains("expires_after") { text.replace("expires_after = \"1h\"\n", "") } else { text };
        self.write(&format!("policy/purposes/{purpose}.toml"), &text);
    }

    /// The folder itself
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The data folder
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join(".portreeve")
    }

    /// Writes a file below the folder
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file below the folder
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path().join(path)).unwrap()
    }

    /// A command in this folder, with nothing of our own environment that it could depend on
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path()).env("TMPDIR", self.path());
        command
    }

    /// Runs `portreeve` to its end
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        finish(self.command(PROGRAM, arguments), "")
    }

    /// Runs `portreeve` to its end, with this on its standard input
    #[track_caller]
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        finish(self.command(PROGRAM, arguments), input)
    }

    /// Runs `portreeve --json`, which must succeed
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[&["--json"], arguments].concat()).good().json()
    }

    /// The whole record
    #[track_caller]
    pub(crate) fn record(&self) -> Record {
        let tail = self.run(&["--json", "audit", "tail", "-n", "1000000"]).good();
        Record::read(&tail.out)
    }

    /// Starts `portreeve serve` and accepts what these connectors offer
    #[track_caller]
    pub(crate) fn serve(&self, accepted: &[&str]) -> Serve {
        let serve = Serve::start(self).unwrap_or_else(|ran| panic!("{ran:?}"));
        for connector in accepted {
            self.run(&["connector", "accept", connector, "--yes"]).good();
        }
        serve
    }
}

/// Runs a command to its end, or kills it and fails the test when its time is over
#[track_caller]
pub(crate) fn finish(mut command: Command, input: &str) -> Ran {
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_owned();
        // It may end before it has read everything.
        thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    }
    wait(child, &format!("{command:?}"))
}

/// Waits for the end of a process whose output is piped
#[track_caller]
pub(crate) fn wait(mut child: Child, what: &str) -> Ran {
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let out = thread::spawn(move || {
        let mut text = Vec::new();
        drop(stdout.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    });
    let err = thread::spawn(move || {
        let mut text = Vec::new();
        drop(stderr.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    });
    let ended = Watched::of(child.id()).is_none_or(|watched| watched.ends());
    if !ended {
        drop(child.kill());
    }
    let status = child.wait().unwrap();
    assert!(ended, "{what} did not end");
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ran { code, out: out.join().unwrap(), err: err.join().unwrap() }
}

/// A running `portreeve serve`; killed when the test is over, however it ends
pub(crate) struct Serve {
    child: Option<Child>,
    /// Where agents reach it
    pub(crate) address: SocketAddr,
    /// Where they reach it over TLS
    pub(crate) secure: Option<SocketAddr>,
    data: PathBuf,
}

impl Serve {
    /// Starts it on any free port; what it left behind if it did not come up
    pub(crate) fn start(place: &Place) -> Result<Self, Ran> {
        Self::start_as(place, |_| ())
    }

    /// The same, with something else about the command
    pub(crate) fn start_as(place: &Place, with: impl FnOnce(&mut Command)) -> Result<Self, Ran> {
        Self::start_at(place, "127.0.0.1:0", with)
    }

    /// The same, at this address
    pub(crate) fn start_at(place: &Place, address: &str, with: impl FnOnce(&mut Command)) -> Result<Self, Ran> {
        let log = place.path().join("serve.log");
        let stderr = fs::File::create(&log).unwrap();
        let mut command = place.command(PROGRAM, &["serve", "--listen", address]);
        with(&mut command);
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let said = Lines::of(stdout);
        let mut serve =
            Self { child: Some(child), address: ([0, 0, 0, 0], 0).into(), secure: None, data: place.data() };
        match said.next() {
            Some(line) => {
                let address = line.strip_prefix("serving http://").and_then(|rest| rest.split(' ').next());
                let secure = line.split(' ').find_map(|word| word.strip_prefix("https://"));
                serve.secure = secure.and_then(|text| text.parse().ok());
                serve.address = address.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
                Ok(serve)
            }
            None => {
                let status = serve.child.take().unwrap().wait().unwrap();
                let err = fs::read_to_string(log).unwrap_or_default();
                Err(Ran { code: status.code().unwrap_or(-1), out: String::new(), err })
            }
        }
    }

    /// Its process
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Kills it without a word
    pub(crate) fn kill(mut self) {
        self.end_by_force();
    }

    /// Asks it to end, and waits
    #[track_caller]
    pub(crate) fn terminate(mut self) {
        let mut child = self.child.take().unwrap();
        let watched = Watched::of(child.id()).unwrap();
        watched.signal(rustix::process::Signal::TERM);
        let ended = watched.ends();
        if !ended {
            drop(child.kill());
        }
        let status = child.wait().unwrap();
        assert!(ended && status.success(), "serve did not end well: {status}");
    }

    fn end_by_force(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Asks the administration; status and JSON
    #[track_caller]
    pub(crate) fn admin(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let response = self.admin_raw(method, path, &text);
        (response.status, response.json())
    }

    #[track_caller]
    fn admin_raw(&self, method: &str, path: &str, body: &str) -> Response {
        let stream = UnixStream::connect(self.data.join("admin.sock")).unwrap();
        let headers = [("host", "portreeve"), ("content-type", "application/json")];
        exchange(stream, &request(method, path, &headers, body.as_bytes()))
    }

    /// Opens a task under a purpose
    #[track_caller]
    pub(crate) fn open(&self, purpose: &str) -> Task {
        self.open_with(&json!({ "purpose": purpose }))
    }

    /// Opens a task
    #[track_caller]
    pub(crate) fn open_with(&self, ask: &Value) -> Task {
        let (status, opened) = self.admin("POST", "/v1/tasks", ask);
        assert_eq!(status, 200, "{opened}");
        let text = |name: &str| opened[name].as_str().unwrap().to_owned();
        Task { id: text("task"), run: text("run"), token: text("token"), address: self.address }
    }

    /// A fresh token for a task that was opened in an earlier life
    #[track_caller]
    pub(crate) fn rejoin(&self, task: &Task) -> Task {
        let (status, fresh) = self.admin("POST", &format!("/v1/tasks/{}/token", task.id), &Value::Null);
        assert_eq!(status, 200, "{fresh}");
        Task { token: fresh["token"].as_str().unwrap().to_owned(), address: self.address, ..task.clone() }
    }

    /// Stops a node; what the answer says
    #[track_caller]
    pub(crate) fn stop(&self, node: &str) -> Value {
        let (status, answer) = self.admin("POST", "/v1/stop", &json!({ "node": node }));
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Returns once every call of a live task is settled on the record
    #[track_caller]
    pub(crate) fn calls_settled(&self, task: &Task) {
        super::until("every call is settled", || {
            let (_, shown) = self.admin("GET", &format!("/v1/tasks/{}", task.id), &Value::Null);
            shown["open"] == 0
        });
    }

    /// Returns once every effect is settled and every child is gone
    #[track_caller]
    pub(crate) fn settled(&self) {
        super::until("every effect is settled", || {
            let (_, status) = self.admin("GET", "/v1/status", &Value::Null);
            status["open_effects"] == 0
        });
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.end_by_force();
    }
}

/// A task and the token of its run
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// The task
    pub(crate) id: String,
    /// Its run
    pub(crate) run: String,
    /// The token
    pub(crate) token: String,
    /// Where Portreeve listens
    pub(crate) address: SocketAddr,
}

impl Task {
    /// Sends one message as a well-behaved client does; `None` if the connection broke
    pub(crate) fn try_post(&self, connector: &str, message: &[u8]) -> Option<Response> {
        let stream = std::net::TcpStream::connect(self.address).ok()?;
        let (host, bearer) = (self.address.to_string(), format!("Bearer {}", self.token));
        let headers = [
            ("host", host.as_str()),
            ("authorization", &bearer),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        super::http::try_exchange(stream, &request("POST", &format!("/mcp/{connector}"), &headers, message))
    }

    /// Sends one message as a well-behaved client does
    #[track_caller]
    pub(crate) fn post(&self, connector: &str, message: &[u8]) -> Response {
        self.try_post(connector, message).expect("no answer")
    }

    /// Asks for a method, and returns the message that is answered
    #[track_caller]
    pub(crate) fn ask(&self, connector: &str, method: &str, params: &Value) -> Value {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let response = self.post(connector, message.to_string().as_bytes());
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    /// Calls a tool, and returns the message that is answered
    #[track_caller]
    pub(crate) fn call(&self, connector: &str, tool: &str, arguments: &Value) -> Value {
        self.ask(connector, "tools/call", &json!({ "name": tool, "arguments": arguments }))
    }

    /// Calls a tool with a value, and returns what came of it in one word
    #[track_caller]
    pub(crate) fn word(&self, connector: &str, tool: &str, value: &str) -> String {
        word(&self.call(connector, tool, &json!({ "value": value })))
    }
}

/// What came of a call in one word: `ok`, `failed`, a reason word, or the error's code
pub(crate) fn word(answer: &Value) -> String {
    if let Some(code) = answer.pointer("/error/code") {
        return code.to_string();
    }
    if let Some(word) = answer.pointer("/result/_meta/dev.portreeve~1refusal/word").and_then(Value::as_str) {
        return word.to_owned();
    }
    let failed = answer.pointer("/result/isError").and_then(Value::as_bool).unwrap_or_default();
    if failed { "failed" } else { "ok" }.to_owned()
}

/// A command that goes on until it is asked to end, or the test is over
pub(crate) struct Running {
    child: Option<Child>,
    /// What it prints
    pub(crate) lines: Lines,
}

impl Running {
    /// Starts it
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = Lines::of(child.stdout.take().unwrap());
        Self { child: Some(child), lines }
    }

    /// Starts it, to be talked to on its standard input
    pub(crate) fn talking(mut command: Command) -> Self {
        command.stdin(Stdio::piped());
        Self::start(command)
    }

    /// Writes an empty line to its standard input
    pub(crate) fn go_on(&mut self) {
        self.child.as_mut().unwrap().stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Writes a line to its standard input
    pub(crate) fn say(&mut self, line: &str) {
        let stdin = self.child.as_mut().unwrap().stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Its process
    pub(crate) fn watched(&self) -> Watched {
        Watched::of(self.child.as_ref().unwrap().id()).unwrap()
    }

    /// Waits for its end; its exit code, 128 and more for a signal
    #[track_caller]
    pub(crate) fn end(mut self) -> i32 {
        let watched = self.watched();
        let mut child = self.child.take().unwrap();
        let ended = watched.ends();
        if !ended {
            drop(child.kill());
        }
        let status = child.wait().unwrap();
        assert!(ended, "it does not end");
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
