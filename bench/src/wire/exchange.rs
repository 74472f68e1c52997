//! One request and its answer while it arrives.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::target::Target;

/// A request
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Ask {
    /// A message, whose answer may be JSON, or has to be a stream of events
    pub(crate) fn post(body: String, events_only: bool) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accept = if events_only { "text/event-stream" } else { "application/json, text/event-stream" };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        Self { method: Method::POST, headers, body }
    }

    /// A stream of a session
    pub(crate) fn listen() -> Self {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/event-stream"))]);
        Self { method: Method::GET, headers, body: String::new() }
    }

    /// The same with another header
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> anyhow::Result<Self> {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).context("odd header")?);
        Ok(self)
    }

    /// The same with a token
    pub(crate) fn bearing(mut self, bearer: &str) -> anyhow::Result<Self> {
        self.headers.insert(AUTHORIZATION, HeaderValue::from_str(bearer).context("odd token")?);
        Ok(self)
    }
}

/// An answer that has begun; dropping it closes its connection
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) headers: HeaderMap,
    body: Incoming,
    _sender: SendRequest<Full<Bytes>>,
}

impl Exchange {
    /// Sends a request on a connection of its own; any answer but success is an error
    pub(crate) async fn begin(target: &Target, ask: Ask) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address).await.context("connect")?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        let (mut sender, driver) = handshake(TokioIo::new(stream)).await.context("handshake")?;
        tokio::spawn(async move {
            // What breaks a connection shows in its body.
            let _ = driver.await;
        });
        let mut request = Request::new(Full::new(Bytes::from(ask.body)));
        *request.method_mut() = ask.method;
        *request.uri_mut() = target.path.clone();
        *request.headers_mut() = ask.headers;
        request.headers_mut().insert(HOST, target.host.clone());
        let (head, body) = sender.send_request(request).await.context("send")?.into_parts();
        let mut exchange = Self { headers: head.headers, body, _sender: sender };
        if !matches!(head.status, StatusCode::OK | StatusCode::ACCEPTED) {
            let text = exchange.next().await?.unwrap_or_default();
            bail!("status {}: {}", head.status, String::from_utf8_lossy(text.get(..300).unwrap_or(&text)));
        }
        Ok(exchange)
    }

    /// The next bytes; nothing at the end
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.context("the answer broke off")?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// All of a short answer
    pub(crate) async fn whole(mut self) -> anyhow::Result<(HeaderMap, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some(data) = self.next().await? {
            all.extend_from_slice(&data);
        }
        Ok((self.headers, all))
    }
}
