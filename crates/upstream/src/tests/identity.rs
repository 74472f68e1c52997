//! Who a connector is.

use super::support::*;
use crate::{
    child::NoProgram,
    clock::SteadyClock,
    http::Http,
    identity::{Identity, executable},
    link::Unready,
};
use portreeve_core::hash::Hash;
use portreeve_mcp::can::Can;
use serde_json::json;
use std::{collections::BTreeMap, fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, sync::Arc};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer},
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
async fn secured((certificate, key): (&'static [u8], &'static [u8]), server: SocketAddr) -> String {
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
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut inside) = acceptor.accept(stream).await else { return };
                let mut outside = TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
            });
        }
    });
    url
}

fn trusting(url: &str) -> Http {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(AUTHORITY)).unwrap();
    Http::new(url, SteadyClock::start()).unwrap().trusting(roots)
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
