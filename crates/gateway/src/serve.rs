//! One process over one data folder, wired together.

use crate::{
    admin::{self, Admin},
    asks::Asks,
    call::{Calls, away::Away},
    catalogue::Catalogue,
    children::Children,
    dispatch::Dispatch,
    door::Door,
    elevating::Elevating,
    endpoint::Endpoints,
    fence::Fence,
    front,
    held::Holds,
    history::Directory,
    hooks,
    identities::{self, Identities},
    issuers::Issuers,
    keys::{self, KeyRoom},
    leases::Leases,
    links::Links,
    listen,
    lists::Lists,
    modes::{Observing, observing},
    office::Office,
    own::Own,
    people,
    points::Points,
    polls::Polls,
    private,
    proving::Proving,
    reaper,
    session::Sessions,
    settings::{Account, CONNECTIONS_MAX, LOG_RESERVE_BYTES, OwnCertificate, Settings, TlsSettings},
    sign_in::SignIns,
    site::{Site, Sites},
    snapshots,
    streams::Streams,
    tasks::{Tasks, draw},
    teller::Teller,
    terms::Peers,
    tls::{self, Files, NoCertificate, Tls},
    under_way::UnderWay,
    undo::Undos,
    workload::Workload,
};
use axum::Router;
use portreeve_core::{
    engine::{Boot, Engine, Reply},
    event::Actor,
    hash::Hash,
    names::BootId,
    node::Node,
    request::{Change, ChangeWhat, Request},
};
use portreeve_credentials::{means::Means, vault::Vault};
use portreeve_identity::{
    mint::Minter,
    passkey::{self, Passkeys},
    token::Issuer,
};
use portreeve_log::Sqlite;
use portreeve_rules::Reader;
use portreeve_upstream::{clock::SteadyClock, latch::Latches};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::mpsc};

/// Why a data folder is not served
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be used
    #[error("the data folder {path} cannot be used")]
    Folder {
        /// Which
        path: PathBuf,
        /// Why
        #[source]
        source: io::Error,
    },
    /// The log cannot be opened
    #[error("{0}")]
    Log(#[source] portreeve_log::Open),
    /// The log cannot be taken up
    #[error("the log cannot be taken up")]
    Boot(#[source] Boot),
    /// There are no keys to sign with
    #[error(transparent)]
    Key(#[from] keys::Error),
    /// What is kept of people cannot be used
    #[error("what is kept of people cannot be used")]
    People(#[source] passkey::Error),
    /// There is no policy that could be judged with
    #[error("the policy in {path} has errors, and no earlier one is in force")]
    Policy {
        /// Where
        path: PathBuf,
        /// What is wrong with it
        findings: Vec<portreeve_rules::Finding>,
    },
    /// The policy could not be put into force
    #[error("the policy could not be recorded")]
    Change,
    /// The address cannot be listened at
    #[error("{address} cannot be listened at")]
    Listen {
        /// Which
        address: SocketAddr,
        /// Why
        #[source]
        source: io::Error,
    },
    /// There is no certificate to show
    #[error(transparent)]
    Certificate(#[from] NoCertificate),
    /// The system does not give what is needed
    #[error("{0}")]
    System(String),
}

/// A process that serves
#[derive(Debug)]
pub struct Serving {
    /// Where agents reach it without TLS
    pub address: SocketAddr,
    /// Where they reach it with TLS
    pub secure: Option<SocketAddr>,
    /// As what it is known, if the configuration says so
    pub known: Option<String>,
    /// What is wrong with the policy directory; the policy in force is an earlier one then
    pub findings: Vec<portreeve_rules::Finding>,
    /// The policy in force
    pub in_force: Option<Hash>,
    /// How the policy directory stands to the policy in force
    pub directory: Directory,
    /// Grants that let calls outside of their purpose through
    pub observing: Vec<Observing>,
    /// Where people work
    pub office: Arc<Office>,
    door: Door,
    children: Arc<Children>,
    leases: Arc<Leases>,
    under_way: Arc<UnderWay>,
    tasks: Arc<Tasks>,
    thread: std::thread::JoinHandle<crate::door::TheEngine>,
    listening: Vec<tokio::task::JoinHandle<()>>,
    data: PathBuf,
}

/// The administrator's socket in a data folder
#[must_use]
pub fn admin_socket(data: &std::path::Path) -> PathBuf {
    data.join("admin.sock")
}

/// Takes a data folder and serves it until [`Serving::end`]; `pages` makes what people see, over TLS or without it
///
/// # Errors
/// [`Error`]
pub async fn serve(settings: Settings, pages: impl Fn(Arc<Office>, bool) -> Router) -> Result<Serving, Error> {
    let folder = |source| Error::Folder { path: settings.data.clone(), source };
    // Before there is any key in memory; what is started from here on is bound by it as well.
    dump_nothing();
    let clock = SteadyClock::start();
    let options = portreeve_log::Options { bytes_max: settings.log_bytes_max, reserve_bytes: LOG_RESERVE_BYTES };
    let log = Sqlite::open(&settings.data, options).map_err(Error::Log)?;
    let passkeys = Passkeys::open(&settings.data.join("people")).map_err(Error::People)?;
    let boot = BootId(draw().map_err(Error::System)?);
    let store = snapshots::Store::of(&settings.data);
    let mut engine =
        Engine::boot(log, Reader, store, boot, env!("CARGO_PKG_VERSION"), clock.read()).map_err(Error::Boot)?;
    let found = keys::find(&mut engine, &settings.data, (&settings.keys, &settings.given), clock)?;
    let authority = settings.spiffe.as_ref().map(|spiffe| identities::authority(spiffe, &settings.data, clock.now()));
    let authority = authority.transpose().map_err(keys::Error::from)?;
    let findings = take_policy(&mut engine, &settings, clock)?;
    let directory = Directory::compare(&settings.policy, engine.state().bundle(), engine.state().directory());
    let (in_force, origin) = (engine.state().bundle(), engine.state().origin());
    let observing = observing(engine.state(), clock.now());

    let (listener, address) = bind(settings.listen).await?;
    let workload = Workload::new(settings.workload_api.clone(), clock);
    let secured = match &settings.tls {
        Some(tls) => Some((bind(tls.listen).await?, secured(tls, &workload).await?)),
        None => None,
    };
    // What has a name from outside is the socket with TLS, if there is one.
    let named = settings.address.as_deref();
    let sites = Sites {
        plain: Arc::new(Site::plain(address, named.filter(|_| secured.is_none()))),
        tls: secured.as_ref().map(|((_, address), _)| Arc::new(Site::tls(*address, named))),
    };
    let issuer = Arc::new(Issuer::new(sites.name().to_owned(), Arc::clone(&found.token)));

    let latches = Arc::new(Latches::default());
    let (notices, noticed) = mpsc::unbounded_channel();
    let (snapshot, told) = std::sync::mpsc::channel();
    snapshots::follow(&settings.data, told).map_err(folder)?;
    let (door, thread) = Door::open(engine, clock, Arc::clone(&latches), notices, snapshot).map_err(folder)?;
    let catalogue = Arc::new(Catalogue::default());
    catalogue.refresh(&door).await;
    let fence = Arc::new(Fence::default());
    let vault = Vault::open(&settings.data.join("vault"), origin.to_string(), Arc::clone(&found.sealer));
    let vault = Arc::new(vault.map_err(|error| Error::System(error.to_string()))?);
    if found.has_other_master {
        // Another one took over at this start, or a change was cut off in its middle.
        vault.reseal().map_err(|error| Error::System(error.to_string()))?;
    }
    found.tidy_masters().map_err(|error| Error::System(error.to_string()))?;
    let kept = (door.clone(), Arc::clone(&latches));
    let bases = sites.bases().map(str::to_owned).collect();
    let minter = Arc::new(Minter::new(sites.name().to_owned(), bases, Arc::clone(&found.upstream)));
    let means = Means::new(Arc::clone(&vault), minter, clock);
    let leases = Leases::new(kept, clock, Arc::clone(&catalogue), means, origin);
    let kept = (Arc::clone(&catalogue), Some(settings.data.join("bundles")));
    let issuers = Issuers::new(clock, Arc::clone(&workload), authority.clone(), kept);
    let issuers = Arc::new(issuers);
    let peers = Peers { issuers: Arc::clone(&issuers), workload, clock };
    let children =
        Children::new(door.clone(), Arc::clone(&latches), clock, (Arc::clone(&fence), &catalogue), &settings);
    let children = Arc::new(children);
    let links = Arc::new(Links::new(
        (door.clone(), clock),
        Arc::clone(&catalogue),
        (Arc::clone(&children), Arc::clone(&leases), Arc::new(peers)),
    ));
    let sealer = Arc::clone(&found.sealer);
    let (answers, telling, signing) = (Arc::clone(&found.answer), Arc::clone(&found.webhook), Arc::clone(&found.token));
    let keys = KeyRoom::new(door.clone(), clock, found, Arc::clone(&vault));
    let points = Points::new(clock);
    let at_the_door = || (door.clone(), Arc::clone(&latches));
    let asks = Asks::new(at_the_door(), Arc::clone(&catalogue), Arc::clone(&points), Arc::clone(&sealer));
    let under_way = UnderWay::new();
    let people = match named {
        Some(named) => named.to_owned(),
        None => console(address),
    };
    let holds = Holds::new(door.clone(), Arc::clone(&sealer), clock, people, settings.hold_wait);
    let calls = Calls::new(
        at_the_door(),
        Arc::clone(&links),
        Arc::clone(&catalogue),
        points,
        (Arc::clone(&asks), Arc::clone(&sealer)),
        (Arc::clone(&under_way), Arc::clone(&holds)),
    );
    let own = Own::new(Arc::clone(&calls), Arc::clone(&catalogue), Arc::clone(&under_way));
    let undos = Undos::new(door.clone(), own, clock, settings.data.clone());
    let bases = sites.bases().map(str::to_owned).collect();
    let tasks = Tasks::new(door.clone(), Arc::clone(&issuer), Arc::clone(&catalogue), clock, bases, Arc::clone(&fence));
    let sessions = Arc::new(Sessions::new(Arc::clone(&sealer)));
    let lists = Lists {
        door: door.clone(),
        catalogue: Arc::clone(&catalogue),
        links: Arc::clone(&links),
        sealer: Arc::clone(&sealer),
        clock,
        holds: Arc::clone(&holds),
    };
    let both = || (Arc::clone(&asks), Arc::clone(&under_way));
    let streams = Streams::new(at_the_door(), Arc::clone(&links), both(), lists.clone(), clock);
    let away = Arc::new(Away::new(Arc::clone(&calls), door.clone(), Arc::clone(&sealer), clock));
    let elevating = Elevating {
        door: door.clone(),
        holds: Arc::clone(&holds),
        away: Arc::clone(&away),
        under_way: Arc::clone(&under_way),
    };
    let dispatch = Arc::new(Dispatch {
        door: door.clone(),
        catalogue: Arc::clone(&catalogue),
        calls,
        under_way: Arc::clone(&under_way),
        polls: Polls::new(at_the_door(), Arc::clone(&links), both(), sealer, clock),
        asks: Arc::clone(&asks),
        holds,
        away,
        elevating,
        sessions: Arc::clone(&sessions),
        lists,
        streams: Arc::clone(&streams),
    });
    let kept = (Arc::clone(&under_way), Arc::clone(&sessions), Arc::clone(&streams));
    let endpoints = Arc::new(Endpoints::new(dispatch, kept, issuer, clock));
    let people = match named {
        Some(named) => named.to_owned(),
        None if address.ip().is_loopback() => format!("http://localhost:{}", address.port()),
        None => sites.plain.base.clone(),
    };
    let vouching = (Arc::clone(&catalogue), Arc::clone(&issuers));
    let ours = (Arc::clone(&settings.secrets), signing);
    let sign_ins = Arc::new(SignIns::new(vouching, clock, people.clone(), ours));
    let kept = (settings.data.clone(), people);
    let office = Office::open(
        door.clone(),
        Arc::clone(&catalogue),
        clock,
        (answers, keys.answering(), passkeys),
        sign_ins,
        kept,
    )
    .await;
    let office = office.ok_or_else(|| Error::System("the door has ended".to_owned()))?;
    let teller = Teller::new(at_the_door(), clock, Arc::clone(&office), telling);
    let proving = Arc::new(Proving::new(Arc::clone(&catalogue), issuers, clock, sites.name().to_owned()));
    let programs = front::router(door.clone(), Arc::clone(&tasks), proving, Arc::clone(&office), sites.clone())
        .merge(hooks::router(Arc::clone(&office), Arc::clone(&catalogue)))
        .merge(keys::router(Arc::clone(&keys)));
    let programs = match &authority {
        Some(authority) => programs.merge(identities::router(Arc::clone(authority))),
        None => programs,
    };
    let admin = Arc::new(Admin {
        door: door.clone(),
        catalogue: Arc::clone(&catalogue),
        office: Arc::clone(&office),
        teller: Arc::clone(&teller),
        keys: Arc::clone(&keys),
        links: Arc::clone(&links),
        leases: Arc::clone(&leases),
        tasks: Arc::clone(&tasks),
        undos,
        endpoints: Arc::clone(&endpoints),
        fence: Arc::clone(&fence),
        clock,
        settings: settings.clone(),
        site: Arc::clone(&sites.plain),
    });
    let api = people::router(Arc::clone(&admin)).map_err(|error| Error::System(error.to_string()))?;
    let served = |site: &Arc<Site>, tls: Option<Tls>| {
        // Behind something that speaks TLS for us, browsers reach it over TLS, too.
        let secure = tls.is_some() || site.base.starts_with("https://");
        let pages = pages(Arc::clone(&office), secure).merge(programs.clone());
        let (endpoints, fence) = (Arc::clone(&endpoints), Arc::clone(&fence));
        listen::Served { endpoints, pages, api: api.clone(), fence, site: Arc::clone(site), tls }
    };
    let plain = served(&sites.plain, None);
    let secured =
        secured.zip(sites.tls.as_ref()).map(|(((listener, _), tls), site)| (listener, served(site, Some(tls))));
    let identities = match (&settings.spiffe, authority) {
        (Some(spiffe), Some(authority)) => {
            let folder = |source| Error::Folder { path: spiffe.socket.clone(), source };
            let listener = identities::bind(spiffe).map_err(folder)?;
            let (catalogue, fence) = (Arc::clone(&catalogue), Arc::clone(&fence));
            let identities = Identities { authority, door: door.clone(), catalogue, fence, clock, ttl: spiffe.ttl };
            Some((Arc::new(identities), listener))
        }
        _ => None,
    };
    // Whatever listens at the path of our socket is not ours: the folder is locked for us.
    let socket = listen::bind(&admin_socket(&settings.data)).map_err(folder)?;
    private::resume(&admin).await;
    let files = raise_open_files();
    let room = CONNECTIONS_MAX.min(usize::try_from(files / 2).unwrap_or(CONNECTIONS_MAX));
    // Each socket has room of its own, so that nobody at one keeps others out of the other.
    let room = if secured.is_some() { room / 2 } else { room };
    let working = (Arc::clone(&under_way), Arc::clone(&tasks));
    let reaping = reaper::run(
        noticed,
        door.clone(),
        latches,
        (Arc::clone(&links), Arc::clone(&children), Arc::clone(&leases)),
        working,
        (streams, sessions),
    );
    tokio::spawn(reaping);
    let sweeping = Arc::clone(&leases);
    tokio::spawn(async move { sweeping.keep_swept().await });
    let mut listening = vec![
        tokio::spawn(listen::tcp(listener, plain, room)),
        tokio::spawn(teller.run(settings.data.clone())),
        tokio::spawn(keys.run()),
        tokio::spawn(listen::admin(socket, admin::router(admin), (endpoints, Arc::clone(&sites.plain)), fence)),
    ];
    listening.extend(identities.map(|(identities, listener)| tokio::spawn(identities.serve(listener))));
    listening.extend(secured.map(|(listener, served)| tokio::spawn(listen::tcp(listener, served, room))));
    Ok(Serving {
        address,
        secure: sites.tls.as_ref().map(|site| site.address()),
        known: settings.address,
        findings,
        in_force,
        directory,
        observing,
        office,
        door,
        children,
        leases,
        under_way,
        tasks,
        thread,
        listening,
        data: settings.data,
    })
}

/// A socket that listens, and where
async fn bind(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { address: wanted, source };
    let listener = TcpListener::bind(wanted).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// What connections are accepted with over TLS
async fn secured(settings: &TlsSettings, workload: &Arc<Workload>) -> Result<Tls, Error> {
    let (own, files) = match &settings.own {
        OwnCertificate::Svid => {
            // What comes later is shown then; until there is something, nobody gets through a handshake.
            workload.first().await;
            (workload.own(), None)
        }
        OwnCertificate::Files { certificate, key } => {
            let (own, files) = (Arc::new(tls::Own::default()), Files::new(certificate.clone(), key.clone()));
            files.load(&own)?;
            (own, Some(Arc::new(files)))
        }
    };
    Tls::new(own, files).map_err(|error| Error::System(error.to_string()))
}

/// Where people find the console: by the name by which passkeys know this machine, unless it is reached from others
fn console(address: SocketAddr) -> String {
    match address.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => format!("http://localhost:{}", address.port()),
        _ => format!("http://{address}"),
    }
}

/// No memory is written to a disk, nor told to a program that collects crashes: credentials are in it
///
/// A limit of one byte is one that no dump fits into, and that the kernel heeds for such programs as well (core(5)).
fn dump_nothing() {
    let one = Rlimit { current: Some(1), maximum: Some(1) };
    if let Err(error) = setrlimit(Resource::Core, one) {
        tracing::warn!(%error, "a crash may write credentials to a core dump");
    }
}

/// Files that this process may have open, after asking for as many as the system allows
fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum.map(|most| most.min(OPEN_FILES)).or(Some(OPEN_FILES)), ..limit };
    let current = limit.current.unwrap_or(u64::MAX);
    match raised.current {
        Some(wanted) if wanted > current && setrlimit(Resource::Nofile, raised).is_ok() => wanted,
        _ => current,
    }
}

/// Open files that are enough for every limit of ours
const OPEN_FILES: u64 = 65_536;

/// Puts the policy directory into force if it differs from the policy in force
///
/// A directory with errors, or with cases that fail, leaves the earlier policy in force; without one, nothing is
/// served. So does a directory that is as it was when it was put into force last: what is in force is another
/// version because somebody went back to it.
fn take_policy(
    engine: &mut crate::door::TheEngine,
    settings: &Settings,
    clock: SteadyClock,
) -> Result<Vec<portreeve_rules::Finding>, Error> {
    // What somebody stopped altogether comes back by a decision, not by a start.
    if engine.state().registry_nodes().get(&Node::Tenant) == Some(&false) {
        return Ok(Vec::new());
    }
    let loaded = portreeve_rules::load(&settings.policy).map(|mut loaded| {
        let accepted = admin::accepted(engine, loaded.pins.keys().cloned().collect());
        let drift = loaded.drift(|name| accepted.get(name).cloned());
        loaded.warnings.extend(drift);
        loaded
    });
    let loaded = match loaded {
        Ok(loaded) if engine.state().bundle() == Some(loaded.bundle.digest) => return Ok(loaded.warnings),
        // Somebody went back from just this directory: a start does not undo that.
        Ok(loaded) if engine.state().directory() == Some(loaded.bundle.digest) => return Ok(loaded.warnings),
        // Where the account is nobody in particular, somebody with the role puts it into force.
        Ok(loaded) if settings.account == Account::Roles && engine.state().bundle().is_some() => {
            return Ok(loaded.warnings);
        }
        Ok(loaded) => {
            let mut failed = loaded.run_cases();
            failed.extend(loaded.warnings.iter().filter(|finding| finding.is_error()).cloned());
            if failed.iter().any(portreeve_rules::Finding::is_error) { Err(failed) } else { Ok(loaded) }
        }
        Err(findings) => Err(findings),
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(findings) if engine.state().bundle().is_some() => return Ok(findings),
        Err(findings) => return Err(Error::Policy { path: settings.policy.clone(), findings }),
    };
    tracing::info!(bundle = %loaded.bundle.digest, "the policy directory is put into force");
    let what = ChangeWhat::Bundle { bundle: loaded.bundle, blob: loaded.blob };
    let change = Request::Change(Change { by: Actor::Owner { user: None }, what });
    let replies = engine.turn(vec![change], clock.read(), [0; 32]);
    if !matches!(replies.as_slice(), [Reply::Recorded]) {
        return Err(Error::Change);
    }
    Ok(loaded.warnings)
}

impl Serving {
    /// Returns once no process is left that a task was opened for
    pub async fn unused(&self) {
        self.tasks.unused().await;
    }

    /// Returns if nothing is judged any more although nobody ended it
    pub async fn failed(&self) {
        self.door.shut().await;
    }

    /// Ends: nothing new is taken, calls and children are ended, what is owed is recorded, a snapshot is kept
    pub async fn end(self) {
        for task in &self.listening {
            task.abort();
        }
        let _ = std::fs::remove_file(admin_socket(&self.data));
        self.under_way.end(ENDING).await;
        self.children.end_all().await;
        // What cannot be taken back in time is at the next start.
        let _ = tokio::time::timeout(ENDING, self.leases.end_all()).await;
        self.door.close();
        let (thread, data) = (self.thread, self.data);
        let ended = tokio::task::spawn_blocking(move || match thread.join() {
            Ok(engine) if !engine.in_doubt() => snapshots::Store::of(&data).keep(engine.state()),
            _ => {}
        });
        let _ = ended.await;
    }
}

/// How long calls under way get to be settled when the process ends
const ENDING: Duration = Duration::from_secs(3);
