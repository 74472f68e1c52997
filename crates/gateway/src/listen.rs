//! Sockets: the one for agents, the administrator's, and the private ones.

use crate::{
    admin::Guard,
    endpoint::{Endpoints, Via},
    fence::{Far, Fence, Peer},
    front, hooks, identities, keys,
    outlet::empty,
    people,
    settings::ADMIN_CONNECTIONS_MAX,
    site::{Line, Site},
    tls::Tls,
};
use axum::{
    Router,
    body::{Body, to_bytes},
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Limited;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    fs, io,
    net::Ipv4Addr,
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
    sync::Semaphore,
};
use tower::ServiceExt as _;

/// Who speaks at the administrator's socket
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The account
    pub uid: u32,
    /// The process
    pub process: Peer,
}

/// How long a client may take to send the head of a request
const HEAD: Duration = Duration::from_secs(15);
/// Bytes of the head of a request at most
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Bytes of the body of a request that is for no endpoint
const PAGE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a request by another program that has little to say: an answer of a receiver, an agent that comes in
pub(crate) const SMALL_BYTES_MAX: usize = 64 << 10;
/// How long the body of one may take to arrive
const SMALL: Duration = Duration::from_secs(10);
/// How long nothing is accepted after the system could not give a connection
const BACK_OFF: Duration = Duration::from_millis(20);

/// What is served at an address
#[derive(Clone, Debug)]
pub struct Served {
    /// The endpoints of agents
    pub endpoints: Arc<Endpoints>,
    /// Every other path: what people see, and where agents come in
    pub pages: Router,
    /// Where people work from a terminal
    pub api: Router,
    /// Who is an agent
    pub fence: Arc<Fence>,
    /// Which of our addresses it is
    pub site: Arc<Site>,
    /// With TLS, what with
    pub tls: Option<Tls>,
}

/// Serves agents over TCP, and people: every path that is no endpoint
///
/// Agents are no people: what is below one, or below a connector, gets no page, whatever cookie it has.
pub async fn tcp(listener: TcpListener, served: Served, connections_max: usize) {
    let room = Arc::new(Semaphore::new(connections_max));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(BACK_OFF).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let served = served.clone();
        tokio::spawn(async move {
            let _place = place;
            let far = Far::of(&stream);
            let mut line = Line { from: peer.ip(), site: Arc::clone(&served.site), shown: None };
            let Some(tls) = &served.tls else { return served.connection(stream, line, far).await };
            match tls.accept(stream).await {
                Ok((stream, shown)) => {
                    line.shown = shown;
                    served.connection(stream, line, far).await;
                }
                Err(error) => tracing::trace!(%error, "no handshake"),
            }
        });
    }
}

impl Served {
    async fn connection(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        line: Line,
        far: Arc<Far>,
    ) {
        connection(stream, |request| self.answer(request, line.clone(), Arc::clone(&far))).await;
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        line: Line,
        far: Arc<Far>,
    ) -> Result<Response<Body>, Infallible> {
        if Endpoints::serves(request.uri().path()) {
            return Ok(self.endpoints.answer(request, Via::Tcp, &line).await.map(Body::new));
        }
        // What is signed needs no browser's word for where it comes from; a browser never signs.
        let path = request.uri().path();
        if !hooks::serves(path) && !keys::serves(path) && !identities::serves(path) {
            if let Err(status) = line.site.same_origin(request.headers()) {
                return Ok(empty(status).map(Body::new));
            }
            let by_people = people::serves(request.uri().path(), request.headers());
            let by_agents = front::serves(request.uri().path());
            // No browser proves an agent, nor has it the session of a terminal.
            if (by_people || by_agents) && request.headers().contains_key(header::ORIGIN) {
                return Ok(empty(StatusCode::FORBIDDEN).map(Body::new));
            }
            if by_people {
                if !far.is_outside(&self.fence).await {
                    return Ok(forbidden(Allowed::NotYours));
                }
                return self.api.clone().oneshot(request.map(Body::new)).await;
            }
            if by_agents {
                request.extensions_mut().insert(line);
            } else if !far.is_outside(&self.fence).await {
                return Ok(fenced());
            }
        }
        let most = front::bytes_max(request.uri().path()).unwrap_or(PAGE_BYTES_MAX);
        self.pages.clone().oneshot(request.map(|body| Body::new(Limited::new(body, most)))).await
    }
}

/// Serves the administrator: the owner of the data folder, but nothing below an agent or a connector
pub async fn admin(
    listener: UnixListener,
    router: Router,
    (endpoints, site): (Arc<Endpoints>, Arc<Site>),
    fence: Arc<Fence>,
) {
    let is_owner = move |caller: Caller| {
        let allowed =
            if caller.uid == ours() && fence.is_owner(caller.process) { Allowed::Yes } else { Allowed::NotYours };
        std::future::ready(allowed)
    };
    socket(listener, router, (endpoints, site), is_owner, ADMIN_CONNECTIONS_MAX).await;
}

/// Serves the processes below the one that a run was opened for
pub(crate) async fn private(
    listener: UnixListener,
    guard: Guard,
    router: Router,
    (endpoints, site): (Arc<Endpoints>, Arc<Site>),
    connections_max: usize,
) {
    let guard = Arc::new(guard);
    let is_of_run = move |caller: Caller| {
        let guard = Arc::clone(&guard);
        async move { if caller.uid == ours() { guard.allows(caller.process).await } else { Allowed::NotYours } }
    };
    socket(listener, router, (endpoints, site), is_of_run, connections_max).await;
}

fn ours() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Serves the administration's routes and the endpoints to whom `allows` lets in
async fn socket<F: Future<Output = Allowed> + Send + 'static>(
    listener: UnixListener,
    router: Router,
    (endpoints, site): (Arc<Endpoints>, Arc<Site>),
    allows: impl Fn(Caller) -> F + Send + Sync + 'static,
    connections_max: usize,
) {
    let (room, allows) = (Arc::new(Semaphore::new(connections_max)), Arc::new(allows));
    let line = Line { from: Ipv4Addr::LOCALHOST.into(), site, shown: None };
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(BACK_OFF).await;
            continue;
        };
        let caller = stream
            .peer_cred()
            .ok()
            .and_then(|peer| Some(Caller { uid: peer.uid(), process: peer.pid().and_then(Peer::of)? }));
        let (router, endpoints, allows) = (router.clone(), Arc::clone(&endpoints), Arc::clone(&allows));
        let line = line.clone();
        tokio::spawn(async move {
            let _place = place;
            let answer = |mut request: Request<Incoming>| {
                // Asked for each request: whoever was let in when it connected may be somebody else now.
                let allowed = caller.map(|caller| (caller, allows(caller)));
                let (router, endpoints, line) = (router.clone(), Arc::clone(&endpoints), line.clone());
                async move {
                    let Some((caller, allowed)) = allowed else {
                        return Ok::<_, Infallible>(forbidden(Allowed::NotYours));
                    };
                    match allowed.await {
                        Allowed::Yes => {}
                        refused => return Ok(forbidden(refused)),
                    }
                    if Endpoints::serves(request.uri().path()) {
                        return Ok(endpoints.answer(request, Via::Socket, &line).await.map(Body::new));
                    }
                    request.extensions_mut().insert(caller);
                    router.oneshot(request.map(Body::new)).await
                }
            };
            connection(stream, answer).await;
        });
    }
}

/// Whether a process may speak at a socket
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// It may
    Yes,
    /// The socket is for others
    NotYours,
    /// It is below the right process, and that runs another program than its agent is known by
    OtherProgram,
}

fn forbidden(allowed: Allowed) -> Response<Body> {
    let body = match allowed {
        Allowed::OtherProgram => {
            "{\"error\":{\"word\":\"proof_wrong\",\"message\":\"This agent is known by its program, and another one \
             runs here.\"}}"
        }
        _ => "{\"error\":{\"word\":\"not_yours\",\"message\":\"This socket is not for this process.\"}}",
    };
    empty(StatusCode::FORBIDDEN).map(|_| Body::from(body))
}

/// What an agent is told that asks for a page of people
fn fenced() -> Response<Body> {
    let mut response = empty(StatusCode::FORBIDDEN).map(|_| Body::from(FENCED));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    response
}

const FENCED: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Not for agents - Portreeve</title>\
<h1>These pages are for people</h1>\
<p><b>not_yours</b>: the process that asks for this page was started by an agent or a connector of Portreeve, or has \
ended already. Nothing was done.</p>\
<p>If you are a person: open the page in a browser that was not started below <code>portreeve exec</code>.</p></html>";

/// The body of a request by another program; nothing if it is too long, or takes too long
pub(crate) async fn small_body(body: Body) -> Option<Bytes> {
    tokio::time::timeout(SMALL, to_bytes(body, SMALL_BYTES_MAX)).await.ok()?.ok()
}

async fn connection<S, B, F>(stream: S, answer: impl Fn(Request<Incoming>) -> F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    if let Err(error) = served.await {
        tracing::trace!(%error, "connection ended");
    }
}

/// Binds a socket that only its owner can reach, whatever the length of its path
///
/// # Errors
/// It cannot be bound.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = short(path, |path| UnixListener::bind(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to a socket, whatever the length of its path
///
/// # Errors
/// Nobody listens.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = short(path, |path| std::os::unix::net::UnixStream::connect(path))?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// The kernel takes 107 bytes of a socket's path; by way of its open folder, any path is short
fn short<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() < 100 {
        return act(path);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = fs::File::open(folder)?;
    act(&Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}
