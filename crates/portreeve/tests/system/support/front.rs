//! A server with TLS in front of one without: it shows whatever certificate a test gives it, and keeps what clients show.

use super::tls::Certificate;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::watch,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
        server::{ServerSessionMemoryCache, WebPkiClientVerifier, danger::ClientCertVerifier},
    },
};

/// The server
pub(crate) struct Front {
    /// Where it listens
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    cut: watch::Sender<u64>,
    runtime: Option<Runtime>,
}

struct State {
    config: Arc<ServerConfig>,
    /// Sessions that clients may take up again, whatever it shows by then
    sessions: Arc<ServerSessionMemoryCache>,
    clients: Vec<Option<CertificateDer<'static>>>,
}

/// What it shows, and by whom the certificate of a client has to be vouched for
fn config(
    shows: &Certificate,
    asks: &[CertificateDer<'static>],
    sessions: &Arc<ServerSessionMemoryCache>,
) -> Arc<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ClientCertVerifier> = match asks {
        [] => WebPkiClientVerifier::no_client_auth(),
        authorities => {
            let mut roots = RootCertStore::empty();
            authorities.iter().for_each(|one| roots.add(one.clone()).unwrap());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            verifier.build().unwrap()
        }
    };
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(shows.key.clone()));
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_client_cert_verifier(verifier).with_single_cert(shows.chain.clone(), key).unwrap();
    config.session_storage = Arc::<ServerSessionMemoryCache>::clone(sessions);
    Arc::new(config)
}

impl Front {
    /// In front of this server; whoever comes shows a certificate of one of these authorities, if there are any
    pub(crate) fn of(server: SocketAddr, shows: &Certificate, asks: &[CertificateDer<'static>]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let sessions = ServerSessionMemoryCache::new(64);
        let config = config(shows, asks, &sessions);
        let state = Arc::new(Mutex::new(State { config, sessions, clients: Vec::new() }));
        let (cut, cutting) = watch::channel(0);
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(relay(stream, server, Arc::clone(&shared), cutting.clone()));
            }
        });
        Self { address, state, cut, runtime: Some(runtime) }
    }

    /// Whoever comes from now on sees this certificate, and shows one of these authorities
    pub(crate) fn shows(&self, shows: &Certificate, asks: &[CertificateDer<'static>]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.config = config(shows, asks, &state.sessions);
    }

    /// Closes every connection that is open, and returns once they are
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|cut| *cut += 1);
        // Each has a receiver until its sockets are closed, and whoever accepts has one.
        super::until("its connections are closed", || self.cut.receiver_count() == 1);
    }

    /// What each client has shown so far, those that were refused left out
    pub(crate) fn clients(&self) -> Vec<Option<CertificateDer<'static>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clients.clone()
    }

    /// Its address with this path
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

async fn relay(stream: TcpStream, server: SocketAddr, state: Arc<Mutex<State>>, mut cut: watch::Receiver<u64>) {
    cut.mark_unchanged();
    let config = Arc::clone(&state.lock().unwrap_or_else(PoisonError::into_inner).config);
    let Ok(mut inside) = TlsAcceptor::from(config).accept(stream).await else { return };
    let shown = inside.get_ref().1.peer_certificates().and_then(|chain| Some(chain.first()?.clone().into_owned()));
    state.lock().unwrap_or_else(PoisonError::into_inner).clients.push(shown);
    let Ok(mut outside) = TcpStream::connect(server).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut inside, &mut outside) => {}
        _ = cut.changed() => {}
    }
}
