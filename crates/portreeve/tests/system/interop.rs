//! Official servers behind Portreeve and official SDK clients in front, all of them as they are.
//!
//! They lie where `cargo xtask setup` puts them; the environment names the folder as `PORTREEVE_INTEROP`.
//! What is not there leaves its test out, which says so.

use crate::support::place::{Place, Running, Serve};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients");
/// Listens on loopback only and says where; otherwise the server is as it was published
const LOOPBACK: &str = "const net = require('net'); const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  this.on('listening', () => console.log('LOOPBACK ' + this.address().port));
  return listen.call(this, { port: 0, host: '127.0.0.1' }, ...rest.filter((one) => typeof one === 'function'));
};";

/// The folder, if everything that a test needs is in it
pub(crate) fn interop(test: &str, needs: &[&str]) -> Option<PathBuf> {
    let skip = |why: &str| {
        println!("SKIPPED: {test}: {why}");
        None
    };
    let Some(folder) = std::env::var_os("PORTREEVE_INTEROP").map(PathBuf::from) else {
        return skip("PORTREEVE_INTEROP is not set; see `cargo xtask setup`");
    };
    if let Some(missing) = needs.iter().find(|need| !folder.join(need).exists()) {
        let list = fs::OpenOptions::new().append(true).open(folder.join("skipped"));
        drop(list.and_then(|mut list| writeln!(list, "{test}: {missing} is missing")));
        return skip(&format!("{missing} is missing"));
    }
    Some(folder)
}

const SDK: &str = "node/node_modules/@modelcontextprotocol/sdk/package.json";
const EVERYTHING: &str = "node/node_modules/@modelcontextprotocol/server-everything/dist/index.js";
const FILESYSTEM: &str = "node/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js";
const SDK_2: &str = "node/node_modules/@modelcontextprotocol/client/package.json";
const PYTHON_2: &str = "venv/bin/python";
const PYTHON_1: &str = "venv1/bin/python";
const GO: &str = "go/client";
const JAVA: &str = "java/lib";

/// An official client
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Client {
    /// The first TypeScript SDK
    TypeScript,
    /// The second TypeScript SDK, in this mode
    TypeScript2(&'static str),
    /// The second Python SDK, which asks for the newest version first
    Python2,
    /// The second Python SDK, as an older client
    Python2Legacy,
    /// The first Python SDK
    Python1,
    /// The Go SDK, in this mode
    Go(&'static str),
    /// The Java SDK
    Java,
}

impl Client {
    /// What it needs of the folder of foreign programs
    pub(crate) fn needs(self) -> &'static str {
        match self {
            Self::TypeScript => SDK,
            Self::TypeScript2(_) => SDK_2,
            Self::Python2 | Self::Python2Legacy => PYTHON_2,
            Self::Python1 => PYTHON_1,
            Self::Go(_) => GO,
            Self::Java => JAVA,
        }
    }

    /// The client's command with its steps
    fn command(self, interop: &Path, steps: &Value) -> Vec<String> {
        let program = interop.join(self.needs()).display().to_string();
        let script = |path: &str| format!("{CLIENTS}/{path}");
        let mut command = match self {
            Self::TypeScript | Self::TypeScript2(_) => vec!["node".to_owned(), script("typescript/client.mjs")],
            Self::Python1 | Self::Python2 | Self::Python2Legacy => vec![program, script("python/client.py")],
            Self::Go(_) => vec![program],
            Self::Java => vec!["java".into(), "-cp".into(), format!("{program}/*"), script("java/Client.java")],
        };
        command.push(steps.to_string());
        command
    }

    /// The client at this address with this token
    pub(crate) fn at(self, place: &Place, interop: &Path, steps: &Value, url: &str, token: &str) -> Command {
        let command = self.command(interop, steps);
        let (program, arguments) = command.split_first().unwrap();
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.extend(["http", url]);
        let mut command = place.command(program, &arguments);
        self.variables(command.env("PORTREEVE_INTEROP", interop).env("PORTREEVE_TOKEN", token));
        command
    }

    /// The client below `exec`, which reaches the server through the bridge
    pub(crate) fn below_exec(
        self,
        place: &Place,
        interop: &Path,
        steps: &Value,
        purpose: &str,
        connector: &str,
    ) -> Command {
        let command = self.command(interop, steps);
        let mut arguments = vec!["exec", "--purpose", purpose, "--"];
        arguments.extend(command.iter().map(String::as_str));
        arguments.extend(["config", "{mcp_config}", connector]);
        let mut command = place.command(crate::support::place::PROGRAM, &arguments);
        // As the SDKs do it by default: nearly nothing of the environment reaches the bridge.
        self.variables(command.env("PORTREEVE_INTEROP", interop).env("PORTREEVE_CLIENT_ENV", "sdk"));
        command
    }

    /// What the client has to know by its environment
    fn variables(self, command: &mut Command) {
        match self {
            Self::TypeScript2(mode) => command.env("PORTREEVE_CLIENT_SDK", "2").env("PORTREEVE_CLIENT_MODE", mode),
            Self::Go(mode) => command.env("PORTREEVE_CLIENT_MODE", mode),
            Self::Python2Legacy => command.env("PORTREEVE_CLIENT_MODE", "legacy"),
            // By it, Java knows how its arguments are written.
            Self::Java => command.env("LC_ALL", "C.UTF-8"),
            Self::TypeScript | Self::Python2 | Self::Python1 => command,
        };
        command.env("PYTHONDONTWRITEBYTECODE", "1");
    }
}

/// A place with the server everything under a purpose that may use some of it
struct House {
    interop: PathBuf,
    place: Place,
    serve: Serve,
    _server: Option<Running>,
}

const OFFICE: &str = r#"about = "Some of everything"
owner = "tests"
[open]
agents = ["assistant"]
users = "none"
[task]
expires_after = "1h"
standing = ["read"]
[[allow]]
name = "echo"
use = ["everything.echo"]
times = 2
where = { message = { any = true } }
[[allow]]
name = "sum"
after = "echo"
use = ["everything.get-sum"]
where = { a = 2, b = { at_most = 10 } }
[[allow]]
name = "weather"
use = ["everything.get-structured-content"]
where = { location = { in = ["New York", "Chicago"] } }
[[allow]]
name = "long"
use = ["everything.trigger-long-running-operation"]
where = { duration = { at_most = 60 }, steps = { any = true } }
"#;

impl House {
    fn new(interop: PathBuf, over_http: bool) -> Self {
        let place = Place::new();
        let program = interop.join(EVERYTHING).display().to_string();
        let server = if over_http {
            place.write("loopback.cjs", LOOPBACK);
            let server =
                Running::start(place.command("node", &["--require", "./loopback.cjs", &program, "streamableHttp"]));
            let port = loop {
                let line = server.lines.next().expect("the server does not listen");
                if let Some(port) = line.strip_prefix("LOOPBACK ") {
                    break port.to_owned();
                }
            };
            place.run(&["connector", "add", "everything", &format!("http://127.0.0.1:{port}/mcp"), "--yes"]).good();
            Some(server)
        } else {
            place.run(&["connector", "add", "everything", "--yes", "--", "node", &program, "stdio"]).good();
            None
        };
        place.write("policy/purposes/office.toml", OFFICE);
        let serve = place.serve(&[]);
        Self { interop, place, serve, _server: server }
    }

    /// The client below `exec`
    fn below_exec(&self, client: Client, steps: &Value) -> Command {
        client.below_exec(&self.place, &self.interop, steps, "office", "everything")
    }

    /// The client over HTTP, with a token
    fn over_http(&self, client: Client, steps: &Value, token: &str) -> Command {
        let url = format!("http://{}/mcp/everything", self.serve.address);
        client.at(&self.place, &self.interop, steps, &url, token)
    }
}

/// Everything that a client prints until it ends, which must be well
#[track_caller]
pub(crate) fn told(command: Command) -> Vec<Value> {
    let ran = crate::support::place::finish(command, "");
    let lines = ran.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{ran:?}"))).collect();
    assert_eq!(ran.code, 0, "{ran:?}");
    lines
}

fn names(list: &Value) -> BTreeSet<&str> {
    list["tools"].as_array().unwrap().iter().map(|tool| tool.as_str().unwrap()).collect()
}

/// The word of a refused call
pub(crate) fn refusal(line: &Value) -> &str {
    line["meta"]["dev.portreeve/refusal"]["word"].as_str().unwrap_or_default()
}

fn steps() -> Value {
    json!([
        { "name": "get-sum", "arguments": { "a": 2, "b": 3 } },
        { "name": "echo", "arguments": { "message": "hello \u{1f600}" } },
        { "name": "get-sum", "arguments": { "a": 2, "b": 3 } },
        { "name": "get-sum", "arguments": { "a": 2, "b": 300 } },
        { "name": "get-sum", "arguments": { "a": "2", "b": 3 } },
        { "name": "get-structured-content", "arguments": { "location": "New York" } },
        { "name": "get-env", "arguments": {} },
        { "name": "no-such-tool", "arguments": {} },
        { "name": "echo", "arguments": { "message": "again" } },
        { "name": "echo", "arguments": { "message": "once too often" } }
    ])
}

#[track_caller]
fn hold(client: Client, lines: &[Value]) {
    let connected = &lines[0]["connected"];
    let newest = [Client::Python2, Client::Go("auto")].contains(&client);
    let spoken: &[_] = if newest { &["2026-07-28"] } else { &["2025-11-25", "2025-06-18"] };
    assert!(spoken.contains(&connected["protocol"].as_str().unwrap()), "{client:?}: {connected}");
    assert_eq!(connected["server"]["name"], "portreeve/everything");
    let listed = names(&lines[1]);
    assert_eq!(listed, BTreeSet::from(["echo", "get-sum", "get-structured-content", "trigger-long-running-operation"]));
    let calls = &lines[2..12];
    assert_eq!(refusal(&calls[0]), "out_of_order", "{client:?}: {}", calls[0]);
    assert_eq!((&calls[1]["isError"], &calls[1]["text"]), (&json!(false), &json!("Echo: hello \u{1f600}")));
    assert!(calls[2]["text"].as_str().unwrap().contains('5'), "{}", calls[2]);
    assert_eq!(refusal(&calls[3]), "argument_outside_task");
    assert_eq!(calls[3]["isError"], true);
    assert!(["arguments_invalid", "argument_outside_task"].contains(&refusal(&calls[4])), "{}", calls[4]);
    assert!(calls[5]["structured"]["temperature"].is_number(), "{}", calls[5]);
    for hidden in &calls[6..8] {
        assert_eq!(hidden["error"]["code"], -32602, "{client:?}: {hidden}");
    }
    assert_eq!(calls[8]["text"], "Echo: again");
    assert_eq!(refusal(&calls[9]), "count_spent");
    assert_eq!(lines.last().unwrap(), &json!({ "closed": true }));
}

/// The client's way through all steps, below `exec` and over HTTP, with the server behind either
fn through(test: &str, client: Client) {
    let Some(folder) = interop(test, &[client.needs(), EVERYTHING]) else { return };
    for over_http in [false, true] {
        let house = House::new(folder.clone(), over_http);
        hold(client, &told(house.below_exec(client, &steps())));
        let task = house.place.json(&["task", "open", "--token", "--purpose", "office"]);
        assert_eq!(task["endpoints"]["everything"], format!("http://{}/mcp/everything", house.serve.address));
        let token = house.place.run(&["task", "token", task["task"].as_str().unwrap()]).good().out;
        hold(client, &told(house.over_http(client, &steps(), token.trim())));
        // What the agents did is on the record: five calls each, all of them settled.
        house.serve.terminate();
        let calls = house.place.record().calls();
        assert_eq!(calls.len(), 8, "{calls:?}");
        assert!(calls.values().all(|call| call.ends == ["ok"]), "{calls:?}");
        house.place.run(&["audit", "verify"]).good();
    }
}

#[test]
fn the_typescript_client_works_through_portreeve() {
    through("the_typescript_client_works_through_portreeve", Client::TypeScript);
}

#[test]
fn the_second_python_client_works_through_portreeve() {
    through("the_second_python_client_works_through_portreeve", Client::Python2);
}

#[test]
fn the_first_python_client_works_through_portreeve() {
    through("the_first_python_client_works_through_portreeve", Client::Python1);
}

#[test]
fn the_go_client_works_through_portreeve() {
    through("the_go_client_works_through_portreeve", Client::Go("auto"));
}

#[test]
fn the_go_client_works_through_portreeve_as_an_older_client() {
    through("the_go_client_works_through_portreeve_as_an_older_client", Client::Go("legacy"));
}

#[test]
fn the_java_client_works_through_portreeve() {
    through("the_java_client_works_through_portreeve", Client::Java);
}

/// A task that is stopped while its client is connected
fn stopped(test: &str, client: Client) {
    let Some(folder) = interop(test, &[client.needs(), EVERYTHING]) else { return };
    let house = House::new(folder, false);
    let steps = json!([
        { "name": "echo", "arguments": { "message": "before" } },
        { "pause": "stop" },
        { "name": "echo", "arguments": { "message": "after" } },
        { "list": true }
    ]);
    let mut running = Running::talking(house.below_exec(client, &steps));
    let next = || {
        let line = running.lines.next().expect("the client ended");
        serde_json::from_str::<Value>(&line).unwrap_or_else(|_| panic!("{line}"))
    };
    let (_connected, _tools, before) = (next(), next(), next());
    assert_eq!(before["text"], "Echo: before", "{before}");
    assert_eq!(next(), json!({ "pause": "stop" }));
    let tasks = house.place.json(&["task", "list"]);
    let task = tasks["tasks"][0]["task"].as_str().unwrap().to_owned();
    assert!(house.serve.stop(&task)["cleared_us"].is_u64());
    running.go_on();
    let next = |running: &Running| serde_json::from_str::<Value>(&running.lines.next().unwrap()).unwrap();
    let (after, list) = (next(&running), next(&running));
    assert_eq!((refusal(&after), &after["isError"]), ("task_over", &json!(true)), "{after}");
    assert_eq!(list["error"]["code"], -31001, "{list}");
    running.end();
    let values = house.place.record().calls();
    assert_eq!(values.len(), 1, "{values:?}");
}

#[test]
fn clients_are_told_that_their_task_is_over() {
    for client in [Client::TypeScript, Client::Python2, Client::Python1, Client::Go("auto"), Client::Java] {
        stopped(&format!("clients_are_told_that_their_task_is_over ({client:?})"), client);
    }
}

#[test]
fn a_token_that_is_not_good_is_an_error_of_http() {
    for client in [Client::TypeScript, Client::Python1, Client::Go("auto"), Client::Java] {
        let test = format!("a_token_that_is_not_good_is_an_error_of_http ({client:?})");
        let Some(folder) = interop(&test, &[client.needs(), EVERYTHING]) else { continue };
        let house = House::new(folder, false);
        let ran = crate::support::place::finish(house.over_http(client, &json!([]), "no.token.atall"), "");
        let line: Value = serde_json::from_str(ran.out.lines().next().unwrap()).unwrap();
        assert_eq!(
            (ran.code, &line["failed"], &line["error"]["status"]),
            (1, &json!("connect"), &json!(401)),
            "{ran:?}"
        );
    }
}

#[test]
fn a_call_that_its_client_cancels_is_waited_for_no_longer() {
    let test = "a_call_that_its_client_cancels_is_waited_for_no_longer";
    let Some(folder) = interop(test, &[SDK, EVERYTHING]) else { return };
    let house = House::new(folder, false);
    let steps = json!([
        { "name": "trigger-long-running-operation", "arguments": { "duration": 60, "steps": 60 }, "cancel": true },
        { "name": "echo", "arguments": { "message": "after" } }
    ]);
    let mut running = Running::talking(house.below_exec(Client::TypeScript, &steps));
    let lines = |running: &Running| serde_json::from_str::<Value>(&running.lines.next().unwrap()).unwrap();
    let (_connected, _tools) = (lines(&running), lines(&running));
    assert_eq!(lines(&running), json!({ "started": "trigger-long-running-operation" }));
    let long = |end: &[&str]| {
        let calls = house.place.record().calls();
        calls.values().any(|call| call.tool.ends_with("long-running-operation") && call.ends == end)
    };
    crate::support::until("it is admitted", || long(&[]));
    running.go_on();
    let cancelled = lines(&running);
    assert!(cancelled["error"]["message"].is_string(), "{cancelled}");
    let after = lines(&running);
    assert_eq!(after["text"], "Echo: after", "{after}");
    assert_eq!(running.end(), 0);
    crate::support::until("it is settled", || long(&["unknown"]));
}

#[test]
fn the_official_file_server_is_kept_to_its_task() {
    let test = "the_official_file_server_is_kept_to_its_task";
    let Some(folder) = interop(test, &[SDK, FILESYSTEM]) else { return };
    let place = Place::new();
    place.write("files/open/a.txt", "for everybody\n");
    place.write("files/closed/b.txt", "for nobody\n");
    let root = fs::canonicalize(place.path().join("files")).unwrap().display().to_string();
    let program = folder.join(FILESYSTEM).display().to_string();
    place.run(&["connector", "add", "files", "--yes", "--", "node", &program, &root]).good();
    place.write(
        "policy/purposes/read-open.toml",
        &format!(
            "about = \"Read what is open\"\nowner = \"tests\"\n[open]\nagents = [\"assistant\"]\nusers = \"none\"\n\
             [task]\nexpires_after = \"1h\"\nstanding = [\"read\"]\n\
             [parameters]\nfolder = {{ type = \"string\" }}\n\
             [[allow]]\nname = \"read\"\nuse = [\"files.read_text_file\"]\nwhere = {{ path = \"{{folder}}\" }}\n\
             [[allow]]\nname = \"look\"\nuse = [\"files.list_directory\"]\nwhere = {{ path = {{ in = [\"{root}/open\"] }} }}\n"
        ),
    );
    let read = |path: &str| json!({ "name": "read_text_file", "arguments": { "path": path } });
    let steps = json!([
        { "name": "list_directory", "arguments": { "path": format!("{root}/open") } },
        { "name": "list_directory", "arguments": { "path": format!("{root}/closed") } },
        read(&format!("{root}/open/a.txt")),
        read(&format!("{root}/closed/b.txt")),
        read(&format!("{root}/open/../closed/b.txt")),
        { "name": "read_text_file", "arguments": { "path": format!("{root}/open/a.txt"), "head": 1 } },
        { "name": "write_file", "arguments": { "path": format!("{root}/open/a.txt"), "content": "changed" } }
    ]);
    let client = Client::TypeScript.command(&folder, &steps);
    let file = format!("folder={root}/open/a.txt");
    let mut arguments = vec!["exec", "--purpose", "read-open", "--param", &file, "--"];
    arguments.extend(client.iter().map(String::as_str));
    arguments.extend(["config", "{mcp_config}", "files"]);
    let mut command = place.command(crate::support::place::PROGRAM, &arguments);
    command.env("PORTREEVE_INTEROP", &folder);
    let lines = told(command);
    assert_eq!(names(&lines[1]), BTreeSet::from(["list_directory", "read_text_file"]));
    let calls = &lines[2..];
    assert!(calls[0]["text"].as_str().unwrap().contains("a.txt"), "{}", calls[0]);
    assert_eq!(refusal(&calls[1]), "argument_outside_task");
    assert_eq!(calls[2]["text"], "for everybody\n", "{}", calls[2]);
    assert_eq!((refusal(&calls[3]), refusal(&calls[4])), ("argument_outside_task", "argument_outside_task"));
    assert_eq!(refusal(&calls[5]), "argument_not_named", "{}", calls[5]);
    assert_eq!(calls[6]["error"]["code"], -32602, "{}", calls[6]);
    assert_eq!(place.read("files/open/a.txt"), "for everybody\n");
}

#[test]
fn a_server_sees_nothing_of_our_environment() {
    let Some(folder) = interop("a_server_sees_nothing_of_our_environment", &[SDK, EVERYTHING]) else { return };
    let house = House::new(folder, false);
    let open =
        OFFICE.replace("everything.echo", "everything.get-env").replace("where = { message = { any = true } }", "");
    house.place.write("policy/purposes/office.toml", &open);
    house.place.run(&["policy", "apply"]).good();
    let mut command = house.below_exec(Client::TypeScript, &json!([{ "name": "get-env", "arguments": {} }]));
    command.env("SECRET_OF_THE_AGENT", "hidden").env("ANTHROPIC_API_KEY", "hidden");
    let lines = told(command);
    let env: Value = serde_json::from_str(lines[2]["text"].as_str().unwrap()).unwrap();
    let known = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"];
    let names: Vec<&String> = env.as_object().unwrap().keys().collect();
    assert!(names.iter().all(|name| known.contains(&name.as_str())), "{names:?}");
}

/// A server that a shipped profile is about
struct Shipped {
    profile: &'static str,
    from: From,
}

/// Where it comes from
enum From {
    Npm {
        program: &'static str,
        arguments: &'static [&'static str],
    },
    Pip {
        program: &'static str,
        arguments: &'static [&'static str],
    },
    /// `cargo xtask setup` does not install it, for this reason
    Elsewhere(&'static str),
}

const SHIPPED: &[Shipped] = &[
    Shipped { profile: "everything", from: From::Npm { program: EVERYTHING, arguments: &["stdio"] } },
    Shipped { profile: "filesystem", from: From::Npm { program: FILESYSTEM, arguments: &["{folder}"] } },
    Shipped {
        profile: "memory",
        from: From::Npm {
            program: "node/node_modules/@modelcontextprotocol/server-memory/dist/index.js",
            arguments: &[],
        },
    },
    Shipped { profile: "fetch", from: From::Pip { program: "venv/bin/mcp-server-fetch", arguments: &[] } },
    Shipped { profile: "git", from: From::Pip { program: "venv/bin/mcp-server-git", arguments: &[] } },
    // Its definitions repeat the zone it believes to be in.
    Shipped {
        profile: "time",
        from: From::Pip { program: "venv/bin/mcp-server-time", arguments: &["--local-timezone=UTC"] },
    },
    Shipped {
        profile: "sqlite",
        from: From::Pip { program: "venv1/bin/mcp-server-sqlite", arguments: &["--db-path", "{folder}/some.db"] },
    },
    Shipped { profile: "github", from: From::Elsewhere("a program in Go, and in no package registry used here") },
    Shipped { profile: "postgres", from: From::Elsewhere("it needs Python 3.12 and a database driver") },
];

const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies");

/// The version of the npm package that this program is in
fn npm_version(program: &Path) -> String {
    let text = fs::read_to_string(program.parent().unwrap().join("../package.json")).unwrap();
    let package: Value = serde_json::from_str(&text).unwrap();
    package["version"].as_str().unwrap().to_owned()
}

/// The version of the Python package that has this program's name
fn pip_version(program: &Path) -> String {
    let name = program.file_name().unwrap().to_str().unwrap().replace('-', "_");
    let lib = program.parent().unwrap().join("../lib");
    let site = fs::read_dir(lib).unwrap().next().unwrap().unwrap().path().join("site-packages");
    let mut names = fs::read_dir(site).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found = names.find_map(|entry| {
        entry.strip_prefix(&format!("{name}-")).and_then(|rest| rest.strip_suffix(".dist-info")).map(str::to_owned)
    });
    found.unwrap()
}

#[test]
fn real_servers_list_what_the_shipped_pins_say() {
    let test = "real_servers_list_what_the_shipped_pins_say";
    for shipped in SHIPPED {
        let name = shipped.profile;
        let (needs, arguments) = match shipped.from {
            From::Npm { program, arguments } | From::Pip { program, arguments } => (program, arguments),
            From::Elsewhere(why) => {
                println!("SKIPPED: {test} ({name}): not installed by the setup: {why}");
                continue;
            }
        };
        let Some(folder) = interop(&format!("{test} ({name})"), &[needs]) else { continue };
        let place = Place::new();
        let path = folder.join(needs);
        let program = path.display().to_string();
        let (version, mut command) = match shipped.from {
            From::Npm { .. } => (npm_version(&path), vec!["node".to_owned(), program]),
            _ => (pip_version(&path), vec![program]),
        };
        let source = fs::read_to_string(format!("{POLICIES}/profiles/{name}.toml")).unwrap();
        let source = source.lines().find(|line| line.starts_with("source = ")).unwrap();
        assert!(source.contains(&format!(" {version}")), "{name}: {version} is installed, and {source}");

        let here = place.path().display().to_string();
        command.extend(arguments.iter().map(|argument| argument.replace("{folder}", &here)));
        // As an operator does it: the shipped profile is copied, the server is asked, its definitions are accepted.
        let profile = fs::read_to_string(format!("{POLICIES}/profiles/{name}.toml")).unwrap();
        place.write(&format!("policy/profiles/{name}.toml"), &profile);
        let reach = format!("command = {command:?}\nprofile = \"{name}\"\n");
        place.write(&format!("policy/connectors/{name}.toml"), &reach);
        place.run(&["connector", "accept", name, "--yes"]).good();
        let by_name = |text: &str| -> BTreeMap<String, Value> {
            let tools: Vec<Value> = serde_json::from_str(text).unwrap();
            tools.into_iter().map(|tool| (tool["name"].as_str().unwrap().to_owned(), tool)).collect()
        };
        let listed = place.read(&format!("policy/pins/{name}.json"));
        let pins = format!("{POLICIES}/pins/{name}.json");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&pins, &listed).unwrap();
        }
        let shipped = fs::read_to_string(pins).unwrap();
        assert!(!by_name(&listed).is_empty());
        // Compared as values first, which tells more when they differ.
        assert_eq!(by_name(&shipped), by_name(&listed), "{name} {version}");
        assert!(shipped == listed, "{name} {version}: accepting writes the same file");
        place.run(&["policy", "check"]).good();
    }
}

#[test]
fn every_shipped_profile_is_held_against_its_server_or_said_to_be_left_out() {
    let of = |folder: &str| -> BTreeSet<String> {
        fs::read_dir(format!("{POLICIES}/{folder}"))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    let known: BTreeSet<String> = SHIPPED.iter().map(|shipped| shipped.profile.to_owned()).collect();
    assert_eq!((of("profiles"), of("pins")), (known.clone(), known));
}
