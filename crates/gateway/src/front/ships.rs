//! Where the record of another gateway is taken, group by group, and kept beside our own.
//!
//! `GET /v1/ships/{log}` says how far it was taken, `POST /v1/ships/{log}` brings more: JSON lines, a signed checkpoint
//! first and then the groups that lead up to it. Whoever brings it has proven to be an agent whose file says `ships = true`;
//! whose record it is, its own key says. What is taken is on our own record before the receipt is signed.

use super::{Front, Shared};
use crate::{failure::Failure, site};
use axum::{
    Json,
    body::to_bytes,
    extract::{Extension, Path, Request, State},
    http::StatusCode,
};
use portreeve_core::{
    engine::Reply,
    hash::Hash,
    log::{Group, Head},
    names::Name,
    proof::Proven,
    request::{self, Ship},
};
use portreeve_identity::{
    attest::{Attested, Checkpoint, Receipt},
    keyring::is_vouched,
};
use portreeve_log::{
    Options,
    shipped::{NotTaken, Place, bytes},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path as Folder,
    time::Duration,
};

/// Bytes of one request at most
pub const BYTES_MAX: usize = 16 << 20;
/// How long one may take to arrive
const ARRIVES: Duration = Duration::from_secs(60);
/// Bytes of one shipped log at most
const LOG_BYTES_MAX: u64 = 1 << 30;
/// Bytes of all shipped logs at most
const ALL_BYTES_MAX: u64 = 16 << 30;
/// Name of the file with receipts beside a shipped log, one line each
pub const RECEIPTS: &str = "receipts.jsonl";

/// The first line of what is brought
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    checkpoint: Attested,
}

/// A group as it travels; bodies, openings and content are texts
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    n: u64,
    body: String,
    #[serde(default)]
    openings: String,
    #[serde(default)]
    content: Vec<String>,
}

/// How far a log was taken
pub(super) async fn look(
    State(front): Shared,
    Extension(line): Extension<site::Line>,
    Path(log): Path<String>,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let log: Hash = Failure::parsed(&log)?;
    let (head, _) = request.into_parts();
    let (agent, proven) = front.shown(&line, &head).await?;
    may(&front, &agent, &proven).await?;
    let place = Place::of(front.office.data(), &agent, log);
    let have = tokio::task::spawn_blocking(move || place.head()).await.map_err(|_| Failure::unavailable())?;
    let have = have.map_err(|error| unusable(&error.to_string()))?;
    Ok(Json(json!({ "n": have.n, "hash": have.hash })))
}

/// Takes more of a log; the receipt
pub(super) async fn take(
    State(front): Shared,
    Extension(line): Extension<site::Line>,
    Path(log): Path<String>,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let log: Hash = Failure::parsed(&log)?;
    let (head, body) = request.into_parts();
    let (agent, proven) = front.shown(&line, &head).await?;
    may(&front, &agent, &proven).await?;
    // Each is read whole.
    let _place = front.shipping.acquire().await.map_err(|_| Failure::unavailable())?;
    let body = tokio::time::timeout(ARRIVES, to_bytes(body, BYTES_MAX)).await.ok().and_then(Result::ok);
    let body = body.ok_or_else(|| {
        let message = format!("A part of a record has at most {BYTES_MAX} bytes, which arrive within a minute.");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "ship_too_long", message, "Ship less at once.")
    })?;
    let (attested, groups) =
        read(&body).map_err(|why| bad("malformed", format!("This is no part of a record: {why}.")))?;
    let upto =
        attested.read::<Checkpoint>().filter(|upto| upto.log == log && front.is_us(&upto.to)).ok_or_else(|| {
            bad("checkpoint_wrong", "The checkpoint is not signed as one of this log, for this Portreeve.".to_owned())
        })?;
    let (data, key) = (front.office.data().to_owned(), attested.key.to_string());
    let place = Place::of(&data, &agent, log);
    let (taking, signed) = (place.clone(), upto.head());
    // Until the receipt is kept, so that two at once are one after the other.
    let _taking = front.taking.lock().await;
    let taken = tokio::task::spawn_blocking(move || {
        let used = bytes(&data).map_err(|error| NotTaken::Storage(error.to_string()))?;
        if used.saturating_add(body.len() as u64) > ALL_BYTES_MAX {
            return Err(NotTaken::Full);
        }
        let options = Options { bytes_max: Some(LOG_BYTES_MAX), reserve_bytes: 0 };
        taking.take(&groups, signed, &key, is_vouched, options)
    });
    match taken.await.map_err(|_| Failure::unavailable())? {
        Ok(end) => receipt(&front, place, (&agent, proven), end).await,
        Err(error) => {
            if let NotTaken::Forked { .. } = error
                && front.forks.lock().await.insert((agent.clone(), log))
            {
                let ship = Ship { agent, proven, log, head: signed, forked: true };
                front.door.submit(request::Request::Ship(ship)).await;
            }
            Err(not_taken(&error))
        }
    }
}

/// Whether this agent may ship
async fn may(front: &Front, agent: &Name, proven: &Proven) -> Result<(), Failure> {
    let ship = Ship {
        agent: agent.clone(),
        proven: proven.clone(),
        log: Hash::default(),
        head: Head::default(),
        forked: false,
    };
    let now = front.office.now();
    let reasons = front.door.ask(move |engine| engine.may_ship(&ship, now)).await.ok_or_else(Failure::unavailable)?;
    if reasons.is_empty() { Ok(()) } else { Err(Failure::refused(&reasons)) }
}

fn read(body: &[u8]) -> Result<(Attested, Vec<Group>), String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let mut lines = text.lines();
    let opening = lines.next().unwrap_or_default();
    let opening: Opening = serde_json::from_str(opening).map_err(|error| format!("its first line: {error}"))?;
    let group = |line: &str| {
        let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let content = line.content.into_iter().map(String::into_bytes);
        let blobs = content.map(|content| (Hash::of(&content), content)).collect();
        Ok(Group { n: line.n, body: line.body.into_bytes(), openings: line.openings.into_bytes(), blobs })
    };
    Ok((opening.checkpoint, lines.map(group).collect::<Result<_, String>>()?))
}

/// The receipt for what was taken: the one that was given before, or a new one once it is on our record
async fn receipt(
    front: &Front,
    place: Place,
    (agent, proven): (&Name, Proven),
    end: Head,
) -> Result<Json<Value>, Failure> {
    let path = place.folder().join(RECEIPTS);
    if let Some(known) = last(&path).filter(|known| is_for(known, end)) {
        return Ok(Json(json!({ "receipt": known })));
    }
    let ship = Ship { agent: agent.clone(), proven, log: place.log(), head: end, forked: false };
    match front.door.submit(request::Request::Ship(ship)).await {
        Reply::Recorded => {}
        Reply::Refused(reasons) => return Err(Failure::refused(&reasons)),
        _ => return Err(Failure::unavailable()),
    }
    let recorded = front.door.ask(|engine| engine.state().head()).await.ok_or_else(Failure::unavailable)?;
    let receipt = Receipt {
        log: place.log(),
        n: end.n,
        hash: end.hash,
        shipper: agent.clone(),
        by: front.sites.name().to_owned(),
        recorded: format!("{}:{}", recorded.n, recorded.hash),
        at: front.office.now(),
    };
    let receipt = front.office.attest(&receipt).await?;
    keep(&path, &receipt).map_err(|error| unusable(&error.to_string()))?;
    Ok(Json(json!({ "receipt": receipt })))
}

/// The last receipt in a file
#[must_use]
pub fn last(path: &Folder) -> Option<Attested> {
    let lines = BufReader::new(File::open(path).ok()?).lines();
    // A line that a crash cut short is none.
    lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()).last()
}

fn is_for(receipt: &Attested, end: Head) -> bool {
    receipt.read::<Receipt>().is_some_and(|says| Head { n: says.n, hash: says.hash } == end)
}

/// Adds a receipt to a file
///
/// # Errors
/// It cannot be written.
pub fn keep(path: &Folder, receipt: &Attested) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    // Begun on a line of its own, whatever a crash left there.
    writeln!(file, "\n{}", serde_json::to_string(receipt)?)?;
    file.sync_all()
}

fn bad(word: &str, message: String) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, word, message, "Ship it with `portreeve audit ship`; see docs/record.md.")
}

fn unusable(why: &str) -> Failure {
    let message = format!("The shipped record cannot be kept: {why}.");
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "ship_unusable", message, "Check `shipped` in the data folder.")
}

fn not_taken(error: &NotTaken) -> Failure {
    let message = format!("It is not taken: {error}.");
    match error {
        NotTaken::Forked { .. } => {
            let remedy = "One of two histories is not the true one: keep both, and find out who wrote which.";
            Failure::new(StatusCode::CONFLICT, "ship_forked", message, remedy)
        }
        NotTaken::Gap { after: have } | NotTaken::Behind { have } => {
            let word = if matches!(error, NotTaken::Gap { .. }) { "ship_gap" } else { "ship_behind" };
            let have = json!({ "n": have.n, "hash": have.hash });
            let remedy = "Go on from what was taken; `portreeve audit ship` does.";
            let error = json!({ "word": word, "message": message, "remedy": remedy, "have": have });
            Failure::with(StatusCode::CONFLICT, error)
        }
        NotTaken::Broken(_) => bad("ship_broken", message),
        NotTaken::Full => {
            let remedy = "Move finished logs out of `shipped` in the data folder of whoever takes them.";
            Failure::new(StatusCode::INSUFFICIENT_STORAGE, "ship_full", message, remedy)
        }
        NotTaken::Storage(why) => unusable(why),
    }
}
