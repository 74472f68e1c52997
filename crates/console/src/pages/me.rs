//! Who one is here, and how one can come in again.

use super::{Frame, Refusal, html, passkeys, said, show};
use crate::{
    Console,
    desk::Problem,
    guard::{Filled, Visitor},
    mark::Icon,
};
use askama::Template;
use axum::{
    Json,
    extract::{RawQuery, State},
    response::{IntoResponse as _, Redirect, Response},
};
use portreeve_core::{event::How, policy::Deed};
use portreeve_identity::passkey::{Assertion, Passkey, Purpose, Registration};
use serde_json::json;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "me.html")]
struct Me {
    frame: Frame,
    visitor: Visitor,
    /// What their roles let them do
    deeds: Vec<Deed>,
    passkeys: Vec<Passkey>,
    /// Whether they may be changed now
    open: bool,
    /// Whether browsers use passkeys at this address
    possible: bool,
}

/// `GET /me`
pub(crate) async fn page(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let mut frame = Frame::of(&console, &visitor, "me").await?;
    frame.said = said(query.as_deref());
    let passkeys = console.desk.passkeys().of(&visitor.person.bearer());
    let (open, possible) = (passkeys.is_empty() || visitor.fresh, console.desk.party().is_some());
    let deeds = Deed::ALL.iter().copied().filter(|deed| visitor.person.may(*deed)).collect();
    Ok(html(&Me { frame, visitor, deeds, passkeys, open, possible }))
}

/// Whoever has a passkey has to use it before others come or go: a session alone is worth no more than its cookie
fn may_change(console: &Console, visitor: &Visitor) -> Result<(), Refusal> {
    if visitor.fresh || console.desk.passkeys().of(&visitor.person.bearer()).is_empty() {
        return Ok(());
    }
    let message = "Who has a passkey uses it here, within the last five minutes, before one is registered or removed.";
    let remedy = "Open your page, use your passkey there, and do it again.";
    Err(visitor.refuse()(Problem::new(403, "step_up_needed", message, remedy)))
}

/// A new challenge for who is signed in
fn challenge(console: &Console, visitor: &Visitor, purpose: Purpose) -> Result<[u8; 32], Refusal> {
    console.challenges.draw(purpose, console.desk.now()).map_err(|error| {
        let message = format!("Not now: {error}.");
        visitor.refuse()(Problem::new(503, "too_many", message, "Try again in a few minutes."))
    })
}

fn too_late() -> Problem {
    let message = "The passkey was used too late, or for something else.";
    Problem::new(403, "passkey_refused", message, "Open the page anew and try again.")
}

/// `POST /me/passkeys/confirm/ask`: what a passkey signs so that it is known that its owner is there
pub(crate) async fn ask_confirm(State(console): State<Arc<Console>>, filled: Filled) -> Result<Response, Refusal> {
    let visitor = &filled.visitor;
    let party = console.desk.party().ok_or_else(|| visitor.refuse()(passkeys::none_here()))?;
    let bearer = visitor.person.bearer();
    let challenge = challenge(&console, visitor, Purpose::Confirm(bearer.user.clone()))?;
    let options = console.desk.passkeys().request_options(party, Some(&bearer), &challenge);
    Ok(Json(json!({ "get": options })).into_response())
}

/// `POST /me/passkeys/confirm`
pub(crate) async fn confirm(State(console): State<Arc<Console>>, filled: Filled) -> Result<Response, Refusal> {
    let visitor = &filled.visitor;
    let (refuse, bearer) = (visitor.refuse(), visitor.person.bearer());
    let used = Assertion::from_json(filled.field("passkey").as_bytes());
    let used = used.map_err(|wrong| refuse(passkeys::refused(&wrong.into())))?;
    let claimed = used.challenge().and_then(|challenge| <[u8; 32]>::try_from(challenge).ok());
    let purpose = Purpose::Confirm(bearer.user.clone());
    let open = |challenge: &[u8; 32]| console.challenges.take(challenge, &purpose, console.desk.now());
    let challenge = claimed.filter(open).ok_or_else(|| refuse(too_late()))?;
    passkeys::whose(&console, Some(bearer), used, challenge).await.map_err(&refuse)?;
    console.sessions.passkey_used(&visitor.cookie, console.desk.now());
    Ok(Redirect::to("/me?said=confirmed").into_response())
}

/// `POST /me/passkeys/ask`: what a new passkey is made from
pub(crate) async fn ask(State(console): State<Arc<Console>>, filled: Filled) -> Result<Response, Refusal> {
    let visitor = &filled.visitor;
    let (refuse, bearer) = (visitor.refuse(), visitor.person.bearer());
    may_change(&console, visitor)?;
    let party = console.desk.party().ok_or_else(|| refuse(passkeys::none_here()))?;
    let challenge = challenge(&console, visitor, Purpose::Register(bearer.user.clone()))?;
    let options = console.desk.passkeys().creation_options(party, &bearer, &challenge);
    Ok(Json(json!({ "create": options.map_err(|why| refuse(passkeys::refused(&why)))? })).into_response())
}

/// `POST /me/passkeys`
pub(crate) async fn register(State(console): State<Arc<Console>>, filled: Filled) -> Result<Response, Refusal> {
    let visitor = &filled.visitor;
    let (who, refuse, bearer) = (&visitor.person, visitor.refuse(), visitor.person.bearer());
    may_change(&console, visitor)?;
    let party = console.desk.party().ok_or_else(|| refuse(passkeys::none_here()))?;
    let sent = Registration::from_json(filled.field("passkey").as_bytes());
    let sent = sent.map_err(|wrong| refuse(passkeys::refused(&wrong.into())))?;
    let (challenge, now) = (sent.challenge().unwrap_or_default(), console.desk.now());
    if !console.challenges.take(&challenge, &Purpose::Register(bearer.user.clone()), now) {
        return Err(refuse(too_late()));
    }
    let whose = (&bearer, who.how.lender());
    let made = console.desk.passkeys().made(party, whose, (filled.field("name"), &challenge), &sent, now);
    let made = made.map_err(|why| refuse(passkeys::refused(&why)))?;
    // An auditor has to know of every passkey that ever counted, so the record comes first.
    console.desk.passkey_changed(who, &made.passkey(), true).await.map_err(&refuse)?;
    let (passkeys, kept) = (Arc::clone(console.desk.passkeys()), made.clone());
    let keep = passkeys::on_disk(move || passkeys.keep(&kept)).await;
    if let Err(problem) = keep {
        console.desk.passkey_changed(who, &made.passkey(), false).await.map_err(&refuse)?;
        return Err(refuse(problem));
    }
    Ok(Redirect::to("/me?said=registered").into_response())
}

/// `POST /me/passkeys/remove`
pub(crate) async fn remove(State(console): State<Arc<Console>>, filled: Filled) -> Result<Response, Refusal> {
    let visitor = &filled.visitor;
    let (who, refuse, bearer) = (&visitor.person, visitor.refuse(), visitor.person.bearer());
    may_change(&console, visitor)?;
    let passkeys = Arc::clone(console.desk.passkeys());
    let Some(passkey) = passkeys.of(&bearer).into_iter().find(|passkey| passkey.id() == filled.field("id")) else {
        return Ok(Redirect::to("/me").into_response());
    };
    let credential = passkey.credential.clone();
    // Here the file comes first: what the record still names counts for nothing any more.
    let work = move || passkeys.remove(&bearer, &credential).map_err(Into::into);
    passkeys::on_disk(work).await.map_err(&refuse)?;
    console.desk.passkey_changed(who, &passkey, false).await.map_err(&refuse)?;
    Ok(Redirect::to("/me?said=removed").into_response())
}
