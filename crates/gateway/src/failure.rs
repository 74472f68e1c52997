//! An error that a person can be shown: word, what, remedy; the same on every way in.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use portreeve_core::reason::{Reason, Word};
use serde_json::{Value, json};
use std::{fmt, str::FromStr};

/// An error that a person can be shown
#[derive(Clone, Debug)]
pub struct Failure {
    status: StatusCode,
    body: Value,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, word: &str, message: impl Into<String>, remedy: &str) -> Self {
        let message = message.into();
        Self { status, body: json!({ "error": { "word": word, "message": message, "remedy": remedy } }) }
    }

    /// An error with more than every error has
    pub(crate) fn with(status: StatusCode, error: Value) -> Self {
        Self { status, body: json!({ "error": error }) }
    }

    /// The unmet reasons, the first of them in words
    pub(crate) fn refused(reasons: &[Reason]) -> Self {
        let first = reasons.first();
        let body = json!({ "error": {
            "word": first.map(|reason| reason.word),
            "message": first.map(ToString::to_string),
            "to_person": first.map(|reason| reason.word.to_person()),
            "remedy": first.map(|reason| reason.word.remedy()),
            "reasons": reasons,
        }});
        Self { status: first.map_or(StatusCode::FORBIDDEN, |reason| status_of(reason.word)), body }
    }

    /// The same, of something that is not there
    pub(crate) fn missing(reasons: &[Reason]) -> Self {
        Self { status: StatusCode::NOT_FOUND, ..Self::refused(reasons) }
    }

    pub(crate) fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Portreeve is ending.", "Start it again.")
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message, "See `portreeve --help`.")
    }

    /// What a part of a request says, if it is of the form that is asked for
    pub(crate) fn parsed<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, Self> {
        text.parse().map_err(|error| Self::malformed(format!("{error}")))
    }

    pub(crate) fn unreachable(why: impl Into<String>) -> Self {
        let remedy = "Try its command or address by itself; its own messages are in the log of `portreeve serve`. \
            Of one with `spiffe` or `svid` in its file, `portreeve doctor` says what is missing.";
        Self::new(StatusCode::BAD_GATEWAY, "connector_unreachable", why, remedy)
    }

    /// The status of a response with it
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its word
    #[must_use]
    pub fn word(&self) -> &str {
        self.text("/error/word")
    }

    /// What happened, in a sentence
    #[must_use]
    pub fn message(&self) -> &str {
        self.text("/error/message")
    }

    /// What to do about it
    #[must_use]
    pub fn remedy(&self) -> &str {
        self.text("/error/remedy")
    }

    /// All of it, as the API answers it
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.body
    }

    fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

/// What the reasons of people's answers are in HTTP; everything else is refused
fn status_of(word: Word) -> StatusCode {
    match word {
        Word::HoldUnknown | Word::ReviewUnknown => StatusCode::NOT_FOUND,
        Word::HoldOver | Word::HoldChanged | Word::AnsweredAlready => StatusCode::CONFLICT,
        Word::AnswerUnbounded => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::FORBIDDEN,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}
