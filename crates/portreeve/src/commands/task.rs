//! `portreeve task`

use crate::{
    cli::{Cli, Elevate, Task},
    client::Client,
    commands::{self, login, modes, opening, undo},
    failure::{Failure, exit},
    output,
};
use http::Method;
use portreeve_core::time::Millis;
use serde_json::{Value, json};

pub(crate) async fn run(cli: &Cli, task: &Task) -> Result<u8, Failure> {
    if let Task::Token { task: None } = task {
        return own_token(cli.json).await;
    }
    let client = login::client(cli).await?;
    match task {
        Task::Open { opening, token } => {
            let opened = opening::open(&client, opening, None).await?;
            modes::banner(&opened);
            open(&opened, *token, cli.json)
        }
        Task::List => list(&client, cli.json).await,
        Task::Show { task } => show(&client.ask(Method::GET, &format!("/v1/tasks/{task}"), None).await?, cli.json),
        Task::Token { task } => {
            let path = format!("/v1/tasks/{}/token", task.map(|task| task.to_string()).unwrap_or_default());
            token(&client.ask(Method::POST, &path, None).await?, cli.json)
        }
        Task::Undo(ask) => undo::run(&client, ask, cli.json).await,
        Task::Elevate(ask) => elevate(&client, ask, cli.json).await,
        Task::Stop { task } => stop(&client, &json!({ "node": task }), cli.json).await,
    }
}

/// Inside `exec`: a token for the task around this process
async fn own_token(as_json: bool) -> Result<u8, Failure> {
    let socket = std::env::var_os("PORTREEVE_SOCKET").ok_or_else(|| {
        Failure::new(exit::NOT_FOUND, "no_task", "There is no task around this process.")
            .fix("Name one: `portreeve task token TASK`.")
    })?;
    token(&Client::over(socket.into()).ask(Method::POST, "/v1/token", None).await?, as_json)
}

fn token(answer: &Value, as_json: bool) -> Result<u8, Failure> {
    if as_json {
        output::json(answer);
    } else {
        output::line(commands::text(answer, "token")?);
    }
    Ok(0)
}

fn open(opened: &Value, only_token: bool, as_json: bool) -> Result<u8, Failure> {
    if only_token && !as_json {
        output::line(commands::text(opened, "token")?);
        return Ok(0);
    }
    let task = commands::text(opened, "task")?;
    let program = std::env::current_exe()?;
    let connectors = opened.get("endpoints").and_then(Value::as_object).into_iter().flatten();
    let servers: serde_json::Map<String, Value> = connectors
        .map(|(name, _)| (name.clone(), json!({ "command": program, "args": ["bridge", name, "--task", task] })))
        .collect();
    let config = json!({ "mcpServers": servers });
    if as_json {
        let mut opened = opened.clone();
        if let Some(members) = opened.as_object_mut() {
            members.insert("mcp_config".to_owned(), config);
            if !only_token {
                // A token is printed only where it was asked for.
                members.remove("token");
                members.remove("token_expires");
            }
        }
        output::json(&opened);
    } else {
        output::json(&config);
        output::tip(&format!("opened {task}; put the above into the client's configuration"));
        output::tip(&format!("next: portreeve task show {task}"));
    }
    Ok(0)
}

async fn list(client: &Client, as_json: bool) -> Result<u8, Failure> {
    let answer = client.ask(Method::GET, "/v1/tasks", None).await?;
    if as_json {
        output::json(&answer);
        return Ok(0);
    }
    let text = |task: &Value, name: &str| task.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let rows: Vec<Vec<String>> = answer
        .get("tasks")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|task| {
            let until = task.get("over_at").or_else(|| task.get("at")).and_then(Value::as_i64);
            let why = task.get("why").and_then(Value::as_str);
            let state = why.map_or_else(|| text(task, "state"), |why| format!("over: {why}"));
            let calls = task.get("calls").and_then(Value::as_u64).map_or("-".to_owned(), |calls| calls.to_string());
            vec![
                text(task, "task"),
                state,
                text(task, "purpose"),
                text(task, "agent"),
                text(task, "user"),
                calls,
                until.map_or_else(String::new, |until| output::time(Millis(until))),
            ]
        })
        .collect();
    output::table(&["TASK", "STATE", "PURPOSE", "AGENT", "USER", "CALLS", "OVER AT"], &rows);
    Ok(0)
}

fn show(task: &Value, as_json: bool) -> Result<u8, Failure> {
    if as_json {
        output::json(task);
        return Ok(0);
    }
    for name in ["task", "state", "purpose", "agent", "user", "run", "bundle"] {
        if let Some(text) = task.get(name).and_then(Value::as_str) {
            output::line(&format!("{name:<9} {text}"));
        }
    }
    for (name, label) in [("opened", "opened"), ("over_at", "over at"), ("expires", "at latest")] {
        if let Some(at) = task.get(name).and_then(Value::as_i64) {
            output::line(&format!("{label:<9} {}", output::time(Millis(at))));
        }
    }
    if let Some(of) = task.pointer("/undoes/of").and_then(Value::as_str) {
        output::line(&format!("undoes    {of}; if nobody plays it: `portreeve task undo {of}` goes on"));
    }
    for (name, given) in task.get("parameters").and_then(Value::as_object).into_iter().flatten() {
        let by = given.get("by").and_then(Value::as_str).unwrap_or_default();
        let value = given.get("value").map(Value::to_string).unwrap_or_default();
        output::line(&format!("parameter {name} = {} (chosen by: {by})", output::plain(&value)));
    }
    for (name, step) in task.get("steps").and_then(Value::as_object).into_iter().flatten() {
        let used = step.get("used").and_then(Value::as_u64).unwrap_or_default();
        let done = step.get("succeeded").and_then(Value::as_bool).unwrap_or_default();
        output::line(&format!("step      {name}: used {used}, {}", if done { "succeeded" } else { "not succeeded" }));
    }
    for open in task.get("elevations").and_then(Value::as_array).into_iter().flatten() {
        output::line(&format!("open      {}", elevated(open)));
    }
    for hold in task.get("holds").and_then(Value::as_array).into_iter().flatten() {
        let who: Vec<&str> =
            hold.get("who").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let (code, who) = (hold.get("code").and_then(Value::as_str).unwrap_or_default(), who.join(", "));
        output::line(&format!("waits     {code} for {who}"));
    }
    if let Some(of) = task.get("undoes").and_then(Value::as_str) {
        output::line(&format!("undoes    {of}"));
    }
    if task.get("emergency").and_then(Value::as_bool) == Some(true) {
        output::problem("EMERGENCY: everything that this task does is recorded in full, and has to be reviewed");
    }
    modes::banner(task);
    for reason in task.get("reasons").and_then(Value::as_array).into_iter().flatten() {
        output::line(&format!("over: {}", reason.get("word").and_then(Value::as_str).unwrap_or_default()));
    }
    Ok(0)
}

/// One line about a class that is open for a while
fn elevated(open: &Value) -> String {
    let text = |name: &str| open.get(name).and_then(Value::as_str).unwrap_or_default();
    let tools: Vec<&str> =
        open.get("tools").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let values = open.get("values").and_then(Value::as_object).into_iter().flatten();
    let values: Vec<String> = values.map(|(name, value)| format!("{name}={value}")).collect();
    let left = open.get("left").and_then(Value::as_u64).unwrap_or_default();
    let until = open.get("until").and_then(Value::as_i64).map_or_else(String::new, |at| output::time(Millis(at)));
    let with = if values.is_empty() { String::new() } else { format!(" with {}", values.join(", ")) };
    let line =
        format!("{} for {}{with}: {left} left until {until} by {}", text("class"), tools.join(", "), text("owner"));
    format!("{} ({})", output::plain(&line), text("grant"))
}

async fn elevate(client: &Client, ask: &Elevate, as_json: bool) -> Result<u8, Failure> {
    let lasts = portreeve_rules::duration_ms(&ask.lasts).ok_or_else(|| {
        Failure::new(2, "usage", format!("{:?} is no time.", output::plain(&ask.lasts))).fix("Write 5m or 1h.")
    })?;
    let mut values = serde_json::Map::new();
    for pair in &ask.values {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Failure::new(2, "usage", format!("{pair:?} is not of the form NAME=VALUE."))
                .fix("Write --value order=ord_1."));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        values.insert(name.to_owned(), value);
    }
    let body = json!({ "tools": ask.tools, "values": values, "times": ask.times, "for_ms": lasts, "why": ask.why });
    let answer = client.ask(Method::POST, &format!("/v1/tasks/{}/elevate", ask.task), Some(&body)).await?;
    if as_json {
        output::json(&answer);
    }
    if let Some(held) = answer.get("held").filter(|_| answer.get("until").is_none()) {
        opening::tell(held);
        return Ok(exit::WAITS);
    }
    if !as_json {
        let until = answer.get("until").and_then(Value::as_i64).map_or_else(String::new, |at| output::time(Millis(at)));
        output::line(&format!("open until {until}"));
        output::tip(&format!("end it: portreeve kill {}", commands::text(&answer, "grant")?));
    }
    Ok(0)
}

/// Stops a node and shows how far that got
pub(crate) async fn stop(client: &Client, ask: &Value, as_json: bool) -> Result<u8, Failure> {
    let answer = stop_node(client, ask).await?;
    if as_json {
        output::json(&answer);
    } else {
        show_stop(&answer);
    }
    Ok(stop_code(&answer))
}

/// Stops a node
pub(crate) async fn stop_node(client: &Client, ask: &Value) -> Result<Value, Failure> {
    client.ask(Method::POST, "/v1/stop", Some(ask)).await
}

/// Shows how far a stop got
pub(crate) fn show_stop(answer: &Value) {
    let after = |name: &str| match answer.get(name).and_then(Value::as_u64) {
        Some(micros) => format!("after {}.{:03} ms", micros / 1000, micros % 1000),
        None => "NOT YET".to_owned(),
    };
    output::line(&format!("recorded {}: nothing of it is admitted any more", after("recorded_us")));
    output::line(&format!("settled  {}: nothing admitted before can leave any more", after("settled_us")));
    output::line(&format!(
        "cleared  {}: calls cancelled, child processes dead, credentials taken back",
        after("cleared_us")
    ));
    if let Some(left) = answer.get("not_settled").and_then(Value::as_u64).filter(|left| *left > 0) {
        output::line(&format!("still under way: {left}"));
    }
}

/// The exit code of a stop: not 0 before all of it is done
pub(crate) fn stop_code(answer: &Value) -> u8 {
    let done =
        answer.get("cleared_us").is_some_and(Value::is_u64) && answer.get("settled_us").is_some_and(Value::is_u64);
    if done { 0 } else { exit::FAILURE }
}
