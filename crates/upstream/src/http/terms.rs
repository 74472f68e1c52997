//! On which terms TLS is spoken with a server, where they are others than with every website.

use crate::identity::Identity;
use portreeve_core::time::Millis;
use std::{fmt, pin::Pin, sync::Arc};
use tokio_rustls::rustls::{ClientConfig, pki_types::CertificateDer};

/// What connections are made with at the moment
#[derive(Clone, Debug)]
pub struct Terms {
    /// Who is let through a handshake, and what we show there
    pub config: Arc<ClientConfig>,
    /// Who it is that is let through; nothing: several could, and each is known by their key
    pub identity: Option<Identity>,
    /// Until when a connection counts on which these certificates were shown; nothing: as long as it is open
    pub until: fn(&[CertificateDer<'_>]) -> Option<Millis>,
}

/// What comes of asking for [`Terms`]
pub type Asked<'a> = Pin<Box<dyn Future<Output = Result<Arc<Terms>, String>> + Send + 'a>>;

/// Says on which terms TLS is spoken with one server
pub trait Tls: fmt::Debug + Send + Sync {
    /// Those of this moment: the very same as long as nothing about them changes, and else why nobody is spoken to
    ///
    /// Each connection asks before it is made, and before it is used again. `refused` are those on which a server was
    /// refused just now: who is believed may have changed since they were made.
    fn terms<'a>(&'a self, refused: Option<&'a Arc<Terms>>) -> Asked<'a>;
}
