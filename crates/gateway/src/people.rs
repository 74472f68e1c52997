//! Where people work from a terminal elsewhere: they sign in at an issuer, and what they do is what the console lets them do.
//!
//! `POST /v1/login` begins to sign in on a device, `POST /v1/login/poll` says how that stands and gives a session in the end,
//! which every other request shows as `Authorization: Bearer`. The session says who somebody is and nothing else. [`guard`] is
//! the one place that lets anybody in; whether they may is judged behind the routes, each time anew. Most of these are those of
//! the administration ([`admin::elsewhere`]).

use crate::{
    admin::{self, Admin},
    failure::Failure,
    front,
    listen::small_body,
    office::{Office, Person, view::TaskRow},
    sign_in::{Polled, SignIns},
};
use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use portreeve_core::{
    names::{Name, TaskId},
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
pub(crate) fn router(admin: Arc<Admin>) -> Result<Router, NotDrawn> {
    let office = Arc::clone(&admin.office);
    let counter = Arc::new(Counter { office, sessions: Sessions::lasting(SESSION_MS, SESSION_MS)? });
    let signed_in = Router::new()
        .route("/v1/whoami", get(whoami))
        .route("/v1/logout", post(logout))
        .route("/v1/tasks", get(tasks))
        .route("/v1/tasks/{task}", get(task))
        .with_state(Arc::clone(&counter))
        .merge(admin::elsewhere(admin))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&counter), guard));
    let open = Router::new().route("/v1/login", post(login)).route("/v1/login/poll", post(poll));
    Ok(signed_in.merge(open.with_state(counter)))
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
        }
        Err(failure) => return failure.into_response(),
    }
    let (head, body) = request.into_parts();
    match small_body(body).await {
        Some(body) => next.run(Request::from_parts(head, Body::from(body))).await,
        None => too_long().into_response(),
    }
}

fn too_long() -> Failure {
    Failure::malformed("the body is too long, or takes too long")
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
    office.signed_in(person.user.clone(), person.how.clone(), entered.claimed).await?;
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

/// The body of a request, in JSON
async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Failure> {
    let body = small_body(request.into_body()).await.ok_or_else(too_long)?;
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    serde_json::from_slice(body).map_err(|error| Failure::malformed(error.to_string()))
}
