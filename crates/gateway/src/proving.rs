//! Who is calling: what a caller shows is checked, brought into one form, and held against the agents of the policy.
//!
//! Whether that agent may do what it wants is judged at the door, which looks at the proof again: the policy may be another
//! one by then.

mod behalf;

use crate::{
    catalogue::{Catalogue, View},
    issuers::{Issuers, Known, Trusted, Unreachable},
    tls::Certificates,
};
use portreeve_core::{
    hash::Hash,
    names::Name,
    policy::{Bundle, Issuer, Vouches},
    proof::{Binding, How, Proven, Way},
    request::Copied,
    time::Millis,
    value::Value,
};
use portreeve_identity::{
    assertion, dpop,
    jose::{self, Algorithm, Audience, Claims, Jwk, Want},
    once::Once,
    svid::{self, SpiffeId},
    workload,
};
use portreeve_upstream::clock::SteadyClock;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Assertions and proofs of possession that are remembered, so that none counts twice
const ONCE_MAX: usize = 200_000;
/// Proofs whose holders are remembered
const HOLDERS_MAX: usize = 100_000;
/// How long a proof counts at least: as long as the token that is given for it, in milliseconds
const PROOF_MS: i64 = 5 * 60 * 1_000;
/// How long a workload's token may live
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How far ahead of ours the clock of an issuer may be
const SKEW: Duration = Duration::from_secs(30);
/// What `typ` of a workload's token may be
const TYPES: &[&str] = &["JWT", "at+jwt", ""];

/// What a caller shows
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// What says who it is
    pub evidence: Evidence<'a>,
    /// A proof of possession (RFC 9449), to which tokens are to be bound
    pub dpop: Option<&'a str>,
    /// The request's method and address
    pub request: (&'a str, &'a str),
    /// From where it comes
    pub from: IpAddr,
}

/// What says who a caller is
#[derive(Clone, Copy, Debug)]
pub enum Evidence<'a> {
    /// The token of its platform, or one that it signed itself
    Token(&'a str),
    /// What its connection has shown in the handshake
    Certificate(&'a Certificates),
}

/// Why nobody has proven to be anybody
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotProven {
    /// What was shown is not good
    #[error("{says}")]
    Bad {
        /// A stable word
        word: &'static str,
        /// In words, with nothing in them of what was shown
        says: String,
    },
    /// The proof of possession is not good
    #[error("{0}")]
    Possession(dpop::Invalid),
    /// Nobody in the policy vouches for it
    #[error("no issuer of the policy vouches for it, and no agent has signed it")]
    Issuer,
    /// It is good, and no agent's
    #[error("it is good, but no agent's file has a proof that fits it")]
    Nobody,
    /// It is good, and nobody's
    #[error("the token is good, but no user's file says that this is who they are (sign_in)")]
    NoPerson,
    /// It is good, and several agents'
    #[error("it fits several agents; each needs claims of its own")]
    Several,
    /// Somebody else has shown it before
    #[error("somebody else has shown the same proof")]
    Elsewhere(Option<Box<Copied>>),
    /// Its issuer cannot be asked
    #[error("{0}")]
    Unreachable(#[from] Unreachable),
}

impl NotProven {
    /// The stable word
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Bad { word, .. } => word,
            Self::Possession(invalid) => invalid.word(),
            Self::Issuer => "issuer_unknown",
            Self::Nobody => "agent_unknown",
            Self::NoPerson => "user_unknown",
            Self::Several => "agent_ambiguous",
            Self::Elsewhere(_) => "proof_elsewhere",
            Self::Unreachable(_) => "issuer_unreachable",
        }
    }
}

fn bad(invalid: jose::Invalid) -> NotProven {
    NotProven::Bad { word: invalid.word(), says: invalid.to_string() }
}

/// Where a piece of evidence was shown
#[derive(Debug)]
struct Holder {
    from: String,
    until: Millis,
    /// Whether the record says already that somebody else has shown it
    told: bool,
}

/// Checks what callers show
#[derive(Debug)]
pub struct Proving {
    catalogue: Arc<Catalogue>,
    issuers: Arc<Issuers>,
    clock: SteadyClock,
    /// Our name as an issuer, and so whom what is shown to us has to be meant for
    name: String,
    once: Once,
    // Held only for a look-up.
    holders: Mutex<BTreeMap<Hash, Holder>>,
}

impl Proving {
    /// Proofs are checked against the policy in `catalogue`; they have to be meant for `name`
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>, issuers: Arc<Issuers>, clock: SteadyClock, name: String) -> Self {
        Self { catalogue, issuers, clock, name, once: Once::new(ONCE_MAX), holders: Mutex::default() }
    }

    /// Which agent has shown what
    ///
    /// # Errors
    /// [`NotProven`]
    pub async fn prove(&self, shown: Shown<'_>) -> Result<(Name, Proven), NotProven> {
        let view = self.catalogue.view();
        let bundle = view.bundle.clone().ok_or(NotProven::Issuer)?;
        let mut proven = match shown.evidence {
            Evidence::Certificate(shows) => self.certified(shows, shown.from, &bundle).await?,
            Evidence::Token(token) => self.token(token, shown.from, &view, &bundle).await?,
        };
        if let Some(proof) = shown.dpop {
            let (method, url) = shown.request;
            let request = dpop::Request { method, url, token: None, bound_to: None, nonce: None };
            let key = dpop::verify(proof, &request, &self.once, self.clock.now()).map_err(NotProven::Possession)?;
            proven.binding = Some(Binding::Dpop(key.hash()));
        }
        self.agent(&view, &bundle, &proven).map(|agent| (agent, proven))
    }

    async fn token(&self, token: &str, from: IpAddr, view: &View, bundle: &Bundle) -> Result<Proven, NotProven> {
        let token = Presented { token, from };
        // The SPIFFE ID says which trust domain has to vouch for it; what else stands in the token does not.
        if let Some(id) = svid::claimed(token.token).map_err(bad)? {
            return self.workload(token, bundle, &id).await;
        }
        let claimed = jose::claimed_issuer(token.token).map_err(bad)?;
        match issuer_of(bundle, &claimed) {
            Some((name, issuer)) => self.issued(token, view, (name, issuer)).await,
            None => self.signed(token, bundle, &claimed),
        }
    }

    /// An X.509-SVID whose key was used in the handshake (SPIFFE X.509-SVID 1.0)
    async fn certified(&self, shows: &Certificates, from: IpAddr, bundle: &Bundle) -> Result<Proven, NotProven> {
        let invalid = |invalid: svid::Invalid| NotProven::Bad { word: invalid.word(), says: invalid.to_string() };
        let id = svid::named(shows.chain()).map_err(invalid)?;
        let (name, issuer) = domain_of(bundle, &id).ok_or(NotProven::Issuer)?;
        let verify = |known: &Known| match known.trusted.as_ref() {
            Trusted::Bundle(bundles) => svid::x509(shows.chain(), bundles, self.clock.now()),
            Trusted::Keys(_) => Err(svid::Invalid::Domain),
        };
        let known = self.issuers.known(name, issuer, None).await?;
        let svid = match verify(&known) {
            // The trust domain may have another authority since.
            Err(svid::Invalid::Path | svid::Invalid::BundleExpired) => {
                verify(&self.issuers.known(name, issuer, Some(&known)).await?)
            }
            checked => checked,
        };
        let svid = svid.map_err(invalid)?;
        // Certificates count in whole seconds, the last one included; what is given for them ends with its beginning.
        if svid.until <= self.clock.now() {
            return Err(invalid(svid::Invalid::Expired));
        }
        let digest = svid.thumbprint.hash();
        Ok(Proven {
            how: How::X509Svid,
            issuer: Some(name.clone()),
            subject: svid.id.to_string(),
            claims: BTreeMap::new(),
            key: None,
            id: Some(digest.to_string()),
            binding: Some(Binding::Certificate(digest)),
            from: from.to_string(),
            // To the moment: whoever has the next one by then has shown it.
            until: svid.until,
            behalf: None,
        })
    }

    /// The one agent of which this is a proof, if nobody else holds it
    fn agent(&self, view: &View, bundle: &Bundle, proven: &Proven) -> Result<Name, NotProven> {
        let mut agents = view.agents.agents(&bundle.agents, proven).into_iter();
        let agent = match (agents.next(), agents.next()) {
            (Some(agent), None) => agent,
            (None, _) => return Err(NotProven::Nobody),
            (Some(_), Some(_)) => return Err(NotProven::Several),
        };
        let proof = bundle.agents.get(agent).and_then(|agent| agent.proof(proven));
        if proof.is_some_and(|proof| !proof.replicas) {
            self.hold(agent, proven)?;
        }
        Ok(agent.clone())
    }

    /// What is one piece of evidence is held by one holder, as long as it is good
    fn hold(&self, agent: &Name, proven: &Proven) -> Result<(), NotProven> {
        let now = self.clock.now();
        let issuer = proven.issuer.as_ref().map_or("", Name::as_str);
        let key = proven.key.map(|key| key.to_string()).unwrap_or_default();
        let what = proven.id.as_deref().filter(|_| proven.how != How::PrivateKeyJwt).unwrap_or(&key);
        if what.is_empty() {
            return Ok(());
        }
        let what = Hash::of_parts(&[proven.how.as_str().as_bytes(), issuer.as_bytes(), what.as_bytes()]);
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let other = holders.get_mut(&what).filter(|holder| now < holder.until && holder.from != proven.from);
        if let Some(holder) = other {
            let first = !std::mem::replace(&mut holder.told, true);
            let copied = || Copied { agent: agent.clone(), proven: proven.clone(), holder: holder.from.clone() };
            return Err(NotProven::Elsewhere(first.then(|| Box::new(copied()))));
        }
        if holders.len() >= HOLDERS_MAX {
            holders.retain(|_, holder| now < holder.until);
        }
        // Without room nothing could be told apart any more.
        if holders.len() >= HOLDERS_MAX && !holders.contains_key(&what) {
            return Err(NotProven::Bad { word: "too_many", says: "too many proofs are in use at once".to_owned() });
        }
        let told = holders.get(&what).is_some_and(|holder| holder.told && now < holder.until);
        holders.insert(what, Holder { from: proven.from.clone(), until: proven.until, told });
        Ok(())
    }

    async fn issued(
        &self,
        shown: Presented<'_>,
        view: &View,
        (name, issuer): (&Name, &Issuer),
    ) -> Result<Proven, NotProven> {
        let Vouches::Oidc { issuer: iss, kind, audience, algorithms, .. } = &issuer.vouches else {
            return Err(NotProven::Issuer);
        };
        let algorithms = named(algorithms);
        let want = Want {
            algorithms: &algorithms,
            types: TYPES,
            issuer: Some(iss),
            audience: Audience::Only(audience.as_deref().unwrap_or(&self.name)),
            lifetime_max: LIFETIME_MAX,
            skew: SKEW,
        };
        let claims = self.checked(shown.token, (name, issuer), &want).await?;
        let wanted: Vec<&str> = view.agents.paths(name).collect();
        let shows = workload::shown(*kind, &claims, &wanted);
        let shows = shows.map_err(|refused| NotProven::Bad { word: refused.word(), says: refused.to_string() })?;
        Ok(Proven {
            how: How::Oidc,
            issuer: Some(name.clone()),
            subject: shows.subject,
            claims: shows.claims,
            key: None,
            // A token without an id is one piece of evidence all the same.
            id: Some(shows.jti.unwrap_or_else(|| Hash::of(shown.token.as_bytes()).to_string())),
            binding: None,
            from: shown.from.to_string(),
            until: shows.until.max(self.clock.now().plus(PROOF_MS)),
            behalf: None,
        })
    }

    /// What a token says that this issuer has signed
    async fn checked(
        &self,
        token: &str,
        (name, issuer): (&Name, &Issuer),
        want: &Want<'_>,
    ) -> Result<Claims, NotProven> {
        let known = self.issuers.known(name, issuer, None).await?;
        let claims = match self.verify(token, &known, want) {
            // The issuer may have begun to use another key since.
            Err(jose::Invalid::KeyUnknown) => {
                let known = self.issuers.known(name, issuer, Some(&known)).await?;
                self.verify(token, &known, want)
            }
            checked => checked,
        };
        claims.map_err(bad)
    }

    fn verify(&self, token: &str, known: &Known, want: &Want<'_>) -> Result<Claims, jose::Invalid> {
        match known.trusted.as_ref() {
            Trusted::Keys(keys) => jose::verify(token, keys, want, self.clock.now()),
            Trusted::Bundle(_) => Err(jose::Invalid::KeyUnknown),
        }
    }

    /// A JWT-SVID (SPIFFE JWT-SVID 1.0)
    async fn workload(&self, shown: Presented<'_>, bundle: &Bundle, id: &SpiffeId) -> Result<Proven, NotProven> {
        let (name, issuer) = domain_of(bundle, id).ok_or(NotProven::Issuer)?;
        let verify = |known: &Known| match known.trusted.as_ref() {
            Trusted::Bundle(bundles) => svid::jwt(shown.token, bundles, Audience::Only(&self.name), self.clock.now()),
            Trusted::Keys(_) => Err(svid::Invalid::Domain),
        };
        let known = self.issuers.known(name, issuer, None).await?;
        let svid = match verify(&known) {
            Err(svid::Invalid::Token(jose::Invalid::KeyUnknown)) => {
                verify(&self.issuers.known(name, issuer, Some(&known)).await?)
            }
            checked => checked,
        };
        let svid = svid.map_err(|invalid| NotProven::Bad { word: invalid.word(), says: invalid.to_string() })?;
        Ok(Proven {
            how: How::JwtSvid,
            issuer: Some(name.clone()),
            subject: svid.id.to_string(),
            claims: BTreeMap::new(),
            key: None,
            // SPIRE gives the same one again as long as it is good: it is one piece of evidence, not one use.
            id: Some(Hash::of(shown.token.as_bytes()).to_string()),
            binding: None,
            from: shown.from.to_string(),
            until: svid.until.max(self.clock.now().plus(PROOF_MS)),
            behalf: None,
        })
    }

    /// A token that an agent signed with a key that its file names (RFC 7523)
    fn signed(&self, shown: Presented<'_>, bundle: &Bundle, claimed: &str) -> Result<Proven, NotProven> {
        let agent = claimed.parse::<Name>().ok().and_then(|name| bundle.agents.get(&name)).ok_or(NotProven::Issuer)?;
        let keys = agent.proofs.iter().filter_map(|proof| match &proof.way {
            Way::Key { jwk } => Some(jwk),
            _ => None,
        });
        let keys: Vec<Jwk> = keys.filter_map(|jwk| Jwk::of_value(&Value::from_canonical(jwk).ok()?).ok()).collect();
        if keys.is_empty() {
            return Err(NotProven::Issuer);
        }
        let now = self.clock.now();
        let checked = assertion::verify(shown.token, claimed, keys, &self.name, &self.once, now);
        let claims = checked.map_err(|invalid| NotProven::Bad { word: invalid.word(), says: invalid.to_string() })?;
        Ok(Proven {
            how: How::PrivateKeyJwt,
            issuer: None,
            subject: claimed.to_owned(),
            claims: BTreeMap::new(),
            key: Some(claims.key().hash()),
            id: claims.jti().ok().map(str::to_owned),
            binding: None,
            from: shown.from.to_string(),
            until: now.plus(PROOF_MS),
            behalf: None,
        })
    }
}

/// A token, and from where it was shown
#[derive(Clone, Copy)]
struct Presented<'a> {
    token: &'a str,
    from: IpAddr,
}

/// Who vouches for the trust domain of a workload
fn domain_of<'a>(bundle: &'a Bundle, id: &SpiffeId) -> Option<(&'a Name, &'a Issuer)> {
    bundle.issuers.iter().find(|(_, issuer)| match &issuer.vouches {
        Vouches::TrustDomain { name, .. } => *name == id.domain().as_str(),
        Vouches::Oidc { .. } => false,
    })
}

/// The issuer of agents that calls itself exactly so
fn issuer_of<'a>(bundle: &'a Bundle, claimed: &str) -> Option<(&'a Name, &'a Issuer)> {
    bundle.issuers.iter().find(|(_, issuer)| match &issuer.vouches {
        Vouches::Oidc { issuer, .. } => issuer == claimed,
        Vouches::TrustDomain { .. } => false,
    })
}

/// The algorithms that an issuer's file names, or those that are good in general
pub(crate) fn named(algorithms: &[String]) -> Vec<Algorithm> {
    if algorithms.is_empty() {
        return jose::ALGORITHMS.to_vec();
    }
    algorithms.iter().filter_map(|name| jose::algorithm(name).ok()).collect()
}
