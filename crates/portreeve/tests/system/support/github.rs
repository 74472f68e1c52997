//! What GitHub answers to a GitHub App, as its documentation has it: no GitHub can be had for a test.

use super::http::{self, Response, header};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::TcpStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The app, and its installation
pub(crate) const APP: &str = "Iv23liOfTheTest";
pub(crate) const INSTALLATION: u64 = 4_711;

/// What it does otherwise than it is documented
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Fault {
    /// Nothing
    #[default]
    None,
    /// A token may write what it was asked to read
    Wider,
    /// A token is for another repository, too
    More,
    /// A token is for all repositories
    Every,
    /// A token goes on although it was given back
    Stays,
    /// It makes a token, and its answer does not arrive
    Breaks,
    /// It makes nothing, and fails
    Fails,
}

#[derive(Default)]
struct State {
    tokens: BTreeMap<String, Value>,
    made: usize,
    fault: Fault,
    asked: Vec<String>,
}

/// The server
pub(crate) struct GitHub {
    port: u16,
    key: String,
    state: Arc<Mutex<State>>,
}

impl GitHub {
    /// A running server
    pub(crate) fn start() -> Self {
        let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let pkcs8 = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        // GitHub gives keys as PKCS#1, which is what PKCS#8 has in it, behind 26 bytes for a key of this size.
        let text = base64::engine::general_purpose::STANDARD.encode(&pkcs8.as_ref()[26..]);
        let key = format!("-----BEGIN RSA PRIVATE KEY-----\n{text}\n-----END RSA PRIVATE KEY-----\n");
        let public = aws_lc_rs::signature::KeyPair::public_key(&pair);
        let believed = DecodingKey::from_rsa_der(public.as_ref());
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let port = http::serve(move |head, body| {
            let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
            answer(head, &body, &believed, &mut shared.lock().unwrap_or_else(PoisonError::into_inner))
        });
        Self { port, key, state }
    }

    /// Its address
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The app's private key, as GitHub gives it
    pub(crate) fn key(&self) -> &str {
        self.key.trim()
    }

    /// Does something else from now on
    pub(crate) fn does(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// What is asked for, one line each: method, path, kind of token
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    /// How many tokens are good
    pub(crate) fn tokens(&self) -> usize {
        self.state().tokens.len()
    }

    /// Whether somebody with this token is let in
    pub(crate) fn lets_in(&self, token: &str) -> bool {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("user-agent", "test")];
        http::exchange(stream, &http::request("GET", "/installation/repositories", &headers, b"")).status == 200
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn says(status: u16, body: &Value) -> Option<Response> {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    Some(Response { status, headers: Vec::new(), body })
}

fn answer(head: &str, body: &Value, believed: &DecodingKey, state: &mut State) -> Option<Response> {
    let mut words = head.split(' ');
    let (method, path) = (words.next()?, words.next()?.split('?').next()?);
    let kind = header(head, "x-github-stateless-s2s-token").unwrap_or_default();
    state.asked.push(format!("{method} {path} {kind}"));
    let bad =
        |message: &str| says(401, &json!({ "message": message, "documentation_url": "https://docs.github.com/rest" }));
    if header(head, "user-agent").is_none() {
        return says(403, &json!({ "message": "Request forbidden by administrative rules." }));
    }
    let Some(bearer) = header(head, "authorization").and_then(|value| value.strip_prefix("Bearer ")) else {
        return bad("Requires authentication");
    };
    let own = format!("/app/installations/{INSTALLATION}");
    if path.starts_with("/app/") {
        let mut wanted = Validation::new(Algorithm::RS256);
        wanted.set_issuer(&[APP]);
        wanted.set_required_spec_claims(&["iss", "exp", "iat"]);
        wanted.validate_aud = false;
        let Ok(said) = jsonwebtoken::decode::<Value>(bearer, believed, &wanted) else {
            return bad("A JSON web token could not be decoded");
        };
        if said.claims["exp"].as_i64()? - said.claims["iat"].as_i64()? > 600 {
            return bad("'Expiration time' claim ('exp') is too far in the future");
        }
        if path == own {
            return says(200, &json!({ "id": INSTALLATION, "app_slug": "test", "suspended_at": null }));
        }
        if (method, path) != ("POST", &format!("{own}/access_tokens")) {
            return says(404, &json!({ "message": "Not Found" }));
        }
        return issue(body, state);
    }
    let Some(token) = state.tokens.get(bearer).cloned() else { return bad("Bad credentials") };
    match (method, path) {
        ("DELETE", "/installation/token") => {
            if state.fault != Fault::Stays {
                state.tokens.remove(bearer);
            }
            says(204, &Value::Null)
        }
        ("GET", "/installation/repositories") => {
            says(200, &json!({ "total_count": 1, "repositories": token["repositories"] }))
        }
        _ => says(404, &json!({ "message": "Not Found" })),
    }
}

fn issue(body: &Value, state: &mut State) -> Option<Response> {
    if state.fault == Fault::Fails {
        return says(503, &json!({ "message": "Service unavailable" }));
    }
    let names: Vec<&str> = body["repositories"].as_array()?.iter().filter_map(Value::as_str).collect();
    if names.contains(&"missing") {
        let message =
            "There is at least one repository that does not exist or is not accessible to the parent installation.";
        return says(422, &json!({ "message": message }));
    }
    let mut permissions = body["permissions"].clone();
    permissions["metadata"] = json!("read");
    let mut repositories: Vec<Value> =
        names.iter().map(|name| json!({ "id": 1, "name": name, "full_name": format!("octo/{name}") })).collect();
    match state.fault {
        Fault::Wider => permissions["contents"] = json!("write"),
        Fault::More => repositories.push(json!({ "id": 2, "name": "other", "full_name": "octo/other" })),
        _ => {}
    }
    state.made += 1;
    let token = format!("ghs_{}{:036}", BASE64.encode("t"), state.made);
    let expires = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 3_600;
    let expires = i64::try_from(expires).unwrap();
    let mut said = json!({
        "token": token,
        "expires_at": jiff::Timestamp::from_second(expires).unwrap().to_string(),
        "permissions": permissions,
        "repository_selection": "selected",
        "repositories": repositories,
    });
    if state.fault == Fault::Every {
        said.as_object_mut()?.remove("repositories");
        said["repository_selection"] = json!("all");
    }
    state.tokens.insert(token, said.clone());
    if state.fault == Fault::Breaks { None } else { says(201, &said) }
}
