//! Who signs tokens: a key, and an OpenID Connect issuer that serves what a test wants.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use portreeve_identity::key::SigningKey;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

/// Seconds since 1970
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A key with a name
pub(crate) struct Signer {
    key: SigningKey,
    kid: &'static str,
}

impl Signer {
    /// A new key of this name
    pub(crate) fn new(kid: &'static str) -> Self {
        Self { key: SigningKey::make().unwrap(), kid }
    }

    /// The public key as a JWK
    pub(crate) fn jwk(&self) -> Value {
        let x = BASE64.encode(self.key.public_key().as_bytes());
        json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "alg": "EdDSA", "use": "sig" })
    }

    /// The public key as PEM (RFC 8410, 4)
    pub(crate) fn pem(&self) -> String {
        let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        der.extend(self.key.public_key().as_bytes());
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    /// A token of this type with these claims
    pub(crate) fn token(&self, typ: &str, claims: &Value) -> String {
        self.signed(&json!({ "alg": "EdDSA", "typ": typ, "kid": self.kid }), claims)
    }

    /// A token with exactly this header
    pub(crate) fn signed(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        format!("{message}.{}", BASE64.encode(self.key.sign(message.as_bytes()).unwrap()))
    }

    /// A proof of possession for a request, with the token beside it if there is one (RFC 9449, 4.2)
    pub(crate) fn dpop(&self, (method, url): (&str, &str), token: Option<&str>, id: &str) -> String {
        let mut claims = json!({ "jti": id, "htm": method, "htu": url, "iat": now() });
        if let Some(token) = token {
            let hash = portreeve_core::hash::Hash::of(token.as_bytes());
            claims["ath"] = json!(BASE64.encode(hash.0));
        }
        let jwk = self.jwk();
        let jwk = json!({ "kty": jwk["kty"], "crv": jwk["crv"], "x": jwk["x"] });
        self.signed(&json!({ "alg": "EdDSA", "typ": "dpop+jwt", "jwk": jwk }), &claims)
    }
}

/// A form that was sent
pub(crate) type Form = BTreeMap<String, String>;

/// Documents over HTTP, and how often each was asked for
#[derive(Clone)]
pub(crate) struct Issuer {
    /// Its name: the `iss` of its tokens
    pub(crate) name: String,
    // Held only to read or change it.
    pages: Arc<Mutex<BTreeMap<String, (Value, usize)>>>,
    /// What forms were sent to each page
    forms: Arc<Mutex<Vec<(String, Form)>>>,
    /// What is answered with another status than 200
    statuses: Arc<Mutex<BTreeMap<String, u16>>>,
}

impl Issuer {
    /// An issuer whose keys are these
    pub(crate) fn with(keys: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("http://{}", listener.local_addr().unwrap());
        let pages: Arc<Mutex<BTreeMap<String, (Value, usize)>>> = Arc::default();
        let served = Arc::clone(&pages);
        let statuses: Arc<Mutex<BTreeMap<String, u16>>> = Arc::default();
        let refused = Arc::clone(&statuses);
        let forms: Arc<Mutex<Vec<(String, Form)>>> = Arc::default();
        let sent = Arc::clone(&forms);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(&stream);
                let mut lines = reader.by_ref().lines().map_while(Result::ok);
                let path = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)).unwrap_or_default();
                let headers = lines.take_while(|line| !line.is_empty());
                let length =
                    headers.filter_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
                // What is not read would break the connection off.
                let mut body = vec![0; length.last().unwrap_or(0)];
                drop(reader.read_exact(&mut body));
                let form = url::form_urlencoded::parse(&body).into_owned().collect();
                sent.lock().unwrap_or_else(PoisonError::into_inner).push((path.clone(), form));
                let mut pages = served.lock().unwrap_or_else(PoisonError::into_inner);
                let (status, body) = match pages.get_mut(&path) {
                    Some((page, asked)) => {
                        *asked += 1;
                        ("200 OK", page.to_string())
                    }
                    None => ("404 Not Found", String::new()),
                };
                drop(pages);
                let refuses = refused.lock().unwrap_or_else(PoisonError::into_inner).get(&path).copied();
                let status = refuses.map_or(status.to_owned(), |status| format!("{status} X"));
                let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n");
                drop(write!(&stream, "{head}content-length: {}\r\n\r\n{body}", body.len()));
            }
        });
        let issuer = Self { name, pages, forms, statuses };
        issuer.serves(
            "/.well-known/openid-configuration",
            json!({
                "issuer": issuer.name,
                "jwks_uri": format!("{}/keys", issuer.name),
                "authorization_endpoint": format!("{}/authorize", issuer.name),
                "token_endpoint": format!("{}/token", issuer.name),
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["EdDSA"],
            }),
        );
        issuer.publishes(keys);
        issuer
    }

    /// Its keys are these from now on
    pub(crate) fn publishes(&self, keys: &[&Signer]) {
        self.serves("/keys", json!({ "keys": keys.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() }));
    }

    /// A page is this from now on
    pub(crate) fn serves(&self, path: &str, page: Value) {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).entry(path.to_owned()).or_default().0 = page;
    }

    /// A page is answered with this status from now on
    pub(crate) fn refuses(&self, path: &str, status: u16) {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), status);
    }

    /// Nothing is served any more
    pub(crate) fn goes_silent(&self) {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The forms that were sent to a page, the latest last
    pub(crate) fn forms(&self, path: &str) -> Vec<Form> {
        let forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        forms.iter().filter(|(to, _)| to == path).map(|(_, form)| form.clone()).collect()
    }

    /// How often a page was asked for
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).get(path).map_or(0, |(_, asked)| *asked)
    }
}
