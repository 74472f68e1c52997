//! The keys of this data folder at the socket.

use super::{Admin, Answer, Failure, Shared, user_of};
use crate::listen::Caller;
use axum::{
    Extension, Json,
    extract::{Path, State},
};
use portreeve_core::event::{Actor, KeyUse};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Every key that is of use
pub(super) async fn list(State(admin): Shared) -> Answer {
    told(&admin).await
}

async fn told(admin: &Admin) -> Answer {
    Ok(Json(json!({ "keys": admin.keys.list().await? })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotate {
    /// Whether nothing counts any more that earlier keys signed
    #[serde(default)]
    now: bool,
}

/// Another key signs from now on; then the keys as they stand
pub(super) async fn rotate(
    State(admin): Shared,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Json(ask): Json<Rotate>,
) -> Answer {
    let of: KeyUse = Failure::parsed(&name)?;
    Arc::clone(&admin.keys).rotate(of, ask.now, Actor::Owner { user: user_of(&admin, caller.uid) }).await?;
    told(&admin).await
}
