//! Where people work from a terminal elsewhere: they sign in at an issuer, and what they do is what the console lets them do.
//!
//! `POST /v1/login` begins to sign in on a device, `POST /v1/login/poll` says how that stands and gives a session in the end,
//! which every other request shows as `Authorization: Bearer`. The session says who somebody is and nothing else. [`guard`] is
//! the one place that lets anybody in; whether they may is judged behind the routes, each time anew.

use crate::{
    failure::Failure,
    front,
    listen::small_body,
    office::{Answering, Office, Person, view::TaskRow},
    sign_in::{Polled, SignIns},
};
use axum::{
    Extension, Json, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use portreeve_core::{
    hash::Hash,
    names::{Name, TaskId},
    node::Node,
    time::Millis,
};
use portreeve_identity::{
    NotDrawn,
    browser::{Session, Sessions},
    token::bearer,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::sync::Arc;

/// How a session begins, so that it is known for what it is wherever it turns up
pub const PREFIX: &str = "ptrs_";
/// How long a session lasts, whatever is done with it, in milliseconds
pub const SESSION_MS: i64 = 60 * 60 * 1_000;

/// Whether a request is one of people: by the session that it shows, where agents come in too
#[must_use]
pub fn serves(path: &str, headers: &HeaderMap) -> bool {
    path.starts_with("/v1/") && (!front::serves(path) || session(headers).is_some())
}

/// The session that a request shows, if it shows one and nothing else
fn session(headers: &HeaderMap) -> Option<&str> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let one = shown.next().filter(|_| shown.next().is_none())?.to_str().ok()?;
    bearer(one)?.strip_prefix(PREFIX)
}

/// What the routes share
#[derive(Debug)]
pub(crate) struct Counter {
    office: Arc<Office>,
    sessions: Sessions,
}

/// The routes of people, behind the one guard, and those by which they sign in
///
/// # Errors
/// There is no randomness.
pub(crate) fn router(office: Arc<Office>) -> Result<Router, NotDrawn> {
    let counter = Arc::new(Counter { office, sessions: Sessions::lasting(SESSION_MS, SESSION_MS)? });
    let signed_in = Router::new()
        .route("/v1/whoami", get(whoami))
        .route("/v1/logout", post(logout))
        .route("/v1/holds", get(holds))
        .route("/v1/holds/{hold}", get(hold))
        .route("/v1/holds/{hold}/answer", post(answer))
        .route("/v1/tasks", get(tasks))
        .route("/v1/tasks/{task}", get(task))
        .route("/v1/stop", post(stop))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&counter), guard));
    let open = Router::new().route("/v1/login", post(login)).route("/v1/login/poll", post(poll));
    Ok(signed_in.merge(open).with_state(counter))
}

type Shared = State<Arc<Counter>>;
type Answer = Result<Json<Value>, Failure>;

/// The session of a request, and its secret
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    secret: String,
    until: Millis,
}

/// Lets in whoever has a session and still is who they were: with a [`Person`] for the routes behind it
async fn guard(State(counter): Shared, mut request: Request, next: Next) -> Response {
    match counter.person(request.headers()).await {
        Ok((person, shown)) => {
            request.extensions_mut().insert(person);
            request.extensions_mut().insert(shown);
            next.run(request).await
        }
        Err(failure) => failure.into_response(),
    }
}

impl Counter {
    async fn person(&self, headers: &HeaderMap) -> Result<(Person, Shown), Failure> {
        let secret = session(headers).ok_or_else(signed_out)?;
        let Session { bearer, how, until, .. } =
            self.sessions.peek(secret, self.office.now()).ok_or_else(signed_out)?;
        let found = self.office.person(bearer.user.clone(), how.how()).await;
        let gone = match &found {
            Ok(person) => person.bearer() != bearer,
            Err(failure) => failure.status().is_client_error(),
        };
        if gone {
            self.sessions.end_all(&bearer);
        }
        let person = found?;
        if gone {
            return Err(signed_out());
        }
        Ok((person, Shown { secret: secret.to_owned(), until }))
    }
}

fn signed_out() -> Failure {
    let message = "Nobody is signed in with this request, or not any more.";
    Failure::new(StatusCode::UNAUTHORIZED, "signed_out", message, "Sign in: `portreeve login`.")
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    issuer: Option<Name>,
}

async fn login(State(counter): Shared, request: Request) -> Answer {
    let ask: Login = read(request).await?;
    Ok(Json(json!(counter.sign_ins().device(ask.issuer).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Poll {
    login: String,
}

async fn poll(State(counter): Shared, request: Request) -> Result<(StatusCode, Json<Value>), Failure> {
    let ask: Poll = read(request).await?;
    let entered = match counter.sign_ins().poll(&ask.login).await? {
        Polled::Waits { interval_ms } => {
            return Ok((StatusCode::ACCEPTED, Json(json!({ "waits": true, "interval_ms": interval_ms }))));
        }
        Polled::Entered(entered) => entered,
    };
    let office = &counter.office;
    let person = office.person(entered.user.clone(), entered.how()).await?;
    // On the record before anybody has the session.
    office.signed_in(person.user.clone(), person.how.clone(), entered.groups).await?;
    let now = office.now();
    let secret = counter.sessions.begin(person.bearer(), entered.by, now).map_err(|error| {
        let message = format!("Nobody can sign in now: {error}.");
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too_many", message, "Try again in a few minutes.")
    })?;
    let session = format!("{PREFIX}{secret}");
    let mut answer = who(&counter, &person, now.plus(SESSION_MS)).await?;
    if let Some(members) = answer.as_object_mut() {
        members.insert("session".to_owned(), json!(session));
    }
    Ok((StatusCode::OK, Json(answer)))
}

impl Counter {
    fn sign_ins(&self) -> &SignIns {
        self.office.sign_ins()
    }
}

/// Who somebody is, as they are told
async fn who(counter: &Counter, person: &Person, until: Millis) -> Result<Value, Failure> {
    let groups = counter.office.groups(person).await?;
    let said = |(group, until): &(Name, Option<Millis>)| json!({ "group": group, "until": until });
    Ok(json!({
        "user": person.user,
        "how": person.how.to_string(),
        "roles": person.roles,
        "groups": groups.iter().map(said).collect::<Vec<_>>(),
        "until": until,
        "server": counter.office.base(),
    }))
}

async fn whoami(
    State(counter): Shared,
    Extension(person): Extension<Person>,
    Extension(shown): Extension<Shown>,
) -> Answer {
    who(&counter, &person, shown.until).await.map(Json)
}

async fn logout(State(counter): Shared, Extension(shown): Extension<Shown>) -> StatusCode {
    counter.sessions.end(&shown.secret);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    all: Option<String>,
}

async fn holds(State(counter): Shared, Extension(person): Extension<Person>, Query(listed): Query<Listed>) -> Answer {
    let all = listed.all.is_some_and(|all| all != "false");
    Ok(Json(json!({ "holds": counter.office.holds(&person, all).await? })))
}

#[derive(Deserialize)]
struct Seen {
    #[serde(rename = "as")]
    by: Option<Name>,
}

async fn hold(
    State(counter): Shared,
    Extension(person): Extension<Person>,
    Path(named): Path<String>,
    Query(seen): Query<Seen>,
) -> Answer {
    own(&person, seen.by.as_ref())?;
    let view = counter.office.hold(&person, &named).await?;
    let mut shown = json!(view);
    if let Some(members) = shown.as_object_mut() {
        members.insert("link".to_owned(), json!(counter.office.link_of(view.hold)));
    }
    Ok(Json(shown))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    yes: bool,
    #[serde(default)]
    why: String,
    /// The digest of what they were shown
    binding: Hash,
    #[serde(rename = "as")]
    by: Option<Name>,
    read_ms: Option<u64>,
}

/// A yes or a no of whoever is signed in
async fn answer(
    State(counter): Shared,
    Extension(person): Extension<Person>,
    Path(named): Path<String>,
    request: Request,
) -> Answer {
    let Said { yes, why, binding, by, read_ms } = read(request).await?;
    own(&person, by.as_ref())?;
    let hold = counter.office.hold(&person, &named).await?.hold;
    let answer = Answering { hold, binding, yes, why, read_ms, passkey: None };
    Ok(Json(json!(counter.office.answer(&person, answer).await?)))
}

/// Nobody speaks for another one
fn own(person: &Person, by: Option<&Name>) -> Result<(), Failure> {
    let Some(by) = by.filter(|by| **by != person.user) else { return Ok(()) };
    let message = format!("You are signed in as {}, not as {by}.", person.user);
    Err(Failure::new(StatusCode::FORBIDDEN, "not_yours", message, "Leave out `--as`."))
}

fn shown(row: &TaskRow) -> Value {
    let mut shown = json!(row);
    if let Some(members) = shown.as_object_mut() {
        members.insert("state".to_owned(), json!(if row.reasons.is_empty() { "live" } else { "over" }));
    }
    shown
}

async fn tasks(State(counter): Shared, Extension(person): Extension<Person>) -> Answer {
    let rows = counter.office.tasks(&person).await?;
    Ok(Json(json!({ "tasks": rows.iter().map(shown).collect::<Vec<_>>() })))
}

async fn task(State(counter): Shared, Extension(person): Extension<Person>, Path(task): Path<String>) -> Answer {
    let id: TaskId = Failure::parsed(&task)?;
    let view = counter.office.task(&person, id).await?;
    let row = view.row.as_ref().map(shown);
    Ok(Json(row.unwrap_or_else(|| json!({ "task": view.task, "state": "over", "why": view.over }))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stop {
    node: Node,
}

async fn stop(State(counter): Shared, Extension(person): Extension<Person>, request: Request) -> Answer {
    let ask: Stop = read(request).await?;
    Ok(Json(json!(counter.office.stop(&person, ask.node).await?)))
}

/// The body of a request, in JSON
async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Failure> {
    let too_long = || Failure::malformed("the body is too long, or takes too long");
    let body = small_body(request.into_body()).await.ok_or_else(too_long)?;
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    serde_json::from_slice(body).map_err(|error| Failure::malformed(error.to_string()))
}
