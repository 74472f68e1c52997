//! Marks: an icon, a word and a colour, so that none of the three has to be seen for the meaning.

use crate::text::Visible;
use askama::filters::HtmlSafe;
use portreeve_core::{policy::Class, reason::Word};
use portreeve_gateway::office::view::{HoldState, Moment, TaskRow};
use std::fmt;

/// An icon with its word
#[derive(Clone, Copy, Debug)]
pub struct Mark<'a> {
    icon: Icon,
    word: &'a str,
    tone: &'static str,
}

impl Mark<'static> {
    /// Where a hold stands
    #[must_use]
    pub fn state(state: &HoldState) -> Self {
        let (icon, word, tone) = match state {
            HoldState::Open => (Icon::Clock, "waits for people", "waits"),
            HoldState::Approved => (Icon::Check, "approved, not used yet", "good"),
            HoldState::Declined => (Icon::Cross, "denied", "bad"),
            HoldState::Used => (Icon::Play, "approved, under way", "info"),
            HoldState::Done => (Icon::Check, "approved and done", "good"),
            HoldState::Unknown => (Icon::Alert, "used, outcome unknown", "bad"),
            HoldState::Over => (Icon::Dash, "over, nobody's answer counted", "plain"),
        };
        Self { icon, word, tone }
    }

    /// The class of a call
    #[must_use]
    pub fn class(class: &Class) -> Self {
        let (icon, word, tone) = match class {
            Class::Read => (Icon::Eye, "read", "info"),
            Class::Write => (Icon::Pen, "write", "waits"),
            Class::Execute => (Icon::Play, "execute", "strong"),
            Class::Escalate => (Icon::Alert, "escalate", "bad"),
        };
        Self { icon, word, tone }
    }

    /// Whether a task may act
    #[must_use]
    pub fn task(row: &TaskRow) -> Self {
        let (icon, word, tone) = if is_over(row) {
            (Icon::Dash, "over", "plain")
        } else if !row.reasons.is_empty() {
            (Icon::Cross, "may not act", "bad")
        } else if row.holds > 0 {
            (Icon::Clock, "waits for people", "waits")
        } else if row.open > 0 {
            (Icon::Play, "at work", "info")
        } else {
            (Icon::Dot, "live", "good")
        };
        Self { icon, word, tone }
    }

    /// A yes or a no
    #[must_use]
    pub fn answer(yes: &bool) -> Self {
        if *yes {
            Self { icon: Icon::Check, word: "yes", tone: "good" }
        } else {
            Self { icon: Icon::Cross, word: "no", tone: "bad" }
        }
    }

    /// Something that is over
    #[must_use]
    pub fn over() -> Self {
        Self { icon: Icon::Dash, word: "over", tone: "plain" }
    }
}

impl<'a> Mark<'a> {
    /// How a call ended
    #[must_use]
    pub fn end(end: &'a str) -> Self {
        let (icon, word, tone) = match end {
            "ok" => (Icon::Check, "done", "good"),
            "failed" => (Icon::Cross, "failed", "bad"),
            "open" => (Icon::Play, "under way", "info"),
            "pending" => (Icon::Clock, "pending", "waits"),
            "not_sent" => (Icon::Dash, "not sent", "plain"),
            "unknown" => (Icon::Alert, "outcome unknown", "bad"),
            other => (Icon::Dot, other, "plain"),
        };
        Self { icon, word, tone }
    }

    /// What kind of moment
    #[must_use]
    pub fn moment(moment: &'a Moment) -> Self {
        let tone = match moment.tone.as_str() {
            "good" => "good",
            "bad" => "bad",
            "waits" => "waits",
            _ => "plain",
        };
        let icon = match moment.kind.as_str() {
            "began" => Icon::Play,
            "held" => Icon::Clock,
            "granted" => Icon::Key,
            "declined" | "refused" => Icon::Cross,
            "admitted" => Icon::Arrow,
            "settled" => Icon::Check,
            "stopped" => Icon::Stop,
            _ => Icon::Dot,
        };
        // A settlement that went wrong must not look like a tick.
        let icon = if tone == "bad" && moment.kind == "settled" { Icon::Alert } else { icon };
        Self { icon, word: &moment.kind, tone }
    }

    /// The tone: part of the class names of the style sheet
    #[must_use]
    pub fn tone(&self) -> &'static str {
        self.tone
    }

    /// The icon alone
    #[must_use]
    pub fn icon(&self) -> Icon {
        self.icon
    }
}

impl fmt::Display for Mark<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<span class=\"mark {}\">{}<span>{}</span></span>", self.tone, self.icon, Visible(self.word))
    }
}

impl HtmlSafe for Mark<'_> {}

/// Whether a task has ended for good
#[must_use]
pub fn is_over(row: &TaskRow) -> bool {
    row.reasons.iter().any(|reason| reason.word == Word::TaskOver)
}

/// A small drawing that repeats what a word says, and is hidden from who hears the page
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are drawings, and their names say of what")]
pub enum Icon {
    Alert,
    Arrow,
    Check,
    Clock,
    Cross,
    Dash,
    Dot,
    Eye,
    Key,
    Pen,
    Play,
    Shield,
    Stop,
    Undo,
    User,
}

impl Icon {
    fn path(self) -> &'static str {
        match self {
            Self::Alert => "M8 2 15 14H1Zm0 4.5v3.6m0 1.7v.2",
            Self::Arrow => "M2.5 8h10m-4-4 4 4-4 4",
            Self::Check => "m3 8.5 3.5 3.5L13 4.5",
            Self::Clock => "M8 1.75a6.25 6.25 0 1 0 0 12.5 6.25 6.25 0 0 0 0-12.5ZM8 4.5V8l2.4 1.8",
            Self::Cross => "m4 4 8 8m0-8-8 8",
            Self::Dash => "M3.5 8h9",
            Self::Dot => "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6Z",
            Self::Eye => {
                "M1.2 8S3.6 3.5 8 3.5 14.8 8 14.8 8 12.4 12.5 8 12.5 1.2 8 1.2 8ZM8 6a2 2 0 1 0 0 4 2 2 0 0 0 0-4Z"
            }
            Self::Key => "M5 6.2a3.2 3.2 0 1 0 0 6.4 3.2 3.2 0 0 0 0-6.4Zm2.3 1L13.5 1.5m-2.6 2.5 2 2",
            Self::Pen => "m2.5 13.5.6-3 8-8 2.4 2.4-8 8Zm7-9.4 2.4 2.4",
            Self::Play => "M4.5 2.800v10.400L13 8Z",
            Self::Shield => "M8 1.5 13.5 3.5v4c0 3.6-2.4 6-5.5 7-3.1-1-5.5-3.4-5.5-7v-4Z",
            Self::Stop => "M5.2 1.5h5.600l3.7 3.700v5.600l-3.7 3.700H5.200l-3.7-3.700V5.200Z",
            Self::Undo => "M5.5 2.5 2.5 5.5l3 3m-3-3H9a4 4 0 0 1 0 8H5",
            Self::User => {
                "M8 2.200a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.600ZM2.5 14c.5-3 2.7-4.3 5.5-4.300s5 1.3 5.5 4.3"
            }
        }
    }
}

impl fmt::Display for Icon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<svg class=\"icon\" viewBox=\"0 0 16 16\" aria-hidden=\"true\" focusable=\"false\"><path d=\"{}\"/></svg>",
            self.path()
        )
    }
}

impl HtmlSafe for Icon {}
