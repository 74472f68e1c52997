//! What the connectors offer, as it was accepted: definitions, and validators made of them once.

use crate::door::{Door, TheEngine};
use portreeve_core::{
    hash::Hash,
    json::{Json, Limits, scan_distinct},
    log::Log as _,
    names::{Name, Tool, ToolName},
    operation::{INSTRUCTIONS, Operation},
    policy::{Bundle, Class},
    proof::Index,
    request::Fit,
    state::Pin,
    value::Value,
};
use portreeve_mcp::{
    can::{TASKS, UI},
    mirror::{Mirrored, mirrored},
};
use portreeve_rules::{Definition as Described, Validator, operation};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};
use tokio::sync::watch;

/// The current policy and the accepted definitions, for reading
#[derive(Debug, Default)]
pub struct Catalogue {
    // Held only to take a reference out or put another one in.
    view: RwLock<Arc<View>>,
    /// How often the view changed
    changes: watch::Sender<u64>,
}

/// One version of both
#[derive(Debug, Default)]
pub struct View {
    /// The group of the record that it was read at
    n: u64,
    /// The current policy
    pub bundle: Option<Arc<Bundle>>,
    /// Its agents, by how they prove themselves
    pub agents: Arc<Index>,
    tools: BTreeMap<Tool, Arc<Definition>>,
}

/// An accepted definition
#[derive(Debug)]
pub struct Definition {
    /// Its digest
    pub digest: Hash,
    blob: Hash,
    /// Exactly as the connector wrote it
    pub raw: String,
    validator: Result<Validator, String>,
    /// Arguments that a modern client repeats in headers
    pub mirrored: Vec<Mirrored>,
    made: Made,
}

/// What stands in a made definition
#[derive(Debug, Default)]
struct Made {
    /// Prompts by name, each as it was written
    prompts: Vec<(String, String)>,
    /// What a server says of itself
    discovered: Discovered,
}

/// What was accepted of what a server says of itself
#[derive(Clone, Debug, Default)]
pub struct Discovered {
    /// How it wants to be used
    pub instructions: String,
    /// Whether its tools may answer with MCP tasks
    pub tasks: bool,
    /// Whether its tools have user interfaces (MCP Apps)
    pub ui: bool,
}

impl Catalogue {
    /// The version of this moment
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Told after each change of the view
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Reads both anew, after a change of the registry
    pub async fn refresh(&self, door: &Door) {
        let before = self.view();
        let Some(read) = door.ask(move |engine| Read::of(engine, &before)).await else { return };
        // Made into validators here, off the door's thread.
        let view = Arc::new(read.into_view(&self.view()));
        let mut current = self.view.write().unwrap_or_else(PoisonError::into_inner);
        // Two changes close to each other may be read in one order and arrive in the other.
        if view.n >= current.n {
            *current = view;
        }
        drop(current);
        self.changes.send_modify(|changes| *changes += 1);
    }
}

/// What the door's thread reads: no more than it must
struct Read {
    n: u64,
    bundle: Option<Arc<Bundle>>,
    pins: Vec<(Tool, Pin)>,
    raw: BTreeMap<Hash, Vec<u8>>,
}

impl Read {
    fn of(engine: &TheEngine, before: &View) -> Self {
        let state = engine.state();
        let bundle = engine.shelf().current(state).cloned();
        let connectors = bundle.iter().flat_map(|bundle| bundle.connectors.keys());
        let pins: Vec<(Tool, Pin)> = connectors
            .flat_map(|connector| {
                let tool = |name: &ToolName| Tool { connector: connector.clone(), name: name.clone() };
                state.pins_of(connector).map(move |(name, pin)| (tool(name), *pin))
            })
            .collect();
        let new = pins.iter().filter(|(tool, pin)| before.known(tool, *pin).is_none());
        let raw = new.filter_map(|(_, pin)| Some((pin.blob, engine.log().blob(pin.blob).ok().flatten()?))).collect();
        Self { n: state.head().n, bundle, pins, raw }
    }

    fn into_view(self, before: &View) -> View {
        let definition = |(tool, pin): (Tool, Pin)| {
            let known = before.known(&tool, pin);
            let definition = known.or_else(|| Definition::read(pin, self.raw.get(&pin.blob)?).map(Arc::new))?;
            Some((tool, definition))
        };
        let same =
            before.bundle.as_ref().map(|bundle| bundle.digest) == self.bundle.as_ref().map(|bundle| bundle.digest);
        let agents = match &self.bundle {
            Some(bundle) if !same => Arc::new(Index::of(&bundle.agents)),
            _ => Arc::clone(&before.agents),
        };
        View { n: self.n, bundle: self.bundle, agents, tools: self.pins.into_iter().filter_map(definition).collect() }
    }
}

impl View {
    fn known(&self, tool: &Tool, pin: Pin) -> Option<Arc<Definition>> {
        self.tools.get(tool).filter(|known| known.digest == pin.accepted && known.blob == pin.blob).cloned()
    }

    /// The definition of a tool
    #[must_use]
    pub fn definition(&self, tool: &Tool) -> Option<&Definition> {
        self.tools.get(tool).map(AsRef::as_ref)
    }

    /// How arguments fit the accepted definition of a tool
    #[must_use]
    pub fn fit(&self, tool: &Tool, arguments: &Value) -> Fit {
        // What Portreeve itself defines needs no connector's word.
        if let Some(operation) = tool.operation().filter(|operation| !operation.is_pinned()) {
            let error = operation::validator(operation).fit(arguments);
            return Fit { pin: operation::definition(operation).digest, error };
        }
        let Some(definition) = self.definition(tool) else { return Fit { pin: Hash::default(), error: None } };
        let error = match &definition.validator {
            Ok(validator) => validator.fit(arguments),
            Err(why) => Some(why.clone()),
        };
        Fit { pin: definition.digest, error }
    }

    /// What was accepted of what a connector says of itself
    #[must_use]
    pub fn discover(&self, connector: &Name) -> Option<&Discovered> {
        Some(&self.made(connector, INSTRUCTIONS)?.made.discovered)
    }

    /// The accepted prompts of a connector, each exactly as it wrote it, by name
    #[must_use]
    pub fn prompts(&self, connector: &Name) -> Vec<(String, String)> {
        self.made(connector, Operation::GetPrompt.as_str())
            .map(|definition| definition.made.prompts.clone())
            .unwrap_or_default()
    }

    /// The digest of the accepted prompts of a connector
    #[must_use]
    pub fn prompts_digest(&self, connector: &Name) -> Option<Hash> {
        Some(self.made(connector, Operation::GetPrompt.as_str())?.digest)
    }

    /// How many tools of a connector are accepted
    #[must_use]
    pub fn offered(&self, connector: &Name) -> usize {
        self.tools.keys().filter(|tool| tool.connector == *connector && tool.name.is_tool()).count()
    }

    fn made(&self, connector: &Name, name: &str) -> Option<&Definition> {
        self.definition(&Tool { connector: connector.clone(), name: name.parse().ok()? })
    }

    /// How long a call of a connector may take
    #[must_use]
    pub fn timeout_ms(&self, connector: &Name) -> i64 {
        let connector = self.bundle.as_ref().and_then(|bundle| bundle.connectors.get(connector));
        connector.map_or(60_000, |connector| connector.timeout_ms)
    }

    /// Of which class a tool is, where no variant of it says otherwise
    #[must_use]
    pub fn class(&self, tool: &Tool) -> Class {
        let profile = self.bundle.as_ref().and_then(|bundle| bundle.profile(tool));
        profile.map_or(Class::Escalate, |profile| profile.class)
    }

    /// The definitions of these tools, each exactly as its connector wrote it
    pub fn raw<'a>(&'a self, connector: &'a Name, tools: &'a [(ToolName, Hash)]) -> impl Iterator<Item = &'a str> + 'a {
        tools.iter().filter_map(|(name, digest)| {
            let definition = self.definition(&Tool { connector: connector.clone(), name: name.clone() })?;
            (definition.digest == *digest).then_some(definition.raw.as_str())
        })
    }
}

impl Definition {
    fn read(pin: Pin, raw: &[u8]) -> Option<Self> {
        let raw = String::from_utf8(raw.to_vec()).ok()?;
        let validator = Described::read(raw.as_bytes()).and_then(|described| Validator::new(&described));
        let validator = validator.map_err(|refused| refused.to_string());
        let (mirrored, made) = parts(&raw).unwrap_or_default();
        Some(Self { digest: pin.accepted, blob: pin.blob, raw, validator, mirrored, made })
    }
}

fn parts(raw: &str) -> Option<(Vec<Mirrored>, Made)> {
    let json = scan_distinct(raw.as_bytes(), &Limits::DEFAULT).ok()?;
    let mirrored = json.get("inputSchema").and_then(|schema| mirrored(schema).ok()).unwrap_or_default();
    let prompts = json.get("prompts").and_then(Json::as_object).unwrap_or_default().iter();
    let prompts = prompts.map(|prompt| (prompt.key.to_string(), prompt.value.raw().to_owned())).collect();
    let has = |id: &str| json.get("extensions").is_some_and(|extensions| extensions.get(id).is_some());
    let discovered = Discovered {
        instructions: json.get("description").and_then(Json::as_str).unwrap_or_default().to_owned(),
        tasks: has(TASKS),
        ui: has(UI),
    };
    Some((mirrored, Made { prompts, discovered }))
}
