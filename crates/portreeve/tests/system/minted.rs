//! Tokens that Portreeve signs itself: what a server can check of them, and how long they live.

use crate::support::{
    http::{exchange, request},
    place::{Place, Serve, Task},
    until,
    upstream::Upstream,
};
use portreeve_core::time::Millis;
use portreeve_identity::jose::{ALGORITHMS, Audience, Claims, Invalid, Jwk, Keys, Want, verify};
use serde_json::{Value, json};
use std::{fs, net::TcpStream, time::Duration};

const SHOP: &str = "https://shop.example";

/// A house whose connector `shop` takes tokens of Portreeve, put in so; this account is that of the user who opens tasks
fn house(upstream: &Upstream, minted: &str, put: &str) -> Place {
    let place = Place::with(&[("shop", upstream)], "", "");
    let source = format!(
        "owner = \"tests\"\n{minted}\n[scope]\ntenant = \"tenant\"\n[probe]\ntenant = \"none\"\n\
         [minted.read]\nscope = [\"orders.read\"]\n[minted.write]\nscope = [\"orders.write\", \"tenant:{{tenant}}\"]\n"
    );
    place.write("policy/credentials/shop-token.toml", &source);
    place.connector("shop", upstream, &format!("\n[credentials]\nsource = \"shop-token\"\n{put}\n"));
    let work = place.read("policy/purposes/work.toml");
    let user = user(&place);
    let work = work.replace("users = \"none\"", &format!("users = [\"{user}\"]"));
    place.write(
        "policy/purposes/work.toml",
        &format!("{work}\n[parameters]\ntenant = {{ type = \"string\", pattern = \"[a-z0-9 -]+\" }}\n"),
    );
    place
}

/// Whose account it is that runs the tests
fn user(place: &Place) -> String {
    let users = fs::read_dir(place.path().join("policy/users")).unwrap();
    let names = users.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
    names.collect::<Vec<_>>().pop().unwrap()
}

fn open(serve: &Serve) -> Task {
    serve.open_with(&json!({ "purpose": "work", "parameters": { "tenant": "eu-42" } }))
}

fn leases(serve: &Serve) -> Vec<Value> {
    serve.admin("GET", "/v1/leases", &Value::Null).1["leases"].as_array().unwrap().clone()
}

/// The keys with which a server checks tokens, as anybody is told them
fn keys(serve: &Serve, path: &str) -> Keys {
    let stream = TcpStream::connect(serve.address).unwrap();
    let answer = exchange(stream, &request("GET", path, &[("host", &serve.address.to_string())], b""));
    assert_eq!(answer.status, 200, "{answer:?}");
    Keys::of(answer.json()["keys"].as_array().unwrap().iter().map(|key| key.to_string().parse::<Jwk>().unwrap()))
}

/// What a server reads in a token that it was shown
fn read(serve: &Serve, (token, typ): (&str, &str), path: &str, at: i64) -> Result<Claims, Invalid> {
    let issuer = format!("http://{}", serve.address);
    let want = Want {
        algorithms: ALGORITHMS,
        types: &[typ],
        issuer: Some(&issuer),
        audience: Audience::Exactly(SHOP),
        lifetime_max: Duration::from_secs(300),
        skew: Duration::ZERO,
    };
    verify(token, &keys(serve, path), &want, Millis(at))
}

fn now() -> i64 {
    crate::contract::minutes(0).0
}

/// What came in this header of calls, and that it came with everything else as well
fn shown(upstream: &Upstream, header: &str) -> Vec<String> {
    let received = upstream.received();
    assert!(received.iter().all(|received| received.header(header).is_some()), "{received:?}");
    let calls = received.iter().filter(|received| received.method == "tools/call");
    calls.map(|received| received.header(header).unwrap().to_owned()).collect()
}

const OURS: &str = "/.well-known/upstream-jwks.json";

#[test]
fn a_server_reads_in_the_token_who_works_on_whose_behalf_and_nobody_gets_in_here_with_it() {
    let shop = Upstream::http(&["act"], |_, _| false);
    let minted = format!("[minted]\naudience = \"{SHOP}\"\n");
    let place = house(&shop, &minted, "headers = { Authorization = \"Bearer {token}\" }");
    let serve = place.serve(&["shop"]);
    let (one, other) = (open(&serve), open(&serve));
    for task in [&one, &one, &other] {
        assert_eq!(task.word("shop", "act", "v"), "ok");
    }
    let tokens: Vec<String> = shown(&shop, "authorization");
    let token = |at: usize| tokens[at].strip_prefix("Bearer ").unwrap();
    assert_eq!(token(0), token(1), "one lease, one token");
    assert_ne!(token(0), token(2), "each task has its own");
    let claims = read(&serve, (token(0), "at+jwt"), OURS, now()).unwrap();
    let user = user(&place);
    assert_eq!(claims.sub(), Some(format!("user:{user}").as_str()));
    assert_eq!(claims.get("act").unwrap().canonical(), "{\"sub\":\"assistant\"}");
    assert_eq!(claims.text("scope"), Some("orders.write tenant:eu-42"));
    assert_eq!(claims.text("txn"), Some(one.id.as_str()));
    let lease = leases(&serve).into_iter().find(|lease| lease["task"] == one.id.as_str()).unwrap();
    let name = claims.jti().unwrap();
    let number = lease["lease"].as_str().unwrap();
    assert!(name.starts_with("ptr_"), "{name}");
    assert_eq!(lease["revocation"], "expiry only");
    assert_eq!(lease["usable_until"], claims.exp().unwrap().unwrap().0, "{number}");
    // Nobody is let in here with it, and what checks tokens of runs is told elsewhere.
    let stolen = Task { token: token(0).to_owned(), ..one.clone() };
    assert_eq!(stolen.post("shop", br#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#).status, 401);
    assert!(read(&serve, (token(0), "at+jwt"), "/.well-known/jwks.json", now()).is_err());
    assert!(read(&serve, (&one.token, "at+jwt"), OURS, now()).is_err());
    // Another key signs the next one, and what the one before signed is still good.
    place.run(&["key", "rotate", "upstream"]).good();
    let third = open(&serve);
    assert_eq!(third.word("shop", "act", "v"), "ok");
    let newer = shown(&shop, "authorization").pop().unwrap();
    let newer = read(&serve, (newer.strip_prefix("Bearer ").unwrap(), "at+jwt"), OURS, now()).unwrap();
    assert_ne!(newer.key(), claims.key());
    assert!(read(&serve, (token(0), "at+jwt"), OURS, now()).is_ok());
    // The end of the task does not end it, and it is said until when.
    serve.stop(&one.id);
    until("it is left", || leases(&serve).iter().any(|lease| lease["state"] == "cannot be taken back"));
    assert!(fs::read_dir(place.data().join("vault")).unwrap().all(|file| !file.unwrap().path().ends_with(".lease")));
}

#[test]
fn a_transaction_token_goes_in_a_header_of_its_own_and_the_next_one_comes_when_it_is_over() {
    let shop = Upstream::http(&["act"], |_, _| false);
    let minted = format!("ttl = \"2s\"\n[minted]\naudience = \"{SHOP}\"\nformat = \"txn-token\"\n");
    let place = house(&shop, &minted, "headers = { Txn-Token = \"{token}\" }");
    let serve = place.serve(&["shop"]);
    let task = open(&serve);
    assert_eq!(task.word("shop", "act", "v"), "ok");
    let first = shown(&shop, "txn-token").pop().unwrap();
    let claims = read(&serve, (&first, "txntoken+jwt"), OURS, now()).unwrap();
    let tctx: Value = serde_json::from_str(&claims.get("tctx").unwrap().canonical()).unwrap();
    assert_eq!(tctx, json!({ "purpose": "work", "tenant": "eu-42" }));
    let over = claims.exp().unwrap().unwrap();
    until("its time is over", || now() >= over.0);
    assert!(read(&serve, (&first, "txntoken+jwt"), OURS, now()).is_err());
    assert_eq!(task.word("shop", "act", "v"), "ok");
    let next = shown(&shop, "txn-token").pop().unwrap();
    assert_ne!(first, next);
    place.run(&["task", "stop", &task.id]).good();
    until("both are over", || leases(&serve).is_empty());
    let record = place.record();
    let ends: Vec<_> = record
        .events("settled")
        .filter_map(|(_, settled)| settled["end"]["lease"]["withdrawn"].get("evidence"))
        .collect();
    assert!(ends.len() >= 3 && ends.iter().all(|evidence| **evidence == "expired"), "{ends:?}");
}

#[test]
fn no_token_is_made_for_ourselves_nor_with_a_value_that_would_be_another_scope() {
    let shop = Upstream::http(&["act"], |_, _| false);
    let minted = format!("[minted]\naudience = \"{SHOP}\"\n");
    let place = house(&shop, &minted, "headers = { Authorization = \"Bearer {token}\" }");
    let serve = place.serve(&["shop"]);
    let before = shop.received().len();
    let task = serve.open_with(&json!({ "purpose": "work", "parameters": { "tenant": "eu admin" } }));
    assert_eq!(task.word("shop", "act", "v"), "credential_unavailable");
    let source = place.read("policy/credentials/shop-token.toml");
    let ours = source.replace(SHOP, &format!("http://{}/mcp/shop", serve.address));
    place.write("policy/credentials/shop-token.toml", &ours);
    place.run(&["policy", "apply"]).good();
    let sources = place.run(&["--json", "lease", "sources"]);
    assert_ne!(sources.code, 0, "{sources:?}");
    assert!(sources.out.contains("its audience is this Portreeve"), "{sources:?}");
    assert_eq!(open(&serve).word("shop", "act", "v"), "credential_unavailable");
    assert_eq!(shop.received().len(), before, "nothing was sent");
}
