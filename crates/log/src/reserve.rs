//! Blocks that are kept back on the disk, so that a full disk does not stop a kill switch.

use rustix::{
    fs::{FallocateFlags, fallocate, fstatvfs},
    io::Errno,
};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// A file of real blocks that is given up when a stop or a settlement finds the disk full
///
/// File systems that compress or copy on write (ZFS, btrfs with compression) may not keep the promise of a
/// preallocated block.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
    held: bool,
}

impl Reserve {
    pub(crate) fn open(path: PathBuf, bytes: u64) -> Self {
        let mut reserve = Self { path, bytes, held: false };
        reserve.refill();
        reserve
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Makes sure that the blocks are held; false while there is no room for them
    pub(crate) fn refill(&mut self) -> bool {
        if !self.held {
            self.held = self.bytes == 0 || fill(&self.path, self.bytes).is_ok();
        }
        self.held
    }

    /// Gives the blocks to whoever needs them now; true if there were any
    pub(crate) fn release(&mut self) -> bool {
        let released = self.held && self.bytes > 0 && empty(&self.path).is_ok();
        if released {
            self.held = false;
        }
        released
    }
}

fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.len() != bytes {
        // Asked first, because every call finds its way here while the disk is full.
        let room = fstatvfs(&file)?;
        if room.f_bavail.saturating_mul(room.f_frsize) < bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
    }
    let filled = allocate(&mut file, bytes);
    if filled.is_err() {
        // Half a reserve helps nobody: give back what was taken.
        file.set_len(0)?;
    }
    filled
}

fn allocate(file: &mut File, bytes: u64) -> io::Result<()> {
    match fallocate(&*file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            io::copy(&mut io::repeat(0).take(bytes), file)?;
        }
        done => done?,
    }
    file.set_len(bytes)?;
    file.sync_all()
}

fn empty(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(0)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
