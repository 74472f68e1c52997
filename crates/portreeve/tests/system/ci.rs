//! The step for CI in `ci/github`, run as a runner runs it: inputs and files by the environment, tokens from its endpoint.

use crate::{
    agents::House,
    interop::interop,
    support::{
        issuer::{Issuer, Signer, now},
        place::{Ran, finish},
        process::Watched,
        until,
    },
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

const STEP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ci/github");
/// What the runner's endpoint wants to see
const SECRET: &str = "of-the-runner";
const NODE: &str = "node/package.json";

/// A runner with one job
struct Runner {
    house: House,
    address: String,
    /// Every token that it gave
    given: Arc<Mutex<Vec<String>>>,
    _issuer: Issuer,
}

impl Runner {
    fn new(event: &'static str) -> Self {
        let key = Signer::new("runner");
        let issuer = Issuer::with(&[&key]);
        let file = format!("issuer = \"{}\"\nkind = \"github\"\nprivate = true\n", issuer.name);
        let proof = "issuer = \"ci\"\nclaims = { repository_id = \"17\", environment = \"production\" }";
        let house = House::of(proof, &[("policy/issuers/ci.toml", file)]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/token?api-version=2.0", listener.local_addr().unwrap());
        let given: Arc<Mutex<Vec<String>>> = Arc::default();
        let (name, kept) = (issuer.name.clone(), Arc::clone(&given));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let lines: Vec<String> =
                    BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let asked =
                    lines.iter().any(|line| line.eq_ignore_ascii_case(&format!("authorization: bearer {SECRET}")));
                let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
                let query = url::Url::parse(&format!("http://runner{path}")).unwrap();
                let audience =
                    query.query_pairs().find(|(name, _)| name == "audience").map(|(_, value)| value.into_owned());
                let mut kept = kept.lock().unwrap();
                let (status, body) = match audience.filter(|_| asked && path.contains("api-version=2.0")) {
                    Some(audience) => {
                        let claims = json!({ "iss": name, "sub": "repo:acme/web:environment:production", "aud": audience,
                            "iat": now(), "exp": now() + 300, "jti": format!("job-{}", kept.len()), "repository_id": "17",
                            "environment": "production", "ref": "refs/heads/main", "event_name": event });
                        kept.push(key.token("JWT", &claims));
                        ("200 OK", json!({ "value": kept.last() }).to_string())
                    }
                    None => ("401 Unauthorized", String::new()),
                };
                let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n");
                drop(write!(&stream, "{head}content-length: {}\r\n\r\n{body}", body.len()));
            }
        });
        for file in ["env", "output", "state", "summary"] {
            house.place.write(file, "");
        }
        Self { house, address, given, _issuer: issuer }
    }

    /// A step of the job, with what earlier ones left in the environment
    fn step(&self, script: &str, more: &[(&str, &str)]) -> Ran {
        let mut command: Command = self.house.place.command("node", &[&format!("{STEP}/{script}")]);
        command.env("ACTIONS_ID_TOKEN_REQUEST_URL", &self.address).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", SECRET);
        command.env("RUNNER_TEMP", self.house.place.path()).envs(self.left("env"));
        for (variable, file) in [("ENV", "env"), ("OUTPUT", "output"), ("STATE", "state"), ("STEP_SUMMARY", "summary")]
        {
            command.env(format!("GITHUB_{variable}"), self.house.place.path().join(file));
        }
        finish(
            {
                command.envs(more.iter().copied());
                command
            },
            "",
        )
    }

    fn main(&self, more: &[(&str, &str)]) -> Ran {
        let url = format!("{}/", self.house.base());
        self.step("main.mjs", &[&[("INPUT_URL", url.as_str()), ("INPUT_PURPOSE", "work")], more].concat())
    }

    fn post(&self) -> Ran {
        let state = self.left("state");
        let state: Vec<(String, String)> =
            state.into_iter().map(|(name, value)| (format!("STATE_{name}"), value)).collect();
        let state: Vec<(&str, &str)> = state.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.step("post.mjs", &state)
    }

    /// The variables in one of the runner's files: `NAME<<END`, lines, `END`
    fn left(&self, file: &str) -> BTreeMap<String, String> {
        let text = self.house.place.read(file);
        let (mut lines, mut found) = (text.lines(), BTreeMap::new());
        while let Some((name, end)) = lines.next().and_then(|line| line.split_once("<<")) {
            let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
            found.insert(name.to_owned(), value.join("\n"));
        }
        found
    }

    /// What a reader of the log would see, and what is hidden there
    #[track_caller]
    fn shows_no_token(&self, ran: &Ran) {
        let (hidden, shown): (Vec<&str>, Vec<&str>) =
            ran.out.lines().chain(ran.err.lines()).partition(|line| line.starts_with("::add-mask::"));
        assert!(shown.iter().all(|line| !line.contains("eyJ") && !line.contains(SECRET)), "{shown:?}");
        assert!(!hidden.is_empty());
        let files: String = ["env", "output", "state", "summary"].map(|file| self.house.place.read(file)).concat();
        assert!(!files.contains("eyJ") && !files.contains(SECRET), "{files}");
    }
}

/// Processes that keep the task of this folder
fn keepers(folder: &str) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let keeps = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).split('\0').any(|line| line == format!("PORTREEVE_KEEP={folder}"))
    };
    pids.filter(keeps).collect()
}

#[test]
fn a_job_has_a_task_for_as_long_as_it_runs_and_its_page_says_what_was_done() {
    let Some(_) = interop("a_job_has_a_task_for_as_long_as_it_runs_and_its_page_says_what_was_done", &[NODE]) else {
        return;
    };
    let runner = Runner::new("push");
    let opened = runner.main(&[("INPUT_OBJECTIVE", "Ship it")]).good();
    runner.shows_no_token(&opened);
    let (env, state, output) = (runner.left("env"), runner.left("state"), runner.left("output"));
    let task = &env["PORTREEVE_TASK"];
    assert_eq!((task, task), (&state["task"], &output["task"]));
    let endpoints: Value = serde_json::from_str(&env["PORTREEVE_ENDPOINTS"]).unwrap();
    assert_eq!(endpoints, json!({ "shop": format!("{}/mcp/shop", runner.house.base()) }));
    // Every token that came from the runner is hidden before anything could show it.
    for token in runner.given.lock().unwrap().iter().take(1) {
        assert!(opened.out.contains(&format!("::add-mask::{token}")));
    }

    // The client of the next step runs the command of the configuration for its headers.
    let config: Value = serde_json::from_str(&fs::read_to_string(&env["PORTREEVE_MCP_CONFIG"]).unwrap()).unwrap();
    let helper = config["mcpServers"]["shop"]["headersHelper"].as_str().unwrap();
    assert!(!config.to_string().contains("eyJ"));
    assert!(helper.contains("headers.mjs"), "{helper}");
    let headers = runner.step("headers.mjs", &[]).good().json();
    let authorization = headers["Authorization"].as_str().unwrap();
    let call = |tool: &str, arguments: Value| {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": arguments } });
        let headers = [("authorization", authorization), ("accept", "application/json, text/event-stream")];
        runner.house.send("POST", "/mcp/shop", &headers, &body)
    };
    assert_eq!(call("act", json!({ "value": "a" })).status, 200);
    call("act", json!({ "value": "a", "more": 1 }));
    // Whoever names a tool so has the runner obey, and the page say, nothing.
    call("x\n::set-output name=a::b\n##[error]<script>`|@all", json!({}));

    let keeping = keepers(&state["folder"]);
    assert_eq!(keeping.len(), 1, "the task is kept while the job does something else");
    let keeper = Watched::of(keeping[0]).unwrap();
    let command = fs::read_to_string(format!("/proc/{}/cmdline", keeping[0])).unwrap();
    assert!(!command.contains("eyJ") && !command.contains(SECRET), "{command}");

    let ended = runner.post().good();
    runner.shows_no_token(&ended);
    assert!(ended.out.contains("1 allowed"), "{ended:?}");
    assert!(ended.out.contains("refused  shop.act: "), "{ended:?}");
    let page = runner.house.place.read("summary");
    assert!(page.contains("### Portreeve: work") && page.contains("| shop.act | write | ok 1 |"), "{page}");
    assert!(!page.contains('<') && !page.contains("##["), "{page}");
    let commands: Vec<&str> = ended.out.lines().filter(|line| line.starts_with("::")).collect();
    assert!(
        commands.iter().all(|line| line.starts_with("::add-mask::")
            || line.starts_with("::stop-commands::")
            || line.trim_matches(':').len() == 36),
        "{commands:?}"
    );
    assert!(keeper.ends(), "nobody keeps it any more");
    let shown = runner.house.place.json(&["task", "list"]);
    assert!(shown["tasks"].as_array().unwrap().iter().all(|task| task["why"] == "ended"), "{shown}");
}

#[test]
fn a_job_that_may_not_gets_nothing_and_is_told_why() {
    let Some(_) = interop("a_job_that_may_not_gets_nothing_and_is_told_why", &[NODE]) else { return };
    let pull = Runner::new("pull_request");
    let refused = pull.main(&[]);
    assert_eq!(refused.code, 1);
    assert!(refused.out.contains("::error title=Portreeve::only_proposed: "), "{refused:?}");
    pull.shows_no_token(&refused);
    assert_eq!(pull.left("state"), BTreeMap::new());
    // The step after the job has nothing to do.
    let nothing = pull.post().good();
    assert_eq!((nothing.out.as_str(), nothing.err.as_str()), ("", ""));

    let push = Runner::new("push");
    for (more, says) in [
        (("INPUT_PURPOSE", "nothing"), "purpose_unknown"),
        (("INPUT_PARAMETERS", "[1]"), "expected a JSON object"),
        (("INPUT_AUDIENCE", "somebody else"), "aud_wrong"),
        (("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "another"), "issuer_unreachable"),
        (("ACTIONS_ID_TOKEN_REQUEST_URL", ""), "id-token: write"),
    ] {
        let refused = push.main(&[more]);
        assert_eq!(refused.code, 1, "{more:?}");
        assert!(
            refused.out.contains("::error title=Portreeve::") && refused.out.contains(says),
            "{more:?}: {refused:?}"
        );
    }
}

#[test]
fn a_job_whose_task_was_stopped_says_so_at_its_end() {
    let Some(_) = interop("a_job_whose_task_was_stopped_says_so_at_its_end", &[NODE]) else { return };
    let runner = Runner::new("push");
    runner.main(&[]).good();
    let task = runner.left("env")["PORTREEVE_TASK"].clone();
    runner.house.place.run(&["task", "stop", &task]).good();
    let headers = runner.step("headers.mjs", &[]);
    assert_eq!((headers.code, headers.out.as_str()), (1, ""));
    assert!(headers.err.contains("task_over"), "{headers:?}");
    let ended = runner.post().good();
    assert!(ended.out.contains("is over: killed"), "{ended:?}");
    let folder = runner.left("state")["folder"].clone();
    until("nobody keeps it any more", || keepers(&folder).is_empty());
}
