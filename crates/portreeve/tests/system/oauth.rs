//! Tokens of a real authorization server while tasks work with them: whose they are, and that nothing is left of them.

use crate::support::{
    place::{Place, Serve},
    provider::RealProvider,
    until,
    upstream::Upstream,
};
use serde_json::{Value, json};

/// A served folder whose connector `shop` is shown tokens of the provider, which knows who signs here
fn house(provider: &RealProvider, shop: &Upstream, oauth: &str) -> (Place, Serve) {
    let place = Place::with(&[("shop", shop)], "", "");
    let source = format!(
        "owner = \"tests\"\n[oauth]\nissuer = \"{}\"\nprivate = true\nresource = \"https://orders.example\"\n{oauth}\n\
         [oauth.read]\nscope = [\"orders.read\"]\n[oauth.write]\nscope = [\"orders.read\", \"orders.write\"]\n",
        provider.name
    );
    place.write("policy/credentials/orders.toml", &source);
    let put = "headers = { Authorization = \"Bearer {token}\" }";
    place.connector("shop", shop, &format!("\n[credentials]\nsource = \"orders\"\n{put}\n"));
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    let name = format!("http://{}", serve.address);
    let jwks = format!("{name}/.well-known/upstream-jwks.json");
    provider.control("trust", &[("name", &name), ("jwks", &jwks)]);
    (place, serve)
}

fn leases(serve: &Serve) -> Vec<Value> {
    serve.admin("GET", "/v1/leases", &Value::Null).1["leases"].as_array().unwrap().clone()
}

/// The tokens that calls came with
fn tokens(shop: &Upstream) -> Vec<String> {
    let calls = shop.received().into_iter().filter(|received| received.method == "tools/call");
    let token = |header: &str| header.strip_prefix("Bearer ").unwrap().to_owned();
    calls.map(|received| token(received.header("authorization").unwrap())).collect()
}

#[test]
fn a_task_works_with_a_token_that_says_who_it_is_and_is_nothing_after_it() {
    let Some(provider) = RealProvider::start("a_task_works_with_a_token_that_says_who_it_is_and_is_nothing_after_it")
    else {
        return;
    };
    let shop = Upstream::http(&["act"], |_, _| false);
    let oauth = "client_id = \"signer\"\nkey = true\ngrant = \"token-exchange\"\nrevocation = \"immediate\"";
    let (place, serve) = house(&provider, &shop, oauth);
    let listed = place.run(&["--json", "lease", "sources"]).good().json();
    assert_eq!(listed["sources"][0]["revocation"], "immediate", "{listed}");
    place.run(&["connector", "accept", "shop", "--yes"]).good();
    until("what looked is over", || leases(&serve).is_empty());
    let (one, other) = (serve.open("work"), serve.open("work"));
    for task in [&one, &other] {
        assert_eq!(task.word("shop", "act", "v"), "ok");
    }
    let [first, second] = tokens(&shop).try_into().unwrap();
    let told = provider.lets_in(&first).unwrap();
    assert_eq!(told["scope"], "orders.read orders.write");
    assert_eq!(told["extra"], json!({ "on_behalf": "assistant", "txn": one.id, "with": "exchange" }));
    place.run(&["task", "stop", &one.id]).good();
    assert_eq!(provider.lets_in(&first), None, "it is of no use once that was said");
    assert!(provider.lets_in(&second).is_some(), "another task's is another one");
    // A crash takes nothing of it away: what it is taken back with is kept.
    serve.kill();
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    until("what was before is taken back", || leases(&serve).is_empty() && provider.lets_in(&second).is_none());
    let record = place.record();
    let ends = record.events("settled").filter_map(|(_, settled)| settled["end"]["lease"].get("withdrawn"));
    let ends: Vec<_> = ends.map(|end| end["evidence"]["absent"]["says"].as_str().unwrap_or_default()).collect();
    assert!(ends.len() >= 3 && ends.iter().all(|says| says.contains("not active")), "{ends:?}");
    let tail = place.run(&["audit", "tail", "-n", "1000"]).good().out;
    assert!(!tail.contains(&first) && !tail.contains(&second), "no token is on the record");
    let log = place.read("serve.log");
    assert!(!log.contains(&first) && !log.contains(&second), "nor in the log");
}
