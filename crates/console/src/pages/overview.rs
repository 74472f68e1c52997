//! The overview: what waits for people first.

use super::{Frame, Refusal, html, inbox, show};
use crate::{
    Console,
    guard::Visitor,
    mark::{Icon, Mark, is_over},
};
use askama::Template;
use axum::{extract::State, response::Response};
use portreeve_gateway::office::view::{About, HoldState, HoldView, Reflex, ReviewView, TaskRow};
use std::sync::Arc;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    reviews: Vec<ReviewView>,
    holds: Vec<HoldView>,
    /// Questions that have no card
    more: usize,
    tasks: Vec<TaskRow>,
    reflex: Reflex,
}

/// `GET /`
pub(crate) async fn page(State(console): State<Arc<Console>>, visitor: Visitor) -> Result<Response, Refusal> {
    let frame = Frame::of(&console, &visitor, "overview").await?;
    let (holds, more) = inbox(&console, &visitor).await?;
    let (desk, who) = (&console.desk, &visitor.person);
    let reviews = desk.reviews(who).await.map_err(visitor.refuse())?;
    let mut tasks = desk.tasks(who).await.map_err(visitor.refuse())?;
    tasks.retain(|task| !is_over(task));
    super::tasks::sort(&mut tasks);
    let reflex = desk.reflex(who).await.map_err(visitor.refuse())?;
    Ok(html(&Overview { frame, reviews, holds, more, tasks, reflex }))
}
