//! The loopback HTTP/1 server under `upstream` and `yardstick`, and how both end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// An answer
pub(crate) type Answer = Response<Pieces>;

/// A body: nearly always one piece; many only for long results, so that none has to be put together
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    first: Option<Bytes>,
    rest: VecDeque<Bytes>,
    /// Whether its length is told beforehand
    told: bool,
}

impl Pieces {
    /// A body in one piece
    pub(crate) fn one(bytes: impl Into<Bytes>) -> Self {
        Self { first: Some(bytes.into()).filter(|bytes| !bytes.is_empty()), told: true, ..Self::default() }
    }

    /// A body in many pieces, without empty ones; `told`: its length stands in the head
    pub(crate) fn many(pieces: VecDeque<Bytes>, told: bool) -> Self {
        Self { first: None, rest: pieces, told }
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.first.take().or_else(|| self.rest.pop_front());
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.told {
            return SizeHint::default();
        }
        SizeHint::with_exact(self.first.iter().chain(&self.rest).map(|piece| piece.len() as u64).sum())
    }
}

/// How long a server lives
#[derive(Debug, Clone, Args)]
pub(crate) struct Lifetime {
    /// End at the latest after this many seconds
    #[arg(long, default_value_t = 3_600)]
    seconds_max: u64,
    /// End when standard input closes, as a child of `compare` does
    #[arg(long)]
    until_stdin_closes: bool,
}

impl Lifetime {
    /// Ends the process when its time has come, whatever it is doing
    pub(crate) fn watch(&self) {
        let seconds_max = self.seconds_max;
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(seconds_max));
            std::process::exit(0);
        });
        if self.until_stdin_closes {
            std::thread::spawn(|| {
                let mut ignored = [0_u8; 256];
                while matches!(std::io::stdin().read(&mut ignored), Ok(read) if read > 0) {}
                std::process::exit(0);
            });
        }
    }
}

/// Binds a port chosen by the system, on loopback only
pub(crate) async fn bind() -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("bind loopback")?;
    let address = listener.local_addr().context("address of the listener")?;
    Ok((listener, address))
}

/// Serves until the process ends; `answer` makes one response from one request
pub(crate) async fn serve<F, R>(listener: TcpListener, answer: F) -> anyhow::Result<()>
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    loop {
        let (stream, _peer) = listener.accept().await.context("accept")?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            // A client that goes away ends its connection; there is nothing to do about it.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// An answer in JSON
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Pieces::one(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// An answer without a body
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Pieces::default());
    *answer.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    answer
}

/// A JSON-RPC error
pub(crate) fn rpc_error(status: StatusCode, id: &str, code: i32, message: &str) -> Answer {
    json(status, format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#))
}

/// The longest request body that is read
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
