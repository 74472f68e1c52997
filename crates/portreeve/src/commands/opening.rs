//! Opening a task, and waiting for people where the purpose asks them.

use crate::{
    cli::Opening,
    client::Client,
    commands,
    failure::{Failure, exit},
    output,
};
use http::Method;
use portreeve_core::time::Millis;
use serde_json::{Value, json};
use std::ffi::OsString;
use tokio::signal::unix::{SignalKind, signal};

/// How long one request waits for people, in seconds
const WAIT_SECS: u32 = 25;

/// Opens a task; where people are asked first, waits for them and opens it by asking for the same again
///
/// Whoever gives up loses nothing: the same command goes on where this one was.
pub(crate) async fn open(client: &Client, opening: &Opening, starts: Option<&[OsString]>) -> Result<Value, Failure> {
    // What is not text is not a program that an agent could be known by.
    let program = starts.and_then(|command| {
        let command: Option<Vec<&str>> = command.iter().map(|part| part.to_str()).collect();
        let folder = std::env::current_dir().ok()?;
        let path = std::env::var("PATH").ok();
        Some(json!({ "command": command?, "folder": folder.to_str()?, "path": path }))
    });
    let body = json!({
        "purpose": opening.purpose,
        "agent": opening.agent,
        "parameters": commands::parameters(&opening.parameters)?,
        "objective": opening.objective,
        "exec": starts.is_some(),
        "program": program,
    });
    let mut told = String::new();
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    loop {
        let answer = client.ask(Method::POST, "/v1/tasks", Some(&body)).await?;
        let Some(held) = answer.get("held") else { return Ok(answer) };
        let hold = commands::text(held, "hold")?.to_owned();
        if told != hold {
            tell(held);
            told.clone_from(&hold);
        }
        let code = commands::text(held, "code")?;
        if opening.no_wait {
            return Err(gives_up(code));
        }
        tokio::select! {
            waited = wait(client, &hold) => waited?,
            _ = interrupted.recv() => return Err(gives_up(code)),
            _ = terminated.recv() => return Err(gives_up(code)),
        }
    }
}

/// Says what waits, for whom and where to answer
pub(crate) fn tell(held: &Value) {
    let text = |name: &str| held.get(name).and_then(Value::as_str).unwrap_or_default();
    let questions = held.get("questions").and_then(Value::as_array).into_iter().flatten();
    let who = questions.map(|question| {
        let people = question.get("people").and_then(Value::as_u64).unwrap_or(1);
        let group = question.get("who").and_then(Value::as_str).unwrap_or_default();
        if people == 1 { format!("somebody of {group}") } else { format!("{people} people of {group}") }
    });
    let until = held.get("until").and_then(Value::as_i64).map_or_else(String::new, |at| output::time(Millis(at)));
    output::tip(&format!("waits for {} until {until}: {}", who.collect::<Vec<_>>().join(" and "), text("code")));
    output::tip(&format!("  they answer with: portreeve approve {}", text("code")));
    output::tip(&format!("  or at:            {}", text("link")));
}

/// Returns once enough have said yes
async fn wait(client: &Client, hold: &str) -> Result<(), Failure> {
    loop {
        let answer = client.ask(Method::GET, &format!("/v1/holds/{hold}/wait?seconds={WAIT_SECS}"), None).await?;
        match commands::text(&answer, "state")? {
            "open" => {}
            "over" => {
                let what = "Nobody answered in time, so the task was not opened.";
                return Err(Failure::new(exit::REFUSED, "hold_over", what).fix("Ask again: the same command."));
            }
            // Whoever repeats it is told what became of it.
            _ => return Ok(()),
        }
    }
}

fn gives_up(code: &str) -> Failure {
    Failure::new(exit::WAITS, "approval_needed", format!("The task is not open yet: {code} waits for people."))
        .fix("Once they have agreed, open it with the same command.")
}
