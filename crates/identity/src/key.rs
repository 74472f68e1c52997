//! The key that signs tokens: a file that only its owner can read.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use std::{
    fmt, fs, io,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// An Ed25519 key pair in PKCS#8
pub struct SigningKey {
    pkcs8: Vec<u8>,
    public: Vec<u8>,
}

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

    fn of(pkcs8: Vec<u8>) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).ok()?;
        Some(Self { public: pair.public_key().as_ref().to_vec(), pkcs8 })
    }

    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    pub(crate) fn public(&self) -> &[u8] {
        &self.public
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}
