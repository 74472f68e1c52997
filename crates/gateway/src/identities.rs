//! The Workload API of our own (SPIFFE Workload API 1.0): a process on this machine gets the identity of the agent that it is.
//!
//! Whose process it is, is said by the kernel: account, program, digest, held against `attest` in the agents' files. What is
//! below an agent gets no other agent's identity, and what serves a connector gets none.

mod authority;
mod caller;
mod methods;
mod wire;

use crate::{catalogue::Catalogue, door::Door, fence::Fence, listen, settings::Spiffe};
use authority::Softened;
use axum::{Json, Router, routing::get};
use caller::Caller;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use portreeve_core::{
    hash::Hash,
    names::Name,
    node::Node,
    proof::{Attest, Way},
    request::{Issued, Request},
    time::Millis,
};
use portreeve_identity::{
    authority::{Authority, fresh_key},
    key::{self, folder::Folder},
    svid::SpiffeId,
};
use portreeve_upstream::{clock::SteadyClock, identity};
use std::{convert::Infallible, fs, io, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};
use tokio::{net::UnixListener, sync::Semaphore};
use tonic::Status;

/// Connections at once
const CONNECTIONS_MAX: usize = 256;
/// Requests on one connection at once
const STREAMS_MAX: u32 = 16;
/// How long a connection may be silent before it is asked whether anybody is there
const ALIVE: Duration = Duration::from_secs(30);
/// How long nothing is accepted after the system could not give a connection
const BACK_OFF: Duration = Duration::from_millis(20);
/// Where the bundle of our trust domain is served
const BUNDLE: &str = "/.well-known/spiffe-bundle";

/// Whether a path is ours: what is served there is public, and for other hosts
pub(crate) fn serves(path: &str) -> bool {
    path == BUNDLE
}

/// The public half of an authority, for those who trust its domain (SPIFFE Federation 1.0)
pub(crate) fn router(authority: Arc<Authority>) -> Router {
    Router::new().route(BUNDLE, get(move || std::future::ready(Json(authority.document()))))
}

/// The authority with the keys in this folder, made if there are none
///
/// # Errors
/// They cannot be used.
pub(crate) fn authority(spiffe: &Spiffe, data: &Path, now: Millis) -> Result<Arc<Authority>, key::Error> {
    let folder = Folder::open(&data.join("keys"))?;
    let certificates = folder.secret("spiffe-ca.key", fresh_key)?;
    let tokens = folder.secret("spiffe-jwt.key", fresh_key)?;
    let form = |_| key::Error::Form { from: "keys/spiffe-ca.key or keys/spiffe-jwt.key".to_owned() };
    Authority::new(spiffe.trust_domain.clone(), &certificates, &tokens, now).map(Arc::new).map_err(form)
}

/// Binds the socket
///
/// # Errors
/// It cannot be bound.
pub(crate) fn bind(spiffe: &Spiffe) -> io::Result<UnixListener> {
    let listener = listen::bind(&spiffe.socket)?;
    if spiffe.shared {
        fs::set_permissions(&spiffe.socket, fs::Permissions::from_mode(0o666))?;
    }
    Ok(listener)
}

/// Gives processes their identities
#[derive(Debug)]
pub(crate) struct Identities {
    pub(crate) authority: Arc<Authority>,
    pub(crate) door: Door,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) fence: Arc<Fence>,
    pub(crate) clock: SteadyClock,
    pub(crate) ttl: Duration,
}

/// An identity that a process has
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    agent: Name,
    id: String,
}

impl Identities {
    /// Serves until it is dropped
    pub(crate) async fn serve(self: Arc<Self>, listener: UnixListener) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(BACK_OFF).await;
                continue;
            };
            let Some(caller) = Caller::of(&stream).map(Arc::new) else { continue };
            let this = Arc::clone(&self);
            tokio::spawn(async move {
                let _place = place;
                let (reader, writer) = stream.into_split();
                let answer = |request: http::Request<Incoming>| {
                    let (this, caller) = (Arc::clone(&this), Arc::clone(&caller));
                    async move { Ok::<_, Infallible>(methods::answer(&this, &caller, request).await) }
                };
                let served = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(STREAMS_MAX)
                    .keep_alive_interval(ALIVE)
                    .serve_connection(TokioIo::new(tokio::io::join(Softened::new(reader), writer)), service_fn(answer));
                if let Err(error) = served.await {
                    tracing::trace!(%error, "connection ended");
                }
            });
        }
    }

    /// The identities of a process now
    ///
    /// # Errors
    /// It has none.
    async fn entries(&self, caller: &Caller) -> Result<Vec<Entry>, Status> {
        let none = || Status::permission_denied("no identity is issued to this process");
        let runs = self.fence.runs_around(caller.process).ok_or_else(none)?;
        let found = self.candidates(caller).await;
        let now = self.clock.now();
        let domain = format!("spiffe://{}/", self.authority.domain().as_str());
        let asked = self.door.ask(move |engine| {
            let state = engine.state();
            let around: Option<Vec<&Name>> =
                runs.iter().map(|run| Some(&state.task(state.task_of(*run)?)?.agent)).collect();
            let Some(around) = around else { return Vec::new() };
            let stands = |agent: &Name| {
                let node = Node::Agent(agent.clone());
                state.ended_why(&node).is_none() && state.paused(&node).is_none()
            };
            let own = |entry: &Entry| around.iter().all(|agent| **agent == entry.agent);
            found
                .into_iter()
                .filter(|(entry, review_by)| {
                    let overdue = review_by.is_some_and(|review_by| review_by <= now);
                    !overdue && entry.id.starts_with(&domain) && own(entry) && stands(&entry.agent)
                })
                .map(|(entry, _)| entry)
                .collect::<Vec<Entry>>()
        });
        let mut entries = asked.await.ok_or_else(|| Status::unavailable("Portreeve is ending"))?;
        entries.sort();
        entries.dedup();
        // What was read was its own, if it is there still.
        if entries.is_empty() || !caller.is_there() { Err(none()) } else { Ok(entries) }
    }

    /// What the policy in force would let this process be, with the day of its review
    async fn candidates(&self, caller: &Caller) -> Vec<(Entry, Option<Millis>)> {
        let view = self.catalogue.view();
        let Some(bundle) = view.bundle.as_ref() else { return Vec::new() };
        let attested: Vec<(&Name, Option<Millis>, &String, &Attest)> = bundle
            .agents
            .iter()
            .flat_map(|(name, agent)| agent.proofs.iter().map(move |proof| (name, agent.review_by, proof)))
            .filter_map(|(name, review_by, proof)| match (&proof.way, &proof.attest) {
                (Way::Spiffe(id), Some(attest)) => Some((name, review_by, id, attest)),
                _ => None,
            })
            .collect();
        let path = fs::read_link(format!("/proc/{}/exe", caller.process.pid)).ok();
        let path = path.as_deref().and_then(Path::to_str).unwrap_or_default();
        let near = |attest: &Attest| attest.fits_account(caller.uid) && attest.fits_path(path);
        let needs = attested.iter().any(|(.., attest)| attest.sha256.is_some() && near(attest));
        let sha256 = if needs { digest(caller.process.pid).await } else { None };
        let fits = |attest: &Attest| near(attest) && attest.sha256.is_none_or(|wanted| sha256 == Some(wanted));
        let found = attested.into_iter().filter(|(.., attest)| fits(attest));
        found.map(|(agent, review_by, id, _)| (Entry { agent: agent.clone(), id: id.clone() }, review_by)).collect()
    }

    /// Until when something that is issued now counts
    fn until(&self, now: Millis, most: Duration) -> Millis {
        let ms = i64::try_from(self.ttl.min(most).as_millis()).unwrap_or(i64::MAX);
        // Whole seconds, as certificates and tokens say it.
        Millis(now.plus(ms).0.div_euclid(1_000).saturating_mul(1_000))
    }

    /// Notes what was issued: with the next group of the record, which is not waited for
    fn note(&self, caller: &Caller, entry: &Entry, serial: String, until: Millis, token: bool) {
        let process = u32::try_from(caller.process.pid).unwrap_or_default();
        let (agent, id) = (entry.agent.clone(), entry.id.clone());
        self.door.later(Request::Issued(Issued { agent, id, token, serial, until, process, account: caller.uid }));
    }
}

impl Entry {
    fn spiffe(&self) -> Result<SpiffeId, Status> {
        self.id.parse().map_err(|_| Status::internal("the policy names what is no SPIFFE ID"))
    }
}

async fn digest(pid: i32) -> Option<Hash> {
    tokio::task::spawn_blocking(move || identity::running(pid, None)).await.ok()?.ok()
}
