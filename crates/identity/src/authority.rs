//! An authority of our own for one trust domain: it signs X.509-SVIDs and JWT-SVIDs of workloads on this machine.
//!
//! Whose they are is decided elsewhere. The certificate of the authority is made anew from its key at each start: what it
//! signed before still leads to it. Keys are of the curve P-256, as the specifications ask for.

use crate::svid::{Bundle, Bundles, NotABundle, SpiffeId, TrustDomain};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portreeve_core::time::Millis;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use std::fmt;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// An authority for the workloads of one trust domain
pub struct Authority {
    domain: TrustDomain,
    issuer: Issuer<'static, KeyPair>,
    root: Certificate,
    key: EncodingKey,
    /// The public half of that, and its name
    public: Value,
    name: String,
    made: Millis,
}

/// What proves a workload over TLS
pub struct X509 {
    /// The certificate in DER
    pub certificate: Vec<u8>,
    /// Its key, as PKCS#8 in DER
    pub key: Zeroizing<Vec<u8>>,
    /// Its serial number, in hexadecimal
    pub serial: String,
}

/// An authority could not be made, or could not sign
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authority for workloads cannot sign: {0}")]
pub struct NotSigned(String);

/// How far back what is signed counts, so that a clock that is a little behind takes it, in seconds
const BACKDATED: i64 = 30;
/// How long the certificate of an authority counts, in seconds: ten years, as its key does not change by itself
const ROOT_SECS: i64 = 10 * 365 * 24 * 60 * 60;
/// How often those who trust it look for changes, in seconds
const REFRESH_SECS: i64 = 300;

fn not(error: impl fmt::Display) -> NotSigned {
    NotSigned(error.to_string())
}

/// A fresh key on P-256, as PKCS#8 in DER
#[must_use]
pub fn fresh_key() -> Option<Zeroizing<Vec<u8>>> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).ok().map(|key| Zeroizing::new(key.serialize_der()))
}

fn pair(pkcs8: &[u8]) -> Result<KeyPair, NotSigned> {
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8), &PKCS_ECDSA_P256_SHA256).map_err(not)
}

fn at(seconds: i64) -> Result<OffsetDateTime, NotSigned> {
    OffsetDateTime::from_unix_timestamp(seconds).map_err(not)
}

impl Authority {
    /// An authority over a trust domain, with the keys (PKCS#8) that certificates and tokens are signed with
    ///
    /// # Errors
    /// [`NotSigned`]: these are no keys on P-256.
    pub fn new(domain: TrustDomain, certificates: &[u8], tokens: &[u8], now: Millis) -> Result<Self, NotSigned> {
        let (signs, of_tokens) = (pair(certificates)?, pair(tokens)?);
        let seconds = now.0.div_euclid(1_000);
        let mut params = params(&format!("spiffe://{}", domain.as_str()), seconds - BACKDATED, seconds + ROOT_SECS)?;
        params.distinguished_name.push(DnType::CommonName, domain.as_str());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&signs).map_err(not)?;
        let (public, name) = public(&of_tokens)?;
        Ok(Self {
            domain,
            issuer: Issuer::new(params, signs),
            root,
            key: EncodingKey::from_ec_der(tokens),
            public,
            name,
            made: now,
        })
    }

    /// Its trust domain
    #[must_use]
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// A certificate with a key of its own for a workload (SPIFFE X.509-SVID 1.0)
    ///
    /// # Errors
    /// [`NotSigned`]
    pub fn x509(&self, id: &SpiffeId, now: Millis, until: Millis) -> Result<X509, NotSigned> {
        let (from, until) = (now.0.div_euclid(1_000), until.0.div_euclid(1_000));
        let mut params = params(id.as_str(), from - BACKDATED, until)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let mut serial = [0; 16];
        aws_lc_rs::rand::fill(&mut serial).map_err(not)?;
        // Positive, and never shorter.
        serial[0] = serial[0] & 0x7f | 0x40;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(not)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(not)?;
        let serial = serial.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(X509 { certificate: certificate.der().to_vec(), key: Zeroizing::new(key.serialize_der()), serial })
    }

    /// A token for a workload (SPIFFE JWT-SVID 1.0)
    ///
    /// # Errors
    /// [`NotSigned`]
    pub fn jwt(
        &self,
        id: &SpiffeId,
        audience: &[String],
        jti: &str,
        now: Millis,
        until: Millis,
    ) -> Result<String, NotSigned> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.name.clone());
        let (from, until) = (now.0.div_euclid(1_000), until.0.div_euclid(1_000));
        let claims = json!({ "sub": id.as_str(), "aud": audience, "iat": from, "exp": until, "jti": jti });
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(not)
    }

    /// The certificate that its own lead to, in DER
    #[must_use]
    pub fn root(&self) -> &[u8] {
        self.root.der()
    }

    /// The keys that its tokens are signed with: a JWK Set
    #[must_use]
    pub fn keys(&self) -> Value {
        json!({ "keys": [self.public] })
    }

    /// What bundle endpoints serve (SPIFFE Trust Domain and Bundle 1.0, 4)
    #[must_use]
    pub fn document(&self) -> Value {
        let mut root = coordinates(self.issuer.key().public_key_raw());
        if let Some(members) = root.as_object_mut() {
            members.insert("use".to_owned(), json!("x509-svid"));
            members.insert("x5c".to_owned(), json!([STANDARD.encode(self.root())]));
        }
        json!({
            "keys": [root, self.public],
            "spiffe_sequence": self.made.0.div_euclid(1_000),
            "spiffe_refresh_hint": REFRESH_SECS,
        })
    }

    /// What is trusted of it: its own bundle and no other
    ///
    /// # Errors
    /// [`NotABundle`]: never, as long as what is signed can be read here.
    pub fn bundles(&self) -> Result<Bundles, NotABundle> {
        let bundle = Bundle::read(self.domain.clone(), self.document().to_string().as_bytes())?;
        Ok(Bundles::from_iter([bundle]))
    }
}

fn params(id: &str, from: i64, until: i64) -> Result<CertificateParams, NotSigned> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Portreeve");
    params.subject_alt_names = vec![SanType::URI(id.try_into().map_err(not)?)];
    (params.not_before, params.not_after) = (at(from)?, at(until)?);
    Ok(params)
}

/// A public key as a JWK, and the name that it has: its thumbprint (RFC 7638)
fn public(pair: &KeyPair) -> Result<(Value, String), NotSigned> {
    let mut jwk = coordinates(pair.public_key_raw());
    let hashed = digest(&SHA256, jwk.to_string().as_bytes());
    let name = URL_SAFE_NO_PAD.encode(hashed);
    let members = jwk.as_object_mut().ok_or_else(|| not("it is no key"))?;
    members.insert("use".to_owned(), json!("jwt-svid"));
    members.insert("kid".to_owned(), json!(name));
    Ok((jwk, name))
}

/// A point as RFC 7518 writes it: behind a byte that says that both numbers follow
fn coordinates(point: &[u8]) -> Value {
    let number = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(point.get(range).unwrap_or_default());
    json!({ "crv": "P-256", "kty": "EC", "x": number(1..33), "y": number(33..65) })
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("domain", &self.domain).field("kid", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for X509 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509").field("serial", &self.serial).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
