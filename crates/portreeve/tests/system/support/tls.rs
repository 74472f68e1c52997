//! TLS by hand: who vouches for whom, and somebody who speaks it with whatever certificate a test gives them.

use super::{
    PATIENCE,
    http::{Response, read, request},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
    client::{
        ResolvesClientCert, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

/// Who vouches for certificates
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key
#[derive(Clone)]
pub(crate) struct Certificate {
    /// In DER, its own first
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// PKCS#8
    pub(crate) key: Vec<u8>,
}

fn parameters(name: &str, names: Vec<SanType>) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.subject_alt_names = names;
    let now = SystemTime::now();
    parameters.not_before = (now - Duration::from_secs(60)).into();
    parameters.not_after = (now + Duration::from_secs(3_600)).into();
    parameters
}

impl Authority {
    /// A new one; `name` is for people
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, |_| ())
    }

    /// One whose time is over
    pub(crate) fn over(name: &str) -> Self {
        Self::with(name, |one| one.not_after = (SystemTime::now() - Duration::from_secs(5)).into())
    }

    fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut parameters = parameters(name, Vec::new());
        change(&mut parameters);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A certificate of a server on this machine
    pub(crate) fn server(&self) -> Certificate {
        self.server_with(|_| ())
    }

    /// The same, after something about it was changed
    pub(crate) fn server_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let names = vec![SanType::IpAddress([127, 0, 0, 1].into()), SanType::DnsName("localhost".try_into().unwrap())];
        let mut parameters = parameters("server", names);
        change(&mut parameters);
        self.sign(parameters)
    }

    /// An X.509-SVID, after something about it was changed
    pub(crate) fn svid_with(&self, id: &str, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut parameters = parameters("workload", vec![SanType::URI(id.try_into().unwrap())]);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut parameters);
        self.sign(parameters)
    }

    /// An X.509-SVID
    pub(crate) fn svid(&self, id: &str) -> Certificate {
        self.svid_with(id, |_| ())
    }

    fn sign(&self, parameters: CertificateParams) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let own = parameters.signed_by(&key, &self.0).unwrap();
        Certificate { chain: vec![own.der().clone()], key: key.serialize_der() }
    }

    /// The bundle of a trust domain for which it vouches, as bundle endpoints serve it
    pub(crate) fn bundle(&self) -> Value {
        let key = json!({ "kty": "EC", "use": "x509-svid", "x5c": [BASE64.encode(self.der())] });
        json!({ "keys": [key], "spiffe_sequence": 1, "spiffe_refresh_hint": 60 })
    }
}

impl Certificate {
    /// Its chain and its key in PEM
    pub(crate) fn pem(&self) -> (String, String) {
        let chain = self.chain.iter().map(|one| pem("CERTIFICATE", one)).collect();
        (chain, pem("PRIVATE KEY", &self.key))
    }

    fn certified(&self) -> CertifiedKey {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.clone()));
        let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).unwrap();
        CertifiedKey::new(self.chain.clone(), key)
    }
}

/// Something in PEM
pub(crate) fn pem(what: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
}

/// Somebody who speaks TLS
#[derive(Clone)]
pub(crate) struct Peer {
    roots: RootCertStore,
    shows: Option<Arc<CertifiedKey>>,
    versions: &'static [&'static SupportedProtocolVersion],
    /// Whether the server has to have the name of its address; workloads of a trust domain have none
    named: bool,
}

static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
static OLD: [&SupportedProtocolVersion; 1] = [&TLS12];

/// Shows a certificate whether or not it has its key
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Believes the authorities, and asks for no name
#[derive(Debug)]
struct Unnamed(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Unnamed {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(own, between, name, stapled, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

impl Peer {
    /// Somebody who believes this authority, and shows nothing
    pub(crate) fn of(authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der()).unwrap();
        Self { roots, shows: None, versions: &BOTH, named: true }
    }

    /// Somebody who believes a trust domain, whatever the name of who is there
    pub(crate) fn of_domain(authorities: &[CertificateDer<'static>]) -> Self {
        let mut roots = RootCertStore::empty();
        authorities.iter().for_each(|one| roots.add(one.clone()).unwrap());
        Self { roots, shows: None, versions: &BOTH, named: false }
    }

    /// The same, who shows this
    pub(crate) fn with(&self, shows: &Certificate) -> Self {
        Self { shows: Some(Arc::new(shows.certified())), ..self.clone() }
    }

    /// The same, who shows a certificate with the key of another one
    pub(crate) fn posing(&self, shows: &Certificate, key: &Certificate) -> Self {
        self.with(&Certificate { key: key.key.clone(), ..shows.clone() })
    }

    /// The same, who only speaks TLS 1.2
    pub(crate) fn old(&self) -> Self {
        Self { versions: &OLD, ..self.clone() }
    }

    /// A connection, after the handshake
    pub(crate) fn connect(&self, address: SocketAddr) -> Option<StreamOwned<ClientConnection, TcpStream>> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(self.versions)
            .unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots.clone()), provider);
        let verifier = verifier.build().unwrap();
        let config = if self.named {
            config.with_webpki_verifier(verifier)
        } else {
            config.dangerous().with_custom_certificate_verifier(Arc::new(Unnamed(verifier)))
        };
        let config = match &self.shows {
            Some(shows) => config.with_client_cert_resolver(Arc::new(Shows(Arc::clone(shows)))),
            None => config.with_no_client_auth(),
        };
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::from(address.ip());
        let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).ok()?;
        }
        Some(stream)
    }

    /// What is answered; nothing if there is no handshake
    pub(crate) fn try_send(
        &self,
        address: SocketAddr,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Response> {
        let mut stream = self.connect(address)?;
        let host = address.to_string();
        let host = if headers.iter().any(|(name, _)| *name == "host") { None } else { Some(("host", host.as_str())) };
        let kind = ("content-type", "application/json");
        let kind = if headers.iter().any(|(name, _)| *name == "content-type") { None } else { Some(kind) };
        let headers: Vec<_> = host.into_iter().chain(kind).chain(headers.iter().copied()).collect();
        // In TLS 1.3 a client is refused after it has done its part of the handshake.
        stream.write_all(&request(method, path, &headers, body.as_bytes())).ok()?;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        read(&answer)
    }

    /// What is answered
    #[track_caller]
    pub(crate) fn send(
        &self,
        address: SocketAddr,
        at: (&str, &str),
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.try_send(address, at, headers, &body).expect("no answer")
    }
}
