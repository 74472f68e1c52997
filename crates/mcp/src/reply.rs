//! What Portreeve itself says to an agent: results, errors and refusals.
//!
//! A refusal of `tools/call` is a result with `isError`, short and stable, for the model and the human; the
//! same stands as data in `_meta`. Every other method gets a JSON-RPC error with an application code outside
//! the reserved range and the same data.

use crate::{
    asked::{INVALID_PARAMS, Refused},
    params::{META_SERVER, META_SUBSCRIPTION},
    translate::client_info,
    version::{Era, Version},
};
use portreeve_core::reason::{Reason, Sort, Word, verdict};
use serde_json::{Value, json};

pub mod people;

/// The code of a refusal where a method has no `isError`: outside -32768…-32000
pub const REFUSED: i64 = -31_001;
/// Where the data of a refusal stands in `_meta`
pub const META: &str = "dev.portreeve/refusal";

/// What may become of a permitted call beside an answer: word, meaning, what to do
pub const OUTCOMES: [(&str, &str, &str); 6] = [
    (
        "outcome_unknown",
        "The call was sent and no answer came, so nobody can know whether it happened. It counts as used.",
        "Do not repeat it. Look whether it happened; the record has it as `unknown`.",
    ),
    (
        "connector_unreachable",
        "The server behind the tool could not be made ready. Nothing was sent, and nothing was used up.",
        "Try again later; `portreeve connector show NAME` asks the server itself.",
    ),
    (
        "connector_rejected",
        "The call arrived, and the server refused it with an HTTP status instead of an answer. It counts as used.",
        "Do not repeat it unchanged; the server's owner can explain the status.",
    ),
    (
        "answer_withheld",
        "The call happened, and its answer is longer than what is left of the task's bytes. It counts as used.",
        "Do not repeat it. Ask for a smaller part next time; the purpose bounds the bytes under `max_bytes`.",
    ),
    (
        "done_already",
        "Exactly this call was made with a person's yes, and its answer is not kept any more. It was not made again.",
        "Do not repeat it. The record has its end; a new question can be put ten minutes after that.",
    ),
    (
        "call_under_way",
        "Exactly this call is being made with a person's yes, and has not ended. It is not made a second time.",
        "Repeat exactly this call later: it tells what came of it.",
    ),
];

/// A result; `id` as it stood in the request
///
/// Modern clients are told that it is complete; legacy ones refuse an empty result that has any member.
#[must_use]
pub fn result(id: &str, era: Era, result: &Value) -> Vec<u8> {
    match result.as_object() {
        Some(members) if era == Era::Modern && !members.contains_key("resultType") => {
            let mut members = members.clone();
            members.insert("resultType".to_owned(), "complete".into());
            result_text(id, &Value::from(members).to_string())
        }
        _ => result_text(id, &result.to_string()),
    }
}

/// A result whose text is made already, all of it
#[must_use]
pub fn result_text(id: &str, result: &str) -> Vec<u8> {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}").into_bytes()
}

/// One page of a list that is private to its task; `key` as in [`listed`](crate::client::listed), each item as it was
/// written
///
/// Modern clients are told that they may keep it for themselves for `ttl_ms`.
#[must_use]
pub fn list(id: &str, era: Era, key: &str, items: &[&str], next: Option<&str>, ttl_ms: u64) -> Vec<u8> {
    let next = next.map_or_else(String::new, |next| format!(",\"nextCursor\":{}", crate::edit::quoted(next)));
    let modern = match era {
        Era::Modern => format!(
            ",\"resultType\":\"complete\",\"ttlMs\":{ttl_ms},\"cacheScope\":\"private\",\"_meta\":\
             {{\"{META_SERVER}\":{}}}",
            client_info()
        ),
        Era::Legacy => String::new(),
    };
    result_text(id, &format!("{{\"{key}\":[{}]{next}{modern}}}", items.join(",")))
}

/// An error; without an id where the request's could not be read
#[must_use]
pub fn error(id: Option<&str>, code: i64, message: &str, data: Option<Value>) -> Vec<u8> {
    let mut error = json!({ "code": code, "message": message });
    if let (Some(data), Some(members)) = (data, error.as_object_mut()) {
        members.insert("data".to_owned(), data);
    }
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{error}}}", id.unwrap_or("null")).into_bytes()
}

/// What the protocol says of a tool that is unknown; a hidden one is answered with the same bytes
/// (2025-11-25, Tools, Error Handling)
#[must_use]
pub fn unknown_tool(id: &str, name: &str) -> Vec<u8> {
    let name: String = name.chars().take(128).collect();
    error(Some(id), INVALID_PARAMS, &format!("Unknown tool: {name}"), None)
}

/// What the protocol says of a prompt that is unknown, or hidden
#[must_use]
pub fn unknown_prompt(id: &str, name: &str) -> Vec<u8> {
    let name: String = name.chars().take(128).collect();
    error(Some(id), INVALID_PARAMS, &format!("Unknown prompt: {name}"), None)
}

/// What the protocol says of a resource that is unknown, or hidden: the code differs between the eras
#[must_use]
pub fn unknown_resource(id: &str, era: Era, uri: &str) -> Vec<u8> {
    let uri: String = uri.chars().take(512).collect();
    let code = if era == Era::Modern { INVALID_PARAMS } else { -32_002 };
    error(Some(id), code, "Resource not found", Some(json!({ "uri": uri })))
}

/// What the extension for tasks says of one that is unknown, over, or somebody else's
#[must_use]
pub fn unknown_task(id: &str) -> Vec<u8> {
    error(Some(id), INVALID_PARAMS, "Unknown task", None)
}

/// A request that was refused before anything of it was judged; its status is for the caller
#[must_use]
pub fn refused_early(id: Option<&str>, refused: &Refused) -> Vec<u8> {
    error(id, refused.code, &refused.message, refused.data.clone())
}

/// What Portreeve says of a connector as its server
#[derive(Clone, Debug)]
pub struct Server<'s> {
    /// The connector's name
    pub connector: &'s str,
    /// What it can do, made by [`capabilities`](crate::translate::capabilities)
    pub capabilities: Value,
    /// What a model is told
    pub instructions: Option<&'s str>,
}

impl Server<'_> {
    fn info(&self) -> Value {
        let mut info = client_info();
        if let Some(info) = info.as_object_mut() {
            info.insert("name".to_owned(), format!("portreeve/{}", self.connector).into());
            info.insert("title".to_owned(), format!("{} through Portreeve", self.connector).into());
        }
        info
    }

    /// The answer to `initialize`, in the version that was agreed on
    #[must_use]
    pub fn initialize(&self, id: &str, version: Version) -> Vec<u8> {
        let mut result = json!({
            "protocolVersion": version.as_str(),
            "capabilities": self.capabilities,
            "serverInfo": self.info(),
        });
        self.instruct(&mut result);
        self::result(id, Era::Legacy, &result)
    }

    /// The answer to `server/discover`, which a client may keep for itself for `ttl_ms` milliseconds
    #[must_use]
    pub fn discover(&self, id: &str, ttl_ms: u64) -> Vec<u8> {
        let mut result = json!({
            "supportedVersions": Version::ALL.map(Version::as_str),
            "capabilities": self.capabilities,
            "ttlMs": ttl_ms,
            "cacheScope": "private",
            "_meta": { META_SERVER: self.info() },
        });
        self.instruct(&mut result);
        self::result(id, Era::Modern, &result)
    }

    fn instruct(&self, result: &mut Value) {
        if let (Some(instructions), Some(result)) = (self.instructions, result.as_object_mut()) {
            result.insert("instructions".to_owned(), instructions.into());
        }
    }
}

/// The first message of a subscription: what of it is honoured
#[must_use]
pub fn acknowledged(id: &str, filter: &crate::params::ListenFilter) -> Vec<u8> {
    let filter = filter.json();
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{{\"_meta\":\
         {{\"{META_SUBSCRIPTION}\":{id}}},\"notifications\":{filter}}}}}"
    )
    .into_bytes()
}

/// The last message of a subscription that ends as it should
#[must_use]
pub fn subscription_over(id: &str) -> Vec<u8> {
    result_text(id, &format!("{{\"resultType\":\"complete\",\"_meta\":{{\"{META_SUBSCRIPTION}\":{id}}}}}"))
}

/// What is said of a refusal beside its reasons
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// The tool with which a class can be asked for, as the endpoint names it
    pub elevation: Option<String>,
    /// The page of the task, for whoever works it off without anybody watching
    pub page: Option<String>,
}

/// A refused `tools/call`
#[must_use]
pub fn refused_call(id: &str, era: Era, reasons: &[Reason]) -> Vec<u8> {
    refused_call_with(id, era, reasons, &Hint::default())
}

/// A refused `tools/call`, with what else there is to say
#[must_use]
pub fn refused_call_with(id: &str, era: Era, reasons: &[Reason], hint: &Hint) -> Vec<u8> {
    let result = json!({
        "content": [{ "type": "text", "text": refusal_text(reasons, hint) }],
        "isError": true,
        "_meta": { META: refusal_data(reasons, hint) },
    });
    self::result(id, era, &result)
}

/// A refused request of any other method
#[must_use]
pub fn refused(id: &str, reasons: &[Reason]) -> Vec<u8> {
    refused_with(id, reasons, &Hint::default())
}

/// A refused request of any other method, with what else there is to say
#[must_use]
pub fn refused_with(id: &str, reasons: &[Reason], hint: &Hint) -> Vec<u8> {
    error(Some(id), REFUSED, &refusal_text(reasons, hint), Some(json!({ META: refusal_data(reasons, hint) })))
}

/// A request whose parameters are not what was given out for them (error -32602), with the reason as data
#[must_use]
pub fn stale(id: &str, text: &str, reason: &Reason) -> Vec<u8> {
    let reasons = std::slice::from_ref(reason);
    let data = json!({ META: refusal_data(reasons, &Hint::default()) });
    error(Some(id), INVALID_PARAMS, &format!("{}: {text}", reason.word), Some(data))
}

/// A call of which nobody can say whether it happened
#[must_use]
pub fn unknown_outcome(id: &str, era: Era, why: &str) -> Vec<u8> {
    let text = format!(
        "outcome_unknown: The call was sent, but no answer came ({why}). It may have happened. Do not repeat it; \
         look whether it did."
    );
    let result = json!({
        "content": [{ "type": "text", "text": text }],
        "isError": true,
        "_meta": { META: { "word": "outcome_unknown", "retry": false } },
    });
    self::result(id, era, &result)
}

/// A call that could not be tried because its connector is not there
#[must_use]
pub fn unreachable(id: &str, era: Era, why: &str) -> Vec<u8> {
    let text =
        format!("connector_unreachable: The server behind this tool cannot be reached ({why}). Nothing was sent.");
    let result = json!({
        "content": [{ "type": "text", "text": text }],
        "isError": true,
        "_meta": { META: { "word": "connector_unreachable", "retry": true } },
    });
    self::result(id, era, &result)
}

/// A call that arrived, and that the connector refused below the protocol: with a status and no message
#[must_use]
pub fn rejected(id: &str, era: Era, why: &str) -> Vec<u8> {
    let text = format!(
        "connector_rejected: The server behind this tool refused the call ({why}). It counts as used. Do not retry \
         unchanged."
    );
    let result = json!({
        "content": [{ "type": "text", "text": text }],
        "isError": true,
        "_meta": { META: { "word": "connector_rejected", "retry": false } },
    });
    self::result(id, era, &result)
}

/// A call whose answer is longer than the task's budget lets through
#[must_use]
pub fn withheld(id: &str, era: Era, bytes: u64, most: u64) -> Vec<u8> {
    let text = format!(
        "answer_withheld: The call happened, and its answer of {bytes} bytes is longer than the {most} that this task \
         may still receive. It counts as used. Do not repeat it; ask for a smaller part."
    );
    let result = json!({
        "content": [{ "type": "text", "text": text }],
        "isError": true,
        "_meta": { META: { "word": "answer_withheld", "retry": false, "bytes": bytes, "limit": most } },
    });
    self::result(id, era, &result)
}

/// The refusal in words: the most useful reason, what to do, and whether to try again
fn refusal_text(reasons: &[Reason], hint: &Hint) -> String {
    let Some(first) = reasons.first() else { return "refused".to_owned() };
    let again = if first.sort() == Sort::Later { "Try again later." } else { "Do not retry unchanged." };
    let page = hint.page.as_ref().map_or_else(String::new, |page| format!(" A person can look at {page}."));
    format!("{}: {first} {}{page} {again}", first.word, remedy(first, hint))
}

fn refusal_data(reasons: &[Reason], hint: &Hint) -> Value {
    let first = reasons.first();
    let mut data = json!({
        "word": first.map(|reason| reason.word),
        "sort": first.map(Reason::sort),
        "about": first.map(|reason| &reason.about),
        "remedy": first.map(|reason| remedy(reason, hint)),
        "retry": first.is_some_and(|reason| reason.sort() == Sort::Later),
        "verdict": format!("{:?}", verdict(reasons)).to_lowercase(),
        "words": reasons.iter().map(|reason| reason.word).collect::<std::collections::BTreeSet<_>>(),
    });
    if let (Some(page), Some(members)) = (&hint.page, data.as_object_mut()) {
        members.insert("url".to_owned(), page.as_str().into());
    }
    data
}

/// What to do; a tool that is not listed is no remedy
fn remedy(reason: &Reason, hint: &Hint) -> String {
    match (reason.word, &hint.elevation) {
        (Word::ClassNotOpen, Some(tool)) => {
            format!("Ask for it with the tool {tool}; what it opens is open for a while, and for exactly that.")
        }
        (Word::ClassNotOpen, None) => "The purpose has to let it stand: ask its owner.".to_owned(),
        (word, _) => word.remedy().to_owned(),
    }
}

#[cfg(test)]
mod tests;
