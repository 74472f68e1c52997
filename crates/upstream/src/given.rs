//! What a child is given and nobody else is to read.

use rustix::fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt as _},
};
use zeroize::Zeroizing;

/// A credential for a child
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// Variables of its environment
    pub env: BTreeMap<String, Zeroizing<String>>,
    /// Files in memory that only it can read, by the variable that holds their path
    pub files: BTreeMap<String, Zeroizing<String>>,
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Given(..)")
    }
}

impl Given {
    /// The same with nothing in the files; nothing where there is a variable, which a process has from its start
    #[must_use]
    pub fn blank(&self) -> Option<Self> {
        let files = self.files.keys().map(|name| (name.clone(), Zeroizing::default())).collect();
        self.env.is_empty().then(|| Self { env: BTreeMap::new(), files })
    }
}

/// Files that exist in memory only, under no name, by the variable that holds their path
#[derive(Debug)]
pub struct Files(BTreeMap<String, File>);

impl Files {
    /// Empty ones
    pub(crate) fn new<'n>(names: impl Iterator<Item = &'n String>) -> io::Result<Self> {
        let file = |name: &String| {
            let file = File::from(memfd_create("credential", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
            // Nobody but its owner, who alone may have a key for `ssh`.
            fchmod(&file, Mode::RUSR)?;
            Ok((name.clone(), file))
        };
        names.map(file).collect::<io::Result<_>>().map(Self)
    }

    /// Them once more, for a child
    pub(crate) fn handed(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        self.0.iter().map(|(name, file)| Ok((name.clone(), file.try_clone()?.into()))).collect()
    }

    /// Writes them, once and for all
    ///
    /// # Errors
    /// Something is not given, or a file cannot be written or sealed: a child that has them is of no use, and they are
    /// empty again as far as that can be.
    pub fn fill(self, given: &Given) -> io::Result<()> {
        let filled = self.0.iter().try_for_each(|(name, file)| {
            let text = given.files.get(name).ok_or_else(|| io::Error::other("a file is not given"))?;
            // Whoever has the file open already reads from its beginning; what it wrote itself does not count.
            file.set_len(0)?;
            file.write_all_at(text.as_bytes(), 0)?;
            Ok(fcntl_add_seals(file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?)
        });
        if filled.is_err() {
            self.0.values().for_each(|file| drop(file.set_len(0)));
        }
        filled
    }
}
