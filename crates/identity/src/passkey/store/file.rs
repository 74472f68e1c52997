//! The files themselves: read whole and strictly, written beside and put in place.

use super::{Error, KEYS_MAX, PEOPLE_MAX, Passkey};
use crate::base64url;
use portreeve_core::{names::Name, time::Millis};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

/// A user
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Person {
    /// Which bearer of the name
    pub(super) generation: u64,
    #[serde(with = "base64url")]
    pub(super) handle: Vec<u8>,
    pub(super) keys: Vec<Key>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    #[serde(with = "base64url")]
    pub(super) credential: Vec<u8>,
    #[serde(with = "base64url")]
    pub(super) public_key: Vec<u8>,
    pub(super) label: String,
    pub(super) created: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) used: Option<Millis>,
    pub(super) counter: u32,
    pub(super) synced: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<String>,
}

/// A file: its version, and whose it is, so that it counts for nobody else under another name
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    v: u8,
    user: Name,
    generation: u64,
    #[serde(with = "base64url")]
    handle: Vec<u8>,
    keys: Vec<Key>,
}

const VERSION: u8 = 1;
/// Bytes of a file at most; sixteen keys of the largest kind need a quarter of it
const BYTES_MAX: u64 = 256 << 10;

impl Person {
    pub(super) fn key(&self, credential: &[u8]) -> Option<&Key> {
        self.keys.iter().find(|key| key.credential == credential)
    }

    pub(super) fn key_mut(&mut self, credential: &[u8]) -> Option<&mut Key> {
        self.keys.iter_mut().find(|key| key.credential == credential)
    }
}

impl Key {
    pub(super) fn shown(&self) -> Passkey {
        Passkey {
            credential: self.credential.clone(),
            public_key: self.public_key.clone(),
            label: self.label.clone(),
            created: self.created,
            used: self.used,
            synced: self.synced,
            by: self.by.clone(),
        }
    }
}

/// Everybody in the folder, which is made if there is none
pub(super) fn read_all(folder: &Path) -> Result<BTreeMap<Name, Person>, Error> {
    let wrong = |source| Error::File { path: folder.to_owned(), source };
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(wrong(error)),
    }
    closed(folder, &fs::metadata(folder).map_err(wrong)?)?;
    let mut people = BTreeMap::new();
    let mut credentials = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        // What a write left behind that was interrupted is no file of ours yet.
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        if people.len() >= PEOPLE_MAX {
            return Err(Error::TooMany { path: folder.to_owned() });
        }
        let (user, person) = read(&path)?;
        for key in &person.keys {
            if !credentials.insert(key.credential.clone()) {
                return Err(Error::Damaged { path, what: "a passkey stands in it that another user has".to_owned() });
            }
        }
        people.insert(user, person);
    }
    Ok(people)
}

fn read(path: &Path) -> Result<(Name, Person), Error> {
    let wrong = |source| Error::File { path: path.to_owned(), source };
    let damaged = |what: &str| Error::Damaged { path: path.to_owned(), what: what.to_owned() };
    let file = fs::File::open(path).map_err(wrong)?;
    let metadata = file.metadata().map_err(wrong)?;
    closed(path, &metadata)?;
    if !metadata.is_file() || metadata.len() > BYTES_MAX {
        return Err(damaged("it is no file of at most 256 KiB"));
    }
    let mut text = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut text).map_err(wrong)?;
    let Whole { v, user, generation, handle, keys } =
        serde_json::from_slice(&text).map_err(|error| damaged(&error.to_string()))?;
    if v != VERSION {
        return Err(damaged("another version wrote it"));
    }
    if path.file_stem().and_then(|stem| stem.to_str()) != Some(user.as_str()) {
        return Err(damaged("it is another user's"));
    }
    if handle.len() != 32 || keys.len() > KEYS_MAX {
        return Err(damaged("its handle or the number of its keys is none that we write"));
    }
    Ok((user, Person { generation, handle, keys }))
}

/// Writes one file: whole beside it, then in its place, then both on disk
pub(super) fn write(folder: &Path, user: &Name, person: &Person) -> Result<(), Error> {
    let path = folder.join(format!("{user}.json"));
    let beside = folder.join(format!("{user}.new"));
    let Person { generation, handle, keys } = person.clone();
    let whole = Whole { v: VERSION, user: user.clone(), generation, handle, keys };
    let write = || {
        let text = serde_json::to_vec_pretty(&whole)?;
        let mut options = fs::OpenOptions::new();
        // One that was left behind keeps its mode otherwise.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = options.write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|source| Error::File { path: path.clone(), source })
}

/// Refuses what others can read or write
fn closed(path: &Path, metadata: &fs::Metadata) -> Result<(), Error> {
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Open { path: path.to_owned(), mode });
    }
    Ok(())
}
