//! The links of each run, and the children behind them.
//!
//! A link is made when the first call that is permitted needs it, and ends with its run. It is never shared
//! between runs, nor between clients of one run that can do different things for a server.

use crate::{
    catalogue::Catalogue,
    door::Door,
    fence::{Fence, Peer},
    settings::Settings,
    terms::{Peers, Toward},
};
use portreeve_core::{
    engine::Reply,
    event::{Actor, End},
    hash::Hash,
    names::{EffectId, Name, RunId, ToolName},
    node::{Node, Why},
    offer::Identity,
    operation::Operation,
    policy::{Connector, Reach},
    reason::Reason,
    request::{Probed, Request, Saw, Settle, Start, Stop},
    time::Millis,
};
use portreeve_mcp::can::Can;
use portreeve_rules::Definition;
use portreeve_upstream::{
    child::{Child, Launch},
    clock::SteadyClock,
    http::Http,
    latch::Latches,
    link::{self, Link, Offer},
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// Links by run and connector
#[derive(Debug)]
pub struct Links {
    door: Door,
    latches: Arc<Latches>,
    clock: SteadyClock,
    catalogue: Arc<Catalogue>,
    fence: Arc<Fence>,
    /// The program that keeps children, and the folder in which they run
    launch: (PathBuf, PathBuf),
    peers: Arc<Peers>,
    // Each held only for a look-up, never across an await.
    slots: Mutex<HashMap<(RunId, Name, Can), Arc<Slot>>>,
    children: Mutex<HashMap<EffectId, Arc<Child>>>,
    endpoints: Mutex<HashMap<String, Arc<Http>>>,
    /// How many links were made
    made: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Slot {
    ready: Mutex<Option<Ready>>,
    // One at a time makes the link; held across awaits on purpose. Holds when links were made lately.
    making: tokio::sync::Mutex<VecDeque<Millis>>,
}

#[derive(Clone, Debug)]
struct Ready {
    link: Arc<Link>,
    /// How the connector was reached
    reach: Reach,
    /// The effect that started its child, if it has one
    child: Option<EffectId>,
    listed: Millis,
}

/// Why a link could not be made
#[derive(Debug)]
pub enum Unready {
    /// The door refuses
    Refused(Vec<Reason>),
    /// The connector is not there
    Unreachable(String),
}

/// Kinds of clients of one run that may have links to one connector at once
const KINDS_MAX: usize = 8;
/// Links that one run may make to one connector within a minute: a server that keeps dying is left alone
const MADE_PER_MINUTE_MAX: usize = 5;
/// How long a listing is believed before a call: a changed definition is noticed this soon at the latest
const LISTED_MS_MAX: i64 = 60_000;

impl Links {
    /// No links yet
    #[must_use]
    pub fn new(
        door: Door,
        latches: Arc<Latches>,
        clock: SteadyClock,
        catalogue: Arc<Catalogue>,
        (fence, peers): (Arc<Fence>, Arc<Peers>),
        settings: &Settings,
    ) -> Self {
        let folder = settings.policy.parent().unwrap_or(&settings.data).to_owned();
        Self {
            door,
            latches,
            clock,
            catalogue,
            fence,
            launch: (settings.keeper.clone(), folder),
            peers,
            slots: Mutex::default(),
            children: Mutex::default(),
            endpoints: Mutex::default(),
            made: watch::Sender::new(0),
        }
    }

    /// The link of a run to a connector, if it is ready to be called
    #[must_use]
    pub fn ready(&self, run: RunId, connector: &Name, can: Can) -> Option<Arc<Link>> {
        let slot = Arc::clone(self.slots().get(&(run, connector.clone(), can))?);
        let view = self.catalogue.view();
        let reach = &view.bundle.as_ref()?.connectors.get(connector)?.reach;
        slot.ready(reach, self.clock.now())
    }

    /// Whether a run has had a link to a connector, and is not over
    #[must_use]
    pub fn has(&self, run: RunId, connector: &Name, can: Can) -> bool {
        self.slots().contains_key(&(run, connector.clone(), can))
    }

    /// Makes the link ready: a child, a session, and a look at what the connector offers now
    ///
    /// # Errors
    /// [`Unready`]
    pub async fn prepare(self: &Arc<Self>, run: RunId, name: &Name, can: Can) -> Result<Arc<Link>, Unready> {
        let reach = self.connector(name)?.reach;
        let slot = self.slot(run, name, can)?;
        let mut made = slot.making.lock().await;
        if let Some(link) = slot.ready(&reach, self.clock.now()) {
            return Ok(link);
        }
        let relisted = match slot.take() {
            // Still there and still the same, only the listing is old.
            Some(ready) if !ready.link.is_over() && ready.reach == reach => match ready.link.offer().await {
                Ok(offer) => Some((ready, offer)),
                Err(_) => {
                    self.leave(ready).await;
                    None
                }
            },
            Some(ready) => {
                self.leave(ready).await;
                None
            }
            None => None,
        };
        let (ready, offer) = match relisted {
            Some(relisted) => relisted,
            None => {
                let now = self.clock.now();
                made.retain(|at| now.since(*at) < 60_000);
                if made.len() >= MADE_PER_MINUTE_MAX {
                    return Err(Unready::Unreachable("it keeps ending; wait a minute".to_owned()));
                }
                made.push_back(now);
                self.make((run, can), name, reach).await?
            }
        };
        self.saw(name, Some(&offer), ready.link.identity()).await;
        let link = Arc::clone(&ready.link);
        let ready = Ready { listed: self.clock.now(), ..ready };
        *slot.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(ready);
        self.made.send_modify(|made| *made += 1);
        Ok(link)
    }

    /// Told whenever a link was made ready, for whichever run
    #[must_use]
    pub fn made(&self) -> watch::Receiver<u64> {
        self.made.subscribe()
    }

    /// Ends a link that is not used any more
    async fn leave(&self, ready: Ready) {
        ready.link.end().await;
        if let Some(child) = ready.child {
            self.reaped(child, Why::Gone).await;
        }
    }

    fn slot(&self, run: RunId, name: &Name, can: Can) -> Result<Arc<Slot>, Unready> {
        let mut slots = self.slots();
        let key = (run, name.clone(), can);
        if !slots.contains_key(&key)
            && slots.keys().filter(|(of, connector, _)| (*of, connector) == (run, name)).count() >= KINDS_MAX
        {
            return Err(Unready::Unreachable("too many kinds of clients of this task use it".to_owned()));
        }
        Ok(Arc::clone(slots.entry(key).or_default()))
    }

    /// What a connector is told that its client can do: no more than the task lets it ask for
    async fn told(&self, run: RunId, name: &Name, can: Can) -> Can {
        if can == Can::NONE {
            return can;
        }
        let (of, clock) = (name.clone(), self.clock.read());
        let listed = self.door.ask(move |engine| engine.listed(run, &of, clock)).await;
        let operations = listed.and_then(Result::ok).map(|listed| listed.operations).unwrap_or_default();
        let asks = operations.into_iter().map(|operation| match operation {
            Operation::Elicit => Can::FORM.and(Can::URL),
            Operation::Sample => Can::SAMPLE.and(Can::SAMPLE_TOOLS).and(Can::SAMPLE_CONTEXT),
            Operation::ListRoots => Can::ROOTS.and(Can::ROOTS_CHANGED),
            _ => Can::NONE,
        });
        can.within(asks.fold(Can::TASKS.and(Can::UI), Can::and))
    }

    async fn make(
        self: &Arc<Self>,
        (run, can): (RunId, Can),
        name: &Name,
        reach: Reach,
    ) -> Result<(Ready, Offer), Unready> {
        let can = self.told(run, name, can).await;
        let (link, child, offer) = match &reach {
            Reach::Http { url, spiffe, svid } => {
                let http = self.endpoint(&reach, url, (spiffe.as_deref(), *svid))?;
                let (link, offer) =
                    Link::over_http(http, can).await.map_err(|unready| Unready::Unreachable(unready.to_string()))?;
                (link, None, offer)
            }
            Reach::Stdio { command, env } => {
                let (link, child, offer) = self.start((run, can), name, command, env).await?;
                (link, Some(child), offer)
            }
        };
        Ok((Ready { link: Arc::new(link), reach, child, listed: self.clock.now() }, offer))
    }

    /// Starts a child: an effect, admitted before and settled after
    async fn start(
        self: &Arc<Self>,
        (run, can): (RunId, Can),
        connector: &Name,
        command: &[String],
        env: &BTreeMap<String, String>,
    ) -> Result<(Link, EffectId, Offer), Unready> {
        let effect = EffectId(crate::tasks::draw().map_err(Unready::Unreachable)?);
        let launch = self.launch(command, env);
        let identity = launch.identity().await.map_err(|error| Unready::Unreachable(error.to_string()))?;
        // A program that is not the accepted one is refused before it is started.
        self.saw(connector, None, identity.clone()).await;
        let start = Start { effect, run, connector: connector.clone() };
        let permit = match self.door.submit(Request::Start(start)).await {
            Reply::Permit(permit) => permit,
            Reply::Refused(reasons) => return Err(Unready::Refused(reasons)),
            _ => return Err(Unready::Unreachable("the door gave another answer".to_owned())),
        };
        let started = match self.latches.pass(permit).enter(self.clock.now()) {
            // Known to the reaper before the latch is left: a stop that waits for it will find the child.
            Ok(_inside) => Child::start(&launch, identity, self.clock)
                .inspect(|child| self.keep(effect, child))
                .map_err(|error| error.to_string()),
            Err(closed) => Err(closed.to_string()),
        };
        let child = match started {
            Ok(child) => child,
            Err(why) => {
                let end = End::NotSent { why: why.clone() };
                self.door.later(Request::Settle(Settle::new(effect, end)));
                return Err(Unready::Unreachable(why));
            }
        };
        let process = Some(child.process().clone());
        let end = End::Done { ok: true, bytes: 0, result: None, returned: BTreeMap::new(), process };
        self.door.later(Request::Settle(Settle::new(effect, end)));
        match Link::over_child(child, can).await {
            Ok((link, offer)) => Ok((link, effect, offer)),
            Err(unready) => {
                self.reaped(effect, Why::Gone).await;
                Err(Unready::Unreachable(unready.to_string()))
            }
        }
    }

    /// Knows a child from now on, until it is gone, by whatever cause
    fn keep(self: &Arc<Self>, effect: EffectId, child: &Arc<Child>) {
        self.children().insert(effect, Arc::clone(child));
        if let Some(process) = Peer::recorded(child.process()) {
            self.fence.add_connector(process);
        }
        let (links, child) = (Arc::clone(self), Arc::clone(child));
        tokio::spawn(async move {
            child.gone().await;
            links.reaped(effect, Why::Gone).await;
        });
    }

    /// Asks a connector what it offers, outside of any task; goes on to its end whoever stops waiting
    ///
    /// # Errors
    /// [`Unready`]
    pub async fn discover(self: &Arc<Self>, reach: &Reach) -> Result<(Offer, Identity), Unready> {
        let (links, reach) = (Arc::clone(self), reach.clone());
        let probe = tokio::spawn(async move { links.probe(&reach).await });
        probe.await.unwrap_or_else(|_| Err(Unready::Unreachable("the probe failed".to_owned())))
    }

    async fn probe(&self, reach: &Reach) -> Result<(Offer, Identity), Unready> {
        let unreachable = |unready: link::Unready| Unready::Unreachable(unready.to_string());
        let (offer, identity) = match reach {
            Reach::Http { url, spiffe, svid } => {
                let http = self.endpoint(reach, url, (spiffe.as_deref(), *svid))?;
                let (link, offer) = Link::over_http(http, Can::NONE).await.map_err(unreachable)?;
                (offer, link.identity())
            }
            Reach::Stdio { command, env } => {
                let launch = self.launch(command, env);
                let identity = launch.identity().await.map_err(|error| Unready::Unreachable(error.to_string()))?;
                let child = Child::start(&launch, identity.clone(), self.clock)
                    .map_err(|error| Unready::Unreachable(error.to_string()))?;
                let process = Peer::recorded(child.process());
                process.into_iter().for_each(|process| self.fence.add_connector(process));
                let opened = Link::over_child(Arc::clone(&child), Can::NONE).await;
                child.end().await;
                process.into_iter().for_each(|process| self.fence.remove_connector(process));
                (opened.map_err(unreachable)?.1, identity)
            }
        };
        self.door.later(Request::Probed(Probed { reach: reach.to_string(), tools: offer.items.len() }));
        Ok((offer, identity))
    }

    /// Tells the door who a connector is, and what it offers now if it was asked
    pub async fn saw(&self, connector: &Name, offer: Option<&Offer>, identity: Identity) {
        let digested =
            |(name, raw): (&String, &String)| Some((name.parse::<ToolName>().ok()?, digest(raw).unwrap_or_default()));
        let tools = offer.map(|offer| offer.items.iter().filter_map(digested).collect::<BTreeMap<_, _>>());
        // Waited for: the call that comes next is judged with it.
        self.door.submit(Request::Saw(Saw { connector: connector.clone(), tools, identity })).await;
    }

    /// Ends a child that is known here and records that it is gone; false if it is not known
    pub async fn reaped(&self, effect: EffectId, why: Why) -> bool {
        let child = self.children().get(&effect).cloned();
        let Some(child) = child else { return false };
        child.end().await;
        if self.children().remove(&effect).is_some() {
            Peer::recorded(child.process()).into_iter().for_each(|process| self.fence.remove_connector(process));
            self.gone(effect, why).await;
        }
        true
    }

    /// Records that a child is gone
    pub async fn gone(&self, effect: EffectId, why: Why) {
        let stop = Stop { node: Node::Child(effect), why, by: Actor::System, at: None };
        self.door.submit(Request::Stop(stop)).await;
    }

    /// Lets go of the links of a run that is over
    pub fn forget(&self, run: RunId) {
        let gone: Vec<Arc<Slot>> = {
            let mut slots = self.slots();
            let gone = slots.iter().filter(|((of, ..), _)| *of == run).map(|(_, slot)| Arc::clone(slot)).collect();
            slots.retain(|(of, ..), _| *of != run);
            gone
        };
        for ready in gone.into_iter().filter_map(|slot| slot.take()) {
            // A server is told that its session is over; a child ends by the stop that was recorded.
            if ready.child.is_none() {
                tokio::spawn(async move { ready.link.end().await });
            }
        }
    }

    /// Ends every child, when the process ends
    pub async fn end_all(&self) {
        let effects: Vec<EffectId> = self.children().keys().copied().collect();
        for effect in effects {
            self.reaped(effect, Why::Restarted).await;
        }
    }

    fn connector(&self, name: &Name) -> Result<Connector, Unready> {
        let view = self.catalogue.view();
        let connector = view.bundle.as_ref().and_then(|bundle| bundle.connectors.get(name)).cloned();
        connector.ok_or_else(|| Unready::Unreachable("it is not in the policy".to_owned()))
    }

    /// What is known of an address under one way to reach it, and the idle connections to it
    fn endpoint(&self, reach: &Reach, url: &str, (id, svid): (Option<&str>, bool)) -> Result<Arc<Http>, Unready> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let key = reach.to_string();
        if let Some(http) = endpoints.get(&key) {
            return Ok(Arc::clone(http));
        }
        let unreachable = |error: &dyn std::fmt::Display| Unready::Unreachable(error.to_string());
        let http = Http::new(url, self.clock).map_err(|error| unreachable(&error))?;
        let toward = Toward::new(Arc::clone(&self.peers), id, svid).map_err(|error| unreachable(&error))?;
        let http = Arc::new(match toward {
            Some(toward) => http.on(Arc::new(toward)),
            None => http,
        });
        endpoints.insert(key, Arc::clone(&http));
        Ok(http)
    }

    fn launch(&self, command: &[String], env: &BTreeMap<String, String>) -> Launch {
        let (keeper, folder) = self.launch.clone();
        Launch { keeper, command: command.to_vec(), env: env.clone(), folder, expected: None }
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<(RunId, Name, Can), Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn children(&self) -> std::sync::MutexGuard<'_, HashMap<EffectId, Arc<Child>>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The canonical digest of a definition; none if it is none
#[must_use]
pub fn digest(raw: &str) -> Option<Hash> {
    Definition::read(raw.as_bytes()).ok().map(|definition| definition.digest)
}

impl Slot {
    fn ready(&self, reach: &Reach, now: Millis) -> Option<Arc<Link>> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let current = ready.as_mut()?;
        if current.link.take_changed() {
            current.listed = Millis(i64::MIN);
        }
        let good = current.reach == *reach && !current.link.is_over() && now.since(current.listed) < LISTED_MS_MAX;
        good.then(|| Arc::clone(&current.link))
    }

    fn take(&self) -> Option<Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
