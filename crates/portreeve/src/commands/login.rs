//! `portreeve login`, `portreeve logout` and `portreeve whoami`: somebody at a terminal, at a server elsewhere.

use crate::{
    cli::Cli,
    client::Client,
    commands,
    failure::{Failure, exit},
    output,
    sessions::{self, Server, Session},
};
use http::Method;
use portreeve_core::{names::Name, time::Millis};
use serde_json::{Value, json};
use std::time::Duration;

/// How long is waited between two questions at most
const PAUSE_MAX: Duration = Duration::from_secs(60);

pub(crate) async fn login(cli: &Cli, issuer: Option<&Name>) -> Result<u8, Failure> {
    let server = server(cli)?;
    let client = Client::at(&server, None);
    let begun = client.ask(Method::POST, "/v1/login", Some(&json!({ "issuer": issuer }))).await?;
    let text = |name: &str| commands::text(&begun, name).map(output::plain);
    let (page, code) = (text("verification_uri")?, text("user_code")?);
    output::tip(&format!("open {page}"));
    output::tip(&format!("and type {code}"));
    if let Ok(whole) = text("verification_uri_complete") {
        output::tip(&format!("or open {whole}, and compare the code"));
    }
    let login = commands::text(&begun, "login")?;
    let mut pause = pause_of(&begun);
    let answer = loop {
        tokio::time::sleep(pause).await;
        let answer = client.ask(Method::POST, "/v1/login/poll", Some(&json!({ "login": login }))).await?;
        if answer.get("waits").is_none() {
            break answer;
        }
        pause = pause_of(&answer);
    };
    let until = answer.get("until").and_then(Value::as_i64).map(Millis).unwrap_or_default();
    let secret = commands::text(&answer, "session")?.to_owned();
    let user = commands::text(&answer, "user")?.to_owned();
    sessions::keep(&server, &Session { server: server.to_string(), user, secret, until })?;
    // Whoever reads what is printed does not get it.
    let mut shown = answer;
    shown.as_object_mut().and_then(|members| members.remove("session"));
    show(&shown, cli.json);
    Ok(0)
}

fn pause_of(answer: &Value) -> Duration {
    let pause = answer.get("interval_ms").and_then(Value::as_u64).unwrap_or(5_000);
    Duration::from_millis(pause).min(PAUSE_MAX)
}

pub(crate) async fn logout(cli: &Cli) -> Result<u8, Failure> {
    let server = server(cli)?;
    let session = sessions::find(&server)?;
    // Here first: whatever the server says, nothing is kept.
    sessions::forget(&server)?;
    let ended = Client::at(&server, Some(session.secret)).ask(Method::POST, "/v1/logout", None).await;
    let ended = ended.is_ok();
    if cli.json {
        output::json(&json!({ "user": session.user, "server": session.server, "ended": ended }));
    } else {
        output::line(&format!("signed out of {}", session.server));
        if !ended {
            output::tip("The server could not be told, or knew nothing of it; what it gave ends within the hour.");
        }
    }
    Ok(0)
}

pub(crate) async fn whoami(cli: &Cli) -> Result<u8, Failure> {
    let server = server(cli)?;
    let session = sessions::find(&server)?;
    let answer = Client::at(&server, Some(session.secret)).ask(Method::GET, "/v1/whoami", None).await?;
    show(&answer, cli.json);
    Ok(0)
}

fn show(answer: &Value, as_json: bool) {
    if as_json {
        output::json(answer);
        return;
    }
    let text = |value: &Value| output::plain(value.as_str().unwrap_or_default());
    let of = |name: &str| answer.get(name).map(text).unwrap_or_default();
    let list = |name: &str| answer.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let time = |value: Option<&Value>| value.and_then(Value::as_i64).map(|at| output::time(Millis(at)));
    output::line(&format!("{:<7} {}", "user", of("user")));
    output::line(&format!("{:<7} {}", "by", of("how")));
    output::line(&format!("{:<7} {}", "roles", list("roles").iter().map(text).collect::<Vec<_>>().join(", ")));
    for group in list("groups") {
        let until = time(group.get("until")).map(|until| format!(", until {until}")).unwrap_or_default();
        let name = group.get("group").map(text).unwrap_or_default();
        output::line(&format!("{:<7} {name}{until}", "group"));
    }
    output::line(&format!("{:<7} {}", "until", time(answer.get("until")).unwrap_or_default()));
}

fn server(cli: &Cli) -> Result<Server, Failure> {
    let text = cli.server.as_deref().ok_or_else(|| {
        Failure::new(2, "usage", "Which server?")
            .fix("Name it with --server https://…, or in the variable PORTREEVE_SERVER.")
    })?;
    Server::read(text).ok_or_else(|| {
        Failure::new(2, "usage", format!("{:?} is no server.", output::plain(text)))
            .fix("Write https://HOST, or http://localhost:PORT for one on this machine.")
    })
}

/// The way to who answers: the server that is named, as whoever is signed in there, or who holds the data folder
pub(crate) async fn client(cli: &Cli) -> Result<Client, Failure> {
    if cli.server.is_none() {
        return Client::of(&crate::place::data(cli)?).await;
    }
    let server = server(cli)?;
    let session = sessions::find(&server)?;
    Ok(Client::at(&server, Some(session.secret)))
}

/// A command that works at a data folder of this machine was told to work elsewhere
pub(crate) fn only_here() -> Failure {
    Failure::new(exit::FAILURE, "only_here", "This command works at the data folder of this machine, and at no server.")
        .fix("Leave out --server and PORTREEVE_SERVER.")
}
