//! A Portreeve with many agents, each with a key of its own, in front of one upstream.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::Options;
use super::handshake::Certificates;
use super::keys::Key;
use crate::compare::children::{Running, Start, own_command};
use crate::compare::subject::listening;
use crate::served::{Served, admin, ask};
use crate::target::Target;
use crate::upstream::Era;

/// The upstream
#[derive(Debug)]
pub(crate) struct Upstream {
    _running: Running,
    pub(crate) url: String,
}

impl Upstream {
    pub(crate) fn raise(core: usize) -> anyhow::Result<Self> {
        let era = Era::Modern.to_possible_value().context("no such era")?;
        let command = own_command(["upstream", "--until-stdin-closes", "--era", era.get_name()])?;
        let running = Running::start(&Start { what: "the upstream", core, command })?;
        let url = format!("http://{}/mcp", listening(&running)?);
        Ok(Self { _running: running, url })
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        Connection::to(&self.url).await
    }
}

/// A keep-alive connection
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<bytes::Bytes>>,
    target: Target,
}

impl Connection {
    pub(crate) async fn to(url: &str) -> anyhow::Result<Self> {
        let target = Target::parse(&url.parse()?)?;
        let stream = TcpStream::connect(target.address).await.context("connect")?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.context("handshake")?;
        tokio::spawn(connection);
        Ok(Self { sender, target })
    }

    /// Makes one call of `echo`; anything but its result is an error
    pub(crate) async fn call(&mut self, authorization: Option<&str>, proof: Option<&str>) -> anyhow::Result<()> {
        let path = self.target.path.to_string();
        let more = [("mcp-method", "tools/call"), ("mcp-name", "echo"), ("mcp-protocol-version", "2026-07-28")];
        let headers = [("authorization", authorization), ("dpop", proof)];
        let headers = headers.into_iter().filter_map(|(name, value)| Some((name, value?))).chain(more);
        let answer = self.send(Method::POST, &path, headers, CALL.to_owned()).await?;
        ensure!(answer.pointer("/result/content").is_some(), "the call failed: {answer}");
        Ok(())
    }

    async fn send<'h>(
        &mut self,
        method: Method,
        path: &str,
        headers: impl Iterator<Item = (&'h str, &'h str)>,
        body: String,
    ) -> anyhow::Result<Value> {
        self.sender.ready().await?;
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.target.host);
        request =
            request.header(CONTENT_TYPE, "application/json").header(ACCEPT, "application/json, text/event-stream");
        for (name, value) in headers {
            request = request.header(name.parse::<HeaderName>()?, value);
        }
        let response = self.sender.send_request(request.body(Full::new(body.into()))?).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{path}: status {status}: {}", String::from_utf8_lossy(&bytes));
        if bytes.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&bytes)?) }
    }
}

/// A Portreeve whose policy has many agents; the first one opens tasks
#[derive(Debug)]
pub(crate) struct Place {
    served: Served,
    base: String,
    key: Key,
    front: Connection,
    endpoint: Option<Connection>,
    _folder: TempDir,
}

/// An open task
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) token: String,
}

impl Place {
    pub(crate) async fn open(
        options: &Options,
        agents: u32,
        upstream: &Upstream,
        tls: Option<&Certificates>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(&options.dir).context("make a folder for the run")?;
        let data = folder.path().join("data");
        let policy = data.join("policy");
        for part in ["agents", "connectors", "purposes"] {
            fs::create_dir_all(policy.join(part))?;
        }
        let key = Key::generate()?;
        for number in 0..agents {
            let own = if number == 0 { key.public() } else { Key::generate()?.public() };
            let text = format!(
                "owner = \"bench@example.com\"\n[[proof]]\nkey = {{ kty = \"OKP\", crv = \"Ed25519\", x = \"{own}\" }}\n"
            );
            fs::write(policy.join(format!("agents/bench-{number}.toml")), text)?;
        }
        fs::write(policy.join("connectors/echo.toml"), format!("url = \"{}\"\n{CONNECTOR}", upstream.url))?;
        fs::write(policy.join("purposes/bench.toml"), PURPOSE)?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        if let Some(certificates) = tls {
            let (own, own_key) = certificates.server_files();
            fs::write(data.join("own.pem"), own)?;
            fs::write(data.join("own.key"), own_key)?;
            fs::set_permissions(data.join("own.key"), fs::Permissions::from_mode(0o600))?;
            fs::write(data.join("portreeve.toml"), TLS)?;
        }
        let (served, _) = Served::start(&options.portreeve, &data, Some(options.proxy_core))?;
        let mut admin = admin(&data).await?;
        let shown = ask(&mut admin, Method::GET, "/v1/connectors/echo", json!({})).await?;
        let seen = json!({ "digest": shown.get("digest") });
        ask(&mut admin, Method::POST, "/v1/connectors/echo/accept", seen).await?;
        let base = served.base().to_owned();
        let front = Connection::to(&format!("{base}/v1/tasks")).await?;
        Ok(Self { served, base, key, front, endpoint: None, _folder: folder })
    }

    /// Where it is reached without TLS, and with
    pub(crate) fn addresses(&self) -> anyhow::Result<(SocketAddr, SocketAddr)> {
        let plain = self.base.strip_prefix("http://").context("no address")?.parse()?;
        Ok((plain, self.served.secure().context("no TLS")?))
    }

    /// Opens a task, its tokens bound to the agent's key if they are to be
    pub(crate) async fn open_task(&mut self, bound: bool) -> anyhow::Result<Task> {
        let url = format!("{}/v1/tasks", self.base);
        let proof = bound.then(|| self.key.possession("POST", &url, None)).transpose()?;
        let ask = json!({ "purpose": "bench", "parameters": { "prefix": "item-" } });
        let opened = self.front(Method::POST, "/v1/tasks", proof.as_deref(), ask.to_string()).await?;
        let text = |path: &str| opened.pointer(path).and_then(Value::as_str).map(str::to_owned).context("odd answer");
        if self.endpoint.is_none() {
            self.endpoint = Some(Connection::to(&text("/endpoints/echo")?).await?);
        }
        Ok(Task { id: text("/task")?, token: text("/access_token")? })
    }

    /// Proves a task again, and gets a token that was never seen
    pub(crate) async fn renew(&mut self, task: &str) -> anyhow::Result<String> {
        let given = self.front(Method::POST, &format!("/v1/tasks/{task}/token"), None, String::new()).await?;
        given.get("access_token").and_then(Value::as_str).map(str::to_owned).context("no token")
    }

    /// Ends a task
    pub(crate) async fn end(&mut self, task: &str) -> anyhow::Result<()> {
        self.front(Method::DELETE, &format!("/v1/tasks/{task}"), None, String::new()).await.map(drop)
    }

    /// A proof for the next call with this token
    pub(crate) fn possession(&self, token: &str) -> anyhow::Result<String> {
        self.key.possession("POST", &format!("{}/mcp/echo", self.base), Some(token))
    }

    /// Makes one call
    pub(crate) async fn call(&mut self, token: &str, proof: Option<&str>) -> anyhow::Result<()> {
        let scheme = if proof.is_some() { "DPoP" } else { "Bearer" };
        let endpoint = self.endpoint.as_mut().context("no task was opened")?;
        endpoint.call(Some(&format!("{scheme} {token}")), proof).await
    }

    /// Ends it
    pub(crate) fn close(self) -> anyhow::Result<()> {
        self.served.end()
    }

    async fn front(&mut self, method: Method, path: &str, proof: Option<&str>, body: String) -> anyhow::Result<Value> {
        let assertion = format!("Bearer {}", self.key.assertion("bench-0", &self.base)?);
        let proof = proof.map(|proof| ("dpop", proof));
        let headers = [(AUTHORIZATION.as_str(), assertion.as_str())].into_iter().chain(proof);
        self.front.send(method, path, headers, body).await
    }
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"}},"name":"echo","arguments":{"id":"item-0","text":"the quick brown fox"}}}"#;
const TLS: &str = "[tls]\nlisten = \"127.0.0.1:0\"\ncertificate = \"own.pem\"\nkey = \"own.key\"\n";
const CONNECTOR: &str = "[tools.echo]\nclass = \"read\"\n[tools.echo.arguments]\ntext = \"content\"\n";
const PURPOSE: &str = "name = \"bench\"\nabout = \"Echo\"\nowner = \"bench@example.com\"\n\
    [open]\nagents = [\"bench-0\"]\nusers = \"none\"\n\
    [task]\nexpires_after = \"1h\"\nstanding = [\"read\"]\n\
    [parameters]\nprefix = { type = \"string\" }\n\
    [[allow]]\nname = \"echo\"\nuse = [\"echo.echo\"]\nwhere = { id = { prefix = \"item-\" } }\n";
