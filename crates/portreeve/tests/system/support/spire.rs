//! A real SPIRE: a server and an agent of a trust domain, and workloads that are attested by the kernel's word.

use super::{
    place::{Place, Ran, Running, finish},
    tls::Certificate,
    until,
};
use serde_json::Value;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// What of the folder of foreign programs it needs
pub(crate) const NEEDS: [&str; 2] = ["spire/spire-server", "spire/spire-agent"];
/// Seconds that an SVID lives
pub(crate) const LIVES: u64 = 16;

/// A SPIRE server with one agent
pub(crate) struct Spire<'a> {
    place: &'a Place,
    programs: PathBuf,
    folder: PathBuf,
    /// The port of the endpoint that serves the trust domain's bundle (profile `https_spiffe`)
    bundles: u16,
    /// The agent's own SPIFFE ID
    parent: String,
    _running: Vec<Running>,
}

/// A program that asks the Workload API, and is known there by its path
pub(crate) struct Workload<'a> {
    spire: &'a Spire<'a>,
    program: PathBuf,
}

impl<'a> Spire<'a> {
    /// Starts both, for the trust domain `example.org`
    pub(crate) fn start(interop: &Path, place: &'a Place) -> Self {
        let (programs, folder) = (interop.join("spire"), place.path().join("spire"));
        for part in ["server", "agent"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        // Neither tells which port it was given, so one is found for them.
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, bundles) = (free(), free());
        let [port, bundles] = [port, bundles].map(|free| free.local_addr().unwrap().port());
        let at = folder.display();
        let server = format!(
            "server {{\n bind_address = \"127.0.0.1\"\n bind_port = \"{port}\"\n socket_path = \"{at}/server.sock\"\n \
             trust_domain = \"example.org\"\n data_dir = \"{at}/server\"\n ca_ttl = \"1h\"\n \
             default_x509_svid_ttl = \"{LIVES}s\"\n default_jwt_svid_ttl = \"{LIVES}s\"\n \
             federation {{\n bundle_endpoint {{\n address = \"127.0.0.1\"\n port = {bundles}\n \
             profile \"https_spiffe\" {{}}\n}}\n}}\n}}\nplugins {{\n \
             DataStore \"sql\" {{ plugin_data {{ database_type = \"sqlite3\" \
             connection_string = \"{at}/server/data.sqlite3\" }} }}\n \
             NodeAttestor \"join_token\" {{ plugin_data {{}} }}\n KeyManager \"memory\" {{ plugin_data {{}} }}\n}}\n"
        );
        fs::write(folder.join("server.conf"), server).unwrap();
        let start = |name: &str| {
            let conf = folder.join(format!("{name}.conf"));
            let program = programs.join(format!("spire-{name}"));
            Running::start(place.command(program.to_str().unwrap(), &["run", "-config", conf.to_str().unwrap()]))
        };
        let (parent, _running) = (String::new(), vec![]);
        let mut spire = Self { place, programs: programs.clone(), folder: folder.clone(), bundles, parent, _running };
        spire._running.push(start("server"));
        until("the SPIRE server answers", || spire.ask("server", &["healthcheck"]).code == 0);
        let token = spire.ask("server", &["token", "generate", "-output", "json"]).good().json();
        let token = token["value"].as_str().unwrap().to_owned();
        let agent = format!(
            "agent {{\n data_dir = \"{at}/agent\"\n server_address = \"127.0.0.1\"\n server_port = \"{port}\"\n \
             socket_path = \"{at}/agent.sock\"\n insecure_bootstrap = true\n trust_domain = \"example.org\"\n \
             join_token = \"{token}\"\n experimental {{ sync_interval = \"1s\" }}\n}}\nplugins {{\n \
             NodeAttestor \"join_token\" {{ plugin_data {{}} }}\n KeyManager \"memory\" {{ plugin_data {{}} }}\n \
             WorkloadAttestor \"unix\" {{ plugin_data {{ discover_workload_path = true }} }}\n}}\n"
        );
        fs::write(folder.join("agent.conf"), agent).unwrap();
        spire._running.push(start("agent"));
        until("the SPIRE agent answers", || spire.ask("agent", &["healthcheck"]).code == 0);
        spire.parent = format!("spiffe://example.org/spire/agent/join_token/{token}");
        spire
    }

    /// Where its Workload API is
    pub(crate) fn socket(&self) -> String {
        format!("unix://{}/agent.sock", self.folder.display())
    }

    /// Where the trust domain's bundle is served by who shows an X.509-SVID, and of which workload
    pub(crate) fn endpoint(&self) -> (String, &'static str) {
        (format!("https://127.0.0.1:{}", self.bundles), "spiffe://example.org/spire/server")
    }

    /// The trust domain's bundle as it is now
    pub(crate) fn bundle(&self) -> String {
        self.ask("server", &["bundle", "show", "-format", "spiffe"]).good().out
    }

    fn ask(&self, of: &str, arguments: &[&str]) -> Ran {
        let socket = self.folder.join(format!("{of}.sock"));
        let program = self.programs.join(format!("spire-{of}"));
        let mut command = self.place.command(program.to_str().unwrap(), arguments);
        command.args(["-socketPath", socket.to_str().unwrap()]);
        finish(command, "")
    }

    /// Lets the processes of a program of our account be somebody; the entry's id
    pub(crate) fn enter(&self, id: &str, program: &Path) -> String {
        let path = format!("unix:path:{}", program.canonicalize().unwrap().display());
        let account = format!("unix:uid:{}", rustix::process::geteuid().as_raw());
        let entry = ["entry", "create", "-parentID", &self.parent, "-spiffeID", id];
        let selectors = ["-selector", &path, "-selector", &account, "-output", "json"];
        let made = self.ask("server", &[&entry[..], &selectors].concat()).good().json();
        made["results"][0]["entry"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    /// Takes that back
    pub(crate) fn remove(&self, entry: &str) {
        self.ask("server", &["entry", "delete", "-entryID", entry]).good();
    }

    /// A program of this name that asks the Workload API
    pub(crate) fn workload(&'a self, name: &str) -> Workload<'a> {
        let program = self.folder.join(name);
        fs::copy(self.programs.join("spire-agent"), &program).unwrap();
        Workload { spire: self, program }
    }
}

impl Workload<'_> {
    /// Its file
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    fn fetch(&self, arguments: &[&str]) -> Ran {
        let mut command: Command = self.spire.place.command(self.program.to_str().unwrap(), &["api", "fetch"]);
        let socket = self.spire.folder.join("agent.sock");
        command.args(arguments).args(["-socketPath", socket.to_str().unwrap()]);
        finish(command, "")
    }

    /// Its X.509-SVID, and the certificates of its trust domain; nothing if nobody vouches for it
    pub(crate) fn certificate(&self) -> Option<(Certificate, Vec<CertificateDer<'static>>)> {
        let folder = tempfile::tempdir().unwrap();
        let ran = self.fetch(&["x509", "-write", folder.path().to_str().unwrap()]);
        if ran.code != 0 {
            return None;
        }
        let chain = |name: &str| {
            let all = CertificateDer::pem_file_iter(folder.path().join(name)).unwrap();
            all.collect::<Result<Vec<_>, _>>().unwrap()
        };
        let key = PrivateKeyDer::from_pem_file(folder.path().join("svid.0.key")).unwrap();
        Some((Certificate { chain: chain("svid.0.pem"), key: key.secret_der().to_vec() }, chain("bundle.0.pem")))
    }

    /// Its JWT-SVID for this audience; nothing if nobody vouches for it
    pub(crate) fn token(&self, audience: &str) -> Option<String> {
        let ran = self.fetch(&["jwt", "-audience", audience, "-output", "json"]);
        let told: Value = if ran.code == 0 { ran.json() } else { Value::Null };
        told.pointer("/0/svids/0/svid").and_then(Value::as_str).map(str::to_owned)
    }
}
