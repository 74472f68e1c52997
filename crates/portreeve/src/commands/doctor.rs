//! `portreeve doctor`: what is wrong, or needs attention.

mod shown;
mod written;

use crate::{
    cli::Cli,
    client::Client,
    commands::key,
    failure::{Failure, chain, exit},
    output, place,
};
use http::Method;
use portreeve_core::{
    event::decode,
    policy::{BackEnd, Bundle},
    time::Millis,
};
use portreeve_gateway::{admin::account_name, keys::KeyState, office::view::ReviewView, settings::LOG_RESERVE_BYTES};
use portreeve_log::Reader;
use portreeve_rules::Finding;
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

/// What was looked at, and what was found
#[derive(Debug, Serialize)]
struct Check {
    id: &'static str,
    status: Status,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// How it stands
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    Warn,
    Fail,
}

fn ok(id: &'static str, what: impl Into<String>) -> Check {
    Check { id, status: Status::Ok, what: what.into(), remedy: None }
}

fn warn(id: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { id, status: Status::Warn, what: what.into(), remedy: Some(remedy.into()) }
}

fn fail(id: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { id, status: Status::Fail, what: what.into(), remedy: Some(remedy.into()) }
}

/// Disk space below which a person is told, in bytes
const SPACE_LOW: u64 = 1 << 30;
/// How far the record may be ahead of the clock, in milliseconds
const AHEAD_MS: i64 = 5_000;
/// How old a key may become before a person is told, in milliseconds: a year
const KEY_AGE_MS: i64 = 365 * 24 * 60 * 60 * 1000;
/// How long a receiver may take to take a connection
const REACH: Duration = Duration::from_secs(2);

pub(crate) async fn run(cli: &Cli) -> Result<u8, Failure> {
    let data = place::data(cli)?;
    let settings = place::settings(&data)?;
    let mut checks = vec![folder(&data)];
    checks.extend(secrets(&data));
    let loaded = portreeve_rules::load(&settings.policy);
    let bundle = loaded.as_ref().ok().map(|loaded| loaded.bundle.as_ref());
    checks.push(account(&data, bundle));
    checks.push(match &loaded {
        Ok(loaded) => policy(&loaded.warnings),
        Err(findings) => policy(findings),
    });
    checks.extend(shown::certificate(&settings));
    checks.extend(shown::workload_api(&settings, bundle).await);
    if let Some(bundle) = bundle {
        checks.extend(written::secrets(bundle));
        checks.extend(overdue(bundle, now()));
    }
    checks.push(clock(&data));
    checks.push(disk(&data));
    checks.extend(served(&data).await);
    for (name, receiver) in bundle.into_iter().flat_map(|bundle| &bundle.receivers) {
        checks.push(reachable(name.as_str(), &receiver.url).await);
    }
    show(&checks, cli.json);
    Ok(if checks.iter().any(|check| check.status == Status::Fail) { exit::FAILURE } else { 0 })
}

fn show(checks: &[Check], as_json: bool) {
    if as_json {
        output::json(&json!({ "checks": checks }));
        return;
    }
    for check in checks {
        let status = match check.status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
        };
        output::line(&format!("{status:<4}  {:<10} {}", check.id, output::plain(&check.what)));
        if let Some(remedy) = &check.remedy {
            output::line(&format!("{:<17}fix: {}", "", output::plain(remedy)));
        }
    }
}

fn folder(data: &Path) -> Check {
    let id = "folder";
    match fs::metadata(data) {
        Err(error) => fail(id, format!("{} cannot be read: {error}", data.display()), "Make one: `portreeve init`."),
        Ok(found) if found.mode() & 0o077 != 0 => fail(
            id,
            format!("others can enter {} (mode {:o})", data.display(), found.mode() & 0o777),
            format!("chmod 700 {}", data.display()),
        ),
        Ok(_) => ok(id, format!("only its owner can enter {}", data.display())),
    }
}

/// Keys, what is kept of people, and the vault: for the owner only
fn secrets(data: &Path) -> Vec<Check> {
    let id = "keys";
    let files = ["keys", "people", "vault"].into_iter().filter_map(|folder| fs::read_dir(data.join(folder)).ok());
    let owner = fs::metadata(data).map_or(0, |found| found.uid());
    let open = files.flatten().flatten().filter_map(|entry| {
        let found = entry.metadata().ok()?;
        let (path, mode) = (entry.path(), found.mode() & 0o777);
        let path = path.display();
        let fix = "exchange the key if somebody may have read it: `portreeve key rotate NAME --now`";
        if !found.is_file() {
            let remedy = "Put the file itself there; a key that is reached by a link is not used.";
            return Some(fail(id, format!("{path} is no plain file"), remedy));
        }
        if found.uid() != owner {
            let what = format!("{path} belongs to another account ({})", found.uid());
            return Some(fail(id, what, format!("chown it to the account of the data folder; {fix}")));
        }
        (mode & 0o077 != 0)
            .then(|| fail(id, format!("others can read {path} (mode {mode:o})"), format!("chmod 600 {path}; {fix}")))
    });
    let open: Vec<Check> = open.collect();
    if open.is_empty() { vec![ok(id, "keys and passkeys can be read by their owner only")] } else { open }
}

/// Who else is this account: whoever runs under it can read the keys and speak at the socket
fn account(data: &Path, bundle: Option<&Bundle>) -> Check {
    let id = "account";
    let owner = fs::metadata(data).map_or(0, |found| found.uid());
    let name = account_name(owner).unwrap_or_else(|| owner.to_string());
    let people = bundle.into_iter().flat_map(|bundle| &bundle.users);
    let people: BTreeSet<&str> =
        people.filter(|(_, user)| user.accounts.contains(&name)).map(|(user, _)| user.as_str()).collect();
    let people: Vec<&str> = people.into_iter().collect();
    let remedy = "Give Portreeve an account of its own, or run agents in a container or under another account: \
        below `exec` they are kept from the socket by who their parents are, which is a fence and no wall.";
    let here = rustix::process::geteuid().as_raw();
    if owner != here {
        return ok(id, format!("{name} owns it, which is another account than yours"));
    }
    if people.is_empty() {
        let what = format!("{name} owns it, and is no user of the policy; agents that run as {name} can read its keys");
        return warn(id, what, remedy);
    }
    let what = format!(
        "{name} owns it, which is also the account of {}: an agent that runs as {name} outside of `exec` could answer as them",
        people.join(", ")
    );
    warn(id, what, remedy)
}

fn policy(findings: &[Finding]) -> Check {
    let id = "policy";
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    let remedy = "See `portreeve policy check`.";
    match (errors, findings.first()) {
        (0, None) => ok(id, "no findings"),
        (0, Some(first)) => warn(id, format!("{} findings: {first}", findings.len()), remedy),
        (errors, _) => fail(id, format!("{errors} errors: the directory cannot be put into force"), remedy),
    }
}

/// Standing secrets that somebody should have exchanged
fn overdue(bundle: &Bundle, now: Millis) -> Vec<Check> {
    let standing = bundle.sources.iter().filter_map(|(name, source)| match &source.back_end {
        BackEnd::Static(of) => Some((name, source, of)),
        _ => None,
    });
    let overdue = standing.filter_map(|(name, source, of)| {
        let by = of.rotate_by.filter(|by| *by <= now)?;
        let what = format!(
            "the secret {} of credentials/{name}.toml should have been exchanged by {}; {} answers for it",
            of.secret,
            output::time(by),
            source.owner
        );
        let remedy =
            format!("Have another one made, `portreeve secret set {}`, and write the next `rotate_by`.", of.secret);
        Some(warn("standing", what, remedy))
    });
    overdue.collect()
}

fn clock(data: &Path) -> Check {
    let id = "clock";
    let last = || -> Result<Option<Millis>, String> {
        let reader = Reader::open(data).map_err(|error| chain(&error))?;
        let head = reader.head().map_err(|error| error.to_string())?;
        let Some((before, group)) = reader.group(head.n).map_err(|error| error.to_string())? else { return Ok(None) };
        let records = decode(before, &group).map_err(|error| error.to_string())?;
        Ok(records.last().map(|record| record.time))
    };
    let now = now();
    match last() {
        Err(why) => warn(id, format!("the record cannot be read: {why}"), "Check it: `portreeve audit verify`."),
        Ok(Some(last)) if last.since(now) > AHEAD_MS => {
            let what =
                format!("it says {}, which is before the last record of {}", output::time(now), output::time(last));
            fail(id, what, "Set the clock right; nothing is permitted until then.")
        }
        Ok(_) => ok(id, format!("it says {}", output::time(now))),
    }
}

fn disk(data: &Path) -> Check {
    let id = "disk";
    let Ok(found) = rustix::fs::statvfs(data) else {
        return warn(id, "how much space is left cannot be found out", "See `df`.");
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let what = format!("{} MiB are free", free >> 20);
    let remedy = "Free some: where the record has no room, nothing may happen.";
    if free < LOG_RESERVE_BYTES * 2 {
        fail(id, what, remedy)
    } else if free < SPACE_LOW {
        warn(id, what, remedy)
    } else {
        ok(id, what)
    }
}

/// What only whoever serves the folder knows
async fn served(data: &Path) -> Vec<Check> {
    let Ok(client) = Client::of(data).await else {
        return vec![warn(
            "served",
            "nobody serves it, so open reviews are not looked at",
            "Start it: `portreeve serve`.",
        )];
    };
    let mut checks = Vec::new();
    match client.ask(Method::GET, "/v1/status", None).await {
        Ok(status) => {
            let url = status.get("url").and_then(Value::as_str).unwrap_or_default();
            checks.push(ok("served", format!("at {url}")));
        }
        Err(failure) => {
            let (word, what, fix) = failure.parts();
            checks.push(fail("served", format!("{what} [{word}]"), fix));
            return checks;
        }
    }
    if let Ok(answer) = client.ask(Method::GET, "/v1/keys", None).await {
        checks.extend(ages(&answer));
    }
    let reviews = client.ask(Method::GET, "/v1/reviews", None).await.ok();
    let reviews: Vec<ReviewView> = reviews
        .and_then(|answer| serde_json::from_value(answer.get("reviews").cloned().unwrap_or_default()).ok())
        .unwrap_or_default();
    if reviews.is_empty() {
        checks.push(ok("reviews", "nothing waits for a review"));
    }
    for review in reviews {
        let opener = review.opener.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
        let what = format!("{} ({}, opened by {opener}) was not reviewed yet", review.task, review.purpose);
        let remedy = format!("Somebody of {}: `portreeve review {} --why TEXT`.", review.review, review.task);
        checks.push(fail("reviews", what, remedy));
    }
    checks
}

/// Keys that have signed for long
fn ages(answer: &Value) -> Vec<Check> {
    let now = now();
    let keys = key::read(answer).unwrap_or_default();
    let old = keys.iter().filter(|key| key.state == KeyState::Current).filter_map(|key| {
        let since = key.since.filter(|since| now.since(*since) > KEY_AGE_MS)?;
        let what = format!("the {} key signs since {}, which is more than a year", key.name, output::time(since));
        Some(warn("keys", what, format!("portreeve key rotate {}", key.name)))
    });
    old.collect()
}

fn now() -> Millis {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

/// Whether somebody takes a connection there; nothing is sent
async fn reachable(name: &str, url: &str) -> Check {
    let id = "receivers";
    let uri: Result<http::Uri, _> = url.parse();
    let Ok(uri) = uri else { return fail(id, format!("{name}: {url} is no address"), "Mend receivers/*.toml.") };
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    match tokio::time::timeout(REACH, tokio::net::TcpStream::connect((host.as_str(), port))).await {
        Ok(Ok(_)) => ok(id, format!("{name} takes connections at {host}:{port}")),
        Ok(Err(error)) => {
            warn(id, format!("{name} at {host}:{port}: {error}"), "Questions are told there once it answers.")
        }
        Err(_) => {
            warn(id, format!("{name} at {host}:{port} does not answer"), "Questions are told there once it answers.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_secret_is_told_from_the_day_on_by_which_it_should_be_another() {
        let source = "owner = \"payments@example.com\"\n[static]\nsecret = \"key\"\nclasses = [\"read\"]\nrotate_by = 2030-01-31\n";
        let files = [("credentials/payments.toml".to_owned(), source.to_owned())];
        let loaded = portreeve_rules::compile(&files.into_iter().collect()).unwrap();
        let day = |text: &str| Millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        assert!(overdue(&loaded.bundle, day("2030-01-31T23:59:59Z")).is_empty());
        let told = overdue(&loaded.bundle, day("2030-02-01T00:00:00Z"));
        assert!(told.len() == 1 && told[0].what.contains("payments@example.com"), "{told:?}");
    }

    #[test]
    fn a_key_that_has_signed_for_a_year_is_told() {
        let key = |name: &str, state: &str, since: i64| {
            json!({
                "name": name, "state": state, "thumbprint": "t", "key": "ed25519:", "algorithm": "Ed25519",
                "source": "file", "since": since, "until": null,
            })
        };
        let (old, young) = (now().0 - KEY_AGE_MS - 60_000, now().0 - KEY_AGE_MS + 60_000);
        let keys = [key("token", "current", old), key("answer", "earlier", old), key("master", "current", young)];
        let told = ages(&json!({ "keys": keys }));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told.iter().all(|check| check.status == Status::Warn && check.what.contains("token")));
        assert_eq!(told.first().and_then(|check| check.remedy.as_deref()), Some("portreeve key rotate token"));
    }
}
