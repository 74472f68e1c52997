//! `portreeve exec`: an agent, and everything below it, on one task.

use crate::{
    cli::{Cli, Exec},
    client::Hosted,
    commands::{self, modes, opening},
    failure::{Failure, exit},
    output, place,
};
use http::Method;
use portreeve_identity::keyring::Sources;
use portreeve_upstream::keeper;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io::Write as _,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
};
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
};

pub(crate) async fn run(cli: &Cli, exec: &Exec) -> Result<u8, Failure> {
    // Whatever the agent leaves behind falls to this process, which ends it.
    keeper::adopt()?;
    let data = place::data(cli)?;
    let hosted = Hosted::join_or_serve(&data).await?;
    let outcome = with_task(&hosted, exec, &place::settings(&data)?.keys).await;
    hosted.end().await;
    keeper::end_descendants().await;
    outcome
}

async fn with_task(hosted: &Hosted, exec: &Exec, keys: &Sources) -> Result<u8, Failure> {
    // The terminal's interrupt is for the agent; what asks us to end, ends the agent.
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let opened = opening::open(&hosted.client, &exec.opening, Some(&exec.command)).await?;
    modes::banner(&opened);
    let (task, socket) = (commands::text(&opened, "task")?, commands::text(&opened, "socket")?);
    let endpoints: BTreeMap<String, String> = opened
        .get("endpoints")
        .and_then(|endpoints| serde_json::from_value(endpoints.clone()).ok())
        .unwrap_or_default();
    let url = match endpoints.values().next() {
        Some(only) if endpoints.len() == 1 => only.clone(),
        first => first.and_then(|url| url.rsplit_once('/')).map_or_else(String::new, |(base, _)| base.to_owned()),
    };
    let config = configuration(endpoints.keys(), socket)?;
    let command: Vec<OsString> =
        exec.command.iter().map(|part| filled(part, config.path().as_os_str(), url.as_ref())).collect();

    let mut keeper = Command::new("/proc/self/exe");
    // Where keys are given to `serve` by the environment, somebody's shell may have them, too.
    for name in keys.variables() {
        keeper.env_remove(name);
    }
    let spawned = keeper
        .args(["__keeper", "--shared", "--parent", &std::process::id().to_string(), "--"])
        .args(&command)
        .env("PORTREEVE_SOCKET", socket)
        .env("PORTREEVE_MCP_URL", &url)
        .env("PORTREEVE_TASK", task)
        .env_remove("PORTREEVE_DATA")
        .spawn();
    let status = match spawned {
        Ok(mut agent) => loop {
            tokio::select! {
                status = agent.wait() => break status,
                _ = interrupted.recv() => {}
                _ = terminated.recv() => end(&agent),
                _ = hung_up.recv() => end(&agent),
            }
        },
        Err(error) => Err(error),
    };
    let stop = json!({ "node": task, "ended": true });
    match hosted.client.ask(Method::POST, "/v1/stop", Some(&stop)).await {
        // Its time had passed, or somebody stopped it before.
        Err(failure) if failure.exit == exit::REFUSED => {}
        Err(failure) => failure.show(false),
        Ok(_) => {}
    }
    Ok(match status {
        Ok(status) => commands::code(status),
        Err(error) => {
            output::problem(&format!("error[exec_failed]: the agent could not be run: {error}"));
            125
        }
    })
}

/// Asks the keeper to end the agent and everything below it
fn end(agent: &tokio::process::Child) {
    let pid = agent.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// A client configuration that joins the task: each connector by way of `portreeve bridge`, no token in it
///
/// The socket stands in it because many clients hand only a few variables of their own environment on.
fn configuration<'a>(
    connectors: impl Iterator<Item = &'a String>,
    socket: &str,
) -> Result<tempfile::NamedTempFile, Failure> {
    let program = std::env::current_exe()?;
    let server = |connector: &'a String| {
        let env = json!({ "PORTREEVE_SOCKET": socket });
        (connector, json!({ "command": program, "args": ["bridge", connector], "env": env }))
    };
    let servers: BTreeMap<&String, Value> = connectors.map(server).collect();
    let mut file = tempfile::Builder::new().prefix("portreeve-").suffix(".json").tempfile()?;
    file.write_all(json!({ "mcpServers": servers }).to_string().as_bytes())?;
    Ok(file)
}

/// A part of the command with its placeholders filled
fn filled(part: &OsStr, config: &OsStr, url: &OsStr) -> OsString {
    let mut bytes = part.as_bytes().to_vec();
    for (placeholder, value) in [("{mcp_config}", config), ("{mcp_url}", url)] {
        while let Some(at) = bytes.windows(placeholder.len()).position(|window| window == placeholder.as_bytes()) {
            bytes.splice(at..at + placeholder.len(), value.as_bytes().iter().copied());
        }
    }
    OsString::from_vec(bytes)
}
