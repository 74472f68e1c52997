//! The folder of keys: only its owner enters it, and nothing in it is a link.
//!
//! Everything goes by way of the opened folder, and what is checked of a file is checked of the opened file, so that
//! nothing can be put in its place in between. A file is written beside its place, made durable and then moved there: what
//! has the name of a key is a whole key at any moment.

use super::{Error, SigningKey};
use rustix::{
    fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat},
    io::Errno,
};
use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// A folder of keys
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    folder: OwnedFd,
}

/// Bytes of a key file at most
const BYTES_MAX: usize = 4096;
/// What a file is called until it is whole
const UNFINISHED: &str = "unfinished";

impl Folder {
    /// The folder of keys of a data folder, made if it is not there
    ///
    /// # Errors
    /// [`Error`]: it is a link, belongs to somebody else, or cannot be used.
    pub fn open(path: &Path) -> Result<Self, Error> {
        match fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(file(path, error)),
        }
        let this = Self::at(path)?;
        let found = fs::fstat(&this.folder).map_err(|error| file(path, error))?;
        owned(path, &found)?;
        // Earlier versions made it with the modes of any folder, inside of one that nobody else can enter.
        if mode(&found) & 0o077 != 0 {
            fs::fchmod(&this.folder, Mode::RWXU).map_err(|error| file(path, error))?;
        }
        Ok(this)
    }

    /// A folder that is there already, whoever can enter it
    pub(super) fn at(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => Error::Kind { path: path.to_owned() },
            error => file(path, error),
        })?;
        Ok(Self { path: path.to_owned(), folder })
    }

    /// A file that is locked for as long as somebody has it open: we, or whoever was given it
    ///
    /// # Errors
    /// [`Error`]: it is locked already, or cannot be made.
    pub fn lock(&self, name: &str) -> Result<OwnedFd, Error> {
        let path = self.path.join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held =
            fs::openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR).map_err(|error| file(&path, error))?;
        fs::flock(&held, FlockOperation::NonBlockingLockExclusive).map_err(|error| file(&path, error))?;
        Ok(held)
    }

    /// Whether somebody has such a file open
    ///
    /// # Errors
    /// [`Error`]: nobody knows.
    pub fn is_locked(&self, name: &str) -> Result<bool, Error> {
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = match fs::openat(&self.folder, name, flags, Mode::empty()) {
            Ok(held) => held,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(file(&path, error)),
        };
        match fs::flock(&held, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(file(&path, error)),
        }
    }

    /// The key in a file, made anew if there is none
    ///
    /// # Errors
    /// [`Error`]
    pub fn load_or_make(&self, name: &str) -> Result<SigningKey, Error> {
        match self.load(name)? {
            Some(key) => Ok(key),
            None => self.make(name),
        }
    }

    /// The key in a file; nothing if there is none
    ///
    /// # Errors
    /// [`Error`]: a key that others can read is refused.
    pub fn load(&self, name: &str) -> Result<Option<SigningKey>, Error> {
        let path = self.path.join(name);
        let Some(kept) = self.read(name, Check::Ours)? else { return Ok(None) };
        SigningKey::read(&kept)
            .map(Some)
            .ok_or_else(|| Error::Form { from: format!("the key file {}", path.display()) })
    }

    /// A new key, which lies whole and durable in this file before it is told
    ///
    /// # Errors
    /// [`Error`]
    pub fn make(&self, name: &str) -> Result<SigningKey, Error> {
        let key = SigningKey::make()?;
        self.write(name, &key.kept().ok_or(Error::Make)?)?;
        Ok(key)
    }

    /// What stands in a file, made anew if there is none; for keys of other kinds than ours
    ///
    /// # Errors
    /// [`Error`]
    pub fn secret(
        &self,
        name: &str,
        make: impl FnOnce() -> Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        if let Some(kept) = self.read(name, Check::Ours)? {
            return Ok(kept);
        }
        let made = make().ok_or(Error::Make)?;
        self.write(name, &made)?;
        Ok(made)
    }

    /// What stands in a file of something else that is kept like keys, of at most `bytes_max` bytes
    ///
    /// # Errors
    /// [`Error`]: what others can read is refused.
    pub fn take(&self, name: &str, bytes_max: usize) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        self.up_to(name, Check::Ours, bytes_max)
    }

    /// Puts something into a file, whole and durable, whatever was there
    ///
    /// # Errors
    /// [`Error`]
    pub fn put(&self, name: &str, kept: &[u8]) -> Result<(), Error> {
        self.write(name, kept)
    }

    /// What stands in a file
    pub(super) fn read(&self, name: &str, check: Check) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        self.up_to(name, check, BYTES_MAX)
    }

    fn up_to(&self, name: &str, check: Check, bytes_max: usize) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let path = self.path.join(name);
        // A pipe does not keep us waiting.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match fs::openat(&self.folder, name, flags, Mode::empty()) {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(Error::Kind { path }),
            Err(error) => return Err(file(&path, error)),
        };
        let found = fs::fstat(&opened).map_err(|error| file(&path, error))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(Error::Kind { path });
        }
        check.holds(&path, &found)?;
        // One buffer that never moves, so that nothing of the key stays behind.
        let mut kept = Zeroizing::new(vec![0; bytes_max]);
        let mut length = 0;
        let mut opened = File::from(opened);
        while let Some(rest) = kept.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match opened.read(rest) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::File { path, source }),
            }
        }
        kept.truncate(length);
        Ok(Some(kept))
    }

    fn write(&self, name: &str, kept: &[u8]) -> Result<(), Error> {
        let path = self.path.join(name);
        let unfinished = format!("{name}.{UNFINISHED}");
        self.remove(&unfinished)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let out = fs::openat(&self.folder, &unfinished, flags, Mode::RUSR | Mode::WUSR);
        let mut out = File::from(out.map_err(|error| file(&path, error))?);
        out.write_all(kept).and_then(|()| out.sync_all()).map_err(|source| Error::File { path, source })?;
        self.rename(&unfinished, name)
    }

    /// Gives a file another name, durably; what had that name is gone
    ///
    /// # Errors
    /// [`Error::File`]
    pub fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        let path = || self.path.join(to);
        fs::renameat(&self.folder, from, &self.folder, to).map_err(|error| file(&path(), error))?;
        self.sync()
    }

    /// Gives a file a further name, durably
    ///
    /// # Errors
    /// [`Error::File`]
    pub fn link(&self, from: &str, to: &str) -> Result<(), Error> {
        match fs::linkat(&self.folder, from, &self.folder, to, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => self.sync(),
            Err(error) => Err(file(&self.path.join(to), error)),
        }
    }

    /// Removes a file if it is there
    ///
    /// # Errors
    /// [`Error::File`]
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        match fs::unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) => self.sync(),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(file(&self.path.join(name), error)),
        }
    }

    /// The names of the files in it
    ///
    /// # Errors
    /// [`Error::File`]
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let read = || -> Result<Vec<String>, Errno> {
            let entries = fs::Dir::read_from(&self.folder)?;
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        };
        read().map_err(|error| file(&self.path, error))
    }

    fn sync(&self) -> Result<(), Error> {
        fs::fsync(&self.folder).map_err(|error| file(&self.path, error))
    }
}

/// Who may own and read a file
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// We own it, and nobody else can read it
    Ours,
    /// The system put it there for us: it or we own it, and others cannot read it
    ///
    /// Where it gives us the right by an access list, that shows as the group's right.
    System,
}

impl Check {
    fn holds(self, path: &Path, found: &Stat) -> Result<(), Error> {
        let others = match self {
            Self::System if found.st_uid == 0 => 0o007,
            Self::Ours | Self::System => {
                owned(path, found)?;
                0o077
            }
        };
        let mode = mode(found);
        if mode & others != 0 { Err(Error::Open { path: path.to_owned(), mode }) } else { Ok(()) }
    }
}

fn owned(path: &Path, found: &Stat) -> Result<(), Error> {
    if found.st_uid == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(Error::Owner { path: path.to_owned(), owner: found.st_uid })
}

fn mode(found: &Stat) -> u32 {
    found.st_mode & 0o7777
}

fn file(path: &Path, error: Errno) -> Error {
    Error::File { path: path.to_owned(), source: error.into() }
}

#[cfg(test)]
mod tests;
