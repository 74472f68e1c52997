//! Whoever dies first: nothing is left behind, and nobody gets in who should not.

use crate::support::{
    http::{exchange, request},
    place::{PROGRAM, Place, Running, Serve, Task, finish},
    process::{Watched, below},
    upstream::{Received, Upstream, Wire},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{net::TcpStream, os::unix::net::UnixStream};

/// Beside the server itself: a child that ignores what asks it to end, one in a session of its own, and one
/// whose parent is gone already. All of it only once the test has said so, because discovery would wait for it
const OTHERS: &str = r#"
[ -e stubborn ] && {
quiet() { "$@" </dev/null >/dev/null 2>&1 3>&- 4<&- & others="$others $!"; }
quiet bash -c 'trap "" TERM INT HUP; exec sleep 1000'
quiet setsid bash -c 'trap "" TERM INT HUP; exec sleep 1000'
others="$others $( (setsid sleep 1000 </dev/null >/dev/null 2>&1 3>&- 4<&- & echo $!) )"
trap "" TERM INT HUP
}
"#;
/// Once its input is closed, it stays
const STAYS: &str = "[ -e stubborn ] && while :; do sleep 1000; done; kill $(jobs -p)";

fn good(_: &Received, _: &mut Wire) -> bool {
    false
}

fn stubborn() -> Upstream {
    Upstream::stdio_with(&["act"], OTHERS, STAYS, good)
}

fn watch(pids: &[u32]) -> Vec<Watched> {
    pids.iter().map(|pid| Watched::of(*pid).unwrap_or_else(|| panic!("{pid} is gone already"))).collect()
}

#[track_caller]
fn all_end(watched: &[Watched]) {
    for process in watched {
        assert!(process.ends(), "process {} is left behind", process.pid);
    }
}

fn served() -> (Upstream, Place, Serve) {
    let upstream = stubborn();
    let place = Place::with(&[("shop", &upstream)], "", "");
    let serve = place.serve(&["shop"]);
    for pid in upstream.children().concat() {
        assert!(Watched::of(pid).is_none_or(|process| process.ends()), "discovery leaves nothing behind");
    }
    place.write("stubborn", "");
    (upstream, place, serve)
}

/// The processes of the child that was started last
fn newest(upstream: &Upstream) -> Vec<Watched> {
    let pids = upstream.children().pop().unwrap();
    assert_eq!(pids.len(), 4, "{pids:?}");
    watch(&pids)
}

/// A stubborn connector that serves one task
fn at_work() -> (Upstream, Place, Serve, Task, Vec<Watched>) {
    let (upstream, place, serve) = served();
    let task = serve.open("work");
    assert_eq!(task.word("shop", "act", "v"), "ok");
    let children = newest(&upstream);
    (upstream, place, serve, task, children)
}

#[test]
fn children_go_with_a_killed_gateway() {
    let (_upstream, place, serve, task, children) = at_work();
    let keepers = watch(&below(serve.pid()));
    serve.kill();
    all_end(&children);
    all_end(&keepers);

    // The task lives on; its child is recorded as gone, and the next call has a new one.
    let serve = place.serve(&[]);
    let task = serve.rejoin(&task);
    assert_eq!(task.word("shop", "act", "again"), "ok");
    let stops: Vec<Value> = place.record().events("stopped").map(|(_, stopped)| stopped.clone()).collect();
    assert!(
        stops.iter().any(|stop| stop["why"] == "restarted" && stop["node"].as_str().unwrap().starts_with("child:"))
    );
}

#[test]
fn children_go_with_a_gateway_that_is_asked_to_end() {
    let (_upstream, place, serve, task, children) = at_work();
    serve.terminate();
    all_end(&children);
    assert!(!place.data().join("admin.sock").exists());
    let serve = place.serve(&[]);
    assert_eq!(serve.rejoin(&task).word("shop", "act", "again"), "ok");
}

#[test]
fn children_go_with_their_task() {
    let (_upstream, _place, serve, task, children) = at_work();
    let answer = serve.stop(&task.id);
    assert!(answer["cleared_us"].is_u64(), "{answer}");
    // Cleared means that they are dead by now.
    assert!(children.iter().all(Watched::is_over), "{children:?}");
    assert!(below(serve.pid()).is_empty());
}

#[test]
fn children_go_when_their_keeper_is_killed() {
    let (upstream, _place, serve, task, children) = at_work();
    let before = upstream.children().len();
    let keeper = below(serve.pid())[0];
    Watched::of(keeper).unwrap().signal(Signal::KILL);
    // What detached itself into another session is out of reach without a cgroup; the server itself is not.
    all_end(&children[..2]);
    for process in &children[2..] {
        process.signal(Signal::KILL);
    }
    assert_eq!(task.word("shop", "act", "again"), "ok", "the next call has a new one");
    assert_eq!(upstream.children().len(), before + 1);
}

#[test]
fn what_an_earlier_life_left_behind_is_found_by_its_record() {
    let (_upstream, place, serve, _task, children) = at_work();
    let keeper = Watched::of(below(serve.pid())[0]).unwrap();
    // A keeper that cannot act when its parent dies.
    keeper.signal(Signal::STOP);
    serve.kill();
    assert!(!keeper.is_over() && !children.iter().any(Watched::is_over));
    let serve = place.serve(&[]);
    all_end(&children);
    all_end(&[keeper]);
    serve.settled();
}

/// What an agent runs to use its connector once, and then waits
fn script(then: &str) -> String {
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "act", "arguments": { "value": "v" } } });
    format!(
        "echo '{call}' | '{PROGRAM}' bridge shop\n\
         sleep 1000 & one=$!\nsetsid bash -c 'trap \"\" TERM; while :; do sleep 1000; done' & two=$!\n\
         echo \"$PORTREEVE_TASK $$ $one $two\"\n{then}"
    )
}

struct Agent {
    exec: Running,
    task: String,
    processes: Vec<Watched>,
}

impl Agent {
    fn start(place: &Place, then: &str) -> Self {
        let arguments = ["exec", "--purpose", "work", "--", "bash", "-c", &script(then)];
        let exec = Running::start(place.command(PROGRAM, &arguments));
        let answer: Value = serde_json::from_str(&exec.lines.next().unwrap()).unwrap();
        assert_eq!(crate::support::place::word(&answer), "ok", "{answer}");
        let line = exec.lines.next().unwrap();
        let mut words = line.split(' ');
        let task = words.next().unwrap().to_owned();
        let pids: Vec<u32> = words.map(|pid| pid.parse().unwrap()).collect();
        assert_eq!(pids.len(), 3, "{line}");
        // Some agents end at once.
        let processes = pids.into_iter().filter_map(Watched::of).collect();
        Self { exec, task, processes }
    }
}

#[test]
fn a_killed_exec_takes_its_agent_and_its_task_along() {
    let (upstream, place, serve) = served();
    let agent = Agent::start(&place, "wait");
    let children = newest(&upstream);
    agent.exec.watched().signal(Signal::KILL);
    all_end(&agent.processes);
    all_end(&children);
    serve.settled();
    let run =
        place.record().events("began").map(|(_, began)| began["run"].as_str().unwrap().to_owned()).next().unwrap();
    assert_eq!(place.record().stops(&run), ["gone"]);
    let (_, tasks) = serve.admin("GET", "/v1/tasks", &Value::Null);
    assert_eq!(tasks["tasks"][0]["state"], "over", "{tasks}");
}

#[test]
fn an_exec_that_is_asked_to_end_ends_its_agent() {
    let (upstream, place, _serve) = served();
    let agent = Agent::start(&place, "trap 'exit 7' TERM; echo ready; wait");
    assert_eq!(agent.exec.lines.next().as_deref(), Some("ready"));
    let children = newest(&upstream);
    agent.exec.watched().signal(Signal::TERM);
    assert_eq!(agent.exec.end(), 7, "the agent's own code is passed on");
    assert!(agent.processes.iter().all(Watched::is_over) && children.iter().all(Watched::is_over));
    assert_eq!(place.record().stops(&agent.task), ["ended"]);
}

#[test]
fn an_agent_that_ends_leaves_nothing_behind() {
    let (upstream, place, _serve) = served();
    let agent = Agent::start(&place, "exit 3");
    assert_eq!(agent.exec.end(), 3);
    assert!(agent.processes.iter().all(Watched::is_over));
    let children = upstream.children().pop().unwrap();
    assert!(children.iter().all(|pid| Watched::of(*pid).is_none_or(|process| process.is_over())));
    assert_eq!(place.record().stops(&agent.task), ["ended"]);
}

#[test]
fn an_agent_that_is_killed_is_told_by_its_signal() {
    let (_upstream, place, _serve) = served();
    let agent = Agent::start(&place, "kill -9 $$");
    assert_eq!(agent.exec.end(), 128 + 9);
    assert!(agent.processes.iter().all(Watched::is_over));
    assert_eq!(place.record().stops(&agent.task), ["ended"]);
}

#[test]
fn an_exec_without_a_gateway_is_its_own() {
    let (upstream, place, serve) = served();
    serve.terminate();
    let agent = Agent::start(&place, "wait");
    let children = newest(&upstream);
    agent.exec.watched().signal(Signal::KILL);
    all_end(&agent.processes);
    all_end(&children);
    // The folder is free again, and what was open is settled by whoever takes it next.
    let serve = place.serve(&[]);
    serve.settled();
}

#[test]
fn an_agent_is_no_administrator() {
    let (_upstream, place, serve) = served();
    let data = place.data().display().to_string();
    let other = serve.open("work");
    let commands = [
        "status".to_owned(),
        "task list".to_owned(),
        format!("task show {}", other.id),
        format!("task token {}", other.id),
        format!("task stop {}", other.id),
        "task open --purpose work --token".to_owned(),
        "kill all".to_owned(),
        "kill agent:assistant".to_owned(),
        "policy apply".to_owned(),
        "connector accept shop --yes".to_owned(),
        "exec --purpose work -- true".to_owned(),
        format!("bridge shop --task {}", other.id),
    ];
    // As itself, from another session, and once its own parent is gone.
    let tries = |command: &str| {
        format!(
            "'{PROGRAM}' --data '{data}' {command} </dev/null >/dev/null 2>&1; echo $?\n\
             setsid -w '{PROGRAM}' --data '{data}' {command} </dev/null >/dev/null 2>&1; echo $?\n"
        )
    };
    let orphan = format!(
        "mkfifo done\n( (setsid bash -c \"'{PROGRAM}' --data '{data}' kill all >/dev/null 2>&1; echo \\$? >done\" &) )\ncat done\n"
    );
    let message = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let bridge = format!("echo '{message}' | '{PROGRAM}' --data '{data}' bridge shop --task {}\n", other.id);
    let script: String = commands[..11].iter().map(|command| tries(command)).collect::<String>() + &orphan + &bridge;
    let ran = place.run(&["exec", "--purpose", "work", "--", "bash", "-c", &script]).good();
    let lines: Vec<&str> = ran.out.lines().collect();
    let (codes, bridged) = lines.split_at(23);
    assert_eq!(codes, vec!["4"; 23], "{ran:?}");
    assert!(bridged.len() == 1 && bridged[0].contains("not_yours"), "{bridged:?}");
    // Nothing of it happened.
    assert_eq!(other.word("shop", "act", "still"), "ok");
}

#[test]
fn a_private_socket_is_for_the_processes_of_its_run() {
    let (_upstream, place, _serve) = served();
    let agent = Agent::start(&place, "echo \"$PORTREEVE_SOCKET\"; wait");
    let socket = agent.exec.lines.next().unwrap();
    let headers = [("host", "portreeve"), ("content-type", "application/json")];
    let ask = |method: &str, path: &str| {
        exchange(UnixStream::connect(&socket).unwrap(), &request(method, path, &headers, b"")).status
    };
    for (method, path) in [("POST", "/v1/token"), ("GET", "/v1/task"), ("POST", "/mcp/shop")] {
        assert_eq!(ask(method, path), 403, "{path} from outside");
    }
    // Another agent is outside as well.
    let script = format!(
        "export PORTREEVE_SOCKET='{socket}'\n'{PROGRAM}' task token; echo $?\n\
         echo '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}}' | '{PROGRAM}' bridge shop\n"
    );
    let ran = place.run(&["exec", "--purpose", "work", "--", "bash", "-c", &script]).good();
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[0], "4", "{ran:?}");
    assert!(lines[1].contains("not_yours"), "{ran:?}");
}

#[test]
fn inside_exec_the_own_task_has_a_token() {
    let (_upstream, place, _serve) = served();
    let script = format!(
        "'{PROGRAM}' task token; echo $PORTREEVE_MCP_URL; cat {{mcp_config}}; echo; echo ${{PORTREEVE_DATA-none}}"
    );
    let ran = place.run(&["exec", "--purpose", "work", "--", "bash", "-c", &script]).good();
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[0].split('.').count(), 3, "{ran:?}");
    assert!(lines[1].starts_with("http://127.0.0.1:") && lines[1].ends_with("/mcp/shop"), "{ran:?}");
    let config: Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!(config["mcpServers"]["shop"]["args"], json!(["bridge", "shop"]));
    assert!(!lines[2].contains(lines[0]), "no token lies in a file");
    assert_eq!(lines[3], "none");
}

#[test]
fn a_folder_has_one_process() {
    let (_upstream, place, serve) = served();
    let pid = serve.pid();
    let Err(second) = Serve::start(&place) else { panic!("two processes on one folder") };
    assert_eq!(second.code, 1, "{second:?}");
    assert!(
        second.err.contains("log_unusable") && second.err.contains(&format!("in use by process {pid}")),
        "{second:?}"
    );
    // The first one did not notice, and its socket is still its own.
    let status = place.json(&["status"]);
    assert_eq!(status["pid"], pid);
    assert_eq!(serve.open("work").word("shop", "act", "v"), "ok");
}

/// What a browser sends to a page of the console
fn page(serve: &Serve, method: &str, path: &str, cookie: &str) -> Vec<u8> {
    let host = format!("localhost:{}", serve.address.port());
    let origin = format!("http://{host}");
    let headers = [("host", host.as_str()), ("origin", &origin), ("cookie", cookie)];
    request(method, path, &headers, b"")
}

#[test]
fn pages_are_not_for_agents_whatever_their_cookies() {
    let (_upstream, place, serve) = served();
    let outside = |method: &str, path: &str, cookie: &str| {
        exchange(TcpStream::connect(serve.address).unwrap(), &page(&serve, method, path, cookie))
    };
    let link = || {
        let link = place.json(&["console"])["link"].as_str().unwrap().to_owned();
        format!("/sign-in/{}", link.rsplit_once('/').unwrap().1)
    };
    let entered = outside("POST", &link(), "");
    assert_eq!(entered.status, 303, "{entered:?}");
    let cookie = entered.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(outside("GET", "/", &cookie).status, 200);

    // The agent has the cookie from a server of its own on localhost; here it simply has it.
    let other = link();
    let port = serve.address.port();
    for (name, bytes) in [("get", page(&serve, "GET", "/", &cookie)), ("post", page(&serve, "POST", &other, ""))] {
        place.write(name, &String::from_utf8(bytes).unwrap());
    }
    let script = format!(
        "ask() {{ exec 3<>/dev/tcp/127.0.0.1/{port}; cat $1 >&3; head -n 1 <&3; exec 3>&-; }}\n\
         ask get; ask post; (setsid bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; cat get >&3; head -n 1 <&3')\n\
         for _ in 1 2 3 4 5; do bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; cat post >&3'; done\n"
    );
    let ran = place.run(&["exec", "--purpose", "work", "--", "bash", "-c", &script]).good();
    assert_eq!(ran.out.matches("HTTP/1.1 403").count(), 3, "{ran:?}");
    assert_eq!(ran.out.lines().count(), 3, "{ran:?}");
    assert_eq!(outside("GET", &other, "").status, 200, "nobody has used the link up, not even who did not wait");

    let plain = finish(place.command("bash", &["-c", &script]), "").good();
    assert_eq!(plain.out.matches("HTTP/1.1 200").count(), 2, "the same below no agent: {plain:?}");
    assert_eq!(outside("GET", &other, "").status, 410);
}
