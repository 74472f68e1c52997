//! Google Cloud: tokens of service accounts, without a key of any of them.
//!
//! A token of whoever Portreeve is where it runs is exchanged for one of a workload identity pool, and that for a token of the
//! class's service account, which ends with the lease. For Cloud Storage it is exchanged once more, for one that is
//! narrowed. Google takes none of them back: what is known here is until when each is good. It gives them no name
//! and keeps no list. What was had on the way stays here, and is dropped.

use crate::{
    means::Means,
    secret::{Fields, Secret},
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn},
    web::{self, Members},
};
use async_trait::async_trait;
use http::{Method, StatusCode};
use portreeve_core::{
    event::Evidence,
    names::Name,
    policy::{Google as Pool, GoogleAccount, GoogleBucket},
    time::Millis,
    value::Value as Said,
};
use portreeve_upstream::fetch::Sent;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use url::form_urlencoded;

/// A pool whose service accounts tokens are had of
#[derive(Debug)]
pub struct Google {
    of: Pool,
    means: Means,
}

/// Seconds that a token lives at most, unless an organization allows more
const LONGEST: i64 = 3_600;
/// How much later than it was asked for a token may end: what the request takes, and what the clocks differ by
const SLACK_MS: i64 = 60_000;
/// What a token of the pool is for: to ask for tokens of service accounts, which only its roles allow
const CLOUD: &str = "https://www.googleapis.com/auth/cloud-platform";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// Characters of a part of a token that may not show in what is told on
const PART_MIN: usize = 8;

impl Google {
    /// Tokens that this pool lets in to
    #[must_use]
    pub fn new(of: Pool, means: Means) -> Self {
        Self { of, means }
    }

    async fn ask(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<(StatusCode, Members), NotIssued> {
        let answer = web::send(url, Sent { method: Method::POST, headers, body }).await?;
        Ok((answer.status, web::members(&answer.body).unwrap_or_default()))
    }

    /// Exchanges a token for another one (RFC 8693)
    async fn exchange(&self, subject: &Secret, form: &[(&str, &str)]) -> Result<Secret, NotIssued> {
        let body = {
            let mut body = form_urlencoded::Serializer::new(String::new());
            body.append_pair("grant_type", EXCHANGE).append_pair("requested_token_type", ACCESS_TOKEN);
            body.append_pair("subject_token", subject.expose()).extend_pairs(form);
            body.finish().into_bytes()
        };
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")];
        let (status, members) = self.ask(&format!("{}/v1/token", self.of.sts), &headers, body).await?;
        let is =
            |name: &str, value: &str| web::text(&members, name).is_some_and(|text| text.eq_ignore_ascii_case(value));
        let token = web::token(&members, "access_token");
        match (status, token) {
            (StatusCode::OK, Some(token)) if is("token_type", "Bearer") && is("issued_token_type", ACCESS_TOKEN) => {
                Ok(token)
            }
            (status, _) => Err(not(status, says("no token was exchanged", (status, &members), subject))),
        }
    }

    /// A token of the pool; nothing can be done with it but to ask for others
    async fn federated(&self) -> Result<Secret, String> {
        let jwt = Secret::new(web::jwt(&self.of.jwt_file)?.to_string());
        let form = [("audience", self.of.audience.as_str()), ("scope", CLOUD), ("subject_token_type", JWT)];
        self.exchange(&jwt, &form).await.map_err(|error| error.to_string())
    }

    /// A token of a service account, and until when Google takes it
    async fn of_account(
        &self,
        (email, scopes): (&str, &[String]),
        until: Millis,
        federated: &Secret,
    ) -> Result<(Secret, Millis), NotIssued> {
        let seconds = until.since(self.means.clock.now()).div_euclid(1_000).min(LONGEST);
        if seconds < 1 {
            return Err(NotIssued::Refused("less than a second is left for it".to_owned()));
        }
        let url = format!("{}/v1/projects/-/serviceAccounts/{email}:generateAccessToken", self.of.iamcredentials);
        let who = Secret::new(format!("Bearer {}", federated.expose()));
        let headers =
            [("content-type", "application/json"), ("accept", "application/json"), ("authorization", who.expose())];
        let body = json!({ "scope": scopes, "lifetime": format!("{seconds}s") }).to_string().into_bytes();
        let latest = self.means.clock.now().plus(seconds.saturating_mul(1_000)).plus(SLACK_MS);
        let (status, members) = self.ask(&url, &headers, body).await?;
        let ends = web::text(&members, "expireTime").and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let ends = ends.map(|ends| Millis(ends.as_millisecond()));
        let (StatusCode::OK, Some(token), Some(ends)) = (status, web::token(&members, "accessToken"), ends) else {
            return Err(not(status, says("no token was issued", (status, &members), federated)));
        };
        if ends > latest {
            let why = format!("a token was issued for longer than the {seconds} s that were asked for; it is not used");
            return Err(NotIssued::Unknown(why));
        }
        if ends <= self.means.clock.now() {
            return Err(NotIssued::Unknown("a token was issued whose time has passed (expireTime)".to_owned()));
        }
        Ok((token, ends))
    }
}

#[async_trait]
impl Source for Google {
    async fn issue(&self, wanted: &Wanted) -> Result<Issued, NotIssued> {
        let refused = NotIssued::Refused;
        let account = self.of.accounts.get(&wanted.class);
        let account = account.ok_or_else(|| refused(format!("there is no service account for {}", wanted.class)))?;
        let email = email(account, &wanted.scope).map_err(refused)?;
        let boundary = boundary(&account.boundary, &wanted.scope).map_err(refused)?;
        // Whatever became of that, nobody has a token of the account yet.
        let federated = self.federated().await.map_err(refused)?;
        let (mut token, until) = self.of_account((&email, &account.scopes), wanted.until, &federated).await?;
        if let Some(boundary) = boundary {
            let form = [("subject_token_type", ACCESS_TOKEN), ("options", boundary.as_str())];
            // The wide one was made: it is dropped here, and passes by itself.
            let narrowed = self.exchange(&token, &form).await;
            token = narrowed.map_err(|error| NotIssued::Unknown(format!("it was not narrowed: {error}")))?;
        }
        Ok(Issued { fields: Fields::from([("token".to_owned(), token)]), handle: None, until: Some(until), keep: None })
    }

    async fn withdraw(&self, held: &Held) -> Result<Withdrawn, String> {
        // One whose answer never came lives as long as any of them could.
        let now = self.means.clock.now();
        let until = held.until.unwrap_or_else(|| now.plus(LONGEST.saturating_mul(1_000)));
        Ok(if now < until { Withdrawn::Left(until) } else { Withdrawn::Gone(Evidence::Expired) })
    }

    async fn sweep(&self, _: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    async fn check(&self) -> Result<(), String> {
        self.federated().await.map(drop)
    }
}

/// The address of the service account for what a task is narrowed to
fn email(account: &GoogleAccount, scope: &BTreeMap<Name, String>) -> Result<String, String> {
    let part = |value: &str| value.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
    let email = web::filled(&account.email, scope, part)?;
    if GoogleAccount::is_email(&email) { Ok(email) } else { Err("there is no such service account".to_owned()) }
}

/// What of Cloud Storage a token is narrowed to (a Credential Access Boundary)
fn boundary(buckets: &[GoogleBucket], scope: &BTreeMap<Name, String>) -> Result<Option<String>, String> {
    if buckets.is_empty() {
        return Ok(None);
    }
    let rule = |of: &GoogleBucket| {
        let bucket = web::filled(&of.bucket, scope, is_bucket)?;
        let roles: Vec<String> = of.roles.iter().map(|role| format!("inRole:{role}")).collect();
        let resource = format!("//storage.googleapis.com/projects/_/buckets/{bucket}");
        let whole = json!({ "availableResource": resource, "availablePermissions": roles });
        let Some(prefix) = &of.prefix else { return Ok(whole) };
        let prefix = web::filled(prefix, scope, is_part)?;
        // Objects of that name, and lists that ask for no others.
        let expression = format!(
            "resource.name.startsWith('projects/_/buckets/{bucket}/objects/{prefix}') || \
             api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith('{prefix}')"
        );
        let part = json!({ "expression": expression });
        Ok(json!({ "availableResource": resource, "availablePermissions": roles, "availabilityCondition": part }))
    };
    let rules = buckets.iter().map(rule).collect::<Result<Vec<Value>, String>>()?;
    Ok(Some(json!({ "accessBoundary": { "accessBoundaryRules": rules } }).to_string()))
}

/// Whether a value can be a part of the name of a bucket
fn is_bucket(value: &str) -> bool {
    let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_.".contains(&c);
    !value.is_empty() && value.bytes().all(good)
}

/// Whether a value can be a part of the name of an object, and of nothing else in a condition
fn is_part(value: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.=@+".contains(c);
    !value.is_empty() && value.chars().all(good)
}

/// What an answer without a token says of what was made
fn not(status: StatusCode, why: String) -> NotIssued {
    if status.is_client_error() { NotIssued::Refused(why) } else { NotIssued::Unknown(why) }
}

/// What Google said, without what it was shown
fn says(what: &str, (status, members): (StatusCode, &Members), shown: &Secret) -> String {
    // STS answers as RFC 6749, 5.2, has it, and the other one as APIs of Google do.
    let told = match members.get("error") {
        Some(Said::Object(error)) => web::text(error, "message"),
        _ => web::text(members, "error_description").or_else(|| web::text(members, "error")),
    };
    let told = told.unwrap_or_default();
    let shows = shown.expose().split('.').any(|part| part.len() >= PART_MIN && told.contains(part));
    let told = if shows { "" } else { told };
    format!("{what}: {}", web::line(&format!("{} {told}", status.as_u16())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_core::policy::Template;

    fn scope(value: &str) -> BTreeMap<Name, String> {
        BTreeMap::from([("tenant".parse().unwrap(), value.to_owned())])
    }

    fn template(text: &str) -> Template {
        Template::read(text).unwrap()
    }

    #[test]
    fn a_task_is_narrowed_to_one_account_and_to_its_own_objects() {
        let email_of = template("{tenant}-reader@shop.iam.gserviceaccount.com");
        let account = GoogleAccount { email: email_of, scopes: Vec::new(), boundary: Vec::new() };
        assert_eq!(email(&account, &scope("eu")).unwrap(), "eu-reader@shop.iam.gserviceaccount.com");
        for bad in ["eu@other", "../x", "EU", "-eu", "", "1", &"a".repeat(24)] {
            assert!(email(&account, &scope(bad)).is_err(), "{bad}");
        }
        let (bucket, prefix) = (template("orders-{tenant}"), Some(template("a/{tenant}/")));
        let bucket = GoogleBucket { bucket, prefix, roles: vec!["roles/storage.objectViewer".to_owned()] };
        let told = boundary(std::slice::from_ref(&bucket), &scope("eu-42")).unwrap().unwrap();
        let told: Value = serde_json::from_str(&told).unwrap();
        let expression = "resource.name.startsWith('projects/_/buckets/orders-eu-42/objects/a/eu-42/') || \
            api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith('a/eu-42/')";
        let rule = json!({
            "availableResource": "//storage.googleapis.com/projects/_/buckets/orders-eu-42",
            "availablePermissions": ["inRole:roles/storage.objectViewer"],
            "availabilityCondition": { "expression": expression },
        });
        assert_eq!(told, json!({ "accessBoundary": { "accessBoundaryRules": [rule] } }));
        let objects = GoogleBucket { bucket: template("orders"), ..bucket };
        for bad in ["", "eu/us", "eu')", "eu\\", "eu us", "é"] {
            assert!(boundary(std::slice::from_ref(&objects), &scope(bad)).is_err(), "{bad}");
        }
        assert_eq!(boundary(&[], &scope("eu")).unwrap(), None);
    }

    #[test]
    fn what_google_says_is_told_without_what_it_was_shown() {
        let shown = Secret::from("header-of-it.claims-of-it.signature-of-it");
        let says = |body: &str| says("no", (StatusCode::BAD_REQUEST, &web::members(body.as_bytes()).unwrap()), &shown);
        assert_eq!(
            says(r#"{"error":"invalid_grant","error_description":"of another\naudience"}"#),
            "no: 400 of another audience"
        );
        assert_eq!(says(r#"{"error":"invalid_target"}"#), "no: 400 invalid_target");
        assert_eq!(says(r#"{"error":{"code":403,"message":"denied","status":"X"}}"#), "no: 400 denied");
        assert_eq!(says(r#"{"error":"x","error_description":"bad: claims-of-it"}"#), "no: 400");
    }
}
