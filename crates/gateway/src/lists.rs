//! Discovery: what a task could use, as the client may see it.
//!
//! Tools and prompts come from the definitions that were accepted, resources and templates from the connector itself;
//! each entry is shown only if the purpose could let it through. Nothing of it is a use, and it is recorded apart.

use crate::{
    catalogue::Catalogue,
    client::Client,
    door::Door,
    elevating,
    endpoint::At,
    fate::Fate,
    held::Holds,
    links::{Links, Unready},
    outlet::Last,
    settings::{TTL_MS_MAX, answer_limits},
    streams::Seen,
    using::SEPARATOR,
};
use portreeve_core::{
    json::{Json, scan_distinct},
    names::{Name, RunId, Tool, ToolName},
    operation::Operation,
    reason::{Reason, Word},
    request::{Looked, Request},
    value::Value,
};
use portreeve_identity::seal::Sealer;
use portreeve_mcp::{
    can::{TASKS, UI},
    edit::{Edit, quoted},
    message::Message,
    method::Method,
    reply,
    translate::{self, ToClient},
    version::{Era, Version},
};
use portreeve_upstream::clock::SteadyClock;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Answers what there is
#[derive(Clone, Debug)]
pub struct Lists {
    /// The door
    pub door: Door,
    /// Accepted definitions
    pub catalogue: Arc<Catalogue>,
    /// Links to connectors
    pub links: Arc<Links>,
    /// Seals cursors
    pub sealer: Arc<Sealer>,
    /// The clock
    pub clock: SteadyClock,
    /// Questions to people
    pub holds: Arc<Holds>,
}

/// What a task could use of one connector
#[derive(Clone, Debug, Default)]
struct Usable {
    tools: Vec<(ToolName, portreeve_core::hash::Hash)>,
    operations: BTreeSet<Operation>,
}

/// Where a list goes on
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    run: RunId,
    connector: Name,
    /// Of which list
    method: String,
    /// The connector's own; an agent cannot make one up
    cursor: Option<String>,
}

/// What is said of an endpoint in the handshake
#[derive(Clone, Debug)]
pub struct Hello {
    /// What a task could use beside tools
    pub operations: BTreeSet<Operation>,
    /// How it is to be used: ours, and the accepted ones of its connectors
    pub instructions: String,
    /// Whether a tool may have a user interface
    pub ui: bool,
}

impl Hello {
    /// Whether a task could use this
    #[must_use]
    pub fn has(&self, operation: Operation) -> bool {
        self.operations.contains(&operation)
    }

    /// The capabilities, as a client of this era reads them
    #[must_use]
    pub fn capabilities(&self, era: Era) -> serde_json::Value {
        let mut all = json!({ "tools": { "listChanged": true } });
        let mut add = |key: &str, value: serde_json::Value| {
            if let Some(all) = all.as_object_mut() {
                all.insert(key.to_owned(), value);
            }
        };
        if self.has(Operation::GetPrompt) {
            add("prompts", json!({ "listChanged": true }));
        }
        if self.has(Operation::ReadResource) || self.has(Operation::Subscribe) {
            add("resources", json!({ "subscribe": self.has(Operation::Subscribe) }));
        }
        if self.has(Operation::Complete) {
            add("completions", json!({}));
        }
        if self.has(Operation::SetLevel) || era == Era::Modern {
            add("logging", json!({}));
        }
        // What waits for people is a task too, whatever its connector has.
        let known = [(TASKS, era == Era::Modern), (UI, self.ui)];
        let extensions = known.into_iter().filter(|(_, has)| *has).map(|(id, _)| (id.to_owned(), json!({})));
        let extensions: serde_json::Map<_, _> = extensions.collect();
        if !extensions.is_empty() {
            add("extensions", extensions.into());
        }
        all
    }
}

const KIND: &str = "cursor";
/// How long a connector may take to list
const WITHIN: Duration = Duration::from_secs(60);

/// What a model is told about the gateway
const INSTRUCTIONS: &str = "Every call is checked against the task that you work on. Only what the task may use is \
     listed. A refused call says why and what to do instead; do not repeat it unchanged.";

impl Lists {
    /// What is said of an endpoint in the handshake
    ///
    /// # Errors
    /// The task may not act at all.
    pub async fn greet(&self, run: RunId, at: &At) -> Result<Hello, Vec<Reason>> {
        let connectors = self.connectors(run, at).await?;
        let view = self.catalogue.view();
        let operations: BTreeSet<Operation> =
            connectors.iter().flat_map(|(_, usable)| usable.operations.iter().copied()).collect();
        let mut instructions = vec![INSTRUCTIONS.to_owned()];
        let mut ui = false;
        for (connector, _) in &connectors {
            let Some(accepted) = view.discover(connector) else { continue };
            ui |= accepted.ui;
            // What a server says of itself is said as what was accepted of it, under its name.
            if !accepted.instructions.is_empty() {
                instructions.push(format!("{connector}: {}", accepted.instructions));
            }
        }
        Ok(Hello { operations, instructions: instructions.join("\n\n"), ui })
    }

    /// Answers one of the four lists
    pub async fn list(&self, client: &Client, at: &At, method: Method, id: &str, cursor: Option<&str>) -> Last {
        let connectors = match self.connectors(client.run, at).await {
            Ok(connectors) => connectors,
            Err(reasons) => return Last::ok(reply::refused(id, &reasons)),
        };
        let answer = match method {
            Method::ListTools | Method::ListPrompts => {
                // These are always whole, so no cursor was ever given out.
                if cursor.is_some() {
                    return Last::ok(invalid_cursor(id));
                }
                let mut entries = Vec::new();
                for (connector, usable) in &connectors {
                    let (shown, hidden) = match method {
                        Method::ListTools => self.tools(connector, usable, at, client.version),
                        _ => self.prompts(client.run, connector, usable, at).await,
                    };
                    self.looked(client.run, connector, method, shown.len(), hidden);
                    entries.extend(shown);
                }
                if method == Method::ListTools && self.holds.task_of(client.run).await.1 {
                    entries.push(elevating::definition(at));
                }
                listed(id, method, client.version, &entries, None)
            }
            _ => return self.asked_for(client, at, method, id, cursor, &connectors).await,
        };
        Last::ok(answer)
    }

    /// Whether a task sees this tool
    pub async fn has_tool(&self, run: RunId, tool: &Tool) -> bool {
        let connectors = self.connectors(run, &At::One(tool.connector.clone())).await.unwrap_or_default();
        connectors.iter().any(|(_, usable)| usable.tools.iter().any(|(name, _)| *name == tool.name))
    }

    /// The connectors of an endpoint that a task could use something of
    pub async fn names(&self, run: RunId, at: &At) -> Vec<Name> {
        self.connectors(run, at).await.unwrap_or_default().into_iter().map(|(connector, _)| connector).collect()
    }

    /// What a task can see at this moment
    pub async fn seen(&self, run: RunId, at: &At) -> Seen {
        let mut seen = Seen::default();
        let view = self.catalogue.view();
        for (connector, usable) in self.connectors(run, at).await.unwrap_or_default() {
            if usable.operations.contains(&Operation::GetPrompt) {
                seen.prompts.extend(view.prompts_digest(&connector).map(|digest| (connector.clone(), digest)));
            }
            seen.tools.insert(connector, usable.tools);
        }
        seen
    }

    /// The connector whose resource this is, where an endpoint has several
    pub async fn of_uri(&self, run: RunId, uri: &str) -> Option<Name> {
        let connectors = self.connectors(run, &At::All).await.ok()?;
        let arguments = arguments(uri);
        let mut of = None;
        for (connector, usable) in connectors {
            if usable.operations.contains(&Operation::ReadResource)
                && self.visible(run, &connector, Operation::ReadResource, vec![arguments.clone()]).await == [true]
                && of.replace(connector).is_some()
            {
                // Two that could be meant are none: the endpoint of one connector says which.
                return None;
            }
        }
        of
    }

    fn tools(&self, connector: &Name, usable: &Usable, at: &At, to: Version) -> (Vec<String>, usize) {
        let view = self.catalogue.view();
        // What is called like a tool of ours could never be called.
        let named = |name: &ToolName| match at {
            At::One(_) => name.as_str() == elevating::name(at),
            At::All => format!("{connector}{SEPARATOR}{name}") == elevating::name(at),
        };
        let tools: Vec<_> = usable.tools.iter().filter(|(name, _)| !named(name)).cloned().collect();
        let raw = view.raw(connector, &tools).map(|raw| prefixed(&translate::definition(raw, to), connector, at));
        let raw: Vec<String> = raw.collect();
        let hidden = view.offered(connector).saturating_sub(raw.len());
        (raw, hidden)
    }

    async fn prompts(&self, run: RunId, connector: &Name, usable: &Usable, at: &At) -> (Vec<String>, usize) {
        let prompts = self.catalogue.view().prompts(connector);
        if !usable.operations.contains(&Operation::GetPrompt) {
            return (Vec::new(), prompts.len());
        }
        let named = |name: &String| BTreeMap::from([("name".to_owned(), Value::String(name.clone()))]);
        let candidates = prompts.iter().map(|(name, _)| named(name)).collect();
        let visible = self.visible(run, connector, Operation::GetPrompt, candidates).await;
        let all = prompts.len();
        let shown: Vec<String> = prompts
            .into_iter()
            .zip(visible)
            .filter(|(_, visible)| *visible)
            .map(|((_, raw), _)| prefixed(&raw, connector, at))
            .collect();
        let hidden = all.saturating_sub(shown.len());
        (shown, hidden)
    }

    /// A page of one connector's resources or templates
    async fn asked_for(
        &self,
        client: &Client,
        at: &At,
        method: Method,
        id: &str,
        cursor: Option<&str>,
        connectors: &[(Name, Usable)],
    ) -> Last {
        let reads = |usable: &Usable| usable.operations.contains(&Operation::ReadResource);
        let mut left = connectors.iter().filter(|(_, usable)| reads(usable)).map(|(connector, _)| connector);
        let mut own = None;
        if let Some(cursor) = cursor {
            let opened = self.sealer.open(KIND, cursor);
            let opened: Option<Cursor> = opened.and_then(|text| serde_json::from_slice(&text).ok());
            let Some(opened) = opened.filter(|opened| opened.run == client.run && opened.method == method.as_str())
            else {
                return Last::ok(invalid_cursor(id));
            };
            while left.clone().next().is_some_and(|connector| *connector != opened.connector) {
                left.next();
            }
            own = opened.cursor;
        }
        let mut gone = None;
        while let Some(connector) = left.next() {
            let page = match self.page(client, connector, method, own.take().as_deref()).await {
                Ok(page) => page,
                // One that is gone does not hide the others.
                Err(last) if at == &At::All => {
                    gone = Some(last);
                    continue;
                }
                Err(last) => return last(id),
            };
            let next = match (&page.next, left.next()) {
                (Some(cursor), _) => Some((connector, Some(cursor.clone()))),
                (None, Some(after)) => Some((after, None)),
                (None, None) => None,
            };
            let next = next.and_then(|(connector, cursor)| {
                let method = method.as_str().to_owned();
                let cursor = Cursor { run: client.run, connector: connector.clone(), method, cursor };
                self.sealer.seal(KIND, &serde_json::to_vec(&cursor).ok()?)
            });
            return Last::ok(match at {
                At::One(_) => page.answer(id, client, method, next.as_deref()),
                At::All => listed(id, method, client.version, &page.shown, next.as_deref()),
            });
        }
        match gone {
            // Nothing was shown before either.
            Some(last) if cursor.is_none() => last(id),
            _ => Last::ok(listed(id, method, client.version, &[], None)),
        }
    }

    async fn page(
        &self,
        client: &Client,
        connector: &Name,
        method: Method,
        cursor: Option<&str>,
    ) -> Result<Page, Box<dyn FnOnce(&str) -> Last + Send>> {
        let unreachable = |why: String| -> Box<dyn FnOnce(&str) -> Last + Send> {
            let era = client.era();
            Box::new(move |id| Last::ok(Fate::Unreachable(why).told(id, method, era)))
        };
        let link = match self.links.look(client.run, connector, client.can).await {
            Ok(linked) => linked.link,
            Err(Unready::Refused(reasons)) => return Err(Box::new(move |id| Last::ok(reply::refused(id, &reasons)))),
            Err(Unready::Unreachable(why)) => return Err(unreachable(why)),
        };
        let bytes = link.look(method, cursor, WITHIN).await.map_err(|unready| unreachable(unready.to_string()))?;
        let page = Page::read(bytes, method, link.version()).map_err(unreachable)?;
        let candidates: Vec<BTreeMap<String, Value>> = match method {
            Method::ListResources => page.uris.iter().map(|uri| arguments(uri)).collect(),
            // A template stands for many resources: it is shown to whoever may read some.
            _ => Vec::new(),
        };
        let visible = match method {
            Method::ListResources => self.visible(client.run, connector, Operation::ReadResource, candidates).await,
            _ => vec![true; page.entries.len()],
        };
        let page = page.only(&visible);
        self.looked(client.run, connector, method, page.shown.len(), page.entries.len() - page.shown.len());
        Ok(page)
    }

    async fn connectors(&self, run: RunId, at: &At) -> Result<Vec<(Name, Usable)>, Vec<Reason>> {
        let names: Vec<Name> = match at {
            At::One(connector) => vec![connector.clone()],
            At::All => {
                let view = self.catalogue.view();
                view.bundle.iter().flat_map(|bundle| bundle.connectors.keys().cloned()).collect()
            }
        };
        let (clock, one) = (self.clock.read(), matches!(at, At::One(_)));
        let listed = self.door.ask(move |engine| {
            let listed = names.into_iter().map(|name| (engine.listed(run, &name, clock), name));
            listed.collect::<Vec<_>>()
        });
        let listed = listed.await.ok_or_else(|| vec![Reason::new(Word::RecordUnavailable, "record")])?;
        let mut found = Vec::new();
        let mut refused = None;
        for (listed, name) in listed {
            match listed {
                Ok(listed) if one || !listed.tools.is_empty() || !listed.operations.is_empty() => {
                    found.push((name, Usable { tools: listed.tools, operations: listed.operations }));
                }
                Ok(_) => {}
                Err(reasons) => refused = Some(reasons),
            }
        }
        match refused {
            // One connector that was stopped does not hide the others.
            Some(reasons) if found.is_empty() => Err(reasons),
            _ => Ok(found),
        }
    }

    async fn visible(
        &self,
        run: RunId,
        connector: &Name,
        operation: Operation,
        candidates: Vec<BTreeMap<String, Value>>,
    ) -> Vec<bool> {
        let Ok(name) = operation.as_str().parse() else { return Vec::new() };
        let (tool, clock) = (Tool { connector: connector.clone(), name }, self.clock.read());
        let visible = self.door.ask(move |engine| engine.visible(run, &tool, &candidates, clock)).await;
        visible.and_then(Result::ok).unwrap_or_default()
    }

    fn looked(&self, run: RunId, connector: &Name, method: Method, shown: usize, hidden: usize) {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let looked = Looked {
            run,
            connector: connector.clone(),
            method: method.as_str().to_owned(),
            shown: count(shown),
            hidden: count(hidden),
        };
        self.door.later(Request::Looked(looked));
    }
}

/// One page of a list of our own making
fn listed(id: &str, method: Method, to: Version, entries: &[String], next: Option<&str>) -> Vec<u8> {
    let key = match method {
        Method::ListTools => "tools",
        Method::ListPrompts => "prompts",
        Method::ListResources => "resources",
        _ => "resourceTemplates",
    };
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    // What a task may see can change with the policy at any moment.
    reply::list(id, to.era(), key, &entries, next, 0)
}

fn arguments(uri: &str) -> BTreeMap<String, Value> {
    BTreeMap::from([("uri".to_owned(), Value::String(uri.to_owned()))])
}

fn invalid_cursor(id: &str) -> Vec<u8> {
    reply::error(Some(id), -32_602, "this cursor was not given out here", None)
}

/// A definition under the name that the endpoint gives it
fn prefixed(raw: &str, connector: &Name, at: &At) -> String {
    if matches!(at, At::One(_)) {
        return raw.to_owned();
    }
    let Ok(json) = scan_distinct(raw.as_bytes(), &answer_limits()) else { return raw.to_owned() };
    let Some(name) = json.get("name").and_then(Json::as_str) else { return raw.to_owned() };
    let name = quoted(&format!("{connector}{SEPARATOR}{name}"));
    let mut edit = Edit::of(raw.as_bytes(), &json);
    edit.set(&["name"], &name);
    String::from_utf8(edit.done()).unwrap_or_else(|_| raw.to_owned())
}

/// One page of a connector's list
struct Page {
    bytes: Vec<u8>,
    key: &'static str,
    from: Version,
    entries: Vec<String>,
    uris: Vec<String>,
    shown: Vec<String>,
    next: Option<String>,
}

impl Page {
    fn read(bytes: Vec<u8>, method: Method, from: Version) -> Result<Self, String> {
        let (key, names) = match method {
            Method::ListResources => ("resources", "uri"),
            _ => ("resourceTemplates", "uriTemplate"),
        };
        let (entries, uris, next) = {
            let message = Message::read_answer(&bytes, &answer_limits()).map_err(|error| error.to_string())?;
            if message.error().is_some() {
                // Most likely a server that has none; whatever it is, there is nothing to show.
                (Vec::new(), Vec::new(), None)
            } else {
                let result = message.result().ok_or("the server's answer lacks a result")?;
                let all = result.get(key).and_then(Json::as_array).ok_or("the server's answer lacks its list")?;
                let entries = all.iter().map(|entry| entry.raw().to_owned()).collect();
                let uri = |entry: &Json<'_>| entry.get(names).and_then(Json::as_str).map(str::to_owned);
                let uris = all.iter().map(uri).collect::<Option<Vec<_>>>().ok_or("an entry of its list has no URI")?;
                (entries, uris, result.get("nextCursor").and_then(Json::as_str).map(str::to_owned))
            }
        };
        Ok(Self { bytes, key, from, entries, uris, shown: Vec::new(), next })
    }

    fn only(mut self, visible: &[bool]) -> Self {
        let shown = self.entries.iter().zip(visible.iter().copied().chain(std::iter::repeat(false)));
        self.shown = shown.filter(|(_, visible)| *visible).map(|(entry, _)| entry.clone()).collect();
        self
    }

    /// The connector's own answer, with only what may be seen
    fn answer(&self, id: &str, client: &Client, method: Method, next: Option<&str>) -> Vec<u8> {
        let limits = answer_limits();
        let to = ToClient { id, from: self.from, version: client.version, method, state: None, ttl_ms_max: TTL_MS_MAX };
        let whole = |bytes: &[u8]| {
            let message = Message::read_answer(bytes, &limits).ok()?;
            message.result()?;
            Some(translate::answer(bytes, &message, &to))
        };
        let edited = Message::read_answer(&self.bytes, &limits).ok().map(|message| {
            let mut edit = Edit::new(&self.bytes, &message);
            if self.shown.len() != self.entries.len() {
                edit.set(&["result", self.key], &format!("[{}]", self.shown.join(",")));
            }
            match next {
                Some(next) => edit.set(&["result", "nextCursor"], &quoted(next)),
                None => edit.remove(&["result", "nextCursor"]),
            }
            edit.done()
        });
        let answered = edited.and_then(|edited| whole(&edited));
        answered.unwrap_or_else(|| listed(id, method, client.version, &self.shown, next))
    }
}
