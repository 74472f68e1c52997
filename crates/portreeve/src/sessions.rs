//! Where a terminal is signed in: one file for each server, which nobody else may read.

use crate::failure::{Failure, exit};
use portreeve_core::{hash::Hash, time::Millis};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::{
    env, fmt,
    fs::{self, DirBuilder, File},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::PathBuf,
};

/// Bytes of a file at most
const BYTES_MAX: u64 = 16 << 10;

/// A server, by its origin
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server(String);

impl Server {
    /// An origin over https, or over http on this machine
    pub(crate) fn read(text: &str) -> Option<Self> {
        let uri: http::Uri = text.trim_end_matches('/').parse().ok()?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let local = matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]");
        let bare = uri.path_and_query().is_none_or(|rest| rest.as_str() == "/");
        match uri.scheme_str()? {
            "https" if bare => Some(Self(format!("https://{}", authority.as_str().to_ascii_lowercase()))),
            "http" if bare && local => Some(Self(format!("http://{authority}"))),
            _ => None,
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is kept of being signed in
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    /// Where
    pub(crate) server: String,
    /// As whom
    pub(crate) user: String,
    /// What says so
    pub(crate) secret: String,
    /// Until when at most
    pub(crate) until: Millis,
}

fn path_of(server: &Server) -> Result<PathBuf, Failure> {
    let home = env::var_os("XDG_CONFIG_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    let home = home.filter(|home| home.is_absolute()).ok_or_else(|| {
        Failure::new(exit::FAILURE, "no_config_folder", "There is no folder for what this user configures.")
            .fix("Set HOME or XDG_CONFIG_HOME.")
    })?;
    let name = Hash::of(server.0.as_bytes()).to_string();
    Ok(home.join("portreeve/sessions").join(format!("{name}.json")))
}

/// Keeps a session, in place of one that was there
pub(crate) fn keep(server: &Server, session: &Session) -> Result<(), Failure> {
    let path = path_of(server)?;
    let Some(folder) = path.parent() else { return Ok(()) };
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Made with its mode, and whole under its name only once it is whole.
    let mut file = tempfile::Builder::new().prefix(".session").tempfile_in(folder)?;
    file.write_all(serde_json::to_string(session).map_err(std::io::Error::other)?.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
}

/// The session at a server
pub(crate) fn find(server: &Server) -> Result<Session, Failure> {
    let path = path_of(server)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match rustix::fs::open(&path, flags, Mode::empty()).map_err(std::io::Error::from) {
        Ok(file) => File::from(file),
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(signed_out(server)),
        Err(error) => return Err(error.into()),
    };
    let kept = file.metadata()?;
    if kept.mode() & 0o077 != 0 || kept.uid() != rustix::process::geteuid().as_raw() || !kept.is_file() {
        let what = format!("{} could be read or changed by somebody else.", path.display());
        return Err(Failure::new(exit::FAILURE, "session_exposed", what)
            .fix("Take the file away, and sign in again: `portreeve login`."));
    }
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text)?;
    let session: Option<Session> = serde_json::from_str(&text).ok();
    session.filter(|session| session.server == server.0).ok_or_else(|| signed_out(server))
}

/// Takes a session away
pub(crate) fn forget(server: &Server) -> Result<(), Failure> {
    match fs::remove_file(path_of(server)?) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn signed_out(server: &Server) -> Failure {
    Failure::new(exit::FAILURE, "signed_out", format!("You are not signed in at {server}."))
        .fix(format!("Sign in: `portreeve --server {server} login`."))
}

#[cfg(test)]
mod tests {
    use super::Server;

    #[test]
    fn a_server_is_an_origin_to_which_a_secret_may_go() {
        for (text, origin) in [
            ("https://portreeve.example.com", "https://portreeve.example.com"),
            ("https://Portreeve.example.com:8443/", "https://portreeve.example.com:8443"),
            ("http://localhost:7420", "http://localhost:7420"),
            ("http://127.0.0.1:7420/", "http://127.0.0.1:7420"),
        ] {
            assert_eq!(Server::read(text).map(|server| server.to_string()).as_deref(), Some(origin), "{text}");
        }
        for bad in
            ["http://portreeve.example.com", "https://a@b", "https://a/b", "https://a?b", "localhost:1", "", "ftp://a"]
        {
            assert_eq!(Server::read(bad), None, "{bad}");
        }
    }
}
