//! One file per command.

mod account;
mod agent;
mod approvals;
mod audit;
pub(crate) mod author;
mod bench_subject;
mod bridge;
mod connector;
pub(crate) mod console;
mod doctor;
mod exec;
mod explain;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod login;
pub(crate) mod modes;
mod opening;
mod policy;
mod reviews;
mod role;
mod secret;
mod serve;
mod sim;
mod task;
mod undo;

use crate::{
    cli::{Agent, Cli, Command, Policy, Task},
    demo,
    failure::{Failure, exit},
    output,
};
use http::Method;
use portreeve_upstream::keeper::{self, Terminal};
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt as _;

/// Does what was asked, and says with which code to exit
pub(crate) async fn run(cli: Cli) -> Result<u8, Failure> {
    if !matches!(cli.command, Command::Serve(_) | Command::Keeper(_)) {
        log_to_stderr("warn");
    }
    if cli.server.is_some() && !works_elsewhere(&cli.command) {
        return Err(login::only_here());
    }
    match &cli.command {
        Command::Demo(demo) => demo::run(demo, cli.json).await,
        Command::Init(init) => init::run(init),
        Command::Serve(serve) => serve::run(&cli, serve).await,
        Command::Exec(exec) => exec::run(&cli, exec).await,
        Command::Bridge(bridge) => bridge::run(&cli, bridge).await,
        Command::Task(task) => task::run(&cli, task).await,
        Command::Kill { node } => {
            let client = login::client(&cli).await?;
            task::stop(&client, &json!({ "node": node }), cli.json).await
        }
        Command::Approvals(approvals) => approvals::run(&cli, approvals).await,
        Command::Approve(approve) => approvals::approve(&cli, approve).await,
        Command::Deny(deny) => approvals::deny(&cli, deny).await,
        Command::Reviews => reviews::list(&cli).await,
        Command::Review { task, why, by } => reviews::close(&cli, *task, why, by.as_ref()).await,
        Command::Login { issuer } => login::login(&cli, issuer.as_ref()).await,
        Command::Logout => login::logout(&cli).await,
        Command::Whoami if cli.server.is_some() => login::whoami(&cli).await,
        Command::Console { user } => console::run(&cli, user.as_ref()).await,
        Command::Whoami => role::whoami(&cli).await,
        Command::Role(role) => role::run(&cli, role).await,
        Command::Secret(secret) => secret::run(&cli, secret).await,
        Command::Lease(lease) => secret::leases(&cli, lease).await,
        Command::Account(account) => account::run(&cli, account).await,
        Command::Key(key) => key::run(&cli, key).await,
        Command::Doctor => doctor::run(&cli).await,
        Command::Agent(agent) => agent::run(&cli, agent).await,
        Command::Connector(connector) => connector::run(&cli, connector).await,
        Command::Policy(policy) => policy::run(&cli, policy).await,
        Command::Audit(audit) => audit::run(&cli, audit).await,
        Command::Explain { word } => explain::run(word.as_deref(), cli.json),
        Command::Status => status(&cli).await,
        Command::Sim(sim) => sim::run(sim, cli.json),
        Command::Keeper(keeper) => {
            let terminal = if keeper.shared { Terminal::Shared } else { Terminal::Detached };
            match keeper::run(keeper.command.clone(), terminal, keeper.parent).await {
                Ok(status) => Ok(code(status)),
                Err(error) => {
                    let name = keeper.command.first().map(|name| name.to_string_lossy().into_owned());
                    output::problem(&format!("error: {} cannot be run: {error}", name.unwrap_or_default()));
                    Ok(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
                }
            }
        }
        Command::DemoServer { which, books, keys } => {
            Ok(demo::serve(*which, books.clone(), keys.as_deref()).await.map(|()| 0)?)
        }
        Command::DemoKeys { ledger } => Ok(demo::keep(ledger).map(|()| 0)?),
        Command::BenchSubject { upstream } => bench_subject::run(upstream).await,
    }
}

/// Whether a command works at a server too, or at nothing at all
fn works_elsewhere(command: &Command) -> bool {
    match command {
        // Tokens are for where the agent runs, and files are those of this machine.
        Command::Task(task) => !matches!(task, Task::Open { .. } | Task::Token { .. }),
        Command::Agent(agent) => !matches!(agent, Agent::Add(_)),
        Command::Policy(policy) => matches!(
            policy,
            Policy::Apply | Policy::Rollback { .. } | Policy::Observe { .. } | Policy::Enforce { .. } | Policy::Modes
        ),
        Command::Kill { .. }
        | Command::Status
        | Command::Role(_)
        | Command::Key(_)
        | Command::Secret(_)
        | Command::Lease(_)
        | Command::Account(_)
        | Command::Reviews
        | Command::Review { .. }
        | Command::Approvals(_)
        | Command::Approve(_)
        | Command::Deny(_)
        | Command::Login { .. }
        | Command::Logout
        | Command::Whoami
        | Command::Explain { .. }
        | Command::Demo(_)
        | Command::Sim(_)
        | Command::Keeper(_)
        | Command::DemoServer { .. }
        | Command::DemoKeys { .. }
        | Command::BenchSubject { .. } => true,
        _ => false,
    }
}

/// The exit code of a process, as shells give it
pub(crate) fn code(status: std::process::ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| 128 + signal);
    u8::try_from(status.code().or(signal).unwrap_or(1)).unwrap_or(1)
}

/// Writes the log of this process to standard error
pub(crate) fn log_to_stderr(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    // A second call changes nothing.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

async fn status(cli: &Cli) -> Result<u8, Failure> {
    let client = login::client(cli).await?;
    let status = client.ask(Method::GET, "/v1/status", None).await?;
    if cli.json {
        output::json(&status);
        return Ok(0);
    }
    let text = |name: &str| status.get(name).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
    for name in [
        "url",
        "version",
        "pid",
        "data",
        "policy",
        "bundle",
        "tasks",
        "open_effects",
        "console",
        "webhook_key",
        "holds",
    ] {
        output::line(&format!("{name:<13} {}", text(name).unwrap_or_default()));
    }
    let head = status.get("head").cloned().unwrap_or(Value::Null);
    let n = head.get("n").and_then(Value::as_u64).unwrap_or_default();
    let hash = head.get("hash").and_then(Value::as_str).unwrap_or_default();
    output::line(&format!("{:<13} {n}:{hash}", "checkpoint"));
    if let Some(reflex) = status.get("approvals") {
        approvals::reflex(reflex);
    }
    if let Some(open) = status.get("reviews").and_then(Value::as_u64).filter(|open| *open > 0) {
        output::problem(&format!("REVIEW: {open} task(s) of emergencies wait for it; see `portreeve reviews`"));
    }
    modes::banner(&status);
    if let Some(directory) = status.get("directory") {
        modes::difference(directory, &text("bundle").unwrap_or_default());
    }
    Ok(0)
}

/// `NAME=VALUE` pairs as a JSON object; values are text, and the purpose says what they are read as
pub(crate) fn parameters(pairs: &[String]) -> Result<Value, Failure> {
    let mut members = serde_json::Map::new();
    for pair in pairs {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Failure::new(2, "usage", format!("{pair:?} is not of the form NAME=VALUE."))
                .fix("Write --param order=ord_1."));
        };
        if members.insert(name.to_owned(), json!(value)).is_some() {
            return Err(Failure::new(2, "usage", format!("The parameter {name} is given twice.")));
        }
    }
    Ok(Value::Object(members))
}

/// A member of an answer as text
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, Failure> {
    let lacks = || Failure::new(exit::FAILURE, "failed", format!("the answer lacks {name}"));
    value.get(name).and_then(Value::as_str).ok_or_else(lacks)
}
