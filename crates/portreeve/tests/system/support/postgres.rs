//! A PostgreSQL server of a test's own: empty, on any free port, gone with the test.

use super::until;
use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// The server
pub(crate) struct Postgres {
    programs: PathBuf,
    port: u16,
    folder: TempDir,
    child: Option<Child>,
}

/// The role that owns everything, and its password
pub(crate) const ADMIN: (&str, &str) = ("admin", "admin-of-the-test");
/// Who runs it where the test runs as root, which PostgreSQL refuses to be
const NOBODY: u32 = 65_534;

impl Postgres {
    /// A running server; nothing where PostgreSQL is not installed
    pub(crate) fn start() -> Option<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("ptr-pg-").tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let password = folder.path().join("password");
        fs::write(&password, ADMIN.1).unwrap();
        give_to_somebody(&data);
        let mut init = as_somebody(Command::new(programs.join("initdb")));
        init.args(["--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C", "-U", ADMIN.0]);
        init.arg("--pwfile").arg(&password).arg("-D").arg(&data).stdin(Stdio::null());
        let made = init.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut server = Self { programs, port, folder, child: None };
        server.up();
        Some(server)
    }

    /// Starts it, again at the same port
    pub(crate) fn up(&mut self) {
        let mut command = as_somebody(Command::new(self.programs.join("postgres")));
        command.arg("-D").arg(self.folder.path().join("data")).args(["-p", &self.port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "log_statement=all"] {
            command.args(["-c", setting]);
        }
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        until("PostgreSQL answers", || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.ask("postgres", "SELECT 1").is_ok()
        });
    }

    /// Ends it at once, as a crash does
    pub(crate) fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
            drop(child.wait());
        }
    }

    /// Its port
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What it wrote down of all statements
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What a statement answers to its owner, a line for each row
    pub(crate) fn ask(&self, database: &str, statement: &str) -> Result<Vec<String>, String> {
        self.ask_as(ADMIN, database, statement)
    }

    /// The same to somebody else
    pub(crate) fn ask_as(
        &self,
        (user, password): (&str, &str),
        database: &str,
        statement: &str,
    ) -> Result<Vec<String>, String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        psql.args(["-U", user, "-d", database, "-c", statement]).env("PGPASSWORD", password).stdin(Stdio::null());
        let answer = psql.output().unwrap();
        let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>();
        if answer.status.success() { Ok(lines(&answer.stdout)) } else { Err(lines(&answer.stderr).join("\n")) }
    }

    /// The roles that leases are
    pub(crate) fn roles(&self) -> Vec<String> {
        self.ask("postgres", "SELECT rolname FROM pg_roles WHERE rolname LIKE 'ptr\\_%' ORDER BY 1").unwrap()
    }

    /// How many sessions there are that are not the owner's
    pub(crate) fn sessions(&self) -> usize {
        let others = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' \
                      AND usename IS DISTINCT FROM 'admin'";
        self.ask("postgres", others).unwrap().len()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.down();
    }
}

/// Where its programs are: Debian keeps them apart by version
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    found.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    found.into_iter().find(|folder: &PathBuf| folder.join("initdb").exists() && folder.join("postgres").exists())
}

fn is_root() -> bool {
    fs::metadata(Path::new("/proc/self")).is_ok_and(|own| own.uid() == 0)
}

/// Lets whom [`as_somebody`] runs write there
pub(crate) fn give_to_somebody(folder: &Path) {
    if is_root() {
        chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// A program that does not run as root, which database servers refuse
pub(crate) fn as_somebody(mut command: Command) -> Command {
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}
