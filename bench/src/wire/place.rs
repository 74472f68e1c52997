//! A Portreeve in front of one upstream of each era, and tasks on it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum as _;
use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Options;
use crate::compare::children::{Running, Start, own_command};
use crate::compare::subject::listening;
use crate::load::Form;
use crate::served::{Served, admin, ask};
use crate::upstream::Era;

/// Both upstreams
#[derive(Debug)]
pub(crate) struct Upstreams {
    legacy: Upstream,
    modern: Upstream,
}

/// An upstream of one era
#[derive(Debug)]
pub(crate) struct Upstream {
    running: Running,
    /// `ADDRESS:PORT`
    pub(crate) address: String,
}

impl Upstreams {
    /// Starts both
    pub(crate) fn raise(core: usize) -> anyhow::Result<Self> {
        Ok(Self { legacy: Upstream::raise(Era::Legacy, core)?, modern: Upstream::raise(Era::Modern, core)? })
    }

    /// That of one era
    pub(crate) fn of(&self, era: Era) -> &Upstream {
        match era {
            Era::Legacy => &self.legacy,
            Era::Modern => &self.modern,
        }
    }
}

impl Upstream {
    fn raise(era: Era, core: usize) -> anyhow::Result<Self> {
        let name = era.to_possible_value().context("no such era")?;
        let command = own_command(["upstream", "--until-stdin-closes", "--era", name.get_name()])?;
        let running = Running::start(&Start { what: "the upstream", core, command })?;
        let address = listening(&running)?;
        Ok(Self { running, address })
    }

    /// Its process
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Where it speaks MCP
    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }
}

/// A fresh Portreeve in front of both
#[derive(Debug)]
pub(crate) struct Place {
    data: PathBuf,
    /// Dropped first, before its folder
    pub(crate) served: Served,
    _folder: TempDir,
}

/// An open task
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) id: String,
    endpoints: BTreeMap<String, String>,
    /// Good for minutes
    pub(crate) token: String,
}

impl Task {
    /// Where it reaches the connector of an era
    pub(crate) fn url(&self, era: Era) -> anyhow::Result<&str> {
        let name = connector(era);
        self.endpoints.get(name).map(String::as_str).with_context(|| format!("no endpoint of {name}"))
    }

    /// The value of its header `authorization`
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

impl Place {
    /// Serves a new data folder, and accepts what the upstreams offer
    pub(crate) async fn open(options: &Options, upstreams: &Upstreams) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(&options.dir).context("make a folder for the run")?;
        let data = folder.path().join("data");
        let mut files = vec![("agents/bench.toml", AGENT.to_owned()), ("purposes/bench.toml", PURPOSE.to_owned())];
        for (path, era) in [("connectors/old.toml", Era::Legacy), ("connectors/new.toml", Era::Modern)] {
            files.push((path, format!("url = \"{}\"\n{CONNECTOR}", upstreams.of(era).url())));
        }
        for (path, text) in files {
            let path = data.join("policy").join(path);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            fs::write(path, text)?;
        }
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        let (served, _) = Served::start(&options.portreeve, &data, Some(options.proxy_core))?;
        let mut admin = admin(&data).await?;
        for era in [Era::Legacy, Era::Modern] {
            let path = format!("/v1/connectors/{}", connector(era));
            let shown = ask(&mut admin, Method::GET, &path, json!({})).await?;
            let seen = json!({ "digest": shown.get("digest") });
            ask(&mut admin, Method::POST, &format!("{path}/accept"), seen).await?;
        }
        Ok(Self { data, served, _folder: folder })
    }

    /// Opens a task
    pub(crate) async fn task(&self) -> anyhow::Result<Task> {
        let opening = json!({ "purpose": "bench", "agent": "bench", "parameters": { "prefix": "item-" } });
        let opened = ask(&mut admin(&self.data).await?, Method::POST, "/v1/tasks", opening).await?;
        let text = |name: &str| opened.get(name).and_then(Value::as_str).map(str::to_owned).context("odd answer");
        let endpoints = opened.get("endpoints").cloned().context("no endpoints")?;
        Ok(Task { id: text("task")?, token: text("token")?, endpoints: serde_json::from_value(endpoints)? })
    }

    /// Gives a task a token that is fresh
    pub(crate) async fn renew(&self, task: &mut Task) -> anyhow::Result<()> {
        let path = format!("/v1/tasks/{}/token", task.id);
        let token = ask(&mut admin(&self.data).await?, Method::POST, &path, json!({})).await?;
        task.token = token.get("token").and_then(Value::as_str).context("no token")?.to_owned();
        Ok(())
    }

    /// Stops something; returns once Portreeve has answered
    pub(crate) async fn stop(&self, node: &str) -> anyhow::Result<()> {
        let mut admin = admin(&self.data).await?;
        ask(&mut admin, Method::POST, "/v1/stop", json!({ "node": node })).await.map(drop)
    }
}

/// The connector of an era
fn connector(era: Era) -> &'static str {
    match era {
        Era::Legacy => "old",
        Era::Modern => "new",
    }
}

/// The word for an era in tables
pub(crate) fn version(era: Era) -> &'static str {
    match era {
        Era::Legacy => "2025-11-25",
        Era::Modern => "2026-07-28",
    }
}

/// How a client of an era speaks
pub(crate) fn form(era: Era) -> Form {
    match era {
        Era::Legacy => Form::Legacy,
        Era::Modern => Form::Modern,
    }
}

const AGENT: &str = "owner = \"bench@example.com\"\n";
const CONNECTOR: &str = "[tools.echo]\nclass = \"read\"\n[tools.echo.arguments]\ntext = \"content\"\n\
    [tools.large]\nclass = \"read\"\n[tools.large.arguments]\nbytes = \"paging\"\nevents = \"paging\"\n";
const PURPOSE: &str = "name = \"bench\"\nabout = \"Echo\"\nowner = \"bench@example.com\"\n\
    [open]\nagents = [\"bench\"]\nusers = \"none\"\n\
    [task]\nexpires_after = \"1h\"\nstanding = [\"read\"]\n\
    [parameters]\nprefix = { type = \"string\" }\n\
    [[allow]]\nname = \"echo\"\nuse = [\"old.echo\", \"new.echo\", \"old.large\", \"new.large\"]\n\
    where = { id = { prefix = \"{prefix}\" } }\n";
