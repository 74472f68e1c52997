//! Coming in and going out.

use super::{Frame, Refusal, html, show};
use crate::{
    Console,
    desk::Problem,
    guard::{Filled, Visitor, cookie, set_cookie},
    mark::Icon,
};
use askama::Template;
use axum::{
    extract::{Path, State},
    response::{IntoResponse as _, Redirect, Response},
};
use http::HeaderMap;
use portreeve_core::names::Name;
use portreeve_identity::browser::SignedIn;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "sign-in.html")]
struct SignIn {
    frame: Frame,
}

/// `GET /sign-in`
pub(crate) async fn page(State(console): State<Arc<Console>>, visitor: Result<Visitor, Refusal>) -> Response {
    if visitor.is_ok() {
        return Redirect::to("/").into_response();
    }
    html(&SignIn { frame: Frame::bare(None, console.desk.now()) })
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
    let user = console.links.peek(&token, now).ok_or_else(dead)?;
    Ok(html(&Link { frame: Frame::bare(None, now), user }))
}

/// `POST /sign-in/TOKEN`
pub(crate) async fn take(
    State(console): State<Arc<Console>>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let now = console.desk.now();
    let user = console.links.take(&token, now).ok_or_else(dead)?;
    // Whoever sat there before is signed out: nobody answers in another one's name by mistake.
    if let Some(old) = cookie(&headers, console.reached) {
        console.sessions.end(old);
    }
    let value = console.sessions.begin(user, SignedIn::Link, now).map_err(|error| {
        let problem = Problem::new(503, "too_many", error.to_string(), "Try again with a new link.");
        Refusal::Page { problem, visitor: None }
    })?;
    Ok(([set_cookie(Some(&value), console.reached)], Redirect::to("/")).into_response())
}

/// `POST /sign-out`
pub(crate) async fn out(State(console): State<Arc<Console>>, filled: Filled) -> Response {
    console.sessions.end(&filled.visitor.cookie);
    ([set_cookie(None, console.reached)], Redirect::to("/sign-in")).into_response()
}

fn dead() -> Refusal {
    let message = "This link was used already, is too old, or was never made.";
    let problem = Problem::new(410, "link_dead", message, "Have a new one made: `portreeve console`.");
    Refusal::Page { problem, visitor: None }
}
