//! Where things are: the data folder and its configuration.

use crate::{
    cli::Cli,
    failure::{Failure, exit},
    given,
};
use portreeve_core::event::KeyUse;
use portreeve_gateway::settings::{
    Account, HOLD_WAIT, HOLD_WAIT_MAX, OwnCertificate, SPIFFE_TTL, Settings, Spiffe, TlsSettings,
};
use portreeve_identity::{key::source::Source, keyring::Sources, svid::TrustDomain};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

/// The name of a data folder inside a project
pub(crate) const FOLDER: &str = ".portreeve";
/// The name of the configuration inside a data folder
pub(crate) const CONFIG: &str = "portreeve.toml";

/// `portreeve.toml`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The policy directory, relative to the data folder
    policy: Option<PathBuf>,
    /// Where agents reach `serve`
    listen: Option<SocketAddr>,
    spiffe: Option<SpiffeConfig>,
    /// How it is reached from elsewhere
    address: Option<String>,
    tls: Option<TlsConfig>,
    #[serde(default)]
    log: LogConfig,
    #[serde(default)]
    holds: HoldsConfig,
    #[serde(default)]
    keys: KeysConfig,
    #[serde(default)]
    admin: AdminConfig,
    /// Whether a crash may leave the memory of this process in a file
    #[serde(default)]
    core_dumps: bool,
}

/// As whom the account that owns the data folder administers it
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdminConfig {
    #[serde(default)]
    account: Account,
}

/// Where keys come from
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysConfig {
    token: Option<String>,
    answer: Option<String>,
    webhook: Option<String>,
    master: Option<String>,
    upstream: Option<String>,
    #[serde(default)]
    earlier: BTreeMap<KeyUse, String>,
}

impl KeysConfig {
    fn read(self) -> Result<Sources, String> {
        let Self { token, answer, webhook, master, upstream, earlier } = self;
        let current = [
            (KeyUse::Token, token),
            (KeyUse::Answer, answer),
            (KeyUse::Webhook, webhook),
            (KeyUse::Master, master),
            (KeyUse::Upstream, upstream),
        ];
        let current = current.into_iter().filter_map(|(of, text)| Some((of, text?)));
        let read = |of: KeyUse, text: &str| {
            let source = text.parse::<Source>().map_err(|error| format!("keys: {of}: {error}"))?;
            Ok::<_, String>((of, source))
        };
        Ok(Sources {
            current: current.map(|(of, text)| read(of, &text)).collect::<Result<_, _>>()?,
            earlier: earlier.iter().map(|(of, text)| read(*of, text)).collect::<Result<_, _>>()?,
        })
    }
}

/// A Workload API of our own
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpiffeConfig {
    trust_domain: String,
    /// Relative to the data folder
    socket: Option<PathBuf>,
    /// How long what is issued counts, as in `"1h"`
    ttl: Option<String>,
    /// Whether other accounts may connect
    #[serde(default)]
    shared: bool,
}

impl SpiffeConfig {
    fn read(self, data: &Path) -> Result<Spiffe, String> {
        let trust_domain = self.trust_domain.parse().map_err(|error| format!("spiffe.trust_domain: {error}"))?;
        let ttl = match self.ttl {
            None => SPIFFE_TTL,
            Some(text) => portreeve_rules::duration_ms(&text)
                .map(|ms| Duration::from_millis(ms.unsigned_abs()))
                .filter(|ttl| (Duration::from_secs(2)..=Duration::from_secs(24 * 60 * 60)).contains(ttl))
                .ok_or_else(|| format!("spiffe.ttl: {text:?} is no time from 2s to 24h"))?,
        };
        let socket = data.join(self.socket.unwrap_or_else(|| PathBuf::from(SPIFFE_SOCKET)));
        Ok(Spiffe { socket, trust_domain, ttl, shared: self.shared })
    }
}

/// The Workload API for a trust domain, with everything as it is by default
pub(crate) fn spiffe(data: &Path, trust_domain: TrustDomain) -> Spiffe {
    Spiffe { socket: data.join(SPIFFE_SOCKET), trust_domain, ttl: SPIFFE_TTL, shared: false }
}

/// The socket of the Workload API in a data folder
const SPIFFE_SOCKET: &str = "spiffe.sock";

/// TLS beside plain HTTP
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsConfig {
    listen: Option<SocketAddr>,
    /// In PEM, relative to the data folder
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    /// Whether we show the X.509-SVID that the Workload API gives us
    #[serde(default)]
    svid: bool,
    /// Where the Workload API is
    workload_api: Option<String>,
}

impl TlsConfig {
    fn read(self, data: &Path) -> Result<Option<TlsSettings>, &'static str> {
        let own = match (self.certificate, self.key, self.svid) {
            (Some(certificate), Some(key), false) => {
                OwnCertificate::Files { certificate: data.join(certificate), key: data.join(key) }
            }
            (None, None, true) => OwnCertificate::Svid,
            (None, None, false) if self.listen.is_none() => return Ok(None),
            _ => return Err("tls: expected `certificate` with `key`, or `svid = true`"),
        };
        let listen = self.listen.ok_or("tls: `listen` is missing: where agents reach it over TLS")?;
        Ok(Some(TlsSettings { listen, own }))
    }
}

/// An address by which we are known: a scheme and a host, with a port if it is unusual, and nothing behind them
fn known_as(text: &str) -> Option<String> {
    let uri: http::Uri = text.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let base = format!("{scheme}://{authority}");
    (text == base && base == base.to_ascii_lowercase()).then_some(base)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogConfig {
    /// Bytes that the log may take
    bytes_max: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldsConfig {
    /// How long a request waits for people before its agent is told that they are asked, as in `"45s"`
    wait: Option<String>,
}

/// The data folder that the command is about
///
/// # Errors
/// There is none.
pub(crate) fn data(cli: &Cli) -> Result<PathBuf, Failure> {
    if let Some(data) = &cli.data {
        return absolute(data);
    }
    let here = env::current_dir()?;
    if let Some(found) = here.ancestors().map(|folder| folder.join(FOLDER)).find(|folder| folder.is_dir()) {
        return Ok(found);
    }
    let home = env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    home.map(|home| home.join("portreeve")).filter(|folder| folder.is_dir()).ok_or_else(|| {
        Failure::new(exit::NOT_FOUND, "no_data_folder", "There is no data folder here or above.")
            .fix("Make one with `portreeve init`, or name one with --data.")
    })
}

/// The settings to serve a data folder with
///
/// # Errors
/// The configuration has errors.
pub(crate) fn settings(data: &Path) -> Result<Settings, Failure> {
    let path = data.join(CONFIG);
    let config: Config = match fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).map_err(|error| {
            Failure::new(exit::FAILURE, "config_broken", format!("{}: {error}", path.display()))
                .fix("Mend the line that is shown.")
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Config::default(),
        Err(error) => return Err(error.into()),
    };
    let hold_wait = match &config.holds.wait {
        None => HOLD_WAIT,
        Some(text) => wait(text).ok_or_else(|| {
            let what = format!("{}: holds.wait: {text:?} is no time of at most 60s", path.display());
            Failure::new(exit::FAILURE, "config_broken", what)
                .fix("Write it as in `wait = \"45s\"`; \"0s\" waits not at all.")
        })?,
    };
    let keys = config.keys.read().map_err(|error| {
        Failure::new(exit::FAILURE, "config_broken", format!("{}: {error}", path.display()))
            .fix("See the keys in docs/configuration.md.")
    })?;
    let spiffe = config.spiffe.map(|spiffe| spiffe.read(data)).transpose().map_err(|error| {
        Failure::new(exit::FAILURE, "config_broken", format!("{}: {error}", path.display()))
            .fix("See [spiffe] in docs/configuration.md.")
    })?;
    let broken = |what: String, fix: &str| {
        Failure::new(exit::FAILURE, "config_broken", format!("{}: {what}", path.display())).fix(fix)
    };
    let secure = config.tls.as_ref().is_some_and(|tls| tls.listen.is_some());
    let address = match &config.address {
        None => None,
        Some(text) => Some(known_as(text).filter(|base| !secure || base.starts_with("https://")).ok_or_else(|| {
            let what = format!("address: {text:?} is no address by which Portreeve could be known");
            broken(what, "Write it as in `address = \"https://portreeve.example.com\"`: small letters, no path.")
        })?),
    };
    let workload_api = config.tls.as_ref().and_then(|tls| tls.workload_api.clone());
    let workload_api = workload_api.or_else(|| env::var("SPIFFE_ENDPOINT_SOCKET").ok().filter(|text| !text.is_empty()));
    let tls = match config.tls {
        None => None,
        Some(tls) => tls.read(data).map_err(|what| broken(what.to_owned(), "See TLS in docs/configuration.md."))?,
    };
    if workload_api.is_none() && tls.as_ref().is_some_and(|tls| tls.own == OwnCertificate::Svid) {
        let what = "tls: `svid = true` needs the Workload API".to_owned();
        return Err(broken(what, "Say where it is: `[tls] workload_api` or SPIFFE_ENDPOINT_SOCKET."));
    }
    let policy = data.join(config.policy.unwrap_or_else(|| PathBuf::from("policy")));
    Ok(Settings {
        policy: policy.canonicalize().unwrap_or(policy),
        data: data.to_owned(),
        listen: config.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        address,
        tls,
        workload_api,
        keeper: PathBuf::from("/proc/self/exe"),
        log_bytes_max: config.log.bytes_max,
        hold_wait,
        keys,
        given: given::without_env(),
        spiffe,
        account: config.admin.account,
        secrets: given::secrets_without_env(),
        core_dumps: config.core_dumps,
    })
}

fn wait(text: &str) -> Option<Duration> {
    if text == "0s" {
        return Some(Duration::ZERO);
    }
    let wait = Duration::from_millis(portreeve_rules::duration_ms(text)?.unsigned_abs());
    (wait <= HOLD_WAIT_MAX).then_some(wait)
}

/// A path that means the same from everywhere
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    Ok(std::path::absolute(path)?)
}
