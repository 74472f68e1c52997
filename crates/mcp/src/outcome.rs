//! What a connector's answer amounts to: the end, questions back, or a task.

use crate::{
    asked::{self, INVALID_PARAMS},
    can::Can,
    edit::quoted,
    message::Message,
    method::Method,
    version::{Era, Version},
};
use portreeve_core::json::{self, Json};
use std::collections::BTreeMap;

/// What an answer amounts to
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The end
    Complete {
        /// Whether the connector says that it did not succeed
        failed: bool,
    },
    /// The connector asks back; the same request is expected again, with answers and this state
    ///
    /// From a legacy connector it is the error -32042: it wants the user to open addresses, and then the request
    /// again, without answers.
    Asks {
        /// What it asks; none if it only wants to be called again
        questions: Vec<Question>,
        /// What it wants back, as it is
        state: Option<String>,
    },
    /// It goes on for a while; of `tools/call`, and of `tasks/get`
    Task {
        /// The connector's own handle
        task: String,
        /// How it is getting on
        status: Status,
        /// What it asks, while it is [`Status::InputRequired`]
        questions: Vec<Question>,
    },
    /// An error
    Error {
        /// Its code
        code: i64,
    },
}

/// How a task is getting on (extension for tasks)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It goes on
    Working,
    /// It waits for answers
    InputRequired,
    /// It has a result
    Completed {
        /// Whether the result says that it did not succeed
        failed: bool,
    },
    /// It has an error
    Failed,
    /// It was given up
    Cancelled,
}

impl Status {
    /// Whether nothing more will come
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Failed | Self::Cancelled)
    }
}

/// What a server asks of its client
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The server's name for it
    pub key: String,
    /// `sampling/createMessage`, `elicitation/create` or `roots/list`
    pub method: Method,
    /// Its parameters, an object, as they were written; `{}` if there were none
    pub params: String,
}

/// Questions in one answer at most
pub const QUESTIONS_MAX: usize = 16;
/// Bytes of a state at most: it goes through the client, and back in a request
pub const STATE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a task's handle at most
pub const TASK_BYTES_MAX: usize = 1024;

/// Members of a result by which something is decided, here or at the client
pub(crate) const DECIDING: [&str; 10] = [
    "resultType",
    "inputRequests",
    "requestState",
    "isError",
    "structuredContent",
    "taskId",
    "status",
    "result",
    "error",
    "nextCursor",
];

/// Reads what the answer of a connector that speaks version `from` to `method` amounts to, for a client that can do
/// `can`
///
/// # Errors
/// What is wrong, for the log and the record: an answer that the protocol does not have, such as an unknown
/// `resultType`, a question that the client cannot answer, or one to a request that cannot be asked about.
pub fn outcome(message: &Message<'_>, from: Version, method: Method, can: Can) -> Result<Outcome, String> {
    if let Some(error) = message.error() {
        return of_error(error, from, method, can);
    }
    let result = message.result().ok_or("it is no answer")?;
    let members = result.as_object().ok_or("its result is no object")?;
    if members.iter().any(|member| json::confusable_with(&member.key, &DECIDING).is_some()) {
        return Err("a member of its result only looks like one of the protocol".to_owned());
    }
    let kind = match result.get("resultType") {
        None => "complete",
        Some(kind) => kind.as_str().ok_or("its resultType is no string")?,
    };
    // In the legacy era the member means nothing, but a client of the other era would be told what it says.
    match kind {
        "complete" if method == Method::GetTask => of_task(result, can),
        "complete" => Ok(Outcome::Complete { failed: failed(result) }),
        _ if from.era() == Era::Legacy => Err("its resultType belongs to another era".to_owned()),
        "input_required" if !method.may_ask() => Err(format!("it asks back about {}", method.as_str())),
        "input_required" => {
            let questions = result.get("inputRequests").map(|asked| questions(asked, can)).transpose()?;
            let state = match result.get("requestState") {
                None => None,
                Some(state) => Some(state.as_str().ok_or("its requestState is no string")?.to_owned()),
            };
            if questions.is_none() && state.is_none() {
                return Err("it asks back, and neither for anything nor with a state".to_owned());
            }
            if state.as_ref().is_some_and(|state| state.len() > STATE_BYTES_MAX) {
                return Err("its requestState is longer than 64 KiB".to_owned());
            }
            Ok(Outcome::Asks { questions: questions.unwrap_or_default(), state })
        }
        "task" if method != Method::CallTool => Err(format!("it answers {} with a task", method.as_str())),
        "task" if !can.has(Can::TASKS) => Err("it answers with a task, which the client cannot follow".to_owned()),
        "task" => of_task(result, can),
        _ => Err("its resultType is unknown".to_owned()),
    }
}

/// Whether a result says that it did not succeed
pub(crate) fn failed(result: &Json<'_>) -> bool {
    result.get("isError").and_then(Json::as_bool) == Some(true)
}

/// The error by which a server of 2025-11-25 wants addresses opened first
pub(crate) const URLS_REQUIRED: i64 = -32_042;

fn of_error(error: &Json<'_>, from: Version, method: Method, can: Can) -> Result<Outcome, String> {
    let code = error.get("code").and_then(Json::as_number).and_then(|code| code.parse().ok());
    let code = code.ok_or("its error has no code")?;
    if code != URLS_REQUIRED || from.era() == Era::Modern || !method.may_ask() {
        return Ok(Outcome::Error { code });
    }
    let asked = error.get("data").and_then(|data| data.get("elicitations")).and_then(Json::as_array);
    let asked = asked.filter(|asked| !asked.is_empty()).ok_or("its error wants addresses opened and names none")?;
    if asked.len() > QUESTIONS_MAX {
        return Err(format!("it asks more than {QUESTIONS_MAX} things at once"));
    }
    let question = |(index, params): (usize, &Json<'_>)| {
        if params.get("mode").and_then(Json::as_str) != Some("url") {
            return Err("its error wants something else than addresses opened".to_owned());
        }
        question(format!("url-{index}"), Method::Elicit, Some(params), can)
    };
    let questions = asked.iter().enumerate().map(question).collect::<Result<_, _>>()?;
    Ok(Outcome::Asks { questions, state: None })
}

fn of_task(result: &Json<'_>, can: Can) -> Result<Outcome, String> {
    let task = result.get("taskId").and_then(Json::as_str).ok_or("its task has no taskId")?;
    if task.len() > TASK_BYTES_MAX {
        return Err("its taskId is longer than 1024 bytes".to_owned());
    }
    let mut asked = Vec::new();
    let status = match result.get("status").and_then(Json::as_str) {
        Some("working") => Status::Working,
        Some("input_required") => {
            asked = result.get("inputRequests").map(|asked| questions(asked, can)).transpose()?.unwrap_or_default();
            Status::InputRequired
        }
        Some("completed") => Status::Completed { failed: result.get("result").is_some_and(failed) },
        Some("failed") => Status::Failed,
        Some("cancelled") => Status::Cancelled,
        _ => return Err("its task has no status that the protocol knows".to_owned()),
    };
    Ok(Outcome::Task { task: task.to_owned(), status, questions: asked })
}

fn questions(asked: &Json<'_>, can: Can) -> Result<Vec<Question>, String> {
    let asked = asked.as_object().ok_or("its inputRequests is no object")?;
    if asked.len() > QUESTIONS_MAX {
        return Err(format!("it asks more than {QUESTIONS_MAX} things at once"));
    }
    let read = |member: &json::Member<'_>| {
        let members = member.value.as_object().ok_or("one of its questions is no object")?;
        if members.iter().any(|member| json::confusable_with(&member.key, &["method", "params"]).is_some()) {
            return Err("a member of a question only looks like one of the protocol".to_owned());
        }
        let method = member.value.get("method").and_then(Json::as_str).and_then(Method::read);
        let method = method.filter(|method| method.from_server()).ok_or("it asks what no client answers")?;
        question(member.key.to_string(), method, member.value.get("params"), can)
    };
    asked.iter().map(read).collect()
}

/// One question, if a client that can do `can` may be asked it
///
/// # Errors
/// Why it may not.
pub fn question(key: String, method: Method, params: Option<&Json<'_>>, can: Can) -> Result<Question, String> {
    const PARAMS: [&str; 14] = [
        "_meta",
        "elicitationId",
        "includeContext",
        "maxTokens",
        "message",
        "messages",
        "mode",
        "modelPreferences",
        "requestedSchema",
        "systemPrompt",
        "temperature",
        "toolChoice",
        "tools",
        "url",
    ];
    let members = params.map_or(Some(&[][..]), Json::as_object).ok_or("the params of a question are no object")?;
    if members.iter().any(|member| json::confusable_with(&member.key, &PARAMS).is_some()) {
        return Err("a member of a question's params only looks like one of the protocol".to_owned());
    }
    if !can.allows(method, params) {
        return Err(format!("it asks for {} in a way that the client did not offer", method.as_str()));
    }
    Ok(Question { key, method, params: params.map_or("{}", Json::raw).to_owned() })
}

impl Question {
    /// Its parameters as a connector of version `from` wrote them, for a client of version `to`
    ///
    /// Legacy clients need an `elicitationId` with an address (2025-11-25, Elicitation).
    #[must_use]
    pub fn params_for(&self, to: Version) -> String {
        let raw = self.params.as_bytes();
        let limits = json::Limits { bytes_max: raw.len(), ..json::Limits::DEFAULT };
        let Ok(params) = json::scan_distinct(raw, &limits) else { return self.params.clone() };
        let mut edit = crate::edit::Edit::of(raw, &params);
        // A way of 2025-11-25 to be answered later, which is not taken.
        edit.remove(&["task"]);
        let url = params.get("mode").and_then(Json::as_str) == Some("url");
        if self.method == Method::Elicit && url && to.era() == Era::Legacy && params.get("elicitationId").is_none() {
            edit.set(&["elicitationId"], &quoted(&self.key));
        }
        String::from_utf8(edit.done()).unwrap_or_else(|_| self.params.clone())
    }
}

/// The client's answers to questions, as they were written, by the key of the question
pub type Answers = BTreeMap<String, String>;

/// Reads `inputResponses`; what was not asked is left out (2026-07-28, Multi Round-Trip Requests, Error Handling)
///
/// # Errors
/// What is wrong with an answer, fit for the client (error -32602).
pub fn answers(responses: &Json<'_>, asked: &[(String, Method)]) -> Result<Answers, &'static str> {
    let mut answers = Answers::new();
    for (key, method) in asked {
        let Some(answer) = responses.get(key) else { continue };
        check_answer(*method, answer)?;
        answers.insert(key.clone(), answer.raw().to_owned());
    }
    Ok(answers)
}

/// Whether a client's result answers a question of this kind
///
/// # Errors
/// What is wrong with it, fit for the client (error -32602).
pub fn check_answer(method: Method, answer: &Json<'_>) -> Result<(), &'static str> {
    const MEMBERS: [&str; 7] = ["_meta", "action", "content", "model", "role", "roots", "stopReason"];
    let members = answer.as_object().ok_or("an answer must be an object")?;
    if members.iter().any(|member| json::confusable_with(&member.key, &MEMBERS).is_some()) {
        return Err("a member of an answer only looks like one of the protocol");
    }
    let text = |key: &str| answer.get(key).and_then(Json::as_str);
    match method {
        Method::Elicit => {
            if !matches!(text("action"), Some("accept" | "decline" | "cancel")) {
                return Err("the action of an answer must be accept, decline or cancel");
            }
            if answer.get("content").is_some_and(|content| content.as_object().is_none()) {
                return Err("the content of an answer must be an object");
            }
        }
        Method::Sample => {
            let content = answer.get("content");
            if text("role").is_none() || text("model").is_none() || content.is_none() {
                return Err("the answer of a model needs role, content and model");
            }
        }
        Method::ListRoots => {
            let roots = answer.get("roots").and_then(Json::as_array).ok_or("the answer needs roots")?;
            if roots.iter().any(|root| root.get("uri").and_then(Json::as_str).is_none()) {
                return Err("every root needs a uri");
            }
        }
        _ => return Err("this is nothing that a client is asked"),
    }
    Ok(())
}

/// The result by which a modern client is asked; `id` and the parameters as they are written
///
/// The order of the questions is kept.
#[must_use]
pub fn input_required(id: &str, questions: &[Question], state: Option<&str>) -> Vec<u8> {
    let mut asked = String::new();
    for question in questions {
        let comma = if asked.is_empty() { "" } else { "," };
        let (key, method) = (quoted(&question.key), question.method.as_str());
        let params = question.params_for(Version::LATEST);
        asked.push_str(&format!("{comma}{key}:{{\"method\":\"{method}\",\"params\":{params}}}"));
    }
    let requests = if questions.is_empty() { String::new() } else { format!(",\"inputRequests\":{{{asked}}}") };
    let state = state.map_or_else(String::new, |state| format!(",\"requestState\":{}", quoted(state)));
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"resultType\":\"input_required\"{requests}{state}}}}}")
        .into_bytes()
}

/// A question as a legacy client is asked it: a request of ours, with an id of ours
#[must_use]
pub fn ask(id: u64, question: &Question, version: Version) -> Vec<u8> {
    let (method, params) = (question.method.as_str(), question.params_for(version));
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}").into_bytes()
}

/// The error of 2025-11-25 by which a legacy client is told to open addresses and then to send its request again
#[must_use]
pub fn urls_required(id: &str, questions: &[Question]) -> Vec<u8> {
    let asked: Vec<String> = questions.iter().map(|question| question.params_for(Version::LATEST_LEGACY)).collect();
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":{URLS_REQUIRED},\"message\":\"URL elicitation \
         required\",\"data\":{{\"elicitations\":[{}]}}}}}}",
        asked.join(",")
    )
    .into_bytes()
}

/// The code of an error as a client of this version may see it
///
/// A modern client is never told -32002 or -32042, nor a code of the protocol's own range that is not defined; and the
/// errors about headers and versions are about what Portreeve sent, not about what the client did.
#[must_use]
pub fn code_for(code: i64, to: Version) -> i64 {
    match (code, to.era()) {
        (-32_002, Era::Modern) => INVALID_PARAMS,
        (URLS_REQUIRED, Era::Modern) => asked::INTERNAL,
        (URLS_REQUIRED, Era::Legacy) if to == Version::November2025 => code,
        (asked::MISSING_CAPABILITY, _) => code,
        (-32_099..=-32_020, _) => asked::INTERNAL,
        _ => code,
    }
}

#[cfg(test)]
mod tests;
