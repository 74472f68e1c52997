//! One public key as JSON (RFC 7517, RFC 7518, RFC 8037).

use super::{Algorithm, Invalid, Thumbprint, algorithm};
use crate::base64url;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use jsonwebtoken::DecodingKey;
use portreeve_core::{
    json::{Limits, scan},
    value::Value,
};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// Bytes of a key's name at most
const NAME_MAX: usize = 255;
/// Bytes of a key in JSON at most; certificates may stand beside it
const BYTES_MAX: usize = 32 << 10;

/// A public key that verifies signatures
#[derive(Clone)]
pub struct Jwk {
    kind: Kind,
    algorithm: Option<Algorithm>,
    thumbprint: Thumbprint,
    key: DecodingKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Jwk {
    /// The key with these members, which is for one of `uses` if it says for what it is
    pub(super) fn of(members: &BTreeMap<String, Value>, uses: &[&str]) -> Result<Self, Invalid> {
        let text = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Invalid::KeyForm),
        };
        let required = |name: &str| text(name)?.ok_or(Invalid::KeyForm);
        let bytes = |name: &str| base64url::decode(required(name)?).ok_or(Invalid::KeyForm);
        let kind = required("kty")?;
        if kind == "oct" {
            return Err(Invalid::AlgorithmSymmetric);
        }
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"].iter().any(|secret| members.contains_key(*secret)) {
            return Err(Invalid::KeySecret);
        }
        if text("use")?.is_some_and(|said| !uses.contains(&said)) || !may_verify(members.get("key_ops"))? {
            return Err(Invalid::KeyUse);
        }
        let algorithm = text("alg")?.map(algorithm).transpose()?;
        let (kind, thumbprint, key) = match (kind, text("crv")?) {
            ("RSA", None) => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                sound_rsa(&n, &e)?;
                let members = [("e", required("e")?), ("kty", "RSA"), ("n", required("n")?)];
                (Kind::Rsa, Thumbprint::of_members(&members), DecodingKey::from_rsa_raw_components(&n, &e))
            }
            ("EC", Some(curve @ ("P-256" | "P-384"))) => {
                let (kind, width) = if curve == "P-256" { (Kind::P256, 32) } else { (Kind::P384, 48) };
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() != width || y.len() != width {
                    return Err(Invalid::KeyForm);
                }
                let point = [&[4], x.as_slice(), &y].concat();
                on_curve(kind, &point)?;
                let members = [("crv", curve), ("kty", "EC"), ("x", required("x")?), ("y", required("y")?)];
                (kind, Thumbprint::of_members(&members), DecodingKey::from_ec_der(&point))
            }
            ("OKP", Some("Ed25519")) => {
                let x = bytes("x")?;
                if x.len() != 32 {
                    return Err(Invalid::KeyForm);
                }
                let members = [("crv", "Ed25519"), ("kty", "OKP"), ("x", required("x")?)];
                (Kind::Ed25519, Thumbprint::of_members(&members), DecodingKey::from_ed_der(&x))
            }
            ("EC" | "OKP", None) | ("RSA", Some(_)) => return Err(Invalid::KeyForm),
            _ => return Err(Invalid::KeyUnsupported),
        };
        let key = Self { kind, algorithm, thumbprint, key };
        // A key of one kind under the name of another's algorithm is nobody's.
        if key.algorithm.is_some_and(|algorithm| !key.kind.fits(algorithm)) {
            return Err(Invalid::AlgorithmKey);
        }
        Ok(key)
    }

    /// The key with these members, as a policy file has them
    ///
    /// # Errors
    /// [`Invalid`]: it is no public key that verifies signatures.
    pub fn of_value(key: &Value) -> Result<Self, Invalid> {
        Self::of(key.as_object().ok_or(Invalid::KeyForm)?, &["sig"])
    }

    /// What names the key wherever it goes
    #[must_use]
    pub fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// Whether signatures by this algorithm can be this key's
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind.fits(algorithm) && self.algorithm.is_none_or(|only| only == algorithm)
    }

    /// Whether its owner made the signature, which is base64url, for exactly `message`
    pub(super) fn verify(&self, message: &[u8], signature: &str, algorithm: Algorithm) -> Result<(), Invalid> {
        if !self.fits(algorithm) {
            return Err(Invalid::AlgorithmKey);
        }
        match jsonwebtoken::crypto::verify(signature, message, &self.key, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Invalid::Signature),
        }
    }
}

impl FromStr for Jwk {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let limits = Limits { bytes_max: BYTES_MAX, depth_max: 4, nodes_max: 256 };
        let json = scan(text.as_bytes(), &limits).map_err(|_| Invalid::KeyForm)?;
        Self::of_value(&json.to_value().map_err(|_| Invalid::KeyForm)?)
    }
}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.thumbprint)
    }
}

impl PartialEq for Jwk {
    fn eq(&self, other: &Self) -> bool {
        self.thumbprint == other.thumbprint && self.algorithm == other.algorithm
    }
}

impl Eq for Jwk {}

impl Kind {
    fn fits(self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => self == Self::Rsa,
            Algorithm::ES256 => self == Self::P256,
            Algorithm::ES384 => self == Self::P384,
            Algorithm::EdDSA => self == Self::Ed25519,
            _ => false,
        }
    }
}

/// The name that a key goes by, if it has one
pub(super) fn name(value: Option<&Value>) -> Result<Option<String>, Invalid> {
    match value {
        None => Ok(None),
        Some(Value::String(name)) if (1..=NAME_MAX).contains(&name.len()) => Ok(Some(name.clone())),
        Some(_) => Err(Invalid::KeyForm),
    }
}

/// Whether `key_ops`, if it is there, has `verify` (RFC 7517, 4.3)
fn may_verify(operations: Option<&Value>) -> Result<bool, Invalid> {
    match operations {
        None => Ok(true),
        Some(Value::Array(operations)) => Ok(operations.iter().any(|one| one.as_str() == Some("verify"))),
        Some(_) => Err(Invalid::KeyForm),
    }
}

/// Moduli that are too short, and exponents that make signatures forgeable
fn sound_rsa(n: &[u8], e: &[u8]) -> Result<(), Invalid> {
    // The shortest form is the only one (RFC 7518, 2): another would have another thumbprint.
    if n.first().is_none_or(|first| *first == 0) || e.first().is_none_or(|first| *first == 0) {
        return Err(Invalid::KeyForm);
    }
    let zeros = n.first().map_or(0, |first| first.leading_zeros() as usize);
    let bits = (n.len() * 8).saturating_sub(zeros);
    let odd = |bytes: &[u8]| bytes.last().is_some_and(|last| last % 2 == 1);
    let exponent = e.iter().fold(0u64, |sum, byte| sum.saturating_mul(256).saturating_add(u64::from(*byte)));
    let sound = (65_537..=u64::from(u32::MAX)).contains(&exponent);
    if !(2048..=8192).contains(&bits) || !odd(n) || !odd(e) || !sound {
        return Err(Invalid::KeyWeak);
    }
    Ok(())
}

fn on_curve(kind: Kind, point: &[u8]) -> Result<(), Invalid> {
    let parsed = match kind {
        Kind::P384 => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point),
        _ => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point),
    };
    parsed.map(drop).map_err(|_| Invalid::KeyForm)
}
