//! The links of each run, and the children behind them.
//!
//! A link is made when the first call that is permitted needs it, and ends with its run. It is never shared
//! between runs.

use crate::{catalogue::Catalogue, door::Door, settings::Settings};
use portreeve_core::{
    engine::Reply,
    event::{Actor, End},
    hash::Hash,
    names::{EffectId, Name, RunId, ToolName},
    node::{Node, Why},
    policy::{Connector, Reach},
    reason::Reason,
    request::{Request, Saw, Settle, Start, Stop},
    time::Millis,
};
use portreeve_rules::Definition;
use portreeve_upstream::{
    child::{Child, Launch},
    clock::SteadyClock,
    http::Http,
    latch::Latches,
    link::{Link, Offer},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

/// Links by run and connector
#[derive(Debug)]
pub struct Links {
    door: Door,
    latches: Arc<Latches>,
    clock: SteadyClock,
    catalogue: Arc<Catalogue>,
    launch: (std::path::PathBuf, std::path::PathBuf),
    // Each held only for a look-up, never across an await.
    slots: Mutex<HashMap<(RunId, Name), Arc<Slot>>>,
    children: Mutex<HashMap<EffectId, Arc<Child>>>,
    endpoints: Mutex<HashMap<String, Arc<Http>>>,
}

#[derive(Debug, Default)]
struct Slot {
    ready: Mutex<Option<Ready>>,
    // One at a time makes the link; held across awaits on purpose.
    making: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Ready {
    link: Arc<Link>,
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
        settings: &Settings,
    ) -> Self {
        let folder = settings.policy.parent().unwrap_or(&settings.data).to_owned();
        Self {
            door,
            latches,
            clock,
            catalogue,
            launch: (settings.keeper.clone(), folder),
            slots: Mutex::default(),
            children: Mutex::default(),
            endpoints: Mutex::default(),
        }
    }

    /// The link of a run to a connector, if it is ready to be called
    #[must_use]
    pub fn ready(&self, run: RunId, connector: &Name) -> Option<Arc<Link>> {
        let slot = Arc::clone(self.slots().get(&(run, connector.clone()))?);
        slot.ready(self.clock.now())
    }

    /// Makes the link ready: a child, a session, and a look at what the connector offers now
    ///
    /// # Errors
    /// [`Unready`]
    pub async fn prepare(&self, run: RunId, name: &Name) -> Result<(), Unready> {
        let slot = Arc::clone(self.slots().entry((run, name.clone())).or_default());
        let _one_at_a_time = slot.making.lock().await;
        if slot.ready(self.clock.now()).is_some() {
            return Ok(());
        }
        let before = slot.take();
        let relisted = match before {
            // Still there, only the listing is old.
            Some(ready) if !ready.link.is_over() => match ready.link.offer().await {
                Ok(offer) => Some((ready.link, offer)),
                Err(_) => None,
            },
            _ => None,
        };
        let (link, offer) = match relisted {
            Some(relisted) => relisted,
            None => self.make(run, name).await?,
        };
        self.saw(name, &offer).await;
        *slot.ready.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Ready { link: Arc::clone(&link), listed: self.clock.now() });
        Ok(())
    }

    async fn make(&self, run: RunId, name: &Name) -> Result<(Arc<Link>, Offer), Unready> {
        let connector = self.connector(name)?;
        let (link, offer) = match &connector.reach {
            Reach::Http { url } => {
                let http = self.endpoint(url)?;
                Link::over_http(http).await.map_err(|unready| Unready::Unreachable(unready.to_string()))?
            }
            Reach::Stdio { command, env } => self.start(run, name, command, env).await?,
        };
        Ok((Arc::new(link), offer))
    }

    /// Starts a child: an effect, admitted before and settled after
    async fn start(
        &self,
        run: RunId,
        connector: &Name,
        command: &[String],
        env: &BTreeMap<String, String>,
    ) -> Result<(Link, Offer), Unready> {
        let effect = EffectId(crate::tasks::draw().map_err(Unready::Unreachable)?);
        let start = Start { effect, run, connector: connector.clone() };
        let permit = match self.door.submit(Request::Start(start)).await {
            Reply::Permit(permit) => permit,
            Reply::Refused(reasons) => return Err(Unready::Refused(reasons)),
            _ => return Err(Unready::Unreachable("the door gave another answer".to_owned())),
        };
        let started = match self.latches.pass(&permit).enter(self.clock.now()) {
            // Known to the reaper before the latch is left: a stop that waits for it will find the child.
            Ok(_inside) => Child::start(&self.launch(command, env), self.clock)
                .inspect(|child| {
                    self.children().insert(effect, Arc::clone(child));
                })
                .map_err(|error| error.to_string()),
            Err(closed) => Err(closed.to_string()),
        };
        let child = match started {
            Ok(child) => child,
            Err(why) => {
                let end = End::NotSent { why: why.clone() };
                self.door.later(Request::Settle(Settle { effect, end, result: None }));
                return Err(Unready::Unreachable(why));
            }
        };
        let end = End::Done { ok: true, bytes: 0, result: None, process: Some(child.process().clone()) };
        self.door.later(Request::Settle(Settle { effect, end, result: None }));
        match Link::over_child(child).await {
            Ok(ready) => Ok(ready),
            Err(unready) => {
                self.reaped(effect, Why::Gone).await;
                Err(Unready::Unreachable(unready.to_string()))
            }
        }
    }

    /// Asks a connector what it offers, outside of any task
    ///
    /// # Errors
    /// [`Unready`]
    pub async fn discover(&self, reach: &Reach) -> Result<Offer, Unready> {
        let unreachable = |text: String| Unready::Unreachable(text);
        match reach {
            Reach::Http { url } => {
                let (_, offer) =
                    Link::over_http(self.endpoint(url)?).await.map_err(|unready| unreachable(unready.to_string()))?;
                Ok(offer)
            }
            Reach::Stdio { command, env } => {
                let child = Child::start(&self.launch(command, env), self.clock)
                    .map_err(|error| unreachable(error.to_string()))?;
                let (link, offer) =
                    Link::over_child(child).await.map_err(|unready| unreachable(unready.to_string()))?;
                link.end().await;
                Ok(offer)
            }
        }
    }

    /// Tells the door what a connector offers now
    pub async fn saw(&self, connector: &Name, offer: &Offer) {
        let tools = offer
            .iter()
            .filter_map(|(name, raw)| Some((name.parse::<ToolName>().ok()?, digest(raw).unwrap_or_default())));
        let tools: BTreeMap<ToolName, Hash> = tools.collect();
        // Waited for: the call that comes next is judged with it.
        self.door.submit(Request::Saw(Saw { connector: connector.clone(), tools })).await;
    }

    /// Ends a child that is known here and records that it is gone; false if it is not known
    pub async fn reaped(&self, effect: EffectId, why: Why) -> bool {
        let child = self.children().get(&effect).cloned();
        let Some(child) = child else { return false };
        child.end().await;
        self.children().remove(&effect);
        self.gone(effect, why).await;
        true
    }

    /// Records that a child is gone
    pub async fn gone(&self, effect: EffectId, why: Why) {
        let stop = Stop { node: Node::Child(effect), why, by: Actor::System, at: None };
        self.door.submit(Request::Stop(stop)).await;
    }

    /// Lets go of the links of a run that is over
    pub fn forget(&self, run: RunId) {
        self.slots().retain(|(of, _), _| *of != run);
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

    fn endpoint(&self, url: &str) -> Result<Arc<Http>, Unready> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(http) = endpoints.get(url) {
            return Ok(Arc::clone(http));
        }
        let http = Arc::new(Http::new(url, self.clock).map_err(|error| Unready::Unreachable(error.to_string()))?);
        endpoints.insert(url.to_owned(), Arc::clone(&http));
        Ok(http)
    }

    fn launch(&self, command: &[String], env: &BTreeMap<String, String>) -> Launch {
        let (keeper, folder) = self.launch.clone();
        Launch { keeper, command: command.to_vec(), env: env.clone(), folder }
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<(RunId, Name), Arc<Slot>>> {
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
    fn ready(&self, now: Millis) -> Option<Arc<Link>> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let current = ready.as_mut()?;
        if current.link.take_changed() {
            current.listed = Millis(i64::MIN);
        }
        (!current.link.is_over() && now.since(current.listed) < LISTED_MS_MAX).then(|| Arc::clone(&current.link))
    }

    fn take(&self) -> Option<Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
