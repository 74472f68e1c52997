//! A passkey as a browser uses it, with no machine around it.

use portreeve_core::hash::Hash;
use portreeve_identity::key::SigningKey;
use serde_json::{Value, json};
use std::cell::RefCell;

pub(crate) struct Key {
    pair: SigningKey,
    handle: RefCell<Option<String>>,
}

impl Key {
    pub(crate) fn new() -> Self {
        Self { pair: SigningKey::make().unwrap(), handle: RefCell::default() }
    }

    fn raw_id(&self) -> Vec<u8> {
        Hash::of(self.pair.public_key().as_bytes()).0.to_vec()
    }

    pub(crate) fn id(&self) -> String {
        encode(&self.raw_id())
    }

    fn data(&self, party: &Value, flags: u8, more: &[u8]) -> Vec<u8> {
        [&Hash::of(party.as_str().unwrap().as_bytes()).0[..], &[flags], &[0; 4], more].concat()
    }

    fn answer(&self, response: Value) -> Value {
        json!({ "id": self.id(), "rawId": self.id(), "type": "public-key", "response": response })
    }

    /// What a browser answers that was asked to make it
    pub(crate) fn create(&self, asked: &Value, origin: &str) -> Value {
        *self.handle.borrow_mut() = asked["user"]["id"].as_str().map(str::to_owned);
        let cose = [b"\xa4\x01\x01\x03\x27\x20\x06\x21\x58\x20", self.pair.public_key().as_bytes()].concat();
        let attested = [&[0; 16][..], &[0, 32], &self.raw_id(), &cose].concat();
        let data = self.data(&asked["rp"]["id"], 0x45, &attested);
        let length = u8::try_from(data.len()).unwrap();
        let object = [b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".as_slice(), &[length], &data].concat();
        let client = client("webauthn.create", asked, origin);
        self.answer(json!({ "clientDataJSON": encode(&client), "attestationObject": encode(&object) }))
    }

    /// What a browser answers that was asked to use it
    pub(crate) fn get(&self, asked: &Value, origin: &str) -> Value {
        let (data, client) = (self.data(&asked["rpId"], 5, &[]), client("webauthn.get", asked, origin));
        let signature = self.pair.sign(&[data.as_slice(), &Hash::of(&client).0].concat()).unwrap();
        self.answer(json!({
            "clientDataJSON": encode(&client), "authenticatorData": encode(&data), "signature": encode(&signature),
            "userHandle": *self.handle.borrow(),
        }))
    }
}

fn client(kind: &str, asked: &Value, origin: &str) -> Vec<u8> {
    json!({ "type": kind, "challenge": asked["challenge"], "origin": origin, "crossOrigin": false })
        .to_string()
        .into_bytes()
}

/// Base64url without padding
pub(crate) fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let bits = part.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for digit in 0..=part.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}
