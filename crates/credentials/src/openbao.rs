//! OpenBao, and HashiCorp Vault with the same API: a token for each lease, with which a secrets engine is asked.
//!
//! All that the token was given ends with it, so that one revocation takes back everything. The token carries the lease's name in
//! its metadata; the server lists tokens by their accessors, with which they can be looked at and ended and nothing else. But
//! ending a token only *begins* to end what it was given. So the order of taking back is: the lease of the engine, and wait
//! for it; the token; look for both. Where that lease is not known, the token goes first and marks what it was given as over:
//! then nothing that is over may be left below the paths that are asked.

use crate::{
    secret::{Fields, Secret},
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn, now},
    vault::Vault,
    web::{self, Api, Said, at},
};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use http::{Method, StatusCode};
use portreeve_core::{
    event::Evidence,
    policy::{BaoAsk, BaoSignIn, OpenBao as Server, Revocation},
    time::Millis,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use zeroize::Zeroizing;

/// A server that tokens are made at
#[derive(Debug)]
pub struct OpenBao {
    of: Server,
    vault: Arc<Vault>,
}

/// Where a token says whose it is
const META: &str = "portreeve";
/// Requests that are under way at once where many things are looked at
const AT_ONCE: usize = 8;
/// Leases below the paths of a source, and folders of them, that are looked at
const LEASES_MAX: usize = 2_000;
/// How long what a token was given gets to end with it, and how often that is looked at
const ENDING: Duration = Duration::from_secs(8);
const LOOK: Duration = Duration::from_millis(100);
/// How long a credential may be good of which nothing is known but that it cannot be taken back
const LONGEST_MS: i64 = 24 * 60 * 60 * 1_000;

/// Portreeve, signed in
struct Session {
    api: Api,
    token: Secret,
    /// Whether the token was made for this session, and ends with it
    own: bool,
}

impl Session {
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Said, NotIssued> {
        self.api.ask(Some(("x-vault-token", self.token.expose())), (method, path), body.as_ref()).await
    }

    async fn post(&self, path: &str, body: Value) -> Result<Said, String> {
        self.ask(Method::POST, path, Some(body)).await.map_err(|error| error.to_string())
    }

    /// What a token with this accessor says of itself; nothing if there is none
    async fn token(&self, accessor: &str) -> Result<Option<Value>, String> {
        let said = self.post("/v1/auth/token/lookup-accessor", json!({ "accessor": accessor })).await?;
        match said {
            (StatusCode::OK, body) => Ok(Some(at(&body, "/data").clone())),
            said if is_gone(&said) => Ok(None),
            said => Err(says("a token could not be looked at", &said)),
        }
    }

    /// The members of a list; none if there is no such list
    async fn list(&self, path: &str) -> Result<Vec<String>, String> {
        let said =
            self.ask(Method::GET, &format!("{path}?list=true"), None).await.map_err(|error| error.to_string())?;
        match said {
            (StatusCode::OK, body) => {
                let keys = body.pointer("/data/keys").and_then(Value::as_array).into_iter().flatten();
                Ok(keys.filter_map(Value::as_str).map(str::to_owned).collect())
            }
            said if is_gone(&said) => Ok(Vec::new()),
            said => Err(says("the server did not list", &said)),
        }
    }

    /// The tokens that carry a name of ours, with their accessors
    async fn ours(&self, is_ours: impl Fn(&str) -> bool) -> Result<Vec<(String, String)>, String> {
        let accessors = self.list("/v1/auth/token/accessors").await?;
        let mut ours = Vec::new();
        for some in accessors.chunks(AT_ONCE) {
            let tokens = try_join_all(some.iter().map(|accessor| self.token(accessor))).await?;
            for (accessor, token) in some.iter().zip(tokens) {
                let name = token.as_ref().and_then(|token| at(token, "/meta").get(META).and_then(Value::as_str));
                ours.extend(name.filter(|name| is_ours(name)).map(|name| (name.to_owned(), accessor.clone())));
            }
        }
        Ok(ours)
    }

    /// Ends a token
    async fn end(&self, accessor: &str) -> Result<(), String> {
        let said = self.post("/v1/auth/token/revoke-accessor", json!({ "accessor": accessor })).await?;
        if said.0.is_success() || is_gone(&said) { Ok(()) } else { Err(says("a token could not be ended", &said)) }
    }

    /// Whether there is a lease of an engine, and if so, whether its time has passed
    async fn lease(&self, id: &str) -> Result<Option<bool>, String> {
        let said = self.post("/v1/sys/leases/lookup", json!({ "lease_id": id })).await?;
        match said {
            (StatusCode::OK, body) => {
                Ok(Some(body.pointer("/data/ttl").and_then(Value::as_i64).is_none_or(|ttl| ttl <= 0)))
            }
            said if is_gone(&said) => Ok(None),
            said => Err(says("a lease could not be looked at", &said)),
        }
    }

    /// Ends what an engine gave, and the token that it was given, and looks that both are gone
    async fn end_both(&self, accessor: &str, lease: &str) -> Result<(), String> {
        let said = self.post("/v1/sys/leases/revoke", json!({ "lease_id": lease, "sync": true })).await?;
        if !said.0.is_success() && !is_gone(&said) {
            return Err(says("the engine's lease could not be ended", &said));
        }
        self.end(accessor).await?;
        if self.token(accessor).await?.is_some() {
            return Err("its token is still there".to_owned());
        }
        match self.lease(lease).await? {
            None => Ok(()),
            Some(_) => Err("the engine's lease is still there".to_owned()),
        }
    }

    /// How many leases there are below a path whose time has passed
    async fn over(&self, below: &str) -> Result<usize, String> {
        let (mut folders, mut leases) = (vec![below.to_owned()], Vec::new());
        while let Some(folder) = folders.pop() {
            for key in self.list(&format!("/v1/sys/leases/lookup/{folder}")).await? {
                let whole = format!("{}/{key}", folder.trim_end_matches('/'));
                if key.ends_with('/') { folders.push(whole) } else { leases.push(whole) }
            }
            if leases.len().saturating_add(folders.len()) > LEASES_MAX {
                return Err(format!("there are more than {LEASES_MAX} leases below {below}"));
            }
        }
        let mut over = 0_usize;
        for some in leases.chunks(AT_ONCE) {
            let looks = try_join_all(some.iter().map(|id| self.lease(id))).await?;
            over = over.saturating_add(looks.into_iter().filter(|look| *look == Some(true)).count());
        }
        Ok(over)
    }

    /// Signs out
    async fn over_and_out(self) {
        if self.own {
            // It has a time of its own at the server, and is known nowhere else.
            drop(self.post("/v1/auth/token/revoke-self", json!({})).await);
        }
    }
}

/// What a lease is at the server: its token's accessor, and what the engine calls what it gave
struct Made {
    accessor: String,
    lease: String,
}

impl OpenBao {
    /// Tokens at this server, which Portreeve signs in to with a secret of this vault
    #[must_use]
    pub fn new(of: Server, vault: Arc<Vault>) -> Self {
        Self { of, vault }
    }

    async fn session(&self) -> Result<Session, String> {
        let mut headers = vec![("x-vault-request", "true".to_owned())];
        headers.extend(self.of.namespace.clone().map(|namespace| ("x-vault-namespace", namespace)));
        let api = Api { url: self.of.url.clone(), terms: web::believing(self.of.ca.as_deref())?, headers };
        let (mount, body) = match &self.of.sign_in {
            BaoSignIn::Token(secret) => {
                let token = self.vault.get(secret).map_err(|error| error.to_string())?;
                return Ok(Session { api, token, own: false });
            }
            BaoSignIn::Jwt { mount, role, file } => {
                let jwt = web::file(file)?;
                (mount, json!({ "role": role, "jwt": jwt.as_str() }))
            }
            BaoSignIn::AppRole { mount, secret } => {
                let both = self.vault.get(secret).map_err(|error| error.to_string())?;
                let form = || format!("the secret {secret} is not of the form ROLE_ID:SECRET_ID");
                let (role, id) = both.expose().split_once(':').ok_or_else(form)?;
                (mount, json!({ "role_id": role, "secret_id": id }))
            }
        };
        let said = api.ask(None, (Method::POST, &format!("/v1/auth/{mount}/login")), Some(&body)).await;
        let said = said.map_err(|error| error.to_string())?;
        match (said.0, said.1.pointer("/auth/client_token").and_then(Value::as_str)) {
            (StatusCode::OK, Some(token)) => Ok(Session { api, token: token.into(), own: true }),
            _ => Err(says("Portreeve is not let in", &said)),
        }
    }

    /// The token of a lease, and until when it counts
    async fn token(
        &self,
        session: &Session,
        wanted: &Wanted,
        ask: &BaoAsk,
    ) -> Result<(Secret, Made, Millis), NotIssued> {
        let seconds = wanted.until.0.saturating_sub(now().0).div_euclid(1_000).saturating_add(1).max(1);
        let ttl = format!("{seconds}s");
        let body = json!({
            "policies": ask.policies,
            "meta": { META: wanted.name.as_str(), "task": wanted.task.to_string() },
            "display_name": wanted.name.as_str(),
            "ttl": ttl,
            "explicit_max_ttl": ttl,
            "no_default_policy": true,
            "renewable": false,
            "type": "service",
        });
        let path = format!("/v1/auth/token/create/{}", self.of.token_role);
        let said = session.ask(Method::POST, &path, Some(body)).await?;
        let auth = at(&said.1, "/auth");
        let (StatusCode::OK, Some(token), Some(accessor), Some(lives)) = (
            said.0,
            at(auth, "/client_token").as_str(),
            at(auth, "/accessor").as_str(),
            at(auth, "/lease_duration").as_i64(),
        ) else {
            return Err(not_made(says("no token was made", &said), said.0));
        };
        let made = Made { accessor: accessor.to_owned(), lease: String::new() };
        if at(auth, "/orphan") != true {
            // It would end with the token that Portreeve signed in with.
            let why = format!("the role {} makes no orphans: set orphan=true", self.of.token_role);
            return Err(self.undo(session, &made, why).await);
        }
        let until = now().plus(lives.saturating_mul(1_000));
        Ok((token.into(), made, until))
    }

    /// Takes back what was begun
    async fn undo(&self, session: &Session, made: &Made, why: String) -> NotIssued {
        match session.end(&made.accessor).await {
            Ok(()) => NotIssued::Refused(why),
            Err(also) => NotIssued::Unknown(format!("{why}; {also}")),
        }
    }

    async fn make(&self, session: &Session, wanted: &Wanted) -> Result<Issued, NotIssued> {
        let refused = NotIssued::Refused;
        let ask =
            self.of.asks.get(&wanted.class).ok_or_else(|| refused(format!("nothing is asked for {}", wanted.class)))?;
        let path = web::filled(&ask.path, &wanted.scope, is_part).map_err(refused)?;
        let with = ask
            .with
            .iter()
            .map(|(name, value)| Ok((name.clone(), web::filled(value, &wanted.scope, |_| true)?.into())));
        let with = with.collect::<Result<serde_json::Map<_, Value>, String>>().map_err(refused)?;
        let (token, mut made, token_until) = self.token(session, wanted, ask).await?;
        let body = Some(Value::Object(with)).filter(|_| !ask.with.is_empty());
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let whole = format!("/v1/{path}");
        let wrap = ask.wrap_ms.map(|ms| format!("{}s", ms.saturating_add(999).div_euclid(1_000)));
        let headers = [Some(("x-vault-token", token.expose())), wrap.as_deref().map(|ttl| ("x-vault-wrap-ttl", ttl))];
        let asked = session.api.ask(headers.into_iter().flatten(), (method, &whole), body.as_ref());
        let said = match asked.await {
            Ok((StatusCode::OK, body)) if wrap.is_some() => match self.unwrapped(&session.api, &path, &body).await {
                Ok(body) => body,
                Err(why) => {
                    // Whoever opened it has what the engine gave: it ends with the token, and that is looked at.
                    drop(session.end(&made.accessor).await);
                    return Err(NotIssued::Unknown(why));
                }
            },
            Ok((StatusCode::OK, body)) => body,
            // What it was given goes with the token; whether that is done is looked at when it is taken back.
            Ok(said) if !said.0.is_client_error() => {
                drop(self.undo(session, &made, String::new()).await);
                return Err(NotIssued::Unknown(says("the engine did not say what it gave", &said)));
            }
            Ok(said) => return Err(self.undo(session, &made, says("the engine gave nothing", &said)).await),
            Err(error) => return Err(NotIssued::Unknown(error.to_string())),
        };
        made.lease = at(&said, "/lease_id").as_str().unwrap_or_default().to_owned();
        let (fields, lives) = (fields(at(&said, "/data")), at(&said, "/lease_duration").as_i64().unwrap_or_default());
        if made.lease.is_empty() || lives <= 0 {
            let why = format!("{path} gives what has no lease: nothing would be taken back");
            // Something was given. That it is gone is known only of what has a lease that can be ended and looked for.
            if made.lease.is_empty() {
                drop(session.end(&made.accessor).await);
                return Err(NotIssued::Unknown(why));
            }
            return Err(match session.end_both(&made.accessor, &made.lease).await {
                Ok(()) => NotIssued::Refused(why),
                Err(also) => NotIssued::Unknown(format!("{why}; {also}")),
            });
        }
        let until = now().plus(lives.saturating_mul(1_000)).min(token_until);
        Ok(Issued { fields, handle: Some(format!("{} {}", made.accessor, made.lease)), until: Some(until), keep: None })
    }

    /// What was wrapped, which its token opens once: if somebody else did, that is noticed
    async fn unwrapped(&self, api: &Api, path: &str, body: &Value) -> Result<Value, String> {
        let token = at(body, "/wrap_info/token").as_str();
        let token = token.ok_or_else(|| format!("{path} was asked for a wrapped answer, and gave another one"))?;
        let opened_before =
            |said: &Said| says("what came wrapped cannot be opened, or somebody else has opened it", said);
        // Whoever opens an answer can wrap it again. By what it was made, the server says, and not who brings it.
        let asked = json!({ "token": token });
        let looked = api.ask([], (Method::POST, "/v1/sys/wrapping/lookup"), Some(&asked)).await;
        let made_by = match looked.map_err(|error| error.to_string())? {
            (StatusCode::OK, body) => at(&body, "/data/creation_path").as_str().unwrap_or_default().to_owned(),
            said => return Err(opened_before(&said)),
        };
        let within = self.of.namespace.as_ref().map(|namespace| format!("{namespace}/{path}"));
        if made_by != path && Some(&made_by) != within.as_ref() {
            return Err(format!("what came wrapped was not made by {path}: somebody else has opened it"));
        }
        let opened = api.ask([("x-vault-token", token)], (Method::POST, "/v1/sys/wrapping/unwrap"), None).await;
        match opened.map_err(|error| error.to_string())? {
            (StatusCode::OK, body) => Ok(body),
            said => Err(opened_before(&said)),
        }
    }

    /// Ends what is known of a lease, and looks that nothing is left
    async fn unmake(&self, session: &Session, held: &Held) -> Result<(), String> {
        let known = held.handle.as_deref().and_then(|handle| handle.split_once(' '));
        if let Some((accessor, lease)) = known {
            return session.end_both(accessor, lease).await;
        }
        for (_, accessor) in session.ours(|name| name == held.name.as_str()).await? {
            session.end(&accessor).await?;
        }
        if !session.ours(|name| name == held.name.as_str()).await?.is_empty() {
            return Err("its token is still there".to_owned());
        }
        let until = tokio::time::Instant::now() + ENDING;
        loop {
            let mut over = 0_usize;
            for below in self.paths() {
                over = over.saturating_add(session.over(&below).await?);
            }
            if over == 0 {
                return Ok(());
            }
            if tokio::time::Instant::now() >= until {
                return Err(format!(
                    "{over} leases are over and still there: what the engine gave may still be usable"
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What stands before the first part of each path that is filled in
    fn paths(&self) -> Vec<String> {
        let fixed = |ask: &BaoAsk| {
            let parts = ask.path.as_str().split('/').take_while(|part| !part.contains('{'));
            parts.collect::<Vec<_>>().join("/")
        };
        let mut all: Vec<String> = self.of.asks.values().map(fixed).collect();
        all.sort();
        all.dedup();
        all
    }
}

#[async_trait]
impl Source for OpenBao {
    async fn issue(&self, wanted: &Wanted) -> Result<Issued, NotIssued> {
        let session = self.session().await.map_err(NotIssued::Refused)?;
        let issued = self.make(&session, wanted).await;
        session.over_and_out().await;
        issued
    }

    async fn withdraw(&self, held: &Held) -> Result<Withdrawn, String> {
        let session = self.session().await?;
        let unmade = self.unmake(&session, held).await;
        session.over_and_out().await;
        unmade?;
        if self.of.revocation == Revocation::ExpiryOnly {
            return Ok(Withdrawn::Left(held.until.unwrap_or_else(|| now().plus(LONGEST_MS))));
        }
        let says = if held.handle.is_some() {
            "neither its token nor the lease of what the engine gave it"
        } else {
            "no token of its name, and no lease that is over below the paths of this source"
        };
        Ok(Withdrawn::Gone(Evidence::Absent { says: says.to_owned() }))
    }

    async fn sweep(&self, prefix: &str) -> Result<Vec<String>, String> {
        let session = self.session().await?;
        let ours = session.ours(|name| name.starts_with(prefix)).await;
        session.over_and_out().await;
        Ok(ours?.into_iter().map(|(name, _)| name).collect())
    }

    async fn check(&self) -> Result<(), String> {
        let session = self.session().await?;
        let create = format!("auth/token/create/{}", self.of.token_role);
        let mut needs = vec![
            (create, "update"),
            ("auth/token/lookup-accessor".to_owned(), "update"),
            ("auth/token/revoke-accessor".to_owned(), "update"),
            ("auth/token/accessors/".to_owned(), "list"),
            ("auth/token/accessors/".to_owned(), "sudo"),
            ("sys/leases/lookup".to_owned(), "update"),
            ("sys/leases/revoke".to_owned(), "update"),
        ];
        for path in self.paths() {
            needs.extend(["list", "sudo"].map(|may| (format!("sys/leases/lookup/{path}/"), may)));
        }
        let paths: Vec<&str> = needs.iter().map(|(path, _)| path.as_str()).collect();
        let said = session.post("/v1/sys/capabilities-self", json!({ "paths": paths })).await;
        session.over_and_out().await;
        let said = said?;
        if said.0 != StatusCode::OK {
            return Err(says("Portreeve's own token is not taken", &said));
        }
        let may = |path: &str, what: &str| {
            let all = said.1.get(path).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            all.into_iter().any(|one| one == what || one == "root")
        };
        match needs.iter().find(|(path, what)| !may(path, what)) {
            Some((path, what)) => Err(format!("Portreeve's own policy does not give it `{what}` on {path}")),
            None => Ok(()),
        }
    }
}

/// What stands in `data`, by name; what is no text there is as JSON spells it
fn fields(data: &Value) -> Fields {
    let text = |value: &Value| match value {
        Value::String(text) => Zeroizing::new(text.clone()),
        other => Zeroizing::new(other.to_string()),
    };
    let members = data.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    members.map(|(name, value)| (name.clone(), Secret::from(text(value).as_str()))).collect()
}

/// Whether a value is one part of a path
fn is_part(value: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !value.is_empty() && !value.starts_with('.') && value.chars().all(good)
}

/// Whether the server says that there is no such token, lease or list. That Portreeve may not look is something else, and so is
/// what anybody in between says who knows no such address
fn is_gone((status, body): &Said) -> bool {
    let told = |error: &Value| {
        error.as_str().is_some_and(|text| text.contains("invalid accessor") || text.contains("invalid lease"))
    };
    let nothing = |all: &Vec<Value>| all.is_empty() && *status == StatusCode::NOT_FOUND;
    let errors = at(body, "/errors").as_array().filter(|_| status.is_client_error());
    errors.is_some_and(|all| nothing(all) || all.iter().any(told))
}

/// What the server refuses was not done; of all else that is not known
fn not_made(why: String, status: StatusCode) -> NotIssued {
    if status.is_client_error() { NotIssued::Refused(why) } else { NotIssued::Unknown(why) }
}

fn says(what: &str, (status, body): &Said) -> String {
    let errors: Vec<&str> = at(body, "/errors").as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    format!("{what}: {}", web::line(&format!("{} {}", status.as_u16(), errors.join("; "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_server_itself_says_is_gone() {
        let said = |status: u16, body: Value| (StatusCode::from_u16(status).unwrap(), body);
        for gone in [
            said(404, json!({ "errors": [] })),
            said(400, json!({ "errors": ["invalid lease"] })),
            said(403, json!({ "errors": ["1 error occurred:\n\t* invalid accessor\n"] })),
        ] {
            assert!(is_gone(&gone), "{gone:?}");
        }
        for other in [
            said(404, Value::Null),
            said(404, json!({})),
            said(404, json!({ "errors": "none" })),
            said(404, json!({ "message": "no Route matched with those values" })),
            said(404, json!({ "errors": ["no handler for route \"sys/leases/lookup\". route entry not found."] })),
            said(403, json!({ "errors": ["permission denied"] })),
            said(400, json!({ "errors": [] })),
            said(503, json!({ "errors": ["invalid lease"] })),
        ] {
            assert!(!is_gone(&other), "{other:?}");
        }
    }
}
