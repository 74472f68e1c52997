//! Where things are: the data folder and its configuration.

use crate::{
    cli::Cli,
    failure::{Failure, exit},
    given,
};
use portreeve_core::event::KeyUse;
use portreeve_gateway::settings::{Account, HOLD_WAIT, HOLD_WAIT_MAX, Settings};
use portreeve_identity::{key::source::Source, keyring::Sources};
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
    #[serde(default)]
    earlier: BTreeMap<KeyUse, String>,
}

impl KeysConfig {
    fn read(self) -> Result<Sources, String> {
        let Self { token, answer, webhook, master, earlier } = self;
        let current =
            [(KeyUse::Token, token), (KeyUse::Answer, answer), (KeyUse::Webhook, webhook), (KeyUse::Master, master)];
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
    let policy = data.join(config.policy.unwrap_or_else(|| PathBuf::from("policy")));
    Ok(Settings {
        policy: policy.canonicalize().unwrap_or(policy),
        data: data.to_owned(),
        listen: config.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        keeper: PathBuf::from("/proc/self/exe"),
        log_bytes_max: config.log.bytes_max,
        hold_wait,
        keys,
        given: given::without_env(),
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
