//! TLS by SPIFFE with servers: connectors whose file says who they have to be, and bundle endpoints of trust domains.
//!
//! A server is let through the handshake if it shows an X.509-SVID of exactly one workload, by the bundle of its trust
//! domain as it is at that moment; its name and the authorities of this machine count for nothing there. What is kept
//! open is used again only as long as a connection that is made now would be made with the same.

use crate::{issuers::Issuers, tls::provider, workload::Workload};
use portreeve_core::{offer::Identity, time::Millis};
use portreeve_identity::svid::{self, Bundles, Invalid, NotAnId, SpiffeId};
use portreeve_upstream::{
    clock::SteadyClock,
    http::{Asked, Terms, Tls, authorities},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::{
    iter,
    sync::{Arc, Mutex, PoisonError},
};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    sign::CertifiedKey,
};

/// Who vouches for servers, and who we are
#[derive(Debug)]
pub struct Peers {
    /// What is known of trust domains
    pub issuers: Arc<Issuers>,
    /// Where our own X.509-SVID comes from
    pub workload: Arc<Workload>,
    /// What time it is
    pub clock: SteadyClock,
}

/// How TLS is spoken with one connector
#[derive(Debug)]
pub struct Toward {
    peers: Arc<Peers>,
    /// Who has to be there
    id: Option<SpiffeId>,
    /// Whether we show our own X.509-SVID
    svid: bool,
    // Held only to read or exchange it.
    made: Mutex<Option<Made>>,
}

/// Terms, and what they were made of
#[derive(Debug)]
struct Made {
    bundles: Option<Bundles>,
    own: Option<Arc<CertifiedKey>>,
    terms: Arc<Terms>,
}

impl Toward {
    /// With a server that has to be this workload, and is shown who we are; nothing if it is a website like any other
    ///
    /// # Errors
    /// It is no SPIFFE ID.
    pub fn new(peers: Arc<Peers>, id: Option<&str>, svid: bool) -> Result<Option<Self>, NotAnId> {
        let id = id.map(str::parse).transpose()?;
        let plain = id.is_none() && !svid;
        Ok((!plain).then(|| Self { peers, id, svid, made: Mutex::default() }))
    }

    async fn now(&self, refused: bool) -> Result<Arc<Terms>, String> {
        let bundles = match &self.id {
            Some(id) => {
                let bundles = self.peers.issuers.bundles(id.domain(), refused).await;
                Some(bundles.map_err(|why| format!("{id} has to be there, and nobody can tell: {why}"))?)
            }
            None => None,
        };
        let own = match self.svid {
            true => {
                let own = self.peers.workload.svid().await;
                Some(own.map_err(|why| format!("we have to show who we are (`svid = true`), and cannot: {why}"))?)
            }
            false => None,
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |made: &&Made| {
            made.bundles == bundles && made.own.as_ref().map(Arc::as_ptr) == own.as_ref().map(Arc::as_ptr)
        };
        if let Some(made) = made.as_ref().filter(same) {
            return Ok(Arc::clone(&made.terms));
        }
        let only = self.id.clone().zip(bundles.clone());
        let terms = terms(only, own.clone(), self.peers.clock).map_err(|error| error.to_string())?;
        let terms = Arc::new(terms);
        *made = Some(Made { bundles, own, terms: Arc::clone(&terms) });
        Ok(terms)
    }
}

impl Tls for Toward {
    fn terms<'a>(&'a self, refused: Option<&'a Arc<Terms>>) -> Asked<'a> {
        Box::pin(self.now(refused.is_some()))
    }
}

/// The terms on which a server is spoken to: who it has to be and what vouches for that, and what it is shown of us
///
/// # Errors
/// The cryptography cannot be used.
pub(crate) fn terms(
    only: Option<(SpiffeId, Bundles)>,
    own: Option<Arc<CertifiedKey>>,
    clock: SteadyClock,
) -> Result<Terms, Error> {
    let provider = provider();
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let identity = only.as_ref().map(|(id, _)| Identity::Spiffe(id.to_string()));
    let config = match only {
        Some((id, bundles)) => {
            let only = Only { id, bundles, clock, provider };
            config.dangerous().with_custom_certificate_verifier(Arc::new(only))
        }
        None => config.with_root_certificates(authorities()),
    };
    let mut config = match own {
        Some(own) => config.with_client_cert_resolver(Arc::new(Shows(own))),
        None => config.with_no_client_auth(),
    };
    // A session that is taken up again would spare the server showing who it is.
    config.resumption = Resumption::disabled();
    let until = if identity.is_some() { until } else { |_: &[CertificateDer<'_>]| None };
    Ok(Terms { config: Arc::new(config), identity, until })
}

/// Until when the first of these certificates ends
fn until(chain: &[CertificateDer<'_>]) -> Option<Millis> {
    chain.iter().filter_map(|one| svid::until(one)).min()
}

/// Somebody else is there
#[derive(Debug, thiserror::Error)]
#[error("it does not show that it is {id}: {why} [{}]", why.word())]
struct NotThere {
    id: SpiffeId,
    why: Invalid,
}

/// Lets through who has an X.509-SVID of one workload
#[derive(Debug)]
struct Only {
    id: SpiffeId,
    bundles: Bundles,
    clock: SteadyClock,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _stapled: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<&CertificateDer<'_>> = iter::once(own).chain(between).collect();
        match svid::server(&chain, &self.id, &self.bundles, self.clock.now()) {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            Err(why) => {
                let refused = NotThere { id: self.id.clone(), why };
                Err(CertificateError::Other(OtherError(Arc::new(refused))).into())
            }
        }
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

/// Shows one certificate to whoever asks for one
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
