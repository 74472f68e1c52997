//! People who sign in where their organisation knows them: at an issuer of the policy (OpenID Connect Core 1.0).
//!
//! In a browser, somebody is sent there and comes back with a code ([`SignIns::begin`], [`SignIns::finish`]); on a device
//! without one, they use a browser elsewhere meanwhile ([`SignIns::device`], [`SignIns::poll`]). Either way the issuer
//! itself tells us who it was, over a connection that we made. Whether they may do anything is not decided here.

mod asking;
mod device;

pub use device::{Device, Polled};

use crate::{
    catalogue::Catalogue,
    failure::Failure,
    issuers::{Issuers, Known, Trusted, Unreachable},
};
use asking::{Asked, Told};
use axum::http::StatusCode;
use portreeve_core::{
    event::How,
    names::Name,
    policy::{Attribute, Bundle, Issuer, People, SignIn, Vouches},
    request::Claimed,
};
use portreeve_identity::{
    NotDrawn,
    browser::SignedIn,
    discovery::Discovery,
    jose,
    key::source::Secrets,
    keyring::Ring,
    oidc::{self, Somebody, Wanted, begun::Begun},
};
use portreeve_upstream::clock::SteadyClock;
use std::{fmt, sync::Arc};
use url::Url;

/// Where people sign in
pub struct SignIns {
    catalogue: Arc<Catalogue>,
    issuers: Arc<Issuers>,
    clock: SteadyClock,
    /// Where browsers reach us
    base: String,
    secrets: Arc<Secrets>,
    ring: Arc<Ring>,
    begun: Begun,
    asked: Asked,
    devices: device::Devices,
}

impl fmt::Debug for SignIns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIns").field("base", &self.base).finish_non_exhaustive()
    }
}

/// One issuer, as the policy in force describes it
#[derive(Clone, Debug)]
struct Provider {
    name: Name,
    issuer: Issuer,
    iss: String,
    people: People,
}

/// A sign-in that has begun
#[derive(Clone, Debug)]
pub struct Beginning {
    /// Where the browser goes
    pub url: String,
    /// What it keeps meanwhile
    pub cookie: String,
}

/// What a browser brings back
#[derive(Clone, Debug, Default)]
pub struct Back {
    /// What becomes tokens
    pub code: Option<String>,
    /// Which sign-in it is
    pub state: Option<String>,
    /// Which issuer answers (RFC 9207)
    pub iss: Option<String>,
    /// Why there is no code
    pub error: Option<String>,
}

impl Back {
    /// What stands in the query of an address; nothing if a member stands there twice
    #[must_use]
    pub fn of(query: &str) -> Option<Self> {
        let mut back = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let member = match name.as_ref() {
                "code" => &mut back.code,
                "state" => &mut back.state,
                "iss" => &mut back.iss,
                "error" => &mut back.error,
                _ => continue,
            };
            if value.len() > MEMBER_MAX || member.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        Some(back)
    }
}

/// Bytes of what a browser brings back, each
const MEMBER_MAX: usize = 4_096;

/// Somebody whom an issuer knows, and who they are here
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// The user of the policy
    pub user: Name,
    /// At which issuer, as whom
    pub by: SignedIn,
    /// What it says of them, as far as the policy asks for it
    pub claimed: Claimed,
}

impl Entered {
    /// How they are known
    #[must_use]
    pub fn how(&self) -> How {
        self.by.how()
    }
}

impl SignIns {
    /// Sign-ins at the issuers of the policy in `catalogue`; browsers come back to `base`
    #[must_use]
    pub fn new(
        (catalogue, issuers): (Arc<Catalogue>, Arc<Issuers>),
        clock: SteadyClock,
        base: String,
        (secrets, ring): (Arc<Secrets>, Arc<Ring>),
    ) -> Self {
        let (begun, asked, devices) = Default::default();
        Self { catalogue, issuers, clock, base, secrets, ring, begun, asked, devices }
    }

    /// The issuers where people can sign in
    #[must_use]
    pub fn offered(&self) -> Vec<Name> {
        let view = self.catalogue.view();
        let bundle = view.bundle.iter();
        let issuers = bundle.flat_map(|bundle| bundle.issuers.iter());
        issuers.filter(|(_, issuer)| issuer.people.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// Where a browser comes back to
    fn return_to(&self, issuer: &Name) -> String {
        format!("{}/sign-in/with/{issuer}/return", self.base)
    }

    /// The page that begins a sign-in; whoever comes by another name of ours has another cookie
    #[must_use]
    pub fn page_of(&self, issuer: &Name) -> String {
        format!("{}/sign-in/with/{issuer}", self.base)
    }

    /// Begins a sign-in in a browser
    ///
    /// # Errors
    /// There is no such issuer, or it cannot be asked, or too many are under way.
    pub async fn begin(&self, issuer: &Name) -> Result<Beginning, Failure> {
        let provider = self.provider(issuer)?;
        let found = self.discovery(&provider).await?;
        let mut url: Url = found.authorization.clone().ok_or_else(|| lacks(issuer, "authorization_endpoint"))?;
        let begun = self.begun.begin(issuer.clone(), self.clock.now()).map_err(too_many)?;
        let people = &provider.people;
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", &people.client_id)
                .append_pair("redirect_uri", &self.return_to(issuer))
                .append_pair("scope", &scope(people))
                .append_pair("state", &begun.state)
                .append_pair("nonce", &begun.secrets.nonce)
                .append_pair("code_challenge", &begun.secrets.challenge())
                .append_pair("code_challenge_method", "S256");
            if let Some(acr) = &people.acr {
                query.append_pair("acr_values", acr);
            }
            if let Some(max_age) = people.max_age_ms {
                query.append_pair("max_age", &(max_age / 1_000).to_string());
            }
        }
        Ok(Beginning { url: url.into(), cookie: begun.cookie })
    }

    /// Finishes a sign-in: who it was
    ///
    /// # Errors
    /// It was not begun by this browser, or the issuer says no, or what it says is not good, or nobody here is that.
    pub async fn finish(&self, issuer: &Name, back: Back, cookie: Option<&str>) -> Result<Entered, Failure> {
        let provider = self.provider(issuer)?;
        // Before anything else, so that it counts once whatever comes of it.
        let begun = back
            .state
            .as_deref()
            .zip(cookie)
            .and_then(|(state, cookie)| self.begun.take(state, cookie, issuer, self.clock.now()));
        let begun = begun.ok_or_else(not_begun)?;
        let found = self.discovery(&provider).await?;
        match back.iss.as_deref() {
            Some(iss) if iss == provider.iss => {}
            None if !found.says_issuer => {}
            _ => return Err(mixed(issuer)),
        }
        if let Some(error) = back.error {
            return Err(refused(issuer, &error));
        }
        let code = back.code.ok_or_else(|| refused(issuer, "no code"))?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", &self.return_to(issuer)),
            ("code_verifier", &begun.verifier),
        ];
        match self.tokens(&provider, &found, &form).await? {
            Told::Tokens { id, access } => self.enter(&provider, (&id, access.as_deref()), Some(&begun.nonce)).await,
            Told::Error(error) => Err(refused(issuer, &error)),
        }
    }

    /// Who it is that an ID token speaks of
    async fn enter(
        &self,
        provider: &Provider,
        (token, access_token): (&str, Option<&str>),
        nonce: Option<&str>,
    ) -> Result<Entered, Failure> {
        let (name, people) = (&provider.name, &provider.people);
        let algorithms = match &provider.issuer.vouches {
            Vouches::Oidc { algorithms, .. } => crate::proving::named(algorithms),
            Vouches::TrustDomain { .. } => Vec::new(),
        };
        let paths: Vec<&str> = people.attributes.values().map(|attribute| attribute.claim.as_str()).collect();
        let wanted = Wanted {
            algorithms: &algorithms,
            issuer: &provider.iss,
            client_id: &people.client_id,
            nonce,
            access_token,
            max_age_ms: people.max_age_ms,
            acr: people.acr.as_deref(),
            groups: &people.groups,
            claims: &paths,
        };
        let verify = |known: &Known| match known.trusted.as_ref() {
            Trusted::Keys(keys) => oidc::verify(token, keys, &wanted, self.clock.now()),
            Trusted::Bundle(_) => Err(jose::Invalid::KeyUnknown.into()),
        };
        let known = self.issuers.known(name, &provider.issuer, None).await.map_err(|error| unreachable(&error))?;
        let said = match verify(&known) {
            // The issuer may have begun to use another key since.
            Err(oidc::Invalid::Token(jose::Invalid::KeyUnknown)) => {
                let known = self.issuers.known(name, &provider.issuer, Some(&known)).await;
                verify(&known.map_err(|error| unreachable(&error))?)
            }
            said => said,
        };
        let Somebody { subject, groups, claims } = said.map_err(|invalid| untrue(name, invalid))?;
        let view = self.catalogue.view();
        let user = view.bundle.as_ref().and_then(|bundle| whose(bundle, name, &subject));
        let Some(user) = user else { return Err(nobody(name, &subject)) };
        let groups = groups.into_iter().filter(|group| people.group.contains_key(group)).collect();
        // What is of another kind than the policy says is as good as not said.
        let attribute = |(name, wanted): (&String, &Attribute)| {
            Some((name.clone(), claims.get(&wanted.claim).filter(|value| wanted.kind.is(value))?.clone()))
        };
        let attributes = people.attributes.iter().filter_map(attribute).collect();
        let claimed = Claimed { groups, attributes };
        Ok(Entered { user, by: SignedIn::Issuer { issuer: name.clone(), subject }, claimed })
    }

    fn provider(&self, name: &Name) -> Result<Provider, Failure> {
        let view = self.catalogue.view();
        let found = view.bundle.as_ref().and_then(|bundle| {
            let issuer = bundle.issuers.get(name)?;
            let Vouches::Oidc { issuer: iss, .. } = &issuer.vouches else { return None };
            let (issuer, iss, people) = (issuer.clone(), iss.clone(), issuer.people.clone()?);
            Some(Provider { name: name.clone(), issuer, iss, people })
        });
        found.ok_or_else(|| {
            let message = format!("The policy has no issuer {name} where people sign in.");
            Failure::new(StatusCode::NOT_FOUND, "issuer_unknown", message, "See `[people]` in docs/identity.md.")
        })
    }

    async fn discovery(&self, provider: &Provider) -> Result<Arc<Discovery>, Failure> {
        self.asked.discovery(provider, self.clock.now()).await.map_err(|why| cannot(&provider.name, &why))
    }

    /// What the token endpoint says
    async fn tokens(&self, of: &Provider, found: &Discovery, form: &[(&str, &str)]) -> Result<Told, Failure> {
        let url = found.token.as_ref().ok_or_else(|| lacks(&of.name, "token_endpoint"))?;
        let answer = self.post(of, found, url, form).await?;
        Told::read(&answer.0, &answer.1).ok_or_else(|| cannot(&of.name, "what it answers is no answer with tokens"))
    }

    /// Asks an endpoint of an issuer as its client
    async fn post(
        &self,
        of: &Provider,
        found: &Discovery,
        url: &Url,
        form: &[(&str, &str)],
    ) -> Result<(StatusCode, Vec<u8>), Failure> {
        let shows = asking::Shows::of(&of.people, (found, &of.iss), (&self.secrets, &self.ring), self.clock.now());
        let shows = shows.map_err(|why| {
            tracing::warn!(issuer = %of.name, %why, "no client of the issuer");
            let message = format!("Portreeve cannot show {} that it is its client.", of.name);
            let remedy = "The owner sees why in the log of `portreeve serve`; see `secret` in docs/identity.md.";
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "client_secret_missing", message, remedy)
        })?;
        asking::post(of, url, (form, &shows)).await.map_err(|why| cannot(&of.name, &why))
    }
}

/// What is asked for
fn scope(people: &People) -> String {
    std::iter::once("openid").chain(people.scopes.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
}

/// The user of the policy who is that there
fn whose(bundle: &Bundle, issuer: &Name, subject: &str) -> Option<Name> {
    let them = SignIn { issuer: issuer.clone(), sub: subject.to_owned() };
    bundle.users.iter().find(|(_, user)| user.sign_in.as_ref() == Some(&them)).map(|(name, _)| name.clone())
}

fn forbidden(word: &str, message: impl Into<String>, remedy: &str) -> Failure {
    Failure::new(StatusCode::FORBIDDEN, word, message, remedy)
}

fn not_begun() -> Failure {
    let message = "This sign-in was not begun in this browser, or is over: each counts once, for ten minutes.";
    forbidden("sign_in_over", message, "Begin anew on the sign-in page.")
}

fn mixed(issuer: &Name) -> Failure {
    let message = format!("What came back is not from {issuer}, where the sign-in began (iss).");
    forbidden("sign_in_mixed", message, "Begin anew on the sign-in page; if it comes again, tell whoever runs this.")
}

/// What an issuer gave as the reason, if it is one of the short words that it should be
fn refused(issuer: &Name, error: &str) -> Failure {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let plain = (1..=40).contains(&error.len()) && error.bytes().all(|byte| word(byte) || byte == b' ');
    let said = if plain { error } else { "something else" };
    forbidden("sign_in_refused", format!("{issuer} did not sign you in: {said}."), "Begin anew on the sign-in page.")
}

fn untrue(issuer: &Name, invalid: oidc::Invalid) -> Failure {
    let message = format!("What {issuer} says of you does not count: {invalid}.");
    forbidden(invalid.word(), message, "Begin anew; docs/identity.md says why, whoever runs this can mend it.")
}

fn nobody(issuer: &Name, subject: &str) -> Failure {
    let subject = portreeve_core::visible::line(subject);
    let message = format!("{issuer} knows you as {subject:?}, and no user of the policy is that.");
    let remedy = "Have `sign_in` with your `sub` put into a file of users/; see docs/identity.md.";
    forbidden("user_unknown", message, remedy)
}

fn too_many(error: NotDrawn) -> Failure {
    let message = format!("Nobody can sign in so now: {error}.");
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too_many", message, "Try again in a few minutes.")
}

fn cannot(issuer: &Name, why: &str) -> Failure {
    tracing::warn!(%issuer, %why, "nobody can sign in there");
    let message = format!("{issuer} cannot be asked now.");
    let remedy = "Try again, or use a passkey or a link; whoever runs this sees why in the log of `portreeve serve`.";
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "issuer_unreachable", message, remedy)
}

fn unreachable(error: &Unreachable) -> Failure {
    cannot(&error.issuer, &error.why)
}

fn lacks(issuer: &Name, what: &str) -> Failure {
    cannot(issuer, &format!("its discovery document has no {what}"))
}
