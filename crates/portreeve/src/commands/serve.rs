//! `portreeve serve`

use crate::{
    cli::{Cli, Serve},
    client, commands,
    commands::console,
    failure::{Failure, exit},
    given, output, place,
};
use tokio::signal::unix::{SignalKind, signal};

pub(crate) async fn run(cli: &Cli, serve: &Serve) -> Result<u8, Failure> {
    commands::log_to_stderr("info");
    let mut settings = place::settings(&place::data(cli)?)?;
    // Before anything else, as the process may begin anew here.
    (settings.given, settings.secrets) = given::with_env(&settings.keys.variables())?;
    if let Some(listen) = serve.listen {
        settings.listen = listen;
    } else if settings.listen.port() == 0 {
        settings.listen.set_port(PORT);
    }
    if let Some(policy) = &serve.policy {
        settings.policy = place::absolute(policy)?;
    }
    if let Some(domain) = &serve.spiffe {
        match &mut settings.spiffe {
            Some(spiffe) => spiffe.trust_domain = domain.clone(),
            None => settings.spiffe = Some(place::spiffe(&settings.data, domain.clone())),
        }
    }
    let workloads = settings.spiffe.clone();
    let folder = settings.data.clone();
    let data = folder.display().to_string();
    // Taken before anything is served, so that an early signal is not lost.
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let serving = client::start(settings).await?;
    let secure = serving.secure.map(|secure| format!(" and https://{secure}")).unwrap_or_default();
    let known = serving.known.as_ref().map(|known| format!(" as {known}")).unwrap_or_default();
    output::line(&format!("serving http://{}{secure}{known} from {data}", serving.address));
    if let Some(spiffe) = workloads {
        let (domain, socket) = (spiffe.trust_domain.as_str(), spiffe.socket.display());
        output::tip(&format!("identities of spiffe://{domain}: SPIFFE_ENDPOINT_SOCKET=unix://{socket}"));
    }
    console::greet(&folder).await;
    let failed = tokio::select! {
        _ = interrupted.recv() => false,
        _ = terminated.recv() => false,
        () = serving.failed() => true,
    };
    serving.end().await;
    if failed {
        let what = "Nothing can be judged any more; the log above says why.";
        return Err(Failure::new(exit::FAILURE, "door_failed", what).fix("Start it again: the record is whole."));
    }
    Ok(0)
}

/// Where agents reach it unless something else is configured
const PORT: u16 = 7420;
