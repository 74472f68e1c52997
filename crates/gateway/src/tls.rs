//! TLS: our certificate, and what those who connect show of themselves.
//!
//! A certificate of a client is asked for and needed by nobody. Whoever shows one proves in the handshake that they hold
//! its key, and nothing else: whose it is and who vouches for it is judged where somebody wants to be somebody by it
//! ([`crate::proving`]), as bundles of trust come and go while connections stay.

mod files;

pub use files::{Files, NoCertificate};

use portreeve_core::{hash::Hash, time::Millis};
use portreeve_identity::{jose::Thumbprint, svid};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use std::{
    fmt, io,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        CertificateError, DigitallySignedStruct, DistinguishedName, Error, InconsistentKeys, ServerConfig,
        SignatureScheme,
        client::danger::HandshakeSignatureValid,
        crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
        server::{
            ClientHello, NoServerSessionStorage, ResolvesServerCert,
            danger::{ClientCertVerified, ClientCertVerifier},
        },
        sign::CertifiedKey,
    },
    server::TlsStream,
};

/// How long a handshake may take
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Certificates that somebody may show at most, and bytes of them
const CHAIN_MAX: usize = 8;
const BYTES_MAX: usize = 64 << 10;

/// What the other end of a connection has shown, and proven to hold the key of; who vouches for it is not known yet
#[derive(Clone, PartialEq, Eq)]
pub struct Certificates {
    chain: Vec<CertificateDer<'static>>,
    digest: Hash,
    until: Option<Millis>,
}

impl Certificates {
    fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let own = chain.first()?;
        let (digest, until) = (Thumbprint::of_certificate(own).hash(), svid::until(own));
        Some(Self { chain: chain.iter().map(|one| one.clone().into_owned()).collect(), digest, until })
    }

    /// The certificates in DER, their own first
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Whether it is the certificate with this SHA-256, and its time is not over
    #[must_use]
    pub fn is(&self, digest: Hash, now: Millis) -> bool {
        self.digest == digest && self.until.is_some_and(|until| now < until)
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificates({})", self.digest)
    }
}

/// Our certificate and its key, which are exchanged while connections go on
#[derive(Debug, Default)]
pub struct Own {
    // Held only to read or exchange it.
    current: RwLock<Option<Arc<CertifiedKey>>>,
}

impl Own {
    /// Shows this one from now on; without one, nobody gets through a handshake
    pub(crate) fn set(&self, own: Option<Arc<CertifiedKey>>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = own;
    }

    /// The one that is shown now
    pub(crate) fn get(&self) -> Option<Arc<CertifiedKey>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.get()
    }
}

/// A certificate with its key, if they belong together
///
/// # Errors
/// The key cannot be used, or is another certificate's.
pub(crate) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, Error> {
    let key = provider().key_provider.load_private_key(key)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(certified)),
        Err(error) => Err(error),
    }
}

/// The cryptography that all TLS of ours is done with
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// What connections are accepted with
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    files: Option<Arc<Files>>,
    own: Arc<Own>,
}

impl Tls {
    /// TLS 1.2 and 1.3 with what `own` has; `files` are read anew when they changed
    ///
    /// # Errors
    /// The cryptography cannot be used.
    pub fn new(own: Arc<Own>, files: Option<Arc<Files>>) -> Result<Self, Error> {
        let provider = provider();
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(Anybody { provider }))
            .with_cert_resolver(Arc::<Own>::clone(&own));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Whoever shows a certificate proves each time that they hold its key: no session is taken up again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), files, own })
    }

    /// Shakes hands within some seconds; what the other end has shown of itself
    ///
    /// # Errors
    /// There is no handshake.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Option<Arc<Certificates>>)> {
        if let Some(files) = &self.files {
            files.refresh(&self.own);
        }
        let shaken = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await;
        let stream = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(Certificates::of).map(Arc::new);
        Ok((stream, shown))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("own", &self.own).finish_non_exhaustive()
    }
}

/// Lets in whoever holds the key of what they show, and whoever shows nothing
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Anybody {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes: usize = between.iter().map(|one| one.len()).sum();
        if between.len() >= CHAIN_MAX || bytes + own.len() > BYTES_MAX {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
