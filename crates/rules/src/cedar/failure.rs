//! Why a rule could not be evaluated, without any value of the call.

use cedar_policy::EvaluationError;
use miette::Diagnostic as _;

/// In words that are fit for the record and the agent: the rule's own text, and what is the matter with it
pub(super) fn why(error: &EvaluationError) -> String {
    let at = snippet(error).unwrap_or_else(|| "a part of it".to_owned());
    match error {
        EvaluationError::RecordAttrDoesNotExist(_) | EvaluationError::EntityAttrDoesNotExist(_) => {
            format!("`{at}` is not there")
        }
        // Cedar names types here, and only types.
        EvaluationError::TypeError(error) => {
            let types = error.to_string();
            format!("`{at}`: {}", types.strip_prefix("type error: ").unwrap_or(&types))
        }
        EvaluationError::EntityDoesNotExist(_) => format!("`{at}` looks into something of which nothing is known"),
        EvaluationError::IntegerOverflow(_) => format!("`{at}` becomes too large"),
        EvaluationError::FailedExtensionFunctionExecution(error) => {
            format!("`{at}` is nothing that `{}` can read", error.extension_name())
        }
        EvaluationError::RecursionLimit(_) => "it is nested too deeply".to_owned(),
        _ => format!("`{at}` cannot be evaluated"),
    }
}

/// The piece of the rule's text that failed, on one short line
fn snippet(error: &EvaluationError) -> Option<String> {
    const CHARS_MAX: usize = 80;
    let label = error.labels()?.next()?;
    let contents = error.source_code()?.read_span(label.inner(), 0, 0).ok()?;
    let text = String::from_utf8_lossy(contents.data()).into_owned();
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = words.join(" ");
    let mut short: String = line.chars().take(CHARS_MAX).collect();
    if line.chars().nth(CHARS_MAX).is_some() {
        short.push('…');
    }
    Some(short)
}
