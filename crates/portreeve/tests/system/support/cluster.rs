//! A real API server of Kubernetes with its store, on any free ports, gone with the test; there are no nodes, and nothing runs.

use super::{PATIENCE, until};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_upstream::{
    fetch::{Hosts, Sent, send_on},
    http::Terms,
};
use rcgen::PublicKeyData as _;
use serde_json::{Value, json};
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// What of the folder of foreign programs it needs
pub(crate) const NEEDS: [&str; 2] = ["kubernetes/kube-apiserver", "kubernetes/etcd"];
/// Who may do everything there
const ADMIN: &str = "admin-of-the-test";
/// The token of Portreeve's own account
pub(crate) const OWN: &str = "portreeve-of-the-test";

/// The API server
pub(crate) struct Cluster {
    port: u16,
    folder: TempDir,
    children: Vec<Child>,
    runtime: Runtime,
}

impl Cluster {
    /// A running API server with the namespace `agents`, the service accounts `orders-reader` and `orders-writer` there, and an
    /// account for Portreeve as docs/credentials/kubernetes.md has it
    pub(crate) fn start(interop: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("ptr-kube-").tempdir().unwrap();
        let free = || TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let ports = [free(), free(), free()];
        let [store, peers, port] = ports.map(|free| free.local_addr().unwrap().port());
        let key = rcgen::KeyPair::generate().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::write(at("accounts.key"), pem("PRIVATE KEY", &key.serialize_der())).unwrap();
        fs::write(at("accounts.pub"), pem("PUBLIC KEY", &key.subject_public_key_info())).unwrap();
        fs::write(at("tokens.csv"), format!("{ADMIN},admin,1,\"system:masters\"\n{OWN},portreeve,2\n")).unwrap();
        let start = |program: &str, arguments: &[String]| {
            let mut command = Command::new(interop.join(program));
            command.args(arguments).env_clear().env("HOME", folder.path()).current_dir(folder.path());
            let log = fs::File::create(folder.path().join("log")).unwrap();
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
        };
        let store_at = format!("http://127.0.0.1:{store}");
        let peers_at = format!("http://127.0.0.1:{peers}");
        let keeps = [
            format!("--data-dir={}", at("etcd")),
            format!("--listen-client-urls={store_at}"),
            format!("--advertise-client-urls={store_at}"),
            format!("--listen-peer-urls={peers_at}"),
            format!("--initial-advertise-peer-urls={peers_at}"),
            format!("--initial-cluster=default={peers_at}"),
            "--unsafe-no-fsync".to_owned(),
        ];
        let serves = [
            format!("--etcd-servers={store_at}"),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--cert-dir={}", at("certificates")),
            format!("--service-account-key-file={}", at("accounts.pub")),
            format!("--service-account-signing-key-file={}", at("accounts.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--token-auth-file={}", at("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        ];
        let children = vec![start(NEEDS[1], &keeps), start(NEEDS[0], &serves)];
        let runtime = Runtime::new().unwrap();
        let cluster = Self { port, folder, children, runtime };
        until("the API server is ready", || {
            cluster.ca().exists()
                && cluster.terms().is_some()
                && cluster.ask(ADMIN, "GET", "/readyz", &Value::Null).0 == 200
        });
        cluster.furnish();
        cluster
    }

    fn furnish(&self) {
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        let meta = |name: &str| json!({ "name": name });
        self.good("/api/v1/namespaces", &json!({ "metadata": meta("agents") }));
        for account in ["orders-reader", "orders-writer"] {
            self.good("/api/v1/namespaces/agents/serviceaccounts", &json!({ "metadata": meta(account) }));
        }
        let role = json!({ "metadata": meta("portreeve"), "rules": [
            { "apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "get", "list", "delete"] },
            { "apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"],
              "resourceNames": ["orders-reader", "orders-writer"] },
        ] });
        self.good(&format!("{rbac}/namespaces/agents/roles"), &role);
        let reviews = json!({ "metadata": meta("portreeve"), "rules": [
            { "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"] },
        ] });
        self.good(&format!("{rbac}/clusterroles"), &reviews);
        let binding = |kind: &str| {
            json!({ "metadata": meta("portreeve"), "subjects": [{ "kind": "User", "name": "portreeve",
                "apiGroup": "rbac.authorization.k8s.io" }],
                "roleRef": { "kind": kind, "name": "portreeve", "apiGroup": "rbac.authorization.k8s.io" } })
        };
        self.good(&format!("{rbac}/namespaces/agents/rolebindings"), &binding("Role"));
        self.good(&format!("{rbac}/clusterrolebindings"), &binding("ClusterRole"));
    }

    /// Its address
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The certificates of who vouches for it
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("certificates/apiserver.crt")
    }

    /// The Secrets of leases
    pub(crate) fn secrets(&self) -> Vec<String> {
        let (status, said) = self.ask(ADMIN, "GET", "/api/v1/namespaces/agents/secrets", &Value::Null);
        assert_eq!(status, 200, "{said}");
        let items = said["items"].as_array().unwrap().iter();
        items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Who the API server says that somebody with this token is; nothing if it does not let them in
    pub(crate) fn is(&self, token: &str) -> Option<String> {
        let ask = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
        let (status, said) = self.ask(token, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", &ask);
        let name = said.pointer("/status/userInfo/username").and_then(Value::as_str).map(str::to_owned);
        assert!(status == 401 || name.is_some(), "{status} {said}");
        name
    }

    /// Makes something as somebody who may do everything
    #[track_caller]
    pub(crate) fn good(&self, path: &str, body: &Value) -> Value {
        let (status, said) = self.ask(ADMIN, "POST", path, body);
        assert_eq!(status, 201, "{path}: {said}");
        said
    }

    /// Changes something as somebody who may do everything (RFC 6902)
    #[track_caller]
    pub(crate) fn patch(&self, path: &str, patch: &Value) {
        let (status, said) = self.ask(ADMIN, "PATCH", path, patch);
        assert_eq!(status, 200, "{path}: {said}");
    }

    /// Asks as the holder of a token
    fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let bearer = format!("Bearer {token}");
        let kind = if method == "PATCH" { "application/json-patch+json" } else { "application/json" };
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let sent = Sent { method: method.parse().unwrap(), headers: &headers, body };
        let url = format!("{}{path}", self.url());
        let terms = self.terms();
        let answer = send_on(terms.as_ref(), &url, sent, Hosts::Private, (1 << 22, PATIENCE));
        let answer = self.runtime.block_on(answer);
        answer.map_or((0, Value::Null), |answer| {
            (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
        })
    }

    fn terms(&self) -> Option<Terms> {
        portreeve_credentials::web::believing(self.ca().to_str()).ok().flatten()
    }
}

/// Text around what a key is (RFC 7468)
fn pem(what: &str, der: &[u8]) -> String {
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", STANDARD.encode(der))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
