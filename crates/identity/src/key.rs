//! Keys that sign, and what others check signatures with.
//!
//! A key is in the memory of this process, or in something that signs for us and never gives it away. Where keys come
//! from is said by [`Source`](source::Source); which of them counts when, by the [`keyring`](crate::keyring).

pub mod folder;
pub mod pkcs11;
pub mod source;

use crate::{base64url, jose::Thumbprint};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use folder::Folder;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};
use zeroize::Zeroizing;

/// An Ed25519 key pair
///
/// What is in memory is wiped when it is dropped; nothing prints it.
pub struct SigningKey {
    holder: Holder,
    public: PublicKey,
}

/// Who holds the private key
enum Holder {
    /// This process
    Memory(Ed25519KeyPair),
    /// Something that signs and keeps it
    Elsewhere(Box<dyn Signer>),
}

/// Signs with an Ed25519 key that stays where it is
pub trait Signer: Send + Sync {
    /// The signature of `message`: 64 bytes (RFC 8032, 5.1.6)
    ///
    /// # Errors
    /// [`Unsigned`]
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unsigned>;
}

/// The key did not sign
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key did not sign: {0}")]
pub struct Unsigned(pub String);

/// An Ed25519 public key (RFC 8032), written `ed25519:` and standard base64
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// What stands before a public key in text
const PREFIX: &str = "ed25519:";

/// Why there is no key to sign with
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written
    #[error("the key file {path} cannot be used")]
    File {
        /// Which
        path: PathBuf,
        /// Why
        #[source]
        source: io::Error,
    },
    /// Somebody else can read it
    #[error("the key file {path} can be read by others (mode {mode:o}); set it to 600")]
    Open {
        /// Which
        path: PathBuf,
        /// Its permission bits
        mode: u32,
    },
    /// It belongs to another account
    #[error("{path} belongs to the account {owner}; it has to be ours")]
    Owner {
        /// Which
        path: PathBuf,
        /// Whose it is
        owner: u32,
    },
    /// It is a link, or something that holds no bytes
    #[error("{path} is no plain file or folder")]
    Kind {
        /// Which
        path: PathBuf,
    },
    /// It is no Ed25519 key
    #[error("{from} holds no Ed25519 key: expected PKCS#8 or a seed of 32 bytes, as they are or in base64")]
    Form {
        /// Which file, variable or credential
        from: String,
    },
    /// There is nothing where it should be
    #[error("there is no key in {from}")]
    Missing {
        /// Which variable or credential
        from: String,
    },
    /// The token of a PKCS#11 module cannot be used
    #[error("the key {from} cannot be used: {why}")]
    Token {
        /// Which, without its PIN
        from: String,
        /// What the module said
        why: String,
    },
    /// A key that was given up is there again
    #[error("the {name} key in {from} was given up before ({key}); it is not taken up again")]
    GivenUp {
        /// Which key
        name: &'static str,
        /// Where it is
        from: String,
        /// Its public key
        key: String,
    },
    /// It does not sign, or not the same way each time
    #[error("the {name} key in {from} cannot be used")]
    Unsigned {
        /// Which key
        name: &'static str,
        /// Where it is
        from: String,
        /// Why
        #[source]
        source: Unsigned,
    },
    /// No key could be made
    #[error("no key could be made")]
    Make,
}

impl SigningKey {
    /// The key in `path`, made anew if there is none
    ///
    /// # Errors
    /// [`Error`]: a key that others can read is refused.
    pub fn load_or_make(path: &Path) -> Result<Self, Error> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Err(Error::Kind { path: path.to_owned() });
        };
        Folder::at(parent)?.load_or_make(name)
    }

    /// A key that is kept nowhere
    ///
    /// # Errors
    /// [`Error::Make`]
    pub fn make() -> Result<Self, Error> {
        Self::of(Ed25519KeyPair::generate().map_err(|_| Error::Make)?).ok_or(Error::Make)
    }

    /// The key of this seed; nothing if it is not 32 bytes
    pub(crate) fn from_seed(seed: &[u8]) -> Option<Self> {
        if seed.len() != 32 {
            return None;
        }
        Self::of(Ed25519KeyPair::from_seed_unchecked(seed).ok()?)
    }

    /// The key in what somebody keeps: PKCS#8 or a seed, as they are, in base64, or PEM
    ///
    /// Nothing if it is none of them.
    #[must_use]
    pub fn read(kept: &[u8]) -> Option<Self> {
        if let Some(key) = Self::decoded(kept) {
            return Some(key);
        }
        let text = std::str::from_utf8(kept).ok()?;
        let mut base64 = Zeroizing::new(Vec::with_capacity(text.len()));
        base64.extend(text.lines().filter(|line| !line.starts_with("-----")).flat_map(|line| line.trim().bytes()));
        let mut der = Zeroizing::new(vec![0; base64.len() + 3]);
        let length = STANDARD.decode_slice(&*base64, &mut der).ok()?;
        Self::decoded(der.get(..length)?)
    }

    fn decoded(kept: &[u8]) -> Option<Self> {
        match Ed25519KeyPair::from_pkcs8(kept) {
            Ok(pair) => Self::of(pair),
            // A password of 32 characters is no seed.
            Err(_) if kept.is_ascii() => None,
            Err(_) => Self::from_seed(kept),
        }
    }

    /// A key that something else holds
    pub(crate) fn elsewhere(signer: Box<dyn Signer>, public: PublicKey) -> Self {
        Self { holder: Holder::Elsewhere(signer), public }
    }

    fn of(pair: Ed25519KeyPair) -> Option<Self> {
        let public = PublicKey::from_bytes(pair.public_key().as_ref())?;
        Some(Self { holder: Holder::Memory(pair), public })
    }

    /// The signature of `message`: 64 bytes, the same every time (RFC 8032, 5.1.6)
    ///
    /// # Errors
    /// [`Unsigned`]: whoever holds the key does not sign now.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unsigned> {
        match &self.holder {
            Holder::Memory(pair) => pair
                .try_sign(message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| Unsigned("the system does not give what is needed".to_owned())),
            Holder::Elsewhere(signer) => signer.sign(message),
        }
    }

    /// What others check the signatures with
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// How it is kept in a file: PKCS#8; nothing if it does not leave where it is
    pub(crate) fn kept(&self) -> Option<Zeroizing<Vec<u8>>> {
        match &self.holder {
            Holder::Memory(pair) => Some(Zeroizing::new(pair.to_pkcs8().ok()?.as_ref().to_vec())),
            Holder::Elsewhere(_) => None,
        }
    }
}

impl PublicKey {
    /// The key of these bytes; nothing if they are not 32
    ///
    /// Bytes that are no point of the curve are only noticed in that no signature fits.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The key as it stands in protocols: 32 bytes (RFC 8032, 5.1.5)
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The thumbprint of it as a JWK (RFC 7638 with RFC 8037, 2), by which tokens name it
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let x = base64url::encode(&self.0);
        Thumbprint::of_members(&[("crv", "Ed25519"), ("kty", "OKP"), ("x", &x)]).to_string()
    }

    /// Whether its owner made `signature` for exactly `message`
    #[must_use]
    pub fn fits(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no public key
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no public key: expected ed25519: and 32 bytes in base64")]
pub struct NoKey;

impl FromStr for PublicKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let bytes = STANDARD.decode(text.strip_prefix(PREFIX).ok_or(NoKey)?).map_err(|_| NoKey)?;
        Self::from_bytes(&bytes).ok_or(NoKey)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Says nothing but whose key it is
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, ..)", self.public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2).unwrap(), 16).unwrap()).collect()
    }

    /// RFC 8032, 7.1, TEST 2
    #[test]
    fn signs_as_the_specification_says() {
        let seed = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let public = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = hex(concat!(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ));
        let key = SigningKey::from_seed(&seed).unwrap();
        assert_eq!(key.public_key().as_bytes(), public);
        assert_eq!(key.sign(b"\x72").unwrap(), signature);
        assert!(key.public_key().fits(b"\x72", &signature));
        assert!(!key.public_key().fits(b"\x73", &signature));
        assert!(!SigningKey::make().unwrap().public_key().fits(b"\x72", &signature));
        for at in 0..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(!key.public_key().fits(b"\x72", &changed), "{at}");
        }
        assert!(!key.public_key().fits(b"\x72", &signature[..63]));
        assert!(SigningKey::from_seed(&seed[1..]).is_none());
    }

    /// RFC 8037, appendix A.3
    #[test]
    fn the_thumbprint_is_that_of_the_specification() {
        let public = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let key = PublicKey::from_bytes(&public).unwrap();
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_key_is_read_in_every_form_that_people_keep_it_in_and_never_shown() {
        let seed = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let key = SigningKey::from_seed(&seed).unwrap();
        let version2 = key.kept().unwrap().to_vec();
        // As `openssl genpkey` writes it: version 1, without the public key.
        let version1 = [&hex("302e020100300506032b657004220420")[..], &seed].concat();
        for der in [&seed, &version1, &version2] {
            let base64 = STANDARD.encode(der);
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n");
            for kept in [der.clone(), base64.clone().into_bytes(), format!("{base64}\n").into_bytes(), pem.into_bytes()]
            {
                assert_eq!(SigningKey::read(&kept).map(|key| key.public_key()), Some(key.public_key()), "{kept:?}");
            }
        }
        let shown = format!("{key:?}");
        assert!(!shown.contains("4ccd") && !shown.contains("76, 205"), "{shown}");
        for bad in [&b""[..], b"x", &seed[1..], &version1[1..], STANDARD.encode(&seed[1..]).as_bytes()] {
            assert!(SigningKey::read(bad).is_none(), "{bad:?}");
        }
        // A public key that does not belong to the private one.
        let mut mixed = version2.clone();
        *mixed.last_mut().unwrap() ^= 1;
        assert!(SigningKey::read(&mixed).is_none());
    }

    #[test]
    fn a_public_key_is_read_as_it_is_written_and_no_other_way() {
        let key = SigningKey::make().unwrap().public_key();
        let text = key.to_string();
        assert!(text.starts_with("ed25519:") && text.ends_with('='), "{text}");
        assert_eq!(text.parse(), Ok(key));
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
        let bare = text.trim_start_matches("ed25519:").to_owned();
        for bad in ["", "ed25519:", "ed25519:AAAA", &bare, &text.replace('=', ""), &format!(" {text}")] {
            assert_eq!(bad.parse::<PublicKey>(), Err(NoKey), "{bad}");
        }
    }
}
