//! Coming in and going out.

use super::{Frame, Refusal, html, passkeys, show};
use crate::{
    Console,
    desk::Problem,
    guard::{Filled, Visitor, cookie, fields, person, set_cookie},
    mark::Icon,
};
use askama::Template;
use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse as _, Redirect, Response},
};
use http::{HeaderMap, HeaderName};
use portreeve_core::{names::Name, request::Claimed};
use portreeve_identity::{
    Bearer, NotDrawn,
    browser::SignedIn,
    passkey::{Assertion, Purpose},
};
use serde_json::json;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "sign-in.html")]
struct SignIn {
    frame: Frame,
    /// Issuers where people sign in, and the pages that begin it
    elsewhere: Vec<(Name, String)>,
}

/// `GET /sign-in`
pub(crate) async fn page(State(console): State<Arc<Console>>, visitor: Result<Visitor, Refusal>) -> Response {
    if visitor.is_ok() {
        return Redirect::to("/").into_response();
    }
    let offered =
        console.desk.sign_ins().map(|of| of.offered().into_iter().map(|name| (name.clone(), of.page_of(&name))));
    let elsewhere = offered.into_iter().flatten().collect();
    html(&SignIn { frame: Frame::bare(None, console.desk.now()), elsewhere })
}

#[derive(Template)]
#[template(path = "link.html")]
struct Link {
    frame: Frame,
    user: Name,
}

/// `GET /sign-in/TOKEN`: a button, so that what only looks at links does not use them up
pub(crate) async fn link(State(console): State<Arc<Console>>, Path(token): Path<String>) -> Result<Response, Refusal> {
    let now = console.desk.now();
    let user = console.desk.links().peek(&token, now).ok_or_else(dead)?.bearer.user;
    Ok(html(&Link { frame: Frame::bare(None, now), user }))
}

/// `POST /sign-in/TOKEN`
pub(crate) async fn take(
    State(console): State<Arc<Console>>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let invited = console.desk.links().take(&token, console.desk.now()).ok_or_else(dead)?;
    let by = SignedIn::Link { by: invited.by };
    let cookie = enter(&console, &headers, invited.bearer, (by, Claimed::default())).await.map_err(outside)?;
    Ok(([cookie], Redirect::to("/")).into_response())
}

/// `POST /sign-in/passkey/ask`: a challenge for whoever wants to come in
pub(crate) async fn ask(State(console): State<Arc<Console>>) -> Result<Response, Refusal> {
    let party = console.desk.party().ok_or_else(|| outside(passkeys::none_here()))?;
    let challenge = console.challenges.draw(Purpose::SignIn, console.desk.now());
    let challenge = challenge.map_err(|error| outside(too_many(error)))?;
    Ok(Json(json!({ "get": console.desk.passkeys().request_options(party, None, &challenge) })).into_response())
}

/// `POST /sign-in/passkey`
pub(crate) async fn passkey(State(console): State<Arc<Console>>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let fields = fields(&parts.headers, body).await.map_err(outside)?;
    let response = fields.get("passkey").map_or("", String::as_str);
    let assertion = Assertion::from_json(response.as_bytes());
    let assertion = assertion.map_err(|wrong| outside(passkeys::refused(&wrong.into())))?;
    let claimed = assertion.challenge().and_then(|challenge| <[u8; 32]>::try_from(challenge).ok());
    // It counts once, whatever comes of it.
    let open = |challenge: &[u8; 32]| console.challenges.take(challenge, &Purpose::SignIn, console.desk.now());
    let challenge = claimed.filter(open).ok_or_else(|| outside(too_late()))?;
    let checked = passkeys::whose(&console, None, assertion, challenge).await.map_err(outside)?;
    let by = SignedIn::Passkey { by: checked.by, fingerprint: checked.fingerprint };
    let cookie = enter(&console, &parts.headers, checked.bearer, (by, Claimed::default())).await.map_err(outside)?;
    Ok(([cookie], Redirect::to("/")).into_response())
}

/// Gives somebody a session, once it is on the record that they signed in: the header with its cookie
pub(crate) async fn enter(
    console: &Console,
    headers: &HeaderMap,
    bearer: Bearer,
    (by, claimed): (SignedIn, Claimed),
) -> Result<(HeaderName, String), Problem> {
    // Who is none, or was stopped, does not come in; nor does who had the name before somebody else.
    let person = person(console, bearer, by.how()).await?.ok_or_else(other_bearer)?;
    console.desk.signed_in(person.user.clone(), person.how.clone(), claimed).await?;
    // Whoever sat there before is signed out: nobody answers in another one's name by mistake.
    if let Some(old) = cookie(headers, console.reached) {
        console.sessions.end(old);
    }
    let value = console.sessions.begin(person.bearer(), by, console.desk.now()).map_err(too_many)?;
    Ok(set_cookie(Some(&value), console.reached))
}

fn other_bearer() -> Problem {
    let message = "Somebody else has this name now, so neither links nor passkeys of before count.";
    Problem::new(403, "user_unknown", message, "Have a link made for who has it now: `portreeve console --for USER`.")
}

/// `POST /sign-out`
pub(crate) async fn out(State(console): State<Arc<Console>>, filled: Filled) -> Response {
    console.sessions.end(&filled.visitor.cookie);
    ([set_cookie(None, console.reached)], Redirect::to("/sign-in")).into_response()
}

fn dead() -> Refusal {
    let message = "This link was used already, is too old, or was never made.";
    outside(Problem::new(410, "link_dead", message, "Have a new one made: `portreeve console`."))
}

fn too_late() -> Problem {
    let message = "The passkey was used too late, or for something else.";
    Problem::new(403, "passkey_refused", message, "Open the sign-in page anew and try again.")
}

fn too_many(error: NotDrawn) -> Problem {
    Problem::new(503, "too_many", format!("Nobody can come in now: {error}."), "Try again in a few minutes.")
}

/// A problem for somebody who is not signed in
pub(crate) fn outside(problem: Problem) -> Refusal {
    Refusal::Page { problem, visitor: None }
}
