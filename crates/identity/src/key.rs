//! Keys that sign: files that only their owner can read, and what others check signatures with.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{
    fmt, fs, io,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    str::FromStr,
};

/// An Ed25519 key pair in PKCS#8
pub struct SigningKey {
    pkcs8: Vec<u8>,
    pair: Ed25519KeyPair,
    public: PublicKey,
}

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
    /// It is no Ed25519 key
    #[error("the key file {path} holds no Ed25519 key in PKCS#8")]
    Form {
        /// Which
        path: PathBuf,
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
        let file = |source| Error::File { path: path.to_owned(), source };
        match fs::metadata(path) {
            Ok(metadata) => {
                let mode = metadata.permissions().mode() & 0o777;
                if mode & 0o077 != 0 {
                    return Err(Error::Open { path: path.to_owned(), mode });
                }
                let pkcs8 = fs::read(path).map_err(file)?;
                Self::of(pkcs8).ok_or_else(|| Error::Form { path: path.to_owned() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Self::make()?;
                let mut options = fs::OpenOptions::new();
                let mut out = options.write(true).create_new(true).mode(0o600).open(path).map_err(file)?;
                out.write_all(&key.pkcs8).and_then(|()| out.sync_all()).map_err(file)?;
                Ok(key)
            }
            Err(error) => Err(file(error)),
        }
    }

    /// A key that is kept nowhere
    ///
    /// # Errors
    /// [`Error::Make`]
    pub fn make() -> Result<Self, Error> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).map_err(|_| Error::Make)?;
        Self::of(pkcs8.as_ref().to_vec()).ok_or(Error::Make)
    }

    /// The key of this seed; nothing if it is not 32 bytes
    pub(crate) fn from_seed(seed: &[u8]) -> Option<Self> {
        if seed.len() != 32 {
            return None;
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        Self::of(pair.to_pkcs8().ok()?.as_ref().to_vec())
    }

    fn of(pkcs8: Vec<u8>) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).ok()?;
        let public = PublicKey::from_bytes(pair.public_key().as_ref())?;
        Some(Self { pkcs8, pair, public })
    }

    /// The signature of `message`: 64 bytes, the same every time (RFC 8032, 5.1.6)
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }

    /// What others check the signatures with
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    pub(crate) fn public(&self) -> &[u8] {
        self.public.as_bytes()
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

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
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
        assert_eq!(key.public(), public);
        assert_eq!(key.sign(b"\x72"), signature);
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
