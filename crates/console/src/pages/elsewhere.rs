//! Signing in where one's organisation knows one: there and back.

use super::{
    Frame, Refusal,
    entry::{enter, outside},
    html, show,
};
use crate::{
    Console,
    desk::Problem,
    guard::{beginning, is_sent, set_beginning},
    mark::Icon,
};
use askama::Template;
use axum::{
    extract::{Path, RawQuery, State},
    response::{AppendHeaders, IntoResponse as _, Redirect, Response},
};
use http::HeaderMap;
use portreeve_core::names::Name;
use portreeve_gateway::sign_in::{Back, SignIns};
use std::sync::Arc;

/// `GET /sign-in/with/ISSUER`: there; only from a page of ours, so that no other site begins any
pub(crate) async fn begin(
    State(console): State<Arc<Console>>,
    Path(issuer): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if is_sent(&headers) {
        return Ok(Redirect::to("/sign-in").into_response());
    }
    let (sign_ins, issuer) = at(&console, &issuer)?;
    let begun = sign_ins.begin(&issuer).await.map_err(|failure| outside(failure.into()))?;
    // Without a page of its own, so no policy of ours for pages stands in the way.
    Ok(([set_beginning(Some(&begun.cookie), console.reached)], Redirect::to(&begun.url)).into_response())
}

#[derive(Template)]
#[template(path = "signed-in.html")]
struct SignedIn {
    frame: Frame,
    user: Name,
    issuer: Name,
}

/// `GET /sign-in/with/ISSUER/return`: and back
///
/// A page and no redirect: what follows another site's redirect comes without the session's cookie.
pub(crate) async fn finish(
    State(console): State<Arc<Console>>,
    Path(issuer): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (sign_ins, issuer) = at(&console, &issuer)?;
    let back = Back::of(query.as_deref().unwrap_or_default()).ok_or_else(|| {
        let message = "What came back can be read in two ways, or is too long.";
        outside(Problem::new(400, "malformed", message, "Begin anew on the sign-in page."))
    })?;
    let entered = sign_ins.finish(&issuer, back, beginning(&headers, console.reached)).await;
    let entered = entered.map_err(|failure| outside(failure.into()))?;
    let person = console.desk.person(entered.user.clone(), entered.how()).await.map_err(outside)?;
    let cookie = enter(&console, &headers, person.bearer(), (entered.by, entered.claimed)).await.map_err(outside)?;
    let cookies = AppendHeaders([cookie, set_beginning(None, console.reached)]);
    let page = SignedIn { frame: Frame::bare(None, console.desk.now()), user: person.user, issuer };
    Ok((cookies, html(&page)).into_response())
}

#[derive(Template)]
#[template(path = "account.html")]
struct Connected {
    frame: Frame,
}

/// `GET /accounts/return`: where somebody comes back to who connects an account at a terminal
///
/// It says what to do with its own address, and does nothing with it: only whoever began it finishes it.
pub(crate) async fn connected(State(console): State<Arc<Console>>) -> Response {
    html(&Connected { frame: Frame::bare(None, console.desk.now()) }).into_response()
}

fn at<'c>(console: &'c Console, issuer: &str) -> Result<(&'c SignIns, Name), Refusal> {
    let found = console.desk.sign_ins().zip(issuer.parse().ok());
    found.ok_or_else(|| {
        let message = "Nobody signs in there.";
        outside(Problem::new(404, "issuer_unknown", message, "Begin on the sign-in page."))
    })
}
