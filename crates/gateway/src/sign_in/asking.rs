//! What is asked of an issuer over connections that we make: bounded, to addresses that were looked at, no redirects.

use super::Provider;
use axum::http::{Method, StatusCode};
use portreeve_core::{
    json::{Limits, scan},
    names::Name,
    policy::{Client, Issuer, People},
    time::Millis,
    value::Value,
};
use portreeve_identity::{
    discovery::{self, Discovery},
    key::source::Secrets,
    keyring::Ring,
    oidc::client::{ASSERTION_TYPE, assertion, basic},
};
use portreeve_upstream::fetch::{self, Hosts, Sent};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use url::{Url, form_urlencoded};

/// Bytes of an answer at most
const BYTES_MAX: usize = 256 << 10;
/// What an answer may hold
const LIMITS: Limits = Limits { bytes_max: BYTES_MAX, depth_max: 8, nodes_max: 1_000 };
/// How long an issuer may take to answer
const WITHIN: Duration = Duration::from_secs(10);
/// For how long its discovery document is kept, in milliseconds
const KEPT_MS: i64 = 10 * 60 * 1_000;
/// How long it is not asked for again after it could not be had, in milliseconds
const PAUSE_MS: i64 = 5 * 1_000;

/// What was asked lately
#[derive(Debug, Default)]
pub(super) struct Asked {
    // Held only for a look-up; what takes time is behind the entry's own lock.
    found: Mutex<BTreeMap<Name, Entry>>,
}

/// One issuer as one version of the policy describes it, and what it said when
#[derive(Clone, Debug)]
struct Entry {
    issuer: Issuer,
    // Held while it is asked: whoever comes meanwhile waits for that one.
    said: Arc<tokio::sync::Mutex<Option<Said>>>,
}

/// When it was asked, and what it said, or why it did not
type Said = (Millis, Result<Arc<Discovery>, String>);

impl Asked {
    /// Where the endpoints of an issuer are
    pub(super) async fn discovery(&self, of: &Provider, now: Millis) -> Result<Arc<Discovery>, String> {
        let entry = self.entry(of);
        let mut said = entry.said.lock().await;
        let kept = said.as_ref().filter(|(at, what)| {
            let kept = if what.is_ok() { KEPT_MS } else { PAUSE_MS };
            (0..kept).contains(&now.since(*at))
        });
        if let Some((_, what)) = kept {
            return what.clone();
        }
        let found = discover(of).await.map(Arc::new);
        *said = Some((now, found.clone()));
        found
    }

    fn entry(&self, of: &Provider) -> Entry {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match found.get(&of.name) {
            Some(entry) if entry.issuer == of.issuer => entry.clone(),
            _ => {
                let entry = Entry { issuer: of.issuer.clone(), said: Arc::default() };
                found.insert(of.name.clone(), entry.clone());
                entry
            }
        }
    }
}

fn hosts(of: &Provider) -> Hosts {
    if of.issuer.private { Hosts::Private } else { Hosts::Public }
}

async fn discover(of: &Provider) -> Result<Discovery, String> {
    let url = format!("{}/.well-known/openid-configuration", of.iss.trim_end_matches('/'));
    let document = fetch::get(&url, hosts(of), BYTES_MAX, WITHIN).await;
    let document = document.map_err(|error| format!("{url}: {error}"))?;
    discovery::read(&document.body, &of.iss, of.issuer.private).map_err(|error| format!("{url}: {error}"))
}

/// How a request shows that it is ours
#[derive(Default)]
pub(super) struct Shows {
    authorization: Option<String>,
    form: Vec<(&'static str, String)>,
}

impl Shows {
    pub(super) fn of(
        people: &People,
        (found, iss): (&Discovery, &str),
        (secrets, ring): (&Secrets, &Ring),
        now: Millis,
    ) -> Result<Self, String> {
        let id = ("client_id", people.client_id.clone());
        Ok(match &people.client {
            Client::Public => Self { authorization: None, form: vec![id] },
            Client::Secret(from) => {
                let secret = secrets.read(from).map_err(|error| error.to_string())?;
                if found.basic {
                    Self { authorization: Some(basic(&people.client_id, &secret)), form: Vec::new() }
                } else {
                    Self { authorization: None, form: vec![id, ("client_secret", secret.to_string())] }
                }
            }
            Client::Key => {
                let signed = assertion(&ring.keys(), &people.client_id, iss, now);
                let signed = signed.ok_or("the key for tokens does not sign")?;
                let kind = ("client_assertion_type", ASSERTION_TYPE.to_owned());
                Self { authorization: None, form: vec![id, kind, ("client_assertion", signed)] }
            }
        })
    }
}

/// Sends a form, and takes what is answered
pub(super) async fn post(
    of: &Provider,
    url: &Url,
    (form, shows): (&[(&str, &str)], &Shows),
) -> Result<(StatusCode, Vec<u8>), String> {
    let body = {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form).extend_pairs(shows.form.iter().map(|(name, value)| (*name, value.as_str())));
        body.finish().into_bytes()
    };
    let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
    headers.extend(shows.authorization.as_deref().map(|value| ("authorization", value)));
    let sent = Sent { method: Method::POST, headers: &headers, body };
    let answer = fetch::send(url.as_str(), sent, hosts(of), (BYTES_MAX, WITHIN)).await;
    let answer = answer.map_err(|error| format!("{url}: {error}"))?;
    Ok((answer.status, answer.body))
}

/// What a token endpoint says
pub(super) enum Told {
    /// Tokens
    Tokens {
        /// Who it is
        id: String,
        /// What we have no use for, but what the other one names
        access: Option<String>,
    },
    /// Why there are none (RFC 6749, 5.2)
    Error(String),
}

impl Told {
    pub(super) fn read(status: &StatusCode, body: &[u8]) -> Option<Self> {
        let members = members(body)?;
        let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
        if *status == StatusCode::OK {
            return Some(Self::Tokens { id: text("id_token")?, access: text("access_token") });
        }
        text("error").filter(|_| status.is_client_error()).map(Self::Error)
    }
}

/// The members of an answer that is read in one way only
pub(super) fn members(body: &[u8]) -> Option<BTreeMap<String, Value>> {
    match scan(body, &LIMITS).ok()?.to_value() {
        Ok(Value::Object(members)) => Some(members),
        _ => None,
    }
}
