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
use portreeve_core::event::How;
use portreeve_identity::passkey::{Passkey, Purpose, Registration};
use serde_json::json;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "me.html")]
struct Me {
    frame: Frame,
    visitor: Visitor,
    passkeys: Vec<Passkey>,
    /// Whether browsers use passkeys at this address
    possible: bool,
}

/// `GET /me`
pub(crate) async fn page(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let (mut frame, _) = Frame::of(&console, &visitor, "me").await?;
    frame.said = said(query.as_deref());
    let passkeys = console.desk.passkeys().of(&visitor.person.user);
    Ok(html(&Me { frame, visitor, passkeys, possible: console.desk.party().is_some() }))
}

/// `POST /me/passkeys/ask`: what a new passkey is made from
pub(crate) async fn ask(State(console): State<Arc<Console>>, filled: Filled) -> Result<Response, Refusal> {
    let user = &filled.visitor.person.user;
    let refuse = filled.visitor.refuse();
    let party = console.desk.party().ok_or_else(|| refuse(passkeys::none_here()))?;
    let challenge = console.challenges.draw(Purpose::Register(user.clone()), console.desk.now());
    let challenge = challenge.map_err(|error| {
        refuse(Problem::new(503, "too_many", format!("Not now: {error}."), "Try again in a few minutes."))
    })?;
    let options = console.desk.passkeys().creation_options(party, user, &challenge);
    Ok(Json(json!({ "create": options.map_err(|why| refuse(passkeys::refused(&why)))? })).into_response())
}

/// `POST /me/passkeys`
pub(crate) async fn register(State(console): State<Arc<Console>>, filled: Filled) -> Result<Response, Refusal> {
    let user = filled.visitor.person.user.clone();
    let refuse = filled.visitor.refuse();
    let party = console.desk.party().cloned().ok_or_else(|| refuse(passkeys::none_here()))?;
    let made = Registration::from_json(filled.field("passkey").as_bytes());
    let made = made.map_err(|wrong| refuse(passkeys::refused(&wrong.into())))?;
    let (challenge, now) = (made.challenge().unwrap_or_default(), console.desk.now());
    if !console.challenges.take(&challenge, &Purpose::Register(user.clone()), now) {
        let message = "The passkey was made too late, or for something else.";
        return Err(refuse(Problem::new(403, "passkey_refused", message, "Open the page anew and try again.")));
    }
    let (passkeys, label) = (Arc::clone(console.desk.passkeys()), filled.field("name").to_owned());
    let work = move || passkeys.register(&party, &user, &label, &challenge, &made, now);
    let passkey = passkeys::on_disk(work).await.map_err(&refuse)?;
    let who = &filled.visitor.person;
    if let Err(problem) = console.desk.passkey_changed(who, &passkey, true).await {
        // An auditor would not know it, so it must not count.
        let (passkeys, user) = (Arc::clone(console.desk.passkeys()), who.user.clone());
        let undo = move || passkeys.remove(&user, &passkey.credential).map_err(Into::into);
        passkeys::on_disk(undo).await.map_err(&refuse)?;
        return Err(refuse(problem));
    }
    Ok(Redirect::to("/me?said=registered").into_response())
}

/// `POST /me/passkeys/remove`
pub(crate) async fn remove(State(console): State<Arc<Console>>, filled: Filled) -> Result<Response, Refusal> {
    let who = &filled.visitor.person;
    let refuse = filled.visitor.refuse();
    let passkeys = Arc::clone(console.desk.passkeys());
    let Some(passkey) = passkeys.of(&who.user).into_iter().find(|passkey| passkey.id() == filled.field("id")) else {
        return Ok(Redirect::to("/me").into_response());
    };
    let (user, credential) = (who.user.clone(), passkey.credential.clone());
    let work = move || passkeys.remove(&user, &credential).map_err(Into::into);
    passkeys::on_disk(work).await.map_err(&refuse)?;
    console.desk.passkey_changed(who, &passkey, false).await.map_err(&refuse)?;
    Ok(Redirect::to("/me?said=removed").into_response())
}
