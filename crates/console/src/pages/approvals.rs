//! The inbox, and one question with the forms that answer it.

use super::{Frame, Refusal, cards, html, inbox, passkeys, said, show};
use crate::{
    Console,
    desk::Problem,
    guard::{Filled, Visitor},
    mark::{Icon, Mark},
};
use askama::Template;
use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::{IntoResponse as _, Redirect, Response},
};
use portreeve_core::{policy::Class, time::Millis};
use portreeve_gateway::office::{
    Answering, PasskeyUse,
    view::{About, HoldState, HoldView},
};
use portreeve_identity::passkey::Assertion;
use serde_json::json;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "approvals.html")]
struct Approvals {
    frame: Frame,
    open: Vec<HoldView>,
    more_open: usize,
    past: Vec<HoldView>,
    more_past: usize,
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
    let frame = Frame::of(&console, &visitor, "approvals").await?;
    let (open, more_open) = inbox(&console, &visitor).await?;
    let all = console.desk.holds(&visitor.person, true).await.map_err(visitor.refuse())?;
    let mut past: Vec<_> = all.into_iter().filter(|hold| hold.state != HoldState::Open).collect();
    past.sort_by_key(|hold| std::cmp::Reverse(hold.asked));
    let (past, more_past) = cards(past);
    Ok(html(&Approvals { frame, open, more_open, past, more_past }))
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
    let mut frame = Frame::of(&console, &visitor, "approvals").await?;
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
    let mut answer = answering(&console, &code, &filled).await?;
    if !filled.field("passkey").is_empty() {
        let at = filled.field("at").parse().map(Millis).map_err(|_| refuse(malformed()))?;
        let said = Assertion::from_json(filled.field("passkey").as_bytes());
        let assertion = said.map_err(|wrong| refuse(passkeys::refused(&wrong.into())))?;
        answer.passkey = Some(PasskeyUse { at, assertion });
    }
    let (said, used) = (if answer.yes { "yes" } else { "no" }, answer.passkey.is_some());
    let hold = console.desk.answer(&visitor.person, answer).await.map_err(&refuse)?;
    if used {
        console.sessions.passkey_used(&visitor.cookie, console.desk.now());
    }
    Ok(Redirect::to(&format!("/approvals/{}?said={said}", hold.code)).into_response())
}

/// `POST /approvals/CODE/ask`: what a passkey has to sign for this very answer
pub(crate) async fn ask(
    State(console): State<Arc<Console>>,
    Path(code): Path<String>,
    filled: Filled,
) -> Result<Response, Refusal> {
    let visitor = &filled.visitor;
    let party = console.desk.party().ok_or_else(|| visitor.refuse()(passkeys::none_here()))?;
    let answer = answering(&console, &code, &filled).await?;
    let at = console.desk.now();
    let said = (answer.yes, answer.why.as_str());
    let challenge = console.desk.challenge(&visitor.person, (answer.hold, answer.binding), said, at);
    let options = console.desk.passkeys().request_options(party, Some(&visitor.person.bearer()), &challenge.0);
    Ok(Json(json!({ "get": options, "at": at })).into_response())
}

/// What a form says, if it is whole
async fn answering(console: &Console, code: &str, filled: &Filled) -> Result<Answering, Refusal> {
    let visitor = &filled.visitor;
    let refuse = visitor.refuse();
    let why = filled.why()?;
    let yes = match filled.field("answer") {
        "yes" => true,
        "no" => false,
        _ => return Err(refuse(malformed())),
    };
    let binding = filled.field("binding").parse().map_err(|_| refuse(malformed()))?;
    let hold = console.desk.hold(&visitor.person, code).await.map_err(&refuse)?;
    if yes && is_irreversible(&hold) && filled.field("understood") != "yes" {
        let message = "This cannot be undone, and you did not say that you know.";
        return Err(refuse(Problem::new(422, "not_confirmed", message, "Go back, tick the box and approve again.")));
    }
    let read_ms = filled.field("read_ms").parse().ok();
    // What the person was shown, not what it is by now.
    Ok(Answering { hold: hold.hold, binding, yes, why, read_ms, passkey: None })
}

fn malformed() -> Problem {
    Problem::new(400, "malformed", "The form is not whole.", "Open the page anew.")
}

/// Whether a yes cannot be taken back; what only looks changes nothing that one could take back
fn is_irreversible(hold: &HoldView) -> bool {
    matches!(&hold.about, About::Call { undo: None, class, .. } if *class != Class::Read)
}
