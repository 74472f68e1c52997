//! The links of each run, and the children behind them.
//!
//! A link is made when the first call that is permitted needs it, and ends with its run. It is never shared
//! between runs, nor between clients of one run that can do different things for a server.

use crate::{
    catalogue::Catalogue,
    children::{Children, For},
    door::Door,
    leases::{Credential, Leases},
    terms::{Peers, Toward},
};
use portreeve_core::{
    event::Actor,
    hash::Hash,
    judge::Wants,
    names::{EffectId, Name, RunId, ToolName},
    node::{Node, Why},
    offer::Identity,
    operation::Operation,
    policy::{Class, Connector, Credentials, Reach},
    reason::Reason,
    request::{Needs, Probed, Request, Saw, Stop},
    state::LeaseKey,
    time::Millis,
};
use portreeve_mcp::can::Can;
use portreeve_rules::Definition;
use portreeve_upstream::{
    clock::SteadyClock,
    http::Http,
    link::{self, Link, Offer},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// Links by run and connector
#[derive(Debug)]
pub struct Links {
    door: Door,
    clock: SteadyClock,
    catalogue: Arc<Catalogue>,
    leases: Arc<Leases>,
    children: Arc<Children>,
    peers: Arc<Peers>,
    // Each held only for a look-up, never across an await.
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    // One at a time asks for a credential; held across awaits on purpose.
    leasing: Mutex<Turns>,
    /// By their lease: those that nothing begins on any more, while calls on them go on
    closing: Mutex<HashMap<EffectId, Vec<Ready>>>,
    endpoints: Mutex<HashMap<String, Arc<Http>>>,
    /// Calls that have something made for them alone, as long as somebody waits for them
    waited_for: Mutex<HashSet<EffectId>>,
    /// How many links were made
    made: watch::Sender<u64>,
}

/// Whose link it is
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    run: RunId,
    connector: Name,
    can: Can,
    /// Where the connector wants credentials, each class has its own link
    class: Option<Class>,
    /// And where those serve one call, each call
    only: Option<EffectId>,
}

impl Key {
    fn new(run: RunId, connector: (&Name, &Connector), can: Can, wants: Wants) -> Self {
        let (name, connector) = connector;
        let class = connector.credentials.as_ref().map(|_| wants.class);
        Self { run, connector: name.clone(), can, class, only: wants.only }
    }
}

/// Whose turn it is to ask for a credential
type Turns = HashMap<(RunId, LeaseKey), Arc<tokio::sync::Mutex<()>>>;

/// A link that is ready, and the credential that it was made with
#[derive(Clone, Debug)]
pub struct Linked {
    /// The link
    pub link: Arc<Link>,
    /// The lease
    pub lease: Option<EffectId>,
}

#[derive(Debug, Default)]
struct Slot {
    ready: Mutex<Option<Ready>>,
    // One at a time makes the link; held across awaits on purpose. Holds when links were made lately, and with what.
    making: tokio::sync::Mutex<VecDeque<(Millis, Option<EffectId>)>>,
}

#[derive(Clone, Debug)]
struct Ready {
    link: Arc<Link>,
    /// How the connector was reached
    reach: Reach,
    /// The effect that started its child, if it has one
    child: Option<EffectId>,
    /// The credential that it was made with, and how that was put in
    with: Option<(Arc<Credential>, Credentials)>,
    listed: Millis,
}

impl Ready {
    fn lease(&self) -> Option<EffectId> {
        self.with.as_ref().map(|(with, _)| with.lease)
    }

    /// Whether it still is a link to just this connector
    fn is_of(&self, connector: &Connector) -> bool {
        let same = match (&self.with, &connector.credentials) {
            (None, None) => true,
            (Some((_, with)), Some(credentials)) => with == credentials,
            _ => false,
        };
        same && self.reach == connector.reach && !self.link.is_over()
    }

    fn linked(&self) -> Linked {
        Linked { link: Arc::clone(&self.link), lease: self.lease() }
    }
}

/// What was made for one call alone: let go of when this is dropped, however the call ended
#[derive(Debug)]
pub struct Alone<'a> {
    links: &'a Links,
    run: RunId,
    only: Option<EffectId>,
}

impl Alone<'_> {
    /// Something is made for this call alone, if it is for one
    pub fn wants(&mut self, only: Option<EffectId>) {
        self.only = only;
        self.links.waited_for().extend(only);
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.only {
            self.links.spent(self.run, call);
        }
    }
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
/// Links that one run may make to one connector, with one credential, within a minute: a server that keeps dying is left alone
const MADE_PER_MINUTE_MAX: usize = 5;
/// How long a listing is believed before a call: a changed definition is noticed this soon at the latest
const LISTED_MS_MAX: i64 = 60_000;

impl Links {
    /// No links yet
    #[must_use]
    pub fn new(
        (door, clock): (Door, SteadyClock),
        catalogue: Arc<Catalogue>,
        (children, leases, peers): (Arc<Children>, Arc<Leases>, Arc<Peers>),
    ) -> Self {
        Self {
            door,
            clock,
            catalogue,
            leases,
            children,
            leasing: Mutex::default(),
            peers,
            slots: Mutex::default(),
            closing: Mutex::default(),
            endpoints: Mutex::default(),
            waited_for: Mutex::default(),
            made: watch::Sender::new(0),
        }
    }

    /// The link of a run to a connector, if it is ready to be called
    #[must_use]
    pub fn ready(&self, run: RunId, connector: &Name, can: Can, class: Class) -> Option<Linked> {
        let view = self.catalogue.view();
        let connector_now = view.bundle.as_ref()?.connectors.get(connector)?;
        let key = Key::new(run, (connector, connector_now), can, Wants { class, only: None });
        let slot = Arc::clone(self.slots().get(&key)?);
        slot.ready(connector_now, self.clock.now())
    }

    /// Whether a run has had a link to a connector, and is not over
    #[must_use]
    pub fn has(&self, run: RunId, connector: &Name, can: Can) -> bool {
        self.slots().keys().any(|key| (key.run, &key.connector, key.can) == (run, connector, can))
    }

    /// Makes the link ready: a child, a session, and a look at what the connector offers now
    ///
    /// # Errors
    /// [`Unready`]
    pub async fn prepare(
        self: &Arc<Self>,
        run: RunId,
        (name, can): (&Name, Can),
        (wants, needs): (Wants, Needs),
    ) -> Result<Linked, Unready> {
        let connector = self.connector(name)?;
        let slot = self.slot(Key::new(run, (name, &connector), can, wants))?;
        let mut made = slot.making.lock().await;
        if let Some(linked) = slot.ready(&connector, self.clock.now())
            && self.counts(run, (name, wants), linked.lease).await
        {
            return Ok(linked);
        }
        let with = match connector.credentials.clone() {
            Some(credentials) => Some((self.credential(run, (name, wants), needs).await?, credentials)),
            None => None,
        };
        // What was issued under the policy of now is shown to nobody whom only an earlier one named.
        let now = self.connector(name)?;
        if with.is_some() && (&now.reach, &now.credentials) != (&connector.reach, &connector.credentials) {
            return Err(Unready::Unreachable("the policy was changed meanwhile; try again".to_owned()));
        }
        let relisted = match slot.take() {
            // Still there and still the same, only the listing is old.
            Some(ready) if ready.is_of(&connector) && ready.lease() == with.as_ref().map(|(with, _)| with.lease) => {
                match ready.link.offer().await {
                    Ok(offer) => Some((ready, offer)),
                    Err(_) => {
                        self.leave(ready).await;
                        None
                    }
                }
            }
            Some(ready) => {
                self.replaced(ready).await;
                None
            }
            None => None,
        };
        let (ready, offer) = match relisted {
            Some(relisted) => relisted,
            None => {
                // A link that ends with its credential is no server that keeps dying.
                let (now, lease) = (self.clock.now(), with.as_ref().map(|(with, _)| with.lease));
                made.retain(|(at, with)| now.since(*at) < 60_000 && *with == lease);
                if made.len() >= MADE_PER_MINUTE_MAX {
                    return Err(Unready::Unreachable("it keeps ending; wait a minute".to_owned()));
                }
                made.push_back((now, lease));
                self.make((run, can), name, (connector.reach, connector.ahead), with).await?
            }
        };
        self.saw(name, Some(&offer), ready.link.identity()).await;
        let (linked, with) = (ready.linked(), ready.with.as_ref().map(|(with, _)| Arc::clone(with)));
        let ready = Ready { listed: self.clock.now(), ..ready };
        *slot.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(ready);
        // Who takes its credential back looks for it here; what came after that goes at once.
        if with.is_some_and(|with| with.is_over()) {
            if let Some(ready) = slot.take() {
                self.leave(ready).await;
            }
            return Err(Unready::Unreachable("its credential ended meanwhile; try again".to_owned()));
        }
        // Nor is it kept for a call that nobody waits for any more.
        if let Some(call) = wants.only.filter(|call| !self.waited_for().contains(call)) {
            self.spent(run, call);
            return Err(Unready::Unreachable("the call is over".to_owned()));
        }
        self.made.send_modify(|made| *made += 1);
        Ok(linked)
    }

    /// Whether a call can begin with what a link was made with: one that is over stays for those that were begun before
    async fn counts(&self, run: RunId, (name, wants): (&Name, Wants), lease: Option<EffectId>) -> bool {
        let Some(lease) = lease else { return true };
        let known = self.leases.known(run, &(name.clone(), wants.class, wants.only)).await;
        known.is_some_and(|known| known.lease == lease)
    }

    /// The same for who only looks at what there is
    ///
    /// # Errors
    /// [`Unready`]
    pub async fn look(self: &Arc<Self>, run: RunId, name: &Name, can: Can) -> Result<Linked, Unready> {
        let wants = Wants { class: Class::Read, only: None };
        self.prepare(run, (name, can), (wants, Needs::Look(run))).await
    }

    /// The credential of a run for a class, which several links may be made with
    async fn credential(
        &self,
        run: RunId,
        (name, wants): (&Name, Wants),
        needs: Needs,
    ) -> Result<Arc<Credential>, Unready> {
        let key = (name.clone(), wants.class, wants.only);
        let one = Arc::clone(self.leasing().entry((run, key.clone())).or_default());
        let _one = one.lock().await;
        self.leases.get((Some(run), &key), needs).await
    }

    /// What is made for one call of a run alone, and ends with this
    #[must_use]
    pub fn alone(&self, run: RunId) -> Alone<'_> {
        Alone { links: self, run, only: None }
    }

    /// Lets go of what was made for one call, once that is over
    fn spent(&self, run: RunId, call: EffectId) {
        // In this order: whoever still makes something for it sees this, or is seen below.
        self.waited_for().remove(&call);
        self.leases.spent(call);
        self.leasing().retain(|(of, (.., only)), _| *of != run || *only != Some(call));
        let gone = self.gone_from(|key| key.run == run && key.only == Some(call));
        // A process ends with the credential that it was started with.
        for ready in gone {
            tokio::spawn(async move { ready.link.end().await });
        }
    }

    /// Takes links out that are used no more
    fn gone_from(&self, is_over: impl Fn(&Key) -> bool) -> Vec<Ready> {
        let mut slots = self.slots();
        let over: Vec<Key> = slots.keys().filter(|key| is_over(key)).cloned().collect();
        over.iter().filter_map(|key| slots.remove(key)?.take()).collect()
    }

    /// Begins nothing more on a link; where calls may be under way with a credential that only nears its end, it goes
    /// with that
    async fn replaced(&self, ready: Ready) {
        let Some((with, _)) = ready.with.clone().filter(|(with, _)| !with.is_over() && !ready.link.is_over()) else {
            return self.leave(ready).await;
        };
        self.closing().entry(with.lease).or_default().push(ready);
        // Taken back meanwhile: nobody asks for it again.
        if with.is_over() {
            self.unleash(with.lease);
        }
    }

    /// Lets go of the links that were made with a credential that goes
    pub fn unleash(&self, lease: EffectId) {
        let closing = self.closing().remove(&lease).unwrap_or_default();
        for ready in closing.into_iter().filter(|ready| ready.child.is_none()) {
            tokio::spawn(async move { ready.link.end().await });
        }
        let slots: Vec<Arc<Slot>> = self.slots().values().map(Arc::clone).collect();
        for slot in slots {
            let mut ready = slot.ready.lock().unwrap_or_else(PoisonError::into_inner);
            if ready.as_ref().is_some_and(|ready| ready.lease() == Some(lease) && ready.child.is_none())
                && let Some(ready) = ready.take()
            {
                tokio::spawn(async move { ready.link.end().await });
            }
        }
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
            self.children.reaped(child, Why::Gone).await;
        }
    }

    fn slot(&self, key: Key) -> Result<Arc<Slot>, Unready> {
        let mut slots = self.slots();
        let alike = |other: &&Key| Key { can: key.can, ..(*other).clone() } == key;
        if !slots.contains_key(&key) && slots.keys().filter(alike).count() >= KINDS_MAX {
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
        (reach, ahead): (Reach, u8),
        with: Option<(Arc<Credential>, Credentials)>,
    ) -> Result<(Ready, Offer), Unready> {
        let can = self.told(run, name, can).await;
        let unfit = Unready::Unreachable;
        let (link, child, offer) = match &reach {
            Reach::Http { url, spiffe, svid } => {
                let http = self.endpoint(&reach, url, (spiffe.as_deref(), *svid))?;
                let http = match &with {
                    Some((with, credentials)) => Arc::new(http.with(with.put(credentials).map_err(unfit)?)),
                    None => http,
                };
                let (link, offer) =
                    Link::over_http(http, can).await.map_err(|unready| Unready::Unreachable(unready.to_string()))?;
                (link, None, offer)
            }
            Reach::Stdio { command, env } => {
                let given =
                    with.as_ref().map(|(with, credentials)| with.given(credentials)).transpose().map_err(unfit)?;
                let launch = self.children.launch(command, env, given.unwrap_or_default());
                let identity = launch.identity().await.map_err(|error| unfit(error.to_string()))?;
                // A program that is not the accepted one is refused before it is started.
                self.saw(name, None, identity.clone()).await;
                let lease = with.as_ref().map(|(with, _)| with.lease);
                let of = For { run, can, connector: name, lease, ahead };
                let (link, child, offer) = self.children.start(of, (launch, identity)).await?;
                (link, Some(child), offer)
            }
        };
        Ok((Ready { link: Arc::new(link), reach, child, with, listed: self.clock.now() }, offer))
    }

    /// Asks a connector what it offers, outside of any task; goes on to its end whoever stops waiting
    ///
    /// # Errors
    /// [`Unready`]
    pub async fn discover(
        self: &Arc<Self>,
        reach: &Reach,
        known: Option<(Name, Actor)>,
    ) -> Result<(Offer, Identity), Unready> {
        let (links, reach) = (Arc::clone(self), reach.clone());
        let probe = tokio::spawn(async move { links.probe_with(&reach, known).await });
        probe.await.unwrap_or_else(|_| Err(Unready::Unreachable("the probe failed".to_owned())))
    }

    /// Probes with a credential of its own, where the connector wants one
    async fn probe_with(&self, reach: &Reach, known: Option<(Name, Actor)>) -> Result<(Offer, Identity), Unready> {
        let wanted = known.and_then(|(name, by)| Some((self.leases.wanted(&name)?, name, by)));
        let Some((credentials, name, by)) = wanted else { return self.probe(reach, None).await };
        let credential = self.leases.get((None, &(name, Class::Read, None)), Needs::Probe(by)).await?;
        let probed = self.probe(reach, Some((&credential, &credentials))).await;
        let stop = Stop { node: Node::Lease(credential.lease), why: Why::Killed, by: Actor::System, at: None };
        self.door.stop(stop).await;
        probed
    }

    async fn probe(
        &self,
        reach: &Reach,
        with: Option<(&Credential, &Credentials)>,
    ) -> Result<(Offer, Identity), Unready> {
        let unreachable = |unready: link::Unready| Unready::Unreachable(unready.to_string());
        let (offer, identity) = match reach {
            Reach::Http { url, spiffe, svid } => {
                let http = self.endpoint(reach, url, (spiffe.as_deref(), *svid))?;
                let put = with.map(|(with, credentials)| with.put(credentials)).transpose();
                let http = match put.map_err(Unready::Unreachable)? {
                    Some(put) => Arc::new(http.with(put)),
                    None => http,
                };
                let (link, offer) = Link::over_http(http, Can::NONE).await.map_err(unreachable)?;
                (offer, link.identity())
            }
            Reach::Stdio { command, env } => {
                let given = with.map(|(with, credentials)| with.given(credentials)).transpose();
                let given = given.map_err(Unready::Unreachable)?.unwrap_or_default();
                self.children.look(self.children.launch(command, env, given)).await?
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

    /// Lets go of the links of a run that is over
    pub fn forget(&self, run: RunId) {
        self.leasing().retain(|(of, _), _| *of != run);
        for ready in self.gone_from(|key| key.run == run) {
            // A server is told that its session is over; a child ends by the stop that was recorded.
            if ready.child.is_none() {
                tokio::spawn(async move { ready.link.end().await });
            }
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

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leasing(&self) -> std::sync::MutexGuard<'_, Turns> {
        self.leasing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waited_for(&self) -> std::sync::MutexGuard<'_, HashSet<EffectId>> {
        self.waited_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closing(&self) -> std::sync::MutexGuard<'_, HashMap<EffectId, Vec<Ready>>> {
        self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The canonical digest of a definition; none if it is none
#[must_use]
pub fn digest(raw: &str) -> Option<Hash> {
    Definition::read(raw.as_bytes()).ok().map(|definition| definition.digest)
}

impl Slot {
    fn ready(&self, connector: &Connector, now: Millis) -> Option<Linked> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let current = ready.as_mut()?;
        if current.link.take_changed() {
            current.listed = Millis(i64::MIN);
        }
        let lives = current.with.as_ref().is_none_or(|(with, _)| with.is_good(now));
        let good = current.is_of(connector) && lives && now.since(current.listed) < LISTED_MS_MAX;
        good.then(|| current.linked())
    }

    fn take(&self) -> Option<Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
