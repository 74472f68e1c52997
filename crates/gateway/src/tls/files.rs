//! A certificate and its key in files, read anew when they change.

use super::{Own, certified};
use portreeve_core::time::Millis;
use portreeve_identity::svid;
use rustix::process::geteuid;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio_rustls::rustls::{self, sign::CertifiedKey};

/// Bytes of a file at most
const BYTES_MAX: u64 = 256 << 10;

/// Why there is no certificate to show
#[derive(Debug, thiserror::Error)]
pub enum NoCertificate {
    /// A file cannot be read
    #[error("{} cannot be read: {source}", path.display())]
    File {
        /// Which
        path: PathBuf,
        /// Why
        source: io::Error,
    },
    /// The key is not ours alone
    #[error("others can read the key in {}: it has to belong to this account or to root, with mode 600", path.display())]
    Open {
        /// Which
        path: PathBuf,
    },
    /// A file does not hold what it should
    #[error("{} does not hold {what} in PEM", path.display())]
    Form {
        /// Which
        path: PathBuf,
        /// What it should hold
        what: &'static str,
    },
    /// They do not belong together, or cannot be used
    #[error("the certificate and its key cannot be used: {0}")]
    Pair(rustls::Error),
}

/// A certificate and its key in files
#[derive(Debug)]
pub struct Files {
    certificate: PathBuf,
    key: PathBuf,
    // Held while the files are read, so that one reads them.
    read: Mutex<Option<[Stamp; 2]>>,
}

/// Number of the device and the file, size, and both times in nanoseconds: what changes when a file does
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl Files {
    /// These, in PEM
    #[must_use]
    pub fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self { certificate, key, read: Mutex::default() }
    }

    /// Reads them, and shows what they hold
    ///
    /// # Errors
    /// [`NoCertificate`]
    pub fn load(&self, own: &Own) -> Result<(), NoCertificate> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = self.stamps();
        own.set(Some(self.pair()?));
        *read = stamps;
        Ok(())
    }

    /// From when on and until when all of what they hold now is good, if it can be shown at all
    ///
    /// # Errors
    /// [`NoCertificate`]
    pub fn look(&self) -> Result<Option<(Millis, Millis)>, NoCertificate> {
        let pair = self.pair()?;
        let lives = pair.cert.iter().filter_map(|one| svid::lives(one));
        Ok(lives.reduce(|one, other| (one.0.max(other.0), one.1.min(other.1))))
    }

    /// Reads them if they changed; as long as they are no pair, what was read before is shown
    pub(super) fn refresh(&self, own: &Own) {
        // Whoever finds somebody reading them goes on with what there is.
        let Ok(mut read) = self.read.try_lock() else { return };
        let stamps = self.stamps();
        if stamps.is_none() || *read == stamps {
            return;
        }
        match self.pair() {
            Ok(pair) => {
                tracing::info!(certificate = %self.certificate.display(), "the certificate was read anew");
                own.set(Some(pair));
                *read = stamps;
            }
            Err(error) => tracing::warn!(%error, "the certificate of before is shown"),
        }
    }

    fn stamps(&self) -> Option<[Stamp; 2]> {
        let stamp = |path: &Path| std::fs::metadata(path).ok().map(|about| stamp(&about));
        Some([stamp(&self.certificate)?, stamp(&self.key)?])
    }

    fn pair(&self) -> Result<Arc<CertifiedKey>, NoCertificate> {
        let form = |path: &Path, what| NoCertificate::Form { path: path.to_owned(), what };
        let chain = bytes(&self.certificate, false)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| form(&self.certificate, "certificates"))?;
        let key = bytes(&self.key, true)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| form(&self.key, "a private key"))?;
        certified(chain, key).map_err(NoCertificate::Pair)
    }
}

fn stamp(about: &Metadata) -> Stamp {
    let times = ((about.mtime(), about.mtime_nsec()), (about.ctime(), about.ctime_nsec()));
    (about.dev(), about.ino(), about.size(), times.0, times.1)
}

/// What stands in a file; of a secret, only if nobody else can read it
///
/// Links are followed: that is how certificates are exchanged. What is checked is what was opened.
fn bytes(path: &Path, secret: bool) -> Result<zeroize::Zeroizing<Vec<u8>>, NoCertificate> {
    let failed = |source| NoCertificate::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    let ours = about.uid() == geteuid().as_raw() || about.uid() == 0;
    if secret && (!ours || about.mode() & 0o077 != 0) {
        return Err(NoCertificate::Open { path: path.to_owned() });
    }
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(usize::try_from(BYTES_MAX).unwrap_or_default()));
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
