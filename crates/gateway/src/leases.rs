//! Credentials of tasks while they live: issued when the first call needs one, and taken back.
//!
//! *Nothing is decided here.* The door says whether one may be issued, and when it has to go; this asks the back end, holds
//! what it gave in memory, and says what came of it. What is taken back is tried again until the back end shows that it is
//! of no use, ever more rarely, and told.

use crate::{catalogue::Catalogue, door::Door, links::Unready, turns::Turns};
use portreeve_core::{
    engine::{Permit, Reply},
    event::{Actor, End, Evidence, LeaseEnd},
    hash::Hash,
    judge::Leasing,
    names::{EffectId, Name, RunId},
    node::{Node, Why},
    policy::{CredentialSource, Credentials, Template},
    reason::{Reason, Word},
    request::{Lease, Needs, Request, Resisted, Settle, Stop},
    state::{LeaseKey, Leased, OpenLease, Task, fresh_until},
    time::Millis,
};
use portreeve_credentials::{
    means::Means,
    name::LeaseName,
    secret::{Fields, Secret},
    source::{Held, Issued, NotIssued, Wanted, Withdrawn},
    vault::Vault,
};
use portreeve_upstream::{clock::SteadyClock, given::Given, http::Put, latch::Latches};
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use zeroize::Zeroizing;

/// The credentials of all tasks
#[derive(Debug)]
pub struct Leases {
    door: Door,
    latches: Arc<Latches>,
    clock: SteadyClock,
    catalogue: Arc<Catalogue>,
    means: Means,
    /// The record, whose leases are named after it
    origin: Hash,
    // Each held only for a look-up, never across an await.
    live: Mutex<HashMap<EffectId, Arc<Credential>>>,
    /// Those that are being issued
    coming: Mutex<HashSet<EffectId>>,
    /// How often taking one back was tried in vain
    tries: Mutex<HashMap<EffectId, u32>>,
    counted: Mutex<Counted>,
    turns: Turns,
}

/// What became of credentials since this process began
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counted {
    /// Issued
    pub issued: u64,
    /// Asked for, and not issued, or nobody knows
    pub failed: u64,
    /// Known to be of no use
    pub withdrawn: u64,
    /// Of those, tried and refused, or looked for and not there
    pub verified: u64,
    /// Such as cannot be taken back, and pass by themselves
    pub left: u64,
    /// Attempts to take one back that were in vain
    pub resisted: u64,
    /// Taken back although the record did not know them
    pub orphaned: u64,
}

/// A credential of a task
#[derive(Debug)]
pub struct Credential {
    /// The effect that it is
    pub lease: EffectId,
    /// The one call that it is for, if it is for no other
    only: Option<EffectId>,
    fresh_until: Millis,
    fields: Fields,
    over: AtomicBool,
}

impl Credential {
    /// Whether something can still be begun with it
    #[must_use]
    pub fn is_good(&self, now: Millis) -> bool {
        !self.is_over() && now < self.fresh_until
    }

    /// Whether it is being taken back, or was
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// What every request to a server carries
    ///
    /// # Errors
    /// What does not fit.
    pub fn put(&self, credentials: &Credentials) -> Result<Put, String> {
        let headers = self.filled(&credentials.headers)?;
        let query = self.filled(&credentials.query)?;
        let body = self.filled(&credentials.body)?;
        let put = Put::new(pairs(&headers), pairs(&query))
            .ok_or_else(|| "the credential has characters that no header can hold".to_owned())?
            .with_body(pairs(&body));
        match &credentials.certificate {
            Some((chain, key)) => put.with_certificate(&self.fill(chain)?, &self.fill(key)?),
            None => Ok(put),
        }
    }

    /// What a process is given
    ///
    /// # Errors
    /// What does not fit.
    pub fn given(&self, credentials: &Credentials) -> Result<Given, String> {
        let env = self.filled(&credentials.env)?;
        if env.values().any(|value| value.contains('\0')) {
            return Err("the credential has characters that no variable can hold".to_owned());
        }
        Ok(Given { env, files: self.filled(&credentials.files)? })
    }

    fn filled(&self, templates: &BTreeMap<String, Template>) -> Result<BTreeMap<String, Zeroizing<String>>, String> {
        templates.iter().map(|(name, template)| Ok((name.clone(), self.fill(template)?))).collect()
    }

    fn fill(&self, template: &Template) -> Result<Zeroizing<String>, String> {
        let value = |field: &str| self.fields.get(field).map(Secret::expose);
        let filled = template.fill(value).map_err(|field| format!("its credentials have no `{field}`"))?;
        Ok(Zeroizing::new(filled))
    }
}

fn pairs(filled: &BTreeMap<String, Zeroizing<String>>) -> impl Iterator<Item = (&str, &str)> {
    filled.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

/// A credential that is being issued: nobody looks for it meanwhile, and however that ends it is looked for then
struct Coming<'a> {
    leases: &'a Leases,
    effect: EffectId,
    /// Whether it is admitted, and nobody has said yet what became of it
    admitted: bool,
}

impl<'a> Coming<'a> {
    /// Before it is admitted, as it may be owed from then on
    fn new(leases: &'a Leases, effect: EffectId) -> Self {
        leases.coming().insert(effect);
        Self { leases, effect, admitted: false }
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        if self.admitted {
            let end = End::Unknown { why: "Portreeve failed on the way".to_owned() };
            self.leases.door.later(Request::Settle(Settle::new(self.effect, end)));
        }
        self.leases.coming().remove(&self.effect);
        // What was stopped meanwhile is owed from now on.
        self.leases.door.look_again();
    }
}

/// How often back ends are looked through for what nobody knows of
const SWEEP_EVERY: Duration = Duration::from_secs(15 * 60);
/// How long after the first attempt in vain the second one comes; each further one twice as long after
const AGAIN: Duration = Duration::from_secs(1);
/// How long at most
const AGAIN_MAX: Duration = Duration::from_secs(60);

impl Leases {
    /// No leases yet
    #[must_use]
    pub fn new(
        (door, latches): (Door, Arc<Latches>),
        clock: SteadyClock,
        catalogue: Arc<Catalogue>,
        means: Means,
        origin: Hash,
    ) -> Arc<Self> {
        let (live, coming, tries, counted) = (Mutex::default(), Mutex::default(), Mutex::default(), Mutex::default());
        let turns = Turns::default();
        Arc::new(Self { door, latches, clock, catalogue, means, origin, live, coming, tries, counted, turns })
    }

    /// The vault
    #[must_use]
    pub fn vault(&self) -> &Arc<Vault> {
        &self.means.vault
    }

    /// What back ends work with
    #[must_use]
    pub fn means(&self) -> &Means {
        &self.means
    }

    /// What a connector wants to be shown, if it does
    #[must_use]
    pub fn wanted(&self, connector: &Name) -> Option<Credentials> {
        self.catalogue.view().bundle.as_ref()?.connectors.get(connector)?.credentials.clone()
    }

    /// The credential of a run for this, issued if there is none; whoever calls this makes sure that nobody else asks for
    /// the same meanwhile
    ///
    /// Goes on to its end whoever stops waiting.
    ///
    /// # Errors
    /// [`Unready`]
    pub async fn get(
        self: &Arc<Self>,
        (run, key): (Option<RunId>, &LeaseKey),
        needs: Needs,
    ) -> Result<Arc<Credential>, Unready> {
        if let Some(run) = run
            && let Some(live) = self.known(run, key).await
        {
            return Ok(live);
        }
        let effect = EffectId(crate::tasks::draw().map_err(Unready::Unreachable)?);
        let (leases, (connector, class, _)) = (Arc::clone(self), key.clone());
        // In a task of its own: what is admitted is issued, or known not to be, whoever waits for it.
        let issuing = tokio::spawn(async move {
            // Before it is admitted: what waits for its turn has not begun.
            let source = leases.wanted(&connector).map(|of| of.source);
            let _turn = match &source {
                Some(source) => {
                    let turn = leases.turns.to_issue(source, run).await;
                    Some(turn.ok_or_else(|| leases.unavailable(source, "too many wait for it"))?)
                }
                None => None,
            };
            let mut coming = Coming::new(&leases, effect);
            let lease = Lease { effect, connector: connector.clone(), needs };
            let (permit, leasing) = match leases.door.submit(Request::Lease(Box::new(lease))).await {
                Reply::Leased(permit, leasing) => (permit, *leasing),
                Reply::Refused(reasons) => return Err(Unready::Refused(reasons)),
                _ => return Err(Unready::Unreachable("the door gave another answer".to_owned())),
            };
            coming.admitted = true;
            let wanted = leases.wanted(&connector).map(|of| of.config);
            let issued = if (leasing.class, Some(leasing.config)) == (class, wanted) {
                leases.issue(permit, leasing).await
            } else {
                let why = "the policy was changed while it was asked for; try again".to_owned();
                leases.door.submit(Request::Settle(Settle::new(effect, End::NotSent { why: why.clone() }))).await;
                Err(Unready::Unreachable(why))
            };
            coming.admitted = false;
            issued
        });
        issuing.await.unwrap_or_else(|_| Err(Unready::Unreachable("Portreeve failed on the way".to_owned())))
    }

    /// The credential that a run has already
    pub async fn known(&self, run: RunId, key: &LeaseKey) -> Option<Arc<Credential>> {
        let (key, now) = (key.clone(), self.clock.now());
        let config = self.wanted(&key.0)?.config;
        let known = self.door.ask(move |engine| {
            let state = engine.state();
            state.lease(state.task_of(run)?, &key, config, now)
        });
        let effect = known.await??;
        self.live().get(&effect).filter(|live| live.is_good(now)).cloned()
    }

    async fn issue(&self, permit: Permit, leasing: Leasing) -> Result<Arc<Credential>, Unready> {
        let (effect, task) = (permit.effect(), permit.task());
        let settle = |end: End| self.door.submit(Request::Settle(Settle::new(effect, end)));
        let name = LeaseName::new(self.origin, effect);
        let source = portreeve_credentials::open(&leasing.source, &leasing.from.back_end, &self.means);
        let wanted = Wanted {
            name: name.clone(),
            class: leasing.class,
            scope: leasing.scope.clone(),
            until: leasing.until,
            task,
            whom: leasing.whom.clone(),
        };
        let issued = match self.latches.pass(permit).enter(self.clock.now()) {
            Ok(_inside) => source.issue(&wanted).await,
            Err(closed) => Err(NotIssued::Refused(closed.to_string())),
        };
        let issued = issued.and_then(|issued| self.keep(&name, issued));
        match issued {
            Ok(Issued { fields, handle, until, .. }) => {
                let (lease, over) = (effect, AtomicBool::new(false));
                let counts = until.map_or(leasing.until, |until| leasing.until.min(until));
                let fresh_until = fresh_until(leasing.now, counts, (leasing.bound, leasing.only));
                let held = Arc::new(Credential { lease, only: leasing.only, fresh_until, fields, over });
                self.count(|counted| counted.issued += 1);
                // Known before it is on the record, so that whoever takes it back finds what to try it with.
                self.live().insert(effect, Arc::clone(&held));
                match settle(End::Lease(LeaseEnd::Issued { until, handle })).await {
                    // What it was issued for may be over by now: then it is taken back, and never used.
                    Reply::Recorded if self.lives(effect).await => Ok(held),
                    Reply::Recorded => Err(Unready::Unreachable("it was over before it could be used".to_owned())),
                    Reply::Refused(reasons) => Err(Unready::Refused(reasons)),
                    _ => Err(Unready::Unreachable("the door gave another answer".to_owned())),
                }
            }
            Err(NotIssued::Refused(why)) => {
                settle(End::NotSent { why: why.clone() }).await;
                self.forget(effect);
                Err(self.unavailable(&leasing.source, &why))
            }
            Err(NotIssued::Unknown(why)) => {
                settle(End::Unknown { why: why.clone() }).await;
                Err(self.unavailable(&leasing.source, &why))
            }
        }
    }

    async fn lives(&self, effect: EffectId) -> bool {
        let now = self.clock.now();
        let lives = self.door.ask(move |engine| {
            let state = engine.state();
            state.open_lease(effect).is_some_and(|(open, lease)| state.leased(open, lease, now) == Leased::Live)
        });
        lives.await.unwrap_or(false)
    }

    /// Keeps what taking it back needs, before anything else is done with it
    fn keep(&self, name: &LeaseName, issued: Issued) -> Result<Issued, NotIssued> {
        if let Some(keep) = &issued.keep {
            self.means.vault.keep(name, keep).map_err(|error| NotIssued::Unknown(error.to_string()))?;
        }
        Ok(issued)
    }

    /// What an agent is told: that there is none, and from where; what the back end says is for the record
    fn unavailable(&self, source: &Name, why: &str) -> Unready {
        self.count(|counted| counted.failed += 1);
        tracing::warn!(%source, why, "no credential was issued");
        Unready::Refused(vec![Reason::new(Word::CredentialUnavailable, format!("credentials:{source}"))])
    }

    /// Begins nothing with a credential any more, as it is to be taken back
    pub fn ends(&self, effect: EffectId) {
        if let Some(live) = self.live().get(&effect) {
            live.over.store(true, Ordering::Relaxed);
        }
    }

    /// Ends what was issued for one call alone, once that is over
    pub fn spent(&self, call: EffectId) {
        let spent: Vec<EffectId> = {
            let live = self.live();
            live.values().filter(|live| live.only == Some(call)).map(|live| live.lease).collect()
        };
        for effect in spent {
            self.ends(effect);
            let stop = Stop { node: Node::Lease(effect), why: Why::Ended, by: Actor::System, at: None };
            self.door.later(Request::Stop(stop));
        }
    }

    /// Takes a credential back, once; says whether it is to be tried again, and after how long
    pub async fn withdraw(&self, effect: EffectId) -> Option<Duration> {
        if self.coming().contains(&effect) {
            // A late answer is taken back, and never used: once it is there.
            return Some(AGAIN);
        }
        self.ends(effect);
        let live = self.live().get(&effect).cloned();
        let _one = self.turns.with(effect).await;
        let asked = self.door.ask(move |engine| {
            let state = engine.state();
            let found = state.open_lease(effect).map(|(open, lease)| {
                let from = engine.shelf().get(lease.bundle).and_then(|bundle| bundle.sources.get(&lease.source));
                // What only rests could go on: from here on it does not, as the back end may be half way.
                let goes_on = open.task.is_none_or(|task| state.task(task).is_some()) && lease.over.is_none();
                let from = from.cloned().map(|from| (lease.source.clone(), from));
                (lease.handle.clone(), lease.usable_until, from, goes_on)
            });
            (!engine.in_doubt()).then_some(found)
        });
        let Some(found) = asked.await? else { return Some(AGAIN) };
        let Some((handle, until, from, goes_on)) = found else {
            self.forget(effect);
            return None;
        };
        if goes_on {
            let stop = Stop { node: Node::Lease(effect), why: Why::Ended, by: Actor::System, at: None };
            if !matches!(self.door.stop(stop).await.0, Reply::Recorded) {
                return Some(AGAIN);
            }
        }
        let name = LeaseName::new(self.origin, effect);
        let again = self.tries().contains_key(&effect);
        let _turn = match &from {
            Some((source, _)) => self.turns.to_withdraw(source, again).await,
            None => None,
        };
        let done = match (from, self.means.vault.kept(&name)) {
            (Some((source, from)), Ok(keep)) => {
                let fields = live.map(|live| live.fields.clone());
                let held = Held { name: name.clone(), handle, until, keep, fields };
                portreeve_credentials::open(&source, &from.back_end, &self.means).withdraw(&held).await
            }
            (None, _) => Err("the policy under which it was issued cannot be read".to_owned()),
            (_, Err(error)) => Err(error.to_string()),
        };
        let end = match done {
            Ok(Withdrawn::Gone(evidence)) => LeaseEnd::Withdrawn { evidence },
            Ok(Withdrawn::Left(until)) => LeaseEnd::Left { until },
            Err(why) => return Some(self.resisted(effect, why)),
        };
        let (left, verified) = match &end {
            LeaseEnd::Withdrawn { evidence } => {
                (0, matches!(evidence, Evidence::Refused { .. } | Evidence::Absent { .. }))
            }
            _ => (1, false),
        };
        match self.door.submit(Request::Settle(Settle::new(effect, End::Lease(end)))).await {
            Reply::Recorded => {
                self.count(|counted| {
                    counted.left += left;
                    counted.withdrawn += 1 - left;
                    counted.verified += u64::from(verified);
                });
                self.forget(effect);
                None
            }
            _ => Some(AGAIN),
        }
    }

    /// Forgets what taking a credential back needed
    fn forget(&self, effect: EffectId) {
        self.live().remove(&effect);
        self.tries().remove(&effect);
        self.turns.forget(effect);
        let name = LeaseName::new(self.origin, effect);
        if let Err(error) = self.means.vault.forget(&name) {
            tracing::warn!(%name, %error, "what a lease was taken back with could not be removed");
        }
        crate::reaper::void(&self.latches, Node::Lease(effect));
    }

    /// Ends the credentials that are secrets of the vault under a name: what lies there now is another one, or nothing
    pub async fn exchanged(&self, secret: &Name) {
        let secret = secret.clone();
        self.end(move |_, _, from| from.is_standing() && from.back_end.says().secrets().contains(&&secret)).await;
    }

    /// Ends the credentials of somebody's account: it is another one now, or none
    pub async fn parted(&self, source: &Name, user: &Name) {
        let (source, user) = (source.clone(), user.clone());
        self.end(move |task, lease, _| {
            lease.source == source && task.is_some_and(|task| task.user.as_ref() == Some(&user))
        })
        .await;
    }

    /// Begins nothing more with these, also such as are only coming
    async fn end(&self, which: impl Fn(Option<&Task>, &OpenLease, &CredentialSource) -> bool + Send + 'static) {
        let asked = self.door.ask(move |engine| {
            let state = engine.state();
            let ends = |id: &EffectId| {
                let (open, lease) = state.open_lease(*id)?;
                let from = engine.shelf().get(lease.bundle)?.sources.get(&lease.source)?;
                Some(which(open.task.and_then(|task| state.task(task)), lease, from))
            };
            state.effects().map(|(id, _)| id).filter(|id| ends(id) == Some(true)).collect::<Vec<_>>()
        });
        for effect in asked.await.unwrap_or_default() {
            let stop = Stop { node: Node::Lease(effect), why: Why::Ended, by: Actor::System, at: None };
            self.door.stop(stop).await;
        }
    }

    /// Takes back all that is out, when the process ends
    pub async fn end_all(&self) {
        let out: Vec<EffectId> = self.live().keys().copied().collect();
        futures_util::future::join_all(out.into_iter().map(|effect| self.withdraw(effect))).await;
    }

    /// Tells that a back end did not take something back, the first time and then ever more rarely
    fn resisted(&self, lease: EffectId, why: String) -> Duration {
        self.count(|counted| counted.resisted += 1);
        let tries = {
            let mut tries = self.tries();
            let tries = tries.entry(lease).or_default();
            *tries = tries.saturating_add(1);
            *tries
        };
        if tries.is_power_of_two() {
            tracing::error!(%lease, tries, why, "a credential could not be taken back, and may still be usable");
            self.door.later(Request::Resisted(Resisted { lease, tries, why }));
        }
        AGAIN.saturating_mul(1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX)).min(AGAIN_MAX)
    }

    /// Looks for orphans at once, and from time to time: what a back end made late is found without a restart
    pub async fn keep_swept(&self) {
        let mut turns = tokio::time::interval(SWEEP_EVERY);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            self.sweep().await;
        }
    }

    /// Names of ours that a back end knows and the record does not: taken back
    async fn sweep(&self) {
        // What a crash kept from being forgotten.
        for name in self.means.vault.keeps().unwrap_or_default() {
            if let Some(lease) = LeaseName::read(self.origin, &name).and_then(|name| name.lease())
                && self.is_unknown(lease).await
            {
                self.forget(lease);
            }
        }
        let sources = self.catalogue.view().bundle.as_ref().map(|bundle| bundle.sources.clone()).unwrap_or_default();
        for (source, from) in sources {
            let back_end = portreeve_credentials::open(&source, &from.back_end, &self.means);
            let prefix = portreeve_credentials::name::prefix(self.origin);
            // Those that are known before it is asked; what ends meanwhile is no orphan.
            let Some(known) = self.known_leases().await else { return };
            let names = match back_end.sweep(&prefix).await {
                Ok(names) => names,
                Err(why) => {
                    tracing::warn!(%source, why, "a back end could not be looked through for what was left behind");
                    continue;
                }
            };
            let ours = names.iter().filter_map(|name| LeaseName::read(self.origin, name));
            for name in ours {
                let Some(lease) = name.lease().filter(|lease| !known.contains(lease)) else { continue };
                if !self.is_unknown(lease).await {
                    continue;
                }
                let held = Held { name: name.clone(), handle: None, until: None, keep: None, fields: None };
                match back_end.withdraw(&held).await {
                    Ok(_) => {
                        self.count(|counted| counted.orphaned += 1);
                        tracing::warn!(%source, %name, "a credential that the record does not know was taken back")
                    }
                    Err(why) => tracing::error!(%source, %name, why, "an orphan could not be taken back"),
                }
            }
        }
    }

    /// The leases that the record knows as out; nothing while it is in doubt
    async fn known_leases(&self) -> Option<HashSet<EffectId>> {
        let known = self.door.ask(move |engine| {
            let state = engine.state();
            let known = state.effects().map(|(id, _)| id).filter(|id| state.open_lease(*id).is_some()).collect();
            (!engine.in_doubt()).then_some(known)
        });
        known.await.flatten()
    }

    /// Whether the record does not know a lease as out; before it is admitted, it has no name at its back end
    async fn is_unknown(&self, lease: EffectId) -> bool {
        let unknown = self.door.ask(move |engine| !engine.in_doubt() && engine.state().open_lease(lease).is_none());
        unknown.await == Some(true)
    }

    /// What became of credentials since this process began
    #[must_use]
    pub fn counted(&self) -> Counted {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, change: impl FnOnce(&mut Counted)) {
        change(&mut self.counted.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn live(&self) -> std::sync::MutexGuard<'_, HashMap<EffectId, Arc<Credential>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn coming(&self) -> std::sync::MutexGuard<'_, HashSet<EffectId>> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tries(&self) -> std::sync::MutexGuard<'_, HashMap<EffectId, u32>> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
