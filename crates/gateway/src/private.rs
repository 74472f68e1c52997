//! Private sockets: each for one run, for the processes below the one that it was opened for.
//!
//! What a socket belongs to is written beside it, so that it is there again after a restart of ours.

use crate::{
    admin::{self, Admin, Guard},
    fence::Peer,
    listen,
    settings::PRIVATE_CONNECTIONS_MAX,
    tasks::Opened,
};
use portreeve_core::names::{Name, RunId, TaskId};
use portreeve_upstream::identity::Program;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// How long the socket of an ended run still answers: as long as its last token lives
const AFTERLIFE: Duration = Duration::from_secs(300);

/// Whose a private socket is
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Owner {
    task: TaskId,
    run: RunId,
    process: Peer,
    /// The agent that is known by what was started
    #[serde(default, skip_serializing_if = "Option::is_none")]
    program: Option<(Name, Program)>,
}

/// Opens the private socket of a run, for the processes below `process`; with a program, through that only
///
/// # Errors
/// The socket cannot be made, or the process cannot be watched; then the task must not go on.
pub fn open(admin: &Arc<Admin>, opened: &Opened, process: Peer, program: Option<Program>) -> io::Result<PathBuf> {
    let (task, run) = (opened.task, opened.run);
    let folder = folder(&admin.settings.data);
    fs::create_dir_all(&folder)?;
    let program = program.map(|program| (opened.agent.clone(), program));
    let owner = Owner { task, run, process, program };
    let note = folder.join(format!("{task}.json"));
    let text = serde_json::to_vec(&owner).map_err(io::Error::other)?;
    let mut options = fs::OpenOptions::new();
    io::Write::write_all(&mut options.write(true).create(true).truncate(true).mode(0o600).open(&note)?, &text)?;
    serve(admin, &owner)
}

/// Opens the sockets again that an earlier life of ours had, and ends the tasks whose processes are gone
pub async fn resume(admin: &Arc<Admin>) {
    let Ok(entries) = fs::read_dir(folder(&admin.settings.data)) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.extension() == Some("json".as_ref())) {
        let owner = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Owner>(&text).ok());
        let Some(owner) = owner else { continue };
        if let Err(error) = serve(admin, &owner) {
            tracing::info!(task = %owner.task, %error, "the process of this task is gone");
            admin.tasks.lost(owner.run).await;
            let _ = fs::remove_file(&path);
            let _ = fs::remove_file(path.with_extension("sock"));
        }
    }
}

fn folder(data: &Path) -> PathBuf {
    data.join("run")
}

fn serve(admin: &Arc<Admin>, owner: &Owner) -> io::Result<PathBuf> {
    let path = folder(&admin.settings.data).join(format!("{}.sock", owner.task));
    let listener = listen::bind(&path)?;
    admin.tasks.bind(owner.run, owner.process)?;
    let router = admin::private_router(Arc::clone(admin), owner.task);
    let endpoints = (Arc::clone(&admin.endpoints), Arc::clone(&admin.site));
    let guard = Guard::new(Arc::clone(admin), owner.task, owner.run, owner.program.clone());
    let served = listen::private(listener, guard, router, endpoints, PRIVATE_CONNECTIONS_MAX);
    let run = owner.run;
    let (mut ended, socket) = (admin.tasks.endings(), path.clone());
    tokio::spawn(async move {
        let over = async {
            while ended.recv().await != Ok(run) {}
            tokio::time::sleep(AFTERLIFE).await;
        };
        tokio::select! {
            () = served => {}
            () = over => {}
        }
        // Not when our process ends: then the socket is opened again by the next one.
        let _ = fs::remove_file(socket.with_extension("json"));
        let _ = fs::remove_file(socket);
    });
    Ok(path)
}
