//! Signing in where there is no browser (RFC 8628): somebody goes to the issuer with another one, and types a short code.
//!
//! The issuer's own code for it stays here; whoever waits has a name of ours for it.

use super::{Entered, Provider, SignIns, Told, asking, cannot, lacks, not_begun, refused, scope, too_many};
use crate::failure::Failure;
use axum::http::StatusCode;
use portreeve_core::{hash::Hash, names::Name, policy::Client, time::Millis, value::Value};
use portreeve_identity::{
    NotDrawn,
    oidc::begun::{self, Secrets},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use url::Url;

/// Sign-ins on devices that are under way at once
const DEVICES_MAX: usize = 256;
/// How long one may take, in milliseconds
const LASTS_MS_MAX: i64 = 15 * 60 * 1_000;
/// How long is waited between two questions where the issuer does not say, and at most, in milliseconds
const INTERVAL_MS: i64 = 5_000;
const INTERVAL_MS_MAX: i64 = 60_000;

#[derive(Debug, Default)]
pub(super) struct Devices {
    // By the digest of our name for it. Held only for a look-up or a change.
    open: Mutex<BTreeMap<Hash, Arc<Waits>>>,
}

/// One of them
struct Waits {
    issuer: Name,
    code: String,
    /// What shows that whoever began it finishes it
    verifier: String,
    until: Millis,
    // Held while the issuer is asked, so that two who ask are not asked for twice.
    pace: tokio::sync::Mutex<Pace>,
}

impl std::fmt::Debug for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waits").field("issuer", &self.issuer).field("until", &self.until).finish_non_exhaustive()
    }
}

struct Pace {
    interval_ms: i64,
    next: Millis,
    over: bool,
}

/// What somebody is shown who signs in so
#[derive(Clone, Debug, Serialize)]
pub struct Device {
    /// Our name for it; a secret
    pub login: String,
    /// Where
    pub issuer: Name,
    /// What they type there
    pub user_code: String,
    /// The page where
    pub verification_uri: String,
    /// The same with the code in it
    pub verification_uri_complete: Option<String>,
    /// How long to wait between two questions, in milliseconds
    pub interval_ms: i64,
    /// Until when
    pub until: Millis,
}

/// How it stands
#[derive(Debug)]
pub enum Polled {
    /// They have not signed in yet
    Waits {
        /// How long to wait until the next question, in milliseconds
        interval_ms: i64,
    },
    /// They have
    Entered(Entered),
}

impl SignIns {
    /// Begins a sign-in on a device; at the only issuer there is, unless one is named
    ///
    /// # Errors
    /// It is not clear where, or the issuer cannot be asked or does not do it, or too many are under way.
    pub async fn device(&self, issuer: Option<Name>) -> Result<Device, Failure> {
        let offered = self.offered();
        let issuer = match (issuer, offered.as_slice()) {
            (Some(issuer), _) => issuer,
            (None, [one]) => one.clone(),
            (None, several) => {
                let names: Vec<&str> = several.iter().map(Name::as_str).collect();
                let message = match names.as_slice() {
                    [] => "The policy has no issuer where people sign in.".to_owned(),
                    names => format!("There are several issuers: {}.", names.join(", ")),
                };
                let remedy = "Name one with --issuer; without any, use the console.";
                return Err(Failure::new(StatusCode::CONFLICT, "issuer_unknown", message, remedy));
            }
        };
        let provider = self.provider(&issuer)?;
        let found = self.discovery(&provider).await?;
        let url = found.device.as_ref().ok_or_else(|| lacks(&issuer, "device_authorization_endpoint"))?;
        let login = begun::name().ok_or(NotDrawn::Randomness).map_err(too_many)?;
        self.devices.room(self.clock.now()).map_err(too_many)?;
        let scope = scope(&provider.people);
        // No part of RFC 8628, and passed over where it is not known; Keycloak demands it of a client that has to use PKCE.
        let secrets =
            Secrets { nonce: String::new(), verifier: begun::name().ok_or(NotDrawn::Randomness).map_err(too_many)? };
        let challenge = secrets.challenge();
        let mut form =
            vec![("scope", scope.as_str()), ("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")];
        // Who shows a secret in `Authorization` names the client all the same (RFC 8628, 3.1).
        if matches!(provider.people.client, Client::Secret(_)) && found.basic {
            form.push(("client_id", provider.people.client_id.as_str()));
        }
        let (status, body) = self.post(&provider, &found, url, &form).await?;
        let members = asking::members(&body).ok_or_else(|| cannot(&issuer, "it answers no strict JSON"))?;
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        if status != StatusCode::OK {
            return Err(refused(&issuer, text("error").unwrap_or_default()));
        }
        let wrong = |what: &str| cannot(&issuer, &format!("its answer to a device has no good {what}"));
        let now = self.clock.now();
        let seconds = |name: &str| match members.get(name) {
            Some(Value::Number(number)) => number.to_i64().and_then(|seconds| seconds.checked_mul(1_000)),
            _ => None,
        };
        let lasts = seconds("expires_in").filter(|lasts| *lasts > 0).ok_or_else(|| wrong("expires_in"))?;
        let interval_ms = seconds("interval").unwrap_or(INTERVAL_MS).clamp(1_000, INTERVAL_MS_MAX);
        let page = |name: &str| text(name).filter(|text| is_page(text, &provider)).map(str::to_owned);
        let device = Device {
            login: login.clone(),
            issuer: issuer.clone(),
            user_code: text("user_code").filter(|code| is_code(code)).ok_or_else(|| wrong("user_code"))?.to_owned(),
            verification_uri: page("verification_uri").ok_or_else(|| wrong("verification_uri"))?,
            verification_uri_complete: page("verification_uri_complete"),
            interval_ms,
            until: now.plus(lasts.min(LASTS_MS_MAX)),
        };
        let code = text("device_code").filter(|code| !code.is_empty()).ok_or_else(|| wrong("device_code"))?.to_owned();
        let pace = tokio::sync::Mutex::new(Pace { interval_ms, next: now.plus(interval_ms), over: false });
        let waits = Waits { issuer, code, verifier: secrets.verifier, until: device.until, pace };
        self.devices.keep(&login, waits, now).map_err(too_many)?;
        Ok(device)
    }

    /// Whether somebody has signed in on a device by now
    ///
    /// # Errors
    /// There is no such sign-in any more, or it came to nothing.
    pub async fn poll(&self, login: &str) -> Result<Polled, Failure> {
        let now = self.clock.now();
        let waits = self.devices.find(login, now).ok_or_else(not_begun)?;
        let mut pace = waits.pace.lock().await;
        if pace.over {
            return Err(not_begun());
        }
        let now = self.clock.now();
        if now < pace.next {
            return Ok(Polled::Waits { interval_ms: pace.next.since(now) });
        }
        let provider = self.provider(&waits.issuer)?;
        let found = self.discovery(&provider).await?;
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", &waits.code),
            ("code_verifier", &waits.verifier),
        ];
        let told = self.tokens(&provider, &found, &form).await;
        pace.next = self.clock.now().plus(pace.interval_ms);
        let over = |pace: &mut Pace| {
            pace.over = true;
            self.devices.forget(login);
        };
        match told? {
            Told::Error(error) if error == "authorization_pending" => {
                Ok(Polled::Waits { interval_ms: pace.interval_ms })
            }
            Told::Error(error) if error == "slow_down" => {
                // RFC 8628, 3.5.
                pace.interval_ms = pace.interval_ms.saturating_add(INTERVAL_MS).min(INTERVAL_MS_MAX);
                pace.next = self.clock.now().plus(pace.interval_ms);
                Ok(Polled::Waits { interval_ms: pace.interval_ms })
            }
            Told::Error(error) => {
                over(&mut pace);
                Err(refused(&waits.issuer, &error))
            }
            Told::Tokens { id, access } => {
                over(&mut pace);
                self.enter(&provider, (&id, access.as_deref()), None).await.map(Polled::Entered)
            }
        }
    }
}

impl Devices {
    fn room(&self, now: Millis) -> Result<(), NotDrawn> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, waits| now < waits.until);
        if open.len() >= DEVICES_MAX { Err(NotDrawn::Full) } else { Ok(()) }
    }

    fn keep(&self, login: &str, waits: Waits, now: Millis) -> Result<(), NotDrawn> {
        self.room(now)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(Hash::of(login.as_bytes()), Arc::new(waits));
        Ok(())
    }

    fn find(&self, login: &str, now: Millis) -> Option<Arc<Waits>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&Hash::of(login.as_bytes())).filter(|waits| now < waits.until).cloned()
    }

    fn forget(&self, login: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&Hash::of(login.as_bytes()));
    }
}

/// A page that somebody may be sent to: what a terminal shows is what they open
fn is_page(text: &str, of: &Provider) -> bool {
    let plain = text.len() <= 2_048 && text.bytes().all(|byte| byte.is_ascii_graphic());
    let good = |url: Url| {
        let secure = url.scheme() == "https" || (of.issuer.private && url.scheme() == "http");
        secure && url.username().is_empty() && url.password().is_none()
    };
    plain && Url::parse(text).is_ok_and(good)
}

/// A code that somebody can type
fn is_code(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}
