//! A NATS server of a test's own, with an operator, a system account and an account; gone with the test.

use super::until;
use crate::interop::interop;
use portreeve_credentials::{
    nats::{
        claims::{creds, signed},
        key::{Holder, Key},
    },
    secret::Secret,
};
use serde_json::{Value, json};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// The server, and the keys of those whom it knows
pub(crate) struct Nats {
    program: PathBuf,
    port: u16,
    folder: TempDir,
    child: Option<Child>,
    /// The account's public key
    pub(crate) account: String,
    /// The seed of a key that the account signs with
    pub(crate) signing: Secret,
    /// The seed of a key that the operator signs with
    pub(crate) operator: Secret,
    /// A user of the system account with no more than Portreeve needs
    pub(crate) system: Secret,
}

const SERVER: &str = "venv-backends/bin/nats-server";
/// Python with the official client
pub(crate) const PYTHON: &str = "venv-backends/bin/python";

fn token(key: &Key, sub: &str, nats: &Value) -> String {
    let claims = json!({ "sub": sub, "name": "of-the-test", "iat": 1_700_000_000, "jti": sub, "nats": nats });
    signed(key, claims.as_object().unwrap().clone())
}

impl Nats {
    /// A running server; nothing where it was not installed
    pub(crate) fn start(test: &str) -> Option<Self> {
        Self::start_with(test, "")
    }

    /// The same, with more in its configuration
    pub(crate) fn start_with(test: &str, more: &str) -> Option<Self> {
        let program = interop(test, &[SERVER])?.join(SERVER);
        let folder = tempfile::Builder::new().prefix("ptr-nats-").tempdir().unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let make = |holder| Key::make(holder).unwrap();
        let (root, (operator, operator_seed)) = (make(Holder::Operator).0, make(Holder::Operator));
        let ((sys, _), (sys_signing, _), (account, _)) =
            (make(Holder::Account), make(Holder::Account), make(Holder::Account));
        let ((signing, signing_seed), (user, user_seed)) = (make(Holder::Account), make(Holder::User));
        let (sys_id, account_id) = (sys.public(), account.public());
        let limits = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
            "conn": -1, "leaf": -1 });
        let of = |keys: &[String]| json!({ "limits": limits, "signing_keys": keys, "type": "account", "version": 2 });
        let operators = json!({ "type": "operator", "version": 2, "signing_keys": [operator.public()],
            "system_account": sys_id, "strict_signing_key_usage": true });
        let may = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1,
            "pub": { "allow": [format!("$SYS.REQ.ACCOUNT.{account_id}.CLAIMS.LOOKUP"), "$SYS.REQ.CLAIMS.UPDATE",
                format!("$SYS.REQ.ACCOUNT.{account_id}.CONNZ")] },
            "sub": { "allow": ["_INBOX.>"] }, "issuer_account": sys_id });
        let system = creds(&token(&sys_signing, &user.public(), &may), &user_seed);
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\noperator: {}\nsystem_account: {sys_id}\n\
             resolver: {{ type: full, dir: {:?}, allow_delete: true, interval: \"2m\" }}\n\
             resolver_preload: {{\n{sys_id}: {}\n{account_id}: {}\n}}\n{more}",
            token(&root, &root.public(), &operators),
            folder.path().join("accounts").display(),
            token(&operator, &sys_id, &of(&[sys_signing.public()])),
            token(&operator, &account_id, &of(&[signing.public()])),
        );
        fs::write(folder.path().join("nats.conf"), config).unwrap();
        let (signing, operator) = (signing_seed, operator_seed);
        let mut nats = Self { program, port, folder, child: None, account: account_id, signing, operator, system };
        nats.up();
        Some(nats)
    }

    /// Starts it, again at the same port
    pub(crate) fn up(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(&self.program);
        command.args(["-DV", "-c"]).arg(self.folder.path().join("nats.conf"));
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        until("NATS answers", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
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

    /// The account's claims as the server keeps them
    pub(crate) fn claims(&self) -> Value {
        let file = self.folder.path().join("accounts").join(format!("{}.jwt", self.account));
        Value::Object(portreeve_credentials::nats::claims::read(&fs::read_to_string(file).unwrap()).unwrap())
    }

    /// How many users the account revokes
    pub(crate) fn revoked(&self) -> usize {
        self.claims()["nats"]["revocations"].as_object().map_or(0, |all| all.len())
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.down();
    }
}
