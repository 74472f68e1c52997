//! The subjects and how each is started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::ValueEnum as _;
use http::Uri;
use serde::Deserialize;

use super::children::{Running, Start, own_command};
use super::{Kind, Options};
use crate::print;
use crate::process;
use crate::target::Target;

/// The upstream that all subjects lead to, and the folder of the run
#[derive(Debug)]
pub(crate) struct Stage {
    folder: PathBuf,
    upstream: Running,
    address: String,
}

/// Something that calls are sent through
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) url: String,
    /// The process whose CPU and memory count; none for `direct`
    pub(crate) pid: Option<u32>,
    pub(crate) idle_kib: u64,
    headers: BTreeMap<String, String>,
    renew: Option<PathBuf>,
    /// Held for its end
    _running: Option<Running>,
}

/// The line that `--portreeve-cmd` prints
#[derive(Debug, Deserialize)]
struct Announced {
    url: String,
    pid: u32,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    renew: Option<PathBuf>,
}

impl Stage {
    /// Starts the upstream
    pub(crate) fn raise(options: &Options, folder: &Path) -> anyhow::Result<Self> {
        let era = options.upstream_era.to_possible_value().context("no such era")?;
        let upstream = Running::start(&Start {
            what: "the upstream",
            core: options.load_core,
            command: own_command(["upstream", "--until-stdin-closes", "--era", era.get_name()])?,
        })?;
        let address = listening(&upstream)?;
        Ok(Self { folder: folder.to_owned(), upstream, address })
    }

    /// The upstream's process
    pub(crate) fn upstream_pid(&self) -> u32 {
        self.upstream.pid()
    }

    /// `ADDRESS:PORT` of the upstream
    pub(crate) fn upstream_address(&self) -> &str {
        &self.address
    }

    fn upstream_url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Starts what was asked for, leaving out what is not there; `direct` is always among them
    pub(crate) fn subjects(&self, options: &Options) -> anyhow::Result<Vec<Subject>> {
        let mut kinds = options.subjects.clone();
        if !kinds.contains(&Kind::Direct) {
            kinds.insert(0, Kind::Direct);
        }
        let mut subjects: Vec<Subject> = Vec::new();
        for kind in kinds {
            if subjects.iter().any(|subject| subject.kind == kind) {
                continue;
            }
            let started = match kind {
                Kind::Direct => Some(Subject::new(kind, self.upstream_url())),
                Kind::Nginx => self.nginx(options)?,
                Kind::Yardstick => Some(self.yardstick(options)?),
                Kind::Portreeve => self.portreeve(options)?,
            };
            subjects.extend(started);
        }
        for subject in &mut subjects {
            subject.idle_kib = subject.pid.map_or(Ok(0), process::resident_kib)?;
        }
        Ok(subjects)
    }

    fn yardstick(&self, options: &Options) -> anyhow::Result<Subject> {
        let mut command = own_command(["yardstick", "--until-stdin-closes", "--upstream"])?;
        command.push(self.upstream_url().into());
        command.push("--dir".into());
        command.push(self.folder.clone().into());
        command.push(format!("--journal-nice={}", options.journal_nice).into());
        let running = Running::start(&Start { what: "the yardstick", core: options.proxy_core, command })?;
        let address = listening(&running)?;
        Ok(Subject::running(Kind::Yardstick, format!("http://{address}/mcp"), running))
    }

    fn portreeve(&self, options: &Options) -> anyhow::Result<Option<Subject>> {
        let Some(command) = &options.portreeve_cmd else {
            print::note("portreeve: left out, there is no --portreeve-cmd");
            return Ok(None);
        };
        let script = format!("{command} \"$1\"");
        let running = Running::start(&Start {
            what: "the command for Portreeve",
            core: options.proxy_core,
            command: ["sh", "-c", script.as_str(), "sh", self.upstream_url().as_str()].map(OsString::from).into(),
        })?;
        let line = running.first_line(START_WAIT_MAX)?;
        let announced: Announced =
            serde_json::from_str(&line).with_context(|| format!("not the line of JSON expected: {line}"))?;
        Target::parse(&announced.url.parse::<Uri>().context("odd url")?)?;
        Ok(Some(Subject {
            pid: Some(announced.pid),
            headers: announced.headers,
            renew: announced.renew,
            ..Subject::running(Kind::Portreeve, announced.url.clone(), running)
        }))
    }

    fn nginx(&self, options: &Options) -> anyhow::Result<Option<Subject>> {
        if !options.nginx.is_file() {
            print::note(&format!("nginx: left out, there is no {}", options.nginx.display()));
            return Ok(None);
        }
        let folder = self.folder.join("nginx");
        fs::create_dir(&folder).context("make nginx's folder")?;
        let port = free_port()?;
        let config = folder.join("nginx.conf");
        fs::write(&config, nginx_config(&folder, port, &self.address)).context("write nginx's configuration")?;
        let command: Vec<OsString> = vec![
            options.nginx.clone().into(),
            "-e".into(),
            folder.join("error.log").into(),
            "-p".into(),
            folder.into(),
            "-c".into(),
            config.into(),
        ];
        let running = Running::start(&Start { what: "nginx", core: options.proxy_core, command })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let deadline = Instant::now() + START_WAIT_MAX;
        while TcpStream::connect(address).is_err() {
            if Instant::now() >= deadline {
                bail!("nginx does not listen on {address}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(Subject::running(Kind::Nginx, format!("http://{address}/mcp"), running)))
    }
}

impl Subject {
    fn new(kind: Kind, url: String) -> Self {
        Self { kind, url, pid: None, idle_kib: 0, headers: BTreeMap::new(), renew: None, _running: None }
    }

    /// Something that runs already, with the headers to show there
    pub(crate) fn there(kind: Kind, url: String, pid: Option<u32>, idle_kib: u64) -> Self {
        Self { pid, idle_kib, ..Self::new(kind, url) }
    }

    /// Has these headers shown from now on
    pub(crate) fn show(&mut self, headers: BTreeMap<String, String>) {
        self.headers = headers;
    }

    fn running(kind: Kind, url: String, running: Running) -> Self {
        Self { pid: Some(running.pid()), _running: Some(running), ..Self::new(kind, url) }
    }

    /// The headers to send now, as `NAME:VALUE`: tokens live minutes, so a file may renew them
    pub(crate) fn headers(&mut self) -> anyhow::Result<Vec<String>> {
        if let Some(path) = &self.renew {
            let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
            let renewed: Renewed =
                serde_json::from_str(&text).with_context(|| format!("odd headers in {}", path.display()))?;
            self.headers = match renewed {
                Renewed::Line { headers } | Renewed::Bare(headers) => headers,
            };
        }
        Ok(self.headers.iter().map(|(name, value)| format!("{name}:{value}")).collect())
    }
}

/// The file of renewed headers: shaped like the first line, or the headers alone
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Renewed {
    Line { headers: BTreeMap<String, String> },
    Bare(BTreeMap<String, String>),
}

/// Where a part of this program says that it listens
pub(crate) fn listening(running: &Running) -> anyhow::Result<String> {
    let line = running.first_line(START_WAIT_MAX)?;
    let address = line.strip_prefix("listening ").with_context(|| format!("odd first line: {line}"))?;
    Ok(address.to_owned())
}

/// A port that was free a moment ago; nginx cannot choose one and say which
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// A plain reverse proxy with keep-alive on both sides
fn nginx_config(folder: &Path, port: u16, upstream: &str) -> String {
    let folder = folder.display();
    // A worker started by root would give its rights up and lose the folder.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    format!(
        "daemon off;
{user}worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    upstream echo {{ server {upstream}; keepalive 128; keepalive_requests 1000000000; keepalive_timeout 1h; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://echo;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
"
    )
}

const START_WAIT_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
