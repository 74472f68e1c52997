//! The demo: a scenario played on the real thing, with the built-in servers behind it.

use super::{
    keys::{LEDGER, Ledger},
    serve_mail,
};
use crate::{
    cli::Demo,
    client::{self, Client, exchange},
    commands::{self, console, init},
    failure::{Failure, exit},
    output, place,
};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use portreeve_core::{event::How, log::Read, names::Name, value::Value};
use portreeve_gateway::{
    admin::account_name,
    office::Answering,
    serve::Serving,
    settings::Settings,
    undo::{PlanView, UndoState, UndoView},
};
use portreeve_log::{Reader, verify};
use portreeve_mcp::reply::{META, people::META_HOLD};
use portreeve_sim::scenario::{Asked, Opening, Refusal, Saw, Scenario, Stage, TakenBack, written};
use serde::Deserialize as _;
use serde_json::{Value as Json, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};

const SCENARIO: &str = include_str!("../../../../scenarios/refund.toml");

pub(crate) async fn run(demo: &Demo, as_json: bool) -> Result<u8, Failure> {
    let text = match &demo.scenario {
        Some(path) => fs::read_to_string(path)?,
        None => SCENARIO.to_owned(),
    };
    let scenario = Scenario::read(&text).map_err(|error| {
        Failure::new(exit::FAILURE, "scenario_broken", crate::failure::chain(&error))
            .fix("Mend the step that is named.")
    })?;
    let mut theatre = Theatre::open().await?;
    // The stage is asked step by step; each step is work for the runtime that runs beside it.
    let transcript = tokio::task::block_in_place(|| {
        if !as_json {
            output::line(&format!("{}\n", scenario.title));
        }
        scenario.play_with(&mut theatre, |line| {
            if !as_json {
                output::line(&line.to_string());
            }
        })
    });
    let holds = transcript.holds();
    let folder = theatre.folder.clone();
    if as_json {
        output::json(&json!({ "holds": holds, "folder": folder, "transcript": transcript }));
    } else {
        epilogue(holds, &theatre, demo.once);
    }
    if !demo.once && !as_json {
        console::greet(&theatre.data).await;
        let _ = tokio::signal::ctrl_c().await;
    }
    theatre.close().await;
    Ok(if holds { 0 } else { exit::FAILURE })
}

fn epilogue(holds: bool, theatre: &Theatre, once: bool) {
    output::line(if holds { "Every expectation held." } else { "NOT every expectation held: see the lines with !!" });
    let data = theatre.data.display();
    output::tip(&format!("\nEverything is kept in {}: policy, record, keys.", theatre.folder.display()));
    if !once {
        output::tip(&format!(
            "The console: http://{}/ (`portreeve --data {data} console --for lea` prints a link to sign in)",
            theatre.address
        ));
    }
    output::tip("Try next:");
    output::tip(&format!("  portreeve --data {data} audit tail"));
    output::tip(&format!("  portreeve --data {data} audit verify"));
    output::tip(&format!("  portreeve --data {data} policy show refund-order"));
    if once {
        output::tip("  portreeve init   (and put your own server behind it)");
    } else {
        output::tip(&format!("  portreeve --data {data} task list"));
        output::tip("Still serving; Ctrl-C ends it.");
    }
}

/// A Portreeve of its own with the demo's policy and servers
struct Theatre {
    folder: PathBuf,
    data: PathBuf,
    client: Client,
    serving: Serving,
    address: std::net::SocketAddr,
    tasks: BTreeMap<String, Opened>,
    /// The keys that the shop knows
    ledger: Ledger,
    next_id: u64,
    /// The code of the question that was put last
    asked: Option<String>,
    /// The copy of the record that somebody has changed
    tampered: Option<PathBuf>,
}

struct Opened {
    task: String,
    token: String,
}

impl Theatre {
    async fn open() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("portreeve-demo-").tempdir()?.keep();
        let account = account_name(rustix::process::getuid().as_raw()).unwrap_or_else(|| "nobody".to_owned());
        let data = init::make_folder(&folder)?;
        let mail = TcpListener::bind(("127.0.0.1", 0)).await?;
        let mail_url = format!("http://{}/mcp", mail.local_addr()?);
        tokio::spawn(async move {
            if let Err(error) = serve_mail(mail).await {
                output::problem(&format!("the demo's mail box ended: {error:#}"));
            }
        });
        let program = std::env::current_exe()?.display().to_string();
        let keys = folder.join(LEDGER);
        for (path, text) in portreeve_sim::scenario::DEMO_POLICY {
            let text = text
                .replace("\"me\"", &json!(account).to_string())
                .replace("\"portreeve\"", &json!(program).to_string())
                .replace(&format!("\"{LEDGER}\"]"), &format!("{}]", json!(keys.display().to_string())))
                .replace("http://127.0.0.1:1/mcp", &mail_url);
            let path = folder.join("policy").join(path);
            fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            fs::write(path, text)?;
        }
        // The agent is told at once that people are asked: nobody else is there to answer while it waits.
        let settings = Settings { hold_wait: Duration::ZERO, ..place::settings(&data)? };
        let serving = client::start(settings).await?;
        let address = serving.address;
        let client = Client::of(&data).await?;
        for connector in ["shop", "mail"] {
            client.accept_all(connector).await?;
        }
        let (tasks, ledger) = (BTreeMap::new(), Ledger::at(&keys));
        Ok(Self { folder, data, client, serving, address, tasks, ledger, next_id: 1, asked: None, tampered: None })
    }

    async fn close(self) {
        self.serving.end().await;
    }

    async fn ask(&mut self, task: &str, connector: &str, method: &str, params: Json) -> Result<Json, Failure> {
        let token = self.tasks.get(task).map(|opened| opened.token.clone()).unwrap_or_default();
        let id = self.next_id;
        self.next_id += 1;
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/mcp/{connector}"))
            .header("host", self.address.to_string())
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(Full::new(message.to_string().into()))
            .map_err(|error| Failure::from(anyhow::Error::from(error)))?;
        let stream = TcpStream::connect(self.address).await?;
        let (status, body) = exchange(stream, request).await?;
        if status != StatusCode::OK {
            return Err(Failure::new(exit::FAILURE, "failed", format!("the endpoint answered with status {status}")));
        }
        Ok(serde_json::from_slice(&body).unwrap_or(Json::Null))
    }

    /// Says yes or no to exactly what is shown of the question, as somebody does who came by a link to sign in
    async fn answer_as(
        &self,
        code: &str,
        by: &str,
        yes: bool,
        why: &str,
    ) -> Result<(), portreeve_gateway::admin::Failure> {
        let office = &self.serving.office;
        let Ok(user) = by.parse::<Name>() else { return Ok(()) };
        let person = office.person(user, How::Link).await?;
        let shown = office.hold(&person, code).await?;
        let (hold, binding, why) = (shown.hold, shown.binding, why.to_owned());
        office.answer(&person, Answering { hold, binding, yes, why, read_ms: None, passkey: None }).await.map(drop)
    }

    /// Has what a task did taken back, and says of each call what became of it
    async fn take_back(&self, task: &str) -> Result<Option<Vec<TakenBack>>, Failure> {
        let path = format!("/v1/tasks/{task}/undo");
        let odd = |error: serde_json::Error| Failure::new(exit::FAILURE, "failed", error.to_string());
        let plan = self.client.ask(Method::POST, &path, Some(&json!({ "plan_only": true }))).await?;
        let plan = PlanView::deserialize(plan).map_err(odd)?;
        let begin = json!({ "digest": plan.digest });
        let mut view = UndoView::deserialize(self.client.ask(Method::POST, &path, Some(&begin)).await?).map_err(odd)?;
        while view.state == UndoState::Playing {
            let path = format!("/v1/tasks/{}/undo?version={}", view.task, view.version);
            view = UndoView::deserialize(self.client.ask(Method::GET, &path, None).await?).map_err(odd)?;
        }
        let taken = plan.deeds.iter().map(|deed| TakenBack {
            tool: deed.tool.to_string(),
            by: deed.undo.as_ref().map(|undo| written(&undo.tool, &undo.arguments)),
            why: deed.why.as_ref().map(|why| why.says.clone()),
        });
        Ok((view.state == UndoState::Done).then(|| taken.collect()))
    }

    fn verify_record(&self) -> Result<String, Failure> {
        let folder = self.tampered.as_ref().unwrap_or(&self.data);
        let reader = Reader::open(folder)
            .map_err(|error| Failure::new(exit::FAILURE, "log_unusable", crate::failure::chain(&error)))?;
        match verify::verify(&reader) {
            Ok(_) => Ok("verified".to_owned()),
            Err(Read::Broken { .. }) => Ok("broken".to_owned()),
            Err(error) => Err(Failure::new(exit::FAILURE, "log_unusable", error.to_string())),
        }
    }

    /// Changes one byte in a copy of the record
    fn tamper_copy(&mut self) -> Result<(), Failure> {
        let unreadable = |error: String| Failure::new(exit::FAILURE, "log_unusable", error);
        let copy = self.folder.join("tampered");
        fs::create_dir_all(&copy)?;
        let reader = Reader::open(&self.data).map_err(|error| unreadable(error.to_string()))?;
        reader.copy_to(&copy).map_err(|error| unreadable(error.to_string()))?;
        let file = copy.join("log.db");
        let mut bytes = fs::read(&file)?;
        self.tampered = Some(copy);
        // In the record of a task's opening: another agent is to have done it. The file may also hold remnants
        // that belong to no record, and changing those changes nothing.
        let (record, offset) = (b"\"agent\":\"support-bot\"", "\"agent\":\"".len());
        let places = bytes.windows(record.len()).enumerate().filter(|(_, window)| window == record);
        let places: Vec<usize> = places.map(|(at, _)| at + offset).collect();
        for at in places {
            let Some(byte) = bytes.get_mut(at) else { continue };
            let before = std::mem::replace(byte, b'z');
            fs::write(&file, &bytes)?;
            if self.verify_record()? != "verified" {
                return Ok(());
            }
            if let Some(byte) = bytes.get_mut(at) {
                *byte = before;
            }
        }
        Err(unreadable("no change of a record was found".to_owned()))
    }
}

impl Stage for Theatre {
    fn open(&mut self, name: &str, opening: &Opening) -> Saw {
        let ask = json!({ "purpose": opening.purpose, "agent": opening.agent, "parameters": opening.parameters });
        let opened = wait(self.client.ask(Method::POST, "/v1/tasks", Some(&ask)));
        match opened.and_then(|opened| {
            let token = commands::text(&opened, "token")?.to_owned();
            Ok(Opened { task: commands::text(&opened, "task")?.to_owned(), token })
        }) {
            Ok(opened) => {
                self.tasks.insert(name.to_owned(), opened);
                Saw::Open
            }
            Err(failure) => failed(&failure),
        }
    }

    fn list(&mut self, task: &str, connector: &str) -> Saw {
        match wait(self.ask(task, connector, "tools/list", json!({}))) {
            Ok(answer) => {
                let tools = answer.pointer("/result/tools").and_then(Json::as_array).into_iter().flatten();
                Saw::Listed(tools.filter_map(|tool| Some(tool.get("name")?.as_str()?.to_owned())).collect())
            }
            Err(failure) => failed(&failure),
        }
    }

    fn call(&mut self, task: &str, tool: &str, arguments: &BTreeMap<String, Value>) -> Saw {
        let Some((connector, name)) = tool.split_once('.') else { return Saw::Unsupported };
        let answer =
            match wait(self.ask(task, connector, "tools/call", json!({ "name": name, "arguments": arguments }))) {
                Ok(answer) => answer,
                Err(failure) => return failed(&failure),
            };
        if answer.pointer("/error/code").and_then(Json::as_i64) == Some(-32602) {
            return Saw::UnknownTool;
        }
        let meta = |key: &str| answer.pointer("/result/_meta").and_then(|meta| meta.get(key));
        if let Some(hold) = meta(META_HOLD) {
            let code = hold.get("code").and_then(Json::as_str).unwrap_or_default().to_owned();
            let who = hold.get("who").and_then(Json::as_array).into_iter().flatten();
            let who = who.filter_map(|group| group.as_str().map(str::to_owned)).collect();
            self.asked = Some(code.clone());
            return Saw::Held(Asked { code, who });
        }
        let refusal = meta(META);
        let is_error = answer.pointer("/result/isError").and_then(Json::as_bool);
        match (refusal, is_error) {
            (Some(refusal), _) => {
                let text = |name: &str| refusal.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
                let told = answer.pointer("/result/content/0/text").and_then(Json::as_str).unwrap_or_default();
                let (word, remedy) = (text("word"), text("remedy"));
                let says = told.strip_prefix(&format!("{word}: ")).unwrap_or(told);
                let says = says.split(&format!(" {remedy}")).next().unwrap_or(says).to_owned();
                Saw::Refused(Refusal { word, says, remedy })
            }
            (None, Some(true)) => {
                let told = answer.pointer("/result/content/0/text").and_then(Json::as_str).unwrap_or_default();
                Saw::Failed(told.to_owned())
            }
            (None, _) if answer.get("result").is_some() => Saw::Ok,
            (None, _) => Saw::Said("error".to_owned()),
        }
    }

    fn answer(&mut self, by: &str, yes: bool, why: &str) -> Saw {
        let Some(code) = self.asked.clone() else { return Saw::Unsupported };
        match wait(self.answer_as(&code, by, yes, why)) {
            Ok(()) => Saw::Said(if yes { "approved" } else { "declined" }.to_owned()),
            Err(failure) => Saw::Refused(Refusal {
                word: failure.word().to_owned(),
                says: failure.message().to_owned(),
                remedy: failure.remedy().to_owned(),
            }),
        }
    }

    fn undo(&mut self, task: &str) -> Saw {
        let Some(task) = self.tasks.get(task).map(|opened| opened.task.clone()) else { return Saw::Unsupported };
        match wait(self.take_back(&task)) {
            Ok(Some(taken)) => Saw::Undone(taken),
            Ok(None) => Saw::Said("stopped".to_owned()),
            Err(failure) => failed(&failure),
        }
    }

    fn stop(&mut self, task: &str) -> Saw {
        let Some(task) = self.tasks.get(task).map(|opened| opened.task.clone()) else { return Saw::Unsupported };
        match wait(self.client.ask(Method::POST, "/v1/stop", Some(&json!({ "node": task })))) {
            Ok(_) => Saw::Stopped,
            Err(failure) => failed(&failure),
        }
    }

    fn keys(&mut self, task: &str) -> Saw {
        let Some(opened) = self.tasks.get(task) else { return Saw::Unsupported };
        match self.ledger.of_task(&opened.task) {
            Ok(classes) => Saw::Keys(classes.iter().map(ToString::to_string).collect()),
            Err(error) => failed(&error.into()),
        }
    }

    fn verify(&mut self) -> Saw {
        self.verify_record().map_or_else(|failure| failed(&failure), Saw::Said)
    }

    fn tamper(&mut self) -> Saw {
        self.tamper_copy().map_or_else(|failure| failed(&failure), |()| Saw::Said("tampered".to_owned()))
    }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(work)
}

fn failed(failure: &Failure) -> Saw {
    let (word, says, remedy) = failure.parts();
    Saw::Refused(Refusal { word, says, remedy })
}
