//! The administration: `/v1/…` over the sockets.

mod accounts;
mod agents;
mod keys;
mod modes;
mod people;
mod policy;
mod programs;
mod secrets;
mod undo;
mod who;

pub use crate::failure::Failure;
pub(crate) use policy::accepted;
pub(crate) use programs::Guard;

use crate::{
    catalogue::Catalogue,
    door::Door,
    endpoint::Endpoints,
    fence::Fence,
    keys::KeyRoom,
    leases::Leases,
    links::{Links, Unready, digest},
    modes::{observing, observing_task},
    office::Office,
    private,
    settings::Settings,
    site::Site,
    tasks::{OpenTask, Opener, Opening, Tasks},
    teller::Teller,
    undo::Undos,
};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{delete, get, post, put},
};
use portreeve_core::{
    engine::Reply,
    event::Actor,
    hash::Hash,
    log::Log as _,
    names::{Name, TaskId, ToolName},
    node::{Node, Why},
    offer::{self, Identity},
    policy::{Deed, Reach},
    reason::Reason,
    request::{Change, ChangeWhat, Request},
    state::Task,
};
use portreeve_upstream::{clock::SteadyClock, link::Offer};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use who::Who;

/// Everything that the administration reaches
#[derive(Debug)]
pub struct Admin {
    /// The door
    pub door: Door,
    /// The catalogue
    pub catalogue: Arc<Catalogue>,
    /// The links
    pub links: Arc<Links>,
    /// Credentials, and the vault
    pub leases: Arc<Leases>,
    /// The tasks
    pub tasks: Arc<Tasks>,
    /// What takes back what tasks did
    pub undos: Arc<Undos>,
    /// Where people work
    pub office: Arc<Office>,
    /// Who tells receivers
    pub teller: Arc<Teller>,
    /// The keys
    pub keys: Arc<KeyRoom>,
    /// The endpoints
    pub endpoints: Arc<Endpoints>,
    /// Who is who
    pub fence: Arc<Fence>,
    /// The clock
    pub clock: SteadyClock,
    /// The settings
    pub settings: Settings,
    /// Where agents reach it
    pub site: Arc<Site>,
}

type Shared = State<Arc<Admin>>;

/// The routes of the administrator
pub fn router(admin: Arc<Admin>) -> Router {
    let here = Router::new()
        .route("/v1/whoami", get(who::whoami))
        .route("/v1/tasks", get(tasks).post(open))
        .route("/v1/tasks/{task}", get(task))
        .route("/v1/tasks/{task}/token", post(token))
        .route("/v1/reflex", get(people::reflex))
        .route("/v1/links", post(people::link))
        .route("/v1/checkpoint", post(checkpoint))
        .route("/v1/discover", post(discover))
        .route("/v1/connectors/{connector}", get(connector))
        .route("/v1/connectors/{connector}/accept", post(accept));
    here.merge(shared()).with_state(admin)
}

/// The routes of people who are signed in elsewhere: whoever mounts them says with a [`Person`](crate::office::Person) who asks
///
/// What hands out something that lets somebody in or work (tokens, links), runs a command that is named in the request, or
/// goes together with files of this machine is not among them.
pub(crate) fn elsewhere(admin: Arc<Admin>) -> Router {
    shared().with_state(admin)
}

/// What is done in the same way here and from elsewhere
fn shared() -> Router<Arc<Admin>> {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/roles", get(who::roles))
        .route("/v1/tasks/{task}/undo", get(undo::stands).post(undo::begin))
        .route("/v1/tasks/{task}/elevate", post(people::elevate))
        .route("/v1/holds", get(people::holds))
        .route("/v1/holds/{hold}", get(people::hold))
        .route("/v1/holds/{hold}/answer", post(people::answer))
        .route("/v1/holds/{hold}/wait", get(people::wait))
        .route("/v1/reviews", get(people::reviews))
        .route("/v1/reviews/{task}", post(people::review))
        .route("/v1/secrets", get(secrets::list))
        .route("/v1/secrets/{name}", put(secrets::set).delete(secrets::remove))
        .route("/v1/accounts", get(accounts::list).post(accounts::begin))
        .route("/v1/accounts/finish", post(accounts::finish))
        .route("/v1/accounts/{source}", delete(accounts::disconnect))
        .route("/v1/leases", get(secrets::leases))
        .route("/v1/leases/sources", get(secrets::sources))
        .route("/v1/keys", get(keys::list))
        .route("/v1/keys/{name}/rotate", post(keys::rotate))
        .route("/v1/stop", post(stop))
        .route("/v1/pause", post(agents::pause))
        .route("/v1/agents", get(agents::list))
        .route("/v1/agents/{agent}", get(agents::show))
        .route("/v1/policy/apply", post(policy::apply))
        .route("/v1/policy/rollback", post(policy::rollback))
        .route("/v1/grants", get(modes::list).post(modes::give))
}

/// The routes of a private socket: a token for this very run, and what its task is
pub fn private_router(admin: Arc<Admin>, task: TaskId) -> Router {
    let (of_token, of_task) = (Arc::clone(&admin), admin);
    Router::new()
        .route("/v1/token", post(move || own_token(of_token, task)))
        .route("/v1/task", get(move || own_task(of_task, task)))
}

type Answer = Result<Json<Value>, Failure>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sign {
    /// The address that the record is shipped to
    to: String,
    /// Up to which group; to its end if nothing is said
    n: Option<u64>,
}

/// How far the record reaches, signed for whoever it is shipped to
async fn checkpoint(State(admin): Shared, who: Who, Json(sign): Json<Sign>) -> Answer {
    who.may(&admin, Deed::Tasks, "the record").await?;
    Ok(Json(json!(admin.office.checkpoint(sign.to, sign.n).await?)))
}

async fn status(State(admin): Shared, who: Who) -> Answer {
    who.may(&admin, Deed::Inspect, "status").await?;
    let now = admin.clock.now();
    let asked = admin.door.ask(move |engine| {
        let state = engine.state();
        json!({
            "head": { "n": state.head().n, "hash": state.head().hash },
            "boot": state.boot(),
            "bundle": state.bundle(),
            "tasks": state.tasks().filter(|(id, _)| state.life(*id, now).is_empty()).count(),
            "open_effects": state.effects().count(),
            "observe": observing(state, now),
            "holds": state.open_holds().filter(|(_, hold)| hold.is_open(now)).count(),
            "reviews": state.reviews().count(),
        })
    });
    let mut status = asked.await.ok_or_else(Failure::unavailable)?;
    let directory = policy::directory(&admin).await?;
    let reflex = admin.office.reflex_seen(who.eyes(&admin).await?).await?;
    if let Some(members) = status.as_object_mut() {
        members.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
        members.insert("url".to_owned(), json!(admin.site.base));
        members.insert("data".to_owned(), json!(admin.settings.data));
        members.insert("policy".to_owned(), json!(admin.settings.policy));
        members.insert("directory".to_owned(), json!(directory));
        members.insert("pid".to_owned(), json!(std::process::id()));
        members.insert("webhook_key".to_owned(), json!(admin.teller.public_key()));
        members.insert("console".to_owned(), json!(admin.office.base()));
        members.insert("approvals".to_owned(), json!(reflex));
    }
    Ok(Json(status))
}

/// Everybody's tasks, or one's own
async fn tasks(State(admin): Shared, who: Who) -> Answer {
    let now = admin.clock.now();
    let eyes = who.eyes(&admin).await?;
    let asked = admin.door.ask(move |engine| {
        let state = engine.state();
        let bundle = engine.shelf().current(state).map(AsRef::as_ref);
        let seen = state.tasks().filter(|(id, _)| eyes.sees_task(state, bundle, *id, now)).take(TASKS_SHOWN_MAX);
        let live = seen.map(|(id, task)| shown(id, task, &state.life(id, now)));
        let ended = state
            .ended()
            .filter(|_| eyes.sees_everything())
            .map(|(id, over)| json!({ "task": id, "run": over.run, "state": "over", "why": over.why, "at": over.at }));
        live.chain(ended).collect::<Vec<_>>()
    });
    Ok(Json(json!({ "tasks": asked.await.ok_or_else(Failure::unavailable)? })))
}

/// Tasks in one list at most
const TASKS_SHOWN_MAX: usize = 10_000;

async fn task(State(admin): Shared, who: Who, Path(task): Path<String>) -> Answer {
    let id: TaskId = Failure::parsed(&task)?;
    who.sees(&admin, id).await?;
    one_task(admin, id).await
}

async fn one_task(admin: Arc<Admin>, id: TaskId) -> Answer {
    let now = admin.clock.now();
    let asked = admin.door.ask(move |engine| {
        let state = engine.state();
        let task = state.task(id).ok_or_else(|| state.life(id, now))?;
        let mut shown = shown(id, task, &state.life(id, now));
        if let Some(members) = shown.as_object_mut() {
            members.insert("observe".to_owned(), json!(observing_task(state, id, now)));
            members.extend(people::of_task(engine, id, now));
        }
        Ok::<_, Vec<Reason>>(shown)
    });
    let shown = asked.await.ok_or_else(Failure::unavailable)?;
    shown.map(Json).map_err(|reasons| Failure::missing(&reasons))
}

/// A task as its own run is told of it: not that somebody watches instead of refusing
async fn own_task(admin: Arc<Admin>, id: TaskId) -> Answer {
    let Json(mut shown) = one_task(admin, id).await?;
    if let Some(members) = shown.as_object_mut() {
        members.remove("observe");
        members.remove("holds");
    }
    Ok(Json(shown))
}

fn shown(id: TaskId, task: &Task, reasons: &[Reason]) -> Value {
    json!({
        "task": id,
        "run": task.run,
        "state": if reasons.is_empty() { "live" } else { "over" },
        "reasons": reasons,
        "agent": task.agent,
        "user": task.user,
        "purpose": task.purpose,
        "bundle": task.bundle,
        "parameters": task.values.iter().map(|(name, value)| {
            (name.to_string(), json!({ "value": value, "by": task.chosen.get(name) }))
        }).collect::<BTreeMap<_, _>>(),
        "opened": task.opened,
        "expires": task.expires,
        "over_at": task.deadline(),
        "calls": task.calls,
        "open": task.open,
        "steps": task.steps.iter().map(|(name, step)| {
            (name.to_string(), json!({ "used": step.used, "succeeded": step.succeeded }))
        }).collect::<BTreeMap<_, _>>(),
        "undoes": task.undoes.as_ref().map(|undoes| json!({ "of": undoes.of, "calls": undoes.steps.len() })),
    })
}

async fn open(State(admin): Shared, who: Who, Json(ask): Json<OpenTask>) -> Result<(StatusCode, Json<Value>), Failure> {
    // To work through an agent needs no role: `[open]` of the purpose says who may.
    let here = who.process().ok_or_else(|| Failure::malformed("a task is opened where its agent runs"))?;
    if ask.on_behalf_of.is_some() {
        let message = "`on_behalf_of` is for agents that prove themselves; here the account says who";
        return Err(Failure::malformed(message));
    }
    let user = who.user();
    let process = ask.exec.then_some(here);
    let program = programs::shown(&admin, &ask).await?;
    let proven = program.as_ref().map(|program| programs::proven(program, here));
    let opened = match admin
        .tasks
        .open(Opener::Owner { user: user.clone(), proven }, ask)
        .await
        .map_err(|reasons| Failure::refused(&reasons))?
    {
        Opening::Open(opened) => opened,
        Opening::Held(ticket) => {
            let held = people::shown(&admin, who.eyes(&admin).await?, &ticket.hold.to_string()).await?;
            return Ok((StatusCode::ACCEPTED, Json(json!({ "held": held }))));
        }
    };
    let mut answer = json!({
        "task": opened.task,
        "run": opened.run,
        "agent": opened.agent,
        "user": user,
        "expires": opened.expires,
    });
    if let Some(process) = process {
        match private::open(&admin, &opened, process, program.clone()) {
            Ok(path) => {
                if let Some(members) = answer.as_object_mut() {
                    members.insert("socket".to_owned(), json!(path));
                }
            }
            Err(error) => {
                admin.tasks.lost(opened.run).await;
                return Err(Failure::malformed(format!("the process cannot be watched: {error}")));
            }
        }
    }
    let (token, endpoints) =
        admin.tasks.token(opened.task, &admin.site.base).await.map_err(|reasons| Failure::refused(&reasons))?;
    // Whoever starts a program is not that program: its token is for what runs below.
    if program.is_none()
        && let Some(members) = answer.as_object_mut()
    {
        members.insert("token".to_owned(), json!(token.text));
        members.insert("token_expires".to_owned(), json!(token.expires));
    }
    let (task, now) = (opened.task, admin.clock.now());
    let observe = admin.door.ask(move |engine| observing_task(engine.state(), task, now)).await.unwrap_or_default();
    if let Some(members) = answer.as_object_mut() {
        members.insert("endpoints".to_owned(), json!(endpoints));
        members.insert("observe".to_owned(), json!(observe));
    }
    Ok((StatusCode::OK, Json(answer)))
}

async fn token(State(admin): Shared, who: Who, Path(task): Path<String>) -> Answer {
    let id: TaskId = Failure::parsed(&task)?;
    // Whoever has it can do what the task can: no role is enough for that.
    if !who.owns(&admin, id).await? {
        return Err(who::not_yours(id));
    }
    programs::own_only(&admin, id).await?;
    own_token(admin, id).await
}

/// A token for whoever works on a task
async fn own_token(admin: Arc<Admin>, id: TaskId) -> Answer {
    let (token, endpoints) =
        admin.tasks.token(id, &admin.site.base).await.map_err(|reasons| Failure::refused(&reasons))?;
    Ok(Json(json!({
        "task": id, "token": token.text, "token_expires": token.expires, "endpoints": endpoints, "base": admin.site.base,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StopNode {
    node: Node,
    #[serde(default)]
    ended: bool,
}

/// Recorded, then settled, then cleared; the answer shows all three, and names what is not
async fn stop(State(admin): Shared, who: Who, Json(ask): Json<StopNode>) -> Answer {
    let why = if ask.ended { Why::Ended } else { Why::Killed };
    let stopped = admin.office.stop_by(who.by, ask.node, why).await?;
    Ok(Json(json!(stopped)))
}

/// Changes the registry; or says how many people want just that, and how many have to
async fn change(admin: &Admin, who: &Who, what: ChangeWhat) -> Result<Option<(u8, u8)>, Failure> {
    match admin.door.submit(Request::Change(Change { by: who.by.clone(), what })).await {
        Reply::Recorded => {
            admin.catalogue.refresh(&admin.door).await;
            Ok(None)
        }
        Reply::Proposed { have, of } => Ok(Some((have, of))),
        Reply::Refused(reasons) => Err(Failure::refused(&reasons)),
        _ => Err(Failure::unavailable()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Discover {
    command: Option<Vec<String>>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    url: Option<String>,
    /// The SPIFFE ID that has to be there
    spiffe: Option<String>,
    /// Whether we show our own X.509-SVID there
    #[serde(default)]
    svid: bool,
}

async fn discover(State(admin): Shared, who: Who, Json(ask): Json<Discover>) -> Answer {
    who.may(&admin, Deed::Accept, "what a server offers").await?;
    let shows = ask.spiffe.is_some() || ask.svid;
    let reach = match (ask.command, ask.url) {
        (Some(command), None) if !command.is_empty() && !shows => Reach::Stdio { command, env: ask.env },
        (None, Some(url)) => Reach::Http { url, spiffe: ask.spiffe, svid: ask.svid },
        _ => return Err(Failure::malformed("a connector has a command or a url")),
    };
    let (offer, identity) = offered(&admin, &reach, None).await?;
    let digest = offer::digest(&usable(&offer), &identity);
    Ok(Json(json!({ "tools": described(&offer), "identity": identity, "digest": digest })))
}

/// What of an offer can be accepted, by its digests
fn usable(offer: &Offer) -> BTreeMap<ToolName, Hash> {
    offer.items.iter().filter_map(|(name, raw)| Some((name.parse().ok()?, digest(raw)?))).collect()
}

async fn offered(admin: &Admin, reach: &Reach, known: Option<(Name, Actor)>) -> Result<(Offer, Identity), Failure> {
    admin.links.discover(reach, known).await.map_err(|unready| match unready {
        Unready::Unreachable(why) => Failure::unreachable(why),
        Unready::Refused(reasons) => Failure::refused(&reasons),
    })
}

fn described(offer: &Offer) -> Vec<Value> {
    offer.items.iter().map(|(name, raw)| json!({ "name": name, "digest": digest(raw), "definition": raw })).collect()
}

/// What was accepted of a connector, and what it offers now
async fn connector(State(admin): Shared, who: Who, Path(connector): Path<String>) -> Answer {
    who.may(&admin, Deed::Inspect, format!("connector:{connector}")).await?;
    let (name, reach) = reach_of(&admin, &connector)?;
    let offer = offered(&admin, &reach, Some((name.clone(), who.by.clone()))).await;
    if let Ok((offer, identity)) = &offer {
        admin.links.saw(&name, Some(offer), identity.clone()).await;
    }
    let of = name.clone();
    let accepted = admin.door.ask(move |engine| {
        let met = engine.state().met(&of);
        let pins = engine.state().pins_of(&of).map(|(tool, pin)| {
            let accepted = engine.log().blob(pin.blob).ok().flatten();
            let definition = accepted.and_then(|raw| String::from_utf8(raw).ok());
            json!({ "name": tool, "accepted": pin.accepted, "seen": pin.seen, "definition": definition })
        });
        (pins.collect::<Vec<_>>(), met.map(|met| met.accepted.clone()))
    });
    let (accepted, known) = accepted.await.ok_or_else(Failure::unavailable)?;
    let mut answer = json!({
        "connector": name, "accepted": accepted, "identity": { "accepted": known },
        "credentials": secrets::of(&admin, &name),
    });
    let now = match offer {
        Ok((offer, identity)) => {
            let digest = offer::digest(&usable(&offer), &identity);
            json!({ "offered": described(&offer), "digest": digest, "identity": { "accepted": known, "seen": identity } })
        }
        Err(failure) => json!({ "offered": null, "unreachable": failure.message() }),
    };
    if let (Some(members), Value::Object(now)) = (answer.as_object_mut(), now) {
        members.extend(now);
    }
    Ok(Json(answer))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accept {
    /// The digest of the offer that was shown: who the connector is, and everything that it offers
    digest: Hash,
}

/// Accepts an offer: exactly the one that the operator was shown, if the connector still offers just that
async fn accept(State(admin): Shared, who: Who, Path(connector): Path<String>, Json(ask): Json<Accept>) -> Answer {
    who.may(&admin, Deed::Accept, format!("connector:{connector}")).await?;
    let (name, reach) = reach_of(&admin, &connector)?;
    let (offer, identity) = offered(&admin, &reach, Some((name.clone(), who.by.clone()))).await?;
    let items = usable(&offer);
    if offer::digest(&items, &identity) != ask.digest {
        let message = format!("{name} is not, or does not offer, what was shown any more.");
        let remedy = "Look at it again: `portreeve connector show NAME`.";
        return Err(Failure::new(StatusCode::CONFLICT, "offer_changed", message, remedy));
    }
    let definition = |(tool, digest): (ToolName, Hash)| {
        let raw = offer.items.get(tool.as_str())?.as_bytes().to_vec();
        Some((tool, (digest, raw)))
    };
    let definitions: BTreeMap<_, _> = items.into_iter().filter_map(definition).collect();
    let count = definitions.len();
    change(&admin, &who, ChangeWhat::Pins { connector: name.clone(), definitions, identity: identity.clone() }).await?;
    admin.links.saw(&name, Some(&offer), identity).await;
    Ok(Json(json!({ "connector": name, "accepted": count })))
}

fn reach_of(admin: &Admin, connector: &str) -> Result<(Name, Reach), Failure> {
    let name: Name = Failure::parsed(connector)?;
    let view = admin.catalogue.view();
    let found = view.bundle.as_ref().and_then(|bundle| bundle.connectors.get(&name));
    let reach = found.map(|connector| connector.reach.clone()).ok_or_else(|| {
        let message = format!("No connector {name} is in the policy.");
        Failure::new(
            StatusCode::NOT_FOUND,
            "connector_unknown",
            message,
            "Add it: `portreeve connector add NAME -- COMMAND…`.",
        )
    })?;
    Ok((name, reach))
}

/// The user whose account speaks
fn user_of(admin: &Admin, uid: u32) -> Option<Name> {
    let account = account_name(uid)?;
    let view = admin.catalogue.view();
    let users = &view.bundle.as_ref()?.users;
    users.iter().find(|(_, user)| user.accounts.contains(&account)).map(|(name, _)| name.clone())
}

/// The name of an account, from the system's own list
#[must_use]
pub fn account_name(uid: u32) -> Option<String> {
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    })
}
