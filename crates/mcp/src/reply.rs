//! What Portreeve itself says to an agent: results, errors and refusals.
//!
//! A refusal of `tools/call` is a result with `isError`, short and stable, for the model and the human; the
//! same stands as data in `_meta`. Every other method gets a JSON-RPC error with an application code outside
//! the reserved range and the same data.

use portreeve_core::reason::{Reason, Sort, verdict};
use serde_json::{Value, json};

/// The code of a refusal where a method has no `isError`: outside -32768…-32000
pub const REFUSED: i64 = -31_001;
/// Where the data of a refusal stands in `_meta`
pub const META: &str = "dev.portreeve/refusal";

/// What may become of a permitted call beside an answer: word, meaning, what to do
pub const OUTCOMES: [(&str, &str, &str); 4] = [
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
];

/// A result; `id` as it stood in the request
#[must_use]
pub fn result(id: &str, result: &Value) -> Vec<u8> {
    result_text(id, &result.to_string())
}

/// A result whose text is made already
#[must_use]
pub fn result_text(id: &str, result: &str) -> Vec<u8> {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}").into_bytes()
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
    error(Some(id), -32602, &format!("Unknown tool: {name}"), None)
}

/// A refused `tools/call`
#[must_use]
pub fn refused_call(id: &str, reasons: &[Reason]) -> Vec<u8> {
    let result = json!({
        "content": [{ "type": "text", "text": refusal_text(reasons) }],
        "isError": true,
        "_meta": { META: refusal_data(reasons) },
    });
    self::result(id, &result)
}

/// A refused request of any other method
#[must_use]
pub fn refused(id: &str, reasons: &[Reason]) -> Vec<u8> {
    error(Some(id), REFUSED, &refusal_text(reasons), Some(json!({ META: refusal_data(reasons) })))
}

/// A call of which nobody can say whether it happened
#[must_use]
pub fn unknown_outcome(id: &str, why: &str) -> Vec<u8> {
    let text = format!(
        "outcome_unknown: The call was sent, but no answer came ({why}). It may have happened. Do not repeat it; \
         look whether it did."
    );
    let result = json!({
        "content": [{ "type": "text", "text": text }],
        "isError": true,
        "_meta": { META: { "word": "outcome_unknown", "retry": false } },
    });
    self::result(id, &result)
}

/// A call that could not be tried because its connector is not there
#[must_use]
pub fn unreachable(id: &str, why: &str) -> Vec<u8> {
    let text =
        format!("connector_unreachable: The server behind this tool cannot be reached ({why}). Nothing was sent.");
    let result = json!({
        "content": [{ "type": "text", "text": text }],
        "isError": true,
        "_meta": { META: { "word": "connector_unreachable", "retry": true } },
    });
    self::result(id, &result)
}

/// A call that arrived, and that the connector refused below the protocol: with a status and no message
#[must_use]
pub fn rejected(id: &str, why: &str) -> Vec<u8> {
    let text = format!(
        "connector_rejected: The server behind this tool refused the call ({why}). It counts as used. Do not retry \
         unchanged."
    );
    let result = json!({
        "content": [{ "type": "text", "text": text }],
        "isError": true,
        "_meta": { META: { "word": "connector_rejected", "retry": false } },
    });
    self::result(id, &result)
}

/// A call whose answer is longer than the task's budget lets through
#[must_use]
pub fn withheld(id: &str, bytes: u64, most: u64) -> Vec<u8> {
    let text = format!(
        "answer_withheld: The call happened, and its answer of {bytes} bytes is longer than the {most} that this task \
         may still receive. It counts as used. Do not repeat it; ask for a smaller part."
    );
    let result = json!({
        "content": [{ "type": "text", "text": text }],
        "isError": true,
        "_meta": { META: { "word": "answer_withheld", "retry": false, "bytes": bytes, "limit": most } },
    });
    self::result(id, &result)
}

/// The refusal in words: the most useful reason, what to do, and whether to try again
fn refusal_text(reasons: &[Reason]) -> String {
    let Some(first) = reasons.first() else { return "refused".to_owned() };
    let again = if first.sort() == Sort::Later { "Try again later." } else { "Do not retry unchanged." };
    format!("{}: {first} {} {again}", first.word, first.word.remedy())
}

fn refusal_data(reasons: &[Reason]) -> Value {
    let first = reasons.first();
    json!({
        "word": first.map(|reason| reason.word),
        "sort": first.map(Reason::sort),
        "about": first.map(|reason| &reason.about),
        "remedy": first.map(|reason| reason.word.remedy()),
        "retry": first.is_some_and(|reason| reason.sort() == Sort::Later),
        "verdict": format!("{:?}", verdict(reasons)).to_lowercase(),
        "words": reasons.iter().map(|reason| reason.word).collect::<std::collections::BTreeSet<_>>(),
    })
}
