//! Giving grants of observe mode, and listing them. They end as everything does: by a stop.

use super::{Answer, Failure, Shared, Who};
use crate::{modes::observing, tasks::draw};
use axum::{Json, extract::State, http::StatusCode};
use portreeve_core::{
    engine::Reply,
    event::To,
    names::GrantId,
    node::Node,
    policy::Deed,
    request::{Grant, Request},
};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Give {
    /// `all`, a purpose or a connector
    on: Node,
    /// How long, in milliseconds
    for_ms: i64,
    /// Why, in a sentence
    why: String,
}

/// Lets calls outside of the envelope through for a while
pub(super) async fn give(State(admin): Shared, who: Who, Json(ask): Json<Give>) -> Answer {
    let no_id = |why| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", why, "Try again.");
    let grant = GrantId(draw().map_err(no_id)?);
    // What is too long is refused at the door; here it only must not overflow.
    let until = admin.clock.now().plus(ask.for_ms.clamp(-FAR_MS, FAR_MS));
    let owner = who.label();
    let given =
        Grant { grant, by: who.by, owner: owner.clone(), to: To::Observe { on: ask.on.clone() }, why: ask.why, until };
    match admin.door.submit(Request::Grant(given)).await {
        Reply::Recorded => Ok(Json(json!({ "grant": grant, "on": ask.on, "owner": owner, "until": until }))),
        Reply::Refused(reasons) => Err(Failure::refused(&reasons)),
        _ => Err(Failure::unavailable()),
    }
}

/// Longer than any grant
const FAR_MS: i64 = 1 << 50;

/// The live grants
pub(super) async fn list(State(admin): Shared, who: Who) -> Answer {
    who.may(&admin, Deed::Inspect, "modes").await?;
    let now = admin.clock.now();
    let live = admin.door.ask(move |engine| observing(engine.state(), now)).await.ok_or_else(Failure::unavailable)?;
    Ok(Json(json!({ "observe": live })))
}
