//! The Workload API (SPIFFE Workload API 1.0) of the machine on which we run: bundles of trust, and who we are ourselves.
//!
//! Both come by streams and are exchanged as they come. When the API says that nobody vouches for us any more, nothing of it
//! counts from then on. When it only cannot be reached, what it said last counts for a while: it may be starting again.

use crate::tls::{Own, certified};
use futures_util::StreamExt as _;
use portreeve_core::time::Millis;
use portreeve_identity::svid::{self, Bundle, TrustDomain};
use portreeve_upstream::clock::SteadyClock;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use spiffe::{JwtBundleSet, WorkloadApiClient, WorkloadApiError, X509BundleSet, X509Context};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};
use tokio_rustls::rustls::sign::CertifiedKey;

/// How long whoever needs it waits for what it says first, from when it was asked
const FIRST: Duration = Duration::from_secs(5);
/// How long nothing is asked again after it failed, at first and at most
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// For how long what it said counts while it cannot be reached, in milliseconds
const STALE_MS: i64 = 60 * 60 * 1_000;

/// What vouches for workloads, by trust domain: certificates in DER one behind the other, or a set of keys
type Vouching = BTreeMap<TrustDomain, Vec<u8>>;

/// What a stream has told
#[derive(Clone, Debug, Default)]
enum Told {
    /// Nothing yet
    #[default]
    Nothing,
    /// This, and since when it cannot be reached
    Said(Arc<Vouching>, Option<Millis>),
    /// That nobody vouches for us, or that it cannot be used at all
    Withdrawn(String),
}

impl Told {
    /// What counts now
    fn counts(&self, now: Millis) -> Option<&Vouching> {
        match self {
            Self::Said(said, lost) if lost.is_none_or(|lost| now.since(lost) < STALE_MS) => Some(said),
            _ => None,
        }
    }
}

/// Why nothing is known of a trust domain
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKnown {
    /// There is no Workload API
    #[error("no Workload API is configured: set `[tls] workload_api` or SPIFFE_ENDPOINT_SOCKET")]
    Unset,
    /// It does not answer
    #[error("the Workload API does not answer")]
    Silent,
    /// It says that nobody vouches for us
    #[error("the Workload API gives us nothing: {0}")]
    Withdrawn(String),
    /// It has no bundle of that trust domain
    #[error("the Workload API has no bundle of this trust domain that could be used")]
    Domain,
    /// It has said who we are, and that time is over
    #[error("the X.509-SVID that the Workload API gave us is over, and no other one came")]
    Over,
}

/// The Workload API
#[derive(Debug)]
pub struct Workload {
    endpoint: Option<String>,
    clock: SteadyClock,
    own: Arc<Own>,
    /// When it was asked first
    started: OnceLock<Instant>,
    certificates: watch::Sender<Told>,
    keys: watch::Sender<Told>,
}

impl Workload {
    /// The one at this address, which nobody asks before somebody needs it
    #[must_use]
    pub fn new(endpoint: Option<String>, clock: SteadyClock) -> Arc<Self> {
        let (certificates, keys) = (watch::Sender::default(), watch::Sender::default());
        Arc::new(Self { endpoint, clock, own: Arc::default(), started: OnceLock::new(), certificates, keys })
    }

    /// Our own X.509-SVID, exchanged as it is rotated; none as long as nobody vouches for us
    #[must_use]
    pub fn own(self: &Arc<Self>) -> Arc<Own> {
        self.start();
        Arc::clone(&self.own)
    }

    /// Returns once it has said something, or has not for some seconds since it was asked
    pub async fn first(self: &Arc<Self>) {
        let Some(started) = self.start() else { return };
        let (mut certificates, mut keys) = (self.certificates.subscribe(), self.keys.subscribe());
        let some = |told: &Told| !matches!(told, Told::Nothing);
        let both = async {
            let _ = certificates.wait_for(some).await;
            let _ = keys.wait_for(some).await;
        };
        let _ = tokio::time::timeout_at(started + FIRST, both).await;
    }

    /// Our own X.509-SVID as it is now, which counts at this moment
    ///
    /// # Errors
    /// [`NotKnown`]
    pub async fn svid(self: &Arc<Self>) -> Result<Arc<CertifiedKey>, NotKnown> {
        if self.endpoint.is_none() {
            return Err(NotKnown::Unset);
        }
        self.first().await;
        let Some(own) = self.own.get() else {
            return Err(match &*self.certificates.borrow() {
                Told::Withdrawn(why) => NotKnown::Withdrawn(why.clone()),
                Told::Said(..) => NotKnown::Withdrawn("its answer has no X.509-SVID that could be used".to_owned()),
                Told::Nothing => NotKnown::Silent,
            });
        };
        let until = own.cert.first().and_then(|own| svid::until(own));
        if until.is_none_or(|until| until <= self.clock.now()) {
            return Err(NotKnown::Over);
        }
        Ok(own)
    }

    /// What vouches for the workloads of a trust domain now
    ///
    /// # Errors
    /// [`NotKnown`]
    pub async fn bundle(self: &Arc<Self>, domain: &TrustDomain) -> Result<Bundle, NotKnown> {
        if self.endpoint.is_none() {
            return Err(NotKnown::Unset);
        }
        self.first().await;
        let now = self.clock.now();
        let (certificates, keys) = (self.certificates.borrow().clone(), self.keys.borrow().clone());
        if certificates.counts(now).is_none() && keys.counts(now).is_none() {
            return Err(match (certificates, keys) {
                (Told::Withdrawn(why), _) | (_, Told::Withdrawn(why)) => NotKnown::Withdrawn(why),
                _ => NotKnown::Silent,
            });
        }
        let of = |told: &Told| told.counts(now).and_then(|said| said.get(domain).cloned());
        let (roots, set) = (of(&certificates), of(&keys));
        if roots.is_none() && set.is_none() {
            return Err(NotKnown::Domain);
        }
        let mut bundle = Bundle::new(domain.clone());
        if let Some(roots) = roots {
            bundle = bundle.with_roots(&roots).map_err(|_| NotKnown::Domain)?;
        }
        if let Some(set) = set {
            bundle = bundle.with_keys(&set).map_err(|_| NotKnown::Domain)?;
        }
        Ok(bundle)
    }

    /// Has it asked, and says since when it is
    fn start(self: &Arc<Self>) -> Option<Instant> {
        let endpoint = self.endpoint.as_ref()?;
        let ask = || {
            // Each ends with the process: what holds them is what they tell.
            tokio::spawn(Arc::clone(self).follow(endpoint.clone(), Of::Certificates));
            tokio::spawn(Arc::clone(self).follow(endpoint.clone(), Of::Keys));
            Instant::now()
        };
        Some(*self.started.get_or_init(ask))
    }

    /// Takes up one of the streams as often as it ends
    async fn follow(self: Arc<Self>, endpoint: String, of: Of) {
        let mut pause = PAUSE;
        loop {
            let mut said = false;
            let ended = self.stream(&endpoint, of, &mut said).await;
            self.ended(of, &ended);
            pause = if said { PAUSE } else { (pause * 2).min(PAUSE_MAX) };
            tokio::time::sleep(pause).await;
        }
    }

    async fn stream(&self, endpoint: &str, of: Of, said: &mut bool) -> WorkloadApiError {
        let opened = async {
            let client = WorkloadApiClient::connect_to(endpoint).await?;
            Ok::<_, WorkloadApiError>(match of {
                Of::Certificates => Stream::Certificates(Box::pin(client.stream_x509_contexts().await?)),
                Of::Keys => Stream::Keys(Box::pin(client.stream_jwt_bundles().await?)),
            })
        };
        let mut stream = match opened.await {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        loop {
            let told = match &mut stream {
                Stream::Certificates(stream) => stream.next().await.map(|next| next.map(|next| self.took(&next))),
                Stream::Keys(stream) => stream.next().await.map(|next| next.map(|next| keys(&next))),
            };
            match told {
                Some(Ok(told)) => {
                    *said = true;
                    self.told(of).send_replace(Told::Said(Arc::new(told), None));
                }
                Some(Err(error)) => return error,
                None => return WorkloadApiError::EmptyResponse,
            }
        }
    }

    /// What became of a stream that ended
    fn ended(&self, of: Of, error: &WorkloadApiError) {
        let withdrawn = matches!(error, WorkloadApiError::NoIdentityIssued | WorkloadApiError::PermissionDenied(_));
        let now = self.clock.now();
        if withdrawn {
            tracing::warn!(%error, "the Workload API gives us nothing, and nothing of it counts any more");
            self.told(of).send_replace(Told::Withdrawn(error.to_string()));
            if matches!(of, Of::Certificates) {
                self.own.set(None);
            }
            return;
        }
        tracing::debug!(%error, "the Workload API is asked again");
        self.told(of).send_modify(|told| {
            if let Told::Said(_, lost) = told {
                lost.get_or_insert(now);
            }
        });
    }

    fn told(&self, of: Of) -> &watch::Sender<Told> {
        match of {
            Of::Certificates => &self.certificates,
            Of::Keys => &self.keys,
        }
    }

    /// Takes our own certificate, and what vouches for others
    fn took(&self, context: &X509Context) -> Vouching {
        match context.default_svid() {
            Some(svid) => {
                let chain: Vec<_> =
                    svid.cert_chain().iter().map(|one| CertificateDer::from(one.as_bytes().to_vec())).collect();
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(svid.private_key().as_bytes().to_vec()));
                match certified(chain, key) {
                    Ok(own) => {
                        tracing::info!(id = %svid.spiffe_id(), "the Workload API says who we are");
                        self.own.set(Some(own));
                    }
                    Err(error) => tracing::warn!(%error, "the X.509-SVID of the Workload API cannot be used"),
                }
            }
            None => self.own.set(None),
        }
        certificates(context.bundle_set())
    }
}

/// What the Workload API says to this process, for whoever wants to know whether it works
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Who we are; nothing if nobody vouches for us
    pub own: Option<(String, Option<(Millis, Millis)>)>,
    /// The trust domains that it has certificates of
    pub domains: Vec<String>,
}

/// Asks the Workload API once
///
/// # Errors
/// In words: it cannot be reached, or answers nothing that could be used.
pub async fn look(endpoint: &str) -> Result<Look, String> {
    let asked = async {
        let client = WorkloadApiClient::connect_to(endpoint).await?;
        client.fetch_x509_context().await
    };
    let asked = tokio::time::timeout(FIRST, asked).await;
    match asked.map_err(|_| format!("no answer within {} s", FIRST.as_secs()))? {
        Ok(context) => {
            let own = context.default_svid().map(|svid| {
                let lives = svid.cert_chain().first().and_then(|own| svid::lives(own.as_bytes()));
                (svid.spiffe_id().to_string(), lives)
            });
            Ok(Look { own, domains: context.bundle_set().iter().map(|(domain, _)| domain.to_string()).collect() })
        }
        Err(WorkloadApiError::NoIdentityIssued | WorkloadApiError::PermissionDenied(_)) => {
            Ok(Look { own: None, domains: Vec::new() })
        }
        Err(error) => Err(error.to_string()),
    }
}

/// One of the two streams
#[derive(Clone, Copy, Debug)]
enum Of {
    /// Our X.509-SVIDs, and the certificates of all bundles
    Certificates,
    /// The keys of all bundles, for JWT-SVIDs
    Keys,
}

type Next<T> = std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<T, WorkloadApiError>> + Send>>;

enum Stream {
    Certificates(Next<X509Context>),
    Keys(Next<JwtBundleSet>),
}

fn certificates(set: &X509BundleSet) -> Vouching {
    let all = set.iter().filter_map(|(domain, bundle)| {
        let der = bundle.authorities().iter().flat_map(|one| one.as_bytes().to_vec()).collect();
        Some((domain.to_string().parse().ok()?, der))
    });
    all.collect()
}

fn keys(set: &JwtBundleSet) -> Vouching {
    let all = set.iter().filter_map(|(domain, bundle)| {
        let keys: Vec<String> =
            bundle.jwt_authorities().map(|key| String::from_utf8_lossy(key.jwk_json()).into_owned()).collect();
        Some((domain.to_string().parse().ok()?, format!("{{\"keys\":[{}]}}", keys.join(",")).into_bytes()))
    });
    all.collect()
}
