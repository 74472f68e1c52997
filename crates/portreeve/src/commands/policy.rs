//! `portreeve policy`

use crate::{
    cli::{Cli, Policy},
    client::Client,
    commands::{author, login, modes},
    failure::{Failure, chain, exit},
    output, place,
};
use http::Method;
use portreeve_core::{
    event::Actor,
    names::Name,
    policy::{Purpose, Users},
};
use portreeve_gateway::history::Applied;
use serde_json::{Value, json};
use std::path::PathBuf;

pub(crate) async fn run(cli: &Cli, policy: &Policy) -> Result<u8, Failure> {
    match policy {
        Policy::Check { folder } => check(&folder_of(cli, folder.as_ref())?, cli.json),
        Policy::Show { purpose, folder, cedar: false, schema: false } => {
            show(&folder_of(cli, folder.as_ref())?, purpose.as_ref(), cli.json)
        }
        Policy::Show { purpose, folder, cedar, schema } => {
            show_cedar(&folder_of(cli, folder.as_ref())?, purpose.as_ref(), (*cedar, *schema), cli.json)
        }
        Policy::Author(author) => author::run(cli, author),
        Policy::Apply => apply(&login::client(cli).await?, cli.json).await,
        Policy::History => history(&place::data(cli)?, cli.json),
        Policy::Rollback { digest } => rollback(&login::client(cli).await?, digest, cli.json).await,
        Policy::Observe { lasts, why, on } => {
            modes::observe(&login::client(cli).await?, lasts, why, on, cli.json).await
        }
        Policy::Enforce { grant, on } => modes::enforce(&login::client(cli).await?, *grant, on, cli.json).await,
        Policy::Modes => modes::modes(&login::client(cli).await?, cli.json).await,
    }
}

async fn apply(client: &Client, as_json: bool) -> Result<u8, Failure> {
    let applied = client.ask(Method::POST, "/v1/policy/apply", None).await?;
    if as_json {
        output::json(&applied);
        return Ok(if is_wanted(&applied) { exit::WAITS } else { 0 });
    }
    for warning in applied.get("shown").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        output::problem(warning);
    }
    let digest = |name: &str| applied.get(name).and_then(Value::as_str).unwrap_or_default();
    if wanted(&applied) {
        return Ok(exit::WAITS);
    }
    let cases = applied.get("cases").and_then(Value::as_u64).unwrap_or_default();
    output::line(&format!("in force: {} ({cases} cases passed)", digest("bundle")));
    go_back_tip(digest("before"), digest("bundle"));
    Ok(0)
}

/// Whether a version is not in force yet, because others have to want it too
fn is_wanted(answer: &Value) -> bool {
    answer.get("proposed").is_some_and(|proposed| !proposed.is_null())
}

/// The same, and says so
pub(crate) fn wanted(answer: &Value) -> bool {
    let Some(proposed) = answer.get("proposed").filter(|proposed| !proposed.is_null()) else { return false };
    let count = |name: &str| proposed.get(name).and_then(Value::as_u64).unwrap_or_default();
    let digest: String = answer.get("bundle").and_then(Value::as_str).unwrap_or_default().chars().take(12).collect();
    output::problem(&format!("not in force yet: {} of {} people want {digest}", count("have"), count("of")));
    output::tip("others with the role put the very same version into force, within a day: see `portreeve role list`");
    true
}

/// Puts an earlier version into force again
async fn rollback(client: &Client, digest: &str, as_json: bool) -> Result<u8, Failure> {
    let ask = json!({ "digest": digest });
    let back = client.ask(Method::POST, "/v1/policy/rollback", Some(&ask)).await?;
    if as_json {
        output::json(&back);
        return Ok(if is_wanted(&back) { exit::WAITS } else { 0 });
    }
    if wanted(&back) {
        return Ok(exit::WAITS);
    }
    let digest = |name: &str| back.get(name).and_then(Value::as_str).unwrap_or_default();
    output::line(&format!("in force: {}", digest("bundle")));
    if let Some(directory) = back.get("directory") {
        modes::difference(directory, digest("bundle"));
    }
    go_back_tip(digest("before"), digest("bundle"));
    Ok(0)
}

fn go_back_tip(before: &str, now: &str) {
    if !before.is_empty() && before != now {
        let short: String = before.chars().take(12).collect();
        output::tip(&format!("go back with: portreeve policy rollback {short}"));
    }
}

/// Every version that was in force, out of the record itself
fn history(data: &std::path::Path, as_json: bool) -> Result<u8, Failure> {
    let history = portreeve_gateway::history::history(data).map_err(|error| {
        Failure::new(exit::UNVERIFIED, "record_broken", chain(&error)).fix("See where with `portreeve audit verify`.")
    })?;
    if as_json {
        output::json(&json!({ "history": history }));
        return Ok(0);
    }
    let last = history.len().saturating_sub(1);
    let row = |(index, applied): (usize, &Applied)| {
        let by = match &applied.by {
            Actor::Owner { user: Some(user) } => user.to_string(),
            Actor::Owner { user: None } => "the owner".to_owned(),
            Actor::Person { user, .. } => user.to_string(),
            Actor::System => "Portreeve".to_owned(),
            Actor::Run(run) => run.to_string(),
            Actor::Agent(agent) => agent.to_string(),
        };
        vec![
            applied.n.to_string(),
            output::time(applied.time),
            by,
            applied.bundle.to_string().chars().take(16).collect(),
            if applied.back { "rollback" } else { "apply" }.to_owned(),
            if index == last { "in force" } else { "" }.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = history.iter().enumerate().map(row).collect();
    output::table(&["RECORD", "WHEN", "BY", "DIGEST", "HOW", ""], &rows);
    Ok(0)
}

fn folder_of(cli: &Cli, given: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    match given {
        Some(folder) => place::absolute(folder),
        None => Ok(place::settings(&place::data(cli)?)?.policy),
    }
}

fn check(folder: &std::path::Path, as_json: bool) -> Result<u8, Failure> {
    let checked = portreeve_rules::check(folder, author::today());
    let errors = checked.findings.iter().filter(|finding| finding.is_error()).count();
    let warnings = checked.findings.len() - errors;
    let ok = errors == 0 && checked.failed == 0;
    if as_json {
        output::json(&json!({
            "bundle": checked.digest, "cases": checked.cases, "failed": checked.failed, "errors": errors, "warnings": warnings,
            "findings": checked.findings,
        }));
    } else {
        for finding in &checked.findings {
            output::line(&finding.to_string());
        }
        if checked.failed > 0 {
            output::line(&format!("{} cases fail: see `portreeve policy test`", checked.failed));
        }
        output::line(&format!(
            "{}: {errors} errors, {warnings} warnings, {} cases",
            if ok { "ok" } else { "not ok" },
            checked.cases
        ));
    }
    Ok(if ok { 0 } else { exit::UNVERIFIED })
}

fn load(folder: &std::path::Path) -> Result<portreeve_rules::Loaded, Failure> {
    portreeve_rules::load(folder).map_err(|findings| {
        Failure::new(exit::FAILURE, "policy_broken", "The policy has errors.")
            .more(findings.iter().map(ToString::to_string))
            .fix("Mend them, and see `portreeve policy check`.")
    })
}

fn unknown(purpose: &Name) -> Failure {
    Failure::new(exit::NOT_FOUND, "purpose_unknown", format!("No purpose {purpose} is in the policy."))
        .fix("List them with `portreeve policy show`.")
}

/// The policy as other tools read it
fn show_cedar(
    folder: &std::path::Path,
    only: Option<&Name>,
    (cedar, schema): (bool, bool),
    as_json: bool,
) -> Result<u8, Failure> {
    let loaded = load(folder)?;
    if let Some(missing) = only.filter(|only| !loaded.bundle.purposes.contains_key(*only)) {
        return Err(unknown(missing));
    }
    let exported = if cedar { loaded.cedar(only) } else { None };
    let policies = exported.as_ref().map(|exported| exported.policies.as_str());
    let types = exported.as_ref().map_or_else(|| loaded.rules_schema(), |exported| exported.schema.clone());
    if as_json {
        output::json(&json!({ "bundle": loaded.bundle.digest, "policies": policies, "schema": types }));
    } else {
        let text = policies.filter(|_| !schema).unwrap_or(&types);
        output::line(text.trim_end());
    }
    Ok(0)
}

fn show(folder: &std::path::Path, only: Option<&Name>, as_json: bool) -> Result<u8, Failure> {
    let loaded = load(folder)?;
    let purposes = loaded.bundle.purposes.iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
    let shown: Vec<Value> = purposes.map(|(name, purpose)| described(name, purpose)).collect();
    if let (Some(only), []) = (only, shown.as_slice()) {
        return Err(unknown(only));
    }
    if as_json {
        output::json(&json!({ "bundle": loaded.bundle.digest, "purposes": shown }));
        return Ok(0);
    }
    for purpose in &shown {
        let text = |name: &str| purpose.get(name).and_then(Value::as_str).unwrap_or_default();
        output::line(&format!("{}: {}", text("name"), output::plain(text("about"))));
        output::line(&format!("  owner {}, open to {}", text("owner"), text("open_to")));
        for (name, kind) in purpose.get("parameters").and_then(Value::as_object).into_iter().flatten() {
            output::line(&format!("  --param {name}=…  {}", kind.as_str().unwrap_or_default()));
        }
        for line in purpose.get("opens").and_then(Value::as_array).into_iter().flatten() {
            output::line(&format!("  {}", line.as_str().unwrap_or_default()));
        }
        for entry in purpose.get("allows").and_then(Value::as_array).into_iter().flatten() {
            output::line(&format!("  {}", entry.as_str().unwrap_or_default()));
        }
    }
    Ok(0)
}

fn described(name: &Name, purpose: &Purpose) -> Value {
    let agents: Vec<&str> = purpose.open.agents.iter().map(Name::as_str).collect();
    let users = match &purpose.open.users {
        Users::None => "without a user".to_owned(),
        Users::Group(group) => format!("for the group {group}"),
        Users::Named(names) => format!("for {}", names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")),
    };
    let entries = purpose.entries().iter().map(|entry| {
        let uses: Vec<String> = entry
            .uses
            .iter()
            .map(|usage| match &usage.variant {
                Some(variant) => format!("{}#{variant}", usage.tool),
                None => usage.tool.to_string(),
            })
            .collect();
        let given =
            entry.arguments.iter().map(|(argument, pattern)| format!("{argument} is {}", pattern.in_words(None)));
        let after = entry.after.iter().map(|before| format!("after {before}"));
        let times = entry.times.iter().map(|times| format!("at most {times} times"));
        let ask = entry.ask.iter().map(|ask| {
            let when = ask.when.iter().map(|(argument, pattern)| format!("{argument} is {}", pattern.in_words(None)));
            let when: Vec<String> = when.collect();
            let when = if when.is_empty() { String::new() } else { format!(" when {}", when.join(" and ")) };
            format!("asking {}{when}", ask.quorum)
        });
        let undo = entry.undo.iter().map(|undo| format!("taken back by {undo}"));
        let conditions: Vec<String> = given.chain(after).chain(times).chain(ask).chain(undo).collect();
        format!(
            "{}: {}{}",
            entry.name,
            uses.join(", "),
            conditions.iter().map(|c| format!("; {c}")).collect::<String>()
        )
    });
    let kinds: serde_json::Map<String, Value> =
        purpose.parameters.iter().map(|(name, parameter)| (name.to_string(), json!(kind(parameter)))).collect();
    json!({
        "name": name,
        "about": purpose.about,
        "owner": purpose.owner,
        "open_to": format!("{}, {users}", agents.join(", ")),
        "expires_after_ms": purpose.limits.expires_after_ms,
        "idle_after_ms": purpose.limits.idle_after_ms,
        "standing": purpose.limits.standing,
        "calls": purpose.limits.calls,
        "break_glass": purpose.break_glass.as_ref().map(|glass| &glass.review),
        "opens": opens(purpose),
        "parameters": kinds,
        "allows": entries.collect::<Vec<_>>(),
    })
}

/// Which classes stand, how others are opened, and who has to agree to an opening
fn opens(purpose: &Purpose) -> Vec<String> {
    let standing: Vec<String> = purpose.limits.standing.iter().map(ToString::to_string).collect();
    let mut lines = vec![match standing.as_slice() {
        [] => "no class stands".to_owned(),
        standing => format!("{} stands while the task lives", standing.join(", ")),
    }];
    if let Some(elevate) = &purpose.elevate {
        for (class, alone) in &elevate.alone {
            let uses: Vec<String> = alone.uses.iter().map(ToString::to_string).collect();
            let (times, seconds) = (alone.times, alone.within_ms / 1_000);
            lines.push(format!("{class}: {} opened by asking, {times} calls, {seconds} s at a time", uses.join(", ")));
        }
        lines.extend(elevate.ask.iter().map(|quorum| format!("other classes are opened by {quorum}")));
    }
    match (&purpose.break_glass, &purpose.open.ask) {
        (Some(glass), Some(quorum)) => lines.push(format!(
            "for emergencies: whoever of {} opens it needs {quorum} to agree; reviewed by {}",
            quorum.who, glass.review
        )),
        (_, Some(quorum)) => lines.push(format!("each opening needs {quorum} to agree")),
        _ => {}
    }
    lines
}

fn kind(parameter: &portreeve_core::policy::Parameter) -> String {
    use portreeve_core::policy::Kind;
    let kind = match &parameter.kind {
        Kind::Text { pattern: Some(pattern), .. } => format!("text of the form {}", pattern.as_str()),
        Kind::Text { pattern: None, .. } => "text".to_owned(),
        Kind::Decimal { min, max } => {
            let min = min.as_ref().map(|min| format!(" from {min}")).unwrap_or_default();
            let max = max.as_ref().map(|max| format!(" up to {max}")).unwrap_or_default();
            format!("number{min}{max}")
        }
        Kind::Bool => "true or false".to_owned(),
        Kind::Choice(values) => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
    };
    parameter.default.as_ref().map_or(kind.clone(), |default| format!("{kind} [default: {default}]"))
}
