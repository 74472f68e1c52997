//! `portreeve connector`

mod profiles;
mod shown;

use crate::{
    cli::{Cli, Connector},
    client::{Client, Hosted},
    commands::policy,
    failure::{Failure, exit},
    output, place,
};
use http::Method;
use portreeve_core::{
    hash::Hash,
    names::{Name, ToolName},
    operation::{INSTRUCTIONS, Operation},
};
use portreeve_identity::svid::SpiffeId;
use portreeve_rules::Definition;
use serde_json::{Value, json};
use shown::Shown;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

pub(crate) async fn run(cli: &Cli, connector: &Connector) -> Result<u8, Failure> {
    if let Connector::Profiles = connector {
        profiles::list(cli.json);
        return Ok(0);
    }
    let data = place::data(cli)?;
    if let Connector::List = connector {
        return list(&place::settings(&data)?.policy, cli.json);
    }
    let hosted = Hosted::join_or_serve(&data).await?;
    let client = hosted.client.clone();
    let outcome = match connector {
        Connector::Add { name, url, spiffe, svid, profile, yes, command } => {
            let policy = place::settings(&data)?.policy;
            let shows = (spiffe.as_ref(), *svid);
            let new = New { name, url: url.as_deref(), shows, command, profile: profile.as_ref() };
            add(&client, &policy, &new, *yes, cli.json).await
        }
        Connector::Show { name } => show(&client, &place::settings(&data)?.policy, name, cli.json).await,
        Connector::Accept { name, digest, yes } => {
            let policy = place::settings(&data)?.policy;
            let agreed = Agreed { digest: *digest, yes: *yes };
            accept_again(&client, &policy, name, agreed, cli.json).await
        }
        Connector::List | Connector::Profiles => Ok(0),
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
            let tools = connector.tools.keys().filter(|name| name.is_tool()).count();
            vec![name.to_string(), tools.to_string(), output::plain(&connector.reach.to_string())]
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

/// A connector to be
struct New<'n> {
    name: &'n Name,
    url: Option<&'n str>,
    /// Who has to be there, and whether we show who we are
    shows: (Option<&'n SpiffeId>, bool),
    command: &'n [String],
    profile: Option<&'n Name>,
}

impl New<'_> {
    /// How it is reached, as a request and as the first line of its file
    fn reach(&self) -> Result<(Value, String), Failure> {
        match (self.url, self.command) {
            (Some(url), []) => {
                let (id, svid) = self.shows;
                let ask = json!({ "url": url, "spiffe": id.map(SpiffeId::as_str), "svid": svid });
                let mut text = format!("url = {}\n", toml::Value::from(url));
                if let Some(id) = id {
                    text += &format!("spiffe = \"{id}\"\n");
                }
                if svid {
                    text += "svid = true\n";
                }
                Ok((ask, text))
            }
            (None, command @ [_, ..]) => {
                let list: Vec<toml::Value> = command.iter().map(|part| toml::Value::from(part.as_str())).collect();
                Ok((json!({ "command": command }), format!("command = {}\n", toml::Value::Array(list))))
            }
            _ => Err(Failure::new(2, "usage", "A connector has a command or a URL.")
                .fix("portreeve connector add NAME -- COMMAND…   or   portreeve connector add NAME URL")),
        }
    }

    /// What is written of its tools: by a profile, or by what the server says of itself
    fn plan(&self, policy: &Path, tools: &BTreeMap<String, Offered>) -> Result<Plan, Failure> {
        let definitions: BTreeMap<String, Definition> =
            tools.iter().filter_map(|(tool, offered)| Some((tool.clone(), offered.definition.clone()?))).collect();
        let Some(profile) = self.profile else {
            let list: Vec<Definition> = definitions.into_values().collect();
            let (text, purpose) = portreeve_rules::starter(self.name, &list);
            let classes = list.iter().filter_map(|definition| {
                let tool = definition.name.as_str();
                Some((tool.to_owned(), proposed_class(&text, tool)?))
            });
            return Ok(Plan { classes: classes.collect(), copied: None, text, purpose, notes: Vec::new() });
        };
        let file = policy.join("profiles").join(format!("{profile}.toml"));
        // A copy that is there already may have been changed, and is what the policy says.
        let (text, copied) = match fs::read_to_string(&file) {
            Ok(text) => (text, None),
            Err(_) => match profiles::text(profile) {
                Some(text) => (text.to_owned(), Some((file, text.to_owned()))),
                None => {
                    let what = format!("No profile {profile} comes with Portreeve or is in the policy.");
                    return Err(Failure::new(exit::NOT_FOUND, "profile_unknown", what)
                        .fix(format!("Those that come with it: {}.", profiles::names())));
                }
            },
        };
        let raw: Vec<&str> =
            tools.values().filter(|tool| tool.definition.is_some()).map(|tool| tool.raw.as_str()).collect();
        let adopted = portreeve_rules::adopt(self.name, (profile, &text), &definitions, &raw).map_err(|findings| {
            Failure::new(exit::FAILURE, "profile_unfit", format!("The profile {profile} does not fit this server."))
                .more(findings.iter().filter(|finding| finding.is_error()).map(ToString::to_string))
                .fix("Take the version of the server that `portreeve connector profiles` names, or add it without a profile.")
        })?;
        let classes = adopted.classes.iter().map(|(tool, class)| (tool.to_string(), class.to_string())).collect();
        Ok(Plan { text: adopted.text, purpose: adopted.purpose, classes, notes: adopted.notes, copied })
    }
}

/// What is written for a new connector
struct Plan {
    /// The rest of its file
    text: String,
    purpose: Option<String>,
    /// The class of each tool that can be used
    classes: BTreeMap<String, String>,
    /// Where a profile does not know the server
    notes: Vec<String>,
    /// The profile's file, if it is not there yet
    copied: Option<(PathBuf, String)>,
}

async fn add(client: &Client, policy: &Path, new: &New<'_>, yes: bool, as_json: bool) -> Result<u8, Failure> {
    let name = new.name;
    let (reach, toml) = new.reach()?;
    let file = policy.join("connectors").join(format!("{name}.toml"));
    let purpose_name = format!("read-{name}");
    let purpose_file = policy.join("purposes").join(format!("{purpose_name}.toml"));
    if file.exists() {
        return Err(Failure::new(exit::CONFLICT, "exists", format!("{} is there already.", file.display()))
            .fix(format!("See what changed with `portreeve connector show {name}`.")));
    }
    // To put the new files into force is to put the whole directory into force, which somebody went back from.
    let directory = Directory::of(client).await?;
    if directory.differs && directory.went_back {
        let what = "The policy in force is not the one of the directory: somebody went back to an earlier version.";
        return Err(Failure::new(exit::CONFLICT, "rolled_back", what)
            .fix("Mend the directory and `portreeve policy apply` first."));
    }
    let answer = client.ask(Method::POST, "/v1/discover", Some(&reach)).await?;
    let tools = offered(&answer, "tools");
    let plan = new.plan(policy, &tools)?;
    if !as_json {
        present(new, &tools, &plan);
        Shown::new(&answer, name, policy).warn();
    }
    let question = format!(
        "Accept these {} definitions, and write {} and its starter purpose?",
        plan.classes.len(),
        file.display()
    );
    if !yes && !output::confirm(&question) {
        return Err(Failure::new(exit::FAILURE, "not_accepted", "Nothing was accepted and nothing was written.")
            .fix("Answer y, or give --yes."));
    }
    let mut written = vec![(file, format!("{toml}{}", plan.text)), (pins_file(policy, name), pins_of(&tools)?)];
    written.extend(plan.copied);
    let has_purpose = plan.purpose.is_some() && !purpose_file.exists();
    if let Some(purpose) = plan.purpose.filter(|_| has_purpose) {
        written.push((purpose_file, purpose));
    }
    for (path, text) in &written {
        write(path, text)?;
    }
    let applied = apply_and_accept(client, name, &digest_of(&answer)?).await;
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
        output::json(&json!({ "connector": name, "accepted": accepted, "files": files, "notes": plan.notes }));
        return Ok(0);
    }
    output::line(&format!("accepted {accepted} definitions of {name}"));
    for file in &files {
        output::line(&format!("wrote {file}"));
    }
    if has_purpose {
        output::tip(&format!("next: portreeve exec --purpose {purpose_name} -- AGENT…   (narrow the purpose first)"));
    } else {
        output::tip("next: write a purpose that uses its tools; see docs/policy.md");
    }
    Ok(0)
}

/// How the directory stands to the policy in force
struct Directory {
    differs: bool,
    went_back: bool,
}

impl Directory {
    async fn of(client: &Client) -> Result<Self, Failure> {
        let status = client.ask(Method::GET, "/v1/status", None).await?;
        let is = |name: &str| status.pointer(&format!("/directory/{name}")) == Some(&json!(true));
        Ok(Self { differs: is("differs"), went_back: is("went_back") })
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)?;
    Ok(())
}

fn pins_file(policy: &Path, name: &Name) -> PathBuf {
    policy.join("pins").join(format!("{name}.json"))
}

/// The definitions that can be used, as the policy keeps them
fn pins_of(tools: &BTreeMap<String, Offered>) -> Result<String, Failure> {
    let usable = tools.values().filter(|tool| tool.definition.is_some()).map(|tool| tool.raw.as_str());
    portreeve_rules::pinned(usable)
        .map_err(|refused| Failure::new(exit::FAILURE, "definition_unusable", crate::failure::chain(&refused)))
}

fn present(new: &New<'_>, tools: &BTreeMap<String, Offered>, plan: &Plan) {
    let rows: Vec<Vec<String>> = tools
        .iter()
        .map(|(tool, offered)| {
            let described: Value = serde_json::from_str(&offered.raw).unwrap_or(Value::Null);
            let about = described.get("description").and_then(Value::as_str).unwrap_or_default();
            let about: String = output::plain(about).chars().take(60).collect();
            let made = match tool.as_str() {
                INSTRUCTIONS => "instructions",
                name if Operation::read(name).is_some() => "prompts",
                _ => "not usable",
            };
            let class = plan.classes.get(tool).cloned().unwrap_or_else(|| made.to_owned());
            vec![output::plain(tool), class, offered.digest.chars().take(12).collect(), about]
        })
        .collect();
    let offered = tools.keys().filter(|tool| tool.parse::<ToolName>().is_ok_and(|tool| tool.is_tool())).count();
    output::tip(&format!("{} offers {offered} tools:", new.name));
    output::table(&["TOOL", "CLASS", "DIGEST", "SAYS OF ITSELF"], &rows);
    for note in &plan.notes {
        output::tip(&format!("note: {}", output::plain(note)));
    }
    output::tip(match new.profile {
        Some(_) => "The classes are those of the profile, or stricter where the server says so.",
        None => {
            "The classes follow the server's own hints. By accepting you confirm them; edit the file to change them."
        }
    });
}

fn proposed_class(profile: &str, tool: &str) -> Option<String> {
    let profile: toml::Table = toml::from_str(profile).ok()?;
    let class = profile.get("tools")?.get(tool)?.get("class")?.as_str()?;
    Some(class.to_owned())
}

async fn apply_and_accept(client: &Client, name: &Name, digest: &Hash) -> Result<u64, Failure> {
    policy::wanted(&client.ask(Method::POST, "/v1/policy/apply", None).await?);
    accept(client, name, digest).await
}

/// The digest of the whole offer in an answer
fn digest_of(answer: &Value) -> Result<Hash, Failure> {
    let digest = answer.get("digest").and_then(Value::as_str).and_then(|digest| digest.parse().ok());
    digest.ok_or_else(|| Failure::new(exit::FAILURE, "malformed", "The answer has no digest."))
}

/// Accepts exactly the offer of this digest
async fn accept(client: &Client, name: &Name, digest: &Hash) -> Result<u64, Failure> {
    let path = format!("/v1/connectors/{name}/accept");
    let answer = client.ask(Method::POST, &path, Some(&json!({ "digest": digest }))).await?;
    Ok(answer.get("accepted").and_then(Value::as_u64).unwrap_or_default())
}

async fn show(client: &Client, policy: &Path, name: &Name, as_json: bool) -> Result<u8, Failure> {
    let mut answer = client.ask(Method::GET, &format!("/v1/connectors/{name}"), None).await?;
    let shown = Shown::of(&answer, name, policy);
    if as_json {
        if let (Some(members), Value::Object(more)) = (answer.as_object_mut(), shown.json()) {
            members.extend(more);
        }
        output::json(&answer);
        return Ok(0);
    }
    shown.print(name);
    Ok(0)
}

/// How somebody agrees beforehand
struct Agreed {
    /// To the offer of this digest, which was shown
    digest: Option<Hash>,
    /// To whatever is offered now
    yes: bool,
}

async fn accept_again(
    client: &Client,
    policy: &Path,
    name: &Name,
    agreed: Agreed,
    as_json: bool,
) -> Result<u8, Failure> {
    let answer = client.ask(Method::GET, &format!("/v1/connectors/{name}"), None).await?;
    if let Some(why) = answer.get("unreachable").and_then(Value::as_str) {
        return Err(Failure::new(exit::UNREACHABLE, "connector_unreachable", output::plain(why))
            .fix("Start the server, and try again."));
    }
    let digest = digest_of(&answer)?;
    if let Some(shown) = agreed.digest.filter(|shown| *shown != digest) {
        let what = format!("What {name} is or offers has changed since it was shown: it is {digest} now, not {shown}.");
        return Err(Failure::new(exit::CONFLICT, "offer_changed", what)
            .fix(format!("Look at it again: `portreeve connector show {name}`.")));
    }
    if !as_json {
        Shown::of(&answer, name, policy).print(name);
    }
    let asks = agreed.digest.is_none() && !agreed.yes;
    if asks && !output::confirm(&format!("Accept offer {}, exactly as shown?", digest.short())) {
        return Err(Failure::new(exit::FAILURE, "not_accepted", "Nothing was accepted.")
            .fix(format!("Answer y, or `portreeve connector accept {name} --digest {digest}`.")));
    }
    // What somebody has changed and not applied is not applied by accepting definitions.
    let unapplied = Directory::of(client).await?.differs;
    let tools = offered(&answer, "offered");
    let file = pins_file(policy, name);
    let before = fs::read_to_string(&file).ok();
    write(&file, &pins_of(&tools)?)?;
    // The facts about the tools have to fit what is accepted, before it is.
    if let Err(findings) = portreeve_rules::load(policy) {
        let what = format!("Nothing was accepted: the policy does not fit what {name} offers now.");
        return Err(Failure::new(exit::FAILURE, "policy_broken", what)
            .more(findings.iter().filter(|finding| finding.is_error()).map(ToString::to_string))
            .fix(format!("{} holds what it offers now: mend the policy, and accept again.", file.display())));
    }
    let accepted = match accept(client, name, &digest).await {
        Ok(accepted) => accepted,
        Err(failure) => {
            match before {
                Some(text) => write(&file, &text)?,
                None => fs::remove_file(&file)?,
            }
            return Err(failure);
        }
    };
    if !unapplied {
        policy::wanted(&client.ask(Method::POST, "/v1/policy/apply", None).await?);
    }
    if as_json {
        let files = [file.display().to_string()];
        output::json(&json!({ "connector": name, "accepted": accepted, "digest": digest, "files": files }));
    } else {
        output::line(&format!("accepted {accepted} definitions of {name} as offer {}", digest.short()));
        output::line(&format!("wrote {}", file.display()));
    }
    if unapplied {
        output::tip("next: portreeve policy apply   (the directory has other changes that are not in force)");
    }
    Ok(0)
}
