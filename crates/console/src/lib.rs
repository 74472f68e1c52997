//! The console: pages on which people answer, look and stop.
//!
//! Start with [`router`]. [`desk`] is what the pages stand on; [`guard`] decides nothing but who is there, and that a
//! form came from a page of ours; `pages` fills the templates; [`text`], [`when`] and [`mark`] are how things look.
//!
//! Architecture Invariant: nothing is decided here. What somebody may answer, stop or see is judged behind the
//! [`Desk`](desk::Desk), each time anew. Everything works without a script; the one there is, is ours. Every text that
//! comes from elsewhere goes through [`text::Visible`].

pub mod desk;
pub mod guard;
pub mod mark;
pub mod text;
pub mod when;

mod assets;
mod events;
mod pages;

use axum::{
    Router, middleware,
    routing::{get, post},
};
use desk::Desk;
use portreeve_identity::{NotDrawn, browser::Sessions, passkey::Challenges};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What all pages share
#[derive(Debug)]
pub struct Console {
    desk: Arc<dyn Desk>,
    sessions: Sessions,
    challenges: Challenges,
    reached: Reached,
    streams: Arc<Semaphore>,
}

/// How browsers reach the pages
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Over http, which is for this machine only
    Loopback,
    /// Over https
    Https,
}

/// The pages over a desk, for browsers that reach them over https or without it
///
/// `Host` has to be checked before: a name that somebody else resolves to this machine must not get here.
///
/// # Errors
/// There is no randomness.
pub fn router(desk: Arc<dyn Desk>, https: bool) -> Result<Router, NotDrawn> {
    let console = Arc::new(Console {
        desk,
        sessions: Sessions::new()?,
        challenges: Challenges::default(),
        reached: if https { Reached::Https } else { Reached::Loopback },
        streams: Arc::new(Semaphore::new(events::STREAMS_MAX)),
    });
    let pages = Router::new()
        .route("/", get(pages::overview::page))
        .route("/approvals", get(pages::approvals::list))
        .route("/approvals/{code}", get(pages::approvals::page).post(pages::approvals::answer))
        .route("/approvals/{code}/ask", post(pages::approvals::ask))
        .route("/tasks", get(pages::tasks::list))
        .route("/tasks/{task}", get(pages::tasks::page))
        .route("/tasks/{task}/stop", get(pages::tasks::ask_stop).post(pages::tasks::stop))
        .route("/tasks/{task}/review", post(pages::tasks::review))
        .route("/sign-in", get(pages::entry::page))
        .route("/sign-in/passkey", post(pages::entry::passkey))
        .route("/sign-in/passkey/ask", post(pages::entry::ask))
        .route("/sign-in/with/{issuer}", get(pages::elsewhere::begin))
        .route("/sign-in/with/{issuer}/return", get(pages::elsewhere::finish))
        .route("/sign-in/{token}", get(pages::entry::link).post(pages::entry::take))
        .route("/sign-out", post(pages::entry::out))
        .route("/accounts/return", get(pages::elsewhere::connected))
        .route("/me", get(pages::me::page))
        .route("/me/passkeys", post(pages::me::register))
        .route("/me/passkeys/ask", post(pages::me::ask))
        .route("/me/passkeys/confirm", post(pages::me::confirm))
        .route("/me/passkeys/confirm/ask", post(pages::me::ask_confirm))
        .route("/me/passkeys/remove", post(pages::me::remove))
        .route("/events", get(events::stream))
        .route("/assets/{name}", get(assets::asset))
        .fallback(pages::missing)
        .method_not_allowed_fallback(pages::wrong_method)
        .layer(middleware::from_fn(guard::same_origin))
        .layer(middleware::map_response(guard::headers))
        .with_state(console);
    Ok(pages)
}
