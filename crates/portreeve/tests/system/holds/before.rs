//! What is read before a call, so that it can be put back, is a call of its own that the agent sees nothing of.

use super::house::House;
use crate::support::{
    place::{Place, word},
    upstream::{DONE, Upstream},
};

const PURPOSE: &str = r#"about = "Whatever a test needs"
owner = "tests"

[open]
agents = ["assistant"]
users = "none"

[task]
expires_after = "1h"
standing = ["read", "write"]

[[allow]]
name = "look"
use = ["shop.look"]
where = { value = { any = true } }
READ
[[allow]]
name = "set"
use = ["shop.set"]
where = { value = { any = true } }
undo = { tool = "shop.set", args = { value = "{before.was}" }, before = { tool = "shop.look", args = { value = "{args.value}" } } }
"#;

/// One in which reading needs this besides, and answers so
fn house(read: &str, answer: &'static str) -> House {
    let place = Place::new();
    let shop = Upstream::http(&["look", "set"], move |received, wire| {
        if received.method != "tools/call" {
            return false;
        }
        wire.answer(if received.tool == "look" { answer } else { DONE });
        true
    });
    place.connector("shop", &shop, "");
    let file = "policy/connectors/shop.toml";
    place.write(file, &place.read(file).replace("[tools.look]\nclass = \"write\"", "[tools.look]\nclass = \"read\""));
    place.write("policy/users/lea.toml", "accounts = [\"lea\"]\ngroups = [\"leads\"]\n");
    place.write("policy/purposes/work.toml", &PURPOSE.replace("READ", read));
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    House { serve, task, place, shop }
}

const WAS: &str = r#"{"content":[],"structuredContent":{"was":"old"}}"#;

#[test]
fn it_is_read_once_judged_and_recorded_and_its_value_stands_with_the_call() {
    let house = house("", WAS);
    for agent in [house.modern(), house.legacy()] {
        let answer = agent.call("set", "v");
        assert_eq!(word(&answer), "ok", "{answer}");
        assert!(!answer.to_string().contains("old"), "{answer}");
    }
    let tools: Vec<String> = house.shop.calls().into_iter().map(|call| call.tool).collect();
    assert_eq!(tools, ["look", "set", "look", "set"]);
    house.serve.settled();
    let record = house.place.record();
    let calls = record.calls();
    let reads: Vec<_> = calls.values().filter(|call| call.tool == "shop.look").collect();
    assert!(reads.len() == 2 && reads.iter().all(|read| read.ends == ["ok"]), "{calls:?}");
    let before: Vec<_> = record.events("admitted").filter_map(|(_, one)| one["what"]["call"].get("before")).collect();
    assert_eq!(before.len(), 2);
    for one in before {
        assert!(reads.iter().any(|read| one["effect"] == read.effect.as_str()), "{one}");
        assert!(one["values"]["was"].is_string(), "{one}");
    }
}

#[test]
fn what_cannot_be_read_leaves_the_call_without_an_undo_and_asks_nobody() {
    let failing = r#"{"content":[],"isError":true,"structuredContent":{"was":"old"}}"#;
    for (read, answer, reads) in [("", failing, 1), ("ask = { who = \"leads\" }\n", WAS, 0)] {
        let house = house(read, answer);
        assert_eq!(word(&house.modern().call("set", "v")), "ok");
        let looked = house.shop.calls().into_iter().filter(|call| call.tool == "look").count();
        assert_eq!(looked, reads);
        house.serve.settled();
        let record = house.place.record();
        assert!(record.events("admitted").all(|(_, one)| one["what"]["call"].get("before").is_none()));
        let (_, approvals) = house.serve.admin("GET", "/v1/holds", &serde_json::Value::Null);
        assert_eq!(approvals["holds"].as_array().map(Vec::len), Some(0), "{approvals}");
    }
}
