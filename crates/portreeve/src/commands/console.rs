//! `portreeve console`, and what is said of it when something is served.

use crate::{cli::Cli, client::Client, commands, failure::Failure, output, place};
use http::Method;
use portreeve_core::names::Name;
use serde_json::{Value, json};
use std::path::Path;

pub(crate) async fn run(cli: &Cli, user: Option<&Name>) -> Result<u8, Failure> {
    let client = Client::of(&place::data(cli)?).await?;
    let answer = link(&client, user).await?;
    if cli.json {
        output::json(&answer);
        return Ok(0);
    }
    output::line(commands::text(&answer, "link")?);
    output::tip(&format!(
        "signs {} in, once, within five minutes; whoever has it is taken for them",
        commands::text(&answer, "user")?
    ));
    Ok(0)
}

/// Says where the console is, with a link for whoever started it, if they are a user of the policy
pub(crate) async fn greet(data: &Path) {
    let Ok(client) = Client::of(data).await else { return };
    match link(&client, None).await {
        Ok(answer) => {
            let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
            output::tip(&format!("console {}", text("console")));
            output::tip(&format!("sign in as {}, once, within five minutes: {}", text("user"), text("link")));
        }
        Err(_) => {
            let status = client.ask(Method::GET, "/v1/status", None).await.unwrap_or_default();
            let console = status.get("console").and_then(Value::as_str).unwrap_or_default();
            output::tip(&format!("console {console}; sign somebody in with `portreeve console --for USER`"));
        }
    }
}

async fn link(client: &Client, user: Option<&Name>) -> Result<Value, Failure> {
    client.ask(Method::POST, "/v1/links", Some(&json!({ "user": user }))).await
}
