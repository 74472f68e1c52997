//! An authenticator and a browser for tests: they do what they are told, also what real ones never would.

use super::{Algorithm, Assertion, Proof, Registration, RelyingParty};
use crate::{base64url, key::SigningKey};
use aws_lc_rs::{
    agreement::{ECDH_P256, PrivateKey},
    encoding::{AsDer as _, Pkcs8V1Der},
    hkdf,
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use portreeve_core::hash::Hash;

pub(crate) const PRESENT: u8 = 1;
pub(crate) const VERIFIED: u8 = 4;
pub(crate) const ELIGIBLE: u8 = 8;
pub(crate) const BACKED_UP: u8 = 16;

/// One passkey, with everything that it will say
pub(crate) struct Authenticator {
    pub(crate) key: Key,
    pub(crate) id: Vec<u8>,
    pub(crate) aaguid: [u8; 16],
    pub(crate) flags: u8,
    pub(crate) counter: u32,
    pub(crate) rp_id: String,
    pub(crate) origin: String,
    /// Behind everything else in the authenticator data
    pub(crate) tail: Vec<u8>,
    /// Behind the members of client data
    pub(crate) more: String,
    pub(crate) user_handle: Option<Vec<u8>>,
    /// Whether the key signs its own attestation
    pub(crate) attests: bool,
}

pub(crate) enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(SigningKey),
    Rs256(RsaKeyPair),
}

impl Key {
    pub(crate) fn es256(scalar: &[u8]) -> Self {
        let private = PrivateKey::from_private_key(&ECDH_P256, scalar).unwrap();
        let public = private.compute_public_key().unwrap();
        let pair =
            EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_ASN1_SIGNING, scalar, public.as_ref());
        Self::Es256(pair.unwrap())
    }

    pub(crate) fn rs256() -> Self {
        let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        Self::Rs256(RsaKeyPair::from_pkcs8(der.as_ref()).unwrap())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Es256(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::EdDsa(key) => key.sign(message).unwrap(),
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Es256(_) => Algorithm::Es256,
            Self::EdDsa(_) => Algorithm::EdDsa,
            Self::Rs256(_) => Algorithm::Rs256,
        }
    }

    pub(crate) fn cose(&self) -> Vec<u8> {
        match self {
            Self::Es256(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (bytes(&point[1..33]), bytes(&point[33..]));
                [b"\xa5\x01\x02\x03\x26\x20\x01\x21".as_slice(), &x, b"\x22", &y].concat()
            }
            Self::EdDsa(key) => {
                [b"\xa4\x01\x01\x03\x27\x20\x06\x21".as_slice(), &bytes(key.public_key().as_bytes())].concat()
            }
            Self::Rs256(pair) => {
                let n = pair.public_key().modulus().big_endian_without_leading_zero().to_vec();
                let e = pair.public_key().exponent().big_endian_without_leading_zero().to_vec();
                [b"\xa4\x01\x03\x03\x39\x01\x00\x20".as_slice(), &bytes(&n), b"\x21", &bytes(&e)].concat()
            }
        }
    }
}

impl Authenticator {
    pub(crate) fn new(key: Key, party: &RelyingParty) -> Self {
        Self {
            id: Hash::of(&key.cose()).0.to_vec(),
            key,
            aaguid: [0; 16],
            flags: PRESENT | VERIFIED,
            counter: 0,
            rp_id: party.id().to_owned(),
            origin: party.origin().to_owned(),
            tail: Vec::new(),
            more: r#","crossOrigin":false"#.to_owned(),
            user_handle: None,
            attests: false,
        }
    }

    pub(crate) fn ed(party: &RelyingParty) -> Self {
        Self::new(Key::EdDsa(SigningKey::make().unwrap()), party)
    }

    pub(crate) fn client_data(&self, kind: &str, challenge: &[u8]) -> Vec<u8> {
        let (challenge, origin, more) = (base64url::encode(challenge), &self.origin, &self.more);
        format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}"{more}}}"#).into_bytes()
    }

    pub(crate) fn data(&self, attested: bool) -> Vec<u8> {
        let flags = self.flags | if attested { 0x40 } else { 0 };
        let mut data = [&Hash::of(self.rp_id.as_bytes()).0[..], &[flags], &self.counter.to_be_bytes()].concat();
        if attested {
            let length = u16::try_from(self.id.len()).unwrap().to_be_bytes();
            data.extend([&self.aaguid[..], &length, &self.id, &self.key.cose()].concat());
        }
        data.extend(&self.tail);
        data
    }

    pub(crate) fn create(&self, challenge: &[u8]) -> Registration {
        let client_data = self.client_data("webauthn.create", challenge);
        let data = self.data(true);
        let statement = if self.attests {
            let signature = self.key.sign(&[data.as_slice(), &Hash::of(&client_data).0].concat());
            let algorithm = match self.key.algorithm() {
                Algorithm::Es256 => b"\x26".as_slice(),
                Algorithm::EdDsa => b"\x27",
                Algorithm::Rs256 => b"\x39\x01\x00",
            };
            [b"\x66packed\x67attStmt\xa2\x63alg".as_slice(), algorithm, b"\x63sig", &bytes(&signature)].concat()
        } else {
            b"\x64none\x67attStmt\xa0".to_vec()
        };
        let attestation_object = [b"\xa3\x63fmt".as_slice(), &statement, b"\x68authData", &bytes(&data)].concat();
        Registration { attestation_object, client_data }
    }

    pub(crate) fn get(&self, challenge: &[u8]) -> Assertion {
        let client_data = self.client_data("webauthn.get", challenge);
        let authenticator_data = self.data(false);
        let signature = self.key.sign(&[authenticator_data.as_slice(), &Hash::of(&client_data).0].concat());
        let (credential, user_handle) = (self.id.clone(), self.user_handle.clone());
        Assertion { credential, authenticator_data, client_data, signature, user_handle }
    }

    /// The proof that would be kept of [`get`](Self::get)
    pub(crate) fn prove(&self, party: &RelyingParty, challenge: &[u8]) -> Proof {
        let Assertion { credential, authenticator_data, client_data, signature, .. } = self.get(challenge);
        let (party, public_key) = (party.clone(), self.key.cose());
        Proof { party, credential, public_key, authenticator_data, client_data, signature }
    }
}

/// A CBOR byte string
pub(crate) fn bytes(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    let head = match (u8::try_from(length), length.to_be_bytes()) {
        (Ok(short @ 0..24), _) => vec![0x40 | short],
        (Ok(short), _) => vec![0x58, short],
        (Err(_), [high, low]) => vec![0x59, high, low],
    };
    [head.as_slice(), bytes].concat()
}

/// The values of the specification's test vectors follow from a rule (16): HKDF-SHA-256 of a fixed text
pub(crate) fn derived<const N: usize>(name: &str, salt: u8) -> [u8; N] {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut out = [0; N];
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &[salt]);
    let key = salt.extract(b"WebAuthn test vectors");
    key.expand(&[name.as_bytes()], Length(N)).unwrap().fill(&mut out).unwrap();
    out
}
