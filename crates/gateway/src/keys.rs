//! The keys of this data folder while it is served: found at the start, exchanged without a pause, told.
//!
//! A rotation is on the record before anything is signed with the new key. Until its files have been moved too, the next
//! start finishes it (`identity/keyring.rs`).

use crate::{
    door::{Door, TheEngine},
    failure::Failure,
};
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use portreeve_core::{
    engine::Reply,
    event::{Actor, KeyUse},
    request::{Change, ChangeWhat, Request},
    state,
    time::Millis,
};
use portreeve_credentials::vault::Vault;
use portreeve_identity::{
    key::{self, PublicKey, SigningKey, folder::Folder, source::Given},
    keyring::{Keeper, Keys, NotRotated, Prepared, Ring, Sources, overlap_ms},
    seal::Sealer,
};
use portreeve_upstream::clock::SteadyClock;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, RwLock};

/// The keys of every use, as they were found at the start
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) token: Arc<Ring>,
    pub(crate) answer: Arc<Ring>,
    pub(crate) webhook: Arc<Ring>,
    pub(crate) upstream: Arc<Ring>,
    master: Arc<Ring>,
    pub(crate) sealer: Arc<Sealer>,
    /// Whether something may be sealed with a master key that will not open it for ever
    pub(crate) has_other_master: bool,
    keeper: Keeper,
}

impl Found {
    /// Removes master keys that do not count any more: after all was sealed with the one that does
    pub(crate) fn tidy_masters(&self) -> Result<(), Error> {
        Ok(self.keeper.tidy(KeyUse::Master, &self.master.keys())?)
    }
}

/// Why there are no keys
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no key to sign with
    #[error("there is no key to sign with")]
    Key(#[from] key::Error),
    /// Another key could not be put on the record
    #[error("which keys are used could not be recorded")]
    Record,
    /// Nothing follows from the master key
    #[error("there is no way to seal")]
    Seal,
}

/// Finds the keys; one that the record does not name as the current one is recorded first
pub(crate) fn find(
    engine: &mut TheEngine,
    data: &Path,
    (sources, given): (&Sources, &Arc<Given>),
    clock: SteadyClock,
) -> Result<Found, Error> {
    let tenant = engine.state().origin().to_string();
    let keeper = Keeper::new(Folder::open(&data.join("keys"))?, Arc::clone(given), sources.clone(), tenant);
    let now = clock.now();
    let (mut rings, mut changes) = (BTreeMap::new(), Vec::new());
    for of in KeyUse::ALL {
        let loaded = keeper.load(of, engine.state().keys(of), now)?;
        if let Some(change) = loaded.change {
            if let Some(before) = change.before.as_ref().filter(|_| change.vouched.is_none()) {
                tracing::warn!(key = %of, %before, "another key takes over, and the one before is not there to vouch for it");
            }
            let what = ChangeWhat::Key(change);
            changes.push(Request::Change(Change { by: Actor::System, what }));
        }
        rings.insert(of, loaded.keys);
    }
    given.wipe();
    if !changes.is_empty() {
        let replies = engine.turn(changes, clock.read(), [0; 32]);
        if replies.iter().any(|reply| !matches!(reply, Reply::Recorded)) {
            return Err(Error::Record);
        }
    }
    let mut ring = |of: KeyUse| -> Result<Arc<Ring>, Error> {
        let keys = rings.remove(&of).ok_or(Error::Record)?;
        // What is left of master keys opens the vault first.
        if of != KeyUse::Master {
            keeper.tidy(of, &keys)?;
        }
        Ok(Ring::new(keys))
    };
    let (token, answer, webhook) = (ring(KeyUse::Token)?, ring(KeyUse::Answer)?, ring(KeyUse::Webhook)?);
    let (master, upstream) = (ring(KeyUse::Master)?, ring(KeyUse::Upstream)?);
    let sealer = Arc::new(Sealer::new(master.keys().current()).ok_or(Error::Seal)?);
    // A change that was cut off before it was on the record may have sealed something with its key.
    let unrecorded = keeper.unrecorded(KeyUse::Master)?;
    let masters = unrecorded.map_or_else(|| (*master.keys()).clone(), |key| master.keys().opening(&key));
    if !sealer.turn(&masters, now) {
        return Err(Error::Seal);
    }
    let has_other_master = masters.secrets(now).count() > 1;
    Ok(Found { token, answer, webhook, upstream, master, sealer, has_other_master, keeper })
}

/// The keys while they are used
#[derive(Debug)]
pub struct KeyRoom {
    door: Door,
    clock: SteadyClock,
    rings: BTreeMap<KeyUse, Arc<Ring>>,
    sealer: Arc<Sealer>,
    /// What is sealed for longer than any key counts
    vault: Arc<Vault>,
    answering: Arc<RwLock<()>>,
    // Locked by blocking work only, and that by whoever has `turning`.
    keeper: Arc<Mutex<Keeper>>,
    /// One change of keys at a time
    turning: tokio::sync::Mutex<()>,
    turned: Notify,
}

/// A key, as people see it
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// What it is for
    pub name: KeyUse,
    /// Whether it signs
    pub state: KeyState,
    /// Its thumbprint (RFC 7638), by which tokens name it
    pub thumbprint: String,
    /// Its public half
    pub key: String,
    /// How it signs
    pub algorithm: String,
    /// Where it comes from; nothing for an earlier one
    pub source: Option<String>,
    /// Since when it signs; nothing for the next one
    pub since: Option<Millis>,
    /// Until when what it signed is taken; nothing if that is not bounded
    pub until: Option<Millis>,
}

/// How a key stands
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It signs
    Current,
    /// It signs after the current one
    Next,
    /// It signed before, and that still counts
    Earlier,
}

/// How long the keys are left alone at most, before those that have ended are looked for
const LOOK: Duration = Duration::from_secs(3600);

impl KeyRoom {
    pub(crate) fn new(door: Door, clock: SteadyClock, found: Found, vault: Arc<Vault>) -> Arc<Self> {
        let rings = [
            (KeyUse::Token, found.token),
            (KeyUse::Answer, found.answer),
            (KeyUse::Webhook, found.webhook),
            (KeyUse::Master, found.master),
            (KeyUse::Upstream, found.upstream),
        ];
        Arc::new(Self {
            door,
            clock,
            rings: rings.into(),
            sealer: found.sealer,
            vault,
            answering: Arc::default(),
            keeper: Arc::new(Mutex::new(found.keeper)),
            turning: tokio::sync::Mutex::default(),
            turned: Notify::new(),
        })
    }

    /// Held for reading from before an answer is signed until it is recorded, so that the record never has an answer by
    /// a key that was not the one of its time
    pub(crate) fn answering(&self) -> Arc<RwLock<()>> {
        Arc::clone(&self.answering)
    }

    /// Every key that is of use
    pub(crate) async fn list(&self) -> Result<Vec<KeyView>, Failure> {
        let known = self.door.ask(|engine| KeyUse::ALL.map(|of| engine.state().keys(of).cloned()));
        let known = known.await.ok_or_else(Failure::unavailable)?;
        let now = self.clock.now();
        let keeper = Arc::clone(&self.keeper);
        let sources = tokio::task::spawn_blocking(move || {
            let keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
            KeyUse::ALL.map(|of| keeper.source(of).to_string())
        });
        let sources = sources.await.map_err(|_| Failure::unavailable())?;
        let mut all = Vec::new();
        for ((of, known), source) in KeyUse::ALL.into_iter().zip(known).zip(sources) {
            let next = self.rings.get(&of).and_then(|ring| ring.keys().next());
            all.extend(known.into_iter().flat_map(|known| views(of, &known, next, &source, now)));
        }
        Ok(all)
    }

    /// Exchanges a key; at once takes nothing any more that earlier ones signed or sealed
    ///
    /// Goes on to its end even if nobody waits for it any more.
    pub(crate) async fn rotate(self: Arc<Self>, of: KeyUse, at_once: bool, by: Actor) -> Result<(), Failure> {
        tokio::spawn(async move { self.exchange(of, at_once, by).await }).await.map_err(|_| Failure::unavailable())?
    }

    async fn exchange(&self, of: KeyUse, at_once: bool, by: Actor) -> Result<(), Failure> {
        let Some(ring) = self.rings.get(&of) else { return Err(Failure::unavailable()) };
        let _turning = self.turning.lock().await;
        let now = self.clock.now();
        let until = if at_once { now } else { now.plus(overlap_ms(of)) };
        let keys = ring.keys();
        let before = Arc::clone(&keys);
        let prepared = self.keeping(move |keeper| keeper.prepare(of, &before, until)).await?;
        let Prepared { key, change } = prepared.map_err(|error| not_rotated(&error))?;
        let key = Arc::new(key);
        if of == KeyUse::Master {
            // What the vault has is sealed with the new key before the one before it opens nothing any more: in whichever
            // moment this is cut off, the next start has both keys, or the new one alone and nothing of the other.
            let resealed = self.reseal(&keys.turned(Arc::clone(&key), now.plus(overlap_ms(of)))).await;
            if resealed.is_err() {
                self.opens_with(&keys, &key);
            }
            resealed?;
        }
        // Answers that are signed already are recorded first; further ones are signed with the new key.
        let _none_between = match of {
            KeyUse::Answer => Some(self.answering.write().await),
            KeyUse::Token | KeyUse::Webhook | KeyUse::Master | KeyUse::Upstream => None,
        };
        let what = ChangeWhat::Key(change);
        match self.door.submit(Request::Change(Change { by, what })).await {
            Reply::Recorded => {}
            other => {
                if of == KeyUse::Master {
                    // Whether the record has it may not be known. What is sealed with it opens either way, at the next start too.
                    self.opens_with(&keys, &key);
                }
                return Err(match other {
                    Reply::Refused(reasons) => Failure::refused(&reasons),
                    _ => Failure::unavailable(),
                });
            }
        }
        let turned = keys.turned(key, until).pruned(now);
        ring.turn(turned.clone());
        if of == KeyUse::Master && !self.sealer.turn(&turned, now) {
            return Err(unusable("nothing follows from the new master key"));
        }
        drop(_none_between);
        let after = self.keeping(move |keeper| {
            let next = keeper.recorded(of)?;
            let turned = turned.with_next(next);
            keeper.tidy(of, &turned).map(|()| turned)
        });
        match after.await? {
            Ok(turned) => ring.turn(turned),
            // It is on the record and in use. The next start moves the files, or says why it cannot.
            Err(error) => {
                return Err(unusable(&format!("the new {of} key is in use, but not in its place yet: {error}")));
            }
        }
        tracing::info!(key = %of, at_once, "a key was exchanged");
        self.turned.notify_one();
        Ok(())
    }

    /// Seals the vault with the current one of these master keys, and opens with all of them
    async fn reseal(&self, keys: &Keys) -> Result<(), Failure> {
        if !self.sealer.turn(keys, self.clock.now()) {
            return Err(unusable("nothing follows from the new master key"));
        }
        let vault = Arc::clone(&self.vault);
        let resealed = tokio::task::spawn_blocking(move || vault.reseal()).await;
        resealed
            .map_err(|_| Failure::unavailable())?
            .map_err(|error| unusable(&format!("the vault could not be sealed with the new master key: {error}")))
    }

    /// Seals with the current one of these master keys, and opens with this one as well
    fn opens_with(&self, keys: &Keys, key: &Arc<SigningKey>) {
        if !self.sealer.turn(&keys.opening(key), self.clock.now()) {
            tracing::error!("the master key does not sign; what it seals cannot be opened after the next start");
        }
    }

    /// Lets go of earlier keys when their time is over
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let ends = self.rings.values().filter_map(|ring| ring.keys().ends()).min();
            let wait = ends
                .map_or(LOOK, |end| Duration::from_millis(end.since(self.clock.now()).max(0).unsigned_abs()).min(LOOK));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.turned.notified() => continue,
            }
            let _turning = self.turning.lock().await;
            let now = self.clock.now();
            for (of, ring) in &self.rings {
                let of = *of;
                if ring.keys().ends().is_none_or(|end| now < end) {
                    continue;
                }
                let keys = ring.keys().pruned(now);
                ring.turn(keys.clone());
                if of == KeyUse::Master {
                    let unrecorded = self.keeping(move |keeper| keeper.unrecorded(of)).await.ok().and_then(Result::ok);
                    let masters = unrecorded.flatten().map_or_else(|| keys.clone(), |key| keys.opening(&key));
                    if !self.sealer.turn(&masters, now) {
                        tracing::warn!(
                            "the master key does not sign; what was sealed under the one before is still opened"
                        );
                    }
                }
                match self.keeping(move |keeper| keeper.tidy(of, &keys)).await {
                    Ok(Ok(())) => tracing::info!(key = %of, "an earlier key counts no more"),
                    Ok(Err(error)) => tracing::warn!(key = %of, %error, "an earlier key could not be removed"),
                    Err(_) => return,
                }
            }
        }
    }

    async fn keeping<T: Send + 'static>(&self, act: impl FnOnce(&Keeper) -> T + Send + 'static) -> Result<T, Failure> {
        let keeper = Arc::clone(&self.keeper);
        let acting = move || act(&keeper.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(acting).await.map_err(|_| Failure::unavailable())
    }
}

fn views(of: KeyUse, known: &state::Keys, next: Option<PublicKey>, source: &str, now: Millis) -> Vec<KeyView> {
    let view = |key: &str, state| KeyView {
        name: of,
        state,
        thumbprint: key.parse::<PublicKey>().map(|key| key.thumbprint()).unwrap_or_default(),
        key: key.to_owned(),
        algorithm: "Ed25519".to_owned(),
        source: None,
        since: None,
        until: None,
    };
    let source = || Some(source.to_owned());
    let current = KeyView { source: source(), since: Some(known.since), ..view(&known.current, KeyState::Current) };
    let next = next.map(|next| KeyView { source: source(), ..view(&next.to_string(), KeyState::Next) });
    let earlier = known.earlier.iter().rev().filter(|earlier| of == KeyUse::Answer || now < earlier.until);
    let earlier = earlier.map(|earlier| KeyView {
        since: Some(earlier.since),
        // Answers are checked with the key of their time, for ever.
        until: (of != KeyUse::Answer).then_some(earlier.until),
        ..view(&earlier.key, KeyState::Earlier)
    });
    std::iter::once(current).chain(next).chain(earlier).collect()
}

fn not_rotated(error: &NotRotated) -> Failure {
    match error {
        NotRotated::Elsewhere { of, .. } => Failure::new(
            StatusCode::CONFLICT,
            "key_elsewhere",
            format!("{error}."),
            &format!(
                "Put another key there (under a new name, as `{of}` in [keys] of portreeve.toml), name the one before as \
                 `{of}` in [keys.earlier], and start `portreeve serve` again: it records the change and keeps the overlap."
            ),
        ),
        NotRotated::Key { source, .. } => unusable(&format!("{error}: {source}")),
    }
}

fn unusable(what: &str) -> Failure {
    let remedy = "See `portreeve doctor` for the folder of keys; a start of `portreeve serve` finishes what was begun.";
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "key_unusable", what, remedy)
}

/// Where the public keys of tokens are told
const JWKS: &str = "/.well-known/jwks.json";
/// Where those are told with which we show servers of others who asks, so that neither kind of token is taken for the other
pub(crate) const UPSTREAM_JWKS: &str = "/.well-known/upstream-jwks.json";

/// Whether a path tells public keys; whoever asks may know them
#[must_use]
pub fn serves(path: &str) -> bool {
    path == JWKS || path == UPSTREAM_JWKS
}

/// The public keys of tokens, for whoever checks them (RFC 7517)
pub(crate) fn router(keys: Arc<KeyRoom>) -> Router {
    Router::new()
        .route(JWKS, get(|State(room): State<Arc<KeyRoom>>| jwks(room, KeyUse::Token)))
        .route(UPSTREAM_JWKS, get(|State(room): State<Arc<KeyRoom>>| jwks(room, KeyUse::Upstream)))
        .with_state(keys)
}

async fn jwks(room: Arc<KeyRoom>, of: KeyUse) -> Result<impl IntoResponse, Failure> {
    let ring = room.rings.get(&of).ok_or_else(Failure::unavailable)?;
    // As long as the next key is told before it signs at the least; see `token::LIFETIME_MS`.
    let headers = [(header::CACHE_CONTROL, "public, max-age=300"), (header::CONTENT_TYPE, "application/jwk-set+json")];
    Ok((headers, Json(ring.keys().jwks(room.clock.now()))))
}
