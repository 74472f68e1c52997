//! Killed at any moment: what a crash leaves behind at PostgreSQL, Redis and NATS is taken back, and accounted for.

use crate::{
    databases::{house, serve},
    issuing::{nats_at, redis_at, secrets},
    support::{
        nats::Nats,
        place::{PROGRAM, Serve, Task},
        record::Record,
        redis::Redis,
        until,
    },
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, thread, time::Duration};

const CONNECTORS: [(&str, &str, &str); 5] = [
    ("look", "query", "SELECT 1"),
    ("get", "do", "GET eu:1"),
    ("set", "do", "SET eu:1 x"),
    ("hear", "do", "sub orders.eu.new"),
    ("tell", "do", "pub orders.eu.new x"),
];

fn call(task: &Task, (connector, tool, text): (&str, &str, &str)) -> thread::JoinHandle<()> {
    let argument = if tool == "query" { "sql" } else { "value" };
    let params = json!({ "name": tool, "arguments": { argument: text } });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
    let (task, connector) = (task.clone(), connector.to_owned());
    thread::spawn(move || drop(task.try_post(&connector, message.as_bytes())))
}

#[test]
fn killed_at_any_moment_nothing_of_a_dead_task_is_left() {
    let test = "killed_at_any_moment_nothing_of_a_dead_task_is_left";
    let (Some(house), Some(nats)) = (house(test), Nats::start(test)) else { return };
    let Some(redis) = Redis::start() else {
        println!("SKIPPED: {test}: Redis is missing");
        return;
    };
    redis_at(&house.place, &redis, ("get", "set"));
    nats_at(&house.place, &nats, ("hear", "tell"));
    let entries: String = CONNECTORS
        .iter()
        .map(|(name, tool, _)| {
            let argument = if *tool == "query" { "sql" } else { "value" };
            format!(
                "[[allow]]\nname = \"{name}\"\nuse = [\"{name}.{tool}\"]\nwhere = {{ {argument} = {{ any = true }} }}\n"
            )
        })
        .collect();
    house.place.write(
        "policy/purposes/all.toml",
        &format!(
            "about = \"Everything at once\"\nowner = \"tests\"\n[open]\nagents = [\"assistant\"]\nusers = \"none\"\n\
             [task]\nexpires_after = \"1h\"\nstanding = [\"read\", \"write\"]\n\
             [parameters]\nschema = {{ type = \"string\", pattern = \"[a-z]+\" }}\ntenant = {{ type = \"string\", pattern = \"[a-z]+\" }}\n\
             {entries}"
        ),
    );
    let running = serve(&house);
    secrets(&house.place, Some(&redis), Some(&nats));
    for (name, _, _) in CONNECTORS.iter().skip(1) {
        house.place.run(&["connector", "accept", name, "--yes"]).good();
    }
    let mut serve = Some(running);
    let rounds = std::env::var("PORTREEVE_LEASE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(6_u64);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..rounds {
        let running = serve.take().unwrap();
        let parameters = json!({ "schema": "shop", "tenant": "eu" });
        let task = running.open_with(&json!({ "purpose": "all", "parameters": parameters }));
        let calling: Vec<_> = CONNECTORS.iter().map(|one| call(&task, *one)).collect();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1 + round);
        // Somewhere between asking for a credential and having it taken back: how long each step takes is unknown here.
        thread::sleep(Duration::from_micros((random >> 33) % 1_200_000));
        if round % 2 == 0 {
            running.kill();
        } else {
            let stopping = house.place.command(PROGRAM, &["task", "stop", &task.id]).spawn();
            thread::sleep(Duration::from_micros((random >> 21) % 100_000));
            running.kill();
            drop(stopping.unwrap().wait());
        }
        for call in calling {
            drop(call.join());
        }
        let next = Serve::start(&house.place).unwrap_or_else(|ran| panic!("{ran:?}"));
        until("what the crash left behind is taken back", || {
            let leases = next.admin("GET", "/v1/leases", &Value::Null).1;
            leases["leases"].as_array().is_some_and(Vec::is_empty)
        });
        assert_eq!(house.database.roles(), [""; 0]);
        assert_eq!(redis.users(), [""; 0]);
        assert_eq!((redis.sessions(), house.database.sessions()), (0, 0));
        serve = Some(next);
    }
    drop(serve);
    let record = house.place.record();
    let kinds = accounted_for(&record, &nats);
    assert_eq!(kinds, BTreeSet::from(["bus".to_owned(), "orders-db".to_owned(), "store".to_owned()]));
}

/// The sources of the leases on the record, each of which has an end; what NATS was given is revoked there
fn accounted_for(record: &Record, nats: &Nats) -> BTreeSet<String> {
    let revoked = nats.claims()["nats"]["revocations"].as_object().cloned().unwrap_or_default();
    let mut kinds = BTreeSet::new();
    for (_, admitted) in record.events("admitted").filter(|(_, admitted)| admitted["what"].get("lease").is_some()) {
        let ends: Vec<&Value> = record
            .events("settled")
            .filter(|(_, end)| end["effect"] == admitted["effect"])
            .map(|(_, end)| &end["end"])
            .collect();
        let last = ends.last().unwrap_or_else(|| panic!("{admitted} is not accounted for"));
        assert!(last.get("not_sent").is_some() || last.pointer("/lease/withdrawn").is_some(), "{admitted} {ends:?}");
        let handles = ends.iter().filter_map(|end| end.pointer("/lease/issued/handle").and_then(Value::as_str));
        for user in handles {
            assert!(revoked.contains_key(user), "{user} is not revoked: {ends:?}");
        }
        kinds.insert(admitted["what"]["lease"]["source"].as_str().unwrap_or_default().to_owned());
    }
    kinds
}
