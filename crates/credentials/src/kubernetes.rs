//! Kubernetes: tokens of service accounts, each bound to a Secret that stands for the lease.
//!
//! A token is signed and not kept, so that nobody can take it back. But one that is bound to an object is refused once that
//! object is gone. So each lease is a Secret with nothing in it that carries the lease's name, and its token is bound to that.
//! Whoever checks tokens by their signature alone does not notice; the API server does, unless it was shown the token
//! within the last seconds and remembers it.

use crate::{
    secret::{Fields, Secret},
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn, now},
    vault::Vault,
    web::{self, Api, Said, at},
};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, StatusCode};
use portreeve_core::{
    event::Evidence,
    policy::{ClusterSignIn, Kubernetes as Cluster},
    time::Millis,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// A cluster that tokens are made at
#[derive(Debug)]
pub struct Kubernetes {
    of: Cluster,
    vault: Arc<Vault>,
}

/// What all Secrets of leases carry, so that they are found
const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "portreeve");
/// Seconds that a token lives at least, which the API server insists on
const SHORTEST: i64 = 600;
/// How long an API server may remember a token that it was shown, and how often it is asked meanwhile
const REMEMBERED: Duration = Duration::from_secs(12);
const LOOK: Duration = Duration::from_millis(250);
/// Secrets of one answer to a list, and answers
const PAGE: usize = 100;
const PAGES_MAX: usize = 100;

/// Portreeve's own account at the API server
struct Session {
    api: Api,
    bearer: Secret,
}

impl Session {
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Said, NotIssued> {
        self.api.ask(Some(("authorization", self.bearer.expose())), (method, path), body.as_ref()).await
    }

    /// Asks where whatever goes wrong is one thing
    async fn look(&self, method: Method, path: &str, body: Option<Value>) -> Result<Said, String> {
        self.ask(method, path, body).await.map_err(|error| error.to_string())
    }
}

impl Kubernetes {
    /// Tokens of this cluster, which Portreeve signs in to with a secret of this vault
    #[must_use]
    pub fn new(of: Cluster, vault: Arc<Vault>) -> Self {
        Self { of, vault }
    }

    fn session(&self) -> Result<Session, String> {
        let api = Api { url: self.of.url.clone(), terms: web::believing(self.of.ca.as_deref())?, headers: Vec::new() };
        let bearer = match &self.of.sign_in {
            ClusterSignIn::File(path) => Secret::new(format!("Bearer {}", web::file(path)?.as_str())),
            ClusterSignIn::Secret(name) => {
                let token = self.vault.get(name).map_err(|error| error.to_string())?;
                Secret::new(format!("Bearer {}", token.expose()))
            }
        };
        Ok(Session { api, bearer })
    }

    fn secrets(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets", self.of.namespace)
    }

    async fn make(&self, session: &Session, wanted: &Wanted) -> Result<Issued, NotIssued> {
        let refused = NotIssued::Refused;
        let account = self.of.accounts.get(&wanted.class);
        let account = account.ok_or_else(|| refused(format!("there is no service account for {}", wanted.class)))?;
        let account = web::filled(account, &wanted.scope, is_name).map_err(refused)?;
        let ca = self.of.ca.as_deref().map(web::file).transpose().map_err(refused)?;
        let name = outside(wanted.name.as_str());
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "labels": { LABEL.0: LABEL.1 },
                "annotations": { "portreeve.dev/task": wanted.task.to_string(), "portreeve.dev/service-account": account },
            },
            "type": "portreeve.dev/lease",
            "immutable": true,
        });
        let said = session.ask(Method::POST, &self.secrets(), Some(secret)).await?;
        let (StatusCode::CREATED, Some(uid)) = (said.0, at(&said.1, "/metadata/uid").as_str()) else {
            let why = says("no Secret was made", &said);
            return Err(if said.0.is_client_error() { refused(why) } else { NotIssued::Unknown(why) });
        };
        let seconds = wanted.until.0.saturating_sub(now().0).div_euclid(1_000).saturating_add(1).max(SHORTEST);
        let ask = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": self.of.audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": { "apiVersion": "v1", "kind": "Secret", "name": name, "uid": uid },
            },
        });
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}/token", self.of.namespace);
        let said = match session.ask(Method::POST, &path, Some(ask)).await {
            Ok(said) => said,
            Err(error) => return Err(NotIssued::Unknown(error.to_string())),
        };
        let status = at(&said.1, "/status");
        let until = at(status, "/expirationTimestamp").as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let (StatusCode::CREATED, Some(token), Some(until)) = (said.0, at(status, "/token").as_str(), until) else {
            let why = says("no token was made", &said);
            // Without its Secret a token is of no use, if there is one.
            return Err(match self.remove(session, &name, Some(uid)).await {
                Ok(()) => refused(why),
                Err(also) => NotIssued::Unknown(format!("{why}; {also}")),
            });
        };
        let fields = Fields::from([
            ("token".to_owned(), Secret::from(token)),
            ("server".to_owned(), Secret::from(self.of.url.as_str())),
            ("namespace".to_owned(), Secret::from(self.of.namespace.as_str())),
            ("ca".to_owned(), Secret::new(ca.map(|ca| STANDARD.encode(ca.as_bytes())).unwrap_or_default())),
        ]);
        let until = Some(Millis(until.as_millisecond()));
        Ok(Issued { fields, handle: Some(uid.to_owned()), until, keep: None })
    }

    /// Takes a Secret away, which may be gone already, and looks that it is
    async fn remove(&self, session: &Session, name: &str, uid: Option<&str>) -> Result<(), String> {
        let path = format!("{}/{name}", self.secrets());
        let only =
            uid.map(|uid| json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": { "uid": uid } }));
        let said = session.look(Method::DELETE, &path, only).await?;
        // A conflict: what has the name now is not what was made, which is looked at next.
        if !said.0.is_success() && !is_gone(&said) && said.0 != StatusCode::CONFLICT {
            return Err(says("its Secret could not be removed", &said));
        }
        match session.look(Method::GET, &path, None).await? {
            said if is_gone(&said) => Ok(()),
            (StatusCode::OK, body) if uid.is_some_and(|uid| at(&body, "/metadata/uid") != uid) => Ok(()),
            (StatusCode::OK, _) => Err("its Secret is still there".to_owned()),
            said => Err(says("its Secret could not be looked for", &said)),
        }
    }

    /// Whether the API server still knows somebody by a token; what it says, if it does not
    async fn review(&self, session: &Session, token: &Secret) -> Result<Option<String>, String> {
        let ask = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": { "token": token.expose(), "audiences": self.of.audiences },
        });
        let said = session.look(Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews", Some(ask)).await?;
        let status = at(&said.1, "/status");
        if said.0 != StatusCode::CREATED || !status.is_object() {
            return Err(says("the token could not be tried", &said));
        }
        // It is left out where it is false.
        if at(status, "/authenticated") == true {
            return Ok(None);
        }
        Ok(Some(format!("TokenReview: {}", web::line(at(status, "/error").as_str().unwrap_or("not authenticated")))))
    }
}

#[async_trait]
impl Source for Kubernetes {
    async fn issue(&self, wanted: &Wanted) -> Result<Issued, NotIssued> {
        let session = self.session().map_err(NotIssued::Refused)?;
        self.make(&session, wanted).await
    }

    async fn withdraw(&self, held: &Held) -> Result<Withdrawn, String> {
        let session = self.session()?;
        self.remove(&session, &outside(held.name.as_str()), held.handle.as_deref()).await?;
        let Some(token) = held.fields.as_ref().and_then(|fields| fields.get("token")) else {
            // Nobody knows here whether it was shown to the API server just now.
            tokio::time::sleep(REMEMBERED).await;
            let says = "no Secret of its name, for as long as the API server remembers a token without it".to_owned();
            return Ok(Withdrawn::Gone(Evidence::Absent { says }));
        };
        let until = tokio::time::Instant::now() + REMEMBERED;
        loop {
            if let Some(says) = self.review(&session, token).await? {
                return Ok(Withdrawn::Gone(Evidence::Refused { says }));
            }
            if tokio::time::Instant::now() >= until {
                return Err("its Secret is gone, and the API server still takes its token".to_owned());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn sweep(&self, prefix: &str) -> Result<Vec<String>, String> {
        let session = self.session()?;
        let (mut names, mut next) = (Vec::new(), String::new());
        for _ in 0..PAGES_MAX {
            let path = format!(
                "{}?labelSelector={}%3D{}&limit={PAGE}{next}",
                self.secrets(),
                LABEL.0.replace('/', "%2F"),
                LABEL.1
            );
            let said = session.look(Method::GET, &path, None).await?;
            if said.0 != StatusCode::OK {
                return Err(says("Secrets were not listed", &said));
            }
            let items = at(&said.1, "/items").as_array().into_iter().flatten();
            let found = items.filter_map(|item| at(item, "/metadata/name").as_str()).map(inside);
            names.extend(found.filter(|name| name.starts_with(prefix)));
            match at(&said.1, "/metadata/continue").as_str().filter(|more| !more.is_empty()) {
                Some(more) => next = format!("&continue={}", encoded(more)),
                None => return Ok(names),
            }
        }
        Err(format!("there are more than {} Secrets of leases", PAGE.saturating_mul(PAGES_MAX)))
    }

    async fn check(&self) -> Result<(), String> {
        let session = self.session()?;
        let namespace = self.of.namespace.as_str();
        let secrets = |verb| json!({ "namespace": namespace, "resource": "secrets", "verb": verb });
        let mut needs: Vec<Value> = ["create", "get", "list", "delete"].map(secrets).into();
        needs.push(json!({ "group": "authentication.k8s.io", "resource": "tokenreviews", "verb": "create" }));
        for account in self.of.accounts.values().filter(|account| account.fields().next().is_none()) {
            needs.push(json!({ "namespace": namespace, "resource": "serviceaccounts", "subresource": "token",
                "name": account.as_str(), "verb": "create" }));
        }
        for of in needs {
            let ask = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                "spec": { "resourceAttributes": of } });
            let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
            let said = session.look(Method::POST, path, Some(ask)).await?;
            if said.0 != StatusCode::CREATED {
                return Err(says("Portreeve is not let in", &said));
            }
            if at(&said.1, "/status/allowed") != true {
                let text = |key: &str| at(&of, key).as_str().unwrap_or_default().to_owned();
                let (verb, resource, sub) = (text("/verb"), text("/resource"), text("/subresource"));
                let what = if sub.is_empty() { resource } else { format!("{resource}/{sub} of {}", text("/name")) };
                return Err(format!("Portreeve's own account may not {verb} {what}"));
            }
        }
        Ok(())
    }
}

/// Whether the API server says that there is no such Secret; anybody in between may know no such address
fn is_gone((status, body): &Said) -> bool {
    let says = |place: &str, what: &str| at(body, place) == what;
    *status == StatusCode::NOT_FOUND
        && says("/kind", "Status")
        && says("/reason", "NotFound")
        && says("/details/kind", "secrets")
}

/// The name of a lease as the cluster has it, where names have no underscore (RFC 1123)
fn outside(name: &str) -> String {
    name.replace('_', "-")
}

/// The name that stands behind one of the cluster
fn inside(name: &str) -> String {
    name.replace('-', "_")
}

/// Whether a value is good in the name of a service account
fn is_name(value: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !value.is_empty() && value.chars().all(good)
}

/// A member of a query
fn encoded(text: &str) -> String {
    let byte =
        |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}

/// What the API server says of what went wrong; never what it gave
fn says(what: &str, (status, body): &Said) -> String {
    let told = if at(body, "/kind") == "Status" { at(body, "/message").as_str().unwrap_or_default() } else { "" };
    format!("{what}: {}", web::line(&format!("{} {told}", status.as_u16())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_out_and_comes_back() {
        let name = "ptr_9f0c21d4_00000000075bcd15";
        assert_eq!(outside(name), "ptr-9f0c21d4-00000000075bcd15");
        assert_eq!(inside(&outside(name)), name);
    }

    #[test]
    fn only_what_the_api_server_says_of_a_secret_is_gone() {
        let gone = json!({ "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404,
            "details": { "name": "ptr-1", "kind": "secrets" } });
        assert!(is_gone(&(StatusCode::NOT_FOUND, gone.clone())));
        assert!(!is_gone(&(StatusCode::OK, gone.clone())) && !is_gone(&(StatusCode::NOT_FOUND, Value::Null)));
        for (place, other) in [("/kind", "Secret"), ("/reason", "Forbidden"), ("/details/kind", "namespaces")] {
            let mut said = gone.clone();
            *said.pointer_mut(place).unwrap() = other.into();
            assert!(!is_gone(&(StatusCode::NOT_FOUND, said)), "{place}");
        }
    }

    #[test]
    fn what_a_task_says_is_no_more_than_a_part_of_a_name() {
        assert!(is_name("orders") && is_name("eu-42"));
        for bad in ["", "a/token", "..", "A", "a_b", "a?b", "%2e"] {
            assert!(!is_name(bad), "{bad}");
        }
        assert_eq!(encoded("a=&b"), "a%3D%26b");
    }
}
