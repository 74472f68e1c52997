//! Who a connector is.

use super::support::*;
use crate::{
    child::NoProgram,
    clock::SteadyClock,
    http::{Asked, Http, Terms, Tls},
    identity::{Identity, executable},
    link::Unready,
};
use portreeve_core::hash::Hash;
use portreeve_mcp::can::Can;
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, ServerConfig,
        SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    },
};

fn command(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|part| (*part).to_owned()).collect()
}

#[tokio::test]
async fn a_program_that_was_exchanged_is_not_started() {
    let (mut launch, folder) = launch(&["./tool", "--serve"]);
    let tool = folder.path().join("tool");
    let write = |text: &str| {
        fs::write(&tool, text).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("#!/bin/sh\nexit 0\n");
    let Identity::Executable(seen) = launch.identity().await.unwrap() else { panic!("no program") };
    assert_eq!(seen, Hash::of(b"#!/bin/sh\nexit 0\n"));
    launch.expected = Some(seen);
    launch.identity().await.unwrap();
    write("#!/bin/sh\nexit 1\n");
    match launch.identity().await {
        Err(NoProgram::Identity(mismatch)) => {
            assert_eq!(mismatch.expected, Identity::Executable(seen));
            assert_ne!(mismatch.seen, mismatch.expected);
        }
        other => panic!("{other:?}"),
    }
    fs::remove_file(&tool).unwrap();
    assert!(matches!(launch.identity().await, Err(NoProgram::Io(_))));
}

#[test]
fn of_an_interpreter_the_script_counts_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let env = BTreeMap::new();
    let of = |parts: &[&str]| executable(&command(parts), &env, folder.path()).unwrap();
    fs::write(folder.path().join("server.sh"), "one").unwrap();
    fs::write(folder.path().join("data.db"), "one").unwrap();
    let (plain, first) = (of(&["sh", "-c", "true"]), of(&["sh", "-u", "server.sh", "data.db"]));
    assert_ne!(plain, first);
    fs::write(folder.path().join("data.db"), "two").unwrap();
    assert_eq!(of(&["sh", "-u", "server.sh", "data.db"]), first, "what it works on is not what it is");
    fs::write(folder.path().join("server.sh"), "two").unwrap();
    assert_ne!(of(&["sh", "-u", "server.sh", "data.db"]), first);
    // No interpreter: its arguments are its own business.
    let cat = of(&["cat", "data.db"]);
    fs::write(folder.path().join("data.db"), "three").unwrap();
    assert_eq!(of(&["cat", "data.db"]), cat);
}

#[test]
fn a_program_is_found_where_the_child_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    for (place, mode) in [(&one, 0o644), (&two, 0o755)] {
        fs::create_dir(place).unwrap();
        fs::write(place.join("tool"), place.to_str().unwrap()).unwrap();
        fs::set_permissions(place.join("tool"), fs::Permissions::from_mode(mode)).unwrap();
    }
    let env = BTreeMap::from([("PATH".to_owned(), format!("{}:{}", one.display(), two.display()))]);
    let found = executable(&command(&["tool"]), &env, folder.path()).unwrap();
    assert_eq!(found, Hash::of(two.to_str().unwrap().as_bytes()), "the first one that can be started");
    assert!(executable(&command(&["nowhere"]), &env, folder.path()).is_err());
    assert!(executable(&[], &env, folder.path()).is_err());
}

/// Certificates of two servers for 127.0.0.1, their keys, and who vouches for both
const ONE: (&[u8], &[u8]) = (include_bytes!("tls/one.der"), include_bytes!("tls/one.key.der"));
const TWO: (&[u8], &[u8]) = (include_bytes!("tls/two.der"), include_bytes!("tls/two.key.der"));
const AUTHORITY: &[u8] = include_bytes!("tls/ca.der");
/// As `openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | sha256sum` has them
const KEY_OF_ONE: &str = "e0ec69d2d6142e45fae08adcbf7c1014c5dbe1be05d4f32da19eecc5fa83fec2";
const KEY_OF_TWO: &str = "39ce080e1b8186e69df10bacae2df3b551313f2d8ec469d5b71731a0513691f9";

/// Speaks TLS with whoever comes, and passes on what is said to a server
async fn secured(shows: (&'static [u8], &'static [u8]), server: SocketAddr) -> String {
    counted(shows, server).await.0
}

/// The same, and with how many
async fn counted((certificate, key): (&'static [u8], &'static [u8]), server: SocketAddr) -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let key = PrivateKeyDer::try_from(key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate)], key)
        .unwrap();
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = format!("https://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
            tokio::spawn(async move {
                let Ok(mut inside) = acceptor.accept(stream).await else { return };
                counted.fetch_add(1, Ordering::SeqCst);
                let mut outside = TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
            });
        }
    });
    (url, count)
}

/// Terms that a test changes
#[derive(Debug)]
struct Said {
    now: Mutex<Result<Arc<Terms>, String>>,
    /// Those that are said once somebody was refused
    next: Mutex<Option<Arc<Terms>>>,
}

impl Said {
    fn new(said: Result<Terms, &str>) -> Arc<Self> {
        let now = Mutex::new(said.map(Arc::new).map_err(str::to_owned));
        Arc::new(Self { now, next: Mutex::default() })
    }

    fn says(&self, said: Result<Terms, &str>) {
        *self.now.lock().unwrap() = said.map(Arc::new).map_err(str::to_owned);
    }
}

impl Tls for Said {
    fn terms<'a>(&'a self, refused: Option<&'a Arc<Terms>>) -> Asked<'a> {
        if let Some(next) = refused.and_then(|_| self.next.lock().unwrap().take()) {
            *self.now.lock().unwrap() = Ok(next);
        }
        let said = self.now.lock().unwrap().clone();
        Box::pin(async { said })
    }
}

/// Lets nobody through, and says so
#[derive(Debug)]
struct Nobody;

impl ServerCertVerifier for Nobody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Err(CertificateError::Other(OtherError(Arc::new(std::fmt::Error))).into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn believing_nobody() -> Terms {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().dangerous();
    let config = config.with_custom_certificate_verifier(Arc::new(Nobody)).with_no_client_auth();
    Terms { config: Arc::new(config), ..ours() }
}

fn ours() -> Terms {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(AUTHORITY)).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    Terms { config, identity: None, until: |_| None }
}

fn trusting(url: &str) -> Http {
    Http::new(url, SteadyClock::start()).unwrap().on(Said::new(Ok(ours())))
}

#[tokio::test]
async fn a_server_with_another_key_is_not_spoken_to() {
    let key = |text: &str| text.parse::<Hash>().unwrap();
    let (mut server, _) = Server::new().await;
    let one = secured(ONE, server.address).await;
    // Whoever is there is seen, and the one that was accepted is let in.
    for http in [trusting(&one), trusting(&one).pinned(key(KEY_OF_ONE))] {
        let http = Arc::new(http);
        assert_eq!(http.identity(), None);
        let _link = opened(&http, Can::NONE, server.open_modern(json!([]))).await;
        assert_eq!(http.identity(), Some(Identity::Tls(key(KEY_OF_ONE))));
    }
    // The same name, vouched for by the same authority, with another key.
    let two = secured(TWO, server.address).await;
    let http = Arc::new(trusting(&two).pinned(key(KEY_OF_ONE)));
    let (ready, ()) = open(&http, Can::NONE, async {}).await;
    let Err(Unready::Identity(mismatch)) = ready else { panic!("{ready:?}") };
    assert_eq!(mismatch.expected, Identity::Tls(key(KEY_OF_ONE)));
    assert_eq!(mismatch.seen, Identity::Tls(key(KEY_OF_TWO)));
    // The right key does not make up for an authority that nobody believes.
    let http = Arc::new(Http::new(&one, SteadyClock::start()).unwrap().pinned(key(KEY_OF_ONE)));
    let (ready, ()) = open(&http, Can::NONE, async {}).await;
    assert!(matches!(&ready, Err(Unready::Failure(_))), "{ready:?}");
    // Nor is anybody without TLS the one that was accepted.
    let url = format!("http://{}/mcp", server.address);
    let http = Arc::new(Http::new(&url, SteadyClock::start()).unwrap().pinned(key(KEY_OF_ONE)));
    let (ready, ()) = open(&http, Can::NONE, async {}).await;
    assert!(matches!(&ready, Err(Unready::Identity(_))), "{ready:?}");
    assert_eq!(server.rest(), Vec::<String>::new(), "none of them was told anything");
}

#[tokio::test]
async fn a_connection_is_used_again_as_long_as_another_one_would_be_made_alike() {
    let (mut server, _) = Server::new().await;
    let (url, count) = counted(ONE, server.address).await;
    let clock = SteadyClock::start();
    let said = Said::new(Ok(ours()));
    let http = Arc::new(Http::new(&url, clock).unwrap().on(Arc::clone(&said) as Arc<dyn Tls>));
    let link = opened(&http, Can::NONE, server.open_modern(json!([]))).await;
    let call = Request::call(json!({}));
    let mut connections = async || {
        call.answered(&link, async {
            server.message().await.result(json!({ "resultType": "complete", "content": [] }));
        })
        .await;
        count.load(Ordering::SeqCst)
    };
    assert_eq!([connections().await, connections().await], [1, 1]);
    said.says(Ok(ours()));
    assert_eq!([connections().await, connections().await], [2, 2], "what it was made with has changed");
    // One that counts until now is over when the next call comes.
    said.says(Ok(Terms { until: |_| Some(portreeve_core::time::Millis(0)), ..ours() }));
    assert_eq!([connections().await, connections().await], [3, 4]);
    // Where nobody can tell who is there, nobody is spoken to, over whatever is open.
    said.says(Ok(ours()));
    connections().await;
    said.says(Err("nobody knows"));
    let (outcome, ()) = call.with(&link, async {}).await;
    assert!(not_sent(outcome).contains("nobody knows"));
    // And where somebody has to show who they are, not without TLS.
    let plain = format!("http://{}/mcp", server.address);
    let http = Arc::new(Http::new(&plain, clock).unwrap().on(Said::new(Ok(ours()))));
    let (ready, ()) = open(&http, Can::NONE, async {}).await;
    assert!(matches!(&ready, Err(Unready::Failure(_))), "{ready:?}");
    assert_eq!(server.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn whoever_is_refused_is_looked_at_once_more_with_what_is_said_now() {
    let (mut server, _) = Server::new().await;
    let (url, count) = counted(ONE, server.address).await;
    let said = Said::new(Ok(believing_nobody()));
    let http = || Arc::new(Http::new(&url, SteadyClock::start()).unwrap().on(Arc::clone(&said) as Arc<dyn Tls>));
    let (ready, ()) = open(&http(), Can::NONE, async {}).await;
    assert!(matches!(&ready, Err(Unready::Failure(_))), "{ready:?}");
    assert_eq!(count.load(Ordering::SeqCst), 0);
    *said.next.lock().unwrap() = Some(Arc::new(ours()));
    let _link = opened(&http(), Can::NONE, server.open_modern(json!([]))).await;
    assert_eq!(count.load(Ordering::SeqCst), 1);
}
