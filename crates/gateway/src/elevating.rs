//! The tool with which an agent asks for a class that does not stand: listed and served here, judged as everything is.

use crate::{
    asks::Bound,
    call::away::{Away, can_follow},
    client::Client,
    door::Door,
    endpoint::At,
    held::{Holds, Telling},
    lists::Lists,
    outlet::Last,
    tasks::draw,
    under_way::{Place, UnderWay},
    using::SEPARATOR,
};
use portreeve_core::{
    engine::Reply,
    event::Actor,
    hash::Hash,
    json::{Json, Member},
    judge::Ticket,
    life::Happened,
    names::{EffectId, GrantId, TaskId, Tool, ToolName},
    policy::Usage,
    reason::{Reason, Word},
    request::{Elevate, Refusal, Request},
    state::Phase,
    time::Millis,
    value::Value,
};
use portreeve_mcp::{
    message::Message,
    method::Method,
    params::Use,
    reply::{self, people},
};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

/// Answers `request_elevation`
#[derive(Debug)]
pub struct Elevating {
    /// The door
    pub door: Door,
    /// Questions to people
    pub holds: Arc<Holds>,
    /// Those that are followed as MCP tasks
    pub away: Arc<Away>,
    /// What is under way
    pub under_way: Arc<UnderWay>,
}

/// Its name at the endpoint of one connector, which keeps its own names
const AT_ONE: &str = "portreeve_request_elevation";
/// Its name where names are `connector__name`
const AT_ALL: &str = "portreeve__request_elevation";
/// What it is on the record
const TOOL: &str = "portreeve.request_elevation";
/// What is said once it is open
pub const OPENED: &str = "It is open now, for exactly what was asked. Make the call.";
/// Milliseconds of a minute
const MINUTE_MS: i64 = 60_000;
const TIMES: i64 = 1;
const MINUTES: i64 = 15;

/// Its name at an endpoint
#[must_use]
pub fn name(at: &At) -> &'static str {
    match at {
        At::One(_) => AT_ONE,
        At::All => AT_ALL,
    }
}

/// Its name at an endpoint that is known by its path
#[must_use]
pub fn name_at(path: &str) -> &'static str {
    if path == "/mcp" { AT_ALL } else { AT_ONE }
}

/// Whether a message calls it
#[must_use]
pub fn is_called(at: &At, method: Method, message: &Message<'_>) -> bool {
    let called = || message.params().and_then(|params| params.get("name")).and_then(Json::as_str);
    method == Method::CallTool && called() == Some(name(at))
}

/// Its definition
#[must_use]
pub fn definition(at: &At) -> String {
    let tools = "The tools, by the names under which they are listed. All must be of one class.";
    let values = "Arguments that every call will have, with exactly these values. The fewer calls fit, the sooner it is granted.";
    json!({
        "name": name(at),
        "title": "Ask for a class of tools",
        "description": "Asks for tools that the task names but that are not open (a call was refused with class_not_open). \
            Say exactly what for: it is opened for these tools, with these values, so many times and so long, or a person \
            is asked first. Repeat the same request to go on once somebody has answered.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "tools": { "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": 32, "description": tools },
                "values": { "type": "object", "description": values },
                "times": { "type": "integer", "minimum": 1, "maximum": 1000, "default": TIMES, "description": "How many calls" },
                "minutes": { "type": "integer", "minimum": 1, "maximum": 1440, "default": MINUTES, "description": "For how long" },
                "reason": { "type": "string", "minLength": 1, "description": "Why, in a sentence; a person reads it" }
            },
            "required": ["tools", "reason"],
            "additionalProperties": false
        },
        "annotations": { "readOnlyHint": false, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false }
    })
    .to_string()
}

/// What is asked for
struct Asked {
    uses: Vec<Usage>,
    values: BTreeMap<String, Value>,
    times: u32,
    lasts_ms: i64,
    why: String,
}

impl Asked {
    fn read(at: &At, lists: &Lists, arguments: Option<&Json<'_>>) -> Result<Self, String> {
        let members = arguments.and_then(Json::as_object).ok_or("arguments must be an object")?;
        let mut asked = Self {
            uses: Vec::new(),
            values: BTreeMap::new(),
            times: u32::try_from(TIMES).unwrap_or(1),
            lasts_ms: MINUTES * MINUTE_MS,
            why: String::new(),
        };
        for member in members {
            asked.take(at, lists, member)?;
        }
        if asked.uses.is_empty() || asked.why.trim().is_empty() {
            return Err("tools and reason are required".to_owned());
        }
        asked.uses.sort();
        asked.uses.dedup();
        Ok(asked)
    }

    fn take(&mut self, at: &At, lists: &Lists, Member { key, value, .. }: &Member<'_>) -> Result<(), String> {
        let whole = |value: &Json<'_>| value.as_number().and_then(|number| number.parse::<u32>().ok());
        match key.as_ref() {
            "tools" => {
                for tool in value.as_array().ok_or("tools must be a list")? {
                    let listed = tool.as_str().ok_or("tools must be a list of names")?;
                    let usage = usage(at, lists, listed);
                    self.uses.push(usage.ok_or_else(|| format!("no tool is named {listed:?}"))?);
                }
            }
            "values" => match value.to_value().map_err(|error| error.to_string())? {
                Value::Object(values) => self.values = values,
                _ => return Err("values must be an object".to_owned()),
            },
            "times" => self.times = whole(value).ok_or("times must be a whole number")?,
            "minutes" => {
                self.lasts_ms = i64::from(whole(value).ok_or("minutes must be a whole number")?) * MINUTE_MS;
            }
            "reason" => self.why = value.as_str().ok_or("reason must be a text")?.trim().to_owned(),
            _ => return Err(format!("{key:?} is not known here: tools, values, times, minutes, reason")),
        }
        Ok(())
    }
}

/// A tool, or one of its variants, as the endpoint lists it or as the policy writes it
fn usage(at: &At, lists: &Lists, listed: &str) -> Option<Usage> {
    let (name, variant) = match listed.split_once('#') {
        Some((name, variant)) => (name, Some(variant.parse().ok()?)),
        None => (listed, None),
    };
    let own = |connector: &portreeve_core::names::Name, name: &str| {
        let name: ToolName = name.parse().ok().filter(ToolName::is_tool)?;
        Some(Tool { connector: connector.clone(), name })
    };
    let view = lists.catalogue.view();
    let known = |tool: &Tool| view.definition(tool).is_some();
    let tool = match at {
        At::One(connector) => own(connector, name),
        At::All => {
            let connectors = view.bundle.iter().flat_map(|bundle| bundle.connectors.keys());
            let mut split = connectors.filter_map(|connector| {
                own(connector, name.strip_prefix(connector.as_str())?.strip_prefix(SEPARATOR)?)
            });
            split.find(known)
        }
    };
    match tool.filter(known) {
        Some(tool) => Some(Usage { tool, variant }),
        None => listed.parse().ok(),
    }
}

impl Elevating {
    /// Answers a call of it
    pub async fn request(
        &self,
        client: &Arc<Client>,
        (at, lists): (&At, &Lists),
        message: &Message<'_>,
        id: &str,
        _place: Place,
    ) {
        let telling = match self.answer(client, (at, lists), message, id).await {
            Ok(telling) | Err(telling) => telling,
        };
        client.answer(telling).await;
    }

    async fn answer(
        &self,
        client: &Arc<Client>,
        (at, lists): (&At, &Lists),
        message: &Message<'_>,
        id: &str,
    ) -> Result<Telling, Telling> {
        let (era, run, method) = (client.era(), client.run, Method::CallTool);
        let told = |last: Last| -> Telling { Box::new(move |_| last) };
        let refused = |reasons: Vec<Reason>| told(Last::ok(reply::refused_call(id, era, &reasons)));
        let invalid = |text: String| {
            let reason = Reason::new(Word::ArgumentsInvalid, TOOL).with("schema", text);
            self.refused(client, &reason);
            refused(vec![reason])
        };
        let used = Use::read(method, message.params());
        let used = used.map_err(|wrong| told(Last::ok(reply::error(Some(id), -32_602, wrong, None))))?;
        let asked = Asked::read(at, lists, used.arguments).map_err(invalid)?;
        let unavailable =
            |why: String| refused(vec![Reason::new(Word::RecordUnavailable, "randomness").with("why", why)]);
        let grant = GrantId(draw().map_err(unavailable)?);
        let arguments = used.arguments.and_then(|arguments| arguments.to_value().ok());
        let arguments = arguments.map(|arguments| arguments.canonical()).unwrap_or_default();
        let bound = |effect| bound(client, at, effect, &arguments);
        let of = bound(EffectId(grant.0)).ok_or_else(|| unavailable("no name".to_owned()))?;
        if let Some(state) = used.state {
            let is_this = |known: &Bound| bound(known.effect).as_ref() == Some(known);
            let unknown = Err("this requestState was not given out here, or was changed");
            if let Err(text) = self.holds.open(state, is_this).unwrap_or(unknown) {
                let reason = Reason::new(Word::ContinuationUnknown, TOOL).with("because", text);
                self.refused(client, &reason);
                return Err(told(Last::ok(reply::stale(id, text, &reason))));
            }
        }
        let (task, _) = self.holds.task_of(run).await;
        let task = task.ok_or_else(|| refused(vec![Reason::new(Word::TaskUnknown, run)]))?;
        let elevate = Elevate {
            grant,
            by: Actor::Run(run),
            task,
            uses: asked.uses,
            values: asked.values,
            times: asked.times,
            lasts_ms: asked.lasts_ms,
            why: asked.why,
        };
        self.elevate(client, elevate, of).await
    }

    async fn elevate(&self, client: &Arc<Client>, elevate: Elevate, of: Bound) -> Result<Telling, Telling> {
        let (era, task, method) = (client.era(), elevate.task, Method::CallTool);
        let refused =
            |reasons: Vec<Reason>| -> Telling { Box::new(move |id| Last::ok(reply::refused_call(id, era, &reasons))) };
        let opened = |until: Millis| -> Telling {
            let text = format!("{OPENED} It is open until {}.", until.rfc3339());
            Box::new(move |id| Last::ok(people::text(id, era, &text, None)))
        };
        let mut patience = self.holds.patience();
        let mut watched = self.under_way.watch(of.effect);
        loop {
            let ticket = match self.door.submit(Request::Elevate(elevate.clone())).await {
                Reply::Elevated(until) => return Ok(opened(until)),
                Reply::Held(ticket) => ticket,
                Reply::Refused(reasons) => {
                    let hint = self.holds.hint(client.run, &of.at, &reasons).await;
                    return Err(Box::new(move |id| Last::ok(reply::refused_call_with(id, era, &reasons, &hint))));
                }
                _ => return Err(refused(vec![Reason::new(Word::RecordUnavailable, "record")])),
            };
            if can_follow(client, method)
                && let Some(telling) = self.away.elevation(&ticket, of.clone())
            {
                return Ok(telling);
            }
            let happened = tokio::select! {
                biased;
                _ = watched.cancelled_or_gone(client) => Happened::Waited,
                happened = self.holds.waiting.wait(ticket.hold, &mut patience, client) => happened,
            };
            if !matches!(happened, Happened::Changed) {
                let pending = self.holds.pending(&ticket, "elevation", patience.lapsed);
                return Ok(self.holds.tell(client, method, (&ticket, pending), of, None));
            }
            // Asked for again, what was opened by a yes would be a question of its own.
            if let Some(until) = self.opened(task, &ticket).await {
                return Ok(opened(until));
            }
        }
    }

    /// Until when a question about an opening has opened something
    async fn opened(&self, task: TaskId, ticket: &Ticket) -> Option<Millis> {
        let hold = ticket.hold;
        let until = self.door.ask(move |engine| {
            let state = engine.state();
            let used = matches!(state.hold(hold)?.phase, Phase::Used { .. });
            let mut open = state.elevations(task, state.time());
            used.then(|| open.find(|(grant, _)| *grant == hold.into()).map(|(_, open)| open.until))?
        });
        until.await.flatten()
    }

    fn refused(&self, client: &Client, reason: &Reason) {
        let refusal = Refusal { run: client.run, what: TOOL.to_owned(), reason: reason.clone() };
        self.door.later(Request::Refused(refusal));
    }
}

/// What a question that it leads to is bound to
fn bound(client: &Client, at: &At, effect: EffectId, arguments: &str) -> Option<Bound> {
    let (connector, tool) = TOOL.split_once('.')?;
    Some(Bound {
        effect,
        run: client.run,
        at: at.to_string(),
        connector: connector.parse().ok()?,
        tool: tool.parse().ok()?,
        arguments: Hash::of(arguments.as_bytes()),
    })
}
