//! Talking to the process that holds a data folder, and holding it ourselves when nobody does.

use crate::{
    commands::{login, modes},
    failure::{Failure, chain, exit},
    output, place,
    sessions::Server,
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use portreeve_gateway::{
    listen,
    office::Office,
    serve::{self, Serving, admin_socket},
};
use portreeve_upstream::fetch::{self, Hosts, Sent};
use rustix::process::DumpableBehavior;
use serde_json::{Value, json};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite};

/// The way to a process of Portreeve
#[derive(Clone, Debug)]
pub(crate) struct Client(Way);

#[derive(Clone)]
enum Way {
    /// A socket of this machine
    Socket(PathBuf),
    /// A server, with what says who asks
    Server(String, Option<String>),
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => f.debug_tuple("Socket").field(path).finish(),
            Self::Server(server, _) => f.debug_tuple("Server").field(server).finish(),
        }
    }
}

impl Client {
    /// Over this socket
    pub(crate) fn over(socket: PathBuf) -> Self {
        Self(Way::Socket(socket))
    }

    /// To a server, as whoever is signed in there
    pub(crate) fn at(server: &Server, secret: Option<String>) -> Self {
        Self(Way::Server(server.to_string(), secret))
    }

    /// To the process that holds the data folder
    pub(crate) async fn of(data: &Path) -> Result<Self, Failure> {
        let socket = admin_socket(data);
        match listen::connect(&socket).await {
            Ok(_) => Ok(Self::over(socket)),
            Err(_) => Err(Failure::new(
                exit::UNREACHABLE,
                "not_served",
                format!("Nobody serves the data folder {}.", data.display()),
            )
            .fix("Start it with `portreeve serve`.")),
        }
    }

    /// Asks, and returns the JSON that is answered
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let (status, bytes) = self.send(method, path, &[("content-type", "application/json")], body.into()).await?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(answer);
        }
        let failure = Failure::answered(status.as_u16(), &answer);
        Err(if matches!(self.0, Way::Server(..)) { failure.plain() } else { failure })
    }

    /// Accepts whatever a connector offers, unseen: only for servers of our own
    pub(crate) async fn accept_all(&self, connector: &str) -> Result<(), Failure> {
        let path = format!("/v1/connectors/{connector}");
        let shown = self.ask(Method::GET, &path, None).await?;
        self.ask(Method::POST, &format!("{path}/accept"), Some(&json!({ "digest": shown.get("digest") })))
            .await
            .map(drop)
    }

    /// Sends a request as it is
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        if let Way::Server(server, secret) = &self.0 {
            return elsewhere((server, secret.as_deref()), method, path, (headers, body)).await;
        }
        let (response, _connection) = self.open(method, path, headers, body).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(|error| unreachable(error.to_string()))?.to_bytes();
        Ok((status, bytes))
    }

    /// Sends a request as it is, and returns its answer as it begins; dropping the connection breaks it off
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<(Response<Incoming>, Connection), Failure> {
        let Way::Socket(socket) = &self.0 else { return Err(login::only_here()) };
        let stream = listen::connect(socket)
            .await
            .map_err(|error| unreachable(format!("{} does not answer: {error}", socket.display())))?;
        let mut request = Request::builder().method(method).uri(path).header("host", "portreeve");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| unreachable(error.to_string()))?;
        begin(stream, request).await
    }
}

/// One request to a server; redirects are not followed, so that what says who asks goes to nobody else
async fn elsewhere(
    (server, secret): (&str, Option<&str>),
    method: Method,
    path: &str,
    (headers, body): (&[(&str, &str)], Vec<u8>),
) -> Result<(StatusCode, Bytes), Failure> {
    let bearer = secret.map(|secret| format!("Bearer {secret}"));
    let mut headers = headers.to_vec();
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    let sent = Sent { method, headers: &headers, body };
    let answer = fetch::send(&format!("{server}{path}"), sent, Hosts::Private, (ANSWER_BYTES_MAX, WITHIN)).await;
    let answer = answer.map_err(|error| {
        Failure::new(exit::UNREACHABLE, "not_served", format!("{server}: {error}."))
            .fix("See whether the address is right, and whether it is served.")
    })?;
    Ok((answer.status, answer.body.into()))
}

/// Bytes of a server's answer at most
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// How long it may take; a stop waits until what is under way has settled
const WITHIN: Duration = Duration::from_secs(60);

/// A connection that carries one request; it ends when this is dropped
#[derive(Debug)]
pub(crate) struct Connection(tokio::task::AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One request over a connection of its own
pub(crate) async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (response, _connection) = begin(stream, request).await?;
    let status = response.status();
    let bytes = response.into_body().collect().await.map_err(|error| unreachable(error.to_string()))?.to_bytes();
    Ok((status, bytes))
}

async fn begin<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(Response<Incoming>, Connection), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let unreachable = |error: hyper::Error| unreachable(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    let connection = Connection(tokio::spawn(connection).abort_handle());
    let response = sender.send_request(request).await.map_err(unreachable)?;
    Ok((response, connection))
}

fn unreachable(what: String) -> Failure {
    Failure::new(exit::UNREACHABLE, "not_served", what).fix("See whether `portreeve serve` still runs.")
}

/// A data folder that is being served, by somebody else or for this command only
#[derive(Debug)]
pub(crate) struct Hosted {
    /// The way to whoever serves it
    pub(crate) client: Client,
    serving: Option<Serving>,
}

impl Hosted {
    /// Joins whoever serves the data folder, or serves it for as long as this command runs
    pub(crate) async fn join_or_serve(data: &Path) -> Result<Self, Failure> {
        if let Ok(client) = Client::of(data).await {
            return Ok(Self { client, serving: None });
        }
        let serving = start(place::settings(data)?).await?;
        Ok(Self { client: Client::of(data).await?, serving: Some(serving) })
    }

    /// Ends what was only for this command, once nobody else works through it
    pub(crate) async fn end(self) {
        if let Some(serving) = self.serving {
            let soon = Duration::from_millis(500);
            if tokio::time::timeout(soon, serving.unused()).await.is_err() {
                output::tip("Other agents still work through this process; it ends when they do.");
                serving.unused().await;
            }
            serving.end().await;
        }
    }
}

/// Serves a data folder
pub(crate) async fn start(settings: portreeve_gateway::settings::Settings) -> Result<Serving, Failure> {
    let data = settings.data.display().to_string();
    if !settings.core_dumps {
        // The keys are in memory from here on.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(std::io::Error::from)?;
    }
    let variables: Vec<String> = settings.keys.variables().into_iter().map(str::to_owned).collect();
    // Without randomness for its sessions there is no console; everything else has failed by then, too.
    let pages = |office: Arc<Office>, https| portreeve_console::router(office, https).unwrap_or_default();
    let serving = serve::serve(settings, pages).await.map_err(|error| match error {
        serve::Error::Policy { path, findings } => Failure::new(
            exit::FAILURE,
            "policy_broken",
            format!("The policy in {} has errors, and no earlier one is in force.", path.display()),
        )
        .more(findings.iter().map(ToString::to_string))
        .fix("Mend them, and see `portreeve policy check`."),
        serve::Error::Log(open) => Failure::new(exit::FAILURE, "log_unusable", chain(&open)),
        serve::Error::Listen { .. } => Failure::new(exit::FAILURE, "cannot_listen", chain(&error))
            .fix("Choose another address with --listen or `[tls] listen`, or 127.0.0.1:0 for any free port."),
        serve::Error::Certificate(_) => Failure::new(exit::FAILURE, "certificate_unusable", chain(&error))
            .fix("Mend the file, or name others in `[tls]`; see docs/configuration.md."),
        serve::Error::Key(_) => {
            let variables = variables.join(", ");
            let fix = if variables.is_empty() {
                "See `portreeve doctor`, and the keys in docs/configuration.md.".to_owned()
            } else {
                format!(
                    "See the keys in docs/configuration.md. {variables}: only `portreeve serve` takes keys from there."
                )
            };
            Failure::new(exit::FAILURE, "key_unusable", format!("{data}: {}", chain(&error))).fix(fix)
        }
        error => Failure::new(exit::FAILURE, "cannot_serve", format!("{data}: {}", chain(&error))),
    })?;
    for finding in &serving.findings {
        output::problem(&finding.to_string());
    }
    modes::banner(&json!({ "observe": serving.observing }));
    let in_force = serving.in_force.map(|digest| digest.to_string()).unwrap_or_default();
    modes::difference(&json!(serving.directory), &in_force);
    Ok(serving)
}
