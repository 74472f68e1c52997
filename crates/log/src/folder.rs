//! The data folder: private, local, and held by one process at a time.

use crate::Open;
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// A data folder that this process alone may write, for as long as this value lives
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    // INVARIANT: locked as long as this value lives; the descriptor is never handed out.
    lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, checks it, and takes the lock
    pub(crate) fn hold(path: &Path) -> Result<Self, Open> {
        create(path)?;
        private(path)?;
        local(path)?;
        Ok(Self { path: path.to_owned(), lock: lock(&path.join("lock"))? })
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes `name` if it is not there, readable by this account alone, and puts its entry on disk
    pub(crate) fn touch(&self, name: &str) -> Result<PathBuf, Open> {
        let path = self.join(name);
        let failed = |what, source| Open::Folder { what, path: self.join(name), source };
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(_new) => sync(&self.path).map_err(|source| failed("sync", source))?,
            // By path and never through a descriptor: closing one would drop SQLite's locks on the file.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::set_permissions(&path, Permissions::from_mode(0o600))
                    .map_err(|source| failed("protect", source))?;
            }
            Err(source) => return Err(failed("create", source)),
        }
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing is not enough: a child of another thread may hold a copy between its fork and its exec.
        let _free = flock(&self.lock, FlockOperation::Unlock);
    }
}

/// Refuses file systems on which the locks or the fsync of SQLite cannot be relied on
pub(crate) fn local(path: &Path) -> Result<(), Open> {
    let stat = rustix::fs::statfs(path).map_err(|error| failed("examine", path, error.into()))?;
    // The width and sign of the field differ between architectures, the low 32 bits do not.
    match network(stat.f_type as u32) {
        Some(kind) => Err(Open::Network { path: path.to_owned(), kind }),
        None => Ok(()),
    }
}

/// Puts the entries of a folder on disk
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder for this account alone, and every folder above it that is missing
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            fs::set_permissions(path, Permissions::from_mode(0o700))?;
            sync(parent)
        }
    }
}

fn create(path: &Path) -> Result<(), Open> {
    create_private(path).map_err(|source| failed("create", path, source))
}

fn private(path: &Path) -> Result<(), Open> {
    let metadata = fs::metadata(path).map_err(|source| failed("examine", path, source))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Open::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, Open> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| failed("open", path, source))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(Open::Held { pid });
        }
        Err(error) => return Err(failed("lock", path, error.into())),
    }
    // Only for the message to the next one: on a full disk the lock holds without it.
    let _text = file.set_len(0).and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
    Ok(file)
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> Open {
    Open::Folder { what, path: path.to_owned(), source }
}

/// The kind of network or user-space file system, by the magic number of statfs(2)
fn network(magic: u32) -> Option<&'static str> {
    NETWORK.iter().find(|(known, _)| *known == magic).map(|(_, kind)| *kind)
}

const NETWORK: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFE53_4D42, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0x6573_5546, "a FUSE file system (sshfs, virtiofs, …)"),
    (0x0102_1997, "9p"),
    (0x564C, "NCP"),
    (0x7375_7245, "Coda"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x00C3_6400, "Ceph"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
    (0x0BD0_0BD0, "Lustre"),
    (0x786F_4256, "a VirtualBox shared folder"),
];

#[cfg(test)]
mod tests;
