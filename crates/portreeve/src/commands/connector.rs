//! `portreeve connector`

use crate::{
    cli::{Cli, Connector},
    client::{Client, Hosted},
    failure::{Failure, exit},
    output, place,
};
use http::Method;
use portreeve_core::names::Name;
use portreeve_rules::Definition;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

pub(crate) async fn run(cli: &Cli, connector: &Connector) -> Result<u8, Failure> {
    let data = place::data(cli)?;
    if let Connector::List = connector {
        return list(&place::settings(&data)?.policy, cli.json);
    }
    let hosted = Hosted::join_or_serve(&data).await?;
    let client = hosted.client.clone();
    let outcome = match connector {
        Connector::Add { name, url, yes, command } => {
            let policy = place::settings(&data)?.policy;
            add(&client, &policy, name, url.as_deref(), command, *yes, cli.json).await
        }
        Connector::Show { name } => show(&client, name, cli.json).await,
        Connector::Accept { name, yes } => {
            let policy = place::settings(&data)?.policy;
            accept_again(&client, &policy, name, *yes, cli.json).await
        }
        Connector::List => Ok(0),
    };
    hosted.end().await;
    outcome
}

fn list(policy: &Path, as_json: bool) -> Result<u8, Failure> {
    let loaded = portreeve_rules::load(policy).map_err(|findings| {
        Failure::new(exit::FAILURE, "policy_broken", "The policy has errors.")
            .more(findings.iter().map(ToString::to_string))
            .fix("Mend them, and see `portreeve policy check`.")
    })?;
    let connectors = &loaded.bundle.connectors;
    if as_json {
        let shown: Vec<Value> = connectors
            .iter()
            .map(|(name, connector)| {
                let tools: Vec<&str> = connector.tools.keys().map(|tool| tool.as_str()).collect();
                json!({ "name": name, "reach": connector.reach, "timeout_ms": connector.timeout_ms, "tools": tools })
            })
            .collect();
        output::json(&json!({ "connectors": shown }));
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = connectors
        .iter()
        .map(|(name, connector)| {
            vec![name.to_string(), connector.tools.len().to_string(), output::plain(&connector.reach.to_string())]
        })
        .collect();
    output::table(&["CONNECTOR", "TOOLS", "REACHED BY"], &rows);
    Ok(0)
}

/// A tool as it is offered
struct Offered {
    digest: String,
    raw: String,
    definition: Option<Definition>,
}

fn offered(answer: &Value, list: &str) -> BTreeMap<String, Offered> {
    let tools = answer.get(list).and_then(Value::as_array).into_iter().flatten();
    tools
        .filter_map(|tool| {
            let text = |name: &str| tool.get(name).and_then(Value::as_str).map(str::to_owned);
            let raw = text("definition")?;
            let definition = Definition::read(raw.as_bytes()).ok();
            Some((text("name")?, Offered { digest: text("digest")?, raw, definition }))
        })
        .collect()
}

async fn add(
    client: &Client,
    policy: &Path,
    name: &Name,
    url: Option<&str>,
    command: &[String],
    yes: bool,
    as_json: bool,
) -> Result<u8, Failure> {
    let (reach, toml) = match (url, command) {
        (Some(url), []) => (json!({ "url": url }), format!("url = {}\n", toml::Value::from(url))),
        (None, [_, ..]) => {
            let list: Vec<toml::Value> = command.iter().map(|part| toml::Value::from(part.as_str())).collect();
            (json!({ "command": command }), format!("command = {}\n", toml::Value::Array(list)))
        }
        _ => {
            return Err(Failure::new(2, "usage", "A connector has a command or a URL.")
                .fix("portreeve connector add NAME -- COMMAND…   or   portreeve connector add NAME URL"));
        }
    };
    let file = policy.join("connectors").join(format!("{name}.toml"));
    let purpose_name = format!("read-{name}");
    let purpose_file = policy.join("purposes").join(format!("{purpose_name}.toml"));
    if file.exists() {
        return Err(Failure::new(exit::CONFLICT, "exists", format!("{} is there already.", file.display()))
            .fix(format!("See what changed with `portreeve connector show {name}`.")));
    }
    // To put the new files into force is to put the whole directory into force, which somebody went back from.
    let status = client.ask(Method::GET, "/v1/status", None).await?;
    let is = |name: &str| status.pointer(&format!("/directory/{name}")) == Some(&json!(true));
    if is("differs") && is("went_back") {
        let what = "The policy in force is not the one of the directory: somebody went back to an earlier version.";
        return Err(Failure::new(exit::CONFLICT, "rolled_back", what)
            .fix("Mend the directory and `portreeve policy apply` first."));
    }
    let answer = client.ask(Method::POST, "/v1/discover", Some(&reach)).await?;
    let tools = offered(&answer, "tools");
    let definitions: Vec<Definition> = tools.values().filter_map(|tool| tool.definition.clone()).collect();
    let (profile, purpose) = portreeve_rules::starter(name, &definitions);
    if !as_json {
        present(name, &tools, &profile);
    }
    let question = format!(
        "Accept these {} definitions, and write {} and its starter purpose?",
        definitions.len(),
        file.display()
    );
    if !yes && !output::confirm(&question) {
        return Err(Failure::new(exit::FAILURE, "not_accepted", "Nothing was accepted and nothing was written.")
            .fix("Answer y, or give --yes."));
    }
    let mut written = vec![(file, format!("{toml}{profile}"))];
    if let Some(purpose) = purpose.filter(|_| !purpose_file.exists()) {
        written.push((purpose_file, purpose));
    }
    for (path, text) in &written {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, text)?;
    }
    let applied = apply_and_accept(client, name, &tools).await;
    if applied.is_err() {
        // Nothing of a connector that is not in force is left behind.
        for (path, _) in &written {
            let _ = fs::remove_file(path);
        }
        let _ = client.ask(Method::POST, "/v1/policy/apply", None).await;
    }
    let accepted = applied?;
    let files: Vec<String> = written.iter().map(|(path, _)| path.display().to_string()).collect();
    if as_json {
        output::json(&json!({ "connector": name, "accepted": accepted, "files": files }));
        return Ok(0);
    }
    output::line(&format!("accepted {accepted} definitions of {name}"));
    for file in &files {
        output::line(&format!("wrote {file}"));
    }
    if files.len() > 1 {
        output::tip(&format!("next: portreeve exec --purpose {purpose_name} -- AGENT…   (narrow the purpose first)"));
    } else {
        output::tip("next: write a purpose that uses its tools; see docs/policy.md");
    }
    Ok(0)
}

fn present(name: &Name, tools: &BTreeMap<String, Offered>, profile: &str) {
    let rows: Vec<Vec<String>> = tools
        .iter()
        .map(|(tool, offered)| {
            let described: Value = serde_json::from_str(&offered.raw).unwrap_or(Value::Null);
            let about = described.get("description").and_then(Value::as_str).unwrap_or_default();
            let about: String = output::plain(about).chars().take(60).collect();
            let class = proposed_class(profile, tool).unwrap_or_else(|| "not usable".to_owned());
            vec![output::plain(tool), class, offered.digest.chars().take(12).collect(), about]
        })
        .collect();
    output::tip(&format!("{name} offers {} tools:", tools.len()));
    output::table(&["TOOL", "CLASS", "DIGEST", "SAYS OF ITSELF"], &rows);
    output::tip(
        "The classes follow the server's own hints. By accepting you confirm them; edit the file to change them.",
    );
}

fn proposed_class(profile: &str, tool: &str) -> Option<String> {
    let profile: toml::Table = toml::from_str(profile).ok()?;
    let class = profile.get("tools")?.get(tool)?.get("class")?.as_str()?;
    Some(class.to_owned())
}

async fn apply_and_accept(client: &Client, name: &Name, tools: &BTreeMap<String, Offered>) -> Result<u64, Failure> {
    client.ask(Method::POST, "/v1/policy/apply", None).await?;
    accept(client, name, tools).await
}

async fn accept(client: &Client, name: &Name, tools: &BTreeMap<String, Offered>) -> Result<u64, Failure> {
    let usable = tools.iter().filter(|(_, tool)| tool.definition.is_some());
    let digests: BTreeMap<&String, &String> = usable.map(|(tool, offered)| (tool, &offered.digest)).collect();
    let path = format!("/v1/connectors/{name}/accept");
    let answer = client.ask(Method::POST, &path, Some(&json!({ "tools": digests }))).await?;
    Ok(answer.get("accepted").and_then(Value::as_u64).unwrap_or_default())
}

/// What differs between what was accepted and what is offered: word, tool
fn differences(answer: &Value) -> Vec<(&'static str, String)> {
    let now = offered(answer, "offered");
    let mut differences = Vec::new();
    let mut known = std::collections::BTreeSet::new();
    for pin in answer.get("accepted").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| pin.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let tool = text("name");
        match now.get(&tool) {
            None => differences.push(("gone", tool.clone())),
            Some(offered) if offered.digest != text("accepted") => differences.push(("changed", tool.clone())),
            Some(_) => {}
        }
        known.insert(tool);
    }
    let unusable = |tool: &str| now.get(tool).is_some_and(|offered| offered.definition.is_none());
    differences
        .extend(now.keys().filter(|tool| !known.contains(*tool) && !unusable(tool)).map(|tool| ("new", tool.clone())));
    differences
}

async fn show(client: &Client, name: &Name, as_json: bool) -> Result<u8, Failure> {
    let answer = client.ask(Method::GET, &format!("/v1/connectors/{name}"), None).await?;
    if as_json {
        output::json(&answer);
        return Ok(0);
    }
    show_differences(name, &answer);
    Ok(0)
}

fn show_differences(name: &Name, answer: &Value) {
    let accepted = answer.get("accepted").and_then(Value::as_array).map_or(0, Vec::len);
    output::line(&format!("{name}: {accepted} definitions accepted"));
    if let Some(why) = answer.get("unreachable").and_then(Value::as_str) {
        output::line(&format!("cannot be asked what it offers now: {}", output::plain(why)));
        return;
    }
    let now = offered(answer, "offered");
    for (word, tool) in differences(answer) {
        output::line(&format!("{word:<8} {}", output::plain(&tool)));
        if word != "changed" {
            continue;
        }
        let pins = answer.get("accepted").and_then(Value::as_array).into_iter().flatten();
        let before = pins.filter(|pin| pin.get("name").and_then(Value::as_str) == Some(&tool));
        for pin in before {
            let definition = pin.get("definition").and_then(Value::as_str).unwrap_or_default();
            output::line(&format!("  - {}", output::plain(definition)));
        }
        if let Some(offered) = now.get(&tool) {
            output::line(&format!("  + {}", output::plain(&offered.raw)));
        }
    }
    if differences(answer).is_empty() {
        output::line("what it offers now is what was accepted");
    }
}

async fn accept_again(client: &Client, policy: &Path, name: &Name, yes: bool, as_json: bool) -> Result<u8, Failure> {
    let answer = client.ask(Method::GET, &format!("/v1/connectors/{name}"), None).await?;
    if let Some(why) = answer.get("unreachable").and_then(Value::as_str) {
        return Err(Failure::new(exit::UNREACHABLE, "connector_unreachable", output::plain(why))
            .fix("Start the server, and try again."));
    }
    if !as_json {
        show_differences(name, &answer);
    }
    if !yes && !output::confirm("Accept what it offers now?") {
        return Err(
            Failure::new(exit::FAILURE, "not_accepted", "Nothing was accepted.").fix("Answer y, or give --yes.")
        );
    }
    let tools = offered(&answer, "offered");
    let accepted = accept(client, name, &tools).await?;
    let file = pin(policy, name, &tools)?;
    if as_json {
        output::json(&json!({ "connector": name, "accepted": accepted, "file": file }));
        return Ok(0);
    }
    output::line(&format!("accepted {accepted} definitions of {name}"));
    if let Some(file) = file {
        output::line(&format!("wrote {}", file.display()));
        output::tip("next: portreeve policy check   (holds profiles, purposes and rules against them)");
    }
    Ok(0)
}

/// Writes what was accepted into the policy, where profiles are held against it
///
/// Only for a connector that has a profile, or has such a file already: tools that somebody has barely classified would
/// not pass.
fn pin(policy: &Path, name: &Name, tools: &BTreeMap<String, Offered>) -> Result<Option<PathBuf>, Failure> {
    let file = policy.join("pins").join(format!("{name}.json"));
    let connector = fs::read_to_string(policy.join("connectors").join(format!("{name}.toml"))).unwrap_or_default();
    let profiled = toml::from_str::<toml::Table>(&connector).is_ok_and(|table| table.contains_key("profile"));
    if !profiled && !file.exists() {
        return Ok(None);
    }
    let usable = tools.values().filter(|tool| tool.definition.is_some());
    let text = portreeve_rules::pinned(usable.map(|tool| tool.raw.as_str())).map_err(|refused| {
        Failure::new(exit::FAILURE, "definition_unusable", refused.to_string()).fix("Ask the server's author.")
    })?;
    fs::create_dir_all(policy.join("pins"))?;
    fs::write(&file, text)?;
    Ok(Some(file))
}
