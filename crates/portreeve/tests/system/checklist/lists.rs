//! Discovery: filtered by the purpose, private, recorded apart from use.

use super::{
    agent::{Agent, LEGACY, MODERN},
    shop::House,
};
use crate::support::until;
use serde_json::{Value, json};

fn names(answer: &Value, list: &str, name: &str) -> Vec<String> {
    let entries = answer["result"][list].as_array().unwrap_or_else(|| panic!("{answer}"));
    entries.iter().map(|entry| entry[name].as_str().unwrap().to_owned()).collect()
}

#[test]
fn item_35_36_and_44_lists_show_what_the_purpose_could_let_through() {
    for modern in [true, false] {
        let house = House::new(modern);
        for agent in [Agent::modern(&house.task, "shop"), Agent::legacy(&house.task, "shop", json!({}))] {
            let tools = || names(&agent.ask("tools/list", json!({})), "tools", "name");
            assert_eq!(tools(), ["act", "ask", "job", "once", "pry", "slow", "tell"]);
            assert_eq!(tools(), tools(), "always in the same order");
            assert_eq!(names(&agent.ask("prompts/list", json!({})), "prompts", "name"), ["greet"]);
            let first = agent.ask("resources/list", json!({}));
            assert_eq!(names(&first, "resources", "uri"), ["file:///shop/open/a"]);
            // Item 40: the connector's own cursor, an empty one here, is sealed: an agent can make none up.
            let cursor = first["result"]["nextCursor"].as_str().unwrap();
            assert!(!cursor.is_empty());
            assert_eq!(agent.ask("resources/list", json!({ "cursor": "" }))["error"]["code"], -32602);
            let second = agent.ask("resources/list", json!({ "cursor": cursor }));
            assert_eq!(names(&second, "resources", "uri"), ["file:///shop/open/b"]);
            assert_eq!(second["result"].get("nextCursor"), None);
            let templates = agent.ask("resources/templates/list", json!({}));
            assert_eq!(names(&templates, "resourceTemplates", "uriTemplate"), ["file:///shop/open/{id}"]);
        }
        // Another task, another list: nothing is remembered of the first one.
        let other = Agent::modern(&house.serve.open("other"), "shop");
        assert_eq!(names(&other.ask("tools/list", json!({})), "tools", "name"), ["act", "ask"]);
        assert_eq!(names(&other.ask("prompts/list", json!({})), "prompts", "name"), Vec::<String>::new());
        assert_eq!(names(&other.ask("resources/list", json!({})), "resources", "uri"), Vec::<String>::new());
    }
}

#[test]
fn item_37_38_and_39_what_is_listed_is_private_and_short_lived() {
    for modern in [true, false] {
        let house = House::new(modern);
        let agent = Agent::modern(&house.task, "shop");
        for (method, params) in [
            ("server/discover", json!({})),
            ("tools/list", json!({})),
            ("prompts/list", json!({})),
            ("resources/list", json!({})),
            ("resources/templates/list", json!({})),
            ("resources/read", json!({ "uri": "file:///shop/open/a" })),
        ] {
            let result = agent.ask(method, params)["result"].clone();
            assert_eq!(
                (&result["resultType"], &result["cacheScope"]),
                (&json!("complete"), &json!("private")),
                "{method}"
            );
            let ttl = result["ttlMs"].as_u64().unwrap_or_else(|| panic!("{method}: {result}"));
            assert!(ttl <= 60_000, "{method}: {ttl}");
        }
        let asked = Agent::asked(true, &house.task, "shop").call("ask", "v");
        assert_eq!(asked["result"]["resultType"], "input_required");
        assert!(asked["result"].get("ttlMs").is_none() && asked["result"].get("cacheScope").is_none(), "{asked}");
    }
}

#[test]
fn item_48_the_gateway_introduces_itself_with_what_both_can_do() {
    for modern in [true, false] {
        let house = House::new(modern);
        let hello = Agent::modern(&house.task, "shop").ask("server/discover", json!({}))["result"].clone();
        assert_eq!(hello["supportedVersions"], json!([MODERN, LEGACY, "2025-06-18", "2025-03-26"]), "{hello}");
        let capabilities = &hello["capabilities"];
        for name in ["tools", "prompts", "resources", "completions", "logging"] {
            assert!(capabilities[name].is_object(), "{name}: {hello}");
        }
        let extensions = capabilities["extensions"].as_object().map(|all| all.keys().cloned().collect::<Vec<_>>());
        let tasks = vec!["io.modelcontextprotocol/tasks".to_owned()];
        assert_eq!(extensions, Some(tasks), "what nobody here knows is left out: {hello}");
        // Whoever may use less is told of less.
        let less = Agent::modern(&house.serve.open("other"), "shop").ask("server/discover", json!({}));
        assert!(less["result"]["capabilities"].get("prompts").is_none(), "{less}");
        assert!(less["result"]["capabilities"].get("resources").is_none(), "{less}");
        assert_eq!(house.shop.count("tools/call"), 0);
    }
}

#[test]
fn item_40_a_cursor_that_was_not_given_out_is_invalid() {
    let house = House::new(true);
    let agent = Agent::modern(&house.task, "shop");
    for method in ["tools/list", "prompts/list"] {
        assert_eq!(agent.ask(method, json!({ "cursor": "made up" }))["error"]["code"], -32602, "{method}");
    }
    assert_eq!(agent.ask("resources/list", json!({ "cursor": 7 }))["error"]["code"], -32602);
}

#[test]
fn item_44_and_47_what_is_hidden_is_what_is_unknown() {
    for modern in [true, false] {
        let house = House::new(modern);
        for (agent, gone) in
            [(Agent::modern(&house.task, "shop"), -32602), (Agent::legacy(&house.task, "shop", json!({})), -32002)]
        {
            let same = |method: &str, name: &str, hidden: &str, unknown: &str, code: i64| {
                let ask = |called: &str| {
                    let response = agent.post(&agent.message(1, method, json!({ name: called })));
                    (response.status, String::from_utf8(response.body).unwrap())
                };
                let (hidden, unknown) = ((ask(hidden), hidden), (ask(unknown), unknown));
                let parsed: Value = serde_json::from_str(&hidden.0.1).unwrap();
                assert_eq!(parsed["error"]["code"], code, "{method}: {parsed}");
                assert_eq!(hidden.0.0, unknown.0.0);
                assert_eq!(hidden.0.1.replace(hidden.1, "X"), unknown.0.1.replace(unknown.1, "X"), "{method}");
            };
            same("tools/call", "name", "hidden", "nothing", -32602);
            same("prompts/get", "name", "secret", "nothing", -31001);
            let (closed, nothing) = ("file:///shop/closed/a", "file:///shop/nothing");
            same("resources/read", "uri", closed, nothing, -31001);
            // What nobody named in the purpose is no prompt and no resource of this task.
            let other = house.serve.open("other");
            let agent = Agent { task: other, session: None, modern: agent.modern, ..agent.clone() };
            let prompt = agent.ask("prompts/get", json!({ "name": "secret" }));
            assert_eq!(prompt["error"]["code"], -32602, "{prompt}");
            let read = agent.ask("resources/read", json!({ "uri": "file:///shop/closed/a" }));
            assert_eq!(read["error"]["code"], gone, "{read}");
        }
        house.nothing_came_through();
        assert_eq!(house.shop.count("resources/read") + house.shop.count("prompts/get"), 0);
    }
}

#[test]
fn item_53_a_listed_name_is_judged_when_it_is_used() {
    for modern in [true, false] {
        let house = House::new(modern);
        for agent in [Agent::modern(&house.task, "shop"), Agent::legacy(&house.task, "shop", json!({}))] {
            for (method, params, good) in [
                ("resources/read", json!({ "uri": "file:///shop/open/a" }), true),
                ("resources/read", json!({ "uri": "file:///shop/closed/a" }), false),
                ("resources/read", json!({ "uri": "file:///shop/open/../closed/a" }), false),
                ("resources/read", json!({ "uri": "file:///shop/open/%2e%2e/closed/a" }), false),
                ("prompts/get", json!({ "name": "greet" }), true),
                ("prompts/get", json!({ "name": "secret" }), false),
            ] {
                let answer = agent.ask(method, params.clone());
                assert_eq!(answer["result"].is_object(), good, "{method} {params}: {answer}");
                let code = answer["error"]["code"].as_i64();
                assert!(
                    good || code
                        .is_some_and(|code| code > -32000 || code == -32602 || code == -32002 || code == -31001),
                    "{answer}"
                );
            }
        }
        let read: Vec<Value> = house.shop.received().iter().map(|one| one.json()["params"]["uri"].clone()).collect();
        assert!(!read.iter().any(|uri| uri.as_str().is_some_and(|uri| uri.contains("closed"))), "{read:?}");
    }
}

#[test]
fn item_42_what_a_server_says_of_its_tools_permits_nothing() {
    let house = House::new(true);
    let purpose = house.place.read("policy/purposes/other.toml");
    let reads = purpose.replace("standing = [\"read\", \"write\", \"execute\"]", "standing = [\"read\"]");
    assert_ne!(purpose, reads);
    house.place.write("policy/purposes/reads.toml", &reads);
    house.place.run(&["policy", "apply"]).good();
    // Its definition says that it only reads, the connector's file that it writes.
    let listed = Agent::modern(&house.task, "shop").ask("tools/list", json!({}));
    assert_eq!(listed["result"]["tools"][0]["annotations"]["readOnlyHint"], true, "{listed}");
    let agent = Agent::legacy(&house.serve.open("reads"), "shop", json!({}));
    assert_ne!(agent.word("act", "v"), "ok");
    house.nothing_came_through();
}

#[test]
fn discovery_is_recorded_apart_from_use() {
    let house = House::new(true);
    let agent = Agent::modern(&house.task, "shop");
    for _ in 0..3 {
        agent.ask("tools/list", json!({}));
        agent.ask("prompts/list", json!({}));
    }
    agent.ask("resources/list", json!({}));
    let looked = || -> Vec<String> {
        let record = house.place.record();
        assert!(record.calls().is_empty(), "nothing of it is a use");
        let looked = record.events("noted").filter_map(|(_, noted)| noted.get("looked"));
        let text =
            |looked: &Value| format!("{} {} {}", looked["method"].as_str().unwrap(), looked["shown"], looked["hidden"]);
        looked.map(text).collect()
    };
    until("all of it is recorded", || looked().len() >= 3);
    assert_eq!(looked(), ["tools/list 7 1", "prompts/list 1 1", "resources/list 1 1"], "once each");
    let told = house.place.run(&["audit", "tail", "-n", "1000"]).good();
    assert!(told.out.contains("looked at shop with prompts/list: shown 1, hidden 1"), "{}", told.out);
}
