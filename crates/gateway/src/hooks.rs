//! Answers that come from receivers of messages, such as chat systems: `/hooks/{receiver}`.

use crate::office::Office;
use axum::Router;
use std::sync::Arc;

/// Whether a path is one where receivers answer
#[must_use]
pub fn serves(path: &str) -> bool {
    path.starts_with("/hooks/")
}

/// The routes where receivers answer
pub fn router(_office: Arc<Office>) -> Router {
    Router::new()
}
