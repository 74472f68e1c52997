//! How a question is written for each kind of point, and how its answer is read.

use super::{Said, Wire};
use crate::{
    json::{self, Limits},
    time::Millis,
    value::Value,
};
use std::collections::BTreeMap;

/// The body that is sent to a point
#[must_use]
pub fn body(wire: Wire, document: &BTreeMap<String, Value>, now: Millis) -> String {
    match wire {
        Wire::Opa => object([("input", Value::Object(timed(document, now)))]).canonical(),
        Wire::Authzen => evaluation(document, now).canonical(),
    }
}

/// The document with the time of asking
#[must_use]
pub fn timed(document: &BTreeMap<String, Value>, now: Millis) -> BTreeMap<String, Value> {
    let mut document = document.clone();
    document.insert("time".to_owned(), Value::String(now.rfc3339()));
    document
}

/// AuthZEN 1.0, Access Evaluation: who wants to do what to which resource, and everything else as context
fn evaluation(document: &BTreeMap<String, Value>, now: Millis) -> Value {
    let mut rest = timed(document, now);
    let mut take = |key: &str| rest.remove(key).unwrap_or(Value::Null);
    let (agent, tool) = (take("agent"), take("tool"));
    let action = [("class", take("class")), ("variants", take("variants"))];
    let of_tool = object([("connector", take("connector"))]);
    object([
        ("subject", object([("type", text("agent")), ("id", agent)])),
        ("action", object([("name", text("tools/call")), ("properties", object(action))])),
        ("resource", object([("type", text("tool")), ("id", tool), ("properties", of_tool)])),
        ("context", Value::Object(rest)),
    ])
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.map(|(key, value)| (key.to_owned(), value)).into())
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// What OPA's Data API says: `{"result": …}`, without `result` where the rule is undefined
#[must_use]
pub fn read_opa(answer: &[u8]) -> Said {
    match read(answer) {
        Ok(Value::Object(answer)) => read_result(answer.get("result")),
        Ok(_) => failed("the answer is no object"),
        Err(why) => Said::Failed(why),
    }
}

/// What the result of a Rego rule says: `true`, `false`, or `{allow, reason?, reasons?}`; undefined is no
#[must_use]
pub fn read_result(result: Option<&Value>) -> Said {
    match result {
        None => Said::Refuse(Some("the rule is undefined for this call".to_owned())),
        Some(Value::Bool(true)) => Said::Permit,
        Some(Value::Bool(false)) => Said::Refuse(None),
        Some(result @ Value::Object(_)) => match result.get("allow") {
            Some(Value::Bool(true)) => Said::Permit,
            Some(Value::Bool(false)) => {
                let given = result.get("reasons").or_else(|| result.get("reason"));
                Said::Refuse(given.and_then(because))
            }
            _ => failed("the result has no `allow` that is true or false"),
        },
        Some(_) => failed("the result is neither true, false nor an object with `allow`"),
    }
}

/// What an AuthZEN point says: `{"decision": true or false, "context": …}`
///
/// Of the context only `reason_user` or `reason` is told to the agent. `reason_admin` is not for it, and
/// obligations that nobody here fulfils turn a permit into an answer that is not understood.
#[must_use]
pub fn read_authzen(answer: &[u8]) -> Said {
    let answer = match read(answer) {
        Ok(answer) => answer,
        Err(why) => return Said::Failed(why),
    };
    let context = answer.get("context");
    match answer.get("decision") {
        Some(Value::Bool(true)) => match context.and_then(|context| context.get("obligations")) {
            None | Some(Value::Null) => Said::Permit,
            Some(Value::Array(none)) if none.is_empty() => Said::Permit,
            Some(_) => failed("it permits under obligations, which nobody here fulfils"),
        },
        Some(Value::Bool(false)) => {
            let given = context.and_then(|context| context.get("reason_user").or_else(|| context.get("reason")));
            Said::Refuse(given.and_then(because))
        }
        _ => failed("the answer has no `decision` that is true or false"),
    }
}

fn read(answer: &[u8]) -> Result<Value, String> {
    let value = json::scan_distinct(answer, &ANSWER).and_then(|json| json.to_value());
    value.map_err(|error| format!("the answer is no JSON that can be read one way only: {error}"))
}

fn failed(why: &str) -> Said {
    Said::Failed(why.to_owned())
}

/// Reasons as one line: a text, texts in a list, or texts by language
fn because(given: &Value) -> Option<String> {
    let texts: Vec<&str> = match given {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        // By language; the first of them, as they say the same.
        Value::Object(members) => members.values().filter_map(Value::as_str).take(1).collect(),
        _ => Vec::new(),
    };
    Some(one_line(&texts.join("; "))).filter(|line| !line.is_empty())
}

/// The text without control characters, cut to what an agent is told
///
/// SAFETY(security): it is somebody else's text, and stands in a model's context and on people's terminals.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars().map(|character| if character.is_control() { ' ' } else { character }) {
        if line.len() + character.len_utf8() > REASON_BYTES_MAX {
            line.push('…');
            break;
        }
        line.push(character);
    }
    line.trim().to_owned()
}

/// What an answer may hold; longer ones are not read to their end
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
const ANSWER: Limits = Limits { bytes_max: ANSWER_BYTES_MAX, depth_max: 32, nodes_max: 4_096 };
/// Bytes of what a point says that the agent is told
const REASON_BYTES_MAX: usize = 300;
