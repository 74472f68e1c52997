//! The fixture server of `tests/servers/fixture`, and a purpose that may use everything of a connector.

use super::place::{Place, Running, Serve, Task};
use serde_json::Value;
use std::path::{Path, PathBuf};

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/servers/fixture/server.py");

/// What of the folder of foreign programs the fixture needs
pub(crate) const NEEDS: &str = "venv/bin/python";

/// The fixture, over HTTP
pub(crate) struct Fixture {
    /// Where it listens
    pub(crate) url: String,
    _running: Running,
}

impl Fixture {
    /// Starts it; `era` is `legacy`, `modern`, or `both`
    pub(crate) fn start(interop: &Path, era: &str, place: &Place) -> Self {
        let command = command(interop, "http", era);
        let (program, arguments) = command.split_first().unwrap();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = place.command(program, &arguments);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let running = Running::start(command);
        let url = running.lines.next().expect("the fixture does not listen");
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        Self { url, _running: running }
    }
}

/// Its command line; `way` is `http` or `stdio`
pub(crate) fn command(interop: &Path, way: &str, era: &str) -> Vec<String> {
    let python: PathBuf = interop.join(NEEDS);
    // Nothing is written beside the sources.
    [python.display().to_string().as_str(), "-B", SERVER, way, era].map(str::to_owned).to_vec()
}

/// What a purpose has to say of a server beyond its tools
const OPERATIONS: &[(&str, &str)] = &[
    ("resources/read", "where = { uri = { any = true } }\n"),
    ("resources/subscribe", "where = { uri = { any = true } }\n"),
    ("prompts/get", "where = { name = { any = true }, arguments = { any = true } }\n"),
    ("completion/complete", ""),
    ("logging/setLevel", ""),
    ("sampling/createMessage", ""),
    ("elicitation/create", "where = { url = { any = true } }\n"),
    ("roots/list", ""),
];

/// Writes a purpose of the connector's name that may use whatever was accepted of it, with any arguments
pub(crate) fn allow_everything(place: &Place, connector: &str) {
    let pins: Vec<Value> = serde_json::from_str(&place.read(&format!("policy/pins/{connector}.json"))).unwrap();
    let is_operation = |name: &str| OPERATIONS.iter().any(|(method, _)| *method == name) || name == "server/discover";
    let mut text = "about = \"Everything of a connector\"\nowner = \"tests\"\n\
         [open]\nagents = [\"assistant\"]\nusers = \"none\"\n\
         [task]\nexpires_after = \"1h\"\nstanding = [\"read\", \"write\", \"execute\", \"escalate\"]\n"
        .to_owned();
    let mut entry = |name: &str, more: &str| {
        let step = format!("step-{}", text.matches("[[allow]]").count());
        text.push_str(&format!("[[allow]]\nname = \"{step}\"\nuse = [\"{connector}.{name}\"]\n{more}"));
    };
    for tool in &pins {
        let name = tool["name"].as_str().unwrap();
        if is_operation(name) {
            continue;
        }
        let paths =
            tool["inputSchema"]["properties"].as_object().map(|named| named.keys().cloned().collect::<Vec<_>>());
        let any: Vec<_> =
            paths.unwrap_or_default().iter().map(|path| format!("\"{path}\" = {{ any = true }}")).collect();
        entry(name, &if any.is_empty() { String::new() } else { format!("where = {{ {} }}\n", any.join(", ")) });
    }
    // Prompts are accepted like tools, and only where a server has some.
    let has_prompts = pins.iter().any(|pin| pin["name"] == "prompts/get");
    for (method, more) in OPERATIONS.iter().filter(|(method, _)| has_prompts || *method != "prompts/get") {
        entry(method, more);
    }
    place.write(&format!("policy/purposes/{connector}.toml"), &text);
    place.run(&["policy", "apply"]).good();
}

/// A connector of this name at this URL with everything of it accepted and allowed, and a task that may use it
pub(crate) fn open(place: &Place, serve: &Serve, connector: &str, url: &str) -> Task {
    place.run(&["connector", "add", connector, url, "--yes"]).good();
    allow_everything(place, connector);
    serve.open(connector)
}
