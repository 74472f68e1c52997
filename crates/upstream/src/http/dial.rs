//! A connection to a host: TCP, TLS, and the key of whoever is there.

use super::Terms;
use crate::identity::{Identity, Mismatch, check};
use http::Uri;
use portreeve_core::{hash::Hash, time::Millis};
use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        CertificateError, ClientConfig, Error, RootCertStore,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName},
        server::ParsedCertificate,
    },
};

/// What bytes go through, encrypted or not
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

/// Why there is no connection
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoConnection {
    /// Nobody is there, or TLS fails
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Who is there is not let through on our terms
    #[error("{0}")]
    Refused(String),
    /// Somebody else is there
    #[error("{0}")]
    Identity(#[source] Mismatch),
}

/// Who is there, and until when a connection to them counts; nothing: as long as it is open
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) identity: Identity,
    pub(crate) until: Option<Millis>,
}

/// A connection to the host of an address, and who is there; the environment names no proxy that would be asked
///
/// Without terms the chain of certificates is checked as everywhere. Before anything is sent the key is held against the one that
/// is expected, if one is. Without TLS nothing can be expected.
pub(crate) async fn dial(
    uri: &Uri,
    terms: Option<&Terms>,
    expected: Option<&Identity>,
) -> Result<(Pin<Box<dyn Stream>>, Seen), NoConnection> {
    let secure = uri.scheme_str() == Some("https");
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    if !secure {
        plain(terms, expected)?;
    }
    over(TcpStream::connect((host, port)).await?, uri, terms, expected).await
}

/// The same over a connection that is there already
pub(crate) async fn over(
    stream: TcpStream,
    uri: &Uri,
    terms: Option<&Terms>,
    expected: Option<&Identity>,
) -> Result<(Pin<Box<dyn Stream>>, Seen), NoConnection> {
    stream.set_nodelay(true)?;
    if uri.scheme_str() != Some("https") {
        return Ok((Box::pin(stream), plain(terms, expected)?));
    }
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let config = terms.map_or_else(public, |terms| Ok(Arc::clone(&terms.config)))?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(refused)?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let own = chain.first().ok_or_else(|| io::Error::other("the server showed no certificate"))?;
    let identity = match terms.and_then(|terms| terms.identity.clone()) {
        Some(identity) => identity,
        None => {
            let key = ParsedCertificate::try_from(own).map_err(io::Error::other)?.subject_public_key_info();
            Identity::Tls(Hash::of(&key))
        }
    };
    let until = terms.and_then(|terms| (terms.until)(chain));
    let identity = check(expected, identity).map_err(NoConnection::Identity)?;
    Ok((Box::pin(stream), Seen { identity, until }))
}

/// Who is there where nothing says who it is: nobody, if somebody has to
fn plain(terms: Option<&Terms>, expected: Option<&Identity>) -> Result<Seen, NoConnection> {
    if terms.is_some() {
        return Err(NoConnection::Refused("without TLS nobody shows who they are".to_owned()));
    }
    let identity = check(expected, Identity::Plain).map_err(NoConnection::Identity)?;
    Ok(Seen { identity, until: None })
}

/// Tells what our own terms say of a certificate from all else that goes wrong
fn refused(error: io::Error) -> NoConnection {
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::Other(other))) => NoConnection::Refused(other.to_string()),
        _ => NoConnection::Io(error),
    }
}

/// TLS that believes the authorities of this machine
///
/// # Errors
/// The cryptography of this machine has nothing that is good enough.
pub fn public() -> io::Result<Arc<ClientConfig>> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let config = trusting(authorities())?;
    Ok(Arc::clone(CONFIG.get_or_init(|| config)))
}

/// The authorities of this machine, as they were when they were asked for first
#[must_use]
pub fn authorities() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(read))
}

/// TLS that believes the authorities of this machine, and shows this
pub(super) fn showing(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(authorities())
        .with_client_auth_cert(chain, key)
        .map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

/// TLS that believes these authorities
///
/// # Errors
/// The cryptography of this machine has nothing that is good enough.
pub fn trusting(roots: Arc<RootCertStore>) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
