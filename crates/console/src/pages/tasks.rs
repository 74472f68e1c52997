//! Tasks, one task's timeline, stopping, and closing a review.

use super::{Frame, Refusal, html, said, show};
use crate::{
    Console,
    desk::Problem,
    guard::{Filled, Visitor},
    mark::{Icon, Mark, is_over},
};
use askama::Template;
use axum::{
    extract::{Path, RawQuery, State},
    response::{IntoResponse as _, Redirect, Response},
};
use portreeve_core::{names::TaskId, policy::Deed};
use portreeve_gateway::office::view::{ReviewView, TaskRow, TaskView};
use std::sync::Arc;

#[derive(Template)]
#[template(path = "tasks.html")]
struct Tasks {
    frame: Frame,
    tasks: Vec<TaskRow>,
}

/// `GET /tasks`
pub(crate) async fn list(State(console): State<Arc<Console>>, visitor: Visitor) -> Result<Response, Refusal> {
    let frame = Frame::of(&console, &visitor, "tasks").await?;
    let mut tasks = console.desk.tasks(&visitor.person).await.map_err(visitor.refuse())?;
    sort(&mut tasks);
    Ok(html(&Tasks { frame, tasks }))
}

/// Those that live first, the newest first among them
pub(crate) fn sort(tasks: &mut [TaskRow]) {
    tasks.sort_by_key(|task| (is_over(task), std::cmp::Reverse(task.opened)));
}

#[derive(Template)]
#[template(path = "task.html")]
struct Task {
    frame: Frame,
    task: TaskView,
    review: Option<ReviewView>,
    may_stop: bool,
}

/// `GET /tasks/ID`
pub(crate) async fn page(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    Path(task): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let mut frame = Frame::of(&console, &visitor, "tasks").await?;
    frame.said = said(query.as_deref());
    let id = named(&task, &visitor)?;
    let task = console.desk.task(&visitor.person, id).await.map_err(visitor.refuse())?;
    let reviews = console.desk.reviews(&visitor.person).await.map_err(visitor.refuse())?;
    let review = reviews.into_iter().find(|review| review.task == id);
    // Only whether a button is there; whether somebody may is judged when it is pressed.
    let may_stop = task.over.is_none() && task.row.as_ref().is_some_and(|row| may_stop(&visitor, row));
    Ok(html(&Task { frame, task, review, may_stop }))
}

/// Operators stop everything, and everybody ends what runs for them
fn may_stop(visitor: &Visitor, row: &TaskRow) -> bool {
    visitor.person.may(Deed::Stop) || row.user.as_ref() == Some(&visitor.person.user)
}

#[derive(Template)]
#[template(path = "stop.html")]
struct AskStop {
    frame: Frame,
    task: TaskView,
}

/// `GET /tasks/ID/stop`: the question before the deed
pub(crate) async fn ask_stop(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    Path(task): Path<String>,
) -> Result<Response, Refusal> {
    let frame = Frame::of(&console, &visitor, "tasks").await?;
    let id = named(&task, &visitor)?;
    let task = console.desk.task(&visitor.person, id).await.map_err(visitor.refuse())?;
    Ok(html(&AskStop { frame, task }))
}

/// `POST /tasks/ID/stop`
pub(crate) async fn stop(
    State(console): State<Arc<Console>>,
    Path(task): Path<String>,
    filled: Filled,
) -> Result<Response, Refusal> {
    let visitor = &filled.visitor;
    let id = named(&task, visitor)?;
    console.desk.stop(&visitor.person, id).await.map_err(visitor.refuse())?;
    Ok(Redirect::to(&format!("/tasks/{id}?said=stopped")).into_response())
}

/// `POST /tasks/ID/review`
pub(crate) async fn review(
    State(console): State<Arc<Console>>,
    Path(task): Path<String>,
    filled: Filled,
) -> Result<Response, Refusal> {
    let why = filled.why()?;
    let visitor = &filled.visitor;
    let id = named(&task, visitor)?;
    console.desk.review(&visitor.person, id, why).await.map_err(visitor.refuse())?;
    Ok(Redirect::to(&format!("/tasks/{id}?said=reviewed")).into_response())
}

fn named(task: &str, visitor: &Visitor) -> Result<TaskId, Refusal> {
    task.parse().map_err(|_| {
        let problem =
            Problem::new(404, "task_unknown", "No task has such a name.", "Look for it in the list of tasks.");
        visitor.refuse()(problem)
    })
}
