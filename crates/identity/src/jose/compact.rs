//! The compact form of a signed token (RFC 7515, 3.1), read in one way only.

use super::{Algorithm, Claims, Invalid, Jwk, Keys, Want, algorithm, claims, jwk};
use crate::base64url;
use portreeve_core::{
    json::{Error, Limits, scan},
    time::Millis,
    value::Value,
};
use std::collections::BTreeMap;

/// Bytes of a token at most
const BYTES_MAX: usize = 8 << 10;
/// What a header may hold: a key with its certificates is the most
const HEADER: Limits = Limits { bytes_max: BYTES_MAX, depth_max: 4, nodes_max: 64 };
/// What claims may hold
const CLAIMS: Limits = Limits { bytes_max: BYTES_MAX, depth_max: 16, nodes_max: 2_000 };

/// Whether a token may bring the key that it is signed with
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brings {
    /// No
    Nothing,
    /// Yes, as `jwk`: such a token shows only that its sender has that key
    Key,
}

/// A token whose header was read and whose signature was not looked at
#[derive(Debug)]
pub(crate) struct Signed<'a> {
    algorithm: Algorithm,
    kind: Option<String>,
    name: Option<String>,
    header: BTreeMap<String, Value>,
    // Header and payload as they are signed.
    message: &'a str,
    payload: Vec<u8>,
    signature: &'a str,
}

impl<'a> Signed<'a> {
    /// Reads the three parts, and the header
    pub(crate) fn read(token: &'a str, brings: Brings) -> Result<Self, Invalid> {
        if token.len() > BYTES_MAX {
            return Err(Invalid::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Invalid::Form)?;
        let (header, payload) = message.split_once('.').ok_or(Invalid::Form)?;
        if payload.contains('.') {
            // Five parts are a JWE (RFC 7516, 3.1).
            return Err(if token.matches('.').count() == 4 { Invalid::Encrypted } else { Invalid::Form });
        }
        let part = |text: &str| base64url::decode(text).filter(|bytes| !bytes.is_empty()).ok_or(Invalid::Form);
        let header = object(&part(header)?, &HEADER, Invalid::HeaderForm, Invalid::HeaderTwice)?;
        let payload = part(payload)?;
        let text = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Invalid::HeaderForm),
        };
        // `none` comes without a signature, so that it is named before the missing part is.
        let algorithm = algorithm(text("alg")?.ok_or(Invalid::AlgorithmMissing)?);
        if algorithm == Err(Invalid::AlgorithmNone) {
            return Err(Invalid::AlgorithmNone);
        }
        let has = |name: &str| header.contains_key(name);
        for (wrong, members) in [
            (Invalid::Encrypted, ["enc", "zip"].as_slice()),
            (Invalid::Critical, &["crit"]),
            (Invalid::Unencoded, &["b64"]),
            (Invalid::Nested, &["cty"]),
            (Invalid::KeyBrought, &["jku", "x5u", "x5c"]),
        ] {
            if members.iter().any(|member| has(member)) {
                return Err(wrong);
            }
        }
        if brings == Brings::Nothing && has("jwk") {
            return Err(Invalid::KeyBrought);
        }
        let algorithm = algorithm?;
        part(signature)?;
        let kind = text("typ")?.map(media_type);
        let name = jwk::name(header.get("kid")).map_err(|_| Invalid::HeaderForm)?;
        Ok(Self { algorithm, kind, name, message, payload, signature, header })
    }

    /// What it is signed with
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether the header names a key
    pub(crate) fn is_named(&self) -> bool {
        self.name.is_some()
    }

    /// Refuses a header with other members than these
    pub(crate) fn only(&self, members: &[&str]) -> Result<(), Invalid> {
        let known = self.header.keys().all(|member| members.contains(&member.as_str()));
        if known { Ok(()) } else { Err(Invalid::HeaderMember) }
    }

    /// Refuses a token of another type
    pub(crate) fn is_of(&self, types: &[&str]) -> Result<(), Invalid> {
        let fits = match &self.kind {
            None => types.contains(&""),
            Some(kind) => types.iter().any(|one| !one.is_empty() && media_type(one) == *kind),
        };
        if fits { Ok(()) } else { Err(Invalid::Type) }
    }

    /// The claims, if one of `keys` signed them with one of `algorithms`; nothing of them is judged yet
    pub(crate) fn signed_by(&self, keys: &Keys, algorithms: &[Algorithm]) -> Result<Claims, Invalid> {
        if !algorithms.contains(&self.algorithm) {
            return Err(Invalid::AlgorithmNotAllowed);
        }
        let key = keys.signer(self.message.as_bytes(), self.signature, self.algorithm, self.name.as_deref())?;
        Ok(Claims::new(self.unverified()?, *key.thumbprint()))
    }

    /// The claims, if the key that the token brings along signed them: they show only that its sender has that key
    pub(crate) fn signed_by_brought(&self, algorithms: &[Algorithm]) -> Result<Claims, Invalid> {
        if !algorithms.contains(&self.algorithm) {
            return Err(Invalid::AlgorithmNotAllowed);
        }
        let key = Jwk::of_value(self.header.get("jwk").ok_or(Invalid::KeyForm)?)?;
        key.verify(self.message.as_bytes(), self.signature, self.algorithm)?;
        Ok(Claims::new(self.unverified()?, *key.thumbprint()))
    }

    /// The claims, if the token is what is wanted
    pub(crate) fn verify(
        &self,
        keys: &Keys,
        want: &Want<'_>,
        subject_max: usize,
        now: Millis,
    ) -> Result<Claims, Invalid> {
        self.is_of(want.types)?;
        let claims = self.signed_by(keys, want.algorithms)?;
        claims::check(&claims, want, subject_max, now)?;
        Ok(claims)
    }

    /// The claims, believed by nobody
    pub(crate) fn unverified(&self) -> Result<BTreeMap<String, Value>, Invalid> {
        object(&self.payload, &CLAIMS, Invalid::ClaimsForm, Invalid::ClaimsTwice)
    }
}

/// A media type without its letter case and without the part that may be left out (RFC 7515, 4.1.9)
fn media_type(text: &str) -> String {
    let text = text.to_ascii_lowercase();
    match text.strip_prefix("application/") {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

/// The members of an object, none of which is there twice for any reader
fn object(bytes: &[u8], limits: &Limits, form: Invalid, twice: Invalid) -> Result<BTreeMap<String, Value>, Invalid> {
    let json = scan(bytes, limits).map_err(|error| match error {
        Error::DuplicateKey { .. } | Error::ConfusableKey { .. } => twice,
        _ => form,
    })?;
    match json.to_value().map_err(|_| form)? {
        Value::Object(members) => Ok(members),
        _ => Err(form),
    }
}
