//! An SSH server of a test's own, which believes an authority: on any free port, gone with the test.

use super::until;
use portreeve_credentials::secret::Fields;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};
use tempfile::TempDir;

const SSHD: &str = "/usr/sbin/sshd";

/// The server
pub(crate) struct Sshd {
    port: u16,
    folder: TempDir,
    child: Child,
}

/// The principals that it lets in
pub(crate) const PRINCIPALS: &str = "reports-eu\n";

impl Sshd {
    /// A running server with an authority of this kind, and an empty list of what is revoked; nothing where there can be none
    pub(crate) fn start(test: &str, kind: &str) -> Option<Self> {
        let skipped = |why: &str| {
            println!("SKIPPED: {test}: {why}");
            None
        };
        if !Path::new(SSHD).exists() || keygen(Path::new("/"), &["-Q", "-"]).is_none() || user().is_none() {
            return skipped("OpenSSH is missing");
        }
        // As root it insists on a folder of its own, which the system makes when it starts the service.
        if user().is_some_and(|user| user == "root") && fs::create_dir_all("/run/sshd").is_err() {
            return skipped("sshd finds no /run/sshd");
        }
        let folder = tempfile::Builder::new().prefix("ptr-sshd-").tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, kind) in [("host", "ed25519"), ("ca", kind)] {
            keygen(folder.path(), &["-q", "-t", kind, "-N", "", "-f", name]).unwrap();
        }
        keygen(folder.path(), &["-k", "-f", "krl"]).unwrap();
        fs::write(at("principals"), PRINCIPALS).unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let text = |name: &str| at(name).display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nUsePAM no\nStrictModes no\n\
             PermitRootLogin yes\nAuthenticationMethods publickey\nAuthorizedKeysFile none\nTrustedUserCAKeys {}\n\
             AuthorizedPrincipalsFile {}\nRevokedKeys {}\n",
            text("host"),
            text("ca.pub"),
            text("principals"),
            text("krl")
        );
        fs::write(at("config"), config).unwrap();
        let log = fs::File::create(at("log")).unwrap();
        let mut command = Command::new(SSHD);
        command.args(["-D", "-e", "-f"]).arg(at("config")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        until("sshd answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(Self { port, folder, child })
    }

    /// Its port
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The list of what is revoked
    pub(crate) fn list(&self) -> PathBuf {
        self.folder.path().join("krl")
    }

    /// The private key of the authority
    pub(crate) fn authority(&self) -> String {
        fs::read_to_string(self.folder.path().join("ca")).unwrap().trim().to_owned()
    }

    /// What `ssh` is called with, before the host
    pub(crate) fn options(&self, key: &Path, certificate: &Path) -> Vec<String> {
        let mut options: Vec<String> =
            ["-F", "none", "-T", "-p"].map(str::to_owned).into_iter().chain([self.port.to_string()]).collect();
        let certificate = format!("CertificateFile={}", certificate.display());
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            &certificate,
        ] {
            options.extend(["-o".to_owned(), option.to_owned()]);
        }
        options.extend(["-i".to_owned(), key.display().to_string()]);
        options
    }

    /// `ssh` as somebody with these fields, up to the host, whose name is last
    fn client(&self, fields: &Fields, more: &[&str]) -> (TempDir, Command) {
        let own = tempfile::tempdir().unwrap();
        let (key, certificate) = (own.path().join("key"), own.path().join("certificate"));
        fs::write(&key, fields["private_key"].expose()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
        fs::write(&certificate, fields["certificate"].expose()).unwrap();
        let mut command = Command::new("ssh");
        command.args(self.options(&key, &certificate)).args(more).arg(format!("{}@127.0.0.1", user().unwrap()));
        command.stdin(Stdio::null());
        (own, command)
    }

    /// Runs something as somebody with these fields
    pub(crate) fn run(&self, fields: &Fields, more: &[&str], what: &str) -> Output {
        let (_own, mut command) = self.client(fields, more);
        command.arg(what).output().unwrap()
    }

    /// Whether somebody with these fields is let in
    pub(crate) fn lets_in(&self, fields: &Fields) -> bool {
        let ran = self.run(fields, &[], "true");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success() || said.contains("Permission denied"), "{said}\n{}", self.log());
        ran.status.success()
    }

    /// A session that stays open until its standard input ends, and says back what it is told
    pub(crate) fn session(&self, fields: &Fields) -> Session {
        let (own, mut command) = self.client(fields, &[]);
        let mut child = command.arg("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Session { child, out, _own: own }
    }

    /// What it logged
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An open session
pub(crate) struct Session {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    _own: TempDir,
}

impl Session {
    /// Whether it says this back
    pub(crate) fn says(&mut self, text: &str) -> bool {
        use std::io::Write as _;
        let mut line = String::new();
        writeln!(self.child.stdin.as_mut().unwrap(), "{text}").is_ok()
            && self.out.read_line(&mut line).is_ok()
            && line.trim_end() == text
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Who runs this test, who alone can be let in where that is not root
pub(crate) fn user() -> Option<String> {
    let said = Command::new("id").arg("-un").output().ok()?;
    Some(String::from_utf8(said.stdout).ok()?.trim().to_owned())
}

/// Runs `ssh-keygen` in a folder
pub(crate) fn keygen(folder: &Path, arguments: &[&str]) -> Option<Output> {
    Command::new("ssh-keygen").args(arguments).current_dir(folder).stdin(Stdio::null()).output().ok()
}
