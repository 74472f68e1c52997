//! What the process is told when it starts.

use portreeve_core::json::Limits;
use portreeve_identity::{
    key::source::{Given, Secrets},
    keyring::Sources,
    svid::TrustDomain,
};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

/// Settings of one process over one data folder
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data folder: log, keys, sockets
    pub data: PathBuf,
    /// The policy directory
    pub policy: PathBuf,
    /// Where agents reach it over HTTP; port 0 lets the system choose
    pub listen: SocketAddr,
    /// How it is reached, and so its name as an issuer: `https://portreeve.example.com`; nothing: as it listens
    pub address: Option<String>,
    /// Where it listens for TLS, if it does
    pub tls: Option<TlsSettings>,
    /// The Workload API of this machine, as in `unix:///run/spire/agent.sock`
    pub workload_api: Option<String>,
    /// The program that keeps children: this very binary
    pub keeper: PathBuf,
    /// Bytes that the log may take; none means what the disk holds
    pub log_bytes_max: Option<u64>,
    /// How long a request waits for people before its client is told that they are asked
    pub hold_wait: Duration,
    /// Where keys come from
    pub keys: Sources,
    /// What they are read from, once
    pub given: Arc<Given>,
    /// Whether processes of this machine get identities from a Workload API of our own
    pub spiffe: Option<Spiffe>,
    /// As whom the account that owns the data folder administers it
    pub account: Account,
    /// The secrets that we have as a client of issuers
    pub secrets: Arc<Secrets>,
    /// Whether the system may write the memory of this process to a file when it crashes, and others look into it
    pub core_dumps: bool,
}

/// A Workload API of our own
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spiffe {
    /// Its socket
    pub socket: PathBuf,
    /// The trust domain whose identities it issues
    pub trust_domain: TrustDomain,
    /// How long what it issues counts
    pub ttl: Duration,
    /// Whether other accounts may connect
    pub shared: bool,
}

/// How long what the Workload API issues counts, unless the configuration says otherwise
pub const SPIFFE_TTL: Duration = Duration::from_secs(60 * 60);

/// As whom the account that owns the data folder administers it
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// As the owner of everything, whatever the policy says: the way back
    #[default]
    Owner,
    /// As the user of the policy whose account it is, with that user's roles
    Roles,
}

/// TLS beside plain HTTP
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Where; port 0 lets the system choose
    pub listen: SocketAddr,
    /// The certificate that is shown
    pub own: OwnCertificate,
}

/// Where our certificate comes from
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnCertificate {
    /// The X.509-SVID that the Workload API gives us
    Svid,
    /// From files in PEM, which are read anew when they change
    Files {
        /// The certificate, and those between it and its authority
        certificate: PathBuf,
        /// Its key
        key: PathBuf,
    },
}

/// How long a request waits for people unless the configuration says otherwise: less than the minute after which
/// many clients give up
pub const HOLD_WAIT: Duration = Duration::from_secs(45);
/// The longest that the configuration may say
pub const HOLD_WAIT_MAX: Duration = Duration::from_secs(60);
/// Bytes of a request at most
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Connections of agents over TCP at once, if the system allows so many files
pub const CONNECTIONS_MAX: usize = 2_048;
/// Connections at the administrator's socket at once
pub const ADMIN_CONNECTIONS_MAX: usize = 256;
/// Connections at one private socket at once
pub const PRIVATE_CONNECTIONS_MAX: usize = 128;
/// How long the body of a request may take to arrive
pub const BODY_SECS_MAX: u64 = 30;
/// Requests of one run that may be in the house at once
pub const REQUESTS_PER_RUN_MAX: usize = 128;
/// Bytes kept back on the disk so that stops and settlements can be recorded when it is full
pub const LOG_RESERVE_BYTES: u64 = 16 << 20;
/// For how long a client may keep what it was told, in milliseconds: as long as a changed definition may go unnoticed
pub const TTL_MS_MAX: u64 = 60_000;
/// Bytes of an answer at most, where it is needed as a whole
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The limits of a connector's message
#[must_use]
pub fn answer_limits() -> Limits {
    Limits { bytes_max: ANSWER_BYTES_MAX, ..Limits::DEFAULT }
}
