//! How we show an issuer that we are its client.

use crate::{keyring::Keys, mint::signed, secret};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_core::time::Millis;
use serde_json::json;

/// How long an assertion of ours is good, in seconds
const ASSERTION_S: i64 = 60;
/// What an assertion is, as the request that carries it says (RFC 7523, 2.2)
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The value of `Authorization` that shows a secret (RFC 6749, 2.3.1)
#[must_use]
pub fn basic(client_id: &str, secret: &str) -> String {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(client_id), encoded(secret))))
}

/// An assertion for this issuer and nobody else (OpenID Connect Core 1.0, 9: `private_key_jwt`)
///
/// It is of another type than the tokens that the same key signs, so neither is taken for the other. Nothing if it could
/// not be signed.
#[must_use]
pub fn assertion(keys: &Keys, client_id: &str, issuer: &str, now: Millis) -> Option<String> {
    let seconds = now.0.div_euclid(1_000);
    let claims = json!({
        "iss": client_id, "sub": client_id, "aud": issuer, "jti": secret::draw::<16>()?,
        "iat": seconds, "exp": seconds + ASSERTION_S,
    });
    signed(keys, "client-authentication+jwt", &claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{assertion, jose::Jwk, key::SigningKey, once::Once};

    #[test]
    fn a_secret_is_written_as_a_form_has_it() {
        // RFC 6749, 2.3.1 with what it escapes.
        assert_eq!(basic("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw"), "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3");
        assert_eq!(STANDARD.decode(basic("a:b", "c d+").strip_prefix("Basic ").unwrap()).unwrap(), b"a%3Ab:c+d%2B");
    }

    #[test]
    fn an_assertion_is_one_that_we_would_take_ourselves() {
        let now = Millis(1_800_000_000_000);
        let keys = Keys::one(SigningKey::make().unwrap());
        let jwks = keys.jwks(now);
        let jwk: Jwk = jwks["keys"][0].to_string().parse().unwrap();
        let said = assertion(&keys, "portreeve", "https://id.example", now).unwrap();
        let once = Once::new(10);
        let verify = |aud: &str| assertion::verify(&said, "portreeve", [jwk.clone()], aud, &once, now).map(drop);
        assert!(verify("https://other.example").is_err());
        assert_eq!(verify("https://id.example"), Ok(()));
    }
}
