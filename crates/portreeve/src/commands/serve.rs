//! `portreeve serve`

use crate::{
    cli::{Cli, Serve},
    client, commands,
    failure::Failure,
    output, place,
};
use tokio::signal::unix::{SignalKind, signal};

pub(crate) async fn run(cli: &Cli, serve: &Serve) -> Result<u8, Failure> {
    commands::log_to_stderr("info");
    let mut settings = place::settings(&place::data(cli)?)?;
    settings.listen = serve.listen;
    if let Some(policy) = &serve.policy {
        settings.policy = place::absolute(policy)?;
    }
    let data = settings.data.display().to_string();
    // Taken before anything is served, so that an early signal is not lost.
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let serving = client::start(settings).await?;
    output::line(&format!("serving http://{} from {data}", serving.address));
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    serving.end().await;
    Ok(0)
}
