//! A Portreeve in front of one upstream, for `cargo xtask bench`: prints where it is, and serves until its
//! standard input ends.

use crate::{
    client::{self, Client},
    commands::{self, init},
    failure::Failure,
    output, place,
};
use http::Method;
use serde_json::{Value, json};
use std::{fs, path::Path};
use tokio::io::AsyncReadExt as _;

const CONNECTOR: &str = "[tools.echo]\nclass = \"read\"\n[tools.echo.arguments]\ntext = \"content\"\n";
const PURPOSE: &str = "name = \"bench\"\nabout = \"Echo\"\nowner = \"bench@example.com\"\n\
    [open]\nagents = [\"bench\"]\nusers = \"none\"\n\
    [task]\nexpires_after = \"1h\"\nstanding = [\"read\"]\n\
    [parameters]\nprefix = { type = \"string\" }\n\
    [[allow]]\nname = \"echo\"\nuse = [\"echo.echo\"]\nwhere = { id = { prefix = \"{prefix}\" } }\n";

pub(crate) async fn run(upstream: &str) -> Result<u8, Failure> {
    let folder = tempfile::Builder::new().prefix("portreeve-bench-").tempdir_in(std::env::current_dir()?)?;
    let data = init::make(folder.path(), "nobody")?;
    let policy = folder.path().join("policy");
    let write = |path: &str, text: String| -> Result<(), Failure> {
        let path = policy.join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        Ok(fs::write(path, text)?)
    };
    write("agents/bench.toml", "owner = \"bench@example.com\"\n".to_owned())?;
    write("connectors/echo.toml", format!("url = {}\n{CONNECTOR}", toml::Value::from(upstream)))?;
    write("purposes/bench.toml", PURPOSE.to_owned())?;
    let serving = client::start(place::settings(&data)?).await?;
    let client = Client::of(&data).await?;
    client.accept_all("echo").await?;
    let ask = json!({ "purpose": "bench", "agent": "bench", "parameters": { "prefix": "item-" } });
    let opened = client.ask(Method::POST, "/v1/tasks", Some(&ask)).await?;
    let task = commands::text(&opened, "task")?.to_owned();
    let renewed = folder.path().join("headers.json");
    let headers = headers(&opened)?;
    fs::write(&renewed, json!({ "headers": headers }).to_string())?;
    let url = opened.pointer("/endpoints/echo").and_then(Value::as_str).unwrap_or_default();
    output::line(&json!({ "url": url, "pid": std::process::id(), "headers": headers, "renew": renewed }).to_string());
    let ended = async {
        let mut rest = Vec::new();
        tokio::io::stdin().read_to_end(&mut rest).await
    };
    tokio::pin!(ended);
    let mut renewal = tokio::time::interval(std::time::Duration::from_secs(60));
    loop {
        tokio::select! {
            _ = &mut ended => break,
            _ = renewal.tick() => {
                let token = client.ask(Method::POST, &format!("/v1/tasks/{task}/token"), None).await?;
                let fresh = folder.path().join("headers.new");
                fs::write(&fresh, json!({ "headers": self::headers(&token)? }).to_string())?;
                fs::rename(fresh, &renewed)?;
            }
        }
    }
    serving.end().await;
    Ok(0)
}

fn headers(answer: &Value) -> Result<Value, Failure> {
    Ok(json!({ "authorization": format!("Bearer {}", commands::text(answer, "token")?) }))
}
