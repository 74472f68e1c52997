//! Connectors that are processes of ours: each an effect that is admitted before and settled after, and serves one run.

use crate::{
    ahead::{Ahead, blank},
    catalogue::Catalogue,
    door::Door,
    fence::Fence,
    links::Unready,
    settings::Settings,
};
use futures_util::future::join_all;
use portreeve_core::{
    engine::Reply,
    event::{Actor, End},
    names::{EffectId, Name, RunId},
    node::{Node, Why},
    offer::Identity,
    request::{Request, Settle, Start, Stop},
};
use portreeve_mcp::can::Can;
use portreeve_upstream::{
    child::{Child, Launch},
    clock::SteadyClock,
    given::Given,
    latch::Latches,
    link::{Link, Offer},
};
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// The processes that run
#[derive(Debug)]
pub struct Children {
    door: Door,
    latches: Arc<Latches>,
    clock: SteadyClock,
    fence: Arc<Fence>,
    /// The program that keeps children, and the folder in which they run
    kept: (PathBuf, PathBuf),
    // Held only for a look-up, never across an await.
    known: Mutex<HashMap<EffectId, Arc<Child>>>,
    ahead: Arc<Ahead>,
}

/// For whom a process is started, and with what
#[derive(Debug)]
pub struct For<'a> {
    /// The run
    pub run: RunId,
    /// What it is told that its client can do
    pub can: Can,
    /// The connector
    pub connector: &'a Name,
    /// The credential that it is given
    pub lease: Option<EffectId>,
    /// How many are to wait for the next runs
    pub ahead: u8,
}

impl Children {
    /// None yet
    #[must_use]
    pub fn new(
        door: Door,
        latches: Arc<Latches>,
        clock: SteadyClock,
        (fence, catalogue): (Arc<Fence>, &Arc<Catalogue>),
        settings: &Settings,
    ) -> Self {
        let folder = settings.policy.parent().unwrap_or(&settings.data).to_owned();
        let ahead = Arc::new(Ahead::new(clock, Arc::clone(catalogue), Arc::clone(&fence)));
        let (mut changes, waiting) = (catalogue.changes(), Arc::downgrade(&ahead));
        let catalogue = Arc::clone(catalogue);
        tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                let Some(waiting) = waiting.upgrade() else { return };
                waiting.keep(catalogue.view().bundle.as_deref());
            }
        });
        let kept = (settings.keeper.clone(), folder);
        Self { door, latches, clock, fence, kept, known: Mutex::default(), ahead }
    }

    /// How to start one
    #[must_use]
    pub fn launch(&self, command: &[String], env: &BTreeMap<String, String>, given: Given) -> Launch {
        let (keeper, folder) = self.kept.clone();
        Launch { keeper, command: command.to_vec(), env: env.clone(), folder, expected: None, given }
    }

    /// Starts one for a run, whose program was looked at
    ///
    /// # Errors
    /// [`Unready`]
    pub async fn start(
        self: &Arc<Self>,
        of: For<'_>,
        (launch, identity): (Launch, Identity),
    ) -> Result<(Link, EffectId, Offer), Unready> {
        let mut may_have_waited = true;
        loop {
            let (child, effect, waited) = self.begin(&of, (&launch, &identity), may_have_waited).await?;
            match Link::over_child(child, of.can).await {
                Ok((link, offer)) => {
                    if let Some(launch) = blank(&launch).filter(|_| of.ahead > 0) {
                        let (ahead, connector, count) = (Arc::clone(&self.ahead), of.connector.clone(), of.ahead);
                        tokio::spawn(async move { ahead.fill(&connector, (&launch, &identity), count).await });
                    }
                    return Ok((link, effect, offer));
                }
                Err(unready) => {
                    self.reaped(effect, Why::Gone).await;
                    if !waited {
                        return Err(Unready::Unreachable(unready.to_string()));
                    }
                    // It may have ended while it waited, of which no call is to suffer.
                    may_have_waited = false;
                }
            }
        }
    }

    /// Has a process for a run, and says whether it had waited
    async fn begin(
        self: &Arc<Self>,
        of: &For<'_>,
        (launch, identity): (&Launch, &Identity),
        may_have_waited: bool,
    ) -> Result<(Arc<Child>, EffectId, bool), Unready> {
        let effect = EffectId(crate::tasks::draw().map_err(Unready::Unreachable)?);
        let start = Start { effect, run: of.run, connector: of.connector.clone(), lease: of.lease };
        let permit = match self.door.submit(Request::Start(start)).await {
            Reply::Permit(permit) => permit,
            Reply::Refused(reasons) => return Err(Unready::Refused(reasons)),
            _ => return Err(Unready::Unreachable("the door gave another answer".to_owned())),
        };
        let started = match self.latches.pass(permit).enter(self.clock.now()) {
            // Known to the reaper before the latch is left: a stop that waits for it will find the child.
            Ok(_inside) => {
                let waited = match may_have_waited {
                    true => self.ahead.take(of.connector, launch, identity),
                    false => Ok(None),
                };
                let started = waited.and_then(|waited| match waited {
                    Some(child) => Ok((child, true)),
                    None => Child::start(launch, identity.clone(), self.clock)
                        .map(|child| (child, false))
                        .map_err(|error| error.to_string()),
                });
                started.inspect(|(child, _)| self.keep(effect, child))
            }
            Err(closed) => Err(closed.to_string()),
        };
        match started {
            Ok((child, waited)) => {
                let process = Some(child.process().clone());
                let end = End::Done { ok: true, bytes: 0, result: None, returned: BTreeMap::new(), process };
                self.door.later(Request::Settle(Settle::new(effect, end)));
                Ok((child, effect, waited))
            }
            Err(why) => {
                let end = End::NotSent { why: why.clone() };
                self.door.later(Request::Settle(Settle::new(effect, end)));
                Err(Unready::Unreachable(why))
            }
        }
    }

    /// Starts one to look at what it offers, and ends it
    ///
    /// # Errors
    /// [`Unready`]
    pub async fn look(&self, launch: Launch) -> Result<(Offer, Identity), Unready> {
        let identity = launch.identity().await.map_err(|error| Unready::Unreachable(error.to_string()))?;
        let child = Child::start(&launch, identity.clone(), self.clock)
            .map_err(|error| Unready::Unreachable(error.to_string()))?;
        self.fence.add_connector(child.process());
        let opened = Link::over_child(Arc::clone(&child), Can::NONE).await;
        child.end().await;
        self.fence.remove_connector(child.process());
        let (_, offer) = opened.map_err(|unready| Unready::Unreachable(unready.to_string()))?;
        Ok((offer, identity))
    }

    /// Knows a child from now on, until it is gone, by whatever cause
    fn keep(self: &Arc<Self>, effect: EffectId, child: &Arc<Child>) {
        self.known().insert(effect, Arc::clone(child));
        self.fence.add_connector(child.process());
        let (children, child) = (Arc::clone(self), Arc::clone(child));
        tokio::spawn(async move {
            child.gone().await;
            children.reaped(effect, Why::Gone).await;
        });
    }

    /// Ends a child that is known here and records that it is gone; false if it is not known
    pub async fn reaped(&self, effect: EffectId, why: Why) -> bool {
        let child = self.known().get(&effect).cloned();
        let Some(child) = child else { return false };
        child.end().await;
        if self.known().remove(&effect).is_some() {
            self.fence.remove_connector(child.process());
            self.gone(effect, why).await;
        }
        true
    }

    /// Records that a child is gone
    pub async fn gone(&self, effect: EffectId, why: Why) {
        let stop = Stop { node: Node::Child(effect), why, by: Actor::System, at: None };
        self.door.submit(Request::Stop(stop)).await;
        crate::reaper::void(&self.latches, Node::Child(effect));
    }

    /// Ends what waits, as its connector was stopped, or everything was
    pub fn stopped(&self, connector: Option<&Name>) {
        self.ahead.stopped(connector);
    }

    /// Ends every child, when the process ends
    pub async fn end_all(&self) {
        let effects: Vec<EffectId> = self.known().keys().copied().collect();
        let reaped = join_all(effects.into_iter().map(|effect| self.reaped(effect, Why::Restarted)));
        tokio::join!(self.ahead.end_all(), reaped);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<EffectId, Arc<Child>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
