//! Official servers behind Portreeve, used by official clients of both eras.

use crate::interop::{Client, interop, told};
use crate::support::{
    fixture,
    place::{Place, finish},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    thread,
};

/// The eras that clients speak, each by one SDK
const CLIENTS: [Client; 2] = [Client::TypeScript, Client::TypeScript2("2026-07-28")];

/// What each client is told, with everything of the server allowed
fn used(interop: &Path, place: &Place, command: &[&str], steps: &Value) -> Vec<Vec<Value>> {
    let serve = place.serve(&[]);
    place.run(&[&["connector", "add", "server", "--yes", "--"], command].concat()).good();
    fixture::allow_everything(place, "server");
    let url = format!("http://{}/mcp/server", serve.address);
    CLIENTS
        .iter()
        .map(|client| {
            let task = serve.open("server");
            told(client.at(place, interop, steps, &url, &task.token))
        })
        .collect()
}

/// The line about a step, after `connected` and `tools`
#[track_caller]
fn text(lines: &[Value], step: usize) -> &str {
    let line = &lines[step + 2];
    assert!(line.get("error").is_none() && line["isError"] != true, "{line}");
    line["text"].as_str().unwrap_or_else(|| panic!("{line}"))
}

fn ready(test: &str, server: &str) -> Option<std::path::PathBuf> {
    let needs: Vec<&str> = CLIENTS.iter().map(|client| client.needs()).chain([server]).collect();
    interop(test, &needs)
}

#[test]
fn the_git_server() {
    let program = "venv/bin/mcp-server-git";
    let Some(interop) = ready("the_git_server", program) else { return };
    let place = Place::new();
    place.write("repository/a.txt", "a\n");
    let repository = place.path().join("repository").display().to_string();
    for arguments in [&["init", "--quiet"][..], &["add", "a.txt"]] {
        let all = [&["-C", repository.as_str()][..], arguments].concat();
        finish(place.command("git", &all), "").good();
    }
    let call = |name: &str| json!({ "name": name, "arguments": { "repo_path": repository } });
    let steps = json!([call("git_status"), call("git_diff_staged")]);
    let program = interop.join(program).display().to_string();
    for lines in used(&interop, &place, &[&program, "--repository", &repository], &steps) {
        assert!(text(&lines, 0).contains("a.txt"), "{lines:?}");
        assert!(text(&lines, 1).contains("+a"), "{lines:?}");
    }
}

#[test]
fn the_sqlite_server() {
    let program = "venv1/bin/mcp-server-sqlite";
    let Some(interop) = ready("the_sqlite_server", program) else { return };
    let place = Place::new();
    let query = |name: &str, query: &str| json!({ "name": name, "arguments": { "query": query } });
    let steps = json!([
        query("create_table", "create table if not exists t (a text)"),
        query("write_query", "insert into t values ('found')"),
        query("read_query", "select a from t"),
        { "resources": true },
        { "read": "memo://insights" },
        { "prompts": true },
        { "prompt": "mcp-demo", "arguments": { "topic": "ships" } }
    ]);
    let database = place.path().join("some.db").display().to_string();
    let program = interop.join(program).display().to_string();
    for lines in used(&interop, &place, &[&program, "--db-path", &database], &steps) {
        assert!(text(&lines, 2).contains("found"), "{lines:?}");
        assert_eq!(lines[5]["resources"], json!(["memo://insights"]), "{lines:?}");
        assert!(text(&lines, 4).contains("insights"), "{lines:?}");
        assert_eq!(lines[7]["prompts"], json!(["mcp-demo"]), "{lines:?}");
        assert!(text(&lines, 6).contains("ships"), "{lines:?}");
    }
}

#[test]
fn the_fetch_server() {
    let program = "venv/bin/mcp-server-fetch";
    let Some(interop) = ready("the_fetch_server", program) else { return };
    let site = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/page", site.local_addr().unwrap());
    thread::spawn(move || {
        for stream in site.incoming().map_while(Result::ok) {
            let asked = BufReader::new(&stream).lines().next().and_then(Result::ok).unwrap_or_default();
            let (status, body) = if asked.starts_with("GET /page ") {
                ("200 OK", "<p>Hello from here</p>")
            } else {
                ("404 Not Found", "")
            };
            let head = format!("HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {}", body.len());
            drop(write!(&stream, "{head}\r\nconnection: close\r\n\r\n{body}"));
        }
    });
    let place = Place::new();
    let steps = json!([
        { "name": "fetch", "arguments": { "url": url } },
        { "prompts": true },
        { "prompt": "fetch", "arguments": { "url": url } }
    ]);
    let program = interop.join(program).display().to_string();
    for lines in used(&interop, &place, &[&program, "--allow-private-ips"], &steps) {
        assert!(text(&lines, 0).contains("Hello from here"), "{lines:?}");
        assert_eq!(lines[3]["prompts"], json!(["fetch"]), "{lines:?}");
        assert!(text(&lines, 2).contains("Hello from here"), "{lines:?}");
    }
}

#[test]
fn the_time_server() {
    let program = "venv/bin/mcp-server-time";
    let Some(interop) = ready("the_time_server", program) else { return };
    let convert = json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" });
    let steps = json!([{ "name": "convert_time", "arguments": convert }]);
    let program = interop.join(program).display().to_string();
    for lines in used(&interop, &Place::new(), &[&program], &steps) {
        assert!(text(&lines, 0).contains("21:00"), "{lines:?}");
    }
}

#[test]
fn the_server_everything() {
    let program = "node/node_modules/@modelcontextprotocol/server-everything/dist/index.js";
    let Some(interop) = ready("the_server_everything", program) else { return };
    let steps = json!([
        { "name": "echo", "arguments": { "message": "hello" } },
        { "name": "trigger-long-running-operation", "arguments": { "duration": 1, "steps": 2 }, "progress": true },
        { "resources": true },
        { "prompts": true },
        { "prompt": "args-prompt", "arguments": { "city": "Kiel" } }
    ]);
    let program = interop.join(program).display().to_string();
    for lines in used(&interop, &Place::new(), &["node", &program, "stdio"], &steps) {
        assert_eq!(text(&lines, 0), "Echo: hello");
        assert!(lines[3]["progress"].as_array().is_some_and(|told| told.len() >= 2), "{lines:?}");
        assert!(!lines[4]["resources"].as_array().unwrap().is_empty(), "{lines:?}");
        assert!(lines[5]["prompts"].as_array().unwrap().contains(&json!("args-prompt")), "{lines:?}");
        assert!(text(&lines, 4).contains("Kiel"), "{lines:?}");
    }
}

#[test]
fn the_fixture_over_standard_input_and_output() {
    let Some(interop) = ready("the_fixture_over_standard_input_and_output", fixture::NEEDS) else { return };
    for era in ["legacy", "modern"] {
        let steps = json!([
            { "name": "test_tool_with_progress", "arguments": {}, "progress": true },
            { "name": "test_sampling", "arguments": { "prompt": "x" } },
            { "read": "test://static-text" }
        ]);
        let command = fixture::command(&interop, "stdio", era);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        for lines in used(&interop, &Place::new(), &command, &steps) {
            assert_eq!(lines[2]["progress"], json!([0, 50, 100]), "{era}: {lines:?}");
            assert_eq!(text(&lines, 1), "LLM response: Paris", "{era}");
            assert_eq!(text(&lines, 2), "This is the content of the static text resource.", "{era}");
        }
    }
}

#[test]
fn the_inspector_sees_both_eras() {
    let inspector = "node/node_modules/@modelcontextprotocol/inspector/package.json";
    let needs = ["node/newer-node", inspector, fixture::NEEDS];
    let Some(interop) = interop("the_inspector_sees_both_eras", &needs) else { return };
    let package: Value = serde_json::from_str(&std::fs::read_to_string(interop.join(inspector)).unwrap()).unwrap();
    let program = interop.join(inspector).with_file_name(package["bin"]["mcp-inspector"].as_str().unwrap());
    for connector in ["legacy", "modern"] {
        let place = Place::new();
        let serve = place.serve(&[]);
        let fixture = fixture::Fixture::start(&interop, connector, &place);
        let task = fixture::open(&place, &serve, "fix", &fixture.url);
        let (url, header) =
            (format!("http://{}/mcp/fix", serve.address), format!("Authorization: Bearer {}", task.token));
        for client in ["legacy", "modern"] {
            let ask = |method: &[&str]| {
                let program = program.to_str().unwrap();
                let common =
                    [program, "--cli", &url, "--transport", "http", "--header", &header, "--protocol-era", client];
                let all = [&common[..], &["--format", "json", "--method"], method].concat();
                finish(place.command(interop.join(needs[0]).to_str().unwrap(), &all), "").good().json()["result"]
                    .clone()
            };
            let what = format!("{client} client, {connector} connector");
            let tools = ask(&["tools/list"]);
            assert!(tools["tools"].as_array().unwrap().len() > 30, "{what}: {tools}");
            let called = ask(&["tools/call", "--tool-name", "greet", "--tool-arg", "name=Ada"]);
            assert_eq!(called["content"][0]["text"], "Hello, Ada!", "{what}: {called}");
            let read = ask(&["resources/read", "--uri", "test://static-text"]);
            assert_eq!(read["contents"][0]["mimeType"], "text/plain", "{what}: {read}");
        }
    }
}
