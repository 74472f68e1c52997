//! A Redis server of a test's own: empty, on any free port, gone with the test.

use super::{PATIENCE, until};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// The server
pub(crate) struct Redis {
    port: u16,
    folder: TempDir,
    child: Option<Child>,
}

/// Who may do everything, and the user that Portreeve signs in as, with no more than it needs
pub(crate) const ADMIN: (&str, &str) = ("admin", "admin-of-the-test");
const USERS: &str = "user default off\nuser admin on >admin-of-the-test ~* &* +@all\n\
    user portreeve on >portreeve-of-redis -@all +acl|setuser +acl|deluser +acl|getuser +acl|users +acl|save \
    +client|list +client|kill\n";

impl Redis {
    /// A running server, which keeps its users in a file; nothing where Redis is not installed
    pub(crate) fn start() -> Option<Self> {
        Self::start_as(true)
    }

    /// The same; `filed`: whether it keeps its users in a file of their own
    pub(crate) fn start_as(filed: bool) -> Option<Self> {
        Self::start_with(filed, "")
    }

    /// The same, with more in its configuration
    pub(crate) fn start_with(filed: bool, more: &str) -> Option<Self> {
        Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().ok()?;
        let folder = tempfile::Builder::new().prefix("ptr-redis-").tempdir().unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let server = format!("bind 127.0.0.1\nport {port}\nsave \"\"\n{more}");
        let (config, users) = (folder.path().join("redis.conf"), folder.path().join("users.acl"));
        if filed {
            fs::write(config, format!("{server}aclfile {}\n", users.display())).unwrap();
            fs::write(users, USERS).unwrap();
        } else {
            fs::write(config, format!("{server}{USERS}")).unwrap();
        }
        let mut redis = Self { port, folder, child: None };
        redis.up();
        Some(redis)
    }

    /// Starts it, again at the same port
    pub(crate) fn up(&mut self) {
        let mut command = Command::new("redis-server");
        command.arg(self.folder.path().join("redis.conf")).current_dir(self.folder.path());
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        self.child = Some(command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null()).spawn().unwrap());
        until("Redis answers", || TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.session(ADMIN).is_ok());
    }

    /// Ends it at once, as a crash does
    pub(crate) fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Its port
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The file of its users
    pub(crate) fn users_file(&self) -> PathBuf {
        self.folder.path().join("users.acl")
    }

    /// A connection of somebody who is let in; what the server says, otherwise
    pub(crate) fn session(&self, (user, password): (&str, &str)) -> Result<Session, String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut session = Session(BufReader::new(stream));
        session.ask(&format!("AUTH {user} {password}"))?;
        Ok(session)
    }

    /// What the server answers to its owner
    pub(crate) fn ask(&self, command: &str) -> Result<Vec<String>, String> {
        self.session(ADMIN)?.ask(command)
    }

    /// The users that leases are
    pub(crate) fn users(&self) -> Vec<String> {
        self.ask("ACL USERS").unwrap().into_iter().filter(|name| name.starts_with("ptr_")).collect()
    }

    /// How many connections they have
    pub(crate) fn sessions(&self) -> usize {
        self.ask("CLIENT LIST").unwrap().join("\n").matches("user=ptr_").count()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.down();
    }
}

/// A connection
pub(crate) struct Session(BufReader<TcpStream>);

impl Session {
    /// What the server answers, a text for each part; or the error
    pub(crate) fn ask(&mut self, command: &str) -> Result<Vec<String>, String> {
        let gone = |error: std::io::Error| format!("gone: {error}");
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes()).map_err(gone)?;
        let mut parts = Vec::new();
        self.read(&mut parts)?;
        Ok(parts)
    }

    fn read(&mut self, parts: &mut Vec<String>) -> Result<(), String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).map_err(|error| format!("gone: {error}"))?;
        let (kind, rest) = line.trim_end().split_at_checked(1).filter(|_| read > 0).ok_or("gone")?;
        match kind {
            "-" => return Err(rest.to_owned()),
            "*" => {
                for _ in 0..rest.parse().unwrap_or(0) {
                    self.read(parts)?;
                }
            }
            "$" if rest != "-1" => {
                let mut text = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.0.read_exact(&mut text).map_err(|error| format!("gone: {error}"))?;
                text.truncate(text.len() - 2);
                parts.push(String::from_utf8(text).unwrap());
            }
            "$" => {}
            _ => parts.push(rest.to_owned()),
        }
        Ok(())
    }
}
