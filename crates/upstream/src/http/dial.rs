//! A connection to a host: TCP, TLS, and the key of whoever is there.

use crate::identity::{Identity, Mismatch, check};
use http::Uri;
use portreeve_core::hash::Hash;
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
    rustls::{ClientConfig, RootCertStore, pki_types::ServerName, server::ParsedCertificate},
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
    /// Somebody else is there
    #[error("{0}")]
    Identity(#[source] Mismatch),
}

/// A connection to the host of an address, and who is there; the environment names no proxy that would be asked
///
/// The chain of certificates is checked as everywhere, and before anything is sent the key is held against the one that
/// is expected, if one is. Without TLS nothing can be expected.
pub(crate) async fn dial(
    uri: &Uri,
    tls: Option<&Arc<ClientConfig>>,
    expected: Option<Identity>,
) -> Result<(Pin<Box<dyn Stream>>, Identity), NoConnection> {
    let secure = uri.scheme_str() == Some("https");
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    if !secure {
        check(expected, Identity::Plain).map_err(NoConnection::Identity)?;
    }
    over(TcpStream::connect((host, port)).await?, uri, tls, expected).await
}

/// The same over a connection that is there already
pub(crate) async fn over(
    stream: TcpStream,
    uri: &Uri,
    tls: Option<&Arc<ClientConfig>>,
    expected: Option<Identity>,
) -> Result<(Pin<Box<dyn Stream>>, Identity), NoConnection> {
    stream.set_nodelay(true)?;
    if uri.scheme_str() != Some("https") {
        return Ok((Box::pin(stream), check(expected, Identity::Plain).map_err(NoConnection::Identity)?));
    }
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let config = tls.map_or_else(public, |tls| Ok(Arc::clone(tls)))?;
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let own = chain.first().ok_or_else(|| io::Error::other("the server showed no certificate"))?;
    let key = ParsedCertificate::try_from(own).map_err(io::Error::other)?.subject_public_key_info();
    let seen = check(expected, Identity::Tls(Hash::of(&key))).map_err(NoConnection::Identity)?;
    Ok((Box::pin(stream), seen))
}

/// TLS that believes the authorities of this machine
fn public() -> io::Result<Arc<ClientConfig>> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = trusting(roots)?;
    Ok(Arc::clone(CONFIG.get_or_init(|| config)))
}

/// TLS that believes these authorities
pub(crate) fn trusting(roots: RootCertStore) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
