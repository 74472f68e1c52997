//! The list of revoked certificates that hosts look at, as OpenSSH defines it (PROTOCOL.krl).
//!
//! The format has no place for how long an entry is of use: that stands in the list's comment, which nobody else reads.

use super::wire::{Reading, Wire};
use crate::source::now;
use rustix::fs::{Access, access};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

const MAGIC: &[u8; 8] = b"SSHKRL\n\0";
const FORMAT: u32 = 1;
const CERTIFICATES: u8 = 1;
const SERIALS: u8 = 0x20;
/// How the comment of a list of ours begins
const OURS: &str = "portreeve until";

/// A list is read, changed and put back: one at a time, or one change would lose another
static CHANGING: Mutex<()> = Mutex::new(());

/// What was revoked
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    /// How often it was changed
    pub(super) version: u64,
    /// Serials, and the second until which each is kept, by the authority that signed them
    revoked: BTreeMap<Vec<u8>, BTreeMap<u64, u64>>,
}

impl List {
    /// The list in a file
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        let file = File::open(path)
            .map_err(|error| format!("{}: {error}; an empty list is made with `ssh-keygen -k -f`", path.display()))?;
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        let read = Self::read(&bytes);
        read.ok_or_else(|| format!("{} is no list that Portreeve keeps alone, or an empty one", path.display()))
    }

    /// Whether the list in a file can be read, and another one be put in its place
    pub(super) fn is_usable(path: &Path) -> Result<(), String> {
        Self::load(path)?;
        let path = whole(path)?;
        let folder = path.parent().unwrap_or(&path);
        let may = access(folder, Access::WRITE_OK | Access::EXEC_OK);
        may.map_err(|error| format!("no other list can be put into {}: {error}", folder.display()))
    }

    /// Adds a serial to the list in a file until this second, and reads back that it stands there
    pub(super) fn revoke(path: &Path, authority: &[u8], (serial, until): (u64, u64)) -> Result<Self, String> {
        let _one = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = Self::load(path)?;
        if !list.has(authority, serial) {
            list.add(authority, (serial, until), seconds())?;
            list.store(&whole(path)?).map_err(|error| format!("{}: {error}", path.display()))?;
            list = Self::load(path)?;
        }
        let stands = list.has(authority, serial);
        stands.then_some(list).ok_or_else(|| format!("{} was put back to what it was before", path.display()))
    }

    /// Whether it revokes a serial
    pub(super) fn has(&self, authority: &[u8], serial: u64) -> bool {
        self.revoked.get(authority).is_some_and(|serials| serials.contains_key(&serial))
    }

    /// Adds a serial, and takes out those that count no more by themselves
    fn add(&mut self, authority: &[u8], (serial, until): (u64, u64), at: u64) -> Result<(), String> {
        for serials in self.revoked.values_mut() {
            serials.retain(|_, until| until.saturating_add(KEPT_S) > at);
        }
        self.revoked.retain(|_, serials| !serials.is_empty());
        if self.revoked.values().map(BTreeMap::len).sum::<usize>() >= SERIALS_MAX {
            return Err(format!("the list has {SERIALS_MAX} serials of certificates that still count"));
        }
        self.revoked.entry(authority.to_owned()).or_default().insert(serial, until);
        self.version = self.version.saturating_add(1);
        Ok(())
    }

    /// Puts it where hosts find either this one or the one before, and nothing between them
    fn store(&self, path: &Path) -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(path);
        let mut beside = path.as_os_str().to_owned();
        beside.push(".portreeve-new");
        let beside = PathBuf::from(beside);
        // What a crash left.
        drop(fs::remove_file(&beside));
        let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
        file.set_permissions(fs::metadata(path)?.permissions())?;
        file.write_all(&self.bytes(seconds()))?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    }

    fn bytes(&self, at: u64) -> Vec<u8> {
        let until = self.revoked.values().flat_map(BTreeMap::values).map(|until| format!(" {until}"));
        let comment = format!("{OURS}{}", until.collect::<String>());
        let head = MAGIC.iter().fold(Wire::default(), |wire, byte| wire.byte(*byte));
        let head = head.word(FORMAT).number(self.version).number(at).number(0).text(b"").text(comment.as_bytes());
        let section = |wire: Wire, (authority, serials): (&Vec<u8>, &BTreeMap<u64, u64>)| {
            let serials = serials.keys().fold(Wire::default(), |wire, serial| wire.number(*serial)).bytes();
            let inner = Wire::default().text(authority).text(b"").byte(SERIALS).text(&serials).bytes();
            wire.byte(CERTIFICATES).text(&inner)
        };
        self.revoked.iter().fold(head, section).bytes()
    }

    /// One of ours, or one that has nothing in it; nothing of what others keep may get lost
    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let mut rest = Reading(bytes.strip_prefix(MAGIC)?);
        (rest.word()? == FORMAT).then_some(())?;
        let (version, _at, _flags, _reserved) = (rest.number()?, rest.number()?, rest.number()?, rest.text()?);
        let comment = std::str::from_utf8(rest.text()?).ok()?;
        if rest.is_over() && comment.is_empty() {
            return Some(Self { version, ..Self::default() });
        }
        let mut until = comment.strip_prefix(OURS)?.split_ascii_whitespace().map(str::parse::<u64>);
        let mut revoked: BTreeMap<Vec<u8>, BTreeMap<u64, u64>> = BTreeMap::new();
        while !rest.is_over() {
            (rest.byte()? == CERTIFICATES).then_some(())?;
            let mut inner = Reading(rest.text()?);
            let authority = inner.text()?;
            inner.text()?;
            (inner.byte()? == SERIALS).then_some(())?;
            let mut serials = Reading(inner.text()?);
            inner.is_over().then_some(())?;
            let all = revoked.entry(authority.to_owned()).or_default();
            while !serials.is_over() {
                all.insert(serials.number()?, until.next()?.ok()?);
            }
        }
        until.next().is_none().then_some(Self { version, revoked })
    }
}

/// Where a file really is, so that a link to it stays one
fn whole(path: &Path) -> Result<PathBuf, String> {
    fs::canonicalize(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn seconds() -> u64 {
    u64::try_from(now().0.div_euclid(1_000)).unwrap_or_default()
}

/// How long after its end a serial is kept, as clocks differ
const KEPT_S: u64 = 10 * 60;
/// Serials of one list
const SERIALS_MAX: usize = 65_536;
/// Bytes of one list: more than those serials need
const BYTES_MAX: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_no_more_goes_and_all_else_is_read_back() {
        let mut list = List::default();
        list.add(b"one", (7, 1_000), 900).unwrap();
        list.add(b"other", (7, 5_000), 900).unwrap();
        list.add(b"one", (u64::MAX, 9_000), 900).unwrap();
        assert_eq!(List::read(&list.bytes(1)), Some(list.clone()));
        list.add(b"one", (8, 9_000), 1_000 + KEPT_S - 1).unwrap();
        assert!(list.has(b"one", 7));
        list.add(b"one", (9, 9_000), 1_000 + KEPT_S).unwrap();
        assert!(!list.has(b"one", 7) && list.has(b"one", 8) && list.has(b"other", 7) && !list.has(b"other", 8));
        assert_eq!(list.version, 5);
        let bytes = list.bytes(1);
        assert_eq!(List::read(&bytes), Some(list));
        for end in 1..bytes.len() {
            assert_eq!(List::read(bytes.get(..end).unwrap()), None, "{end}");
        }
    }

    #[test]
    fn a_list_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("krl");
        assert!(List::load(&path).unwrap_err().contains("ssh-keygen -k -f"));
        for theirs in [&b"ssh-ed25519 AAAA their key\n"[..], b"SSHKRL\n\0", b"x"] {
            fs::write(&path, theirs).unwrap();
            assert!(List::revoke(&path, b"ca", (1, 1)).is_err());
            assert_eq!(fs::read(&path).unwrap(), theirs);
        }
        let mut list = List::default();
        list.add(b"ca", (1, 9), 1).unwrap();
        let theirs = String::from_utf8_lossy(&list.bytes(1)).replace(OURS, "somebody else's").into_bytes();
        assert_eq!(List::read(&theirs), None);
        fs::write(&path, b"").unwrap();
        let full = 1_000_000_000_000;
        let listed = List::revoke(&path, b"ca", (1, full)).unwrap();
        assert_eq!(List::revoke(&path, b"ca", (1, full)).unwrap(), listed, "a second time changes nothing");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        // Who may read it, and a link to it, stay as they are.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o604)).unwrap();
        assert!(List::revoke(&link, b"ca", (2, full)).unwrap().has(b"ca", 1));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(List::load(&path).unwrap().has(b"ca", 2));
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o604);
    }

    #[test]
    fn a_list_has_a_bound() {
        let mut list = List::default();
        let all = (1..=u64::try_from(SERIALS_MAX).unwrap()).map(|serial| (serial, u64::MAX));
        list.revoked.insert(b"ca".to_vec(), all.collect());
        assert!(list.add(b"ca", (0, 9), 1).unwrap_err().contains("65536"));
        assert!(u64::try_from(list.bytes(1).len()).unwrap() < BYTES_MAX);
    }
}
