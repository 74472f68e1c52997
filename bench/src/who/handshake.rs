//! What a connection costs on which both sides show a certificate: at Portreeve, and at TLS alone.
//!
//! Each is made, asks for one small document and ends. Sessions are not resumed, so every handshake is whole.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use super::{Options, Spent};

/// An authority, our server's certificate and the client's
#[derive(Debug)]
pub(crate) struct Certificates {
    root: CertificateDer<'static>,
    server: (CertificateDer<'static>, KeyPair),
    client: (CertificateDer<'static>, KeyPair),
}

impl Certificates {
    pub(crate) fn make() -> anyhow::Result<Self> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let made = |names: Vec<SanType>| -> anyhow::Result<_> {
            let mut parameters = CertificateParams::default();
            parameters.subject_alt_names = names;
            let key = KeyPair::generate()?;
            Ok((parameters.signed_by(&key, &issuer)?.der().clone(), key))
        };
        let server = made(vec![SanType::IpAddress([127, 0, 0, 1].into())])?;
        let client = made(vec![SanType::URI("spiffe://example.org/bench".try_into()?)])?;
        Ok(Self { root: issuer.der().clone(), server, client })
    }

    /// The server's certificate and key, as files have them
    pub(crate) fn server_files(&self) -> (String, String) {
        let (own, key) = &self.server;
        (pem("CERTIFICATE", own), pem("PRIVATE KEY", &key.serialize_der()))
    }

    fn roots(&self) -> anyhow::Result<Arc<RootCertStore>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone())?;
        Ok(Arc::new(roots))
    }

    fn client(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let (own, key) = &self.client;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(vec![own.clone()], key)?;
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn serving(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let (own, key) = &self.server;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots()?, Arc::clone(&provider)).build()?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![own.clone()], key)?;
        Ok(Arc::new(config))
    }
}

fn pem(kind: &str, der: &[u8]) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der))
}

/// Makes connections of each kind in turn
pub(crate) fn measure(
    (plain, secure): (SocketAddr, SocketAddr),
    certificates: &Certificates,
    options: &Options,
    [floor, bare, both]: &mut [Spent; 3],
) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let alone = listener.local_addr()?;
    let (serving, core) = (certificates.serving()?, options.proxy_core);
    // Left to itself: it ends with the bench.
    thread::spawn(move || {
        let _ = crate::process::pin(core);
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, &serving);
        }
    });
    let client = certificates.client()?;
    for _ in 0..options.requests {
        floor.time(|| ask_securely(alone, &client))?;
        bare.time(|| ask(TcpStream::connect(plain)?))?;
        both.time(|| ask_securely(secure, &client))?;
    }
    Ok(())
}

fn answer(stream: TcpStream, serving: &Arc<ServerConfig>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(serving))?, stream);
    let mut asked = [0; 1024];
    ensure!(stream.read(&mut asked)? > 0, "nothing was asked");
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")?;
    stream.conn.send_close_notify();
    Ok(stream.flush()?)
}

fn ask_securely(address: SocketAddr, client: &Arc<ClientConfig>) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("127.0.0.1")?;
    ask(StreamOwned::new(ClientConnection::new(Arc::clone(client), name)?, stream))
}

fn ask(mut stream: impl std::io::Read + std::io::Write) -> anyhow::Result<()> {
    stream.write_all(b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
    let mut answer = [0; 1024];
    let read = stream.read(&mut answer)?;
    let answer = answer.get(..read).context("more than was read")?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(answer));
    Ok(())
}
