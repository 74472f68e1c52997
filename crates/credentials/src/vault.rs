//! The vault: secrets at rest, each under a key of its own that is sealed with the master key.
//!
//! A record is a file of the folder. Its key and its content are bound to the data folder, its name and its version, so that
//! no file can stand in for another or for an earlier one of its own. Exchanging the master key seals the keys anew and
//! touches no content ([`Vault::reseal`]). What is in it comes out only as a [`Secret`], for a back end.

use crate::{name::LeaseName, secret::Secret, source};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hmac,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_core::{names::Name, time::Millis};
use portreeve_identity::{
    key::{self, folder::Folder},
    seal::Sealer,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use zeroize::{Zeroize as _, Zeroizing};

/// Secrets of one data folder
#[derive(Debug)]
pub struct Vault {
    folder: Folder,
    /// The data folder, which no other one is
    tenant: String,
    sealer: Arc<Sealer>,
    /// With what secrets are compared without being kept side by side
    prints: hmac::Key,
    // One writer at a time; held while files are written, never across an await.
    writing: Mutex<()>,
    /// How often each was taken out
    used: Mutex<BTreeMap<Name, u64>>,
}

/// Why the vault does not do what was asked
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder or a file cannot be used
    #[error("{0}")]
    File(#[from] key::Error),
    /// There is no such secret
    #[error("the vault has no secret called {0}; put it there with `portreeve secret set {0}`")]
    Missing(Name),
    /// It cannot be opened: another master key, another data folder, or a changed file
    #[error("the secret {0} cannot be opened with the master key of this data folder")]
    Sealed(String),
    /// The same secret is there under another name
    #[error("this is the same secret as {0}: a secret has one name, so that it has one holder")]
    Twice(Name),
    /// It is longer than anything that is a secret, or empty
    #[error("a secret has 1 to {SECRET_BYTES_MAX} bytes of text without control characters at its ends")]
    Form,
    /// There are too many
    #[error("the vault holds at most {SECRETS_MAX} secrets")]
    Full,
    /// The system cannot encrypt
    #[error("the system cannot encrypt")]
    System,
}

/// A secret, without what is in it
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its name
    pub name: Name,
    /// How often it was exchanged, from 1
    pub version: u32,
    /// When it was put there
    pub made: Millis,
    /// Until when the one before it is still tried
    pub before_until: Option<Millis>,
    /// The secret of another name that is the same, if somebody accepted that
    pub twin: Option<Name>,
    /// How often it was taken out for a back end since this process began
    pub used: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    versions: Vec<Sealed>,
    /// The same secret under another name, which somebody accepted
    #[serde(default, skip_serializing_if = "Option::is_none")]
    twin: Option<Name>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sealed {
    n: u32,
    made: Millis,
    /// Until when it is tried; the current one has no end
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Millis>,
    /// The key of this version, sealed with the master key
    key: String,
    /// The secret, under that key
    content: String,
    /// A keyed fingerprint of it
    print: String,
}

/// Bytes of one secret: a chain of certificates with its key fits
pub const SECRET_BYTES_MAX: usize = 32 * 1024;
/// Secrets of one data folder
pub const SECRETS_MAX: usize = 1_024;
/// Versions of one secret that are kept while they are still tried
const VERSIONS_MAX: usize = 4;
/// Bytes of a file
const FILE_BYTES_MAX: usize = 4 * 64 * 1024;
/// The key of fingerprints, which is no secret of anybody
const PRINTS: &str = "prints";
/// How files of secrets are called
const SECRET: &str = ".secret";
/// How files of what leases are taken back with are called
const LEASE: &str = ".lease";
/// How files of accounts are called that people connected: `SOURCE.USER.account`, of which neither name has a dot
const ACCOUNT: &str = ".account";
/// And those that are held while a lease is being issued
const ISSUING: &str = ".issuing";

impl Vault {
    /// The vault in a folder, made if it is not there
    ///
    /// # Errors
    /// [`Error`]
    pub fn open(path: &Path, tenant: String, sealer: Arc<Sealer>) -> Result<Self, Error> {
        let folder = Folder::open(path)?;
        let context = format!("vault prints {tenant}");
        let prints = match folder.take(PRINTS, FILE_BYTES_MAX)? {
            Some(sealed) => {
                let opened = std::str::from_utf8(&sealed).ok().and_then(|sealed| sealer.open(&context, sealed));
                Zeroizing::new(opened.ok_or_else(|| Error::Sealed(PRINTS.to_owned()))?)
            }
            None => {
                let key = random()?;
                let sealed = sealer.seal(&context, key.as_ref()).ok_or(Error::System)?;
                folder.put(PRINTS, sealed.as_bytes())?;
                Zeroizing::new(key.to_vec())
            }
        };
        let prints = hmac::Key::new(hmac::HMAC_SHA256, &prints);
        Ok(Self { folder, tenant, sealer, prints, writing: Mutex::new(()), used: Mutex::default() })
    }

    /// Puts a secret there, or another one in its place; the one before it is still tried until `overlap`
    ///
    /// # Errors
    /// [`Error`]; [`Error::Twice`] unless `twin` accepts that the same is there under another name.
    pub fn set(
        &self,
        name: &Name,
        secret: &Secret,
        (now, overlap): (Millis, Option<Millis>),
        accepts_twin: bool,
    ) -> Result<Listed, Error> {
        let text = secret.expose();
        if text.is_empty() || text.len() > SECRET_BYTES_MAX || text.trim() != text || text.contains('\0') {
            return Err(Error::Form);
        }
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let print = self.print(text);
        let twin = self.twin(name, &print)?;
        if let Some(twin) = twin.clone().filter(|_| !accepts_twin) {
            return Err(Error::Twice(twin));
        }
        let before = self.record(name)?;
        if before.is_none() && self.names(SECRET)?.len() >= SECRETS_MAX {
            return Err(Error::Full);
        }
        let mut versions = before.map(|record| record.versions).unwrap_or_default();
        let n = versions.first().map_or(0, |version| version.n).saturating_add(1);
        for version in &mut versions {
            let until = overlap.unwrap_or(now);
            version.until = Some(version.until.map_or(until, |before| before.min(until)));
        }
        versions.retain(|version| version.until.is_some_and(|until| now < until));
        versions.insert(0, self.sealed((name.as_str(), n), text, now, print)?);
        versions.truncate(VERSIONS_MAX);
        let record = Record { versions, twin };
        self.write(name, &record)?;
        self.listed(name, &record, now).ok_or_else(|| Error::Missing(name.clone()))
    }

    /// A secret
    ///
    /// # Errors
    /// [`Error`]
    pub fn get(&self, name: &Name) -> Result<Secret, Error> {
        let record = self.record(name)?.ok_or_else(|| Error::Missing(name.clone()))?;
        let current = record.versions.first().ok_or_else(|| Error::Missing(name.clone()))?;
        self.count(name);
        self.unsealed(name.as_str(), current)
    }

    /// A secret, and those before it that are still tried, the current one first
    ///
    /// # Errors
    /// [`Error`]
    pub fn all(&self, name: &Name, now: Millis) -> Result<Vec<Secret>, Error> {
        let record = self.record(name)?.ok_or_else(|| Error::Missing(name.clone()))?;
        let counts = |version: &&Sealed| version.until.is_none_or(|until| now < until);
        self.count(name);
        record.versions.iter().filter(counts).map(|version| self.unsealed(name.as_str(), version)).collect()
    }

    /// Who Portreeve signs in as, out of a secret of the form `USER:PASSWORD`, the current one first: one that was just
    /// exchanged may not have reached the server yet, so the one before it is tried, too
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn logins(&self, name: &Name) -> Result<Vec<(String, Secret)>, String> {
        let secrets = self.all(name, source::now()).map_err(|error| error.to_string())?;
        let form = || format!("the secret {name} is not of the form USER:PASSWORD");
        let login = |secret: &Secret| {
            secret.expose().split_once(':').map(|(user, password)| (user.to_owned(), password.into())).ok_or_else(form)
        };
        secrets.iter().map(login).collect()
    }

    /// Every secret, by name
    ///
    /// # Errors
    /// [`Error`]
    pub fn list(&self, now: Millis) -> Result<Vec<Listed>, Error> {
        let mut names = self.names(SECRET)?;
        names.sort();
        let mut all = Vec::new();
        for name in names {
            all.extend(self.record(&name)?.and_then(|record| self.listed(&name, &record, now)));
        }
        Ok(all)
    }

    /// Removes a secret; false if there is none
    ///
    /// # Errors
    /// [`Error`]
    pub fn remove(&self, name: &Name) -> Result<bool, Error> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let there = self.record(name)?.is_some();
        self.folder.remove(&format!("{name}{SECRET}"))?;
        Ok(there)
    }

    /// Keeps what a lease is taken back with, until it is
    ///
    /// # Errors
    /// [`Error`]
    pub fn keep(&self, lease: &LeaseName, secret: &Secret) -> Result<(), Error> {
        if secret.expose().len() > SECRET_BYTES_MAX {
            return Err(Error::Form);
        }
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let context = format!("vault lease {} {lease}", self.tenant);
        let sealed = self.sealer.seal(&context, secret.expose().as_bytes()).ok_or(Error::System)?;
        Ok(self.folder.put(&format!("{lease}{LEASE}"), sealed.as_bytes())?)
    }

    /// What a lease is taken back with
    ///
    /// # Errors
    /// [`Error`]
    pub fn kept(&self, lease: &LeaseName) -> Result<Option<Secret>, Error> {
        let Some(sealed) = self.folder.take(&format!("{lease}{LEASE}"), FILE_BYTES_MAX)? else { return Ok(None) };
        let context = format!("vault lease {} {lease}", self.tenant);
        let opened = std::str::from_utf8(&sealed).ok().and_then(|sealed| self.sealer.open(&context, sealed));
        let opened = opened.and_then(|opened| String::from_utf8(opened).ok());
        opened.map(Secret::new).map(Some).ok_or_else(|| Error::Sealed(lease.to_string()))
    }

    /// Forgets what a lease was taken back with
    ///
    /// # Errors
    /// [`Error`]
    pub fn forget(&self, lease: &LeaseName) -> Result<(), Error> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.folder.remove(&format!("{lease}{LEASE}"))?;
        Ok(self.folder.remove(&format!("{lease}{ISSUING}"))?)
    }

    /// The leases of which something is kept here
    ///
    /// # Errors
    /// [`Error`]
    pub fn keeps(&self) -> Result<Vec<String>, Error> {
        let files = self.folder.names()?;
        let of = |file: &String| file.strip_suffix(LEASE).or_else(|| file.strip_suffix(ISSUING)).map(str::to_owned);
        Ok(files.iter().filter_map(of).collect())
    }

    /// What whoever is asked to issue a lease holds open: as long as anybody does, it may still be issued
    ///
    /// # Errors
    /// [`Error`]
    pub fn issuing(&self, lease: &LeaseName) -> Result<OwnedFd, Error> {
        Ok(self.folder.lock(&format!("{lease}{ISSUING}"))?)
    }

    /// Whoever was asked for a lease has said what came of it
    ///
    /// # Errors
    /// [`Error`]
    pub fn issued(&self, lease: &LeaseName) -> Result<(), Error> {
        Ok(self.folder.remove(&format!("{lease}{ISSUING}"))?)
    }

    /// Whether somebody who was asked for a lease, and died or was left alone, may still issue it
    ///
    /// # Errors
    /// [`Error`]
    pub fn is_issuing(&self, lease: &LeaseName) -> Result<bool, Error> {
        Ok(self.folder.is_locked(&format!("{lease}{ISSUING}"))?)
    }

    /// Keeps what is known of an account that a user connected for a source
    ///
    /// # Errors
    /// [`Error`]; what was kept before is still there then.
    pub fn keep_account(&self, source: &Name, user: &Name, account: &Secret) -> Result<(), Error> {
        let context = format!("vault account {} {source}.{user}", self.tenant);
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let sealed = self.sealer.seal(&context, account.expose().as_bytes()).ok_or(Error::System)?;
        Ok(self.folder.put(&format!("{source}.{user}{ACCOUNT}"), sealed.as_bytes())?)
    }

    /// What is known of an account
    ///
    /// # Errors
    /// [`Error`]
    pub fn account(&self, source: &Name, user: &Name) -> Result<Option<Secret>, Error> {
        let file = format!("{source}.{user}{ACCOUNT}");
        let Some(sealed) = self.folder.take(&file, FILE_BYTES_MAX)? else { return Ok(None) };
        let context = format!("vault account {} {source}.{user}", self.tenant);
        let opened = std::str::from_utf8(&sealed).ok().and_then(|sealed| self.sealer.open(&context, sealed));
        let opened = opened.and_then(|opened| String::from_utf8(opened).ok());
        opened.map(Secret::new).map(Some).ok_or(Error::Sealed(file))
    }

    /// Forgets an account
    ///
    /// # Errors
    /// [`Error`]
    pub fn forget_account(&self, source: &Name, user: &Name) -> Result<(), Error> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.folder.remove(&format!("{source}.{user}{ACCOUNT}"))?)
    }

    /// Every account that is kept: its source, and its user
    ///
    /// # Errors
    /// [`Error`]
    pub fn accounts(&self) -> Result<Vec<(Name, Name)>, Error> {
        let names = self.folder.names()?;
        let read = |file: &String| {
            let (source, user) = file.strip_suffix(ACCOUNT)?.split_once('.')?;
            Some((source.parse().ok()?, user.parse().ok()?))
        };
        let mut all: Vec<(Name, Name)> = names.iter().filter_map(read).collect();
        all.sort();
        Ok(all)
    }

    fn listed(&self, name: &Name, record: &Record, now: Millis) -> Option<Listed> {
        let current = record.versions.first()?;
        let before_until = record.versions.get(1).and_then(|version| version.until).filter(|until| now < *until);
        let (version, made, twin) = (current.n, current.made, record.twin.clone());
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or_default();
        Some(Listed { name: name.clone(), version, made, before_until, twin, used })
    }

    fn count(&self, name: &Name) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let used = used.entry(name.clone()).or_default();
        *used = used.saturating_add(1);
    }

    /// Seals every key with the current master key, so that the one before it can go; what no master key opens is left
    /// as it is, and told to whoever asks for it
    ///
    /// # Errors
    /// [`Error`]; what was sealed anew by then is good.
    pub fn reseal(&self) -> Result<(), Error> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let sealed = self.names(SECRET)?.into_iter().map(|name| self.again_secret(&name));
        let prints = std::iter::once_with(|| self.again(PRINTS, &format!("vault prints {}", self.tenant)));
        let files = self.folder.names()?;
        let leases = files.iter().filter_map(|file| Some((file, file.strip_suffix(LEASE)?)));
        let leases = leases.map(|(file, lease)| self.again(file, &format!("vault lease {} {lease}", self.tenant)));
        let accounts = files.iter().filter_map(|file| Some((file, file.strip_suffix(ACCOUNT)?)));
        let accounts =
            accounts.map(|(file, account)| self.again(file, &format!("vault account {} {account}", self.tenant)));
        for done in sealed.chain(prints).chain(leases).chain(accounts) {
            match done {
                Ok(()) | Err(Error::Sealed(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Seals the keys of a secret anew
    fn again_secret(&self, name: &Name) -> Result<(), Error> {
        let Some(mut record) = self.record(name)? else { return Ok(()) };
        for version in &mut record.versions {
            let context = self.context("key", name.as_str(), version.n);
            // One that no key opens takes no other one with it.
            match self.sealer.open(&context, &version.key).map(Zeroizing::new) {
                Some(key) => version.key = self.sealer.seal(&context, &key).ok_or(Error::System)?,
                None => tracing::warn!(secret = %name, version = version.n, "no master key opens what the vault has"),
            }
        }
        self.write(name, &record)
    }

    /// Seals a file anew
    fn again(&self, file: &str, context: &str) -> Result<(), Error> {
        let Some(sealed) = self.folder.take(file, FILE_BYTES_MAX)? else { return Ok(()) };
        let opened = std::str::from_utf8(&sealed).ok().and_then(|sealed| self.sealer.open(context, sealed));
        let opened = Zeroizing::new(opened.ok_or_else(|| Error::Sealed(file.to_owned()))?);
        let sealed = self.sealer.seal(context, &opened).ok_or(Error::System)?;
        Ok(self.folder.put(file, sealed.as_bytes())?)
    }

    fn context(&self, what: &str, name: &str, n: u32) -> String {
        format!("vault {what} {} {name} {n}", self.tenant)
    }

    fn sealed(&self, (name, n): (&str, u32), text: &str, made: Millis, print: String) -> Result<Sealed, Error> {
        let key = random()?;
        let sealing = RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).map_err(|_| Error::System)?;
        let mut content = text.as_bytes().to_vec();
        let context = self.context("secret", name, n);
        let nonce = sealing.seal_in_place_append_tag(Aad::from(&context), &mut content).map_err(|_| Error::System)?;
        let content = URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &content].concat());
        let key = self.sealer.seal(&self.context("key", name, n), key.as_ref()).ok_or(Error::System)?;
        Ok(Sealed { n, made, until: None, key, content, print })
    }

    fn unsealed(&self, name: &str, version: &Sealed) -> Result<Secret, Error> {
        let open = || {
            let key = Zeroizing::new(self.sealer.open(&self.context("key", name, version.n), &version.key)?);
            let opening = RandomizedNonceKey::new(&AES_256_GCM, &key).ok()?;
            let mut nonce = URL_SAFE_NO_PAD.decode(&version.content).ok()?;
            let mut content = nonce.split_off(NONCE_LEN.min(nonce.len()));
            let nonce = Nonce::try_assume_unique_for_key(&nonce).ok()?;
            let context = self.context("secret", name, version.n);
            let opened = opening.open_in_place(nonce, Aad::from(&context), &mut content).ok()?.to_vec();
            content.zeroize();
            String::from_utf8(opened).ok().map(Secret::new)
        };
        open().ok_or_else(|| Error::Sealed(name.to_owned()))
    }

    fn print(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.prints, text.as_bytes()).as_ref())
    }

    /// Who has the same secret under another name
    fn twin(&self, name: &Name, print: &str) -> Result<Option<Name>, Error> {
        for other in self.names(SECRET)?.into_iter().filter(|other| other != name) {
            let same = |record: &Record| record.versions.iter().any(|version| version.print == print);
            if self.record(&other)?.as_ref().is_some_and(same) {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    fn names(&self, ending: &str) -> Result<Vec<Name>, Error> {
        let names = self.folder.names()?;
        Ok(names.iter().filter_map(|file| file.strip_suffix(ending)?.parse().ok()).collect())
    }

    fn record(&self, name: &Name) -> Result<Option<Record>, Error> {
        let Some(file) = self.folder.take(&format!("{name}{SECRET}"), FILE_BYTES_MAX)? else { return Ok(None) };
        serde_json::from_slice(&file).map(Some).map_err(|_| Error::Sealed(name.to_string()))
    }

    fn write(&self, name: &Name, record: &Record) -> Result<(), Error> {
        let text = serde_json::to_vec(record).map_err(|_| Error::System)?;
        Ok(self.folder.put(&format!("{name}{SECRET}"), &text)?)
    }
}

fn random() -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(key.as_mut()).map_err(|_| Error::System)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_identity::{key::SigningKey, keyring::Keys};
    use std::fs;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn vault(folder: &Path, tenant: &str, sealer: &Arc<Sealer>) -> Result<Vault, Error> {
        Vault::open(&folder.join("vault"), tenant.to_owned(), Arc::clone(sealer))
    }

    #[test]
    fn what_is_put_there_comes_out_and_nothing_of_it_lies_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let sealer = Arc::new(Sealer::new(&SigningKey::make().unwrap()).unwrap());
        let vault = vault(folder.path(), "t", &sealer).unwrap();
        let secret = Secret::from("hunter2-hunter2");
        assert!(matches!(vault.get(&name("db")), Err(Error::Missing(_))));
        let listed = vault.set(&name("db"), &secret, (Millis(5), None), false).unwrap();
        assert_eq!((listed.version, listed.made), (1, Millis(5)));
        assert_eq!(vault.get(&name("db")).unwrap(), secret);
        for entry in fs::read_dir(folder.path().join("vault")).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"));
        }
        assert!(vault.remove(&name("db")).unwrap());
        assert!(!vault.remove(&name("db")).unwrap());
        for bad in ["", " x", "x\n", &"x".repeat(SECRET_BYTES_MAX + 1)] {
            assert!(matches!(vault.set(&name("db"), &bad.into(), (Millis(0), None), false), Err(Error::Form)));
        }
    }

    #[test]
    fn the_one_before_is_tried_until_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let sealer = Arc::new(Sealer::new(&SigningKey::make().unwrap()).unwrap());
        let vault = vault(folder.path(), "t", &sealer).unwrap();
        let db = name("db");
        vault.set(&db, &"one".into(), (Millis(0), None), false).unwrap();
        let listed = vault.set(&db, &"two".into(), (Millis(10), Some(Millis(20))), false).unwrap();
        assert_eq!((listed.version, listed.before_until), (2, Some(Millis(20))));
        assert_eq!(vault.get(&db).unwrap(), "two".into());
        assert_eq!(vault.all(&db, Millis(19)).unwrap(), ["two".into(), "one".into()]);
        assert_eq!(vault.all(&db, Millis(20)).unwrap(), ["two".into()]);
        vault.set(&db, &"three".into(), (Millis(12), None), false).unwrap();
        assert_eq!(vault.all(&db, Millis(12)).unwrap(), ["three".into()]);
    }

    #[test]
    fn the_same_secret_has_one_name_unless_somebody_accepts_two() {
        let folder = tempfile::tempdir().unwrap();
        let sealer = Arc::new(Sealer::new(&SigningKey::make().unwrap()).unwrap());
        let vault = vault(folder.path(), "t", &sealer).unwrap();
        vault.set(&name("a"), &"same".into(), (Millis(0), None), false).unwrap();
        vault.set(&name("a"), &"same".into(), (Millis(0), None), false).unwrap();
        let twice = vault.set(&name("b"), &"same".into(), (Millis(0), None), false);
        assert!(matches!(twice, Err(Error::Twice(ref other)) if *other == name("a")));
        let listed = vault.set(&name("b"), &"same".into(), (Millis(0), None), true).unwrap();
        assert_eq!(listed.twin, Some(name("a")));
    }

    #[test]
    fn no_file_stands_in_for_another_and_no_other_folder_opens_it() {
        let folder = tempfile::tempdir().unwrap();
        let sealer = Arc::new(Sealer::new(&SigningKey::make().unwrap()).unwrap());
        let ours = vault(folder.path(), "t", &sealer).unwrap();
        ours.set(&name("a"), &"one".into(), (Millis(0), None), false).unwrap();
        ours.set(&name("b"), &"two".into(), (Millis(0), None), false).unwrap();
        let path = |name: &str| folder.path().join("vault").join(name);
        fs::copy(path("a.secret"), path("b.secret")).unwrap();
        assert!(matches!(ours.get(&name("b")), Err(Error::Sealed(_))));
        assert_eq!(ours.get(&name("a")).unwrap(), "one".into());
        let early = fs::read(path("a.secret")).unwrap();
        ours.set(&name("a"), &"three".into(), (Millis(0), None), false).unwrap();
        // An earlier version under the later one's number is neither.
        let text = String::from_utf8(early).unwrap().replace("\"n\":1", "\"n\":2");
        fs::write(path("a.secret"), text).unwrap();
        assert!(matches!(ours.get(&name("a")), Err(Error::Sealed(_))));
        assert!(matches!(vault(folder.path(), "other", &sealer), Err(Error::Sealed(_))));
    }

    #[test]
    fn a_new_master_key_opens_everything_once_it_was_sealed_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (SigningKey::make().unwrap(), SigningKey::make().unwrap());
        let sealer = Arc::new(Sealer::new(&first).unwrap());
        let ours = vault(folder.path(), "t", &sealer).unwrap();
        let lease = LeaseName::new(portreeve_core::hash::Hash::of(b"o"), portreeve_core::names::EffectId(1));
        ours.set(&name("a"), &"one".into(), (Millis(0), None), false).unwrap();
        ours.keep(&lease, &"back".into()).unwrap();
        ours.keep_account(&name("cal"), &name("lea"), &"theirs".into()).unwrap();
        // One that nobody can open keeps no other from being sealed anew.
        fs::copy(folder.path().join("vault/a.secret"), folder.path().join("vault/0.secret")).unwrap();
        let keys = Keys::one(first).turned(second.into(), Millis(100));
        assert!(sealer.turn(&keys, Millis(0)));
        ours.reseal().unwrap();
        assert!(sealer.turn(&keys, Millis(100)));
        let ours = vault(folder.path(), "t", &sealer).unwrap();
        assert_eq!(ours.get(&name("a")).unwrap(), "one".into());
        assert_eq!(ours.kept(&lease).unwrap(), Some("back".into()));
        assert_eq!(ours.account(&name("cal"), &name("lea")).unwrap(), Some("theirs".into()));
        assert_eq!(ours.accounts().unwrap(), [(name("cal"), name("lea"))]);
        // Nobody has the account of another user, or of another source.
        for (source, user) in [("cal", "bo"), ("mail", "lea")] {
            let path = |of: &str| folder.path().join("vault").join(of);
            fs::copy(path("cal.lea.account"), path(&format!("{source}.{user}.account"))).unwrap();
            assert!(matches!(ours.account(&name(source), &name(user)), Err(Error::Sealed(_))), "{source}.{user}");
        }
        ours.forget(&lease).unwrap();
        assert_eq!(ours.kept(&lease).unwrap(), None);
    }
}
