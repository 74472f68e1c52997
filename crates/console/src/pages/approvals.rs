//! The inbox, and one question with the forms that answer it.

use super::{CARDS_MAX, Frame, Refusal, html, said, show};
use crate::{
    Console,
    desk::{Answering, Problem},
    guard::{Filled, Visitor},
    mark::{Icon, Mark},
};
use askama::Template;
use axum::{
    extract::{Path, RawQuery, State},
    response::{IntoResponse as _, Redirect, Response},
};
use portreeve_core::policy::Class;
use portreeve_gateway::office::view::{About, HoldState, HoldView};
use std::sync::Arc;

#[derive(Template)]
#[template(path = "approvals.html")]
struct Approvals {
    frame: Frame,
    open: Vec<HoldView>,
    past: Vec<HoldView>,
}

/// `GET /approvals`; with `?code=` it leads to that question
pub(crate) async fn list(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let query = query.unwrap_or_default();
    if let Some((_, code)) = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "code") {
        let code: String =
            code.trim().chars().filter(|one| one.is_ascii_alphanumeric() || "-_".contains(*one)).collect();
        return Ok(Redirect::to(&format!("/approvals/{code}")).into_response());
    }
    let (frame, mut open) = Frame::of(&console, &visitor, "approvals").await?;
    let all = console.desk.holds(&visitor.person, true).await.map_err(visitor.refuse())?;
    let mut past: Vec<_> = all.into_iter().filter(|hold| hold.state != HoldState::Open).collect();
    past.sort_by_key(|hold| std::cmp::Reverse(hold.asked));
    open.truncate(CARDS_MAX);
    past.truncate(CARDS_MAX);
    Ok(html(&Approvals { frame, open, past }))
}

#[derive(Template)]
#[template(path = "approval.html")]
struct Approval {
    frame: Frame,
    hold: HoldView,
    irreversible: bool,
}

/// `GET /approvals/CODE`
pub(crate) async fn page(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    Path(code): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let (mut frame, _) = Frame::of(&console, &visitor, "approvals").await?;
    frame.said = said(query.as_deref());
    let hold = console.desk.hold(&visitor.person, &code).await.map_err(visitor.refuse())?;
    let irreversible = is_irreversible(&hold);
    Ok(html(&Approval { frame, hold, irreversible }))
}

/// `POST /approvals/CODE`
pub(crate) async fn answer(
    State(console): State<Arc<Console>>,
    Path(code): Path<String>,
    filled: Filled,
) -> Result<Response, Refusal> {
    let visitor = &filled.visitor;
    let refuse = visitor.refuse();
    let why = filled.why()?;
    let malformed = || refuse(Problem::new(400, "malformed", "The form is not whole.", "Open the page anew."));
    let yes = match filled.field("answer") {
        "yes" => true,
        "no" => false,
        _ => return Err(malformed()),
    };
    let binding = filled.field("binding").parse().map_err(|_| malformed())?;
    let hold = console.desk.hold(&visitor.person, &code).await.map_err(&refuse)?;
    if yes && is_irreversible(&hold) && filled.field("understood") != "yes" {
        let message = "This cannot be undone, and you did not say that you know.";
        return Err(refuse(Problem::new(422, "not_confirmed", message, "Go back, tick the box and approve again.")));
    }
    let read_ms = filled.field("read_ms").parse().ok();
    // What the person was shown, not what it is by now.
    let answer = Answering { hold: hold.hold, binding, yes, why, read_ms };
    let hold = console.desk.answer(&visitor.person, answer).await.map_err(&refuse)?;
    let said = if yes { "yes" } else { "no" };
    Ok(Redirect::to(&format!("/approvals/{}?said={said}", hold.code)).into_response())
}

/// Whether a yes cannot be taken back; what only looks changes nothing that one could take back
fn is_irreversible(hold: &HoldView) -> bool {
    matches!(&hold.about, About::Call { undo: None, class, .. } if *class != Class::Read)
}
