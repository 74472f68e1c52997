//! An OpenID Connect provider that does what a test wants, right or wrong.

use crate::support::issuer::{Signer, now};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use portreeve_core::hash::Hash;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};
use url::Url;

/// What was sent to the token endpoint, with `authorization` from the headers
pub(super) type Form = BTreeMap<String, String>;
type Forge = Box<dyn Fn(&Value) -> String + Send>;

pub(super) struct Provider {
    /// Its name: the `iss` of its tokens
    pub(super) name: String,
    world: Arc<Mutex<World>>,
}

struct World {
    name: String,
    signer: Signer,
    /// Codes that were given and not used: what was asked for, and what the token will say
    codes: BTreeMap<String, (BTreeMap<String, String>, Value)>,
    /// How often a device has still to wait, and what it gets
    device: (usize, Result<Value, String>),
    forge: Option<Forge>,
    forms: Vec<Form>,
    lies: Value,
    silent: bool,
    moved: Option<String>,
    count: usize,
}

impl Provider {
    pub(super) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::new(Mutex::new(World {
            name: name.clone(),
            signer: Signer::new("k1"),
            codes: BTreeMap::new(),
            device: (0, Err("access_denied".to_owned())),
            forge: None,
            forms: Vec::new(),
            lies: json!({}),
            silent: false,
            moved: None,
            count: 0,
        }));
        let served = Arc::clone(&world);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut world = served.lock().unwrap_or_else(PoisonError::into_inner);
                if !world.silent {
                    let _ = world.answer(&stream);
                }
            }
        });
        Self { name, world }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody signs in who was sent here like this: the code that they are sent back with
    pub(super) fn code(&self, sent: &Url, sub: &str, more: Value) -> String {
        let asked: BTreeMap<String, String> = sent.query_pairs().into_owned().collect();
        let mut world = self.world();
        world.count += 1;
        let code = format!("code-{}", world.count);
        let mut claims = json!({ "sub": sub, "nonce": asked["nonce"] });
        merge(&mut claims, more);
        world.codes.insert(code.clone(), (asked, claims));
        code
    }

    /// A device has to ask so often in vain, and gets a token that says this
    pub(super) fn device_will(&self, waits: usize, sub: &str, more: Value) {
        let mut claims = json!({ "sub": sub });
        merge(&mut claims, more);
        self.world().device = (waits, Ok(claims));
    }

    pub(super) fn device_refuses(&self, error: &str) {
        self.world().device = (0, Err(error.to_owned()));
    }

    /// Its tokens are made like this from now on
    pub(super) fn forges(&self, forge: Option<Forge>) {
        self.world().forge = forge;
    }

    /// Its discovery document says this instead
    pub(super) fn lies(&self, lies: Value) {
        self.world().lies = lies;
    }

    /// Whoever connects is cut off
    pub(super) fn goes_silent(&self) {
        self.world().silent = true;
    }

    /// Its token endpoint is elsewhere, as it says by a redirect
    pub(super) fn redirects(&self, to: &str) {
        self.world().moved = Some(to.to_owned());
    }

    /// What its token endpoint was sent
    pub(super) fn forms(&self) -> Vec<Form> {
        self.world().forms.clone()
    }
}

/// Members of `more` take the place of those there are; null takes them away
fn merge(claims: &mut Value, more: Value) {
    let (Some(claims), Value::Object(more)) = (claims.as_object_mut(), more) else { return };
    for (name, value) in more {
        if value.is_null() {
            claims.remove(&name);
        } else {
            claims.insert(name, value);
        }
    }
}

/// A token that nobody signed
pub(super) fn unsigned(claims: &Value) -> String {
    let header = json!({ "alg": "none", "typ": "JWT" });
    format!("{}.{}.", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

impl World {
    fn answer(&mut self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let path = line.split(' ').nth(1)?.to_owned();
        let (mut length, mut form) = (0, Form::new());
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok()?,
                "authorization" => drop(form.insert("authorization".to_owned(), value.trim().to_owned())),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        form.extend(url::form_urlencoded::parse(&body).into_owned());
        let (status, answer) = match path.as_str() {
            "/.well-known/openid-configuration" => (200, self.discovery()),
            "/keys" => (200, json!({ "keys": [self.signer.jwk()] })),
            "/device" => (
                200,
                json!({
                    "device_code": "the-device", "user_code": "WDJB-MJHT", "interval": 1, "expires_in": 300,
                    "verification_uri": format!("{}/device", self.name),
                }),
            ),
            "/token" => match &self.moved {
                Some(_) => (302, json!({})),
                None => self.token(form),
            },
            _ => (404, json!({})),
        };
        let (body, to) = (answer.to_string(), self.moved.clone().unwrap_or_default());
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\nlocation: {to}\r\n");
        let mut stream = stream;
        stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).ok()
    }

    fn discovery(&self) -> Value {
        let mut said = json!({
            "issuer": self.name,
            "jwks_uri": format!("{}/keys", self.name),
            "authorization_endpoint": format!("{}/authorize?tenant=1", self.name),
            "token_endpoint": format!("{}/token", self.name),
            "device_authorization_endpoint": format!("{}/device", self.name),
            "authorization_response_iss_parameter_supported": true,
            "id_token_signing_alg_values_supported": ["EdDSA"],
        });
        merge(&mut said, self.lies.clone());
        said
    }

    fn token(&mut self, form: Form) -> (u16, Value) {
        self.forms.push(form.clone());
        let of = |name: &str| form.get(name).cloned().unwrap_or_default();
        let refused = |error: &str| (400, json!({ "error": error }));
        let mut claims = match of("grant_type").as_str() {
            "authorization_code" => {
                let Some((asked, claims)) = self.codes.remove(&of("code")) else { return refused("invalid_grant") };
                let challenge = BASE64.encode(Hash::of(of("code_verifier").as_bytes()).0);
                if challenge != asked["code_challenge"] || of("redirect_uri") != asked["redirect_uri"] {
                    return refused("invalid_grant");
                }
                claims
            }
            _ if self.device.0 > 0 => {
                self.device.0 -= 1;
                return refused("authorization_pending");
            }
            _ => match &self.device.1 {
                Ok(claims) => claims.clone(),
                Err(error) => return refused(&error.clone()),
            },
        };
        let mut whole = json!({ "iss": self.name, "aud": "portreeve", "iat": now(), "exp": now() + 300 });
        merge(&mut whole, claims.take());
        // What was taken away stays away.
        let id = match &self.forge {
            Some(forge) => forge(&whole),
            None => self.signer.token("JWT", &whole),
        };
        (200, json!({ "access_token": "an-access-token", "token_type": "Bearer", "id_token": id }))
    }
}
