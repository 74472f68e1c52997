//! Public keys of passkeys (5.8.5, 6.5.1.1; RFC 9053): COSE keys of three kinds, and the signatures they check.

use super::{
    Wrong,
    cbor::{self, Item},
};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};

/// How a passkey signs
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256
    Es256,
    /// Ed25519
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256; Windows Hello
    Rs256,
}

impl Algorithm {
    /// All of them, in the order in which they are asked for
    pub const ALL: [Self; 3] = [Self::EdDsa, Self::Es256, Self::Rs256];

    /// Its number in the registry "COSE Algorithms"
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Es256 => -7,
            Self::EdDsa => -8,
            Self::Rs256 => -257,
        }
    }
}

/// A public key that signatures can be checked with
pub(super) struct PublicKey {
    algorithm: Algorithm,
    key: Material,
}

enum Material {
    Parsed(ParsedPublicKey),
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

impl PublicKey {
    /// Reads a key; it has what its kind needs and nothing else (6.5.1, `credentialPublicKey`)
    pub(super) fn parse(cose: &[u8]) -> Result<Self, Wrong> {
        let form = || Wrong::Form("public key");
        let item = cbor::whole(cose).ok_or_else(form)?;
        let int = |key| item.at(key).and_then(Item::int);
        let bytes = |key| item.at(key).and_then(Item::bytes);
        let number = int(ALG).ok_or_else(form)?;
        let algorithm = Algorithm::ALL.into_iter().find(|known| known.number() == number).ok_or(Wrong::Algorithm)?;
        let (kind, curve, members) = match algorithm {
            Algorithm::Es256 => (2, Some(1), 5),
            Algorithm::EdDsa => (1, Some(6), 4),
            Algorithm::Rs256 => (3, None, 4),
        };
        // A key of one kind under the name of another is no key that was asked for (5.8.5).
        let curve_fits = curve.is_none_or(|curve| int(-1) == Some(curve));
        if int(KTY) != Some(kind) || !curve_fits || item.map().is_none_or(|map| map.len() != members) {
            return Err(Wrong::Algorithm);
        }
        let coordinate = |key| bytes(key).filter(|bytes| bytes.len() == 32).ok_or_else(form);
        let parsed = |key: Result<ParsedPublicKey, _>| key.map(Material::Parsed).map_err(|_| form());
        let key = match algorithm {
            Algorithm::Es256 => {
                let point = [&[4], coordinate(-2)?, coordinate(-3)?].concat();
                parsed(ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point))?
            }
            Algorithm::EdDsa => parsed(ParsedPublicKey::new(&ED25519, coordinate(-2)?))?,
            Algorithm::Rs256 => {
                let (n, e) = (bytes(-1).ok_or_else(form)?, bytes(-2).ok_or_else(form)?);
                let number = |bytes: &[u8], max| bytes.len() <= max && bytes.first().is_some_and(|first| *first != 0);
                if !number(n, 1024) || !number(e, 8) {
                    return Err(form());
                }
                Material::Rsa { n: n.to_vec(), e: e.to_vec() }
            }
        };
        Ok(Self { algorithm, key })
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether its owner made `signature` for exactly `message`
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Wrong> {
        match &self.key {
            Material::Parsed(key) => key.verify_sig(message, signature),
            Material::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
        }
        .map_err(|_| Wrong::Signature)
    }
}

/// Label of the key's type
const KTY: i64 = 1;
/// Label of the algorithm
const ALG: i64 = 3;
