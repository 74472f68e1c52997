//! Leases at real back ends, behind a connector that does there what it is told: Redis, NATS and MariaDB.

use crate::contract::mariadb::prepare;
use crate::interop::interop;
use crate::support::{
    mariadb::MariaDb,
    nats::{Nats, PYTHON},
    place::{Place, Serve, Task},
    redis::Redis,
    sshd::{Sshd, keygen, user},
    tls::{Authority, pem},
    until,
};
use rcgen::SanType;
use serde_json::{Value, json};

/// The connector's program
const SERVER: &str = include_str!("support/back_end_server.py");

/// Adds a connector whose process runs the program, as somebody of this class
fn connector(place: &Place, (name, class): (&str, &str), (python, kind): (&str, &str), credentials: &str) {
    place.write("server.py", SERVER);
    let command = json!([python, place.path().join("server.py"), kind]);
    place.write(
        &format!("policy/connectors/{name}.toml"),
        &format!("command = {command}\n[credentials]\n{credentials}\n[tools.do]\nclass = \"{class}\"\narguments = {{ value = \"content\" }}\n"),
    );
}

/// Lets tasks of the purpose `all` use these connectors
fn purpose(place: &Place, connectors: &[&str]) {
    let entry = |name: &&str| {
        format!("[[allow]]\nname = \"{name}\"\nuse = [\"{name}.do\"]\nwhere = {{ value = {{ any = true }} }}\n")
    };
    let entries: String = connectors.iter().map(entry).collect();
    place.write(
        "policy/purposes/all.toml",
        &format!(
            "about = \"Whatever a test needs\"\nowner = \"tests\"\n[open]\nagents = [\"assistant\"]\nusers = \"none\"\n\
             [task]\nexpires_after = \"1h\"\nstanding = [\"read\", \"write\"]\n\
             [parameters]\ntenant = {{ type = \"string\", pattern = \"[a-z]+\" }}\n{entries}"
        ),
    );
}

/// Writes a source at this server, and connectors of both classes that use it
pub(crate) fn redis_at(place: &Place, redis: &Redis, (reads, writes): (&str, &str)) {
    let port = redis.port();
    place.write(
        "policy/credentials/store.toml",
        &format!(
            "owner = \"ops@example.com\"\nttl = \"10m\"\n[scope]\ntenant = \"tenant\"\n[probe]\ntenant = \"template\"\n\
             [redis]\nhost = \"127.0.0.1\"\nport = {port}\ntls = false\nadmin = \"store-admin\"\n\
             [redis.read]\nrules = [\"%R~{{tenant}}:*\", \"+@read\"]\n\
             [redis.write]\nrules = [\"~{{tenant}}:*\", \"+@read\", \"+@write\", \"-@dangerous\"]\n"
        ),
    );
    let put = "source = \"store\"\nenv = { STORE = \"{user} {password} {host} {port}\" }";
    connector(place, (reads, "read"), ("python3", "redis"), put);
    connector(place, (writes, "write"), ("python3", "redis"), put);
}

/// The same for NATS
pub(crate) fn nats_at(place: &Place, nats: &Nats, (reads, writes): (&str, &str)) {
    let (port, account) = (nats.port(), &nats.account);
    place.write(
        "policy/credentials/bus.toml",
        &format!(
            "owner = \"ops@example.com\"\nttl = \"10m\"\n[scope]\ntenant = \"tenant\"\n[probe]\ntenant = \"template\"\n\
             [nats]\nhost = \"127.0.0.1\"\nport = {port}\ntls = false\naccount = \"{account}\"\nsigning = \"bus-signing\"\n\
             operator = \"bus-operator\"\nsystem = \"bus-system\"\n\
             [nats.read]\nsubscribe = [\"orders.{{tenant}}.>\"]\n\
             [nats.write]\npublish = [\"orders.{{tenant}}.>\"]\nsubscribe = [\"orders.{{tenant}}.>\"]\n"
        ),
    );
    let put = "source = \"bus\"\nenv = { STORE = \"nats://{host}:{port}\", NATS_INBOX = \"{inbox}\" }\n\
               files = { NATS_CREDS = \"{creds}\" }";
    let python = interop("", &[PYTHON]).unwrap().join(PYTHON);
    let python = python.to_str().unwrap();
    connector(place, (reads, "read"), (python, "nats"), put);
    connector(place, (writes, "write"), (python, "nats"), put);
}

/// Puts what these sources need into the vault
pub(crate) fn secrets(place: &Place, redis: Option<&Redis>, nats: Option<&Nats>) {
    let set = |name: &str, secret: &str| drop(place.run_with(&["secret", "set", name], secret).good());
    if redis.is_some() {
        set("store-admin", "portreeve:portreeve-of-redis");
    }
    if let Some(nats) = nats {
        set("bus-signing", nats.signing.expose());
        set("bus-operator", nats.operator.expose());
        set("bus-system", nats.system.expose());
    }
}

fn start(place: &Place, connectors: &[&str], redis: Option<&Redis>, nats: Option<&Nats>) -> Serve {
    purpose(place, connectors);
    let serve = Serve::start(place).unwrap_or_else(|ran| panic!("{ran:?}"));
    secrets(place, redis, nats);
    for connector in connectors {
        place.run(&["connector", "accept", connector, "--yes"]).good();
    }
    serve
}

fn open(serve: &Serve, tenant: &str) -> Task {
    serve.open_with(&json!({ "purpose": "all", "parameters": { "tenant": tenant } }))
}

/// What the back end said, with the way in which the call ended
fn said(task: &Task, connector: &str, text: &str) -> String {
    task.call(connector, "do", &json!({ "value": text }))["result"].to_string()
}

/// The evidence for what was taken back
pub(crate) fn evidence(place: &Place) -> Vec<Value> {
    let record = place.record();
    let ends = record.events("settled").filter_map(|(_, end)| end.pointer("/end/lease/withdrawn/evidence").cloned());
    ends.collect()
}

#[test]
fn a_task_has_a_user_of_redis_for_each_class_and_nothing_is_left_of_them() {
    let test = "a_task_has_a_user_of_redis_for_each_class_and_nothing_is_left_of_them";
    let Some(mut redis) = Redis::start() else {
        println!("SKIPPED: {test}: Redis is missing");
        return;
    };
    let place = Place::new();
    redis_at(&place, &redis, ("look", "change"));
    let serve = start(&place, &["look", "change"], Some(&redis), None);
    until("what looked is taken back", || redis.users().is_empty());
    redis.ask("SET eu:1 first").unwrap();
    let (one, other) = (open(&serve, "eu"), open(&serve, "us"));
    assert!(said(&one, "look", "GET eu:1").contains("first"));
    assert!(said(&other, "look", "GET eu:1").contains("NOPERM"), "another tenant's");
    assert!(said(&one, "look", "SET eu:1 second").contains("NOPERM"), "a reader writes");
    assert!(said(&one, "change", "SET eu:1 second").contains("OK"));
    assert_eq!(redis.ask("GET eu:1").unwrap(), ["second"]);
    assert_eq!((redis.users().len(), redis.sessions()), (3, 3));
    serve.stop(&one.id);
    until("only the other's is left", || redis.users().len() == 1 && redis.sessions() == 1);
    assert!(said(&other, "look", "EXISTS us:1").contains('0'), "the other's is untouched");

    // A server that is gone does not take back: that is told, and tried again.
    redis.ask("ACL SAVE").unwrap();
    redis.down();
    serve.stop(&other.id);
    let tail = || place.run(&["audit", "tail", "-n", "1000"]).good().out;
    until("it is told", || tail().contains("is not taken back yet (tried 1x)"));
    let late = open(&serve, "eu");
    assert!(said(&late, "look", "GET eu:1").contains("credential_unavailable"));
    redis.up();
    until("it is taken back, though it came back with the server", || redis.users().is_empty());
    redis.ask("SET eu:1 third").unwrap();
    assert!(said(&late, "look", "GET eu:1").contains("third"));
    serve.stop(&late.id);
    until("nothing is left", || redis.users().is_empty() && redis.sessions() == 0);
    let evidence = evidence(&place);
    let refused = |one: &Value| one.pointer("/refused/says").is_some_and(|says| says.to_string().contains("WRONGPASS"));
    assert!(evidence.len() >= 6 && evidence.iter().all(refused), "{evidence:?}");
}

#[test]
fn a_task_has_a_user_of_nats_for_each_class_and_the_account_revokes_them() {
    let test = "a_task_has_a_user_of_nats_for_each_class_and_the_account_revokes_them";
    let Some(nats) = Nats::start(test) else { return };
    let place = Place::new();
    nats_at(&place, &nats, ("look", "change"));
    let serve = start(&place, &["look", "change"], None, Some(&nats));
    let looked = nats.revoked();
    let (one, other) = (open(&serve, "eu"), open(&serve, "eu"));
    // The official client takes the file as it is.
    assert!(said(&one, "look", "sub orders.eu.new").contains("done"));
    assert!(said(&other, "look", "sub orders.eu.new").contains("done"));
    for refused in ["pub orders.eu.new stolen", "sub orders.us.new"] {
        let said = said(&one, "look", refused).to_lowercase();
        assert!(said.contains("permissions violation"), "{refused}: {said}");
    }
    assert!(said(&one, "change", "pub orders.eu.new hello").contains("done"));
    assert!(said(&other, "look", "next").contains("hello"));
    serve.stop(&one.id);
    until("both of its users are revoked", || nats.revoked() == looked + 2);
    // What the other has open is untouched by that.
    assert!(said(&other, "change", "pub orders.eu.new again").contains("done"));
    assert!(said(&other, "look", "next").contains("again"));
    serve.stop(&other.id);
    until("all are", || nats.revoked() == looked + 4);
    until("and on the record", || evidence(&place).len() >= looked + 4);
    let evidence = evidence(&place);
    let refused =
        |one: &Value| one.pointer("/refused/says").is_some_and(|says| says.to_string().contains("Authorization"));
    assert!(evidence.iter().all(refused), "{evidence:?}");
}

#[test]
fn a_task_has_a_user_of_mariadb_for_each_class_and_nothing_is_left_of_them() {
    let test = "a_task_has_a_user_of_mariadb_for_each_class_and_nothing_is_left_of_them";
    let Some(python) = interop(test, &[PYTHON]).map(|folder| folder.join(PYTHON)) else { return };
    let Some(mut database) = MariaDb::start() else {
        println!("SKIPPED: {test}: MariaDB is missing");
        return;
    };
    prepare(&database);
    let (place, port) = (Place::new(), database.port());
    place.write(
        "policy/credentials/shop-db.toml",
        &format!(
            "owner = \"dba@example.com\"\n[mariadb]\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"shop_eu\"\n\
             tls = false\nadmin = \"shop-db-admin\"\n[mariadb.read]\ngrant = [\"SELECT ON shop_eu.orders\"]\n\
             [mariadb.write]\ngrant = [\"SELECT, INSERT ON shop_eu.orders\"]\n"
        ),
    );
    let put = "source = \"shop-db\"\nenv = { STORE = \"{user} {password} {host} {port} {database}\" }";
    for (name, class) in [("look", "read"), ("change", "write")] {
        connector(&place, (name, class), (python.to_str().unwrap(), "sql"), put);
    }
    purpose(&place, &["look", "change"]);
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    place.run_with(&["secret", "set", "shop-db-admin"], "portreeve:portreeve-of-mariadb").good();
    for connector in ["look", "change"] {
        place.run(&["connector", "accept", connector, "--yes"]).good();
    }
    until("what looked is taken back", || database.users().is_empty());
    let (one, other) = (open(&serve, "eu"), open(&serve, "eu"));
    assert!(said(&one, "look", "SELECT amount FROM orders").contains("100"));
    assert!(said(&other, "look", "SELECT 1").contains('1'));
    assert!(said(&one, "look", "INSERT INTO orders VALUES (2, 7)").contains("denied"));
    assert!(said(&one, "change", "INSERT INTO orders VALUES (2, 7)").contains("[]"));
    assert_eq!((database.users().len(), database.sessions()), (3, 3));
    serve.stop(&one.id);
    until("only the other's is left", || database.users().len() == 1 && database.sessions() == 1);
    assert!(said(&other, "look", "SELECT amount FROM orders WHERE id = 2").contains('7'));
    database.down();
    serve.stop(&other.id);
    let tail = || place.run(&["audit", "tail", "-n", "1000"]).good().out;
    until("it is told", || tail().contains("is not taken back yet (tried 1x)"));
    database.up();
    until("nothing is left", || database.users().is_empty() && database.sessions() == 0);
    until("and that is on the record", || evidence(&place).len() >= 5);
    let evidence = evidence(&place);
    let refused = |one: &Value| one.pointer("/refused/says").is_some_and(|says| says.to_string().contains("1045"));
    assert!(evidence.iter().all(refused), "{evidence:?}");
}

#[test]
fn a_task_has_a_certificate_for_each_class_and_hosts_know_which_are_revoked() {
    let test = "a_task_has_a_certificate_for_each_class_and_hosts_know_which_are_revoked";
    let Some(host) = Sshd::start(test, "ed25519") else { return };
    let (place, list, port) = (Place::new(), host.list().display().to_string(), host.port());
    place.write(
        "policy/credentials/hosts.toml",
        &format!(
            "owner = \"ops@example.com\"\nttl = \"10m\"\n[scope]\ntenant = \"tenant\"\n[probe]\ntenant = \"template\"\n\
             [ssh]\nca = \"hosts-ca\"\nkrl = \"{list}\"\nwithin = \"1s\"\n\
             [ssh.read]\nprincipals = [\"reports-{{tenant}}\"]\nforce_command = \"echo report\"\n\
             [ssh.write]\nprincipals = [\"reports-{{tenant}}\"]\n"
        ),
    );
    let put = format!(
        "source = \"hosts\"\nenv = {{ STORE = \"{{principals}} {port} {}\" }}\n\
         files = {{ SSH_KEY = \"{{private_key}}\", SSH_CERT = \"{{certificate}}\" }}",
        user().unwrap()
    );
    connector(&place, ("look", "read"), ("python3", "ssh"), &put);
    connector(&place, ("change", "write"), ("python3", "ssh"), &put);
    purpose(&place, &["look", "change"]);
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    place.run_with(&["secret", "set", "hosts-ca"], &host.authority()).good();
    for connector in ["look", "change"] {
        place.run(&["connector", "accept", connector, "--yes"]).good();
    }
    let sources = place.run(&["lease", "sources"]).good().out;
    assert!(sources.contains("eventual (within 1 s)") && sources.contains("reached"), "{sources}");
    let (one, other) = (open(&serve, "eu"), open(&serve, "us"));
    assert!(said(&one, "look", "rm -rf nothing").contains("report"), "whatever was asked for");
    assert!(said(&one, "change", "echo as asked").contains("as asked"));
    assert!(said(&other, "change", "echo as asked").contains("Permission denied"), "another tenant's");
    let third = open(&serve, "eu");
    assert!(said(&third, "change", "echo again").contains("again"));
    serve.stop(&one.id);
    until("its two are taken back", || evidence(&place).len() >= 4);
    assert!(said(&third, "change", "echo untouched").contains("untouched"));

    // A list that is gone takes nothing back, and no host lets anybody in: that is told, and tried again.
    let away = host.list().with_extension("away");
    std::fs::rename(host.list(), &away).unwrap();
    serve.stop(&other.id);
    let tail = || place.run(&["audit", "tail", "-n", "1000"]).good().out;
    until("it is told", || tail().contains("is not taken back yet (tried 1x)"));
    assert!(said(&third, "look", "x").contains("credential_unavailable"));
    assert!(said(&third, "change", "echo x").contains("Permission denied"));
    std::fs::rename(&away, host.list()).unwrap();
    serve.stop(&third.id);
    until("all are", || evidence(&place).len() >= 6);
    let evidence = evidence(&place);
    let refused = |one: &Value| one.pointer("/refused/says").is_some_and(|says| says.to_string().contains("REVOKED"));
    assert!(evidence.iter().all(refused), "{evidence:?}");
    let shown = keygen(std::path::Path::new("/"), &["-Q", "-l", "-f", &list]).unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.lines().filter(|line| line.starts_with("serial: ")).count(), evidence.len(), "{shown}");
}

#[test]
fn back_ends_are_reached_over_tls_by_the_name_of_their_certificate_alone() {
    let test = "back_ends_are_reached_over_tls_by_the_name_of_their_certificate_alone";
    let (place, authority) = (Place::new(), Authority::new("of the back ends"));
    let only = |name: &str| vec![SanType::DnsName(name.try_into().unwrap())];
    let (chain, key) = authority.server_with(|of| of.subject_alt_names = only("localhost")).pem();
    for (name, text) in [("chain.pem", &chain), ("key.pem", &key), ("roots.pem", &pem("CERTIFICATE", &authority.der()))]
    {
        place.write(name, text);
    }
    let at = |name: &str| place.path().join(name).display().to_string();
    let secure = crate::contract::nobody();
    let redis = Redis::start_with(
        true,
        &format!(
            "tls-port {secure}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients no\n",
            at("chain.pem"),
            at("key.pem"),
            at("roots.pem")
        ),
    );
    let Some(redis) = redis else {
        println!("SKIPPED: {test}: Redis is missing");
        return;
    };
    let tls = format!("tls {{ cert_file: {:?}, key_file: {:?} }}\n", at("chain.pem"), at("key.pem"));
    let Some(nats) = Nats::start_with(test, &tls) else { return };
    let Some(database) = MariaDb::start_with(Some((chain, key))) else {
        println!("SKIPPED: {test}: MariaDB is missing");
        return;
    };
    prepare(&database);
    let (bus, account, sql) = (nats.port(), &nats.account, database.port());
    // Each is called by the name that stands in its certificate, and once more by its address, which does not.
    for (host, of) in [("localhost", "named"), ("127.0.0.1", "nameless")] {
        let head = "owner = \"ops@example.com\"\n";
        for (kind, text) in [
            (
                "redis",
                format!(
                    "[redis]\nhost = \"{host}\"\nport = {secure}\nadmin = \"{of}-redis\"\n[redis.read]\nrules = [\"+@read\"]\n"
                ),
            ),
            (
                "nats",
                format!(
                    "[nats]\nhost = \"{host}\"\nport = {bus}\naccount = \"{account}\"\nsigning = \"{of}-signing\"\n\
                     operator = \"{of}-operator\"\nsystem = \"{of}-system\"\n[nats.read]\nsubscribe = [\"x\"]\n"
                ),
            ),
            (
                "mariadb",
                format!(
                    "[mariadb]\nhost = \"{host}\"\nport = {sql}\ndatabase = \"shop_eu\"\nadmin = \"{of}-mariadb\"\n\
                     [mariadb.read]\ngrant = [\"SELECT ON shop_eu.*\"]\n"
                ),
            ),
        ] {
            place.write(&format!("policy/credentials/{of}-{kind}.toml"), &format!("{head}{text}"));
        }
    }
    let believing = |command: &mut std::process::Command| {
        command.env("SSL_CERT_FILE", at("roots.pem"));
    };
    let serve = Serve::start_as(&place, believing).unwrap_or_else(|ran| panic!("{ran:?}"));
    for of in ["named", "nameless"] {
        for (name, secret) in [
            ("redis", "portreeve:portreeve-of-redis"),
            ("mariadb", "portreeve:portreeve-of-mariadb"),
            ("signing", nats.signing.expose()),
            ("operator", nats.operator.expose()),
            ("system", nats.system.expose()),
        ] {
            place.run_with(&["secret", "set", &format!("{of}-{name}"), "--legacy"], secret).good();
        }
    }
    let sources = place.run(&["lease", "sources"]).out;
    for kind in ["redis", "nats", "mariadb"] {
        let line = |of: &str| {
            let name = format!("{of}-{kind} ");
            sources.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("{sources}")).to_owned()
        };
        assert!(line("named").contains("reached"), "{}", line("named"));
        assert!(line("nameless").contains("certificate"), "{}", line("nameless"));
    }
    drop((serve, redis));
}
