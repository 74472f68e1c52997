//! `portreeve account`: accounts that people connect, so that tasks on their behalf work with a token of theirs.

use crate::{
    cli::{Account, Cli},
    commands::{self, login},
    failure::Failure,
    output,
};
use http::Method;
use portreeve_core::time::Millis;
use serde_json::{Value, json};
use std::io::{self, BufRead as _, Read as _};

/// Bytes that are read of an address
const BYTES_MAX: u64 = 16 * 1024;

pub(crate) async fn run(cli: &Cli, account: &Account) -> Result<u8, Failure> {
    let client = login::client(cli).await?;
    match account {
        Account::List => {
            let answer = client.ask(Method::GET, "/v1/accounts", None).await?;
            if cli.json {
                output::json(&answer);
            } else {
                listed(&answer);
            }
        }
        Account::Connect { source, user } => {
            let begun =
                client.ask(Method::POST, "/v1/accounts", Some(&json!({ "source": source, "user": user }))).await?;
            let url = commands::text(&begun, "url").map(output::plain)?;
            output::tip(&format!("open {url}"));
            output::tip("agree there, and paste the address at which the browser ends:");
            let ticket = commands::text(&begun, "ticket")?;
            let address = address()?;
            let body = json!({ "source": source, "user": user, "ticket": ticket, "address": address });
            let answer = client.ask(Method::POST, "/v1/accounts/finish", Some(&body)).await?;
            if cli.json {
                output::json(&answer);
            } else {
                let user = commands::text(&answer, "user").map(output::plain)?;
                output::line(&format!("{source}: the account of {user} is connected for: {}", scope(&answer)));
            }
        }
        Account::Disconnect { source, user } => {
            let of = user.as_ref().map_or_else(String::new, |user| format!("?user={user}"));
            let answer = client.ask(Method::DELETE, &format!("/v1/accounts/{source}{of}"), None).await?;
            if cli.json {
                output::json(&answer);
            } else {
                let user = commands::text(&answer, "user").map(output::plain)?;
                output::line(&format!("{source}: the account of {user} is forgotten"));
                if answer.get("taken_back") != Some(&Value::Bool(true)) {
                    output::tip(
                        "Its server did not take it back: take Portreeve out of the list of applications there.",
                    );
                }
            }
        }
    }
    Ok(0)
}

/// One line, typed or piped
fn address() -> Result<String, Failure> {
    let mut line = String::new();
    let read = io::BufReader::new(io::stdin().lock().take(BYTES_MAX)).read_line(&mut line);
    read.map_err(|error| Failure::from(anyhow::Error::from(error).context("the address cannot be read")))?;
    let line = line.trim();
    if line.is_empty() {
        let usage = Failure::new(2, "usage", "There is no address, so nothing was connected.");
        return Err(usage.fix("Paste the whole address of the page at which the browser ended."));
    }
    Ok(line.to_owned())
}

fn scope(of: &Value) -> String {
    let scopes = of.get("scope").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    output::plain(&scopes.collect::<Vec<_>>().join(" "))
}

fn listed(answer: &Value) {
    let text =
        |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map_or_else(|| "-".to_owned(), output::plain);
    let row = |one: &Value| {
        let since = one.get("connected").and_then(Value::as_i64).map(|at| output::time(Millis(at)));
        let state = one.get("broken").and_then(Value::as_str).map(|why| format!("broken: {}", output::plain(why)));
        vec![
            text(one, "source"),
            text(one, "user"),
            text(one, "issuer"),
            scope(one),
            since.unwrap_or_else(|| "-".to_owned()),
            state.unwrap_or_else(|| "good".to_owned()),
        ]
    };
    let rows: Vec<_> = answer.get("accounts").and_then(Value::as_array).into_iter().flatten().map(row).collect();
    output::table(&["SOURCE", "USER", "SERVER", "SCOPE", "SINCE", "STATE"], &rows);
}
