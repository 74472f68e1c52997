//! One keep-alive connection with one call in flight.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Form;
use super::call::{INITIALIZE, INITIALIZED, Script, is_result};
use crate::target::Target;

/// A connection that knows what to send
#[derive(Debug)]
pub(crate) struct Connection {
    target: Target,
    script: Script,
    /// Absent before the first call and after a failed one
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// Prepares a connection; it opens with its first request
    pub(crate) fn new(target: Target, script: Script) -> Self {
        Self { target, script, sender: None }
    }

    /// Opens a session where the form has one
    pub(crate) async fn begin(&mut self) -> anyhow::Result<()> {
        match self.script.form() {
            Form::Modern => Ok(()),
            Form::Legacy => self.initialize().await.context("initialize"),
        }
    }

    async fn initialize(&mut self) -> anyhow::Result<()> {
        let (status, headers, body) = self.post(Bytes::from_static(INITIALIZE.as_bytes())).await?;
        if status != StatusCode::OK || !is_result(&body) {
            bail!("status {status}: {}", start_of(&body));
        }
        if let Some(session) = headers.get("mcp-session-id") {
            self.script.join_session(session.clone());
        }
        let (status, _, body) = self.post(Bytes::from_static(INITIALIZED.as_bytes())).await?;
        if !status.is_success() {
            bail!("status {status}: {}", start_of(&body));
        }
        Ok(())
    }

    /// Makes the next call; any answer but a result is an error
    pub(crate) async fn call(&mut self) -> anyhow::Result<()> {
        let body = self.script.next_body();
        let (status, _, body) = self.post(body).await?;
        if status != StatusCode::OK || !is_result(&body) {
            bail!("status {status}: {}", start_of(&body));
        }
        Ok(())
    }

    async fn post(&mut self, body: Bytes) -> anyhow::Result<(StatusCode, HeaderMap, Bytes)> {
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        sender.ready().await.context("the connection closed")?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.path.clone();
        *request.headers_mut() = self.script.headers().clone();
        request.headers_mut().insert(HOST, self.target.host.clone());
        let (head, body) = sender.send_request(request).await.context("send")?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("read the answer: {error}"))?
            .to_bytes();
        self.sender = Some(sender);
        Ok((head.status, head.headers, body))
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.target.address).await.context("connect")?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.context("handshake")?;
        tokio::spawn(async move {
            // What breaks a connection shows in the request that was on it.
            let _ = driver.await;
        });
        Ok(sender)
    }
}

fn start_of(body: &[u8]) -> String {
    String::from_utf8_lossy(body.get(..300).unwrap_or(body)).into_owned()
}

const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
