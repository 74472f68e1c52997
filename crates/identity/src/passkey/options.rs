//! What a browser is asked for, in the form that `parseCreationOptionsFromJSON` and `parseRequestOptionsFromJSON`
//! take (5.1, 5.4, 5.5).

use super::{Algorithm, CHALLENGE_MS, RelyingParty};
use crate::base64url;
use serde_json::{Value, json};

/// Options for `navigator.credentials.create()`: a passkey that finds its user by itself and makes sure who it is
pub(super) fn creation(party: &RelyingParty, user: &str, handle: &[u8], challenge: &[u8], known: &[&[u8]]) -> Value {
    let kinds = Algorithm::ALL.map(|kind| json!({ "type": "public-key", "alg": kind.number() }));
    json!({
        "rp": { "id": party.id(), "name": "Portreeve" },
        "user": { "id": base64url::encode(handle), "name": user, "displayName": user },
        "challenge": base64url::encode(challenge),
        "pubKeyCredParams": kinds,
        "timeout": CHALLENGE_MS,
        "excludeCredentials": descriptors(known),
        "authenticatorSelection": {
            "residentKey": "required", "requireResidentKey": true, "userVerification": "required",
        },
        "attestation": "none",
    })
}

/// Options for `navigator.credentials.get()`: one of these keys, or whichever the user chooses if there are none
pub(super) fn request(party: &RelyingParty, challenge: &[u8], keys: &[&[u8]]) -> Value {
    json!({
        "challenge": base64url::encode(challenge),
        "timeout": CHALLENGE_MS,
        "rpId": party.id(),
        "allowCredentials": descriptors(keys),
        "userVerification": "required",
    })
}

fn descriptors(keys: &[&[u8]]) -> Vec<Value> {
    keys.iter().map(|id| json!({ "type": "public-key", "id": base64url::encode(id) })).collect()
}
