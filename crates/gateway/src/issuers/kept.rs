//! Bundles that endpoints with `https_spiffe` served, kept over a restart (SPIFFE Federation, 5.2.2.2).
//!
//! What vouches for an endpoint at first gets old: SPIRE exchanges its authority each day. What was served last vouches for it
//! then, as long as the file of the issuer says the same.

use portreeve_core::{hash::Hash, names::Name};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Where they are; nothing is kept without a folder
#[derive(Debug)]
pub(super) struct Kept(pub(super) Option<PathBuf>);

/// A file of the folder
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    /// What the issuer's file said when it was fetched
    of: Hash,
    /// The bundle as it was served
    bundle: String,
}

impl Kept {
    /// What was served last to an issuer whose file says `of`
    pub(super) fn read(&self, name: &Name, of: Hash) -> Option<String> {
        let text = fs::read(self.file(name)?).ok()?;
        let page: Page = serde_json::from_slice(&text).ok()?;
        (page.of == of).then_some(page.bundle)
    }

    /// Keeps what was served
    ///
    /// # Errors
    /// It cannot be written; what was kept before stays.
    pub(super) fn write(&self, name: &Name, of: Hash, bundle: &str) -> io::Result<()> {
        let Some(file) = self.file(name) else { return Ok(()) };
        if self.read(name, of).is_some_and(|kept| kept == bundle) {
            return Ok(());
        }
        let folder = file.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let next = file.with_extension("next");
        let mut options = fs::OpenOptions::new();
        let mut written = options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        written.write_all(&serde_json::to_vec(&Page { of, bundle: bundle.to_owned() })?)?;
        written.sync_all()?;
        fs::rename(next, file)
    }

    fn file(&self, name: &Name) -> Option<PathBuf> {
        Some(self.0.as_ref()?.join(format!("{name}.json")))
    }
}
