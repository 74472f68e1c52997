//! What is wrong with a policy, where, and what to do about it.

use serde::Serialize;
use std::{fmt, ops::Range};

/// How bad a finding is
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The policy is refused
    Error,
    /// The policy is taken, and probably does not say what was meant
    Warning,
}

/// One thing that is wrong
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is
    pub severity: Severity,
    /// In which file, relative to the folder
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong
    pub message: String,
    /// What to do about it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    pub(crate) fn new(severity: Severity, place: Place, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into()).filter(|remedy| !remedy.is_empty());
        Self { severity, place, message: message.into(), remedy }
    }

    pub(crate) fn error(place: Place, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Error, place, message, remedy)
    }

    pub(crate) fn warning(place: Place, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Warning, place, message, remedy)
    }

    /// Whether it makes the policy unusable
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}: {}", self.place, self.message)?;
        if let (Some(line), Some(column)) = (&self.place.text, self.place.column) {
            let carets = "^".repeat(self.place.width.max(1));
            write!(f, "\n  | {line}\n  | {:1$}{carets}", "", column.saturating_sub(1))?;
        }
        match &self.remedy {
            Some(remedy) => write!(f, "\n  = {remedy}"),
            None => Ok(()),
        }
    }
}

/// Where something stands: a file, and in it a line and column counted from 1 in characters
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Relative to the folder
    pub file: String,
    /// The line
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The line as it is written, fit for a terminal
    #[serde(skip)]
    text: Option<String>,
    #[serde(skip)]
    width: usize,
}

impl Place {
    /// A whole file
    pub(crate) fn file(file: impl Into<String>) -> Self {
        Self { file: file.into(), line: None, column: None, text: None, width: 0 }
    }

    /// The bytes `span` of a file with this content
    pub(crate) fn span(file: &str, content: &str, span: &Range<usize>) -> Self {
        let start = (0..=span.start.min(content.len())).rev().find(|at| content.is_char_boundary(*at)).unwrap_or(0);
        let (before, after) = content.split_at_checked(start).unwrap_or((content, ""));
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        let line = content.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
        let bytes = span.end.saturating_sub(start);
        let marked = after.lines().next().unwrap_or_default().char_indices().take_while(|(at, _)| *at < bytes).count();
        Self {
            file: file.to_owned(),
            line: Some(before.matches('\n').count() + 1),
            column: Some(column + 1),
            // One cell per character, so that the caret stays below what it points at.
            text: (column < LINE_CHARS_MAX)
                .then(|| line.chars().take(LINE_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()),
            width: marked.min(LINE_CHARS_MAX.saturating_sub(column)),
        }
    }
}

/// Longer lines are cut, so that a finding stays readable
const LINE_CHARS_MAX: usize = 160;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        Ok(())
    }
}

/// Errors and warnings in the order in which a reader meets them
pub(crate) fn sort(findings: &mut Vec<Finding>) {
    findings.sort_by(|a, b| (&a.place, a.severity, &a.message).cmp(&(&b.place, b.severity, &b.message)));
    findings.dedup();
}
