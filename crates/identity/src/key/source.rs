//! Where a key comes from: `file`, `env:NAME`, `credential:NAME`, or a key in a PKCS#11 token (RFC 7512).

use super::{
    Error, SigningKey,
    folder::{Check, Folder},
    pkcs11::{self, Uri},
};
use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    str::FromStr,
    sync::{Mutex, PoisonError},
};
use zeroize::Zeroizing;

/// Where a key comes from
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of the data folder, made if it is not there
    File,
    /// An environment variable
    Env(String),
    /// A credential that the service manager hands over, by its name
    Credential(String),
    /// A key in a PKCS#11 token, which signs and never gives it away
    Token(Uri),
}

/// The text says nothing of where a key comes from
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoSource(pub String);

/// What sources read from, as it was when the process began
#[derive(Default)]
pub struct Given {
    env: Mutex<BTreeMap<String, Zeroizing<String>>>,
    credentials: Option<PathBuf>,
}

/// Says which variables there were, not what stood in them
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let env = self.env.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Given").field("env", &env.keys()).field("credentials", &self.credentials).finish()
    }
}

impl Given {
    /// Environment variables that hold keys, which are not in the environment any more, and `$CREDENTIALS_DIRECTORY`
    #[must_use]
    pub fn new(env: BTreeMap<String, Zeroizing<String>>, credentials: Option<PathBuf>) -> Self {
        Self { env: Mutex::new(env), credentials }
    }

    /// Forgets what the variables held, once every key has been found
    pub fn wipe(&self) {
        self.env.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The key of a source that is no file of the data folder
    ///
    /// # Errors
    /// [`Error`]
    pub fn load(&self, source: &Source) -> Result<SigningKey, Error> {
        let from = source.to_string();
        match source {
            Source::File => Err(Error::Missing { from }),
            Source::Env(_) | Source::Credential(_) => {
                let kept = self.kept(source)?;
                SigningKey::read(&kept).ok_or(Error::Form { from })
            }
            Source::Token(uri) => {
                let pin = uri.pin_source.as_ref().map(|pin| self.kept(pin)).transpose()?;
                pkcs11::open(uri, pin.as_ref().map(|pin| pin.as_slice()))
            }
        }
    }

    /// What stands there
    fn kept(&self, source: &Source) -> Result<Zeroizing<Vec<u8>>, Error> {
        let missing = || Error::Missing { from: source.to_string() };
        match source {
            Source::Env(name) => {
                let env = self.env.lock().unwrap_or_else(PoisonError::into_inner);
                let text = env.get(name).ok_or_else(missing)?;
                Ok(Zeroizing::new(text.as_bytes().to_vec()))
            }
            Source::Credential(name) => {
                let folder = Folder::at(self.credentials.as_deref().ok_or_else(missing)?)?;
                folder.read(name, Check::System)?.ok_or_else(missing)
            }
            Source::File | Source::Token(_) => Err(missing()),
        }
    }
}

/// Secrets that clients of issuers have, kept as long as the process lives
#[derive(Default)]
pub struct Secrets {
    env: BTreeMap<String, Zeroizing<String>>,
    credentials: Option<PathBuf>,
}

/// Says which variables there were, not what stood in them
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("env", &self.env.keys()).field("credentials", &self.credentials).finish()
    }
}

impl Secrets {
    /// How variables that hold one begin; the policy can name no others
    pub const VARIABLE: &'static str = "PORTREEVE_CLIENT_";

    /// Variables that hold one, which are not in the environment any more, and `$CREDENTIALS_DIRECTORY`
    #[must_use]
    pub fn new(env: BTreeMap<String, Zeroizing<String>>, credentials: Option<PathBuf>) -> Self {
        Self { env, credentials }
    }

    /// The secret that stands there, `env:NAME` or `credential:NAME`, without the line feed at its end
    ///
    /// # Errors
    /// [`Error`]
    pub fn read(&self, from: &str) -> Result<Zeroizing<String>, Error> {
        let missing = || Error::Missing { from: from.to_owned() };
        let text = match from.split_once(':') {
            Some(("env", name)) => self.env.get(name).ok_or_else(missing)?.clone(),
            Some(("credential", name)) if is_name(name) => {
                let folder = Folder::at(self.credentials.as_deref().ok_or_else(missing)?)?;
                let kept = folder.read(name, Check::System)?.ok_or_else(missing)?;
                let text = std::str::from_utf8(&kept).map_err(|_| Error::Form { from: from.to_owned() })?;
                Zeroizing::new(text.to_owned())
            }
            _ => return Err(missing()),
        };
        let trimmed = text.trim_end_matches(['\r', '\n']);
        if trimmed.is_empty() { Err(missing()) } else { Ok(Zeroizing::new(trimmed.to_owned())) }
    }
}

impl Source {
    /// The environment variable that it needs
    #[must_use]
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::Env(name) => Some(name),
            Self::Token(uri) => uri.pin_source.as_deref().and_then(Self::variable),
            Self::File | Self::Credential(_) => None,
        }
    }
}

impl FromStr for Source {
    type Err = NoSource;

    fn from_str(text: &str) -> Result<Self, NoSource> {
        let wrong = |why: &str| NoSource(format!("{text:?} says nothing of where a key comes from: {why}"));
        match text.split_once(':') {
            None if text == "file" => Ok(Self::File),
            Some(("env", name)) if is_variable(name) => Ok(Self::Env(name.to_owned())),
            Some(("env", _)) => Err(wrong("an environment variable is named with A-Z, 0-9 and _")),
            Some(("credential", name)) if is_name(name) => Ok(Self::Credential(name.to_owned())),
            Some(("credential", _)) => Err(wrong("a credential is named with letters, digits, '.', '_' and '-'")),
            // What is wrong with an address may be its PIN, so nothing of it is told.
            Some(("pkcs11", _)) => text.parse().map(Self::Token),
            _ => Err(wrong("expected file, env:NAME, credential:NAME or pkcs11:…")),
        }
    }
}

/// As the record says it: without a PIN, or where one is
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file"),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Token(uri) => uri.fmt(f),
        }
    }
}

fn is_variable(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(plain) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain)
}

#[cfg(test)]
mod tests;
