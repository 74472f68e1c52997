//! Who one is here, and how one can come in again.

use super::{Frame, Refusal, html, said, show};
use crate::{Console, guard::Visitor, mark::Icon};
use askama::Template;
use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use portreeve_core::time::Millis;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "me.html")]
struct Me {
    frame: Frame,
    visitor: Visitor,
    passkeys: Vec<Key>,
}

/// A passkey on the page
#[derive(Debug)]
struct Key {
    id: String,
    name: String,
    since: Millis,
}

/// `GET /me`
pub(crate) async fn page(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let (mut frame, _) = Frame::of(&console, &visitor, "me").await?;
    frame.said = said(query.as_deref());
    Ok(html(&Me { frame, visitor, passkeys: Vec::new() }))
}
