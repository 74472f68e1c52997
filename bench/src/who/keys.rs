//! Keys of agents, and what they sign.

use anyhow::anyhow;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A key of an agent
#[derive(Debug)]
pub(crate) struct Key(Ed25519KeyPair);

impl Key {
    pub(crate) fn generate() -> anyhow::Result<Self> {
        Ed25519KeyPair::generate().map(Self).map_err(|_unspecified| anyhow!("make a key"))
    }

    pub(crate) fn pair(&self) -> &Ed25519KeyPair {
        &self.0
    }

    /// Its public half, as an agent's file has it
    pub(crate) fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref())
    }

    /// Who `agent` is, said to `issuer` once (RFC 7523)
    pub(crate) fn assertion(&self, agent: &str, issuer: &str) -> anyhow::Result<String> {
        let now = now_s()?;
        let claims = json!({
            "iss": agent, "sub": agent, "aud": issuer, "iat": now, "exp": now + 60, "jti": once()?,
        });
        Ok(self.sign(&json!({ "alg": "EdDSA", "typ": "client-authentication+jwt" }), &claims))
    }

    /// That this key is held, for one request (RFC 9449), with the token that goes with it
    pub(crate) fn possession(&self, method: &str, url: &str, token: Option<&str>) -> anyhow::Result<String> {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": self.public() });
        let mut claims = json!({ "htm": method, "htu": url, "iat": now_s()?, "jti": once()? });
        if let (Some(token), Some(members)) = (token, claims.as_object_mut()) {
            members.insert("ath".to_owned(), json!(URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()))));
        }
        Ok(self.sign(&json!({ "alg": "EdDSA", "typ": "dpop+jwt", "jwk": jwk }), &claims))
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(self.0.sign(text.as_bytes())))
    }
}

fn now_s() -> anyhow::Result<u64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())
}

/// What no other token is called
fn once() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_unspecified| anyhow!("no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
