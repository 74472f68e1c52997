//! Back ends that are installed here, and what each takes by itself.

use crate::who::Spent;
use anyhow::{Context as _, ensure};
use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_postgres::NoTls;

/// All that are known, in the order of the table
pub(super) const NAMES: [&str; 5] = ["none", "static", "command", "redis", "postgres"];

const PASSWORD: &str = "bench-of-the-admin";
/// Who runs a database where the bench runs as root, which PostgreSQL refuses to be
const NOBODY: u32 = 65_534;
/// How long a server gets to come up
const TRIES: u32 = 1_000;

/// A back end
#[derive(Debug)]
pub(super) struct BackEnd {
    name: &'static str,
    port: u16,
    folder: TempDir,
    server: Option<Child>,
}

impl BackEnd {
    /// A back end that runs; nothing where it is not installed
    pub(super) fn start(name: &'static str, dir: &Path) -> anyhow::Result<Option<Self>> {
        let folder = tempfile::tempdir_in(dir)?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut back_end = Self { name, port, folder, server: None };
        let runs = match name {
            "command" => {
                let path = back_end.program();
                fs::write(&path, PROGRAM)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
                true
            }
            "redis" => back_end.start_redis()?,
            "postgres" => back_end.start_postgres()?,
            _ => true,
        };
        Ok(runs.then_some(back_end))
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether there is something to issue and to take back
    pub(super) fn issues(&self) -> bool {
        self.name != "none"
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("issue")
    }

    /// The secret that Portreeve keeps for it
    pub(super) fn secret(&self) -> Option<String> {
        match self.name {
            "none" | "command" => None,
            "static" => Some("a-secret-of-the-bench".to_owned()),
            _ => Some(format!("admin:{PASSWORD}")),
        }
    }

    /// Its file in `credentials/`, and what the connector says
    pub(super) fn source(&self) -> anyhow::Result<(Option<String>, String)> {
        let (port, path) = (self.port, self.program());
        let (own, field) = match self.name {
            "none" => return Ok((None, String::new())),
            "static" => {
                ("[static]\nsecret = \"keys\"\nclasses = [\"read\"]\nrotate_by = 2099-01-01\n".to_owned(), "secret")
            }
            "command" => {
                let run = format!("[command]\nrun = [{path:?}]\nclasses = [\"read\"]\nrevocation = \"immediate\"\n");
                (run, "token")
            }
            "redis" => (
                format!(
                    "[redis]\nhost = \"127.0.0.1\"\nport = {port}\ntls = false\nadmin = \"keys\"\n[redis.read]\nrules = [\"~bench:*\", \"+get\"]\n"
                ),
                "password",
            ),
            _ => (
                format!(
                    "[postgres]\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"postgres\"\ntls = false\nadmin = \"keys\"\n[postgres.read]\ngrant = [\"USAGE ON SCHEMA public\"]\n"
                ),
                "password",
            ),
        };
        let put = format!("[credentials]\nsource = \"keys\"\nheaders = {{ Authorization = \"Bearer {{{field}}}\" }}\n");
        Ok((Some(format!("owner = \"bench@example.com\"\n{own}")), put))
    }

    /// What it takes by itself; false if it has nothing of its own
    pub(super) async fn floor(&self, number: u32, issue: &mut Spent, back: &mut Spent) -> anyhow::Result<bool> {
        let name = format!("floor_{number}");
        match self.name {
            "command" => {
                for (spent, question) in [(issue, "issue"), (back, "withdraw")] {
                    spent.wait(self.run(question)).await?;
                }
            }
            "redis" => {
                issue.wait(self.redis(&format!("ACL SETUSER {name} on >{PASSWORD} ~bench:* +get"))).await?;
                back.wait(self.redis(&format!("ACL DELUSER {name}"))).await?;
            }
            "postgres" => {
                let made = [
                    format!("CREATE ROLE {name} LOGIN PASSWORD '{VERIFIER}'"),
                    format!("GRANT USAGE ON SCHEMA public TO {name}"),
                ];
                issue.wait(self.postgres(&made)).await?;
                let gone = [
                    format!("ALTER ROLE {name} NOLOGIN"),
                    format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'"),
                    format!("DROP OWNED BY {name}"),
                    format!("DROP ROLE {name}"),
                ];
                back.wait(self.postgres(&gone)).await?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    async fn run(&self, question: &str) -> anyhow::Result<()> {
        let mut child =
            tokio::process::Command::new(self.program()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().context("standard input")?;
        stdin.write_all(format!("{{\"do\":\"{question}\",\"name\":\"floor\",\"until\":0}}\n").as_bytes()).await?;
        drop(stdin);
        let done = child.wait_with_output().await?;
        ensure!(done.status.success(), "the program failed");
        Ok(())
    }

    async fn redis(&self, command: &str) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        for line in [format!("AUTH admin {PASSWORD}"), command.to_owned()] {
            stream.write_all(format!("{line}\r\n").as_bytes()).await?;
            let mut answer = [0; 256];
            let read = stream.read(&mut answer).await?;
            let answer = String::from_utf8_lossy(answer.get(..read).unwrap_or_default()).into_owned();
            ensure!(answer.starts_with(['+', ':']), "Redis answered {answer}");
        }
        Ok(())
    }

    async fn postgres(&self, statements: &[String]) -> anyhow::Result<()> {
        let config = format!("host=127.0.0.1 port={} user=admin password={PASSWORD} dbname=postgres", self.port);
        let (mut client, connection) = tokio_postgres::connect(&config, NoTls).await?;
        tokio::spawn(connection);
        let transaction = client.transaction().await?;
        for statement in statements {
            transaction.batch_execute(statement).await?;
        }
        Ok(transaction.commit().await?)
    }

    fn start_redis(&mut self) -> anyhow::Result<bool> {
        let config = self.folder.path().join("redis.conf");
        let (port, users) = (self.port, format!("user default off\nuser admin on >{PASSWORD} ~* &* +@all\n"));
        fs::write(&config, format!("bind 127.0.0.1\nport {port}\nsave \"\"\n{users}"))?;
        let Ok(child) = Command::new("redis-server").arg(config).stdout(Stdio::null()).spawn() else {
            return Ok(false);
        };
        self.server = Some(child);
        self.wait()
    }

    fn start_postgres(&mut self) -> anyhow::Result<bool> {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut folders = versions.map(|version| version.path().join("bin"));
        let Some(programs) = folders.find(|folder| folder.join("initdb").exists()) else { return Ok(false) };
        let (data, password) = (self.folder.path().join("data"), self.folder.path().join("password"));
        fs::create_dir(&data)?;
        fs::write(&password, PASSWORD)?;
        let is_root = rustix::process::getuid().is_root();
        if is_root {
            chown(&data, Some(NOBODY), Some(NOBODY))?;
        }
        let command = |program: &str| {
            let mut command = Command::new(programs.join(program));
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let mut init = command("initdb");
        init.args(["--auth=scram-sha-256", "--locale=C", "--encoding=UTF8", "-U", "admin"]);
        let made = init.arg("--pwfile").arg(&password).arg("-D").arg(&data).status()?;
        ensure!(made.success(), "initdb failed");
        let mut server = command("postgres");
        server.arg("-D").arg(&data).args(["-p", &self.port.to_string()]);
        // Durable, as one that is relied on is.
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"] {
            server.args(["-c", setting]);
        }
        self.server = Some(server.spawn()?);
        self.wait()
    }

    fn wait(&self) -> anyhow::Result<bool> {
        for _ in 0..TRIES {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("{} does not come up", self.name)
    }
}

impl Drop for BackEnd {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            // A fast shutdown, which leaves no shared memory behind.
            let _ = i32::try_from(server.id())
                .ok()
                .and_then(rustix::process::Pid::from_raw)
                .map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::INT));
            let _ = server.wait();
        }
    }
}

/// A verifier of some password (RFC 5803), made before, as the server is never told a password
const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

/// The smallest program that speaks the protocol of `docs/credentials.md`
const PROGRAM: &str = r#"#!/bin/sh
read -r ask
case $ask in
*'"do":"issue"'*) echo '{"issued":{"fields":{"token":"t"}}}' ;;
*'"do":"sweep"'*) echo '{"names":[]}' ;;
*'"do":"check"'*) echo '{"ok":{}}' ;;
*) echo '{"withdrawn":{"evidence":{"absent":{"says":"nothing"}}}}' ;;
esac
"#;
