//! A Portreeve in front of one upstream that wants a credential.

use super::{Options, back_end::BackEnd};
use crate::{
    served::{Admin, Served, admin, ask},
    who::place::{Connection, Upstream},
};
use anyhow::Context as _;
use http::Method;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt as _};
use tempfile::TempDir;

/// A Portreeve
#[derive(Debug)]
pub(super) struct Place {
    served: Served,
    admin: Admin,
    endpoint: Connection,
    url: String,
    _folder: TempDir,
}

/// An open task
#[derive(Debug, Clone)]
pub(super) struct Task {
    id: String,
    authorization: String,
}

impl Place {
    pub(super) async fn open(options: &Options, upstream: &Upstream, back_end: &BackEnd) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(&options.dir).context("make a folder for the run")?;
        let data = folder.path().join("data");
        let policy = data.join("policy");
        for part in ["agents", "connectors", "purposes", "credentials"] {
            fs::create_dir_all(policy.join(part))?;
        }
        let (source, put) = back_end.source()?;
        fs::write(policy.join("agents/bench.toml"), "owner = \"bench@example.com\"\n")?;
        fs::write(policy.join("connectors/echo.toml"), format!("url = \"{}\"\n{put}{CONNECTOR}", upstream.url))?;
        fs::write(policy.join("purposes/bench.toml"), PURPOSE)?;
        if let Some(source) = source {
            fs::write(policy.join("credentials/keys.toml"), source)?;
        }
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        let (served, _) = Served::start(&options.portreeve, &data, Some(options.proxy_core))?;
        let mut admin = admin(&data).await?;
        if let Some(secret) = back_end.secret() {
            ask(&mut admin, Method::PUT, "/v1/secrets/keys", json!({ "value": secret })).await?;
        }
        let shown = ask(&mut admin, Method::GET, "/v1/connectors/echo", json!({})).await?;
        let seen = json!({ "digest": shown.get("digest") });
        ask(&mut admin, Method::POST, "/v1/connectors/echo/accept", seen).await?;
        let url = format!("{}/mcp/echo", served.base());
        let endpoint = Connection::to(&url).await?;
        let mut place = Self { served, admin, endpoint, url, _folder: folder };
        place.none_left().await?;
        Ok(place)
    }

    /// Opens a task
    pub(super) async fn task(&mut self) -> anyhow::Result<Task> {
        let wanted = json!({ "purpose": "bench" });
        let opened = ask(&mut self.admin, Method::POST, "/v1/tasks", wanted).await?;
        let text = |name: &str| opened.get(name).and_then(Value::as_str).map(str::to_owned).context("odd answer");
        Ok(Task { id: text("task")?, authorization: format!("Bearer {}", text("token")?) })
    }

    /// Makes one call
    pub(super) async fn call(&mut self, task: &Task) -> anyhow::Result<()> {
        self.endpoint.call(Some(&task.authorization), None).await
    }

    /// One call of each task, so many at once
    pub(super) async fn call_all(&self, tasks: &[Task], at_once: usize) -> anyhow::Result<()> {
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..at_once {
            let tasks: Vec<Task> = tasks.iter().skip(caller).step_by(at_once).cloned().collect();
            let url = self.url.clone();
            callers.spawn(async move {
                let mut endpoint = Connection::to(&url).await?;
                for task in tasks {
                    endpoint.call(Some(&task.authorization), None).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(called) = callers.join_next().await {
            called??;
        }
        Ok(())
    }

    /// Stops a task, and returns once its credential is known to be of no use
    pub(super) async fn gone(&mut self, task: &Task) -> anyhow::Result<()> {
        ask(&mut self.admin, Method::POST, "/v1/stop", json!({ "node": task.id })).await?;
        self.none_left().await
    }

    /// Returns once no credential is left of which it is not known that it is of no use
    async fn none_left(&mut self) -> anyhow::Result<()> {
        loop {
            let listed = ask(&mut self.admin, Method::GET, "/v1/leases", json!({})).await?;
            if listed.get("leases").and_then(Value::as_array).is_none_or(Vec::is_empty) {
                return Ok(());
            }
        }
    }

    /// Resident memory in KiB
    pub(super) fn resident_kib(&self) -> anyhow::Result<f64> {
        self.served.rss_kib()
    }

    /// Ends it
    pub(super) fn close(self) -> anyhow::Result<()> {
        self.served.end()
    }
}

const CONNECTOR: &str = "[tools.echo]\nclass = \"read\"\n[tools.echo.arguments]\ntext = \"content\"\n";
const PURPOSE: &str = "name = \"bench\"\nabout = \"Echo\"\nowner = \"bench@example.com\"\n\
    [open]\nagents = [\"bench\"]\nusers = \"none\"\n\
    [task]\nexpires_after = \"1h\"\nstanding = [\"read\"]\n\
    [[allow]]\nname = \"echo\"\nuse = [\"echo.echo\"]\nwhere = { id = { any = true } }\n";
