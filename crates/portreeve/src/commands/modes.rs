//! `portreeve policy observe`, `enforce` and `modes`, and the banner that nobody should overlook.

use crate::{
    cli::{On, OnOrGrant},
    client::Client,
    commands::task,
    failure::{Failure, exit},
    output,
};
use http::Method;
use portreeve_core::{names::GrantId, node::Node, time::Millis};
use serde_json::{Value, json};

/// Gives a grant
pub(crate) async fn observe(client: &Client, lasts: &str, why: &str, on: &On, as_json: bool) -> Result<u8, Failure> {
    let lasts = portreeve_rules::duration_ms(lasts).ok_or_else(|| {
        Failure::new(2, "usage", format!("{:?} is no time.", output::plain(lasts))).fix("Write 30m, 2h or 3d.")
    })?;
    let on = match (&on.purpose, &on.connector) {
        (Some(purpose), _) => Node::Purpose(purpose.clone()),
        (None, Some(connector)) => Node::Connector(connector.clone()),
        (None, None) => Node::Tenant,
    };
    let ask = json!({ "on": on, "for_ms": lasts, "why": why });
    let given = client.ask(Method::POST, "/v1/grants", Some(&ask)).await?;
    if as_json {
        output::json(&given);
        return Ok(0);
    }
    let grant = text(&given, "grant");
    output::line(&format!("{grant}: {on} until {}", at(&given, "until")));
    banner(&json!({ "observe": [given] }));
    output::tip("Rules, stops, limits in time and what is privileged refuse as before; child tasks are not observed.");
    output::tip(&format!("end it: portreeve policy enforce {grant}"));
    Ok(0)
}

/// Ends grants at once
pub(crate) async fn enforce(
    client: &Client,
    grant: Option<GrantId>,
    on: &OnOrGrant,
    as_json: bool,
) -> Result<u8, Failure> {
    let live = client.ask(Method::GET, "/v1/grants", None).await?;
    let wanted = |found: &&Value| {
        let about = |node: &Node| text(found, "on") == node.to_string();
        grant.is_some_and(|grant| text(found, "grant") == grant.to_string())
            || on.all
            || on.purpose.clone().is_some_and(|name| about(&Node::Purpose(name)))
            || on.connector.clone().is_some_and(|name| about(&Node::Connector(name)))
    };
    let (mut ended, mut left, mut code) = (Vec::new(), Vec::new(), 0);
    for found in observed(&live) {
        if !wanted(&found) {
            left.push(found);
            continue;
        }
        if !as_json {
            output::line(&format!("{} ({}) ends", text(found, "grant"), text(found, "on")));
        }
        match task::stop_node(client, &json!({ "node": text(found, "grant") })).await {
            Ok(stopped) => {
                if !as_json {
                    task::show_stop(&stopped);
                }
                code = code.max(task::stop_code(&stopped));
                ended.push(stopped);
            }
            // It was over before we came.
            Err(failure) if failure.exit == exit::REFUSED => {}
            Err(failure) => return Err(failure),
        }
    }
    if let (Some(grant), true) = (grant, ended.is_empty()) {
        return Err(Failure::new(exit::NOT_FOUND, "grant_unknown", format!("No live grant is called {grant}."))
            .fix("List them with `portreeve policy modes`."));
    }
    if as_json {
        output::json(&json!({ "ended": ended, "observe": left }));
    } else {
        if ended.is_empty() {
            output::line("nothing was in observe mode there");
        }
        banner(&json!({ "observe": left }));
    }
    Ok(code)
}

/// Lists live grants
pub(crate) async fn modes(client: &Client, as_json: bool) -> Result<u8, Failure> {
    let live = client.ask(Method::GET, "/v1/grants", None).await?;
    if as_json {
        output::json(&live);
        return Ok(0);
    }
    let row = |found: &Value| {
        let why = found.get("why").and_then(Value::as_str).unwrap_or("(erased)");
        vec![
            text(found, "grant").to_owned(),
            text(found, "on").to_owned(),
            at(found, "until"),
            text(found, "owner").to_owned(),
            output::plain(why),
        ]
    };
    let rows: Vec<Vec<String>> = observed(&live).map(row).collect();
    if rows.is_empty() {
        output::line("enforce: nothing outside of a purpose is let through");
    } else {
        output::table(&["GRANT", "OBSERVES", "UNTIL", "BY", "WHY"], &rows);
    }
    Ok(0)
}

/// Says on standard error what the member `observe` of an answer says
pub(crate) fn banner(answer: &Value) {
    for found in observed(answer) {
        output::problem(&format!(
            "OBSERVE MODE ({}) until {} by {}: calls outside the purpose are let through",
            text(found, "on"),
            at(found, "until"),
            text(found, "owner"),
        ));
    }
}

/// Says on standard error that something else is in force than the directory says
pub(crate) fn difference(directory: &Value, in_force: &str) {
    let is = |name: &str| directory.get(name).and_then(Value::as_bool).unwrap_or_default();
    if !is("differs") {
        return;
    }
    let short = |digest: &str| digest.chars().take(12).collect::<String>();
    let (in_force, digest) = (short(in_force), directory.get("digest").and_then(Value::as_str).map(short));
    let why = match (&digest, is("went_back")) {
        (None, _) => "it cannot be read",
        (Some(_), true) => "somebody went back with `portreeve policy rollback`",
        (Some(_), false) => "it was changed and not applied",
    };
    output::problem(&format!(
        "POLICY DIFFERS: in force is {in_force}, the directory is {}: {why}",
        digest.as_deref().unwrap_or("broken")
    ));
    output::tip("  put the directory into force with `portreeve policy apply`; versions: `portreeve policy history`");
}

fn observed(answer: &Value) -> impl Iterator<Item = &Value> {
    answer.get("observe").and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn at(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_i64).map_or_else(String::new, |at| output::time(Millis(at)))
}
