//! `/v1/tasks/{task}/undo`: what would take back what a task did, doing it, and how far that has come.

use super::{Answer, Failure, Shared, Who};
use crate::undo::Refusal;
use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use portreeve_core::{
    hash::Hash,
    names::{EffectId, Name, TaskId},
    reason::Word,
};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeSet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    /// Only say what would be done
    #[serde(default)]
    plan_only: bool,
    /// Calls that stay as they are
    #[serde(default)]
    skip: BTreeSet<EffectId>,
    /// The digest of the plan that was shown
    digest: Option<Hash>,
    /// As which user of the policy
    r#as: Option<Name>,
}

pub(super) async fn begin(State(admin): Shared, who: Who, Path(task): Path<String>, Json(ask): Json<Ask>) -> Answer {
    let of: TaskId = Failure::parsed(&task)?;
    if ask.plan_only {
        who.sees(&admin, of).await?;
        let plan = admin.undos.plan(of, &ask.skip).await.map_err(|refusal| failure(of, refusal))?;
        return Ok(Json(json!(plan)));
    }
    let by = who.by_as(&admin, ask.r#as)?;
    let begun = admin.undos.begin(by, of, (&ask.skip, ask.digest)).await.map_err(|refusal| failure(of, refusal))?;
    Ok(Json(json!(begun)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Since {
    /// What was seen of it last
    version: Option<u64>,
}

pub(super) async fn stands(
    State(admin): Shared,
    who: Who,
    Path(task): Path<String>,
    Query(since): Query<Since>,
) -> Answer {
    let task: TaskId = Failure::parsed(&task)?;
    who.sees(&admin, task).await?;
    let view = admin.undos.stands(task, since.version).await.map_err(|refusal| failure(task, refusal))?;
    Ok(Json(json!(view)))
}

fn failure(of: TaskId, refusal: Refusal) -> Failure {
    let conflict =
        |word: &str, message: String, remedy: &str| Failure::new(StatusCode::CONFLICT, word, message, remedy);
    match refusal {
        Refusal::Reasons(reasons) => {
            let missing = reasons.first().is_some_and(|reason| reason.word == Word::TaskUnknown);
            if missing { Failure::missing(&reasons) } else { Failure::refused(&reasons) }
        }
        Refusal::Unreadable(why) => Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "record_unavailable",
            format!("The record cannot be read: {why}."),
            "See `portreeve audit verify`.",
        ),
        Refusal::NoSuchCall(effect) => Failure::new(
            StatusCode::NOT_FOUND,
            "effect_unknown",
            format!("{effect} is no call by which {of} changed something."),
            "Take it from `portreeve task undo TASK --plan`.",
        ),
        Refusal::Changed => conflict(
            "plan_changed",
            format!("What would be done by now is not what was shown of {of}."),
            "Look again: `portreeve task undo TASK --plan`.",
        ),
        Refusal::Doubtful(effect) => conflict(
            "undo_doubtful",
            format!("Whether {effect} was undone is not known, and nothing goes on behind it unasked."),
            "Look at the server. Then go on without it: `portreeve task undo TASK --skip EFFECT`.",
        ),
        Refusal::Nothing => conflict(
            Word::UndoImpossible.as_str(),
            format!("Nothing is left of {of} that could be undone."),
            Word::UndoImpossible.remedy(),
        ),
        Refusal::IsUndo(first) => conflict(
            Word::UndoImpossible.as_str(),
            format!("{of} is an undo itself, of {first}; what it did is not taken back."),
            "Let an agent do the work again, in a new task.",
        ),
        Refusal::Ending => Failure::unavailable(),
    }
}
