//! Reads what a client wants to use: a tool, a resource, a prompt, a completion, a level of the log.
//!
//! What cannot be one of these is answered by the protocol's own error, before anything is judged.

use crate::{
    asks::{Bound, Brought, Put},
    client::Client,
    dispatch::Dispatch,
    endpoint::{At, Via},
    outlet::Last,
    tasks::draw,
    trace,
    under_way::RequestKey,
};
use http::{HeaderMap, StatusCode};
use portreeve_core::{
    hash::Hash,
    json::Json,
    names::{EffectId, Name, RunId, Tool, ToolName},
    reason::{Reason, Word},
    request::Call,
    value::Value,
};
use portreeve_mcp::{
    asked,
    message::{Id, Message},
    method::Method,
    outcome,
    params::{self, Completion, Reference, Use},
    reply,
};
use std::{collections::BTreeMap, sync::Arc};

/// Where and how a request was read
#[derive(Clone, Copy, Debug)]
pub struct Reading<'r> {
    /// The endpoint
    pub at: &'r At,
    /// The way in
    pub via: Via,
    /// The headers
    pub headers: &'r HeaderMap,
    /// The client
    pub client: &'r Arc<Client>,
}

/// What a client brought back, and its answers by key
pub type Back = (Brought, BTreeMap<String, String>);

/// What a client wants to use
#[derive(Debug)]
pub struct Using<'m> {
    /// By which method
    pub method: Method,
    /// The client's own message
    pub bytes: &'m [u8],
    /// The same, read
    pub message: &'m Message<'m>,
    /// What is judged
    pub call: Call,
    /// Through which endpoint
    pub at: String,
    /// How the client would cancel it
    pub key: RequestKey,
    /// The name that the connector knows it by, where the endpoint has another one
    pub renamed: Option<String>,
    /// What it was called by, for the protocol's own error
    pub called: String,
    /// What the client brought back from an earlier leg, and its answers by key
    pub brought: Option<Back>,
    /// The parent of our span, as it was written
    pub trace: Option<String>,
}

impl<'m> Using<'m> {
    /// Reads a request
    ///
    /// # Errors
    /// The answer to it.
    pub async fn read(
        dispatch: &Dispatch,
        reading: &Reading<'_>,
        method: Method,
        (bytes, message): (&'m [u8], &'m Message<'m>),
        id: &Id<'_>,
    ) -> Result<Self, Last> {
        let invalid = |text: &str| Last::ok(reply::error(Some(id.raw()), -32_602, text, None));
        let params = message.params();
        let used = if method.may_ask() { Some(Use::read(method, params).map_err(invalid)?) } else { None };
        let (connector, name, called) = resolve(dispatch, reading, method, params, used.as_ref())
            .await
            .map_err(|called| unknown(method, id.raw(), &called, reading.client.version))?;
        let own = reading.at == &At::All && matches!(method, Method::CallTool | Method::GetPrompt | Method::Complete);
        let tool = Tool { connector: connector.clone(), name: name.clone() };
        let arguments =
            arguments(method, params, used.as_ref(), own.then_some(&called.1)).map_err(|text| invalid(&text))?;
        let view = dispatch.catalogue.view();
        if method == Method::CallTool && reading.via == Via::Tcp && reading.client.session.is_none() {
            let mirrored = view.definition(&tool).map_or(&[][..], |definition| definition.mirrored.as_slice());
            let era = reading.client.era();
            if era == portreeve_mcp::version::Era::Modern {
                let given = used.as_ref().and_then(|used| used.arguments);
                if let Err(refused) = asked::check_params(reading.headers, given, mirrored) {
                    // Of a tool that this task cannot see, nothing is told that its definition says.
                    let sees = dispatch.lists.has_tool(reading.client.run, &tool).await;
                    return Err(match sees {
                        true => Last::with(refused.status, reply::refused_early(Some(id.raw()), &refused)),
                        false => unknown(method, id.raw(), &called.0, reading.client.version),
                    });
                }
            }
        }
        if used.is_some_and(|used| used.as_task) {
            let reason = Reason::new(Word::MethodNotEnforced, &tool).with("field", "params.task");
            dispatch.refused(reading.client.run, tool.to_string(), &reason);
            return Err(Last::ok(reply::refused_call(id.raw(), reading.client.era(), &[reason])));
        }
        let fit = view.fit(&tool, &arguments);
        let Value::Object(arguments) = arguments else { return Err(invalid("params must be an object")) };
        let effect = draw().map(EffectId).map_err(|why| {
            Last::with(StatusCode::SERVICE_UNAVAILABLE, reply::error(Some(id.raw()), -32_603, &why, None))
        })?;
        let run = reading.client.run;
        let brought = used.map(|used| brought(dispatch, reading, (&tool, &arguments), &used));
        let brought = brought.transpose().map_err(|stale| match stale {
            Stale::State(text) => {
                let reason = Reason::new(Word::ContinuationUnknown, &tool).with("because", text);
                dispatch.refused(run, tool.to_string(), &reason);
                Last::ok(reply::stale(id.raw(), text, &reason))
            }
            Stale::Answers(text) => invalid(text),
        });
        let brought = brought?.flatten();
        let continues = brought.as_ref().filter(|(brought, _)| !brought.held).map(|(brought, _)| brought.of.effect);
        // Without a session, only those at one endpoint share their ids.
        let session =
            reading.client.session.as_ref().map_or_else(|| reading.at.to_string(), |session| session.id.clone());
        Ok(Self {
            method,
            bytes,
            message,
            call: Call { effect, run, tool, arguments, fit, answers: Vec::new(), continues, before: None, lease: None },
            at: reading.at.to_string(),
            key: (run, session, id.raw().to_owned()),
            renamed: own.then_some(called.1.clone()),
            called: called.0,
            brought,
            trace: trace::parent(params),
        })
    }

    /// What a question, or a task, that this call led to is bound to
    #[must_use]
    pub fn bound(&self, effect: EffectId) -> Bound {
        bound((effect, self.call.run), self.at.clone(), &self.call.tool, &self.call.arguments)
    }

    /// The answers of the client to what was put to it, each with its question, by key
    #[must_use]
    pub fn answers(&self) -> BTreeMap<String, (Put, String)> {
        let Some((brought, answers)) = self.brought.as_ref().filter(|(brought, _)| brought.leaves) else {
            return BTreeMap::new();
        };
        let put = |(key, answer): (&String, &String)| {
            Some((key.clone(), (brought.questions.get(key)?.clone(), answer.clone())))
        };
        answers.iter().filter_map(put).collect()
    }
}

/// The protocol's own error for what is unknown, or hidden
#[must_use]
pub fn unknown(method: Method, id: &str, called: &str, version: portreeve_mcp::version::Version) -> Last {
    Last::ok(match method {
        Method::CallTool => reply::unknown_tool(id, called),
        Method::GetPrompt | Method::Complete => reply::unknown_prompt(id, called),
        _ => reply::unknown_resource(id, version.era(), called),
    })
}

/// The connector, the name that is judged, what it was called and what its connector calls it
async fn resolve(
    dispatch: &Dispatch,
    reading: &Reading<'_>,
    method: Method,
    params: Option<&Json<'_>>,
    used: Option<&Use<'_, '_>>,
) -> Result<(Name, ToolName, (String, String)), String> {
    let operation = || method.as_str().parse::<ToolName>().map_err(|_| String::new());
    let completes = if method == Method::Complete { Completion::read(params).ok().map(|read| read.of) } else { None };
    let (called, by_uri) = match (method, used, completes) {
        (Method::ReadResource, Some(used), _) => (used.name.to_owned(), true),
        (_, Some(used), _) => (used.name.to_owned(), false),
        (_, None, Some(Reference::Prompt(name))) => (name.to_owned(), false),
        (_, None, Some(Reference::Resource(uri))) => (uri.to_owned(), true),
        _ => (String::new(), false),
    };
    let (connector, own) = match reading.at {
        At::One(connector) => (connector.clone(), called.clone()),
        At::All if by_uri => {
            let of = dispatch.lists.of_uri(reading.client.run, &called).await;
            (of.ok_or_else(|| called.clone())?, called.clone())
        }
        At::All => {
            let view = dispatch.catalogue.view();
            let connectors = view.bundle.iter().flat_map(|bundle| bundle.connectors.keys());
            // A connector's name may have the separator in it: the longest one is meant.
            let split = connectors.filter_map(|connector| {
                Some((connector, called.strip_prefix(connector.as_str())?.strip_prefix(SEPARATOR)?))
            });
            let (connector, own) =
                split.max_by_key(|(connector, _)| connector.as_str().len()).ok_or_else(|| called.clone())?;
            (connector.clone(), own.to_owned())
        }
    };
    let name = match method {
        Method::CallTool => match own.parse::<ToolName>() {
            // What is named like a method is no tool.
            Ok(name) if name.is_tool() => name,
            _ => return Err(called),
        },
        _ => operation()?,
    };
    Ok((connector, name, (called, own)))
}

/// Between a connector's name and that of its tool, where an endpoint has several
pub const SEPARATOR: &str = "__";

/// What is judged: the arguments of a tool, or the parameters of any other method
fn arguments(
    method: Method,
    params: Option<&Json<'_>>,
    used: Option<&Use<'_, '_>>,
    own: Option<&String>,
) -> Result<Value, String> {
    let value = |json: &Json<'_>| json.to_value().map_err(|error| error.to_string());
    if method == Method::CallTool {
        let arguments = used.and_then(|used| used.arguments).map(value).transpose()?;
        return Ok(arguments.unwrap_or_else(|| Value::Object(BTreeMap::new())));
    }
    match method {
        Method::Complete => drop(Completion::read(params)?),
        Method::SetLevel => drop(params::level(params)?),
        _ => {}
    }
    let mut arguments = BTreeMap::new();
    for member in params.and_then(Json::as_object).unwrap_or_default() {
        if !matches!(member.key.as_ref(), "_meta" | "inputResponses" | "requestState") {
            arguments.insert(member.key.to_string(), value(&member.value)?);
        }
    }
    if let Some(own) = own {
        match (method, arguments.get_mut("ref")) {
            (Method::Complete, Some(Value::Object(reference))) if reference.contains_key("name") => {
                reference.insert("name".to_owned(), Value::String(own.clone()));
            }
            (Method::GetPrompt, _) => drop(arguments.insert("name".to_owned(), Value::String(own.clone()))),
            _ => {}
        }
    }
    Ok(Value::Object(arguments))
}

/// What a call is bound to by what it leads to: an effect and a run, an endpoint, a tool and its arguments
fn bound((effect, run): (EffectId, RunId), at: String, tool: &Tool, arguments: &BTreeMap<String, Value>) -> Bound {
    let arguments = Hash::of(Value::canonical_object(arguments).as_bytes());
    Bound { effect, run, at, connector: tool.connector.clone(), tool: tool.name.clone(), arguments }
}

/// Why what a client brings back is not taken
enum Stale {
    /// Its state was given out for something else, or not at all, or is over
    State(&'static str),
    /// Its answers are none
    Answers(&'static str),
}

/// What a client brings back, if it does: only what was put to it for this very call
fn brought(
    dispatch: &Dispatch,
    reading: &Reading<'_>,
    (tool, arguments): (&Tool, &BTreeMap<String, Value>),
    used: &Use<'_, '_>,
) -> Result<Option<Back>, Stale> {
    // Answers that do not say what they answer are left out, and whoever asked asks again.
    let Some(state) = used.state else { return Ok(None) };
    let is_this = |of: &Bound| *of == bound((of.effect, reading.client.run), reading.at.to_string(), tool, arguments);
    // What the client itself answered to a question for people is not even looked at.
    if let Some(held) = dispatch.holds.open(state, is_this) {
        return Ok(held.map_err(Stale::State)?.brought);
    }
    let unknown = Stale::State("this requestState was not given out here, or was changed");
    let brought = dispatch.asks.open(state).ok_or(unknown)?;
    if !is_this(&brought.of) {
        return Err(Stale::State("this requestState belongs to another call"));
    }
    let put = |(key, put): (&String, &Put)| Some((key.clone(), Method::read(&put.method)?));
    let put: Vec<(String, Method)> = brought.questions.iter().filter_map(put).collect();
    let answers = used.responses.map(|responses| outcome::answers(responses, &put)).transpose();
    Ok(Some((brought, answers.map_err(Stale::Answers)?.unwrap_or_default())))
}
