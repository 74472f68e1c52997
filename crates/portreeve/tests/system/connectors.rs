//! Connectors that do not do what they should.

use crate::support::{
    place::{Place, Serve, Task, word},
    process::{Watched, below},
    upstream::{DONE, Gate, Received, Upstream, Wire, tool},
};
use serde_json::{Value, json};
use std::thread;

/// Calls `act` once under a purpose that allows it once, and says what the agent got, what the record says,
/// and what the agent gets when it tries again
struct Once {
    answer: Value,
    end: String,
}

fn once(upstream: &Upstream) -> Once {
    let place = Place::new();
    place.connector("shop", upstream, "timeout = \"2s\"\n");
    place.purpose("work", &[("shop", upstream)], "", "times = 1\n");
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    let answer = task.call("shop", "act", &json!({ "value": "v" }));
    serve.calls_settled(&task);
    // Whatever came of it, it is spent, and nobody repeats it.
    let ends = place.record().call("v").ends;
    assert_eq!(ends.len(), 1, "{ends:?}");
    let again = task.word("shop", "act", "again");
    assert_eq!(again, "count_spent", "{answer} {ends:?}");
    assert_eq!(upstream.values(), ["v"]);
    // And the gateway is as well as before.
    assert_eq!(task.ask("shop", "ping", &json!({}))["result"], json!({}));
    serve.terminate();
    place.run(&["audit", "verify"]).good();
    Once { answer, end: ends[0].clone() }
}

/// A server that answers calls by `act`, over HTTP or behind a child
fn over(carrier: &str, act: impl Fn(&mut Wire) + Send + Sync + 'static) -> Upstream {
    let script = move |received: &Received, wire: &mut Wire| {
        let is_call = received.method == "tools/call";
        if is_call {
            act(wire);
        }
        is_call
    };
    if carrier == "http" { Upstream::http(&["act"], script) } else { Upstream::stdio(&["act"], script) }
}

type Act = Box<dyn Fn(&mut Wire) + Send + Sync>;

fn act(act: impl Fn(&mut Wire) + Send + Sync + 'static) -> Act {
    Box::new(act)
}

#[track_caller]
fn is_unknown(carrier: &str, what: &str, answer: impl Fn(&mut Wire) + Send + Sync + 'static) {
    let upstream = over(carrier, answer);
    let once = once(&upstream);
    assert_eq!(
        (word(&once.answer).as_str(), once.end.as_str()),
        ("outcome_unknown", "unknown"),
        "{what}: {}",
        once.answer
    );
    assert_eq!(once.answer["id"], 1);
    assert_eq!(once.answer["result"]["_meta"]["dev.portreeve/refusal"]["retry"], false, "{what}");
}

#[test]
fn an_http_server_that_gives_no_answer_leaves_the_outcome_unknown() {
    let cases: Vec<(&str, Act)> = vec![
        ("hangs", act(|_| {})),
        ("dies", act(Wire::close)),
        (
            "dies within the head",
            act(|wire| {
                wire.raw(b"HTTP/1.1 200 OK\r\ncontent-ty");
                wire.close();
            }),
        ),
        (
            "answers nonsense",
            act(|wire| {
                wire.raw(b"220 mail.example ESMTP\r\n");
                wire.close();
            }),
        ),
        (
            "answers half",
            act(|wire| {
                wire.raw(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"jsonrpc\":",
                );
                wire.close();
            }),
        ),
        (
            "hangs within the body",
            act(|wire| {
                wire.raw(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"jsonrpc\":",
                );
            }),
        ),
        (
            "promises more than it sends",
            act(|wire| {
                let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{DONE}}}", wire.id);
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    answer.len() + 9
                );
                wire.raw(&[head.as_bytes(), answer.as_bytes()].concat());
                wire.close();
            }),
        ),
        (
            "sends more than it promises",
            act(|wire| {
                let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{DONE}}}", wire.id);
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    answer.len() - 9
                );
                wire.raw(&[head.as_bytes(), answer.as_bytes()].concat());
            }),
        ),
        (
            "promises two lengths",
            act(|wire| {
                wire.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\ncontent-length: 100\r\n\r\n{}");
            }),
        ),
        ("an empty success", act(|wire| wire.respond("200 OK", "application/json", b""))),
        (
            "accepted",
            act(|wire| {
                wire.raw(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
            }),
        ),
        ("fails", act(|wire| wire.respond("500 Internal Server Error", "text/plain", b"oops"))),
        (
            "fails in JSON",
            act(|wire| {
                let id = wire.id.clone();
                let error =
                    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32603,\"message\":\"no\"}}}}");
                wire.respond("503 Service Unavailable", "application/json", error.as_bytes());
            }),
        ),
    ];
    together("http", cases);
}

#[test]
fn an_http_server_that_answers_something_else_leaves_the_outcome_unknown() {
    let message = |text: &'static str| act(move |wire: &mut Wire| wire.message(text.as_bytes()));
    let with_id = |text: &'static str| {
        act(move |wire: &mut Wire| {
            let text = text.replace("ID", &wire.id);
            wire.message(text.as_bytes());
        })
    };
    let cases: Vec<(&str, Act)> = vec![
        ("another id", message(r#"{"jsonrpc":"2.0","id":999,"result":{"content":[]}}"#)),
        (
            "its id as text",
            act(|wire| {
                let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{}\",\"result\":{{}}}}", wire.id);
                wire.message(text.as_bytes());
            }),
        ),
        ("no id", message(r#"{"jsonrpc":"2.0","error":{"code":1,"message":"no"}}"#)),
        ("a batch", with_id(r#"[{"jsonrpc":"2.0","id":ID,"result":{"content":[]}}]"#)),
        ("two messages", with_id(r#"{"jsonrpc":"2.0","id":ID,"result":{}}{"jsonrpc":"2.0","id":ID,"result":{}}"#)),
        ("both result and error", with_id(r#"{"jsonrpc":"2.0","id":ID,"result":{},"error":{"code":1,"message":""}}"#)),
        ("two results", with_id(r#"{"jsonrpc":"2.0","id":ID,"result":{},"result":{"isError":true}}"#)),
        ("two ids", with_id(r#"{"jsonrpc":"2.0","id":999,"id":ID,"result":{}}"#)),
        ("a request", with_id(r#"{"jsonrpc":"2.0","id":ID,"method":"sampling/createMessage","params":{}}"#)),
        ("a notification", message(r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#)),
        ("no JSON", message("done")),
        ("a web page", act(|wire| wire.respond("200 OK", "text/html", b"<html>Please sign in</html>"))),
    ];
    together("http", cases);
}

#[test]
fn an_http_server_that_floods_leaves_the_outcome_unknown() {
    let cases: Vec<(&str, Act)> = vec![
        (
            "an endless body",
            act(|wire| {
                wire.raw(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{\"jsonrpc\":\"",
                );
                wire.flood(&[b'x'; 1 << 16]);
            }),
        ),
        (
            "a body as long as it promised",
            act(|wire| {
                wire.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n\"");
                wire.flood(&[b'x'; 1 << 16]);
            }),
        ),
        (
            "an endless head",
            act(|wire| {
                wire.raw(b"HTTP/1.1 200 OK\r\n");
                wire.flood(b"x-more: and more and more and more\r\n");
            }),
        ),
        (
            "an endless event",
            act(|wire| {
                wire.stream();
                wire.raw(b"data: ");
                wire.flood(&[b'x'; 1 << 16]);
            }),
        ),
        (
            "an event of endless lines",
            act(|wire| {
                wire.stream();
                wire.flood(&b"data: x\n".repeat(1 << 13));
            }),
        ),
    ];
    together("http", cases);
}

#[test]
fn a_stream_without_an_answer_leaves_the_outcome_unknown() {
    let cases: Vec<(&str, Act)> = vec![
        (
            "ends at once",
            act(|wire| {
                wire.stream();
                wire.close();
            }),
        ),
        (
            "only tells",
            act(|wire| {
                wire.stream();
                wire.raw(b"id: 1\ndata:\n\n: keep-alive\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n");
                wire.close();
            }),
        ),
        (
            "tells without end",
            act(|wire| {
                wire.stream();
                wire.flood(&b"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n".repeat(100));
            }),
        ),
        (
            "bare JSON instead of events",
            act(|wire| {
                wire.stream();
                let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{DONE}}}\n\n", wire.id);
                wire.raw(text.as_bytes());
                wire.close();
            }),
        ),
        (
            "an event of no JSON",
            act(|wire| {
                wire.stream();
                wire.raw(b"data: done\n\n");
            }),
        ),
        (
            "an answer to something else",
            act(|wire| {
                wire.stream();
                wire.raw(b"data: {\"jsonrpc\":\"2.0\",\"id\":999,\"result\":{}}\n\n");
            }),
        ),
        (
            "an answer without its end",
            act(|wire| {
                wire.stream();
                let text = format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{DONE}}}\n", wire.id);
                wire.raw(text.as_bytes());
                wire.close();
            }),
        ),
    ];
    together("http", cases);
}

#[test]
fn a_child_that_gives_no_answer_leaves_the_outcome_unknown() {
    let cases: Vec<(&str, Act)> = vec![
        ("hangs", act(|_| {})),
        ("dies", act(Wire::close)),
        (
            "dies within the line",
            act(|wire| {
                wire.raw(b"{\"jsonrpc\":\"2.0\",");
                wire.close();
            }),
        ),
        ("another id", act(|wire| wire.message(br#"{"jsonrpc":"2.0","id":999,"result":{}}"#))),
        (
            "its id as text",
            act(|wire| {
                let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{}\",\"result\":{{}}}}", wire.id);
                wire.message(text.as_bytes());
            }),
        ),
        (
            "only noise",
            act(|wire| {
                wire.raw(b"Server ready!\n\n\0\xff\xfe\n[]\n{}\n\"done\"\n");
            }),
        ),
        (
            "an endless line",
            act(|wire| {
                wire.flood(&[b'x'; 1 << 16]);
            }),
        ),
        (
            "endless noise",
            act(|wire| {
                wire.flood(&b"noise\n".repeat(1 << 12));
            }),
        ),
    ];
    together("stdio", cases);
}

/// Plays all cases at once; most of their time is waiting
fn together(carrier: &'static str, cases: Vec<(&'static str, Act)>) {
    let running: Vec<_> =
        cases.into_iter().map(|(what, act)| (what, thread::spawn(move || is_unknown(carrier, what, act)))).collect();
    let failed: Vec<&str> =
        running.into_iter().filter_map(|(what, case)| case.join().is_err().then_some(what)).collect();
    assert!(failed.is_empty(), "{carrier}: {failed:?}");
}

/// A place with one connector whose calls are answered by `act`, and a task
fn at_work(upstream: &Upstream) -> (Place, Serve, Task) {
    let place = Place::with(&[("shop", upstream)], "", "");
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    (place, serve, task)
}

#[test]
fn an_answer_is_taken_once_however_it_comes() {
    let cases: Vec<(&str, Act)> = vec![
        (
            "after events of other kinds",
            act(|wire| {
                wire.stream();
                let events = format!(
                    ": hello\n\nid: 1\ndata:\n\nretry: 10\nevent: message\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{{}}}}\n\n\
                 data: {{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}}\r\n\r\n\
                 data: {{\"jsonrpc\":\"2.0\",\ndata: \"id\":{},\"result\":{DONE}}}\n\n",
                    wire.id
                );
                for byte in events.as_bytes() {
                    wire.raw(&[*byte]);
                }
                wire.close();
            }),
        ),
        (
            "twice in a stream",
            act(|wire| {
                wire.stream();
                let (id, other) = (wire.id.clone(), r#"{"content":[],"isError":true}"#);
                wire.raw(format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{DONE}}}\n\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{other}}}\n\n").as_bytes());
                wire.close();
            }),
        ),
        (
            "before a stream that never ends",
            act(|wire| {
                wire.stream();
                let id = wire.id.clone();
                wire.raw(format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{DONE}}}\n\n").as_bytes());
            }),
        ),
        (
            "in chunks",
            act(|wire| {
                wire.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n");
                let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{DONE}}}", wire.id);
                for byte in answer.bytes() {
                    wire.raw(&[b'1', b'\r', b'\n', byte, b'\r', b'\n']);
                }
                wire.raw(b"0\r\n\r\n");
            }),
        ),
        (
            "with status 201",
            act(|wire| {
                let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{DONE}}}", wire.id);
                wire.respond("201 Created", "application/json", answer.as_bytes());
            }),
        ),
    ];
    for (what, case) in cases {
        let once = once(&over("http", case));
        assert_eq!((word(&once.answer).as_str(), once.end.as_str()), ("ok", "ok"), "{what}: {}", once.answer);
    }
    let cases: Vec<(&str, Act)> = vec![
        (
            "after noise",
            act(|wire| {
                wire.raw(b"Starting...\r\n\n{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n");
                wire.answer(DONE);
            }),
        ),
        (
            "twice",
            act(|wire| {
                wire.answer(DONE);
                wire.answer(r#"{"content":[],"isError":true}"#);
            }),
        ),
        (
            "after an answer to something else",
            act(|wire| {
                wire.message(br#"{"jsonrpc":"2.0","id":999,"result":{"content":[],"isError":true}}"#);
                wire.answer(DONE);
            }),
        ),
        (
            "in pieces, with a carriage return",
            act(|wire| {
                let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{DONE}}}\r\n", wire.id);
                for byte in answer.as_bytes() {
                    wire.raw(&[*byte]);
                }
            }),
        ),
    ];
    for (what, case) in cases {
        let once = once(&over("stdio", case));
        assert_eq!((word(&once.answer).as_str(), once.end.as_str()), ("ok", "ok"), "{what}: {}", once.answer);
    }
}

#[test]
fn an_error_of_the_server_is_passed_on_and_spent() {
    let cases: Vec<(&str, Act)> = vec![
        (
            "a result that says so",
            act(|wire| wire.answer(r#"{"content":[{"type":"text","text":"no stock"}],"isError":true}"#)),
        ),
        (
            "an error",
            act(|wire| {
                let id = wire.id.clone();
                wire.message(
                    format!(
                        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32050,\"message\":\"no stock\"}}}}"
                    )
                    .as_bytes(),
                );
            }),
        ),
        (
            "an error with status 400",
            act(|wire| {
                let id = wire.id.clone();
                wire.respond(
                    "400 Bad Request",
                    "application/json",
                    format!(
                        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32050,\"message\":\"no stock\"}}}}"
                    )
                    .as_bytes(),
                );
            }),
        ),
    ];
    for (what, case) in cases {
        let once = once(&over("http", case));
        assert!(once.answer.to_string().contains("no stock"), "{what}: {}", once.answer);
        assert_eq!((&once.answer["id"], once.end.as_str()), (&json!(1), "failed"), "{what}");
    }
}

#[test]
fn a_call_that_was_refused_by_a_status_is_not_said_to_be_unsent() {
    for (status, end) in [
        ("400 Bad Request", "unknown"),
        ("401 Unauthorized", "failed"),
        ("403 Forbidden", "failed"),
        ("409 Conflict", "unknown"),
        ("429 Too Many Requests", "failed"),
    ] {
        let once = once(&over("http", move |wire| wire.respond(status, "text/plain", b"no")));
        assert_eq!(once.end, end, "{status}");
        assert_eq!(once.answer["result"]["isError"], true, "{status}: {}", once.answer);
        let text = once.answer["result"]["content"][0]["text"].as_str().unwrap();
        assert!(!text.contains("Nothing was sent"), "it was: {text}");
        assert_eq!(once.answer["result"]["_meta"]["dev.portreeve/refusal"]["retry"], false, "{text}");
    }
}

#[test]
fn redirects_are_never_followed() {
    for status in
        ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let elsewhere = Upstream::http(&["act"], |_, _| false);
        let location = elsewhere.url();
        let redirects = over("http", move |wire| {
            wire.raw(format!("HTTP/1.1 {status}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n").as_bytes());
        });
        assert_eq!(once(&redirects).end, "unknown", "{status}");
        elsewhere.quiet();
        assert!(elsewhere.received().is_empty(), "{status}");
    }
}

#[test]
fn a_session_that_is_over_is_opened_again() {
    let upstream = Upstream::http(&["act"], |received, wire| {
        let session = received.header("mcp-session-id").unwrap_or_default();
        // Each session is good for one call.
        let used = received.value.strip_prefix("again ").is_some_and(|before| before == session);
        if used {
            wire.respond("404 Not Found", "text/plain", b"");
        }
        used
    });
    let (place, serve, task) = at_work(&upstream);
    assert_eq!(task.word("shop", "act", "first"), "ok");
    let session = |at: usize| upstream.calls()[at].header("mcp-session-id").unwrap().to_owned();
    assert_eq!(upstream.calls()[0].header("mcp-protocol-version"), Some("2025-11-25"));
    let value = format!("again {}", session(0));
    // The server says of the session that it is over, and so that it did nothing: the same message is sent once more.
    assert_eq!(task.word("shop", "act", &value), "ok");
    serve.calls_settled(&task);
    assert_eq!(place.record().call(&value).ends, ["ok"]);
    assert_eq!(upstream.values(), ["first".to_owned(), value.clone(), value.clone()]);
    assert_eq!((session(0) == session(1), session(1) == session(2)), (true, false));
    // But once only: a server that knows no session at all has refused it.
    let value = format!("again {}", session(2));
    let never = Upstream::http(&["act"], move |received, wire| {
        let is_call = received.method == "tools/call";
        if is_call {
            wire.respond("404 Not Found", "text/plain", b"");
        }
        is_call
    });
    let (place, serve, task) = at_work(&never);
    assert_eq!(task.call("shop", "act", &json!({ "value": value }))["result"]["isError"], true);
    serve.calls_settled(&task);
    assert_eq!(place.record().call(&value).ends, ["failed"], "arrived, and refused");
    assert_eq!(never.values().len(), 2);
}

#[test]
fn what_cannot_be_reached_is_not_admitted() {
    let gone = Upstream::http(&["act"], |_, _| false);
    let (place, serve, _) = at_work(&gone);
    let task = serve.open("work");
    drop(gone);
    // Nobody listens there any more.
    assert_eq!(task.word("shop", "act", "v"), "connector_unreachable");
    assert!(place.record().calls().is_empty());

    let no_server = Place::new();
    no_server.write("policy/connectors/shop.toml", "command = [\"/no/such/program\"]\n[tools.act]\nclass = \"read\"\n");
    let shown = no_server.run(&["connector", "show", "shop"]).good();
    assert!(shown.out.contains("cannot be asked what it offers now"), "{shown:?}");
    let accepted = no_server.run(&["connector", "accept", "shop", "--yes"]);
    assert_eq!(accepted.code, 7, "{accepted:?}");
}

/// A server whose handshake waits for the gate
fn slow(stdio: bool) -> (Upstream, Gate) {
    let gate = Gate::default();
    gate.open();
    let waits = gate.clone();
    let script = move |received: &Received, _: &mut Wire| {
        if received.method == "initialize" {
            waits.wait();
        }
        false
    };
    (if stdio { Upstream::stdio(&["act"], script) } else { Upstream::http(&["act"], script) }, gate)
}

#[test]
fn a_slow_handshake_is_waited_for_but_not_by_what_is_over() {
    for stdio in [false, true] {
        let (upstream, gate) = slow(stdio);
        let (place, serve, task) = at_work(&upstream);
        let hellos = upstream.count("initialize");
        gate.shut();
        let calling = |task: &Task, id: u64| {
            let task = task.clone();
            let message = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "act", "arguments": { "value": format!("v{id}") } } });
            thread::spawn(move || word(&task.post("shop", message.to_string().as_bytes()).json()))
        };
        let (stopped, killed) = (serve.open("work"), serve.open("work"));
        let (patient, early, over) = (calling(&task, 1), calling(&stopped, 2), calling(&killed, 3));
        upstream.wait_for_count("initialize", hellos + 3);
        // One client thinks better of it, one task is stopped: both are told at once, though the server is silent.
        let cancel = br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#;
        assert_eq!(stopped.post("shop", cancel).status, 202);
        assert_eq!(early.join().unwrap(), "connector_unreachable");
        assert!(serve.stop(&killed.id)["cleared_us"].is_u64());
        assert_eq!(over.join().unwrap(), "task_over");
        gate.open();
        assert_eq!(patient.join().unwrap(), "ok");
        assert_eq!(upstream.values(), ["v1"]);
        assert_eq!(place.record().calls().len(), 1, "nothing else was admitted");
        // And the one that was cancelled goes on with the same child.
        assert_eq!(stopped.word("shop", "act", "next"), "ok");
    }
}

#[test]
fn definitions_that_change_are_refused_until_they_are_accepted() {
    for stdio in [false, true] {
        let tells = |received: &Received, wire: &mut Wire| {
            let changes = received.value == "change";
            if changes {
                wire.message(br#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
                wire.answer(DONE);
            }
            changes
        };
        let upstream = if stdio {
            Upstream::stdio(&["act", "other"], tells)
        } else {
            Upstream::http(&["act", "other"], |_, _| false)
        };
        let (place, serve, task) = at_work(&upstream);
        assert_eq!(task.word("shop", "act", "before"), "ok");
        let mut changed = tool("act");
        changed["description"] = json!("Does something else, and tells nobody");
        upstream.offer(vec![changed.clone(), tool("other")]);
        if stdio {
            assert_eq!(task.word("shop", "act", "change"), "ok");
        } else {
            // A task that begins looks at once; the one at work hears of it from the record.
            assert_eq!(serve.open("work").word("shop", "act", "sees"), "definition_changed");
        }
        assert_eq!(task.word("shop", "act", "refused"), "definition_changed", "stdio: {stdio}");
        assert_eq!(task.word("shop", "other", "unchanged"), "ok");
        let listed = task.ask("shop", "tools/list", &json!({}));
        assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 1, "{listed}");

        // What was shown is what is accepted, or nothing.
        let shown = place.json(&["connector", "show", "shop"]);
        let mut again = changed.clone();
        again["description"] = json!("And once more");
        upstream.offer(vec![again, tool("other")]);
        let stale = json!({ "digest": shown["digest"] });
        let (status, refused) = serve.admin("POST", "/v1/connectors/shop/accept", &stale);
        assert_eq!((status, &refused["error"]["word"]), (409, &json!("offer_changed")), "{refused}");
        let ran = place.run(&["connector", "accept", "shop", "--digest", shown["digest"].as_str().unwrap()]);
        assert!(ran.code == 8 && ran.err.contains("has changed since it was shown"), "{ran:?}");
        assert_eq!(task.word("shop", "act", "still refused"), "definition_changed");

        let ran = place.run(&["connector", "accept", "shop"]);
        assert_eq!(ran.code, 1, "nobody was there to say yes: {ran:?}");
        assert!(ran.out.contains("READ THIS") && ran.out.contains("act: says other words"), "{ran:?}");
        assert!(ran.out.contains("+ description: And once more"), "{ran:?}");
        let shown = place.json(&["connector", "show", "shop"]);
        let digest = shown["digest"].as_str().unwrap();
        assert_eq!(
            (&shown["as_accepted"], &shown["changes"][0]["what"]),
            (&json!(false), &json!("wording")),
            "{shown}"
        );
        place.run(&["connector", "accept", "shop", "--digest", digest]).good();
        let shown = place.json(&["connector", "show", "shop"]);
        assert!(shown["as_accepted"] == json!(true) && shown["digest"] == digest, "{shown}");
        assert_eq!(task.word("shop", "act", "accepted"), "ok", "stdio: {stdio}");

        // A tool that is gone is refused too, and comes back with itself.
        upstream.offer(vec![tool("act")]);
        place.run(&["connector", "show", "shop"]).good();
        assert_eq!(task.word("shop", "other", "gone"), "definition_missing");
        upstream.offer(vec![tool("other")]);
        place.run(&["connector", "show", "shop"]).good();
        assert_eq!(task.word("shop", "other", "back"), "ok");
        let values = upstream.values();
        for refused in ["refused", "still refused", "sees", "gone"] {
            assert!(!values.contains(&refused.to_owned()), "{refused}");
        }
    }
}

/// Everything that a parser and a printer in between would change
const ODD: &str = r#"{"text":"\u00e9\/\u2028 \ud83d\ude00 é 😀\\\"","numbers":[1.0,1e2,1E+2,-0,0.10,123456789012345678901234567890,5e-324],"b":null,"a":{"z":1,"y":[ ],"":{ }}}"#;

#[test]
fn a_request_and_its_result_arrive_as_they_were_written() {
    for stdio in [false, true] {
        let result = format!(
            r#" {{ "x-own" : 1 , "content":[{{"type":"text","text":"\u0041"}},{{"type":"never-heard-of","own":{ODD}}}],"structuredContent":{ODD},"isError":false,"_meta":{{"a/b":0.0}} }} "#
        );
        let whole = move |id: &str| format!(r#"{{"result":{result},"x":true,  "id" : {id} ,"jsonrpc":"2.0"}}"#);
        let answer = whole.clone();
        let upstream = over(if stdio { "stdio" } else { "http" }, move |wire| {
            let answer = answer(&wire.id);
            wire.message(answer.as_bytes());
        });
        let (place, _serve, task) = at_work(&upstream);
        let call = |id: &str| {
            format!(
                r#"{{  "params":{{"_meta":{{"progressToken":1e0,"own":{ODD}}},"arguments":{{ "value" : {ODD} }},"name":"act","x-extension":[1.50]}},"method":"tools/call","x":"\u0041","id":{id},"jsonrpc":"2.0"}}"#
            )
        };
        for id in ["7", "\"a-\\u0041-é\"", "-1", "99999999999999999999", "\"\""] {
            let response = task.post("shop", call(id).as_bytes());
            let got = String::from_utf8(response.body).unwrap();
            assert_eq!(got, whole(id), "the result, stdio: {stdio}");
            let sent = upstream.calls().pop().unwrap();
            let own = sent.json()["id"].to_string();
            // A token for progress is good for one link, as an id is.
            let expected = call(&own).replace("\"progressToken\":1e0", &format!("\"progressToken\":{own}"));
            assert_eq!(String::from_utf8(sent.message).unwrap(), expected, "the request, stdio: {stdio}");
        }
        // And so the record knows them, by value.
        let record = place.record();
        let opened = &record.lines[record.events("admitted").last().unwrap().0]["opened"]["arguments.value"];
        assert_eq!(opened["text"], "\u{e9}/\u{2028} \u{1f600} \u{e9} \u{1f600}\\\"");
    }
}

#[test]
fn a_connector_asks_the_agent_nothing() {
    let upstream = over("stdio", |wire| {
        for method in ["ping", "sampling/createMessage", "elicitation/create", "roots/list"] {
            wire.message(
                format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{method}\",\"method\":\"{method}\",\"params\":{{}}}}")
                    .as_bytes(),
            );
        }
        wire.answer(DONE);
    });
    let (_place, serve, task) = at_work(&upstream);
    let body = String::from_utf8(
        task.post(
            "shop",
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"act","arguments":{"value":"v"}}}"#,
        )
        .body,
    )
    .unwrap();
    assert_eq!(body, format!(r#"{{"jsonrpc":"2.0","id":1,"result":{DONE}}}"#));
    crate::support::until("all four are answered", || {
        upstream.received().iter().filter(|received| received.json()["id"].is_string()).count() == 4
    });
    for received in upstream.received().iter().map(Received::json).filter(|message| message["id"].is_string()) {
        let expected = if received["id"] == "ping" {
            received["result"] == json!({})
        } else {
            received["error"]["code"] == -32601
        };
        assert!(expected, "{received}");
    }
    drop(serve);
}

#[test]
fn a_child_that_does_not_read_is_no_way_around_a_stop() {
    // It reads the handshake, and then nothing more, so that a long call is stuck half way.
    let upstream = Upstream::stdio_with(&["act"], "", "kill $(jobs -p)", |received, _| received.method == "tools/call");
    let (place, serve, task) = at_work(&upstream);
    assert_eq!(below(serve.pid()).len(), 0);
    let first = {
        let task = task.clone();
        thread::spawn(move || task.word("shop", "act", "first"))
    };
    upstream.wait_for_calls(1);
    // The relay's reader is stopped: what is written now stays in the pipe.
    let relay: Vec<Watched> =
        below(upstream.children().pop().unwrap()[0]).into_iter().filter_map(Watched::of).collect();
    for process in &relay {
        process.signal(rustix::process::Signal::STOP);
    }
    let long = {
        let (task, value) = (task.clone(), "x".repeat(1 << 20));
        thread::spawn(move || task.word("shop", "act", &value))
    };
    crate::support::until("the long call is admitted", || place.record().calls().len() == 2);
    let answer = serve.stop(&task.id);
    assert!(answer["cleared_us"].is_u64(), "{answer}");
    assert_eq!(first.join().unwrap(), "outcome_unknown");
    assert_eq!(long.join().unwrap(), "outcome_unknown");
    assert!(relay.iter().all(Watched::is_over));
    serve.settled();
    assert!(place.record().calls().values().all(|call| call.ends == ["unknown"]));
}

#[test]
fn a_stop_overtakes_a_call_that_is_still_connecting() {
    // Its answers close their connections, so that the next message needs a new one.
    let upstream = Upstream::http(&["act"], |received, wire| {
        let result = match received.method.as_str() {
            "tools/list" => json!({ "tools": [tool("act")] }).to_string(),
            "tools/call" => DONE.to_owned(),
            _ => return false,
        };
        let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{result}}}", wire.id);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        wire.raw(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).as_bytes());
        wire.close();
        true
    });
    let (place, serve, task) = at_work(&upstream);
    assert_eq!(task.word("shop", "act", "before"), "ok");
    upstream.quiet();
    upstream.close_door();
    let call = {
        let task = task.clone();
        thread::spawn(move || task.word("shop", "act", "v"))
    };
    crate::support::until("it is admitted", || place.record().calls().values().any(|call| call.value == "v"));
    let answer = serve.stop(&task.id);
    assert!(answer["settled_us"].is_u64() && answer["cleared_us"].is_u64(), "{answer}");
    assert_eq!(call.join().unwrap(), "withheld");
    upstream.open_door();
    // Whoever still knocks is let in, and has brought nothing once he is gone.
    assert_eq!(serve.open("work").word("shop", "act", "after"), "ok");
    serve.terminate();
    upstream.quiet();
    assert_eq!(upstream.values(), ["before", "after"]);
    assert_eq!(place.record().call("v").ends, ["not_sent"]);
}
