//! Private sockets: each for one run, for the processes below the one that it was opened for.
//!
//! What a socket belongs to is written beside it, so that it is there again after a restart of ours.

use crate::{
    admin::{self, Admin},
    fence::Peer,
    listen,
    settings::PRIVATE_CONNECTIONS_MAX,
};
use portreeve_core::names::{RunId, TaskId};
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
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Owner {
    task: TaskId,
    run: RunId,
    process: Peer,
}

/// Opens the private socket of a run, for the processes below `process`
///
/// # Errors
/// The socket cannot be made, or the process cannot be watched; then the task must not go on.
pub fn open(admin: &Arc<Admin>, task: TaskId, run: RunId, process: Peer) -> io::Result<PathBuf> {
    let folder = folder(&admin.settings.data);
    fs::create_dir_all(&folder)?;
    let owner = Owner { task, run, process };
    let note = folder.join(format!("{task}.json"));
    let text = serde_json::to_vec(&owner).map_err(io::Error::other)?;
    let mut options = fs::OpenOptions::new();
    io::Write::write_all(&mut options.write(true).create(true).truncate(true).mode(0o600).open(&note)?, &text)?;
    serve(admin, owner)
}

/// Opens the sockets again that an earlier life of ours had, and ends the tasks whose processes are gone
pub async fn resume(admin: &Arc<Admin>) {
    let Ok(entries) = fs::read_dir(folder(&admin.settings.data)) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.extension() == Some("json".as_ref())) {
        let owner = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Owner>(&text).ok());
        let Some(owner) = owner else { continue };
        if let Err(error) = serve(admin, owner) {
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

fn serve(admin: &Arc<Admin>, owner: Owner) -> io::Result<PathBuf> {
    let path = folder(&admin.settings.data).join(format!("{}.sock", owner.task));
    let listener = listen::bind(&path)?;
    admin.tasks.bind(owner.run, owner.process)?;
    let router = admin::private_router(Arc::clone(admin), owner.task);
    let (endpoints, fence) = (Arc::clone(&admin.endpoints), Arc::clone(&admin.fence));
    let served = listen::private(listener, owner.run, router, endpoints, fence, PRIVATE_CONNECTIONS_MAX);
    let (mut ended, socket) = (admin.tasks.endings(), path.clone());
    tokio::spawn(async move {
        let over = async {
            while ended.recv().await != Ok(owner.run) {}
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
