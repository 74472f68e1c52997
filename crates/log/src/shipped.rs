//! Logs of other gateways that were shipped to this one: each in a folder of its own, which only ever becomes longer.
//!
//! Whoever ships is `SHIPPER`, known by what it has proven, and nobody writes below another's name. `LOG` is the hash of the
//! group that first names the answer key of the log: it commits to that key and to everything before it. So a log with
//! another key is another log, and what is signed by the key is the only way on.

use crate::{Open, Options, Reader, Sqlite, header, verify::Chain};
use portreeve_core::{
    event::{Changed, Event, KeyUse, NewKey, decode},
    hash::Hash,
    log::{Append, Group, Head, Log as _, Read, Space},
    names::Name,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Name of the folder with shipped logs in a data folder
pub const FOLDER: &str = "shipped";
/// Groups from the beginning of a log in which its answer key has to stand
pub const BEGINNING: usize = 16;
/// Groups that are read at a time
const GROUPS: usize = 256;

/// The place of one shipped log
#[derive(Clone, Debug)]
pub struct Place {
    folder: PathBuf,
    log: Hash,
}

/// Why groups are not taken
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// They contradict what was taken before: one of two histories is not the true one
    #[error("group {n} is not the one that was taken before")]
    Forked {
        /// The first group that differs
        n: u64,
    },
    /// They begin after the end of what was taken before
    #[error("group {} is missing between what was taken before and these", .after.n.saturating_add(1))]
    Gap {
        /// Where that ends
        after: Head,
    },
    /// They end before what was taken before ends
    #[error("more was taken before, up to group {}", .have.n)]
    Behind {
        /// Where that ends
        have: Head,
    },
    /// They do not hold together, or do not end where the checkpoint says
    #[error("{0}")]
    Broken(String),
    /// There is no room
    #[error("there is no room for it")]
    Full,
    /// The disk failed
    #[error("{0}")]
    Storage(String),
}

/// Which log it is, and whose key answers for it
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The hash of the first group, which is the tenant of the data folder
    pub tenant: Hash,
    /// The hash of the group that first names the answer key
    pub log: Hash,
    /// The answer key at the end
    pub key: String,
}

/// Reads who answers for a log, group by group
#[derive(Clone, Debug, Default)]
pub struct Keys {
    head: Head,
    tenant: Option<Hash>,
    found: Option<Origin>,
}

impl Keys {
    /// Adds the next group; `vouched` says whether the key before has vouched for another one
    ///
    /// # Errors
    /// The group cannot be read, or its key takes over from nobody.
    pub fn add(&mut self, group: &Group, vouched: impl Fn(&str, &NewKey) -> bool) -> Result<(), String> {
        let before = std::mem::replace(&mut self.head, group.head());
        let tenant = *self.tenant.get_or_insert_with(|| group.hash());
        // All of a group is read, also where nothing of it is looked at: what cannot be read is no record.
        for record in decode(before, group).map_err(|error| error.to_string())? {
            let Event::Changed(Changed::Key(new)) = record.event else { continue };
            if new.of != KeyUse::Answer {
                continue;
            }
            match &mut self.found {
                None => self.found = Some(Origin { tenant, log: group.hash(), key: new.key }),
                Some(found) => {
                    if new.before.as_ref() != Some(&found.key) || !vouched(&tenant.to_string(), &new) {
                        return Err(
                            "another answer key takes over, and the one before has not vouched for it".to_owned()
                        );
                    }
                    found.key = new.key;
                }
            }
        }
        Ok(())
    }

    /// Which log it is; nothing before its answer key has been read
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.found.as_ref()
    }
}

/// Which log is in a data folder
///
/// # Errors
/// [`Read`]
pub fn origin(log: &Reader) -> Result<Option<Hash>, Read> {
    let mut keys = Keys::default();
    for group in log.groups(0, BEGINNING)? {
        keys.add(&group, |_, _| true).map_err(|why| Read::Broken { n: group.n, why })?;
        if let Some(found) = keys.origin() {
            return Ok(Some(found.log));
        }
    }
    Ok(None)
}

/// Every shipped log of a data folder, by shipper
///
/// # Errors
/// The folder cannot be read.
pub fn list(data: &Path) -> std::io::Result<Vec<(Name, Place)>> {
    let mut found = Vec::new();
    for shipper in entries(&data.join(FOLDER))? {
        let Some(name) = named::<Name>(&shipper) else { continue };
        found.extend(entries(&shipper)?.into_iter().filter_map(|folder| {
            let log = named(&folder)?;
            Some((name.clone(), Place { folder, log }))
        }));
    }
    Ok(found)
}

fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => {
            let mut paths = read?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
            paths.sort();
            Ok(paths)
        }
    }
}

fn named<T: std::str::FromStr>(path: &Path) -> Option<T> {
    path.file_name()?.to_str()?.parse().ok()
}

/// Bytes of all shipped logs of a data folder
///
/// # Errors
/// The folder cannot be read.
pub fn bytes(data: &Path) -> std::io::Result<u64> {
    let mut sum = 0u64;
    for (_, place) in list(data)? {
        for file in entries(place.folder())? {
            sum = sum.saturating_add(fs::metadata(file)?.len());
        }
    }
    Ok(sum)
}

impl Place {
    /// Of this log, as this shipper brings it
    #[must_use]
    pub fn of(data: &Path, shipper: &Name, log: Hash) -> Self {
        Self { folder: data.join(FOLDER).join(shipper.as_str()).join(log.to_string()), log }
    }

    /// The folder, which is a data folder for whoever reads and verifies
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Which log
    #[must_use]
    pub fn log(&self) -> Hash {
        self.log
    }

    /// The log as it was taken so far, if anything of it was
    ///
    /// # Errors
    /// [`Read::Storage`]
    pub fn reader(&self) -> Result<Option<Reader>, Read> {
        match Reader::open(&self.folder) {
            Ok(reader) => Ok(Some(reader)),
            Err(Open::Empty { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Where what was taken ends
    ///
    /// # Errors
    /// [`Read`]
    pub fn head(&self) -> Result<Head, Read> {
        self.reader()?.map_or(Ok(Head::default()), |reader| reader.head())
    }

    /// Takes what follows, all of it or nothing: `groups` have to end at `upto`, and whoever answers for the log then
    /// has to be whom `signed_by` names
    ///
    /// Groups that were taken before are compared and taken no second time. Nothing is written before everything holds.
    ///
    /// # Errors
    /// [`NotTaken`]
    pub fn take(
        &self,
        groups: &[Group],
        upto: Head,
        signed_by: &str,
        vouched: impl Fn(&str, &NewKey) -> bool,
        options: Options,
    ) -> Result<Head, NotTaken> {
        let before = self.reader().map_err(|error| storage(&error))?;
        let have = before.as_ref().map_or(Ok(Head::default()), Reader::head).map_err(|error| storage(&error))?;
        let mut keys = Keys::default();
        if let Some(reader) = &before {
            while keys.head != have {
                let known = reader.groups(keys.head.n, GROUPS).map_err(|error| storage(&error))?;
                for group in &known {
                    keys.add(group, &vouched).map_err(NotTaken::Storage)?;
                }
                if known.is_empty() {
                    return Err(NotTaken::Storage("what was taken before is broken".to_owned()));
                }
            }
        }
        // What was not signed by whoever answers for the log is nobody's word about it, not even that it is another one.
        if let Some(found) = keys.origin().filter(|found| found.key != signed_by || found.log != self.log) {
            return Err(NotTaken::Broken(format!("the checkpoint is not signed by the log's key {}", found.key)));
        }
        linked(groups, upto).map_err(NotTaken::Broken)?;
        let (known, new): (Vec<&Group>, Vec<&Group>) = groups.iter().partition(|group| group.n <= have.n);
        let stored = |n: u64| {
            let group = before.as_ref().map(|reader| reader.group(n)).transpose().map_err(|error| storage(&error))?;
            Ok::<_, NotTaken>(group.flatten().map(|(_, group)| group.head()))
        };
        for group in known {
            if stored(group.n)? != Some(group.head()) {
                return Err(NotTaken::Forked { n: group.n });
            }
        }
        if upto.n <= have.n {
            return match stored(upto.n)? {
                Some(head) if head == upto && upto == have => Ok(have),
                Some(head) if head == upto => Err(NotTaken::Behind { have }),
                _ => Err(NotTaken::Forked { n: upto.n }),
            };
        }
        match new.first() {
            Some(first) if first.n > have.n.saturating_add(1) => return Err(NotTaken::Gap { after: have }),
            // All of it leads to what the key has signed, and not from what was taken.
            Some(first) if have.n > 0 && header::follows(first, have).is_err() => {
                return Err(NotTaken::Forked { n: first.n });
            }
            Some(_) => {}
            None => return Err(NotTaken::Gap { after: have }),
        }
        let mut chain = Chain::after(have);
        for group in &new {
            chain.add(group).map_err(|error| NotTaken::Broken(error.to_string()))?;
            content(group).map_err(NotTaken::Broken)?;
            keys.add(group, &vouched).map_err(|why| NotTaken::Broken(format!("group {}: {why}", group.n)))?;
        }
        match keys.origin() {
            Some(found) if found.log == self.log && found.key == signed_by => {}
            _ => return Err(NotTaken::Broken("the checkpoint is not signed by the key of this log".to_owned())),
        }
        self.append(have, &new, options)
    }

    fn append(&self, have: Head, groups: &[&Group], options: Options) -> Result<Head, NotTaken> {
        let mut log = Sqlite::open(&self.folder, options).map_err(|error| NotTaken::Storage(error.to_string()))?;
        let mut head = log.head();
        if head != have {
            return Err(NotTaken::Storage("somebody else writes here".to_owned()));
        }
        for group in groups {
            head = log.append(head, group, Space::Ordinary).map_err(|error| match error {
                Append::Full => NotTaken::Full,
                error => NotTaken::Storage(error.to_string()),
            })?;
        }
        Ok(head)
    }
}

/// Whether groups follow each other up to the one that was signed, whatever they begin with
fn linked(groups: &[Group], upto: Head) -> Result<(), String> {
    for pair in groups.windows(2) {
        if let [before, group] = pair {
            header::follows(group, before.head()).map_err(|why| format!("group {}: {why}", group.n))?;
        }
    }
    match groups.last() {
        Some(last) if last.head() != upto => Err("the groups do not end where the checkpoint says".to_owned()),
        _ => Ok(()),
    }
}

/// Whether the content that a group brings is content that it names
fn content(group: &Group) -> Result<(), String> {
    let body = String::from_utf8_lossy(&group.body);
    for (digest, bytes) in &group.blobs {
        if Hash::of(bytes) != *digest || !body.contains(&digest.to_string()) {
            return Err(format!("group {} does not name the content {} that it brings", group.n, digest.short()));
        }
    }
    Ok(())
}

fn storage(error: &Read) -> NotTaken {
    NotTaken::Storage(error.to_string())
}

/// The content that a group names, which travels with it
///
/// # Errors
/// [`Read`]
pub fn content_of(log: &Reader, before: Head, group: &Group) -> Result<Vec<(Hash, Vec<u8>)>, Read> {
    let broken = |error: portreeve_core::event::Form| Read::Broken { n: group.n, why: error.to_string() };
    let mut found = Vec::new();
    for record in decode(before, group).map_err(broken)? {
        let digests: Vec<Hash> = match record.event {
            Event::Changed(Changed::Bundle { digest, .. }) => vec![digest],
            Event::Changed(Changed::Pins { accepted, .. }) => accepted.values().map(|one| one.blob).collect(),
            _ => Vec::new(),
        };
        for digest in digests {
            if let Some(bytes) = log.blob(digest)? {
                found.push((digest, bytes));
            }
        }
    }
    Ok(found)
}
