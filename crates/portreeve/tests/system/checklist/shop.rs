//! A connector of either era with something of everything, and a task that may use some of it.

use crate::support::{
    place::{Place, Serve, Task},
    until,
    upstream::{DONE, Received, Upstream, Wire, tool},
};
use serde_json::{Value, json};
use std::{
    io::Write as _,
    net::TcpStream,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Portreeve with a connector `shop` and a task that may use some of it
pub(crate) struct House {
    pub(crate) serve: Serve,
    pub(crate) task: Task,
    pub(crate) place: Place,
    pub(crate) shop: Upstream,
    /// Where the connector can go on talking
    pub(crate) open: Open,
}

/// Streams that a connector has begun, each with the message that began it; and how many sessions
#[derive(Clone, Default)]
pub(crate) struct Open(Arc<Mutex<Vec<(Received, TcpStream)>>>, Arc<AtomicUsize>);

impl Open {
    fn all(&self) -> MutexGuard<'_, Vec<(Received, TcpStream)>> {
        self.0.lock().unwrap()
    }

    fn push(&self, received: &Received, wire: &Wire) {
        self.all().push((received.clone(), wire.twin()));
    }

    /// The latest stream that a message of this method began, once it has
    #[track_caller]
    pub(crate) fn of(&self, method: &str) -> (Received, TcpStream) {
        self.begun_by(|received| received.method == method)
    }

    /// The latest stream that such a message began, once it has
    #[track_caller]
    pub(crate) fn begun_by(&self, such: impl Fn(&Received) -> bool) -> (Received, TcpStream) {
        let found = || {
            let all = self.all();
            let (received, stream) = all.iter().rev().find(|(received, _)| such(received))?;
            Some((received.clone(), stream.try_clone().unwrap()))
        };
        until("the connector has begun a stream", || found().is_some());
        found().unwrap()
    }

    /// Returns once nobody reads the latest stream of this method any more
    #[track_caller]
    pub(crate) fn closed(&self, method: &str) {
        let (_, stream) = self.of(method);
        until("nobody reads the stream any more", || (&stream).write_all(b": still there\n\n").is_err());
    }

    /// Whether anybody reads the latest stream of this method
    #[track_caller]
    pub(crate) fn is_read(&self, method: &str) -> bool {
        let (_, stream) = self.of(method);
        stream.set_nonblocking(true).unwrap();
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// A message as an event of a stream
pub(crate) fn event(message: &Value) -> String {
    format!("data: {message}\n\n")
}

/// The tools of the connector
pub(crate) const TOOLS: [&str; 8] = ["act", "slow", "tell", "ask", "once", "pry", "job", "hidden"];

/// What a task under `work` may use
const ALLOWED: &str = r#"
[[allow]]
name = "any"
use = ["NAME.act", "NAME.slow", "NAME.tell", "NAME.ask", "NAME.pry", "NAME.job"]
where = { value = { any = true } }

[[allow]]
name = "once"
use = ["NAME.once"]
times = 1
where = { value = { any = true } }

[[allow]]
name = "read"
use = ["NAME.resources/read", "NAME.resources/subscribe"]
where = { uri = { prefix = "file:///NAME/open/" } }

[[allow]]
name = "greet"
use = ["NAME.prompts/get"]
where = { name = "greet", arguments = { any = true } }

[[allow]]
name = "help"
use = ["NAME.completion/complete", "NAME.logging/setLevel"]

[[allow]]
name = "form"
use = ["NAME.elicitation/create"]
where = { "answer.content.iban" = { absent = true } }
"#;

/// A server that plays this connector; `first` goes before what it does by itself
pub(crate) fn connector(
    name: &'static str,
    modern: bool,
    open: &Open,
    first: impl Fn(&Received, &mut Wire) -> bool + Send + Sync + 'static,
) -> Upstream {
    let open = open.clone();
    let tools: Vec<&str> = TOOLS.to_vec();
    let upstream = Upstream::http(&tools, move |received, wire| {
        first(received, wire) || plays(name, modern, &open, received, wire)
    });
    let mut tools: Vec<Value> = TOOLS.into_iter().map(tool).collect();
    tools[0] = act();
    upstream.offer(tools);
    upstream
}

/// A definition whose argument is mirrored in a header, and that says that it only reads
pub(crate) fn act() -> Value {
    json!({
        "name": "act", "description": "Acts", "annotations": { "readOnlyHint": true },
        "inputSchema": { "type": "object", "properties": { "value": { "type": "string", "x-mcp-header": "Value" } } }
    })
}

fn plays(name: &str, modern: bool, open: &Open, received: &Received, wire: &mut Wire) -> bool {
    let params = received.json()["params"].clone();
    let capabilities = json!({
        "tools": { "listChanged": true }, "prompts": {}, "resources": { "subscribe": true, "listChanged": true },
        "completions": {}, "logging": {}, "extensions": { "io.modelcontextprotocol/tasks": {}, "com.example/odd": {} }
    });
    let info = json!({ "name": name, "version": "1" });
    let result = match received.method.as_str() {
        "server/discover" if modern => json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": capabilities,
            "ttlMs": 3_600_000, "cacheScope": "public",
            "_meta": { "io.modelcontextprotocol/serverInfo": info }
        }),
        "initialize" if !modern => {
            wire.session = Some(format!("session-of-{name}-{}", open.1.fetch_add(1, Ordering::Relaxed)));
            json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info })
        }
        "" if received.line.starts_with("GET ") && !modern => {
            wire.stream();
            open.push(received, wire);
            return true;
        }
        "" => return answered(open, received),
        "prompts/list" => json!({ "prompts": [{ "name": "greet" }, { "name": "secret" }] }),
        "prompts/get" => json!({ "messages": [], "description": params["name"] }),
        "resources/list" => {
            let resource = |uri: &str| json!({ "uri": format!("file:///{name}/{uri}"), "name": uri });
            if params["cursor"] == "" {
                json!({ "resources": [resource("open/b"), resource("closed/b")] })
            } else {
                json!({ "resources": [resource("closed/a"), resource("open/a")], "nextCursor": "" })
            }
        }
        "resources/templates/list" => {
            let template = format!("file:///{name}/open/{{id}}");
            json!({ "resourceTemplates": [{ "uriTemplate": template, "name": "any" }] })
        }
        "resources/read" => json!({
            "contents": [{ "uri": params["uri"], "text": "read" }], "ttlMs": 3_600_000, "cacheScope": "public"
        }),
        "completion/complete" => json!({ "completion": { "values": [params["ref"]["name"]] } }),
        "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" if !modern => json!({}),
        "subscriptions/listen" if modern => {
            wire.stream();
            let mut meta = json!({});
            meta["io.modelcontextprotocol/subscriptionId"] = received.json()["id"].clone();
            let acknowledged = json!({
                "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                "params": { "_meta": meta, "notifications": params["notifications"] }
            });
            wire.raw(event(&acknowledged).as_bytes());
            open.push(received, wire);
            return true;
        }
        "tasks/get" | "tasks/cancel" if modern => return false,
        "tools/call" => return calls(modern, open, received, wire),
        _ => return false,
    };
    wire.answer(&result.to_string());
    true
}

/// What the connector asks: its method and its parameters
fn question(received: &Received) -> Value {
    match (received.tool.as_str(), received.value.as_str()) {
        ("pry", "roots") => json!({ "method": "roots/list", "params": {} }),
        ("pry", _) => json!({ "method": "elicitation/create", "params": {
            "mode": "url", "message": "Go there", "elicitationId": "e", "url": "https://elsewhere.example/"
        } }),
        _ => json!({ "method": "elicitation/create", "params": {
            "mode": "form", "message": "Who are you?",
            "requestedSchema": { "type": "object", "properties": { "name": { "type": "string" } } }
        } }),
    }
}

fn calls(modern: bool, open: &Open, received: &Received, wire: &mut Wire) -> bool {
    let params = received.json()["params"].clone();
    match received.tool.as_str() {
        "slow" => open.push(received, wire),
        "tell" => {
            wire.stream();
            let told =
                |method: &str, params: Value| event(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
            let token = &params["_meta"]["progressToken"];
            for done in [1, 2] {
                let progress = json!({ "progressToken": token, "progress": done });
                wire.raw(told("notifications/progress", progress).as_bytes());
            }
            for level in ["debug", "error"] {
                wire.raw(told("notifications/message", json!({ "level": level, "data": level })).as_bytes());
            }
            let result: Value = serde_json::from_str(DONE).unwrap();
            let id: Value = serde_json::from_str(&wire.id).unwrap();
            wire.raw(event(&json!({ "jsonrpc": "2.0", "id": id, "result": result })).as_bytes());
            wire.close();
        }
        "ask" | "once" | "pry" if modern => {
            if params["inputResponses"]["who"].is_object() {
                let text = format!("{} {}", params["requestState"], params["inputResponses"]["who"]["content"]["name"]);
                wire.answer(&json!({ "content": [{ "type": "text", "text": text }] }).to_string());
            } else {
                let asks = json!({ "who": question(received) });
                let state = json!("the server's own");
                let result = json!({ "resultType": "input_required", "inputRequests": asks, "requestState": state });
                wire.answer(&result.to_string());
            }
        }
        "ask" | "once" | "pry" => {
            wire.stream();
            open.push(received, wire);
            let mut asks = question(received);
            asks["jsonrpc"] = json!("2.0");
            asks["id"] = json!("who");
            wire.raw(event(&asks).as_bytes());
        }
        _ => return false,
    }
    true
}

/// The agent's answer has come to a connector that asks on the stream of a call
fn answered(open: &Open, received: &Received) -> bool {
    let answer = received.json();
    if answer["id"] == "who" {
        let (asked, mut stream) = open.of("tools/call");
        let name = &answer["result"]["content"]["name"];
        let text = format!("\"the server's own\" {name}{}", if name.is_null() { " nothing" } else { "" });
        let result = json!({ "content": [{ "type": "text", "text": text }] });
        let told = json!({ "jsonrpc": "2.0", "id": asked.json()["id"], "result": result });
        drop(stream.write_all(event(&told).as_bytes()));
        drop(stream.shutdown(std::net::Shutdown::Write));
    }
    false
}

/// Writes connector files, and a purpose `work` that may use of each what [`ALLOWED`] says
pub(crate) fn allow(place: &Place, connectors: &[(&str, &Upstream)]) {
    let entries: String = connectors.iter().map(|(name, _)| allowed(name, connectors.len() > 1)).collect();
    for (name, upstream) in connectors {
        place.connector(name, upstream, "");
        let (file, act) = (format!("policy/connectors/{name}.toml"), "[tools.act]\nclass = \"write\"\n");
        let role = format!("{act}arguments = {{ value = \"selector\" }}\n");
        place.write(&file, &place.read(&file).replace(act, &role));
    }
    place.write("policy/purposes/work.toml", &(PURPOSE.to_owned() + &entries));
    let act = connectors[0].0;
    let other = format!(
        "\n[[allow]]\nname = \"act\"\nuse = [\"{act}.act\", \"{act}.ask\"]\nwhere = {{ value = {{ any = true }} }}\n"
    );
    place.write("policy/purposes/other.toml", &(PURPOSE.to_owned() + &other));
}

fn allowed(name: &str, several: bool) -> String {
    let entries = ALLOWED.replace("NAME", name);
    // Steps of one purpose have names of their own.
    if several { entries.replace("\nname = \"", &format!("\nname = \"{name}-")) } else { entries }
}

const PURPOSE: &str = "about = \"Whatever a test needs\"\nowner = \"tests\"\n\n\
     [open]\nagents = [\"assistant\"]\nusers = \"none\"\n\n\
     [task]\nexpires_after = \"1h\"\nstanding = [\"read\", \"write\", \"execute\"]\n";

impl House {
    /// With a connector of this era
    pub(crate) fn new(modern: bool) -> Self {
        Self::with(modern, |_, _| false)
    }

    /// With a connector of this era that does something else first
    pub(crate) fn with(modern: bool, first: impl Fn(&Received, &mut Wire) -> bool + Send + Sync + 'static) -> Self {
        let open = Open::default();
        let shop = connector("shop", modern, &open, first);
        let place = Place::new();
        allow(&place, &[("shop", &shop)]);
        let serve = place.serve(&["shop"]);
        let task = serve.open("work");
        Self { serve, task, place, shop, open }
    }

    /// Nothing of what was sent has reached the connector as a call
    #[track_caller]
    pub(crate) fn nothing_came_through(&self) {
        assert_eq!(self.shop.values(), Vec::<String>::new());
    }
}
