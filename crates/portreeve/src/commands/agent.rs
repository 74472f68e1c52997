//! `portreeve agent`

use crate::{
    cli::{AddAgent, Agent, Cli},
    client::{Client, Hosted},
    commands::{login, policy},
    failure::{Failure, exit},
    output, place,
};
use http::Method;
use portreeve_core::{hash::Hash, names::Name, node::Node, time::Millis};
use portreeve_upstream::identity;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

pub(crate) async fn run(cli: &Cli, agent: &Agent) -> Result<u8, Failure> {
    if let Agent::Add(add) = agent {
        return self::add(cli, &place::data(cli)?, add).await;
    }
    let client = login::client(cli).await?;
    match agent {
        Agent::Add(_) => Ok(0),
        Agent::List => list(&client, cli.json).await,
        Agent::Show { name } => show(&client, name, cli.json).await,
        Agent::Pause { name, why } => pause(&client, name, true, why, cli.json).await,
        Agent::Resume { name, why } => pause(&client, name, false, why, cli.json).await,
        Agent::Retire { name } => {
            let node = Node::Agent(name.clone());
            let code = super::task::stop(&client, &json!({ "node": node }), cli.json).await?;
            output::tip(&format!("for good: take agents/{name}.toml and its name in purposes out, and `policy apply`"));
            Ok(code)
        }
    }
}

async fn list(client: &Client, as_json: bool) -> Result<u8, Failure> {
    let answer = client.ask(Method::GET, "/v1/agents", None).await?;
    if as_json {
        output::json(&answer);
        return Ok(0);
    }
    let agents = answer.get("agents").and_then(Value::as_array).into_iter().flatten();
    let rows: Vec<Vec<String>> = agents
        .map(|agent| {
            vec![
                text(agent, "agent").to_owned(),
                text(agent, "state").to_owned(),
                output::plain(text(agent, "owner")),
                kinds(agent),
                names(agent, "purposes"),
                agent.get("tasks").and_then(Value::as_u64).unwrap_or_default().to_string(),
                seen(agent),
            ]
        })
        .collect();
    output::table(&["AGENT", "STATE", "OWNER", "PROVES ITSELF BY", "PURPOSES", "TASKS", "SEEN"], &rows);
    Ok(0)
}

async fn show(client: &Client, name: &Name, as_json: bool) -> Result<u8, Failure> {
    let agent = client.ask(Method::GET, &format!("/v1/agents/{name}"), None).await?;
    if as_json {
        output::json(&agent);
        return Ok(0);
    }
    let line = |name: &str, value: String| output::line(&format!("{name:<10} {value}"));
    line("agent", name.to_string());
    line("state", text(&agent, "state").to_owned());
    line("owner", output::plain(text(&agent, "owner")));
    let review = agent.get("review_by").and_then(Value::as_i64);
    line("review by", review.map_or_else(|| "-".to_owned(), |at| output::time(Millis(at))));
    line("purposes", names(&agent, "purposes"));
    line("seen", seen(&agent));
    let proofs: Vec<&Value> = agent.get("proofs").and_then(Value::as_array).into_iter().flatten().collect();
    if proofs.is_empty() {
        line("proof", "none: whoever owns the data folder opens its tasks".to_owned());
    }
    for proof in proofs {
        let replicas = proof.get("replicas").and_then(Value::as_bool).unwrap_or_default();
        let note = if replicas { " (several holders)" } else { "" };
        line("proof", format!("{}: {}{note}", text(proof, "kind"), output::plain(text(proof, "shows"))));
        if let Some(attest) = proof.get("attest").filter(|attest| !attest.is_null()) {
            let said = ["uid", "path", "sha256"].into_iter().filter_map(|name| {
                let value = attest.get(name).filter(|value| !value.is_null())?;
                Some(format!("{name} {}", value.as_str().map_or_else(|| value.to_string(), output::plain)))
            });
            line("issued to", said.collect::<Vec<_>>().join(", "));
        }
    }
    Ok(0)
}

async fn pause(client: &Client, name: &Name, halts: bool, why: &str, as_json: bool) -> Result<u8, Failure> {
    let body = json!({ "node": Node::Agent(name.clone()), "halts": halts, "why": why });
    let answer = client.ask(Method::POST, "/v1/pause", Some(&body)).await?;
    if as_json {
        output::json(&answer);
    } else {
        output::line(&format!("{name} {}", if halts { "is halted" } else { "goes on" }));
    }
    Ok(0)
}

async fn add(cli: &Cli, data: &Path, add: &AddAgent) -> Result<u8, Failure> {
    let policy = place::settings(data)?.policy;
    let file = policy.join("agents").join(format!("{}.toml", add.name));
    if file.exists() {
        let what = format!("There is an agent {} already.", add.name);
        return Err(Failure::new(exit::CONFLICT, "agent_known", what).fix(format!("Change {}.", file.display())));
    }
    let written = toml_of(add)?;
    if !add.yes {
        output::tip(&written);
        if !output::confirm(&format!("Write {}, and put the policy into force?", file.display())) {
            return Err(Failure::new(exit::FAILURE, "not_confirmed", "Nothing was written.").fix("Say --yes."));
        }
    }
    let failed = |error: std::io::Error| {
        Failure::new(exit::FAILURE, "failed", format!("{} cannot be written: {error}", file.display()))
    };
    fs::create_dir_all(file.parent().unwrap_or(&policy)).map_err(failed)?;
    fs::write(&file, &written).map_err(failed)?;
    let hosted = Hosted::join_or_serve(data).await?;
    let applied = hosted.client.ask(Method::POST, "/v1/policy/apply", Some(&json!({}))).await;
    hosted.end().await;
    let applied = match applied {
        Ok(applied) => applied,
        Err(failure) => {
            // What does not hold is not left behind.
            let _ = fs::remove_file(&file);
            return Err(failure);
        }
    };
    if cli.json {
        output::json(&json!({ "agent": add.name, "file": file, "proposed": applied.get("proposed") }));
    } else {
        policy::wanted(&applied);
        output::line(&format!("wrote {}", file.display()));
        output::tip(&format!("let it work: `agents = [\"{}\"]` in `[open]` of a purpose", add.name));
    }
    Ok(0)
}

/// The agent's file
fn toml_of(add: &AddAgent) -> Result<String, Failure> {
    let text = |value: &str| toml::Value::from(value).to_string();
    let mut file = format!("owner = {}\n", text(&add.owner));
    if let Some(about) = &add.about {
        file.push_str(&format!("about = {}\n", text(about)));
    }
    if let Some(date) = &add.review_by {
        file.push_str(&format!("review_by = {date}\n"));
    }
    let replicas = if add.replicas { "replicas = true\n" } else { "" };
    for id in &add.spiffe {
        file.push_str(&format!("\n[[proof]]\nspiffe = {}\n{replicas}", text(id)));
    }
    if let Some(issuer) = &add.issuer {
        let claims: Result<Vec<String>, Failure> = add
            .claim
            .iter()
            .map(|pair| {
                let (path, value) = pair
                    .split_once('=')
                    .ok_or_else(|| Failure::new(2, "usage", format!("{pair:?} is not of the form CLAIM=VALUE.")))?;
                Ok(format!("{} = {}", text(path), text(value)))
            })
            .collect();
        let claims = claims?.join(", ");
        file.push_str(&format!("\n[[proof]]\nissuer = {}\nclaims = {{ {claims} }}\n{replicas}", text(issuer.as_str())));
    }
    if let Some(path) = &add.key {
        file.push_str(&format!("\n[[proof]]\nkey = {}\n{replicas}", key_of(path)?));
    }
    if let Some(path) = &add.program {
        file.push_str(&format!("\n[[proof]]\nprogram = \"sha256:{}\"\n", program_of(path)?));
    }
    Ok(file)
}

/// The digest of a program, as it is seen when that is started
fn program_of(path: &Path) -> Result<Hash, Failure> {
    let bad = |what: String| Failure::new(2, "usage", format!("{}: {what}.", path.display()));
    let folder = std::env::current_dir()?;
    // A file, not a name to be looked for.
    let file = folder.join(path).into_os_string().into_string().map_err(|_| bad("its name is not text".to_owned()))?;
    let found = identity::program(&[file], std::env::var("PATH").ok().as_deref(), &folder);
    Ok(found.map_err(|error| bad(error.to_string()))?.sha256)
}

/// The public members of a JWK in a file, as an inline table
fn key_of(path: &PathBuf) -> Result<String, Failure> {
    let bad = |what: String| Failure::new(2, "usage", format!("{}: {what}.", path.display()));
    let bytes = fs::read(path).map_err(|error| bad(error.to_string()))?;
    let key: Value = serde_json::from_slice(&bytes).map_err(|_| bad("this is no JWK".to_owned()))?;
    let member = |name: &str| {
        let value = key.get(name).and_then(Value::as_str)?;
        Some(format!("{name} = {}", toml::Value::from(value)))
    };
    if key.get("d").is_some() {
        return Err(bad("this is the private key".to_owned()).fix("Give the public one: without d."));
    }
    let members: Vec<String> = ["kty", "crv", "x", "y", "n", "e"].into_iter().filter_map(member).collect();
    Ok(format!("{{ {} }}", members.join(", ")))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn names(agent: &Value, list: &str) -> String {
    let names = agent.get(list).and_then(Value::as_array).into_iter().flatten();
    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

fn kinds(agent: &Value) -> String {
    let proofs = agent.get("proofs").and_then(Value::as_array).into_iter().flatten();
    let kinds: Vec<&str> = proofs.map(|proof| text(proof, "kind")).collect();
    if kinds.is_empty() { "exec, task open".to_owned() } else { kinds.join(", ") }
}

fn seen(agent: &Value) -> String {
    let Some(seen) = agent.get("seen").filter(|seen| !seen.is_null()) else { return "never".to_owned() };
    let at = seen.get("at").and_then(Value::as_i64).map_or_else(String::new, |at| output::time(Millis(at)));
    let how = seen.get("how").and_then(Value::as_str).unwrap_or("opened for it");
    let from = seen.get("from").and_then(Value::as_str).map(|from| format!(" from {}", output::plain(from)));
    format!("{at} {how}{}", from.unwrap_or_default())
}
