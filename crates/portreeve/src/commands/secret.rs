//! `portreeve secret`: what back ends need, in the vault; `portreeve lease`: what they issued.

use crate::{
    cli::{Cli, Lease, Secret},
    commands::login,
    failure::Failure,
    output,
};
use http::Method;
use portreeve_core::{names::Name, time::Millis};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _},
    path::Path,
};
use zeroize::Zeroizing;

/// Bytes that are read of a secret: more than the vault takes
const BYTES_MAX: u64 = 64 * 1024;

pub(crate) async fn run(cli: &Cli, secret: &Secret) -> Result<u8, Failure> {
    let client = login::client(cli).await?;
    match secret {
        Secret::List => {
            let answer = client.ask(Method::GET, "/v1/secrets", None).await?;
            if cli.json {
                output::json(&answer);
            } else {
                listed(&answer);
            }
        }
        Secret::Set { name, file, overlap, legacy } => {
            let value = value(name, file.as_deref())?;
            let overlap_ms = overlap.as_deref().map_or(Ok(0), |overlap| {
                let usage = || Failure::new(2, "usage", format!("{:?} is no time.", output::plain(overlap)));
                portreeve_rules::duration_ms(overlap).ok_or_else(|| usage().fix("Write 10m, 2h or 1d."))
            })?;
            let body = json!({ "value": value.as_str(), "overlap_ms": overlap_ms, "twin": legacy });
            let answer = client.ask(Method::PUT, &format!("/v1/secrets/{name}"), Some(&body)).await?;
            if cli.json {
                output::json(&answer);
            } else {
                let version = answer.get("version").and_then(Value::as_u64).unwrap_or_default();
                output::line(&format!("{name}: version {version} is in the vault"));
                if let Some(until) = answer.get("before_until").and_then(Value::as_i64) {
                    output::line(&format!(
                        "{name}: the one before is still tried until {}",
                        output::time(Millis(until))
                    ));
                }
            }
        }
        Secret::Remove { name } => {
            let answer = client.ask(Method::DELETE, &format!("/v1/secrets/{name}"), None).await?;
            if cli.json {
                output::json(&answer);
            } else {
                output::line(&format!("{name}: taken out of the vault"));
            }
        }
    }
    Ok(0)
}

/// A secret from a file, a person who types it unseen, or standard input; never from an argument, which others see
fn value(name: &Name, file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    let read = |mut from: Box<dyn io::Read>| -> io::Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::new());
        from.by_ref().take(BYTES_MAX).read_to_string(&mut text)?;
        Ok(Zeroizing::new(text.strip_suffix('\n').unwrap_or(&text).to_owned()))
    };
    let read = match file {
        Some(path) => File::open(path).and_then(|file| read(Box::new(file))),
        None if io::stdin().is_terminal() => rpassword::prompt_password(format!("{name}: ")).map(Zeroizing::new),
        None => read(Box::new(io::stdin())),
    };
    read.map_err(|error| Failure::from(anyhow::Error::from(error).context("the secret cannot be read")))
}

fn text(of: &Value, member: &str) -> String {
    match of.get(member) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Array(items)) if !items.is_empty() => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        _ => "-".to_owned(),
    }
}

fn time(of: &Value, member: &str) -> String {
    of.get(member).and_then(Value::as_i64).map_or_else(|| "-".to_owned(), |at| output::time(Millis(at)))
}

fn rows(answer: &Value, of: &str, row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    answer.get(of).and_then(Value::as_array).into_iter().flatten().map(row).collect()
}

fn listed(answer: &Value) {
    let row = |secret: &Value| {
        let standing = secret.get("standing").filter(|standing| !standing.is_null());
        let flags = [
            standing.map(|of| format!("standing, owner {}, exchange by {}", text(of, "owner"), time(of, "rotate_by"))),
            secret.get("twin").and_then(Value::as_str).map(|twin| format!("the same as {twin}")),
        ];
        let flags: Vec<String> = flags.into_iter().flatten().collect();
        vec![
            text(secret, "name"),
            text(secret, "version"),
            time(secret, "made"),
            text(secret, "used"),
            text(secret, "sources"),
            if flags.is_empty() { "-".to_owned() } else { flags.join("; ") },
        ]
    };
    output::table(&["NAME", "VERSION", "SINCE", "USED", "SOURCES", "NOTE"], &rows(answer, "secrets", row));
}

pub(crate) async fn leases(cli: &Cli, lease: &Lease) -> Result<u8, Failure> {
    let client = login::client(cli).await?;
    match lease {
        Lease::List => {
            let answer = client.ask(Method::GET, "/v1/leases", None).await?;
            if cli.json {
                output::json(&answer);
                return Ok(0);
            }
            let row = |lease: &Value| {
                let mut row: Vec<String> =
                    ["node", "task", "connector", "class", "source", "state"].map(|name| text(lease, name)).into();
                row.extend([time(lease, "until"), time(lease, "usable_until"), text(lease, "revocation")]);
                row
            };
            let head =
                ["LEASE", "TASK", "CONNECTOR", "CLASS", "SOURCE", "STATE", "UNTIL", "USABLE UNTIL", "REVOCATION"];
            output::table(&head, &rows(&answer, "leases", row));
            let count =
                |of: &str| answer.pointer(&format!("/counted/{of}")).and_then(Value::as_u64).unwrap_or_default();
            output::line(&format!(
                "since it began: {} issued, {} not, {} taken back ({} verified), {} left to pass, {} attempts in vain, {} orphans",
                count("issued"),
                count("failed"),
                count("withdrawn"),
                count("verified"),
                count("left"),
                count("resisted"),
                count("orphaned"),
            ));
            output::tip("take one back now: portreeve kill LEASE; what became of it: portreeve audit show fx_...");
        }
        Lease::Sources => {
            let answer = client.ask(Method::GET, "/v1/leases/sources", None).await?;
            let failed = answer.get("sources").and_then(Value::as_array).into_iter().flatten();
            let failed = failed.filter(|source| source.get("error").is_some_and(|error| !error.is_null())).count();
            if cli.json {
                output::json(&answer);
            } else {
                let row = |source: &Value| {
                    let mut row: Vec<String> = ["name", "kind", "owner", "classes", "revocation", "connectors"]
                        .map(|name| text(source, name))
                        .into();
                    row.push(source.get("error").and_then(Value::as_str).unwrap_or("reached").to_owned());
                    row
                };
                let head = ["NAME", "KIND", "OWNER", "CLASSES", "REVOCATION", "CONNECTORS", "BACK END"];
                output::table(&head, &rows(&answer, "sources", row));
            }
            return Ok(u8::from(failed > 0));
        }
    }
    Ok(0)
}
