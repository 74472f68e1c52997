//! Administration from elsewhere: whoever is signed in at a terminal may there what their roles let them, and no more.

use super::{ANA, House, Provider, failed};
use crate::support::http::{Response, exchange, request};
use serde_json::{Value, json};
use std::net::TcpStream;

const ROLES: [&str; 5] = ["approver", "operator", "auditor", "author", "owner"];
const INSPECT: &[&str] = &["operator", "auditor", "author", "owner"];

/// Deeds on the command line, and which roles let somebody do them
const DEEDS: [(&[&str], &[&str]); 13] = [
    (&["status"], INSPECT),
    (&["agent", "list"], INSPECT),
    (&["agent", "show", "assistant"], INSPECT),
    (&["key", "list"], INSPECT),
    (&["policy", "modes"], INSPECT),
    (&["role", "list"], &ROLES),
    (&["reviews"], &ROLES),
    (&["agent", "pause", "assistant", "--why", "looks odd"], &["operator"]),
    (&["agent", "resume", "assistant"], &["operator"]),
    // Nothing differs, so whoever may register people may put it into force, too.
    (&["policy", "apply"], &["author", "owner"]),
    (&["policy", "observe", "--all", "--for", "1m", "--why", "to see"], &["owner"]),
    (&["key", "rotate", "token"], &["owner"]),
    (&["kill", "agent:assistant"], &["operator"]),
];

/// The session that the terminal keeps
fn session(house: &House) -> String {
    let kept = house.place.path().join(".config/portreeve/sessions");
    let file = std::fs::read_dir(kept).unwrap().next().unwrap().unwrap().path();
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    kept["secret"].as_str().unwrap().to_owned()
}

fn send(house: &House, session: Option<&str>, (method, path): (&str, &str), body: &Value) -> Response {
    let (host, bearer) = (house.serve.address.to_string(), format!("Bearer {}", session.unwrap_or_default()));
    let mut headers = vec![("host", host.as_str()), ("content-type", "application/json")];
    headers.extend(session.map(|_| ("authorization", bearer.as_str())));
    let stream = TcpStream::connect(house.serve.address).unwrap();
    exchange(stream, &request(method, path, &headers, body.to_string().as_bytes()))
}

fn house(provider: &Provider) -> House {
    let house = House::of(&provider.name, "");
    house.place.write("policy/agents/assistant.toml", "owner = \"somebody@example.com\"\n");
    // Whatever she may, somebody can answer.
    house.place.write("policy/users/zz-bo.toml", "accounts = [\"zz-bo\"]\ngroups = [\"leads\"]\n");
    house
}

/// From now on she has these roles
fn with_roles(house: &House, roles: &[&str]) {
    let (sign_in, _) = ANA.split_once('\n').unwrap();
    house.place.write("policy/users/zz-ana.toml", &format!("{sign_in}\nroles = {}\n", json!(roles)));
    house.place.run(&["policy", "apply"]).good();
}

#[test]
fn each_role_does_from_elsewhere_what_is_its_own_and_nothing_else() {
    let provider = Provider::new();
    let house = house(&provider);
    let task = house.serve.open("work").id;
    provider.device_will(0, "a-1", json!({}));
    house.at_server(&["login"]).good();
    let mut paused = 0;
    for role in ROLES {
        with_roles(&house, &[role]);
        for (command, needs) in DEEDS {
            // To stop it for good comes last.
            if command[0] == "kill" && needs.contains(&role) {
                continue;
            }
            let ran = house.at_server(command);
            if needs.contains(&role) {
                assert_eq!(ran.code, 0, "{role}: {command:?}: {ran:?}");
                paused += usize::from(command.contains(&"pause"));
            } else {
                assert_eq!(failed(&ran), (4, "role_missing".to_owned()), "{role}: {command:?}");
            }
        }
        // What would be undone is seen by whoever sees the task.
        let (plan, sees) =
            (house.at_server(&["task", "undo", &task, "--plan"]), matches!(role, "operator" | "auditor"));
        if sees {
            plan.good();
        } else {
            assert_eq!(failed(&plan), (4, "role_missing".to_owned()), "{role}");
        }
    }
    with_roles(&house, &["operator"]);
    house.at_server(&["kill", "agent:assistant"]).good();

    // All of it is on the record as hers, and as that of whoever signed in there.
    let record = house.place.record();
    let actor = |at: usize| record.lines[at]["record"]["actor"]["person"].clone();
    let her = json!({ "user": "zz-ana", "how": { "oidc": { "issuer": "company", "subject": "a-1" } } });
    for kind in ["paused", "resumed"] {
        let by: Vec<Value> = record.events(kind).map(|(at, _)| actor(at)).collect();
        assert_eq!(by, vec![her.clone(); paused], "{kind}");
    }
    // The same again is counted for a while, and not another line.
    let refused = record.events("refused");
    let missing = refused.filter(|(_, refused)| refused["words"].as_array().unwrap().contains(&json!("role_missing")));
    let by: Vec<Value> = missing.map(|(at, _)| actor(at)).collect();
    assert!(by.len() >= 10 && by.iter().all(|by| *by == her), "{by:?}");
    let stopped = record.events("stopped").find(|(_, stopped)| stopped["node"] == "agent:assistant");
    assert_eq!(actor(stopped.unwrap().0), her);
}

#[test]
fn some_things_are_done_at_the_data_folder_only_whoever_one_is() {
    let provider = Provider::new();
    let house = house(&provider);
    with_roles(&house, &ROLES);
    let task = house.serve.open("work").id;
    provider.device_will(0, "a-1", json!({}));
    house.at_server(&["login"]).good();
    let here: [&[&str]; 7] = [
        &["connector", "accept", "shop", "--yes"],
        &["connector", "list"],
        &["audit", "tail"],
        &["console"],
        &["policy", "check"],
        &["task", "token", &task],
        &["agent", "add", "other", "--owner", "me", "--spiffe", "spiffe://example.org/other"],
    ];
    for command in here {
        assert_eq!(failed(&house.at_server(command)), (1, "only_here".to_owned()), "{command:?}");
    }
    let session = session(&house);
    let body = json!({ "command": ["touch", house.place.path().join("made").to_str().unwrap()] });
    for (path, body) in [
        ("/v1/discover".to_owned(), &body),
        ("/v1/links".to_owned(), &json!({})),
        ("/v1/checkpoint".to_owned(), &json!({ "to": "https://elsewhere.example" })),
        ("/v1/connectors/shop/accept".to_owned(), &json!({})),
        ("/v1/tasks".to_owned(), &json!({ "purpose": "work" })),
        (format!("/v1/tasks/{task}/token"), &json!({})),
    ] {
        let answer = send(&house, Some(&session), ("POST", &path), body);
        assert!(matches!(answer.status, 404 | 405), "{path}: {answer:?}");
    }
    assert!(!house.place.path().join("made").exists());

    // Too much is not read, and whoever is not signed in, or not any more, gets nothing.
    let much = json!({ "on": "all", "for_ms": 1, "why": "x".repeat(4 << 20) });
    assert_eq!(send(&house, Some(&session), ("POST", "/v1/grants"), &much).status, 400);
    let ways = [
        ("GET", "/v1/status"),
        ("GET", "/v1/agents"),
        ("GET", "/v1/keys"),
        ("GET", "/v1/roles"),
        ("POST", "/v1/keys/token/rotate"),
        ("POST", "/v1/policy/apply"),
        ("POST", "/v1/pause"),
        ("POST", "/v1/stop"),
    ];
    let nothing = |with: Option<&str>| {
        for way in ways {
            let answer = send(&house, with, way, &json!({}));
            assert_eq!((answer.status, &answer.json()["error"]["word"]), (401, &json!("signed_out")), "{way:?}");
        }
    };
    nothing(None);
    nothing(Some(&format!("{session}x")));
    house.at_server(&["logout"]).good();
    nothing(Some(&session));
}
