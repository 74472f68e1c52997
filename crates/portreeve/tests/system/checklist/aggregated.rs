//! The endpoint of all connectors of a task: `/mcp`.

use super::{
    agent::Agent,
    shop::{Open, allow, connector},
};
use crate::support::{
    place::{Place, Serve, Task, word},
    upstream::Upstream,
};
use serde_json::{Value, json};

struct Both {
    serve: Serve,
    task: Task,
    place: Place,
    shop: Upstream,
    bank: Upstream,
    _open: [Open; 2],
}

impl Both {
    /// A modern connector and a legacy one
    fn new() -> Self {
        let open = [Open::default(), Open::default()];
        let shop = connector("shop", true, &open[0], |_, _| false);
        let bank = connector("bank", false, &open[1], |_, _| false);
        let place = Place::new();
        allow(&place, &[("shop", &shop), ("bank", &bank)]);
        let serve = place.serve(&["shop", "bank"]);
        let task = serve.open("work");
        Self { serve, task, place, shop, bank, _open: open }
    }

    fn agents(&self) -> [Agent; 2] {
        [Agent::modern(&self.task, ""), Agent::legacy(&self.task, "", json!({}))]
    }
}

/// Names of a list, over all of its pages
fn all(agent: &Agent, method: &str, list: &str, name: &str) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), None::<Value>);
    for _ in 0..10 {
        let answer = agent.ask(method, cursor.map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor })));
        let entries = answer["result"][list].as_array().unwrap_or_else(|| panic!("{method}: {answer}"));
        found.extend(entries.iter().map(|entry| entry[name].as_str().unwrap().to_owned()));
        cursor = answer["result"].get("nextCursor").cloned();
        if cursor.is_none() {
            found.sort();
            return found;
        }
    }
    panic!("{method} has no end: {found:?}");
}

const URIS: [&str; 4] = ["file:///bank/open/a", "file:///bank/open/b", "file:///shop/open/a", "file:///shop/open/b"];

#[test]
fn item_41_two_connectors_are_told_apart_by_their_names() {
    let both = Both::new();
    for agent in both.agents() {
        let tools = all(&agent, "tools/list", "tools", "name");
        let expected = ["act", "ask", "job", "once", "pry", "slow", "tell"];
        let expected: Vec<String> =
            ["bank", "shop"].iter().flat_map(|of| expected.map(|tool| format!("{of}__{tool}"))).collect();
        assert_eq!(tools, expected);
        assert!(tools.iter().all(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))));
        assert_eq!(all(&agent, "prompts/list", "prompts", "name"), ["bank__greet", "shop__greet"]);
        for (of, upstream) in [("shop", &both.shop), ("bank", &both.bank)] {
            let before = upstream.calls().len();
            assert_eq!(agent.word(&format!("{of}__tell"), of), "ok");
            let calls = upstream.calls();
            assert_eq!(calls.len(), before + 1);
            assert_eq!((calls[before].tool.as_str(), calls[before].value.as_str()), ("tell", of));
            let prompt = agent.ask("prompts/get", json!({ "name": format!("{of}__greet") }));
            assert_eq!(prompt["result"]["description"], "greet", "{prompt}");
            let reference = json!({ "type": "ref/prompt", "name": format!("{of}__greet") });
            let argument = json!({ "name": "a", "value": "b" });
            let completed = agent.ask("completion/complete", json!({ "ref": reference, "argument": argument }));
            assert_eq!(completed["result"]["completion"]["values"], json!(["greet"]), "{completed}");
        }
        for name in
            ["act", "shop_act", "shop__", "__act", "nobody__act", "shop__hidden", "shop__bank__act", "SHOP__act"]
        {
            assert_eq!(agent.word(name, "v"), "-32602", "{name}");
        }
        assert_eq!(
            agent.ask("prompts/get", json!({ "name": "shop__secret" }))["error"]["code"].as_i64().map(|code| code != 0),
            Some(true)
        );
    }
    assert!(both.shop.values().iter().chain(&both.bank.values()).all(|value| value != "v"));
}

#[test]
fn item_40_cursors_of_several_connectors_are_sealed_and_of_one_run() {
    let both = Both::new();
    for agent in both.agents() {
        assert_eq!(all(&agent, "resources/list", "resources", "uri"), URIS);
        let templates = all(&agent, "resources/templates/list", "resourceTemplates", "uriTemplate");
        assert_eq!(templates, ["file:///bank/open/{id}", "file:///shop/open/{id}"]);
        let first = agent.ask("resources/list", json!({}));
        let cursor = first["result"]["nextCursor"].as_str().unwrap().to_owned();
        let again = agent.ask("resources/list", json!({ "cursor": cursor }));
        let once_more = agent.ask("resources/list", json!({ "cursor": cursor }));
        assert_eq!(again["result"]["resources"], once_more["result"]["resources"]);
        for wrong in ["", "made up", cursor.strip_prefix(|_: char| true).unwrap()] {
            let answer = agent.ask("resources/list", json!({ "cursor": wrong }));
            assert_eq!(answer["error"]["code"], -32602, "{wrong}: {answer}");
        }
        let other = Agent::modern(&both.serve.open("work"), "");
        assert_eq!(other.ask("resources/list", json!({ "cursor": cursor }))["error"]["code"], -32602);
    }
}

#[test]
fn item_48_the_endpoint_of_all_says_what_any_of_them_can_do() {
    let both = Both::new();
    let [modern, legacy] = both.agents();
    let hello = modern.ask("server/discover", json!({}))["result"].clone();
    for name in ["tools", "prompts", "resources", "completions", "logging"] {
        assert!(hello["capabilities"][name].is_object(), "{name}: {hello}");
    }
    for (agent, uri) in [(&modern, URIS[0]), (&modern, URIS[2]), (&legacy, URIS[1]), (&legacy, URIS[3])] {
        let read = agent.ask("resources/read", json!({ "uri": uri }));
        assert_eq!(read["result"]["contents"][0]["uri"], uri, "{read}");
    }
    for uri in ["file:///bank/closed/a", "file:///nobody/open/a"] {
        assert!(modern.ask("resources/read", json!({ "uri": uri }))["error"]["code"].is_i64(), "{uri}");
    }
    let read = |upstream: &Upstream| -> Vec<Value> {
        let read = upstream.received().into_iter().filter(|one| one.method == "resources/read");
        read.map(|one| one.json()["params"]["uri"].clone()).collect()
    };
    assert_eq!(read(&both.bank), [URIS[0], URIS[1]]);
    assert_eq!(read(&both.shop), [URIS[2], URIS[3]]);
}

#[test]
fn a_connector_that_is_gone_does_not_harm_the_others() {
    for gone in ["shop", "bank"] {
        let mut both = Both::new();
        let stays = if gone == "shop" { "bank" } else { "shop" };
        // Somebody else has its place: nobody speaks there.
        let nobody = Upstream::http(&[], |_, wire| {
            wire.close();
            true
        });
        if gone == "shop" {
            both.shop = nobody
        } else {
            both.bank = nobody
        }
        for agent in both.agents() {
            assert_eq!(all(&agent, "tools/list", "tools", "name").len(), 14, "what was accepted is known");
            let left = all(&agent, "resources/list", "resources", "uri");
            assert_eq!(left, URIS.iter().filter(|uri| uri.contains(stays)).copied().collect::<Vec<_>>());
            assert_eq!(agent.word(&format!("{stays}__tell"), "v"), "ok");
            assert_eq!(agent.word(&format!("{gone}__tell"), "v"), "connector_unreachable");
            let hello = agent.ask(if agent.modern { "server/discover" } else { "ping" }, json!({}));
            assert!(hello["result"].is_object(), "{hello}");
        }
    }
}

#[test]
fn a_connector_that_was_stopped_does_not_hide_the_others() {
    let both = Both::new();
    both.serve.stop("connector:bank");
    for agent in both.agents() {
        assert_eq!(all(&agent, "tools/list", "tools", "name").len(), 7);
        assert_eq!(all(&agent, "resources/list", "resources", "uri"), URIS[2..]);
        assert_eq!(agent.word("shop__tell", "v"), "ok");
        let stopped = agent.call("bank__tell", "v");
        assert!(stopped["result"]["isError"] == true, "{stopped}");
    }
    drop(both.place);
}

#[test]
fn questions_of_every_connector_reach_the_agent_of_all() {
    let both = Both::new();
    let agent = Agent::asked(true, &both.task, "");
    for of in ["shop", "bank"] {
        let tool = format!("{of}__ask");
        let asked = agent.call(&tool, "v");
        let key = asked["result"]["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
        let answer = json!({ key: { "action": "accept", "content": { "name": "Lea" } } });
        let done = agent.again(&tool, "v", &asked, answer.clone());
        assert_eq!(done["result"]["content"][0]["text"], "\"the server's own\" \"Lea\"", "{done}");
        // What was asked here is not answered at the connector's own endpoint.
        let single = Agent { path: format!("/mcp/{of}"), ..agent.clone() };
        let asked = agent.call(&tool, "v");
        let wrong = single.again("ask", "v", &asked, answer);
        assert_eq!(word(&wrong), "-32602", "{wrong}");
    }
}
