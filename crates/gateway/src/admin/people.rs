//! What people do at the socket: questions, answers, classes opened for a while, reviews, links to sign in.

use super::{Admin, Answer, Failure, Shared, Who};
use crate::{
    door::TheEngine,
    office::{Answering, Eyes, view::HoldState},
    tasks::draw,
};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use portreeve_core::{
    engine::Reply,
    hash::Hash,
    names::{GrantId, Name, TaskId},
    policy::Usage,
    request::{Elevate, Request},
    time::Millis,
    value::Value,
};
use serde::Deserialize;
use serde_json::{Map, json};
use std::{collections::BTreeMap, time::Duration};

/// How long a request may wait for people, in seconds
const WAIT_SECS_MAX: u64 = 30;

#[derive(Deserialize)]
pub(super) struct Listed {
    #[serde(default)]
    all: Option<String>,
}

/// Questions: open ones, and with `?all` those that are remembered
pub(super) async fn holds(State(admin): Shared, who: Who, Query(listed): Query<Listed>) -> Answer {
    let all = listed.all.is_some_and(|all| all != "false");
    let eyes = who.eyes(&admin).await?;
    Ok(Json(json!({ "holds": admin.office.holds_seen(eyes, all).await? })))
}

#[derive(Deserialize)]
pub(super) struct Seen {
    #[serde(rename = "as")]
    by: Option<Name>,
}

/// One question, as whoever asks may answer it
pub(super) async fn hold(
    State(admin): Shared,
    who: Who,
    Path(named): Path<String>,
    Query(seen): Query<Seen>,
) -> Answer {
    shown(&admin, who.eyes_as(&admin, seen.by).await?, &named).await.map(Json)
}

/// A question with the address of its page
pub(super) async fn shown(admin: &Admin, eyes: Eyes, named: &str) -> Result<serde_json::Value, Failure> {
    let view = admin.office.hold_seen(eyes, named).await?;
    let mut shown = json!(view);
    if let Some(members) = shown.as_object_mut() {
        members.insert("link".to_owned(), json!(admin.office.link_of(view.hold)));
    }
    Ok(shown)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    yes: bool,
    #[serde(default)]
    why: String,
    /// The digest of what they were shown
    binding: Hash,
    #[serde(rename = "as")]
    by: Option<Name>,
    read_ms: Option<u64>,
}

/// A yes or a no of whoever speaks, as a user of the policy
pub(super) async fn answer(
    State(admin): Shared,
    who: Who,
    Path(named): Path<String>,
    Json(said): Json<Said>,
) -> Answer {
    let eyes = who.eyes_as(&admin, said.by.clone()).await?;
    let person = who.person(&admin, said.by).await?;
    let hold = admin.office.hold_seen(eyes, &named).await?.hold;
    let Said { yes, why, binding, read_ms, .. } = said;
    let answer = Answering { hold, binding, yes, why, read_ms, passkey: None };
    Ok(Json(json!(admin.office.answer(&person, answer).await?)))
}

#[derive(Deserialize)]
pub(super) struct Wait {
    seconds: Option<u64>,
}

/// Where a question stands; if it is open, only once it is not, or the time has passed
pub(super) async fn wait(
    State(admin): Shared,
    who: Who,
    Path(named): Path<String>,
    Query(wait): Query<Wait>,
) -> Answer {
    let eyes = who.eyes(&admin).await?;
    let hold = admin.office.hold_seen(eyes.clone(), &named).await?.hold;
    let within = Duration::from_secs(wait.seconds.unwrap_or(WAIT_SECS_MAX).min(WAIT_SECS_MAX));
    let state = admin.office.wait(hold, within).await.unwrap_or(HoldState::Over);
    let view = admin.office.hold_seen(eyes, &hold.to_string()).await?;
    Ok(Json(json!({ "state": state, "hold": view })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Opens {
    /// `connector.tool` or `connector.tool#variant`
    tools: Vec<String>,
    #[serde(default)]
    values: BTreeMap<String, Value>,
    times: u32,
    /// How long, in milliseconds
    for_ms: i64,
    why: String,
}

/// Opens a class for a while, or puts the question
pub(super) async fn elevate(
    State(admin): Shared,
    who: Who,
    Path(task): Path<String>,
    Json(ask): Json<Opens>,
) -> Result<(StatusCode, Json<serde_json::Value>), Failure> {
    let task: TaskId = Failure::parsed(&task)?;
    let uses: Result<Vec<Usage>, _> = ask.tools.iter().map(|text| text.parse()).collect();
    let user = who.user();
    let no_id = |why| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", why, "Try again.");
    let grant = GrantId(draw().map_err(no_id)?);
    let elevate = Elevate {
        grant,
        by: who.by.clone(),
        task,
        uses: uses.map_err(|error| Failure::malformed(error.to_string()))?,
        values: ask.values,
        times: ask.times,
        lasts_ms: ask.for_ms,
        why: ask.why.clone(),
    };
    let why = ask.why;
    match admin.door.submit(Request::Elevate(elevate)).await {
        Reply::Elevated(until) => Ok((StatusCode::OK, Json(json!({ "grant": grant, "until": until })))),
        Reply::Held(ticket) => {
            let named = ticket.hold.to_string();
            let held = admin.office.hold_seen(who.eyes(&admin).await?, &named).await?;
            // Whoever asks for it and may say yes to it says so: signed, and bound to exactly this.
            if let Some(user) = user.clone().filter(|_| held.not_by_you.is_empty()) {
                let who = who.person(&admin, Some(user)).await?;
                let (hold, binding) = (held.hold, held.binding);
                let answer = Answering { hold, binding, yes: true, why, read_ms: None, passkey: None };
                admin.office.answer(&who, answer).await?;
            }
            let now = admin.clock.now();
            let until = admin.door.ask(move |engine| {
                let mut open = engine.state().elevations(task, now);
                open.find(|(id, _)| *id == grant).map(|(_, open)| open.until)
            });
            let held = shown(&admin, who.eyes(&admin).await?, &named).await?;
            match until.await.flatten() {
                Some(until) => Ok((StatusCode::OK, Json(json!({ "grant": grant, "until": until, "held": held })))),
                None => Ok((StatusCode::ACCEPTED, Json(json!({ "held": held })))),
            }
        }
        Reply::Refused(reasons) => Err(Failure::refused(&reasons)),
        _ => Err(Failure::unavailable()),
    }
}

/// Reviews that are open
pub(super) async fn reviews(State(admin): Shared, who: Who) -> Answer {
    let eyes = who.eyes(&admin).await?;
    Ok(Json(json!({ "reviews": admin.office.reviews_seen(eyes).await? })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reviewing {
    why: String,
    #[serde(rename = "as")]
    by: Option<Name>,
}

/// Closes a review
pub(super) async fn review(
    State(admin): Shared,
    who: Who,
    Path(task): Path<String>,
    Json(said): Json<Reviewing>,
) -> Answer {
    let task: TaskId = Failure::parsed(&task)?;
    let person = who.person(&admin, said.by).await?;
    admin.office.review(&person, task, said.why).await?;
    Ok(Json(json!({ "task": task, "reviewed_by": person.user })))
}

/// How approvals go
pub(super) async fn reflex(State(admin): Shared) -> Answer {
    Ok(Json(json!(admin.office.reflex_seen(Eyes::owner(None)).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Link {
    user: Option<Name>,
}

/// A one-time link that signs somebody in on the console
pub(super) async fn link(State(admin): Shared, who: Who, Json(ask): Json<Link>) -> Answer {
    let user = match ask.user {
        Some(user) => user,
        None => who.person(&admin, None).await?.user,
    };
    let hand = match who.named(&admin, user.clone()) {
        Ok(_) => None,
        // Whoever hands somebody a link could use it themselves: that stands beside what is done with it.
        Err(_) => Some(who.label()),
    };
    let link = admin.office.link(who.by, user.clone(), hand).await?;
    Ok(Json(json!({ "user": user, "link": link, "console": admin.office.base() })))
}

/// What people are asked about a task, what is open in it, and whether it is an emergency's
pub(super) fn of_task(engine: &TheEngine, id: TaskId, now: Millis) -> Map<String, serde_json::Value> {
    let state = engine.state();
    let Some(task) = state.task(id) else { return Map::new() };
    let holds = task.questions.iter().filter_map(|hold| Some((*hold, state.hold(*hold)?)));
    let holds = holds.filter(|(_, hold)| hold.is_open(now)).map(|(hold, open)| {
        let who: Vec<String> = open.held.questions.iter().map(|question| question.quorum.to_string()).collect();
        json!({ "hold": hold, "code": hold.code(), "who": who, "until": open.held.until })
    });
    let elevations = state.elevations(id, now).map(|(grant, open)| {
        let tools: Vec<String> = open.uses.iter().map(ToString::to_string).collect();
        json!({
            "grant": grant, "class": open.class, "tools": tools, "values": open.values, "times": open.times,
            "left": open.left, "until": open.until, "owner": open.owner,
        })
    });
    let mut members = Map::new();
    members.insert("holds".to_owned(), holds.collect());
    members.insert("elevations".to_owned(), elevations.collect());
    members.insert("emergency".to_owned(), json!(task.emergency));
    members.insert("undoes".to_owned(), json!(task.undoes.as_ref().map(|undoes| undoes.of)));
    members
}
