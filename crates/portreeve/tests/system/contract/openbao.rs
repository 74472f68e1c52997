//! Tokens and database roles of a real HashiCorp Vault, whose API OpenBao has as well.

use super::{Subject, held, holds, nobody, source, wanted};
use crate::interop::interop;
use crate::support::{
    bao::{Bao, NEEDS, ROOT},
    issuer::{Signer, now},
    place::{Place, Serve},
    postgres::Postgres,
    until,
    upstream::Upstream,
};
use portreeve_core::policy::Class;
use portreeve_credentials::{
    name::prefix,
    secret::Fields,
    source::{Held, NotIssued, Withdrawn},
};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};
use tokio::runtime::Runtime;

fn both(test: &str) -> Option<(Postgres, Bao)> {
    let interop = interop(test, &NEEDS)?;
    let Some(database) = Postgres::start() else {
        println!("SKIPPED: {test}: PostgreSQL is missing");
        return None;
    };
    let bao = Bao::start(&interop, &database);
    Some((database, bao))
}

fn file(port: u16, sign_in: &str) -> String {
    format!(
        "owner = \"dba@example.com\"\n[scope]\nwhat = \"what\"\n[probe]\nwhat = \"orders\"\n\
         [openbao]\nurl = \"http://127.0.0.1:{port}\"\n{sign_in}\ntoken_role = \"portreeve\"\n\
         [openbao.read]\npath = \"database/creds/{{what}}-reader\"\npolicies = [\"orders-reader\"]\n"
    )
}

const APP_ROLE: &str = "approle = \"bao\"";
const SCOPE: &[(&str, &str)] = &[("what", "orders")];

/// The roles that the engine made at the database
fn roles(database: &Postgres) -> Vec<String> {
    database.ask("postgres", "SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%' ORDER BY 1").unwrap()
}

fn lets_in(database: &Postgres, fields: &Fields) -> bool {
    database.ask_as((fields["username"].expose(), fields["password"].expose()), "postgres", "SELECT 1").is_ok()
}

#[test]
fn openbao_holds_to_it() {
    let Some((database, bao)) = both("openbao_holds_to_it") else { return };
    let before = bao.tokens();
    holds(&Subject {
        file: file(bao.port(), APP_ROLE),
        nobody: Some(file(nobody(), APP_ROLE)),
        secrets: &[("bao", &bao.app_role())],
        scope: SCOPE,
        lets_in: &|fields| lets_in(&database, fields),
        lists: true,
        unique: false,
    });
    assert_eq!(bao.tokens(), before, "Portreeve signs out, and leaves no token behind");
    assert_eq!(roles(&database), Vec::<String>::new());
}

#[test]
fn openbao_is_signed_in_to_with_a_token_of_a_workload_identity() {
    let Some((database, bao)) = both("openbao_is_signed_in_to_with_a_token_of_a_workload_identity") else { return };
    let (signer, other) = (Signer::new("one"), Signer::new("other"));
    bao.believe(&signer.pem());
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let claims = json!({ "sub": "portreeve", "aud": "bao", "iat": now(), "exp": now() + 600 });
    std::fs::write(&token, signer.token("JWT", &claims)).unwrap();
    let sign_in = format!("jwt_file = {:?}\nrole = \"portreeve\"", token.display());
    let (_vault, source) = source(&file(bao.port(), &sign_in), &[]);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(source.check()).unwrap();
    let ask = wanted(7, Class::Read, SCOPE);
    let issued = runtime.block_on(source.issue(&ask)).unwrap();
    assert!(lets_in(&database, &issued.fields));
    // It is read anew each time: what is there now is another one's.
    std::fs::write(&token, other.token("JWT", &claims)).unwrap();
    assert!(runtime.block_on(source.withdraw(&held(&ask.name, issued.clone()))).is_err());
    std::fs::write(&token, signer.token("JWT", &claims)).unwrap();
    assert!(matches!(runtime.block_on(source.withdraw(&held(&ask.name, issued))), Ok(Withdrawn::Gone(_))));
    assert_eq!(roles(&database), Vec::<String>::new());
}

#[test]
fn openbao_gives_no_more_than_was_asked_for() {
    let Some((database, bao)) = both("openbao_gives_no_more_than_was_asked_for") else { return };
    let runtime = Runtime::new().unwrap();
    let (_vault, source) = source(&file(bao.port(), APP_ROLE), &[("bao", &bao.app_role())]);
    let ask = wanted(8, Class::Read, SCOPE);
    let before = bao.tokens();
    let refused = |what: &str, scope: &[(&str, &str)]| {
        let issued = runtime.block_on(source.issue(&wanted(8, Class::Read, scope)));
        assert!(matches!(&issued, Err(NotIssued::Refused(why)) if why.contains(what)), "{what}: {issued:?}");
        assert_eq!((bao.tokens(), roles(&database).len()), (before, 0), "{what}: nothing is left of it");
    };
    // What a task says is one part of a path, and the token may read what its policies say.
    refused("may not stand there", &[("what", "../../sys/")]);
    refused("403", &[("what", "others")]);
    // The token store's role says something else than was asked for.
    bao.role(&json!({ "orphan": false, "allowed_policies": ["orders-reader"] }));
    refused("orphan", SCOPE);
    bao.role(&json!({ "orphan": true, "allowed_policies": ["other"] }));
    refused("subset", SCOPE);
    // What it gives for an hour is over when the token is that it was given.
    bao.role(&json!({ "orphan": true, "renewable": false, "allowed_policies": ["orders-reader"] }));
    let issued = runtime.block_on(source.issue(&ask)).unwrap();
    let most = ask.until.plus(2_000);
    assert!(issued.until.is_some_and(|until| until <= most), "{issued:?}");
    runtime.block_on(source.withdraw(&held(&ask.name, issued))).unwrap();
}

/// Passes everything on to the server and back, and opens what comes wrapped before its receiver can; it may wrap it again
fn opener(to: u16, again: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let (mut asking, mut asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || drop(std::io::copy(&mut asking, &mut asked)));
            std::thread::spawn(move || opens(server, client, to, again));
        }
    });
    port
}

fn opens(mut server: TcpStream, mut client: TcpStream, to: u16, again: bool) {
    let mut piece = [0; 64 << 10];
    while let Ok(read @ 1..) = server.read(&mut piece) {
        let mut text = String::from_utf8_lossy(&piece[..read]).into_owned();
        let token = token_of(&text).map(str::to_owned);
        if let Some(token) = token {
            let opened = asked(to, "unwrap", &format!("X-Vault-Token: {token}"), "");
            if again {
                let data = serde_json::from_str::<Value>(&opened).unwrap()["data"].to_string();
                let headers = format!("X-Vault-Token: {ROOT}\r\nX-Vault-Wrap-TTL: 30s");
                let wrapped = asked(to, "wrap", &headers, &data);
                // It still says that it was made by the path that was asked.
                let before = text.split_once("\r\n\r\n").unwrap().1.len();
                text = text.replace(&token, token_of(&wrapped).unwrap());
                let after = text.split_once("\r\n\r\n").unwrap().1.len();
                text = text.replace(&format!("Content-Length: {before}"), &format!("Content-Length: {after}"));
            }
        }
        if client.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn token_of(text: &str) -> Option<&str> {
    text.split_once("\"wrap_info\":{\"token\":\"").and_then(|(_, rest)| rest.split('"').next())
}

/// The body of an answer about what is wrapped
fn asked(port: u16, what: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let ask = format!(
        "POST /v1/sys/wrapping/{what} HTTP/1.1\r\nHost: x\r\n{headers}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(ask.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn openbao_wraps_its_answers_and_who_opens_one_first_is_noticed() {
    let Some((database, bao)) = both("openbao_wraps_its_answers_and_who_opens_one_first_is_noticed") else { return };
    let runtime = Runtime::new().unwrap();
    let wants = r#"path "database/creds/orders-reader" { capabilities = ["read"] min_wrapping_ttl = "1s" }"#;
    bao.good("sys/policies/acl/orders-reader", &json!({ "policy": wants }));
    let secrets = [("bao", bao.app_role())];
    let secrets: Vec<(&str, &str)> = secrets.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let with = |port: u16, wrap: &str| source(&(file(port, APP_ROLE) + wrap), &secrets);
    let (_vault, plain) = with(bao.port(), "");
    let issued = runtime.block_on(plain.issue(&wanted(12, Class::Read, SCOPE)));
    assert!(matches!(&issued, Err(NotIssued::Refused(why)) if why.contains("403")), "it wants to wrap: {issued:?}");

    let (_vault, wrapped) = with(bao.port(), "wrap = \"30s\"\n");
    let ask = wanted(13, Class::Read, SCOPE);
    let issued = runtime.block_on(wrapped.issue(&ask)).unwrap();
    assert!(lets_in(&database, &issued.fields));
    let taken = runtime.block_on(wrapped.withdraw(&held(&ask.name, issued.clone())));
    assert!(matches!(taken, Ok(Withdrawn::Gone(_))), "{taken:?}");
    assert!(!lets_in(&database, &issued.fields));

    for again in [false, true] {
        let (_vault, opened) = with(opener(bao.port(), again), "wrap = \"30s\"\n");
        let ask = wanted(14 + u64::from(again), Class::Read, SCOPE);
        let issued = runtime.block_on(opened.issue(&ask));
        let noticed = |why: &str| why.contains("somebody else has opened it");
        assert!(matches!(&issued, Err(NotIssued::Unknown(why)) if noticed(why)), "{again}: {issued:?}");
        let by_name = Held { name: ask.name, handle: None, until: None, keep: None, fields: None };
        assert!(matches!(runtime.block_on(opened.withdraw(&by_name)), Ok(Withdrawn::Gone(_))));
    }
    assert_eq!(roles(&database), Vec::<String>::new(), "whoever opened it has nothing");
}

/// What has no lease cannot be ended, so that nobody says it was
#[test]
fn openbao_that_gave_something_without_a_lease_may_have_given_something() {
    let test = "openbao_that_gave_something_without_a_lease_may_have_given_something";
    let Some((_database, bao)) = both(test) else { return };
    bao.good("sys/mounts/kept", &json!({ "type": "kv" }));
    bao.good("kept/orders-reader", &json!({ "password": "kept-of-the-test" }));
    let reads = r#"path "kept/orders-reader" { capabilities = ["read"] }"#;
    bao.good("sys/policies/acl/orders-reader", &json!({ "policy": reads }));
    let runtime = Runtime::new().unwrap();
    let file = file(bao.port(), APP_ROLE).replace("database/creds/", "kept/");
    let (_vault, source) = source(&file, &[("bao", &bao.app_role())]);
    let before = bao.tokens();
    let issued = runtime.block_on(source.issue(&wanted(11, Class::Read, SCOPE)));
    assert!(matches!(&issued, Err(NotIssued::Unknown(why)) if why.contains("has no lease")), "{issued:?}");
    assert_eq!(bao.tokens(), before, "its token is gone all the same");
}

/// The server ends a token at once, and what it was given later: as long as that is still there, nothing was taken back
#[test]
fn openbao_has_taken_back_only_once_the_database_has() {
    let Some((mut database, bao)) = both("openbao_has_taken_back_only_once_the_database_has") else { return };
    let runtime = Runtime::new().unwrap();
    let (_vault, source) = source(&file(bao.port(), APP_ROLE), &[("bao", &bao.app_role())]);
    let (one, other) = (wanted(9, Class::Read, SCOPE), wanted(10, Class::Read, SCOPE));
    let issue = |wanted| runtime.block_on(source.issue(wanted)).unwrap();
    let (one_is, other_is) = (issue(&one), issue(&other));
    database.down();
    let one_held = held(&one.name, one_is.clone());
    let by_name = Held { name: other.name.clone(), handle: None, until: None, keep: None, fields: None };
    let why = runtime.block_on(source.withdraw(&one_held)).unwrap_err();
    assert!(why.contains("lease"), "{why}");
    let why = runtime.block_on(source.withdraw(&by_name)).unwrap_err();
    assert!(why.contains("over and still there"), "{why}");
    database.up();
    assert!(lets_in(&database, &one_is.fields) || roles(&database).is_empty());
    let taken = |held: &Held| matches!(runtime.block_on(source.withdraw(held)), Ok(Withdrawn::Gone(_)));
    until("the first is taken back", || taken(&one_held));
    until("the second is taken back", || taken(&by_name));
    assert!(!lets_in(&database, &one_is.fields) && !lets_in(&database, &other_is.fields));
    assert_eq!(roles(&database), Vec::<String>::new());
    let names = runtime.block_on(source.sweep(&prefix(super::origin()))).unwrap();
    assert_eq!(names, Vec::<String>::new());
}

#[test]
fn a_task_has_a_token_and_a_role_of_openbao_for_as_long_as_it_lives() {
    let test = "a_task_has_a_token_and_a_role_of_openbao_for_as_long_as_it_lives";
    let Some((database, bao)) = both(test) else { return };
    let shop = Upstream::http(&["act"], |_, _| false);
    let place =
        Place::with(&[("shop", &shop)], "[parameters]\nwhat = { type = \"string\", pattern = \"[a-z]+\" }\n", "");
    let with = file(bao.port(), APP_ROLE);
    let write = "[openbao.write]\npath = \"database/creds/orders-reader\"\npolicies = [\"orders-reader\"]\n";
    place.write("policy/credentials/orders.toml", &format!("{with}{write}"));
    let put = "headers = { X-Orders = \"{username}:{password}\" }";
    place.connector("shop", &shop, &format!("\n[credentials]\nsource = \"orders\"\n{put}\n"));
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    place.run_with(&["secret", "set", "bao"], &bao.app_role()).good();
    let sources = place.run(&["lease", "sources"]).good().out;
    assert!(sources.contains("openbao") && sources.contains("immediate") && sources.contains("reached"), "{sources}");
    place.run(&["connector", "accept", "shop", "--yes"]).good();
    until("what looked is taken back", || bao.names().is_empty() && roles(&database).is_empty());
    let task = serve.open_with(&json!({ "purpose": "work", "parameters": { "what": "orders" } }));
    assert_eq!(task.word("shop", "act", "v"), "ok");
    let calls = shop.calls();
    let (user, password) = calls[0].header("x-orders").unwrap().split_once(':').unwrap();
    assert!(database.ask_as((user, password), "postgres", "SELECT 1").is_ok());
    assert_eq!((bao.names().len(), roles(&database).len()), (1, 1));
    serve.stop(&task.id);
    until("both are gone", || bao.names().is_empty() && roles(&database).is_empty());
    assert!(database.ask_as((user, password), "postgres", "SELECT 1").is_err());
    let leases = || serve.admin("GET", "/v1/leases", &Value::Null).1["leases"].as_array().unwrap().len();
    until("that is on the record", || leases() == 0);
    serve.terminate();
    let record = place.record();
    let ends: Vec<String> = record.events("settled").map(|(_, settled)| settled["end"].to_string()).collect();
    assert!(ends.iter().any(|end| end.contains("neither its token nor the lease")), "{ends:?}");
    assert!(!ends.iter().any(|end| end.contains(password)));
}
