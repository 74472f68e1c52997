//! How a command fails: a stable word, what, why, and what to do.

use crate::output;
use serde_json::{Value, json};

/// A command's failure
#[derive(Debug)]
pub(crate) struct Failure {
    word: String,
    what: String,
    fix: Option<String>,
    more: Vec<String>,
    pub(crate) exit: u8,
}

/// Exit codes; see `--help`
pub(crate) mod exit {
    pub(crate) const FAILURE: u8 = 1;
    pub(crate) const NOT_FOUND: u8 = 3;
    pub(crate) const REFUSED: u8 = 4;
    pub(crate) const WAITS: u8 = 5;
    pub(crate) const UNVERIFIED: u8 = 6;
    pub(crate) const UNREACHABLE: u8 = 7;
    pub(crate) const CONFLICT: u8 = 8;
}

impl Failure {
    /// A failure with a word
    pub(crate) fn new(exit: u8, word: &str, what: impl Into<String>) -> Self {
        Self { word: word.to_owned(), what: what.into(), fix: None, more: Vec::new(), exit }
    }

    /// What to do about it
    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Lines that belong to it
    pub(crate) fn more(mut self, more: impl IntoIterator<Item = String>) -> Self {
        self.more.extend(more);
        self
    }

    /// The error that the administration answered
    pub(crate) fn answered(status: u16, body: &Value) -> Self {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let word = text("/error/word").unwrap_or_else(|| "failed".to_owned());
        let exit = match status {
            403 => exit::REFUSED,
            404 => exit::NOT_FOUND,
            409 => exit::CONFLICT,
            502 | 503 => exit::UNREACHABLE,
            _ => exit::FAILURE,
        };
        let reasons = body.pointer("/error/reasons").and_then(Value::as_array).into_iter().flatten().skip(1);
        let more = reasons.map(|reason| {
            let about = reason.get("about").map(Value::to_string).unwrap_or_default();
            format!("also: {} {about}", reason.get("word").and_then(Value::as_str).unwrap_or_default())
        });
        let shown = body.pointer("/error/shown").and_then(Value::as_array).into_iter().flatten();
        let findings = shown.filter_map(|finding| finding.as_str().map(str::to_owned));
        Self {
            what: text("/error/message").unwrap_or_else(|| format!("the server answered with status {status}")),
            fix: text("/error/remedy"),
            more: text("/error/to_person").into_iter().chain(more).chain(findings).collect(),
            word,
            exit,
        }
    }

    /// The same in words of another machine: nothing in them that a terminal would act on
    pub(crate) fn plain(self) -> Self {
        let Self { word, what, fix, more, exit } = self;
        let more = more.iter().map(|line| output::plain(line)).collect();
        Self {
            word: output::plain(&word),
            what: output::plain(&what),
            fix: fix.as_deref().map(output::plain),
            more,
            exit,
        }
    }

    /// Word, what, and what to do
    pub(crate) fn parts(&self) -> (String, String, String) {
        (self.word.clone(), self.what.clone(), self.fix.clone().unwrap_or_default())
    }

    /// Prints it
    pub(crate) fn show(&self, as_json: bool) {
        if as_json {
            output::json(&json!({ "error": { "word": self.word, "message": self.what, "remedy": self.fix } }));
            return;
        }
        output::problem(&format!("error[{}]: {}", self.word, self.what));
        for more in &self.more {
            output::problem(&format!("  {}", more.replace('\n', "\n  ")));
        }
        if let Some(fix) = &self.fix {
            output::problem(&format!("  fix: {fix}"));
        }
        if self.word.parse::<portreeve_core::reason::Word>().is_ok() {
            output::problem(&format!("  docs: portreeve explain {}", self.word));
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(exit::FAILURE, "failed", format!("{error:#}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(exit::FAILURE, "failed", error.to_string())
    }
}

/// An error and everything that caused it, in one line
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
