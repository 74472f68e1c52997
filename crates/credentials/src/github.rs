//! GitHub: tokens of an installation of a GitHub App.
//!
//! GitHub keeps no list of the tokens that it issued, gives them no name, and takes one back only from who has it. So the token itself is kept
//! until that was done, and one whose answer never came passes by itself, an hour later. Tokens that it keeps nothing of
//! (which look like a JWT) may not be possible to take back; so the other kind is asked for, and each is tried afterwards.

use crate::{
    secret::{Fields, Secret},
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn, now},
    vault::Vault,
    web::{self, Api, Said, at},
};
use async_trait::async_trait;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use portreeve_core::{
    event::Evidence,
    policy::{GitHub as Installation, GitHubLevel},
    time::Millis,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};

/// An installation that tokens are issued for
#[derive(Debug)]
pub struct GitHub {
    of: Installation,
    vault: Arc<Vault>,
}

/// Seconds that what Portreeve says of itself counts; ten minutes are the most that GitHub takes
const SAID_S: i64 = 300;
/// Seconds that its clock may be ahead of GitHub's
const AHEAD_S: i64 = 60;
/// What is given to every token that has any permission at all
const IMPLIED: &str = "metadata";

/// How the API is asked
const HEADERS: [(&str, &str); 3] =
    [("accept", "application/vnd.github+json"), ("user-agent", "portreeve"), ("x-github-api-version", "2022-11-28")];
/// The kind of token that GitHub keeps, and can take back
const KEPT: (&str, &str) = ("x-github-stateless-s2s-token", "disabled");

impl GitHub {
    /// Tokens of this installation, with the app's key in this vault
    #[must_use]
    pub fn new(of: Installation, vault: Arc<Vault>) -> Self {
        Self { of, vault }
    }

    fn api(&self) -> Api {
        let mut headers: Vec<_> = HEADERS.map(|(name, value)| (name, value.to_owned())).into();
        headers.push((KEPT.0, KEPT.1.to_owned()));
        Api { url: self.of.api.clone(), terms: None, headers }
    }

    /// Who Portreeve is: the app, signed with its key (RS256)
    fn app(&self) -> Result<Secret, String> {
        let key = self.vault.get(&self.of.key).map_err(|error| error.to_string())?;
        let form = || format!("the secret {} is no private key of RSA in PEM", self.of.key);
        let pem = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| form())?;
        let pair = match &pem {
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
            _ => return Err(form()),
        };
        let pair = pair.map_err(|_| form())?;
        let now = now().0.div_euclid(1_000);
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let said = json!({ "iss": self.of.app, "iat": now.saturating_sub(AHEAD_S), "exp": now.saturating_add(SAID_S) });
        let message = format!("{}.{}", part(json!({ "alg": "RS256", "typ": "JWT" })), part(said));
        let mut signature = vec![0; pair.public_modulus_len()];
        let signed = pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature);
        signed.map_err(|_| "the app's key did not sign".to_owned())?;
        Ok(Secret::new(format!("Bearer {message}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }

    async fn ask(&self, who: &Secret, method: Method, path: &str, body: Option<&Value>) -> Result<Said, NotIssued> {
        self.api().ask(Some(("authorization", who.expose())), (method, path), body).await
    }

    /// Gives a token back, and tries it; what GitHub says, if it is of no use
    async fn remove(&self, token: &Secret) -> Result<Option<String>, String> {
        let who = Secret::new(format!("Bearer {}", token.expose()));
        let asked = self.ask(&who, Method::DELETE, "/installation/token", None).await;
        let said = asked.map_err(|error| error.to_string())?;
        // 401: it is of no use already.
        if said.0 != StatusCode::NO_CONTENT && said.0 != StatusCode::UNAUTHORIZED {
            return Err(says("the token was not taken back", &said));
        }
        let tried = self.ask(&who, Method::GET, "/installation/repositories?per_page=1", None).await;
        let tried = tried.map_err(|error| error.to_string())?;
        match tried.0 {
            StatusCode::UNAUTHORIZED => Ok(Some(says("it was tried", &tried))),
            StatusCode::OK => Ok(None),
            _ => Err(says("the token could not be tried", &tried)),
        }
    }

    /// What of an answer is more than was asked for
    fn wider(body: &Value, asked: &BTreeMap<String, GitHubLevel>, repositories: &BTreeSet<String>) -> Option<String> {
        let level = |word: &str| {
            [GitHubLevel::Read, GitHubLevel::Write, GitHubLevel::Admin].into_iter().find(|level| level.word() == word)
        };
        let Some(given) = at(body, "/permissions").as_object() else {
            return Some("it does not say what it may do".to_owned());
        };
        let more = given.iter().find(|(name, value)| {
            let given = value.as_str().and_then(level);
            let most = asked.get(*name).copied().or((*name == IMPLIED).then_some(GitHubLevel::Read));
            given.is_none_or(|given| most.is_none_or(|most| given > most))
        });
        if let Some((name, _)) = more {
            return Some(format!("it may `{}`, which was not asked for", web::line(name)));
        }
        let Some(given) = at(body, "/repositories").as_array() else {
            return Some("it is for every repository".to_owned());
        };
        let name = |one: &Value| at(one, "/name").as_str().unwrap_or_default().to_ascii_lowercase();
        let more = given.iter().map(name).find(|name| !repositories.contains(name));
        more.map(|name| format!("it is for the repository `{}`, which was not asked for", web::line(&name)))
    }
}

#[async_trait]
impl Source for GitHub {
    async fn issue(&self, wanted: &Wanted) -> Result<Issued, NotIssued> {
        let refused = NotIssued::Refused;
        let permissions = self.of.permissions.get(&wanted.class);
        let permissions =
            permissions.ok_or_else(|| refused(format!("there are no permissions for {}", wanted.class)))?;
        let fill = |one| web::filled(one, &wanted.scope, is_name);
        let names = self.of.repositories.iter().map(fill).collect::<Result<BTreeSet<_>, _>>().map_err(refused)?;
        let words: BTreeMap<_, _> = permissions.iter().map(|(name, level)| (name, level.word())).collect();
        let body = json!({ "repositories": names, "permissions": words });
        let path = format!("/app/installations/{}/access_tokens", self.of.installation);
        let said = self.ask(&self.app().map_err(refused)?, Method::POST, &path, Some(&body)).await?;
        let until = at(&said.1, "/expires_at").as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let (StatusCode::CREATED, Some(token), Some(until)) = (said.0, at(&said.1, "/token").as_str(), until) else {
            let why = says("no token was issued", &said);
            return Err(if said.0.is_client_error() { refused(why) } else { NotIssued::Unknown(why) });
        };
        let token = Secret::from(token);
        let names: BTreeSet<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        if let Some(why) = Self::wider(&said.1, permissions, &names) {
            return Err(match self.remove(&token).await {
                Ok(Some(_)) => refused(why),
                Ok(None) => NotIssued::Unknown(format!("{why}; and it could not be taken back")),
                Err(also) => NotIssued::Unknown(format!("{why}; {also}")),
            });
        }
        let fields = Fields::from([("token".to_owned(), token.clone())]);
        Ok(Issued { fields, handle: None, until: Some(Millis(until.as_millisecond())), keep: Some(token) })
    }

    async fn withdraw(&self, held: &Held) -> Result<Withdrawn, String> {
        let lives = || now().plus(Installation::lives_ms());
        let until = held.until.unwrap_or_else(lives);
        // Nobody has one whose answer never came, and nobody can take it back.
        let Some(token) = &held.keep else { return Ok(Withdrawn::Left(until)) };
        match self.remove(token).await? {
            Some(says) => Ok(Withdrawn::Gone(Evidence::Refused { says })),
            None => Ok(Withdrawn::Left(until)),
        }
    }

    async fn sweep(&self, _: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    async fn check(&self) -> Result<(), String> {
        let path = format!("/app/installations/{}", self.of.installation);
        let said = self.ask(&self.app()?, Method::GET, &path, None).await.map_err(|error| error.to_string())?;
        match (said.0, at(&said.1, "/suspended_at").as_str()) {
            (StatusCode::OK, None) => Ok(()),
            (StatusCode::OK, Some(_)) => Err("the installation is suspended".to_owned()),
            _ => Err(says("Portreeve is not let in", &said)),
        }
    }
}

/// Whether a value is the name of a repository, without its owner
fn is_name(value: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !value.is_empty() && value != "." && value != ".." && value.chars().all(good)
}

fn says(what: &str, (status, body): &Said) -> String {
    let told = at(body, "/message").as_str().unwrap_or_default();
    format!("{what}: {}", web::line(&format!("{} {told}", status.as_u16())))
}
