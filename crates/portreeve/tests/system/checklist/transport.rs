//! How a request is carried: one message, its headers, its status; and what hanging up means.

use super::{
    agent::{Agent, LEGACY, MODERN},
    shop::House,
};
use crate::support::{http::Response, place::word};
use serde_json::{Value, json};

fn codes(response: &Response) -> (u16, Option<i64>) {
    (response.status, response.code())
}

fn value(text: &str) -> Value {
    json!({ "value": text })
}

/// A call of `act`, whose argument stands in a header too
fn act(agent: &Agent, text: &str) -> (Value, super::agent::Headers) {
    let message = agent.message(1, "tools/call", json!({ "name": "act", "arguments": value(text) }));
    let mut headers = agent.headers(&message);
    headers.push(("mcp-param-value", text.to_owned()));
    (message, headers)
}

#[test]
fn item_01_06_and_08_an_answer_is_one_object_or_a_stream_that_ends_with_it() {
    let house = House::new(true);
    let agent = Agent::modern(&house.task, "shop");
    let (message, headers) = act(&agent, "v");
    let response = agent.send("POST", &headers, message.to_string().as_bytes());
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")), "{response:?}");
    assert_eq!(word(&response.json()), "ok");

    let followed = json!({ "progressToken": "t", "io.modelcontextprotocol/logLevel": "debug" });
    let tell = json!({ "name": "tell", "arguments": value("v"), "_meta": followed });
    let response = agent.post(&agent.message(7, "tools/call", tell));
    assert_eq!((response.status, response.header("content-type")), (200, Some("text/event-stream")), "{response:?}");
    assert_eq!(response.header("x-accel-buffering"), Some("no"));
    assert_eq!(response.header("mcp-session-id"), None);
    let messages: Vec<Value> = response.messages().iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    assert_eq!(messages.last().unwrap()["id"], 7, "{messages:?}");
    assert!(messages.iter().rev().skip(1).all(|message| message["method"].is_string() && message.get("id").is_none()));
}

#[test]
fn item_29_and_32_progress_and_the_log_are_told_to_whoever_asked_for_them() {
    for modern in [true, false] {
        let house = House::new(modern);
        let agent = Agent::modern(&house.task, "shop");
        let told = |meta: Value| -> Vec<Value> {
            let params = json!({ "name": "tell", "arguments": value("v"), "_meta": meta });
            let messages = agent.talk("tools/call", params).rest();
            let (last, told) = messages.split_last().unwrap();
            assert_eq!(word(last), "ok", "{last}");
            told.iter().map(|message| message["params"].clone()).collect()
        };
        assert_eq!(told(json!({})), Vec::<Value>::new());
        let progress = told(json!({ "progressToken": "agent's" }));
        let token = json!("agent's");
        assert_eq!(
            progress.iter().map(|params| (&params["progressToken"], params["progress"].as_i64())).collect::<Vec<_>>(),
            [(&token, Some(1)), (&token, Some(2))]
        );
        let logged = told(json!({ "io.modelcontextprotocol/logLevel": "warning" }));
        assert_eq!(logged.iter().map(|params| &params["level"]).collect::<Vec<_>>(), ["error"]);
        let wrong = json!({ "name": "tell", "_meta": { "io.modelcontextprotocol/logLevel": "loud" } });
        assert_eq!(codes(&agent.post(&agent.message(1, "tools/call", wrong))).1, Some(-32602));
        // The connector saw tokens of ours.
        assert!(house.shop.calls().iter().all(|call| !String::from_utf8_lossy(&call.message).contains("agent's")));
    }
}

#[test]
fn item_04_and_05_notifications_are_taken_and_answers_of_modern_agents_are_not() {
    let house = House::new(true);
    let agent = Agent::modern(&house.task, "shop");
    let (message, headers) = act(&agent, "v");
    let taken = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 9 } });
    let response = agent.post(&taken);
    assert_eq!((response.status, response.body.len()), (202, 0));
    let other = headers.iter().cloned().map(|(name, value)| match name {
        "mcp-method" => (name, "tools/list".to_owned()),
        _ => (name, value),
    });
    assert_eq!(agent.send("POST", &other.collect(), taken.to_string().as_bytes()).status, 400, "item 101");
    let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": {} });
    assert_eq!(agent.post(&answer).status, 400);
    assert_eq!(codes(&agent.post(&json!([message]))), (400, Some(-32600)));
    house.nothing_came_through();
}

#[test]
fn item_10_13_14_and_97_headers_say_what_the_body_says_or_nothing_happens() {
    let house = House::new(true);
    let agent = Agent::modern(&house.task, "shop");
    let (message, good) = act(&agent, "v");
    let send = |name: &str, values: &[&str]| {
        let mut headers: super::agent::Headers = good.iter().filter(|(known, _)| *known != name).cloned().collect();
        let name = good.iter().map(|(known, _)| *known).find(|known| *known == name).unwrap_or("mcp-param-value");
        headers.extend(values.iter().map(|value| (name, (*value).to_owned())));
        agent.send("POST", &headers, message.to_string().as_bytes())
    };
    for (name, values) in [
        ("mcp-protocol-version", &[][..]),
        ("mcp-protocol-version", &[LEGACY]),
        ("mcp-protocol-version", &[MODERN, MODERN]),
        ("mcp-method", &[]),
        ("mcp-method", &["tools/list"]),
        ("mcp-method", &["TOOLS/CALL"]),
        ("mcp-method", &["tools/call", "tools/list"]),
        ("mcp-name", &[]),
        ("mcp-name", &["hidden"]),
        ("mcp-name", &["Act"]),
        ("mcp-name", &["act", "act"]),
        ("mcp-name", &["=?base64?YWN0"]),
        ("mcp-name", &["=?base64?YWN?="]),
        ("mcp-param-value", &[]),
        ("mcp-param-value", &["w"]),
        ("mcp-param-value", &["v", "v"]),
    ] {
        let response = send(name, values);
        assert_eq!(codes(&response), (400, Some(-32020)), "{name}: {values:?} {response:?}");
        assert_eq!(response.json()["id"], 1);
    }
    house.nothing_came_through();
    for (name, values) in
        [("mcp-name", "=?base64?YWN0?="), ("mcp-name", "  act "), ("mcp-param-value", "=?base64?dg==?=")]
    {
        assert_eq!(word(&send(name, &[values]).json()), "ok", "items 15 and 99: {values}");
    }
}

#[test]
fn item_16_and_17_headers_of_arguments_are_expected_where_the_definition_says_so() {
    let house = House::new(true);
    let agent = Agent::modern(&house.task, "shop");
    let mut none = act(&agent, "v");
    none.0["params"]["arguments"] = json!({});
    // There is a header, and no argument.
    assert_eq!(codes(&agent.send("POST", &none.1, none.0.to_string().as_bytes())), (400, Some(-32020)));
    none.1.retain(|(name, _)| *name != "mcp-param-value");
    assert_eq!(word(&agent.send("POST", &none.1, none.0.to_string().as_bytes()).json()), "ok");
    // What no definition speaks of means nothing.
    let (message, mut headers) = act(&agent, "é v");
    headers.retain(|(name, _)| *name != "mcp-param-value");
    headers.push(("mcp-param-value", "=?base64?w6kgdg==?=".to_owned()));
    headers.push(("mcp-param-unheard-of", "of".to_owned()));
    assert_eq!(word(&agent.send("POST", &headers, message.to_string().as_bytes()).json()), "ok");
    let call = house.shop.calls().pop().unwrap();
    assert_eq!(call.header("mcp-param-value"), Some("=?base64?w6kgdg==?="), "items 69 and 70: made anew");
    assert_eq!(call.header("mcp-param-unheard-of"), None);
    assert_eq!((call.header("mcp-method"), call.header("mcp-name")), (Some("tools/call"), Some("act")));
}

#[test]
fn item_11_12_21_22_and_23_what_a_modern_request_lacks_has_a_code_of_its_own() {
    let house = House::new(true);
    let agent = Agent::modern(&house.task, "shop");
    let (message, headers) = act(&agent, "v");
    let meta = |name: &str, value: Option<Value>| {
        let mut message = message.clone();
        let meta = message["params"]["_meta"].as_object_mut().unwrap();
        meta.remove(name);
        meta.extend(value.map(|value| (name.to_owned(), value)));
        message
    };
    let version = "io.modelcontextprotocol/protocolVersion";
    let old = meta(version, Some(json!("2099-01-01")));
    let of_it = headers.iter().map(|(name, value)| match *name {
        "mcp-protocol-version" => (*name, "2099-01-01".to_owned()),
        _ => (*name, value.clone()),
    });
    let response = agent.send("POST", &of_it.collect(), old.to_string().as_bytes());
    assert_eq!(codes(&response), (400, Some(-32022)), "{response:?}");
    let data = &response.json()["error"]["data"];
    assert_eq!(data["requested"], "2099-01-01");
    assert_eq!(data["supported"], json!([MODERN, LEGACY, "2025-06-18", "2025-03-26"]));

    for lacking in [meta(version, None), meta("io.modelcontextprotocol/clientCapabilities", None)] {
        let response = agent.send("POST", &headers, lacking.to_string().as_bytes());
        assert_eq!(response.status, 400, "{response:?}");
        assert_eq!(response.code(), Some(-32602), "{lacking} {response:?}");
    }
    for method in ["no/such", "initialize2", "ping", "logging/setLevel", "resources/subscribe", "tasks/list"] {
        let response = agent.post(&agent.message(1, method, json!({})));
        assert_eq!(codes(&response), (404, Some(-32601)), "{method}: {response:?}");
        assert_eq!(response.json()["id"], 1, "{method}");
    }
    let response = agent.post(&agent.message(1, "tasks/get", json!({ "taskId": "t" })));
    assert_eq!(codes(&response), (400, Some(-32021)), "{response:?}");
    let needed = &response.json()["error"]["data"]["requiredCapabilities"]["extensions"];
    assert!(needed["io.modelcontextprotocol/tasks"].is_object(), "{response:?}");
    house.nothing_came_through();
}

#[test]
fn item_20_and_24_the_modern_era_has_no_sessions_and_nothing_is_taken_from_earlier_requests() {
    let house = House::new(true);
    let agent = Agent::modern(&house.task, "shop");
    let (message, mut headers) = act(&agent, "v");
    for method in ["GET", "DELETE", "PUT"] {
        let response = agent.send(method, &headers, b"");
        assert_eq!((response.status, response.header("allow")), (405, Some("POST")), "{method}");
    }
    headers.push(("mcp-session-id", "whatever".to_owned()));
    headers.push(("last-event-id", "7".to_owned()));
    let response = agent.send("POST", &headers, message.to_string().as_bytes());
    assert_eq!((response.status, response.header("mcp-session-id")), (200, None), "{response:?}");
    // What one request can do, the next one cannot: an agent that can be asked, then one that cannot.
    let able = Agent::asked(true, &house.task, "shop");
    assert_eq!(able.call("ask", "v")["result"]["resultType"], "input_required");
    let answer = agent.call("ask", "v");
    assert_ne!(answer["result"]["resultType"], "input_required", "{answer}");
    assert_eq!(answer["result"]["isError"], true, "{answer}");
}

#[test]
fn item_27_and_28_a_modern_agent_gets_codes_and_kinds_of_results_of_its_era() {
    let house = House::with(false, |received, wire| {
        let gone = received.method == "resources/read";
        if gone {
            let error = json!({ "code": -32002, "message": "gone" });
            wire.message(
                json!({ "jsonrpc": "2.0", "id": received.json()["id"], "error": error }).to_string().as_bytes(),
            );
        }
        gone
    });
    let agent = Agent::modern(&house.task, "shop");
    let read = agent.ask("resources/read", json!({ "uri": "file:///shop/open/a" }));
    assert_eq!(read["error"]["code"], -32602, "items 27 and 47: {read}");
    let (message, headers) = act(&agent, "v");
    let done = agent.send("POST", &headers, message.to_string().as_bytes()).json();
    assert_eq!(done["result"]["resultType"], "complete");
    let refused = agent.call("once", "v");
    assert_eq!(refused["result"]["resultType"], "complete", "what Portreeve says itself: {refused}");
    let legacy = Agent::legacy(&house.task, "shop", json!({}));
    let read = legacy.ask("resources/read", json!({ "uri": "file:///shop/open/a" }));
    assert_eq!(read["error"]["code"], -32002);
}

#[test]
fn item_09_a_modern_agent_that_hangs_up_cancels_its_call() {
    for modern in [true, false] {
        let house = House::new(modern);
        let agent = Agent::modern(&house.task, "shop");
        let talk = agent.talk("tools/call", json!({ "name": "slow", "arguments": value("v") }));
        house.shop.wait_for_calls(1);
        drop(talk);
        if modern {
            house.open.closed("tools/call");
        } else {
            house.shop.wait_for_count("notifications/cancelled", 1);
        }
        house.serve.settled();
        assert_eq!(house.place.record().call("v").ends, ["unknown"]);
    }
}

#[test]
fn item_09_a_legacy_agent_that_hangs_up_cancels_nothing() {
    for modern in [true, false] {
        let house = House::new(modern);
        let agent = Agent::legacy(&house.task, "shop", json!({}));
        let talk = agent.talk("tools/call", json!({ "name": "slow", "arguments": value("v") }));
        house.shop.wait_for_calls(1);
        drop(talk);
        // Another request goes all the way meanwhile.
        assert_eq!(agent.word("act", "w"), "ok");
        assert!(house.open.is_read("tools/call"));
        assert_eq!(house.shop.count("notifications/cancelled"), 0);
        let (asked, stream) = house.open.of("tools/call");
        let done = json!({ "jsonrpc": "2.0", "id": asked.json()["id"], "result": { "content": [] } }).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        let response = format!("{head}content-length: {}\r\n\r\n{done}", done.len());
        std::io::Write::write_all(&mut &stream, response.as_bytes()).unwrap();
        house.serve.settled();
        assert_eq!(house.place.record().call("v").ends, ["ok"]);
    }
}
