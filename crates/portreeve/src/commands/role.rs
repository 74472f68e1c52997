//! `portreeve role list` and `portreeve whoami`: who may do what, beside working through agents.

use crate::{
    cli::{Cli, Role},
    client::Client,
    commands::login,
    failure::Failure,
    output, place,
};
use http::Method;
use serde_json::Value;

pub(crate) async fn run(cli: &Cli, role: &Role) -> Result<u8, Failure> {
    let Role::List = role;
    let answer = login::client(cli).await?.ask(Method::GET, "/v1/roles", None).await?;
    if cli.json {
        output::json(&answer);
        return Ok(0);
    }
    let row = |role: &Value| {
        let groups = words(role, "groups").into_iter().map(|group| format!("group:{group}"));
        let who: Vec<String> = words(role, "people").into_iter().map(str::to_owned).chain(groups).collect();
        let who = if who.is_empty() { "-".to_owned() } else { who.join(", ") };
        vec![text(role, "role").to_owned(), who, words(role, "may").join(", ")]
    };
    let rows: Vec<Vec<String>> = list(&answer, "roles").map(row).collect();
    output::table(&["ROLE", "WHO HAS IT", "MAY"], &rows);
    match text(&answer, "account") {
        "roles" => output::line("the account of the data folder has the roles of the user whose account it is"),
        _ => output::line("the account of the data folder may everything: `[admin] account` in portreeve.toml"),
    }
    let change = answer.get("change").cloned().unwrap_or_default();
    if let Some(people) = change.get("people").and_then(Value::as_u64).filter(|people| *people > 1) {
        output::line(&format!("a change of the policy needs {people} people who put the same version into force"));
    }
    for proposed in list(&change, "proposed") {
        let digest: String = text(proposed, "bundle").chars().take(12).collect();
        output::line(&format!("{digest} is wanted in force by {}", text(proposed, "by")));
    }
    output::tip("what each of it is: docs/roles.md, or portreeve --json role list");
    Ok(0)
}

pub(crate) async fn whoami(cli: &Cli) -> Result<u8, Failure> {
    let answer = Client::of(&place::data(cli)?).await?.ask(Method::GET, "/v1/whoami", None).await?;
    if cli.json {
        output::json(&answer);
        return Ok(0);
    }
    let list = |name: &str| {
        let words = words(&answer, name);
        if words.is_empty() { "-".to_owned() } else { words.join(", ") }
    };
    let one = |name: &str| Some(text(&answer, name)).filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
    for (name, value) in [("user", one("user")), ("account", one("account")), ("signed in by", one("how"))] {
        output::line(&format!("{name:<13} {value}"));
    }
    output::line(&format!("{:<13} {}", "roles", list("roles")));
    if answer.get("owner").and_then(Value::as_bool).unwrap_or_default() {
        output::line(&format!("{:<13} everything, as the account that owns the data folder", "may"));
    } else {
        output::line(&format!("{:<13} {}", "may", list("may")));
    }
    Ok(0)
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn words<'a>(value: &'a Value, name: &str) -> Vec<&'a str> {
    list(value, name).filter_map(Value::as_str).collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
