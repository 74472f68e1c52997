//! The keys of this data folder at the socket.

use super::{Admin, Answer, Failure, Shared, Who};
use axum::{
    Json,
    extract::{Path, State},
};
use portreeve_core::{event::KeyUse, policy::Deed};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Every key that is of use
pub(super) async fn list(State(admin): Shared, who: Who) -> Answer {
    who.may(&admin, Deed::Inspect, "keys").await?;
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
    who: Who,
    Path(name): Path<String>,
    Json(ask): Json<Rotate>,
) -> Answer {
    let of: KeyUse = Failure::parsed(&name)?;
    // A key is made before the door is asked.
    who.may(&admin, Deed::Keys, format!("key:{of}")).await?;
    Arc::clone(&admin.keys).rotate(of, ask.now, who.by).await?;
    told(&admin).await
}
