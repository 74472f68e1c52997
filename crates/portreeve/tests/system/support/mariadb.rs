//! A MariaDB server of a test's own: empty, on any free port, gone with the test.

use super::{
    postgres::{as_somebody, give_to_somebody},
    until,
};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// The server
pub(crate) struct MariaDb {
    port: u16,
    folder: TempDir,
    child: Option<Child>,
    /// Whether it speaks TLS to those who want to
    tls: bool,
}

/// Who may do everything
const ADMIN: (&str, &str) = ("admin", "admin-of-the-test");

impl MariaDb {
    /// A running server; nothing where MariaDB is not installed
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(None)
    }

    /// The same, which shows this certificate (PEM) with its key
    pub(crate) fn start_with(shown: Option<(String, String)>) -> Option<Self> {
        Command::new(program("mariadbd")).arg("--version").stdout(Stdio::null()).status().ok()?;
        let folder = tempfile::Builder::new().prefix("ptr-mdb-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["data", "tmp"] {
            fs::create_dir(folder.path().join(name)).unwrap();
            give_to_somebody(&folder.path().join(name));
        }
        let mut install = as_somebody(Command::new(program("mariadb-install-db")));
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-log-bin"]);
        install.arg(format!("--datadir={}", folder.path().join("data").display())).current_dir(folder.path());
        let made = install.stdin(Stdio::null()).env("TMPDIR", folder.path().join("tmp")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let tls = shown.is_some();
        for (name, text) in shown.into_iter().flat_map(|(chain, key)| [("chain.pem", chain), ("key.pem", key)]) {
            fs::write(folder.path().join(name), text).unwrap();
            give_to_somebody(&folder.path().join(name));
        }
        let mut server = Self { port, folder, child: None, tls };
        server.up();
        let admin = format!(
            "CREATE USER {0}@'%' IDENTIFIED BY '{1}'; GRANT ALL ON *.* TO {0}@'%' WITH GRANT OPTION; DROP USER root@localhost",
            ADMIN.0, ADMIN.1
        );
        server.ask_as(("root", ""), "mysql", &admin).unwrap();
        Some(server)
    }

    /// Starts it, again at the same port
    pub(crate) fn up(&mut self) {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let mut command = as_somebody(Command::new(program("mariadbd")));
        command.arg("--no-defaults").arg(format!("--datadir={}", at("data"))).arg(format!("--port={}", self.port));
        command.arg(format!("--socket={}", at("tmp/socket"))).arg(format!("--pid-file={}", at("tmp/pid")));
        command.arg(format!("--tmpdir={}", at("tmp"))).args(["--bind-address=127.0.0.1", "--skip-name-resolve"]);
        command.arg("--general-log=1").arg(format!("--general-log-file={}", at("data/statements")));
        command.arg("--innodb-flush-log-at-trx-commit=0").current_dir(self.folder.path());
        if self.tls {
            command.arg(format!("--ssl-cert={}", at("chain.pem"))).arg(format!("--ssl-key={}", at("key.pem")));
        }
        let log = fs::File::options().create(true).append(true).open(at("log")).unwrap();
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        until("MariaDB answers", || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
                && [("root", ""), ADMIN].iter().any(|who| self.ask_as(*who, "mysql", "SELECT 1").is_ok())
        });
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

    /// What it wrote down of all statements
    pub(crate) fn statements(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("data/statements")).unwrap()).into_owned()
    }

    /// What a statement answers to its owner, a line for each row
    pub(crate) fn ask(&self, statement: &str) -> Result<Vec<String>, String> {
        self.ask_as(ADMIN, "mysql", statement)
    }

    /// The same to somebody else
    pub(crate) fn ask_as(
        &self,
        (user, password): (&str, &str),
        database: &str,
        statement: &str,
    ) -> Result<Vec<String>, String> {
        let mut client = Command::new(program("mariadb"));
        client.args([
            "--no-defaults",
            "-N",
            "-B",
            "-h",
            "127.0.0.1",
            "-P",
            &self.port.to_string(),
            "-u",
            user,
            "--skip-ssl",
        ]);
        client.args(["-D", database, "-e", statement]).env("MYSQL_PWD", password).stdin(Stdio::null());
        let answer = client.output().unwrap();
        let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>();
        if answer.status.success() { Ok(lines(&answer.stdout)) } else { Err(lines(&answer.stderr).join("\n")) }
    }

    /// The users that leases are
    pub(crate) fn users(&self) -> Vec<String> {
        self.ask("SELECT User FROM mysql.user WHERE User LIKE 'ptr\\_%' ORDER BY 1").unwrap()
    }

    /// How many sessions they have
    pub(crate) fn sessions(&self) -> usize {
        let theirs = "SELECT ID FROM information_schema.PROCESSLIST WHERE USER LIKE 'ptr\\_%'";
        self.ask(theirs).unwrap().len()
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.down();
    }
}

/// Where a program is: Debian has servers where not everybody looks
fn program(name: &str) -> PathBuf {
    let there = ["/usr/sbin", "/usr/bin"].map(|folder| PathBuf::from(folder).join(name));
    there.into_iter().find(|path| path.exists()).unwrap_or_else(|| PathBuf::from(name))
}
