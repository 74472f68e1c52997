//! What Google answers to a workload that its pool of identities believes, as its documentation and its own clients have it: no
//! Google Cloud can be had for a test.

use super::http::{self, Response, header};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The provider that believes who signs here
pub(crate) const AUDIENCE: &str =
    "//iam.googleapis.com/projects/4711/locations/global/workloadIdentityPools/agents/providers/house";
/// Whom the provider lets in, and who says so
const ISSUER: &str = "https://cluster.example";
const SUBJECT: &str = "system:serviceaccount:agents:portreeve";
/// The accounts that somebody let in may ask for
pub(crate) const ACCOUNTS: [&str; 2] =
    ["orders-eu@shop.iam.gserviceaccount.com", "orders-writer@shop.iam.gserviceaccount.com"];

/// What it does otherwise than it is documented
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Fault {
    /// Nothing
    #[default]
    None,
    /// A token is for an hour more than it was asked for
    Longer,
    /// A token is over already
    Over,
    /// A token does not say until when
    Endless,
    /// A token is nothing that goes into a header
    Odd,
    /// What is exchanged is no bearer token
    Bound,
    /// It makes a token, and its answer does not arrive
    Breaks,
    /// It makes nothing, and fails
    Fails,
    /// It does not narrow
    Wide,
    /// It says in its answer what it was shown
    Echoes,
}

#[derive(Default)]
struct State {
    /// Tokens that count, with what they are
    tokens: BTreeMap<String, Value>,
    fault: Fault,
    asked: Vec<(String, Value)>,
}

/// The server
pub(crate) struct Google {
    port: u16,
    key: EncodingKey,
    state: Arc<Mutex<State>>,
}

impl Google {
    /// A running server
    pub(crate) fn start() -> Self {
        let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let pkcs8 = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        // PKCS#1 is what PKCS#8 has in it, behind 26 bytes for a key of this size.
        let key = EncodingKey::from_rsa_der(&pkcs8.as_ref()[26..]);
        let believed = DecodingKey::from_rsa_der(aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref());
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let port = http::serve(move |head, body| {
            answer(head, body, &believed, &mut shared.lock().unwrap_or_else(PoisonError::into_inner))
        });
        Self { port, key, state }
    }

    /// Its address
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Writes a token of the workload that is believed, as its platform does
    pub(crate) fn identify(&self, path: &Path) {
        self.identify_as(path, SUBJECT);
    }

    /// The same of somebody else
    pub(crate) fn identify_as(&self, path: &Path, subject: &str) {
        let now = jiff::Timestamp::now().as_second();
        let claims =
            json!({ "iss": ISSUER, "sub": subject, "aud": format!("https:{AUDIENCE}"), "iat": now, "exp": now + 600 });
        let header = Header { kid: Some("1".to_owned()), ..Header::new(Algorithm::RS256) };
        std::fs::write(path, jsonwebtoken::encode(&header, &claims, &self.key).unwrap()).unwrap();
    }

    /// Does something else from now on
    pub(crate) fn does(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// What was asked for at this place, the latest last
    pub(crate) fn asked(&self, place: &str) -> Vec<Value> {
        self.state().asked.iter().filter(|(at, _)| at.contains(place)).map(|(_, asked)| asked.clone()).collect()
    }

    /// What somebody with this token is let in to
    pub(crate) fn lets_in(&self, token: &str) -> Option<Value> {
        let state = self.state();
        let known = state.tokens.get(token)?;
        let until: jiff::Timestamp = known["until"].as_str()?.parse().ok()?;
        (until > jiff::Timestamp::now()).then(|| known.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn says(status: u16, body: &Value) -> Option<Response> {
    Some(Response { status, headers: Vec::new(), body: body.to_string().into_bytes() })
}

/// The end of a token that is made now, as it is written
fn end(seconds: i64) -> String {
    jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + seconds).unwrap().to_string()
}

fn answer(head: &str, body: &[u8], believed: &DecodingKey, state: &mut State) -> Option<Response> {
    let mut words = head.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let account =
        path.strip_prefix("/v1/projects/-/serviceAccounts/").and_then(|rest| rest.strip_suffix(":generateAccessToken"));
    match (method, path, account) {
        // A header of who asks can make it fail.
        ("POST", "/v1/token", _) if header(head, "authorization").is_none() => {
            let form: BTreeMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
            state.asked.push((path.to_owned(), json!(form)));
            exchange(&form, believed, state)
        }
        ("POST", _, Some(account)) => {
            let asked: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
            state.asked.push((path.to_owned(), asked.clone()));
            let bearer = header(head, "authorization").and_then(|value| value.strip_prefix("Bearer "));
            generate(account, bearer, &asked, state)
        }
        _ => says(404, &json!({ "error": { "code": 404, "message": "Not Found", "status": "NOT_FOUND" } })),
    }
}

/// STS: RFC 8693
fn exchange(form: &BTreeMap<String, String>, believed: &DecodingKey, state: &mut State) -> Option<Response> {
    let get = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let bad = |error: &str, why: &str| says(400, &json!({ "error": error, "error_description": why }));
    let access = "urn:ietf:params:oauth:token-type:access_token";
    if get("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange" || get("requested_token_type") != access {
        return bad("invalid_request", "Invalid value for \"grant_type\" or \"requested_token_type\".");
    }
    if state.fault == Fault::Echoes {
        return bad("invalid_grant", &format!("The token {} is not good.", get("subject_token")));
    }
    let made = match get("subject_token_type") {
        "urn:ietf:params:oauth:token-type:jwt" => {
            if get("audience") != AUDIENCE || get("scope") != "https://www.googleapis.com/auth/cloud-platform" {
                return bad(
                    "invalid_target",
                    "The target service indicated by the \"audience\" parameters is invalid.",
                );
            }
            // Neither EdDSA nor anything else.
            let mut wanted = Validation::new(Algorithm::RS256);
            wanted.set_issuer(&[ISSUER]);
            wanted.set_audience(&[AUDIENCE, &format!("https:{AUDIENCE}")]);
            wanted.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
            let Ok(said) = jsonwebtoken::decode::<Value>(get("subject_token"), believed, &wanted) else {
                return bad("invalid_grant", "The ID Token is not good: its signature, issuer, audience or time.");
            };
            if said.claims["sub"] != SUBJECT {
                return says(
                    403,
                    &json!({ "error": "unauthorized_client", "error_description": "The given credential is rejected by the attribute condition." }),
                );
            }
            json!({ "federated": true, "until": end(3_599) })
        }
        kind if kind == access => {
            let Some(wide) = state.tokens.get(get("subject_token")).cloned() else {
                return bad("invalid_grant", "The subject token is not good.");
            };
            let Ok(options) = serde_json::from_str::<Value>(get("options")) else {
                return bad("invalid_request", "Invalid \"options\".");
            };
            match state.fault {
                Fault::Wide => return bad("invalid_request", "The access boundary is not good."),
                _ => {
                    json!({ "account": wide["account"], "until": wide["until"], "boundary": options["accessBoundary"] })
                }
            }
        }
        _ => return bad("invalid_request", "Invalid value for \"subject_token_type\"."),
    };
    let token = format!("ya29.d.{:032}", state.tokens.len());
    state.tokens.insert(token.clone(), made);
    let kind = if state.fault == Fault::Bound { "DPoP" } else { "Bearer" };
    says(200, &json!({ "access_token": token, "issued_token_type": access, "token_type": kind, "expires_in": 3_599 }))
}

/// IAM Service Account Credentials
fn generate(account: &str, bearer: Option<&str>, asked: &Value, state: &mut State) -> Option<Response> {
    let error = |code: u16, status: &str, message: &str| {
        says(
            code,
            &json!({ "error": { "code": code, "message": message, "status": status, "details": [{ "reason": "TEST" }] } }),
        )
    };
    if state.fault == Fault::Fails {
        return error(503, "UNAVAILABLE", "The service is currently unavailable.");
    }
    if !bearer.and_then(|bearer| state.tokens.get(bearer)).is_some_and(|known| known["federated"] == true) {
        return error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.");
    }
    if !ACCOUNTS.contains(&account) {
        let message = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).";
        return error(403, "PERMISSION_DENIED", message);
    }
    let seconds = asked["lifetime"].as_str().and_then(|text| text.strip_suffix('s')?.parse::<i64>().ok());
    let (Some(seconds), Some(scopes)) = (seconds, asked["scope"].as_array()) else {
        return error(400, "INVALID_ARGUMENT", "Request contains an invalid argument.");
    };
    if !(1..=3_600).contains(&seconds) || scopes.is_empty() {
        return error(400, "INVALID_ARGUMENT", "Request contains an invalid argument.");
    }
    let (mut token, mut until) = (format!("ya29.c.{:032}", state.tokens.len()), end(seconds));
    match state.fault {
        Fault::Longer => until = end(seconds + 3_600),
        Fault::Over => until = end(-1),
        Fault::Odd => token.push_str("\r\nx: y"),
        _ => {}
    }
    state.tokens.insert(token.clone(), json!({ "account": account, "scope": scopes, "until": until }));
    match state.fault {
        Fault::Breaks => None,
        Fault::Endless => says(200, &json!({ "accessToken": token })),
        _ => says(200, &json!({ "accessToken": token, "expireTime": until })),
    }
}
