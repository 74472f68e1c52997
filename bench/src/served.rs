//! A `portreeve serve` of the bench's own, and its administrator's socket.

use crate::{clock::now_ns, load::as_f64, process};
use anyhow::{Context as _, anyhow};
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};
use tokio::net::UnixStream;

/// A running `portreeve serve`; dropped, it is killed
#[derive(Debug)]
pub(crate) struct Served {
    child: Child,
    base: String,
    secure: Option<SocketAddr>,
}

impl Served {
    /// Serves a data folder, on one core if it is named; also how many milliseconds it took
    pub(crate) fn start(portreeve: &Path, data: &Path, core: Option<usize>) -> anyhow::Result<(Self, f64)> {
        let begun = now_ns();
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new(std::env::current_exe().context("find this program")?);
                command.args(["pinned", "--core", &core.to_string(), "--"]).arg(portreeve);
                command
            }
            None => Command::new(portreeve),
        };
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("RUST_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("standard output")?).read_line(&mut line)?;
        anyhow::ensure!(line.starts_with("serving "), "portreeve did not serve: {line:?}");
        let base = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let secure = line.split(' ').find_map(|word| word.trim().strip_prefix("https://")?.parse().ok());
        Ok((Self { child, base, secure }, now_ns().saturating_sub(begun) as f64 / 1e6))
    }

    /// Its address
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Its address with TLS, if it has one
    pub(crate) fn secure(&self) -> Option<SocketAddr> {
        self.secure
    }

    /// Its process
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in KiB
    pub(crate) fn rss_kib(&self) -> anyhow::Result<f64> {
        Ok(as_f64(process::resident_kib(self.child.id())?))
    }

    /// Ends it as its owner would
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id())?).context("a pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to the administrator's socket
pub(crate) type Admin = SendRequest<Full<bytes::Bytes>>;

/// Connects to the administrator's socket of a data folder
pub(crate) async fn admin(data: &Path) -> anyhow::Result<Admin> {
    let stream = UnixStream::connect(data.join("admin.sock")).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Asks at it; anything but success is an error
pub(crate) async fn ask(admin: &mut Admin, method: Method, path: &str, body: Value) -> anyhow::Result<Value> {
    admin.ready().await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "portreeve")
        .header("content-type", "application/json")
        .body(Full::new(body.to_string().into()))?;
    let response = admin.send_request(request).await?;
    let ok = response.status().is_success();
    let bytes = response.into_body().collect().await?.to_bytes();
    if ok { Ok(serde_json::from_slice(&bytes)?) } else { Err(anyhow!("{}", String::from_utf8_lossy(&bytes))) }
}
