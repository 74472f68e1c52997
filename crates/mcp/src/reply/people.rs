//! What an agent is told of a call that waits for people, or that was done with their yes already.

use super::{META, REFUSED, error, result};
use crate::{edit::quoted, version::Era};
use serde_json::{Value, json};

/// Where the data of a question to people stands in `_meta`
pub const META_HOLD: &str = "portreeve/hold";

/// A question that waits for people, in words
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Its id
    pub hold: String,
    /// What people type
    pub code: String,
    /// When it lapses (RFC 3339)
    pub until: String,
    /// The page where people answer it
    pub url: String,
    /// The groups that are asked
    pub who: Vec<String>,
    /// Whether nobody answered in time
    pub lapsed: bool,
    /// What waits: `call`, or `elevation`
    pub what: &'static str,
}

/// What became of a call that was made with a yes already
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// The code of the question
    pub code: String,
    /// The effect that it was
    pub effect: String,
    /// Whether the connector said that it succeeded
    pub ok: bool,
    /// When that was known (RFC 3339)
    pub at: String,
    /// SHA-256 of the answer, if that is still known here
    pub digest: Option<String>,
}

impl Pending {
    /// What is to be read by a person: what waits, and where it is answered
    #[must_use]
    pub fn message(&self) -> String {
        format!("A person of {} has to agree to this {} ({}): {}", self.groups(), self.what, self.code, self.url)
    }

    /// How it stands, in one line
    #[must_use]
    pub fn status(&self) -> String {
        if self.lapsed {
            return format!("{} was not answered in time", self.code);
        }
        format!("waiting for {}: {}", self.code, self.url)
    }

    /// As data
    #[must_use]
    pub fn data(&self) -> Value {
        json!({ "hold": self.hold, "code": self.code, "until": self.until, "url": self.url, "who": self.who })
    }

    /// As a result of `tools/call`: what is pending, and what to do
    #[must_use]
    pub fn told(&self, id: &str, era: Era) -> Vec<u8> {
        let content = json!([{ "type": "text", "text": self.text() }]);
        result(id, era, &json!({ "content": content, "isError": true, "_meta": self.meta() }))
    }

    /// As an error of any other method
    #[must_use]
    pub fn error(&self, id: &str) -> Vec<u8> {
        error(Some(id), REFUSED, &self.text(), Some(self.meta()))
    }

    /// As the parameters of a question to open its page (2025-11-25 and 2026-07-28, Elicitation, URL Mode)
    #[must_use]
    pub fn elicitation(&self) -> String {
        let (message, url) = (quoted(&self.message()), quoted(&self.url));
        format!("{{\"mode\":\"url\",\"message\":{message},\"url\":{url}}}")
    }

    fn meta(&self) -> Value {
        let refusal = json!({ "word": "approval_needed", "retry": true });
        json!({ META: refusal, META_HOLD: self.data() })
    }

    fn text(&self) -> String {
        let Self { code, url, until, what, .. } = self;
        if self.lapsed {
            return format!(
                "approval_needed: Nobody answered {code} in time. Nothing was done. Repeat exactly this call to ask anew."
            );
        }
        format!(
            "approval_needed: A person of {} has to agree to this {what} first. Nothing was done yet. It waits as {code} \
             until {until}: ask for an answer at {url} or by `portreeve approve {code}`. Repeat exactly this call to go on.",
            self.groups()
        )
    }

    fn groups(&self) -> String {
        self.who.join(" and ")
    }
}

impl Earlier {
    /// The call was made with a yes already, and its answer is not kept any more
    #[must_use]
    pub fn told(&self, id: &str, is_tool: bool, era: Era) -> Vec<u8> {
        let Self { code, effect, at, .. } = self;
        let ended = if self.ok { "succeeded" } else { "failed" };
        let digest =
            self.digest.as_ref().map_or_else(String::new, |digest| format!(", the digest of its answer {digest}"));
        let text = format!(
            "done_already: Exactly this call was made with the yes to {code}; it {ended}, and that was known at {at}. Its \
             answer is not kept. On the record it is {effect}{digest}. It was not made again."
        );
        let data = json!({
            "word": "done_already", "retry": false, "ok": self.ok, "effect": effect, "at": at, "digest": self.digest
        });
        // That it was done is no failure, but what the agent wanted of it is not here.
        word(id, is_tool, era, &text, &data)
    }
}

/// The call was made with a yes, and nobody can know whether it happened
#[must_use]
pub fn unknown_before(id: &str, is_tool: bool, era: Era, code: &str, effect: &str) -> Vec<u8> {
    let text = format!(
        "outcome_unknown: Exactly this call was sent with the yes to {code} ({effect}), and no answer came. It may have \
         happened, and it was not made again. Do not repeat it; look whether it did."
    );
    word(id, is_tool, era, &text, &json!({ "word": "outcome_unknown", "retry": false, "effect": effect }))
}

/// The call is being made with a yes right now
#[must_use]
pub fn under_way(id: &str, is_tool: bool, era: Era, code: &str) -> Vec<u8> {
    let text = format!(
        "call_under_way: Exactly this call is being made with the yes to {code}, and has not ended. It is not made a \
         second time. Repeat exactly this call later to hear what came of it."
    );
    word(id, is_tool, era, &text, &json!({ "word": "call_under_way", "retry": true }))
}

fn word(id: &str, is_tool: bool, era: Era, text: &str, data: &Value) -> Vec<u8> {
    if !is_tool {
        return error(Some(id), REFUSED, text, Some(json!({ META: data })));
    }
    let content = json!([{ "type": "text", "text": text }]);
    result(id, era, &json!({ "content": content, "isError": true, "_meta": { META: data } }))
}

/// A plain text as the result of a tool of ours
#[must_use]
pub fn text(id: &str, era: Era, text: &str, meta: Option<Value>) -> Vec<u8> {
    let mut said = json!({ "content": [{ "type": "text", "text": text }] });
    if let (Some(meta), Some(members)) = (meta, said.as_object_mut()) {
        members.insert("_meta".to_owned(), meta);
    }
    result(id, era, &said)
}

/// `notifications/elicitation/complete` of 2025-11-25
#[must_use]
pub fn answered(elicitation: &str) -> Vec<u8> {
    let id = quoted(elicitation);
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/elicitation/complete\",\"params\":{{\"elicitationId\":{id}}}}}"
    )
    .into_bytes()
}

/// `notifications/progress`, with the client's own token as it was written
#[must_use]
pub fn progress(token: &str, done: f64, message: &str) -> Vec<u8> {
    let params = format!("{{\"progressToken\":{token},\"progress\":{done},\"message\":{}}}", quoted(message));
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{params}}}").into_bytes()
}
