//! `portreeve key`: the keys of this data folder, and exchanging them.

use crate::{
    cli::{Cli, Key},
    commands::login,
    failure::Failure,
    output,
};
use http::Method;
use portreeve_core::event::KeyUse;
use portreeve_gateway::keys::{KeyState, KeyView};
use serde_json::{Value, json};

pub(crate) async fn run(cli: &Cli, key: &Key) -> Result<u8, Failure> {
    let client = login::client(cli).await?;
    match key {
        Key::List => {
            let answer = client.ask(Method::GET, "/v1/keys", None).await?;
            if cli.json {
                output::json(&answer);
            } else {
                table(&read(&answer)?);
            }
        }
        Key::Rotate { name, now } => {
            let body = json!({ "now": now });
            let answer = client.ask(Method::POST, &format!("/v1/keys/{name}/rotate"), Some(&body)).await?;
            if cli.json {
                output::json(&answer);
            } else {
                rotated(*name, &read(&answer)?);
            }
        }
    }
    Ok(0)
}

/// The keys in an answer
pub(crate) fn read(answer: &Value) -> Result<Vec<KeyView>, Failure> {
    let keys = answer.get("keys").cloned().unwrap_or_default();
    serde_json::from_value(keys).map_err(|error| Failure::from(anyhow::Error::from(error)))
}

fn table(keys: &[KeyView]) {
    let row = |key: &KeyView| {
        let state = match key.state {
            KeyState::Current => "current",
            KeyState::Next => "next",
            KeyState::Earlier => "earlier",
        };
        let time = |at| output::time(at);
        vec![
            key.name.to_string(),
            state.to_owned(),
            key.thumbprint.clone(),
            key.algorithm.clone(),
            key.source.clone().unwrap_or_else(|| "-".to_owned()),
            key.since.map_or_else(|| "-".to_owned(), time),
            key.until.map_or_else(|| "-".to_owned(), time),
        ]
    };
    let rows: Vec<Vec<String>> = keys.iter().map(row).collect();
    output::table(&["NAME", "STATE", "THUMBPRINT", "ALGORITHM", "SOURCE", "SINCE", "COUNTS UNTIL"], &rows);
    output::tip("exchange one: portreeve key rotate NAME; all of it, with public keys: portreeve --json key list");
}

fn rotated(name: KeyUse, keys: &[KeyView]) {
    let of = |state: KeyState| keys.iter().find(move |key| key.name == name && key.state == state);
    if let Some(current) = of(KeyState::Current) {
        output::line(&format!("{name}: {} signs now ({})", current.thumbprint, current.key));
    }
    match of(KeyState::Earlier).map(|earlier| (earlier, earlier.until)) {
        Some((earlier, Some(until))) => {
            output::line(&format!("{name}: {} still counts until {}", earlier.thumbprint, output::time(until)));
        }
        Some((earlier, None)) => {
            output::line(&format!("{name}: {} stays good for what it signed", earlier.thumbprint));
        }
        None => output::line(&format!("{name}: nothing counts any more that was signed or sealed before")),
    }
    match name {
        KeyUse::Webhook => output::tip(
            "receivers: give them the `webhook_key` of `portreeve status`; until then both keys sign each message",
        ),
        KeyUse::Answer => output::tip("auditors: the change is on the record, signed by the key before"),
        KeyUse::Token | KeyUse::Master | KeyUse::Upstream => {}
    }
}
