//! What browsers answer, as their `toJSON()` writes it (5.1, `RegistrationResponseJSON`, `AuthenticationResponseJSON`).

use super::{Assertion, Registration, Wrong};
use crate::base64url;
use serde::{Deserialize, de::DeserializeOwned};

/// Bytes of a response at most
pub const RESPONSE_MAX: usize = 128 << 10;

#[derive(Deserialize)]
struct Response<T> {
    id: String,
    #[serde(rename = "rawId", with = "base64url")]
    raw_id: Vec<u8>,
    #[serde(rename = "type")]
    kind: String,
    response: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attestation {
    #[serde(with = "base64url", rename = "clientDataJSON")]
    client_data: Vec<u8>,
    #[serde(with = "base64url")]
    attestation_object: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signature {
    #[serde(with = "base64url", rename = "clientDataJSON")]
    client_data: Vec<u8>,
    #[serde(with = "base64url")]
    authenticator_data: Vec<u8>,
    #[serde(with = "base64url")]
    signature: Vec<u8>,
    #[serde(default)]
    user_handle: Option<String>,
}

impl Registration {
    /// Reads the JSON of a response
    ///
    /// # Errors
    /// [`Wrong::Form`]
    pub fn from_json(json: &[u8]) -> Result<Self, Wrong> {
        let Attestation { client_data, attestation_object } = read::<Attestation>(json)?.response;
        Ok(Self { attestation_object, client_data })
    }
}

impl Assertion {
    /// Reads the JSON of a response
    ///
    /// # Errors
    /// [`Wrong::Form`]
    pub fn from_json(json: &[u8]) -> Result<Self, Wrong> {
        let read = read::<Signature>(json)?;
        let Signature { client_data, authenticator_data, signature, user_handle } = read.response;
        let user_handle = match user_handle {
            None => None,
            Some(text) => Some(base64url::decode(&text).ok_or(FORM)?),
        };
        Ok(Self { credential: read.raw_id, authenticator_data, client_data, signature, user_handle })
    }
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<Response<T>, Wrong> {
    if json.len() > RESPONSE_MAX {
        return Err(FORM);
    }
    let response: Response<T> = serde_json::from_slice(json).map_err(|_| FORM)?;
    let good = response.kind == "public-key" && response.id == base64url::encode(&response.raw_id);
    if good { Ok(response) } else { Err(FORM) }
}

const FORM: Wrong = Wrong::Form("response");

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn reads_what_browsers_write() {
        let made = json!({
            "id": "AQI", "rawId": "AQI", "type": "public-key", "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": "e30", "attestationObject": "oA", "authenticatorData": "AA", "publicKey": "AA",
                "publicKeyAlgorithm": -7, "transports": ["internal"],
            },
        });
        let read = Registration::from_json(made.to_string().as_bytes()).unwrap();
        assert_eq!(read, Registration { attestation_object: vec![0xa0], client_data: b"{}".to_vec() });
        let mut used = json!({
            "id": "AQI", "rawId": "AQI", "type": "public-key", "clientExtensionResults": {},
            "response": { "clientDataJSON": "e30", "authenticatorData": "AA", "signature": "Ag", "userHandle": "Aw" },
        });
        let read = |used: &Value| Assertion::from_json(used.to_string().as_bytes());
        let whole = Assertion {
            credential: vec![1, 2],
            authenticator_data: vec![0],
            client_data: b"{}".to_vec(),
            signature: vec![2],
            user_handle: Some(vec![3]),
        };
        assert_eq!(read(&used), Ok(whole.clone()));
        for none in [Some(Value::Null), None] {
            match none {
                Some(null) => used["response"]["userHandle"] = null,
                None => drop(used["response"].as_object_mut().unwrap().remove("userHandle")),
            }
            assert_eq!(read(&used), Ok(Assertion { user_handle: None, ..whole.clone() }));
        }
        for (key, bad) in [("id", "AQM"), ("rawId", "AQI="), ("rawId", "AQJ"), ("type", "password"), ("response", "")] {
            let mut used = used.clone();
            used[key] = bad.into();
            assert_eq!(read(&used), Err(FORM), "{key}");
        }
        assert_eq!(Assertion::from_json(b""), Err(FORM));
        assert_eq!(Assertion::from_json(&[b' '; RESPONSE_MAX + 1]), Err(FORM));
    }
}
