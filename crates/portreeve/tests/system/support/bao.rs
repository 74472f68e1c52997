//! A real HashiCorp Vault of a test's own, whose API OpenBao has as well: in memory, on any free port, gone with the test.

use super::{PATIENCE, http, postgres::Postgres, until};
use serde_json::{Value, json};
use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// What of the folder of foreign programs it needs
pub(crate) const NEEDS: [&str; 1] = ["vault/vault"];
/// Who may do everything there
pub(crate) const ROOT: &str = "root-of-the-test";
/// What Portreeve's own account there may do, as docs/credentials/openbao.md has it
const OWN: &str = r#"
path "auth/token/create/portreeve"    { capabilities = ["create", "update"] }
path "auth/token/lookup-accessor"     { capabilities = ["create", "update"] }
path "auth/token/revoke-accessor"     { capabilities = ["create", "update"] }
path "auth/token/accessors/"          { capabilities = ["list", "sudo"] }
path "sys/leases/revoke"              { capabilities = ["create", "update"] }
path "sys/leases/lookup"              { capabilities = ["create", "update"] }
path "sys/leases/lookup/database/creds/*" { capabilities = ["list", "sudo"] }
"#;

/// The server
pub(crate) struct Bao {
    port: u16,
    child: Child,
    _home: TempDir,
}

impl Bao {
    /// A running server, whose secrets engine for databases makes roles at this one
    ///
    /// Portreeve's own account is there, the policy `orders-reader`, and the engine's role of the same name.
    pub(crate) fn start(interop: &Path, database: &Postgres) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(interop.join(NEEDS[0]));
        command.args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id", ROOT]);
        command.args(["-dev-listen-address", &format!("127.0.0.1:{port}")]);
        command.env_clear().env("HOME", home.path()).current_dir(home.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let bao = Self { port, child: command.spawn().unwrap(), _home: home };
        until("it answers", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok() && bao.try_ask("GET", "sys/health", &Value::Null).is_some()
        });
        bao.furnish(database);
        bao
    }

    fn furnish(&self, database: &Postgres) {
        let (user, password) = super::postgres::ADMIN;
        let url = format!(
            "postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/postgres?sslmode=disable",
            database.port()
        );
        let creation = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'";
        self.good("sys/mounts/database", &json!({ "type": "database" }));
        let config = json!({ "plugin_name": "postgresql-database-plugin", "connection_url": url, "username": user,
            "password": password, "allowed_roles": "*" });
        self.good("database/config/orders", &config);
        let role =
            json!({ "db_name": "orders", "creation_statements": [creation], "default_ttl": "1h", "max_ttl": "24h" });
        self.good("database/roles/orders-reader", &role);
        let reads = r#"path "database/creds/orders-reader" { capabilities = ["read"] }"#;
        self.good("sys/policies/acl/orders-reader", &json!({ "policy": reads }));
        self.good("sys/policies/acl/portreeve", &json!({ "policy": OWN }));
        self.role(&json!({ "orphan": true, "renewable": false, "allowed_policies": ["orders-reader"] }));
        self.good("sys/auth/approle", &json!({ "type": "approle" }));
        self.good("auth/approle/role/portreeve", &json!({ "token_policies": ["portreeve"], "token_ttl": "5m" }));
    }

    /// Says of what the role of tokens is that leases have
    pub(crate) fn role(&self, says: &Value) {
        self.good("auth/token/roles/portreeve", says);
    }

    /// What Portreeve signs in with: `ROLE_ID:SECRET_ID`
    pub(crate) fn app_role(&self) -> String {
        let role = self.good("auth/approle/role/portreeve/role-id", &Value::Null);
        let secret = self.good("auth/approle/role/portreeve/secret-id", &json!({}));
        format!("{}:{}", role["data"]["role_id"].as_str().unwrap(), secret["data"]["secret_id"].as_str().unwrap())
    }

    /// Lets in who has a token of this key (PEM) for the audience `bao`, as the subject `portreeve`
    pub(crate) fn believe(&self, key: &str) {
        self.good("sys/auth/jwt", &json!({ "type": "jwt" }));
        self.good("auth/jwt/config", &json!({ "jwt_validation_pubkeys": [key], "jwt_supported_algs": ["EdDSA"] }));
        let role = json!({ "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["bao"], "bound_subject": "portreeve",
            "token_policies": ["portreeve"], "token_ttl": "5m" });
        self.good("auth/jwt/role/portreeve", &role);
    }

    /// Its port
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Names of leases that tokens carry
    pub(crate) fn names(&self) -> Vec<String> {
        let all = self.good("auth/token/accessors?list=true", &Value::Null);
        let accessors = all["data"]["keys"].as_array().unwrap();
        let name = |accessor: &Value| {
            let said = self.try_ask("POST", "auth/token/lookup-accessor", &json!({ "accessor": accessor }))?;
            said.json()["data"]["meta"]["portreeve"].as_str().map(str::to_owned)
        };
        accessors.iter().filter_map(name).collect()
    }

    /// How many tokens there are
    pub(crate) fn tokens(&self) -> usize {
        self.good("auth/token/accessors?list=true", &Value::Null)["data"]["keys"].as_array().unwrap().len()
    }

    /// Asks as root; reads where nothing is said, and writes otherwise
    #[track_caller]
    pub(crate) fn good(&self, path: &str, body: &Value) -> Value {
        let method = if body.is_null() { "GET" } else { "POST" };
        let said = self.try_ask(method, path, body).unwrap_or_else(|| panic!("{path}: no answer"));
        assert!((200..300).contains(&said.status), "{path}: {} {}", said.status, String::from_utf8_lossy(&said.body));
        said.json()
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Option<http::Response> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("host", "127.0.0.1"), ("x-vault-token", ROOT), ("x-vault-request", "true")];
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        http::try_exchange(stream, &http::request(method, &format!("/v1/{path}"), &headers, body.as_bytes()))
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
