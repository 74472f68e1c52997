//! The demo's own servers: a shop and a mail box
//!
//! Both are ordinary MCP servers on the official SDK, reached like anybody else's. The shop may want a key, as a database
//! wants a role, and has a keeper who issues them.
//! Architecture Invariant: the servers know nothing of Portreeve, and keep nothing on disk but the shop's books, where it is
//! told to. What an agent may do with them is decided in front of them; all that the shop looks at is its key.

mod keys;
mod mail;
mod play;
mod shop;

use crate::output;
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;

use self::{keys::Ledger, mail::serve_mail, shop::serve_shop};

pub(crate) use self::play::run;

/// A demo server by its name
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Server {
    /// Orders and refunds, over standard input and output
    Shop,
    /// A mail box with a trap in it, over HTTP on a free loopback port
    Mail,
}

/// Serves until the peer leaves (shop) or the process ends (mail)
///
/// The mail box first prints `listening ADDRESS`.
pub(crate) async fn serve(server: Server, books: Option<PathBuf>, keys: Option<&Path>) -> anyhow::Result<()> {
    match server {
        Server::Shop => serve_shop(books, keys.map(Ledger::at)).await,
        Server::Mail => {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no free port for the mail box")?;
            output::line(&format!("listening {}", listener.local_addr()?));
            serve_mail(listener).await
        }
    }
}

/// The keeper of the shop's keys: answers one question from standard input on standard output
pub(crate) fn keep(ledger: &Path) -> anyhow::Result<()> {
    let answer = keys::answer(&Ledger::at(ledger), std::io::stdin().lock())?;
    output::line(&answer.to_string());
    Ok(())
}
