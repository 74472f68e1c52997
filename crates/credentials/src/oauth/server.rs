//! Authorization servers: what each says of itself, and how it is asked as its client.

use crate::{
    means::Means,
    secret::Secret,
    source::{Held, NotIssued, Withdrawn},
    web::{self, Members, members, text, token},
};
use http::{Method, StatusCode};
use portreeve_core::{
    event::Evidence,
    policy::{ClientShows, OauthClient, Revocation},
    time::Millis,
    value::Value,
};
use portreeve_identity::{
    discovery::{self, Server},
    mint::nonce,
    oidc::client::{ASSERTION_TYPE, basic},
};
use portreeve_upstream::fetch::{Hosts, Sent};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

/// What authorization servers said of themselves lately, by their name
#[derive(Debug, Default)]
pub struct Servers(Mutex<BTreeMap<String, (Millis, Arc<Server>)>>);

/// For how long the document is kept, in milliseconds
const KEPT_MS: i64 = 10 * 60 * 1_000;
/// How long a token may live whose answer never came, as far as anybody knows, in milliseconds
const UNKNOWN_MS: i64 = 60 * 60 * 1_000;
/// Characters of a scope that nobody asked for, as it is told
const SCOPE_SHOWN_MAX: usize = 64;

/// We, as a client of an authorization server
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) at: &'a OauthClient,
    pub(crate) means: &'a Means,
}

/// What a server gave
pub(crate) struct Granted {
    /// The token that is used
    pub(crate) access: Secret,
    /// The token that the next one is had with, if it gave one
    pub(crate) refresh: Option<Secret>,
    /// When the first is over; nothing if it does not say
    pub(crate) until: Option<Millis>,
    /// Why it is not used, if it is not what was asked for
    pub(crate) wrong: Option<String>,
    /// What it may be used for
    pub(crate) scope: BTreeSet<String>,
}

/// How a request shows that it is ours
#[derive(Default)]
struct Shows {
    authorization: Option<Zeroizing<String>>,
    form: Vec<(&'static str, Zeroizing<String>)>,
}

/// Why a server gave nothing
pub(crate) enum Refused {
    /// It said why (RFC 6749, 5.2)
    Error(String),
    /// It did not come to that, or nobody knows what came of it
    Other(NotIssued),
}

impl From<Refused> for NotIssued {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Error(error) => Self::Refused(format!("the authorization server refused: {error}")),
            Refused::Other(other) => other,
        }
    }
}

impl fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("at", self.at).finish_non_exhaustive()
    }
}

impl Client<'_> {
    fn now(&self) -> Millis {
        self.means.clock.now()
    }

    /// Where its document and what that names may be
    fn hosts(&self) -> Hosts {
        if self.at.private { Hosts::Private } else { Hosts::Public }
    }

    /// What the server says of itself, at most ten minutes ago
    pub(crate) async fn server(&self) -> Result<Arc<Server>, String> {
        let now = self.now();
        let known = self.means.servers.0.lock().unwrap_or_else(PoisonError::into_inner).get(&self.at.issuer).cloned();
        match known {
            Some((at, server)) if (0..KEPT_MS).contains(&now.since(at)) => Ok(server),
            _ => self.discover().await,
        }
    }

    /// What it says now
    async fn discover(&self) -> Result<Arc<Server>, String> {
        let issuer = &self.at.issuer;
        let places = discovery::places(issuer).ok_or_else(|| format!("{issuer} is no address"))?;
        let mut why = String::new();
        for place in places {
            let sent = Sent { method: Method::GET, headers: &[], body: Vec::new() };
            let answer = match web::send_on(None, self.hosts(), &place, sent).await {
                Ok(answer) => answer,
                Err(error) => {
                    why = format!("{place}: {error}");
                    continue;
                }
            };
            if answer.status != StatusCode::OK {
                why = format!("{place}: it answered {}", answer.status);
                continue;
            }
            // One of this machine may do without TLS, as its name already says.
            let plain = self.at.private && issuer.starts_with("http://");
            let found = discovery::server(&answer.body, issuer, plain).map_err(|error| format!("{place}: {error}"))?;
            let found = Arc::new(found);
            let mut known = self.means.servers.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(issuer.clone(), (self.now(), Arc::clone(&found)));
            return Ok(found);
        }
        Err(why)
    }

    /// Whether the server can do what the policy says of taking back
    pub(crate) fn able(&self, server: &Server) -> Result<(), String> {
        let missing = match self.at.revocation {
            Revocation::ExpiryOnly => None,
            _ if server.revocation.is_none() => Some("revocation_endpoint"),
            _ if server.introspection.is_none() => Some("introspection_endpoint"),
            _ => None,
        };
        missing.map_or(Ok(()), |missing| {
            let says = self.at.revocation;
            Err(format!("the policy says that taking back is {says}, and the server has no {missing}"))
        })
    }

    /// All ways in which we can show who we are: with the secret, and with the one before it while that is still tried
    fn shows(&self, server: &Server) -> Result<Vec<Shows>, String> {
        let client_id = &self.at.client_id;
        let id = || ("client_id", Zeroizing::new(client_id.clone()));
        let asserts = |assertion: Zeroizing<String>| {
            let kind = ("client_assertion_type", Zeroizing::new(ASSERTION_TYPE.to_owned()));
            vec![Shows { authorization: None, form: vec![id(), kind, ("client_assertion", assertion)] }]
        };
        Ok(match &self.at.shows {
            ClientShows::Nothing => vec![Shows { authorization: None, form: vec![id()] }],
            ClientShows::Secret(name) => {
                let secrets = self.means.vault.all(name, self.now()).map_err(|error| error.to_string())?;
                let one = |secret: Secret| {
                    if server.basic {
                        let shown = Zeroizing::new(basic(client_id, secret.expose()));
                        return Shows { authorization: Some(shown), form: Vec::new() };
                    }
                    let secret = ("client_secret", Zeroizing::new(secret.expose().to_owned()));
                    Shows { authorization: None, form: vec![id(), secret] }
                };
                secrets.into_iter().map(one).collect()
            }
            ClientShows::Key => {
                let signed = self.means.minter.client(client_id, &self.at.issuer, self.now());
                asserts(Zeroizing::new(signed.ok_or("the key `upstream` does not sign")?))
            }
            ClientShows::File(path) => asserts(web::jwt(path)?),
        })
    }

    /// Sends a form as the client; what is answered, and its members, if it has any
    async fn post(
        &self,
        (server, url): (&Server, &Url),
        form: &[(&str, &str)],
    ) -> Result<(StatusCode, Members), NotIssued> {
        let mut refused = None;
        for shows in self.shows(server).map_err(NotIssued::Refused)? {
            let body = {
                let mut body = form_urlencoded::Serializer::new(String::new());
                body.extend_pairs(form).extend_pairs(shows.form.iter().map(|(name, value)| (*name, value.as_str())));
                body.finish().into_bytes()
            };
            let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
            headers.extend(shows.authorization.as_ref().map(|value| ("authorization", value.as_str())));
            let sent = Sent { method: Method::POST, headers: &headers, body };
            let answer = web::send_on(None, self.hosts(), url.as_str(), sent).await?;
            let members = members(&answer.body).unwrap_or_default();
            let unknown =
                answer.status == StatusCode::UNAUTHORIZED || text(&members, "error") == Some("invalid_client");
            if !unknown {
                return Ok((answer.status, members));
            }
            refused.get_or_insert((answer.status, members));
        }
        refused.ok_or_else(|| NotIssued::Refused("there is nothing to show the server who asks".to_owned()))
    }

    /// Asks for a token that is good for no more than this
    pub(crate) async fn token(
        &self,
        server: &Server,
        form: &[(&str, &str)],
        scope: &[String],
    ) -> Result<Granted, Refused> {
        let joined = scope.join(" ");
        let mut form = form.to_vec();
        form.push(("scope", joined.as_str()));
        form.extend(self.at.resource.as_deref().map(|resource| ("resource", resource)));
        self.tokens(server, &form, Some(scope)).await
    }

    /// What the token endpoint gives for a form
    pub(crate) async fn tokens(
        &self,
        server: &Server,
        form: &[(&str, &str)],
        scope: Option<&[String]>,
    ) -> Result<Granted, Refused> {
        let (status, members) = self.post((server, &server.token), form).await.map_err(Refused::Other)?;
        if status.is_client_error() {
            return Err(Refused::Error(word(text(&members, "error").unwrap_or_default(), status)));
        }
        let unknown = |what: &str| Refused::Other(NotIssued::Unknown(what.to_owned()));
        if status != StatusCode::OK {
            return Err(unknown(&format!("the token endpoint answered {status}")));
        }
        granted(&members, scope, self.now()).ok_or_else(|| unknown("what the token endpoint answered is no token"))
    }

    /// Whether a token is good, if the server says that of tokens
    async fn is_active(&self, server: &Server, token: &Secret) -> Result<Option<bool>, String> {
        let Some(url) = &server.introspection else { return Ok(None) };
        let form = [("token", token.expose()), ("token_type_hint", "access_token")];
        let (status, members) = self.post((server, url), &form).await.map_err(|error| error.to_string())?;
        match (status, members.get("active")) {
            (StatusCode::OK, Some(Value::Bool(active))) => Ok(Some(*active)),
            _ => Err(format!("the introspection endpoint answered {status}: {}", word_of(&members, status))),
        }
    }

    /// Tells the server that a token is not needed any more; whether it takes that
    pub(crate) async fn revoke(&self, server: &Server, token: &Secret, hint: &str) -> Result<bool, String> {
        let Some(url) = &server.revocation else { return Ok(false) };
        let form = [("token", token.expose()), ("token_type_hint", hint)];
        let (status, members) = self.post((server, url), &form).await.map_err(|error| error.to_string())?;
        // RFC 7009, 2.2: also for a token that it does not know.
        if status == StatusCode::OK {
            return Ok(true);
        }
        Err(format!("the revocation endpoint answered {status}: {}", word_of(&members, status)))
    }

    /// What keeps a new token from being used, if anything does
    pub(crate) async fn keeps(&self, server: &Server, granted: &Granted) -> Option<String> {
        if let Some(wrong) = &granted.wrong {
            return Some(wrong.clone());
        }
        if self.at.revocation == Revocation::ExpiryOnly {
            return granted.until.is_none().then(|| "the server gave a token without an end (expires_in)".to_owned());
        }
        // What it does not call good now, it could not be asked about once the token was taken back.
        match self.is_active(server, &granted.access).await {
            Ok(Some(true)) => None,
            Ok(_) => Some("the server does not say of its own token that it is good (introspection)".to_owned()),
            Err(why) => Some(why),
        }
    }

    /// Takes back a token of an account, and looks that the account is still good then (RFC 7009, 2.1, lets servers take both);
    /// nothing is done where the policy does not say that tokens are taken back
    pub(crate) async fn goes_alone(&self, server: &Server, access: &Secret, refresh: &Secret) -> Result<(), String> {
        self.able(server)?;
        if self.at.revocation == Revocation::ExpiryOnly {
            return Ok(());
        }
        self.revoke(server, access, "access_token").await?;
        match self.is_active(server, refresh).await? {
            Some(true) => Ok(()),
            _ => Err("the server takes the whole account back with one token of it: only `revocation = \"expiry only\"` is honest \
                here, and the policy says otherwise"
                .to_owned()),
        }
    }

    /// Takes back what was kept, and looks that it is of no use; where nothing can be looked at, the server is told `out_of_courtesy`
    pub(crate) async fn withdraw(&self, held: &Held, out_of_courtesy: bool) -> Result<Withdrawn, String> {
        let now = self.now();
        if held.until.is_some_and(|until| until <= now) {
            return Ok(Withdrawn::Gone(Evidence::Expired));
        }
        let left = Withdrawn::Left(held.until.unwrap_or_else(|| now.plus(UNKNOWN_MS)));
        // One whose answer never came is nobody's, and is not known here.
        let Some(kept) = &held.keep else { return Ok(left) };
        let honest = self.at.revocation != Revocation::ExpiryOnly;
        if !honest && !out_of_courtesy {
            return Ok(left);
        }
        let server = match self.server().await {
            Ok(server) => server,
            Err(_) if !honest => return Ok(left),
            Err(why) => return Err(why),
        };
        let mut active = Some(false);
        for (token, hint) in kept.expose().split(' ').zip(["access_token", "refresh_token"]) {
            let token = Secret::from(token);
            match self.revoke(&server, &token, hint).await {
                Err(why) if honest => return Err(why),
                _ => {}
            }
            if honest && hint == "access_token" {
                active = self.is_active(&server, &token).await?;
            }
        }
        match (honest, active) {
            (false, _) => Ok(left),
            (true, Some(false)) => {
                let says = "the server says of the token that it is not active (introspection)".to_owned();
                Ok(Withdrawn::Gone(Evidence::Absent { says }))
            }
            (true, Some(true)) => Err("the server took the token back, and says that it is still active".to_owned()),
            (true, None) => Err("the server has no introspection endpoint any more".to_owned()),
        }
    }

    /// Whether it can be reached, does what the policy says, and knows us
    pub(crate) async fn check(&self) -> Result<(), String> {
        let server = self.discover().await?;
        self.able(&server)?;
        // Also where there is nothing to ask it.
        self.shows(&server)?;
        // A token that nobody ever had: the answer says whether it lets us ask.
        let token = nonce().map(Secret::new).ok_or("the system has no randomness")?;
        if server.introspection.is_some() {
            return match self.is_active(&server, &token).await? {
                Some(true) => Err("the server calls a token good that it never gave (introspection)".to_owned()),
                _ => Ok(()),
            };
        }
        self.revoke(&server, &token, "access_token").await.map(drop)
    }
}

/// What is kept of tokens, to take them back with
pub(crate) fn kept(granted: &Granted, refresh: bool) -> Secret {
    let mut all = Zeroizing::new(granted.access.expose().to_owned());
    if let Some(token) = granted.refresh.as_ref().filter(|_| refresh) {
        all.push(' ');
        all.push_str(token.expose());
    }
    Secret::new(all.to_string())
}

/// What a good answer of a token endpoint gives (RFC 6749, 5.1); nothing if it is none
fn granted(members: &Members, asked: Option<&[String]>, now: Millis) -> Option<Granted> {
    let access = token(members, "access_token")?;
    let seconds = members.get("expires_in").map(|said| match said {
        Value::Number(number) => number.to_i64().filter(|seconds| *seconds > 0)?.checked_mul(1_000),
        _ => None,
    });
    let until = seconds.flatten().map(|ms| now.plus(ms));
    // What it does not say is as it was asked for.
    let scope: BTreeSet<String> = match text(members, "scope") {
        Some(scope) => scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
        None => asked.unwrap_or_default().iter().cloned().collect(),
    };
    let bearer = text(members, "token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("Bearer"));
    let more = asked.and_then(|asked| scope.iter().find(|scope| !asked.contains(scope)));
    let wrong = match (bearer, more) {
        _ if seconds == Some(None) => {
            Some("the server says of its token no time that it lives (expires_in)".to_owned())
        }
        (false, _) => Some("the server gave a token that is no bearer token (token_type)".to_owned()),
        (true, Some(more)) => {
            let more: String = more.chars().take(SCOPE_SHOWN_MAX).collect();
            Some(format!("the server gave more than was asked for: {}", portreeve_core::visible::line(&more)))
        }
        (true, None) => None,
    };
    Some(Granted { access, refresh: token(members, "refresh_token"), until, wrong, scope })
}

fn word_of(members: &Members, status: StatusCode) -> String {
    word(text(members, "error").unwrap_or_default(), status)
}

/// What a server gives as the reason, if it is one of the short words that it should be
fn word(error: &str, status: StatusCode) -> String {
    let plain =
        (1..=40).contains(&error.len()) && error.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain { error.to_owned() } else { status.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_bearer_token_for_no_more_than_was_asked() {
        let asked = ["a".to_owned(), "b".to_owned()];
        let read = |json: &str| granted(&members(json.as_bytes()).unwrap(), Some(&asked), Millis(1_000));
        let good = read(r#"{"access_token":"x","token_type":"bearer","expires_in":5,"scope":"b"}"#).unwrap();
        assert_eq!((good.until, good.wrong), (Some(Millis(6_000)), None));
        let silent = read(r#"{"access_token":"x","token_type":"Bearer"}"#).unwrap();
        assert!(silent.wrong.is_none() && silent.until.is_none() && silent.scope.len() == 2);
        for wrong in [
            r#"{"access_token":"x","token_type":"N_A"}"#,
            r#"{"access_token":"x","token_type":"DPoP"}"#,
            r#"{"access_token":"x"}"#,
            r#"{"access_token":"x","token_type":"Bearer","scope":"a c"}"#,
            r#"{"access_token":"x","token_type":"Bearer","expires_in":"5"}"#,
            r#"{"access_token":"x","token_type":"Bearer","expires_in":0}"#,
            r#"{"access_token":"x","token_type":"Bearer","expires_in":9223372036854775807}"#,
        ] {
            assert!(read(wrong).unwrap().wrong.is_some(), "{wrong}");
        }
        for bad in [
            r#"{"token_type":"Bearer"}"#,
            r#"{"access_token":"","token_type":"Bearer"}"#,
            r#"{"access_token":"x y","token_type":"Bearer"}"#,
        ] {
            assert!(read(bad).is_none(), "{bad}");
        }
        assert!(members(br#"{"access_token":"x","access_token":"y"}"#).is_none());
    }

    #[test]
    fn what_a_server_gives_as_the_reason_is_a_word_or_nothing() {
        assert_eq!(word("invalid_grant", StatusCode::BAD_REQUEST), "invalid_grant");
        for bad in ["", "a secret: x", "\u{1b}[0m", &"x".repeat(41)] {
            assert_eq!(word(bad, StatusCode::BAD_REQUEST), "400 Bad Request");
        }
    }
}
