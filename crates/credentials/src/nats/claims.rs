//! Claims of NATS, as version 2 of the library `nats-io/jwt` writes them.

use super::key::{Holder, Key};
use crate::secret::Secret;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

/// Signs claims; `claims` have everything but who signs them
#[must_use]
pub fn signed(key: &Key, mut claims: Map<String, Value>) -> String {
    claims.insert("iss".to_owned(), key.public().into());
    let head = json!({ "typ": "JWT", "alg": "ed25519-nkey" }).to_string();
    let text = [head, Value::Object(claims).to_string()].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let signature = URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()));
    format!("{text}.{signature}")
}

/// What claims say, without looking at who signed them
#[must_use]
pub fn read(token: &str) -> Option<Map<String, Value>> {
    let claims = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

/// The file that clients take, with somebody's claims and seed
#[must_use]
pub fn creds(token: &str, seed: &Secret) -> Secret {
    let seed = seed.expose();
    Secret::new(format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         ************************* IMPORTANT *************************\n\
         NKEY Seed printed below can be used to sign and prove identity.\n\
         NKEYs are sensitive and should be treated as secrets.\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n\n\
         *************************************************************\n"
    ))
}

/// Who somebody is, out of such a file
#[must_use]
pub fn read_creds(text: &str) -> Option<(String, Key)> {
    let after = |head: &str| {
        let (_, rest) = text.split_once(head)?;
        rest.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('-'))
    };
    let (token, seed) = (after("BEGIN NATS USER JWT")?, after("BEGIN USER NKEY SEED")?);
    let key = Key::read(seed).filter(|key| key.holder == Holder::User)?;
    (read(token)?.get("sub")? == key.public().as_str()).then(|| (token.to_owned(), key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_creds_file_is_read_as_it_was_written_and_has_the_seed_of_its_claims() {
        let ((account, _), (user, seed)) = (Key::make(Holder::Account).unwrap(), Key::make(Holder::User).unwrap());
        let claims = json!({ "sub": user.public(), "nats": { "type": "user" } });
        let token = signed(&account, claims.as_object().unwrap().clone());
        assert_eq!(read(&token).unwrap()["iss"], account.public());
        let file = creds(&token, &seed);
        let (again, key) = read_creds(file.expose()).unwrap();
        assert_eq!((again, key.public()), (token.clone(), user.public()));
        let (_, other) = Key::make(Holder::User).unwrap();
        assert!(read_creds(creds(&token, &other).expose()).is_none());
        assert!(read_creds("").is_none() && read_creds(&token).is_none());
    }
}
