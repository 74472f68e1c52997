//! The keys of those who vouch for identities: fetched once, kept while they are fresh, fetched anew when one is unknown.
//!
//! A fetch is asked for by whoever has a token to check. However many do, one is under way for each issuer; and however
//! many unknown keys are shown, one in half a minute is looked for.

use crate::workload::Workload;
use portreeve_core::{
    names::Name,
    policy::{BundleSource, Issuer, Vouches},
    time::Millis,
};
use portreeve_identity::{
    authority::Authority,
    discovery,
    jose::Keys,
    svid::{Bundle, Bundles, NotAnId, TrustDomain},
};
use portreeve_upstream::{
    clock::SteadyClock,
    fetch::{self, Hosts},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Bytes of a discovery document or a set of keys at most
const BYTES_MAX: usize = 256 << 10;
/// How long an issuer may take to answer
const WITHIN: Duration = Duration::from_secs(5);
/// For how long keys are fresh if the issuer does not say, and the bounds of what it may say, in milliseconds
const FRESH_MS: i64 = 10 * 60 * 1_000;
const FRESH_MS_MIN: i64 = 30 * 1_000;
const FRESH_MS_MAX: i64 = 60 * 60 * 1_000;
/// For how long keys still count after they were fresh while their issuer cannot be reached, in milliseconds
const STALE_MS: i64 = 60 * 60 * 1_000;
/// How long nothing is fetched again after a fetch, whatever is shown, in milliseconds
const PAUSE_MS: i64 = 30 * 1_000;

/// What an issuer is believed by
#[derive(Clone, Debug)]
pub enum Trusted {
    /// The keys of an issuer of tokens
    Keys(Keys),
    /// The bundle of a trust domain, and of no other
    Bundle(Bundles),
}

/// What is known of an issuer at the moment
#[derive(Clone, Debug)]
pub struct Known {
    /// What it is believed by
    pub trusted: Arc<Trusted>,
    fetched: Millis,
    fresh_until: Millis,
}

/// The issuers of a process
#[derive(Debug)]
pub struct Issuers {
    clock: SteadyClock,
    /// Who signs here for workloads of this machine
    own: Option<Arc<Authority>>,
    workload: Arc<Workload>,
    // Held only to look an entry up; what takes time is behind the entry's own lock.
    entries: Mutex<BTreeMap<Name, Arc<Entry>>>,
}

/// One issuer, as one version of the policy describes it
#[derive(Debug)]
struct Entry {
    issuer: Issuer,
    // Held while a fetch is under way: whoever comes meanwhile waits for that one.
    known: tokio::sync::Mutex<Tried>,
}

#[derive(Debug, Default)]
struct Tried {
    known: Option<Known>,
    /// When something was fetched last, and what came of it if nothing did
    last: Option<(Millis, Option<String>)>,
}

/// An issuer cannot be asked, so nothing of it can be checked
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys of {issuer} cannot be had: {why}")]
pub struct Unreachable {
    /// Which
    pub issuer: Name,
    /// Why
    pub why: String,
}

impl Issuers {
    /// Nothing is known yet but what our own authority signs
    #[must_use]
    pub fn new(clock: SteadyClock, workload: Arc<Workload>, own: Option<Arc<Authority>>) -> Self {
        Self { clock, own, workload, entries: Mutex::default() }
    }

    /// What is known of an issuer; fetched if it is not fresh, or if `unknown` says that a key is missing in that
    ///
    /// # Errors
    /// [`Unreachable`]
    pub async fn known(&self, name: &Name, issuer: &Issuer, unknown: Option<&Known>) -> Result<Known, Unreachable> {
        match &issuer.vouches {
            Vouches::TrustDomain { name: domain, bundle: BundleSource::WorkloadApi } => {
                return self.local(name, domain).await;
            }
            Vouches::TrustDomain { name: domain, bundle: BundleSource::Own } => return self.own(name, domain),
            _ => {}
        }
        let entry = self.entry(name, issuer);
        let mut tried = entry.known.lock().await;
        let now = self.clock.now();
        let fresh = tried.known.as_ref().filter(|known| now < known.fresh_until);
        // Whoever misses a key has been overtaken if somebody else has fetched since.
        let enough = fresh.filter(|known| unknown.is_none_or(|unknown| unknown.fetched < known.fetched));
        if let Some(known) = enough {
            return Ok(known.clone());
        }
        let rests = tried.last.as_ref().is_some_and(|(at, _)| now.since(*at) < PAUSE_MS);
        if !rests {
            let fetched = fetch(issuer, now).await;
            tried.last = Some((now, fetched.as_ref().err().cloned()));
            match fetched {
                Ok(known) => tried.known = Some(known),
                Err(why) => tracing::warn!(issuer = %name, %why, "keys cannot be fetched"),
            }
        }
        let standing = tried.known.as_ref().filter(|known| now < known.fresh_until.plus(STALE_MS));
        standing.cloned().ok_or_else(|| {
            let why = tried.last.as_ref().and_then(|(_, why)| why.clone());
            Unreachable { issuer: name.clone(), why: why.unwrap_or_else(|| "nothing was fetched lately".to_owned()) }
        })
    }

    /// What is known without asking anybody
    fn own(&self, name: &Name, domain: &str) -> Result<Known, Unreachable> {
        let own = self.own.as_ref().filter(|own| own.domain().as_str() == domain);
        let bundles = own.and_then(|own| own.bundles().ok()).ok_or_else(|| Unreachable {
            issuer: name.clone(),
            why: format!("this Portreeve issues nothing for {domain}; serve it with `--spiffe {domain}`"),
        })?;
        let now = self.clock.now();
        Ok(Known { trusted: Arc::new(Trusted::Bundle(bundles)), fetched: now, fresh_until: now })
    }

    /// What the Workload API says at this moment, which needs no fetching
    async fn local(&self, name: &Name, domain: &str) -> Result<Known, Unreachable> {
        let unreachable = |why: String| Unreachable { issuer: name.clone(), why };
        let domain: TrustDomain = domain.parse().map_err(|error: NotAnId| unreachable(error.to_string()))?;
        let bundle = self.workload.bundle(&domain).await.map_err(|why| unreachable(why.to_string()))?;
        let now = self.clock.now();
        let trusted = Arc::new(Trusted::Bundle(Bundles::from_iter([bundle])));
        Ok(Known { trusted, fetched: now, fresh_until: now })
    }

    fn entry(&self, name: &Name, issuer: &Issuer) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        match entries.get(name) {
            Some(entry) if entry.issuer == *issuer => Arc::clone(entry),
            // Another version of the policy says that it is somebody else: nothing of before counts.
            _ => {
                let entry = Arc::new(Entry { issuer: issuer.clone(), known: tokio::sync::Mutex::default() });
                entries.insert(name.clone(), Arc::clone(&entry));
                entry
            }
        }
    }
}

async fn fetch(issuer: &Issuer, now: Millis) -> Result<Known, String> {
    let hosts = if issuer.private { Hosts::Private } else { Hosts::Public };
    let get = |url: String| async move {
        let got = fetch::get(&url, hosts, BYTES_MAX, WITHIN).await;
        got.map_err(|error| format!("{url}: {error}"))
    };
    let url = match &issuer.vouches {
        Vouches::Oidc { keys: Some(url), .. } | Vouches::TrustDomain { bundle: BundleSource::Web(url), .. } => {
            url.clone()
        }
        Vouches::TrustDomain { .. } => return Err("this version does not fetch it".to_owned()),
        Vouches::Oidc { issuer: iss, keys: None, .. } => {
            let url = format!("{}/.well-known/openid-configuration", iss.trim_end_matches('/'));
            let document = get(url.clone()).await?;
            let read = discovery::read(&document.body, iss, issuer.private);
            read.map_err(|error| format!("{url}: {error}"))?.keys.to_string()
        }
    };
    let document = get(url.clone()).await?;
    let wrong = |error: &dyn std::fmt::Display| format!("{url}: {error}");
    let keys = match &issuer.vouches {
        Vouches::Oidc { .. } => Trusted::Keys(Keys::read(&document.body).map_err(|error| wrong(&error))?),
        Vouches::TrustDomain { name, .. } => {
            let domain: TrustDomain = name.parse().map_err(|error| wrong(&error))?;
            let bundle = Bundle::read(domain, &document.body).map_err(|error| wrong(&error))?;
            Trusted::Bundle(Bundles::from_iter([bundle]))
        }
    };
    if matches!(&keys, Trusted::Keys(keys) if keys.is_empty()) {
        return Err(format!("{url}: there is no key in it that could be used here"));
    }
    let said = document.max_age.and_then(|age| i64::try_from(age.as_millis()).ok());
    let fresh = said.unwrap_or(FRESH_MS).clamp(FRESH_MS_MIN, FRESH_MS_MAX);
    Ok(Known { trusted: Arc::new(keys), fetched: now, fresh_until: now.plus(fresh) })
}
