//! `portreeve approvals`, `portreeve approve` and `portreeve deny`

mod shown;

use crate::{
    cli::{Approvals, Approve, Cli, Deny},
    client::Client,
    commands::login,
    failure::{Failure, exit},
    output,
};
use http::Method;
use portreeve_core::names::Name;
use portreeve_gateway::office::view::{About, HoldState, HoldView};
use serde_json::{Value, json};
use std::{io::IsTerminal as _, time::Instant};

pub(crate) async fn run(cli: &Cli, approvals: &Approvals) -> Result<u8, Failure> {
    let client = login::client(cli).await?;
    let Some(code) = &approvals.code else { return list(&client, approvals.all, cli.json).await };
    let answer = fetch(&client, code, approvals.by.as_ref()).await?;
    if cli.json {
        output::json(&answer);
        return Ok(0);
    }
    let view = read(&answer)?;
    shown::whole(&view, link(&answer)).iter().for_each(|line| output::line(line));
    if view.state == HoldState::Open && view.not_by_you.is_empty() {
        output::tip(&format!("next: portreeve approve {code}, or portreeve deny {code} --why TEXT"));
    }
    Ok(0)
}

async fn list(client: &Client, all: bool, as_json: bool) -> Result<u8, Failure> {
    let path = if all { "/v1/holds?all=true" } else { "/v1/holds" };
    let answer = client.ask(Method::GET, path, None).await?;
    if as_json {
        output::json(&answer);
        return Ok(0);
    }
    let holds: Vec<HoldView> = serde_json::from_value(answer.get("holds").cloned().unwrap_or_default())
        .map_err(|error| Failure::from(anyhow::Error::from(error)))?;
    if holds.is_empty() {
        output::line("nothing waits for people");
        return Ok(0);
    }
    let row = |view: &HoldView| {
        let what = match &view.about {
            About::Call { tool, .. } => tool.clone(),
            About::Elevation { class, .. } => format!("open {class}"),
            About::Opening { break_glass: true, .. } => format!("EMERGENCY {}", view.purpose),
            About::Opening { .. } => format!("begin {}", view.purpose),
        };
        let mut who: Vec<String> = view.questions.iter().map(shown::question).collect();
        who.dedup();
        vec![
            view.code.clone(),
            shown::state(view.state).to_owned(),
            output::plain(&what),
            view.purpose.to_string(),
            view.agent.to_string(),
            view.user.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            who.join(", "),
            output::time(view.until),
        ]
    };
    let rows: Vec<Vec<String>> = holds.iter().map(row).collect();
    output::table(&["CODE", "STATE", "WHAT", "PURPOSE", "AGENT", "FOR", "ASKED", "UNTIL"], &rows);
    output::tip("look at one: portreeve approvals CODE");
    Ok(0)
}

pub(crate) async fn approve(cli: &Cli, approve: &Approve) -> Result<u8, Failure> {
    let by_hand = !approve.yes;
    if by_hand && !std::io::stdin().is_terminal() {
        return Err(Failure::new(2, "usage", "There is no terminal at which somebody could say yes.")
            .fix("Use a terminal, the console, or --yes if you have seen what it shows."));
    }
    let client = login::client(cli).await?;
    let begun = Instant::now();
    let answer = fetch(&client, &approve.code, approve.by.as_ref()).await?;
    let view = read(&answer)?;
    let print = if cli.json { output::tip } else { output::line };
    shown::whole(&view, link(&answer)).iter().for_each(|line| print(line));
    if view.passkey && view.not_by_you.is_empty() {
        return Err(Failure::new(exit::REFUSED, "step_up_needed", "A yes to this needs your passkey.")
            .fix(format!("Say it on the console: {}", link(&answer))));
    }
    if by_hand && !output::confirm("Say yes to exactly this?") {
        return Err(Failure::new(exit::FAILURE, "not_answered", "Nothing was said."));
    }
    // Only what somebody had in front of them was read.
    let read_ms = by_hand.then(|| u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
    let body = json!({
        "yes": true, "why": approve.why, "binding": view.binding, "as": approve.by, "read_ms": read_ms,
    });
    say(&client, &view, &body, cli.json).await
}

pub(crate) async fn deny(cli: &Cli, deny: &Deny) -> Result<u8, Failure> {
    let client = login::client(cli).await?;
    let view = read(&fetch(&client, &deny.code, deny.by.as_ref()).await?)?;
    let body = json!({ "yes": false, "why": deny.why, "binding": view.binding, "as": deny.by });
    say(&client, &view, &body, cli.json).await
}

async fn say(client: &Client, view: &HoldView, body: &Value, as_json: bool) -> Result<u8, Failure> {
    let answer = client.ask(Method::POST, &format!("/v1/holds/{}/answer", view.hold), Some(body)).await?;
    if as_json {
        output::json(&answer);
        return Ok(0);
    }
    let now = read(&answer)?;
    output::line(&format!("{}: {}", now.code, shown::state(now.state)));
    for question in now.questions.iter().filter(|question| question.so_far < question.people) {
        let left = format!("{} of {} {}", question.so_far, question.people, question.who);
        output::tip(&format!("still open: {left} ({})", output::plain(&question.source)));
    }
    Ok(0)
}

async fn fetch(client: &Client, code: &str, by: Option<&Name>) -> Result<Value, Failure> {
    let plain = code.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if code.is_empty() || !plain {
        return Err(Failure::new(2, "usage", format!("{:?} is no code.", output::plain(code))).fix("Write ABCD-EFGH."));
    }
    let seen = by.map(|by| format!("?as={by}")).unwrap_or_default();
    client.ask(Method::GET, &format!("/v1/holds/{code}{seen}"), None).await
}

fn read(answer: &Value) -> Result<HoldView, Failure> {
    serde_json::from_value(answer.clone()).map_err(|error| Failure::from(anyhow::Error::from(error)))
}

fn link(answer: &Value) -> &str {
    answer.get("link").and_then(Value::as_str).unwrap_or_default()
}

/// How approvals go, so that they do not become a reflex
pub(crate) fn reflex(reflex: &Value) {
    let count = |name: &str| reflex.get(name).and_then(Value::as_u64).unwrap_or_default();
    if count("asked") == 0 {
        return;
    }
    output::line(&format!(
        "{:<13} {} asked: {} approved, {} declined, {} lapsed",
        "approvals",
        count("asked"),
        count("approved"),
        count("declined"),
        count("lapsed")
    ));
    for (user, said) in reflex.get("people").and_then(Value::as_object).into_iter().flatten() {
        let count = |name: &str| said.get(name).and_then(Value::as_u64).unwrap_or_default();
        let read = said.get("read_ms").and_then(Value::as_u64);
        let read = read.map_or_else(String::new, |ms| format!(", {}.{} s of reading", ms / 1_000, ms % 1_000 / 100));
        output::line(&format!("{:<13} {user}: {} yes, {} no{read}", "", count("yes"), count("no")));
    }
}
