//! What the tests of the whole system share: a place to run Portreeve in, hostile neighbours, the record.

pub(crate) mod bao;
pub(crate) mod cluster;
pub(crate) mod fixture;
pub(crate) mod front;
pub(crate) mod github;
pub(crate) mod google;
pub(crate) mod http;
pub(crate) mod issuer;
pub(crate) mod mariadb;
pub(crate) mod moto;
pub(crate) mod nats;
pub(crate) mod place;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod provider;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod redis;
pub(crate) mod spire;
pub(crate) mod sshd;
pub(crate) mod tls;
pub(crate) mod upstream;

use std::{
    io::{BufRead as _, BufReader, Read},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up; far more than it ever needs
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until the answer is yes; only for what nothing in the system tells
#[track_caller]
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Lines that somebody prints, read as they come
pub(crate) struct Lines {
    lines: mpsc::Receiver<String>,
}

impl Lines {
    /// Of this reader
    pub(crate) fn of(reader: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { lines }
    }

    /// The next one; `None` at the end, or when it takes too long
    pub(crate) fn next(&self) -> Option<String> {
        self.lines.recv_timeout(PATIENCE).ok()
    }
}
