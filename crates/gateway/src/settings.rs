//! What the process is told when it starts.

use std::{net::SocketAddr, path::PathBuf};

/// Settings of one process over one data folder
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data folder: log, keys, sockets
    pub data: PathBuf,
    /// The policy directory
    pub policy: PathBuf,
    /// Where agents reach it over HTTP; port 0 lets the system choose
    pub listen: SocketAddr,
    /// The program that keeps children: this very binary
    pub keeper: PathBuf,
    /// Bytes that the log may take; none means what the disk holds
    pub log_bytes_max: Option<u64>,
}

/// Bytes of a request at most
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Connections at once
pub const CONNECTIONS_MAX: usize = 2_048;
/// Requests of one run that may be in the house at once
pub const REQUESTS_PER_RUN_MAX: usize = 128;
/// Bytes kept back on the disk so that stops and settlements can be recorded when it is full
pub const LOG_RESERVE_BYTES: u64 = 16 << 20;
