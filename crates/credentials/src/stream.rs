//! Connections to back ends that are not spoken to over HTTP.

use portreeve_upstream::http::public;
use std::{fmt::Debug, sync::OnceLock, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{RootCertStore, pki_types::ServerName},
};

/// A connection, encrypted or not
pub(crate) type Stream = Box<dyn Duplex>;

/// What is read and written
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Debug + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Debug + Send + Unpin> Duplex for S {}

/// How long connecting may take, and the handshake that encrypts
const CONNECT: Duration = Duration::from_secs(5);

/// The certificates of authorities that this machine believes, for those who make TLS themselves
pub(crate) fn authorities() -> &'static [Vec<u8>] {
    static AUTHORITIES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    AUTHORITIES.get_or_init(|| {
        let all = rustls_native_certs::load_native_certs().certs;
        let good = all.into_iter().filter(|one| RootCertStore::empty().add(one.clone()).is_ok());
        good.map(|one| one.to_vec()).collect()
    })
}

/// A connection in the clear
///
/// # Errors
/// Why there is none.
pub(crate) async fn connect((host, port): (&str, u16)) -> Result<TcpStream, String> {
    let connected = timeout(CONNECT, TcpStream::connect((host, port))).await;
    let stream = connected.map_err(|_| "the server does not answer".to_owned())?.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(stream)
}

/// The same, encrypted, with a certificate for `host` of an authority that this machine believes
///
/// # Errors
/// What is wrong with it.
pub(crate) async fn secure(stream: TcpStream, host: &str) -> Result<Stream, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let config = public().map_err(|error| error.to_string())?;
    let secured = timeout(CONNECT, TlsConnector::from(config).connect(name, stream)).await;
    let secured = secured.map_err(|_| "the server does not answer".to_owned())?;
    Ok(Box::new(secured.map_err(|error| error.to_string())?))
}
