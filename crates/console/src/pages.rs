//! The pages, and what they share.

pub(crate) mod approvals;
pub(crate) mod elsewhere;
pub(crate) mod entry;
pub(crate) mod me;
pub(crate) mod overview;
pub(crate) mod passkeys;
pub(crate) mod show;
pub(crate) mod tasks;

use crate::{Console, desk::Problem, guard::Visitor, mark::Icon};
use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};
use http::{StatusCode, header};
use portreeve_core::time::Millis;
use portreeve_gateway::office::view::HoldView;

/// What stands around every page
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) visitor: Option<Visitor>,
    /// Which entry of the navigation is this page's
    pub(crate) here: &'static str,
    /// Questions that this person could answer
    pub(crate) waiting: usize,
    /// What was done a moment ago
    pub(crate) said: Option<&'static str>,
    pub(crate) now: Millis,
    /// The position of the record at which the page was made
    pub(crate) position: u64,
}

impl Frame {
    /// The frame of a page
    pub(crate) async fn of(console: &Console, visitor: &Visitor, here: &'static str) -> Result<Self, Refusal> {
        // Before anything is asked: what changes meanwhile is news for this page.
        let position = *console.desk.changes().borrow();
        let waiting = console.desk.waiting(&visitor.person).await.map_err(visitor.refuse())?;
        let now = console.desk.now();
        Ok(Self { visitor: Some(visitor.clone()), here, waiting, said: None, now, position })
    }

    /// The frame of a page for nobody in particular
    pub(crate) fn bare(visitor: Option<Visitor>, now: Millis) -> Self {
        Self { visitor, here: "", waiting: 0, said: None, now, position: 0 }
    }

    /// What every form of the session carries
    pub(crate) fn csrf(&self) -> &str {
        self.visitor.as_ref().map_or("", |visitor| &visitor.csrf)
    }
}

/// Why there is another page than the one asked for
#[derive(Debug)]
pub enum Refusal {
    /// One has to sign in first
    SignIn,
    /// Something did not work
    Page {
        /// What
        problem: Problem,
        /// Who is told, if they are signed in
        visitor: Option<Box<Visitor>>,
    },
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn => Redirect::to("/sign-in").into_response(),
            Self::Page { problem, visitor } => {
                let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                // No time stands on the page.
                let page = Wrong { frame: Frame::bare(visitor.map(|visitor| *visitor), Millis::default()), problem };
                (status, html(&page)).into_response()
            }
        }
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct Wrong {
    frame: Frame,
    problem: Problem,
}

/// A page that does not exist
pub(crate) async fn missing() -> Refusal {
    let problem = Problem::new(404, "no_such_page", "There is no page here.", "Begin at the overview.");
    Refusal::Page { problem, visitor: None }
}

/// A page that is there, asked for in another way
pub(crate) async fn wrong_method() -> Refusal {
    let message = "This page is not asked for like that.";
    Refusal::Page { problem: Problem::new(405, "wrong_method", message, "Begin at the overview."), visitor: None }
}

/// A filled template
pub(crate) fn html(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response(),
        // Writing into memory does not fail.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The words for what was done a moment ago; a closed list, since the address of a page is anybody's to write
pub(crate) fn said(query: Option<&str>) -> Option<&'static str> {
    let word = url::form_urlencoded::parse(query?.as_bytes()).find(|(name, _)| name == "said")?.1;
    Some(match word.as_ref() {
        "yes" => "Your yes is signed and recorded.",
        "no" => "Your no is signed and recorded; this will not happen.",
        "stopped" => "The task is stopped.",
        "reviewed" => "The review is closed.",
        "registered" => "The passkey is registered.",
        "confirmed" => "Your passkey was used: for five minutes, passkeys can be registered and removed.",
        "removed" => "The passkey is removed.",
        _ => return None,
    })
}

/// The open questions that one can see: those that one can answer first, then the one that ends first
pub(crate) async fn inbox(console: &Console, visitor: &Visitor) -> Result<(Vec<HoldView>, usize), Refusal> {
    let mut holds = console.desk.holds(&visitor.person, false).await.map_err(visitor.refuse())?;
    holds.sort_by_key(|hold| (!hold.not_by_you.is_empty(), hold.until));
    Ok(cards(holds))
}

/// So many as fit on a page, and how many more there are
pub(crate) fn cards(mut holds: Vec<HoldView>) -> (Vec<HoldView>, usize) {
    let more = holds.len().saturating_sub(CARDS_MAX);
    holds.truncate(CARDS_MAX);
    (holds, more)
}

/// Cards on one page
const CARDS_MAX: usize = 100;
