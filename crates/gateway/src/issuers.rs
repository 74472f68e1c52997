//! The keys of those who vouch for identities: fetched once, kept while they are fresh, fetched anew when one is unknown.
//!
//! A fetch is asked for by whoever has a token to check. However many do, one is under way for each issuer; and however
//! many unknown keys are shown, one in half a minute is looked for.

mod kept;

use crate::{catalogue::Catalogue, terms::terms, workload::Workload};
use kept::Kept;
use portreeve_core::{
    hash::Hash,
    names::Name,
    policy::{Bootstrap, BundleSource, Issuer, Vouches},
    time::Millis,
};
use portreeve_identity::{
    authority::Authority,
    discovery,
    jose::Keys,
    svid::{Bundle, Bundles, NotAnId, SpiffeId, TrustDomain},
};
use portreeve_upstream::{
    clock::SteadyClock,
    fetch::{self, Hosts},
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Bytes of a discovery document or a set of keys at most
const BYTES_MAX: usize = 256 << 10;
/// How long an issuer may take to answer
const WITHIN: Duration = Duration::from_secs(5);
/// For how long keys are fresh if the issuer does not say, and the bounds of what it may say, in milliseconds
const FRESH_MS: i64 = 10 * 60 * 1_000;
/// The same of a bundle that does not say (SPIFFE Trust Domain and Bundle, 4.1.2)
const FRESH_BUNDLE_MS: i64 = 5 * 60 * 1_000;
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
    /// Whose endpoints serve the bundle of another trust domain
    catalogue: Arc<Catalogue>,
    kept: Kept,
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
    /// Nothing is known yet but what our own authority signs, and what endpoints served that is kept in the folder
    #[must_use]
    pub fn new(
        clock: SteadyClock,
        workload: Arc<Workload>,
        own: Option<Arc<Authority>>,
        (catalogue, folder): (Arc<Catalogue>, Option<PathBuf>),
    ) -> Self {
        Self { clock, own, workload, catalogue, kept: Kept(folder), entries: Mutex::default() }
    }

    /// What vouches for the workloads of a trust domain by the policy in force; `anew` if that is not enough any more
    ///
    /// # Errors
    /// In words: nobody in the policy vouches for them, or it cannot be had.
    pub async fn bundles(&self, domain: &TrustDomain, anew: bool) -> Result<Bundles, String> {
        let (name, issuer) = self.of(domain)?;
        let mut known = self.known(&name, &issuer, None).await.map_err(|error| error.to_string())?;
        if anew {
            known = self.known(&name, &issuer, Some(&known)).await.map_err(|error| error.to_string())?;
        }
        known.bundles().cloned().ok_or_else(|| format!("{name} is no trust domain"))
    }

    /// Who vouches for a trust domain
    fn of(&self, domain: &TrustDomain) -> Result<(Name, Issuer), String> {
        let view = self.catalogue.view();
        let issuers = view.bundle.iter().flat_map(|bundle| &bundle.issuers);
        let found = issuers.into_iter().find(|(_, issuer)| issuer.is_of(domain.as_str()));
        let found = found.map(|(name, issuer)| (name.clone(), issuer.clone()));
        let domain = domain.as_str();
        found.ok_or_else(|| {
            format!(
                "nobody in the policy vouches for {domain}: add a file to `issuers/` with `trust_domain = \"{domain}\"`"
            )
        })
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
            let fetched = self.fetch(name, issuer, (tried.known.as_ref(), now)).await;
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

impl Known {
    /// What vouches for workloads, if it is a trust domain
    fn bundles(&self) -> Option<&Bundles> {
        match self.trusted.as_ref() {
            Trusted::Bundle(bundles) => Some(bundles),
            Trusted::Keys(_) => None,
        }
    }
}

impl Issuers {
    async fn fetch(
        &self,
        issuer_name: &Name,
        issuer: &Issuer,
        (known, now): (Option<&Known>, Millis),
    ) -> Result<Known, String> {
        let hosts = if issuer.private { Hosts::Private } else { Hosts::Public };
        let Vouches::TrustDomain { name, bundle: BundleSource::Spiffe { url, id, bootstrap } } = &issuer.vouches else {
            return fetch(issuer, hosts, now).await;
        };
        let wrong = |error: &dyn std::fmt::Display| format!("{url}: {error}");
        let id: SpiffeId = id.parse().map_err(|error: NotAnId| wrong(&error))?;
        let domain: TrustDomain = name.parse().map_err(|error: NotAnId| wrong(&error))?;
        let of = Hash::of_parts(&[name, url, id.as_str(), &format!("{bootstrap:?}")].map(str::as_bytes));
        let kept = self.kept.read(issuer_name, of).and_then(|text| Bundle::read(domain.clone(), text.as_bytes()).ok());
        let last = known.and_then(Known::bundles).cloned();
        let mut served = last.into_iter().chain(kept.map(|kept| Bundles::from_iter([kept])));
        let last = served.find(|bundles| is_good(bundles, &domain, now));
        let by = self.vouching(&domain, &id, bootstrap.as_ref(), last).await.map_err(|error| wrong(&error))?;
        let terms = terms(Some((id, by)), None, self.clock).map_err(|error| wrong(&error))?;
        let got = fetch::get_on(Some(&terms), url, hosts, (BYTES_MAX, WITHIN)).await;
        let document = got.map_err(|error| wrong(&error))?;
        let fetched = bundle(&domain, &document, now).map_err(|error| wrong(&error))?;
        if bootstrap.is_some() {
            let kept = self.kept.write(issuer_name, of, &String::from_utf8_lossy(&document.body));
            kept.unwrap_or_else(|error| tracing::warn!(issuer = %issuer_name, %error, "its bundle cannot be kept"));
        }
        Ok(fetched)
    }

    /// What vouches for the bundle endpoint of a trust domain (SPIFFE Federation, 5.2.2)
    async fn vouching(
        &self,
        domain: &TrustDomain,
        id: &SpiffeId,
        bootstrap: Option<&Bootstrap>,
        last: Option<Bundles>,
    ) -> Result<Bundles, String> {
        match (bootstrap, last) {
            // What it served last says who it is from then on.
            (Some(_), Some(last)) => Ok(last),
            (Some(Bootstrap::WorkloadApi), None) => {
                let bundle = self.workload.bundle(domain).await.map_err(|why| why.to_string())?;
                Ok(Bundles::from_iter([bundle]))
            }
            (Some(Bootstrap::Document(text)), None) => {
                let bundle = Bundle::read(domain.clone(), text.as_bytes());
                Ok(Bundles::from_iter([bundle.map_err(|error| format!("`bootstrap`: {error}"))?]))
            }
            (None, _) => {
                let (name, issuer) = self.of(id.domain())?;
                // The policy sees to it that this one rests on no third.
                let known = Box::pin(self.known(&name, &issuer, None)).await.map_err(|error| error.to_string())?;
                known.bundles().cloned().ok_or_else(|| format!("{name} is no trust domain"))
            }
        }
    }
}

/// Whether any of what vouches for the workloads of a trust domain is good
fn is_good(bundles: &Bundles, domain: &TrustDomain, now: Millis) -> bool {
    bundles.get(domain).and_then(Bundle::until).is_some_and(|until| now < until)
}

/// The bundle in a document that was fetched
fn bundle(domain: &TrustDomain, document: &fetch::Document, now: Millis) -> Result<Known, String> {
    let bundle = Bundle::read(domain.clone(), &document.body).map_err(|error| error.to_string())?;
    let said = bundle.refresh().or(document.max_age);
    let fresh_until = fresh_until(said, FRESH_BUNDLE_MS, now);
    let trusted = Arc::new(Trusted::Bundle(Bundles::from_iter([bundle])));
    Ok(Known { trusted, fetched: now, fresh_until })
}

/// Until when something is fresh of which its issuer says for how long
fn fresh_until(said: Option<Duration>, otherwise: i64, now: Millis) -> Millis {
    let said = said.map(|said| i64::try_from(said.as_millis()).unwrap_or(i64::MAX));
    now.plus(said.unwrap_or(otherwise).clamp(FRESH_MS_MIN, FRESH_MS_MAX))
}

async fn fetch(issuer: &Issuer, hosts: Hosts, now: Millis) -> Result<Known, String> {
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
    if let Vouches::TrustDomain { name, .. } = &issuer.vouches {
        let domain: TrustDomain = name.parse().map_err(|error: NotAnId| wrong(&error))?;
        return bundle(&domain, &document, now).map_err(|error| wrong(&error));
    }
    let keys = Keys::read(&document.body).map_err(|error| wrong(&error))?;
    if keys.is_empty() {
        return Err(format!("{url}: there is no key in it that could be used here"));
    }
    let fresh_until = fresh_until(document.max_age, FRESH_MS, now);
    Ok(Known { trusted: Arc::new(Trusted::Keys(keys)), fetched: now, fresh_until })
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_identity::authority::fresh_key;

    /// An authority over `example.org` that was made at this moment
    fn authority(at: Millis) -> Bundles {
        let [one, two] = [fresh_key().unwrap(), fresh_key().unwrap()];
        Authority::new("example.org".parse().unwrap(), &one, &two, at).unwrap().bundles().unwrap()
    }

    #[tokio::test]
    async fn what_was_fetched_last_vouches_for_the_endpoint_as_long_as_it_is_good() {
        let clock = SteadyClock::start();
        let workload = Workload::new(None, clock);
        let issuers = Issuers::new(clock, workload, None, (Arc::default(), None));
        let (domain, id): (TrustDomain, SpiffeId) =
            ("example.org".parse().unwrap(), "spiffe://example.org/spire/server".parse().unwrap());
        let now = clock.now();
        let inline = Bootstrap::Document(r#"{"keys": []}"#.to_owned());
        let by = async |bootstrap: Option<&Bootstrap>, last: Option<&Bundles>| {
            let last = last.filter(|last| is_good(last, &domain, now)).cloned();
            issuers.vouching(&domain, &id, bootstrap, last).await
        };
        let (last, over) = (authority(now), authority(now.plus(-11 * 365 * 24 * 3_600_000)));
        let first = Bundles::from_iter([Bundle::new(domain.clone())]);
        assert_eq!(by(Some(&inline), None).await, Ok(first.clone()));
        assert_eq!(by(Some(&inline), Some(&last)).await, Ok(last.clone()));
        assert_eq!(by(Some(&inline), Some(&over)).await, Ok(first.clone()), "nothing of that is good any more");
        assert_eq!(by(Some(&inline), Some(&first)).await, Ok(first), "there is nothing in it");
        // The Workload API is asked at first only, and there is none here.
        assert_eq!(by(Some(&Bootstrap::WorkloadApi), Some(&last)).await, Ok(last.clone()));
        assert!(by(Some(&Bootstrap::WorkloadApi), None).await.unwrap_err().contains("no Workload API"));
        // Who vouches for an endpoint of another trust domain does not follow from what it served.
        assert!(by(None, Some(&last)).await.unwrap_err().contains("nobody in the policy vouches"));
    }

    #[test]
    fn a_bundle_is_fetched_anew_when_it_says_so() {
        let domain: TrustDomain = "example.org".parse().unwrap();
        let fresh = |text: &str, max_age: Option<u64>| {
            let document = fetch::Document { body: text.into(), max_age: max_age.map(Duration::from_secs) };
            bundle(&domain, &document, Millis(0)).unwrap().fresh_until.0 / 1_000
        };
        assert_eq!(fresh(r#"{"keys": [], "spiffe_refresh_hint": 60}"#, None), 60);
        assert_eq!(fresh(r#"{"keys": [], "spiffe_refresh_hint": 60}"#, Some(600)), 60, "the bundle knows better");
        assert_eq!(fresh(r#"{"keys": []}"#, Some(600)), 600);
        assert_eq!(fresh(r#"{"keys": []}"#, None), 300);
        assert_eq!(fresh(r#"{"keys": [], "spiffe_refresh_hint": 1}"#, None), 30);
        assert_eq!(fresh(r#"{"keys": [], "spiffe_refresh_hint": 86400}"#, None), 3_600);
        let document = fetch::Document { body: b"{}".to_vec(), max_age: None };
        assert!(bundle(&domain, &document, Millis(0)).is_err());
    }
}
