//! What templates call to show things.

use crate::{
    guard::WHY_CHARS_MAX,
    mark::Icon,
    text::{Pretty, Visible},
    when::{Exact, Span, When},
};
use askama::filters::HtmlSafe;
use portreeve_core::time::Millis;
use portreeve_gateway::office::view::{Reader, StepView};
use std::fmt;

pub(crate) fn v<T: AsRef<str>>(text: T) -> Visible<T> {
    Visible(text)
}

pub(crate) fn chooser(source: &str) -> Chooser<'_> {
    Chooser(source)
}

pub(crate) fn when(at: &Millis, now: &Millis) -> When {
    When { at: *at, now: *now }
}

/// How long something stands still
pub(crate) fn until(at: &Millis, now: &Millis) -> Until {
    Until(When { at: *at, now: *now })
}

/// So much of a value as fits into a card
pub(crate) fn short(value: Option<&str>) -> String {
    let Some(value) = value else { return "…".to_owned() };
    let mut text: String = value.chars().take(SHORT_CHARS).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    text
}

/// A value: JSON of several parts on several lines, everything else as it is
pub(crate) fn value(text: &str) -> Value<'_> {
    if text.starts_with(['{', '[']) { Value::Parts(Pretty(text)) } else { Value::Plain(Visible(text)) }
}

pub(crate) fn span(ms: &i64) -> Span {
    Span(*ms)
}

/// Whether nobody knows what became of one of these calls
pub(crate) fn unclear(steps: &[StepView]) -> bool {
    steps.iter().any(|step| matches!(step.end.as_str(), "unknown" | "open"))
}

/// Yeses of a hundred answers
pub(crate) fn share(reader: &Reader) -> u64 {
    (reader.yes * 100).checked_div(reader.yes + reader.no).unwrap_or_default()
}

pub(crate) fn seconds(ms: &u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1000, ms / 100 % 10),
        _ => Span(i64::try_from(*ms).unwrap_or(i64::MAX)).to_string(),
    }
}

/// Whether somebody says yes to nearly everything, faster than it can be read
pub(crate) fn hasty(reader: &Reader) -> bool {
    reader.read_ms.is_some_and(|ms| ms < HASTY_MS) && reader.yes >= HASTY_YESES && share(reader) >= HASTY_SHARE
}

pub(crate) fn diff_class(mark: &char) -> &'static str {
    match mark {
        '-' => "goes",
        '+' => "comes",
        _ => "stays",
    }
}

/// A minus as wide as the plus
pub(crate) fn diff_mark(mark: &char) -> &'static str {
    match mark {
        '-' => "−",
        '+' => "+",
        _ => " ",
    }
}

pub(crate) fn diff_word(mark: &char) -> &'static str {
    match mark {
        '-' => "removed:",
        '+' => "added:",
        _ => "unchanged:",
    }
}

/// How long something stands still: `14 min more, until …`
#[derive(Debug)]
pub(crate) struct Until(When);

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(When { at, now }) = self;
        let left = Span(at.since(*now));
        write!(f, "<span class=\"rel\"><b>{left}</b> more,</span> <span class=\"abs\">until {}</span>", Exact(*at))
    }
}

impl HtmlSafe for Until {}

/// A value on the page
#[derive(Debug)]
pub(crate) enum Value<'a> {
    Parts(Pretty<'a>),
    Plain(Visible<&'a str>),
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parts(parts) => parts.fmt(f),
            Self::Plain(text) => text.fmt(f),
        }
    }
}

impl HtmlSafe for Value<'_> {}

/// Who chose a value
#[derive(Debug)]
pub(crate) struct Chooser<'a>(&'a str);

impl fmt::Display for Chooser<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, tone, icon) = match self.0 {
            "parameter" => ("task's opener", "good", Icon::User),
            "objective" => ("the objective", "good", Icon::User),
            "purpose" => ("the purpose", "good", Icon::Shield),
            "model" => ("the model", "waits", Icon::Alert),
            other => (other, "plain", Icon::Dot),
        };
        write!(f, "<span class=\"mark {tone}\">{icon}<span>{}</span></span>", Visible(word))
    }
}

impl HtmlSafe for Chooser<'_> {}

/// Characters of a value on a card
const SHORT_CHARS: usize = 48;
/// Bytes from which the length of a value is told
pub(crate) const LONG: usize = 400;
/// Characters of a reason, as forms say it
pub(crate) const WHY_MAX: usize = WHY_CHARS_MAX;
/// Below this nobody has read a question, in milliseconds
const HASTY_MS: u64 = 5_000;
/// Yeses before anybody is called quick
const HASTY_YESES: u64 = 5;
/// Of a hundred
const HASTY_SHARE: u64 = 90;
