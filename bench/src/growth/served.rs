//! The real binary: start-up, memory of idle tasks, and stops with many tasks open.

use super::Figure;
use crate::{
    clock::now_ns,
    served::{Served, admin, ask},
};
use anyhow::Context as _;
use hdrhistogram::Histogram;
use hyper::Method;
use serde_json::{Value, json};
use std::{fs, path::Path};

const POLICY: [(&str, &str); 3] = [
    ("agents/bot.toml", "owner = \"o\"\n"),
    ("connectors/c.toml", "url = \"http://127.0.0.1:1/mcp\"\n[tools.t]\nclass = \"read\"\n"),
    (
        "purposes/p.toml",
        "name = \"p\"\nabout = \"a\"\nowner = \"o\"\n[open]\nagents = [\"bot\"]\nusers = \"none\"\n[task]\n\
         expires_after = \"12h\"\nstanding = [\"read\"]\n[parameters]\nid = { type = \"string\" }\n\
         limit = { type = \"decimal\" }\n[[allow]]\nname = \"a\"\nuse = [\"c.t\"]\nwhere = { id = \"{id}\" }\n",
    ),
];

const STOPS: usize = 500;

pub(super) fn measure(portreeve: &Path, dir: &Path, tasks: u32, records: u32) -> anyhow::Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = tempfile::tempdir_in(dir)?;
    let data = folder.path().join("data");
    for (path, text) in POLICY {
        let path = folder.path().join("data/policy").join(path);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(path, text)?;
    }
    fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let mut figures = Vec::new();

    let (first, ms) = Served::start(portreeve, &data, None)?;
    figures.push(Figure::new("start-up, empty folder", "first start", ms, "ms", Some("< 100")));
    let idle = first.rss_kib()?;
    figures.push(Figure::new("memory, idle", "no task", idle / 1024.0, "MiB", Some("≤ 30")));
    runtime.block_on(open_tasks(&data, tasks))?;
    let full = first.rss_kib()?;
    figures.push(Figure::new(
        "memory of an idle open task",
        format!("{tasks} tasks"),
        (full - idle) / f64::from(tasks),
        "KiB",
        Some("≤ 4"),
    ));
    let stops = runtime.block_on(stop_tasks(&data))?;
    for (name, quantile, bar) in [("p50", 0.5, None), ("p99", 0.99, Some("≤ 5"))] {
        let ms = stops.value_at_quantile(quantile) as f64 / 1000.0;
        figures.push(Figure::new(&format!("stop settled, {name}"), format!("{tasks} tasks open"), ms, "ms", bar));
    }
    drop(first);
    let (again, ms) = Served::start(portreeve, &data, None)?;
    figures.push(Figure::new("start-up after kill -9", format!("{tasks} open tasks"), ms, "ms", None));
    again.end()?;

    let (filling, _) = Served::start(portreeve, &data, None)?;
    runtime.block_on(fill(&data, records))?;
    filling.end()?;
    let (last, ms) = Served::start(portreeve, &data, None)?;
    figures.push(Figure::new("start-up after a clean end", format!("{records} records"), ms, "ms", Some("< 1000")));
    drop(last);
    let (last, ms) = Served::start(portreeve, &data, None)?;
    figures.push(Figure::new("start-up after kill -9", format!("{records} records"), ms, "ms", Some("< 1000")));
    last.end()?;
    figures.extend(reloads(portreeve, dir, &runtime)?);
    Ok(figures)
}

/// Purposes of the policy that is applied again and again
const RELOADED: u32 = 10_000;
const RELOADS: u32 = 5;

/// How long openings take while nothing else happens, and while a large policy is applied
///
/// An opening is judged and made durable as a call is, in the same queue.
fn reloads(portreeve: &Path, dir: &Path, runtime: &tokio::runtime::Runtime) -> anyhow::Result<Vec<Figure>> {
    let folder = tempfile::tempdir_in(dir)?;
    let data = folder.path().join("data");
    let policy = data.join("policy");
    for (path, text) in super::judgement::policy(RELOADED, 10) {
        let path = policy.join(path);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(path, text)?;
    }
    fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let (served, ms) = Served::start(portreeve, &data, None)?;
    let (quiet, busy, apply) = runtime.block_on(async {
        let quiet = openings(&data, std::future::ready(()), 300).await?;
        let applied = async {
            let mut admin = admin(&data).await?;
            let mut longest = 0;
            for round in 0..RELOADS {
                // Another digest each time.
                fs::write(policy.join("agents/bot.toml"), format!("owner = \"o{round}\"\n"))?;
                let begun = now_ns();
                ask(&mut admin, Method::POST, "/v1/policy/apply", json!({})).await?;
                longest = longest.max(now_ns().saturating_sub(begun));
            }
            anyhow::Ok(longest)
        };
        let applied = std::pin::pin!(applied);
        let mut longest = Ok(0);
        let busy = openings(&data, async { longest = applied.await }, 0).await?;
        anyhow::Ok((quiet, busy, longest? as f64 / 1e6))
    })?;
    served.end()?;
    let at = || format!("{RELOADED} purposes");
    let figure = |what: &str, histogram: &Histogram<u64>, quantile| {
        Figure::new(what, at(), histogram.value_at_quantile(quantile) as f64 / 1000.0, "ms", None)
    };
    Ok(vec![
        Figure::new("start-up, first start", at(), ms, "ms", None),
        Figure::new("applying a policy, longest", at(), apply, "ms", None),
        figure("an opening, nothing else, p50", &quiet, 0.5),
        figure("an opening, nothing else, p99", &quiet, 0.99),
        figure("an opening, while it is applied, p50", &busy, 0.5),
        figure("an opening, while it is applied, p99", &busy, 0.99),
        figure("an opening, while it is applied, longest", &busy, 1.0),
    ])
}

/// Microseconds of openings, one after the other, until `done` and at least so many
async fn openings(data: &Path, done: impl Future<Output = ()>, least: u32) -> anyhow::Result<Histogram<u64>> {
    let mut admin = admin(data).await?;
    let mut histogram = Histogram::new(3)?;
    let mut done = std::pin::pin!(done);
    let mut is_done = false;
    let mut count = 0;
    while !is_done || count < least {
        let parameters = json!({ "id": "x", "limit": 5 });
        let opening = ask(&mut admin, Method::POST, "/v1/tasks", json!({ "purpose": "p0", "parameters": parameters }));
        let mut opening = std::pin::pin!(opening);
        let begun = now_ns();
        let opened = loop {
            tokio::select! {
                opened = &mut opening => break opened,
                () = &mut done, if !is_done => is_done = true,
            }
        };
        opened?;
        histogram.record((now_ns().saturating_sub(begun) / 1000).max(1))?;
        count += 1;
    }
    Ok(histogram)
}

/// Opens tasks over several connections at once
async fn open_tasks(data: &Path, tasks: u32) -> anyhow::Result<()> {
    let mut openers = tokio::task::JoinSet::new();
    for opener in 0..OPENERS {
        let mut admin = admin(data).await?;
        openers.spawn(async move {
            for task in (opener..tasks).step_by(OPENERS as usize) {
                let parameters = json!({ "id": format!("item-{task}"), "limit": 50 });
                ask(&mut admin, Method::POST, "/v1/tasks", json!({ "purpose": "p", "parameters": parameters })).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(opened) = openers.join_next().await {
        opened??;
    }
    Ok(())
}

const OPENERS: u32 = 64;

/// Microseconds until each of some stops was settled
async fn stop_tasks(data: &Path) -> anyhow::Result<Histogram<u64>> {
    let mut admin = admin(data).await?;
    let shown = ask(&mut admin, Method::GET, "/v1/tasks", json!({})).await?;
    let tasks = shown.get("tasks").and_then(Value::as_array).context("tasks")?;
    let mut histogram = Histogram::new(3)?;
    for task in tasks.iter().filter_map(|task| task.get("task")).take(STOPS) {
        let stopped = ask(&mut admin, Method::POST, "/v1/stop", json!({ "node": task })).await?;
        histogram.record(stopped.get("settled_us").and_then(Value::as_u64).context("settled")?.max(1))?;
    }
    Ok(histogram)
}

/// Adds records: tasks that are opened and stopped
async fn fill(data: &Path, records: u32) -> anyhow::Result<()> {
    let mut fillers = tokio::task::JoinSet::new();
    for filler in 0..OPENERS {
        let mut admin = admin(data).await?;
        fillers.spawn(async move {
            for task in (filler..records / 2).step_by(OPENERS as usize) {
                let parameters = json!({ "id": format!("item-{task}"), "limit": 50 });
                let body = json!({ "purpose": "p", "parameters": parameters });
                let opened = ask(&mut admin, Method::POST, "/v1/tasks", body).await?;
                let node = opened.get("task").context("a task")?;
                ask(&mut admin, Method::POST, "/v1/stop", json!({ "node": node, "ended": true })).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(filled) = fillers.join_next().await {
        filled??;
    }
    Ok(())
}
