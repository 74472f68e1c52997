//! A keep-alive client for one upstream: a stack of idle connections, the warmest first.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{HOST, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::target::Target;

/// Sends requests to one upstream
pub(crate) struct Forwarder {
    address: SocketAddr,
    path: Uri,
    host: HeaderValue,
    idle: Mutex<Vec<Connection>>,
}

type Connection = SendRequest<Full<Bytes>>;

impl Forwarder {
    /// Prepares for an upstream on loopback; connects when first needed
    pub(crate) fn new(upstream: &Uri) -> anyhow::Result<Self> {
        let target = Target::parse(upstream)?;
        Ok(Self { address: target.address, path: target.path, host: target.host, idle: Mutex::default() })
    }

    /// Sends one request and reads the whole answer; never sends twice
    pub(crate) async fn post(&self, headers: HeaderMap, body: Bytes) -> anyhow::Result<(StatusCode, HeaderMap, Bytes)> {
        match tokio::time::timeout(ANSWER_WAIT_MAX, self.post_patiently(headers, body)).await {
            Ok(answer) => answer,
            Err(_elapsed) => bail!("no answer in {ANSWER_WAIT_MAX:?}"),
        }
    }

    async fn post_patiently(&self, headers: HeaderMap, body: Bytes) -> anyhow::Result<(StatusCode, HeaderMap, Bytes)> {
        let mut connection = self.connection().await?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, self.host.clone());
        let (head, body) = connection.send_request(request).await.context("send")?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("read the answer: {error}"))?
            .to_bytes();
        self.keep(connection);
        Ok((head.status, head.headers, body))
    }

    async fn connection(&self) -> anyhow::Result<Connection> {
        while let Some(mut connection) = self.pop() {
            if connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        let stream = TcpStream::connect(self.address).await.context("connect")?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await.context("handshake")?;
        tokio::spawn(async move {
            // What breaks a connection shows in the request that was on it.
            let _ = driver.await;
        });
        Ok(connection)
    }

    fn pop(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX && !connection.is_closed() {
            idle.push(connection);
        }
    }
}

const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
const IDLE_MAX: usize = 256;
